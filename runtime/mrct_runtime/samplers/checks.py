"""What sampler options have in common: the errors for values that make no sense."""

from __future__ import annotations

import sys
from typing import Any, Final, get_args

from mrct_runtime.errors import UsageError
from mrct_runtime.process import Process

MOST: Final = 1_000_000
"""The largest count that makes sense: the longest published sampler has eleven thousand evaluations."""


def check_positive_integer(name: str, value: object) -> None:
    """UsageError unless the value is an int from 1 to a million."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")
    if value > MOST:
        raise UsageError(f"{name} must be at most {MOST}, got a larger number")


def check_positive(name: str, value: object) -> None:
    """UsageError unless the value is a finite number above 0."""
    if not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise UsageError(f"{name} must be finite and above 0, got {value!r}")


def check_flag(name: str, value: object) -> None:
    """UsageError unless the value is a bool: "no" would count as true."""
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be true or false, got {value!r}")


def check_family(sampler: Any, process: Process) -> None:
    """UsageError unless the sampler, or every sampler of the class, serves the process."""
    if not isinstance(process, sampler.families):
        raise UsageError(
            f"sampler {sampler.name} needs a {family_names(sampler)} model, this one is a "
            f"{type(process).__name__} model: choose another --sampler or another bundle"
        )


def family_names(sampler: Any) -> str:
    """The processes that the sampler serves, in words."""
    return " or ".join(family.__name__ for family in sampler.families)


def check_trained_at(t: float, process: Process) -> None:
    """UsageError where the network would be evaluated below the times that it was trained at."""
    if t < process.t_min:
        raise UsageError(
            f"sampling down to t = {t:g} needs a model trained there, this one was from {process.t_min:g}: "
            "take fewer steps or a larger eps"
        )


def check_choice(name: str, value: object, choices: Any) -> None:
    """UsageError unless the value is one of a Literal's."""
    allowed = get_args(choices)
    if value not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
