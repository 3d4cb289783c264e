"""The table of trends: what the pipeline asks of a study's burden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from math import inf

import numpy as np
import pandas as pd

from monitor import tables
from monitor._stats import cohort, counts, curves, limits, line, series
from monitor.types import Trend

QUANTITIES = ("volume_mm3", "excess_hu_mm3", "mass_mg", "agatston")
"""Amounts that a rate per year is made of."""

VISITS_EACH_SIDE = 2
"""Visits on each side of a start from which one patient's change of rate is reported."""

WHOLE = "total"
"""Compartment that has a level and, where it declines, a half-life too."""

_FIXED = {"scale": "absolute", "time_origin": "baseline"}
"""What every row says."""


def trends(
    burden: pd.DataFrame,
    patients: pd.DataFrame,
    *,
    events: pd.DataFrame | None = None,
    lineage: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return table ``trends`` of a study: rates of every patient and of the cohort, in every compartment.

    Parameters
    ----------
    burden : DataFrame
        Table ``burden``; rows without a finite value are left out.
    patients : DataFrame
        Table ``patients``: ``arm`` and ``treated_from_years`` are used.
    events : DataFrame, optional
        Table ``events``: a surgery between a patient's visits closes the series there: what was taken out did not
        dissolve. Later visits are left out of every rate, and the patient's note counts them.
    lineage : DataFrame, optional
        Table ``lineage``: new lesions after the baseline are counted per patient-year.

    Returns
    -------
    DataFrame
        Table ``trends``. Terms: rate; level (of the line at the baseline, total only); half_life (of a decline to a
        plateau, total only, years); change_of_rate (after the start, where a patient has two visits on each
        side of it, a cohort two patients with a start); difference_of_rate (between the arms named in ``arm``); of
        quantity ``n_new_lesions`` the cohort's rate and the ratio_of_rates between arms.
        Where the data hold no number, the row is there, with the reason in its note.
    """
    rows = _amounts(burden, patients)
    rows["closed_years"] = _closed(rows, _surgeries(events))
    found = []
    for _, amounts in rows.groupby(["quantity", "compartment", "unit"], sort=True):
        found += [row for _, one in amounts.groupby("patient_id", sort=True) for row in _of_patient(one)]
        found += list(_of_cohort(_open(amounts)))
    found += list(_of_new(rows, tables.empty("lineage") if lineage is None else tables.check(lineage, "lineage")))
    return tables.check(pd.DataFrame(found), "trends")


def _amounts(burden: pd.DataFrame, patients: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that count, as ``stats`` wants them: with se, arm and start."""
    known = tables.check(patients, "patients").drop_duplicates("patient_id")[
        ["patient_id", "arm", "treated_from_years"]
    ]
    rows = tables.check(burden, "burden")
    finite = np.isfinite(rows[["value", "years"]].to_numpy(float)).all(axis=1)
    rows = rows[finite & rows["quantity"].isin(QUANTITIES).to_numpy(bool) & rows["patient_id"].notna().to_numpy(bool)]
    se = (rows["hi"] - rows["lo"]) / (2 * limits.Z)
    rows = rows.assign(se=se.where(se >= 0), unit=rows["unit"].fillna(""), compartment=rows["compartment"].fillna(""))
    amounts: pd.DataFrame = rows.merge(known, on="patient_id", how="left")
    return amounts


def _surgeries(events: pd.DataFrame | None) -> pd.DataFrame:
    checked = tables.empty("events") if events is None else tables.check(events, "events")
    return checked[checked["kind"].eq("surgery").fillna(False).to_numpy(bool)]


def _closed(rows: pd.DataFrame, surgeries: pd.DataFrame) -> pd.Series:
    """Return when each row's patient's series closes, years: at the first surgery after the first visit, or inf."""
    first = dict(rows.groupby("patient_id")["years"].min())
    known = zip(surgeries["patient_id"].astype(str), surgeries["years"], strict=True)
    closed: dict[str, float] = {}
    for patient, years in known:
        if years >= first.get(patient, inf):
            closed[patient] = min(years, closed.get(patient, inf))
    return pd.Series([closed.get(str(patient), inf) for patient in rows["patient_id"]], rows.index, float)


def _open(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["years"] <= rows["closed_years"]).to_numpy(bool)]


def _of_patient(every: pd.DataFrame) -> Iterator[dict[str, object]]:
    rows = _open(every)
    one = series.read(rows, one_patient=True).noting(*_breaks(every, rows))
    place = {"level": "patient", "patient_id": every["patient_id"].iloc[0]}
    yield _row(every, line.rate(one), "rate", **place)
    if every["compartment"].iloc[0] == WHOLE:
        yield _row(every, line.level(one), "level", **place)
        halved = curves.half_life(rows)
        # Most courses are no decline, or bound it on neither side: what says nothing needs no row.
        if np.isfinite(halved.estimate) and (halved.lo > 0 or np.isfinite(halved.hi)):
            yield _row(every, halved, "half_life", **place)
    start = float(every["treated_from_years"].iloc[0])
    after = int((one.years > start).sum())
    if np.isfinite(start) and min(after, len(one.years) - after) >= VISITS_EACH_SIDE:
        yield _row(every, line.change_of_rate(one, start), "change_of_rate", **place)


def _breaks(every: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Return what a reader of the line must know: a surgery that closed the series, or several rules."""
    left_out, when = len(every) - len(rows), every["closed_years"].iloc[0]
    notes = [f"closed by surgery at {when:.2f} a: {left_out} later visit(s) left out"] if left_out else []
    rules = rows["rule_id"].dropna().unique()
    return [*notes, f"measured by {len(rules)} rules: {', '.join(rules)}"] if len(rules) > 1 else notes


def _of_cohort(rows: pd.DataFrame) -> Iterator[dict[str, object]]:
    if rows["patient_id"].nunique() >= 2:
        yield _row(rows, cohort.rate(rows, scale="absolute", method="auto"), "rate", level="cohort")
    yield from _of_arms(rows)
    started = rows[np.isfinite(rows["treated_from_years"].to_numpy(float))]
    if started["patient_id"].nunique() >= 2:
        change = cohort.after_start(rows, "treated_from_years", scale="absolute", method="auto")
        yield _row(rows, change, "change_of_rate", level="cohort")


def _of_arms(rows: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield the rate of each arm of two patients or more, and each one's difference from the first."""
    sizes = rows.groupby("arm")["patient_id"].nunique()
    arms = sorted(str(arm) for arm in sizes.index[sizes >= 2])
    if len(arms) < 2:
        return
    for arm in arms:
        of_arm = rows[rows["arm"].eq(arm).fillna(False).to_numpy(bool)]
        yield _row(rows, cohort.rate(of_arm, scale="absolute", method="auto"), "rate", level="cohort", arm=arm)
    for arm in arms[1:]:
        pair = rows[rows["arm"].isin([arms[0], arm]).to_numpy(bool)]
        difference = cohort.between_arms(pair, "arm", reference=arms[0], scale="absolute", method="auto")
        yield _row(rows, difference, "difference_of_rate", level="cohort", arm=f"{arm} - {arms[0]}")


def _of_new(rows: pd.DataFrame, lineage: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield the cohort's rate of new lesions a year after the baseline, and by arm where two hold two patients each."""
    if rows.empty or lineage.empty:
        return
    seen = rows.drop_duplicates(["patient_id", "visit_id"])
    years = seen.set_index(["patient_id", "visit_id"])["years"]
    events = lineage[lineage["kind"].eq("new").fillna(False).to_numpy(bool)]
    when = years.reindex(pd.MultiIndex.from_frame(events[["patient_id", "visit_id"]])).to_numpy(float)
    count = events[when > 0].groupby("patient_id").size()
    people = seen.groupby("patient_id").agg(years=("years", "max"), arm=("arm", "first"), visits=("visit_id", "size"))
    people = people[people["years"] > 0].assign(count=lambda one: count.reindex(one.index).fillna(0).astype(int))
    people = people.reset_index()
    if len(people) < COHORT:
        return
    sizes = people.groupby("arm").size()
    arms = sizes.index[sizes >= COHORT]
    parts = [people.drop(columns="arm"), people[people["arm"].isin(arms)].assign(arm=people["arm"].astype(str))]
    for part in parts[: 2 if len(arms) > 1 else 1]:
        told = counts.new_lesions(part)
        for row in told[told["term"].isin(_NEW)].to_dict("records"):
            kept = {
                name: row[name] for name in ("estimate", "lo", "hi", "p_value", "interval_kind", "n_patients", "note")
            }
            place = {"level": "cohort", "quantity": "n_new_lesions", "compartment": WHOLE, **_FIXED}
            arm = None if row["arm"] == "all" else row["arm"]
            about = {"model": row["method"], "term": _NEW[row["term"]], "unit": "1/a" if row["term"] == "rate" else "1"}
            yield {**place, **kept, **about, "arm": arm, "n_visits": int(part["visits"].sum())}


COHORT = 2
"""Patients from which a cohort, or an arm, has a rate."""

_NEW = {"rate": "rate", "ratio": "ratio_of_rates"}
"""Terms of ``counts.new_lesions`` that stand in the table, and their names there."""


def _row(rows: pd.DataFrame, trend: Trend, term: str, **place: object) -> dict[str, object]:
    numbers = asdict(trend)
    numbers["model"] = numbers.pop("method")
    where = {name: rows[name].iloc[0] for name in ("quantity", "compartment")}
    return {**where, **_FIXED, **place, **numbers, "term": term}
