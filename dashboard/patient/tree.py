"""The family tree of lesions: who merged into whom, who split from whom, and when."""

from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING

from dashboard import words
from dashboard.markup import plain_text
from dashboard.patient import lanes, lesions
from dashboard.patient import sheet as sheets
from dashboard.patient.sheet import AMOUNT, EVENT, REST, Sheet, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plotly.graph_objects import Figure

    from dashboard.patient.clock import Clock
    from dashboard.patient.own import Own, Row

ROW_PX, MOST_ROWS = 26, 60
"""Height of a lesion's line, and how many are drawn; more would be no figure any more."""

SYMBOLS = {
    "new": "cross",
    "first_seen": "circle-open-dot",
    "resolved": "circle-open",
    "merged": "triangle-right",
    "split": "triangle-left",
    "not_in_field": "line-ew-open",
}
"""Symbols of a lesion's states that are told apart here; all others are a dot."""

TONES = {"new": "#D0521B", "resolved": "#009E73", "merged": EVENT, "split": EVENT, "not_in_field": REST}
"""Their colours."""

CAME_OR_WENT = ("new", "resolved")
"""Events that are drawn on choice."""


def kin(events: Sequence[Row]) -> list[list[int]]:
    """Return families: lesions tied by merges and splits.

    >>> nothing = {"into_lesion_id": None, "from_lesion_id": None}
    >>> kin([{**nothing, "lesion_id": 5, "kind": "merged", "into_lesion_id": 1},
    ...      {**nothing, "lesion_id": 7, "kind": "split", "from_lesion_id": 1},
    ...      {**nothing, "lesion_id": 9, "kind": "merged", "into_lesion_id": 8}])
    [[1, 5, 7], [8, 9]]
    """
    family: dict[int, set[int]] = {}
    for row in events:
        one, other = int(row["lesion_id"]), partner(row)
        if other is not None:
            joined = family.get(one, {one}) | family.get(other, {other})
            family.update(dict.fromkeys(joined, joined))
    return [sorted(each) for each in {min(each): each for each in family.values()}.values()]


def partner(event: Row) -> int | None:
    """Return into which lesion one merged, or from which it split."""
    other = event["into_lesion_id"] if event["kind"] == "merged" else event["from_lesion_id"]
    return None if other is None or event["kind"] not in lesions.EPISODES else int(other)


def shown(own: Own, *, came_or_went: bool) -> list[int]:
    """Return the lesions to draw, families together, then those that came or went alone."""
    order = [lesion for family in kin(own.lineage) for lesion in family]
    if came_or_went:
        order += [int(row["lesion_id"]) for row in lesions.events(own, CAME_OR_WENT)]
    return [lesion for lesion in dict.fromkeys(order) if lesion in own.lesions][:MOST_ROWS]


def figure(own: Own, clock: Clock, *, came_or_went: bool = False) -> Figure:
    """Draw each lesion as a line over time, and merges and splits as joins between lines."""
    order = shown(own, came_or_went=came_or_went)
    if not order:
        return sheets.words_alone("No lesion merged or split.")
    place = {lesion: len(order) - 1 - number for number, lesion in enumerate(order)}
    sheet = Sheet()
    sheet.layout["xaxis"] = sheets.time_axis(clock.title, clock.at(lanes.span(own)), "y", dates=clock.dated)
    sheet.layout["yaxis"] = {
        "range": [-0.6, len(order) - 0.4], "tickvals": list(place.values()), "showgrid": False, "zeroline": False,
        "ticktext": [f"lesion {lesion}" for lesion in order], "ticks": "", "fixedrange": True,
    }  # fmt: skip
    _draw_lines(sheet, own, place, clock)
    _draw_joins(sheet, own, place, clock)
    _draw_marks(sheet, own, place, clock)
    return sheet.figure(height=ROW_PX * len(order) + sheets.TOP_PX + sheets.BOTTOM_PX)


def _draw_lines(sheet: Sheet, own: Own, place: Mapping[int, int], clock: Clock) -> None:
    """Draw all lines in one trace with gaps."""
    years: list[float] = []
    heights: list[float] = []
    for lesion, y in place.items():
        times = [row["years"] for row in own.lesions[lesion]]
        years += [*times, nan]
        heights += [*[float(y)] * len(times), nan]
    line = {"color": AMOUNT, "width": 3}
    sheet.trace(x=clock.at(years), y=numbers(heights), mode="lines", line=line, opacity=0.55)


def _draw_joins(sheet: Sheet, own: Own, place: Mapping[int, int], clock: Clock) -> None:
    """Draw a join from where the one that ends, or is parted, was last seen before, to the other at the event."""
    years: list[float] = []
    heights: list[float] = []
    for row in own.lineage:
        one, other = int(row["lesion_id"]), partner(row)
        if other is None or other not in place or one not in place or isnan(row["years"]):
            continue
        start, end = (one, other) if row["kind"] == "merged" else (other, one)
        before = [each["years"] for each in own.lesions[start] if each["years"] < row["years"]]
        years += [before[-1] if before else row["years"], row["years"], nan]
        heights += [float(place[start]), float(place[end]), nan]
    if years:
        line = {"color": EVENT, "width": 2, "dash": "dot"}
        sheet.trace(x=clock.at(years), y=numbers(heights), mode="lines", line=line)


def _draw_marks(sheet: Sheet, own: Own, place: Mapping[int, int], clock: Clock) -> None:
    """Draw a mark for each lesion and visit; pointing tells it, a click picks the lesion."""
    found = [row for lesion in place for row in own.lesions[lesion]]
    told = [
        plain_text(f"lesion {row['lesion_id']} at {row['visit_id']}: {words.marked(words.STATUSES, row['status'])}")
        + ("" if isnan(row["volume_mm3"]) else f", {words.amount(row['volume_mm3'], 'mm3')}")
        for row in found
    ]
    status = [str(row["status"]) for row in found]
    sheet.trace(
        x=clock.at(row["years"] for row in found), y=[place[int(row["lesion_id"])] for row in found], mode="markers",
        customdata=[int(row["lesion_id"]) for row in found], hovertext=told, hoverinfo="text",
        hovertemplate="%{hovertext}<extra></extra>", cliponaxis=False,
        marker={
            "size": 11, "symbol": [SYMBOLS.get(each, "circle") for each in status],
            "color": [TONES.get(each, AMOUNT) for each in status],
            "line": {"width": 2, "color": [TONES.get(each, AMOUNT) for each in status]},
        },
    )  # fmt: skip


def has_events(own: Own) -> bool:
    """Tell whether there is anything to draw: a merge, a split, or what came or went."""
    return len(own.visits) > 1 and bool(lesions.events(own, (*lesions.EPISODES, *CAME_OR_WENT)))
