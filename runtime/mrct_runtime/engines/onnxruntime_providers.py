"""ONNX Runtime's sessions on a device: the provider that was asked for has all of the network, or EngineError says why not."""

from __future__ import annotations

import ctypes
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from mrct_runtime.device import Device, number
from mrct_runtime.errors import EngineError, first_line

_FATAL, _WARNINGS = 4, 2
_ERRORS: Final = 3

# What a graph computes its shapes with; ONNX Runtime leaves these to the processor, where shapes live.
_OF_SHAPES: Final = frozenset(
    (
        *("Shape", "Size", "Constant", "ConstantOfShape", "Range", "Identity", "Cast"),
        *("Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Equal", "Where"),
        *("Add", "Sub", "Mul", "Div", "Floor", "ReduceProd"),
    )
)


@dataclass(frozen=True)
class Provider:
    """A part of ONNX Runtime that runs networks on one kind of device.

    `name` is ONNX Runtime's, `options` those for a GPU's number and the address of its stream. Where it is no part of
    ONNX Runtime itself, `plugin` is the package that brings it, and `extra` how that is installed.
    """

    backend: str
    name: str
    options: Callable[[int, int], Mapping[str, str]] = lambda _gpu, _stream: {}
    plugin: str | None = None
    extra: str = "pip install 'mrct[gpu]'"


def _cuda_options(gpu: int, stream: int) -> Mapping[str, str]:
    # A thousand evaluations of one shape are worth a search for its fastest convolutions, and fp32 is no TF32.
    # Its CUDA graphs are left out: their replay waits for the stream at every step.
    return {
        "device_id": str(gpu),
        "user_compute_stream": str(stream),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "use_tf32": "0",
    }


def _tensorrt_options(gpu: int, stream: int) -> Mapping[str, str]:
    return {"device_id": str(gpu), "user_compute_stream": str(stream)}


def _tensorrt_rtx_options(_gpu: int, stream: int) -> Mapping[str, str]:
    return {"has_user_compute_stream": "1", "user_compute_stream": str(stream)}


CPU: Final = Provider("onnxruntime", "CPUExecutionProvider", extra="pip install 'mrct[cpu]'")
CUDA: Final = Provider("onnxruntime-cuda", "CUDAExecutionProvider", _cuda_options)
TENSORRT: Final = Provider(
    "onnxruntime-tensorrt",
    "TensorrtExecutionProvider",
    _tensorrt_options,
    extra="pip install 'mrct[gpu]', and the TensorRT that it was built for",
)
TENSORRT_RTX: Final = Provider(
    "onnxruntime-tensorrt-rtx",
    "NvTensorRTRTXExecutionProvider",
    _tensorrt_rtx_options,
    plugin="onnxruntime_ep_nv_tensorrt_rtx",
    extra="pip install onnxruntime-ep-nv-tensorrt-rtx-cu13",
)


def open_session(model: bytes, provider: Provider, device: Device, threads: int | None) -> Any:
    """An InferenceSession of the model in ONNX by this provider alone; EngineError where it cannot have that."""
    runtime = require(provider)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS
    if provider is CPU:
        return _session(runtime, model, options, provider, [provider.name])
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    gpu = number(device.name)
    chosen = provider.options(gpu, device.stream)
    if provider.plugin is None:
        named = [(provider.name, dict(chosen))]
        session = _session(runtime, model, options, provider, named)
    else:
        _add_plugin(runtime, provider, options, gpu, chosen)
        session = _session(runtime, model, options, provider, None)
    if provider.name not in session.get_providers():
        raise _not_loaded(runtime, provider)
    _check_stream(session, provider, device)
    _check_assignment(session, provider)
    return session


def require(provider: Provider) -> ModuleType:
    """ONNX Runtime, which has this provider or takes it as a plugin; EngineError where it is not there or has not."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"onnxruntime is not installed: {provider.extra}") from error
    runtime: ModuleType = onnxruntime
    if provider.plugin is None and provider.name not in runtime.get_available_providers():
        raise EngineError(
            f"this onnxruntime {runtime.__version__} was built without {provider.name}: "
            f"pip uninstall onnxruntime, which shares its folder with onnxruntime-gpu, then {provider.extra}"
        )
    if provider is not CPU:
        _preload(runtime)
    return runtime


@cache
def _preload(runtime: ModuleType) -> None:
    """Loads the CUDA libraries of NVIDIA's packages, which lie where the system's loader does not look."""
    # it prints what it did not find, which the session tells better
    with redirect_stdout(io.StringIO()):
        runtime.preload_dlls(directory="")


def _session(
    runtime: ModuleType, model: bytes, options: Any, provider: Provider, named: Any
) -> Any:
    with _quiet(runtime):
        try:
            return runtime.InferenceSession(model, options, providers=named, enable_fallback=0)
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            if _missing_library(runtime, provider):
                raise _not_loaded(runtime, provider) from error
            raise EngineError(f"ONNX Runtime cannot load the model: {first_line(error)}") from error


@contextmanager
def _quiet(runtime: ModuleType) -> Iterator[None]:
    """ONNX Runtime writes to stderr what is raised here in one line."""
    runtime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        runtime.set_default_logger_severity(_WARNINGS)


def _add_plugin(
    runtime: ModuleType, provider: Provider, options: Any, gpu: int, chosen: Mapping[str, str]
) -> None:
    """Hands the session the GPU's device of the plugin."""
    _register(runtime, provider)
    devices = [found for found in runtime.get_ep_devices() if found.ep_name == provider.name]
    if gpu >= len(devices):
        raise EngineError(
            f"{provider.name} finds {len(devices)} GPUs that it can use, cuda:{gpu} is not one of them"
        )
    options.add_provider_for_devices([devices[gpu]], dict(chosen))


@cache
def _register(runtime: ModuleType, provider: Provider) -> None:
    try:
        plugin = import_module(str(provider.plugin))
    except ImportError as error:
        raise EngineError(f"{provider.plugin} is not installed: {provider.extra}") from error
    with _quiet(runtime):
        try:
            runtime.register_execution_provider_library(provider.name, plugin.get_library_path())
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise EngineError(
                f"ONNX Runtime's {provider.name} did not load: {first_line(error)}"
            ) from error


def _not_loaded(runtime: ModuleType, provider: Provider) -> EngineError:
    missing = _missing_library(runtime, provider)
    return EngineError(f"ONNX Runtime's {provider.name} did not load{missing}: {provider.extra}")


def _missing_library(runtime: ModuleType, provider: Provider) -> str:
    """Which library a provider of ONNX Runtime itself lacks, in brackets; nothing where the loader finds all."""
    kind = provider.name.removesuffix("ExecutionProvider").lower()
    library = Path(runtime.__file__ or "").with_name("capi") / f"libonnxruntime_providers_{kind}.so"
    if not library.is_file():  # a plugin's own, or the processor's, which is no file
        return ""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return "" if "undefined symbol" in str(error) else f" ({error})"
    return ""


def _check_stream(session: Any, provider: Provider, device: Device) -> None:
    """EngineError where the provider tells that it works in another stream than the device's; a plugin tells nothing."""
    stream = session.get_provider_options().get(provider.name, {}).get("user_compute_stream")
    if stream not in {None, str(device.stream)}:
        raise EngineError(
            f"ONNX Runtime's {provider.name} works in a stream of its own, not in that of {device.name}"
        )


def _check_assignment(session: Any, provider: Provider) -> None:
    """EngineError where a node that is no arithmetic of shapes is left to another provider."""
    elsewhere = Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider.name
        for node in part.get_nodes()
        if node.domain or node.op_type not in _OF_SHAPES
    )
    if elsewhere:
        told = ", ".join(f"{count} {kind}" for kind, count in elsewhere.most_common(5))
        raise EngineError(
            f"ONNX Runtime's {provider.name} leaves {sum(elsewhere.values())} nodes to the processor ({told})"
        )
