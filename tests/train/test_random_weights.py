import pytest
import torch
from random_run import UNET

from mrct_runtime.process import VESDE
from mrct_train.network import Network
from mrct_train.random_weights import randomise


@pytest.fixture
def network():
    made = Network(UNET, VESDE())
    randomise(made)
    return made


def test_no_layer_is_zero_and_no_norm_the_identity(network):
    for name, weight in network.named_parameters():
        assert weight.abs().max() > 0.01, name
    norms = [m for m in network.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert all((norm.weight - 1).abs().max() > 0.1 for norm in norms)


def test_the_output_has_the_size_of_its_input(network):
    x, y = torch.randn(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(1)).unbind(0)
    with torch.no_grad():
        out = network(x, y, torch.tensor([0.1, 0.9]))
    assert 0.1 < out.std() < 10


def test_the_same_seed_gives_the_same_weights(network):
    other = Network(UNET, VESDE())
    randomise(other)
    same = zip(network.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    randomise(other, seed=1)
    assert not torch.equal(next(network.parameters()), next(other.parameters()))
