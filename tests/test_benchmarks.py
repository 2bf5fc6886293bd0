"""The scripts of benchmarks/ that others build on: a bundle of random weights, and the comparison of engines on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.target import Target

FOLDER = Path(__file__).parents[1] / "benchmarks"


def script(name, *arguments):
    return subprocess.run(
        [sys.executable, str(FOLDER / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def test_a_bundle_of_random_weights_is_sound_and_its_checkpoint_can_be_kept(tmp_path):
    path, run = tmp_path / "net.mrct", tmp_path / "run"
    flags = ("--network", "tiny", "--size", "32", "--checkpoint", run)
    found = script("paper_bundle.py", path, *flags)
    assert found.returncode == 0, found.stderr
    bundle = Bundle.load(path)
    bundle.open_engine(Target("cpu", threads=1)).close()
    assert bundle.manifest.image.size == 32
    assert "random weights" in bundle.manifest.training.recipe
    assert list(run.glob("checkpoint-*"))


def test_shares_of_operators_leave_the_first_run_out(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from ort_profile import shares

    def node(operator, at, duration, kind="kernel_time"):
        return {
            "cat": "Node",
            "name": f"x_{kind}",
            "ts": at,
            "dur": duration,
            "args": {"op_name": operator},
        }

    events = [
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 100},
        node("Conv", 10, 80),
        {"cat": "Session", "name": "model_run", "ts": 100, "dur": 50},
        node("Mul", 110, 10),
        node("Conv", 120, 30),
        node("Conv", 119, 5, kind="fence_before"),
    ]
    assert shares(events) == {"Conv": 0.75, "Mul": 0.25}
    assert list(shares(events)) == ["Conv", "Mul"]


def measurement(**changes):
    row = {
        "kind": "engine",
        "candidate": "fast fp16",
        "precision": "fp16",
        "batch": 10,
        "p50_ms": 5.0,
        "times_as_fast_as": {
            "PyTorch eager fp32": 3.5,
            "PyTorch eager fp16 channels_last": 1.5,
        },
        "share_of_roofline": None,
    }
    slow = {**row, "candidate": "slow fp16", "p50_ms": 9.0}
    slices = [{"candidate": "fast fp16", "outside": 0.03, "copies_to_host": 2}]
    return {
        "evaluations": [slow, {**row, "batch": 1, "p50_ms": 1.0}, row],
        "slices": slices,
    } | changes


def test_targets_are_judged_on_the_fastest_engine_in_half_precision_at_batch_ten(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from gpu_targets import targets

    found = list(targets(measurement()))
    assert [target.verdict for target in found] == [
        "met",
        "missed",
        "not measured",
        "missed",
        "met",
    ]
    assert all(target.what.startswith("fast fp16") for target in found)
    nothing = targets(measurement(evaluations=[], slices=[]))
    assert {target.verdict for target in nothing} == {"not measured"}


@pytest.mark.slow
def test_engines_on_the_cpu_are_compared_and_the_time_is_told_by_operator(tmp_path):
    flags = ("--network", "tiny", "--size", "32", "--quick", "--json", tmp_path / "cpu.json")
    found = script("cpu_engine.py", *flags)
    assert found.returncode == 0, found.stderr
    assert "times as fast as PyTorch eager (2 rounds)" in found.stdout
    document = json.loads((tmp_path / "cpu.json").read_text())
    names = {row["candidate"] for row in document["evaluations"]}
    assert names >= {"onnxruntime fp32", "PyTorch eager fp32"}
    assert {peak["name"] for peak in document["peaks"]} >= {
        *("3x3 convolution fp32, PyTorch", "3x3 convolution fp32, ONNX Runtime")
    }
    assert sum(document["operators"].values()) == pytest.approx(1)
    assert "Conv" in document["operators"]


@pytest.mark.slow
def test_a_stem_costs_less_and_attention_more_than_the_plain_net(tmp_path):
    flags = ("--network", "tiny", "--size", "64", "--rounds", "3", "--training", "1")
    found = script("architecture.py", *flags, "--json", tmp_path / "found.json")
    assert found.returncode == 0, found.stderr
    figures = json.loads((tmp_path / "found.json").read_text())["figures"]
    rows = {row["network"]: row for row in figures["networks"]}
    assert list(rows) == ["tiny", "tiny-attention", "tiny-stem"]
    operations = {name: row["gflop_an_image"] for name, row in rows.items()}
    assert operations["tiny-stem"] < operations["tiny"] < operations["tiny-attention"]
    assert rows["tiny"]["evaluation"]["times_the_first"] == 1
    assert rows["tiny-stem"]["unet"]["stem"] == 2
    assert all(row["training_step"]["ms"] > 0 for row in rows.values())
