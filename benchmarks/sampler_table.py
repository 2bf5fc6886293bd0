"""The tables of benchmarks/samplers/README.md from tuning.json files: quality against evaluations, held against the long run.

`own` is the deviation over that of the sampler's own long run, `EM` over that of the family's published sampler
(Euler-Maruyama, or DDPM's ancestral chain) at its longest; the MAE of both is compared with the latter's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PUBLISHED = ("em", "ddpm")
HEAD = "| sampler | evaluations | s a slice | MAE, HU | against {0} | SSIM, paper | deviation, HU | against own | against {0} |"


def rows(tuning: Mapping[str, Any]) -> Iterator[str]:
    """The table of one tuning."""
    curves = {each["sampler"]: each for each in tuning["curves"]}
    name = next(each for each in PUBLISHED if each in curves)
    published = curves[name]["reference"]
    yield HEAD.format(f"{name} {published['evaluations']:g}")
    yield "|---" * (HEAD.count("|") - 1) + "|"
    for sampler, each in curves.items():
        chosen = each["chosen"]
        for place, point in enumerate([*each["points"], each["reference"]]):
            mark = "**" if place == chosen else ""
            yield (
                "| "
                + " | ".join(
                    (
                        f"{mark}{sampler}{mark}",
                        f"{point['evaluations']:.4g}",
                        f"{point['seconds_a_slice']:.2f}",
                        f"{point['mae_hu']:.2f}",
                        f"{point['mae_hu'] / published['mae_hu'] - 1:+.1%}",
                        f"{point['ssim']:.4f}",
                        f"{point['mean_std_hu']:.2f}",
                        f"{point['mean_std_hu'] / each['reference']['mean_std_hu']:.3f}",
                        f"{point['mean_std_hu'] / published['mean_std_hu']:.3f}",
                    )
                )
                + " |"
            )


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("files", nargs="+", type=Path, metavar="tuning.json")
    for file in made.parse_args().files:
        tuning = json.loads(file.read_text("utf-8"))
        conditions = tuning["conditions"]
        print(
            f"\n{tuning['bundle']}: {tuning['data']['slices']} slices, {conditions['mc']} samples each\n"
        )
        print("\n".join(rows(tuning)))


if __name__ == "__main__":
    main()
