import zlib

import numpy as np
import pytest
from dicom_study import make_grid, write_series
from paired_sets import SHAPE, head, write_gold_atlas, write_png, write_synthrad
from pydicom import dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mrct_runtime.errors import InputRejectedError, NoInputError
from mrct_runtime.intensity import AIR_HU, MrNormalisation
from mrct_runtime.manifest import Image
from mrct_runtime.paired import LAYOUTS, Preparation, find_subjects, is_study, passed_over, prepare
from mrct_runtime.translate import conditioned

WRITERS = {
    "PNG pairs": lambda folder: write_png(folder, ["A"], ["axial"]),
    "NIfTI or MetaImage": lambda folder: write_synthrad(folder / "A"),
    "DICOM studies": lambda folder: write_gold_atlas(folder / "A"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_finds_its_own_subject_and_reads_the_same_head(layout, tmp_path):
    WRITERS[layout](tmp_path)
    (subject,) = find_subjects(tmp_path)
    assert (subject.name, subject.layout) == ("A", layout)
    assert all(path.is_file() for path in subject.files)
    (pair,) = subject.read()
    mr, ct, body = head()
    middle = slice(2, 3) if layout == "PNG pairs" else slice(None)
    scale, rounding = (4, 8) if layout == "PNG pairs" else (1, 0)
    np.testing.assert_allclose(scale * pair.mr.array, mr.array[middle], atol=scale - 1)
    np.testing.assert_allclose(pair.ct.array, ct.array[middle], atol=rounding)
    if pair.mask is not None:
        np.testing.assert_array_equal(pair.mask, body[middle])


def test_subjects_of_several_layouts_are_all_found_and_prepared_files_go_before_raw_studies(
    tmp_path,
):
    write_gold_atlas(tmp_path / "A")
    write_gold_atlas(tmp_path / "B")
    write_synthrad(tmp_path / "B")
    write_synthrad(tmp_path / "C")
    layouts = [subject.layout for subject in find_subjects(tmp_path)]
    assert layouts == ["DICOM studies", "NIfTI or MetaImage", "NIfTI or MetaImage"]


def test_one_patient_in_two_layouts_in_nested_folders_is_refused(tmp_path):
    """Of two subjects one could be trained on and the other tested."""
    write_gold_atlas(tmp_path / "P1" / "dicom")
    write_synthrad(tmp_path / "P1" / "nifti")
    write_synthrad(tmp_path / "P2")
    told = r"nifti \(NIfTI or MetaImage\) lies in the folder of P1 \(DICOM studies\)"
    with pytest.raises(InputRejectedError, match=told):
        find_subjects(tmp_path)
    assert [subject.name for subject in find_subjects(tmp_path, "P*")] == ["P1", "P2"]


def test_pictures_around_a_study_are_refused_too(tmp_path):
    write_png(tmp_path, ["P1"])
    write_synthrad(tmp_path / "P1" / "volumes")
    with pytest.raises(InputRejectedError, match=r"volumes .* lies in the folder of P1 \(PNG"):
        find_subjects(tmp_path)


def test_the_pattern_chooses_by_name_and_a_pattern_for_nothing_is_told(tmp_path):
    for name in ("1BA001", "1BA002", "1PA001"):
        write_synthrad(tmp_path / "Task1" / name)
    assert [s.name for s in find_subjects(tmp_path, "1BA*")] == ["1BA001", "1BA002"]
    with pytest.raises(
        NoInputError, match="none of its 3 subjects is named like 'x', the first is 1BA001"
    ):
        find_subjects(tmp_path, "x")


def test_a_folder_without_pairs_or_no_folder_is_told(tmp_path):
    with pytest.raises(NoInputError, match="no paired data here; known layouts: PNG pairs"):
        find_subjects(tmp_path)
    with pytest.raises(NoInputError, match="no such folder"):
        find_subjects(tmp_path / "absent")


def test_folders_beside_the_subjects_that_hold_nothing_known_are_named(tmp_path):
    write_synthrad(tmp_path / "brain" / "1BA001")
    (tmp_path / "brain" / "overview").mkdir()
    (tmp_path / "papers").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert passed_over(tmp_path, find_subjects(tmp_path)) == ["brain/overview", "papers"]
    write_gold_atlas(tmp_path / "P1")
    (tmp_path / "P1" / "lost").mkdir()
    assert passed_over(tmp_path, find_subjects(tmp_path)) == ["P1/lost", "brain/overview", "papers"]


def test_the_mr_is_prepared_as_at_inference_and_the_ct_comes_onto_its_grid(tmp_path):
    write_synthrad(tmp_path / "A")
    (pair,) = find_subjects(tmp_path)[0].read()
    preparation = Preparation(Image(size=48, spacing_mm=1.5, multiple=1), MrNormalisation())
    slices = prepare(pair, preparation)
    condition, *_ = conditioned(pair.mr, preparation.normalisation, preparation.image)
    np.testing.assert_array_equal(slices.mr, condition.array)
    assert slices.hu.shape == slices.body.shape == (SHAPE[0], 48, 48)
    assert (slices.mr.dtype, slices.hu.dtype, slices.body.dtype) == (np.float32, np.float32, bool)
    assert np.median(slices.hu[slices.body]) == pytest.approx(40, abs=1)
    # the grid is wider than the pictures: air beyond
    assert (slices.hu[:, :, 0] == AIR_HU).all()
    assert not slices.body[:, :, 0].any()


def test_an_unreadable_mask_is_no_reason_to_go_on_without_one(tmp_path):
    write_synthrad(tmp_path / "A")
    (tmp_path / "A" / "mask.nii.gz").write_bytes(b"no gzip")
    with pytest.raises(InputRejectedError, match=r"mask.nii.gz cannot be read as NIfTI"):
        find_subjects(tmp_path)[0].read()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_data_set_is_no_study(layout, tmp_path):
    WRITERS[layout](tmp_path)
    assert not is_study(tmp_path)
    assert not is_study(tmp_path / "absent")


def test_the_folder_of_one_subject_or_of_series_is_a_study(tmp_path):
    write_gold_atlas(tmp_path / "data" / "A")
    assert is_study(tmp_path / "data" / "A")
    grid = make_grid((4, 8, 10))
    for number in (1, 2):
        write_series(tmp_path / "series" / str(number), grid, number=number)
    assert is_study(tmp_path / "series")


def mr_and_ct(folder, syntax=None):
    """Both in one folder, each in a frame of reference of its own."""
    grid = make_grid((2, 8, 10))
    for modality, frame in (("MR", "1.2.3"), ("CT", "1.2.4")):
        elements = {"FrameOfReferenceUID": frame}
        for path in write_series(folder, grid, modality=modality, elements=elements):
            image = dcmread(path)
            image.file_meta.TransferSyntaxUID = syntax or image.file_meta.TransferSyntaxUID
            dcmwrite(path, image)


def test_mr_and_ct_of_two_frames_are_subjects_only_where_there_are_several(tmp_path):
    mr_and_ct(tmp_path / "A")
    assert is_study(tmp_path)
    mr_and_ct(tmp_path / "B")
    assert not is_study(tmp_path)


def test_deflated_files_are_not_inflated_to_find_that_out(tmp_path, monkeypatch):
    for name in "AB":
        mr_and_ct(tmp_path / name, DeflatedExplicitVRLittleEndian)

    def inflate(*_):
        raise AssertionError

    monkeypatch.setattr(zlib, "decompress", inflate)
    monkeypatch.setattr(zlib, "decompressobj", inflate)
    assert is_study(tmp_path)
