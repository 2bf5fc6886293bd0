"""How samples are drawn: everything between the command line and the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.branching import parts
from mrct_runtime.errors import UsageError
from mrct_runtime.process import Direct, Process
from mrct_runtime.samplers import Sampler
from mrct_runtime.stopping import Stopping

Guess: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""x_0 of a condition, both [B, 1, H, W] on the host: its network may have a device or a queue of its own."""


@dataclass(frozen=True)
class Sampling:
    """A sampler, and what it is run with.

    `mc` samples a slice, or, with `stopping`, as many as that asks for and at most `mc`; `batch` rows at once, fewer
    where the engine takes fewer. `series` keys the noise.

    The prior lies around `prior_mean`, the data's, which it keeps as alpha(t_max) m: std(t_max) alone does not quite
    forget it. `guess` gives in its place an image of the condition, for a process that starts with little noise.

    With `branch_at`, a network time, the samples of a slice are one until then. `antithetic` samples come in pairs that
    start on either side of what the prior lies around: where a sampler draws no noise on its way, their mean is far more
    exact.
    """

    sampler: Sampler
    mc: int = 10
    seed: int = 0
    batch: int = 10
    prior_mean: float = 0.0
    series: str = ""
    stopping: Stopping | None = None
    branch_at: float | None = None
    guess: Guess | None = None
    antithetic: bool = False

    def __post_init__(self) -> None:
        if self.mc < 1:
            raise UsageError(f"mc must be at least 1 sample a slice, got {self.mc}")
        if self.batch < 1:
            raise UsageError(f"batch must be at least 1, got {self.batch}")
        if self.stopping is not None and (self.antithetic or self.branch_at is not None):
            raise UsageError(
                "a standard error is one of independent samples: leave mc_tolerance out, or antithetic and branch_at"
            )
        if self.antithetic and (self.mc < 2 or self.branch_at is not None):
            raise UsageError(
                "antithetic samples are two or more, from opposite noise: leave antithetic out where a slice has one, "
                "or where its samples are one at first (branch_at)"
            )
        if self.stopping is not None and self.stopping.least > self.mc:
            raise UsageError(
                f"mc must go from fewer samples to more, got {self.stopping.least} to {self.mc}"
            )

    @property
    def least(self) -> int:
        """The samples that every slice gets."""
        return self.mc if self.stopping is None else self.stopping.least

    def check(self, process: Process) -> None:
        """UsageError where the sampler does not serve the process, or its samples cannot part where they are to."""
        self.sampler.check(process)
        if self.branch_at is None:
            return
        if isinstance(process, Direct):
            raise UsageError("a direct network has no way to share: leave branch_at out")
        if not process.t_min < self.branch_at < process.t_max:
            raise UsageError(
                f"branch_at must lie between the times {process.t_min:g} and {process.t_max:g}, got {self.branch_at:g}"
            )
        if not parts(self.sampler, process, self.branch_at):
            raise UsageError(
                f"sampler {self.sampler.name} draws no noise from t = {self.branch_at:g} on, so samples that are one until "
                "then stay one: raise branch_at, take more steps or a sampler that draws noise in its steps"
            )
