import numpy as np
import pytest
from pydantic import ValidationError

from mrct_runtime.appearance import FEATURES, Seen, appearance

SPACING_MM = 2.0


def disc(signal=0.5, rim=0.9, radius=30, slices=4):
    """Slices [S, 96, 96]: a disc of one signal in a ring of another, 5 pixels wide, in air."""
    y, x = np.mgrid[-48:48, -48:48] + 0.5
    distance = np.hypot(y, x)
    image = np.where(distance < radius - 5, signal, np.where(distance < radius, rim, 0.0))
    return np.repeat(image[None], slices, axis=0).astype(np.float32)


def test_signal_area_and_rim_are_those_of_a_disc_in_a_ring():
    found = appearance(disc(), SPACING_MM)
    # the body's edge is found in a smoothed image, a pixel or so further out
    area = np.pi * 30**2 * (SPACING_MM / 10) ** 2
    assert found["area_cm2"] == pytest.approx(area, rel=0.1)
    assert found["signal_50"] == pytest.approx(0.5)
    assert found["signal_90"] == pytest.approx(0.9)
    assert found["rim"] > 0.1
    assert found.keys() == FEATURES.keys()


def test_a_dark_rim_is_told_from_a_bright_one():
    assert appearance(disc(signal=0.9, rim=0.3), SPACING_MM)["rim"] < -0.2


def test_detail_rises_with_noise():
    noise = np.random.default_rng(0).normal(0, 0.1, disc().shape)
    noisy = np.clip(disc() + noise * (disc() > 0), 0, 1).astype(np.float32)
    assert appearance(noisy, SPACING_MM)["detail"] > 2 * appearance(disc(), SPACING_MM)["detail"]


def test_an_empty_image_has_no_appearance():
    assert appearance(np.zeros((3, 16, 16), np.float32), SPACING_MM) == {}


def test_what_was_seen_spans_the_subjects():
    seen = Seen.of([{"signal_50": 0.3, "rim": 0.1}, {"signal_50": 0.5}, {"signal_50": 0.4}])
    assert seen.subjects == 3
    assert seen.ranges == {"signal_50": (0.3, 0.5), "rim": (0.1, 0.1)}


def test_one_subject_spans_nothing():
    assert Seen.of([{"signal_50": 0.3}]) is None


@pytest.mark.parametrize(
    ("value", "margins"), [(0.3, 0), (0.4, 0), (0.6, 1.0), (0.1, 2.0), (0.8, 3.0)]
)
def test_the_distance_from_a_range_is_counted_in_halves_of_its_width(value, margins):
    seen = Seen(subjects=9, ranges={"signal_50": (0.3, 0.5)})
    assert seen.distance("signal_50", value) == pytest.approx(margins)


def test_a_narrow_range_has_the_features_own_margin():
    seen = Seen(subjects=9, ranges={"signal_50": (0.4, 0.4), "area_cm2": (500.0, 500.0)})
    assert seen.distance("signal_50", 0.45) == pytest.approx(1)
    assert seen.distance("area_cm2", 600.0) == pytest.approx(1)


@pytest.mark.parametrize("ranges", [{"colour": (0.0, 1.0)}, {"rim": (1.0, 0.0)}])
def test_ranges_of_nothing_known_or_upside_down_are_refused(ranges):
    with pytest.raises(ValidationError):
        Seen(subjects=3, ranges=ranges)
