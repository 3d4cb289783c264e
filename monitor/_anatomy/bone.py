"""The skeleton: which dense pieces of a body are bone, with their marrow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor._anatomy import shape
from monitor._anatomy.standing import standing_out

BONE_HU = 180.0
"""Where a voxel may be bone, HU: trabecular bone of a child is about 200 to 400 HU (Schreiber 2011, table 1)."""

BONE_SMOOTHING_MM = 0.7
"""SD of the smoothing before that threshold, mm: noise would join what is apart."""

WORKING_MM = 1.2
"""Voxels are joined until they are about this large, mm, to tell bone: cortex of an infant is as thick."""

BONE_CLOSING_MM = 3.0
"""Gaps of cortex that are closed, mm: nutrient canals and thin cortex at 3 mm slices."""

CLOSING_VOXELS = 1.5
"""The same in voxels: thin cortex has gaps of a voxel at any size of it."""

BONE_LEAST_MM3 = 30.0
"""Smallest dense piece that is asked whether it is bone, mm³: a cut end of a fibula."""

RIM_MM = (1.0, 3.0)
"""Depths between which a dense piece has its rim, mm; deeper is its core. Less deep is blur."""

HOLLOW_BONE_MM3 = 4_000.0
"""A hollow piece is bone from this filled volume, mm³: the patella of a school child is 5 cm³."""

SOFT_CORE_HU = (-30.0, 130.0)
"""A core of muscle or young bone, HU: short bones are spongy throughout, above this, or fat, below."""

LIMB_MM3 = 150_000.0
"""A hollow piece with a soft core is a lesion up to this filled volume, mm³; a skull is larger."""

COMPACT = 2.5
"""How much longer than wide a hollow lesion may be; long bones, which have a soft core too, are longer."""

ROD = 2.5
"""How much longer than wide a rib or a process at least is."""

ROD_THICK_MM = 1.8
"""Least inscribed radius of a rib, mm; calcified walls of vessels and sheets are bent plates and thinner."""

CUT_ROD, CUT_LONG_MM, CUT_THICK_MM = 1.8, 8.0, 1.2
"""The same for what the edge of the field leaves of a rod: how much longer than wide, how long and how thick, mm."""

SOLID_CORE_MM3 = 300.0
"""Core from which a piece is asked whether its middle is densest, mm³: a ball of 4 mm below the rim."""

LUMP_SHARE = 0.1
"""Least share of a lump that its greatest inscribed ball fills: a rib has 0.04, what is joined of a trunk 0.01."""

MIRRORED_MM = 30.0
"""How far beyond the edge of the field the mirror image of a piece is looked at, mm: the width of a marrow."""

ROD_HU = 250.0
"""Least HU along the middle of a rib."""

NEAR_BONE_MM = 4.0
"""A smaller hollow piece is bone within this reach of bone, mm: the plate of growth is thinner."""

CORTEX_HU = 600.0
"""Denser than spongy bone, HU: cortex is above this wherever it is thicker than a voxel."""

CORTEX_FRACTION = 0.05
"""Share of a piece above ``CORTEX_HU`` from which a piece that the field cuts is bone: a rib or a fibula."""

LONG_MM = 25.0
"""Such a piece is at least this long, mm."""

FACING_SHARE = 0.25
"""Share of a small hollow piece's surface that must face bone: the end of a bone lies along its shaft's end."""

CONCAVITY_MM = 10.0
"""Gaps between bones that belong to the skeleton, mm: joint spaces, discs, between the arches of a spine."""

CONCAVITY_SHARE = 0.6
"""Share of a dense piece that must lie in such a gap for it to be bone."""

END_SLICE_MM = 15.0
"""A dense piece in the first or last slice this near to bone is its cut end, mm."""

SPONGY_HU = 100.0
"""Spongy bone and growing cartilage are above this, HU."""

WALL_HU = 130.0
"""A wall of cortex thinner than a voxel is above this, HU: more than muscle, tendon and marrow."""

MARROW_MM3 = 200.0
"""Least volume, mm³, that such a wall shuts in: less is left to the closing of gaps."""

MARROW_RADIUS_MM = 30.0
"""Greatest inscribed radius of marrow, mm: an adult's femoral head has 27; what is wider is brain or chest."""

MARROW_SHARE, SHUT_SHARE = 0.4, 0.75
"""Shares of its surface with which it lies on what is known as bone, and on that or the wall (vertebrae of hip-ct at
3 mm slices: 0.45 to 0.62 and 0.80 to 0.89)."""

SPONGY_GAP_MM = 6.0
"""Half the width, mm, of the gaps in bone that may hold spongy bone of its own: a vertebra whose cortex is not seen."""

SPONGY_SHARE = 0.5
"""Share of its surface with which such a piece must lie on bone."""

END_ON = 0.75
"""Cosine, between the axis of a bone and the way to a small piece beside it, from which the piece goes on the bone."""

END_ON_SHAFT = 1.5
"""Ratio of the first to the second spread from which a bone has an axis."""

END_ON_MM = 22.0
"""Reach, mm, within which a bone is asked for its axis."""


def find_skeleton(hu: np.ndarray, body: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return bone with its marrow, (z, y, x) bool.

    A dense piece is bone where it is hollow, its rim denser than its core, and large or beside bone; where it is a rod
    as ribs are; or where the edge of the field cuts it and it is long and holds cortex. A solid nodule is not hollow:
    blur makes its rim the fainter part. A short shell around soft tissue is none. What stands on bone is told from it
    by ``standing_out``. Fine grids are told on one of about ``WORKING_MM``.
    """
    fold = np.maximum(1, np.round(WORKING_MM / spacing_zyx_mm)).astype(int)
    coarse, inside, spacing = shape.folded(hu, fold), shape.folded(body, fold) >= 0.5, spacing_zyx_mm * fold
    bones = np.zeros(inside.shape, bool)
    # The air around takes as long as the body; a voxel of it is kept, so that only the field's own edge cuts.
    near = grid.grown(grid.box_of(inside), np.ones(3, int), inside.shape)
    bones[near] = _find(coarse[near], inside[near], spacing)
    if (fold == 1).all():
        return bones & body
    wide = shape.unfolded(bones, fold, hu.shape)
    inner = shape.unfolded(ndimage.binary_erosion(bones, border_value=1), fold, hu.shape)
    # Where the coarse border runs, the voxels themselves say where bone ends.
    return (inner | (wide & (hu >= BONE_HU))) & body


def _find(hu: np.ndarray, body: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    smooth = ndimage.gaussian_filter(hu, BONE_SMOOTHING_MM / spacing_zyx_mm)
    labels, _ = ndimage.label((smooth >= BONE_HU) & body, structure=np.ones((3, 3, 3)))
    volume = float(np.prod(spacing_zyx_mm))
    sizes = np.bincount(labels.ravel()) * volume
    bones = np.zeros(hu.shape, bool)
    small: list[_Small] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if sizes[number] < BONE_LEAST_MM3:
            continue
        piece = labels[box] == number
        filled = shape.solid(piece, _closing_mm(spacing_zyx_mm), spacing_zyx_mm)
        faces = [(part.start == 0, part.stop == size) for part, size in zip(box, labels.shape, strict=True)]
        seen = _Piece(hu[box], smooth[box], piece, filled, faces, spacing_zyx_mm)
        hollow = seen.is_hollow()
        large = hollow and filled.sum() * volume >= HOLLOW_BONE_MM3
        if seen.is_shell() and hollow:
            continue
        if large or ((seen.is_shaft() or seen.is_rod()) and not seen.is_solid()):
            bones[box] |= filled & ~_wide(filled & ~piece, spacing_zyx_mm)
        else:
            small.append(_Small(box, filled if hollow else piece, hollow))
    bones = _with_neighbours(bones, small, spacing_zyx_mm) & body
    bones |= _spongy(smooth, bones, spacing_zyx_mm) & body
    bones |= _thin_walled(smooth, bones, body, spacing_zyx_mm)
    return bones & ~standing_out(hu, bones, body, spacing_zyx_mm)


def _closing_mm(spacing_zyx_mm: np.ndarray) -> float:
    return max(BONE_CLOSING_MM, CLOSING_VOXELS * float(spacing_zyx_mm.max()))


@dataclass(frozen=True)
class _Piece:
    """A dense piece in its box: HU, HU smoothed, its mask, filled, and the faces, (low, high), that the field cuts."""

    hu: np.ndarray
    smooth: np.ndarray
    mask: np.ndarray
    filled: np.ndarray
    faces: list[tuple[bool, bool]]
    spacing_zyx_mm: np.ndarray

    @property
    def cut(self) -> bool:
        """Whether the field's edge cuts the piece."""
        return any(any(ends) for ends in self.faces)

    def is_hollow(self) -> bool:
        """Tell whether the rim of the filled piece is denser than its core; a piece without a core is not hollow."""
        rim, core = self.zones
        return bool(core.any() and rim.any() and self.hu[core].mean() < self.hu[rim].mean())

    def is_solid(self) -> bool:
        """Tell whether the piece is a lump that is thick and densest in its middle: no bone is, mineral is."""
        voxel_mm3 = float(np.prod(self.spacing_zyx_mm))
        ball_mm3 = 4 / 3 * np.pi * shape.depth_of(self.filled, self.spacing_zyx_mm).max() ** 3
        if ball_mm3 < LUMP_SHARE * self.filled.sum() * voxel_mm3:
            return False
        # Half a shaft, cut along its marrow, is a plate of cortex; with its mirror image it is a tube again.
        rim, core = self.zones_of(self.filled_beyond()) if self.cut else self.zones
        large = core.sum() * voxel_mm3 >= SOLID_CORE_MM3
        return bool(large and rim.any() and self.hu[core].mean() > self.hu[rim].mean())

    @cached_property
    def zones(self) -> tuple[np.ndarray, np.ndarray]:
        """Rim and core of the filled piece."""
        return self.zones_of(self.filled)

    def filled_beyond(self) -> np.ndarray:
        """Return the piece filled as if it went on, mirrored, beyond the edge of the field."""
        return shape.solid_beyond(
            self.mask, self.faces, MIRRORED_MM, _closing_mm(self.spacing_zyx_mm), self.spacing_zyx_mm
        )

    def zones_of(self, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rim and core of a filled piece."""
        depth = shape.depth_of(filled, self.spacing_zyx_mm)
        # The outermost voxel is half air of partial volume, however large: on coarse grids the rim lies deeper.
        voxel_mm = float(self.spacing_zyx_mm[1:].max())
        low, high = max(RIM_MM[0], voxel_mm), max(RIM_MM[1], 2 * voxel_mm)
        return (depth > low) & (depth <= high), depth > high

    def is_shell(self) -> bool:
        """Tell whether the piece is short, whole, and its core soft: a shell of new mineral around muscle."""
        volume = self.filled.sum() * float(np.prod(self.spacing_zyx_mm))
        core = self.zones[1]
        if self.cut or volume > LIMB_MM3 or not core.any() or self.elongation(self.filled) > COMPACT:
            return False
        return bool(SOFT_CORE_HU[0] <= self.hu[core].mean() <= SOFT_CORE_HU[1])

    def is_shaft(self) -> bool:
        """Tell whether the piece is cut by the edge of the field, long, and holds cortex."""
        length = max(size * step for size, step in zip(self.mask.shape, self.spacing_zyx_mm, strict=True))
        dense = np.mean(self.hu[self.mask] >= CORTEX_HU) >= CORTEX_FRACTION
        return bool(self.cut and length >= LONG_MM and dense)

    def is_rod(self) -> bool:
        """Tell whether the piece is a rod of bone, as ribs and processes are."""
        places = np.argwhere(self.mask) * self.spacing_zyx_mm
        spread, axes = shape.axes_of(places)
        along = places @ axes[0]
        ratio, length_mm = (CUT_ROD, CUT_LONG_MM) if self.cut else (ROD, LONG_MM)
        if np.ptp(along) < length_mm or spread[0] < ratio * spread[1]:
            return False
        depth = grid.within_mm(self.mask, self.spacing_zyx_mm)
        middle = self.mask & (depth >= 0.6 * depth.max())
        return bool(
            depth.max() >= (CUT_THICK_MM if self.cut else ROD_THICK_MM) and np.median(self.hu[middle]) >= ROD_HU
        )

    def elongation(self, mask: np.ndarray) -> float:
        """Return how much longer than wide a mask is, as the ratio of spreads."""
        spread, _ = shape.axes_of(np.argwhere(mask) * self.spacing_zyx_mm)
        return float(spread[0] / max(spread[1], 1e-3))


@dataclass(frozen=True, eq=False)
class _Small:
    """A small dense piece: its box, its mask there, and whether it is hollow."""

    box: shape.Box
    mask: np.ndarray
    hollow: bool


def _with_neighbours(bones: np.ndarray, small: list[_Small], spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Add small pieces that belong to bone.

    Those are hollow and face it, lie in a gap between bones, go on a bone at its end, or are a bone's cut end.
    """
    if not small or not bones.any():
        return bones
    between = shape.depth_of(grid.distance_mm(bones, spacing_zyx_mm) <= CONCAVITY_MM, spacing_zyx_mm) > CONCAVITY_MM
    found, left = bones.copy(), small
    while left:
        gap = grid.distance_mm(found, spacing_zyx_mm)
        added = [one for one in left if _belongs(one, found, gap, between, spacing_zyx_mm)]
        for one in added:
            found[one.box] |= one.mask
        if not added:
            break
        # What was added is bone to the next of a chain: the pieces of a sacrum, of a finger.
        left = [one for one in left if one not in added]
    return found


def _belongs(one: _Small, bones: np.ndarray, gap: np.ndarray, between: np.ndarray, spacing_zyx_mm: np.ndarray) -> bool:
    box, piece = one.box, one.mask
    surface = piece & ~ndimage.binary_erosion(piece)
    facing = one.hollow and np.mean(gap[box][surface] <= NEAR_BONE_MM) >= FACING_SHARE
    enclosed = np.mean(between[box][piece]) >= CONCAVITY_SHARE
    ends = box[0].start == 0 or box[0].stop == bones.shape[0]
    cut_end = ends and gap[box][piece].min() <= END_SLICE_MM
    return bool(facing or enclosed or cut_end or _goes_on(bones, one, gap, spacing_zyx_mm))


def _thin_walled(smooth: np.ndarray, bones: np.ndarray, body: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the marrow that a thin wall shuts in, with that wall: cortex of half a voxel is below ``BONE_HU``."""
    walls = bones | ((smooth >= WALL_HU) & body)
    shut = np.zeros(bones.shape, bool)
    for axis in range(3):
        shut |= shape.fill_slices(walls, axis=axis) & ~walls
    shut &= ~_wide(shut, spacing_zyx_mm)
    found = np.zeros(bones.shape, bool)
    labels, _ = ndimage.label(shut)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        near = grid.grown(box, np.full(3, 2), bones.shape)
        marrow = labels[near] == number
        if marrow.sum() * float(np.prod(spacing_zyx_mm)) < MARROW_MM3:
            continue
        around = ndimage.binary_dilation(marrow) & ~marrow
        on_bone, on_wall = (np.mean(mask[near][around]) for mask in (bones, walls))
        if on_bone >= MARROW_SHARE and on_wall >= SHUT_SHARE:
            found[near] |= marrow | (ndimage.binary_dilation(marrow, iterations=2) & walls[near])
    return found


def _wide(shut: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the pieces of what bone shuts in that are too wide for marrow."""
    voxel_mm3 = float(np.prod(spacing_zyx_mm))
    large = shape.large_pieces(shut, voxel_mm3, 4 / 3 * np.pi * MARROW_RADIUS_MM**3)
    if not large.any():
        return large
    labels, count = ndimage.label(large)
    depth = ndimage.maximum(shape.depth_of(large, spacing_zyx_mm), labels, np.arange(count + 1))
    return np.asarray((np.asarray(depth) > MARROW_RADIUS_MM)[labels] & large)


def _spongy(smooth: np.ndarray, bones: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the spongy bone that thin cortex left open: it lies in a gap of bone and mostly on bone."""
    labels, count = ndimage.label((smooth >= SPONGY_HU) & ~bones & shape.close(bones, SPONGY_GAP_MM, spacing_zyx_mm))
    if count == 0:
        return labels > 0
    faces, on_bone = np.zeros((2, count + 1))
    for axis in range(3):
        for step in (1, -1):
            own, beside = (
                tuple(slice(*part) if a == axis else slice(None) for a in range(3))
                for part in ((None, -1), (1, None))[::step]
            )
            there = (labels[own] > 0) & (labels[beside] == 0)
            faces += np.bincount(labels[own][there], minlength=count + 1)
            on_bone += np.bincount(labels[own][there & bones[beside]], minlength=count + 1)
    return (on_bone >= SPONGY_SHARE * np.maximum(faces, 1))[labels] & (labels > 0)


def _goes_on(bones: np.ndarray, one: _Small, gap: np.ndarray, spacing_zyx_mm: np.ndarray) -> bool:
    """Tell whether a piece lies close to the end of a bone, in its axis: the last of a sacrum, a plate's other side."""
    if gap[one.box][one.mask].min() > NEAR_BONE_MM:
        return False
    near = shape.grown(one.box, END_ON_MM, spacing_zyx_mm, bones.shape)
    places = np.argwhere(bones[near]) * spacing_zyx_mm
    start = np.array([part.start - wide.start for part, wide in zip(one.box, near, strict=True)])
    own = ((np.argwhere(one.mask) + start) * spacing_zyx_mm).mean(axis=0)
    closest = places[np.linalg.norm(places - own, axis=1) <= END_ON_MM]
    if len(closest) < 4:
        return False
    spread, axes = shape.axes_of(closest)
    way = own - closest.mean(axis=0)
    return bool(spread[0] >= END_ON_SHAFT * spread[1] and abs(way @ axes[0]) >= END_ON * np.linalg.norm(way))
