"""A JSON document to a file, or to the standard output where the file is called -."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mrct_runtime.atomic import write_atomically
from mrct_runtime.errors import OutputError


def write_json(document: Any, file: Path) -> None:
    """Writes the document; OutputError where that cannot be."""
    text = json.dumps(document, indent=1) + "\n"
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    try:
        write_atomically(file, text)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror}") from error
