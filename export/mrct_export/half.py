"""The network in mixed precision with the proof that it samples as in float32: which layers stay whole, how far it is off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from mrct_export.audit import (
    HALF_MAX,
    Reach,
    check_differences,
    compared,
    kept_by_range,
    trajectories,
)
from mrct_export.audit_slices import AuditSlices
from mrct_export.parity import Size, inputs, reference, relative_rms
from mrct_export.precision import half_network, unet_of
from mrct_runtime.errors import NumericError
from mrct_runtime.intensity import HuWindow
from mrct_runtime.manifest import Half, SelfTest
from mrct_runtime.process import Process

LIMIT: Final = 1e4
"""A convolution that meets larger values stays in float32: half ends at 65504, and other images reach further."""
GATE: Final = 2e-3
"""The largest relative RMS difference of a call."""
SELF_TEST: Final = SelfTest(relative_rms=5e-3)
"""Two and a half times the gate: engines sum in other orders; a wrong layer is off by 1e-1 and more."""
ENDS: Final = ("first", "last")
"""The convolutions whose rounding reaches the output most directly, and that cost next to nothing in float32."""


@dataclass(frozen=True, eq=False)
class MixedNetwork:
    """A network in mixed precision, ready for export, and what its bundle says of it."""

    network: nn.Module
    half: Half


def mixed_network(
    network: nn.Module,
    process: Process,
    presets: Mapping[str, Mapping[str, Any]],
    slices: AuditSlices,
    window: HuWindow,
    prior_mean: float,
    report: Callable[[str], None] = lambda _: None,
) -> MixedNetwork:
    """The network in mixed precision; NumericError where it would change a call or a sampled image by too much.

    In float32 stay the convolutions that meet values above `LIMIT` on the trajectory of any sampler; and the first and
    last one where the rest is more than `GATE` off without them.
    """
    unet = unet_of(network)
    report(f"auditing half precision: {', '.join(presets)} on {slices.source}")
    reach = Reach(unet)
    with reach.watching():
        whole = trajectories(network, process, presets, slices, prior_mean)
    kept = set(kept_by_range(reach.largest, LIMIT))
    times = tuple(np.linspace(process.t_min, process.t_max, 10).tolist())
    size = slices.mr.shape[1:]
    off = call_difference(network, kept, process, times, size)
    if off > GATE:
        kept |= set(ENDS)
        off = call_difference(network, kept, process, times, size)
    if not off <= GATE:
        raise NumericError(
            f"half precision changes a call by {off:.2g} (relative RMS), at most {GATE:g} passes; "
            "nothing was written, leave --fp16 out"
        )
    emulated = half_network(network, kept, emulated=True)
    halved = trajectories(emulated, process, presets, slices, prior_mean)
    differences = compared(whole, halved, slices, process, window)
    check_differences(differences)
    sampled = {name: found.sampled for name, found in differences.items()}
    for name, found in sampled.items():
        report(
            f"half precision changes samples of {name} by {found.difference_hu:.2g} HU, "
            f"below {found.limit_hu:.2g} HU, {differences[name].what}"
        )
    half = Half(
        kept=tuple(name for name in reach.largest if name in kept),
        margins={name: float(f"{HALF_MAX / met:.4g}") for name, met in reach.largest.items()},
        relative_rms=off,
        times=tuple(dict.fromkeys(times)),
        sampled=sampled,
        slices=slices.source,
        self_test=SELF_TEST,
    )
    return MixedNetwork(half_network(network, kept), half)


def call_difference(
    network: nn.Module,
    kept: Collection[str],
    process: Process,
    times: tuple[float, ...],
    size: Size,
) -> float:
    """The largest relative RMS difference of a call in emulated half precision, over the times; infinite for NaN."""
    emulated = half_network(network, kept, emulated=True)
    largest = 0.0
    for seed, t in enumerate(times):
        case = inputs(process, np.full(1, t), size, seed)
        off = relative_rms(reference(emulated, case), reference(network, case))
        largest = max(largest, off if np.isfinite(off) else float("inf"))
    return largest


def half_weights(network: nn.Module) -> int:
    """How many of the network's weights are in float16."""
    return sum(w.numel() for w in network.parameters() if w.dtype == torch.float16)
