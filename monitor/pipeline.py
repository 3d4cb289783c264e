"""The line, in order: study, scan, anatomy, lesions, registration, tracking, burden, change, trend."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import secrets
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd
import SimpleITK as sitk

from monitor import admit, anatomy, grid, lesions, record, registration, stages, stats, store, tables
from monitor.record import Measured, Record
from monitor.stages import Unit
from monitor.store import Results
from monitor.study import Patient, Study, Visit, baseline_visit, read_study
from monitor.types import Registration, Scan, ScanError, StudyError

T = TypeVar("T")

VERSION = "0.1.0"
"""Version of the software, as in ``pyproject.toml``."""

LARGER_FIELD = 1.4
"""A scan must see this much more body than the baseline's to be the reference of the registration instead:
growth between two visits stays below, a field that is cut by a third does not."""

Progress = Callable[[int, int, str], None]
"""Told of parts done, parts in all, and what was done."""


@dataclass(frozen=True)
class _Group:
    """The accepted scans of one patient, modality and region, with baseline and reference."""

    patient: Patient
    units: tuple[Unit, ...]
    baseline: Visit
    reference: Unit


def follow(
    study: str | Path,
    results: str | Path | None = None,
    *,
    workers: int = 1,
    patient: str | None = None,
    progress: Progress | None = None,
) -> Results:
    """Follow every calcification of a study from its scans to trends.

    Parameters
    ----------
    study : path
        The study folder.
    results : path, optional
        Where to publish; without it nothing stays on disk and only the tables are returned.
    workers : int
        Processes that work side by side; the results are the same for any number.
    patient : str, optional
        Measure this patient alone.
    progress : callable, optional
        Called with parts done, parts in all and a word about the last.

    Returns
    -------
    Results

    Raises
    ------
    StudyError
        If the study folder cannot be read, or holds no such patient.
    """
    opened = _only_patient(read_study(study), patient)
    started = datetime.now(UTC)
    with contextlib.ExitStack() as stack:
        folder = Path(results) if results is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root = stack.enter_context(store.locked(folder))
        crew = stack.enter_context(_crew(workers))
        tell = _Teller(progress, 4 * sum(len(one.visits) for one in opened.patients))
        units, refused = _look(opened, root / store.WORK, crew, tell)
        refused += _not_admitted(opened, units, crew)
        groups = [group for one in opened.patients for group in _groups(one, units, opened)]
        measured = _measure(groups, crew, tell)
        records = _records(groups, measured, crew)
        pictures = _pictures(groups, measured, records, crew, tell)
        found = _tables(opened, groups, records, refused)
        run = _run(opened, found, started)
        store.publish(root, found, pictures[0], run)
        store.prune(root / store.WORK, pictures[1])
        return Results(folder=root, tables=found, run=run)


def register(baseline: Scan, follow_up: Scan) -> Registration:
    """Find where each point of a follow-up lies in the baseline, from the two scans alone.

    Raises
    ------
    RegistrationError
        Where the result is not believable.
    """
    looked = [(scan, anatomy.find(scan)) for scan in (baseline, follow_up)]
    mineral = [lesions.find(scan, found).labels > 0 for scan, found in looked]
    return registration.register(
        baseline,
        follow_up,
        fixed_anatomy=looked[0][1],
        moving_anatomy=looked[1][1],
        fixed_mineral=mineral[0],
        moving_mineral=mineral[1],
    )


def _look(
    study: Study, work: Path, crew: _Crew, tell: _Teller
) -> tuple[dict[tuple[str, str, str], Unit], list[dict[str, str]]]:
    """Read and look at every scan; return the accepted ones and rows of ``refused``."""
    visits = [visit for one in study.patients for visit in one.visits]
    keys = crew.map(stages.key_of, [(visit,) for visit in visits])
    units = [Unit(visit, work, key) for visit, key in zip(visits, keys, strict=True)]
    answers = crew.map(_tried, [(stages.look, unit.folder, (unit,)) for unit in units], tell.of("looked at", visits))
    refused = [_refused(unit, answer) for unit, answer in zip(units, answers, strict=True) if answer is not None]
    accepted = {
        (unit.visit.patient_id, unit.visit.visit_id, unit.visit.scan_id): unit
        for unit, answer in zip(units, answers, strict=True)
        if answer is None
    }
    return accepted, refused


def _not_admitted(study: Study, units: dict[tuple[str, str, str], Unit], crew: _Crew) -> list[dict[str, str]]:
    """Take out of ``units`` what is another patient's, or is listed before; return rows of ``refused``."""
    key = secrets.token_bytes(32)
    entries = crew.map(stages.entry, [(unit, key) for unit in units.values()])
    found = admit.refusals(entries, {one.patient_id: one.sex for one in study.patients})
    return [_refused(units.pop(name), why) for name, why in found.items()]


def _refused(unit: Unit, why: tuple[str, str]) -> dict[str, str]:
    """Return a row of ``refused``."""
    visit = unit.visit
    ids = {"patient_id": visit.patient_id, "visit_id": visit.visit_id, "scan_id": visit.scan_id}
    return {**ids, "path": visit.given_path, "code": why[0], "message": why[1]}


def _groups(patient: Patient, units: dict[tuple[str, str, str], Unit], study: Study) -> list[_Group]:
    """Return the patient's scans by region, each group with the baseline and the reference of its registration."""
    own = [units[key] for v in patient.visits if (key := (v.patient_id, v.visit_id, v.scan_id)) in units]
    if not own:
        return []
    treatments = study.events.query("kind == 'treatment' and patient_id == @patient.patient_id")["date"]
    baseline = baseline_visit([unit.visit for unit in own], [when.date() for when in treatments])
    groups = []
    for region in dict.fromkeys(unit.visit.region for unit in own):
        members = tuple(unit for unit in own if unit.visit.region == region)
        here = next((u for u in members if u.visit.visit_id == baseline.visit_id), members[0])
        widest = max(members, key=stages.body_mm3)
        wider = stages.body_mm3(widest) > LARGER_FIELD * stages.body_mm3(here)
        groups.append(_Group(patient, members, here.visit, widest if wider else here))
    return groups


def _measure(groups: Sequence[_Group], crew: _Crew, tell: _Teller) -> list[list[Measured]]:
    """Place every visit in its reference, and measure it with what the earliest knows of the skeleton."""
    calls = [(unit, group.reference) for group in groups for unit in group.units]
    visits = [unit.visit for unit, _ in calls]
    found = iter(crew.map(stages.place, calls, tell.of("registered", visits)))
    placed = [[next(found) for _ in group.units] for group in groups]
    pairs = [(own, group[0]) for group in placed for own in group]
    done = iter(crew.map(stages.measure, pairs, tell.of("measured", visits)))
    return [[next(done) for _ in group.units] for group in groups]


def _records(groups: Sequence[_Group], measured: list[list[Measured]], crew: _Crew) -> list[Record]:
    """Track, sum and compare patient by patient; identities go on counting over a patient's regions."""
    found = crew.map(record.of_patient, [(own, group.baseline) for group, own in zip(groups, measured, strict=True)])
    used: dict[str, int] = {}
    numbered = []
    for group, one in zip(groups, found, strict=True):
        shift = used.get(group.patient.patient_id, 0)
        numbered.append(record.renumbered(one, shift))
        used[group.patient.patient_id] = shift + record.last_lesion(one)
    return numbered


def _pictures(
    groups: Sequence[_Group], measured: list[list[Measured]], records: Sequence[Record], crew: _Crew, tell: _Teller
) -> tuple[dict[str, Path], set[str]]:
    """Draw every visit; return the files to publish by name, and the finished parts that are in use."""
    calls, where = [], []
    for group, own, one in zip(groups, measured, records, strict=True):
        for unit, done in zip(group.units, own, strict=True):
            calls.append((unit, group.reference, done, one.wanted[(unit.visit.visit_id, unit.visit.scan_id)]))
            where.append(Path(unit.visit.patient_id) / unit.visit.visit_id / unit.visit.scan_id)
    drawn = crew.map(stages.picture, calls, tell.of("pictured", [call[0].visit for call in calls]))
    files: dict[str, Path] = {}
    keep: set[str] = set()
    for (unit, _, done, _), folder, part in zip(calls, where, drawn, strict=True):
        files |= {str(folder / name): source for name, source in stages.published(done, part).items()}
        keep |= {unit.key, done.measured.name, part.name} | ({done.placed.name} if done.placed else set())
    return files, keep


def _tables(
    study: Study, groups: Sequence[_Group], records: Sequence[Record], refused: list[dict[str, str]]
) -> dict[str, pd.DataFrame]:
    """Put the patients' rows together, and fit the trends."""
    found = {name: _together(name, records) for name in ("visits", "lesions", "lineage", "burden", "changes")}
    found["burden"] = record.over_regions(found["burden"])
    baselines = {group.patient.patient_id: group.baseline for group in reversed(groups)}
    found["patients"] = _patients(study, baselines)
    found["events"] = _events(study, baselines)
    found["trends"] = stats.trends(found["burden"], found["patients"], events=found["events"])
    rows = pd.concat([study.refused, tables.check(pd.DataFrame(refused), "refused")], ignore_index=True)
    found["refused"] = tables.check(rows, "refused")
    return found


def _together(name: str, records: Sequence[Record]) -> pd.DataFrame:
    parts = [part for one in records if len(part := one.tables[name])]
    return tables.check(pd.concat(parts, ignore_index=True), name) if parts else tables.empty(name)


def _patients(study: Study, baselines: dict[str, Visit]) -> pd.DataFrame:
    rows = []
    for one in study.patients:
        base = baselines.get(one.patient_id)
        starts = study.events.query("kind == 'treatment' and patient_id == @one.patient_id")["date"]
        first = starts.min().date() if len(starts) else None
        rows.append(
            {
                "patient_id": one.patient_id,
                "condition": one.condition,
                "arm": one.arm,
                "site": one.site,
                "sex": one.sex,
                "baseline_visit_id": base.visit_id if base else None,
                "treated_from_years": record.years_between(base.date, first) if base and first else None,
            }
        )
    return tables.check(pd.DataFrame(rows), "patients")


def _events(study: Study, baselines: dict[str, Visit]) -> pd.DataFrame:
    events = study.events[study.events["patient_id"].isin(baselines)].reset_index(drop=True)
    start = pd.to_datetime(events["patient_id"].map({key: visit.date for key, visit in baselines.items()}))
    days = 24 * 3600 * record.YEAR_DAYS
    rows = events.assign(
        years=(events["date"] - start).dt.total_seconds() / days,
        end_years=(events["end_date"] - start).dt.total_seconds() / days,
        lesion_id=pd.to_numeric(events["lesion_id"], errors="coerce"),
    )
    return tables.check(rows.drop(columns="end_date"), "events")


def _run(study: Study, found: dict[str, pd.DataFrame], started: datetime) -> dict[str, object]:
    """Return what ``run.json`` says of this run."""
    return {
        "software": {"name": "calcitrack", "version": VERSION, "source": store.source_hash()},
        "environment": store.environment(),
        "parameters": stages.parameters(),
        "inputs": {table.name: store.content_hash(table) for table in sorted(study.folder.glob("*.csv"))},
        "patients": len(study.patients),
        "scans_measured": len(found["visits"]),
        "scans_refused": len(found["refused"]),
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "use": "research use only, not for diagnosis",
    }


def _only_patient(study: Study, patient: str | None) -> Study:
    if patient is None:
        return study
    chosen = tuple(one for one in study.patients if one.patient_id == patient)
    if not chosen:
        raise StudyError(f"--patient must be a patient_id of visits.csv; {patient!r} is not among them")
    rows = study.refused[study.refused["patient_id"].eq(patient).fillna(False)]
    return replace(study, patients=chosen, refused=rows.reset_index(drop=True))


def _tried(work: Callable[..., object], done: Path, arguments: tuple[object, ...]) -> tuple[str, str] | None:
    """Do a part unless it is finished; return code and message where the scan is refused."""
    if done.exists():
        return None
    try:
        work(*arguments)
    except ScanError as error:
        return error.code, str(error)
    return None


class _Teller:
    """Counts finished parts for the progress display."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def of(self, word: str, visits: Sequence[Visit]) -> Callable[[int], None]:
        """Return what to call when the part of visit number n is done."""

        def tell(number: int) -> None:
            self.done += 1
            if self.progress is not None:
                visit = visits[number]
                self.progress(self.done, self.total, f"{visit.patient_id} {visit.visit_id} {word}")

        return tell


class _Crew:
    """Runs calls in order of their list, here or in worker processes; the answers come in that order."""

    def __init__(self, pool: Executor | None) -> None:
        self.pool = pool

    def map(
        self, call: Callable[..., T], arguments: Sequence[tuple[object, ...]], tell: Callable[[int], None] | None = None
    ) -> list[T]:
        """Call with each tuple of arguments; ``tell`` hears the number of each that is done."""
        if self.pool is None:
            answers = []
            for number, one in enumerate(arguments):
                answers.append(call(*one))
                if tell:
                    tell(number)
            return answers
        futures = [self.pool.submit(call, *one) for one in arguments]
        if tell:
            for number, future in enumerate(futures):
                future.add_done_callback(partial(lambda n, _: tell(n), number))
        return [future.result() for future in futures]


@contextlib.contextmanager
def _crew(workers: int) -> Iterator[_Crew]:
    """Open a crew; image filters run on one thread each, so that bits do not depend on the number of workers."""
    if workers <= 1:
        with grid.one_thread():
            yield _Crew(None)
        return
    # Fresh interpreters: a fork after ITK has started its threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_join) as pool:
        yield _Crew(pool)


def _join() -> None:
    """Begin as a worker: one thread for filters, and an end as soon as the run that it works for is gone."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    # A run that was killed cannot tell its workers; left alone they would wait for it for ever.
    multiprocessing.connection.wait([sentinel])
    signal.raise_signal(signal.SIGTERM)
