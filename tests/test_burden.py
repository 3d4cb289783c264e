"""Amounts of mineral against closed forms: balls of known size and contrast, Agatston by hand, sums of lesions."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monitor import anatomy, burden, grid, lesions
from monitor.types import Anatomy, Findings, Scan
from tests.made import MUSCLE_HU, Ball, limb, scan_of, within

NODULE = Ball((12.3, -6.2, 0.4), 5.0)


def measured(scan: Scan, mask: np.ndarray | None = None) -> pd.DataFrame:
    found = anatomy.find(scan)
    return burden.measure(scan, found, lesions.find(scan, found, mask=mask))


def nodule(one: Ball = NODULE, **how: object) -> pd.Series:
    """Return the amounts of a lone ball."""
    table = measured(limb([one], **{"bone": False, **how}))
    assert len(table) == 1
    return table.iloc[0]


def excess_of(one: Ball) -> float:
    return one.volume_mm3 * (one.hu - MUSCLE_HU)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.98, 0.98, 3.27)])
@pytest.mark.parametrize(("radius_mm", "hu"), [(2.0, 900), (2.5, 600), (3.0, 400), (4.0, 900), (6.0, 300)])
def test_a_ball_has_its_closed_form(spacing_mm, radius_mm, hu):
    """Excess and centroid are those of the ball, and the limits of the volume hold the truth."""
    one = Ball((11.4, 2.3, -0.7), radius_mm, hu)
    found = nodule(one, spacing_mm=spacing_mm, slices=int(44 / spacing_mm[2]))
    assert found["excess_hu_mm3"] == pytest.approx(excess_of(one), rel=0.03, abs=2 * found["excess_sd_hu_mm3"])
    assert found["volume_lo_mm3"] <= one.volume_mm3 <= found["volume_hi_mm3"]
    assert found["volume_lo_mm3"] <= found["volume_mm3"] <= found["volume_hi_mm3"]
    assert [found["x_mm"], found["y_mm"], found["z_mm"]] == pytest.approx(one.centre_mm, abs=0.5)
    if radius_mm >= 3:
        assert found["volume_mm3"] == pytest.approx(one.volume_mm3, rel=0.12)
    assert found["envelope_mm3"] >= found["volume_mm3"]


def test_limits_of_excess_cover_the_truth():
    """Of 8 balls of two sizes and two noises at most one misses the true excess."""
    missed = 0
    for seed in range(2):
        for noise, radius in ((5, 2.5), (5, 4.0), (20, 2.5), (20, 4.0)):
            one = Ball((10 + seed / 6, seed / 7, -seed / 5), radius, 700)
            found = nodule(one, noise_hu=noise, seed=seed)
            missed += abs(found["excess_hu_mm3"] - excess_of(one)) > burden.Z95 * found["excess_sd_hu_mm3"]
    assert missed <= 1


def test_blur_moves_no_excess():
    """Invariance: another kernel changes peak and threshold volume; excess stays within 2 %, volume within 3 %."""
    found = pd.DataFrame([nodule(blur_mm=blur, noise_hu=4) for blur in (0.4, 0.7, 1.0)])
    assert found["excess_hu_mm3"].to_numpy() == pytest.approx(excess_of(NODULE), rel=0.02)
    assert found["volume_mm3"].to_numpy() == pytest.approx(NODULE.volume_mm3, rel=0.03)
    assert found["threshold_volume_mm3"].iloc[2] > 1.05 * found["threshold_volume_mm3"].iloc[0]


def test_the_level_of_the_background_moves_no_excess():
    """Invariance: muscle 25 HU lighter or darker, as in contrast or with water, has the same excess and volume."""
    found = pd.DataFrame([nodule(shift_hu=shift) for shift in (-25.0, 0.0, 25.0)])
    assert found["excess_hu_mm3"].to_numpy() == pytest.approx(excess_of(NODULE), rel=0.02)
    assert found["volume_mm3"].to_numpy() == pytest.approx(found["volume_mm3"].iloc[1], rel=0.02)


def test_twice_the_spacing_is_eight_times_the_volume():
    """Invariance: the same numbers on voxels twice as large are eight times as much."""
    small = limb([NODULE], bone=False, noise_hu=2, blur_mm=0.45)
    large = Scan(small.image[:], acquisition=small.acquisition)
    large.image.SetSpacing([2 * v for v in small.image.GetSpacing()])
    mask = within(small, NODULE.centre_mm, 5.5)
    one, two = measured(small, mask).iloc[0], measured(large, mask).iloc[0]
    assert two["threshold_volume_mm3"] == pytest.approx(8 * one["threshold_volume_mm3"])
    assert two["excess_hu_mm3"] == pytest.approx(8 * one["excess_hu_mm3"], rel=0.03)
    assert two["volume_mm3"] == pytest.approx(8 * one["volume_mm3"], rel=0.06)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_scan_has_the_same_amounts(axis):
    """Invariance: the order of voxels along an axis says nothing."""
    scan = limb([NODULE])
    found = anatomy.find(scan)
    pieces = lesions.find(scan, found)

    def flip(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.flip(values, axis))

    mirror = replace(scan, image=grid.image_like(flip(scan.array), scan.image))
    masks = {name: flip(getattr(found, name)) for name in ("body", "skeleton", "left_out", "noise_blocks_hu")}
    there = burden.measure(mirror, replace(found, **masks), replace(pieces, labels=flip(pieces.labels)))
    here = burden.measure(scan, found, pieces)
    names = ["volume_mm3", "excess_hu_mm3", "envelope_mm3", "agatston", "mass_mg"]
    assert there[names].to_numpy() == pytest.approx(here[names].to_numpy(), rel=1e-3)


def test_sums_over_pieces_count_no_voxel_twice():
    """Two balls whose borders meet share their excess: together they have what both have."""
    two = [Ball((10.0, -4.6, 0), 3.0, 600), Ball((10.0, 4.6, 0), 3.0, 600)]
    found = measured(limb(two, bone=False))
    assert len(found) == 2
    assert found["excess_hu_mm3"].sum() == pytest.approx(2 * excess_of(two[0]), rel=0.03)


def test_a_soft_core_counts_in_the_envelope_only():
    """The envelope of a shell is the whole ball; its mineral is less."""
    shell = Ball((14.0, 0.0, 0.0), 8.0, 700, core_hu=60.0)
    found = nodule(shell, spacing_mm=(1.0, 1.0, 1.0), slices=40)
    assert found["envelope_mm3"] == pytest.approx(shell.volume_mm3, rel=0.08)
    assert found["volume_mm3"] == pytest.approx(shell.volume_mm3 * 7 / 8, rel=0.08)


@pytest.mark.parametrize("centre_mm", [(12.0, 0.0, 0.0), (31.5, 0.0, 0.0), (0.0, -20.0, 0.0)])
@pytest.mark.parametrize("noise_hu", [0.0, 8.0])
def test_an_outline_without_mineral_holds_about_none(centre_mm, noise_hu):
    """A reader may outline muscle or fat: its volume is near 0 within limits that are in order, within its border."""
    scan = limb(noise_hu=noise_hu, bone=False, seed=2)
    found = measured(scan, within(scan, centre_mm, 4.0)).iloc[0]
    assert 0 <= found["volume_lo_mm3"] <= found["volume_mm3"] <= found["volume_hi_mm3"] < 4 / 3 * np.pi * 6.5**3
    assert found["volume_mm3"] < 30
    assert found["volume_sd_mm3"] >= 0
    assert np.isfinite(found[["excess_hu_mm3", "excess_sd_hu_mm3", "envelope_mm3"]].astype(float)).all()


def test_bone_beside_a_lesion_is_not_counted():
    """A ball near the bone has its own excess; the cortex gives nothing to it."""
    near = Ball((4.5, 0.0, 0.0), 3.5, 500)
    found = measured(limb([near], blur_mm=0.5))
    assert len(found) == 1
    assert found["excess_hu_mm3"].iloc[0] == pytest.approx(excess_of(near), rel=0.12)


def test_no_piece_gives_an_empty_table():
    """A scan without mineral has no rows but all columns."""
    found = measured(limb())
    assert found.columns.tolist() == burden.COLUMNS
    assert len(found) == 0


@pytest.mark.parametrize(
    ("kvp", "calibration", "scored"),
    [(120.0, "nominal", True), (100.0, "nominal", True), (140.0, "none", False), (nan, "none", True)],
)
def test_mass_and_score_need_a_known_voltage(kvp, calibration, scored):
    """A voltage without a row has neither score nor mass; an unknown one is scored as 120 kV and has no mass."""
    found = nodule(kvp=kvp, noise_hu=4)
    assert found["calibration"] == calibration
    assert isnan(found["mass_mg"]) == (calibration == "none")
    assert isnan(found["agatston"]) != scored
    assert np.isfinite(found[["volume_mm3", "excess_hu_mm3"]].astype(float)).all()


def test_the_nominal_mass_in_closed_form():
    """At 120 kV 1 cm³ of 100 HU above its background is 77 mg; at 100 kV the same HU are less mineral."""
    assert 1000 * 100 * burden.mass_factor(120.0)[0] == pytest.approx(77)
    assert burden.mass_factor(100.0)[0] == pytest.approx(0.77e-3 * 130 / 145)
    assert isnan(burden.mass_factor(140.0)[0])
    found = nodule()
    assert found["mass_mg"] == pytest.approx(excess_of(NODULE) * 0.77e-3, rel=0.03)


# --- Agatston by hand ------------------------------------------------------------------------------------------------


def plate(hu: float, *, slices: int = 1, side: int = 2) -> np.ndarray:
    image = np.full((slices, 8, 8), 50.0)
    image[:, 1 : 1 + side, 1 : 1 + side] = hu
    return image


@pytest.mark.parametrize(
    ("hu", "weight"),
    [(129, 0), (130, 1), (199, 1), (200, 2), (299, 2), (300, 3), (399, 3), (400, 4), (1500, 4)],
)
def test_the_weights_of_agatston(hu, weight):
    """Published values: the weight steps at 130, 200, 300 and 400 HU."""
    assert burden.agatston(plate(hu), np.array([3.0, 1.0, 1.0])) == 4 * weight


def test_agatston_by_slices_regions_and_increments():
    """Closed form: areas below 1 mm² do not count, corners join, each slice has its own peak."""
    spacing = np.array([3.0, 0.5, 0.5])
    assert burden.agatston(plate(400, side=1), spacing) == 0
    assert burden.agatston(plate(400, side=2), spacing) == 4
    corner = np.full((1, 6, 6), 50.0)
    corner[0, [1, 1, 2, 2, 3, 3, 4, 4], [1, 2, 1, 2, 3, 4, 3, 4]] = 150
    assert burden.agatston(corner, np.array([3.0, 0.4, 0.4])) == pytest.approx(8 * 0.16)
    both = plate(150, slices=2)
    both[1, 1, 1] = 450
    assert burden.agatston(both, np.array([3.0, 1.0, 1.0])) == 4 + 16
    assert burden.agatston(both, np.array([0.75, 1.0, 1.0])) == 5


def test_agatston_at_other_voltages():
    """Published values: 222 HU at 100 kV weigh as 200 HU at 120 kV; 90 kV has no row."""
    spacing = np.array([3.0, 1.0, 1.0])
    assert burden.agatston(plate(221), spacing, kvp=100.0) == 4
    assert burden.agatston(plate(222), spacing, kvp=100.0) == 8
    assert burden.agatston(plate(200), spacing, kvp=nan) == 8
    assert isnan(burden.agatston(plate(500), spacing, kvp=90.0))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31 - 1), st.integers(1, 4))
def test_agatston_adds_up_over_slices(seed, factor):
    """Property: the score is a sum over slices, and proportional to the increment."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(100, 900, (4, 12, 12)), [0, 1, 1])
    spacing = np.array([1.5, 0.8, 0.8])
    whole = burden.agatston(smooth, spacing)
    assert whole == pytest.approx(sum(burden.agatston(smooth[[k]], spacing) for k in range(4)))
    assert burden.agatston(smooth, spacing * [factor, 1, 1]) == pytest.approx(factor * whole)


# --- sums over lesions -----------------------------------------------------------------------------------------------


def rows(*lesions_of: dict[str, object]) -> pd.DataFrame:
    plain = {
        **dict.fromkeys(burden.RULES, 10.0),
        "status": "stable",
        "compartment": "",
        "volume_mm3": 100.0,
        "volume_lo_mm3": 100 - burden.Z95 * 3,
        "volume_hi_mm3": 110.0,
        "volume_sd_mm3": 3.0,
        "excess_hu_mm3": 1000.0,
        "excess_sd_hu_mm3": 30.0,
        "mass_mg": 0.77,
    }
    return pd.DataFrame([{**plain, **one} for one in lesions_of], columns=list(plain))


def total(table: pd.DataFrame, quantity: str = "volume_mm3", compartment: str = "total") -> pd.Series:
    sums = burden.totals(table)
    return sums[(sums["compartment"] == compartment) & (sums["quantity"] == quantity)].iloc[0]


GONE = {
    **dict.fromkeys(["volume_mm3", "volume_sd_mm3", "excess_hu_mm3", "excess_sd_hu_mm3", "mass_mg"], 0.0),
    "status": "resolved",
    "volume_hi_mm3": 12.0,
}
UNSEEN = {**dict.fromkeys([*burden.RULES, "volume_sd_mm3", "excess_sd_hu_mm3"], nan), "status": "not_in_field"}


def test_sums_in_closed_form():
    """Amounts add; errors of lesions add in quadrature, what the model leaves out of all of them adds as it is."""
    found = total(rows({}, {"volume_mm3": 50.0, "volume_sd_mm3": 4.0, "volume_lo_mm3": 43.0}))
    shared = burden.EDGE_ERROR * np.array([100.0, 50.0])
    sd = np.hypot(np.sqrt(np.sum(np.array([3.0, 4.0]) ** 2 - shared**2)), shared.sum())
    assert (found["value"], found["value_observed"], found["evaluable"]) == (150.0, 150.0, 1.0)
    assert found["sd"] == pytest.approx(sd)
    assert found["lo"] == pytest.approx(150 - 1.96 * sd, abs=1e-3)
    assert found["hi"] == pytest.approx(150 + 1.96 * sd, abs=1e-3)
    assert (found["unit"], found["rule_id"]) == ("mm3", burden.RULES["volume_mm3"])
    assert total(rows({}, {}), "n_lesions")["value"] == 2
    # Of 30 HU mm³ on 1000 the model's 2 % add up; the rest is independent.
    both = np.hypot(2 * 20, np.sqrt(2 * (30**2 - 20**2)))
    assert total(rows({}, {}), "mass_mg")["sd"] == pytest.approx(0.77 / 1000 * both)


def test_what_blur_adds_to_each_adds_up():
    """Twelve small balls: the error common to all of them is within the limits of their sum."""
    small = [Ball((x, y, z), 3.0, 700) for x in (4, 18) for y in (-12, 12) for z in (-15, 0, 15)]
    table = measured(limb(small, bone=False)).assign(status="stable", compartment="")
    found = total(table)
    assert len(table) == 12
    assert found["lo"] <= sum(ball.volume_mm3 for ball in small) <= found["hi"]
    one = {"volume_lo_mm3": 80.0, "volume_sd_mm3": 0.0}
    assert total(rows(one, one))["lo"] == pytest.approx(160.0)


def test_no_lesion_is_nothing_for_certain():
    """A visit without a known lesion has 0 of everything, wholly evaluable."""
    sums = burden.totals(rows())
    assert sums["quantity"].tolist() == list(burden.RULES)
    assert (sums["value"] == 0).all()
    assert (sums["evaluable"] == 1).all()


def test_a_resolved_lesion_may_still_hide():
    """It adds 0 to the sum and its limit of detection to the upper end; it counts as no lesion."""
    found = total(rows({}, GONE))
    assert found["value"] == 100.0
    assert found["hi"] == pytest.approx(100 + 12 + 1.96 * 3, abs=1e-3)
    assert total(rows({}, GONE), "n_lesions")["value"] == 1


def test_what_was_not_in_the_field_is_not_nothing():
    """The sum is missing, what was seen is told, and so is the share of known lesions that was seen."""
    found = total(rows({}, {}, {}, UNSEEN))
    assert isnan(found["value"])
    assert isnan(found["lo"])
    assert isnan(found["hi"])
    assert (found["value_observed"], found["evaluable"]) == (300.0, 0.75)


def test_a_merged_lesion_is_counted_with_the_other():
    """Its row has no amounts and makes nothing unevaluable."""
    found = total(rows({}, {**UNSEEN, "status": "merged"}))
    assert (found["value"], found["evaluable"]) == (100.0, 1.0)


def test_compartments_add_up_to_the_total():
    """Sums by compartment are of their own lesions; a lesion without one is in the total only."""
    table = rows({"compartment": "1"}, {"compartment": "2"}, {"compartment": "2"}, {})
    assert [total(table, compartment=name)["value"] for name in ("1", "2", "total")] == [100.0, 200.0, 400.0]
    partly = rows({"compartment": "1"}, {**UNSEEN, "compartment": "2"})
    assert total(partly, compartment="1")["evaluable"] == 1
    assert isnan(total(partly, compartment="2")["value"])


def test_a_sum_without_an_error_has_no_limits():
    """Scores have no error model: both limits are missing, and so is neither that of volume."""
    for quantity in (
        "agatston",
        "agatston_4px",
        "spatially_weighted_mm3",
        "threshold_mass_mg",
        "n_lesions",
        "n_regions",
    ):
        found = total(rows({}, {}), quantity)
        assert isnan(found["lo"])
        assert isnan(found["hi"])
    assert np.isfinite(total(rows({}, {}))[["lo", "hi"]].astype(float)).all()


@pytest.mark.parametrize("quantity", burden.SUMMED)
def test_absent_is_nothing_and_unseen_is_unknown_in_every_sum(quantity):
    """A resolved lesion counts 0, one out of the field makes the sum missing and keeps what was seen."""
    plain = dict.fromkeys(burden.SUMMED, 10.0)
    gone = {**dict.fromkeys(burden.SUMMED, 0.0), "status": "resolved", "volume_sd_mm3": 0.0, "excess_sd_hu_mm3": 0.0}
    assert total(rows(plain, gone), quantity)["value"] == 10.0
    found = total(rows(plain, plain, UNSEEN), quantity)
    assert isnan(found["value"])
    assert (found["value_observed"], found["evaluable"]) == (20.0, pytest.approx(2 / 3))


def test_the_mass_by_tissue_has_the_error_of_its_line():
    """Closed form: 1 % of the slope is common to all lesions and adds to the model's 3 %, in quadrature."""
    one = {"mass_tissue_mg": 0.80, "excess_sd_hu_mm3": 50.0}
    shared = 2 * 0.80 * np.hypot(burden.MODEL_ERROR, 0.01)
    own = np.sqrt(2) * 0.80 * np.sqrt(0.05**2 + 0.01**2 - np.hypot(burden.MODEL_ERROR, 0.01) ** 2)
    assert total(rows(one, one), "mass_tissue_mg")["sd"] == pytest.approx(np.hypot(shared, own))


def test_regions_involved_of_those_known():
    """A region with a lesion is involved, one whose places were seen is not, one that was not seen makes it missing."""
    left, right = {"compartment": "skin", "side": "left"}, {"compartment": "skin", "side": "right"}
    organ = {"compartment": "organ", "side": "left"}
    sided = [{**left}, {**left}, {**right, **GONE}, {**organ}]
    table = rows(*sided).assign(side=[one["side"] for one in sided])
    found = total(table, "n_regions")
    assert (found["value"], found["evaluable"], found["unit"]) == (2.0, 1.0, "1")
    assert total(table, "n_regions", "skin")["value"] == 1.0

    hidden = [{**left}, {**left, **UNSEEN}, {**right, **UNSEEN}, {**organ}]
    known = rows(*hidden).assign(side=[one["side"] for one in hidden])
    found = total(known, "n_regions")
    assert isnan(found["value"])
    assert (found["value_observed"], found["evaluable"]) == (2.0, pytest.approx(2 / 3))
    # The regions of the whole record count, where they are given.
    more = burden.totals(rows({**left}), burden.regions_of(known)).set_index(["compartment", "quantity"])
    assert more.loc[("total", "n_regions"), "evaluable"] == pytest.approx(2 / 3)
    assert more.loc[("skin", "n_regions"), "evaluable"] == pytest.approx(1 / 2)
    assert more.loc[("total", "n_lesions"), "evaluable"] == 1.0


def test_noise_correlation_tells_white_from_smoothed():
    """White noise has a factor near 1; noise smoothed by 1 voxel in the slice sums up to some ten times more."""
    rng = np.random.default_rng(1)
    white = rng.normal(0, 10, (12, 60, 60))
    correlated = ndimage.gaussian_filter(rng.normal(0, 40, (12, 60, 60)), [0, 1, 1])
    factors = [burden.noise_correlation(*flat(50 + noise)) for noise in (white, correlated)]
    assert factors[0] == pytest.approx(1.0, abs=0.35)
    assert 4 < factors[1] < 14


def flat(hu: np.ndarray) -> tuple[Scan, Anatomy]:
    none = np.zeros(hu.shape, bool)
    return scan_of(hu, (1.0, 1.0, 1.0)), Anatomy(~none, none, none, 10.0, 50.0, np.full((1, 1, 1), 10.0))


def test_findings_without_a_number_are_passed_over():
    """Labels need not be without gaps."""
    scan = limb([NODULE])
    found = anatomy.find(scan)
    labels = lesions.find(scan, found).labels * 3
    table = burden.measure(scan, found, Findings(labels, 130.0, 8.0))
    assert table["label"].tolist() == [3]
