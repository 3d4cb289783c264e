"""What each part shows for a choice: figures with their words, and words where there is nothing to draw."""

import dataclasses
import json
import re

import numpy as np
import plotly.io as pio
import pytest

from dashboard.cohort import rows, views, wanted
from dashboard.cohort import words as told
from dashboard.markup import plain_text

CAUSES = re.compile(
    r"\b(because|due to|effect|caused?|superior|better|worse|treat(s|ed)? by|difference)\b", re.IGNORECASE
)
"""Words that a figure of courses cannot stand behind."""


def every_figure(study, chosen=None, **sent):
    choice = wanted.checked(study, sent)
    return {
        "main": views.main(study, choice, chosen),
        "waterfall": views.waterfall(study, choice, chosen),
        "lanes": views.lanes(study, choice, chosen, []),
        "forest": views.forest(study, choice, chosen, []),
    }


@pytest.mark.parametrize("show", wanted.SHOWS)
def test_every_figure_has_words_with_numbers(study, show):
    """The text alternative says what is seen, in time only."""
    for _, said in every_figure(study, show=show, colour="arm").values():
        assert re.search(r"\d", said)
        assert not CAUSES.search(said.replace("says nothing of a cause", ""))


@pytest.mark.parametrize("show", wanted.SHOWS)
def test_nobody_is_words(nobody, show):
    """An empty study is not an empty picture."""
    for figure, said in every_figure(nobody, show=show).values():
        assert len(figure.layout.annotations) == 1
        assert said


@pytest.mark.parametrize("show", wanted.SHOWS)
def test_a_choice_that_leaves_none_is_words(study, show):
    """A search for nobody says how to get back."""
    found = every_figure(study, show=show, search="nobody at all")
    assert found["main"][1] == told.NOBODY_LEFT
    assert all(len(figure.layout.annotations) == 1 for figure, _ in found.values())


def test_too_few_for_bands_are_drawn_as_lines(study):
    """Bands of a few patients would be those patients: lines, and it is said why."""
    figure, said = views.main(study, wanted.checked(study, {"show": "bands", "search": "p00"}), None)
    few, said_few = views.main(study, wanted.checked(study, {"show": "bands", "search": "p002"}), None)
    assert {trace.yaxis for trace in figure.data} == {None, "y2"}
    assert {trace.yaxis for trace in few.data} == {None}
    assert said_few.startswith(told.too_few_sentence())
    assert not said.startswith(told.too_few_sentence())


def test_nothing_that_compares_is_words(study):
    """Amounts at visits that do not compare are not drawn as a course."""
    made = dataclasses.replace(study, visits=study.visits.assign(comparable=False))
    figure, said = views.main(made, wanted.checked(made, {}), None)
    assert figure.layout.annotations[0].text == told.NOTHING
    assert "do not compare with the baseline" in said


def test_bands_words_are_the_quantiles(study):
    """Independent value: numpy on the amounts at the baseline, which is a visit of everybody."""
    burden = study.burden("volume_mm3", "total")
    compares = study.visits[study.visits["comparable"].fillna(True)][["patient_id", "visit_id"]]
    at_baseline = burden[burden["years"] == 0].merge(compares)["value"].dropna()
    _, said = views.main(study, wanted.checked(study, {"show": "bands"}), None)
    low, median, high = (told.number(np.quantile(at_baseline, level)) for level in (0.25, 0.5, 0.75))
    assert f"At 0.00 years ({len(at_baseline)} patients) median {median}" in said
    assert f"half {low} to {high}" in said


def test_waterfall_words_count_the_verdicts(study):
    """The numbers in words are those of the bars."""
    figure, said = views.waterfall(study, wanted.checked(study, {}), None)
    for trace in figure.data:
        if trace.type == "bar":
            assert f"{len(trace.x)} {trace.name[2:]}" in said


def test_forty_at_a_time_are_said(study):
    """Fewer lanes than patients are said, and that the table tells which."""
    order = list(range(5))
    _, said = views.lanes(study, wanted.checked(study, {}), None, order)
    assert said.startswith("5 of 35, as the table is sorted")


def test_cohort_rates_are_said_to_be_of_the_whole(study, monkeypatch):
    """With a choice that narrows, the estimates of the cohort are said not to follow it."""
    found = rows.cohort_rates(study, "volume_mm3", "total").head(0)
    found.loc[0, ["arm", "estimate", "lo", "hi", "unit", "n_patients"]] = ["", 4.0, 1.0, 7.0, "mm3/a", 12]
    monkeypatch.setattr(rows, "cohort_rates", lambda *_: found)
    _, said = views.forest(study, wanted.checked(study, {"arm": "=A"}), None, [])
    assert "of the whole study, not of the choice above" in said
    assert "whole study" not in views.forest(study, wanted.checked(study, {}), None, [])[1]


def test_the_card_says_the_verdict(study):
    """The sentence is that of the latest comparison, in time only."""
    card = views.card(study, wanted.checked(study, {}), study.ids.index("P002"))
    assert card["tone"] == "less"
    assert "decreased by" in card["sentence"]
    assert card["who"].startswith("JDM, arm B, site 01, 4 visits")
    alone = views.card(study, wanted.checked(study, {}), study.ids.index("P003"))
    assert alone["sentence"] == "One visit: there is nothing to compare yet."


def test_a_card_of_who_was_never_measured(study):
    """Somebody refused has a card, too."""
    card = views.card(study, wanted.checked(study, {}), study.ids.index("P900"))
    assert card["sentence"] == "No visit was measured."
    assert card["who"] == "AHO, no visit measured"


def test_own_trace_is_that_of_the_whole_figure(study):
    """What is put into the figure alone is what the figure would have."""
    one = study.ids.index("P001")
    for show in wanted.SHOWS:
        choice = wanted.checked(study, {"show": show})
        own, whole = views.own_trace(study, choice, one), views.main(study, choice, one)[0].data[0]
        assert pio.to_json(own) == pio.to_json(whole)
        assert len(own.x) > 1


@pytest.mark.parametrize("show", wanted.SHOWS)
def test_who_is_left_out_is_in_no_figure(study, show):
    """The chosen patient is drawn while a choice leaves it, and not while it is filtered out; the card says so."""
    one = study.ids.index("P001")
    for search, among in (("p001", True), ("p002", False)):
        drawn = every_figure(study, one, show=show, search=search)
        assert any("P001" in pio.to_json(figure) for figure, _ in drawn.values()) == among
        choice = wanted.checked(study, {"show": show, "search": search})
        assert bool(len(views.own_trace(study, choice, one).x)) == among
        assert ("not among these" in views.card(study, choice, one)["who"]) != among


LIVE = "<a href='https://x.example'>%{x}</a> & <b>5"


def texts(part):
    """Yield all texts of a figure as a browser gets it."""
    if isinstance(part, str):
        yield part
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        yield from texts(one)


@pytest.mark.parametrize("kind", [None, LIVE])
def test_text_of_the_study_is_never_markup(study, kind):
    """Condition, arm, kind and name of an event stand in names, keys and hover texts letter by letter."""
    events = study.events.assign(name=LIVE, **({} if kind is None else {"kind": kind}))
    made = dataclasses.replace(study, patients=study.patients.assign(condition=LIVE, arm=LIVE), events=events)
    for show in wanted.SHOWS:
        for colour in ("arm", "condition"):
            found = every_figure(made, 0, show=show, colour=colour)
            sent = {name: list(texts(json.loads(pio.to_json(figure)))) for name, (figure, _) in found.items()}
            assert not [one for each in sent.values() for one in each if "<a" in one or "<b>" in one or "%{x}<" in one]
            assert any(plain_text(LIVE) in one for one in sent["main"])
            assert any(plain_text(LIVE) in one for one in sent["lanes"])


def test_arms_of_rates_are_never_markup(study, monkeypatch):
    """An arm stands beside its estimate letter by letter."""
    found = rows.cohort_rates(study, "volume_mm3", "total").head(0)
    found.loc[0, ["arm", "estimate", "lo", "hi", "unit", "n_patients"]] = [LIVE, 4.0, 1.0, 7.0, "mm3/a", 12]
    monkeypatch.setattr(rows, "cohort_rates", lambda *_: found)
    figure, _ = views.forest(study, wanted.checked(study, {}), None, [])
    assert plain_text(LIVE) in figure.layout.yaxis.ticktext[-1]
    assert "<a" not in figure.data[1].customdata[0][0]
