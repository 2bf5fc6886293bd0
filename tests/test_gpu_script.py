"""benchmarks/gpu.sh, on machines without a GPU: what it says, and how it keeps its time with a stand-in for Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """#!/bin/sh
case $1 in
  benchmarks/gpu_name.py) echo stand-in ;;
  benchmarks/paper_bundle.py) mkdir -p "$2"; echo "made $2"; case "$*" in *--fp16*) exit 2 ;; esac ;;
  benchmarks/training_speed.py) sleep 600 ;;
  -m) exit 1 ;;
  *) echo "$@" ;;
esac
"""


def script(*arguments, cwd, **environment):
    return subprocess.run(
        ["sh", str(ROOT / "benchmarks/gpu.sh"), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_a_gpu_it_says_so_and_ends_with_7(tmp_path):
    found = script("out", cwd=tmp_path, PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="")
    assert found.returncode == 7
    assert "no NVIDIA GPU" in found.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def stand_in(tmp_path):
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def hasty(tmp_path):
    """The script, which gives up on the training after a second."""
    text = (ROOT / "benchmarks/gpu.sh").read_text("utf-8")
    for most, less in (
        ("part training 60 ", "part training 1 "),
        ('"$most" -lt 5 ', '"$most" -lt 1 '),
    ):
        assert most in text
        text = text.replace(most, less)
    path = tmp_path / "benchmarks/gpu.sh"
    path.parent.mkdir()
    path.write_text(text)
    return str(path)


def parts(folder):
    lines = (folder / "parts.jsonl").read_text().splitlines()
    return {part["part"]: part["code"] for part in map(json.loads, lines)}


def test_a_part_that_fails_or_hangs_leaves_the_others_their_results(tmp_path, stand_in, hasty):
    found = subprocess.run(
        ["sh", hasty, str(tmp_path / "out")],
        env={**os.environ, "PYTHON": stand_in},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 1, found.stderr
    assert parts(tmp_path / "out") == {
        "doctor": 0,
        "bundle-fp16": 2,
        "bundle-fp32": 0,
        "bench": 0,
        "targets": 0,
        "tests": 1,
        "training": 124,
        "noise": 0,
        "batches": 0,
    }
    bench = (tmp_path / "out/bench.log").read_text()
    assert "--batches 10" in bench
    assert "--device cuda" in bench


def test_the_time_limit_is_for_all_parts_together(tmp_path, stand_in):
    found = script("out", "given.mrct", cwd=tmp_path, PYTHON=stand_in, MINUTES="0")
    assert found.returncode == 1
    assert set(parts(tmp_path / "out").values()) == {124}
    assert "no time was left" in (tmp_path / "out/bench.log").read_text()


def test_a_given_bundle_is_taken_as_it_is(tmp_path, stand_in, hasty):
    subprocess.run(
        ["sh", hasty, "out", "given.mrct"],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": stand_in},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert not any(name.startswith("bundle") for name in parts(tmp_path / "out"))
    assert str(tmp_path / "given.mrct") in (tmp_path / "out/bench.log").read_text()
