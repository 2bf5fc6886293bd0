"""Small files that would fill the memory: each is refused in one line, in a process that may take 512 MiB and takes far less."""

import gzip
import io
import lzma
import struct
import zipfile
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_study import make_grid, write_series
from hurtful_dicom import meta

from mrct_runtime.child import Child
from mrct_runtime.nifti import write_nifti
from mrct_runtime.volume import Volume

ALLOWED = 512 << 20
"""Bytes that reading may take beside the libraries."""
MOST_MIB = 200
"""What no reading of these files has taken."""
GIB = 1 << 30


@pytest.fixture(scope="module")
def reading():
    with Child("hurtful_reading:Reading", ALLOWED) as child:
        yield child


def refused(reading, reader, path, code=4):
    """What is told of a file that is refused."""
    found, told, taken, seconds = reading.ask("read", 60, reader=reader, path=str(path))
    assert (found, "\n" in told) == (code, False), told
    assert taken < MOST_MIB
    assert seconds < 20
    return told


def zeros(count, wbits):
    """So many bytes, deflated in blocks that do not need each other; a checksum behind them is not theirs."""
    stream, piece = zlib.compressobj(9, zlib.DEFLATED, wbits), bytes(1 << 22)
    first, block = (stream.compress(piece) + stream.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + block * ((count >> 22) - 1) + stream.flush()


def test_the_bombs_are_bombs():
    content, inflated = zeros(GIB, 31), 0
    stream = zlib.decompressobj(31)
    assert len(content) < 2_000_000
    while inflated < GIB - (4 << 20):
        inflated += len(stream.decompress(content, 1 << 20))
        content = stream.unconsumed_tail


@pytest.fixture(scope="module")
def four_gib_in_gzip():
    return zeros(4 * GIB, 31)


def nifti_header(shape=(8, 8, 8), dtype=np.int16, **fields):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


def test_a_nifti_that_inflates_to_more_than_its_header_says(reading, tmp_path, four_gib_in_gzip):
    path = tmp_path / "mr.nii.gz"
    # two members are one stream
    path.write_bytes(gzip.compress(nifti_header()) + four_gib_in_gzip)
    assert path.stat().st_size < 5_000_000
    for reader in ("nifti", "source"):
        told = refused(reading, reader, path)
        assert (
            told == "mr.nii.gz holds more than its header says, (8, 8, 8) voxels; export it again"
        )


@pytest.mark.parametrize(
    ("shape", "dtype", "told"),
    [
        (
            (32767, 32767, 2),
            np.uint8,
            "claims (32767, 32767, 2) voxels of 1 bytes, not 1 to 107",
        ),
        ((32767,) * 7, np.uint8, "claims"),
        ((1024, 1024, 1000), np.float64, "of 8 bytes, not 1 to 1073741824 of at most 4096 MiB"),
        ((1024, 1024, 600), np.int16, "its header claims 1258291552 bytes"),
        ((0, 8, 8), np.int16, "claims (0, 8, 8)"),
        ((8, -8, 8), np.int16, "claims (8, -8, 8)"),
        ((8, 8, 8), np.complex64, "voxels of the type complex64; numbers are needed"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_that_claims_more_than_can_be_held(reading, tmp_path, ending, shape, dtype, told):
    path = tmp_path / f"mr{ending}"
    content = nifti_header(shape, dtype) + bytes(1000)
    path.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    assert told in refused(reading, "nifti", path)


@pytest.mark.parametrize("offset", [1e30, -1e30, np.inf, np.nan, 3 * GIB])
def test_a_nifti_whose_voxels_begin_far_away(reading, tmp_path, offset):
    path = tmp_path / "mr.nii.gz"
    path.write_bytes(gzip.compress(nifti_header(vox_offset=offset)))
    told = "before its voxels" if np.isfinite(offset) else "cannot be read as NIfTI"
    assert told in refused(reading, "nifti", path)


@pytest.mark.parametrize("length", [(1 << 31) - 16, -16, 0, 1 << 20])
def test_a_nifti_with_an_extension_of_a_length_that_lies(
    reading, tmp_path, four_gib_in_gzip, length
):
    path = tmp_path / "mr.nii.gz"
    start = nifti_header(vox_offset=1024)[:348] + b"\1\0\0\0" + struct.pack("<ii", length, 6)
    path.write_bytes(gzip.compress(start) + four_gib_in_gzip)
    for reader in ("nifti", "doubts"):
        assert "cannot be read as NIfTI" in refused(reading, reader, path)


def test_a_nifti_that_was_cut_or_changed_is_told_by_its_checksum(reading, tmp_path):
    grid = make_grid((4, 20, 24))
    array = np.random.default_rng(0).normal(0, 500, grid.shape).astype(np.float32)
    path = tmp_path / "mr.nii.gz"
    write_nifti(Volume(array, grid), path)
    whole = path.read_bytes()
    assert reading.ask("read", 60, reader="nifti", path=str(path))[0] == 0
    for content in (whole[:-1], whole[:-8], whole[:-8] + b"\0\0\0\0" + whole[-4:]):
        path.write_bytes(content)
        assert "cannot be read as NIfTI" in refused(reading, "nifti", path)
    # voxels as they would be stored, one of them changed, under the checksum of all
    plain = gzip.decompress(whole)
    packed = bytearray(gzip.compress(plain, 0))
    packed[len(packed) - 1000] ^= 1
    path.write_bytes(packed)
    assert "cannot be read as NIfTI" in refused(reading, "nifti", path)


def metaimage(dims=(64, 64, 64), data=b"", compressed=True, **fields):
    lines = {
        "ObjectType": "Image",
        "NDims": len(dims),
        "BinaryData": True,
        "CompressedData": compressed,
        "CompressedDataSize": len(data),
        "DimSize": " ".join(map(str, dims)),
        "ElementType": "MET_SHORT",
        **fields,
    }
    lines["ElementDataFile"] = lines.pop("ElementDataFile", "LOCAL")
    return "".join(f"{name} = {value}\n" for name, value in lines.items()).encode() + data


HONEST = zlib.compress(bytes(2 * 64**3))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (metaimage(data=zlib.compress(bytes(1000))), "has 1000 of the 524288 bytes of voxels"),
        (metaimage(data=HONEST[:100]), "of the 524288 bytes"),
        (metaimage(data=HONEST, CompressedDataSize=1 << 42), "cannot be read as MetaImage"),
        (metaimage(dims=(4096, 4096, 4096), data=HONEST), "claims 4096 x 4096 x 4096 voxels"),
        (metaimage(dims=(-64, -64, 64), data=HONEST), "claims -64 x -64 x 64 voxels"),
        (metaimage(data=bytes(100), compressed=False), "has 100 of the 524288 bytes"),
        (metaimage(ElementDataFile="/etc/passwd"), "voxels in another folder"),
        (metaimage(ElementDataFile="../secret.raw"), "voxels in another folder"),
        (metaimage(ElementDataFile="LIST"), "in several files"),
        (metaimage(ElementDataFile="slice%03d.raw 1 64 1"), "in several files"),
        (b"ObjectType = Image\n" * 5000, "cannot be read as MetaImage"),
        (b"x" * (1 << 20), "cannot be read as MetaImage"),
    ],
)
def test_a_metaimage_that_claims_what_it_does_not_hold(reading, tmp_path, content, told):
    path = tmp_path / "mr.mha"
    path.write_bytes(content)
    assert told in refused(reading, "metaimage", path)


def test_a_metaimage_that_inflates_to_more_than_its_header_says(reading, tmp_path):
    path = tmp_path / "mr.mha"
    path.write_bytes(metaimage(data=zeros(4 * GIB, 15)))
    assert path.stat().st_size < 5_000_000
    assert "holds more than the 524288 bytes of voxels" in refused(reading, "metaimage", path)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_metaimage_of_itk_is_read_whatever_its_numbers(reading, tmp_path, dtype, name, packed):
    image = SimpleITK.GetImageFromArray(np.arange(4 * 20 * 24).reshape(4, 20, 24).astype(dtype))
    SimpleITK.WriteImage(image, str(tmp_path / name), useCompression=packed)
    path = str(tmp_path / name)
    assert reading.ask("read", 60, reader="metaimage", path=path)[:2] == [0, ""]


def golden(entries, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(shape, data=b""):
    buffer = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue() + data


def test_a_golden_file_that_inflates_without_end(reading, tmp_path):
    path = tmp_path / "golden.npz"
    names = ("x", "y", "t", "eps")
    large = [(f"{name}.npy", npy((1, 1, 1 << 15, 1 << 15), bytes(70 << 20))) for name in names]
    lying = [(f"{name}.npy", npy((1, 1, 1 << 15, 1 << 15), bytes(100))) for name in names]
    for entries in (large, lying):
        path.write_bytes(golden(entries))
        assert path.stat().st_size < 1_000_000
        assert "not a plain archive of float32 arrays" in refused(reading, "golden", path, code=5)
    # the size of an entry as its archive tells it is a lie
    content = golden(large)
    path.write_bytes(content.replace(struct.pack("<I", len(large[0][1])), struct.pack("<I", 1000)))
    assert "not a plain archive of float32 arrays" in refused(reading, "golden", path, code=5)


def test_a_golden_file_of_a_million_entries(reading, tmp_path):
    path = tmp_path / "golden.npz"
    one = golden([("x.npy", b"")])
    directory = one.index(b"PK\x01\x02")
    end = one.index(b"PK\x05\x06")
    entry, count = one[directory:end], 1_000_000
    tail = struct.pack(
        "<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, len(entry) * count, directory, 0
    )
    path.write_bytes(one[:directory] + entry * count + tail)
    assert "more than 64 files" in refused(reading, "golden", path, code=5)


def test_a_golden_file_in_a_compression_that_asks_for_memory(reading, tmp_path):
    path = tmp_path / "golden.npz"
    names = ("x", "y", "t", "eps")
    entries = [(f"{name}.npy", npy((1, 1, 8, 8), bytes(256))) for name in names]
    content = bytearray(golden(entries, zipfile.ZIP_LZMA))
    at = content.index(b"\x05\x00\x5d") + 3  # the length of the properties, and their first byte
    content[at : at + 4] = struct.pack(
        "<I", lzma.MEMLIMIT if hasattr(lzma, "MEMLIMIT") else 3 << 30
    )
    path.write_bytes(content)
    assert "not a plain archive of float32 arrays" in refused(reading, "golden", path, code=5)


def test_a_picture_that_claims_gigabytes(reading, tmp_path):
    path = tmp_path / "mri_axial.png"
    head = b"IHDR" + struct.pack(">IIBBBBB", 65500, 65500, 8, 0, 0, 0, 0)
    chunks = [head, b"IDAT" + zeros(1 << 30, 15), b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    told = refused(reading, "png", path)
    assert told == "mri_axial.png claims 65500 x 65500 pixels, more than 16777216; leave it out"


def test_a_deflated_dicom_of_four_gib(reading, tmp_path):
    write_series(tmp_path, make_grid((8, 8, 10)))
    content = meta("1.2.840.10008.1.2.1.99") + zeros(4 * GIB, -15)
    assert len(content) < 5_000_000
    (tmp_path / "bomb.dcm").write_bytes(content)
    assert "bomb.dcm) is deflated; store it uncompressed" in refused(reading, "study", tmp_path)
