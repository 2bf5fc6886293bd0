"""Whether the exported graph computes what the trained network computes, at the bounds of everything it will be given.

Two float32 implementations of one network differ by rounding only. Over some hundred layers that is about 1e-6 of the
output's RMS; a wrong operator, weight or layout shows at 1e-3 and more. The gate stands between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from mrct_runtime.arrays import Array, on_host
from mrct_runtime.engines import Engine
from mrct_runtime.errors import NumericError
from mrct_runtime.golden import Golden
from mrct_runtime.graph import GRAPHS, Parametrisation, parametrisation
from mrct_runtime.manifest import Image, Parity
from mrct_runtime.process import Process

Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Gate:
    """What parity has to meet, all relative to the RMS of the reference sample."""

    relative_rms: float = 1e-5
    relative_max: float = 1e-4
    """One pixel may lie some ten deviations out."""
    response: float = 1e-3
    """The least change of the output on another MR: a hundred times the gate, so that an error cannot hide."""


@dataclass(frozen=True, eq=False)
class Case:
    """An input of the network: x, y [B, 1, H, W], t [B], in float32; a direct network takes y alone."""

    x: Array
    y: Array
    t: Array
    gives: Parametrisation

    @property
    def inputs(self) -> dict[str, Array]:
        """What the network takes, in order."""
        return {tensor.name: getattr(self, tensor.name) for tensor in GRAPHS[self.gives].inputs}


@dataclass(frozen=True)
class Plan:
    """The cases that are compared: every time with every batch and every size, and the trained size once."""

    times: tuple[float, ...]
    batches: tuple[int, ...]
    sizes: tuple[Size, ...]
    full_size: Size

    @classmethod
    def of(cls, process: Process, image: Image) -> Plan:
        """t in {t_min, .5, 1}, of a direct network 1; batches of 1, 3 and 10; a square and a wide image."""
        side = _multiple_from(64, image.multiple)
        times = tuple(dict.fromkeys(_times(process, 0.5)))
        return cls(times, (1, 3, 10), ((side, side), _wide(image)), (image.size, image.size))

    def __iter__(self) -> Iterator[tuple[float, int, Size]]:
        for size in self.sizes:
            for batch in self.batches:
                for t in self.times:
                    yield t, batch, size
        yield self.times[len(self.times) // 2], 1, self.full_size


def inputs(process: Process, times: Array, size: Size, seed: int) -> Case:
    """x = alpha x_0 + std z for a CT x_0 and an MR y of soft blobs in [0, 1]; the same for the same seed."""
    rng = np.random.default_rng(seed)
    batch = len(times)
    x_0, y = _blobs(rng, batch, size), _blobs(rng, batch, size)
    alpha = np.array([process.alpha(t) for t in times.tolist()]).reshape(-1, 1, 1, 1)
    std = np.array([process.std(t) for t in times.tolist()]).reshape(-1, 1, 1, 1)
    x = alpha * x_0 + std * rng.standard_normal((batch, 1, *size))
    gives = parametrisation(process)
    return Case(x.astype(np.float32), y.astype(np.float32), times.astype(np.float32), gives)


def reference(network: nn.Module, case: Case) -> Array:
    """The output [B, 1, H, W], float32, as PyTorch computes it on the CPU."""
    with torch.inference_mode():
        output = network(*(torch.from_numpy(array) for array in case.inputs.values()))
    out: Array = output.numpy()
    return out


def golden(network: nn.Module, process: Process, image: Image) -> Golden:
    """The self-test of a bundle: a batch of four, over times from t_min to 1, on a wide image."""
    case = inputs(process, np.array(_times(process, 0.1, 0.5)), _wide(image), seed=2)
    return Golden(case.gives, case.inputs, reference(network, case))


def measure(network: nn.Module, engine: Engine, process: Process, plan: Plan) -> Parity:
    """The largest differences between the network and its graph in `engine` over the plan's cases.

    NumericError where the graph's output is not finite: a NaN would compare as smaller.
    """
    rms, peak = 0.0, 0.0
    for seed, (t, batch, size) in enumerate(plan):
        case = inputs(process, np.full(batch, t), size, seed)
        expected = reference(network, case)
        denoise = engine.bind(case.y)
        found = on_host(denoise(case.x, t))
        if not np.isfinite(found).all():
            raise NumericError(
                f"the ONNX graph gives values that are not finite at t = {t:g}, {batch} images of "
                f"{size[0]} x {size[1]}; nothing was written"
            )
        rms = max(rms, relative_rms(found, expected))
        largest = np.abs(found - expected).max(axis=(1, 2, 3))
        peak = max(peak, float((largest / _rms(expected)).max()))
    return Parity(
        relative_rms=rms,
        relative_max=peak,
        response=response(network, process, plan),
        times=plan.times,
        batches=plan.batches,
        sizes=(*plan.sizes, plan.full_size),
        reference=f"torch {torch.__version__}",
        engine=engine.backend.engine,
    )


def relative_rms(found: Array, expected: Array) -> float:
    """The largest RMS of a difference [B, 1, H, W] over that of the expected image; NaN where one is not finite."""
    return float((_rms(found - expected) / _rms(expected)).max())


def response(network: nn.Module, process: Process, plan: Plan) -> float:
    """The largest relative RMS change over the plan's times when the MR is replaced; 0 for an output of zeros.

    The MR reaches the output only through the UNet, so an untrained UNet, whose last convolution is zero, gives 0
    even where the preconditioning adds a part of x.
    """
    largest = 0.0
    for t in plan.times:
        case = inputs(process, np.array([t]), plan.sizes[0], seed=0)
        other = replace(case, y=inputs(process, np.array([t]), plan.sizes[0], seed=1).y)
        output = reference(network, case)
        if scale := float(_rms(output).max()):
            largest = max(largest, float(_rms(reference(network, other) - output).max()) / scale)
    return largest


def check(parity: Parity, gate: Gate) -> None:
    """NumericError where the figures do not pass the gate, or would not mean anything."""
    if not parity.response >= gate.response:
        raise NumericError(
            f"parity would prove nothing: another MR changes the output by {parity.response:.2g} only "
            f"(relative RMS, {gate.response:.2g} is needed); train the network first"
        )
    for name in ("relative_rms", "relative_max"):
        met, limit = getattr(parity, name), getattr(gate, name)
        if not met <= limit:
            raise NumericError(
                f"the ONNX graph differs from the network: {name} {met:.2g}, at most {limit:.2g} passes; "
                "nothing was written"
            )


def _times(process: Process, *between: float) -> tuple[float, ...]:
    """t_min, those between and t_max; as many times t_max where the process has no other."""
    return (process.t_min, *(max(t, process.t_min) for t in between), process.t_max)


def _wide(image: Image) -> Size:
    """A small size of unequal sides, which shows an exchange of rows and columns."""
    height = _multiple_from(32, image.multiple)
    return height, height + image.multiple


def _multiple_from(least: int, multiple: int) -> int:
    return -(-least // multiple) * multiple


def _rms(images: Array) -> Array:
    """Root mean square of each image [B], in float64."""
    out: Array = np.sqrt(np.square(images.astype(np.float64)).mean(axis=(1, 2, 3)))
    return out


def _blobs(rng: np.random.Generator, batch: int, size: Size) -> Array:
    """Images [B, 1, H, W] in [0, 1]: a sum of six waves of random direction and phase."""
    rows, columns = (np.arange(n) / 32 for n in size)
    frequency = rng.uniform(-3, 3, (2, 6, batch, 1, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, (6, batch, 1, 1, 1))
    waves = np.sin(frequency[0] * rows[:, None] + frequency[1] * columns + phase)
    out: Array = 0.5 + waves.mean(axis=0) / 2
    return out
