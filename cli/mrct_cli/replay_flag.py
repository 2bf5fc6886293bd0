"""The flag that makes a run again, and what may stand beside it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mrct_cli.paths import PATH
from mrct_runtime.errors import UsageError

if TYPE_CHECKING:
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.replaying import Replay
    from mrct_runtime.settings import Settings

# What says where to read and write, and with which networks, but not how.
_BESIDE = frozenset(
    {
        *(
            "study",
            "out",
            "bundle_path",
            "bundle_sha256",
            "series",
            "warm_start",
            "warm_sigma",
            "reference",
        ),
        *("replay_path", "dry_run", "overwrite", "quiet"),
    }
)

replay_flag = click.option(
    "--replay",
    "replay_path",
    type=PATH,
    metavar="RUN.JSON",
    help="Run again as a run.json says, and end with 9 where a voxel differs; its settings leave no room for other flags.",
)


def replayed(context: click.Context, replay: Replay, bundle: Bundle, given: Settings) -> Settings:
    """The settings of the run; UsageError where a flag would change them, BundleError of another network."""
    from mrct_runtime.outputs import Outputs

    beside = _BESIDE | {field.name for field in fields(Outputs)}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is ParameterSource.COMMANDLINE and parameter.name not in beside:
            raise UsageError(f"--replay has the settings of its run: leave {parameter.opts[0]} out")
    replay.check_bundle(bundle)
    return replay.settings(given.warm_start)
