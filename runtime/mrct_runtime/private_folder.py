"""A folder of files that nobody but this user can have written: what is read from it may be run.

Files appear whole under their name or not at all. The folder is 0700 and its files are 0600; links, and what belongs to
another user or can be written by one, are refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mrct_runtime.atomic import write_atomically
from mrct_runtime.errors import EngineError, first_line

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class PrivateFolder:
    """A folder that was found to be this user's own."""

    path: Path

    @classmethod
    def claim(cls, path: Path) -> Self:
        """The folder at `path`, made where it is not there; EngineError where others have a hand in it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
            found = path.lstat()
        except OSError as error:
            raise _failed(path, "made", error) from error
        if not stat.S_ISDIR(found.st_mode):
            raise EngineError(f"{path} is a link or a file where a folder belongs; remove it")
        _check_owner(path, found)
        return cls(path)

    def read(self, name: str) -> bytes | None:
        """What the file holds, None where there is none; EngineError where others may have written it."""
        path = self.path / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            if path.is_symlink():
                raise EngineError(f"{path} is a link, which is not followed; delete it") from error
            raise _failed(path, "read", error) from error
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)  # fdopen takes no folder
            raise EngineError(f"{path} is no plain file; delete it")
        with os.fdopen(descriptor, "rb") as file:
            _check_owner(path, found)
            try:
                return file.read()
            except OSError as error:
                raise _failed(path, "read", error) from error

    def write(self, name: str, content: bytes) -> Path:
        """The file, which holds this content from now on, also after a power cut."""
        path = self.path / name
        try:
            write_atomically(path, content, mode=0o600)
        except OSError as error:
            raise _failed(path, "written", error) from error
        return path

    def remove(self, name: str) -> None:
        """Takes the file away where there is one."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _failed(self.path / name, "removed", error) from error

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Inside, no other process is, to read or write files that belong together."""
        from filelock import FileLock

        path = self.path / f"{name}.lock"
        held = FileLock(path, mode=0o600)
        try:
            held.acquire()
        except (OSError, NotImplementedError) as error:  # a file system may have no locks
            raise _failed(path, "locked", error) from error
        try:
            yield
        finally:
            held.release()


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise EngineError(
            f"{path} belongs to user {found.st_uid}, not to {os.geteuid()} who runs this; "
            "remove it, or set XDG_CACHE_HOME to a folder of your own"
        )
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise EngineError(
            f"{path} can be written by other users (mode {stat.S_IMODE(found.st_mode):04o}); "
            "remove it, for its content cannot be trusted"
        )


def _failed(path: Path, what: str, error: Exception) -> EngineError:
    why = getattr(error, "strerror", None) or first_line(error)
    return EngineError(f"{path} cannot be {what}: {why}; XDG_CACHE_HOME names another place")
