"""Callbacks with what a browser may send: never an error, never somebody else."""

import pytest
from dash import no_update

from dashboard.cohort import callbacks, rows

layout = callbacks.layout  # the package gives its function by the name of the module

HOSTILE = [None, 7, [], {}, ["P001"], "", "../../etc/passwd", "<script>", "=nobody", "P999", True, "\x00" * 5]


def said(sent):
    return dict.fromkeys(layout.NAMES, sent)


def texts(parts):
    return [part.children for part in parts]


@pytest.mark.parametrize("sent", HOSTILE, ids=repr)
def test_hostile_choices_show_the_usual(study, sent):
    """Figures and words are those of no choice at all; a text that is searched for is the one exception."""
    usual = {"search": sent if isinstance(sent, str) else ""}
    assert callbacks.show_main(study, said(sent), sent)[2:] == callbacks.show_main(study, usual, None)[2:]
    side = callbacks.show_side(study, said(sent), sent, sent)
    assert side[2] == callbacks.show_side(study, usual, [], None)[2]
    assert callbacks.show_columns(study, sent, sent)[0] == rows.columns(rows.cohort(study, "volume_mm3", "total"))
    assert texts(callbacks.show_card(study, said(sent), sent)) == [layout.PICK]


@pytest.mark.parametrize("sent", HOSTILE, ids=repr)
def test_nobody_known_is_highlighted(study, sent):
    """A chosen patient who is not known leaves the place of the chosen empty."""
    (change,) = callbacks.show_own(study, {}, sent).to_plotly_json()["operations"]
    assert change["location"] == ["data", 0]
    assert len(change["params"]["value"]["x"]) == 0


def test_a_highlight_sends_one_course_alone(study):
    """The chosen patient's course, and nobody else's id."""
    (change,) = callbacks.show_own(study, {"show": "lines"}, "P002").to_plotly_json()["operations"]
    assert set(change["params"]["value"]["customdata"]) == {"P002"}


def test_what_is_not_seen_is_not_drawn(study):
    """Of three figures the one that is seen is made; the others stay."""
    for number, view in enumerate(callbacks.VIEWS):
        found = callbacks.show_side(study, {"view": view}, [], None)
        fresh = [part is not no_update for part in found]
        assert fresh == [place // 3 == number for place in range(9)]


def test_clear_is_offered_where_something_is_narrowed(study):
    """The button has something to do, or is off."""
    assert callbacks.show_main(study, {}, None)[4] is True
    assert callbacks.show_main(study, {"arm": "=A"}, None)[4] is False


def test_the_height_follows_the_figure(study):
    """A place is as high as what is drawn in it."""
    figure, style, *_ = callbacks.show_main(study, {}, None)
    assert style == {"height": f"{figure.layout.height}px"}


def test_titles_have_the_unit_of_the_quantity(study):
    """The table's titles say mm³ or mg."""
    titles = [one["headerName"] for one in callbacks.show_columns(study, "mass_mg", "total")[1]]
    assert "Latest, mg" in titles
    assert "Rate, mg per year" in titles


def test_an_empty_study_answers(nobody):
    """Every callback has words for nobody."""
    assert callbacks.show_main(nobody, {}, None)[3] == "All 0 patients."
    for view in callbacks.VIEWS:
        assert callbacks.show_side(nobody, {"view": view}, ["P001"], "P001")
    assert texts(callbacks.show_card(nobody, {}, "P001")) == [layout.PICK]
