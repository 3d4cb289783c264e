"""What stands on bone and is none: nodules and shells that blur has joined to its cortex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor._anatomy import shape

RADII_MM = (4.0, 6.0, 9.0)
"""Radii, mm, of the balls that roll inside a bone: from a child's forearm to an adult's thigh."""

CLEAR = 0.75
"""Voxels that must lie between what a ball leaves out and what it reaches: steps of a surface are lower."""

LEAST_MM3 = 15.0
"""Least volume, mm³, of what stands out."""

LEAST_VOXELS = 8
"""Fewer voxels have no shape."""

HEIGHT_MM = 2.6
"""Least height, mm, over the surface that the ball leaves: ridges for tendons are lower."""

THICK_MM = 2.1
"""Least inscribed radius, mm, of what stands out, from the outer surface: errors of outline and ridges are less."""

ELONGATED = 1.9
"""What is this much longer than wide is a ridge, a process or a bone of its own."""

SLENDER = 2.6
"""What is this much higher than its inscribed radius is a process; a ball is twice as high."""

CORTEX_HU = 600.0
"""What stands on bone is the end of another where it is denser than this, HU, and than the cortex below."""

BASE_SHARE = 1.3
"""Greatest area of its base over the section of a ball of its volume: what is broader there is part of the bone."""

BASE_MM = 2.5
"""Depth of that base in the bone, mm, about the blur of a joint between the two."""

RING_MM = (4.0, 12.0)
"""Reach, mm, of the ring around the base whose cortex is compared."""

AROUND_RADII = 3.0
"""How much of the bone below is asked for its shape, in its own radii."""

SHAFT = 1.6
"""Ratio of the first to the second spread from which a bone is a shaft; a ball has 1."""

ALONG = 0.55
"""Cosine, between the axis of the bone and the way to what stands out, from which it lies at the bone's end."""

DENSE_HU = 320.0
"""Least 90th percentile of mineral that stands on bone, HU: blur and hardening beside cortex stay below."""

PALE, PALEST = 0.9, 0.6
"""Share of the cortex's HU below which mineral on the side of a shaft, and of any thick bone, differs from it."""

THICK_CORTEX_HU = 600.0
"""Cortex that is thicker than a voxel is above this, HU."""

SADDLE = 1.6
"""HU of what stands out over those of its base from which a gap lies between."""

SADDLE_HU, SADDLE_BASE = 400.0, 1.0
"""For such a gap: least 90th percentile, HU, and greatest ``BASE_SHARE``."""

CORE_MM = 3.0
"""Depth below the outer surface, mm, from which a piece has a core."""

CORE_VOXELS = 10
"""Fewer voxels are no core."""

SOLID_HU = 30.0
"""How much denser than its rim, HU, a core is that is no bone's: below cortex lies marrow."""

SOLID_CORE_HU, SOLID_BASE = 350.0, 1.1
"""For such a core: its least HU, and greatest ``BASE_SHARE``."""

LUMP_BASE = 0.8
"""Greatest ``BASE_SHARE`` of such a lump on the side of a shaft that is denser than the cortex below."""

SOFT_CORE_HU = 150.0
"""The core of a young shell is muscle, HU; that of a bone's process is spongy and denser."""

SHELL_MM = 4.0
"""Least inscribed radius, mm, of a shell with a core."""

FOOT_MM = 4.0
"""So deep below what stands out its foot is looked for, mm: a ball of 9 mm reaches 2 mm into a neck 11 mm wide."""

SLOPE_MM = (2.0, 7.0)
"""Reach, mm, of the ring around what stands out whose surface goes on below it: beyond the fillet of the ball, and
near enough for a curved shaft to be a parabola."""

FACING = 0.35
"""Cosine, between a surface and the way to what stands out, from which that surface lies on its side of the bone."""

OUTLIER_VOXELS = 1.5
"""What of that ring lies farther than this from its surface, voxels, is another bone or a ridge."""


TERMS, ROUNDS = 6, 3
"""Terms of that surface, and how often it is fitted anew without outliers."""


@dataclass(frozen=True)
class _Seen:
    """What stands on a bone, in numbers: lengths in mm, densities in HU."""

    height_mm: float
    thick_mm: float
    elongation: float
    base_share: float
    shaft: float
    along: float
    own_hu: float
    cortex_hu: float
    base_hu: float
    rim_hu: float
    core_hu: float


def standing_out(hu: np.ndarray, solid: np.ndarray, body: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return what stands on filled bone and is no part of it, (z, y, x) bool.

    A ball that rolls inside the bone leaves out what is narrower (an opening, Serra 1982). What it leaves out is
    mineral where it is compact, on a narrow base, and either denser in its core than at its rim, or set off from the
    bone by a gap, or on the side of a bone with a cortex that is denser than itself. Real processes are hollow, broad
    at their base, or as dense as the cortex around.
    """
    depth = shape.depth_of(solid, spacing_zyx_mm)
    found = np.zeros(solid.shape, bool)
    voxel_mm3 = float(np.prod(spacing_zyx_mm))
    for radius in RADII_MM:
        core = depth > radius
        if not core.any():
            break
        beyond = grid.distance_mm(core, spacing_zyx_mm) - radius
        labels, count = ndimage.label(solid & ~found & (beyond > CLEAR * spacing_zyx_mm[1:].max()))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            if sizes[number] < LEAST_VOXELS or sizes[number] * voxel_mm3 < LEAST_MM3:
                continue
            part = labels[box] == number
            # Most of what a ball leaves out are edges and corners: too low or too thin, told at once.
            if beyond[box][part].max() < HEIGHT_MM or depth[box][part].max() < THICK_MM:
                continue
            reach = max(AROUND_RADII * float(depth.max()), RING_MM[1])
            near = shape.grown(box, min(reach, 45.0), spacing_zyx_mm, solid.shape)
            piece = labels[near] == number
            if (ndimage.binary_dilation(piece) & ~body[near]).any():
                continue  # the end of what is imaged, or of the body, cuts it
            seen = _look(hu[near], piece, solid[near], depth[near], beyond[near], spacing_zyx_mm)
            if seen is not None and _is_mineral(seen):
                found[near] |= piece | _foot(piece, solid[near] & ~piece, spacing_zyx_mm)
    return found


def _foot(piece: np.ndarray, bone: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return what of the bone's mask is the foot of what stands on it, (z, y, x) bool.

    A ball that rolls inside both reaches into the neck between them. The surface of the bone around, a paraboloid by
    least squares without outliers, goes on below; what lies over it belongs to the piece. That surface runs through
    the centres of the mask's outermost voxels, which is where bone ends: the mask's threshold is below half of its HU.
    """
    gap = grid.distance_mm(piece, spacing_zyx_mm)
    below = bone & (gap <= FOOT_MM)
    surface = bone & ndimage.binary_dilation(~(bone | piece)) & (gap > SLOPE_MM[0]) & (gap <= SLOPE_MM[1])
    if not below.any() or not surface.any():
        return np.zeros_like(piece)
    outward = np.stack(np.gradient(ndimage.gaussian_filter((bone | piece).astype(np.float32), 1.0)), axis=-1)[surface]
    outward = -outward / spacing_zyx_mm
    centre = np.argwhere(piece).mean(axis=0) * spacing_zyx_mm
    up = centre - np.argwhere(below).mean(axis=0) * spacing_zyx_mm
    up /= max(float(np.linalg.norm(up)), 1e-6)
    facing = outward @ up > FACING * np.linalg.norm(outward, axis=1)
    around = np.argwhere(surface)[facing] * spacing_zyx_mm - centre
    if len(around) < 2 * TERMS:
        return np.zeros_like(piece)
    frame = np.linalg.svd(up[None])[2]
    side = float(np.prod(spacing_zyx_mm) ** (1 / 3))
    terms, height = _paraboloid(around @ frame[1:].T), around @ up
    kept = np.ones(len(height), bool)
    for _ in range(ROUNDS):
        fitted = np.linalg.lstsq(terms[kept], height[kept], rcond=None)[0]
        kept = np.abs(height - terms @ fitted) <= OUTLIER_VOXELS * side
        if kept.sum() < 2 * TERMS:
            return np.zeros_like(piece)
    places = np.argwhere(below) * spacing_zyx_mm - centre
    over = places @ up - _paraboloid(places @ frame[1:].T) @ fitted > 0
    wide = np.linalg.norm((np.argwhere(piece) * spacing_zyx_mm - centre) @ frame[1:].T, axis=1).max()
    over &= np.linalg.norm(places @ frame[1:].T, axis=1) <= wide
    foot = np.zeros_like(piece)
    foot[tuple(np.argwhere(below)[over].T)] = True
    return ndimage.binary_propagation(ndimage.binary_dilation(piece) & foot, mask=foot)


def _paraboloid(across_mm: np.ndarray) -> np.ndarray:
    """Return the terms of a paraboloid at (N, 2) places, (N, 6)."""
    u, v = across_mm.T
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)


def _is_mineral(seen: _Seen) -> bool:
    """Tell mineral on a bone from the bone's own processes; thresholds from limbs with lesions put in, and without."""
    if seen.height_mm < HEIGHT_MM or seen.thick_mm < THICK_MM or seen.elongation > ELONGATED:
        return False
    if seen.base_share > BASE_SHARE or seen.height_mm > SLENDER * seen.thick_mm:
        return False
    densest = max(seen.cortex_hu, seen.base_hu)
    side = seen.along < ALONG
    core = seen.core_hu >= max(seen.rim_hu + SOLID_HU, SOLID_CORE_HU)
    # The end of another bone is as dense, and hollow.
    lump = core and side and seen.shaft >= SHAFT and seen.base_share <= LUMP_BASE
    if seen.own_hu > max(densest, CORTEX_HU) and not lump:
        return False
    hollow = seen.core_hu < seen.rim_hu
    if hollow:
        return side and seen.shaft >= SHAFT and seen.core_hu < SOFT_CORE_HU and seen.thick_mm >= SHELL_MM
    solid = core and seen.base_share <= SOLID_BASE
    apart = seen.own_hu >= max(SADDLE * seen.base_hu, SADDLE_HU) and seen.base_share <= SADDLE_BASE
    on_shaft = side and seen.shaft >= SHAFT and DENSE_HU <= seen.own_hu <= PALE * densest
    thick = seen.cortex_hu >= THICK_CORTEX_HU
    on_cortex = side and thick and DENSE_HU <= seen.own_hu <= PALEST * densest
    return solid or apart or on_shaft or on_cortex


def _look(
    hu: np.ndarray,
    piece: np.ndarray,
    solid: np.ndarray,
    depth: np.ndarray,
    beyond: np.ndarray,
    spacing_zyx_mm: np.ndarray,
) -> _Seen | None:
    """Measure what stands out; None where the field's edge cuts it or no bone lies below."""
    bone = solid & (beyond <= 0)
    gap = grid.distance_mm(piece, spacing_zyx_mm)
    base = bone & (gap <= BASE_MM)
    ring = bone & (depth <= BASE_MM + spacing_zyx_mm.max()) & (gap > RING_MM[0]) & (gap <= RING_MM[1])
    if shape.at_edge(piece) or base.sum() < 4 or not ring.any():
        return None
    places, below = np.argwhere(piece) * spacing_zyx_mm, np.argwhere(base) * spacing_zyx_mm
    spread, _ = shape.axes_of(places)
    local = float(depth[bone & (gap <= RING_MM[1] + BASE_MM)].max(initial=0))
    around, axes = shape.axes_of(np.argwhere(bone & (gap <= AROUND_RADII * local)) * spacing_zyx_mm)
    way = places.mean(axis=0) - below.mean(axis=0)
    voxel_mm3 = float(np.prod(spacing_zyx_mm))
    section = np.pi * (3 * piece.sum() * voxel_mm3 / (4 * np.pi)) ** (2 / 3)
    core, rim = piece & (depth > CORE_MM), piece & (depth > 1) & (depth <= CORE_MM)
    has_core = core.sum() > CORE_VOXELS and rim.any()
    return _Seen(
        height_mm=float(beyond[piece].max()),
        thick_mm=float(depth[piece].max()),
        elongation=float(spread[0] / max(spread[1], 0.3 * spacing_zyx_mm.min())),
        base_share=float(base.sum() * voxel_mm3 / BASE_MM / section),
        shaft=float(around[0] / max(around[1], 1e-3)),
        along=float(abs(way @ axes[0]) / max(np.linalg.norm(way), 1e-3)),
        own_hu=float(np.percentile(hu[piece], 90)),
        cortex_hu=float(np.percentile(hu[ring], 75)),
        base_hu=float(np.percentile(hu[base], 75)),
        rim_hu=float(hu[rim].mean()) if has_core else np.nan,
        core_hu=float(hu[core].mean()) if has_core else np.nan,
    )
