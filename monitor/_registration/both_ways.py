"""One map of two: found in each direction on its own, averaged, and how far the two disagree."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from monitor import grid
from monitor._registration import bend, linear, match
from monitor._registration.bend import Way
from monitor._registration.scales import Scale
from monitor._registration.start import improved
from monitor.types import Registration

LINEAR_POINTS = 30_000
"""Most points that are compared for the linear part at each scale: its twelve numbers ask for no more."""

AFFINE_STRETCH = 1.06
"""Largest factor by which the affine part may lengthen one direction over uniform growth: a limb without features
does not tell its own length, and there an affine fit runs away."""

AROUND_NODES = 1.5
"""SD, in nodes, of the surroundings in which two maps are judged by how well the scans match."""

SHARPNESS = 4.0
"""Power of the mean squared difference by which the worse of two maps counts less."""

LOOKED_AT = 4000
"""Points of the body at which the two maps are compared."""


@dataclass(frozen=True)
class BothWays:
    """The mean of two maps, the two themselves, and their disagreement at points of the fixed body, mm."""

    registration: Registration
    ways: tuple[Way, Way]
    points_mm: np.ndarray
    gap_mm: np.ndarray


def optimise(scales: list[tuple[Scale, Scale]], start: np.ndarray, coarser: BothWays | None = None) -> BothWays:
    """Find the map from a start in both directions, each by itself.

    Parameters
    ----------
    scales : list of (fixed, moving)
        From coarse to fine.
    start : (4, 4) array
        Fixed mm to moving mm.
    coarser : BothWays, optional
        What was found at the first of these scales, to go on from.
    """
    one, back = coarser.ways if coarser else (None, None)
    one = _one_way(scales, start, one)
    back = _one_way([(moving, fixed) for fixed, moving in scales], np.linalg.inv(start), back)
    forward, backward = _registration(one, one.field), _registration(back, back.field)
    # Where the backward map brings a point from is where it says that the fixed point lies.
    nodes = one.lattice.nodes_mm
    other = grid.apply_affine(np.linalg.inv(one.matrix), backward.to_baseline(nodes)) - nodes
    trust = _trust(scales[-1], one, other)
    found = _registration(one, other + trust[:, None] * (one.field - other))
    points = _body_points(scales[-1][0])
    gap = forward.from_baseline(points) - backward.to_baseline(points)
    seen = np.isfinite(scales[-1][1].at(found.from_baseline(points), scales[-1][1].hu))
    return BothWays(found, (one, back), points[seen], np.linalg.norm(gap, axis=1)[seen])


def _trust(scales: tuple[Scale, Scale], one: Way, other: np.ndarray) -> np.ndarray:
    """Return how much of each node, (K,) 0 to 1, comes from the first of two maps: more where it matches better."""
    points = match.choose(scales[0], bend.MOST_POINTS)
    spread = one.lattice.spread(points.mm)
    misfits = []
    for field in (one.field, other):
        gap = match.difference(points, scales[1], grid.apply_affine(one.matrix, points.mm + spread @ field))
        seen = np.isfinite(gap)
        squares = np.stack([seen, np.where(seen, gap, 0.0) ** 2], axis=1).astype(np.float32)
        nodes = [part.reshape(one.lattice.shape) for part in (spread.T @ squares).T]
        count, total = (ndimage.gaussian_filter(part, AROUND_NODES) for part in nodes)
        misfits.append((total + match.NOISE_HU**2) / (count + 1.0))
    return np.asarray(misfits[1] ** SHARPNESS / (misfits[0] ** SHARPNESS + misfits[1] ** SHARPNESS)).ravel()


def _one_way(scales: list[tuple[Scale, Scale]], start: np.ndarray, coarser: Way | None) -> Way:
    # Copies of the moving scan's scales: the gradients that they keep go with them when this direction is found.
    scales = [(fixed, replace(moving)) for fixed, moving in scales]
    return bend.bend(scales, coarser.matrix if coarser else _linear(scales, start), coarser)


def _linear(scales: list[tuple[Scale, Scale]], start: np.ndarray) -> np.ndarray:
    """Improve a start by one growth, and by an affine map where it is believable.

    Not at the coarsest scale: there a limb slides along itself.
    """
    fixed, moving = scales[min(1, len(scales) - 1)]
    points = match.choose(fixed, LINEAR_POINTS)
    similar = improved((fixed, moving), points, start)
    affine = linear.affine(points, moving, similar)
    stretch = np.linalg.svd(np.linalg.inv(similar[:3, :3]) @ affine[:3, :3], compute_uv=False)
    return affine if np.abs(np.log(stretch)).max() <= np.log(AFFINE_STRETCH) else similar


def _registration(way: Way, field: np.ndarray) -> Registration:
    lattice = way.lattice
    image = sitk.GetImageFromArray(field.reshape(*lattice.shape, 3).astype(np.float32), isVector=True)
    image.SetSpacing([lattice.side_mm] * 3)
    image.SetOrigin(lattice.matrix[:3, 3].tolist())
    image.SetDirection((lattice.matrix[:3, 2::-1] / lattice.side_mm).ravel().tolist())
    return Registration(matrix=way.matrix, field_mm=image)


def _body_points(scale: Scale) -> np.ndarray:
    index = np.argwhere(scale.body)
    taken = np.sort(np.random.default_rng(0).choice(len(index), min(LOOKED_AT, len(index)), replace=False))
    return grid.apply_affine(scale.matrix, index[taken])
