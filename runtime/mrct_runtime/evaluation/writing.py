"""The files of an evaluation: evaluation.json, the table of subjects, figures, and a report that holds them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from mrct_runtime.evaluation.results import Evaluation, Pictures
from mrct_runtime.evaluation.table import SUBJECTS, subjects_table
from mrct_runtime.output_folder import OutputFolder, not_writable

EVALUATION: Final = "evaluation.json"


def claim(out: Path, *, overwrite: bool = False) -> OutputFolder:
    """The folder for an evaluation; only an earlier evaluation is ever overwritten."""
    return OutputFolder.claim(out, replaces=EVALUATION if overwrite else None, resumable=True)


def write_evaluation(
    evaluation: Evaluation, pictures: Sequence[Pictures], folder: OutputFolder
) -> Evaluation:
    """Every file into a claimed folder; the evaluation comes back with its figures listed."""
    # matplotlib and jinja2 take a second to import
    from mrct_runtime.evaluation.figures import write_figures
    from mrct_runtime.evaluation.html import write_html

    try:
        figures = write_figures(evaluation, pictures, folder.partial)
        complete = replace(evaluation, figures=figures)
        (folder.partial / SUBJECTS).write_text(subjects_table(complete), "utf-8")
        (folder.partial / EVALUATION).write_text(complete.to_json(), "utf-8")
        write_html(complete, folder.partial)
    except OSError as error:
        raise not_writable(folder.target, error) from error
    return complete
