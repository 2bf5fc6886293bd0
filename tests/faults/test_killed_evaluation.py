"""kill -9 in the middle of mrct eval: a rerun goes on, and ends with the bits of a run that was never killed."""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from paired_sets import write_synthrad
from tiny_bundle import write_tiny_bundle

from mrct_runtime.process import DDPM

KILLS = 10
OPTIONS = ("--samplers", "ddpm,em", "--mc", "4", "--steps", "150", "--threads", "1")
MEASURED = re.compile(r"second|finished")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with two bundles and a data set of two subjects."""
    folder = tmp_path_factory.mktemp("study")
    write_tiny_bundle(folder / "chain.mrct", DDPM(), size=32)
    write_tiny_bundle(folder / "diffusion.mrct", size=32)
    for name in ("A", "B"):
        write_synthrad(folder / "data" / name)
    return folder


def start(study, out, *words):
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mrct_cli.main import main; main()"
    )
    given = ("eval", study / "chain.mrct", study / "diffusion.mrct", study / "data", "--out", out)
    command = [sys.executable, "-c", script, *map(str, (*given, *OPTIONS, *words))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(study, out, *words):
    """What a run that ends by itself told."""
    child = start(study, out, *words)
    _, told = child.communicate(timeout=300)
    assert child.returncode == 0, told
    return told


@pytest.fixture(scope="module")
def whole(study):
    """What an uninterrupted run gives, and the seconds it takes."""
    started = time.monotonic()
    finish(study, study / "whole")
    return study / "whole", time.monotonic() - started


def unmeasured(value):
    """A document without what is measured by the clock."""
    if isinstance(value, dict):
        return {k: unmeasured(v) for k, v in value.items() if not MEASURED.search(k)}
    return [unmeasured(each) for each in value] if isinstance(value, list) else value


def content(out):
    """Everything that an evaluation holds, but times and what is drawn from them."""
    document = unmeasured(json.loads((out / "evaluation.json").read_text("utf-8")))
    document["conditions"].pop("command")
    with (out / "subjects.csv").open(encoding="utf-8", newline="") as file:
        rows = [unmeasured(row) for row in csv.DictReader(file)]
    # the bars of figure 3 are of scores, which the document has, and of seconds
    shown = [path for path in out.glob("*.png") if not path.name.startswith("figure-3")]
    pictures = {path.name: path.read_bytes() for path in shown}
    assert len(pictures) == 3 + len(document["data"]["body"])
    return document, rows, pictures


def assert_same(out, whole):
    assert content(out) == content(whole)
    names = [sorted(path.name for path in each.iterdir()) for each in (out, whole)]
    assert names[0] == names[1]


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost_and_nothing_differs(study, whole, tmp_path):
    expected, seconds = whole
    out, work, chance = tmp_path / "out", tmp_path / ".out.work", random.Random(0)
    kills = resumed = finished = 0
    while kills < KILLS or not finished:
        child = start(study, out)
        while not work.exists() and child.poll() is None:
            time.sleep(0.002)
        # most of it is starting; the sampling has to get on
        try:
            child.wait(chance.uniform(0, 1.2) * seconds)
        except subprocess.TimeoutExpired:
            child.kill()
        _, told = child.communicate()
        if child.returncode == -signal.SIGKILL:
            kills += 1
            resumed += "going on after" in told
            # nothing stands under the name before everything is there
            if not out.exists():
                continue
        else:
            assert child.returncode == 0, told
            assert not work.exists()
        assert_same(out, expected)
        finished += 1
        shutil.rmtree(out)
    assert resumed
    print(f"{kills} kills, {finished} finished runs between them")  # noqa: T201  the figure of the table


def after_a_unit(study, out):
    """A run that has finished a unit, and no more than half of its work."""
    child = start(study, out)
    kept = out.with_name(f".{out.name}.work") / "journal"
    while child.poll() is None and not list(kept.glob("*.npz")):
        time.sleep(0.002)
    assert child.poll() is None
    return child


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_ten_seconds_and_the_same_command_goes_on(
    sent, code, study, whole, tmp_path
):
    child = after_a_unit(study, tmp_path / "out")
    started = time.monotonic()
    child.send_signal(sent)
    last, told = child.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert child.returncode == code
    assert re.fullmatch(
        r"PARTIAL [1-3] of 4 units( and \d slices of the next one)? are kept; the same command goes on\n",
        last,
    )
    # a disk that is busy may take longer over one write than the grace
    assert re.search(r"finished (is kept|before it is on the disk)", told.splitlines()[-1])
    assert [path.name for path in tmp_path.iterdir()] == [".out.work"]
    told = finish(study, tmp_path / "out")
    assert re.search(r"going on after [1-3] of 4 units, each a subject by a run", told)
    assert_same(tmp_path / "out", whole[0])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_second_run_is_refused_and_told_of_the_first_until_that_is_dead(study, tmp_path):
    child = after_a_unit(study, tmp_path / "out")
    os.kill(child.pid, signal.SIGSTOP)
    second = start(study, tmp_path / "out")
    _, told = second.communicate(timeout=60)
    assert second.returncode == 6
    assert f"is being written by process {child.pid} on" in told.splitlines()[-1]
    child.kill()
    child.communicate()
    assert "going on after" in finish(study, tmp_path / "out", "--subjects", "A")


def test_what_is_kept_of_other_options_is_not_taken(study, tmp_path):
    child = after_a_unit(study, tmp_path / "out")
    child.kill()
    child.communicate()
    assert "going on after" not in finish(study, tmp_path / "out", "--seed", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
