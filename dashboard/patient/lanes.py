"""Lanes below a trajectory: scans with changes of protocol, treatments, and moments such as surgery and flares."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import TYPE_CHECKING

from dashboard import words
from dashboard.markup import plain_text
from dashboard.parts import LASTING, MOMENTS
from dashboard.patient import rows
from dashboard.patient.sheet import EVENT, REST, TREATMENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboard.patient.clock import Clock
    from dashboard.patient.own import Own, Row
    from dashboard.patient.sheet import Sheet

LANE_PX = 26
"""Height of a lane."""

SCANS, EVENTS = ("scans", ""), ("events", "")
"""The lanes of scans and of moments."""

ROOM = 0.04
"""Room before the first and after the last of the time axis, as a share of what lies between."""

NAMED_APART = 0.045
"""Share of the time axis that the name of a visit needs; nearer to the last named one it is left to the pointer."""


@dataclass(frozen=True)
class Lanes:
    """What the lanes hold, and the time axis: visits, events that have a time, changes of protocol by visit."""

    visits: Mapping[str, Row]
    events: Sequence[Row]
    changed: Mapping[str, Sequence[str]]
    clock: Clock
    span: tuple[float, float]

    @property
    def lasting(self) -> list[Row]:
        """Events that last."""
        return [row for row in self.events if _lasts(row)]

    @property
    def moments(self) -> list[Row]:
        """Events that do not."""
        return [row for row in self.events if not _lasts(row)]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Lanes from the top: scans, one for each thing that lasts, one for all moments."""
        lasting = dict.fromkeys((str(row["kind"]), str(row["name"])) for row in self.lasting)
        return [SCANS, *lasting, *([EVENTS] if self.moments else [])]

    def end(self, event: Row) -> float:
        """Return the end of an event, years; what goes on ends with the axis."""
        return self.span[1] if isnan(event["end_years"]) else float(event["end_years"])


def lanes(own: Own, clock: Clock) -> Lanes:
    """Return a patient's lanes."""
    events = [row for row in own.happened if isfinite(row["years"])]
    return Lanes(own.visits, events, rows.protocol_changes(own.scans), clock, span(own, events))


def span(own: Own, events: Sequence[Row] = ()) -> tuple[float, float]:
    """Return the range of the time axis, years: all visits and events, and some room."""
    times = [row["years"] for row in (*own.visits.values(), *events)] + [row["end_years"] for row in events]
    known = [time for time in times if isfinite(time)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = ROOM * (high - low) or 0.5
    return low - room, high + room


def _lasts(row: Row) -> bool:
    return row["kind"] in LASTING or isfinite(row["end_years"])


def draw(sheet: Sheet, lanes: Lanes, *, domain: tuple[float, float]) -> None:
    """Draw the lanes on the second vertical axis."""
    names = lanes.names
    height = len(names)
    place = {name: height - 1 - number for number, name in enumerate(names)}
    kinds = [kind if number == 0 or names[number - 1][0] != kind else "" for number, (kind, _) in enumerate(names)]
    told = [plain_text(kind) for kind in kinds]
    sheet.layout["yaxis2"] = {
        "domain": list(domain), "range": [-0.5, height - 0.5], "tickvals": list(place.values()), "ticktext": told,
        "showgrid": False, "zeroline": False, "fixedrange": True, "ticks": "", "anchor": "x",
    }  # fmt: skip
    _draw_scans(sheet, lanes, place[SCANS])
    _draw_lasting(sheet, lanes, place)
    if EVENTS in place:
        _draw_moments(sheet, lanes, place[EVENTS])


def _draw_scans(sheet: Sheet, lanes: Lanes, y: float) -> None:
    """Draw a tick for each visit with its name, and a filled diamond where the protocol changed, why on pointing."""
    scans = {visit: row for visit, row in lanes.visits.items() if isfinite(row["years"])}
    apart = NAMED_APART * (lanes.span[1] - lanes.span[0])
    last = -inf
    named: list[str] = []
    told: list[str] = []
    for visit, row in scans.items():
        far = row["years"] - last >= apart
        last = row["years"] if far else last
        named.append(plain_text(visit) if far else "")
        changes = lanes.changed.get(visit, ())
        what = f"<br>changed protocol: {'<br>'.join(map(plain_text, changes))}" if changes else "<br>protocol as before"
        head = f"{plain_text(visit)}, {words.day(row['date'])}, {words.years(row['years'])} years"
        told.append(f"{head}{what if told else ''}")
    changed = [bool(lanes.changed.get(visit)) for visit in scans]
    colours = [EVENT if each else REST for each in changed]
    symbols = ["diamond" if each else "line-ns-open" for each in changed]
    sheet.trace(
        x=lanes.clock.at(row["years"] for row in scans.values()), y=[y] * len(scans), yaxis="y2", text=named,
        mode="markers+text", textposition="middle right", textfont={"size": 12}, cliponaxis=False, hoverinfo="text",
        hovertext=told, hovertemplate="%{hovertext}<extra></extra>",
        marker={"symbol": symbols, "size": 10, "color": colours, "line": {"width": 1.5, "color": colours}},
    )  # fmt: skip


def _draw_lasting(sheet: Sheet, lanes: Lanes, place: dict[tuple[str, str], int]) -> None:
    for event in lanes.lasting:
        start, stop = lanes.clock.at([event["years"], lanes.end(event)])
        y = place[str(event["kind"]), str(event["name"])]
        box = {"type": "rect", "x0": start, "x1": stop, "line": {"width": 0}, "fillcolor": _tone(event)}
        sheet.shapes.append({**box, "yref": "y2", "y0": y - 0.36, "y1": y + 0.36, "opacity": 0.42})
        name = plain_text(event["name"])
        label = f"{name} →" if isnan(event["end_years"]) else name
        sheet.note(label, x=start, y=y, xref="x", yref="y2", xanchor="left")


def _draw_moments(sheet: Sheet, lanes: Lanes, y: float) -> None:
    moments = lanes.moments
    labels = [
        plain_text(row["kind"] if row["name"] == row["kind"] else f"{row['kind']}: {row['name']}") for row in moments
    ]
    told = [
        f"{label}, {words.day(row['date'])}, {words.years(row['years'])} years"
        for label, row in zip(labels, moments, strict=True)
    ]
    symbols = [MOMENTS.get(str(row["kind"]), "circle") for row in moments]
    sheet.trace(
        x=lanes.clock.at(row["years"] for row in moments), y=[y] * len(moments), yaxis="y2", mode="markers+text",
        text=labels, textposition="middle right", textfont={"size": 12}, hovertext=told, hoverinfo="text",
        hovertemplate="%{hovertext}<extra></extra>", cliponaxis=False,
        marker={"symbol": symbols, "size": 10, "color": EVENT},
    )  # fmt: skip


def carry_up(sheet: Sheet, lanes: Lanes, *, axes: tuple[str, str] = ("x", "y")) -> None:
    """Carry treatments and moments into a panel: pale shades and dotted lines, behind all else."""
    within = {"xref": axes[0], "yref": f"{axes[1]} domain", "y0": 0, "y1": 1, "layer": "below"}
    for event in lanes.lasting:
        start, stop = lanes.clock.at([event["years"], lanes.end(event)])
        pale = {"line": {"width": 0}, "fillcolor": _tone(event), "opacity": 0.07}
        sheet.shapes.append({"type": "rect", "x0": start, "x1": stop, **pale, **within})
    for x in lanes.clock.at(row["years"] for row in lanes.moments):
        dotted = {"color": EVENT, "width": 1, "dash": "dot"}
        sheet.shapes.append({"type": "line", "x0": x, "x1": x, "line": dotted, **within})


def _tone(event: Row) -> str:
    return TREATMENT if event["kind"] == "treatment" else EVENT
