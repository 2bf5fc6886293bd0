import numpy as np
import pytest
import torch

from mrct_runtime.process import DDPM, VESDE
from mrct_train.loss import Draw, draw, eps_loss, generator, noisy, times, uniform, unit_weight
from mrct_train.network import Network, Residual
from mrct_train.unet import UNetConfig

SMALL = UNetConfig(base=4, multipliers=(1, 2), blocks=1, embedding=8)


class Constant(torch.nn.Module):
    """A net that answers with one value everywhere."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, y, t):
        return torch.full_like(x, self.value)


def test_the_ddpms_times_are_each_of_its_levels_equally_often():
    process = DDPM(steps=10)
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    index = (times(process, u) * 10).round().int().tolist()
    assert np.bincount(index).tolist() == [0] + [100] * 10


def test_the_sdes_times_are_uniform_from_t_min_to_one():
    t = times(VESDE(t_min=0.1), torch.tensor([0.0, 0.5, 1 - 1e-12], dtype=torch.float64))
    assert t.tolist() == pytest.approx([0.1, 0.55, 1.0])


@pytest.mark.parametrize("stratified", [False, True])
def test_times_are_uniform_over_many_batches(stratified):
    u = torch.cat([uniform(4, generator(0, k), stratified=stratified) for k in range(2000)])
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.bincount((u * 10).int().numpy(), minlength=10)
    assert np.abs(counts - 800).max() < 4 * np.sqrt(800)


def test_stratified_times_fall_one_in_each_part():
    for k in range(50):
        u = uniform(8, generator(1, k), stratified=True)
        assert sorted((u * 8).int().tolist()) == list(range(8))


@pytest.mark.parametrize("process", [DDPM(), VESDE()], ids=repr)
def test_noisy_images_are_alpha_x0_plus_std_eps(process):
    x0, eps = torch.rand(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    t = torch.tensor([process.t_min, 0.5, 1.0], dtype=torch.float64)
    x = noisy(process, x0, Draw(t, eps))
    for i, at in enumerate(t.tolist()):
        expected = process.alpha(at) * x0[i] + process.std(at) * eps[i]
        torch.testing.assert_close(x[i], expected)


def test_the_loss_is_the_mean_square_over_batch_and_pixels():
    x0 = torch.rand(64, 1, 16, 16)
    drawn = draw(VESDE(), x0.shape, generator(0), stratified=False)
    assert eps_loss(Constant(0.0), VESDE(), (x0, x0), drawn).item() == pytest.approx(1, rel=0.05)
    exact = eps_loss(Constant(0.5), VESDE(), (x0, x0), Draw(drawn.t, torch.full_like(x0, 0.25)))
    assert exact.item() == pytest.approx(0.0625)


@pytest.mark.parametrize("process", [DDPM(), VESDE()], ids=repr)
def test_a_perfect_net_has_no_loss(process):
    """The loss is zero exactly where the net returns the noise that was added."""
    x0 = torch.zeros(2, 1, 4, 4)

    class Oracle(torch.nn.Module):
        def forward(self, x, y, t):
            std = torch.tensor([process.std(at) for at in t.tolist()])[:, None, None, None]
            return x / std

    drawn = draw(process, x0.shape, generator(3), stratified=True)
    assert eps_loss(Oracle(), process, (x0, x0), drawn).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("process", [DDPM(), VESDE()], ids=repr)
def test_with_unit_weight_a_fresh_residual_net_has_loss_one_at_every_time(process):
    torch.manual_seed(0)
    network = Network(SMALL, process, Residual(0.2, 0.3))
    x0 = 0.2 + 0.3 * torch.randn(32, 1, 32, 32)
    for at in (process.t_min, 0.01, 0.3, 1.0):
        drawn = Draw(torch.full((32,), at, dtype=torch.float64), torch.randn_like(x0))
        weight = unit_weight(process, drawn.t, 0.3)
        loss = eps_loss(network, process, (x0, x0), drawn, weight)
        assert loss.item() == pytest.approx(1, rel=0.03)


def test_every_step_has_its_own_noise_and_the_same_one_each_time():
    shape = torch.Size([2, 1, 4, 4])
    first, again, other = (
        draw(VESDE(), shape, generator(*k), stratified=False) for k in [(5, 1), (5, 1), (5, 2)]
    )
    assert torch.equal(first.eps, again.eps)
    assert torch.equal(first.t, again.t)
    assert not torch.equal(first.eps, other.eps)
