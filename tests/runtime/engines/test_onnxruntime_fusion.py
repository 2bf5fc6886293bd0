"""The graph that ONNX Runtime's optimiser makes for a GPU: its operators, and what it computes by their definitions."""

from __future__ import annotations

import sys
from collections import Counter

import onnx
import pytest
from fused_reference import evaluated

from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.engines.onnxruntime_fusion import fused
from mrct_runtime.engines.target import Network
from mrct_runtime.errors import EngineError


def network(bundle: Bundle) -> Network:
    return Network(bundle.model, "fp32", bundle.manifest.image.size, bundle.manifest.opset)


@pytest.fixture(scope="module", params=["em", "ddpm", "direct"])
def bundle(request) -> Bundle:
    return Bundle.load(demonstration_bundle(request.param))


@pytest.fixture(scope="module")
def made(bundle) -> bytes:
    return fused(network(bundle))


def operators(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


def test_every_norm_and_convolution_of_our_networks_is_fused(bundle, made) -> None:
    before, after = operators(bundle.model), operators(made)
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


def test_inputs_and_outputs_stay_as_they_are_and_nothing_is_printed(bundle, capfd) -> None:
    before, after = (onnx.load_from_string(m).graph for m in (bundle.model, fused(network(bundle))))
    assert capfd.readouterr() == ("", "")
    for one, other in ((before.input, after.input), (before.output, after.output)):
        assert [value.name for value in one] == [value.name for value in other]
        assert [value.type.tensor_type.elem_type for value in one] == [
            value.type.tensor_type.elem_type for value in other
        ]


def test_a_graph_with_nothing_to_fuse_is_refused() -> None:
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


def test_a_missing_package_names_the_extra(bundle, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.transformers.optimizer", None)
    with pytest.raises(EngineError, match=r"which fusing the graph needs: pip install 'mrct\[gpu"):
        fused(network(bundle))
