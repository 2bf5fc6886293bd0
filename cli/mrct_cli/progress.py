"""Progress on stderr: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from mrct_runtime.arrays import Array, Time
    from mrct_runtime.job import Job
    from mrct_runtime.synthesis import Progress


class State(NamedTuple):
    """How far a run is: slices finished, and the fraction of all work with the running batch's part."""

    slices: int
    total_slices: int
    fraction: float
    elapsed: float

    @property
    def left(self) -> float:
        """Seconds left at the pace so far."""
        return self.elapsed * (1 / self.fraction - 1) if self.fraction else 0.0

    def __str__(self) -> str:
        return (
            f"{self.slices}/{self.total_slices} slices, {self.fraction:.0%}, "
            f"{clock(self.elapsed)} elapsed, {clock(self.left)} left"
        )


Show: TypeAlias = Callable[[State], None]
SECONDS_BETWEEN_LINES = 10.0


class Watch:
    """Counts batches, and evaluations within them: one batch of a large network may take an hour."""

    def __init__(self, job: Job, show: Show) -> None:
        self._sampling, self._slices = job.sampling, len(job.condition.array)
        self._rows: float = self._slices * job.sampling.least
        self._show = show
        self._started = time.monotonic()
        self._slices_done = self._rows_done = self._evaluations = 0
        self._first = 0.0

    def evaluated(self, x: Array, t: Time) -> None:
        """One more evaluation of a batch [B, 1, H, W] has begun."""
        if self._sampling.branch_at is not None:
            # one image stands for all samples of a slice until they part, a batch for some of them afterwards
            self._first = max(self._first, float(t))
            self._tell(self._rows_done + self._sampling.mc * (1 - float(t) / self._first))
            return
        part = min(1.0, self._evaluations / self._sampling.sampler.evaluations)
        self._evaluations += 1
        self._tell(self._rows_done + len(x) * part)

    def batch_finished(self, progress: Progress) -> None:
        """A batch is sampled."""
        self._slices_done, self._rows_done = progress.slices, progress.rows
        self._rows = self._expected(progress)
        self._evaluations = 0
        self._tell(progress.rows)

    def _expected(self, progress: Progress) -> float:
        """The rows of all slices: where a slice asks for more as it goes, the others may need as many as those so far."""
        if self._sampling.stopping is None or not progress.slices:
            return progress.total_rows
        return max(progress.total_rows, progress.rows / progress.slices * progress.total_slices)

    def _tell(self, rows: float) -> None:
        fraction = rows / self._rows
        elapsed = time.monotonic() - self._started
        self._show(State(self._slices_done, self._slices, fraction, elapsed))


@contextmanager
def progress_on_stderr(job: Job, *, quiet: bool) -> Iterator[Watch]:
    """The watch of a run, which shows its state as long as the block lasts."""
    if quiet:
        yield Watch(job, lambda _: None)
    elif sys.stderr.isatty():
        with bar() as shown:
            yield Watch(job, lambda state: shown.show(state.fraction, str(state)))
    else:
        yield Watch(job, Lines())


class Lines:
    """A line when slices are finished, at most one a second but for the last, and every ten seconds within a slice."""

    def __init__(self) -> None:
        self._slices, self._elapsed = 0, -1.0

    def __call__(self, state: State) -> None:
        """Tells the state, where it is time."""
        since = state.elapsed - self._elapsed
        further = state.slices > self._slices and (since >= 1 or state.slices == state.total_slices)
        if not further and since < SECONDS_BETWEEN_LINES:
            return
        self._slices, self._elapsed = state.slices, state.elapsed
        click.echo(str(state), err=True)


class Bar(NamedTuple):
    """A bar on the terminal with a text beside it."""

    bars: Bars
    task: TaskID

    def show(self, fraction: float, text: str) -> None:
        """Fill the bar so far, and change its text."""
        self.bars.update(self.task, completed=fraction, description=text)

    def tell(self, line: str) -> None:
        """Write a line above the bar."""
        self.bars.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar() -> Iterator[Bar]:
    """A bar, empty at first, as long as the block lasts."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield Bar(bars, bars.add_task("starting", total=1.0))


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
