"""What stands round every page: head, foot, and the page that the address names."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from typing import TYPE_CHECKING, Any

from dash import MATCH, ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update, set_props

from dashboard import cohort, patient, saving, words
from dashboard.entry import OUT
from dashboard.parts import aria
from monitor.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dash.development.base_component import Component

    from dashboard.study import Study

LOG = logging.getLogger(__name__)

RUN_HEADER = "X-Calcitrack-Run"
"""Header of the answers of callbacks: of which run they are."""

PATIENT_PATH = re.compile(r"/patient/([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
"""Address of a patient's page; the group is an id as the study folder allows it."""

LOADING_MS = 350
"""How long a page may be on its way before that is shown, ms: what comes sooner would only flicker."""

FAULT = (
    "This could not be shown: a fault of calcitrack, not of the results. What is on the screen may be of an earlier "
    "choice. Reload the page; if it comes again, the log of `calcitrack dashboard` says what to report."
)

PUBLISHING = "The results are being published anew, or were taken away. Reload the page in a moment."


def key(study: Study) -> str:
    """Return what tells one run's results from another's."""
    return hashlib.sha256(json.dumps(study.run, sort_keys=True, default=str).encode()).hexdigest()[:16]


def frame(study: Study, path: str | None = None, *, signed_in: bool = False) -> Component:
    """Return what every page has, with the page that is asked for in it.

    Parameters
    ----------
    study : Study
        The results.
    path : str, optional
        The address, where it is known: one round trip less. Else the callback of ``register`` puts the page in.
    signed_in : bool
        Whether a person came in with a token, and may sign out.
    """
    about: Any = {"data-run": key(study)}
    only: Any = {"page": "children"}
    waiting = html.P("The results are being read.", className="hint")
    leave = html.Form(html.Button("Sign out", type="submit"), action=OUT, method="POST")
    return html.Div(
        [
            dcc.Location(id="place", refresh=False),
            dcc.Store(id="shown-path", data=path),
            html.Header(
                [
                    html.A("Skip to the content", href="#content", className="skip"),
                    html.Span(dcc.Link("calcitrack", href="/", title="All patients"), className="brand"),
                    html.Nav(html.Ul(html.Li(dcc.Link("Patients", href="/"))), **aria(label="Pages")),
                    html.Strong(words.RESEARCH_ONLY, className="research"),
                    html.Button("Dark", id="theme", type="button", title="Change between light and dark"),
                    *([leave] if signed_in else []),
                ]
            ),
            html.P(id="trouble", role="alert", hidden=True),
            html.Main(
                dcc.Loading(
                    html.Div(waiting if path is None else page(study, path), id="page"),
                    # Choices within a page show their answer by themselves, and leave what is beside them to the mouse.
                    target_components=only,
                    delay_show=LOADING_MS,
                    overlay_style={"visibility": "visible", "opacity": 0.5},
                    color="var(--focus)",
                ),
                id="content",
                tabIndex="-1",
            ),
            html.Footer([words.RESEARCH_ONLY, " ", words.software(study.run)]),
        ],
        id="frame",
        **about,
    )


def register(app: Dash, read: Callable[[], Study]) -> None:
    """Connect address and page, and what the pages hold."""

    @app.callback(
        Output("page", "children"),
        Output("shown-path", "data"),
        Input("place", "pathname"),
        State("shown-path", "data"),
    )
    def _page(path: str | None, shown: str | None) -> tuple[object, object]:
        return (no_update, no_update) if path == shown else (page(read(), path), path)

    app.clientside_callback(
        ClientsideFunction("calcitrack_shell", "arrived"),
        Output("content", "title"),
        Input("page", "children"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("calcitrack_shell", "theme"), Output("theme", "children"), Input("theme", "n_clicks")
    )
    app.clientside_callback(
        ClientsideFunction("calcitrack_shell", "later"),
        Output({"place": MATCH}, "children"),
        Input({"drawn": MATCH}, "n_intervals"),
        State({"later": MATCH}, "data"),
        prevent_initial_call=True,
    )
    cohort.register(app, read)
    patient.register(app, read)
    saving.register(app)


def page(study: Study, path: str | None) -> Component:
    """Return the page that an address names; words where it names none."""
    found = PATIENT_PATH.fullmatch(path or "")
    try:
        if (path or "/") == "/":
            return cohort.layout(study)
        if found and found[1] in study.ids:
            return patient.layout(study, found[1])
    except StoreError as error:
        LOG.warning("a page could not be read: %s", error)
        return html.Div([html.H1("No results for the moment"), html.P(PUBLISHING, role="status")])
    return html.Div(
        [
            html.H1("No such page"),
            html.P("These results hold no patient of that name, or the address has a slip of the pen.", role="status"),
            html.P(dcc.Link("To all patients", href="/")),
        ]
    )


def say_fault(error: Exception) -> None:
    """Tell the reader that a callback failed; the error itself goes to the log."""
    gone = isinstance(error, StoreError)
    LOG.error("a part of the page could not be made: %s", error, exc_info=None if gone else error)
    shown: dict[str, Any] = {"children": PUBLISHING if gone else FAULT, "hidden": False}
    set_props("trouble", shown)
