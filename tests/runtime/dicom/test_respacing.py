import numpy as np
import pytest
import SimpleITK
from dicom_study import make_grid, run_program, validation_errors, write_series
from pydicom import dcmread

from mrct_runtime.dicom import Derivation, read_study, write_ct_series
from mrct_runtime.dicom.respacing import respaced, respaced_grid
from mrct_runtime.errors import UsageError
from mrct_runtime.volume import Volume

DERIVATION = Derivation(
    "1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7, spacing_mm=0.8
)


@pytest.fixture(params=[(0, 0, 0), (18, -7, 3), (0, 180, 0)], ids=["straight", "oblique", "turned"])
def source(request, tmp_path):
    write_series(tmp_path / "mr", make_grid((8, 24, 32), (3.0, 1.0, 1.25), request.param))
    return read_study(tmp_path / "mr")


@pytest.mark.parametrize("spacing_mm", [0.3, 0.8, 1.0, 2.5])
def test_pixels_become_square_and_stay_inside_the_picture_about_its_centre(source, spacing_mm):
    old, new = source.volume.grid, respaced_grid(source.volume.grid, spacing_mm)
    np.testing.assert_allclose(new.spacing_mm, [3.0, spacing_mm, spacing_mm], atol=1e-9)
    np.testing.assert_allclose(new.directions, old.directions, atol=1e-12)
    corners = np.array([(0, -0.5, -0.5), (7, new.shape[1] - 0.5, new.shape[2] - 0.5)])
    inside = old.index(new.world(corners))
    assert (inside[:, 1:] >= -0.5 - 1e-6).all()
    assert (inside[:, 1:] <= np.asarray(old.shape[1:]) - 0.5 + 1e-6).all()
    # less than one new pixel is lost, half of it at either side
    assert (inside[0, 1:] + 0.5 < spacing_mm / old.spacing_mm[1:] / 2 + 1e-6).all()
    np.testing.assert_allclose(inside[:, 0], [0, 7], atol=1e-9)
    middle = (np.asarray(new.shape) - 1) / 2
    np.testing.assert_allclose(old.index(new.world(middle)), (np.asarray(old.shape) - 1) / 2)


def test_what_is_linear_in_space_stays_what_it_was(source):
    grid = source.volume.grid
    y, x = np.indices(grid.shape[1:])
    ramp = np.broadcast_to(10.0 * y + 3.0 * x, grid.shape).astype(np.float32)
    new = respaced_grid(grid, 0.8)
    found = Volume(ramp, grid).resample(new, fill=0.0)
    rows, columns = np.moveaxis(
        grid.index(new.world(np.moveaxis(np.indices(new.shape), 0, -1))), -1, 0
    )[1:]
    inner = (rows > 0) & (rows < 23) & (columns > 0) & (columns < 31)
    np.testing.assert_allclose(found.array[inner], (10 * rows + 3 * columns)[inner], atol=1e-3)


def test_the_written_series_lies_there_and_says_that_it_was_resampled(source, tmp_path):
    other = respaced(source, 0.8)
    hu = Volume(np.rint(other.volume.array / 4), other.volume.grid)
    (tmp_path / "sct").mkdir()
    written = write_ct_series(hu, other, tmp_path / "sct", DERIVATION)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "sct"))
    image = SimpleITK.ReadImage(names)
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), hu.array)
    for index in [(0, 0, 0), (7, hu.array.shape[1] - 1, hu.array.shape[2] - 1)]:
        place = image.TransformIndexToPhysicalPoint([*index[::-1]])
        np.testing.assert_allclose(place, hu.grid.world(index), atol=1e-4)
    for path, header in zip(written.files, source.headers, strict=True):
        made = dcmread(path)
        assert list(made.PixelSpacing) == [0.8, 0.8]
        assert [c.CodeValue for c in made.DerivationCodeSequence] == ["MR2SCT", "113085"]
        assert "Resampled to 0.8 mm pixels" in made.DerivationDescription
        (origin,) = made.SourceImageSequence
        assert origin.ReferencedSOPInstanceUID == header.SOPInstanceUID
        assert origin.SpatialLocationsPreserved == "NO"
        assert made.FrameOfReferenceUID == header.FrameOfReferenceUID
        assert validation_errors(run_program("dciodvfy", path)) == []


def test_slices_keep_their_own_places_and_the_source_its_headers(shared_data):
    source = read_study(shared_data / "ge_fse_pd_axial_dicom", series="2")
    before = [header.Rows for header in source.headers]
    other = respaced(source, 1.0)
    normal = source.volume.grid.normal
    for old, new in zip(source.headers, other.headers, strict=True):
        apart = np.subtract(new.ImagePositionPatient, old.ImagePositionPatient)
        assert abs(apart.astype(float) @ normal) < 1e-6
    assert [header.Rows for header in source.headers] == before


@pytest.mark.parametrize("spacing_mm", [0.001, 30.0])
def test_a_spacing_that_makes_no_picture_is_refused(source, spacing_mm):
    with pytest.raises(UsageError, match="pixels of slices of 24 x 40 mm"):
        respaced_grid(source.volume.grid, spacing_mm)
