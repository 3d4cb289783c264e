"""Bones as signed distances: rods with a profile, capsules, plates and sockets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from monitor.phantom.motion import Xyz

Vector = tuple[float, float, float]
Box = tuple[np.ndarray, np.ndarray]

FAR_MM = 50.0
"""The distance given where no bone is within REACH_MM."""

REACH_MM = 18.0
"""How far around a bone its distance is worked out; above FREE_MM of the motion, by a margin for flat bones."""


class Bone(Protocol):
    """A solid with a cortex; ``distance_mm`` is negative inside and need be exact only near the surface."""

    @property
    def box_mm(self) -> Box:
        """The lowest and the highest corner around it."""

    def distance_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance of points in mm."""

    def spongy(self, points: Xyz) -> np.ndarray:
        """Return how much of the inside is spongy bone: 1 at an end, 0 in a shaft."""


@dataclass(frozen=True)
class Rod:
    """A bone along a line with a profile of radii: a shaft that flares, a spine with discs, a lamina.

    Attributes
    ----------
    start_mm, end_mm : Vector
        Ends of the line.
    along_mm, radius_mm : tuple of float
        The profile: radius at distances from the start.
    flat : float
        Radius along y over the radius along x.
    gaps_mm, gap_width_mm : tuple of float, float
        Where along the line the bone is interrupted by cartilage: growth plates and discs.
    wall_mm : float
        If above 0, the rod is a tube of this wall.
    spongy_within_mm : float
        How far from its ends and gaps the inside is spongy.
    """

    start_mm: Vector
    end_mm: Vector
    along_mm: tuple[float, ...]
    radius_mm: tuple[float, ...]
    flat: float = 1.0
    gaps_mm: tuple[float, ...] = ()
    gap_width_mm: float = 2.0
    wall_mm: float = 0.0
    spongy_within_mm: float = 22.0

    @property
    def box_mm(self) -> Box:
        """The lowest and the highest corner around it."""
        ends = np.array([self.start_mm, self.end_mm])
        margin = (max(self.radius_mm) + self.wall_mm) * max(1.0, self.flat)
        return ends.min(axis=0) - margin, ends.max(axis=0) + margin

    @property
    def length_mm(self) -> float:
        """Distance of the ends."""
        return float(np.linalg.norm(np.subtract(self.end_mm, self.start_mm)))

    def distance_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance of points in mm."""
        along, across = self._cylinder(points)
        radius = np.interp(along, self.along_mm, self.radius_mm).astype(along.dtype)
        distance = across - radius
        if self.wall_mm > 0:
            distance = np.abs(distance) - self.wall_mm / 2
        distance = np.maximum(distance, np.maximum(-along, along - self.length_mm))
        for gap in self.gaps_mm:
            distance = np.maximum(distance, self.gap_width_mm / 2 - np.abs(along - gap))
        return np.asarray(distance)

    def spongy(self, points: Xyz) -> np.ndarray:
        """Return how much of the inside is spongy bone: 1 at an end, 0 in a shaft."""
        along, _ = self._cylinder(points)
        near = np.minimum(along, self.length_mm - along)
        for gap in self.gaps_mm:
            near = np.minimum(near, np.abs(along - gap))
        return np.asarray(np.clip(1.4 - near / self.spongy_within_mm, 0.0, 1.0))

    def _cylinder(self, points: Xyz) -> tuple[np.ndarray, np.ndarray]:
        dtype = points[0].dtype.type
        axis = np.subtract(self.end_mm, self.start_mm) / self.length_mm
        x, y, z = (part - dtype(start) for part, start in zip(points, self.start_mm, strict=True))
        along = x * dtype(axis[0]) + y * dtype(axis[1]) + z * dtype(axis[2])
        x, y, z = (part - along * dtype(step) for part, step in zip((x, y, z), axis, strict=True))
        return along, np.sqrt(x * x + (y / dtype(self.flat)) ** 2 + z * z)


@dataclass(frozen=True)
class Capsule:
    """A line with a round end of its own radius at each side; a ball where both ends are one."""

    start_mm: Vector
    end_mm: Vector
    start_radius_mm: float
    end_radius_mm: float
    inside_spongy: float = 1.0

    @property
    def box_mm(self) -> Box:
        """The lowest and the highest corner around it."""
        ends, margin = np.array([self.start_mm, self.end_mm]), max(self.start_radius_mm, self.end_radius_mm)
        return ends.min(axis=0) - margin, ends.max(axis=0) + margin

    def distance_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance of points in mm."""
        dtype = points[0].dtype.type
        line = np.subtract(self.end_mm, self.start_mm)
        x, y, z = (part - dtype(start) for part, start in zip(points, self.start_mm, strict=True))
        scale = max(float(line @ line), 1e-9)
        t = np.clip((x * dtype(line[0]) + y * dtype(line[1]) + z * dtype(line[2])) / dtype(scale), 0.0, 1.0)
        x, y, z = (part - t * dtype(step) for part, step in zip((x, y, z), line, strict=True))
        radius = self.start_radius_mm + t * dtype(self.end_radius_mm - self.start_radius_mm)
        return np.asarray(np.sqrt(x * x + y * y + z * z) - radius)

    def spongy(self, points: Xyz) -> np.ndarray:
        """Return how much of the inside is spongy bone."""
        return np.full_like(points[0], self.inside_spongy)


@dataclass(frozen=True)
class Plate:
    """A flat oval bone, bowed along its first side: the wing of the ilium."""

    centre_mm: Vector
    normal: Vector
    half_mm: tuple[float, float]
    thickness_mm: float
    bow_per_mm: float = 0.0

    @property
    def box_mm(self) -> Box:
        """The lowest and the highest corner around it."""
        centre, margin = np.array(self.centre_mm), max(self.half_mm) + self.thickness_mm
        return centre - margin, centre + margin

    def distance_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance of points in mm."""
        n, u, v = self._frame(points)
        bowed = n - self.bow_per_mm * u * u
        a, b = self.half_mm
        way = np.sqrt((u / a) ** 2 + (v / b) ** 2)
        # Thinner towards the rim, down to 0.6 of the thickness; beyond the rim the oval's distance takes over.
        half = self.thickness_mm / 2 * (1.0 - 0.4 * np.minimum(way, 1.0) ** 2)
        return np.asarray(np.maximum(np.abs(bowed) - half, (way - 1.0) * min(a, b)))

    def spongy(self, points: Xyz) -> np.ndarray:
        """Return how much of the inside is spongy bone."""
        return np.ones_like(points[0])

    def _frame(self, points: Xyz) -> Xyz:
        dtype = points[0].dtype.type
        n = np.array(self.normal) / np.linalg.norm(self.normal)
        u = np.cross(n, (0.0, 0.0, 1.0))
        u /= np.linalg.norm(u)
        local = [part - dtype(centre) for part, centre in zip(points, self.centre_mm, strict=True)]
        a, b, c = (
            local[0] * dtype(axis[0]) + local[1] * dtype(axis[1]) + local[2] * dtype(axis[2])
            for axis in (n, u, np.cross(n, u))
        )
        return a, b, c


@dataclass(frozen=True)
class Socket:
    """Part of a hollow ball, open to one side: the socket of the hip."""

    centre_mm: Vector
    radius_mm: float
    thickness_mm: float
    opening: Vector

    @property
    def box_mm(self) -> Box:
        """The lowest and the highest corner around it."""
        centre, margin = np.array(self.centre_mm), self.radius_mm + self.thickness_mm
        return centre - margin, centre + margin

    def distance_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance of points in mm."""
        dtype = points[0].dtype.type
        out = np.array(self.opening) / np.linalg.norm(self.opening)
        x, y, z = (part - dtype(centre) for part, centre in zip(points, self.centre_mm, strict=True))
        shell = np.abs(np.sqrt(x * x + y * y + z * z) - self.radius_mm) - self.thickness_mm / 2
        return np.asarray(np.maximum(shell, x * dtype(out[0]) + y * dtype(out[1]) + z * dtype(out[2])))

    def spongy(self, points: Xyz) -> np.ndarray:
        """Return how much of the inside is spongy bone."""
        return np.ones_like(points[0])


@dataclass(frozen=True)
class Skeleton:
    """All bones of a body, asked as one."""

    bones: tuple[Bone, ...]
    cortex_mm: float = 2.2
    cortex_hu: float = 1050.0

    @cached_property
    def _boxes(self) -> list[Box]:
        return [(low - REACH_MM, high + REACH_MM) for low, high in (bone.box_mm for bone in self.bones)]

    def distance_mm(self, points: Xyz) -> np.ndarray:
        """Return the signed distance of points to the nearest bone in mm, FAR_MM where none is near."""
        return self.sample(points)[0]

    def sample(self, points: Xyz) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance to the nearest bone, and how spongy that bone is inside (where it is inside)."""
        distance = np.full_like(points[0], FAR_MM)
        spongy = np.zeros_like(points[0])
        if not distance.size:
            return distance, spongy
        around = extent(points)
        for bone, box in zip(self.bones, self._boxes, strict=True):
            near = within(points, around, box)
            if not near.size:
                continue
            some: Xyz = (points[0][near], points[1][near], points[2][near])
            to_bone = bone.distance_mm(some)
            nearer = to_bone < distance[near]
            distance[near[nearer]] = to_bone[nearer]
            inside = nearer & (to_bone < 1.0)
            spongy[near[inside]] = bone.spongy((some[0][inside], some[1][inside], some[2][inside]))
        return distance, spongy


def extent(points: Xyz) -> Box:
    """Return the lowest and the highest corner around points."""
    return np.array([part.min() for part in points]), np.array([part.max() for part in points])


def within(points: Xyz, around: Box, box: Box) -> np.ndarray:
    """Return the index of the points in a box, given the extent of all: what it settles is not asked again."""
    (low, high), (start, end) = around, box
    if np.any(start > high) or np.any(end < low):
        return np.zeros(0, np.intp)
    keep = np.ones(points[0].shape, bool)
    for axis, part in enumerate(points):
        if low[axis] < start[axis]:
            keep &= part >= start[axis]
        if high[axis] > end[axis]:
            keep &= part <= end[axis]
    return np.flatnonzero(keep)
