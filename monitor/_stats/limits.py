"""From an estimate and its standard error to a ``Trend``."""

from __future__ import annotations

from math import expm1, inf, nan

import numpy as np
from scipy import stats

from monitor._stats.series import Series
from monitor.types import Trend

CONFIDENCE = 0.95
"""Two-sided level of all limits."""

Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
"""Normal quantile of the limits, 1.96."""

INTERVAL_KINDS = {
    "measurement_error_only": "normal limits from the given errors alone: repositioning and biology are not in them",
    "residual_t": "t limits from one patient's scatter about the line",
    "knapp_hartung_t": "t limits of a random-effects mean of patients' rates (Knapp and Hartung 2003)",
    "cr2_t": "t limits from the scatter of patients, bias-reduced, Satterthwaite df (Pustejovsky and Tipton 2018)",
    "between_within_t": "t limits of a mixed model, df from the number of patients (Schluchter and Elashoff 1990)",
    "kenward_roger_t": "t limits of a mixed model, se and df by the expected information (Kenward and Roger 1997)",
    "kenward_roger_observed_t": "the same by the observed information, as SAS PROC MIXED has it (ddfm=kr)",
    "mancl_derouen_t": "t limits of estimating equations, df of patients less coefficients (Mancl and DeRouen 2001)",
    "none": "no interval exists; the note says why",
}
"""Which interval ``lo`` and ``hi`` are: the values of ``Trend.interval_kind`` (those of a half-life: ``curves``)."""


def trend(
    series: Series, estimate: float, se: float, df: float, *, kind: str, method: str, note: tuple[str, ...] = ()
) -> Trend:
    """Return an estimate with its 95 % limits; without limits where ``se`` or ``df`` allows none.

    Parameters
    ----------
    series : Series
        The rows that contribute; their notes come first.
    estimate, se : float
        In ``series.unit``; ``se`` may be NaN.
    df : float
        Degrees of freedom of the t distribution; inf for the normal.
    kind : str
        A key of ``INTERVAL_KINDS``.
    method : str
        The model, for the record.
    note : tuple of str
        What a reader must know beside the notes of the series.
    """
    notes = [*_percent(series, estimate, se, df), *series.notes, *note]
    if np.isfinite(se) and se <= 0:
        notes.append("no scatter at all: the data hold no information on their error")
    lo, hi, p_value = _limits(estimate, se, df)
    if not np.isfinite(lo):
        se, df, kind = nan, nan, "none"
    return Trend(
        estimate,
        se,
        df,
        lo,
        hi,
        p_value,
        series.unit,
        method,
        kind,
        n_patients=len(series.ids),
        n_visits=len(series.years),
        note="; ".join(dict.fromkeys(notes)),
    )


def _limits(estimate: float, se: float, df: float) -> tuple[float, float, float]:
    """Return lo, hi and the two-sided p value; NaN where ``se`` or ``df`` allows none."""
    if not (np.isfinite(estimate) and np.isfinite(se) and se > 0 and df > 0):
        return nan, nan, nan
    law = stats.norm if df == inf else stats.t(df)
    half = se * float(law.ppf((1 + CONFIDENCE) / 2))
    return estimate - half, estimate + half, 2 * float(law.sf(abs(estimate) / se))


def _percent(series: Series, estimate: float, se: float, df: float) -> list[str]:
    if series.scale != "log" or not np.isfinite(estimate):
        return []
    lo, hi, _ = _limits(estimate, se, df)
    return [f"{per_cent(estimate)} %/a" + (f" (95 % {per_cent(lo)} to {per_cent(hi)})" if np.isfinite(lo) else "")]


def nothing(series: Series, why: str, *, method: str) -> Trend:
    """Return a trend without a number, and why."""
    return trend(series, nan, nan, nan, kind="none", method=method, note=(why,))


def per_cent(log_rate: float) -> str:
    """Return a log rate per year as compound per cent per year.

    >>> per_cent(0.0953101798)
    '+10'
    """
    return f"{100 * expm1(min(log_rate, 700.0)):+.4g}"
