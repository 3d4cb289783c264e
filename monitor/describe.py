"""Where a piece of mineral lies and what it looks like: compartment, side, depth, pattern, rim and core."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from scipy import ndimage

from monitor._describe import cut as cutting
from monitor._describe import field, kind, shape, side, skin, tissue, vessel, zones
from monitor._describe.cut import Cut
from monitor._describe.shape import Shape
from monitor._describe.zones import Zones
from monitor.types import Anatomy, Findings, Scan

PARTS = (cutting, field, kind, shape, side, skin, tissue, vessel, zones)
"""The modules of the package beside this one: their thresholds go into ``run.json``."""

CONTACT_MM = 1.0
"""A gap to bone this small, mm, beside a voxel, cannot be told from contact at the blur of CT."""

DEPTH_POINTS = 4000
"""Most voxels of a piece that its depth is the mean of."""

COMPARTMENTS = ("skin", "subcutis", "muscle_or_fascia", "periarticular", "vessel_wall", "organ")
"""What ``compartment`` can be where no reader named it."""

PATTERNS = ("nodular", "sheet", "amorphous_cloud", "lacy", "lobulated", "shell", "linear", "indeterminate")
"""What ``pattern`` can be."""

KINDS = ("calcification", "ossification", "indeterminate")
"""What ``kind`` can be."""

SIDES = ("left", "right", "midline")
"""What ``side`` can be where it is known."""

COLUMNS = {
    "label": "int64",
    "compartment": "object",
    "side": "object",
    "depth_mm": "float64",
    "bone_contact": "bool",
    "rim_core_hu": "float64",
    "zonal_index": "float64",
    "pattern": "object",
    "rim_completeness_pct": "float64",
    "rim_thickness_mm": "float64",
    "marrow_fat_fraction": "float64",
    "fluid_level": "boolean",
    "kind": "object",
}
"""Columns of ``describe``'s answer, with their dtypes."""


@dataclass(frozen=True)
class _Where:
    """What the whole field says, made once for all pieces of a scan."""

    skin: skin.Skin
    field: field.Field
    symmetric: bool
    given_side: str


def describe(
    scan: Scan, anatomy: Anatomy, findings: Findings, compartments: np.ndarray | None = None, *, given_side: str = ""
) -> pd.DataFrame:
    """Say where each piece lies and what it looks like.

    Parameters
    ----------
    compartments : (z, y, x) int array, optional
        A reader's label map of compartments; the number that covers most of a piece names it, and wins.
    given_side : str
        Left or right, where the study says which of a pair of limbs the scan shows; asked where the field shows one.

    Returns
    -------
    DataFrame
        A row a piece, columns ``COLUMNS``. Words are empty where unknown, numbers NaN where not resolved; all are
        defined in docs/conventions.md.
    """
    boxes = ndimage.find_objects(findings.labels)
    labels = [label for label, box in enumerate(boxes, start=1) if box is not None]
    outline = field.outline(scan, anatomy)
    where = _Where(skin.of_body(anatomy.body, scan), outline, bool(labels) and side.has_plane(outline), given_side)
    rows = []
    for label in labels:
        piece = cutting.cut(scan, anatomy, findings, label, boxes[label - 1])
        read = _most(findings.labels, compartments, label, boxes[label - 1])
        rows.append({"label": label, **_described(scan, anatomy, findings, boxes[label - 1], piece, where, read)})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _described(
    scan: Scan,
    anatomy: Anatomy,
    findings: Findings,
    box: tuple[slice, ...],
    piece: Cut,
    where: _Where,
    read: str,
) -> dict[str, object]:
    found = zones.find(piece)
    outer = shape.measure(piece, findings.threshold_hu)
    word = shape.pattern(piece, found, outer)
    from_bone = _from_bone_mm(piece)
    depth = where.skin.depth_mm(piece.points_mm(piece.piece, most=DEPTH_POINTS))
    slice_mm = max(float(scan.spacing_zyx_mm[0]), float(np.nan_to_num(scan.acquisition.slice_thickness_mm)))
    return {
        "compartment": read or _compartment(scan, anatomy, box, piece, where, (word, outer, from_bone)),
        "side": _side(piece, where),
        "depth_mm": float(depth.mean()) if np.isfinite(depth).all() else nan,
        "bone_contact": from_bone <= CONTACT_MM + float(scan.spacing_zyx_mm[1:].max()),
        "rim_core_hu": found.rim_core_hu,
        "zonal_index": found.zonal_index,
        "pattern": word,
        "rim_completeness_pct": found.rim_completeness_pct,
        "rim_thickness_mm": shape.rim_thickness_mm(piece, found) if word == "shell" else nan,
        "marrow_fat_fraction": found.marrow_fat_fraction,
        "fluid_level": found.fluid_level,
        "kind": kind.kind(found, slice_mm),
    }


def _compartment(
    scan: Scan,
    anatomy: Anatomy,
    box: tuple[slice, ...],
    piece: Cut,
    where: _Where,
    seen: tuple[str, Shape, float],
) -> str:
    word, outer, from_bone = seen
    level = where.field.level(float(piece.centre_mm[2]))
    return tissue.compartment(
        tissue.around(piece, scan, where.skin),
        vessel=word != "shell" and vessel.is_wall(piece, outer.thickness_mm),
        joint=tissue.near_joint(scan, anatomy, box, piece),
        cavity=tissue.in_cavity(level, piece.centre_mm, from_bone_mm=from_bone),
        air=bool(level.air.sum() >= tissue.AIR_CELLS),
    )


def _side(piece: Cut, where: _Where) -> str:
    """Return the side by the mirror plane; of a single limb, what the study says."""
    mirror = side.plane(where.field.level(float(piece.centre_mm[2])))
    if mirror is not None and (mirror.pair or where.symmetric):
        return side.of_piece(piece.points_mm(piece.piece), mirror)
    given = where.given_side.strip().lower()
    return given if given in SIDES else ""


def _from_bone_mm(piece: Cut) -> float:
    """Return the least distance of a piece to bone, mm; infinite where there is none within its box."""
    gap = cutting.distance_mm(piece.skeleton, piece.spacing_zyx_mm)
    return float(gap[piece.piece].min())


def _most(labels: np.ndarray, compartments: np.ndarray | None, label: int, box: tuple[slice, ...]) -> str:
    if compartments is None:
        return ""
    inside = compartments[box][labels[box] == label].astype(int)
    counts = np.bincount(inside[inside > 0]) if (inside > 0).any() else np.array([0])
    return str(int(counts.argmax())) if counts.any() else ""
