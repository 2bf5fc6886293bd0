"""Paths on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


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
        return super().convert(value, param, ctx)


PATH = PathType()
