"""Repeatability: how far two measurements of the same thing lie apart when nothing has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from math import atanh, expm1, isnan, nan, sqrt, tanh

import numpy as np
import pandas as pd
from scipy import stats

from monitor._stats import limits, series
from monitor._stats.one_each import told

INTERVAL_KINDS = {
    "chi2": "chi-square limits of a standard deviation, df from the pairs or, where they are clustered, the patients",
    "t": "t limits of a mean difference",
    "carkeet": "exact limits of one limit of agreement, noncentral t (Carkeet 2015)",
    "f": "limits of an intraclass correlation from the F distribution (Shrout and Fleiss 1979)",
    "fisher_z": "limits of a concordance correlation by Fisher's z (Lin 1989, with his correction of 2000)",
    "none": "no interval; the note says why",
}
"""Which interval ``lo`` and ``hi`` are."""

TAIL = (1 - limits.CONFIDENCE) / 2
"""Probability outside each limit."""

REPEATABILITY = sqrt(2) * limits.Z
"""Repeatability coefficient over within-subject SD, 2.77: the difference of two holds two errors (Bland 1999)."""

SIZE_LEVEL = 0.05
"""Level of Kendall's test at which the difference is said to grow with the size (Bland and Altman 1986)."""


@dataclass(frozen=True)
class Row:
    """One number with its limits, as a row of the table."""

    term: str
    estimate: float
    lo: float
    hi: float
    unit: str
    scale: str
    method: str
    interval_kind: str
    n_pairs: int
    n_patients: int
    note: str = ""

    def noting(self, *notes: str) -> Row:
        """Return the same row with further notes, each once."""
        return replace(self, note=told(self.note, *notes))


COLUMNS = tuple(field.name for field in fields(Row))
"""Columns of the table."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of measurements on the scale of the analysis.

    Attributes
    ----------
    first, second : (n,) arrays
        The two measurements.
    patient : (n,) int array
        Code of the patient of each pair.
    unit, scale : str
        Unit of the measurements, and absolute or log.
    """

    first: np.ndarray
    second: np.ndarray
    patient: np.ndarray
    unit: str
    scale: str

    @property
    def difference(self) -> np.ndarray:
        """Second minus first, (n,)."""
        return self.second - self.first

    @property
    def n_patients(self) -> int:
        """Number of patients, which the limits are made of."""
        return len(np.unique(self.patient))

    def row(self, term: str, numbers: tuple[float, float, float], method: str, kind: str, *, unit: str) -> Row:
        """Return a row of these pairs; numbers are estimate, lo and hi."""
        kind = "none" if isnan(numbers[1]) else kind
        return Row(term, *numbers, unit, self.scale, method, kind, len(self.first), self.n_patients)

    def back(self, term: str, numbers: tuple[float, float, float], method: str, kind: str) -> Row:
        """Return a row of differences: of logs as per cent of the first."""
        if self.scale == "absolute":
            return self.row(term, numbers, method, kind, unit=self.unit)
        estimate, lo, hi = (_per_cent(number) for number in numbers)
        return self.row(term, (estimate, lo, hi), method, kind, unit="%")


def repeatability(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return how well a measurement repeats, from pairs taken when nothing has changed.

    Parameters
    ----------
    pairs : DataFrame
        One row a pair: ``first``, ``second`` [, ``patient_id``, ``unit``]. Pairs with a missing number are left out
        with a note. Several pairs of one patient (several lesions, or more than two scans) are clustered: the
        estimates are of all pairs, and the limits have the df of the patients, which is careful where the pairs of
        one patient tell more than one.

    Returns
    -------
    DataFrame
        On the absolute scale and, where all are positive, on the log scale (differences in per cent):

        - within_subject_sd: root of half the mean squared difference, chi-square limits (Bland and Altman 1996);
          per cent on the log scale is the coefficient of variation ``sqrt(exp(sd^2) - 1)``;
        - repeatability_coefficient: ``1.96 sqrt(2)`` times that; the log scale gives the increase, the note
          the decrease;
        - repeatability_coefficient_t: with the t quantile of the df instead of 1.96. With an SD from few pairs,
          5 % of unchanged pairs exceed it, and more than that exceed the one with 1.96 (11 % of 5 pairs);
        - bias: mean of second minus first, t limits;
        - lower_limit_of_agreement, upper_limit_of_agreement: bias -+ 1.96 SD of a difference (Bland and Altman
          1986, and 2007 for clustered pairs), limits of Carkeet (2015);
        - icc_1_1, icc_2_1: intraclass correlations (Shrout and Fleiss 1979), F limits;
        - ccc: concordance correlation (Lin 1989), limits by Fisher's z.

        Columns: term, estimate, lo, hi, unit, scale, method, interval_kind, n_pairs, n_patients, note.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, a pair does not name its patient, units are mixed, or no pair is left.

    Examples
    --------
    >>> pairs = pd.DataFrame({"first": [100.0, 80.0, 50.0], "second": [104.0, 77.0, 55.0]})
    >>> repeatability(pairs).set_index("term")["estimate"].round(2).loc["within_subject_sd"].tolist()
    [2.89, 4.49]
    """
    series.require(pairs, ("first", "second"))
    first, second = series.number(pairs, "first"), series.number(pairs, "second")
    known = np.isfinite(first) & np.isfinite(second)
    if not known.any():
        raise ValueError(f"data must hold one pair or more with first and second; got none of {len(pairs)} rows")
    patient, notes = _patients(pairs, known)
    if not known.all():
        notes = (*notes, f"{int((~known).sum())} pair(s) without first or second left out")
    notes = (*notes, *series.vanished(pairs, "first", "second"))
    read = Pairs(first[known], second[known], patient, _unit(pairs), "absolute")
    scales = [read]
    low = int(((read.first <= 0) | (read.second <= 0)).sum())
    if low:
        notes = (*notes, f"no log scale: {low} pair(s) with a value of 0 or below")
    else:
        scales.append(replace(read, first=np.log(read.first), second=np.log(read.second), scale="log"))
    rows = [row for scaled in scales for row in _rows(scaled)]
    return pd.DataFrame([asdict(row.noting(*notes)) for row in rows], columns=list(COLUMNS))


def _patients(pairs: pd.DataFrame, known: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the code of each pair's patient, and what to say of it."""
    if "patient_id" not in pairs:
        return np.arange(int(known.sum())), ("no patient_id: every pair is taken as a patient of its own",)
    unnamed = int(pairs["patient_id"].isna().sum())
    if unnamed:
        raise ValueError(f"every pair must name its patient; {unnamed} have no patient_id")
    names, codes = np.unique(pairs["patient_id"].map(str).to_numpy(dtype=str)[known], return_inverse=True)
    if len(names) == len(codes):
        return codes, ()
    said = f"{len(codes)} pairs of {len(names)} patient(s) are clustered: the limits have the df of the patients"
    return codes, (said,)


def _unit(pairs: pd.DataFrame) -> str:
    units = [str(unit) for unit in pairs["unit"].dropna().unique()] if "unit" in pairs else []
    if len(units) > 1:
        raise ValueError(f"all values must have one unit; got {', '.join(units)}")
    return units[0] if units else "1"


def _per_cent(log_change: float) -> float:
    return 100 * expm1(min(log_change, _LARGEST_LOG))


def _variation(log_sd: float) -> float:
    """Return the coefficient of variation, per cent, of a lognormal law with an SD of the log."""
    return 100 * sqrt(expm1(min(log_sd**2, _LARGEST_LOG)))


_LARGEST_LOG = 700.0
"""Log that a double can still hold the exponential of."""


def _rows(pairs: Pairs) -> Iterator[Row]:
    grows = _grows(pairs)
    for row in (*_within(pairs), *_agreement(pairs)):
        yield row.noting(grows)
    yield from _correlations(pairs)


def _grows(pairs: Pairs) -> str:
    """Say whether the difference grows with the size, in which case one SD is too large for some (Kendall's tau)."""
    apart, size = np.abs(pairs.difference), pairs.first + pairs.second
    if len(np.unique(apart)) < 2 or len(np.unique(size)) < 2:
        return ""
    test = stats.kendalltau(apart, size)
    if not (test.statistic > 0 and test.pvalue < SIZE_LEVEL):
        return ""
    other = ": see the log scale" if pairs.scale == "absolute" else ""
    return f"differences grow with the size (Kendall's tau {test.statistic:.2g}, p {test.pvalue:.2g}){other}"


def _within(pairs: Pairs) -> Iterator[Row]:
    """Yield the within-subject SD and the repeatability coefficients."""
    df = pairs.n_patients
    sd = sqrt(float(np.mean(pairs.difference**2)) / 2)
    lo, hi = _sd_limits(sd, df)
    same = "" if sd else "no interval: the pairs do not differ at all"
    method = "half the mean squared difference"
    absolute = pairs.scale == "absolute"
    numbers = (sd, lo, hi) if absolute else (_variation(sd), _variation(lo), _variation(hi))
    yield pairs.row("within_subject_sd", numbers, method, "chi2", unit=pairs.unit if absolute else "%").noting(same)
    numbers = (REPEATABILITY * sd, REPEATABILITY * lo, REPEATABILITY * hi)
    fall = "" if absolute else f"a decrease of {-_per_cent(-numbers[0]):.4g} %"
    yield pairs.back("repeatability_coefficient", numbers, "1.96 sqrt(2) within_subject_sd", "chi2").noting(same, fall)
    change = float(stats.t.ppf(1 - TAIL, df)) * sqrt(2) * sd
    fall = "" if absolute else f"a decrease of {-_per_cent(-change):.4g} %"
    row = pairs.back("repeatability_coefficient_t", (change, nan, nan), f"t({df}) sqrt(2) within_subject_sd", "none")
    yield row.noting("no interval: it allows for the error of the SD", fall)


def _sd_limits(sd: float, df: float) -> tuple[float, float]:
    if not sd:
        return nan, nan
    lo, hi = (sd * sqrt(df / float(stats.chi2.ppf(share, df))) for share in (1 - TAIL, TAIL))
    return lo, hi


def _agreement(pairs: Pairs) -> Iterator[Row]:
    """Yield the bias and the limits of agreement."""
    n, df = pairs.n_patients, pairs.n_patients - 1
    means = np.bincount(pairs.patient, pairs.difference) / np.bincount(pairs.patient)
    bias, clustered = float(means.mean()), n < len(pairs.patient)
    se = float(means.std(ddof=1)) / sqrt(n) if df else nan
    why = "no interval: one patient" if not df else ""
    if not se > _ROUNDING * abs(bias):
        why = why or "no interval: no scatter between patients"
        se = nan
    half = float(stats.t.ppf(1 - TAIL, df)) * se if df else nan
    method = "mean of patients' mean differences" if clustered else "mean difference"
    yield pairs.back("bias", (bias, bias - half, bias + half), method, "t").noting(why)
    sd = _difference_sd(pairs)
    method = "bias -+ 1.96 SD of a difference" + (", between and within patients" if clustered else "")
    factors = _carkeet(n) if df and sd > _ROUNDING * abs(bias) else (nan, nan)
    if isnan(sd):
        why = "no limits of agreement: one pair"
    for term, sign in (("lower_limit_of_agreement", -1), ("upper_limit_of_agreement", 1)):
        ends = sorted(bias + sign * factor * sd for factor in factors)
        row = pairs.back(term, (bias + sign * limits.Z * sd, ends[0], ends[1]), method, "carkeet")
        yield row.noting(why or ("no interval: no scatter" if isnan(ends[0]) else ""))


_ROUNDING = 1e-12
"""Scatter over bias that is rounding of doubles."""


def _difference_sd(pairs: Pairs) -> float:
    """Return the SD of a single difference: within and between patients, by moments (Bland and Altman 2007)."""
    counts = np.bincount(pairs.patient)
    means = np.bincount(pairs.patient, pairs.difference) / counts
    n, total = len(counts), float(counts.sum())
    inside = float(np.sum((pairs.difference - means[pairs.patient]) ** 2))
    within = inside / (total - n) if total > n else 0.0
    if n < 2:
        return sqrt(within) if total > 1 else nan
    between = float(np.sum(counts * (means - float(pairs.difference.mean())) ** 2)) / (n - 1)
    size = (total - float(np.sum(counts**2)) / total) / (n - 1)
    return sqrt(within + max(between - within, 0.0) / size)


def _carkeet(n: int) -> tuple[float, float]:
    """Return how many SD of n differences the limits of the upper limit of agreement are above the bias.

    Carkeet 2015, eq. 6: quantiles of a noncentral t with n - 1 df and noncentrality ``1.96 sqrt(n)``.

    >>> [round(factor, 4) for factor in _carkeet(20)]
    [1.3565, 3.014]
    """
    law = stats.nct(n - 1, limits.Z * sqrt(n))
    lo, hi = (float(law.ppf(share)) / sqrt(n) for share in (TAIL, 1 - TAIL))
    return lo, hi


def _correlations(pairs: Pairs) -> Iterator[Row]:
    table = np.column_stack([pairs.first, pairs.second])
    n = pairs.n_patients
    for term, numbers in icc(table, subjects=n).items():
        why = "" if not isnan(numbers[0]) else "no correlation: too few pairs, or all alike, or mirrored"
        limited = "" if isnan(numbers[0]) or not isnan(numbers[1]) else "no interval: one patient, or no error at all"
        yield pairs.row(term, numbers, "analysis of variance", "f", unit="1").noting(why, limited)
    numbers = ccc(pairs.first, pairs.second, subjects=n)
    why = "" if not isnan(numbers[0]) else "no concordance: it needs two pairs that are not all alike"
    limited = (
        "" if isnan(numbers[0]) or not isnan(numbers[1]) else "no interval: fewer than 3 patients, or all on a line"
    )
    yield pairs.row("ccc", numbers, "moments with divisor n", "fisher_z", unit="1").noting(why, limited)


def icc(table: np.ndarray, *, subjects: int | None = None) -> dict[str, tuple[float, float, float]]:
    """Return intraclass correlations of one measurement, with limits (Shrout and Fleiss 1979).

    Parameters
    ----------
    table : (n, k) array
        Measurements, one row a subject, one column a repeat or rater.
    subjects : int, optional
        Number that the df of the limits are made of, n unless given; fewer where rows are clustered.

    Returns
    -------
    dict
        ``icc_1_1`` (repeats are exchangeable) and ``icc_2_1`` (raters are a sample of raters; absolute
        agreement): estimate, lo and hi. NaN where the table has no spread or one row.
    """
    n, k = table.shape
    m = n if subjects is None else subjects
    mean, none = float(table.mean()), (nan, nan, nan)
    total = float(np.sum((table - mean) ** 2))
    if n < 2 or total <= (_ROUNDING * abs(mean)) ** 2 * table.size:
        return {"icc_1_1": none, "icc_2_1": none}
    rows = k * float(np.sum((table.mean(axis=1) - mean) ** 2)) / (n - 1)
    columns = n * float(np.sum((table.mean(axis=0) - mean) ** 2)) / (k - 1)
    inside = float(np.sum((table - table.mean(axis=1, keepdims=True)) ** 2)) / (n * (k - 1))
    error = max(inside * n * (k - 1) - columns * (k - 1), 0.0) / ((n - 1) * (k - 1))
    bottom = rows + (k - 1) * error + k * (columns - error) / n
    return {
        "icc_1_1": ((rows - inside) / (rows + (k - 1) * inside), *_one_way_limits(rows, inside, m, k)),
        # Two subjects whose repeats mirror each other leave 0 over 0.
        "icc_2_1": ((rows - error) / bottom, *_two_way_limits((rows, columns, error), n, m, k))
        if bottom > _ROUNDING * (rows + inside)
        else none,
    }


def _one_way_limits(rows: float, inside: float, m: int, k: int) -> tuple[float, float]:
    if m < 2 or inside <= 0:
        return nan, nan
    ratio, df = rows / inside, (m - 1, m * (k - 1))
    ends = ratio / float(stats.f.ppf(1 - TAIL, *df)), ratio * float(stats.f.ppf(1 - TAIL, *df[::-1]))
    lo, hi = ((end - 1) / (end + k - 1) for end in ends)
    return lo, hi


def _two_way_limits(squares: tuple[float, float, float], n: int, m: int, k: int) -> tuple[float, float]:
    """Return limits with the df of Satterthwaite for the mean squares of columns and error, (8) of Shrout 1979."""
    rows, columns, error = squares
    if m < 2 or error <= 0:
        return nan, nan
    estimate = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    ratio, share = columns / error, m * (1 + (k - 1) * estimate) - k * estimate
    top = (k - 1) * (m - 1) * (k * estimate * ratio + share) ** 2
    df = top / ((m - 1) * (k * estimate * ratio) ** 2 + share**2)
    if not df > 0:
        return nan, nan
    above, below = float(stats.f.ppf(1 - TAIL, m - 1, df)), float(stats.f.ppf(1 - TAIL, df, m - 1))
    spread = k * columns + (k * n - k - n) * error
    return (
        n * (rows - above * error) / (above * spread + n * rows),
        n * (below * rows - error) / (spread + n * below * rows),
    )


def ccc(first: np.ndarray, second: np.ndarray, *, subjects: int | None = None) -> tuple[float, float, float]:
    """Return the concordance correlation with limits by Fisher's z (Lin 1989; variance as corrected in 2000).

    Parameters
    ----------
    first, second : (n,) arrays
        Pairs.
    subjects : int, optional
        Number that the variance is made of, n unless given.

    Returns
    -------
    estimate, lo, hi : float
        NaN where the pairs do not differ from each other; limits from 3 subjects on.
    """
    m = len(first) if subjects is None else subjects
    shift = float(first.mean() - second.mean())
    spread = sqrt(float(first.var()) * float(second.var()))
    bottom = float(first.var() + second.var()) + shift**2
    if len(first) < 2 or bottom <= (_ROUNDING * float(np.abs(first).max())) ** 2:
        return nan, nan, nan
    shared = float(np.mean((first - first.mean()) * (second - second.mean())))
    estimate = 2 * shared / bottom
    r = shared / spread if spread else 0.0
    if m < _CCC_SUBJECTS or not r or 1 - abs(r) <= _ROUNDING:
        return estimate, nan, nan
    away, c2 = shift**2 / spread, estimate**2
    variance = (
        (1 - r**2) * c2 / ((1 - c2) * r**2)
        + 2 * estimate**3 * (1 - estimate) * away / (r * (1 - c2) ** 2)
        - estimate**4 * away**2 / (2 * r**2 * (1 - c2) ** 2)
    ) / (m - 2)
    half = limits.Z * sqrt(max(variance, 0.0))
    return estimate, tanh(atanh(estimate) - half), tanh(atanh(estimate) + half)


_CCC_SUBJECTS = 3
"""Subjects from which Lin's variance, divided by subjects less 2, exists."""
