import shutil

import numpy as np
import pytest
from dicom_study import make_grid
from paired_sets import GRID, head, write_ct, write_gold_atlas, write_part

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.paired.dicom import find
from mrct_runtime.paired.values import Pair


def read(folder) -> Pair:
    (subject,) = find(folder)
    (pair,) = subject.read()
    return pair


def test_gold_atlas_gives_the_t2w_mr_and_the_ct_deformed_to_it(tmp_path):
    write_gold_atlas(tmp_path / "1_01_P")
    pair = read(tmp_path)
    mr, ct, _ = head()
    np.testing.assert_array_equal(pair.mr.array, mr.array)
    np.testing.assert_array_equal(pair.ct.array, ct.array)
    assert pair.mask is None
    assert pair.source == "MR series 3 't2_tse_tra', CT series 9 'Deformed 'CT 1' using CTtoMR DIR'"


def test_a_folder_a_subject_with_series_in_folders_or_all_in_one(tmp_path):
    write_gold_atlas(tmp_path / "A")
    (tmp_path / "B").mkdir()
    for path in (tmp_path / "A").rglob("*.dcm"):
        shutil.copy(path, tmp_path / "B" / path.name)
    a, b = find(tmp_path)
    assert (a.name, b.name) == ("A", "B")
    assert len(a.files) == len(b.files) == 22
    np.testing.assert_array_equal(a.read()[0].ct.array, b.read()[0].ct.array)


def test_a_folder_of_one_study_is_one_subject(tmp_path):
    write_gold_atlas(tmp_path / "study")
    assert [subject.name for subject in find(tmp_path / "study")] == ["study"]
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (tmp_path / "study").rglob("*.dcm"):
        path.rename(flat / path.name)
    assert [(subject.name, len(subject.files)) for subject in find(flat)] == [("flat", 22)]


def test_a_single_subject_with_one_of_the_two_is_found_and_refused(tmp_path):
    write_gold_atlas(tmp_path / "A", mr=False)
    write_gold_atlas(tmp_path / "B", deformed=False, original=False)
    a, b = find(tmp_path)
    with pytest.raises(InputRejectedError, match="no MR series in the study"):
        a.read()
    with pytest.raises(
        InputRejectedError, match="no CT series shares its frame of reference; found no CT"
    ):
        b.read()


def test_a_ct_on_another_grid_is_refused_with_both_grids(tmp_path):
    write_gold_atlas(tmp_path / "A", deformed=False)
    with pytest.raises(
        InputRejectedError, match=r"7 slices of 36 x 36.*5 slices of 36 x 30.*resample the CT"
    ):
        read(tmp_path)


def test_of_two_cts_on_the_grid_the_deformed_one_is_taken_and_else_both_are_named(tmp_path):
    write_gold_atlas(tmp_path / "A")
    write_ct(tmp_path / "A", "rigid", GRID, number=10, description="CT 1 rigid")
    np.testing.assert_array_equal(read(tmp_path).ct.array, head()[1].array)
    shutil.rmtree(tmp_path / "A" / "CTdef")
    write_ct(tmp_path / "A", "rigid 2", GRID, number=11, description="CT 1 rigid again")
    told = (
        "3 CT series share its frame of reference, 2 of them lie on its grid.*series 10.*series 11"
    )
    with pytest.raises(InputRejectedError, match=told):
        read(tmp_path)


def test_two_cts_of_which_none_lies_on_the_grid_are_named(tmp_path):
    write_gold_atlas(tmp_path / "A", deformed=False)
    write_ct(tmp_path / "A", "CT2", make_grid((6, 36, 36)), number=5, description="CT 2")
    with pytest.raises(
        InputRejectedError, match=r"0 of them lie on its grid.*'CT 1'.*'CT 2'.*leave one"
    ):
        read(tmp_path)


def test_two_equally_good_mrs_are_named_with_what_to_do(tmp_path):
    write_gold_atlas(tmp_path / "A")
    write_part(tmp_path / "A", "again", GRID, number=4)
    with pytest.raises(
        InputRejectedError, match=r"equally good axial T2w.*leave one alone in the folder"
    ):
        read(tmp_path)


def test_a_folder_without_dicom_has_another_layout(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "notes.txt").write_text("nothing")
    assert find(tmp_path) == []
