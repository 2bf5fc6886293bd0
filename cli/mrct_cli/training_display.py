"""The display of a training on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mrct_cli.progress import SECONDS_BETWEEN_LINES, bar, clock

if TYPE_CHECKING:
    from mrct_train.log import TrainingProgress


@dataclass
class Display:
    """Shows where a training stands, and lines of text."""

    tell: Callable[[str], None]
    show: Callable[[float, str], None]
    early: bool
    """True where the run may end before its last step, at a plateau."""
    loss: float | None = None
    """The loss that was shown last."""

    def __call__(self, place: TrainingProgress) -> None:
        """Show a place."""
        self.loss = place.loss
        self.show(place.fraction, self._text(place))

    def _text(self, place: TrainingProgress) -> str:
        most = "at most " if self.early else ""
        return (
            f"step {place.step} of {most}{place.total}, epoch {place.epoch}, loss {place.loss:.5f}, "
            f"{place.samples_per_second:.1f} samples/s, {most}{clock(place.seconds_left)} left"
        )


class _Lines:
    """A line every ten seconds of what is shown more often."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, _fraction: float, text: str) -> None:
        if (now := time.monotonic()) - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            _to_stderr(text)


@contextmanager
def training_display(*, quiet: bool, early: bool) -> Iterator[Display]:
    """The display of a training as long as the block lasts; a quiet one shows nothing."""
    if quiet:
        yield Display(lambda _line: None, lambda _fraction, _text: None, early)
    elif sys.stderr.isatty():
        with bar() as shown:
            yield Display(shown.tell, shown.show, early)
    else:
        yield Display(_to_stderr, _Lines(), early)


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)
