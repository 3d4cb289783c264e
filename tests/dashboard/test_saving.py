"""Buttons that save a figure."""

import json

from dash import Dash

from dashboard import saving


def test_buttons_name_what_is_drawn_and_nobody():
    """The file's name is what is drawn; the buttons say which figure they save."""
    made = json.dumps(saving.save_buttons("patient", "trajectory"), default=lambda one: one.to_plotly_json())
    assert '"data-stem": "trajectory"' in made
    assert '"data-figure": "patient-figure"' in made
    assert "Save figure as SVG: trajectory" in made
    assert "Save figure as PNG: trajectory" in made
    assert '"data-stem": "forest"' in json.dumps(
        saving.save_buttons("forest"), default=lambda one: one.to_plotly_json()
    )


def test_one_callback_serves_all_buttons():
    """All figures of all pages share one function of the browser's."""
    app = Dash("alone")
    saving.register(app)
    assert len(app._callback_list) == 1
    assert app._callback_list[0]["clientside_function"]["namespace"] == "calcitrack_figures"
