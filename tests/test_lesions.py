"""Finding mineral: balls of known place among noise, bone and table; real limbs with lesions put in, and without."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import anatomy, burden, grid, lesions, scan
from monitor.types import Anatomy, Findings, Scan
from tests.conftest import SHARED, needs_data
from tests.made import BONE_AT, MUSCLE_HU, Ball, limb, within

BALLS = [
    Ball((12.0, -8.0, 0.0), 5.0),
    Ball((8.0, 14.0, 8.0), 3.0, 700),
    Ball((14.0, 6.0, -12.0), 2.0, 900),
    Ball((19.0, -2.0, 12.0), 5.0, 600, core_hu=100),
    Ball((-4.0, -20.0, -8.0), 4.0, 300),
]


def looked(one: Scan) -> tuple[Anatomy, Findings]:
    found = anatomy.find(one)
    return found, lesions.find(one, found)


def at(found: Findings, one: Scan, ball: Ball) -> set[int]:
    """Return the labels within a ball's place, 0 left out."""
    return {int(n) for n in np.unique(found.labels[within(one, ball.centre_mm, ball.radius_mm)])} - {0}


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.5), (0.98, 0.98, 3.27)])
def test_each_ball_is_one_piece_and_nothing_else_is(spacing_mm):
    """Cortex, marrow, table and noise are none; a soft core does not break a piece."""
    one = limb(BALLS, spacing_mm=spacing_mm, slices=int(48 / spacing_mm[2]))
    _, found = looked(one)
    labels = [at(found, one, ball) for ball in BALLS]
    assert sorted(n for own in labels for n in own) == list(range(1, len(BALLS) + 1))
    assert found.labels.max() == len(BALLS)


@pytest.mark.parametrize("noise_hu", [5.0, 15.0, 30.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_noise_is_no_lesion(noise_hu, seed):
    """A limb without a lesion has none, however noisy, and the threshold rises with the noise."""
    found, pieces = looked(limb(noise_hu=noise_hu, seed=seed))
    assert pieces.labels.max() == 0
    assert pieces.threshold_hu == pytest.approx(max(130, found.tissue_hu + 4.3 * found.noise_hu))


@pytest.mark.parametrize("noise_hu", [8.0, 30.0])
def test_the_limit_of_detection_is_kept(noise_hu):
    """Of dense balls of just that volume, wherever they lie between the voxels, nine in ten are found."""
    limit = lesions.find(*both(limb(bone=False, noise_hu=noise_hu))).lod_mm3
    radius = float(np.cbrt(limit * 3 / 4 / np.pi))
    rng = np.random.default_rng(5)
    hits = []
    for seed in range(2):
        places = np.array([(x, y, z) for x in (-10, 10) for y in (-10, 10) for z in (-12, 0, 12)])
        balls = [
            Ball(tuple(place), radius, MUSCLE_HU + lesions.DENSE_HU)
            for place in places + rng.uniform(-0.75, 0.75, places.shape)
        ]
        one = limb(balls, bone=False, noise_hu=noise_hu, seed=seed)
        _, found = looked(one)
        hits += [bool(at(found, one, replace(ball, radius_mm=2.0))) for ball in balls]
    assert np.mean(hits) >= 0.9


def both(one: Scan) -> tuple[Scan, Anatomy]:
    return one, anatomy.find(one)


def test_the_limit_of_detection_grows_with_noise_and_slices():
    """A noisier or coarser scan shows less."""
    limits = [
        lesions.limit_of_detection_mm3(
            limb(spacing_mm=(1.0, 1.0, z), slices=4), 130.0, smooth_noise_hu=noise / 2, tissue_hu=50.0
        )
        for z, noise in ((1.0, 5.0), (1.0, 30.0), (5.0, 30.0))
    ]
    assert limits == sorted(limits)
    assert limits[0] < limits[-1]


@pytest.mark.parametrize(
    ("kvp", "hu"), [(70, 207), (80, 177), (100, 145), (120, 130), (135, 119), (140, 115), (110, 137.5), (150, 115)]
)
def test_the_threshold_at_each_voltage(kvp, hu):
    """Published values at the tabulated voltages, straight between; outside, the last holds."""
    assert lesions.threshold_hu(float(kvp), noise_hu=1.0, tissue_hu=50.0) == hu


@given(st.floats(0, 100), st.floats(0, 100), st.floats(60, 150) | st.just(float("nan")))
def test_the_threshold_never_falls_with_noise(one, two, kvp):
    """Property: more noise, no lower threshold; and never below that of the voltage."""
    low, high = (lesions.threshold_hu(kvp, noise_hu=v, tissue_hu=50.0) for v in sorted((one, two)))
    assert low <= high
    assert low >= lesions.threshold_hu(kvp, noise_hu=0.0, tissue_hu=50.0) >= 115


def test_a_single_hot_voxel_is_no_lesion():
    """A defect of the detector, however bright, is one voxel."""
    one = limb(bone=False)
    values = one.array.copy()
    values[10, 40, 50] = 2000
    hot = replace(one, image=grid.image_like(values, one.image))
    assert looked(hot)[1].labels.max() == 0


def test_a_readers_outline_wins():
    """Whatever the HU: every outlined piece is one, and nothing else is."""
    one = limb(BALLS)
    found = anatomy.find(one)
    mask = within(one, (12.0, -8.0, 0.0), 3.0) | within(one, (0.0, 20.0, 0.0), 3.0)
    pieces = lesions.find(one, found, mask=mask)
    assert pieces.labels.max() == 2
    assert np.array_equal(pieces.labels > 0, mask)


def test_what_a_reader_left_out_is_not_found():
    """An excluded ball is gone, the others stay."""
    one = limb(BALLS)
    found = anatomy.find(one, exclude=within(one, BALLS[0].centre_mm, 8.0))
    pieces = lesions.find(one, found)
    assert at(pieces, one, BALLS[0]) == set()
    assert pieces.labels.max() == len(BALLS) - 1


def test_bone_that_another_visit_knows_is_no_lesion():
    """What lies on bone brought over by registration is not found."""
    one = limb(BALLS)
    found = anatomy.find(one)
    pieces = lesions.find(one, found, bone=within(one, BALLS[0].centre_mm, 7.0))
    assert at(pieces, one, BALLS[0]) == set()
    assert at(pieces, one, BALLS[1])


def test_unknown_noise_is_an_ordinary_one():
    """Where noise and tissue could not be measured, the scan is still looked at."""
    one = limb(BALLS, bone=False)
    found = anatomy.find(one)
    blocks = np.full_like(found.noise_blocks_hu, np.nan)
    blind = replace(found, noise_hu=float("nan"), tissue_hu=float("nan"), noise_blocks_hu=blocks)
    pieces = lesions.find(one, blind)
    assert pieces.threshold_hu == pytest.approx(max(130, 50 + 4.3 * 20))
    assert at(pieces, one, BALLS[0])
    assert np.isfinite(pieces.lod_mm3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_scan_has_the_same_lesions(axis):
    """Invariance: flipped voxels give the flipped mask of lesions."""
    one = limb(BALLS)
    found = replace(anatomy.find(one), noise_blocks_hu=np.full((1, 1, 1), 8.0))
    masks = {name: np.flip(getattr(found, name), axis) for name in ("body", "skeleton", "left_out")}
    mirror = replace(one, image=grid.image_like(np.ascontiguousarray(np.flip(one.array, axis)), one.image))
    here, there = lesions.find(one, found), lesions.find(mirror, replace(found, **masks))
    assert here.labels.max() == len(BALLS)
    assert np.array_equal(np.flip(there.labels, axis) > 0, here.labels > 0)


def test_a_lesion_at_the_bone_is_found_outside_its_fringe():
    """A dense ball that lies a few mm off the cortex is not taken for its halo."""
    near = Ball((BONE_AT[0] + 9 + 5.0 + 3.0, 0.0, 0.0), 3.0, 700)
    one = limb([near])
    assert len(at(looked(one)[1], one, near)) == 1


# --- real data -------------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("limb_id", ["STS_024", "STS_043"])
def test_real_limbs_without_mineral_have_no_lesion(limb_id):
    """Real thighs and calves, table and all: nothing is found that is not there."""
    _, found = looked(scan.read(SHARED / "limb-ct" / limb_id / "CT_image.nii.gz"))
    assert found.labels.max() == 0


@needs_data
def test_the_foci_of_a_real_tumour_are_found():
    """Known value: in STS_028 the tumour that a radiologist outlined holds mineral, and its foci are found there."""
    folder = SHARED / "limb-ct" / "STS_028"
    one = scan.read(folder / "CT_image.nii.gz")
    mask = scan.read_mask(folder / "CT_mask.nii.gz", one.image)
    found, pieces = looked(one)
    inside = np.unique(pieces.labels[mask & (pieces.labels > 0)])
    assert len(inside) >= 2
    table = burden.measure(one, found, pieces).set_index("label").loc[inside]
    assert 400 < table["threshold_volume_mm3"].sum() < 3000
    assert not (found.skeleton & mask & (one.array > 200)).any()


@needs_data
@pytest.mark.parametrize("visit", ["L024/V0", "L024/V1"])
def test_lesions_put_into_real_limbs_are_found_and_measured(visit):
    """Known values: every lesion of the truth is found at its place, the volumes within 15 % in the median."""
    patient_id, visit_id = visit.split("/")
    one = scan.read(SHARED / "serial-limbs" / "dicom" / visit)
    found, pieces = looked(one)
    table = burden.measure(one, found, pieces)
    truth = pd.DataFrame(json.loads((SHARED / "serial-limbs.truth.json").read_text())["lesions"])
    own = truth[(truth["patient_id"] == patient_id) & (truth["visit_id"] == visit_id)]
    errors = []
    for true in own.to_dict("records"):
        away = np.linalg.norm(table[["x_mm", "y_mm", "z_mm"]] - [true["x"], true["y"], true["z"]], axis=1)
        assert away.min() < 4, true["lesion"]
        errors.append(table["volume_mm3"].iloc[int(away.argmin())] / true["volume_mm3"] - 1)
    assert np.median(np.abs(errors)) < 0.15
    assert len(table) == len(own)
