import pytest
import torch
from torch import nn
from training_run import pairs, recipe

from mrct_train.batches import Rows, Source
from mrct_train.checkpoint import build_network
from mrct_train.data import Order
from mrct_train.learners.regression import Regression, RegressionLearner
from mrct_train.precision import Precision
from mrct_train.ranks import Alone

CPU = torch.device("cpu")


def test_the_loss_is_the_mean_square_over_batch_and_pixels():
    x0, y = torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), 0.8)
    terms = Regression(nn.Identity(), Precision("fp32", CPU))(x0, y)
    assert terms["loss"].item() == pytest.approx(0.09)


def test_it_learns_a_function_of_the_mr():
    config = recipe(method="cnn", batch=8, augmentation={})
    data = pairs(slices=8)
    source = Source(data, Order(data.of(range(4)), 8, 0), Rows(8), config)
    torch.manual_seed(0)
    summary = data.summary(range(4))
    learner = RegressionLearner(build_network(config, summary), source, summary, Alone())
    losses = [learner.learn(learner.batches(step), 5e-3)["loss"].item() for step in range(150)]
    # the CT's own variance is what the best constant would leave
    assert losses[-1] < 0.1 * summary.deviation**2
