"""The time axis: years, days, dates or the patient's age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dashboard.patient.own import Own

DAYS_A_YEAR = 365.25
"""As the tables count years."""

TIMES = {
    "years": "Years since baseline",
    "days": "Days since baseline",
    "date": "Date",
    "age": "Age (years)",
}
"""Time axes by name, with their titles."""


@dataclass(frozen=True)
class Clock:
    """How years since the baseline are written on the axis.

    Attributes
    ----------
    kind : str
        A key of ``TIMES``.
    baseline : date or None
        Day of the baseline.
    age : float
        Age at the baseline, years; NaN where unknown.
    """

    kind: str = "years"
    baseline: date | None = None
    age: float = nan

    @property
    def title(self) -> str:
        """Title of the axis."""
        return TIMES[self.kind]

    @property
    def dated(self) -> bool:
        """Tell whether the axis holds dates."""
        return self.kind == "date"

    def at(self, years: Iterable[Any]) -> list[Any]:
        """Return times on the axis: numbers, or ISO days; what is missing is None.

        >>> Clock("days").at([0.0, 1.0]), Clock("age", age=7.5).at([2.0, None])
        ([0.0, 365.25], [9.5, None])
        >>> Clock("date", date(2024, 1, 1)).at([1.0])
        ['2024-12-31']
        """
        return [None if value is None or not isfinite(value) else self._at(float(value)) for value in years]

    def _at(self, years: float) -> Any:
        if self.kind == "date" and self.baseline is not None:
            return (self.baseline + timedelta(days=round(years * DAYS_A_YEAR))).isoformat()
        return years * DAYS_A_YEAR if self.kind == "days" else years + (self.age if self.kind == "age" else 0.0)


def offered(own: Own) -> tuple[str, ...]:
    """Return the time axes that a patient has: dates need a dated baseline, age a known birth date."""
    has = {"date": baseline_day(own) is not None, "age": pd.notna(own.about.get("age_years"))}
    return tuple(kind for kind in TIMES if has.get(kind, True))


def clock(own: Own, kind: str) -> Clock:
    """Return a patient's clock of one kind."""
    age = own.about.get("age_years")
    return Clock(kind, baseline_day(own), nan if pd.isna(age) else float(age))


def baseline_day(own: Own) -> date | None:
    """Return the day from which a patient's years are counted; None where no visit has a date."""
    known = [row for row in own.scans if row["date"] is not None and pd.notna(row["years"])]
    if not known:
        return None
    nearest = min(known, key=lambda row: abs(row["years"]))
    day: date = pd.Timestamp(nearest["date"]).date() - timedelta(days=round(nearest["years"] * DAYS_A_YEAR))
    return day
