import copy

import pytest

from mrct_runtime.bench.compare import changes, check, differences
from mrct_runtime.errors import UsageError

OLD = {
    "schema": 1,
    "machine": {"processor": "A", "cores": 2, "instructions": ["avx2"], "free_memory": 1},
    "gpus": [{"name": "T4", "free_memory": 7}],
    "driver": None,
    "versions": {"numpy": "2.0"},
    "bundle": {"model_sha256": "f", "size": 16},
    "slice_plan": {"sampler": "em", "options": {"steps": 2}, "mc": 10},
    "evaluations": [
        {"candidate": "a", "batch": 1, "p50_ms": 4.0},
        {"candidate": "gone", "batch": 1, "p50_ms": 4.0},
    ],
    "slices": [{"candidate": "a", "seconds": 3.0}],
}


@pytest.fixture
def new():
    made = copy.deepcopy(OLD)
    made["evaluations"] = [
        {"candidate": "a", "batch": 1, "p50_ms": 2.0},
        {"candidate": "a", "batch": 2, "p50_ms": 2.0},
    ]
    made["slices"] = [{"candidate": "a", "seconds": 6.0}]
    return made


def test_ratios_are_of_what_was_measured_both_times(new):
    found = [(change.candidate, change.batch, change.ratio) for change in changes(OLD, new)]
    assert found == [("a", 1, 2.0), ("a", None, 0.5)]


def test_free_memory_is_no_difference_and_another_machine_is_one(new):
    new["machine"]["free_memory"] = new["gpus"][0]["free_memory"] = 99
    assert differences(OLD, new) == []
    new["machine"]["processor"] = "B"
    new["gpus"] = []
    new["bundle"]["size"] = 32
    assert differences(OLD, new) == [
        "machine processor: A then, B now",
        "gpus: T4 then, none now",
        "bundle size: 16 then, 32 now",
    ]


@pytest.mark.parametrize("old", [[], {}, {"schema": 0}])
def test_another_document_is_refused(old):
    with pytest.raises(UsageError, match=r"old\.json is no measurement"):
        check(old, "old.json")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"evaluations": None}, "evaluations"),
        (
            {"evaluations": [{"candidate": "a", "batch": [1], "p50_ms": 1.0}]},
            r"evaluations\.0\.batch",
        ),
        ({"evaluations": [{"candidate": "a", "batch": 1, "p50_ms": 0}]}, r"evaluations\.0\.p50_ms"),
        ({"slices": [{"candidate": "a", "seconds": float("nan")}]}, r"slices\.0\.seconds"),
        ({"gpus": ["T4"]}, r"gpus\.0"),
    ],
)
def test_a_document_without_what_is_compared_is_refused_by_the_place(change, place):
    with pytest.raises(UsageError, match=rf"old\.json is no measurement: {place}"):
        check(OLD | change, "old.json")
    check(OLD, "old.json")
