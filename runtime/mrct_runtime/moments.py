"""Mean and deviation of samples that come one by one and are not kept."""

from __future__ import annotations

from mrct_runtime.arrays import Array


class Running:
    """Welford's recurrence over images of one shape, in float64, on the device of the images.

    mean_n = mean_{n-1} + (x_n - mean_{n-1}) / n and M_n = M_{n-1} + (x_n - mean_{n-1})(x_n - mean_n); the deviation is
    sqrt(M_n / (n - 1)) (Welford 1962, "Note on a method for calculating corrected sums of squares and products").
    """

    def __init__(self) -> None:
        self._n = 0
        self._mean: Array
        self._m2: Array

    def add(self, x: Array) -> None:
        """Takes the next image in."""
        x = x.astype("float64")
        self._n += 1
        if self._n == 1:
            self._mean, self._m2 = x, 0 * x
            return
        difference = x - self._mean
        self._mean = self._mean + difference / self._n
        self._m2 = self._m2 + difference * (x - self._mean)

    @property
    def mean(self) -> Array:
        """The mean of the images so far, float64."""
        return self._mean

    @property
    def std(self) -> Array:
        """Their deviation with ddof 1, float64; 0 of one image."""
        std: Array = (self._m2 / max(self._n - 1, 1)) ** 0.5
        return std
