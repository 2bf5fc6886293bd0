import math

import numpy as np
import pytest
import torch

from mrct_train.attention import Attend, Attention
from mrct_train.random_weights import randomise


def attended(qkv, heads):
    """Pixel by pixel, head by head, in float64: weights exp(q.k / sqrt(d)) over their sum, then the weighted mean of v."""
    batch, channels, height, width = qkv.shape
    d = channels // 3 // heads
    flat = qkv.astype(np.float64).reshape(batch, 3, heads, d, height * width)
    out = np.zeros((batch, heads, d, height * width))
    for b, head, pixel in np.ndindex(batch, heads, height * width):
        q, k, v = flat[b, 0, head, :, pixel], flat[b, 1, head], flat[b, 2, head]
        weights = np.exp(q @ k / math.sqrt(d))
        out[b, head, :, pixel] = v @ (weights / weights.sum())
    return out.reshape(batch, heads * d, height, width)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_the_mean_of_all_values_weighted_by_the_softmax_of_their_keys(heads):
    qkv = np.random.default_rng(heads).normal(0, 2, (2, 3 * 8, 3, 5)).astype(np.float32)
    found = Attend(heads)(torch.from_numpy(qkv)).numpy()
    np.testing.assert_allclose(found, attended(qkv, heads), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 4])
def test_the_layer_adds_the_projected_attention_of_the_normed_pixels(heads):
    layer = Attention(8, heads, groups=4)
    randomise(layer)
    h = torch.from_numpy(np.random.default_rng(1).normal(3, 2, (2, 8, 4, 6)).astype(np.float32))
    groups = h.numpy().reshape(2, 4, -1)
    normed = (groups - groups.mean(-1, keepdims=True)) / np.sqrt(
        groups.var(-1, keepdims=True) + 1e-5
    )
    values = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}

    def mixed(image, name):
        return (
            np.einsum("oc,bchw->bohw", values[f"{name}.weight"][:, :, 0, 0], image)
            + values[f"{name}.bias"][:, None, None]
        )

    scale, shift = (values[f"norm.{name}"][:, None, None] for name in ("weight", "bias"))
    qkv = mixed(normed.reshape(h.shape) * scale + shift, "qkv")
    expected = h.numpy() + mixed(attended(qkv, heads), "project")
    with torch.inference_mode():
        np.testing.assert_allclose(layer(h).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_it_starts_as_the_identity_and_moving_pixels_moves_what_they_become():
    layer = Attention(8, 2, groups=4)
    h = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(h), h)
    randomise(layer)
    with torch.inference_mode():
        assert not torch.allclose(layer(h), h)
        torch.testing.assert_close(layer(h.flip(2)), layer(h).flip(2))
