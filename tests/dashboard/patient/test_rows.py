"""What is told of rows."""

import pytest

from dashboard.patient import rows


def test_a_change_of_protocol_is_against_the_last_known(hand_made, visit):
    """What one visit does not say is no change; the next that says it is compared with the last that did."""
    visits = [
        visit(1, 0.0, kernel="A", kvp=120.0),
        visit(2, 1.0, kvp=120.0),
        visit(3, 2.0, kernel="B", kvp=100.0),
    ]
    changed = rows.protocol_changes(hand_made(visits=visits).scans)
    assert changed == {"V1": [], "V2": [], "V3": ["tube voltage 120 kV, then 100 kV", "kernel A, then B"]}


def test_a_visit_of_several_scans_has_the_protocol_of_all(hand_made, visit):
    """The second scan of a visit is no change against its first; the next visit lacks one of the two kernels."""
    scans = ((1, "A"), (1, "B"), (2, "B"), (2, "A"), (3, "B"))
    visits = [visit(number, number - 1.0, kernel=kernel) for number, kernel in scans]
    changed = rows.protocol_changes(hand_made(visits=visits).scans)
    assert changed == {"V1": [], "V2": [], "V3": ["kernel A and B, then B"]}


def test_dose_adds_up_over_the_scans_that_tell_it(hand_made, visit):
    """An unknown dose adds nothing, and is not drawn."""
    visits = [visit(1, 0.0, dlp_mgy_cm=100.0), visit(2, 1.0), visit(3, 2.0, dlp_mgy_cm=50.0)]
    found = rows.dose(hand_made(visits=visits))
    assert [(row["visit_id"], row["so_far"], row["least"]) for row in found] == [
        ("V1", 100.0, False),
        ("V3", 150.0, True),
    ]


def test_the_fitted_line_is_the_absolute_one_of_the_sum(hand_made):
    """Other scales, other compartments and single lesions have lines of their own."""
    own = {"level": "patient", "patient_id": "P1", "quantity": "volume_mm3", "compartment": "total", "term": "rate"}
    trends = [
        {**own, "scale": "log", "estimate": 1.0},
        {**own, "scale": "absolute", "estimate": 2.0, "lesion_id": 4},
        {**own, "scale": "absolute", "estimate": 3.0},
        {**own, "scale": "absolute", "estimate": 4.0, "level": "cohort"},
    ]
    assert rows.trend(hand_made(trends=trends), "volume_mm3", "total")["rate"]["estimate"] == 3.0


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("v;limit=hokanson-2004:sqrt(after)-sqrt(before)>2.5;x=1", "Hokanson 2004: sqrt(after)-sqrt(before)>2.5"),
        ("v;limit=mesa-chung-2008:0.17*sqrt(mean)", "MESA Chung 2008: 0.17*sqrt(mean)"),
        ("v", ""),
        (None, ""),
    ],
)
def test_a_limit_is_told_by_its_study(rule, told):
    """Dashes between words are spaces, a minus in a formula stays."""
    assert rows.limit_name(rule) == told
