import pytest
import torch
from torch import nn

from mrct_train.config import validated
from mrct_train.learners.descent import Descent
from mrct_train.precision import Precision
from mrct_train.ranks import Alone

CPU = torch.device("cpu")
FULL = Precision("fp32", CPU)


class Line(nn.Module):
    """mean (w x + b - z)^2, and how often it was asked."""

    def __init__(self, precision=FULL):
        super().__init__()
        self.network, self.precision = nn.Linear(3, 1), precision
        self.calls = 0

    def forward(self, x, z):
        self.calls += 1
        loss = torch.mean(torch.square(self.precision.run(self.network, x) - z))
        return {"loss": loss, "twice": 2 * loss}


def descent(**fields):
    torch.manual_seed(0)
    config = validated({"batch": 4, "learning_rate": 0.1} | fields, "test")
    precision = Precision(config.precision, CPU)
    return Descent(Line(precision), "loss", config, Alone(), precision)


def batch(seed=1, size=4):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, generator=random), torch.randn(size, 1, generator=random)


def test_a_step_is_adams_on_the_clipped_gradient():
    ours, twin = descent(grad_clip=0.5), Line()
    twin.load_state_dict(ours.objective.state_dict())
    adam = torch.optim.Adam(twin.parameters(), lr=0.1)
    for seed in range(5):
        ours.step(batch(seed), 0.1)
        adam.zero_grad()
        twin(*batch(seed))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        adam.step()
    for mine, other in zip(ours.network.parameters(), twin.network.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_a_batch_in_parts_makes_the_same_step_and_terms():
    whole, parts = descent(), descent(accumulate=4)
    for seed in range(5):
        first, second = whole.step(batch(seed), 0.1), parts.step(batch(seed), 0.1)
        torch.testing.assert_close(first, second)
    assert (whole.objective.calls, parts.objective.calls) == (5, 20)
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_learning_rate_is_the_steps_own():
    ours = descent()
    before = ours.network.weight.detach().clone()
    ours.step(batch(), 0.0)
    assert torch.equal(ours.network.weight, before)


def test_a_loss_that_is_not_finite_is_seen_at_the_next_look_and_then_forgotten():
    ours = descent()
    x, z = batch()
    ours.step((x, z), 0.1)
    assert ours.healthy()
    ours.step((x, z * torch.nan), 0.1)
    ours.step((x, z), 0.1)
    assert not ours.healthy()


def test_a_gradient_that_overflows_in_fp16_skips_the_step_and_halves_the_scale():
    ours = descent(precision="fp16")
    x, z = batch()
    before = ours.network.weight.detach().clone()
    # the gradient of the layer's output is some 5, times the scale of 65536 more than fp16 holds
    ours.step((x, z * 10), 0.1)
    assert torch.equal(ours.network.weight, before)
    assert ours.scaler.get_scale() == 2.0**15
    assert ours.healthy()
    ours.step((x, z), 0.1)
    assert not torch.equal(ours.network.weight, before)


def test_a_gradient_that_no_scale_keeps_finite_is_told():
    ours = descent(precision="fp16")
    x, z = batch()
    ours.step((x, z), 0.1)
    for _ in range(40):
        ours.step((x, z * 1e15), 0.1)
    assert not ours.healthy()


@pytest.mark.parametrize("betas", [None, (0.0, 0.9)])
def test_betas_are_the_recipes_unless_given(betas):
    config = validated({"betas": [0.8, 0.95]}, "test")
    made = Descent(Line(), "loss", config, Alone(), FULL, betas)
    assert made.optimizer.param_groups[0]["betas"] == (betas or (0.8, 0.95))
