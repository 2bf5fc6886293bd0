"""What a run of an evaluation knows of its deviation's worth."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter

from mrct_runtime.evaluation.calibration import Calibration
from mrct_runtime.evaluation.results import Run

RAW: Final = "raw"
"""The calibration of the deviation as it was sampled, beside which there may be others, such as of a recalibrated one."""


def calibrations(run: Run) -> dict[str, Calibration]:
    """Name -> what is known of a run's deviation, from values or from what JSON has of them; of one alone, "raw"."""
    known = {RAW: run.calibration} if "tissues" in run.calibration else run.calibration
    adapter = TypeAdapter(Calibration)
    return {name: adapter.validate_python(value) for name, value in known.items()}
