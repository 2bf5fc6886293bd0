from __future__ import annotations

import json

import numpy as np
import pytest
from dicom_study import make_grid
from flat_pairs import write_pairs

from mrct_runtime.errors import InputRejectedError, NoInputError, UsageError
from mrct_runtime.evaluation.cases import FOUND, GIVEN, Selection, load_case
from mrct_runtime.intensity import MrNormalisation
from mrct_runtime.manifest import Image
from mrct_runtime.paired import (
    VIEWS,
    Pair,
    Preparation,
    Slices,
    Subject,
    digest,
    find_subjects,
    prepare,
)
from mrct_runtime.volume import Volume

PREPARATION = Preparation(Image(size=32, spacing_mm=1.0, multiple=1), MrNormalisation())


def volume_subject(slices: int = 9, *, mask: bool = True) -> Subject:
    """A body of fat in air whose CT is one HU a voxel index."""
    grid = make_grid((slices, 24, 30))
    signal = np.full(grid.shape, 5.0, np.float32)
    signal[:, 6:18, 8:22] = np.random.default_rng(0).uniform(500, 900, (slices, 12, 14))
    hu = np.arange(signal.size, dtype=np.float32).reshape(grid.shape) % 1000
    body = signal > 100 if mask else None
    pair = Pair(Volume(signal, grid), Volume(hu, grid), body)
    return Subject("V1", (), lambda: (pair,))


def test_all_slices_of_a_thick_stack_are_one_volume() -> None:
    case = load_case(volume_subject(), PREPARATION, Selection())
    assert (case.slices, case.dimensions, case.body_source) == (9, 3, GIVEN)
    assert case.parts[0].slices.mr.shape == (9, 32, 32)
    assert case.parts[0].ct.shape == (9, 24, 30)


@pytest.mark.parametrize(("slices", "selected"), [(6, None), (9, 4)])
def test_thin_stacks_and_chosen_slices_are_judged_one_by_one(slices, selected) -> None:
    case = load_case(volume_subject(slices), PREPARATION, Selection(slices=selected))
    assert (case.slices, case.dimensions) == (selected or slices, 2)


def test_chosen_slices_are_evenly_spaced_and_those_of_the_whole_stack() -> None:
    whole = load_case(volume_subject(), PREPARATION, Selection()).parts[0]
    some = load_case(volume_subject(), PREPARATION, Selection(slices=3)).parts[0]
    assert some.places == (1, 4, 7)
    np.testing.assert_array_equal(some.ct, whole.ct[[1, 4, 7]])
    np.testing.assert_array_equal(some.slices.mr, whole.slices.mr[[1, 4, 7]])
    image = np.random.default_rng(1).normal(0, 300, whole.slices.mr.shape)
    np.testing.assert_allclose(
        some.on_ct_grid(image[[1, 4, 7]]), whole.on_ct_grid(image)[[1, 4, 7]], atol=1e-9
    )


def test_an_image_comes_back_to_the_ct_grid_as_a_result_does() -> None:
    part = load_case(volume_subject(), PREPARATION, Selection()).parts[0]
    model, own = part.grids
    image = np.random.default_rng(1).normal(0, 300, model.shape)
    expected = Volume(image, model).resample(own, fill=-1024.0).array
    np.testing.assert_array_equal(part.on_ct_grid(image), expected)


def test_a_mask_that_the_data_lack_is_found_in_the_mr() -> None:
    given = load_case(volume_subject(), PREPARATION, Selection())
    found = load_case(volume_subject(mask=False), PREPARATION, Selection())
    assert (given.body_source, found.body_source) == (GIVEN, FOUND)
    overlap = (given.parts[0].body & found.parts[0].body).sum()
    assert overlap / given.parts[0].body.sum() > 0.95


def test_views_are_chosen_and_a_subject_without_them_is_refused(tmp_path) -> None:
    subject = find_subjects(write_pairs(tmp_path, ["A1"], ("axial", "sagittal")))[0]
    assert load_case(subject, PREPARATION, Selection(views=("sagittal",))).slices == 1
    assert load_case(subject, PREPARATION, Selection()).slices == 2
    with pytest.raises(InputRejectedError, match="A1: has no picture of the views coronal"):
        load_case(subject, PREPARATION, Selection(views=("coronal",)))


@pytest.mark.parametrize("trained", [VIEWS, ("axial",), ("axial", "sagittal")])
def test_a_training_subject_is_known_whatever_views_it_was_trained_and_is_evaluated_with(
    tmp_path, trained
) -> None:
    subjects = find_subjects(write_pairs(tmp_path, ["A1", "A2"], VIEWS))
    parts = [prepare(pair, PREPARATION) for pair in subjects[0].read() if pair.view in trained]
    used = digest(Slices(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))))
    same, other = (
        load_case(subject, PREPARATION, Selection(views=("coronal",))) for subject in subjects
    )
    assert used in same.digests
    assert used not in other.digests


def test_the_parts_of_a_split_are_found_and_unseen_is_the_rest(tmp_path) -> None:
    data = write_pairs(tmp_path / "data", ["A1", "A2", "A3", "B1"])
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["A1"], "validation": ["A2"], "test": ["A3"]}))

    def names(part):
        return [subject.name for subject in Selection(split=split, part=part).find(data)]

    assert [names(part) for part in ("training", "validation", "test")] == [["A1"], ["A2"], ["A3"]]
    assert names("unseen") == ["A3", "B1"]


def test_the_folder_test_is_taken_where_there_is_one(tmp_path) -> None:
    write_pairs(tmp_path / "train", ["A1"])
    write_pairs(tmp_path / "test", ["B1"])
    assert [subject.name for subject in Selection().find(tmp_path)] == ["B1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"training": []}',
        "[" * 100_000,
        '{"training": "ab", "validation": [], "test": []}',
        '{"training": [1, "a"], "validation": [], "test": []}',
    ],
)
def test_what_is_no_split_is_refused(tmp_path, text) -> None:
    split = tmp_path / "split.json"
    split.write_text(text)
    with pytest.raises(UsageError, match=r"split\.json: not the split\.json of a training run"):
        Selection(split=split).find(write_pairs(tmp_path / "data"))


def test_a_part_without_subjects_is_told(tmp_path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": [], "validation": [], "test": ["C9"]}))
    with pytest.raises(NoInputError, match="none of its 3 subjects is in the part 'test'"):
        Selection(split=split).find(write_pairs(tmp_path / "data"))


def test_no_slices_are_refused() -> None:
    with pytest.raises(UsageError, match="slices must be at least 1 a subject, got 0"):
        Selection(slices=0)
