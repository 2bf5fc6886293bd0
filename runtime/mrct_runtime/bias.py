"""The slow change of an MR's signal over the image that coils and field make, estimated and divided out (N4)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.errors import NumericError
from mrct_runtime.itk import simple_itk
from mrct_runtime.volume import Volume

# The field is smooth: voxels of this size show it, and take a hundredth of the time.
COARSE_MM: Final = 6.0
# N4 fits cubic splines, which need so many samples along an axis.
_FEWEST: Final = 8
_ITERATIONS: Final = (40, 30, 20)


def corrected(mr: Volume, mask: NDArray[np.bool_]) -> Volume:
    """mr / field with the field of N4 (Tustison et al. 2010) inside the mask [S, H, W], float32.

    Outside the mask the field, which is extrapolated there, is held to its range inside. Needs SimpleITK.
    """
    field = np.exp(_logarithm_of_field(mr, mask))
    if not np.isfinite(field[mask]).all():
        raise NumericError('N4 found no bias field in this MR; set bias_correction to "none"')
    field = np.clip(field, field[mask].min(), field[mask].max())
    return Volume((mr.array / field).astype(np.float32), mr.grid)


def _logarithm_of_field(mr: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[S, H, W]; a single slice is corrected as a picture."""
    itk = simple_itk("bias correction")
    flat = len(mr.array) == 1
    spacing = [float(mm) for mm in mr.grid.spacing_mm[::-1]]

    def image(array: NDArray[Any]) -> Any:
        made = itk.GetImageFromArray(array[0] if flat else array)
        made.SetSpacing(spacing[:2] if flat else spacing)
        return made

    whole, inside = image(mr.array.astype(np.float32)), image(mask.astype(np.uint8))
    factors = [
        max(1, min(round(COARSE_MM / mm), n // _FEWEST))
        for mm, n in zip(whole.GetSpacing(), whole.GetSize(), strict=True)
    ]
    n4 = itk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(_ITERATIONS)
    # sums in another order would make another field on another machine
    n4.SetNumberOfThreads(1)
    n4.Execute(itk.Shrink(whole, factors), itk.Shrink(inside, factors))
    field = itk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(whole))
    return np.asarray(field[None] if flat else field, dtype=np.float32)
