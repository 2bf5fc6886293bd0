"""Finished slices onto the MR's own grid, each as soon as it is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.finished import Finished
from mrct_runtime.intensity import AIR_HU, HuWindow
from mrct_runtime.scratch import IN_MEMORY, Scratch, let_go_at_times
from mrct_runtime.uncertainty import Uncertainty
from mrct_runtime.volume import Volume


class Placing:
    """Mean and deviation in HU, float32 on the MR's grid, complete when every slice of the model's grid was placed.

    The model's slices are those of the canonical MR (`model_grid`), so that a slice of one makes a slice of the other, and
    the MR's own order of axes is a view. Averaged first, clamped after. Both lie in the scratch.
    """

    def __init__(
        self,
        body: Volume,
        source: Volume,
        window: HuWindow,
        uncertainty: Uncertainty,
        scratch: Scratch = IN_MEMORY,
    ) -> None:
        grid = source.grid
        self.mean_hu, self.std_hu = (
            Volume(scratch.empty(grid.shape, np.float32), grid) for _ in range(2)
        )
        self._mean, self._std = (
            grid.canonically(volume.array) for volume in (self.mean_hu, self.std_hu)
        )
        self._canonical = grid.canonical()
        self._body, self._window, self._uncertainty = body, window, uncertainty

    def place(self, finished: Finished) -> None:
        """Takes a slice in, its values in units of the network."""
        s, window = finished.place, self._window
        mean = self._resampled(s, window.to_hu(finished.mean.clip(0, 1)), fill=AIR_HU)
        std = self._resampled(s, finished.std * window.width, fill=0.0)
        self._mean[s] = mean
        self._std[s] = self._uncertainty.apply(mean, std, self._inside(s))
        let_go_at_times(s, self._mean, self._std, self._body.array)

    def _resampled(self, s: int, image: NDArray[np.float64], *, fill: float) -> NDArray[np.float32]:
        """An image of model slice s on the MR's slice, float32 [H, W]."""
        volume = Volume(image.astype(np.float32)[None], self._body.grid.at(s))
        found: NDArray[np.float32] = volume.resample(self._canonical.at(s), fill=fill).array[0]
        return found

    def _inside(self, s: int) -> NDArray[np.bool_]:
        """The body on the MR's slice: a recalibration was fitted there, on the grid that users are given."""
        body = Volume(self._body.array[s : s + 1].astype(np.uint8), self._body.grid.at(s))
        inside = body.resample(self._canonical.at(s), fill=0, order=0).array[0] == 1
        return np.asarray(inside)
