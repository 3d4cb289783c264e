"""The family tree of lesions."""

import plotly.graph_objects as go
import pytest

from dashboard.patient import clock, tree


def test_only_kin_are_drawn_until_asked(p001):
    """Lesions without kin stay out; what came or went comes on choice."""
    assert tree.shown(p001, came_or_went=False) == [1, 5, 7]
    own = clock.clock(p001, "years")
    figure = tree.figure(p001, own)
    assert list(figure.layout.yaxis.ticktext) == ["lesion 1", "lesion 5", "lesion 7"]
    go.Figure(figure.to_plotly_json())


def test_joins_lead_from_the_last_visit_before(p001):
    """A merge starts where the lesion was last alone, a split where its parent was last whole."""
    joins = next(trace for trace in tree.figure(p001, clock.clock(p001, "years")).data if trace.line.dash == "dot")
    assert list(joins.x) == [0.0, 0.61, None, 0.61, 1.36, None]
    assert list(joins.y) == [1.0, 2.0, None, 2.0, 0.0, None]


def test_marks_carry_their_lesion(p001):
    """A click on a mark picks the lesion that it belongs to."""
    marks = tree.figure(p001, clock.clock(p001, "date")).data[-1]
    assert set(marks.customdata) == {1, 5, 7}
    assert "merged" in marks.hovertext[7]
    assert marks.marker.symbol[7] == "triangle-right"


def test_a_partner_that_is_not_known_breaks_nothing(hand_made, visit):
    """A merge without the other's number is told in words and not drawn."""
    lesion = {"patient_id": "P1", "visit_id": "V1", "years": 0.0, "lesion_id": 2, "status": "baseline"}
    event = {"patient_id": "P1", "visit_id": "V2", "lesion_id": 2, "kind": "merged"}
    own = hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], lesions=[lesion], lineage=[event])
    assert tree.has_events(own)
    assert "No lesion merged or split" in tree.figure(own, clock.clock(own, "years")).layout.annotations[0].text


@pytest.mark.parametrize("rows", [{}, {"lineage": [{"lesion_id": 1, "kind": "not_in_field", "visit_id": "V2"}]}])
def test_without_events_there_is_no_tree(hand_made, visit, rows):
    """Out of the field is no event of a family."""
    assert not tree.has_events(hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], **rows))
