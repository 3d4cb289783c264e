"""The waterfall: one change of each patient, sorted, with the smallest change that counts of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from dashboard import words
from dashboard.cohort.plots import CHOSEN, FIGURE_PX, REST, TONES, drawn

if TYPE_CHECKING:
    import pandas as pd

    from dashboard.cohort.shown import Bars

CAP_PCT = 200.0
"""Bars end here, %, with a mark: one that came from nearly nothing would flatten all others."""

NAMED_BARS = 30
"""Up to so many bars bear the patient's id below and the verdict's symbol at their end."""

PATTERN_BARS = 200
"""Up to so many bars are drawn one by one and hatched by verdict; narrower ones would be all hatch."""

PATTERNS = {"increased": "", "decreased": "/", "no_detectable_change": "."}
"""Hatching of verdicts, so that colour is never all there is."""

ROOM = 1.12
"""The axis is longer than the longest bar by this, for symbols and names."""


def waterfall_figure(found: Bars, ids: np.ndarray, *, chosen: int | None, title: str, percent: bool) -> go.Figure:
    """Draw one bar a patient, one trace a verdict, and marks at the smallest change that counts either way.

    Parameters
    ----------
    found : Bars
    ids : array of str
        Ids of the patients by their place.
    chosen : int or None
        Place of the chosen patient, whose mark is the first trace.
    title : str
        Title of the vertical axis, unit included.
    percent : bool
        Changes are in per cent, and end at ``CAP_PCT``.
    """
    table = found.table
    height = _capped(table["change"].to_numpy(float), percent=percent)
    low, high = _range(height, percent=percent)
    traces: list[go.Bar | go.Scatter] = [mark(found, ids, chosen, percent=percent)]
    place = np.arange(len(table))
    seen = place % found.step == 0
    few = len(table) <= PATTERN_BARS
    for verdict, colour in TONES.items():
        own = seen & (table["verdict"] == verdict).to_numpy(bool)
        if own.any():
            at, tone = (place[own], height[own]), (verdict, colour)
            traces.append(_bars(table[own], ids, at, tone) if few else _area(at, tone, found.step))
    if not few:
        traces.append(_pointed(table[seen], ids, place[seen], height[seen]))
    traces.append(_detectable(table[seen], place[seen], (low, high), found.step))
    beyond = seen & (table["change"].to_numpy(float) > height)
    if beyond.any():
        traces.append(_beyond(place[beyond], height[beyond]))
    named = len(table) <= NAMED_BARS
    across = {
        "title": {"text": "" if named else "Patients, sorted by their change"},
        "showline": False,
        "ticks": "",
        "range": [-0.8, max(len(table), 8) - 0.2],
        "showticklabels": named,
        "tickvals": place if named else [],
        "ticktext": ids[table["row"]] if named else [],
        "tickangle": -60,
    }
    up = {"title": {"text": title}, "range": [low, high], "zeroline": True, "zerolinecolor": REST}
    layout = {
        "height": FIGURE_PX,
        "barmode": "overlay",
        "bargap": 0,
        "hovermode": "closest" if few else "x",
        "xaxis": across,
        "yaxis": up,
        "margin": {"b": 74 if named else 42},
    }
    return drawn(traces, layout)


def mark(found: Bars, ids: np.ndarray, chosen: int | None, *, percent: bool) -> go.Scatter:
    """Return the mark of the chosen patient on its bar, at its end where bars bear no name; empty without a bar."""
    table = found.table
    at = np.flatnonzero(table["row"].to_numpy(int) == (-1 if chosen is None else chosen))
    height = _capped(table["change"].to_numpy(float)[at], percent=percent)
    who = ids[table["row"].to_numpy(int)[at]]
    named = len(table) <= NAMED_BARS  # the id stands below the bar, and the verdict's symbol at its end
    return go.Scatter(
        x=at,
        y=height / 2 if named else height,
        mode="markers+text",
        text=np.where(named, "", who),
        textposition=[_beside(int(place), one, len(table)) for place, one in zip(at, height, strict=True)],
        customdata=who,
        marker={"symbol": "diamond", "size": 11, "color": CHOSEN, "line": {"width": 1.5, "color": "#FFFFFF"}},
        hoverinfo="skip",
        cliponaxis=False,
        showlegend=False,
        zorder=9,
    )


def _bars(rows: pd.DataFrame, ids: np.ndarray, at: tuple[np.ndarray, np.ndarray], tone: tuple[str, str]) -> go.Bar:
    """Return the bars of one verdict, few enough to be hatched and pointed at one by one."""
    verdict, colour = tone
    known = words.mark(words.VERDICTS, verdict)
    return go.Bar(
        x=at[0],
        y=at[1].astype(np.float32),
        width=0.82,
        name=f"{known.symbol} {known.word}",
        customdata=ids[rows["row"]],
        marker={"color": colour, "line": {"width": 0},
                "pattern": {"shape": PATTERNS[verdict], "size": 6, "solidity": 0.28, "fillmode": "overlay",
                            "fgcolor": "rgba(255,255,255,0.75)"}},
        text=[known.symbol] * len(rows) if len(rows) <= NAMED_BARS else None,
        textposition="outside",
        cliponaxis=False,
        hovertext=_told(rows, ids),
        hoverinfo="text",
    )  # fmt: skip


def _area(at: tuple[np.ndarray, np.ndarray], tone: tuple[str, str], step: int) -> go.Scatter:
    """Return the bars of one verdict as one area: a thousand bars draw in 20 ms so, and in 150 ms one by one."""
    verdict, colour = tone
    known = words.mark(words.VERDICTS, verdict)
    half, gap, nought = 0.5 * step, np.array([np.nan]), np.zeros(1)
    x: list[np.ndarray] = []
    y: list[np.ndarray] = []
    # Neighbours are one outline: between areas that only touch, a screen shows seams.
    for own in np.split(np.arange(len(at[0])), np.flatnonzero(np.diff(at[0]) != step) + 1):
        place, height = at[0][own], at[1][own]
        steps = np.column_stack([place - half, place + half]).ravel()
        x += [steps[:1], steps, steps[-1:], gap]
        y += [nought, np.repeat(height, 2), nought, gap]
    return go.Scatter(
        x=np.concatenate(x).astype(np.float32),
        y=np.concatenate(y).astype(np.float32),
        mode="lines",
        fill="toself",
        fillcolor=colour,
        line={"width": 0, "simplify": False},
        name=f"{known.symbol} {known.word}",
        hoverinfo="skip",
    )


def _pointed(rows: pd.DataFrame, ids: np.ndarray, place: np.ndarray, height: np.ndarray) -> go.Scatter:
    """Return what is pointed at and clicked where bars are areas: each patient, by its place from left to right."""
    return go.Scatter(
        x=place,
        y=height.astype(np.float32),
        mode="none",
        customdata=ids[rows["row"]],
        hovertext=_told(rows, ids),
        hoverinfo="text",
    )


def _told(rows: pd.DataFrame, ids: np.ndarray) -> list[str]:
    """Return what is said of each bar that is pointed at."""
    excess = np.where(rows["by_excess"], ", by the excess", "")
    change = [words.number(one, sign=True) for one in rows["change"]]
    least = ["" if np.isnan(one) else f"<br>counts from ±{words.number(one)}" for one in rows["detectable"]]
    verdicts = [words.marked(words.VERDICTS, verdict) for verdict in rows["verdict"]]
    every = zip(ids[rows["row"]], rows["to_visit"], change, verdicts, excess, least, strict=True)
    return [f"{who} at {visit}: {size}<br>{verdict}{by}{counts}" for who, visit, size, verdict, by, counts in every]


def _detectable(rows: pd.DataFrame, place: np.ndarray, span: tuple[float, float], step: int) -> go.Scatter:
    """Return a mark for each patient at the smallest increase and decrease that count, within the axis."""
    least = rows["detectable"].to_numpy(float)
    x = np.concatenate([place, place])
    y = np.concatenate([least, -least])
    seen = np.isfinite(y) & (y > span[0]) & (y < span[1])
    x, y, half = x[seen], y[seen], 0.5 * step
    return go.Scatter(
        x=np.column_stack([x - half, x + half, np.full(len(x), np.nan)]).ravel().astype(np.float32),
        y=np.column_stack([y, y, np.full(len(y), np.nan)]).ravel().astype(np.float32),
        mode="lines",
        name="smallest change that counts",
        line={"color": "#B08A2E", "width": 1.6},
        hoverinfo="skip",
    )


def _beyond(place: np.ndarray, height: np.ndarray) -> go.Scatter:
    """Return the marks of bars that go on beyond the axis; how far, the bar says on pointing."""
    return go.Scatter(
        x=place,
        y=height,
        mode="markers",
        name="beyond the axis",
        marker={"symbol": "triangle-up", "size": 9, "color": TONES["increased"],
                "line": {"width": 1, "color": "#FFFFFF"}},
        hoverinfo="skip",
        cliponaxis=False,
    )  # fmt: skip


def _beside(place: int, height: float, count: int) -> str:
    """Return where a name stands: beyond the end of its bar, and towards the middle of the figure."""
    side = "right" if place < count / 2 else "left"
    return f"{'top' if height >= 0 else 'bottom'} {side}"


def _capped(change: np.ndarray, *, percent: bool) -> np.ndarray:
    return np.minimum(change, CAP_PCT) if percent else change


def _range(height: np.ndarray, *, percent: bool) -> tuple[float, float]:
    """Return the ends of the vertical axis: all bars, and some room for what stands at their ends."""
    least = 10.0 if percent else 0.0
    low, high = min(0.0, height.min(initial=0.0)), max(0.0, height.max(initial=0.0))
    room = (ROOM - 1) * max(high - low, least)
    return float(low - room), float(high + room)
