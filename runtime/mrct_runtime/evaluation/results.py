"""What an evaluation found: values that become evaluation.json, and the pictures that figures are drawn from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.manifest import Method

EVERYONE: Final = "all"
"""The group of all subjects."""

OTHERS: Final = "others"
"""The group of those that no pattern names, where groups are asked for."""

Scores: TypeAlias = Mapping[str, float]
"""Metric -> value. One that does not exist (no bone in the subject, an image below a window's size) is left out."""


class Metric(NamedTuple):
    """How a metric is shown: its title, its unit ("" for none), which way is better, and its definition in a line."""

    title: str
    unit: str
    higher_is_better: bool
    definition: str


METRICS: Final[Mapping[str, Metric]] = {
    "paper_ssim": Metric("SSIM", "", True, "slices in [0, 1] on the model grid, as in the paper"),
    "paper_psnr": Metric("PSNR", "dB", True, "slices in [0, 1] on the model grid, as in the paper"),
    "mae_hu": Metric("MAE", "HU", False, "in the body, on the CT's grid, not clipped (SynthRAD)"),
    "psnr_2023": Metric("PSNR 2023", "dB", True, "SynthRAD2023, in the body, on the CT's grid"),
    "ssim_2023": Metric("SSIM 2023", "", True, "SynthRAD2023, in the body, on the CT's grid"),
    "psnr_2025": Metric("PSNR 2025", "dB", True, "SynthRAD2025, in the body, on the CT's grid"),
    "ms_ssim_2025": Metric("MS-SSIM 2025", "", True, "SynthRAD2025, in the body, on the CT's grid"),
    "mae_air_hu": Metric("MAE air", "HU", False, "in the body where the CT is air"),
    "mae_soft_hu": Metric(
        "MAE soft tissue", "HU", False, "in the body where the CT is soft tissue"
    ),
    "mae_bone_hu": Metric("MAE bone", "HU", False, "in the body where the CT is bone"),
}
"""Every metric, in the order of the tables."""


class Interval(NamedTuple):
    """The mean over subjects and its confidence interval; None for both ends where one subject allows none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SubjectScores:
    """One subject through one run.

    `single` is the average of each metric over the single samples, `mean` the metric of their averaged image.
    `mean_std_hu` is the samples' deviation averaged over the body, None where one sample or a direct network has none;
    `paper_std` the same as the paper has it, over whole slices in [0, 1].
    `dimensions` is 3 where the windows of SynthRAD's metrics went across slices.
    """

    subject: str
    group: str
    slices: int
    dimensions: Literal[2, 3]
    single: Scores
    mean: Scores
    mean_std_hu: float | None
    paper_std: float | None
    seconds_a_slice: float


@dataclass(frozen=True)
class Overall:
    """A group of subjects through one run, each subject counting once."""

    subjects: int
    single: Mapping[str, Interval]
    mean: Mapping[str, Interval]
    mean_std_hu: Interval | None
    paper_std: Interval | None


@dataclass(frozen=True)
class Run:
    """A bundle with a sampler. `label` names it in tables and figures ("DDPM", "EM", "CNN"), unlike any other run's.

    `evaluations_a_sample` are those taken, `seconds_a_slice` the time of all `mc` samples of a slice. `overall` has
    the group "all" first. `calibration` is what is known of the deviation's worth, as JSON has it.
    """

    label: str
    bundle: str
    bundle_sha256: str
    method: Method
    sampler: str
    options: Mapping[str, Any]
    mc: int
    evaluations_a_sample: float
    seconds_a_slice: float
    subjects: tuple[SubjectScores, ...]
    overall: Mapping[str, Overall]
    calibration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label_of_mean(self) -> str:
        """The label of the averaged result."""
        return averaged(self.label, self.mc)


def averaged(label: str, mc: int) -> str:
    """The label of a run's averaged result, as the paper writes it: DDPM-M; of a single result its own."""
    return f"{label}-M" if mc > 1 else label


@dataclass(frozen=True)
class Conditions:
    """Under which conditions everything was measured, for the report to print."""

    recipe: str
    mc: int
    seed: int
    outside: Literal["keep", "air"]
    """Whether the paper's metrics see what lies outside the body, or air in both images."""
    range_2023_hu: tuple[float, float]
    range_2025_hu: tuple[float, float]
    air_below_hu: float
    bone_above_hu: float
    confidence: float
    bootstrap: str
    bootstrap_resamples: int
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    command: tuple[str, ...]
    finished: str
    notice: str


@dataclass(frozen=True)
class Data:
    """What was evaluated. `groups` are label -> names of subjects; `body` says where each subject's mask came from."""

    name: str
    subjects: int
    slices: int
    groups: Mapping[str, tuple[str, ...]]
    body: Mapping[str, str]
    part: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A file of the evaluation's folder and what it shows."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Evaluation:
    """All that evaluation.json holds."""

    conditions: Conditions
    data: Data
    runs: tuple[Run, ...]
    figures: tuple[Figure, ...] = ()

    def to_json(self) -> str:
        """The text of evaluation.json; an Interval is an object with value, low and high."""
        return json.dumps(_plain(asdict(self)), indent=1, allow_nan=False) + "\n"


class State(NamedTuple):
    """A state x_t [H, W] of the reverse process, in the network's units, not clipped."""

    t: float
    image: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pictures:
    """One slice through one run, on the model grid: all images [H, W], `samples` [n, H, W], HU where not said otherwise.

    `mr` is in [0, 1]. `states` are those of the first sample, noise first; empty where a run has none. `mean` and
    the samples are in HU and not clamped; `std` is 0 where there is one sample only.
    """

    label: str
    label_of_mean: str
    method: Method
    sampler: str
    subject: str
    slice: int
    spacing_mm: float
    mr: NDArray[np.float32]
    truth: NDArray[np.float32]
    body: NDArray[np.bool_]
    samples: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    states: tuple[State, ...] = ()


def _plain(value: Any) -> Any:
    """The value in JSON's types; asdict keeps named tuples, which json would write as lists."""
    match value:
        case Interval():
            return value._asdict()
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return value
