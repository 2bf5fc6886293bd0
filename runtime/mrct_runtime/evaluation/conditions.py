"""Under which conditions scores were measured: settings, machine and versions, for the report to print."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrct_runtime.evaluation.bootstrap import METHOD
from mrct_runtime.evaluation.results import Conditions
from mrct_runtime.evaluation.tissue import AIR_BELOW_HU, BONE_ABOVE_HU
from mrct_runtime.report import NOTICE, versions

if TYPE_CHECKING:
    from mrct_runtime.evaluation.runner import Plan


def conditions(plan: Plan, mc: int) -> Conditions:
    """Those of a plan with `mc` samples a slice, finished now on this machine."""
    return Conditions(
        recipe=plan.settings.recipe or "default",
        mc=mc,
        seed=plan.settings.seed,
        outside=plan.ruler.outside,
        range_2023_hu=(plan.ruler.range_2023.low, plan.ruler.range_2023.high),
        range_2025_hu=(plan.ruler.range_2025.low, plan.ruler.range_2025.high),
        air_below_hu=AIR_BELOW_HU,
        bone_above_hu=BONE_ABOVE_HU,
        confidence=plan.bootstrap.confidence,
        bootstrap=METHOD,
        bootstrap_resamples=plan.bootstrap.resamples,
        machine=_machine(plan.settings.target.threads),
        versions=versions(),
        command=plan.command,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        notice=NOTICE,
    )


def _machine(threads: int | None) -> dict[str, Any]:
    """The processor and how much of it was used: times mean nothing without it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": threads,
        "system": platform.system(),
    }
