"""Procedurally generated male pelves: registered T2w MR and CT to train, test and teach with. Imports no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mrct_train.phantom.spec import DatasetSpec, GridSpec

if TYPE_CHECKING:
    from mrct_train.phantom.dataset import write_dataset
    from mrct_train.phantom.dicom import write_study
    from mrct_train.phantom.signal import Appearance
    from mrct_train.phantom.subject import Subject, generate_subject
    from mrct_train.phantom.tissue import Tissue

__all__ = [
    "Appearance",
    "DatasetSpec",
    "GridSpec",
    "Subject",
    "Tissue",
    "generate_subject",
    "write_dataset",
    "write_study",
]

# The command shows the specs' defaults in --help, which must not wait for scipy and pydicom.
_LATE = {
    "Appearance": "signal",
    "Subject": "subject",
    "Tissue": "tissue",
    "generate_subject": "subject",
    "write_dataset": "dataset",
    "write_study": "dicom",
}


def __getattr__(name: str) -> object:
    """A public name, its module imported at first use."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
