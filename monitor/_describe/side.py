"""Left or right: by the mirror plane of a trunk, a head or a pair of limbs at a lesion's level."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from monitor._describe.field import CELL_MM, Field, Level

MIDLINE_MM = 6.0
"""A trunk's piece this near to the plane is in the midline, mm: an aorta's radius, and what the plane errs."""

TURNS_DEG = tuple(range(-24, 25, 6))
"""Turns of the patient about the long axis that are tried, degrees."""

MIRRORED = 0.75
"""Least share of body and of bone that fall onto their like when mirrored: half scored by chance, 0.9 in trunks."""

OFF_MIDDLE_MM = 20.0
"""Bone farther than this from the plane is beside it, mm: half a vertebra of an adult is nearer."""

OFF_SHARE = 0.3
"""Share of bone that lies beside the plane where there are two of something: ribs, hip bones, thighs."""

TRUNK_MM2 = 5000.0
"""Least section of a trunk or head, mm²: a newborn's is 6000; a hand, foot or forearm is below."""

BONY_SHARE = 0.35
"""Most of its section that bone takes in a trunk or pair of limbs; a single knee is half bone."""

PAIR_SHARE = 0.4
"""Least size of the smaller of a pair of limbs, in parts of the larger."""

FIELD_LEVELS = 24
"""Most levels that are asked whether a field shows a trunk."""


@dataclass(frozen=True)
class Mirror:
    """A plane along the long axis: points with ``normal`` · (x, y) above ``offset_mm`` lie to the left."""

    normal: np.ndarray
    offset_mm: float
    pair: bool

    def beyond_mm(self, points_mm: np.ndarray) -> np.ndarray:
        """Return how far to the left points, (N, 2 or 3) LPS mm, lie of the plane."""
        return np.asarray(points_mm[:, :2] @ self.normal - self.offset_mm)


def has_plane(field: Field) -> bool:
    """Tell whether any level of a field shows a trunk, a head or both limbs of a pair."""
    heights = field.heights_mm()
    some = heights[:: max(1, -(-len(heights) // FIELD_LEVELS))]
    return any(_is_mirrored(field.level(float(z))) for z in some)


def plane(level: Level) -> Mirror | None:
    """Return the mirror plane of a level; None where nothing of the body is there."""
    if not level.body.any():
        return None
    limbs = _limbs(level)
    if limbs is not None:
        middles = [level.cells_mm(limb).mean(axis=0) for limb in limbs]
        right, left = sorted(middles, key=lambda middle: float(middle[0]))
        normal = (left - right) / np.linalg.norm(left - right)
        return Mirror(normal, float(normal @ (left + right) / 2), pair=True)
    trunk = _largest(level.body)
    likes = _likes(level, trunk)
    turned = (_tried(level, likes, _between(level, trunk, np.deg2rad(turn)), range(-2, 3)) for turn in TURNS_DEG)
    best = max(turned, key=lambda one: one[0])[1]
    return _tried(level, likes, best, (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6))[1]


def of_piece(points_mm: np.ndarray, mirror: Mirror) -> str:
    """Return left, right or midline for the voxels of a piece, (N, 3) LPS mm."""
    beyond = float(mirror.beyond_mm(points_mm).mean())
    if not mirror.pair and abs(beyond) <= MIDLINE_MM:
        return "midline"
    return "left" if beyond > 0 else "right"


def _limbs(level: Level) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the two bodies of a level that shows a pair of limbs, beside each other and of like size."""
    labels, count = ndimage.label(level.body, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(sizes >= PAIR_SHARE * sizes.max()) + 1
    if len(large) != 2:
        return None
    one, two = (labels == number for number in large)
    apart = level.cells_mm(one).mean(axis=0) - level.cells_mm(two).mean(axis=0)
    return (one, two) if abs(apart[0]) > abs(apart[1]) else None


def _largest(body: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(body, np.ones((3, 3)))
    return np.asarray(labels == int(np.bincount(labels.ravel())[1:].argmax()) + 1)


def _between(level: Level, trunk: np.ndarray, turn: float) -> Mirror:
    """Return the plane of one turn midway between the outermost cells."""
    normal = np.array([np.cos(turn), np.sin(turn)])
    along = level.cells_mm(trunk) @ normal
    return Mirror(normal, float((along.min() + along.max()) / 2), pair=False)


def _tried(level: Level, likes: _Likes, start: Mirror, cells: Iterable[float]) -> tuple[float, Mirror]:
    """Return the best of a plane and its like some cells aside, with the share that it mirrors onto their like."""
    found = []
    for shift in cells:
        mirror = replace(start, offset_mm=start.offset_mm + shift * CELL_MM)
        found.append((mirrored(level, likes, mirror), -abs(shift), mirror))
    score, _, mirror = max(found, key=lambda one: one[:2])
    return score, mirror


_Likes = list[tuple[np.ndarray, np.ndarray]]
"""Cells of the body and of its bone, (N, 2) LPS mm, each with the mask that their mirror images are to fall into."""


def _likes(level: Level, body: np.ndarray) -> _Likes:
    bone = level.bone & body
    likes = [(level.cells_mm(body), body), (level.cells_mm(bone), ndimage.binary_dilation(bone, np.ones((3, 3))))]
    return [(points, room) for points, room in likes if len(points)]


def mirrored(level: Level, likes: _Likes, mirror: Mirror) -> float:
    """Return the share of body and of bone that falls onto its like when mirrored, the lesser of the two."""
    images = (points - 2 * mirror.beyond_mm(points)[:, None] * mirror.normal for points, _ in likes)
    return min(float(level.at(room, image).mean()) for (_, room), image in zip(likes, images, strict=True))


def _is_mirrored(level: Level) -> bool:
    """Tell whether a level shows a trunk, a head or both limbs of a pair."""
    if not level.body.any():
        return False
    found = plane(level)
    if found is None or found.pair:
        return found is not None
    trunk = _largest(level.body)
    bone = level.cells_mm(level.bone & trunk)
    if trunk.sum() * CELL_MM**2 < TRUNK_MM2 or not len(bone) or len(bone) > BONY_SHARE * trunk.sum():
        return False
    beyond = found.beyond_mm(bone)
    beside = min(float((beyond > OFF_MIDDLE_MM).mean()), float((beyond < -OFF_MIDDLE_MM).mean()))
    return beside >= OFF_SHARE / 2 and mirrored(level, _likes(level, trunk), found) >= MIRRORED
