"""A training run in memory: one optimiser step after another, its log and its checkpoints.

Every step is a function of the recipe, the data and its own number, so a run that goes on from a checkpoint ends with
the same bits as one that was never interrupted (on the CPU).
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrct_runtime.errors import NumericError, UsageError
from mrct_train import checkpoint as checkpoints
from mrct_train.augment import augment
from mrct_train.checkpoint import Checkpoint, Progress
from mrct_train.config import TrainConfig
from mrct_train.data import Order, Pairs
from mrct_train.ema import Ema
from mrct_train.log import Log, Row
from mrct_train.loss import draw, eps_loss, generator, unit_weight

CHECK_EVERY = 20  # steps between looks at the loss, each of which waits for a GPU
VALIDATION_KEY = 2**32 - 1  # beyond any step: validation noise is no training noise


class Trainer:
    """A run in memory: `advance` makes one step, `save` a checkpoint."""

    def __init__(self, config: TrainConfig, pairs: Pairs, run: Path, device: str) -> None:
        training, validation = pairs.split(config.validation_subjects, config.seed)
        self.config, self.pairs, self.run, self.device = config, pairs, run, device
        self.order = Order(training, config.batch, config.seed)
        self.validation = validation[:: max(1, len(validation) // 64)]
        self.data = pairs.summary(training, len(pairs.counts) - config.validation_subjects)
        self.total = config.total_steps(len(training))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = checkpoints.build_network(config, self.data)
        self.network = network.to(device)
        self.ema = Ema(self.network, config.ema)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.adam_eps,
            fused=True,
        )
        self.progress = Progress(step=0)
        self.log = Log(run / "log.csv")
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._health = torch.zeros((), device=device)

    def advance(self) -> None:
        """Make the next optimiser step, and a row of the log where it ends an epoch."""
        began, step = time.monotonic(), self.progress.step
        loss = self._optimise(step)
        self._loss_sum += loss
        count = self.progress.loss_count + 1
        if step % CHECK_EVERY == 0:
            self._check()
        seconds = time.monotonic() - began
        self.progress = replace(
            self.progress,
            step=step + 1,
            loss_count=count,
            epoch_seconds=self.progress.epoch_seconds + seconds,
            seconds=self.progress.seconds + seconds,
        )
        if self.order.epoch(step + 1) > self.order.epoch(step):
            self._end_epoch()

    def _optimise(self, step: int) -> Tensor:
        """The loss [] of step 0, 1, ..., after Adam and the moving average have used its gradient."""
        random = generator(self.config.seed, step)
        pair = self._batch(self.order.indices(step), random)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step, self.total)
        process, stratified = self.config.process, self.config.stratified
        drawn = draw(process, pair[0].shape, random, stratified=stratified)
        loss = eps_loss(self.network, process, pair, drawn, self._weight(drawn.t))
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.grad_clip)
        self.optimizer.step()
        self.ema.update(self.network, step)
        # A NaN or inf in any loss or gradient since the last look stays in this sum.
        self._health += loss.detach() + norm
        return loss.detach()

    def _batch(
        self, indices: NDArray[np.int64], random: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """(x_0, y), each [B, 1, H, W] on the device, augmented alike where a generator is given."""
        x0, y = (
            torch.from_numpy(images[indices][:, None]) for images in (self.pairs.ct, self.pairs.mr)
        )
        if random is not None:
            x0, y = augment((x0, y), self.config.augmentation, random)
        return x0.to(self.device), y.to(self.device)

    def _weight(self, t: Tensor) -> Tensor | None:
        if self.config.weighting == "simple":
            return None
        return unit_weight(self.config.process, t, self.data.deviation)

    def _check(self) -> None:
        """NumericError where a loss or gradient since the last look was not finite; no checkpoint holds it then."""
        if not math.isfinite(self._health.item()):
            raise NumericError(
                f"the loss or its gradient is not finite at step {self.progress.step}: "
                "lower learning_rate and train in another folder"
            )
        self._health.zero_()

    def _check_weights(self) -> None:
        """NumericError where weights or their averages are not finite, to which a finite gradient may lead."""
        for network in (self.network, self.ema.network):
            if not all(weight.isfinite().all() for weight in network.state_dict().values()):
                raise NumericError(
                    f"the weights are not finite after step {self.progress.step}: "
                    "lower learning_rate and train in another folder"
                )

    def _end_epoch(self) -> None:
        self._check()
        step, progress = self.progress.step, self.progress
        loss = self._loss_sum.item() / progress.loss_count
        row = Row(
            epoch=self.order.epoch(step),
            step=step,
            loss=loss,
            validation_loss=self.validation_loss() if len(self.validation) else None,
            learning_rate=learning_rate(self.config, step - 1, self.total),
            seconds=progress.epoch_seconds,
            samples_per_second=progress.loss_count * self.config.batch / progress.epoch_seconds,
        )
        self.log.append(row)
        self._loss_sum.zero_()
        self.progress = replace(progress, loss_count=0, epoch_seconds=0.0, last_loss=loss)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """The moving average's loss on slices of the validation subjects, under noise that is always the same."""
        random = generator(self.config.seed, VALIDATION_KEY)
        losses = []
        for start in range(0, len(self.validation), 8):
            pair = self._batch(self.validation[start : start + 8], None)
            drawn = draw(self.config.process, pair[0].shape, random, stratified=True)
            weight = self._weight(drawn.t)
            loss = eps_loss(self.ema.network, self.config.process, pair, drawn, weight)
            losses.append(loss.item() * len(pair[0]))
        return sum(losses) / len(self.validation)

    def save(self) -> None:
        """Write a checkpoint of the present state; NumericError where its weights are not finite."""
        self._check()
        self._check_weights()
        self.progress = replace(self.progress, loss_sum=self._loss_sum.item())
        saved = Checkpoint(
            config=self.config,
            data=self.data,
            progress=self.progress,
            weights=self.network.state_dict(),
            ema=self.ema.network.state_dict(),
            optimizer=checkpoints.adam_tensors(self.optimizer),
        )
        checkpoints.save(saved, self.run)

    def restore(self, saved: Checkpoint) -> None:
        """Take up the state of a checkpoint; UsageError where it belongs to another recipe or other data."""
        changed = self.config.differences(saved.config)
        if changed:
            raise UsageError(
                f"the run in {self.run.name} was started with another {', '.join(changed)}; "
                "use its recipe or another output folder"
            )
        if saved.data != self.data:
            raise UsageError(
                f"the run in {self.run.name} was started on other data; use them or another output folder"
            )
        self.network.load_state_dict(dict(saved.weights))
        self.ema.network.load_state_dict(dict(saved.ema))
        checkpoints.restore_adam(self.optimizer, saved.optimizer)
        self.progress = saved.progress
        self._loss_sum.fill_(saved.progress.loss_sum)
        self.log.cut(saved.progress.step)

    def line(self) -> str:
        """The run's place, loss and speed in one line."""
        progress = self.progress
        sums = self._loss_sum.item()
        loss = sums / progress.loss_count if progress.loss_count else progress.last_loss
        speed = progress.step * self.config.batch / max(progress.seconds, 1e-9)
        left = (self.total - progress.step) * self.config.batch / max(speed, 1e-9)
        return (
            f"epoch {self.order.epoch(progress.step) + 1}, step {progress.step} of {self.total}, "
            f"loss {loss:.5f}, {speed:.1f} samples/s, {left / 60:.0f} min left"
        )


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate at step 0, 1, ...: linear over the warm-up, then constant or half a cosine down to zero."""
    rate = config.learning_rate * min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "constant":
        return rate
    done = max(0, step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return rate * (1 + math.cos(math.pi * done)) / 2
