"""The shape of a piece in the words of radiologists: nodular, sheet, lacy, shell and the rest."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from monitor._describe.cut import Cut, spread
from monitor._describe.zones import Zones, depth_mm

LEAST_VOXELS = 8
"""Fewer voxels have no shape."""

SHELL_HU = 100.0
"""By how much the rim of a shell is denser than its core, HU: blur and noise of a solid ball give less than 0."""

SHELL_PCT = 60.0
"""Share of the surface that has a rim in a shell, per cent: an early one is open where it is thinnest."""

HOLLOW_SHARE, HOLLOW_INDEX = 0.2, 0.2
"""Least share of the envelope that is not mineral, and least zonal index, of a shell whose rim is faint."""

LACY_HOLES = 3
"""Holes right through a piece from which it is lace: one or two are a gap in a sheet."""

LACY_MM = 15.0
"""Least width of a lace, mm: two holes of 4 mm beside each other with three bars."""

HOLE_MM = 2.0
"""Gaps narrower than about twice this, mm, are noise of the outline and close before holes are counted."""

JAGGED_MM = 1.0
"""Gaps narrower than about twice this, mm, close before the outline is measured."""

LINEAR = 3.0
"""Length over width from which a piece is linear."""

FLAT = 3.0
"""Width over thickness from which a piece is a sheet."""

THIN = 0.3
"""Largest inscribed radius of a sheet, in parts of that of the ball of the same volume."""

ROUND = 0.55
"""Least inscribed radius of a nodule, in parts of that of the ball of the same volume."""

CONVEX = 0.87
"""Least share of its convex hull that a nodule fills: drawn balls fill 0.92 and more, two balls in one 0.8."""

CLOUD_HU = 60.0
"""A voxel is faint within this above the threshold, HU: blur and noise alone bring it there."""

CLOUD_FAINT = 0.7
"""Share of faint voxels from which a piece is a cloud: the outer layer of a nodule of 8 mm is half of it."""

CLOUD_FILL = 0.5
"""A piece that fills less than this share of its envelope, without a rim, is a cloud too."""

CLOUD_DEEP = 0.6
"""Least thickness of a cloud over its width: a faint sheet is less thick."""

HULL_POINTS = 4000
"""Most surface voxels that the convex hull is made of."""


@dataclass(frozen=True)
class Shape:
    """Measures of a piece's outline, mm and plain numbers.

    Attributes
    ----------
    length_mm, width_mm, deep_mm : float
        Extents along the principal axes, longest first.
    thickness_mm : float
        Median local thickness: twice the depth along the ridge.
    fullness : float
        Largest inscribed radius over that of the ball of the same volume.
    convexity : float
        Share of the convex hull that is filled.
    holes : int
        Holes right through.
    faint : float
        Share of voxels barely above the threshold.
    """

    length_mm: float
    width_mm: float
    deep_mm: float
    thickness_mm: float
    fullness: float
    convexity: float
    holes: int
    faint: float


def measure(cut: Cut, threshold_hu: float) -> Shape:
    """Measure the outline of a piece where it is dense."""
    spacing = cut.spacing_zyx_mm
    voxel_mm3 = float(abs(np.linalg.det(cut.matrix[:3, :3])))
    mask = _closed(cut.solid, JAGGED_MM, spacing)
    depth = depth_mm(mask, spacing)
    points = cut.points_mm(mask)
    length, width, deep = extents_mm(points, float(spacing.min()))
    ball = (3 * mask.sum() * voxel_mm3 / (4 * np.pi)) ** (1 / 3)
    return Shape(
        length_mm=length,
        width_mm=width,
        deep_mm=deep,
        thickness_mm=local_thickness_mm(mask, depth),
        fullness=float(depth.max() / ball),
        convexity=float(mask.sum() * voxel_mm3 / _hull_mm3(cut, mask)),
        holes=holes(_closed(cut.solid, HOLE_MM, spacing)),
        faint=float((cut.hu[cut.solid] < threshold_hu + CLOUD_HU).mean()),
    )


def pattern(cut: Cut, zones: Zones, shape: Shape) -> str:
    """Return the word for a piece's shape.

    The first that fits of: shell, lacy, amorphous_cloud, sheet, linear, nodular, lobulated; indeterminate where
    there are too few voxels or none fits.
    """
    if cut.piece.sum() < LEAST_VOXELS:
        return "indeterminate"
    fill = float(cut.solid.sum() / zones.envelope.sum())
    convex, long = shape.convexity >= CONVEX, shape.length_mm >= LINEAR * shape.width_mm
    flat = shape.width_mm >= FLAT * shape.thickness_mm
    cloudy = shape.faint >= CLOUD_FAINT and shape.deep_mm >= CLOUD_DEEP * shape.width_mm
    rules = {
        "shell": is_shell(zones, fill),
        "lacy": shape.holes >= LACY_HOLES and shape.fullness < ROUND and shape.width_mm >= LACY_MM,
        "amorphous_cloud": not convex and (cloudy or fill < CLOUD_FILL),
        "linear": long and not flat,
        "sheet": shape.fullness <= THIN or (convex and flat),
        "nodular": convex and shape.fullness >= ROUND,
        "lobulated": not convex,
    }
    return next((name for name, fits in rules.items() if fits), "indeterminate")


def is_shell(zones: Zones, fill: float) -> bool:
    """Tell whether a piece has a rim around a core that is softer."""
    complete = zones.resolved and zones.rim_completeness_pct >= SHELL_PCT
    return bool(
        complete and (zones.rim_core_hu >= SHELL_HU or (fill <= 1 - HOLLOW_SHARE and zones.zonal_index >= HOLLOW_INDEX))
    )


def rim_thickness_mm(cut: Cut, zones: Zones) -> float:
    """Return the median thickness of a rim, mm: of mineral denser than midway between rim and core."""
    inside = zones.envelope
    middle = zones.core_hu + max(zones.rim_core_hu, SHELL_HU) / 2
    rim = inside & (cut.solid & (cut.hu >= middle))
    return local_thickness_mm(rim, depth_mm(rim, cut.spacing_zyx_mm)) if rim.any() else nan


def local_thickness_mm(mask: np.ndarray, depth: np.ndarray) -> float:
    """Return the median of twice the depth over the ridge, where no neighbour lies deeper, mm."""
    ridge = mask & (depth >= ndimage.maximum_filter(depth, size=3) - 1e-6)
    return 2.0 * float(np.median(depth[ridge]))


def extents_mm(points_mm: np.ndarray, voxel_mm: float) -> tuple[float, float, float]:
    """Return the extents of points along their principal axes, longest first, mm; half a voxel added at each end."""
    away = points_mm - points_mm.mean(axis=0)
    axes = np.linalg.eigh(away.T @ away)[1][:, ::-1]
    a, b, c = np.ptp(away @ axes, axis=0) + voxel_mm
    return float(a), float(b), float(c)


def holes(mask: np.ndarray) -> int:
    """Return how many holes go right through a mask: pieces and cavities less the Euler number.

    Voxels are closed cubes that meet over faces, edges and corners; the Euler number is corners less edges plus
    faces less cubes.

    >>> ring = np.ones((1, 3, 3), bool); ring[0, 1, 1] = False
    >>> holes(ring), holes(np.ones((2, 2, 2), bool))
    (1, 0)
    """
    part = np.pad(mask, 1)
    euler = 0
    for cell in np.ndindex(2, 2, 2):
        spread_out = part
        for axis, open_ in enumerate(cell):
            if open_:
                low, high = (spread_out.take(range(a, spread_out.shape[axis] + a - 1), axis) for a in (0, 1))
                spread_out = low | high
        euler += (-1) ** (3 - sum(cell)) * int(spread_out.sum())
    pieces = int(ndimage.label(part, np.ones((3, 3, 3)))[1])
    cavities = int(ndimage.label(~part)[1]) - 1
    return pieces + cavities - euler


def _closed(mask: np.ndarray, radius_mm: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Close a mask with a ball; the padding keeps it off the border of its box."""
    pad = [(int(reach),) * 2 for reach in np.ceil(radius_mm / spacing_zyx_mm) + 1]
    near = ndimage.distance_transform_edt(~np.pad(mask, pad), sampling=spacing_zyx_mm) <= radius_mm
    closed = ndimage.distance_transform_edt(near, sampling=spacing_zyx_mm) > radius_mm
    return closed[tuple(slice(a, size - b) for (a, b), size in zip(pad, closed.shape, strict=True))] | mask


def _hull_mm3(cut: Cut, mask: np.ndarray) -> float:
    """Return the volume of the convex hull of a mask's voxels, the middles of their faces included."""
    surface = mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1))
    # Not the corners: they lie outside the outline wherever it is oblique.
    faces = np.concatenate([np.eye(3), -np.eye(3)]) / 2 @ cut.matrix[:3, :3].T
    points = spread(cut.points_mm(surface), HULL_POINTS)
    return float(ConvexHull((points[:, None] + faces).reshape(-1, 3)).volume)
