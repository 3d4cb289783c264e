"""Rim and core of a piece: its envelope, how mineral lies between surface and middle, fat and fluid within."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from scipy import ndimage

from monitor._describe.cut import Cut

CLOSING_MM = 2.0
"""Gaps of a rim that are closed for the envelope have up to twice this width, mm."""

RESOLVED_VOXELS = 5.0
"""Fewer voxels across do not tell rim from core (clinical.md G)."""

RIM_DEPTH, CORE_DEPTH = 0.25, 0.5
"""Depth in parts of the greatest: the rim ends at the first, the core begins at the second (clinical.md C)."""

COMPLETE_MM = 3.0
"""A piece of surface has a rim where mineral lies within this below it, mm (clinical.md C)."""

MARROW_HU = -30.0
"""Below this is fatty marrow, HU (clinical.md G)."""

SEDIMENT_HU = 100.0
"""Least step of HU across a fluid level (clinical.md G)."""

SEDIMENT_DEG = 5.0
"""A fluid level is horizontal within this, degrees (clinical.md G)."""

SEDIMENT_MM = 8.0
"""Least width and height, mm, of what can show a level: five degrees over less are below a voxel."""

SEDIMENT_RISE_MM = 2.0
"""The step is taken between this far above and this far below the level, mm: beyond the blur."""

SEDIMENT_ROUGH_MM = 1.0
"""Largest SD of a level about its plane, mm: a surface of fluid is even."""

DOWN_LPS = (0.0, 1.0, 0.0)
"""Where gravity points: to the back, of a child who lies supine."""


@dataclass(frozen=True)
class Zones:
    """What lies where between surface and middle; NaN and None where it is not resolved.

    Attributes
    ----------
    envelope : (z, y, x) bool array
        The piece with what it encloses.
    across_mm, across_voxels : float
        Diameter of the largest ball in the envelope, and how many voxels that are along the coarsest axis it spans.
    core_hu : float
        Mean HU of the core.
    """

    envelope: np.ndarray
    across_mm: float
    across_voxels: float
    rim_core_hu: float = nan
    zonal_index: float = nan
    rim_completeness_pct: float = nan
    marrow_fat_fraction: float = nan
    core_hu: float = nan
    fluid_level: bool | None = None

    @property
    def resolved(self) -> bool:
        """Tell whether rim and core can be told apart."""
        return self.across_voxels >= RESOLVED_VOXELS


def find(cut: Cut) -> Zones:
    """Return the zones of a piece."""
    inside = envelope(cut.piece, cut.spacing_zyx_mm)
    depth = depth_mm(inside, cut.spacing_zyx_mm)
    across_mm = 2.0 * float(depth.max())
    found = Zones(inside, across_mm, across_mm / float(cut.spacing_zyx_mm.max()))
    if not found.resolved:
        return found
    rim, core = inside & (depth <= RIM_DEPTH * depth.max()), depth >= CORE_DEPTH * depth.max()
    inner = ndimage.binary_erosion(inside, ndimage.generate_binary_structure(3, 1))
    return Zones(
        inside,
        found.across_mm,
        found.across_voxels,
        rim_core_hu=float(cut.hu[rim].mean() - cut.hu[core].mean()),
        zonal_index=1.0 - float(depth[cut.solid].mean() / depth[inside].mean()),
        rim_completeness_pct=100.0 * completeness(inside, cut.solid, cut.spacing_zyx_mm),
        marrow_fat_fraction=float((cut.hu[inner] < MARROW_HU).mean()),
        core_hu=float(cut.hu[core].mean()),
        fluid_level=fluid_level(cut, inner),
    )


def envelope(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return a mask with its gaps closed and what it encloses in at least two of the three directions of slices.

    One direction is not enough: a tube, which is open at its ends, encloses nothing.
    """
    pad = [(int(reach),) * 2 for reach in np.ceil(CLOSING_MM / spacing_zyx_mm) + 1]
    part = np.pad(mask, pad)
    near = ndimage.distance_transform_edt(~part, sampling=spacing_zyx_mm) <= CLOSING_MM
    closed = (ndimage.distance_transform_edt(near, sampling=spacing_zyx_mm) > CLOSING_MM) | part
    votes = np.zeros(closed.shape, np.uint8)
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = ndimage.generate_binary_structure(2, 1)
    for axis in range(3):
        votes += np.moveaxis(ndimage.binary_fill_holes(np.moveaxis(closed, axis, 0), structure=structure), 0, axis)
    return (closed | (votes >= 2))[tuple(slice(a, size - b) for (a, b), size in zip(pad, part.shape, strict=True))]


def depth_mm(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return how deep voxels lie in a mask, mm: to the faces of the mask, not to the voxels beyond; 0 outside."""
    padded = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_zyx_mm)[1:-1, 1:-1, 1:-1]
    return np.asarray(np.where(mask, padded - float(spacing_zyx_mm.min()) / 2, 0.0))


def completeness(inside: np.ndarray, mineral: np.ndarray, spacing_zyx_mm: np.ndarray) -> float:
    """Return the share of an envelope's surface that has mineral within ``COMPLETE_MM`` below it."""
    surface = inside & ~ndimage.binary_erosion(inside, ndimage.generate_binary_structure(3, 1))
    near = ndimage.distance_transform_edt(~mineral, sampling=spacing_zyx_mm) <= COMPLETE_MM
    return float(near[surface].mean())


def fluid_level(cut: Cut, inner: np.ndarray, down: tuple[float, float, float] = DOWN_LPS) -> bool | None:
    """Tell whether what is heavy lies below a level plane within a piece; None where it is too small to tell.

    Each column along gravity crosses the middle HU once where there is a level; a plane is fitted to the
    crossings.
    """
    points, hu = cut.points_mm(inner), cut.hu[inner]
    if not len(points):
        return None
    gravity = np.array(down)
    across = np.linalg.svd(gravity[None])[2][1:]
    deep, (u, v) = points @ gravity, (points @ across.T).T
    if min(np.ptp(deep), np.ptp(u), np.ptp(v)) < SEDIMENT_MM:
        return None
    crossings = _crossings(np.stack([u, v], axis=1), deep, hu, float(cut.spacing_zyx_mm.max()))
    if len(crossings) < 0.5 * _columns(np.stack([u, v], axis=1), float(cut.spacing_zyx_mm.max())):
        return False
    design = np.column_stack([crossings[:, :2], np.ones(len(crossings))])
    slopes, *_ = np.linalg.lstsq(design, crossings[:, 2], rcond=None)
    rough = float(np.std(crossings[:, 2] - design @ slopes))
    tilt = float(np.degrees(np.arctan(np.hypot(*slopes[:2]))))
    below = deep - (np.column_stack([u, v, np.ones(len(u))]) @ slopes)
    low, high = hu[below > SEDIMENT_RISE_MM], hu[below < -SEDIMENT_RISE_MM]
    if not (len(low) and len(high)):
        return False
    step = float(np.median(low) - np.median(high))
    return bool(step >= SEDIMENT_HU and tilt <= SEDIMENT_DEG and rough <= SEDIMENT_ROUGH_MM)


def _cells(across: np.ndarray, size_mm: float) -> np.ndarray:
    cell = np.floor((across - across.min(axis=0)) / size_mm).astype(int)
    return np.asarray(cell[:, 0] * (int(cell[:, 1].max()) + 1) + cell[:, 1])


def _columns(across: np.ndarray, size_mm: float) -> int:
    return len(np.unique(_cells(across, size_mm)))


def _crossings(across: np.ndarray, deep: np.ndarray, hu: np.ndarray, size_mm: float) -> np.ndarray:
    """Return where columns pass the middle HU, (N, 3): across, across, down. Columns that do not are left out."""
    middle = (np.percentile(hu, 10) + np.percentile(hu, 90)) / 2
    cells = _cells(across, size_mm)
    order = np.lexsort([deep, cells])
    across, deep, heavy = across[order], deep[order], hu[order] > middle
    found = []
    for start, stop in _runs(cells[order]):
        own = heavy[start:stop]
        if not own.any() or own.all():
            continue
        # The split with the fewest voxels on the wrong side.
        wrong = np.concatenate([[0], np.cumsum(own)]) + np.concatenate([np.cumsum(~own[::-1])[::-1], [0]])
        split = int(wrong.argmin())
        if 0 < split < len(own):
            found.append([*across[start:stop].mean(axis=0), deep[start + split - 1 : start + split + 1].mean()])
    return np.array(found).reshape(-1, 3)


def _runs(ordered: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(ordered)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(ordered)], strict=True))
