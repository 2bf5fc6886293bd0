"""The GPU as a device: CuPy's arrays in one CUDA stream.

The stream neither waits for CUDA's default stream nor is waited for by it, so everything that touches its arrays runs
inside `running()`, where it is CuPy's current stream. Then the order of the calls is the order of the work, and the host
waits only where it reads something back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from mrct_runtime.arrays import Array
from mrct_runtime.cuda_noise import gpu_normals, kernel
from mrct_runtime.errors import EngineError, first_line


@cache
def _found() -> tuple[tuple[str, ...], str]:
    """The names of the GPUs that CUDA can use, and why there are none."""
    try:
        import cupy
    except ImportError:
        return (), "CuPy is not installed: pip install 'mrct[gpu]'"
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return (), f"CUDA finds no GPU that it can use ({error})"
    names = (runtime.getDeviceProperties(index)["name"].decode() for index in range(count))
    return tuple(names), "CUDA finds no GPU"


def gpus() -> tuple[str, ...]:
    """What the GPUs that CUDA can use are called; none without CuPy or a driver."""
    return _found()[0]


def why_not(gpu: int = 0) -> str | None:
    """Why this GPU cannot be used, in words; None where it can."""
    found = gpus()
    if gpu < len(found):
        return None
    if found:
        return f"there is no cuda:{gpu}, the last is cuda:{len(found) - 1} ({found[-1]})"
    return _found()[1]


class Cuda:
    """One GPU, and a stream of its own there. EngineError where CuPy cannot use the GPU or compile for it.

    Memory that arrays leave is kept for later ones, in the order of the stream: after a first step none is taken from
    CUDA, which would wait. CuPy's error for too little of it is a MemoryError.
    """

    def __init__(self, gpu: int = 0) -> None:
        if reason := why_not(gpu):
            raise EngineError(f"cuda:{gpu} cannot be used: {reason}")
        import cupy

        self.gpu = gpu
        self._cupy: Any = cupy
        with cupy.cuda.Device(gpu):
            self._stream = cupy.cuda.Stream(non_blocking=True)
        with self.running():
            self._check_compiler()

    @property
    def name(self) -> str:
        """cuda:N."""
        return f"cuda:{self.gpu}"

    @property
    def model(self) -> str:
        """What the GPU is called."""
        return gpus()[self.gpu]

    @property
    def capability(self) -> str:
        """The GPU's compute capability, as 8.9."""
        told = self._cupy.cuda.runtime.getDeviceProperties(self.gpu)
        return f"{told['major']}.{told['minor']}"

    @property
    def xp(self) -> ModuleType:
        """cupy."""
        module: ModuleType = self._cupy
        return module

    @property
    def stream(self) -> int:
        """The address of the stream."""
        address: int = self._stream.ptr
        return address

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, this thread's array operations are queued in the stream, on this GPU."""
        with self._cupy.cuda.Device(self.gpu), self._stream:
            yield

    def pointer(self, array: Array) -> int:
        """The address of the array's first byte; EngineError unless its elements lie there in C order.

        EngineError also outside `running()`: what is done with the address would not be in order with the array.
        """
        if self._cupy.cuda.get_current_stream().ptr != self.stream:
            raise EngineError(f"work on {self.name} is asked for outside `with device.running():`")
        if not array.flags.c_contiguous:
            raise EngineError(
                f"an array {list(array.shape)} with gaps has no plain address: copy it first"
            )
        address: int = array.data.ptr  # type: ignore[attr-defined]  # CuPy's own
        return address

    def normals(
        self, key: tuple[int, int], rows: Sequence[tuple[int, int]], pixels: int
    ) -> Callable[[int], Array]:
        """The noise of these rows, made on the GPU in one launch a draw."""
        return gpu_normals(key, rows, pixels)

    def to_host(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        """The array in host memory, when the work before it is done.

        Through pageable memory: what comes back are a mean and a deviation a slice, 4 MB that take a millisecond, and
        pinned memory would have to be copied once more.
        """
        copied: np.ndarray[Any, np.dtype[Any]] = array.get(stream=self._stream)  # type: ignore[attr-defined]
        return copied

    def free_memory(self) -> int:
        """Bytes that CUDA has left, and those that are kept for later arrays."""
        with self.running():
            left: int = self._cupy.cuda.runtime.memGetInfo()[0]
            kept: int = self._cupy.get_default_memory_pool().free_bytes()
        return left + kept

    def trim(self) -> None:
        """Gives the memory that is kept for later arrays back to CUDA, so that a backend's own allocator finds it."""
        with self.running():
            self._cupy.get_default_memory_pool().free_all_blocks()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """A call that queues in one go, as a CUDA graph, all that `function` queues now.

        The graph repeats addresses and shapes, so `function` takes no memory, copies nothing from or to the host and waits
        for nothing; whoever changes a buffer or a shape captures again. It is called twice: libraries prepare themselves at
        their first call, which a capture does not allow.
        """
        with self.running():
            function()
            self._stream.begin_capture(self._cupy.cuda.runtime.streamCaptureModeThreadLocal)
            try:
                function()
            except BaseException:
                with suppress(self._cupy.cuda.runtime.CUDARuntimeError):
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        return lambda: graph.launch(self._stream)

    def _check_compiler(self) -> None:
        """EngineError where the compiler or headers that CuPy needs for its kernels are missing."""
        try:
            self._cupy.zeros(1, np.float32) + 1.0
            kernel("mrct_normals").kernel  # noqa: B018 - compiles it
        except (ImportError, RuntimeError, self._cupy.cuda.compiler.CompileException) as error:
            raise EngineError(
                f"CuPy cannot compile for {self.name} ({first_line(error)}): pip install 'mrct[gpu]'"
            ) from error
