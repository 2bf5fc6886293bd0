import pytest
import torch
from torch import nn

from mrct_train.precision import Precision, exhausted, restore_scaler, scaler_tensors

CPU = torch.device("cpu")


class Typed(nn.Module):
    """A layer that keeps the type of what it computed."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.seen = None

    def forward(self, x):
        out = self.layer(x)
        self.seen = out.dtype
        return out


@pytest.mark.parametrize(
    ("kind", "inside"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_layers_are_computed_in_the_precision_and_the_output_is_fp32(kind, inside):
    network = Typed()
    out = Precision(kind, CPU).run(network, torch.rand(1, 1, 4, 4))
    assert network.seen == inside
    assert out.dtype == torch.float32
    assert network.layer.weight.dtype == torch.float32


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_only_fp16_scales_its_loss(kind):
    scaler = Precision(kind, CPU).scaler()
    assert not scaler.is_enabled()
    assert scaler_tensors(scaler) == {}
    assert not exhausted(scaler)


def test_a_scaler_goes_on_with_the_scale_and_count_it_had():
    first, second = (Precision("fp16", CPU).scaler() for _ in range(2))
    weight = torch.zeros(1, requires_grad=True)
    adam = torch.optim.Adam([weight])
    for gradient in (torch.inf, 1.0, 1.0):
        weight.grad = first.scale(torch.tensor([gradient]))
        first.step(adam)
        first.update()
    restore_scaler(second, scaler_tensors(first))
    assert second.state_dict() == first.state_dict()
    assert second.get_scale() == 2.0**15
    assert second.state_dict()["_growth_tracker"] == 2
