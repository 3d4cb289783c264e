"""The line, in order: study, scan, anatomy, lesions, registration, tracking, burden, change, trend."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from monitor import admit, anatomy, coarser, lesions, record, registration, stages, stats, store, tables
from monitor.crew import Crew, Progress, Teller, crew
from monitor.record import Measured, Record
from monitor.stages import Placed, Unit
from monitor.store import Results
from monitor.study import Patient, Study, Visit, baseline_visit, read_study
from monitor.types import Anatomy, Registration, Scan, ScanError, StudyError

VERSION = "0.1.0"
"""Version of the software, as in ``pyproject.toml``."""

PARTS_A_SCAN = 5
"""Parts of the work on a scan, as the progress counts them: looked at, registered, measured, compared, pictured."""

AGE_DIGITS = 1
"""Decimals of an age, years: five weeks, in which no day of birth can be told."""

LARGER_FIELD = 1.4
"""A scan must see this much more body than the baseline's to be the reference of the registration instead:
growth between two visits stays below, a field that is cut by a third does not."""


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
    pictures: bool = True,
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
    pictures : bool
        Draw every visit and lesion; without, the images are label maps alone, in half the time.

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
        hands = stack.enter_context(crew(workers))
        tell = Teller(progress, PARTS_A_SCAN * sum(len(one.visits) for one in opened.patients))
        units, refused = _look(opened, root / store.WORK, hands, tell)
        refused += _not_admitted(opened, units, hands)
        groups = [group for one in opened.patients for group in _groups(one, units, opened)]
        measured = _measure(groups, hands, tell)
        alike, coarse = _alike(groups, measured, hands)
        records, unkept = _records(groups, measured, alike, opened, hands)
        refused += unkept
        records, compared = _exchanged(groups, measured, records, hands, tell)
        draw = stages.picture if pictures else stages.label_map
        images, keep = _images(groups, measured, records, draw, hands, tell)
        found = _tables(opened, groups, records, refused)
        found["selftest"], tested = _selftests(groups)
        found = record.in_order(found)
        run = _run(opened, found, started)
        store.publish(root, found, images, run)
        store.prune(root / store.WORK, keep | coarse | compared | tested)
        store.note_study(root / store.WORK, opened.folder)
        return Results(folder=root, tables=found, run=run)


def register(baseline: Scan, follow_up: Scan) -> Registration:
    """Find where each point of a follow-up lies in the baseline, from the two scans alone.

    Both in HU, or both of one sequence of MR: there nothing is told apart but body and background.

    Raises
    ------
    RegistrationError
        Where the result is not believable.
    """
    one, two = (_looked(scan) for scan in (baseline, follow_up))
    return registration.register(
        baseline,
        follow_up,
        fixed_anatomy=one[0],
        moving_anatomy=two[0],
        fixed_mineral=one[1],
        moving_mineral=two[1],
    )


def _looked(scan: Scan) -> tuple[Anatomy, np.ndarray]:
    """Return body and bone of a scan, and its mineral: none where values are no HU."""
    if scan.unit != "HU":
        found = anatomy.foreground(scan)
        return found, found.skeleton
    found = anatomy.find(scan)
    return found, lesions.find(scan, found).labels > 0


def _look(
    study: Study, work: Path, hands: Crew, tell: Teller
) -> tuple[dict[tuple[str, str, str], Unit], list[dict[str, str]]]:
    """Read and look at every scan; return the accepted ones and rows of ``refused``."""
    visits = [visit for one in study.patients for visit in one.visits]
    keys = hands.map(stages.key_of, [(visit,) for visit in visits])
    units = [Unit(visit, work, key) for visit, key in zip(visits, keys, strict=True)]
    tell_one = tell.of("looked at", _names(units))
    answers = hands.map(_tried, [(stages.look, unit.folder, (unit,)) for unit in units], tell_one)
    refused = [
        admit.refused(unit.visit, answer) for unit, answer in zip(units, answers, strict=True) if answer is not None
    ]
    accepted = {
        (unit.visit.patient_id, unit.visit.visit_id, unit.visit.scan_id): unit
        for unit, answer in zip(units, answers, strict=True)
        if answer is None
    }
    return accepted, refused


def _not_admitted(study: Study, units: dict[tuple[str, str, str], Unit], hands: Crew) -> list[dict[str, str]]:
    """Take out of ``units`` what is another patient's, or is listed before; return rows of ``refused``."""
    key = secrets.token_bytes(32)
    entries = hands.map(stages.entry, [(unit, key) for unit in units.values()])
    found = admit.refusals(entries, {one.patient_id: one.sex for one in study.patients})
    return [admit.refused(units.pop(name).visit, why) for name, why in found.items()]


def _names(units: Iterable[Unit]) -> list[str]:
    return [f"{unit.visit.patient_id} {unit.visit.visit_id}" for unit in units]


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


def _measure(groups: Sequence[_Group], hands: Crew, tell: Teller) -> list[list[Measured]]:
    """Place every visit in its reference, and measure it with what the earliest knows of the skeleton."""
    calls = [(unit, group.reference) for group in groups for unit in group.units]
    names = _names(unit for unit, _ in calls)
    found = iter(hands.map(stages.place, calls, tell.of("registered", names)))
    placed = [_relayed([next(found) for _ in group.units], hands) for group in groups]
    pairs = [(own, group[0]) for group in placed for own in group]
    done = iter(hands.map(stages.measure, pairs, tell.of("measured", names)))
    return [[next(done) for _ in group.units] for group in groups]


def _relayed(placed: list[Placed], hands: Crew) -> list[Placed]:
    """Where a visit's own way to the reference is in doubt, try the way through its neighbour nearer to the reference.

    From the reference outwards, so that each finds its neighbour's way settled.
    """
    middle = next(number for number, one in enumerate(placed) if one.folder is None)
    ways = list(placed)
    # The reference's neighbours have no other way than their own.
    outwards = [(number, -1) for number in range(middle + 2, len(ways))]
    outwards += [(number, 1) for number in range(middle - 2, -1, -1)]
    for number, back in outwards:
        between = ways[number + back]
        if stages.doubtful(ways[number]) and not between.refused:
            ways[number] = hands.map(stages.relay, [(ways[number], between)])[0]
    return ways


def _alike(
    groups: Sequence[_Group], measured: list[list[Measured]], hands: Crew
) -> tuple[list[record.Alike], set[str]]:
    """Measure scans that differ in kernel and slices alone as a coarser protocol shows both; return the parts too."""
    wanted = [stages.protocols(own) for own in measured]
    calls = {}
    for group, own, pairs in zip(groups, measured, wanted, strict=True):
        for pair, protocol in pairs.items():
            for at in pair:
                if not coarser.shown_by(stages.shown(own[at]), protocol):
                    calls[own[at].measured.name, protocol] = (group.units[at], own[at], protocol)
    done = dict(zip(calls, hands.map(stages.coarsen, [*calls.values()]), strict=True))
    found: list[record.Alike] = []
    for own, pairs in zip(measured, wanted, strict=True):
        part = {pair: [done.get((own[at].measured.name, how)) for at in pair] for pair, how in pairs.items()}
        found.append({pair: (str(pairs[pair]), both[0], both[1]) for pair, both in part.items()})
    return found, {one.part for one in done.values()}


def _records(
    groups: Sequence[_Group],
    measured: list[list[Measured]],
    alike: Sequence[record.Alike],
    study: Study,
    hands: Crew,
) -> tuple[list[Record], list[dict[str, str]]]:
    """Track, sum and compare patient by patient; return the records, and rows of ``refused`` for corrections.

    Identities go on counting over a patient's regions. Corrections speak of the numbers of the run without them, so
    who is corrected is followed once more.
    """
    sizes = [study.growth[study.growth["patient_id"] == group.patient.patient_id] for group in groups]
    parts_of = zip(groups, measured, sizes, alike, strict=True)
    calls = [(own, group.baseline, rows, shown) for group, own, rows, shown in parts_of]
    found = hands.map(record.of_patient, calls)
    used: dict[str, int] = {}
    numbers = []
    for group, one in zip(groups, found, strict=True):
        name = group.patient.patient_id
        first = used.get(name, 0) + 1
        used[name] = used.get(name, 0) + record.last_lesion(one)
        numbers.append((name, range(first, used[name] + 1)))
    parts, refused = record.shared_out(study.matches, numbers)
    again = [n for n, part in enumerate(parts) if len(part)]
    more = [(*calls[n], parts[n], numbers[n][1].start - 1) for n in again]
    for n, one in zip(again, hands.map(record.of_patient, more), strict=True):
        found[n] = one
        refused += [record.unkept(numbers[n][0], *why) for why in one.refused]
    return [record.renumbered(one, own.start - 1) for one, (_, own) in zip(found, numbers, strict=True)], refused


def _exchanged(
    groups: Sequence[_Group], measured: list[list[Measured]], records: Sequence[Record], hands: Crew, tell: Teller
) -> tuple[list[Record], set[str]]:
    """Compare the visits voxel by voxel; return the records with the answers, and the finished parts in use."""
    calls, where = [], []
    for number, (group, own, one) in enumerate(zip(groups, measured, records, strict=True)):
        wanted = record.to_exchange(one)
        done = {(each.visit.visit_id, each.visit.scan_id): each for each in own}
        for unit, later in zip(group.units, own, strict=True):
            key = (unit.visit.visit_id, unit.visit.scan_id)
            pairs = [pair for pair in wanted if pair[1] == key]
            calls.append((unit.work, later, [(done[pair[0]], wanted[pair]) for pair in pairs]))
            where.append((number, pairs))
    names = _names(unit for group in groups for unit in group.units)
    answers: list[dict[record.Pair, dict[record.Subject, dict[str, float]]]] = [{} for _ in records]
    keep: set[str] = set()
    for (number, pairs), found in zip(
        where, hands.map(stages.exchange, calls, tell.of("compared", names)), strict=True
    ):
        for pair, (part, told) in zip(pairs, found, strict=True):
            answers[number][pair] = told
            keep.add(part)
    return [record.with_exchange(one, told) for one, told in zip(records, answers, strict=True)], keep


def _images(
    groups: Sequence[_Group],
    measured: list[list[Measured]],
    records: Sequence[Record],
    draw: Callable[[Unit, Unit, Measured, pd.DataFrame, pd.DataFrame], Path],
    hands: Crew,
    tell: Teller,
) -> tuple[dict[str, Path], set[str]]:
    """Draw every visit; return the files to publish by name, and the finished parts that are in use."""
    calls, where = [], []
    for group, own, one in zip(groups, measured, records, strict=True):
        for unit, done in zip(group.units, own, strict=True):
            key = (unit.visit.visit_id, unit.visit.scan_id)
            calls.append((unit, group.reference, done, one.wanted[key], one.framed[key]))
            where.append(Path(unit.visit.patient_id) / unit.visit.visit_id / unit.visit.scan_id)
    drawn = hands.map(draw, calls, tell.of("pictured", _names(call[0] for call in calls)))
    files: dict[str, Path] = {}
    keep: set[str] = set()
    for (unit, _, done, *_), folder, part in zip(calls, where, drawn, strict=True):
        files |= {str(folder / name): source for name, source in stages.published(done, part).items()}
        keep |= {unit.key, done.measured.name, part.name, *done.parts}
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
    found["scores"] = _scores(study, baselines)
    found["trends"] = stats.trends(found["burden"], found["patients"], events=found["events"], lineage=found["lineage"])
    rows = pd.concat([study.refused, tables.check(pd.DataFrame(refused), "refused")], ignore_index=True)
    found["refused"] = tables.check(rows, "refused")
    return found


def _selftests(groups: Sequence[_Group]) -> tuple[pd.DataFrame, set[str]]:
    """Return what selftests found that still fit their baselines, and the finished parts that hold it."""
    baselines = {group.patient.patient_id: group for group in reversed(groups)}
    units = [next(unit for unit in one.units if unit.visit is one.baseline) for _, one in sorted(baselines.items())]
    kept = {stages.selftest_key(unit): found for unit in units if (found := stages.kept_selftest(unit)) is not None}
    rows = pd.concat(kept.values(), ignore_index=True) if kept else tables.empty("selftest")
    return tables.check(rows, "selftest"), set(kept)


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
                "age_years": _age(one, base),
                "baseline_visit_id": base.visit_id if base else None,
                "treated_from_years": record.years_between(base.date, first) if base and first else None,
            }
        )
    return tables.check(pd.DataFrame(rows), "patients")


def _age(one: Patient, base: Visit | None) -> float | None:
    """Return the age at the baseline to a tenth of a year: the birth date itself stays in the study folder."""
    if one.birth_date is None or base is None:
        return None
    return round(record.years_between(one.birth_date, base.date), AGE_DIGITS)


def _events(study: Study, baselines: dict[str, Visit]) -> pd.DataFrame:
    events = study.events[study.events["patient_id"].isin(baselines)].reset_index(drop=True)
    rows = events.assign(
        years=_since_baseline(events, "date", baselines),
        end_years=_since_baseline(events, "end_date", baselines),
        lesion_id=pd.to_numeric(events["lesion_id"], errors="coerce"),
    )
    return tables.check(rows.drop(columns="end_date"), "events")


def _scores(study: Study, baselines: dict[str, Visit]) -> pd.DataFrame:
    scores = study.scores[study.scores["patient_id"].isin(baselines)].reset_index(drop=True)
    return tables.check(scores.assign(years=_since_baseline(scores, "date", baselines)), "scores")


def _since_baseline(rows: pd.DataFrame, column: str, baselines: dict[str, Visit]) -> pd.Series:
    """Return the years from each patient's baseline to a day of the study folder; NaN where no day stands."""
    start = pd.to_datetime(rows["patient_id"].map({key: visit.date for key, visit in baselines.items()}))
    return (rows[column] - start).dt.total_seconds() / (24 * 3600 * record.YEAR_DAYS)


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
    refused, matches = (
        table[table["patient_id"].eq(patient).fillna(False)].reset_index(drop=True)
        for table in (study.refused, study.matches)
    )
    return replace(study, patients=chosen, refused=refused, matches=matches)


def _tried(work: Callable[..., object], done: Path, arguments: tuple[object, ...]) -> tuple[str, str] | None:
    """Do a part unless it is finished; return code and message where the scan is refused."""
    if done.exists():
        return None
    try:
        work(*arguments)
    except ScanError as error:
        return error.code, str(error)
    return None
