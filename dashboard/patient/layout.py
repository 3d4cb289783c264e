"""What a patient's page is made of, with its first figures in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from dashboard import parts, printing
from dashboard import words as shared
from dashboard.parts import aria
from dashboard.patient import choice, clock, lesions, rows, sheets, strip, tree, words
from dashboard.patient.own import own
from dashboard.patient.shown import Shown, show, verdicts
from dashboard.saving import save_buttons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dash.development.base_component import Component

    from dashboard.patient.choice import Choice, Offer
    from dashboard.patient.own import Own
    from dashboard.study import Study

MOST_ROWS = 9
"""Rows of the table of lesions in sight at once."""

KEY = (
    ("measured", "●", "amount", "measured, with 95 % limits"),
    ("hollow", "◇", "amount", "not comparable with the baseline"),
    ("part", "△", "amount", "seen in part of the field only"),
    ("below", "▼", "amount", "nothing found: below what the scan would show"),
    ("unlike", "▽", "amount", "nothing found, not comparable with the baseline"),
    ("absent", "∅", "dim", "no amount, the word says why"),
    ("baseline", "■", "band", "change from the baseline too small to count"),
    ("nadir", "■", "nadir", "change from the lowest too small to count"),
    ("fit", "┅", "trend", "fitted line and its 95 % limits"),
    ("treatment", "■", "treatment", "treatment"),
    ("protocol", "◆", "event", "protocol changed, point at it for what"),
)
"""Marks of a trajectory: name, symbol, colour, meaning."""


def layout(study: Study, patient: str) -> Component:
    """Return the page of one patient.

    Parameters
    ----------
    study : Study
        The results.
    patient : str
        An id of ``study.ids``.

    Raises
    ------
    KeyError
        If the results do not know the patient.
    """
    mine = own(study, patient)
    offered = choice.offer(mine)
    chosen = choice.choose(offered, {})
    drawn = show(mine, offered, chosen)
    found = lesions.lesion_rows(mine)
    return html.Div(
        [
            dcc.Store(id="patient-id", data=patient),
            dcc.Store(id="patient-answer", data=patient),
            dcc.Store(id="patient-again"),
            _head(study, mine, patient),
            html.Div(verdicts(mine, chosen), id="patient-verdict", **aria(live="polite")),
            _trajectory(offered, chosen, drawn),
            _lesions(mine, patient, found),
            _tree(mine, patient, chosen.time),
            *_trends(mine),
            *_section("Scans", _scans(mine, patient)),
            *_section("How well this patient's scan can be measured", sheets.selftest(mine)),
            *_section("Treatments and events", _scrolling(sheets.events(mine), "Table of events")),
            *_section("Not measured", _scrolling(sheets.refused(mine), "Table of what was not measured")),
        ],
        id="patient-page",
    )


def _head(study: Study, mine: Own, patient: str) -> Component:
    before, after = rows.neighbours(study.ids, patient)
    links = [
        dcc.Link("← all patients", href="/"),
        _to(before, f"‹ {before}", "Previous patient"),
        _to(after, f"{after} ›", "Next patient"),
    ]
    nav = html.Nav([one for one in links if one], **aria(label="Patients"))
    return html.Div(
        [
            html.Div([html.H1(patient, id="patient-title"), nav], className="patient-line"),
            html.P(words.who(mine.about, list(mine.visits.values())), id="patient-about"),
            printing.links(patient),
        ],
        className="patient-head",
    )  # fmt: skip


def _to(patient: str | None, text: str, about: str) -> Component | None:
    return None if patient is None else dcc.Link(text, href=f"/patient/{patient}", title=about)


def _section(title: str, content: Sequence[Component]) -> list[Component]:
    """Return a part with its title; nothing where it would be empty."""
    name = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    head = html.H2(title, id=f"patient-{name}")
    return (
        [html.Section([head, html.Div(content, className="panel")], **aria(labelledby=f"patient-{name}"))]
        if content
        else []
    )


def _scrolling(shown: Component | None, about: str) -> list[Component]:
    """Return what may be wider than the page, to be moved by keys too."""
    return [html.Div(shown, className="scroll", tabIndex="0", role="region", **aria(label=about))] if shown else []


def _trajectory(offered: Offer, chosen: Choice, drawn: Shown) -> Component:
    figure = parts.figure(
        "patient",
        "Trajectory of this patient. The words below say what it shows.",
        html.Ul(key(drawn), className="key", id="patient-key", **aria(label="Key to the figure")),
        drawn=drawn.figure,
        said=drawn.said,
    )
    # Where nothing was measured there is nothing to choose; what hangs on the choices still finds them.
    choices = html.Div(_choices(offered, chosen), hidden=not drawn.marks)
    head = html.Div(
        [
            html.H2("Trajectory", id="trajectory-title"),
            save_buttons("patient", "trajectory"),
        ],
        className="bar",
    )
    return html.Section([head, choices, figure], className="trajectory", **aria(labelledby="trajectory-title"))


def _choices(offered: Offer, chosen: Choice) -> Component:
    quantities = {name: shared.quantity_name(name) for name in offered.quantities}
    places = {name: shared.compartment_name(name) for name in offered.compartments}
    if len(places) > 1:
        places[choice.EVERY] = choice.EVERY
    found: list[Component] = [
        parts.choice("patient-quantity", "Quantity", _options(quantities), chosen.quantity),
        html.Div(
            parts.choice("patient-norm", "As", norm_options(offered, chosen.quantity), chosen.norm),
            hidden=all(len(norms) < 2 for norms in offered.norms.values()),
        ),
        parts.choice("patient-compartment", "Where", _options(places), chosen.compartment),
        parts.choice("patient-scale", "Scale", _options(choice.SCALES), chosen.scale),
        parts.choice("patient-time", "Time", _options({name: TIMES[name] for name in offered.times}), chosen.time),
    ]
    scores = {choice.NO_SCORE: "none", **{name: shared.quantity_name(name) for name in offered.scores}}
    score = parts.choice("patient-score", "Reader's score", _options(scores), chosen.score)
    found.append(html.Div(score, hidden=not offered.scores))
    extras = dcc.Checklist(id="patient-extras", options=_options(choice.EXTRAS), value=list(chosen.extras), inline=True)
    found.append(html.Div(extras, role="group", className="extras", **aria(label="Shown beside")))
    return html.Div(found, className="choices")


TIMES = {"years": "years", "days": "days", "date": "date", "age": "age"}
"""Time axes as they are offered."""


def norm_options(offered: Offer, quantity: str) -> list[Any]:
    """Return what a quantity can be divided by."""
    return _options({norm: choice.NORMS[norm] for norm in offered.norms.get(quantity, ("",))})


def _options(named: Mapping[str, str]) -> list[Any]:
    return [{"label": label, "value": value} for value, label in named.items()]


def key(drawn: Shown) -> list[Component]:
    """Return what the marks of a figure mean, those that are in it."""
    return [
        html.Li([html.Span(symbol, className=f"mark-{tone}", **aria(hidden="true")), f" {meaning}"])
        for name, symbol, tone, meaning in KEY
        if name in drawn.marks
    ]


def _lesions(mine: Own, patient: str, found: list[dict]) -> Component:
    first = found[0] if found else None
    hint = "Volume of mineral, mm³, with 95 % limits. Pick a row by mouse or arrow keys (or press j and k)."
    search = dcc.Input(id="lesions-search", type="search", placeholder="place, status …", debounce=False)
    head = html.Div(
        [
            html.H2("Lesions", id="lesions-title"),
            html.Div([html.Label("Search", htmlFor="lesions-search", className="label"), search,
                      html.Span(id="lesions-found", className="small", **aria(live="polite"))], className="choice"),
        ],
        className="bar",
    )  # fmt: skip
    table = parts.later("lesions", _grid(found), "patient-figure") if found else []
    body: list[Component] = [html.Div([html.P(hint, className="small"), *table], className="panel")]
    if not found:
        # The table stays in the page, unseen, so that what hangs on it finds it.
        body = [html.P(words.no_lesion(found), className="panel hint"), html.Div(_grid(found), hidden=True)]
    return html.Section([head, *body, _pictures(mine, patient, first)], **aria(labelledby="lesions-title"))


def _grid(found: list[dict]) -> Component:
    place = min(_width(found, "where"), MOST_PLACE_PX)
    columns = [
        {"field": "lesion_id", "headerName": "Lesion", "width": 72, "type": "rightAligned", "pinned": "left"},
        {**parts.toned("status", "Status"), "width": _width(found, "status")},
        {"field": "where", "headerName": "Where", "width": place, "tooltipField": "where"},
        parts.shown("current", "Current", "current_shown", width=_width(found, "current_shown")),
        parts.changed("since_baseline", "Since baseline", width=_width(found, "since_baseline_shown")),
        parts.changed("since_previous", "Since previous", width=_width(found, "since_previous_shown")),
        parts.shown("baseline", "Baseline", "baseline_shown", width=_width(found, "baseline_shown")),
        parts.shown("lowest", "Lowest", "lowest_shown", width=_width(found, "lowest_shown")),
        parts.shown("previous", "Previous", "previous_shown", width=_width(found, "previous_shown")),
        {"field": "since_baseline_why", "headerName": "Why, since baseline", "flex": 1, "minWidth": 110,
         "tooltipField": "since_baseline_why"},
    ]  # fmt: skip
    height = parts.HEADER_PX + parts.ROW_PX * min(max(len(found), 2), MOST_ROWS) + 18
    leave = {"function": "calcitrackLeave(params)"}
    options = {"tabToNextCell": leave, "tabToNextHeader": leave}
    made: Any = parts.grid("lesions", columns, found, "key", height=height, options=options)
    made.selectedRows = {"ids": [row["key"] for row in found[:1]]}
    made.eventListeners = {"cellFocused": ["calcitrackPick(params)"]}
    return made


def _width(found: list[dict], field: str) -> int:
    """Return the width of a column, pixels: a number that is cut off would be another number."""
    longest = max((len(str(row[field])) for row in found), default=0)
    return max(LEAST_PX, round(LETTER_PX * longest) + PADDING_PX)


MOST_PLACE_PX = 156
"""Widest column of places, pixels; words can be cut off, the rest comes on pointing."""

LETTER_PX, PADDING_PX, LEAST_PX = 7.4, 26, 112
"""Width of a letter in the table, of what is round a cell, and of the narrowest column, pixels."""


def _pictures(mine: Own, patient: str, first: dict | None) -> Component:
    lesion = None if first is None else int(first["lesion_id"])
    said = "" if first is None else words.lesion(first)
    sources = dcc.RadioItems(
        id="strip-source", options=_options(strip.SOURCES), value=next(iter(strip.SOURCES)), inline=True
    )
    return html.Div(
        [
            dcc.Store(id="strip-lesion", data=_shown_lesion(patient, lesion)),
            html.Div(
                [
                    html.H3(strip_title(lesion), id="strip-title"),
                    html.Div(sources, role="radiogroup", className="choices", **aria(label="Kind of picture")),
                ],
                className="bar",
            ),
            html.P(said, id="strip-words", className="small", **aria(live="polite")),
            html.Div(
                [] if lesion is None else strip.strip(mine, patient, lesion),
                id="strip",
            ),
            html.P(
                "The patient's left is on the right of axial and coronal pictures. Solid outline: this lesion; dashed: "
                "others; dashed circle: its place where it has no outline. Amounts are measured on native voxels, "
                "never on resampled pictures. The baseline stays in sight; the other visits move beside it by wheel or "
                "arrow keys. A click on a picture opens it in its full size.",
                className="small",
            ),
        ],
        id="strip-panel",
        className="panel",
        hidden=lesion is None,
    )  # fmt: skip


def _shown_lesion(patient: str, lesion: int | None) -> list[object]:
    """Return whose lesion and which kind of picture the page holds at first."""
    return [patient, lesion, next(iter(strip.SOURCES))]


def strip_title(lesion: int | None) -> str:
    """Return the title over a lesion's pictures."""
    return "No lesion" if lesion is None else f"Lesion {lesion} at all visits"


def _tree(mine: Own, patient: str, time: str) -> Component | None:
    """Return the family tree; nothing where no lesion merged, split, came or went."""
    if not tree.has_events(mine):
        return None
    kin = lesions.events(mine)
    options = dcc.Checklist(
        id="tree-more", options=_options({"alone": "also lesions that came or went"}), value=[] if kin else ["alone"]
    )
    drawn = tree.figure(mine, clock.clock(mine, time), came_or_went=not kin)
    head = html.Div(
        [html.H2("Family tree of lesions", id="tree-title"), html.Div(options, className="choices"),
         save_buttons("tree", "family-tree")],
        className="bar",
    )  # fmt: skip
    about = "Lines of lesions over time, joined where they merge or split. A click on a mark picks its lesion."
    marks = (("✚", "new"), ("○", "resolved"), ("▶", "merged"), ("◀", "split"), ("–", "not in the field"),
             ("┈", "a lesion and where it went, or came from"))  # fmt: skip
    keys = html.Ul([html.Li(f"{symbol} {meaning}") for symbol, meaning in marks], className="key")
    told = words.kin(kin or lesions.events(mine, tree.CAME_OR_WENT))
    # Whose tree it is stands with the tree, which not every page has.
    whose = dcc.Store(id="tree-answer", data=patient)
    shown = parts.figure("tree", about, keys, drawn=drawn, said=told)
    return html.Section([head, shown, whose], **aria(labelledby="tree-title"))


def _trends(mine: Own) -> list[Component]:
    """Return fitted trends and what published limits say."""
    came = words.new_lesions(mine.lineage, list(mine.visits.values()))
    found: list[Component] = [html.P(came)] if came else []
    fitted = _scrolling(sheets.trends(mine), "Table of trends")
    if fitted:
        found.append(
            html.Details([html.Summary(f"All {len(mine.trends)} fitted rates, levels and half-lives"), *fitted])
        )
    limits = _scrolling(sheets.published(mine), "Table of published limits")
    return [*_section("Trends", found), *_section("Published limits", limits)]


def _scans(mine: Own, patient: str) -> list[Component]:
    if not mine.scans:
        return [html.P("No scan of this patient was measured.")]
    told = words.dose(mine.scans)
    shown = _scrolling(sheets.scans(mine, patient), "Table of scans")
    return [html.P(told), *shown] if told else shown
