import numpy as np
import pytest

from mrct_runtime.percentiles import percentile, percentiles

KINDS = {
    "of both signs": lambda values: values,
    "whole, so that many are equal": np.round,
    "not negative": np.abs,
    "all negative": lambda values: -np.abs(values) - 1,
    "all the same": lambda values: np.full_like(values, 3.5),
}
PERCENTS = (0.0, 0.5, 50.0, 99.0, 99.5, 100.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 1000, 4321])
@pytest.mark.parametrize("scale", [1e-30, 3.0, 1e30])
def test_they_are_those_of_numpy_to_the_last_bit(kind, size, scale):
    rng = np.random.default_rng(size)
    values = KINDS[kind](rng.normal(0, scale, size).astype(np.float32))
    parts = np.array_split(values, rng.integers(1, 6))
    for percent in (*PERCENTS, *rng.uniform(0, 100, 5).tolist()):
        found, expected = percentile(lambda: parts, percent), np.percentile(values, percent)
        assert found == expected
        assert found.dtype == expected.dtype
    found, expected = percentiles(lambda: parts, PERCENTS), np.percentile(values, PERCENTS)
    np.testing.assert_array_equal(found, expected, strict=True)
