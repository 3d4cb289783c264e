"""Calcium scores of one lesion by the rules of the field: Agatston and its variants, and what is counted beside them.

All work on the scan's own HU within the lesion and its border. They are thresholded and stepped, so that blur, noise
and slices move them: they are there to match what a site's program prints. Change is judged by volume and excess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

AGATSTON_ROWS_HU: dict[float, tuple[float, float, float, float]] = {
    70.0: (207.0, 318.0, 477.0, 636.0),
    80.0: (177.0, 271.0, 408.0, 544.0),
    100.0: (145.0, 222.0, 334.0, 446.0),
    120.0: (130.0, 200.0, 300.0, 400.0),
    135.0: (119.0, 183.0, 274.0, 364.0),
}
"""From which HU a region weighs 1, 2, 3 and 4, by kV: Agatston 1990 at 120 kV, Graeni 2018 elsewhere."""

AGATSTON_KVP = 120.0
"""The voltage that the original weights are for, kV; an unknown voltage is taken for it (the contract's rule, which
``comparable_why`` names), a known one without a row has no score."""

AGATSTON_AREA_MM2 = 1.0
"""Smallest region of a slice that counts, mm² (Agatston 1990)."""

AGATSTON_PIXELS = 4
"""The same as electron beam scanners were read, pixels: the fewest above 1 mm² at 0.5 to 0.58 mm."""

AGATSTON_SLICE_MM = 3.0
"""Slice increment of the original score, mm; other increments are scaled to it."""

MASS_MG_PER_CM3_HU = 0.77
"""Nominal calibration at 120 kV: 100 mg/cm³ of hydroxyapatite is about 130 HU; by scanner 0.7 to 0.85."""

INSERT_MG_PER_CM3 = 100.0
"""The insert of the phantom that weighs voxels in the spatially weighted score, mg/cm³ (Liang 2012)."""

INSERT_LEAST_SD_HU = 1.0
"""Least SD of that weight, HU: an image without noise would make it a threshold."""

KERNEL = ((0.0, 0.2, 0.0), (0.2, 0.2, 0.2), (0.0, 0.2, 0.0))
"""Weights of a voxel and its four neighbours in the slice (spatially weighted score)."""

BORDER = "in=lesion+2mm"
"""Where all scores are counted: the piece and its border of ``burden.MARGIN_MM``, less bone and other pieces."""


@dataclass(frozen=True)
class Variant:
    """One way to make an Agatston score; without arguments the reference rule.

    Attributes
    ----------
    neighbours : 4 or 8
        Which pixels of a slice make one region: over edges, or over corners too.
    least_mm2, least_pixels : float, int
        What a region must reach to count, both.
    peak : slice or lesion
        Whether a region weighs by its own highest HU, or by that of the 3D lesion (over corners) that it is a slice of.
    scaled : bool
        Whether a slice counts by its increment over 3 mm.
    by_kvp : bool
        Whether thresholds and weights are those of the voltage, or those of 120 kV at any.
    used_by : str
        Who scores so.

    Examples
    --------
    >>> Variant().rule_id
    'agatston:2D8,>=1mm2,peak-in-slice,increment/3mm,kVp-rows(unknown=120),in=lesion+2mm,v1'
    """

    neighbours: Literal[4, 8] = 8
    least_mm2: float = AGATSTON_AREA_MM2
    least_pixels: int = 1
    peak: Literal["slice", "lesion"] = "slice"
    scaled: bool = True
    by_kvp: bool = True
    used_by: str = ""

    @property
    def rule_id(self) -> str:
        """All that is needed to repeat the score, beside the rows of ``AGATSTON_ROWS_HU``."""
        least = f"{self.least_mm2:g}mm2" if self.least_mm2 else f"{self.least_pixels}px"
        parts = [
            f"agatston:2D{self.neighbours}",
            f">={least}",
            "peak-in-slice" if self.peak == "slice" else "peak-in-3D26-lesion",
            f"increment/{AGATSTON_SLICE_MM:g}mm" if self.scaled else "not-scaled-by-increment",
            "kVp-rows(unknown=120)" if self.by_kvp else "130/200/300/400HU-at-any-kVp",
        ]
        return ",".join([*parts, BORDER, "v1"])


VARIANTS: dict[str, Variant] = {
    "agatston": Variant(used_by="Agatston 1990; increments as syngo scales them; voltages of Graeni 2018"),
    "agatston_130hu": Variant(
        by_kvp=False, used_by="consoles without rows for other voltages: the bins of 1990 at any"
    ),
    "agatston_4px": Variant(
        least_mm2=0.0, least_pixels=AGATSTON_PIXELS, by_kvp=False, used_by="practice of electron beam CT; DeepCAC"
    ),
    "agatston_2d4": Variant(
        neighbours=4, by_kvp=False, used_by="programs that label with the default neighbours of ITK or scipy"
    ),
    "agatston_3d_peak": Variant(peak="lesion", by_kvp=False, used_by="programs of 3D lesions, as AI-CAC"),
    "agatston_unscaled": Variant(scaled=False, used_by="CalciumScoring.jl"),
    "agatston_2d4_unscaled": Variant(
        neighbours=4, scaled=False, by_kvp=False, used_by="Comp2Comp (aorta); a region of just 1 mm² counts here"
    ),
}
"""The variants by quantity of table ``burden``. The first is the score; the others are there so that a site finds its
program's: they differ by a few per cent (neighbours, least size), or by 3 mm over the increment (not scaled)."""


def agatston(
    hu: np.ndarray, spacing_zyx_mm: np.ndarray, *, kvp: float = AGATSTON_KVP, variant: Variant = VARIANTS["agatston"]
) -> float:
    """Return the Agatston score of an image part.

    Regions of a slice joined over edges and corners, at least 1 mm², weigh 1 to 4 by their peak in that
    slice; area times weight is summed over slices and scaled by slice increment over 3 mm. A variant changes that.

    Parameters
    ----------
    hu : (z, y, x) array
        HU; everything at or above the row's first value counts.
    spacing_zyx_mm : (3,) array
    kvp : float
        Tube voltage; NaN is taken as 120 kV, a voltage without a row gives NaN where the rows are asked.
    variant : Variant

    Examples
    --------
    A square of 2 x 2 mm at 250 HU in one slice of 3 mm weighs 2: 4 mm² times 2.

    >>> image = np.zeros((1, 6, 6)); image[0, 1:3, 1:3] = 250
    >>> agatston(image, np.array([3.0, 1.0, 1.0]))
    8.0
    >>> agatston(image, np.array([1.5, 1.0, 1.0]))
    4.0

    Not scaled, it is 8 at any increment; at 140 kV only a variant without rows has a score.

    >>> agatston(image, np.array([1.5, 1.0, 1.0]), variant=VARIANTS["agatston_unscaled"])
    8.0
    >>> agatston(image, np.array([3.0, 1.0, 1.0]), kvp=140.0)
    nan
    >>> agatston(image, np.array([3.0, 1.0, 1.0]), kvp=140.0, variant=VARIANTS["agatston_130hu"])
    8.0

    At 100 kV 200 HU weigh 1 (2 from 222 HU), by the bins of 120 kV 2.

    >>> bright = np.where(image > 0, 200, 0)
    >>> agatston(bright, np.array([3.0, 1.0, 1.0]), kvp=100.0)
    4.0
    >>> agatston(bright, np.array([3.0, 1.0, 1.0]), kvp=100.0, variant=VARIANTS["agatston_130hu"])
    8.0

    Two pixels of 0.8 x 0.8 mm that touch at a corner, 150 and 450 HU, are one region of 1.28 mm² that weighs 4. Over
    edges alone they are two of 0.64 mm², too small; and two pixels are fewer than four.

    >>> corner = np.zeros((1, 4, 4)); corner[0, 1, 1], corner[0, 2, 2] = 150, 450
    >>> pixel = np.array([3.0, 0.8, 0.8])
    >>> round(agatston(corner, pixel), 6)
    5.12
    >>> agatston(corner, pixel, variant=VARIANTS["agatston_2d4"])
    0.0
    >>> agatston(corner, pixel, variant=VARIANTS["agatston_2d4_unscaled"])
    0.0
    >>> agatston(corner, pixel, variant=VARIANTS["agatston_4px"])
    0.0

    Two slices of 4 mm², 150 and 450 HU: 4 times 1 and 4 times 4; by the lesion's peak both weigh 4.

    >>> steps = np.concatenate([np.where(image > 0, 150, 0), np.where(image > 0, 450, 0)])
    >>> agatston(steps, np.array([3.0, 1.0, 1.0]))
    20.0
    >>> agatston(steps, np.array([3.0, 1.0, 1.0]), variant=VARIANTS["agatston_3d_peak"])
    32.0
    """
    row = _row(kvp) if variant.by_kvp else AGATSTON_ROWS_HU[AGATSTON_KVP]
    if row is None:
        return nan
    regions, count = ndimage.label(hu >= row[0], structure=_in_slice(variant.neighbours))
    if count == 0:
        return 0.0
    pixels = np.bincount(regions.ravel())[1:]
    areas = pixels * float(np.prod(spacing_zyx_mm[1:]))
    weights = np.searchsorted(np.array(row), _peaks(hu, regions, count, variant.peak), side="right")
    # Of an area that is just the least, rounding must not decide.
    scored = (areas >= variant.least_mm2 - 1e-9) & (pixels >= variant.least_pixels)
    per_slice = float(spacing_zyx_mm[0]) / AGATSTON_SLICE_MM if variant.scaled else 1.0
    return float(np.sum(areas[scored] * weights[scored]) * per_slice)


def _row(kvp: float) -> tuple[float, float, float, float] | None:
    """Return the HU of a voltage; an unknown one is taken as 120 kV, one without a row has none."""
    return AGATSTON_ROWS_HU.get(AGATSTON_KVP if np.isnan(kvp) else float(kvp))


def _in_slice(neighbours: int) -> np.ndarray:
    """Return the structure that joins pixels of a slice, and no slices."""
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = ndimage.generate_binary_structure(2, {4: 1, 8: 2}[neighbours])
    return structure


def _peaks(hu: np.ndarray, regions: np.ndarray, count: int, of: str) -> np.ndarray:
    """Return the highest HU of each region, or of the 3D lesion that it is a slice of."""
    index = np.arange(1, count + 1)
    if of == "slice":
        return np.asarray(ndimage.maximum(hu, regions, index))
    lesions, several = ndimage.label(regions > 0, structure=np.ones((3, 3, 3)))
    highest = np.asarray(ndimage.maximum(hu, lesions, np.arange(1, several + 1)))
    return np.asarray(highest[np.asarray(ndimage.maximum(lesions, regions, index)) - 1])


def mass_factor(kvp: float) -> tuple[float, str]:
    """Return mg per HU mm³ and the calibration's name: nominal where the voltage has a row, else none and NaN.

    >>> round(1000 * 100 * mass_factor(120.0)[0], 9)
    77.0
    """
    row = AGATSTON_ROWS_HU.get(float(kvp))
    if row is None:
        return nan, "none"
    return MASS_MG_PER_CM3_HU * AGATSTON_ROWS_HU[AGATSTON_KVP][0] / row[0] / 1000, "nominal"


def isotropic_volume_mm3(
    hu: np.ndarray, counted: np.ndarray, spacing_zyx_mm: np.ndarray, *, threshold_hu: float
) -> float:
    """Return the volume at or above a threshold after interpolation to isotropic voxels (Callister 1998), mm³.

    Voxels are cut so that each side is no longer than the shortest; HU are interpolated linearly between centres and go
    on unchanged beyond the outermost. Callister found the score's error 40 % smaller so.

    Parameters
    ----------
    hu : (z, y, x) array
    counted : (z, y, x) bool array
        Where voxels may count; a cut voxel counts as the one that it was cut from.
    spacing_zyx_mm : (3,) array
    threshold_hu : float

    Examples
    --------
    Slices of 2 mm, pixels of 1 mm: each voxel is cut in two. Of 0, 400 and 0 HU the halves of the middle one have 300,
    those of the outer ones beside it 100, by linear interpolation at a quarter of the distance.

    >>> column = np.array([0.0, 400.0, 0.0]).reshape(3, 1, 1)
    >>> there = np.ones((3, 1, 1), bool)
    >>> [isotropic_volume_mm3(column, there, np.array([2.0, 1.0, 1.0]), threshold_hu=t) for t in (300, 100, 301)]
    [2.0, 4.0, 0.0]
    """
    cuts = np.maximum(1, np.ceil(spacing_zyx_mm / spacing_zyx_mm.min() - 1e-6)).astype(int)
    count = sum(
        int(np.count_nonzero((plane >= threshold_hu) & may)) for plane, may in _isotropic(hu, counted, cuts.tolist())
    )
    return float(count * np.prod(spacing_zyx_mm / cuts))


def _isotropic(hu: np.ndarray, counted: np.ndarray, cuts: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the cut slices one by one, HU and where they may count: a whole cut image may be too large."""
    for number, (low, high, share) in enumerate(zip(*_between(len(hu), cuts[0]), strict=True)):
        plane = (1 - share) * hu[low].astype(np.float32) + share * hu[high].astype(np.float32)
        may = counted[number // cuts[0]]
        if not may.any():
            continue
        for axis in (0, 1):
            below, above, shares = _between(plane.shape[axis], cuts[1 + axis])
            along = shares.reshape((-1, 1) if axis == 0 else (1, -1)).astype(np.float32)
            plane = (1 - along) * plane.take(below, axis) + along * plane.take(above, axis)
            may = may.repeat(cuts[1 + axis], axis)
        yield plane, may


def _between(size: int, cut: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each cut voxel the two between whose centres it lies, and how far on the way to the second."""
    place = np.clip((np.arange(size * cut) + 0.5) / cut - 0.5, 0, size - 1)
    low = np.minimum(place.astype(int), max(size - 2, 0))
    return low, np.minimum(low + 1, size - 1), place - low


def spatially_weighted_mm3(
    hu: np.ndarray, counted: np.ndarray, spacing_zyx_mm: np.ndarray, *, kvp: float, noise_hu: float
) -> float:
    """Return the spatially weighted calcium score of an image part, as a volume, mm³.

    Liang 2012 (MESA): no threshold; a voxel weighs by the normal distribution of the HU of a phantom's insert of
    100 mg/cm³, spread over its neighbours in the slice. Without a phantom the mean is what the nominal calibration of
    the voltage makes of 100 mg/cm³ (130 HU at 120 kV) and the SD is the scan's noise. The original sums voxels, so that
    it counts slices; here each is taken times its volume.

    Parameters
    ----------
    hu : (z, y, x) array
    counted : (z, y, x) bool array
        Where voxels weigh; elsewhere they weigh 0.
    spacing_zyx_mm : (3,) array
    kvp : float
        Tube voltage; NaN is taken as 120 kV, a voltage without a row gives NaN.
    noise_hu : float
        SD of the noise.

    Examples
    --------
    A voxel at the insert's own HU weighs a half, a much denser one 1: of 2 mm³ and of 2 mm³ each.

    >>> image = np.full((1, 7, 7), -500.0); image[0, 2, 2], image[0, 4, 4] = 100 / 0.77, 900
    >>> there = np.ones((1, 7, 7), bool)
    >>> round(spatially_weighted_mm3(image, there, np.array([2.0, 1.0, 1.0]), kvp=120.0, noise_hu=10.0), 9)
    3.0
    """
    factor, _ = mass_factor(AGATSTON_KVP if np.isnan(kvp) else kvp)
    if np.isnan(factor):
        return nan
    insert_hu = INSERT_MG_PER_CM3 / 1000 / factor
    weights = ndtr((hu - insert_hu) / max(noise_hu, INSERT_LEAST_SD_HU)) * counted
    spread = ndimage.convolve(weights, np.array([KERNEL]), mode="constant")
    return float(spread[counted].sum() * np.prod(spacing_zyx_mm))
