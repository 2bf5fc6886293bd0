import csv
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

from mrct_runtime.errors import EngineError, NumericError, OutputError, UsageError
from mrct_train.checkpoint import latest, load
from mrct_train.config import validated
from mrct_train.data import Pairs
from mrct_train.fit import Limits, fit

TINY = {
    "size": 8,
    "steps": 20,
    "batch": 3,
    "ema": 0.9,
    "learning_rate": 1e-3,
    "unet": {"base": 4, "multipliers": [1, 2], "blocks": 1, "embedding": 8, "fourier_scale": 1.0},
}
METHODS = [
    {"method": "ddpm"},
    {"method": "sde", "preconditioning": "residual", "weighting": "unit", "stratified": True},
]


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small only wait for their other threads; the bits are those of one thread too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def recipe(**fields):
    return validated(TINY | fields, "test")


def pairs(seed=0, subjects=4, slices=4):
    """Discs whose CT is a function of their MR."""
    rng = np.random.default_rng(seed)
    mr = rng.random((subjects * slices, 8, 8), dtype=np.float32)
    return Pairs(mr=mr, ct=np.float32(0.2) + mr**2 / 2, counts=(slices,) * subjects)


def tensors(run):
    saved = load(latest(run))
    return {
        f"{group}.{name}": tensor
        for group in ("weights", "ema", "optimizer")
        for name, tensor in getattr(saved, group).items()
    }


@pytest.mark.parametrize("fields", METHODS, ids=str)
def test_20_steps_are_10_and_a_resume_and_10_bit_for_bit(tmp_path, monkeypatch, fields):
    config = recipe(augmentation="authors", schedule="cosine", warmup_steps=3, **fields)
    fit(config, pairs(), tmp_path / "whole")
    stop_after(monkeypatch, 10)
    first = fit(config, pairs(), tmp_path / "parts", Limits(max_minutes=1e-9))
    assert (first.step, first.finished) == (10, False)
    monkeypatch.undo()
    assert fit(config, pairs(), tmp_path / "parts").finished
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def stop_after(monkeypatch, step):
    """Let time stand still for so many steps: then the time limit is over."""
    from mrct_train import fit as module

    real, calls = time.monotonic, []

    class Clock:
        @staticmethod
        def monotonic():
            calls.append(1)
            return 0.0 if len(calls) <= step else real() + 1e6

    monkeypatch.setattr(module, "time", Clock)


def losses(run):
    with (run / "log.csv").open() as file:
        return [(row["epoch"], row["step"], row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("fields", METHODS, ids=str)
def test_training_lowers_the_loss_of_subjects_it_never_saw(tmp_path, fields):
    config = recipe(steps=120, batch=8, validation_subjects=1, learning_rate=5e-3, **fields)
    fit(config, pairs(subjects=8), tmp_path)
    with (tmp_path / "log.csv").open() as file:
        seen = [float(row["validation_loss"]) for row in csv.DictReader(file)]
    assert seen[-1] < 0.7 * seen[0]


def test_the_log_has_a_row_an_epoch(tmp_path):
    fit(recipe(), pairs(), tmp_path)
    # 20 steps of 3 are 60 slices; an epoch has 16
    assert [(epoch, step) for epoch, step, _ in losses(tmp_path)] == [
        ("1", "6"),
        ("2", "11"),
        ("3", "16"),
    ]


def test_a_finished_run_called_again_changes_nothing(tmp_path):
    fit(recipe(), pairs(), tmp_path)
    before = tensors(tmp_path)
    assert fit(recipe(), pairs(), tmp_path).finished
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(tmp_path).items())


def test_another_recipe_in_the_same_folder_is_refused_by_its_fields(tmp_path):
    fit(recipe(), pairs(), tmp_path)
    with pytest.raises(UsageError, match=r"with another batch, unet\.base;"):
        fit(recipe(batch=2, unet=TINY["unet"] | {"base": 8}), pairs(), tmp_path)


def test_other_data_in_the_same_folder_are_refused(tmp_path):
    fit(recipe(), pairs(), tmp_path)
    with pytest.raises(UsageError, match="other data"):
        fit(recipe(), pairs(seed=1), tmp_path)


def test_a_run_that_lost_its_checkpoint_is_not_begun_anew(tmp_path):
    fit(recipe(), pairs(), tmp_path)
    latest(tmp_path).rename(tmp_path.parent / "elsewhere")
    with pytest.raises(OutputError, match="no checkpoint"):
        fit(recipe(), pairs(), tmp_path)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    good = pairs()
    bad = Pairs(good.mr, np.where(good.ct == good.ct.max(), np.nan, good.ct), good.counts)
    with pytest.raises(NumericError, match="not finite at step"):
        fit(recipe(), bad, tmp_path / "bad")
    # the run had saved its beginning
    assert load(latest(tmp_path / "bad")).progress.step == 0


def test_a_diverging_run_is_told(tmp_path):
    with pytest.raises(NumericError, match="lower learning_rate"):
        fit(recipe(learning_rate=1e30, steps=100), pairs(), tmp_path)


def test_weights_that_the_last_step_made_infinite_are_never_saved(tmp_path):
    # the gradient of the one step is finite, the step itself is not
    with pytest.raises(NumericError, match="weights are not finite after step 1"):
        fit(recipe(learning_rate=1e300, steps=1), pairs(), tmp_path)
    assert load(latest(tmp_path)).progress.step == 0


@pytest.mark.parametrize("device", ["", "gpu", "meta", "cuda:-1"])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(UsageError, match="choose from cpu, cuda and cuda:N"):
        Limits(device=device)


@pytest.mark.parametrize("device", ["cuda:99", "cuda:99999"])
def test_a_device_that_the_machine_lacks_is_refused(device):
    with pytest.raises(EngineError, match="not available; use --device cpu"):
        Limits(device=device)


@pytest.mark.parametrize("threads", [0, 9_999_999_999])
def test_a_number_of_threads_that_no_machine_has_is_refused(threads):
    with pytest.raises(UsageError, match="threads must be from 1 to 1024"):
        Limits(threads=threads)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_end_and_saves(tmp_path, number):
    config = recipe(steps=100_000)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    timer.start()
    outcome = fit(config, pairs(), tmp_path)
    timer.join()
    assert outcome.signal == number
    assert 0 < outcome.step < outcome.total
    assert load(latest(tmp_path)).progress.step == outcome.step
