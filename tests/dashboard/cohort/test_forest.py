"""The forest: sorted rates with limits, cut where they are endless, the cohort below."""

import numpy as np
import pandas as pd

from dashboard.cohort.forest import forest_figure, forest_rows

IDS = np.array(["P0", "P1", "P2", "P3"], dtype=object)
NO_COHORT = pd.DataFrame({name: [] for name in ("arm", "estimate", "lo", "hi", "unit", "n_patients")})


def people(*rates):
    return pd.DataFrame(rates, columns=["rate", "rate_lo", "rate_hi"])


def test_rates_are_sorted_and_missing_ones_left_out():
    """From the greatest down; who has none is not at 0."""
    found = forest_rows(people((1.0, 0, 2), (np.nan, np.nan, np.nan), (5.0, 4, 6)), np.array([0, 1, 2]))
    assert found["row"].tolist() == [2, 0]
    assert found["rate"].tolist() == [5.0, 1.0]


def test_limits_are_drawn_from_the_table():
    """Error bars reach from lo to hi."""
    found = forest_rows(people((1.0, -1.0, 2.0), (5.0, 4.0, 8.0)), np.array([0, 1]))
    trace = forest_figure(found, IDS, cohort=NO_COHORT, chosen=None, title="").data[0]
    np.testing.assert_allclose(trace.x + trace.error_x.array, found["hi"])
    np.testing.assert_allclose(trace.x - trace.error_x.arrayminus, found["lo"])


def test_endless_limits_are_cut_with_a_mark():
    """A patient with limits a thousand times wider does not flatten the others."""
    found = forest_rows(people((1.0, -9000.0, 9000.0), (2.0, 1.0, 3.0), (-1.0, -2.0, 0.0)), np.arange(3))
    drawn = forest_figure(found, IDS, cohort=NO_COHORT, chosen=None, title="")
    low, high = drawn.layout.xaxis.range
    assert -20 < low < -1
    assert 2 < high < 20
    symbols = [trace.marker.symbol for trace in drawn.data[1:]]
    assert symbols == ["triangle-left", "triangle-right"]


def test_the_cohort_stands_below():
    """Estimates of all and of each arm are diamonds of their own, named with their number of patients."""
    cohort = pd.DataFrame({"arm": ["", "A"], "estimate": [1.0, 2.0], "lo": [0.5, 1.0], "hi": [1.5, 3.0],
                           "unit": "mm3/a", "n_patients": pd.array([12, pd.NA], dtype="Int64")})  # fmt: skip
    found = forest_rows(people((1.0, 0.0, 2.0)), np.array([0]))
    drawn = forest_figure(found, IDS, cohort=cohort, chosen=None, title="")
    assert drawn.data[1].marker.symbol == "diamond"
    assert drawn.layout.yaxis.ticktext == ("P0", "all patients (n 12)", "arm A")
    assert min(drawn.data[1].y) > max(drawn.data[0].y)


def test_the_chosen_row_is_shaded():
    """The shade lies at the patient's place among the sorted."""
    found = forest_rows(people((1.0, 0.0, 2.0), (5.0, 4.0, 6.0)), np.array([0, 1]))
    drawn = forest_figure(found, IDS, cohort=NO_COHORT, chosen=0, title="")
    assert (drawn.layout.shapes[0].y0, drawn.layout.shapes[0].y1) == (0.5, 1.5)


def test_one_rate_without_limits_is_drawn():
    """A rate alone is a point; the axis holds it and 0."""
    found = forest_rows(people((3.0, np.nan, np.nan)), np.array([0]))
    low, high = forest_figure(found, IDS, cohort=NO_COHORT, chosen=None, title="").layout.xaxis.range
    assert low < 0 < 3 < high
