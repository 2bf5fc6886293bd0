"""Lines on stderr about a translation as it goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mrct_cli.plan import plan_lines
from mrct_cli.progress import Watch, progress_on_stderr

if TYPE_CHECKING:
    from mrct_runtime.job import Job


def to_stderr(line: str) -> None:
    """Tells the line."""
    click.echo(line, err=True)


def silence(_line: str) -> None:
    """Tells nothing."""


@dataclass
class Teller:
    """Tells the plan and the progress of one study, unless it is to be quiet; `slices` are those of its plan."""

    quiet: bool
    slices: int | None = None

    @property
    def tell(self) -> Callable[[str], None]:
        """Where lines go that are neither warnings nor errors."""
        return silence if self.quiet else to_stderr

    def planned(self, job: Job) -> None:
        """The plan."""
        self.slices = len(job.condition.array)
        for line in plan_lines(job):
            self.tell(line)

    def resumed(self, slices: int) -> None:
        """What an earlier run has left."""
        self.tell(f"going on after {slices} slices that an earlier run has finished")

    def watching(self, job: Job) -> AbstractContextManager[Watch]:
        """The progress, as long as the block lasts."""
        return progress_on_stderr(job, quiet=self.quiet)
