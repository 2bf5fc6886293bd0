"""Training from start, or from a checkpoint, to the end, a time limit or a signal."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from mrct_runtime.errors import EngineError, OutputError, UsageError
from mrct_runtime.translate import MOST_THREADS
from mrct_train import checkpoint as checkpoints
from mrct_train.config import TrainConfig
from mrct_train.data import Pairs
from mrct_train.trainer import Trainer

REPORT_SECONDS = 10.0


@dataclass(frozen=True)
class Limits:
    """How a run is carried out; none of it changes what is computed, up to rounding on another device."""

    device: str = "cpu"
    threads: int | None = None
    max_minutes: float = math.inf
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"threads must be from 1 to {MOST_THREADS}, got {self.threads}")
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise _unknown(self.device) from error
        if device.type == "cuda":
            # PyTorch keeps an index in eight bits, so a large one comes back negative
            if not 0 <= (device.index or 0) < torch.cuda.device_count():
                raise EngineError(f"the device {self.device} is not available; use --device cpu")
        elif device.type != "cpu":
            raise _unknown(self.device)


def _unknown(device: str) -> UsageError:
    return UsageError(f"unknown device {device!r}; choose from cpu, cuda and cuda:N")


@dataclass(frozen=True)
class Outcome:
    """How far the run came, and the signal that ended it early, if one did."""

    step: int
    total: int
    signal: int | None

    @property
    def finished(self) -> bool:
        """True after the recipe's last step."""
        return self.step >= self.total


def fit(
    config: TrainConfig,
    pairs: Pairs,
    run: Path,
    limits: Limits | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Train in the folder `run` to the recipe's end, a time limit or a signal, going on from its checkpoint."""
    limits = limits or Limits()
    if limits.threads:
        torch.set_num_threads(limits.threads)
    trainer = _start(config, pairs, run, limits, report)
    started = saved = reported = time.monotonic()
    with _signals() as caught:
        while trainer.progress.step < trainer.total:
            trainer.advance()
            now = time.monotonic()
            if now - reported >= REPORT_SECONDS:
                report(trainer.line())
                reported = now
            if caught or now - started >= limits.max_minutes * 60:
                break
            if now - saved >= limits.checkpoint_minutes * 60:
                trainer.save()
                saved = now
        trainer.save()
    report(trainer.line())
    return Outcome(trainer.progress.step, trainer.total, caught[0] if caught else None)


def _start(
    config: TrainConfig, pairs: Pairs, run: Path, limits: Limits, report: Callable[[str], None]
) -> Trainer:
    """The run's trainer, restored from its checkpoint where it has one; never a silent restart."""
    last = checkpoints.latest(run, report)
    recipe = run / "config.toml"
    if last is None and recipe.exists():
        raise OutputError(
            f"{run}: has a recipe but no checkpoint; remove it or name another output folder"
        )
    trainer = Trainer(config, pairs, run, limits.device)
    if last is None:
        # A folder that cannot be written is found before the first hour, not after it.
        trainer.save()
    else:
        trainer.restore(checkpoints.load(last))
        report(f"going on from step {trainer.progress.step} of {trainer.total}")
    recipe.write_text(config.dumps(), "utf-8")
    return trainer


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The SIGTERM or SIGINT that arrived, as it arrives: the loop ends its step and saves. A second one is not held up."""
    caught: list[int] = []
    previous: dict[signal.Signals, Any] = {}

    def catch(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGTERM, signal.SIGINT):
            previous[name] = signal.signal(name, catch)
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
