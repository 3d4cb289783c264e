"""One patient's line: rate per year, and change of the rate at a start, by least squares."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import statsmodels.api as sm
from scipy import stats

from monitor._stats import limits
from monitor._stats.series import Series
from monitor.types import Trend

LACK_OF_FIT = 0.05
"""Level of the chi-square test that tells that the scatter about the line exceeds the given errors."""


def rate(series: Series) -> Trend:
    """Return the yearly rate of one patient, from a straight line."""
    return _fit(series, series.years[:, None], "rate")


def level(series: Series) -> Trend:
    """Return the height of one patient's straight line at time 0, in the unit of the values."""
    own = replace(series, unit=series.unit.removesuffix("/a"))
    found = _of_design(own, np.column_stack([own.years, np.ones(len(own.years))]), "level")
    # That a burden is 0 is not asked.
    return replace(found, p_value=nan)


def change_of_rate(series: Series, start_years: float) -> Trend:
    """Return the change of one patient's yearly rate at a start, from a line with a bend there."""
    return _fit(series, bent(series.years, np.full(len(series.years), start_years)), "change of rate after the start")


def bent(years: np.ndarray, start_years: np.ndarray) -> np.ndarray:
    """Return time and time after the start, (N, 2) years; without a start (NaN) the second is 0.

    >>> bent(np.array([0.0, 3.0]), np.array([1.0, 1.0])).tolist()
    [[0.0, 0.0], [3.0, 2.0]]
    """
    if np.isneginf(start_years).any():
        raise ValueError("a start must be a number of years, or empty where there is none; got -inf")
    return np.column_stack([years, np.nan_to_num(np.maximum(years - start_years, 0.0))])


def seen_on_both_sides(years_from_start: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Tell which patients, (n,), have a visit after the start and one at it or before."""
    before = np.bincount(patient, years_from_start <= 0)
    return (before > 0) & (np.bincount(patient, years_from_start > 0) > 0)


def _fit(series: Series, terms: np.ndarray, what: str) -> Trend:
    """Fit level and ``terms``, (N, k), and return the last coefficient."""
    n = len(series.years)
    centred = terms - terms.mean(axis=0) if n else terms
    return _of_design(series, np.column_stack([np.ones(n), centred]), what)


def _of_design(series: Series, design: np.ndarray, what: str) -> Trend:
    """Fit a design, (N, p), and return its last coefficient."""
    n, needed = design.shape
    if n < needed or np.linalg.matrix_rank(design) < needed:
        why = f"{n} visit(s) at {len(np.unique(series.years))} time(s) hold no {what}"
        return limits.nothing(series, why, method="least squares")
    if series.se is not None:
        return _known_errors(series, design, series.se)
    if n == needed:
        estimate = float(np.linalg.solve(design, series.value)[-1])
        return _without_interval(series, estimate, f"{n} visits and no se")
    fit = sm.OLS(series.value, design).fit()
    if fit.ssr <= _ROUNDING * float(series.value @ series.value):
        return _without_interval(series, float(fit.params[-1]), "no scatter about the line and no se")
    return limits.trend(
        series, float(fit.params[-1]), float(fit.bse[-1]), float(fit.df_resid), kind="residual_t", method="OLS"
    )


_ROUNDING = 1e-24
"""Residual over total sum of squares below which the scatter is rounding of doubles (1e-12, squared)."""


def _known_errors(series: Series, design: np.ndarray, se: np.ndarray) -> Trend:
    if np.linalg.matrix_rank(design / se[:, None]) < design.shape[1]:
        why = f"errors of {se.min():.3g} to {se.max():.3g} are too unequal: the visits with small ones hold no number"
        return limits.nothing(series, why, method="WLS, known errors")
    # Weights are absolute: the default of WLS would rescale them by the scatter of three or four visits.
    fit = sm.WLS(series.value, design, weights=1 / se**2).fit(cov_type="fixed scale")
    note = ["the interval holds the given errors only, not repositioning or biology"]
    df = len(se) - design.shape[1]
    chi2 = float(np.sum(((series.value - design @ fit.params) / se) ** 2))
    if df > 0 and stats.chi2.sf(chi2, df) < LACK_OF_FIT:
        note.append(f"the scatter exceeds the given errors (chi2 {chi2:.3g} at {df} df): the interval is too short")
    return limits.trend(
        series,
        float(fit.params[-1]),
        float(fit.bse[-1]),
        inf,
        kind="measurement_error_only",
        method="WLS, known errors",
        note=tuple(note),
    )


def _without_interval(series: Series, estimate: float, why: str) -> Trend:
    note = (f"no interval: {why}",)
    return limits.trend(series, estimate, nan, nan, kind="none", method="least squares", note=note)
