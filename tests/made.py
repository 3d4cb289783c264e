"""Small limbs with known lesions: a cylinder of muscle under fat, a bone, a table, balls of known size and HU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from monitor import grid
from monitor.types import Acquisition, Scan

MUSCLE_HU, FAT_HU, AIR_HU, CORTEX_HU, MARROW_HU, TABLE_HU = 55.0, -95.0, -1000.0, 1300.0, -20.0, 250.0
SKIN_MM, MUSCLE_MM = 34.0, 29.0
"""Radii of skin and of muscle, mm; the axis of the limb is x = y = 0."""
BONE_MM, CORTEX_MM, BONE_AT = 9.0, 3.0, (-12.0, 0.0)
"""Outer radius of the bone, thickness of its cortex, and where its axis runs, mm."""
TABLE_AT = (38.0, 42.0)
"""Where the table begins and ends in y, mm."""

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Ball:
    """A ball of mineral, a shell where ``core_hu`` is given for its inner half of radius."""

    centre_mm: Place
    radius_mm: float
    hu: float = 500.0
    core_hu: float | None = None

    @property
    def volume_mm3(self) -> float:
        return 4 / 3 * np.pi * self.radius_mm**3


@dataclass(frozen=True)
class Scanner:
    """What makes a picture of the limb: SD of the blur and of the noise, voltage, and the noise's seed."""

    blur_mm: float = 0.7
    noise_hu: float = 8.0
    kvp: float = 120.0
    seed: int = 0


def limb(
    balls: Sequence[Ball] = (),
    *,
    spacing_mm: Place = (1.0, 1.0, 1.5),
    slices: int = 32,
    shift_hu: float = 0.0,
    bone: bool = True,
    **scanner: float,
) -> Scan:
    """Render the limb: voxels by sub-voxel sampling, blurred by a Gaussian, with white noise.

    ``shift_hu`` is added to all but air and table: mineral keeps its contrast. ``scanner`` are fields of ``Scanner``.
    """
    made = Scanner(**scanner)
    count = np.ceil(np.array([80.0, 88.0]) / spacing_mm[:2]).astype(int)
    shape = (slices, count[1], count[0])
    x, y, z = axes(shape, spacing_mm)
    hu = plane(x, y, bone=bone, shift_hu=shift_hu)[None].repeat(slices, axis=0)
    for one in balls:
        level = one.hu + shift_hu
        blend(hu, one.centre_mm, one.radius_mm, level, (x, y, z))
        if one.core_hu is not None:
            blend(hu, one.centre_mm, one.radius_mm / 2, one.core_hu + shift_hu, (x, y, z))
    hu = ndimage.gaussian_filter(hu, made.blur_mm / np.array(spacing_mm)[::-1], mode="nearest")
    hu += np.random.default_rng(made.seed).normal(0, made.noise_hu, shape)
    return scan_of(hu, spacing_mm, origin_mm=(x[0], y[0], z[0]), kvp=made.kvp)


def scan_of(hu: np.ndarray, spacing_mm: Place, *, origin_mm: Place = (0.0, 0.0, 0.0), kvp: float = 120.0) -> Scan:
    """Put HU, (z, y, x), on a grid; rounded as a scanner rounds."""
    image = sitk.GetImageFromArray(np.rint(np.clip(hu, -1024, 3071)).astype(np.int16))
    image.SetSpacing(spacing_mm)
    image.SetOrigin([float(v) for v in origin_mm])
    return Scan(image, acquisition=Acquisition(kvp=kvp, slice_increment_mm=spacing_mm[2]))


def axes(shape: tuple[int, int, int], spacing_mm: Place) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the voxel centres, mm: x and z about 0, y so that the table is in view."""
    x, y, z = ((np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape[::-1], spacing_mm, strict=True))
    return x, y + 5.0, z


def plane(x: np.ndarray, y: np.ndarray, *, bone: bool, shift_hu: float) -> np.ndarray:
    """Return one slice without lesions, (y, x) HU, each voxel the mean of 5 x 5 points."""
    sub = (np.arange(5) - 2) / 5
    total = np.zeros((len(y), len(x)))
    for across in sub * (x[1] - x[0]):
        for down in sub * (y[1] - y[0]):
            u, v = np.meshgrid(x + across, y + down)
            radius, marrow = np.hypot(u, v), np.hypot(u - BONE_AT[0], v - BONE_AT[1])
            table = (v > TABLE_AT[0]) & (v < TABLE_AT[1])
            where = [radius < MUSCLE_MM, radius < SKIN_MM, table]
            levels = [MUSCLE_HU + shift_hu, FAT_HU + shift_hu, TABLE_HU]
            if bone:
                where = [marrow < BONE_MM - CORTEX_MM, marrow < BONE_MM, *where]
                levels = [MARROW_HU + shift_hu, CORTEX_HU + shift_hu, *levels]
            total += np.select(where, levels, AIR_HU)
    return total / 25


def blend(
    hu: np.ndarray, centre_mm: Place, radius_mm: float, level_hu: float, at: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Put a ball into an image, each voxel by the share of 7 x 7 x 7 points that lie inside."""
    near = [
        np.flatnonzero(np.abs(axis - middle) <= radius_mm + 2 * (axis[1] - axis[0]))
        for axis, middle in zip(at, centre_mm, strict=True)
    ]
    sub = (np.arange(7) - 3) / 7
    fine = [
        (axis[index][:, None] + sub * (axis[1] - axis[0]) - middle).ravel() ** 2
        for axis, index, middle in zip(at, near, centre_mm, strict=True)
    ]
    inside = fine[2][:, None, None] + fine[1][:, None] + fine[0] <= radius_mm**2
    nx, ny, nz = (len(index) for index in near)
    share = inside.reshape(nz, 7, ny, 7, nx, 7).mean(axis=(1, 3, 5))
    box = np.ix_(near[2], near[1], near[0])
    hu[box] += share * (level_hu - hu[box])


def within(scan: Scan, centre_mm: Place, radius_mm: float) -> np.ndarray:
    """Return the voxels whose centre lies within a ball, (z, y, x) bool."""
    index = np.argwhere(np.ones(scan.array.shape, bool))
    away = np.linalg.norm(grid.to_mm(scan.image, index) - np.array(centre_mm), axis=1)
    return (away <= radius_mm).reshape(scan.array.shape)
