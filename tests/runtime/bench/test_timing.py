import pytest

from mrct_runtime.bench.timing import durations, percentile, spread, warm_up


class FakeClock:
    """Time that only work moves; marks are known after `finish`."""

    def __init__(self, costs):
        self._costs = iter(costs)
        self.now, self.finished = 0.0, 0

    def work(self):
        self.now += next(self._costs)

    def mark(self):
        return self.now

    def finish(self):
        self.finished += 1

    def between(self, first, second):
        return second - first


def endless(*first, then):
    yield from first
    while True:
        yield then


def test_a_warm_up_ends_once_the_last_ten_times_agree():
    clock = FakeClock(endless(9.0, *[1.0 + 0.1 * n for n in range(15)], then=2.0))
    found = warm_up(clock.work, clock, seconds=60)
    assert found.settled
    assert found.first == pytest.approx(9.0)
    assert found.last == pytest.approx(2.0)
    assert found.runs == 1 + 15 + 10


def test_a_warm_up_that_never_settles_ends_with_its_time_after_two_runs_at_least():
    clock = FakeClock(float(n) for n in range(1, 100))
    found = warm_up(clock.work, clock, seconds=0)
    assert (found.runs, found.first, found.last, found.settled) == (2, 1.0, 2.0, False)


def test_as_many_runs_are_queued_as_fit_and_waited_for_once():
    clock = FakeClock(0.5 + 0.001 * n for n in range(100))
    times = durations(clock.work, clock, seconds=5.0, expected=0.5)
    assert times == pytest.approx([0.5 + 0.001 * n for n in range(10)])
    assert clock.finished == 1
    assert len(durations(clock.work, clock, seconds=0.1, expected=7.0)) == 1


def test_percentiles_are_told_only_from_enough_runs():
    times = [float(n) for n in range(1, 101)]
    assert percentile(times, 50) == 50.5
    assert percentile(times, 95) == 95.0
    assert percentile(times, 99) == 99.0
    assert percentile(times[:99], 99) is None
    assert percentile(times[:19], 95) is None
    assert percentile([3.0], 50) == 3.0


def test_the_spread_is_a_share_of_the_median():
    assert spread([1.9, 2.0, 2.1]) == pytest.approx(0.1)
