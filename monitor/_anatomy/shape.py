"""Masks on a grid of any spacing: depth, closing, filling, pieces, axes. Masks are (z, y, x) bool."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from monitor import grid

Box = tuple[slice, ...]
"""Part of an image, a slice an axis."""


def depth_of(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the depth of each voxel below the surface, mm; at the edge of the box a mask is taken to go on."""
    padded = np.pad(mask, 1, mode="edge")
    return grid.distance_mm(~padded, spacing_zyx_mm)[1:-1, 1:-1, 1:-1]


def solid(piece: np.ndarray, radius_mm: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Close gaps of the cortex and fill the marrow, slice by slice in all three directions."""
    closed = close(piece, radius_mm, spacing_zyx_mm)
    filled = closed.copy()
    for axis in range(3):
        filled |= fill_slices(closed, axis=axis)
    return filled


def solid_beyond(
    piece: np.ndarray, faces: list[tuple[bool, bool]], reach_mm: float, radius_mm: float, spacing_zyx_mm: np.ndarray
) -> np.ndarray:
    """Close and fill a piece as if its mirror image lay beyond faces, (low, high) an axis, that the field cuts."""
    reach = np.minimum(np.ceil(reach_mm / spacing_zyx_mm).astype(int), piece.shape)
    pads = [(int(low * far), int(high * far)) for (low, high), far in zip(faces, reach, strict=True)]
    whole = solid(np.pad(piece, pads, mode="symmetric"), radius_mm, spacing_zyx_mm)
    return whole[tuple(slice(low, low + size) for (low, _), size in zip(pads, piece.shape, strict=True))]


def close(mask: np.ndarray, radius_mm: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Close a mask with a ball; beyond the field's edge the mask is taken to go on."""
    pad = [int(np.ceil(radius_mm / size)) + 1 for size in spacing_zyx_mm]
    part = np.pad(mask, [(p, p) for p in pad], mode="edge")
    near = grid.distance_mm(part, spacing_zyx_mm) <= radius_mm
    closed = grid.distance_mm(~near, spacing_zyx_mm) > radius_mm
    inner = tuple(slice(p, size - p) for p, size in zip(pad, part.shape, strict=True))
    return closed[inner] | mask


def fill_slices(mask: np.ndarray, *, axis: int = 0) -> np.ndarray:
    """Fill what a slice of the mask encloses, slice by slice along one axis."""
    moved = np.moveaxis(mask, axis, 0)
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = ndimage.generate_binary_structure(2, 1)
    return np.moveaxis(ndimage.binary_fill_holes(moved, structure=structure), 0, axis)


def large_pieces(mask: np.ndarray, voxel_mm3: float, least_mm3: float) -> np.ndarray:
    """Return the pieces of a mask, joined over faces, that have at least this volume."""
    labels, _ = ndimage.label(mask)
    keep = np.bincount(labels.ravel()) * voxel_mm3 >= least_mm3
    keep[0] = False
    return keep[labels]


def axes_of(places_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the SDs of points, (N, 3), along their principal axes, the longest first, and the axes as rows."""
    if len(places_mm) < 4:
        return np.zeros(3), np.eye(3)
    values, vectors = np.linalg.eigh(np.cov(places_mm.T))
    return np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1].T


def grown(box: Box, reach_mm: float, spacing_zyx_mm: np.ndarray, shape: tuple[int, ...]) -> Box:
    """Return a box that reaches this much farther, within the image."""
    return grid.grown(box, np.ceil(reach_mm / spacing_zyx_mm).astype(int), shape)


def at_edge(mask: np.ndarray) -> bool:
    """Tell whether a mask reaches the first or last voxel of an axis."""
    return any(mask.take(place, axis=axis).any() for axis in range(3) for place in (0, -1))


def folded(values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return the mean over blocks of voxels, float32; the last block goes on with the last voxel."""
    out = values
    for axis, count in enumerate(fold):
        if count > 1:
            short = -out.shape[axis] % count
            if short:
                last = out.take([-1], axis=axis)
                out = np.concatenate([out, last.repeat(short, axis)], axis=axis)
            split = (*out.shape[:axis], out.shape[axis] // count, count, *out.shape[axis + 1 :])
            out = out.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    return out.astype(np.float32)


def unfolded(mask: np.ndarray, fold: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask of blocks on the grid of their voxels."""
    wide = mask
    for axis, count in enumerate(fold):
        wide = wide.repeat(count, axis) if count > 1 else wide
    return wide[tuple(slice(0, size) for size in shape)]
