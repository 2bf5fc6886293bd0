"""The graph that ONNX Runtime's optimiser makes for a GPU: its operators, and what it computes by their definitions."""

from __future__ import annotations

import sys
from collections import Counter

import onnx
import pytest
from fused_reference import evaluated

from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines import onnxruntime_fusion
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.engines.onnxruntime_fusion import fused, optimised
from mrct_runtime.engines.target import Network
from mrct_runtime.errors import EngineError


def network(bundle: Bundle) -> Network:
    return Network(
        bundle.network("fp32"), "fp32", bundle.manifest.image.size, bundle.manifest.opset
    )


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(demonstration_bundle("em"))


@pytest.fixture(scope="module")
def optimiser_made(bundle):
    return optimised(network(bundle))


@pytest.fixture(scope="module")
def made(optimiser_made) -> bytes:
    return bytes(optimiser_made.model.SerializeToString())


def operators(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


def test_every_norm_and_convolution_of_our_networks_is_fused(bundle, made) -> None:
    before, after = operators(bundle.network("fp32")), operators(made)
    assert before["InstanceNormalization"] == after["GroupNorm"] + after["SkipGroupNorm"] > 0
    assert before["Conv"] == after["NhwcConv"] > 0
    assert after["Conv"] == after["InstanceNormalization"] == 0


def test_by_the_definitions_of_its_operators_it_is_the_trained_network(bundle, made) -> None:
    output = evaluated(made, dict(bundle.golden.inputs))
    assert bundle.golden.deviation(output) < 1e-5


def test_no_processor_runs_it_and_that_is_told_in_one_line(made, capfd) -> None:
    with pytest.raises(EngineError, match=r"cannot load the model: .*NOT_IMPLEMENTED.*NhwcConv"):
        OnnxRuntime(made)
    assert capfd.readouterr() == ("", "")


def test_inputs_and_outputs_stay_as_they_are(bundle, made) -> None:
    before, after = (onnx.load_from_string(model).graph for model in (bundle.network("fp32"), made))
    for one, other in ((before.input, after.input), (before.output, after.output)):
        assert [value.name for value in one] == [value.name for value in other]
        assert [value.type.tensor_type.elem_type for value in one] == [
            value.type.tensor_type.elem_type for value in other
        ]


def test_a_graph_with_nothing_to_fuse_is_refused_and_nothing_is_printed(capfd) -> None:
    value = onnx.helper.make_tensor_value_info
    floats, shape = onnx.TensorProto.FLOAT, ["B", 1, "H", "W"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["y", "y"], ["x0"])],
        "plain",
        [value("y", floats, shape)],
        [value("x0", floats, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    with pytest.raises(EngineError, match="found nothing to fuse"):
        fused(Network(model.SerializeToString(), "fp32", 64, 18))
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_names_the_extra(bundle, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.transformers.optimizer", None)
    with pytest.raises(EngineError, match=r"which fusing the graph needs: pip install 'mrct\[gpu"):
        fused(network(bundle))


def test_groups_that_the_kernel_does_not_take_are_told_before_it_runs(
    bundle, optimiser_made, monkeypatch
) -> None:
    monkeypatch.setattr(onnxruntime_fusion, "optimised", lambda _: optimiser_made)
    with pytest.raises(
        EngineError, match="a norm has 3 channels a group, and ONNX Runtime's takes"
    ):
        fused(network(bundle))
