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
    symmetric = bool(labels) and side.has_plane(outline)
    where = _Where(skin.of_body(anatomy.body, scan), outline, symmetric, given_side)
    rows = []
    for label in labels:
        box = boxes[label - 1]
        one = _piece(scan, anatomy, findings, label, box, where)
        read = _most(findings.labels, compartments, label, box)
        rows.append({"label": label, **_described(scan, anatomy, one, where, read)})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


@dataclass(frozen=True)
class _Piece:
    """One piece, and what several of its descriptions need: ``box`` is that of its label in the scan.

    ``zones`` and ``shape`` are of ``tight``, the piece alone; ``cut`` has the tissue around it.
    """

    cut: Cut
    tight: Cut
    box: tuple[slice, ...]
    level: field.Level
    mirror: side.Mirror | None
    zones: Zones
    shape: Shape
    pattern: str
    from_bone_mm: float


def _piece(
    scan: Scan, anatomy: Anatomy, findings: Findings, label: int, box: tuple[slice, ...], where: _Where
) -> _Piece:
    cut = cutting.cut(scan, anatomy, findings, label, box)
    level = where.field.level(float(cut.centre_mm[2]))
    tight = cut.tight()
    found, outer = zones.find(tight), shape.measure(tight, findings.threshold_hu)
    gap = cutting.distance_mm(cut.skeleton, cut.spacing_zyx_mm)
    return _Piece(
        cut=cut,
        tight=tight,
        box=box,
        level=level,
        mirror=side.plane(level),
        zones=found,
        shape=outer,
        pattern=shape.pattern(tight, found, outer),
        from_bone_mm=float(gap[cut.piece].min()),
    )


def _described(scan: Scan, anatomy: Anatomy, one: _Piece, where: _Where, read: str) -> dict[str, object]:
    tissue_around = tissue.around(one.cut, scan, where.skin)
    slice_mm = max(float(scan.spacing_zyx_mm[0]), float(np.nan_to_num(scan.acquisition.slice_thickness_mm)))
    return {
        "compartment": read or _compartment(scan, anatomy, one, tissue_around, where),
        "side": _side(one, where),
        "depth_mm": tissue_around.depth_mm if np.isfinite(tissue_around.depth_mm) else nan,
        "bone_contact": one.from_bone_mm <= CONTACT_MM + float(scan.spacing_zyx_mm[1:].max()),
        "rim_core_hu": one.zones.rim_core_hu,
        "zonal_index": one.zones.zonal_index,
        "pattern": one.pattern,
        "rim_completeness_pct": one.zones.rim_completeness_pct,
        "rim_thickness_mm": shape.rim_thickness_mm(one.tight, one.zones) if one.pattern == "shell" else nan,
        "marrow_fat_fraction": one.zones.marrow_fat_fraction,
        "fluid_level": one.zones.fluid_level,
        "kind": kind.kind(one.zones, slice_mm),
    }


def _compartment(scan: Scan, anatomy: Anatomy, one: _Piece, tissue_around: tissue.Around, where: _Where) -> str:
    paired = one.mirror is not None and one.mirror.pair
    return tissue.compartment(
        tissue_around,
        vessel=one.pattern != "shell" and vessel.is_wall(one.cut, one.shape.thickness_mm),
        joint=one.from_bone_mm <= tissue.JOINT_BONE_MM and tissue.near_joint(scan, anatomy, one.box, one.cut),
        cavity=tissue.in_cavity(one.level, one.cut.centre_mm, from_bone_mm=one.from_bone_mm),
        trunk=where.symmetric and not paired,
        air=bool(one.level.air.sum() >= tissue.AIR_CELLS),
    )


def _side(one: _Piece, where: _Where) -> str:
    """Return the side by the mirror plane; of a single limb, what the study says."""
    if one.mirror is not None and (one.mirror.pair or where.symmetric):
        return side.of_piece(one.cut.points_mm(one.cut.piece), one.mirror)
    given = where.given_side.strip().lower()
    return given if given in SIDES else ""


def _most(labels: np.ndarray, compartments: np.ndarray | None, label: int, box: tuple[slice, ...]) -> str:
    if compartments is None:
        return ""
    inside = compartments[box][labels[box] == label].astype(int)
    counts = np.bincount(inside[inside > 0]) if (inside > 0).any() else np.array([0])
    return str(int(counts.argmax())) if counts.any() else ""
