import re
import resource
from pathlib import Path

import numpy as np
import pytest

from mrct_runtime.errors import OutputError
from mrct_runtime.scratch import IN_MEMORY, Scratch, let_go, slices

SHAPE = (40, 512, 512)
MEGABYTES = 40 * 512 * 512 * 4 // 1_000_000


def of_files_in_memory():
    """Megabytes of this process that lie in files."""
    found = re.search(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1000


@pytest.fixture
def scratch(tmp_path):
    return Scratch(tmp_path, least_bytes=0)


def test_a_large_array_lies_in_a_file_without_a_name(scratch, tmp_path):
    array = scratch.empty((3, 4, 5), np.int16)
    array[...] = np.arange(60).reshape(3, 4, 5)
    assert array.shape == (3, 4, 5)
    assert array.dtype == np.int16
    assert type(array) is np.ndarray
    assert list(tmp_path.iterdir()) == []
    assert array.sum() == 60 * 59 // 2


def test_a_small_array_takes_nothing_of_the_disk_nor_one_without_a_folder(tmp_path):
    scratch = Scratch(tmp_path, least_bytes=1000)
    assert scratch.bytes_on_disk((3, 4, 5), np.float64) == 0
    assert scratch.bytes_on_disk((5, 5, 5), np.float64) == 1000
    assert IN_MEMORY.bytes_on_disk((5000, 500, 500), np.float64) == 0


def test_slices_are_those_of_the_array_and_leave_no_memory_behind(scratch):
    array = scratch.empty(SHAPE, np.float32)
    before = of_files_in_memory()
    most = 0
    for s, image in enumerate(slices(array)):
        image[...] = s
        most = max(most, of_files_in_memory())
    assert most - before < MEGABYTES
    assert of_files_in_memory() - before < 3
    assert [float(image.mean()) for image in array] == list(range(40))
    assert of_files_in_memory() - before > MEGABYTES - 5


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array,
        lambda array: array[3:5],
        lambda array: array.transpose(2, 0, 1)[::-1],
        lambda array: array.view(np.uint8),
    ],
    ids=["itself", "some", "turned", "bytes"],
)
def test_a_view_lets_go_of_the_whole_array_whose_content_stays(view, scratch):
    array = scratch.empty(SHAPE, np.float32)
    array[...] = 7
    before = of_files_in_memory()
    let_go(view(array))
    assert before - of_files_in_memory() > MEGABYTES - 5
    assert (array == 7).all()


def test_what_lies_in_memory_stays_there():
    array = np.full((2, 3), 7.0)
    let_go(array, array.T)
    assert (array == 7).all()


def test_a_mapped_numpy_file_is_let_go_too(tmp_path):
    np.save(tmp_path / "a.npy", np.full(SHAPE, 7, np.float32))
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert array.mean() == 7
    before = of_files_in_memory()
    let_go(array[1])
    assert before - of_files_in_memory() > MEGABYTES - 5


def test_a_disk_without_room_is_told_before_anything_is_written(scratch, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(
            OutputError, match=r"2 MB are needed for .* and \d+ MB free \(file too large\)"
        ):
            scratch.empty((2, 1000, 1000), np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
