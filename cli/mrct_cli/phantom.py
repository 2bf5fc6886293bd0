"""mrct phantom: a data set of generated pelves."""

from __future__ import annotations

from pathlib import Path

import click

from mrct_cli.paths import PATH
from mrct_cli.verdict import passed
from mrct_train.phantom.spec import DatasetSpec, GridSpec

_GRID = GridSpec()
_SET = DatasetSpec()


def _number(name: str, default: float, text: str) -> click.Option:
    """An option whose type and default are those of the value that it fills."""
    return click.Option(
        [f"--{name}"], type=type(default), default=default, show_default=True, help=text
    )


@click.command(
    params=[
        click.Argument(["out"], type=PATH),
        _number("subjects", _SET.subjects, "How many men; a tenth of them is kept for tests."),
        _number("size", _GRID.size, "Rows and columns of an image."),
        _number("spacing", _GRID.spacing, "From pixel to pixel in mm."),
        _number("slices", _GRID.slices, "Slices, centred on the femoral heads."),
        _number("slice-spacing", _GRID.slice_spacing, "From slice to slice in mm."),
        _number("slice-thickness", _GRID.slice_thickness, "Thickness of a slice in mm."),
        _number("seed", _SET.seed, "Another seed, other men."),
        click.Option(
            ["--only"],
            type=int,
            help="Write the study of this subject alone, as OUT/mr and OUT/ct.",
        ),
        click.Option(["--overwrite"], is_flag=True, help="Replace a data set that stands at OUT."),
    ]
)
def phantom(
    out: Path,
    subjects: int,
    size: int,
    spacing: float,
    slices: int,
    slice_spacing: float,
    slice_thickness: float,
    seed: int,
    only: int | None,
    overwrite: bool,
) -> str:
    """Write paired T2w MR and CT of generated male pelves to OUT as DICOM.

    OUT is a new folder. OUT/train and OUT/test hold a folder a subject, each with the series mr and ct on one grid and in one frame of reference.
    """
    grid = GridSpec(size, spacing, slices, slice_spacing, slice_thickness)
    spec = DatasetSpec(subjects, seed, grid, only)

    from mrct_train.phantom.dataset import write_dataset

    steps = (1 if only is not None else subjects) * slices
    with click.progressbar(length=steps, label="slices") as bar:
        write_dataset(out, spec, lambda done, _: bar.update(done - bar.pos), overwrite=overwrite)
    return passed(f"wrote {out}")
