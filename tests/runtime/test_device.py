"""The loop on a device: what every sampler computes there, and what it does not do there."""

from __future__ import annotations

import inspect
from dataclasses import replace
from itertools import pairwise

import fake_device
import numpy as np
import pytest
from fake_device import FakeArray, FakeDevice, Tally
from sampler_oracles import PAIRS, PROCESSES

from mrct_runtime.arrays import array_namespace
from mrct_runtime.device import HOST, Device
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.errors import DeviceMemoryError
from mrct_runtime.process import VESDE, Process
from mrct_runtime.samplers import SAMPLERS, sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.started_process import StartedVESDE
from mrct_runtime.synthesis import synthesize

STEPS = {"ode": 400, "direct": 1}
OPTIONS = [
    ("ddpm", {}),
    ("ddpm", {"clip_x0": False, "variance": "fixed-large"}),
    ("em", {}),
    ("em", {"predictor": "reverse-diffusion"}),
    ("pc", {"correctors": 3}),
    ("pc", {"predictor": "reverse-diffusion"}),
    ("ode", {"rtol": 1e-3, "atol": 1e-3}),
    ("ode", {"rtol": 1e-3, "atol": 1e-3, "denoise": False}),
    ("ddim", {}),
    ("ddim", {"eta": 1.0}),
    ("dpmpp", {}),
    ("dpmpp", {"eta": 1.0}),
    ("heun", {}),
    ("unipc", {"grid": "karras"}),
    ("direct", {}),
]
CASES = [
    (name, PROCESSES[family], options)
    for name, options in OPTIONS
    for family in SAMPLERS[name].families
]
OF_SET_LENGTH = [case for case in CASES if case[0] not in {"ode", "direct"}]


def cond(slices: int = 2, size: int = 10) -> np.ndarray:
    return np.random.default_rng(0).random((slices, size, size))


def plan(name: str, **options) -> Sampling:
    steps = {"steps": STEPS.get(name, 12)}
    return Sampling(sampler(name, steps | options), mc=3, batch=4, series="1.2.3")


def seen(name: str, process: Process, **options) -> tuple[list[Tally], Tally]:
    """What the device was asked for between one evaluation and the next, in one batch, and in all."""
    device, tallies = FakeDevice(), []

    def watch(denoise):
        def eps(x, t):
            tallies.append(device.now())
            result = denoise(x, t).astype("float32")
            # the stand-in for the network, whose output is float32, costs nothing
            device.tally = tallies[-1]
            tallies[-1] = device.now()
            return result

        return eps

    one = Sampling(sampler(name, {"steps": STEPS.get(name, 12)} | options), mc=3, batch=3)
    synthesize(WrappedEngine(Analytic(process, device=device), watch), process, cond(1), one)
    return [b.since(a) for a, b in pairwise(tallies)], device.tally


def test_the_registry_is_covered() -> None:
    assert {name for name, _ in OPTIONS} == set(SAMPLERS)


@pytest.mark.parametrize(("name", "process", "options"), CASES)
def test_every_sampler_gives_on_a_device_what_it_gives_on_the_host(name, process, options) -> None:
    samples, device = {HOST: [], "device": []}, FakeDevice()
    on_host = synthesize(
        Analytic(process, device=HOST),
        process,
        cond(),
        plan(name, **options),
        samples=lambda *sample: samples[HOST].append(sample),
    )
    there = synthesize(
        Analytic(process, device=device),
        process,
        cond(),
        plan(name, **options),
        samples=lambda *sample: samples["device"].append(sample),
    )
    np.testing.assert_array_equal(there.mean, on_host.mean)
    np.testing.assert_array_equal(there.std, on_host.std)
    assert there.evaluations == on_host.evaluations
    for (s, k, sample), (s_host, k_host, expected) in zip(
        samples["device"], samples[HOST], strict=True
    ):
        assert (s, k) == (s_host, k_host)
        assert type(sample) is np.ndarray
        np.testing.assert_array_equal(sample, expected)


@pytest.mark.parametrize(("name", "process", "options"), OF_SET_LENGTH)
def test_between_evaluations_nothing_is_copied_and_nobody_waits(name, process, options) -> None:
    steps, _ = seen(name, process, **options)
    assert len(steps) == 11
    for step in steps:
        assert (step.uploads, step.downloads, step.waits) == (0, 0, 0)
        assert step.launches > 0


def test_the_adaptive_ode_reads_its_errors_back_once_in_six_evaluations() -> None:
    steps, _ = seen("ode", VESDE(), rtol=1e-3, atol=1e-3)
    starting, finish = 2, 1
    waits = [step.waits for step in steps[starting:-finish]]
    assert len(waits) > 24
    assert waits == [1 if k % 6 == 5 else 0 for k in range(len(waits))]
    assert all(step.uploads <= 4 for step in steps)


@pytest.mark.parametrize(("name", "process"), [pair for pair in PAIRS if pair[0] != "ode"])
def test_the_condition_and_the_rows_go_up_once_a_batch_and_only_what_is_finished_comes_down(
    name, process
) -> None:
    device = FakeDevice()
    synthesize(Analytic(process, device=device), process, cond(4), plan(name))
    batches, slices = 3, 4
    assert device.tally.uploads == 2 * batches
    assert device.tally.downloads == batches + 2 * slices


@pytest.mark.parametrize(
    ("name", "options", "images", "launches"),
    [
        ("em", {}, 11, 5),
        ("pc", {}, 14, 12),
        ("ddpm", {}, 22, 10),
        ("ddim", {}, 15, 6),
        ("ddim", {"eta": 1.0}, 21, 9),
        ("dpmpp", {}, 22, 9),
        ("dpmpp", {"eta": 1.0}, 28, 12),
        ("heun", {}, 20, 9),
        ("unipc", {}, 37, 16),
    ],
)
def test_a_step_moves_few_bytes_beside_those_of_a_network(name, options, images, launches) -> None:
    """In images of the batch that are read or written: 10 x 512 x 512 in float32 are 10.5 MB, 10 us of an RTX 4090."""
    steps, _ = seen(name, PROCESSES[SAMPLERS[name].families[0]], **options)
    image = 3 * 10 * 10 * 4
    moved = [step.traffic / image for step in steps]
    assert sum(moved) / len(moved) <= images
    assert max(step.launches for step in steps) <= launches


def test_a_guess_goes_up_once_a_batch_and_gives_what_it_gives_on_the_host() -> None:
    process, device = StartedVESDE(start=0.5), FakeDevice()
    warm = replace(plan("dpmpp"), guess=lambda y: y + np.float32(0.06))
    there = synthesize(Analytic(process, device=device), process, cond(4), warm)
    here = synthesize(Analytic(process), process, cond(4), warm)
    np.testing.assert_array_equal(there.mean, here.mean)
    batches, slices = 3, 4
    assert device.tally.uploads == 3 * batches
    assert device.tally.downloads == batches + 2 * slices


def test_short_memory_gives_back_what_is_kept_and_goes_on_with_the_same_noise() -> None:
    class Small(Analytic):
        def bind(self, cond):
            if len(cond) > 1:
                raise DeviceMemoryError("out of memory")
            return super().bind(cond)

    process, device = VESDE(), FakeDevice()
    found = synthesize(Small(process, device=device), process, cond(), plan("em"))
    whole = synthesize(Analytic(process, device=HOST), process, cond(), plan("em"))
    np.testing.assert_array_equal(found.mean, whole.mean)
    assert (found.batch, device.trims) == (1, 2)


def test_the_fake_device_refuses_what_would_wait_or_mix() -> None:
    device = FakeDevice()
    with pytest.raises(RuntimeError, match="outside"):
        fake_device.asarray([1.0])
    with device.running():
        x = fake_device.asarray(np.ones(3, np.float32))
        for wait in (bool, float, int, list, FakeArray.item, FakeArray.tolist):
            with pytest.raises(TypeError, match="waits"):
                wait(x)
        for mix in (np.asarray, lambda x: x + np.ones(3), lambda x: np.ones(3) * x, np.float64):
            with pytest.raises(TypeError):
                mix(x)
        assert array_namespace(x) is fake_device
        assert (2.0 * x**0.5 - 1).dtype == np.float32
        assert device.to_host(np.float32(2) * x).tolist() == [2, 2, 2]
    assert device.tally.downloads == device.tally.waits == 1


@pytest.mark.parametrize("kind", [type(HOST), FakeDevice])
def test_devices_have_all_that_the_protocol_says(kind) -> None:
    asked = {name for name in vars(Device) if not name.startswith("_")}
    assert asked <= {*dir(kind), *inspect.get_annotations(kind)}


def test_the_host_gives_pointers_memory_and_nothing_to_trim() -> None:
    x = np.arange(3.0)
    assert HOST.pointer(x[1:]) == x.ctypes.data + 8
    assert HOST.to_host(x) is x
    assert HOST.free_memory() > 1 << 20
    assert HOST.trim() is None
