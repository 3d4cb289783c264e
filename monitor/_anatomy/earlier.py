"""What an earlier visit knows of the skeleton: what stands out of it has come since, what lies on it is bone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor._anatomy import shape

NEW_MM3 = 60.0
"""Least volume that must stand out of earlier bone, mm³."""

NEW_THICK_MM = 1.5
"""Least inscribed radius of what stands out, mm: errors of outline are thin."""

KNOWN_SHARE = 0.7
"""Share of a loose dense piece that must fall onto earlier bone for it to be bone."""

Distance = Callable[[np.ndarray], np.ndarray]
"""Gives for the voxels of a mask, in the order of ``argwhere``, their distance to bone of another visit, mm."""


def without_new(skeleton: np.ndarray, distance: Distance, spacing_zyx_mm: np.ndarray, *, reach_mm: float) -> np.ndarray:
    """Take off a skeleton what stands out of the bone of an earlier visit, (z, y, x) bool.

    What lies farther than ``reach_mm`` from earlier bone and is thick and large enough has come since; it
    goes with what lies around it out to where it meets that bone.
    """
    away = np.zeros(skeleton.shape, np.float32)
    away[skeleton] = distance(skeleton)
    labels, _ = ndimage.label(away > reach_mm)
    volume = float(np.prod(spacing_zyx_mm))
    kept = skeleton.copy()
    reach = np.ceil((reach_mm + 1) / spacing_zyx_mm).astype(int)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        near = tuple(slice(max(0, p.start - r), p.stop + r) for p, r in zip(box, reach, strict=True))
        core = labels[near] == number
        if core.sum() * volume < NEW_MM3 or shape.depth_of(core, spacing_zyx_mm).max() < NEW_THICK_MM:
            continue
        around = grid.distance_mm(core, spacing_zyx_mm) <= reach_mm + 1
        kept[near] &= ~(around & (away[near] > 0.5))
    return kept


def with_known(skeleton: np.ndarray, dense: np.ndarray, distance: Distance) -> np.ndarray:
    """Add to a skeleton the loose dense pieces that lie mostly on bone of an earlier visit, (z, y, x) bool."""
    labels, count = ndimage.label(dense)
    if count == 0:
        return skeleton
    on_bone = (distance(dense) <= 0).astype(float)
    share = ndimage.mean(on_bone, labels[dense], np.arange(1, count + 1))
    return skeleton | np.concatenate([[False], np.asarray(share) >= KNOWN_SHARE])[labels]
