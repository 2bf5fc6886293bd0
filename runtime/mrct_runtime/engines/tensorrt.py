"""TensorRT and TensorRT-RTX on an NVIDIA GPU: one implementation for the two modules.

An engine comes from the local cache or is built into it. TensorRT-RTX compiles kernels for the GPU when an engine first
runs there; they are kept beside it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from mrct_runtime.arrays import Array, Denoiser
from mrct_runtime.cuda import Cuda
from mrct_runtime.engines import Backend
from mrct_runtime.engines.cache import EngineCache, Key
from mrct_runtime.engines.target import Network, Precision, Target
from mrct_runtime.engines.tensorrt_bound import Bound
from mrct_runtime.engines.tensorrt_build import Shapes
from mrct_runtime.engines.tensorrt_choice import Gpu, serving
from mrct_runtime.engines.tensorrt_library import RTX, TENSORRT, Flavour, Library
from mrct_runtime.engines.tensorrt_types import check_types
from mrct_runtime.errors import EngineError


def open_tensorrt_rtx(network: Network, target: Target) -> TensorRT:
    """The network by TensorRT-RTX, on the GPUs that it supports."""
    return _open(network, target, RTX)


def open_tensorrt(network: Network, target: Target) -> TensorRT:
    """The network by TensorRT; it builds for minutes where the cache has no engine."""
    return _open(network, target, TENSORRT)


def _open(network: Network, target: Target, flavour: Flavour) -> TensorRT:
    library = Library(flavour)
    device = Cuda(target.gpu or 0)
    gpu = Gpu(device.capability, device.model)
    library.check_gpu(gpu.capability, gpu.model)
    with device.running():
        chosen = serving(library, network, target.batch, gpu)
    kernels = Kernels(chosen.record.key, gpu) if flavour.portable else None
    return TensorRT(library, device, chosen.engine, network.precision, kernels)


class Kernels:
    """What TensorRT-RTX compiled for an engine on this model of GPU, kept in the cache of engines.

    It takes none of another model's, also of the same compute capability.
    """

    def __init__(self, key: Key, gpu: Gpu) -> None:
        self._key, self._gpu = key, f"{gpu.capability} {gpu.model}"
        self._kept = b""
        self._config: Any = None
        self._compiled: Any = None

    def configure(self, library: Library, engine: Any) -> Any:
        """How a context is to run: with these kernels, all compiled at once; memory and CUDA graphs are the caller's."""
        trt = library.trt
        config = self._config = engine.create_runtime_config()
        if config is None:
            raise library.failure("prepare the engine")
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        specialised = trt.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = specialised.EAGER
        self._compiled = config.create_runtime_cache()
        kept = EngineCache.open().load_kernels(self._key, self._gpu)
        if kept is not None and self._compiled.deserialize(kept):
            self._kept = kept
        library.forget()  # those of another driver are not taken, and compiled again
        config.set_runtime_cache(self._compiled)
        return config

    def keep(self) -> None:
        """Writes those that came since."""
        content = bytes(self._compiled.serialize() or b"")
        if content not in {b"", self._kept}:
            EngineCache.open().store_kernels(self._key, self._gpu, content)
            self._kept = content


class TensorRT:
    """A network in a TensorRT engine: eps(x, y, t) or x0(y), images [B, 1, H, W] and t [B], all float32.

    It reads and writes arrays of the GPU in the device's stream, an evaluation being one CUDA graph where it can be
    captured: nothing passes through the host and nothing is waited for. `engine` holds bytes that were verified.
    """

    def __init__(
        self,
        library: Library,
        device: Cuda,
        engine: bytes,
        precision: Precision,
        kernels: Kernels | None = None,
    ) -> None:
        self._library, self._kernels = library, kernels
        with device.running():
            self._runtime = library.made("Runtime")
            self._engine: Any = self._runtime.deserialize_cuda_engine(engine)
            if self._engine is None:
                raise library.failure("load the engine")
            if precision == "fp16":
                check_types(library, self._engine)
            self._context: Any = self._new_context()
        self.device = device
        self.backend = Backend(library.flavour.backend, device.name, precision)
        self._profiles = _profiles(self._engine)
        self.max_batch = self._profiles[0].most
        self._bound: Bound | None = None

    @property
    def captured(self) -> bool:
        """Whether the evaluations that are bound now are one CUDA graph each."""
        return self._bound is not None and self._bound.captured

    def bind(self, cond: Array) -> Denoiser:
        """The network for the condition [B, 1, H, W]; buffers and graph are kept between conditions of one shape."""
        if self._engine is None:
            raise EngineError("this engine is closed; open another one")
        if cond.ndim != 4 or cond.shape[1] != 1:
            raise EngineError(f"the condition must be [B, 1, H, W], got {list(cond.shape)}")
        if self._bound is None or self._bound.shape != cond.shape:
            self._bound = None  # its memory first
            self._bound = self._new_bound(cond.shape)
        self._bound.condition(cond)
        return self._bound

    def close(self) -> None:
        """Drop engine and buffers, when what was asked of them is done, and keep the kernels that were compiled."""
        if self._engine is None:
            return
        with self.device.running():
            if self._bound is not None:
                with suppress(RuntimeError):  # a stream that failed is done
                    self._bound.wait()
                self._bound.release()
            if self._kernels is not None:
                with suppress(EngineError):  # all that is lost is the time to compile them again
                    self._kernels.keep()
            # a context before what it runs with
            self._bound = self._context = self._kernels = self._engine = self._runtime = None

    def _new_context(self) -> Any:
        """One that is given its memory for each shape: of less for a smaller batch, and by CuPy, which reuses it."""
        how: Any = self._library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._kernels is not None:
            how = self._kernels.configure(self._library, self._engine)
        context = self._engine.create_execution_context(how)
        if context is None:
            raise self._library.failure("prepare the engine")
        return context

    def _new_bound(self, shape: tuple[int, ...]) -> Bound:
        batch, _, height, width = shape
        fit = [
            (i, each) for i, each in enumerate(self._profiles) if each.take(batch, height, width)
        ]
        if not fit:
            own = self._profiles[0]
            raise EngineError(
                f"this engine takes up to {own.most} images of {own.height} x {own.width}, got {list(shape)}"
            )
        index, profile = fit[0]
        if not self._context.set_optimization_profile_async(index, self.device.stream):
            raise self._library.failure(f"change to the shapes {profile}")
        rows = max(batch, profile.least)
        return Bound(self._library, self.device, self._engine, self._context, shape, rows)


def _profiles(engine: Any) -> tuple[Shapes, ...]:
    """The shapes that the engine was built for, those of the self-test last."""
    found = []
    for index in range(engine.num_optimization_profiles):
        least, tuned, most = (tuple(shape) for shape in engine.get_tensor_profile_shape("y", index))
        found.append(Shapes(least[0], tuned[0], most[0], *most[2:]))
    return tuple(found)
