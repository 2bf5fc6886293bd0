import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mrct_runtime import output_folder
from mrct_runtime.appearance import Seen
from mrct_runtime.errors import BundleError, NoInputError, OutputError
from mrct_runtime.process import VESDE
from mrct_train import checkpoint as module
from mrct_train.checkpoint import (
    EMA,
    STATE,
    WEIGHTS,
    Checkpoint,
    Progress,
    build_network,
    latest,
    load,
    load_network,
    save,
)
from mrct_train.config import validated
from mrct_train.data import DataSummary
from mrct_train.network import DirectNetwork

UNET = {"base": 4, "multipliers": [1, 2], "blocks": 1, "embedding": 8}
CONFIG = validated(
    {
        "name": "tiny",
        "method": "sde",
        "preconditioning": "residual",
        "size": 8,
        "unet": UNET,
        "batch": 4,
    },
    "test",
)
DATA = DataSummary(subjects=3, slices=8, fingerprint="f" * 64, mean=0.25, deviation=0.5)


def made(step, seed=0, **progress):
    torch.manual_seed(seed)
    weights = build_network(CONFIG, DATA).state_dict()
    ema = {name: tensor + 1 for name, tensor in weights.items()}
    optimizer, critic = {"0.step": torch.tensor(1.0)}, {"last.bias": torch.rand(1)}
    progress = Progress(step, **progress)
    return Checkpoint(CONFIG, DATA, progress, weights, ema, optimizer, {"critic": critic})


def test_how_the_training_looked_comes_back_and_may_be_missing(tmp_path):
    seen = Seen(subjects=3, ranges={"rim": (0.1, 1 / 3)})
    checkpoint = replace(made(7), data=replace(DATA, seen=seen))
    folder = save(checkpoint, tmp_path)
    assert load(folder).data == checkpoint.data
    assert load_network(folder)[2]["seen"] == seen
    state = json.loads((folder / "state.json").read_text())
    del state["data"]["seen"]
    (folder / "state.json").write_text(json.dumps(state))
    assert load(folder).data == DATA


def test_a_saved_checkpoint_comes_back_bit_for_bit(tmp_path):
    progress = {"loss_sum": 0.1 + 0.2, "loss_count": 3, "seconds": 1 / 3}
    before = made(7, term_sums={"wasserstein": 1 / 7}, losses=(0.3, 0.2), plateau=True, **progress)
    after = load(save(before, tmp_path))
    assert (after.config, after.data, after.progress) == (CONFIG, DATA, before.progress)
    for group in ("weights", "ema", "optimizer"):
        expected, found = getattr(before, group), getattr(after, group)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torch.equal(after.extra["critic"]["last.bias"], before.extra["critic"]["last.bias"])


def test_a_checkpoint_of_a_version_without_terms_and_extra_files_is_loaded(tmp_path):
    folder = save(replace(made(5), extra={}), tmp_path)
    state = json.loads((folder / STATE).read_text())
    for key in ("term_sums", "losses", "plateau"):
        del state["progress"][key]
    (folder / STATE).write_text(json.dumps(state))
    assert load(folder).progress == Progress(5)
    assert load(folder).extra == {}


def test_only_the_newest_checkpoint_is_kept(tmp_path):
    for step in (1, 9, 10):
        save(made(step), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000010"]
    assert latest(tmp_path) == tmp_path / "checkpoint-00000010"


def test_torsos_are_passed_over_with_a_line_and_removed_by_the_next_write(tmp_path):
    good = save(made(5), tmp_path)
    (tmp_path / ".checkpoint-00000009.partial-0123abcd").mkdir()
    (tmp_path / "checkpoint-00000008").mkdir()
    lines = []
    assert latest(tmp_path, lines.append) == good
    assert len(lines) == 2
    assert all("incomplete checkpoint and is ignored" in line for line in lines)
    (tmp_path / "checkpoint-00000006").mkdir()
    (tmp_path / "checkpoint-00000006/weights.safetensors").write_text("half")
    save(made(6), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000006"]
    assert latest(tmp_path) == tmp_path / "checkpoint-00000006"


@pytest.mark.parametrize("failing", range(1, 9))
def test_a_disk_that_fills_at_any_write_leaves_the_last_good_checkpoint(
    tmp_path, monkeypatch, failing
):
    good = save(made(5), tmp_path)
    calls = []

    def full_at(real):
        def write(*arguments):
            calls.append(real)
            if len(calls) == failing:
                raise OSError(28, "No space left on device")
            return real(*arguments)

        return write

    monkeypatch.setattr(module, "save_file", full_at(module.save_file))
    monkeypatch.setattr(output_folder, "flush", full_at(output_folder.flush))
    with pytest.raises(OutputError, match="no space left on device"):
        save(made(6, seed=1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    assert load(good).progress.step == 5


CHILD = """
import sys; sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_checkpoint import made, save
step = 0
while True:
    step += 1
    save(made(step), Path(sys.argv[1]))
"""


def test_kill_9_while_checkpoints_are_written_leaves_a_good_one(tmp_path):
    paths = [str(Path(__file__).parent), *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    command = [sys.executable, "-c", CHILD, str(tmp_path / "run"), *paths]
    for _ in range(2):
        child = subprocess.Popen(command)
        deadline = time.monotonic() + 120
        while latest(tmp_path / "run") is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        child.send_signal(signal.SIGKILL)
        child.wait()
        found = latest(tmp_path / "run")
        assert load(found).progress.step == int(found.name[-8:])


def test_the_network_is_loaded_with_its_averaged_weights_and_where_they_come_from(tmp_path):
    folder = save(made(20, last_loss=0.5, seconds=60.0), tmp_path)
    network, config, provenance = load_network(tmp_path)
    assert config == CONFIG
    assert config.process == VESDE()
    assert not network.training
    saved = made(20).ema
    assert all(torch.equal(saved[name], tensor) for name, tensor in network.state_dict().items())
    assert (network.residual.mean, network.residual.deviation) == (0.25, 0.5)
    # 20 steps of 4 slices are 10 epochs of 8
    expected = {
        "recipe": "tiny",
        "subjects": 3,
        "slices": 8,
        "epochs": 10,
        "steps": 20,
        "loss": 0.5,
        "mean": 0.25,
    }
    assert expected.items() <= provenance.items()
    plain, _, raw = load_network(folder, ema=False)
    assert torch.equal(plain.unet.first.bias, made(20).weights["unet.first.bias"])
    assert raw["checkpoint"] != provenance["checkpoint"]


@pytest.mark.parametrize("name", [WEIGHTS, EMA, "critic.safetensors"])
def test_a_changed_byte_is_refused_by_the_files_name(tmp_path, name):
    folder = save(made(5), tmp_path)
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} has changed"):
        load(folder)


def test_a_file_with_a_path_for_a_name_is_refused(tmp_path):
    folder = save(made(5), tmp_path)
    state = json.loads((folder / STATE).read_text())
    state["files"]["../elsewhere.safetensors"] = "0" * 64
    (folder / STATE).write_text(json.dumps(state))
    with pytest.raises(BundleError, match="no file of a checkpoint"):
        load(folder)


@pytest.mark.parametrize("key", ["recipe", "data", "progress", "files"])
def test_a_state_without_one_of_its_parts_is_refused(tmp_path, key):
    folder = save(made(5), tmp_path)
    state = json.loads((folder / STATE).read_text())
    del state[key]
    (folder / STATE).write_text(json.dumps(state))
    with pytest.raises(BundleError, match="not a checkpoint of this version"):
        load(folder)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("progress", "step", "5"),
        ("progress", "step", -5),
        ("progress", "losses", [None]),
        ("progress", "unknown", 1),
        ("data", "slices", 0),
        ("data", "subjects", 1e300),
        ("data", "mean", float("nan")),
        ("data", "digests", 7),
        ("files", "weights.safetensors", ["x"]),
    ],
)
def test_a_state_that_says_nonsense_is_refused_by_its_place(tmp_path, part, name, value):
    folder = save(made(5), tmp_path)
    state = json.loads((folder / STATE).read_text())
    state[part][name] = value
    (folder / STATE).write_text(json.dumps(state))
    with pytest.raises(BundleError, match=f"not a checkpoint of this version: {part}"):
        load(folder)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"recipe": 1}', "\xff"])
def test_a_state_that_is_none_is_refused(tmp_path, text):
    folder = save(made(5), tmp_path)
    (folder / STATE).write_text(text, "latin-1")
    with pytest.raises(BundleError, match="not a checkpoint of this version"):
        load(folder)


def test_weights_of_another_net_are_refused(tmp_path):
    folder = save(made(5), tmp_path)
    state = json.loads((folder / STATE).read_text())
    state["recipe"] = state["recipe"].replace("base = 4", "base = 8")
    (folder / STATE).write_text(json.dumps(state))
    with pytest.raises(BundleError, match="not those of its recipe"):
        load_network(folder)


@pytest.mark.parametrize("method", ["cnn", "wgan-gp"])
def test_the_network_of_a_direct_method_is_loaded_as_one(tmp_path, method):
    config = validated({"method": method, "size": 8, "unet": UNET}, "test")
    torch.manual_seed(1)
    weights = build_network(config, DATA).state_dict()
    save(Checkpoint(config, DATA, Progress(3), weights, weights, {}), tmp_path)
    network, loaded, provenance = load_network(tmp_path)
    assert isinstance(network, DirectNetwork)
    assert (loaded.method, provenance["steps"]) == (method, 3)
    assert network(torch.rand(1, 1, 8, 8)).shape == (1, 1, 8, 8)


def test_a_folder_without_checkpoint_is_told(tmp_path):
    with pytest.raises(NoInputError, match="no checkpoint here"):
        load_network(tmp_path / "nowhere")
