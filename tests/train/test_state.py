import pytest
import torch
from torch import nn

from mrct_train import sharding
from mrct_train.state import adam, restore_adam, restore_weights, weights


def trained(seed=0, channels_last=False):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.LazyLinear(1))
    network(torch.zeros(1, 2, 5, 5))
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    step(network, optimizer)
    return network, optimizer


def step(network, optimizer):
    optimizer.zero_grad()
    network(torch.ones(4, 2, 5, 5)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_and_its_adam_go_on_to_the_same_bits(channels_last):
    """Whatever the layout in memory: a file holds none."""
    first, second = trained(0, channels_last), trained(1, channels_last)
    saved = {name: tensor.contiguous().clone() for name, tensor in weights(first[0]).items()}
    moments = {name: tensor.contiguous().clone() for name, tensor in adam(first[1]).items()}
    restore_weights(second[0], saved)
    restore_adam(second[1], moments)
    for pair in (first, second):
        step(*pair)
    for one, other in zip(first[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


def test_adams_tensors_are_named_by_parameter_and_field():
    _, optimizer = trained()
    names = {
        f"{index}.{field}" for index in range(4) for field in ("step", "exp_avg", "exp_avg_sq")
    }
    assert adam(optimizer).keys() == names


def test_a_missing_weight_is_not_passed_over():
    network, _ = trained()
    with pytest.raises(KeyError, match=r"0\.bias"):
        restore_weights(network, {"0.weight": network[0].weight.detach()})


def test_sharded_tensors_are_gathered_one_at_a_time_into_the_hosts_memory(monkeypatch):
    """So a device never holds a whole network that is too large for it."""
    events = []

    class Gathered(torch.Tensor):
        def cpu(self):
            events.append("moved")
            return torch.zeros(1)

    class Part(torch.Tensor):
        def full_tensor(self):
            events.append("gathered")
            return torch.zeros(1).as_subclass(Gathered)

    class Network(nn.Module):
        def state_dict(self):
            return {name: torch.zeros(1).as_subclass(Part) for name in "ab"}

    monkeypatch.setattr(sharding, "DTensor", Part)
    assert {type(tensor) for tensor in weights(Network()).values()} == {torch.Tensor}
    assert events == ["gathered", "moved"] * 2
