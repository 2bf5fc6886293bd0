"""A graph with a small fault in it, which parity has to see."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from mrct_export.to_onnx import Graph


def perturbed(graph: Graph, change: float) -> Graph:
    """The graph with one weight of its largest convolution changed."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    tensor = max(model.graph.initializer, key=lambda t: len(t.dims) == 4 and len(t.raw_data))
    weights = numpy_helper.to_array(tensor).copy()
    weights.flat[0] += change
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    return Graph(model)
