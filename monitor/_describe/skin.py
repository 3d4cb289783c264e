"""The skin of a scan as points, so that a depth is a search among them and no transform of the whole image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from monitor import grid
from monitor.types import Scan

STEP_MM = 2.0
"""Distance of the slices that the skin is taken from, mm: along the body it bends little."""


@dataclass(frozen=True)
class Skin:
    """Points of the skin, midway between a voxel of the body and one that is not; None where there is no skin."""

    tree: cKDTree | None

    def depth_mm(self, points_mm: np.ndarray) -> np.ndarray:
        """Return how deep points, (N, 3) LPS mm, lie: the distance to the nearest skin; infinite without skin."""
        return self.nearest(points_mm)[0]

    def nearest(self, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance to the nearest skin, (N,) mm, and where that is, (N, 3) LPS mm."""
        if self.tree is None:
            return np.full(len(points_mm), np.inf), np.asarray(points_mm, float)
        distance, number = self.tree.query(points_mm)
        return np.asarray(distance), np.asarray(self.tree.data[number])


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
    found = np.concatenate(faces)
    return Skin(cKDTree(grid.to_mm(scan.image, found)) if len(found) else None)
