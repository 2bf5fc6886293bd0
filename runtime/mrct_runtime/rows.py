"""The order in which samples are drawn: rows (slice, sample), slice by slice, cut into batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain, islice, repeat
from typing import TypeAlias

Rows: TypeAlias = Sequence[tuple[int, int]]


class Queue:
    """The rows still to be drawn: at first `samples` of each slice; a slice may ask for more."""

    def __init__(self, slices: int, samples: int) -> None:
        # one by one as they are taken: a run may be planned with more samples than memory has room for
        rows = chain.from_iterable(zip(repeat(s), range(samples)) for s in range(slices))
        self._later, self._sooner = rows, deque[tuple[int, int]]()
        self._planned = [samples] * slices
        self.waiting = self.total = slices * samples
        """Rows to be drawn, and these with those that were."""

    def take(self, most: int) -> Rows:
        """The next rows, at most so many."""
        soon = [self._sooner.popleft() for _ in range(min(most, len(self._sooner)))]
        rows = [*soon, *islice(self._later, most - len(soon))]
        self.waiting -= len(rows)
        return rows

    def put_back(self, rows: Rows) -> None:
        """Rows that were taken and not drawn come first again."""
        self._sooner.extendleft(reversed(rows))
        self.waiting += len(rows)

    def complete(self, s: int, k: int) -> bool:
        """Whether sample k is the last that is planned of slice s."""
        return k + 1 == self._planned[s]

    def extend(self, s: int, samples: int) -> None:
        """Slice s needs so many samples in all; the further ones come first, so that few slices are unfinished."""
        further = [(s, k) for k in range(self._planned[s], samples)]
        self.put_back(further)
        self._planned[s] = samples
        self.total += len(further)
