import numpy as np
import pytest
import torch
from training_run import METHODS, recipe

from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.process import DDPM, VESDE
from mrct_runtime.samplers import sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.synthesis import synthesize
from mrct_train.checkpoint import build_network
from mrct_train.data import DataSummary
from mrct_train.torch_engine import TorchEngine


class Gaussian(torch.nn.Module):
    """The best network for pixels N(y, 0.1^2), in PyTorch."""

    def __init__(self, process):
        super().__init__()
        self.process = process
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, y, t):
        # a sampler's one time for all rows
        alpha, std = self.process.alpha(t[0].item()), self.process.std(t[0].item())
        return self.weight * std * (x - alpha * y) / (alpha**2 * 0.01 + std**2)


def network(method):
    return build_network(recipe(**METHODS[method]), DataSummary(1, 1, "", 0.4, 0.2)).eval()


@pytest.mark.parametrize(
    ("name", "process"), [("ddpm", DDPM(steps=50)), ("em", VESDE())], ids=["ddpm", "em"]
)
def test_samplers_draw_from_it_what_they_draw_from_the_closed_form(name, process):
    condition = np.random.default_rng(0).random((2, 8, 8))
    sampling = Sampling(sampler(name, {"steps": 25}), mc=3)
    drawn = synthesize(TorchEngine(Gaussian(process)), process, condition, sampling)
    true = synthesize(Analytic(process), process, condition, sampling)
    np.testing.assert_allclose(drawn.mean, true.mean, atol=2e-4)


@pytest.mark.parametrize("method", ["ddpm", "sde"])
def test_a_shared_time_and_a_time_a_sample_are_the_networks_own(method):
    eps, rng = network(method), np.random.default_rng(1)
    x, y = (rng.standard_normal((3, 1, 8, 8)).astype(np.float32) for _ in range(2))
    denoise = TorchEngine(eps).bind(y)
    for t in (0.5, np.array([0.2, 0.5, 0.9])):
        times = torch.tensor(np.broadcast_to(t, 3).astype(np.float32))
        with torch.no_grad():
            expected = eps(torch.from_numpy(x), torch.from_numpy(y), times).numpy()
        np.testing.assert_array_equal(denoise(x, t), expected)


@pytest.mark.parametrize("method", ["cnn", "wgan-gp"])
def test_a_direct_network_gives_its_image_whatever_the_state_and_time(method):
    direct, rng = network(method), np.random.default_rng(2)
    y = rng.random((2, 1, 8, 8), dtype=np.float32)
    denoise = TorchEngine(direct).bind(y)
    with torch.no_grad():
        expected = direct(torch.from_numpy(y)).numpy()
    np.testing.assert_array_equal(denoise(np.zeros_like(y), 1.0), expected)
    np.testing.assert_array_equal(denoise(np.ones_like(y), 0.3), expected)
