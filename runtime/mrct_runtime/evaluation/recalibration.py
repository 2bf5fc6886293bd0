"""A recalibration: what turns the deviation of a sampler's samples into one that the error keeps to.

It belongs to a network, a sampler with its options and a number of samples, and is stored in the bundle. This module
imports nothing of the manifest, which holds the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mrct_runtime.evaluation.tissue import TISSUES, tissues

WHOLE: Final = "all"
"""The one key of a recalibration that does not ask for the tissue."""

Option: TypeAlias = bool | int | float | str | None
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Scale(_Value):
    """std' = sqrt((factor std)^2 + floor_hu^2): the floor stands where the samples agree and are wrong alike."""

    factor: Annotated[float, Field(ge=0)]
    floor_hu: Annotated[float, Field(ge=0)]

    def apply(self, std_hu: NDArray[Any]) -> NDArray[Any]:
        """std' in HU, of the same shape and type."""
        return np.asarray(np.hypot(self.factor * std_hu, self.floor_hu), dtype=std_hu.dtype)


class Recalibration(_Value):
    """A scale for the whole body (key "all"), or one for each tissue, and what it was fitted on.

    `coverage` is nominal -> the share of the fitted voxels inside that interval, before and after, as (before, after).
    """

    options: dict[str, Option]
    """Of the sampler, all of them."""
    mc: Annotated[int, Field(ge=2)]
    prior_mean: float
    """That the samples started around; the published recipes start around 0."""
    scales: dict[str, Scale]
    data: Annotated[str, Field(min_length=1)]
    subjects: Annotated[int, Field(ge=1)]
    subjects_sha256: tuple[Sha256, ...]
    """Digests of the fitted subjects, one for every choice of views of each: on them the coverage is too good."""
    slices: Annotated[int, Field(ge=1)]
    coverage: dict[str, tuple[Share, Share]]

    @model_validator(mode="after")
    def _is_complete(self) -> Recalibration:
        if set(self.scales) not in ({WHOLE}, set(TISSUES)):
            met = ", ".join(sorted(self.scales)) or "none"
            raise ValueError(f"scales must be for {WHOLE!r} or for {', '.join(TISSUES)}; got {met}")
        return self

    def serves(self, options: Mapping[str, Any], mc: int, prior_mean: float) -> bool:
        """True for the sampling that it was fitted for; any other has another deviation."""
        fitted = (self.options, self.mc, self.prior_mean)
        return (dict(options), mc, prior_mean) == fitted

    def apply(
        self, mean_hu: NDArray[Any], std_hu: NDArray[Any], body: NDArray[np.bool_]
    ) -> NDArray[Any]:
        """std' in HU, of the shape and type of std; the tissue is the mean's. Outside the body std as it is."""
        if set(self.scales) == {WHOLE}:
            return np.where(body, self.scales[WHOLE].apply(std_hu), std_hu)
        result = std_hu.copy()
        for name, where in tissues(mean_hu).items():
            chosen = where & body
            result[chosen] = self.scales[name].apply(std_hu[chosen])
        return result
