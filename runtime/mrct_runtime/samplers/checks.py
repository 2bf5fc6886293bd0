"""What sampler options have in common: the errors for values that make no sense."""

from __future__ import annotations

from typing import Any, get_args

from mrct_runtime.errors import UsageError


def check_positive_integer(name: str, value: object) -> None:
    """UsageError unless the value is an int above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")


def check_positive(name: str, value: float) -> None:
    """UsageError unless the value is above 0."""
    if not value > 0:
        raise UsageError(f"{name} must be above 0, got {value!r}")


def check_choice(name: str, value: object, choices: Any) -> None:
    """UsageError unless the value is one of a Literal's."""
    allowed = get_args(choices)
    if value not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
