"""PNG pairs whose CT is known from the MR: with the tiny bundle's network every score has a known expectation.

The MR takes the grey values 50 + 40 k and the CT 51 k, k = 0..5, in blocks: normalised, both are k / 5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage.io import imsave

WHITE_HU = 3071.0
SIDE = 32


def blocks(seed: int, side: int = SIDE) -> np.ndarray:
    """k [side, side] in blocks of 4 x 4; enough of 0 and 5 for the percentiles of the normalisation."""
    rng = np.random.default_rng(seed)
    k = rng.integers(1, 5, (side // 4, side // 4))
    k.flat[rng.permutation(k.size)[:4]] = [0, 5, 0, 5]
    return np.kron(k, np.ones((4, 4), int))


def write_pairs(folder: Path, names=("A1", "A2", "B1"), views=("axial",), *, mask=True) -> Path:
    """Subjects with a picture a view, and the table that says what the CT's grey values mean."""
    lines = ["subject,view,estimated_HU_at_255"]
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for offset, view in enumerate(views):
            k = blocks(10 * number + offset)
            _save(folder / name / f"mri_{view}.png", 50 + 40 * k)
            _save(folder / name / f"ct_{view}.png", 51 * k)
            if mask:
                inside = np.zeros(k.shape, int)
                inside[4:-4, 6:-4] = 255
                _save(folder / name / f"mask_{view}.png", inside)
            lines.append(f"{name},{view},{WHITE_HU}")
    (folder / "ct_scale.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def _save(path: Path, grey: np.ndarray) -> None:
    imsave(path, grey.astype(np.uint8), check_contrast=False)
