import io
import os

import numpy as np
import pytest

from mrct_runtime.dicom.frame_stream import Frames

ARRAY = np.random.default_rng(0).normal(size=(5, 3, 7)).astype(np.float32)
ORDER = [4, 2, 0, 1, 3]
WHOLE = ARRAY[ORDER].tobytes()


@pytest.mark.parametrize("size", [1, 5, 84, 100, 10_000])
def test_pieces_of_any_size_make_up_the_frames_in_their_order(size):
    stream = Frames(ARRAY, ORDER)
    pieces = list(iter(lambda: stream.read(size), b""))
    assert b"".join(pieces) == WHOLE
    assert {len(piece) for piece in pieces[:-1]} <= {size}


def test_it_reads_from_wherever_it_was_set():
    stream = Frames(ARRAY, ORDER)
    assert stream.seek(0, os.SEEK_END) == len(WHOLE)
    assert stream.read() == b""
    assert stream.seek(-10, os.SEEK_END) == len(WHOLE) - 10
    assert stream.read() == WHOLE[-10:]
    assert stream.seek(83) == stream.tell() == 83
    assert stream.read(2) == WHOLE[83:85]
    stream.seek(-1, os.SEEK_CUR)
    assert stream.read(None) == WHOLE[84:]


def test_other_byte_orders_and_views_are_written_as_dicom_wants_them():
    swapped = ARRAY.astype(">f4").transpose(0, 2, 1)[:, ::-1]
    assert Frames(swapped, ORDER).read() == np.ascontiguousarray(swapped[ORDER], "<f4").tobytes()


def test_it_is_a_buffer_that_pydicom_takes():
    stream = Frames(ARRAY, ORDER)
    assert isinstance(stream, io.BufferedIOBase)
    assert stream.readable()
    assert stream.seekable()
    assert not stream.closed
