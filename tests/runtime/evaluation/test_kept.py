"""An evaluation, a tuning and a calibration that are broken off go on, and end as those that are not."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from paired_sets import head, write_synthrad
from tiny_bundle import write_tiny_bundle

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.target import Target
from mrct_runtime.evaluation import drawn
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.cases import Selection
from mrct_runtime.evaluation.kept import Kept, Unit, kept_in
from mrct_runtime.evaluation.ladders import ladders
from mrct_runtime.evaluation.runner import Evaluator, Plan
from mrct_runtime.evaluation.scoring import Ruler
from mrct_runtime.evaluation.tuner import Tuner
from mrct_runtime.evaluation.tuning import Tolerance
from mrct_runtime.journal import Journal
from mrct_runtime.process import DDPM, VESDE
from mrct_runtime.settings import Settings
from mrct_runtime.volume import Volume

# fifteen samples of a subject, four at once
SETTINGS = Settings(mc=3, batch=4, options={"steps": 8}, target=Target("cpu", threads=1))
PLAN = Plan(settings=SETTINGS, samplers=("ddpm", "em"), bootstrap=Bootstrap(resamples=100))
BATCHES = 4
TOLERANCE = Tolerance(0.01, 0.05)


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return [
        Bundle.load(write_tiny_bundle(folder / f"{name}.mrct", process, size=32))
        for name, process in (("chain", DDPM()), ("diffusion", VESDE()))
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in ("A", "B"):
        write_synthrad(folder / name)
    return folder


@pytest.fixture
def no_time(monkeypatch):
    """Nothing takes time, so that times are equal."""
    monkeypatch.setattr(drawn, "time", SimpleNamespace(perf_counter=lambda: 0.0))


@pytest.fixture
def killed_after(monkeypatch):
    """From the batch of that number on, counted from now, every batch kills the run."""
    real = Journal.drawn

    def arm(last):
        count = itertools.count(1)

        def deadly(journal, batch):
            real(journal, batch)
            if next(count) >= last:
                raise Killed

        monkeypatch.setattr(Journal, "drawn", deadly)

    return arm


def resumed_until_finished(run, killed_after, folder, units, batches):
    """What a run gives that is killed after so many batches, again and again; and what each found."""
    told = []
    for _ in range(100):
        killed_after(batches)
        try:
            return run(Kept(folder, units, lambda *found: told.append(found))), told
        except Killed:
            continue
    raise AssertionError("it does not get on")


def same_pictures(one, other):
    assert [each.label for each in one] == [each.label for each in other]
    for ours, theirs in zip(one, other, strict=True):
        for name, value in vars(ours).items():
            if name != "states":
                np.testing.assert_array_equal(value, getattr(theirs, name), name)
                assert np.asarray(value).dtype == np.asarray(getattr(theirs, name)).dtype
        assert [state.t for state in ours.states] == [state.t for state in theirs.states]
        for a, b in zip(ours.states, theirs.states, strict=True):
            np.testing.assert_array_equal(a.image, b.image)


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("batches", [2, 3, 7])
def test_an_evaluation_that_is_killed_again_and_again_ends_with_the_same_bits(
    batches, bundles, data, tmp_path, killed_after
):
    expected, seen = Evaluator(bundles, data, PLAN).run()
    evaluator = Evaluator(bundles, data, PLAN)
    (found, shown), told = resumed_until_finished(
        lambda kept: evaluator.run(keeper=kept), killed_after, tmp_path, evaluator.units, batches
    )
    same = replace(found, conditions=replace(found.conditions, finished=""))
    wanted = replace(expected, conditions=replace(expected.conditions, finished=""))
    assert same.to_json() == wanted.to_json()
    same_pictures(shown, seen)
    # every unit was finished by an earlier run at some time, and work within one as well
    assert max(units for units, _ in told) >= 3
    assert any(slices for _, slices in told)
    assert kept_in(tmp_path) == (4, 0)


@pytest.mark.usefixtures("no_time")
def test_a_tuning_that_is_killed_again_and_again_ends_with_the_same_bits(
    bundles, data, tmp_path, killed_after
):
    bundle = bundles[1]
    plan = Plan(settings=replace(SETTINGS, options={}))
    rungs = ladders(bundle, ("em",), (5, 10), 20)
    expected = Tuner(bundle, data, plan, rungs).run(TOLERANCE)
    tuner = Tuner(bundle, data, plan, rungs)
    found, told = resumed_until_finished(
        lambda kept: tuner.run(TOLERANCE, keeper=kept), killed_after, tmp_path, tuner.units, 5
    )
    assert found.curves == expected.curves
    assert told[-1][0] >= 4


def test_times_of_what_was_finished_are_those_of_the_run_that_finished_it(
    bundles, data, tmp_path, killed_after, monkeypatch
):
    # every look at the clock is a second later
    clock = itertools.count()
    ticking = SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr(drawn, "time", ticking)
    evaluator = Evaluator(bundles, data, PLAN)
    killed_after(BATCHES + 2)
    with pytest.raises(Killed):
        evaluator.run(keeper=Kept(tmp_path, evaluator.units, lambda *_: None))
    killed_after(1000)
    evaluation, _ = evaluator.run(keeper=Kept(tmp_path, evaluator.units, lambda *_: None))
    seconds = [each.seconds_a_slice for run in evaluation.runs for each in run.subjects]
    clean, _ = Evaluator(bundles, data, PLAN).run(
        keeper=Kept(tmp_path / "clean", evaluator.units, lambda *_: None)
    )
    wanted = [each.seconds_a_slice for run in clean.runs for each in run.subjects]
    # a look a slice; the run that went on looked once more, at its start
    assert seconds[0] == wanted[0]
    assert seconds == pytest.approx(wanted, abs=2 / 5)


def others(bundles, data, tmp_path):
    """Evaluations that share no unit with PLAN's, by what is other."""
    moved = tmp_path / "data"
    _, ct, _ = head()
    for name in ("A", "B"):
        write_synthrad(moved / name, ct=Volume(ct.array + 1, ct.grid))
    remade = [
        Bundle.load(write_tiny_bundle(tmp_path / f"{each.manifest.name}.mrct", process, size=24))
        for each, process in zip(bundles, (DDPM(), VESDE()), strict=True)
    ]
    return {
        "a seed": Evaluator(bundles, data, replace(PLAN, settings=replace(SETTINGS, seed=1))),
        "steps": Evaluator(
            bundles, data, replace(PLAN, settings=replace(SETTINGS, options={"steps": 9}))
        ),
        "samples": Evaluator(bundles, data, replace(PLAN, settings=replace(SETTINGS, mc=4))),
        "a ruler": Evaluator(bundles, data, replace(PLAN, ruler=Ruler(outside="air"))),
        "slices": Evaluator(bundles, data, replace(PLAN, selection=Selection(slices=2))),
        "the true CT": Evaluator(bundles, moved, PLAN),
        "bundles": Evaluator(remade, data, PLAN),
    }


def test_nothing_of_other_bundles_data_or_settings_is_taken(bundles, data, tmp_path):
    folder, told = tmp_path / "kept", []
    evaluator = Evaluator(bundles, data, PLAN)
    evaluator.run(keeper=Kept(folder, evaluator.units, lambda *found: told.append(found)))
    for number, (name, other) in enumerate(others(bundles, data, tmp_path).items(), 2):
        other.run(keeper=Kept(folder, other.units, lambda *found: told.append(found)))
        assert told == [], name
        assert kept_in(folder) == (4 * number, 0), name
    evaluator.run(keeper=Kept(folder, evaluator.units, lambda *found: told.append(found)))
    assert told == [(4, 0)]


@pytest.mark.parametrize("damage", ["a flipped bit", "cut", "empty", "a pickle"])
def test_a_unit_whose_file_is_damaged_is_made_again(damage, tmp_path):
    made = []

    def make(_journals):
        made.append(1)
        return Unit({"a": 0.1}, {"images": np.arange(1000.0)})

    def unit():
        return Kept(tmp_path, 1, lambda *_: None).unit("key", make)

    unit()
    path = tmp_path / "key.npz"
    whole = path.read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    if damage == "a pickle":
        np.savez(path, facts=np.array([{}], object))
    else:
        damaged = {"a flipped bit": content, "cut": whole[:-30], "empty": b""}
        path.write_bytes(damaged[damage])
    found = unit()
    assert made == [1, 1]
    assert json.dumps(found.facts) == '{"a": 0.1}'
    again = unit()
    assert made == [1, 1]
    assert path.read_bytes() == whole
    np.testing.assert_array_equal(again.arrays["images"], found.arrays["images"])
