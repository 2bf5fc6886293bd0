"""Samplers: frozen values that hold their options and turn prior noise into a sample when called.

A new sampler is a file with such a value and one line in SAMPLERS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol

from mrct_runtime.arrays import Array, Denoiser, NoiseSource
from mrct_runtime.errors import UsageError
from mrct_runtime.process import Process
from mrct_runtime.samplers.ddim import DenoisingImplicit
from mrct_runtime.samplers.ddpm import Ancestral
from mrct_runtime.samplers.direct import OneEvaluation
from mrct_runtime.samplers.dpmpp import MultistepDPM
from mrct_runtime.samplers.em import EulerMaruyama
from mrct_runtime.samplers.heun import Heun
from mrct_runtime.samplers.ode import ProbabilityFlow
from mrct_runtime.samplers.pc import PredictorCorrector
from mrct_runtime.samplers.unipc import UnifiedPredictorCorrector


class Sampler(Protocol):
    """A loop over network evaluations; its dataclass fields are its options."""

    name: ClassVar[str]
    """What --sampler calls it."""
    families: ClassVar[tuple[type[Any], ...]]
    """The classes of noise processes that it serves."""

    @property
    def steps(self) -> int:
        """The network evaluations asked for, the unit of --steps."""
        ...

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample; the most of them where the sampler adapts."""
        ...

    def check(self, process: Process) -> None:
        """UsageError where this sampler, with these options, does not serve the process."""
        ...

    def __call__(self, denoise: Denoiser, process: Any, x: Array, noise: NoiseSource) -> Array:
        """A sample of p(x_0 | y) [B, 1, H, W] from the prior x."""
        ...


SAMPLERS: dict[str, type[Any]] = {
    kind.name: kind
    for kind in (
        Ancestral,
        EulerMaruyama,
        PredictorCorrector,
        ProbabilityFlow,
        DenoisingImplicit,
        MultistepDPM,
        Heun,
        UnifiedPredictorCorrector,
        OneEvaluation,
    )
}

RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    # The settings of the paper's text: 1000 evaluations a sample, the ODE stopped at 1e-3 as it was.
    "paper": {
        "ddpm": {"steps": 1000, "variance": "fixed-small", "clip_x0": True},
        "em": {"steps": 1000, "eps": 1e-3},
        "pc": {"steps": 1000, "correctors": 1, "snr": 0.16, "eps": 2e-3},
        "ode": {"steps": 10_000, "eps": 1e-3, "rtol": 1e-5, "atol": 1e-5, "denoise": False},
    },
    # Those of the authors' published code: 1000 levels of ten corrector steps and one predictor step.
    "authors": {
        "ddpm": {"steps": 1000, "variance": "fixed-small", "clip_x0": True},
        "em": {"steps": 1000, "eps": 1e-3},
        "pc": {"steps": 11_000, "correctors": 10, "snr": 0.16, "eps": 1e-3},
        "ode": {"steps": 10_000, "eps": 1e-3, "rtol": 1e-5, "atol": 1e-5, "denoise": False},
    },
}


def sampler(name: str, options: Mapping[str, Any] | None = None) -> Sampler:
    """The named sampler with these options; the rest as its class has them. UsageError for what it does not know."""
    kind = sampler_class(name)
    known = {field.name for field in fields(kind)}
    for option in options or {}:
        if option not in known:
            raise UsageError(
                f"sampler {name} has no option {option}; it has {', '.join(sorted(known))}"
            )
    built: Sampler = kind(**(options or {}))
    return built


def adapts(name: str) -> bool:
    """Whether a tolerance rules the sampler's length, of which `steps` is a cap; UsageError for an unknown name."""
    return "rtol" in {field.name for field in fields(sampler_class(name))}


def sampler_class(name: str) -> type[Any]:
    """The class behind a sampler's name; UsageError where there is none."""
    if name not in SAMPLERS:
        raise UsageError(f"unknown sampler {name!r}; choose from {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


def recipe(recipe_name: str, sampler_name: str) -> dict[str, Any]:
    """The options with which a published result was made; UsageError where there is no such recipe."""
    sampler_class(sampler_name)
    if recipe_name not in RECIPES:
        raise UsageError(f"unknown recipe {recipe_name!r}; choose from {', '.join(RECIPES)}")
    if sampler_name not in RECIPES[recipe_name]:
        raise UsageError(
            f"the recipe {recipe_name!r} has nothing for sampler {sampler_name}, but for "
            f"{', '.join(RECIPES[recipe_name])}: name one of these as --sampler, or leave --recipe out"
        )
    return dict(RECIPES[recipe_name][sampler_name])
