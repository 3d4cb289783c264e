"""What came, went, densified and stayed of a lesion between two visits, voxel by voxel.

Native voxel centres are carried to the other visit as points, each keeping its own volume, and what the other scan
holds is sampled there, within a band that the registration's error sets. No resampled image gives a volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import nan

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor.types import Crop

COLUMNS = (
    "gained_mm3",
    "lost_mm3",
    "formation_mm3",
    "resorption_mm3",
    "mineralised_mm3",
    "demineralised_mm3",
    "unchanged_mm3",
)
"""What ``exchange`` tells, as table ``changes`` names it."""

LEAST_BAND_VOXELS = 0.5
"""Least half width of the band in voxels of the coarser scan, along each axis: the centre of a voxel that mineral
fills in part lies up to half a voxel beside it."""

STILL = 0.5
"""A voxel is mineral still where a voxel of the other visit in the band is mineral by half as much or more: on an
outline the share is a half."""

LEAST_SEEN = 0.5
"""Density is compared where mineral makes half of what is seen in a voxel, or more: fainter voxels tell of tissue."""

NOISE_SDS = 3.0
"""A voxel is denser or fainter where its mineral differs by more SDs of the noise of both scans than this: of what did
not change 0.3 % passes by chance."""

DENSITY_ERROR = 0.03
"""Relative SD of a voxel's density beside noise, where mineral is all that is seen in it (1 % from pose and grid alone,
phantom; the rest for what hardens the beam otherwise in another pose)."""

BORDER_ERROR = 0.1
"""The same for each part of what is seen in it that is tissue: twice what pose and grid alone show (phantom)."""

THIN_ERROR = 0.3
"""Relative SD of the density of a piece that is not resolved: it may as well be thinner and denser."""

USUAL_NOISE_HU = 20.0
"""SD of the noise, HU, where a scan showed too little soft tissue to tell."""

Z95 = 1.959964
"""Normal quantile of two-sided 95 % limits."""


@dataclass(frozen=True)
class Side:
    """One or several pieces at one visit, compared as one.

    Attributes
    ----------
    crops : tuple of Crop
        The pieces; none where the lesion is absent.
    volumes_mm3 : tuple of float
        Native volume of each.
    resolved : tuple of bool
        Whether each is thick enough for its density to be seen.
    to_other : callable
        Carries points, (N, 3) LPS mm, of this visit to the other.
    noise_hu : float
        SD of the scan's noise.
    """

    crops: tuple[Crop, ...]
    volumes_mm3: tuple[float, ...]
    resolved: tuple[bool, ...]
    to_other: Callable[[np.ndarray], np.ndarray]
    noise_hu: float = nan

    @property
    def volume_mm3(self) -> float:
        """Native volume of all pieces."""
        return float(sum(self.volumes_mm3))


def exchange(before: Side, after: Side, *, residual_mm: float, densities: bool = True) -> dict[str, float]:
    """Tell what came, went, densified and stayed.

    Parameters
    ----------
    before, after : Side
        The same lesion, or family of lesions, at two visits.
    residual_mm : float
        Of the map between them.
    densities : bool
        Whether HU of the two scans may be compared; without it what stayed is not told apart.

    Returns
    -------
    dict
        ``COLUMNS``, mm³. Gained less lost is the difference of the native volumes. What stayed is after less gained,
        and before less lost; it is the sum of mineralised, demineralised and unchanged.

    Notes
    -----
    A voxel's mineral stayed where the other visit has mineral within the band, the larger of ``residual_mm`` and half
    a voxel. Seen from either visit what stayed has its own amount, for the band hides growth and loss of its width.
    The smaller amount is taken for both: so what the band hides is counted as gained where the lesion grew and as lost
    where it shrank, and no volume comes from nothing. ``formation_mm3`` and ``resorption_mm3`` are what lies beyond the
    band, parts of gained and lost. With time reversed each column changes places with its opposite.

    A lesion need not grow with the child: of the map, what stretches a piece is taken off around its centroid.
    """
    seen = [_seen(*pair, residual_mm) for pair in ((before, after), (after, before))]
    volumes = before.volume_mm3, after.volume_mm3
    stayed = [volume * one.still for volume, one in zip(volumes, seen, strict=True)]
    kept = min(stayed)
    denser, fainter = ((seen[0].denser + seen[1].fainter) / 2, (seen[0].fainter + seen[1].denser) / 2)
    found = {
        "gained_mm3": volumes[1] - kept,
        "lost_mm3": volumes[0] - kept,
        "formation_mm3": volumes[1] - stayed[1],
        "resorption_mm3": volumes[0] - stayed[0],
        "mineralised_mm3": kept * denser if densities else nan,
        "demineralised_mm3": kept * fainter if densities else nan,
        "unchanged_mm3": kept * (1 - denser - fainter) if densities else nan,
    }
    return {name: found[name] for name in COLUMNS}


@dataclass(frozen=True)
class _Seen:
    """Shares: of a side's volume what the other side holds too, and of that what is denser or fainter there."""

    still: float
    denser: float
    fainter: float


def _seen(own: Side, other: Side, residual_mm: float) -> _Seen:
    """Return what of a side is seen at the other."""
    if not (own.crops and other.crops and own.volume_mm3 > 0 and other.volume_mm3 > 0):
        return _Seen(0.0, 0.0, 0.0)
    voxels = [_sides_mm(crop.matrix) for crop in (*own.crops, *other.crops)]
    band_mm = np.maximum(residual_mm, LEAST_BAND_VOXELS * np.max(voxels, axis=0))
    parts = []
    for number, (crop, amount) in enumerate(zip(own.crops, own.volumes_mm3, strict=True)):
        held = crop.share > 0
        share = crop.share[held].astype(float)
        points = _carried(crop, held, share, own.to_other)
        still = _most(other.crops, points, band_mm) >= STILL * share
        denser, fainter = _denser(own, number, held, other, points, residual_mm)
        parts.append(np.stack([share / share.sum() * amount, still, still & denser, still & fainter]))
    weight, still, denser, fainter = np.concatenate(parts, axis=1)
    if not (weight * still).any():
        return _Seen(0.0, 0.0, 0.0)
    # All of it is all of it, whatever the sum's last bit says.
    kept = 1.0 if still.all() else min(float(np.average(still, weights=weight)), 1.0)
    return _Seen(kept, *(float(np.average(part, weights=weight * still)) for part in (denser, fainter)))


def _denser(
    own: Side, number: int, held: np.ndarray, other: Side, points_mm: np.ndarray, residual_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which voxels of a piece are denser at the other visit, and which are fainter, than all error explains."""
    crop = own.crops[number]
    hu, seen, tissue = (getattr(crop, name)[held].astype(float) for name in ("hu", "seen", "tissue_hu"))
    mineral, error = _mineral(hu, seen, tissue, own, number)
    low, high = np.full(len(points_mm), np.inf), np.full(len(points_mm), -np.inf)
    for which in range(len(other.crops)):
        for hu, seen, tissue in _samples(other.crops[which], points_mm, residual_mm):
            there, doubt = _mineral(hu, seen, tissue, other, which)
            margin = np.hypot(error, doubt)
            low = np.fmin(low, there - margin)
            high = np.fmax(high, there + margin)
    told = np.isfinite(low) & np.isfinite(mineral)
    return told & (low > mineral), told & (high < mineral)


def _mineral(
    hu: np.ndarray, seen: np.ndarray, tissue_hu: np.ndarray, side: Side, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much the mineral in voxels exceeds tissue, HU, and how far that may err; NaN in tissue."""
    part = np.where(seen >= LEAST_SEEN, seen, nan)
    above = (hu - tissue_hu) / part
    noise = side.noise_hu if np.isfinite(side.noise_hu) else USUAL_NOISE_HU
    model = DENSITY_ERROR + BORDER_ERROR * np.maximum(1 - part, 0.0)
    if not side.resolved[number]:
        model = np.hypot(model, THIN_ERROR)
    return above, np.hypot(NOISE_SDS * noise / part, Z95 * model * np.abs(above))


def _carried(
    crop: Crop, held: np.ndarray, share: np.ndarray, to_other: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return where a piece's voxels lie in the other visit, (N, 3) mm, without what the map stretches them apart."""
    points = grid.apply_affine(crop.matrix, np.argwhere(held).astype(float))
    there = to_other(points)
    middle = np.average(there, axis=0, weights=share)
    spread = [_spread(places, share) for places in (points, there)]
    stretch = np.sqrt(spread[1] / spread[0]) if min(spread) > 0 else 1.0
    return np.asarray(middle + (there - middle) / stretch)


def _spread(points_mm: np.ndarray, share: np.ndarray) -> float:
    """Return the mean square distance from the centroid, mm²."""
    away = points_mm - np.average(points_mm, axis=0, weights=share)
    return float(np.average(np.square(away).sum(axis=1), weights=share))


def _most(crops: Iterable[Crop], points_mm: np.ndarray, band_mm: np.ndarray) -> np.ndarray:
    """Return the greatest share of mineral in the band around each point, (N,)."""
    found = np.zeros(len(points_mm))
    for crop in crops:
        index = grid.apply_affine(np.linalg.inv(crop.matrix), points_mm)
        values = crop.share.astype(float)
        for step in _steps(band_mm / _sides_mm(crop.matrix)):
            share = ndimage.map_coordinates(values, (index + step).T, order=1, mode="grid-constant", output=float)
            np.maximum(found, share, out=found)
    return found


def _samples(
    crop: Crop, points_mm: np.ndarray, residual_mm: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield HU, share of mineral and HU of tissue, (N,) each, at places within the residual around each point.

    HU are sampled by cubic splines: between voxels a straight line cuts the crest off a thin rim.
    """
    index = grid.apply_affine(np.linalg.inv(crop.matrix), points_mm)
    last = np.array(crop.hu.shape) - 1
    arrays = [getattr(crop, name).astype(float) for name in ("hu", "seen", "tissue_hu")]
    splines = [ndimage.spline_filter(values, order=3, mode="mirror") for values in arrays]
    for step in _steps(residual_mm / _sides_mm(crop.matrix)):
        place = index + step
        inside = ((place >= 0) & (place <= last)).all(axis=1)
        hu, seen, tissue = (
            ndimage.map_coordinates(part, place.T, order=3, mode="mirror", prefilter=False) for part in splines
        )
        yield hu, np.where(inside, np.minimum(seen, 1.0), 0.0), tissue


def _steps(reach_voxels: np.ndarray) -> np.ndarray:
    """Return steps to points spread over an ellipsoid of these half axes, (N, 3) voxels, the middle first.

    >>> len(_steps(np.array([0.5, 0.5, 0.5]))), len(_steps(np.zeros(3)))
    (27, 1)
    """
    directions = np.array([step for step in product((-1.0, 0.0, 1.0), repeat=3) if any(step)])
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    rings = int(np.ceil(reach_voxels.max()))
    parts = [np.zeros((1, 3)), *(directions * reach_voxels * ring / rings for ring in range(1, rings + 1))]
    return np.concatenate(parts)


def _sides_mm(matrix: np.ndarray) -> np.ndarray:
    """Return the sides of a voxel along its axes, (3,) mm, zyx."""
    return np.asarray(np.linalg.norm(matrix[:3, :3], axis=0))
