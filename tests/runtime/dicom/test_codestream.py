import struct

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless

from mrct_runtime.dicom import decoding, read_series, scan
from mrct_runtime.dicom.codestream import image_size
from mrct_runtime.dicom.decoding import Decoding
from mrct_runtime.errors import SeriesError

GENERIC = "vendor_small_and_compressed_dicom/generic"
SIZ = b"\xff\x4f\xff\x51"


def first_file(shared_data, syntax):
    return min((shared_data / GENERIC / f"compressed_{syntax}").rglob("*.dcm"))


def frame_of(path):
    (frame,) = generate_frames(dcmread(path).PixelData, number_of_frames=1)
    return frame


def as_jp2(stream):
    """The boxes of a JP2 file around a codestream, with another codestream's start in a box that is none."""
    boxes = ((b"jP  ", b"\r\n\x87\n"), (b"ftyp", b"jp2 "), (b"free", SIZ + bytes(60)))
    packed = b"".join(struct.pack(">I", 8 + len(b)) + kind + b for kind, b in boxes)
    return packed + struct.pack(">I4s", 0, b"jp2c") + stream


@pytest.mark.parametrize("syntax", ["j2k", "jpeg", "jpegls"])
def test_real_codestreams_tell_their_size(shared_data, syntax):
    frame = frame_of(first_file(shared_data, syntax))
    assert image_size(frame) == (256, 256, 1)
    for length in range(45):
        assert image_size(frame[:length]) in {None, (256, 256, 1)}


def test_a_codestream_in_a_jp2_file_tells_its_own_size(shared_data):
    frame = frame_of(first_file(shared_data, "j2k"))
    assert image_size(as_jp2(frame)) == (256, 256, 1)
    assert image_size(as_jp2(b"")) is None
    assert image_size(as_jp2(frame)[:40]) is None


def test_jpeg_markers_with_padding_are_followed():
    start = b"\xff\xc3" + struct.pack(">HBHHB", 11, 16, 320, 384, 1)
    comment = b"\xff\xff\xff\xfe" + struct.pack(">H", 6) + b"\xff\xc3!!"
    assert image_size(b"\xff\xd8" + comment + start) == (320, 384, 1)
    assert image_size(b"\xff\xd8" + comment) is None
    assert image_size(b"neither") is None


def too_large(syntax, frame):
    """The frame claiming 65500 x 65500 pixels, 8 GB of them."""
    if syntax == "j2k":
        return frame[:8] + struct.pack(">II", 65500, 65500) + frame[16:]
    marker = {"jpeg": b"\xff\xc3", "jpegls": b"\xff\xf7"}[syntax]
    at = frame.index(marker) + 5
    return frame[:at] + struct.pack(">HH", 65500, 65500) + frame[at + 4 :]


@pytest.mark.parametrize("syntax", ["j2k", "jpeg", "jpegls"])
def test_a_frame_that_claims_gigabytes_is_refused_before_it_is_decoded(
    shared_data, tmp_path, monkeypatch, syntax
):
    pytest.importorskip("libjpeg", reason="the extra codecs is not installed")
    pytest.importorskip("openjpeg", reason="the extra codecs is not installed")
    image = dcmread(first_file(shared_data, syntax))
    (frame,) = generate_frames(image.PixelData, number_of_frames=1)
    image.PixelData = encapsulate([too_large(syntax, frame)])
    image.SliceThickness = 1
    image.save_as(tmp_path / "large.dcm")
    (group,) = scan(tmp_path).groups
    with pytest.raises(SeriesError, match="its pixels cannot be read"):
        read_series(group)
    # as the decoder's own process does it
    monkeypatch.setattr(decoding, "limit_memory", lambda _: True)
    decoded = []
    monkeypatch.setattr(Decoding, "decoded", lambda *_: decoded.append(1))
    with pytest.raises(ValueError, match="not of 256 x 256 grey pixels"):
        Decoding().open(str(tmp_path / "large.dcm"), [0], 256, 256)
    assert decoded == []


def test_a_small_file_of_many_zeros_is_refused(shared_data, tmp_path):
    pytest.importorskip("openjpeg", reason="the extra codecs is not installed")
    image = dcmread(first_file(shared_data, "rle"))
    image.decompress(generate_instance_uid=False)
    image.Rows = image.Columns = 2000
    image.PixelData = np.zeros((2000, 2000), np.uint16).tobytes()
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    image.Rows = image.Columns = 256
    image.SliceThickness = 1
    image.save_as(tmp_path / "zeros.dcm")
    assert (tmp_path / "zeros.dcm").stat().st_size < 3000
    (group,) = scan(tmp_path).groups
    with pytest.raises(SeriesError, match="its pixels cannot be read"):
        read_series(group)
