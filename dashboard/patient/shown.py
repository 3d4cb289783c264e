"""What a choice shows: the figure, its words, its marks, and the verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from dash import html

from dashboard import parts
from dashboard import words as shared
from dashboard.patient import choice as choices
from dashboard.patient import clock, lanes, plots, rows, words
from dashboard.patient import sheet as sheets
from dashboard.patient.seen import seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dash.development.base_component import Component
    from plotly.graph_objects import Figure

    from dashboard.patient.choice import Choice, Offer
    from dashboard.patient.lanes import Lanes
    from dashboard.patient.own import Own, Row
    from dashboard.patient.seen import Seen


@dataclass(frozen=True)
class Shown:
    """A trajectory: the figure, its words, and the names of the marks in it."""

    figure: Figure
    said: str
    marks: frozenset[str]


def show(own: Own, offered: Offer, chosen: Choice) -> Shown:
    """Return the trajectory of a choice."""
    every = chosen.compartment == choices.EVERY
    places = offered.compartments if every else (chosen.compartment,)
    found = [seen(own, chosen.measured, place, chosen.scale) for place in places]
    if every:
        found = [one for one in found if one.points] or found[:1]
    if all(one.why_nothing for one in found):
        return Shown(sheets.words_alone(found[0].why_nothing), words.course(found[0], chosen.measured, ""), frozenset())
    drawn = lanes.lanes(own, clock.clock(own, chosen.time))
    units = [one.unit for one in found if one.unit]
    look = plots.Look(
        scale=chosen.scale,
        title=words.title(chosen.measured, units[0] if units else "", chosen.scale),
        fit="fit" in chosen.extras,
        nadir="nadir" in chosen.extras,
    )
    if every:
        figure = plots.multiples(found, drawn, look)
    else:
        figure = plots.trajectory(found[0], drawn, look, _beside(own, chosen))
    return Shown(figure, _said(own, found, chosen, drawn), _marks(found, look, drawn))


def _beside(own: Own, chosen: Choice) -> plots.Beside:
    scores = [row for row in own.scores if row["quantity"] == chosen.score and pd.notna(row["years"])]
    if "dose" not in chosen.extras:
        return plots.Beside(scores)
    return plots.Beside(scores, rows.dose(own), least=not all(map(rows.tells_dose, own.scans)))


def _said(own: Own, found: Sequence[Seen], chosen: Choice, drawn: Lanes) -> str:
    """Say in words what the figure shows."""
    told = [words.course(one, chosen.measured, drawn.clock.title) for one in found]
    if len(found) == 1:
        told.append(words.trend(rows.trend(own, chosen.measured, found[0].compartment), found[0].unlike))
        told.append(words.scores(plots.readers(_beside(own, chosen).scores)))
    told.append(shared.event_sentence(own.events) if drawn.events else "")
    told.append(words.protocol(drawn.changed))
    return " ".join(filter(None, told))


def _marks(found: Sequence[Seen], look: plots.Look, drawn: Lanes) -> frozenset[str]:
    states = {str(row["state"]) for one in found for row in one.points}
    there = {
        "baseline": any(one.around_baseline is not None for one in found),
        "nadir": look.nadir and any(one.around_nadir is not None for one in found),
        "fit": look.fit and any(one.fit is not None for one in found),
        "treatment": any(row["kind"] == "treatment" for row in drawn.events),
        "protocol": any(drawn.changed.values()) and len(found) == 1,
    }
    return frozenset(states | {name for name, has in there.items() if has})


def verdicts(own: Own, chosen: Choice) -> list[Component]:
    """Return the verdict on the change since the baseline, large, and since previous visit and lowest amount."""
    place = "total" if chosen.compartment == choices.EVERY else chosen.compartment
    changes = own.changes(chosen.measured, place)
    latest = rows.latest(changes, "baseline")
    columns = ["visit_id", "value", "value_observed", "evaluable"]
    amounts = pd.DataFrame(list(own.amounts.get((chosen.measured, place), {}).values()), columns=columns)
    amounts.loc[amounts["evaluable"] == 0, "value_observed"] = float("nan")
    change = None if latest is None else pd.Series(latest, dtype=object)
    told = shared.change_sentence(change, own.events, course=amounts, where=place)
    excess = own.changes("excess_hu_mm3", place)
    found = shared.mark(shared.VERDICTS, None if latest is None else latest["verdict"])
    lines: list[Component] = [html.P(parts.verdict(found.symbol, told), className=f"verdict large tone-{found.tone}")]
    by_excess = words.by_excess(latest, excess).strip()
    if by_excess:
        sized = parts.verdict(found.symbol, f"Since the baseline: {by_excess[0].lower()}{by_excess[1:]}")
        lines.append(html.P(sized, className=f"verdict second tone-{found.tone}"))
    for kind, other in _beside_baseline(changes, latest):
        line = words.since(other, kind, words.by_excess(other, excess))
        if line is not None:
            symbol, tone, sentence = line
            lines.append(html.P(parts.verdict(symbol, sentence), className=f"verdict second tone-{tone}"))
    return lines


def _beside_baseline(changes: list[Row], latest: Row | None) -> list[tuple[str, Row | None]]:
    """Return the comparisons to tell beside that with the baseline, none twice where two are of the same visits."""
    previous, nadir = rows.latest(changes, "previous"), rows.latest(changes, "nadir")
    if _same(nadir, latest):
        nadir = None
    if _same(nadir, previous):
        return [("both", previous)]
    return [("previous", None if _same(previous, latest) else previous), ("nadir", nadir)]


def _same(one: Row | None, other: Row | None) -> bool:
    names = ("from_visit", "to_visit")
    return one is not None and other is not None and all(one[name] == other[name] for name in names)
