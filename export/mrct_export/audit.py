"""What a network's values reach on the way of every sampler, and how far half precision takes its samples from float32.

Ranges are of the float32 network over whole trajectories. Differences are of the copy that rounds as a tensor core
would (`half_network(emulated=True)`): ONNX Runtime on a CPU computes half graphs in float32 between some layers and
would flatter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mrct_export.audit_slices import AuditSlices
from mrct_runtime.errors import NumericError, UsageError
from mrct_runtime.intensity import HuWindow
from mrct_runtime.manifest import Sampled
from mrct_runtime.process import Direct, Process
from mrct_runtime.samplers import Sampler, adapts, sampler
from mrct_runtime.synthesis import Sampling, synthesize
from mrct_train.torch_engine import TorchEngine
from mrct_train.unet import ResidualBlock, UNet

HALF_MAX: Final = 65504.0
MC: Final = 2
"""Samples a slice: enough for a deviation, as thousands of pixels have one."""
REPORTED_MC: Final = 10
"""Samples of the mean whose standard error is the measure, those of mrct-infer."""
MOST_STEPS: Final = 100
DIRECT_HU: Final = 1.0
"""The limit of a network that has no Monte Carlo error."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The evaluations that a sampler took, and its samples [S, MC, N, N]."""

    evaluations: int
    samples: NDArray[np.float64]


class Reach:
    """The largest magnitudes at the UNet's convolutions.

    Of each: its weights, what it takes, what it gives, and the sum that this becomes a part of. A block's first
    convolution answers for the sum with the time embedding, its second for the sum with the skip.
    """

    def __init__(self, unet: UNet) -> None:
        self.largest: dict[str, float] = {
            name: float(layer.weight.detach().abs().max())
            for name, layer in unet.named_modules()
            if isinstance(layer, nn.Conv2d)
        }
        self._unet = unet

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Looks at everything that the UNet computes meanwhile."""
        handles = list(self._hooks())
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self) -> Iterator[torch.utils.hooks.RemovableHandle]:
        for name, layer in self._unet.named_modules():
            match layer:
                case nn.Conv2d():
                    yield layer.register_forward_hook(self._looks(name, taken=True))
                case ResidualBlock():
                    yield layer.register_forward_hook(self._looks(f"{name}.conv2"))
                    yield layer.norm2.register_forward_hook(
                        self._looks(f"{name}.conv1", taken=True, given=False)
                    )
                    if layer.time is not None:
                        yield layer.time.register_forward_hook(self._looks(f"{name}.conv1"))
                case _:
                    continue

    def _looks(self, name: str, *, taken: bool = False, given: bool = True) -> Any:
        def look(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for tensor in (*(inputs if taken else ()), *((output,) if given else ())):
                met = float(tensor.detach().abs().max())
                # a NaN would compare as smaller
                self.largest[name] = (
                    max(self.largest[name], met) if np.isfinite(met) else float("inf")
                )

        return look


def trajectories(
    network: nn.Module,
    process: Process,
    presets: Mapping[str, Mapping[str, Any]],
    slices: AuditSlices,
    prior_mean: float,
) -> dict[str, Trajectory]:
    """Samples of every preset for the slices, with the same noise for every network."""
    return {
        name: _trajectory(network, process, _shortened(name, options, process), slices, prior_mean)
        for name, options in presets.items()
    }


def compared(
    whole: Mapping[str, Trajectory],
    half: Mapping[str, Trajectory],
    slices: AuditSlices,
    process: Process,
    window: HuWindow,
) -> dict[str, Sampled]:
    """How far each sampler's images lie apart, in HU inside the body."""
    return {name: _compared(whole[name], half[name], slices, process, window) for name in whole}


def check_sampled(sampled: Mapping[str, Sampled]) -> None:
    """NumericError for the first sampler whose images differ by more than their Monte Carlo error."""
    for name, found in sampled.items():
        if not found.difference_hu <= found.limit_hu:
            raise NumericError(
                f"half precision changes the samples of {name} by {found.difference_hu:.2g} HU, more than "
                f"{found.limit_hu:.2g} HU, the Monte Carlo error that is allowed; nothing was written, leave --fp16 out"
            )


def _trajectory(
    network: nn.Module, process: Process, built: Sampler, slices: AuditSlices, prior_mean: float
) -> Trajectory:
    direct = isinstance(process, Direct)
    mc = 1 if direct else MC
    samples = np.empty((len(slices.mr), mc, *slices.mr.shape[1:]))

    def keep(s: int, k: int, sample: Any) -> None:
        samples[s, k] = sample

    sampling = Sampling(built, mc=mc, batch=4, prior_mean=prior_mean, series="audit")
    moments = synthesize(TorchEngine(network), process, slices.mr, sampling, samples=keep)
    return Trajectory(round(moments.evaluations / (len(slices.mr) * mc)), samples)


def _compared(
    whole: Trajectory,
    half: Trajectory,
    slices: AuditSlices,
    process: Process,
    window: HuWindow,
) -> Sampled:
    inside = np.broadcast_to(slices.body[:, None], whole.samples.shape)
    difference = np.abs(half.samples - whole.samples)[inside].mean() * window.width
    limit = DIRECT_HU
    if not isinstance(process, Direct):
        deviation = whole.samples.std(axis=1, ddof=1)[slices.body].mean() * window.width
        limit = deviation / np.sqrt(REPORTED_MC)
    return Sampled(
        evaluations=whole.evaluations, difference_hu=float(difference), limit_hu=float(limit)
    )


def _shortened(name: str, options: Mapping[str, Any], process: Process) -> Sampler:
    """The preset, at most `MOST_STEPS` evaluations long where its length is its own choice and one level is that short."""
    built = sampler(name, options)
    if adapts(name) or built.evaluations <= MOST_STEPS:
        return built
    # eps belongs to the number of steps; without it a chain may end at times that the network was not trained at
    without_eps = {option: value for option, value in options.items() if option != "eps"}
    for steps in range(MOST_STEPS, 0, -1):
        for kept in (without_eps, options):
            with suppress(UsageError):
                shorter = sampler(name, {**kept, "steps": steps})
                shorter.check(process)
                return shorter
    return built


def kept_by_range(largest: Mapping[str, float], limit: float) -> Sequence[str]:
    """The convolutions whose values come too near to half's largest."""
    return tuple(name for name, met in largest.items() if met > limit)
