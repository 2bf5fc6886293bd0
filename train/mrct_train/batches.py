"""The batches of a run: which rows are this rank's, and the next ones made ready while the device computes.

Every batch is a function of the seed and its key, drawn for all its rows and cut to those of a rank: so the number of
devices changes nothing in the mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from mrct_runtime.errors import UsageError
from mrct_train.augment import Chances, change
from mrct_train.config import TrainConfig
from mrct_train.data import Indices, Order, Pairs

Batch: TypeAlias = tuple[Tensor, ...]
"""Tensors with the samples along their first dimension."""

T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """The part of every batch that belongs to one of `ranks`; it can be computed in `parts` of equal size."""

    batch: int
    ranks: int = 1
    rank: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        if self.batch % (self.ranks * self.parts):
            raise UsageError(
                f"batch {self.batch} cannot be shared by {self.ranks} devices x accumulate {self.parts}: "
                "take a multiple of their product"
            )

    @property
    def mine(self) -> slice:
        """The rows of this rank."""
        share = self.batch // self.ranks
        return slice(self.rank * share, (self.rank + 1) * share)


@dataclass(frozen=True, eq=False)
class Source:
    """The training slices in their order, as pairs of this rank's rows."""

    pairs: Pairs
    order: Order
    rows: Rows
    config: TrainConfig

    def pair(self, indices: Indices, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """(x_0, y) [B / ranks, 1, H, W] of the slices [B] of a batch, augmented alike."""
        chances = Chances.draw(len(indices), random).of(self.rows.mine)
        ct, mr = self.pairs.batch(indices[self.rows.mine])
        images = torch.from_numpy(ct), torch.from_numpy(mr)
        return change(images, self.config.augmentation, self.config.spacing_mm, chances)


class Prefetch(Generic[T]):
    """make(k) for k = 0, 1, ..., of which the next two are made in a thread while one is in use."""

    def __init__(self, make: Callable[[int], T], end: int, ahead: int = 2) -> None:
        self._make, self._end, self._ahead = make, end, ahead
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._made: dict[int, Future[T]] = {}

    def __call__(self, k: int) -> T:
        """make(k); an error in it is raised here."""
        for number in range(k, min(k + self._ahead + 1, max(self._end, k + 1))):
            if number not in self._made:
                self._made[number] = self._pool.submit(self._make, number)
        return self._made.pop(k).result()

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)


def on_device(batches: Sequence[Batch], device: torch.device) -> list[Batch]:
    """The batches on the device, without waiting for it."""
    return [tuple(t.to(device, non_blocking=True) for t in batch) for batch in batches]


def pinned(batches: Sequence[Batch]) -> list[Batch]:
    """The batches in memory from which a GPU reads on its own."""
    return [tuple(t.pin_memory() for t in batch) for batch in batches]
