"""ONNX Runtime: on the CPU, or on a GPU through one of its providers."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from mrct_runtime.arrays import Array, Denoiser, Time
from mrct_runtime.cuda import Cuda
from mrct_runtime.device import HOST, Device, number
from mrct_runtime.engines import Backend
from mrct_runtime.engines.onnxruntime_fusion import fused
from mrct_runtime.engines.onnxruntime_providers import (
    CPU,
    CUDA,
    TENSORRT,
    TENSORRT_RTX,
    Provider,
    open_session,
    require,
)
from mrct_runtime.engines.target import Network, Target
from mrct_runtime.errors import DeviceMemoryError, EngineError, first_line

_OUT_OF_MEMORY: Final = re.compile(
    r"allocate memory|out of memory|OutOfMemory|ALLOC_FAILED|bad_?\s?alloc", re.IGNORECASE
)


def open_cpu(network: Network, target: Target) -> OnnxRuntime:
    """The network on the CPU, by `target.threads` threads."""
    return OnnxRuntime(network.model, threads=target.threads, precision=network.precision)


def open_cuda(network: Network, target: Target) -> OnnxRuntime:
    """The network by ONNX Runtime's own kernels, its graph fused where `target.fuse`."""
    return _open(network, target, CUDA, fuse=target.fuse)


def open_tensorrt(network: Network, target: Target) -> OnnxRuntime:
    """The network by the TensorRT that ONNX Runtime was built for; it builds anew for every range of shapes."""
    return _open(network, target, TENSORRT)


def open_tensorrt_rtx(network: Network, target: Target) -> OnnxRuntime:
    """The network by NVIDIA's plugin for RTX GPUs."""
    return _open(network, target, TENSORRT_RTX)


def _open(
    network: Network, target: Target, provider: Provider, *, fuse: bool = False
) -> OnnxRuntime:
    device = Cuda(target.gpu or 0)
    require(provider)  # before seconds go into the graph
    return OnnxRuntime(
        fused(network) if fuse else network.model,
        precision=network.precision,
        provider=provider,
        device=device,
        is_fused=fuse,
    )


class OnnxRuntime:
    """A network in ONNX: eps(x, y, t) or x0(y), images [B, 1, H, W] and t [B], all float32.

    `threads` are the CPU's, by default the cores that this process may use. On a GPU the network reads and writes
    arrays of the device in the device's stream: nothing passes through the host and an evaluation is not waited for.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int | None = None,
        max_batch: int = 64,
        precision: str = "fp32",
        provider: Provider = CPU,
        device: Device = HOST,
        is_fused: bool = False,
    ) -> None:
        with device.running():
            self._session: Any = open_session(model, provider, device, threads)
        self.device = device
        self.backend = Backend(provider.backend, device.name, precision, threads, is_fused)
        self.max_batch = max_batch
        self._bound: _Bound | None = None

    def bind(self, cond: Array) -> Denoiser:
        """The network for the condition [B, 1, H, W]; buffers are kept between conditions of one shape."""
        if cond.ndim != 4 or cond.shape[1] != 1 or cond.shape[0] > self.max_batch:
            raise EngineError(
                f"the condition must be [B, 1, H, W] with B up to {self.max_batch}, got {list(cond.shape)}"
            )
        if self._session is None:
            raise EngineError("this engine is closed; open another one")
        if self._bound is None or self._bound.y.shape != cond.shape:
            self._bound = _Bound(self._session, self.device, cond.shape)
        self.device.xp.copyto(self._bound.y, cond, casting="same_kind")
        return self._bound

    def close(self) -> None:
        """Drop the session and its buffers."""
        if self._bound is not None:
            self._bound.release()
        self._bound = self._session = None


class _Bound:
    """One binding of buffers to a session; it owns every buffer, because ONNX Runtime keeps bare pointers."""

    def __init__(self, session: Any, device: Device, shape: tuple[int, ...]) -> None:
        self._session, self._device, xp = session, device, device.xp
        self.x, self.y, self.out = (xp.zeros(shape, np.float32) for _ in range(3))
        self.t = xp.zeros(shape[0], np.float32)
        self._binding = session.io_binding()
        place = device.name.partition(":")[0], number(device.name), np.float32
        buffers = {"x": self.x, "y": self.y, "t": self.t}
        for name in (value.name for value in session.get_inputs()):
            buffer = buffers[name]
            self._binding.bind_input(name, *place, buffer.shape, device.pointer(buffer))
        (output,) = session.get_outputs()
        self._binding.bind_output(output.name, *place, shape, device.pointer(self.out))
        self._options = _run_options()

    def release(self) -> None:
        """Let go of the session; a denoiser that outlives its engine does not keep the network."""
        self._session = self._binding = None

    def __call__(self, x: Array, t: Time) -> Array:
        xp = self._device.xp
        xp.copyto(self.x, x, casting="same_kind")
        if isinstance(t, float):
            self.t.fill(t)
        else:
            xp.copyto(self.t, xp.asarray(t.astype(np.float32)))
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise _failure(error, self._device) from error
        out: Array = self.out
        return out


def _run_options() -> Any:
    """Those of a run that does not wait for the device at its end; on the CPU there is nothing to wait for."""
    from onnxruntime import RunOptions

    options = RunOptions()
    options.log_severity_level = 4  # what fails is raised
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


def _failure(error: Exception, device: Device) -> EngineError:
    line = first_line(error)
    if _OUT_OF_MEMORY.search(str(error)):
        return DeviceMemoryError(f"{device.name} has too little memory for the network: {line}")
    return EngineError(f"ONNX Runtime failed: {line}")
