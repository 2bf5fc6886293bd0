"""What happens inside the body while a study is sampled, counted slice by slice."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.finished import Finished
from mrct_runtime.result import Counters
from mrct_runtime.scratch import slices
from mrct_runtime.stopping import standard_error
from mrct_runtime.synthesis import Work

# Gas lies at the window's lower end, where noise of a few HU crosses it and says nothing.
MARGIN: Final = 0.01


class Counting:
    """Counts over the slices of a study whose body is [S, H, W]; complete when every slice was counted."""

    def __init__(self, body: NDArray[np.bool_]) -> None:
        self._body = body
        self._below = self._above = 0
        self._samples = np.zeros(len(body), int)
        self._errors = np.zeros(len(body))

    def count(self, finished: Finished) -> None:
        """Takes a slice in, its values in units of the network."""
        s, body = finished.place, self._body[finished.place]
        inside = finished.mean[body]
        self._below += int(np.count_nonzero(inside < -MARGIN))
        self._above += int(np.count_nonzero(inside > 1 + MARGIN))
        self._samples[s] = finished.count
        if inside.size and finished.count > 1:
            self._errors[s] = standard_error(float(finished.std[body].mean()), finished.count)

    def counters(self, work: Work, hu_width: float, *, independent: bool) -> Counters:
        """Of all slices; standard errors in HU where the samples of a slice are several and independent."""
        errors = tuple(round(float(error) * hu_width, 3) for error in self._errors)
        return Counters(
            evaluations=work.evaluations,
            batch=work.batch,
            body_voxels=sum(int(np.count_nonzero(image)) for image in slices(self._body)),
            below_window=self._below,
            above_window=self._above,
            samples=tuple(self._samples.tolist()),
            standard_error_hu=errors if independent else None,
        )
