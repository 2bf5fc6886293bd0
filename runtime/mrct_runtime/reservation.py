"""A hidden folder beside an output that one process at a time works in, and that outlives a process which is killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from mrct_runtime.errors import OutputError
from mrct_runtime.structured_text import from_json

_LOCK = "lock"


@dataclass(frozen=True, eq=False)
class Reservation:
    """`folder` is `.NAME.work` beside the target NAME, this process's own until it is removed or left.

    The system frees the lock of a process that has died; what it had in the folder is found by the next one.
    """

    target: Path
    folder: Path
    parents: tuple[Path, ...]
    lock: int

    @classmethod
    def claim(cls, target: Path, *, wait: bool = False) -> Self:
        """The target's, where wished after waiting for the process that has it; else OutputError names that process.

        OSError where the folder cannot be made, OutputError where what stands in its place is not this user's own folder.
        """
        folder = target.with_name(f".{target.name}.work")
        parents = missing_parents(target.parent)
        try:
            while True:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _refuse_foreign(folder)
                lock = _locked(folder / _LOCK, target, wait=wait)
                if lock is not None:
                    return cls(target, folder, parents, lock)
        except OSError:
            _remove_empty((folder, *parents))
            raise

    def remove(self) -> None:
        """Gives the folder up with all that is in it, and the parents made for it that hold nothing else."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _remove_empty(self.parents)
        self.leave()

    def leave(self) -> None:
        """Gives the folder up as it is, for the next process to go on in."""
        os.close(self.lock)


def _refuse_foreign(folder: Path) -> None:
    """OutputError where the folder is a link or another user's: where many may write, anybody can have put it there."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{folder} is a link where a folder of mrct's own belongs; remove it")
    if found.st_uid != os.geteuid():
        raise OutputError(
            f"{folder} belongs to user {found.st_uid}, not to {os.geteuid()} who runs this; "
            "name another output folder"
        )


def _locked(path: Path, target: Path, *, wait: bool) -> int | None:
    """The descriptor of the locked file; None where another process removed it at that moment."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        holder = _holder(path)
        os.close(descriptor)
        raise OutputError(
            f"{target} is being written by {holder}; wait for its end, or name another output folder"
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    if not _is_at(path, descriptor):
        os.close(descriptor)
        return None
    try:
        _sign(descriptor)
    except OSError:
        # it is ours, so nobody else can have come to hold it
        path.unlink()
        os.close(descriptor)
        raise
    return descriptor


def _sign(descriptor: int) -> None:
    """Writes into the lock who holds it."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"process": os.getpid(), "machine": socket.gethostname(), "since": since}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(told).encode(), 0)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    """Who holds the lock, in words; what it wrote may be gone or not yet be there."""
    try:
        told = from_json(path.read_bytes())
        return f"process {told['process']} on {told['machine']} since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def missing_parents(folder: Path) -> tuple[Path, ...]:
    """The folder and those above it that do not exist, the innermost first."""
    return tuple(place for place in (folder, *folder.parents) if not os.path.lexists(place))
