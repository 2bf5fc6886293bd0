"""Measurements on a real GPU: events, memory, and an engine's own figures."""

import pytest

from mrct_runtime.bench import peaks
from mrct_runtime.bench.candidates import engines
from mrct_runtime.bench.contest import contest
from mrct_runtime.bench.outcome import Plan
from mrct_runtime.bench.slice_contest import SlicePlan, slice_contest
from mrct_runtime.bundle import Bundle
from mrct_runtime.cuda import why_not
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.doctor.examination import examine
from mrct_runtime.engines.target import Target

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _needs_a_gpu():
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load(demonstration_bundle("em"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", None])
def test_peaks_are_timed_by_events(precision):
    stand = peaks.stand({"device": "cuda:0", "precision": precision})
    facts = stand.facts()
    last = stand.warm_up(1, 0.5)["last"]
    (median, *_) = sorted(stand.measure(1, 10 * last))
    done = facts.get("flop") or facts["bytes"]
    assert 1e9 < done / median < 1e16
    assert stand.memory()["device"] > 0


def test_engines_run_there_and_copy_only_mean_and_deviation_back(bundle):
    candidates = engines(bundle, Target("cuda", threads=1), 96)
    outcome = contest(candidates, Plan((10,), 2, 0.2, 2.0, 200), {}, lambda _: None, lambda _: None)
    assert outcome.rows, outcome.refusals
    measured = [c for c in candidates if c.name in {row.candidate for row in outcome.rows}]
    assert all(outcome.facts[c.name]["device"].startswith("cuda") for c in measured)
    plan = SlicePlan("em", {"steps": 5}, 5, rounds=1, seconds=100)
    rows = slice_contest(measured, plan, outcome, {}, lambda _: None, lambda _: None)
    assert rows
    for row in rows:
        assert row.copies_to_host == 2
        assert 0 <= row.outside < 1
        assert row.device_memory > 0


def test_the_doctor_names_the_gpu_and_finds_a_backend_that_is_sound_on_it(bundle):
    found = examine(bundle.path)
    assert found.gpus
    assert found.gpu_reason is None
    assert found.gpus[0].memory > 1 << 30
    assert any(verdict.sound and verdict.serves == "cuda" for verdict in found.verdicts)
