"""From the flags of mrct bench to what is measured: candidates, plans, and the work of the network."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mrct_runtime.bench.candidates import Candidate, engines, peaks
from mrct_runtime.bench.document import Setting
from mrct_runtime.bench.outcome import Plan
from mrct_runtime.bench.slice_contest import SlicePlan
from mrct_runtime.bench.work import Work
from mrct_runtime.bundle import Bundle
from mrct_runtime.cuda import why_not
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import UsageError
from mrct_runtime.process import Direct
from mrct_runtime.samplers import sampler as build_sampler
from mrct_train import baselines
from mrct_train.baselines import Compile

_QUICK_STEPS = 2
_FOR_EVALUATIONS = 0.7
"""The share of the time that is for evaluations; the rest, and what they leave, is for slices."""


@dataclass(frozen=True)
class Wish:
    """What the flags say; None for what the bundle decides."""

    batches: tuple[int, ...]
    size: int | None
    sampler: str | None
    steps: int | None
    mc: int | None
    rounds: int
    turn: float
    warm_up: float
    minutes: float
    checkpoint: Path | None
    compile_: Compile
    baselines: bool
    quick: bool


def setting_of(
    path: Path,
    target: Target,
    wish: Wish,
    conditions: dict[str, Any],
    tell: Callable[[str], None],
) -> tuple[Setting, int]:
    """What is measured, and with how many threads each; `tell` hears in a line what is left out, and why."""
    bundle = Bundle.load(path)
    size = wish.size or bundle.manifest.image.size
    if size % bundle.manifest.image.multiple:
        raise UsageError(
            f"--size must be a multiple of {bundle.manifest.image.multiple}, got {size}"
        )
    threads = target.threads or len(os.sched_getaffinity(0))
    target = replace(target, device=_device(target.device), threads=threads)
    work, no_work = _work(bundle, size)
    if no_work:
        tell(f"no GFLOP/s: {no_work}")
    setting = Setting(
        bundle,
        size,
        tuple(_candidates(bundle, target, wish, size, threads, tell)),
        _plan(wish),
        _slice_plan(bundle, wish),
        work,
        no_work,
        conditions,
    )
    return setting, threads


def _device(asked: str) -> str:
    """The device that is asked for, settled: a GPU where CUDA can use one."""
    if asked != "auto":
        return asked
    return "cpu" if why_not() else "cuda"


def _candidates(
    bundle: Bundle,
    target: Target,
    wish: Wish,
    size: int,
    threads: int,
    tell: Callable[[str], None],
) -> list[Candidate]:
    found = [*engines(bundle, target, size), *peaks(target.device)]
    if not wish.baselines:
        return found
    if find_spec("torch") is None:
        tell("no baselines: PyTorch is not installed: pip install 'mrct[train]'")
        return found
    mode: Compile = "none" if wish.quick else wish.compile_
    rivals = baselines.networks(bundle.path, wish.checkpoint, target.device, threads, size, mode)
    return [*found, *rivals, *baselines.peaks(target.device, threads)]


def _plan(wish: Wish) -> Plan:
    seconds = 60 * wish.minutes * _FOR_EVALUATIONS
    if wish.quick:
        return Plan(
            wish.batches, min(wish.rounds, 3), min(wish.turn, 0.3), min(wish.warm_up, 1), seconds
        )
    return Plan(wish.batches, wish.rounds, wish.turn, wish.warm_up, seconds)


def _slice_plan(bundle: Bundle, wish: Wish) -> SlicePlan:
    name = wish.sampler or bundle.sampler
    options = bundle.preset(name)
    steps = wish.steps or (_QUICK_STEPS if wish.quick else None)
    direct = isinstance(bundle.process, Direct)
    if steps is not None and not direct:
        options["steps"] = steps
    drawn = build_sampler(name, options)
    drawn.check(bundle.process)
    mc = wish.mc or (1 if direct else 10)
    seconds = 60 * wish.minutes * (1 - _FOR_EVALUATIONS)
    rounds = 1 if wish.quick else 3
    return SlicePlan(name, options, drawn.evaluations, mc, 10, rounds, seconds)


def _work(bundle: Bundle, size: int) -> tuple[Work | None, str | None]:
    """What an evaluation computes, or why that cannot be told."""
    if find_spec("onnx") is None:
        return None, "onnx is not installed: pip install 'mrct[export]'"
    from mrct_export.count_work import count_work

    try:
        work = count_work(bundle.network("fp32"), size)
    except UsageError as error:
        return None, str(error)
    return (work, None) if work.flop else (None, "the graph has no convolution or matrix product")
