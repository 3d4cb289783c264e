"""Statistical pictures for a paper: tables in, bytes of an SVG or a PNG out, the same for the same values.

Every function takes the columns that its docstring names and leaves rows without a number out, which the foot of the
picture counts. Limits are 95 % limits. The titles speak of time only: a change is what was seen, not what caused it.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from io import BytesIO
from math import nan, sqrt
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
from matplotlib.transforms import ScaledTranslation
from scipy.optimize import isotonic_regression
from scipy.stats import norm
from scipy.stats import t as student

from monitor import stats
from monitor.export import words
from monitor.export.plots import EVENT, GRID, INK, SIZE_IN, STYLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from monitor.types import Trend

DPI = 200
"""Dots an inch of a PNG: 1480 over the width of a page."""

LEVEL = 0.975
"""Quantile that 95 % limits are made with."""

Z = float(norm.ppf(LEVEL))
"""Standard errors from an estimate to its limits."""

HEIGHT_IN = 3.8
"""Height of a picture that does not grow, inches; the width is that of text on A4."""

ROW_IN, LEAST_ROW_IN, TALLEST_IN = 0.19, 0.085, 9.4
"""A row of a forest, the least that 5 points can be read in, and the height of text on A4, inches."""

FRAME_IN, SHORTEST_IN = 1.3, 1.9
"""What title, axis and foot of a forest take, and its least height, inches."""

BARS = 8
"""A waterfall has room for so many bars at least, so that one bar is no wall."""

FONT, LEAST_FONT, POINTS_PER_INCH = 7.5, 5.0, 72.0
"""Size of labels and the least that is readable on paper, points."""

LINE_OF_TEXT = 1.35
"""Height of a line of labels, in sizes of the font."""

LABELLED = 12
"""So many patients are named at the ends of their lines; more are not told apart by names."""

CROWD = 30
"""From so many patients on, lines are thin and let others shine through."""

ID_CHARS = 18
"""A longer name is cut, so that it leaves room for the picture."""

NOTE_CHARS, NOTE_FONT, NOTE_LINES = 108, 6.5, 4
"""Width, size and most lines of the foot; what is cut ends in dots."""

KEY_COLUMNS, KEY_ROW = 4, 1.75
"""Most entries beside each other in a key, and the height of a row of them, in sizes of the font."""

LETTER, KEY_SIGN = 0.62, 5.8
"""Width of a letter, and of the sign of an entry of a key with what is around it, in sizes of the font."""

TITLE_CHARS = 92
"""A longer title goes on in a second line."""

BAND_REACH = 1.6
"""The picture of an agreement shows this many times the larger of data and limits; wider bands run out of it."""

WHOLE_TICKS = 1e5
"""From here on ticks have no decimals."""

CURVE_POINTS = 241
"""Places between the first and the last visit at which a fitted curve is drawn."""

PALE, DARK = "#8A949C", "#3B444B"
"""A grey for what is not judged, and one for text beside the data."""

COLOURS = (INK, EVENT, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours but the yellow, which is too light for a line on white."""

DASHES = ("-", "--", "-.", ":", (0, (7, 1.5, 1, 1.5, 1, 1.5)), (0, (3, 3)), (0, (9, 2)))
"""A dash for each colour, so that colour is never all there is."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""A marker for each colour."""

HATCHES = ("", "////", "....", "xxxx", "----", "oooo", "++++")
"""Arms of a bar, where colour tells the verdict."""

TONES = {"more": (EVENT, "^"), "less": (INK, "v"), "same": (PALE, "s"), "unknown": ("white", "x")}
"""Colour and symbol of a verdict, by the tone of its mark."""

LOOK: list[Any] = ["default", {**STYLE, "text.parse_math": False, "hatch.linewidth": 0.5}]
"""The look of the other pictures, whatever the user's own settings; a dollar sign in a name is one."""


@dataclass
class _Sheet:
    """A figure with one panel, and what its foot says."""

    height_in: float = HEIGHT_IN
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.figure = Figure(figsize=(SIZE_IN[0], self.height_in), layout="constrained", dpi=DPI)
        self.ax: Axes = self.figure.add_subplot()
        self.title = ""
        self.key_rows = 0

    def entitle(self, title: str) -> None:
        """Set the title, in two lines where it is long, above the key."""
        self.title = title
        pad = 8 + self.key_rows * FONT * KEY_ROW
        self.ax.set_title("\n".join(textwrap.wrap(title, TITLE_CHARS)), fontsize=9, loc="left", pad=pad)

    def key(self, entries: list[Artist]) -> None:
        """Tell what colours and symbols are, between the title and the panel."""
        if entries:
            longest = max(len(str(one.get_label())) for one in entries)
            room = (SIZE_IN[0] - 0.9) * POINTS_PER_INCH / FONT
            columns = max(min(KEY_COLUMNS, int(room / (longest * LETTER + KEY_SIGN))), 1)
            self.ax.legend(
                handles=entries, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False,
                fontsize=FONT, handlelength=3.2, borderaxespad=0.1, borderpad=0.3, columnspacing=1.6,
            )  # fmt: skip
            self.key_rows = -(-len(entries) // columns)

    def close(self) -> None:
        """Write the foot: what a reader must know, and what the picture may be used for."""
        told = textwrap.wrap("; ".join(dict.fromkeys(filter(None, self.notes))), NOTE_CHARS)
        if len(told) > NOTE_LINES:
            told = [*told[: NOTE_LINES - 1], f"{told[NOTE_LINES - 1][: NOTE_CHARS - 2]} …"]
        small: dict[str, Any] = {"fontsize": NOTE_FONT, "color": DARK, "va": "bottom"}
        at = 4 / POINTS_PER_INCH / self.height_in
        self.figure.text(0.008, at, "\n".join(told), ha="left", **small)
        self.figure.text(0.995, at, words.RESEARCH_ONLY, ha="right", **small)
        foot = (max(len(told), 1) * NOTE_FONT * LINE_OF_TEXT + 7) / POINTS_PER_INCH / self.height_in
        self.figure.set_layout_engine("constrained", rect=(0.005, foot, 0.99, 0.995 - foot))


def spaghetti(data: pd.DataFrame, *, kind: str = "svg") -> bytes:
    """Draw one line a patient over the years, with 95 % limits where the errors are known.

    Parameters
    ----------
    data : DataFrame
        Columns ``patient_id``, ``years``, ``value`` [, ``se``, ``arm``, ``unit``, ``quantity``], one row a visit.
        An arm has its own colour, dash and marker; without arms a few patients have.
    kind : str
        svg or png.

    Returns
    -------
    bytes
        The picture.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, no row is left, a patient is unnamed or in two arms, or ``kind`` is
        unknown.
    """
    return _drawn(_spaghetti, data, kind)


def forest(rates: pd.DataFrame, *, kind: str = "svg") -> bytes:
    """Draw patients' rates in order, with their limits, above the mean as a diamond.

    Up to some 45 patients the picture grows; then rows and letters become smaller, and above some 100, where letters
    could not be read, patients have no names.

    Parameters
    ----------
    rates : DataFrame
        Columns ``patient_id``, ``estimate``, ``lo``, ``hi`` [, ``unit``], as ``calcitrack stats`` writes them. A row
        without both limits is drawn hollow. A row without ``patient_id`` is the cohort's own estimate; where there
        is none, the diamond is the unweighted mean of the patients' rates, with t limits from their scatter.
    kind : str
        svg or png.

    Returns
    -------
    bytes
        The picture.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, no row is left, lo is above hi, a patient has two rows, there are two
        cohorts or two units, or ``kind`` is unknown.
    """
    return _drawn(_forest, rates, kind)


def waterfall(changes: pd.DataFrame, *, kind: str = "svg") -> bytes:
    """Draw one bar a patient in order of the change, over the band of what can be detected.

    Parameters
    ----------
    changes : DataFrame
        Columns ``patient_id``, ``change_pct`` [, ``detectable_pct``, ``verdict``, ``arm``, ``quantity``], one row a
        patient. The band goes as far below zero as above; verdicts are those of table ``changes``.
    kind : str
        svg or png.

    Returns
    -------
    bytes
        The picture.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, no row is left, a patient has two rows, a detectable change is negative,
        or ``kind`` is unknown.
    """
    return _drawn(_waterfall, changes, kind)


def agreement(pairs: pd.DataFrame, *, kind: str = "svg") -> bytes:
    """Draw the difference of repeated measurements against their mean (Bland and Altman 1986).

    Parameters
    ----------
    pairs : DataFrame
        Columns ``first``, ``second`` [, ``patient_id``, ``unit``], as in ``stats.repeatability``, which gives bias,
        limits of agreement and the limits of each.
    kind : str
        svg or png.

    Returns
    -------
    bytes
        The picture.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, no pair is left, units are mixed, or ``kind`` is unknown.
    """
    return _drawn(_agreement, pairs, kind)


def profile(data: pd.DataFrame, *, kind: str = "svg") -> bytes:
    """Draw one patient's course with the fitted curve; the title has the half-life and its limits.

    Parameters
    ----------
    data : DataFrame
        One patient: columns ``years``, ``value`` [, ``se``, ``unit``, ``patient_id``, ``quantity``].
    kind : str
        svg or png.

    Returns
    -------
    bytes
        The picture.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, no row is left, the data are of several patients, or ``kind`` is unknown.
    """
    return _drawn(_profile, data, kind)


KINDS: dict[str, Callable[..., bytes]] = {
    "spaghetti": spaghetti,
    "forest": forest,
    "waterfall": waterfall,
    "agreement": agreement,
    "profile": profile,
}
"""What ``calcitrack plot`` can draw."""


def _drawn(draw: Callable[[pd.DataFrame], _Sheet], data: pd.DataFrame, kind: str) -> bytes:
    """Return the bytes of what ``draw`` makes of a table."""
    if kind not in FORMATS:
        raise ValueError(f"the kind of a picture must be one of {', '.join(FORMATS)}; got {kind!r}")
    with style.context(LOOK):
        sheet = draw(data)
        sheet.close()
        return FORMATS[kind](sheet)


def _svg(sheet: _Sheet) -> bytes:
    out = BytesIO()
    told = {"Date": None, "Creator": None, "Title": sheet.title}
    FigureCanvasSVG(sheet.figure).print_svg(out, metadata=told)
    return out.getvalue()


def _png(sheet: _Sheet) -> bytes:
    out = BytesIO()
    FigureCanvasAgg(sheet.figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


FORMATS: dict[str, Callable[[_Sheet], bytes]] = {"svg": _svg, "png": _png}
"""What a picture can be, and who makes it."""


def _spaghetti(data: pd.DataFrame) -> _Sheet:
    rows = _read(data, "spaghetti", ("patient_id", "years", "value"), more=("se",)).assign(arm=_arms(data))
    _once(rows, "arm")
    kept, notes = _known(rows, ["years", "value"], "visit")
    unit, over = _unit(data)
    kept[["value", "se"]] /= over
    order = kept.sort_values(["patient_id", "years", "value"], kind="stable")
    patients, arms = sorted(order["patient_id"].unique()), sorted(order["arm"].unique())
    by_patient = len(arms) == 1 and len(patients) <= len(COLOURS)
    sheet = _Sheet(notes=notes)
    ends = []
    for name, own in order.groupby("patient_id", sort=True):
        arm = str(own["arm"].iloc[0])
        look = _look(patients.index(name) if by_patient else arms.index(arm))
        _line(sheet.ax, own, look, crowded=len(patients) > CROWD)
        ends.append((", ".join(filter(None, [_name(name), _name(arm)])), own.iloc[-1], look["color"]))
    _span(sheet.ax, order)
    if order["se"].gt(0).any():
        sheet.notes.insert(0, "bars: 95 % limits from the given standard errors")
    named = len(patients) <= LABELLED
    sheet.key([] if named else _arm_lines(order, arms))
    sheet.entitle(f"{_quantity(data)} over time: {_count(len(patients), 'patient')}")
    sheet.ax.set(xlabel="years", ylabel=_with_unit(_quantity(data), unit))
    _dress(sheet.ax)
    if named:
        _label_ends(sheet, ends)
    return sheet


def _arm_lines(rows: pd.DataFrame, arms: list[str]) -> list[Artist]:
    if arms == [""]:
        return []
    sizes = [rows["patient_id"][rows["arm"] == arm].nunique() for arm in arms]
    names = [f"{_name(arm) or 'no arm'} (n = {n})" for arm, n in zip(arms, sizes, strict=True)]
    return [Line2D([], [], label=name, **_look(k)) for k, name in enumerate(names)]


def _line(ax: Axes, own: pd.DataFrame, look: dict[str, Any], *, crowded: bool) -> None:
    """Draw one patient."""
    x, y, se = (own[one].to_numpy(float) for one in ("years", "value", "se"))
    faint = {"alpha": 0.55, "lw": 0.7, "ms": 2.5} if crowded else {}
    known = np.isfinite(se) & (se > 0)
    ax.vlines(x[known], (y - Z * se)[known], (y + Z * se)[known], color=look["color"], lw=0.8, alpha=0.6)
    ax.plot(x, y, clip_on=False, **{**look, **faint})


def _label_ends(sheet: _Sheet, ends: list[tuple[str, pd.Series, str]]) -> None:
    """Name lines at the right edge, apart from each other, each with a thin line to its last visit."""
    ax = sheet.ax
    sheet.figure.draw_without_rendering()
    heights = ax.transData.transform([(0.0, float(last["value"])) for _, last, _ in ends])[:, 1] - ax.bbox.y0
    gap = FONT * LINE_OF_TEXT * DPI / POINTS_PER_INCH
    for (label, last, colour), height in zip(ends, _apart(heights, gap, ax.bbox.height), strict=True):
        ax.annotate(
            label, (float(last["years"]), float(last["value"])), xytext=(1.025, height / ax.bbox.height),
            textcoords="axes fraction", va="center", fontsize=FONT, color=DARK, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.7, "shrinkA": 1, "shrinkB": 4,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def _forest(rates: pd.DataFrame) -> _Sheet:
    rows = _read(rates, "forest", ("patient_id", "estimate", "lo", "hi"), unnamed=True)
    unit, over = _unit(rates)
    rows[["estimate", "lo", "hi"]] /= over
    own, notes = _known(rows[rows["patient_id"] != ""], ["estimate"], "patient")
    _one_each(own)
    crossed = rows["patient_id"][rows["lo"] > rows["hi"]]
    if len(crossed):
        raise ValueError(f"lo must not be above hi; it is for {', '.join(one or 'the cohort' for one in crossed[:5])}")
    own = own.sort_values(["estimate", "patient_id"], kind="stable", ignore_index=True)
    mean, told = _mean(own, rows[rows["patient_id"] == ""])
    row_in = min(ROW_IN, (TALLEST_IN - FRAME_IN - 2 * ROW_IN) / len(own))
    # The mean keeps its height where the rows become low.
    full = ROW_IN / row_in
    below = len(own) - 0.4 + full
    sheet = _Sheet(height_in=max(FRAME_IN + row_in * (len(own) + 2 * full), SHORTEST_IN), notes=[*notes, told])
    font = max(min(FONT, row_in * POINTS_PER_INCH / 1.2), LEAST_FONT)
    bounded = _bounded(own)
    at = np.arange(len(own), dtype=float)
    sheet.ax.axvline(0, color="#66727C", lw=0.9)
    sheet.ax.hlines(at[bounded], own["lo"][bounded], own["hi"][bounded], color=INK, lw=max(0.6, 1.3 * font / FONT))
    for chosen, face in ((bounded, INK), (~bounded, "white")):
        sheet.ax.plot(own["estimate"][chosen], at[chosen], "o", ms=font * 0.6, mfc=face, mec=INK, ls="none", zorder=3)
    named = row_in >= LEAST_ROW_IN
    lines = [_Row(k, _name(one["patient_id"]), one, font) for k, one in enumerate(_records(own)) if named]
    if mean:
        lines.append(_Row(below, str(mean["patient_id"]), mean, FONT))
        _diamond(sheet.ax, mean, below, half=0.3 * full)
    if (~bounded).any():
        sheet.notes.append("hollow: no interval")
    _rows_of_text(sheet.ax, lines)
    sheet.ax.set_ylim(below + 0.8 * full if mean else len(own) - 0.3, -0.8)
    sheet.entitle(f"Rate of each patient: {_count(len(own), 'patient')}")
    sheet.ax.set_xlabel(_with_unit("rate, 95 % limits", unit))
    sheet.ax.spines["left"].set_visible(False)
    _dress(sheet.ax, along="x")
    return sheet


def _mean(own: pd.DataFrame, cohort: pd.DataFrame) -> tuple[dict[str, Any], str]:
    """Return the row of the diamond, empty where a single patient is all there is, and what it is."""
    if len(cohort) > 1:
        raise ValueError(f"one row at most may be without patient_id, the cohort's estimate; got {len(cohort)}")
    if len(cohort) and np.isfinite(cohort["estimate"].iloc[0]):
        return {**_records(cohort)[0], "patient_id": "cohort"}, "diamond: the given estimate of the cohort"
    n = len(own)
    if n == 1:
        return {}, ""
    values = own["estimate"].to_numpy(float)
    middle = float(values.mean())
    # Without any scatter the rates hold no information on their error.
    half = float(student.ppf(LEVEL, n - 1)) * (float(values.std(ddof=1)) or nan) / sqrt(n)
    row = {"patient_id": "mean", "estimate": middle, "lo": middle - half, "hi": middle + half}
    return row, "diamond: unweighted mean of the patients' rates, t limits from their scatter"


def _diamond(ax: Axes, mean: dict[str, Any], at: float, *, half: float) -> None:
    lo, middle, hi = (float(mean[one]) for one in ("lo", "estimate", "hi"))
    ax.axvline(middle, color=EVENT, lw=0.7, ls=":", zorder=0)
    if np.isfinite(lo) and np.isfinite(hi):
        ax.fill([lo, middle, hi, middle], [at, at - half, at, at + half], color=EVENT, lw=0.8)
    else:
        ax.plot([middle], [at], "D", mfc="white", mec=EVENT, ms=5)


class _Row(NamedTuple):
    """A row of a forest: where it is, its name and numbers, and the size of its letters."""

    at: float
    label: str
    row: dict[str, Any]
    font: float


def _rows_of_text(ax: Axes, lines: list[_Row]) -> None:
    """Write names to the left of rows, and numbers to the right."""
    ax.set_yticks([one.at for one in lines], [one.label for one in lines])
    ax.tick_params(axis="y", length=0)
    right = ax.get_yaxis_transform()
    for tick, one in zip(ax.get_yticklabels(), lines, strict=True):
        tick.set_fontsize(one.font)
        said = f"{_said(one.row['estimate'])}{_limits(one.row)}"
        ax.text(1.02, one.at, said, transform=right, va="center_baseline", fontsize=one.font)


def _limits(row: Mapping[str, Any] | pd.Series) -> str:
    """Return limits in brackets where both are finite."""
    whole = np.isfinite(row["lo"]) and np.isfinite(row["hi"])
    return f" ({_said(row['lo'])} to {_said(row['hi'])})" if whole else ""


def _waterfall(changes: pd.DataFrame) -> _Sheet:
    rows = _read(changes, "waterfall", ("patient_id", "change_pct"), more=("detectable_pct",))
    verdicts = changes["verdict"] if "verdict" in changes else pd.Series(None, index=changes.index, dtype=object)
    rows = rows.assign(arm=_arms(changes), verdict=verdicts.astype(object).to_numpy())
    if (rows["detectable_pct"] < 0).any():
        raise ValueError(f"detectable_pct must not be negative; the smallest is {rows['detectable_pct'].min():g}")
    kept, notes = _known(rows, ["change_pct"], "patient")
    _one_each(kept)
    kept = kept.sort_values(["change_pct", "patient_id"], ascending=[False, True], kind="stable", ignore_index=True)
    arms, judged = sorted(kept["arm"].unique()), kept["verdict"].notna().any()
    sheet = _Sheet(notes=notes)
    ax, n = sheet.ax, len(kept)
    ax.use_sticky_edges = False
    ax.margins(y=0.08)
    _band(sheet, kept["detectable_pct"].to_numpy(float))
    shown: dict[str, Artist] = {}
    for at, one in enumerate(_records(kept)):
        mark = words.mark(words.VERDICTS, one["verdict"])
        colour, symbol = TONES[mark.tone] if judged else (INK, "")
        height = float(one["change_pct"])
        ax.bar(at, height, 0.8, fc=colour, ec=DARK, lw=0.5, hatch=HATCHES[arms.index(one["arm"])], zorder=2)
        if judged:
            look: dict[str, Any] = {"marker": symbol, "ls": "none", "mfc": colour, "mec": DARK, "mew": 0.6}
            beyond = ScaledTranslation(0, np.copysign(5 / POINTS_PER_INCH, height), sheet.figure.dpi_scale_trans)
            ax.plot([at], [height], zorder=3, ms=min(4.5, 330 / n), transform=ax.transData + beyond, **look)
            word = mark.word if pd.notna(one["verdict"]) else "no verdict"
            shown.setdefault(word, Line2D([], [], label=word, ms=5, **look))
    ax.axhline(0, color="#66727C", lw=0.9, zorder=2)
    sheet.key([*(shown[one] for one in sorted(shown)), *_arm_patches(arms)])
    _name_bars(ax, [_name(one) for one in kept["patient_id"]])
    sheet.entitle(f"Change from the baseline: {_count(n, 'patient')}")
    name = _quantity(changes)
    ax.set_ylabel("change (%)" if name == "Value" else f"change of {name[0].lower()}{name[1:]} (%)")
    _dress(ax)
    return sheet


def _arm_patches(arms: list[str]) -> list[Artist]:
    if len(arms) == 1:
        return []
    return [
        Patch(fc="white", ec=DARK, lw=0.5, hatch=HATCHES[k], label=_name(a) or "no arm") for k, a in enumerate(arms)
    ]


def _band(sheet: _Sheet, detectable: np.ndarray) -> None:
    """Shade what cannot be told from no change, for each bar its own."""
    known = np.isfinite(detectable)
    if not known.any():
        return
    at = np.flatnonzero(known)
    sheet.ax.bar(at, 2 * detectable[known], 1.0, bottom=-detectable[known], color=GRID, lw=0, zorder=0)
    least, most = detectable[known].min(), detectable[known].max()
    span = f"{_said(least)} %" if least == most else f"{_said(least)} to {_said(most)} %"
    sheet.notes.insert(0, f"shaded: within the smallest detectable change of {span}")


def _name_bars(ax: Axes, names: list[str]) -> None:
    """Write names below bars where they can be read: level, upright, or not at all."""
    n = len(names)
    width_pt = (SIZE_IN[0] - 0.8) * POINTS_PER_INCH / max(n, BARS)
    font = min(FONT, width_pt / 1.2)
    half = max(n, BARS) / 2 + 0.2
    ax.set_xlim((n - 1) / 2 - half, (n - 1) / 2 + half)
    if font < LEAST_FONT:
        ax.set_xticks([])
        ax.set_xlabel(f"{n} patients in order of the change")
        return
    level = max(map(len, names)) * FONT * LETTER < width_pt
    ax.set_xticks(range(n), names, fontsize=FONT if level else font, rotation=0 if level else 90)
    ax.tick_params(axis="x", length=0)


def _agreement(pairs: pd.DataFrame) -> _Sheet:
    _require(pairs, "agreement", ("first", "second"))
    table = stats.repeatability(pairs)
    table = table[table["scale"] == "absolute"].set_index("term")
    terms = ("lower_limit_of_agreement", "bias", "upper_limit_of_agreement")
    lines = table.loc[list(terms)]
    unit, over = _unit(pairs)
    numbers = lines[["estimate", "lo", "hi"]].astype(float) / over
    first, second = (pd.to_numeric(pairs[one]).to_numpy(float, na_value=np.nan) / over for one in ("first", "second"))
    known = np.isfinite(first) & np.isfinite(second)
    difference, mean = (second - first)[known], ((first + second) / 2)[known]
    shaded = ["shaded: 95 % limits"] if _bounded(numbers).any() else []
    sheet = _Sheet(notes=[*shaded, *map(str, lines["note"])])
    ax = sheet.ax
    ax.axhline(0, color="#66727C", lw=0.7)
    ax.plot(mean, difference, "o", ms=4, mfc=INK, mec="white", mew=0.5, alpha=0.85, ls="none", zorder=3)
    ends = []
    for term, row in numbers.iterrows():
        if np.isfinite(row["estimate"]):
            _agreement_line(ax, row, bias=term == "bias")
            ends.append((str(term).replace("_", " "), row))
    inner = np.abs([*difference, *numbers["estimate"].dropna()])
    outer = np.abs(numbers[["lo", "hi"]].to_numpy(float))
    outer = outer[np.isfinite(outer)]
    reach = min(max([*inner, *outer]) * 1.06, inner.max() * BAND_REACH) or 1.0
    ax.set_ylim(-reach, reach)
    middle, half = (mean.min() + mean.max()) / 2, float(np.ptp(mean)) * 0.54
    half = half or max(abs(middle) * 0.1, 0.5)
    ax.set_xlim(middle - half, middle + half)
    n_patients = int(lines["n_patients"].iloc[0])
    of = f" of {_count(n_patients, 'patient')}" if "patient_id" in pairs else ""
    sheet.entitle(f"Agreement of repeated measurements: {_count(len(mean), 'pair')}{of}")
    ax.set(xlabel=_with_unit("mean of both", unit), ylabel=_with_unit("second minus first", unit))
    _dress(ax)
    _label_lines(sheet, ends)
    return sheet


def _agreement_line(ax: Axes, row: pd.Series, *, bias: bool) -> None:
    colour = INK if bias else EVENT
    if np.isfinite(row["lo"]) and np.isfinite(row["hi"]):
        ax.axhspan(row["lo"], row["hi"], color=colour, alpha=0.12, lw=0)
    ax.axhline(row["estimate"], color=colour, lw=1.2, ls="-" if bias else "--")


def _label_lines(sheet: _Sheet, ends: list[tuple[str, pd.Series]]) -> None:
    """Name bias and limits of agreement to the right of their lines, with their numbers."""
    ax = sheet.ax
    sheet.figure.draw_without_rendering()
    heights = ax.transData.transform([(0.0, float(row["estimate"])) for _, row in ends])[:, 1] - ax.bbox.y0
    gap = 2.1 * FONT * LINE_OF_TEXT * DPI / POINTS_PER_INCH
    for (label, row), height in zip(ends, _apart(heights, gap, ax.bbox.height), strict=True):
        text = f"{label}\n{_said(row['estimate'])}{_limits(row)}"
        colour = INK if label == "bias" else EVENT
        ax.text(1.015, height / ax.bbox.height, text, transform=ax.transAxes, va="center", fontsize=FONT, color=colour)


def _profile(data: pd.DataFrame) -> _Sheet:
    rows = _read(data, "profile", ("years", "value"), more=("se",))
    kept, notes = _known(rows, ["years", "value"], "visit")
    data = data[np.isfinite(rows[["years", "value"]].to_numpy(float)).all(axis=1)]
    trend = stats.half_life(data)
    unit, over = _unit(data)
    times = np.linspace(kept["years"].min(), kept["years"].max(), CURVE_POINTS)
    curve = stats.fitted(data, times) / over
    kept[["value", "se"]] /= over
    sheet = _Sheet(notes=[*notes, *([] if np.isnan(trend.estimate) else [trend.note])])
    ax = sheet.ax
    drawn = np.isfinite(curve)
    ax.plot(times[drawn], curve[drawn], color=EVENT, lw=1.4, ls="--", zorder=1)
    look = {**_look(0), "ls": "none", "ms": 5}
    _line(ax, kept.sort_values(["years", "value"], kind="stable"), look, crowded=False)
    _span(ax, kept)
    if drawn.any():
        sheet.notes.insert(0, "dashed: fitted curve")
    if kept["se"].gt(0).any():
        sheet.notes.insert(0, "bars: 95 % limits from the given standard errors")
    named = [_name(one) for one in rows["patient_id"].unique()[:1] if one]
    sheet.entitle(": ".join([*named, _half_life(trend)]))
    ax.set(xlabel="years", ylabel=_with_unit(_quantity(data), unit))
    _dress(ax)
    return sheet


def _half_life(trend: Trend) -> str:
    """Say a half-life with its limits, or why there is none."""
    if np.isnan(trend.estimate):
        return f"no half-life ({trend.note.partition(';')[0]})"
    said = f"half-life {_said(trend.estimate)} years"
    lo, hi = trend.lo > 0, np.isfinite(trend.hi)
    if np.isnan(trend.lo) or np.isnan(trend.hi):
        return f"{said} (no limits)"
    if lo and hi:
        return f"{said} (95 % limits {_said(trend.lo)} to {_said(trend.hi)})"
    if hi:
        return f"{said} (95 % limits: at most {_said(trend.hi)})"
    return f"{said} (95 % limits: at least {_said(trend.lo)})" if lo else f"{said} (the data bound it on neither side)"


def _require(data: pd.DataFrame, what: str, columns: tuple[str, ...]) -> None:
    if not set(columns) <= set(data.columns):
        got = ", ".join(map(str, data.columns)) or "none"
        raise ValueError(f"{what} must be given the columns {', '.join(columns)}; got {got}")


def _read(
    data: pd.DataFrame, what: str, columns: tuple[str, ...], *, more: tuple[str, ...] = (), unnamed: bool = False
) -> pd.DataFrame:
    """Return patients as text and the other columns as numbers; optional ones that are missing are NaN."""
    _require(data, what, columns)
    names = data["patient_id"] if "patient_id" in data else pd.Series("", index=data.index, dtype=object)
    if not unnamed and names.isna().any():
        raise ValueError(f"every row must name its patient; {int(names.isna().sum())} have no patient_id")
    read = {"patient_id": ["" if pd.isna(one) else str(one) for one in names]}
    numbers = {one: _number(data, one) for one in (*columns, *more) if one != "patient_id"}
    return pd.DataFrame({**read, **numbers})


def _number(data: pd.DataFrame, column: str) -> np.ndarray:
    if column not in data:
        return np.full(len(data), np.nan)
    try:
        return pd.to_numeric(data[column]).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column} must hold numbers: {error}") from None


def _known(rows: pd.DataFrame, columns: list[str], what: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows whose columns are finite, and a note that counts the others."""
    known = np.isfinite(rows[columns].to_numpy(float)).all(axis=1)
    if not known.any():
        raise ValueError(f"one row at least must hold a finite {' and '.join(columns)}; none of {len(rows)} does")
    gone = int((~known).sum())
    return rows[known].reset_index(drop=True), [f"{_count(gone, what)} without a number not shown"] if gone else []


def _one_each(rows: pd.DataFrame) -> None:
    twice = rows["patient_id"][rows["patient_id"].duplicated()].unique()
    if len(twice):
        raise ValueError(f"a patient must have one row; {', '.join(twice[:5])} have several")


def _once(rows: pd.DataFrame, column: str) -> None:
    counts = rows.groupby("patient_id")[column].nunique()
    twice = [str(one) for one in counts.index[counts > 1]]
    if twice:
        raise ValueError(f"column {column} must be one entry per patient; {', '.join(twice[:5])} have several")


def _arms(data: pd.DataFrame) -> list[str]:
    """Return each row's arm as text, empty where it has none."""
    arms = ["" if pd.isna(one) else str(one) for one in data["arm"]] if "arm" in data else [""] * len(data)
    if len(set(arms)) > len(COLOURS):
        raise ValueError(f"{len(COLOURS)} arms at most can be told apart in a picture; got {len(set(arms))}")
    return arms


def _unit(data: pd.DataFrame) -> tuple[str, float]:
    """Return the unit as it is printed, and what numbers are divided by for it."""
    found = [str(one) for one in data["unit"].dropna().unique() if str(one) not in ("", "1")] if "unit" in data else []
    if len(found) > 1:
        raise ValueError(f"all rows must have one unit; got {', '.join(found)}")
    named = found[0] if found else ""
    if "^" in named:
        return named, 1.0
    return words.unit(named), words.UNITS.get(named.partition("/")[0], (1.0, ""))[0]


def _quantity(data: pd.DataFrame) -> str:
    """Return what is measured, where the table says one thing of it."""
    found = list(data["quantity"].dropna().unique()) if "quantity" in data else []
    if len(found) > 1:
        raise ValueError(f"all rows must be of one quantity; got {', '.join(map(str, found[:5]))}")
    return words.quantity_name(str(found[0])) if found else "Value"


def _bounded(rows: pd.DataFrame) -> np.ndarray:
    whole: np.ndarray = np.isfinite(rows[["lo", "hi"]].to_numpy(float)).all(axis=1)
    return whole


def _look(number: int) -> dict[str, Any]:
    """Return colour, dash and marker of an arm or patient."""
    return {"color": COLOURS[number], "ls": DASHES[number], "marker": MARKERS[number], "lw": 1.2, "ms": 4, "mew": 0.5}


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): one for name, one in row.items()} for row in rows.to_dict("records")]


def _name(name: object) -> str:
    """Return a name that a picture can hold: printable, and not too long."""
    text = "".join(one if one.isprintable() else "\ufffd" for one in str(name))
    return text if len(text) <= ID_CHARS else f"{text[: ID_CHARS - 1]}…"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _said(value: float) -> str:
    """Return a number with three digits; a small one keeps two.

    >>> _said(-12.34), _said(0.00123), _said(0.0)
    ('−12.3', '0.0012', '0')
    """
    small = 0 < abs(value) < 0.1
    return f"{value:.2g}".replace("-", "−") if small else words.number(value)


def _tick(value: float, _: object = None) -> str:
    """Return the number of a tick, with all its digits."""
    text = f"{value:,.0f}" if abs(value) >= WHOLE_TICKS else f"{round(value, 10):,.10g}"
    return text.replace(",", words.THIN).replace("-", "−")


def _apart(heights: np.ndarray, gap: float, room: float) -> np.ndarray:
    """Return heights as near as can be to those wanted, a gap between each two, within the room.

    >>> _apart(np.array([5.0, 6.0, 50.0]), 10.0, 100.0).tolist()
    [0.5, 10.5, 50.0]
    """
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    moved = np.clip(isotonic_regression(heights[order] - steps).x, 0, max(room - steps[-1], 0)) + steps
    out = np.empty(len(heights))
    out[order] = moved
    return out


def _span(ax: Axes, rows: pd.DataFrame) -> None:
    """Give a course its axes: from zero, unless something is below it."""
    years = rows["years"].to_numpy(float)
    middle, half = (years.min() + years.max()) / 2, max(float(np.ptp(years)), 0.5) * 0.53
    ax.set_xlim(middle - half, middle + half)
    low, high = ax.get_ylim()
    ax.set_ylim(0 if rows["value"].min() >= 0 else low, max(0, high))


def _dress(ax: Axes, *, along: str = "y") -> None:
    """Give a panel its grid and the numbers of its axes."""
    ax.grid(axis="x" if along == "x" else "y", color=GRID, lw=0.6)
    ax.set_axisbelow(True)
    for axis, counted in ((ax.xaxis, along == "x" or ax.get_xlabel() != ""), (ax.yaxis, along == "y")):
        if counted and len(axis.get_ticklocs()):
            axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(_tick))
