"""Quantiles over time: against numpy, and never beyond a patient's own visits."""

import numpy as np
import pandas as pd
import pytest

from dashboard.cohort import bands


def courses(*patients):
    """Return courses of patients given as lists of (years, value)."""
    rows = [(row, years, value) for row, course in enumerate(patients) for years, value in course]
    return pd.DataFrame(rows, columns=["row", "years", "value"])


def random_courses(count=40, seed=5):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        years = np.sort(rng.uniform(-0.5, 4, rng.integers(1, 8)))
        made.append(
            [(float(year), float(value)) for year, value in zip(years, rng.lognormal(5, 1, len(years)), strict=True)]
        )
    return made


def test_a_course_is_a_straight_line_between_two_visits():
    """Independent value: numpy.interp, patient by patient, within the patient's own span."""
    made = random_courses()
    found = bands.between_visits(courses(*made), len(made))
    for row, course in enumerate(made):
        years, value = np.array(course).T
        expected = np.interp(found.times_years, years, value, left=np.nan, right=np.nan)
        np.testing.assert_allclose(found.amounts[row], expected, rtol=1e-5)


def test_nothing_is_drawn_beyond_a_patients_visits():
    """Before the first visit and after the last there is no amount, and none of a neighbour's."""
    found = bands.between_visits(courses([(0.0, 1.0), (1.0, 3.0)], [(2.0, 50.0), (3.0, 60.0)]), 3)
    inside = np.isfinite(found.amounts)
    assert np.isfinite(found.amounts[0, found.times_years <= 1]).all()
    assert not inside[0, found.times_years > 1].any()
    assert not inside[1, found.times_years < 2].any()
    assert not inside[2].any()


def test_a_single_visit_counts_where_it_lies_on_the_grid():
    """The baseline alone is an amount at year 0 and nowhere else."""
    found = bands.between_visits(courses([(0.0, 7.0)], [(0.0, 1.0), (1.0, 1.0)]), 2)
    assert found.amounts[0, found.times_years == 0].tolist() == [7.0]
    assert np.isfinite(found.amounts[0]).sum() == 1


def test_quantiles_are_numpys():
    """Independent value: numpy.nanquantile, linear, at every time with patients enough."""
    made = random_courses()
    grid = bands.between_visits(courses(*made), len(made))
    kept = np.arange(len(made)) % 3 > 0
    found = bands.quantiles(grid, kept)
    enough = found.count >= bands.LEAST_PATIENTS
    assert enough.sum() > 10
    expected = np.nanquantile(grid.amounts[kept][:, enough].astype(float), bands.LEVELS, axis=0)
    np.testing.assert_allclose(found.quantiles[:, enough], expected, rtol=1e-5)


def test_few_patients_have_no_quantiles():
    """Four patients are counted and not drawn; five are."""
    five = courses(*[[(0.0, float(value)), (1.0, float(value))] for value in range(5)])
    grid = bands.between_visits(five, 5)
    assert np.isfinite(bands.quantiles(grid, np.ones(5, bool)).quantiles).all()
    four = bands.quantiles(grid, np.arange(5) < 4)
    assert set(four.count) == {4}
    assert np.isnan(four.quantiles).all()


def test_the_median_of_equal_patients_is_their_amount():
    """Closed form: all quantiles of equal courses are that course."""
    grid = bands.between_visits(courses(*[[(0.0, 10.0), (2.0, 30.0)]] * 6), 6)
    found = bands.quantiles(grid, np.ones(6, bool))
    np.testing.assert_allclose(found.quantiles, np.tile(10 + 10 * grid.times_years, (5, 1)), rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.4), (-1.2, 9.7), (0.0, 0.0), (-0.42, 2.18)])
def test_the_grid_is_of_whole_months_with_the_baseline_on_it(low, high):
    """Times lie between the first and the last visit, one step apart, at most sixty or so."""
    times = bands.times(np.array([low, high]))
    assert 0.0 in times.tolist()
    assert len(times) <= bands.MOST_TIMES + 2
    assert times.min() >= low - 1e-6
    assert times.max() <= high + 1e-6
    steps = np.diff(times) / bands.MONTH_YEARS
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def test_no_visit_gives_no_grid():
    """Of nothing there is nothing."""
    found = bands.between_visits(courses(), 3)
    assert found.amounts.shape == (3, 0)
    assert bands.quantiles(found, np.ones(3, bool)).quantiles.shape == (5, 0)
