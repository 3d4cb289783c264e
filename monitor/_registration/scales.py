"""A scan at one scale: what the metric sees of it; NaN where it must not look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor.types import Anatomy, Scan

WINDOW_HU = (-250.0, 1000.0)
"""What the metric tells apart, HU: below is air, above are the peaks of cortex and metal."""

TISSUE_HU = 150.0
"""Where the median of a body without HU comes to lie: noise of MR, a twentieth of it, is then that of a CT."""

BORDER_MM = 8.0
"""Air around the body, mm, that the metric sees: the skin is an edge too."""

MINERAL_RIM_MM = 1.5
"""Blur around a piece of mineral, mm, that is kept out of the metric with it."""

MOST_VOXELS = 12_000_000
"""About how many voxels the finest scale holds at most: 48 MB an image, and four images a scan."""

MOST_AT_ONCE = 65_536
"""Points that are looked up at a time: half a million at once take more memory than the scan does."""

COARSEST_MM = 8.0
"""Voxel, mm, of the coarsest scale: farther than a voxel or two, edges do not tell where to."""

BLUR_PER_VOXEL = 0.5
"""SD of the blur before voxels are left out, in voxels of the coarser scale: aliases fall below the noise."""

SEEN = 0.5
"""Least share of a blurred voxel that must come from voxels that count."""


@dataclass(frozen=True)
class Scale:
    """A scan at one voxel size; arrays are (z, y, x), ``matrix`` leads from index to mm.

    Attributes
    ----------
    hu : array, float32
        HU in the window, air around the body; NaN for mineral, padding, and farther from the body.
    body, bone : array, bool
        What is patient, and what of it is normal bone.
    matrix : (4, 4) array
        From a voxel index (z, y, x) to a point in LPS mm; shear is allowed.
    """

    hu: np.ndarray
    body: np.ndarray
    bone: np.ndarray
    matrix: np.ndarray

    @cached_property
    def sides_mm(self) -> np.ndarray:
        """Distance of voxels along each index, (3,) mm."""
        return np.asarray(np.linalg.norm(self.matrix[:3, :3], axis=0))

    @property
    def voxel_mm(self) -> float:
        """The shortest side of a voxel, mm."""
        return float(self.sides_mm.min())

    @cached_property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, mm³."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    @cached_property
    def gradient(self) -> np.ndarray:
        """What ``slopes`` returns, kept."""
        return self.slopes()

    def slopes(self) -> np.ndarray:
        """Return HU a mm along x, y and z, (3, z, y, x) float32; NaN beside what does not count."""
        back = np.linalg.inv(self.matrix[:3, :3]).astype(np.float32)
        found = np.zeros((3, *self.hu.shape), np.float32)
        for axis in range(3):
            # One axis at a time: all three at once are a tenth of the memory of a registration.
            along = np.gradient(self.hu, axis=axis)
            for part, share in zip(found, back[axis], strict=True):
                if share:
                    part += share * along
        return found

    def at(self, points_mm: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Sample an array of this scale linearly at points, (N, 3) LPS mm; NaN outside."""
        back = np.linalg.inv(self.matrix)
        found = np.empty(len(points_mm), np.float32)
        for some in parts_of(len(points_mm)):
            index = grid.apply_affine(back, points_mm[some]).T
            ndimage.map_coordinates(values, index, order=1, mode="constant", cval=np.nan, output=found[some])
        return found


def parts_of(count: int) -> Iterator[slice]:
    """Yield slices of at most ``MOST_AT_ONCE`` that cover so many points."""
    return (slice(start, start + MOST_AT_ONCE) for start in range(0, count, MOST_AT_ONCE))


def prepare(scan: Scan, anatomy: Anatomy, mineral: np.ndarray) -> Scale:
    """Return the finest scale: all but the body set to air, and left out what may come and go.

    Scans of more than ``MOST_VOXELS`` are averaged over blocks, a slab at a time, so that nothing large is copied.
    """
    sides, shape, values = scan.spacing_zyx_mm, np.array(scan.array.shape), _as_hu(scan, anatomy.body)
    wanted_mm = float(np.prod(sides * shape) / MOST_VOXELS) ** (1 / 3)
    stride = np.maximum(1, np.rint(wanted_mm / sides)).astype(int)
    count = np.maximum(1, shape // stride)
    hu = np.empty(count, np.float32)
    body, bone, moot = np.empty(count, bool), np.empty(count, bool), np.empty(count, bool)
    for number in range(count[0]):
        slab = slice(number * stride[0], (number + 1) * stride[0])
        inside = anatomy.body[slab]
        tissue = np.where(inside, np.clip(values(scan.array[slab]), *WINDOW_HU), WINDOW_HU[0]).astype(np.float32)
        hu[number] = _block_means(tissue, stride)
        body[number] = _block_means(inside, stride) > SEEN
        bone[number] = _block_means(anatomy.skeleton[slab], stride) > SEEN
        moot[number] = _block_means(mineral[slab] & inside, stride) > 0
        if scan.imaged is not None:
            hu[number][_block_means(~scan.imaged[slab], stride) > 0] = np.nan
    matrix = grid.affine(scan.image)
    matrix[:3, 3] = grid.apply_affine(matrix, (stride[None] - 1) / 2)[0]
    matrix[:3, :3] *= stride
    hu[~_around(body, BORDER_MM, sides * stride)] = np.nan
    hu[_around(moot, MINERAL_RIM_MM, sides * stride)] = np.nan
    return Scale(hu, body, bone, matrix)


def _as_hu(scan: Scan, body: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes HU of a scan's values: nothing for CT, else a scale with the body's median at ``TISSUE_HU``."""
    if scan.unit == "HU" or not body.any():
        return lambda values: values
    middle = float(np.median(scan.array[body]))
    low, gain = WINDOW_HU[0], np.float32((TISSUE_HU - WINDOW_HU[0]) / max(middle, 1e-6))
    return lambda values: np.float32(low) + values.astype(np.float32) * gain


def _block_means(slab: np.ndarray, stride: np.ndarray) -> np.ndarray:
    """Return the means over blocks of a slab as thick as a block; what is left over at the far ends is dropped."""
    if (stride == 1).all():
        return slab[0]
    _, rows, columns = np.array(slab.shape) // np.maximum(1, stride)
    kept = slab[:, : rows * stride[1], : columns * stride[2]]
    return np.asarray(
        kept.reshape(len(slab), rows, stride[1], columns, stride[2]).mean(axis=(0, 2, 4), dtype=np.float32)
    )


def coarser(one: Scale, voxel_mm: float) -> Scale:
    """Blur and leave out voxels until they are about this large; axes that are coarser stay as they are."""
    stride = np.maximum(1, np.rint(voxel_mm / one.sides_mm)).astype(int)
    if (stride == 1).all():
        return one
    counts = np.isfinite(one.hu)
    share = _blurred(counts.astype(np.float32), stride)
    hu = _blurred(np.where(counts, one.hu, np.float32(0)), stride) / np.maximum(share, np.float32(1e-3))
    hu[share < SEEN] = np.nan
    start = _start(one.hu.shape, stride)
    taken = tuple(slice(int(s), None, int(n)) for s, n in zip(start, stride, strict=True))
    matrix = one.matrix.copy()
    matrix[:3, 3] = grid.apply_affine(one.matrix, start[None])[0]
    matrix[:3, :3] = one.matrix[:3, :3] * stride
    return Scale(np.ascontiguousarray(hu), one.body[taken], one.bone[taken], matrix)


def _start(shape: tuple[int, ...], stride: np.ndarray) -> np.ndarray:
    """Return the first voxel to keep, so that as much is lost at one end as at the other."""
    return np.asarray((np.array(shape) - 1) % stride // 2)


def _blurred(values: np.ndarray, stride: np.ndarray) -> np.ndarray:
    """Blur and leave out voxels axis by axis, so that each axis costs less than the one before."""
    start = _start(values.shape, stride)
    for axis in (2, 1, 0):
        if stride[axis] > 1:
            sigma = BLUR_PER_VOXEL * stride[axis]
            soft = ndimage.gaussian_filter1d(values, sigma, axis=axis, mode="nearest", truncate=3.0)
            values = soft.take(range(int(start[axis]), values.shape[axis], int(stride[axis])), axis=axis)
    return values


def _around(mask: np.ndarray, reach_mm: float, sides_mm: np.ndarray) -> np.ndarray:
    """Return what lies in a box of this half side about a voxel of a mask."""
    near = np.zeros(mask.shape, bool)
    if not mask.any():
        return near
    reach = np.ceil(reach_mm / sides_mm).astype(int)
    box = grid.grown(grid.box_of(mask), reach, mask.shape)
    grown = mask[box].view(np.uint8)
    for axis, n in enumerate(reach.tolist()):
        grown = ndimage.maximum_filter1d(grown, 2 * n + 1, axis=axis, mode="constant")
    near[box] = grown > 0
    return near


def pyramid(fixed: Scale, moving: Scale) -> list[tuple[Scale, Scale]]:
    """Return both scans from coarse to fine, each scale about twice as fine as the one before."""
    finest = max(fixed.voxel_mm, moving.voxel_mm)
    octaves = max(1, int(np.ceil(np.log2(COARSEST_MM / finest) - 0.2)))
    sizes = np.geomspace(max(COARSEST_MM, finest), finest, octaves + 1)
    return [(coarser(fixed, size), coarser(moving, size)) for size in sizes]
