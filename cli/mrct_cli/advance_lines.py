"""Progress of an evaluation on stderr: what was found of an earlier one, a line a subject, and one every ten seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mrct_cli.progress import clock
from mrct_cli.verdict import ending, unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from mrct_runtime.evaluation.advance import Advance
    from mrct_runtime.evaluation.kept import InUnits, Kept
    from mrct_runtime.output_folder import OutputFolder

_SECONDS_BETWEEN_LINES = 10.0


def kept_work(folder: OutputFolder, work: InUnits, *, quiet: bool) -> Kept:
    """What earlier runs of this work have left beside the folder; told when it is found. OutputError where the disk is full."""
    from mrct_runtime.evaluation.kept import Kept

    def resumed(found: int, slices: int) -> None:
        further = f" and {slices} slices of the next one" if slices else ""
        click.echo(
            f"going on after {found} of {work.units} units, each a subject by a run{further}, that an earlier run has finished",
            err=True,
        )

    folder.require(work.bytes_under_way)
    kept = Kept(folder.journal, work.units, (lambda _found, _slices: None) if quiet else resumed)
    ending().so_far = lambda: _so_far(kept, folder.journal, work.units)
    return kept


def _so_far(kept: Kept, folder: Path, units: int) -> str | None:
    """The last line of a run that is broken off now; None where nothing is kept."""
    from mrct_runtime.evaluation.kept import kept_in

    done, slices = kept.done
    if not any(kept_in(folder)):
        return None
    what = "what earlier runs have finished is kept"
    if done or slices:
        further = f" and {slices} slices of the next one" if slices else ""
        what = f"{done} of {units} units{further} are kept"
    return unfinished(f"{what}; the same command goes on")


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
