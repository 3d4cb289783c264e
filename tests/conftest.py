"""A small made-up study, run once for all tests of the line."""

from __future__ import annotations

import fcntl
import importlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from monitor import phantom, pipeline, store
from monitor.export import report_pdf
from monitor.phantom import PhantomVisit

SHARED = Path(__file__).parents[2] / "shared" / "data"
"""Real images beside the checkout; absent on other machines."""

needs_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real images of ../shared/data may not be in the repository, and are not here"
)
"""Marks a test that measures on real images: CI of a clone elsewhere has none."""


def write_visits(folder: Path, visits: Sequence[PhantomVisit]) -> Path:
    """Write phantom visits as a study folder without treatments; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for visit in visits:
        phantom.write_dicom(visit, folder / "dicom" / visit.patient_id / visit.visit_id)
        rows.append(
            {
                "patient_id": visit.patient_id,
                "visit_id": visit.visit_id,
                "date": visit.date,
                "path": f"dicom/{visit.patient_id}/{visit.visit_id}",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "visits.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def limb_visits() -> list[PhantomVisit]:
    """Three visits of a coarse limb: a nodule that stays, one that vanishes, one that appears."""
    return phantom.series(
        "limb", seed=3, visits=3, spacing_mm=(1.6, 1.6, 2.5), lesions=["nodule", "vanish", "appear"], warp_mm=1.0
    )


@pytest.fixture(scope="session")
def limb_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a folder that all test processes of this session share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "limb"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def limb_study(limb_folder: Path, limb_visits: list[PhantomVisit]) -> Path:
    """Return the study folder of ``limb_visits``, with height and weight; the first process writes it."""
    with (limb_folder / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (limb_folder / "study" / "visits.csv").exists():
            write_visits(limb_folder / "study", limb_visits)
            sizes = [(visit.patient_id, visit.date, 118.0 + 4 * n, 22.0 + n) for n, visit in enumerate(limb_visits)]
            columns = ["patient_id", "date", "height_cm", "weight_kg"]
            pd.DataFrame(sizes, columns=columns).to_csv(limb_folder / "study" / "growth.csv", index=False)
    return limb_folder / "study"


@pytest.fixture(scope="session")
def limb_results(limb_study: Path) -> store.Results:
    """Return the published results of ``limb_study``; the first process measures it, the others wait."""
    with (limb_study.parent / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return pipeline.follow(limb_study, limb_study.parent / "results")


@pytest.fixture(scope="session")
def weasyprint():
    """Return what makes a PDF; its library pango is the system's, which the main job never needs: without it, skip."""
    if not report_pdf.available():
        pytest.skip("a PDF needs weasyprint and the system's pango, and one of them is not here")
    return importlib.import_module("weasyprint")
