"""What happens on a choice: each callback reads the results anew and trusts nothing that the browser sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ClientsideFunction, Dash, Input, Output, Patch, State, no_update

from dashboard.cohort import layout, rows, views
from dashboard.cohort import wanted as choices
from dashboard.parts import figure_style

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dash.development.base_component import Component

    from dashboard.study import Study

SPACE = "calcitrack_cohort"
"""Where cohort.js has its functions."""

FIRST = tuple(name for name in layout.NAMES if name not in ("best", "view"))
"""Choices that the first figure hangs on."""

WHO = ("quantity", "compartment", *layout.ALL, "search")
"""Choices that the card hangs on: what is said, and whether its patient is among those who are left."""

VIEWS = tuple(choices.VIEWS)


def register(app: Dash, read: Callable[[], Study]) -> None:
    """Connect the parts of the page."""
    _register_figures(app, read)
    _register_chosen(app, read)
    _register_browser(app)


def _register_figures(app: Dash, read: Callable[[], Study]) -> None:
    @app.callback(
        Output("cohort-figure", "figure"),
        Output("cohort-place", "style"),
        Output("cohort-words", "children"),
        Output("cohort-left", "children"),
        Output("cohort-clear", "disabled"),
        inputs={"sent": _inputs(FIRST), "chosen": State("cohort-chosen", "data")},
        prevent_initial_call=True,
    )
    def _main(sent: dict, chosen: object) -> tuple:
        return show_main(read(), sent, chosen)

    @app.callback(
        *(Output(f"{name}-{part}", of) for name in VIEWS
          for part, of in (("figure", "figure"), ("place", "style"), ("words", "children"))),
        inputs={
            "sent": _inputs(tuple(name for name in layout.NAMES if name not in ("scale", "show", "colour"))),
            "first": Input("cohort-first", "data"),
            "chosen": Input("cohort-chosen", "data"),
            "_after": Input("cohort-after", "n_intervals"),
        },
        prevent_initial_call=True,
    )  # fmt: skip
    def _side(sent: dict, first: object, chosen: object, _after: object) -> list:
        return show_side(read(), sent, first, chosen)

    @app.callback(
        Output("cohort-columns", "data"),
        Output("patients", "columnDefs"),
        Input("cohort-quantity", "value"),
        Input("cohort-compartment", "value"),
        Input("cohort-after", "n_intervals"),
        prevent_initial_call=True,
    )
    def _columns(quantity: object, compartment: object, _after: object) -> tuple[dict, list]:
        return show_columns(read(), quantity, compartment)


def _register_chosen(app: Dash, read: Callable[[], Study]) -> None:
    @app.callback(
        Output("selected", "children"),
        inputs={"chosen": Input("cohort-chosen", "data"), "sent": _inputs(WHO)},
        prevent_initial_call=True,
    )
    def _card(chosen: object, sent: dict) -> list[Component]:
        return show_card(read(), sent, chosen)

    @app.callback(
        Output("cohort-figure", "figure", allow_duplicate=True),
        inputs={"chosen": Input("cohort-chosen", "data"), "sent": _inputs(FIRST, State)},
        prevent_initial_call=True,
    )
    def _highlight(chosen: object, sent: dict) -> Any:
        return show_own(read(), sent, chosen)


def _register_browser(app: Dash) -> None:
    """Connect what needs no server: rows of the table, the choice of one patient, what is seen, and the export."""

    def here(name: str, *wires: Any, first: bool = False) -> None:
        app.clientside_callback(ClientsideFunction(SPACE, name), *wires, prevent_initial_call=not first)

    here("rows", Output("patients", "rowData"), Input("cohort-columns", "data"), first=True)
    here(
        "pick",
        Output("cohort-chosen", "data"),
        *(Input(f"{name}-figure", "clickData") for name in ("cohort", *VIEWS)),
        Input("patients", "selectedRows"),
        State("cohort-chosen", "data"),
    )
    here("follow", Output("cohort-exported", "data"), Input("cohort-chosen", "data"), Input("patients", "rowData"))
    here(
        "narrow",
        Output("cohort-narrowed", "data"),
        *(Input(f"{layout.PREFIX}{name}", "value") for name in (*layout.ALL, "search")),
        first=True,
    )
    here("see", *(Output(f"{name}-tab", "hidden") for name in VIEWS), Input(f"{layout.PREFIX}view", "value"))
    here(
        "clear",
        *(Output(f"{layout.PREFIX}{name}", "value") for name in (*layout.ALL, "search")),
        Output("patients", "filterModel"),
        Input("cohort-clear", "n_clicks"),
    )
    here("save", Output("cohort-export", "title"), Input("cohort-export", "n_clicks"))


def show_main(study: Study, sent: Mapping[str, object], chosen: object) -> tuple:
    """Return the first figure, its height, its words, who is shown, and whether there is nothing to clear."""
    wanted = choices.checked(study, sent)
    figure, said = views.main(study, wanted, choices.chosen(study, chosen))
    told = choices.sentence(wanted, *views.counted(study, wanted))
    return figure, figure_style(figure), said, told, not wanted.narrowed


def show_side(study: Study, sent: Mapping[str, object], first: object, chosen: object) -> list:
    """Return figure, height and words of each figure on the right; of those that are not seen, what was."""
    wanted = choices.checked(study, sent)
    one, order = choices.chosen(study, chosen), choices.order(study, first)
    if wanted.view == "waterfall":
        figure, said = views.waterfall(study, wanted, one)
    else:
        figure, said = (views.lanes if wanted.view == "lanes" else views.forest)(study, wanted, one, order)
    drawn = [figure, figure_style(figure), said]
    return [part for name in VIEWS for part in (drawn if name == wanted.view else [no_update] * len(drawn))]


def show_columns(study: Study, quantity: object, compartment: object) -> tuple[dict, list]:
    """Return the rows of the table, column by column, and its titles."""
    known = rows.cohort(study, *study.offered(quantity, compartment))
    return rows.columns(known), layout.column_definitions(known)


def show_card(study: Study, sent: Mapping[str, object], chosen: object) -> list[Component]:
    """Return the card of the chosen patient; how to choose one where nobody known is."""
    one = choices.chosen(study, chosen)
    return layout.card(None if one is None else views.card(study, choices.checked(study, sent), one))


def show_own(study: Study, sent: Mapping[str, object], chosen: object) -> Any:
    """Return the first figure with the chosen patient's course put into it; nothing else of it is sent."""
    figure = Patch()
    wanted = choices.checked(study, sent)
    figure["data"][0] = views.own_trace(study, wanted, choices.chosen(study, chosen)).to_plotly_json()
    return figure


def _inputs(names: tuple[str, ...], kind: type = Input) -> dict[str, Any]:
    return {name: kind(layout.PREFIX + name, "value") for name in names}
