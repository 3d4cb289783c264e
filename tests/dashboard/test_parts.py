"""Parts that the pages share."""

import plotly.graph_objects as go

from dashboard import parts


def test_a_figure_has_its_words_and_its_height():
    """Who does not see a figure is told what it shows; its place has a height before it is drawn."""
    drawn = go.Figure(layout={"height": 321})
    made = parts.figure("course", "Trajectory", drawn=drawn, said="It rises.").to_plotly_json()
    place, words = made["props"]["children"][0], made["props"]["children"][-1]
    assert place.role == "img"
    assert place.style == {"height": "321px"}
    assert getattr(place, "aria-describedby") == words.id == "course-words"
    assert words.children == "It rises."


def test_a_choice_begins_with_its_first_or_what_it_is_given():
    """The value is one of those offered."""
    options = [{"label": "volume", "value": "v"}, {"label": "mass", "value": "m"}]
    assert parts.choice("quantity", "Quantity", options).children[1].value == "v"
    assert parts.choice("quantity", "Quantity", options, "m").children[1].value == "m"
    assert parts.choice("quantity", "Quantity", []).children[1].value is None


def test_a_grid_exports_nothing_by_itself_and_names_its_rows():
    """A grid's own export would write formulas as they come."""
    grid = parts.grid("patients", [{"field": "id"}], [{"id": "P001"}], "id", height=200)
    assert grid.rowData == [{"id": "P001"}]
    assert grid.getRowId == "params.data.id"
    assert grid.dashGridOptions["suppressCsvExport"] is True


def test_columns_sort_by_number_and_show_text():
    """The number is under the text, the colour beside it, the reason on pointing."""
    assert parts.shown("value", "Volume", "value_text")["valueFormatter"] == {"function": "params.data.value_text"}
    changed = parts.changed("since", "Since")
    assert changed["tooltipField"] == "since_why"
    assert changed["cellClassRules"]["tone-more"] == "params.data.since_tone == 'more'"


def test_a_plain_table_has_a_caption_and_numbers_flush_right():
    """Heads are heads for a screen reader too."""
    table = parts.table(("Visit", "kV"), [("V1", 120)], caption="Scans", numbers={"kV"})
    caption, head, _ = table.children
    assert caption.children == "Scans"
    assert [cell.className for cell in head.children.children] == ["", "number"]
    assert all(cell.scope == "col" for cell in head.children.children)
