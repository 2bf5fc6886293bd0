"""A data set larger than the memory that a process may have is prepared, drawn from, augmented and learnt from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[1] / "support"
SLICES, MEGABYTES = 1416, 1500


@pytest.mark.slow
def test_gold_atlas_sized_data_train_in_less_than_half_of_their_size(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, SUPPORT / "large_set.py", tmp_path, SLICES, MEGABYTES]
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    slices, stored_megabytes = map(int, done.stdout.split())
    assert slices == SLICES
    assert stored_megabytes > 2 * MEGABYTES
