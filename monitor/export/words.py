"""Numbers, verdicts and statuses in words, for a reader on paper."""

from __future__ import annotations

from typing import Any

import pandas as pd

from monitor import words
from monitor.words import (
    BESIDE,
    MISSING,
    QUANTITIES,
    RESEARCH_ONLY,
    STATUSES,
    THIN,
    VERDICTS,
    Mark,
    day,
    judged_by_excess,
    mark,
    quantity_name,
    years,
)

# The report takes its words from here, the shared ones too.
__all__ = [
    "BESIDE",
    "MISSING",
    "QUANTITIES",
    "RESEARCH_ONLY",
    "STATUSES",
    "THIN",
    "VERDICTS",
    "Mark",
    "day",
    "judged_by_excess",
    "mark",
    "quantity_name",
    "years",
]

UNITS = {
    "mm3": (1.0, "mm³"),
    "HU mm3": (1000.0, "HU·cm³"),
    "mm2": (1.0, "mm²"),
    "a": (1.0, "years"),
    "1": (1.0, ""),
}
"""How the units of the tables are printed, and what a number is divided by for that."""

TERMS = {
    "rate": "rate",
    "change_of_rate": "change of rate at the start of treatment",
    "level": "level at the baseline",
    "half_life": "half-life",
}
"""What an estimate is, as it is printed."""

UNSIGNED = ("level", "half_life")
"""Terms that are amounts, no changes: printed without a plus."""


def text(value: Any) -> str:
    """Return a text; a missing or empty one is a dash."""
    return MISSING if pd.isna(value) or str(value) == "" else str(value)


def short(told: str, most: int) -> str:
    """Return a text of at most so many characters; what was cut ends in dots.

    >>> short("thiosulfate", 20), short("sodium thiosulfate, topical", 20)
    ('thiosulfate', 'sodium thiosulfate,…')
    """
    return told if len(told) <= most else f"{told[: most - 1].rstrip()}…"


def number(value: Any, named: Any = "", *, sign: bool = False) -> str:
    """Return a number with three digits or all before the point, thousands apart; missing is a dash.

    Parameters
    ----------
    value : float
        A number of a table.
    named : str
        Its unit in the table, which may be printed as a larger one.
    sign : bool
        Whether a plus is written.

    >>> number(12345.6).replace(THIN, " "), number(0.1234), number(7.0), number(float("nan"))
    ('12 346', '0.123', '7', '–')
    >>> number(-12.34, sign=True), number(12.34, sign=True), number(float("inf")), number(114541.7, "HU mm3")
    ('−12.3', '+12.3', '∞', '115')
    """
    return MISSING if pd.isna(value) else words.number(float(value) / _printed(named)[0], sign=sign)


def unit(named: Any) -> str:
    """Return a unit as it is printed.

    >>> unit("HU mm3"), unit("mm3/a"), unit("1/a"), unit(None)
    ('HU·cm³', 'mm³ per year', 'per year', '')
    """
    _, _, per = _text(named).partition("/")
    printed = _printed(named)[1]
    return f"{printed} per {'year' if per == 'a' else per}".strip() if per else printed


def amount(value: Any, named: Any, *, sign: bool = False) -> str:
    """Return a number with its unit.

    >>> amount(320.0, "mm3").replace(THIN, " "), amount(-12300.0, "HU mm3/a").replace(THIN, " ")
    ('320 mm³', '−12.3 HU·cm³ per year')
    """
    plain, printed = number(value, named, sign=sign), unit(named)
    return f"{plain}{THIN}{printed}" if printed and plain != MISSING else plain


def limits(lo: Any, hi: Any, named: Any = "", *, sign: bool = False) -> str:
    """Return 95 % limits; without both, nothing.

    >>> limits(290.0, 350.0), limits(-3.0, 4.0, sign=True), limits(None, 3.0)
    ('290 to 350', '−3 to +4', '')
    """
    return "" if pd.isna(lo) or pd.isna(hi) else f"{number(lo, named, sign=sign)} to {number(hi, named, sign=sign)}"


def _printed(named: Any) -> tuple[float, str]:
    """Return what a number of this unit is divided by, and the unit without its time."""
    amount_of = _text(named).partition("/")[0]
    return UNITS.get(amount_of, (1.0, amount_of))


def _text(named: Any) -> str:
    return "" if pd.isna(named) else str(named)


def span(value: Any) -> str:
    """Say when a visit lies.

    >>> span(0.0), span(-0.42), span(1.36)
    ('the baseline', '0.42 years before the baseline', '1.36 years after the baseline')
    """
    if pd.isna(value):
        return "at an unknown time from the baseline"
    since = float(value)
    return f"{abs(since):.2f} years {'after' if since > 0 else 'before'} the baseline" if since else "the baseline"


def share(value: Any) -> str:
    """Return a fraction in per cent, rounded down: 100 % is all.

    >>> share(0.9999).replace(THIN, " "), share(1.0).replace(THIN, " "), share(None)
    ('99 %', '100 %', '–')
    """
    return MISSING if pd.isna(value) else f"{int(100 * float(value) + 1e-9)}{THIN}%"


def probability(value: Any) -> str:
    """Return a p-value.

    >>> probability(4.8e-41), probability(0.0325), probability(None)
    ('< 0.001', '0.033', '–')
    """
    if pd.isna(value):
        return MISSING
    return "< 0.001" if float(value) < 0.001 else f"{float(value):.3f}"


def place(compartment: Any) -> str:
    """Return a compartment as it is printed.

    >>> place("total"), place("left_thigh")
    ('all compartments', 'left thigh')
    """
    return words.compartment_name(text(compartment))


def listed(words: list[str]) -> str:
    """Return words as a list in a sentence.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
