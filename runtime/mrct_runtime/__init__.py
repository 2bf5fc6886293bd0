"""Samples synthetic CT from an exported network, without PyTorch. Research use only.

>>> bundle = mrct_runtime.load("pelvis.mrct")
>>> result = bundle.translate("study/", sampler="em", mc=10)
>>> result.save("out/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mrct_runtime.bundle import Bundle

__version__ = "0.1.0.dev0"


def load(path: Path | str, *, sha256: str | None = None) -> Bundle:
    """The verified bundle in a .mrct directory; BundleError where it is not the one with this digest, if one is given."""
    # DICOM and array libraries take a second to import, which `mrct --help` has not
    from mrct_runtime.bundle import Bundle

    return Bundle.load(path, sha256)
