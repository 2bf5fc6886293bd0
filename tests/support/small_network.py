"""A network of two convolutions, for what builds engines: small, and with weights of one kind."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mrct_runtime.engines.target import Network

IMAGE = ["batch", 1, "height", "width"]


def small_network(kind=np.float32, precision="fp32", size: int = 32) -> Network:
    """eps = t conv(conv(x + y)): 16 channels between, weights of one kind."""
    rng = np.random.default_rng(0)
    narrow = TensorProto.FLOAT16 if kind == np.float16 else TensorProto.FLOAT
    first, second = (
        numpy_helper.from_array(rng.standard_normal(shape).astype(kind), name)
        for name, shape in (("first", (16, 1, 3, 3)), ("second", (1, 16, 3, 3)))
    )
    column = numpy_helper.from_array(np.array([-1, 1, 1, 1]), "column")
    nodes = [
        helper.make_node("Add", ["x", "y"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["narrow"], to=narrow),
        helper.make_node("Conv", ["narrow", "first"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "second"], ["out"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["out"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["t", "column"], ["t4"]),
        helper.make_node("Mul", ["wide", "t4"], ["eps"]),
    ]
    x, y, t, eps = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", IMAGE), ("y", IMAGE), ("t", ["batch"]), ("eps", IMAGE))
    )
    graph = helper.make_graph(nodes, "small", [x, y, t], [eps], [first, second, column])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return Network(model.SerializeToString(), precision, size, 18, (4, 8, 12))
