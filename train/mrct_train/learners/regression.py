"""Method "cnn": the network gives the CT at once and learns its mean squared error, mean (x_hat(y) - x_0)^2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mrct_train.batches import Batch, Source
from mrct_train.data import DataSummary
from mrct_train.learners.descent import Descent, Terms
from mrct_train.loss import generator
from mrct_train.precision import Precision
from mrct_train.ranks import Ranks


class Regression(nn.Module):
    """{"loss": mean (x_hat(y) - x_0)^2}, over batch and pixels."""

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, x0: Tensor, y: Tensor) -> Terms:
        """The loss in fp32 of a pair [B, 1, H, W]."""
        return {"loss": torch.mean(torch.square(self.precision.run(self.network, y) - x0))}


class RegressionLearner:
    """The direct network under its squared error."""

    def __init__(
        self, network: nn.Module, source: Source, _data: DataSummary, ranks: Ranks
    ) -> None:
        config = source.config
        self.source, self.seed = source, config.seed
        self.precision = Precision(config.precision, ranks.device)
        objective = Regression(network, self.precision)
        self.descents = {"main": Descent(objective, "loss", config, ranks, self.precision)}

    def batches(self, step: int) -> Sequence[Batch]:
        """One batch of pairs."""
        indices = self.source.order.indices(step)
        return [self.source.pair(indices, generator(self.seed, step))]

    def learn(self, batches: Sequence[Batch], rate: float) -> Terms:
        """The loss of the batch."""
        return self.descents["main"].step(batches[0], rate)

    def examples(self, pair: tuple[Tensor, Tensor], _random: torch.Generator) -> Batch:
        """The pair itself: nothing is random here."""
        return pair

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The squared error of a network on a pair."""
        terms: Terms = Regression(network, self.precision)(*batch)
        return terms["loss"]
