import pytest
import torch

from mrct_train.ema import Ema


def averaged(weights, decay):
    """The average after a one-weight net, at 0 first, has had these weights."""
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    ema = Ema(net, decay)
    for step, weight in enumerate(weights):
        torch.nn.init.constant_(net.weight, weight)
        ema.update(net, step)
    return ema.network.weight.item()


def test_the_average_follows_its_recursion():
    expected = 0.0
    weights = [1.0, -2.0, 5.0, 3.0]
    for step, weight in enumerate(weights):
        keep = min(0.3, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * weight
    assert averaged(weights, 0.3) == pytest.approx(expected)


def test_the_warm_up_forgets_the_first_weights_long_before_the_decay_would():
    assert averaged([1.0] * 100, 0.9999) == pytest.approx(1, abs=1e-6)


def test_the_average_is_no_part_of_the_graph():
    net = torch.nn.Linear(1, 1)
    assert not any(p.requires_grad for p in Ema(net, 0.9).network.parameters())
    assert all(p.requires_grad for p in net.parameters())
