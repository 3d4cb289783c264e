"""The skin of a scan as points, so that a depth is a search among them and no transform of the whole image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from monitor import grid
from monitor.types import Scan

STEP_MM = 2.0
"""Distance of the slices that the skin is taken from, mm: along the body it bends little."""

SPARSE_MM = 4.0
"""Distance of the points that are asked first, mm: at depth d they err by at most half its square over d."""

NEAR_MM = 12.0
"""Depth down to which all points of the skin are asked, mm; deeper the sparse ones err by less than 0.4 mm."""

EQUAL = 0.01
"""Skin that is farther than the nearest by this share will do: within a round limb all skin is nearly as far."""


@dataclass(frozen=True)
class Skin:
    """Points of the skin, midway between a voxel of the body and one that is not, all and sparse; None without skin."""

    every: cKDTree | None
    sparse: cKDTree | None

    def depth_mm(self, points_mm: np.ndarray) -> np.ndarray:
        """Return how deep points, (N, 3) LPS mm, lie: the distance to the nearest skin; infinite without skin."""
        return self.nearest(points_mm)[0]

    def nearest(self, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance to the nearest skin, (N,) mm, and where that is, (N, 3) LPS mm."""
        if self.every is None or self.sparse is None:
            return np.full(len(points_mm), np.inf), np.asarray(points_mm, float)
        distance, number = self.sparse.query(points_mm, eps=EQUAL)
        place = np.asarray(self.sparse.data[number])
        near = distance <= NEAR_MM
        distance[near], number = self.every.query(points_mm[near])
        place[near] = self.every.data[number]
        return np.asarray(distance), place


def of_body(body: np.ndarray, scan: Scan) -> Skin:
    """Return the skin of a body, (z, y, x) bool.

    Beyond the field is outside within each slice; above and below the end slices the body goes on.
    """
    step = max(1, int(STEP_MM / scan.spacing_zyx_mm[0]))
    slices = body[::step]
    faces = []
    for axis in range(3):
        width = [(0, 0)] * 3
        if axis:
            width[axis] = (1, 1)
        padded = np.pad(slices, width) if axis else slices
        low, high = (padded.take(range(a, padded.shape[axis] + a - 1), axis) for a in (0, 1))
        index = np.argwhere(low ^ high).astype(np.float32)
        index[:, axis] += -0.5 if axis else 0.5
        index[:, 0] *= step
        faces.append(index)
    points = grid.to_mm(scan.image, np.concatenate(faces))
    if not len(points):
        return Skin(None, None)
    cells = np.floor((points - points.min(axis=0)) / SPARSE_MM).astype(int)
    _, first = np.unique(np.ravel_multi_index(tuple(cells.T), tuple(cells.max(axis=0) + 1)), return_index=True)
    # Not balanced: the points lie in order of slices already, and sorting them takes longer than it saves.
    return Skin(*(cKDTree(part, balanced_tree=False, compact_nodes=False) for part in (points, points[first])))
