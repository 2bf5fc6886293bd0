"""The graph that ONNX Runtime fuses for a GPU, of networks whose norms its kernels take."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from fused_reference import evaluated

from mrct_export.parity import inputs, reference
from mrct_runtime.engines.onnxruntime import open_cpu, open_cuda
from mrct_runtime.engines.onnxruntime_fusion import fused
from mrct_runtime.engines.target import Network, Target
from mrct_runtime.errors import EngineError


@pytest.fixture(scope="module")
def network(exported) -> Network:
    return Network(exported.graph.dumps(), "fp32", exported.image.size, 18)


@pytest.fixture(scope="module")
def case(exported):
    return inputs(exported.process, np.array([0.05, 0.4, 1.0]), (32, 24), seed=1)


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    difference, power = (np.square(a).mean(axis=(1, 2, 3)) for a in (found - expected, expected))
    return float(np.sqrt(difference / power).max())


def test_it_computes_what_the_network_does_with_every_norm_and_convolution_fused(
    exported, network, case
) -> None:
    before, after = (
        Counter(node.op_type for node in onnx.load_from_string(model).graph.node)
        for model in (network.model, fused(network))
    )
    norms = before["InstanceNormalization"]
    assert norms == after["GroupNorm"] + after["SkipGroupNorm"] > 0
    assert before["Conv"] == after["NhwcConv"] > 0
    assert after["Conv"] == after["InstanceNormalization"] == 0
    output = evaluated(fused(network), dict(case.inputs))
    assert deviation(output, reference(exported.network, case)) < 1e-5


@pytest.mark.gpu
def test_on_a_gpu_the_fused_graph_computes_what_the_plain_one_does(cuda, network, case) -> None:
    try:
        engines = [open_cuda(network, Target("cuda", fuse=fuse)) for fuse in (True, False)]
    except EngineError as error:
        pytest.skip(str(error))
    expected = case.run(open_cpu(network, Target("cpu")))
    for engine in engines:
        assert deviation(case.run(engine), expected) < 1e-4
        engine.close()
