"""The share of a sampling loop that is spent outside the network, at 128 x 128, ten samples a batch.

The network is the paper's UNet of 26.12 M parameters with random weights, in ONNX Runtime on the CPU.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from machine import parser, report

from mrct_export.to_onnx import to_onnx
from mrct_runtime.arrays import Array, Denoiser, Time
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.graph import GRAPHS
from mrct_runtime.process import DDPM, VESDE
from mrct_runtime.samplers import SAMPLERS, Sampler
from mrct_runtime.samplers.ddim import DenoisingImplicit
from mrct_runtime.samplers.ddpm import Ancestral
from mrct_runtime.samplers.dpmpp import MultistepDPM
from mrct_runtime.samplers.em import EulerMaruyama
from mrct_runtime.samplers.heun import Heun
from mrct_runtime.samplers.ode import ProbabilityFlow
from mrct_runtime.samplers.pc import PredictorCorrector
from mrct_runtime.samplers.unipc import UnifiedPredictorCorrector
from mrct_runtime.sampling import Sampling
from mrct_runtime.synthesis import synthesize
from mrct_train.network import Network
from mrct_train.unet import UNetConfig

# Random weights make a rough flow: a loose tolerance keeps the ODE to a few steps. The cost of a step is the same.
LOOPS: dict[str, Sampler] = {
    "ddpm": Ancestral(8),
    "em": EulerMaruyama(8),
    "pc": PredictorCorrector(8),
    "ode": ProbabilityFlow(rtol=1e3, atol=1e3),
    "ddim": DenoisingImplicit(8),
    "dpmpp": MultistepDPM(8),
    "heun": Heun(8),
    "unipc": UnifiedPredictorCorrector(8),
}


class Stopwatch:
    """Takes the time inside the network, and counts its evaluations."""

    def __init__(self) -> None:
        self.seconds, self.evaluations = 0.0, 0

    def __call__(self, denoise: Denoiser) -> Denoiser:
        def eps(x: Array, t: Time) -> Array:
            started = time.perf_counter()
            found = denoise(x, t)
            self.seconds += time.perf_counter() - started
            self.evaluations += 1
            return found

        return eps


def paper_network() -> bytes:
    """The paper's UNet with random weights, its last layers not zero as in a fresh net."""
    torch.manual_seed(0)
    network = Network(UNetConfig(), VESDE())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return to_onnx(network, GRAPHS["eps"], UNetConfig().multiple).dumps()


def main() -> None:
    arguments = parser(__doc__ or "").parse_args()
    engine = OnnxRuntime(paper_network())
    cond = np.random.default_rng(0).random((1, 128, 128))
    figures = {}
    for name, sampler in LOOPS.items():
        process = DDPM() if DDPM in SAMPLERS[name].families else VESDE()
        network = Stopwatch()
        started = time.perf_counter()
        synthesize(
            WrappedEngine(engine, network), process, cond, Sampling(sampler, mc=10, batch=10)
        )
        total = time.perf_counter() - started
        share = 1 - network.seconds / total
        figures[name] = {
            "evaluations": network.evaluations,
            "seconds_an_evaluation": round(network.seconds / network.evaluations, 3),
            "share_outside_the_network": round(share, 5),
        }
        print(
            f"{name:5} {network.evaluations:3} evaluations, {share:.2%} of the time outside the network"
        )
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
