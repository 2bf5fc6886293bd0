import csv
import json
import os
import signal
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from killed_training import start, train
from training_run import METHODS, TINY, differing, pairs, recipe, tensors

from mrct_runtime.errors import EngineError, NumericError, OutputError, UsageError
from mrct_runtime.paired import Slices
from mrct_train.checkpoint import latest, load
from mrct_train.data import Pairs, PreparedSubject, Split
from mrct_train.fit import Limits, fit
from mrct_train.ranks import Alone
from mrct_train.trainer import Trainer


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small only wait for their other threads; the bits are those of one thread too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("method", "precision"),
    [(method, "fp32") for method in METHODS]
    + [("cnn", "bf16"), ("sde", "fp16"), ("wgan-gp", "fp16")],
)
def test_20_steps_are_10_and_a_resume_and_10_bit_for_bit(tmp_path, monkeypatch, method, precision):
    fields = METHODS[method] | {"precision": precision}
    config = recipe(schedule="cosine", warmup_steps=3, **fields)
    fit(config, pairs(), tmp_path / "whole")
    stop_after(monkeypatch, 10)
    first = fit(config, pairs(), tmp_path / "parts", Limits(max_minutes=1e-9))
    assert (first.step, first.finished) == (10, False)
    monkeypatch.undo()
    assert fit(config, pairs(), tmp_path / "parts").finished
    assert differing(tmp_path / "whole", tmp_path / "parts") == []
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def stop_after(monkeypatch, step):
    """Let time stand still for so many steps: then the time limit is over."""
    from mrct_train import fit as module

    real, calls = time.monotonic, []

    class Clock:
        @staticmethod
        def monotonic():
            calls.append(1)
            return 0.0 if len(calls) <= step + 1 else real() + 1e6

    monkeypatch.setattr(module, "time", Clock)


def losses(run):
    with (run / "log.csv").open() as file:
        return [(row["epoch"], row["step"], row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_of_subjects_it_never_saw(tmp_path, method):
    config = recipe(steps=80, batch=8, validation_subjects=1, learning_rate=5e-3, **METHODS[method])
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


def test_the_names_of_the_subjects_in_each_part_are_written_down(tmp_path):
    fit(recipe(validation_subjects=1, test_subjects=1), pairs(), tmp_path)
    split = json.loads((tmp_path / "split.json").read_text())
    assert {part: len(names) for part, names in split.items()} == {
        "training": 2,
        "validation": 1,
        "test": 1,
    }
    names = {name for names in split.values() for name in names}
    assert names == {f"subject-{number}" for number in range(4)}


def test_a_run_without_steps_ends_at_the_plateau_of_its_loss(tmp_path):
    """At so small a rate the loss stays where it is: the run ends with the first epoch that the rule may end."""
    config = recipe(steps=None, epochs=3, plateau={"epochs": 2}, **STILL)
    outcome = fit(config, pairs(), tmp_path)
    assert outcome.finished
    assert (outcome.step, outcome.total) == (12, 12)  # three epochs of sixteen slices in fours
    before = tensors(tmp_path)
    again = fit(config, pairs(), tmp_path)
    assert (again.step, again.finished) == (12, True)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(tmp_path).items())


STILL = {"method": "cnn", "batch": 4, "learning_rate": 1e-30, "augmentation": {}}


def test_a_loss_that_keeps_falling_is_trained_to_the_most_epochs(tmp_path):
    config = recipe(
        method="cnn",
        batch=4,
        steps=None,
        epochs=2,
        most_epochs=5,
        plateau={"epochs": 1, "drop": 1e-9},
        learning_rate=1e-3,
        augmentation={},
    )
    assert fit(config, pairs(), tmp_path).step == 20


def test_the_plateau_is_found_at_the_same_epoch_after_a_resume(tmp_path, monkeypatch):
    config = recipe(steps=None, epochs=2, plateau={"epochs": 5}, **STILL)
    stop_after(monkeypatch, 14)
    assert fit(config, pairs(), tmp_path, Limits(max_minutes=1e-9)).step == 14
    monkeypatch.undo()
    assert fit(config, pairs(), tmp_path).step == 24  # five epochs before the sixth


def test_with_exact_steps_no_plateau_ends_the_run(tmp_path):
    config = recipe(steps=30, epochs=1, plateau={"epochs": 1}, **STILL)
    assert fit(config, pairs(), tmp_path).step == 30


@pytest.mark.parametrize("method", METHODS)
def test_the_log_has_the_terms_of_the_method(tmp_path, method):
    fit(recipe(**METHODS[method]), pairs(), tmp_path)
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    terms = {name for name in row if name.startswith("term_")}
    adversarial = {"term_wasserstein", "term_gradient_penalty"}
    assert terms == (adversarial if method == "wgan-gp" else set())


def test_accumulating_a_batch_in_parts_trains_the_same_network(tmp_path):
    fit(recipe(batch=4), pairs(), tmp_path / "whole")
    fit(recipe(batch=4, accumulate=4), pairs(), tmp_path / "parts")
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "precision"),
    [("ddpm", "bf16"), ("sde", "fp16"), ("cnn", "fp16"), ("wgan-gp", "bf16")],
)
def test_half_precision_trains_almost_the_same(tmp_path, method, precision):
    for kind in ("fp32", precision):
        fit(recipe(precision=kind, **METHODS[method]), pairs(), tmp_path / kind)
    full, half = losses(tmp_path / "fp32"), losses(tmp_path / precision)
    for (_, _, one), (_, _, other) in zip(full, half, strict=True):
        assert float(one) != float(other)
        assert float(one) == pytest.approx(float(other), rel=0.01)


def test_the_observer_is_told_of_the_progress(tmp_path, monkeypatch):
    monkeypatch.setattr("mrct_train.fit.OBSERVE_SECONDS", 0.0)
    seen = []
    fit(recipe(), pairs(), tmp_path, observer=seen.append)
    # after every step, and once more at the end
    assert [progress.step for progress in seen] == [*range(1, 21), 20]
    assert {progress.total for progress in seen} == {20}
    assert seen[0].epoch == 1
    assert seen[-1].seconds_left == 0


def test_other_data_in_the_same_folder_are_refused(tmp_path):
    fit(recipe(), pairs(), tmp_path)
    with pytest.raises(UsageError, match="other data"):
        fit(recipe(), pairs(seed=1), tmp_path)


def test_a_run_that_lost_its_checkpoint_is_not_begun_anew(tmp_path):
    fit(recipe(), pairs(), tmp_path)
    latest(tmp_path).rename(tmp_path.parent / "elsewhere")
    with pytest.raises(OutputError, match="no checkpoint; remove the folder"):
        fit(recipe(), pairs(), tmp_path)
    (tmp_path / "config.toml").unlink()
    with pytest.raises(OutputError, match="a recipe or a log but no checkpoint"):
        fit(recipe(), pairs(), tmp_path)


def test_two_runs_in_one_folder_are_refused_and_the_first_goes_on(tmp_path):
    def second(_):
        with pytest.raises(OutputError, match="another process trains here"):
            fit(recipe(), pairs(), tmp_path)

    assert fit(recipe(steps=2), pairs(), tmp_path, observer=second).finished


def test_a_killed_run_leaves_no_lock(tmp_path):
    process = start(train, tmp_path, {"steps": 6}, 12)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert fit(recipe(steps=6), pairs(), tmp_path).finished


@dataclass(frozen=True)
class TwoRanks(Alone):
    """Rank 0 beside another that says the given codes, and then the same as this one."""

    others: tuple[int, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "said", list(self.others))

    def agree(self, code):
        return max(code, self.said.pop(0)) if self.said else code


@pytest.mark.parametrize("other", [2**61, 0], ids=["a larger code", "a smaller code"])
@pytest.mark.parametrize(
    ("before", "told"), [(1, "another checkpoint in OUT"), (3, "other slices of DATA")]
)
def test_processes_that_see_different_disks_are_refused(before, told, other, tmp_path):
    # the lock comes first, then the greater and the negative code of each kind
    same = (0, *(-(2**61),) * (before - 1))
    ranks = TwoRanks(others=(*same, other, -other))
    with pytest.raises(UsageError, match=f"one process sees {told} than another"):
        fit(recipe(), pairs(), tmp_path, ranks=ranks)


def test_a_bad_loss_of_another_rank_ends_this_one_too(tmp_path):
    trainer = Trainer(recipe(), pairs(), tmp_path, TwoRanks(others=(1,)))
    with pytest.raises(NumericError, match="the loss or its gradient is not finite at step 0"):
        trainer.advance()
    trainer.close()


def test_a_loss_that_rose_and_stays_finite_is_told_and_does_not_end_as_a_plateau(tmp_path):
    config = recipe(steps=None, epochs=3, plateau={"epochs": 2}, **STILL)
    trainer = Trainer(config, pairs(), tmp_path)
    # two epochs that were a thousand times better
    trainer.progress = replace(trainer.progress, losses=(2e-5, 1e-5), first_loss=2e-5)
    for _ in range(3):
        trainer.advance()
    with pytest.raises(NumericError, match=r"risen from 1e-05 to .* in epoch 1: lower learning_r"):
        trainer.advance()
    trainer.close()
    assert len(losses(tmp_path)) == 1


def test_a_checkpoint_of_a_version_without_first_loss_is_read(tmp_path):
    fit(recipe(steps=6), pairs(), tmp_path)
    state = latest(tmp_path) / "state.json"
    content = json.loads(state.read_text())
    assert content["progress"].pop("first_loss") > 0
    state.write_text(json.dumps(content))
    assert load(latest(tmp_path)).progress.first_loss is None


def test_a_run_without_validation_subjects_says_what_it_lacks(tmp_path):
    told = []
    fit(recipe(steps=1, sample_epochs=1), pairs(), tmp_path / "none", report=told.append)
    assert "no validation subjects: no samples, no validation loss" in told
    told.clear()
    one = recipe(steps=1, validation_subjects=1, sample_epochs=1)
    fit(one, pairs(), tmp_path / "one", report=told.append)
    assert not any("no validation subjects" in line for line in told)


def test_only_the_training_subjects_slices_are_trained_on(tmp_path):
    config, data = recipe(validation_subjects=1, test_subjects=1), pairs(subjects=5)
    split = Split.draw(5, config)
    trainer = Trainer(config, data, tmp_path)
    trained = trainer.order.slices.tolist()
    trainer.close()
    assert trained == data.of(split.training).tolist()
    for part in (split.validation, split.test):
        assert len(data.of(part)) == 4
        assert not set(data.of(part).tolist()) & set(trained)


@pytest.mark.parametrize("method", ["ddpm", "cnn", "wgan-gp"])
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path, method
):
    bad = spoilt(pairs())
    with pytest.raises(NumericError, match="not finite at step"):
        fit(recipe(**METHODS[method]), bad, tmp_path / "bad")
    # the run had saved its beginning
    assert load(latest(tmp_path / "bad")).progress.step == 0


def spoilt(good):
    """The pairs with a NaN in the brightest slice of every subject's CT, of which their summary knows nothing."""

    class Spoilt(Pairs):
        def summary(self, training):
            return good.summary(training)

    made = []
    for subject in good.subjects:
        hu = np.where(subject.slices.hu == subject.slices.hu.max(), np.nan, subject.slices.hu)
        slices = Slices(subject.slices.mr, hu, subject.slices.body)
        made.append(PreparedSubject(subject.name, slices, subject.digest))
    return Spoilt(tuple(made))


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


@pytest.mark.parametrize("name", ["devices", "nodes"])
def test_no_processes_at_all_are_refused(name):
    with pytest.raises(UsageError, match=f"{name} must be at least 1, got 0"):
        Limits(**{name: 0})


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
