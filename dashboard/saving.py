"""Figures as files: two buttons below a figure, which the browser answers by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import MATCH, ClientsideFunction, Dash, Input, Output, html

from dashboard.parts import aria

if TYPE_CHECKING:
    from dash.development.base_component import Component

KINDS = {"svg": "SVG", "png": "PNG"}
"""Kinds of file and their names on the buttons."""


def save_buttons(name: str, stem: str = "") -> Component:
    """Return the buttons that save a figure as it is drawn, dark on white.

    Parameters
    ----------
    name : str
        The figure is ``name-figure``, as ``parts.figure`` names it.
    stem : str
        The file is ``calcitrack-<stem>.svg``: what is drawn, never of whom. The figure's name where not given.
    """
    buttons = [
        html.Button(
            shown,
            id={"save": name, "kind": kind},
            type="button",
            title=f"Save this figure as {shown}",
            **aria(label=f"Save figure as {shown}: {(stem or name).replace('-', ' ')}"),
        )
        for kind, shown in KINDS.items()
    ]
    said = html.Span(id={"save": name, "kind": "said"}, className="small", **aria(live="polite"))
    about: dict[str, Any] = {"data-figure": f"{name}-figure", "data-stem": stem or name}
    return html.Div([*buttons, said], className="saving", **about)


def register(app: Dash) -> None:
    """Connect all the buttons of all pages, once."""
    app.clientside_callback(
        ClientsideFunction("calcitrack_figures", "save"),
        Output({"save": MATCH, "kind": "said"}, "children"),
        *[Input({"save": MATCH, "kind": kind}, "n_clicks") for kind in KINDS],
        prevent_initial_call=True,
    )
