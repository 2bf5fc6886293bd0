"""The scores of every subject as one CSV table, for a spreadsheet or a statistics program."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

from mrct_runtime.evaluation.results import METRICS, Evaluation, Run, Scores, SubjectScores

SUBJECTS: Final = "subjects.csv"
_DEVIATIONS = ("mean_std_hu", "paper_std")
_COLUMNS = (
    *("run", "result", "bundle", "sampler", "samples", "subject", "group", "slices", "dimensions"),
    *(*METRICS, *_DEVIATIONS, "seconds_a_slice"),
)


def subjects_table(evaluation: Evaluation) -> str:
    """A line for every run, subject and kind of result; empty cells for what does not exist.

    `result` is "single", the average over single samples, or "mean", their averaged image, where there are several.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for run in evaluation.runs:
        for scores in run.subjects:
            table.writerows(_rows(run, scores))
    return text.getvalue()


def _rows(run: Run, subject: SubjectScores) -> Iterator[dict[str, object]]:
    results: list[tuple[str, Scores]] = [("single", subject.single)]
    if run.mc > 1:
        results.append(("mean", subject.mean))
    for result, scores in results:
        yield {
            "run": run.label if result == "single" else run.label_of_mean,
            "result": result,
            "bundle": run.bundle,
            "sampler": run.sampler,
            "samples": run.mc,
            "subject": subject.subject,
            "group": subject.group,
            "slices": subject.slices,
            "dimensions": subject.dimensions,
            **scores,
            **{name: getattr(subject, name) for name in _DEVIATIONS},
            "seconds_a_slice": subject.seconds_a_slice,
        }
