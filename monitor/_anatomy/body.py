"""The patient without table, pads, casts and clothing, and where the field cuts the patient."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor._anatomy import shape
from monitor.types import Scan

BODY_HU = -300.0
"""Between air and fat, HU: the half-way value of skin against air blurs to about this."""

COARSE_MM = 2.1
"""Voxel size, mm, at which body and table are told apart: both are larger than this."""

TABLE_THICKNESS_MM = 9.0
"""A sheet thinner than this is table, pad or clothing; a child's finger is thicker (clinical judgement)."""

BODY_PART_MM3 = 20_000.0
"""Smallest separate piece of body, mm³: a finger of an infant is about 2 cm³, a thumb-sized pad is less dense."""

PADDING_HU = -950.0
"""What lies beyond the scanner's round field is at or below this, HU, without a border of partial volume."""

CUT_HU = 150.0
"""A voxel of body as dense as this beside padding, HU, is cut: skin that air borders is blurred."""

CUT_MM2 = 300.0
"""Least area of body that is cut, mm²: teeth and metal in air show less."""

CUPPING_MM = 60.0
"""How far into the body HU rise towards such an edge, mm (limb-ct 005: from 110 HU at 40 mm to 2400 at the edge)."""

CUPPING_HU = 80.0
"""Level of tissue, HU, averaged over ``CUPPING_SIGMA_MM``, above which streaks in the rise would pass for mineral: half
of the way from muscle to 130 HU."""

CUPPING_SIGMA_MM = 5.0
"""SD of that average, mm."""

CUPPING_GRID_MM = 3.0
"""Voxels of the grid on which the rise is told, mm."""


def find_body(scan: Scan) -> np.ndarray:
    """Return the patient without table, pads and air around, (z, y, x) bool.

    A coarse opening takes thin sheets away, what is left grows back inside the threshold by the radius
    of the opening, and enclosed air (lung, gut) belongs to the body.
    """
    fine = scan.array > BODY_HU
    steps = np.maximum(1, np.floor(COARSE_MM / scan.spacing_zyx_mm)).astype(int)
    coarse = fine[tuple(slice(None, None, step) for step in steps)]
    spacing = scan.spacing_zyx_mm * steps
    radius = TABLE_THICKNESS_MM / 2
    # The field's edge cuts the body: padding by repetition keeps the opening from eating it there.
    pad = [(int(np.ceil(radius / size)) + 1,) * 2 for size in spacing]
    padded = np.pad(coarse, pad, mode="edge")
    eroded = grid.distance_mm(~padded, spacing) > radius
    eroded = eroded[tuple(slice(low, size - high) for (low, high), size in zip(pad, padded.shape, strict=True))]
    # Sizes count within the field: in a corner the padding makes a solid block of a table's edge.
    core = shape.large_pieces(eroded, float(np.prod(spacing)), BODY_PART_MM3 / 4)
    if not core.any():
        return fine & False
    grown = grid.distance_mm(core, spacing) <= radius + spacing.max()
    # A column that a coarse voxel does not see is filled too: what is enclosed, is so on the coarse grid.
    filled = ndimage.binary_erosion(shape.fill_slices(coarse & grown), border_value=1)
    return (fine & shape.unfolded(grown, steps, fine.shape)) | shape.unfolded(filled, steps, fine.shape)


def find_field_edge(scan: Scan, body: np.ndarray) -> np.ndarray | None:
    """Return where the scanner's round field cuts the body and HU rise towards the edge, (z, y, x) bool.

    None where the body is whole. What projections saw outside of the field is heaped up at its edge (truncation).
    """
    padding = scan.array <= PADDING_HU
    beside = np.zeros(body.shape, bool)
    for axis in (1, 2):
        low, high = (
            tuple(slice(*part) if a == axis else slice(None) for a in range(3)) for part in ((0, -1), (1, None))
        )
        beside[low] |= padding[high]
        beside[high] |= padding[low]
    cut = beside & body & (scan.array >= CUT_HU)
    if cut.sum() * scan.spacing_zyx_mm[0] * scan.spacing_zyx_mm[2] < CUT_MM2:
        return None
    fold = np.maximum(1, np.round(CUPPING_GRID_MM / scan.spacing_zyx_mm)).astype(int)
    spacing = scan.spacing_zyx_mm * fold
    level = shape.folded(np.where(body, scan.array, 0), fold)
    weight = ndimage.gaussian_filter(shape.folded(body, fold), CUPPING_SIGMA_MM / spacing)
    level = ndimage.gaussian_filter(level, CUPPING_SIGMA_MM / spacing) / np.maximum(weight, 1e-3)
    near = grid.distance_mm(shape.folded(cut, fold) > 0, spacing) <= CUPPING_MM
    return shape.unfolded(near & (level >= CUPPING_HU), fold, body.shape) & body
