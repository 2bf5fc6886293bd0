"""Every backend of the registry against ONNX Runtime on the processor in fp32: evaluations, and samples in HU."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines import ENGINES, Engine
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import EngineError
from mrct_runtime.noise import Noise
from mrct_runtime.samplers import sampler
from mrct_runtime.synthesis import Moments, Sampling, synthesize

TIMES = [0.001, 0.01, 0.1, 0.3, 0.7, 1.0]
RELATIVE_RMS = {"fp32": 1e-4, "fp16": 2e-3}
HU = {"fp32": 0.5, "fp16": 5.0}
"""The largest root mean square difference of a sample of 50 steps; its deviation is some tens of HU."""
MC = 3


def marked(name: str, *, fuse: bool):
    """One backend, and whether its graph is to be fused."""
    marks = [pytest.mark.gpu] if ENGINES[name].serves == "cuda" else []
    return pytest.param((name, fuse), marks=marks, id=f"{name}, fused" if fuse else name)


BACKENDS = [
    marked(name, fuse=fuse)
    for name, entry in ENGINES.items()
    for fuse in ((True, False) if entry.fuses else (False,))
]


@pytest.fixture(scope="module", params=["em", "ddpm"])
def bundle(request) -> Bundle:
    return Bundle.load(demonstration_bundle(request.param))


@pytest.fixture(scope="module")
def reference(bundle):
    engine = bundle.open_engine(Target("cpu", backend="onnxruntime", precision="fp32", threads=1))
    yield engine
    engine.close()


@pytest.fixture(params=["fp32", "fp16"])
def precision(request, bundle) -> str:
    if request.param not in bundle.precisions:
        pytest.skip(f"{bundle.path.name} has no {request.param} network")
    return request.param


@pytest.fixture
def opened(request, bundle, precision, backend):
    """The backend's engine; skipped where it cannot be had on this machine, or not with its graph fused."""
    (name, fuse), told = backend, []
    serves = ENGINES[name].serves
    if serves == "cuda":
        request.getfixturevalue("cuda")
    # the threads of two engines in one process spin against each other
    threads = 1 if serves == "cpu" else None
    target = Target(serves, backend=name, precision=precision, batch=MC, fuse=fuse, threads=threads)
    try:
        engine = bundle.open_engine(target, told.append)
    except EngineError as error:
        pytest.skip(f"{name}: {error}")
    if fuse and told and "channels a group" in told[0]:
        pytest.skip(told[0])
    assert engine.backend.fused == fuse, told
    assert engine.backend.precision == precision
    yield engine
    engine.close()


def condition(bundle: Bundle, slices: int = MC) -> np.ndarray:
    size = bundle.manifest.image.size
    rows = np.linspace(0, 2 * np.pi, size)
    waves = [0.5 + 0.25 * np.sin((s + 1) * rows) * np.cos(rows[:, None]) for s in range(slices)]
    return np.array(waves, np.float32)


def evaluated(engine: Engine, y: np.ndarray, x: np.ndarray, t) -> np.ndarray:
    device = engine.device
    with device.running():
        eps = engine.bind(device.xp.asarray(y))
        return device.to_host(eps(device.xp.asarray(x), t)).astype(np.float64)


def sampled(engine: Engine, bundle: Bundle) -> Moments:
    """A slice's samples of 50 steps, the last of them in a batch that is not full."""
    name = "ddpm" if "ddpm" in bundle.manifest.presets else "em"
    plan = Sampling(sampler(name, {"steps": 50}), mc=MC, batch=MC - 1, series="1.2.3")
    return synthesize(engine, bundle.process, condition(bundle, 1), plan)


@pytest.fixture(scope="module")
def expected(reference, bundle) -> Moments:
    return sampled(reference, bundle)


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluation_by_evaluation_it_is_the_reference(bundle, reference, opened, precision) -> None:
    y = condition(bundle)[:, None]
    z = Noise(0, "backends", [(0, k) for k in range(MC)], y.shape[2:])()
    for t in [*TIMES, np.array([0.01, 0.2, 0.9])]:
        scale = np.array(
            [
                [bundle.process.alpha(at), bundle.process.std(at)]
                for at in (t + np.zeros(MC)).tolist()
            ]
        )
        alpha, std = scale.T[..., None, None, None]
        x = (alpha * y + std * z).astype(np.float32)
        found, expected = (evaluated(engine, y, x, t) for engine in (opened, reference))
        difference = np.sqrt(np.square(found - expected).mean(axis=(1, 2, 3)))
        power = np.sqrt(np.square(expected).mean(axis=(1, 2, 3)))
        assert (difference / power).max() < RELATIVE_RMS[precision]


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_of_fifty_steps_are_those_of_the_reference_in_hu(
    bundle, expected, opened, precision
) -> None:
    found = sampled(opened, bundle)
    assert found.evaluations == expected.evaluations
    for one, other in ((found.mean, expected.mean), (found.std, expected.std)):
        difference = (one - other) * bundle.window.width
        assert np.sqrt(np.square(difference).mean()) < HU[precision]


@pytest.mark.gpu
@pytest.mark.parametrize("backend", [marked(n, fuse=False) for n in ENGINES if n != "onnxruntime"])
def test_a_step_is_queued_while_the_gpu_is_still_busy(bundle, opened) -> None:
    """The stream is stopped by a function of the host; a step that waited for anything would wait for that."""
    device, go_on, held = opened.device, threading.Event(), []
    with device.running():
        y = device.xp.asarray(condition(bundle)[:, None])
        noise = Noise(0, "", [(0, k) for k in range(MC)], y.shape[2:], device.normals)
        eps, x = opened.bind(y), noise()

        def step(x):
            return x - 0.01 * eps(x, 0.5) + 0.01 * noise()

        for _ in range(5):
            x = step(x)
        stream = device.xp.cuda.get_current_stream()
        stream.synchronize()
        stream.launch_host_func(lambda _: held.append(go_on.wait(timeout=20)), None)
        x = step(x)
        go_on.set()
        stream.synchronize()
        assert held == [True]
        assert np.isfinite(device.to_host(x)).all()


@pytest.mark.gpu
def test_a_gpu_that_is_asked_for_gets_an_engine(cuda, bundle) -> None:
    told: list[str] = []
    engine = bundle.open_engine(Target("cuda"), told.append)
    assert engine.backend.device == "cuda:0", told
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.bind(condition(bundle)[:, None])


@pytest.mark.gpu
def test_memory_that_is_taken_by_others_halves_the_batch_with_the_same_samples(cuda) -> None:
    bundle = Bundle.load(demonstration_bundle("em"))
    try:
        engine = bundle.open_engine(Target("cuda", backend="onnxruntime-cuda", fuse=False))
    except EngineError as error:
        pytest.skip(str(error))
    size = 512
    y = np.full((1, size, size), 0.5, np.float32)
    plan = Sampling(sampler("em", {"steps": 2}), mc=32, batch=32)
    with engine.device.running():
        left = engine.device.free_memory()
        hostage = cuda.xp.empty(left - (768 << 20), "uint8")
        short = synthesize(engine, bundle.process, y, plan)
        del hostage
        engine.device.trim()
    whole = synthesize(engine, bundle.process, y, plan)
    assert short.batch < whole.batch == 32
    np.testing.assert_allclose(short.mean, whole.mean, atol=1e-3)
    engine.close()
