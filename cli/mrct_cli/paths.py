"""Paths on the command line."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, Final

import click

_NO_PATH: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES})
_EFFECTIVE: Final = os.access in os.supports_effective_ids
_SHOWN: Final = 200


class PathType(click.Path):
    """A path that is not empty: Path("") is the current folder, an unset shell variable is not."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if not os.fspath(value):
            self.fail("an empty path; write . for the current folder", param, ctx)
        if reason := _why_not(value):
            self.fail(f"{reason}: {_shortened(os.fspath(value))}", param, ctx)
        return super().convert(value, param, ctx)


def _why_not(path: str | os.PathLike[str]) -> str | None:
    """Why nothing at this path can ever be read, where that is so; None also where nothing is there."""
    try:
        is_folder = stat.S_ISDIR(Path(path).stat().st_mode)
    except OSError as error:
        return error.strerror if error.errno in _NO_PATH else None
    if is_folder and not os.access(path, os.R_OK | os.X_OK, effective_ids=_EFFECTIVE):
        return os.strerror(errno.EACCES)
    return None


def _shortened(path: str) -> str:
    return path if len(path) <= _SHOWN else f"{path[: _SHOWN - 3]}..."


PATH = PathType()
