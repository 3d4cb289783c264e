"""The course of a patient's burden as a picture: values in, an SVG or PNG out, the same bytes for the same values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from monitor.export import words
from monitor.fitted import half_width, weighted_mean

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

DRAWN = {"volume_mm3": "mm3", "excess_hu_mm3": "HU mm3"}
"""Quantities that are drawn, with their unit in the tables."""

SIZE_IN = (7.4, 2.9)
"""Width and height, inches: the width of text on A4."""

DPI = 200
"""Dots an inch of a PNG: 1480 over the width of a page."""

INK, EVENT, GRID = "#0072B2", "#D55E00", "#D9DEE2"
"""Okabe and Ito's blue and vermilion: told apart with every kind of colour vision; and a grey."""

BAND, SOFT = "#D6DCE1", "#55626C"
"""Greys of the detectable band, and of what is written beside the data."""

LEAST_SPAN_YEARS = 0.5
"""A shorter course is drawn over so much time, so that one visit is not a line."""

MARGIN = 0.05
"""Room left and right of the first and last visit, as a share of the time between them."""

FRAME_IN = 0.95
"""What title, key, names of visits and the axis of time take of the height of a picture, inches."""

LANE_IN = 0.17
"""Height of a lane, inches: a line of 7 point text."""

MOST_LANES = 5
"""So many lanes are drawn; the table of events has all."""

NAME_CHARS = 20
"""A longer name of a lane, or of a visit (half of it), is cut, so that it leaves room for the picture."""

LEAST_APART = 0.035
"""Visits closer than this share of the width are named once, or their names would lie on each other."""

MARKS = {"surgery": "X", "flare": "*", "injury": "P", "exposure": "D"}
"""Kinds of events that are moments, and what marks them."""

ALONE = 0.012
"""Half the width of the band of a visit beside which there is none, as a share of the time of the comparisons."""

SAME = 1e-6
"""Relative difference up to which two amounts are the same one: the tables sum in another order."""

STYLE: dict[str, Any] = {
    "svg.hashsalt": "calcitrack",
    "svg.fonttype": "path",
    # Names are the study's: a dollar in one is a dollar, and no formula begins there.
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#66727C",
    "axes.linewidth": 0.8,
}
"""What makes the bytes hang on the values alone, and the look."""


KEY: dict[str, Any] = {
    "title_fontproperties": {"size": 8.5, "weight": "bold"},
    "alignment": "left",
    "ncols": 4,
    "frameon": False,
    "fontsize": 7,
    "handlelength": 1.6,
    "columnspacing": 1.1,
    "handletextpad": 0.5,
    "borderaxespad": 0.2,
    "labelcolor": SOFT,
}
"""The look of the key, which stands above the picture."""


@dataclass(frozen=True)
class Course:
    """What is drawn of one patient's total of one quantity.

    ``wide`` are rows of the wide table in order of date; ``events`` those of ``lettered``; ``changes`` the comparisons
    of the total with the baseline; ``trends`` the patient's rows of table ``trends`` on the total.
    """

    wide: pd.DataFrame
    quantity: str
    events: pd.DataFrame
    changes: pd.DataFrame
    trends: pd.DataFrame

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to draw."""
        names = [self.quantity, f"{self.quantity}_observed"]
        seen = self.wide[self.wide["years"].notna() & in_field(self.wide)]
        return not set(names) <= set(seen) or not bool(seen[names].notna().any(axis=None))


def in_field(wide: pd.DataFrame) -> pd.Series:
    """Tell of each visit whether it covered any lesion known by then: a sum of what it saw is else a 0 of nothing."""
    return ~(wide["evaluable"] == 0).fillna(False).astype(bool)


class Fit(NamedTuple):
    """A line fitted to a course: times, years, and its height with limits, in the unit of the table."""

    years: np.ndarray
    height: np.ndarray
    lo: np.ndarray
    hi: np.ndarray


def trajectory(
    course: Course, *, size_in: tuple[float, float] = SIZE_IN, lanes: bool = True, kind: str = "svg"
) -> bytes:
    """Draw a total over the years: 95 % limits, the detectable band, the fitted line, treatment and other events.

    Parameters
    ----------
    course : Course
        What is drawn.
    size_in : (float, float)
        Width and height of the panel, inches; lanes of events are added below it.
    lanes : bool
        Whether a lane for each treatment and event stands below.
    kind : str
        ``svg`` or ``png``.

    Returns
    -------
    bytes
        The picture, the same for the same values; empty where there is nothing to draw.
    """
    if course.empty:
        return b""
    one = replace(course, wide=course.wide[course.wide["years"].notna()])
    with style.context(STYLE):
        drawn = _lanes(one.events) if lanes else []
        height = size_in[1] + LANE_IN * len(drawn)
        figure = Figure(figsize=(size_in[0], height), layout="constrained")
        rows = 2 if drawn else 1
        ratios = [max(size_in[1] - FRAME_IN, LANE_IN), LANE_IN * len(drawn)][:rows]
        axes = np.atleast_1d(figure.subplots(rows, 1, sharex=True, gridspec_kw={"height_ratios": ratios}))
        key = _panel(axes[0], one)
        if drawn:
            _draw_lanes(axes[1], drawn, axes[0])
        axes[-1].set_xlabel("years since the baseline", fontsize=8, labelpad=2)
        # Heads the picture: upright beside the axis there is no room for it in a low panel.
        named = f"{words.quantity_name(one.quantity)}, {words.UNITS[DRAWN[one.quantity]][1]}"
        figure.legend(handles=key, title=named, loc="outside upper left", **KEY)
        return _written(figure, kind)


def _written(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file, without a date or a version."""
    out = BytesIO()
    if kind == "png":
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    else:
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    return out.getvalue()


def lettered(events: pd.DataFrame) -> pd.DataFrame:
    """Return events in order of time with the letter that marks each in the picture; the 27th has none."""
    ordered = events[events["years"].notna()].sort_values(["years", "kind", "name"], kind="stable", ignore_index=True)
    return ordered.assign(letter=[*ascii_lowercase[: len(ordered)], *[""] * (len(ordered) - len(ascii_lowercase))])


def band(course: Course) -> pd.DataFrame:
    """Return years, lo and hi of what cannot be told from no change since the baseline, in the unit of the table.

    A visit that was compared in the field common to both, where the baseline holds another amount than is drawn of it,
    has no lo and hi: see ``no_band``.
    """
    found = _judged(course)
    known = found[found["same"]]
    if known.empty:
        return known.drop(columns=["visit_id", "same"])
    # From the baseline on it is as wide as at the first visit compared with it.
    found = pd.concat([known.head(1).assign(years=0.0), found], ignore_index=True)
    found.loc[~found["same"], ["lo", "hi"]] = np.nan
    found = found.sort_values("years", kind="stable", ignore_index=True)
    # A visit beside which there is no band has a narrow one: else it had none.
    beside = found["same"].shift(fill_value=False) | found["same"].shift(-1, fill_value=False)
    alone = found[found["same"] & ~beside]
    room = ALONE * np.ptp(found["years"].to_numpy())
    found = pd.concat([found.drop(alone.index), *(alone.assign(years=alone["years"] + at) for at in (-room, room))])
    return found.sort_values("years", kind="stable", ignore_index=True).drop(columns=["visit_id", "same"])


def no_band(course: Course) -> list[str]:
    """Return the visits that the band leaves out."""
    found = _judged(course)
    return found.loc[~found["same"], "visit_id"].to_list()


def _judged(course: Course) -> pd.DataFrame:
    """Return visit_id, years, lo, hi of each comparison in order, and whether it starts from the baseline's amount."""
    own = course.changes[course.changes["detectable"].notna() & course.changes["before"].notna()]
    at = course.wide.drop_duplicates("visit_id").set_index("visit_id")
    least, middle = own["detectable"].astype(float), own["before"].astype(float)
    amount = own["from_visit"].map(at[course.quantity]).astype(float)
    found = pd.DataFrame(
        {
            "visit_id": own["to_visit"].astype(str),
            "years": own["to_visit"].map(at["years"]).astype(float),
            "lo": (middle - least).clip(lower=0),
            "hi": middle + least,
            "same": np.isclose(middle, amount, rtol=SAME, atol=0.0),
        }
    )
    return found[found["years"].notna()].sort_values("years", kind="stable", ignore_index=True)


def fitted(course: Course) -> Fit | None:
    """Return the straight line of table ``trends`` with its 95 % limits; without its level and rate, none.

    Level and rate are the line's height at the baseline and its slope.
    """
    terms = {str(row["term"]): row for row in _absolute(course.trends).to_dict("records")}
    if not {"level", "rate"} <= set(terms):
        return None
    numbers = {(t, n): float(terms[t][n]) for t in ("level", "rate") for n in ("estimate", "lo", "hi")}
    if not np.isfinite([numbers[term, "estimate"] for term in ("level", "rate")]).all():
        return None
    used = fitted_to(course)
    times = used["years"].to_numpy(float)
    if len(used) < 2:
        return None
    years = np.linspace(times.min(), times.max(), 41)
    height = numbers["level", "estimate"] + numbers["rate", "estimate"] * years
    half = {term: (numbers[term, "hi"] - numbers[term, "lo"]) / 2 for term in ("level", "rate")}
    width = (used[f"{course.quantity}_hi"] - used[f"{course.quantity}_lo"]).to_numpy(float)
    about = weighted_mean(times, width)
    wide = half_width(years, about=about, level=half["level"], rate=half["rate"])
    return Fit(years, height, height - wide, height + wide)


def fitted_to(course: Course) -> pd.DataFrame:
    """Return the visits that the line was fitted to: those with a total, up to a surgery."""
    ends = course.events.loc[course.events["kind"].eq("surgery").fillna(False), "years"]
    seen = course.wide[course.wide[course.quantity].notna() & course.wide["years"].notna()]
    times = seen["years"].to_numpy(float)
    # A surgery between the visits closes the series that the line was fitted to.
    closed = min([float(end) for end in ends if len(times) and end >= times.min()], default=np.inf)
    return seen[times <= closed]


def _absolute(trends: pd.DataFrame) -> pd.DataFrame:
    return trends[(trends["scale"].fillna("absolute") == "absolute").to_numpy(bool)]


def _panel(ax: Axes, one: Course) -> list[Artist]:
    """Draw the values and what they are judged by; return the entries of the key."""
    name = one.quantity
    over = words.UNITS[DRAWN[name]][0]
    values = {more: one.wide[f"{name}{more}"].to_numpy(float) / over for more in ("", "_lo", "_hi", "_observed")}
    years = one.wide["years"].to_numpy(float)
    whole = np.isfinite(values[""])
    like = one.wide["comparable"].fillna(True).to_numpy(bool)
    bounded = whole & np.isfinite(values["_lo"]) & np.isfinite(values["_hi"])
    part = ~whole & np.isfinite(values["_observed"]) & in_field(one.wide).to_numpy(bool)
    none = whole & (values[""] == 0)
    _limits_of_time(ax, years)
    key = [*_draw_band(ax, band(one), over), *_draw_fit(ax, fitted(one), over)]
    reach = np.vstack([values[""] - values["_lo"], values["_hi"] - values[""]])[:, bounded].clip(min=0)
    ax.errorbar(years[bounded], values[""][bounded], reach, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5)
    ax.plot(years[whole & like], values[""][whole & like], color=INK, lw=1.2, zorder=2.5)
    look: dict[str, Any] = {"mec": INK, "mew": 1.2, "color": INK, "ls": "none", "zorder": 3}
    said = (
        (whole & like & ~none, values[""], "o", INK, "total with 95 % limits"),
        (whole & ~like & ~none, values[""], "o", "white", "not comparable"),
        (part, values["_observed"], "^", "white", "seen in part"),
        (none & like, values[""], "v", INK, "none found, below detection"),
        (none & ~like, values[""], "v", "white", "none found, not comparable"),
    )
    for chosen, height, marker, face, told in said:
        if chosen.any():
            key += ax.plot(years[chosen], height[chosen], marker, mfc=face, ms=5, label=told, clip_on=False, **look)
    _dress(ax, one)
    return key


def _draw_band(ax: Axes, found: pd.DataFrame, over: float) -> list[Artist]:
    """Draw what counts as no change, and the baseline in its middle."""
    if found.empty:
        return []
    years, lo, hi = (found[name].to_numpy(float) for name in ("years", "lo", "hi"))
    ax.fill_between(years, lo / over, hi / over, where=np.isfinite(lo), color=BAND, lw=0, zorder=0.5)
    return [Patch(color=BAND, label="no detectable change since the baseline")]


def _draw_fit(ax: Axes, fit: Fit | None, over: float) -> list[Artist]:
    if fit is None:
        return []
    ax.plot(fit.years, fit.height / over, color="#1D262D", lw=1.0, ls=(0, (5, 2)), zorder=2)
    for edge in (fit.lo, fit.hi):
        if np.isfinite(edge).all():
            ax.plot(fit.years, edge / over, color="#1D262D", lw=0.7, ls=":", zorder=2)
    return [Line2D([], [], color="#1D262D", lw=1.0, ls=(0, (5, 2)), label="fitted line (dotted: its limits)")]


def _limits_of_time(ax: Axes, years: np.ndarray) -> None:
    middle, half = (years.min() + years.max()) / 2, max(np.ptp(years), LEAST_SPAN_YEARS) * (0.5 + MARGIN)
    ax.set_xlim(middle - half, middle + half)


def _dress(ax: Axes, one: Course) -> None:
    """Give a panel its axes, the names of the visits, and a line where something happened."""
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.0))
    left, right = ax.get_xlim()
    if left <= 0 <= right:
        ax.axvline(0, color="#66727C", lw=0.8, ls=":", zorder=1)
    for event in one.events.to_dict("records"):
        if left <= float(event["years"]) <= right:
            ax.axvline(float(event["years"]), color=EVENT, lw=0.7, ls="--", alpha=0.6, zorder=1)
    named: list[tuple[float, str]] = []
    for years, visit in zip(one.wide["years"].astype(float), one.wide["visit_id"].astype(str), strict=True):
        if not named or years - named[-1][0] > LEAST_APART * (right - left):
            named.append((years, words.short(visit, NAME_CHARS // 2)))
    for years, visit in named:
        ax.annotate(visit, (years, 1), xycoords=ax.get_xaxis_transform(), xytext=(0, 1), textcoords="offset points",
                    ha="center", va="bottom", fontsize=7, color=SOFT)  # fmt: skip
    ax.grid(axis="y", color=GRID, lw=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.number(value)))
    ax.tick_params(labelsize=8)


def lanes_left(events: pd.DataFrame) -> int:
    """Return how many kinds of treatment or event have no lane in the picture."""
    return max(events[["kind", "name"]].drop_duplicates().shape[0] - MOST_LANES, 0)


def _lanes(events: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return a lane for every treatment, then one for every other event by kind and name, the earliest first."""
    ordered = events.assign(last=(events["kind"] != "treatment").fillna(True))
    ordered = ordered.sort_values(["last", "years"], kind="stable")
    found = ordered.groupby(["kind", "name"], sort=False, dropna=False)
    return [(_lane_name(own.iloc[0]), own) for _, own in found][:MOST_LANES]


def _lane_name(event: pd.Series) -> str:
    kind, name = words.text(event["kind"]), words.text(event["name"])
    told = name if kind in ("treatment", name) else kind if name == words.MISSING else f"{kind}: {name}"
    return words.short(told, NAME_CHARS)


def _draw_lanes(ax: Axes, lanes: list[tuple[str, pd.DataFrame]], panel: Axes) -> None:
    """Draw a bar while a treatment lasts, a mark where something happened, and the letter of each."""
    left, right = panel.get_xlim()
    room = 0.008 * (right - left)
    for row, (_, own) in enumerate(lanes):
        for event in own.to_dict("records"):
            start = float(event["years"])
            end = right if pd.isna(event["end_years"]) else float(event["end_years"])
            lasts = event["kind"] == "treatment"
            if start > right or (end if lasts else start) < left:
                continue
            if lasts:
                begin, stop = max(start, left), min(end, right)
                ax.barh(row, stop - begin, left=begin, height=0.62, color=EVENT, alpha=0.35, lw=0)
                ax.plot([begin, begin], [row - 0.31, row + 0.31], color=EVENT, lw=1.4, solid_capstyle="butt")
            else:
                begin = start
                ax.plot(start, row, MARKS.get(str(event["kind"]), "d"), color=EVENT, ms=5, mec=EVENT)
            ax.text(begin + room * (1 if lasts else 1.6), row, str(event["letter"]), fontsize=7, fontweight="bold",
                    color="#1D262D", va="center", clip_on=True)  # fmt: skip
    ax.set_ylim(len(lanes) - 0.4, -0.6)
    ax.set_yticks(range(len(lanes)), [name for name, _ in lanes], fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines["left"].set_visible(False)
