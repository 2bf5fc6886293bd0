from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mrct_runtime.noise import Noise, box_muller, philox4x32

# Random123 1.14.0, kat_vectors, philox4x32 10
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_known_answers(counter: str, key: str, answer: str) -> None:
    k0, k1 = words(key)
    found = philox4x32([np.array([word]) for word in words(counter)], (k0, k1))
    assert [int(word[0]) for word in found] == words(answer)


def test_box_muller_normals_are_exact_to_a_float32_everywhere() -> None:
    rng = np.random.default_rng(1)
    special = [0, 1, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 1]
    w1 = np.array(special + rng.integers(0, 2**32, 20_000).tolist(), dtype=np.uint64)
    w0 = np.array([2**32 - 1] * 8 + rng.integers(0, 2**32, 20_000).tolist(), dtype=np.uint64)
    along, across = box_muller(w0, w1)
    wide = np.longdouble
    radius = np.sqrt(-2 * np.log((w0.astype(wide) + 0.5) / 2**32))
    pi = wide("3.14159265358979323846264338327950288")
    angle = 2 * pi * (w1.astype(wide) + 0.5) / 2**32
    for ours, truth in ((along, radius * np.cos(angle)), (across, radius * np.sin(angle))):
        ulps = abs(ours - truth) / np.spacing(abs(truth).astype(np.float32))
        assert ulps.max() < 0.01


def test_normals_are_standard_normal() -> None:
    z = Noise(3, "series", [(0, 0), (0, 1)], (512, 512))().ravel().astype(np.float64)
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(z)) < 4 * np.sqrt(24 / z.size)


def test_neither_neighbours_nor_streams_are_correlated() -> None:
    noise = Noise(0, "a", [(0, 0), (0, 1), (1, 0)], (256, 256))
    first, second = noise().reshape(3, -1), noise().reshape(3, -1)
    other_seed = Noise(1, "a", [(0, 0)], (256, 256))().reshape(1, -1)
    other_series = Noise(0, "b", [(0, 0)], (256, 256))().reshape(1, -1)
    streams = np.concatenate([first, second, other_seed, other_series])
    shifted = np.concatenate(
        [streams, np.roll(streams[:1], 1, axis=1), np.roll(streams[:1], 256, axis=1)]
    )
    matrix = np.corrcoef(shifted)[np.triu_indices(len(shifted), 1)]
    assert abs(matrix).max() < 5 / 256


def test_noise_does_not_depend_on_the_batch_it_is_drawn_in() -> None:
    rows = [(s, k) for s in range(3) for k in range(4)]
    together = Noise(7, "x", rows, (9, 11))
    together()
    batch = together()
    for row, image in zip(rows, batch, strict=True):
        alone = Noise(7, "x", [row], (9, 11))
        alone()
        np.testing.assert_array_equal(alone()[0], image)


def test_noise_is_float32_images_with_a_channel() -> None:
    z = Noise(0, "", [(0, 0), (5, 2)], (3, 5))()
    assert z.shape == (2, 1, 3, 5)
    assert z.dtype == np.float32


def test_large_images_continue_where_a_tile_ends() -> None:
    z = Noise(0, "tile", [(2, 1)], (300, 300))()[0, 0].ravel()
    from mrct_runtime.noise import stream_key

    key = stream_key(0, "tile")
    block = 80_000 // 4
    w = philox4x32([np.array([block]), np.array([0]), np.array([1]), np.array([2])], key)
    expected = [*box_muller(w[0], w[1]), *box_muller(w[2], w[3])]
    np.testing.assert_array_equal(z[80_000:80_004], np.concatenate(expected).astype(np.float32))


def test_antithetic_samples_start_opposite_in_pairs_and_differ_later() -> None:
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    plain, paired = Noise(0, "1", rows, (4, 6)), Noise(0, "1", rows, (4, 6), antithetic=True)
    start, turned = plain(), paired()
    np.testing.assert_array_equal(turned[[0, 2, 4]], start[[0, 2, 4]])
    np.testing.assert_array_equal(turned[[1, 3]], -start[[0, 2]])
    np.testing.assert_array_equal(paired(), plain())
    # whatever else is in the batch
    alone = Noise(0, "1", [(1, 1)], (4, 6), antithetic=True)
    np.testing.assert_array_equal(alone()[0], turned[3])
