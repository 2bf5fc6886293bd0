"""What comes out of a synthesis while it goes on, and what of it an earlier, broken off run has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mrct_runtime.arrays import Array


@dataclass(frozen=True, eq=False)
class Finished:
    """A slice with all its samples: its place in the condition, and mean and deviation (ddof 1), float64 [H, W] on the host.

    `planned` are the samples that it was to have, at first and after each look at its standard error; the last of them are
    those that it has.
    """

    place: int
    mean: Array
    std: Array
    planned: tuple[int, ...]

    @property
    def count(self) -> int:
        """The samples of the slice."""
        return self.planned[-1]


@dataclass(frozen=True)
class Batch:
    """Rows (slice, sample) that were drawn together, `at_once` of them, and the images that went through the network.

    `place` counts the batches of a synthesis, `most` are the rows that it would have taken at once.
    """

    place: int
    rows: int
    at_once: int
    most: int
    images: int


@dataclass(frozen=True)
class Past:
    """What an earlier run of the same synthesis drew: its batches in order, and the slices that were finished."""

    batches: Sequence[Batch] = ()
    finished: Mapping[int, Finished] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Receiver:
    """Who is handed each slice as soon as it is finished, and told of each batch after the slices that it finished.

    Slices of the first batches of `past` are handed over again, in their turn and without being drawn, until a batch holds
    one that was not finished; from there on it counts for nothing.
    """

    take: Callable[[Finished], None]
    drawn: Callable[[Batch], None] = lambda _: None
    past: Past = field(default_factory=Past)
