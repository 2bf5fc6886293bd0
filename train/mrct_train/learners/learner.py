"""What the trainer knows of a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from mrct_train.batches import Batch, Source
from mrct_train.data import DataSummary
from mrct_train.learners.descent import Descent, Terms
from mrct_train.ranks import Ranks


class Learner(Protocol):
    """A method: its networks with their optimisers, and one step on a batch."""

    @property
    def descents(self) -> Mapping[str, Descent]:
        """The networks under training by name; "main" is the one that is averaged and exported."""
        ...

    def batches(self, step: int) -> Sequence[Batch]:
        """All that step 0, 1, ... takes in, on the CPU: a function of the recipe, the data and the step.

        It is called in another thread than the rest.
        """
        ...

    def learn(self, batches: Sequence[Batch], rate: float) -> Terms:
        """The terms of one step's batches, on the device, after the optimisers' steps at this learning rate."""
        ...

    def examples(self, pair: tuple[Tensor, Tensor], random: torch.Generator) -> Batch:
        """A pair (x_0, y) that is set aside, as a batch for `loss`."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The term "loss" [] of another network of the same kind."""
        ...


Method: TypeAlias = Callable[[nn.Module, Source, DataSummary, Ranks], Learner]
"""A learner of the recipe's fresh network, already on the ranks' device."""
