r"""Rates of a cohort in two stages: each patient's own line, then a random-effects mean of the lines.

Stage one frees each patient's rows of the patient's level and whitens them, so that a patient is ``k`` rows
:math:`y_i = R_i \beta_i + e_i`, :math:`e_i \sim N(0, I)`, ``k`` the number of slopes (the rate; and the change
of it). A patient without visits on both sides of the start has an :math:`R_i` of rank one, and contributes
that. Stage two is :math:`\beta_i = M_i \mu + u_i`, :math:`u_i \sim N(0, \mathrm{diag}(\tau^2))`, with
:math:`\tau^2` by REML.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from scipy import optimize, stats

from monitor._stats import limits
from monitor._stats.series import Series
from monitor.types import Trend

METHOD = "two-stage, REML between patients"
"""What ``Trend.method`` says of this file."""

_SMALLEST_ERROR = 1e-4
"""SD of a value, in SDs of all values, where nothing tells it: then the patients weigh alike."""

_RANK = 1e-9
"""Singular value, relative to the largest of all patients, below which a patient does not hold a slope."""


@dataclass(frozen=True)
class Reduced:
    """Patients as whitened rows, free of their levels.

    Attributes
    ----------
    slopes : (n, k, k) array
        ``R_i``; rows of zeros where a patient holds fewer than ``k`` slopes.
    value : (n, k) array
        ``y_i``; 0 in rows of zeros.
    excess : float
        SD of a value beyond the given errors, natural scale; 0 where nothing tells it.
    excess_df : float
        Degrees of freedom that it stands on.
    errors_known : bool
        False where neither an se nor any scatter tells the error of a value, and the patients weigh alike.
    unit : float
        What a slope of 1 is here, in value per year.
    """

    slopes: np.ndarray
    value: np.ndarray
    excess: float
    excess_df: float
    errors_known: bool
    unit: float


def fit(series: Series, terms: np.ndarray, groups: np.ndarray, contrast: np.ndarray) -> Trend:
    """Return a contrast of mean slopes with its interval.

    Parameters
    ----------
    series : Series
        Patients with a slope, n of them, N rows.
    terms : (N, k) array
        Time, and time after the start where a change of rate is asked for, years.
    groups : (n,) int array
        Group of each patient; the mean slope is the last column's, per group. With ``k`` = 2 one group only.
    contrast : (g,) array
        Weights of the groups.
    """
    if not len(series.ids):
        return limits.nothing(series, "no patient holds a rate", method=METHOD)
    reduced = reduce(series, terms)
    k = terms.shape[1]
    layout = np.eye(int(groups.max()) + 1)[groups][:, None, :] if k == 1 else np.tile(np.eye(k), (len(groups), 1, 1))
    design = reduced.slopes @ layout
    weights = contrast if k == 1 else np.eye(k)[-1]
    if np.linalg.matrix_rank(np.einsum("nij,nil->jl", design, design)) < design.shape[2]:
        return limits.nothing(series, "no patient was seen on both sides of a start, or on one each", method=METHOD)
    tau2 = _reml(reduced, design)
    estimate, se, df, kind, note = (_knapp_hartung if k == 1 else _cr2)(reduced, design, weights, tau2)
    notes = (*_excess_note(series, reduced), *note)
    return limits.trend(series, estimate * reduced.unit, se * reduced.unit, df, kind=kind, method=METHOD, note=notes)


def _excess_note(series: Series, reduced: Reduced) -> tuple[str, ...]:
    if not reduced.errors_known:
        return ("nothing tells the error of a value: the patients weigh alike",)
    if series.se is None:
        return (f"SD of a value about its patient's line {reduced.excess:.4g} ({reduced.excess_df:g} df, pooled)",)
    if reduced.excess_df < 1:
        return ("too few visits to tell scatter beyond the given se",)
    return (f"SD of a value beyond its se {reduced.excess:.4g} ({reduced.excess_df:g} df, pooled)",)


def reduce(series: Series, terms: np.ndarray) -> Reduced:
    """Free each patient's rows of the level and whiten them (stage one)."""
    time_unit = _spread(terms[:, :1], series.patient)
    value_unit = _spread(series.value[:, None], series.patient)
    pads = _Padded.of(series, terms / time_unit, value_unit)
    excess2, df = _excess_variance(pads)
    told = series.se is not None or excess2 > _SMALLEST_ERROR**2
    lines, value = pads.whiten(excess2)
    u, s, vt = np.linalg.svd(lines, full_matrices=False)
    held = s > _RANK * s.max()
    return Reduced(
        slopes=np.where(held[..., None], s[..., None] * vt, 0.0),
        value=np.where(held, np.einsum("nmk,nm->nk", u, value), 0.0),
        excess=sqrt(excess2) * value_unit if told else 0.0,
        excess_df=df,
        errors_known=told,
        unit=value_unit / time_unit,
    )


def _spread(columns: np.ndarray, patient: np.ndarray) -> float:
    """Return the SD within patients of a column, (N, 1); 1 where there is none."""
    counts = np.bincount(patient)
    centred = columns[:, 0] - (np.bincount(patient, columns[:, 0]) / counts)[patient]
    # The plain SD of a subnormal spread underflows: the largest deviation does not.
    largest = float(np.abs(centred).max())
    return largest * float(np.sqrt(np.mean((centred / largest) ** 2))) if largest > 0 else 1.0


@dataclass(frozen=True)
class _Padded:
    """Rows by patient: terms (n, m, k), value (n, m), variance (n, m); variance is inf where there is no row."""

    terms: np.ndarray
    value: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, series: Series, terms: np.ndarray, value_unit: float) -> _Padded:
        counts = series.n_visits
        place = np.arange(len(series.years)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (len(counts), int(counts.max()))
        padded_terms, value, variance = np.zeros((*shape, terms.shape[1])), np.zeros(shape), np.full(shape, inf)
        at = (series.patient, place)
        padded_terms[at] = terms
        value[at] = series.value / value_unit
        variance[at] = 0.0 if series.se is None else (series.se / value_unit) ** 2
        return cls(padded_terms, value, variance)

    def whiten(self, excess2: float) -> tuple[np.ndarray, np.ndarray]:
        """Return terms (n, m, k) and value (n, m), free of the level, in units of their error."""
        weight = 1 / (self.variance + excess2)
        share = weight / weight.sum(axis=1, keepdims=True)
        lines = self.terms - np.einsum("nm,nmk->nk", share, self.terms)[:, None]
        value = self.value - np.einsum("nm,nm->n", share, self.value)[:, None]
        return np.sqrt(weight)[..., None] * lines, np.sqrt(weight) * value

    def residual(self, excess2: float) -> float:
        """Return the sum of squares about the patients' own lines, in units of their errors."""
        lines, value = self.whiten(excess2)
        u, s, _ = np.linalg.svd(lines, full_matrices=False)
        explained = np.where(s > _RANK * s.max(), np.einsum("nmk,nm->nk", u, value), 0.0)
        return float(np.sum(value**2) - np.sum(explained**2))

    def residual_df(self) -> float:
        s = np.linalg.svd(self.whiten(1.0)[0], compute_uv=False)
        rows = np.isfinite(self.variance).sum()
        return float(rows - len(self.value) - (s > _RANK * s.max()).sum())


def _excess_variance(pads: _Padded) -> tuple[float, float]:
    """Return the variance of a value beyond its given error, common to all patients, and its df.

    It makes the weighted residual sum of squares meet its expectation (the equation of Paule and Mandel 1982);
    without given errors that is the pooled residual variance. It stands for repositioning and biology, which
    a segmentation's own error does not hold.
    """
    df = pads.residual_df()
    known = bool(np.all(pads.variance > 0))
    smallest = 0.0 if known else _SMALLEST_ERROR**2
    if df < 1:
        return smallest, df
    if not known:
        return max(pads.residual(1.0) / df, smallest), df
    if pads.residual(0.0) <= df:
        return 0.0, df
    # The residual falls towards 0 as the variance grows: double it until the root is bracketed.
    high = float(pads.variance[np.isfinite(pads.variance)].max())
    while pads.residual(high) > df:
        high *= 2
    return float(optimize.brentq(lambda excess2: pads.residual(excess2) - df, 0.0, high, rtol=1e-10)), df


def _reml(reduced: Reduced, design: np.ndarray) -> np.ndarray:
    """Return the variances of the slopes between patients, (k,), that maximise the restricted likelihood."""
    k = reduced.slopes.shape[2]
    if np.count_nonzero(np.any(design != 0, axis=2)) <= design.shape[2]:
        return np.zeros(k)
    ends = [_scored(np.full(k, start), reduced, design) for start in _REML_STARTS]
    return min(ends, key=lambda tau2: _restricted(tau2, reduced, design)[0])


_REML_STARTS = (1.0, 1e-3)
"""Variance of the slopes, in squared SDs of value over SD of time, that the search begins from."""

_REML_STEPS = 200
"""Upper limit of scoring steps; ten are usual."""

_REML_TOLERANCE = 1e-9
"""Relative change of the variances at which the search ends."""


def _scored(tau2: np.ndarray, reduced: Reduced, design: np.ndarray) -> np.ndarray:
    """Follow Fisher scoring, halved until the likelihood rises, with variances held at 0 or above."""
    value, gradient, information = _restricted(tau2, reduced, design)
    for _ in range(_REML_STEPS):
        free = (tau2 > 0) | (gradient < 0)
        step = np.zeros_like(tau2)
        step[free] = -np.linalg.lstsq(information[np.ix_(free, free)], gradient[free], rcond=None)[0]
        for _ in range(_REML_STEPS):
            candidate = np.maximum(tau2 + step, 0.0)
            after, its_gradient, its_information = _restricted(candidate, reduced, design)
            if after <= value:
                break
            step /= 2
        moved = np.abs(candidate - tau2).max()
        tau2, value, gradient, information = candidate, after, its_gradient, its_information
        if moved <= _REML_TOLERANCE * max(float(tau2.max()), _REML_TOLERANCE):
            break
    return tau2


def _restricted(tau2: np.ndarray, reduced: Reduced, design: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return minus the restricted log likelihood, its gradient and its expected information.

    Harville 1977, eqs. 4.5 and 5.4: with P the projected inverse variance and V_j the derivative by the j-th
    variance, the gradient is (tr P V_j - y' P V_j P y) / 2, the information tr(P V_j P V_k) / 2.
    """
    inverse, phi, mean = _gls(reduced, design, tau2)
    residual = reduced.value - design @ mean
    scaled = np.einsum("nij,nj->ni", inverse, residual)
    value = -np.linalg.slogdet(inverse)[1].sum() - np.linalg.slogdet(phi)[1] + np.sum(residual * scaled)
    projected = np.einsum("nij,njk->nik", inverse, reduced.slopes)
    own = np.einsum("nij,nik->njk", reduced.slopes, projected)
    toward = np.einsum("nia,nij->naj", design, projected)
    shared = np.einsum("naj,ab,nbk->njk", toward, phi, toward)
    spread = np.einsum("ab,nbj,ncj->jac", phi, toward, toward)
    quadratic = (np.einsum("nij,ni->nj", reduced.slopes, scaled) ** 2).sum(axis=0)
    gradient = np.einsum("njj->j", own - shared) - quadratic
    information = (own**2 - 2 * own * shared).sum(axis=0) + np.einsum("jac,kca->jk", spread, spread)
    return 0.5 * float(value), 0.5 * gradient, 0.5 * information


def _gls(reduced: Reduced, design: np.ndarray, tau2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the inverse variances (n, k, k), the variance of the means (p, p), and the means (p,)."""
    k = reduced.slopes.shape[1]
    inverse = np.linalg.inv(np.eye(k) + np.einsum("nij,j,nlj->nil", reduced.slopes, tau2, reduced.slopes))
    weighted = np.einsum("nij,njp->nip", inverse, design)
    phi = np.linalg.inv(np.einsum("nip,niq->pq", weighted, design))
    return inverse, phi, phi @ np.einsum("nip,ni->p", weighted, reduced.value)


Estimate = tuple[float, float, float, str, tuple[str, ...]]
"""Estimate, se, df, interval kind, notes."""


def _knapp_hartung(reduced: Reduced, design: np.ndarray, contrast: np.ndarray, tau2: np.ndarray) -> Estimate:
    """Return a contrast of group means with the limits of Knapp and Hartung (2003), their factor no less than 1.

    The floor is that of Jackson and others (2017); ``benchmarks/coverage.py`` says what it holds.
    """
    inverse, phi, mean = _gls(reduced, design, tau2)
    df = float(len(design) - design.shape[2])
    estimate, kind = float(contrast @ mean), "knapp_hartung_t"
    spread = f"SD of the rates between patients {sqrt(tau2[0]) * reduced.unit:.4g}"
    if df < 1:
        return estimate, np.nan, np.nan, "none", ("no interval: each group must hold two patients in the mean",)
    residual = reduced.value - design @ mean
    factor = float(np.einsum("ni,nij,nj->", residual, inverse, residual)) / df
    if reduced.errors_known:
        # Patients who agree by chance: without the floor 93 to 94 % of limits hold at 6 and 8 patients, with it 95.
        factor = max(factor, 1.0)
    se = sqrt(factor * float(contrast @ phi @ contrast))
    return estimate, _at_least_common(se, reduced, design, contrast, df), df, kind, (spread,)


def _cr2(reduced: Reduced, design: np.ndarray, contrast: np.ndarray, tau2: np.ndarray) -> Estimate:
    """Return a contrast with limits from the scatter of the patients about the mean (CR2).

    The variances between patients are taken as independent, which the change of a rate and the rate before
    need not be: the scatter of whole patients does not rest on that. Pustejovsky and Tipton 2018, eq. 6
    (adjustment) and 11 (df).
    """
    inverse, phi, mean = _gls(reduced, design, tau2)
    root = np.linalg.cholesky(inverse).transpose(0, 2, 1)
    whitened = root @ design
    residual = np.einsum("nij,nj->ni", root, reduced.value - design @ mean)
    leverage = np.einsum("nip,pq,njq->nij", whitened, phi, whitened)
    adjustment = _inverse_roots(np.eye(leverage.shape[1]) - leverage)
    pull = np.einsum("nij,njp,p->ni", adjustment, whitened, phi @ contrast)
    df = _satterthwaite(pull, whitened, phi)
    estimate, spread = float(contrast @ mean), f"SD of the change between patients {sqrt(tau2[-1]) * reduced.unit:.4g}"
    if not df >= _SMALLEST_DF:
        return estimate, np.nan, np.nan, "none", ("no interval: too few patients hold the change of rate",)
    se = sqrt(float(np.sum(np.einsum("ni,ni->n", pull, residual) ** 2)))
    return estimate, _at_least_common(se, reduced, design, contrast, df), df, "cr2_t", (spread,)


_SMALLEST_DF = 0.95
"""Two patients give one degree of freedom; below that the t quantile exceeds 14 and is rounding."""


def _inverse_roots(matrices: np.ndarray) -> np.ndarray:
    """Return the symmetric inverse square roots of matrices, (n, k, k); directions of no size stay 0."""
    values, vectors = np.linalg.eigh(matrices)
    scale = np.where(values > _FULL_LEVERAGE, 1 / np.sqrt(np.maximum(values, _FULL_LEVERAGE)), 0.0)
    roots: np.ndarray = np.einsum("nij,nj,nlj->nil", vectors, scale, vectors)
    return roots


_FULL_LEVERAGE = 1e-8
"""One minus the leverage below which a patient alone decides a slope, and has no residual of it."""


def _satterthwaite(pull: np.ndarray, whitened: np.ndarray, phi: np.ndarray) -> float:
    """Return the df of a CR2 variance: that of the quadratic form with matrix diag(own) - toward phi toward'."""
    own = np.einsum("ni,ni->n", pull, pull)
    toward = np.einsum("nip,ni->np", whitened, pull)
    shared = np.einsum("np,pq,nq->n", toward, phi, toward)
    cross = toward.T @ toward @ phi
    trace = float(np.sum(own - shared))
    square = float(np.sum(own**2) - 2 * np.sum(own * shared) + np.trace(cross @ cross))
    return trace**2 / square if square > _FULL_LEVERAGE * float(np.sum(own**2)) else np.nan


def _at_least_common(se: float, reduced: Reduced, design: np.ndarray, contrast: np.ndarray, df: float) -> float:
    """Return the se, no smaller than gives the normal interval of patients who differ by error alone.

    Patients who agree by chance would else give an interval shorter than their errors allow. A scatter of rounding
    size is 0.
    """
    if not reduced.errors_known:
        return se if se > _ROUNDING else 0.0
    phi = _gls(reduced, design, np.zeros(reduced.slopes.shape[2]))[1]
    quantile = float(stats.t.ppf((1 + limits.CONFIDENCE) / 2, df))
    return max(se, sqrt(float(contrast @ phi @ contrast)) * limits.Z / quantile)


_ROUNDING = 1e-10
"""Standard error of a slope, in SDs of value over SD of time, that is no scatter but arithmetic."""
