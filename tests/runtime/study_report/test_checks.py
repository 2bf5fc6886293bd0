from dataclasses import replace

import pytest
from fitted import recalibration

from mrct_runtime.departures import Departure, Given
from mrct_runtime.result import Model
from mrct_runtime.study_report.checks import (
    Level,
    audited_deviation_hu,
    checks,
    mean_deviation_hu,
)
from mrct_runtime.study_report.comparison import compare
from mrct_runtime.study_report.verdict import verdict
from mrct_runtime.uncertainty import Uncertainty


def judged(result, comparison=None):
    return verdict(checks(result, comparison))


def manifest_with(result, **changes):
    return replace(result, model=Model(result.model.manifest.model_copy(update=changes), "a" * 64))


def trained_on(result, data):
    training = result.model.manifest.training.model_copy(update={"data": data})
    return manifest_with(result, training=training)


def unlike(result, *departures):
    return replace(result, given=Given(result.given.body, 0.0, departures, compared=True))


def deviating(result, times):
    errors = tuple(times * error for error in result.counters.standard_error_hu)
    return replace(result, counters=replace(result.counters, standard_error_hu=errors))


def outside(result, share):
    voxels = result.counters.body_voxels
    return replace(result, counters=replace(result.counters, above_window=round(share * voxels)))


def lost(result, share):
    return replace(result, given=replace(result.given, lost=share))


def test_a_result_that_passes_every_check_looks_usable_for_research(sound):
    found = judged(sound)
    assert found.level is Level.FINE
    assert found.headline == "Looks usable for research"
    assert found.reasons == ()


def test_a_demonstration_model_is_never_better_than_not_for_patients(sound):
    found = judged(trained_on(sound, "52 phantoms; no patient data"))
    assert found.level is Level.NOT_FOR_PATIENTS
    assert found.headline == "Not for patients"
    assert judged(manifest_with(sound, name="demo-sde")).level is Level.NOT_FOR_PATIENTS


def test_a_demonstration_of_something_wrong_is_not_to_be_trusted(sound):
    demonstration = trained_on(lost(sound, 0.2), "no patient data")
    assert judged(demonstration).level is Level.DISTRUST


@pytest.mark.parametrize(
    ("change", "by", "level", "said"),
    [
        (lost, 0.0009, Level.FINE, None),
        (lost, 0.002, Level.LOOK, "field of view"),
        (lost, 0.06, Level.DISTRUST, "6.0% of the body lies outside the model's field of view"),
        (outside, 0.0, Level.FINE, None),
        (outside, 0.005, Level.LOOK, "HU window"),
        (outside, 0.02, Level.DISTRUST, "2.0% of the body left the model's HU window"),
        (deviating, 1.3, Level.FINE, None),
        (deviating, 1.8, Level.LOOK, "disagree"),
        (deviating, 3.0, Level.DISTRUST, "disagree"),
    ],
)
def test_each_rule_has_a_value_from_which_to_look_and_one_from_which_to_distrust(
    sound, change, by, level, said
):
    found = judged(change(sound, by))
    assert found.level is level
    assert (said is None) == (found.reasons == ())
    assert said is None or said in found.reasons[0]


@pytest.mark.parametrize(
    ("graves", "level"),
    [
        ([False], Level.LOOK),
        ([False, False], Level.LOOK),
        ([True], Level.DISTRUST),
        ([False, False, False], Level.DISTRUST),
    ],
)
def test_an_input_unlike_the_training_is_a_reason_for_doubt(sound, graves, level):
    departures = (Departure(f"thing {k} is odd", grave) for k, grave in enumerate(graves))
    found = judged(unlike(sound, *departures))
    assert found.level is level
    assert "thing 0 is odd" in found.reasons[0]


def test_an_input_that_cannot_be_compared_is_looked_at_closely(sound):
    given = replace(sound.given, compared=False)
    found = judged(replace(sound, given=given))
    assert found.level is Level.LOOK
    assert "could not be checked" in found.reasons[0]


@pytest.mark.parametrize(("count", "level"), [(1, Level.LOOK), (4, Level.LOOK), (5, Level.FINE)])
def test_few_samples_are_looked_at_closely(sound, count, level):
    samples = (count, *sound.counters.samples[1:])
    found = checks(replace(sound, counters=replace(sound.counters, samples=samples)), None)
    assert next(check for check in found if check.name == "Samples a slice").level is level


def test_any_warning_of_the_run_is_a_reason_to_look(sound):
    found = judged(replace(sound, warnings=("something happened",)))
    assert found.level is Level.LOOK
    assert found.reasons == ("The run gave 1 warning: see below.",)


def test_the_warning_of_departures_counts_once(sound):
    odd = unlike(sound, Departure("it is odd", grave=False))
    warned = replace(odd, warnings=("the MR is unlike the model's training images: it is odd",))
    assert judged(warned).reasons == judged(odd).reasons


def test_the_mean_deviation_is_that_of_the_closed_form(sound):
    # the deviation is 0.1 of a window of 4095 HU; of six samples its estimate has a bias of -5 %
    assert mean_deviation_hu(sound) == pytest.approx(0.1 * 4095 * 0.95, rel=0.05)
    assert audited_deviation_hu(sound) == pytest.approx(0.1 * 4095)
    assert audited_deviation_hu(replace(sound, sampler="ode")) is None


def test_without_an_audit_the_deviation_is_held_against_that_of_the_trainings_ct(sound):
    assert judged(manifest_with(sound, half=None)).level is Level.DISTRUST
    quiet = deviating(manifest_with(sound, half=None), 0.1)
    assert judged(quiet).level is Level.FINE


def test_a_recalibrated_map_is_fine_and_a_raw_one_a_note_without_doubt(sound):
    named = {check.name: check for check in checks(sound, None)}
    assert named["Meaning of the map"].level is Level.NOTE
    fitted = recalibration("em", mc=6, steps=400)
    uncertainty = Uncertainty.of({"em": fitted}, "em", sound.sampling, raw=False)
    named = {check.name: check for check in checks(replace(sound, uncertainty=uncertainty), None)}
    assert named["Meaning of the map"].level is Level.FINE
    assert "5 subjects" in named["Meaning of the map"].found


def test_an_error_as_large_as_that_of_one_hu_value_is_not_to_be_trusted(sound, reference):
    comparison = compare(sound, reference)
    assert judged(sound, replace(comparison, constant_hu=1000.0)).level is Level.FINE
    assert judged(sound, replace(comparison, constant_hu=200.0)).level is Level.LOOK
    assert judged(sound, replace(comparison, constant_hu=100.0)).level is Level.DISTRUST


def test_intervals_that_hold_too_little_of_the_true_ct_are_looked_at_closely(sound, reference):
    comparison = replace(compare(sound, reference), constant_hu=1000.0, coverage={"95": 0.7})
    found = judged(sound, comparison)
    assert found.level is Level.LOOK
    assert "70%" in found.reasons[0]


def test_the_worst_reason_comes_first(sound):
    found = judged(lost(replace(sound, warnings=("something",)), 0.2))
    assert "field of view" in found.reasons[0]
    assert len(found.reasons) == 2
