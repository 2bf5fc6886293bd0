"""A folder that appears under its name only when everything in it has been written."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mrct_runtime.atomic import flush
from mrct_runtime.errors import OutputError
from mrct_runtime.reservation import Reservation
from mrct_runtime.scratch import Scratch

if TYPE_CHECKING:
    from types import TracebackType

_MEGABYTE = 1_000_000


@dataclass(frozen=True, eq=False)
class OutputFolder:
    """A place to write in, `partial`; `commit` renames it to the target. Leaving the block without that removes it.

    Until then the target is this process's alone. What lies beside `partial` in the reserved folder outlives a process that
    is killed, and, where the output is `resumable`, one that is interrupted; `partial` itself is always begun anew.
    """

    reserved: Reservation
    replaces: str | None
    resumable: bool

    @classmethod
    def claim(
        cls,
        target: Path,
        *,
        replaces: str | None = None,
        needed_bytes: int = 0,
        resumable: bool = False,
        wait: bool = False,
    ) -> Self:
        """The place to write in, made now, so that a target which cannot be written is found before computing.

        A folder that stands there and is not empty is replaced only if it holds the file `replaces`. OutputError where
        another process writes there, unless this one is to `wait` for its end.
        """
        target = Path(os.path.abspath(target))  # noqa: PTH100  resolve() would follow a link at the target
        _refuse_occupied(target, replaces)
        try:
            folder = cls(Reservation.claim(target, wait=wait), replaces, resumable)
        except OSError as error:
            raise not_writable(target, error) from error
        try:
            folder._clear()
            _refuse_occupied(target, replaces)
            folder.partial.mkdir()
            folder.require(needed_bytes)
        except OSError as error:
            folder.discard()
            raise not_writable(target, error) from error
        except OutputError:
            folder.discard()
            raise
        return folder

    @property
    def target(self) -> Path:
        """Where the output will be."""
        return self.reserved.target

    @property
    def partial(self) -> Path:
        """Where it is written."""
        return self.reserved.folder / "output"

    @property
    def journal(self) -> Path:
        """Where a run that is to be resumed keeps what it has done."""
        return self.reserved.folder / "journal"

    @property
    def scratch(self) -> Scratch:
        """Where volumes lie while the output is made, instead of in memory."""
        return Scratch(self.reserved.folder)

    @property
    def _replaced(self) -> Path:
        """Where the earlier output is while the new one takes its place."""
        return self.reserved.folder / "replaced"

    def _clear(self) -> None:
        """Undoes what a killed process had begun, and brings back what it had moved away last."""
        if self._replaced.is_dir():
            # an empty folder that somebody made there meanwhile is no output
            with suppress(OSError):
                self.target.rmdir()
        self._bring_back()
        for left in (self.partial, self._replaced):
            shutil.rmtree(left, ignore_errors=True)

    def require(self, needed_bytes: int) -> None:
        """OutputError where the disk has less free space than that."""
        free = shutil.disk_usage(self.partial).free
        if free < needed_bytes:
            raise OutputError(
                f"{self.target}: {needed_bytes / _MEGABYTE:.0f} MB are needed and {free / _MEGABYTE:.0f} MB "
                "free; name an output folder on another disk"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        interrupted = error is not None and not isinstance(error, Exception)
        if error is not None and interrupted and self.resumable and self.journal.is_dir():
            error.add_note("what is finished is kept, and the same command goes on from there")
            shutil.rmtree(self.partial, ignore_errors=True)
            self.reserved.leave()
        else:
            self.discard()

    def commit(self) -> Path:
        """The target, now holding what was written; one rename, after which a reader sees all of it.

        Everything is on the disk before: a rename may reach it ahead of the bytes.
        """
        _refuse_occupied(self.target, self.replaces)
        try:
            for path in [*self.partial.rglob("*"), self.partial]:
                flush(path)
            if self.target.is_dir():
                self._replace()
            else:
                self.partial.replace(self.target)
            flush(self.target.parent)
        except OSError as error:
            raise not_writable(self.target, error) from error
        return self.target

    def _replace(self) -> None:
        """Puts the new folder in the old one's place; where that fails, leaving the block puts the old one back."""
        self.target.replace(self._replaced)
        self.partial.replace(self.target)

    def _bring_back(self) -> None:
        """Puts the earlier output where it was, unless the new one is there."""
        if self._replaced.is_dir() and not os.path.lexists(self.target):
            self._replaced.replace(self.target)

    def discard(self) -> None:
        """Removes what was not committed, and the parents made for it that hold nothing else."""
        with suppress(OSError):
            self._bring_back()
        if self._replaced.is_dir() and not os.path.lexists(self.target):
            # the disk lets nothing be moved any more: the earlier output waits here for the next process
            self.reserved.leave()
        else:
            self.reserved.remove()


def _refuse_occupied(target: Path, replaces: str | None) -> None:
    """OutputError where something stands at the target that must not be replaced."""
    try:
        if not target.exists() and not target.is_symlink():
            return
        if not target.is_dir() or target.is_symlink():
            raise OutputError(f"{target} is not a folder; name another output folder")
        if os.path.ismount(target):
            raise OutputError(
                f"{target} is a mount point, not replaceable; name a folder inside it"
            )
        if not any(target.iterdir()):
            return
        if replaces is None:
            raise OutputError(
                f"{target} exists and is not empty; name another output folder or add --overwrite"
            )
        if not (target / replaces).is_file():
            raise OutputError(
                f"{target} holds no {replaces}, so it is not what --overwrite replaces; name another folder"
            )
    except OSError as error:
        raise not_writable(target, error) from error


def not_writable(target: Path, error: OSError) -> OutputError:
    """The error of a place that the system does not let us write."""
    reason = (error.strerror or type(error).__name__).lower()
    return OutputError(f"{target} cannot be written: {reason}; name another output folder")
