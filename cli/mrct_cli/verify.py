"""mrct verify: are the files of a result as they were written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mrct_cli.json_file import write_json
from mrct_cli.paths import PATH
from mrct_cli.verdict import passed, stdout_for_programs
from mrct_runtime.errors import InputRejectedError


@click.command()
@click.argument("out", type=PATH, metavar="OUT")
@click.option(
    "--json",
    "json_file",
    type=PATH,
    metavar="FILE",
    help="Write what was found as JSON; - prints it.",
)
def verify(out: Path, json_file: Path | None) -> str:
    """Hash the files of the result OUT again and compare them with its run.json.

    Ends with 0 where all are as they were written, 4 where one is missing, changed or added, 3 where OUT is no result.
    """
    from mrct_runtime.verification import verify as examined

    stdout_for_programs(wanted=str(json_file) == "-")
    found = examined(out)
    if json_file is not None:
        write_json({"intact": found.intact, **asdict(found)}, json_file)
    for word in ("missing", "changed", "added"):
        for name in getattr(found, word):
            click.echo(f"{word:8} {name}", err=True)
    if not found.intact:
        wrong = len(found.missing) + len(found.changed) + len(found.added)
        files = "1 file is" if wrong == 1 else f"{wrong} files are"
        raise InputRejectedError(f"{files} not as the run wrote them; make the result again")
    return passed(f"{len(found.written)} files are as they were written")
