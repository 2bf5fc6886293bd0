import numpy as np
import pydicom
import pytest
from dicom_study import make_grid, write_series
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)

from mrct_runtime.node.instance import (
    CLASSES,
    NOT_UNDERSTOOD,
    OTHER_CLASS,
    RefusedInstanceError,
    examined,
    transfer_syntaxes,
)

GRID = make_grid((1, 24, 30))


@pytest.fixture
def path(tmp_path):
    return write_series(tmp_path / "study", GRID)[0]


def look(path, kind=MRImageStorage, uid=None):
    named = uid or pydicom.dcmread(path).SOPInstanceUID
    return examined(path, kind, named)


def refusal(path, **announced):
    with pytest.raises(RefusedInstanceError) as error:
        look(path, **announced)
    return error.value.status, str(error.value)


def rewrite(path, syntax):
    image = pydicom.dcmread(path)
    if syntax == RLELossless:
        image.compress(RLELossless)
    image.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
    raw = pydicom.Dataset(image)
    raw.file_meta = image.file_meta
    pydicom.dcmwrite(path, raw, enforce_file_format=True)


SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_whole_image_is_taken_in_every_transfer_syntax(syntax, path):
    rewrite(path, syntax)
    image = pydicom.dcmread(path)
    found = look(path)
    assert (found.study_uid, found.instance_uid) == (image.StudyInstanceUID, image.SOPInstanceUID)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("left", [0.99, 0.9, 0.6])
def test_an_image_that_was_cut_is_refused(left, syntax, path):
    rewrite(path, syntax)
    content = path.read_bytes()
    uid = pydicom.dcmread(path).SOPInstanceUID
    path.write_bytes(content[: int(len(content) * left)])
    assert refusal(path, uid=uid)[0] == NOT_UNDERSTOOD


def test_an_image_that_ends_before_its_pixels_is_refused(path):
    image = pydicom.dcmread(path)
    del image.PixelData
    image.save_as(path)
    assert refusal(path)[0] == NOT_UNDERSTOOD


def test_pixels_too_few_for_rows_and_columns_are_refused(path):
    image = pydicom.dcmread(path)
    image.PixelData = image.PixelData[:-2]
    image.save_as(path)
    assert refusal(path) == (NOT_UNDERSTOOD, "truncated")


def test_what_is_no_dicom_is_refused(path):
    path.write_bytes(b"GIF89a" * 100)
    told = "damaged, it does not begin like a DICOM file"
    assert refusal(path, uid="1.2.3") == (NOT_UNDERSTOOD, told)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize(
    ("keyword", "value", "status"),
    [
        ("SOPClassUID", CTImageStorage, OTHER_CLASS),
        ("StudyInstanceUID", "../../etc", NOT_UNDERSTOOD),
        ("StudyInstanceUID", "", NOT_UNDERSTOOD),
        ("SeriesInstanceUID", "1.2." + "3" * 70, NOT_UNDERSTOOD),
    ],
)
def test_another_class_and_identifiers_that_are_none_are_refused(keyword, value, status, path):
    uid = pydicom.dcmread(path).SOPInstanceUID
    image = pydicom.dcmread(path)
    setattr(image, keyword, value)
    image.save_as(path)
    told = refusal(path, uid=uid)
    assert told[0] == status
    assert value not in told[1] or not value


def test_another_instance_than_announced_is_refused(path):
    assert refusal(path, uid="1.2.3")[0] == OTHER_CLASS


def test_fragments_that_do_not_fit_the_file_are_refused(path):
    image = pydicom.dcmread(path)
    image.compress(RLELossless)
    uid = image.SOPInstanceUID
    image.save_as(path)
    content = bytearray(path.read_bytes())
    item = content.rindex(b"\xfe\xff\x00\xe0")
    content[item + 4 : item + 8] = (1 << 31).to_bytes(4, "little")
    path.write_bytes(content)
    assert refusal(path, uid=uid) == (NOT_UNDERSTOOD, "truncated")


def test_a_deflated_object_is_never_negotiated():
    assert DeflatedExplicitVRLittleEndian not in transfer_syntaxes()
    assert {*SYNTAXES} <= {*transfer_syntaxes()}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_mr_image_of_every_scanner_is_taken_whole_and_refused_cut(shared_data, tmp_path):
    cut = tmp_path / "cut.dcm"
    seen = set()
    for path in sorted(shared_data.rglob("*.dcm")):
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            pixels = file.tell()
        if header.SOPClassUID not in CLASSES:
            continue
        syntax = header.file_meta.TransferSyntaxUID
        assert syntax in transfer_syntaxes()
        uid = str(header.SOPInstanceUID)
        assert look(path, str(header.SOPClassUID), uid).instance_uid == uid
        kind = (header.SOPClassUID, syntax, header.get("Manufacturer"))
        if kind not in seen:
            seen.add(kind)
            cut.write_bytes(path.read_bytes()[: pixels + 1000])
            with pytest.raises(RefusedInstanceError):
                look(cut, str(header.SOPClassUID), uid)
    assert {kind[0] for kind in seen} == set(CLASSES)
    assert len({kind[1] for kind in seen}) >= 5
