"""Before anything is measured: what of a study would be refused and why, and which visits are not comparable."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from monitor import admit, change, record, stages, tables
from monitor.admit import Entry
from monitor.crew import Crew, Progress, Teller, crew
from monitor.study import Study, Visit, baseline_visit, read_study
from monitor.types import Acquisition, ScanError


@dataclass(frozen=True)
class Checked:
    """What a check found: tables ``visits`` and ``refused`` as a run would give them, and remarks by patient."""

    visits: pd.DataFrame
    refused: pd.DataFrame
    remarks: dict[str, str]


@dataclass(frozen=True)
class _Read:
    """A scan that could be read."""

    entry: Entry
    modality: str
    acquisition: Acquisition


def check(study: str | Path, *, workers: int = 1, progress: Progress | None = None) -> Checked:
    """Read every scan of a study and tell what a run would refuse and what it would not compare.

    Parameters
    ----------
    study : path
        The study folder; nothing is written to it or anywhere else.
    workers : int
        Processes that read side by side.
    progress : callable, optional
        Called with scans read, scans in all and a word about the last.

    Raises
    ------
    StudyError
        If the study folder cannot be read.
    """
    opened = read_study(study)
    visits = [visit for one in opened.patients for visit in one.visits]
    names = [f"{visit.patient_id} {visit.visit_id}" for visit in visits]
    with crew(workers) as hands:
        read, refused = _read_all(visits, hands, Teller(progress, len(visits)).of("read", names))
    strange = admit.refusals([one.entry for one in read], {one.patient_id: one.sex for one in opened.patients})
    refused += [admit.refused(one.entry.visit, strange[one.entry.key]) for one in read if one.entry.key in strange]
    good = [one for one in read if one.entry.key not in strange]
    rows = pd.concat([opened.refused, tables.check(pd.DataFrame(refused), "refused")], ignore_index=True)
    visited = tables.check(pd.DataFrame(_rows(good, opened)), "visits")
    found = record.in_order({"visits": visited, "refused": tables.check(rows, "refused")})
    return Checked(visits=found["visits"], refused=found["refused"], remarks=_remarks(good, opened))


def _read_all(
    visits: Sequence[Visit], hands: Crew, tell: Callable[[int], None]
) -> tuple[list[_Read], list[dict[str, str]]]:
    key = secrets.token_bytes(32)
    answers = hands.map(_tried, [(visit, key) for visit in visits], tell)
    read = [answer for answer in answers if isinstance(answer, _Read)]
    refused = [
        admit.refused(visit, answer)
        for visit, answer in zip(visits, answers, strict=True)
        if not isinstance(answer, _Read)
    ]
    return read, refused


def _tried(visit: Visit, key: bytes) -> _Read | admit.Refusal:
    """Read a scan and its masks; return code and message where a run would refuse it."""
    try:
        image = stages.load(visit)
        stages.read_masks(visit, image)
        stages.read_structures(visit, image)
    except ScanError as error:
        return error.code, str(error)
    return _Read(admit.entry(visit, admit.slice_hashes(image.array), key), image.modality, image.acquisition)


def _rows(read: Sequence[_Read], study: Study) -> list[dict[str, object]]:
    """Return rows of table ``visits`` as far as they are known before measuring."""
    rows: list[dict[str, object]] = []
    for patient in study.patients:
        own = [one for one in read if one.entry.visit.patient_id == patient.patient_id]
        if not own:
            continue
        starts = study.events.query("kind == 'treatment' and patient_id == @patient.patient_id")["date"]
        base = baseline_visit([one.entry.visit for one in own], [when.date() for when in starts])
        for one in own:
            visit = one.entry.visit
            near = [other for other in own if other.entry.visit.region == visit.region]
            against = next((other for other in near if other.entry.visit.visit_id == base.visit_id), near[0])
            may, why = change.comparable(_acquired(against), _acquired(one))
            rows.append(
                {
                    **{name: getattr(visit, name) for name in ("patient_id", "visit_id", "scan_id", "region")},
                    "date": pd.Timestamp(visit.date),
                    "years": record.years_between(base.date, visit.date),
                    **_acquired(one),
                    "comparable": may,
                    "comparable_why": why,
                }
            )
    return rows


def _acquired(one: _Read) -> dict[str, str | float]:
    return {"modality": one.modality, **asdict(one.acquisition)}


def _remarks(read: Sequence[_Read], study: Study) -> dict[str, str]:
    """Return what is odd about a patient and no reason to refuse."""
    told = {
        one.patient_id: admit.order_of_dates(
            other.entry for other in read if other.entry.visit.patient_id == one.patient_id
        )
        for one in study.patients
    }
    return {patient: text for patient, text in told.items() if text}
