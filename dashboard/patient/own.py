"""One patient's tables as plain rows in order of time, each made once: a page asks for the same rows many times."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from monitor.tables import PUBLISHED_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dashboard.study import Study
    from monitor.store import Results

Row = dict[str, Any]
"""A row by column: a missing number is NaN, anything else missing is None."""

KEPT = 32
"""Patients whose rows are kept, as many as a study keeps tables of."""

COMPARED = ("from_visit", "to_visit", "comparison", "compartment", "quantity", "rule_id", "before", "after", "change",
            "lo", "hi", "change_pct", "unit", "detectable", "verdict", "carried_by", "why")  # fmt: skip
"""What is needed of a comparison."""

EXCHANGED = ("gained_mm3", "lost_mm3")
"""What is needed beside of one of a lesion."""

JUDGED, JUDGED_AGAINST = ("volume_mm3", "excess_hu_mm3"), ("baseline", "previous")
"""Quantities that the verdict on a lesion rests on, and what it is compared with."""

AMOUNTS = ("visit_id", "quantity", "compartment", "value", "lo", "hi", "unit", "evaluable", "value_observed")
"""What is needed of a burden."""

LESIONS = ("visit_id", "years", "lesion_id", "status", "volume_mm3", "volume_lo_mm3", "volume_hi_mm3", "compartment",
           "side", "pattern")  # fmt: skip
"""What is needed of a lesion at a visit."""

SCORES = ("date", "years", "quantity", "value", "unit", "compartment", "reader")
"""What is needed of a reader's score."""


def missing(value: Any) -> bool:
    """Tell whether a cell holds nothing.

    >>> missing(None), missing(float("nan")), missing(0.0)
    (True, True, False)
    """
    return bool(pd.isna(value))


def plain_rows(table: pd.DataFrame, columns: Sequence[str] | None = None, among: Any = None) -> list[Row]:
    """Return rows of a table as plain values, of ``columns`` and ``among`` a mask.

    >>> plain_rows(pd.DataFrame({"a": pd.array(["x", None], dtype="string"), "b": [1.0, float("nan")]}))
    [{'a': 'x', 'b': 1.0}, {'a': None, 'b': nan}]
    """
    names = list(table.columns if columns is None else columns)
    kept = None if among is None else np.flatnonzero(among)
    cells = [_plain(table[name].array if kept is None else table[name].array.take(kept)) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]


def _plain(column: Any) -> list[Any]:
    """Return the values of a column."""
    if column.dtype.kind == "f":
        return np.asarray(column, float).tolist()
    if column.dtype.kind == "M":
        return [None if value is pd.NaT else value for value in column]
    values: list[Any] = column.to_numpy(dtype=object, na_value=None).tolist()
    return values


@dataclass(frozen=True, eq=False)
class Own:
    """One patient's rows.

    Attributes
    ----------
    results : Results
        The patient's own tables, and no one else's.
    """

    results: Results

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.results.folder

    def table(self, name: str) -> pd.DataFrame:
        """Return a table as it was read."""
        return self.results.tables[name]

    @cached_property
    def about(self) -> Row:
        """What the study folder says of the patient; empty where it says nothing."""
        found = plain_rows(self.table("patients"))
        return found[0] if found else {}

    @cached_property
    def scans(self) -> list[Row]:
        """All scans, oldest first."""
        return sorted(plain_rows(self.table("visits")), key=lambda row: (_late(row["years"]), str(row["visit_id"])))

    @cached_property
    def visits(self) -> dict[str, Row]:
        """Each visit made of all its scans, oldest first."""
        found: dict[str, list[Row]] = {}
        for row in self.scans:
            found.setdefault(str(row["visit_id"]), []).append(row)
        return {visit: one_visit(scans) for visit, scans in found.items()}

    @cached_property
    def baseline(self) -> str | None:
        """The baseline visit; None where there is none."""
        named = self.about.get("baseline_visit_id")
        if named:
            return str(named)
        return next((visit for visit, row in self.visits.items() if row["years"] == 0), None)

    @cached_property
    def events(self) -> pd.DataFrame:
        """Treatments and events in order of time; one without a name is named by its kind."""
        table = self.table("events").sort_values("years", kind="stable").reset_index(drop=True)
        return table.assign(name=table["name"].fillna(table["kind"]))

    @cached_property
    def happened(self) -> list[Row]:
        """The same as plain rows."""
        return plain_rows(self.events)

    @cached_property
    def scores(self) -> list[Row]:
        """Readers' scores in order of time; results of before there were any hold none."""
        table = self.results.tables.get("scores")
        return [] if table is None else sorted(plain_rows(table, SCORES), key=lambda row: _late(row["years"]))

    @cached_property
    def trends(self) -> list[Row]:
        """Trends of this patient alone."""
        table = self.table("trends")
        return [row for row in plain_rows(table) if row["level"] == "patient" and row["patient_id"]]

    @cached_property
    def lineage(self) -> list[Row]:
        """Events of lesions in order of time, with ``years`` of the visit."""
        found = [
            {**row, "years": self.years(row["visit_id"])}
            for row in plain_rows(self.table("lineage"))
            if row["lesion_id"] is not None
        ]
        return sorted(found, key=lambda row: (_late(row["years"]), row["lesion_id"]))

    @cached_property
    def lesions(self) -> dict[int, list[Row]]:
        """Rows of each lesion, oldest first."""
        found: dict[int, list[Row]] = {}
        for row in sorted(plain_rows(self.table("lesions"), LESIONS), key=lambda row: _late(row["years"])):
            if row["lesion_id"] is not None:
                found.setdefault(int(row["lesion_id"]), []).append(row)
        return dict(sorted(found.items()))

    @cached_property
    def amounts(self) -> dict[tuple[str, str], dict[str, Row]]:
        """Burden by quantity and compartment, and visit."""
        found: dict[tuple[str, str], dict[str, Row]] = {}
        for row in plain_rows(self.table("burden"), AMOUNTS):
            found.setdefault((str(row["quantity"]), str(row["compartment"])), {})[str(row["visit_id"])] = row
        return found

    def changes(self, quantity: str, compartment: str) -> list[Row]:
        """Return comparisons of a sum by the error of the scans, later visits last, with ``years`` of the later."""
        table = self.table("changes")
        mask = self._of_sums & (table["quantity"] == quantity) & (table["compartment"] == compartment)
        found = plain_rows(table, COMPARED, mask.fillna(False).to_numpy(bool))
        return self._dated([row for row in found if PUBLISHED_LIMIT not in (row["rule_id"] or "")])

    @cached_property
    def published(self) -> list[Row]:
        """Comparisons of the latest visit with the baseline by published limits."""
        table = self.table("changes")
        mask = (table["compartment"] == "total") & (table["comparison"] == "baseline") & self._of_sums
        found = plain_rows(table, COMPARED, mask.fillna(False).to_numpy(bool))
        dated = self._dated([row for row in found if PUBLISHED_LIMIT in (row["rule_id"] or "")])
        return [row for row in dated if row["to_visit"] == dated[-1]["to_visit"]]

    @cached_property
    def lesion_changes(self) -> dict[tuple[int, str, str], Row]:
        """Comparisons of each lesion where it was last recorded, by lesion, comparison and quantity."""
        table = self.table("changes")
        last = {lesion: str(course[-1]["visit_id"]) for lesion, course in self.lesions.items()}
        mask = ~self._of_sums & table["quantity"].isin(JUDGED) & table["comparison"].isin(JUDGED_AGAINST)
        mask &= table["to_visit"].isin(set(last.values()))
        found = plain_rows(table, ("lesion_id", *COMPARED, *EXCHANGED), mask.fillna(False).to_numpy(bool))
        return {
            (int(row["lesion_id"]), str(row["comparison"]), str(row["quantity"])): row
            for row in found
            if row["to_visit"] == last.get(int(row["lesion_id"]))
        }

    @cached_property
    def _of_sums(self) -> pd.Series:
        return self.table("changes")["lesion_id"].isna()

    def years(self, visit: object) -> float:
        """Return the years of a visit; NaN where it is not known."""
        row = self.visits.get(str(visit))
        return float("nan") if row is None else float(row["years"])

    def _dated(self, found: list[Row]) -> list[Row]:
        dated = [
            {**row, "years": self.years(row["to_visit"]), "from_years": self.years(row["from_visit"])} for row in found
        ]
        return sorted(dated, key=lambda row: _late(row["years"]))


def one_visit(scans: Sequence[Row]) -> Row:
    """Return the scans of one visit as one row: the first, with what must hold for all of them.

    It may be compared where all may, and may not where one may not; of the reasons each is told once, and the limit of
    detection, mm³, is the largest: what is smaller could be missed by one of them.

    >>> one = {"visit_id": "V1", "comparable": True, "comparable_why": None, "lod_mm3": 2.0}
    >>> one_visit([one, {**one, "comparable": False, "comparable_why": "kernel", "lod_mm3": 5.0}])
    {'visit_id': 'V1', 'comparable': False, 'comparable_why': 'kernel', 'lod_mm3': 5.0}
    """
    compares = [row["comparable"] for row in scans]
    alike = False if False in compares else None if None in compares else True
    why = "; ".join(dict.fromkeys(str(row["comparable_why"]) for row in scans if row["comparable_why"]))
    limits = [row["lod_mm3"] for row in scans if not missing(row["lod_mm3"])]
    worst = max(limits, default=float("nan"))
    return {**scans[0], "comparable": alike, "comparable_why": why or None, "lod_mm3": worst}


def _late(years: float) -> float:
    """Return years to sort by: what has no time comes last."""
    return float("inf") if pd.isna(years) else float(years)


_KEPT: WeakKeyDictionary[Study, OrderedDict[str, Own]] = WeakKeyDictionary()
_LOCK = threading.Lock()


def own(study: Study, patient: str) -> Own:
    """Return one patient's rows, kept for the last ones asked for; they are nobody's to change.

    Raises
    ------
    KeyError
        If the results do not know the patient.
    """
    with _LOCK:
        kept = _KEPT.setdefault(study, OrderedDict())
        if patient in kept:
            kept.move_to_end(patient)
            return kept[patient]
    made = Own(study.patient(patient))
    with _LOCK:
        kept[patient] = made
        while len(kept) > KEPT:
            kept.popitem(last=False)
    return made
