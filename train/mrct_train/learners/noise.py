"""Methods "ddpm" and "sde": the network learns the noise in x, see loss.py."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mrct_train.batches import Batch, Source
from mrct_train.data import DataSummary
from mrct_train.learners.descent import Descent, Terms
from mrct_train.loss import Draw, Example, draw, examples, generator, squared_error, unit_weight
from mrct_train.precision import Precision
from mrct_train.ranks import Ranks


class Denoising(nn.Module):
    """{"loss": mean w (eps_hat - eps)^2} of an `Example`, field by field."""

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, *batch: Tensor) -> Terms:
        """The loss in fp32."""
        example = Example(*batch)
        eps_hat = self.precision.run(self.network, example.x, example.y, example.t)
        return {"loss": squared_error(eps_hat, example)}


class NoiseLearner:
    """The noise predictor of the recipe's process."""

    def __init__(self, network: nn.Module, source: Source, data: DataSummary, ranks: Ranks) -> None:
        config = self.config = source.config
        self.source, self.data = source, data
        self.precision = Precision(config.precision, ranks.device)
        objective = Denoising(network, self.precision)
        self.descents = {"main": Descent(objective, "loss", config, ranks, self.precision)}

    def batches(self, step: int) -> Sequence[Batch]:
        """One batch: slices, times and noise of its own."""
        source, random = self.source, generator(self.config.seed, step)
        pair = source.pair(source.order.indices(step), random)
        shape = torch.Size([source.rows.batch, *pair[0].shape[1:]])
        process, rows = self.config.process, source.rows.mine
        t, eps = draw(process, shape, random, stratified=self.config.stratified)
        drawn = Draw(t[rows], eps[rows])
        return [examples(process, pair, drawn, self._weight(drawn.t))]

    def learn(self, batches: Sequence[Batch], rate: float) -> Terms:
        """The loss of the batch."""
        return self.descents["main"].step(batches[0], rate)

    def examples(self, pair: tuple[Tensor, Tensor], random: torch.Generator) -> Batch:
        """The pair under noise at times that are spread evenly."""
        drawn = draw(self.config.process, pair[0].shape, random, stratified=True)
        return examples(self.config.process, pair, drawn, self._weight(drawn.t))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss of a network on `examples`."""
        terms: Terms = Denoising(network, self.precision)(*batch)
        return terms["loss"]

    def _weight(self, t: Tensor) -> Tensor | None:
        if self.config.weighting == "simple":
            return None
        return unit_weight(self.config.process, t, self.data.deviation)
