"""What is body and what is skeleton, and how noisy the scan is: everything that a lesion is not."""

from __future__ import annotations

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

CORTEX_HU = 500.0
"""Denser than spongy bone, HU: cortex is above this wherever it is thicker than a voxel."""

BONE_CLOSING_MM = 3.0
"""Gaps of cortex that are closed, mm: nutrient canals and thin cortex at 3 mm slices."""

BONE_MM3 = 6_000.0
"""A dense piece at least this large and with cortex is skeleton, mm³: the patella of a school child."""

BONE_AT_EDGE_MM3 = 300.0
"""A dense piece that the edge of the field cuts is skeleton from this size, mm³: a fibula over two slices."""

CORTEX_FRACTION = 0.08
"""Share of a piece's dense voxels above ``CORTEX_HU`` that makes it bone."""

SOFT_TISSUE_HU = (-30.0, 110.0)
"""Muscle, skin and vessel without contrast, HU: where the noise is measured."""

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
    noise_hu, tissue_hu = measure_noise(hu, body & ~bones)
    return Anatomy(body=body, skeleton=bones, left_out=left_out, noise_hu=noise_hu, tissue_hu=tissue_hu)


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
    core = _large_pieces(eroded, float(np.prod(spacing)), BODY_PART_MM3 / 4)
    if not core.any():
        return fine & False
    grown = ndimage.distance_transform_edt(~core, sampling=spacing) <= radius + spacing.max()
    grown = grown[tuple(slice(low, size - high) for (low, high), size in zip(pad, padded.shape, strict=True))]
    near = grown.repeat(steps[0], 0).repeat(steps[1], 1).repeat(steps[2], 2)
    near = near[tuple(slice(0, size) for size in fine.shape)]
    return _fill_slices(fine & near)


def find_skeleton(hu: np.ndarray, body: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return bone with its marrow, (z, y, x) bool.

    Dense pieces are bone where they are large and hold cortex, or where the edge of the field cuts them.
    A nodule that touches a bone is split from it where the two are joined by a neck.
    """
    dense = (hu >= BONE_HU) & body
    labels, count = ndimage.label(dense, structure=np.ones((3, 3, 3)))
    if count == 0:
        return dense
    volume = float(np.prod(spacing_zyx_mm))
    sizes = np.bincount(labels.ravel()) * volume
    cortex = np.bincount(labels[hu >= CORTEX_HU], minlength=count + 1) * volume
    edge = np.zeros(count + 1, bool)
    for face in _faces(labels):
        edge[face] = True
    bony = cortex >= CORTEX_FRACTION * sizes
    keep = bony & ((sizes >= BONE_MM3) | (edge & (sizes >= BONE_AT_EDGE_MM3)))
    keep[0] = False
    bones = keep[labels]
    return _solid(bones, body, spacing_zyx_mm)


def measure_noise(hu: np.ndarray, tissue: np.ndarray) -> tuple[float, float]:
    """Return the SD of the noise and the level of soft tissue, HU.

    The median over soft tissue of the SD in small squares of a slice, so that anatomy, which only widens
    some of them, does not count (Christianson 2015, global noise level).
    """
    low, high = SOFT_TISSUE_HU
    values = hu.astype(np.float32)
    window = (1, NOISE_WINDOW_VOXELS, NOISE_WINDOW_VOXELS)
    mean = ndimage.uniform_filter(values, window)
    square = ndimage.uniform_filter(values * values, window)
    inner = ndimage.binary_erosion(tissue, np.ones(window), border_value=1)
    inner &= (mean > low) & (mean < high)
    if inner.sum() < NOISE_WINDOW_VOXELS**3:
        return float("nan"), float("nan")
    count = NOISE_WINDOW_VOXELS**2
    variance = np.maximum(square - mean * mean, 0)[inner] * (count / (count - 1))
    return float(np.sqrt(np.median(variance))), float(np.median(mean[inner]))


def _solid(bones: np.ndarray, body: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Close gaps of the cortex and fill the marrow, slice by slice in all three directions."""
    closed = _close(bones, BONE_CLOSING_MM, spacing_zyx_mm) & body
    filled = closed.copy()
    for axis in range(3):
        filled |= _fill_slices(closed, axis=axis)
    return filled


def _close(mask: np.ndarray, radius_mm: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Close a mask with a ball; beyond the field's edge the mask is taken to go on."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return mask
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


def _faces(labels: np.ndarray) -> list[np.ndarray]:
    """Return the labels on the six faces of the field."""
    return [np.unique(np.take(labels, index, axis)) for axis in range(3) for index in (0, -1)]
