"""Parts that the pages share: choices, figures with their words, tables that sort and tables that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_ag_grid as dag
from dash import dcc, html

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dash.development.base_component import Component
    from plotly.graph_objects import Figure

TONES = ("more", "less", "same", "unknown")
"""Colours of statuses and verdicts, by name; the style sheet has them for the light and the dark page."""

GRAPH: Any = {"displaylogo": False, "displayModeBar": False, "responsive": True}
"""No tool bar: a figure leaves the page through its own links alone."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"
"""Fonts of the system in figures: none is fetched."""

LASTING = ("treatment", "exposure")
"""Kinds of event that go on when no end is recorded."""

MOMENTS = {"surgery": "star", "flare": "triangle-up", "injury": "x", "exposure": "square"}
"""Symbols in figures of events that are moments."""

ROW_PX, HEADER_PX = 32, 36
"""Heights in the tables that can be sorted."""

NO_EXPORT = {"suppressCsvExport": True, "suppressExcelExport": True}
"""A grid offers no export by itself: what leaves goes through code that makes it harmless."""


def aria(**said: str) -> dict[str, Any]:
    """Return what screen readers are told, as attributes.

    >>> aria(label="Patients")
    {'aria-label': 'Patients'}
    """
    return {f"aria-{name}": text for name, text in said.items()}


def choice(
    name: str, label: str, options: Sequence[dict[str, str]], value: str | None = None, *, search: bool = False
) -> Component:
    """Return a labelled choice of one; the first of ``options`` where no value is given."""
    first = options[0]["value"] if options else None
    chosen = first if value is None else value
    box = dcc.Dropdown(id=name, options=list(options), value=chosen, clearable=False, searchable=search)
    return html.Div([html.Label(label, htmlFor=name, className="label"), box], className="choice")


def figure(name: str, about: str, *more: Component, drawn: Figure | None = None, said: str = "") -> Component:
    """Return a figure with its text alternative below.

    Parameters
    ----------
    name : str
        Ids are ``name-figure`` (the graph), ``name-place`` (what holds it) and ``name-words`` (the text).
    about : str
        What it shows, for who does not see it.
    *more : Component
        What stands between the figure and its words: a key, say.
    drawn : Figure, optional
        What it shows at first; without it a callback fills it.
    said : str
        Its words at first.
    """
    graph = dcc.Graph(id=f"{name}-figure", config=GRAPH, **({} if drawn is None else {"figure": drawn}))
    style = {} if drawn is None else figure_style(drawn)
    place = html.Div(
        graph, id=f"{name}-place", role="img", style=style, **aria(label=about, describedby=f"{name}-words")
    )
    return html.Figure([place, *more, html.Figcaption(said, id=f"{name}-words")], className="panel")


def figure_style(drawn: Figure) -> dict[str, str]:
    """Return the style of a figure's place: a figure that follows the window fills its place, which has no height."""
    return {"height": f"{drawn.layout.height}px"}


def verdict(symbol: str, told: str) -> list[Component]:
    """Return a verdict: its symbol in its colour, and the sentence."""
    return [html.Span(symbol, className="symbol", **aria(hidden="true")), html.Span(told)]


def grid(
    name: str, columns: list[dict], rows: Sequence[dict], key: str, *, height: int, options: dict | None = None
) -> Component:
    """Return a table that sorts, and in which one row can be selected.

    Parameters
    ----------
    name : str
        Its id.
    columns : list of dict
        As ag-grid has them; ``shown``, ``toned`` and ``changed`` make them.
    rows : list of dict
        What it holds at first.
    key : str
        The field that names a row.
    height : int
        Pixels.
    options : dict, optional
        Of ag-grid, before ours.
    """
    return dag.AgGrid(
        id=name,
        columnDefs=columns,
        rowData=list(rows),
        getRowId=f"params.data.{key}",
        defaultColDef={"sortable": True, "resizable": True, "suppressMovable": True},
        dashGridOptions={
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "animateRows": False,
            "rowHeight": ROW_PX,
            "headerHeight": HEADER_PX,
            "tooltipShowDelay": 400,
            "localeText": {"noRowsToShow": "none"},
            **NO_EXPORT,
            **(options or {}),
        },
        style={"height": height},
        className="grid",
    )


def later(name: str, part: Any, after: str) -> list[Component]:
    """Return the place of a part that is drawn once a figure is: a table takes as long as the rest of a page.

    Parameters
    ----------
    name : str
        Names the place; the callback of the shell fills it.
    part : Component
        What comes, with a style of its own: its height is kept free.
    after : str
        Id of the figure that comes first.
    """
    about: Any = {"part": part, "after": after}
    return [
        html.Div(id={"place": name}, style=part.style),
        dcc.Store(id={"later": name}, data=about),
        dcc.Interval(id={"drawn": name}, interval=1, max_intervals=1),
    ]


def shown(field: str, title: str, text: str, **more: object) -> dict:
    """Return a column that sorts by a number and shows a text."""
    formatter = {"function": f"params.data.{text}"}
    return {"field": field, "headerName": title, "valueFormatter": formatter, "type": "rightAligned", **more}


def toned(field: str, title: str, tone: str = "tone", **more: object) -> dict:
    """Return a column whose cells have the colour that field ``tone`` of the row names."""
    rules = {f"tone-{name}": f"params.data.{tone} == '{name}'" for name in TONES}
    return {"field": field, "headerName": title, "cellClassRules": rules, **more}


def changed(field: str, title: str, **more: object) -> dict:
    """Return a column of a change: sorts by its number, shows its text in its colour, and says why on pointing."""
    text = {"valueFormatter": {"function": f"params.data.{field}_shown"}, "tooltipField": f"{field}_why"}
    return {**toned(field, title, f"{field}_tone"), **text, **more}


def table(
    titles: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str, numbers: Collection[str] = ()
) -> Component:
    """Return a plain table; the columns titled ``numbers`` are set flush right."""
    kinds = ["number" if title in numbers else "" for title in titles]
    head = [html.Th(title, scope="col", className=kind) for title, kind in zip(titles, kinds, strict=True)]
    cells = [[html.Td(cell, className=kind) for cell, kind in zip(row, kinds, strict=True)] for row in rows]
    return html.Table([html.Caption(caption), html.Thead(html.Tr(head)), html.Tbody([html.Tr(row) for row in cells])])
