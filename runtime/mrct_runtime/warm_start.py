"""Warm starts: samples that begin at a direct network's image with some noise (Chung et al. 2022, come-closer-diffuse-faster).

Of a pixel N(m, s^2) that starts at N(c, sigma_0^2), an exact probability-flow ODE makes the deviation
s sigma_0 / sqrt(s^2 + sigma_0^2), and an exact reverse SDE s sigma_0 sqrt(2 s^2 + sigma_0^2) / (s^2 + sigma_0^2). Of c - m it
leaves the fractions s / sqrt(s^2 + sigma_0^2) and s^2 / (s^2 + sigma_0^2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import UsageError
from mrct_runtime.process import Direct, Process
from mrct_runtime.samplers.checks import check_positive
from mrct_runtime.sampling import Guess
from mrct_runtime.started_process import started

WIDTHS: Final = 4.0
"""sigma_0 in deviations of the CT: the ODE then keeps at least 4 / sqrt(17) = 97 % of any pixel's spread."""


@dataclass(frozen=True)
class Started:
    """Where samples began: a direct bundle, and the noise over its image as sigma = std / alpha and as the network's t."""

    bundle: str
    bundle_sha256: str
    sigma: float
    t: float

    def __str__(self) -> str:
        return f"the image of {self.bundle} with noise of sigma {self.sigma:.3g}, t = {self.t:.3g}"


@dataclass(frozen=True, eq=False)
class WarmStart:
    """The direct network that samples start from, and the noise sigma_0 = std / alpha that is laid over its image.

    `sigma` is by default four times the deviation of the training's CT, in which a pixel's own cannot be wider.
    """

    bundle: Bundle
    sigma: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.bundle.process, Direct):
            raise UsageError(
                f"a warm start needs a direct network (CNN, WGAN-GP), {self.bundle.manifest.name} is none: "
                "give another --warm-start"
            )
        if self.sigma is not None:
            check_positive("warm_sigma", self.sigma)

    def process(self, bundle: Bundle) -> Process:
        """The network's process from sigma_0 on; UsageError where the two networks do not see the same images."""
        mine, its = _sees(self.bundle), _sees(bundle)
        for name in mine:
            if mine[name] != its[name]:
                raise UsageError(
                    f"{self.bundle.manifest.name} cannot start {bundle.manifest.name}: its {name} is {mine[name]}, "
                    f"not {its[name]}; take networks that were trained on the same slices"
                )
        widest = WIDTHS * bundle.manifest.training.deviation
        return started(bundle.process, widest if self.sigma is None else self.sigma)

    def record(self, bundle: Bundle) -> Started:
        """What a report says of it."""
        process = self.process(bundle)
        t = process.t_max
        return Started(
            self.bundle.manifest.name, self.bundle.sha256, process.std(t) / process.alpha(t), t
        )

    @contextmanager
    def open(self, target: Target, tell: Callable[[str], None] = lambda _: None) -> Iterator[Guess]:
        """The direct network's image of a condition, as long as the block lasts; `tell` as of `Bundle.open_engine`."""
        t = self.bundle.process.t_max
        with closing(self.bundle.open_engine(target, tell)) as engine:
            device = engine.device

            def image(condition: NDArray[np.float32]) -> NDArray[np.float32]:
                with device.running():
                    y = device.xp.asarray(condition)
                    return device.to_host(engine.bind(y)(y, t))

            yield image


def _sees(bundle: Bundle) -> dict[str, Any]:
    """What must be the same of two networks for the image of one to be a state of the other."""
    manifest = bundle.manifest
    return {
        "size": manifest.image.size,
        "spacing in mm": manifest.image.spacing_mm,
        "MR normalisation": manifest.mr_normalisation,
        "HU window": manifest.hu_window,
    }
