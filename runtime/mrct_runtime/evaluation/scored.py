"""A subject's scores by a contestant as a unit that can be kept, and back: every number as it was, to the last bit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.evaluation.calibration import Voxels
from mrct_runtime.evaluation.kept import Unit
from mrct_runtime.evaluation.results import Pictures, State, SubjectScores

_VOXELS = ("mean_hu", "std_hu", "error_hu")
_IMAGES = ("mr", "truth", "body", "samples", "mean", "std")


class Scored(NamedTuple):
    """One subject's scores, the evaluations that all its samples took, and voxels of several samples."""

    scores: SubjectScores
    evaluations: int
    voxels: Voxels | None


def unit_of(scored: Scored, shown: Pictures | None) -> Unit:
    """Scores and pictures as what is kept of them; not the subject's name."""
    scores = asdict(scored.scores)
    del scores["subject"], scores["group"]
    facts: dict[str, Any] = {"scores": scores, "evaluations": scored.evaluations}
    arrays: dict[str, NDArray[Any]] = {}
    if scored.voxels is not None:
        arrays |= {name: getattr(scored.voxels, name) for name in _VOXELS}
    if shown is not None:
        told = dict(vars(shown))
        arrays |= {f"shown {name}": told.pop(name) for name in _IMAGES}
        states = told.pop("states")
        arrays["shown states"] = np.array([state.image for state in states], np.float32)
        facts["shown"] = told | {"times": [state.t for state in states]}
    return Unit(facts, arrays)


def scored_of(unit: Unit, subject: str, group: str) -> Scored:
    """The scores of a unit."""
    scores = SubjectScores(subject=subject, group=group, **unit.facts["scores"])
    voxels = None
    if _VOXELS[0] in unit.arrays:
        voxels = Voxels(*(unit.arrays[name] for name in _VOXELS))
    return Scored(scores, unit.facts["evaluations"], voxels)


def pictures_of(unit: Unit) -> Pictures:
    """The pictures of a unit that has some."""
    told = dict(unit.facts["shown"])
    times, images = told.pop("times"), unit.arrays["shown states"]
    states = tuple(State(t, image) for t, image in zip(times, images, strict=True))
    shown: dict[str, Any] = {name: unit.arrays[f"shown {name}"] for name in _IMAGES}
    return Pictures(**told, **shown, states=states)
