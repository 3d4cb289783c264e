"""Counts and amounts of one period of each patient: rates of new lesions, responders, new volume, between arms.

Every table has one row for each arm (``all`` where no arm is named) and term; contrasts have the arm ``B / A`` or
``B - A``, each arm against the reference, which is the first in order unless named. Nothing here knows why two
arms differ. Columns: arm, term, estimate, lo, hi, p_value, unit, method, interval_kind, n_patients, note; where a
number is NaN the note says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import exp, inf, isnan, log, nan, sqrt

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.stats import proportion, rates

from monitor._stats import limits
from monitor._stats.one_each import Group, Row, read, table

INTERVAL_KINDS = {
    "garwood": "exact Poisson limits: what one patient has more than another is not in them (Garwood 1936)",
    "exact_conditional": "exact limits of a ratio of Poisson rates, given the sum (Clopper and Pearson 1934)",
    "profile_t": "profile likelihood, negative binomial, t quantile; no shorter than the exact Poisson limits",
    "q_profile": "dispersions at which the Pearson statistic is a chi-square quantile (after Viechtbauer 2007)",
    "wilson": "score limits of a proportion (Wilson 1927)",
    "clopper_pearson": "exact limits of a proportion (Clopper and Pearson 1934)",
    "newcombe": "hybrid score limits of a difference of proportions (Newcombe 1998, method 10)",
    "t": "t limits from the scatter of patients",
    "log_t": "t limits of the mean logarithm, or of a log ratio, from the scatter of patients",
    "none": "no interval exists; the note says why",
}
"""Which interval ``lo`` and ``hi`` are."""

TAIL = (1 - limits.CONFIDENCE) / 2
"""Probability outside each limit."""

PER_YEAR = "1/a"
"""Unit of a rate of lesions."""

TWEEDIE_POWER = 1.5
"""Power of the mean that the variance goes with, without unit: the middle of the compound Poisson range, 1 to 2.

It says how patients weigh, and is not told by few of them (Smyth and Jorgensen 2002 give 1.5 to 1.8 for claims).
"""


def new_lesions(counts: pd.DataFrame, *, reference: object = None) -> pd.DataFrame:
    """Return rates of new lesions, and their ratio between arms.

    Counts of patients vary more than Poisson as a rule: exact Poisson limits, with 3 to 20 patients of a negative
    binomial (dispersion .5 and 1.5, 2 and 8 lesions a year), cover 35 to 89 % for 95. So the variance is taken as
    ``mean + dispersion * mean^2``. The dispersion makes the Pearson statistic meet its df (the moment equation of
    Breslow 1984, which allows for the means that were estimated, as REML does); the limits are those of the
    profile likelihood at that dispersion with a t quantile of the same df, and no shorter than the exact Poisson
    limits. Where the Pearson statistic does not exceed its df, the exact Poisson limits stand; the note says
    which. In the same simulation these limits cover 87 to 97 % with 3 patients and 92 to 95 % with 5 to 20.

    Parameters
    ----------
    counts : DataFrame
        One row a patient: ``patient_id``, ``count`` (new lesions, whole, 0 or more), ``years`` (followed, above
        0) [, ``arm``]. Rows without a count or years, and patients without an arm, are left out with a note.
    reference : object
        The arm that the others are compared with; the first in order unless given.

    Returns
    -------
    DataFrame
        Terms of each arm: share_without_new (patients without a new lesion, Wilson limits); rate_poisson (per
        patient-year, Garwood limits); dispersion (with the Pearson test of none); rate (limits that hold the
        scatter of patients). Of each pair: ratio_poisson (exact, conditional on the sum) and ratio.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, a patient is unnamed or comes twice, a count is negative or not
        whole, years are not positive, the reference is unknown, or no patient is left.

    Examples
    --------
    >>> counts = pd.DataFrame({"patient_id": range(4), "count": [0, 1, 0, 3], "years": [1.0, 2.0, 1.0, 2.0]})
    >>> new_lesions(counts).set_index("term")[["estimate", "lo", "hi"]].round(2).loc["rate_poisson"].tolist()
    [0.67, 0.18, 1.71]
    """
    patients, arms = read(counts, ("count", "years"), reference=reference)
    _positive(patients.number["years"])
    count = patients.number["count"]
    wrong = count[(count < 0) | (count != np.floor(count)) | ~np.isfinite(count)]
    if len(wrong):
        raise ValueError(f"column count must hold whole numbers, 0 or more; got {wrong[0]:g}")
    if count.max() > _MOST:
        raise ValueError(f"column count must hold {_MOST:g} at most; got {count.max():g}")
    rows = [row for arm in arms for row in _rates(arm, patients.of(arm))]
    rows += [row for arm in arms[1:] for row in _ratios(arm, arms[0], patients)]
    return table(rows, patients.notes)


_MOST = 1e12
"""Largest count of a patient: sums of larger ones are no whole numbers of a double any more."""


def responders(data: pd.DataFrame, *, reference: object = None) -> pd.DataFrame:
    """Return the share of responders, and its difference between arms.

    Parameters
    ----------
    data : DataFrame
        One row a patient: ``patient_id``, ``responder`` (True or False, or 1 and 0) [, ``arm``].
    reference : object
        The arm that the others are compared with; the first in order unless given.

    Returns
    -------
    DataFrame
        Terms of each arm: proportion (Wilson limits) and proportion_exact (Clopper-Pearson limits, never short of
        95 % and often above). Of each pair: difference (Newcombe limits, p of Fisher's exact test).

    Raises
    ------
    ValueError
        If columns are missing, a patient is unnamed or comes twice, an entry is neither True nor False, the
        reference is unknown, or no patient is left.

    Examples
    --------
    >>> data = pd.DataFrame({"patient_id": range(8), "responder": [True] * 7 + [False]})
    >>> responders(data).set_index("term")[["estimate", "lo", "hi"]].round(4).loc["proportion_exact"].tolist()
    [0.875, 0.4735, 0.9968]
    """
    patients, arms = read(data, ("responder",), reference=reference)
    wrong = patients.number["responder"][~np.isin(patients.number["responder"], (0.0, 1.0))]
    if len(wrong):
        raise ValueError(f"column responder must hold True or False, or 1 and 0; got {wrong[0]:g}")
    rows = [row for arm in arms for row in _shares(arm, patients.of(arm))]
    rows += [_difference_of_shares(arm, arms[0], patients) for arm in arms[1:]]
    return table(rows, patients.notes)


def new_volume(data: pd.DataFrame, *, reference: object = None) -> pd.DataFrame:
    """Return the yearly new volume in two parts: who has any, and how much.

    Parameters
    ----------
    data : DataFrame
        One row a patient: ``patient_id``, ``value`` (change over the whole period, signed: a loss stays negative),
        ``years`` (of the period, above 0) [, ``arm``, ``unit``].
    reference : object
        The arm that the others are compared with; the first in order unless given.

    Returns
    -------
    DataFrame
        Terms of each arm: share_with_any (value above 0, Wilson limits); mean_change (mean over all patients of
        value per year, t limits); geometric_mean_of_any (of those above 0, t limits of the log). Of each pair:
        difference_of_mean_change (Welch) and, where no value is negative, mean_ratio (Tweedie with log link and
        years as exposure; Jorgensen 1987; t limits with patients less two df).

    Raises
    ------
    ValueError
        If columns are missing or no numbers, a patient is unnamed or comes twice, years are not positive, units
        are mixed, the reference is unknown, or no patient is left.
    """
    patients, arms = read(data, ("value", "years"), reference=reference)
    _positive(patients.number["years"])
    if np.isinf(patients.number["value"]).any():
        raise ValueError("column value must hold finite numbers; got inf")
    unit = _unit(data)
    rows = [row for arm in arms for row in _two_parts(arm, patients.of(arm), unit)]
    for arm in arms[1:]:
        rows += [_difference_of_means(arm, arms[0], patients, unit), _tweedie_ratio(arm, arms[0], patients)]
    return table(rows, patients.notes)


def _positive(years: np.ndarray) -> None:
    wrong = years[~((years > 0) & np.isfinite(years))]
    if len(wrong):
        raise ValueError(
            f"column years must be above 0 and finite: a patient not followed has no rate; got {wrong[0]:g}"
        )


def _unit(data: pd.DataFrame) -> str:
    units = [str(unit) for unit in data["unit"].dropna().unique()] if "unit" in data else []
    if len(units) > 1:
        raise ValueError(f"all values must have one unit; got {', '.join(units)}")
    return f"{units[0]}/a" if units and units[0] not in {"", "1"} else PER_YEAR


@dataclass(frozen=True)
class _Counts:
    """Counts (n,) and years (n,) of patients, and their sums."""

    count: np.ndarray
    years: np.ndarray

    @classmethod
    def of(cls, group: Group) -> _Counts:
        return cls(group.number["count"], group.number["years"])

    @property
    def total(self) -> float:
        return float(self.count.sum())

    @property
    def exposure(self) -> float:
        return float(self.years.sum())

    def rate(self, dispersion: float) -> float:
        """Return the rate per year that maximises the likelihood at a given dispersion."""
        if not self.total or not dispersion:
            return self.total / self.exposure

        def score(rate: float) -> float:
            mean = rate * self.years
            return float(((self.count - mean) / (1 + dispersion * mean)).sum())

        highest = float((self.count / self.years).max())
        # One rate common to all patients leaves the score at the highest a rounding of 0.
        return float(optimize.brentq(score, 0.0, highest, xtol=1e-14 * highest)) if score(highest) < 0 else highest

    def likelihood(self, rate: float, dispersion: float) -> float:
        """Return the log likelihood of a rate, without what does not depend on it; Poisson at dispersion 0."""
        mean = rate * self.years
        if not rate:
            return -inf if self.total else 0.0
        spread = np.log1p(dispersion * mean) / dispersion if dispersion else mean
        return float((self.count * np.log(mean) - (1 + dispersion * self.count) * spread).sum())

    def pearson(self, dispersion: float) -> float:
        """Return the Pearson statistic about the own rate; 0 where there is no count."""
        mean = self.rate(dispersion) * self.years
        return float(((self.count - mean) ** 2 / (mean * (1 + dispersion * mean))).sum()) if self.total else 0.0


@dataclass(frozen=True)
class _Dispersion:
    """Variance beyond Poisson in ``mean + value * mean^2``, its df, limits and the p value of none."""

    value: float
    df: int
    pearson: float
    lo: float
    hi: float
    p_value: float

    @classmethod
    def of(cls, *arms: _Counts) -> _Dispersion:
        """Return the dispersion common to arms. An arm without any count says nothing of it."""
        df = sum(len(arm.count) - 1 for arm in arms if arm.total)
        pearson = sum(arm.pearson(0.0) for arm in arms)
        if df < 1:
            return cls(0.0, df, pearson, nan, nan, nan)
        lo, hi = (_dispersion_at(arms, float(stats.chi2.ppf(share, df))) for share in (1 - TAIL, TAIL))
        return cls(_dispersion_at(arms, df), df, pearson, lo, hi, float(stats.chi2.sf(pearson, df)))

    @property
    def note(self) -> str:
        """Say whether counts vary more than Poisson, and which limits follow."""
        if self.df < 1:
            return "too few patients with counts to tell whether they vary more than Poisson: exact Poisson limits"
        statistic = f"Pearson chi2 {self.pearson:.3g} at {self.df} df"
        if not self.value:
            return f"counts vary no more than Poisson ({statistic}): exact Poisson limits"
        return f"counts vary more than Poisson ({statistic}): negative binomial, dispersion {self.value:.3g}"


def _dispersion_at(arms: tuple[_Counts, ...], target: float) -> float:
    """Return the dispersion at which the Pearson statistic falls to a target, 0 or more; inf above ``_LARGEST``."""

    def beyond(dispersion: float) -> float:
        return sum(arm.pearson(dispersion) for arm in arms) - target

    if beyond(0.0) <= 0:
        return 0.0
    high = 1.0
    while beyond(high) > 0:
        high *= 2
        if high > _LARGEST:
            return inf
    return float(optimize.brentq(beyond, 0.0, high, rtol=1e-12))


_LARGEST = 1e6
"""Dispersion that is no number any more: the SD between patients is then 1000 times the mean."""


def _rates(arm: str, group: Group) -> Iterator[Row]:
    counts, n = _Counts.of(group), len(group)
    without = int((counts.count == 0).sum())
    yield _share(arm, "share_without_new", without, n)
    lo, hi = _garwood(counts)
    exact = Row(arm, "rate_poisson", counts.total / counts.exposure, lo, hi, nan, PER_YEAR, "Poisson", "garwood", n)
    said = f"{counts.total:g} new lesion(s) in {counts.exposure:.4g} patient-years"
    yield exact.noting(said, "what one patient has more than another is not in the limits")
    dispersion = _Dispersion.of(counts)
    yield _dispersion_row(arm, dispersion, n)
    yield _rate(exact, counts, dispersion).noting(said, dispersion.note)


def _garwood(counts: _Counts) -> tuple[float, float]:
    """Return the exact limits of a Poisson rate (Garwood 1936), per year."""
    lo, hi = rates.confint_poisson(counts.total, counts.exposure, method="exact-c", alpha=1 - limits.CONFIDENCE)
    # The chi-square of 0 df, NaN in scipy: without a count the lower limit is 0.
    return (float(lo) if counts.total else 0.0), float(hi)


def _dispersion_row(arm: str, dispersion: _Dispersion, n: int) -> Row:
    method = "moments: Pearson statistic at its df"
    if dispersion.df < 1:
        why = "no dispersion: it needs two patients and one new lesion"
        return Row(arm, "dispersion", nan, nan, nan, nan, "1", method, "none", n, why)
    notes = "variance is mean + dispersion * mean^2; p is of none"
    if dispersion.hi == inf:
        notes += "; no upper limit: too few patients"
    numbers = (dispersion.value, dispersion.lo, dispersion.hi, dispersion.p_value)
    return Row(arm, "dispersion", *numbers, "1", method, "q_profile", n, notes)


def _rate(exact: Row, counts: _Counts, dispersion: _Dispersion) -> Row:
    """Return the rate whose limits hold the scatter of patients, no shorter than the exact ones."""
    if not dispersion.value:
        return replace(exact, term="rate")
    rate = counts.rate(dispersion.value)
    best = counts.likelihood(rate, dispersion.value)

    def lack(log_rate: float) -> float:
        return 2 * (best - counts.likelihood(exp(log_rate), dispersion.value)) - _critical(dispersion.df)

    lo, hi = (exp(_root(lack, log(rate), sign)) for sign in (-1, 1))
    method, kind = "negative binomial, dispersion by moments", "profile_t"
    return replace(
        exact, term="rate", estimate=rate, lo=min(lo, exact.lo), hi=max(hi, exact.hi), method=method, interval_kind=kind
    )


def _critical(df: float) -> float:
    """Return the fall of twice the log likelihood at the limits: the square of a t quantile.

    >>> round(_critical(1e9), 4)
    3.8415
    """
    return float(stats.t.ppf(1 - TAIL, df)) ** 2


def _root(lack: Callable[[float], float], inside: float, sign: int) -> float:
    """Return where ``lack``, negative at ``inside``, becomes 0 on one side; beyond ``_FARTHEST`` inf with the sign."""
    near, step = inside, sign * 0.5
    while lack(near + step) < 0:
        near, step = near + step, 2 * step
        if abs(near + step) > _FARTHEST:
            return sign * inf
    return float(optimize.brentq(lack, near, near + step, xtol=1e-12))


_FARTHEST = 200.0
"""Log of a rate or ratio beyond which a limit is 0 or infinite; exp(200) per year counts more than atoms."""


def _ratios(arm: str, reference: str, patients: Group) -> Iterator[Row]:
    mine, other = _Counts.of(patients.of(arm)), _Counts.of(patients.of(reference))
    n = len(mine.count) + len(other.count)
    exact = _exact_ratio(f"{arm} / {reference}", mine, other, n)
    yield exact.noting("what one patient has more than another is not in the limits")
    if isnan(exact.estimate):
        yield replace(exact, term="ratio")
        return
    dispersion = _Dispersion.of(mine, other)
    yield _ratio(exact, mine, other, dispersion).noting(dispersion.note)


def _exact_ratio(pair: str, mine: _Counts, other: _Counts, n: int) -> Row:
    """Return the ratio of two Poisson rates: given the sum, the first count is binomial (Przyborowski 1940)."""
    total = mine.total + other.total
    method = "Poisson, conditional on the sum"
    if not total:
        why = "no new lesion in either arm: no ratio"
        return Row(pair, "ratio_poisson", nan, nan, nan, nan, "1", method, "none", n, why)
    share = mine.exposure / (mine.exposure + other.exposure)
    test = stats.binomtest(int(mine.total), int(total), share)
    ends = proportion.proportion_confint(mine.total, total, alpha=1 - limits.CONFIDENCE, method="beta")
    lo, hi = (_odds(float(end)) * other.exposure / mine.exposure for end in ends)
    estimate = _odds(mine.total / total) * other.exposure / mine.exposure
    note = "" if other.total else "no new lesion in the reference: no upper limit"
    return Row(pair, "ratio_poisson", estimate, lo, hi, float(test.pvalue), "1", method, "exact_conditional", n, note)


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else inf


def _ratio(exact: Row, mine: _Counts, other: _Counts, dispersion: _Dispersion) -> Row:
    """Return the ratio whose limits and p hold the scatter of patients, no shorter and smaller than the exact ones."""
    if not dispersion.value:
        return replace(exact, term="ratio")
    alpha = dispersion.value
    best = sum(arm.likelihood(arm.rate(alpha), alpha) for arm in (mine, other))

    def fall(log_ratio: float) -> float:
        # Counts at a rate that is the ratio times larger are counts of an exposure that is.
        both = _Counts(
            np.concatenate([mine.count, other.count]), np.concatenate([exp(log_ratio) * mine.years, other.years])
        )
        return 2 * (best - both.likelihood(both.rate(alpha), alpha))

    critical = _critical(dispersion.df)
    lo, hi = _ratio_limits(lambda at: fall(at) - critical, mine.rate(alpha), other.rate(alpha), exact)
    p_value = 2 * float(stats.t.sf(sqrt(max(fall(0.0), 0.0)), dispersion.df))
    return replace(
        exact,
        term="ratio",
        estimate=mine.rate(alpha) / other.rate(alpha) if other.total else inf,
        lo=min(lo, exact.lo),
        hi=max(hi, exact.hi),
        p_value=max(p_value, exact.p_value),
        method="negative binomial, common dispersion by moments",
        interval_kind="profile_t",
    )


def _ratio_limits(lack: Callable[[float], float], mine: float, other: float, exact: Row) -> tuple[float, float]:
    """Return the limits of a ratio; an arm without any count has one, sought from the exact one inwards."""
    if mine and other:
        lo, hi = (exp(_root(lack, log(mine / other), sign)) for sign in (-1, 1))
        return lo, hi
    inside, sign = (log(exact.hi), 1) if other else (log(exact.lo), -1)
    while lack(inside) >= 0:
        inside -= sign
    limit = exp(_root(lack, inside, sign))
    return (0.0, limit) if other else (limit, inf)


def _share(arm: str, term: str, some: int, n: int) -> Row:
    lo, hi = proportion.proportion_confint(some, n, alpha=1 - limits.CONFIDENCE, method="wilson")
    note = f"{some} of {n} patient(s)"
    # Rounding leaves the limit of none, and of all, a hair off.
    ends = (max(float(lo), 0.0) if some else 0.0, min(float(hi), 1.0) if some < n else 1.0)
    return Row(arm, term, some / n, *ends, nan, "1", "binomial", "wilson", n, note)


def _shares(arm: str, group: Group) -> Iterator[Row]:
    some, n = int(group.number["responder"].sum()), len(group)
    score = _share(arm, "proportion", some, n)
    yield score
    lo, hi = proportion.proportion_confint(some, n, alpha=1 - limits.CONFIDENCE, method="beta")
    yield replace(score, term="proportion_exact", lo=float(lo), hi=float(hi), interval_kind="clopper_pearson")


def _difference_of_shares(arm: str, reference: str, patients: Group) -> Row:
    mine, other = patients.of(arm), patients.of(reference)
    some, n = [int(group.number["responder"].sum()) for group in (mine, other)], [len(mine), len(other)]
    lo, hi = proportion.confint_proportions_2indep(
        some[0], n[0], some[1], n[1], method="newcomb", compare="diff", alpha=1 - limits.CONFIDENCE
    )
    p_value = float(stats.fisher_exact([[some[0], n[0] - some[0]], [some[1], n[1] - some[1]]]).pvalue)
    difference, note = some[0] / n[0] - some[1] / n[1], "p of Fisher's exact test, which may disagree with the limits"
    numbers = (difference, float(lo), float(hi), p_value)
    return Row(f"{arm} - {reference}", "difference", *numbers, "1", "binomial", "newcombe", sum(n), note)


def _two_parts(arm: str, group: Group, unit: str) -> Iterator[Row]:
    yearly = group.number["value"] / group.number["years"]
    any_new, losses = yearly[yearly > 0], int((yearly < 0).sum())
    lost = f"{losses} patient(s) with a loss, which stays negative" if losses else ""
    yield _share(arm, "share_with_any", len(any_new), len(yearly)).noting(lost)
    yield _mean(arm, yearly, unit).noting(lost)
    logs = _mean(arm, np.log(any_new), unit) if len(any_new) else None
    if logs is None:
        why = "no patient with any new volume"
        yield Row(arm, "geometric_mean_of_any", nan, nan, nan, nan, unit, "mean of logs", "none", 0, why)
        return
    estimate, lo, hi = (_exp(number) for number in (logs.estimate, logs.lo, logs.hi))
    kind = "log_t" if logs.interval_kind == "t" else "none"
    yield replace(
        logs.noting("no upper limit" if hi == inf else ""),
        term="geometric_mean_of_any",
        estimate=estimate,
        lo=lo,
        hi=hi,
        p_value=nan,
        method="mean of logs",
        interval_kind=kind,
    )


def _mean(arm: str, values: np.ndarray, unit: str) -> Row:
    """Return a mean with t limits; p is of a mean of 0."""
    n, estimate = len(values), float(values.mean())
    se = float(values.std(ddof=1)) / sqrt(n) if n > 1 else nan
    if not se > _ROUNDING * abs(estimate):
        why = "no interval: one patient" if n == 1 else "no interval: no scatter between patients"
        return Row(arm, "mean_change", estimate, nan, nan, nan, unit, "mean of patients", "none", n, why)
    half = float(stats.t.ppf(1 - TAIL, n - 1)) * se
    p_value = 2 * float(stats.t.sf(abs(estimate) / se, n - 1))
    numbers = (estimate, estimate - half, estimate + half, p_value)
    return Row(arm, "mean_change", *numbers, unit, "mean of patients", "t", n)


_ROUNDING = 1e-12
"""Standard error over mean below which the scatter is rounding of doubles."""


def _difference_of_means(arm: str, reference: str, patients: Group, unit: str) -> Row:
    yearly = [one.number["value"] / one.number["years"] for one in (patients.of(arm), patients.of(reference))]
    n = [len(values) for values in yearly]
    estimate = float(yearly[0].mean() - yearly[1].mean())
    blank = Row(
        f"{arm} - {reference}", "difference_of_mean_change", estimate, nan, nan, nan, unit, "Welch", "none", sum(n)
    )
    if min(n) < 2:
        return blank.noting("no interval: an arm has one patient")
    if not _scatter(*yearly):
        return blank.noting("no interval: no scatter between patients")
    parts = [float(values.var(ddof=1)) / len(values) for values in yearly]
    # Welch 1947; scipy's test warns where one arm does not scatter, which is no fault here.
    df = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, yearly, strict=True))
    half = float(stats.t.ppf(1 - TAIL, df)) * sqrt(sum(parts))
    p_value = 2 * float(stats.t.sf(abs(estimate) / sqrt(sum(parts)), df))
    return replace(blank, lo=estimate - half, hi=estimate + half, p_value=p_value, interval_kind="t")


def _scatter(*arms: np.ndarray) -> bool:
    """Tell whether the patients of any arm differ by more than rounding."""
    largest = max(float(np.abs(values).max()) for values in arms)
    return max(float(np.ptp(values)) for values in arms) > _ROUNDING * largest


def _tweedie_ratio(arm: str, reference: str, patients: Group) -> Row:
    """Return the ratio of mean yearly amounts by statsmodels, patients weighed by a Tweedie variance."""
    pair = [patients.of(arm), patients.of(reference)]
    value, years = (np.concatenate([one.number[name] for one in pair]) for name in ("value", "years"))
    n, first = len(value), len(pair[0])
    name, method = f"{arm} / {reference}", f"Tweedie, power {TWEEDIE_POWER:g}, log link"
    blank = Row(name, "mean_ratio", nan, nan, nan, nan, "1", method, "none", n)
    if (value < 0).any():
        return blank.noting("no ratio: values below 0, see difference_of_mean_change")
    sums = [float(one.number["value"].sum()) for one in pair]
    if not all(sums):
        empty = [label for label, total in zip((arm, reference), sums, strict=True) if not total]
        return blank.noting(f"no ratio: no new volume in {', '.join(empty)}")
    if not _scatter(*[one.number["value"] / one.number["years"] for one in pair]):
        ratio = sums[0] / sums[1] * float(pair[1].number["years"].sum() / pair[0].number["years"].sum())
        return replace(blank, estimate=ratio).noting("no interval: no scatter between patients of an arm")
    design = np.column_stack([np.ones(n), np.arange(n) < first])
    family = sm.families.Tweedie(link=sm.families.links.Log(), var_power=TWEEDIE_POWER)
    # Amounts near 1: the start values and the tolerance of the fit have no unit.
    # The start of statsmodels, halfway to the mean, fits equal amounts exactly, and divides by their scatter.
    yearly = [
        total / float(one.number["years"].sum()) / float(value.mean()) for total, one in zip(sums, pair, strict=True)
    ]
    start = [log(yearly[1]), log(yearly[0] / yearly[1])]
    model = sm.GLM(value / value.mean(), design, family=family, offset=np.log(years))
    try:
        with warnings.catch_warnings():
            # What runs away is refused below, and is no warning to who asked.
            warnings.simplefilter("ignore")
            fit = model.fit(start_params=start, scale="X2")
    except (ValueError, np.linalg.LinAlgError):
        return blank.noting("no ratio: amounts or years are too far apart for the fit")
    if not np.isfinite([fit.params[1], fit.bse[1]]).all():
        return blank.noting("no ratio: the fit has no finite answer")
    estimate, se, df = float(fit.params[1]), float(fit.bse[1]), n - 2
    half = float(stats.t.ppf(1 - TAIL, df)) * se
    p_value = 2 * float(stats.t.sf(abs(estimate) / se, df))
    ratio, lo, hi = (_exp(number) for number in (estimate, estimate - half, estimate + half))
    found = replace(blank, estimate=ratio, lo=lo, hi=hi, p_value=p_value, interval_kind="log_t")
    return found.noting("no upper limit" if hi == inf else "")


def _exp(number: float) -> float:
    """Return the exponential, inf where it is beyond the largest double."""
    return inf if number > _LARGEST_LOG else exp(number)


_LARGEST_LOG = 700.0
"""Log that a double can still hold the exponential of."""
