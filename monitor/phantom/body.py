"""The soft body around the bones: skin, fat, muscle, vessels, bowel; and the painter that gives every point its HU."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from scipy import ndimage

from monitor.phantom.bones import Box, Capsule, Skeleton, extent, within
from monitor.phantom.motion import Hinge, Motion, Xyz

AIR_HU, FAT_HU, MUSCLE_HU, SKIN_HU, BLOOD_HU, CARTILAGE_HU = -1000.0, -100.0, 57.0, 40.0, 45.0, 75.0
"""HU at any tube voltage: textbook means (Hounsfield 1980); fat's change with voltage is left out."""

MARROW_HU, SPONGY_HU, TRABECULA_HU = -30.0, 190.0, 70.0
"""Fatty marrow of a shaft, spongy bone at an end, and the SD that its trabeculae give it; HU at 120 kVp."""

SKIN_MM, SPONGY_CORTEX_MM = 1.4, 1.0
"""Thickness of a child's skin, and of the cortex over spongy bone."""

EDGE_MM = 1.0
"""Width over which one tissue passes into the next, so that edges do not jump from voxel to voxel."""

TEXTURE_CELL_MM, _TEXTURE_CELLS = 1.0, 64


@dataclass(frozen=True)
class Texture:
    """Two periodic random fields of unit SD, fixed to the baseline: coarse for flesh, fine for trabeculae."""

    flesh: np.ndarray
    trabeculae: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator) -> Texture:
        """Draw both fields."""
        return cls(_random_field(rng, sigma_cells=2.2), _random_field(rng, sigma_cells=0.8))

    def of_flesh(self, points: Xyz) -> np.ndarray:
        """Sample the coarse field."""
        return _sample_periodic(self.flesh, points)

    def of_trabeculae(self, points: Xyz) -> np.ndarray:
        """Sample the fine field."""
        return _sample_periodic(self.trabeculae, points)


@dataclass(frozen=True)
class Blob:
    """Something soft with its own HU, painted over what is there: a vessel, its sheath, a loop of bowel.

    ``uptake`` is how much of the blood's rise it takes when contrast medium is given: 1 in a vessel.
    """

    shape: Capsule
    hu: float
    uptake: float = 0.0

    def paint(self, hu: np.ndarray, points: Xyz, around: Box) -> None:
        """Mix its HU into ``hu``, in place, at points of a known extent."""
        low, high = self.shape.box_mm
        near = within(points, around, (low - EDGE_MM, high + EDGE_MM))
        if near.size:
            share = inside_share(self.shape.distance_mm((points[0][near], points[1][near], points[2][near])))
            hu[near] += share * (self.hu - hu[near])


class Soft(Protocol):
    """The soft part of a body: its outline and what lies under it."""

    def skin_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance to the skin, negative inside."""

    def paint(self, points: Xyz, skin_mm: np.ndarray, flesh: np.ndarray) -> np.ndarray:
        """Return HU at points under the skin, given the texture of flesh there."""


@dataclass(frozen=True)
class Limbs:
    """One limb along z, or a pair mirrored at x = 0.

    ``along_mm`` and ``radius_mm`` are the profile of the skin, ``bellies_mm`` the middles of the muscles as
    (x, y) in parts of the radius with x pointing to the side, ``twist`` their turn in radians per mm.
    """

    centre_x_mm: float
    along_mm: tuple[float, ...]
    radius_mm: tuple[float, ...]
    bellies: np.ndarray
    fat_mm: float = 6.0
    twist: float = 0.004
    blobs: tuple[Blob, ...] = ()

    def skin_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance to the skin, negative inside."""
        u, v, radius = self._section(points)
        return np.asarray((np.sqrt(u * u + v * v) - 1.0) * radius)

    def paint(self, points: Xyz, skin_mm: np.ndarray, flesh: np.ndarray) -> np.ndarray:
        """Return HU at points under the skin, given the texture of flesh there."""
        u, v, radius = self._section(points)
        fat_mm = self.fat_mm * (1.0 + 0.25 * v - 0.2 * u)
        muscle = inside_share(skin_mm + fat_mm)
        planes, offset = self._planes(u, v, points[2], radius)
        flesh_hu = MUSCLE_HU + offset + 7.0 * flesh
        flesh_hu += planes * (FAT_HU + 20.0 - flesh_hu)
        hu = FAT_HU + 8.0 * flesh
        hu += muscle * (flesh_hu - hu)
        _paint_blobs(self.blobs, hu, points)
        return np.asarray(hu)

    def _section(self, points: Xyz) -> Xyz:
        """Return where points lie in the section, in parts of its radius, and that radius."""
        x, y, z = points
        radius = np.interp(z, self.along_mm, self.radius_mm).astype(x.dtype)
        side = np.abs(x) - self.centre_x_mm if self.centre_x_mm else x
        return side / radius, y / (radius * x.dtype.type(0.94)), radius

    def _planes(self, u: np.ndarray, v: np.ndarray, z: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cos, sin = np.cos(z * z.dtype.type(self.twist)), np.sin(z * z.dtype.type(self.twist))
        a, b = cos * u - sin * v, sin * u + cos * v
        return fat_planes(a, b, self.bellies, radius)


@dataclass(frozen=True)
class Trunk:
    """A belly and pelvis: skin, fat, a wall of muscle and a cavity of fat that holds the organs."""

    half_x_mm: float
    half_y_mm: float
    bellies: np.ndarray
    fat_mm: float = 7.0
    blobs: tuple[Blob, ...] = ()

    def skin_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance to the skin, negative inside."""
        x, y, z = points
        a, b = self._halves(z)
        return np.asarray((_superellipse(x / a, y / b) - 1.0) * b)

    def paint(self, points: Xyz, skin_mm: np.ndarray, flesh: np.ndarray) -> np.ndarray:
        """Return HU at points under the skin, given the texture of flesh there."""
        x, y, z = points
        a, b = self._halves(z)
        fat_mm = self.fat_mm * (1.0 + 0.3 * (x / a) ** 2)
        planes, offset = fat_planes(x / a, y / b, self.bellies, b)
        hu = FAT_HU + 8.0 * flesh
        flesh_hu = MUSCLE_HU + offset + 7.0 * flesh
        flesh_hu += planes * (FAT_HU + 30.0 - flesh_hu)
        wall = inside_share(skin_mm + fat_mm)
        hu += wall * (flesh_hu - hu)
        cavity = inside_share(self._cavity_mm(x, y, z))
        hu += cavity * (FAT_HU + 10.0 + 10.0 * flesh - hu)
        _paint_blobs(self.blobs, hu, points)
        return np.asarray(hu)

    def _halves(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hips = (1.0 / (1.0 + np.exp((z + 25.0) / 14.0))).astype(z.dtype)
        return self.half_x_mm + 7.0 * hips, self.half_y_mm + 1.0 * hips

    def _cavity_mm(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        narrow = (1.0 / (1.0 + np.exp((z + 28.0) / 8.0))).astype(z.dtype)
        a, b = self.half_x_mm * (0.78 - 0.36 * narrow), self.half_y_mm * (0.62 - 0.12 * narrow)
        return np.asarray((_superellipse(x / a, (y + 12.0 - 6.0 * narrow) / b) - 1.0) * b)


@dataclass(frozen=True)
class Body:
    """Everything that the phantom's child is made of, at the baseline."""

    skeleton: Skeleton
    soft: Limbs | Trunk
    texture: Texture
    hinge: Hinge | None = None
    places: dict[str, np.ndarray] = field(default_factory=dict)


def enhanced(body: Body, blood_hu: float) -> Body:
    """Return the body with contrast medium in its vessels, and less of it in what takes it up."""
    rise = blood_hu - BLOOD_HU
    blobs = tuple(replace(blob, hu=blob.hu + blob.uptake * rise) for blob in body.soft.blobs)
    return replace(body, soft=replace(body.soft, blobs=blobs))


@dataclass(frozen=True)
class Painted:
    """HU at a visit before the scanner: ``covered`` is how much of a voxel is body, ``bone`` the skeleton."""

    hu: np.ndarray
    covered: np.ndarray
    bone: np.ndarray


def paint(body: Body, motion: Motion, axes_mm: Xyz, *, mineral_scale: float) -> Painted:
    """Paint the body on the grid of a visit.

    Parameters
    ----------
    axes_mm : three arrays
        LPS coordinates of the columns, rows and slices.
    mineral_scale : float
        Contrast of bone over soft tissue, 1 at 120 kVp.
    """
    x, y, z = (axis.astype(np.float32) for axis in axes_mm)
    shape = (len(z), len(y), len(x))
    hu, covered = np.full(shape, AIR_HU, np.float32), np.zeros(shape, np.float32)
    bone = np.zeros(shape, bool)
    thick = max(1, 150_000 // (len(x) * len(y)))
    for first in range(0, len(z), thick):
        slab = slice(first, first + thick)
        parts = np.broadcast_arrays(x[None, None, :], y[None, :, None], z[slab, None, None])
        _paint_slab(
            body,
            motion,
            (parts[0].ravel(), parts[1].ravel(), parts[2].ravel()),
            mineral_scale,
            (hu[slab].reshape(-1), covered[slab].reshape(-1), bone[slab].reshape(-1)),
        )
    return Painted(hu, covered, bone)


def _paint_slab(
    body: Body, motion: Motion, points: Xyz, mineral_scale: float, out: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    hu, covered, bone = out
    points = motion.straighten(points)
    near = np.flatnonzero(body.soft.skin_mm(points) < 6.0)
    points = _take(points, near)
    to_bone, spongy = body.skeleton.sample(points)
    points = motion.relax(points, to_bone)
    skin_mm = body.soft.skin_mm(points)
    inside = skin_mm < EDGE_MM / 2
    near, points, to_bone, spongy, skin_mm = (
        near[inside],
        _take(points, inside),
        to_bone[inside],
        spongy[inside],
        skin_mm[inside],
    )
    tissue = body.soft.paint(points, skin_mm, body.texture.of_flesh(points))
    tissue += inside_share(-SKIN_MM - skin_mm) * (SKIN_HU - tissue)
    _paint_bone(tissue, body, points, (to_bone, spongy), mineral_scale)
    hu[near], covered[near], bone[near] = tissue, inside_share(skin_mm), to_bone < 0


def _paint_bone(
    hu: np.ndarray, body: Body, points: Xyz, sample: tuple[np.ndarray, np.ndarray], mineral_scale: float
) -> None:
    bony = np.flatnonzero(sample[0] < EDGE_MM / 2)
    if not bony.size:
        return
    distance, spongy = sample[0][bony], sample[1][bony]
    cortex_mm = body.skeleton.cortex_mm + spongy * (SPONGY_CORTEX_MM - body.skeleton.cortex_mm)
    core = MARROW_HU + spongy * (SPONGY_HU - MARROW_HU)
    core += (0.15 + 0.85 * spongy) * TRABECULA_HU * body.texture.of_trabeculae(_take(points, bony))
    cortex = body.skeleton.cortex_hu * (1.0 - 0.35 * spongy)
    solid = at_voltage(core + inside_share(-cortex_mm - distance) * (cortex - core), mineral_scale)
    hu[bony] += inside_share(distance) * (solid - hu[bony])


def at_voltage(hu_120: np.ndarray, mineral_scale: float) -> np.ndarray:
    """Return HU at another tube voltage: what is denser than muscle keeps its contrast times the scale."""
    return np.asarray(np.where(hu_120 > MUSCLE_HU, MUSCLE_HU + (hu_120 - MUSCLE_HU) * mineral_scale, hu_120))


def _paint_blobs(blobs: tuple[Blob, ...], hu: np.ndarray, points: Xyz) -> None:
    if hu.size:
        around = extent(points)
        for blob in blobs:
            blob.paint(hu, points, around)


def inside_share(distance_mm: np.ndarray) -> np.ndarray:
    """Return how much of an edge lies inside, for a signed distance: 1 within, 0.5 on the surface, 0 without."""
    return np.clip(0.5 - distance_mm / EDGE_MM, 0.0, 1.0)


def fat_planes(
    a: np.ndarray, b: np.ndarray, bellies: np.ndarray, radius_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of fat between muscles, and each muscle's own HU offset.

    Muscles are the Voronoi cells of their middles; between two of them runs a plane of fat about 1 mm thick.
    """
    first, second = np.full_like(a, np.inf), np.full_like(a, np.inf)
    offset = np.zeros_like(a)
    for number, (u, v) in enumerate(bellies):
        square = (a - a.dtype.type(u)) ** 2 + (b - a.dtype.type(v)) ** 2
        nearer = square < first
        second = np.where(nearer, first, np.minimum(second, square))
        first = np.where(nearer, square, first)
        offset[nearer] = (number * 5) % 7 - 3
    # Half the difference of the squares over the middles' distance (about 0.7 radii) is the way to the plane.
    to_plane = (second - first) / 1.4 * radius_mm
    return np.clip(1.1 - to_plane / EDGE_MM, 0.0, 0.85), offset


def _take(points: Xyz, index: np.ndarray) -> Xyz:
    return points[0][index], points[1][index], points[2][index]


def _superellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    square_u, square_v = u * u, v * v
    return np.asarray(np.sqrt(np.sqrt(square_u * square_u + square_v * square_v + 1.2 * square_u * square_v)))


def _random_field(rng: np.random.Generator, *, sigma_cells: float) -> np.ndarray:
    field_ = ndimage.gaussian_filter(rng.standard_normal((_TEXTURE_CELLS,) * 3), sigma_cells, mode="wrap")
    return np.asarray(field_ / field_.std(), np.float32)


def _sample_periodic(values: np.ndarray, points: Xyz) -> np.ndarray:
    index = np.stack([part / TEXTURE_CELL_MM for part in points])
    return np.asarray(ndimage.map_coordinates(values, index, order=1, mode="grid-wrap", output=np.float32))
