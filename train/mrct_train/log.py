"""The log of a run: one row an epoch in log.csv and log.jsonl, and in TensorBoard where it is installed.

log.jsonl is the record, and log.csv the same as a table: a column that appears late is empty in the rows before it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mrct_runtime.atomic import write_atomically
from mrct_runtime.errors import OutputError
from mrct_runtime.output_folder import not_writable
from mrct_runtime.structured_text import from_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CSV: Final = "log.csv"
JSONL: Final = "log.jsonl"
TENSORBOARD: Final = "tensorboard"


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is, for a display."""

    step: int
    total: int
    epoch: int
    """The epoch that is running, from 1."""
    loss: float
    samples_per_second: float
    seconds_left: float

    @property
    def fraction(self) -> float:
        """The part of the steps that is done."""
        return self.step / self.total


@dataclass(frozen=True)
class Row:
    """An epoch: mean training loss, loss of the validation subjects, and time."""

    epoch: int
    step: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float
    samples_per_second: float
    terms: Mapping[str, float] = field(default_factory=dict)
    """Means of the parts of the loss, such as mse and gradient_penalty."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of translated validation slices, in the epochs that have a sample picture."""

    def flat(self) -> dict[str, float | None]:
        """The row with a key a column, term_* and metric_* the last; a value that is not finite is None."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        terms, metrics = plain.pop("terms"), plain.pop("metrics")
        plain |= {f"term_{name}": value for name, value in terms.items()}
        plain |= {f"metric_{name}": value for name, value in metrics.items()}
        return {
            name: None if value is None or not math.isfinite(value) else value
            for name, value in plain.items()
        }


class Log:
    """The log in the folder of a run, which the first row makes; both files are replaced whole, never cut short."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._board: SummaryWriter | None = None

    def append(self, row: Row) -> None:
        """Add a row."""
        rows = self.rows()
        self._write([*rows, row.flat()])
        self._board = self._board or _tensorboard(
            self._run / TENSORBOARD, after=int(rows[-1]["step"]) if rows else -1
        )
        if self._board is not None:
            _show(self._board, row)

    def close(self) -> None:
        """End TensorBoard's thread; another row would begin it again."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def cut(self, step: int) -> None:
        """Drop the rows past `step`, which a resumed run will write again."""
        if (self._run / JSONL).exists():
            self._write([row for row in self.rows() if row["step"] <= step])

    def rows(self) -> list[dict[str, Any]]:
        """The rows so far, flat; a last line that a killed process left unfinished is none."""
        path = self._run / JSONL
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n"):
            del lines[-1]
        return [_row(line, f"{JSONL}, line {number}") for number, line in enumerate(lines, 1)]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        table = io.StringIO(newline="")
        columns = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(table, columns or Row.__dataclass_fields__, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _replace(self._run / JSONL, "".join(json.dumps(row) + "\n" for row in rows))
        _replace(self._run / CSV, table.getvalue())


def _row(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = from_json(line)
        if isinstance(row, dict) and isinstance(row["step"], int):
            return row
    except (ValueError, KeyError):
        pass
    raise OutputError(f"{place} is no row of this log; remove the line, or train in another folder")


def _replace(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise not_writable(path, error) from error


def _tensorboard(folder: Path, *, after: int) -> SummaryWriter | None:
    """A writer that hides what an interrupted run wrote past a step; None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=after + 1)


def _show(board: SummaryWriter, row: Row) -> None:
    for name, value in _scalars(row):
        if value is not None:
            board.add_scalar(name, value, row.step)
    board.flush()


def _scalars(row: Row) -> Iterable[tuple[str, float | None]]:
    yield "loss/training", row.loss
    yield "loss/validation", row.validation_loss
    yield "run/learning_rate", row.learning_rate
    yield "run/samples_per_second", row.samples_per_second
    yield from ((f"term/{name}", value) for name, value in row.terms.items())
    yield from ((f"metric/{name}", value) for name, value in row.metrics.items())
