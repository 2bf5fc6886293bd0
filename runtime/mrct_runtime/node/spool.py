"""The folder that a node works in. Every state of a study or job is a folder in it, every step one rename.

    receiving/  files that are still coming in              incoming/  studies that are not complete
    queued/ -> running/ -> sending/ -> done/ | failed/      jobs       discarded/  what is being deleted

A rename either happened or did not, so a kill at any moment leaves every job in exactly one state.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mrct_runtime.atomic import flush, write_atomically
from mrct_runtime.errors import OutputError

RECEIVING, INCOMING, DISCARDED = "receiving", "incoming", "discarded"
QUEUED, RUNNING, SENDING, DONE, FAILED = "queued", "running", "sending", "done", "failed"
JOB_STATES: Final = (QUEUED, RUNNING, SENDING, DONE, FAILED)
STUDY, RESULT = "study", "result"
"""Inside the folder of a study or job: the instances, and what the translation wrote."""

_LOCK = "lock"
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Spool:
    """A folder that this process alone works in; `lock` is the open file that says so.

    Threads take turns in moving folders, so that one that looks for a job cannot miss it on its way.
    """

    root: Path
    lock: int
    turn: threading.RLock = field(default_factory=threading.RLock, compare=False)

    def __getitem__(self, state: str) -> Path:
        return self.root / state

    def discard(self, folder: Path) -> None:
        """Takes a folder away: at once under its name, its content after that."""
        place = self[DISCARDED] / secrets.token_hex(8)
        with self.turn:
            folder.rename(place)
            flush(folder.parent)
        shutil.rmtree(place, ignore_errors=True)

    def move(self, folder: Path, state: str, name: str | None = None) -> Path:
        """The folder in another state."""
        target = self[state] / (name or folder.name)
        with self.turn:
            folder.rename(target)
            flush(target.parent)
            flush(folder.parent)
        return target

    def bytes_used(self) -> int:
        """What the spool's files take; one with several names counts once."""
        sizes: dict[int, int] = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                try:
                    found = Path(folder, name).lstat()
                except FileNotFoundError:  # renamed meanwhile
                    continue
                sizes[found.st_ino] = found.st_size
        return sum(sizes.values())

    def bytes_free(self) -> int:
        """What is left on its disk."""
        return shutil.disk_usage(self.root).free


@contextmanager
def claimed(root: Path, patience_s: float = _PATIENCE_S) -> Iterator[Spool]:
    """The spool, its folders made, while no other process has it; OutputError where one does.

    A child that was given the lock holds it too, so that a new node waits for the end of a killed one's translation.
    """
    root = root.absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(root, error) from error
    try:
        _acquire(root, lock, patience_s)
        try:
            for name in (RECEIVING, INCOMING, DISCARDED, *JOB_STATES):
                (root / name).mkdir(mode=0o700, exist_ok=True)
            for name in (RECEIVING, DISCARDED):
                _empty(root / name)
            flush(root)
        except OSError as error:
            raise _unusable(root, error) from error
        yield Spool(root, lock)
    finally:
        os.close(lock)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """The file, which holds this content from now on, also after a power cut; never half of it."""
    write_atomically(path, json.dumps(content).encode())


def _acquire(root: Path, lock: int, patience_s: float) -> None:
    # flock and no other lock: it belongs to the open file, which a child can inherit
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise OutputError(
                    f"{root} belongs to another running node; stop it, or give each its own spool"
                ) from error
            time.sleep(0.05)
        except OSError as error:  # a file system may have no locks
            raise _unusable(root, error) from error
        else:
            return


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _unusable(root: Path, error: OSError) -> OutputError:
    reason = (error.strerror or type(error).__name__).lower()
    return OutputError(f"{root} cannot be the spool: {reason}; name another folder on a local disk")
