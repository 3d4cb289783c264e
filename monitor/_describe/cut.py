"""A piece cut out of a scan with the tissue around it: all that is asked of it is asked here, in its own box."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor.types import Anatomy, Findings, Scan

MARGIN_MM = 8.0
"""Tissue cut out on all sides of a piece, mm: the ring that names the tissue around it, and the run of a vessel."""

BORDER_MM = 2.0
"""Blurred border of mineral, mm: three SDs of a soft kernel; nothing within it tells the tissue around."""

RING_MM = 5.0
"""Outer edge of the ring around a piece, mm; tissue farther away is not what the piece lies in."""

FAT_HU = (-150.0, -30.0)
"""Fat, HU (Yoshizumi 1999 and others: -190 to -30; the lower end is cut, where skin and air blur)."""

SOFT_HU = (0.0, 90.0)
"""Muscle, skin, vessel and solid organ without contrast, HU."""


@dataclass(frozen=True)
class Cut:
    """One piece in its box; arrays (z, y, x).

    ``matrix`` leads from an index zyx of the box to LPS mm. ``solid`` is the piece where it is as dense as the
    threshold, all of it where a reader outlined something fainter.
    """

    hu: np.ndarray
    piece: np.ndarray
    solid: np.ndarray
    others: np.ndarray
    body: np.ndarray
    skeleton: np.ndarray
    spacing_zyx_mm: np.ndarray
    matrix: np.ndarray

    def points_mm(self, mask: np.ndarray, *, most: int | None = None) -> np.ndarray:
        """Return the voxel centres of a mask, (N, 3) LPS mm; at most ``most``, evenly taken."""
        index = spread(np.argwhere(mask), most)
        return grid.apply_affine(self.matrix, index.astype(float))

    def tight(self) -> Cut:
        """Return the piece in its own box, one voxel around: what is asked of it alone is asked sooner there."""
        box = grid.grown(grid.box_of(self.piece), np.ones(3, int), self.piece.shape)
        matrix = self.matrix.copy()
        matrix[:3, 3] = grid.apply_affine(matrix, np.array([[part.start for part in box]], float))[0]
        names = ("hu", "piece", "solid", "others", "body", "skeleton")
        return replace(self, **{name: getattr(self, name)[box] for name in names}, matrix=matrix)

    @property
    def centre_mm(self) -> np.ndarray:
        """Return the middle of the piece, (3,) LPS mm."""
        return np.asarray(self.points_mm(self.piece).mean(axis=0))


def cut(scan: Scan, anatomy: Anatomy, findings: Findings, label: int, box: tuple[slice, ...]) -> Cut:
    """Cut a piece out, given the box of its label."""
    spacing = scan.spacing_zyx_mm
    near = grown(box, MARGIN_MM, spacing, scan.array.shape)
    hu, labels = scan.array[near].astype(np.float32), findings.labels[near]
    piece = labels == label
    solid = piece & (hu >= findings.threshold_hu)
    matrix = grid.affine(scan.image)
    start = np.array([[part.start for part in near]], float)
    matrix[:3, 3] = grid.apply_affine(matrix, start)[0]
    return Cut(
        hu=hu,
        piece=piece,
        solid=solid if solid.any() else piece,
        others=(labels > 0) & ~piece,
        body=anatomy.body[near],
        skeleton=anatomy.skeleton[near],
        spacing_zyx_mm=spacing,
        matrix=matrix,
    )


def ring(cut: Cut) -> np.ndarray:
    """Return the tissue around a piece beyond its blurred border, (z, y, x) bool; bone and other pieces left out."""
    away = distance_mm(cut.piece, cut.spacing_zyx_mm)
    usable = cut.body & ~cut.skeleton & ~cut.others
    return usable & (away >= BORDER_MM) & (away <= max(RING_MM, float(cut.spacing_zyx_mm[0])))


def share(values: np.ndarray, limits: tuple[float, float]) -> float:
    """Return the share of values within limits; 0 where there are none.

    >>> share(np.array([-100.0, 50.0, 60.0, 300.0]), (0.0, 90.0))
    0.5
    """
    return float(np.mean((values >= limits[0]) & (values <= limits[1]))) if len(values) else 0.0


def distance_mm(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the distance of each voxel to a mask, mm; infinite where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_zyx_mm))


def grown(
    box: tuple[slice, ...], margin_mm: float, spacing_zyx_mm: np.ndarray, shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """Return a box widened on all sides, within the image."""
    reach = np.ceil(margin_mm / spacing_zyx_mm).astype(int)
    return tuple(
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, margin, size in zip(box, reach.tolist(), shape, strict=True)
    )


def spread(rows: np.ndarray, most: int | None) -> np.ndarray:
    """Return at most ``most`` of some rows, taken evenly.

    >>> spread(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    return rows if most is None or len(rows) <= most else rows[:: -(-len(rows) // most)]
