"""What a choice leaves to draw: tables in, the rows of each figure out, never one patient at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dashboard.cohort import rows
from dashboard.cohort.bands import Bands, quantiles
from dashboard.cohort.wanted import LONGEST_ORDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dashboard.cohort.bands import Courses
    from dashboard.cohort.rows import Cohort
    from dashboard.cohort.wanted import Wanted

MOST_LINES = 800
"""Patients drawn as lines at most; more are slow to draw and hide each other (one trace: 110 ms at 1,000)."""

MOST_BARS = 1000
"""Bars drawn at most: a screen has about as many columns."""

SEED = 20261123
"""Who is drawn of very many is drawn by lot, the same ones each time."""

MOST_GROUPS = 5
"""Groups with a colour of their own; the smaller ones share one."""

OTHERS = "others"

KEPT = 16
"""Answers kept of everybody's changes: who is left out changes them not."""


@dataclass(frozen=True, eq=False)
class Group:
    """Patients of one colour: their name, empty where all are one, and which they are."""

    name: str
    kept: np.ndarray


@dataclass(frozen=True, eq=False)
class Lines:
    """Courses to draw: row, years, value; and of how many patients they are a sample."""

    courses: pd.DataFrame
    patients: int
    drawn: int


@dataclass(frozen=True, eq=False)
class Bars:
    """One change of each patient, greatest first.

    Attributes
    ----------
    table : DataFrame
        row, change, detectable (both in the unit chosen), verdict, to_visit, years, by_excess.
    step : int
        Every which of them is drawn.
    not_comparable, no_percent, none : int
        Patients without a bar: nothing compares; nothing was there at the baseline; no later visit.
    """

    table: pd.DataFrame
    step: int
    not_comparable: int
    no_percent: int
    none: int


def groups(people: pd.DataFrame, left: np.ndarray, colour: str) -> list[Group]:
    """Return who has which colour, the largest groups first."""
    if colour not in rows.ABOUT:
        return [Group("", left)]
    codes, names = pd.factorize(people[colour], sort=True)
    sizes = np.bincount(codes[left], minlength=len(names))
    ranked = [int(code) for code in np.argsort(-sizes, kind="stable") if sizes[code]]
    found = [Group(rows.group_name(colour, str(names[code])), left & (codes == code)) for code in ranked[:MOST_GROUPS]]
    rest = left & np.isin(codes, ranked[MOST_GROUPS:])
    return [*found, Group(OTHERS, rest)] if rest.any() else found


def bands(grid: Courses, parts: Sequence[Group]) -> list[tuple[str, Bands]]:
    """Return the quantiles of each group over time; those without any left out."""
    found = [(part.name, quantiles(grid, part.kept)) for part in parts]
    return [(name, one) for name, one in found if np.isfinite(one.quantiles).any()]


def lines(courses: pd.DataFrame, left: np.ndarray) -> Lines:
    """Return the courses of those who are left, or of a sample of them."""
    own = courses[left[courses["row"].to_numpy(int)]]
    who = own["row"].unique()
    if len(who) <= MOST_LINES:
        return Lines(own, len(who), len(who))
    # The lot of a patient does not hang on who else is left: what stays while filtering is the same lines.
    lot = np.random.default_rng(SEED).random(len(left))
    drawn = who[np.argsort(lot[who], kind="stable")[:MOST_LINES]]
    return Lines(own[own["row"].isin(drawn)], len(who), MOST_LINES)


@lru_cache(KEPT)
def change_courses(known: Cohort, *, percent: bool) -> pd.DataFrame:
    """Return everybody's changes from the baseline: row, years, value; what compares alone, from 0 on."""
    names = {"row": "row", "years": "years", "shown": "value"}
    found = _compared(known, percent=percent)[list(names)].rename(columns=names)
    start = pd.DataFrame({"row": found["row"].unique(), "years": 0.0, "value": 0.0})
    return pd.concat([start, found]).sort_values(["row", "years"], kind="stable").reset_index(drop=True)


def bars(known: Cohort, left: np.ndarray, wanted: Wanted) -> Bars:
    """Return the greatest decrease over the visits, or the change at the latest, of each patient who has one."""
    every = _one_each(known, latest=wanted.best == "latest", percent=wanted.percent)
    table = every.table[left[every.table["row"].to_numpy(int)]].reset_index(drop=True)
    asked, compares = int((left & every.asked).sum()), int((left & every.compares).sum())
    return Bars(
        table=table,
        step=max(1, -(-len(table) // MOST_BARS)),
        not_comparable=asked - compares,
        no_percent=compares - len(table),
        none=int(left.sum()) - asked,
    )


def at_most(order: Sequence[int], left: np.ndarray, chosen: int | None) -> np.ndarray:
    """Return whose lanes and rates are drawn: the first of the table as it is sorted, and the chosen one in any case.

    Parameters
    ----------
    order : sequence of int
        Places of the first patients of the table; those who are not left are passed over.
    left : array of bool
    chosen : int or None
    """
    first = [row for row in order if left[row]] or np.flatnonzero(left)[:LONGEST_ORDER].tolist()
    if chosen is not None and left[chosen] and chosen not in first:
        first = [chosen, *first]
    return np.array(first[:LONGEST_ORDER], dtype=int)


@dataclass(frozen=True, eq=False)
class _Each:
    """One change of each patient, greatest first; and by place who has a later visit, and one that compares."""

    table: pd.DataFrame
    asked: np.ndarray
    compares: np.ndarray


@lru_cache(KEPT)
def _one_each(known: Cohort, *, latest: bool, percent: bool) -> _Each:
    later = known.changes.drop_duplicates("row", keep="last") if latest else known.changes
    found = _compared(known, percent=percent)
    found = found[found.index.isin(later.index)]
    best = found.sort_values("shown", kind="stable").drop_duplicates("row")
    table = best.sort_values("shown", ascending=False, kind="stable", ignore_index=True)
    table = table[["row", "shown", "least", "verdict", "to_visit", "years", "by_excess"]]
    asked, compares = np.zeros((2, len(known.people)), bool)
    asked[later["row"]] = True
    compares[later.loc[later["compares"], "row"]] = True
    return _Each(table.rename(columns={"shown": "change", "least": "detectable"}), asked, compares)


def _compared(known: Cohort, *, percent: bool) -> pd.DataFrame:
    """Return the comparisons that say something, with change and smallest detectable change in the unit chosen."""
    table = known.changes[known.changes["compares"]]
    shown = table["change_pct" if percent else "change"].to_numpy(float)
    least = np.where(table["by_excess"], np.nan, table["detectable"].to_numpy(float))
    if percent:
        before = table["before"].to_numpy(float)
        least = 100 * least / np.where(before > 0, before, np.nan)
    return table.assign(shown=shown, least=least)[np.isfinite(shown)]
