from __future__ import annotations

import numpy as np
import pytest

from mrct_runtime.moments import Running


def taken_in(images: np.ndarray) -> Running:
    running = Running()
    for image in images:
        running.add(image)
    return running


@pytest.mark.parametrize("n", [2, 3, 10])
def test_mean_and_deviation_are_those_of_all_images_at_once(n: int) -> None:
    images = np.random.default_rng(n).normal(0.3, 0.1, (n, 5, 7)).astype(np.float32)
    running, wide = taken_in(images), images.astype(np.float64)
    np.testing.assert_allclose(running.mean, wide.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(running.std, wide.std(axis=0, ddof=1), rtol=1e-12)
    assert running.mean.dtype == running.std.dtype == np.float64


def test_a_small_spread_around_a_large_mean_is_kept() -> None:
    images = 1e6 + np.array([[0.0], [1.0], [2.0]])
    np.testing.assert_allclose(taken_in(images).std, 1.0, rtol=1e-12)


def test_one_image_is_its_own_mean_without_a_deviation() -> None:
    image = np.random.default_rng(0).random((1, 3, 4))
    np.testing.assert_array_equal(taken_in(image).mean, image[0])
    np.testing.assert_array_equal(taken_in(image).std, 0)
