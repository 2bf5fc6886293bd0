"""Air, soft tissue and bone, told apart by their Hounsfield units."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

AIR_BELOW_HU: Final = -200.0
BONE_ABOVE_HU: Final = 250.0
TISSUES: Final = ("air", "soft", "bone")


def tissues(hu: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    """Where each tissue is, of the image's shape: air < -200 HU <= soft <= 250 HU < bone; every voxel is one of them."""
    air, bone = hu < AIR_BELOW_HU, hu > BONE_ABOVE_HU
    return {"air": air, "soft": ~(air | bone), "bone": bone}
