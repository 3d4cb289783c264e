"""May two scans be compared, and does a change exceed what measuring alone would show."""

from __future__ import annotations

from math import hypot, isnan, nan, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_the_detectable_change_in_closed_form():
    """1.96 times the quadrature of both errors and of repositioning, which scales with the amount."""
    assert change.detectable(3.0, 4.0, 0.0, 0.0) == pytest.approx(1.96 * 5, rel=1e-4)
    # Equal amounts of 100: 4 % of 100 for the pair.
    assert change.detectable(0.0, 0.0, 100.0, 100.0) == pytest.approx(1.96 * 0.04 * 100, rel=1e-4)
    both = 1.96 * sqrt(3**2 + 4**2 + (0.04 * hypot(100, 50)) ** 2 / 2)
    assert change.detectable(3.0, 4.0, 100.0, 50.0) == pytest.approx(both, rel=1e-4)
    assert isnan(change.detectable(nan, 1.0, 1.0, 1.0))


def test_the_detectable_change_covers_unchanged_lesions():
    """Independent value: of simulated pairs without a change, scattered as the model says, 5 % exceed it."""
    rng = np.random.default_rng(4)
    sd, true, count = 6.0, 200.0, 20_000
    between = rng.normal(0, change.REPOSITION * true, count)
    first, second = true + rng.normal(0, sd, (2, count))
    least = np.array([change.detectable(sd, sd, a, b) for a, b in zip(first, second, strict=True)])
    assert np.mean(np.abs(second - first + between) > least) == pytest.approx(0.05, abs=0.01)


def compare(before: float, after: float, sd: float = 1.0, **other: object) -> dict[str, object]:
    return change.compare({"value": before, "sd": sd}, {"value": after, "sd": sd}, **{"years": 2.0, **other})


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (100.0, 130.0, "increased"),
        (130.0, 100.0, "decreased"),
        (100.0, 104.0, "no_detectable_change"),
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
    """Property: turned round, increase is decrease; the limits leave 0 out exactly where there is a verdict."""
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
