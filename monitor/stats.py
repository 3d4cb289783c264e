"""Trends: the yearly rate of a patient, of a cohort, and what changes at a start or between arms.

The names speak of time only. A change of the rate after the start of a treatment is a change after the
start; without a concurrent arm nothing here calls it an effect of the treatment.

``data`` is a DataFrame with one row a visit: ``patient_id`` (int or str), ``years``, ``value`` and, where they
are known, ``se`` (the standard error of the value) and ``unit``. ``scale`` is absolute, log, sqrt or cbrt: on
another scale than absolute, the estimate is a rate of the transformed value, and on the log scale the note
gives per cent per year as well. Without a ``unit`` the unit of a rate is ``1/a``. A negative value is refused
on the log and sqrt scales; zeros are left out on the log scale, and the note counts them.
"""

from __future__ import annotations

import pandas as pd

from monitor._stats import cohort, line, series
from monitor._stats import sensitivity as declared
from monitor._stats.agreement import repeatability
from monitor._stats.counts import new_lesions, new_volume, responders
from monitor._stats.curves import curves, fitted, half_life
from monitor._stats.mmrm import mmrm
from monitor._stats.table import trends
from monitor._stats.times import time_to_new_lesion
from monitor.types import Trend

__all__ = [
    "cohort_rate",
    "curves",
    "fitted",
    "half_life",
    "mmrm",
    "new_lesions",
    "new_volume",
    "patient_trend",
    "repeatability",
    "responders",
    "sensitivity",
    "time_to_new_lesion",
    "treatment_slope",
    "trends",
]


def patient_trend(data: pd.DataFrame, *, scale: str = "absolute", treated_from: str | None = None) -> Trend:
    """Return the yearly rate of one patient, or the change of it after a start.

    Weighted least squares with the given standard errors taken as they are, not rescaled by the scatter:
    normal limits that hold the measurement error only. Without ``se``, ordinary least squares and t limits
    from three visits on. Two visits without ``se``, or one, have no interval.

    Parameters
    ----------
    data : DataFrame
        One patient; columns ``years``, ``value`` [, ``se``, ``unit``, ``patient_id``].
    scale : str
        absolute, log, sqrt or cbrt; errors follow by the delta method.
    treated_from : str, optional
        Column of the start, years: the estimate is then the change of the rate there (a line with a bend).

    Returns
    -------
    Trend
        ``interval_kind`` is measurement_error_only, residual_t or none.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, or the data are of several patients.

    Examples
    --------
    >>> visits = pd.DataFrame({"years": [0.0, 1.0, 2.0], "value": [100.0, 130.0, 160.0], "se": 5.0, "unit": "mm3"})
    >>> trend = patient_trend(visits)
    >>> round(trend.estimate, 3), round(trend.lo, 2), round(trend.hi, 2), trend.unit
    (30.0, 23.07, 36.93, 'mm3/a')
    """
    rows = series.read(data, scale=scale, one_patient=True)
    if treated_from is None:
        return line.rate(rows)
    series.require(data, (treated_from,))
    starts = {float(start) for start in series.number(data, treated_from)}
    if len(starts) != 1:
        raise ValueError(f"column {treated_from} must hold one start for the patient; got {len(starts)}")
    return line.change_of_rate(rows, starts.pop())


def cohort_rate(data: pd.DataFrame, *, scale: str = "absolute", method: str = "auto") -> Trend:
    """Return the mean yearly rate over patients.

    Parameters
    ----------
    data : DataFrame
        Columns ``patient_id``, ``years``, ``value`` [, ``se``, ``unit``].
    scale : str
        absolute, log, sqrt or cbrt.
    method : str
        auto or a method of ``treatment_slope``.

    Raises
    ------
    ValueError
        If columns are missing or no numbers.
    """
    return cohort.rate(data, scale=scale, method=method)


def treatment_slope(
    data: pd.DataFrame,
    *,
    arm: str | None = None,
    treated_from: str | None = None,
    reference: object = None,
    scale: str = "absolute",
    method: str = "auto",
) -> Trend:
    """Return the difference of the yearly rate between arms, or its change at each patient's own start.

    *Two-stage*: each patient's line with the known errors and a common scatter beyond them (Paule and Mandel
    1982); the variance of the slopes between patients by REML; the t limits of Knapp and Hartung (2003) for
    arms, and of the scatter of patients (CR2; Pustejovsky and Tipton 2018) for a start, where a patient seen
    on one side of it contributes the rate of that side. Neither is shorter than the limits of the errors
    alone. *Mixed*: random intercept and slope (and change of slope) by statsmodels on standardised data, believed
    when two optimisers agree; t limits with between-within df. Where it fails, two-stage, and the note says so.
    *Kenward-Roger* and *satterthwaite*: our own REML with the given errors as they are, random intercept and slope (and
    change of slope), and the df of that name (Kenward and Roger 1997; Satterthwaite 1946).
    *GEE*: exchangeable, with the variance of Mancl and DeRouen (2001); wide, and free of any law of the patients.
    *Auto*: kenward-roger for the rates of 12 patients or more without ``se``; else two-stage.

    Parameters
    ----------
    data : DataFrame
        Columns ``patient_id``, ``years``, ``value`` [, ``se``, ``unit``] and the one named below.
    arm : str
        Column of the arm: the last minus the first in order, or minus ``reference``.
    treated_from : str
        Column of the start, years; NaN where a patient was never treated. A visit at the start is before it.
    reference : object
        The arm to compare with.
    scale : str
        absolute, log, sqrt or cbrt.
    method : str
        auto, two-stage, mixed, kenward-roger, satterthwaite or gee.

    Returns
    -------
    Trend
        ``n_patients`` and ``n_visits`` count those with two times or more, which alone hold a rate.

    Raises
    ------
    ValueError
        If not exactly one of ``arm`` and ``treated_from`` is given, columns are missing or no numbers, a patient
        has two arms or two starts, or there is one arm only.
    """
    if arm is not None and treated_from is None:
        return cohort.between_arms(data, arm, reference=reference, scale=scale, method=method)
    if treated_from is None or arm is not None or reference is not None:
        raise ValueError(
            f"give arm (with or without reference) or treated_from, one of them; "
            f"got arm={arm!r}, treated_from={treated_from!r}, reference={reference!r}"
        )
    return cohort.after_start(data, treated_from, scale=scale, method=method)


def sensitivity(data: pd.DataFrame, *, arm: str | None = None, treated_from: str | None = None) -> pd.DataFrame:
    """Return the declared grid of analyses: every scale, choice of visits and weights, all of them shown.

    Parameters
    ----------
    data : DataFrame
        Columns ``patient_id``, ``years``, ``value`` [, ``se``, ``unit``] and the one named below.
    arm, treated_from : str, optional
        As for ``treatment_slope``; with neither the mean yearly rate is asked (of one patient, its own).

    Returns
    -------
    DataFrame
        scale, visits (all, first and last, yearly), weights (given se, equal) and the fields of ``Trend``. An analysis
        that the data do not allow has no number, and its note says why.

    Raises
    ------
    ValueError
        If columns are missing, or both ``arm`` and ``treated_from`` are given.
    """
    series.require(data, tuple(name for name in ("patient_id", "years", "value", arm, treated_from) if name))
    if arm is not None and treated_from is not None:
        raise ValueError(f"give arm or treated_from, not both; got arm={arm!r}, treated_from={treated_from!r}")

    def estimate(rows: pd.DataFrame, scale: str) -> Trend:
        if arm is not None or treated_from is not None:
            return treatment_slope(rows, arm=arm, treated_from=treated_from, scale=scale)
        several = len(rows["patient_id"].unique()) > 1
        return cohort_rate(rows, scale=scale) if several else patient_trend(rows, scale=scale)

    return declared.table(data, estimate)
