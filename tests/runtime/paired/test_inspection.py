import numpy as np
import pytest
from paired_sets import GRID, head, write_gold_atlas, write_png, write_synthrad

from mrct_runtime.paired import Pair, Subject, complaints, find_subjects, inspect
from mrct_runtime.volume import Volume


def pair(**replaced):
    mr, ct, body = head()
    return Pair(**({"mr": mr, "ct": ct, "mask": body} | replaced))


def changed(volume, value, count=1):
    array = volume.array.copy()
    array.flat[:count] = value
    return Volume(array, volume.grid)


def test_a_sound_subject_is_described(tmp_path):
    write_synthrad(tmp_path / "A")
    found = inspect(find_subjects(tmp_path)[0])
    (facts,) = found.pairs
    assert (found.name, found.layout, found.verdict, found.slices) == (
        "A",
        "NIfTI or MetaImage",
        "ok",
        5,
    )
    assert (facts.view, facts.shape, facts.spacing_mm) == ("axial", (5, 36, 30), (3.0, 2.0, 2.0))
    assert (facts.lowest_hu, facts.highest_hu, facts.mask) == (-1000.0, 900.0, True)


def test_every_picture_of_a_subject_is_described(tmp_path):
    write_png(tmp_path)
    found = inspect(find_subjects(tmp_path)[0])
    assert [facts.view for facts in found.pairs] == ["axial", "coronal", "sagittal"]
    assert found.slices == 3


def test_the_series_that_were_chosen_are_said(tmp_path):
    write_gold_atlas(tmp_path / "A")
    assert "Deformed" in inspect(find_subjects(tmp_path)[0]).pairs[0].source


@pytest.mark.parametrize(("value", "range_"), [(-2000, "-2000 to 900"), (19002, "-1000 to 19002")])
def test_hu_outside_the_scanners_range_are_counted_and_no_reason_to_refuse(value, range_):
    odd = pair(ct=changed(head()[1], value, 7))
    (told,) = complaints((odd,))
    assert (
        f"7 of {5 * 36 * 30} voxels of the axial CT lie outside -1024 to 3071 HU, from {range_}"
        in told
    )
    found = inspect(Subject("A", (), lambda: (odd,)))
    assert (found.verdict, found.warnings) == ("warning", (told,))


def test_rounding_at_the_ends_of_the_range_is_not_told():
    assert complaints((pair(ct=changed(head()[1], -1024.3)),)) == ()


@pytest.mark.parametrize(
    ("scale", "offset", "missing"), [(1, 1024, "air"), (0.001, 0, "air"), (0.01, -990, "tissue")]
)
def test_a_ct_that_is_not_in_hu_is_asked_about(scale, offset, missing):
    ct = head()[1]
    (told,) = complaints((pair(ct=Volume(ct.array * scale + offset, GRID)),))
    assert f"holds no {missing}" in told
    assert told.endswith("is it in HU?")


def test_what_was_mended_is_told():
    assert complaints((pair(notes=("a note",)),)) == ("a note",)


def test_an_mr_that_no_network_could_use_is_wrong():
    blank = pair(mr=Volume(np.zeros(GRID.shape, np.float32), GRID))
    found = inspect(Subject("A", (), lambda: (blank,)))
    assert found.verdict == "wrong"
    assert "it holds no image" in found.fault
    assert found.slices == 5


def test_a_surprise_of_a_library_is_the_subjects_fault_alone():
    def surprised():
        raise KeyError("CANARY^NAME")

    found = inspect(Subject("A", (), surprised))
    assert (found.verdict, found.fault) == ("wrong", "cannot be read: KeyError")
