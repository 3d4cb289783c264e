"""The tissue that a piece lies in: skin, fat beneath it, muscle, the surroundings of a joint, a cavity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, cKDTree

from monitor import grid
from monitor._describe.cut import BORDER_MM, FAT_HU, SOFT_HU, Cut, distance_mm, grown, ring, share, spread
from monitor._describe.field import CELL_MM, Level
from monitor._describe.skin import Skin
from monitor.types import Anatomy, Scan

SKIN_MM = 3.0
"""Greatest depth of a piece in the skin, mm: a child's skin is 1 to 2 mm thick, an adult's up to 3."""

MUSCLE_LAYER_MM = 2.0
"""Soft tissue between a piece and the skin, mm, from which a layer of muscle lies over it: fasciae are thinner."""

LEAST_VOXELS = 20
"""Fewer voxels of tissue around do not name it."""

MOST = 0.5
"""Share from which a tissue is what a piece lies in."""

SOME_MUSCLE = 0.2
"""Least share of muscle around a piece between muscles or on a fascia, fat on its other sides."""

BONE_DEEP_MM = 4.0
"""Half of the widest gap between bones that is a joint's, mm: an infant's hip."""

JOINT_REACH_MM = 15.0
"""What lies this near to a joint's gap or a plate of growth, mm, and near to bone, is periarticular: the length of a
child's epiphysis."""

JOINT_BONE_MM = 8.0
"""What is farther than this from bone, mm, lies in the muscles around a joint, not at it."""

JOINT_WIDE_MM = 10.0
"""Least width of a joint's gap, mm: between two shafts or ribs it is a narrow strip."""

JOINT_STEP_MM = 1.8
"""Size of the voxels in which gaps are looked for, mm."""

CAVITY_DEEP_MM = 15.0
"""Least depth of a piece in an organ, mm: a child's abdominal wall."""

AIR_CELLS = 4
"""Fewer cells of air at a level, 1 cm², do not outline a cavity."""

WITHIN_MM = 6.0
"""Least distance from the hull of that air, mm: ribs and the body's wall touch the lung and the bowel."""

CAGE_SHARE = 0.95
"""Share of the directions within a level in which bone closes a cavity in: a skull."""

FROM_CAGE_MM = 5.0
"""Least distance of a piece in such a cavity from its bone, mm; beside it lie joints and notches."""

RING_POINTS = 500
"""Most voxels of tissue around that are asked, and most of the piece."""

STEP_MM = 0.5
"""Length of a step on a way to the skin, mm: below a voxel."""

WAYS = 60
"""Ways from a piece to the skin that are walked."""


@dataclass(frozen=True)
class Around:
    """Tissue around a piece.

    Attributes
    ----------
    fat, soft : float
        Shares of the ring.
    fat_beside, soft_beside : float
        Shares of the part of the ring that lies as deep as the piece; 0 where that is hardly any.
    covered_mm : float
        Soft tissue between the piece and the skin.
    depth_mm : float
        Mean depth of the piece.
    voxels : int
        Voxels of the ring.
    """

    fat: float
    soft: float
    fat_beside: float
    soft_beside: float
    covered_mm: float
    depth_mm: float
    voxels: int


def around(cut: Cut, scan: Scan, skin: Skin) -> Around:
    """Look at the tissue around a piece."""
    index = spread(np.argwhere(ring(cut)), RING_POINTS)
    hu = cut.hu[tuple(index.T)]
    own = skin.depth_mm(cut.points_mm(cut.piece, most=RING_POINTS))
    deep = skin.depth_mm(grid.apply_affine(cut.matrix, index.astype(float)))
    # Without any skin all depths are infinite, and nothing lies beside.
    low, high = np.percentile(own, [25, 75], method="nearest")
    beside = hu[(deep >= low - 0.5) & (deep <= high + 0.5)]
    enough = len(beside) >= LEAST_VOXELS
    return Around(
        fat=share(hu, FAT_HU),
        soft=share(hu, SOFT_HU),
        fat_beside=share(beside, FAT_HU) if enough else 0.0,
        soft_beside=share(beside, SOFT_HU) if enough else 0.0,
        covered_mm=covered_mm(cut, scan, skin),
        depth_mm=float(own.mean()),
        voxels=len(hu),
    )


def covered_mm(cut: Cut, scan: Scan, skin: Skin) -> float:
    """Return how much soft tissue lies between a piece and the skin, mm: the median of straight ways out.

    What lies within the blurred border of the piece or of the skin does not count.
    """
    start = cut.points_mm(cut.piece, most=WAYS)
    length, end = skin.nearest(start)
    if not np.isfinite(length).all() or length.max() <= SKIN_MM:
        return 0.0
    steps = np.arange(0.0, float(length.max()) - SKIN_MM, STEP_MM)
    way = (end - start) / np.maximum(length, 1e-6)[:, None]
    points = start[:, None] + steps[None, :, None] * way[:, None]
    hu = ndimage.map_coordinates(
        scan.array, grid.to_index(scan.image, points.reshape(-1, 3)).T, order=1, mode="nearest", output=np.float32
    )
    index = np.rint(grid.apply_affine(np.linalg.inv(cut.matrix), points.reshape(-1, 3))).astype(int)
    inside = np.all((index >= 0) & (index < cut.piece.shape), axis=1)
    away = np.full(len(hu), np.inf)
    away[inside] = distance_mm(cut.piece, cut.spacing_zyx_mm)[tuple(index[inside].T)]
    soft = (away > BORDER_MM) & (hu >= SOFT_HU[0]) & (hu <= SOFT_HU[1])
    soft &= (steps[None, :] < length[:, None] - SKIN_MM).ravel()
    return float(np.median(soft.reshape(points.shape[:2]).sum(axis=1) * STEP_MM))


def near_joint(scan: Scan, anatomy: Anatomy, box: tuple[slice, ...], cut: Cut) -> bool:
    """Tell whether a piece, given the box of its label, lies near a wide gap between facing bones.

    A plate of growth is such a gap too: both mark the end of a bone.
    """
    spacing = scan.spacing_zyx_mm
    step = np.maximum(1, (JOINT_STEP_MM / spacing).astype(int))
    margin = JOINT_REACH_MM + 2 * BONE_DEEP_MM + JOINT_WIDE_MM
    near = grown(box, margin, spacing, anatomy.skeleton.shape)
    thin = tuple(slice(part.start, part.stop, int(n)) for part, n in zip(near, step, strict=True))
    gaps = gaps_between(anatomy.skeleton[thin], spacing * step)
    start = np.array([part.start for part in near])
    piece = cKDTree(cut.points_mm(cut.piece, most=RING_POINTS))
    labels, count = ndimage.label(gaps, np.ones((3, 3, 3)))
    for number in range(1, count + 1):
        points = grid.to_mm(scan.image, start + np.argwhere(labels == number) * step)
        if _width_mm(points) >= JOINT_WIDE_MM and piece.query(points)[0].min() <= JOINT_REACH_MM:
            return True
    return False


def gaps_between(bone: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the gaps narrower than twice ``BONE_DEEP_MM`` between bones or within one, (z, y, x) bool."""
    if not bone.any():
        return np.zeros(bone.shape, bool)
    pad = [(int(reach),) * 2 for reach in np.ceil(BONE_DEEP_MM / spacing_zyx_mm) + 1]
    part = np.pad(bone, pad, mode="edge")
    near = distance_mm(part, spacing_zyx_mm) <= BONE_DEEP_MM
    closed = ndimage.distance_transform_edt(near, sampling=spacing_zyx_mm) > BONE_DEEP_MM
    inner = tuple(slice(a, size - b) for (a, b), size in zip(pad, part.shape, strict=True))
    return np.asarray((closed & ~part)[inner])


def _width_mm(points_mm: np.ndarray) -> float:
    """Return the second largest extent of points, mm."""
    away = points_mm - points_mm.mean(axis=0)
    axes = np.linalg.eigh(away.T @ away)[1]
    return float(np.sort(np.ptp(away @ axes, axis=0))[1])


def in_cavity(level: Level, centre_mm: np.ndarray, *, from_bone_mm: float) -> bool:
    """Tell whether a place lies in a body cavity: within the hull of its air, or caged by bone on all sides."""
    return in_hull_of_air(level, centre_mm) or (from_bone_mm >= FROM_CAGE_MM and caged(level, centre_mm))


def in_hull_of_air(level: Level, centre_mm: np.ndarray) -> bool:
    """Tell whether a place lies between the gas of bowel or lung at its level."""
    air = level.cells_mm(level.air)
    if len(air) < AIR_CELLS:
        return False
    corners = air[:, None] + np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]) * CELL_MM
    equations = ConvexHull(corners.reshape(-1, 2)).equations
    return bool((equations[:, :2] @ centre_mm[:2] + equations[:, 2] <= -WITHIN_MM).all())


def caged(level: Level, centre_mm: np.ndarray) -> bool:
    """Tell whether bone lies in nearly all directions within the level."""
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    far = float(np.hypot(*level.body.shape)) * CELL_MM
    points = centre_mm[:2] + np.arange(0.0, far, CELL_MM / 2)[None, :, None] * ways[:, None]
    met = level.at(level.bone, points.reshape(-1, 2)).reshape(points.shape[:2]).any(axis=1)
    return bool(met.mean() >= CAGE_SHARE)


def compartment(tissue: Around, *, vessel: bool, joint: bool, cavity: bool, trunk: bool, air: bool) -> str:
    """Return the compartment that the signs speak for; empty where they speak for none.

    Parameters
    ----------
    vessel, joint, cavity : bool
        Whether the piece lies in a vessel's wall, near a joint, in a body cavity.
    trunk, air : bool
        Whether the level shows a trunk, and whether lung or bowel: what is deep and soft beside these may be organ.
    """
    deep = tissue.depth_mm >= CAVITY_DEEP_MM
    if vessel:
        return "vessel_wall"
    if tissue.voxels < LEAST_VOXELS:
        return ""
    if tissue.covered_mm < MUSCLE_LAYER_MM and tissue.fat_beside >= MOST:
        return "subcutis"
    if tissue.depth_mm <= SKIN_MM:
        return "skin" if tissue.soft_beside >= MOST else ""
    if joint:
        return "periarticular"
    if cavity and deep:
        return "organ"
    if air and deep:
        return ""
    return "muscle_or_fascia" if tissue.soft >= (MOST if trunk and deep else SOME_MUSCLE) else ""
