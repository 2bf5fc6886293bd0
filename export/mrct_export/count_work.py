"""What a graph computes and moves, from its shapes: convolutions, matrix products and norms.

Everything else is taken as fused into these, and a norm as read once for its statistics and once more, and written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array
from onnx.reference import ReferenceEvaluator

from mrct_runtime.bench.work import Layer, Work
from mrct_runtime.errors import UsageError


def count_work(model: bytes, size: int) -> Work:
    """The layers of one evaluation of one size x size image."""
    graph = _inferred(onnx.load_from_string(model), size).graph
    shapes = {
        value.name: _shape(value) for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    weights = {tensor.name for tensor in graph.initializer}
    layers = (_layer(node, shapes, weights) for node in graph.node)
    return Work(tuple(layer for layer in layers if layer is not None))


def _layer(
    node: onnx.NodeProto, shapes: Mapping[str, list[int]], weights: set[str]
) -> Layer | None:
    if node.op_type not in {"Conv", "Gemm", "MatMul", *_NORMS}:
        return None
    first, out = (_known(name, shapes) for name in (node.input[0], node.output[0]))
    if node.op_type in _NORMS:
        return Layer("norm", 0, 3 * math.prod(out))
    second = _known(node.input[1], shapes)
    if node.op_type == "Conv":
        terms = math.prod(second[1:])
    else:
        transposed = node.op_type == "Gemm" and any(
            attribute.name == "transA" and attribute.i for attribute in node.attribute
        )
        terms = first[0] if transposed else first[-1]
    flop = 2 * math.prod(out) * terms
    moved = math.prod(first) + math.prod(out)
    if node.input[1] in weights:
        return Layer(node.op_type, flop, moved, math.prod(second))
    return Layer(node.op_type, flop, moved + math.prod(second))


_NORMS = frozenset({"InstanceNormalization", "GroupNormalization", "LayerNormalization"})


def _inferred(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """The model for one image of that size, every shape a number where it can be inferred."""
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, number in zip(dims, (1, 1, size, size), strict=False):
            dim.dim_value = number
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    _fold_sizes(model.graph)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _fold_sizes(graph: onnx.GraphProto) -> None:
    """Puts numbers in the place of what the graph computes from its inputs' sizes: inference knows no division."""
    known = {
        tensor.name: to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT64
    }
    images = {value.name: np.empty(_shape(value), np.float32) for value in graph.input}
    for node in list(graph.node):
        given = known | images if node.op_type == "Shape" else known
        if node.input and all(name in given for name in node.input):
            (value,) = ReferenceEvaluator(node).run(
                None, {name: given[name] for name in node.input}
            )
            known[node.output[0]] = found = np.asarray(value)
            graph.initializer.append(from_array(found, node.output[0]))
            graph.node.remove(node)


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _known(name: str, shapes: Mapping[str, list[int]]) -> list[int]:
    shape = shapes.get(name, [])
    if not all(shape) or not shape:
        raise UsageError(f"the shape of {name!r} cannot be inferred, so its work cannot be counted")
    return shape
