"""The forest: rates of patients with their limits, and those of the cohort and its arms below."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.cohort.plots import REST, drawn, marked_row
from dashboard.cohort.rows import estimate_name
from dashboard.markup import plain_text

ROW_PX, MARGINS_PX, LEAST_PX = 13, 54, 160
"""Heights of a row, of what stands above and below, and of the figure at least."""

REACH = 1.6
"""The axis reaches this many times the farthest estimate or usual limit: limits of two visits may be endless."""

COHORT = "#A67C00"
"""Colour of the estimates of many patients."""


def forest_rows(people: pd.DataFrame, order: np.ndarray) -> pd.DataFrame:
    """Return the rates to draw, greatest first: row, rate, lo, hi."""
    own = people.iloc[order]
    found = own.assign(row=order)[["row", "rate", "rate_lo", "rate_hi"]]
    found = found.rename(columns={"rate_lo": "lo", "rate_hi": "hi"})
    return found[found["rate"].notna()].sort_values("rate", ascending=False, kind="stable", ignore_index=True)


def forest_figure(found: pd.DataFrame, ids: np.ndarray, *, cohort: pd.DataFrame, chosen: int | None,
                  title: str) -> go.Figure:  # fmt: skip
    """Draw rates of patients from the greatest down, then those of the cohort.

    Parameters
    ----------
    found : DataFrame
        row, rate, lo, hi, in the order to draw.
    ids : array of str
        Ids of the patients by their place.
    cohort : DataFrame
        arm, estimate, lo, hi, n_patients; arm is empty for all.
    chosen : int or None
        Place of the patient whose row is shaded.
    title : str
        Title of the horizontal axis, unit included.
    """
    count, below = len(found), len(cohort)
    low, high = _span(found, cohort)
    own = ids[found["row"].to_numpy(int)]
    at = np.flatnonzero(found["row"].to_numpy(int) == (-1 if chosen is None else chosen))
    names = [_name(row) for row in cohort.to_dict("records")]
    rows = count + 0.6 + np.arange(below)
    traces = [_points(found["rate"], found, np.arange(count), names=own, colour=REST, symbol="circle")]
    lines = [_line(x0=0, x1=0, y0=0, y1=1, yref="paper")]
    if below:
        many = np.array(names, dtype=object)
        traces.append(_points(cohort["estimate"], cohort, rows, names=many, colour=COHORT, symbol="diamond"))
        lines.append(_line(x0=0, x1=1, y0=count + 0.05, y1=count + 0.05, xref="paper"))
    traces += _cut([(found, np.arange(count)), (cohort, rows)], low, high)
    mark = marked_row(int(at[0]) if len(at) else None)
    layout = {
        "height": max(LEAST_PX, MARGINS_PX + ROW_PX * (count + below + bool(below))),
        "margin": {"l": 130 if below else 86, "t": 8},
        "xaxis": {"title": {"text": title}, "range": [low, high], "tickformat": ",~r"},
        "yaxis": {"range": [count + below + (0.2 if below else -0.4), -0.6], "tickvals": [*range(count), *rows],
                  "ticktext": [*own, *names], "showgrid": False, "ticks": "", "tickfont": {"size": 11}},
        "shapes": [*mark.get("shapes", []), *lines],
        "annotations": mark.get("annotations", []),
    }  # fmt: skip
    return drawn(traces, layout)


def _line(**ends: object) -> dict[str, object]:
    return {"type": "line", "line": {"width": 1, "color": REST}, **ends}


def _points(value: pd.Series, rows: pd.DataFrame, y: np.ndarray, *, names: np.ndarray, colour: str,
            symbol: str) -> go.Scatter:  # fmt: skip
    rate = value.to_numpy(float)
    lo, hi = (rows[name].to_numpy(float) for name in ("lo", "hi"))
    limits = [
        f" (95 % limits {one:,.4g} to {two:,.4g})" if np.isfinite(one + two) else ", without limits"
        for one, two in zip(lo, hi, strict=True)
    ]
    return go.Scatter(
        x=rate,
        y=y,
        mode="markers",
        customdata=np.column_stack([names, limits]) if len(names) else None,
        marker={"symbol": symbol, "size": 11 if symbol == "diamond" else 8, "color": colour},
        error_x={"type": "data", "symmetric": False, "array": np.nan_to_num(hi - rate),
                 "arrayminus": np.nan_to_num(rate - lo), "thickness": 1.5, "width": 0, "color": colour},
        hovertemplate="%{customdata[0]}: %{x:,.4~r}%{customdata[1]}<extra></extra>",
    )  # fmt: skip


def _cut(every: list[tuple[pd.DataFrame, np.ndarray]], low: float, high: float) -> list[go.Scatter]:
    """Return marks where limits go on beyond the axis."""
    lo, hi = (np.concatenate([rows[name].to_numpy(float) for rows, _ in every]) for name in ("lo", "hi"))
    y = np.concatenate([place for _, place in every])
    marks = ((lo < low, low, "triangle-left"), (hi > high, high, "triangle-right"))
    return [
        go.Scatter(x=np.full(int(out.sum()), end), y=y[out], mode="markers", hoverinfo="skip", cliponaxis=False,
                   marker={"symbol": symbol, "size": 8, "color": REST})
        for out, end, symbol in marks
        if out.any()
    ]  # fmt: skip


def _span(found: pd.DataFrame, cohort: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the axis: all estimates and the usual limits; a limit far out is cut."""
    rate = np.concatenate([found["rate"].to_numpy(float), cohort["estimate"].to_numpy(float)])
    ends = np.concatenate([table[name].to_numpy(float) for table in (found, cohort) for name in ("lo", "hi")])
    usual = np.abs(ends[np.isfinite(ends)])
    typical = float(np.median(usual)) if len(usual) else 0.0
    far = REACH * max(float(np.abs(rate).max(initial=0.0)), typical)
    near = ends[np.abs(ends) <= far]
    every = np.concatenate([rate, near, [0.0]])
    low, high = float(every.min()), float(every.max())
    room = 0.04 * (high - low) or 1.0
    return low - room, high + room


def _name(row: dict) -> str:
    """Return the name of an estimate of many: which, and of how many."""
    count = row["n_patients"]
    return plain_text(estimate_name(row["arm"])) + ("" if pd.isna(count) else f" (n {count})")
