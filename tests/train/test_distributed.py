"""Two gloo processes on the CPU, started by torchrun, against one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_run import METHODS, pairs, recipe, tensors

from mrct_runtime.errors import UsageError
from mrct_train.checkpoint import latest, load
from mrct_train.fit import Limits, fit
from mrct_train.ranks import Alone, connect

SCRIPT = Path(__file__).resolve().parents[1] / "support" / "ranked_training.py"
# Adam divides a small gradient by itself, its rounding too; with this eps it does not where the gradient is nothing else.
SHORT = {"batch": 4, "steps": 4, "validation_subjects": 1, "adam_eps": 1e-6}
JOBS = {
    **{method: METHODS[method] | SHORT for method in METHODS},
    "accumulated": METHODS["wgan-gp"] | SHORT | {"batch": 8, "accumulate": 2},
    "sharded": METHODS["sde"] | SHORT | {"strategy": "fsdp"},
    "sharded in parts": METHODS["cnn"]
    | SHORT
    | {"strategy": "fsdp", "accumulate": 2, "sample_epochs": 1},
}
STOPPED = {"stopped": SHORT | {"steps": 100, "signal": [1, 3, signal.SIGTERM]}}
REFUSED = {
    "odd": SHORT | {"batch": 3},
    "sharded critic": METHODS["wgan-gp"] | SHORT | {"strategy": "fsdp"},
}


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def torchrun(folder, jobs, timeout=500):
    """The finished job of two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, str(SCRIPT), str(folder), json.dumps(jobs)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder of all the jobs, done by two processes."""
    folder = tmp_path_factory.mktemp("together")
    done = torchrun(folder, JOBS | REFUSED | STOPPED)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "rank 0 is told" in done.stdout
    assert "rank 1 is told" not in done.stdout
    return folder


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_end_with_the_tensors_of_one_that_does_the_whole_batch(
    together, tmp_path, name
):
    fields = {key: value for key, value in JOBS[name].items() if key != "strategy"}
    fit(recipe(**fields), pairs(), tmp_path)
    alone, both = tensors(tmp_path), tensors(together / name)
    assert alone.keys() == both.keys()
    for tensor in alone:
        torch.testing.assert_close(both[tensor], alone[tensor], rtol=0, atol=1e-6)
    one, two = (load(latest(run)).progress.losses for run in (tmp_path, together / name))
    assert one == pytest.approx(two, rel=1e-4)


@pytest.mark.parametrize("name", JOBS)
def test_the_ranks_hold_the_same_weights_to_the_bit(together, name):
    first, second = (load_file(together / name / f"rank-{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[tensor], second[tensor]) for tensor in first)
    assert torch.equal(first["unet.last.bias"], tensors(together / name)["weights.unet.last.bias"])


def test_a_sharded_network_is_gathered_for_the_pictures(together, tmp_path):
    fields = {key: value for key, value in JOBS["sharded in parts"].items() if key != "strategy"}
    fit(recipe(**fields), pairs(), tmp_path)
    one, two = (measured(run) for run in (tmp_path, together / "sharded in parts"))
    assert one == pytest.approx(two, rel=1e-4)
    assert (together / "sharded in parts" / "samples" / "epoch-00001.png").is_file()


def measured(run):
    [row] = (json.loads(line) for line in (run / "log.jsonl").read_text().splitlines())
    return {name: value for name, value in row.items() if name.startswith("metric_")}


def test_a_batch_that_the_processes_cannot_share_is_refused(together):
    message = (together / "odd.error").read_text()
    assert "batch 3 cannot be shared by 2 devices" in message


def test_a_method_with_a_critic_is_not_sharded(together):
    assert "use --strategy ddp" in (together / "sharded critic.error").read_text()


def test_a_signal_to_one_process_lets_all_of_them_save_at_the_same_step(together):
    assert load(latest(together / "stopped")).progress.step == 3
    test_the_ranks_hold_the_same_weights_to_the_bit(together, "stopped")


@pytest.mark.slow
def test_without_torchrun_the_other_processes_are_started_from_the_same_command(tmp_path):
    jobs = {"run": SHORT | {"devices": 2}}
    command = [sys.executable, str(SCRIPT), str(tmp_path), json.dumps(jobs)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    test_the_ranks_hold_the_same_weights_to_the_bit(tmp_path, "run")


def test_a_killed_process_ends_the_job_and_a_single_one_goes_on_from_its_checkpoint(tmp_path):
    fields = SHORT | {"steps": 40}
    began = time.monotonic()
    done = torchrun(tmp_path, {"run": fields | {"signal": [1, 5, signal.SIGKILL]}})
    assert done.returncode != 0
    assert time.monotonic() - began < 60 + started_in(tmp_path / "run", began)
    assert f"Signal {signal.SIGKILL.value}" in done.stderr or "SIGKILL" in done.stderr
    # the other process may have been one step further when it saw the end
    assert 4 <= load(latest(tmp_path / "run")).progress.step <= 6
    assert fit(recipe(**fields), pairs(), tmp_path / "run").finished
    fit(recipe(**fields), pairs(), tmp_path / "whole")
    one, other = tensors(tmp_path / "run"), tensors(tmp_path / "whole")
    for tensor in one:
        torch.testing.assert_close(one[tensor], other[tensor], rtol=0, atol=1e-5)


def started_in(run, began):
    """The seconds that the processes took to come to their first step."""
    log = run / "config.toml"
    return log.stat().st_mtime - (time.time() - (time.monotonic() - began))


def test_one_process_needs_no_other(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert connect(Limits()) == Alone()
    assert connect(Limits(devices=1, nodes=1)) == Alone()


def test_several_machines_need_torchrun(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    with pytest.raises(UsageError, match="2 nodes need torchrun"):
        connect(Limits(nodes=2))


def test_one_process_cannot_shard(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    with pytest.raises(UsageError, match="fsdp shards over several processes, this is one"):
        connect(Limits(strategy="fsdp"))


def test_flags_that_contradict_torchrun_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(UsageError, match="devices is 2, but torchrun started 4 processes here"):
        connect(Limits(devices=2))
    with pytest.raises(UsageError, match="3 nodes of 4 devices, but torchrun started 8 processes"):
        connect(Limits(nodes=3))
