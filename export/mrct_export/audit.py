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
from mrct_runtime.sampling import Sampling
from mrct_runtime.synthesis import synthesize
from mrct_train.attention import Attention
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


@dataclass(frozen=True, eq=False)
class Difference:
    """How far a sampler's images of the two precisions lie apart inside the body, and the limit [S], HU, slice by slice."""

    evaluations: int
    hu: NDArray[np.float64]
    limit: NDArray[np.float64]
    what: str
    """The limit, in words."""

    @property
    def sampled(self) -> Sampled:
        """The means over all slices, as a manifest has them."""
        return Sampled(
            evaluations=self.evaluations,
            difference_hu=float(self.hu.mean()),
            limit_hu=float(self.limit.mean()),
        )


class Reach:
    """The largest magnitudes at the UNet's convolutions.

    Of each: its weights and bias, what it takes, what it gives, and the sum that this becomes a part of. A block's first
    convolution answers for the sum with the time embedding, its second for the sum with the skip, and the projection of
    an attention for the sum with what it was added to.
    """

    def __init__(self, unet: UNet) -> None:
        self.largest: dict[str, float] = {
            name: max(float(numbers.detach().abs().max()) for numbers in layer.parameters())
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
                case Attention():
                    yield layer.register_forward_hook(self._looks(f"{name}.project"))
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
) -> dict[str, Difference]:
    """How far each sampler's images lie apart."""
    return {name: _compared(whole[name], half[name], slices, process, window) for name in whole}


def check_differences(differences: Mapping[str, Difference]) -> None:
    """NumericError for the first sampler and slice whose images differ by more than the limit, or that have none."""
    for name, found in differences.items():
        for s, (hu, limit) in enumerate(zip(found.hu.tolist(), found.limit.tolist(), strict=True)):
            if not limit > 0:
                raise NumericError(
                    f"the samples of {name} prove nothing about half precision: in slice {s + 1} of the audit they are "
                    "the same for every noise; nothing was written, train the network longer"
                )
            if not hu <= limit:
                raise NumericError(
                    f"half precision changes the samples of {name} by {hu:.2g} HU in slice {s + 1} of the audit, "
                    f"more than {limit:.2g} HU, {found.what}; nothing was written, leave --fp16 out"
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
    try:
        moments = synthesize(TorchEngine(network), process, slices.mr, sampling, samples=keep)
    except NumericError as error:
        # its own advice, the fp32 model, is for those who sample
        raise NumericError(
            f"samples of {built.name} for the audit of half precision are not finite; nothing was written, leave --fp16 out"
        ) from error
    return Trajectory(round(moments.evaluations / (len(slices.mr) * mc)), samples)


def _compared(
    whole: Trajectory,
    half: Trajectory,
    slices: AuditSlices,
    process: Process,
    window: HuWindow,
) -> Difference:
    apart = np.abs(half.samples - whole.samples).mean(axis=1)
    hu = _inside(apart, slices.body) * window.width
    if isinstance(process, Direct):
        limit, what = np.full(len(hu), DIRECT_HU), "which is allowed"
    else:
        deviation = whole.samples.std(axis=1, ddof=1)
        limit = _inside(deviation, slices.body) * window.width / np.sqrt(REPORTED_MC)
        what = "their Monte Carlo error"
    return Difference(whole.evaluations, hu, limit, what)


def _inside(images: NDArray[np.float64], body: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean inside the body of each image [S] of images [S, N, N]."""
    return np.array([image[mask].mean() for image, mask in zip(images, body, strict=True)])


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
