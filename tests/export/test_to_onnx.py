from __future__ import annotations

import re
from collections import Counter

import onnx
import torch

from mrct_export.to_onnx import OPSET, to_onnx
from mrct_runtime.onnx_header import read_header
from mrct_runtime.process import Direct


def test_the_file_has_opset_18_and_the_inputs_and_output_of_the_design(exported) -> None:
    header = read_header(exported.graph.dumps())
    image = ("batch", 1, "height", "width")
    noise = {"x": image, "y": image, "t": ("batch",), "eps": image}
    expected = {"y": image, "x0": image} if exported.process == Direct() else noise
    assert header.opset == OPSET == 18
    signatures = (*header.inputs, *header.outputs)
    assert [(s.name, s.shape) for s in signatures] == list(expected.items())
    assert len(header.outputs) == 1
    assert all(signature.is_float32 for signature in signatures)


def test_the_onnx_checker_and_its_shape_inference_accept_it(exported) -> None:
    model = onnx.load_model_from_string(exported.graph.dumps())
    onnx.checker.check_model(model, full_check=True)


def test_it_is_one_plain_evaluation_in_the_form_that_onnx_runtime_is_fastest_with(exported) -> None:
    count = Counter(exported.graph.operators)
    modules = Counter(type(module).__name__ for module in exported.network.modules())
    assert count["Conv"] == modules["Conv2d"]
    # GroupNormalization would be opset 21's form.
    assert count["InstanceNormalization"] == modules["GroupNorm"]
    assert not any(name in count for name in ("Loop", "If", "Scan", "GroupNormalization"))
    assert not any("Random" in name for name in count)


def test_every_weight_is_in_the_file(exported) -> None:
    in_file = sum(len(t.raw_data) for t in exported.graph.model.graph.initializer)
    in_network = 4 * sum(p.numel() for p in exported.network.parameters())
    assert in_file >= in_network
    assert len(exported.graph.dumps()) > in_network


def test_nothing_in_the_file_tells_of_the_machine_or_the_sources(exported) -> None:
    model = onnx.load_model_from_string(exported.graph.dumps())
    for weights in model.graph.initializer:
        weights.raw_data = b""
    content = model.SerializeToString()
    assert not re.search(rb"/\w\w|\w\.py\b", content)
    for trace in (b"stack_trace", b"pkg.torch", b"site-packages"):
        assert trace not in content


def test_exporting_again_gives_the_same_bytes_and_leaves_the_network_as_it_was(exported) -> None:
    network = exported.network.train()
    try:
        again = to_onnx(network, exported.form, exported.image.multiple)
        assert network.training
    finally:
        network.eval()
    assert again.dumps({"b": "2", "a": "1"}) == exported.graph.dumps({"a": "1", "b": "2"})


def test_metadata_is_added_to_a_copy(exported) -> None:
    assert read_header(exported.graph.dumps({"key": "value"})).metadata == {"key": "value"}
    assert read_header(exported.graph.dumps()).metadata == {}


def test_onnx_runtime_reads_the_metadata_as_well(bundle_path) -> None:
    import onnxruntime

    content = (bundle_path / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == read_header(content).metadata


def test_the_smallest_image_that_the_network_takes_is_in_range(exported) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        exported.graph.dumps(), providers=["CPUExecutionProvider"]
    )
    side = exported.image.multiple
    x, y = torch.rand(2, 1, 1, side, 2 * side)
    given = {"x": x, "y": y, "t": torch.tensor([0.7])}
    feeds = {tensor.name: given[tensor.name] for tensor in exported.form.inputs}
    with torch.inference_mode():
        expected = exported.network(*feeds.values())
    (found,) = session.run(None, {name: value.numpy() for name, value in feeds.items()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)
