"""Rows for each part of the page: tables of the results, filtered and reshaped, with no new number in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from dashboard import words

if TYPE_CHECKING:
    from monitor.store import Results

PATIENT_PATH = re.compile(r"/patient/([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
"""Where a patient's part of the page is; the group is an id as the study folder allows it."""


def patient_of(path: str | None, results: Results) -> str | None:
    """Return the patient that a path names, if the results know one of that name."""
    found = PATIENT_PATH.fullmatch(path or "")
    return found[1] if found and found[1] in patient_ids(results) else None


def patient_ids(results: Results) -> list[str]:
    """Return everybody, the refused included, in order."""
    named = [results.tables[name]["patient_id"] for name in ("patients", "visits", "refused")]
    return sorted(pd.concat(named).dropna().unique())


def quantities(results: Results) -> list[str]:
    """Return the quantities that were measured, the known ones first; volume where nothing was.

    What stands beside them in the tables to match other programs is left to the tables.
    """
    found = set(results.tables["burden"]["quantity"].dropna()) or {"volume_mm3"}
    return [name for name in words.QUANTITIES if name in found] + sorted(
        found - set(words.QUANTITIES) - set(words.BESIDE)
    )


def compartments(results: Results) -> list[str]:
    """Return the compartments, ``total`` first; that alone where nothing was measured."""
    found = set(results.tables["burden"]["compartment"].dropna()) or {"total"}
    return sorted(found, key=lambda name: (name != "total", name))


def conditions(results: Results) -> list[str]:
    """Return the conditions of the study."""
    return sorted(results.tables["patients"]["condition"].dropna().unique())


def offered(results: Results, quantity: str | None, compartment: str | None) -> tuple[str, str]:
    """Return quantity and compartment as the results offer them: the first where what came is not offered."""
    known = quantities(results), compartments(results)
    given = quantity, compartment
    first, second = (name if name in names else names[0] for name, names in zip(given, known, strict=True))
    return first, second


def courses(results: Results, quantity: str, compartment: str, condition: str | None = None) -> pd.DataFrame:
    """Return the burden of everybody, patients and years ascending."""
    burden = results.tables["burden"]
    kept = burden[(burden["quantity"] == quantity) & (burden["compartment"] == compartment)]
    if condition:
        patients = results.tables["patients"]
        kept = kept[kept["patient_id"].isin(patients.loc[patients["condition"] == condition, "patient_id"])]
    return kept.sort_values(["patient_id", "years"], kind="stable").reset_index(drop=True)


def course(results: Results, patient: str, quantity: str, compartment: str) -> pd.DataFrame:
    """Return one patient's burden with what must be known to read it: comparable and why, and the field."""
    burden = courses(results, quantity, compartment)
    own = burden[burden["patient_id"] == patient]
    scans = results.tables["visits"]
    about = scans.loc[scans["patient_id"] == patient, ["visit_id", "comparable", "comparable_why", "in_field"]]
    return own.merge(about.drop_duplicates("visit_id"), on="visit_id", how="left").reset_index(drop=True)


def against_baseline(results: Results, patient: str, quantity: str, compartment: str) -> pd.DataFrame:
    """Return a patient's comparisons with the baseline, later visits last, with the years of the later visit."""
    changes = results.tables["changes"]
    own = changes[
        (changes["patient_id"] == patient)
        & (changes["comparison"] == "baseline")
        & (changes["quantity"] == quantity)
        & (changes["compartment"] == compartment)
        & changes["lesion_id"].isna()
        & _by_own_limits(changes)
    ]
    return own.merge(_visit_years(results, patient), on="to_visit", how="left").sort_values("years", kind="stable")


def _by_own_limits(changes: pd.DataFrame) -> pd.Series:
    """Tell which comparisons are by the error of the scans, and not by a published limit."""
    return ~changes["rule_id"].fillna("").str.contains(";limit=", regex=False)


def latest_change(results: Results, patient: str, quantity: str, compartment: str) -> pd.Series | None:
    """Return the comparison of the latest visit with the baseline."""
    found = against_baseline(results, patient, quantity, compartment)
    return None if found.empty else found.iloc[-1]


def events(results: Results, patient: str) -> pd.DataFrame:
    """Return a patient's treatments and events in order of time; one without a name is named by its kind."""
    table = results.tables["events"]
    own = table[table["patient_id"] == patient].sort_values("years", kind="stable").reset_index(drop=True)
    return own.assign(name=own["name"].fillna(own["kind"]))


def trend(results: Results, patient: str, quantity: str, compartment: str) -> dict[str, pd.Series]:
    """Return the terms of the line fitted to a patient's burden: ``rate`` and, where it is given, ``level``."""
    table = results.tables["trends"]
    own = table[
        (table["level"] == "patient")
        & (table["patient_id"] == patient)
        & (table["quantity"] == quantity)
        & (table["compartment"] == compartment)
        & (table["scale"] == "absolute")
        & table["lesion_id"].isna()
    ]
    return {str(row["term"]): row for _, row in own.drop_duplicates("term").iterrows()}


def patient_rows(results: Results, quantity: str, compartment: str, condition: str | None = None) -> list[dict]:
    """Return the rows of the table of patients."""
    lines = courses(results, quantity, compartment)
    last = lines.groupby("patient_id").tail(1).set_index("patient_id")
    verdicts = _last_verdicts(results, quantity, compartment)
    visits = results.tables["visits"].drop_duplicates(["patient_id", "visit_id"]).groupby("patient_id").size()
    rows = []
    for patient in patient_ids(results):
        who = about(results, patient)
        if condition and who.get("condition") != condition:
            continue
        row = {
            "patient_id": patient,
            "condition": _text(who.get("condition")),
            "arm": _text(who.get("arm")),
            "visits": int(visits.get(patient, 0)),
        }
        rows.append(row | _latest(last, patient) | _verdict(verdicts.get(patient)))
    return rows


def about(results: Results, patient: str) -> pd.Series:
    """Return what the study folder says of a patient; empty where it says nothing."""
    table = results.tables["patients"]
    own = table[table["patient_id"] == patient]
    return pd.Series(dtype="string") if own.empty else own.iloc[0]


def lesion_rows(results: Results, patient: str) -> list[dict]:
    """Return the rows of the table of lesions: each lesion as it was last recorded."""
    table = results.tables["lesions"]
    own = table[table["patient_id"] == patient].sort_values(["lesion_id", "years"], kind="stable")
    baseline = _baseline_visit(results, patient)
    changes = results.tables["changes"]
    changes = changes[(changes["patient_id"] == patient) & changes["quantity"].isin(["volume_mm3", "excess_hu_mm3"])]
    visits = visit_ids(results, patient)
    rows = [
        _lesion_row(int(str(lesion)), course, changes[changes["lesion_id"] == lesion], (baseline, visits))
        for lesion, course in own.groupby("lesion_id")
    ]
    return sorted(rows, key=lambda row: (row["gone"], -(row["current"] or 0), row["lesion_id"]))


def visit_ids(results: Results, patient: str) -> list[str]:
    """Return a patient's visits in order of time."""
    return visit_rows(results, patient)["visit_id"].drop_duplicates().tolist()


def visit_rows(results: Results, patient: str) -> pd.DataFrame:
    """Return a patient's scans in order of time."""
    table = results.tables["visits"]
    return table[table["patient_id"] == patient].sort_values(["years", "visit_id"], kind="stable")


def refused_rows(results: Results, patient: str | None = None) -> pd.DataFrame:
    """Return what was not measured, of one patient or of all."""
    table = results.tables["refused"]
    return table if patient is None else table[table["patient_id"] == patient]


def selftest_rows(results: Results, patient: str) -> pd.DataFrame:
    """Return what a selftest found of a patient's scan; no rows where none was made."""
    table = results.tables["selftest"]
    return table[table["patient_id"] == patient]


def lesion_visits(results: Results, patient: str, lesion: int) -> pd.DataFrame:
    """Return the rows of one lesion in order of time, with the visit's limit of detection."""
    table = results.tables["lesions"]
    own = table[(table["patient_id"] == patient) & (table["lesion_id"] == lesion)]
    limits = visit_rows(results, patient)[["visit_id", "lod_mm3"]].drop_duplicates("visit_id")
    return own.merge(limits, on="visit_id", how="left").sort_values("years", kind="stable")


def pair_to_show(results: Results, patient: str, lesion: int) -> tuple[str | None, str | None]:
    """Return the visits whose pictures stand side by side at first: baseline or first, and the latest if another."""
    own = lesion_visits(results, patient, lesion)["visit_id"].tolist()
    if not own:
        return None, None
    baseline = _baseline_visit(results, patient)
    first = baseline if baseline in own else own[0]
    return first, own[-1] if own[-1] != first else None


def _baseline_visit(results: Results, patient: str) -> str | None:
    table = results.tables["patients"]
    named = table.loc[table["patient_id"] == patient, "baseline_visit_id"].dropna()
    if not named.empty:
        return str(named.iloc[0])
    visits = visit_rows(results, patient)
    zero = visits.loc[visits["years"] == 0, "visit_id"]
    return None if zero.empty else str(zero.iloc[0])


def _visit_years(results: Results, patient: str) -> pd.DataFrame:
    visits = visit_rows(results, patient)[["visit_id", "years"]].drop_duplicates("visit_id")
    return visits.rename(columns={"visit_id": "to_visit"})


def _last_verdicts(results: Results, quantity: str, compartment: str) -> dict[str, pd.Series]:
    """Return by patient the comparison of the latest visit with the baseline."""
    changes = results.tables["changes"]
    kept = changes[
        (changes["comparison"] == "baseline")
        & (changes["quantity"] == quantity)
        & (changes["compartment"] == compartment)
        & changes["lesion_id"].isna()
        & _by_own_limits(changes)
    ]
    when = results.tables["visits"][["patient_id", "visit_id", "years"]].drop_duplicates(["patient_id", "visit_id"])
    dated = kept.merge(when.rename(columns={"visit_id": "to_visit"}), on=["patient_id", "to_visit"], how="left")
    last = dated.sort_values("years", kind="stable").groupby("patient_id").tail(1)
    return {str(row["patient_id"]): row for _, row in last.iterrows()}


def _latest(last: pd.DataFrame, patient: str) -> dict[str, object]:
    if patient not in last.index:
        return {"value": None, "shown": "not measured"}
    row: Any = last.loc[patient]
    if pd.notna(row["value"]):
        return {"value": float(row["value"]), "shown": words.with_limits(row["value"], row["lo"], row["hi"])}
    if pd.notna(row["value_observed"]):
        return {"value": None, "shown": f"{words.number(row['value_observed'])} (part only)"}
    return {"value": None, "shown": "not measurable"}


def _verdict(change: pd.Series | None) -> dict[str, object]:
    if change is None:
        return {"verdict": words.MISSING, "tone": "unknown", "why": "no comparison with the baseline"}
    found = words.mark(words.VERDICTS, change["verdict"])
    return {
        "verdict": words.marked(words.VERDICTS, change["verdict"]),
        "tone": found.tone,
        "why": _text(change["why"]),
    }


def _lesion_row(
    lesion: int, course: pd.DataFrame, changes: pd.DataFrame, occasions: tuple[str | None, list[str]]
) -> dict[str, object]:
    """Return one row of the table of lesions."""
    baseline, visits = occasions
    now = course.iloc[-1]
    found = words.mark(words.STATUSES, now["status"])
    at_baseline = course.loc[course["visit_id"] == baseline, "volume_mm3"]
    before = course["volume_mm3"].iloc[:-1].dropna()
    ended = now["visit_id"] != visits[-1]
    return {
        "lesion_id": lesion,
        "key": str(lesion),
        "status": words.marked(words.STATUSES, now["status"]) + (f" at {now['visit_id']}" if ended else ""),
        "tone": found.tone,
        "where": words.where(now["side"], now["compartment"], _last_word(course["pattern"])),
        **_volume("baseline", at_baseline),
        **_volume("previous", before),
        "current": _number(now["volume_mm3"]),
        "current_shown": words.with_limits(now["volume_mm3"], now["volume_lo_mm3"], now["volume_hi_mm3"]),
        "gone": bool(now["status"] in {"merged", "resolved", "not_in_field"}),
        **_lesion_change(changes, now["visit_id"], "baseline", "since_baseline"),
        **_lesion_change(changes, now["visit_id"], "previous", "since_previous"),
    }


def _last_word(course: pd.Series) -> str:
    """Return the last of some words that was known; what a lesion looked like when it was last seen."""
    known = course[course.notna() & (course != "")]
    return str(known.iloc[-1]) if len(known) else ""


def _volume(name: str, volumes: pd.Series) -> dict[str, object]:
    """Return the last of some volumes: its number for sorting, and its text."""
    volume = _number(volumes.iloc[-1]) if len(volumes) else None
    return {name: volume, f"{name}_shown": words.number(volume)}


def _lesion_change(changes: pd.DataFrame, visit: str, comparison: str, name: str) -> dict[str, object]:
    """Return the change of a lesion up to a visit: its number for sorting, its text, its colour and why."""
    rows = changes[(changes["to_visit"] == visit) & (changes["comparison"] == comparison)]
    if rows.empty:
        return {name: None, f"{name}_shown": words.MISSING, f"{name}_tone": "unknown", f"{name}_why": ""}
    row = rows[rows["quantity"] == "volume_mm3"].iloc[0]
    found = words.mark(words.VERDICTS, row["verdict"])
    by_excess = words.judged_by_excess(row)
    told = rows[rows["quantity"] == "excess_hu_mm3"].iloc[0] if by_excess else row
    size = words.number(row["change"], sign=True)
    if by_excess and pd.notna(told["change_pct"]):
        size = f"{words.number(told['change_pct'], sign=True)}{words.THIN}% excess"
    least = f"smallest change that counts: {words.amount(told['detectable'], told['unit'])}"
    return {
        name: _number(row["change"]),
        f"{name}_shown": found.symbol + " " + (found.word if size == words.MISSING else f"{size} {found.word}"),
        f"{name}_tone": found.tone,
        f"{name}_why": "; ".join(filter(None, (_text(row["why"]), least, _exchanged(row)))),
    }


def _exchanged(row: pd.Series) -> str:
    """Return what a lesion gained and lost, in words; nothing where it is not known."""
    if pd.isna(row["gained_mm3"]) or pd.isna(row["lost_mm3"]):
        return ""
    gained, lost = (words.amount(row[name], "mm3") for name in ("gained_mm3", "lost_mm3"))
    return f"gained {gained}, lost {lost}"


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)
