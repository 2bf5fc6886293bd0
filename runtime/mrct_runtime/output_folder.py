"""A folder that appears under its name only when everything in it has been written."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mrct_runtime.errors import OutputError

if TYPE_CHECKING:
    from types import TracebackType

_MEGABYTE = 1_000_000


@dataclass(frozen=True, eq=False)
class OutputFolder:
    """A hidden sibling of `target` to write in; `commit` renames it, leaving the block without that removes it.

    `parents` are the folders above it that were made for it, the innermost first.
    """

    target: Path
    partial: Path
    parents: tuple[Path, ...]
    replaces: str | None

    @classmethod
    def claim(cls, target: Path, *, replaces: str | None = None, needed_bytes: int = 0) -> Self:
        """The place to write in, made now, so that a target which cannot be written is found before computing.

        A folder that stands there and is not empty is replaced only if it holds the file `replaces`.
        """
        target = Path(os.path.abspath(target))  # noqa: PTH100  resolve() would follow a link at the target
        _refuse_occupied(target, replaces)
        partial = _hidden_sibling(target, "partial")
        folder = cls(target, partial, _missing(target.parent), replaces)
        try:
            partial.mkdir(parents=True)
            folder.require(needed_bytes)
        except OSError as error:
            folder.discard()
            raise not_writable(target, error) from error
        except OutputError:
            folder.discard()
            raise
        return folder

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
        """Puts the new folder in the old one's place; where that fails the old one is put back."""
        replaced = _hidden_sibling(self.target, "replaced")
        self.target.replace(replaced)
        try:
            self.partial.replace(self.target)
        except BaseException:
            replaced.replace(self.target)
            raise
        shutil.rmtree(replaced, ignore_errors=True)

    def discard(self) -> None:
        """Removes what was not committed, and the parents made for it that hold nothing else."""
        shutil.rmtree(self.partial, ignore_errors=True)
        for parent in self.parents:
            with suppress(OSError):
                parent.rmdir()


def _missing(folder: Path) -> tuple[Path, ...]:
    """The folder and those above it that do not exist, the innermost first."""
    return tuple(place for place in (folder, *folder.parents) if not os.path.lexists(place))


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


def flush(path: Path) -> None:
    """Makes the system write a file's content, or a folder's entries, to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def not_writable(target: Path, error: OSError) -> OutputError:
    """The error of a place that the system does not let us write."""
    reason = (error.strerror or type(error).__name__).lower()
    return OutputError(f"{target} cannot be written: {reason}; name another output folder")


def _hidden_sibling(target: Path, role: str) -> Path:
    """A free name in the same folder, hence on the same file system, where a rename is atomic."""
    return target.with_name(f".{target.name}.{role}-{secrets.token_hex(4)}")
