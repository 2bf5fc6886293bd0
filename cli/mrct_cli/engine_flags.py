"""The flags of every command that evaluates a network: where, by what, how exactly, with how many threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, get_args

import click

from mrct_runtime.engines import ENGINES
from mrct_runtime.engines.target import Precision, Target

Command: TypeAlias = Callable[..., Any]
_Command = TypeVar("_Command", bound=Command)

_FLAGS = (
    click.option(
        "--device",
        default=Target.device,
        show_default=True,
        help="cpu, cuda or cuda:N; auto takes a GPU where one can be used.",
    ),
    click.option(
        "--backend",
        type=click.Choice(list(ENGINES)),
        help="What evaluates the network. [the fastest that loads]",
    ),
    click.option(
        "--precision",
        type=click.Choice(get_args(Precision)),
        help="[fp16 on a GPU where the bundle has it, else fp32]",
    ),
    click.option(
        "--threads", type=int, help="Threads of a CPU's network. [the cores of this process]"
    ),
    click.option(
        "--fuse/--no-fuse",
        default=Target.fuse,
        show_default=True,
        help="Rewrite the graph for the GPU's fused operators, where the backend has them.",
    ),
)


def engine_flags(command: _Command) -> _Command:
    """The command with these flags; `target` has what they say."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def target(context: click.Context) -> Target:
    """Where the network is to run; UsageError for what makes no sense."""
    options = context.params
    return Target(
        options["device"],
        options["backend"],
        options["precision"],
        options["threads"],
        fuse=options["fuse"],
    )
