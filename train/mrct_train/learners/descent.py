"""One optimiser step: the gradient of a loss over a batch, in parts and on all ranks, clipped, then Adam."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from mrct_train.batches import Batch
from mrct_train.config import TrainConfig
from mrct_train.precision import Precision, exhausted
from mrct_train.ranks import Ranks
from mrct_train.sharding import whole

Terms: TypeAlias = dict[str, Tensor]
"""Means [] over a batch by name; "loss" is the one that training watches."""


class Descent:
    """A network on its way down an objective.

    The objective is a module that has the network as `network` and returns the terms of a batch. Its term `minimise`
    is what the gradient is of. With one rank and one part that is one backward pass.
    """

    def __init__(
        self,
        objective: nn.Module,
        minimise: str,
        config: TrainConfig,
        ranks: Ranks,
        precision: Precision,
        betas: tuple[float, float] | None = None,
    ) -> None:
        self.objective, self.minimise, self.ranks = ranks.trained(objective), minimise, ranks
        self.network: nn.Module = objective.get_submodule("network")
        self.parts, self.grad_clip = config.accumulate, config.grad_clip
        self.optimizer = torch.optim.Adam(
            self.network.parameters(),
            lr=config.learning_rate,
            betas=betas or config.betas,
            eps=config.adam_eps,
            fused=True,
        )
        self.scaler = precision.scaler()
        self._health = torch.zeros((), device=ranks.device)

    def step(self, batch: Batch, rate: float) -> Terms:
        """The terms of a batch, of whose gradient Adam has made a step at this learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        parts = list(zip(*(tensor.chunk(self.parts) for tensor in batch), strict=True))
        sums: Terms = {}
        for number, part in enumerate(parts, 1):
            with self.ranks.gathering(self.objective, last=number == len(parts)):
                terms: Terms = self.objective(*part)
                self.ranks.backward(self.scaler.scale(terms[self.minimise] / len(parts)))
            for name, term in terms.items():
                share = term.detach() / len(parts)
                sums[name] = sums[name] + share if name in sums else share
        self._descend(sums[self.minimise])
        return sums

    def _descend(self, loss: Tensor) -> None:
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # A NaN or inf in any loss or gradient since the last look stays in this sum. With a scaler an overflow of the
        # gradient only skips a step.
        self._health += loss if self.scaler.is_enabled() else loss + whole(norm)

    def healthy(self) -> bool:
        """False where a loss or gradient since the last call was not finite. Waits for the device."""
        finite = bool(self._health.isfinite().item())
        self._health.zero_()
        return finite and not exhausted(self.scaler)
