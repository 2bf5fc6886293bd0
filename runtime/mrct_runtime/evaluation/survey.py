"""A look at everything before the first sample: hours later a bad subject would end an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import InputRejectedError
from mrct_runtime.evaluation.cases import FOUND, Case, Selection, load_case
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.evaluation.voxels import recalibration_of
from mrct_runtime.paired import Subject

_WARN_OUTSIDE = 0.001


@dataclass(frozen=True)
class Survey:
    """Subject -> its slices, and where its body mask comes from; and what a reader of the results has to know."""

    slices: Mapping[str, int]
    body: Mapping[str, str]
    warnings: tuple[str, ...]


def survey(
    subjects: Sequence[Subject],
    runners: Sequence[Contestant],
    selection: Selection,
    *,
    allow_training_subjects: bool = False,
) -> Survey:
    """What the subjects hold, each read once; InputRejectedError where a bundle was trained on one of them.

    With `allow_training_subjects` that is a warning.
    """
    slices, body = {}, {}
    warnings = [*_unknown_training(runners), *_untuned(runners)]
    for subject in subjects:
        for preparation in dict.fromkeys(each.preparation for each in runners):
            case = load_case(subject, preparation, selection)
            chosen = [each for each in runners if each.preparation == preparation]
            bundles = list({each.bundle.sha256: each.bundle for each in chosen}.values())
            if complaint := _trained_on(case, bundles):
                if not allow_training_subjects:
                    raise InputRejectedError(
                        f"{complaint}: its scores would say nothing of new patients; leave it out with "
                        "--subjects or --split, or add --allow-training-subjects"
                    )
                warnings.append(complaint)
            warnings += [
                *_fitted_on(case, chosen),
                *_beyond_window(case, bundles),
                *_beyond_view(case, bundles),
            ]
        slices[case.name], body[case.name] = case.slices, case.body_source
    if found := [name for name, source in body.items() if source == FOUND]:
        warnings.append(
            f"{len(found)} of {len(body)} subjects have no body mask; theirs is found in the MR, "
            "so their scores depend on this program"
        )
    return Survey(slices, body, tuple(warnings))


def _trained_on(case: Case, bundles: Sequence[Bundle]) -> str | None:
    for bundle in bundles:
        if case.digests & set(bundle.manifest.training.subjects_sha256):
            return f"{case.name}: {bundle.manifest.name} was trained on this subject"
    return None


def _fitted_on(case: Case, runners: Sequence[Contestant]) -> Iterator[str]:
    """A warning for every recalibration whose subjects include this one."""
    for runner in runners:
        fitted = recalibration_of(runner.bundle, runner)
        if fitted is not None and case.digests & set(fitted.subjects_sha256):
            yield (
                f"{case.name}: the recalibration of {runner.label} was fitted on this subject; "
                "its recalibrated coverage says nothing of new patients"
            )


def _unknown_training(runners: Sequence[Contestant]) -> Iterator[str]:
    for bundle in {each.bundle.sha256: each.bundle for each in runners}.values():
        training = bundle.manifest.training
        if training.subjects and not training.subjects_sha256:
            yield (
                f"{bundle.manifest.name} does not say which {training.subjects} subjects it was trained on; "
                "make sure yourself that none of them is evaluated"
            )


def _untuned(runners: Sequence[Contestant]) -> Iterator[str]:
    for runner in runners:
        yield from runner.settings.notes(runner.bundle)


def _beyond_window(case: Case, bundles: Sequence[Bundle]) -> Iterator[str]:
    """A warning for every window beyond which the CT holds values, such as metal's, that no synthetic CT can have."""
    inside = np.concatenate([part.ct[part.body] for part in case.parts])
    for window in dict.fromkeys(bundle.window for bundle in bundles):
        beyond = ((inside < window.low) | (inside > window.high)).mean() if inside.size else 0.0
        if beyond > _WARN_OUTSIDE:
            names = (bundle.manifest.name for bundle in bundles if bundle.window == window)
            yield (
                f"{case.name}: {beyond:.2%} of the body's CT lies outside {window.low:g} to {window.high:g} HU, "
                f"where {', '.join(names)} cannot follow"
            )


def _beyond_view(case: Case, bundles: Sequence[Bundle]) -> Iterator[str]:
    """A warning where the models, all of one grid, miss a part of the body."""
    if case.lost > _WARN_OUTSIDE:
        image = bundles[0].manifest.image
        names = ", ".join(bundle.manifest.name for bundle in bundles)
        yield (
            f"{case.name}: {case.lost:.1%} of the body lies outside the field of view of "
            f"{image.size * image.spacing_mm:.0f} mm of {names} and becomes air"
        )
