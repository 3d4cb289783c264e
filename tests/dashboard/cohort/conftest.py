"""Made-up results as the page reads them, and a cohort by hand."""

import numpy as np
import pandas as pd
import pytest

from dashboard.cohort.rows import Cohort
from dashboard.study import open_study
from tests.dashboard.made import write_empty, write_results


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return open_study(write_results(tmp_path_factory.mktemp("cohort") / "results", more_patients=30))


@pytest.fixture(scope="session")
def nobody(tmp_path_factory):
    """Read a study in which nobody was measured."""
    return open_study(write_empty(tmp_path_factory.mktemp("cohort") / "empty"))


@pytest.fixture
def by_hand():
    """Return a function that makes a cohort of comparisons: (row, years, before, change, verdict, carried_by)."""

    def make(patients: int, *comparisons) -> Cohort:
        names = ["row", "years", "before", "change", "verdict", "by_excess"]
        changes = pd.DataFrame(list(comparisons), columns=names)
        before = changes["before"].to_numpy(float)
        changes["change_pct"] = 100 * changes["change"] / np.where(before > 0, before, np.nan)
        changes["detectable"] = 10.0
        changes["to_visit"] = [f"V{number}" for number in range(len(changes))]
        changes["compares"] = ~changes["verdict"].isin(["not_comparable", ""])
        ids = [f"P{number}" for number in range(patients)]
        latest = changes.drop_duplicates("row", keep="last").set_index("row")["verdict"]
        people = pd.DataFrame({"patient_id": ids, "condition": "JDM", "arm": "A", "site": "", "find": ids})
        people["verdict"] = [latest.get(number, "none") for number in range(patients)]
        none = pd.DataFrame({name: np.empty(0) for name in ("row", "years", "value")})
        return Cohort("volume_mm3", "total", "mm3", people, none, none, changes)

    return make
