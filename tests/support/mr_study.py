"""A small MR study with something to see in it, and the model that copies it."""

import numpy as np
from dicom_study import make_grid, write_series

SHAPE = (5, 24, 24)


def blob(shape=SHAPE):
    """A smooth signal [S, H, W] that is different in every slice, row and column, and nowhere zero."""
    s, y, x = (np.linspace(0, 1, n) for n in shape)
    image = 400 + 500 * s[:, None, None] + 900 * y[None, :, None] ** 2 + 1200 * x[None, None, :]
    return image.astype(np.uint16)


def write_mr_study(folder, *, angles=(0, 0, 0), spacing=(3.0, 2.0, 2.0)):
    """The folder, holding one axial T2w series of `blob`."""
    write_series(folder, make_grid(SHAPE, spacing, angles), blob())
    return folder
