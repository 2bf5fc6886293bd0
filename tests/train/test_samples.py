import random

import numpy as np
import pytest
import torch
from training_run import METHODS, differing, pairs, recipe

from mrct_runtime.errors import OutputError
from mrct_runtime.process import DDPM, VESDE
from mrct_train.checkpoint import build_network
from mrct_train.fit import fit
from mrct_train.network import DirectNetwork
from mrct_train.samples import SampleGrid, sampler_for, scores, spread


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small only wait for their other threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(config):
    torch.manual_seed(3)
    return build_network(config, pairs().summary([0]))


def grid(config, run, slices=4):
    return SampleGrid(config, pairs(), np.arange(slices), run)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_picture_and_its_metrics_always_the_same(method, tmp_path):
    config = recipe(**METHODS[method])
    net = network(config)
    first = grid(config, tmp_path / "a").write(net, 10)
    again = grid(config, tmp_path / "b").write(net, 10)
    assert first == again
    assert set(first) == {"mae_hu", "psnr", "ssim"}
    assert all(np.isfinite(value) for value in first.values())
    pictures = [tmp_path / run / "samples" / "epoch-00010.png" for run in "ab"]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert pictures[0].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("method", METHODS)
def test_generators_and_the_networks_modes_stay_as_they_are(method, tmp_path):
    config = recipe(**METHODS[method])
    net = network(config).train()
    next(iter(net.children())).eval()
    modes = [module.training for module in net.modules()]
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002 - the global ones
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    grid(config, tmp_path).write(net, 1)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert np.array_equal(before[2], after[2])
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_training_with_pictures_ends_with_the_bits_of_one_without(method, tmp_path):
    fields = METHODS[method] | {"steps": 9, "validation_subjects": 1}
    for every, run in ((0, "without"), (1, "with")):
        assert fit(recipe(sample_epochs=every, **fields), pairs(), tmp_path / run).finished
    assert differing(tmp_path / "without", tmp_path / "with") == []
    assert len(list((tmp_path / "with" / "samples").iterdir())) == 2
    assert not (tmp_path / "without" / "samples").exists()


class Parabola(DirectNetwork):
    """The very function that the CT of the tests is of the MR, and so many HU more."""

    def __init__(self, too_high_hu):
        super().__init__(recipe().unet)
        self.too_high_hu = too_high_hu

    def forward(self, y):
        hu = -1024 + 4000 * (0.2 + y**2 / 2) + self.too_high_hu
        return (hu + 1024) / 4095


@pytest.mark.parametrize("too_high", [0, 50])
def test_the_error_in_hu_is_that_of_the_network(too_high, tmp_path):
    found = grid(recipe(method="cnn"), tmp_path).write(Parabola(too_high), 1)
    assert found["mae_hu"] == pytest.approx(too_high, abs=0.01)
    if too_high:
        assert found["psnr"] == pytest.approx(20 * np.log10(4024 / too_high), abs=0.01)


def test_only_the_body_is_measured():
    truth = np.zeros((1, 16, 16))
    body = np.zeros((1, 16, 16), bool)
    body[:, 4:12, 4:12] = True
    assert scores(truth, np.where(body, 30.0, 999.0), body)["mae_hu"] == 30.0


def test_a_slice_without_body_counts_for_nothing():
    truth = np.zeros((2, 16, 16))
    body = np.zeros((2, 16, 16), bool)
    body[0] = True
    assert scores(truth, truth + 7, body)["mae_hu"] == 7.0
    assert scores(truth[1:], truth[1:], body[1:]) == {}


def test_without_validation_slices_there_is_no_picture(tmp_path):
    config = recipe()
    assert grid(config, tmp_path, slices=0).write(network(config), 10) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "samples").write_text("in the way")
    config = recipe()
    with pytest.raises(OutputError, match=r"epoch-00001\.png"):
        grid(config, tmp_path).write(network(config), 1)


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (8, [1, 3, 5, 7])]
)
def test_slices_are_spread_over_all_of_them(count, chosen):
    assert spread(np.arange(count), 4).tolist() == chosen


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "ddpm", "ddpm": DDPM(steps=10, beta_end=0.5)},
        {"method": "sde", "sde": VESDE(t_min=0.1)},
        {"method": "sde", "sde": VESDE(t_min=0.6)},
        {"method": "sde", "sde": VESDE(t_min=0.03)},
        *METHODS.values(),
    ],
    ids=str,
)
def test_every_process_has_a_sampler_that_it_can_take(fields):
    config = recipe(**fields)
    sampler_for(config).check(config.process)
