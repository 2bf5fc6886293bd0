"""A training run in memory: one optimiser step after another, its log and its checkpoints.

Every step is a function of the recipe, the data and its own number, so a run that goes on from a checkpoint ends with
the same bits as one that was never interrupted (on the CPU). What a step does is the method's: see learners/.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mrct_runtime.errors import BundleError, NumericError, UsageError
from mrct_train import checkpoint as checkpoints
from mrct_train import state
from mrct_train.batches import Batch, Prefetch, Rows, Source, on_device, pinned
from mrct_train.checkpoint import Checkpoint, Progress
from mrct_train.config import TrainConfig
from mrct_train.data import Order, Pairs, Split
from mrct_train.ema import Ema
from mrct_train.learners import LEARNERS
from mrct_train.log import Log, Row, TrainingProgress
from mrct_train.precision import Precision
from mrct_train.ranks import Alone, Ranks
from mrct_train.schedule import diverged, learning_rate, plateaued
from mrct_train.validation import Validation

CHECK_EVERY = 20  # steps between looks at the loss, each of which waits for a GPU


class Trainer:
    """A run in memory: `advance` makes one step, `save` a checkpoint, `close` ends its threads."""

    def __init__(
        self, config: TrainConfig, pairs: Pairs, run: Path, ranks: Ranks | None = None
    ) -> None:
        self.config, self.run, self.ranks = config, run, ranks or Alone()
        split = Split.draw(len(pairs.subjects), config)
        self.data = pairs.summary(split.training)
        rows = Rows(config.batch, self.ranks.count, self.ranks.rank, config.accumulate)
        self.order = Order(pairs.of(split.training), config.batch, config.seed)
        source = Source(pairs, self.order, rows, config)
        self.total = config.total_steps(len(self.order.slices))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            fresh = checkpoints.build_network(config, self.data)
            network = Precision(config.precision, self.ranks.device).arrange(fresh)
            self.ema = Ema(network, config.ema)
            self.learner = LEARNERS[config.method](network, source, self.data, self.ranks)
        self.ranks.held(self.ema.network)
        self.validation = Validation(self.learner, source, pairs.of(split.validation), run)
        self.log = Log(run)
        self.progress = Progress(step=0)
        self._sums: dict[str, Tensor] = {}
        self._batches = Prefetch(self._made, self.total)

    def _made(self, step: int) -> Sequence[Batch]:
        batches = self.learner.batches(step)
        return pinned(batches) if self.ranks.device.type == "cuda" else batches

    @property
    def finished(self) -> bool:
        """True after the recipe's last step or at its plateau."""
        return self.progress.plateau or self.progress.step >= self.total

    def advance(self) -> None:
        """Make the next optimiser step, and a row of the log where it ends an epoch."""
        began, step = time.monotonic(), self.progress.step
        batches = on_device(self._batches(step), self.ranks.device)
        terms = self.learner.learn(batches, learning_rate(self.config, step, self.total))
        self.ema.update(self.learner.descents["main"].network, step)
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + term.double()
        if step % CHECK_EVERY == 0:
            self._check()
        seconds = time.monotonic() - began
        self.progress = replace(
            self.progress,
            step=step + 1,
            loss_count=self.progress.loss_count + 1,
            epoch_seconds=self.progress.epoch_seconds + seconds,
            seconds=self.progress.seconds + seconds,
        )
        if self.order.epoch(step + 1) > self.order.epoch(step):
            self._end_epoch()

    def _check(self) -> None:
        """NumericError on every rank where a loss or gradient of any since the last look was not finite; no checkpoint
        holds it then.
        """
        healthy = all(descent.healthy() for descent in self.learner.descents.values())
        if self.ranks.agree(int(not healthy)):
            raise _diverged(f"the loss or its gradient is not finite at step {self.progress.step}")

    def _end_epoch(self) -> None:
        self._check()
        self._meet()
        step, progress = self.progress.step, self.progress
        epoch, previous = self.order.epoch(step), self.order.epoch(step - 1)
        terms = {name: total.item() / progress.loss_count for name, total in self._sums.items()}
        loss = terms.pop("loss")
        validation_loss = self.validation.loss(self.ema.network, self.ranks.device)
        metrics = self._picture(epoch) if self.validation.due(epoch, previous) else {}
        if self.ranks.rank == 0:
            row = Row(
                epoch=epoch,
                step=step,
                loss=loss,
                validation_loss=validation_loss,
                learning_rate=learning_rate(self.config, step - 1, self.total),
                seconds=progress.epoch_seconds,
                samples_per_second=progress.loss_count * self.config.batch / progress.epoch_seconds,
                terms=terms,
                metrics=metrics,
            )
            self.log.append(row)
        self._sums = {}
        first = loss if progress.first_loss is None else progress.first_loss
        if diverged(progress.losses, first, loss, len(self.order.slices)):
            best = min(progress.losses)
            raise _diverged(f"the loss has risen from {best:.3g} to {loss:.3g} in epoch {epoch}")
        losses = (*progress.losses, loss)[-self.config.plateau.epochs - 1 :]
        rules = self.config.steps is None and epoch >= self.config.epochs
        self.progress = replace(
            progress,
            loss_count=0,
            epoch_seconds=0.0,
            last_loss=loss,
            first_loss=first,
            losses=losses,
            plateau=rules and plateaued(losses, self.config.plateau),
        )

    def _meet(self) -> None:
        """Make the sums of the terms their means over the ranks."""
        if self._sums:
            means = self.ranks.mean(torch.stack(list(self._sums.values())))
            self._sums = dict(zip(self._sums, means.unbind(), strict=True))

    def _picture(self, epoch: int) -> dict[str, float]:
        network: nn.Module = self.ema.network
        if self.ranks.sharded:
            network = state.gathered(network, checkpoints.build_network(self.config, self.data))
        metrics = self.validation.picture(network, epoch) if self.ranks.rank == 0 else {}
        self.ranks.barrier()
        return metrics

    def save(self) -> None:
        """Write a checkpoint of the present state; NumericError where its weights are not finite."""
        self._check()
        if self.ranks.agree(int(not state.finite(self.ema, self.learner.descents))):
            raise _diverged(f"the weights are not finite after step {self.progress.step}")
        self._meet()
        sums = {name: total.item() for name, total in self._sums.items()}
        loss_sum = sums.pop("loss", 0.0)
        self.progress = replace(self.progress, loss_sum=loss_sum, term_sums=sums)
        main = self.learner.descents["main"]
        saved = Checkpoint(
            config=self.config,
            data=self.data,
            progress=self.progress,
            weights=state.weights(main.network),
            ema=state.weights(self.ema.network),
            optimizer=state.adam(main.optimizer),
            extra=state.additional(self.learner.descents),
        )
        if self.ranks.rank == 0:
            checkpoints.save(saved, self.run)
        self.ranks.barrier()

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
        main = self.learner.descents["main"]
        try:
            state.restore_weights(main.network, saved.weights)
            state.restore_weights(self.ema.network, saved.ema)
            state.restore_adam(main.optimizer, saved.optimizer)
            state.restore_additional(self.learner.descents, saved.extra)
        except (KeyError, RuntimeError) as error:
            raise BundleError(f"{self.run.name}: the checkpoint is not of this recipe") from error
        self.progress = saved.progress
        sums = {"loss": saved.progress.loss_sum, **saved.progress.term_sums}
        if saved.progress.loss_count:
            device = self.ranks.device
            self._sums = {
                name: torch.tensor(total, dtype=torch.float64, device=device)
                for name, total in sums.items()
            }
        if self.ranks.rank == 0:
            self.log.cut(saved.progress.step)

    def place(self) -> TrainingProgress:
        """Where the run stands; its loss is this rank's. Waits for the device."""
        progress = self.progress
        count = progress.loss_count
        loss = self._sums["loss"].item() / count if count else progress.last_loss
        speed = progress.step * self.config.batch / max(progress.seconds, 1e-9)
        left = (self.total - progress.step) * self.config.batch / max(speed, 1e-9)
        return TrainingProgress(
            step=progress.step,
            total=self.total,
            epoch=self.order.epoch(max(progress.step - 1, 0)) + 1,
            loss=loss,
            samples_per_second=speed,
            seconds_left=0.0 if self.finished else left,
        )

    def close(self) -> None:
        """End the threads that make the batches and write the log."""
        self._batches.close()
        self.log.close()


def _diverged(what: str) -> NumericError:
    return NumericError(f"{what}: lower learning_rate and train in another folder")
