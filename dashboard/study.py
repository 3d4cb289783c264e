"""What the pages read: small tables whole, long ones by what is asked for, and all of one run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dashboard import words
from monitor import store, tables
from monitor.errors import StoreError
from monitor.store import Results

KEPT_COURSES = 48
"""Answers kept of everybody's burden, changes and rates each: of 10,000 patients with 8 visits one takes up to 15 MB,
and is made anew in 0.1 s."""

KEPT_PATIENTS = 32
"""Patients whose tables are kept: one with 50 lesions and 8 visits takes 1.2 MB."""

READERS = 3
"""Tables of a patient that are read side by side: pyarrow does not hold the others up."""

SCORES = ("patient_id", "date", "years", "quantity", "value", "unit", "compartment", "reader", "source")
"""Columns of table ``scores`` where this version has no such table."""

OCCASION = ("patient_id", "visit_id", "date", "years")
"""What rows of one visit share."""

BURDEN = ("value", "lo", "hi", "unit", "value_observed", "evaluable")
CHANGES = ("from_visit", "to_visit", "rule_id", "before", "after", "change", "lo", "hi", "change_pct",
           "change_per_year", "unit", "detectable", "verdict", "carried_by", "why")  # fmt: skip
RATES = ("patient_id", "model", "estimate", "se", "df", "lo", "hi", "interval_kind", "p_value", "unit", "time_origin",
         "n_visits", "note")  # fmt: skip
"""Columns of the long tables that the pages of the cohort show."""


class _Long:
    """A long table kept by quantity and compartment, each part of it in one run of rows."""

    def __init__(self, rows: pd.DataFrame) -> None:
        rows["patient_id"] = rows["patient_id"].cat.reorder_categories(sorted(rows["patient_id"].cat.categories))
        quantity, compartment = (rows[name].cat for name in ("quantity", "compartment"))
        code = quantity.codes.to_numpy(np.int32) * (len(compartment.categories) + 1) + compartment.codes.to_numpy()
        order = np.lexsort((rows["patient_id"].cat.codes, code))
        starts = np.flatnonzero(np.diff(code[order], prepend=-2))
        firsts = rows[["quantity", "compartment"]].iloc[order[starts]].astype(object)
        ends = [*starts[1:], len(order)][: len(starts)]
        self._parts = {
            (str(one), str(two)): slice(int(start), int(end))
            for one, two, start, end in zip(firsts["quantity"], firsts["compartment"], starts, ends, strict=True)
        }
        # One column after the other, so that no more than one is there twice.
        kept = [name for name in rows.columns if name not in ("quantity", "compartment")]
        self._columns = {name: rows.pop(name).take(order).reset_index(drop=True) for name in kept}

    def of(self, quantity: str, compartment: str) -> pd.DataFrame:
        """Return the rows of one quantity and compartment; none of what is not there."""
        part = self._parts.get((quantity, compartment), slice(0, 0))
        found = pd.DataFrame({name: column.iloc[part] for name, column in self._columns.items()})
        coded = found.columns[found.dtypes == "category"]
        return found.astype(dict.fromkeys(coded, tables.TEXT)).reset_index(drop=True)


class _Read(NamedTuple):
    """What is read of a results folder at once."""

    small: dict[str, pd.DataFrame]
    burden: _Long
    changes: _Long
    rates: _Long
    quantities: tuple[str, ...]
    compartments: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Study:
    """A results folder as the pages read it.

    Every table that is given out is the caller's own: a change in it reaches nobody else. All methods may be called
    by many threads at once.

    Attributes
    ----------
    folder : Path
    run : dict
        ``run.json``.
    patients : DataFrame
        Table ``patients``, sorted, with a row for every id that only other tables know.
    visits, events, refused, scores : DataFrame
        These tables, whole.
    quantities : tuple of str
        As offered, the known ones first; volume where nothing was measured.
    compartments : tuple of str
        ``total`` first; that alone where nothing was measured.
    ids : tuple of str
        All patients, sorted.
    """

    folder: Path
    run: dict[str, object]
    patients: pd.DataFrame
    visits: pd.DataFrame
    events: pd.DataFrame
    refused: pd.DataFrame
    scores: pd.DataFrame
    quantities: tuple[str, ...]
    compartments: tuple[str, ...]
    ids: tuple[str, ...]
    _answers: dict[str, Callable[..., pd.DataFrame]] = field(repr=False)
    _patient: Callable[[str], Results] = field(repr=False)

    def burden(self, quantity: str, compartment: str) -> pd.DataFrame:
        """Return everybody's amounts, patients and years ascending: columns ``OCCASION`` and ``BURDEN``."""
        return self._answers["burden"](quantity, compartment).copy(deep=False)

    def changes(self, quantity: str, compartment: str) -> pd.DataFrame:
        """Return everybody's comparisons with the baseline by the error of the scans, later visits last.

        Columns: patient_id, ``CHANGES``, and the years of the later visit.
        """
        return self._answers["changes"](quantity, compartment).copy(deep=False)

    def rates(self, quantity: str, compartment: str) -> pd.DataFrame:
        """Return the yearly rate of each patient who has one, patients ascending: columns ``RATES``."""
        return self._answers["rates"](quantity, compartment).copy(deep=False)

    def patient(self, patient: str) -> Results:
        """Return all tables with one patient's rows alone.

        Raises
        ------
        KeyError
            If the results do not know the patient.
        StoreError
            If a run has published since, or the results cannot be read: open the study again.
        """
        if patient not in self.ids:
            raise KeyError(patient)
        found = self._patient(patient)
        return Results(found.folder, {name: one.copy(deep=False) for name, one in found.tables.items()}, found.run)

    def offered(self, quantity: object, compartment: object) -> tuple[str, str]:
        """Return quantity and compartment as they are offered: the first where what came is not."""
        known = (self.quantities, self.compartments)
        one, two = (
            given if isinstance(given, str) and given in names else names[0]
            for given, names in zip((quantity, compartment), known, strict=True)
        )
        return one, two


def open_study(folder: str | Path) -> Study:
    """Open a published results folder.

    Of the long tables only what the pages of the cohort need is kept; a patient's rows are read when asked for.

    Raises
    ------
    monitor.errors.StoreError
        If nothing was published there, or it cannot be read.
    """
    root = Path(folder)
    read, run = store.steady(root, lambda: _read(root))
    ids, patients = _everybody(read.small)
    return Study(
        folder=root,
        run=run,
        patients=patients,
        **{name: read.small[name] for name in ("visits", "events", "refused", "scores")},
        quantities=read.quantities,
        compartments=read.compartments,
        ids=ids,
        _answers=_answers(read),
        _patient=functools.lru_cache(KEPT_PATIENTS)(lambda patient: _of_patient(root, run, read.small, patient)),
    )


def _read(root: Path) -> _Read:
    """Read what the cohort needs; the names of what was measured first, so that no other rows are read."""
    small = {name: store.read_table(root, name) for name in ("patients", "visits", "events", "refused")}
    known = tables.SCHEMAS.get("scores")
    small["scores"] = pd.DataFrame(columns=list(SCORES)) if known is None else store.read_table(root, "scores")
    names = store.read_coded(root, "burden", columns=["quantity", "compartment"])
    quantities, compartments = (_found(names[name]) for name in ("quantity", "compartment"))
    shown = [name for name in quantities if name not in words.BESIDE]
    wanted: dict[str, object] = {"quantity": shown}
    return _Read(
        small=small,
        burden=_Long(_coded(root, "burden", (*OCCASION, *BURDEN), wanted)),
        changes=_Long(_own_limits(_coded(root, "changes", ("patient_id", *CHANGES), wanted | _WITH_BASELINE))),
        rates=_Long(_coded(root, "trends", RATES, _RATE)),
        quantities=(*_known_first(shown, words.QUANTITIES),) or ("volume_mm3",),
        compartments=(*_known_first(compartments, ["total"]),) or ("total",),
    )


_WITH_BASELINE: dict[str, object] = {"lesion_id": None, "comparison": "baseline"}
"""Comparisons of sums with the baseline."""

_RATE: dict[str, object] = {"level": "patient", "term": "rate", "scale": "absolute", "lesion_id": None}
"""Rates of patients."""


def _found(names: pd.Series) -> list[str]:
    """Return the words of a column of text."""
    return [str(name) for name in names.cat.remove_unused_categories().cat.categories]


def _known_first(names: list[str], known: Iterable[str]) -> list[str]:
    """Return names in the order in which they are known, then the others in order of the alphabet."""
    order = {name: number for number, name in enumerate(known)}
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


def _coded(root: Path, name: str, columns: tuple[str, ...], filters: store.Wanted) -> pd.DataFrame:
    return store.read_coded(root, name, columns=["quantity", "compartment", *columns], filters=filters)


def _own_limits(changes: pd.DataFrame) -> pd.DataFrame:
    """Return the comparisons by the error of the scans, and not by a published limit."""
    rules = changes["rule_id"].cat.categories
    published = rules[rules.astype(str).str.contains(tables.PUBLISHED_LIMIT, regex=False)]
    return changes[~changes["rule_id"].isin(published)]


def _answers(read: _Read) -> dict[str, Callable[..., pd.DataFrame]]:
    """Return what answers for everybody, each with the last answers kept."""
    when = read.small["visits"][["patient_id", "visit_id", "years"]].drop_duplicates(["patient_id", "visit_id"])
    when = when.rename(columns={"visit_id": "to_visit"})

    def burden(quantity: str, compartment: str) -> pd.DataFrame:
        return _in_order(read.burden.of(quantity, compartment))

    def changes(quantity: str, compartment: str) -> pd.DataFrame:
        rows = read.changes.of(quantity, compartment)
        return _in_order(rows.merge(when, on=["patient_id", "to_visit"], how="left"))

    def rates(quantity: str, compartment: str) -> pd.DataFrame:
        return read.rates.of(quantity, compartment)

    return {one.__name__: functools.lru_cache(KEPT_COURSES)(one) for one in (burden, changes, rates)}


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows that are sorted by patient in order of years too."""
    patient = np.cumsum(rows["patient_id"].ne(rows["patient_id"].shift()).fillna(True).to_numpy(bool))
    return rows.take(np.lexsort((rows["years"].to_numpy(float), patient))).reset_index(drop=True)


def _everybody(small: dict[str, pd.DataFrame]) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Return all ids, sorted, and table ``patients`` with a row for each."""
    named = pd.concat([small[name]["patient_id"] for name in ("patients", "visits", "refused")]).dropna().unique()
    ids = tuple(sorted(str(name) for name in named))
    table = small["patients"].dropna(subset=["patient_id"]).drop_duplicates("patient_id")
    every = pd.DataFrame({"patient_id": pd.Series(ids, dtype="string")}).merge(table, on="patient_id", how="left")
    return ids, tables.check(every, "patients")


def _of_patient(root: Path, run: dict[str, object], small: dict[str, pd.DataFrame], patient: str) -> Results:
    """Take one patient's rows of what is there, and read the others of the run that the study is of."""
    own = {"patient_id": patient}
    rest = [name for name in tables.SCHEMAS if name not in small]
    with ThreadPoolExecutor(READERS) as pool:

        def rows() -> dict[str, pd.DataFrame]:
            return dict(zip(rest, pool.map(lambda name: store.read_table(root, name, filters=own), rest), strict=True))

        found, now = store.steady(root, rows)
    if now != run:
        raise StoreError(f"a study must be of one run; {root} was published anew: open it again")
    for name, table in small.items():
        if name in tables.SCHEMAS:
            found[name] = table[table["patient_id"].eq(patient).fillna(False).to_numpy(bool)].reset_index(drop=True)
    return Results(root, {name: found[name] for name in tables.SCHEMAS}, run)
