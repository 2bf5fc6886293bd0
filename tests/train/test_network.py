import pytest
import torch

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE
from mrct_train.network import DirectNetwork, Network, Residual, noise_level
from mrct_train.unet import UNetConfig

SMALL = UNetConfig(base=4, multipliers=(1, 2), blocks=1, embedding=8)
PROCESSES = [DDPM(), DDPM(steps=10, beta_end=0.5), VESDE(), VESDE(sigma=10.0)]


def grid_times(process, count=200):
    if isinstance(process, DDPM):
        return [i / process.steps for i in range(1, process.steps + 1)]
    return torch.logspace(-5, 0, count, dtype=torch.float64).tolist()


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_the_graphs_schedule_is_the_processs(process):
    times = grid_times(process)
    alpha, std = noise_level(process)(torch.tensor(times, dtype=torch.float32))
    expected_alpha = torch.tensor([process.alpha(t) for t in times])
    expected_std = torch.tensor([process.std(t) for t in times])
    torch.testing.assert_close(alpha, expected_alpha, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(std, expected_std, rtol=1e-6, atol=1e-6)


def test_between_grid_times_the_table_is_the_processs_too():
    process = DDPM()
    times = torch.linspace(0.001, 1, 777, dtype=torch.float64).tolist()
    _, std = noise_level(process)(torch.tensor(times, dtype=torch.float32))
    torch.testing.assert_close(
        std, torch.tensor([process.std(t) for t in times]), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_the_fresh_residual_net_is_the_best_linear_guess_for_gaussian_pixels(process):
    """For x_0 ~ N(m, s^2) the posterior mean of eps is std (x - alpha m) / (alpha^2 s^2 + std^2)."""
    torch.manual_seed(0)
    mean, deviation = 0.2, 0.3
    network = Network(SMALL, process, Residual(mean, deviation))
    for t in grid_times(process)[:: len(grid_times(process)) // 5]:
        alpha, std = process.alpha(t), process.std(t)
        x0 = mean + deviation * torch.randn(64, 1, 32, 32)
        eps = torch.randn_like(x0)
        x = alpha * x0 + std * eps
        eps_hat = network(x, x, torch.full((64,), t))
        optimum = std * (x - alpha * mean) / (alpha**2 * deviation**2 + std**2)
        torch.testing.assert_close(eps_hat, optimum, rtol=1e-4, atol=1e-5)
        # and its error is what no linear guess can undercut
        least = (alpha * deviation) ** 2 / (alpha**2 * deviation**2 + std**2)
        assert torch.mean((eps_hat - eps) ** 2).item() == pytest.approx(least, rel=0.03)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_the_residual_nets_learned_part_has_inputs_and_targets_of_unit_variance(process):
    torch.manual_seed(0)
    network = Network(SMALL, process, Residual(0.2, 0.3))
    seen = []
    network.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    for t in (process.t_min, 0.1, 0.5, 1.0):
        alpha, std = process.alpha(t), process.std(t)
        x0 = 0.2 + 0.3 * torch.randn(64, 1, 32, 32)
        eps = torch.randn_like(x0)
        linear = network(alpha * x0 + std * eps, x0, torch.full((64,), t))
        n = (alpha**2 * 0.09 + std**2) ** 0.5
        target = (eps - linear) / (alpha * 0.3 / n)
        assert target.std().item() == pytest.approx(1, rel=0.02)
        images, label = seen.pop()
        unit = images[:, :1]
        assert unit.std().item() == pytest.approx(1, rel=0.02)
        assert label.abs().max() < 2


def test_without_preconditioning_the_net_is_the_unet_itself():
    torch.manual_seed(0)
    network = Network(SMALL, VESDE())
    torch.nn.init.normal_(network.unet.last.weight)
    x, t = torch.randn(2, 1, 4, 4), torch.rand(2)
    assert torch.equal(network(x, x, t), network.unet(torch.cat([x, x], dim=1), t))


def test_constant_data_have_no_preconditioning():
    with pytest.raises(UsageError, match="deviation must be positive, got 0"):
        Residual(0.5, 0.0)


def test_the_direct_net_is_the_unet_of_the_mr_alone_without_time():
    torch.manual_seed(0)
    network = DirectNetwork(SMALL)
    torch.nn.init.normal_(network.unet.last.weight)
    y = torch.rand(2, 1, 4, 4)
    assert network(y).shape == y.shape
    assert torch.equal(network(y), network.unet(y))
    assert not [name for name, _ in network.named_parameters() if "time" in name or "embed" in name]
