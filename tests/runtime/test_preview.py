import numpy as np
import pytest
from dicom_study import make_grid
from matplotlib.image import imread

from mrct_runtime.preview import _tiles, write_montage, write_slice
from mrct_runtime.volume import Volume


@pytest.fixture
def volumes():
    grid = make_grid((6, 40, 50), (3.0, 1.0, 1.0))
    mean = np.full(grid.shape, -1024.0)
    mean[3, 10:30, 10:25] = 1000.0
    std = np.zeros(grid.shape)
    std[3, 10:30, 25:40] = 80.0
    mr = np.where(mean > 0, 900.0, 30.0)
    return tuple(Volume(array, grid) for array in (mr, mean, std))


def test_the_slice_picture_shows_the_middle_slice_in_four_panels(volumes, tmp_path):
    write_slice(*volumes, tmp_path / "preview.png")
    picture = imread(tmp_path / "preview.png")[..., :3]
    assert picture.shape[1] > 1000
    middle = picture[picture.shape[0] // 2]
    white = (middle > 0.99).all(axis=1)
    black = (middle < 0.01).all(axis=1)
    assert black.any()
    # bone and the brightest of the MR are white in three of the panels, amid black
    runs = np.flatnonzero(np.diff(white.astype(int)))
    assert len(runs) >= 6


def test_the_same_result_gives_the_same_picture(volumes, tmp_path):
    for name in ("a.png", "b.png"):
        write_montage(*volumes[1:], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_montage_holds_every_slice_in_reading_order():
    stack = np.arange(7.0)[:, None, None] * np.ones((7, 4, 5))
    tiles = _tiles(stack)
    assert tiles.shape == (3 * 4, 3 * 5)
    assert np.array_equal(tiles[::4, ::5], [[0, 1, 2], [3, 4, 5], [6, 0, 0]])


def test_large_slices_are_thinned_out_in_the_montage():
    assert max(_tiles(np.zeros((1, 512, 400))).shape) <= 160
