"""One shape bound to a TensorRT engine: its buffers, and an evaluation that is queued in one go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mrct_runtime.arrays import Array, Time
from mrct_runtime.cuda import Cuda
from mrct_runtime.engines.tensorrt_library import Library
from mrct_runtime.errors import DeviceMemoryError, EngineError


class Bound:
    """A denoiser of images [B, 1, H, W] in `rows` rows, which are more than B where the engine takes no fewer.

    It owns its buffers and the engine's memory, whose addresses the context and the graph repeat. Rows beyond B are evaluated and thrown away:
    no row depends on another.
    """

    def __init__(
        self,
        library: Library,
        device: Cuda,
        engine: Any,
        context: Any,
        shape: tuple[int, ...],
        rows: int,
    ) -> None:
        self.shape = shape
        self._library, self._device, self._context = library, device, context
        xp, batch = device.xp, shape[0]
        x, y, out = (xp.zeros((rows, *shape[1:]), np.float32) for _ in range(3))
        t = xp.zeros(rows, np.float32)
        t.fill(1.0)
        self._buffers = {"x": x, "y": y, "t": t}
        self._whole = out
        self._x, self._y, self._t, self._out = x[:batch], y[:batch], t[:batch], out[:batch]
        self._place(engine)
        self._memory = self._give_memory()
        self._replay = self._captured()

    @property
    def captured(self) -> bool:
        """Whether an evaluation is one CUDA graph."""
        return self._replay is not None

    def condition(self, cond: Array) -> None:
        """Takes the condition [B, 1, H, W] for the evaluations to come."""
        self._device.xp.copyto(self._y, cond, casting="same_kind")

    def __call__(self, x: Array, t: Time) -> Array:
        """eps or x_0 [B, 1, H, W]; it is queued, and valid until the next call."""
        xp = self._device.xp
        xp.copyto(self._x, x, casting="same_kind")
        if isinstance(t, float):
            self._t.fill(t)
        else:
            xp.copyto(self._t, xp.asarray(t.astype(np.float32)))
        if self._replay is not None:
            self._replay()
        else:
            self._enqueue()
        out: Array = self._out
        return out

    def wait(self) -> None:
        """Until all that was queued is done."""
        self._device.to_host(self._t)

    def release(self) -> None:
        """Let go of the engine; a denoiser that outlives it does not keep the network."""
        self._context = self._replay = None

    def _place(self, engine: Any) -> None:
        """Tells the context every tensor's shape and address."""
        trt = self._library.trt
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            given = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            buffer = self._buffers[name] if given else self._whole
            if given and not self._context.set_input_shape(name, tuple(buffer.shape)):
                raise self._library.failure(f"take {name} {list(buffer.shape)}")
            if not self._context.set_tensor_address(name, self._device.pointer(buffer)):
                raise self._library.failure(f"take an address for {name}")

    def _give_memory(self) -> Array:
        """What the engine computes in, as large as these shapes need; the context is told where it is."""
        size = self._context.update_device_memory_size_for_shapes()
        memory: Array = self._device.xp.empty(max(size, 1), np.uint8)
        self._context.set_device_memory(self._device.pointer(memory), size)
        return memory

    def _captured(self) -> Callable[[], None] | None:
        """The evaluation as a CUDA graph; None where this engine's cannot be captured."""
        self._enqueue()  # compiles and sets up what a capture does not allow, and fails with a reason of its own
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self._device.stream):
            return None
        try:
            return self._device.capture(self._enqueue)
        except DeviceMemoryError:
            raise
        except (EngineError, RuntimeError):  # CuPy's errors of CUDA are RuntimeErrors
            self._library.forget()
            return None

    def _enqueue(self) -> None:
        if self._context is None:
            raise EngineError("this engine is closed; open another one")
        if not self._context.execute_async_v3(self._device.stream):
            raise self._library.failure("evaluate the network")
