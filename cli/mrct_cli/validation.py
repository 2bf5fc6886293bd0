"""The subjects on which a bundle's settings may be fitted: never those of a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mrct_runtime.errors import UsageError

if TYPE_CHECKING:
    from mrct_runtime.evaluation.cases import Selection


def validation_subjects(
    data: Path, pattern: str, slices: int | None, split: Path | None
) -> Selection:
    """DATA's own subjects, or the validation part of a split of it; UsageError where test subjects would be among them."""
    from mrct_runtime.evaluation.cases import Selection

    folder = data.resolve()
    if folder.name == "test" and (folder.parent / "train").is_dir():
        raise UsageError(
            f"{data} holds the test subjects of a data set, which must stay unseen; "
            "give as DATA a folder of validation subjects, or the whole data set with --split"
        )
    if split is not None:
        return Selection(pattern=pattern, slices=slices, split=split, part="validation")
    if (data / "test").is_dir():
        raise UsageError(
            f"{data} has a folder of test subjects, which must stay unseen; give --split, "
            "or as DATA a folder of validation subjects"
        )
    return Selection(pattern=pattern, slices=slices)
