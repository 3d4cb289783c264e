"""The parts of the page of all patients, with its first figures in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from dashboard import parts, words
from dashboard.cohort import rows, views, widths
from dashboard.cohort import wanted as choices
from dashboard.parts import aria
from dashboard.saving import save_buttons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dash.development.base_component import Component

    from dashboard.cohort.rows import Cohort
    from dashboard.cohort.wanted import Wanted
    from dashboard.study import Study

PREFIX = "cohort-"
"""Begins the ids of the choices, since other pages have choices of the same names."""

AT_ONCE = 1500
"""Up to so many patients all is in the page as it comes; above, the first figure comes first and the rest after it."""

AFTER_MS = 30
"""When the rest is asked for, ms after the page was drawn."""

TABLE_PX = 430
"""Height of the table at most: a dozen rows."""

EMPTY_TABLE_PX = 100
"""Height of the table's titles and scroll bar, and some room."""

MOST_REFUSED = 200
"""Rows of the table of what was not measured; the rest is in the results folder."""

SEARCH_S = 0.25
"""How long typing must pause before it is looked for, s."""

NAMES = ("quantity", "compartment", "scale", "show", "colour", "unit", "best", "view", "condition", "arm", "site",
         "verdict", "search")  # fmt: skip
"""The choices, as ``wanted.checked`` takes them."""

ALL = {"condition": "all conditions", "arm": "all arms", "site": "all sites", "verdict": "all verdicts"}
"""First of each choice that narrows."""

ABOUT = {
    "waterfall": "One bar for each patient: its change from the baseline, sorted, coloured and hatched by verdict.",
    "lanes": "One lane for each patient: treatments as bars, events as symbols, visits as ticks.",
    "forest": "One row for each patient: its rate with 95 % limits, from the greatest down.",
}
"""What the figures on the right are, for who does not see them."""

LIMITS_PX = 126
"""Least width of a column of limits, pixels: that of its title."""

PICK = "Select a patient in a figure or in the table. Enter or a double click in the table opens it."


def layout(study: Study) -> Component:
    """Return the page: choices, figures, the chosen patient's card, the table, and what was not measured.

    Parameters
    ----------
    study : Study

    Returns
    -------
    Component
        With up to ``AT_ONCE`` patients nothing more is asked for; with more, only the first figure is in it.
    """
    usual = choices.checked(study, {})
    known = rows.cohort(study, usual.quantity, usual.compartment)
    whole = len(study.ids) <= AT_ONCE
    return html.Div(
        [
            dcc.Store(id="cohort-chosen", data=None),
            dcc.Store(id="cohort-first", data=[]),
            dcc.Store(id="cohort-narrowed"),
            dcc.Store(id="cohort-exported"),
            dcc.Store(id="cohort-columns", data=rows.columns(known) if whole else None),
            dcc.Interval(id="cohort-after", interval=AFTER_MS, max_intervals=0 if whole else 1),
            _head(study, usual),
            _narrowing(study),
            html.Div([_left_side(study, usual), _right_side(study, usual, whole=whole)], className="cohort-figures"),
            _table(known),
            _refused(study),
        ],
        className="cohort-page",
    )


def column_definitions(known: Cohort) -> list[dict[str, Any]]:
    """Return the columns of the table of patients; a title has the unit of what stands below it."""
    unit = words.unit_name(known.unit)
    of = f", {unit}" if unit else ""
    people = known.people
    verdicts = people[["verdict", "by"]].drop_duplicates()
    latest = max(widths.text_letters(people["state"].unique()), _letters(known, "value"))
    judged = widths.text_letters(_judged(*one) for one in verdicts.itertuples(index=False))
    return [
        {"field": "patient_id", "headerName": "Patient", "width": 96, "pinned": "left"},
        {"field": "condition", "headerName": "Condition", "width": 98, "tooltipField": "condition"},
        {"field": "arm", "headerName": "Arm", "width": 64, "tooltipField": "arm"},
        {"field": "site", "headerName": "Site", "width": 64, "tooltipField": "site"},
        _count("visits", "Visits", 66),
        _number("last_years", "Last visit, years", 88, "cohortYears(params.value)"),
        _number("value", f"Latest{of}", widths.width(latest, 108), "cohortLatest(params)"),
        _limits(known, "limits", "95 % limits", ("lo", "hi")),
        _number("change", f"Change since baseline{of}", _width(known, "change", 122), "cohortSigned(params.value)"),
        _number("change_pct", "Change since baseline, %", _width(known, "change_pct", 112),
                "cohortSigned(params.value)"),
        parts.toned("verdict", "Verdict", width=widths.width(judged, 120), tooltipField="why",
                    filter="agTextColumnFilter",
                    valueFormatter={"function": "cohortVerdict(params.value, params.data.by)"},
                    filterValueGetter={"function": "cohortVerdictWord(params.data.verdict, params.data.by)"}),
        _number("rate", f"Rate, {words.unit_name(views.rate_unit(known))}", _width(known, "rate", 104),
                "cohortSigned(params.value)"),
        _limits(known, "rate_limits", "95 % limits of the rate", ("rate_lo", "rate_hi")),
        _count("lesions", "Lesions now", 78),
        _count("new", "New lesions", 78),
        _count("not_comparable", "Visits not comparable", 104),
        _count("refused", "Scans not measured", 100),
    ]  # fmt: skip


def card(said: Mapping[str, str] | None) -> list[Component]:
    """Return what the card of the chosen patient holds; how to choose one where nobody is chosen."""
    if said is None:
        return [html.P(PICK, className="small")]
    patient = said["patient"]
    return [
        html.Div(
            [
                html.H2(patient),
                dcc.Link(f"Open {patient}", href=f"/patient/{patient}", className="open"),
                html.Span(said["who"], className="small"),
            ],
            className="bar",
        ),
        html.P(parts.verdict(said["symbol"], said["sentence"]), className=f"verdict tone-{said['tone']}"),
    ]


def _head(study: Study, usual: Wanted) -> Component:
    left, total = views.counted(study, usual)
    quantities = [{"label": words.quantity_name(name), "value": name} for name in study.quantities]
    places = [{"label": words.compartment_name(name), "value": name} for name in study.compartments]
    return html.Div(
        [
            html.H1("Patients"),
            html.P(choices.sentence(usual, left, total), id="cohort-left", role="status"),
            html.Button("Show all", id="cohort-clear", type="button", disabled=True),
            html.Div(
                [
                    _choice("quantity", "Quantity", quantities, usual.quantity),
                    _choice("compartment", "Compartment", places, usual.compartment),
                ],
                className="choices",
            ),
        ],
        className="bar cohort-head",
    )


def _narrowing(study: Study) -> Component:
    """Return the choices that narrow figures and table alike."""
    about = rows.people(study)
    offered = {
        name: [
            {"label": one or f"no {name}", "value": choices.NAMED + one if one else choices.NONE}
            for one in rows.groups(about, name)
        ]
        for name in rows.ABOUT
    }
    offered["verdict"] = [{"label": _verdict(name), "value": name} for name in rows.VERDICTS]
    boxes = [
        parts.choice(
            PREFIX + name, name.capitalize(), [{"label": first, "value": ""}, *offered[name]], "",
            search=len(offered[name]) > 12,
        )
        for name, first in ALL.items()
    ]  # fmt: skip
    search = html.Div(
        [
            html.Label("Search", htmlFor=f"{PREFIX}search", className="label"),
            dcc.Input(
                id=f"{PREFIX}search",
                type="search",
                debounce=SEARCH_S,
                value="",
                maxLength=choices.LONGEST_SEARCH,
                placeholder="patient, condition, arm, site",
                autoComplete="off",
            ),
        ],
        className="choice",
    )  # fmt: skip
    return html.Div([*boxes, search], className="cohort-narrowing", role="group", **aria(label="Which patients"))


def _left_side(study: Study, usual: Wanted) -> Component:
    figure, said = views.main(study, usual, None)
    how = html.Div(
        [
            _named("show", "Show", choices.SHOWS, usual.show),
            _named("scale", "Scale", choices.SCALES, usual.scale),
            _named("colour", "Colour", choices.COLOURS, usual.colour),
        ],
        className="cohort-how",
        role="group",
        **aria(label="How the first figure is drawn"),
    )
    about = "Amount of each patient or of all over time; the words below say its numbers."
    return html.Div(
        [
            how,
            parts.figure("cohort", about, save_buttons("cohort"), drawn=figure, said=said),
            html.Section(card(None), id="selected", className="panel", **aria(live="polite", label="Selected patient")),
        ],
        className="cohort-side",
    )


def _right_side(study: Study, usual: Wanted, *, whole: bool) -> Component:
    """Return the other figures, of which one is seen; those that are not are drawn when they are asked for."""
    options = [{"label": label, "value": name} for name, label in choices.VIEWS.items()]
    view = html.Fieldset(
        [
            html.Legend("Figure", className="unseen"),
            dcc.RadioItems(id=f"{PREFIX}view", options=options, value=usual.view, inline=True),
        ],
        className="cohort-view",
    )
    how = html.Div(
        [
            _named("best", "Which change", choices.BESTS, usual.best),
            _named("unit", "Changes in", choices.UNITS, usual.unit),
        ],
        id="waterfall-how",
        className="cohort-how",
        role="group",
        **aria(label="Which changes are drawn"),
    )
    figure, said = views.waterfall(study, usual, None) if whole else (None, "")
    first = parts.figure("waterfall", ABOUT["waterfall"], _key(), save_buttons("waterfall"), drawn=figure, said=said)
    tabs = [
        html.Div([how, first], id="waterfall-tab"),
        html.Div(parts.figure("lanes", ABOUT["lanes"], save_buttons("lanes")), id="lanes-tab", hidden=True),
        html.Div(parts.figure("forest", ABOUT["forest"], save_buttons("forest")), id="forest-tab", hidden=True),
    ]
    return html.Div([view, *tabs], className="cohort-side")


def _key() -> Component:
    """Return what the marks of the waterfall mean."""
    known = [(words.VERDICTS[name], name) for name in ("increased", "decreased", "no_detectable_change")]
    marks = [(one.symbol, one.word, name) for one, name in known]
    marks += [("―", "smallest change that counts, of each patient", "detectable")]
    return html.Ul(
        [html.Li([html.Span(symbol, className=f"bar-{tone}"), " ", meaning]) for symbol, meaning, tone in marks],
        className="key",
        **aria(label="Key to the figure"),
    )


def _table(known: Cohort) -> Component:
    grid: Any = parts.grid(
        "patients",
        column_definitions(known),
        [],
        "patient_id",
        height=min(TABLE_PX, EMPTY_TABLE_PX + parts.ROW_PX * max(len(known.people), 1)),
        options={
            "isExternalFilterPresent": {"function": "cohortNarrowed()"},
            "doesExternalFilterPass": {"function": "cohortPasses(params)"},
            "maintainColumnOrder": True,
            "localeText": {"noRowsToShow": "no patient to show"},
        },
    )
    grid.defaultColDef = {"sortable": True, "resizable": True, "filter": True, "wrapHeaderText": True}
    grid.dashGridOptions = {**grid.dashGridOptions, "headerHeight": 2 * parts.HEADER_PX - 16}
    grid.eventListeners = {
        "modelUpdated": ["cohortFirst(params)"],
        "cellKeyDown": ["cohortOpen(params)"],
        "rowDoubleClicked": ["cohortOpen(params)"],
    }
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Table", id="table-title"),
                    html.Span(
                        "A filter of a column (at its title) narrows the table, and whose lanes and rates are drawn; "
                        "the choices above narrow all.",
                        className="small",
                    ),
                    html.Button("Export these rows (CSV)", id="cohort-export", type="button"),
                ],
                className="bar",
            ),
            html.Div(grid, className="panel"),
        ],
        className="cohort-table",
        **aria(labelledby="table-title"),
    )


def _refused(study: Study) -> Component:
    """Return what was not measured, and why."""
    refused = study.refused
    if refused.empty:
        return html.P("No scan was refused.", className="small")
    count = len(refused)
    fields = ["patient_id", "visit_id", "scan_id", "path", "code", "message"]
    cells = [
        [words.plain(value) for value in row] for row in refused[fields].head(MOST_REFUSED).itertuples(index=False)
    ]
    titles = ("Patient", "Visit", "Scan", "Path", "Code", "Why it was not measured")
    caption = "Not measured" if count <= MOST_REFUSED else f"The first {MOST_REFUSED} of {count}; all: table refused"
    title = f"Not measured: {words.number(count)} {'scan' if count == 1 else 'scans'}"
    return html.Details(
        [html.Summary(title), html.Div(parts.table(titles, cells, caption=caption), className="scroll")]
    )


def _choice(name: str, label: str, options: list[dict[str, str]], value: str) -> Component:
    return parts.choice(PREFIX + name, label, options, value)


def _named(name: str, label: str, offered: Mapping[str, str], value: str) -> Component:
    return _choice(name, label, [{"label": text, "value": one} for one, text in offered.items()], value)


def _verdict(name: str) -> str:
    known = words.VERDICTS.get(name)
    return choices.verdict_name(name) if known is None else f"{known.symbol} {known.word}"


def _number(field: str, title: str, width: int, text: str) -> dict[str, Any]:
    """Return a column of numbers, written by a function of cohort.js."""
    return {"field": field, "headerName": title, "width": width, "type": "rightAligned",
            "filter": "agNumberColumnFilter", "valueFormatter": {"function": text}}  # fmt: skip


def _letters(known: Cohort, field: str) -> int:
    """Return the letters of the longest number of a column, its sign included."""
    return int(widths.number_letters(known.people[field].to_numpy(float), signed=True).max(initial=0))


def _width(known: Cohort, field: str, least: int) -> int:
    return widths.width(_letters(known, field), least)


def _judged(verdict: str, by: str) -> str:
    """Return a verdict as the table writes it."""
    return f"{_verdict(verdict)} ({by})" if by else _verdict(verdict)


def _count(field: str, title: str, width: int) -> dict[str, Any]:
    return _number(field, title, width, "cohortNumber(params.value)")


def _limits(known: Cohort, name: str, title: str, ends: tuple[str, str]) -> dict[str, Any]:
    """Return a column of two limits, as text."""
    low, high = ends
    letters = widths.limits_letters(*(known.people[one].to_numpy(float) for one in ends))
    width = widths.width(letters, LIMITS_PX)
    text = {"function": f"cohortLimits(params.data.{low}, params.data.{high})"}
    return {"colId": name, "headerName": title, "width": width, "type": "rightAligned", "valueGetter": text,
            "sortable": False, "filter": False}  # fmt: skip
