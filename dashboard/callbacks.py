"""What happens on a choice: each function takes results and choices and returns what the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dash import Dash, Input, Output, State, ctx, no_update

from dashboard import layout, plots, slices, views, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from dash.development.base_component import Component
    from plotly.graph_objects import Figure

    from monitor.store import Results

Rows = list[dict] | None
"""Selected rows, as a grid sends them."""


def register(app: Dash, read: Callable[[], Results]) -> None:
    """Connect the page's parts; every callback reads the results anew and trusts nothing that the browser sends."""
    _register_choice(app, read)
    _register_cohort(app, read)
    _register_patient(app, read)
    _register_pictures(app, read)


def _register_choice(app: Dash, read: Callable[[], Results]) -> None:
    @app.callback(
        Output("place", "pathname"),
        Output("patients", "selectedRows"),
        Input("place", "pathname"),
        Input("patients", "selectedRows"),
        Input("cohort-figure", "clickData"),
    )
    def _choose(path: str | None, rows: Rows, click: dict | None) -> tuple[object, object]:
        return choose(read(), ctx.triggered_id, (path, rows, click))


def _register_cohort(app: Dash, read: Callable[[], Results]) -> None:
    @app.callback(
        Output("cohort-figure", "figure"),
        Output("cohort-place", "style"),
        Output("cohort-words", "children"),
        Input("quantity", "value"),
        Input("compartment", "value"),
        Input("condition", "value"),
        Input("scale", "value"),
        Input("place", "pathname"),
    )
    def _cohort(quantity: str, compartment: str, condition: str, scale: str, path: str) -> tuple[Figure, dict, str]:
        figure, told = show_cohort(read(), (quantity, compartment, condition), log=scale == "log", path=path)
        return figure, layout.figure_style(figure), told

    @app.callback(
        Output("patients", "rowData"),
        Input("quantity", "value"),
        Input("compartment", "value"),
        Input("condition", "value"),
    )
    def _patients(quantity: str, compartment: str, condition: str) -> list[dict]:
        return views.patient_rows(read(), *views.offered(read(), quantity, compartment), condition)


def _register_patient(app: Dash, read: Callable[[], Results]) -> None:
    @app.callback(
        Output("nobody", "hidden"),
        Output("nobody", "children"),
        Output("somebody", "hidden"),
        Output("patient-title", "children"),
        Output("patient-about", "children"),
        Output("events", "children"),
        Output("scans", "children"),
        Output("patient-refused", "children"),
        Input("place", "pathname"),
    )
    def _patient(path: str) -> tuple:
        return show_patient(read(), path)

    @app.callback(
        Output("patient-figure", "figure"),
        Output("patient-place", "style"),
        Output("patient-words", "children"),
        Output("verdict", "children"),
        Output("verdict", "className"),
        Input("place", "pathname"),
        Input("quantity", "value"),
        Input("compartment", "value"),
    )
    def _course(path: str, quantity: str, compartment: str) -> tuple:
        figure, *told = show_course(read(), path, quantity, compartment)
        return figure, no_update if figure is no_update else layout.figure_style(figure), *told

    @app.callback(
        Output("lesions", "rowData"),
        Output("lesions", "selectedRows"),
        Output("lesions", "style"),
        Input("place", "pathname"),
    )
    def _lesions(path: str) -> tuple[list[dict], dict, dict]:
        return show_lesions(read(), path)

    @app.callback(Output("selftest", "children"), Input("place", "pathname"))
    def _selftest(path: str) -> Component | None:
        return show_selftest(read(), path)


def _register_pictures(app: Dash, read: Callable[[], Results]) -> None:
    @app.callback(
        Output("pictures-title", "children"),
        Output("left-visit", "options"),
        Output("left-visit", "value"),
        Output("right-visit", "options"),
        Output("right-visit", "value"),
        Output("slots", "hidden"),
        Input("lesions", "selectedRows"),
        State("place", "pathname"),
    )
    def _pair(rows: Rows, path: str) -> tuple:
        return show_pair(read(), path, rows)

    @app.callback(Output("lesion-words", "children"), Input("lesions", "selectedRows"), State("place", "pathname"))
    def _words(rows: Rows, path: str) -> str:
        return show_lesion(read(), path, rows)

    for side in ("left", "right"):

        @app.callback(
            Output(f"{side}-picture", "children"),
            Input(f"{side}-visit", "value"),
            Input("lesions", "selectedRows"),
            State("place", "pathname"),
        )
        def _picture(visit: str | None, rows: Rows, path: str) -> Component | None:
            return show_picture(read(), path, rows, visit)


def choose(results: Results, source: str | None, given: tuple[str | None, Rows, dict | None]) -> tuple[object, object]:
    """Keep address, table and figure together: return the address and the selected row.

    Parameters
    ----------
    source : str or None
        What was used: the address itself at first.
    given : (str, list, dict)
        Address, selected rows of the table of patients, click on the figure.
    """
    path, rows, click = given
    picked = _clicked(click) if source == "cohort-figure" else _picked(rows) if source == "patients" else None
    now = views.patient_of(path, results)
    if source in {"cohort-figure", "patients"}:
        if picked is None or picked == now or views.patient_of(f"/patient/{picked}", results) is None:
            return no_update, no_update
        return f"/patient/{picked}", no_update if source == "patients" else {"ids": [picked]}
    return no_update, {"ids": [now]} if now else {"ids": []}


def show_cohort(results: Results, wanted: tuple[str, str, str], *, log: bool, path: str | None) -> tuple[Figure, str]:
    """Return the figure of all patients and what it shows in words; ``wanted``: quantity, compartment, condition."""
    quantity, compartment = views.offered(results, *wanted[:2])
    lines = views.courses(results, quantity, compartment, wanted[2])
    unit = lines["unit"].iloc[0] if len(lines) else "1"
    chosen = views.patient_of(path, results)
    title = words.axis_title(quantity, unit)
    figure = plots.cohort_figure(lines, chosen=chosen, title=title, unit=words.unit_name(unit), log=log)
    return figure, words.cohort_sentence(lines, chosen, log=log)


def show_patient(results: Results, path: str | None) -> tuple:
    """Return what does not hang on the quantity: title, who it is, events, scans and what was refused."""
    patient = views.patient_of(path, results)
    if patient is None:
        return False, words.nobody(path, views.patient_ids(results)), True, "", "", "", None, None
    visits = views.visit_rows(results, patient)
    scans = zip(visits["visit_id"], visits["scan_id"].fillna(""), strict=True)
    checks = [slices.address(results.folder, patient, str(v), "qc.png", scan=str(scan)) for v, scan in scans]
    refused = views.refused_rows(results, patient)
    return (
        True,
        "",
        False,
        patient,
        words.about_patient(views.about(results, patient), visits),
        words.event_sentence(views.events(results, patient)),
        layout.scans_table(visits, checks=checks) if len(visits) else "No scan of this patient was measured.",
        layout.refused_table(refused) if len(refused) else None,
    )


def show_course(results: Results, path: str | None, quantity: str, compartment: str) -> tuple:
    """Return a patient's figure, its words, the verdict and the verdict's colour."""
    patient = views.patient_of(path, results)
    if patient is None:
        return no_update, no_update, no_update, no_update
    quantity, compartment = views.offered(results, quantity, compartment)
    course = views.course(results, patient, quantity, compartment)
    changes = views.against_baseline(results, patient, quantity, compartment)
    trend = views.trend(results, patient, quantity, compartment)
    unit = course["unit"].iloc[0] if len(course) else "1"
    events = views.events(results, patient)
    figure = plots.patient_figure(
        course,
        events=events,
        changes=changes,
        trend=trend,
        title=words.axis_title(quantity, unit),
    )
    latest = views.latest_change(results, patient, quantity, compartment)
    told = words.change_sentence(latest, events, course=course, where=compartment)
    tone = words.mark(words.VERDICTS, None if latest is None else latest["verdict"])
    described = " ".join(
        filter(None, (words.course_sentence(course, quantity), words.trend_sentence(trend.get("rate"))))
    )
    return figure, described, layout.verdict(tone.symbol, told), f"verdict tone-{tone.tone}"


def show_lesions(results: Results, path: str | None) -> tuple[list[dict], dict, dict]:
    """Return a patient's lesions, the first of them selected, and the height of the table."""
    patient = views.patient_of(path, results)
    rows = views.lesion_rows(results, patient) if patient else []
    return rows, {"ids": [str(row["lesion_id"]) for row in rows[:1]]}, layout.grid_style(len(rows))


def show_selftest(results: Results, path: str | None) -> Component | None:
    """Return how well a patient's scan can be measured; nothing where no selftest was made."""
    patient = views.patient_of(path, results)
    return layout.selftest_panel(views.selftest_rows(results, patient)) if patient else None


def show_pair(results: Results, path: str | None, rows: Rows) -> tuple:
    """Return the title over the pictures, the visits to choose from left and right, and whether to hide them."""
    patient, lesion = views.patient_of(path, results), _lesion(rows)
    if patient is None or lesion is None:
        return words.no_lesion(views.lesion_rows(results, patient) if patient else []), [], None, [], None, True
    visits = views.lesion_visits(results, patient, lesion)
    options = [{"label": words.occasion(row), "value": row["visit_id"]} for _, row in visits.iterrows()]
    first, last = views.pair_to_show(results, patient, lesion)
    return f"Lesion {lesion}", options, first, options, last, False


def show_lesion(results: Results, path: str | None, rows: Rows) -> str:
    """Return in words where the selected lesion is and what became of it: all that its row may be too narrow for."""
    patient, lesion = views.patient_of(path, results), _lesion(rows)
    found = [row for row in views.lesion_rows(results, patient) if row["lesion_id"] == lesion] if patient else []
    return words.lesion_sentence(found[0]) if found else ""


def show_picture(results: Results, path: str | None, rows: Rows, visit: str | None) -> Component | None:
    """Return the picture of a lesion at a visit, or the words that say why there is none."""
    patient, lesion = views.patient_of(path, results), _lesion(rows)
    if patient is None or lesion is None or visit is None:
        return None
    seen = views.lesion_visits(results, patient, lesion)
    row = seen[seen["visit_id"] == visit]
    if row.empty:
        return None
    told = words.picture_sentence(row.iloc[0])
    source = slices.address(results.folder, patient, visit, slices.lesion_file(lesion))
    return layout.picture(source, told, f"Lesion {lesion} at {visit}. {told}")


def _clicked(click: dict | None) -> str | None:
    """Return the patient of the point that was clicked."""
    points = (click or {}).get("points") or [{}]
    data = points[0].get("customdata") or [None]
    return str(data[0]) if data[0] else None


def _picked(rows: Rows) -> str | None:
    return str(rows[0].get("patient_id")) if isinstance(rows, list) and rows else None


def _lesion(rows: Rows | dict) -> int | None:
    """Return the selected lesion; a grid sends rows, the server sends ids."""
    if isinstance(rows, dict):
        ids = rows.get("ids") or []
        return int(ids[0]) if ids and str(ids[0]).isdecimal() else None
    found = str(rows[0].get("lesion_id")) if rows else ""
    return int(found) if found.isdecimal() else None
