import numpy as np
import pytest
from dicom_study import make_grid

from mrct_runtime.study_report.planes import at_slice, letters, planes
from mrct_runtime.volume import Volume

SPACING = (6.0, 2.0, 2.0)


@pytest.fixture
def ball():
    """A body [S, H, W] = [10, 60, 80], 40 mm in diameter, off the centre."""
    grid = make_grid((10, 60, 80), SPACING).canonical()
    s, y, x = np.indices(grid.shape)
    far = np.sqrt(((s - 4) * 6) ** 2 + ((y - 20) * 2) ** 2 + ((x - 50) * 2) ** 2)
    return Volume(far <= 20, grid)


@pytest.mark.parametrize(
    ("direction", "shown"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -1, 0), "A"),
        ((0, 0, 1), "H"),
        ((0, 0, -1), "F"),
        ((0.8, 0.6, 0), "LP"),
        ((0, -0.5, 0.866), "HA"),
        ((0.98, 0.17, 0), "L"),
    ],
)
def test_letters_name_where_a_direction_points_to(direction, shown):
    assert letters(np.array(direction)) == shown


def test_the_planes_go_through_the_bodys_centre(ball):
    assert [plane.index for plane in planes(ball.array, ball.grid)] == [4, 20, 50]


def test_the_edges_have_the_letters_of_a_radiologists_screen(ball):
    axial, coronal, sagittal = planes(ball.array, ball.grid)
    assert axial.edges == ("R", "L", "A", "P")
    assert coronal.edges == ("R", "L", "H", "F")
    assert sagittal.edges == ("A", "P", "H", "F")


def test_pictures_have_square_pixels_whatever_the_voxels(ball):
    for plane in planes(ball.array, ball.grid):
        picture = plane.cut(ball.array) > 0.5
        rows, columns = (np.flatnonzero(picture.any(axis=axis)).size for axis in (1, 0))
        # a ball of 40 mm is round to a voxel's height
        assert rows == pytest.approx(columns, abs=3)


def test_the_head_is_up_and_the_patients_left_on_the_right(ball):
    array = np.zeros(ball.array.shape)
    array[9, :, :] = 1.0
    array[:, :, 79] = 2.0
    whole = planes(np.ones(array.shape, bool), ball.grid)
    coronal = whole[1].cut(array, order=0)
    assert (coronal[0, :-1] == 1).all()
    assert (coronal[-1, :-1] == 0).all()
    assert (coronal[:, -1] == 2).all()


def test_a_picture_is_cut_around_the_body_with_a_margin_of_12_mm(ball):
    axial = planes(ball.array, ball.grid)[0]
    assert axial.crop == (slice(20 - 10 - 6, 20 + 10 + 1 + 6), slice(50 - 10 - 6, 50 + 10 + 1 + 6))


def test_large_images_are_made_smaller_in_their_proportions():
    grid = make_grid((3, 1000, 500), (3.0, 0.5, 0.5)).canonical()
    axial = planes(np.ones(grid.shape, bool), grid)[0]
    assert axial.cut(np.zeros(grid.shape)).shape == (420, 210)


def test_letters_and_planes_follow_a_tilted_stack():
    grid = make_grid((8, 40, 40), (3.0, 1.0, 1.0), angles=(30, 0, 0)).canonical()
    axial, coronal, _ = planes(np.ones(grid.shape, bool), grid)
    assert set(axial.edges[3]) in ({"P", "F"}, {"P", "H"})
    assert set(coronal.edges[2]) in ({"H", "A"}, {"H", "P"})


def test_a_body_that_is_nowhere_shows_the_middle(ball):
    found = planes(np.zeros(ball.array.shape, bool), ball.grid)
    assert [plane.index for plane in found] == [4, 30, 40]


def test_the_same_plane_elsewhere_differs_in_its_index_only(ball):
    axial = planes(ball.array, ball.grid)[0]
    other = at_slice(axial, 7)
    assert (other.index, other.crop, other.edges) == (7, axial.crop, axial.edges)
    assert other.where == "slice 8 of 10 from the feet"
