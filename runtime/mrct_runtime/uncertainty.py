"""Which deviation a result carries: that of its samples, or what the bundle's recalibration makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.evaluation.recalibration import Recalibration
from mrct_runtime.sampling import Sampling


@dataclass(frozen=True)
class Uncertainty:
    """The recalibration that a run applies, or None for a raw deviation, and why; a `warning` where that may surprise."""

    recalibration: Recalibration | None
    why: str
    warning: str | None = None

    @classmethod
    def of(
        cls, fitted: Mapping[str, Recalibration], sampler: str, sampling: Sampling, *, raw: bool
    ) -> Uncertainty:
        """The recalibration fitted for this very sampling, unless the raw deviation is asked for."""
        recalibration = fitted.get(sampler)
        if recalibration is None:
            return cls(None, f"the bundle has no recalibration for sampler {sampler}")
        if raw:
            return cls(None, "raw as asked for")
        options = asdict(cast("Any", sampling.sampler))
        differences = ", ".join(_differences(recalibration, options, sampling))
        if not differences:
            return cls(recalibration, "fitted for this sampler with these options and samples")
        why = f"the bundle's recalibration for sampler {sampler} is for {differences}"
        return cls(None, why, f"{why}: the uncertainty map is raw; take those settings")

    @classmethod
    def warm(cls, fitted: Mapping[str, Recalibration], sampler: str, *, raw: bool) -> Uncertainty:
        """None: a recalibration is for samples that start from pure noise."""
        why = "samples that start from another network's image have no recalibration"
        surprising = sampler in fitted and not raw
        return cls(None, why, f"{why}: the uncertainty map is raw" if surprising else None)

    def apply(
        self, mean_hu: NDArray[Any], std_hu: NDArray[Any], body: NDArray[np.bool_]
    ) -> NDArray[Any]:
        """The deviation in HU that the result carries, from that of its samples."""
        if self.recalibration is None:
            return std_hu
        return self.recalibration.apply(mean_hu, std_hu, body)


def _differences(
    fitted: Recalibration, options: Mapping[str, Any], sampling: Sampling
) -> Iterator[str]:
    """What it was fitted for where this run has something else."""
    if (sampling.least, sampling.mc) != (fitted.mc, fitted.mc):
        mc = str(sampling.mc) if sampling.stopping is None else f"{sampling.least}..{sampling.mc}"
        yield f"mc {fitted.mc}, not {mc}"
    if sampling.branch_at is not None or sampling.antithetic:
        yield "independent samples"
    if fitted.prior_mean != sampling.prior_mean:
        yield f"samples that start around {fitted.prior_mean:g}, not {sampling.prior_mean:g}"
    for name in sorted(fitted.options.keys() | options.keys()):
        if fitted.options.get(name) != options.get(name):
            yield f"{name} {fitted.options.get(name)}, not {options.get(name)}"
