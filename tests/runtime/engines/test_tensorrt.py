"""The TensorRT engine over a module that is none: ONNX Runtime evaluates what it is told to."""

from __future__ import annotations

import re
import sys
import weakref

import fake_device
import fake_tensorrt
import numpy as np
import pytest
from fake_device import CapturingDevice
from small_network import small_network
from tiny_bundle import write_tiny_bundle

from mrct_runtime import cuda
from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines import tensorrt
from mrct_runtime.engines.cache import EngineCache
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.engines.selection import network_of
from mrct_runtime.engines.target import Target
from mrct_runtime.engines.tensorrt_build import Shapes
from mrct_runtime.engines.tensorrt_choice import Gpu, made
from mrct_runtime.engines.tensorrt_library import RTX, TENSORRT, Library
from mrct_runtime.errors import DeviceMemoryError, EngineError
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.samplers import sampler
from mrct_runtime.synthesis import Sampling, synthesize

SIZE = 16


@pytest.fixture(params=["tensorrt-rtx", "tensorrt"])
def backend(request, monkeypatch, tmp_path) -> str:
    """A backend whose module, GPU and cache are the test's."""
    return pretend(request.param, monkeypatch, tmp_path)


@pytest.fixture
def rtx(monkeypatch, tmp_path) -> str:
    return pretend("tensorrt-rtx", monkeypatch, tmp_path)


def pretend(name, monkeypatch, tmp_path) -> str:
    fake_tensorrt.reset()
    if name == "tensorrt":
        monkeypatch.setattr(fake_tensorrt, "__version__", "11.4.0.106")
    for module in ("tensorrt_rtx", "tensorrt"):
        monkeypatch.setitem(sys.modules, module, fake_tensorrt)
    monkeypatch.setattr(cuda, "gpus", lambda: ("A GPU",))
    monkeypatch.setattr(tensorrt, "Cuda", lambda gpu: CapturingDevice(f"cuda:{gpu}"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return name


@pytest.fixture(scope="module", params=[VESDE(), DDPM(), Direct()], ids=["ve", "ddpm", "direct"])
def bundle(request, tmp_path_factory) -> Bundle:
    path = tmp_path_factory.mktemp("bundles") / "tiny.mrct"
    return Bundle.load(write_tiny_bundle(path, request.param, size=SIZE))


@pytest.fixture(scope="module")
def sde(tmp_path_factory) -> Bundle:
    path = tmp_path_factory.mktemp("bundles") / "tiny.mrct"
    return Bundle.load(write_tiny_bundle(path, VESDE(), size=SIZE))


def images(batch: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, 1, size, size)).astype(np.float32)


def evaluated(engine, y, x, t) -> np.ndarray:
    device = engine.device
    with device.running():
        denoise = engine.bind(device.xp.asarray(y))
        return device.to_host(denoise(device.xp.asarray(x), t))


def test_evaluation_by_evaluation_it_is_the_reference(bundle, backend) -> None:
    """With one time or a time a sample, of batches that grow and shrink, float64 states too."""
    engine = bundle.open_engine(Target("cuda", backend))
    reference = bundle.open_engine(Target("cpu", threads=1))
    assert (engine.backend.engine, engine.backend.device) == (backend, "cuda:0")
    for batch, t in [(3, 0.25), (3, np.array([0.1, 0.5, 1.0])), (16, 1.0), (1, 0.01), (3, 0.25)]:
        y, x = images(batch), images(batch, 1)
        found, expected = (evaluated(each, y, x, t) for each in (engine, reference))
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(evaluated(engine, y, x.astype(np.float64), t), expected)
    engine.close()


@pytest.mark.parametrize(("name", "precision"), [("em", "fp32"), ("ddpm", "fp16")])
def test_samples_of_twenty_steps_are_those_of_the_reference(name, precision, rtx) -> None:
    bundle = Bundle.load(demonstration_bundle(name))
    size = bundle.manifest.image.size
    y = images(1, size=size)[:, 0]
    plan = Sampling(sampler(name, {"steps": 20}), mc=3, batch=2, series="1.2.3")
    moments = []
    for target in (Target("cuda", rtx, precision), Target("cpu", None, precision, threads=1)):
        engine = bundle.open_engine(target)
        assert engine.backend.precision == precision
        moments.append(synthesize(engine, bundle.process, y, plan))
        engine.close()
    found, expected = moments
    assert found.evaluations == expected.evaluations
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(found.std, expected.std, atol=1e-5)


def test_an_evaluation_is_one_graph_that_copies_nothing_and_waits_for_nothing(sde, backend) -> None:
    engine = sde.open_engine(Target("cuda", backend))
    device = engine.device
    with device.running():
        y = device.xp.asarray(images(3))
        eps = engine.bind(y)
        assert engine.captured
        before, replays = device.now(), device.replays
        for _ in range(3):
            eps(y, 0.5)
        there = device.now().since(before)
        assert (there.uploads, there.downloads, there.waits, there.arrays) == (0, 0, 0, 0)
        assert device.replays == replays + 3
        captures = device.captures
        engine.bind(y)
        assert device.captures == captures
        engine.bind(device.xp.asarray(images(2)))
        assert device.captures == captures + 1


@pytest.mark.parametrize("refuses", [RuntimeError("cudaErrorStreamCaptureUnsupported"), None])
def test_what_cannot_be_captured_is_queued_call_by_call(sde, rtx, refuses) -> None:
    if refuses is None:
        fake_tensorrt.broken["is_stream_capturable"] = "no"
    engine = sde.open_engine(Target("cuda", rtx))
    engine.device.refuses = refuses
    found = evaluated(engine, images(3), images(3, 1), 0.5)
    assert not engine.captured
    expected = evaluated(sde.open_engine(Target("cpu", threads=1)), images(3), images(3, 1), 0.5)
    np.testing.assert_array_equal(found, expected)


def test_the_condition_is_copied_at_binding(sde, rtx) -> None:
    engine = sde.open_engine(Target("cuda", rtx))
    device = engine.device
    with device.running():
        y, x = device.xp.asarray(images(1)), device.xp.asarray(images(1, 1))
        eps = engine.bind(y)
        before = eps(x, 0.5).copy()
        y.fill(7.0)
        np.testing.assert_array_equal(device.to_host(eps(x, 0.5)), device.to_host(before))


@pytest.mark.parametrize(
    "shape", [(17, 1, SIZE, SIZE), (2, 1, 8, SIZE), (2, SIZE, SIZE), (2, 3, 8, 8)]
)
def test_a_condition_that_the_engine_does_not_take_is_refused(sde, rtx, shape) -> None:
    engine = sde.open_engine(Target("cuda", rtx))
    with engine.device.running(), pytest.raises(EngineError, match=re.escape(str(list(shape)))):
        engine.bind(engine.device.xp.asarray(np.zeros(shape, np.float32)))


def test_a_closed_engine_says_so_and_may_be_closed_again(sde, backend) -> None:
    engine = sde.open_engine(Target("cuda", backend))
    with engine.device.running():
        y = engine.device.xp.asarray(images(2))
        eps = engine.bind(y)
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.bind(y)
        with pytest.raises(EngineError, match="closed"):
            eps(y, 0.5)


def test_what_an_engine_consists_of_goes_after_what_is_made_of_it(sde, rtx) -> None:
    engine = sde.open_engine(Target("cuda", rtx))
    parts, gone = ("_bound", "_context", "_kernels", "_engine", "_runtime"), []
    for name in parts:
        weakref.finalize(getattr(engine, name), gone.append, name)
    engine.close()
    assert tuple(gone) == parts


def test_the_builder_is_told_the_shapes_strong_types_and_no_tf32(sde, backend) -> None:
    sde.open_engine(Target("cuda", backend, batch=6)).close()
    (config,) = fake_tensorrt.built
    assert config.strongly_typed
    assert config.flags == {fake_tensorrt.BuilderFlag.REQUIRE_USER_ALLOCATION}
    assert config.features == {fake_tensorrt.PreviewFeature.RUNTIME_ACTIVATION_RESIZE_10_10}
    own, trial = config.profiles
    assert own["x"] == own["y"] == [(batch, 1, SIZE, SIZE) for batch in (1, 6, 16)]
    assert own["t"] == [(1,), (6,), (16,)]
    assert trial["y"] == [(batch, 1, 8, 6) for batch in (1, 4, 4)]
    assert config.capabilities == ([89] if backend == "tensorrt-rtx" else [])


def test_an_engine_is_built_once_and_taken_from_the_cache_afterwards(sde, backend) -> None:
    for _ in range(2):
        sde.open_engine(Target("cuda", backend)).close()
    assert fake_tensorrt.calls["build_serialized_network"] == 1
    (record,) = EngineCache.open().records()
    place = "8.9" if backend == "tensorrt-rtx" else "8.9 A GPU"
    assert (record.key.flavour, record.key.architecture) == (backend, place)
    sde.open_engine(Target("cuda", backend, batch=4)).close()
    assert fake_tensorrt.calls["build_serialized_network"] == 1


def test_a_changed_engine_never_reaches_tensorrt(sde, backend) -> None:
    sde.open_engine(Target("cuda", backend)).close()
    (path,) = EngineCache.open().folder.path.glob("*.engine")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    loaded = fake_tensorrt.calls["deserialize_cuda_engine"]
    with pytest.raises(EngineError, match=f"{path} was changed: .*; delete it"):
        sde.open_engine(Target("cuda", backend))
    assert fake_tensorrt.calls["deserialize_cuda_engine"] == loaded
    path.unlink()
    sde.open_engine(Target("cuda", backend)).close()


def test_what_was_compiled_is_kept_for_the_next_start(sde, rtx) -> None:
    compiled = []
    for _ in range(2):
        engine = sde.open_engine(Target("cuda", rtx))
        evaluated(engine, images(3), images(3, 1), 0.5)
        engine.close()
        compiled.append(fake_tensorrt.calls["compiled"])
    assert compiled[0] == compiled[1] == 2  # the self-test's shape and ours, once each
    assert len(list(EngineCache.open().folder.path.glob("*-8.9-A-GPU.kernels"))) == 1


def test_two_models_of_gpu_of_one_compute_capability_keep_what_each_compiled(
    sde, rtx, monkeypatch
) -> None:
    """TensorRT-RTX takes kernels of the very same model alone; the engine serves both."""
    for model, compiled in [("A GPU", 1), ("Another GPU", 2), ("A GPU", 2), ("Another GPU", 2)]:
        device = lambda gpu, model=model: CapturingDevice(f"cuda:{gpu}", model=model)  # noqa: E731
        monkeypatch.setattr(tensorrt, "Cuda", device)
        sde.open_engine(Target("cuda", rtx)).close()
        assert fake_tensorrt.calls["compiled"] == compiled
    assert fake_tensorrt.calls["build_serialized_network"] == 1


def test_that_an_engine_is_being_built_is_told_and_not_where_it_is_there(sde, rtx) -> None:
    told = []
    for _ in range(2):
        sde.open_engine(Target("cuda", rtx), told.append).close()
    assert told == [
        "building the fp32 engine by TensorRT-RTX 1.7.1.116; it will be kept for the next time"
    ]


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_an_engine_of_one_batch_fills_smaller_ones_up(sde, rtx, batch) -> None:
    library = Library(RTX)
    shapes = Shapes.static(SIZE, 5)
    made(library, network_of(sde, "fp32"), shapes, None)
    engine = sde.open_engine(Target("cuda", rtx, batch=5))
    assert engine.max_batch == 5
    assert fake_tensorrt.calls["build_serialized_network"] == 1
    assert not fake_tensorrt.built[0].features  # there is nothing to save
    reference = sde.open_engine(Target("cpu", threads=1))
    for t in (0.5, np.linspace(0.1, 1, batch)):
        found, expected = (
            evaluated(each, images(batch), images(batch, 1), t) for each in (engine, reference)
        )
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("capability", "architectures", "taken"),
    [
        ("8.9", [(), ("8.6", "8.9"), ("8.9",)], "8.9"),
        ("8.9", [(), ("8.6", "8.9")], "8.6,8.9"),
        ("8.9", [(), ("8.6", "12.0")], "portable"),
        ("7.5", [(), ("8.6", "12.0")], None),
    ],
)
def test_the_engine_made_for_the_gpu_is_taken_before_one_for_several_and_a_portable_one(
    sde, rtx, monkeypatch, capability, architectures, taken
) -> None:
    network = network_of(sde, "fp32")
    for capabilities in architectures:
        made(Library(RTX), network, Shapes.dynamic(SIZE, 10), None, capabilities)
    device = lambda gpu: CapturingDevice(f"cuda:{gpu}", capability=capability)  # noqa: E731
    monkeypatch.setattr(tensorrt, "Cuda", device)
    before = fake_tensorrt.calls["build_serialized_network"]
    chosen = tensorrt.serving(Library(RTX), network, 10, Gpu(capability, "A GPU"))
    assert chosen.record.key.architecture == (taken or capability)
    assert fake_tensorrt.calls["build_serialized_network"] - before == (taken is None)


def test_a_gpu_that_tensorrt_rtx_does_not_support_is_refused_before_anything_is_built(
    sde, rtx, monkeypatch
) -> None:
    hopper = CapturingDevice("cuda:0", capability="9.0", model="NVIDIA H100")
    monkeypatch.setattr(tensorrt, "Cuda", lambda _gpu: hopper)
    with pytest.raises(
        EngineError,
        match=r"TensorRT-RTX 1\.7\.1\.116 does not support compute capability 9\.0 \(NVIDIA H100\), "
        r"only 7\.5, 8\.6, 8\.9, 12\.0; take --backend onnxruntime-cuda",
    ):
        sde.open_engine(Target("cuda", rtx))
    assert not fake_tensorrt.calls


def test_tensorrt_serves_that_gpu(sde, monkeypatch, tmp_path) -> None:
    name = pretend("tensorrt", monkeypatch, tmp_path)
    hopper = CapturingDevice("cuda:0", capability="9.0", model="NVIDIA H100")
    monkeypatch.setattr(tensorrt, "Cuda", lambda _gpu: hopper)
    sde.open_engine(Target("cuda", name)).close()
    (record,) = EngineCache.open().records()
    assert record.key.architecture == "9.0 NVIDIA H100"


@pytest.mark.parametrize(("name", "extra"), [("tensorrt-rtx", "rtx"), ("tensorrt", "tensorrt")])
def test_a_missing_module_names_its_extra(sde, monkeypatch, tmp_path, name, extra) -> None:
    pretend(name, monkeypatch, tmp_path)
    module = name.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        EngineError, match=rf"{module} is not installed: pip install 'mrct\[{extra}\]'"
    ):
        sde.open_engine(Target("cuda", name))


def test_a_version_that_is_too_old_is_refused(monkeypatch, tmp_path) -> None:
    pretend("tensorrt", monkeypatch, tmp_path)
    for version in ("10.7.0", "8.6.1"):
        monkeypatch.setattr(fake_tensorrt, "__version__", version)
        with pytest.raises(EngineError, match=rf"{version} is too old, 10\.12 is needed"):
            Library(TENSORRT)
    monkeypatch.setattr(fake_tensorrt, "__version__", "10.12.0.36")
    assert str(Library(TENSORRT)) == "TensorRT 10.12.0.36"


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("parse", "cannot take the graph"),
        ("build_serialized_network", "cannot build the fp32 engine"),
        ("deserialize_cuda_engine", "cannot load the engine"),
        ("create_execution_context", "cannot prepare the engine"),
        ("execute_async_v3", "cannot evaluate the network"),
    ],
)
def test_what_fails_is_told_in_one_line_and_too_little_memory_apart(
    sde, backend, function, doing
) -> None:
    fake_tensorrt.broken[function] = "Error Code 4:\n  it does not fit"
    with pytest.raises(EngineError, match=f"{doing}: Error Code 4: it does not fit$"):
        sde.open_engine(Target("cuda", backend))
    if function != "parse":
        fake_tensorrt.broken[function] = "Error Code 2: OutOfMemory (requested 5 bytes)"
        with pytest.raises(EngineError, match=r"too little memory .* \(requested 5 bytes\)"):
            sde.open_engine(Target("cuda", backend))


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("Builder", "cannot make a builder"),
        ("Runtime", "cannot make a runtime"),
        ("create_runtime_config", "cannot prepare the engine"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_line(rtx, function, doing) -> None:
    """The bindings make a TypeError of a constructor's null pointer, and None of a function's."""
    fake_tensorrt.broken[function] = "Error Code 6: CUDA initialization failure"
    with pytest.raises(EngineError, match=f"{doing}: Error Code 6: CUDA init"):
        tensorrt.open_tensorrt_rtx(small_network(np.float16, "fp16"), Target("cuda"))


def test_an_fp16_engine_without_an_inspector_is_taken_as_it_was_built(rtx) -> None:
    fake_tensorrt.broken["create_engine_inspector"] = "Error Code 3: API Usage Error"
    tensorrt.open_tensorrt_rtx(small_network(np.float16, "fp16"), Target("cuda")).close()


def test_an_evaluation_that_fails_later_says_so(sde, rtx) -> None:
    engine = sde.open_engine(Target("cuda", rtx))
    with engine.device.running():
        y = engine.device.xp.asarray(images(2))
        eps = engine.bind(y)
        fake_tensorrt.broken["execute_async_v3"] = "Error Code 1: Cuda Runtime"
        with pytest.raises(EngineError, match="Error Code 1: Cuda Runtime") as raised:
            eps(y, 0.5)
        assert type(raised.value) is EngineError
        fake_tensorrt.broken["execute_async_v3"] = "Error Code 2: OutOfMemory"
        with pytest.raises(DeviceMemoryError):
            engine.bind(engine.device.xp.asarray(images(5)))


def test_too_little_memory_halves_the_batch_with_the_same_samples(sde, rtx, monkeypatch) -> None:
    """The engine's memory is taken for the images at hand, so that fewer of them need less."""
    plan = Sampling(sampler("em", {"steps": 4}), mc=8, batch=8)
    y = images(1)[:, 0]
    engine = sde.open_engine(Target("cuda", rtx))
    room = 2 * SIZE * SIZE * 8

    def empty(shape, dtype, make=fake_device.empty):
        if dtype == np.uint8 and shape > room:
            raise MemoryError
        return make(shape, dtype)

    with monkeypatch.context() as full:
        full.setattr(fake_device, "empty", empty)
        short = synthesize(engine, sde.process, y, plan)
    whole = synthesize(engine, sde.process, y, plan)
    assert (whole.batch, short.batch) == (8, 2)
    assert engine.device.trims == 2
    np.testing.assert_allclose(short.mean, whole.mean, atol=1e-6)


@pytest.mark.parametrize(("shown", "sound"), [(("Half", "Float"), True), (("Float",), False)])
def test_an_fp16_engine_whose_convolutions_are_float32_is_refused_when_it_is_loaded(
    backend, monkeypatch, shown, sound
) -> None:
    monkeypatch.setattr(fake_tensorrt.Engine, "types", shown)
    network = small_network(np.float16, "fp16")
    opened = getattr(tensorrt, f"open_{backend.replace('-', '_')}")
    if not sound:
        with pytest.raises(EngineError, match="0 of 1 convolutions of the fp16 graph in half"):
            opened(network, Target("cuda"))
        return
    engine = opened(network, Target("cuda"))
    assert engine.backend.precision == "fp16"
    x, y = images(2, size=32), images(2, 1, size=32)
    reference = OnnxRuntime(network.model, threads=1).bind(y)(x, 0.5)
    np.testing.assert_array_equal(evaluated(engine, y, x, 0.5), reference)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["tensorrt-rtx", "tensorrt"])
def test_on_a_gpu_an_evaluation_is_one_graph_and_the_next_start_builds_nothing(
    cuda, name, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = Bundle.load(demonstration_bundle("em"))
    size = bundle.manifest.image.size
    y, x = images(3, size=size), images(3, 1, size)
    found = []
    for _ in range(2):
        try:
            engine = bundle.open_engine(Target("cuda", name, "fp32"))
        except EngineError as error:
            if found:
                raise
            pytest.skip(str(error))
        found.append(evaluated(engine, y, x, 0.5))
        assert engine.captured
        engine.close()
        (path,) = EngineCache.open().folder.path.glob("*.engine")
        found.append(path.stat().st_mtime_ns)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-4, atol=1e-4)
    assert found[1] == found[3]
