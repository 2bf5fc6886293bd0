"""Where an MR departs from what a bundle was trained on: by its headers, its pixels' size, and how it looks.

A departure is a reason for doubt; that there is none is no proof. Headers may be wrong or empty, and the look of an
image is compared in a few numbers only: an implant, a tumour or an artefact in an otherwise usual pelvis has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray
from pydicom import Dataset

from mrct_runtime.appearance import FEATURES, Seen, appearance
from mrct_runtime.dicom.header import number, text
from mrct_runtime.dicom.reading import Series
from mrct_runtime.manifest import Domain, Manifest
from mrct_runtime.volume import Volume

LEAST_SUBJECTS: Final = 6
"""The ranges of fewer training subjects say too little of what a network knows."""
_FAR, _VERY_FAR = 1.0, 3.0
# No T2-weighted sequence has an echo time as short.
_SHORT_ECHO_MS: Final = 50.0
_COARSER: Final = 2.0

_REGIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "head": frozenset({"head", "brain", "skull", "cranial", "pituitary"}),
        "neck": frozenset({"neck", "headneck", "cspine", "larynx", "thyroid"}),
        "chest": frozenset({"chest", "thorax", "breast", "heart", "lung", "tspine"}),
        "abdomen": frozenset({"abdomen", "liver", "kidney", "pancreas", "abdomenpelvis", "lspine"}),
        "pelvis": frozenset(
            {"pelvis", "prostate", "bladder", "rectum", "cervix", "uterus", "hip", "abdomenpelvis"}
        ),
        "limb": frozenset({"knee", "ankle", "foot", "shoulder", "elbow", "wrist", "hand", "leg"}),
    }
)
"""Region -> words for it, in headers and in a bundle's domain."""


@dataclass(frozen=True)
class Departure:
    """What is unlike the training, in a line without patient data; a grave one makes the result worthless."""

    text: str
    grave: bool


@dataclass(frozen=True, eq=False)
class Given:
    """What a network was given of a study: the body [S, H, W] on the MR's canonical grid, and what was found of it.

    `lost` is the fraction of the body beyond the model's field of view. `compared` says whether the bundle knows how
    its training images looked, so that departures of the image could be noticed.
    """

    body: Volume
    lost: float
    departures: tuple[Departure, ...]
    compared: bool


def departures(
    manifest: Manifest, source: Series, condition: NDArray[Any]
) -> tuple[Departure, ...]:
    """Those of a series, and of its image [S, N, N] in [0, 1] on the model grid."""
    spacing_mm = manifest.image.spacing_mm
    return (
        # a volume out of another file has none
        *(each for header in source.headers[:1] for each in of_header(manifest.domain, header)),
        *_of_pixels(float(source.volume.grid.canonical().spacing_mm[1:].max()), spacing_mm),
        *(
            of_image(manifest.seen, appearance(condition, spacing_mm))
            if manifest.seen is not None
            else ()
        ),
    )


def departed(found: Sequence[Departure]) -> tuple[str, ...]:
    """The warning of a run that tells of all departures; nothing where there are none."""
    if not found:
        return ()
    listed = "; ".join(each.text for each in found)
    return (f"the MR is unlike the model's training images: {listed}",)


def is_compared(manifest: Manifest) -> bool:
    """Whether the bundle knows how the images of enough training subjects looked."""
    return manifest.seen is not None and manifest.seen.subjects >= LEAST_SUBJECTS


def of_header(domain: Domain, header: Dataset) -> Iterator[Departure]:
    """Those that a header tells: another part of the body, and an echo too short for T2 weighting."""
    there, meant = _regions(text(header, "BodyPartExamined")), _regions(domain.anatomy)
    if there and meant and not there & meant:
        yield Departure(
            f"the MR is of the {' and '.join(sorted(there))}, the model was trained on: {domain.anatomy}",
            grave=True,
        )
    echo = number(header, "EchoTime")
    if "T2" in domain.sequence.upper() and echo is not None and 0 < echo < _SHORT_ECHO_MS:
        yield Departure(
            f"the MR's echo time of {echo:g} ms is too short for T2 weighting, the model was trained on: {domain.sequence}",
            grave=True,
        )


def of_image(seen: Seen, found: Mapping[str, float]) -> Iterator[Departure]:
    """Every number of an image that lies beyond those of the training's subjects."""
    if seen.subjects < LEAST_SUBJECTS:
        return
    for name, feature in FEATURES.items():
        if name not in found or name not in seen.ranges:
            continue
        distance = seen.distance(name, found[name])
        if distance > _FAR:
            low, high = seen.ranges[name]
            unit = f" {feature.unit}" if feature.unit else ""
            yield Departure(
                f"{feature.title} is {found[name]:.3g}{unit}, in training {low:.3g} to {high:.3g}",
                grave=distance > _VERY_FAR,
            )


def _of_pixels(native_mm: float, model_mm: float) -> Iterator[Departure]:
    if native_mm > _COARSER * model_mm:
        yield Departure(
            f"the MR's pixels of {native_mm:.2g} mm are coarser than the model's of {model_mm:.2g} mm: its detail is missing",
            grave=False,
        )


def _regions(words: str) -> frozenset[str]:
    """The regions of the body that a text names."""
    found = set(re.findall(r"[a-z]+", words.lower()))
    return frozenset(region for region, names in _REGIONS.items() if found & names)
