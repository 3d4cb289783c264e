"""The time axis of a patient."""

from datetime import date

import pytest

from dashboard.patient import clock


def test_age_and_date_are_offered_where_they_are_known(hand_made, visit):
    """Age needs a birth date, dates a dated visit."""
    assert clock.offered(hand_made(visits=[visit(1, 0.0)])) == ("years", "days", "date")
    assert clock.offered(hand_made(visits=[visit(1, 0.0, date=None)])) == ("years", "days")
    aged = hand_made(visits=[visit(1, 0.0)], patients=[{"patient_id": "P1", "age_years": 6.5}])
    assert clock.offered(aged) == ("years", "days", "date", "age")
    assert clock.clock(aged, "age").at([1.0]) == [7.5]


def test_dates_are_counted_from_the_baseline(hand_made, visit):
    """The day of the baseline comes from the nearest visit, so that a visit gets its own date back."""
    made = hand_made(visits=[visit(1, -0.5), visit(2, 1.25)])
    own = clock.clock(made, "date")
    assert own.baseline == date(2024, 1, 1)
    assert own.at([-0.5, 1.25]) == [row["date"].date().isoformat() for row in made.scans]


@pytest.mark.parametrize("kind", clock.TIMES)
def test_what_is_missing_is_none_on_every_axis(kind):
    """A gap stays a gap."""
    own = clock.Clock(kind, date(2024, 1, 1), 5.0)
    assert own.at([None, float("nan")]) == [None, None]
    assert own.title
