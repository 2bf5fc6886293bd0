import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mrct_train.unet import FourierEmbedding, UNet, UNetConfig, group_norm

SMALL = UNetConfig(base=8, multipliers=(1, 2, 2), blocks=1, embedding=16)


def test_the_default_net_has_the_authors_parameters_and_operations():
    with torch.device("meta"):
        net = UNet(UNetConfig())
        images, t = torch.empty(1, 2, 512, 512), torch.empty(1)
        with FlopCounterMode(display=False) as counter:
            net(images, t)
    parameters = sum(p.numel() for p in net.parameters())
    assert round(parameters / 1e6, 2) == 26.12
    assert round(counter.get_total_flops() / 1e9) == 818


def test_without_time_it_has_the_same_blocks_and_1_2_million_parameters_less():
    with torch.device("meta"):
        timed, direct = UNet(UNetConfig()), UNet(UNetConfig(), inputs=1, timed=False)
    shapes = {name: weight.shape for name, weight in direct.named_parameters()}
    assert round(sum(shape.numel() for shape in shapes.values()) / 1e6, 2) == 24.92
    for name, weight in timed.named_parameters():
        if ".time." in name:
            assert name not in shapes
        elif name != "first.weight":
            assert shapes.pop(name) == weight.shape
    assert shapes == {"first.weight": (64, 1, 3, 3)}


@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 20)])
@pytest.mark.parametrize("timed", [True, False])
def test_every_multiple_of_the_configs_multiple_comes_out_at_its_own_size(height, width, timed):
    assert SMALL.multiple == 4
    net = UNet(SMALL, timed=timed)
    t = torch.rand(3) if timed else None
    assert net(torch.randn(3, 2, height, width), t).shape == (3, 1, height, width)


def test_a_fresh_net_returns_zero_and_a_trained_one_uses_image_condition_and_time():
    torch.manual_seed(0)
    net = UNet(SMALL)
    x, y, t = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 8, 8), torch.tensor([0.5])
    assert not net(torch.cat([x, y], dim=1), t).any()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    out = net(torch.cat([x, y], dim=1), t)
    assert not torch.allclose(net(torch.cat([x + 1, y], dim=1), t), out)
    assert not torch.allclose(net(torch.cat([x, y + 1], dim=1), t), out)
    assert not torch.allclose(net(torch.cat([x, y], dim=1), t + 0.1), out)


def test_samples_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    net = UNet(SMALL)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    images, t = torch.randn(3, 2, 8, 8), torch.rand(3)
    alone = torch.cat([net(images[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(images, t), alone)


def test_the_embedding_is_sine_and_cosine_of_fixed_gaussian_frequencies():
    torch.manual_seed(0)
    embedding = FourierEmbedding(4096, scale=30.0)
    assert not list(embedding.parameters())
    assert embedding.frequency.std().item() == pytest.approx(2 * torch.pi * 30, rel=0.05)
    sine, cosine = embedding(torch.tensor([0.3])).chunk(2, dim=1)
    torch.testing.assert_close(sine[0], torch.sin(0.3 * embedding.frequency))
    torch.testing.assert_close(sine**2 + cosine**2, torch.ones_like(sine))


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (128, 32), (192, 32), (384, 32), (16, 8), (48, 24), (40, 20)]
)
def test_norms_have_up_to_32_groups_of_at_least_two_channels(channels, groups):
    assert group_norm(channels, 32).num_groups == groups
