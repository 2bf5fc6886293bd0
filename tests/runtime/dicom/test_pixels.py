import shutil
from contextlib import nullcontext

import numpy as np
import pytest
from dicom_study import gunzip, make_grid, run_program, write_series
from pydicom import dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders import JPEG2000LosslessDecoder, JPEGLosslessSV1Decoder
from pydicom.tag import Tag
from pydicom.uid import JPEG2000Lossless, RLELossless

from mrct_runtime.dicom import read_series, read_study, scan
from mrct_runtime.errors import InputRejectedError, SeriesError

PHILIPS = "philips_classic_and_enhanced_dicom/classic_mprage_gz"
VENDORS = "vendor_small_and_compressed_dicom"
SYNTAXES = {
    "compressed_rle": "RLE Lossless",
    "compressed_jpeg": "JPEG Lossless",
    "compressed_jpegls": "JPEG-LS Lossless",
    "compressed_j2k": "JPEG 2000",
}
GRID = make_grid((4, 8, 10))


def only_group(folder):
    (group,) = scan(folder).groups
    return group


@pytest.fixture
def compressed(shared_data):
    """The same four slices in four syntaxes."""
    for package in ("libjpeg", "openjpeg"):
        pytest.importorskip(package, reason="the extra codecs is not installed")
    return shared_data / VENDORS / "generic"


def test_four_compressed_syntaxes_give_identical_pixels(compressed):
    read = {}
    for name, syntax in SYNTAXES.items():
        group = only_group(compressed / name)
        assert syntax in dcmread(group.files[0]).file_meta.TransferSyntaxUID.name
        read[name] = read_series(group).volume
    first = read["compressed_rle"]
    assert first.array.max() > 100
    for volume in read.values():
        np.testing.assert_array_equal(volume.array, first.array)
        np.testing.assert_array_equal(volume.grid.affine, first.grid.affine)


def test_dcmtk_decodes_the_same(compressed, tmp_path):
    program = shutil.which("dcmdjpeg")
    if program is None:
        pytest.skip("dcmdjpeg is not installed")
    group = only_group(compressed / "compressed_jpeg")
    for path in group.files:
        run_program("dcmdjpeg", path, tmp_path / path.name)
    plain = only_group(tmp_path)
    assert not dcmread(plain.files[0]).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_series(plain).volume.array, read_series(group).volume.array)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_frames_of_a_compressed_real_file_are_those_of_the_plain_one(
    compressed, shared_data, tmp_path, syntax
):
    (path,) = (shared_data / "philips_classic_and_enhanced_dicom" / "enhanced").glob("2001*")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "plain.dcm").symlink_to(path)
    image = dcmread(path)
    image.compress(syntax, generate_instance_uid=False)
    (tmp_path / "compressed").mkdir()
    image.save_as(tmp_path / "compressed" / "compressed.dcm")
    plain, packed = (scan(tmp_path / name).groups for name in ("plain", "compressed"))
    assert len(plain) == len(packed) == 4
    for one, other in zip(plain, packed, strict=True):
        np.testing.assert_array_equal(
            read_series(one).volume.array, read_series(other).volume.array
        )
    # the file's last frame is of the last stack
    image.PixelData = encapsulate(list(generate_frames(image.PixelData, number_of_frames=212))[:-1])
    image.save_as(tmp_path / "compressed" / "compressed.dcm")
    packed = scan(tmp_path / "compressed").groups
    with pytest.raises(SeriesError, match=r"2001:4 .* its pixels cannot be read"):
        read_series(packed[3])


@pytest.mark.parametrize(
    ("folder", "decoder"),
    [("compressed_j2k", JPEG2000LosslessDecoder), ("compressed_jpeg", JPEGLosslessSV1Decoder)],
)
def test_a_missing_decoder_names_its_extra(shared_data, monkeypatch, folder, decoder):
    monkeypatch.setattr(decoder, "_available", {})
    group = only_group(shared_data / VENDORS / "generic" / folder)
    with pytest.raises(
        InputRejectedError, match=r"no decoder for its compression \(JPEG .*'mrct\[codecs\]'"
    ):
        read_series(group)


def test_a_damaged_compressed_slice_is_not_blamed_on_a_decoder(compressed, tmp_path):
    for path in only_group(compressed / "compressed_j2k").files:
        image = dcmread(path)
        image.PixelData = image.PixelData[:40] + bytes(len(image.PixelData) - 40)
        dcmwrite(tmp_path / path.name, image)
    with pytest.raises(SeriesError, match="its pixels cannot be read"):
        read_series(only_group(tmp_path))


@pytest.mark.parametrize(
    ("lost", "ending"),
    [
        # what is long enough cannot be told from an image; an optional decoder panics over it
        (slice(5000, 5060), nullcontext()),
        (slice(9000, 10**6), pytest.raises(SeriesError, match="its pixels cannot be read")),
    ],
)
def test_damaged_run_lengths_never_end_the_program(shared_data, tmp_path, lost, ending):
    for path in only_group(shared_data / VENDORS / "generic" / "compressed_rle").files:
        image = dcmread(path)
        (frame,) = generate_frames(image.PixelData, number_of_frames=1)
        image.PixelData = encapsulate([frame[: lost.start] + frame[lost.stop :]])
        dcmwrite(tmp_path / path.name, image)
    with ending:
        assert read_series(only_group(tmp_path)).volume.grid.shape == (4, 256, 256)


def test_a_compression_that_nobody_decodes_is_told(tmp_path):
    for path in write_series(tmp_path, GRID):
        image = dcmread(path)
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
        image.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x00\x00\x00\x00"
        image["PixelData"].is_undefined_length = True
        dcmwrite(path, image)
    with pytest.raises(InputRejectedError, match=r"none that can be decoded \(MPEG2 .*\); export"):
        read_study(tmp_path)


def test_a_real_big_endian_slice_is_the_one_that_it_copies(shared_data, tmp_path):
    folder = shared_data / "ge_fse_pd_axial_dicom"
    copy = dcmread(folder / "big_endian_same_series_slice.dcm")
    assert not copy.file_meta.TransferSyntaxUID.is_little_endian
    whole = read_study(folder, series="2")
    # the big-endian one in the place of the little-endian one
    for path in folder.glob("brain_*.dcm"):
        if dcmread(path, stop_before_pixels=True).SOPInstanceUID != copy.SOPInstanceUID:
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "big.dcm").symlink_to(folder / "big_endian_same_series_slice.dcm")
    mixed = read_study(tmp_path, series="2")
    assert mixed.volume.array.dtype.isnative
    np.testing.assert_array_equal(mixed.volume.array, whole.volume.array)


def test_pixel_data_longer_than_its_header_says_is_its_first_frame(shared_data, tmp_path):
    folder = shared_data / "ge_fse_pd_axial_dicom"
    for path in folder.glob("brain_*.dcm"):
        image = dcmread(path)
        # the file holds elements of the network's protocol, which pydicom reads and will not write
        for element in image.group_dataset(0):
            del image[element.tag]
        image.PixelData += bytes(19 * len(image.PixelData))
        dcmwrite(tmp_path / path.name, image)
    longer, whole = read_study(tmp_path, series="2"), read_study(folder, series="2")
    np.testing.assert_array_equal(longer.volume.array, whole.volume.array)


def test_each_slice_of_a_real_philips_series_is_scaled_by_its_own_public_slope(
    shared_data, tmp_path
):
    for path in gunzip(shared_data / PHILIPS, tmp_path, every=24):
        # as dual-echo Philips series have it: the same signal under another slope
        image = dcmread(path)
        assert float(image.RescaleSlope) == pytest.approx(2.3617, abs=1e-4)
        image.RescaleSlope = str(1 + image.InstanceNumber / 100)
        dcmwrite(path, image)
    group = only_group(tmp_path)
    stored = {}
    for path in group.files:
        image = dcmread(path)
        pixels = np.frombuffer(image.PixelData, "<u2").reshape(image.Rows, image.Columns)
        assert pixels.max() > 0
        stored[image.SOPInstanceUID] = pixels * (1 + image.InstanceNumber / 100)
    series = read_series(group)
    for header, found in zip(series.headers, series.volume.array, strict=True):
        np.testing.assert_allclose(found, stored[header.SOPInstanceUID], rtol=1e-6)


@pytest.mark.parametrize("value", [b"abc ", b"nan ", b"0 ", b"1\\2 ", b"1e999 ", b"1,5 "])
def test_a_slope_that_is_none_is_not_taken_for_one(tmp_path, value):
    """Taken for 1 it would give one slice another scale than its neighbours, and no warning."""

    def damage(index, image):
        if index == 1:
            slope = Tag("RescaleSlope")
            image[slope] = RawDataElement(slope, "DS", len(value), value, 0, False, True)

    write_series(tmp_path, GRID, per_slice=damage)
    with pytest.raises(SeriesError, match=r"series 4 .*, instance \d+: its RescaleSlope is"):
        read_study(tmp_path)
