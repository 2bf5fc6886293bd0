"""How a command line ends: its exit code, and a last line on stdout that says so in a word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import click

MEANINGS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "done",
        1: "internal error; --debug shows where",
        2: "options or arguments that make no sense",
        3: "no usable input",
        4: "input refused: geometry, series, damaged files",
        5: "bundle missing, changed or invalid",
        6: "output not writable, occupied, or the disk full",
        7: "device or engine not available",
        8: "of many studies, some or all failed",
        9: "numeric failure: nothing is written",
        130: "interrupted (SIGINT, Ctrl-C)",
        143: "terminated (SIGTERM)",
    }
)
"""Every exit code; the README's table."""


@dataclass
class Ending:
    """What a running command says of its end before it comes to it.

    `so_far` gives the last line for an end at this moment, None where FAILED says all. A `silent` command has stdout for
    programs, or none of its own.
    """

    so_far: Callable[[], str | None] = lambda: None
    silent: bool = False

    def line(self, code: int, said: str | None = None) -> str | None:
        """The last line on stdout, None where there is none; `said` is what the command returned."""
        if self.silent:
            return None
        line = said or self.so_far()
        return line if line or not code else f"FAILED with exit code {code}: {MEANINGS[code]}"


def ending() -> Ending:
    """That of the command line that is running."""
    return click.get_current_context().ensure_object(Ending)


def stdout_for_programs(*, wanted: bool) -> None:
    """Where it is wanted, no line on stdout but the command's own from here on."""
    ending().silent |= wanted


def passed(text: str) -> str:
    """The last line of a command that did all that it was asked for."""
    return f"PASSED {text}"


def unfinished(text: str) -> str:
    """The last line of a command that did some of it, and that goes on when it is given again."""
    return f"PARTIAL {text}"
