"""The ONNX Runtime engine, on small graphs whose output is known in closed form."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.errors import EngineError

IMAGE = ["B", 1, "H", "W"]


@pytest.fixture(scope="module")
def model() -> bytes:
    """eps = x * t + y."""
    nodes = [
        helper.make_node("Reshape", ["t", "column"], ["t4"]),
        helper.make_node("Mul", ["x", "t4"], ["scaled"]),
        helper.make_node("Add", ["scaled", "y"], ["eps"]),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "affine",
        [
            helper.make_tensor_value_info("x", floats, IMAGE),
            helper.make_tensor_value_info("y", floats, IMAGE),
            helper.make_tensor_value_info("t", floats, ["B"]),
        ],
        [helper.make_tensor_value_info("eps", floats, IMAGE)],
        [helper.make_tensor("column", TensorProto.INT64, [4], [-1, 1, 1, 1])],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(built)
    return bytes(built.SerializeToString())


def images(batch: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 1, size, size)).astype(np.float32)


def test_the_bound_condition_is_used_with_one_time_or_a_time_a_sample(model: bytes) -> None:
    engine = OnnxRuntime(model, threads=1)
    x, y = images(3), images(3, seed=1)
    eps = engine.bind(y)
    np.testing.assert_allclose(eps(x, 0.25), x * np.float32(0.25) + y, rtol=1e-6)
    times = np.array([0.1, 0.5, 1.0])
    expected = x * times.reshape(-1, 1, 1, 1).astype(np.float32) + y
    np.testing.assert_allclose(eps(x, times), expected, rtol=1e-6)


def test_only_the_inputs_that_the_graph_has_are_bound() -> None:
    """x0 = 2 y: a direct network, which takes neither x nor t."""
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Add", ["y", "y"], ["x0"])],
        "direct",
        [helper.make_tensor_value_info("y", floats, IMAGE)],
        [helper.make_tensor_value_info("x0", floats, IMAGE)],
    )
    direct = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    engine = OnnxRuntime(direct.SerializeToString(), threads=1)
    y = images(3)
    x0 = engine.bind(y)
    np.testing.assert_array_equal(x0(images(3, seed=1), 1.0), 2 * y)
    np.testing.assert_array_equal(x0(images(3, seed=2), np.array([0.1, 0.5, 1.0])), 2 * y)


def test_float64_states_are_taken(model: bytes) -> None:
    eps = OnnxRuntime(model, threads=1).bind(images(2))
    found = eps(images(2).astype(np.float64), 1.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 2 * images(2), rtol=1e-6)


def test_binding_again_changes_condition_batch_and_size(model: bytes) -> None:
    engine = OnnxRuntime(model, threads=1)
    for batch, size, seed in ((2, 8, 0), (2, 8, 1), (5, 8, 2), (1, 16, 3), (2, 8, 4)):
        x, y = images(batch, size, seed), images(batch, size, seed + 10)
        np.testing.assert_allclose(engine.bind(y)(x, 0.5), x / 2 + y, rtol=1e-6)


def test_the_condition_is_copied_at_binding(model: bytes) -> None:
    y = images(1)
    eps = OnnxRuntime(model, threads=1).bind(y)
    before = eps(images(1), 0.5).copy()
    y[...] = 7
    np.testing.assert_array_equal(eps(images(1), 0.5), before)


def test_no_array_is_allocated_in_a_step(model: bytes) -> None:
    import tracemalloc

    eps, x = OnnxRuntime(model, threads=1).bind(images(4, 64)), images(4, 64)
    eps(x, 0.5)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(5):
        eps(x, 0.5)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < x.nbytes / 8


@pytest.mark.parametrize("shape", [(65, 1, 8, 8), (2, 8, 8), (2, 3, 8, 8)])
def test_a_condition_of_the_wrong_shape_is_refused(model: bytes, shape: tuple) -> None:
    with pytest.raises(EngineError, match=r"must be \[B, 1, H, W\] with B up to 64, got"):
        OnnxRuntime(model, threads=1).bind(np.zeros(shape, np.float32))


def test_a_closed_engine_says_so_and_may_be_closed_again(model: bytes) -> None:
    engine = OnnxRuntime(model, threads=1)
    denoise = engine.bind(images(1))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.bind(images(1))
    with pytest.raises(EngineError):
        denoise(images(1), 0.5)


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(EngineError, match="cannot load the model"):
        OnnxRuntime(b"not a model")


def test_a_missing_package_names_its_extra(model: bytes, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"pip install 'mrct\[cpu\]'"):
        OnnxRuntime(model)
