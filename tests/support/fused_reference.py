"""What a fused graph computes, in NumPy: ONNX's reference evaluator with the operators of ONNX Runtime's GPU provider.

The operators are written from their documentation (ONNX Runtime, ContribOperators.md), apart from the optimiser.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def normalised(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, node: onnx.NodeProto):
    """GroupNorm of x [N, H, W, C], and its SiLU where the node says so."""
    given = attributes(node)
    assert given.get("channels_last", 1) == 1
    n, h, w, c = x.shape
    grouped = x.reshape(n, h * w, given["groups"], c // given["groups"]).astype(np.float64)
    mean, variance = (f(grouped, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
    y = (grouped - mean) / np.sqrt(variance + given.get("epsilon", 1e-5))
    y = y.reshape(x.shape) * gamma + beta
    return (y / (1 + np.exp(-y)) if given["activation"] else y).astype(x.dtype)


class GroupNorm(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x, gamma, beta, **_):
        return (normalised(x, gamma, beta, self.onnx_node),)


class SkipGroupNorm(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x, gamma, beta, skip, bias=None, **_):
        """y, and the sum that was normalised; skip may be [N, C] or [N, 1, 1, C]."""
        total = x + (skip[:, None, None] if skip.ndim == 2 else skip)
        total = total if bias is None else total + bias
        y = normalised(total, gamma, beta, self.onnx_node)
        return (y, total)[: len(self.onnx_node.output)]


class NhwcConv(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x, weight, bias=0.0, **_):
        """A convolution of x [N, H, W, C] with weight [M, h, w, C], as a sum over its taps."""
        given = attributes(self.onnx_node)
        assert given["group"] == 1
        assert given["dilations"] == [1, 1]
        top, left, bottom, right = given["pads"]
        down, along = given["strides"]
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        m, h, w, _ = weight.shape
        rows, columns = (x.shape[1] - h) // down + 1, (x.shape[2] - w) // along + 1
        y = np.zeros((len(x), rows, columns, m), x.dtype)
        for i in range(h):
            for j in range(w):
                tap = x[:, i : i + down * rows : down, j : j + along * columns : along]
                y += tap @ weight[:, i, j].T
        return (y + bias,)


def evaluated(model: bytes, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The graph's output for these inputs."""
    graph = onnx.load_from_string(model)
    if "com.microsoft" not in {opset.domain for opset in graph.opset_import}:
        graph.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    operators = [GroupNorm, SkipGroupNorm, NhwcConv]
    (output,) = ReferenceEvaluator(graph, new_ops=operators).run(None, inputs)
    return output
