"""The demo: a study folder of three made-up children, as a hospital would hand it over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from monitor.phantom.dicom import write_dicom
from monitor.phantom.scenes import SCENES_BY_NAME, Scene
from monitor.phantom.visits import PhantomVisit, series

STUDY_SCENES = ("gaci", "myositis", "jdm")
"""The children of the demo, P001 to P003."""

_EVENTS: dict[str, tuple[tuple[int, int | None, str, str], ...]] = {
    "gaci": ((70, None, "treatment", "bisphosphonate"),),
    "myositis": ((-23, None, "injury", "kick to the thigh"),),
    "jdm": (
        (196, None, "treatment", "tofacitinib"),
        (120, 141, "flare", "skin and muscle"),
    ),
}
"""Days from the first scan to the start and the end (None: goes on, or a moment), kind and name."""

_SCORES: dict[str, tuple[str, str, tuple[tuple[int, float], ...]]] = {
    "myositis": ("knee flexion", "degree", ((2, 95.0), (30, 70.0), (78, 88.0), (170, 118.0))),
    "jdm": ("CMAS", "1", ((-4, 38.0), (131, 31.0), (190, 34.0), (402, 41.0), (735, 46.0))),
}
"""What the clinic measured: name, unit, days from the first scan and value. CMAS: Childhood Myositis Assessment Scale,
0 to 52."""


def study_visits(
    *, seed: int = 0, visits: int | None = None, spacing_mm: tuple[float, float, float] | None = None
) -> Iterator[PhantomVisit]:
    """Make the visits of the demo one child after the other: what ``write_study`` writes, with its truth."""
    for scene in STUDY_SCENES:
        yield from series(scene, seed=seed, visits=visits, spacing_mm=spacing_mm)


def write_study(
    folder: str | Path,
    *,
    seed: int = 0,
    visits: int | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
) -> Path:
    """Write the demo's study folder: CSV files of the contract, and DICOM. No truth is in it.

    Parameters
    ----------
    folder : path
        Made if absent.
    seed : int
        As for ``series``.
    visits : int, optional
        Visits of each child; None: four.
    spacing_mm : (x, y, z), optional
        Voxel of all scans; None: that of each scene. Coarse voxels make a quick study for tests.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    rows = []
    for visit in study_visits(seed=seed, visits=visits, spacing_mm=spacing_mm):
        path = Path("dicom") / visit.patient_id / visit.visit_id
        write_dicom(visit, folder / path)
        rows.append(
            {
                "patient_id": visit.patient_id,
                "visit_id": visit.visit_id,
                "date": visit.date.isoformat(),
                "path": path.as_posix(),
                "modality": "CT",
                "region": visit.region,
                "contrast": "none",
            }
        )
    scenes = [SCENES_BY_NAME[name] for name in STUDY_SCENES]
    tables = {
        "visits": pd.DataFrame(rows),
        "patients": pd.DataFrame([_patient(scene) for scene in scenes]),
        "events": pd.DataFrame([row for name in STUDY_SCENES for row in _events(name)]),
        "growth": pd.DataFrame([_growth(visit) for visit in rows]),
        "scores": pd.DataFrame([row for name in _SCORES for row in _scores(name)]),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    return folder


def _patient(scene: Scene) -> dict[str, str]:
    return {
        "patient_id": scene.patient_id,
        "condition": scene.condition,
        "sex": scene.sex,
        "birth_date": scene.birth_date,
    }


def _events(name: str) -> list[dict[str, str]]:
    scene = SCENES_BY_NAME[name]
    return [
        {
            "patient_id": scene.patient_id,
            "date": _day(scene, start),
            "end_date": "" if end is None else _day(scene, end),
            "kind": kind,
            "name": what,
        }
        for start, end, kind, what in _EVENTS[name]
    ]


def _scores(name: str) -> list[dict[str, object]]:
    scene = SCENES_BY_NAME[name]
    quantity, unit, values = _SCORES[name]
    about = {"patient_id": scene.patient_id, "quantity": quantity, "unit": unit, "source": "clinic"}
    return [{**about, "date": _day(scene, days), "value": value} for days, value in values]


def _day(scene: Scene, days: int) -> str:
    return (date.fromisoformat(scene.first_date) + timedelta(days=days)).isoformat()


def _growth(row: dict[str, str]) -> dict[str, object]:
    """Give height and weight at a scan; height follows the growth of the scene's anatomy."""
    scene = next(scene for scene in SCENES_BY_NAME.values() if scene.patient_id == row["patient_id"])
    height_cm = scene.height_cm * scene.growth_per_visit ** int(row["visit_id"][1:])
    weight_kg = _BMI * (height_cm / 100) ** 2
    return {
        "patient_id": scene.patient_id,
        "date": row["date"],
        "height_cm": round(height_cm, 1),
        "weight_kg": round(weight_kg, 1),
    }


_BMI = 16.0
"""Body mass index of a child, kg/m²: near the median from 2 to 11 years (WHO 2006, 2007)."""
