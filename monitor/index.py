"""An export of an archive becomes a study: whose scans there are, what each series is, and which one to measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path

import pandas as pd

from monitor._index.choice import choose
from monitor._index.folder import known_key, listing, write_study
from monitor._index.series import Person, Series, Texts, grouped, ruled
from monitor._scan import fence
from monitor.crew import Progress
from monitor.study import ID
from monitor.types import ScanError, StudyError

BATCH = 400
"""Files whose headers are read by one child: one that dies costs these again, by halves."""


def index(
    export: str | Path, study: str | Path, *, keep_ids: bool = False, progress: Progress | None = None
) -> pd.DataFrame:
    """Make a study of an export: find its series, choose one for each visit, and keep the names apart.

    Parameters
    ----------
    export : path
        A folder of DICOM files in any order.
    study : path
        Where ``visits.csv``, ``patients.csv`` and ``index.csv`` go, ``identities.csv`` (mode 0600) with the key of
        the pseudonyms, and copies of the chosen series without anything of the patient, where the export's own
        folder holds other files or bears a name.
    keep_ids : bool
        Keep the export's PatientID where it can be an id of ours: for exports that are de-identified already.
    progress : callable, optional
        Called with files read, files in all and a word.

    Returns
    -------
    DataFrame
        ``index.csv``: every series, what it is, whether it is chosen, and why.

    Raises
    ------
    StudyError
        If there is no DICOM file, or the study has a ``visits.csv`` that was not made here.
    StoreError
        If the disk does not take the study.
    """
    root, target = Path(export).absolute(), Path(study).absolute()
    if (target / "visits.csv").exists() and not (target / "index.csv").exists():
        raise StudyError("index must not overwrite a visits.csv that it did not make; there is no index.csv beside it")
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else []
    told = dict(zip(files, _headers(files, progress), strict=True))
    series = [ruled(one) for one in grouped(told)]
    if not series:
        raise StudyError("an export must hold DICOM files; there is none in the folder that was given")
    named, key = _named(series, target, keep_ids=keep_ids)
    picked = choose(named)
    rows = listing(picked, told)
    write_study(root, target, picked, rows, key)
    return rows


def _headers(files: Sequence[Path], progress: Progress | None) -> list[Texts | str | None]:
    """Return what each header says; a text for a broken one, None for no DICOM file."""
    found: list[Texts | str | None] = []
    for start in range(0, len(files), BATCH):
        found += _told(files[start : start + BATCH])
        if progress is not None:
            progress(len(found), len(files), "headers read")
    return found


def _told(files: Sequence[Path]) -> list[Texts | str | None]:
    """Read some headers; where the reader dies, by halves, until the file that it dies of is alone."""
    try:
        size = sum(path.stat().st_size for path in files)
        said, _ = fence.ask("catalogue", size=size, paths=[str(path) for path in files])
    except ScanError as error:
        if len(files) == 1:
            return [error.code]
        middle = len(files) // 2
        return _told(files[:middle]) + _told(files[middle:])
    return list(said["files"])


def _named(series: Sequence[Series], target: Path, *, keep_ids: bool) -> tuple[list[Series], list[dict[str, str]]]:
    """Give each person a pseudonym, those of an earlier index again, and each day a visit; return the key beside."""
    known = known_key(target)
    names = {Person(**{k: v for k, v in row.items() if k != "patient_id"}).key: row["patient_id"] for row in known}
    people: dict[tuple[str, ...], list[Series]] = {}
    for one in series:
        people.setdefault(one.person.key, []).append(one)
    for key in sorted(people, key=lambda key: (_first_day(people[key]), sha256(repr(key).encode()).hexdigest())):
        if keep_ids and ID.fullmatch(key[0]) and key[0] not in names.values():
            names.setdefault(key, key[0])
        elif key not in names:
            names[key] = _next_name(set(names.values()))
            known.append({"patient_id": names[key], **vars(people[key][0].person)})
    found = []
    for key, own in people.items():
        days = sorted({one.day for one in own if one.day is not None and one.kind == "axial_ct"})
        visits = {day: f"V{number}" for number, day in enumerate(days, start=1)}
        found += [
            replace(one, patient_id=names[key], visit_id=visits.get(one.day, "") if one.day else "") for one in own
        ]
    return found, known


def _next_name(taken: set[str]) -> str:
    return next(name for number in range(1, len(taken) + 2) if (name := f"P{number:03}") not in taken)


def _first_day(own: Iterable[Series]) -> date:
    return min((one.day for one in own if one.day is not None), default=date.max)
