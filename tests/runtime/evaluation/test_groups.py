from __future__ import annotations

import pytest

from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.groups import group_of, members, overall, parse_groups
from mrct_runtime.evaluation.results import SubjectScores


def scores(name: str, mae: float, bone: float | None = None, std: float | None = 1.0):
    found = {"mae_hu": mae} | ({} if bone is None else {"mae_bone_hu": bone})
    return SubjectScores(name, "all", 1, 2, found, found, std, std, 0.1)


def test_groups_have_labels_or_are_named_by_their_pattern() -> None:
    assert parse_groups(["A=1BA*", "1BB*"]) == {"A": "1BA*", "1BB*": "1BB*"}


@pytest.mark.parametrize("texts", [["A="], ["all=1*"], ["others=1*"], ["A=1*", "A=2*"]])
def test_groups_that_could_be_mistaken_are_refused(texts) -> None:
    with pytest.raises(UsageError, match="needs LABEL=PATTERN"):
        parse_groups(texts)


def test_everyone_comes_first_and_nobody_is_lost() -> None:
    groups = {"A": "A*"}
    assert members(["A1", "B1", "A2"], groups) == {
        "all": ("A1", "B1", "A2"),
        "A": ("A1", "A2"),
        "others": ("B1",),
    }
    assert [group_of(name, groups) for name in ("A1", "B1")] == ["A", "others"]
    assert members(["A1"], {}) == {"all": ("A1",)}
    assert group_of("A1", {}) == "all"


@pytest.mark.parametrize("groups", [{"far": "Z*"}, {"A": "A*", "far": "A2*"}])
def test_a_group_that_would_have_nobody_is_told_with_its_pattern(groups) -> None:
    with pytest.raises(UsageError, match=rf"group 'far': no subject fits '{groups['far'][0]}"):
        members(["A1", "B1", "A2"], groups)


def test_each_group_has_the_means_of_its_own_subjects() -> None:
    subjects = [scores("A1", 10.0), scores("A2", 30.0, bone=5.0), scores("B1", 80.0, std=None)]
    groups = {"all": ("A1", "A2", "B1"), "A": ("A1", "A2"), "B": ("B1",)}
    found = overall(subjects, groups, Bootstrap(resamples=200))
    assert [found[label].mean["mae_hu"].value for label in groups] == [40.0, 20.0, 80.0]
    assert found["A"].mean["mae_hu"].low < 20.0 < found["A"].mean["mae_hu"].high
    assert found["B"].mean["mae_hu"][1:] == (None, None)
    assert found["A"].mean["mae_bone_hu"] == (5.0, None, None)
    assert "mae_bone_hu" not in found["B"].mean
    assert found["B"].mean_std_hu is None
    assert found["all"].mean_std_hu.value == 1.0
