"""Rates of a cohort by estimating equations: no law of the patients' slopes is assumed, only that patients are apart.

statsmodels fits (exchangeable working correlation); the variance is that of Mancl and DeRouen (2001), which takes each
patient's own pull out of its residuals, with t limits on patients less coefficients. At 5 to 10 patients they cover 97
to 99 % and are a third wider than others: a check on the default, not the default.
"""

from __future__ import annotations

import warnings

import numpy as np
import statsmodels.api as sm

from monitor._stats import limits
from monitor._stats.series import Series
from monitor.types import Trend

METHOD = "estimating equations, exchangeable, Mancl-DeRouen"
"""What ``Trend.method`` says of this file."""


def fit(series: Series, terms: np.ndarray, groups: np.ndarray, contrast: np.ndarray) -> Trend:
    """Return a contrast of mean slopes with its interval; parameters are those of ``two_stage.fit``.

    Known errors become weights, relative ones: the scatter tells their size.
    """
    if not len(series.ids):
        return limits.nothing(series, "no patient holds a rate", method=METHOD)
    design, weights, unit = _standardised(series, terms, groups, contrast)
    df = float(len(series.ids) - design.shape[1])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return limits.nothing(series, "the visits do not separate the slopes that are asked for", method=METHOD)
    if unit == 0 or df < 1:
        why = (
            f"{len(series.ids)} patients are too few for {design.shape[1]} coefficients"
            if df < 1
            else "all values are equal"
        )
        return limits.nothing(series, why, method=METHOD)
    value = (series.value - series.value.mean()) / np.std(series.value)
    # The weights of GEE would enter the variance by coefficient instead of by row: the rows are brought to one error.
    root = np.ones(len(value)) if series.se is None else series.se.min() / series.se
    model = sm.GEE(root * value, root[:, None] * design, groups=series.patient, cov_struct=sm.cov_struct.Exchangeable())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = model.fit(cov_type="bias_reduced")
    se = float(np.sqrt(weights @ np.asarray(result.cov_params()) @ weights)) * unit
    estimate = float(weights @ np.asarray(result.params)) * unit
    notes = [] if result.converged else ["the equations have not converged"]
    notes += [" ".join(str(one.message).split()[:8]) for one in caught]
    return limits.trend(
        series, estimate, se, df, kind="mancl_derouen_t", method=METHOD, note=tuple(dict.fromkeys(notes))
    )


def _standardised(
    series: Series, terms: np.ndarray, groups: np.ndarray, contrast: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the design, (N, p), in SDs of time, the contrast of its coefficients, and a slope's unit."""
    spread = float(np.std(terms[:, 0]))
    time = (terms - terms.mean(axis=0)) / (spread or 1.0)
    member = np.eye(int(groups.max()) + 1)[groups[series.patient]]
    slopes = member * time if time.shape[1] == 1 else time
    last = contrast if time.shape[1] == 1 else np.eye(time.shape[1])[-1]
    weights = np.concatenate([np.zeros(member.shape[1]), last])
    return np.hstack([member, slopes]), weights, float(np.std(series.value)) / (spread or 1.0)
