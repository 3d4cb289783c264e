"""The patient without table, pads, casts and clothing, and where the field cuts the patient."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from monitor._anatomy import shape
from monitor.types import Scan

BODY_HU = -300.0
"""Between air and fat, HU: the half-way value of skin against air blurs to about this."""

COARSE_MM = 2.0
"""Voxel size, mm, at which body and table are told apart: both are larger than this."""

TABLE_THICKNESS_MM = 9.0
"""A sheet thinner than this is table, pad or clothing; a child's finger is thicker (clinical judgement)."""

BODY_PART_MM3 = 20_000.0
"""Smallest separate piece of body, mm³: a finger of an infant is about 2 cm³, a thumb-sized pad is less dense."""


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
    eroded = ndimage.distance_transform_edt(padded, sampling=spacing) > radius
    eroded = eroded[tuple(slice(low, size - high) for (low, high), size in zip(pad, padded.shape, strict=True))]
    # Sizes count within the field: in a corner the padding makes a solid block of a table's edge.
    core = shape.large_pieces(eroded, float(np.prod(spacing)), BODY_PART_MM3 / 4)
    if not core.any():
        return fine & False
    grown = ndimage.distance_transform_edt(~core, sampling=spacing) <= radius + spacing.max()
    near = grown.repeat(steps[0], 0).repeat(steps[1], 1).repeat(steps[2], 2)
    near = near[tuple(slice(0, size) for size in fine.shape)]
    return shape.fill_slices(fine & near)
