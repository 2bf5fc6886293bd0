"""The subjects on which a bundle's settings may be fitted: never those of a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from mrct_cli.paths import PATH
from mrct_runtime.errors import UsageError

if TYPE_CHECKING:
    from mrct_runtime.evaluation.cases import Selection


Command: TypeAlias = Callable[..., Any]

_FLAGS = (
    click.option(
        "--mc", type=int, default=10, show_default=True, help="Monte Carlo samples a slice."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the samples."),
    click.option("--subjects", default="*", show_default=True, help="Pattern of subjects' names."),
    click.option(
        "--split",
        type=PATH,
        metavar="FILE",
        help="split.json of a training run on DATA: its validation subjects are taken.",
    ),
    click.option("--slices", type=int, help="Evenly spaced slices of a volume. [all]"),
)


def validation_flags(command: Command) -> Command:
    """The command with --mc, --seed, and the flags from which `validation_subjects` chooses."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def validation_subjects(
    data: Path, pattern: str, slices: int | None, split: Path | None
) -> Selection:
    """DATA's own subjects, or the validation part of a split of it; UsageError where test subjects would be among them."""
    from mrct_runtime.evaluation.cases import Selection

    folder = data.resolve()
    if folder.name == "test" and (folder.parent / "train").is_dir():
        raise UsageError(
            f"{data} holds the test subjects of a data set, which must stay unseen; "
            "give as DATA a folder of validation subjects, or the whole data set with --split"
        )
    if split is not None:
        return Selection(pattern=pattern, slices=slices, split=split, part="validation")
    if (data / "test").is_dir():
        raise UsageError(
            f"{data} has a folder of test subjects, which must stay unseen; give --split, "
            "or as DATA a folder of validation subjects"
        )
    return Selection(pattern=pattern, slices=slices)
