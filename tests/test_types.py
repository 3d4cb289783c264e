"""Scan, registration and trend: the direction of a map, its inverse, and what happens outside the field."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monitor import grid
from monitor.types import Acquisition, Registration, Scan, ScanError, Trend

SIZE, SPACING_MM = 16, 4.0
seeds = st.integers(0, 2**32 - 1)


def affine_map(rng: np.random.Generator) -> np.ndarray:
    """Return a rigid move with growth of up to 10 %."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rng.uniform(-0.5, 0.5, 3)).as_matrix() * rng.uniform(0.9, 1.1)
    matrix[:3, 3] = rng.uniform(-50, 50, 3)
    return matrix


def smooth_field(rng: np.random.Generator, *, largest_mm: float = 5.0) -> sitk.Image:
    """Return a random displacement that does not fold, on a grid from 0 to 60 mm."""
    noise = rng.normal(size=(SIZE, SIZE, SIZE, 3))
    smooth = np.stack([ndimage.gaussian_filter(noise[..., k], 3.0, mode="nearest") for k in range(3)], axis=-1)
    field = sitk.GetImageFromArray(smooth * largest_mm / np.abs(smooth).max(), isVector=True)
    field.SetSpacing((SPACING_MM,) * 3)
    return field


def deformation(seed: int) -> Registration:
    rng = np.random.default_rng(seed)
    return Registration(matrix=affine_map(rng), field_mm=smooth_field(rng))


def points_around(seed: int, *, number: int = 50) -> np.ndarray:
    """Return points within the field and up to 40 mm beyond it."""
    return np.random.default_rng(seed + 1).uniform(-40, 100, (number, 3))


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_to_baseline_undoes_from_baseline(seed):
    """A baseline point carried to the visit comes back within a micrometre, inside the field and beyond."""
    registration, points = deformation(seed), points_around(seed)
    returned = registration.to_baseline(registration.from_baseline(points))
    np.testing.assert_allclose(returned, points, atol=1e-3)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_from_baseline_undoes_to_baseline(seed):
    """A visit point carried to the baseline comes back too."""
    registration = deformation(seed)
    points = registration.from_baseline(points_around(seed))
    np.testing.assert_allclose(registration.from_baseline(registration.to_baseline(points)), points, atol=1e-3)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_a_map_is_finite_and_continuous_outside_the_field(seed):
    """Walking out of the field in small steps, neither direction jumps, and no point is lost."""
    registration = deformation(seed)
    rng = np.random.default_rng(seed)
    heading = rng.normal(size=3)
    walk = 30 + np.arange(0, 200, 0.1)[:, None] * heading / np.linalg.norm(heading)
    for there in (registration.from_baseline(walk), registration.to_baseline(registration.from_baseline(walk))):
        assert np.isfinite(there).all()
        assert np.linalg.norm(np.diff(there, axis=0), axis=1).max() < 0.5


def test_from_baseline_has_the_closed_form_of_an_affine_map():
    """A shift of +10 mm in x from baseline to visit is undone by ``to_baseline``."""
    matrix = np.eye(4)
    matrix[0, 3] = 10.0
    shift = Registration(matrix=matrix)
    assert shift.from_baseline(np.array([[1.0, 2.0, 3.0]])).tolist() == [[11.0, 2.0, 3.0]]
    assert shift.to_baseline(np.array([[11.0, 2.0, 3.0]])).tolist() == [[1.0, 2.0, 3.0]]


def test_displacement_comes_before_the_affine_map():
    """Closed form: with a constant u, the map is matrix · (x + u)."""
    field = smooth_field(np.random.default_rng(0))
    constant = grid.array(field) * 0 + np.array([1.0, 2.0, 3.0])
    registration = Registration(
        matrix=np.diag([2.0, 2.0, 2.0, 1.0]), field_mm=sitk.GetImageFromArray(constant, isVector=True)
    )
    np.testing.assert_allclose(registration.from_baseline(np.zeros((1, 3))), [[2.0, 4.0, 6.0]])
    np.testing.assert_allclose(registration.to_baseline(np.array([[2.0, 4.0, 6.0]])), [[0.0, 0.0, 0.0]], atol=1e-3)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_points_are_mapped_each_on_its_own(seed):
    """Invariance: the order of the points and their company do not matter."""
    registration, points = deformation(seed), points_around(seed, number=8)
    together = registration.to_baseline(points)
    np.testing.assert_allclose(registration.to_baseline(points[::-1])[::-1], together, atol=1e-3)
    np.testing.assert_allclose(registration.to_baseline(points[:1]), together[:1], atol=1e-3)


@pytest.mark.parametrize("registration", [Registration.identity(), deformation(3)], ids=["affine", "field"])
def test_no_points_are_no_fault(registration):
    """An empty list of points stays one, with its three columns."""
    for carry in (registration.to_baseline, registration.from_baseline):
        assert carry(np.empty((0, 3))).shape == (0, 3)


def test_mapping_leaves_its_argument_alone():
    """The points that a caller holds are not written to."""
    points = points_around(1)
    before = points.copy()
    deformation(1).to_baseline(points)
    deformation(1).from_baseline(points)
    np.testing.assert_array_equal(points, before)


def test_the_identity_is_one():
    """A scan mapped onto itself keeps its points, with no residual."""
    points = points_around(5)
    np.testing.assert_allclose(Registration.identity().to_baseline(points), points)
    assert Registration.identity().residual_mm == 0.0


def test_a_scan_knows_its_voxels():
    """Spacing comes in the order of the array's axes, and the volume is their product on an orthogonal grid."""
    image = sitk.GetImageFromArray(np.zeros((4, 3, 2), np.int16))
    image.SetSpacing((0.5, 1.0, 3.0))
    scan = Scan(image)
    assert scan.array.shape == (4, 3, 2)
    assert scan.spacing_zyx_mm.tolist() == [3.0, 1.0, 0.5]
    assert scan.voxel_volume_mm3 == pytest.approx(1.5)


def test_an_unknown_acquisition_is_nan_or_empty():
    """Unknown is never a sentinel."""
    unknown = Acquisition()
    assert np.isnan([unknown.kvp, unknown.slice_thickness_mm, unknown.slice_increment_mm]).all()
    assert (unknown.kernel, unknown.manufacturer, unknown.contrast) == ("", "", "unknown")


def test_types_are_frozen():
    """What crosses the steps cannot be changed on the way."""
    trend = Trend(1.0, 0.1, 3.0, 0.7, 1.3, 0.01, "mm3/a", "least squares", "confidence", 1, 5)
    with pytest.raises(dataclasses.FrozenInstanceError, match="estimate"):
        trend.estimate = 2.0


def test_a_scan_error_carries_its_rule():
    """The code of the broken rule goes into table ``refused`` beside the message."""
    with pytest.raises(ScanError, match="not uniform") as caught:
        raise ScanError("slice-spacing", "slice spacing is not uniform: 2.5 mm to 5.0 mm")
    assert caught.value.code == "slice-spacing"
