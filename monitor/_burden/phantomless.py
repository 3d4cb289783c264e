"""The HU scale of a scan against what air, fat and muscle should measure: a calibration without a phantom.

Published phantomless calibrations (Bone 2017;103:325; PLoS ONE 2022;17:e0273203) fit a line through tissues of the
scan itself. The line mends a scale that is drawn out or squeezed; what calcium measures at a voltage stays the nominal
factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from scipy import ndimage

from monitor.types import Anatomy, Findings, Scan

ENERGIES_KEV = (50.0, 60.0, 80.0)
"""Photon energies of the attenuations below, keV."""

WATER_CM2_PER_G = (0.2269, 0.2059, 0.1837)
"""Mass attenuation of water at them, cm²/g (NIST, Hubbell and Seltzer, table 4)."""

FAT_CM2_PER_G, FAT_G_PER_CM3 = (0.2123, 0.1974, 0.1800), 0.95
"""Adipose tissue of ICRU-44: mass attenuation at them (NIST, table 4) and density (table 2)."""

MUSCLE_CM2_PER_G, MUSCLE_G_PER_CM3 = (0.2262, 0.2048, 0.1823), 1.05
"""Skeletal muscle of ICRU-44, likewise."""

EFFECTIVE_KEV: dict[float, float] = {70.0: 50.0, 80.0: 55.0, 100.0: 62.0, 120.0: 68.0, 135.0: 73.0}
"""Effective energy by kV: 68 keV at 120 kV; elsewhere where the HU of ICRU-44's cortical bone rise over those at 68 keV
as Graeni's rows do over that of 120 kV."""

AIR_REFERENCE_HU = -1000.0
"""HU of air by the definition of the scale."""

AIR_SD_HU, FAT_SD_HU, MUSCLE_SD_HU = 5.0, 20.0, 10.0
"""SDs by which they differ from their reference: scatter in air; fat with 10 to 36 % of water (kinds of Woodard and
White 1986, -58 to -103 HU); muscle with fat or oedema in it."""

SLOPE_SD = 0.010
"""SD of the slope that these make, relative; the noise of the peaks is far below it."""

MOST_SDS = 3.0
"""Where the three lie farther than this off their line, in SDs, one is not what it was taken for."""

FAT_HU, MUSCLE_HU, AIR_HU = (-150.0, -30.0), (0.0, 110.0), (-1500.0, -900.0)
"""Where they are looked for, HU."""

CLIPPED_HU = -1023.0
"""At or below this air is the floor of a 12 bit scale, or a filling."""

WIDEST_HU = 40.0
"""Widest interval that may hold half of a tissue's voxels, HU: wider is no peak but a mixture (of an even spread over
the window of fat it is 60)."""

LEAST_MM3 = 1000.0
"""Least volume of a tissue that is asked, mm³."""

AWAY_MM = 2.0
"""Least distance of it, mm, in its slice, from bone, lesions, metal, contrast medium and all else that is dense. To the
skin there is none: a child's fat may be 4 mm thick, and squares over an edge are not even."""

AIR_AWAY_MM = 10.0
"""Least distance of air from the body, mm."""

EVEN = 1.5
"""A square of 3 x 3 voxels belongs to one tissue where its SD is at most this many times the noise ..."""

EVEN_LEAST_HU = 10.0
"""... or this, HU."""

STEP_MM = 6.0
"""Of slices nearer than this one is measured, mm."""

RULE = (
    "HU-scale:line-through-air(-1000)+fat+muscle(ICRU-44,NIST@50/55/62/68/73keV-for-70/80/100/120/135kV,"
    "SD=5/20/10HU),middle-of-shortest-half>=1cm3"
)
"""All that is needed to repeat the slope, beside the names above."""


@dataclass(frozen=True)
class Tissues:
    """What air, fat and muscle measure, HU; NaN where there is too little of one, or no peak."""

    air: float = nan
    fat: float = nan
    muscle: float = nan


def references(kvp: float) -> Tissues:
    """Return what air, fat and muscle should measure at a voltage; all NaN where its energy is not known.

    >>> known = references(120.0)
    >>> known.air, round(known.fat), round(known.muscle)
    (-1000.0, -81, 43)
    >>> round(references(80.0).fat), references(140.0).fat
    (-100, nan)
    """
    energy = EFFECTIVE_KEV.get(float(kvp))
    if energy is None:
        return Tissues()
    water = _attenuation(energy, WATER_CM2_PER_G)
    fat, muscle = (
        1000 * (density * _attenuation(energy, of) / water - 1)
        for density, of in ((FAT_G_PER_CM3, FAT_CM2_PER_G), (MUSCLE_G_PER_CM3, MUSCLE_CM2_PER_G))
    )
    return Tissues(AIR_REFERENCE_HU, fat, muscle)


def slope(found: Tissues, kvp: float) -> float:
    """Return by how much differences of HU are to be multiplied, so that the tissues measure what they should.

    A weighted line through the three; NaN where one was not measured, the voltage has no energy, or they lie too far
    off it.

    >>> known = references(120.0)
    >>> squeezed = Tissues(*(0.9 * hu - 20 for hu in (known.air, known.fat, known.muscle)))
    >>> round(slope(squeezed, 120.0), 6)
    1.111111
    >>> slope(Tissues(-1000.0, nan, 55.0), 120.0), slope(squeezed, nan)
    (nan, nan)
    """
    known = references(kvp)
    x, y = (np.array([each.air, each.fat, each.muscle]) for each in (found, known))
    if not np.isfinite([x, y]).all():
        return nan
    sds = np.array([AIR_SD_HU, FAT_SD_HU, MUSCLE_SD_HU])
    steep, level = np.polyfit(x, y, 1, w=1 / sds)
    off = np.linalg.norm((steep * x + level - y) / sds)
    return float(steep) if off <= MOST_SDS else nan


def measured(scan: Scan, anatomy: Anatomy, findings: Findings) -> Tissues:
    """Measure air outside the body, and even fat and muscle within it, away from all that is dense.

    Tissues are told from the means of small even squares; the peak is the middle of the shortest interval that holds
    half of them. Air is the median, which clipping at the scale's floor does not move.
    """
    apart = max(1, int(STEP_MM / scan.spacing_zyx_mm[0]))
    hu, body = scan.array[::apart].astype(np.float32), anatomy.body[::apart]
    imaged = np.ones(hu.shape, bool) if scan.imaged is None else scan.imaged[::apart]
    dense = anatomy.skeleton[::apart] | anatomy.left_out[::apart] | (findings.labels[::apart] > 0)
    if findings.left_out is not None:
        dense |= findings.left_out[::apart] > 0
    voxel_mm3 = scan.voxel_volume_mm3 * apart
    pixel_mm = scan.spacing_zyx_mm[1:]
    outside = imaged & ~_near(body | ~imaged, AIR_AWAY_MM, pixel_mm)
    means = _even(hu, imaged & body & ~_near(dense, AWAY_MM, pixel_mm), anatomy.noise_hu)
    return Tissues(_air(hu[outside], voxel_mm3), _peak(means, FAT_HU, voxel_mm3), _peak(means, MUSCLE_HU, voxel_mm3))


def _attenuation(energy_kev: float, of: tuple[float, ...]) -> float:
    """Return a mass attenuation between the energies of the table, on a doubly logarithmic scale."""
    return float(np.exp(np.interp(np.log(energy_kev), np.log(ENERGIES_KEV), np.log(of))))


def _near(mask: np.ndarray, reach_mm: float, pixel_mm: np.ndarray) -> np.ndarray:
    """Return what lies within a square around the mask in its slice, (z, y, x) bool."""
    reach = np.ceil(reach_mm / pixel_mm).astype(int)
    wide = mask.astype(np.uint8)
    for axis, voxels in enumerate(reach.tolist(), start=1):
        wide = ndimage.maximum_filter1d(wide, 2 * voxels + 1, axis=axis, mode="nearest")
    return np.asarray(wide > 0)


def _even(hu: np.ndarray, where: np.ndarray, noise_hu: float) -> np.ndarray:
    """Return the means of the squares of 3 x 3 voxels around those asked for that hold one tissue."""
    mean = ndimage.uniform_filter(hu, (1, 3, 3))
    variance = ndimage.uniform_filter(hu * hu, (1, 3, 3)) - mean * mean
    limit = max(EVEN * noise_hu, EVEN_LEAST_HU) if np.isfinite(noise_hu) else EVEN_LEAST_HU
    return np.asarray(mean[where & (variance <= limit**2)])


def _peak(values: np.ndarray, window_hu: tuple[float, float], voxel_mm3: float) -> float:
    """Return the middle of the shortest interval that holds half of a window's values; NaN where none stands out."""
    own = np.sort(values[(values >= window_hu[0]) & (values <= window_hu[1])])
    held = len(own) // 2
    if len(own) * voxel_mm3 < LEAST_MM3 or held < 1:
        return nan
    widths = own[held:] - own[: len(own) - held]
    start = int(np.argmin(widths))
    return float(np.median(own[start : start + held + 1])) if widths[start] <= WIDEST_HU else nan


def _air(values: np.ndarray, voxel_mm3: float) -> float:
    """Return the median of air; NaN where it is too little, or lies at the floor of the scale."""
    own = values[(values >= AIR_HU[0]) & (values <= AIR_HU[1])]
    middle = float(np.median(own)) if len(own) * voxel_mm3 >= LEAST_MM3 else nan
    return middle if middle > CLIPPED_HU else nan
