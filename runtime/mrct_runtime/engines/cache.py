"""Engines that were built on this machine, kept under all that they depend on.

An engine is a program, so none is loaded whose bytes are not those that were written here: the folder is private, and the
record beside each engine holds its digest. KEY.engine is the engine and KEY.json its record, KEY the digest of the key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mrct_runtime.engines.target import Precision
from mrct_runtime.errors import EngineError
from mrct_runtime.machine import cache_folder
from mrct_runtime.private_folder import PrivateFolder

_Count = Annotated[int, Field(ge=1)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
_PREFIX: Final = 32
_UNFIT: Final = re.compile(r"[^0-9A-Za-z.]+")


class Key(BaseModel):
    """All that an engine depends on: another value of any of them is another engine."""

    model_config = _STRICT

    onnx_sha256: _Digest
    flavour: str
    version: str
    """Of the flavour's library."""
    architecture: str
    """The GPU's, the compute capabilities asked for, or portable."""
    precision: Precision
    opset: _Count
    batch: tuple[_Count, _Count, _Count]
    """The least, the tuned and the largest batch."""
    height: _Count
    width: _Count
    trial: tuple[_Count, _Count, _Count] | None
    """Batch, height and width of the self-test."""
    recipe: int
    """What mrct tells the builder, by a number that changes when that does."""

    @property
    def digest(self) -> str:
        """The name of its files, without the suffix."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Record(BaseModel):
    """What lies beside an engine: its key in clear, its digest, its size in bytes, the seconds that building it took."""

    model_config = _STRICT

    key: Key
    sha256: _Digest
    bytes: int
    seconds: float


@dataclass(frozen=True)
class EngineCache:
    """The engines of this user on this machine."""

    folder: PrivateFolder

    @classmethod
    def open(cls) -> Self:
        """That of `cache_folder()`; EngineError where it cannot be had or trusted."""
        return cls(PrivateFolder.claim(cache_folder() / "engines"))

    def records(self) -> Iterator[Record]:
        """Those of the engines that are there; what another version of mrct wrote is passed over."""
        for path in sorted(self.folder.path.glob("*.json")):
            content = self.folder.read(path.name)
            try:
                record = Record.model_validate_json(content or b"")
            except ValidationError:
                continue
            if record.key.digest == path.stem:
                yield record

    def path(self, key: Key) -> Path:
        """Where the engine of this key is, or would be."""
        return self.folder.path / f"{key.digest}.engine"

    def load(self, key: Key) -> tuple[Record, bytes] | None:
        """The engine and its record, None where there is none; EngineError where the bytes are not those written."""
        with self.folder.lock(key.digest):
            told = self.folder.read(f"{key.digest}.json")
            engine = self.folder.read(f"{key.digest}.engine") if told is not None else None
        if told is None or engine is None:
            return None
        path = self.path(key)
        try:
            record = Record.model_validate_json(told)
        except ValidationError as error:
            raise _changed(path.with_suffix(".json"), "it is no record of an engine") from error
        if record.key != key:
            raise _changed(path.with_suffix(".json"), "it tells of another engine")
        found = hashlib.sha256(engine).hexdigest()
        if found != record.sha256:
            raise _changed(
                path, f"its sha256 is {found[:12]}..., its record says {record.sha256[:12]}..."
            )
        return record, engine

    def store(self, key: Key, engine: bytes, seconds: float) -> Record:
        """The record of an engine that is now in the cache, instead of one that may have been there."""
        digest = hashlib.sha256(engine).hexdigest()
        record = Record(key=key, sha256=digest, bytes=len(engine), seconds=seconds)
        name = key.digest
        with self.folder.lock(name):
            # an engine without a record is none: whatever stops this, the two never disagree
            self.folder.remove(f"{name}.json")
            self.folder.write(f"{name}.engine", engine)
            text = record.model_dump_json(indent=2)
            self.folder.write(f"{name}.json", f"{text}\n".encode())
        return record

    def load_kernels(self, key: Key, gpu: str) -> bytes | None:
        """What an engine compiled on this kind of GPU when it last ran there; EngineError where it was changed."""
        name = _kernels(key, gpu)
        content = self.folder.read(name)
        if content is None:
            return None
        digest, kernels = content[:_PREFIX], content[_PREFIX:]
        if hashlib.sha256(kernels).digest() != digest:
            raise _changed(self.folder.path / name, "its content has another sha256 than it says")
        return kernels

    def store_kernels(self, key: Key, gpu: str, kernels: bytes) -> None:
        """Keeps what an engine compiled on this kind of GPU, its digest in front."""
        self.folder.write(_kernels(key, gpu), hashlib.sha256(kernels).digest() + kernels)


def _kernels(key: Key, gpu: str) -> str:
    return f"{key.digest}-{_UNFIT.sub('-', gpu)}.kernels"


def _changed(path: Path, why: str) -> EngineError:
    return EngineError(f"{path} was changed: {why}; delete it, and it is made again")
