from dataclasses import replace

import pytest

from mrct_runtime.bench.candidates import Candidate
from mrct_runtime.bench.contest import contest
from mrct_runtime.bench.outcome import Plan, Row, paired
from mrct_runtime.errors import UsageError

PLAN = Plan(batches=(1, 2), rounds=3, turn_seconds=0.02, warm_up_seconds=0.02, seconds=60)


@pytest.fixture
def measure(tmp_path):
    """The outcome of a contest of these makers, and what their log says about turns."""

    def run(*makers, plan=PLAN, seconds=(0.004,) * 9, keep=lambda _: None):
        candidates = [
            Candidate(
                name,
                "engine",
                f"bench_stands:{maker}",
                {
                    "name": name,
                    "seconds": each,
                    "log": str(tmp_path / "log"),
                    "full": str(tmp_path / "full"),
                },
            )
            for name, maker, each in zip("abcdef", makers, seconds, strict=False)
        ]
        outcome = contest(candidates, plan, {}, lambda _: None, keep)
        log = tmp_path / "log"
        return outcome, log.read_text() if log.exists() else ""

    return run


def test_candidates_take_turns_in_every_round(measure):
    _, log = measure("logged", "logged")
    assert log == "a1 b1 a1 b1 a1 b1 a2 b2 a2 b2 a2 b2 "


def test_times_are_those_of_the_work_and_ratios_those_of_the_rounds(measure):
    # on a busy machine a sleep of 5 ms may last twice as long
    plan = replace(PLAN, turn_seconds=0.06)
    outcome, _ = measure("logged", "logged", plan=plan, seconds=(0.005, 0.02))
    rows = {(row.candidate, row.batch): row for row in outcome.rows}
    assert 0.005 <= rows["a", 1].p50 < 0.012
    assert 0.010 <= rows["a", 2].p50 < 0.018
    assert 2.5 < paired(rows["b", 1], rows["a", 1]) < 4.5
    assert rows["a", 1].runs >= 3 * 3
    assert rows["a", 1].p99 is None
    assert len(rows["a", 1].medians) == 3


def test_one_that_cannot_be_had_leaves_the_others_their_figures(measure):
    outcome, _ = measure("refusing", "logged")
    assert {row.candidate for row in outcome.rows} == {"b"}
    (refusal,) = outcome.refusals
    assert (refusal.candidate, refusal.reason) == ("a", "it cannot be had")


def test_one_that_hangs_is_given_up_and_the_others_go_on(measure, monkeypatch):
    monkeypatch.setattr("mrct_runtime.bench.contest._GRACE", 3.0)
    plan = Plan((1,), 2, 0.02, 0.02, seconds=5)
    outcome, _ = measure("hanging", "logged", plan=plan)
    assert [row.candidate for row in outcome.rows] == ["b"]
    assert "no answer within" in outcome.refusals[0].reason


def test_one_that_finds_no_memory_beside_the_others_is_measured_after_them(measure, tmp_path):
    (tmp_path / "full").touch()
    outcome, log = measure("hungry", "logged")
    assert log.endswith("b2 a2 a2 a2 ")
    rows = {(row.candidate, row.batch): row.alone for row in outcome.rows}
    assert rows == {("a", 1): False, ("b", 1): False, ("b", 2): False, ("a", 2): True}


def test_what_is_known_is_handed_over_after_every_batch(measure):
    kept = []
    measure("logged", keep=lambda outcome: kept.append(len(outcome.rows)))
    assert kept == [1, 2]


def test_where_no_time_is_left_that_is_the_reason(measure):
    plan = Plan((1, 2, 3), 2, 0.02, 0.02, seconds=0.001)
    outcome, _ = measure("logged", plan=plan)
    assert not outcome.rows
    assert {refusal.reason for refusal in outcome.refusals} == {"no time was left"}


def test_a_slow_batch_leaves_the_later_ones_their_time(measure):
    plan = Plan((1, 2, 4), 50, 0.2, 0.02, seconds=6)
    outcome, _ = measure("logged", plan=plan)
    assert [row.batch for row in outcome.rows] == [1, 2, 4]
    assert all(2 <= len(row.medians) < 50 for row in outcome.rows)


def test_memory_is_that_of_each_process(measure):
    outcome, _ = measure("logged")
    assert outcome.memory["a"]["peak_rss"] > 10 << 20
    assert outcome.memory["a"]["device"] is None


@pytest.mark.parametrize(
    "wrong", [{"batches": ()}, {"batches": (0,)}, {"batches": (2, 2)}, {"rounds": 0}]
)
def test_a_plan_refuses_nonsense(wrong):
    with pytest.raises(UsageError):
        Plan(**wrong)


def test_ratios_pair_rounds_so_that_a_slow_minute_cancels():
    def row(*medians):
        return Row("x", 1, 3, 0.0, 2, True, 1.0, None, None, medians)

    assert paired(row(2.0, 20.0, 2.0), row(1.0, 10.0, 1.0)) == 2.0
