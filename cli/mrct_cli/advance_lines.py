"""Progress of an evaluation on stderr: a line a subject, and one every ten seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mrct_cli.progress import clock

if TYPE_CHECKING:
    from mrct_runtime.evaluation.advance import Advance

_SECONDS_BETWEEN_LINES = 10.0


class AdvanceLines:
    """A line whenever a subject is finished, and every ten seconds."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._subjects, self._told = 0, 0.0

    def __call__(self, advance: Advance) -> None:
        elapsed = time.monotonic() - self._started
        recent = elapsed - self._told < _SECONDS_BETWEEN_LINES
        if recent and advance.subjects == self._subjects:
            return
        self._told, self._subjects = elapsed, advance.subjects
        left = elapsed * (1 / advance.fraction - 1) if advance.fraction else 0.0
        click.echo(
            f"{advance.subjects}/{advance.total_subjects} subjects, {advance.fraction:.0%}, "
            f"{clock(elapsed)} elapsed, {clock(left)} left ({advance.text})",
            err=True,
        )
