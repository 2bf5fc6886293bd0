from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrct_runtime.denoisers import observed
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import DeviceMemoryError, NumericError, UsageError
from mrct_runtime.finished import Receiver
from mrct_runtime.noise import Noise
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.samplers import SAMPLERS, sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.stopping import Stopping
from mrct_runtime.synthesis import Progress, stream, synthesize

PROCESSES = {VESDE: VESDE(), DDPM: DDPM(), Direct: Direct()}


def study(slices: int = 3, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).random((slices, size, size))


def plan(name: str, **changes) -> Sampling:
    steps = {"ode": 1000, "direct": 1}.get(name, 12)
    return Sampling(sampler(name, {"steps": steps}), **{"mc": 4, "series": "1.2.3"} | changes)


def run(name: str, cond: np.ndarray, engine=None, **changes):
    process = PROCESSES[SAMPLERS[name].families[0]]
    slices = changes.pop("slices", None)
    progress = changes.pop("progress", None)
    return synthesize(
        engine or Analytic(process), process, cond, plan(name, **changes), progress, slices
    )


def samples(name: str, cond: np.ndarray, mc: int) -> np.ndarray:
    """[S, n, H, W], each drawn alone."""
    process = PROCESSES[SAMPLERS[name].families[0]]
    built = plan(name).sampler
    drawn = np.empty((len(cond), mc, *cond.shape[1:]))
    for s in range(len(cond)):
        for k in range(mc):
            noise = Noise(0, "1.2.3", [(s, k)], cond.shape[1:])
            eps = Analytic(process).bind(cond[s][None, None].astype(np.float32))
            drawn[s, k] = built(eps, process, process.std(1.0) * noise(), noise)[0, 0]
    return drawn


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_streaming_moments_are_those_of_the_samples_drawn_one_by_one(name: str) -> None:
    cond = study()
    found = run(name, cond, mc=5)
    drawn = samples(name, cond, 5)
    np.testing.assert_allclose(found.mean, drawn.mean(axis=1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.std, drawn.std(axis=1, ddof=1), rtol=1e-6, atol=1e-9)
    assert found.counts.tolist() == [5, 5, 5]


def test_every_finished_sample_is_handed_over_once() -> None:
    cond, seen = study(), {}

    def observe(s: int, k: int, sample: np.ndarray) -> None:
        assert (s, k) not in seen
        seen[s, k] = sample.copy()

    found = synthesize(Analytic(VESDE()), VESDE(), cond, plan("em", batch=5), samples=observe)
    handed_over = np.array([[seen[s, k] for k in range(4)] for s in range(3)])
    np.testing.assert_array_equal(handed_over, samples("em", cond, 4))
    np.testing.assert_allclose(handed_over.mean(axis=1), found.mean, atol=1e-12)


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("batch", [1, 3, 4, 10, 100])
def test_the_batch_size_never_shows(name: str, batch: int) -> None:
    cond = study()
    reference, found = run(name, cond, batch=12), run(name, cond, batch=batch)
    np.testing.assert_array_equal(reference.mean, found.mean)
    np.testing.assert_array_equal(reference.std, found.std)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_permuting_the_slices_permutes_the_result(name: str) -> None:
    cond, order = study(4), [2, 0, 3, 1]
    straight, permuted = run(name, cond), run(name, cond[order], slices=order)
    np.testing.assert_array_equal(straight.mean[order], permuted.mean)
    np.testing.assert_array_equal(straight.std[order], permuted.std)


def test_more_samples_keep_the_first_ones() -> None:
    cond = study(1)
    few, more = run("em", cond, mc=3), run("em", cond, mc=4)
    last = samples("em", cond, 4)[:, 3]
    np.testing.assert_allclose(more.mean, (3 * few.mean + last) / 4, atol=1e-12)


def test_seed_and_series_change_the_noise() -> None:
    cond = study(1)
    first = run("em", cond).mean
    assert abs(first - run("em", cond, seed=1).mean).max() > 1e-3
    assert abs(first - run("em", cond, series="1.2.4").mean).max() > 1e-3
    np.testing.assert_array_equal(first, run("em", cond).mean)


def test_the_mean_is_not_clamped_before_it_is_averaged() -> None:
    air = np.zeros((1, 48, 48))
    found = run("em", air, mc=32)
    assert found.mean.min() < 0
    assert abs(found.mean.mean()) < 4 * 0.1 / np.sqrt(32 * 48 * 48) + 1e-3


def test_one_sample_has_no_deviation() -> None:
    assert (run("em", study(), mc=1).std == 0).all()


def test_the_batch_crosses_slices_and_respects_the_engines_limit() -> None:
    sizes: list[int] = []

    class Recording(Analytic):
        def bind(self, cond):
            sizes.append(len(cond))
            return super().bind(cond)

    run("em", study(), engine=Recording(VESDE()), batch=10)
    assert sizes == [10, 2]
    sizes.clear()
    run("em", study(), engine=Recording(VESDE(), max_batch=5), batch=10)
    assert sizes == [5, 5, 2]


def test_every_slice_is_handed_over_as_soon_as_it_is_finished() -> None:
    told, cond, sampling = [], study(3), plan("em", mc=4, batch=6)
    work = stream(
        Analytic(VESDE()),
        VESDE(),
        cond,
        sampling,
        Receiver(lambda finished: told.append((finished.place, finished.mean, finished.std))),
        lambda progress: told.append(progress.slices),
    )
    whole = synthesize(Analytic(VESDE()), VESDE(), cond, sampling)
    # 6 rows are slice 0 and half of slice 1
    assert [each if isinstance(each, int) else f"slice {each[0]}" for each in told] == [
        *("slice 0", 1),
        *("slice 1", "slice 2", 3),
    ]
    for s, mean, std in (each for each in told if not isinstance(each, int)):
        assert np.array_equal(mean, whole.mean[s])
        assert np.array_equal(std, whole.std[s])
    assert (work.evaluations, work.batch) == (whole.evaluations, whole.batch)


def test_what_the_taker_of_a_slice_raises_ends_the_synthesis() -> None:
    error = NumericError("nowhere to put it")

    def take(_finished):
        raise error

    with pytest.raises(NumericError) as caught:
        stream(Analytic(VESDE()), VESDE(), study(3), plan("em"), Receiver(take))
    assert caught.value is error


def test_progress_ends_with_everything_done() -> None:
    seen: list[Progress] = []
    found = run("em", study(), batch=5, progress=seen.append)
    assert seen[-1] == Progress(3, 3, 12, 12)
    assert [p.rows for p in seen] == [5, 10, 12]
    assert found.evaluations == 3 * 4 * 12


def test_the_prior_mean_takes_the_priors_bias_away() -> None:
    cond = np.full((1, 128, 128), 0.5)
    engine = Analytic(VESDE(), deviation=lambda y: np.full_like(y, 0.3))
    process = VESDE()
    pull = np.sqrt((0.09 + process.std(1e-3) ** 2) / (0.09 + process.std(1.0) ** 2))
    for prior_mean, bias in ((0.5, 0.0), (0.0, -0.5 * pull)):
        found = run("ode", cond, engine=engine, mc=2, prior_mean=prior_mean)
        noise = 4 * 0.3 / np.sqrt(2 * cond.size)
        assert found.mean.mean() - 0.5 == pytest.approx(bias, abs=noise)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_value_that_is_not_finite_names_slice_and_sample(name: str) -> None:
    class Broken(Analytic):
        def bind(self, cond):
            eps = super().bind(cond)

            def broken(x, t):
                result = eps(x, t)
                result[min(2, len(result) - 1)] = np.nan
                return result

            return broken

    process = PROCESSES[SAMPLERS[name].families[0]]
    with pytest.raises(NumericError, match="sample 2 of slice 0 has values that are not finite"):
        run(name, study(), engine=Broken(process))


def test_the_prior_of_a_ddpm_keeps_what_its_chain_keeps_of_the_mean() -> None:
    process = DDPM(steps=4, beta_start=0.1, beta_end=0.3)
    seen: list[np.ndarray] = []

    class Recording(Analytic):
        def bind(self, cond):
            return observed(super().bind(cond), lambda x, _t: seen.append(np.array(x)))

    for prior_mean in (0.0, 10.0):
        plan = Sampling(sampler("ddpm", {"steps": 4}), mc=1, prior_mean=prior_mean)
        synthesize(Recording(process), process, study(1), plan)
    np.testing.assert_allclose(seen[4] - seen[0], 10 * process.alpha(1.0), rtol=1e-5)


def test_a_great_many_samples_start_at_once() -> None:
    class StartedError(Exception):
        pass

    def stop(_progress: Progress) -> None:
        raise StartedError

    with pytest.raises(StartedError):
        run("em", study(), mc=10**12, batch=2, progress=stop)


def test_a_sampler_of_another_family_is_refused() -> None:
    with pytest.raises(
        UsageError, match="sampler em needs a VESDE model, this one is a DDPM model"
    ):
        synthesize(Analytic(DDPM()), DDPM(), study(), plan("em"))


@pytest.mark.parametrize("change", [{"mc": 0}, {"batch": 0}])
def test_sampling_that_makes_no_sense_is_refused(change: dict) -> None:
    with pytest.raises(UsageError, match="got 0"):
        plan("em", **change)


class Small(Analytic):
    """An engine on a device that has memory for so many images only."""

    room = 0
    error: type[Exception] = DeviceMemoryError

    def bind(self, cond):
        if len(cond) > self.room:
            raise self.error("out of memory")
        return super().bind(cond)


@pytest.mark.parametrize("error", [DeviceMemoryError, MemoryError])
@pytest.mark.parametrize(("room", "largest"), [(1, 1), (2, 2), (3, 2), (5, 5), (11, 10)])
@pytest.mark.parametrize("name", ["em", "ddpm", "ode"])
def test_short_memory_halves_the_batch_and_draws_the_same_samples(
    name, room, largest, error
) -> None:
    process = PROCESSES[SAMPLERS[name].families[0]]
    small = Small(process)
    object.__setattr__(small, "room", room)
    object.__setattr__(small, "error", error)
    told: list[int] = []
    found = run(name, study(), engine=small, batch=10, progress=lambda p: told.append(p.rows))
    whole = run(name, study(), batch=10)
    np.testing.assert_array_equal(found.mean, whole.mean)
    np.testing.assert_array_equal(found.std, whole.std)
    assert found.batch == largest
    assert told == sorted(set(told))
    assert told[-1] == 12


def test_too_little_memory_for_one_image_is_an_error() -> None:
    with pytest.raises(
        DeviceMemoryError, match="cpu has too little memory for one image of 12 x 12"
    ):
        run("em", study(), engine=Small(VESDE()), batch=10)


@pytest.mark.parametrize("process", [VESDE(), DDPM()])
def test_the_mean_of_antithetic_samples_is_exact_where_the_way_is_linear(process) -> None:
    cond = np.full((2, 24, 24), 0.5)
    sampling = Sampling(sampler("dpmpp"), 10, prior_mean=0.5)
    independent = synthesize(Analytic(process), process, cond, sampling)
    paired = synthesize(Analytic(process), process, cond, replace(sampling, antithetic=True))
    assert abs(independent.mean - 0.5).std() > 0.01
    # the sampler keeps float32 states
    np.testing.assert_allclose(paired.mean, 0.5, atol=1e-5)
    # their deviation is one around the true mean: n / (n - 1) of the variance
    expected = independent.std.mean() * np.sqrt(10 / 9)
    assert paired.std.mean() == pytest.approx(expected, rel=0.05)
    for batch in (1, 3):
        found = synthesize(
            Analytic(process), process, cond, replace(sampling, antithetic=True, batch=batch)
        )
        np.testing.assert_array_equal(found.mean, paired.mean)


@pytest.mark.parametrize("changes", [{"antithetic": True}, {"branch_at": 0.5}])
def test_a_standard_error_is_not_asked_of_samples_that_are_not_independent(changes) -> None:
    with pytest.raises(UsageError, match="one of independent samples"):
        Sampling(sampler("em"), stopping=Stopping(4, 0.1), **changes)
