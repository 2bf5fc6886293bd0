"""What the samplers in sigma make of Gaussian modes, from the papers' formulas in x, alpha, std and lambda.

The samplers themselves step x / alpha; here x is as the network sees it, so that nothing but the levels is shared.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from gaussian_modes import Modes, Path

from mrct_runtime.arrays import Array
from mrct_runtime.process import DDPM, Process
from mrct_runtime.samplers.ddim import DenoisingImplicit
from mrct_runtime.samplers.dpmpp import MultistepDPM
from mrct_runtime.samplers.heun import Heun
from mrct_runtime.samplers.sigma_space import sigmas
from mrct_runtime.samplers.unipc import UnifiedPredictorCorrector


class At(NamedTuple):
    """A level: x_t ~ N(alpha x_0, std^2)."""

    alpha: float
    std: float

    @property
    def lam(self) -> float:
        """lambda = ln(alpha / std), half the log signal-to-noise ratio."""
        return math.log(self.alpha / self.std)

    def posterior(self, x: Path, m: Array, s2: Array) -> Path:
        """E[x_0 | x_t]."""
        gain = self.alpha * s2 / (self.alpha**2 * s2 + self.std**2)
        scaled = (1 / self.alpha) * x
        return scaled.toward(m, self.alpha * gain)


Sampler: TypeAlias = DenoisingImplicit | MultistepDPM | UnifiedPredictorCorrector | Heun


def levels(process: Process, sampler: Sampler) -> list[At]:
    count = sampler.levels if isinstance(sampler, Heun) else sampler.steps
    found = sigmas(process, count, sampler.grid, sampler.sigma_min)
    preserving = isinstance(process, DDPM)
    alphas = [1 / math.hypot(1.0, sigma) if preserving else 1.0 for sigma in found]
    return [At(alpha, alpha * sigma) for alpha, sigma in zip(alphas, found, strict=True)]


def start(at: At, m: Array, noises: int = 1) -> Path:
    return Path.prior(at.std, m.shape, noises)


def ddim_oracle(sampler: DenoisingImplicit, process: Process, m: Array, s2: Array) -> Modes:
    """Song, Meng & Ermon's equations 12 and 16; for VE the posterior's variance has their form with alpha = 1."""
    path = levels(process, sampler)
    x = start(path[0], m, len(path))
    for k, (a, b) in enumerate(pairwise(path), start=2):
        x0 = a.posterior(x, m, s2)
        eps = (1 / a.std) * (x - a.alpha * x0)
        if isinstance(process, DDPM):
            share = (1 - a.alpha**2 / b.alpha**2) / a.std**2
        else:
            share = (a.std**2 - b.std**2) / a.std**2
        variance = sampler.eta**2 * b.std**2 * share
        x = (b.alpha * x0 + math.sqrt(b.std**2 - variance) * eps).noisy(k, math.sqrt(variance))
    return path[-1].posterior(x, m, s2).modes


def dpmpp_oracle(sampler: MultistepDPM, process: Process, m: Array, s2: Array) -> Modes:
    """Lu et al. 2022b, equations 18 and 19 (2M), and the SDE's with e^-(1 + eta)h."""
    path = levels(process, sampler)
    x = start(path[0], m, len(path))
    known: list[Path] = []
    for k, (a, b) in enumerate(pairwise(path), start=2):
        known.append(a.posterior(x, m, s2))
        h, slope = b.lam - a.lam, known[-1]
        if len(known) > 1:
            r = (a.lam - path[k - 3].lam) / h
            slope = (1 + 1 / (2 * r)) * known[-1] - (1 / (2 * r)) * known[-2]
        decay, eta = math.exp(-sampler.eta * h), sampler.eta
        x = (b.std / a.std * decay) * x + (b.alpha * (1 - decay * math.exp(-h))) * slope
        x = x.noisy(k, b.std * math.sqrt(1 - math.exp(-2 * eta * h)))
    return path[-1].posterior(x, m, s2).modes


def heun_oracle(sampler: Heun, process: Process, m: Array, s2: Array) -> Modes:
    """x - m is multiplied by 1 + d (u + v (1 + d u)) / 2, u and v being sigma / (s^2 + sigma^2) at the ends of a step."""
    path = levels(process, sampler)
    ratios = [at.std / at.alpha for at in path]
    x, euler = (1 / path[0].alpha) * start(path[0], m), sampler.steps % 2 == 0
    for a, b in pairwise(ratios):
        u, v = a / (s2 + a**2), b / (s2 + b**2)
        step = 1 + (b - a) * u
        x = x.toward(m, step if euler else 1 + (b - a) * (u + v * step) / 2)
        euler = False
    return x.toward(m, s2 / (s2 + ratios[-1] ** 2)).modes


def unipc_oracle(
    sampler: UnifiedPredictorCorrector, process: Process, m: Array, s2: Array
) -> Modes:
    """Zhao et al. 2023, algorithms 5 and 6 for predicted data, the weights from R_p(h) a = phi_p(h) / B(h)."""
    path = levels(process, sampler)
    x = start(path[0], m)
    known = [path[0].posterior(x, m, s2)]
    for k, (a, b) in enumerate(pairwise(path)):
        h = b.lam - a.lam
        behind = [(path[k - 1].lam - a.lam) / h] if k else []
        past = [(1 / r) * (known[-2] - known[-1]) for r in behind]
        step = (b.std / a.std) * x + (-b.alpha * math.expm1(-h)) * known[-1]
        # the predictor of order 2 has the weight 1/2 (their footnote on UniP-2)
        ahead = step
        for change in past:
            ahead = ahead + (-b.alpha * math.expm1(-h) / 2) * change
        found = b.posterior(ahead, m, s2)
        changes, weights = [*past, found - known[-1]], _weights([*behind, 1.0], h)
        x = step
        for change, weight in zip(changes, weights, strict=True):
            x = x + (-b.alpha * math.expm1(-h) * weight) * change
        known.append(found)
    return known[-1].modes


def _weights(r: list[float], h: float) -> list[float]:
    """a of sum_m a_m r_m^n = integral_0^h e^(u - h) (u / h)^(n + 1) du / (1 - e^-h), n = 0..p-1; 1/2 for p = 1.

    That integral is what n! phi_(n+1) of the paper stands for, here by a quadrature that is exact to rounding.
    """
    if len(r) == 1:
        return [0.5]
    system = np.array([[ratio**n for ratio in r] for n in range(len(r))])
    nodes, shares = np.polynomial.legendre.leggauss(40)
    u = (nodes + 1) / 2
    moments = [
        float((shares / 2 * h * np.exp((u - 1) * h) * u ** (n + 1)).sum()) for n in range(len(r))
    ]
    solved: list[float] = np.linalg.solve(system, np.array(moments) / -math.expm1(-h)).tolist()
    return solved
