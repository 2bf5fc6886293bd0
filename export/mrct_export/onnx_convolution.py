"""The same 3 x 3 convolution as in train's torch_peaks, in ONNX Runtime on the CPU: its own peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mrct_runtime.bench.candidates import CONVOLUTION, Candidate
from mrct_runtime.bench.clock import HostClock
from mrct_runtime.bench.stand import Stand

_CHANNELS: Final = 256
_SIDE: Final = 64
_LAYERS: Final = 4
"""Several, because the way into the blocked layout and back is paid once for a network."""


class Convolution:
    """A chain of convolutions of 256 channels, 64 x 64 pixels."""

    clock = HostClock()

    def __init__(self, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            _model(), options, providers=["CPUExecutionProvider"]
        )
        flop = _LAYERS * 2 * 9 * _CHANNELS**2 * _SIDE**2
        self.facts = {"device": "cpu", "precision": "fp32", "threads": threads, "flop": flop}

    def case(self, batch: int) -> Callable[[], object]:
        """One pass of one image, whatever the batch."""
        del batch
        shape = (1, _CHANNELS, _SIDE, _SIDE)
        image = np.random.default_rng(0).random(shape, np.float32)
        return lambda: self._session.run(None, {"x": image})

    @staticmethod
    def device_memory() -> None:
        """None: this is the host."""


def stand(asked: dict[str, Any]) -> Stand:
    """The stand of the chain with so many threads."""
    return Stand(lambda: Convolution(asked["threads"]))


def candidate(threads: int) -> Candidate:
    """ONNX Runtime's convolution peak on the CPU."""
    maker = "mrct_export.onnx_convolution:stand"
    return Candidate(f"{CONVOLUTION} fp32, ONNX Runtime", "peak", maker, {"threads": threads})


def _model() -> bytes:
    rng = np.random.default_rng(0)
    shape = (_CHANNELS, _CHANNELS, 3, 3)
    names = ["x", *(f"h{n}" for n in range(1, _LAYERS)), "y"]
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.02, shape).astype(np.float32), f"w{n}")
        for n in range(_LAYERS)
    ]
    nodes = [
        helper.make_node("Conv", [names[n], f"w{n}"], [names[n + 1]], pads=[1, 1, 1, 1])
        for n in range(_LAYERS)
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, _CHANNELS, _SIDE, _SIDE])
        for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content
