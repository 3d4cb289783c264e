"""Lesions put into a scan: what they hold, how large they are, and where they may lie."""

from __future__ import annotations

import numpy as np
import pytest

from monitor import grid
from monitor._selftest import inserted
from monitor._selftest.inserted import State
from tests import made
from tests.test_selftest import BLUR, baseline


@pytest.mark.parametrize("form", inserted.FORMS)
@pytest.mark.parametrize("volume_mm3", [25.0, 150.0, 600.0])
def test_a_painted_lesion_holds_its_volume_and_its_contrast(form, volume_mm3):
    """Closed form: in even tissue the excess is volume times contrast within 1 %, and outside nothing is touched."""
    like = made.limb(noise_hu=0.0, bone=False)
    tissue = np.full(like.array.shape, 50.0, np.float32)
    values = tissue.copy()
    state = State(inserted._scaled(form, volume_mm3), 450.0)
    place = grid.to_mm(like.image, np.array(like.array.shape) / 2)[0] + [0.3, -0.2, 0.4]
    truth = inserted.paint(values, tissue, like.image, (state, place, np.eye(3)), BLUR)
    added = (values - tissue).sum(dtype=float) * like.voxel_volume_mm3
    assert truth.volume_mm3 == pytest.approx(volume_mm3, rel=1e-9)
    assert truth.excess_hu_mm3 == pytest.approx(volume_mm3 * 400.0, rel=0.01)
    assert added == pytest.approx(truth.excess_hu_mm3, rel=1e-3)
    away = np.linalg.norm(grid.to_mm(like.image, np.argwhere(values != tissue)) - place, axis=1)
    assert away.max() < inserted._reach_mm(state.shape) + 6.0
    assert np.linalg.norm(truth.points_mm.mean(axis=0) - place) < 1.0


def test_mineral_takes_the_place_of_what_was_there():
    """At the border of fat and muscle the middle of a large lesion is mineral alone, whatever was there."""
    like = made.limb(noise_hu=0.0, bone=False)
    tissue = np.where(np.arange(like.array.shape[2]) < 40, -100.0, 50.0) * np.ones(like.array.shape)
    values = tissue.astype(np.float32)
    state = State(inserted._scaled(inserted.BALL, 2000.0), 400.0)
    place = grid.to_mm(like.image, np.array([16.0, 44.0, 39.5]))[0]
    inserted.paint(values, tissue, like.image, (state, place, np.eye(3)), BLUR)
    inner = values[15:18, 42:46, 36:44]
    assert np.ptp(inner) < 2.0
    assert inner.mean() == pytest.approx(400.0, abs=2.0)


def test_sizes_follow_the_patient_and_the_limit_of_detection():
    """Middle and large are the patient's own, the small ones twice the limit; what is too large is not put in."""
    found = inserted.planned([80.0, 120.0, 500.0, 9000.0], 600.0, tissue_hu=50.0, lod_mm3=10.0)
    volumes = {round(one.before.shape.volume_mm3) for one in found if one.before is not None}
    assert volumes == {20, 310, 1500}
    assert {one.kind for one in found} == {kind for kind, _ in inserted.PLAN}
    assert {one.kind for one in found[: len(inserted.PLAN)]} == {kind for kind, _ in inserted.PLAN}
    grown = next(one for one in found if one.kind == "grown_50")
    assert grown.after.shape.volume_mm3 == pytest.approx(1.5 * grown.before.shape.volume_mm3)
    usual = inserted.planned([], float("nan"), tissue_hu=50.0, lod_mm3=10.0)
    assert {one.before.hu for one in usual if one.before is not None} == {50.0 + inserted.DENSE_HU}


def test_places_are_clear_of_everything_and_of_each_other():
    """No lesion is nearer to skin, bone, the field's end or another than it may be; without room none is put in."""
    base = baseline()
    clear = inserted.clearance_mm(base.scan, base.found, base.scan.array, np.zeros(base.mineral.shape, bool))
    wanted = inserted.planned([40.0], 500.0, tissue_hu=55.0, lod_mm3=8.0)
    found = inserted.placed(base.scan, wanted, clear, np.random.default_rng(0))
    assert 4 <= len(found) <= len(wanted)
    centres = np.array([one.centre_mm for one in found])
    radii = np.array([one.radius_mm for one in found])
    skin = made.SKIN_MM - np.hypot(centres[:, 0], centres[:, 1])
    bone = np.hypot(*(centres[:, :2] - made.BONE_AT).T) - made.BONE_MM
    assert (skin - radii > inserted.SKIN_MM - 1.5).all()
    assert (bone - radii > inserted.BONE_MM - 1.5).all()
    gaps = np.linalg.norm(centres[:, None] - centres, axis=2) - radii[:, None] - radii
    assert gaps[~np.eye(len(found), dtype=bool)].min() > inserted.APART_MM - 1.0
    assert inserted.placed(base.scan, wanted, np.full_like(clear, -1.0), np.random.default_rng(0)) == []
