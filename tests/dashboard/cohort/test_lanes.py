"""Lanes: what lasts is a bar, what is a moment a symbol, and visits are ticks."""

import numpy as np
import pandas as pd

from dashboard.cohort import lanes, rows

IDS = np.array(["P1", "P2", "P3"], dtype=object)


def events(*rows_):
    return pd.DataFrame(list(rows_), columns=["row", "years", "end_years", "kind", "name"])


def visits(*rows_):
    return pd.DataFrame(list(rows_), columns=["row", "visit_id", "years", "comparable"])


def figure(found, seen, order=(0, 1), chosen=None):
    return lanes.lanes_figure(np.array(order, dtype=int), IDS, events=found, visits=seen, chosen=chosen)


def named(drawn, name):
    return next(trace for trace in drawn.data if trace.name == name)


SEEN = visits((0, "V1", 0.0, True), (0, "V2", 2.0, False), (1, "V1", 0.0, True), (2, "V1", 9.0, True))


def test_a_treatment_reaches_from_start_to_end():
    """A bar for each; one without an end goes on to the last that is known, with an arrow."""
    drawn = figure(events((0, 0.5, 1.5, "treatment", "x"), (1, 0.25, np.nan, "treatment", "y")), SEEN)
    assert (named(drawn, "x").base.tolist(), named(drawn, "x").x.tolist()) == ([0.5], [1.0])
    assert (named(drawn, "y").base.tolist(), named(drawn, "y").x.tolist()) == ([0.25], [0.0])
    assert named(drawn, "goes on").x.tolist() == [0.25]


def test_treatments_at_one_time_lie_side_by_side():
    """Two at once share the lane; one after the other have it whole."""
    shift, height = lanes._side_by_side(np.zeros(2, int), np.array([0.0, 0.5]), np.array([1.0, 2.0]))
    assert height.tolist() == [lanes.FULL / 2] * 2
    assert shift.tolist() == [-lanes.FULL / 4, lanes.FULL / 4]
    shift, height = lanes._side_by_side(np.zeros(2, int), np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    assert shift.tolist() == [0.0, 0.0]
    assert height.tolist() == [lanes.FULL] * 2


def test_moments_are_symbols_by_kind():
    """Surgery and flare are told apart by symbol and name."""
    drawn = figure(events((0, 0.5, np.nan, "surgery", "excision"), (1, 1.0, np.nan, "flare", "flare")), SEEN)
    assert named(drawn, "surgery").marker.symbol == "star"
    assert named(drawn, "flare").marker.symbol == "triangle-up"
    assert named(drawn, "surgery").customdata.tolist() == [["P1", "excision"]]


def test_visits_are_ticks_and_those_that_do_not_compare_crosses():
    """Every visit of who is drawn is there once, and nobody else's."""
    drawn = figure(events(), SEEN)
    assert list(named(drawn, "visit").x) == [0.0, 0.0]
    assert list(named(drawn, "visit, not comparable").x) == [2.0]


def test_lanes_stand_in_the_order_of_the_table():
    """The first of the table is at the top, and the chosen one is shaded."""
    drawn = figure(events((0, 0.5, 1.5, "treatment", "x")), SEEN, order=(1, 0), chosen=0)
    assert list(drawn.layout.yaxis.ticktext) == ["P2", "P1"]
    assert drawn.layout.yaxis.range[0] > drawn.layout.yaxis.range[1]
    assert named(drawn, "x").y.tolist() == [1.0]
    assert (drawn.layout.shapes[0].y0, drawn.layout.shapes[0].y1) == (0.5, 1.5)


def test_many_treatments_share_the_last_colour():
    """More names than colours: the rare ones are others, each still named on pointing."""
    found = events(*[(0, float(n), n + 0.5, "treatment", f"drug {n}") for n in range(9)])
    drawn = figure(found, SEEN)
    bars = [trace for trace in drawn.data if trace.type == "bar"]
    assert len(bars) == len(lanes.FILLS)
    assert bars[-1].name == lanes.OTHERS
    assert {one[1] for one in bars[-1].customdata} == {f"drug {n}" for n in range(5, 9)}


def test_made_up_events_are_drawn(study):
    """P001 has two treatments, a surgery and a flare."""
    at = study.ids.index("P001")
    drawn = lanes.lanes_figure(
        np.array([at]), np.array(study.ids, object), events=rows.events(study), visits=rows.visits(study), chosen=None
    )
    assert {trace.name for trace in drawn.data} >= {"thiosulfate", "pamidronate", "surgery", "flare", "visit"}
