"""The command `mrct` and its short forms; a subcommand's module is imported when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple

import click

import mrct_runtime
from mrct_cli import boundary


class Entry(NamedTuple):
    target: str  # module:attribute
    summary: str


DEBUG = click.Option(
    [boundary.DEBUG_FLAG], is_flag=True, expose_value=False, help="Show where an error comes from."
)
COMMANDS = {
    "infer": Entry("mrct_cli.infer:infer", "Translate an MR study to a synthetic CT."),
    "serve": Entry("mrct_cli.serve:serve", "Answer MR studies from a DICOM network."),
    "train": Entry("mrct_cli.train:train", "Train a network on paired MR and CT."),
    "export": Entry("mrct_cli.export:export", "Turn a training run into a bundle."),
    "eval": Entry("mrct_cli.evaluate:evaluate", "Compare synthetic CT with the true one."),
    "calibrate": Entry("mrct_cli.calibrate:calibrate", "Fit the deviation to the true errors."),
    "tune": Entry("mrct_cli.tune:tune", "Find the fewest evaluations that suffice."),
    "check": Entry(
        "mrct_cli.check:check", "Tell what is in a study or a data set, and what is wrong."
    ),
    "verify": Entry("mrct_cli.verify:verify", "Compare a result with its run.json."),
    "merge": Entry("mrct_cli.merge:merge", "Tell what became of many studies."),
    "doctor": Entry("mrct_cli.doctor:doctor", "Tell what this machine can run."),
    "bench": Entry("mrct_cli.bench:bench", "Measure how fast a bundle's network runs."),
    "phantom": Entry("mrct_cli.phantom:phantom", "Write a data set of generated pelves."),
}


def load(name: str) -> click.Command:
    """The subcommand of that name, its module imported now."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    if DEBUG not in command.params:
        command.params.append(DEBUG)
    return command


class LazyGroup(click.Group):
    """A group that knows its subcommands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click would import every module to ask it for its first line
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mrct_runtime.__version__, message="mrct %(version)s")
def mrct() -> None:
    """Synthetic CT from MR by diffusion and score matching.

    For research use only: never a basis for diagnosis or treatment.
    """


def main() -> None:
    """The console script mrct."""
    sys.exit(boundary.run(mrct, "mrct"))


def main_infer() -> None:
    """The console script mrct-infer."""
    _short_form("infer")


def main_train() -> None:
    """The console script mrct-train."""
    _short_form("train")


def main_export() -> None:
    """The console script mrct-export."""
    _short_form("export")


def _short_form(name: str) -> Any:
    sys.exit(boundary.run(load(name), f"mrct-{name}"))
