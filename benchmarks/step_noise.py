"""How much of a VE sample's deviation comes from how much noise a sampler adds each step.

Euler-Maruyama and reverse diffusion remove gain x eps_hat and add noise of the whole step, v - v', v = std(t)^2; what is
left afterwards exceeds v' by (v - v')^2 / v. The posterior's noise, (v - v') v' / v, leaves v' (DDIM with eta = 1;
Song et al. 2021a, equation 16). On the same levels, with the same gains, the three differ in that alone.

Each is run with the demonstration's VE network and with the exact score of a Gaussian around the true CT, and watched:
the deviation of a pixel between the samples of a slice, of the state x that the network is given and of the image that
it takes from it, beside the std(t) that it is told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from calibration import phantom
from machine import parser, report
from numpy.typing import NDArray

from mrct_runtime.arrays import Array, Denoiser, NoiseSource, Time
from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.device import HOST, Device
from mrct_runtime.engines import Backend, Engine
from mrct_runtime.engines.target import Target
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.evaluation.calibration import Voxels, calibration
from mrct_runtime.evaluation.cases import Case, Selection, load_case
from mrct_runtime.evaluation.results import EVERYONE
from mrct_runtime.evaluation.voxels import body_voxels
from mrct_runtime.paired import Preparation
from mrct_runtime.process import VESDE, Process
from mrct_runtime.samplers.predictors import PREDICTORS, uniform_levels
from mrct_runtime.sampling import Sampling
from mrct_runtime.synthesis import synthesize

MC = 10
TISSUE_HU = 20.0
"""Deviation of the exact score's Gaussian, of the order of a CT's noise."""
SOFT_HU = (-100.0, 150.0)
WATCHED = (100, 50, 20, 10, 5, 4, 3, 2, 1)
"""Levels t = k / N at which states are looked at."""


def posterior(process: VESDE, t: float, t_next: float) -> tuple[float, float]:
    """Reverse diffusion's gain, and the deviation of p(x_t' | x_t, x_0)."""
    gain, deviation = PREDICTORS["reverse-diffusion"](process, t, t_next)
    return gain, deviation * process.std(t_next) / process.std(t)


RULES = {**PREDICTORS, "posterior": posterior}


@dataclass(frozen=True)
class Stepwise:
    """x <- x - gain eps_hat + deviation z by one of RULES on levels uniform in t; returns the last step's mean."""

    name: ClassVar[str] = "stepwise"
    process: ClassVar[type[VESDE]] = VESDE

    rule: str
    steps: int

    @property
    def evaluations(self) -> int:
        return self.steps

    def check(self, process: Process) -> None:
        if not isinstance(process, VESDE):
            raise TypeError(f"a VE process is needed, got {process}")

    def __call__(self, denoise: Denoiser, process: VESDE, x: Array, noise: NoiseSource) -> Array:
        end = "euler-maruyama" if self.rule == "euler-maruyama" else "reverse-diffusion"
        mean = x
        for t, t_next in uniform_levels(process, self.steps, None, end):
            gain, deviation = RULES[self.rule](process, t, t_next)
            mean = x - gain * denoise(x, t)
            x = mean + deviation * noise() if t_next > 0 else mean
        return mean


@dataclass(frozen=True)
class ExactScore:
    """eps of x_0 ~ N(condition, s^2) pixel by pixel: what a perfect network would say of such data."""

    process: VESDE
    s: float
    backend: ClassVar[Backend] = Backend("exact", "CPU", "fp64")
    device: ClassVar[Device] = HOST
    max_batch: ClassVar[int] = 64

    def bind(self, cond: Array) -> Denoiser:
        def eps(x: Array, t: Time) -> Array:
            std = self.process.std(float(t))
            return std * (x - cond) / (self.s**2 + std**2)

        return eps

    def close(self) -> None:
        """Holds nothing."""


@dataclass
class Watch:
    """Squared deviations between a batch's samples in soft tissue, of states and images, by level."""

    process: VESDE
    steps: int
    masks: NDArray[np.bool_]
    squares: dict[int, list[tuple[float, float]]]
    slice_: int = -1

    def around(self, denoise: Denoiser) -> Denoiser:
        """The denoiser of the next slice: all of a slice's samples are one batch."""
        self.slice_ += 1
        mask = self.masks[self.slice_]

        def eps(x: Array, t: Time) -> Array:
            found = denoise(x, t)
            k = round(float(t) * self.steps)
            if k in WATCHED:
                image = x - self.process.std(float(t)) * found
                pair = tuple(float(each[:, 0, mask].var(0, ddof=1).mean()) for each in (x, image))
                self.squares.setdefault(k, []).append((pair[0], pair[1]))
            return found

        return eps


def rows(
    process: VESDE, steps: int, squares: Mapping[int, Sequence[Any]], width: float
) -> list[dict[str, float]]:
    """By level: what the network is told, the state's deviation beside it, and the image's, in HU."""
    made = []
    for k in sorted(squares, reverse=True):
        state, image = (math.sqrt(v) for v in np.mean(squares[k], axis=0))
        figures = {"told_hu": process.std(k / steps), "state_hu": state, "image_hu": image}
        made.append({"level": k, **{name: round(v * width, 1) for name, v in figures.items()}})
    return made


def run(
    bundle: Bundle, engine: Engine, cases: Sequence[Case], rule: str, steps: int, *, exact: bool
) -> dict[str, Any]:
    """What one rule makes of the cases."""
    process, width = bundle.process, bundle.window.width
    assert isinstance(process, VESDE)
    voxels: list[Voxels] = []
    squares: dict[int, list[tuple[float, float]]] = {}
    for case in cases:
        (part,) = case.parts
        hu = part.slices.hu
        watch = Watch(process, steps, (hu > SOFT_HU[0]) & (hu < SOFT_HU[1]), squares)
        sampling = Sampling(
            Stepwise(rule, steps),
            mc=MC,
            batch=MC,
            prior_mean=bundle.manifest.prior_mean,
            series=part.series,
        )
        moments = synthesize(
            WrappedEngine(engine, watch.around),
            process,
            bundle.window.to_unit(hu) if exact else part.slices.mr,
            sampling,
            slices=part.places,
        )
        voxels.append(body_voxels(case, [moments], bundle.window))
    tissues = calibration(voxels, MC).tissues
    return {
        "rule": rule,
        "score": "exact" if exact else "network",
        "evaluations": steps,
        "deviation_hu": {name: round(each.mean_std_hu, 1) for name, each in tissues.items()},
        "mae_hu_of_the_mean": round(tissues[EVERYONE].mae_hu, 1),
        "coverage": {
            name: {level: round(found.value, 3) for level, found in each.coverage.items()}
            for name, each in tissues.items()
        },
        "soft_tissue": rows(process, steps, squares, width),
    }


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--subjects", default="56,57,58", help="numbers of phantoms")
    made.add_argument("--slices", type=int, default=2, help="slices of a subject")
    made.add_argument("--steps", default="1000", help="evaluations a sample, separated by commas")
    made.add_argument("--threads", type=int, help="threads of the network")
    arguments = made.parse_args()
    bundle = Bundle.load(demonstration_bundle("em"))
    process, window = bundle.process, bundle.window
    assert isinstance(process, VESDE)
    preparation = Preparation(bundle.manifest.image, bundle.normalisation)
    cases = [
        load_case(phantom(int(number)), preparation, Selection(slices=arguments.slices))
        for number in arguments.subjects.split(",")
    ]
    found = []
    exact = ExactScore(process, TISSUE_HU / window.width)
    with closing(bundle.open_engine(Target("cpu", threads=arguments.threads))) as network:
        for steps in map(int, arguments.steps.split(",")):
            for engine in (exact, network):
                for rule in RULES:
                    found.append(run(bundle, engine, cases, rule, steps, exact=engine is exact))
                    print(found[-1], flush=True)
    report({"mc": MC, "tissue_hu": TISSUE_HU, "rows": found}, arguments.json)


if __name__ == "__main__":
    main()
