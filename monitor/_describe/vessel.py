"""Calcium in a vessel's wall: a thin piece bent around a soft lumen that runs on, with fat around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor._describe.cut import FAT_HU, Cut, share, spread

RADIUS_MM = (1.2, 15.0)
"""Radius of what may be a vessel, mm: a child's popliteal artery to an adult's aorta."""

WALL_MM = 4.5
"""Thickest piece that may be a wall, mm: 1 mm of calcium, blurred, in voxels of 1.6 mm."""

OFF_CIRCLE_MM = 1.3
"""Largest SD of a wall about its circle, mm: that of a piece of ``WALL_MM``."""

AROUND_DEG = 75.0
"""Least part of the circle that is wall, degrees: less does not tell a bend from a lump."""

LUMEN_HU = (-10.0, 130.0)
"""Blood, and the blur of the wall and of the fat around into it, HU."""

LUMEN_SHARE = 0.7
"""Least share of the lumen's axis that is as blood."""

ON_MM = (2.0, 6.0)
"""Where beyond the ends of a piece the lumen is looked for, mm."""

OUTSIDE_MM = (1.5, 5.0)
"""Where outside the wall's middle the fat is looked for, mm: a child's sheath is 2 to 3 mm wide."""

FAT_SHARE = 0.3
"""Least share of directions across the axis in which there is fat: a vein or a muscle may touch a child's artery."""

DIRECTIONS = 240
"""Directions that are tried for the axis: 9 degrees apart."""

OUTSIDE_HU = 3000.0
"""What lies outside the box counts as, HU: neither lumen nor fat."""

FIT_POINTS = 400
"""Most voxels that the circle is fitted to."""


@dataclass(frozen=True)
class Tube:
    """A circle swept along an axis, LPS mm: ``across`` are two directions at right angles to it, (2, 3)."""

    middle_mm: np.ndarray
    axis: np.ndarray
    across: np.ndarray
    radius_mm: float
    off_mm: float


def is_wall(cut: Cut, thickness_mm: float) -> bool:
    """Tell whether a piece lies in a vessel's wall, given its median thickness."""
    if thickness_mm > WALL_MM or cut.solid.sum() < 8:
        return False
    points = spread(cut.points_mm(cut.solid), FIT_POINTS)
    tube = fit(points)
    if tube is None or tube.off_mm > OFF_CIRCLE_MM or _around_deg(tube, points) < AROUND_DEG:
        return False
    along = (points - tube.middle_mm) @ tube.axis
    low, high = np.percentile(along, [2, 98])
    inside = _along(tube, cut, np.linspace(low, high, 12))
    ends = [_along(tube, cut, end) for end in (low - np.linspace(*ON_MM, 5), high + np.linspace(*ON_MM, 5))]
    around = _outside(tube, cut, np.linspace(low, high, 8))
    return (
        share(inside, LUMEN_HU) >= LUMEN_SHARE
        and max(share(end, LUMEN_HU) for end in ends) >= LUMEN_SHARE
        and share(around, FAT_HU) >= FAT_SHARE
    )


def fit(points_mm: np.ndarray) -> Tube | None:
    """Fit a tube to points, (N, 3) mm: of many directions the one in which they lie best on a circle.

    The circle of a direction is Kasa's (1976) least squares. None where no circle has the radius of a vessel.
    """
    away = points_mm - points_mm.mean(axis=0)
    tubes = [_circle(away, axis) for axis in hemisphere(DIRECTIONS)]
    good = [tube for tube in tubes if tube is not None]
    if not good:
        return None
    best = min(good, key=lambda tube: tube.off_mm)
    return Tube(best.middle_mm + points_mm.mean(axis=0), best.axis, best.across, best.radius_mm, best.off_mm)


def hemisphere(count: int) -> np.ndarray:
    """Return directions spread evenly over half a sphere, (count, 3): a Fibonacci lattice."""
    height = (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _circle(away_mm: np.ndarray, axis: np.ndarray) -> Tube | None:
    across = np.linalg.svd(axis[None])[2][1:]
    flat = away_mm @ across.T
    design = np.column_stack([2 * flat, np.ones(len(flat))])
    (u, v, rest), *_ = np.linalg.lstsq(design, (flat**2).sum(axis=1), rcond=None)
    radius = float(np.sqrt(max(rest + u * u + v * v, 0.0)))
    if not RADIUS_MM[0] <= radius <= RADIUS_MM[1]:
        return None
    off = float(np.std(np.hypot(*(flat - (u, v)).T) - radius))
    return Tube(u * across[0] + v * across[1], axis, across, radius, off)


def _around_deg(tube: Tube, points_mm: np.ndarray) -> float:
    """Return how much of the circle is wall, degrees: what is left of it beside the widest gap."""
    u, v = ((points_mm - tube.middle_mm) @ tube.across.T).T
    angles = np.sort(np.degrees(np.arctan2(v, u)))
    gaps = np.diff(np.append(angles, angles[0] + 360.0))
    return 360.0 - float(gaps.max())


def _along(tube: Tube, cut: Cut, along_mm: np.ndarray) -> np.ndarray:
    """Return the mean HU across the middle of the lumen, half its radius wide, at places along the axis."""
    middle = tube.middle_mm + along_mm[:, None] * tube.axis
    beside = [np.zeros(3), *(sign * tube.radius_mm / 4 * one for one in tube.across for sign in (-1, 1))]
    return _sampled(cut, (middle[:, None] + np.array(beside)).reshape(-1, 3)).reshape(-1, len(beside)).mean(axis=1)


def _outside(tube: Tube, cut: Cut, along_mm: np.ndarray) -> np.ndarray:
    """Return the second lowest HU outside the wall in each direction across the axis: one voxel may be noise."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ways = np.cos(angles)[:, None] * tube.across[0] + np.sin(angles)[:, None] * tube.across[1]
    radii = tube.radius_mm + np.arange(OUTSIDE_MM[0], OUTSIDE_MM[1] + 0.1, 0.5)
    middle = tube.middle_mm + along_mm[:, None] * tube.axis
    points = middle[:, None, None] + radii[:, None] * ways[:, None]
    hu = _sampled(cut, points.reshape(-1, 3)).reshape(points.shape[:-1])
    return np.asarray(np.sort(hu, axis=2)[:, :, 1].ravel())


def _sampled(cut: Cut, points_mm: np.ndarray) -> np.ndarray:
    index = grid.apply_affine(np.linalg.inv(cut.matrix), points_mm)
    return np.asarray(ndimage.map_coordinates(cut.hu, index.T, order=1, mode="constant", cval=OUTSIDE_HU))
