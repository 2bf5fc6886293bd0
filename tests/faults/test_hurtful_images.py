"""Compressed images that break their decoder: one line and a code, within the memory and the time of the decoder's process."""

import os
import re
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import hurtful_decoders
import numpy as np
import pytest
from dicom_study import make_grid, write_series
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, RLELossless

from mrct_cli import boundary, main
from mrct_runtime.dicom import decoder, read_series, scan
from mrct_runtime.dicom.codestream import image_size
from mrct_runtime.dicom.decoding import memory_limit
from mrct_runtime.errors import InputRejectedError, SeriesError

GRID = make_grid((4, 8, 10))
GENERIC = "vendor_small_and_compressed_dicom/generic"
HURTFUL = sorted(
    name
    for name, found in vars(hurtful_decoders).items()
    if isinstance(found, type) and found.__module__ == "hurtful_decoders"
)


@pytest.fixture
def study(tmp_path):
    """Four slices in run lengths, which need no package."""
    for path in write_series(tmp_path / "study", GRID):
        image = dcmread(path)
        image.compress(RLELossless, generate_instance_uid=False)
        image.save_as(path)
    return tmp_path / "study"


def only_group(folder):
    (group,) = scan(folder).groups
    return group


def stand_in(monkeypatch, name):
    monkeypatch.setattr(decoder, "_MAKER", f"hurtful_decoders:{name}")


@pytest.fixture
def peaks():
    """The most bytes that were resident in each child process, as they were seen every few milliseconds.

    What the system tells at a process's end is no smaller than its parent was when it began, as is the first look.
    """
    found, ended = {}, threading.Event()

    def watch():
        while not ended.wait(0.005):
            for child in children():
                with suppress(OSError):
                    status = Path(f"/proc/{child}/status").read_text("ascii")
                    if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
                        found[child] = int(peak[1]) << 10

    watching = threading.Thread(target=watch)
    watching.start()
    yield found
    ended.set()
    watching.join()


def children():
    """The processes that this one's first thread has started and that still run."""
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text("ascii").split()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Greedy", r"its pixels cannot be read: its decoder needs more than 5\d\d MiB"),
        (
            "GreedyInC",
            "its pixels cannot be read: its decoder failed, its process was ended by SIG",
        ),
        ("Crashing", r"its pixels cannot be read: its decoder failed, .* ended by SIGSEGV"),
        ("Aborting", r"its pixels cannot be read: its decoder failed, .* ended by SIGABRT"),
        ("OfAnotherSize", "its pixels cannot be read: its decoder gave no frame of that size"),
        ("OfObjects", "its pixels cannot be read: its decoder gave no frame of that size"),
        ("Endless", "its pixels cannot be read: its decoder failed, an answer of 16000000 bytes"),
        ("Talkative", "its pixels cannot be read; export the series again"),
    ],
)
def test_whatever_a_decoder_does_is_one_error_that_names_the_image(
    study, monkeypatch, peaks, name, told
):
    group = only_group(study)
    stand_in(monkeypatch, name)
    before = children()
    with pytest.raises(SeriesError, match=f"series 4 't2_tse_tra', instance .*{told}") as refused:
        read_series(group)
    assert refused.value.exit_code == 4
    assert "CANARY" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert children() == before
    assert len(peaks) == 1
    assert max(peaks.values()) < memory_limit(1 << 20, 80) + (512 << 20)


def test_a_decoder_that_hangs_is_ended(study, monkeypatch):
    group = only_group(study)
    stand_in(monkeypatch, "Hanging")
    monkeypatch.setattr(decoder, "FRAME_S", 0.5)
    began = time.monotonic()
    with pytest.raises(SeriesError, match="its decoder failed, no answer within"):
        read_series(group)
    assert time.monotonic() - began < 20


def test_the_decoders_process_knows_no_secret(study, monkeypatch):
    monkeypatch.setenv("A_SECRET_OF_THE_PARENT", "1")
    group = only_group(study)
    stand_in(monkeypatch, "ShowingItsEnvironment")
    assert read_series(group).volume.array.shape == (4, 8, 10)


def test_every_stand_in_is_tried():
    tried = {"Hanging", "ShowingItsEnvironment"}
    (marked,) = test_whatever_a_decoder_does_is_one_error_that_names_the_image.pytestmark
    assert {*tried, *(name for name, _ in marked.args[1])} == set(HURTFUL)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of memory")
def test_the_command_tells_of_it_in_one_line_with_code_4(study, tmp_path, monkeypatch, capsys):
    stand_in(monkeypatch, "Crashing")
    code = boundary.run(main.load("infer"), "mrct infer", [str(study), str(tmp_path / "out")])
    told = capsys.readouterr().err.splitlines()
    assert code == 4
    assert told[-1].startswith("mrct: error: series 4 't2_tse_tra', instance")
    assert "its decoder failed, its process was ended by SIGSEGV; export" in told[-1]
    assert not (tmp_path / "out").exists()


def with_offset(frame):
    """A JPEG 2000 image of the same size, at the far end of a grid of 2^31 points."""
    far = (1 << 31) - 1
    size = struct.pack(">IIII", far, far, far - 256, far - 256)
    return frame[:8] + size + frame[24:]


def with_tiny_tiles(frame):
    return frame[:24] + struct.pack(">II", 1, 1) + frame[32:]


def with_a_second_size(marker):
    """A JPEG whose first size is the header's, and whose second one is 65500 x 65500."""

    def changed(frame):
        at = frame.index(marker)
        length = 2 + int.from_bytes(frame[at + 2 : at + 4])
        first = frame[at : at + length]
        second = first[:5] + struct.pack(">HH", 65500, 65500) + first[9:]
        return frame[:at] + first + second + frame[at + length :]

    return changed


@pytest.mark.parametrize(
    ("syntax", "changed"),
    [
        ("j2k", with_offset),
        ("j2k", with_tiny_tiles),
        ("jpeg", with_a_second_size(b"\xff\xc3")),
        ("jpegls", with_a_second_size(b"\xff\xf7")),
    ],
)
def test_a_stream_that_passes_the_look_at_its_size_ends_in_its_own_process(
    shared_data, tmp_path, peaks, syntax, changed
):
    for package in ("libjpeg", "openjpeg"):
        pytest.importorskip(package, reason="the extra codecs is not installed")
    path = min((shared_data / GENERIC / f"compressed_{syntax}").rglob("*.dcm"))
    image = dcmread(path)
    (frame,) = generate_frames(image.PixelData, number_of_frames=1)
    frame = changed(bytes(frame))
    assert image_size(frame) == (256, 256, 1)
    image.PixelData = encapsulate([frame])
    image.SliceThickness = 1
    image.save_as(tmp_path / "hurtful.dcm")
    if syntax == "jpegls":  # whose decoder passes over the second size
        found = read_series(only_group(tmp_path)).volume.array[0]
        np.testing.assert_array_equal(found, dcmread(path).pixel_array)
    else:
        with pytest.raises(InputRejectedError, match="its pixels cannot be read"):
            read_series(only_group(tmp_path))
    assert len(peaks) == 1
    assert max(peaks.values()) < memory_limit(1 << 20, 256 * 256) + (512 << 20)


def test_the_largest_image_fits_the_limit(tmp_path):
    pytest.importorskip("openjpeg", reason="the extra codecs is not installed")
    (path,) = write_series(tmp_path, make_grid((1, 8, 10)), elements={"SliceThickness": 1})
    image = dcmread(path)
    image.Rows = image.Columns = 4096
    expected = np.add.outer(np.arange(4096), np.arange(4096) // 7).astype(np.uint16)
    image.PixelData = expected.tobytes()
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    image.save_as(path)
    found = read_series(only_group(tmp_path)).volume.array[0]
    scaled = expected * np.float32(image.get("RescaleSlope", 1)) + np.float32(
        image.get("RescaleIntercept", 0)
    )
    np.testing.assert_array_equal(found, scaled)
