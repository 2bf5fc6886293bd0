"""Mixed precision: what stays in float32, how far half is off, and that half's traps are kept out of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_run import OPTIONS, UNET, random_network
from shared_graphs import shared_graph
from torch import nn

from mrct_export.half import half_weights
from mrct_export.precision import convolutions, half_network
from mrct_export.to_onnx import to_onnx
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.errors import UsageError
from mrct_runtime.graph import GRAPHS
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_train.network import Network


def case(process, t: float) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    x_0, y, z = (torch.randn(2, 1, 32, 32, generator=rng) for _ in range(3))
    x = process.alpha(t) * (0.3 + 0.2 * x_0) + process.std(t) * z
    return x, 0.5 + 0.2 * y, torch.full((2,), t)


def off(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float(((found - truth) ** 2).mean().sqrt() / (truth**2).mean().sqrt())


@pytest.mark.parametrize("process", [VESDE(), DDPM()], ids=["ve", "ddpm"])
@pytest.mark.parametrize("unet", [UNET, OPTIONS], ids=["plain", "options"])
def test_mixed_precision_is_near_the_network_and_not_the_network(process, unet) -> None:
    network = random_network(process, unet)
    mixed = half_network(network, emulated=True)
    with torch.inference_mode():
        for t in (process.t_min, 0.5, 1.0):
            x, y, times = case(process, t)
            found = mixed(x, y, times)
            assert found.dtype == torch.float32
            assert 1e-6 < off(found, network(x, y, times)) < 5e-3


@pytest.mark.parametrize(
    "unet",
    [pytest.param(UNET, id="plain"), pytest.param(OPTIONS, id="options", marks=pytest.mark.slow)],
)
def test_the_file_is_half_as_large_and_takes_and_gives_float32(unet) -> None:
    process = VESDE()
    network = random_network(process, unet)
    whole = shared_graph(network, GRAPHS["eps"], unet.multiple)
    half = to_onnx(half_network(network), GRAPHS["eps"], unet.multiple)
    weights = sum(p.numel() for p in network.parameters() if p.ndim == 4)
    assert len(half.dumps()) < len(whole.dumps()) - 1.9 * weights
    x, y, times = case(process, 0.5)
    found = OnnxRuntime(half.dumps(), threads=1).bind(y.numpy())(x.numpy(), 0.5)
    assert found.dtype == np.float32
    with torch.inference_mode():
        assert off(torch.from_numpy(found), network(x, y, times)) < 5e-3


def test_the_graph_of_a_network_of_which_some_is_kept_computes_what_it_does() -> None:
    """In it half meets float32 in sums and in the concatenation with skips."""
    network = random_network(VESDE())
    mixed = half_network(network, {"first", "middle.0.conv2", "up.1.conv1"})
    graph = to_onnx(mixed, GRAPHS["eps"], UNET.multiple)
    assert half_weights(mixed) <= graph.half_weights < half_weights(half_network(network))
    x, y, times = case(VESDE(), 0.5)
    found = OnnxRuntime(graph.dumps(), threads=1).bind(y.numpy())(x.numpy(), 0.5)
    with torch.inference_mode():
        assert 0 < off(torch.from_numpy(found), network(x, y, times)) < 5e-3


def test_embedding_norms_and_what_is_named_stay_in_float32() -> None:
    network = random_network(VESDE())
    kept = convolutions(network)[2]
    unet = half_network(network, {kept}).unet
    for name, layer in unet.named_modules():
        dtypes = {p.dtype for p in layer.parameters(recurse=False)}
        if isinstance(layer, nn.Conv2d):
            expected = torch.float32 if name.removesuffix(".layer") == kept else torch.float16
            assert dtypes == {expected}, name
        if isinstance(layer, nn.GroupNorm | nn.Linear):
            assert dtypes == {torch.float32}, name


@pytest.mark.parametrize("process", [VESDE(), DDPM()], ids=["ve", "ddpm"])
def test_std_and_fourier_features_are_those_of_float32_at_every_time(process) -> None:
    """Half has 11 bits: of a phase of 200 rad it would lose a tenth of one, and the square of std at t_min, 1e-5, is subnormal."""
    network = random_network(process)
    mixed = half_network(network, emulated=True)
    for t in (process.t_min, 0.5, 1.0):
        seen = [seen_by_the_unet(each, case(process, t)) for each in (network, mixed)]
        for found, truth in zip(*seen, strict=True):
            assert found.dtype == torch.float32
            assert torch.equal(found, truth)


def seen_by_the_unet(network, inputs) -> list[torch.Tensor]:
    """What the preconditioning gives the UNet, and the features that it makes of the time."""
    seen: list[torch.Tensor] = []
    handles = (
        network.unet.register_forward_pre_hook(lambda _, given: seen.extend(given)),
        network.unet.embedding.register_forward_hook(lambda *given: seen.append(given[2])),
    )
    with torch.inference_mode():
        network(*inputs)
    for handle in handles:
        handle.remove()
    assert len(seen) == 3
    return seen


def test_the_network_itself_is_left_as_it_is() -> None:
    network = random_network(VESDE())
    before = {name: p.clone() for name, p in network.named_parameters()}
    half_network(network, emulated=True)
    for name, p in network.named_parameters():
        assert p.dtype == torch.float32
        assert torch.equal(p, before[name])


def test_a_norm_over_a_large_constant_image_keeps_its_statistics() -> None:
    """The sum of squares of 300 overflows float16."""
    network = random_network(VESDE())
    norm = half_network(network, emulated=True).unet.norm
    h = torch.full((1, norm.layer.num_channels, 16, 16), 300.0).half()
    h += torch.arange(16).half()
    found, truth = norm(h), norm.layer(h.float())
    assert torch.isfinite(found).all()
    assert torch.equal(found, truth)


def test_an_overflowing_convolution_is_harmless_when_it_is_kept() -> None:
    network: Network = random_network(VESDE())
    name = "middle.0.conv1"
    with torch.no_grad():
        network.unet.get_submodule(name).weight *= 1e7
    x, y, times = case(VESDE(), 0.5)
    with torch.inference_mode():
        truth = network(x, y, times)
        assert not torch.isfinite(half_network(network, emulated=True)(x, y, times)).all()
        assert off(half_network(network, {name}, emulated=True)(x, y, times), truth) < 5e-3


def test_products_of_attention_may_exceed_half() -> None:
    """Products of 500 by 500, the same for every pixel, which the softmax takes out again."""
    network = random_network(VESDE(), OPTIONS)
    layer = network.unet.get_submodule("middle.0.attention.qkv")
    d = layer.in_channels // OPTIONS.attention_heads
    with torch.no_grad():
        for first in (0, layer.in_channels):  # of q and of k, in the first head
            layer.weight[first] = 0
            layer.bias[first] = 500
    assert 500 * 500 / d**0.5 > torch.finfo(torch.float16).max
    x, y, times = case(VESDE(), 0.5)
    with torch.inference_mode():
        found = half_network(network, emulated=True)(x, y, times)
        assert off(found, network(x, y, times)) < 5e-3


@pytest.mark.parametrize("level", [30.0, -30.0])
def test_inputs_of_magnitude_thirty_are_taken(level: float) -> None:
    network = random_network(VESDE())
    x, y, times = case(VESDE(), 1.0)
    x = x + level
    with torch.inference_mode():
        found = half_network(network, emulated=True)(x, y, times)
        assert off(found, network(x, y, times)) < 5e-3


def test_an_unknown_layer_and_a_network_without_a_unet_are_refused() -> None:
    with pytest.raises(UsageError, match="no convolution 'nowhere'"):
        half_network(random_network(Direct()), {"nowhere"})
    with pytest.raises(UsageError, match="holds no UNet"):
        half_network(nn.Identity())
