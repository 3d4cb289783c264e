"""Sentences of a patient's page."""

import pytest

from dashboard.patient import words
from dashboard.patient.seen import seen
from dashboard.words import THIN


def test_since_says_size_limits_and_share(change):
    """The second line of the verdict has the numbers of the first."""
    symbol, tone, told = words.since({**change(5, 100.0, 140.0), "carried_by": None}, "previous")
    assert (symbol, tone) == ("▲", "more")
    assert told.replace(THIN, " ") == (
        "Since the previous visit (V1 to V5): increased, +40 mm³ (95 % limits 30 to 50, +40 %)."
    )
    assert words.since(None, "nadir") is None


def test_what_is_not_comparable_says_why(change):
    """No number where there is none to trust."""
    row = {**change(5, 100.0, 140.0), "verdict": "not_comparable", "why": "kernel A and B", "carried_by": None}
    assert words.since(row, "nadir")[2].endswith("not comparable: kernel A and B.")


def test_a_verdict_by_the_excess_gives_the_excess(change):
    """The number that the verdict rests on is told."""
    row = {**change(2, 100.0, 140.0), "carried_by": "excess_hu_mm3"}
    excess = {**change(2, 1000.0, 500.0), "quantity": "excess_hu_mm3", "unit": "HU mm3"}
    told = words.by_excess(row, [excess])
    assert told.replace(THIN, " ") == " Excess −500 HU·mm³ (95 % limits −510 to −490, −50 %)."
    assert words.by_excess({**row, "carried_by": "volume_mm3"}, [excess]) == ""


def test_the_course_counts_what_is_special(p001):
    """The text of the figure says how many visits are drawn otherwise, and how."""
    told = words.course(seen(p001, "volume_mm3", "total"), "volume_mm3", "Years since baseline")
    assert "1 of 5 not comparable with the baseline (hollow)" in told
    assert "1 of 5 seen in part of the field (triangle)" in told


def test_the_rate_says_which_interval_it_has():
    """Limits from the error of the scans alone are told apart from those of scatter."""
    rate = {"estimate": 92.0, "lo": 52.0, "hi": 132.0, "unit": "mm3/a", "n_visits": 4, "note": None,
            "interval_kind": "residual_t"}  # fmt: skip
    assert "from the scatter of the visits about the line" in words.trend({"rate": rate})
    assert "from 4 visits, of them 2 not comparable with the baseline." in words.trend({"rate": rate}, 2)
    none = {**rate, "estimate": float("nan"), "note": "1 visit(s) hold no rate"}
    assert words.trend({"rate": none}) == "No rate was estimated. 1 visit(s) hold no rate."
    assert words.trend({}) == ""


def test_half_life_is_told_with_the_rate():
    """A half-life is in years, with its limits."""
    term = {"estimate": 0.8, "lo": 0.5, "hi": 1.4, "unit": "a", "n_visits": 4, "note": None, "interval_kind": None}
    assert "Half-life 0.8 (0.5 to 1.4) years." in words.trend({"rate": {**term, "unit": "mm3/a"}, "half_life": term})


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("not_in_field", "did not cover its place"),
        ("merged", "into lesion 4"),
        ("resolved", "3 mm³ or more would show"),
    ],
)
def test_no_picture_is_words(status, told):
    """Each status without an amount has its own sentence."""
    row = {"status": status, "volume_mm3": float("nan"), "volume_lo_mm3": float("nan"), "volume_hi_mm3": float("nan")}
    assert told in words.picture(row, 3.0, "into lesion 4")[1].replace(THIN, " ")
    assert words.picture(None, 3.0, "before it was first seen")[1] == "before it was first seen"


def test_dose_says_who_tells_none(p001, hand_made, visit):
    """The sum is of the scans that tell it, and the others are counted."""
    assert "1 more tells none" in words.dose(p001.scans)
    assert "product at least 643" in words.dose(p001.scans)
    assert words.dose(hand_made(visits=[visit(1, 0.0)]).scans) == ""


def test_merges_and_splits_are_told(p001):
    """The words of the family tree name both lesions and the visit."""
    told = words.kin(p001.lineage)
    assert told.startswith("Lesion 5 merged into lesion 1 at V3")
    assert "lesion 7 split from lesion 1 at V4" in told
    assert words.kin([]) == ""
