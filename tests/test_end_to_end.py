"""From generated patients to a synthetic CT in DICOM, by the commands alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from mrct_runtime.dicom.reading import read_pair
from mrct_runtime.intensity import body_mask

RECIPE = """
name = "tiny"
method = "{method}"
preconditioning = "residual"
weighting = "unit"
size = 32
spacing_mm = 13.5
batch = 32
steps = 200
learning_rate = 4e-3
schedule = "cosine"
warmup_steps = 20
ema = 0.98
stratified = true
data = "generated pelves"
licence = "Apache-2.0"

[unet]
base = 16
multipliers = [1, 2]
blocks = 1
embedding = 32
fourier_scale = 1.0
"""


def mrct(folder: Path, *arguments: str) -> str:
    """The standard output of one command, which must succeed. One thread: images of 32 pixels have no work for two."""
    code = "from mrct_cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    grid = ["--size", "32", "--spacing", "13.5", "--slices", "12", "--slice-spacing", "12"]
    mrct(folder, "phantom", "data", "--subjects", "12", *grid, "--slice-thickness", "12")
    return folder


@pytest.mark.parametrize(
    ("method", "sampler"),
    [("sde", "em"), pytest.param("ddpm", "ddpm", marks=pytest.mark.slow)],
)
def test_train_export_infer_beats_the_mean_ct(phantoms: Path, method: str, sampler: str) -> None:
    """By a quarter at least: the mean CT is the training CTs' mean HU, everywhere in the body."""
    (phantoms / f"{method}.toml").write_text(RECIPE.format(method=method), "utf-8")
    mrct(phantoms, "train", "data", f"run-{method}", "--config", f"{method}.toml")
    mrct(phantoms, "export", f"run-{method}", f"{method}.mrct")
    study = next((phantoms / "data" / "test").iterdir())
    out = f"out-{method}"
    options = ["--bundle", f"{method}.mrct", "--sampler", sampler, "--steps", "40", "--mc", "8"]
    said = mrct(phantoms, "infer", str(study), out, *options)
    assert f"{out}/report.html" in said

    mr, ct = read_pair(study)
    written = sorted((phantoms / out / "sct").glob("*.dcm"))
    datasets = sorted(
        (pydicom.dcmread(file) for file in written),
        key=lambda ds: float(ds.ImagePositionPatient[2]),
    )
    sct = np.stack([ds.pixel_array for ds in datasets]).astype(np.float64)
    assert sct.shape == mr.volume.array.shape
    assert {ds.FrameOfReferenceUID for ds in datasets} == {mr.frame_of_reference_uid}

    body = body_mask(mr.volume)
    truth = ct.volume.array
    training = [
        read_pair(subject)[1].volume.array
        for subject in sorted((phantoms / "data" / "train").iterdir())
    ]
    values = [volume[volume > -500].mean() for volume in training]
    trivial = abs(np.mean(values) - truth)[body].mean()
    error = abs(sct - truth)[body].mean()
    assert error < 0.75 * trivial, f"MAE {error:.0f} HU, the mean CT {trivial:.0f} HU"
    bone = body & (truth > 250)
    soft = body & (abs(truth) < 100)
    assert sct[bone].mean() > sct[soft].mean() + 150

    nifti = nibabel.load(phantoms / out / "sct.nii.gz").get_fdata()
    assert nifti.size == sct.size
    run = json.loads((phantoms / out / "run.json").read_text("utf-8"))
    assert run["sampling"]["mc"] == 8
