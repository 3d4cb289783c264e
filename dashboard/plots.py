"""Figures of the page: tables in, plotly figures out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import words

if TYPE_CHECKING:
    from collections.abc import Mapping

CHOSEN, REST, TREATMENT, EVENT, TREND = "#2F7FC1", "#8A939C", "#C98A00", "#B5557F", "#8A6D3B"
"""Mid tones after Okabe and Ito: 3 to 1 and more on the light and on the dark page."""

COURSE_PX, LANE_PX, MARGINS_PX = 270, 26, 54
"""Heights within a patient's figure."""

EMPTY_PX = 120
"""Height of a figure that has nothing to show but words."""

LEAST_PX = 340
"""Height of trajectory and lanes together at least, so that the panel is as high as the pictures beside it."""

COUNTS_BAND = "rgba(138,147,156,0.16)"
"""Where a change from the baseline is too small to count."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"
"""Fonts of the system: none is fetched."""

MOMENTS = {"surgery": "star", "flare": "triangle-up", "injury": "x", "exposure": "square"}
"""Symbols of events that are moments."""

Lane = tuple[str, str]
"""Kind and name of what a lane holds."""

MOMENTS_LANE: Lane = ("events", "")
"""The lane of moments."""

LASTING = ("treatment", "exposure")
"""Kinds of event that go on when no end is recorded."""


def cohort_figure(courses: pd.DataFrame, *, chosen: str | None, title: str, unit: str, log: bool = False) -> go.Figure:
    """Draw everybody's trajectory in one trace with gaps, and the chosen patient's on top.

    Parameters
    ----------
    courses : DataFrame
        Rows of table ``burden`` of one quantity and compartment, patients and years ascending.
    chosen : str or None
        The patient to highlight.
    title : str
        Title of the vertical axis, unit included.
    unit : str
        Unit as printed.
    log : bool
        A logarithmic axis; values of 0 cannot be drawn on it.
    """
    figure = go.Figure()
    figure.add_trace(_lines(courses, REST, unit, name="all patients", width=1.2, size=4, opacity=0.55))
    own = courses[courses["patient_id"] == chosen]
    figure.add_trace(_lines(own, CHOSEN, unit, name=chosen or "", width=2.8, size=8, opacity=1.0))
    _style(figure, height=300)
    figure.update_xaxes(title_text="Years since baseline")
    figure.update_yaxes(title_text=title, type="log" if log else "linear", rangemode="tozero")
    figure.update_layout(clickmode="event", hovermode="closest", showlegend=False)
    if not courses["value"].notna().any():
        _say_nothing(figure, "Nothing was measured here.")
    return figure


def patient_figure(
    course: pd.DataFrame,
    *,
    events: pd.DataFrame,
    changes: pd.DataFrame,
    trend: Mapping[str, pd.Series],
    title: str,
) -> go.Figure:
    """Draw one patient's trajectory above the lanes of treatments and events.

    Parameters
    ----------
    course : DataFrame
        Rows of table ``burden`` with ``comparable``, ``comparable_why`` and ``in_field`` of the visit.
    events : DataFrame
        Rows of table ``events``.
    changes : DataFrame
        Comparisons with the baseline, with ``years`` of the later visit: the band of changes that do not count.
    trend : mapping
        Rows of table ``trends`` by term; a line is drawn where ``rate`` is there, at ``level`` where that is too.
    title : str
        Title of the vertical axis, unit included.
    """
    events = events[events["years"].notna()]
    lanes = _lanes(events)
    figure = go.Figure()
    span = _span(course, events)
    for trace in (_counts_band(changes, course), _fitted(trend, course), *_measured(course)):
        if trace is not None:
            figure.add_trace(trace)
    lanes_px = LANE_PX * len(lanes)
    inner_px = max(COURSE_PX + lanes_px, LEAST_PX)
    _style(figure, height=inner_px + MARGINS_PX)
    share = lanes_px / inner_px
    figure.update_xaxes(title_text="Years since baseline", range=span, anchor="y2" if lanes else "y")
    figure.update_yaxes(title_text=title, rangemode="tozero", domain=[share + 0.03 if lanes else 0, 1])
    figure.update_layout(hovermode="closest", showlegend=False)
    if lanes:
        _draw_lanes(figure, events, lanes, span, share)
    if course.empty or not (course["value"].notna() | course["value_observed"].notna()).any():
        _say_nothing(figure, "Nothing was measured here.")
    return figure


def _lines(
    rows: pd.DataFrame, colour: str, unit: str, *, name: str, width: float, size: int, opacity: float
) -> go.Scatter:
    """Return one trace for any number of patients: a row without a value between them breaks the line."""
    parts = [pd.concat([own, own.tail(1).assign(value=np.nan)]) for _, own in rows.groupby("patient_id", sort=False)]
    broken = pd.concat(parts) if parts else rows
    return go.Scatter(
        x=broken["years"].to_numpy(np.float32),
        y=broken["value"].to_numpy(np.float32),
        customdata=broken[["patient_id", "visit_id"]].to_numpy(str),
        mode="lines+markers",
        name=name,
        opacity=opacity,
        line={"color": colour, "width": width},
        marker={"color": colour, "size": size},
        hovertemplate=f"%{{customdata[0]}} %{{customdata[1]}}<br>%{{x:.2f}} years: %{{y:,.4~g}} {unit}<extra></extra>",
    )


def _measured(course: pd.DataFrame) -> list[go.Scatter]:
    """Return the measured points: filled where comparable, hollow where not, and what part of the field showed."""
    whole = course["value"].notna()
    comparable = course["comparable"].fillna(True).astype(bool)
    partly = ~whole & course["value_observed"].notna()
    joined = course[whole & comparable]
    return [
        _points(joined, "value", "measured (95 % limits)", symbol="circle", mode="lines+markers"),
        _points(course[whole & ~comparable], "value", "not comparable", symbol="diamond-open"),
        _points(course[partly], "value_observed", "seen in part only", symbol="triangle-up-open"),
    ]


def _points(rows: pd.DataFrame, column: str, name: str, *, symbol: str, mode: str = "markers") -> go.Scatter:
    value = rows[column].to_numpy(float)
    limited = column == "value"
    text = [
        f"{row.visit_id}, {words.day(row.date)}<br>{words.years(row.years)} years: "
        f"{words.with_limits(getattr(row, column), row.lo if limited else None, row.hi if limited else None)} "
        f"{words.unit_name(row.unit)}{_remark(row.comparable_why)}"
        for row in rows.itertuples()
    ]
    error = {
        "type": "data",
        "symmetric": False,
        "array": np.nan_to_num(rows["hi"].to_numpy(float) - value),
        "arrayminus": np.nan_to_num(value - rows["lo"].to_numpy(float)),
        "thickness": 1.4,
        "width": 4,
        "color": CHOSEN,
    }
    return go.Scatter(
        x=rows["years"],
        y=value,
        mode=mode,
        name=name,
        text=text,
        hovertemplate="%{text}<extra></extra>",
        line={"color": CHOSEN, "width": 1.6},
        marker={"color": CHOSEN, "size": 9, "symbol": symbol, "line": {"width": 2, "color": CHOSEN}},
        error_y=error if limited else None,
    )


def _remark(why: Any) -> str:
    return "" if pd.isna(why) or not why else f"<br>{why}"


def _counts_band(changes: pd.DataFrame, course: pd.DataFrame) -> go.Scatter | None:
    """Return the band around the baseline within which a change does not count."""
    rows = changes[changes["detectable"].notna() & changes["before"].notna() & changes["years"].notna()]
    if rows.empty or course.empty:
        return None
    rows = pd.concat([rows.head(1).assign(years=0.0), rows])
    years = rows["years"].to_numpy(float)
    low = np.maximum((rows["before"] - rows["detectable"]).to_numpy(float), 0)
    high = (rows["before"] + rows["detectable"]).to_numpy(float)
    return go.Scatter(
        x=np.concatenate([years, years[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor=COUNTS_BAND,
        line={"width": 0},
        mode="lines",
        name="change too small to count",
        hoverinfo="skip",
    )


def _fitted(trend: Mapping[str, pd.Series], course: pd.DataFrame) -> go.Scatter | None:
    seen = course[course["value"].notna() & course["years"].notna()]
    rate = float(trend["rate"]["estimate"]) if "rate" in trend else np.nan
    if seen.empty or np.isnan(rate):
        return None
    ends = np.array([course["years"].min(), course["years"].max()])
    line = _level(trend, seen, rate) + rate * ends
    dash = {"color": TREND, "width": 1.6, "dash": "dash"}
    return go.Scatter(x=ends, y=line, mode="lines", name="fitted line", line=dash, hoverinfo="skip")


def _level(trend: Mapping[str, pd.Series], seen: pd.DataFrame, rate: float) -> float:
    """Return the height of the fitted line at the baseline: as the table gives it, else so that it can be drawn.

    A line of weighted least squares goes through the weighted mean of its points; limits give the weights.
    """
    if "level" in trend:
        return float(trend["level"]["estimate"])
    width = (seen["hi"] - seen["lo"]).to_numpy(float)
    known = bool((width > 0).all())
    weights = width**-2.0 if known else np.ones(len(seen))
    return float(np.average(seen["value"] - rate * seen["years"], weights=weights))


def _span(course: pd.DataFrame, events: pd.DataFrame) -> list[float]:
    """Return the range of the time axis: all visits and events, and some room."""
    times = pd.concat([course["years"], events["years"], events["end_years"]]).dropna()
    low, high = (times.min(), times.max()) if len(times) else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.5
    return [float(low - room), float(high + room)]


def _lanes(events: pd.DataFrame) -> list[Lane]:
    """Return the lanes from the top: one for each thing that lasts, by kind and name, then one for all moments."""
    lasting = events[_lasts(events)]
    moments = [MOMENTS_LANE] if len(lasting) < len(events) else []
    return [*dict.fromkeys(zip(lasting["kind"], lasting["name"], strict=True)), *moments]


def _lasts(events: pd.DataFrame) -> pd.Series:
    return events["kind"].isin(LASTING) | events["end_years"].notna()


def _draw_lanes(figure: go.Figure, events: pd.DataFrame, lanes: list[Lane], span: list[float], share: float) -> None:
    """Draw the lanes below the trajectory, and carry their times up as pale shades and dotted lines."""
    height = len(lanes)
    row = {lane: height - 1 - number for number, lane in enumerate(lanes)}
    kinds = [kind if number == 0 or lanes[number - 1][0] != kind else "" for number, (kind, _) in enumerate(lanes)]
    figure.update_layout(
        yaxis2={
            "domain": [0, share], "range": [-0.5, height - 0.5], "tickvals": list(row.values()), "ticktext": kinds,
            "showgrid": False, "zeroline": False, "fixedrange": True, "ticks": "",
        }
    )  # fmt: skip
    event: Any
    for event in events[_lasts(events)].itertuples():
        end = span[1] if pd.isna(event.end_years) else float(event.end_years)
        y = row[event.kind, event.name]
        colour = TREATMENT if event.kind == "treatment" else EVENT
        box = {"type": "rect", "x0": event.years, "x1": end, "line": {"width": 0}, "fillcolor": colour}
        figure.add_shape(box, yref="y2", y0=y - 0.36, y1=y + 0.36, opacity=0.42)
        figure.add_shape(box, yref="y domain", y0=0, y1=1, opacity=0.07)
        label = f"{event.name} →" if pd.isna(event.end_years) else str(event.name)
        how = {"showarrow": False, "xanchor": "left", "font": {"size": 12}}
        figure.add_annotation(x=event.years, y=y, yref="y2", text=label, **how)
    moments = events[~_lasts(events)]
    if moments.empty:
        return
    symbols = [MOMENTS.get(kind, "circle") for kind in moments["kind"]]
    named = zip(moments["kind"], moments["name"], strict=True)
    labels = [kind if name == kind else f"{kind}: {name}" for kind, name in named]
    figure.add_trace(
        go.Scatter(
            x=moments["years"], y=[row[MOMENTS_LANE]] * len(moments), yaxis="y2", mode="markers+text", text=labels,
            textposition="middle right", marker={"symbol": symbols, "size": 10, "color": EVENT},
            hovertemplate="%{text}, %{x:.2f} years<extra></extra>", cliponaxis=False,
        )
    )  # fmt: skip
    for years in moments["years"].dropna():
        dotted = {"color": EVENT, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=years, x1=years, yref="y domain", y0=0, y1=1, line=dotted)


def _style(figure: go.Figure, *, height: int) -> None:
    """Set what all figures share; colours of text and grid come from the page's style sheet, light or dark."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 70, "r": 14, "t": 12, "b": 42},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13},
        separators=f".{words.THIN}",
        hoverlabel={"font": {"family": FONT}},
    )
    figure.update_xaxes(zeroline=False, showgrid=False, showline=True, ticks="outside", ticklen=4, title_font_size=13)
    figure.update_yaxes(
        zeroline=False, showgrid=True, showline=False, title={"standoff": 8, "font": {"size": 13}}, tickformat=",~g"
    )


def _say_nothing(figure: go.Figure, text: str) -> None:
    figure.update_layout(height=EMPTY_PX)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(x=0.5, y=0.5, xref="paper", yref="paper", text=text, showarrow=False)
