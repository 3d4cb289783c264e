"""The trajectory of one patient: one compartment with its lanes, or every compartment side by side."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, isfinite, log10, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from dashboard import words
from dashboard.markup import plain_text
from dashboard.patient import lanes as lanes_of
from dashboard.patient import sheet as sheets
from dashboard.patient.seen import FROM_BASELINE, NONE_FOUND, positive_range
from dashboard.patient.sheet import AMOUNT, NADIR, REST, TREND, Sheet, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plotly.graph_objects import Figure

    from dashboard.patient.lanes import Lanes
    from dashboard.patient.own import Row
    from dashboard.patient.seen import Band, Seen

COURSE_PX, SCORE_PX, DOSE_PX, GAP_PX, LEAST_GAP_PX = 300, 104, 84, 26, 8
"""Heights within a trajectory: the amounts, reader's scores, dose, and room between."""

MULTIPLE_PX, MULTIPLE_GAP_PX = 168, 40
"""Height of one of many compartments, and room between two rows of them."""

TITLE_PX = 16
"""Room for the name of a compartment above the topmost panels."""

WIDE = 4
"""Up to so many compartments stand in two columns, more in three."""

BASELINE_TINT, NADIR_TINT, FIT_TINT = "rgba(138,147,156,0.20)", "rgba(0,158,115,0.16)", "rgba(138,109,59,0.17)"
"""Bands: change from the baseline, and from the lowest, too small to count; limits of the fitted line."""

SYMBOLS = {
    "measured": "circle",
    "hollow": "diamond-open",
    "part": "triangle-up-open",
    "below": "triangle-down",
    "unlike": "triangle-down-open",
}
"""Symbols of what is drawn of a visit."""

READERS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "hexagon")
"""Symbols of readers and compartments of a score, in turn."""

NAMED = ("top left", "bottom left")
"""Where the name of a series stands at its last point, in turn, so that two do not cover each other."""

SCORE_TONES = ("#B5557F", "#C98A00", "#009E73", "#2F7FC1")
"""Colours of the same, in turn."""


@dataclass(frozen=True)
class Look:
    """How amounts are drawn: scale, title of the axis, and which of the bands."""

    scale: str
    title: str
    fit: bool = True
    nadir: bool = False


@dataclass(frozen=True)
class Beside:
    """What is drawn below the amounts: rows of table ``scores`` of one quantity, and dose, or at ``least`` so much."""

    scores: Sequence[Row] = ()
    dose: Sequence[Row] = ()
    least: bool = False


def trajectory(seen: Seen, lanes: Lanes, look: Look, beside: Beside) -> Figure:
    """Draw one compartment above the lanes of scans, treatments and events, and what was asked for beside."""
    panels = {"lanes": lanes_of.LANE_PX * len(lanes.names)}
    if beside.scores:
        panels["score"] = SCORE_PX
    if beside.dose:
        panels["dose"] = DOSE_PX
    inner = COURSE_PX + sum(panels.values()) + LEAST_GAP_PX + GAP_PX * (len(panels) - 1)
    sheet = Sheet()
    axis = {"low": "y2", "score": "y3", "dose": "y4"}
    bottom = axis["dose"] if "dose" in panels else axis["score"] if "score" in panels else axis["low"]
    span = lanes.clock.at(lanes.span)
    sheet.layout["xaxis"] = sheets.time_axis(lanes.clock.title, span, bottom, dates=lanes.clock.kind == "date")
    top = inner - COURSE_PX
    sheet.layout["yaxis"] = _amounts(look, [seen], (top / inner, 1.0))
    lanes_of.carry_up(sheet, lanes)
    _draw(sheet, seen, lanes, look)
    top -= LEAST_GAP_PX
    lanes_of.draw(sheet, lanes, domain=((top - panels["lanes"]) / inner, top / inner))
    top -= panels["lanes"] + GAP_PX
    if "score" in panels:
        _draw_scores(sheet, beside.scores, lanes, ((top - SCORE_PX) / inner, top / inner))
        top -= SCORE_PX + GAP_PX
    if "dose" in panels:
        _draw_dose(sheet, beside, lanes, ((top - DOSE_PX) / inner, top / inner))
    return sheet.figure(height=inner + sheets.TOP_PX + sheets.BOTTOM_PX)


def multiples(every: Sequence[Seen], lanes: Lanes, look: Look) -> Figure:
    """Draw every compartment in a panel of its own, on one time axis, with its own scale."""
    columns = min(len(every), 2 if len(every) <= WIDE else 3)
    deep = ceil(len(every) / columns)
    inner = deep * MULTIPLE_PX + (deep - 1) * MULTIPLE_GAP_PX
    sheet = Sheet()
    apart = 0.075 if columns > 1 else 0.0
    width = (1 - apart * (columns - 1)) / columns
    span = lanes.clock.at(lanes.span)
    for number, seen in enumerate(every):
        row, column = divmod(number, columns)
        last = number + columns >= len(every)
        name = "" if number == 0 else str(number + 1)
        left, top = column * (width + apart), 1 - row * (MULTIPLE_PX + MULTIPLE_GAP_PX) / inner
        x_axis = {"domain": [left, left + width], "showticklabels": last, "nticks": 6}
        title = lanes.clock.title if last else ""
        dates = lanes.clock.kind == "date"
        sheet.layout[f"xaxis{name}"] = sheets.time_axis(title, span, f"y{name}", dates=dates, **x_axis)
        y_axis = _amounts(look, [seen], (max(top - MULTIPLE_PX / inner, 0.0), top), titled=column == 0)
        sheet.layout[f"yaxis{name}"] = {**y_axis, "anchor": f"x{name}", "nticks": 5}
        axes = (f"x{name}", f"y{name}")
        lanes_of.carry_up(sheet, lanes, axes=axes)
        _draw(sheet, seen, lanes, look, axes=axes)
        sheet.note(
            f"<b>{plain_text(words.compartment_name(seen.compartment))}</b>", x=0, y=1, xref=f"x{name} domain",
            yref=f"y{name} domain", xanchor="left", yanchor="bottom", yshift=2, font={"size": 13},
        )  # fmt: skip
        if seen.why_nothing:
            place = {"xref": f"x{name} domain", "yref": f"y{name} domain"}
            sheet.note(seen.why_nothing, x=0.5, y=0.5, **place)
    return sheet.figure(height=inner + sheets.TOP_PX + sheets.BOTTOM_PX + TITLE_PX, above=TITLE_PX)


def _amounts(look: Look, parts: list[Seen], domain: tuple[float, float], *, titled: bool = True) -> dict[str, Any]:
    """Return the axis of amounts."""
    axis = sheets.amount_axis(plain_text(look.title) if titled else "", domain)
    if look.scale == "log":
        ends = positive_range(parts) or (1.0, 10.0)
        return {**axis, "type": "log", "range": [log10(end) for end in ends], **_ticks(*ends)}
    if look.scale in FROM_BASELINE:
        return {**axis, "zeroline": True, "zerolinecolor": REST, "zerolinewidth": 1}
    return {**axis, "rangemode": "tozero"}


def _ticks(low: float, high: float) -> dict[str, Any]:
    """Return the ticks of a logarithmic axis: decades, with 2 and 5, or with all digits, until there are enough.

    >>> _ticks(0.9, 150.0)["ticktext"], _ticks(550.0, 990.0)["ticktext"]
    (['1', '2', '5', '10', '20', '50', '100'], ['600', '700', '800', '900'])
    """
    found: list[float] = []
    for digits in ((1,), (1, 2, 5), tuple(range(1, 10))):
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        found = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(found) >= LEAST_TICKS:
            break
    return {"tickvals": found, "ticktext": [words.number(value) for value in found]}


LEAST_TICKS = 4
"""Ticks that a logarithmic axis has at least."""


def _draw(sheet: Sheet, seen: Seen, lanes: Lanes, look: Look, *, axes: tuple[str, str] = ("x", "y")) -> None:
    """Draw bands, the fitted line and the points of one compartment."""
    if not seen.points:
        return
    on = {"xaxis": axes[0], "yaxis": axes[1]}
    floor = (positive_range([seen]) or (0.0, 0.0))[0] if look.scale == "log" else None
    if seen.around_baseline is not None:
        _band(sheet, seen.around_baseline, lanes, BASELINE_TINT, floor=floor, **on)
    if look.nadir and seen.around_nadir is not None:
        _band(sheet, seen.around_nadir, lanes, NADIR_TINT, floor=floor, **on)
        _middle(sheet, seen.around_nadir, lanes, {"color": NADIR, "width": 1.2, "dash": "dot"}, floor=floor, **on)
    if look.fit and seen.fit is not None:
        _band(sheet, seen.fit, lanes, FIT_TINT, floor=floor, **on)
        _middle(sheet, seen.fit, lanes, {"color": TREND, "width": 1.8, "dash": "dash"}, floor=floor, **on)
    _points(sheet, _drawable(seen.points, floor), seen, lanes, axes)


def _drawable(points: list[Row], floor: float | None) -> list[Row]:
    """Return the points as a scale can hold them: on a logarithmic one nothing lies at 0."""
    return points if floor is None else [_above(row, floor) for row in points]


def _above(row: Row, floor: float) -> Row:
    if row["state"] == "absent" or row["y"] > 0:
        return {**row, "y_lo": max(row["y_lo"], floor) if isfinite(row["y_lo"]) else nan}
    return {**row, "state": "absent", "word": "none found"}


def _band(sheet: Sheet, band: Band, lanes: Lanes, tint: str, *, floor: float | None, **on: str) -> None:
    """Draw a band in one trace, with a gap where it is broken."""
    known = np.isfinite(band.low) & np.isfinite(band.high) & np.isfinite(band.years)
    years: list[float] = []
    heights: list[float] = []
    for run in np.split(np.arange(len(known)), np.flatnonzero(known[1:] != known[:-1]) + 1):
        if len(run) < 2 or not known[run[0]]:
            continue
        low, high = (edge[run] if floor is None else np.maximum(edge[run], floor) for edge in (band.low, band.high))
        years += [*([nan] if years else []), *band.years[run], *band.years[run][::-1]]
        heights += [*([nan] if heights else []), *high, *low[::-1]]
    if years:
        sheet.trace(x=lanes.clock.at(years), y=numbers(heights), fill="toself", fillcolor=tint, mode="lines",
                    line={"width": 0}, **on)  # fmt: skip


def _middle(sheet: Sheet, band: Band, lanes: Lanes, pen: dict[str, Any], *, floor: float | None, **on: str) -> None:
    if band.middle is None:
        return
    middle = band.middle if floor is None else np.where(band.middle > floor, band.middle, np.nan)
    sheet.trace(x=lanes.clock.at(band.years), y=numbers(middle), mode="lines", line=pen, **on)


def _points(sheet: Sheet, points: list[Row], seen: Seen, lanes: Lanes, axes: tuple[str, str]) -> None:
    """Draw what was measured, and say at the foot of the axis what was not."""
    on = {"xaxis": axes[0], "yaxis": axes[1]}
    joined = [row for row in points if row["state"] in ("measured", "below")]
    line = {"color": AMOUNT, "width": 1.7}
    sheet.trace(x=_times(lanes, joined), y=[row["y"] for row in joined], mode="lines", line=line, **on)
    for state, symbol in SYMBOLS.items():
        own = [row for row in points if row["state"] == state]
        if not own:
            continue
        below = {"text": [_below(row["y"], seen.unit) for row in own], "textposition": "top center"}
        none = state in NONE_FOUND
        sheet.trace(
            x=_times(lanes, own), y=[row["y"] for row in own], mode="markers+text" if none else "markers",
            name=state, hovertext=[_told(row, seen.unit) for row in own], hoverinfo="text", error_y=_errors(own),
            hovertemplate="%{hovertext}<extra></extra>", cliponaxis=False,
            marker={"symbol": symbol, "size": 9, "color": AMOUNT, "line": {"width": 2, "color": AMOUNT}},
            **(below if none else {}), **on,
        )  # fmt: skip
    absent = [row for row in points if row["state"] == "absent" and isfinite(row["years"])]
    for row, x in zip(absent, _times(lanes, absent), strict=True):
        word = plain_text(f"∅ {row['word']}")
        sheet.note(
            word, x=x, y=0, xref=axes[0], yref=f"{axes[1]} domain", yanchor="bottom", textangle=-90,
            hovertext=_told(row, seen.unit), font={"size": 11},
        )  # fmt: skip


def _times(lanes: Lanes, points: Sequence[Row]) -> list[Any]:
    return lanes.clock.at(row["years"] for row in points)


def _errors(points: list[Row]) -> dict[str, Any]:
    """Return the limits of points as plotly wants them: distances, 0 where there are none."""
    up = [row["y_hi"] - row["y"] if isfinite(row["y_hi"]) else 0.0 for row in points]
    down = [row["y"] - row["y_lo"] if isfinite(row["y_lo"]) else 0.0 for row in points]
    pen = {"thickness": 1.5, "width": 4, "color": AMOUNT}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, **pen}


def _below(limit: float, unit: str) -> str:
    """Return what stands at a visit where nothing was found.

    >>> _below(3.42, "mm3").replace(words.THIN, " "), _below(0.0, "mg")
    ('below 3.42 mm³', 'none found')
    """
    return f"below {plain_text(words.amount(limit, unit))}" if limit > 0 else "none found"


def _told(row: Row, unit: str) -> str:
    """Return what a visit says on pointing."""
    head = f"{plain_text(row['visit_id'])}, {words.day(row['date'])}, {words.years(row['years'])} years"
    if row["state"] == "absent":
        return f"{head}<br>{plain_text(row['word'])}"
    percent = f"{words.THIN}%" if unit == "%" else f" {plain_text(words.unit_name(unit))}"
    none = row["state"] in NONE_FOUND
    amount = _below(row["y"], unit) if none else words.with_limits(row["y"], row["y_lo"], row["y_hi"])
    size = amount if none else f"{amount}{percent}"
    part = "<br>seen in part of the field only" if row["state"] == "part" else ""
    why = plain_text(words.plain(row["comparable_why"]))
    head_why = "not comparable with the baseline: " if row["state"] in ("hollow", "unlike") else ""
    return f"{head}<br>{size}{part}{f'<br>{head_why}{why}' if why else ''}"


def _draw_scores(sheet: Sheet, scores: Sequence[Row], lanes: Lanes, domain: tuple[float, float]) -> None:
    """Draw readers' scores, a line for each reader and compartment, named at its end."""
    printed = plain_text(words.unit_name(next((row["unit"] for row in scores if row["unit"]), None)))
    quantity = plain_text(words.quantity_name(str(scores[0]["quantity"])))
    title = f"{quantity}<br>({printed})" if printed else quantity
    axis = sheets.amount_axis(title, domain, nticks=5, anchor="x", rangemode="tozero")
    axis["title"]["font"] = {"size": 12}
    sheet.layout["yaxis3"] = axis
    for number, (reader, own) in enumerate(readers(scores).items()):
        name = plain_text(reader)
        tone = SCORE_TONES[number % len(SCORE_TONES)]
        told = [
            f"{name or quantity}, {words.day(row['date'])}: {words.number(row['value'])} {printed}".strip()
            for row in own
        ]
        sheet.trace(
            x=_times(lanes, own), y=numbers([row["value"] for row in own]), yaxis="y3", mode="lines+markers+text",
            hovertext=told, hoverinfo="text", hovertemplate="%{hovertext}<extra></extra>",
            line={"color": tone, "width": 1.5}, marker={"symbol": READERS[number % len(READERS)], "size": 8},
            text=[*[""] * (len(own) - 1), name], textposition=NAMED[number % len(NAMED)], textfont={"size": 12},
            cliponaxis=False,
        )  # fmt: skip


def readers(scores: Sequence[Row]) -> dict[str, list[Row]]:
    """Return scores by the name of reader and compartment.

    >>> sorted(readers([{"reader": "A", "compartment": "total"}, {"reader": None, "compartment": "left_thigh"}]))
    ['A', 'left thigh']
    """
    found: dict[str, list[Row]] = {}
    for row in scores:
        place = words.plain(row["compartment"])
        where = words.compartment_name(place) if place not in ("", "total") else ""
        found.setdefault(", ".join(filter(None, (words.plain(row["reader"]), where))), []).append(row)
    return dict(sorted(found.items()))


def _draw_dose(sheet: Sheet, beside: Beside, lanes: Lanes, domain: tuple[float, float]) -> None:
    """Draw the dose-length product so far, as steps; a scan that tells none makes it a lower bound."""
    dose = beside.dose
    title = "Dose so far,<br>at least (mGy·cm)" if beside.least else "Dose so far<br>(mGy·cm)"
    axis = sheets.amount_axis(title, domain, nticks=4, anchor="x", rangemode="tozero")
    axis["title"]["font"] = {"size": 12}
    sheet.layout["yaxis4"] = axis
    told = [
        f"{plain_text(row['visit_id'])}: {words.number(row['dlp_mgy_cm'])}, so far "
        f"{'at least ' if row['least'] else ''}{words.number(row['so_far'])} mGy·cm"
        for row in dose
    ]
    sheet.trace(
        x=_times(lanes, dose), y=[row["so_far"] for row in dose], yaxis="y4", mode="lines+markers",
        line={"shape": "hv", "color": REST, "width": 1.7}, marker={"size": 7, "color": REST}, hovertext=told,
        hoverinfo="text", hovertemplate="%{hovertext}<extra></extra>",
    )  # fmt: skip
