"""How much mineral: volume, excess, mass and Agatston score of each piece, lesion, compartment and visit."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from scipy import ndimage

from monitor import grid
from monitor.types import Anatomy, Findings, Scan

MARGIN_MM = 2.0
"""Blurred border that belongs to a piece, mm: two SDs and more of a soft kernel beyond the threshold's outline. More
takes in septa and fat beside a lesion: at 2.5 mm the errors of 27 phantom lesions were a third to a half larger."""

RING_MM = 4.0
"""Width, mm, of the ring of tissue around the border that tells the background."""

BACKGROUND_SIGMAS_MM = (0.8, 1.6, 3.2, 6.4)
"""SDs of the weights, mm, with which the ring is carried inward, the nearest first: fat on one side stays there."""

BACKGROUND_WEIGHT = 0.02
"""Least share of the weights that must lie in the ring: with less the next wider weights are asked."""

CORE_MM = 1.5
"""A voxel is core when all within this reach, mm, and one slice up and down, is mineral: blur does not dilute it."""

PLATEAU_SIGMA_MM = 2.5
"""SD of the weights, mm, with which the core's HU stand for the border beside it."""

CORE_VOXELS = 4
"""Fewer core voxels do not tell the density of a piece: its volume is then not resolved."""

FAINTEST_HU = 75.0
"""Least contrast of mineral, HU: 130 HU less muscle. A reader may outline what has none; its volume is then about 0."""

DENSEST_HU = 2000.0
"""No calcification is denser than this at 120 kV, HU (enamel apart; hydroxyapatite stones reach 1500 to 2000)."""

BACKGROUND_PATCH_MM3 = 60.0
"""Volume, mm³, over which the texture of soft tissue is one sample: muscle bundles and fat lobules of 4 mm."""

MODEL_ERROR = 0.015
"""Relative SD of an excess from what the model leaves out: kernel overshoot, beam hardening (phantom, 20 seeds)."""

EDGE_ERROR = 0.03
"""Relative SD of a resolved volume from placement of slices and of the core (phantom, 20 seeds)."""

DILUTION_MM2 = 1.0
"""Share by which blur may dilute the core of a resolved piece, times its inscribed radius squared, mm²: the volume
of balls of 2 to 7 mm came out too large by this over the square (closed form, 126 balls). It opens the lower limit."""

Z95 = 1.959964
"""Normal quantile of two-sided 95 % limits."""

AGATSTON_ROWS_HU: dict[float, tuple[float, float, float, float]] = {
    70.0: (207.0, 318.0, 477.0, 636.0),
    80.0: (177.0, 271.0, 408.0, 544.0),
    100.0: (145.0, 222.0, 334.0, 446.0),
    120.0: (130.0, 200.0, 300.0, 400.0),
    135.0: (119.0, 183.0, 274.0, 364.0),
}
"""From which HU a region weighs 1, 2, 3 and 4, by kV: Agatston 1990 at 120 kV, Graeni 2018 elsewhere."""

AGATSTON_AREA_MM2 = 1.0
"""Smallest region of a slice that counts, mm² (Agatston 1990)."""

AGATSTON_SLICE_MM = 3.0
"""Slice increment of the original score, mm; other increments are scaled to it."""

MASS_MG_PER_CM3_HU = 0.77
"""Nominal calibration at 120 kV: 100 mg/cm³ of hydroxyapatite is about 130 HU; by scanner 0.7 to 0.85."""

RULES = {
    "volume_mm3": "volume:local-plateau,margin=2mm,core=1.5mm,v2",
    "excess_hu_mm3": "excess:nearest-ring-background,margin=2mm,ring=4mm,v2",
    "mass_mg": "mass:excess,nominal=0.77mg/cm3/HU@120kV,v2",
    "threshold_volume_mm3": "threshold-volume:max(130@120kV,tissue+4.3SD),3D26,v1",
    "envelope_mm3": "envelope:closed-filled,v2",
    "agatston": "agatston:2D8,>=1mm2,peak-in-slice,increment/3mm,kVp-rows,v1",
    "n_lesions": "count:volume>0,v1",
}
"""What is needed to repeat each quantity, beside the threshold and acquisition in table ``visits``."""

UNITS = {
    "volume_mm3": "mm3",
    "excess_hu_mm3": "HU mm3",
    "mass_mg": "mg",
    "threshold_volume_mm3": "mm3",
    "envelope_mm3": "mm3",
    "agatston": "1",
    "n_lesions": "1",
}
"""Units of the quantities, as the tables print them."""


@dataclass(frozen=True)
class _Piece:
    """One piece in its box: voxels, contrast over background and what noise there is; arrays (z, y, x)."""

    hu: np.ndarray
    mineral: np.ndarray
    region: np.ndarray
    contrast_hu: np.ndarray
    background_se_hu: float
    noise_hu: float
    noise_factor: float
    voxel_mm3: float
    spacing_zyx_mm: np.ndarray
    threshold_hu: float


def measure(scan: Scan, anatomy: Anatomy, findings: Findings) -> pd.DataFrame:
    """Measure every piece of mineral on the scan's own voxels.

    Returns
    -------
    DataFrame
        A row a piece, ``label`` ascending: volume_mm3 with volume_lo_mm3 and volume_hi_mm3, envelope_mm3,
        threshold_volume_mm3, excess_hu_mm3 with limits, mass_mg, calibration, agatston, mean_hu, peak_hu
        and the centroid x_mm, y_mm, z_mm (LPS).

    Notes
    -----
    Excess is the integral over the piece and its blurred border of HU above a background carried inward
    from a ring of tissue; blur moves HU but does not change this integral. Volume is the excess counted in
    units of the local plateau, the mean contrast of the core nearby, so that a voxel half filled counts
    half (Sprem 2018 and the integrated method of CalciumScoring, with the plateau made local).
    """
    rows = []
    factor = noise_correlation(scan, anatomy)
    reach = np.ceil((MARGIN_MM + RING_MM + 1) / scan.spacing_zyx_mm).astype(int) + 1
    for label, box in enumerate(ndimage.find_objects(findings.labels), start=1):
        if box is not None:
            grown = grid.grown(box, reach, findings.labels.shape)
            piece = _cut(scan, anatomy, findings, label, grown, factor)
            rows.append({"label": label, **_amounts(piece, scan), **_place(piece, scan, grown)})
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    "label",
    "volume_mm3",
    "volume_lo_mm3",
    "volume_hi_mm3",
    "volume_sd_mm3",
    "envelope_mm3",
    "threshold_volume_mm3",
    "excess_hu_mm3",
    "excess_sd_hu_mm3",
    "mass_mg",
    "calibration",
    "agatston",
    "mean_hu",
    "peak_hu",
    "x_mm",
    "y_mm",
    "z_mm",
]


def noise_correlation(scan: Scan, anatomy: Anatomy) -> float:
    """Return by how much the noise of a sum over a volume exceeds that of white noise, as a factor of variance.

    From the SD of raw and of smoothed noise in soft tissue: smoothing takes white noise down by a known
    factor and correlated noise by less.
    """
    raw = _quiet_sd(scan.array, anatomy)
    sigma = np.array([0.0, 1.0, 1.0])
    smooth = _quiet_sd(ndimage.gaussian_filter(scan.array.astype(np.float32), sigma), anatomy)
    if not (raw > 0 and smooth > 0):
        return 1.0
    white = 1 / (4 * np.pi)  # in-plane Gaussian of SD 1 voxel: the sum of its squared weights
    return float(np.clip((smooth / raw) ** 2 / white, 1.0, 30.0))


def agatston(hu: np.ndarray, spacing_zyx_mm: np.ndarray, *, kvp: float = 120.0) -> float:
    """Return the Agatston score of an image part.

    Regions of a slice joined over edges and corners, at least 1 mm², weigh 1 to 4 by their peak in that
    slice; area times weight is summed over slices and scaled by slice increment over 3 mm.

    Parameters
    ----------
    hu : (z, y, x) array
        HU; everything at or above the row's first value counts.
    spacing_zyx_mm : (3,) array
    kvp : float
        Tube voltage; NaN is taken as 120 kV, a voltage without a row gives NaN.

    Examples
    --------
    A square of 2 x 2 mm at 250 HU in one slice of 3 mm weighs 2: 4 mm² times 2.

    >>> image = np.zeros((1, 6, 6)); image[0, 1:3, 1:3] = 250
    >>> agatston(image, np.array([3.0, 1.0, 1.0]))
    8.0
    >>> agatston(image, np.array([1.5, 1.0, 1.0]))
    4.0
    """
    row = AGATSTON_ROWS_HU.get(120.0 if np.isnan(kvp) else float(kvp))
    if row is None:
        return nan
    area_mm2 = float(np.prod(spacing_zyx_mm[1:]))
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = True
    labels, count = ndimage.label(hu >= row[0], structure=structure)
    if count == 0:
        return 0.0
    areas = np.bincount(labels.ravel())[1:] * area_mm2
    peaks = np.asarray(ndimage.maximum(hu, labels, np.arange(1, count + 1)))
    weights = np.searchsorted(np.array(row), peaks, side="right")
    scored = areas >= AGATSTON_AREA_MM2 - 1e-9
    return float(np.sum(areas[scored] * weights[scored]) * spacing_zyx_mm[0] / AGATSTON_SLICE_MM)


def mass_factor(kvp: float) -> tuple[float, str]:
    """Return mg per HU mm³ and the calibration's name: nominal where the voltage has a row, else none and NaN."""
    row = AGATSTON_ROWS_HU.get(float(kvp))
    if row is None:
        return nan, "none"
    return MASS_MG_PER_CM3_HU * AGATSTON_ROWS_HU[120.0][0] / row[0] / 1000, "nominal"


def _cut(scan: Scan, anatomy: Anatomy, findings: Findings, label: int, box: tuple[slice, ...], factor: float) -> _Piece:
    """Return one piece with its border and the background under it."""
    spacing = scan.spacing_zyx_mm
    hu = scan.array[box].astype(np.float32)
    labels = findings.labels[box]
    mineral = labels == label
    away = _distance(mineral, spacing)
    others = (labels > 0) & ~mineral
    usable = anatomy.body[box] & ~anatomy.skeleton[box] & ~anatomy.left_out[box]
    # A slice above and below always belongs to the border: partial volume reaches there at any increment.
    within = ndimage.binary_dilation(mineral, np.ones((3, 1, 1))) | (away <= MARGIN_MM)
    region = within & (usable | mineral)
    ring_limit = MARGIN_MM + RING_MM
    ring = usable & ~within & (away <= max(ring_limit, 2.0 * float(spacing[0])))
    if others.any():
        beside = _distance(others, spacing)
        region &= beside >= away
        ring &= beside > MARGIN_MM
    if anatomy.skeleton[box].any():
        ring &= _distance(anatomy.skeleton[box], spacing) > MARGIN_MM
    background, error = _background(hu, ring, spacing, anatomy)
    return _Piece(
        hu=hu,
        mineral=mineral,
        region=region,
        contrast_hu=hu - background,
        background_se_hu=error,
        noise_hu=anatomy.noise_hu if np.isfinite(anatomy.noise_hu) else 20.0,
        noise_factor=factor,
        voxel_mm3=scan.voxel_volume_mm3,
        spacing_zyx_mm=spacing,
        threshold_hu=findings.threshold_hu,
    )


def _background(
    hu: np.ndarray, ring: np.ndarray, spacing_zyx_mm: np.ndarray, anatomy: Anatomy
) -> tuple[np.ndarray, float]:
    """Carry the ring's HU inward with Gaussian weights; return the background and its standard error, HU."""
    volume = float(np.prod(spacing_zyx_mm))
    if ring.sum() * volume < BACKGROUND_PATCH_MM3 / 2:
        level = anatomy.tissue_hu if np.isfinite(anatomy.tissue_hu) else 50.0
        return np.full(hu.shape, level, np.float32), 50.0
    level = float(np.median(hu[ring]))
    background = np.full(hu.shape, np.nan, np.float32)
    for sigma_mm in BACKGROUND_SIGMAS_MM:
        sigma = sigma_mm / spacing_zyx_mm
        weight = ndimage.gaussian_filter(ring.astype(np.float32), sigma)
        carried = ndimage.gaussian_filter(np.where(ring, hu - level, 0).astype(np.float32), sigma)
        near = np.isnan(background) & (weight > BACKGROUND_WEIGHT)
        background[near] = level + carried[near] / weight[near]
    background[np.isnan(background)] = level
    patches = max(1.0, ring.sum() * volume / BACKGROUND_PATCH_MM3)
    return background, float(np.std(hu[ring] - background[ring]) / np.sqrt(patches))


def _amounts(piece: _Piece, scan: Scan) -> dict[str, object]:
    voxel = piece.voxel_mm3
    excess = float(piece.contrast_hu[piece.region].sum() * voxel)
    sd = _excess_sd(piece, excess)
    volume, volume_sd, low, high, fraction = _volume(piece, excess, sd)
    factor, calibration = mass_factor(scan.acquisition.kvp)
    counted = np.where(piece.region, piece.hu, -1024)
    return {
        "volume_mm3": volume,
        "volume_lo_mm3": low,
        "volume_hi_mm3": high,
        "volume_sd_mm3": volume_sd,
        "envelope_mm3": max(volume, _envelope(piece, fraction)),
        "threshold_volume_mm3": float((piece.mineral & (piece.hu >= piece.threshold_hu)).sum() * voxel),
        "excess_hu_mm3": excess,
        "excess_sd_hu_mm3": sd,
        "mass_mg": excess * factor,
        "calibration": calibration,
        "agatston": agatston(counted, piece.spacing_zyx_mm, kvp=scan.acquisition.kvp),
        "mean_hu": float(piece.hu[piece.mineral].mean()),
        "peak_hu": float(piece.hu[piece.mineral].max()),
    }


def _excess_sd(piece: _Piece, excess: float) -> float:
    """Noise of the sum, error of the background under it, and what the model leaves out, in quadrature."""
    count = int(piece.region.sum())
    noise = piece.noise_hu * np.sqrt(count * piece.noise_factor)
    background = piece.background_se_hu * count
    return float(np.hypot(np.hypot(noise, background) * piece.voxel_mm3, MODEL_ERROR * excess))


def _volume(piece: _Piece, excess: float, excess_sd: float) -> tuple[float, float, float, float, np.ndarray]:
    """Return volume, its SD and 95 % limits, mm³, and the fraction of mineral in each voxel."""
    reach = np.maximum(1, np.round(CORE_MM / piece.spacing_zyx_mm)).astype(int)
    core = ndimage.binary_erosion(piece.mineral, _ball(reach))
    if core.sum() >= CORE_VOXELS and piece.contrast_hu[core].mean() >= FAINTEST_HU:
        plateau = _plateau(piece, core)
        fraction = np.where(piece.region, piece.contrast_hu / plateau, 0)
        volume = float(fraction.sum() * piece.voxel_mm3)
        level = max(excess / volume, 1.0) if volume > 0 else 1.0
        plateau_se = piece.noise_hu * np.sqrt(piece.noise_factor / core.sum()) / level
        sd = volume * float(np.sqrt((excess_sd / excess) ** 2 + plateau_se**2 + EDGE_ERROR**2))
        radius = float(ndimage.distance_transform_edt(piece.mineral, sampling=piece.spacing_zyx_mm).max())
        diluted = min(DILUTION_MM2 / radius**2, 0.5) * volume
        return volume, sd, max(0.0, volume - diluted - Z95 * sd), volume + Z95 * sd, fraction
    # Not resolved: the density lies between the brightest voxels seen and the densest there is.
    brightest = np.sort(piece.contrast_hu[piece.mineral])[-3:]
    seen = max(float(brightest.mean()), FAINTEST_HU)
    low = max(0.0, excess - Z95 * excess_sd) / DENSEST_HU
    high = max(0.0, excess + Z95 * excess_sd) / (0.85 * seen)
    fraction = np.where(piece.region, piece.contrast_hu / seen, 0)
    volume = max(0.0, excess / seen)
    sd = max((high - low) / (2 * Z95), excess_sd / seen)
    return volume, sd, min(low, volume), max(high, volume), fraction


def _plateau(piece: _Piece, core: np.ndarray) -> np.ndarray:
    """Return the contrast of pure mineral at each voxel, HU: the mean of the core nearby."""
    sigma = PLATEAU_SIGMA_MM / piece.spacing_zyx_mm
    level = float(piece.contrast_hu[core].mean())
    weight = ndimage.gaussian_filter(core.astype(np.float32), sigma)
    carried = ndimage.gaussian_filter(np.where(core, piece.contrast_hu - level, 0).astype(np.float32), sigma)
    return np.maximum(level + carried / np.maximum(weight, 1e-4), 0.25 * level)


def _envelope(piece: _Piece, fraction: np.ndarray) -> float:
    """Return the volume inside the closed outline, mm³: full inside, partial at the outer border."""
    half = (fraction >= 0.5) & piece.region
    reach = np.maximum(1, np.round(CORE_MM / piece.spacing_zyx_mm)).astype(int)
    pad = [(int(r) + 1,) * 2 for r in reach]
    closed = ndimage.binary_closing(np.pad(half, pad), _ball(reach))
    for axis in range(3):
        structure = np.zeros((3, 3, 3), bool)
        structure[1] = ndimage.generate_binary_structure(2, 1)
        moved = np.moveaxis(closed, axis, 0)
        closed |= np.moveaxis(ndimage.binary_fill_holes(moved, structure=structure), 0, axis)
    inner = ndimage.binary_erosion(closed, ndimage.generate_binary_structure(3, 1))
    crop = tuple(slice(low, size - high) for (low, high), size in zip(pad, closed.shape, strict=True))
    whole = inner[crop]
    partial = np.clip(fraction, 0, 1)[piece.region & ~whole].sum()
    return float((whole.sum() + partial) * piece.voxel_mm3)


def _place(piece: _Piece, scan: Scan, box: tuple[slice, ...]) -> dict[str, float]:
    """Return the centroid of the contrast inside the outline, LPS mm."""
    index = np.argwhere(piece.mineral)
    weight = np.maximum(piece.contrast_hu[piece.mineral], 1.0)
    centre = np.average(index, axis=0, weights=weight) + [part.start for part in box]
    x, y, z = grid.to_mm(scan.image, centre)[0]
    return {"x_mm": float(x), "y_mm": float(y), "z_mm": float(z)}


def totals(lesions: pd.DataFrame) -> pd.DataFrame:
    """Sum the lesions of one visit by compartment and in all.

    Parameters
    ----------
    lesions : DataFrame
        Rows of one visit: status, compartment, the quantities, volume_lo_mm3, volume_hi_mm3, volume_sd_mm3 and
        excess_sd_hu_mm3. A lesion that is not in the field makes its sums not evaluable.

    Returns
    -------
    DataFrame
        Rows of table ``burden`` without patient, visit and date, and ``sd``.
    """
    groups = {"total": lesions}
    groups.update({str(name): part for name, part in lesions.groupby("compartment") if name})
    return pd.DataFrame([row for name, part in groups.items() for row in _sums(name, part)])


def _sums(compartment: str, lesions: pd.DataFrame) -> list[dict[str, object]]:
    """Return one row a quantity; errors of lesions are independent, but dilution of cores adds up."""
    known = lesions[lesions["status"] != "merged"]
    seen = known[known["status"] != "not_in_field"]
    evaluable = len(seen) / len(known) if len(known) else 1.0
    rows: list[dict[str, object]] = []
    for quantity, rule in RULES.items():
        observed, sd = _sum(seen, quantity)
        value = observed if evaluable == 1.0 else nan
        rows.append(
            {
                "compartment": compartment,
                "quantity": quantity,
                "value": value,
                "lo": max(0.0, value - _diluted(seen, quantity) - Z95 * sd) if np.isfinite(value) else nan,
                "hi": value + _open_end(seen, quantity) + Z95 * sd,
                "unit": UNITS[quantity],
                "rule_id": rule,
                "evaluable": evaluable,
                "value_observed": observed,
                "sd": sd,
            }
        )
    return rows


def _sum(seen: pd.DataFrame, quantity: str) -> tuple[float, float]:
    """Return the sum over lesions and its SD; NaN SD where the quantity has no error model of its own."""
    if quantity == "n_lesions":
        return float((seen["volume_mm3"] > 0).sum()), nan
    present = seen[seen["volume_mm3"] > 0]
    total = float(present[quantity].sum(skipna=False)) if len(present) else 0.0
    errors = {"volume_mm3": "volume_sd_mm3", "excess_hu_mm3": "excess_sd_hu_mm3"}
    if quantity == "mass_mg":
        factor = present["mass_mg"] / present["excess_hu_mm3"]
        return total, float(np.sqrt(((factor * present["excess_sd_hu_mm3"]) ** 2).sum(skipna=False)))
    if quantity not in errors:
        return total, nan
    return total, float(np.sqrt((present[errors[quantity]] ** 2).sum(skipna=False)))


def _diluted(seen: pd.DataFrame, quantity: str) -> float:
    """Return by how much blur may have made the volumes too large, mm³: what their lower limits hold beside the SD."""
    if quantity != "volume_mm3":
        return 0.0
    present = seen[seen["volume_mm3"] > 0]
    beside = present["volume_mm3"] - Z95 * present["volume_sd_mm3"] - present["volume_lo_mm3"]
    return float(beside.clip(lower=0).sum())


def _open_end(seen: pd.DataFrame, quantity: str) -> float:
    """Return what resolved lesions may still hold unseen: the largest limit of detection among them, mm³."""
    if quantity != "volume_mm3":
        return 0.0
    gone = seen.loc[seen["volume_mm3"] == 0, "volume_hi_mm3"]
    return float(gone.max()) if len(gone) else 0.0


def _quiet_sd(values: np.ndarray, anatomy: Anatomy) -> float:
    """Median SD in squares of soft tissue, as ``anatomy.measure_noise`` measures it."""
    window = (1, 7, 7)
    part = values.astype(np.float32)
    tissue = anatomy.body & ~anatomy.skeleton
    mean = ndimage.uniform_filter(part, window)
    variance = ndimage.uniform_filter(part * part, window) - mean * mean
    inner = ndimage.binary_erosion(tissue, np.ones(window), border_value=1) & (np.abs(mean - anatomy.tissue_hu) < 60)
    return float(np.sqrt(max(np.median(variance[inner]), 0.0))) if inner.sum() > 100 else nan


def _distance(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_zyx_mm))


def _ball(reach: np.ndarray) -> np.ndarray:
    axes = np.meshgrid(*[np.arange(-r, r + 1) / r for r in reach], indexing="ij")
    return np.asarray(sum(np.square(part) for part in axes) <= 1.0 + 1e-9)
