"""Bring a follow-up to its baseline: any pose, growth, then bending; points are carried, never pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from monitor import grid
from monitor._registration import bend, both_ways, linear, match, scales, start, trust
from monitor.types import Anatomy, Registration, Scan

LOOKING_MM = 2.0
"""Voxel, mm, of pictures of the registration."""

PARTS = (scales, start, match, linear, bend, both_ways, trust)
"""Where the thresholds of registration stand, for the record of a run."""

METHOD = "rigid+growth+affine, bending with rigid bone (Gauss-Newton), both ways"
"""The stages, for the record."""


def register(
    fixed: Scan,
    moving: Scan,
    *,
    fixed_anatomy: Anatomy,
    moving_anatomy: Anatomy,
    fixed_mineral: np.ndarray,
    moving_mineral: np.ndarray,
) -> Registration:
    """Find where each point of a follow-up lies in the baseline.

    Parameters
    ----------
    fixed, moving : Scan
        Baseline and follow-up, in any pose; each may see a part only of what the other sees.
    fixed_anatomy, moving_anatomy : Anatomy
        Their bodies keep table and air out of the metric; bone of the first keeps its shape.
    fixed_mineral, moving_mineral : (z, y, x) bool array
        What may come and go: kept out of the metric, so that no lesion is chased.

    Returns
    -------
    Registration
        ``to_baseline`` maps follow-up points to the baseline. The same bits on every run.

    Raises
    ------
    RegistrationError
        Where the result is not believable: too little in common, impossible growth, or bodies that do not match.

    Notes
    -----
    Squared differences of HU at edges, weighted by their expected variance and without outliers, are minimised by
    Gauss-Newton steps from coarse to fine: over pose and growth, an affine map, and a displacement that is smooth
    everywhere and rigid in bone. The two directions are optimised each by itself; what is kept is their mean,
    weighted by how well each matches in the surroundings, and how far they disagree is ``residual_mm``.
    Decision 0005 tells why not by ITK's own methods.
    """
    levels = scales.pyramid(
        scales.prepare(fixed, fixed_anatomy, fixed_mineral), scales.prepare(moving, moving_anatomy, moving_mineral)
    )
    began = start.find(levels[:2])
    coarse = both_ways.optimise(levels[:2], began)
    trust.hopeful(levels[:2], coarse)
    return replace(trust.believed(levels, began, both_ways.optimise(levels, began, coarse)), method=METHOD)


def through(first: Registration, second: Registration, name: str) -> Registration:
    """Join two maps, baseline to another visit and from there on, into one; errors add as if independent.

    Parameters
    ----------
    first, second : Registration
        From the baseline to the visit between, and from there to the visit.
    name : str
        Of the visit between, for the record.
    """
    matrix = second.matrix @ first.matrix
    nodes = first.field_mm if first.field_mm is not None else second.field_mm
    field = None
    if nodes is not None:
        points = grid.to_mm(nodes, np.indices(nodes.GetSize()[::-1]).reshape(3, -1).T)
        there = second.from_baseline(first.from_baseline(points))
        moved = grid.apply_affine(np.linalg.inv(matrix), there) - points
        field = sitk.GetImageFromArray(moved.reshape(*nodes.GetSize()[::-1], 3).astype(np.float32), isVector=True)
        field.CopyInformation(nodes)
    return Registration(
        matrix=matrix,
        field_mm=field,
        residual_mm=float(np.hypot(first.residual_mm, second.residual_mm)),
        residual_hi_mm=float(np.hypot(first.residual_hi_mm, second.residual_hi_mm)),
        method=f"through {name}: {second.method}",
    )


def for_looking(fixed: Scan, moving: Scan, found: Registration) -> tuple[sitk.Image, np.ndarray, np.ndarray]:
    """Return the baseline and the follow-up before and after on one coarse lattice, to be looked at and never measured.

    Returns
    -------
    (image, array, array)
        The baseline in HU, and the follow-up's HU, (z, y, x), NaN where it saw nothing.
    """
    lattice = _lattice(fixed.image, LOOKING_MM)
    shape = lattice.GetSize()[::-1]
    points = grid.to_mm(lattice, np.indices(shape).reshape(3, -1).T)
    still = grid.sample(fixed.image, fixed.array, points, outside=-1000.0)
    before = grid.sample(moving.image, moving.array, points)
    after = grid.sample(moving.image, moving.array, found.from_baseline(points))
    image = grid.image_like(still.reshape(shape).astype(np.float32), lattice)
    return image, before.reshape(shape), after.reshape(shape)


def _lattice(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Return an empty isotropic image over the same field."""
    extent = np.array(image.GetSize()) * np.array(image.GetSpacing())
    size = [max(8, int(n)) for n in np.ceil(extent / spacing_mm)]
    lattice = sitk.Image(size, sitk.sitkFloat32)
    lattice.SetSpacing([spacing_mm] * 3)
    lattice.SetDirection(image.GetDirection())
    # The corner of the field, not the centre of its first voxel, is what the two share.
    corner = image.TransformContinuousIndexToPhysicalPoint([-0.5] * 3)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    lattice.SetOrigin([float(v) for v in np.array(corner) + direction @ np.full(3, spacing_mm / 2)])
    return lattice
