"""Where a piece of mineral lies: depth below the skin, contact with bone, compartment and side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

from monitor import grid
from monitor.types import Anatomy, Findings, Scan

CONTACT_MM = 1.0
"""A gap to bone this small, mm, beside a voxel, cannot be told from contact at the blur of CT."""

COLUMNS = ["label", "compartment", "side", "depth_mm", "bone_contact"]
"""Columns of ``describe``'s answer."""


def describe(scan: Scan, anatomy: Anatomy, findings: Findings, compartments: np.ndarray | None = None) -> pd.DataFrame:
    """Say where each piece lies.

    Parameters
    ----------
    compartments : (z, y, x) int array, optional
        A reader's label map of compartments; the number that covers most of a piece names it.

    Returns
    -------
    DataFrame
        A row a piece: label, compartment and side (empty where unknown), depth_mm, bone_contact.
    """
    count = int(findings.labels.max())
    if count == 0:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS}).astype({"label": int})
    index = np.arange(1, count + 1)
    depth = ndimage.mean(grid.depth_mm(anatomy.body, scan.image), findings.labels, index)
    reach = CONTACT_MM + float(scan.spacing_zyx_mm[1:].max())
    touching = np.zeros(count, bool)
    if anatomy.skeleton.any():
        gap = ndimage.distance_transform_edt(~anatomy.skeleton, sampling=scan.spacing_zyx_mm)
        touching = np.asarray(ndimage.minimum(gap, findings.labels, index)) <= reach
    return pd.DataFrame(
        {
            "label": index,
            "compartment": [_most(findings.labels, compartments, label) for label in index.tolist()],
            "side": "",
            "depth_mm": np.asarray(depth, float),
            "bone_contact": touching,
        }
    )


def _most(labels: np.ndarray, compartments: np.ndarray | None, label: int) -> str:
    if compartments is None:
        return ""
    inside = compartments[labels == label].astype(int)
    counts = np.bincount(inside[inside > 0]) if (inside > 0).any() else np.array([0])
    return str(int(counts.argmax())) if counts.any() else ""
