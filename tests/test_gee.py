"""Rates by estimating equations against published values and invariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monitor import stats
from tests.textbook import textbook


def cohort(seed: int = 3, patients: int = 8) -> pd.DataFrame:
    """Return two arms with a difference of rate of 10 a year."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        years = np.sort(rng.uniform(0, 2, 4))
        slope = rng.normal(20 + 10 * (number % 2), 4)
        value = rng.normal(100, 20) + slope * years + rng.normal(0, 3, 4)
        rows += [
            {"patient_id": f"P{number}", "arm": "ab"[number % 2], "years": t, "value": v, "se": 3.0}
            for t, v in zip(years, value, strict=True)
        ]
    return pd.DataFrame(rows)


def test_orthodont_has_the_slopes_of_geepack():
    """Oracle: the difference of growth .3048 mm a year, and clubSandwich's CR3 of balanced data."""
    data = textbook("orthodont", Subject="patient_id", age="years", distance="value")
    found = stats.treatment_slope(data, arm="Sex", reference="Female", method="gee")
    assert abs(found.estimate) == pytest.approx(0.304829545, rel=1e-6)
    # CR2 is .12124914 and CR3 .12580774: balanced data have one point estimate under any working correlation.
    assert found.se == pytest.approx(0.12580774, rel=1e-5)
    assert (found.df, found.interval_kind) == (23.0, "mancl_derouen_t")


def test_units_carry_through():
    """Invariance: months and litres change the estimate by their units, and the interval with it."""
    one = stats.treatment_slope(cohort(), arm="arm", method="gee")
    other = stats.treatment_slope(
        cohort().assign(years=lambda d: 12 * d["years"] + 5, value=lambda d: d["value"] / 1000, se=3e-3),
        arm="arm",
        method="gee",
    )
    for name in ("estimate", "se", "lo", "hi"):
        assert getattr(other, name) == pytest.approx(getattr(one, name) / 12000, rel=1e-4)
    assert one.lo < 10 < one.hi


def test_a_change_at_the_start():
    """One bend a patient: the mean change of rate is found, with limits on the patients."""
    rng = np.random.default_rng(5)
    rows = [
        {"patient_id": n, "years": t, "value": 10 * t - 6 * max(t - 1, 0) + n + rng.normal(0, 0.2), "start": 1.0}
        for n in range(7)
        for t in (0.0, 0.5, 1.0, 1.5, 2.0)
    ]
    found = stats.treatment_slope(pd.DataFrame(rows), treated_from="start", method="gee")
    assert found.lo < -6 < found.hi
    assert found.df == 4.0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d[d["patient_id"].isin(["P0", "P1"])], "too few"),
        (lambda d: d.assign(value=5.0), "all values are equal"),
    ],
)
def test_what_holds_no_answer_says_why(change, why):
    """Too few patients and no scatter at all have no interval, and a note."""
    found = stats.treatment_slope(change(cohort()), arm="arm", method="gee")
    assert np.isnan(found.lo)
    assert why in found.note


def test_unequal_errors_weigh_the_rows():
    """Oracle: the estimating equations of rows brought to one error, and Mancl and DeRouen's variance, in numpy."""
    data = cohort().assign(se=np.random.default_rng(8).uniform(1, 5, 32))
    found = stats.cohort_rate(data, method="gee")
    weight = 1 / data["se"].to_numpy()
    value, design = weight * data["value"], weight[:, None] * np.column_stack([np.ones(32), data["years"]])
    parts, shared = np.arange(32).reshape(8, 4), 0.0
    for _ in range(100):
        inverse = np.linalg.inv((1 - shared) * np.eye(4) + shared)
        bread = sum(design[rows].T @ inverse @ design[rows] for rows in parts)
        beta = np.linalg.solve(bread, sum(design[rows].T @ inverse @ value[rows] for rows in parts))
        apart = value.to_numpy() - design @ beta
        crossed = sum(apart[rows].sum() ** 2 - (apart[rows] ** 2).sum() for rows in parts) / 2
        shared = crossed / (len(parts) * 6 - 2) / (apart @ apart / 30)
    meat = np.zeros((2, 2))
    for rows in parts:
        hat = design[rows] @ np.linalg.solve(bread, design[rows].T @ inverse)
        pull = design[rows].T @ inverse @ np.linalg.solve(np.eye(4) - hat, apart[rows])
        meat += np.outer(pull, pull)
    covariance = np.linalg.inv(bread) @ meat @ np.linalg.inv(bread)
    assert found.estimate == pytest.approx(beta[1], rel=1e-6)
    assert found.se == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-6)


@pytest.mark.parametrize("each", [2, 3, 4])
def test_any_number_of_visits(each):
    """Errors are given, and the visits of a patient need not be as many as the coefficients."""
    data = cohort().groupby("patient_id").head(each)
    assert np.isfinite(stats.treatment_slope(data, arm="arm", method="gee").lo)
