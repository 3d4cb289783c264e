r"""Restricted maximum likelihood for patients seen in series, with limits that hold for few of them.

The model of patient i is :math:`y_i = X_i \beta + e_i` with
:math:`\mathrm{Var}\, e_i = V_i = Z_i G Z_i' + \mathrm{diag}(s_i^2) + R_i`: what differs between patients, the known
error of each value, and what else scatters within a patient. statsmodels fits neither known errors nor
:math:`R_i` other than :math:`\sigma^2 I`, and gives no degrees of freedom: hence an engine of our own.

The covariance has two kinds of parameters. The *natural* ones, :math:`\phi`, are variances, covariances and
correlations; Kenward and Roger (1997) is in them. The *free* ones, :math:`\theta`, have no limits: roots of
variances and Cholesky factors (Pinheiro and Bates 1996) with signs, so that a variance of 0 is an ordinary point and
not infinitely far away. The search is Newton's on exact derivatives, from several starts, on standardised data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, log, pi, sqrt
from typing import Protocol

import numpy as np

from monitor._stats import limits
from monitor._stats.mixed import NotFittedError
from monitor._stats.series import Series
from monitor.types import Trend

METHOD = "mixed model, REML, random intercept and slope, Kenward-Roger"
"""What ``Trend.method`` says of ``slopes``."""

INTERVAL_KINDS = {
    "expected": "kenward_roger_t",
    "observed": "kenward_roger_observed_t",
}
"""Information used, and what ``Trend.interval_kind`` says of it."""

SHARES = (0.5, 0.1, 0.9, 0.99, 0.3, 0.03)
"""Share of the variance that is between patients, where the searches begin: with few patients there may be a second
maximum, where a variance is 0, and a search ends there or here by its start."""

_SEARCHES = 3
"""Searches at least where rows are many; from then on two that agree on the best maximum end them."""

_FEW = 500
"""Rows up to which every start is searched from. Of 900 trials of 6 patients, 2 had a second maximum."""

_AIM = 1e-10
"""Gradient of the restricted log likelihood, per row, standardised data, at which a search ends."""

_GRADIENT = 1e-7
"""Largest gradient, per row, standardised data, at an accepted maximum: a loss far below 1e-6 of log likelihood."""

_AGREE = 1e-4
"""Difference of the log likelihood that is the same maximum; 1e-4 moves an estimate by 1 % of its se."""

_STEPS = 100
"""Upper limit of Newton steps in a search; ten are usual."""

_HALVINGS = 30
"""Upper limit of halvings of a step that does not raise the likelihood."""

_LONGEST = 1.0
"""Longest step of a free parameter, standardised: most of them are near 1."""

_FLAT = 1e-9
"""Curvature, relative to the largest, below which a direction counts as flat."""

_DEFINITE = 1e-11
"""Smallest pivot of a patient's covariance, in variances of the response, below which it is singular."""

_EDGE = 1e-6
"""Slope of a natural parameter over its free one below which it is at its limit, or above whose inverse."""

_ZERO = 1e-9
"""Eigenvalue of a covariance that is 0, over the largest one or the variance of the response."""

_TINY = 1e-300
"""Floor of a curvature, so that nothing is divided by 0."""

_ROUNDING = 1e-13
"""Relative change of the likelihood that is rounding."""

_RANK = 1e-10
"""Relative size below which a column of the fixed effects follows from the others."""

_EXACT = 1e-11
"""Residual SD relative to the largest value below which the fixed effects explain all but rounding."""

_CHUNK = 1 << 21
"""Doubles that the derivatives of one block of patients may take, 16 MiB: memory stays flat as patients grow."""


@dataclass(frozen=True)
class Design:
    """Rows of all patients, N of them, in any order.

    Attributes
    ----------
    value : (N,) array
        Response.
    fixed : (N, p) array
        Columns of the fixed effects, X.
    patient : (N,) int array
        Code of the patient of each row.
    random : (N, q) array or None
        Columns of the random effects, Z.
    known : (N,) array or None
        Known variance of each value, in the response's unit squared.
    visit : (N,) int array or None
        Level of the visit, 0 to K - 1, for the covariances over visits.
    years : (N,) array or None
        Time, years, for continuous_ar1.
    """

    value: np.ndarray
    fixed: np.ndarray
    patient: np.ndarray
    random: np.ndarray | None = None
    known: np.ndarray | None = None
    visit: np.ndarray | None = None
    years: np.ndarray | None = None


@dataclass(frozen=True)
class Fit:
    """A maximum of the restricted likelihood.

    Attributes
    ----------
    beta : (p,) array
        Fixed effects.
    covariance : (p, p) array
        Their variance with the fitted V taken as known, before any adjustment.
    likelihood : float
        Restricted log likelihood, with its constant, as lme4 and nlme give it. It depends on the scaling of X.
    between : (q, q) array
        G.
    within : (r,) array
        Natural parameters of R: identity (variance); unstructured (lower triangle by rows);
        compound_symmetry (variance of a value, covariance of two); ar1 (variance, correlation of neighbours);
        the heterogeneous two (variance of each visit, correlation); continuous_ar1 (variance, range in years: the
        correlation at distance d is exp(-d / range)).
    singular : bool
        A variance is 0, or a correlation 1: the maximum is at the limit of what is possible.
    gradient : float
        Largest gradient per row at the maximum, standardised.
    sensitivity : Sensitivity
        What the adjustment for the estimated covariance needs.
    """

    beta: np.ndarray
    covariance: np.ndarray
    likelihood: float
    between: np.ndarray
    within: np.ndarray
    singular: bool
    gradient: float
    sensitivity: Sensitivity


@dataclass(frozen=True)
class Sensitivity:
    """How the fixed effects' variance moves with the J natural parameters, where that variance is the identity.

    Attributes
    ----------
    root : (p, p) array
        Natural fixed effects have the variance ``root @ root.T``.
    first : (J, p, p) array
        X' V^-1 V_j V^-1 X: minus the P_j of Kenward and Roger (1997).
    cross : (J, J, p, p) array
        X' V^-1 V_j V^-1 V_k V^-1 X: their Q_jk.
    second : (J, J, p, p) array
        X' V^-1 V_jk V^-1 X: their R_jk; 0 where V is linear in its parameters.
    expected, observed : (J, J) arrays
        Information of the natural parameters.
    """

    root: np.ndarray
    first: np.ndarray
    cross: np.ndarray
    second: np.ndarray
    expected: np.ndarray
    observed: np.ndarray


@dataclass(frozen=True)
class Contrast:
    """A contrast of fixed effects.

    Attributes
    ----------
    estimate, se, df : float
        ``se`` is adjusted (Kenward and Roger 1997), ``df`` that of the t distribution, inf where V is known.
    plain_se : float
        The se before the adjustment; with observed information, it and ``df`` are Satterthwaite's.
    information : str
        The information used: expected or observed.
    linear : bool
        The second derivatives of V are left out, as asked or because the se cannot be had with them.
    """

    estimate: float
    se: float
    df: float
    plain_se: float
    information: str
    linear: bool


def fit(design: Design, *, random: str = "unstructured", residual: str = "identity") -> Fit:
    """Maximise the restricted likelihood.

    Parameters
    ----------
    design : Design
        The rows.
    random : str
        G: unstructured or diagonal. Not used where ``design.random`` is None.
    residual : str
        R: a key of ``RESIDUALS``.

    Raises
    ------
    NotFittedError
        If the fixed effects are too many or follow from each other, nothing scatters, no search ends where the
        gradient is 0, or no two searches end at the same maximum.
    ValueError
        If ``random`` or ``residual`` has no such name, the design lacks what it needs, or a number is not finite.
    """
    _refuse_not_finite(design)
    parts = _parts(design, random, residual)
    model = _Model(parts, _standardised(design, random, sum(part.mapping.size for part in parts)))
    searches = len(SHARES) if len(design.value) <= _FEW else _SEARCHES
    ends: list[_Point] = []
    for number, share in enumerate(SHARES, start=1):
        end = model.climb(model.start(share))
        if end is not None and model.gradient(end) <= _GRADIENT and model.uphill(end) <= _GRADIENT:
            ends.append(end)
        agree = [one for one in ends if model.loss(one, ends) < _AGREE]
        if (len(agree) > 1 and number >= searches) or (ends and not model.size):
            return model.report(min(agree, key=lambda one: one.value))
    if not ends:
        raise NotFittedError("no search ends where the gradient of the restricted likelihood is 0")
    raise NotFittedError(f"of {len(SHARES)} starts no two end at the best maximum that was found")


def _refuse_not_finite(design: Design) -> None:
    for name in ("value", "fixed", "random", "known"):
        part = getattr(design, name)
        if part is not None and not np.isfinite(part).all():
            raise ValueError(f"{name} of a design must be finite; {int((~np.isfinite(part)).sum())} numbers are not")
    if design.known is not None and np.any(design.known < 0):
        raise ValueError(f"known variances must not be negative; the smallest is {design.known.min():g}")


def contrast(fitted: Fit, weights: np.ndarray, *, information: str = "expected", linear: bool = False) -> Contrast:
    r"""Return a contrast of fixed effects with the adjusted se and the df of Kenward and Roger (1997).

    Their eq. 5, :math:`\Phi_A = \Phi + 2 \Phi \{\sum W_{jk} (Q_{jk} - P_j \Phi P_k - R_{jk} / 4)\} \Phi`; for one
    contrast, c, their df is Satterthwaite's, :math:`2 v^2 / g' W g` with :math:`v = c' \Phi c` and g its gradient.
    W is the inverse of the information: *expected* is what pbkrtest and lmerTest do; *observed* is what SAS
    (ddfm=kr) and mmrm do, and gives the df of lmerTest's Satterthwaite.

    Parameters
    ----------
    fitted : Fit
        From ``fit``.
    weights : (p,) array
        c.
    information : str
        expected or observed. At the limit of what is possible the gradient is not 0, and the observed information
        is not that of a maximum; the expected one is taken instead, and the answer says so.
    linear : bool
        Leave out R_jk, which depends on how the covariance is parametrised: SAS's kr(linear). It is left out too
        at the limit of what is possible, where its expansion does not hold.

    Raises
    ------
    ValueError
        If ``information`` has no such name, or the number of weights is not p.
    """
    if information not in INTERVAL_KINDS:
        raise ValueError(f"information must be one of {', '.join(INTERVAL_KINDS)}; got {information!r}")
    if weights.shape != fitted.beta.shape:
        raise ValueError(f"weights must be one per fixed effect, {len(fitted.beta)}; got shape {weights.shape}")
    moved = fitted.sensitivity
    own = moved.root.T @ weights
    estimate, variance = float(weights @ fitted.beta), float(own @ own)
    inverse, information = _inverse_information(moved, "expected" if fitted.singular else information)
    toward = moved.first @ own
    bias = moved.cross @ own @ own - toward @ toward.T
    bend = moved.second @ own @ own / 4
    with_bend = variance + 2 * float(np.sum(inverse * (bias - bend)))
    # Where the data hardly tell a correlation, what its bend takes away may exceed the variance.
    linear = linear or fitted.singular or with_bend <= 0
    adjusted = variance + 2 * float(np.sum(inverse * bias)) if linear else with_bend
    gradient = toward @ own
    spread = float(gradient @ inverse @ gradient)
    df = 2 * variance**2 / spread if spread > 0 else inf
    return Contrast(estimate, sqrt(adjusted), df, sqrt(variance), information, linear)


def _inverse_information(moved: Sensitivity, information: str) -> tuple[np.ndarray, str]:
    """Return the inverse of the information, over directions that the data tell, and which one it is."""
    chosen = moved.observed if information == "observed" else moved.expected
    if not len(chosen):
        return chosen, information
    unit = np.sqrt(np.maximum(np.diag(moved.expected), 0.0))
    unit = np.where(unit > 0, unit, 1.0)
    values, vectors = np.linalg.eigh(chosen / np.outer(unit, unit))
    told = values > _FLAT * values[-1]
    if information == "observed" and np.any(values < -_FLAT * values[-1]):
        return _inverse_information(moved, "expected")
    scaled = (vectors[:, told] / values[told]) @ vectors[:, told].T
    return scaled / np.outer(unit, unit), information


def slopes(
    series: Series, terms: np.ndarray, groups: np.ndarray, weights: np.ndarray, *, information: str = "expected"
) -> Trend:
    """Return a contrast of mean slopes with its interval: random intercept and slope(s), known errors where given.

    Parameters
    ----------
    series : Series
        Patients, n of them, N rows. A known se is taken as it is; a common scatter beyond it is estimated.
    terms : (N, k) array
        Time, and time after the start where a change of rate is asked for, years.
    groups : (n,) int array
        Group of each patient; the mean slope is per group. With ``k`` above 1 one group only.
    weights : (g,) array
        Weights of the groups.
    information : str
        expected or observed; see ``contrast``.

    Raises
    ------
    NotFittedError
        As ``fit`` does.
    """
    k = terms.shape[1]
    member = np.eye(int(groups.max()) + 1)[groups[series.patient]]
    fixed = np.hstack([member, member * terms if k == 1 else terms])
    last = weights if k == 1 else np.eye(k)[-1]
    known = None if series.se is None else series.se**2
    random = np.column_stack([np.ones(len(terms)), terms])
    fitted = fit(Design(series.value, fixed, series.patient, random, known))
    found = contrast(fitted, np.concatenate([np.zeros(member.shape[1]), last]), information=information)
    note = ["the random effects are at the edge of what is possible (singular)"] if fitted.singular else []
    if found.information != information:
        note.append(f"the {information} information is not that of a maximum: {found.information} instead")
    return limits.trend(
        series,
        found.estimate,
        found.se,
        found.df,
        kind=INTERVAL_KINDS[found.information],
        method=METHOD if k == 1 else f"{METHOD}, random change of slope",
        note=tuple(note),
    )


@dataclass(frozen=True)
class _Block:
    """n patients with m rows each: fixed is (n, m, p), random (n, m, q), the others (n, m)."""

    value: np.ndarray
    fixed: np.ndarray
    random: np.ndarray
    known: np.ndarray
    visit: np.ndarray
    years: np.ndarray

    def take(self, rows: np.ndarray) -> _Block:
        """Return some rows; their shape comes before the columns."""
        return _Block(*(getattr(self, name)[rows] for name in _Block.__dataclass_fields__))


@dataclass(frozen=True)
class _Scaled:
    """Rows without what least squares explain, of unit variance, in blocks; and the way back.

    The columns of the fixed effects are orthonormal times the root of N, and those of the random effects where G is
    unstructured: the search does not see in which unit, and from which origin, time is counted.

    Attributes
    ----------
    blocks : tuple of _Block
        Patients with the same number of rows.
    rows : int
        N.
    beta, to_beta : (p,) and (p, p) arrays
        Fixed effects by least squares, and what a fixed effect of 1 adds to them.
    to_random : (q, q) array
        Natural random effects per standardised one.
    log_scale : float
        Log determinant of what takes the standardised columns of X to the natural ones.
    unit, years : float
        What 1 is in the response's unit, and in years.
    """

    blocks: tuple[_Block, ...]
    rows: int
    beta: np.ndarray
    to_beta: np.ndarray
    to_random: np.ndarray
    log_scale: float
    unit: float
    years: float


def _standardised(design: Design, random: str, parameters: int) -> _Scaled:
    rows, p = design.fixed.shape
    if rows <= p:
        raise NotFittedError(f"{rows} values are too few for {p} fixed effects")
    q, r = _orthonormal(design.fixed, "fixed")
    ols = q.T @ design.value / rows
    residual = design.value - q @ ols
    known = np.zeros(rows) if design.known is None else design.known
    variance = max(float(residual @ residual) / (rows - p), float(np.median(known)))
    if not variance > (_EXACT * float(np.abs(design.value).max())) ** 2:
        raise NotFittedError("the fixed effects explain every value: nothing scatters")
    unit, years = sqrt(variance), _gap(design)
    z, to_random = _random_columns(design, random)
    columns = _Block(
        residual / unit,
        q,
        z,
        known / variance,
        np.zeros(rows, int) if design.visit is None else design.visit,
        np.zeros(rows) if design.years is None else design.years / years,
    )
    return _Scaled(
        blocks=tuple(_blocks(columns, design.patient, parameters)),
        rows=rows,
        beta=np.linalg.solve(r, ols),
        to_beta=np.linalg.inv(r) * unit,
        to_random=to_random * unit,
        log_scale=float(np.log(np.abs(np.diag(r))).sum()),
        unit=unit,
        years=years,
    )


def _orthonormal(columns: np.ndarray, effects: str) -> tuple[np.ndarray, np.ndarray]:
    """Return columns of mean square 1, orthogonal to each other, and the triangle that gives back the given ones."""
    length = np.linalg.norm(columns, axis=0)
    q, r = np.linalg.qr(columns / np.where(length > 0, length, 1.0))
    if np.abs(np.diag(r)).min() < _RANK:
        raise NotFittedError(f"a column of the {effects} effects is 0 or follows from the others")
    return q * sqrt(len(q)), r * length / sqrt(len(q))


def _random_columns(design: Design, random: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns of the random effects, standardised, and natural effects per standardised one."""
    if design.random is None:
        return np.zeros((len(design.value), 0)), np.zeros((0, 0))
    z, r = _orthonormal(design.random, "random")
    if random == "unstructured":
        return z, np.linalg.inv(r)
    # Independent effects do not stay so when their columns are mixed.
    size = np.sqrt(np.mean(design.random**2, axis=0))
    return design.random / size, np.diag(1 / size)


def _gap(design: Design) -> float:
    """Return the median gap between visits of a patient, the unit of time; 1 where there is none."""
    if design.years is None:
        return 1.0
    order = np.lexsort((design.years, design.patient))
    gaps = np.diff(design.years[order])[np.diff(design.patient[order]) == 0]
    return float(np.median(gaps[gaps > 0])) if np.any(gaps > 0) else 1.0


def _blocks(columns: _Block, patient: np.ndarray, parameters: int) -> Iterator[_Block]:
    """Yield the patients that have the same number of rows, in pieces that keep the derivatives small."""
    order = np.argsort(patient, kind="stable")
    _, first, counts = np.unique(patient[order], return_index=True, return_counts=True)
    for m in np.unique(counts):
        rows = order[first[counts == m][:, None] + np.arange(m)]
        step = max(1, _CHUNK // (max(parameters, 1) * m * m))
        for at in range(0, len(rows), step):
            yield columns.take(rows[at : at + step])


class _Mapping(Protocol):
    """From free to natural parameters, as many."""

    @property
    def size(self) -> int:
        """Return the number of parameters."""

    def natural(self, theta: np.ndarray) -> np.ndarray:
        """Return the natural parameters."""

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """Return the derivatives, (natural, free)."""

    def curvature(self, theta: np.ndarray, gradient: np.ndarray, /) -> np.ndarray:
        """Return the second derivatives, summed over the natural parameters with the weights ``gradient``."""

    def uphill(self, theta: np.ndarray, gradient: np.ndarray, /) -> float:
        """Return how fast minus the log likelihood falls where a parameter leaves its limit; 0 or less at a minimum."""

    def edge(self, theta: np.ndarray) -> bool:
        """Return whether a parameter is at its limit."""


@dataclass(frozen=True)
class _Triangle:
    """Natural: the lower triangle of a covariance (k, k), by rows. Free: that of its Cholesky factor, any sign."""

    k: int

    @property
    def size(self) -> int:
        return self.k * (self.k + 1) // 2

    def matrix(self, lower: np.ndarray) -> np.ndarray:
        """Return the symmetric matrix with this lower triangle."""
        full = self._factor(lower)
        return full + np.tril(full, -1).T

    def _factor(self, theta: np.ndarray) -> np.ndarray:
        factor = np.zeros((self.k, self.k))
        factor[np.tril_indices(self.k)] = theta
        return factor

    def natural(self, theta: np.ndarray) -> np.ndarray:
        factor = self._factor(theta)
        product: np.ndarray = (factor @ factor.T)[np.tril_indices(self.k)]
        return product

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        factor = self._factor(theta)
        row, column = np.tril_indices(self.k)
        derivative: np.ndarray = (row[:, None] == row) * factor[np.ix_(column, column)]
        derivative += (column[:, None] == row) * factor[np.ix_(row, column)]
        return derivative

    def curvature(self, _theta: np.ndarray, gradient: np.ndarray, /) -> np.ndarray:
        slope = self._slope(gradient)
        row, column = np.tril_indices(self.k)
        return 2 * slope[np.ix_(row, row)] * (column[:, None] == column)

    def _slope(self, gradient: np.ndarray) -> np.ndarray:
        """Return the derivative by the matrix: an element off the diagonal stands in it twice."""
        full = self._factor(gradient)
        return (full + full.T) / 2

    def uphill(self, _theta: np.ndarray, gradient: np.ndarray, /) -> float:
        """Return minus the smallest eigenvalue of the slope: at a minimum over covariances it is 0 or positive."""
        return -float(np.linalg.eigvalsh(self._slope(gradient))[0])

    def edge(self, theta: np.ndarray) -> bool:
        values = np.linalg.eigvalsh(self.matrix(self.natural(theta)))
        return bool(values[0] <= _ZERO * max(float(values[-1]), 1.0))


Moved = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A function's values with its first and second derivatives."""


def _square(x: np.ndarray) -> Moved:
    return x**2, 2 * x, np.full_like(x, 2.0)


def _exponential(x: np.ndarray) -> Moved:
    value = np.exp(x)
    return value, value, value


def _within(low: float, high: float) -> Callable[[np.ndarray], Moved]:
    """Return the function that takes all numbers to an interval."""

    def move(x: np.ndarray) -> Moved:
        part = (1 + np.tanh(x / 2)) / 2
        slope = part * (1 - part)
        return low + (high - low) * part, (high - low) * slope, (high - low) * slope * (1 - 2 * part)

    return move


def _logit(part: float) -> float:
    return log(part / (1 - part))


@dataclass(frozen=True)
class _Separate:
    """Natural: fixed mixtures, ``mix``, of a function of each free parameter alone."""

    functions: tuple[Callable[[np.ndarray], Moved], ...]
    mix: np.ndarray

    @property
    def size(self) -> int:
        return len(self.functions)

    def _moved(self, theta: np.ndarray) -> np.ndarray:
        """Return values, first and second derivatives, (3, size)."""
        return np.array([function(x) for function, x in zip(self.functions, theta, strict=True)]).T

    def natural(self, theta: np.ndarray) -> np.ndarray:
        return self.mix @ self._moved(theta)[0]

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        return self.mix * self._moved(theta)[1]

    def curvature(self, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return np.diag(gradient @ self.mix * self._moved(theta)[2])

    def uphill(self, theta: np.ndarray, gradient: np.ndarray, /) -> float:
        """Return the steepest fall where a variance is at 0; elsewhere the gradient of the search says it."""
        at_zero = np.array([function in (_square, _exponential) for function in self.functions])
        at_zero &= np.abs(self._moved(theta)[0]) <= _EDGE
        return float(np.max(-(gradient @ self.mix)[at_zero], initial=0.0))

    def edge(self, theta: np.ndarray) -> bool:
        slope = np.abs(self._moved(theta)[1])
        return bool(np.any((slope <= _EDGE) | (slope >= 1 / _EDGE)))


class _Part(Protocol):
    """A summand of V."""

    @property
    def mapping(self) -> _Mapping:
        """Return what gives its natural parameters."""

    def start(self, variance: float, share: float) -> np.ndarray:
        """Return free parameters: the variance it explains, and a correlation."""

    def covariance(self, phi: np.ndarray, block: _Block, /) -> np.ndarray:
        """Return it for each patient of a block, (n, m, m)."""

    def first(self, phi: np.ndarray, block: _Block, /) -> np.ndarray:
        """Return its derivatives, (J, n, m, m)."""

    def second(self, phi: np.ndarray, block: _Block, /) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield j, k, with k up to j, and the second derivative, (n, m, m), where it is not 0."""


@dataclass(frozen=True)
class _Linear:
    """A covariance that is a sum of parameters times fixed matrices, (J, n, m, m)."""

    mapping: _Mapping
    begin: Callable[[float, float], np.ndarray]
    basis: Callable[[_Block], np.ndarray]

    def start(self, variance: float, share: float) -> np.ndarray:
        return self.begin(variance, share)

    def covariance(self, phi: np.ndarray, block: _Block, /) -> np.ndarray:
        return np.tensordot(phi, self.basis(block), axes=1)

    def first(self, _phi: np.ndarray, block: _Block, /) -> np.ndarray:
        return self.basis(block)

    def second(self, _phi: np.ndarray, _block: _Block, /) -> Iterator[tuple[int, int, np.ndarray]]:
        yield from ()


@dataclass(frozen=True)
class _Correlated:
    """A covariance of variances, one or one a visit, times a correlation of one parameter, which comes last."""

    mapping: _Mapping
    begin: Callable[[float, float], np.ndarray]
    correlation: Callable[[float, _Block], Moved]
    levels: int

    def start(self, variance: float, share: float) -> np.ndarray:
        return self.begin(variance, share)

    def _powers(self, block: _Block) -> np.ndarray:
        """Return the power of each variance in each element, (levels, n, m, m): their geometric mean."""
        if self.levels == 1:
            return np.ones((1, *block.visit.shape, block.visit.shape[1]))
        at = np.moveaxis(np.eye(self.levels)[block.visit], -1, 0)
        return (at[..., :, None] + at[..., None, :]) / 2

    def _size(self, phi: np.ndarray, block: _Block, /) -> np.ndarray:
        root = np.sqrt(phi[np.zeros_like(block.visit) if self.levels == 1 else block.visit])
        return root[..., :, None] * root[..., None, :]

    def covariance(self, phi: np.ndarray, block: _Block, /) -> np.ndarray:
        return self._size(phi, block) * self.correlation(phi[-1], block)[0]

    def first(self, phi: np.ndarray, block: _Block, /) -> np.ndarray:
        size, (value, slope, _) = self._size(phi, block), self.correlation(phi[-1], block)
        scaled = self._powers(block) / phi[:-1, None, None, None]
        return np.concatenate([scaled * size * value, (size * slope)[None]])

    def second(self, phi: np.ndarray, block: _Block, /) -> Iterator[tuple[int, int, np.ndarray]]:
        size, (value, slope, bend) = self._size(phi, block), self.correlation(phi[-1], block)
        powers, last = self._powers(block), self.levels
        for j in range(last):
            for k in range(j + 1):
                yield j, k, (powers[j] * powers[k] - (j == k) * powers[j]) * size * value / (phi[j] * phi[k])
            yield last, j, powers[j] * size * slope / phi[j]
        yield last, last, size * bend


def _products(columns: np.ndarray, pairs: Iterator[tuple[int, int]]) -> np.ndarray:
    """Return z_a z_b' + z_b z_a', or z_a z_a', for pairs of columns (n, m, q), as (J, n, m, m)."""
    found = []
    for a, b in pairs:
        outer = columns[:, :, None, a] * columns[:, None, :, b]
        found.append(outer if a == b else outer + outer.swapaxes(1, 2))
    return np.array(found)


def _lower(k: int) -> Iterator[tuple[int, int]]:
    return zip(*np.tril_indices(k), strict=True)


def _unit_matrices(block: _Block) -> np.ndarray:
    n, m = block.value.shape
    return np.broadcast_to(np.eye(m), (1, n, m, m))


def _with_ones(block: _Block) -> np.ndarray:
    n, m = block.value.shape
    return np.broadcast_to(np.stack([np.eye(m), np.ones((m, m)) - np.eye(m)])[:, None], (2, n, m, m))


def _same_for_all(rho: float, block: _Block) -> Moved:
    m = block.value.shape[1]
    off = np.ones((m, m)) - np.eye(m)
    return np.eye(m) + rho * off, off, np.zeros((m, m))


def _by_index(rho: float, block: _Block) -> Moved:
    d = np.abs(block.visit[:, :, None] - block.visit[:, None, :])
    return rho**d, d * rho ** np.maximum(d - 1, 0), d * (d - 1) * rho ** np.maximum(d - 2, 0)


def _by_time(span: float, block: _Block) -> Moved:
    d = np.abs(block.years[:, :, None] - block.years[:, None, :]) / span
    value = np.exp(-d)
    return value, value * d / span, value * d * (d - 2) / span**2


def _random_part(q: int, random: str) -> _Part:
    if random == "unstructured":
        return _Linear(
            _Triangle(q),
            lambda variance, _: sqrt(variance / q) * np.eye(q)[np.tril_indices(q)],
            lambda block: _products(block.random, _lower(q)),
        )
    return _Linear(
        _Separate((_square,) * q, np.eye(q)),
        lambda variance, _: np.full(q, sqrt(variance / q)),
        lambda block: _products(block.random, iter([(a, a) for a in range(q)])),
    )


def _identity(_levels: int, _visits: int) -> _Part:
    return _Linear(_Separate((_square,), np.eye(1)), lambda variance, _: np.array([sqrt(variance)]), _unit_matrices)


def _unstructured(levels: int, _visits: int) -> _Part:
    def begin(variance: float, share: float) -> np.ndarray:
        matrix = variance * ((1 - share) * np.eye(levels) + share)
        factor: np.ndarray = np.linalg.cholesky(matrix)[np.tril_indices(levels)]
        return factor

    return _Linear(_Triangle(levels), begin, lambda block: _products(np.eye(levels)[block.visit], _lower(levels)))


def _compound(_levels: int, visits: int) -> _Part:
    """Return compound symmetry: free are the roots of its eigenvalues with the most visits that a patient has."""
    mix = np.array([[(visits - 1) / visits, 1 / visits], [-1 / visits, 1 / visits]])

    def begin(variance: float, share: float) -> np.ndarray:
        return np.sqrt(variance * np.array([1 - share, 1 + (visits - 1) * share]))

    return _Linear(_Separate((_square, _square), mix), begin, _with_ones)


def _correlated(correlation: Callable[[float, _Block], Moved], low: float, levels: int) -> _Part:
    """Return variances times a correlation between ``low`` and 1, or, without ``low``, a range of time."""

    def begin(variance: float, share: float) -> np.ndarray:
        start = _logit((share - low) / (1 - low)) if low > -inf else -log(-log(share))
        return np.concatenate([np.full(levels, log(variance)), [start]])

    last = _within(low, 1.0) if low > -inf else _exponential
    mapping = _Separate((*((_exponential,) * levels), last), np.eye(levels + 1))
    return _Correlated(mapping, begin, correlation, levels)


RESIDUALS: dict[str, Callable[[int, int], _Part | None]] = {
    "none": lambda _levels, _visits: None,
    "identity": _identity,
    "unstructured": _unstructured,
    "compound_symmetry": _compound,
    "heterogeneous_compound_symmetry": lambda levels, _visits: _correlated(
        _same_for_all, -1 / max(levels - 1, 1), levels
    ),
    "ar1": lambda _levels, _visits: _correlated(_by_index, -1.0, 1),
    "heterogeneous_ar1": lambda levels, _visits: _correlated(_by_index, -1.0, levels),
    "continuous_ar1": lambda _levels, _visits: _correlated(_by_time, -inf, 1),
}
"""Covariances within a patient, from the levels of visits and the most visits of a patient; none: known errors only."""

_NEEDS = {
    "none": "known",
    "unstructured": "visit",
    "heterogeneous_compound_symmetry": "visit",
    "ar1": "visit",
    "heterogeneous_ar1": "visit",
    "continuous_ar1": "years",
}
"""What a design must hold for a covariance within a patient."""


def _parts(design: Design, random: str, residual: str) -> list[_Part]:
    """Return the estimated summands of V: of the random effects, where there are any, and of the residual."""
    if residual not in RESIDUALS:
        raise ValueError(f"residual must be one of {', '.join(RESIDUALS)}; got {residual!r}")
    if random not in _RANDOM:
        raise ValueError(f"random must be one of {', '.join(_RANDOM)}; got {random!r}")
    needed = _NEEDS.get(residual, "value")
    if getattr(design, needed) is None:
        raise ValueError(f"residual {residual} needs {needed}; the design has none")
    levels = 1 if design.visit is None else int(design.visit.max()) + 1
    within = RESIDUALS[residual](levels, int(np.unique(design.patient, return_counts=True)[1].max()))
    between = None if design.random is None else _random_part(design.random.shape[1], random)
    return [part for part in (between, within) if part is not None]


_RANDOM = ("unstructured", "diagonal")
"""Covariances of the random effects."""


@dataclass(frozen=True)
class _Point:
    """Minus the restricted log likelihood per row, standardised, with its derivatives by the free parameters."""

    theta: np.ndarray
    value: float
    slope: np.ndarray
    curvature: np.ndarray
    moments: _Moments


@dataclass(frozen=True)
class _Moments:
    """What the natural parameters do, where the fixed effects' variance is the identity.

    ``root`` takes the standardised fixed effects there; ``slope`` (J,), ``expected`` and ``observed`` (J, J) are the
    derivatives of minus the restricted log likelihood; ``first`` (J, p, p) and ``second`` (J, J, p, p) as in
    ``Sensitivity``.
    """

    beta: np.ndarray
    root: np.ndarray
    slope: np.ndarray
    expected: np.ndarray
    observed: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class _Whitened:
    """A block in units of its own errors: the inverse factor of V (n, m, m), fixed (n, m, p), value (n, m)."""

    block: _Block
    inverse: np.ndarray
    fixed: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class _Model:
    """The summands of V and the rows."""

    parts: list[_Part]
    scaled: _Scaled

    @property
    def size(self) -> int:
        return sum(part.mapping.size for part in self.parts)

    def start(self, share: float) -> np.ndarray:
        """Return free parameters where the first of two parts explains a share of the variance."""
        shares = (share, 1 - share) if len(self.parts) == 2 else (1.0,) * len(self.parts)
        begun = [part.start(variance, share) for part, variance in zip(self.parts, shares, strict=True)]
        return np.concatenate(begun) if begun else np.zeros(0)

    def loss(self, point: _Point, others: list[_Point]) -> float:
        """Return how far a point's log likelihood is below the best of others."""
        return (point.value - min(other.value for other in others)) * self.scaled.rows

    def gradient(self, point: _Point) -> float:
        return float(np.abs(point.slope).max(initial=0.0))

    def uphill(self, point: _Point) -> float:
        """Return the steepest way up, per row, that a parameter at its limit hides from the gradient."""
        slopes = self._split(point.moments.slope / self.scaled.rows)
        each = [m.uphill(t, s) for m, t, s in zip(self._mappings, self._split(point.theta), slopes, strict=True)]
        return max(each, default=0.0)

    @property
    def _mappings(self) -> list[_Mapping]:
        return [part.mapping for part in self.parts]

    def _split(self, parameters: np.ndarray) -> list[np.ndarray]:
        return np.split(parameters, np.cumsum([part.mapping.size for part in self.parts], dtype=int))[:-1]

    def climb(self, theta: np.ndarray) -> _Point | None:
        """Follow Newton's steps to the end; None where V is singular at the start.

        A direction of negative curvature is taken by its size: the way leads down there too, away from a saddle.
        """
        point = self.at(theta)
        for _ in range(_STEPS):
            if point is None or self.gradient(point) <= _AIM:
                return point
            after = self._stepped(point)
            if after is None:
                return point
            point = after
        return point

    def _stepped(self, point: _Point) -> _Point | None:
        """Return the point after a step, halved until the likelihood does not fall; None where none is found."""
        values, vectors = np.linalg.eigh(point.curvature)
        size = np.maximum(np.abs(values), max(_FLAT * float(np.abs(values).max()), _TINY))
        step = -vectors @ (vectors.T @ point.slope / size)
        step *= min(1.0, _LONGEST / float(np.abs(step).max()))
        for _ in range(_HALVINGS):
            after = self.at(point.theta + step)
            if after is not None and after.value <= point.value + _ROUNDING * abs(point.value):
                return after
            step /= 2
        return None

    def at(self, theta: np.ndarray) -> _Point | None:
        """Return the likelihood at free parameters; None where V is singular."""
        free = self._split(theta)
        natural = [mapping.natural(part) for mapping, part in zip(self._mappings, free, strict=True)]
        whitened = self._whitened(natural)
        if whitened is None:
            return None
        try:
            value, moments = self._moments(natural, whitened)
        except np.linalg.LinAlgError:
            return None
        rows, n = self.scaled.rows, len(theta)
        slopes = self._split(moments.slope)
        jacobian, curvature, at = np.zeros((n, n)), np.zeros((n, n)), 0
        for mapping, part, slope in zip(self._mappings, free, slopes, strict=True):
            own = slice(at, at := at + mapping.size)
            jacobian[own, own] = mapping.jacobian(part)
            curvature[own, own] = mapping.curvature(part, slope)
        curvature += jacobian.T @ moments.observed @ jacobian
        return _Point(theta, value / rows, moments.slope @ jacobian / rows, curvature / rows, moments)

    def _whitened(self, natural: list[np.ndarray]) -> list[_Whitened] | None:
        found = []
        for block in self.scaled.blocks:
            covariance = block.known[:, :, None] * np.eye(block.known.shape[1])
            for part, phi in zip(self.parts, natural, strict=True):
                covariance = covariance + part.covariance(phi, block)
            try:
                lower = np.linalg.cholesky(covariance)
            except np.linalg.LinAlgError:
                return None
            pivots = np.einsum("naa->na", lower)
            if not np.all(pivots**2 > _DEFINITE):
                return None
            inverse = np.linalg.inv(lower)
            value = (inverse @ block.value[..., None])[..., 0]
            found.append(_Whitened(block, inverse, inverse @ block.fixed, value))
        return found

    def _moments(self, natural: list[np.ndarray], whitened: list[_Whitened]) -> tuple[float, _Moments]:
        r"""Return minus the restricted log likelihood, less its constant, and its derivatives.

        With P the projected inverse of V (Harville 1977; Lindstrom and Bates 1988): the slope is
        :math:`(\mathrm{tr} P V_j - y' P V_j P y) / 2`, the expected information
        :math:`\mathrm{tr}(P V_j P V_k) / 2`, the observed one
        :math:`(\mathrm{tr} P V_{jk} - \mathrm{tr} P V_j P V_k) / 2 + y' P V_j P V_k P y - y' P V_{jk} P y / 2`.
        """
        p = len(self.scaled.beta)
        normal = sum((w.fixed.reshape(-1, p).T @ w.fixed.reshape(-1, p) for w in whitened), np.zeros((p, p)))
        toward = sum((w.fixed.reshape(-1, p).T @ w.value.ravel() for w in whitened), np.zeros(p))
        lower = np.linalg.cholesky(normal)
        root = np.linalg.inv(lower).T
        beta = root @ (root.T @ toward)
        sums = _Sums.zeros(self.size, p)
        value = float(np.log(np.diag(lower)).sum())
        for one in whitened:
            residual = one.value - one.fixed @ beta
            value -= float(np.log(np.einsum("naa->na", one.inverse)).sum()) - float(np.sum(residual**2)) / 2
            sums.add(self._first(natural, one), one.fixed @ root, residual)
            sums.add_second(self._second(natural, one), one.fixed @ root, residual)
        return value, sums.moments(beta, root)

    def _first(self, natural: list[np.ndarray], one: _Whitened) -> np.ndarray:
        """Return the derivatives of V, whitened, (J, n, m, m)."""
        n, m = one.value.shape
        each = [part.first(phi, one.block) for part, phi in zip(self.parts, natural, strict=True)]
        stacked = np.concatenate(each) if each else np.zeros((0, n, m, m))
        whitened: np.ndarray = one.inverse @ stacked @ one.inverse.swapaxes(1, 2)
        return whitened

    def _second(self, natural: list[np.ndarray], one: _Whitened) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the second derivatives of V that are not 0, whitened, (n, m, m)."""
        at = 0
        for part, phi in zip(self.parts, natural, strict=True):
            for j, k, derivative in part.second(phi, one.block):
                yield at + j, at + k, one.inverse @ derivative @ one.inverse.swapaxes(1, 2)
            at += part.mapping.size

    def report(self, point: _Point) -> Fit:
        """Return a point in natural units."""
        scaled, moments, free = self.scaled, point.moments, self._split(point.theta)
        natural = [mapping.natural(part) for mapping, part in zip(self._mappings, free, strict=True)]
        root = scaled.to_beta @ moments.root
        between, within = self._covariances(natural)
        df = scaled.rows - len(moments.beta)
        constant = df * (log(2 * pi) / 2 + log(scaled.unit)) + scaled.log_scale
        return Fit(
            beta=scaled.beta + scaled.to_beta @ moments.beta,
            covariance=root @ root.T,
            likelihood=-(point.value * scaled.rows + constant),
            between=between,
            within=within,
            singular=any(m.edge(part) for m, part in zip(self._mappings, free, strict=True)),
            gradient=self.gradient(point),
            sensitivity=Sensitivity(
                root,
                moments.first,
                self._cross(natural, moments.root),
                moments.second,
                moments.expected,
                moments.observed,
            ),
        )

    def _cross(self, natural: list[np.ndarray], root: np.ndarray) -> np.ndarray:
        size, p = self.size, len(root)
        found = np.zeros((size * p, size * p))
        for one in self._whitened(natural) or []:
            turned = (
                (self._first(natural, one) @ (one.fixed @ root)).transpose(0, 3, 1, 2).reshape(size * p, one.value.size)
            )
            found += turned @ turned.T
        return found.reshape(size, p, size, p).transpose(0, 2, 1, 3)

    def _covariances(self, natural: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return G and the parameters of R in natural units."""
        between, within, scaled = np.zeros((0, 0)), np.zeros(0), self.scaled
        for part, phi in zip(self.parts, natural, strict=True):
            if isinstance(part, _Correlated):
                last = scaled.years if part.correlation is _by_time else 1.0
                within = phi * np.append(np.full(part.levels, scaled.unit**2), last)
            elif part is self.parts[0] and len(scaled.to_random):
                standard = part.mapping.matrix(phi) if isinstance(part.mapping, _Triangle) else np.diag(phi)
                between = scaled.to_random @ standard @ scaled.to_random.T
            else:
                within = phi * scaled.unit**2
        return between, within


@dataclass
class _Sums:
    """Sums over blocks that the derivatives are made of, J parameters and p fixed effects of unit variance."""

    trace: np.ndarray
    square: np.ndarray
    pairs: np.ndarray
    seen: np.ndarray
    squares: np.ndarray
    pull: np.ndarray
    first: np.ndarray
    bend: np.ndarray
    second: np.ndarray

    @classmethod
    def zeros(cls, size: int, p: int) -> _Sums:
        shapes = ((size,), (size,), *((size, size),) * 3, (size, p), (size, p, p), (size, size), (size, size, p, p))
        return cls(*map(np.zeros, shapes))

    def add(self, first: np.ndarray, fixed: np.ndarray, residual: np.ndarray) -> None:
        """Add a block: derivatives of V (J, n, m, m), fixed (n, m, p) and residual (n, m), whitened."""
        size, p, rows = len(first), fixed.shape[2], residual.size
        columns = fixed.reshape(rows, p)
        flat, turned = first.reshape(size, rows * residual.shape[1]), (first @ fixed).reshape(size, rows * p)
        pulled = (first @ residual[..., None]).reshape(size, rows)
        self.trace += np.einsum("jnaa->j", first)
        self.square += pulled @ residual.ravel()
        self.pairs += flat @ flat.T
        self.seen += turned @ turned.T
        self.squares += pulled @ pulled.T
        self.pull += pulled @ columns
        self.first += columns.T @ turned.reshape(size, rows, p)

    def add_second(
        self, second: Iterator[tuple[int, int, np.ndarray]], fixed: np.ndarray, residual: np.ndarray
    ) -> None:
        """Add a block's second derivatives of V, (n, m, m) each, whitened."""
        columns = fixed.reshape(residual.size, fixed.shape[2])
        for j, k, derivative in second:
            projected = columns.T @ (derivative @ fixed).reshape(columns.shape)
            square = float(np.sum(residual * (derivative @ residual[..., None])[..., 0]))
            bend = (float(np.einsum("naa->", derivative)) - float(np.trace(projected)) - square) / 2
            self.bend[j, k] += bend
            self.second[j, k] += projected
            if j != k:
                self.bend[k, j] += bend
                self.second[k, j] += projected

    def moments(self, beta: np.ndarray, root: np.ndarray) -> _Moments:
        """Return the derivatives."""
        projected = self.pairs - 2 * self.seen + np.einsum("jab,kab->jk", self.first, self.first)
        pulled = self.squares - self.pull @ self.pull.T
        return _Moments(
            beta=beta,
            root=root,
            slope=(self.trace - np.einsum("jaa->j", self.first) - self.square) / 2,
            expected=projected / 2,
            observed=pulled - projected / 2 + self.bend,
            first=self.first,
            second=self.second,
        )
