"""Whether a map can be believed, and how far it may be off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from monitor import grid
from monitor._registration import match, start
from monitor._registration.both_ways import BothWays
from monitor._registration.scales import Scale
from monitor.types import Registration, RegistrationError

VOLUME_RATIO = (0.5, 2.0)
"""Factors of volume outside this are no child's growth (15 % a length is 1.52)."""

LEVEL = 1
"""Which scale, from coarse, the evidence is gathered at: finer ones show noise."""

LEAST_SHARE = 0.3
"""Least share of the smaller body that must lie in both fields."""

LEAST_CORRELATION = 0.8
"""Least correlation of HU where either body is: limbs of two patients reach 0.5 to 0.7."""

LEAST_TEXTURE = 0.55
"""Least correlation of soft tissue's texture, and as much more as tissue was strained: what gives enough is alike in
the end. Limbs of two patients have 0.0 to 0.5 (0.7 at a strain of 0.15), of one 0.8 to 1.0."""

SURE_TEXTURE = 0.8
"""From this correlation on, no mirror image is thought of."""

MIRROR_BETTER = 0.1
"""Information, nats a voxel, that the mirror image must have more for a scan to be a mirrored one."""

MOST_STRAIN = 0.35
"""Most root mean square of log local volume change: a bent knee has 0.1, another patient's limb 0.2 to 1."""

MOST_FOLDS = 0.001
"""Most of the body's points around which a map may fold."""

HIGH_GAPS, HIGH_VOXELS = 1.5, 0.15
"""Upper limit of the mean error: so many times the disagreement, and so many voxels that the two have in common."""

MOST_GAP_MM = 3.0
"""Most mean disagreement of the two maps, mm."""

HOPELESS_CORRELATION, HOPELESS_GAP_MM = 0.65, 8.0
"""Correlation and mean disagreement, mm, at coarse scales that fine ones do not mend."""

TEXTURE_MM = 6.0
"""SD of the blur, mm, that takes shape away and leaves texture."""

SOFT_HU = (-150.0, 150.0)
"""Fat to muscle, HU: what texture is made of."""

FEWEST = 200
"""Fewest voxels that tell anything."""

STRAIN_STEP_MM = 4.0
"""Distance, mm, over which strain is measured."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for or against a map.

    Attributes
    ----------
    growth : float
        Factor of volume of the linear part.
    share, correlation : float
        Of the smaller body in both fields; of HU where either body is.
    bone_overlap : float
        Dice's coefficient of the two skeletons where both scans look; NaN where there is little bone.
    gap_mm, gap_hi_mm : float
        Mean and 95th percentile of the disagreement of the two maps, mm.
    strain : float
        Root mean square of the logarithm of local volume change beside the linear part, in the body.
    bone_strain : float
        The same of the strain within bone.
    texture : float
        Correlation of what is finer than ``TEXTURE_MM`` in soft tissue: fibres, fat and vessels are one patient's own.
    folds : float
        Share of the body's points around which the map folds.
    """

    growth: float
    share: float
    correlation: float
    bone_overlap: float
    gap_mm: float
    gap_hi_mm: float
    strain: float
    bone_strain: float
    texture: float
    folds: float


def weigh(levels: list[tuple[Scale, Scale]], found: BothWays) -> Evidence:
    """Gather the evidence."""
    fixed, moving = levels[LEVEL]
    alike = start.likeness_under(fixed, moving, found.registration.from_baseline)
    determinant = _determinant(found.registration, found.points_mm)
    bone = np.nan_to_num(fixed.at(found.points_mm, fixed.bone.view(np.uint8))) > 0.5
    change = np.log(np.maximum(determinant, 1e-3))
    return Evidence(
        growth=float(np.linalg.det(found.registration.matrix[:3, :3])),
        share=alike.share,
        correlation=alike.correlation,
        bone_overlap=_bone_overlap(fixed, moving, found.registration),
        gap_mm=float(found.gap_mm.mean()),
        gap_hi_mm=float(np.percentile(found.gap_mm, 95)),
        strain=float(np.sqrt(np.mean(change**2))),
        bone_strain=float(np.sqrt(np.mean(change[bone] ** 2))) if bone.any() else float("nan"),
        texture=_texture(*levels[texture_level(levels)], found.registration),
        folds=float(np.mean(determinant <= 0)),
    )


def _determinant(found: Registration, points_mm: np.ndarray) -> np.ndarray:
    """Return the local volume change of a map without its linear part, (N,)."""
    back = np.linalg.inv(found.matrix)
    columns = []
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = STRAIN_STEP_MM / 2
        ends = [grid.apply_affine(back, found.from_baseline(points_mm + side * step)) for side in (1, -1)]
        columns.append((ends[0] - ends[1]) / STRAIN_STEP_MM)
    return np.asarray(np.linalg.det(np.stack(columns, axis=2)))


def texture_level(levels: list[tuple[Scale, Scale]]) -> int:
    """Return which scale has voxels nearest to half of ``TEXTURE_MM``."""
    return int(np.argmin([abs(np.log(2 * fixed.voxel_mm / TEXTURE_MM)) for fixed, _ in levels]))


def _texture(fixed: Scale, moving: Scale, found: Registration) -> float:
    index = np.argwhere(fixed.body & ~fixed.bone & np.isfinite(fixed.hu))
    there = found.from_baseline(grid.apply_affine(fixed.matrix, index))
    tissue = np.nan_to_num(moving.at(there, (moving.body & ~moving.bone).view(np.uint8))) > 0.99
    both = np.zeros(fixed.hu.shape, np.float32)
    both[tuple(index[tissue].T)] = 1.0
    other = np.zeros(fixed.hu.shape, np.float32)
    other[tuple(index.T)] = moving.at(there, moving.hu)
    both[~np.isfinite(other)] = 0.0
    sigma = TEXTURE_MM / fixed.sides_mm
    share = ndimage.gaussian_filter(both, sigma)
    inner = (both > 0) & (share > 0.8)
    if inner.sum() < FEWEST:
        return float("nan")
    fine = []
    for hu in (fixed.hu, other):
        soft = np.where(both > 0, np.clip(hu, *SOFT_HU), 0.0)
        fine.append((soft - ndimage.gaussian_filter(soft, sigma) / np.maximum(share, 0.1))[inner])
    return match.correlation(*fine)


def _bone_overlap(fixed: Scale, moving: Scale, found: Registration) -> float:
    index = np.argwhere(np.isfinite(fixed.hu) & fixed.body)
    index = index[:: 1 + len(index) // start.LOOKED_AT]
    there = found.from_baseline(grid.apply_affine(fixed.matrix, index))
    other = moving.at(there, moving.bone.view(np.uint8))
    seen = np.isfinite(other)
    one, two = fixed.bone[tuple(index[seen].T)], other[seen] > 0.5
    total = int(one.sum() + two.sum())
    return float(2 * (one & two).sum() / total) if total > FEWEST else float("nan")


def believed(levels: list[tuple[Scale, Scale]], began: np.ndarray, found: BothWays) -> Registration:
    """Return the map with its residual and an upper limit of its error; ``began`` is its start, (4, 4).

    Raises
    ------
    RegistrationError
        Where the evidence is against it, and which.
    """
    evidence = weigh(levels, found)
    against = list(_against(evidence))
    if not against and not evidence.texture >= SURE_TEXTURE and _mirrored(levels, began):
        against.append("left and right must be the same in both scans; one matches the mirror image of the other")
    if against:
        raise RegistrationError("; ".join(against))
    high = HIGH_GAPS * evidence.gap_mm + HIGH_VOXELS * levels[-1][0].voxel_mm
    return replace(found.registration, residual_mm=evidence.gap_mm, residual_hi_mm=high)


def hopeful(levels: list[tuple[Scale, Scale]], coarse: BothWays) -> None:
    """Refuse at the coarse scales what the fine ones will not mend: most of what is not the same body.

    Raises
    ------
    RegistrationError
        Where the bodies hardly correlate, or the two directions do not agree at all.
    """
    alike = start.likeness_under(*levels[LEVEL], coarse.registration.from_baseline).correlation
    gap_mm, against = float(coarse.gap_mm.mean()), []
    if alike < HOPELESS_CORRELATION:
        against.append(_unlike(alike))
    if gap_mm > HOPELESS_GAP_MM:
        against.append(_apart(gap_mm))
    if against:
        raise RegistrationError("; ".join(against))


def _unlike(correlation: float) -> str:
    return f"registered bodies must correlate by {LEAST_CORRELATION}; these correlate by {correlation:.2f}"


def _apart(gap_mm: float) -> str:
    return f"both directions must agree within {MOST_GAP_MM:g} mm in the mean; they differ by {gap_mm:.1f}"


def _mirrored(levels: list[tuple[Scale, Scale]], began: np.ndarray) -> bool:
    """Tell whether the moving scan's mirror image matches better than the scan itself, each in its best pose."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped = [(fixed, replace(moving, matrix=flip @ moving.matrix)) for fixed, moving in levels[:2]]
    other = start.likeness(*flipped[1], start.find(flipped))
    return other.information > start.likeness(*levels[1], began).information + MIRROR_BETTER


def _against(evidence: Evidence) -> Iterator[str]:
    """Say what of the evidence speaks against a map; nothing where it is to be believed."""
    low, high = VOLUME_RATIO
    if not low <= evidence.growth <= high:
        yield f"a body must keep its volume within a factor of {low} to {high}; it changed by {evidence.growth:.2f}"
    if evidence.share < LEAST_SHARE:
        yield f"at least {LEAST_SHARE:.0%} of the smaller body must lie in both scans; {evidence.share:.0%} does"
    if evidence.correlation < LEAST_CORRELATION:
        yield _unlike(evidence.correlation)
    # NaN, where there is too little soft tissue to tell, is no reason against it.
    least = LEAST_TEXTURE + evidence.strain
    if evidence.texture < least:
        yield (
            f"fat, fibres and vessels must correlate by {least:.2f}, as they do in one patient; "
            f"these correlate by {evidence.texture:.2f}"
        )
    if evidence.gap_mm > MOST_GAP_MM:
        yield _apart(evidence.gap_mm)
    if evidence.strain > MOST_STRAIN:
        yield f"tissue must keep its volume within {MOST_STRAIN:.0%} in the mean; it is off by {evidence.strain:.0%}"
    if evidence.folds > MOST_FOLDS:
        yield f"a map must not fold; it does in {evidence.folds:.1%} of the body"
