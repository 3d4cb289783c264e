"""The page as it comes: the first figures in it, labels on all choices, and nothing that leaks."""

import dataclasses
import json

import pytest
from plotly.io.json import to_json_plotly

from dashboard import words
from dashboard.cohort import callbacks, rows, widths

layout = callbacks.layout  # the package gives its function by the name of the module


def walk(component):
    """Yield a component and all within it."""
    yield component
    children = getattr(component, "children", None)
    for child in children if isinstance(children, list | tuple) else [children]:
        if hasattr(child, "to_plotly_json"):
            yield from walk(child)


def by_id(page):
    named = [part for part in walk(page) if getattr(part, "id", None)]
    return {part.id if isinstance(part.id, str) else json.dumps(part.id): part for part in named}


def _named(parts):
    """Return the ids that are not plain names."""
    return [name for name in parts if name.startswith("{")]


@pytest.fixture(scope="module")
def parts(study):
    return by_id(layout.layout(study))


def test_the_first_figures_are_in_the_page(parts):
    """Nothing is asked for a second time with few patients."""
    assert len(parts["cohort-figure"].figure.data) > 1
    assert len(parts["waterfall-figure"].figure.data) > 1
    assert parts["cohort-columns"].data["patient_id"]
    assert parts["cohort-after"].max_intervals == 0
    assert parts["cohort-words"].children
    assert parts["waterfall-words"].children


def test_with_many_patients_the_rest_comes_after(study, monkeypatch):
    """The first figure is not kept waiting by thousands of rows."""
    monkeypatch.setattr(layout, "AT_ONCE", 3)
    parts = by_id(layout.layout(study))
    assert len(parts["cohort-figure"].figure.data) > 1
    assert parts["cohort-columns"].data is None
    assert getattr(parts["waterfall-figure"], "figure", None) is None
    assert parts["cohort-after"].max_intervals == 1


def test_every_choice_has_a_label(study):
    """Who does not see the page hears what each choice is."""
    page = layout.layout(study)
    labelled = {part.htmlFor for part in walk(page) if type(part).__name__ == "Label"}
    assert labelled == {f"{layout.PREFIX}{name}" for name in layout.NAMES} - {"cohort-view"}


def test_each_id_is_there_once(study):
    """Two parts of one id would answer for each other."""
    ids = [str(part.id) for part in walk(layout.layout(study)) if getattr(part, "id", None)]
    assert len(ids) == len(set(ids))


def test_stores_are_forgotten_with_the_page(study):
    """Nothing of a patient is kept by the browser."""
    stores = [part for part in walk(layout.layout(study)) if type(part).__name__ == "Store"]
    assert stores
    assert {getattr(one, "storage_type", "memory") for one in stores} == {"memory"}


def test_an_empty_study_has_a_page(nobody):
    """Nobody is words, and the page stands."""
    parts = by_id(layout.layout(nobody))
    assert parts["cohort-left"].children == "All 0 patients."
    assert parts["cohort-words"].children == "There are no patients in these results."


def test_the_page_can_be_sent(study):
    """What is in the page is what JSON can hold: no NaN, which browsers do not read."""

    def refuse(name):
        raise ValueError(name)

    sent = json.loads(to_json_plotly(layout.layout(study)), parse_constant=refuse)
    assert sent["props"]["className"] == "cohort-page"


def test_a_card_links_to_the_patient():
    """The link says whom it opens."""
    said = {"patient": "P001", "who": "JDM", "symbol": "▲", "tone": "more", "sentence": "Volume increased."}
    links = [part for one in layout.card(said) for part in walk(one) if type(part).__name__ == "Link"]
    assert [(link.href, link.children) for link in links] == [("/patient/P001", "Open P001")]


def test_refused_scans_are_listed(study, nobody):
    """What was not measured stands below, with why."""
    page = [part for part in walk(layout._refused(study)) if type(part).__name__ == "Summary"]
    assert page[0].children == "Not measured: 2 scans"
    assert layout._refused(nobody).children == "No scan was refused."


def test_every_figure_can_be_saved(parts):
    """Two buttons below each of the four figures."""
    saved = {(part["save"], part["kind"]) for part in map(json.loads, _named(parts)) if "save" in part}
    assert saved >= {(name, kind) for name in ("cohort", "waterfall", "lanes", "forest") for kind in ("svg", "png")}


def test_columns_are_as_wide_as_their_longest_text(study):
    """Independent way: each text as Python writes it, at the width of a digit."""
    known = rows.cohort(study, "volume_mm3", "total")
    people = known.people.assign(lo=99896.0, hi=104210.0, change=-123456.0, by=rows.BY_EXCESS)
    found = {one.get("field", one.get("colId")): one["width"]
             for one in layout.column_definitions(dataclasses.replace(known, people=people))}  # fmt: skip
    usual = {one.get("field", one.get("colId")): one["width"] for one in layout.column_definitions(known)}
    texts = {"limits": words.limits(99896.0, 104210.0), "change": words.number(-123456.0),
             "verdict": "= no detectable change (by the excess)"}  # fmt: skip
    for name, text in texts.items():
        assert found[name] >= widths.LETTER_PX * len(text)
        assert found[name] >= usual[name]
    assert found["rate"] == usual["rate"]
