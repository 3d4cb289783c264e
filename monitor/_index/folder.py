"""The study folder that an index makes: tables, the key apart, and copies that name no one."""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from monitor import store
from monitor._index.series import Series, Texts, bare, has_secret
from monitor._scan import fence
from monitor.placing import placed
from monitor.types import ScanError, StudyError

PLAIN_NAME = re.compile(
    r"(|ct|dicom|dcm|data|export|images?|img|im|p|pa|pat|patient|st|study|se|ser|series|scan|v|visit)[-_ ]?\d{0,6}"
)
"""Folders that name no one: words of DICOM media and a short number, in small letters (DICOM PS3.10 8.2)."""

_ROW = (
    *("patient_id", "visit_id", "date", "series", "kind", "images", "kvp", "kernel", "slice_thickness_mm"),
    *("slice_increment_mm", "contrast", "manufacturer", "body_part", "chosen", "why"),
)
"""Columns of index.csv."""

_MADE = ("kvp", "kernel", "slice_thickness_mm", "contrast", "manufacturer")
"""How a scan was made, as far as visits.csv says it."""

_VISIT = ("patient_id", "visit_id", "date", "path", "region", *_MADE)
"""Columns of visits.csv."""

KEY = ("patient_id", "dicom_patient_id", "issuer", "name", "birth_date", "sex")
"""Columns of identities.csv."""


def listing(series: Sequence[Series], told: dict[Path, Texts | str | None]) -> pd.DataFrame:
    """Return the rows of index.csv: every series, then the files that could not be read."""
    rows = []
    counted: Counter[str] = Counter()
    for one in series:
        counted[one.patient_id] += 1
        day = one.day.isoformat() if one.day else ""
        rows.append(
            {**vars(one), **one.made, "date": day, "series": counted[one.patient_id], "chosen": int(one.chosen)}
        )
    broken = sum(isinstance(said, str) for said in told.values())
    if broken:
        rows.append({"kind": "broken", "images": broken, "chosen": 0, "why": "left: headers that cannot be read"})
    return pd.DataFrame(rows).reindex(columns=list(_ROW))


def write_study(
    root: Path, target: Path, series: Sequence[Series], rows: pd.DataFrame, key: list[dict[str, str]]
) -> None:
    """Write the study; each file whole or not at all, the key readable by its owner alone.

    Raises
    ------
    StoreError
        If the disk does not take it.
    """
    chosen = [one for one in series if one.chosen]
    # An id that is kept is none to hide.
    kept = {bare(one.patient_id) for one in series if one.patient_id == one.person.dicom_patient_id}
    everyone = frozenset().union(*(one.secrets for one in series)) - kept
    people = [{"patient_id": patient, "sex": _sex(chosen, patient)} for patient in _ids(chosen)]
    with placed(target) as aside:
        visits = [_visit(one, chosen, _place(one, root, target, everyone)) for one in chosen]
        if key:
            (aside / "identities.csv").touch(mode=0o600)  # before the first name is in it
            _write(aside / "identities.csv", pd.DataFrame(key).sort_values("patient_id"), KEY)
        _write(aside / "index.csv", rows, _ROW)
        _write(aside / "patients.csv", pd.DataFrame(people), ("patient_id", "sex"))
        _write(aside / "visits.csv", pd.DataFrame(visits), _VISIT)


def _visit(one: Series, chosen: Sequence[Series], place: str) -> dict[str, object]:
    """Return the row of visits.csv of a chosen series that lies at ``place``."""
    parts = {other.body_part for other in chosen if other.patient_id == one.patient_id}
    return {
        "patient_id": one.patient_id,
        "visit_id": one.visit_id,
        "date": one.day.isoformat() if one.day else "",
        "path": place,
        "region": next(iter(parts)) if len(parts) == 1 else "",
        **{name: one.made.get(name, "") for name in _MADE},
    }


def _ids(series: Iterable[Series]) -> list[str]:
    return sorted({one.patient_id for one in series})


def _sex(series: Iterable[Series], patient: str) -> str:
    found = {one.person.sex for one in series if one.patient_id == patient}
    return next(iter(found)) if len(found) == 1 and found <= {"F", "M", "O"} else ""


def _place(one: Series, root: Path, target: Path, secrets: frozenset[str]) -> str:
    """Return a folder that holds this series alone and names no one: the export's own, or a copy without names."""
    home = one.paths[0].parent
    inside = home.relative_to(root).parts
    alone = {path for path in home.rglob("*") if path.is_file()} == set(one.paths)
    named = has_secret(str(home), secrets) or not all(PLAIN_NAME.fullmatch(part.lower()) for part in inside)
    if alone and not named:
        return str(home)
    copy = Path("scans") / one.patient_id / one.visit_id
    _copy(one, target / copy)
    return str(copy)


def _copy(one: Series, folder: Path) -> None:
    """Write the stripped copy beside its place, then move it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        aside.chmod(0o755)
        size = sum(path.stat().st_size for path in one.paths)
        paths = [str(path) for path in one.paths]
        fence.ask("strip", size=2 * size, paths=paths, to=str(aside), patient_id=one.patient_id)
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
    except ScanError as error:
        raise StudyError(f"a copy of {one.patient_id} {one.visit_id} must be written; {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    store.write_csv(table.reindex(columns=list(columns)), path)


def known_key(target: Path) -> list[dict[str, str]]:
    """Return the key of an earlier index, row by row; none where there was none."""
    try:
        with (target / "identities.csv").open(encoding="utf-8", newline="") as stream:
            rows = [{name: row[name] for name in KEY} for row in csv.DictReader(stream)]
            return [{name: value.removeprefix("'") for name, value in row.items()} for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, csv.Error):
        raise StudyError("identities.csv must be as index left it; it cannot be read") from None
