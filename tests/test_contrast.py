"""Contrast medium is seen where it is, and mineral, bone and tendons are not taken for it."""

from dataclasses import replace
from math import nan

import numpy as np
import pytest

import monitor
from benchmarks import pairs
from monitor import anatomy, change, contrast, phantom
from tests.conftest import needs_data
from tests.made import Ball, axes, limb, scan_of

BLOOD_HU = 250.0


@pytest.fixture(scope="module", params=["gaci", "jdm", "myositis"])
def enhanced(request):
    """Give a scan with contrast, what is found in it, and the true lumen: what the plain scan with its noise lacks."""
    with_it, without = (
        phantom.series(request.param, visits=1, seed=1, contrast_hu=hu)[0].scan for hu in (BLOOD_HU, None)
    )
    rise = with_it.array.astype(float) - without.array
    return with_it, contrast.find(with_it, anatomy.find(with_it)), rise > 0.5 * (BLOOD_HU - 45)


def found(scan, said="unknown"):
    return contrast.find(scan, anatomy.find(scan), said=said)


def test_vessels_are_found(enhanced):
    """Enhanced vessels are seen without the header's word; their voxels are those of the true lumen (Dice 0.65)."""
    _, seen, lumen = enhanced
    assert (seen.enhanced, seen.phase) == (True, "iv")
    assert 2 * (seen.vessels & lumen).sum() / (seen.vessels.sum() + lumen.sum()) > 0.65


def test_blood_has_its_level(enhanced):
    """The level of blood is within 16 HU of the truth: in vessels of 5 mm the blur takes that much."""
    _, seen, _ = enhanced
    assert seen.blood_hu == pytest.approx(BLOOD_HU, abs=16)


def test_mineral_starts_above_blood(enhanced):
    """The threshold beside contrast is the named margin above blood, and no denser voxel is called vessel."""
    scan, seen, _ = enhanced
    assert seen.least_hu >= seen.blood_hu + contrast.MARGIN_HU
    assert scan.array[seen.vessels].max() < seen.least_hu


def test_the_header_is_evidence():
    """Faint blood in thin vessels is believed with the header's word, and not without."""
    scan = phantom.series("limb", visits=1, seed=20, contrast_hu=150.0)[0].scan
    assert found(scan, "iv").enhanced
    assert not found(scan, "unknown").enhanced
    assert not found(scan, "none").enhanced


def test_a_denied_contrast_is_seen_where_it_is_plain():
    """Vessels that run through the whole field are seen although the header says none."""
    assert found(phantom.series("myositis", visits=1, contrast_hu=BLOOD_HU)[0].scan, "none").enhanced


def test_said_and_not_seen_is_unknown():
    """Where the header says iv and no vessel is bright, nothing is raised and the phase is unknown."""
    seen = found(limb(), "iv")
    assert (seen.enhanced, seen.phase) == (False, "unknown")
    assert np.isnan([seen.blood_hu, seen.least_hu]).all()


@pytest.mark.parametrize("scene", phantom.SCENES)
@pytest.mark.parametrize("noise_hu", [8.0, 30.0])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_calcification_is_no_contrast(scene, noise_hu, seed):
    """Calcified vessels, sheets, shells and nodules of a plain scan are none, at any visit."""
    for visit in phantom.series(scene, visits=3, seed=seed, noise_hu=noise_hu, spacing_mm=(1.5, 1.5, 2.0)):
        seen = found(visit.scan)
        assert not seen.enhanced
        assert not seen.vessels.any()


@pytest.mark.parametrize("hu", [200.0, 350.0, 600.0])
def test_an_even_ball_is_no_contrast(hu):
    """A nodule of 3 cm is as even as blood, and no tube: it is not contrast, not even where the header says iv."""
    assert not found(limb([Ball((8.0, 8.0, 24.0), 15.0, hu=hu)], bone=False), "iv").vessels.any()


@pytest.mark.parametrize(("levels", "enhanced"), [((330.0, 330.0, 340.0), True), ((250.0, 330.0, 430.0), False)])
def test_what_has_mixed_is_as_bright_everywhere(levels, enhanced):
    """Three even tubes are vessels where they are equally bright; strips of bone are not."""
    plain = limb(slices=60, bone=False)
    hu = plain.array.copy()
    x, y, _ = axes(hu.shape, (1.0, 1.0, 1.5))
    noise = np.random.default_rng(3).normal(0, 8, hu.shape)
    for place, level in zip(((-14.0, 0.0), (10.0, -12.0), (10.0, 14.0)), levels, strict=True):
        lumen = np.hypot(x - place[0], (y - place[1])[:, None]) <= 4.0
        hu = np.where(lumen, level + noise, hu)
    assert found(scan_of(hu, (1.0, 1.0, 1.5))).enhanced == enhanced


def test_mineral_in_the_wall_stays():
    """What is denser than the threshold beside contrast is left, though it touches the lumen."""
    visit = phantom.series("gaci", visits=1, seed=1, contrast_hu=150.0)[0]
    seen = found(visit.scan)
    wall = visit.mineral & (visit.scan.array >= seen.least_hu)
    assert wall.sum() > 50
    assert not (wall & seen.vessels).any()


def test_turning_the_scan_turns_the_vessels():
    """A mirrored scan has the mirrored vessels (invariance)."""
    scan = phantom.series("myositis", visits=1, contrast_hu=BLOOD_HU, spacing_mm=(1.5, 1.5, 2.0))[0].scan
    known = anatomy.find(scan)
    flip = {name: getattr(known, name)[:, :, ::-1] for name in ("body", "skeleton", "left_out")}
    mirrored = contrast.find(pairs.mirrored(scan), replace(known, **flip))
    assert np.array_equal(mirrored.vessels, contrast.find(scan, known).vessels[:, :, ::-1])


@needs_data
@pytest.mark.parametrize(
    "name", ["hip", "chest", *(pytest.param(name, marks=pytest.mark.slow) for name in pairs.LIMBS)]
)
def test_real_plain_scans_are_plain(name):
    """No real scan here holds contrast: the trunk's aorta has 43 HU; ribs, marrow and tendons are no vessels."""
    assert not found(pairs.real(name)).enhanced


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Give the tables of a child scanned without contrast, then twice with it."""
    folder = tmp_path_factory.mktemp("study")
    visits = phantom.series(
        "myositis", visits=3, contrast_hu=[nan, BLOOD_HU, BLOOD_HU - 20], spacing_mm=(1.5, 1.5, 2.0), lesions=["shell"]
    )
    rows = [f"P001,{one.visit_id},{one.date.isoformat()},{one.visit_id}" for one in visits]
    for one in visits:
        phantom.write_dicom(one, folder / one.visit_id)
    (folder / "visits.csv").write_text("\n".join(["patient_id,visit_id,date,path", *rows]) + "\n")
    return monitor.follow(folder).tables


def test_visits_say_what_was_found(results):
    """Table visits tells header, image and the level of blood of each scan."""
    visits = results["visits"]
    assert visits["contrast"].tolist() == ["unknown", "iv", "iv"]
    assert visits["contrast_found"].tolist() == ["none", "iv", "iv"]
    assert np.allclose(visits["blood_hu"], [nan, BLOOD_HU, BLOOD_HU - 20], atol=16, equal_nan=True)


def test_pairs_are_compared_within_a_phase(results):
    """The pair with contrast has numbers and a rule that names the threshold; contrast against plain has none."""
    total = results["changes"].query("compartment == 'total' and quantity == 'excess_hu_mm3'")
    mixed, alike = (
        total[(total["from_visit"] == a) & (total["to_visit"] == b)].iloc[0] for a, b in (("V0", "V1"), ("V1", "V2"))
    )
    assert (mixed["verdict"], mixed["why"]) == ("not_comparable", "contrast iv and none seen: presence or absence only")
    assert np.isnan(mixed["change"])
    assert alike["verdict"] != "not_comparable"
    assert contrast.RULE in alike["rule_id"]
    assert contrast.RULE not in mixed["rule_id"]


PLAIN = {"modality": "CT", "kvp": 120.0, "kernel": "B", "slice_thickness_mm": 1.0, "contrast": "none"}
PLAIN |= {"contrast_found": "none", "blood_hu": nan}
IV = {**PLAIN, "contrast": "iv", "contrast_found": "iv", "blood_hu": 180.0}


def test_contrast_against_plain_is_presence_only():
    """Amounts with and without contrast are not compared, and no change is given as a number."""
    may = change.comparable(PLAIN, IV)
    assert may == (False, "contrast iv and none")
    amounts = ({"value": 100.0, "sd": 5.0}, {"value": 300.0, "sd": 5.0})
    row = change.compare(*amounts, years=1.0, may=may, presence=change.presence_only(PLAIN, IV))
    assert (row["before"], row["after"], row["verdict"]) == (100.0, 300.0, "not_comparable")
    assert row["why"] == "contrast iv and none: presence or absence only"
    assert np.isnan([row[name] for name in ("change", "lo", "hi", "change_pct", "change_per_year")]).all()


def test_the_image_overrules_the_header():
    """Vessels seen in a scan that the header calls plain make it enhanced."""
    assert not change.comparable(PLAIN, {**IV, "contrast": "none"})[0]
    assert change.comparable(IV, {**IV, "contrast": "none"})[0]


def test_one_phase_is_compared():
    """Two enhanced scans are compared where blood is alike, and not where it is of two phases."""
    assert change.comparable(IV, {**IV, "blood_hu": 200.0}) == (
        True,
        "contrast in both, same phase: blood 180 and 200 HU",
    )
    unseen = {**IV, "contrast_found": "unknown", "blood_hu": nan}
    assert change.comparable(IV, unseen) == (False, "contrast iv in both, seen in one")
    assert change.comparable(unseen, unseen) == (True, "")
    assert change.comparable(IV, {**IV, "blood_hu": 320.0}) == (False, "contrast in other phase: blood 180 and 320 HU")


def test_what_contrast_hides_is_not_resolved(tmp_path):
    """Arterial calcium too faint for the raised threshold is not called gone in an enhanced scan."""
    visits = phantom.series("gaci", visits=2, contrast_hu=[nan, 200.0])
    rows = [f"P001,{one.visit_id},{one.date.isoformat()},{one.visit_id}" for one in visits]
    for one in visits:
        phantom.write_dicom(one, tmp_path / one.visit_id)
    (tmp_path / "visits.csv").write_text("\n".join(["patient_id,visit_id,date,path", *rows]) + "\n")
    tables = monitor.follow(tmp_path).tables
    assert tables["visits"]["threshold_hu"].iloc[1] > 200 + contrast.MARGIN_HU
    last = tables["lesions"].query("visit_id == 'V1'")["status"]
    assert "resolved" not in set(last)
    assert "not_in_field" in set(last)
