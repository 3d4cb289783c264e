"""Tables with one row a patient, arms beside each other, and the rows of what is said of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from math import isnan

import numpy as np
import pandas as pd

from monitor._stats import series

ALL = "all"
"""Arm of the patients where no arm is named."""


@dataclass(frozen=True)
class Row:
    """One number with its limits, as a row of the tables of this package."""

    arm: str
    term: str
    estimate: float
    lo: float
    hi: float
    p_value: float
    unit: str
    method: str
    interval_kind: str
    n_patients: int
    note: str = ""

    def noting(self, *notes: str) -> Row:
        """Return the same row with further notes, each once."""
        return replace(self, note=told(self.note, *notes))


def told(*notes: str) -> str:
    """Return notes as one, each once.

    >>> told("few visits", "", "few visits", "no limits")
    'few visits; no limits'
    """
    return "; ".join(dict.fromkeys(note for note in notes if note))


COLUMNS = tuple(field.name for field in fields(Row))
"""Columns of the tables of this module."""


@dataclass(frozen=True)
class Group:
    """Patients with one row each.

    Attributes
    ----------
    arm : (n,) str array
        Arm of each patient.
    number : dict of (n,) float arrays
        The columns asked for.
    notes : tuple of str
        What was left out.
    """

    arm: np.ndarray
    number: dict[str, np.ndarray]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.arm)

    def of(self, arm: str) -> Group:
        """Return the patients of one arm."""
        mine = self.arm == arm
        return Group(self.arm[mine], {name: column[mine] for name, column in self.number.items()}, self.notes)


def read(data: pd.DataFrame, numbers: tuple[str, ...], *, reference: object) -> tuple[Group, tuple[str, ...]]:
    """Check a table with one row a patient; return the patients, and the arms with the reference first.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, a patient is unnamed or comes twice, the reference is unknown or
        named without arms, or no patient is left.
    """
    series.require(data, ("patient_id", *numbers))
    unnamed = int(data["patient_id"].isna().sum())
    if unnamed:
        raise ValueError(f"every row must name its patient; {unnamed} have no patient_id")
    names = data["patient_id"].map(str)
    twice = names[names.duplicated()].unique()
    if len(twice):
        raise ValueError(f"every patient must have one row; {', '.join(twice[:5])} have several")
    columns = {name: series.number(data, name) for name in numbers}
    known = ~np.isnan(np.column_stack(list(columns.values()))).any(axis=1)
    named, levels = _arms(data, reference)
    kept = known & np.array([arm != "" for arm in named], bool)
    notes = [
        f"{int((~known).sum())} patient(s) without {' or '.join(numbers)} left out" if not known.all() else "",
        f"{int((known & ~kept).sum())} patient(s) without arm left out" if (known & ~kept).any() else "",
        *series.vanished(data, *numbers),
    ]
    if not kept.any():
        raise ValueError(f"data must hold one patient or more with {', '.join(numbers)} and arm; got none")
    arms = tuple(level for level in levels if level in set(named[kept]))
    group = Group(named[kept], {name: column[kept] for name, column in columns.items()}, tuple(filter(None, notes)))
    if reference is not None and str(reference) not in arms:
        raise ValueError(f"reference must be one of {', '.join(arms)}; got {reference!r}")
    return group, arms


def _arms(data: pd.DataFrame, reference: object) -> tuple[np.ndarray, list[str]]:
    """Return each row's arm, (N,) str, empty where there is none; and the arms in order, the reference first."""
    if "arm" not in data:
        if reference is not None:
            raise ValueError(f"reference needs the column arm; got reference={reference!r} without it")
        return np.full(len(data), ALL, dtype=object), [ALL]
    missing = data["arm"].isna().to_numpy(bool)
    levels = series.ordered(data["arm"][~missing], "arm")
    ordered = sorted(dict.fromkeys(map(str, levels)), key=lambda level: level != str(reference))
    return np.where(missing, "", data["arm"].map(str).to_numpy(dtype=object)), ordered


def table(rows: Iterable[Row], notes: tuple[str, ...]) -> pd.DataFrame:
    """Return rows as a table, with the notes of the reading; a missing p value is explained."""
    untested = "no hypothesis is tested: no p value"
    said = [row.noting(*notes, untested if isnan(row.p_value) else "") for row in rows]
    return pd.DataFrame([asdict(row) for row in said], columns=list(COLUMNS))
