"""What is checked of a result, each check with the value met and the rule that judges it.

check               look closely                      do not trust
model               (a demonstration model: not for patients)
input               unlike the training, or not       gravely unlike, or in three ways
                    known how that looked
field of view       0.1 % of the body outside         5 %
HU window           0.1 % of the body clamped         1 %
deviation           1.5 times the audited             2.5 times
                    (not audited: 15 % of the         (30 %)
                    training CT's own deviation)
samples             fewer than 5, or one alone
run                 any warning of the run
true CT             error above half that of one      as large as that of one HU value
                    HU value, 95 % intervals hold
                    less than 80 %
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from mrct_runtime.demonstration import is_demonstration
from mrct_runtime.departures import departed
from mrct_runtime.process import Direct
from mrct_runtime.result import Result
from mrct_runtime.study_report.comparison import Comparison

LOST: Final = (0.001, 0.05)
CLAMPED: Final = (0.001, 0.01)
AUDITED: Final = (1.5, 2.5)
UNAUDITED: Final = (0.15, 0.30)
AGAINST_CONSTANT: Final = (0.5, 1.0)
"""The values from which a check says look closely, and do not trust."""
FEW_SAMPLES: Final = 5
LEAST_COVERAGE: Final = 0.80
_MANY_DEPARTURES: Final = 3
_AUDITED_SAMPLES: Final = 10


class Level(IntEnum):
    """How bad a check's outcome is; `NOTE` is worth knowing and no reason for doubt."""

    FINE = 0
    NOTE = 1
    LOOK = 2
    NOT_FOR_PATIENTS = 3
    DISTRUST = 4


@dataclass(frozen=True)
class Check:
    """What was checked, what was found, by which rule, and how bad that is; `why` says it in a line."""

    name: str
    found: str
    rule: str
    level: Level
    why: str


def checks(result: Result, comparison: Comparison | None) -> tuple[Check, ...]:
    """All checks of a result, the comparison with a true CT where there is one."""
    found = [
        _model(result),
        _input(result),
        _field_of_view(result),
        _window(result),
        *_deviation(result),
        _samples(result),
        _run(result),
    ]
    return tuple(found if comparison is None else [*found, *_against_truth(comparison)])


def mean_deviation_hu(result: Result) -> float | None:
    """The samples' own deviation averaged over the body; None where a slice has one sample, or samples that share."""
    errors = result.counters.standard_error_hu
    if errors is None:
        return None
    pairs = zip(errors, result.counters.samples, strict=True)
    deviations = [error * math.sqrt(count) for error, count in pairs if error > 0]
    return float(np.mean(deviations)) if deviations else None


def audited_deviation_hu(result: Result) -> float | None:
    """What the same sampler's samples deviated by when the bundle's half precision was audited; None where it was not."""
    half = result.model.manifest.half
    if half is None or isinstance(result.model.manifest.process.build(), Direct):
        return None
    found = half.sampled.get(result.sampler)
    return None if found is None else found.limit_hu * math.sqrt(_AUDITED_SAMPLES)


def _graded(value: float, limits: tuple[float, float]) -> Level:
    look, distrust = limits
    if value > distrust:
        return Level.DISTRUST
    return Level.LOOK if value > look else Level.FINE


def _model(result: Result) -> Check:
    manifest = result.model.manifest
    demonstration = is_demonstration(manifest)
    return Check(
        "Model",
        f"{manifest.name}, trained on: {manifest.training.data}",
        "A demonstration model is never for patients.",
        Level.NOT_FOR_PATIENTS if demonstration else Level.FINE,
        "The model is a demonstration, trained on no patient.",
    )


def _input(result: Result) -> Check:
    given, rule = result.given, "Headers, pixel size, signal, body size and texture as in training."
    if given.departures:
        many = len(given.departures) >= _MANY_DEPARTURES
        grave = many or any(each.grave for each in given.departures)
        found = "; ".join(each.text for each in given.departures)
        level = Level.DISTRUST if grave else Level.LOOK
        more = f", and {len(given.departures) - 1} more" if len(given.departures) > 1 else ""
        why = f"The MR is unlike the training images: {given.departures[0].text}{more}."
        return Check("Input MR", found, rule, level, why)
    if given.compared:
        return Check("Input MR", "like the training images", rule, Level.FINE, "")
    return Check(
        "Input MR",
        "nothing against it in the headers; the bundle does not know how its training images looked",
        rule,
        Level.LOOK,
        "Whether the MR is like the training images could not be checked.",
    )


def _field_of_view(result: Result) -> Check:
    lost = result.given.lost
    return Check(
        "Field of view",
        f"{lost:.2%} of the body outside it",
        _rule(LOST),
        _graded(lost, LOST),
        f"{lost:.1%} of the body lies outside the model's field of view and became air.",
    )


def _window(result: Result) -> Check:
    outside, window = result.counters.outside, result.model.manifest.hu_window
    return Check(
        "HU window",
        f"{outside:.2%} of the body beyond {window.low:.0f} to {window.high:.0f} HU",
        _rule(CLAMPED),
        _graded(outside, CLAMPED),
        f"{outside:.1%} of the body left the model's HU window and was clamped.",
    )


def _deviation(result: Result) -> Iterator[Check]:
    """The deviation against its known level, and whether true errors were ever held against it."""
    found = mean_deviation_hu(result)
    if found is None:
        return
    audited, manifest = audited_deviation_hu(result), result.model.manifest
    if audited is not None:
        limits = (AUDITED[0] * audited, AUDITED[1] * audited)
        against = f"{found:.0f} HU on average in the body; {audited:.0f} HU at the bundle's audit"
        rule = f"Look above {AUDITED[0]:g} times the audited, distrust above {AUDITED[1]:g} times."
    else:
        wide = manifest.training.deviation * manifest.hu_window.width
        limits = (UNAUDITED[0] * wide, UNAUDITED[1] * wide)
        against = (
            f"{found:.0f} HU on average in the body; the training's CT deviates by {wide:.0f} HU"
        )
        rule = f"Not audited: look above {UNAUDITED[0]:.0%} of the training CT's deviation, distrust above {UNAUDITED[1]:.0%}."
    why = f"The samples disagree by {found:.0f} HU on average, more than is usual for this model."
    yield Check("Deviation of the samples", against, rule, _graded(found, limits), why)
    fitted = result.uncertainty.recalibration
    text = (
        f"as sampled: {result.uncertainty.why}"
        if fitted is None
        else f"recalibrated on {fitted.subjects} subjects"
    )
    level = Level.NOTE if fitted is None else Level.FINE
    yield Check("Meaning of the map", text, "Errors are promised only where calibrated.", level, "")


def _samples(result: Result) -> Check:
    fewest, most = min(result.counters.samples), max(result.counters.samples)
    shown = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    why = (
        "There is one sample: nothing tells where the model is unsure."
        if fewest < 2
        else f"Slices have as few as {fewest} samples: mean and uncertainty are rough."
    )
    level = Level.LOOK if fewest < FEW_SAMPLES else Level.FINE
    return Check("Samples a slice", shown, f"At least {FEW_SAMPLES}.", level, why)


def _run(result: Result) -> Check:
    # departures have a check of their own
    count = sum(line not in departed(result.given.departures) for line in result.warnings)
    shown = f"{count} other warning{'' if count == 1 else 's'}" if count else "no other warnings"
    level = Level.LOOK if count else Level.FINE
    return Check(
        "Run",
        shown,
        "No warnings.",
        level,
        f"The run gave {count} warning{'' if count == 1 else 's'}: see below.",
    )


def _against_truth(comparison: Comparison) -> Iterator[Check]:
    error, constant = comparison.metrics["mae_hu"], comparison.constant_hu
    share = error / constant if constant else math.inf
    yield Check(
        "Error against the true CT",
        f"MAE {error:.0f} HU in the body; one HU value for all of it: {constant:.0f} HU",
        f"Look above {AGAINST_CONSTANT[0]:.0%} of the latter, distrust above {AGAINST_CONSTANT[1]:.0%}.",
        _graded(share, AGAINST_CONSTANT),
        f"Its error against the true CT is {error:.0f} HU; one HU value for the whole body has {constant:.0f}.",
    )
    held = comparison.coverage.get("95")
    if held is not None:
        yield Check(
            "Intervals against the true CT",
            f"nominally 95 %: {held:.0%} of the body",
            f"At least {LEAST_COVERAGE:.0%}.",
            Level.FINE if held >= LEAST_COVERAGE else Level.LOOK,
            f"The uncertainty is too low: its 95 % intervals hold the true CT in {held:.0%} of the body.",
        )


def _rule(limits: tuple[float, float]) -> str:
    return f"Look above {limits[0]:.1%}, distrust above {limits[1]:.0%}."
