"""Lanes below a trajectory."""

from dashboard.patient import clock, lanes
from dashboard.patient.sheet import Sheet


def event(kind, years, **more):
    return {"patient_id": "P1", "kind": kind, "years": years, **more}


def test_what_lasts_has_a_lane_and_moments_share_one(hand_made, visit):
    """A treatment without an end goes on to the end of the axis; an event without a time is not drawn."""
    events = [event("treatment", 0.5, name="drug"), event("flare", 0.7), event("surgery", None)]
    own = hand_made(visits=[visit(1, 0.0), visit(2, 2.0)], events=events)
    found = lanes.lanes(own, clock.clock(own, "years"))
    assert found.names == [("scans", ""), ("treatment", "drug"), ("events", "")]
    assert found.end(found.lasting[0]) == found.span[1]
    sheet = Sheet()
    lanes.draw(sheet, found, domain=(0.0, 0.3))
    assert sheet.shapes[0]["x1"] == found.span[1]
    lanes.carry_up(sheet, found)
    assert [shape["type"] for shape in sheet.shapes] == ["rect", "rect", "line"]


def test_the_axis_holds_all_visits_and_events(hand_made, visit):
    """An event before the first visit is in sight too; a patient without a time has an axis all the same."""
    own = hand_made(visits=[visit(1, 0.0), visit(2, 2.0)], events=[event("injury", -1.0)])
    low, high = lanes.span(own, own.happened)
    assert low < -1.0
    assert high > 2.0
    assert lanes.span(hand_made()) == (-0.04, 1.04)
