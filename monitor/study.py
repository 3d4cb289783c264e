"""The study folder: patients, visits, events, growth, scores, matches; read and checked row by row."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from math import isfinite, nan
from pathlib import Path
from typing import TypeVar

import pandas as pd

from monitor import structures, tables
from monitor.types import Acquisition, StudyError

T = TypeVar("T")

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an id may be: it becomes a folder's name."""

EARLIEST = date(1970, 1, 1)
"""No patient was in a CT scanner before 1971."""

EVENT_KINDS = ("treatment", "surgery", "flare", "injury", "exposure")
"""Kinds of ``events.csv``."""

CONTRASTS = ("none", "iv", "unknown")
"""Values of ``contrast`` in ``visits.csv``."""

MODALITIES = ("CT", "DX", "MR")
"""Values of ``modality`` in ``visits.csv``."""

MARKS = {"1": True, "true": True, "yes": True, "": False, "0": False, "false": False, "no": False}
"""Values of ``baseline`` in ``visits.csv``, in small letters."""

UNKNOWN = ("", "nan", "na", "n/a", "unknown")
"""Words for a number that is not known, in small letters."""

LIMITS = {
    "kvp": (40.0, 200.0),
    "slice_thickness_mm": (0.05, 50.0),
    "ctdi_vol_mgy": (0.001, 1000.0),
    "dlp_mgy_cm": (0.01, 100_000.0),
    "height_cm": (20.0, 260.0),
    "weight_kg": (0.3, 600.0),
}
"""Outside these a number is a slip or in another unit: tubes, slices, and people from a preterm child on."""

REQUIRED = {
    "visits": ("patient_id", "visit_id", "date", "path"),
    "patients": ("patient_id",),
    "events": ("patient_id", "date", "kind", "name"),
    "growth": ("patient_id", "date"),
    "scores": ("patient_id", "date", "quantity", "value"),
    "matches": ("patient_id", "visit_id", "lesion_id", "is_lesion_id"),
}
"""Columns without which a file cannot be read."""

OPTIONAL = {
    "events": ("end_date", "lesion_id", "compartment", "side"),
    "growth": ("height_cm", "weight_kg"),
    "scores": ("unit", "compartment", "reader", "source"),
    "matches": ("reader", "reason"),
}
"""Columns that a file may have beside; any others are passed over."""

MASKS = ("skeleton_mask", "lesion_mask", "exclude_mask", "compartment_mask")
"""Columns of ``visits.csv`` that name a label image on the scan's grid."""

TOTALSEGMENTATOR = "totalsegmentator-v2"
"""Word in ``structures_names`` for the class numbers of TotalSegmentator 2, task ``total``."""


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
    structures_mask: Path | None = None
    structures_names: Path | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)


@dataclass(frozen=True)
class Patient:
    """A patient with the visits by date, visit_id and scan_id; words are empty where ``patients.csv`` says nothing."""

    patient_id: str
    visits: tuple[Visit, ...]
    condition: str = ""
    arm: str = ""
    site: str = ""
    sex: str = ""
    birth_date: date | None = None


def _no_matches() -> pd.DataFrame:
    return _frame([], "matches")


@dataclass(frozen=True)
class Study:
    """All that a study folder holds; ``refused`` has the rows that could not be used.

    ``patients`` are those with a usable row in ``visits.csv``. The tables keep their columns when empty: ids and
    words are text, dates datetime64, numbers float64, lesion ids Int64.
    """

    folder: Path
    patients: tuple[Patient, ...]
    events: pd.DataFrame
    growth: pd.DataFrame
    scores: pd.DataFrame
    refused: pd.DataFrame
    matches: pd.DataFrame = field(default_factory=_no_matches)


@dataclass(frozen=True)
class _Row:
    """One row of a file as text, with the line where it ends; an absent cell is empty."""

    name: str
    line: int
    cells: Mapping[str, str]
    surplus: bool = False

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


class _RowError(ValueError):
    """A row that cannot be used; its message repeats no cell that may hold a name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_study(folder: str | Path) -> Study:
    """Read a study folder.

    Parameters
    ----------
    folder : path
        Holds ``visits.csv`` and, where there are any, the other files of the contract.

    Raises
    ------
    StudyError
        If ``visits.csv`` is absent, a file is no CSV or lacks a column, or a scan or a patient is listed twice.
        A bad row does not raise: it is in ``refused`` with its line, and the rest goes on.
    """
    root = Path(folder).absolute()
    if not (root / "visits.csv").is_file():
        raise StudyError(f"a study folder must hold visits.csv; {root} does not")
    refused: list[dict[str, str]] = []
    people = _people(root, refused)
    listed = _rows(root, "visits")
    _require_once(listed, ("patient_id", "visit_id", "scan_id"))
    born = {name: person.birth_date for name, person in people.items()}
    visits = _kept(listed, lambda row: _visit(row, root, born), refused)
    visits = _one_baseline(sorted(visits, key=_order), refused)
    found = {name: _frame(_kept(_rows(root, name), READERS[name], refused), name) for name in READERS}
    return Study(
        folder=root,
        patients=tuple(
            replace(people.get(name, Patient(name, ())), visits=tuple(v for v in visits if v.patient_id == name))
            for name in sorted({visit.patient_id for visit in visits})
        ),
        refused=tables.check(pd.DataFrame(refused), "refused"),
        **found,
    )


def baseline_visit(visits: Iterable[Visit], treatments: Iterable[date]) -> Visit:
    """Choose the analysis baseline among a patient's accepted scans.

    The one marked so, else the last on or before the first treatment, else the earliest; of several scans of one
    visit the first by scan_id.
    """
    ordered = sorted(visits, key=_order)
    if not ordered:
        raise ValueError("a baseline needs an accepted scan; there is none")
    marked = [visit for visit in ordered if visit.baseline]
    if marked:
        return marked[0]
    first = min(treatments, default=None)
    before = [visit for visit in ordered if first is not None and visit.date <= first]
    chosen = (before or ordered[:1])[-1]
    return next(visit for visit in ordered if visit.visit_id == chosen.visit_id and visit.date == chosen.date)


def _order(visit: Visit) -> tuple[str, date, str, str]:
    return visit.patient_id, visit.date, visit.visit_id, visit.scan_id


def _rows(root: Path, name: str) -> list[_Row]:
    """Return the rows of a file of the study, cells stripped; none where it is absent."""
    path = root / f"{name}.csv"
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except (OSError, ValueError, csv.Error) as error:
        raise StudyError(f"{name}.csv must be a comma-separated table in UTF-8; got {type(error).__name__}") from None
    header = lines[0][1] if lines else []
    missing = [column for column in REQUIRED[name] if column not in header]
    if missing:
        wanted = ", ".join(REQUIRED[name])
        raise StudyError(
            f"{name}.csv must have the columns {wanted}, set apart by commas; it lacks {', '.join(missing)}"
        )
    twice = [column for column, count in Counter(header).items() if column and count > 1]
    if twice:
        raise StudyError(f"{name}.csv must name each column once; twice: {', '.join(twice)}")
    return [_row(name, line, header, cells) for line, cells in lines[1:]]


def _row(name: str, line: int, header: list[str], cells: list[str]) -> _Row:
    """Return a row; where cells stand beyond the header nothing stands in its column, and none is kept."""
    surplus = any(cells[len(header) :])
    return _Row(name, line, {} if surplus else dict(zip(header, cells, strict=False)), surplus)


def _require_once(rows: Iterable[_Row], columns: tuple[str, ...]) -> None:
    """Refuse a study that lists a key twice; ids that are none are left to their own refusal."""
    lines: dict[tuple[str, ...], list[_Row]] = {}
    for row in rows:
        if all(ID.fullmatch(row[column]) or (column == "scan_id" and not row[column]) for column in columns):
            lines.setdefault(tuple(row[column] for column in columns), []).append(row)
    shared = {key: at for key, at in lines.items() if len(at) > 1}
    if shared:
        name = next(iter(shared.values()))[0].name
        twins = [
            f"{' '.join(filter(None, key))} (lines {', '.join(str(r.line) for r in at)})" for key, at in shared.items()
        ]
        raise StudyError(f"{name}.csv must list each {', '.join(columns)} once; more than once: {'; '.join(twins[:5])}")


def _kept(rows: Iterable[_Row], read: Callable[[_Row], T], refused: list[dict[str, str]]) -> list[T]:
    """Return what can be read of each row, and put the others into ``refused``."""
    kept = []
    for row in rows:
        try:
            kept.append(read(_whole(row)))
        except _RowError as error:
            refused.append(_refusal(row, error.code, str(error)))
    return kept


def _whole(row: _Row) -> _Row:
    if row.surplus:
        raise _RowError("bad-row", "a row must have no more cells than the header")
    return row


def _refusal(row: _Row, code: str, message: str) -> dict[str, str]:
    """Return a row of ``refused``; what is no id may be a name, and is left out."""
    known = {name: row[name] for name in ("patient_id", "visit_id", "scan_id") if ID.fullmatch(row[name])}
    path = row["path"] if row.name == "visits" else f"{row.name}.csv"
    return {**known, "path": path, "code": code, "message": f"line {row.line} of {row.name}.csv: {message}"}


def _people(root: Path, refused: list[dict[str, str]]) -> dict[str, Patient]:
    """Return what ``patients.csv`` says, by patient_id; the visits come later."""
    rows = _rows(root, "patients")
    _require_once(rows, ("patient_id",))

    def person(row: _Row) -> Patient:
        words = {name: row[name] for name in ("condition", "arm", "site", "sex")}
        return Patient(_id(row, "patient_id"), (), birth_date=_birth(row, refused), **words)

    return {one.patient_id: one for one in _kept(rows, person, refused)}


def _birth(row: _Row, refused: list[dict[str, str]]) -> date | None:
    """Return the birth date; a bad one is listed and left out, for arm and condition stand without it."""
    text = row["birth_date"]
    day = _day(text) if text else None
    if text and day is None:
        refused.append(_refusal(row, "bad-date", "birth_date must be a day, ISO 8601 (2014-03-31); it is left out"))
    return day


def _visit(row: _Row, root: Path, born: Mapping[str, date | None]) -> Visit:
    if row["scan_id"]:
        _id(row, "scan_id")
    patient_id, when = _id(row, "patient_id"), _scan_day(row)
    birth = born.get(patient_id)
    if birth is not None and when < birth:
        raise _RowError("bad-date", "date must not lie before birth_date of patients.csv")
    return Visit(
        patient_id=patient_id,
        visit_id=_id(row, "visit_id"),
        date=when,
        path=_existing(row, "path", root, "no-file"),
        given_path=row["path"],
        modality=_one_of(row, "modality", MODALITIES),
        baseline=MARKS[_one_of(row, "baseline", tuple(MARKS), lower=True)],
        acquisition=_stated(row),
        scan_id=row["scan_id"],
        region=row["region"],
        side=row["side"],
        view=row["view"],
        structures_names=_names(row, root),
        **{name: _existing(row, name, root, "no-mask") for name in (*MASKS, "structures_mask") if row[name]},
    )


def _names(row: _Row, root: Path) -> Path | None:
    """Return the file that names the structures of a label map: the study's own, or ours for a known word."""
    if not row["structures_names"]:
        return None
    if not row["structures_mask"]:
        raise _RowError("bad-value", "structures_names must name the labels of a structures_mask; there is none")
    if row["structures_names"].lower() == TOTALSEGMENTATOR:
        return structures.KNOWN
    return _existing(row, "structures_names", root, "no-mask")


def _stated(row: _Row) -> Acquisition:
    """Return what ``visits.csv`` says of the acquisition."""
    return Acquisition(
        kvp=_number(row, "kvp"),
        kernel=row["kernel"],
        slice_thickness_mm=_number(row, "slice_thickness_mm"),
        contrast=_one_of(row, "contrast", CONTRASTS, lower=True) or "unknown",
        manufacturer=row["manufacturer"],
        ctdi_vol_mgy=_number(row, "ctdi_vol_mgy"),
        dlp_mgy_cm=_number(row, "dlp_mgy_cm"),
    )


def _one_baseline(visits: list[Visit], refused: list[dict[str, str]]) -> list[Visit]:
    """Keep one marked visit a patient, the earliest: each further mark is listed and passed over."""
    marked: dict[str, str] = {}
    kept = []
    for visit in visits:
        if visit.baseline and marked.setdefault(visit.patient_id, visit.visit_id) != visit.visit_id:
            ids = {name: getattr(visit, name) for name in ("patient_id", "visit_id", "scan_id")}
            message = "one visit of a patient may be marked as the baseline; this later mark is passed over"
            refused.append({**ids, "path": visit.given_path, "code": "second-baseline", "message": message})
            visit = replace(visit, baseline=False)
        kept.append(visit)
    return kept


def _event(row: _Row) -> dict[str, object]:
    if row["kind"] not in EVENT_KINDS:
        raise _RowError("bad-value", f"kind must be one of {', '.join(EVENT_KINDS)}")
    if not row["name"]:
        raise _RowError("bad-value", "name must say what the event was")
    start, end = _required_day(row), _optional_day(row, "end_date")
    if end is not None and end < start:
        raise _RowError("bad-date", "end_date must not lie before date")
    words = {name: row[name] for name in ("kind", "name", "compartment", "side")}
    lesion = _lesion(row, "lesion_id") if row["lesion_id"] else None
    return {"patient_id": _id(row, "patient_id"), "date": start, "end_date": end, **words, "lesion_id": lesion}


def _growth(row: _Row) -> dict[str, object]:
    sizes = {name: _number(row, name) for name in OPTIONAL["growth"]}
    return {"patient_id": _id(row, "patient_id"), "date": _required_day(row), **sizes}


def _score(row: _Row) -> dict[str, object]:
    if not row["quantity"]:
        raise _RowError("bad-value", "quantity must be named")
    words = {name: row[name] for name in ("quantity", *OPTIONAL["scores"])}
    return {"patient_id": _id(row, "patient_id"), "date": _required_day(row), **words, "value": _number(row, "value")}


def _match(row: _Row) -> dict[str, object]:
    ids = {name: _id(row, name) for name in ("patient_id", "visit_id")}
    lesions = {name: _lesion(row, name) for name in ("lesion_id", "is_lesion_id")}
    return {**ids, **lesions, **{name: row[name] for name in OPTIONAL["matches"]}}


READERS: dict[str, Callable[[_Row], dict[str, object]]] = {
    "events": _event,
    "growth": _growth,
    "scores": _score,
    "matches": _match,
}
"""What reads a row of each file that becomes a table."""

_DTYPES = {
    **dict.fromkeys(("date", "end_date"), tables.DATE),
    **dict.fromkeys(("height_cm", "weight_kg", "value"), tables.NUMBER),
    **dict.fromkeys(("lesion_id", "is_lesion_id"), tables.WHOLE),
}


def _frame(rows: list[dict[str, object]], name: str) -> pd.DataFrame:
    """Return rows as a table with all columns of the file, sorted, so that the order of rows says nothing."""
    columns = [*REQUIRED[name], *OPTIONAL[name]]
    table = pd.DataFrame(rows, columns=columns)
    typed = table.astype({column: _DTYPES.get(column, tables.TEXT) for column in columns})
    return typed.sort_values(columns, kind="stable", ignore_index=True)


def _id(row: _Row, column: str) -> str:
    if not ID.fullmatch(row[column]):
        raise _RowError("bad-id", f"{column} must match {ID.pattern}")
    return row[column]


def _lesion(row: _Row, column: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", row[column]):
        raise _RowError("bad-id", f"{column} must be a whole number above 0")
    return int(row[column])


def _one_of(row: _Row, column: str, known: tuple[str, ...], *, lower: bool = False) -> str:
    text = row[column].lower() if lower else row[column]
    if text and text not in known:
        raise _RowError("bad-value", f"{column} must be one of {', '.join(filter(None, known))} or empty")
    return text


def _number(row: _Row, column: str) -> float:
    """Return a number, or NaN where it is not known."""
    if row[column].lower() in UNKNOWN:
        return nan
    try:
        value = float(row[column])
    except ValueError:
        raise _RowError("bad-value", f"{column} must be a number or empty") from None
    low, high = LIMITS.get(column, (-float("inf"), float("inf")))
    if not isfinite(value) or not low <= value <= high:
        raise _RowError("bad-value", f"{column} must be a number from {low:g} to {high:g}; got {value:g}")
    return value


def _existing(row: _Row, column: str, root: Path, code: str) -> Path:
    """Return an absolute path to something that is there."""
    path = root / row[column]
    try:
        there = bool(row[column]) and path.exists()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        there = False
    if not there:
        raise _RowError(code, f"{column} must be a folder or a file, relative to the study folder; nothing is there")
    return path.resolve()


def _scan_day(row: _Row) -> date:
    day = _required_day(row)
    # A day of grace: the study may have been written east of this machine.
    if not EARLIEST <= day <= datetime.now(UTC).date() + timedelta(days=1):
        raise _RowError("bad-date", f"date must lie from {EARLIEST} to today; got {day}")
    return day


def _required_day(row: _Row) -> date:
    day = _day(row["date"])
    if day is None:
        raise _RowError("bad-date", "date must be a day of the calendar, ISO 8601 (2024-03-31)")
    return day


def _optional_day(row: _Row, column: str) -> date | None:
    if not row[column]:
        return None
    day = _day(row[column])
    if day is None:
        raise _RowError("bad-date", f"{column} must be a day of the calendar, ISO 8601 (2024-03-31), or empty")
    return day


def _day(text: str) -> date | None:
    """Return the day, or None where the text is none.

    >>> _day("2024-02-29"), _day("2023-02-29")
    (datetime.date(2024, 2, 29), None)
    """
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
