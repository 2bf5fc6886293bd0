"""mrct merge: what has become of all studies of mrct-infer --all, whatever shard had them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mrct_cli.json_file import write_json
from mrct_cli.paths import PATH
from mrct_cli.telling import to_stderr
from mrct_cli.verdict import ending, stdout_for_programs
from mrct_runtime.errors import StudiesFailedError

if TYPE_CHECKING:
    from mrct_runtime.many.merging import Merged
    from mrct_runtime.many.outcome import Outcome


@click.command()
@click.argument("outs", type=PATH, metavar="OUT")
@click.option(
    "--studies",
    type=PATH,
    metavar="STUDIES",
    help="The folder of studies: shows the names that belong to the ids, and studies that no shard has seen.",
)
@click.option(
    "--json",
    "json_file",
    type=PATH,
    metavar="FILE",
    help="Write the table as JSON, without names; - prints it.",
)
def merge(outs: Path, studies: Path | None, json_file: Path | None) -> None:
    """List the studies of mrct-infer --all in OUT: which are finished, which failed and why, which are missing.

    Ends with 0 where all are finished, 8 where one is not, 4 where shards had different bundles or settings, 3 where
    there was no such run.
    """
    from mrct_runtime.many.merging import merge as merged

    stdout_for_programs(wanted=str(json_file) == "-")
    found = merged(outs, studies)
    ending().so_far = lambda: str(found)
    for warning in found.warnings:
        to_stderr(f"mrct: warning: {warning}")
    if json_file is not None:
        write_json(_document(found), json_file)
    if str(json_file) != "-":
        for study in found.outcomes:
            click.echo(_line(found, study))
        if found.absent:
            listed = ", ".join(map(str, found.absent))
            click.echo(f"not begun: shard {listed} of {found.count}")
    _, failed, missing = found.counts
    if failed or missing:
        raise StudiesFailedError(
            f"{failed + missing} of {len(found.outcomes)} studies have no result; run mrct-infer --all again"
        )


def _line(found: Merged, study: str) -> str:
    outcome, name = found.outcomes[study], found.names.get(study)
    words = [study, f"{_state(outcome):8}"]
    words += [] if name is None else [name]
    if outcome is not None and not outcome.finished:
        words.append(f"{outcome.code}: {outcome.reason}")
    return " ".join(words).rstrip()


def _state(outcome: Outcome | None) -> str:
    if outcome is None:
        return "missing"
    return "finished" if outcome.finished else "failed"


def _document(found: Merged) -> dict[str, Any]:
    finished, failed, missing = found.counts
    return {
        "verdict": found.verdict,
        "finished": finished,
        "failed": failed,
        "missing": missing,
        "shards": {"count": found.count, "not_begun": list(found.absent)},
        "choice": found.choice,
        "warnings": list(found.warnings),
        "studies": [
            {"id": study, "state": _state(outcome)}
            | ({} if outcome is None else outcome.model_dump(mode="json", exclude={"id"}))
            for study, outcome in found.outcomes.items()
        ],
    }
