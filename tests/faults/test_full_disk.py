"""A disk that is full from one change on, for every change that a command makes: code 6, one line, nothing half-written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mr_study import write_mr_study
from tiny_bundle import write_tiny_bundle

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The preloaded library that makes a disk fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the disk cannot be made to fail")
    library = tmp_path_factory.mktemp("shim") / "failing_writes.so"
    source = SUPPORT / "failing_writes.c"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
    subprocess.run([str(word) for word in command], check=True)
    return library


def runs(shim, folder, error, *command):
    """What came of the command for every change of the folder that fails, the undisturbed run first."""
    words = [sys.executable, SUPPORT / "on_a_failing_disk.py", folder, error, *command]
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("over_a_result", "error"), [(False, errno.ENOSPC), (True, errno.EIO)])
def test_a_translation_on_a_disk_that_fails_leaves_what_was_there(
    over_a_result, error, shim, tmp_path
):
    study = write_mr_study(tmp_path / "study")
    bundle = write_tiny_bundle(tmp_path / "tiny.mrct", size=24)
    folder = tmp_path / "disk"
    folder.mkdir()
    if over_a_result:
        (folder / "out").mkdir()
        (folder / "out/run.json").write_text("earlier")
    command = ("infer", study, folder / "out", "--bundle", bundle, "--quiet", "--overwrite")
    whole, *failed = runs(shim, folder, error, *command, "--steps", 20, "--mc", 2)
    assert whole["code"] == 0
    assert len(failed) == whole["changes"] > 50
    earlier = {"out": None, "out/run.json": 7} if over_a_result else {}
    for run in failed:
        if run["left"] == whole["left"]:
            # the last change is a flush of the folder after the result had its name
            assert run["n"] > whole["changes"] - 5
            continue
        assert run["code"] == 6, run
        if over_a_result and "out" not in run["left"]:
            # nor could the earlier result be moved back, so it waits for the next run
            assert run["left"][".out.work/replaced/run.json"] == len("earlier")
        else:
            assert run["left"] == earlier, run
        fault, last = run["told"]
        assert fault.startswith("mrct: error: "), run
        kept = any(".out.work/journal/slice" in name for name in run["left"])
        assert last.startswith(
            "PARTIAL 5 of 5 slices are kept" if kept else "FAILED with exit code 6: "
        ), run
    print(f"{len(failed)} changes, each failed once with {errno.errorcode[error]}")  # noqa: T201
