from __future__ import annotations

import numpy as np
import pytest
from fake_device import FakeDevice

from mrct_runtime.branching import kept_deviation, parts
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import UsageError
from mrct_runtime.noise import Noise
from mrct_runtime.process import DDPM, VESDE
from mrct_runtime.samplers import sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.synthesis import synthesize

AT = 0.4
RANDOM = [("ddpm", DDPM()), ("em", VESDE()), ("pc", VESDE())]


class Recording(Analytic):
    """Remembers how many rows went through the network, and refuses a condition of another number."""

    def bind(self, cond):
        bound, seen = super().bind(cond), self.__dict__.setdefault("seen", [])

        def eps(x, t):
            assert len(x) == len(cond)
            seen.append((len(x), t))
            return bound(x, t)

        return eps


def plan(name: str, **changes) -> Sampling:
    predictor = {} if name == "ddpm" else {"predictor": "reverse-diffusion"}
    return Sampling(
        sampler(name, {"steps": 20} | predictor), **{"mc": 4, "branch_at": AT} | changes
    )


def cond(slices: int = 2, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).random((slices, size, size))


@pytest.mark.parametrize(("name", "process"), RANDOM)
def test_one_image_goes_through_the_network_until_the_samples_part(name: str, process) -> None:
    engine = Recording(process)
    found = synthesize(engine, process, cond(1), plan(name))
    shared = [t for rows, t in engine.seen if rows == 1]
    apart = [t for rows, t in engine.seen if rows == 4]
    assert len(shared) + len(apart) == 20
    # the evaluation that first meets a time at or below AT is still shared
    assert min(shared) <= AT < sorted(shared)[1 if name != "pc" else 2]
    assert max(apart) <= AT
    assert found.evaluations == len(shared) + 4 * len(apart)


@pytest.mark.parametrize(("name", "process"), RANDOM)
def test_sample_0_is_the_one_without_branches_and_the_others_share_its_trunk(name, process) -> None:
    kept = {}

    def keep(s, k, sample):
        kept[s, k] = sample

    image = cond(2)
    synthesize(Analytic(process), process, image, plan(name), samples=keep)
    drawn = dict(kept)
    synthesize(Analytic(process), process, image, plan(name, branch_at=None), samples=keep)
    for s in range(2):
        np.testing.assert_array_equal(drawn[s, 0], kept[s, 0])
        assert abs(drawn[s, 1] - kept[s, 1]).max() > 1e-3
        assert abs(drawn[s, 1] - drawn[s, 0]).max() > 1e-3


def test_after_parting_each_sample_has_the_noise_it_would_have_had_alone() -> None:
    process, image, kept = VESDE(), cond(1), {}
    synthesize(
        Analytic(process), process, image, plan("em"), samples=lambda s, k, x: kept.update({k: x})
    )
    key, shape = [(0, 3)], image.shape[1:]
    trunk, own = Noise(0, "", [(0, 0)], shape), Noise(0, "", key, shape)
    met = [np.inf]
    eps = Analytic(process).bind(image[:, None].astype(np.float32))

    def denoise(x, t):
        met.append(t)
        return eps(x, t)

    def noise():
        shared, mine = trunk(), own()
        return mine if met[-1] <= AT else shared

    alone = plan("em").sampler(denoise, process, process.std(1.0) * noise(), noise)
    np.testing.assert_array_equal(kept[3], alone[0, 0])


@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize(("name", "process"), RANDOM)
def test_the_batch_never_shows(name: str, process, batch: int) -> None:
    reference = synthesize(Analytic(process), process, cond(), plan(name, batch=8))
    found = synthesize(Analytic(process), process, cond(), plan(name, batch=batch))
    np.testing.assert_array_equal(found.mean, reference.mean)
    np.testing.assert_array_equal(found.std, reference.std)


@pytest.mark.parametrize(("batch", "evaluated"), [(1, 5), (2, 6), (3, 6), (4, 6), (8, 5)])
def test_a_slice_goes_its_shared_way_once_whatever_the_batch(batch: int, evaluated: int) -> None:
    process = VESDE()
    engine = Recording(process)
    found = synthesize(engine, process, cond(2), plan("em", mc=5, batch=batch))
    shared = [t for _, t in engine.seen if t > AT]
    assert len(shared) == len(set(shared)) * 2
    apart = sorted({t for _, t in engine.seen})[: -len(set(shared)) - 1]
    assert all(sum(rows for rows, at in engine.seen if at == t) == 2 * evaluated for t in apart)
    assert max(rows for rows, _ in engine.seen) <= found.batch == min(5, batch)


def test_samples_that_part_never_leave_their_device() -> None:
    process, device = VESDE(), FakeDevice()
    reference = synthesize(Analytic(process), process, cond(), plan("em", mc=3, batch=2))
    engine = Analytic(process, device=device)
    found = synthesize(engine, process, cond(), plan("em", mc=3, batch=2))
    np.testing.assert_array_equal(found.mean, reference.mean)
    np.testing.assert_array_equal(found.std, reference.std)
    # of each slice whether all is finite, the deviation and the mean
    assert device.tally.downloads == device.tally.waits == 2 * 3


@pytest.mark.parametrize(("name", "process", "at"), [("ddpm", DDPM(), 0.1), ("em", VESDE(), 0.1)])
def test_the_deviation_that_is_left_is_the_closed_form(name: str, process, at: float) -> None:
    deviation = 0.2
    engine = Analytic(process, deviation=lambda cond: 0 * cond + deviation)
    options = {"steps": 500} | ({"variance": "fixed-large"} if name == "ddpm" else {})
    image = np.full((1, 24, 24), 0.5)

    def spread(branch_at):
        sampling = Sampling(
            sampler(name, options), 16, batch=16, prior_mean=0.5, branch_at=branch_at
        )
        return synthesize(engine, process, image, sampling).std.mean()

    expected = kept_deviation(process, at, deviation)
    assert 0.5 < expected < 0.97
    assert spread(at) / spread(None) == pytest.approx(expected, rel=0.03)


def test_a_sampler_without_noise_in_its_steps_cannot_part_and_is_told_so() -> None:
    sampling = Sampling(sampler("ode"), 4, branch_at=AT)
    with pytest.raises(UsageError, match=r"sampler ode draws no noise from t = 0\.4 on"):
        synthesize(Analytic(VESDE()), VESDE(), cond(), sampling)


def test_a_time_below_the_last_noise_is_refused() -> None:
    # of two levels, 1 and 1/2, the last draws nothing
    assert not parts(sampler("em", {"steps": 2}), VESDE(), 0.6)
    assert parts(sampler("em", {"steps": 20}), VESDE(), 0.6)
    with pytest.raises(UsageError, match="take more steps"):
        synthesize(
            Analytic(VESDE()),
            VESDE(),
            cond(),
            Sampling(sampler("em", {"steps": 2}), 4, branch_at=0.6),
        )


@pytest.mark.parametrize("at", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_a_time_outside_the_process_is_refused(at: float) -> None:
    with pytest.raises(UsageError, match="branch_at must lie between the times"):
        synthesize(Analytic(VESDE()), VESDE(), cond(), plan("em", branch_at=at))


def test_memory_that_is_too_small_halves_the_batch_also_of_samples_that_part() -> None:
    class Small(Analytic):
        def bind(self, cond):
            if len(cond) > 2:
                raise MemoryError
            return super().bind(cond)

    process, image = VESDE(), cond(1)
    reference = synthesize(Analytic(process), process, image, plan("em"))
    found = synthesize(Small(process), process, image, plan("em"))
    assert found.batch == 2
    np.testing.assert_array_equal(found.mean, reference.mean)
