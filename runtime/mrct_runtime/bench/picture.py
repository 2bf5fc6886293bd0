"""The measurement as a picture: milliseconds an image over the batch, and arithmetic beside the machine's peaks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrct_runtime.atomic import write_atomically
from mrct_runtime.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_A_DECADE = 10
_STYLES = {"engine": "-", "pytorch": "--"}


def draw(document: dict[str, Any], file: Path) -> None:
    """Writes the PNG; OutputError where that cannot be."""
    # not pyplot, which would look for a screen
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    colours = _colours(document)
    _latencies(left, document, colours)
    _arithmetic(right, document, colours)
    bundle, machine = document["bundle"], document["machine"]
    where = ", ".join(gpu["name"] for gpu in document["gpus"]) or machine["processor"]
    devices = {row["device"] for row in document["evaluations"]}
    if devices == {"cpu"}:
        where = f"{machine['processor']}, {machine['cores']} cores"
    figure.suptitle(f"{bundle['name']}, {bundle['size']} x {bundle['size']} pixels, on {where}")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    try:
        write_atomically(file, picture.getvalue())
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror}") from error


def _colours(document: dict[str, Any]) -> dict[str, str]:
    names = dict.fromkeys(row["candidate"] for row in document["evaluations"])
    return {name: f"C{number % 10}" for number, name in enumerate(names)}


def _latencies(axes: Axes, document: dict[str, Any], colours: dict[str, str]) -> None:
    for name, colour in colours.items():
        rows = [row for row in document["evaluations"] if row["candidate"] == name]
        axes.plot(
            [row["batch"] for row in rows],
            [row["p50_ms"] / row["batch"] for row in rows],
            _STYLES[rows[0]["kind"]],
            marker="o",
            color=colour,
            label=name,
        )
    batches = sorted({row["batch"] for row in document["evaluations"]})
    axes.set_xscale("log", base=2)
    times = [row["p50_ms"] / row["batch"] for row in document["evaluations"]]
    if times and max(times) > _A_DECADE * min(times):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0, top=1.1 * max(times, default=1))
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xlabel("images a batch")
    axes.set_ylabel("ms an image and evaluation (median)")
    axes.grid(visible=True, which="both", alpha=0.3)
    if colours:
        axes.legend(fontsize="small")


def _arithmetic(axes: Axes, document: dict[str, Any], colours: dict[str, str]) -> None:
    """A bar for each candidate at its largest batch, and a line for each peak."""
    rows = {row["candidate"]: row for row in document["evaluations"] if row["gflop_s"]}
    for place, (name, row) in enumerate(rows.items()):
        axes.barh(place, row["gflop_s"], color=colours[name])
        share = row["share_of_peak"]
        told = f" {row['gflop_s']:.3g}" + (
            "" if share is None else f" ({share:.0%} of the product)"
        )
        axes.text(0, place, told, va="center", fontsize="small")
    for number, peak in enumerate(each for each in document["peaks"] if "gflop_s" in each):
        axes.axvline(peak["gflop_s"], color="black", linestyle=("-", "--", ":", "-.")[number % 4])
        axes.plot([], [], ("-", "--", ":", "-.")[number % 4], color="black", label=peak["name"])
    labels = [f"{name}\nbatch {row['batch']}" for name, row in rows.items()]
    axes.set_yticks(range(len(rows)), labels, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("GFLOP/s")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    if not rows:
        axes.set_title(document["bundle"]["no_gflop"] or "", fontsize="small")
