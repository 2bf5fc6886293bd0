"""As much of TensorRT's Python interface as mrct touches, on the processor; to stand for `tensorrt` or `tensorrt_rtx`.

An engine is JSON with the graph in it, which ONNX Runtime evaluates on the buffers at the addresses that were set. What is
asked in an order, with a shape or type that TensorRT would refuse, is refused as TensorRT does it: by False or None, and a
line to the logger. `calls` tells what was asked for, `broken` makes a function fail.
"""

from __future__ import annotations

import base64
import ctypes
import json
from collections import Counter
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

__version__ = "1.7.1.116"

calls: Counter[str] = Counter()
broken: dict[str, str] = {}
"""Functions that fail, and what they say."""
built: list[SimpleNamespace] = []
"""The configurations of the engines that were built."""


def reset() -> None:
    calls.clear()
    broken.clear()
    built.clear()


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.made = True

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


DataType = IntEnum("DataType", "FLOAT HALF INT64", start=0)
LayerType = IntEnum("LayerType", "CONVOLUTION SHUFFLE", start=0)
TensorIOMode = IntEnum("TensorIOMode", "NONE INPUT OUTPUT", start=0)
BuilderFlag = IntEnum("BuilderFlag", "TF32 REFIT REQUIRE_USER_ALLOCATION", start=0)
PreviewFeature = IntEnum("PreviewFeature", "RUNTIME_ACTIVATION_RESIZE_10_10", start=0)
ExecutionContextAllocationStrategy = IntEnum(
    "ExecutionContextAllocationStrategy", "STATIC ON_PROFILE_CHANGE USER_MANAGED", start=0
)
ProfilingVerbosity = IntEnum("ProfilingVerbosity", "LAYER_NAMES_ONLY DETAILED", start=0)
NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
CudaGraphStrategy = IntEnum("CudaGraphStrategy", "DISABLED WHOLE_GRAPH_CAPTURE", start=0)
DynamicShapesKernelSpecializationStrategy = IntEnum(
    "DynamicShapesKernelSpecializationStrategy", "LAZY EAGER NONE", start=0
)
LayerInformationFormat = IntEnum("LayerInformationFormat", "ONELINE JSON", start=0)
ComputeCapability = IntEnum(
    "ComputeCapability", {"NONE": 0, "CURRENT": 1, "SM75": 75, "SM86": 86, "SM89": 89, "SM120": 120}
)


def _fails(log: ILogger, function: str) -> bool:
    calls[function] += 1
    if function in broken:
        log.log(Severity.ERROR, broken[function])
    return function in broken


class _Network:
    def __init__(self, flags: int) -> None:
        self.strongly_typed = bool(flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.model: onnx.ModelProto

    @property
    def num_inputs(self) -> int:
        return len(self.model.graph.input)

    def get_input(self, index: int) -> SimpleNamespace:
        value = self.model.graph.input[index]
        dims = [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim]
        return SimpleNamespace(name=value.name, shape=tuple(dims))

    @property
    def num_layers(self) -> int:
        return len(self.model.graph.node)

    def get_layer(self, index: int) -> SimpleNamespace:
        """A layer a node; a convolution has its weights' type."""
        node = self.model.graph.node[index]
        kinds = {weight.name: weight.data_type for weight in self.model.graph.initializer}
        half = any(kinds.get(name) == onnx.TensorProto.FLOAT16 for name in node.input)
        output = SimpleNamespace(dtype=DataType.HALF if half else DataType.FLOAT)
        kind = LayerType.CONVOLUTION if node.op_type == "Conv" else LayerType.SHUFFLE
        return SimpleNamespace(type=kind, get_output=lambda _index: output)


class OnnxParser:
    def __init__(self, network: _Network, log: ILogger) -> None:
        assert log.made
        self._network, self._log, self._told = network, log, ""

    def parse(self, model: bytes) -> bool:
        if _fails(self._log, "parse"):
            self._told = broken["parse"]
            return False
        self._network.model = onnx.load_from_string(model)
        return True

    @property
    def num_errors(self) -> int:
        return bool(self._told)

    def get_error(self, _index: int) -> SimpleNamespace:
        return SimpleNamespace(desc=lambda: self._told)


class _Profile(dict):
    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self[name] = [tuple(shape) for shape in shapes]


class _Config:
    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[_Profile] = []
        self.num_compute_capabilities = 0
        self.capabilities: list[int] = []
        self.features: set[PreviewFeature] = set()

    def set_preview_feature(self, feature: PreviewFeature, on: bool) -> None:
        assert on
        self.features.add(feature)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def add_optimization_profile(self, profile: _Profile) -> int:
        ordered = all(
            sorted(at) == list(at)
            for shapes in profile.values()
            for at in zip(*shapes, strict=True)
        )
        self.profiles += [profile] if ordered else []
        return len(self.profiles) - 1 if ordered else -1

    def set_compute_capability(self, number: int, index: int) -> bool:
        assert index == len(self.capabilities) < self.num_compute_capabilities
        self.capabilities.append(number)
        return True


class Builder:
    def __init__(self, log: ILogger) -> None:
        if _fails(log, "Builder"):
            raise TypeError("factory function returned nullptr")
        self._log = log

    create_network = staticmethod(_Network)
    create_builder_config = staticmethod(_Config)
    create_optimization_profile = staticmethod(_Profile)

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        if _fails(self._log, "build_serialized_network"):
            return None
        for profile in config.profiles:
            assert set(profile) == {value.name for value in network.model.graph.input}
        built.append(SimpleNamespace(strongly_typed=network.strongly_typed, **vars(config)))
        graph = base64.b64encode(network.model.SerializeToString()).decode()
        resized = PreviewFeature.RUNTIME_ACTIVATION_RESIZE_10_10 in config.features
        made = {"graph": graph, "profiles": config.profiles, "resized": resized}
        return json.dumps(made).encode()


class Runtime:
    def __init__(self, log: ILogger) -> None:
        if _fails(log, "Runtime"):
            raise TypeError("factory function returned nullptr")
        self._log = log

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        if _fails(self._log, "deserialize_cuda_engine"):
            return None
        return Engine(json.loads(content), self._log)


class Engine:
    types = ("Half", "Float")
    """Of the convolutions that the inspector shows."""

    def __init__(self, content: dict[str, Any], log: ILogger) -> None:
        self.log = log
        self.profiles, self.resized = content["profiles"], content["resized"]
        self.session = onnxruntime.InferenceSession(
            base64.b64decode(content["graph"]), providers=["CPUExecutionProvider"]
        )
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.output = self.session.get_outputs()[0].name
        self.num_optimization_profiles = len(self.profiles)
        self.num_io_tensors = len(self.inputs) + 1

    def get_tensor_name(self, index: int) -> str:
        return [self.output, *self.inputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_profile_shape(self, name: str, index: int) -> list[list[int]]:
        return self.profiles[index][name]

    def create_engine_inspector(self) -> SimpleNamespace | None:
        if _fails(self.log, "create_engine_inspector"):
            return None
        layers = [
            {"LayerType": "CaskConvolution", "Inputs": [{"Name": "h", "Format/Datatype": kind}]}
            for kind in self.types
        ]
        told = json.dumps({"Layers": layers})
        return SimpleNamespace(get_engine_information=lambda _format: told)

    def create_runtime_config(self) -> _RuntimeConfig | None:
        return None if _fails(self.log, "create_runtime_config") else _RuntimeConfig()

    def create_execution_context(self, how: Any) -> _Context | None:
        """In memory of the user's own, as an engine with that flag asks for; `how` is a strategy or a configuration."""
        config = how if isinstance(how, _RuntimeConfig) else None
        strategy = how if config is None else config.strategy
        if strategy != ExecutionContextAllocationStrategy.USER_MANAGED:
            self.log.log(Severity.ERROR, "creation requires USER_MANAGED allocation")
            return None
        return None if _fails(self.log, "create_execution_context") else _Context(self, config)


class _Compiled:
    """The shapes that something was compiled for."""

    def __init__(self) -> None:
        self.shapes: set[str] = set()

    def deserialize(self, content: bytes) -> bool:
        self.shapes = set(json.loads(content))
        return True

    def serialize(self) -> bytes:
        return json.dumps(sorted(self.shapes)).encode()


class _RuntimeConfig:
    create_runtime_cache = staticmethod(_Compiled)
    strategy = ExecutionContextAllocationStrategy.STATIC

    def set_execution_context_allocation_strategy(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> None:
        self.strategy = strategy

    def set_runtime_cache(self, compiled: _Compiled) -> None:
        self.compiled = compiled


class _Context:
    """One that refuses what does not fit its profile."""

    def __init__(self, engine: Engine, config: _RuntimeConfig | None) -> None:
        self.engine, self.config, self.profile = engine, config, 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.memory = (0, 0)
        self.streams: set[int] = set()

    def set_optimization_profile_async(self, index: int, _stream: int) -> bool:
        self.profile = index
        self.shapes, self.addresses = {}, {}
        return 0 <= index < self.engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.profiles[self.profile][name]
        self.shapes[name] = shape
        return len(shape) == len(least) and all(
            a <= b <= c for a, b, c in zip(least, shape, most, strict=True)
        )

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        """As for the largest batch, unless the builder was told that smaller ones are to need less."""
        assert set(self.shapes) == set(self.engine.inputs)
        _, _, most = self.engine.profiles[self.profile]["y"]
        return 8 * int(np.prod(self.shapes["y"] if self.engine.resized else most))

    def set_device_memory(self, address: int, size: int) -> None:
        self.memory = (address, size)

    def is_stream_capturable(self, _stream: int) -> bool:
        return "is_stream_capturable" not in broken

    def execute_async_v3(self, stream: int) -> bool:
        if _fails(self.engine.log, "execute_async_v3"):
            return False
        assert set(self.addresses) == {*self.engine.inputs, self.engine.output}
        address, size = self.memory
        assert address > 0
        assert size >= self.update_device_memory_size_for_shapes()
        ctypes.memset(address, 0x5A, size)  # as an engine would write there
        self.streams.add(stream)
        if self.config is not None and str(self.shapes["y"]) not in self.config.compiled.shapes:
            calls["compiled"] += 1
            self.config.compiled.shapes.add(str(self.shapes["y"]))
        given = {name: self._array(name, self.shapes[name]) for name in self.engine.inputs}
        (found,) = self.engine.session.run(None, given)
        self._array(self.engine.output, found.shape)[...] = found
        return True

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        memory = (ctypes.c_float * int(np.prod(shape))).from_address(self.addresses[name])
        return np.frombuffer(memory, np.float32).reshape(shape)
