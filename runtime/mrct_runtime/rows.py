"""The order in which samples are drawn: rows (slice, sample), slice by slice, cut into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from typing import TypeAlias

Rows: TypeAlias = Sequence[tuple[int, int]]


class Queue:
    """The rows still to be drawn: at first `samples` of each slice; a slice may ask for more."""

    def __init__(self, slices: int, samples: int) -> None:
        # the last is drawn first
        self._parts: list[Iterator[tuple[int, int]]] = [
            chain.from_iterable(_rows(s, 0, samples) for s in range(slices))
        ]
        self._planned = [samples] * slices
        self.waiting = self.total = slices * samples
        """Rows to be drawn, and these with those that were."""

    def take(self, most: int) -> Rows:
        """The next rows, at most so many."""
        rows: list[tuple[int, int]] = []
        while self._parts and len(rows) < most:
            found = list(islice(self._parts[-1], most - len(rows)))
            if not found:
                self._parts.pop()
            rows += found
        self.waiting -= len(rows)
        return rows

    def put_back(self, rows: Rows) -> None:
        """Rows that were taken and not drawn come first again."""
        self._first(iter(rows), len(rows))

    def complete(self, s: int, k: int) -> bool:
        """Whether sample k is the last that is planned of slice s."""
        return k + 1 == self._planned[s]

    def extend(self, s: int, samples: int) -> None:
        """Slice s needs so many samples in all; the further ones come first, so that few slices are unfinished."""
        planned, self._planned[s] = self._planned[s], samples
        self._first(_rows(s, planned, samples), samples - planned)
        self.total += samples - planned

    def _first(self, rows: Iterator[tuple[int, int]], count: int) -> None:
        self._parts.append(rows)
        self.waiting += count


def _rows(s: int, first: int, end: int) -> Iterator[tuple[int, int]]:
    """One by one as they are taken: there may be more samples than memory has room for."""
    return zip(repeat(s), range(first, end))
