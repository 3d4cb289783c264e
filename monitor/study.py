"""The study folder: patients, visits, events, growth, scores; read and checked row by row."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from math import nan
from pathlib import Path

import pandas as pd

from monitor import tables
from monitor.types import Acquisition, StudyError

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an id may be: it becomes a folder's name."""

EVENT_KINDS = ("treatment", "surgery", "flare", "injury", "exposure")
"""Kinds of ``events.csv``."""

CONTRASTS = ("none", "iv", "unknown")
"""Values of ``contrast`` in ``visits.csv``."""

REQUIRED = {
    "visits": ("patient_id", "visit_id", "date", "path"),
    "patients": ("patient_id",),
    "events": ("patient_id", "date", "kind", "name"),
    "growth": ("patient_id", "date"),
    "scores": ("patient_id", "date", "quantity", "value"),
    "matches": ("patient_id", "visit_id", "lesion_id", "is_lesion_id"),
}
"""Columns without which a file cannot be read."""

MASKS = ("skeleton_mask", "lesion_mask", "exclude_mask", "compartment_mask")
"""Columns of ``visits.csv`` that name a label image on the scan's grid."""


@dataclass(frozen=True)
class Visit:
    """One scan of one clinical occasion, as ``visits.csv`` gives it; words are empty where it says nothing."""

    patient_id: str
    visit_id: str
    date: date
    path: Path
    given_path: str
    scan_id: str = ""
    modality: str = ""
    region: str = ""
    side: str = ""
    view: str = ""
    baseline: bool = False
    skeleton_mask: Path | None = None
    lesion_mask: Path | None = None
    exclude_mask: Path | None = None
    compartment_mask: Path | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)


@dataclass(frozen=True)
class Patient:
    """A patient with the visits in order of date; words are empty where ``patients.csv`` says nothing."""

    patient_id: str
    visits: tuple[Visit, ...]
    condition: str = ""
    arm: str = ""
    site: str = ""
    sex: str = ""


@dataclass(frozen=True)
class Study:
    """All that a study folder holds; ``refused`` has the rows that could not be used."""

    folder: Path
    patients: tuple[Patient, ...]
    events: pd.DataFrame
    growth: pd.DataFrame
    scores: pd.DataFrame
    refused: pd.DataFrame


def read_study(folder: str | Path) -> Study:
    """Read a study folder.

    Parameters
    ----------
    folder : path
        Holds ``visits.csv`` and, where there are any, the other files of the contract.

    Raises
    ------
    StudyError
        If ``visits.csv`` is absent, a file cannot be read or lacks a column, or a scan is listed twice.
        A bad row does not raise: it is in ``refused``, and the rest goes on.
    """
    root = Path(folder)
    listed = _table(root, "visits")
    if listed is None:
        raise StudyError(f"a study folder must hold visits.csv; {root} does not")
    refused: list[dict[str, str]] = []
    visits = [visit for number, row in _rows(listed) if (visit := _visit(root, number, row, refused)) is not None]
    _no_twins(visits)
    people = _patients(root, refused)
    ids = dict.fromkeys(visit.patient_id for visit in visits)
    patients = tuple(_patient(name, visits, people.get(name, {})) for name in sorted(ids))
    return Study(
        folder=root,
        patients=patients,
        events=_events(root, refused),
        growth=_dated(root, "growth", refused),
        scores=_dated(root, "scores", refused),
        refused=tables.check(pd.DataFrame(refused), "refused"),
    )


def baseline_visit(visits: Iterable[Visit], treatments: Iterable[date]) -> Visit:
    """Choose the analysis baseline among accepted visits.

    The one marked so, else the last on or before the first treatment, else the earliest.
    """
    ordered = sorted(visits, key=lambda visit: (visit.date, visit.visit_id))
    marked = [visit for visit in ordered if visit.baseline]
    if marked:
        return marked[0]
    starts = sorted(treatments)
    before = [visit for visit in ordered if starts and visit.date <= starts[0]]
    return before[-1] if before else ordered[0]


def _table(root: Path, name: str) -> pd.DataFrame | None:
    """Return a file of the study as text, or None where it is absent."""
    path = root / f"{name}.csv"
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise StudyError(f"{name}.csv must be a comma-separated table in UTF-8: {type(error).__name__}") from error
    table.columns = [str(column).strip() for column in table.columns]
    missing = [column for column in REQUIRED[name] if column not in table.columns]
    if missing:
        raise StudyError(f"{name}.csv must have the columns {', '.join(REQUIRED[name])}; it lacks {', '.join(missing)}")
    return table


def _rows(table: pd.DataFrame) -> list[tuple[int, dict[str, str]]]:
    """Return the rows with their line numbers in the file."""
    return [
        (number, {str(key): str(value).strip() for key, value in row.items()})
        for number, row in enumerate(table.to_dict("records"), start=2)
    ]


def _visit(root: Path, number: int, row: dict[str, str], refused: list[dict[str, str]]) -> Visit | None:
    def refuse(code: str, message: str) -> None:
        known = {name: row[name] for name in ("patient_id", "visit_id", "scan_id") if _is_id(row.get(name, ""))}
        refused.append({**known, "path": row["path"], "code": code, "message": f"line {number} of visits.csv: {message}"})

    bad = [name for name in ("patient_id", "visit_id", "scan_id") if row.get(name, "") and not _is_id(row[name])]
    bad += [name for name in ("patient_id", "visit_id") if not row[name]]
    if bad:
        # The value itself stays out of the message: what is no pseudonym may be a name.
        refuse("bad-id", f"{', '.join(bad)} must match {ID.pattern}")
        return None
    when = _date(row["date"])
    if when is None:
        refuse("bad-date", "date must be a day of the calendar, ISO 8601 (2024-03-31), not in the future")
        return None
    path = root / row["path"]
    if not row["path"] or not path.exists():
        refuse("no-file", "path must be a folder of DICOM files or an image file; nothing is there")
        return None
    try:
        stated = _stated(row)
    except ValueError as error:
        refuse("bad-value", str(error))
        return None
    masks = {name: root / row[name] for name in MASKS if row.get(name)}
    absent = [name for name, mask in masks.items() if not mask.exists()]
    if absent:
        refuse("no-mask", f"{', '.join(absent)} must be an image file; nothing is there")
        return None
    words = {name: row.get(name, "") for name in ("scan_id", "modality", "region", "side", "view")}
    return Visit(
        patient_id=row["patient_id"],
        visit_id=row["visit_id"],
        date=when,
        path=path.resolve(),
        given_path=row["path"],
        baseline=row.get("baseline", "") in ("1", "true", "True"),
        acquisition=stated,
        **words,
        **{name: mask.resolve() for name, mask in masks.items()},  # type: ignore[arg-type]
    )


def _stated(row: dict[str, str]) -> Acquisition:
    """Return what ``visits.csv`` says of the acquisition."""
    contrast = row.get("contrast") or "unknown"
    if contrast not in CONTRASTS:
        raise ValueError(f"contrast must be one of {', '.join(CONTRASTS)}; got {contrast!r}")
    return Acquisition(
        kvp=_number(row.get("kvp", ""), "kvp", 40, 200),
        kernel=row.get("kernel", ""),
        slice_thickness_mm=_number(row.get("slice_thickness_mm", ""), "slice_thickness_mm", 0.05, 50),
        contrast=contrast,
        manufacturer=row.get("manufacturer", ""),
    )


def _number(text: str, name: str, low: float, high: float) -> float:
    if not text:
        return nan
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low} to {high}; got {text!r}")
    return value


def _no_twins(visits: list[Visit]) -> None:
    keys = [(visit.patient_id, visit.visit_id, visit.scan_id) for visit in visits]
    twins = sorted({key for key in keys if keys.count(key) > 1})
    if twins:
        shown = "; ".join(" ".join(filter(None, key)) for key in twins[:5])
        raise StudyError(f"visits.csv must list each patient_id, visit_id and scan_id once; twice: {shown}")


def _patients(root: Path, refused: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    table = _table(root, "patients")
    people: dict[str, dict[str, str]] = {}
    for number, row in _rows(table) if table is not None else []:
        if not _is_id(row["patient_id"]):
            refused.append(_bad_row("patients", number, "bad-id", f"patient_id must match {ID.pattern}"))
        elif row["patient_id"] in people:
            raise StudyError(f"patients.csv must list each patient_id once; twice: {row['patient_id']}")
        else:
            people[row["patient_id"]] = row
    return people


def _patient(name: str, visits: list[Visit], said: dict[str, str]) -> Patient:
    own = sorted((v for v in visits if v.patient_id == name), key=lambda v: (v.date, v.visit_id, v.scan_id))
    words = {key: said.get(key, "") for key in ("condition", "arm", "site", "sex")}
    return Patient(patient_id=name, visits=tuple(own), **words)


def _events(root: Path, refused: list[dict[str, str]]) -> pd.DataFrame:
    """Return the events: patient_id, date, end_date (NaT where open), kind, name, lesion_id, compartment, side."""
    columns = ["patient_id", "date", "end_date", "kind", "name", "lesion_id", "compartment", "side"]
    table = _table(root, "events")
    kept = []
    for number, row in _rows(table) if table is not None else []:
        when, end = _date(row["date"]), _date(row.get("end_date", ""))
        if not _is_id(row["patient_id"]):
            refused.append(_bad_row("events", number, "bad-id", f"patient_id must match {ID.pattern}"))
        elif row["kind"] not in EVENT_KINDS:
            message = f"kind must be one of {', '.join(EVENT_KINDS)}"
            refused.append(_bad_row("events", number, "bad-event", message))
        elif when is None or (row.get("end_date") and end is None):
            refused.append(_bad_row("events", number, "bad-date", "dates must be days of the calendar, ISO 8601"))
        else:
            kept.append({**row, "date": when, "end_date": end})
    events = pd.DataFrame(kept).reindex(columns=columns)
    for name in ("date", "end_date"):
        events[name] = pd.to_datetime(events[name]).astype("datetime64[s]")
    return events


def _dated(root: Path, name: str, refused: list[dict[str, str]]) -> pd.DataFrame:
    """Return a table with patient and date, checked; the other columns stay text."""
    table = _table(root, name)
    if table is None:
        return pd.DataFrame(columns=list(REQUIRED[name]))
    kept = []
    for number, row in _rows(table):
        when = _date(row["date"])
        if not _is_id(row["patient_id"]) or when is None:
            refused.append(_bad_row(name, number, "bad-row", "patient_id and date must be valid"))
        else:
            kept.append({**row, "date": when})
    return pd.DataFrame(kept).reindex(columns=list(table.columns))


def _bad_row(name: str, number: int, code: str, message: str) -> dict[str, str]:
    return {"path": f"{name}.csv", "code": code, "message": f"line {number} of {name}.csv: {message}"}


def _is_id(text: str) -> bool:
    return ID.fullmatch(text) is not None


def _date(text: str) -> date | None:
    """Return the day, or None where the text is no ISO day or lies in the future.

    >>> _date("2024-02-30") is None
    True
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if date(1970, 1, 1) <= day <= date.today() else None
