"""The learning rate over a run, and when the run has come to its end, or astray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from mrct_train.config import Plateau, TrainConfig

_RISE: Final = 10.0
_ENOUGH_SLICES: Final = 100


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate at step 0, 1, ...: linear over the warm-up, then constant or half a cosine down to zero."""
    rate = config.learning_rate * min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "constant":
        return rate
    done = max(0, step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return rate * (1 + math.cos(math.pi * done)) / 2


def plateaued(losses: Sequence[float], rule: Plateau) -> bool:
    """True where the last of the epochs' losses is above (1 - drop) x the mean of the `rule.epochs` before it."""
    *before, last = losses[-rule.epochs - 1 :]
    if len(before) < rule.epochs:
        return False
    return last > (1 - rule.drop) * sum(before) / len(before)


def diverged(before: Sequence[float], first: float, last: float, slices: int) -> bool:
    """True where an epoch's loss is above the first epoch's and above 10 x the least of those `before` it.

    The first is that of an untrained network, above which no noise lifts a trained one. Of fewer than 100 slices the
    mean is so noisy, by the times that they drew, that 10 becomes 10 (100 / slices)^2.
    """
    rise = _RISE * max(1.0, _ENOUGH_SLICES / slices) ** 2
    return bool(before) and last > first and last > rise * min(before)
