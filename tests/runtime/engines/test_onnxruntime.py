"""The ONNX Runtime engine, on small graphs whose output is known in closed form."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from fake_device import FakeDevice
from onnx import TensorProto, helper

from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.errors import DeviceMemoryError, EngineError

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


def on_a_device(model: bytes) -> tuple[OnnxRuntime, FakeDevice]:
    """The engine with arrays of a device, whose memory is the host's, so that the processor can compute with them."""
    device = FakeDevice("cpu:0")
    return OnnxRuntime(model, threads=1, device=device), device


def test_on_a_device_the_network_reads_and_writes_the_devices_arrays(model: bytes) -> None:
    engine, device = on_a_device(model)
    x, y, times = images(3), images(3, seed=1), np.array([0.1, 0.5, 1.0])
    here = OnnxRuntime(model, threads=1).bind(y)
    with device.running():
        eps, there = engine.bind(device.xp.asarray(y)), device.xp.asarray(x)
        for t in (0.25, times):
            np.testing.assert_array_equal(device.to_host(eps(there, t)), here(x, t))
        wide = device.xp.asarray(x.astype(np.float64))
        np.testing.assert_array_equal(device.to_host(eps(wide, 0.25)), here(x, 0.25))


def test_an_evaluation_on_a_device_copies_nothing_but_the_times_of_adaptive_samplers(model) -> None:
    engine, device = on_a_device(model)
    with device.running():
        y = device.xp.asarray(images(3))
        eps, before = engine.bind(y), device.now()
        for _ in range(3):
            eps(y, 0.5)
        there = device.now().since(before)
        assert (there.uploads, there.downloads, there.waits, there.arrays) == (0, 0, 0, 0)
        before = device.now()
        eps(y, np.full(3, 0.5))
        there = device.now().since(before)
        assert (there.uploads, there.downloads, there.waits) == (1, 0, 0)


def test_buffers_are_bound_by_their_address_on_the_gpu_and_the_run_is_not_waited_for(
    model, monkeypatch
) -> None:
    bound, runs = {}, []

    def bind(name, kind, gpu, dtype, shape, address) -> None:
        assert (kind, gpu, dtype) == ("cuda", 3, np.float32)
        bound[name] = tuple(shape), address

    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name=name) for name in ("x", "y", "t")],
        get_outputs=lambda: [SimpleNamespace(name="eps")],
        io_binding=lambda: SimpleNamespace(bind_input=bind, bind_output=bind),
        run_with_iobinding=lambda _binding, options: runs.append(options),
    )
    monkeypatch.setattr("mrct_runtime.engines.onnxruntime.open_session", lambda *_: session)
    device = FakeDevice("cuda:3")
    with device.running():
        y = device.xp.asarray(images(2))
        eps = OnnxRuntime(model, device=device).bind(y)
        found = eps(y, 0.5)
        assert bound["eps"] == ((2, 1, 8, 8), device.pointer(found))
    assert bound["t"][0] == (2,)
    assert len({address for _, address in bound.values()}) == 4
    (options,) = runs
    assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 5", True),
        ("CUDA failure 2: out of memory ; GPU=0", True),
        ("CUDNN failure 4002: CUDNN_STATUS_ALLOC_FAILED", True),
        ("Non-zero status code\nstd::bad_alloc", True),
        ("CUDA failure 700: an illegal memory access was encountered", False),
        ("GroupNorm in CUDA does not support the input", False),
    ],
)
def test_too_little_memory_is_told_from_other_failures(model, told, kind) -> None:
    engine = OnnxRuntime(model, threads=1)
    denoise = engine.bind(images(1))

    def fails(*_) -> None:
        raise RuntimeError(told)

    denoise._session = SimpleNamespace(run_with_iobinding=fails)
    with pytest.raises(EngineError, match=re.escape(told.partition("\n")[0])) as raised:
        denoise(images(1), 0.5)
    assert isinstance(raised.value, DeviceMemoryError) == kind
