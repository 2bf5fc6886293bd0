import numpy as np
import pytest
from dicom_study import make_grid, write_series
from pydicom import dcmread
from pydicom.uid import RLELossless

from mrct_runtime.child import Child
from mrct_runtime.dicom import decoder, decoding, read_series, scan
from mrct_runtime.dicom.decoder import Decoder, UndecodedError
from mrct_runtime.dicom.decoding import Decoding

GRID = make_grid((4, 8, 10))


@pytest.fixture
def started(monkeypatch):
    """What every process that was started is, in turn."""
    found = []

    def start(*arguments, **options):
        found.append(Child(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(decoder, "Child", start)
    return found


def compressed(path):
    image = dcmread(path)
    stored = image.pixel_array
    image.compress(RLELossless, generate_instance_uid=False)
    image.save_as(path)
    return stored


def test_a_stack_has_one_process_that_ends_with_it_and_a_plain_one_has_none(tmp_path, started):
    paths = write_series(tmp_path, GRID)
    (group,) = scan(tmp_path).groups
    plain = read_series(group).volume.array
    assert started == []
    for path in paths[1:]:
        compressed(path)
    (group,) = scan(tmp_path).groups
    np.testing.assert_array_equal(read_series(group).volume.array, plain)
    (child,) = started
    assert not child.alive


def test_frames_come_one_by_one_as_they_are_stored(tmp_path):
    paths = write_series(tmp_path, GRID)
    with Decoder() as frames:
        for path in paths:
            stored = compressed(path)
            (found,) = frames.frames(path, [0], 8, 10)
            np.testing.assert_array_equal(found, stored)
            assert found.dtype == stored.dtype


def test_a_frame_of_another_size_than_asked_for_is_none(tmp_path):
    path = write_series(tmp_path, GRID)[0]
    compressed(path)
    with Decoder() as frames, pytest.raises(UndecodedError, match="no frame of that size"):
        list(frames.frames(path, [0], 10, 8))


def test_the_limit_grows_with_the_file_and_the_frame(tmp_path, monkeypatch):
    path = write_series(tmp_path, GRID)[0]
    compressed(path)
    limits = []
    monkeypatch.setattr(decoding, "limit_memory", lambda limit: limits.append(limit) or True)
    work = Decoding()
    assert work.open(str(path), [0], 8, 10) is True
    assert work.next().value == [[8, 10], "<u2"]
    assert work.next() is None
    assert limits == [(512 << 20) + 2 * path.stat().st_size + 32 * 80]
