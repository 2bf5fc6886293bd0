from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training_run import METHODS, pairs, recipe

from mrct_train.trainer import Trainer
from mrct_train.validation import Validation


@pytest.mark.parametrize("method", METHODS)
def test_the_same_network_has_the_same_loss_twice(method, tmp_path):
    config = recipe(validation_subjects=1, **METHODS[method])
    trainer = Trainer(config, pairs(), tmp_path)
    first, second = (
        trainer.validation.loss(trainer.ema.network, torch.device("cpu")) for _ in range(2)
    )
    trainer.close()
    assert first == second
    assert first > 0


def test_a_short_last_chunk_weighs_as_much_as_its_slices(tmp_path):
    """The loss is here a slice's own number; eleven slices are a chunk of eight and one of three."""
    asked = []

    def batch(indices):
        asked.append(len(indices))
        values = np.asarray(indices, np.float32)[:, None, None, None] ** 2
        return values, values

    learner = SimpleNamespace(
        examples=lambda pair, _random: pair, loss=lambda _network, made: made[0].mean()
    )
    source = SimpleNamespace(config=recipe(), pairs=SimpleNamespace(batch=batch))
    found = Validation(learner, source, np.arange(11), tmp_path).loss(None, torch.device("cpu"))
    assert asked == [8, 3]
    assert found == pytest.approx(np.mean(np.arange(11.0) ** 2))


def test_without_slices_there_is_no_loss(tmp_path):
    source = SimpleNamespace(config=recipe())
    assert Validation(None, source, np.arange(0), tmp_path).loss(None, torch.device("cpu")) is None
