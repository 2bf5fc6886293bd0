"""Training from start, or from a checkpoint, to the end, a time limit or a signal."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from filelock import FileLock, Timeout

from mrct_runtime.atomic import write_atomically
from mrct_runtime.errors import OutputError, UsageError
from mrct_runtime.output_folder import not_writable
from mrct_train import checkpoint as checkpoints
from mrct_train.config import TrainConfig
from mrct_train.data import Pairs, Split
from mrct_train.limits import Limits
from mrct_train.log import JSONL, TrainingProgress
from mrct_train.ranks import Ranks, connect
from mrct_train.trainer import Trainer

__all__ = ["Limits", "Outcome", "fit"]

OBSERVE_SECONDS = 1.0
LOCK: Final = ".lock"

# What a rank wants, agreed on after every step as the largest of all; a signal is its number more than the last.
_GO_ON, _SAVE, _STOP = 0, 1, 2


@dataclass(frozen=True)
class Outcome:
    """How far the run came, and the signal that ended it early, if one did."""

    step: int
    total: int
    signal: int | None

    @property
    def finished(self) -> bool:
        """True after the recipe's last step, or at its plateau, where `total` is `step`."""
        return self.step >= self.total


def fit(
    config: TrainConfig,
    pairs: Pairs,
    run: Path,
    limits: Limits | None = None,
    report: Callable[[str], None] = lambda _: None,
    observer: Callable[[TrainingProgress], None] = lambda _: None,
    ranks: Ranks | None = None,
) -> Outcome:
    """Train in the folder `run` to the recipe's end, a time limit or a signal, going on from its checkpoint.

    Every rank calls it alike; rank 0 alone writes, reports and tells the observer, at most every second. It holds a lock
    on the folder meanwhile, which a killed process leaves to the next.
    """
    limits = limits or Limits()
    ranks = ranks or connect(limits)
    if limits.threads:
        torch.set_num_threads(limits.threads)
    # All batches have one size, so the fastest convolutions are worth searching for on a GPU.
    torch.backends.cudnn.benchmark = True
    if ranks.rank:
        report = observer = _silent
    with (
        _locked(run, ranks, report),
        closing(_start(config, pairs, run, ranks, report)) as trainer,
        _signals() as caught,
    ):
        code = _loop(trainer, limits, caught, _Telling(observer))
    total = trainer.progress.step if trainer.finished else trainer.total
    return Outcome(trainer.progress.step, total, code - _STOP if code > _STOP else None)


@contextmanager
def _locked(run: Path, ranks: Ranks, report: Callable[[str], None]) -> Iterator[None]:
    """The folder for this run alone; OutputError on every rank where another process trains in it."""
    lock = FileLock(run / LOCK, timeout=0)
    fault: OutputError | None = None
    if ranks.rank == 0:
        try:
            run.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            fault = OutputError(
                f"{run}: another process trains here; wait for its end, or name another folder"
            )
        except NotImplementedError:
            report(
                f"warning: the file system of {run} has no locks: train in it only once at a time"
            )
        except OSError as error:
            fault = not_writable(run, error)
    try:
        if ranks.agree(int(fault is not None)):
            raise fault or OutputError(f"{run}: rank 0 cannot train here; its message says why")
        yield
    finally:
        lock.release()


def _silent(_: object) -> None:
    pass


class _Telling:
    """Tells the observer of a run, at most every second."""

    def __init__(self, observer: Callable[[TrainingProgress], None]) -> None:
        self.observer = observer
        self.observed = time.monotonic()

    def __call__(self, trainer: Trainer, now: float) -> None:
        """Tell where the run stands, where that is due."""
        if trainer.ranks.rank:
            return
        if now - self.observed >= OBSERVE_SECONDS:
            self.observer(trainer.place())
            self.observed = now


def _loop(trainer: Trainer, limits: Limits, caught: list[int], tell: _Telling) -> int:
    """The code that ended the run, which has been saved."""
    started = saved = time.monotonic()
    code, step = _GO_ON, trainer.progress.step
    while code < _STOP and not trainer.finished:
        trainer.advance()
        now = time.monotonic()
        tell(trainer, now)
        wanted = _GO_ON
        if caught:
            wanted = _STOP + caught[0]
        elif now - started >= limits.max_minutes * 60:
            wanted = _STOP
        elif now - saved >= limits.checkpoint_minutes * 60:
            wanted = _SAVE
        code = trainer.ranks.agree(wanted)
        if code == _SAVE:
            trainer.save()
            saved, step = now, trainer.progress.step
    if trainer.progress.step > step:
        # A state that is on the disk already is not written again, lest a kill catch it being replaced.
        trainer.save()
    tell.observer(trainer.place())
    return code


def _start(
    config: TrainConfig, pairs: Pairs, run: Path, ranks: Ranks, report: Callable[[str], None]
) -> Trainer:
    """The run's trainer, restored from its checkpoint where it has one; never a silent restart."""
    last = checkpoints.latest(run, report)
    recipe = run / "config.toml"
    begun = recipe.exists() or (run / JSONL).exists()
    # nothing is written before every rank has looked
    _refuse_differing(ranks, last, pairs)
    if ranks.agree(int(last is None and begun)):
        raise OutputError(
            f"{run}: has a recipe or a log but no checkpoint; remove the folder or name another output folder"
        )
    if config.sample_epochs and not config.validation_subjects:
        report("no validation subjects: no samples, no validation loss")
    trainer = Trainer(config, pairs, run, ranks)
    if last is None:
        # A folder that cannot be written is found before the first hour, not after it.
        trainer.save()
    else:
        trainer.restore(checkpoints.load(last))
        report(f"going on from step {trainer.progress.step} of {trainer.total}")
    if ranks.rank == 0:
        _write(recipe, config.dumps())
        _write(run / "split.json", _split(config, pairs))
    return trainer


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise not_writable(path, error) from error


def _refuse_differing(ranks: Ranks, last: Path | None, pairs: Pairs) -> None:
    """UsageError on every rank where one sees another checkpoint or other slices than the rest."""
    state = b"" if last is None else (last / checkpoints.STATE).read_bytes()
    slices = "".join(subject.digest for subject in pairs.subjects).encode()
    for what, content in (("another checkpoint in OUT", state), ("other slices of DATA", slices)):
        code = int(hashlib.sha256(content).hexdigest()[:15], 16)
        # the largest and, of the negatives, the smallest
        if ranks.agree(code) != -ranks.agree(-code):
            raise UsageError(
                f"one process sees {what} than another; both must lie on a disk that all machines share"
            )


def _split(config: TrainConfig, pairs: Pairs) -> str:
    """The names of the subjects in each part, as JSON."""
    split = Split.draw(len(pairs.subjects), config)
    parts = {"training": split.training, "validation": split.validation, "test": split.test}
    names = {part: [pairs.subjects[s].name for s in places] for part, places in parts.items()}
    return json.dumps(names, indent=1) + "\n"


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
