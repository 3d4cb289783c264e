"""Sentences: numbers that agree with the tables, and plurals."""

import numpy as np
import pandas as pd

from dashboard.cohort import words
from dashboard.cohort.bands import Bands
from dashboard.cohort.shown import Bars, Lines


def bands(count=12):
    quantiles = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0], [4.0, 5.0], [5.0, 6.0]])
    return Bands(np.array([0.0, 1.5]), np.array([count, 5]), quantiles)


def test_bands_are_said_at_the_baseline_and_at_the_end():
    """Median and range at both ends, with the number of patients."""
    said = words.bands_sentence([("", bands())], "mm3").replace(words.words.THIN, " ")
    assert "At 0.00 years (12 patients) median 3 mm³, half 2 to 4, nine in ten 1 to 5" in said
    assert "at 1.50 years (5 patients) median 4 mm³" in said


def test_groups_are_said_one_by_one():
    """Each group has its medians; none is set against another."""
    said = words.bands_sentence([("arm A", bands()), ("arm B", bands(7))], "mm3").replace(words.words.THIN, " ")
    assert "Arm A: at 0.00 years median 3 mm³ (n 12)" in said
    assert "arm B: at 0.00 years median 3 mm³ (n 7)" in said
    assert "than" not in said.replace("fewer than", "")


def test_zero_quantiles_are_said_on_a_log_scale():
    """A band that reaches 0 ends there."""
    zero = Bands(np.array([0.0]), np.array([9]), np.array([[0.0], [0.0], [1.0], [2.0], [3.0]]))
    assert "cannot be drawn on a log scale" in words.zero_quantiles_sentence([("", zero)])
    assert words.zero_quantiles_sentence([("", bands())]) == ""


def bars(changes, **more):
    table = pd.DataFrame({"change": changes, "verdict": "increased", "by_excess": np.array(changes) > 500})
    return Bars(**{"table": table, "step": 1, "not_comparable": 0, "no_percent": 0, "none": 0, **more})


def test_who_has_no_bar_is_said():
    """Each reason with its number; nothing where all have one."""
    said = words.bars_sentence(bars([1.0], not_comparable=2, none=1), "%", best=True)
    assert said.endswith(" No bar: 2 not comparable, 1 without a comparison.")
    assert "No bar" not in words.bars_sentence(bars([1.0]), "%", best=True)


def test_the_best_of_several_visits_is_said_to_lean():
    """Choosing the greatest decrease finds decreases in noise; the latest visit does not."""
    assert "leans to decreases" in words.bars_sentence(bars([1.0]), "%", best=True)
    assert "leans" not in words.bars_sentence(bars([1.0]), "%", best=False)


def test_bars_beyond_the_cap_are_said():
    """One ends, two end; amounts have no cap."""
    assert "1 beyond +200" in words.bars_sentence(bars([900.0, 1.0]), "%", best=False)
    assert "end there, marked" in words.bars_sentence(bars([900.0, 300.0]), "%", best=False)
    assert "beyond" not in words.bars_sentence(bars([900.0]), "mm3", best=False)


def test_bars_that_rest_on_the_excess_are_said():
    """Their smallest change that counts is another quantity's, so they bear no mark."""
    assert "1 judged by the excess, without a mark" in words.bars_sentence(bars([900.0, 1.0]), "mm3", best=False)
    assert "judged" not in words.bars_sentence(bars([1.0]), "mm3", best=False)


def test_a_sample_is_said():
    """How many of how many are drawn."""
    courses = pd.DataFrame({"row": [0], "years": [0.0], "value": [1.0]})
    assert "800 of 990" in words.lines_sentence(Lines(courses, 990, 800), "mm3")
    assert "Drawn are" not in words.lines_sentence(Lines(courses, 1, 1), "mm3")


def test_rates_that_leave_out_0_are_counted():
    """Closed form: of three, one lies above 0 and one below."""
    found = pd.DataFrame({"rate": [3.0, 0.5, -2.0], "lo": [1.0, -1.0, -3.0], "hi": [5.0, 2.0, -1.0]})
    said = words.forest_sentence(found, 5, "mm3/a").replace(words.words.THIN, " ")
    assert "95 % limits leave out 0 in 2. 2 without a rate." in said
    assert said.endswith("also those that do not compare with the baseline.")


def test_lanes_count_patients_and_not_events():
    """Two flares of one patient are one patient with flares."""
    events = pd.DataFrame({"row": [0, 0, 1], "kind": ["flare", "flare", "surgery"]})
    visits = pd.DataFrame({"row": [0, 1], "comparable": [True, False]})
    said = words.lanes_sentence(np.array([0, 1]), events, visits)
    assert said.startswith("Flare in 1 patient; surgery in 1 patient.")
    assert "1 visit does not compare" in said
