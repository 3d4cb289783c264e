"""What is drawn of a visit, the bands, and the fitted line."""

import numpy as np
import pandas as pd
import pytest

from dashboard.patient.seen import line, positive_range, seen
from monitor.burden import SUMMED, totals


def states(found):
    return [row["state"] for row in found.points]


def test_every_state_of_a_visit(hand_made, visit, amount):
    """Measured, not comparable, in part, nothing found, not in the field and not measurable are six things."""
    nothing = {"value_observed": None, "lo": None, "hi": None}
    own = hand_made(
        visits=[visit(n, n - 1.0, comparable=n != 2) for n in range(1, 8)],
        burden=[
            amount(1, 100.0), amount(2, 90.0), amount(3, None, value_observed=50.0), amount(4, 0.0),
            amount(5, None, evaluable=0.0, **nothing), amount(6, None, **nothing),
        ],
    )  # fmt: skip
    found = seen(own, "volume_mm3", "total")
    assert states(found) == ["measured", "hollow", "part", "below", "absent", "absent", "absent"]
    assert [row["word"] for row in found.points[4:]] == ["not in the field", "not measurable", "not measurable"]
    assert found.points[3]["y"] == 3.0  # the limit of detection, not 0
    assert found.points[2]["y"] == 50.0


@pytest.mark.parametrize("scale", ["linear", "change", "percent"])
def test_out_of_the_field_is_no_amount_as_the_pipeline_writes_it(hand_made, visit, amount, change, scale):
    """Where no known lesion was in the field, the sum of what was seen is 0 in the table: no point stands there."""
    numbers = (*SUMMED, "volume_sd_mm3", "volume_lo_mm3", "volume_hi_mm3", "excess_sd_hu_mm3")
    lesion = {"status": "not_in_field", "compartment": "thigh", **dict.fromkeys(numbers, np.nan)}
    written = totals(pd.DataFrame([lesion]))
    row = written[(written["quantity"] == "volume_mm3") & (written["compartment"] == "total")].iloc[0]
    assert row["value_observed"] == row["evaluable"] == 0.0
    gone = amount(2, None, **{name: row[name] for name in ("value", "lo", "hi", "evaluable", "value_observed")})
    own = hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], burden=[amount(1, 9.0), gone], changes=[change(2, 0.0, 0.0)])
    point = seen(own, "volume_mm3", "total", scale).points[1]
    assert (point["state"], point["word"]) == ("absent", "not in the field")
    assert np.isnan(point["y"])


def test_none_found_on_another_scan_is_not_joined(hand_made, visit, amount):
    """A visit that is not comparable is hollow also where nothing was found."""
    own = hand_made(visits=[visit(1, 0.0, comparable=False), visit(2, 1.0)], burden=[amount(1, 0.0), amount(2, 0.0)])
    assert states(seen(own, "volume_mm3", "total")) == ["unlike", "below"]


def test_a_comparison_in_the_common_field_has_no_band_round_the_whole(hand_made, visit, amount, change):
    """V3 starts from 40 of the 100: the band breaks there and the visit is named; as changes it is its own width."""
    own = hand_made(
        visits=[visit(n, n - 1.0) for n in range(1, 6)],
        burden=[amount(1, 100.0), amount(2, 90.0), amount(3, None, value_observed=50.0, evaluable=0.5),
                amount(4, 95.0), amount(5, 95.0)],
        changes=[change(2, 100.0, 90.0), change(3, 40.0, 50.0, detectable=8.0), change(4, 100.0, 95.0),
                 change(5, 100.00001, 95.0)],
    )  # fmt: skip
    found = seen(own, "volume_mm3", "total")
    np.testing.assert_allclose(found.around_baseline.low, [85, 85, np.nan, 85, 85], rtol=1e-6)
    assert found.no_band == ("V3",)
    moved = seen(own, "volume_mm3", "total", "change")
    assert moved.around_baseline.high.tolist() == [15.0, 15.0, 8.0, 15.0, 15.0]
    percent = seen(own, "volume_mm3", "total", "percent").around_baseline
    np.testing.assert_allclose(percent.high, [15, 15, 20, 15, 15], rtol=1e-6)
    assert moved.no_band == ()


def test_a_visit_after_a_break_has_a_band_of_its_own(hand_made, visit, amount, change):
    """The latest visit is judged by it: it is as narrow as can be seen, and not left out."""
    own = hand_made(
        visits=[visit(n, n - 1.0) for n in (1, 2, 3)],
        burden=[amount(1, 100.0), amount(2, None, value_observed=50.0), amount(3, 95.0)],
        changes=[change(2, 40.0, 50.0), change(3, 100.0, 95.0)],
    )
    band = seen(own, "volume_mm3", "total").around_baseline
    np.testing.assert_allclose(band.years, [-0.024, 0.024, 1, 1.976, 2.024])
    np.testing.assert_allclose(band.high, [115, 115, np.nan, 115, 115])


def test_a_baseline_seen_in_part_has_no_band(hand_made, visit, amount, change):
    """Its amount is not known: what was compared of it is no place for a band."""
    own = hand_made(
        visits=[visit(1, 0.0), visit(2, 1.0)],
        burden=[amount(1, None, value_observed=80.0, evaluable=0.5), amount(2, 120.0)],
        changes=[change(2, 80.0, 100.0)],
    )
    found = seen(own, "volume_mm3", "total")
    assert found.around_baseline is None
    assert found.no_band == ("V2",)
    assert seen(own, "volume_mm3", "total", "change").around_baseline.low.tolist() == [-15.0, -15.0]


def test_visits_of_the_line_that_are_not_comparable_are_counted(hand_made, visit, amount):
    """Those with a total before a surgery: the one after it is not of the line."""
    own = hand_made(
        visits=[visit(1, 0.0), visit(2, 1.0, comparable=False), visit(3, 2.0, comparable=False)],
        burden=[amount(n, 50.0 + n) for n in (1, 2, 3)],
        events=[{"patient_id": "P1", "years": 1.5, "kind": "surgery"}],
    )
    assert seen(own, "volume_mm3", "total").unlike == 1


def test_nothing_found_in_another_unit_is_at_0(hand_made, visit, amount):
    """The limit of detection is a volume: of a mass it is not known."""
    own = hand_made(visits=[visit(1, 0.0)], burden=[amount(1, 0.0, quantity="mass_mg", unit="mg")])
    assert seen(own, "mass_mg", "total").points[0]["y"] == 0.0


def test_a_change_is_drawn_by_its_own_comparison(hand_made, visit, amount, change):
    """Limits of a change are those of the comparison, not the amount's moved; before the baseline there is none."""
    own = hand_made(
        visits=[visit(0, -1.0), visit(1, 0.0), visit(2, 1.0)],
        patients=[{"patient_id": "P1", "baseline_visit_id": "V1"}],
        burden=[amount(0, 70.0), amount(1, 100.0), amount(2, 140.0)],
        changes=[change(2, 80.0, 120.0)],
    )
    found = seen(own, "volume_mm3", "total", "change")
    assert states(found) == ["absent", "measured", "measured"]
    assert found.points[0]["word"] == "no comparison"
    assert [found.points[2][name] for name in ("y", "y_lo", "y_hi")] == [40.0, 30.0, 50.0]
    percent = seen(own, "volume_mm3", "total", "percent")
    assert percent.points[2]["y"] == pytest.approx(50.0)  # of the 80 in the field common to both
    assert percent.unit == "%"


def test_without_an_amount_at_the_baseline_nothing_is_counted_from_it(hand_made, visit, amount):
    """No baseline and a baseline of 0 are said in words."""
    own = hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], burden=[amount(1, 0.0), amount(2, 9.0)])
    assert "There is nothing at the baseline" in seen(own, "volume_mm3", "total", "percent").why_nothing
    missing = hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], burden=[amount(1, None), amount(2, 9.0)])
    assert "There is no amount at the baseline" in seen(missing, "volume_mm3", "total", "change").why_nothing
    assert seen(missing, "volume_mm3", "skin").why_nothing == "Nothing was measured here."


def test_the_bands_lie_round_baseline_and_nadir(hand_made, visit, amount, change):
    """A band is what it is counted from, less and plus the smallest change that counts."""
    own = hand_made(
        visits=[visit(1, 0.0), visit(2, 1.0), visit(3, 2.0)],
        burden=[amount(1, 100.0), amount(2, 60.0), amount(3, 130.0)],
        changes=[
            change(2, 100.0, 60.0), change(3, 100.0, 130.0),
            change(3, 60.0, 130.0, comparison="nadir", from_visit="V2"),
        ],
    )  # fmt: skip
    found = seen(own, "volume_mm3", "total")
    assert found.around_baseline.low.tolist() == [85.0] * 3
    assert found.around_baseline.high.tolist() == [115.0] * 3
    assert found.around_nadir.years.tolist() == [1.0, 2.0]
    assert found.around_nadir.high.tolist() == [75.0, 75.0]
    moved = seen(own, "volume_mm3", "total", "change")
    assert moved.around_baseline.low.tolist() == [-15.0] * 3


def test_the_band_of_a_line_is_that_of_weighted_least_squares():
    """Against the closed form: the variance of a fitted value from the whole covariance of level and rate."""
    rng = np.random.default_rng(4)
    years, se = np.array([0.0, 0.7, 1.9, 3.0]), np.array([4.0, 8.0, 3.0, 6.0])
    values = 100 + 12 * years + rng.normal(0, se)
    design = np.column_stack([np.ones(4), years])
    covariance = np.linalg.inv(design.T @ np.diag(se**-2) @ design)
    level, rate = covariance @ design.T @ np.diag(se**-2) @ values
    z = 1.959964
    half = z * np.sqrt(np.diag(covariance))
    terms = {
        "level": {"estimate": level, "lo": level - half[0], "hi": level + half[0]},
        "rate": {"estimate": rate, "lo": rate - half[1], "hi": rate + half[1]},
    }
    used = [
        {"years": t, "value": v, "lo": v - z * s, "hi": v + z * s} for t, v, s in zip(years, values, se, strict=True)
    ]
    at = np.array([-0.5, 1.0, 4.0])
    band = line(terms, used, at)
    spread = np.array([np.array([1.0, t]) @ covariance @ np.array([1.0, t]) for t in at])
    assert band.middle == pytest.approx(level + rate * at)
    assert (band.high - band.low) / 2 == pytest.approx(z * np.sqrt(spread))
    alone = line({"rate": terms["rate"]}, used, at)
    assert alone.middle == pytest.approx(band.middle)
    assert ((alone.high - alone.low) < (band.high - band.low)).all()


def test_a_line_ends_at_a_surgery(hand_made, visit, amount):
    """Visits after a surgery were left out of the fit, so that the line is not drawn over them."""
    rate = {"level": "patient", "patient_id": "P1", "quantity": "volume_mm3", "compartment": "total",
            "scale": "absolute", "term": "rate", "estimate": 5.0, "lo": 4.0, "hi": 6.0}  # fmt: skip
    rows = {"visits": [visit(n, n - 1.0) for n in (1, 2, 3, 4)], "burden": [amount(n, 50.0 + n) for n in (1, 2, 3, 4)],
            "trends": [rate]}  # fmt: skip
    assert seen(hand_made(**rows), "volume_mm3", "total").fit.years[-1] == 3.0
    surgery = [{"patient_id": "P1", "years": 1.5, "kind": "surgery"}]
    assert seen(hand_made(**rows, events=surgery), "volume_mm3", "total").fit.years[-1] == 1.0


def test_a_logarithmic_axis_holds_what_is_above_0(hand_made, visit, amount):
    """Zeros and limits below 0 do not count for the range."""
    own = hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], burden=[amount(1, 10.0, lo=-1.0), amount(2, 1000.0)])
    low, high = positive_range([seen(own, "volume_mm3", "total")])
    assert 0 < low < 10
    assert high > 1100
    assert positive_range([]) is None
