"""The flags of mrct-infer that are about many studies."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from mrct_runtime.errors import UsageError
from mrct_runtime.many.shard import Shard

_Command = TypeVar("_Command", bound=Callable[..., Any])

# An address of Ray's own: a cluster of this machine for this command.
_LOCAL: Final = "local"
_FLAGS = (
    click.option(
        "--all",
        "all_studies",
        is_flag=True,
        help="STUDY is a folder of studies: translate each into a folder of its name in OUT.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Of all, only the I-th of N equal parts. [this task's in a Slurm or Grid Engine array]",
    ),
    click.option(
        "--retry", is_flag=True, help="Of all, also try those again that failed for good before."
    ),
    click.option(
        "--ray",
        metavar="ADDRESS",
        is_flag=False,
        flag_value=_LOCAL,
        help="Of all, several at a time, by workers of the Ray cluster at this address; of this machine without one.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), help="Those of Ray. [one a GPU, or one a machine]"
    ),
)
# Flags that say how the work was shared out, and nothing about a result.
SHARING: Final = ("all_studies", "shard", "retry", "ray", "workers")


@dataclass(frozen=True)
class Many:
    """What these flags say."""

    shard: Shard
    retry: bool
    ray: str | None
    workers: int | None


def many_flags(command: _Command) -> _Command:
    """The command with these flags; `many` has what they say."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def many(context: click.Context) -> Many | None:
    """What is asked of many studies, None where there is one; UsageError for what makes no sense."""
    given = context.params
    if not given["all_studies"]:
        for name in SHARING:
            if given[name]:
                raise UsageError(f"--{name} is for many studies: add --all")
        return None
    if given["workers"] and given["ray"] is None:
        raise UsageError("--workers are Ray's: add --ray")
    text = given["shard"]
    shard = Shard.of_task(os.environ) if text is None else Shard.parse(text)
    return Many(shard, given["retry"], given["ray"], given["workers"])
