from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fitted import recalibration
from flat_pairs import write_pairs
from tiny_bundle import DEVIATION, write_tiny_bundle

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import InputRejectedError, UsageError
from mrct_runtime.evaluation.advance import Advance
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.cases import Selection, load_case
from mrct_runtime.evaluation.runner import Evaluator, Plan
from mrct_runtime.evaluation.scoring import Ruler
from mrct_runtime.process import DDPM, VESDE
from mrct_runtime.settings import Settings

MC = 8
SETTINGS = Settings(mc=MC, options={"steps": 60}, target=Target("cpu", threads=1))
WIDTH = 4095.0
# mean |z| of a normal deviate, and c4(8), by which the deviation of eight samples is low
MEAN_ABSOLUTE, C4 = np.sqrt(2 / np.pi), 0.965


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return [
        Bundle.load(write_tiny_bundle(folder / f"{name}.mrct", process, size=32, spacing_mm=1.0))
        for name, process in (("chain", DDPM()), ("diffusion", VESDE()))
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs")


def plan(*samplers: str, **changes) -> Plan:
    given = {"settings": SETTINGS, "bootstrap": Bootstrap(resamples=200)} | changes
    return Plan(samplers=samplers or None, **given)


@pytest.fixture(scope="module")
def evaluated(bundles, data):
    seen: list[Advance] = []
    evaluator = Evaluator(bundles, data, plan("ddpm", "em", groups={"A": "A*", "B": "B*"}))
    evaluation, pictures = evaluator.run(seen.append)
    return evaluation, pictures, seen


def test_every_sampler_is_run_with_the_bundle_that_it_serves(evaluated) -> None:
    evaluation, _, _ = evaluated
    runs = [(run.label, run.bundle, run.method, run.mc) for run in evaluation.runs]
    assert runs == [("DDPM", "chain", "ddpm", MC), ("EM", "diffusion", "sde", MC)]
    assert [run.evaluations_a_sample for run in evaluation.runs] == [60, 60]
    assert all(run.seconds_a_slice > 0 for run in evaluation.runs)


def test_scores_follow_from_the_deviation_of_the_samples(evaluated) -> None:
    # the CT is the network's mean: a sample is off by sigma z, an average of 8 by sigma z / sqrt(8)
    for run in evaluated[0].runs:
        found = run.overall["all"]
        sigma = found.mean_std_hu.value / C4
        # few steps lose some of the deviation, and that of clipped black and white
        assert 0.6 < sigma / (DEVIATION * WIDTH) < 1
        error = sigma * MEAN_ABSOLUTE
        assert found.single["mae_hu"].value == pytest.approx(error, rel=0.05)
        assert found.mean["mae_hu"].value == pytest.approx(error / np.sqrt(MC), rel=0.05)
        psnr = 20 * np.log10(WIDTH / sigma)
        assert found.single["psnr_2025"].value == pytest.approx(psnr, abs=0.4)
        assert found.mean["psnr_2025"].value == pytest.approx(psnr + 10 * np.log10(MC), abs=0.4)


def test_scores_are_those_of_the_images_that_are_shown(evaluated) -> None:
    evaluation, pictures, _ = evaluated
    for shown in pictures:
        run = next(run for run in evaluation.runs if run.label == shown.label)
        scores = next(each for each in run.subjects if each.subject == shown.subject)
        single = abs(shown.samples.clip(-1024, 3071) - shown.truth)[:, shown.body].mean()
        mean = abs(shown.mean.clip(-1024, 3071) - shown.truth)[shown.body].mean()
        assert scores.single["mae_hu"] == pytest.approx(single, rel=1e-5)
        assert scores.mean["mae_hu"] == pytest.approx(mean, rel=1e-5)
        assert scores.mean_std_hu == pytest.approx(shown.std[shown.body].mean(), rel=1e-5)


def test_averages_beat_single_samples_by_every_measure(evaluated) -> None:
    for run in evaluated[0].runs:
        found = run.overall["all"]
        better = {name: name.startswith(("paper", "psnr", "ssim", "ms")) for name in found.mean}
        for name, higher in better.items():
            difference = found.mean[name].value - found.single[name].value
            assert (difference > 0) == higher, name


def test_groups_are_reported_apart_and_one_subject_has_no_interval(evaluated) -> None:
    run = evaluated[0].runs[0]
    assert list(run.overall) == ["all", "A", "B"]
    assert [run.overall[label].subjects for label in run.overall] == [3, 2, 1]
    assert run.overall["B"].mean["mae_hu"].low is None
    whole = run.overall["all"].mean["mae_hu"]
    assert whole.low < whole.value < whole.high
    assert {each.subject: each.group for each in run.subjects} == {"A1": "A", "A2": "A", "B1": "B"}


def test_the_deviation_of_a_sound_network_keeps_its_promise(evaluated) -> None:
    for run in evaluated[0].runs:
        coverage = run.calibration["raw"]["tissues"]["all"]["coverage"]
        # the truth lies at the samples' mean, not among them: it is inside nearly always
        assert coverage["95"].value > 0.99


def test_pictures_show_one_slice_of_the_first_subject_of_each_group(evaluated) -> None:
    _, pictures, _ = evaluated
    shown = [(each.subject, each.label, each.label_of_mean) for each in pictures]
    assert shown == [
        (subject, label, f"{label}-M") for subject in ("A1", "B1") for label in ("DDPM", "EM")
    ]
    for each in pictures:
        np.testing.assert_allclose(each.samples.mean(axis=0), each.mean, atol=0.1)
        np.testing.assert_allclose(each.samples.std(axis=0, ddof=1), each.std, atol=0.1)
        times = [state.t for state in each.states]
        assert times == sorted(times, reverse=True)
        assert (times[0], times[-1]) == (1.0, 0.0)
        # seen again on its own, the first sample is the same
        np.testing.assert_allclose(each.states[-1].image * WIDTH - 1024, each.samples[0], atol=0.05)


def test_the_json_holds_it_all_and_no_number_that_is_none(evaluated) -> None:
    content = json.loads(evaluated[0].to_json(), parse_constant=pytest.fail)
    assert content["conditions"]["range_2025_hu"] == [-1024.0, 3071.0]
    assert content["data"]["body"] == dict.fromkeys(("A1", "A2", "B1"), "mask of the data set")
    run = content["runs"][0]
    assert set(run["overall"]["all"]["mean"]["mae_hu"]) == {"value", "low", "high"}
    assert run["subjects"][0]["subject"] == "A1"


def test_progress_ends_with_everything_done(evaluated) -> None:
    seen = evaluated[2]
    fractions = [each.fraction for each in seen]
    assert fractions == sorted(fractions)
    assert (seen[-1].subjects, seen[-1].total_subjects, fractions[-1]) == (3, 3, 1.0)


def test_other_subjects_and_samplers_change_nothing_in_a_subjects_scores(
    bundles, data, evaluated
) -> None:
    alone = Evaluator(bundles[1:], data, plan("em", selection=Selection(pattern="A2")))
    scores = alone.run()[0].runs[0].subjects[0]
    among = evaluated[0].runs[1].subjects[1]
    assert (scores.single, scores.mean) == (among.single, among.mean)


def test_what_lies_outside_the_body_can_be_left_out_of_whole_slices(bundles, data) -> None:
    changes = {"selection": Selection(pattern="A1"), "settings": SETTINGS}
    kept, air = (
        Evaluator(bundles[1:], data, plan("em", ruler=Ruler(outside=outside), **changes))
        .run()[0]
        .runs[0]
        .subjects[0]
        for outside in ("keep", "air")
    )
    inside = (32 - 8) * (32 - 10) / 32**2
    gain = air.single["paper_psnr"] - kept.single["paper_psnr"]
    assert gain == pytest.approx(-10 * np.log10(inside), abs=0.4)
    assert air.single["mae_hu"] == kept.single["mae_hu"]


def test_a_sampler_that_no_bundle_serves_is_refused(bundles, data) -> None:
    with pytest.raises(UsageError, match="no bundle here serves the sampler direct"):
        Evaluator(bundles, data, plan("ddpm", "em", "direct"))


def test_a_bundle_that_no_sampler_serves_is_refused(bundles, data) -> None:
    with pytest.raises(UsageError, match="none of the samplers ddpm serves diffusion"):
        Evaluator(bundles, data, plan("ddpm"))


def test_two_bundles_of_one_name_are_refused(bundles, data) -> None:
    with pytest.raises(UsageError, match="2 bundles are named chain"):
        Evaluator([bundles[0], bundles[0]], data, plan("ddpm"))


def test_a_sampler_named_twice_is_refused_for_its_subjects_would_count_twice(bundles, data) -> None:
    with pytest.raises(UsageError, match="the sampler em is named 2 times"):
        Evaluator(bundles, data, plan("em", "ddpm", "em"))


def test_steps_are_for_samplers_that_take_so_many_and_not_a_cap_for_one_that_adapts(
    bundles, data
) -> None:
    settings = replace(SETTINGS, options={"steps": 25})
    found = Evaluator(bundles[1:], data, plan("em", "ode", settings=settings)).contestants
    preset = bundles[1].preset("ode")
    assert [each.options["steps"] for each in found] == [25, preset.get("steps", 1000)]


def with_changes(bundle: Bundle, **changes) -> Bundle:
    return replace(bundle, manifest=bundle.manifest.model_copy(update=changes))


def test_every_bundle_is_held_against_the_ct_and_the_body(bundles, data) -> None:
    manifest = bundles[1].manifest
    low = with_changes(bundles[1], name="low", hu_window=replace(bundles[1].window, high=1000.0))
    near = with_changes(
        bundles[1], name="near", image=manifest.image.model_copy(update={"size": 16})
    )
    warnings = Evaluator([bundles[1], low, near], data, plan("em")).survey.warnings
    first = [text for text in warnings if text.startswith("A1: ")]
    assert len(first) == 2
    assert "HU, where low cannot follow" in first[0]
    assert "% of the body lies outside the field of view of 16 mm of near" in first[1]


def test_a_subject_that_the_recalibration_was_fitted_on_is_told(bundles, data) -> None:
    clean = Evaluator(bundles[1:], data, plan("em"))
    case = load_case(clean.subjects[1], clean.contestants[0].preparation, Selection())
    fitted = recalibration("em", mc=MC, steps=60)
    fitted = fitted.model_copy(update={"subjects_sha256": tuple(case.digests)})
    told = with_changes(bundles[1], uncertainty={"em": fitted})
    (warning,) = Evaluator([told], data, plan("em")).survey.warnings
    assert "A2: the recalibration of EM was fitted on this subject" in warning
    other = with_changes(bundles[1], uncertainty={"em": fitted.model_copy(update={"mc": 3})})
    assert Evaluator([other], data, plan("em")).survey.warnings == ()


def test_a_training_subject_is_refused_or_told(bundles, data) -> None:
    clean = Evaluator(bundles, data, plan())
    assert clean.survey.warnings == ()
    case = clean.subjects[1]
    digest = min(load_case(case, clean.contestants[0].preparation, Selection()).digests)
    manifest = bundles[0].manifest
    training = manifest.training.model_copy(update={"subjects_sha256": (digest,), "subjects": 1})
    seen = replace(bundles[0], manifest=manifest.model_copy(update={"training": training}))
    with pytest.raises(InputRejectedError, match="A2: chain was trained on this subject"):
        Evaluator([seen], data, plan())
    allowed = Evaluator([seen], data, plan(allow_training_subjects=True))
    assert allowed.survey.warnings == ("A2: chain was trained on this subject",)


def test_a_sampler_that_runs_without_a_preset_is_told(bundles, data) -> None:
    old = bundles[1].manifest.model_copy(update={"presets": {"em": {"steps": 60}}})
    told = Evaluator(
        [replace(bundles[1], manifest=old)], data, plan("em", "unipc", settings=Settings(mc=2))
    ).survey.warnings
    (line,) = [each for each in told if "preset" in each]
    assert "diffusion has no preset for the sampler unipc" in line
