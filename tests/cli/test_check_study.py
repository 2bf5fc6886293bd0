import json
import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from dicom_study import CANARY, gunzip, make_grid, write_series
from paired_sets import write_gold_atlas
from pydicom import dcmread, dcmwrite
from pydicom.uid import generate_uid

from mrct_cli import boundary
from mrct_cli.main import load
from mrct_runtime.nifti import write_nifti
from mrct_runtime.volume import Volume

GRID = make_grid((10, 12, 16), (3.0, 1.0, 1.25), (12, -4, 2))
SAGITTAL = make_grid((10, 12, 16), angles=(0, 90, 0))
VENDORS = "vendor_small_and_compressed_dicom"
GZIPPED = "philips_classic_and_enhanced_dicom/classic_mprage_gz"

# Every real study: exit code, what would be used, slices of each stack by its name (a bare number where there is one), and a
# part of what is told.
REAL = {
    "ge_fse_pd_axial_dicom": (4, None, {"2": 20}, "not T2-weighted (TE 22 ms -4"),
    "paired_synthrad2023_brain_2d": (0, None, None, "120 subjects"),
    "pelvis_ct_umcu_dicom": (3, None, {"111": 33}, "no MR series in the study (CT)"),
    "philips_classic_and_enhanced_dicom/classic_mprage_gz": (3, None, None, "no paired data here"),
    "philips_classic_and_enhanced_dicom/enhanced": (
        4,
        None,
        {"1901": 40, **{f"2001:{k}": 53 for k in (1, 2, 3, 4)}},
        "1 Raw Data Storage",
    ),
    "prostatex_mr_dicom/ProstateX": (
        0,
        "4",
        {"3": 19, "4": 19, "5": 15, "6:1": 19, "6:2": 19, "6:3": 19, "7": 19, "8": 19, "9": 16},
        "used: 4, score 8.38 (TE 104 ms +2",
    ),
    "prostatex_mr_dicom/ProstateX-missing-slice": (
        4,
        None,
        {"8": 18},
        "wrong: 1 slice is missing, at (-45.6, -100.3, 20.0) mm",
    ),
    "seg3d_brain_mr_with_ct_skull_mask": (4, None, None, "lacks the CT"),
    "siemens_xa30_enhanced_mr_dicom": (
        4,
        None,
        {"5": 96, "8:1": 33, "8:2": 33},
        "1 Enhanced SR Storage",
    ),
    "totalsegmentator_examples/example_ct_dicom": (4, None, {}, "20 damaged, it lacks SOPClassUID"),
    f"{VENDORS}/failing/gantrytilting": (3, None, {"4": 4}, "sideways by up to 3.63 mm"),
    f"{VENDORS}/failing/slicecount": (4, None, {"4": 2}, "sagittal"),
    f"{VENDORS}/failing/sliceorientation": (4, None, {"202": 2, "501": 2}, "of 2 slices only"),
    f"{VENDORS}/ge": (4, None, {"4": 4}, "sagittal 3.0 deg"),
    f"{VENDORS}/generic/compressed_rle": (4, None, {"4": 4}, "sagittal"),
    f"{VENDORS}/generic/compressed_jpeg": (4, None, {"4": 4}, "sagittal"),
    f"{VENDORS}/generic/compressed_jpegls": (4, None, {"4": 4}, "sagittal"),
    f"{VENDORS}/generic/compressed_j2k": (4, None, {"4": 4}, "sagittal"),
    f"{VENDORS}/hitachi": (4, None, {"10": 4}, "sagittal 38.7 deg"),
    f"{VENDORS}/hyperfine": (4, None, {"10": 8}, "fluid suppressed -4"),
    f"{VENDORS}/philips": (4, None, {"401": 4}, "coronal 1.4 deg"),
    f"{VENDORS}/philips_enhanced": (4, None, {"301": 8}, "sagittal"),
    f"{VENDORS}/siemens": (4, None, {"4": 4}, "sagittal"),
    f"{VENDORS}/siemens_multiframe": (4, None, {"5": 8}, "not T2-weighted (TE 2.46 ms"),
}


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = boundary.run(load("check"), "mrct check", [str(a) for a in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("study", REAL)
def test_every_real_study_has_the_verdict_that_is_expected(run, shared_data, study):
    code, used, slices, told = REAL[study]
    shown, out, err = run(shared_data / study)
    assert shown == code
    assert err.count("\n") == (0 if code == 0 else 1)
    assert told in out + err
    if slices is None:
        return
    document = json.loads(run(shared_data / study, "--json")[1])
    assert {stack["name"]: stack["slices"] for stack in document["stacks"]} == slices
    assert (document["used"], document["exit_code"]) == (used, code)
    if code:
        assert err == f"mrct: error: {document['error']}\n"


def test_the_table_covers_every_folder_of_real_data(shared_data):
    tops = {path.name for path in shared_data.iterdir() if path.is_dir()}
    assert {study.partition("/")[0] for study in REAL} == tops


def test_a_real_philips_study_of_sagittal_slices_is_used_where_it_is_named(
    run, shared_data, tmp_path
):
    gunzip(shared_data / GZIPPED, tmp_path)
    code, out, err = run(tmp_path)
    assert code == 4
    assert "170 x 256 x 256" in out
    assert "series 1301" in err
    code, out, err = run(tmp_path, "--series", "1301")
    assert (code, err) == (0, "")
    assert "note: the series is sagittal: its axial cuts are translated, 256 of 256 x 170" in out
    assert "used: 1301, named by --series" in out


def test_two_equal_real_t2_are_listed_to_paste(run, shared_data, tmp_path):
    (folder,) = (shared_data / "prostatex_mr_dicom" / "ProstateX").rglob("4.*")
    uid = generate_uid()
    for path in folder.glob("*.dcm"):
        (tmp_path / path.name).symlink_to(path)
        image = dcmread(path)
        image.SeriesInstanceUID, image.SeriesNumber = uid, 12
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dcmwrite(tmp_path / f"again-{path.name}", image)
    code, out, err = run(tmp_path)
    assert code == 4
    assert "nothing can be used" in out
    assert "equally good axial T2w: 4 (series 4 't2_tse_tra'), 12 (series 12 't2_tse_tra')" in err
    assert run(tmp_path, "--series", "12")[0] == 0


def test_a_study_with_a_dicomdir_text_and_pictures_in_nested_folders_is_a_study(
    run, shared_data, tmp_path
):
    (folder,) = (shared_data / "prostatex_mr_dicom" / "ProstateX").rglob("4.*")
    place = tmp_path / "DICOM" / "PAT1" / "SE1"
    place.mkdir(parents=True)
    for k, path in enumerate(sorted(folder.glob("*.dcm"))):
        shutil.copy(path, place / f"IM{k:05d}")
    index = dcmread(place / "IM00000")
    index.SOPClassUID = index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dcmwrite(tmp_path / "DICOMDIR", index)
    (tmp_path / "README.TXT").write_text("a viewer")
    (tmp_path / "viewer.exe").write_bytes(b"MZ" * 100)
    code, out, _ = run(tmp_path)
    assert code == 0
    assert "no images of MR or CT: 1 Media Storage Directory Storage" in out
    assert "* 4" in out


def test_what_is_wrong_beside_what_can_be_used_is_told_and_ends_with_0(run, tmp_path):
    write_series(tmp_path / "4", GRID)
    write_series(tmp_path / "5", GRID, number=5, description="t2 gap", skip=(3,))
    write_series(tmp_path / "9", GRID, number=9, elements={"PixelSpacing": None})
    code, out, err = run(tmp_path, "--series", "4")
    assert (code, err) == (0, "")
    assert "wrong: 1 slice is missing" in out
    assert "10 without position, orientation or pixel spacing" in out
    assert CANARY not in out


def test_a_damaged_file_of_the_series_refuses_it_without_its_name(run, tmp_path):
    paths = write_series(tmp_path, GRID)
    paths[0].write_bytes(paths[0].read_bytes()[:300])
    paths[0].rename(tmp_path / f"{CANARY}.dcm")
    code, out, err = run(tmp_path)
    assert code == 4
    assert "1 damaged, it ends within an element" in out
    assert "cannot be used: 1 damaged, it ends within an element; repair or take out" in err
    assert CANARY not in out + err


def test_pixels_that_are_not_all_there_are_noticed_before_a_model_is_loaded(run, tmp_path):
    paths = write_series(tmp_path, GRID)
    paths[0].write_bytes(paths[0].read_bytes()[:-40])
    code, _, err = run(tmp_path)
    assert code == 4
    assert "1 truncated, it has 344 of 384 bytes of pixels" in err


def test_studies_in_one_folder_are_told_apart(run, tmp_path):
    for k in (1, 2):
        write_series(tmp_path / str(k), GRID, number=k, elements={"StudyInstanceUID": f"1.2.{k}"})
    code, out, err = run(tmp_path)
    assert code == 4
    lines = out.splitlines()
    assert [lines[1], lines[4]] == ["study 1.2.1", "study 1.2.2"]
    assert "2 MR studies in one folder, of the UIDs 1.2.1, 1.2.2" in err
    assert json.loads(run(tmp_path, "--json")[1])["studies"] == ["1.2.1", "1.2.2"]


def test_json_holds_what_is_shown_and_no_patient(run, tmp_path):
    write_series(tmp_path / "4", GRID)
    write_series(tmp_path / "7", SAGITTAL, number=7, description="t2 sag")
    code, out, err = run(tmp_path, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert (document["used"], document["error"], document["unusable"]) == ("4", None, {})
    first, second = document["stacks"]
    assert (first["plane"], first["slices"], first["rows"], first["columns"]) == (
        "axial",
        10,
        12,
        16,
    )
    assert first["spacing_mm"] == pytest.approx([3.0, 1.0, 1.25])
    assert (first["echo_ms"], first["repetition_ms"]) == (100.0, 4000.0)
    assert (second["score"], second["reason"]) == (None, "sagittal")
    assert CANARY not in out
    assert str(tmp_path) not in out


def test_a_data_set_of_one_subject_is_told_from_a_study_of_an_mr_and_a_ct(run, tmp_path):
    write_gold_atlas(tmp_path / "data" / "A")
    assert "1 subject: 1 ok" in run(tmp_path / "data")[1]
    assert "1 subject: 1 ok" in run(tmp_path / "data", "--subjects", "A")[1]
    # the subject's own folder holds the series of one study
    code, out, _ = run(tmp_path / "data" / "A")
    assert code == 0
    assert "used: 3" in out
    assert "1 subject" not in out
    # and what is in the folder of the data set is a study where a series is named
    assert "used: 3" in run(tmp_path / "data", "--series", "3")[1]


def test_two_options_of_two_kinds_of_folders_are_refused(run, tmp_path):
    code, _, err = run(tmp_path, "--series", "3", "--subjects", "*")
    assert code == 2
    assert "give one of them" in err


@pytest.mark.parametrize(("grid", "plane"), [(GRID, "axial"), (SAGITTAL, "sagittal")])
def test_the_volume_of_a_file_is_told_too(grid, plane, run, tmp_path):
    values = np.arange(grid.shape[0] * 12 * 16, dtype=np.float32).reshape(grid.shape)
    write_nifti(Volume(values, grid), tmp_path / "mr.nii.gz")
    code, out, _ = run(tmp_path / "mr.nii.gz")
    assert code == 0
    first, *_, used, last = out.splitlines()
    assert "10 x 12 x 16 voxels of" in first
    assert f"cut nearest to {plane}; values 0 to 1919" in first
    assert used.startswith("used: a .nii.gz file, taken to be an axial T2-weighted MR")
    assert last == "PASSED this volume can be translated"
    document = json.loads(run(tmp_path / "mr.nii.gz", "--json")[1])
    assert document["shape"] == [10, 12, 16]
    np.testing.assert_allclose(document["spacing_mm"], grid.spacing_mm, atol=1e-4)


def test_a_file_that_is_no_volume_and_one_that_is_not_there_are_told_in_one_line(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no volume")
    for name, told in (
        ("notes.txt", "notes.txt: a file, and none of .nii"),
        ("absent.nii.gz", "no such file (a .nii.gz file)"),
        ("absent", "no such folder"),
    ):
        code, _, err = run(tmp_path / name)
        assert code == 3
        assert err.count("\n") == 1
        assert told in err


def test_a_pipe_and_a_link_to_nowhere_hold_nothing_up(run, tmp_path):
    write_series(tmp_path, GRID)
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert run(tmp_path)[0] == 0
    (tmp_path / "MR4_999.dcm").symlink_to(tmp_path / "nowhere")
    assert "1 damaged" in run(tmp_path)[1]


def test_the_help_tells_a_study_from_a_data_set():
    out = " ".join(CliRunner().invoke(load("check"), ["--help"]).output.split())
    assert "Any other folder with DICOM files is a study" in out
