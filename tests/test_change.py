"""May two scans be compared, and does a change exceed what measuring alone would show."""

from __future__ import annotations

from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor import change

SCAN = {"modality": "CT", "kvp": 120.0, "kernel": "B30f", "slice_thickness_mm": 1.0, "contrast": "none"}


@pytest.mark.parametrize(
    ("other", "may", "why"),
    [
        ({}, True, ""),
        ({"kvp": 120.5}, True, ""),
        ({"slice_thickness_mm": 1.25}, True, ""),
        ({"kvp": 100.0}, False, "tube voltage 120 and 100 kV"),
        ({"kernel": "B80f"}, False, "kernel B30f and B80f"),
        ({"slice_thickness_mm": 1.3}, False, "slice thickness 1 and 1.3 mm"),
        ({"slice_thickness_mm": 0.5}, False, "slice thickness 1 and 0.5 mm"),
        ({"contrast": "iv"}, False, "contrast none and iv"),
        ({"modality": "MR"}, False, "modality CT and MR"),
        ({"kvp": nan}, True, "tube voltage unknown"),
        ({"kvp": None}, True, "tube voltage unknown"),
        ({"kvp": pd.NA}, True, "tube voltage unknown"),
        ({"kernel": ""}, True, "kernel unknown"),
        ({"kernel": pd.NA}, True, "kernel unknown"),
        ({"kernel": nan}, True, "kernel unknown"),
        ({"slice_thickness_mm": nan}, True, "slice thickness unknown"),
        ({"contrast": "unknown"}, True, "contrast unknown"),
        ({"contrast": pd.NA}, True, "contrast unknown"),
        ({"kvp": nan, "kernel": ""}, True, "tube voltage unknown; kernel unknown"),
        ({"kvp": nan, "kernel": "B80f"}, False, "kernel B30f and B80f"),
        ({"kvp": 80.0, "contrast": "iv"}, False, "tube voltage 120 and 80 kV; contrast none and iv"),
    ],
)
def test_scans_are_compared_where_they_were_made_alike(other, may, why):
    """Each difference that moves HU or volumes refuses by name; what is unknown is said and refuses nothing."""
    assert change.comparable(SCAN, {**SCAN, **other})[0] is may
    told = change.comparable(SCAN, {**SCAN, **other})[1]
    assert sorted(told.replace(" and ", " ").split()) == sorted(why.replace(" and ", " ").split())


@given(
    st.fixed_dictionaries(
        {
            "modality": st.sampled_from(["CT", "MR"]),
            "kvp": st.sampled_from([80.0, 120.0, 120.4, nan]),
            "kernel": st.sampled_from(["", "A", "B"]),
            "slice_thickness_mm": st.sampled_from([1.0, 1.2, 3.0, nan]),
            "contrast": st.sampled_from(["none", "iv", "unknown", ""]),
        }
    )
)
def test_comparison_has_no_direction(other):
    """Property: the answer is the same both ways, and a scan is comparable with itself."""
    assert change.comparable(SCAN, other)[0] == change.comparable(other, SCAN)[0]
    assert change.comparable(other, other)[0]


def test_what_errs_alike_cancels_between_scans_that_were_made_alike():
    """Closed form: repeat errors in quadrature; whole errors where the scans differ or their making is not known."""
    first, second = {"value": 100.0, "sd": 30.0, "repeat_sd": 3.0}, {"value": 100.0, "sd": 40.0, "repeat_sd": 4.0}
    assert change.spread(first, second, alike=True) == pytest.approx(5.0)
    assert change.spread(first, second, alike=False) == pytest.approx(50.0)
    assert change.compare(first, second, years=1.0)["detectable"] == pytest.approx(1.96 * 5, rel=1e-4)
    noted = change.compare(first, second, years=1.0, may=(True, "kernel unknown"))
    assert noted["detectable"] == pytest.approx(1.96 * 50, rel=1e-4)
    assert isnan(change.spread({"value": 1.0, "sd": nan}, second, alike=True))


def test_the_detectable_change_covers_unchanged_lesions():
    """Independent value: of simulated pairs without a change, scattered as the model says, 5 % exceed it."""
    rng = np.random.default_rng(4)
    sd, true, count = 6.0, 200.0, 20_000
    first, second = true + rng.normal(0, sd, (2, count))
    least = [compare(a, b, sd)["detectable"] for a, b in zip(first[:100], second[:100], strict=True)]
    assert np.mean(np.abs(second - first) > least[0]) == pytest.approx(0.05, abs=0.01)
    assert np.ptp(least) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("lesions", "follow_ups"), [(1, 1), (12, 1), (5, 8), (40, 3)])
def test_many_lesions_and_follow_ups_do_not_add_up(lesions, follow_ups):
    """Independent value: of simulated patients without a change at most 5 % have any verdict, sums and lesions."""
    rng = np.random.default_rng(7)
    patients, called = 4000, 0
    scans = rng.normal(0, 1, (patients, follow_ups + 1, lesions))
    wrong = np.zeros(patients, bool)
    for visit in range(1, follow_ups + 1):
        starts = {visit - 1, 0}
        for start in starts:
            apart = scans[:, visit] - scans[:, start]
            lesion = stats.norm.isf(change.alarms(lesions, visit, len(starts)) / 2) * np.sqrt(2)
            total = stats.norm.isf(change.alarms(1, visit, len(starts)) / 2) * np.sqrt(2 * lesions)
            wrong |= (np.abs(apart) > lesion).any(axis=1) | (np.abs(apart.sum(axis=1)) > total)
    called = wrong.mean()
    assert called <= change.FALSE_ALARMS + 2 * np.sqrt(0.05 * 0.95 / patients)
    assert called > 0.005


def test_a_change_that_one_of_many_may_show_by_chance_is_not_called():
    """Closed form: 2.5 SDs are beyond the limits of one comparison and within those of twenty."""
    few = compare(100.0, 100.0 + 2.5 * sqrt(2))
    many = compare(100.0, 100.0 + 2.5 * sqrt(2), alarms=change.alarms(20, 1))
    assert (few["verdict"], many["verdict"]) == ("increased", "no_detectable_change")
    assert many["lo"] > 0
    assert "by chance" in many["why"]
    assert (few["lo"], few["hi"]) == (many["lo"], many["hi"])


def test_the_excess_judges_a_volume_that_is_not_resolved():
    """The numbers stay those of the volume, the verdict is that of the excess, and it is said."""
    volume, excess = compare(100.0, 80.0, 60.0), compare(1000.0, 700.0, 30.0)
    found = change.carried(volume, excess)
    assert (found["change"], found["lo"], found["detectable"]) == (-20.0, volume["lo"], volume["detectable"])
    assert (volume["verdict"], found["verdict"]) == ("no_detectable_change", "decreased")
    assert found["why"].startswith("volume not resolved")
    apart = {**excess, "verdict": "not_comparable", "why": "kernel B30f and B80f"}
    assert change.carried(volume, apart)["why"] == "kernel B30f and B80f"


def test_published_limits_stand_beside():
    """Published value: 34 mm³ count at 100 mm³ by Sevrukov, 58 by MESA at its mean, and who may not is not compared."""
    rows = change.by_published("threshold_volume_mm3", 100.0, 140.0, years=2.0, mass_index=16.0)
    assert [row["verdict"] for row in rows] == [
        "increased",
        "no_detectable_change",
        "no_detectable_change",
        "increased",
    ]
    assert {(row["change"], row["change_per_year"]) for row in rows} == {(40.0, 20.0)}
    unknown = change.by_published("threshold_volume_mm3", 100.0, 140.0, years=2.0)
    assert "body-mass index taken as 16" in unknown[1]["why"]
    refused = change.by_published("agatston", 100.0, 140.0, years=2.0, may=(False, "tube voltage 120 and 80 kV"))
    assert {row["verdict"] for row in refused} == {"not_comparable"}


def compare(before: float, after: float, sd: float = 1.0, **other: object) -> dict[str, object]:
    return change.compare({"value": before, "sd": sd}, {"value": after, "sd": sd}, **{"years": 2.0, **other})


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (100.0, 130.0, "increased"),
        (130.0, 100.0, "decreased"),
        (100.0, 102.0, "no_detectable_change"),
        (0.0, 0.0, "no_detectable_change"),
        (0.0, 30.0, "increased"),
        (30.0, 0.0, "decreased"),
        (nan, 30.0, "not_comparable"),
        (30.0, nan, "not_comparable"),
    ],
)
def test_the_verdict(before, after, verdict):
    """What exceeds the detectable change counts, what does not does not, and a missing amount is never 0."""
    found = compare(before, after)
    assert found["verdict"] == verdict
    if verdict == "not_comparable":
        assert "an amount is missing" in found["why"]
        assert isnan(found["change"])


def test_the_numbers_of_a_change_in_closed_form():
    """Change, per cent, rate and limits follow from the two amounts."""
    found = compare(100.0, 150.0)
    assert (found["before"], found["after"], found["change"]) == (100.0, 150.0, 50.0)
    assert (found["change_pct"], found["change_per_year"]) == (50.0, 25.0)
    assert found["hi"] - found["change"] == pytest.approx(found["detectable"])
    assert found["change"] - found["lo"] == pytest.approx(found["detectable"])
    assert isnan(compare(0.0, 10.0)["change_pct"])
    assert isnan(compare(1.0, 10.0, years=0.0)["change_per_year"])


def test_scans_that_may_not_be_compared_have_no_verdict_but_their_numbers():
    """The reason is that of the scans; unknown acquisition is only noted."""
    refused = compare(100.0, 150.0, may=(False, "tube voltage 120 and 80 kV"))
    assert (refused["verdict"], refused["why"]) == ("not_comparable", "tube voltage 120 and 80 kV")
    assert refused["change"] == 50.0
    noted = compare(100.0, 150.0, may=(True, "kernel unknown"))
    assert noted["verdict"] == "increased"
    assert noted["why"].endswith("; kernel unknown")


@given(*[st.floats(0, 1e6)] * 4)
def test_the_verdict_is_its_own_mirror(before, after, one_sd, two_sd):
    """Property: turned round, increase is decrease; alone, the limits leave 0 out exactly where there is a verdict."""
    first, second = {"value": before, "sd": one_sd}, {"value": after, "sd": two_sd}
    there, back = change.compare(first, second, years=1.0), change.compare(second, first, years=1.0)
    mirror = {"increased": "decreased", "decreased": "increased"}
    assert mirror.get(str(there["verdict"]), there["verdict"]) == back["verdict"]
    assert there["detectable"] == pytest.approx(back["detectable"])
    outside = there["lo"] > 0 or there["hi"] < 0
    assert outside == (there["verdict"] in mirror)


def visits(*years: float) -> pd.DataFrame:
    return pd.DataFrame({"visit_id": [f"V{n}" for n in range(len(years))], "years": years})


def test_pairs_of_one_visit_or_none():
    """There is nothing to compare."""
    assert change.pairs(visits(), {}) == []
    assert change.pairs(visits(0.0), {"V0": 1.0}) == []


def test_each_visit_is_compared_with_previous_baseline_and_nadir():
    """The nadir is the least amount from the baseline on and before the visit; the earliest of equals."""
    totals = {"V0": 100.0, "V1": 40.0, "V2": 60.0, "V3": 40.0}
    assert change.pairs(visits(0.0, 1.0, 2.0, 3.0), totals) == [
        ("V0", "V1", "previous"),
        ("V0", "V1", "baseline"),
        ("V0", "V1", "nadir"),
        ("V1", "V2", "previous"),
        ("V0", "V2", "baseline"),
        ("V1", "V2", "nadir"),
        ("V2", "V3", "previous"),
        ("V0", "V3", "baseline"),
        ("V1", "V3", "nadir"),
    ]


def test_visits_before_the_baseline_have_no_baseline_or_nadir():
    """They are compared with their predecessor, and never serve as a nadir."""
    found = change.pairs(visits(-1.0, 0.0, 1.0), {"V0": 1.0, "V1": 5.0, "V2": 9.0})
    assert found == [
        ("V0", "V1", "previous"),
        ("V1", "V2", "previous"),
        ("V1", "V2", "baseline"),
        ("V1", "V2", "nadir"),
    ]


def test_what_was_not_evaluable_is_no_nadir():
    """A total that is NaN or missing is passed over; without any there is no nadir."""
    assert ("V0", "V2", "nadir") in change.pairs(visits(0.0, 1.0, 2.0), {"V0": 5.0, "V1": nan, "V2": 1.0})
    assert "nadir" not in [kind for *_, kind in change.pairs(visits(0.0, 1.0), {"V0": nan})]
