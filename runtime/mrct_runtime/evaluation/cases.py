"""Cases: the subjects of a data set with what a network needs of them and what its result is held against."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.errors import InputRejectedError, MrctError, NoInputError, UsageError
from mrct_runtime.evaluation.metrics import WINDOW
from mrct_runtime.intensity import AIR_HU, body_mask
from mrct_runtime.paired import (
    VIEWS,
    Pair,
    Preparation,
    Slices,
    Subject,
    View,
    digest,
    find_subjects,
)
from mrct_runtime.paired.preparation import Prepared, prepare_as_inference
from mrct_runtime.structured_text import from_json
from mrct_runtime.volume import Grid, Volume, model_grid

SplitPart: TypeAlias = Literal["training", "validation", "test", "unseen"]
PARTS: Final[tuple[SplitPart, ...]] = get_args(SplitPart)

GIVEN, FOUND = "mask of the data set", "found in the MR"
"""Where a body mask comes from."""


@dataclass(frozen=True)
class Selection:
    """What of a data set is evaluated: subjects by name and by a training run's split, views, and slices a pair.

    `split` is the split.json of a training run; "unseen" are all subjects that it neither trained nor validated on.
    Without one DATA/test is taken, where there is such a folder.
    """

    pattern: str = "*"
    views: tuple[View, ...] = VIEWS
    slices: int | None = None
    split: Path | None = None
    part: SplitPart = "test"

    def __post_init__(self) -> None:
        if self.slices is not None and self.slices < 1:
            raise UsageError(f"slices must be at least 1 a subject, got {self.slices}")

    def find(self, folder: Path) -> list[Subject]:
        """The selected subjects, sorted by name."""
        inner = folder / ("test" if self.split is None else "train")
        subjects = find_subjects(inner if inner.is_dir() else folder, self.pattern)
        if self.split is None:
            return subjects
        parts = _read_split(self.split)
        if self.part == "unseen":
            seen = {*parts["training"], *parts["validation"]}
            chosen = [subject for subject in subjects if subject.name not in seen]
        else:
            chosen = [subject for subject in subjects if subject.name in parts[self.part]]
        if not chosen:
            raise NoInputError(
                f"{folder}: none of its {len(subjects)} subjects is in the part {self.part!r} of "
                f"{self.split.name}; choose another --part"
            )
        return chosen

    def places(self, slices: int) -> tuple[int, ...]:
        """Which slices of so many are evaluated: all, or evenly spaced ones."""
        if self.slices is None or self.slices >= slices:
            return tuple(range(slices))
        centres = (np.arange(self.slices) + 0.5) * slices / self.slices
        return tuple(int(centre) for centre in centres)

    @property
    def text(self) -> str:
        """The selection in words, for the report."""
        part = "" if self.split is None else f", part {self.part} of the training's split"
        slices = "all slices" if self.slices is None else f"at most {self.slices} slices a picture"
        return f"subjects {self.pattern}{part}, {slices}, views {', '.join(self.views)}"


@dataclass(frozen=True, eq=False)
class Part:
    """The selected slices of one pair: on the model grid as `slices`, the CT and the body on the CT's own grid [S, H, W].

    `series` and `places` name them for the noise. `grids` are the model's and the CT's, for slices that lie apart
    as if they lay in a row: bringing images from one to the other is a matter within each slice. `found` is the body
    [S, N, N] that mrct-infer finds in the MR, and `lost` the fraction of it beyond the model's field of view.
    """

    series: str
    places: tuple[int, ...]
    slices: Slices
    ct: NDArray[Any]
    body: NDArray[np.bool_]
    found: NDArray[np.bool_]
    lost: float
    grids: tuple[Grid, Grid]
    is_volume: bool
    """True where the stack is whole and thick enough for windows that cross slices."""

    def on_ct_grid(self, image: NDArray[Any], *, fill: float = AIR_HU) -> NDArray[Any]:
        """An image in HU [S, N, N] brought back to the CT's grid [S, H, W], as mrct-infer does; `fill` beyond it."""
        model, own = self.grids
        return Volume(image, model).resample(own, fill=fill).array

    @property
    def recalibrated(self) -> NDArray[np.bool_]:
        """Where mrct-infer recalibrates the deviation, on the CT's grid [S, H, W]: nowhere beyond the field of view."""
        model, own = self.grids
        mask = Volume(self.found.astype(np.uint8), model).resample(own, fill=0, order=0)
        return np.asarray(mask.array == 1)


@dataclass(frozen=True, eq=False)
class Case:
    """A subject prepared for one model: its parts, where its body mask came from, and its possible training digests."""

    name: str
    parts: tuple[Part, ...]
    body_source: str
    digests: frozenset[str]

    @property
    def slices(self) -> int:
        """The number of slices in all parts."""
        return sum(len(part.places) for part in self.parts)

    @property
    def lost(self) -> float:
        """The largest fraction of a part's body that lies beyond the model's field of view."""
        return max(part.lost for part in self.parts)

    @property
    def dimensions(self) -> Literal[2, 3]:
        """3 where every part is a volume."""
        return 3 if all(part.is_volume for part in self.parts) else 2


def load_case(subject: Subject, preparation: Preparation, selection: Selection) -> Case:
    """The subject's selected slices, read and prepared now; an error names the subject."""
    try:
        pairs = subject.read()
        prepared = [prepare_as_inference(pair, preparation) for pair in pairs]
        chosen = [k for k, pair in enumerate(pairs) if pair.view in selection.views]
        if not chosen:
            raise InputRejectedError(
                f"has no picture of the views {', '.join(selection.views)}; choose other --views"
            )
        parts = [
            _part(f"{subject.name} {k}", pairs[k], prepared[k], preparation, selection)
            for k in chosen
        ]
    except MrctError as error:
        raise type(error)(f"{subject.name}: {error}") from error
    given = all(pairs[k].mask is not None for k in chosen)
    digests = frozenset(_digests(pairs, [each.slices for each in prepared]))
    return Case(subject.name, tuple(parts), GIVEN if given else FOUND, digests)


def _part(
    series: str, pair: Pair, prepared: Prepared, preparation: Preparation, selection: Selection
) -> Part:
    slices = prepared.slices
    mr, ct = pair.mr.canonical(), pair.ct.canonical()
    given = None if pair.mask is None else Volume(pair.mask, pair.mr.grid).canonical().array
    body = body_mask(mr) if given is None else given
    places = selection.places(len(slices.mr))
    at = list(places)
    image = preparation.image
    model = model_grid(mr, image.size, image.spacing_mm)
    return Part(
        series=series,
        places=places,
        slices=Slices(slices.mr[at], slices.hu[at], slices.body[at]),
        ct=ct.array[at],
        body=body[at],
        found=prepared.found[at],
        lost=prepared.lost,
        grids=(_in_a_row(model, len(at)), _in_a_row(ct.grid, len(at))),
        is_volume=len(at) == len(slices.mr) >= WINDOW,
    )


def _in_a_row(grid: Grid, slices: int) -> Grid:
    return Grid(grid.affine, (slices, *grid.shape[1:]))


def _digests(pairs: tuple[Pair, ...], prepared: list[Slices]) -> Iterator[str]:
    """The digest of the subject for every choice of views that a training may have made."""
    views = sorted({pair.view for pair in pairs}, key=VIEWS.index)
    for count in range(1, len(views) + 1):
        for choice in itertools.combinations(views, count):
            used = [
                slices for pair, slices in zip(pairs, prepared, strict=True) if pair.view in choice
            ]
            yield digest(Slices(*(np.concatenate(arrays) for arrays in zip(*used, strict=True))))


def _read_split(path: Path) -> dict[str, set[str]]:
    """Part -> names of subjects, from the split.json of a training run."""
    try:
        content = from_json(path.read_text("utf-8"))
        return {part: _names(content[part]) for part in ("training", "validation", "test")}
    except OSError as error:
        raise UsageError(f"{path.name}: cannot read this split: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path.name}: not the split.json of a training run: needs the lists training, validation and test"
        ) from error


def _names(listed: Any) -> set[str]:
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise TypeError("not a list of names")
    return set(listed)
