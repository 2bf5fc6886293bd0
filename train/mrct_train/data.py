"""Paired slices for training: read from DICOM once, cached as arrays that are mapped, not loaded.

A data set is a folder of subjects, or one with a folder `train` of subjects, each holding an MR and a CT series in one
frame of reference. The MR goes through the same preparation as at inference, the CT onto the same model grid.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.dicom.reading import read_pair
from mrct_runtime.errors import InputRejectedError, NoInputError, UsageError
from mrct_runtime.manifest import Image
from mrct_runtime.output_folder import OutputFolder
from mrct_runtime.translate import AIR_HU, conditioned
from mrct_train.config import TrainConfig

Images: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class DataSummary:
    """What a network is trained on: counts, the sha256 of all slices, and the CT's mean and deviation in [0, 1]."""

    subjects: int
    slices: int
    fingerprint: str
    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Pairs:
    """MR and CT slices [N, H, W] float32 in [0, 1], and how many belong to each subject, in order."""

    mr: Images
    ct: Images
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.mr.shape != self.ct.shape or self.mr.ndim != 3:
            raise InputRejectedError(
                f"MR {self.mr.shape} and CT {self.ct.shape} are not paired slices"
            )
        if sum(self.counts) != len(self.mr) or not self.counts:
            raise InputRejectedError(
                f"{len(self.mr)} slices do not belong to subjects of {self.counts}"
            )

    def of(self, subjects: Sequence[int]) -> NDArray[np.int64]:
        """The indices of these subjects' slices."""
        start = np.concatenate([[0], np.cumsum(self.counts)])
        parts = [np.arange(start[s], start[s + 1]) for s in sorted(subjects)]
        return np.concatenate(parts) if parts else np.arange(0)

    def split(self, held_out: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The slices of the training and of the validation subjects; never one subject in both."""
        if held_out >= len(self.counts):
            raise UsageError(
                f"validation_subjects is {held_out}, but there are {len(self.counts)} subjects in all"
            )
        order = np.random.default_rng(seed).permutation(len(self.counts)).tolist()
        return self.of(order[held_out:]), self.of(order[:held_out])

    def summary(self, training: NDArray[np.int64], subjects: int) -> DataSummary:
        """Counts and CT statistics of the training slices, summed slice by slice in float64."""
        pixels = len(training) * self.ct[0].size
        mean = sum(float(self.ct[i].sum(dtype=np.float64)) for i in training) / pixels
        squares = sum(float(np.square(self.ct[i] - np.float64(mean)).sum()) for i in training)
        deviation = math.sqrt(squares / pixels)
        return DataSummary(subjects, len(training), self.fingerprint(), mean, deviation)

    def fingerprint(self) -> str:
        """sha256 over the shape and every voxel."""
        digest = hashlib.sha256(repr((self.mr.shape, self.counts)).encode())
        for images in (self.mr, self.ct):
            for image in images:
                digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Order:
    """Endless epochs over `slices` [N], each in an order of its own, cut into batches.

    The place in the stream is the step alone: a resumed run asks for the next step. A batch may reach over the end of
    an epoch, so that no slice is left out.
    """

    slices: NDArray[np.int64]
    batch: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.slices) == 0:
            raise NoInputError("no slices to train on: too many validation subjects?")
        # A permutation is as long as the data, and consecutive batches need the same one.
        object.__setattr__(self, "_permutation", lru_cache(maxsize=2)(self._draw))

    def indices(self, step: int) -> NDArray[np.int64]:
        """The slices [B] of step 0, 1, ..."""
        places = np.arange(step * self.batch, (step + 1) * self.batch)
        permutation: Callable[[int], NDArray[np.int64]] = getattr(self, "_permutation")  # noqa: B009
        return np.array(
            [permutation(int(k // len(self.slices)))[k % len(self.slices)] for k in places]
        )

    def epoch(self, step: int) -> int:
        """How many epochs are complete before step 0, 1, ..."""
        return step * self.batch // len(self.slices)

    def _draw(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.slices)


def load_pairs(
    folder: Path, config: TrainConfig, cache: Path, report: Callable[[str], None]
) -> Pairs:
    """The training slices of a data set, from the cache where its files and the recipe are unchanged."""
    subjects = find_subjects(folder)
    place = cache / _key(subjects, config)
    if not place.is_dir():
        report(f"reading {len(subjects)} subjects")
        pairs = [read_subject(subject, config) for subject in subjects]
        with OutputFolder.claim(place) as output:
            for name, images in zip(("mr", "ct"), zip(*pairs, strict=True), strict=True):
                np.save(output.partial / f"{name}.npy", np.concatenate(images))
            counts = json.dumps([len(mr) for mr, _ in pairs])
            (output.partial / "counts.json").write_text(counts, "utf-8")
            output.commit()
    return Pairs(
        mr=np.load(place / "mr.npy", mmap_mode="r"),
        ct=np.load(place / "ct.npy", mmap_mode="r"),
        counts=tuple(json.loads((place / "counts.json").read_text("utf-8"))),
    )


def find_subjects(folder: Path) -> list[Path]:
    """The folders of the subjects, sorted by name: those in `folder/train` where there is one, else in `folder`."""
    root = folder / "train" if (folder / "train").is_dir() else folder
    subjects = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    if not subjects:
        raise NoInputError(
            f"{folder}: no subject folders here; expected {folder.name}/train/SUBJECT/"
        )
    return subjects


def read_subject(folder: Path, config: TrainConfig) -> tuple[Images, Images]:
    """One subject's MR and CT [S, H, W] in [0, 1] on the model grid; the CT is cut at the ends of the HU window."""
    mr_series, ct_series = read_pair(folder)
    image = Image(size=config.size, spacing_mm=config.spacing_mm, multiple=config.unet.multiple)
    condition, *_ = conditioned(mr_series.volume, config.mr_normalisation, image)
    hu = ct_series.volume.resample(condition.grid, fill=AIR_HU)
    ct = np.clip(config.hu_window.to_unit(hu.array), 0.0, 1.0)
    for name, array in (("MR", condition.array), ("CT", ct)):
        if not np.isfinite(array).all():
            raise InputRejectedError(
                f"{folder.name}: the {name} holds NaN or infinite values; leave it out"
            )
    return condition.array.astype(np.float32), ct.astype(np.float32)


def _key(subjects: Sequence[Path], config: TrainConfig) -> str:
    """A digest of what the cached arrays depend on: files by name, size and time, and the fields of the recipe."""
    fields = {"size", "spacing_mm", "mr_normalisation", "hu_window"}
    content: list[Any] = [config.model_dump(mode="json", include=fields)]
    for subject in subjects:
        for path in sorted(p for p in subject.rglob("*") if p.is_file()):
            status = path.stat()
            content.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
