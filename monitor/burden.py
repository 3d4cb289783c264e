"""How much mineral: volume, excess, mass and Agatston score of each piece, lesion, compartment and visit."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from scipy import ndimage

from monitor import grid
from monitor._burden import outline
from monitor._burden.outline import Blur, Outline, Place
from monitor.types import Anatomy, Findings, Scan

MARGIN_MM = 2.0
"""Blurred border that belongs to a piece, mm: two SDs and more of a soft kernel beyond the threshold's outline."""

RING_MM = 4.0
"""Width, mm, of the tissue beyond that border that is looked at."""

CLOSING_MM = 1.5
"""Gaps of an outline that its envelope closes, mm."""

FAINTEST_HU = 75.0
"""Least contrast of mineral, HU: 130 HU less muscle. A reader may outline what has none; its volume is then about 0."""

DENSEST_HU = 2000.0
"""No calcification is denser than this at 120 kV, HU (enamel apart; hydroxyapatite stones reach 1500 to 2000)."""

RESOLVED_SDS = 2.8
"""Least inscribed radius of a resolved piece, in SDs of the blur: a thinner one could as well be thinner and denser.
Sheets of 1 mm come out at 1.9 to 2.2, balls of 2 mm at 2.8 (phantom)."""

TISSUE_PATCH_MM3 = 120.0
"""Volume, mm³, over which the tissue in the place of mineral is one sample of what is around: bundles and septa of 5 mm
(phantom; from the spread of errors)."""

TISSUE_LEAST_HU = 8.0
"""Least SD of that texture, HU: flesh that looks even is not known better."""

THIN_ERROR = 0.08
"""Relative SD of the excess of what is not resolved: its blurred picture is told less well from the tissue beside
(arcs and sheets of the phantom)."""

MODEL_ERROR = 0.03
"""Relative SD of an excess from what the model leaves out: kernel overshoot, beam hardening, a blur that is not known
(balls in even muscle at 1 to 3 mm slices)."""

EDGE_ERROR = 0.018
"""Relative SD of a resolved volume from placement of slices and of the outline (phantom, seeds below 1000)."""

SHAPE_ERROR = 0.15
"""The same, times the square of blur over inscribed radius: blur rounds an outline off."""

TELLING_MM, TELLING_MM3 = 2.0, 5000.0
"""Least inscribed radius, mm, and greatest volume, mm³, of a piece that is asked for the blur."""

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
    "volume_mm3": "volume:blurred-outline,margin=2mm,v3",
    "excess_hu_mm3": "excess:smoothest-background,margin=2mm,ring=4mm,v3",
    "mass_mg": "mass:excess,nominal=0.77mg/cm3/HU@120kV,v3",
    "threshold_volume_mm3": "threshold-volume:max(130@120kV,tissue+4.3SD),3D26,v1",
    "envelope_mm3": "envelope:closed-filled,v3",
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


PARTS = (outline,)
"""The modules of the package beside this one: their thresholds go into ``run.json``."""


@dataclass(frozen=True)
class _Piece:
    """One piece in its box, what explains it, and what noise there is."""

    place: Place
    outline: Outline
    blur: Blur
    noise_factor: float
    voxel_mm3: float
    threshold_hu: float

    @property
    def contrast_hu(self) -> np.ndarray:
        """HU above the tissue in its place."""
        return self.place.hu - self.outline.tissue_hu

    @property
    def region(self) -> np.ndarray:
        """Where mineral or its blur is seen."""
        return self.place.room & ((self.outline.share > outline.SEEN / 2) | self.place.mineral)


def measure(scan: Scan, anatomy: Anatomy, findings: Findings) -> pd.DataFrame:
    """Measure every piece of mineral on the scan's own voxels.

    Returns
    -------
    DataFrame
        A row a piece, ``label`` ascending: volume_mm3 with volume_lo_mm3 and volume_hi_mm3, volume_rule, envelope_mm3,
        threshold_volume_mm3, excess_hu_mm3 with its SD, mass_mg, calibration, agatston, mean_hu, peak_hu
        and the centroid x_mm, y_mm, z_mm (LPS).

    Notes
    -----
    Excess is the integral over the piece and its blurred border of HU above the tissue in its place, which is what
    goes on most smoothly from around; blur moves HU but does not change this integral. Volume is that of the outline
    whose blurred picture is nearest to the scan; the blur is told by the scan's own sharpest pieces.
    """
    places = _places(scan, anatomy, findings)
    blur = _blur(scan, places)
    factor = noise_correlation(scan, anatomy)
    rows = []
    for label, (near, place) in places.items():
        piece = _Piece(place, outline.fit(place, blur), blur, factor, scan.voxel_volume_mm3, findings.threshold_hu)
        rows.append({"label": label, **_amounts(piece, scan), **_centre(piece, scan, near)})
    return pd.DataFrame(rows, columns=COLUMNS)


def scan_blur(scan: Scan, anatomy: Anatomy, findings: Findings) -> Blur:
    """Return how the scanner blurs, as the scan's own sharpest pieces tell it; the usual blur where none does."""
    return _blur(scan, _places(scan, anatomy, findings))


def _places(scan: Scan, anatomy: Anatomy, findings: Findings) -> dict[int, tuple[tuple[slice, ...], Place]]:
    """Return box and place of each piece by its label."""
    places = {}
    reach = np.ceil((MARGIN_MM + RING_MM + 1) / scan.spacing_zyx_mm).astype(int) + 1
    for label, box in enumerate(ndimage.find_objects(findings.labels), start=1):
        if box is not None:
            near = grid.grown(box, reach, findings.labels.shape)
            places[label] = near, _place_of(scan, anatomy, findings, label, near)
    return places


def _blur(scan: Scan, places: dict[int, tuple[tuple[slice, ...], Place]]) -> Blur:
    thick = scan.acquisition.slice_thickness_mm
    return outline.measured_blur(
        _telling([place for _, place in places.values()]),
        float(thick) if np.isfinite(thick) else float(scan.spacing_zyx_mm[0]),
    )


def _telling(places: list[Place]) -> list[Place]:
    """Return the pieces that tell a scan's blur: the thickest of those that are small enough to be asked often."""
    found: list[tuple[float, int, Place]] = []
    for place in places:
        radius = grid.within_mm(place.mineral, place.spacing_zyx_mm).max()
        small = place.mineral.sum() * float(np.prod(place.spacing_zyx_mm)) <= TELLING_MM3
        alone = not (place.room & ~place.tissue).any()
        if small and alone and radius >= TELLING_MM and _contrast(place) >= 2 * FAINTEST_HU:
            found.append((-float(radius), len(found), place))
    return [place for _, _, place in sorted(found)[: outline.TELLING]]


def _contrast(place: Place) -> float:
    """Return by how much a piece's HU exceed those of the tissue around, in the median."""
    around = place.tissue & ~place.room
    return float(np.median(place.hu[place.mineral]) - np.median(place.hu[around])) if around.any() else 0.0


COLUMNS = [
    "label",
    "volume_mm3",
    "volume_lo_mm3",
    "volume_hi_mm3",
    "volume_sd_mm3",
    "volume_rule",
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


def _place_of(scan: Scan, anatomy: Anatomy, findings: Findings, label: int, box: tuple[slice, ...]) -> Place:
    """Return one piece in its box, where its outline may lie and where tissue is told."""
    spacing = scan.spacing_zyx_mm
    labels = findings.labels[box]
    mineral = labels == label
    away = grid.distance_mm(mineral, spacing)
    others = (labels > 0) & ~mineral
    usable = anatomy.body[box] & ~anatomy.skeleton[box] & ~anatomy.left_out[box]
    # A slice above and below always belongs to the border: partial volume reaches there at any increment.
    room = (ndimage.binary_dilation(mineral, np.ones((3, 1, 1))) | (away <= MARGIN_MM)) & (usable | mineral)
    tissue = usable & ~others
    if others.any():
        beside = grid.distance_mm(others, spacing)
        room &= beside >= away
        tissue &= beside > MARGIN_MM
    if anatomy.skeleton[box].any():
        tissue &= (grid.distance_mm(anatomy.skeleton[box], spacing) > MARGIN_MM) | mineral
    noise = anatomy.noise_hu if np.isfinite(anatomy.noise_hu) else 20.0
    # An image without noise is not known without error.
    return Place(scan.array[box].astype(np.float32), mineral, room, tissue, max(noise, 1.0), spacing)


def _amounts(piece: _Piece, scan: Scan) -> dict[str, object]:
    voxel, place = piece.voxel_mm3, piece.place
    excess = float(piece.contrast_hu[piece.region].sum() * voxel)
    sd = _excess_sd(piece, excess)
    volume, volume_sd, low, high, share, rule = _volume(piece, excess, sd)
    factor, calibration = mass_factor(scan.acquisition.kvp)
    counted = np.where(place.room, place.hu, -1024)
    return {
        "volume_mm3": volume,
        "volume_lo_mm3": low,
        "volume_hi_mm3": high,
        "volume_sd_mm3": volume_sd,
        "volume_rule": rule,
        "envelope_mm3": max(volume, _envelope(piece, share)),
        "threshold_volume_mm3": float((place.mineral & (place.hu >= piece.threshold_hu)).sum() * voxel),
        "excess_hu_mm3": excess,
        "excess_sd_hu_mm3": sd,
        "mass_mg": excess * factor,
        "calibration": calibration,
        "agatston": agatston(counted, place.spacing_zyx_mm, kvp=scan.acquisition.kvp),
        "mean_hu": float(place.hu[place.mineral].mean()),
        "peak_hu": float(place.hu[place.mineral].max()),
    }


def _excess_sd(piece: _Piece, excess: float) -> float:
    """Noise of the sum, the tissue that is not known in its place, and what the model leaves out, in quadrature."""
    place, outlined = piece.place, piece.outline
    noise = place.noise_hu * np.sqrt(piece.region.sum() * piece.noise_factor)
    held = float(outlined.share[place.room].sum())
    around = place.tissue & ~place.room
    texture = float(np.std(outlined.tissue_hu[around])) if around.any() else 0.0
    patches = 1 + held * piece.voxel_mm3 / TISSUE_PATCH_MM3
    tissue = max(texture, TISSUE_LEAST_HU) / np.sqrt(patches) * held
    model = MODEL_ERROR if _resolved(piece) else float(np.hypot(MODEL_ERROR, THIN_ERROR))
    return float(np.hypot(np.hypot(noise, tissue) * piece.voxel_mm3, model * excess))


def _volume(piece: _Piece, excess: float, excess_sd: float) -> tuple[float, float, float, float, np.ndarray, str]:
    """Return volume, its SD and 95 % limits, mm³, the share of mineral in each voxel, and whether it is resolved."""
    place, found = piece.place, piece.outline
    if _resolved(piece):
        shape = SHAPE_ERROR * (_blur_mm(piece) / found.radius_mm) ** 2
        # A step of one in the misfit's sum over independent samples of the noise is one SD.
        samples = found.voxels / piece.noise_factor
        seen = np.sqrt(2 * max(found.misfit, 1.0) / (samples * max(found.curvature, 1e-3)))
        unexplained = place.noise_hu * np.sqrt(max(found.misfit - 1, 0.0)) / found.contrast_hu
        sd = found.volume_mm3 * float(np.sqrt(seen**2 + shape**2 + unexplained**2 + EDGE_ERROR**2))
        low, high = max(0.0, found.volume_mm3 - Z95 * sd), found.volume_mm3 + Z95 * sd
        return found.volume_mm3, sd, low, high, found.share, "outline"
    # Not resolved: the density lies between the brightest voxels seen and the densest there is.
    brightest = np.sort(piece.contrast_hu[place.mineral])[-3:]
    seen_hu = max(float(brightest.mean()), FAINTEST_HU)
    low = max(0.0, excess - Z95 * excess_sd) / DENSEST_HU
    # No mineral is larger than where it may lie.
    high = min(max(0.0, excess + Z95 * excess_sd) / (0.85 * seen_hu), float(place.room.sum() * piece.voxel_mm3))
    share = np.where(place.room, piece.contrast_hu / seen_hu, 0)
    volume = max(0.0, excess / seen_hu)
    sd = max((high - low) / (2 * Z95), excess_sd / seen_hu)
    return volume, sd, min(low, volume), max(high, volume), share, "not_resolved"


def _resolved(piece: _Piece) -> bool:
    """Tell whether a piece is thick and dense enough for its volume to be told from its density."""
    found = piece.outline
    wide = found.radius_mm >= RESOLVED_SDS * _blur_mm(piece)
    return bool(wide and found.contrast_hu >= FAINTEST_HU and np.isfinite(found.curvature))


def _blur_mm(piece: _Piece) -> float:
    """Return the SD of the blur, mm, of a voxel's averaging with it: the geometric mean of the three directions."""
    slice_mm, *plane = piece.place.spacing_zyx_mm
    across = np.hypot(max(piece.blur.slice_mm, slice_mm) / np.sqrt(12), piece.blur.across_mm)
    return float((across * np.prod([np.hypot(piece.blur.sigma_mm, side / np.sqrt(12)) for side in plane])) ** (1 / 3))


def _envelope(piece: _Piece, share: np.ndarray) -> float:
    """Return the volume inside the closed outline, mm³: full inside, partial at the outer border."""
    half = (share >= 0.5) & piece.place.room
    reach = np.maximum(1, np.round(CLOSING_MM / piece.place.spacing_zyx_mm)).astype(int)
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
    partial = np.clip(share, 0, 1)[piece.place.room & ~whole].sum()
    return float((whole.sum() + partial) * piece.voxel_mm3)


def _centre(piece: _Piece, scan: Scan, box: tuple[slice, ...]) -> dict[str, float]:
    """Return the centroid of the contrast inside the outline, LPS mm."""
    index = np.argwhere(piece.place.mineral)
    weight = np.maximum(piece.contrast_hu[piece.place.mineral], 1.0)
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
    """Return one row a quantity; what the model leaves out, and open lower limits, add up over lesions."""
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
                "lo": max(0.0, value - _open_start(seen, quantity) - Z95 * sd) if np.isfinite(value) else nan,
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
    if quantity == "volume_mm3":
        sds, common = present["volume_sd_mm3"], EDGE_ERROR
    elif quantity == "excess_hu_mm3":
        sds, common = present["excess_sd_hu_mm3"], MODEL_ERROR
    elif quantity == "mass_mg":
        sds, common = present["excess_sd_hu_mm3"] * present["mass_mg"] / present["excess_hu_mm3"], MODEL_ERROR
    else:
        return total, nan
    # What the model leaves out is alike in all lesions of a scan; the rest of their errors is not.
    shared = (common * present[quantity]).clip(upper=sds)
    own = sds**2 - shared**2
    return total, float(np.hypot(np.sqrt(own.to_numpy().sum()), shared.to_numpy().sum()))


def _open_start(seen: pd.DataFrame, quantity: str) -> float:
    """Return how much farther the volumes' lower limits reach than their SDs say, mm³: what is not resolved."""
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


def _ball(reach: np.ndarray) -> np.ndarray:
    axes = np.meshgrid(*[np.arange(-r, r + 1) / r for r in reach], indexing="ij")
    return np.asarray(sum(np.square(part) for part in axes) <= 1.0 + 1e-9)
