"""Where two scans are compared: points on edges of the fixed one, and how much each of them says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor import grid
from monitor._registration.scales import Scale

LEAST_EDGE_HU = 15.0
"""Least change of HU over a voxel at a point that is compared: below it noise is all there is."""

NOISE_HU = 20.0
"""SD of HU that is expected between two scans where there is no edge; what is found instead rescales it."""

EDGE_VOXELS = 0.25
"""Expected error of place of an edge, in voxels, that interpolation leaves: no edge counts for more than that."""

OUTLIER_SD = 3.0
"""Tukey's limit, in SDs: what differs by more has changed, and says nothing of place (Beaton and Tukey 1974)."""

LEAST_SCALE = 0.3
"""Least factor by which expected variances shrink: exact copies of a scan would count without limit."""

MEDIAN_CHI2 = 0.455
"""Median of chi squared with one degree of freedom."""


@dataclass(frozen=True)
class Points:
    """Voxels of the fixed scale on edges; ``gradient`` is HU a mm, ``mm3`` the volume that each stands for."""

    mm: np.ndarray
    hu: np.ndarray
    gradient: np.ndarray
    mm3: float

    def __len__(self) -> int:
        return len(self.hu)


def choose(fixed: Scale, most: int) -> Points:
    """Take voxels on edges, at most so many: evenly over the scan, seeded."""
    slopes = fixed.slopes()
    strength = np.sqrt(np.einsum("kzyx,kzyx->zyx", slopes, slopes)) * fixed.voxel_mm
    # NaN compares as False: what does not count, and its neighbours, are not taken.
    edge = np.flatnonzero(strength > LEAST_EDGE_HU)
    taken = edge
    if len(edge) > most:
        taken = np.sort(np.random.default_rng(0).choice(edge, most, replace=False))
    index = np.stack(np.unravel_index(taken, fixed.hu.shape), axis=1)
    return Points(
        mm=grid.apply_affine(fixed.matrix, index),
        hu=fixed.hu.ravel()[taken],
        gradient=slopes.reshape(3, -1)[:, taken].T,
        mm3=fixed.voxel_mm3 * len(edge) / max(len(taken), 1),
    )


def difference(points: Points, moving: Scale, places_mm: np.ndarray) -> np.ndarray:
    """Return moving minus fixed HU, (N,), with the points at these places of the moving scan; NaN where not seen."""
    return moving.at(places_mm, moving.hu) - points.hu


def slope(points: Points, moving: Scale, places_mm: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return the gradient, (N, 3) HU a mm of the fixed scan, by which a step changes the difference.

    The mean of both scans' gradients doubles the range of convergence (Benhimane and Malis 2004). ``turn`` is the
    linear part of the map, (3, 3).
    """
    there = [moving.at(places_mm, part) for part in moving.gradient]
    mean = np.empty_like(points.gradient)
    for own, out, column in zip(points.gradient.T, mean.T, turn.T.astype(np.float32), strict=True):
        out[:] = (own + there[0] * column[0] + there[1] * column[1] + there[2] * column[2]) / 2
    mean[~np.isfinite(mean).all(axis=1)] = 0.0
    return mean


def weights(gap: np.ndarray, gradient: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Return how much each difference counts, (N,) in 1/HU²: the inverse of its variance, 0 for outliers.

    The variance is that of noise and of what an edge of this height shows when it is a fraction of a voxel off.
    """
    expected = NOISE_HU**2 + (EDGE_VOXELS * voxel_mm) ** 2 * np.einsum("nk,nk->n", gradient, gradient)
    score = gap * gap / expected
    scale = max(float(np.nanmedian(score)) / MEDIAN_CHI2, LEAST_SCALE)
    inner = 1.0 - score / (scale * OUTLIER_SD**2)
    weight = np.where(inner > 0, inner * inner, 0.0) / (expected * scale)
    return np.asarray(np.nan_to_num(weight), np.float32)


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Return Pearson's correlation of two arrays, (N,); by numpy's own sums, whose bits hang on no number of threads.

    >>> round(correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 7.0])), 3)
    0.993
    """
    first, second = one - one.mean(dtype=float), two - two.mean(dtype=float)
    spread = float((first * first).sum(dtype=float)) * float((second * second).sum(dtype=float))
    return float((first * second).sum(dtype=float)) / max(spread**0.5, 1e-9)
