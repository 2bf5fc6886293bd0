"""Eight studies, whatever happens to the processes that translate them."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from many_studies import values, write_studies
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main
from mrct_runtime.report import RUN

COUNT = 8
# Some seconds a study, in which a process can be killed.
SLOW = ("--steps", "250", "--mc", "4", "--batch", "3", "--threads", "1")
INFER = [sys.executable, "-c", "from mrct_cli.main import main_infer; main_infer()"]
NEEDS_RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'mrct[ray]'"
)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return write_studies(tmp_path_factory.mktemp("many") / "studies", COUNT)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct", size=24)


@pytest.fixture(scope="module")
def serial(studies, bundle, tmp_path_factory):
    """What one process makes of them, undisturbed."""
    outs = tmp_path_factory.mktemp("serial") / "outs"
    words = [studies, outs, "--all", "--shard", "1/1", "--bundle", bundle, *SLOW, "--quiet"]
    assert run("infer", *words) == 0
    return results(outs)


def run(name, *arguments):
    return boundary.run(main.load(name), f"mrct {name}", [str(each) for each in arguments])


def results(outs):
    return {path.name: values(path) for path in outs.iterdir() if not path.name.startswith(".")}


def start(*words):
    return subprocess.Popen(
        [*INFER, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def holder_in_the_middle(running, outs):
    """The process that has finished slices of a study which is not yet done."""
    while running.poll() is None:
        for kept in outs.glob(".*.work/journal/slice-0002.npy"):
            try:
                return int(json.loads((kept.parents[1] / "lock").read_bytes())["process"])
            except (OSError, ValueError):
                continue
        time.sleep(0.005)
    pytest.fail("the run ended before its process could be killed: " + running.communicate()[1])


@pytest.mark.slow
def test_of_two_shards_one_is_killed_and_begun_again(studies, bundle, serial, tmp_path, capsys):
    outs = tmp_path / "outs"
    words = [studies, outs, "--all", "--bundle", bundle, *SLOW]
    running = [start(*words, "--shard", f"{k}/2") for k in (1, 2)]
    killed = holder_in_the_middle(running[0], outs)
    os.kill(killed, signal.SIGKILL)
    (other,) = (each for each in running if each.pid != killed)
    assert other.communicate(timeout=120)[0] == "PASSED 4 of 4 studies finished\n"
    (dead,) = (each for each in running if each.pid == killed)
    dead.communicate()
    assert run("merge", outs) == 8
    assert run("infer", *words, "--shard", f"{running.index(dead) + 1}/2") == 0
    assert "going on after" in capsys.readouterr().err
    assert run("merge", outs) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "PASSED 8 of 8 studies finished"
    assert results(outs) == serial


def advance(outs):
    """The slices that are kept and the results that are finished."""
    kept = {os.path.join(folder, name) for folder, _, names in os.walk(outs) for name in names}  # noqa: PTH118
    return {path for path in kept if path.endswith((RUN, ".npy"))}


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_results(
    studies, bundle, serial, tmp_path
):
    outs, moments, kills = tmp_path / "outs", random.Random(7), 0
    words = [studies, outs, "--all", "--shard", "1/1", "--bundle", bundle, *SLOW]
    while kills < 9:
        before, running = advance(outs), start(*words)
        # a study whose process dies three times before a slice is finished is given up
        while running.poll() is None and advance(outs) <= before:
            time.sleep(0.02)
        try:
            out, _ = running.communicate(timeout=moments.uniform(0, 1.5))
            break
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            kills += 1
    else:
        out, _ = start(*words).communicate(timeout=240)
    assert kills >= 3
    assert out == "PASSED 8 of 8 studies finished\n"
    assert results(outs) == serial


@pytest.mark.slow
@NEEDS_RAY
def test_of_two_ray_workers_one_is_killed_and_all_studies_finish(
    studies, bundle, serial, tmp_path, capsys
):
    outs = tmp_path / "outs"
    words = [studies, outs, "--all", "--shard", "1/1", "--bundle", bundle, *SLOW]
    running = start(*words, "--workers", "2", "--ray")
    killed = holder_in_the_middle(running, outs)
    assert killed != running.pid
    os.kill(killed, signal.SIGKILL)
    out, told = running.communicate(timeout=240)
    assert running.returncode == 0, told
    assert out == "PASSED 8 of 8 studies finished\n"
    assert results(outs) == serial
    assert run("merge", outs) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "PASSED 8 of 8 studies finished"


@pytest.mark.slow
@NEEDS_RAY
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_by_ray_within_ten_seconds_and_it_is_gone_on_with(
    sent, code, studies, bundle, serial, tmp_path
):
    outs = tmp_path / "outs"
    words = [studies, outs, "--all", "--shard", "1/1", "--bundle", bundle, *SLOW]
    running = start(*words, "--workers", "2", "--ray")
    holder_in_the_middle(running, outs)
    sent_at = time.monotonic()
    running.send_signal(sent)
    out, _ = running.communicate(timeout=30)
    assert time.monotonic() - sent_at < 10
    assert running.returncode == code
    assert out.startswith(("PARTIAL", "FAILED"))
    assert run("infer", *words, "--quiet") == 0
    assert results(outs) == serial
