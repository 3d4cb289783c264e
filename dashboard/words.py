"""Numbers and verdicts in words: every text that stands beside a figure or in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from monitor.words import (
    BESIDE,
    MISSING,
    PATTERNS,
    QUANTITIES,
    RESEARCH_ONLY,
    STATUSES,
    THIN,
    VERDICTS,
    Mark,
    compartment_name,
    day,
    judged_by_excess,
    mark,
    number,
    quantity_name,
    years,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# The page takes its words from here, the shared ones too.
__all__ = [
    "BESIDE",
    "MISSING",
    "PATTERNS",
    "QUANTITIES",
    "RESEARCH_ONLY",
    "STATUSES",
    "THIN",
    "VERDICTS",
    "Mark",
    "compartment_name",
    "day",
    "judged_by_excess",
    "mark",
    "number",
    "quantity_name",
    "years",
]

UNITS = {"mm3": "mm³", "HU mm3": "HU·mm³", "mg": "mg", "1": "", "mm2": "mm²"}
"""How the units of the tables are printed."""

PER = {"a": "year", "m2": "m²"}
"""What a rate or a normalised amount is per, as it is printed."""


def marked(marks: Mapping[str, Mark], name: Any) -> str:
    """Return symbol and word of a status or verdict.

    >>> marked(STATUSES, "not_in_field")
    '∅ not in the field'
    """
    found = mark(marks, name)
    return f"{found.symbol} {found.word}".strip()


def unit_name(unit: Any) -> str:
    """Return a unit as it is printed; a missing one is empty.

    >>> unit_name("HU mm3"), unit_name("mm3/a"), unit_name("1/a"), unit_name(None)
    ('HU·mm³', 'mm³ per year', 'per year', '')
    """
    amount_of, _, per = ("" if pd.isna(unit) else str(unit)).partition("/")
    printed = UNITS.get(amount_of, amount_of)
    return f"{printed} per {PER.get(per, per)}".strip() if per else printed


def axis_title(quantity: str, unit: Any) -> str:
    """Return quantity and unit.

    >>> axis_title("volume_mm3", "mm3"), axis_title("agatston", "1")
    ('Volume of mineral (mm³)', 'Agatston score')
    """
    printed = unit_name(unit)
    return f"{quantity_name(quantity)} ({printed})" if printed else quantity_name(quantity)


def amount(value: Any, unit: Any, *, sign: bool = False) -> str:
    """Return a number with its unit.

    >>> amount(320.0, "mm3").replace(THIN, " ")
    '320 mm³'
    """
    text, printed = number(value, sign=sign), unit_name(unit)
    return f"{text}{THIN}{printed}" if printed and text != MISSING else text


def limits(lo: Any, hi: Any) -> str:
    """Return 95 % limits; without both, nothing.

    >>> limits(290.0, 350.0)
    '290 to 350'
    """
    return "" if pd.isna(lo) or pd.isna(hi) else f"{number(lo)} to {number(hi)}"


def with_limits(value: Any, lo: Any, hi: Any) -> str:
    """Return a number and its 95 % limits in brackets.

    >>> with_limits(320.0, 290.0, 350.0), with_limits(320.0, None, None)
    ('320 (290 to 350)', '320')
    """
    between = limits(lo, hi)
    return f"{number(value)} ({between})" if between else number(value)


def change_sentence(change: pd.Series | None, events: pd.DataFrame, *, course: pd.DataFrame, where: str) -> str:
    """Say what became of an amount since the baseline, with its limits and the smallest change that counts.

    Parameters
    ----------
    change : Series or None
        A row of table ``changes`` with ``years`` of the later visit; None where no visit follows the baseline.
    events : DataFrame
        Rows of table ``events``: treatments are named in time only, never as a cause.
    course : DataFrame
        Rows of table ``burden`` of the same patient, quantity and compartment.
    where : str
        The compartment.
    """
    if change is None:
        return _no_comparison(int(course["value_observed"].notna().sum()))
    name = f"{quantity_name(change['quantity'])} ({compartment_name(where)})"
    span = f"from {change['from_visit']} (baseline) to {change['to_visit']}"
    verdict = change["verdict"]
    if verdict == "not_comparable":
        return f"{name}: {span} is not comparable: {change['why']}."
    if judged_by_excess(change):
        found = "no detectable change" if verdict == "no_detectable_change" else f"{verdict}"
        return (
            f"{name}: {found} {span}, judged by the excess: much of it is too thin for its volume to be told."
            f"{_common_field(change, course)}{_after(change, events)}"
        )
    if verdict == "no_detectable_change":
        told = f"{name}: no detectable change {span}: {amount(change['change'], change['unit'], sign=True)}"
    else:
        size = abs(change["change"])
        told = f"{name} {verdict} by {amount(size, change['unit'])}{_percent(change['change_pct'])} {span}"
    between = limits(change["lo"], change["hi"])
    shown = f" (95{THIN}% limits of the change {between})" if between else ""
    least = amount(change["detectable"], change["unit"])
    later = f"{_common_field(change, course)}{_after(change, events)}"
    return f"{told}{shown}. Smallest change that counts here: {least}.{later}"


def _no_comparison(visits: int) -> str:
    if visits == 0:
        return "No visit was measured."
    return "One visit: there is nothing to compare yet." if visits == 1 else "No comparison with the baseline."


def _common_field(change: pd.Series, course: pd.DataFrame) -> str:
    """Say that only part was compared, where either visit did not show all that is known."""
    pair = course[course["visit_id"].isin([change["from_visit"], change["to_visit"]])]
    return " Compared in the field common to both." if pair["value"].isna().any() else ""


def _after(change: pd.Series, events: pd.DataFrame) -> str:
    begun = events.loc[(events["kind"] == "treatment") & (events["years"] < change["years"]), "name"].dropna().unique()
    return f" {change['to_visit']} lies after start of {' and of '.join(begun)}." if len(begun) else ""


def _percent(value: Any) -> str:
    return "" if pd.isna(value) else f" ({number(value, sign=True)}{THIN}%)"


def event_sentence(events: pd.DataFrame) -> str:
    """Say which events there are and when; in time only, never as a cause."""
    parts = []
    event: Any
    for event in events.itertuples():
        what = f"{event.kind} {event.name}" if event.name != event.kind else str(event.kind)
        end = f" to {years(event.end_years)}" if pd.notna(event.end_years) else ""
        parts.append(f"{what} {'from' if end or event.kind == 'treatment' else 'at'} {years(event.years)}{end}")
    return f"Years since baseline: {'; '.join(parts)}." if parts else "No events are recorded."


def where(side: Any, compartment: Any, pattern: Any) -> str:
    """Say where a lesion lies and what it looks like, as far as that is known.

    >>> where("left", "subcutis", "lacy"), where(None, "", "nodular"), where("", None, "indeterminate")
    ('left subcutaneous fat; lace', 'nodule', '')
    """
    place = " ".join(filter(None, (plain(side), compartment_name(plain(compartment)))))
    return "; ".join(filter(None, (place, PATTERNS.get(plain(pattern), ""))))


def software(run: Mapping[str, object]) -> str:
    """Say which software made the results, and when; from ``run.json``.

    >>> software({"software": {"name": "calcitrack", "version": "0.1.0"}, "ended": "2026-11-23T08:12:00+00:00"})
    'calcitrack 0.1.0, results of 2026-11-23'
    """
    made = run.get("software")
    version = made.get("version") if isinstance(made, dict) else None
    told = f"calcitrack {version or 'of unknown version'}"
    return f"{told}, results of {str(run['ended'])[:10]}" if run.get("ended") else told


def plain(value: Any) -> str:
    """Return a value as text; missing is empty."""
    return "" if pd.isna(value) else str(value)


def share(value: Any) -> str:
    """Return a fraction in per cent.

    >>> share(0.913).replace(THIN, " ")
    '91 %'
    """
    return MISSING if pd.isna(value) else f"{float(value):.0%}".replace("%", f"{THIN}%")
