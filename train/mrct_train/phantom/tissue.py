"""Tissues: magnetic relaxation at 3 T, X-ray attenuation, and how far each varies inside itself.

Relaxation times follow Stanisz et al. 2005 (Magn Reson Med 54:507; blood, nerve, cartilage), Gold et al. 2004 (AJR 183:343;
fat and marrow) and de Bazelaire et al. 2004 (Radiology 230:652; prostate, red marrow). Muscle's T2 lies between Gold's 32 ms and
Stanisz' 50 ms. The peripheral zone is set above and the transition zone about at the 74 ms that de Bazelaire gives for the whole prostate;
seminal vesicles, urine, stool and erectile tissue are chosen for their known contrast. Flowing blood has its PD lowered, for
the flow void. Cortical bone's T2 is below 1 ms (Reichert et al. 2005, Magn Reson Imaging 23:611). HU are those of a
120 kV planning CT; bone is in the range of Schneider et al. 2000 (Phys Med Biol 45:459).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Tissue(IntEnum):
    """What a voxel mostly is; the value stands in `Subject.labels`."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    CORTICAL = 4
    TRABECULAR = 5
    MARROW = 6
    CARTILAGE = 7
    URINE = 8
    WALL = 9
    PERIPHERAL_ZONE = 10
    TRANSITION_ZONE = 11
    SEMINAL_VESICLE = 12
    STOOL = 13
    GAS = 14
    VESSEL = 15
    NERVE = 16
    CAVERNOSUM = 17


@dataclass(frozen=True)
class Properties:
    """PD (water = 1), T1 and T2 in ms, HU; texture: relative deviation of the MR signal and deviation in HU.

    `streak` is the fraction of fat in the strands that run through the tissue.
    """

    pd: float
    t1: float
    t2: float
    hu: float
    mr_texture: float = 0.0
    hu_texture: float = 0.0
    streak: float = 0.0


PROPERTIES: dict[Tissue, Properties] = {
    Tissue.AIR: Properties(0.0, 1000.0, 1.0, -1000.0),
    Tissue.SKIN: Properties(0.70, 900.0, 30.0, 20.0, 0.05, 5.0),
    Tissue.FAT: Properties(0.90, 371.0, 133.0, -103.0, 0.05, 5.0),
    Tissue.MUSCLE: Properties(0.79, 1412.0, 42.0, 56.0, 0.10, 4.0, 0.35),
    Tissue.CORTICAL: Properties(0.12, 300.0, 1.0, 1150.0, 0.0, 90.0),
    Tissue.TRABECULAR: Properties(0.72, 440.0, 98.0, 205.0, 0.12, 55.0),
    Tissue.MARROW: Properties(0.86, 365.0, 133.0, 15.0, 0.06, 25.0),
    Tissue.CARTILAGE: Properties(0.72, 1168.0, 42.0, 85.0, 0.06, 8.0),
    Tissue.URINE: Properties(1.00, 3300.0, 900.0, 6.0, 0.0, 1.0),
    Tissue.WALL: Properties(0.80, 1400.0, 52.0, 42.0, 0.08, 4.0),
    Tissue.PERIPHERAL_ZONE: Properties(0.88, 1597.0, 150.0, 36.0, 0.12, 4.0),
    Tissue.TRANSITION_ZONE: Properties(0.84, 1500.0, 82.0, 42.0, 0.22, 5.0),
    Tissue.SEMINAL_VESICLE: Properties(0.92, 1700.0, 190.0, 22.0, 0.25, 5.0),
    Tissue.STOOL: Properties(0.60, 700.0, 62.0, 40.0, 0.25, 35.0),
    Tissue.GAS: Properties(0.0, 1000.0, 1.0, -950.0),
    Tissue.VESSEL: Properties(0.45, 1700.0, 50.0, 48.0, 0.10, 3.0),
    Tissue.NERVE: Properties(0.75, 1080.0, 70.0, 30.0, 0.08, 4.0),
    Tissue.CAVERNOSUM: Properties(0.90, 1600.0, 140.0, 40.0, 0.10, 4.0),
}
