import numpy as np
import pytest

from mrct_runtime.study_report import thinned as module
from mrct_runtime.study_report.thinned import thinned


@pytest.mark.parametrize("most", [10, 100, 437, 10_000])
def test_it_is_every_nth_of_all_values_in_the_masks(most, monkeypatch):
    monkeypatch.setattr(module, "_MOST", most)
    rng = np.random.default_rng(0)
    array, mask = rng.normal(size=(9, 10, 11)), rng.random((9, 10, 11)) < 0.4
    mask[3] = False
    values = array[mask]
    some = thinned(array, lambda: mask)
    np.testing.assert_array_equal(some.values, values[:: values.size // most + 1])
    assert some.size == values.size
    assert len(some.values) <= most
    assert some.percentile(30) == np.percentile(some.values, 30)


def test_of_nothing_there_is_nothing():
    some = thinned(np.ones((2, 3, 4)), lambda: np.zeros((2, 3, 4), bool))
    assert some.size == len(some.values) == 0
    assert some.percentile(99) == 0
