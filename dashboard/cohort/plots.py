"""The first figure of the cohort, and what all its figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from dashboard import words
from dashboard.cohort.bands import LEVELS
from dashboard.markup import plain_text
from dashboard.parts import FONT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from dashboard.cohort.bands import Bands
    from dashboard.cohort.shown import Group, Lines

CHOSEN, REST, PLAIN = "#2F7FC1", "#7F8890", "#5F7F9F"
"""Mid tones: 3 to 1 and more on the light and on the dark page. The chosen patient, the others, and bands."""

GROUPS = ("#D55E00", "#009E73", "#B5557F", "#A67C00", "#7A6FD0", REST)
"""Colours of groups, mid tones after Okabe and Ito, none like the chosen patient's; the last is of the others."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "solid")
"""Lines of groups, so that colour is never all there is."""

TONES = {"increased": "#D55E00", "decreased": "#009E73", "no_detectable_change": REST}
"""Colours of verdicts that are drawn."""

OUTER, INNER, GROUP_FILL = 0.2, 0.42, 0.22
"""Opacity of the bands of nine in ten and of half the patients, and of half a group."""

MOST_BANDS = 3
"""Groups whose bands are drawn; of more, the medians alone, since bands would hide each other."""

FIGURE_PX, EMPTY_PX = 430, 150
"""Heights of a figure, and of one that has nothing to show but words."""

MARKED_LINES = 100
"""Below so many lines each visit has a mark; of more, marks take longer to draw than all the rest."""

COUNT_SHARE = 0.13
"""Share of the height for the number of patients at each time."""

TIME = "Years since baseline"

SHADE = "rgba(47,127,193,0.16)"
"""Shade of the chosen patient's row."""

STYLE: dict[str, Any] = {
    "template": "none",
    "margin": {"l": 68, "r": 14, "t": 12, "b": 42},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": FONT, "size": 13},
    "separators": f".{words.THIN}",
    "hoverlabel": {"font": {"family": FONT}},
    "hovermode": "closest",
    "clickmode": "event",
    "showlegend": False,
    "legend": {"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)",
               "itemsizing": "constant", "itemclick": False, "itemdoubleclick": False},
    "xaxis": {"zeroline": False, "showgrid": False, "showline": True, "ticks": "outside", "ticklen": 4,
              "title": {"font": {"size": 13}}},
    "yaxis": {"zeroline": False, "showgrid": True, "showline": False, "tickformat": ",~r",
              "automargin": "left", "title": {"standoff": 8, "font": {"size": 13}}},
}  # fmt: skip
"""What all figures share; colours of text and grid come from the page's style sheet, light or dark."""


class Axis(NamedTuple):
    """The vertical axis: its title with unit, the unit as printed, and how amounts lie on it."""

    title: str
    unit: str
    log: bool = False
    signed: bool = False


def bands_figure(found: Sequence[tuple[str, Bands]], *, own: go.Scatter, axis: Axis) -> go.Figure:
    """Draw quantiles over time, with the number of patients at each time below.

    Parameters
    ----------
    found : sequence of (str, Bands)
        One for each group; the name is empty where there is one for all.
    own : Scatter
        The chosen patient's course; always the first trace.
    axis : Axis
        Quantiles of 0 cannot be drawn on a logarithmic one.
    """
    traces = [own]
    for number, (name, one) in enumerate(found):
        colour = GROUPS[number % len(GROUPS)] if name else PLAIN
        if not name:
            traces.append(_band(one, 0, 4, colour, OUTER))
        if len(found) <= MOST_BANDS:
            traces.append(_band(one, 1, 3, colour, GROUP_FILL if name else INNER))
        traces.append(_median(one, name, colour, DASHES[number % len(DASHES)], axis.unit))
        traces.append(_count(one, name, colour))
    counts = {"domain": [0, COUNT_SHARE], "rangemode": "tozero", "nticks": 3, "showgrid": False, "zeroline": False,
              "title": {"text": "n", "standoff": 8}, "tickformat": ",d", "fixedrange": True}  # fmt: skip
    more = {"yaxis": {"domain": [COUNT_SHARE + 0.05, 1]}, "yaxis2": counts, "xaxis": {"anchor": "y2"}}
    return _over_time(traces, axis, more, legend=bool(found and found[0][0]))


def lines_figure(
    drawn_lines: Lines, parts: Sequence[Group], ids: np.ndarray, *, own: go.Scatter, axis: Axis
) -> go.Figure:
    """Draw patients as lines: one trace for each colour, with a gap after each patient.

    Parameters
    ----------
    drawn_lines : Lines
    parts : sequence of Group
        Who has which colour.
    ids : array of str
        Ids of the patients by their place.
    own, axis
        As for ``bands_figure``.
    """
    courses = drawn_lines.courses
    row = courses["row"].to_numpy(int)
    traces = [own]
    for number, part in enumerate(parts):
        colour = GROUPS[number % len(GROUPS)] if part.name else REST
        traces += _lines(courses[part.kept[row]], ids, part.name, colour, axis.unit)
    return _over_time(traces, axis, {}, legend=bool(parts and parts[0].name))


def own_course(course: pd.DataFrame, name: str, unit: str) -> go.Scatter:
    """Return the chosen patient's course: a line through what compares, and hollow marks for what does not.

    Parameters
    ----------
    course : DataFrame
        years, value, comparable.
    name, unit : str
    """
    whole = course["comparable"].to_numpy(bool)
    years, value = course["years"].to_numpy(float), course["value"].to_numpy(float)
    apart = np.flatnonzero(~whole)
    x, y = years[whole], value[whole]
    symbols = ["circle"] * len(x)
    for one in apart:
        x, y = np.append(x, [np.nan, years[one]]), np.append(y, [np.nan, value[one]])
        symbols += ["circle", "diamond-open"]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines+markers",
        name=name,
        customdata=[name] * len(x),
        line={"color": CHOSEN, "width": 2.8},
        marker={"color": CHOSEN, "size": 8, "symbol": symbols, "line": {"width": 1.5, "color": CHOSEN}},
        hovertemplate=f"%{{customdata}}<br>%{{x:.2f}} years: %{{y:,.4~r}} {unit}<extra></extra>",
        showlegend=False,
        zorder=9,
    )


def drawn(traces: Sequence[Any], layout: Mapping[str, Any]) -> go.Figure:
    """Return a figure in the style that all share; its layout is checked once, which takes most of the time."""
    return go.Figure(list(traces), layout=_merged(STYLE, layout))


def marked_row(at: int | None) -> dict[str, Any]:
    """Return the shade of the chosen patient's row, and its mark at the end, as parts of a layout."""
    if at is None:
        return {}
    shade = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": at - 0.5, "y1": at + 0.5, "fillcolor": SHADE,
             "line": {"width": 0}, "layer": "below"}  # fmt: skip
    mark = {"x": 1, "xref": "paper", "xanchor": "right", "y": at, "text": "◂", "showarrow": False}
    return {"shapes": [shade], "annotations": [mark]}


def say_nothing(text: str) -> go.Figure:
    """Return a figure that is words alone."""
    note = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "text": text, "showarrow": False}
    hidden = {"visible": False}
    return drawn(
        [go.Scatter(x=[], y=[])], {"height": EMPTY_PX, "xaxis": hidden, "yaxis": hidden, "annotations": [note]}
    )


def _over_time(traces: list[go.Scatter], axis: Axis, more: Mapping[str, Any], *, legend: bool) -> go.Figure:
    layout = {
        "height": FIGURE_PX,
        "xaxis": {"title": {"text": TIME}},
        "yaxis": {"title": {"text": axis.title}, "type": "log" if axis.log else "linear",
                  "rangemode": "normal" if axis.signed else "tozero", "zeroline": axis.signed,
                  "zerolinecolor": REST},
        "showlegend": legend,
        "margin": {"t": 34 if legend else 12},
    }  # fmt: skip
    return drawn(traces, _merged(layout, more))


def _merged(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    """Return one layout with another put over it.

    >>> _merged({"xaxis": {"ticks": "", "title": 1}}, {"xaxis": {"title": 2}, "height": 3})
    {'xaxis': {'ticks': '', 'title': 2}, 'height': 3}
    """
    found = dict(one)
    for name, value in two.items():
        both = isinstance(found.get(name), dict) and isinstance(value, dict)
        found[name] = _merged(found[name], value) if both else value
    return found


def _count(one: Bands, name: str, colour: str) -> go.Scatter:
    """Return the number of patients at each time."""
    return go.Scatter(
        x=one.times_years.astype(np.float32),
        y=one.count.astype(np.int32),
        yaxis="y2",
        mode="lines",
        line={"color": colour, "width": 1.4, "shape": "hvh"},
        fill=None if name else "tozeroy",
        fillcolor=_faint(colour, OUTER),
        name=plain_text(name),
        showlegend=False,
        hovertemplate=f"%{{x:.2f}} years: %{{y:,}} patients{', %{fullData.name}' if name else ''}<extra></extra>",
    )


def _band(one: Bands, low: int, high: int, colour: str, opacity: float) -> go.Scatter:
    """Return the area between two quantiles, in pieces where too few patients are."""
    x: list[np.ndarray] = []
    y: list[np.ndarray] = []
    whole, gap = np.isfinite(one.quantiles[low]), np.array([np.nan])
    for piece in _pieces(whole):
        years = one.times_years[piece]
        x += [years, years[::-1], gap]
        y += [one.quantiles[high, piece], one.quantiles[low, piece][::-1], gap]
    return go.Scatter(
        x=np.concatenate(x).astype(np.float32) if x else [],
        y=np.concatenate(y).astype(np.float32) if y else [],
        fill="toself",
        fillcolor=_faint(colour, opacity),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )


def _median(one: Bands, name: str, colour: str, dash: str, unit: str) -> go.Scatter:
    told = np.column_stack([one.count, *(one.quantiles[level] for level in range(len(LEVELS)))]).astype(np.float32)
    return go.Scatter(
        x=one.times_years.astype(np.float32),
        y=one.quantiles[2].astype(np.float32),
        customdata=told,
        mode="lines",
        name=plain_text(name) or "median",
        line={"color": colour, "width": 2.4, "dash": dash},
        hovertemplate=(
            f"{'%{fullData.name}, ' if name else ''}%{{x:.2f}} years, %{{customdata[0]:,}} patients<br>"
            f"median %{{y:,.4~r}} {unit}<br>half of them %{{customdata[2]:,.4~r}} to %{{customdata[4]:,.4~r}}<br>"
            "nine in ten %{customdata[1]:,.4~r} to %{customdata[5]:,.4~r}<extra></extra>"
        ),
    )


def _lines(courses: pd.DataFrame, ids: np.ndarray, name: str, colour: str, unit: str) -> list[go.Scatter]:
    """Return one trace for any number of patients: a missing point between them breaks the line.

    Of many, only those of one visit alone have a mark, in a trace of their own: no line would show them.
    """
    row = courses["row"].to_numpy(int)
    ends = np.flatnonzero(np.diff(row)) + 1
    x = np.insert(courses["years"].to_numpy(np.float32), ends, np.nan)
    y = np.insert(courses["value"].to_numpy(np.float32), ends, np.nan)
    who = ids[np.insert(row, ends, row[ends - 1])] if len(row) else ids[:0]
    few = len(ends) < MARKED_LINES
    line = go.Scatter(
        x=x,
        y=y,
        customdata=who,
        mode="lines+markers" if few else "lines",
        name=plain_text(name) or "patients",
        opacity=0.75 if few else 0.55,
        line={"color": colour, "width": 1.3 if few else 0.9},
        marker={"color": colour, "size": 4},
        hovertemplate=f"%{{customdata}}<br>%{{x:.2f}} years: %{{y:,.4~r}} {unit}<extra></extra>",
    )
    alone = np.bincount(row, minlength=1)[row] == 1
    if few or not alone.any():
        return [line]
    dots = go.Scatter(
        x=courses["years"].to_numpy(np.float32)[alone],
        y=courses["value"].to_numpy(np.float32)[alone],
        customdata=ids[row[alone]],
        mode="markers",
        opacity=0.55,
        marker={"color": colour, "size": 4},
        hovertemplate=line.hovertemplate,
        showlegend=False,
    )
    return [line, dots]


def _pieces(whole: np.ndarray) -> list[slice]:
    """Return the runs of true.

    >>> _pieces(np.array([True, True, False, True]))
    [slice(0, 2, None), slice(3, 4, None)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(int)))
    return [slice(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _faint(colour: str, opacity: float) -> str:
    """Return a colour that lets through what lies below.

    >>> _faint("#D55E00", 0.2)
    'rgba(213,94,0,0.2)'
    """
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
