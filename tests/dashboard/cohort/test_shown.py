"""What a choice leaves to draw: the best change, samples, colours and the first of the table."""

import numpy as np
import pandas as pd
import pytest

from dashboard.cohort import shown
from dashboard.cohort.wanted import Wanted

ALL = Wanted("volume_mm3", "total", "linear", "bands", "none", "percent", "best", "waterfall")


def wanted(**more):
    return Wanted(**{**ALL.__dict__, **more})


@pytest.fixture
def known(by_hand):
    """Five patients: fell then rose; rose; came from nothing; does not compare; never seen again."""
    return by_hand(
        5,
        (0, 1.0, 100.0, -40.0, "decreased", False),
        (0, 2.0, 100.0, 20.0, "increased", False),
        (1, 1.0, 50.0, 5.0, "no_detectable_change", False),
        (1, 2.0, 50.0, 25.0, "increased", True),
        (2, 1.0, 0.0, 30.0, "increased", False),
        (3, 1.0, 80.0, -79.0, "not_comparable", False),
    )


def everybody(known):
    return np.ones(len(known.people), bool)


def test_best_is_the_greatest_decrease(known):
    """Of two visits the one with the lower change counts, with the verdict of that visit."""
    table = shown.bars(known, everybody(known), wanted()).table.set_index("row")
    assert table["change"].to_dict() == {1: 10.0, 0: -40.0}
    assert table.loc[0, "verdict"] == "decreased"
    assert table.loc[1, "verdict"] == "no_detectable_change"


def test_latest_is_the_last_visit(known):
    """The reader may ask for the latest visit instead."""
    table = shown.bars(known, everybody(known), wanted(best="latest")).table.set_index("row")
    assert table["change"].to_dict() == {1: 50.0, 0: 20.0}


def test_bars_are_sorted_from_the_greatest_down(known):
    """The first bar is the greatest increase."""
    change = shown.bars(known, everybody(known), wanted(unit="amount")).table["change"].tolist()
    assert change == sorted(change, reverse=True) == [30.0, 5.0, -40.0]


def test_who_has_no_bar_is_counted_and_not_drawn_as_0(known):
    """What does not compare, has no per cent or no later visit has no bar; the sums agree."""
    found = shown.bars(known, everybody(known), wanted())
    assert (found.not_comparable, found.no_percent, found.none) == (1, 1, 1)
    assert len(found.table) + found.not_comparable + found.no_percent + found.none == 5
    assert 0.0 not in found.table["change"].tolist()


def test_a_latest_visit_that_does_not_compare_leaves_no_bar(by_hand):
    """An earlier visit does not stand in for the latest."""
    known = by_hand(1, (0, 1.0, 10.0, 5.0, "increased", False), (0, 2.0, 10.0, 9.0, "not_comparable", False))
    assert shown.bars(known, everybody(known), wanted(best="latest")).table.empty
    assert len(shown.bars(known, everybody(known), wanted()).table) == 1


def test_the_detectable_change_is_in_the_unit_of_the_bars(known):
    """Closed form: 10 of 100 are 10 %; without where the verdict rests on the excess."""
    percent = shown.bars(known, everybody(known), wanted()).table.set_index("row")["detectable"]
    assert percent.to_dict() == {1: 20.0, 0: 10.0}
    latest = shown.bars(known, everybody(known), wanted(best="latest")).table.set_index("row")
    assert latest.loc[1, "by_excess"]
    assert np.isnan(latest.loc[1, "detectable"])


def test_a_filter_leaves_others_out(known):
    """Only who is left has a bar or is counted."""
    found = shown.bars(known, np.array([True, False, False, False, False]), wanted())
    assert found.table["row"].tolist() == [0]
    assert (found.not_comparable, found.no_percent, found.none) == (0, 0, 0)


def test_thousands_of_bars_are_thinned_evenly(by_hand):
    """At most so many bars are drawn, every so many in order."""
    known = by_hand(2500, *[(row, 1.0, 100.0, float(row), "increased", False) for row in range(2500)])
    found = shown.bars(known, everybody(known), wanted())
    assert len(found.table) == 2500
    assert found.step == 3


def test_changes_start_at_0_and_leave_out_what_does_not_compare(known):
    """Every course begins at the baseline; patient 3 has none."""
    found = shown.change_courses(known, percent=True)
    assert found.groupby("row")["value"].first().to_dict() == {0: 0.0, 1: 0.0}
    assert found.loc[found["row"] == 0, "value"].tolist() == [0.0, -40.0, 20.0]
    assert 3 not in set(found["row"])


def test_a_sample_is_the_same_each_time_and_stays_while_filtering():
    """Who is drawn of many is drawn again when fewer are left."""
    rows = np.repeat(np.arange(2000), 2)
    courses = pd.DataFrame({"row": rows, "years": 0.0, "value": 1.0})
    every = shown.lines(courses, np.ones(2000, bool))
    again = shown.lines(courses, np.ones(2000, bool))
    half = shown.lines(courses, np.arange(2000) < 1000)
    assert (every.patients, every.drawn) == (2000, shown.MOST_LINES)
    assert every.courses["row"].nunique() == shown.MOST_LINES
    assert every.courses.equals(again.courses)
    still = {row for row in every.courses["row"] if row < 1000}
    assert still <= set(half.courses["row"])


def test_groups_are_the_largest_and_the_others():
    """Each patient has one colour; small groups share one."""
    people = pd.DataFrame({"arm": [*"AAAABBBCCDDEFG", ""]})
    found = shown.groups(people, np.ones(len(people), bool), "arm")
    assert [one.name for one in found][:4] == ["arm A", "arm B", "arm C", "arm D"]
    assert found[-1].name == shown.OTHERS
    assert (sum(one.kept.astype(int) for one in found) == 1).all()
    assert [one.name for one in shown.groups(people, np.ones(len(people), bool), "none")] == [""]


def test_the_chosen_patient_is_drawn_in_any_case():
    """The first of the table are drawn; the chosen one comes on top where it is not among them."""
    left = np.ones(100, bool)
    left[3] = False
    assert shown.at_most([5, 3, 2], left, None).tolist() == [5, 2]
    assert shown.at_most([5, 3, 2], left, 9).tolist() == [9, 5, 2]
    assert shown.at_most([5, 3, 2], left, 2).tolist() == [5, 2]
    assert shown.at_most([5, 3, 2], left, 3).tolist() == [5, 2]
    assert len(shown.at_most([], left, 99)) == shown.LONGEST_ORDER
