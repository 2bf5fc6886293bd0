"""The figures of mrct bench as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MIB = 1 << 20
_WIDE = 180
_COLUMNS = (
    *("", "batch", "p50 ms", "p95", "p99", "images/s", "GFLOP/s"),
    *("of product", "of 3x3 conv", "of roofline"),
)


def print_tables(document: dict[str, Any]) -> None:
    """Evaluations, slices, peaks, and what could not be measured."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    console.print(_headline(document), markup=False)
    rows = Table(*_COLUMNS)
    rivals = _rivals(document)
    for name in rivals:
        rows.add_column(f"x {name.removeprefix('PyTorch ')}")
    for row in document["evaluations"]:
        rows.add_row(*_cells(row, rivals))
    console.print(rows)
    if document["slices"]:
        slices = Table("slices", "s", "slices/s", "outside the network", "host MiB", "GPU MiB")
        for row in document["slices"]:
            slices.add_row(*_slice_cells(row))
        console.print(slices)
    for line in _notes(document):
        console.print(line, markup=False)


def _headline(document: dict[str, Any]) -> str:
    bundle, plan = document["bundle"], document["slice_plan"]
    gflop = bundle["gflop_an_image"]
    work = "" if gflop is None else f", {gflop:.4g} GFLOP an image"
    told = f"{bundle['name']}: {bundle['parameters'] / 1e6:.2f} M parameters, {bundle['size']} x {bundle['size']}{work}"
    if not plan["rounds"]:
        return told
    steps = plan["options"].get("steps", 1)
    return f"{told}; slices by {plan['sampler']}, {steps} steps, {plan['mc']} samples"


def _rivals(document: dict[str, Any]) -> list[str]:
    """The eager baselines, against which every row gets a column of ratios."""
    names = (row["candidate"] for row in document["evaluations"] if row["kind"] == "pytorch")
    return [name for name in dict.fromkeys(names) if "eager" in name]


def _cells(row: dict[str, Any], rivals: list[str]) -> Iterator[str]:
    yield row["candidate"] + ("" if row["settled"] else " *") + (" +" if row["alone"] else "")
    yield str(row["batch"])
    for name in ("p50_ms", "p95_ms", "p99_ms", "images_a_second", "gflop_s"):
        yield _number(row[name])
    for name in ("share_of_peak", "share_of_convolution", "share_of_roofline"):
        yield "" if row[name] is None else f"{row[name]:.0%}"
    for name in rivals:
        ratio = row["times_as_fast_as"].get(name)
        yield "" if ratio is None else f"{ratio:.2f}"


def _slice_cells(row: dict[str, Any]) -> Iterator[str]:
    yield row["candidate"]
    yield _number(row["seconds"])
    yield _number(row["slices_a_second"])
    yield f"{row['outside']:.2%}"
    yield str(row["peak_rss"] // _MIB)
    yield "" if row["device_memory"] is None else str(row["device_memory"] // _MIB)


def _notes(document: dict[str, Any]) -> Iterator[str]:
    for peak in document["peaks"]:
        value, unit = (
            (peak["gflop_s"], "GFLOP/s") if "gflop_s" in peak else (peak["gbyte_s"], "GB/s")
        )
        yield f"peak: {peak['name']} {value:.4g} {unit} on {peak['device']}"
    weights = {row["candidate"]: row["weights"] for row in document["evaluations"]}
    for name, told in weights.items():
        if told.startswith("random"):
            yield f"{name}: the weights are {told}"
    if any(not row["settled"] for row in document["evaluations"]):
        yield "* the times had not settled when the warm-up ended"
    if any(row["alone"] for row in document["evaluations"]):
        yield "+ measured after the others, for want of memory: its ratios are not between turns of one round"
    alike: dict[tuple[int | None, str], list[str]] = {}
    for refusal in document["refused"]:
        alike.setdefault((refusal["batch"], refusal["reason"]), []).append(refusal["candidate"])
    for (batch, reason), names in alike.items():
        place = "" if batch is None else f", batch {batch}"
        yield f"not measured: {'; '.join(names)}{place}: {reason}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
