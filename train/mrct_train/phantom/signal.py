"""From tissue to image: the T2w turbo spin echo signal, the coil, the noise of both scanners."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from mrct_train.phantom.render import Paint
from mrct_train.phantom.tissue import PROPERTIES, Properties, Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mrct_train.phantom.fields import Field


@dataclass(frozen=True)
class Appearance:
    """How strongly the images depart from the bare signal equation and HU; `plain()` has none of it."""

    texture: float = 1.0
    spread: float = 1.0
    bias: float = 0.22
    mr_noise: float = 0.007
    ct_noise: float = 9.0
    ct_blur_mm: float = 0.7

    @classmethod
    def plain(cls) -> Appearance:
        """Signal equation and tabulated HU, with partial volume only."""
        return cls(texture=0.0, spread=0.0, bias=0.0, mr_noise=0.0, ct_noise=0.0, ct_blur_mm=0.0)


@dataclass(frozen=True)
class Sequence:
    """A turbo spin echo: TR and effective TE in ms, echo train length, counts for a signal of 1."""

    tr: float
    te: float
    echo_train: int
    gain: float


def random_sequence(rng: np.random.Generator) -> Sequence:
    """A prostate T2w protocol: TR 4000 to 6000 ms, TE 90 to 110 ms; the gain is the scanner's own."""
    return Sequence(
        tr=float(rng.integers(400, 601) * 10),
        te=float(rng.integers(90, 111)),
        echo_train=int(rng.integers(15, 26)),
        gain=float(rng.uniform(900, 2600)),
    )


def signal(tissue: Properties, sequence: Sequence) -> float:
    """S = PD (1 - exp(-TR / T1)) exp(-TE / T2), the spin echo signal for TR >> TE."""
    return tissue.pd * (1 - math.exp(-sequence.tr / tissue.t1)) * math.exp(-sequence.te / tissue.t2)


def paints(
    sequence: Sequence,
    appearance: Appearance,
    rng: np.random.Generator,
    other_hu: np.random.Generator | None = None,
) -> dict[Tissue, Paint]:
    """The paint of every tissue for one subject; T2, PD and HU vary between subjects by a few per cent.

    With `other_hu` the HU, which the MR does not depend on, are drawn from it and all else stays.
    """
    drawn = {tissue: rng.normal(0, 1, 3) for tissue in PROPERTIES}
    if other_hu is not None:
        for by in drawn.values():
            by[2] = other_hu.normal()
    own = {
        tissue: _vary(properties, appearance.spread * np.clip(drawn[tissue], -2, 2))
        for tissue, properties in PROPERTIES.items()
    }
    fat, texture = own[Tissue.FAT], appearance.texture
    result = {}
    for tissue, properties in own.items():
        bright, strand = signal(properties, sequence), properties.streak * min(1.0, texture)
        result[tissue] = Paint(
            signal=bright,
            hu=properties.hu,
            signal_texture=properties.mr_texture * texture * bright,
            hu_texture=properties.hu_texture * texture,
            signal_strand=strand * (signal(fat, sequence) - bright),
            hu_strand=strand * (fat.hu - properties.hu),
        )
    return result


def _vary(tissue: Properties, by: NDArray[np.float64]) -> Properties:
    """The tissue of one subject: PD, T2 and HU moved by so many standard deviations between men."""
    pd, t2, hu = map(float, by)
    # bone density differs between men by 8 %, soft tissue by a few HU; air is air
    deviation = 0.08 * tissue.hu if tissue.hu > 100 else 3.0 if tissue.pd > 0 else 0.0
    return replace(
        tissue,
        pd=tissue.pd * (1 + 0.02 * pd),
        t2=tissue.t2 * (1 + 0.05 * t2),
        hu=tissue.hu + deviation * hu,
    )


def coil(bias: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """exp(strength * field) [H, W]: the receive sensitivity of an array coil after the scanner's own correction."""
    sensitivity: NDArray[np.float32] = np.exp(np.float32(strength) * bias)
    return sensitivity


def mr_counts(
    clean: NDArray[np.float32], sequence: Sequence, noise: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Scanner counts [H, W]: the magnitude of the signal with complex Gaussian noise (Rician), times the gain."""
    if noise > 0:
        real, imaginary = noise * rng.standard_normal((2, *clean.shape), dtype=np.float32)
        clean = np.hypot(clean + real, imaginary)
    counts: NDArray[np.uint16] = np.clip(np.rint(clean * sequence.gain), 0, 4095).astype(np.uint16)
    return counts


def ct_numbers(
    hu: NDArray[np.float32], spacing: float, appearance: Appearance, rng: np.random.Generator
) -> NDArray[np.int16]:
    """HU [H, W] with the scanner's blur and noise, whose grain the reconstruction kernel makes 1 mm wide."""
    if appearance.ct_blur_mm > 0:
        hu = gaussian_filter(hu, appearance.ct_blur_mm / spacing)
    if appearance.ct_noise > 0:
        width = 0.7 / spacing
        grain = gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), width)
        hu = hu + np.float32(appearance.ct_noise) * grain / max(float(grain.std()), 1e-6)
    numbers: NDArray[np.int16] = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return numbers


def bias_plane(
    field: Field, x: NDArray[np.float64], y: NDArray[np.float64], z: float
) -> NDArray[np.float32]:
    """The coil's field [H, W]: brighter near the front and the back, plus a smooth random part."""
    surface = 0.9 * ((y - 8.0) / 115.0) ** 2 - 0.3
    random = field.plane(x, y, z)
    return (0.6 * random + surface[:, None]).astype(np.float32)
