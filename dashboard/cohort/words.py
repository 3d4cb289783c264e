"""Sentences of the page of all patients: what each figure shows, with its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dashboard import words
from dashboard.cohort import rows
from dashboard.cohort.bands import LEAST_PATIENTS
from dashboard.cohort.plots import MOST_BANDS
from dashboard.cohort.wanted import verdict_name
from dashboard.cohort.waterfall import CAP_PCT
from dashboard.words import amount, number, years

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from dashboard.cohort.bands import Bands
    from dashboard.cohort.rows import Cohort
    from dashboard.cohort.shown import Bars, Lines

NOBODY = "There are no patients in these results."
NOBODY_LEFT = "No patient is left: clear the choices above to see all."
NOTHING = "Nothing was measured here that can be compared."
NO_CHANGE = "No visit of these patients can be compared with the baseline."
NO_RATES = "None of these patients has a rate here: it takes several measured visits."
ALL_VISITS = "Rates take all measured visits, also those that do not compare with the baseline."
NOT_AMONG = " – not among these: the choices above leave this patient out"
NO_EVENTS = "No treatment and no event of these patients is recorded."
UNIT_PERCENT = "%"


def bands_sentence(found: Sequence[tuple[str, Bands]], unit: str) -> str:
    """Say what the quantile bands show: at the baseline and at the last time with patients enough."""
    parts = []
    for name, one in found:
        drawn = np.flatnonzero(np.isfinite(one.quantiles[2]))
        start = drawn[np.argmin(np.abs(one.times_years[drawn]))]
        ends = [start, drawn[-1]] if drawn[-1] != start else [start]
        told = "; ".join((_median if name else _at_time)(one, at, unit) for at in ends)
        parts.append(f"{name}: {told}" if name else told)
    bands = (
        "; half of them in the dark band, nine in ten in the pale one" if not found[0][0] else _band_words(len(found))
    )
    return (
        f"{_sentence('. '.join(parts))} Line: median{bands}. Each patient counts between its own visits alone, so "
        f"who is counted changes with time (n below); fewer than {LEAST_PATIENTS} at a time are not drawn."
    )


def lines_sentence(drawn: Lines, unit: str) -> str:
    """Say what patients as lines show."""
    value = drawn.courses["value"]
    told = (
        f"{_patients(drawn.patients)}, {number(len(value))} measurements from {amount(value.min(), unit)} to "
        f"{amount(value.max(), unit)}, median {amount(value.median(), unit)}."
    )
    return told + sampled(drawn)


def sampled(drawn: Lines) -> str:
    """Say that a sample is drawn, where it is one."""
    if drawn.drawn == drawn.patients:
        return ""
    return f" Drawn are {number(drawn.drawn)} of {number(drawn.patients)}, by lot, the same ones each time."


def changes_sentence(known: Cohort, left: np.ndarray, drawn: Lines, unit: str) -> str:
    """Say what changes from the baseline over time show."""
    later = drawn.courses[drawn.courses["years"] != 0]
    last = later.drop_duplicates("row", keep="last")["value"]
    told = (
        f"{_patients(drawn.patients)}; change at the latest visit that compares: "
        f"median {_signed(last.median(), unit)}, from {_signed(last.min(), unit)} to {_signed(last.max(), unit)}."
    )
    return f"{told} {verdicts_sentence(known.people, left)}{sampled(drawn)}"


def verdicts_sentence(people: pd.DataFrame, left: np.ndarray) -> str:
    """Say how many have which verdict at their latest visit."""
    counts = people.loc[left, "verdict"].value_counts()
    named = [verdict_name(name) for name in rows.VERDICTS]
    parts = [f"{number(counts.get(name, 0))} {told}" for name, told in zip(rows.VERDICTS, named, strict=True)]
    return f"At the latest visit: {', '.join(parts)}."


def left_out_sentence(known: Cohort, left: np.ndarray) -> str:
    """Say which amounts are not drawn; empty where all are."""
    own = known.left_out[left[known.left_out["row"].to_numpy(int)]]
    apart = int(own["value"].notna().sum())
    missing = len(own) - apart
    parts = [f"{number(apart)} at visits that do not compare with the baseline"] if apart else []
    parts += [f"{number(missing)} not measurable or not wholly in the field"] if missing else []
    return f" Not drawn: {' and '.join(parts)}." if parts else ""


def zeros_sentence(zeros: int) -> str:
    """Say that zeros are not on a log axis."""
    return f" {number(zeros)} of 0 cannot be drawn on a log scale." if zeros else ""


def zero_quantiles_sentence(found: Sequence[tuple[str, Bands]]) -> str:
    """Say that some quantiles are 0 and not on a log axis."""
    zero = any((one.quantiles <= 0).any() for _, one in found)
    return " Quantiles of 0 cannot be drawn on a log scale: the bands end where they reach it." if zero else ""


def too_few_sentence() -> str:
    """Say why there are lines instead of bands."""
    return f"Fewer than {LEAST_PATIENTS} patients at any time: drawn as lines, since bands would be single patients. "


def bars_sentence(found: Bars, unit: str, *, best: bool) -> str:
    """Say what the waterfall shows."""
    table = found.table
    change = table["change"]
    counts = table["verdict"].value_counts()
    parts = [f"{number(counts.get(name, 0))} {verdict_name(name)}" for name in list(words.VERDICTS)[:3]]
    what = "Greatest decrease (or least increase) over the visits" if best else "Change at the latest visit"
    told = (
        f"{what} of {_patients(len(table))}: median {_signed(change.median(), unit)}, from "
        f"{_signed(change.min(), unit)} to {_signed(change.max(), unit)}; {', '.join(parts)}."
    )
    if best:
        told += " The greatest of several visits leans to decreases even where nothing changes."
    excess = int(table["by_excess"].sum())
    if excess:
        told += (
            f" {number(excess)} judged by the excess, without a mark: much of it is too thin for its volume to be told."
        )
    if found.step > 1:
        told += f" One in {number(found.step)} patients is drawn, evenly in this order."
    beyond = int((change > CAP_PCT).sum()) if unit == UNIT_PERCENT else 0
    if beyond:
        end = "ends" if beyond == 1 else "end"
        told += f" {number(beyond)} beyond +{number(CAP_PCT)}{words.THIN}% {end} there, marked."
    return told + no_bar_sentence(found)


def no_bar_sentence(found: Bars) -> str:
    """Say who has no bar, and why; never drawn as 0."""
    reasons = (
        (found.not_comparable, "not comparable"),
        (found.no_percent, "without a number, such as per cent of nothing at the baseline"),
        (found.none, "without a comparison"),
    )
    parts = [f"{number(count)} {why}" for count, why in reasons if count]
    return f" No bar: {', '.join(parts)}." if parts else ""


def order_sentence(drawn: int, left: int) -> str:
    """Say whose lanes or rates are drawn.

    >>> order_sentence(40, 312), order_sentence(3, 3)
    ('40 of 312, as the table is sorted: sort or filter it to see others. ', '')
    """
    if drawn >= left:
        return ""
    return f"{number(drawn)} of {number(left)}, as the table is sorted: sort or filter it to see others. "


def lanes_sentence(order: np.ndarray, events: pd.DataFrame, visits: pd.DataFrame) -> str:
    """Say what the lanes show."""
    own = events[events["row"].isin(order)]
    if own.empty:
        return NO_EVENTS
    counts = own.groupby("kind")["row"].nunique()
    parts = [f"{kind} in {_patients(int(count))}" for kind, count in counts.items()]
    apart = int((~visits.loc[visits["row"].isin(order), "comparable"]).sum())
    do = "visit does" if apart == 1 else "visits do"
    crossed = f" {number(apart)} {do} not compare with the baseline (crosses)." if apart else ""
    return f"{_sentence('; '.join(parts))}{crossed} Order in time says nothing of a cause."


def forest_sentence(found: pd.DataFrame, drawn: int, unit: str) -> str:
    """Say what the rates show; ``drawn`` is how many were looked at."""
    rate = found["rate"]
    apart = int(((found["lo"] > 0) | (found["hi"] < 0)).sum())
    told = (
        f"Rates of {_patients(len(found))}: median {_signed(rate.median(), unit)}, from {_signed(rate.min(), unit)} to "
        f"{_signed(rate.max(), unit)}; 95{words.THIN}% limits leave out 0 in {number(apart)}."
    )
    without = drawn - len(found)
    return f"{told}{f' {number(without)} without a rate.' if without else ''} {ALL_VISITS}"


def cohort_sentence(cohort: pd.DataFrame, *, narrowed: bool) -> str:
    """Say the rates of the cohort and its arms, each for itself; of all patients, whatever is chosen."""
    if cohort.empty:
        return ""
    parts = [
        f"{rows.estimate_name(str(row.arm))} {amount(row.estimate, row.unit, sign=True)} "
        f"(95{words.THIN}% limits {words.limits(row.lo, row.hi) or 'unknown'}, n {words.plain(row.n_patients)})"
        for row in cohort.itertuples()
    ]
    whole = " These are of the whole study, not of the choice above." if narrowed else ""
    return f" Diamonds: {'; '.join(parts)}.{whole}"


def log_sentence(*, log: bool) -> str:
    """Say that changes have no log scale, where one was asked for."""
    return " Changes are drawn on a linear scale: they can be negative." if log else ""


def who_sentence(row: pd.Series) -> str:
    """Say who a patient is.

    >>> import pandas as pd
    >>> who_sentence(pd.Series({"condition": "JDM", "arm": "A", "site": "", "visits": 3, "last_years": 1.5}))
    'JDM, arm A, 3 visits, the last at 1.50 years'
    """
    named = [rows.group_name(name, row[name]) for name in rows.ABOUT if row[name]]
    count = int(row["visits"])
    seen = f"{count} {'visit' if count == 1 else 'visits'}" if count else "no visit measured"
    last = f", the last at {years(row['last_years'])} years" if count > 1 else ""
    return ", ".join([*named, seen + last])


def _at_time(one: Bands, at: int, unit: str) -> str:
    low, quarter, median, three, high = one.quantiles[:, at]
    return (
        f"at {years(one.times_years[at])} years ({_patients(int(one.count[at]))}) median {amount(median, unit)}, half "
        f"{number(quarter)} to {number(three)}, nine in ten {number(low)} to {number(high)}"
    )


def _median(one: Bands, at: int, unit: str) -> str:
    return f"at {years(one.times_years[at])} years median {amount(one.quantiles[2, at], unit)} (n {one.count[at]})"


def _band_words(groups: int) -> str:
    return "; band: half of each" if groups <= MOST_BANDS else f"; bands are drawn of at most {MOST_BANDS} groups"


def _signed(value: float, unit: str) -> str:
    return f"{number(value, sign=True)}{words.THIN}%" if unit == UNIT_PERCENT else amount(value, unit, sign=True)


def _patients(count: int) -> str:
    return f"{number(count)} {'patient' if count == 1 else 'patients'}"


def _sentence(told: str) -> str:
    return f"{told[:1].upper()}{told[1:]}."
