"""What of an evaluation is done, kept in a folder: one that was killed goes on from there, and ends with the same bits.

A unit is one subject by one contestant. What became of it is a file under the digest of all that it depends on, so that
nothing of other bundles, data or settings is ever taken for it; of the unit under way every finished slice is kept, with its samples.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.atomic import write_atomically
from mrct_runtime.engines import Engine
from mrct_runtime.evaluation.cases import Case
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.evaluation.survey import Survey
from mrct_runtime.identity import computed_by
from mrct_runtime.journal import Journal, kept_slices
from mrct_runtime.output_folder import not_writable
from mrct_runtime.paired import Subject

Journals: TypeAlias = Callable[[int], AbstractContextManager[Journal | None]]
"""The journal of a subject's part, by its number; None where nothing is kept."""

_FACTS: Final = "facts"


@dataclass(frozen=True, eq=False)
class Unit:
    """What is known of a subject by a contestant when it is done: facts in JSON's types, and arrays by name."""

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Keeper(Protocol):
    """Who has units of earlier runs, and keeps those of this one."""

    def unit(self, key: str, make: Callable[[Journals], Unit]) -> Unit:
        """That of the key: an earlier run's, or what is made now."""
        ...


class Keepless:
    """Keeps nothing: an evaluation in memory."""

    def unit(self, key: str, make: Callable[[Journals], Unit]) -> Unit:  # noqa: ARG002  that of the protocol
        """What is made now."""
        return make(lambda _: nullcontext())


class Kept:
    """Units in a folder, of `total` that there will be.

    `resumed` is told once, of the units that earlier runs have finished and the slices of the next one. OutputError where
    the folder cannot be written.
    """

    def __init__(self, folder: Path, total: int, resumed: Callable[[int, int], None]) -> None:
        self._folder, self._total, self._resumed = folder, total, resumed
        self._found, self._told = 0, False
        self._keys: list[str] = []
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise not_writable(folder, error) from error

    def unit(self, key: str, make: Callable[[Journals], Unit]) -> Unit:
        """That of the key: an earlier run's, or what is made now, from the slices that an earlier run has left."""
        path, under_way = self._folder / f"{key}.npz", self._folder / key
        self._keys.append(key)
        found = _read(path)
        if found is not None:
            self._found += 1
            if self._found == self._total:
                self._tell(0)
            return found
        self._tell(_slices(under_way))
        made = make(lambda part: Journal.open(under_way / f"{part}", f"{key} {part}"))
        try:
            write_atomically(path, _written(made))
        except OSError as error:
            raise not_writable(path, error) from error
        shutil.rmtree(under_way, ignore_errors=True)
        return made

    @property
    def done(self) -> tuple[int, int]:
        """The units that this run has found or made, and the slices of the one under way."""
        done = sum((self._folder / f"{key}.npz").is_file() for key in self._keys)
        left = self._keys[done:]
        return done, sum(_slices(self._folder / key) for key in left)

    def _tell(self, slices: int) -> None:
        if not self._told and (self._found or slices):
            self._resumed(self._found, slices)
        self._told = True


class InUnits:
    """What is done unit by unit: every subject by every contestant."""

    subjects: Sequence[Subject]
    contestants: Sequence[Contestant]
    survey: Survey

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.subjects) * len(self.contestants)

    @property
    def bytes_under_way(self) -> int:
        """What the largest takes on the disk while it is under way: moments in float64, samples in float32."""
        pixels = [(16 + 4 * each.mc) * each.preparation.image.size**2 for each in self.contestants]
        return max(pixels, default=0) * max(self.survey.slices.values(), default=0)


def kept_in(folder: Path) -> tuple[int, int]:
    """The units and the further slices that the folder of a `Kept` holds."""
    return len(list(folder.glob("*.npz"))), sum(map(_slices, folder.glob("*/")))


def key_of(what: str, contestant: Contestant, engine: Engine, case: Case, *besides: object) -> str:
    """sha256 over all that `what` comes to of a case by a contestant; nothing of the patient can be read from it."""
    facts = {
        "what": what,
        "besides": [repr(each) for each in besides],
        "bundle": contestant.bundle.sha256,
        "label": contestant.label,
        "sampling": [repr(contestant.sampling(part.series)) for part in case.parts],
        "computed by": computed_by(engine),
        "subject": case.name,
        "body": case.body_source,
        "parts": [
            [part.places, [[grid.affine.tolist(), grid.shape] for grid in part.grids], part.lost]
            for part in case.parts
        ],
        "dimensions": case.dimensions,
    }
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for part in case.parts:
        slices = part.slices
        for array in (slices.mr, slices.hu, slices.body, part.ct, part.body, part.found):
            found.update(f"{array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _slices(under_way: Path) -> int:
    return sum(map(kept_slices, under_way.glob("*/")))


def _written(unit: Unit) -> bytes:
    content = io.BytesIO()
    arrays: dict[str, Any] = {_FACTS: np.frombuffer(json.dumps(unit.facts).encode(), np.uint8)}
    np.savez(content, allow_pickle=False, **arrays, **dict[str, Any](unit.arrays))
    return content.getvalue()


def _read(path: Path) -> Unit | None:
    """The unit of a file; None where there is none, or one that is damaged: every array has its checksum there."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return Unit(json.loads(arrays.pop(_FACTS).tobytes()), arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
