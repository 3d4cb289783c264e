"""The whole field in outline, level by level: where the body, its bones and the air in it lie in LPS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor.types import Anatomy, Scan

SAMPLE_MM = 3.0
"""Distance of the voxels that the outline is made of, mm: about a rib."""

CELL_MM = 5.0
"""Side of the cells of a level, mm: larger than the distance of the samples, so that none stays empty."""

LEVEL_MM = 10.0
"""A level reaches this far up and down, mm."""

AIR_HU = -400.0
"""Lung and gas of the bowel lie below, HU; fat that blurs with gas above."""

AIR_DEEP = 3
"""Air counts this many samples below the skin: nearer to it lie folds of skin, and what the mask of the body errs."""


@dataclass(frozen=True)
class Level:
    """Cells of a level, (x, y) bool over LPS: the first cell's corner lies at ``origin_mm``."""

    body: np.ndarray
    bone: np.ndarray
    air: np.ndarray
    origin_mm: np.ndarray

    def cells_mm(self, mask: np.ndarray) -> np.ndarray:
        """Return the middles of a mask's cells, (N, 2) LPS mm."""
        return self.origin_mm + (np.argwhere(mask) + 0.5) * CELL_MM

    def at(self, mask: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
        """Tell which points, (N, 2) LPS mm, lie in a mask; False outside the field."""
        cell = np.floor((points_mm - self.origin_mm) / CELL_MM).astype(int)
        inside = np.all((cell >= 0) & (cell < mask.shape), axis=1)
        cell = np.where(inside[:, None], cell, 0)
        return np.asarray(mask[tuple(cell.T)] & inside)


@dataclass(frozen=True)
class Field:
    """Samples of the body in LPS mm, by height: (N, 3), and which of them are bone and air.

    ``corner_mm`` and ``shape`` are those of the cells of every level.
    """

    points_mm: np.ndarray
    bone: np.ndarray
    air: np.ndarray
    corner_mm: np.ndarray
    shape: tuple[int, int]

    def level(self, z_mm: float) -> Level:
        """Return the level around a height."""
        first, last = np.searchsorted(self.points_mm[:, 2], [z_mm - LEVEL_MM, z_mm + LEVEL_MM])
        cell = np.floor((self.points_mm[first:last, :2] - self.corner_mm) / CELL_MM).astype(int)
        maps = [np.zeros(self.shape, bool) for _ in range(3)]
        for mask, chosen in zip(maps, (slice(None), self.bone[first:last], self.air[first:last]), strict=True):
            mask[tuple(cell[chosen].T)] = True
        return Level(maps[0], maps[1], maps[2], self.corner_mm)

    def heights_mm(self) -> np.ndarray:
        """Return heights that cover the field, one a level."""
        z = self.points_mm[:, 2]
        return np.arange(z[0], z[-1] + LEVEL_MM, 2 * LEVEL_MM) if len(z) else np.array([])


def outline(scan: Scan, anatomy: Anatomy) -> Field:
    """Return the outline of a field: samples about ``SAMPLE_MM`` apart."""
    step = np.maximum(1, (SAMPLE_MM / scan.spacing_zyx_mm).astype(int))
    grid_of = tuple(slice(None, None, int(n)) for n in step)
    body, bone = anatomy.body[grid_of], anatomy.skeleton[grid_of]
    index = np.argwhere(body)
    points = grid.to_mm(scan.image, index * step).astype(np.float32)
    air = ndimage.binary_erosion(body, ndimage.generate_binary_structure(3, 1), iterations=AIR_DEEP, border_value=1)
    air &= scan.array[grid_of] < AIR_HU
    order = np.argsort(points[:, 2], kind="stable")
    there = tuple(index[order].T)
    low, high = (points[:, :2].min(axis=0), points[:, :2].max(axis=0)) if len(points) else (np.zeros(2), np.zeros(2))
    cells = np.ceil((high - low) / CELL_MM).astype(int) + 3
    return Field(points[order], bone[there], air[there], low - CELL_MM, (int(cells[0]), int(cells[1])))
