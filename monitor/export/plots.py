"""The course of a patient's burden as a picture: values in, bytes of an SVG out, the same for the same values."""

from __future__ import annotations

from io import BytesIO
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from monitor.export import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = {"volume_mm3": "mm3", "excess_hu_mm3": "HU mm3"}
"""Quantities that are drawn, with their unit in the tables."""

SIZE_IN = (7.4, 2.9)
"""Width and height, inches: the width of text on A4."""

INK, EVENT, GRID = "#0072B2", "#D55E00", "#D9DEE2"
"""Okabe and Ito's blue and vermilion: told apart with every kind of colour vision; and a grey."""

LEAST_SPAN_YEARS = 0.5
"""A shorter course is drawn over so much time, so that one visit is not a line."""

STYLE: dict[str, Any] = {
    "svg.hashsalt": "calcitrack",
    "svg.fonttype": "path",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#66727C",
    "axes.linewidth": 0.8,
}
"""What makes the bytes hang on the values alone, and the look."""


def course(wide: pd.DataFrame, events: pd.DataFrame) -> bytes:
    """Draw total volume and excess over the years, with 95 % limits and what happened meanwhile.

    Parameters
    ----------
    wide : DataFrame
        One patient's rows of the wide table, in order of date.
    events : DataFrame
        Rows of table ``events`` as ``lettered`` gives them.

    Returns
    -------
    bytes
        An SVG; empty where there is nothing to draw.
    """
    drawn = [name for name in DRAWN if name in wide and wide[[name, f"{name}_observed"]].notna().any(axis=None)]
    seen = wide[wide["years"].notna()]
    if not drawn or seen.empty:
        return b""
    with style.context(STYLE):
        figure = Figure(figsize=SIZE_IN, layout="constrained")
        for ax, name in zip(np.atleast_1d(figure.subplots(1, len(drawn))), drawn, strict=True):
            _panel(ax, seen, name, events)
        out = BytesIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    return out.getvalue()


def lettered(events: pd.DataFrame) -> pd.DataFrame:
    """Return events in order of time with the letter that marks each in the picture; the 27th has none."""
    ordered = events[events["years"].notna()].sort_values(["years", "kind", "name"], kind="stable", ignore_index=True)
    return ordered.assign(letter=[*ascii_lowercase[: len(ordered)], *[""] * (len(ordered) - len(ascii_lowercase))])


def _panel(ax: Axes, wide: pd.DataFrame, name: str, events: pd.DataFrame) -> None:
    over, unit = words.UNITS[DRAWN[name]]
    values = {more: wide[f"{name}{more}"].to_numpy(float) / over for more in ("", "_lo", "_hi", "_observed")}
    years = wide["years"].to_numpy(float)
    whole = np.isfinite(values[""])
    like = wide["comparable"].fillna(True).to_numpy(bool)
    bounded = whole & np.isfinite(values["_lo"]) & np.isfinite(values["_hi"])
    ax.vlines(years[bounded], values["_lo"][bounded], values["_hi"][bounded], color=INK, lw=1.2)
    ax.plot(years[whole & like], values[""][whole & like], color=INK, lw=1.2, marker="o", ms=5)
    for chosen, height, marker in ((whole & ~like, values[""], "o"), (~whole, values["_observed"], "^")):
        ax.plot(years[chosen], height[chosen], marker, mfc="white", mec=INK, mew=1.2, ms=5.5, ls="none")
    _dress(ax, years, events)
    ax.set_title(f"{words.quantity_name(name)} ({unit})", fontsize=9, loc="left", pad=14)


def _dress(ax: Axes, years: np.ndarray, events: pd.DataFrame) -> None:
    """Give a panel its axes and mark what happened."""
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.0))
    middle, half = (years.min() + years.max()) / 2, max(np.ptp(years), LEAST_SPAN_YEARS) * 0.56
    left, right = middle - half, middle + half
    ax.set_xlim(left, right)
    ax.axvline(0, color="#66727C", lw=0.8, ls=":")
    for event in events.to_dict("records"):
        start = float(event["years"])
        if event["kind"] == "treatment" and start < right:
            end = right if pd.isna(event["end_years"]) else min(float(event["end_years"]), right)
            ax.axvspan(max(start, left), max(end, left), color=EVENT, alpha=0.09, lw=0)
        if left <= start <= right:
            ax.axvline(start, color=EVENT, lw=0.9, ls="--")
            ax.annotate(
                event["letter"], (start, 1), xycoords=ax.get_xaxis_transform(), xytext=(0, 2),
                textcoords="offset points", ha="center", color=EVENT, fontweight="bold",
            )  # fmt: skip
    ax.grid(axis="y", color=GRID, lw=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.number(value)))
    ax.set_xlabel("years since the baseline")
