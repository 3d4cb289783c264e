"""Quantiles of the patients over time: each patient's course between its own visits, never beyond them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles that are drawn: the median, half of the patients, and nine in ten."""

LEAST_PATIENTS = 5
"""Patients at a time from which quantiles are drawn; below, they would be single patients."""

MONTH_YEARS = 1 / 12
"""The grid of times is in whole months."""

MOST_TIMES = 60
"""Times of the grid at most: more than a screen tells apart in a smooth line."""


@dataclass(frozen=True, eq=False)
class Courses:
    """Everybody's amount at the times of a grid.

    Attributes
    ----------
    times_years : array of shape (times,)
    amounts : array of shape (patients, times)
        NaN before a patient's first and after its last visit.
    """

    times_years: np.ndarray
    amounts: np.ndarray


@dataclass(frozen=True, eq=False)
class Bands:
    """Quantiles at the times of a grid.

    Attributes
    ----------
    times_years, count : array of shape (times,)
        ``count`` is the number of patients at each time.
    quantiles : array of shape (levels, times)
        NaN where fewer than ``LEAST_PATIENTS`` patients are.
    """

    times_years: np.ndarray
    count: np.ndarray
    quantiles: np.ndarray


def times(years: np.ndarray) -> np.ndarray:
    """Return a grid of whole months over all visits; the baseline lies on it.

    >>> times(np.array([0.0, 0.1, 0.3])).round(3).tolist()
    [0.0, 0.083, 0.167, 0.25]
    """
    if len(years) == 0:
        return np.empty(0)
    low, high = float(years.min()), float(years.max())
    step = MONTH_YEARS * max(1, int(np.ceil((high - low) / MOST_TIMES / MONTH_YEARS)))
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return step * np.arange(first, last + 1)


def between_visits(courses: pd.DataFrame, count: int) -> Courses:
    """Return everybody's amount at the times of a grid, in a straight line between two visits.

    Parameters
    ----------
    courses : DataFrame
        row, years, value; patients and years ascending, no value missing.
    count : int
        Patients there are.
    """
    row, years = courses["row"].to_numpy(int), courses["years"].to_numpy(float)
    value = courses["value"].to_numpy(float)
    grid = times(years)
    if len(grid) == 0:
        return Courses(grid, np.full((count, 0), np.nan, np.float32))
    # All patients one after the other on one axis, farther apart than any course is long.
    apart = 2 * (float(np.abs(years).max()) + 1)
    asked = (np.arange(count)[:, None] * apart + grid).ravel()
    axis = row * apart + years
    right = np.searchsorted(axis, asked - 1e-9)
    left = np.maximum(right - 1, 0)
    right = np.minimum(right, len(axis) - 1)
    who = np.repeat(np.arange(count), len(grid))
    on_visit = (np.abs(axis[right] - asked) <= 1e-6) & (row[right] == who)
    inside = (row[left] == who) & (row[right] == who) & (axis[left] < asked) & (axis[right] > asked)
    width = np.where(axis[right] > axis[left], axis[right] - axis[left], 1.0)
    share = (asked - axis[left]) / width
    found = np.where(inside, value[left] + share * (value[right] - value[left]), np.nan)
    found = np.where(on_visit, value[right], found)
    return Courses(grid, found.reshape(count, len(grid)).astype(np.float32))


def quantiles(courses: Courses, kept: np.ndarray) -> Bands:
    """Return the quantiles of some patients; ``kept`` tells which."""
    own = np.sort(courses.amounts[kept], axis=0)  # what is missing comes last
    count = (~np.isnan(own)).sum(axis=0)
    found = np.full((len(LEVELS), len(courses.times_years)), np.nan)
    enough = np.flatnonzero(count >= LEAST_PATIENTS)
    for number, level in enumerate(LEVELS):
        place = level * (count[enough] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, count[enough] - 1)
        one, two = own[low, enough].astype(float), own[high, enough].astype(float)
        found[number, enough] = one + (place - low) * (two - one)
    return Bands(courses.times_years, count, found)
