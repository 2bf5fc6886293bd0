"""From rows (slice, sample) to samples: noise, prior, condition and the sampler's loop on the engine's device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array
from mrct_runtime.branching import Branching, Keys
from mrct_runtime.denoisers import Counted
from mrct_runtime.engines import Engine
from mrct_runtime.errors import DeviceMemoryError
from mrct_runtime.noise import Noise
from mrct_runtime.process import Process
from mrct_runtime.rows import Rows
from mrct_runtime.sampling import Sampling

# A state is one image, the network's widest layers are some dozens.
_BATCHES_THAT_PART = 32


@dataclass(frozen=True, eq=False)
class Drawing:
    """How rows become samples."""

    engine: Engine
    process: Process
    cond: Array
    sampling: Sampling
    names: Sequence[int]

    def together(self, batch: int) -> int:
        """The rows that are drawn together where `batch` go through the network at once.

        Samples that part are those of a slice, whatever the batch, so that they share one way; but not so many that their
        states take more memory than the network.
        """
        if self.sampling.branch_at is None:
            return batch
        return min(self.sampling.mc, _BATCHES_THAT_PART * batch)

    def draw_if_it_fits(self, rows: Rows, batch: int) -> tuple[Array | None, int]:
        """As `draw`; None where memory is too small for such a batch, DeviceMemoryError where it is one image."""
        try:
            return self.draw(rows, batch)
        except (DeviceMemoryError, MemoryError) as error:
            if batch > 1:
                return None, 0
            height, width = self.cond.shape[1:]
            raise DeviceMemoryError(
                f"{self.engine.device.name} has too little memory for one image of {height} x {width}"
            ) from error

    def draw(self, rows: Rows, batch: int) -> tuple[Array, int]:
        """Samples [B, H, W] of these rows on the engine's device, and the images that went through the network."""
        if self.sampling.branch_at is None:
            return self._apart(rows)
        slices = [list(of_slice) for _, of_slice in groupby(rows, key=itemgetter(0))]
        drawn = [self._branched(of_slice, self.sampling.branch_at, batch) for of_slice in slices]
        together = self.engine.device.xp.concatenate([samples for samples, _ in drawn])
        return together, sum(images for _, images in drawn)

    def _apart(self, rows: Rows) -> tuple[Array, int]:
        """Each row with noise of its own from the prior on."""
        noise = self._noise(self._keys(rows), 0)
        denoise = Counted(self.engine.bind(self._images([s for s, _ in rows])))
        x = self._prior(noise, [s for s, _ in rows])
        drawn = self.sampling.sampler(denoise, self.process, x, noise)
        return drawn[:, 0], denoise.images

    def _branched(self, rows: Rows, at: float, batch: int) -> tuple[Array, int]:
        """Rows of one slice that share the way down to time `at`."""
        image = self._images([rows[0][0]])
        ways = Branching(self.engine, image, self._keys(rows), self._noise, at, batch)
        x = self._prior(ways.noise, [rows[0][0]])
        drawn = self.sampling.sampler(ways.denoise, self.process, x, ways.noise)
        return drawn[:, 0], ways.images

    def _images(self, slices: Sequence[int]) -> Array:
        """The condition [B, 1, H, W] on the device."""
        images: Array = self.engine.device.xp.asarray(self._given(slices))
        return images

    def _given(self, slices: Sequence[int]) -> NDArray[np.float32]:
        """The condition [B, 1, H, W] on the host."""
        given: NDArray[np.float32] = self.cond[list(slices), None].astype(np.float32)
        return given

    def _keys(self, rows: Rows) -> Keys:
        return [(self.names[s], k) for s, k in rows]

    def _noise(self, keys: Keys, first: int) -> Noise:
        sampling, shape = self.sampling, self.cond.shape[1:]
        normals, antithetic = self.engine.device.normals, sampling.antithetic
        return Noise(
            sampling.seed, sampling.series, keys, shape, normals, first, antithetic=antithetic
        )

    def _prior(self, noise: Callable[[], Array], slices: Sequence[int]) -> Array:
        t, centre = self.process.t_max, self._centre(slices)
        x: Array = self.process.alpha(t) * centre + self.process.std(t) * noise()
        return x

    def _centre(self, slices: Sequence[int]) -> Array | float:
        """What the prior lies around; a guess is made once of each slice."""
        if self.sampling.guess is None:
            return self.sampling.prior_mean
        each, places = np.unique(slices, return_inverse=True)
        centre: Array = self.engine.device.xp.asarray(
            self.sampling.guess(self._given(each.tolist()))[places]
        )
        return centre
