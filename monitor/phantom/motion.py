"""How a child's body lies at a visit: pose, growth, a joint that bends, tissue that gives.

The map is written from the visit to the baseline, because that is what drawing needs at every voxel; its
inverse is iterated for the few points that ask for it. Both are exact to 1e-5 mm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Xyz = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Three arrays of one shape: x, y and z in LPS mm. Apart, not (N, 3): every operation runs along memory."""

RIGID_RIM_MM = 2.0
"""Around a bone this much tissue moves with it."""

FREE_MM = 16.0
"""From this distance to a bone on, tissue moves freely."""

MAX_WARP_MM = 4.0
"""Beyond it the warp, slowed from FREE_MM to RIGID_RIM_MM of a bone, could fold."""

BEND_RANGE_DEG = (-10.0, 30.0)
"""Beyond it the skin of the bent side could fold."""

_CLEAR_ANGLE = np.deg2rad(50.0)
"""Half the angle at the hinge within which a bone lies and nothing is sheared."""

_STEPS, _TOLERANCE_MM = 400, 1e-6
"""Fixed-point steps; the slowest contraction allowed by the limits above is 0.95 a step."""


def ramp(values: np.ndarray) -> np.ndarray:
    """Return the smooth step of Hermite: 0 below 0, 1 above 1.

    >>> ramp(np.array([-1.0, 0.5, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    t = np.clip(values, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


@dataclass(frozen=True)
class Hinge:
    """A joint whose axis runs along x: the round end of one bone, with the other bone sliding around it.

    Below the axis all turns by the angle, above it nothing does. Between them the turn fades with the polar
    angle, and within ``gap_mm`` of the round end with the radius: at every radius the map is a monotone map of
    the circle, so that it can be inverted however thin the gap.
    """

    y_mm: float
    z_mm: float
    radius_mm: float
    gap_mm: float = 3.0
    right_rad: float = 0.0
    left_rad: float = 0.0

    def straighten(self, points: Xyz) -> Xyz:
        """Map points of the bent body to the straight one."""
        x, y, z = points
        dy, dz = y - self.y_mm, z - self.z_mm
        turn = -self._turn(x, np.hypot(dy, dz), np.arctan2(dy, -dz))
        cos, sin = np.cos(turn), np.sin(turn)
        return x, dy * cos - dz * sin + self.y_mm, dz * cos + dy * sin + self.z_mm

    def bend(self, points: Xyz) -> Xyz:
        """Map points of the straight body to the bent one."""
        x, y, z = points
        dy, dz = y - self.y_mm, z - self.z_mm
        radius, straight = np.hypot(dy, dz), np.arctan2(dy, -dz)
        angle = straight
        for _ in range(_STEPS):
            previous, angle = angle, straight + self._turn(x, radius, angle)
            if np.abs((angle - previous) * radius).max(initial=0.0) < _TOLERANCE_MM:
                break
        return x, radius * np.sin(angle) + self.y_mm, self.z_mm - radius * np.cos(angle)

    def _turn(self, x: np.ndarray, radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
        full = self.right_rad + (self.left_rad - self.right_rad) * ramp(x / 8.0 + 0.5)
        edge = np.pi - _CLEAR_ANGLE
        width = edge - _CLEAR_ANGLE
        along = np.minimum((edge - angle) / (width - full), (angle + edge) / (width + full))
        return np.asarray(full * ramp(along) * ramp((radius - self.radius_mm - 0.5) / self.gap_mm))


@dataclass(frozen=True)
class Warp:
    """A smooth displacement: a sum of plane waves, transverse or not, at most ``MAX_WARP_MM`` high."""

    waves_per_mm: np.ndarray
    phases: np.ndarray
    heights_mm: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator, height_mm: float, *, n_waves: int = 5) -> Warp:
        """Draw waves of 80 to 160 mm whose heights add up to ``height_mm`` at most."""
        directions = _unit(rng.normal(size=(n_waves, 3)))
        waves = directions * (2 * np.pi / rng.uniform(80.0, 160.0, size=(n_waves, 1)))
        heights = _unit(rng.normal(size=(n_waves, 3))) * height_mm / n_waves
        return cls(waves, rng.uniform(0, 2 * np.pi, size=n_waves), heights)

    def displacement(self, points: Xyz) -> Xyz:
        """Return the displacement in mm at the points."""
        x, y, z = points
        out = [np.zeros_like(x) for _ in range(3)]
        dtype = x.dtype.type
        for wave, phase, height in zip(self.waves_per_mm, self.phases, self.heights_mm, strict=True):
            swing = np.sin(x * dtype(wave[0]) + y * dtype(wave[1]) + z * dtype(wave[2]) + dtype(phase))
            for part, amount in zip(out, height, strict=True):
                part += swing * dtype(amount)
        return out[0], out[1], out[2]


@dataclass(frozen=True)
class Motion:
    """The map between a visit and the baseline.

    Attributes
    ----------
    rotation : (3, 3) array
        Turn of the whole body, baseline to visit.
    shift_mm : (3,) array
        Where the baseline's origin lies at the visit.
    growth : float
        Length at the visit over length at the baseline.
    hinge, warp : Hinge, Warp or None
        The joint's bend and the give of soft tissue; None for none.
    bone_distance_mm : callable
        Signed distance in mm of baseline points to the nearest bone, which the warp leaves rigid.
    """

    rotation: np.ndarray
    shift_mm: np.ndarray
    growth: float
    hinge: Hinge | None
    warp: Warp | None
    bone_distance_mm: Callable[[Xyz], np.ndarray]

    def straighten(self, points: Xyz) -> Xyz:
        """Undo pose, growth and bend; what is left is the warp."""
        dtype = points[0].dtype.type
        back = (self.rotation.T / self.growth).astype(dtype)
        x, y, z = (part - dtype(shift) for part, shift in zip(points, self.shift_mm, strict=True))
        turned = tuple(row[0] * x + row[1] * y + row[2] * z for row in back)
        return turned if self.hinge is None else self.hinge.straighten(turned)

    def relax(self, points: Xyz, bone_distance_mm: np.ndarray) -> Xyz:
        """Undo the warp at straightened points, given their distance to bone."""
        if self.warp is None:
            return points
        free = ramp((bone_distance_mm - RIGID_RIM_MM) / (FREE_MM - RIGID_RIM_MM))
        x, y, z = (part + free * move for part, move in zip(points, self.warp.displacement(points), strict=True))
        return x, y, z

    def to_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Map visit points, (N, 3) LPS mm, to the baseline."""
        straight = self.straighten(_split(points_mm))
        return np.stack(self.relax(straight, self.bone_distance_mm(straight)), axis=1)

    def from_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Map baseline points, (N, 3) LPS mm, to the visit."""
        straight = self._unrelax(_split(points_mm))
        bent = straight if self.hinge is None else self.hinge.bend(straight)
        return np.asarray(np.stack(bent, axis=1) @ self.rotation.T * self.growth + self.shift_mm)

    def local_rotation(self, point_mm: np.ndarray) -> np.ndarray:
        """Return the rotation, (3, 3), of what lies at one baseline point: the map's Jacobian without its strain."""
        step_mm = 0.5
        steps = np.vstack([np.eye(3), -np.eye(3)]) * step_mm
        ends = self.from_baseline(np.asarray(point_mm, float) + steps)
        jacobian = (ends[:3] - ends[3:]).T / (2 * step_mm)
        left, _, right = np.linalg.svd(jacobian)
        return np.asarray(left @ right)

    def _unrelax(self, goal: Xyz) -> Xyz:
        points = goal
        for _ in range(_STEPS):
            reached = self.relax(points, self.bone_distance_mm(points))
            miss = [want - got for want, got in zip(goal, reached, strict=True)]
            points = (points[0] + miss[0], points[1] + miss[1], points[2] + miss[2])
            if max(np.abs(part).max(initial=0.0) for part in miss) < _TOLERANCE_MM:
                break
        return points


def rotation_matrix(angles_deg: np.ndarray) -> np.ndarray:
    """Return the rotation, (3, 3), about z, then y, then x."""
    a, b, c = np.deg2rad(angles_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _split(points_mm: np.ndarray) -> Xyz:
    x, y, z = np.asarray(points_mm, float).reshape(-1, 3).T.copy()
    return x, y, z
