"""A study of any number of slices that need not be held to be written: a few slices again and again along the body.

Its first `PERIOD` slices, cut off as a study of their own, have the same normalisation as the whole, and so the same
condition; noise goes by the slice's place, so they have the same result too.
"""

import numpy as np
from dicom_study import make_grid, write_series

PERIOD = 8


class Repeated:
    """Slices uint16 [H, W] of an ellipse in the dark, with a pattern that moves from slice to slice, by their place."""

    def __init__(self, pixels):
        y, x = (axis / pixels for axis in np.ogrid[:pixels, :pixels])
        inside = ((y - 0.5) / 0.33) ** 2 + ((x - 0.5) / 0.42) ** 2 < 1
        self.slices = [
            # values in steps: the same share of the voxels has each of them, however many periods there are
            np.where(inside, 300 + 100 * ((8 * x + 5 * y + k / PERIOD) * 4 % 9).astype(int), 5 * k)
            for k in range(PERIOD)
        ]

    def __getitem__(self, place):
        return self.slices[place % PERIOD].astype(np.uint16)


def write_large_study(folder, slices, pixels):
    """The folder, holding one axial T2w series of so many slices of pixels x pixels, 1 x 0.7 x 0.7 mm."""
    grid = make_grid((slices, pixels, pixels), (1.0, 0.7, 0.7))
    write_series(folder, grid, Repeated(pixels))
    return folder
