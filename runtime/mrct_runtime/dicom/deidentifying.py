"""A source that names nobody, from which everything else is then written (PS3.15 E.1, Basic Application Confidentiality).

What is kept is listed, so an element that nobody thought of is left out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pydicom import Dataset
from pydicom.sr.coding import Code

from mrct_runtime.dicom.derived import code_item, inherit
from mrct_runtime.dicom.header import text
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.uids import content_uid

# CID 7050. Descriptions in what is written are the program's own words, the sense of the second code.
PROFILE: Final = (
    Code("113100", "DCM", "Basic Application Confidentiality Profile"),
    Code("113105", "DCM", "Clean Descriptors Option"),
)
METHOD: Final = "Geometry kept, UIDs replaced by a lost key, the rest left out"
# Numbers and the class of the image; a frame of a multi-frame image has its number here.
KEPT: Final = (
    "SOPClassUID",
    "Modality",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ReferencedFrameNumber",
)
# Kept where they are one of the standard's terms (PS3.3 C.7.3.1.1.2, PS3.16 Annex L) and not somebody's words.
TERMS: Final = {
    "PatientPosition": "HFS HFP HFDR HFDL FFS FFP FFDR FFDL LFP LFS RFP RFS",
    "BodyPartExamined": "ABDOMEN ABDOMENPELVIS BLADDER BRAIN BREAST CHEST CSPINE HEAD HEADNECK HIP KIDNEY LIVER LSPINE LUNG "
    "NECK PELVIS PROSTATE RECTUM SPINE TSPINE UTERUS WHOLEBODY",
    "Laterality": "L R",
}
UIDS: Final = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def deidentified(source: Series) -> Series:
    """The source under a new name and new UIDs, one for each old one, by a key that nobody has afterwards."""
    key = secrets.token_hex(32)

    def renamed(uid: str) -> str:
        return content_uid(key, uid)

    name = f"ANON-{secrets.token_hex(4).upper()}"
    return replace(
        source,
        uid=renamed(source.uid),
        number=None,
        description="",
        headers=tuple(_header(header, name, renamed) for header in source.headers),
        frame_of_reference_uid=renamed(source.frame_of_reference_uid),
        reason="",
        notes=(),
    )


def _header(header: Dataset, name: str, renamed: Callable[[str], str]) -> Dataset:
    bare = Dataset()
    inherit(bare, header, *KEPT)
    for keyword, terms in TERMS.items():
        if (term := text(header, keyword)) in terms.split():
            setattr(bare, keyword, term)
    for keyword in UIDS:
        if uid := text(header, keyword):
            setattr(bare, keyword, renamed(uid))
    bare.PatientName = bare.PatientID = name
    bare.PatientIdentityRemoved = "YES"
    bare.DeidentificationMethod = METHOD
    bare.DeidentificationMethodCodeSequence = [code_item(code) for code in PROFILE]
    bare.LongitudinalTemporalInformationModified = "REMOVED"
    return bare
