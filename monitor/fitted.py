"""How far a fitted line may be off at any time, from the limits of its level and rate that table ``trends`` has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def weighted_mean(values: ArrayLike, width: ArrayLike) -> float:
    """Return the mean of what was measured, or of when: a line of weighted least squares goes through both.

    Parameters
    ----------
    values : (n,) array
        What was measured at each visit, or the years of the visits.
    width : (n,) array
        Widths of the limits of what was measured, which give the weights; where one is missing or 0 all weigh the same.

    Examples
    --------
    >>> weighted_mean([0.0, 1.0], [2.0, 1.0]), weighted_mean([0.0, 1.0], [1.0, float("nan")])
    (0.8, 0.5)
    """
    wide = np.asarray(width, float)
    weights = wide**-2.0 if np.isfinite(wide).all() and (wide > 0).all() else np.ones(len(wide))
    return float(np.average(np.asarray(values, float), weights=weights))


def half_width(years: ArrayLike, *, about: float, level: float, rate: float) -> np.ndarray:
    """Return half the width of the line's limits at some times.

    About the mean time, level and rate err apart from each other, so that half widths add as squares: at time t it is
    the root of m² + (t - mean)² rate², with m² + mean² rate² = level² (Draper and Smith 1998, Applied Regression, 3.1).

    Parameters
    ----------
    years : (n,) array
        Times, with the baseline at 0.
    about : float
        The mean time.
    level, rate : float
        Half widths of the limits of the line's height at the baseline, and of its slope; a level of NaN is not known,
        and the limits are then those of the rate alone.

    Examples
    --------
    >>> half_width([0.0, 1.0, 2.0], about=1.0, level=5.0, rate=3.0).tolist()
    [5.0, 4.0, 5.0]
    """
    at_mean = max(level**2 - (rate * about) ** 2, 0.0) if np.isfinite(level) else 0.0
    found: np.ndarray = np.sqrt(at_mean + (rate * (np.asarray(years, float) - about)) ** 2)
    return found
