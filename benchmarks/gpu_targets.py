"""Whether a measurement of `mrct bench` on a GPU meets the targets: 512 x 512 pixels, ten images a batch, half precision.

Every target is met, missed, or not measured; nothing is taken for granted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mrct_train.baselines import EAGER_FP16, EAGER_FP32

BATCH = 10


class Target(NamedTuple):
    """A figure, and the bound that it should meet: at least, or at most."""

    what: str
    figure: float | None
    bound: float
    at_least: bool = True

    @property
    def verdict(self) -> str:
        """Met, missed, or not measured."""
        if self.figure is None:
            return "not measured"
        met = self.figure >= self.bound if self.at_least else self.figure <= self.bound
        return "met" if met else "missed"


def targets(document: dict[str, Any]) -> Iterator[Target]:
    """Those of the fastest engine in half precision."""
    engine = _fastest(document)
    ratios = engine["times_as_fast_as"] if engine else {}
    name = engine["candidate"] if engine else "an engine in fp16"
    yield Target(f"{name}, times as fast as {EAGER_FP32}, TF32 off", ratios.get(EAGER_FP32), 3.0)
    yield Target(f"{name}, times as fast as {EAGER_FP16}", ratios.get(EAGER_FP16), 1.7)
    roofline = engine["share_of_roofline"] if engine else None
    yield Target(f"{name}, share of the layer-wise roofline", roofline, 0.6)
    rows = [row for row in document["slices"] if row["candidate"] == name]
    outside = rows[0]["outside"] if rows else None
    copies = float(rows[0]["copies_to_host"]) if rows else None
    yield Target(f"{name}, share of a slice outside the network", outside, 0.02, at_least=False)
    yield Target(f"{name}, arrays copied to the host a slice", copies, 2.0, at_least=False)


def _fastest(document: dict[str, Any]) -> dict[str, Any] | None:
    rows = [
        row
        for row in document["evaluations"]
        if row["kind"] == "engine" and row["precision"] == "fp16" and row["batch"] == BATCH
    ]
    return min(rows, key=lambda row: row["p50_ms"], default=None)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("measurement", type=Path, help="the JSON of mrct bench")
    made.add_argument("--json", type=Path)
    arguments = made.parse_args()
    found = list(targets(json.loads(arguments.measurement.read_text("utf-8"))))
    for target in found:
        figure = "-" if target.figure is None else f"{target.figure:.3g}"
        sign = ">=" if target.at_least else "<="
        print(f"{target.verdict}: {target.what}: {figure} ({sign} {target.bound:g})")
    if arguments.json:
        document = [{**target._asdict(), "verdict": target.verdict} for target in found]
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
