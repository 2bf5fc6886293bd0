"""Looks at a training: some validation slices translated by the runtime's own samplers, as a picture and in numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mrct_runtime.evaluation import metrics
from mrct_runtime.output_folder import not_writable
from mrct_runtime.process import DDPM, VESDE
from mrct_runtime.samplers import Sampler, sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.synthesis import synthesize
from mrct_train.config import TrainConfig
from mrct_train.data import Indices, Pairs
from mrct_train.torch_engine import TorchEngine

FOLDER: Final = "samples"
SLICES: Final = 4
STEPS: Final = 32
"""Network evaluations a sample: enough to see what is learnt, too few for a result."""
SAMPLES: Final = 2
"""Monte Carlo samples a slice, of a method that draws any."""

_SAMPLERS: Final[Mapping[str, str]] = MappingProxyType(
    {"ddpm": "ddpm", "sde": "em", "cnn": "direct", "wgan-gp": "direct"}
)


@dataclass(frozen=True, eq=False)
class SampleGrid:
    """The same few of the validation slices, in every epoch under the same noise; no generator of the training is touched."""

    config: TrainConfig
    pairs: Pairs
    validation: Indices
    run: Path

    def write(self, network: nn.Module, epoch: int) -> dict[str, float]:
        """The metrics of the translated slices; RUN/samples/epoch-00010.png shows them. Neither without validation slices."""
        if not len(self.validation):
            return {}
        chosen = spread(self.validation, SLICES)
        mr = self.pairs.batch(chosen)[1][:, 0]
        hu, body = self.pairs.measured(chosen)
        synthetic = self._translated(network, mr)
        path = self.run / FOLDER / f"epoch-{epoch:05d}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(mr, hu, synthetic, body, path)
        except OSError as error:
            raise not_writable(path, error) from error
        return scores(hu, synthetic, body)

    def _translated(self, network: nn.Module, mr: NDArray[np.float32]) -> NDArray[np.float64]:
        """The mean of each slice's samples in HU [S, N, N], averaged first, clamped after."""
        chosen = sampler_for(self.config)
        sampling = Sampling(
            chosen,
            mc=1 if chosen.evaluations == 1 else SAMPLES,
            seed=self.config.seed,
            batch=SLICES * SAMPLES,
            series="samples",
        )
        with _evaluating(network):
            moments = synthesize(TorchEngine(network), self.config.process, mr, sampling)
        return np.asarray(self.config.hu_window.to_hu(moments.mean.clip(0, 1)))


def sampler_for(config: TrainConfig) -> Sampler:
    """The sampler of the recipe's method, with as many of STEPS as its process takes."""
    process = config.process
    match process:
        case DDPM():
            options = {"steps": min(STEPS, process.steps)}
        case VESDE():
            # the last level is at 1 / steps, and the network knows none below t_min
            options = {"steps": max(1, min(STEPS, math.floor(1 / process.t_min)))}
        case _:
            options = {}
    return sampler(_SAMPLERS[config.method], options)


def spread(indices: Indices, count: int) -> Indices:
    """`count` of the indices or all, from the middle of as many equal parts."""
    count = min(count, len(indices))
    return indices[[(2 * k + 1) * len(indices) // (2 * count) for k in range(count)]]


def scores(
    hu: NDArray[np.floating], synthetic: NDArray[np.floating], body: NDArray[np.bool_]
) -> dict[str, float]:
    """Inside the body: mae_hu, and psnr and ssim as SynthRAD2023 has them on slices; means over those that have them."""
    limits = metrics.SYNTHRAD_2023
    each = {
        "mae_hu": [metrics.mae(*slices) for slices in zip(hu, synthetic, body, strict=True)],
        "psnr": [metrics.psnr(*slices, limits) for slices in zip(hu, synthetic, body, strict=True)],
        "ssim": [metrics.ssim(*slices, limits) for slices in zip(hu, synthetic, body, strict=True)],
    }
    finite = {name: [v for v in values if math.isfinite(v)] for name, values in each.items()}
    return {name: sum(values) / len(values) for name, values in finite.items() if values}


def draw(
    mr: NDArray[np.floating],
    hu: NDArray[np.floating],
    synthetic: NDArray[np.floating],
    body: NDArray[np.bool_],
    path: Path,
) -> None:
    """A PNG with a row a slice: MR, CT, its translation, and the error's size in the body, all [S, N, N]."""
    from mrct_runtime.evaluation.figures import drawing

    error = np.where(body, np.abs(synthetic - hu), 0.0)
    scale = drawing.Scale(0.0, 500.0, "magma")
    whole = drawing.Crop(0, mr.shape[1], 0, mr.shape[2])
    rows = [drawing.Row(whole, above=0.18 if s == 0 else 0.03, below=0.0) for s in range(len(mr))]
    figure, axes = drawing.panels(rows, 4)
    titles = ("MR", "CT", "translated", f"|error|, 0 to {scale.high:.0f} HU")
    for s, row in enumerate(axes):
        shown = (mr[s], hu[s], synthetic[s], error[s])
        scales = (drawing.bright(mr[s]), drawing.HU, drawing.HU, scale)
        for ax, image, limits, title in zip(row, shown, scales, titles, strict=True):
            drawing.show(ax, image, limits, title if s == 0 else "")
    drawing.save_images(figure, path)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, and afterwards every module in its own again."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
