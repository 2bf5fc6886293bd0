"""Warm starts against what exact solvers make of Gaussian pixels N(m, s^2) that start at N(c, sigma_0^2)."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from fake_device import FakeDevice
from mr_study import write_mr_study
from sampler_oracles import PROCESSES
from tiny_bundle import write_tiny_bundle

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.samplers import SAMPLERS, sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.settings import Settings
from mrct_runtime.started_process import started
from mrct_runtime.synthesis import synthesize
from mrct_runtime.translate import prepare
from mrct_runtime.warm_start import WarmStart

M, OFFSET, S = 0.4, 0.06, 0.1

ODES: dict[str, dict[str, Any]] = {
    "ode": {"rtol": 1e-6, "atol": 1e-6},
    "ddim": {"steps": 1000},
    "dpmpp": {"steps": 100},
    "heun": {"steps": 199},
    "unipc": {"steps": 100},
}
SDES: dict[str, dict[str, Any]] = {
    "em": {"steps": 2000},
    "pc": {"steps": 2000},
    "ddpm": {"steps": 50, "variance": "fixed-large", "clip_x0": False},
    "ddim": {"steps": 1000, "eta": 1.0},
    "dpmpp": {"steps": 300, "eta": 1.0},
}


def cases(kinds: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any], type[Any]]]:
    return [
        (name, options, family)
        for name, options in kinds.items()
        for family in SAMPLERS[name].families
    ]


def drawn(
    name: str, options: dict[str, Any], family: type[Any], sigma: float
) -> tuple[float, float, float, float]:
    """Mean and deviation of pixels, and the noise levels at which they started and were denoised."""
    process = started(PROCESSES[family], sigma)
    engine = Analytic(process, deviation=lambda y: np.full_like(y, S))
    plan = Sampling(sampler(name, options), mc=1, guess=lambda y: y + OFFSET)
    found = synthesize(engine, process, np.full((1, 256, 256), M), plan).mean
    end = max(process.t_max / options["steps"], process.t_min) if name in ("em", "pc", "ddpm") else 1e-3  # fmt: skip
    first, last = (process.std(t) / process.alpha(t) for t in (process.t_max, end))
    return found.mean(), found.std(), first, last


def test_every_sampler_that_draws_is_held_against_a_closed_form() -> None:
    assert {*ODES, *SDES} == {
        name for name, kind in SAMPLERS.items() if Direct not in kind.families
    }


@pytest.mark.parametrize("sigma", [0.1, 0.4])
@pytest.mark.parametrize(("name", "options", "family"), cases(ODES))
def test_an_ode_shrinks_the_spread_by_the_closed_form(
    name: str, options: dict[str, Any], family: type[Any], sigma: float
) -> None:
    mean, deviation, first, last = drawn(name, options, family, sigma)
    # the flow to the last level, and the denoised image there
    kept = math.sqrt((S**2 + last**2) / (S**2 + first**2)) * S**2 / (S**2 + last**2)
    assert deviation == pytest.approx(first * kept, rel=0.012)
    assert mean - M == pytest.approx(OFFSET * kept, abs=4 * deviation / 256 + 1e-4)
    if sigma == 4 * S:
        assert deviation > 0.92 * S


@pytest.mark.parametrize("sigma", [0.2, 0.4])
@pytest.mark.parametrize(("name", "options", "family"), cases(SDES))
def test_an_sde_keeps_more_of_it(
    name: str, options: dict[str, Any], family: type[Any], sigma: float
) -> None:
    mean, deviation, first, last = drawn(name, options, family, sigma)
    carried = (S**2 + last**2) / (S**2 + first**2)
    variance = (carried * first) ** 2 + carried * (first**2 - last**2)
    denoised = S**2 / (S**2 + last**2)
    # the corrector of pc inflates the variance, coarse chains shrink it
    tolerance = 0.04 if name in ("pc", "ddpm") else 0.015
    assert deviation == pytest.approx(denoised * math.sqrt(variance), rel=tolerance)
    # correctors draw the mean further towards the truth
    slack = 4 * deviation / 256 + (OFFSET * carried if name == "pc" else 2e-4)
    assert mean - M == pytest.approx(OFFSET * carried * denoised, abs=slack)


@pytest.fixture
def bundles(tmp_path):
    def write(name, process, **changes):
        return Bundle.load(write_tiny_bundle(tmp_path / f"{name}.mrct", process, **changes))

    return write


def test_a_study_starts_from_the_direct_networks_image_and_says_so(bundles, tmp_path) -> None:
    study = write_mr_study(tmp_path / "study")
    direct, network = bundles("direct", Direct(), size=24), bundles("tiny", VESDE(), size=24)
    settings = Settings("dpmpp", mc=4, warm_start=WarmStart(direct))
    job = prepare(network, study, settings)
    cold = prepare(network, study, Settings("dpmpp", mc=4))
    # four times the 0.1 of the training's CT
    assert job.started.sigma == pytest.approx(0.4)
    engine = job.open_engine()
    warm, plain = job.run(engine), cold.run(engine)
    # the direct network gives the very mean, which a cold start misses by what the prior leaves of its own
    assert warm.std_hu.array.mean() == pytest.approx(plain.std_hu.array.mean(), rel=0.1)
    warm.save(tmp_path / "out")
    told = json.loads((tmp_path / "out/run.json").read_text("utf-8"))
    assert told["sampling"]["started"]["bundle"] == "direct"
    assert told["sampling"]["started"]["bundle_sha256"] == direct.sha256
    assert told["uncertainty"]["recalibrated"] is False
    assert plain.started is None


def test_the_direct_network_runs_in_its_own_queue_and_gives_its_image_on_the_host(
    bundles, monkeypatch
) -> None:
    mine, other = FakeDevice(), FakeDevice()
    asked: list[Target] = []

    def opened(_bundle, target, _tell):
        asked.append(target)
        return Analytic(Direct(), device=other)

    direct = WarmStart(bundles("direct", Direct()))
    monkeypatch.setattr(Bundle, "open_engine", opened)
    y = np.random.default_rng(0).random((2, 1, 16, 16), np.float32)
    with direct.open(Target(batch=2)) as image, mine.running():
        found = image(y)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, y, atol=1e-6)
    assert (other.tally.uploads, other.tally.downloads) == (1, 1)
    assert mine.tally.launches == mine.tally.uploads == 0
    assert [each.batch for each in asked] == [2]


def test_the_direct_network_runs_by_the_backend_of_the_other(
    bundles, monkeypatch, tmp_path
) -> None:
    study = write_mr_study(tmp_path / "study")
    direct, network = bundles("direct", Direct(), size=24), bundles("tiny", VESDE(), size=24)
    asked: list[Target] = []
    real = Bundle.open_engine

    def opened(bundle, target, tell=lambda _: None):
        asked.append(target)
        tell("running otherwise")
        return real(bundle, target, tell)

    monkeypatch.setattr(Bundle, "open_engine", opened)
    job = prepare(network, study, Settings("dpmpp", mc=2, warm_start=WarmStart(direct)))
    engine = job.open_engine()
    result = job.run(engine)
    assert asked[1].backend == engine.backend.engine == "onnxruntime"
    assert asked[1].device == "cpu"
    assert "of the warm start's network: running otherwise" in result.warnings


def test_networks_that_see_other_images_are_refused(bundles) -> None:
    network = bundles("tiny", DDPM(), size=24)
    with pytest.raises(UsageError, match="small cannot start tiny: its size is 16, not 24"):
        WarmStart(bundles("small", Direct(), size=16)).process(network)
    with pytest.raises(UsageError, match=r"needs a direct network .* tiny is none"):
        WarmStart(network)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_noise_that_makes_no_sense_is_refused(bundles, sigma) -> None:
    with pytest.raises(UsageError, match="warm_sigma must be finite and above 0"):
        WarmStart(bundles("direct", Direct()), sigma)


def test_more_steps_than_levels_from_the_start_are_refused(bundles) -> None:
    warm = WarmStart(bundles("direct", Direct()))
    settings = Settings("ddpm", options={"steps": 500}, warm_start=warm)
    with pytest.raises(UsageError, match="noise levels, --steps 500 asks for more"):
        settings.sampling(bundles("tiny", DDPM()), "")
