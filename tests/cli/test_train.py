import json
import math
import os
import signal
import subprocess
import sys
import time
from typing import get_args, get_type_hints

import pytest
import torch
from paired_sets import write_synthrad

from mrct_cli import boundary, main
from mrct_train.config import TrainConfig, read_config
from mrct_train.limits import Limits
from mrct_train.log import TrainingProgress

RECIPE = """
name: tiny
size: 32
spacing_mm: 2.5
batch: 4
learning_rate: 1e-3
sample_epochs: 2
validation_subjects: 1
unet: {base: 4, multipliers: [1, 2], blocks: 1, embedding: 8, fourier_scale: 1.0}
"""


def train(*arguments):
    return boundary.run(main.load("train"), "mrct-train", [str(each) for each in arguments])


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small only wait for their other threads."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        write_synthrad(folder / f"{number}")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def short(data, tmp_path):
    """The options of a short run into tmp_path/run, its cache shared by the tests."""
    config = ["--config", data / "recipe.yaml", "--device", "cpu", "--threads", 1]
    return [data, tmp_path / "run", *config, "--cache", data.parent / "cache"]


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--device", "gpu"], 2, "unknown device 'gpu'"),
        (["--device", "cuda:99"], 7, "not available"),
        (["--threads", "9999999999"], 2, "threads must be"),
        (["--devices", "0"], 2, "devices must be at least 1"),
        (["--nodes", "2"], 2, "need torchrun"),
        (["--strategy", "dp"], 2, "'dp' is not one of"),
        (["--seed", "-1"], 2, "seed"),
        (["--method", "gan"], 2, "'gan' is not one of"),
        (["--precision", "fp8"], 2, "'fp8' is not one of"),
        (["--accumulate", "3"], 2, "batch 2 is not a multiple of accumulate 3"),
        (["--steps", "1", "--epochs", "1"], 2, "--steps and --epochs exclude each other"),
        (["--config", ""], 2, "an empty path"),
        (["--config", "none.toml"], 2, "none.toml: cannot read"),
        (["--cache", ""], 2, "an empty path"),
    ],
)
def test_a_wrong_option_is_refused_before_data_are_read(options, code, word, tmp_path, capsys):
    # a folder without data exits with 3
    assert train(tmp_path, tmp_path / "run", *options) == code
    assert word in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_choices_are_those_of_the_recipe_and_the_limits():
    choices = {p.name: getattr(p.type, "choices", None) for p in main.load("train").params}
    recipe, limits = get_type_hints(TrainConfig), get_type_hints(Limits)
    assert tuple(choices["method"]) == get_args(recipe["method"])
    assert tuple(choices["precision"]) == get_args(recipe["precision"])
    assert tuple(choices["strategy"]) == get_args(limits["strategy"])


def test_every_flag_is_called_like_its_field():
    flags = {parameter.name for parameter in main.load("train").params}
    others = {"data", "out", "config", "cache", "debug"}
    known = get_type_hints(TrainConfig).keys() | get_type_hints(Limits).keys()
    assert flags - others <= known


@pytest.mark.parametrize("method", get_args(get_type_hints(TrainConfig)["method"]))
def test_a_run_of_every_method_leaves_what_its_summary_names(method, short, tmp_path, capsys):
    assert train(*short, "--method", method, "--epochs", 2, "--precision", "fp32") == 0
    run, told = tmp_path / "run", capsys.readouterr()
    # two training subjects of five slices
    assert told.out.splitlines()[-1].startswith("PASSED finished: step 5 of 5, loss ")
    picture = run / "samples" / "epoch-00002.png"
    assert f"look at {run / 'log.csv'} and {picture}" in told.out
    assert f"next: mrct-export {run} run.mrct" in told.out
    assert picture.exists()
    assert len((run / "log.csv").read_text().splitlines()) == 3
    config = read_config(run / "config.toml")
    assert (config.method, config.epochs, config.most_epochs) == (method, 2, 2)
    assert not (run / "cache").exists()
    assert "device cpu" in told.err
    assert "3 subjects" in told.err


def test_the_slices_are_kept_in_the_run_where_no_cache_is_named(short, tmp_path):
    assert train(*short[:-2], "--steps", 1) == 0
    assert len(list((tmp_path / "run" / "cache").iterdir())) == 3


def test_the_same_command_goes_on_where_the_time_limit_stopped_it(short, tmp_path, capsys):
    arguments = [*short, "--method", "cnn", "--steps", 3]
    assert train(*arguments, "--max-minutes", 1e-9) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("PARTIAL stopped at the time limit: step 1 of 3, loss ")
    assert last.endswith("; the same command goes on from here")
    assert train(*arguments) == 0
    told = capsys.readouterr()
    assert "going on from step 1 of 3" in told.err
    assert "finished: step 3 of 3" in told.out
    records = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(record)["step"] for record in records] == [3]


@pytest.mark.parametrize(
    ("gpu", "device"), [(False, "device cpu: --device auto found no GPU"), (True, "device cuda")]
)
def test_auto_takes_a_gpu_where_there_is_one_and_says_so(gpu, device, monkeypatch):
    from mrct_cli import train as module

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    chosen, told = module._device("auto")
    assert chosen == ("cuda" if gpu else "cpu")
    assert told.startswith(device)
    assert gpu == ("A GPU" in told)


def test_other_ranks_than_the_first_say_nothing(short, monkeypatch, capsys):
    from mrct_train import fit as module
    from mrct_train import ranks

    def fit(config, pairs, run, limits, report, observer, ranks):
        report("a line")
        observer(TrainingProgress(1, 1, 1, 0.5, 1.0, 0.0))
        return module.Outcome(step=1, total=1, signal=None)

    monkeypatch.setattr(ranks, "connect", lambda _limits: ranks.Alone(rank=1))
    monkeypatch.setattr(module, "fit", fit)
    assert train(*short) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")


def test_a_signal_ends_a_run_with_its_code_and_a_checkpoint(short, tmp_path):
    arguments = [str(each) for each in [*short, "--method", "cnn", "--steps", 10**6]]
    script = f"import sys; sys.argv = {['mrct-train', *arguments]!r}\n"
    script += "from mrct_cli import main; main.main_train()"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "run" / "log.csv"
    until = time.monotonic() + 300  # the machine may be busy with something else
    while not log.exists() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    os.kill(child.pid, signal.SIGTERM)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 143
    assert err.splitlines()[-1] == "mrct: error: stopped by a signal; the same command goes on"
    assert out.splitlines()[-1].startswith("PARTIAL stopped by a signal: step ")
    assert "next: mrct-export" in out
    [checkpoint] = (tmp_path / "run").glob("checkpoint-*")
    assert int(checkpoint.name.partition("-")[2]) > 0
    assert math.isfinite(json.loads((checkpoint / "state.json").read_text())["progress"]["seconds"])
