from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.results import Interval


@pytest.mark.parametrize("subjects", [3, 8, 40])
def test_the_interval_is_scipys_bca(subjects: int) -> None:
    values = np.random.default_rng(subjects).gamma(2, 20, subjects)
    found = Bootstrap(resamples=20_000).interval(values)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    spread = reference.high - reference.low
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(reference.low, abs=0.03 * spread)
    assert found.high == pytest.approx(reference.high, abs=0.03 * spread)


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    bootstrap = Bootstrap(resamples=500)
    intervals = [bootstrap.interval(rng.normal(7, 2, 30)) for _ in range(300)]
    holding = sum(interval.low <= 7 <= interval.high for interval in intervals) / 300
    assert 0.90 <= holding <= 0.98


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).random(10)
    assert Bootstrap().interval(values) == Bootstrap().interval(values)
    assert Bootstrap(seed=1).interval(values) != Bootstrap().interval(values)


def test_a_higher_confidence_is_wider() -> None:
    values = np.random.default_rng(0).random(12)
    wide, narrow = (Bootstrap(confidence=level).interval(values) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("values", [(3.0, 5.0, 8.0), (1.0, 2.0, 3.0, 4.0)])
def test_a_shift_of_few_subjects_shifts_the_interval_and_nothing_else(values) -> None:
    here = Bootstrap().interval(values)
    there = Bootstrap().interval([value + 0.1 for value in values])
    assert there == pytest.approx([end + 0.1 for end in here])


def test_one_subject_has_no_interval() -> None:
    assert Bootstrap().interval([3.0]) == Interval(3.0, None, None)


def test_equal_subjects_have_an_interval_of_no_width() -> None:
    assert Bootstrap().interval([3.0, 3.0]) == Interval(3.0, 3.0, 3.0)


@pytest.mark.parametrize("change", [{"confidence": 1.0}, {"resamples": 5}])
def test_a_bootstrap_that_makes_no_sense_is_refused(change: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        Bootstrap(**change)
