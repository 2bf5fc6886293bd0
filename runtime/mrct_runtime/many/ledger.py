"""What is kept of many studies in the hidden folder .mrct beside their results."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from pydantic import BaseModel, ValidationError

from mrct_runtime.atomic import write_atomically
from mrct_runtime.errors import InputRejectedError, NoInputError, OutputError
from mrct_runtime.many.outcome import Failure, Summary
from mrct_runtime.many.shard import Shard
from mrct_runtime.many.studies import claim_key, read_key
from mrct_runtime.output_folder import not_writable
from mrct_runtime.report import RUN

FOLDER: Final = ".mrct"
_KEY, _FAILED = "key", "failed"

_Kept = TypeVar("_Kept", bound=BaseModel)


@dataclass(frozen=True)
class Ledger:
    """The folder, and the secret that makes ids of names."""

    folder: Path
    key: bytes

    @classmethod
    def claim(cls, outs: Path) -> Self:
        """That of the results in `outs`, made where there is none; OutputError where it cannot be."""
        folder = outs / FOLDER
        if (outs / RUN).exists():
            raise OutputError(f"{outs} is the result of one study; name a folder for those of all")
        try:
            outs.mkdir(parents=True, exist_ok=True)
            for place in (folder, folder / _FAILED):
                place.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise not_writable(outs, error) from error
        return cls(folder, claim_key(folder / _KEY))

    @classmethod
    def of(cls, outs: Path) -> Self:
        """That of the results in `outs`; NoInputError where there is none."""
        key = read_key(outs / FOLDER / _KEY)
        if key is None:
            raise NoInputError(
                "nothing of mrct-infer --all there: name the folder that it wrote results in"
            )
        return cls(outs / FOLDER, key)

    def write(self, summary: Summary) -> None:
        """Puts the shard's summary in the place of its last."""
        self._write(self._summary(Shard(summary.index, summary.count)), summary)

    def summaries(self) -> list[Summary]:
        """Those of all shards, the newest first; InputRejectedError where one is damaged."""
        paths = sorted(self.folder.glob("summary-*.json"))
        found = [_read(path, Summary) for path in paths]
        return sorted((s for s in found if s is not None), key=lambda s: s.written, reverse=True)

    def quarantine(self, failure: Failure) -> None:
        """Remembers the failure."""
        self._write(self._failure(failure.outcome.id), failure)

    def failure(self, study: str) -> Failure | None:
        """What is remembered of the study."""
        return _read(self._failure(study), Failure)

    def forgive(self, study: str) -> None:
        """Forgets it."""
        try:
            self._failure(study).unlink(missing_ok=True)
        except OSError as error:
            raise not_writable(self.folder, error) from error

    def fingerprint(self, path: Path) -> str:
        """A digest of the names, sizes and times of a study's files: another one where the study was mended."""
        found = hashlib.sha256(self.key)
        for name, size, changed in sorted(_files(path)):
            found.update(f"{name}\0{size}\0{changed}\0".encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def _summary(self, shard: Shard) -> Path:
        return self.folder / f"summary-{shard.index:04d}-of-{shard.count:04d}.json"

    def _failure(self, study: str) -> Path:
        return self.folder / _FAILED / f"{study}.json"

    def _write(self, path: Path, content: BaseModel) -> None:
        try:
            write_atomically(path, content.model_dump_json(indent=1).encode() + b"\n")
        except OSError as error:
            raise not_writable(self.folder, error) from error


def _read(path: Path, kind: type[_Kept]) -> _Kept | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InputRejectedError(
            f"{path} is damaged; remove it and run the same command again"
        ) from error


def _files(path: Path) -> Iterator[tuple[str, int, int]]:
    inside = path.rglob("*") if path.is_dir() else iter([path])
    for each in inside:
        try:
            found = each.stat()
        except OSError:
            # a link into nothing, or a file that is just being removed
            continue
        yield os.path.relpath(each, path), found.st_size, found.st_mtime_ns
