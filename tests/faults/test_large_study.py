"""A study larger than memory should hold: slices are streamed, and the result is that of slices computed by themselves."""

import os
import resource
import subprocess
import sys

import nibabel
import numpy as np
import pydicom
import pytest
from large_study import PERIOD, write_large_study
from tiny_bundle import write_tiny_bundle

from mrct_runtime.bundle import Bundle
from mrct_runtime.finished import Finished
from mrct_runtime.placing import Placing
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import synthesize
from mrct_runtime.translate import prepare
from mrct_runtime.verification import verify
from mrct_runtime.volume import Volume

SLICES, PIXELS, SAMPLES, STEPS = 800, 512, 10, 2
MOST_BYTES = 2_000_000_000


# What the system tells at a process's end is no smaller than its parent was when it began; this is its own.
SCRIPT = """
import atexit, os, pathlib, re
def tell():
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
    pathlib.Path(os.environ.get("PEAK", os.devnull)).write_text(peak[1])
atexit.register(tell)
from mrct_cli.main import main_infer
main_infer()
"""


def command(*words):
    return [sys.executable, "-c", SCRIPT, *map(str, words), "--quiet"]


def infer(tmp_path, *words):
    """The most bytes that were resident while mrct-infer ran, pages of files counted that could have been taken back."""
    told = tmp_path / "peak"
    subprocess.run(command(*words), check=True, env={**os.environ, "PEAK": str(told)})
    return int(told.read_text()) << 10


def computed_alone(bundle, study, places):
    """Mean and deviation [S, H, W] in HU of a small study's slices, in memory, with the noise of these places."""
    settings = Settings(sampler="dpmpp", mc=SAMPLES, options={"steps": STEPS})
    job = prepare(bundle, study, settings)
    engine = job.open_engine()
    condition = job.condition.array
    drawn = synthesize(
        engine, settings.process(bundle), condition, job.sampling, slices=places, body=job.body
    )
    engine.close()
    body = Volume(job.body, job.condition.grid)
    placing = Placing(body, job.source.volume, bundle.window, job.uncertainty)
    for s in range(len(places)):
        placing.place(Finished(s, drawn.mean[s], drawn.std[s], (SAMPLES,)))
    return placing.mean_hu.array, placing.std_hu.array


def written(path, places):
    """The slices [S, H, W] of a NIfTI file, which is not read whole."""
    part = nibabel.load(path).dataobj[..., places.start : places.stop]
    return np.asarray(part).transpose(2, 1, 0)


@pytest.mark.slow
def test_800_slices_with_ten_samples_take_less_than_two_gigabytes(tmp_path):
    study = write_large_study(tmp_path / "study", SLICES, PIXELS)
    few = write_large_study(tmp_path / "few", PERIOD, PIXELS)
    bundle = write_tiny_bundle(tmp_path / "tiny.mrct", size=64, spacing_mm=5.6)
    out = tmp_path / "out"
    sampling = ("--sampler", "dpmpp", "--steps", STEPS, "--mc", SAMPLES)
    peak = infer(
        tmp_path, study, out, "--bundle", bundle, *sampling, "--maps", "--contour", "rtstruct"
    )
    print(f"{peak / 1e6:.0f} MB at most")  # noqa: T201  the figure of the table
    assert peak < MOST_BYTES
    assert verify(out).intact
    assert len(list((out / "sct").iterdir())) == len(list((out / "std").iterdir())) == SLICES
    for places in (range(PERIOD), range(SLICES - PERIOD, SLICES)):
        mean, std = computed_alone(Bundle.load(bundle), few, places)
        np.testing.assert_array_equal(written(out / "sct.nii.gz", places), mean)
        np.testing.assert_array_equal(written(out / "sct_std.nii.gz", places), std)
        for s, expected in zip(places, mean, strict=True):
            image = pydicom.dcmread(out / f"sct/CT.{s + 1:04d}.dcm")
            np.testing.assert_array_equal(image.pixel_array, np.rint(expected))


def test_a_disk_too_small_for_what_memory_is_not_to_hold_is_one_line_and_code_6(tmp_path):
    study = write_large_study(tmp_path / "study", 64, PIXELS)
    bundle = write_tiny_bundle(tmp_path / "tiny.mrct")
    done = subprocess.run(
        command(study, tmp_path / "out", "--bundle", bundle),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000_000,) * 2),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6
    assert done.stderr.startswith("mrct: error: ")
    assert "67 MB are needed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study", "tiny.mrct"]
