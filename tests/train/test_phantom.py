import hashlib
import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.ndimage import binary_erosion

from mrct_runtime.errors import OutputError, UsageError
from mrct_train.phantom import (
    Appearance,
    DatasetSpec,
    GridSpec,
    Subject,
    Tissue,
    generate_subject,
    write_dataset,
    write_study,
)
from mrct_train.phantom.fields import field
from mrct_train.phantom.shapes import Cone, Ellipsoid, outline, polygon_distance
from mrct_train.phantom.tissue import PROPERTIES

GRID = GridSpec(size=112, spacing=4.0, slices=12, slice_spacing=18.0)
# The Gold Atlas has 19 subjects; ranges are those of a planning CT at 120 kV.
HU_RANGES = {
    Tissue.FAT: (-130, -70),
    Tissue.MUSCLE: (30, 75),
    Tissue.TRABECULAR: (120, 320),
    Tissue.URINE: (-10, 25),
}


@pytest.fixture(scope="module")
def subject() -> Subject:
    return generate_subject(seed=1, subject=1, grid=GRID)


@pytest.fixture(scope="module")
def plain() -> Subject:
    return generate_subject(1, 1, GRID, Appearance.plain())


@pytest.fixture(scope="module")
def study(subject, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(subject, 1, folder)
    return folder


def interior(subject: Subject, tissue: Tissue) -> np.ndarray:
    inside = np.stack([binary_erosion(s, iterations=2) for s in subject.labels == tissue])
    assert inside.sum() > 20
    return inside


def headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("tissue", HU_RANGES)
def test_ct_numbers_inside_a_tissue_are_those_of_the_tissue(subject, tissue):
    low, high = HU_RANGES[tissue]
    assert low < subject.ct[interior(subject, tissue)].mean() < high


def test_cortical_bone_is_the_brightest_in_ct_and_dark_in_mr():
    fine = generate_subject(1, 1, GridSpec(512, 0.875, 1))
    cortex, fat = fine.labels == Tissue.CORTICAL, fine.labels == Tissue.FAT
    assert fine.ct[cortex].mean() > 800
    assert fine.mr[cortex].mean() < 0.25 * fine.mr[fat].mean()


@pytest.mark.parametrize("tissue", [Tissue.FAT, Tissue.MUSCLE, Tissue.URINE, Tissue.TRABECULAR])
def test_mr_signal_without_noise_is_that_of_the_spin_echo_equation(plain, tissue):
    p, s = PROPERTIES[tissue], plain.sequence
    expected = p.pd * (1 - math.exp(-s.tr / p.t1)) * math.exp(-s.te / p.t2) * s.gain
    values = plain.mr[interior(plain, tissue)]
    # the median: small vessels and nerves cross fat and muscle
    assert abs(float(np.median(values)) - expected) <= 1


def test_peripheral_zone_is_brighter_than_transition_zone_on_t2w():
    fine = generate_subject(1, 1, GridSpec(256, 1.75, 7, slice_spacing=12.0))
    peripheral = fine.mr[fine.labels == Tissue.PERIPHERAL_ZONE]
    transition = fine.mr[fine.labels == Tissue.TRANSITION_ZONE]
    assert len(peripheral) > 100
    assert peripheral.mean() > 1.2 * transition.mean()


def test_air_in_mr_holds_rayleigh_noise(subject):
    corner = subject.mr[:, :6, :6].astype(float)
    # a Rayleigh variable has mean / deviation = sqrt(pi / (4 - pi)); counts are rounded
    assert corner.mean() / corner.std() == pytest.approx(
        math.sqrt(math.pi / (4 - math.pi)), rel=0.1
    )


def test_the_same_seed_gives_the_same_subject(subject):
    again = generate_subject(1, 1, GRID)
    assert np.array_equal(again.mr, subject.mr)
    assert np.array_equal(again.ct, subject.ct)
    assert np.array_equal(again.affine, subject.affine)


def test_another_draw_of_the_ct_leaves_anatomy_and_mr_as_they_are() -> None:
    grid = GridSpec(size=64, spacing=6.5, slices=2, slice_spacing=20)
    first, *others = (generate_subject(3, 2, grid, ct_draw=k) for k in (0, 1, 2))
    again = generate_subject(3, 2, grid, ct_draw=2)
    np.testing.assert_array_equal(others[1].ct, again.ct)
    bones = [first.ct[first.labels == Tissue.CORTICAL].mean()]
    for other in others:
        np.testing.assert_array_equal(other.mr, first.mr)
        np.testing.assert_array_equal(other.labels, first.labels)
        bones.append(other.ct[other.labels == Tissue.CORTICAL].mean())
    # density differs between men by 8 %
    assert 5 < np.std(bones) < 250


def test_other_subjects_and_other_seeds_are_other_men(subject):
    for seed, number in ((1, 2), (2, 1)):
        other = generate_subject(seed, number, GRID)
        body = subject.labels > 0
        assert (other.labels != subject.labels)[body].mean() > 0.1


def test_a_coarse_grid_shows_the_same_man_as_a_fine_one():
    fine = generate_subject(1, 1, GridSpec(448, 1.0, 3, slice_spacing=18.0), Appearance.plain())
    coarse = generate_subject(1, 1, GridSpec(112, 4.0, 3, slice_spacing=18.0), Appearance.plain())
    blocks = fine.ct.astype(float).reshape(3, 112, 4, 112, 4).mean(axis=(2, 4))
    difference = np.abs(blocks - coarse.ct)
    assert difference[coarse.labels > 0].mean() < 12
    assert np.corrcoef(blocks.ravel(), coarse.ct.ravel())[0, 1] > 0.995


def test_a_pelvis_has_femoral_heads_in_the_middle_and_shafts_below(plain):
    x = plain.affine[0, 3] + plain.affine[0, 2] * np.arange(GRID.size)
    x = x - x.mean()
    bone = np.isin(plain.labels, [Tissue.CORTICAL, Tissue.TRABECULAR, Tissue.MARROW])
    heads = bone[5].any(axis=0)
    assert heads[(x > 70) & (x < 100)].all()
    assert heads[(x < -70) & (x > -100)].all()
    assert not bone[0][:, np.abs(x) < 25].any()  # between the thighs
    assert bone[-1][:, np.abs(x) < 25].any()  # the sacrum
    assert (plain.labels[0] == Tissue.MARROW).any()


def test_mr_and_ct_share_study_frame_of_reference_and_grid(study, subject):
    mr, ct = headers(study / "mr"), headers(study / "ct")
    assert len(mr) == len(ct) == GRID.slices
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({ds[name].value for ds in (*mr, *ct)}) == 1
    for a, b in zip(mr, ct, strict=True):
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"):
            assert a[name].value == b[name].value
        assert a.SeriesInstanceUID != b.SeriesInstanceUID
    position = subject.affine @ [3, 0, 0, 1]
    assert np.allclose(mr[3].ImagePositionPatient, position[:3], atol=1e-6)


def test_files_hold_the_pixels_of_the_subject(study, subject):
    assert np.array_equal([ds.pixel_array for ds in headers(study / "mr")], subject.mr)
    assert np.array_equal([ds.pixel_array for ds in headers(study / "ct")], subject.ct)


def test_no_two_instances_share_a_uid(study):
    uids = [ds.SOPInstanceUID for name in ("mr", "ct") for ds in headers(study / name)]
    assert len(set(uids)) == len(uids)


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed"
)
@pytest.mark.parametrize("name", ["mr", "ct"])
def test_dciodvfy_finds_no_error(study, name):
    for path in sorted((study / name).iterdir())[::5]:
        result = subprocess.run(
            ["dciodvfy", str(path)], capture_output=True, text=True, check=False
        )
        said = result.stdout + result.stderr
        assert "Image" in said
        assert "Error" not in said


def test_nineteen_subjects_are_split_seventeen_to_two():
    split = DatasetSpec().split()
    assert split == {"train": list(range(1, 18)), "test": [18, 19]}


@pytest.mark.parametrize(("subjects", "held"), [(1, 0), (2, 1), (5, 1), (10, 1), (30, 3)])
def test_a_tenth_and_at_least_one_of_two_is_held_for_tests(subjects, held):
    split = DatasetSpec(subjects=subjects).split()
    assert len(split["test"]) == held
    assert split["train"] + split["test"] == list(range(1, subjects + 1))


def test_a_data_set_is_laid_out_and_written_twice_alike(tmp_path):
    spec = DatasetSpec(subjects=2, seed=3, grid=GridSpec(32, 14.0, 3, 40.0, 5.0))
    seen = []
    write_dataset(tmp_path / "a", spec, lambda done, total: seen.append((done, total)))
    write_dataset(tmp_path / "b", spec)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert seen == [(k, 6) for k in range(1, 7)]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
    assert (tmp_path / "a/train/phantom-01/mr/0003.dcm").is_file()
    assert (tmp_path / "a/test/phantom-02/ct/0001.dcm").is_file()
    description = json.loads((tmp_path / "a/dataset.json").read_text())
    assert description["seed"] == 3
    assert description["split"] == {"train": ["phantom-01"], "test": ["phantom-02"]}


def test_a_single_subject_is_the_one_of_the_data_set(tmp_path):
    grid = GridSpec(32, 14.0, 2, 40.0, 5.0)
    write_dataset(tmp_path / "all", DatasetSpec(2, 3, grid))
    write_dataset(tmp_path / "one", DatasetSpec(2, 3, grid, only=2))
    for series in ("mr", "ct"):
        assert digest(tmp_path / "one" / series) == digest(
            tmp_path / "all/test/phantom-02" / series
        )
    assert json.loads((tmp_path / "one/dataset.json").read_text())["only"] == 2


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(OutputError, match="not empty"):
        write_dataset(tmp_path, DatasetSpec(1, 0, GridSpec(32, 14.0, 1)))
    assert (tmp_path / "notes.txt").read_text() == "keep me"


@pytest.mark.parametrize("only", [None, 1])
def test_a_data_set_is_overwritten_and_nothing_else(tmp_path, only):
    spec = DatasetSpec(1, 0, GridSpec(32, 14.0, 1), only)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds no dataset\.json"):
        write_dataset(tmp_path / "mine", spec, overwrite=True)
    assert (tmp_path / "mine/thesis.txt").is_file()
    write_dataset(tmp_path / "set", spec)
    (tmp_path / "set/old").write_text("old")
    write_dataset(tmp_path / "set", spec, overwrite=True)
    assert not (tmp_path / "set/old").exists()


def test_an_interrupted_data_set_leaves_nothing(tmp_path):
    def stop(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "out", DatasetSpec(1, 0, GridSpec(32, 14.0, 2)), stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make",
    [
        lambda: GridSpec(size=0),
        lambda: GridSpec(slices=0),
        lambda: GridSpec(spacing=-1.0),
        lambda: DatasetSpec(subjects=0),
        lambda: DatasetSpec(seed=-1),
        lambda: DatasetSpec(only=20),
    ],
)
def test_specs_that_select_nothing_are_refused(make):
    with pytest.raises(UsageError):
        make()


def test_polygon_distance_of_a_square_is_that_of_the_square():
    square = np.array([(-10.0, -10), (10, -10), (10, 10), (-10, 10)])
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-20, 20, (2, 5000)).astype(np.float32)
    outside = np.hypot(np.maximum(np.abs(x) - 10, 0), np.maximum(np.abs(y) - 10, 0))
    inside = np.minimum(np.maximum(np.abs(x), np.abs(y)) - 10, 0)
    assert np.allclose(polygon_distance(x, y, square), outside + inside, atol=1e-4)


def test_a_cone_between_equal_balls_is_a_capsule():
    x = np.array([0, 5, 12], np.float32)
    y = np.zeros(3, np.float32)
    assert np.allclose(Cone((0, 0, -9, 5), (0, 0, 9, 5)).distance(x, y, 3.0), [-5, 0, 7])


def test_ellipsoid_distance_vanishes_on_the_surface_and_has_unit_slope_there():
    shape = Ellipsoid((0, 0, 0), (20, 10, 15))
    angle = np.linspace(0, 6, 40)
    x, y = (20 * np.cos(angle)).astype(np.float32), (10 * np.sin(angle)).astype(np.float32)
    assert np.allclose(shape.distance(x, y, 0.0), 0, atol=1e-4)
    normal = np.stack([x / 400, y / 100])
    normal /= np.linalg.norm(normal, axis=0)
    moved = shape.distance(x + 0.1 * normal[0], y + 0.1 * normal[1], 0.0)
    assert np.allclose(moved, 0.1, atol=0.005)


def test_an_outline_ends_at_its_first_and_last_height():
    shape = outline(
        {0: ((0, 0), (10, 0), (10, 10), (0, 10)), 5: ((0, 0), (10, 0), (10, 10), (0, 10))}
    )
    assert shape.bounds(5.1) is None
    assert shape.bounds(-0.1) is None
    assert shape.bounds(2.0) is not None


def test_random_fields_have_mean_zero_and_deviation_one():
    noise = field(np.random.default_rng(0), (5.0, 5.0, 5.0), 48)
    axis = np.linspace(0, 240, 97)
    values = np.stack([noise.plane(axis, axis, z) for z in range(0, 240, 7)])
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1, rel=0.05)
