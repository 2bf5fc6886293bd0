"""A TensorRT engine from a graph in ONNX: strongly typed, so that its precision is that of the graph and no other.

The flags that once asked for half precision are gone from TensorRT 11, where a build that relies on them gives float32
without a word; so what came out is compared with what went in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mrct_runtime.engines.target import Network
from mrct_runtime.engines.tensorrt_library import Library
from mrct_runtime.errors import EngineError, UsageError
from mrct_runtime.onnx_header import weights

RECIPE: Final = 2
"""Raised when what the builder is told here changes: engines of another recipe are not taken from the cache."""
MOST_BATCH: Final = 16
_LARGEST: Final = 8192
_CODE_BYTES: Final = 12_000_000
"""More than the code of a profile takes: 8 to 11 MB were measured with TensorRT-RTX 1.7."""


@dataclass(frozen=True)
class Shapes:
    """The images [B, 1, height, width] that an engine takes: B from least to most, fastest where it is tuned."""

    least: int
    tuned: int
    most: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.tuned <= self.most <= _LARGEST:
            raise UsageError(
                f"an engine's batch must grow from 1 to {_LARGEST}, got {self.least}-{self.tuned}-{self.most}"
            )
        if not (1 <= self.height <= _LARGEST and 1 <= self.width <= _LARGEST):
            raise UsageError(
                f"an engine's images must have 1 to {_LARGEST} rows, got {self.height} x {self.width}"
            )

    @classmethod
    def dynamic(cls, size: int, batch: int) -> Shapes:
        """Batches of 1 to 16, tuned for `batch` or the largest."""
        return cls(1, min(batch, MOST_BATCH), MOST_BATCH, size, size)

    @classmethod
    def static(cls, size: int, batch: int) -> Shapes:
        """Batches of one size; smaller ones are filled up."""
        return cls(batch, batch, batch, size, size)

    @property
    def batches(self) -> tuple[int, int, int]:
        """Least, tuned, most."""
        return self.least, self.tuned, self.most

    def take(self, batch: int, height: int, width: int) -> bool:
        """Whether such images can be evaluated, filled up where they are too few."""
        return batch <= self.most and (height, width) == (self.height, self.width)


def check_capabilities(library: Library, wanted: Sequence[str]) -> None:
    """UsageError where engines cannot be built for one of these."""
    if unknown := sorted(set(wanted) - set(library.capabilities)):
        known = ", ".join(library.capabilities) or "none but this machine's own"
        raise UsageError(
            f"{library} does not build for compute capability {unknown[0]!r}; it knows {known}"
        )


def build(
    library: Library, network: Network, shapes: Shapes, capabilities: Sequence[str] = ()
) -> bytes:
    """The engine, for these compute capabilities or any of Ampere and newer; one for the machine's own GPU of TensorRT.

    EngineError where TensorRT cannot, or where half precision was asked for and is not what came out.
    """
    check_capabilities(library, capabilities)
    library.forget()
    trt = library.trt
    builder = library.made("Builder")
    parsed = _parsed(library, builder, network)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 is no TF32
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that types can be inspected
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        # TensorRT-RTX may otherwise take memory in an evaluation, which no CUDA graph can repeat
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    resize = getattr(trt.PreviewFeature, "RUNTIME_ACTIVATION_RESIZE_10_10", None)
    if resize is not None and shapes.least < shapes.most:
        # without it an engine may ask for the memory of its largest batch also for a halved one
        config.set_preview_feature(resize, True)
    profiles = _profiles(network, shapes)
    for profile in profiles:
        _add_profile(library, builder, config, parsed, profile)
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            number = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
            if not config.set_compute_capability(number, index):
                raise library.failure(f"build for compute capability {capability}")
    if network.precision == "fp16":
        _check_parsed(library, parsed)
    plan = builder.build_serialized_network(parsed, config)
    if plan is None:
        raise library.failure(f"build the {network.precision} engine")
    engine = bytes(plan)
    if network.precision == "fp16" and library.flavour.portable:
        check_size(network.model, len(engine), len(profiles))
    return engine


def check_size(model: bytes, size: int, profiles: int) -> None:
    """EngineError where an engine is too large for the half-precision weights of its graph.

    Of those that are in half in the graph it may have less than 0.4 in float32, which makes it 0.7 times as large as the
    float32 engine where all are. That tells where the weights outweigh the code, which is from 40 MB in float32 on.
    """
    stored, whole = weights(model)
    most = int(stored + 0.4 * (whole - stored)) + _CODE_BYTES * profiles
    if size > most:
        raise EngineError(
            f"the fp16 engine has {size / 1e6:.0f} MB, at most {most / 1e6:.0f} can be in half precision: "
            "it was built in float32; take --precision fp32 or another backend"
        )


def _parsed(library: Library, builder: Any, network: Network) -> Any:
    """TensorRT's network of the graph, each tensor of the type that it has there."""
    trt = library.trt
    strongly = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    parsed = builder.create_network(0 if strongly is None else 1 << int(strongly))
    parser = trt.OnnxParser(parsed, library.log)
    if not parser.parse(network.model):
        told = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        reason = " ".join(told[0].split()) if told else "its parser does not say why"
        raise EngineError(f"{library} cannot take the graph: {reason}")
    return parsed


def _profiles(network: Network, shapes: Shapes) -> tuple[Shapes, ...]:
    """The shapes that are asked for, and those of the self-test where they are others.

    The batch of the self-test is a range: two profiles of one batch each double the weights of some engines.
    """
    if network.trial is None or shapes.take(*network.trial):
        return (shapes,)
    batch, height, width = network.trial
    return shapes, Shapes(1, batch, batch, height, width)


def _add_profile(library: Library, builder: Any, config: Any, parsed: Any, profile: Shapes) -> None:
    made = builder.create_optimization_profile()
    images = 1, profile.height, profile.width
    for index in range(parsed.num_inputs):
        tensor = parsed.get_input(index)
        row = images if len(tensor.shape) == 4 else ()
        made.set_shape(tensor.name, *((batch, *row) for batch in profile.batches))
    if config.add_optimization_profile(made) < 0:
        raise library.failure(f"take the shapes {profile}")


def _check_parsed(library: Library, parsed: Any) -> None:
    """EngineError where half precision is asked for and most convolutions are in another type."""
    trt = library.trt
    layers = (parsed.get_layer(index) for index in range(parsed.num_layers))
    types = [
        layer.get_output(0).dtype for layer in layers if layer.type == trt.LayerType.CONVOLUTION
    ]
    half = types.count(trt.DataType.HALF)
    if 2 * half < len(types) or not types:
        raise EngineError(
            f"{library} has {half} of {len(types)} convolutions of the fp16 graph in half precision: "
            "export the bundle again with --fp16"
        )
