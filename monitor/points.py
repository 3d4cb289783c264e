"""Carry points of any kind between a visit and the baseline, by what a run published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from monitor import store
from monitor.types import Registration, StudyError


def carry(
    results: str | Path, patient_id: str, visit_id: str, points_mm: np.ndarray, *, inverse: bool = False
) -> np.ndarray:
    """Map points, (N, 3) LPS mm, of a visit to the baseline, or the other way round.

    Raises
    ------
    StudyError
        If the visit is not in the results, or could not be registered.
    """
    found = store.read_results(results)
    visits = found.tables["visits"]
    own = visits[(visits["patient_id"] == patient_id) & (visits["visit_id"] == visit_id)]
    if own.empty:
        known = ", ".join(visits.loc[visits["patient_id"] == patient_id, "visit_id"]) or "none"
        raise StudyError(f"a visit must be one of the patient's in the results ({known}); got {visit_id!r}")
    people = found.tables["patients"].set_index("patient_id")
    mine = own.iloc[0]
    here = visits[(visits["patient_id"] == patient_id) & visits["region"].eq(mine["region"])]
    base = here[here["visit_id"] == people.loc[patient_id, "baseline_visit_id"]]
    visit = _registration(found.folder, mine)
    baseline = _registration(found.folder, base.iloc[0]) if len(base) else Registration.identity()
    if inverse:
        return visit.from_baseline(baseline.to_baseline(points_mm))
    return baseline.from_baseline(visit.to_baseline(points_mm))


def _registration(folder: Path, row: pd.Series) -> Registration:
    """Return the map of a visit onto its reference."""
    if row["visit_id"] == row["reference_visit_id"]:
        return Registration.identity()
    place = folder / "images" / row["patient_id"] / row["visit_id"] / (row["scan_id"] or "")
    if not (place / store.AFFINE).exists():
        raise StudyError(f"visit {row['visit_id']} has no registration: {row['registration']}")
    return store.read_transform(place)
