"""How much mineral: volume, excess, mass and Agatston score of each piece, lesion, compartment and visit."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from monitor import grid
from monitor._burden import outline, phantomless, scores
from monitor._burden.outline import Blur, Outline, Place
from monitor._burden.scores import VARIANTS, agatston, mass_factor
from monitor.types import Anatomy, Crop, Findings, Scan

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

TISSUE_SHARE = 1 / 3
"""How much of the SD of the tissue around is left in what is told of it in the place of mineral: 16 to 24 HU between
muscle and fat, for small lesions as for large ones (phantom, 400 lesions of seeds below 44)."""

TISSUE_LEAST_HU = 8.0
"""Least SD of that tissue, HU: flesh that looks even is not known better."""

THIN_ERROR_PER_MM = 0.03
"""Relative SD of the excess of what is not resolved, per mm of slice increment: tissue beside a thin rim is mixed with
it over a slice (arcs and sheets of the phantom at slices of 1 to 5 mm)."""

MODEL_ERROR = 0.02
"""Relative SD of an excess from what the model leaves out: kernel overshoot, beam hardening, a blur that is not known
(balls in even muscle at 1 to 3 mm slices)."""

CONTACT_ERROR, CONTACT_REPEAT = 0.2, 0.2
"""Relative SD of an amount, per share of the piece's surface that lies on bone, and what of it differs from scan to
scan: where the one ends and the other begins is not seen (balls on and beside bone of the phantom, with their foot)."""

REPEAT_ERROR = 0.015
"""Relative SD by which an excess differs from scan to scan beside noise: pose, slices and lattice (phantom, pairs of
scans of unchanged lesions, 88 children)."""

THIN_REPEAT_ERROR_PER_MM = 0.03
"""The same where volume is not resolved, per mm of slice increment: what of a thin rim is told from the tissue beside
moves with the lattice (104 children at 1.5 mm; sheets move most, arcs half as much)."""

EDGE_ERROR = 0.006
"""Relative SD of a resolved volume from placement of slices and of the outline (phantom, 373 lesions of 36 seeds)."""

SHAPE_ERROR = 0.15
"""The same, times the square of blur over inscribed radius: blur rounds an outline off."""

MISFIT_SHARE = 0.5
"""How much of what an outline does not explain of the picture moves its volume (the same lesions; shells most)."""

SLICE_ERROR, SLICE_EXCESS_ERROR = 0.07, 0.06
"""Relative SD of a resolved volume and of its excess, times the square of slice increment over inscribed radius: where
few slices cross a lesion their placement decides (phantom, 80 scans with slices of 1 to 5 mm)."""

TELLING_MM, TELLING_MM3 = 2.0, 5000.0
"""Least inscribed radius, mm, and greatest volume, mm³, of a piece that is asked for the blur."""

NOWHERE_HU = -1024.0
"""What a score sees where nothing may count, HU."""

Z95 = 1.959964
"""Normal quantile of two-sided 95 % limits."""

RULES = {
    "volume_mm3": "volume:blurred-outline,margin=2mm,v4",
    "excess_hu_mm3": "excess:smoothest-background-with-edges,margin=2mm,ring=4mm,v4",
    "mass_mg": "mass:excess,nominal=0.77mg/cm3/HU@120kV,v3",
    "threshold_volume_mm3": "threshold-volume:max(130@120kV,tissue+4.3SD),3D26,v1",
    "envelope_mm3": "envelope:closed-filled,v4",
    **{name: variant.rule_id for name, variant in VARIANTS.items()},
    "n_lesions": "count:volume>0,v1",
    "n_regions": "count:regions-with-volume>0,region=side+compartment-that-ever-held-a-lesion-in-this-part-of-the-body,"
    "untold-is-one,evaluable=share-of-them-with-a-lesion-or-wholly-seen,v1",
    "threshold_volume_iso_mm3": "threshold-volume:max(130@120kV,tissue+4.3SD),linear-to-isotropic,in=lesion+2mm,v1",
    "threshold_mass_mg": "mass:sum-of-HU-of-threshold-volume(mean-HU*volume),no-background,"
    "nominal=0.77mg/cm3/HU@120kV,v1",
    "spatially_weighted_mm3": "spatially-weighted:normal-CDF(mean=HU-of-100mg/cm3-at-nominal-0.77mg/cm3/HU@120kV,"
    "SD=noise-of-scan),no-phantom,5-point-in-plane-0.2,times-voxel-volume,unknown-kVp=120,in=lesion+2mm,v1",
    "mass_tissue_mg": f"mass:excess,nominal=0.77mg/cm3/HU@120kV,{phantomless.RULE},v1",
}
"""What is needed to repeat each quantity, beside the threshold and acquisition in table ``visits``."""

UNITS = {
    "volume_mm3": "mm3",
    "excess_hu_mm3": "HU mm3",
    "mass_mg": "mg",
    "threshold_volume_mm3": "mm3",
    "envelope_mm3": "mm3",
    **dict.fromkeys(VARIANTS, "1"),
    "n_lesions": "1",
    "n_regions": "1",
    "threshold_volume_iso_mm3": "mm3",
    "threshold_mass_mg": "mg",
    "spatially_weighted_mm3": "mm3",
    "mass_tissue_mg": "mg",
}
"""Units of the quantities, as the tables print them."""


COUNTS = ("n_lesions", "n_regions")
"""Quantities that are counted over lesions; the others are sums."""

SUMMED = tuple(name for name in RULES if name not in COUNTS)
"""Quantities that each piece has, and that a resolved lesion has 0 of."""

PARTS = (outline, scores, phantomless)
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
    on_bone: float

    @property
    def contrast_hu(self) -> np.ndarray:
        """HU above the tissue in its place."""
        return self.place.hu - self.outline.tissue_hu

    @property
    def over_threshold(self) -> np.ndarray:
        """Voxels of the piece at or above the scan's threshold."""
        return self.place.mineral & (self.place.hu >= self.threshold_hu)

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
        threshold_volume_mm3, excess_hu_mm3 with its SD, mass_mg, calibration, agatston and its variants,
        threshold_volume_iso_mm3, threshold_mass_mg, spatially_weighted_mm3, mass_tissue_mg, mean_hu, peak_hu
        and the centroid x_mm, y_mm, z_mm (LPS).

    Notes
    -----
    Excess is the integral over the piece and its blurred border of HU above the tissue in its place, which is what
    goes on most smoothly from around; blur moves HU but does not change this integral. Volume is that of the outline
    whose blurred picture is nearest to the scan; the blur is told by the scan's own sharpest pieces.
    """
    return measure_voxels(scan, anatomy, findings)[0]


def measure_voxels(scan: Scan, anatomy: Anatomy, findings: Findings) -> tuple[pd.DataFrame, dict[int, Crop], Blur]:
    """Return what ``measure`` returns, by label each piece voxel by voxel, and the scanner's blur."""
    places = _places(scan, anatomy, findings)
    blur = _blur(scan, places)
    factor = noise_correlation(scan, anatomy)
    kvp = scan.acquisition.kvp
    steep = phantomless.slope(phantomless.measured(scan, anatomy, findings), kvp) if places else nan
    rows, crops = [], {}
    for label, (near, place) in places.items():
        fitted, on_bone = outline.fit(place, blur), _on_bone(place, anatomy.skeleton[near])
        piece = _Piece(place, fitted, blur, factor, scan.voxel_volume_mm3, findings.threshold_hu, on_bone)
        amounts = {**_amounts(piece, kvp), **_scores(piece, kvp)}
        amounts["mass_tissue_mg"] = amounts["mass_mg"] * steep
        rows.append({"label": label, **amounts, **_centre(piece, scan, near)})
        crops[label] = _crop(piece, scan, near)
    return pd.DataFrame(rows, columns=COLUMNS), crops, blur


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
    "volume_repeat_sd_mm3",
    "volume_rule",
    "envelope_mm3",
    "threshold_volume_mm3",
    "excess_hu_mm3",
    "excess_sd_hu_mm3",
    "excess_repeat_sd_hu_mm3",
    "mass_mg",
    "calibration",
    *VARIANTS,
    "threshold_volume_iso_mm3",
    "threshold_mass_mg",
    "spatially_weighted_mm3",
    "mass_tissue_mg",
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


def _on_bone(place: Place, skeleton: np.ndarray) -> float:
    """Return the share of a piece's surface that lies within the border's width of bone."""
    if not skeleton.any():
        return 0.0
    surface = place.mineral & ~ndimage.binary_erosion(place.mineral)
    return float((grid.distance_mm(skeleton, place.spacing_zyx_mm)[surface] <= MARGIN_MM).mean())


def _amounts(piece: _Piece, kvp: float) -> dict[str, Any]:
    voxel, place = piece.voxel_mm3, piece.place
    excess = float(piece.contrast_hu[piece.region].sum() * voxel)
    sd, repeat_sd = _excess_sds(piece, excess)
    volume, volume_sd, volume_repeat_sd, low, high, share, rule = _volume(piece, excess, sd)
    factor, calibration = mass_factor(kvp)
    return {
        "volume_mm3": volume,
        "volume_lo_mm3": low,
        "volume_hi_mm3": high,
        "volume_sd_mm3": volume_sd,
        "volume_repeat_sd_mm3": volume_repeat_sd,
        "volume_rule": rule,
        "envelope_mm3": max(volume, _envelope(piece, share)),
        "threshold_volume_mm3": float(piece.over_threshold.sum() * voxel),
        "excess_hu_mm3": excess,
        "excess_sd_hu_mm3": sd,
        "excess_repeat_sd_hu_mm3": repeat_sd,
        "mass_mg": excess * factor,
        "calibration": calibration,
        "mean_hu": float(place.hu[place.mineral].mean()),
        "peak_hu": float(place.hu[place.mineral].max()),
    }


def _scores(piece: _Piece, kvp: float) -> dict[str, float]:
    """Return what the programs of the field would count of a piece."""
    place = piece.place
    counted = np.where(place.room, place.hu, NOWHERE_HU)
    spacing = place.spacing_zyx_mm
    return {
        **{name: agatston(counted, spacing, kvp=kvp, variant=variant) for name, variant in VARIANTS.items()},
        "threshold_volume_iso_mm3": scores.isotropic_volume_mm3(
            place.hu, place.room, spacing, threshold_hu=piece.threshold_hu
        ),
        "threshold_mass_mg": float(place.hu[piece.over_threshold].sum()) * piece.voxel_mm3 * mass_factor(kvp)[0],
        "spatially_weighted_mm3": scores.spatially_weighted_mm3(
            place.hu, place.room, spacing, kvp=kvp, noise_hu=place.noise_hu
        ),
    }


def _excess_sds(piece: _Piece, excess: float) -> tuple[float, float]:
    """Return SD of an excess, and of what of it differs from scan to scan.

    Noise of the sum, the tissue that is not known in its place, the border to bone and what the model leaves out, in
    quadrature; tissue and model err alike in every scan of the lesion.
    """
    place, outlined = piece.place, piece.outline
    noise = place.noise_hu * np.sqrt(piece.region.sum() * piece.noise_factor)
    held = float(outlined.share[place.room].sum())
    around = place.tissue & ~place.room
    texture = float(np.std(outlined.tissue_hu[around])) if around.any() else 0.0
    tissue = max(TISSUE_SHARE * texture, TISSUE_LEAST_HU) * held
    slice_mm = float(place.spacing_zyx_mm[0])
    if _resolved(piece):
        placed = SLICE_EXCESS_ERROR * _slices_a_radius(piece) ** 2
        own, again = float(np.hypot(MODEL_ERROR, placed)), float(np.hypot(REPEAT_ERROR, placed))
    else:
        own = float(np.hypot(MODEL_ERROR, THIN_ERROR_PER_MM * slice_mm))
        again = max(REPEAT_ERROR, THIN_REPEAT_ERROR_PER_MM * slice_mm)
    absolute = np.array([noise, tissue]) * piece.voxel_mm3
    sd = np.sqrt(np.square([*absolute, own * excess, CONTACT_ERROR * piece.on_bone * excess]).sum())
    repeat = np.sqrt(np.square([absolute[0], again * excess, CONTACT_REPEAT * piece.on_bone * excess]).sum())
    return float(sd), float(repeat)


def _volume(
    piece: _Piece, excess: float, excess_sd: float
) -> tuple[float, float, float, float, float, np.ndarray, str]:
    """Return volume, its SD, what of that differs from scan to scan, and 95 % limits, all mm³; shares and the rule."""
    place, found = piece.place, piece.outline
    if _resolved(piece):
        shape = SHAPE_ERROR * (_blur_mm(piece) / found.radius_mm) ** 2
        placed = SLICE_ERROR * _slices_a_radius(piece) ** 2
        # A step of one in the misfit's sum over independent samples of the noise is one SD.
        samples = found.voxels / piece.noise_factor
        seen = np.sqrt(2 * max(found.misfit, 1.0) / (samples * max(found.curvature, 1e-3)))
        unexplained = MISFIT_SHARE * place.noise_hu * np.sqrt(max(found.misfit - 1, 0.0)) / found.contrast_hu
        contact = CONTACT_ERROR * piece.on_bone
        parts = [seen, shape, placed, unexplained, EDGE_ERROR, contact]
        sd = found.volume_mm3 * float(np.sqrt(np.square(parts).sum()))
        low, high = max(0.0, found.volume_mm3 - Z95 * sd), found.volume_mm3 + Z95 * sd
        differs = [seen, placed, REPEAT_ERROR, CONTACT_REPEAT * piece.on_bone]
        repeat = found.volume_mm3 * float(np.sqrt(np.square(differs).sum()))
        return found.volume_mm3, sd, repeat, low, high, found.share, "outline"
    # Not resolved: the density lies between the brightest voxels seen and the densest there is.
    brightest = np.sort(piece.contrast_hu[place.mineral])[-3:]
    seen_hu = max(float(brightest.mean()), FAINTEST_HU)
    low = max(0.0, excess - Z95 * excess_sd) / DENSEST_HU
    # No mineral is larger than where it may lie.
    high = min(max(0.0, excess + Z95 * excess_sd) / (0.85 * seen_hu), float(place.room.sum() * piece.voxel_mm3))
    share = np.where(place.room, piece.contrast_hu / seen_hu, 0)
    volume = max(0.0, excess / seen_hu)
    sd = max((high - low) / (2 * Z95), excess_sd / seen_hu)
    return volume, sd, sd, min(low, volume), max(high, volume), share, "not_resolved"


def _resolved(piece: _Piece) -> bool:
    """Tell whether a piece is thick and dense enough for its volume to be told from its density."""
    found = piece.outline
    wide = found.radius_mm >= RESOLVED_SDS * _blur_mm(piece)
    return bool(wide and found.contrast_hu >= FAINTEST_HU and np.isfinite(found.curvature))


def _slices_a_radius(piece: _Piece) -> float:
    """Return the slice increment over the inscribed radius of a resolved piece."""
    return float(piece.place.spacing_zyx_mm[0]) / piece.outline.radius_mm


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


def _crop(piece: _Piece, scan: Scan, box: tuple[slice, ...]) -> Crop:
    """Return a piece voxel by voxel: within its outline or, where that encloses nothing, as it was found."""
    found, place = piece.outline, piece.place
    share = place.mineral.astype(np.float32)
    if found.inside.any():
        share = np.zeros_like(share)
        (z, y, x), (depth, height, width) = place.fold.tolist(), share[place.inner].shape
        share[place.inner] = found.inside.reshape(depth, z, height, y, width, x).mean(axis=(1, 3, 5))
    matrix = grid.affine(scan.image)
    matrix[:3, 3] = grid.to_mm(scan.image, np.array([part.start for part in box]))[0]
    parts = (share, found.share, found.tissue_hu)
    return Crop(matrix, scan.array[box].copy(), *(part.astype(np.float16) for part in parts))


def _centre(piece: _Piece, scan: Scan, box: tuple[slice, ...]) -> dict[str, float]:
    """Return the centroid of the contrast inside the outline, LPS mm."""
    index = np.argwhere(piece.place.mineral)
    weight = np.maximum(piece.contrast_hu[piece.place.mineral], 1.0)
    centre = np.average(index, axis=0, weights=weight) + [part.start for part in box]
    x, y, z = grid.to_mm(scan.image, centre)[0]
    return {"x_mm": float(x), "y_mm": float(y), "z_mm": float(z)}


def totals(lesions: pd.DataFrame, regions: pd.DataFrame | None = None) -> pd.DataFrame:
    """Sum the lesions of one visit by compartment and in all.

    Parameters
    ----------
    lesions : DataFrame
        Rows of one visit: status, compartment, the quantities, volume_lo_mm3, volume_hi_mm3, volume_sd_mm3 and
        excess_sd_hu_mm3. A lesion that is not in the field makes its sums not evaluable.
    regions : DataFrame, optional
        The patient's known regions at this visit, as ``regions_of`` returns them; without, those of these lesions.

    Returns
    -------
    DataFrame
        Rows of table ``burden`` without patient, visit and date, and ``sd``.
    """
    known = regions_of(lesions) if regions is None else regions
    groups = {"total": (lesions, known)}
    for name, part in lesions.groupby("compartment"):
        if name:
            groups[str(name)] = part, known[known["compartment"] == name]
    return pd.DataFrame([row for name, both in groups.items() for row in _sums(name, *both)])


def regions_of(lesions: pd.DataFrame) -> pd.DataFrame:
    """Return the regions of lesions, and which of them hold mineral at one visit.

    Parameters
    ----------
    lesions : DataFrame
        Rows of one visit: compartment, status, volume_mm3 and perhaps side, of every lesion that the record knows.

    Returns
    -------
    DataFrame
        A row a pair of compartment and side, what is not told being a word too; ``involved`` is True where a lesion is
        present, False where all are gone and their places were seen, missing where that cannot be told.

    Examples
    --------
    >>> rows = [("skin", "left", "stable", 9.0), ("skin", "left", "not_in_field", nan),
    ...         ("skin", "right", "resolved", 0.0), ("organ", "left", "not_in_field", nan)]
    >>> found = regions_of(pd.DataFrame(rows, columns=["compartment", "side", "status", "volume_mm3"]))
    >>> [*found["compartment"]], [*found["side"]], found["involved"].astype(object).tolist()
    (['organ', 'skin', 'skin'], ['left', 'left', 'right'], [<NA>, True, False])
    """
    known = lesions[lesions["status"] != "merged"].reindex(columns=["compartment", "side", "status", "volume_mm3"])
    known = known.assign(**{name: known[name].astype(object).fillna("") for name in ("compartment", "side")})
    rows = []
    for (compartment, side), part in known.groupby(["compartment", "side"], sort=True):
        present = bool((part["volume_mm3"] > 0).any())
        hidden = bool((part["status"] == "not_in_field").any())
        rows.append((compartment, side, pd.NA if hidden and not present else present))
    table = pd.DataFrame(rows, columns=["compartment", "side", "involved"])
    return table.astype({"involved": "boolean"})


def _sums(compartment: str, lesions: pd.DataFrame, regions: pd.DataFrame) -> list[dict[str, object]]:
    """Return one row a quantity; what the model leaves out, and open lower limits, add up over lesions."""
    known = lesions[lesions["status"] != "merged"]
    seen = known[known["status"] != "not_in_field"]
    rows: list[dict[str, object]] = []
    for quantity, rule in RULES.items():
        evaluable = len(seen) / len(known) if len(known) else 1.0
        if quantity == "n_regions":
            evaluable = float(regions["involved"].notna().mean()) if len(regions) else 1.0
            observed, sd = float(regions["involved"].sum()), nan
        else:
            observed, sd = _sum(seen, quantity)
        value = observed if evaluable == 1.0 else nan
        low = value - _open_start(seen, quantity) - Z95 * sd
        rows.append(
            {
                "compartment": compartment,
                "quantity": quantity,
                "value": value,
                "lo": max(0.0, low) if np.isfinite(low) else nan,
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
    elif quantity in ("excess_hu_mm3", "mass_mg", "mass_tissue_mg"):
        sds, common = present["excess_sd_hu_mm3"] * present[quantity] / present["excess_hu_mm3"], MODEL_ERROR
    else:
        return total, nan
    if quantity == "mass_tissue_mg":
        # One line is drawn for all lesions of a scan.
        slope = phantomless.SLOPE_SD
        sds, common = (sds**2 + (slope * present[quantity]) ** 2) ** 0.5, float(np.hypot(common, slope))
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
