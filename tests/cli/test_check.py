import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from dicom_study import CANARY
from paired_sets import GRID, head, write_gold_atlas, write_png, write_synthrad

from mrct_cli import boundary
from mrct_cli.main import load
from mrct_runtime.volume import Volume


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = boundary.run(load("check"), "mrct check", [str(a) for a in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def mixed(tmp_path):
    """A data set with every kind of wrong subject, and a right one after them."""
    mr, ct, _ = head()
    array = mr.array.copy()
    array[2, 3, 4] = np.nan
    metal = ct.array.copy()
    metal[0, 0, :3] = 19002
    write_synthrad(tmp_path / "A1", ct=None)
    write_synthrad(tmp_path / "A2", mr=Volume(array, GRID))
    write_synthrad(tmp_path / "A3", mask=Volume(np.zeros(GRID.shape, bool), GRID))
    write_gold_atlas(tmp_path / "A4", deformed=False)
    write_synthrad(tmp_path / "B1", ct=Volume(metal, GRID))
    write_gold_atlas(tmp_path / "B2")
    (tmp_path / "C").mkdir()
    return tmp_path


def test_a_right_data_set_ends_with_0_and_a_line_a_subject(run, tmp_path):
    write_png(tmp_path)
    code, out, err = run(tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        *(
            f"ok       {name}: PNG pairs; axial 36 x 30, coronal 5 x 30, sagittal 5 x 36; 1 x 1 mm; "
            "-1000 to 896 HU; mask"
            for name in ("1BA001", "1BA005")
        ),
        "2 subjects: 2 ok, 0 with warnings, 0 wrong; 6 slices can be used",
        "PASSED every subject can be used",
    ]


def test_every_wrong_subject_is_told_with_its_reason_and_none_ends_the_list(run, mixed):
    code, out, err = run(mixed)
    assert code == 4
    assert err == "mrct: error: 4 of 6 subjects cannot be used; mend them or take them out\n"
    verdicts = [line.split()[:2] for line in out.splitlines() if not line.startswith(" ")][:6]
    assert verdicts == [
        ["wrong", "A1:"],
        ["wrong", "A2:"],
        ["wrong", "A3:"],
        ["wrong", "A4:"],
        ["warning", "B1:"],
        ["ok", "B2:"],
    ]
    for reason in (
        "wrong: lacks the CT, a file ct{.nii.gz,.nii,.mha,.mhd}",
        "wrong: the axial MR holds NaN or infinite values in 1 of 5 slices, the first is slice 3",
        "wrong: the axial body mask is empty",
        "resample the CT to the MR's slices and pixels first",
        "warning: 3 of 5400 voxels of the axial CT lie outside -1024 to 3071 HU",
        "MR series 3 't2_tse_tra', CT series 9",
        "passed over, no MR and no CT in: C",
        "6 subjects: 1 ok, 1 with warnings, 4 wrong; 10 slices can be used",
    ):
        assert reason in out
    assert CANARY not in out


def test_json_holds_the_same(run, mixed):
    code, out, _ = run(mixed, "--json")
    assert code == 4
    document = json.loads(out)
    assert [one["verdict"] for one in document["subjects"]] == ["wrong"] * 4 + ["warning", "ok"]
    assert document["passed_over"] == ["C"]
    right = document["subjects"][-1]
    assert (right["name"], right["layout"], right["fault"]) == ("B2", "DICOM studies", "")
    (pair,) = right["pairs"]
    assert (pair["shape"], pair["spacing_mm"], pair["mask"]) == (
        [5, 36, 30],
        [3.0, 2.0, 2.0],
        False,
    )
    assert (pair["lowest_hu"], pair["highest_hu"]) == (-1000.0, 900.0)


def test_nothing_found_ends_with_3(run, tmp_path):
    code, out, err = run(tmp_path)
    assert (code, out) == (3, "FAILED with exit code 3: no usable input\n")
    assert err.startswith("mrct: error: ")
    assert "no paired data here" in err
    assert run(tmp_path / "absent")[0] == 3


def test_train_and_test_are_both_looked_at(run, tmp_path):
    for part in ("train", "test"):
        write_gold_atlas(tmp_path / part / "phantom-01")
    (tmp_path / "dataset.json").write_text("{}")
    code, out, _ = run(tmp_path)
    assert code == 0
    assert "ok       train/phantom-01: DICOM" in out
    assert "ok       test/phantom-01: DICOM" in out
    assert "2 subjects" in out


def test_an_empty_part_is_no_reason_to_end(run, tmp_path):
    write_gold_atlas(tmp_path / "train" / "A")
    (tmp_path / "test").mkdir()
    assert run(tmp_path)[0] == 0


def test_the_pattern_chooses_subjects(run, mixed):
    code, out, _ = run(mixed, "--subjects", "B*")
    assert code == 0
    assert "2 subjects" in out


def test_a_missing_simpleitk_is_the_fault_of_the_subjects_that_need_it(run, tmp_path, monkeypatch):
    write_synthrad(tmp_path / "A", ".mha")
    write_synthrad(tmp_path / "B")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    code, out, _ = run(tmp_path)
    assert code == 4
    assert "pip install 'mrct[itk]'" in out
    assert "ok       B" in out


def test_the_help_says_what_the_exit_codes_mean():
    out = CliRunner().invoke(load("check"), ["--help"]).output
    assert "4 where one cannot" in out


def test_a_set_with_a_test_part_alone_is_refused_as_training_refuses_it(run, tmp_path):
    write_synthrad(tmp_path / "test" / "A")
    code, _, err = run(tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "has a folder test but none called train" in err
    assert run(tmp_path / "test")[0] == 0
