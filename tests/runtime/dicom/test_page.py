import numpy as np
import pytest
import SimpleITK
from dicom_study import make_grid, run_program, validation_errors, write_series
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from mrct_runtime.dicom import Derivation, read_study
from mrct_runtime.dicom.page import write_pages
from mrct_runtime.preview import CAPTION, pictures
from mrct_runtime.volume import Volume

DERIVATION = Derivation("1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7)


@pytest.fixture
def source(tmp_path):
    write_series(tmp_path / "mr", make_grid((8, 12, 16)))
    return read_study(tmp_path / "mr")


def test_readers_see_the_pixels_of_the_pictures(source, tmp_path):
    drawn = [
        np.random.default_rng(n).integers(0, 256, shape).astype(np.uint8)
        for n, shape in enumerate([(31, 17, 3), (20, 40, 3)])
    ]
    files = write_pages(drawn, source, tmp_path, DERIVATION)
    assert [path.name for path in files] == ["PAGE.0001.dcm", "PAGE.0002.dcm"]
    for path, picture in zip(files, drawn, strict=True):
        assert np.array_equal(dcmread(path).pixel_array, picture)
        image = SimpleITK.ReadImage(str(path))
        assert np.array_equal(SimpleITK.GetArrayFromImage(image)[0], picture)


def test_a_page_is_a_picture_of_the_study_that_tells_what_is_burned_in(source, tmp_path):
    flat = np.zeros((4, 4, 3), np.uint8)
    (path,) = write_pages([flat], source, tmp_path, DERIVATION)
    page = dcmread(path)
    assert (page.SOPClassUID, page.Modality) == (SecondaryCaptureImageStorage, "OT")
    assert page.BurnedInAnnotation == "YES"
    assert "FrameOfReferenceUID" not in page
    assert page.StudyInstanceUID == source.headers[0].StudyInstanceUID
    assert "RESEARCH USE ONLY" in page.SeriesDescription


def test_dciodvfy_finds_no_error(source, tmp_path):
    (path,) = write_pages([np.zeros((5, 5, 3), np.uint8)], source, tmp_path, DERIVATION)
    report = run_program("dciodvfy", path)
    assert "SCImage" in report
    assert validation_errors(report) == []


def test_the_pictures_of_a_result_are_those_of_its_png_files_in_colour(source):
    mr = source.volume.canonical()
    std = Volume(np.abs(mr.array) / 40, mr.grid)
    assert "RESEARCH USE ONLY" in CAPTION
    for picture in pictures(mr, mr, std):
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        # text and grey images on white, a deviation in colours
        assert (picture == 255).all(axis=2).mean() > 0.1
        assert np.ptp(picture.astype(int), axis=2).max() > 100
