"""Two real limbs with known lesions at three visits: what is found, how large, how far points land from truth.

Prints a table a visit, then wall time and the largest process. Needs ``../shared/data``; says so where it is absent.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from monitor import pipeline, points, store

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real images beside the checkout."""

NEAR_MM = 5.0
"""A lesion found this near to a true one is that lesion, mm: less than the radius of most."""

LEAST_MM3 = 75.0
"""Smaller true lesions are not asked for, mm³."""


def main() -> None:
    """Run the study and print the table."""
    if not (DATA / "serial-limbs").exists():
        print("serial-limbs is not here: the table needs ../shared/data")
        return
    truth = json.loads((DATA / "serial-limbs.truth.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        found = pipeline.follow(DATA / "serial-limbs", folder, workers=2)
        seconds = time.perf_counter() - started
        rows = [_visit_row(found, truth, *key) for key in _visits(found)]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    print(f"volume error, median over lesions: {np.median(np.concatenate(_ERRORS)):.1%}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"wall {seconds:.0f} s with 2 workers, largest process {peak:.2f} GiB")


_ERRORS: list[np.ndarray] = []
"""Relative volume errors, an array a visit."""


def _visits(found: store.Results) -> list[tuple[str, str]]:
    return [tuple(row) for row in found.tables["visits"][["patient_id", "visit_id"]].to_numpy().tolist()]


def _visit_row(found: store.Results, truth: dict, patient: str, visit: str) -> dict[str, object]:
    """Return one visit's row: lesions true, found and false, volume error, landmark error."""
    true = pd.DataFrame(truth["lesions"]).query("patient_id == @patient and visit_id == @visit")
    own = found.tables["lesions"].query("patient_id == @patient and visit_id == @visit and volume_mm3 > 0")
    here = own[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    gaps = np.linalg.norm(true[["x", "y", "z"]].to_numpy()[:, None] - here[None], axis=2)
    asked = true["volume_mm3"].to_numpy() >= LEAST_MM3
    nearest = gaps.argmin(axis=1)
    hit = gaps.min(axis=1) < NEAR_MM
    errors = np.abs(own["volume_mm3"].to_numpy()[nearest] / true["volume_mm3"].to_numpy() - 1)[hit]
    _ERRORS.append(errors)
    return {
        "patient": patient,
        "visit": visit,
        "true": int(asked.sum()),
        "found": int((hit & asked).sum()),
        "false": int((gaps.min(axis=0) >= NEAR_MM).sum()),
        "volume_error_median": float(np.median(errors)),
        "landmark_mean_mm": float(_landmark_errors(found, truth, patient, visit).mean()),
    }


def _landmark_errors(found: store.Results, truth: dict, patient: str, visit: str) -> np.ndarray:
    marks = pd.DataFrame(truth["points"]).query("patient_id == @patient")
    there, base = (marks.query("visit_id == @v")[["x", "y", "z"]].to_numpy() for v in (visit, "V0"))
    return np.linalg.norm(points.carry(found.folder, patient, visit, there) - base, axis=1)


if __name__ == "__main__":
    main()
