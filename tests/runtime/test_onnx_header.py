from __future__ import annotations

from contextlib import suppress

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import small_network
from tiny_bundle import tiny_model

from mrct_runtime.errors import BundleError
from mrct_runtime.onnx_header import read_header, weights
from mrct_runtime.process import DDPM, VESDE


@pytest.fixture
def model() -> onnx.ModelProto:
    return tiny_model(DDPM(), {"a": "1", "mrct": "ü" * 300})


def test_the_header_is_what_the_onnx_library_reads(model: onnx.ModelProto) -> None:
    header = read_header(model.SerializeToString())
    assert header.opset == model.opset_import[0].version
    assert header.metadata == {entry.key: entry.value for entry in model.metadata_props}
    for found, tensors in (
        (header.inputs, model.graph.input),
        (header.outputs, model.graph.output),
    ):
        expected = [
            (v.name, tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim))
            for v in tensors
        ]
        assert [(signature.name, signature.shape) for signature in found] == expected
        assert all(signature.is_float32 for signature in found)


def test_another_type_is_seen(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert not read_header(model.SerializeToString()).inputs[0].is_float32


@pytest.mark.parametrize(("kind", "bytes_each"), [(np.float32, 4), (np.float16, 2)])
def test_the_bytes_of_weights_are_counted_as_they_are_and_as_float32(kind, bytes_each) -> None:
    count = 2 * 16 * 9  # an integer constant is there as well, and no weight
    assert weights(small_network(kind).model) == (bytes_each * count, 4 * count)


def test_weights_of_garbage_are_refused() -> None:
    with pytest.raises(BundleError, match="cannot be decoded"):
        weights(b"\x3a\xff")


def external_initializer(model: onnx.ModelProto) -> None:
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../etc/passwd")


def external_constant(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32))
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["late"], value=tensor))


def branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    node = helper.make_node("If", ["c0"], [], then_branch=inner, else_branch=inner)
    model.graph.node.append(node)


def random_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormalLike", ["x"], ["z"]))


def foreign_operators(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def local_function(model: onnx.ModelProto) -> None:
    opset = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("f", "F", [], [], [], opset))


def sparse_weights(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().dims.append(1)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (external_initializer, "weights in another file"),
        (external_constant, "weights in another file"),
        (branch, "a loop or a branch"),
        (random_node, "random operator RandomNormalLike"),
        (foreign_operators, "operators of 'com.microsoft'"),
        (local_function, "local functions"),
        (sparse_weights, "sparse weights"),
    ],
)
def test_what_could_reach_outside_the_file_is_refused(model, spoil, reason: str) -> None:
    read_header(model.SerializeToString())
    spoil(model)
    with pytest.raises(BundleError, match=reason):
        read_header(model.SerializeToString())


def test_a_second_graph_cannot_hide_behind_the_first(model: onnx.ModelProto) -> None:
    """Protobuf merges repeated fields: a parser would see the external weights of both."""
    spoiled = tiny_model(VESDE(), {})
    external_initializer(spoiled)
    with pytest.raises(BundleError, match="holds 2 graphs"):
        read_header(spoiled.SerializeToString() + model.SerializeToString())


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\xff" * 40, b"not an ONNX file", b"\x3a\x05ab"]
)
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError):
        read_header(content)


def test_no_truncation_or_flipped_bit_causes_anything_but_an_answer_or_a_refusal(model) -> None:
    content = model.SerializeToString()
    rng = np.random.default_rng(0)
    for _ in range(500):
        spoiled = bytearray(content[: rng.integers(len(content))])
        for at in rng.integers(0, len(content), 3):
            if at < len(spoiled):
                spoiled[at] ^= 1 << rng.integers(8)
        with suppress(BundleError):
            read_header(bytes(spoiled))
