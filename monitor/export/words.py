"""Numbers, verdicts and statuses in words, for a reader on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

RESEARCH_ONLY = "Research use only, not for diagnosis."
"""Stands at the top and at the end."""

THIN = "\u202f"
"""Narrow space that does not break: between groups of digits, and between a number and its unit."""

MISSING = "–"
"""A cell without a number."""

QUANTITIES = {
    "volume_mm3": "Volume of mineral",
    "excess_hu_mm3": "Excess HU",
    "mass_mg": "Mass (hydroxyapatite equivalent)",
    "agatston": "Agatston score",
    "threshold_volume_mm3": "Volume above the threshold",
    "envelope_mm3": "Envelope volume",
    "n_lesions": "Lesions",
}
"""Quantities by the names of the tables, in the order in which they are told."""

UNITS = {"mm3": (1.0, "mm³"), "HU mm3": (1000.0, "HU·cm³"), "mm2": (1.0, "mm²"), "1": (1.0, "")}
"""How the units of the tables are printed, and what a number is divided by for that."""

VERDICTS = {
    "increased": ("▲", "increased", "more"),
    "decreased": ("▼", "decreased", "less"),
    "no_detectable_change": ("=", "no detectable change", "same"),
    "not_comparable": ("×", "not comparable", "unknown"),
}
"""Symbol, words and tone of a verdict; colour is never all there is."""

STATUSES = {
    "baseline": ("●", "baseline", "same"),
    "new": ("+", "new", "more"),
    "first_seen": ("○", "first seen", "unknown"),
    "grown": ("▲", "grown", "more"),
    "stable": ("=", "stable", "same"),
    "shrunk": ("▼", "shrunk", "less"),
    "resolved": ("○", "resolved", "less"),
    "merged": ("→", "merged", "unknown"),
    "split": ("←", "split", "unknown"),
    "not_in_field": ("×", "not in field", "unknown"),
}
"""Symbol, words and tone of a lesion's status."""

TERMS = {"rate": "rate", "change_of_rate": "change of rate at the start of treatment", "level": "level at the origin"}
"""What an estimate is, as it is printed."""

Mark = tuple[str, str, str]
"""Symbol, words and tone."""


def mark(marks: dict[str, Mark], name: Any) -> Mark:
    """Return the mark of a status or verdict; one that is not known is shown by its own name.

    >>> mark(VERDICTS, "increased"), mark(VERDICTS, pd.NA)
    (('▲', 'increased', 'more'), ('', '–', 'unknown'))
    """
    if pd.isna(name):
        return "", MISSING, "unknown"
    return marks.get(str(name), ("", str(name).replace("_", " "), "unknown"))


def text(value: Any) -> str:
    """Return a text; a missing or empty one is a dash."""
    return MISSING if pd.isna(value) or str(value) == "" else str(value)


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
    if pd.isna(value):
        return MISSING
    size = abs(float(value)) / _printed(named)[0]
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    plain = "∞" if np.isinf(size) else f"{size:,.{digits}f}".replace(",", THIN)
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    minus = float(value) < 0 and plain != "0"
    return ("−" if minus else "+" if sign and plain != "0" else "") + plain


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


def day(value: Any) -> str:
    """Return a date."""
    return MISSING if pd.isna(value) else f"{pd.Timestamp(value):%Y-%m-%d}"


def years(value: Any) -> str:
    """Return a time since the baseline.

    >>> years(0.0), years(-0.42), years(1.36)
    ('0.00', '−0.42', '1.36')
    """
    return MISSING if pd.isna(value) else f"{float(value):.2f}".replace("-", "−")


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
    return "all compartments" if compartment == "total" else text(compartment).replace("_", " ")


def quantity(name: str) -> str:
    """Return the name of a quantity as it is printed.

    >>> quantity("mass_mg"), quantity("volume_mm3_per_m2")
    ('Mass (hydroxyapatite equivalent)', 'volume mm3 per m2')
    """
    return QUANTITIES.get(name, name.replace("_", " "))


def listed(words: list[str]) -> str:
    """Return words as a list in a sentence.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
