import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dicom_study import make_grid, write_series

from mrct_runtime.errors import OutputError
from mrct_runtime.node.inference import Inference
from mrct_runtime.node.jobs import Job, JobRecord
from mrct_runtime.node.spool import RUNNING, claimed, write_json

NAME = f"{1:012d}-{'a' * 32}-{'b' * 32}"


@pytest.fixture
def spool(tmp_path):
    with claimed(tmp_path / "spool") as spool:
        yield spool


@pytest.fixture
def job(spool):
    folder = spool[RUNNING] / NAME
    write_series(folder / "study", make_grid((2, 8, 8)))
    write_json(folder / "job.json", JobRecord("1.2.3", 0.0).content)
    return Job(folder)


def run(spool, job, *options, longest_s=30.0, stopping=None):
    step = Inference(
        "fake_infer:main", options, longest_s, spool.lock, stopping or threading.Event()
    )
    return step(job)


def test_the_program_makes_the_result_in_a_process_of_its_own(spool, job):
    run(spool, job)
    assert sorted(p.name for p in job.result.rglob("*.dcm")) == [
        "CT.0001.dcm",
        "CT.0002.dcm",
        "std.dcm",
    ]


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        *[(code, "retry") for code in (1, 5, 7, 143)],
        *[(code, "refused") for code in (2, 4, 9)],
    ],
)
def test_the_exit_code_decides_whether_it_is_tried_again(code, ending, spool, job):
    outcome = run(spool, job, f"--exit={code}")
    assert outcome.ending == ending
    assert f"exit code {code}" in outcome.told
    assert outcome.reason == "mrct: error: refused on purpose"
    assert "on purpose" not in outcome.told


def test_a_child_that_the_system_kills_is_tried_again(spool, job):
    outcome = run(spool, job, f"--signal={int(signal.SIGKILL)}")
    assert (outcome.ending, outcome.told) == ("retry", "killed by signal 9")


def test_a_translation_that_takes_too_long_is_ended(spool, job):
    start = time.monotonic()
    outcome = run(spool, job, "--sleep=60", longest_s=0.5)
    assert (outcome.ending, outcome.told) == ("retry", "longer than 0.5 s")
    assert time.monotonic() - start < 10


def test_a_node_that_stops_ends_its_translation_without_a_failure(spool, job):
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    assert run(spool, job, "--sleep=60", stopping=stopping).ending == "stopped"


def test_as_long_as_a_translation_lives_no_other_node_gets_the_spool(tmp_path):
    stopping, begun = threading.Event(), tmp_path / "begun"
    with claimed(tmp_path / "spool") as spool:
        folder = spool[RUNNING] / NAME
        folder.mkdir()
        options = ("--sleep=60", f"--count={begun}")
        thread = threading.Thread(
            target=run, args=(spool, Job(folder), *options), kwargs={"stopping": stopping}
        )
        thread.start()
        _await(begun.exists)
    with pytest.raises(OutputError, match="another running node"), claimed(spool.root, 0.3):
        pass
    stopping.set()
    thread.join()
    with claimed(spool.root, 0.3):
        pass


def test_a_killed_node_takes_its_translation_with_it(tmp_path):
    script = (
        "import sys, threading; from pathlib import Path\n"
        "from mrct_runtime.node.inference import Inference\n"
        "from mrct_runtime.node.jobs import Job\n"
        "folder = Path(sys.argv[1])\n"
        "step = Inference('fake_infer:main', ('--sleep=60', f'--count={folder}/begun'), 99, 2,\n"
        "                 threading.Event())\n"
        "step(Job(folder))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    node = subprocess.Popen([sys.executable, "-c", script, tmp_path], env=environment)
    _await((tmp_path / "begun").exists)
    (child,) = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    assert _alive(child)
    node.kill()
    node.wait()
    _await(lambda: not _alive(child))


def _await(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
