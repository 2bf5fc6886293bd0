"""A synthesis that is broken off anywhere and goes on gives what one gives that is not, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import DeviceMemoryError
from mrct_runtime.finished import Batch, Finished, Past, Receiver
from mrct_runtime.journal import Journal
from mrct_runtime.process import VESDE
from mrct_runtime.samplers import sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.stopping import Stopping
from mrct_runtime.synthesis import stream

SIZE = 12
CONDITION = np.random.default_rng(1).uniform(0, 1, (5, SIZE, SIZE)).astype(np.float32)
PLANS = {
    "batches that cross slices": Sampling(sampler("em", {"steps": 12}), mc=4, batch=3),
    "several slices a batch": Sampling(sampler("em", {"steps": 12}), mc=2, batch=7),
    "batches within a slice": Sampling(sampler("em", {"steps": 12}), mc=5, batch=2),
    "as many as it takes": Sampling(
        sampler("em", {"steps": 12}), mc=9, batch=4, stopping=Stopping(2, 0.012)
    ),
    "a shared way": Sampling(sampler("em", {"steps": 12}), mc=3, batch=2, branch_at=0.5),
    "an adaptive sampler": Sampling(sampler("ode", {"rtol": 1e-2, "atol": 1e-2}), mc=3, batch=4),
}


class BatchMatters(Analytic):
    """An engine whose images depend a little on the others of their batch, as those of a GPU may."""

    def bind(self, condition):
        denoise = super().bind(condition)
        return lambda x, t: denoise(x, t) + 1e-7 * x.sum()


class Killed(BaseException):
    pass


def drawn(plan: Sampling, receiver: Receiver, engine=None):
    return stream(engine or BatchMatters(VESDE()), VESDE(), CONDITION, plan, receiver)


def whole(plan: Sampling, engine=None):
    slices: list[Finished] = []
    batches: list[Batch] = []
    work = drawn(plan, Receiver(slices.append, batches.append), engine)
    return slices, batches, work


def assert_same(found, expected):
    assert [each.place for each in found] == [each.place for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.mean, theirs.mean)
        assert np.array_equal(ours.std, theirs.std)
        assert ours.planned == theirs.planned


@pytest.mark.parametrize("name", PLANS)
def test_wherever_it_is_killed_it_ends_with_the_same_bits(name, tmp_path):
    plan = PLANS[name]
    expected, batches, work = whole(plan)
    assert len(batches) > 1
    # after every slice and every batch that the journal has taken in
    for stop in range(1, len(expected) + len(batches)):
        done = 0

        def count():
            nonlocal done
            done += 1
            if done == stop:  # noqa: B023  called in this turn alone
                raise Killed

        folder = tmp_path / str(stop)
        with Journal.open(folder, "this") as journal, pytest.raises(Killed):
            drawn(
                plan,
                Receiver(
                    lambda each: (journal.keep(each), count()),
                    lambda each: (journal.drawn(each), count()),
                    journal.past,
                ),
            )
        told: list[Batch] = []
        slices: list[Finished] = []
        with Journal.open(folder, "this") as journal:
            passed = len(journal.past.batches)
            resumed = drawn(plan, Receiver(slices.append, told.append, journal.past))
        assert_same(slices, expected)
        assert resumed == work
        assert told == batches[-len(told) :] if told else True
        assert len(told) >= len(batches) - passed


@pytest.mark.parametrize("name", PLANS)
def test_killed_again_and_again_it_never_draws_a_finished_batch_twice(name, tmp_path):
    plan = PLANS[name]
    expected, batches, _ = whole(plan)
    draws = 0
    for _ in range(20 * len(batches)):
        slices: list[Finished] = []
        left = [8]

        def batch_drawn(each, journal, left=left):
            nonlocal draws
            draws += 1
            journal.drawn(each)
            left[0] -= 1
            if not left[0]:
                raise Killed

        with Journal.open(tmp_path / "journal", "this") as journal:

            def take(each, journal=journal, slices=slices):
                slices.append(each)
                journal.keep(each)

            try:
                drawn(plan, Receiver(take, lambda b, j=journal: batch_drawn(b, j), journal.past))
            except Killed:
                continue
        break
    assert_same(slices, expected)
    # those of unfinished slices alone are drawn again
    assert draws < 3 * len(batches)


def test_a_batch_that_memory_had_no_room_for_is_not_tried_again(tmp_path):
    plan = Sampling(sampler("em", {"steps": 12}), mc=4, batch=8)
    tried: list[int] = []

    class Small(BatchMatters):
        def bind(self, condition):
            tried.append(len(condition))
            if len(condition) > 4:
                raise DeviceMemoryError("too large")
            return super().bind(condition)

    expected, batches, _ = whole(plan, Small(VESDE()))
    assert tried[:2] == [8, 4]
    tried.clear()
    slices: list[Finished] = []
    past = Past(batches[:3], {each.place: each for each in expected})
    drawn(plan, Receiver(slices.append, past=past), Small(VESDE()))
    assert max(tried) == 4
    assert_same(slices, expected)


def test_a_past_without_its_slices_counts_for_nothing():
    plan = PLANS["batches that cross slices"]
    expected, batches, _ = whole(plan)
    slices: list[Finished] = []
    drawn(plan, Receiver(slices.append, past=Past(batches, {})))
    assert_same(slices, expected)
    slices.clear()
    wrong = Past([replace(batches[0], rows=10_000)], {each.place: each for each in expected})
    drawn(plan, Receiver(slices.append, past=wrong))
    assert_same(slices, expected)
