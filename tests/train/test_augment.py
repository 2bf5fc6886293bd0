import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from mrct_train.augment import Chances, change
from mrct_train.config import Augmentation
from mrct_train.loss import generator

SPACING_MM = 2.0


def augmented(pair, seed=0, **kind):
    return change(
        pair, Augmentation(**kind), SPACING_MM, Chances.draw(len(pair[1]), generator(seed))
    )


def symmetries(image):
    """The eight pictures that mirrors and quarter turns make of one [1, H, H]."""
    turned = [torch.rot90(image, k, (1, 2)) for k in range(4)]
    return turned + [picture.flip(2) for picture in turned]


def smooth(height, width, seed=0):
    """A picture [1, 1, H, W] whose features are larger than a pixel, with air around it."""
    noise = np.random.default_rng(seed).random((height, width))
    noise[:3] = noise[-3:] = noise[:, :3] = noise[:, -3:] = 0
    return torch.tensor(ndimage.gaussian_filter(noise, 1.5), dtype=torch.float32)[None, None]


@pytest.mark.parametrize(
    ("kind", "pictures"), [({}, 1), ({"mirror": True}, 2), ({"turns": True}, 8)]
)
def test_all_of_a_kinds_symmetries_occur_and_no_other(kind, pictures):
    image = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(200, 1, 1, 1)
    moved, _ = augmented((image, image), **kind)
    seen = {tuple(picture.flatten().tolist()) for picture in moved}
    assert len(seen) == pictures
    assert seen <= {tuple(picture.flatten().tolist()) for picture in symmetries(image[0])}


def test_mirror_exchanges_left_and_right_half_of_the_time():
    image = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(400, 1, 1, 1)
    moved, _ = augmented((image, image), mirror=True)
    mirrored = [torch.equal(picture, image[0].flip(2)) for picture in moved]
    assert sum(mirrored) == pytest.approx(200, abs=40)


ALL = {"mirror": True, "turns": True, "rotation_degrees": 15.0, "shift_mm": 6.0}


@pytest.mark.parametrize("kind", [{"mirror": True}, {"turns": True}, ALL])
def test_ct_and_mr_of_a_slice_move_alike(kind):
    ct = torch.rand(50, 1, 12, 12)
    moved_ct, moved_mr = augmented((ct, ct), **kind)
    assert torch.equal(moved_ct, moved_mr)
    assert not torch.equal(moved_ct, ct)


def chances(seed):
    """The eight numbers that a batch of one is changed by."""
    return torch.rand((1, 8), generator=generator(seed))[0].tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (41, 23)])
def test_turns_and_shifts_are_those_of_scipy(height, width, seed):
    image = smooth(height, width)
    moved, _ = augmented((image, image), seed, rotation_degrees=25.0, shift_mm=5.0)
    drawn = chances(seed)
    angle = math.radians(25.0) * (2 * drawn[3] - 1)
    shift = np.array([5.0, 5.0]) / SPACING_MM * (2 * np.array(drawn[4:6]) - 1)
    # rows first: where a pixel of the result lies in the image
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = (np.array([height, width]) - 1) / 2
    expected = ndimage.affine_transform(
        image[0, 0].numpy().astype(float),
        matrix,
        centre - matrix @ centre + shift,
        order=1,
        mode="grid-constant",
        cval=0.0,
    )
    np.testing.assert_allclose(moved[0, 0].numpy(), expected, atol=1e-5)


def test_no_turn_and_no_shift_is_larger_than_the_recipe_says():
    spot = torch.zeros(200, 1, 41, 41)
    spot[..., 20, 20] = 1
    moved, _ = augmented((spot, spot), shift_mm=6.0)
    places = [ndimage.center_of_mass(picture[0].numpy()) for picture in moved]
    offsets = (np.array(places) - 20) * SPACING_MM
    assert np.abs(offsets).max() <= 6.0 + 1e-3
    assert np.abs(offsets).max(axis=0).min() > 5.5
    assert np.abs(offsets.mean(axis=0)).max() < 1
    arm = torch.zeros(200, 1, 41, 41)
    arm[..., 20, 36] = 1
    moved, _ = augmented((arm, arm), rotation_degrees=10.0)
    places = np.array([ndimage.center_of_mass(picture[0].numpy()) for picture in moved]) - 20
    angles = np.degrees(np.arctan2(places[:, 0], places[:, 1]))
    assert 9 < np.abs(angles).max() <= 10 + 0.2


def test_beyond_the_edge_lies_air():
    image = torch.ones(20, 1, 16, 16)
    moved, _ = augmented((image, image), shift_mm=12.0)
    assert moved.min() == 0
    assert moved.max() <= 1


def test_intensity_is_a_gain_and_a_gamma_of_the_mr_alone():
    y = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    x0, changed = augmented((y, y), intensity=0.2)
    gain, gamma = (1 + 0.2 * (2 * np.array(chances(0)[6:]) - 1)).tolist()
    np.testing.assert_allclose(changed, np.clip(gain * y.numpy() ** gamma, 0, 1), atol=1e-6)
    assert torch.equal(x0, y)
    assert (changed.min(), changed.max()) == (0, pytest.approx(min(gain, 1)))


def test_one_option_leaves_the_draws_of_the_others_alone():
    images = torch.rand(30, 1, 8, 8)
    plain, _ = augmented((images, images), mirror=True)
    also, _ = augmented((images, images), mirror=True, intensity=0.3)
    assert torch.equal(plain, also)


def test_the_seed_alone_decides_the_changes():
    images = torch.rand(6, 1, 8, 8)
    pair = (images, images)
    again, other = augmented(pair, 4, **ALL)[0], augmented(pair, 5, **ALL)[0]
    assert torch.equal(augmented(pair, 4, **ALL)[0], again)
    assert not torch.equal(again, other)
