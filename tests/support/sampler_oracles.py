"""Closed forms that the samplers are held against: analytic denoisers, and what each sampler makes of Gaussian data.

An oracle follows mean and variance of Gaussian modes with prior N(0, std(1)^2) through a sampler's linear steps.
Modes are pixels, or the Fourier coefficients of a stationary field.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gaussian_modes import Modes
from sigma_oracles import ddim_oracle, dpmpp_oracle, heun_oracle, unipc_oracle

from mrct_runtime.arrays import Array, Denoiser, Time
from mrct_runtime.engines.analytic import schedule
from mrct_runtime.process import DDPM, VESDE, Direct, Process
from mrct_runtime.samplers import SAMPLERS
from mrct_runtime.samplers.ddpm import Ancestral
from mrct_runtime.samplers.direct import OneEvaluation
from mrct_runtime.samplers.em import EulerMaruyama
from mrct_runtime.samplers.ode import ProbabilityFlow
from mrct_runtime.samplers.pc import PredictorCorrector
from mrct_runtime.samplers.predictors import PREDICTORS, uniform_levels

PROCESSES: dict[type[Any], Process] = {VESDE: VESDE(), DDPM: DDPM(), Direct: Direct()}

PAIRS = [(name, PROCESSES[family]) for name in SAMPLERS for family in SAMPLERS[name].families]
"""Every sampler with every process that it serves."""


def predict(modes: Modes, m: Array, s2: Array, std: float, step: tuple[float, float]) -> None:
    gain, deviation = step
    pull = gain * std / (s2 + std**2)
    modes.affine(1 - pull, pull * m, deviation)


def em_oracle(sampler: EulerMaruyama, process: VESDE, m: Array, s2: Array) -> Modes:
    modes = Modes(np.zeros_like(m), np.full_like(m, process.std(1.0) ** 2))
    levels = uniform_levels(process, sampler.steps, sampler.eps, sampler.predictor)
    for k, (t, t_next) in enumerate(levels):
        gain, deviation = PREDICTORS[sampler.predictor](process, t, t_next)
        last = k == len(levels) - 1
        predict(modes, m, s2, process.std(t), (gain, 0.0 if last else deviation))
    return modes


def pc_oracle(sampler: PredictorCorrector, process: VESDE, m: Array, s2: Array) -> Modes:
    modes = Modes(np.zeros_like(m), np.full_like(m, process.std(1.0) ** 2))
    levels = uniform_levels(process, sampler.levels, sampler.eps, sampler.predictor)
    for k, (t, t_next) in enumerate(levels):
        total = s2 + process.std(t) ** 2
        for _ in range(sampler.correctors):
            score2 = float(np.mean((modes.variance + (modes.mean - m) ** 2) / total**2))
            e = 2 * sampler.snr**2 / score2
            modes.affine(1 - e / total, e * m / total, math.sqrt(2 * e))
        gain, deviation = PREDICTORS[sampler.predictor](process, t, t_next)
        last = k == len(levels) - 1
        predict(modes, m, s2, process.std(t), (gain, 0.0 if last else deviation))
    return modes


def ode_oracle(sampler: ProbabilityFlow, process: VESDE, m: Array, s2: Array) -> Modes:
    modes = Modes(np.zeros_like(m), np.full_like(m, process.std(1.0) ** 2))
    shrink = np.sqrt((s2 + process.std(sampler.eps) ** 2) / (s2 + process.std(1.0) ** 2))
    modes.affine(shrink, (1 - shrink) * m)
    if sampler.denoise:
        keep = s2 / (s2 + process.std(sampler.eps) ** 2)
        modes.affine(keep, (1 - keep) * m)
    return modes


def ddpm_oracle(sampler: Ancestral, process: DDPM, m: Array, s2: Array) -> Modes:
    """Ho et al.'s mean in its other form (x - beta / sqrt(1 - abar) eps) / sqrt(alpha), so nothing is shared."""
    modes = Modes(np.zeros_like(m), np.full_like(m, process.std(1.0) ** 2))
    for level in process.respaced(sampler.steps):
        root = math.sqrt(level.abar)
        on_x = math.sqrt(1 - level.abar) / (level.abar * s2 + 1 - level.abar)
        weight = level.beta / math.sqrt(1 - level.abar)
        variance = level.beta
        if sampler.variance == "fixed-small":
            variance *= (1 - level.abar_prev) / (1 - level.abar)
        alpha = math.sqrt(1 - level.beta)
        last = level.abar_prev == 1
        modes.affine(
            (1 - weight * on_x) / alpha,
            weight * on_x * root * m / alpha,
            0.0 if last else math.sqrt(variance),
        )
    return modes


def direct_oracle(sampler: OneEvaluation, process: Direct, m: Array, s2: Array) -> Modes:
    """The mean, of which nothing is left to vary."""
    return Modes(m, np.zeros_like(s2))


ORACLES: dict[str, Callable[[Any, Any, Array, Array], Modes]] = {
    "ddpm": ddpm_oracle,
    "em": em_oracle,
    "pc": pc_oracle,
    "ode": ode_oracle,
    "ddim": ddim_oracle,
    "dpmpp": dpmpp_oracle,
    "heun": heun_oracle,
    "unipc": unipc_oracle,
    "direct": direct_oracle,
}


def mixture_denoiser(
    process: Process, weights: tuple[float, ...], means: tuple[float, ...], s: float
) -> Denoiser:
    """eps(x, t) where every pixel is drawn from sum_i w_i N(m_i, s^2)."""

    def eps(x: Array, t: Time) -> Array:
        alpha, std = schedule(process, t, x)
        total = alpha**2 * s**2 + std**2
        offsets = np.stack([x - alpha * m for m in means])
        logs = np.log(weights).reshape(-1, 1, 1, 1, 1) - offsets**2 / (2 * total)
        posterior = np.exp(logs - logs.max(axis=0))
        posterior /= posterior.sum(axis=0)
        result: Array = std * (posterior * offsets).sum(axis=0) / total
        return result

    return eps


def field_denoiser(process: Process, power: Array, mean: float) -> Denoiser:
    """eps(x, t) for a stationary Gaussian field whose orthonormal Fourier modes have variance `power` [H, W]."""

    def eps(x: Array, t: Time) -> Array:
        alpha, std = schedule(process, t, x)
        modes = np.fft.fft2(x.astype(np.float64) - alpha * mean, norm="ortho")
        filtered = std * modes / (alpha**2 * power + std**2)
        return np.fft.ifft2(filtered, norm="ortho").real

    return eps


def smooth_power(size: int, s: float, length: float) -> Array:
    """A Gaussian power spectrum [size, size] whose field has deviation s and correlation length in pixels."""
    f = np.fft.fftfreq(size)
    shape = np.exp(-2 * (np.pi * length) ** 2 * (f[:, None] ** 2 + f[None, :] ** 2)) + 1e-3
    return s**2 * shape / shape.mean()
