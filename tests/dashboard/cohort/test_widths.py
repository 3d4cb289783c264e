"""Widths of columns: room for every number as it is written."""

import numpy as np

from dashboard import words
from dashboard.cohort import widths


def test_letters_are_never_too_few():
    """Independent way: the length of each number as Python writes it; at most zeros at its end are more."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=500) * 10 ** rng.uniform(-4, 8, 500)
    values = np.append(values, [0.0, np.nan, 999.6, -999.6, 99.97, 9.996, 0.9996, 1e6, np.inf, -np.inf])
    for signed in (False, True):
        found = widths.number_letters(values, signed=signed)
        for letters, value in zip(found, values, strict=True):
            assert len(words.number(value, sign=signed)) <= letters <= len(words.number(value, sign=signed)) + 5


def test_limits_have_room():
    """The longest pair counts; where one is missing nothing is written."""
    low, high = np.array([99896.0, 1.0, np.nan]), np.array([104210.0, 2.0, 1e12])
    assert widths.limits_letters(low, high) == len(words.limits(99896.0, 104210.0))
    assert widths.limits_letters(np.empty(0), np.empty(0)) == 0
