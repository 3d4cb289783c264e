"""The declared grid: every analysis is shown, and says what it did."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monitor import stats
from monitor._stats import sensitivity
from tests.test_gee import cohort


def test_every_analysis_of_the_grid_is_shown():
    """Four scales, three choices of visits and two weights: 24 rows, each with an estimate and its method."""
    found = stats.sensitivity(cohort(), arm="arm")
    assert len(found) == len(sensitivity.SCALES) * len(sensitivity.VISITS) * len(sensitivity.WEIGHTS)
    assert not found.duplicated(["scale", "visits", "weights"]).any()
    assert found["estimate"].notna().all()
    plain = found.set_index(["scale", "visits", "weights"]).loc[("absolute", "all", "given se")]
    assert plain["estimate"] == stats.treatment_slope(cohort(), arm="arm").estimate


def test_without_errors_there_is_one_weight():
    """No se, no choice: 12 rows."""
    found = stats.sensitivity(cohort().drop(columns="se"), arm="arm")
    assert set(found["weights"]) == {"equal"}
    assert len(found) == 12


def test_negative_amounts_stay_negative():
    """Signed new volume: the log and the square root refuse it by name, the others keep its sign."""
    data = cohort().assign(value=lambda d: d["value"] - 300)
    found = stats.sensitivity(data, arm="arm").set_index(["scale", "visits", "weights"])
    for scale in ("log", "sqrt"):
        row = found.loc[(scale, "all", "equal")]
        assert np.isnan(row["estimate"])
        assert "must not be negative" in row["note"]
    assert found.loc[("absolute", "all", "equal"), "estimate"] == pytest.approx(
        stats.treatment_slope(cohort().drop(columns="se"), arm="arm").estimate
    )


def test_which_visits_count():
    """First and last are two a patient; yearly keeps the visit nearest to each whole year."""
    rows = pd.DataFrame({"patient_id": "P", "years": [0.0, 0.4, 0.9, 1.2, 2.1]})
    assert sensitivity.VISITS["first and last"](rows).tolist() == [True, False, False, False, True]
    assert sensitivity.VISITS["yearly"](rows).tolist() == [True, False, True, False, True]


def test_one_patient_and_a_start():
    """Without an arm the rate is asked, with a start its change."""
    one = cohort()[lambda d: d["patient_id"] == "P0"]
    assert set(stats.sensitivity(one)["n_patients"]) == {1}
    started = cohort().assign(start=1.0)
    assert len(stats.sensitivity(started, treated_from="start")) == 24
