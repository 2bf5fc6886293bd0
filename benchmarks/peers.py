"""Seconds a slice of this program's samplers against PyTorch loops and diffusers, with one network, slice and noise.

RUN is a training run of ddpm or sde, BUNDLE its export, DATA a paired data set with a slice to be judged on. The plain
loops have the structure in which samplers of this kind are published: a Python loop over the module in eager mode. All
draw the same noise, which the peers get ready-made. Every contestant runs in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from machine import parser, report

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.target import Target
from mrct_runtime.evaluation.cases import Case, Selection, load_case
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.evaluation.scoring import Ruler, mean_std_hu
from mrct_runtime.noise import Noise
from mrct_runtime.process import DDPM, VESDE
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import Moments, synthesize

Loop: TypeAlias = Callable[[Any, Any, Any, "list[Any]"], Any]
"""(eps(x, t), process, prior [B, 1, H, W], the noise of each step) -> samples, all torch tensors."""

LONG, MC = 1000, 10


def em(eps: Any, process: VESDE, x: Any, noise: list[Any]) -> Any:
    """Euler-Maruyama over linspace(1, 1/1000, 1000); the mean of the last step."""
    times = np.linspace(1, 1 / LONG, LONG)
    dt = float(times[0] - times[1])
    for t, z in zip(times.tolist(), [*noise, 0.0], strict=True):
        g = process.g(t)
        mean = x - g**2 * dt / process.std(t) * eps(x, t)
        x = mean + g * dt**0.5 * z
    return mean


def ancestral(eps: Any, process: DDPM, x: Any, noise: list[Any]) -> Any:
    """The chain of all 1000 levels with clipped x_0 and the posterior's variance."""
    for level, z in zip(process.respaced(LONG), [*noise, 0.0], strict=True):
        x0 = (x - (1 - level.abar) ** 0.5 * eps(x, level.t)) / level.abar**0.5
        if level.abar_prev < 1:
            x0 = x0.clamp(0, 1)
        on_x0 = level.abar_prev**0.5 * level.beta / (1 - level.abar)
        on_x = (1 - level.beta) ** 0.5 * (1 - level.abar_prev) / (1 - level.abar)
        x = on_x0 * x0 + on_x * x + level.posterior_variance**0.5 * z
    return x


def diffusers(steps: int, **options: Any) -> Loop:
    """Its DPMSolverMultistepScheduler of order 2 on the same schedule."""

    def loop(eps: Any, process: DDPM, x: Any, _noise: list[Any]) -> Any:
        from diffusers import DPMSolverMultistepScheduler

        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=process.steps,
            beta_start=process.beta_start,
            beta_end=process.beta_end,
            beta_schedule="linear",
            **options,
        )
        scheduler.set_timesteps(steps)
        for index in scheduler.timesteps:
            found = eps(x, (float(index) + 1) / process.steps)
            x = scheduler.step(found, index, x).prev_sample
        return x

    return loop


def contests(process: VESDE | DDPM, steps: int) -> dict[str, Loop | tuple[str, int]]:
    """Label -> a peer's loop, or this program's sampler and its evaluations."""
    if isinstance(process, VESDE):
        return {
            f"PyTorch loop, EM {LONG}": em,
            f"mrct, em {LONG}": ("em", LONG),
            f"mrct, dpmpp {steps}": ("dpmpp", steps),
        }
    return {
        f"PyTorch loop, DDPM {LONG}": ancestral,
        f"mrct, ddpm {LONG}": ("ddpm", LONG),
        f"diffusers DPMSolverMultistep {steps}": diffusers(steps),
        f"diffusers DPMSolverMultistep {steps}, lu_lambdas": diffusers(steps, use_lu_lambdas=True),
        f"mrct, dpmpp {steps}": ("dpmpp", steps),
    }


def compete(arguments: argparse.Namespace) -> dict[str, Any]:
    """One contestant's figures, in this process."""
    bundle = Bundle.load(arguments.bundle)
    chosen = contests(bundle.process, arguments.steps)[arguments.contestant]
    selection = Selection(arguments.subjects, views=("axial",), slices=1)
    base = Contestant("", bundle, Settings("ddpm" if isinstance(bundle.process, DDPM) else "em"))
    case = load_case(selection.find(arguments.data)[0], base.preparation, selection)
    how = _ours if isinstance(chosen, tuple) else _theirs
    moments, evaluations, seconds = how(chosen, bundle, case, arguments)
    scores = Ruler().scores(case, [moments.mean], bundle.window)
    return {
        "evaluations": evaluations,
        "seconds": round(seconds, 3),
        "ms_an_evaluation": round(1000 * seconds / evaluations / MC, 3),
        "mae_hu": round(scores["mae_hu"], 2),
        "ssim": round(scores["paper_ssim"], 4),
        "mean_std_hu": round(mean_std_hu(case, [moments], bundle.window) or 0.0, 2),
    }


def _ours(
    chosen: tuple[str, int], bundle: Bundle, case: Case, arguments: argparse.Namespace
) -> tuple[Moments, int, float]:
    name, steps = chosen
    part = case.parts[0]
    settings = Settings(name, MC, batch=MC, options={"steps": steps})
    target = Target("cpu", threads=arguments.threads)
    with closing(bundle.open_engine(target)) as engine:
        started = time.perf_counter()
        sampling = settings.sampling(bundle, part.series)
        found = synthesize(engine, bundle.process, part.slices.mr, sampling, slices=part.places)
        return found, steps, time.perf_counter() - started


def _theirs(
    loop: Loop, bundle: Bundle, case: Case, arguments: argparse.Namespace
) -> tuple[Moments, int, float]:
    import torch

    from mrct_train.checkpoint import load_network

    torch.set_num_threads(arguments.threads)
    network, *_ = load_network(arguments.run)
    process, part = bundle.process, case.parts[0]
    keys = [(part.places[0], k) for k in range(MC)]
    drawn = Noise(0, part.series, keys, part.slices.mr.shape[1:])
    start = process.alpha(1.0) * bundle.manifest.prior_mean
    x = start + process.std(1.0) * torch.from_numpy(drawn())
    few = "diffusers" in arguments.contestant
    noise = [] if few else [torch.from_numpy(drawn()) for _ in range(LONG - 1)]
    y = torch.from_numpy(np.repeat(part.slices.mr[:, None].astype(np.float32), MC, axis=0))
    calls = itertools.count()

    def eps(x: Any, t: float) -> Any:
        next(calls)
        return network(x.float(), y, torch.full((MC,), t))

    with torch.inference_mode():
        eps(x, 0.5)
        started = time.perf_counter()
        samples = loop(eps, process, x, noise)
        seconds = time.perf_counter() - started
    images = samples[:, 0].double().numpy()
    moments = Moments(
        images.mean(axis=0)[None], images.std(axis=0, ddof=1)[None], np.array([MC]), 0, MC
    )
    return moments, next(calls) - 1, seconds


def main() -> None:
    made = parser(__doc__ or "")
    for place in ("run", "bundle", "data"):
        made.add_argument(place, type=Path)
    made.add_argument("--subjects", default="*", help="the first one by this pattern is judged")
    made.add_argument("--steps", type=int, default=20)
    made.add_argument(
        "--rounds", type=int, default=3, help="of the short ones; their median counts"
    )
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.contestant is not None:
        print(json.dumps(compete(arguments)))
        return
    labels = contests(Bundle.load(arguments.bundle).process, arguments.steps)
    found: dict[str, list[dict[str, Any]]] = {label: [] for label in labels}
    for turn in range(arguments.rounds):
        for label in labels:
            if turn == 0 or str(LONG) not in label:
                command = [sys.executable, __file__, *sys.argv[1:], "--contestant", label]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[label].append(json.loads(told.splitlines()[-1]))
                print(f"{label}: {found[label][-1]}", flush=True)
    figures = {label: _median(rounds) for label, rounds in found.items()}
    slowest = next(iter(figures.values()))
    for label, each in figures.items():
        each["times_as_fast"] = round(slowest["seconds"] / each["seconds"], 1)
        print(f"{label:44} {each}")
    report(figures, arguments.json)


def _median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    middle = sorted(rounds, key=lambda each: each["seconds"])[len(rounds) // 2]
    return dict(middle) | {"rounds": len(rounds)}


if __name__ == "__main__":
    main()
