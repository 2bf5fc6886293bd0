"""A run that is killed with SIGKILL, also in the midst of a checkpoint, goes on to the same bits."""

import csv
import random
import signal

import pytest
import torch
from killed_training import kill_some_time_after_progress, start, train
from training_run import METHODS, differing, pairs, recipe

from mrct_train.checkpoint import latest, load
from mrct_train.fit import fit


@pytest.fixture(autouse=True)
def one_thread():
    """The bits are those of the children, which have one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def whole(folder, fields):
    """The folder of an uninterrupted run."""
    assert fit(recipe(**fields), pairs(), folder / "whole").finished
    return folder / "whole"


def rows(run):
    """The log without what is measured by the clock."""
    with (run / "log.csv").open() as file:
        found = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if "second" not in name} for row in found]


def assert_same(one, other):
    assert differing(one, other) == []
    assert rows(one) == rows(other)


@pytest.mark.parametrize("method", METHODS)
def test_kill_9_in_the_midst_of_a_checkpoint_loses_no_bit(tmp_path, method):
    fields = METHODS[method] | {"steps": 6, "batch": 6, "validation_subjects": 1}
    writes = random.Random(method)
    # a checkpoint takes some ten writes, and a new run writes one before its first step
    for die_at in (writes.randrange(11, 30), writes.randrange(20)):
        process = start(train, tmp_path / "run", fields, die_at)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert load(latest(tmp_path / "run")).progress.step < 6
    assert fit(recipe(**fields), pairs(), tmp_path / "run").finished
    assert_same(tmp_path / "run", whole(tmp_path, fields))


def killed_until_finished(run, fields, moments):
    """Start the run again and again, and kill it a while after each start; how often that happened before its end."""
    for kills in range(1000):
        process = start(train, run, fields)
        # the first at once, so that no machine is too fast for it
        kill_some_time_after_progress(process, run, moments.uniform(0, 0.3) if kills else 0)
        if process.exitcode == 0:
            return kills
        assert process.exitcode == -signal.SIGKILL
    raise AssertionError("the run does not get on")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_kill_9_at_random_moments_loses_no_bit(tmp_path, method):
    fields = METHODS[method] | {"steps": 50, "precision": "fp16", "schedule": "cosine"}
    kills = killed_until_finished(tmp_path / "run", fields, random.Random(method))
    assert kills >= 2
    assert_same(tmp_path / "run", whole(tmp_path, fields))


def test_kill_9_at_a_random_moment_loses_no_bit(tmp_path):
    fields = {"steps": 12, "accumulate": 3}
    assert killed_until_finished(tmp_path / "run", fields, random.Random(0)) >= 1
    assert_same(tmp_path / "run", whole(tmp_path, fields))
