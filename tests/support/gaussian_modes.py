"""Independent Gaussian modes under the linear steps of a sampler."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrct_runtime.arrays import Array


@dataclass
class Modes:
    """Mean and variance of independent Gaussian modes under linear maps."""

    mean: Array
    variance: Array

    def affine(self, scale: Array | float, shift: Array | float, deviation: float = 0.0) -> None:
        """x <- scale x + shift + deviation z."""
        self.mean = scale * self.mean + shift
        self.variance = scale**2 * self.variance + deviation**2


@dataclass(frozen=True)
class Path:
    """Modes as sums over noises: row 0 is the mean, row k the deviation by the k-th noise [1 + noises, ...].

    Unlike a variance it tells how a state and an earlier one belong together, as multistep samplers need.
    """

    rows: Array

    @classmethod
    def prior(cls, std: float, shape: tuple[int, ...], noises: int) -> Path:
        """std z with the first noise; the others are not met yet."""
        rows = np.zeros((1 + noises, *shape))
        rows[1] = std
        return cls(rows)

    def __add__(self, other: Path) -> Path:
        return Path(self.rows + other.rows)

    def __sub__(self, other: Path) -> Path:
        return Path(self.rows - other.rows)

    def __rmul__(self, factor: Array | float) -> Path:
        return Path(factor * self.rows)

    def toward(self, m: Array, factor: Array | float) -> Path:
        """m + factor (x - m)."""
        rows = factor * self.rows
        rows[0] += (1 - factor) * m
        return Path(rows)

    def noisy(self, k: int, deviation: float) -> Path:
        """With deviation z of the k-th noise added."""
        rows = self.rows.copy()
        rows[k] += deviation
        return Path(rows)

    @property
    def modes(self) -> Modes:
        """Mean and variance, the noises being independent."""
        return Modes(self.rows[0], (self.rows[1:] ** 2).sum(axis=0))
