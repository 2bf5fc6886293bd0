"""A Markdown table from one evaluation.json of `mrct eval`: every run, single and averaged, group by group."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

COLUMNS = {
    "mae_hu": ("MAE, HU", 1),
    "mae_bone_hu": ("MAE bone, HU", 0),
    "psnr_2023": ("PSNR 2023, dB", 2),
    "ssim_2023": ("SSIM 2023", 3),
    "ms_ssim_2025": ("MS-SSIM 2025", 3),
    "paper_ssim": ("SSIM, paper", 4),
    "paper_psnr": ("PSNR, paper, dB", 2),
}


def table(evaluation: Mapping[str, Any], group: str) -> Iterator[str]:
    """The lines of one group's table."""
    titles = [title for title, _ in COLUMNS.values()]
    head = ["", *titles, "mean deviation, HU", "evaluations", "seconds a slice"]
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for run in evaluation["runs"]:
        found = run["overall"][group]
        kinds = [("single", run["label"])]
        if run["mc"] > 1:
            kinds.append(("mean", run["label"] + "-M"))
        for kind, label in kinds:
            yield _row(label, run, found, kind)


def _row(label: str, run: Mapping[str, Any], found: Mapping[str, Any], kind: str) -> str:
    scores = [_interval(found[kind].get(name), digits) for name, (_, digits) in COLUMNS.items()]
    averaged = kind == "mean" or run["mc"] == 1
    std = _interval(found["mean_std_hu"], 1) if averaged else ""
    count = run["evaluations_a_sample"] * (run["mc"] if averaged else 1)
    seconds = f"{run['seconds_a_slice']:.2f}" if averaged else ""
    return "| " + " | ".join([label, *scores, std, f"{count:.0f}", seconds]) + " |"


def _interval(found: Mapping[str, float | None] | None, digits: int) -> str:
    if found is None:
        return ""
    value, low, high = (found[name] for name in ("value", "low", "high"))
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("evaluation", type=Path)
    evaluation = json.loads(made.parse_args().evaluation.read_text("utf-8"))
    for group in evaluation["runs"][0]["overall"]:
        count = evaluation["runs"][0]["overall"][group]["subjects"]
        print(f"\n{group}: {count} subjects\n")
        print("\n".join(table(evaluation, group)))


if __name__ == "__main__":
    main()
