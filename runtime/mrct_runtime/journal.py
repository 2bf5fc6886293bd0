"""What of a synthesis is done, kept in a folder: a run that was killed goes on from there, and ends with the same bits.

`log.jsonl` has a line that says whose journal it is, then one for every finished slice and every drawn batch, in order.
A slice counts where its line is whole and its file has the digest that the line says; a last line may be torn.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from io import RawIOBase
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from mrct_runtime import npy
from mrct_runtime.arrays import Array
from mrct_runtime.atomic import write_atomically
from mrct_runtime.digests import file_sha256
from mrct_runtime.finished import Batch, Finished, Past
from mrct_runtime.output_folder import not_writable
from mrct_runtime.structured_text import from_json

_LOG: Final = "log.jsonl"
_OWNER, _SLICE, _BATCH = "of", "slice", "batch"


class Journal:
    """The journal of one synthesis; `owner` is the digest of all that its result depends on, `past` what earlier runs left.

    Closed by `with`. Where it cannot be written it is OutputError.
    """

    def __init__(self, folder: Path, owner: str, past: Past) -> None:
        self.past = past
        self._folder = folder
        # unbuffered: what could not be written must not be tried again where the file is closed
        self._log: RawIOBase = (folder / _LOG).open("ab", buffering=0)
        if not self._log.tell():
            self._append({_OWNER: owner})

    @classmethod
    def open(cls, folder: Path, owner: str) -> Self:
        """That in the folder; a new one where there is none, or one of another owner."""
        kept = _kept(folder, owner)
        with _writing(folder):
            if kept is None:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(mode=0o700, parents=True)
                return cls(folder, owner, Past())
            past, length = kept
            os.truncate(folder / _LOG, length)
            return cls(folder, owner, past)

    def keep(self, finished: Finished, *beside: Array) -> None:
        """Takes a finished slice in, with arrays that belong to it, unless it is one of the past."""
        if finished is self.past.finished.get(finished.place):
            return
        content = io.BytesIO()
        for array in (np.stack([finished.mean, finished.std]), *beside):
            np.save(content, array, allow_pickle=False)
        with _writing(self._folder):
            write_atomically(_slice_file(self._folder, finished.place), content.getvalue())
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        planned = list(finished.planned)
        self._append({_SLICE: {"place": finished.place, "planned": planned, "sha256": digest}})

    def beside(self, place: int) -> tuple[Array, ...]:
        """The arrays that were kept with a slice of the past."""
        with _writing(self._folder):
            return tuple(npy.each_mapped(_slice_file(self._folder, place))[1:])

    def drawn(self, batch: Batch) -> None:
        """Takes a batch in, after the slices that it finished."""
        self._append({_BATCH: asdict(batch)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def _append(self, entry: Mapping[str, Any]) -> None:
        with _writing(self._folder):
            line = json.dumps(entry).encode() + b"\n"
            if self._log.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._log.fileno())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise not_writable(folder, error) from error


def _kept(folder: Path, owner: str) -> tuple[Past, int] | None:
    """What the folder's journal holds and the length of its sound lines; None where it has no journal of this owner."""
    try:
        content = (folder / _LOG).read_bytes()
    except OSError:
        return None
    length = 0
    batches: list[Batch] = []
    finished: dict[int, Finished] = {}
    for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            entry = from_json(line)
            if length == 0:
                if entry != {_OWNER: owner}:
                    return None
            elif _SLICE in entry:
                _take_slice(folder, finished, entry[_SLICE])
            else:
                batch = Batch(**entry[_BATCH])
                # a run that could not go on at some batch drew it and the next ones once more
                batches[batch.place :] = [batch]
        except (ValueError, TypeError, KeyError):
            break
        length += len(line)
    return None if length == 0 else (Past(batches, finished), length)


def _take_slice(folder: Path, finished: dict[int, Finished], told: Mapping[str, Any]) -> None:
    """Adds the slice where its file is the one that was written; mapped, so that memory holds what is looked at."""
    place = told["place"]
    finished.pop(place, None)
    path = _slice_file(folder, place)
    try:
        if file_sha256(path) != told["sha256"]:
            return
        mean, std = npy.each_mapped(path)[0]
    except (OSError, ValueError, IndexError):
        return
    finished[place] = Finished(place, mean, std, tuple(told["planned"]))


def kept_slices(folder: Path) -> int:
    """The slices that the journal in the folder holds; 0 where there is none."""
    return len(list(folder.glob("slice-*.npy")))


def _slice_file(folder: Path, place: int) -> Path:
    return folder / f"slice-{place + 1:04d}.npy"
