"""Known change put into each patient's own baseline, and measured back by the whole line."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from monitor import burden, pipeline, stages, store, tables
from monitor._selftest import judged, visits
from monitor._selftest.visits import Baseline
from monitor.crew import Progress
from monitor.stages import Unit
from monitor.store import Results
from monitor.study import Study, Visit, read_study
from monitor.types import Findings, ScanError, StudyError

LEAST_LESIONS = 4
"""With fewer lesions a test tells nothing: one unchanged, one grown, one dissolved and one new."""

PARTS = pipeline.PARTS_A_SCAN * (1 + len(visits.SITUATIONS))
"""Parts of the line for one patient, as the progress counts them."""


def selftest(
    results: str | Path,
    *,
    patient: str | None = None,
    study: str | Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Put lesions of known size and change into each patient's baseline, measure them, and publish what came out.

    Parameters
    ----------
    results : path
        A published results folder; table ``selftest`` in it is replaced, all else stays.
    patient : str, optional
        Test this patient alone; what is known of the others stays.
    study : path, optional
        The study folder, where it is no longer where it was when the results were made.
    workers : int
        Processes that work side by side; the table is the same for any number.
    progress : callable, optional
        Called with parts done, parts in all and a word about the last.

    Returns
    -------
    DataFrame
        Table ``selftest``. A patient who cannot be tested has one row with the reason.

    Raises
    ------
    StudyError
        If the study cannot be read, or the results have no such patient.
    StoreError
        If there are no results, another run holds them, or their study is not known.
    """
    with store.locked(results) as root:
        found = store.read_results(root)
        opened = read_study(study if study is not None else store.noted_study(root))
        everybody = found.tables["patients"]["patient_id"].tolist()
        wanted = [one for one in everybody if patient in (None, one)]
        if patient is not None and not wanted:
            raise StudyError(f"--patient must be a patient_id of the results; {patient!r} is not among them")
        old = found.tables["selftest"]
        parts = {str(name): own for name, own in old[old["patient_id"].isin(everybody)].groupby("patient_id")}
        for number, name in enumerate(wanted):
            tell = _told(progress, number * PARTS, len(wanted) * PARTS)
            parts[name] = _of_patient(name, found, opened, workers, tell)
        known = [parts[name] for name in sorted(parts)]
        table = tables.check(pd.concat(known, ignore_index=True) if known else pd.DataFrame(), "selftest")
        store.publish_table(root, table, "selftest")
        return table


def _told(progress: Progress | None, first: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _, word: progress(first + done, total, word)


def _of_patient(name: str, found: Results, study: Study, workers: int, tell: Progress | None) -> pd.DataFrame:
    """Return the rows of one patient: those of a finished test that fits, or of one that is made now."""
    unit = _baseline(name, found, study)
    if unit is None:
        return _untested(name, "no scan of this patient was measured")
    if not unit.folder.exists():
        return _untested(name, "the baseline or the program is not as it was when the results were made: run again")
    kept = stages.kept_selftest(unit)
    if kept is not None:
        return tables.check(kept, "selftest")
    try:
        rows = _tested(unit, workers, tell)
    except ScanError as error:
        return _untested(name, str(error))
    store.finish(unit.work, stages.selftest_key(unit), _kept(rows))
    return rows


def _kept(rows: pd.DataFrame) -> Callable[[Path], None]:
    return lambda folder: store.write_table(rows, folder / "selftest")


def _untested(name: str, why: str) -> pd.DataFrame:
    return tables.check(pd.DataFrame([{"patient_id": name, "why": why}]), "selftest")


def _baseline(name: str, found: Results, study: Study) -> Unit | None:
    """Return a patient's baseline scan as the results have it; None where none was measured."""
    seen = found.tables["visits"]
    seen = seen[seen["patient_id"] == name]
    base = found.tables["patients"].set_index("patient_id")["baseline_visit_id"].get(name)
    if seen.empty or pd.isna(base):
        return None
    own = seen[(seen["visit_id"] == base) & (seen["region"].fillna("") == (seen["region"].fillna("").iloc[0]))]
    listed: dict[tuple[str, str], Visit] = {
        (visit.visit_id, visit.scan_id): visit
        for one in study.patients
        if one.patient_id == name
        for visit in one.visits
    }
    visit = listed.get((str(base), "" if pd.isna(own["scan_id"].iloc[0]) else str(own["scan_id"].iloc[0])))
    work = found.folder / store.WORK
    return Unit(visit, work, stages.key_of(visit)) if visit is not None else None


def _tested(unit: Unit, workers: int, tell: Progress | None) -> pd.DataFrame:
    """Make the study of a selftest, run the line on it, and judge what it says.

    Raises
    ------
    ScanError
        If the baseline cannot be tested.
    """
    base, taken = _known(unit)
    name = base.patient_id
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    # What a killed test leaves here the next run of any kind removes: ``store.locked``.
    aside = Path(tempfile.mkdtemp(prefix=store.PART, dir=unit.work))
    try:
        (aside / "study").mkdir()
        made = visits.make(aside / "study", base, taken, np.random.default_rng(seed))
        if len(made.lesions) < LEAST_LESIONS:
            got = f"there is room for {len(made.lesions)}"
            raise ScanError("no-room", f"{LEAST_LESIONS} lesions must fit in even soft tissue of the baseline; {got}")
        found = pipeline.follow(aside / "study", aside / "results", workers=workers, progress=tell, pictures=False)
        return judged.judged(made, found, name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _known(unit: Unit) -> tuple[Baseline, np.ndarray]:
    """Return the baseline with all that the run told of it, and where nothing may be put."""
    image = stages.load(unit.visit)
    found = stages.looked(unit, image)
    if not np.isfinite(found.noise_hu):
        raise ScanError("no-tissue", "the noise of the baseline must be known; it shows too little soft tissue")
    mineral = stages.mineral(unit, image)
    labels, _ = ndimage.label(mineral, np.ones((3, 3, 3)))
    limit = stages.lod_mm3(unit)
    blur = burden.scan_blur(image, found, Findings(labels, nan, limit))
    taken = mineral | stages.medium(unit, image)[0] | found.left_out
    return Baseline(unit.visit.patient_id, image, found, mineral, blur, limit), taken
