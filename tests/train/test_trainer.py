import pytest

from mrct_train.config import TrainConfig
from mrct_train.trainer import learning_rate


def test_a_constant_rate_is_the_recipes_at_every_step():
    config = TrainConfig(learning_rate=0.5)
    assert {learning_rate(config, step, 10) for step in range(10)} == {0.5}


def test_the_warm_up_rises_to_the_full_rate():
    config = TrainConfig(learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(config, step, 100) for step in range(6)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_the_cosine_is_half_way_down_in_the_middle_and_near_zero_at_the_end():
    config = TrainConfig(learning_rate=1.0, schedule="cosine")
    assert learning_rate(config, 0, 1000) == pytest.approx(1.0)
    assert learning_rate(config, 500, 1000) == pytest.approx(0.5)
    assert 0 < learning_rate(config, 999, 1000) < 1e-5
