"""What tuning found: each sampler's quality against its evaluations, and the fewest that do what its long run does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation.results import Conditions, Data


@dataclass(frozen=True)
class Tolerance:
    """How far from the reference is near enough: the averaged image's MAE above it, the mean deviation from it, as fractions."""

    mae: float
    deviation: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"the tolerance of {name} must be finite and above 0, got {value}")


@dataclass(frozen=True)
class Point:
    """A sampler at one setting, the mean over subjects: of the averaged image MAE and SSIM, of the samples their deviation.

    `options` are those over the sampler's defaults. `evaluations` are those that a sample took.
    """

    options: Mapping[str, Any]
    evaluations: float
    mae_hu: float
    ssim: float
    mean_std_hu: float
    seconds_a_slice: float


@dataclass(frozen=True)
class Curve:
    """A sampler's points by their evaluations, and the long run of the same noise that they are held against.

    `failed` are the settings that ended with an error. `chosen` is the place of the point that was taken, None where
    there is none.
    """

    sampler: str
    reference: Point
    points: tuple[Point, ...]
    failed: tuple[str, ...]
    chosen: int | None

    @property
    def choice(self) -> Point | None:
        """The point that was taken."""
        return None if self.chosen is None else self.points[self.chosen]

    def spread(self, point: Point) -> float:
        """The mean deviation over the reference's."""
        return point.mean_std_hu / self.reference.mean_std_hu

    def excess(self, point: Point) -> float:
        """The MAE over the reference's, less 1."""
        return point.mae_hu / self.reference.mae_hu - 1


def curve(
    sampler: str,
    reference: Point,
    points: tuple[Point, ...],
    failed: tuple[str, ...],
    tolerance: Tolerance,
) -> Curve:
    """The curve with its choice: the fewest evaluations from which on every point is within the tolerance.

    A curve may pass through the reference on its way elsewhere, so those beyond the choice must be near as well.
    """
    ordered = tuple(sorted(points, key=lambda point: point.evaluations))
    found = Curve(sampler, reference, ordered, failed, None)
    chosen = None
    for place in reversed(range(len(ordered))):
        point = ordered[place]
        near = found.excess(point) <= tolerance.mae
        if not (near and abs(found.spread(point) - 1) <= tolerance.deviation):
            break
        chosen = place
    return Curve(sampler, reference, ordered, failed, chosen)


@dataclass(frozen=True)
class Tuning:
    """Everything of a tuning that is worth keeping; the content of tuning.json."""

    bundle: str
    bundle_sha256: str
    tolerance: Tolerance
    conditions: Conditions
    data: Data
    curves: tuple[Curve, ...]

    @property
    def presets(self) -> dict[str, dict[str, Any]]:
        """Sampler -> the options that were chosen, of those that have any."""
        chosen = {each.sampler: each.choice for each in self.curves}
        return {name: dict(point.options) for name, point in chosen.items() if point is not None}

    @property
    def best(self) -> str | None:
        """The sampler whose choice takes the fewest evaluations, of those whose MAE is within the tolerance of the best.

        None where no sampler has a choice.
        """
        choices = {each.sampler: each.choice for each in self.curves if each.choice is not None}
        least = min((point.mae_hu for point in choices.values()), default=0.0)
        good = [
            name
            for name, point in choices.items()
            if point.mae_hu <= least * (1 + self.tolerance.mae)
        ]
        return min(good, key=lambda name: choices[name].evaluations, default=None)

    def to_json(self) -> str:
        """The text of tuning.json."""
        content = asdict(self) | {"best": self.best}
        for entry, each in zip(content["curves"], self.curves, strict=True):
            for point, value in zip(entry["points"], each.points, strict=True):
                point["spread_ratio"] = each.spread(value)
        return json.dumps(content, indent=1, allow_nan=False) + "\n"
