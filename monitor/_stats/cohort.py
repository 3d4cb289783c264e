"""Mean rates of a cohort: which patients and columns enter, and which method fits them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from monitor._stats import gee, limits, line, mixed, reml, series, two_stage
from monitor._stats.series import Series
from monitor.types import Trend

MIXED_FROM_PATIENTS = 12
"""Patients from which a mixed model is the default where no se is given; below, two stages cover better.

In simulation statsmodels' mixed model had no answer that two optimisers share in 2 to 5 % of trials of 6 to 8 patients,
and in 45 % where a change of slope varies too (3 random effects); of a thousand patients it had none either.
"""

METHODS = ("auto", "two-stage", "mixed", "kenward-roger", "satterthwaite", "gee")
"""``auto`` is two-stage where errors are known, patients few, or each has a start of their own."""


def rate(data: pd.DataFrame, *, scale: str, method: str) -> Trend:
    """Return the mean yearly rate of the patients."""
    cohort = series.read(data, scale=scale).with_slope()
    return _fit(cohort, cohort.years[:, None], np.zeros(len(cohort.ids), int), np.ones(1), method)


def between_arms(data: pd.DataFrame, arm: str, *, reference: object, scale: str, method: str) -> Trend:
    """Return the difference of the mean yearly rates of two arms; further arms only help to tell the scatter."""
    series.require(data, ("patient_id", arm))
    arms = series.per_patient(data.dropna(subset=[arm]), arm)
    last, first, levels = _contrasted(list(arms.values()), reference, arm)
    cohort = series.read(data, scale=scale)
    in_arm = np.array([name in arms for name in cohort.ids], bool)
    if not in_arm.all():
        cohort = cohort.keep(in_arm).noting(f"{int((~in_arm).sum())} patient(s) without {arm} left out")
    cohort = cohort.with_slope().noting(f"{arm} {last} minus {first}")
    present = [level for level in levels if level in {arms[name] for name in cohort.ids}]
    if last not in present or first not in present:
        return limits.nothing(cohort, "one of the arms holds no patient with a rate", method=two_stage.METHOD)
    groups = np.array([present.index(arms[name]) for name in cohort.ids])
    contrast = np.array([float(level == last) - float(level == first) for level in present])
    return _fit(cohort, cohort.years[:, None], groups, contrast, method)


def after_start(data: pd.DataFrame, treated_from: str, *, scale: str, method: str) -> Trend:
    """Return the mean change of the yearly rate at each patient's own start."""
    series.require(data, ("patient_id", treated_from))
    starts = series.per_patient(data.assign(**{treated_from: series.number(data, treated_from)}), treated_from)
    cohort = series.read(data, scale=scale).with_slope()
    start = np.array([starts[name] for name in cohort.ids], float)
    terms = line.bent(cohort.years, start[cohort.patient])
    sides = int(line.seen_on_both_sides(cohort.years - start[cohort.patient], cohort.patient).sum())
    cohort = cohort.noting(f"{sides} of {len(cohort.ids)} patients seen on both sides of their start")
    return _fit(cohort, terms, np.zeros(len(cohort.ids), int), np.ones(1), method)


def _contrasted(entries: list[object], reference: object, arm: str) -> tuple[object, object, list[object]]:
    """Return the arm compared, the arm that it is compared with, and all arms in order."""
    levels = series.ordered(entries, arm)
    if len(levels) < 2:
        raise ValueError(f"column {arm} must name two arms or more; got {', '.join(map(str, levels)) or 'none'}")
    if reference is None:
        return levels[-1], levels[0], levels
    matches = [level for level in levels if level == reference or str(level) == str(reference)]
    if not matches:
        raise ValueError(f"reference must be one of {', '.join(map(str, levels))}; got {reference!r}")
    return [level for level in levels if level != matches[0]][-1], matches[0], levels


def _fit(cohort: Series, terms: np.ndarray, groups: np.ndarray, contrast: np.ndarray, method: str) -> Trend:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if not len(cohort.ids):
        return limits.nothing(cohort, "no patient holds a rate", method=two_stage.METHOD)
    chosen = _chosen(cohort, terms) if method == "auto" else method
    if chosen == "two-stage":
        return two_stage.fit(cohort, terms, groups, contrast)
    if chosen == "gee":
        return gee.fit(cohort, terms, groups, contrast)
    try:
        if chosen in _INFORMATION:
            return reml.slopes(cohort, terms, groups, contrast, information=_INFORMATION[chosen])
        return mixed.fit(cohort, terms, groups, contrast)
    except mixed.NotFittedError as error:
        return two_stage.fit(
            cohort.noting(f"mixed model refused ({error}), two-stage instead"), terms, groups, contrast
        )


_INFORMATION = {"kenward-roger": "expected", "satterthwaite": "observed"}
"""Which information of the variances makes which df; see ``reml.contrast``."""


def _chosen(cohort: Series, terms: np.ndarray) -> str:
    large = len(cohort.ids) >= MIXED_FROM_PATIENTS
    return "kenward-roger" if cohort.se is None and large and terms.shape[1] == 1 else "two-stage"
