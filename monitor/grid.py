"""Voxel indices (zyx) and points (LPS xyz, mm): the only place where one becomes the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

RIGHT_ANGLE_TOLERANCE = 1e-3
"""Largest cosine between two axes that are at right angles: headers give four digits or more."""


class _Held:
    """Voxels that keep their image alive: the view of a temporary image would point at freed memory."""

    def __init__(self, image: sitk.Image) -> None:
        self.image = image
        self.__array_interface__ = {**sitk.GetArrayViewFromImage(image).__array_interface__}


def array(image: sitk.Image) -> np.ndarray:
    """Return the voxels of an image, shape (z, y, x), as a read-only view; a vector image has a last axis more."""
    view = np.asarray(_Held(image))
    view.flags.writeable = False
    return view


def image_like(values_zyx: np.ndarray, reference: sitk.Image) -> sitk.Image:
    """Put an array, shape (z, y, x), on the grid of another image."""
    image = sitk.GetImageFromArray(values_zyx)
    image.CopyInformation(reference)
    return image


def affine(image: sitk.Image) -> np.ndarray:
    """Return the (4, 4) matrix from a voxel index (z, y, x) to a point (x, y, z) in mm."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = (direction * np.array(image.GetSpacing()))[:, ::-1]
    matrix[:3, 3] = image.GetOrigin()
    return matrix


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a homogeneous (4, 4) matrix to points, (N, 3).

    >>> apply_affine(np.diag([2.0, 2.0, 2.0, 1.0]), np.array([[1.0, 0.0, 3.0]])).tolist()
    [[2.0, 0.0, 6.0]]
    """
    points = np.asarray(points)
    moved = np.empty((3, len(points)))
    # Not by BLAS: on three columns its threads only wait for each other, and double the CPU time of a registration.
    for row, out in zip(matrix[:3], moved, strict=True):
        np.multiply(points[:, 0], row[0], out=out)
        out += row[1] * points[:, 1]
        out += row[2] * points[:, 2]
        out += row[3]
    return moved.T


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let ITK's filters use one thread meanwhile: sums over several threads come out in other bits each time."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def to_mm(image: sitk.Image, index_zyx: np.ndarray) -> np.ndarray:
    """Return the points, (N, 3) LPS mm, of voxel indices, (N, 3) zyx; fractions are allowed."""
    return apply_affine(affine(image), np.asarray(index_zyx, float).reshape(-1, 3))


def to_index(image: sitk.Image, points_mm: np.ndarray) -> np.ndarray:
    """Return the continuous voxel indices, (N, 3) zyx, of points, (N, 3) LPS mm."""
    return apply_affine(np.linalg.inv(affine(image)), np.asarray(points_mm, float).reshape(-1, 3))


def inside(image: sitk.Image, points_mm: np.ndarray, *, margin_voxels: float = 0.0) -> np.ndarray:
    """Tell which points, (N, 3) LPS mm, lie within the image, half a voxel beyond the outer centres."""
    index = to_index(image, points_mm)
    size = np.array(image.GetSize())[::-1]
    low, high = -0.5 + margin_voxels, size - 0.5 - margin_voxels
    return np.all((index >= low) & (index <= high), axis=1)


def sample(
    image: sitk.Image, values_zyx: np.ndarray, points_mm: np.ndarray, *, order: int = 1, outside: float = np.nan
) -> np.ndarray:
    """Sample an array on the grid of ``image`` at points, (N, 3) LPS mm.

    ``order`` 0 takes the nearest voxel, 1 interpolates linearly. Points outside get ``outside``.
    """
    index = to_index(image, points_mm)
    values = ndimage.map_coordinates(values_zyx, index.T, order=order, mode="nearest", output=float)
    return np.where(inside(image, points_mm), values, outside)


def sample_vectors(field_mm: sitk.Image, points_mm: np.ndarray) -> np.ndarray:
    """Sample a vector image linearly at points, (N, 3) LPS mm; outside, the nearest border value holds."""
    index = to_index(field_mm, points_mm).T
    vectors = array(field_mm)
    parts = [ndimage.map_coordinates(vectors[..., k], index, order=1, mode="nearest", output=float) for k in range(3)]
    return np.stack(parts, axis=1)


def voxel_volume_mm3(image: sitk.Image) -> float:
    """Return the volume of a voxel in mm³: the determinant of the grid, so that shear is included."""
    return float(abs(np.linalg.det(affine(image)[:3, :3])))


def is_sheared(image: sitk.Image) -> bool:
    """Tell whether the axes of an image are not at right angles: the slices of a tilted gantry."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return not np.allclose(direction.T @ direction, np.eye(3), atol=RIGHT_ANGLE_TOLERANCE)


def depth_mm(mask_zyx: np.ndarray, image: sitk.Image) -> np.ndarray:
    """Return how deep each voxel lies in a mask, (z, y, x) mm: the distance to the nearest voxel outside.

    Beyond the field is outside within each slice; above and below the end slices the mask goes on. The slices of
    a tilted gantry are first laid straight by whole voxels, so that they are above each other as in the patient.
    """
    sideways = _sideways(image)
    steps = np.rint(np.arange(mask_zyx.shape[0])[:, None] * sideways).astype(int)
    steps -= steps.min(axis=0)
    (high, wide), (_, rows, columns) = steps.max(axis=0) + 2, mask_zyx.shape
    laid = np.zeros((mask_zyx.shape[0], rows + high, columns + wide), bool)
    places = [(slice(1 + y, 1 + y + rows), slice(1 + x, 1 + x + columns)) for y, x in steps.tolist()]
    for number, place in enumerate(places):
        laid[number][place] = mask_zyx[number]
    size = np.array(image.GetSpacing())[::-1].copy()
    size[0] = voxel_volume_mm3(image) / (size[1] * size[2])
    depth = ndimage.distance_transform_edt(laid, sampling=size)
    return np.stack([depth[number][place] for number, place in enumerate(places)])


def box_of(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the box around a mask; an empty one around nothing."""
    box = []
    for axis in range(mask.ndim):
        there = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0))
    return tuple(box)


def grown(box: tuple[slice, ...], reach: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return a box that reaches so many voxels farther along each axis, within an image of this shape."""
    return tuple(
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, margin, size in zip(box, reach, shape, strict=True)
    )


def distance_mm(target: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the distance of each voxel's centre to the nearest of ``target``, (z, y, x) float32 mm; 0 on it.

    Exact (Maurer 2003), and several times faster than scipy's. Infinite where the target is empty.
    """
    if not target.any():
        return np.full(target.shape, np.inf, np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(target, np.uint8))
    image.SetSpacing([float(size) for size in spacing_zyx_mm[::-1]])
    away = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.maximum(sitk.GetArrayFromImage(away), 0)


def within_mm(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the depth of each voxel of a mask below its surface, mm, 0 outside; the edge of the box is surface."""
    return distance_mm(~np.pad(mask, 1), spacing_zyx_mm)[1:-1, 1:-1, 1:-1]


def _sideways(image: sitk.Image) -> np.ndarray:
    """Return by how many rows and columns each slice lies aside of the one before; 0 where they stand straight."""
    if not is_sheared(image):
        return np.zeros(2)
    direction, size = np.array(image.GetDirection()).reshape(3, 3), np.array(image.GetSpacing())
    step = direction[:, 2] * size[2]
    return np.array([step @ direction[:, 1] / size[1], step @ direction[:, 0] / size[0]])
