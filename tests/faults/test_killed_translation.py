"""kill -9 in the middle of a study: a rerun goes on, and ends with the bits of a run that was never killed."""

import json
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pydicom
import pytest
from mr_study import SHAPE, write_mr_study
from tiny_bundle import write_tiny_bundle

KILLS = 50
PLANS = {
    "one number of samples": ("--sampler", "em", "--steps", "300", "--mc", "4", "--batch", "3"),
    "as many as it takes": (
        *("--sampler", "em", "--steps", "300", "--batch", "3"),
        *("--mc", "2..6", "--mc-tolerance", "200"),
    ),
}


def command(study, out, bundle, plan):
    script = "from mrct_cli.main import main_infer; main_infer()"
    words = (study, out, "--bundle", bundle, *plan, "--overwrite", "--quiet")
    return [sys.executable, "-c", script, *map(str, words)]


def pixels(out):
    return np.stack([pydicom.dcmread(path).pixel_array for path in sorted((out / "sct").iterdir())])


def assert_whole_and_equal(out, expected):
    """Every file of a result is as its run.json says, and its images are those of the other."""
    for name in ("sct.nii.gz", "sct_std.nii.gz", "preview.png", "preview_slices.png"):
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name
    np.testing.assert_array_equal(pixels(out), pixels(expected))
    maps = [pydicom.dcmread(each / "std.dcm").FloatPixelData for each in (out, expected)]
    assert maps[0] == maps[1]
    counted = [json.loads((each / "run.json").read_text())["counters"] for each in (out, expected)]
    assert counted[0] == counted[1]
    verify = "from mrct_cli.main import main; main()"
    subprocess.run([sys.executable, "-c", verify, "verify", str(out)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_killed_at_random_moments_nothing_is_lost_and_nothing_differs(name, tmp_path):
    study = write_mr_study(tmp_path / "study")
    bundle = write_tiny_bundle(tmp_path / "tiny.mrct", size=24)
    expected, out = tmp_path / "expected", tmp_path / "out"
    started = time.monotonic()
    subprocess.run(command(study, expected, bundle, PLANS[name]), check=True)
    whole = time.monotonic() - started
    chance = random.Random(name)
    kills = finished = resumed = 0
    while kills < KILLS // len(PLANS):
        child = subprocess.Popen(command(study, out, bundle, PLANS[name]))
        try:
            code = child.wait(chance.uniform(0.3, 1.1) * whole)
        except subprocess.TimeoutExpired:
            kept = list((tmp_path / ".out.work/journal").glob("slice-*.npy"))
            assert len(kept) <= SHAPE[0]
            child.kill()
            child.wait()
            kills += 1
            # what stands under the name is whole at any moment
            if out.exists():
                assert_whole_and_equal(out, expected)
            continue
        assert code == 0
        resumed += bool(kills)
        assert_whole_and_equal(out, expected)
        assert {path.name for path in tmp_path.iterdir()} == {
            "study",
            "tiny.mrct",
            "expected",
            "out",
        }
        if chance.random() < 0.5:
            # the next one writes where nothing stands, the others over a result
            shutil.rmtree(out)
        finished += 1
    subprocess.run(command(study, out, bundle, PLANS[name]), check=True)
    assert_whole_and_equal(out, expected)
    assert kills >= KILLS // len(PLANS)
    print(f"{kills} kills, {finished} finished runs between them")  # noqa: T201  the figure of the table
