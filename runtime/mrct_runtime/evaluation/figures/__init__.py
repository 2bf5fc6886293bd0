"""The figures of an evaluation, the paper's four and the reliability of the deviation, as PNG."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mrct_runtime.evaluation.figures import bars, monte_carlo, reliability, reverse_process, zoom
from mrct_runtime.evaluation.figures.cases import by_slice
from mrct_runtime.evaluation.results import EVERYONE, Evaluation, Figure, Pictures

__all__ = ["write_figures"]


def write_figures(
    evaluation: Evaluation, pictures: Iterable[Pictures], folder: Path
) -> tuple[Figure, ...]:
    """Writes every figure that the evaluation has values for into the folder and returns them in their order.

    The first slice among the pictures is that of Figures 1 and 2; Figure 4 has a file for every slice.
    """
    cases = by_slice(pictures)
    folder.mkdir(parents=True, exist_ok=True)
    figures = []
    for number, drawing in ((1, reverse_process), (2, monte_carlo)):
        for case in cases[:1]:
            caption = drawing.draw(case, folder / drawing.FILE)
            if caption is not None:
                figures.append(Figure(drawing.FILE, f"Figure {number}. {drawing.TITLE}", caption))
    figures += _bars(evaluation, folder)
    for index, case in enumerate(cases):
        name = zoom.file_of(index)
        title = f"Figure 4{'abcdefghijklmnopqrstuvwxyz'[index % 26]}. {zoom.TITLE}"
        figures.append(Figure(name, title, zoom.draw(case, folder / name)))
    caption = reliability.draw(evaluation, folder / reliability.FILE)
    if caption is not None:
        figures.append(Figure(reliability.FILE, f"Figure 5. {reliability.TITLE}", caption))
    return tuple(figures)


def _bars(evaluation: Evaluation, folder: Path) -> list[Figure]:
    """Figure 3 for everyone and, where groups are told apart, for each."""
    groups = list(dict.fromkeys(group for run in evaluation.runs for group in run.overall))
    figures = []
    for place, group in enumerate(groups):
        name = bars.file_of(place, group)
        which = "all subjects" if group == EVERYONE else f"group {group}"
        caption = bars.draw(evaluation, group, folder / name)
        figures.append(Figure(name, f"Figure 3. Scores, uncertainty and cost: {which}", caption))
    return figures
