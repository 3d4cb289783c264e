"""Body, bone and noise of a limb whose parts are known; what earlier visits know of bone; real pelvis bones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monitor import anatomy, grid, scan
from monitor._anatomy.body import find_field_edge
from monitor._anatomy.bone import find_skeleton
from monitor._anatomy.standing import standing_out
from monitor.types import Scan
from tests.conftest import SHARED, needs_data
from tests.made import BONE_AT, BONE_MM, CORTEX_MM, SKIN_MM, TABLE_AT, Ball, limb, scan_of, within

SPACING = np.array([1.0, 1.0, 1.0])


def planes(one: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of every voxel, mm."""
    index = np.argwhere(np.ones(one.array.shape, bool))
    points = grid.to_mm(one.image, index)
    return points[:, 0].reshape(one.array.shape), points[:, 1].reshape(one.array.shape)


def test_the_body_is_the_limb_without_its_table():
    """Closed form: a cylinder within half a voxel of its radius, and nothing of the table."""
    one = limb()
    body = anatomy.find_body(one)
    x, y = planes(one)
    radius = np.hypot(x, y)
    assert body[radius < SKIN_MM - 1].all()
    assert not body[radius > SKIN_MM + 1].any()
    assert not body[(y > TABLE_AT[0]) & (y < TABLE_AT[1])].any()


def test_enclosed_air_is_body():
    """A gas bubble is inside the patient, the air around is not."""
    one = limb([Ball((12.0, 0.0, 0.0), 6.0, -1000.0)])
    assert anatomy.find_body(one)[within(one, (12.0, 0.0, 0.0), 6.0)].all()


def test_a_scan_of_air_has_no_body():
    """No patient, no body, no bone, and no noise that could be measured."""
    found = anatomy.find(scan_of(np.random.default_rng(0).normal(-1000, 10, (10, 40, 40)), (2.0, 2.0, 2.0)))
    assert not found.body.any()
    assert not found.skeleton.any()
    assert np.isnan([found.noise_hu, found.tissue_hu]).all()


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.5), (0.98, 0.98, 3.27)])
def test_the_skeleton_is_bone_with_its_marrow(spacing_mm):
    """All of cortex and marrow is in it, hardly more than the blur around, and no solid ball of mineral."""
    balls = [Ball((14.0, -8.0, 0.0), 5.0, 900), Ball((12.0, 12.0, 6.0), 6.0, 300)]
    one = limb(balls, spacing_mm=spacing_mm, slices=int(48 / spacing_mm[2]))
    skeleton = anatomy.find(one).skeleton
    x, y = planes(one)
    radius = np.hypot(x - BONE_AT[0], y - BONE_AT[1])
    assert skeleton[radius < BONE_MM].all()
    assert skeleton[radius < BONE_MM - CORTEX_MM].all()
    assert not skeleton[radius > BONE_MM + 2.5].any()


@pytest.mark.parametrize(("densest_mm", "marrow_mm", "bone"), [(9.5, 6.0, True), (0.0, 0.0, False)])
def test_half_a_shaft_cut_along_its_marrow_is_bone_and_half_a_lump_is_none(densest_mm, marrow_mm, bone):
    """A plate of thick cortex is densest in its middle, as a lump is; its mirror image closes it to a tube."""
    _, y, x = np.indices((60, 50, 50))
    axis_mm = np.hypot(y - 49.5, x - 25)
    hu = np.where(axis_mm < 13, 1500.0 - 60.0 * np.abs(axis_mm - densest_mm), 50.0)
    hu[axis_mm < marrow_mm] = -60.0
    found = find_skeleton(hu.astype(np.float32), np.ones(hu.shape, bool), SPACING)
    assert np.mean(found[(axis_mm > 7) & (axis_mm < 12)]) == pytest.approx(float(bone), abs=0.02)


def test_what_a_skull_shuts_in_is_no_marrow():
    """A skull is bone, and the brain in it is not: what calcifies there is looked for."""
    places = (np.indices((90, 100, 90)) - np.array([45, 50, 45])[:, None, None, None]) * 1.5
    radius_mm = np.sqrt((places**2).sum(axis=0))
    hu = np.where(radius_mm < 58, 35.0, -1000.0)
    hu[(radius_mm > 48) & (radius_mm < 55)] = 900.0
    hu[(radius_mm > 50.5) & (radius_mm < 52.5)] = 400.0
    hu[np.sqrt(((places - 12.0) ** 2).sum(axis=0)) < 4] = 300.0
    found = find_skeleton(hu.astype(np.float32), radius_mm < 58, np.full(3, 1.5))
    assert found[(radius_mm > 49) & (radius_mm < 54)].mean() > 0.98
    assert not found[radius_mm < 40].any()


def test_a_whole_rib_of_an_adult_is_bone():
    """Thick slices make a rib densest in its middle, as a lump is; it is longer than any lump of that width."""
    z, y, x = np.indices((16, 80, 80)) * np.array([2.5, 1.4, 1.4])[:, None, None, None]
    arc = np.hypot(np.hypot(y - 20, x - 56) - 45, 1.3 * (z - 19 - 0.1 * y))
    hu = np.where((arc < 5.5) & (y > 30), 330.0 - 18.0 * arc, 40.0)
    found = find_skeleton(hu.astype(np.float32), np.ones(hu.shape, bool), np.array([2.5, 1.4, 1.4]))
    assert found[(arc < 3.5) & (y > 30)].mean() > 0.95


def test_a_limb_without_bone_has_no_skeleton():
    """A lone solid ball is not taken for bone."""
    assert not anatomy.find(limb([Ball((5.0, 0.0, 0.0), 7.0, 800)], bone=False)).skeleton.any()


def test_a_readers_masks_win():
    """What a reader outlined is the skeleton, and what was left out is kept apart."""
    one = limb()
    mine, out = within(one, (0.0, 10.0, 0.0), 4.0), within(one, (10.0, 0.0, 0.0), 4.0)
    found = anatomy.find(one, skeleton=mine, exclude=out)
    assert np.array_equal(found.skeleton, mine)
    assert np.array_equal(found.left_out, out)
    assert not anatomy.find(one).left_out.any()


@pytest.mark.parametrize("noise_hu", [3.0, 10.0, 30.0])
def test_noise_and_tissue_are_measured(noise_hu):
    """The SD within 6 %, muscle within 3 HU, beside bone, fat and lesions."""
    found = anatomy.find(limb([Ball((12.0, 0.0, 0.0), 5.0)], noise_hu=noise_hu))
    assert found.noise_hu == pytest.approx(noise_hu, rel=0.06)
    assert found.tissue_hu == pytest.approx(55, abs=3)


def test_noise_is_told_block_by_block():
    """Where half of a scan is noisier, its blocks say so, and no block is quieter than the whole."""
    quiet = np.random.default_rng(2).normal(55, 6, (48, 96, 96))
    quiet[:, :, 48:] = np.random.default_rng(3).normal(55, 24, (48, 96, 48))
    whole, level, blocks = anatomy.measure_noise(quiet, np.ones(quiet.shape, bool), SPACING)
    assert level == pytest.approx(55, abs=1)
    assert blocks.shape == (2, 4, 4)
    assert blocks[:, :, :2] == pytest.approx(6, rel=0.15)
    assert blocks[:, :, 2:] == pytest.approx(24, rel=0.15)
    assert blocks.min() >= whole


@settings(deadline=None, max_examples=10)
@given(st.floats(2, 40), st.integers(0, 2**20))
def test_noise_scales(sd, seed):
    """Property: the measured SD is that of the noise, whatever its size."""
    values = np.random.default_rng(seed).normal(40, sd, (10, 60, 60))
    assert anatomy.measure_noise(values, np.ones(values.shape, bool), SPACING)[0] == pytest.approx(sd, rel=0.08)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_scan_has_the_same_anatomy(axis):
    """Invariance: flipped voxels give flipped masks."""
    one = limb([Ball((14.0, -8.0, 0.0), 5.0)])
    mirror = replace(one, image=grid.image_like(np.ascontiguousarray(np.flip(one.array, axis)), one.image))
    here, there = anatomy.find(one), anatomy.find(mirror)
    assert np.array_equal(np.flip(there.skeleton, axis), here.skeleton)
    assert np.mean(np.flip(there.body, axis) != here.body) < 1e-3
    assert there.noise_hu == pytest.approx(here.noise_hu)


# --- what other visits know ------------------------------------------------------------------------------------------


def block(*, knob: bool) -> np.ndarray:
    mask = np.zeros((30, 40, 40), bool)
    mask[:, 10:22, 10:22] = True
    if knob:
        mask[12:20, 12:20, 22:32] = True
    return mask


def distance_to(bone: np.ndarray) -> anatomy.Distance:
    away = ndimage.distance_transform_edt(~bone)
    return lambda mask: away[mask]


def test_what_grew_out_of_bone_is_taken_off():
    """A knob of 8 x 8 x 10 mm that an earlier visit lacks goes, and the bone stays whole."""
    before, after = block(knob=False), block(knob=True)
    kept = anatomy.without_new(after, distance_to(before), SPACING, reach_mm=2.0)
    assert np.array_equal(kept, before)


def test_bone_that_was_there_stays():
    """The same bone, or bone displaced by less than the reach, loses nothing."""
    bone = block(knob=True)
    assert np.array_equal(anatomy.without_new(bone, distance_to(bone), SPACING, reach_mm=2.0), bone)
    moved = np.roll(bone, 1, axis=1)
    assert np.array_equal(anatomy.without_new(moved, distance_to(bone), SPACING, reach_mm=2.0), moved)


def test_a_thin_step_is_an_error_of_outline():
    """What stands out by little, or is thin, is no new mineral."""
    bone = block(knob=False)
    leaf = bone.copy()
    leaf[15:17, 12:20, 22:32] = True
    assert np.array_equal(anatomy.without_new(leaf, distance_to(bone), SPACING, reach_mm=2.0), leaf)


def test_loose_pieces_on_earlier_bone_are_bone():
    """A dense piece on bone of another visit joins the skeleton, one beside it does not, and nothing is lost."""
    known, skeleton = block(knob=True), block(knob=False)
    dense = np.zeros(skeleton.shape, bool)
    dense[12:20, 12:20, 24:32] = True
    dense[2:8, 30:36, 30:36] = True
    found = anatomy.with_known(skeleton, dense, distance_to(known))
    assert found[12:20, 12:20, 24:32].all()
    assert not found[2:8, 30:36, 30:36].any()
    assert found[skeleton].all()
    nothing = np.zeros(skeleton.shape, bool)
    assert np.array_equal(anatomy.with_known(skeleton, nothing, distance_to(known)), skeleton)


# --- real data -------------------------------------------------------------------------------------------------------


@needs_data
def test_a_real_spine_at_3_mm_is_bone():
    """Independent value: what is dense in the vertebrae of another program's segmentation is skeleton, no organ is."""
    folder = SHARED / "hip-ct"
    one = scan.read(folder / "example_ct_sm.nii.gz")
    seg = scan.read_mask(folder / "example_seg.nii.gz", one.image, labels=True)
    found = anatomy.find(one)
    vertebrae, organs = (seg >= 30) & (seg <= 33), (seg > 0) & (seg < 30)
    assert found.body[seg > 0].mean() > 0.98
    assert found.skeleton[vertebrae & (one.array > 300)].mean() > 0.95
    assert found.skeleton[ndimage.binary_erosion(organs)].mean() < 0.01


# --- what stands on bone ---------------------------------------------------------------------------------------------


def shaft(
    *, ball_hu: float = 0.0, centre_mm: float = 13.0, radius_mm: float = 4.0, paler_rim: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a shaft along z, cortex 1000 HU and 3 mm thick, a ball on its side: HU and filled mask.

    ``paler_rim`` is the share by which the ball falls off to its rim.
    """
    z, y, x = np.meshgrid(np.arange(-45.0, 46.0), np.arange(-20.0, 21.0), np.arange(-20.0, 36.0), indexing="ij")
    across = np.hypot(x, y)
    bone = across <= 9
    hu = np.where(bone, np.where(across >= 6, 1000.0, 50.0), 50.0)
    from_centre = np.sqrt((x - centre_mm) ** 2 + y**2 + z**2) / radius_mm
    ball = (from_centre <= 1) & ~bone & (ball_hu > 0)
    hu[ball] = ball_hu * (1 - paler_rim * from_centre[ball])
    blurred = ndimage.gaussian_filter(hu.astype(np.float32), 0.7)
    return blurred, bone | ball


def stands_out(hu: np.ndarray, solid: np.ndarray) -> np.ndarray:
    return standing_out(hu, solid, np.ones(solid.shape, bool), np.ones(3))


def test_a_nodule_on_a_shaft_is_told_from_it():
    """What is paler than the cortex below and compact is taken off with its foot, and nothing below the surface is."""
    hu, solid = shaft(ball_hu=600.0)
    found = stands_out(hu, solid)
    _, bone = shaft()
    assert np.mean(found[solid & ~bone]) > 0.95
    # The mask of this shaft is no wider than it, as a threshold's is: the foot may hold its outermost voxels.
    assert not found[ndimage.binary_erosion(bone)].any()


def test_what_is_denser_than_the_cortex_below_stays_bone():
    """The dense end of another bone that touches a shaft is none of its nodules."""
    assert not stands_out(*shaft(ball_hu=1600.0)).any()


def test_a_large_dense_lump_on_a_shaft_is_told_from_it():
    """A mature shell is as dense as cortex and, unlike a bone's end, densest inside."""
    hu, solid = shaft(ball_hu=1300.0, centre_mm=17.5, radius_mm=8.0, paler_rim=0.1)
    found = stands_out(hu, solid)
    _, bone = shaft()
    assert np.mean(found[solid & ~bone]) > 0.9
    assert not found[ndimage.binary_erosion(bone)].any()


def test_marrow_behind_a_wall_thinner_than_a_voxel_is_bone():
    """A wide stretch of cortex that blur takes below the threshold of bone still shuts its marrow in."""
    z, y, x = np.meshgrid(np.arange(-40.0, 41.0), np.arange(-30.0, 31.0), np.arange(-30.0, 31.0), indexing="ij")
    across = np.hypot(x, y)
    cortex = (across <= 16) & (across > np.where(y < -8, 14.8, 12.0))
    hu = np.where(cortex, np.where(y < -8, 240.0, 900.0), 50.0)
    hu = ndimage.gaussian_filter(hu.astype(np.float32), 0.5)
    bones = anatomy.find_skeleton(hu, across < 26, np.ones(3))
    assert bones[across < 11].all()
    assert np.mean(bones[(across < 15.5) & (np.abs(z) < 38)]) > 0.98
    assert not bones[across > 18].any()


def test_a_lump_that_the_field_cuts_is_no_rod():
    """What is densest in its middle is no bone, cut by the field's edge or not."""
    hu = np.full((60, 60, 60), 50.0)
    z, y, x = np.indices(hu.shape)
    limb = np.hypot(x - 40, y - 30) <= 9
    hu[limb] = np.where(np.hypot(x - 40, y - 30) >= 6, 1000.0, 50.0)[limb]
    lump = ((x - 3) / 8.0) ** 2 + ((y - 30) / 8.0) ** 2 + ((z - 30) / 16.0) ** 2 <= 1
    hu[lump] = 600.0
    bones = anatomy.find_skeleton(
        ndimage.gaussian_filter(hu.astype(np.float32), 0.7), np.ones(hu.shape, bool), np.ones(3)
    )
    assert bones[limb].mean() > 0.98
    assert not bones[lump].any()


def test_nothing_stands_on_a_bare_shaft():
    """A cylinder has no remainder that is high and compact."""
    assert not stands_out(*shaft()).any()


def test_what_the_edge_of_the_body_cuts_is_not_judged():
    """Where nothing is imaged beside it, a piece may be a cut bone."""
    hu, solid = shaft(ball_hu=600.0)
    assert not standing_out(hu, solid, solid, np.ones(3)).any()


def test_a_body_cut_by_the_round_field_is_known():
    """Tissue that rises towards padding is the field's edge; a limb in air has none."""
    whole = limb()
    assert find_field_edge(whole, anatomy.find_body(whole)) is None
    values = np.full((10, 80, 80), -1000, np.int16)
    values[:, 10:70, 10:50] = np.maximum(40, 40 + 12 * (np.arange(10, 50) - 20)).astype(np.int16)
    cut = Scan(grid.image_like(values, sitk.Image(80, 80, 10, sitk.sitkInt16)))
    body = values > -300
    found = find_field_edge(cut, body)
    assert found is not None
    assert found[:, 20:60, 45:50].all()
    assert not found[:, :, :15].any()


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_distances_are_those_of_scipy(seed):
    """Independent value: the exact Euclidean distance transform, on any spacing."""
    rng = np.random.default_rng(seed)
    target = rng.random((6, 9, 8)) > 0.9
    target[3, 4, 4] = True
    spacing = rng.uniform(0.5, 3.0, 3)
    expected = ndimage.distance_transform_edt(~target, sampling=spacing)
    assert grid.distance_mm(target, spacing) == pytest.approx(expected, abs=1e-4)
