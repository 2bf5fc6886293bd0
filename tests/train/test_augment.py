import pytest
import torch

from mrct_train.augment import augment
from mrct_train.loss import generator


def symmetries(image):
    """The eight pictures that mirrors and quarter turns make of one [1, H, H]."""
    turned = [torch.rot90(image, k, (1, 2)) for k in range(4)]
    return turned + [picture.flip(2) for picture in turned]


@pytest.mark.parametrize(("kind", "pictures"), [("none", 1), ("mirror", 2), ("authors", 8)])
def test_all_of_a_kinds_symmetries_occur_and_no_other(kind, pictures):
    image = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(200, 1, 1, 1)
    moved, _ = augment((image, image), kind, generator(0))
    seen = {tuple(picture.flatten().tolist()) for picture in moved}
    assert len(seen) == pictures
    assert seen <= {tuple(picture.flatten().tolist()) for picture in symmetries(image[0])}


def test_mirror_exchanges_left_and_right_half_of_the_time():
    image = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(400, 1, 1, 1)
    moved, _ = augment((image, image), "mirror", generator(0))
    mirrored = [torch.equal(picture, image[0].flip(2)) for picture in moved]
    assert sum(mirrored) == pytest.approx(200, abs=40)


def test_ct_and_mr_of_a_slice_move_alike():
    ct = torch.rand(50, 1, 4, 4)
    moved_ct, moved_mr = augment((ct, ct + 1), "authors", generator(0))
    assert torch.equal(moved_ct + 1, moved_mr)
