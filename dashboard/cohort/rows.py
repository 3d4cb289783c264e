"""Everybody in one table: what is known of each patient, and of one quantity what was measured of each."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dashboard import words
from dashboard.cohort.bands import Courses, between_visits
from monitor.errors import StoreError
from monitor.store import read_table, steady

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dashboard.study import Study
    from monitor.store import Wanted

NO_COMPARISON = "none"
"""Stands for a verdict where no visit was compared with the baseline."""

VERDICTS = (*words.VERDICTS, NO_COMPARISON)
"""Verdicts of the latest visit, as they are offered and drawn."""

DIGITS = 4
"""Significant digits of the numbers that a browser gets: one more than it shows."""

KEPT = 12
"""How many choices of quantity and compartment are kept ready; one takes some 20 MB at 10,000 patients."""

ABOUT = ("condition", "arm", "site")
"""What patients can be told apart by, as the study folder gives it."""


VOLUME, EXCESS = "volume_mm3", "excess_hu_mm3"
"""Volume, whose name begins those of volumes per body surface and growth, and what may carry its verdict."""

BY_EXCESS = "by the excess"
"""Stands beside a verdict on volume that rests on the excess; the change in volume is not told there."""

_SAYING = [name for name in words.VERDICTS if name != "not_comparable"]
"""Verdicts of comparisons that say something; no other is drawn as a change."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """One quantity in one compartment, of everybody; column ``row`` of a table is a place in ``people``.

    Attributes
    ----------
    quantity, compartment, unit : str
    people : DataFrame
        One row per patient, in the order of the study's ids: what the table of patients shows.
    courses : DataFrame
        What can be compared and was measured: row, visit_id, years, value; patients and years ascending.
    left_out : DataFrame
        The other amounts: ``value`` is there where it was measured at a visit that does not compare.
    changes : DataFrame
        Comparisons with the baseline: row, years and the columns of table ``changes``; ``compares`` where the verdict
        says something, ``by_excess`` where it is of a volume and rests on the excess. Patients and years ascending.
    """

    quantity: str
    compartment: str
    unit: str
    people: pd.DataFrame
    courses: pd.DataFrame
    left_out: pd.DataFrame
    changes: pd.DataFrame


class Keep:
    """Keeps the last results of a function of one study, by the other arguments; a failure is never kept."""

    def __init__(self, make: Callable[..., Any], most: int) -> None:
        self._make, self._most = make, most
        self._study: Study | None = None
        self._kept: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, study: Study, *wanted: str) -> Any:
        """Return what the function makes of a study; a study read anew forgets what was made of the last."""
        with self._lock:
            if self._study is not study:
                self._study = study
                self._kept.clear()
            if wanted in self._kept:
                self._kept.move_to_end(wanted)
                return self._kept[wanted]
        made = self._make(study, *wanted)
        with self._lock:
            # Another thread may have come with another study meanwhile.
            if self._study is study:
                self._kept[wanted] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


def cohort(study: Study, quantity: str, compartment: str) -> Cohort:
    """Return everybody's amounts, changes and rates of a quantity; kept ready for the next call."""
    found: Cohort = _cohorts(study, quantity, compartment)
    return found


def people(study: Study) -> pd.DataFrame:
    """Return what is known of each patient whatever the quantity: one row each, in the order of the study's ids."""
    found: pd.DataFrame = _everybody(study)
    return found


def estimate_name(arm: str) -> str:
    """Return of whom an estimate is: of an arm, or of all.

    >>> estimate_name("A"), estimate_name("")
    ('arm A', 'all patients')
    """
    return f"arm {arm}" if arm else "all patients"


def known_rows(study: Study) -> dict[str, int]:
    """Return the place of each patient by its id."""
    found: dict[str, int] = _places(study)
    return found


def gridded(study: Study, quantity: str, compartment: str) -> Courses:
    """Return everybody's amounts at the times of a grid; kept ready for the next call."""
    found: Courses = _gridded(study, quantity, compartment)
    return found


def groups(about: pd.DataFrame, name: str) -> list[str]:
    """Return the conditions, arms or sites there are; an empty name last, where some patients have none."""
    found = sorted(set(about[name]))
    return [one for one in found if one] + ([""] if "" in found else [])


def group_name(kind: str, name: str) -> str:
    """Return a condition, arm or site as it is offered.

    >>> group_name("arm", "A"), group_name("site", ""), group_name("condition", "JDM")
    ('arm A', 'no site', 'JDM')
    """
    if not name:
        return f"no {kind}"
    return name if kind == "condition" else f"{kind} {name}"


def events(study: Study) -> pd.DataFrame:
    """Return everybody's treatments and events that have a time: row, years, end_years, kind, name."""
    found: pd.DataFrame = _all_events(study)
    return found


def visits(study: Study) -> pd.DataFrame:
    """Return everybody's visits: row, visit_id, years and whether each compares."""
    found: pd.DataFrame = _all_visits(study)
    return found


def cohort_rates(study: Study, quantity: str, compartment: str) -> pd.DataFrame:
    """Return the rates of the cohort and of its arms, one by one: arm, estimate, lo, hi, unit, n_patients, note."""
    found: pd.DataFrame = _cohort_rates(study, quantity, compartment)
    return found


def columns(known: Cohort) -> dict[str, Any]:
    """Return the rows of the table of patients column by column, as the browser gets them.

    Texts that repeat are codes and the texts they stand for; the browser makes rows of it (cohort.js).
    """
    told: dict[str, Any] = {}
    for name in known.people.columns:
        column = known.people[name]
        if name == "find":
            continue
        if name == "patient_id":
            told[name] = column.tolist()
        elif column.dtype.kind in "fiu":
            told[name] = _numbers(column.to_numpy(float))
        else:
            codes, texts = pd.factorize(column)
            told[name] = {"codes": codes.tolist(), "texts": list(texts)}
    return told


def rows_of(ids: Sequence[str], named: pd.Series) -> np.ndarray:
    """Return the places of patients among ``ids``; -1 for one who is not there.

    >>> rows_of(("P1", "P2"), pd.Series(["P2", "P9", "P2"])).tolist()
    [1, -1, 1]
    """
    codes, names = pd.factorize(named)
    places = pd.Index(list(ids), dtype=object).get_indexer(pd.Index(list(names), dtype=object))
    return np.where(codes < 0, -1, places[codes]) if len(places) else np.full(len(named), -1)


def _make_people(study: Study) -> pd.DataFrame:
    ids = list(study.ids)
    found = pd.DataFrame({"patient_id": ids})
    known = study.patients.drop_duplicates("patient_id")
    place = rows_of(ids, known["patient_id"])
    for name in ABOUT:
        texts = np.full(len(ids), "", dtype=object)
        texts[place[place >= 0]] = known[name].fillna("").astype(str).to_numpy(object)[place >= 0]
        found[name] = texts
    named = zip(ids, *(found[name] for name in ABOUT), strict=True)
    found["find"] = [" ".join(one).lower() for one in named]
    seen = visits(study)
    row = seen["row"].to_numpy(int)
    count = len(ids)
    found["visits"] = np.bincount(row, minlength=count)
    found["last_years"] = _last(seen["years"].to_numpy(float), row, count)
    found["lesions"] = _last(seen["n_lesions"].to_numpy(float), row, count)
    found["new"] = np.where(found["visits"] > 1, _new_lesions(study, seen), np.nan)
    refused = rows_of(ids, study.refused["patient_id"])
    found["refused"] = np.bincount(refused[refused >= 0], minlength=count)
    return found


def _make_visits(study: Study) -> pd.DataFrame:
    """Return one row per visit, patients and years ascending; it compares if all its scans do."""
    scans = study.visits
    frame = pd.DataFrame(
        {
            "row": rows_of(study.ids, scans["patient_id"]),
            "visit_id": scans["visit_id"].astype(str),
            "years": scans["years"].to_numpy(float),
            "comparable": scans["comparable"].fillna(True).to_numpy(bool),
            "n_lesions": scans["n_lesions"].astype("Float64").to_numpy(float, na_value=np.nan),
        }
    )
    found = frame.groupby(["row", "visit_id"], sort=False, as_index=False).agg(
        {"years": "min", "comparable": "min", "n_lesions": "max"}
    )
    return found[found["row"] >= 0].sort_values(["row", "years"], kind="stable").reset_index(drop=True)


def _new_lesions(study: Study, seen: pd.DataFrame) -> np.ndarray:
    """Return how many lesions were new at a visit after the baseline."""
    found = _beside(study, "lineage", ["patient_id", "visit_id"], {"kind": "new"})
    found = found.assign(row=rows_of(study.ids, found["patient_id"]), visit_id=found["visit_id"].astype(str))
    later = seen.loc[seen["years"] > 0, ["row", "visit_id"]]
    row = found.merge(later, on=["row", "visit_id"])["row"].to_numpy(int)
    return np.bincount(row, minlength=len(study.ids)).astype(float)


def _beside(study: Study, name: str, columns: list[str], wanted: Wanted) -> pd.DataFrame:
    """Read some of a table that the study does not hold, of the run that the study is of."""
    found, now = steady(study.folder, lambda: read_table(study.folder, name, columns=columns, filters=wanted))
    if now != study.run:
        raise StoreError(f"a study must be of one run; {study.folder} was published anew: open it again")
    return found


def _make_events(study: Study) -> pd.DataFrame:
    table = study.events
    found = pd.DataFrame(
        {
            "row": rows_of(study.ids, table["patient_id"]),
            "years": table["years"].to_numpy(float),
            "end_years": table["end_years"].to_numpy(float),
            "kind": table["kind"].fillna("event").astype(str),
            "name": table["name"].fillna(table["kind"]).fillna("event").astype(str),
        }
    )
    found = found[(found["row"] >= 0) & found["years"].notna()]
    return found.sort_values(["row", "years"], kind="stable").reset_index(drop=True)


def _make_cohort_rates(study: Study, quantity: str, compartment: str) -> pd.DataFrame:
    wanted: Wanted = {"level": "cohort", "term": "rate", "scale": "absolute", "quantity": quantity,
                      "compartment": compartment}  # fmt: skip
    names = ["arm", "estimate", "lo", "hi", "unit", "n_patients", "note", "lesion_id"]
    found = _beside(study, "trends", names, wanted)
    found = found[found["lesion_id"].isna() & found["estimate"].notna()]
    return found.assign(arm=found["arm"].fillna("").astype(str)).sort_values("arm").reset_index(drop=True)


def _make_cohort(study: Study, quantity: str, compartment: str) -> Cohort:
    burden = study.burden(quantity, compartment)
    found = _placed(study, burden, "visit_id")
    whole = found["value"].notna() & found["comparable"]
    changes = _placed(study, study.changes(quantity, compartment), "to_visit")
    # All quantities of a comparison name the carrier, and it carries the verdict on volume alone.
    carried = (changes["carried_by"] == EXCESS).fillna(False).to_numpy(bool) & quantity.startswith(VOLUME)
    changes = changes.assign(
        verdict=changes["verdict"].astype(object).fillna(""),
        compares=changes["verdict"].isin(_SAYING).to_numpy(bool),
        by_excess=carried,
    )
    units = burden["unit"].dropna()
    unit = str(units.iloc[0]) if len(units) else "1"
    return Cohort(
        quantity=quantity,
        compartment=compartment,
        unit=unit,
        people=_measured_people(study, found, changes, study.rates(quantity, compartment)),
        courses=found[whole].reset_index(drop=True),
        left_out=found[~whole].reset_index(drop=True),
        changes=changes,
    )


def _placed(study: Study, table: pd.DataFrame, visit: str) -> pd.DataFrame:
    """Return a table with the places of its patients and whether the visit compares, patients and years ascending."""
    found = table.assign(row=rows_of(study.ids, table["patient_id"]), **{visit: table[visit].astype(str)})
    found = found[(found["row"] >= 0) & found["years"].notna()]
    known = visits(study)[["row", "visit_id", "comparable"]].rename(columns={"visit_id": visit})
    found = found.merge(known, on=["row", visit], how="left")
    found["comparable"] = found["comparable"].fillna(True).astype(bool)
    return found.sort_values(["row", "years"], kind="stable").reset_index(drop=True)


def _measured_people(study: Study, burden: pd.DataFrame, changes: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Add to each patient the latest amount, the latest comparison with the baseline, and the rate."""
    found = people(study).copy()
    count = len(found)
    last = burden.drop_duplicates("row", keep="last")
    for name in ("value", "lo", "hi"):
        found[name] = _at(last, name, count)
    partly = _at(last, "value_observed", count)
    # Where all that is known lies out of the field, the amount of what was seen is 0, and says nothing.
    unseen = _at(last, "evaluable", count) == 0
    none = np.select([unseen, np.isnan(partly)], ["not in the field", "not measurable"], "seen in part").astype(object)
    state = np.full(count, "not measured", dtype=object)
    place = last["row"].to_numpy(int)
    state[place] = np.where(np.isnan(found["value"].to_numpy()[place]), none[place], "")
    found["state"] = state
    latest = changes.drop_duplicates("row", keep="last")
    compared = latest[latest["compares"] & ~latest["by_excess"]]
    carried = latest[latest["compares"] & latest["by_excess"]]
    found["by"] = ""
    found.loc[carried["row"].to_numpy(int), "by"] = BY_EXCESS
    for name, column in (("change", "change"), ("change_pct", "change_pct"), ("detectable", "detectable")):
        found[name] = _at(compared, column, count)
    found["verdict"] = _texts(latest, "verdict", count, NO_COMPARISON)
    found["why"] = _texts(latest, "why", count, "no comparison with the baseline")
    apart = changes.loc[changes["verdict"] == "not_comparable", "row"].to_numpy(int)
    found["not_comparable"] = np.bincount(apart, minlength=count)
    own = rates.assign(row=rows_of(study.ids, rates["patient_id"]))
    own = own[own["row"] >= 0].drop_duplicates("row")
    for name, column in (("rate", "estimate"), ("rate_lo", "lo"), ("rate_hi", "hi")):
        found[name] = _at(own, column, count)
    return found


def _at(table: pd.DataFrame, name: str, count: int) -> np.ndarray:
    """Return a column of numbers by the place of its patient; NaN for those who have no row."""
    found = np.full(count, np.nan)
    found[table["row"].to_numpy(int)] = table[name].to_numpy(float)
    return found


def _texts(table: pd.DataFrame, name: str, count: int, missing: str) -> np.ndarray:
    """Return a column of texts by the place of its patient."""
    found = np.full(count, missing, dtype=object)
    found[table["row"].to_numpy(int)] = table[name].astype(object).fillna(missing).to_numpy(object)
    return found


def _last(values: np.ndarray, row: np.ndarray, count: int) -> np.ndarray:
    """Return each patient's last value that is known, rows ascending in time."""
    found = np.full(count, np.nan)
    known = ~np.isnan(values)
    found[row[known]] = values[known]
    return found


def _numbers(values: np.ndarray) -> list[float | None]:
    """Return numbers with no more digits than are of use; None for what is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.where(values == 0, 0.0, np.round(values * scale) / scale)
    whole = np.abs(values) >= 10.0**DIGITS
    rounded = np.where(whole, np.round(values), rounded)
    return [None if math.isnan(value) else value for value in rounded.tolist()]


def _make_places(study: Study) -> dict[str, int]:
    return {patient: row for row, patient in enumerate(study.ids)}


def _make_gridded(study: Study, quantity: str, compartment: str) -> Courses:
    return between_visits(cohort(study, quantity, compartment).courses, len(study.ids))


_places = Keep(_make_places, 2)
_gridded = Keep(_make_gridded, KEPT)
_everybody = Keep(_make_people, 2)
_all_visits = Keep(_make_visits, 2)
_all_events = Keep(_make_events, 2)
_cohorts = Keep(_make_cohort, KEPT)
_cohort_rates = Keep(_make_cohort_rates, KEPT)
