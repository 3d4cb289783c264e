"""What the page is made of; filled by the callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_ag_grid as dag
from dash import dcc, html

from dashboard import views, words
from monitor import graded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from dash.development.base_component import Component
    from plotly.graph_objects import Figure

    from monitor.store import Results

TONES = ("more", "less", "same", "unknown")
"""Colours of statuses and verdicts, by name; the style sheet has them for the light and the dark page."""

GRAPH: Any = {"displaylogo": False, "displayModeBar": False, "responsive": True}
"""No tool bar: nothing of a figure leaves the page."""

ROW_PX, HEADER_PX = 32, 36
"""Heights in the tables that can be sorted."""

NUMBERS = {"Years", "kV", "Slice / step, mm", "Noise, HU", "Threshold, HU", "Detected from, mm³",
           "Registration residual, mm", "In the field", "Lesions"}  # fmt: skip
"""Columns of the plain tables that are set flush right."""

CSV_SAFE = {"suppressCsvExport": True, "suppressExcelExport": True}
"""The grid offers no export: files come from ``calcitrack export``."""


def page(results: Results) -> Component:
    """Return the whole page, with the choices that these results offer."""
    return html.Div(
        [
            dcc.Location(id="place", refresh=False),
            _top(results),
            html.Main([_cohort(results), _patient(), _refused(results)]),
            html.Footer([words.RESEARCH_ONLY, " ", words.software(results.run)]),
        ],
        id="page",
    )


def _top(results: Results) -> Component:
    return html.Header(
        [
            html.A("Skip to the patient", href="#patient", className="skip"),
            html.H1(dcc.Link("calcitrack", href="/", title="All patients, none chosen")),
            html.Span(words.software(results.run), className="software"),
            html.Strong(words.RESEARCH_ONLY, className="research"),
        ]
    )


def _cohort(results: Results) -> Component:
    return html.Section(
        [
            html.Div([html.H2("Patients", id="cohort-title"), _choices(results)], className="bar"),
            html.Div(
                [
                    _figure("cohort", "Trajectories of all patients. The table beside holds the same patients."),
                    html.Div(_patients_grid(), className="panel"),
                ],
                className="two cohort",
            ),
        ],
        **_aria(labelledby="cohort-title"),
    )


def _choices(results: Results) -> Component:
    quantities = [{"label": words.quantity_name(name), "value": name} for name in views.quantities(results)]
    places = [{"label": words.compartment_name(name), "value": name} for name in views.compartments(results)]
    conditions = [{"label": name, "value": name} for name in views.conditions(results)]
    scales = [{"label": "linear", "value": "linear"}, {"label": "log", "value": "log"}]
    return html.Div(
        [
            _choice("quantity", "Quantity", quantities),
            _choice("compartment", "Compartment", places),
            _choice("condition", "Condition", [{"label": "all conditions", "value": ""}, *conditions]),
            _choice("scale", "Scale", scales),
        ],
        className="choices",
    )


def _choice(name: str, label: str, options: Sequence[dict[str, str]]) -> Component:
    first = options[0]["value"] if options else None
    return html.Div(
        [
            html.Label(label, htmlFor=name, className="label"),
            dcc.Dropdown(id=name, options=list(options), value=first, clearable=False, searchable=False),
        ],
        className="choice",
    )


def _aria(**said: str) -> dict[str, Any]:
    """Return what screen readers are told, as attributes."""
    return {f"aria-{name}": text for name, text in said.items()}


def _figure(name: str, about: str, *more: Component) -> Component:
    """Return a figure with its text alternative below, filled by a callback."""
    return html.Figure(
        [
            html.Div(
                dcc.Graph(id=f"{name}-figure", config=GRAPH),
                id=f"{name}-place",
                role="img",
                **_aria(label=about, describedby=f"{name}-words"),
            ),
            *more,
            html.Figcaption(id=f"{name}-words"),
        ],
        className="panel",
    )


def figure_style(figure: Figure) -> dict[str, str]:
    """Return the style of a figure's place: a figure that follows the window fills its place, which has no height."""
    return {"height": f"{figure.layout.height}px"}


def _key() -> Component:
    """Return what the marks of a patient's figure mean."""
    marks = (
        ("●", "measured, with 95 % limits", "chosen"),
        ("◇", "not comparable with baseline", "chosen"),
        ("△", "seen in part of the field only", "chosen"),
        ("┅", "fitted line, if one was fitted", "trend"),
        ("■", "change from baseline too small to count", "band"),
    )
    return html.Ul(
        [html.Li([html.Span(symbol, className=f"mark-{tone}"), " ", meaning]) for symbol, meaning, tone in marks],
        className="key",
        **_aria(label="Key to the figure"),
    )


def verdict(symbol: str, told: str) -> list[Component]:
    """Return the verdict: its symbol in its colour, and the sentence."""
    return [html.Span(symbol, className="symbol", **_aria(hidden="true")), html.Span(told)]


def _patients_grid() -> Component:
    columns = [
        {"field": "patient_id", "headerName": "Patient", "width": 88, "pinned": "left"},
        {"field": "condition", "headerName": "Condition", "flex": 1, "minWidth": 100, "tooltipField": "condition"},
        {"field": "arm", "headerName": "Arm", "width": 62},
        {"field": "visits", "headerName": "Visits", "width": 68, "type": "rightAligned"},
        _shown("value", "Latest (95 % limits)", "shown", width=184, headerTooltip="the unit is that of the figure"),
        {**_toned("verdict", "Since baseline"), "tooltipField": "why", "width": 190},
    ]
    return _grid("patients", columns, "patient_id", height=338)


def _lesions_grid() -> Component:
    columns = [
        {"field": "lesion_id", "headerName": "Lesion", "width": 76, "type": "rightAligned", "pinned": "left"},
        {**_toned("status", "Status"), "width": 138},
        {"field": "where", "headerName": "Where", "width": 110, "tooltipField": "where"},
        _shown("baseline", "Baseline, mm³", "baseline_shown", width=122),
        _shown("previous", "Previous, mm³", "previous_shown", width=122),
        _shown("current", "Current (95 % limits), mm³", "current_shown", width=212),
        _change("since_previous", "Since previous, mm³", width=230),
        _change("since_baseline", "Since baseline, mm³", width=230),
        {"field": "since_baseline_why", "headerName": "Why", "flex": 1, "minWidth": 120,
         "tooltipField": "since_baseline_why"},
    ]  # fmt: skip
    return _grid("lesions", columns, "key", height=330)


def grid_style(rows: int) -> dict[str, int]:
    """Return the height of the table of lesions: as high as its rows, up to a dozen."""
    return {"height": HEADER_PX + ROW_PX * min(max(rows, 2), 12) + 18}


def _grid(name: str, columns: list[dict], key: str, *, height: int) -> Component:
    return dag.AgGrid(
        id=name,
        columnDefs=columns,
        rowData=[],
        getRowId=f"params.data.{key}",
        defaultColDef={"sortable": True, "resizable": True, "suppressMovable": True},
        dashGridOptions={
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "animateRows": False,
            "rowHeight": ROW_PX,
            "headerHeight": HEADER_PX,
            "tooltipShowDelay": 400,
            "localeText": {"noRowsToShow": "none"},
            **CSV_SAFE,
        },
        style={"height": height},
        className="grid",
    )


def _shown(field: str, title: str, text: str, **more: object) -> dict:
    """Return a column that sorts by a number and shows a text."""
    formatter = {"function": f"params.data.{text}"}
    return {"field": field, "headerName": title, "valueFormatter": formatter, "type": "rightAligned", **more}


def _toned(field: str, title: str, tone: str = "tone") -> dict:
    rules = {f"tone-{name}": f"params.data.{tone} == '{name}'" for name in TONES}
    return {"field": field, "headerName": title, "cellClassRules": rules}


def _change(field: str, title: str, *, width: int) -> dict:
    shown = _shown(field, title, f"{field}_shown", width=width, tooltipField=f"{field}_why")
    return {**shown, **_toned(field, title, f"{field}_tone"), "type": None}


def _patient() -> Component:
    return html.Section(
        [
            html.P("Pick a patient in the figure or in the table.", id="nobody", className="hint"),
            html.Div(
                [
                    html.Div([html.H2(id="patient-title"), html.Span(id="patient-about")], className="bar"),
                    html.P(id="verdict", className="verdict"),
                    html.P(id="events", className="small"),
                    html.Div(
                        [_figure("patient", "Trajectory of the chosen patient.", _key()), _pictures()], className="two"
                    ),
                    html.H3("Lesions"),
                    html.P(
                        "Volume of mineral at the latest visit of each lesion. Pick a row to see its slices above.",
                        className="small",
                    ),
                    html.Div(_lesions_grid(), className="panel"),
                    html.H3("Scans"),
                    html.Div(id="scans", className="scroll panel"),
                    html.Div(id="selftest"),
                    html.Div(id="patient-refused", className="scroll"),
                ],
                id="somebody",
                hidden=True,
            ),
        ],
        id="patient",
        **_aria(label="Patient"),
    )


def _pictures() -> Component:
    return html.Div(
        [
            html.H3(id="pictures-title"),
            html.P(id="lesion-words", className="small", **_aria(live="polite")),
            html.Div(
                [
                    html.Div(
                        [_slot("left", "Visit on the left"), _slot("right", "Visit on the right")], className="slots"
                    ),
                    html.P(
                        "Axial slice on the scan's own voxels; the patient's left is on the right. Solid outline: this "
                        "lesion; dashed: others; dashed circle: where a resolved one would be.",
                        className="small",
                    ),
                ],
                id="slots",
                hidden=True,
            ),
        ],
        className="panel pictures",
    )


def _slot(side: str, label: str) -> Component:
    return html.Div(
        [
            html.Label(label, htmlFor=f"{side}-visit", className="unseen"),
            dcc.Dropdown(id=f"{side}-visit", clearable=False, searchable=False, options=[]),
            html.Div(id=f"{side}-picture", **_aria(live="polite", label=label)),
        ],
        className="slot",
    )


def picture(source: str | None, told: str, about: str) -> Component:
    """Return a picture with its words, or the words alone where there is no picture."""
    if source is None:
        return html.Figure([html.Div("No picture", className="blank"), html.Figcaption(told)])
    full = html.A(html.Img(src=source, alt=about), href=source, target="_blank", rel="noopener", title="Full size")
    return html.Figure([full, html.Figcaption(told)])


def scans_table(visits: pd.DataFrame, *, checks: Sequence[str | None]) -> Component:
    """Return the scans of a patient: acquisition, quality, and whether they compare.

    ``checks`` are the addresses of the pictures of what was taken for what, scan by scan.
    """
    titles = (
        "Visit", "Date", "Years", "Scan", "kV", "Kernel", "Slice / step, mm", "Contrast", "Noise, HU",
        "Threshold, HU", "Detected from, mm³", "Registration residual, mm", "In the field", "Lesions",
        "Comparable with baseline", "Picture",
    )  # fmt: skip
    rows = [_scan_cells(row, check) for row, check in zip(visits.itertuples(), checks, strict=True)]
    return table(titles, rows, caption="Scans, oldest first")


def _scan_cells(row: Any, check: str | None) -> list[Any]:
    """Return the cells of one scan; ``row`` as ``itertuples`` gives it."""
    compares = {True: "yes", False: "no"}.get(row.comparable, words.MISSING)
    why = words.plain(row.comparable_why)
    about = f"Picture of what was taken for what at {row.visit_id}"
    link = html.A("what was taken", href=check, target="_blank", rel="noopener", **_aria(label=about))
    return [
        row.visit_id,
        words.day(row.date),
        words.years(row.years),
        words.plain(row.modality),
        words.number(row.kvp),
        words.plain(row.kernel) or words.MISSING,
        f"{words.number(row.slice_thickness_mm)} / {words.number(row.slice_increment_mm)}",
        words.plain(row.contrast),
        words.number(row.noise_hu),
        words.number(row.threshold_hu),
        words.number(row.lod_mm3),
        words.number(row.residual_mm),
        words.share(row.in_field),
        words.plain(row.n_lesions),
        f"{compares}: {why}" if why else compares,
        link if check else words.MISSING,
    ]


def selftest_panel(rows: pd.DataFrame) -> Component | None:
    """Return how well a patient's scan can be measured; nothing where no selftest was made."""
    told = graded.sentences(rows)
    if not told:
        return None
    cells = [graded.cells(one) for one in graded.grades(rows)]
    shown = table(graded.HEADS, cells, caption=graded.TITLE) if cells else None
    return html.Div(
        [
            html.H3("How well this patient's scan can be measured"),
            html.P(" ".join(told), title=graded.EXPLAINED),
            html.Div(shown, className="scroll"),
        ],
        className="panel",
    )


def refused_table(refused: pd.DataFrame) -> Component:
    """Return what was not measured, and why."""
    titles = ("Patient", "Visit", "Scan", "Path", "Code", "Why it was not measured")
    fields = ["patient_id", "visit_id", "scan_id", "path", "code", "message"]
    rows = [[words.plain(value) for value in row] for row in refused[fields].itertuples(index=False)]
    return table(titles, rows, caption="Not measured")


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str) -> Component:
    """Return a plain table."""
    kinds = ["number" if title in NUMBERS else "" for title in titles]
    head = [html.Th(title, scope="col", className=kind) for title, kind in zip(titles, kinds, strict=True)]
    cells = [[html.Td(cell, className=kind) for cell, kind in zip(row, kinds, strict=True)] for row in rows]
    return html.Table([html.Caption(caption), html.Thead(html.Tr(head)), html.Tbody([html.Tr(row) for row in cells])])


def _refused(results: Results) -> Component:
    refused = views.refused_rows(results)
    if refused.empty:
        return html.P("No scan was refused.", className="small")
    title = f"Not measured: {len(refused)} {'scan' if len(refused) == 1 else 'scans'}"
    return html.Details([html.Summary(title), html.Div(refused_table(refused), className="scroll")])
