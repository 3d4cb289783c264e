"""Time to the first new lesion: the scan that shows it and the one before bound the time, and do not tell it.

A time is known to lie in ``(lower, upper]``. Survival is the share of patients without a new lesion so far.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb, exp, inf, isnan, log, nan, sqrt

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.duration.survfunc import survdiff
from statsmodels.tools.sm_exceptions import ModelWarning

from monitor._stats import limits, one_each
from monitor._stats.one_each import Group, Row

INTERVAL_KINDS = {
    "greenwood_log_log": "limits of the log of minus the log of survival, variance of Greenwood (Kalbfleisch and "
    "Prentice 1980): times exact or right censored",
    "profile": "profile likelihood with a chi-square quantile of 1 df (Thomas and Grunkemeier 1975)",
    "inverted_test": "median: times at which a survival of one half is not rejected (Brookmeyer and Crowley 1982)",
    "wald_log": "normal limits of the log hazard ratio",
    "none": "no interval exists; the note says why",
}
"""Which interval ``lo`` and ``hi`` are."""

COLUMNS = (*one_each.COLUMNS[:2], "years", *one_each.COLUMNS[2:])
"""Columns of the table: those of ``one_each`` and the time of a survival."""

CRITICAL = float(stats.chi2.ppf(limits.CONFIDENCE, 1))
"""Fall of twice the log likelihood at the limits, 3.84.

With visits at many different times the law of the ratio is narrower than chi-square (2.26 for one visit each,
Banerjee and Wellner 2001), and the limits are wider than they need be.
"""

EXACT_UP_TO = 20_000
"""Number of ways to deal the patients into the arms up to which the permutation test counts them all."""


def time_to_new_lesion(intervals: pd.DataFrame, *, reference: object = None) -> pd.DataFrame:
    """Return survival free of a new lesion, its median, and hazard ratios between arms.

    The same function serves recurrence after a resection: times are then the gaps from the resection to the last
    scan without and the first scan with mineral in its bed, one row for each patient's first resection.

    The arm must be known at time 0. A patient who starts a treatment later had no event until then, or would not
    have started: who counts that time for the treated credits them with time in which they could not have an
    event (immortal time). Split such a series at the start, time 0 of the second part, and compare that with
    patients of the same time; never those ever treated with those never treated.

    Parameters
    ----------
    intervals : DataFrame
        One row a patient: ``patient_id``, ``lower_years`` (last scan without a new lesion, 0 or more),
        ``upper_years`` (first scan with one; inf if none; equal to lower where the time is exact) [, ``arm``].
        A patient without a scan after time 0 (0 to inf) is left out with a note.
    reference : object
        The arm that the others are compared with; the first in order unless given.

    Returns
    -------
    DataFrame
        Columns of ``new_lesions`` and ``years``, NaN but for survival. Terms of each arm: survival at the end of
        each innermost interval that holds probability (Turnbull 1976; the maximum by constrained Newton steps, Wang
        2007, checked by the conditions of Gentleman and Geyer 1994); median. Where all times are exact or right
        censored that is Kaplan-Meier with Greenwood limits on the log-log scale; else limits of the profile
        likelihood. Of each pair: hazard_ratio (Cox, Efron's ties; only where all times are exact or right censored),
        hazard_ratio_exponential and hazard_ratio_weibull (profile limits), log_rank (a chi-square where all are
        exact or right censored; else the permutation test of Finkelstein's scores, which needs the same visit
        schedule in both arms).

    Raises
    ------
    ValueError
        If columns are missing or no numbers, a patient is unnamed or comes twice, times are negative, infinite or
        in the wrong order, a lesion is new at time 0, the reference is unknown, or no patient is left.

    Examples
    --------
    >>> scans = pd.DataFrame({"patient_id": range(4), "lower_years": [0.0, 1.0, 1.0, 2.0], "upper_years": 2.0})
    >>> scans.loc[3, "upper_years"] = float("inf")
    >>> found = time_to_new_lesion(scans)
    >>> found[["years", "estimate"]].iloc[0].round(6).tolist()
    [2.0, 0.25]
    """
    patients, arms = one_each.read(intervals, ("lower_years", "upper_years"), reference=reference)
    _check(patients)
    seen = np.isfinite(patients.number["upper_years"]) | (patients.number["lower_years"] > 0)
    if not seen.any():
        raise ValueError("data must hold one patient with a scan after time 0; got none (0 to inf)")
    notes = patients.notes
    if not seen.all():
        notes = (*notes, f"{int((~seen).sum())} patient(s) without a scan after time 0 left out")
    kept = {arm: _Times.of(patients.of(arm), seen[patients.arm == arm]) for arm in arms}
    rows = [row for arm in arms for row in _survival(arm, kept[arm])]
    for arm in arms[1:]:
        rows += [(nan, row) for row in _contrast(arm, arms[0], kept)]
    found = one_each.table([row for _, row in rows], notes)
    found.insert(COLUMNS.index("years"), "years", [years for years, _ in rows])
    return found


def _check(patients: Group) -> None:
    lower, upper = patients.number["lower_years"], patients.number["upper_years"]
    rules = {
        "lower_years must be finite, 0 or more": ~np.isfinite(lower) | (lower < 0),
        "upper_years must not be before lower_years": upper < lower,
        "upper_years must be above 0: a lesion there at time 0 is not new": upper == 0,
    }
    for rule, broken in rules.items():
        if broken.any():
            at = int(np.argmax(broken))
            raise ValueError(f"{rule}; got {lower[at]:g} to {upper[at]:g}")


@dataclass(frozen=True)
class _Times:
    """Bounds of the time of each patient, (n,) years."""

    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def of(cls, group: Group, kept: np.ndarray) -> _Times:
        return cls(group.number["lower_years"][kept], group.number["upper_years"][kept])

    def __len__(self) -> int:
        return len(self.lower)

    @property
    def exact(self) -> np.ndarray:
        """Tell whose time is known, (n,)."""
        return self.lower == self.upper

    @property
    def event(self) -> np.ndarray:
        """Tell who had a new lesion, (n,)."""
        return np.isfinite(self.upper)

    @property
    def exact_or_right_censored(self) -> bool:
        return bool((self.exact | ~self.event).all())

    def with_(self, other: _Times) -> _Times:
        """Return the patients of both."""
        return _Times(np.concatenate([self.lower, other.lower]), np.concatenate([self.upper, other.upper]))


@dataclass(frozen=True)
class _Innermost:
    """Intervals that alone can hold probability, and who may have had the event in which.

    Attributes
    ----------
    left, right : (m,) arrays
        Ends, years; equal where a time is exact. ``right`` may be inf in the last.
    within : (u, m) array
        1 where one of the u different bounds of patients holds the interval.
    weight : (u,) array
        Patients with these bounds.
    """

    left: np.ndarray
    right: np.ndarray
    within: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, times: _Times) -> _Innermost:
        """Find where a lower bound is followed by an upper one (Turnbull 1976)."""
        bounds, weight = np.unique(np.column_stack([times.lower, times.upper]), axis=0, return_counts=True)
        lower, upper = bounds.T
        # At one time an exact event comes first, then upper bounds, which hold it, then open lower bounds.
        start = np.column_stack([lower, np.where(lower == upper, 0, 2)])
        end = np.column_stack([upper, np.ones(len(upper))])
        place = np.unique(np.vstack([start, end]), axis=0, return_inverse=True)[1].ravel()
        starts, ends = place[: len(lower)], place[len(lower) :]
        inner = [(at, at + 1) for at in np.unique(starts) if at + 1 in set(ends)]
        first, last = np.array(inner).T
        within = (starts[:, None] <= first) & (last <= ends[:, None])
        left = np.array([lower[starts == at][0] for at in first])
        right = np.array([upper[ends == at][0] for at in last])
        if right[-1] < inf:
            # Nobody is seen beyond, yet a survival that is asked about must have its place.
            left, right = np.append(left, right[-1]), np.append(right, inf)
            within = np.column_stack([within, np.zeros(len(within), bool)])
        return cls(left, right, within.astype(float), weight.astype(float))

    def likelihood(self, mass: np.ndarray) -> float:
        with np.errstate(divide="ignore"):
            return float(self.weight @ np.log(self.within @ mass))

    def fit(self, blocks: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Return the masses, (m,), of the largest likelihood with a given share in each block of intervals.

        Steps of Wang (2007): the likelihood is a parabola near the present masses, whose largest value with no mass
        below 0 is a least squares problem; the step is halved until the likelihood rises.

        Parameters
        ----------
        blocks : (b, m) bool array
            Which intervals are in each block; every interval is in one.
        shares : (b,) array
            Probability of each block.
        """
        blocks, shares = blocks[shares > 0], shares[shares > 0]
        usable = blocks.any(axis=0)
        mass = np.sum(blocks * (shares / blocks.sum(axis=1))[:, None], axis=0)
        if np.any(self.within @ mass <= 0):
            return mass
        root, heavy = np.sqrt(self.weight), _HEAVY * sqrt(float(self.weight.sum()))
        for _ in range(_STEPS):
            slopes = root[:, None] * self.within / (self.within @ mass)[:, None]
            rows = np.vstack([slopes, heavy * blocks / shares[:, None]])[:, usable]
            aim = np.zeros_like(mass)
            aim[usable] = optimize.nnls(rows, np.concatenate([2 * root, np.full(len(shares), heavy)]))[0]
            sums = blocks @ aim
            aim = (
                np.sum(blocks * np.divide(shares, sums, out=np.zeros_like(sums), where=sums > 0)[:, None], axis=0) * aim
            )
            gain = float(root @ slopes @ (aim - mass))
            if np.any(sums <= 0):
                break
            mass = self._risen(mass, aim, gain)
            if gain <= _GAIN:
                break
        return np.where(mass > _NO_MASS, mass, 0.0)

    def _risen(self, mass: np.ndarray, aim: np.ndarray, gain: float) -> np.ndarray:
        before, step = self.likelihood(mass), 1.0
        while self.likelihood(mass + step * (aim - mass)) < before + step * gain / 3:
            step /= 2
            if step < _GAIN:
                return mass
        risen: np.ndarray = mass + step * (aim - mass)
        return risen

    def best(self) -> np.ndarray:
        """Return the masses of the largest likelihood, (m,)."""
        return self.fit(np.ones((1, len(self.left)), bool), np.ones(1))

    def excess_gradient(self, mass: np.ndarray) -> float:
        """Return how far the masses are from the maximum: largest gradient over the number of patients, less 1."""
        return float((self.within.T @ (self.weight / (self.within @ mass))).max() / self.weight.sum()) - 1

    def fall(self, at: int, survival: float, best: float) -> float:
        """Return the fall of twice the log likelihood where survival at the end of interval ``at`` is given."""
        early = np.arange(len(self.left)) <= at
        mass = self.fit(np.vstack([early, ~early]), np.array([1 - survival, survival]))
        return 2 * (best - self.likelihood(mass))


_STEPS = 200
"""Largest number of Newton steps; ten are usual."""

_GAIN = 1e-9
"""Rise of the log likelihood along a step after which the maximum is reached: each step squares what is left."""

_HEAVY = 30.0
"""Weight of the sum of the masses in the least squares; the maximum does not depend on it."""

_NO_MASS = 1e-9
"""Probability that is rounding."""

_OFF_MAXIMUM = 1e-5
"""Relative excess of the gradient at which the maximum is not taken as reached (Gentleman and Geyer 1994)."""


@dataclass(frozen=True)
class _Curve:
    """Survival at the ends of innermost intervals, and whether another survival there is rejected."""

    inner: _Innermost
    survival: np.ndarray
    fall: Callable[[int, float], float]
    limits: Callable[[int], tuple[float, float]]
    kind: str
    method: str
    unique: bool
    reached: bool

    @classmethod
    def of(cls, times: _Times) -> _Curve:
        inner = _Innermost.of(times)
        mass = inner.best()
        survival = np.clip(1 - np.cumsum(mass), 0.0, 1.0)
        survival[survival < _NO_MASS] = 0.0
        support = inner.within[:, mass > 0]
        unique = int(np.linalg.matrix_rank(support)) == support.shape[1]
        reached = inner.excess_gradient(mass) < _OFF_MAXIMUM
        if times.exact_or_right_censored:
            se = _greenwood(times, inner.right)
            method, kind = "Kaplan-Meier", "greenwood_log_log"
            return cls(
                inner,
                survival,
                lambda at, share: _log_log_fall(float(survival[at]), float(se[at]), share),
                lambda at: _log_log_limits(float(survival[at]), float(se[at])),
                kind,
                method,
                unique,
                reached,
            )
        best = inner.likelihood(mass)
        return cls(
            inner,
            survival,
            lambda at, share: inner.fall(at, share, best),
            lambda at: _profile_limits(inner, at, float(survival[at]), best),
            "profile",
            "Turnbull, nonparametric maximum likelihood",
            unique,
            reached,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Say where the likelihood does not settle the curve."""
        return tuple(
            note
            for note, holds in (
                ("the likelihood has several maxima: survival is one of them", not self.unique),
                ("the maximum of the likelihood was not reached", not self.reached),
            )
            if holds
        )


def _greenwood(times: _Times, ends: np.ndarray) -> np.ndarray:
    """Return the se of the log of the Kaplan-Meier survival at times, (m,): Greenwood's formula."""
    at = np.unique(times.lower[times.event])
    risk = (times.lower[:, None] >= at).sum(axis=0)
    events = ((times.lower[:, None] == at) & times.event[:, None]).sum(axis=0)
    with np.errstate(divide="ignore"):
        sums = np.cumsum(events / (risk * (risk - events)))
    return np.sqrt(np.concatenate([[0.0], sums])[np.searchsorted(at, ends, side="right")])


def _log_log_limits(survival: float, se: float) -> tuple[float, float]:
    if not 0 < survival < 1:
        return nan, nan
    half = limits.Z * se / abs(log(survival))
    return survival ** exp(half), survival ** exp(-half)


def _log_log_fall(survival: float, se: float, share: float) -> float:
    """Return the squared distance of a share from survival, in se of log(-log): comparable with ``CRITICAL``."""
    if survival <= 0:
        return 0.0
    return ((log(-log(survival)) - log(-log(share))) / (se / log(survival))) ** 2


def _profile_limits(inner: _Innermost, at: int, survival: float, best: float) -> tuple[float, float]:
    def lack(share: float) -> float:
        return min(inner.fall(at, share, best) - CRITICAL, _CERTAIN)

    ends = []
    for limit in (0.0, 1.0):
        inside = abs(limit - survival) <= _NO_MASS or lack(limit) <= 0
        ends.append(limit if inside else float(optimize.brentq(lack, *sorted((limit, survival)), xtol=1e-7)))
    return ends[0], ends[1]


_CERTAIN = 1e3
"""Stands for an infinite fall of the likelihood, which a search of a root cannot take."""


def _survival(arm: str, times: _Times) -> Iterator[tuple[float, Row]]:
    """Yield survival where it falls, and the median, with the time of each."""
    if not len(times):
        why = "no patient with a scan after time 0"
        yield nan, Row(arm, "survival", nan, nan, nan, nan, "1", "none", "none", 0, why)
        return
    said = f"{int(times.event.sum())} of {len(times)} patient(s) with a new lesion"
    if not times.event.any():
        yield from _none_seen(arm, times, said)
        return
    curve = _Curve.of(times)
    falls = np.diff(np.concatenate([[1.0], curve.survival])) < -_NO_MASS
    for at in np.flatnonzero(falls & np.isfinite(curve.inner.right)):
        lo, hi = curve.limits(int(at))
        kind, notes = (curve.kind, curve.notes) if not isnan(lo) else ("none", ("no interval: no patient is left",))
        numbers = (float(curve.survival[at]), lo, hi, nan)
        row = Row(arm, "survival", *numbers, "1", curve.method, kind, len(times), said)
        yield float(curve.inner.right[at]), row.noting(*notes, _within(curve.inner, int(at)))
    yield nan, _median(arm, curve, len(times)).noting(said, *curve.notes)


def _none_seen(arm: str, times: _Times, said: str) -> Iterator[tuple[float, Row]]:
    """Yield the survival of an arm without an event: 1, with the limit of as many patients as were seen."""
    last = float(times.lower.min())
    note = "no new lesion: survival at the shortest follow-up, limit of the profile likelihood"
    numbers = (1.0, exp(-CRITICAL / 2 / len(times)), 1.0, nan)
    yield last, Row(arm, "survival", *numbers, "1", "binomial", "profile", len(times), said).noting(note)
    note = "not reached: no new lesion"
    yield nan, Row(arm, "median", inf, nan, inf, nan, "a", "binomial", "none", len(times), said).noting(note)


def _within(inner: _Innermost, at: int) -> str:
    left, right = inner.left[at], inner.right[at]
    return f"fell somewhere within {left:g} to {right:g} a" if left < right else ""


def _median(arm: str, curve: _Curve, n: int) -> Row:
    """Return the median, an end of an innermost interval; halfway to the next where survival is one half."""
    ends, survival = curve.inner.right, curve.survival
    reached = np.flatnonzero((survival <= 0.5 + _NO_MASS) & np.isfinite(ends))
    estimate = float(ends[reached[0]]) if len(reached) else inf
    notes = ["" if len(reached) else "not reached: more than half are without a new lesion to the end"]
    if len(reached):
        notes.append(_within(curve.inner, int(reached[0])))
        if abs(survival[reached[0]] - 0.5) <= _NO_MASS and np.isfinite(ends[reached]).sum() > 1:
            estimate = (estimate + float(ends[reached[1]])) / 2
    lo, hi = _median_limits(curve)
    if hi == inf:
        notes.append("no upper limit")
    row = Row(arm, "median", estimate, lo, hi, nan, "a", curve.method, "inverted_test", n)
    return row.noting(*notes)


def _median_limits(curve: _Curve) -> tuple[float, float]:
    """Return the first time at which a survival of one half is not rejected, and the first at which it is shown less.

    Of interval-censored times the lower limit is the last end at which survival is shown above one half: between
    two ends the likelihood may say less than at either.
    """
    # Survival before the first event is 1 without an error; one or two patients do not show it above one half.
    few = 2 * float(curve.inner.weight.sum()) * log(2) <= CRITICAL
    lo, above = 0.0 if few else nan, 0.0
    for at in np.flatnonzero(np.isfinite(curve.inner.right)):
        rejected, end = curve.fall(int(at), 0.5) > CRITICAL, float(curve.inner.right[at])
        more = curve.survival[at] > 0.5
        if isnan(lo) and not (more and rejected):
            lo = end if curve.kind == "greenwood_log_log" else above
        above = end
        if rejected and not more:
            return lo, end
    return (above if isnan(lo) else lo), inf


def _contrast(arm: str, reference: str, kept: dict[str, _Times]) -> Iterator[Row]:
    mine, other = kept[arm], kept[reference]
    times, group = mine.with_(other), np.arange(len(mine) + len(other)) < len(mine)
    pair, n = f"{arm} / {reference}", len(times)
    if not len(mine) or not len(other) or not times.event.any():
        why = "no new lesion in either arm" if len(mine) and len(other) else "one of the arms holds no patient"
        yield Row(pair, "hazard_ratio", nan, nan, nan, nan, "1", "none", "none", n, f"no ratio: {why}")
        return
    if times.exact_or_right_censored:
        yield _cox(pair, times, group)
    for shaped in (False, True):
        yield _parametric(pair, times, group, shaped=shaped)
    yield _log_rank(pair, times, group)


def _cox(pair: str, times: _Times, group: np.ndarray) -> Row:
    """Return the hazard ratio of statsmodels' proportional hazards regression, ties after Efron."""
    method = "Cox proportional hazards, Efron's ties"
    blank = Row(pair, "hazard_ratio", nan, nan, nan, nan, "1", method, "none", len(times))
    if not (times.event[group].any() and times.event[~group].any()):
        return blank.noting("no ratio: one of the arms has no new lesion; the parametric ratios have one limit")
    with warnings.catch_warnings(record=True) as said:
        # A ratio that runs away is refused below, and is no warning to who asked.
        warnings.simplefilter("always")
        fit = sm.PHReg(times.lower, group[:, None].astype(float), status=times.event.astype(float), ties="efron").fit()
    failed = any(issubclass(warning.category, ModelWarning) for warning in said)
    estimate, se = float(fit.params[0]), nan if failed else float(fit.bse[0])
    if not (np.isfinite(se) and abs(estimate) < _SEPARATED):
        return blank.noting("no ratio: the arms do not overlap in time")
    ends = (exp(estimate - limits.Z * se), exp(estimate + limits.Z * se))
    p_value = 2 * float(stats.norm.sf(abs(estimate) / se))
    note = f"log hazard ratio {estimate:.9g} (se {se:.9g})"
    return Row(pair, "hazard_ratio", exp(estimate), *ends, p_value, "1", method, "wald_log", len(times), note)


_SEPARATED = 10.0
"""Log hazard ratio at which the partial likelihood has no maximum but grows for ever."""


@dataclass(frozen=True)
class _Hazard:
    """Likelihood of hazard ``scale * ratio^group * t^shape``, integrated; times in units of their mean."""

    lower: np.ndarray
    upper: np.ndarray
    group: np.ndarray
    shaped: bool

    @classmethod
    def of(cls, times: _Times, group: np.ndarray, *, shaped: bool) -> _Hazard:
        unit = float(np.where(times.event, times.upper, times.lower).mean())
        return cls(times.lower / unit, times.upper / unit, group.astype(float), shaped)

    def minus(self, free: np.ndarray, log_ratio: float) -> tuple[float, np.ndarray]:
        """Return minus the log likelihood and its gradient by log scale, log shape and log ratio, (3,)."""
        log_shape = free[1] if self.shaped else 0.0
        shift = free[0] + log_ratio * self.group
        value, gradient = 0.0, np.zeros(3)
        for kind in (self._exact, self._censored, self._between):
            part, by_shift, by_shape = kind(shift, exp(log_shape))
            value += part
            gradient += [by_shift.sum(), by_shape, by_shift @ self.group]
        return -value, -gradient

    def _hazard(self, rows: np.ndarray, time: np.ndarray, shift: np.ndarray, shape: float) -> tuple[np.ndarray, ...]:
        """Return cumulative hazards and their derivatives by log shape; at time 0 both are 0."""
        logs = np.log(np.where(time[rows] > 0, time[rows], 1.0))
        total = np.where(time[rows] > 0, np.exp(np.clip(shift[rows] + shape * logs, -_FARTHEST, _FARTHEST)), 0.0)
        return total, total * shape * logs, logs

    def _exact(self, shift: np.ndarray, shape: float) -> tuple[float, np.ndarray, float]:
        rows = self.lower == self.upper
        total, by_shape, logs = self._hazard(rows, self.lower, shift, shape)
        by_shift = np.zeros(len(rows))
        by_shift[rows] = 1 - total
        part = float(np.sum(shift[rows] + log(shape) + (shape - 1) * logs - total))
        return part, by_shift, float(np.sum(1 + shape * logs - by_shape))

    def _censored(self, shift: np.ndarray, shape: float) -> tuple[float, np.ndarray, float]:
        rows = np.isinf(self.upper)
        total, by_shape, _ = self._hazard(rows, self.lower, shift, shape)
        by_shift = np.zeros(len(rows))
        by_shift[rows] = -total
        return -float(total.sum()), by_shift, -float(by_shape.sum())

    def _between(self, shift: np.ndarray, shape: float) -> tuple[float, np.ndarray, float]:
        rows = np.isfinite(self.upper) & (self.lower < self.upper)
        low, low_by_shape, _ = self._hazard(rows, self.lower, shift, shape)
        high, high_by_shape, _ = self._hazard(rows, self.upper, shift, shape)
        gap = np.maximum(high - low, _TINY)
        # Where the hazard does not rise between the scans, or is past all bounds, no slope is to be followed.
        share = np.where(gap > _TINY, 1 / np.expm1(np.minimum(gap, _FARTHEST)), 0.0)
        by_shift = np.zeros(len(rows))
        by_shift[rows] = -low + gap * share
        by_shape = float(np.sum(-low_by_shape + (high_by_shape - low_by_shape) * share))
        return float(np.sum(np.log(-np.expm1(-gap)) - low)), by_shift, by_shape

    def best(self, log_ratio: float | None = None) -> tuple[float, np.ndarray]:
        """Return minus the log likelihood at the maximum, and log scale, log shape and log ratio; ratio may be given.

        Newton steps with differences of the gradient for the curvature, shortened until the likelihood rises.
        """
        held = log_ratio is not None
        free = np.array([True, self.shaped, not held])
        ratio = log_ratio if log_ratio is not None else 0.0
        at = np.array([log(max(np.isfinite(self.upper).mean(), 0.1)) - max(ratio, 0.0), 0.0, ratio])
        value, gradient = self.minus(at[:2], at[2])
        damping = _DAMPING
        for _ in range(_NEWTON_STEPS):
            step = np.zeros(3)
            step[free] = self._toward(at, gradient, free) / (1 + damping)
            aim = np.clip(at + np.clip(step, -_LONGEST, _LONGEST), *_BOX)
            after, its_gradient = self.minus(aim[:2], aim[2])
            if not after < value:
                damping *= 10
                if damping > 1 / _DAMPING:
                    break
                continue
            small = value - after < _SMALLEST_GAIN
            at, value, gradient, damping = aim, after, its_gradient, max(damping / 10, _DAMPING)
            if small:
                break
        return value, at

    def _toward(self, at: np.ndarray, gradient: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return the Newton step of the free parameters, every curvature taken as positive: it always leads down."""
        rows = []
        for moved in np.eye(3)[free] * _DIFFERENCE:
            there = at + moved
            rows.append((self.minus(there[:2], there[2])[1] - gradient)[free] / _DIFFERENCE)
        values, vectors = np.linalg.eigh((np.array(rows) + np.array(rows).T) / 2)
        step: np.ndarray = -vectors @ (vectors.T @ gradient[free] / np.maximum(np.abs(values), _FLATTEST))
        return step


_NEWTON_STEPS = 100
"""Largest number of steps to the maximum of a parametric likelihood; six to ten are usual."""

_DAMPING = 1e-9
"""Smallest share of the curvature by which a step is shortened, and inverse of the largest."""

_LONGEST = 2.0
"""Longest step of a log scale, shape or ratio."""

_SMALLEST_GAIN = 1e-11
"""Rise of the log likelihood that is the last one."""

_DIFFERENCE = 1e-6
"""Step of a log scale, shape or ratio over which the gradient's difference is taken."""

_FLATTEST = 1e-8
"""Smallest curvature of the log likelihood that a step is divided by."""

_FARTHEST = 30.0
"""Log of a hazard or of a ratio beyond which it is 0 or infinite: 1e13."""

_TINY = 1e-100
"""Keeps the log of a rise of the cumulative hazard finite."""

_LOG_SHAPES = (-3.0, 3.0)
"""Range of the log shape of a Weibull hazard: steeper than the 20th power is one time, not a law."""

_BOX = np.array([[-30.0, _LOG_SHAPES[0], -30.0], [30.0, _LOG_SHAPES[1], 30.0]])
"""Least and largest log scale, log shape and log ratio."""

_AT_END = 0.01
"""Distance of the log shape from an end of its range at which it is taken to have run there."""

_NO_LIMIT = 12.0
"""Log hazard ratio up to which a limit is sought; beyond, the limit is 0 or infinite: 160 000."""


def _parametric(pair: str, times: _Times, group: np.ndarray, *, shaped: bool) -> Row:
    """Return the hazard ratio of an exponential or Weibull law with its profile limits."""
    hazard = _Hazard.of(times, group, shaped=shaped)
    law = "weibull" if shaped else "exponential"
    term, method, n = f"hazard_ratio_{law}", f"{law} proportional hazards", len(times)
    value, (_, log_shape, log_ratio) = hazard.best()
    if abs(log_shape) > _LOG_SHAPES[1] - _AT_END:
        why = "no ratio: the events are at one time, and no shape of the hazard is the steepest"
        return Row(pair, term, nan, nan, nan, nan, "1", method, "none", n, why)
    note = f"shape {exp(log_shape):.4g}" if shaped else ""
    mine, other = (bool(times.event[rows].any()) for rows in (group, ~group))

    def lack(at: float) -> float:
        return 2 * (hazard.best(at)[0] - value) - CRITICAL

    if mine and other:
        estimate, lo, hi = exp(log_ratio), _limit(lack, log_ratio, -1), _limit(lack, log_ratio, 1)
    else:
        # The likelihood grows with the ratio, or falls, for ever: the one limit is sought from there.
        note = "; ".join(filter(None, (note, "no new lesion in one arm: one limit")))
        limit = _limit(lack, _NO_LIMIT if mine else -_NO_LIMIT, -1 if mine else 1)
        estimate, lo, hi = (inf, limit, inf) if mine else (0.0, 0.0, limit)
    p_value = float(stats.chi2.sf(max(2 * (hazard.best(0.0)[0] - value), 0.0), 1))
    return Row(pair, term, estimate, lo, hi, p_value, "1", method, "profile", n, note)


def _limit(lack: Callable[[float], float], inside: float, sign: int) -> float:
    """Return the ratio at which ``lack``, negative at the log ratio ``inside``, is 0; 0 or inf beyond ``_NO_LIMIT``."""
    near, step = inside, sign * 0.5
    while lack(near + step) < 0:
        near, step = near + step, 2 * step
        if sign * near > _NO_LIMIT:
            return inf if sign > 0 else 0.0
    return exp(float(optimize.brentq(lack, near, near + step, xtol=1e-6)))


def _log_rank(pair: str, times: _Times, group: np.ndarray) -> Row:
    """Return the log-rank test, a chi-square of 1 df; of interval-censored times, by permutation of scores."""
    n = len(times)
    if times.exact_or_right_censored:
        if not _compared(times, group):
            why = "no test: at no event were patients of both arms left, and one more than had it"
            return Row(pair, "log_rank", nan, nan, nan, nan, "1", "log-rank", "none", n, why)
        chi2, p_value = survdiff(times.lower, times.event.astype(float), group.astype(int))
        method, note = "log-rank", "estimate is the chi-square at 1 df, a test without limits"
        return Row(pair, "log_rank", float(chi2), nan, nan, float(p_value), "1", method, "none", n, note)
    scores = _scores(times)
    variance = group.sum() * (~group).sum() / (n * (n - 1)) * float(np.sum((scores - scores.mean()) ** 2))
    method = "log-rank type, permutation of Finkelstein's scores"
    if variance <= _NO_MASS:
        why = "no test: all patients have the same score"
        return Row(pair, "log_rank", nan, nan, nan, nan, "1", method, "none", n, why)
    excess = float(scores[group].sum()) - float(group.sum()) * float(scores.mean())
    exact = comb(n, int(group.sum())) <= EXACT_UP_TO
    p_value = _permuted(scores, int(group.sum()), excess) if exact else float(stats.chi2.sf(excess**2 / variance, 1))
    note = f"estimate is the chi-square at 1 df, a test without limits; p {'exact' if exact else 'of the chi-square'}"
    row = Row(pair, "log_rank", excess**2 / variance, nan, nan, p_value, "1", method, "none", n, note)
    return row.noting("needs the same visit schedule in both arms")


def _compared(times: _Times, group: np.ndarray) -> bool:
    """Tell whether any event has a variance in the log-rank test: else it is 0 over 0."""
    at = np.unique(times.lower[times.event])
    left = times.lower[:, None] >= at
    events = ((times.lower[:, None] == at) & times.event[:, None]).sum(axis=0)
    return bool((left[group].any(axis=0) & left[~group].any(axis=0) & (left.sum(axis=0) > events)).any())


def _scores(times: _Times) -> np.ndarray:
    """Return each patient's score for proportional hazards, (n,), from the survival of all (Finkelstein 1986).

    The derivative of ``log(S(lower)^h - S(upper)^h)`` by ``log h`` at h = 1.
    """
    inner = _Innermost.of(times)
    mass = inner.best()
    # Survival before and after: innermost intervals that end before a patient's bounds, and those within them.
    starts = np.where(times.exact, times.lower, np.nextafter(times.lower, inf))
    before = (inner.right[None, :] < starts[:, None]) @ mass
    before = np.clip(1 - before, 0.0, 1.0)
    after = np.clip(1 - (inner.right[None, :] <= times.upper[:, None]) @ mass, 0.0, 1.0)
    after[~times.event] = 0.0
    bent: np.ndarray = (_xlogx(before) - _xlogx(after)) / np.maximum(before - after, _NO_MASS)
    return bent


def _xlogx(share: np.ndarray) -> np.ndarray:
    return share * np.log(np.where(share > 0, share, 1.0))


def _permuted(scores: np.ndarray, size: int, excess: float) -> float:
    """Return the share of all ways to choose ``size`` patients that are as far from the mean as these."""
    centred = scores - scores.mean()
    sums = np.array([centred[list(chosen)].sum() for chosen in combinations(range(len(scores)), size)])
    return float(np.mean(np.abs(sums) >= abs(excess) - _NO_MASS))
