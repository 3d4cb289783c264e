"""Bring a follow-up to its baseline: rigid, growth, then bending; points are carried, never pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from monitor import grid
from monitor.types import Anatomy, Registration, RegistrationError, Scan

FINEST_MM = 2.0
"""Voxel, mm, of the last deformable level: below it the landmarks of real limbs gained nothing."""

MOST_VOXELS = 4_000_000
"""The finest level is coarsened to hold no more voxels than this: 1 GiB for images, fields and updates."""

START_MM = 6.0
"""Voxel, mm, of the search for a start: bones are still seen, and a body is a few ten thousand voxels."""

LOOKING_MM = 2.0
"""Voxel, mm, of pictures of the registration."""

SEARCH_OVERLAP = 0.3
"""Least fraction of the smaller body that a translation in the search must lay onto the other."""

LINEAR_MM = (4.0, 2.0)
"""Voxels, mm, of the rigid and the affine levels."""

STARTS_REFINED = 2
"""Starts that are optimised, best first: the third was never the best on limbs and trunks."""

AFFINE_OVER_GROWTH = 1.06
"""Largest factor of volume that the affine stage may add to or take from uniform growth."""

GROWTH_STEP = 0.05
"""First step of similarity and affine stages, in voxels: they ran away at 0.2, converged from 0.1 downwards."""

BORDER_MM = 8.0
"""Air around the body, mm, that the linear metric sees: the skin is an edge too."""

HISTOGRAM_BINS = 40
"""Bins of the joint histogram of mutual information."""

LINEAR_SAMPLES = 40_000
"""Points of the metric at each linear level: beyond this the estimate moves by less than 0.05 mm."""

DEMONS_LEVELS = ((4, 100), (2, 60), (1, 15))
"""Shrink factors of the finest grid, and steps at each."""

DEMONS_SIGMA_VOXELS = 1.5
"""SD, voxels, that smooths both the field and each update."""

METRIC_HU = (-200.0, 600.0)
"""Window of the deformable metric, HU: fat, muscle and bone edges, not the noise of air and the peaks of cortex."""

LINEAR_HU = (-500.0, 1000.0)
"""Window of the linear metric, HU."""

FILL_SIGMA_MM = 4.0
"""SD, mm, of the weights that fill mineral from the tissue around it, tightly."""

VOLUME_RATIO = (0.5, 2.0)
"""Determinants of the affine part outside this are no child's growth (15 % a length is 1.52)."""

LEAST_OVERLAP = 0.4
"""Least fraction of the smaller body that must lie in both fields."""

LEAST_CORRELATION = 0.5
"""Least correlation of the two bodies after registration; another patient's limb reaches about this."""

INVERSION_STEPS = 10
"""Fixed-point steps that invert a field on its grid: residuals fall below 0.05 mm."""


_Linear = TypeVar("_Linear", sitk.Similarity3DTransform, sitk.AffineTransform)


@dataclass(frozen=True)
class _Prepared:
    """A scan made ready for a metric: mineral filled, all but the body set to air, and where the body is."""

    image: sitk.Image
    body: sitk.Image


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
        Baseline and follow-up.
    fixed_anatomy, moving_anatomy : Anatomy
        Their bodies keep table and air out of the metric.
    fixed_mineral, moving_mineral : (z, y, x) bool array
        What may come and go: filled from around before any metric, so that no lesion is chased.

    Returns
    -------
    Registration
        ``to_baseline`` maps follow-up points to the baseline. The same bits on every run.

    Raises
    ------
    RegistrationError
        Where the result is not believable: too little overlap, impossible growth, or bodies that do not match.

    Notes
    -----
    Mattes mutual information for the linear stages, symmetric-forces demons (Vercauteren 2009) in both
    directions for bending; the mean of the forward map and of the inverse of the backward map is kept, and
    how far the two disagree is ``residual_mm``.
    """
    with grid.one_thread():
        return _register(
            _prepare(fixed, fixed_anatomy, fixed_mineral), _prepare(moving, moving_anatomy, moving_mineral)
        )


def _register(one: _Prepared, two: _Prepared) -> Registration:
    linear = _linear(one, two)
    _believable_growth(linear)
    lattice = _lattice(one.image, _finest_mm(one.image))
    still = _resampled(one.image, lattice, None, METRIC_HU)
    moved = _resampled(two.image, lattice, linear, METRIC_HU)
    seen = _seen(two.image, lattice, linear)
    field, residual = _bend(still, moved, seen, _resampled(one.body, lattice, None, (0, 1)))
    _believable_match(still, two, lattice, linear, field, one)
    return Registration(
        matrix=_matrix(linear),
        field_mm=field,
        residual_mm=residual,
        method="rigid+affine (mutual information), symmetric demons both ways",
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


def _prepare(scan: Scan, anatomy: Anatomy, mineral: np.ndarray) -> _Prepared:
    hu = scan.array.astype(np.float32)
    hu = _filled(hu, mineral & anatomy.body, anatomy.body, scan.spacing_zyx_mm)
    hu[~anatomy.body] = -1000.0
    return _Prepared(
        image=grid.image_like(hu, scan.image),
        body=grid.image_like(anatomy.body.astype(np.float32), scan.image),
    )


def _filled(hu: np.ndarray, mineral: np.ndarray, body: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Replace mineral and the voxel around it by the mean of the tissue beside it, weighted by nearness."""
    filled = hu.copy()
    labels, _ = ndimage.label(mineral)
    reach = np.ceil(3 * FILL_SIGMA_MM / spacing_zyx_mm).astype(int)
    for box in ndimage.find_objects(labels):
        near = tuple(
            slice(max(0, part.start - margin), part.stop + margin) for part, margin in zip(box, reach, strict=True)
        )
        hole = ndimage.binary_dilation(mineral[near], np.ones((1, 3, 3)), iterations=2)
        rest = (body[near] & ~hole).astype(np.float32)
        sigma = FILL_SIGMA_MM / spacing_zyx_mm
        weight = ndimage.gaussian_filter(rest, sigma)
        carried = ndimage.gaussian_filter(hu[near] * rest, sigma)
        here = hole & (weight > 1e-3) & body[near]
        filled[near][here] = carried[here] / weight[here]
    return filled


def _linear(one: _Prepared, two: _Prepared) -> sitk.Transform:
    """Rigid from the best of several starts, then one growth for all directions, then affine where it helps."""
    coarse, fine = (_Pair.at(one, two, spacing) for spacing in LINEAR_MM)
    starts = sorted(_starts(one, two), key=coarse.unlikeness)[:STARTS_REFINED]
    rigid = min((coarse.optimised(start) for start in starts), key=coarse.unlikeness)
    similar = fine.optimised(coarse.optimised(_as(sitk.Similarity3DTransform(), rigid)))
    affine = fine.optimised(_as(sitk.AffineTransform(3), similar))
    ratio = np.linalg.det(_matrix(affine)[:3, :3]) / np.linalg.det(_matrix(similar)[:3, :3])
    # A featureless limb hardly tells its own length: there the affine stage runs away and growth alone is kept.
    plausible = abs(np.log(ratio)) <= np.log(AFFINE_OVER_GROWTH)
    return affine if plausible and fine.mismatch(affine) < fine.mismatch(similar) else similar


def _as(wider: _Linear, narrow: sitk.Transform) -> _Linear:
    """Copy a linear transform into a kind with more freedom."""
    wider.SetCenter(narrow.GetCenter())  # type: ignore[attr-defined]  # every linear kind has these three
    wider.SetMatrix(narrow.GetMatrix())  # type: ignore[attr-defined]
    wider.SetTranslation(narrow.GetTranslation())  # type: ignore[attr-defined]
    return wider


def _starts(one: _Prepared, two: _Prepared) -> list[sitk.Euler3DTransform]:
    """Return translations worth trying: as the scanner says, centres of the bodies, and the best of a search."""
    centre_one, centre_two = _centroid(one.body), _centroid(two.body)
    shifts = [np.zeros(3), centre_two - centre_one, _searched_shift(one, two)]
    starts = []
    for shift in shifts:
        start = sitk.Euler3DTransform()
        start.SetCenter([float(v) for v in centre_one])
        start.SetTranslation([float(v) for v in shift])
        starts.append(start)
    return starts


def _searched_shift(one: _Prepared, two: _Prepared) -> np.ndarray:
    """Return the translation, mm, of the highest masked correlation at ``START_MM`` (Padfield 2012)."""
    images = [sitk.Clamp(_isotropic(part.image, START_MM), sitk.sitkFloat32, *LINEAR_HU) for part in (one, two)]
    masks = [sitk.Cast(_isotropic(part.body, START_MM) > 0.5, sitk.sitkFloat32) for part in (one, two)]
    corners = [np.array(image.GetOrigin()) for image in images]
    for image in images + masks:
        # The filter wants one space; the corners come back in at the end.
        image.SetOrigin([0.0] * 3)
        image.SetDirection(np.eye(3).ravel().tolist())
    scores = sitk.MaskedFFTNormalizedCorrelation(images[0], images[1], masks[0], masks[1], 0, SEARCH_OVERLAP)
    best = np.array(np.unravel_index(np.argmax(grid.array(scores)), grid.array(scores).shape))[::-1]
    lag = best - (np.array(images[1].GetSize()) - 1)
    return np.asarray(corners[1] - corners[0] - lag * START_MM, float)


@dataclass(frozen=True)
class _Pair:
    """Two scans at one scale with the mask of the metric, for the linear stages."""

    fixed: sitk.Image
    moving: sitk.Image
    mask: sitk.Image
    bodies: tuple[sitk.Image, sitk.Image]
    spacing_mm: float

    @classmethod
    def at(cls, one: _Prepared, two: _Prepared, spacing_mm: float) -> _Pair:
        fixed, moving = (
            sitk.Clamp(_isotropic(part.image, spacing_mm), sitk.sitkFloat32, *LINEAR_HU) for part in (one, two)
        )
        bodies = (_isotropic(one.body, spacing_mm) > 0.5, _isotropic(two.body, spacing_mm) > 0.5)
        return cls(
            fixed, moving, sitk.BinaryDilate(bodies[0], [max(1, round(BORDER_MM / spacing_mm))] * 3), bodies, spacing_mm
        )

    def method(self) -> sitk.ImageRegistrationMethod:
        """Return the metric and its optimiser; one thread and a seed, so that every run gives the same bits."""
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
        method.SetMetricFixedMask(self.mask)
        method.SetMetricSamplingStrategy(method.RANDOM)
        inside = max(1.0, float(grid.array(self.mask).sum()))
        method.SetMetricSamplingPercentage(float(min(1.0, LINEAR_SAMPLES / inside)), 1)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=GROWTH_STEP * self.spacing_mm,
            minStep=0.002 * self.spacing_mm,
            numberOfIterations=150,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-7,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        return method

    def optimised(self, start: sitk.Transform) -> sitk.Transform:
        """Improve a transform; where the two fields do not meet, return it as it is."""
        method = self.method()
        if isinstance(start, sitk.Euler3DTransform):
            method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.002 * self.spacing_mm, 150, 0.6, 1e-7)
        transform = type(start)(start)
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(self.fixed, self.moving)
        except RuntimeError:
            # ITK raises where all samples map outside; such a start has lost already.
            return start
        return transform if self.mismatch(transform) < self.mismatch(start) else start

    def unlikeness(self, transform: sitk.Transform) -> float:
        """Return the mismatch, weighed with the share of the smaller body that lies on the other.

        Information alone is as great where one leg lies on the other leg and the rest on nothing.
        """
        moved = grid.array(sitk.Resample(self.bodies[1], self.bodies[0], transform, sitk.sitkNearestNeighbor, 0)) > 0
        still = grid.array(self.bodies[0]) > 0
        smaller = min(still.sum(), int(grid.array(self.bodies[1]).sum()))
        share = float((moved & still).sum() / max(smaller, 1))
        return self.mismatch(transform) * share if share > 0 else float("inf")

    def mismatch(self, transform: sitk.Transform) -> float:
        """Return minus the mutual information: lower is better, infinite where the fields do not meet."""
        method = self.method()
        method.SetInitialTransform(type(transform)(transform), inPlace=True)
        try:
            return float(method.MetricEvaluate(self.fixed, self.moving))
        except RuntimeError:
            return float("inf")


def _bend(still: sitk.Image, moved: sitk.Image, seen: sitk.Image, body: sitk.Image) -> tuple[sitk.Image, float]:
    """Return the displacement on the lattice of ``still`` and the disagreement of the two directions, mm."""
    # Beyond the other field the baseline stands in for it, so that no force arises there.
    moved = sitk.Mask(moved, seen) + sitk.Mask(still, seen == 0)
    forward = grid.array(_demons(still, moved))
    backward = _demons(moved, still)
    inverse = _inverted(backward, still)
    inner = (grid.array(body) > 0.5) & (grid.array(seen) > 0)
    gap = np.linalg.norm(forward - inverse, axis=-1)
    residual = float(gap[inner].mean()) if inner.any() else float("nan")
    field = sitk.GetImageFromArray(((forward + inverse) / 2).astype(np.float32), isVector=True)
    field.CopyInformation(still)
    return field, residual


def _demons(still: sitk.Image, moved: sitk.Image) -> sitk.Image:
    """Return u with still(x) like moved(x + u(x)), coarse to fine."""
    fields: list[sitk.Image] = []
    for shrink, steps in DEMONS_LEVELS:
        one, two = (_shrunk(part, shrink) for part in (still, moved))
        method = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        method.SetNumberOfIterations(steps)
        method.SetSmoothDisplacementField(True)
        method.SetSmoothUpdateField(True)
        method.SetStandardDeviations(DEMONS_SIGMA_VOXELS)
        method.SetUpdateFieldStandardDeviations(DEMONS_SIGMA_VOXELS)
        start = [sitk.Resample(coarser, one) for coarser in fields[-1:]]
        fields.append(method.Execute(one, two, *start))
    return sitk.Resample(fields[-1], still)


def _inverted(field: sitk.Image, lattice: sitk.Image) -> np.ndarray:
    """Return w with w(x) = -u(x + w(x)) on the lattice: the inverse of x + u(x) (Chen 2008)."""
    vectors = np.asarray(grid.array(field), np.float32)
    to_index = np.linalg.inv(grid.affine(lattice)[:3, :3]).astype(np.float32)
    place = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in vectors.shape[:3]], indexing="ij"))
    inverse = -vectors
    for _ in range(INVERSION_STEPS):
        index = place + np.einsum("ij,zyxj->izyx", to_index, inverse)
        inverse = -np.stack(
            [ndimage.map_coordinates(vectors[..., k], index, order=1, mode="nearest") for k in range(3)], axis=-1
        )
    return inverse


def _believable_growth(linear: sitk.Transform) -> None:
    ratio = float(np.linalg.det(_matrix(linear)[:3, :3]))
    low, high = VOLUME_RATIO
    if not low <= ratio <= high:
        raise RegistrationError(
            f"a body may change its volume between visits by a factor of {low} to {high}; found {ratio:.2f}"
        )


def _believable_match(
    still: sitk.Image, two: _Prepared, lattice: sitk.Image, linear: sitk.Transform, field: sitk.Image, one: _Prepared
) -> None:
    """Refuse a registration whose bodies hardly overlap or do not look alike."""
    carrier = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    whole = sitk.CompositeTransform([linear, carrier])
    after = grid.array(_resampled(two.image, lattice, whole, METRIC_HU))
    body_one = grid.array(_resampled(one.body, lattice, None, (0, 1))) > 0.5
    body_two = grid.array(_resampled(two.body, lattice, whole, (0, 1))) > 0.5
    seen = grid.array(_seen(two.image, lattice, linear)) > 0
    both = body_one & body_two & seen
    size = np.prod(lattice.GetSpacing())
    smaller = min(body_one.sum(), float(grid.array(two.body).sum()) * np.prod(two.body.GetSpacing()) / size)
    overlap = float(both.sum() / max(smaller, 1.0))
    if overlap < LEAST_OVERLAP:
        raise RegistrationError(
            f"at least {LEAST_OVERLAP:.0%} of the smaller body must lie in both scans; {overlap:.0%} does"
        )
    either = (body_one | body_two) & seen
    correlation = float(np.corrcoef(grid.array(still)[either], after[either])[0, 1])
    if not correlation >= LEAST_CORRELATION:
        raise RegistrationError(
            f"registered bodies must correlate by at least {LEAST_CORRELATION}; these correlate by {correlation:.2f}"
        )


def _matrix(linear: sitk.Transform) -> np.ndarray:
    """Return the homogeneous matrix, fixed mm to moving mm, of a linear transform."""
    matrix = np.eye(4)
    origin = np.array(linear.TransformPoint((0.0, 0.0, 0.0)))
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = 1.0
        matrix[:3, axis] = np.array(linear.TransformPoint(unit)) - origin
    matrix[:3, 3] = origin
    return matrix


def _finest_mm(image: sitk.Image) -> float:
    extent = np.array(image.GetSize()) * np.array(image.GetSpacing())
    return float(max(FINEST_MM, (np.prod(extent) / MOST_VOXELS) ** (1 / 3)))


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


def _isotropic(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Resample to isotropic voxels after the blur that the coarser grid asks for."""
    sigmas = [float(np.sqrt(max(spacing_mm**2 - size**2, 0.0)) / 2.355) for size in image.GetSpacing()]
    soft = image
    for axis, sigma in enumerate(sigmas):
        if sigma > 0:
            soft = sitk.RecursiveGaussian(soft, sigma, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis)
    return sitk.Resample(soft, _lattice(image, spacing_mm), sitk.Transform(), sitk.sitkLinear, 0.0)


def _resampled(
    image: sitk.Image, lattice: sitk.Image, transform: sitk.Transform | None, window: tuple[float, float]
) -> sitk.Image:
    """Resample for a metric, clamped to a window; nothing measured ever comes from here."""
    sigmas = np.array(lattice.GetSpacing()) / 2.355
    soft = image
    if min(image.GetSpacing()) < lattice.GetSpacing()[0] and window != (0, 1):
        soft = sitk.DiscreteGaussian(image, [float((s / 2) ** 2) for s in sigmas])
    moved = sitk.Resample(soft, lattice, transform or sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, window[0])
    return sitk.Clamp(moved, sitk.sitkFloat32, *window)


def _seen(image: sitk.Image, lattice: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """Return 1 where the lattice lies in the other scan's field, else 0."""
    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(image)
    return sitk.Resample(ones, lattice, transform, sitk.sitkNearestNeighbor, 0)


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    return image if factor == 1 else sitk.BinShrink(image, [factor] * 3)


def _centroid(body: sitk.Image) -> np.ndarray:
    index = np.array(ndimage.center_of_mass(grid.array(body)))
    return np.asarray(grid.to_mm(body, index)[0])
