"""Painting an anatomy: per slice the noise-free MR signal, the HU and the tissue that fills most of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

from mrct_train.phantom.tissue import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mrct_train.phantom.anatomy import Anatomy
    from mrct_train.phantom.fields import Field
    from mrct_train.phantom.shapes import Box

# What is under the skin stays this far (mm) below the surface.
_SKIN = 2.4


@dataclass(frozen=True)
class Paint:
    """Signal and HU of a tissue, the deviation of its texture, and what a strand of fat in it adds, as Python floats."""

    signal: float
    hu: float
    signal_texture: float
    hu_texture: float
    signal_strand: float
    hu_strand: float


@dataclass(frozen=True, eq=False)
class Textures:
    """Three random fields: fine grain, coarse clouds, and the one whose zero crossings are strands of fat."""

    fine: Field
    coarse: Field
    strands: Field

    def planes(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Texture of deviation about 1 and strands in [0, 1], both [H, W]."""
        pixel = abs(float(x[1] - x[0])) if len(x) > 1 else 1.0
        grain = min(1.0, self.fine.spacing[1] / pixel)
        texture = 0.6 * grain * self.fine.plane(x, y, z) + 0.8 * self.coarse.plane(x, y, z)
        strands = self._strands(x, y, z) * np.clip(0.6 + self.coarse.plane(x, y, z + 300), 0, 1)
        return texture.astype(np.float32), strands.astype(np.float32)

    def _strands(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: float
    ) -> NDArray[np.float32]:
        """1 on thin sheets along the fibres, which run sideways and forwards on both sides, 0 elsewhere."""
        layer = self.strands.layer(z)
        side = np.abs(x)[None, :]
        along = (0.88 * side - 0.47 * y[:, None]) / self.strands.spacing[2]
        across = (0.47 * side + 0.88 * y[:, None]) / self.strands.spacing[1]
        values = map_coordinates(layer, (across, along), order=3, prefilter=False, mode="grid-wrap")
        sheets: NDArray[np.float32] = np.exp(-((values / np.float32(0.2)) ** 2))
        return sheets


@dataclass(frozen=True, eq=False)
class Canvas:
    """One painted slice: signal and hu [H, W] float32, labels [H, W] uint8."""

    signal: NDArray[np.float32]
    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]


def paint_slice(
    anatomy: Anatomy,
    paints: dict[Tissue, Paint],
    textures: Textures,
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
    z: float,
) -> Canvas:
    """The slice at z of the pixels at columns axes[0] [W] and rows axes[1] [H], each band over what lies below it.

    A pixel's coverage by a band is 1/2 - distance / pixel size, clipped to [0, 1]: the area of a square pixel behind a
    straight edge along its axes, which is the partial volume.
    """
    x, y = axes
    u, v, height = anatomy.body_coordinates(x, y, z)
    margin = _furthest(u, v, anatomy.scale, axes)
    grain = textures.planes(x, y, z)
    pixel = np.float32(x[1] - x[0]) if len(x) > 1 else np.float32(1)
    inside = np.zeros(u.shape, np.float32)
    canvas = _blank(u.shape, paints[Tissue.AIR])
    for layer in anatomy.layers:
        box = layer.shape.bounds(height)
        if box is None:
            continue
        window = _window(box, anatomy.scale, axes, margin)
        shape = u[window].shape
        if 0 in shape:
            continue
        distance = layer.shape.distance(u[window].ravel(), v[window].ravel(), height).reshape(shape)
        if layer.shape is anatomy.envelope:
            inside[window] = _coverage(distance + np.float32(_SKIN), pixel)
        for band in layer.bands:
            cover = _coverage(distance - np.float32(band.at(height)), pixel)
            if layer.enclosed:
                cover = cover * inside[window]
            _lay(canvas, window, cover, paints[band.tissue], grain)
            canvas.labels[window][cover > 0.5] = band.tissue
    return canvas


def _blank(shape: tuple[int, ...], air: Paint) -> Canvas:
    """An empty slice."""
    return Canvas(
        np.full(shape, air.signal, np.float32),
        np.full(shape, air.hu, np.float32),
        np.zeros(shape, np.uint8),
    )


def _lay(
    canvas: Canvas,
    window: tuple[slice, slice],
    cover: NDArray[np.float32],
    paint: Paint,
    grain: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """Lays a tissue over the window, each pixel mixed with what it covers only in part."""
    texture, strands = grain[0][window], grain[1][window]
    signal = paint.signal + paint.signal_texture * texture + paint.signal_strand * strands
    hu = paint.hu + paint.hu_texture * texture + paint.hu_strand * strands
    canvas.signal[window] += cover * (signal - canvas.signal[window])
    canvas.hu[window] += cover * (hu - canvas.hu[window])


def _coverage(distance: NDArray[np.float32], pixel: np.float32) -> NDArray[np.float32]:
    """The part of each pixel, in [0, 1], that lies inside."""
    cover: NDArray[np.float32] = np.clip(np.float32(0.5) - distance / pixel, 0, 1)
    return cover


def _furthest(
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    scale: tuple[float, float, float],
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> float:
    """How far (mm) the warp takes any point of the slice, with room for the outermost band."""
    x, y = axes
    sideways = np.abs(u * np.float32(scale[0]) - x[None, :]).max()
    backwards = np.abs(v * np.float32(scale[1]) - y[:, None]).max()
    return float(max(sideways, backwards)) + 6.0


def _window(
    box: Box,
    scale: tuple[float, float, float],
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
    margin: float,
) -> tuple[slice, slice]:
    """Rows and columns that may hold a shape whose box is given in body coordinates."""
    x, y = axes
    columns = np.searchsorted(x, (box[0] * scale[0] - margin, box[1] * scale[0] + margin))
    rows = np.searchsorted(y, (box[2] * scale[1] - margin, box[3] * scale[1] + margin))
    return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))
