import numpy as np
import pytest

from mrct_train.config import Plateau, TrainConfig
from mrct_train.schedule import diverged, learning_rate, plateaued


def test_a_constant_rate_is_the_recipes_at_every_step():
    config = TrainConfig(learning_rate=0.5)
    assert {learning_rate(config, step, 10) for step in range(10)} == {0.5}


def test_the_warm_up_rises_to_the_full_rate():
    config = TrainConfig(learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(config, step, 100) for step in range(6)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_the_cosine_is_half_way_down_in_the_middle_and_near_zero_at_the_end():
    config = TrainConfig(learning_rate=1.0, schedule="cosine", steps=1000)
    assert learning_rate(config, 0, 1000) == pytest.approx(1.0)
    assert learning_rate(config, 500, 1000) == pytest.approx(0.5)
    assert 0 < learning_rate(config, 999, 1000) < 1e-5


RULE = Plateau(drop=0.01, epochs=3)


@pytest.mark.parametrize(
    ("losses", "ended"),
    [
        ([1.0, 1.0, 1.0], False),  # only two epochs before the last
        ([1.0, 1.0, 1.0, 1.0], True),
        ([1.0, 1.0, 1.0, 0.995], True),
        ([1.0, 1.0, 1.0, 0.985], False),
        ([9.0, 1.0, 1.0, 1.0, 0.995], True),  # what lies further back does not count
        ([1.2, 1.0, 0.8, 0.995], True),  # against the mean, not the best or the last
        ([1.2, 1.0, 0.8, 0.985], False),
    ],
)
def test_a_plateau_is_a_loss_that_has_not_dropped_by_the_rule_against_the_mean_before(
    losses, ended
):
    assert plateaued(losses, RULE) is ended


def test_the_papers_rule_is_one_percent_against_twenty_epochs_after_at_least_a_hundred():
    config = TrainConfig()
    assert (config.plateau.drop, config.plateau.epochs, config.epochs) == (0.01, 20, 100)


@pytest.mark.parametrize(
    ("before", "first", "last", "slices", "astray"),
    [
        ([], 1.0, 1.0, 1000, False),
        ([1.0, 0.1], 1.0, 1.1, 1000, True),
        ([1.0, 0.1], 1.0, 0.9, 1000, False),  # an untrained network is as bad
        ([1.0, 0.2], 1.0, 1.9, 1000, False),
        ([0.2, 0.1], 0.2, 1.1, 1000, True),
        ([1.0, 0.1], 1.0, 24.9, 20, False),  # few slices: the mean is noisy
        ([1.0, 0.1], 1.0, 25.1, 20, True),
    ],
)
def test_a_loss_has_diverged_above_the_first_and_ten_times_the_least(
    before, first, last, slices, astray
):
    assert diverged(before, first, last, slices) is astray


def test_losses_as_noisy_as_those_of_few_slices_have_not_diverged():
    """Per slice exponential over four decades of times, the worst that a noise model's loss does, in epochs of n slices."""
    rng = np.random.default_rng(0)
    for slices in (4, 20, 200):
        for _ in range(200):
            losses = (10.0 ** rng.uniform(-4, 0, (50, slices))).mean(1).tolist()
            found = [
                diverged(losses[max(0, k - 21) : k], losses[0], losses[k], slices)
                for k in range(1, 50)
            ]
            assert not any(found)
