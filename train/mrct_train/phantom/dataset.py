"""A data set of phantom subjects, laid out as the Gold Atlas is used: train and test, a folder a subject."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from mrct_runtime.output_folder import OutputFolder, not_writable
from mrct_train.phantom.dicom import PHANTOM_VERSION, write_study
from mrct_train.phantom.spec import DatasetSpec
from mrct_train.phantom.subject import generate_subject

Progress = Callable[[int, int], None]

DESCRIPTION = "dataset.json"


def subject_folder(number: int) -> str:
    """The name of a subject's folder."""
    return f"phantom-{number:02d}"


def write_dataset(
    out: Path, spec: DatasetSpec, progress: Progress | None = None, *, overwrite: bool = False
) -> None:
    """Writes out/train/phantom-01/{mr,ct}/0001.dcm ... and out/dataset.json; a single subject is out/{mr,ct}.

    The folder appears when it is complete; only an earlier data set is ever overwritten. `progress(done, total)`
    counts slices.
    """
    replaces = DESCRIPTION if overwrite else None
    with OutputFolder.claim(out, replaces=replaces, needed_bytes=_bytes(spec)) as folder:
        try:
            _fill(folder.partial, spec, progress)
        except OSError as error:
            raise not_writable(out, error) from error
        folder.commit()


def _places(spec: DatasetSpec) -> list[tuple[int, Path]]:
    """Subject numbers with their folders inside the data set."""
    if spec.only is not None:
        return [(spec.only, Path())]
    return [
        (number, Path(part) / subject_folder(number))
        for part, numbers in spec.split().items()
        for number in numbers
    ]


def _bytes(spec: DatasetSpec) -> int:
    """What the files will take: two series of 16 bit pixels and their headers."""
    return len(_places(spec)) * spec.grid.slices * 2 * (2 * spec.grid.size**2 + 4096)


def _fill(folder: Path, spec: DatasetSpec, progress: Progress | None) -> None:
    """Every subject of the data set, one after the other, and dataset.json."""
    places = _places(spec)
    total = len(places) * spec.grid.slices
    for index, (number, place) in enumerate(places):
        before = index * spec.grid.slices

        def report(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        subject = generate_subject(spec.seed, number, spec.grid, progress=report)
        write_study(subject, spec.seed, folder / place)
    text = json.dumps(_description(spec), indent=2) + "\n"
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def _description(spec: DatasetSpec) -> dict[str, object]:
    """The contents of dataset.json."""
    content = {
        "kind": "mrct phantom",
        "version": PHANTOM_VERSION,
        "seed": spec.seed,
        "subjects": spec.subjects,
        **asdict(spec.grid),
    }
    if spec.only is not None:
        return content | {"only": spec.only}
    split = {
        part: [subject_folder(number) for number in numbers]
        for part, numbers in spec.split().items()
    }
    return content | {"split": split}
