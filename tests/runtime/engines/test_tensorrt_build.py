"""Engines that TensorRT-RTX really builds, here, without a GPU; and what is refused of those that it may build."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import EnumType

import fake_tensorrt
import numpy as np
import pytest
from fake_device import FakeDevice
from onnx import TensorProto, helper
from small_network import IMAGE, small_network

from mrct_runtime.cuda import why_not
from mrct_runtime.engines.cache import EngineCache
from mrct_runtime.engines.target import Network
from mrct_runtime.engines.tensorrt import Kernels, TensorRT
from mrct_runtime.engines.tensorrt_build import Shapes, build, check_size
from mrct_runtime.engines.tensorrt_choice import Gpu, made, serving
from mrct_runtime.engines.tensorrt_library import RTX, Library
from mrct_runtime.engines.tensorrt_types import check_types
from mrct_runtime.errors import EngineError, UsageError

SHAPES = Shapes.dynamic(32, 10)


@pytest.fixture
def rtx() -> Library:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    return Library(RTX)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> EngineCache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return EngineCache.open()


@pytest.mark.parametrize(
    ("kind", "precision"), [(np.float32, "fp32"), (np.float16, "fp16")], ids=["fp32", "fp16"]
)
@pytest.mark.parametrize("shapes", [SHAPES, Shapes.static(32, 10)], ids=["dynamic", "static"])
def test_an_engine_is_built_without_a_gpu_and_taken_from_the_cache_by_its_key(
    rtx, cache, kind, precision, shapes
) -> None:
    small = small_network(kind, precision)
    first = made(rtx, small, shapes, None)
    assert first.built
    assert first.record.bytes == len(first.engine) == cache.path(first.record.key).stat().st_size
    assert first.record.key.architecture == "portable"
    assert made(rtx, small, shapes, None) == (first.record, first.engine, False)
    assert serving(rtx, small, 10, Gpu("8.9", "A GPU")) == (first.record, first.engine, False)


def test_an_engine_is_built_for_the_compute_capabilities_that_are_asked_for(rtx, cache) -> None:
    chosen = made(rtx, small_network(), SHAPES, None, ("12.0", "8.6", "8.9"))
    assert chosen.record.key.architecture == "8.6,8.9,12.0"
    for capability, built in (("8.6", False), ("12.0", False), ("8.0", True)):
        assert serving(rtx, small_network(), 10, Gpu(capability, "A GPU")).built == built


def test_a_compute_capability_that_it_does_not_know_is_refused_with_those_that_it_does(rtx) -> None:
    with pytest.raises(UsageError, match=r"compute capability '9\.0'; it knows 7\.5, 8\.0, 8\.6"):
        build(rtx, small_network(), SHAPES, ("8.9", "9.0"))


def test_a_flipped_byte_of_a_real_engine_is_refused(rtx, cache) -> None:
    path = cache.path(made(rtx, small_network(), SHAPES, None).record.key)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match=f"{path} was changed"):
        made(rtx, small_network(), SHAPES, None)


def test_another_batch_size_or_graph_is_another_engine(rtx, cache) -> None:
    keys = {
        made(rtx, asked, shapes, None).record.key.digest
        for asked, shapes in (
            (small_network(), SHAPES),
            (small_network(), Shapes.static(32, 2)),
            (small_network(np.float16, "fp16"), SHAPES),
            (replace(small_network(), trial=None), SHAPES),
        )
    }
    assert len(keys) == len(list(cache.records())) == 4


def test_what_is_called_fp16_and_is_float32_is_refused(rtx) -> None:
    with pytest.raises(EngineError, match="has 0 of 2 convolutions of the fp16 graph in half"):
        build(rtx, replace(small_network(), precision="fp16"), SHAPES)


def test_bytes_that_are_no_graph_are_refused_in_one_line(rtx) -> None:
    with pytest.raises(EngineError, match=r"TensorRT-RTX .* cannot take the graph: ") as raised:
        build(rtx, replace(small_network(), model=b"not a model"), SHAPES)
    assert "\n" not in str(raised.value)


def test_a_graph_that_it_cannot_build_is_refused_in_one_line(rtx) -> None:
    """Turing has no product of float32 matrices there."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, IMAGE) for name in "xy"]
    output = helper.make_tensor_value_info("eps", TensorProto.FLOAT, IMAGE)
    product = helper.make_node("MatMul", ["x", "y"], ["eps"])
    graph = helper.make_graph([product], "product", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    asked = Network(model.SerializeToString(), "fp32", 32, 18)
    with pytest.raises(
        EngineError, match=r"TensorRT-RTX .* cannot build the fp32 engine: .*Turing"
    ) as raised:
        build(rtx, asked, SHAPES, ("7.5",))
    assert "\n" not in str(raised.value)


def test_nothing_is_written_to_the_terminal(rtx, capfd) -> None:
    with pytest.raises(EngineError):
        build(rtx, replace(small_network(), model=b"not a model"), SHAPES)
    build(rtx, small_network(), SHAPES)
    assert capfd.readouterr() == ("", "")


def test_without_a_gpu_the_real_runtime_loads_no_engine_and_says_why_in_one_line(
    rtx, cache
) -> None:
    if why_not() is None:
        pytest.skip("there is a GPU, which may load it")
    chosen = made(rtx, small_network(), SHAPES, None)
    with pytest.raises(EngineError, match=r"TensorRT-RTX .* cannot .*CUDA") as raised:
        TensorRT(
            rtx,
            FakeDevice(),
            chosen.engine,
            "fp32",
            Kernels(chosen.record.key, Gpu("8.9", "A GPU")),
        )
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("half", "size", "sound"),
    [(True, 55e6, True), (True, 75e6, True), (True, 108e6, False), (False, 113e6, True)],
)
def test_a_size_that_only_float32_can_have_is_refused(monkeypatch, half, size, sound) -> None:
    whole = 104_000_000
    stored = whole // 2 if half else whole
    monkeypatch.setattr(
        "mrct_runtime.engines.tensorrt_build.weights", lambda _model: (stored, whole)
    )
    if sound:
        check_size(b"", int(size), 2)
    else:
        with pytest.raises(EngineError, match=r"the fp16 engine has 108 MB, at most 97 can be"):
            check_size(b"", int(size), 2)


class Inspected:
    """An engine whose inspector says this."""

    def __init__(self, told: str) -> None:
        self.create_engine_inspector = lambda: self
        self.get_engine_information = lambda _format: told


def layers(*types: str, kind: str = "CaskConvolution") -> str:
    """Layers of one kind whose input is of these types, and whose names say nothing about them."""
    told = [
        {"Name": "half", "LayerType": kind, "Inputs": [{"Name": "fp16", "Format/Datatype": each}]}
        for each in types
    ]
    return json.dumps({"Layers": told})


@contextmanager
def refused(expected: bool) -> Iterator[None]:
    if not expected:
        yield
        return
    with pytest.raises(EngineError, match="convolutions of the fp16 graph in half precision"):
        yield


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (layers("Float", "Float", "Half"), True),
        (layers("Row major linear FP32"), True),
        (layers("Float", "Half"), False),
        (layers("Channel major FP16 format where channel % 8 == 0"), False),
        (layers("Float", "Float", kind="ForeignNode"), False),
        ('{"Layers": ["a", "b"]}', False),
        ('{"Layers": [{"LayerType": "conv", "Inputs": ["x"], "Outputs": null}]}', False),
        ("no JSON", False),
        (None, False),
    ],
)
def test_an_engine_whose_convolutions_are_shown_in_float32_is_no_fp16_engine(
    rtx, told, wrong
) -> None:
    with refused(wrong):
        check_types(rtx, Inspected(told))


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 4, 2), (5, 4, 16), (1, 1, 10_000)])
def test_batches_that_do_not_grow_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match="batch must grow"):
        Shapes(*wrong, 32, 32)


STANDS_FOR = {
    fake_tensorrt.Builder: "Builder",
    fake_tensorrt.OnnxParser: "OnnxParser",
    fake_tensorrt.Runtime: "Runtime",
    fake_tensorrt.Engine: "ICudaEngine",
    fake_tensorrt._Context: "IExecutionContext",
    fake_tensorrt._Config: "IBuilderConfig",
    fake_tensorrt._Network: "INetworkDefinition",
    fake_tensorrt._Profile: "IOptimizationProfile",
    fake_tensorrt._RuntimeConfig: "IRuntimeConfig",
    fake_tensorrt._Compiled: "IRuntimeCache",
}


@pytest.mark.parametrize("fake", list(STANDS_FOR), ids=STANDS_FOR.get)
def test_the_stand_in_has_no_function_that_the_real_module_lacks(rtx, fake) -> None:
    real = getattr(rtx.trt, STANDS_FOR[fake])
    names = {
        name for name, value in vars(fake).items() if callable(value) or hasattr(value, "fget")
    }
    names |= {name for name, value in vars(fake).items() if isinstance(value, staticmethod)}
    assert {name for name in names if not name.startswith("_")} <= set(dir(real))


@pytest.mark.parametrize(
    "name", [name for name, kind in vars(fake_tensorrt).items() if isinstance(kind, EnumType)]
)
def test_the_stand_in_has_no_constant_that_the_real_module_lacks(rtx, name) -> None:
    owner = rtx.trt.ILogger if name == "Severity" else rtx.trt
    if not name.startswith("IntE"):
        members = set(getattr(fake_tensorrt, name).__members__)
        assert members <= set(getattr(owner, name).__members__)
