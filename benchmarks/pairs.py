"""Pairs of scans whose true map is known: a real CT pulled through the phantom's maps, with noise of its own.

The moving scan at a point y is the fixed one at ``truth.to_baseline(y)``, on another lattice and with other noise,
so that voxels, noise and slices do not tell the two apart. Truth is exact at every point.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from monitor import anatomy, grid, scan
from monitor.phantom.motion import Motion, Warp, Xyz, rotation_matrix
from monitor.types import Anatomy, Scan

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real images beside the checkout."""

AIR_HU = -1000.0

POINTS = 4000
"""Points of body, and half as many of bone, at which a map is compared with truth."""


@dataclass(frozen=True)
class Pair:
    """Two scans and the map between them; points are the fixed scan's, (N, 3) LPS mm."""

    name: str
    fixed: Scan
    moving: Scan
    truth: Motion
    body_mm: np.ndarray
    bone_mm: np.ndarray


def limb(number: str) -> Scan:
    """Return a real limb of ``limb-ct``."""
    return scan.read(DATA / "limb-ct" / f"STS_{number}" / "CT_image.nii.gz")


def hip() -> Scan:
    """Return the real trunk, 3 mm."""
    return scan.read(DATA / "hip-ct" / "example_ct.nii.gz")


def motion(
    still: Scan,
    seed: int,
    *,
    bones: np.ndarray | None = None,
    growth: float = 1.08,
    warp_mm: float = 4.0,
    turn_deg: float = 10.0,
    shift_mm: float = 15.0,
) -> Motion:
    """Draw one of the phantom's maps about the middle of a scan; ``bones`` stay rigid where they are given."""
    rng = np.random.default_rng(seed)
    middle = grid.to_mm(still.image, (np.array(still.array.shape)[None] - 1) / 2)[0]
    turn = rotation_matrix(rng.uniform(-turn_deg, turn_deg, 3))
    shift = rng.uniform(-shift_mm, shift_mm, 3)

    def far(points: Xyz) -> np.ndarray:
        return np.full_like(points[0], 100.0)

    distance = far
    if bones is not None:
        away = ndimage.distance_transform_edt(~bones, sampling=still.spacing_zyx_mm)
        away = (away - ndimage.distance_transform_edt(bones, sampling=still.spacing_zyx_mm)).astype(np.float32)

        def near(points: Xyz) -> np.ndarray:
            return grid.sample(still.image, away, np.stack(points, axis=-1).reshape(-1, 3), outside=100.0).reshape(
                points[0].shape
            )

        distance = near
    return Motion(
        rotation=turn,
        shift_mm=middle + shift - growth * turn @ middle,
        growth=growth,
        hinge=None,
        warp=Warp.random(rng, warp_mm) if warp_mm else None,
        bone_distance_mm=distance,
    )


def pair(
    name: str,
    still: Scan,
    truth: Motion,
    seed: int,
    *,
    found: Anatomy | None = None,
    noise_hu: float = 12.0,
    slices: float = 1.2,
) -> Pair:
    """Pull a scan through a map: ``slices`` is the new slice spacing over the old one."""
    rng = np.random.default_rng(seed + 1000)
    found = found or anatomy.find(still)
    size_mm = np.array(still.image.GetSize()) * np.array(still.image.GetSpacing())
    spacing = np.array(still.image.GetSpacing()) * [1.0, 1.0, slices]
    empty = sitk.Image([int(n) for n in np.round(size_mm / spacing)], sitk.sitkInt16)
    empty.SetSpacing([float(v) for v in spacing])
    empty.SetDirection(still.image.GetDirection())
    empty.SetOrigin([float(v) for v in still.image.GetOrigin() + (rng.uniform(-0.5, 0.5, 3) * spacing)])
    clean = np.where(found.body, still.array, AIR_HU).astype(np.float32)
    soft = ndimage.spline_filter(clean, order=3)
    shape = empty.GetSize()[::-1]
    moved = np.empty(shape, np.float32)
    for number in range(shape[0]):
        index = np.indices(shape[1:]).reshape(2, -1).T
        points = grid.to_mm(empty, np.column_stack([np.full(len(index), number), index]))
        there = grid.to_index(still.image, truth.to_baseline(points))
        values = ndimage.map_coordinates(soft, there.T, order=3, prefilter=False, cval=AIR_HU)
        moved[number] = np.clip(values, AIR_HU, 3000).reshape(shape[1:])
    noisy = [part + rng.normal(0, noise_hu, part.shape) for part in (still.array, moved)]
    images = [
        grid.image_like(np.rint(part).astype(np.int16), like)
        for part, like in zip(noisy, (still.image, empty), strict=True)
    ]
    both = [Scan(image) for image in images]
    points = [_points(still, mask, rng, count) for mask, count in ((found.body, POINTS), (found.skeleton, POINTS // 2))]
    inside = [some[grid.inside(both[1].image, truth.from_baseline(some))] for some in points]
    return Pair(name, both[0], both[1], truth, inside[0], inside[1])


def _points(still: Scan, mask: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    index = np.argwhere(mask)
    some = index[rng.choice(len(index), min(count, len(index)), replace=False)]
    return grid.to_mm(still.image, some + rng.uniform(-0.5, 0.5, some.shape))
