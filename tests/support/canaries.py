"""Headers full of what must not be found in a file: something in every element that the standard has."""

import gzip
import struct

from pydicom import DataElement, Dataset
from pydicom.datadict import DicomDictionary
from pydicom.tag import Tag

TEXT = "CANARY"
NUMBER = 47.118150
WHOLE = 0x47118150
BY_VR = {
    **dict.fromkeys(("AE", "CS", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "PN"), TEXT),
    **dict.fromkeys(("OB", "OW", "UN"), TEXT.encode()),
    **dict.fromkeys(("UL", "SL", "UV", "SV"), WHOLE),
    **dict.fromkeys(("FL", "FD"), NUMBER),
    "DA": "18470313",
    "TM": "114713.47",
    "DT": "18470313114713.47",
    "UI": "1.2.826.0.4711.8150",
    "DS": "47.118150",
    "IS": str(WHOLE),
    "AS": "471Y",
}
TRACES = (
    TEXT.encode(),
    b"18470313",
    b"114713.47",
    b"4711.8150",
    b"47.11815",
    str(WHOLE).encode(),
    b"471Y",
    struct.pack("<f", NUMBER),
    struct.pack("<d", NUMBER),
    struct.pack("<I", WHOLE),
)
# Without these as they are there is no image to read, or another one.
NEEDED = {
    *("SOPClassUID", "Modality", "ImageType", "SpecificCharacterSet"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *(
        "RescaleSlope",
        "RescaleIntercept",
        "ModalityLUTSequence",
        "PixelValueTransformationSequence",
    ),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("EchoTime", "RepetitionTime", "ScanningSequence", "EchoTrainLength", "SeriesDescription"),
}


def fill(index, image):
    """Puts a canary into every element of an image of a study; UIDs of instances differ."""
    for number, (vr, _, _, _, keyword) in DicomDictionary.items():
        tag = Tag(number)
        if 0x0008 <= tag.group < 0x7FE0 and tag.element and keyword and keyword not in NEEDED:
            value = _item() if vr == "SQ" else BY_VR.get(vr)
            if value is not None:
                image[tag] = DataElement(tag, vr, value)
    image.SOPInstanceUID = f"{BY_VR['UI']}.{index + 1}"
    image.SeriesDescription = f"t2_tse_tra {TEXT}"
    image.private_block(0x0029, TEXT, create=True).add_new(1, "LO", TEXT)


def _item():
    item = Dataset()
    item.PatientName = item.CodeMeaning = TEXT
    item.ReferencedSOPInstanceUID = BY_VR["UI"]
    item.Date = BY_VR["DA"]
    return [item]


def found(folder):
    """The files below a folder that hold a trace of a canary, with it."""
    hits = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content += gzip.decompress(content)
        hits += [(path.name, trace) for trace in TRACES if trace in content]
    return hits
