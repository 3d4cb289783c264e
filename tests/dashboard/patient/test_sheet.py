"""A sheet becomes a figure that plotly takes."""

import plotly.graph_objects as go

from dashboard.patient import sheet


def test_a_sheet_is_a_figure():
    """Traces, shapes and notes are all in it, and plotly accepts them."""
    made = sheet.Sheet(layout={"xaxis": sheet.time_axis("Years", [0, 1], "y", dates=False)})
    made.layout["yaxis"] = sheet.amount_axis("mm³", (0, 1))
    made.trace(x=[0], y=[1], mode="markers")
    made.note("here", x=0, y=0)
    made.shapes.append({"type": "line", "x0": 0, "x1": 1, "y0": 0, "y1": 1})
    figure = go.Figure(made.figure(height=200, above=10).to_plotly_json())
    assert (len(figure.data), len(figure.layout.annotations), len(figure.layout.shapes)) == (1, 1, 1)
    assert figure.layout.margin.t == sheet.TOP_PX + 10


def test_words_alone_are_a_small_figure():
    """Where there is nothing to see, the figure says why and takes little room."""
    figure = sheet.words_alone("Nothing was measured here.")
    assert figure.layout.height == sheet.EMPTY_PX
    assert figure.layout.annotations[0].text == "Nothing was measured here."
