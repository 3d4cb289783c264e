"""Lesions as shapes whose volume is known in closed form. All are drawn in their own frame, in mm.

The first axis of the frame points away from what a lesion lies on (bone, vessel, inwards from the skin it does
not), the third along the limb.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from monitor.phantom.motion import Xyz


class Shape(Protocol):
    """A solid of known volume around the origin of its own frame."""

    @property
    def volume_mm3(self) -> float:
        """Volume of its mineral rim or, without one, of all of it."""

    @property
    def envelope_mm3(self) -> float:
        """Volume within its outer outline."""

    @property
    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest corner around it."""

    @property
    def finest_mm(self) -> float:
        """Its smallest thickness."""

    def zones(self, points: Xyz) -> list[np.ndarray]:
        """Tell which points lie in its mineral, and which in its core if it has one."""


@dataclass(frozen=True)
class Cluster:
    """Balls of one radius, each of which overlaps others only along the edges of a tree.

    One ball is a nodule; two make a merged pair where their own radii are given.

    Attributes
    ----------
    centres_mm : tuple of Vector
        Middles of the balls.
    radii_mm : tuple of float
        Their radii.
    edges : tuple of (int, int)
        Which of them overlap; no three share a point.
    """

    centres_mm: tuple[tuple[float, float, float], ...]
    radii_mm: tuple[float, ...]
    edges: tuple[tuple[int, int], ...] = ()

    @property
    def volume_mm3(self) -> float:
        """Balls less the lenses in which two overlap."""
        lenses = (
            lens_mm3(self.radii_mm[a], self.radii_mm[b], float(np.linalg.norm(np.subtract(*self._pair(a, b)))))
            for a, b in self.edges
        )
        return float(sum(ball_mm3(radius) for radius in self.radii_mm) - sum(lenses))

    @property
    def envelope_mm3(self) -> float:
        """The same: it has no core."""
        return self.volume_mm3

    @property
    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest corner around it."""
        centres, radii = np.array(self.centres_mm), np.array(self.radii_mm)[:, None]
        return (centres - radii).min(axis=0), (centres + radii).max(axis=0)

    @property
    def finest_mm(self) -> float:
        """Its smallest thickness."""
        return 2.0 * min(self.radii_mm)

    def zones(self, points: Xyz) -> list[np.ndarray]:
        """Tell which points lie in it."""
        x, y, z = points
        inside = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), bool)
        for (a, b, c), radius in zip(self.centres_mm, self.radii_mm, strict=True):
            inside |= (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 <= radius**2
        return [inside]

    def _pair(self, a: int, b: int) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        return self.centres_mm[a], self.centres_mm[b]


@dataclass(frozen=True)
class Arc:
    """A piece of a tube's wall: in an artery, or, with a wide tube, a sheet under the skin.

    The tube's axis runs along the third axis of the frame, ``inner_mm`` from which the wall begins, and the piece
    reaches ``angle_rad`` around the first axis. With ``centred`` the frame's origin lies in the middle of the
    piece and not on the tube's axis. ``holes`` are ovals cut right through: (angle, height, half angle, half
    height), apart from each other and from the border; they make the sheet a lace.
    """

    inner_mm: float
    thickness_mm: float
    angle_rad: float
    length_mm: float
    holes: tuple[tuple[float, float, float, float], ...] = ()
    centred: bool = False

    @property
    def volume_mm3(self) -> float:
        """Area in angle and height, holes taken out, times the integral of the radius over the wall."""
        outer = self.inner_mm + self.thickness_mm
        area = self.angle_rad * self.length_mm - sum(np.pi * hole[2] * hole[3] for hole in self.holes)
        return float(area * (outer**2 - self.inner_mm**2) / 2)

    @property
    def envelope_mm3(self) -> float:
        """The same: it has no core."""
        return self.volume_mm3

    @property
    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest corner around it."""
        outer, half = self.inner_mm + self.thickness_mm, self.angle_rad / 2
        across = outer if half >= np.pi / 2 else outer * np.sin(half)
        low = np.array([min(self.inner_mm * np.cos(half), outer * np.cos(half)), -across, -self.length_mm / 2])
        return low - self._origin, np.array([outer, across, self.length_mm / 2]) - self._origin

    @property
    def finest_mm(self) -> float:
        """Its smallest thickness."""
        return self.thickness_mm

    @property
    def _origin(self) -> np.ndarray:
        return np.array([self.inner_mm + self.thickness_mm / 2 if self.centred else 0.0, 0.0, 0.0])

    def zones(self, points: Xyz) -> list[np.ndarray]:
        """Tell which points lie in it."""
        x, y, z = points
        x = x + x.dtype.type(self._origin[0])
        square, outer = x * x + y * y, self.inner_mm + self.thickness_mm
        inside = (square >= self.inner_mm**2) & (square <= outer**2) & (np.abs(z) <= self.length_mm / 2)
        # Angles are dear: only where the radius and the height leave it open.
        some = np.nonzero(inside)
        x, y, z = (np.broadcast_to(part, inside.shape)[some] for part in (x, y, z))
        angle = np.arctan2(y, x)
        keep = np.abs(angle) <= self.angle_rad / 2
        for around, height, half_angle, half_height in self.holes:
            keep &= ((angle - around) / half_angle) ** 2 + ((z - height) / half_height) ** 2 > 1.0
        inside[some] = keep
        return [inside]


@dataclass(frozen=True)
class Shell:
    """An ellipsoid with a rim of mineral around a softer core: myositis ossificans.

    ``open_part`` of the way from the far end of the first axis to the middle it has no rim: a young one is not closed.
    """

    half_mm: tuple[float, float, float]
    rim_mm: float
    open_part: float = 0.0

    @property
    def volume_mm3(self) -> float:
        """Volume of the rim: of both ellipsoids what lies on this side of the opening's plane."""
        height = 1.0 - self.open_part
        core = self.half_mm[0] / (self.half_mm[0] - self.rim_mm)
        return self._whole_mm3 * below_part(height) - self.core_mm3 * below_part(min(height * core, 1.0))

    @property
    def envelope_mm3(self) -> float:
        """Volume of rim and core."""
        return self.volume_mm3 + self.core_mm3

    @property
    def core_mm3(self) -> float:
        """Volume of the core, whose half axes are shorter by the rim."""
        return float(4 / 3 * np.pi * np.prod(np.array(self.half_mm) - self.rim_mm))

    @property
    def _whole_mm3(self) -> float:
        return float(4 / 3 * np.pi * np.prod(self.half_mm))

    @property
    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest corner around it."""
        return -np.array(self.half_mm), np.array(self.half_mm)

    @property
    def finest_mm(self) -> float:
        """Its smallest thickness."""
        return self.rim_mm

    def zones(self, points: Xyz) -> list[np.ndarray]:
        """Tell which points lie in the rim, and which in the core."""
        outer, core = (self._within(points, np.array(self.half_mm) - less) for less in (0.0, self.rim_mm))
        closed = points[0] <= points[0].dtype.type((1.0 - self.open_part) * self.half_mm[0])
        return [outer & ~core & closed, core]

    @staticmethod
    def _within(points: Xyz, half_mm: np.ndarray) -> np.ndarray:
        x, y, z = (part / part.dtype.type(half) for part, half in zip(points, half_mm, strict=True))
        return np.asarray(x * x + y * y + z * z <= 1.0)


def ball(radius_mm: float, *, at_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Cluster:
    """Return a nodule.

    >>> round(ball(5.0).volume_mm3, 1)
    523.6
    """
    return Cluster((at_mm,), (radius_mm,))


def cluster(radius_mm: float) -> Cluster:
    """Return seven balls that hang together: a bent chain of five with a branch on each side."""
    step = 1.4 * radius_mm
    chain = [(step * i, 0.35 * step * (-1) ** i, 0.0) for i in (-2, -1, 0, 1, 2)]
    branches = [(0.0, 0.35 * step, step), (step, -0.35 * step, -step)]
    centres = tuple((float(a), float(b), float(c)) for a, b, c in chain + branches)
    return Cluster(centres, (radius_mm,) * 7, ((0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (3, 6)))


def pair(first_mm: float, second_mm: float, apart_mm: float) -> Cluster:
    """Return two balls as one lesion, the second along the third axis."""
    return Cluster(((0.0, 0.0, 0.0), (0.0, 0.0, apart_mm)), (first_mm, second_mm), ((0, 1),))


def lace(*, inner_mm: float, thickness_mm: float, angle_rad: float, length_mm: float, rows: int = 3) -> Arc:
    """Return a sheet with two columns of holes."""
    pitch = length_mm / rows
    holes = tuple(
        (side * angle_rad / 4, (row - (rows - 1) / 2) * pitch, angle_rad * 0.13, pitch * 0.28)
        for row in range(rows)
        for side in (-1.0, 1.0)
    )
    return Arc(inner_mm, thickness_mm, angle_rad, length_mm, holes, centred=True)


def ball_mm3(radius_mm: float) -> float:
    """Return the volume of a ball."""
    return float(4 / 3 * np.pi * radius_mm**3)


def below_part(height: float) -> float:
    """Return the part of a ball, or of any ellipsoid, below a plane at a height from -1 to 1 of its half axis.

    >>> below_part(0.0), below_part(1.0)
    (0.5, 1.0)
    """
    return (2.0 + 3.0 * height - height**3) / 4.0


def lens_mm3(first_mm: float, second_mm: float, apart_mm: float) -> float:
    """Return the volume that two balls share (Weisstein, MathWorld: Sphere-Sphere Intersection, eq. 16).

    >>> lens_mm3(2.0, 3.0, 5.0)
    0.0
    """
    if apart_mm >= first_mm + second_mm:
        return 0.0
    reach = first_mm + second_mm - apart_mm
    spread = apart_mm**2 + 2 * apart_mm * (first_mm + second_mm) - 3 * (first_mm - second_mm) ** 2
    return float(np.pi * reach**2 * spread / (12 * apart_mm))
