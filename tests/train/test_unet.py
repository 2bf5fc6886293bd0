import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mrct_train.random_weights import randomise
from mrct_train.unet import AttendingBlock, FourierEmbedding, UNet, UNetConfig

SMALL = UNetConfig(base=8, multipliers=(1, 2, 2), blocks=1, embedding=16)
OPTIONS = {
    "stem 2": {"stem": 2},
    "stem 4": {"stem": 4},
    "attention": {"attention_heads": 4},
    "both": {"stem": 2, "attention_heads": 2},
}


def with_options(name):
    return SMALL.model_copy(update=OPTIONS[name])


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


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("timed", [True, False])
def test_with_its_options_too_it_starts_as_zero_and_every_multiple_comes_out_at_its_size(
    name, timed
):
    config = with_options(name)
    assert config.multiple == 4 * config.stem
    net = UNet(config, timed=timed)
    t = torch.rand(3) if timed else None
    images = torch.randn(3, 2, config.multiple, 3 * config.multiple)
    assert not net(images, t).any()
    randomise(net)
    found = net(images, t)
    assert found.shape == (3, 1, *images.shape[2:])
    alone = torch.cat(
        [net(images[i : i + 1], None if t is None else t[i : i + 1]) for i in range(3)]
    )
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stem", [2, 4])
def test_behind_a_stem_the_net_is_one_on_patches(stem):
    """The inside, given the pixels of a patch as channels, row after row, is a net without a stem."""
    net = UNet(SMALL.model_copy(update={"stem": stem}))
    randomise(net)
    inside = UNet(SMALL, inputs=2 * stem**2)
    inside.last = torch.nn.Conv2d(8, stem**2, 3, padding=1)
    weights = net.state_dict()
    places = [(i, j) for i in range(stem) for j in range(stem)]
    taps = [weights["first.weight"][:, :, i::stem, j::stem] for i, j in places]
    weights["first.weight"] = torch.stack(taps, dim=2).flatten(1, 2)
    inside.load_state_dict(weights)
    images, t = torch.randn(2, 2, 4 * stem, 12 * stem), torch.rand(2)
    patches = torch.stack([images[:, :, i::stem, j::stem] for i, j in places], dim=2).flatten(1, 2)
    given = inside(patches, t)
    found = net(images, t)
    for channel, (i, j) in enumerate(places):
        torch.testing.assert_close(
            found[:, 0, i::stem, j::stem], given[:, channel], rtol=1e-4, atol=1e-4
        )


def test_a_stem_of_two_divides_the_papers_operations_by_four_at_the_same_weights():
    with torch.device("meta"):
        net = UNet(UNetConfig(stem=2))
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 2, 512, 512), torch.empty(1))
    assert counter.get_total_flops() / 1e9 == pytest.approx(818 / 4, rel=0.01)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(26.12, abs=0.01)


def test_attention_stands_after_every_block_of_the_lowest_level_and_once_in_the_middle():
    net = UNet(with_options("attention"))
    found = [name for name, layer in net.named_modules() if isinstance(layer, AttendingBlock)]
    assert found == ["down.4", "middle.0", "up.0", "up.1"]
    widths = {net.get_submodule(name).attention.project.out_channels for name in found}
    assert widths == {16}


def test_attention_adds_weights_and_changes_no_name_or_shape_of_the_others():
    plain = {name: w.shape for name, w in UNet(SMALL).named_parameters()}
    more = {
        name.replace(".block.", "."): w.shape
        for name, w in UNet(with_options("attention")).named_parameters()
    }
    assert {name: shape for name, shape in more.items() if ".attention." not in name} == plain


def test_without_options_weights_have_the_names_they_always_had():
    names = list(UNet(SMALL).state_dict())
    assert names[:4] == ["embedding.frequency", "first.weight", "first.bias", "down.0.norm1.weight"]
    assert names[-4:] == ["norm.weight", "norm.bias", "last.weight", "last.bias"]
    assert not [name for name in names if "attention" in name or ".block." in name]


def test_a_pixel_far_away_is_seen_only_with_attention():
    """The convolutions of three levels reach 60 pixels or so."""
    torch.manual_seed(0)
    images, t = torch.randn(1, 2, 8, 512), torch.rand(1)
    changed = images.clone()
    changed[..., :4] += 3
    for name, sees in (("stem 2", False), ("attention", True)):
        net = UNet(with_options(name)).double()
        randomise(net)
        norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.GroupNorm)]
        for norm in norms:  # whose statistics see every pixel
            norm.forward = lambda h: h
        with torch.inference_mode():
            difference = (
                net(changed.double(), t.double()) - net(images.double(), t.double())
            ).abs()
        assert bool(difference[..., -4:].max() > 0) is sees
