import pytest
import torch
from training_run import METHODS, pairs, recipe

from mrct_train.batches import Rows, Source
from mrct_train.checkpoint import build_network
from mrct_train.data import Order
from mrct_train.learners.noise import NoiseLearner
from mrct_train.loss import Example, draw, eps_loss, generator
from mrct_train.ranks import Alone


def learner(rows, **fields):
    config = recipe(batch=rows.batch, **fields)
    data = pairs()
    summary = data.summary(range(4))
    source = Source(data, Order(data.of(range(4)), rows.batch, config.seed), rows, config)
    torch.manual_seed(0)
    return NoiseLearner(build_network(config, summary), source, summary, Alone())


@pytest.mark.parametrize("method", ["ddpm", "sde"])
def test_the_ranks_batches_are_the_rows_of_one_batch(method):
    """So the number of devices changes nothing in what is learnt, augmentation and times included."""
    whole = learner(Rows(4), **METHODS[method]).batches(7)[0]
    parts = [learner(Rows(4, 2, rank), **METHODS[method]).batches(7)[0] for rank in range(2)]
    for name, tensor, first, second in zip(Example._fields, whole, *parts, strict=True):
        assert torch.equal(tensor, torch.cat([first, second])), name


def test_the_noisy_image_belongs_to_the_times_and_the_noise():
    made = learner(Rows(4), method="sde", augmentation={})
    example = Example(*made.batches(2)[0])
    x0, _ = made.source.pair(made.source.order.indices(2), generator(0, 2))
    std = torch.tensor([made.config.process.std(t) for t in example.t.tolist()])
    torch.testing.assert_close(example.x, x0 + std[:, None, None, None] * example.eps)


def test_the_loss_of_a_network_is_eps_loss_with_evenly_spread_times():
    made = learner(Rows(4), method="ddpm")
    pair = torch.rand(8, 1, 8, 8), torch.rand(8, 1, 8, 8)
    network, process = made.descents["main"].network, made.config.process
    drawn = draw(process, pair[0].shape, generator(1), stratified=True)
    found = made.loss(network, made.examples(pair, generator(1)))
    assert found.item() == pytest.approx(eps_loss(network, process, pair, drawn).item())
