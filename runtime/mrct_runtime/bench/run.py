"""A whole measurement: evaluations, then slices, and the document after every part, so that nothing done is lost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Final

from mrct_runtime.bench.candidates import threads_environment
from mrct_runtime.bench.contest import Tell, contest
from mrct_runtime.bench.document import Setting, document
from mrct_runtime.bench.outcome import Outcome
from mrct_runtime.bench.slice_contest import SliceRow, slice_contest
from mrct_runtime.child import ask_once
from mrct_runtime.errors import EngineError
from mrct_runtime.machine import driver, machine, versions

_ASKING: Final = 60.0


def run(
    setting: Setting, threads: int, tell: Tell, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The finished document; `keep` is given what there is after every batch and every round of slices."""
    environment, started = threads_environment(threads), time.monotonic()
    outcome = contest(
        setting.candidates,
        setting.plan,
        environment,
        tell,
        lambda so_far: keep(document(setting, so_far, [])),
    )
    left = setting.plan.seconds - (time.monotonic() - started)
    engines = [each for each in setting.candidates if _measured(each.name, outcome, each.kind)]
    plan = dataclasses.replace(
        setting.slice_plan, seconds=max(left, 0) + setting.slice_plan.seconds
    )

    if not plan.rounds:
        return document(setting, outcome, [])

    def keep_slices(rows: list[SliceRow]) -> None:
        keep(document(setting, outcome, rows))

    slices = slice_contest(engines, plan, outcome, environment, tell, keep_slices)
    return document(setting, outcome, slices)


def conditions(command: str) -> dict[str, Any]:
    """The machine, its GPUs and the versions that figures depend on, beside the command."""
    try:
        gpus, reason = ask_once("mrct_runtime.machine:Gpus", None, "all", _ASKING), None
    except EngineError as error:
        gpus, reason = [], str(error)
    return {
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "gpus": gpus,
        "no_gpus": reason,
        "driver": driver(),
        "versions": versions(),
    }


def _measured(name: str, outcome: Outcome, kind: str) -> bool:
    return kind == "engine" and any(row.candidate == name for row in outcome.rows)
