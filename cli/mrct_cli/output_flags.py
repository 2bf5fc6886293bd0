"""The flags that say what is written, one for each field of `Outputs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

if TYPE_CHECKING:
    from mrct_runtime.outputs import Outputs

Command: TypeAlias = Callable[..., Any]
_Command = TypeVar("_Command", bound=Command)

_FLAGS = (
    click.option(
        "--maps",
        is_flag=True,
        help="Write the deviation as a Secondary Capture series too (std/), for viewers that read no Parametric Map.",
    ),
    click.option(
        "--contour",
        type=click.Choice(["rtstruct", "seg"]),
        help="Write the body's contour: an RT Structure Set or a Segmentation.",
    ),
    click.option(
        "--page", is_flag=True, help="Write the pictures as Secondary Capture pages too (page/)."
    ),
    click.option(
        "--spacing",
        type=float,
        metavar="MM",
        help="Resample mean and deviation to square pixels of this side, on the MR's own slices. [the MR's pixels]",
    ),
    click.option(
        "--deidentify",
        is_flag=True,
        help="Write no name, date or UID of the patient and the study (PS3.15 basic profile). Pixels stay: a face is a face.",
    ),
    click.option(
        "--kvp",
        type=float,
        metavar="KV",
        help="Claim this tube voltage in the CT series, for planning systems that ask for one. [empty]",
    ),
)


def output_flags(command: _Command) -> _Command:
    """The command with these flags; `outputs` has what they say."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def outputs(context: click.Context) -> Outputs:
    """What is to be written; UsageError for what makes no sense."""
    # DICOM and array libraries take a second to import, which --help has not
    from mrct_runtime.outputs import Outputs

    return Outputs(**{field.name: context.params[field.name] for field in fields(Outputs)})
