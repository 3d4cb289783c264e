"""The page's parts: that all is there, said in words, and named for who cannot see it."""

import json

from dashboard import layout, views, words


def parts(component) -> list:
    """Return a component and all within it."""
    return [component, *component._traverse()]


def test_research_use_is_on_the_page(results):
    """The banner stands at the top and at the foot, with the software's version."""
    page = str(layout.page(results))
    assert page.count(words.RESEARCH_ONLY) == 2
    assert "calcitrack 0.1.0, results of 2026-11-23" in page


def test_choices_are_those_of_the_results(results):
    """Only what was measured is offered."""
    dropdown = next(part for part in parts(layout.page(results)) if getattr(part, "id", None) == "quantity")
    assert [option["value"] for option in dropdown.options] == ["volume_mm3", "excess_hu_mm3", "mass_mg", "agatston"]
    assert dropdown.value == "volume_mm3"


def test_empty_results_make_a_page(nothing):
    """A study in which nobody was measured has a page too."""
    assert "No scan was refused" in str(layout.page(nothing))


def test_every_figure_has_words(results):
    """Each graph stands in a labelled frame that points at its text alternative."""
    found = {getattr(part, "id", None): part for part in parts(layout.page(results))}
    frames = [part for part in parts(layout.page(results)) if getattr(part, "role", None) == "img"]
    assert len(frames) == 2
    for frame in frames:
        told = json.loads(json.dumps(frame.to_plotly_json()["props"], default=str))
        assert told["aria-label"]
        assert told["aria-describedby"] in found


def test_refused_scans_are_listed_with_reasons(results):
    """Code and message of every refusal stand at the foot of the page."""
    page = str(layout.page(results))
    for message in results.tables["refused"]["message"]:
        assert message in page
    assert "Not measured: 2 scans" in page


def test_scans_without_a_picture_have_no_link(results):
    """A link is made only to a file that is there."""
    visits = views.visit_rows(results, "P001")
    assert "href" not in str(layout.scans_table(visits, checks=[None] * len(visits)))
    checks = [None] * (len(visits) - 1) + ["/images/P001/V5/qc.png"]
    assert str(layout.scans_table(visits, checks=checks)).count("/qc.png") == 1


def test_tables_have_headings_for_columns():
    """Header cells say that they head a column."""
    made = layout.table(("Visit", "Years"), [["V1", "0.00"]], caption="Scans")
    assert str(made).count("scope='col'") == 2


def test_grids_offer_no_code_from_data(results):
    """No cell is drawn as HTML."""
    grids = [part for part in parts(layout.page(results)) if type(part).__name__ == "AgGrid"]
    assert len(grids) == 2
    assert not [grid.id for grid in grids if getattr(grid, "dangerously_allow_code", None)]
