"""Made-up patients, as the page of one patient reads them."""

import pandas as pd
import pytest

from dashboard.patient.own import Own
from dashboard.study import open_study
from monitor import tables
from monitor.store import Results
from tests.dashboard.made import PNG
from tests.dashboard.patient.rich import rich_tables, write

NAMES = (
    *(f"P001/V{visit}/frame_0001.png" for visit in range(1, 6)),
    *("P001/V2/lesion_0001.png", "P001/V5/lesion_0002.png", "P001/V5/qc.png", "P002/V1/frame_0001.png"),
)

PICTURES = dict.fromkeys(NAMES, PNG)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Publish results with every state that the page must show."""
    return open_study(write(tmp_path_factory.mktemp("patient") / "results", rich_tables(), PICTURES))


@pytest.fixture(scope="session")
def p001(study):
    return Own(study.patient("P001"))


@pytest.fixture
def hand_made(tmp_path):
    """Make a patient by hand from rows by table; what is not given is empty."""

    def make(**rows: list[dict]) -> Own:
        found = {name: tables.check(pd.DataFrame(rows.get(name, [])), name) for name in tables.SCHEMAS}
        return Own(Results(tmp_path, found, {}))

    return make


@pytest.fixture
def visit():
    """Make a row of table visits."""

    def make(number: int, years: float, **more: object) -> dict:
        day = pd.Timestamp("2024-01-01") + pd.Timedelta(days=round(365.25 * years))
        return {"patient_id": "P1", "visit_id": f"V{number}", "years": years, "date": day, "lod_mm3": 3.0,
                "comparable": True, **more}  # fmt: skip

    return make


@pytest.fixture
def amount():
    """Make a row of table burden."""

    def make(number: int, given: float | None, **more: object) -> dict:
        value = float("nan") if given is None else given
        return {"patient_id": "P1", "visit_id": f"V{number}", "quantity": "volume_mm3", "compartment": "total",
                "value": value, "lo": 0.9 * value, "hi": 1.1 * value, "unit": "mm3", "evaluable": 1.0,
                "value_observed": value, **more}  # fmt: skip

    return make


@pytest.fixture
def change():
    """Make a row of table changes: of a total from the first visit."""

    def make(number: int, before: float, after: float, **more: object) -> dict:
        size = after - before
        return {"patient_id": "P1", "from_visit": "V1", "to_visit": f"V{number}", "comparison": "baseline",
                "quantity": "volume_mm3", "compartment": "total", "rule_id": "volume:v1", "unit": "mm3",
                "before": before, "after": after, "change": size, "lo": size - 10, "hi": size + 10,
                "change_pct": 100 * size / before if before else None, "detectable": 15.0,
                "verdict": "increased" if size > 15 else "no_detectable_change", **more}  # fmt: skip

    return make
