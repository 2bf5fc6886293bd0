"""Paired slices for training: read and prepared once a subject, cached as arrays that are mapped, not loaded.

A data set is a folder of subjects in one of the layouts of mrct_runtime.paired, or one with a folder `train` of
subjects. The MR goes through the same preparation as at inference, the CT onto the same model grid.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mrct_runtime import npy
from mrct_runtime.appearance import Seen, appearance
from mrct_runtime.digests import array_sha256
from mrct_runtime.errors import (
    InputRejectedError,
    MrctError,
    NoInputError,
    OutputError,
    UsageError,
)
from mrct_runtime.intensity import AIR_HU, HuWindow
from mrct_runtime.output_folder import OutputFolder
from mrct_runtime.paired import (
    Slices,
    Subject,
    complaints,
    digest,
    find_subjects,
    passed_over,
    prepare,
    refuse_test_alone,
)
from mrct_runtime.structured_text import from_json
from mrct_train.config import TrainConfig

Images: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int64]

_ARRAYS: Final = Slices._fields
_FACTS: Final = "facts.json"
_WINDOW: Final = HuWindow()
# Raised with every change of what the cache holds or how slices are prepared.
_FORMAT: Final = 3
# Parts of the body's voxels beyond the HU window: of metal a few, of a window that does not fit the data many.
_CUT_TOLD, _CUT_MOST = 0.001, 0.05
# Rounding of resampled air is not worth a word.
_ROUNDING = 0.5


@dataclass(frozen=True)
class DataSummary:
    """What a network is trained on: counts, the sha256 of its slices, and the CT's mean and deviation in [0, 1].

    `digests` has one entry a subject, so that an evaluation can tell whether a subject was trained on.
    """

    subjects: int
    slices: int
    fingerprint: str
    mean: float
    deviation: float
    digests: tuple[str, ...] = ()
    seen: Seen | None = None
    """How the MR looks; None of runs from before that was kept, and of a single subject."""


@dataclass(frozen=True)
class Split:
    """The subjects of each part, by their places in the data set; no subject is in two."""

    training: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    @classmethod
    def draw(cls, subjects: int, config: TrainConfig) -> Split:
        """The recipe's validation and test subjects, drawn by its seed; the rest are for training."""
        validation, test = config.validation_subjects, config.test_subjects
        if validation + test >= subjects:
            raise UsageError(
                f"validation_subjects {validation} and test_subjects {test} leave none of "
                f"{subjects} subjects to train on"
            )
        order = np.random.default_rng(config.seed).permutation(subjects).tolist()
        parts = order[validation + test :], order[:validation], order[validation:][:test]
        return cls(*(tuple(sorted(part)) for part in parts))


@dataclass(frozen=True, eq=False)
class PreparedSubject:
    """A subject's slices, mapped from the cache, and the sha256 of what a network sees of them."""

    name: str
    slices: Slices
    digest: str

    def __len__(self) -> int:
        return len(self.slices.mr)


@dataclass(frozen=True, eq=False)
class Pairs:
    """The subjects of a data set as one sequence of slices, in units of the network."""

    subjects: tuple[PreparedSubject, ...]
    window: HuWindow = _WINDOW
    outside: str = "keep"
    spacing_mm: float = 1.0

    @property
    def counts(self) -> tuple[int, ...]:
        """Slices of each subject, in order."""
        return tuple(len(subject) for subject in self.subjects)

    def of(self, subjects: Sequence[int]) -> Indices:
        """The indices of these subjects' slices."""
        start = np.concatenate([[0], np.cumsum(self.counts)])
        parts = [np.arange(start[s], start[s + 1]) for s in sorted(subjects)]
        return np.concatenate(parts) if parts else np.arange(0)

    def batch(self, indices: Sequence[int] | Indices) -> tuple[Images, Images]:
        """(x_0, y), the CT and the MR [B, 1, N, N] in [0, 1]; the CT is cut at the ends of the HU window."""
        places = [self._place(int(index)) for index in indices]
        x0 = np.stack([self._ct(slices, s) for slices, s in places])[:, None]
        y = np.stack([slices.mr[s] for slices, s in places])[:, None]
        return x0, y

    def measured(self, indices: Sequence[int] | Indices) -> tuple[Images, NDArray[np.bool_]]:
        """The CT in HU, not cut at the window, and the body masks, both [B, N, N]."""
        places = [self._place(int(index)) for index in indices]
        hu = np.stack([slices.hu[s] for slices, s in places])
        return hu, np.stack([slices.body[s] for slices, s in places])

    def summary(self, training: Sequence[int]) -> DataSummary:
        """Counts and CT statistics of the training subjects, summed slice by slice in float64."""
        total, squares, pixels = 0.0, 0.0, 0
        for index in self.of(training):
            x0 = self._ct(*self._place(int(index))).astype(np.float64)
            total, squares, pixels = (
                total + x0.sum(),
                squares + np.square(x0).sum(),
                pixels + x0.size,
            )
        mean = total / pixels
        digests = tuple(self.subjects[s].digest for s in sorted(training))
        return DataSummary(
            subjects=len(training),
            slices=len(self.of(training)),
            fingerprint=hashlib.sha256("".join(digests).encode()).hexdigest(),
            mean=mean,
            deviation=math.sqrt(max(squares / pixels - mean**2, 0.0)),
            digests=digests,
            seen=Seen.of([self._appearance(s) for s in sorted(training)]),
        )

    def _appearance(self, subject: int) -> Mapping[str, float]:
        slices = self.subjects[subject].slices
        return appearance(slices.mr, self.spacing_mm)

    def _place(self, index: int) -> tuple[Slices, int]:
        for subject in self.subjects:
            if index < len(subject):
                return subject.slices, index
            index -= len(subject)
        raise IndexError(index)

    def _ct(self, slices: Slices, s: int) -> Images:
        hu = slices.hu[s]
        if self.outside == "air":
            hu = np.where(slices.body[s], hu, np.float32(AIR_HU))
        return np.clip(self.window.to_unit(hu), 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Order:
    """Endless epochs over `slices` [N], each in an order of its own, cut into batches.

    The place in the stream is the step alone: a resumed run asks for the next step. A batch may reach over the end of
    an epoch, so that no slice is left out.
    """

    slices: Indices
    batch: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.slices) == 0:
            raise NoInputError("no slices to train on: too many validation subjects?")
        # A permutation is as long as the data, and consecutive batches need the same one.
        object.__setattr__(self, "_permutation", lru_cache(maxsize=2)(self._draw))

    def indices(self, step: int) -> Indices:
        """The slices [B] of step 0, 1, ..."""
        places = np.arange(step * self.batch, (step + 1) * self.batch)
        permutation: Callable[[int], Indices] = getattr(self, "_permutation")  # noqa: B009
        return np.array(
            [permutation(int(k // len(self.slices)))[k % len(self.slices)] for k in places]
        )

    def epoch(self, step: int) -> int:
        """How many epochs are complete before step 0, 1, ..."""
        return step * self.batch // len(self.slices)

    def _draw(self, epoch: int) -> Indices:
        return np.random.default_rng([self.seed, epoch]).permutation(self.slices)


def load_pairs(
    folder: Path, config: TrainConfig, cache: Path, report: Callable[[str], None]
) -> Pairs:
    """The recipe's subjects of a data set, from the cache where their files and the preparation are unchanged.

    One subject is in memory at a time. An error names the subject; `report` is told of oddities.
    """
    refuse_test_alone(folder)
    root = folder / "train" if (folder / "train").is_dir() else folder
    subjects = find_subjects(root, config.subjects)
    report(f"{len(subjects)} subjects")
    if config.subjects == "*" and (others := passed_over(root, subjects)):
        report(f"warning: passed over, no MR and no CT in: {', '.join(others)}")
    prepared = [_cached(subject, config, cache, report) for subject in subjects]
    return Pairs(tuple(prepared), config.hu_window, config.outside, config.spacing_mm)


def _cached(
    subject: Subject, config: TrainConfig, cache: Path, report: Callable[[str], None]
) -> PreparedSubject:
    place = cache / _key(subject, config)
    if not (place / _FACTS).is_file():
        report(f"reading {subject.name}")
        try:
            slices, warnings = read_subject(subject, config)
        except MrctError as error:
            raise type(error)(f"{subject.name}: {error}") from error
        except Exception as error:
            # of a library, whose message may be long and carry the patient's data
            kind = type(error).__name__
            raise InputRejectedError(f"{subject.name}: cannot be read: {kind}") from error
        try:
            _store(place, slices, warnings)
        except OutputError:
            # another run that shares the cache may have been first
            if not (place / _FACTS).is_file():
                raise
    slices, told, found = _kept(place)
    for warning in told:
        report(f"warning: {subject.name}: {warning}")
    _look_at_window(subject.name, slices, config.hu_window, report)
    return PreparedSubject(subject.name, slices, found)


def _kept(place: Path) -> tuple[Slices, list[str], str]:
    """The slices that were stored, what was warned of then, and their digest."""
    try:
        facts = from_json((place / _FACTS).read_text("utf-8"))
        slices = Slices(*(npy.mapped(place / f"{name}.npy") for name in _ARRAYS))
        _check_unchanged(slices, facts)
        return slices, list(facts["warnings"]), facts["digest"]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise InputRejectedError(
            f"the prepared slices in {place} are damaged: delete that folder, and they are made again"
        ) from error


def _check_unchanged(slices: Slices, facts: Mapping[str, Any]) -> None:
    """ValueError where the arrays are not those that were stored: the wrong bits of a disk would be learnt from."""
    if (digest(slices), array_sha256(slices.body)) != (facts["digest"], facts["body"]):
        raise ValueError("other values than were stored")


def _look_at_window(
    name: str, slices: Slices, window: HuWindow, report: Callable[[str], None]
) -> None:
    """Tells of a subject whose body is cut at the HU window in more than 0.1 % of its voxels, refuses one above 5 %."""
    cut = voxels = 0
    for hu, body in zip(slices.hu, slices.body, strict=True):
        inside = hu[body]
        low, high = inside < window.low - _ROUNDING, inside > window.high + _ROUNDING
        cut, voxels = cut + int(np.count_nonzero(low | high)), voxels + inside.size
    share = cut / max(voxels, 1)
    told = f"{name}: {share:.2%} of the body's voxels lie outside hu_window, {window.low:g} to {window.high:g} HU"
    if share > _CUT_MOST:
        raise InputRejectedError(f"{told}; widen it, or take the subject out")
    if share > _CUT_TOLD:
        report(f"warning: {told}; they are cut")


def _store(place: Path, slices: Slices, warnings: Sequence[str]) -> None:
    """Writes the arrays and what is known of them; the folder appears when all of it is on the disk."""
    size = sum(array.nbytes for array in slices)
    with OutputFolder.claim(place, needed_bytes=size + 1_000_000, wait=True) as output:
        for name, array in zip(_ARRAYS, slices, strict=True):
            np.save(output.partial / f"{name}.npy", array, allow_pickle=False)
        content = {
            "digest": digest(slices),
            "body": array_sha256(slices.body),
            "warnings": list(warnings),
        }
        facts = json.dumps(content)
        (output.partial / _FACTS).write_text(facts, "utf-8")
        output.commit()


def read_subject(subject: Subject, config: TrainConfig) -> tuple[Slices, tuple[str, ...]]:
    """A subject's slices of the recipe's views, prepared, and what is odd about them."""
    pairs = tuple(pair for pair in subject.read() if pair.view in config.views)
    if not pairs:
        raise InputRejectedError(f"has no picture of the views {', '.join(config.views)}")
    parts = [prepare(pair, config.preparation) for pair in pairs]
    slices = Slices(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return slices, complaints(pairs)


def _key(subject: Subject, config: TrainConfig) -> str:
    """A digest of what the cached arrays depend on: files by name, size and time, views, preparation and format."""
    fields = {"size", "spacing_mm", "mr_normalisation", "views"}
    content: list[Any] = [_FORMAT, config.model_dump(mode="json", include=fields)]
    for path in sorted(subject.files):
        status = path.stat()
        content.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
