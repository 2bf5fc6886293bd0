"""kill -9 of mrct-train at random moments, twenty times: the same command goes on, and nothing differs at the end."""

import csv
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import onnx
import pytest
from killed_training import command, start
from paired_sets import write_synthrad
from training_run import differing

from mrct_cli import boundary, main
from mrct_runtime.bundle import MANIFEST, MODEL
from mrct_runtime.golden import GOLDEN

KILLS = 20
METHODS = ("sde", "wgan-gp")
PHASES = ("while it starts", "while it steps", "while it writes a checkpoint")
STEPS = 240
RECIPE = """
name: tiny
size: 32
spacing_mm: 2.5
batch: 4
learning_rate: 1e-3
schedule: cosine
sample_epochs: 30
validation_subjects: 1
unet: {base: 4, multipliers: [1, 2], blocks: 1, embedding: 8, fourier_scale: 1.0}
critic: {base: 4, levels: 2, steps: 2}
augmentation: {mirror: true, turns: true, rotation_degrees: 5, intensity: 0.1}
"""
WHOLE = "from mrct_cli.main import main_train; main_train()"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        write_synthrad(folder / f"{number}")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def words(data, run, method):
    """The options of mrct-train."""
    given = (data, run, "--config", data / "recipe.yaml", "--method", method, "--steps", STEPS)
    given += ("--device", "cpu", "--threads", 1, "--precision", "fp32", "--cache", data / "cache")
    return [str(each) for each in given]


def until(child, seen):
    """Whether that was seen before the process ended."""
    while child.is_alive():
        if seen():
            return True
        time.sleep(0.001)
    return False


def kill(child, run, log, phase, chance):
    """Whether the process was killed in the phase, at a random moment of it; it may have ended before."""
    if not until(child, lambda: log.exists() and "device cpu" in log.read_text()):
        return False
    if phase == PHASES[0]:
        time.sleep(chance.uniform(0, 0.5))
    else:
        before = checkpoints(run)
        until(child, lambda: checkpoints(run) != before)
        time.sleep(chance.uniform(0, 0.7))
    if phase == PHASES[2]:
        until(child, lambda: any(run.glob(".checkpoint-*.work/output/*")))
        time.sleep(chance.uniform(0, 0.003))
    child.kill()
    child.join()
    return child.exitcode == -signal.SIGKILL


def checkpoints(run):
    return sorted(path.name for path in run.glob("checkpoint-*"))


def unmeasured(row):
    return {name: value for name, value in row.items() if "second" not in name}


def logs(run):
    """What the run wrote down of its epochs, without what is measured by the clock."""
    with (run / "log.csv").open() as file:
        table = [unmeasured(row) for row in csv.DictReader(file)]
    lines = (run / "log.jsonl").read_text().splitlines()
    return table, [unmeasured(json.loads(line)) for line in lines]


def exported(run):
    """The network and the self-test of the run's export, and what it says of the training."""
    bundle = run.parent / f"{run.name} exported" / "net.mrct"
    assert boundary.run(main.load("export"), "mrct-export", [str(run), str(bundle)]) == 0
    graph = onnx.load(bundle / MODEL)
    # it carries the manifest, and that the seconds of the training
    del graph.metadata_props[:]
    provenance = json.loads((bundle / MANIFEST).read_text())["training"]
    return graph.SerializeToString(), (bundle / GOLDEN).read_bytes(), unmeasured(provenance)


def assert_same(run, whole):
    # weights, moving averages, moments of the optimiser, and what else the method has
    assert differing(run, whole) == []
    assert logs(run) == logs(whole)
    for folder in (run, whole):
        assert checkpoints(folder) == [f"checkpoint-{STEPS:08d}"]
    pictures = [sorted((each / "samples").glob("*.png")) for each in (run, whole)]
    assert [each.read_bytes() for each in pictures[0]] == [
        each.read_bytes() for each in pictures[1]
    ]
    assert len(pictures[1]) > 1
    found, expected = (exported(each) for each in (run, whole))
    assert found == expected


def killed(data, run, method, phases, chance):
    """How often the run was killed in which phase until it was for all of `phases`, and that it went on each time."""
    counted = Counter()
    log = run.with_suffix(".log")
    for phase in phases:
        before = checkpoints(run)
        log.unlink(missing_ok=True)
        child = start(command, words(data, run, method), log)
        if not kill(child, run, log, phase, chance):
            break
        counted[phase] += 1
        told = log.read_text()
        # never a silent restart; one that died before it had looked tells nothing
        assert not before or "going on from step" in told or phase == PHASES[0], told
    return counted


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_nothing_differs(data, tmp_path):
    chance = random.Random(0)
    counted = Counter()
    for number, method in enumerate(METHODS, 1):
        phases = [PHASES[k % 3] for k in range(KILLS * number // len(METHODS) - counted.total())]
        chance.shuffle(phases)
        run, whole = tmp_path / f"{method}/run", tmp_path / f"{method}/whole"
        run.parent.mkdir()
        counted += killed(data, run, method, phases, chance)
        log = run.with_suffix(".log")
        child = start(command, words(data, run, method), log)
        child.join(timeout=300)
        assert child.exitcode == 0, log.read_text()
        whole_run = [sys.executable, "-c", WHOLE, *words(data, whole, method)]
        subprocess.run(whole_run, check=True, capture_output=True, timeout=300)
        steps = re.findall(r"going on from step (\d+)", log.read_text())
        assert 0 < int(steps[0]) < STEPS
        assert_same(run, whole)
    assert counted.total() == KILLS
    assert min(counted[phase] for phase in PHASES) >= KILLS // 4
    print(dict(counted))  # noqa: T201  the figure of the table
