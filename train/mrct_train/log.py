"""The log of a run: one line of CSV an epoch."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path


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


@dataclass(frozen=True)
class Log:
    """The file at `path`, made by the first row."""

    path: Path

    def append(self, row: Row) -> None:
        """Add a row."""
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            if new:
                writer.writeheader()
            writer.writerow(asdict(row))

    def cut(self, step: int) -> None:
        """Drop the rows past `step`, which a resumed run will write again."""
        if not self.path.exists():
            return
        head, *rows = self.path.read_text("utf-8").splitlines()
        kept = [row for row in rows if int(row.split(",")[1]) <= step]
        self.path.write_text("\n".join([head, *kept]) + "\n", "utf-8")
