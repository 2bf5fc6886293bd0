"""What is measured on the validation subjects when an epoch ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mrct_train.batches import Source, on_device
from mrct_train.data import Indices
from mrct_train.learners import Learner
from mrct_train.loss import generator

_KEY = 2**32 - 1  # beyond any step: validation noise is no training noise
_MOST_SLICES = 64
_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class Validation:
    """Measures on the `slices` of subjects that training does not see."""

    learner: Learner
    source: Source
    slices: Indices
    run: Path

    @torch.no_grad()
    def loss(self, network: nn.Module, device: torch.device) -> float | None:
        """A network's mean loss on evenly chosen slices, under noise that is always the same; None without slices."""
        chosen = self.slices[:: max(1, len(self.slices) // _MOST_SLICES)]
        if not len(chosen):
            return None
        random = generator(self.source.config.seed, _KEY)
        total = 0.0
        for start in range(0, len(chosen), _AT_ONCE):
            ct, mr = self.source.pairs.batch(chosen[start : start + _AT_ONCE])
            batch = self.learner.examples((torch.from_numpy(ct), torch.from_numpy(mr)), random)
            [moved] = on_device([batch], device)
            total += self.learner.loss(network, moved).item() * len(ct)
        return total / len(chosen)

    def due(self, epoch: int, previous: int) -> bool:
        """True where the epochs after `previous` up to this one contain one of which a picture is wanted."""
        every = self.source.config.sample_epochs
        return bool(every and len(self.slices) and epoch // every > previous // every)

    def picture(self, network: nn.Module, epoch: int) -> dict[str, float]:
        """The metrics of translated slices, whose picture now stands in the run's folder."""
        from mrct_train.samples import SampleGrid

        grid = SampleGrid(self.source.config, self.source.pairs, self.slices, self.run)
        return dict(grid.write(network, epoch))
