"""A scan as a coarser scanner would have shown it: thicker slices, a smoother kernel, the same child.

Two scans that differ in these alone are compared at the coarser of the two. What was averaged away cannot be
brought back; what was sharp can be averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from monitor import grid
from monitor.noise import measure_noise
from monitor.types import Anatomy, Findings, Scan

LIKE = 1.02
"""Thicknesses, increments and blurs within this factor are one."""

HALF = 0.5
"""Share of a thick slice from which it belongs to a mask."""

REACH_SDS = 4.0
"""How far the kernel of a blur reaches, in its SDs."""


@dataclass(frozen=True)
class Protocol:
    """How two scans are shown alike.

    ``thickness_mm`` and ``increment_mm`` are those of slices; ``sigma_mm`` is the SD of the blur in the plane, NaN
    where both have one kernel.
    """

    thickness_mm: float
    increment_mm: float
    sigma_mm: float = nan

    def __str__(self) -> str:
        kernel = "" if isnan(self.sigma_mm) else f", blur of {self.sigma_mm:.2f} mm"
        return f"slices of {self.thickness_mm:.3g} mm every {self.increment_mm:.3g} mm{kernel}"


def common(one: Mapping[str, float], two: Mapping[str, float], *, kernels: bool) -> Protocol | None:
    """Return how two scans can both be shown; None where a blur that must be known is not.

    Parameters
    ----------
    one, two : mapping
        slice_thickness_mm, slice_increment_mm, and sigma_mm: the blur as the scan tells it, NaN where it does not.
    kernels : bool
        Whether the kernels differ.

    Examples
    --------
    >>> thin = {"slice_thickness_mm": 1.0, "slice_increment_mm": 1.0, "sigma_mm": 0.5}
    >>> str(common(thin, {**thin, "slice_thickness_mm": 3.0, "slice_increment_mm": 3.0}, kernels=False))
    'slices of 3 mm every 3 mm'
    >>> common(thin, {**thin, "sigma_mm": nan}, kernels=True) is None
    True
    """
    increment = max(one["slice_increment_mm"], two["slice_increment_mm"])
    thick = [each["slice_thickness_mm"] for each in (one, two)]
    thickness = increment if any(isnan(each) for each in thick) else max(thick)
    sigma = max(one["sigma_mm"], two["sigma_mm"]) if kernels else nan
    unknown = kernels and (isnan(one["sigma_mm"]) or isnan(two["sigma_mm"]))
    return None if isnan(increment) or unknown else Protocol(thickness, increment, sigma)


def shown_by(own: Mapping[str, float], wanted: Protocol) -> bool:
    """Tell whether a scan, described as for ``common``, is as coarse as wanted already."""
    thickness = own["slice_thickness_mm"]
    enough = isnan(thickness) or thickness * LIKE >= wanted.thickness_mm
    blurred = isnan(wanted.sigma_mm) or own["sigma_mm"] * LIKE >= wanted.sigma_mm
    return enough and own["slice_increment_mm"] * LIKE >= wanted.increment_mm and blurred


def show(
    scan: Scan, anatomy: Anatomy, findings: Findings, wanted: Protocol, *, sigma_mm: float = nan
) -> tuple[Scan, Anatomy, Findings]:
    """Return a scan, and what was found in it, as the wanted protocol would have shown it.

    Slices are averaged over boxes whose variance makes up for what is wanted; the plane is blurred by the Gaussian that
    is missing. Pieces keep their labels; one that no slice is half full of keeps the voxels it fills most.

    Parameters
    ----------
    scan, anatomy, findings
        Of the finer scan; HU.
    wanted : Protocol
        Of ``common``.
    sigma_mm : float
        SD of the scan's own blur in the plane.
    """
    rows = _averages(scan, wanted)
    missing = np.sqrt(np.nan_to_num(max(wanted.sigma_mm**2 - sigma_mm**2, 0.0)))
    plane = missing / scan.spacing_zyx_mm[1:]
    hu = _across(scan.array, rows)
    if missing > 0:
        hu = ndimage.gaussian_filter(hu, (0.0, *plane), truncate=REACH_SDS)
    image = _placed(hu, scan.image, rows)
    thick = replace(scan.acquisition, slice_thickness_mm=wanted.thickness_mm, slice_increment_mm=wanted.increment_mm)
    imaged = None if scan.imaged is None else _most(scan.imaged, rows)
    coarse = replace(scan, image=image, acquisition=thick, imaged=imaged)
    body, skeleton, left_out = (_most(mask, rows) for mask in (anatomy.body, anatomy.skeleton, anatomy.left_out))
    noise_hu, tissue_hu, blocks = measure_noise(hu, body & ~skeleton, coarse.spacing_zyx_mm)
    seen = Anatomy(body, skeleton, left_out, noise_hu, tissue_hu, blocks)
    return coarse, seen, replace(findings, labels=_labels(findings.labels, rows), left_out=None)


@dataclass(frozen=True)
class _Rows:
    """Which old slices make each new one: first (m,), weights (m, k), and where new slices lie in old ones."""

    first: np.ndarray
    weights: np.ndarray
    start: float
    step: float


def _averages(scan: Scan, wanted: Protocol) -> _Rows:
    """Return the averages of slices that the wanted thickness and increment are made of."""
    own = float(scan.spacing_zyx_mm[0])
    count = scan.array.shape[0]
    known = scan.acquisition.slice_thickness_mm
    thickness = own if isnan(known) else max(float(known), own)
    # Variances of boxes add: what slices that overlap average over already is taken off.
    wide = np.sqrt(max(wanted.thickness_mm**2 - thickness**2 + own**2, own**2)) / own
    step = max(wanted.increment_mm / own, 1.0)
    step, wide = (1.0 if each < LIKE else each for each in (step, wide))
    wide = min(wide, float(count))
    number = int((count - wide) / step + 1e-6) + 1
    low = np.arange(number) * step + (count - wide - (number - 1) * step) / 2
    first = np.floor(low + 1e-9).astype(int)
    reach = int(np.ceil(wide)) + 1
    cells = first[:, None] + np.arange(reach)
    overlap = np.minimum(cells + 1, (low + wide)[:, None]) - np.maximum(cells, low[:, None])
    weights = np.where(cells < count, np.clip(overlap, 0, None), 0.0)
    return _Rows(first, weights / weights.sum(axis=1, keepdims=True), float(low[0] + (wide - 1) / 2), step)


def _across(values: np.ndarray, rows: _Rows) -> np.ndarray:
    """Average slices, (z, y, x) float32."""
    out = np.zeros((len(rows.first), *values.shape[1:]), np.float32)
    for new, (first, weights) in enumerate(zip(rows.first, rows.weights, strict=True)):
        for old in np.flatnonzero(weights):
            out[new] += np.float32(weights[old]) * values[first + old]
    return out


def _most(mask: np.ndarray, rows: _Rows) -> np.ndarray:
    return _across(mask, rows) >= HALF


def _labels(labels: np.ndarray, rows: _Rows) -> np.ndarray:
    """Return the pieces on the new slices, (z, y, x): each voxel of the piece that fills half of it or more."""
    shape = (len(rows.first), *labels.shape[1:])
    found, most = np.zeros(shape, labels.dtype), np.zeros(shape, np.float32)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        plane = (slice(None), *box[1:])
        filled = _across(labels[plane] == label, rows)
        own = filled >= min(HALF, float(filled.max()) / LIKE)
        own &= (filled > most[plane]) & (filled > 0)
        found[plane][own] = label
        most[plane][own] = filled[own]
    return found


def _placed(hu: np.ndarray, old: sitk.Image, rows: _Rows) -> sitk.Image:
    """Return the new slices as an image; its first lies where its box is centred."""
    image = sitk.GetImageFromArray(hu)
    x, y, z = old.GetSpacing()
    image.SetSpacing((x, y, z * rows.step))
    image.SetDirection(old.GetDirection())
    image.SetOrigin(tuple(grid.to_mm(old, np.array([[rows.start, 0.0, 0.0]]))[0].tolist()))
    return image
