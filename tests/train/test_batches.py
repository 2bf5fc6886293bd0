import threading
import time

import numpy as np
import pytest
import torch
from training_run import pairs, recipe

from mrct_runtime.errors import UsageError
from mrct_train.augment import Chances, change
from mrct_train.batches import Prefetch, Rows, Source
from mrct_train.data import Order
from mrct_train.loss import generator


def test_the_ranks_rows_are_every_batchs_rows_once():
    rows = [index for rank in range(3) for index in range(6)[Rows(6, 3, rank).mine]]
    assert rows == list(range(6))


@pytest.mark.parametrize(("ranks", "parts"), [(4, 1), (1, 4), (2, 2)])
def test_a_batch_that_does_not_divide_is_refused(ranks, parts):
    with pytest.raises(UsageError, match=f"batch 6 .* {ranks} devices x accumulate {parts}"):
        Rows(6, ranks, 0, parts)


def test_a_ranks_pairs_are_its_rows_of_the_whole_batch_augmented():
    config, data = recipe(batch=6), pairs()
    order = Order(data.of(range(4)), 6, 0)
    indices = order.indices(3)
    ct, mr = data.batch(indices)
    images = torch.from_numpy(ct), torch.from_numpy(mr)
    whole = change(images, config.augmentation, config.spacing_mm, Chances.draw(6, generator(0, 3)))
    for rank in range(3):
        rows = Rows(6, 3, rank)
        mine = Source(data, order, rows, config).pair(indices, generator(0, 3))
        for image, expected in zip(mine, whole, strict=True):
            assert torch.equal(image, expected[rows.mine])


def test_the_next_batches_are_made_while_one_is_in_use():
    made = []
    prefetch = Prefetch(lambda k: made.append(k) or 10 * k, end=5)
    assert prefetch(0) == 0
    deadline = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == [0, 1, 2]
    assert [prefetch(k) for k in range(1, 5)] == [10, 20, 30, 40]
    assert made == list(range(5))  # none twice, none past the end
    prefetch.close()


def test_prefetched_values_are_those_of_their_own_number_from_any_start():
    prefetch = Prefetch(lambda k: np.random.default_rng(k).random(), end=20)
    assert [prefetch(k) for k in range(7, 20)] == [
        np.random.default_rng(k).random() for k in range(7, 20)
    ]
    prefetch.close()


def test_an_error_in_the_thread_is_raised_where_its_batch_is_used():
    def make(k):
        if k == 2:
            raise UsageError("no such slice")
        return k

    prefetch = Prefetch(make, end=9)
    assert (prefetch(0), prefetch(1)) == (0, 1)
    with pytest.raises(UsageError, match="no such slice"):
        prefetch(2)
    prefetch.close()


def test_closing_ends_the_thread():
    prefetch = Prefetch(lambda k: k, end=100)
    prefetch(0)
    prefetch.close()
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())
