"""Lanes of treatments and events, one for each patient, with the visits on it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.cohort.plots import REST, TIME, drawn, marked_row
from dashboard.markup import plain_text
from dashboard.parts import LASTING, MOMENTS

LANE_PX, BELOW_PX, LEAST_PX = 13, 42, 110
"""Heights of a lane, of the time axis, and of all lanes at least."""

KEY_ACROSS, KEY_PX = 3, 21
"""Entries of the key side by side, and the height of a row of them."""

OTHERS = "others"
"""Treatments that have no colour of their own."""

MOMENT = "#B5557F"
"""Colour of moments."""

HALO = "rgba(255,255,255,0.65)"
"""Round the ticks of visits, so that they are seen on every bar."""

FILLS = ("#C98A00", "#009E73", "#7A6FD0", "#D55E00", "#4E9AC7", REST)
"""Colours of treatments; the last is of all that have none of their own."""

PATTERNS = ("", "/", ".", "\\", "x", "")
"""Hatching of treatments, so that colour is never all there is."""

FULL = 0.78
"""Height of a bar in its lane; treatments at the same time share it."""


def lanes_figure(order: np.ndarray, ids: np.ndarray, *, events: pd.DataFrame, visits: pd.DataFrame,
                 chosen: int | None) -> go.Figure:  # fmt: skip
    """Draw lanes from the top in the order given.

    Parameters
    ----------
    order : array of int
        Places of the patients.
    ids : array of str
        Ids of the patients by their place.
    events : DataFrame
        Of everybody: row, years, end_years, kind, name.
    visits : DataFrame
        Of everybody: row, visit_id, years, comparable.
    chosen : int or None
        Place of the patient whose lane is shaded.
    """
    lane = {int(row): number for number, row in enumerate(order)}
    own, seen = (table[table["row"].isin(order)] for table in (events, visits))
    own, seen = (table.assign(lane=table["row"].map(lane)) for table in (own, seen))
    lasts = own["kind"].isin(LASTING) | own["end_years"].notna()
    ends = _last_known(own, seen)
    traces = [*_lasting(own[lasts], ends, ids), *_visits(seen, ids), *_moments(own[~lasts], ids)]
    above = KEY_PX * -(-sum(one.showlegend is not False for one in traces) // KEY_ACROSS) + 10
    layout = {
        "height": above + BELOW_PX + max(LEAST_PX, LANE_PX * len(order)),
        "barmode": "overlay",
        "showlegend": True,
        "margin": {"t": above, "l": 86, "b": BELOW_PX},
        "legend": {"yref": "container", "y": 1, "yanchor": "top", "entrywidth": 0.98 / KEY_ACROSS,
                   "entrywidthmode": "fraction", "font": {"size": 12}},
        "xaxis": {"title": {"text": TIME}},
        "yaxis": {"range": [len(order) - 0.4, -0.6], "tickvals": list(range(len(order))), "ticktext": ids[order],
                  "showgrid": False, "ticks": "", "tickfont": {"size": 11}},
        **marked_row(None if chosen is None else lane.get(chosen)),
    }  # fmt: skip
    return drawn(traces, layout)


def _lasting(events: pd.DataFrame, ends: np.ndarray, ids: np.ndarray) -> list[go.Bar | go.Scatter]:
    """Return the bars of what lasts, one trace for each name; what has no end goes on to the last that is known."""
    if events.empty:
        return []
    open_end = events["end_years"].isna().to_numpy(bool)
    start = events["years"].to_numpy(float)
    end = np.where(open_end, np.maximum(ends[events["lane"]], start), events["end_years"].to_numpy(float))
    shift, height = _side_by_side(events["lane"].to_numpy(int), start, end)
    ranked = list(events["name"].value_counts(sort=True).index)
    own_colour = ranked if len(ranked) <= len(FILLS) else ranked[: len(FILLS) - 1]
    shown = events["name"].where(events["name"].isin(own_colour), OTHERS)
    names = own_colour if len(own_colour) == len(ranked) else [*own_colour, OTHERS]
    found: list[go.Bar | go.Scatter] = []
    for number, name in enumerate(names):
        one = (shown == name).to_numpy(bool)
        until = np.where(open_end, "goes on", [f"to {year:.2f}" for year in end])
        about = np.column_stack([ids[events["row"]], events["name"].map(plain_text), until])[one]
        found.append(
            go.Bar(
                orientation="h", base=start[one], x=(end - start)[one], y=(events["lane"].to_numpy(int) + shift)[one],
                width=height[one], name=plain_text(name), customdata=about,
                marker={"color": FILLS[number], "line": {"width": 0},
                        "pattern": {"shape": PATTERNS[number], "size": 6, "solidity": 0.25, "fillmode": "overlay",
                                    "fgcolor": "rgba(255,255,255,0.8)"}},
                hovertemplate="%{customdata[0]}: %{customdata[1]}<br>from %{base:.2f} years, %{customdata[2]}"
                "<extra></extra>",
            )
        )  # fmt: skip
    going = go.Scatter(
        x=end[open_end], y=(events["lane"].to_numpy(int) + shift)[open_end], mode="markers", name="goes on",
        customdata=ids[events["row"]][open_end], marker={"symbol": "triangle-right", "size": 9, "color": REST},
        hoverinfo="skip", cliponaxis=False, zorder=3,
    )  # fmt: skip
    return [*found, going] if open_end.any() else found


def _visits(visits: pd.DataFrame, ids: np.ndarray) -> list[go.Scatter]:
    """Return the visits as ticks, and those that do not compare as crosses."""
    compares = visits["comparable"].to_numpy(bool)
    halo = go.Scatter(
        x=visits.loc[compares, "years"], y=visits.loc[compares, "lane"], mode="markers", hoverinfo="skip", zorder=1,
        marker={"symbol": "line-ns-open", "size": 10, "line": {"width": 4, "color": HALO}}, showlegend=False,
    )  # fmt: skip
    kinds = ((compares, "visit", "line-ns-open", 10), (~compares, "visit, not comparable", "x-thin-open", 7))
    return [halo] + [
        go.Scatter(
            x=visits.loc[own, "years"], y=visits.loc[own, "lane"], mode="markers", name=name,
            customdata=np.column_stack([ids[visits.loc[own, "row"]], visits.loc[own, "visit_id"]]),
            marker={"symbol": symbol, "size": size, "color": REST, "line": {"width": 1.8, "color": REST}},
            hovertemplate="%{customdata[0]} %{customdata[1]}: %{fullData.name}, %{x:.2f} years<extra></extra>",
            zorder=2,
        )
        for own, name, symbol, size in kinds
        if own.any()
    ]  # fmt: skip


def _moments(events: pd.DataFrame, ids: np.ndarray) -> list[go.Scatter]:
    """Return the events that are moments, one trace and symbol for each kind."""
    return [
        go.Scatter(
            x=one["years"], y=one["lane"], mode="markers", name=plain_text(kind), zorder=4,
            customdata=np.column_stack([ids[one["row"]], one["name"].map(plain_text)]),
            marker={"symbol": MOMENTS.get(str(kind), "circle"), "size": 11, "color": MOMENT,
                    "line": {"width": 1, "color": "#FFFFFF"}},
            hovertemplate="%{customdata[0]}: %{fullData.name}, %{customdata[1]}, %{x:.2f} years<extra></extra>",
        )
        for kind, one in events.groupby("kind")
    ]  # fmt: skip


def _last_known(events: pd.DataFrame, visits: pd.DataFrame) -> np.ndarray:
    """Return by lane the last time that anything is known of."""
    when = pd.concat([events[["lane", "years"]], visits[["lane", "years"]]])
    last = when.groupby("lane")["years"].max()
    return last.reindex(range(int(last.index.max()) + 1 if len(last) else 0)).to_numpy(float)


def _side_by_side(lane: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far from the middle of its lane each bar lies and how high it is: those at one time share the lane."""
    part, parts = np.zeros(len(lane), int), np.ones(len(lane), int)
    for one in np.unique(lane):
        own = np.flatnonzero(lane == one)
        free: list[float] = []
        for bar in own[np.argsort(start[own], kind="stable")]:
            place = next((number for number, until in enumerate(free) if until <= start[bar]), len(free))
            free[place : place + 1] = [end[bar]]
            part[bar] = place
        parts[own] = len(free)
    return FULL * ((part + 0.5) / parts - 0.5), FULL / parts
