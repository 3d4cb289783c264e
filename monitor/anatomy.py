"""What is body and what is skeleton, and how noisy the scan is: everything that a lesion is not."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from monitor import grid
from monitor.types import Anatomy, Scan

BODY_HU = -300.0
"""Between air and fat, HU: the half-way value of skin against air blurs to about this."""

COARSE_MM = 2.0
"""Voxel size, mm, at which body and table are told apart: both are larger than this."""

TABLE_THICKNESS_MM = 9.0
"""A sheet thinner than this is table, pad or clothing; a child's finger is thicker (clinical judgement)."""

BODY_PART_MM3 = 20_000.0
"""Smallest separate piece of body, mm³: a finger of an infant is about 2 cm³, a thumb-sized pad is less dense."""

BONE_HU = 180.0
"""Where a voxel may be bone, HU: trabecular bone of a child is about 200 to 400 HU (Schreiber 2011, table 1)."""

BONE_SMOOTHING_MM = 0.7
"""SD of the smoothing before that threshold, mm: noise would join what is apart."""

BONE_CLOSING_MM = 3.0
"""Gaps of cortex that are closed, mm: nutrient canals and thin cortex at 3 mm slices."""

BONE_LEAST_MM3 = 30.0
"""Smallest dense piece that is asked whether it is bone, mm³: a cut end of a fibula."""

RIM_MM = (1.0, 3.0)
"""Depths between which a dense piece has its rim, mm; deeper is its core. Less deep is blur."""

HOLLOW_BONE_MM3 = 4_000.0
"""A hollow piece is bone from this filled volume, mm³: the patella of a school child is 5 cm³."""

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

NEW_MM3 = 60.0
"""Least volume that must stand out of earlier bone, mm³."""

NEW_THICK_MM = 1.5
"""Least inscribed radius of what stands out, mm: errors of outline are thin."""

KNOWN_SHARE = 0.7
"""Share of a loose dense piece that must fall onto earlier bone for it to be bone."""

END_SLICE_MM = 15.0
"""A dense piece in the first or last slice this near to bone is its cut end, mm."""

ROUND = 0.55
"""Inscribed over equivalent radius from which a piece is round: islands of cortex are plates, about 0.3."""

SOFT_TISSUE_HU = (-30.0, 110.0)
"""Muscle, skin and vessel without contrast, HU: where the noise is measured."""

NOISE_BLOCK_MM = 24.0
"""Side of the blocks in which the noise is measured apart, mm: streaks between bones are as wide."""

LOWER_QUARTILE = 1.12
"""True SD over the lower quartile of SDs of squares of 25 voxels of correlated noise (simulated)."""

NOISE_WINDOW_VOXELS = 5
"""Side, voxels, of the square in which noise is measured: larger ones see anatomy."""


def find(scan: Scan, *, skeleton: np.ndarray | None = None, exclude: np.ndarray | None = None) -> Anatomy:
    """Tell body, skeleton and the rest apart in a CT.

    Parameters
    ----------
    scan : Scan
        CT in HU.
    skeleton, exclude : (z, y, x) bool array, optional
        A reader's masks; each wins over ours.

    Returns
    -------
    Anatomy
        Masks on the scan's own grid, noise in HU.
    """
    hu = scan.array
    body = find_body(scan)
    bones = find_skeleton(hu, body, scan.spacing_zyx_mm) if skeleton is None else np.asarray(skeleton, bool)
    left_out = np.zeros(hu.shape, bool) if exclude is None else np.asarray(exclude, bool)
    noise_hu, tissue_hu, blocks = measure_noise(hu, body & ~bones, scan.spacing_zyx_mm)
    return Anatomy(body, bones, left_out, noise_hu=noise_hu, tissue_hu=tissue_hu, noise_blocks_hu=blocks)


def foreground(scan: Scan) -> Anatomy:
    """Tell only the patient from the background, in an image whose values are no HU.

    Between background and tissue lies Otsu's threshold (1979); enclosed dark tissue belongs to the body. No
    skeleton is told, and no noise.
    """
    bright = grid.array(sitk.OtsuThreshold(scan.image, 0, 1)) > 0
    body = _fill_slices(_large_pieces(bright, scan.voxel_volume_mm3, BODY_PART_MM3 / 4))
    nothing = np.zeros(body.shape, bool)
    return Anatomy(body, nothing, nothing, noise_hu=nan, tissue_hu=nan, noise_blocks_hu=np.full((1, 1, 1), nan))


def find_body(scan: Scan) -> np.ndarray:
    """Return the patient without table, pads and air around, (z, y, x) bool.

    A coarse opening takes thin sheets away, what is left grows back inside the threshold by the radius
    of the opening, and enclosed air (lung, gut) belongs to the body.
    """
    fine = scan.array > BODY_HU
    steps = np.maximum(1, np.floor(COARSE_MM / scan.spacing_zyx_mm)).astype(int)
    coarse = fine[tuple(slice(None, None, step) for step in steps)]
    spacing = scan.spacing_zyx_mm * steps
    radius = TABLE_THICKNESS_MM / 2
    # The field's edge cuts the body: padding by repetition keeps the opening from eating it there.
    pad = [(int(np.ceil(radius / size)) + 1,) * 2 for size in spacing]
    padded = np.pad(coarse, pad, mode="edge")
    eroded = ndimage.distance_transform_edt(padded, sampling=spacing) > radius
    eroded = eroded[tuple(slice(low, size - high) for (low, high), size in zip(pad, padded.shape, strict=True))]
    # Sizes count within the field: in a corner the padding makes a solid block of a table's edge.
    core = _large_pieces(eroded, float(np.prod(spacing)), BODY_PART_MM3 / 4)
    if not core.any():
        return fine & False
    grown = ndimage.distance_transform_edt(~core, sampling=spacing) <= radius + spacing.max()
    near = grown.repeat(steps[0], 0).repeat(steps[1], 1).repeat(steps[2], 2)
    near = near[tuple(slice(0, size) for size in fine.shape)]
    return _fill_slices(fine & near)


def find_skeleton(hu: np.ndarray, body: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return bone with its marrow, (z, y, x) bool.

    A dense piece is bone where it is hollow, its rim denser than its core, and large or beside bone; or
    where the edge of the field cuts it and it is long and holds cortex. A solid nodule is not hollow: blur
    makes its rim the fainter part. What blur joins to a bone goes with it here; an earlier visit tells it apart.
    """
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), BONE_SMOOTHING_MM / spacing_zyx_mm)
    dense = (smooth >= BONE_HU) & body
    labels, _ = ndimage.label(dense, structure=np.ones((3, 3, 3)))
    volume = float(np.prod(spacing_zyx_mm))
    bones = np.zeros(hu.shape, bool)
    small: list[_Small] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        piece = labels[box] == number
        if piece.sum() * volume < BONE_LEAST_MM3:
            continue
        filled = _solid(piece, spacing_zyx_mm)
        hollow = _is_hollow(hu[box], filled, spacing_zyx_mm)
        large = hollow and filled.sum() * volume >= HOLLOW_BONE_MM3
        if large or _is_shaft(hu[box], piece, box, labels.shape, spacing_zyx_mm):
            bones[box] |= filled
        else:
            small.append((box, filled if hollow else piece, hollow))
    return _with_neighbours(bones, small, spacing_zyx_mm) & body


def _is_hollow(hu: np.ndarray, filled: np.ndarray, spacing_zyx_mm: np.ndarray) -> bool:
    """Tell whether the rim of a filled piece is denser than its core; a piece without a core is not hollow."""
    depth = _depth(filled, spacing_zyx_mm)
    # The outermost voxel is half air of partial volume, however large it is: on coarse grids the rim lies deeper.
    voxel_mm = float(spacing_zyx_mm[1:].max())
    low, high = max(RIM_MM[0], voxel_mm), max(RIM_MM[1], 2 * voxel_mm)
    rim, core = (depth > low) & (depth <= high), depth > high
    return bool(core.any() and rim.any() and hu[core].mean() < hu[rim].mean())


def _is_shaft(
    hu: np.ndarray, piece: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...], spacing_zyx_mm: np.ndarray
) -> bool:
    """Tell whether a piece is cut by the edge of the field, long, and holds cortex."""
    cut = any(part.start == 0 or part.stop == size for part, size in zip(box, shape, strict=True))
    length = max((part.stop - part.start) * size for part, size in zip(box, spacing_zyx_mm, strict=True))
    return bool(cut and length >= LONG_MM and np.mean(hu[piece] >= CORTEX_HU) >= CORTEX_FRACTION)


_Small = tuple[tuple[slice, ...], np.ndarray, bool]
"""A small dense piece: its box, its mask there, and whether it is hollow."""


def _with_neighbours(bones: np.ndarray, small: list[_Small], spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Add small pieces that belong to bone: hollow and facing it, in a gap between bones, or a bone's cut end."""
    if not small or not bones.any():
        return bones
    gap = ndimage.distance_transform_edt(~bones, sampling=spacing_zyx_mm)
    between = _depth(gap <= CONCAVITY_MM, spacing_zyx_mm) > CONCAVITY_MM
    found = bones.copy()
    for box, piece, hollow in small:
        surface = piece & ~ndimage.binary_erosion(piece)
        facing = hollow and np.mean(gap[box][surface] <= NEAR_BONE_MM) >= FACING_SHARE
        enclosed = np.mean(between[box][piece]) >= CONCAVITY_SHARE
        ends = box[0].start == 0 or box[0].stop == bones.shape[0]
        if facing or enclosed or (ends and gap[box][piece].min() <= END_SLICE_MM):
            found[box] |= piece
    return found


def _depth(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the depth of each voxel below the surface, mm; at the edge of the box a mask is taken to go on."""
    padded = np.pad(mask, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=spacing_zyx_mm)
    return np.asarray(depth)[1:-1, 1:-1, 1:-1]


Distance = Callable[[np.ndarray], np.ndarray]
"""Gives for the voxels of a mask, in the order of ``argwhere``, their distance to bone of another visit, mm."""


def without_new(skeleton: np.ndarray, distance: Distance, spacing_zyx_mm: np.ndarray, *, reach_mm: float) -> np.ndarray:
    """Take off a skeleton what stands out of the bone of an earlier visit, (z, y, x) bool.

    What lies farther than ``reach_mm`` from earlier bone and is thick and large enough has come since; it
    goes with what lies around it out to where it meets that bone.
    """
    away = np.zeros(skeleton.shape, np.float32)
    away[skeleton] = distance(skeleton)
    labels, _ = ndimage.label(away > reach_mm)
    volume = float(np.prod(spacing_zyx_mm))
    kept = skeleton.copy()
    reach = np.ceil((reach_mm + 1) / spacing_zyx_mm).astype(int)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        near = tuple(slice(max(0, p.start - r), p.stop + r) for p, r in zip(box, reach, strict=True))
        core = labels[near] == number
        if core.sum() * volume < NEW_MM3 or _depth(core, spacing_zyx_mm).max() < NEW_THICK_MM:
            continue
        around = ndimage.distance_transform_edt(~core, sampling=spacing_zyx_mm) <= reach_mm + 1
        kept[near] &= ~(around & (away[near] > 0.5))
    return kept


def with_known(skeleton: np.ndarray, dense: np.ndarray, distance: Distance) -> np.ndarray:
    """Add to a skeleton the loose dense pieces that lie mostly on bone of an earlier visit, (z, y, x) bool."""
    labels, count = ndimage.label(dense)
    if count == 0:
        return skeleton
    on_bone = (distance(dense) <= 0).astype(float)
    share = ndimage.mean(on_bone, labels[dense], np.arange(1, count + 1))
    return skeleton | np.concatenate([[False], np.asarray(share) >= KNOWN_SHARE])[labels]


def measure_noise(hu: np.ndarray, tissue: np.ndarray, spacing_zyx_mm: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return the SD of the noise, the level of soft tissue, and the noise block by block, all HU.

    The SD in small squares of a slice: texture and edges widen some of them, so that in all of soft tissue
    their mode is that of the noise (Christianson 2015, global noise level), and within a block, where a
    streak widens all, their lower quartile. Blocks are cubes of ``NOISE_BLOCK_MM``; one with too little
    soft tissue has the SD of the whole.
    """
    low, high = SOFT_TISSUE_HU
    values = hu.astype(np.float32)
    window = (1, NOISE_WINDOW_VOXELS, NOISE_WINDOW_VOXELS)
    mean = ndimage.uniform_filter(values, window)
    square = ndimage.uniform_filter(values * values, window)
    inner = ndimage.binary_erosion(tissue, np.ones(window), border_value=1)
    inner &= (mean > low) & (mean < high)
    sides = np.maximum(1, np.round(NOISE_BLOCK_MM / spacing_zyx_mm)).astype(int)
    blocks = np.full(tuple(-(-np.array(hu.shape) // sides)), np.nan)
    if inner.sum() < NOISE_WINDOW_VOXELS**3:
        return float("nan"), float("nan"), blocks
    count = NOISE_WINDOW_VOXELS**2
    spread = np.sqrt(np.maximum(square - mean * mean, 0) * (count / (count - 1)))
    whole = _mode(spread[inner])
    for place in np.ndindex(*blocks.shape):
        part = tuple(slice(n * side, (n + 1) * side) for n, side in zip(place, sides, strict=True))
        own = spread[part][inner[part]]
        blocks[place] = max(whole, LOWER_QUARTILE * np.percentile(own, 25)) if len(own) >= count * 8 else whole
    return whole, float(np.median(mean[inner])), blocks


def _mode(values: np.ndarray) -> float:
    """Return the most frequent value: the mean of the shortest interval that holds a quarter (half-sample mode)."""
    ordered = np.sort(values)
    held = max(2, len(ordered) // 4)
    widths = ordered[held - 1 :] - ordered[: len(ordered) - held + 1]
    start = int(np.argmin(widths))
    return float(ordered[start : start + held].mean())


def _solid(piece: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Close gaps of the cortex and fill the marrow, slice by slice in all three directions."""
    closed = _close(piece, BONE_CLOSING_MM, spacing_zyx_mm)
    filled = closed.copy()
    for axis in range(3):
        filled |= _fill_slices(closed, axis=axis)
    return filled


def _close(mask: np.ndarray, radius_mm: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Close a mask with a ball; beyond the field's edge the mask is taken to go on."""
    pad = [int(np.ceil(radius_mm / size)) + 1 for size in spacing_zyx_mm]
    part = np.pad(mask, [(p, p) for p in pad], mode="edge")
    near = ndimage.distance_transform_edt(~part, sampling=spacing_zyx_mm) <= radius_mm
    closed = ndimage.distance_transform_edt(near, sampling=spacing_zyx_mm) > radius_mm
    inner = tuple(slice(p, size - p) for p, size in zip(pad, part.shape, strict=True))
    return closed[inner] | mask


def _fill_slices(mask: np.ndarray, *, axis: int = 0) -> np.ndarray:
    """Fill what a slice of the mask encloses, slice by slice along one axis."""
    moved = np.moveaxis(mask, axis, 0)
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = ndimage.generate_binary_structure(2, 1)
    return np.moveaxis(ndimage.binary_fill_holes(moved, structure=structure), 0, axis)


def _large_pieces(mask: np.ndarray, voxel_mm3: float, least_mm3: float) -> np.ndarray:
    labels, _ = ndimage.label(mask)
    keep = np.bincount(labels.ravel()) * voxel_mm3 >= least_mm3
    keep[0] = False
    return keep[labels]
