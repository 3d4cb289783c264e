"""Voxel indices and points: closed forms, an independent value (ITK's own) and properties on random oblique grids."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monitor import grid

finite = st.floats(-300, 300, allow_subnormal=False)


@st.composite
def oblique_images(draw) -> sitk.Image:
    """Draw an empty image with any size, spacing, origin and rotation."""
    image = sitk.Image(draw(st.tuples(*[st.integers(2, 9)] * 3)), sitk.sitkInt16)
    image.SetSpacing(draw(st.tuples(*[st.floats(0.2, 6.0)] * 3)))
    image.SetOrigin(draw(st.tuples(finite, finite, finite)))
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    image.SetDirection(Rotation.from_euler("xyz", angles, degrees=True).as_matrix().ravel())
    return image


@st.composite
def sheared_images(draw) -> sitk.Image:
    """Draw an oblique image whose slices are shifted along their rows, as a tilted gantry does."""
    image = draw(oblique_images())
    shear = np.eye(3)
    shear[1, 2] = draw(st.floats(-0.5, 0.5))
    image.SetDirection((np.array(image.GetDirection()).reshape(3, 3) @ shear).ravel())
    return image


points = hnp.arrays(float, st.tuples(st.integers(0, 5), st.just(3)), elements=finite)


@settings(deadline=None)
@given(sheared_images(), points)
def test_index_and_point_are_inverse(image, index_zyx):
    """Going to millimetres and back returns the index, on every grid."""
    np.testing.assert_allclose(grid.to_index(image, grid.to_mm(image, index_zyx)), index_zyx, atol=1e-6)


@settings(deadline=None)
@given(sheared_images(), points)
def test_points_agree_with_itk(image, index_zyx):
    """An independent value: ITK gives the same point for the same continuous index."""
    theirs = [image.TransformContinuousIndexToPhysicalPoint(index[::-1].tolist()) for index in index_zyx]
    np.testing.assert_allclose(grid.to_mm(image, index_zyx), np.reshape(theirs, (-1, 3)), atol=1e-6)


@settings(deadline=None)
@given(oblique_images())
def test_voxel_volume_of_an_orthogonal_grid_is_the_product_of_its_spacings(image):
    """Rotation does not change a volume."""
    assert grid.voxel_volume_mm3(image) == pytest.approx(np.prod(image.GetSpacing()), rel=1e-9)


@settings(deadline=None)
@given(sheared_images())
def test_voxel_volume_of_a_sheared_grid_is_the_determinant(image):
    """The parallelepiped of three neighbouring voxels, by the triple product of its edges."""
    origin, a, b, c = grid.to_mm(image, np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]))
    expected = abs(np.dot(np.cross(a - origin, b - origin), c - origin))
    assert grid.voxel_volume_mm3(image) == pytest.approx(expected, rel=1e-6)


def test_doubled_spacing_gives_eight_times_the_volume():
    """Scaling a grid by two scales its voxels by eight."""
    image = sitk.Image(3, 4, 5, sitk.sitkInt16)
    image.SetSpacing((0.7, 0.8, 3.0))
    volume = grid.voxel_volume_mm3(image)
    image.SetSpacing((1.4, 1.6, 6.0))
    assert grid.voxel_volume_mm3(image) == pytest.approx(8 * volume)


def test_shear_makes_a_voxel_smaller_than_its_spacings_say():
    """A direction column leaned by 45° and of unit length loses a factor of √2."""
    image = sitk.Image(3, 3, 3, sitk.sitkInt16)
    lean = np.sqrt(0.5)
    image.SetDirection((1, 0, 0, 0, 1, lean, 0, 0, lean))
    assert grid.voxel_volume_mm3(image) == pytest.approx(lean)


def test_axes_are_zyx_for_arrays_and_xyz_for_points():
    """A step along the last axis of the array is a step in x."""
    image = sitk.GetImageFromArray(np.zeros((5, 4, 3), np.int16))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((10.0, 20.0, 30.0))
    np.testing.assert_allclose(
        grid.to_mm(image, [[0, 0, 1], [0, 1, 0], [1, 0, 0]]), [[11, 20, 30], [10, 22, 30], [10, 20, 33]]
    )


def test_an_image_reaches_half_a_voxel_beyond_its_outer_centres():
    """Inside ends where the outer voxels end; a margin draws it in."""
    image = sitk.Image(4, 4, 4, sitk.sitkInt16)
    along_x = np.array([[x, 1.0, 1.0] for x in (-0.6, -0.4, 0.6, 3.4, 3.6)])
    assert grid.inside(image, along_x).tolist() == [False, True, True, True, False]
    assert grid.inside(image, along_x, margin_voxels=1).tolist() == [False, False, True, False, False]


@settings(deadline=None)
@given(sheared_images())
def test_image_like_keeps_the_grid(image):
    """An array put on another image's grid lies where that image lies, and comes back unchanged."""
    values = np.arange(np.prod(image.GetSize()), dtype=np.int16).reshape(image.GetSize()[::-1])
    made = grid.image_like(values, image)
    np.testing.assert_array_equal(grid.affine(made), grid.affine(image))
    np.testing.assert_array_equal(grid.array(made), values)


def test_the_array_of_an_image_cannot_be_written():
    """A view of the voxels is for reading."""
    with pytest.raises(ValueError, match="read-only"):
        grid.array(sitk.Image(2, 2, 2, sitk.sitkInt16))[0, 0, 0] = 1


@settings(deadline=None)
@given(sheared_images(), st.integers(0, 2**32 - 1))
def test_linear_sampling_is_exact_on_a_linear_image(image, seed):
    """Closed form: a field linear in x, y and z is returned as it is, between the centres too."""
    rng = np.random.default_rng(seed)
    slope, size = rng.normal(size=3), np.array(image.GetSize())[::-1]
    centres = grid.to_mm(image, np.indices(size).reshape(3, -1).T)
    asked = grid.to_mm(image, rng.uniform(0, size - 1, (10, 3)))
    found = grid.sample(image, (centres @ slope).reshape(size), asked)
    np.testing.assert_allclose(found, asked @ slope, atol=1e-6)


def test_sampling_at_the_centres_returns_the_voxels():
    """Nearest and linear agree at the centres; beyond the image both give what was asked for."""
    image = sitk.Image(3, 4, 5, sitk.sitkInt16)
    values = np.random.default_rng(1).normal(size=(5, 4, 3))
    centres = grid.to_mm(image, np.indices(values.shape).reshape(3, -1).T)
    for order in (0, 1):
        np.testing.assert_allclose(grid.sample(image, values, centres, order=order), values.ravel())
    assert np.isnan(grid.sample(image, values, np.array([[9.0, 0.0, 0.0]]))).all()
    assert grid.sample(image, values, np.array([[9.0, 0.0, 0.0]]), outside=-1).tolist() == [-1]


def test_vectors_beyond_the_field_are_those_of_its_border():
    """A displacement goes on as it ends: finite and without a jump."""
    vectors = np.random.default_rng(2).normal(size=(4, 4, 4, 3))
    field = sitk.GetImageFromArray(vectors, isVector=True)
    corner = grid.sample_vectors(field, np.array([[3.0, 3.0, 3.0], [3.0 + 1e-9, 3.0, 3.0], [50.0, 50.0, 50.0]]))
    np.testing.assert_allclose(corner, np.tile(vectors[3, 3, 3], (3, 1)))


@settings(deadline=None)
@given(oblique_images(), st.integers(0, 2**32 - 1))
def test_moving_the_image_moves_its_points(image, seed):
    """Invariance: a rigid move of grid and points leaves the indices alone."""
    rng = np.random.default_rng(seed)
    move = np.eye(4)
    move[:3, :3] = Rotation.random(random_state=seed % 1000).as_matrix()
    move[:3, 3] = rng.uniform(-100, 100, 3)
    asked = rng.uniform(-100, 100, (5, 3))
    before = grid.to_index(image, asked)
    image.SetDirection((move[:3, :3] @ np.array(image.GetDirection()).reshape(3, 3)).ravel())
    image.SetOrigin(grid.apply_affine(move, [image.GetOrigin()])[0])
    np.testing.assert_allclose(grid.to_index(image, grid.apply_affine(move, asked)), before, atol=1e-6)


def test_the_box_of_a_mask_is_scipys():
    """The box around scattered voxels, and an empty one around none."""
    mask = np.random.default_rng(5).random((9, 14, 11)) > 0.995
    assert grid.box_of(mask) == ndimage.find_objects(mask.astype(np.uint8))[0]
    assert mask[grid.box_of(mask & False)].size == 0
