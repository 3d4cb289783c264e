"""One patient's curve over time: decline or rise to a plateau, with profile limits that may stay open.

Every curve here is linear in one or two amounts and non-linear in a rate (and a time of inflection). The rate is
searched on a grid and the amounts follow by least squares that are not negative (variable projection: Golub and
Pereyra 2003): the fit is global and needs no start values. Limits are those of the profile likelihood (Bates and
Watts 1988, ch. 6): all values of a term that some curve holds whose misfit is not too far above the least. Where the
data do not bound a term, its limit is 0 or inf, and the note says "at most" or "at least".

The names speak of time only: a decline is what was seen, not what caused it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import asinh, inf, isfinite, isnan, log, nan

import numpy as np
import pandas as pd
from scipy import optimize, stats

from monitor._stats import limits, line, series
from monitor._stats.series import Series
from monitor.types import Trend

INTERVAL_KINDS = {
    "profile_chi2": "profile limits from the given errors alone (chi-square, 1 df): biology is not in them",
    "profile_f": "profile limits from the patient's scatter about the curve (F, 1 and n - p df)",
}
"""Kinds of interval beside those of ``limits.INTERVAL_KINDS``."""

TIMES_FOR_CURVE = 3
"""Different times from which a curve is fitted; two hold a change only (as many terms as a curve has)."""

TIMES_FOR_SHAPE = 6
"""Different times from which another shape than an exponential is considered: two more than the most terms, 4."""

TIMES_EACH_SIDE = 2
"""Different times needed before and after the inflection of a sigmoid: one side alone does not show a bend."""

AICC_MARGIN = 4.0
"""AICc by which a sigmoid must beat the curve without inflection: considerably less support (Burnham and Anderson
2002, p. 70)."""

MISSHAPEN = 0.001
"""Level at which the given errors reject a curve's shape, if a monotone one fits: about one patient in a thousand."""

MISSHAPEN_SCATTER = 0.15
"""Scatter about a rejected curve, over the size of its fall or rise, from which the shape is blamed: below, it may be
biology that is not in the given errors. Own choice: a fall in two equal steps leaves 0.2, biology of 10 % some 0.1."""

SCATTER_DF = 2
"""Degrees of freedom from which a scatter beyond the given errors sets the limits: with one, F is 161 and they are
open on both sides."""

WAY = 0.9
"""Share of the way from the first visit's fitted value to the plateau that ``time_to_90`` asks for."""

COLUMNS = (
    *("patient_id", "model", "term", "estimate", "lo", "hi", "open_lo", "open_hi", "unit", "interval_kind"),
    *("n_visits", "note"),
)
"""Columns of ``curves``."""

_ROUNDING = 1e-12
"""Relative size of what is rounding of doubles in sums of a few squares."""

_EDGE = 1e-9
"""Part of the misfit's range within which a limiting curve (rate 0 or inf) counts as the best one."""

_RATE_STEP = 0.05
"""Step of the grid of log rates; a misfit with 5 % errors changes far more slowly."""

_SLOWEST, _FASTEST = 1e-4, 40.0
"""Least rate times the whole span, and largest rate times the shortest gap: beyond, the limiting curves (exp(-40)
is below rounding)."""

_SIGMOID_GRID = 30
"""Nodes on each axis of a sigmoid's grid."""

_SIGMOID_RATE = (0.05, 200.0)
"""Least and largest rate of a sigmoid times the span: nearly straight, and a step within a 200th of the span."""

_INFLECTION = (-1.0, 3.0)
"""Times of inflection that are searched, in spans after the first visit. One at the end stands for all later ones."""

_LOG_LINEAR_RATE = (0.01, 60.0)
"""Rate times the span where the grid of log-linear rates turns from even to logarithmic, and its largest."""

_FINEST, _ROUNDS = 1e-7, 60
"""Cell, in logs of the rate and in spans, at which a search ends: a ten-millionth; and most rounds of it."""

_WINDOW = {1: 41, 2: 9}
"""Nodes on each axis of the window of a search in one and in two dimensions; odd, so that the centre is one."""

Nodes = np.ndarray
"""Non-linear terms, (K, d): log of rate times span, and for a sigmoid the inflection in spans."""


@dataclass(frozen=True)
class _Shape:
    """A family of curves ``base + amount * column``.

    Attributes
    ----------
    rising : bool
        Whether the amount is a rise.
    base : bool
        Whether there is a constant beside the column.
    n_parameters : int
        Linear and non-linear terms.
    column : callable
        Nodes (K, d) and time in spans (n,) to the column (K, n), between 0 and 1.
    plateau : callable
        Nodes to the column's value at infinite time, (K,).
    time_to_90 : callable
        Nodes to the time in spans at which ``WAY`` of the way to the plateau is gone, (K,).
    axes : callable
        Problem to the grid: d arrays.
    """

    name: str
    rising: bool
    base: bool
    n_parameters: int
    column: Callable[[Nodes, np.ndarray], np.ndarray]
    plateau: Callable[[Nodes], np.ndarray]
    time_to_90: Callable[[Nodes], np.ndarray]
    axes: Callable[[_Problem], tuple[np.ndarray, ...]]


@dataclass(frozen=True, eq=False)
class _Problem:
    """One patient's visits: time in spans from the first (n,), weights 1/se or 1 (n,), weighted values (n,)."""

    rows: Series
    start_years: float
    span_years: float
    tau: np.ndarray
    weight: np.ndarray
    value: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """Different times, in spans."""
        return np.unique(self.tau)

    @property
    def total(self) -> float:
        """Weighted sum of squares of the values."""
        return float(self.value @ self.value)


@dataclass(frozen=True, eq=False)
class _Fit:
    """The best curve of a shape: its node (d,), base, amount and misfit, and the grid (K, d) it was found on."""

    problem: _Problem
    shape: _Shape
    node: np.ndarray
    base: float
    amount: float
    misfit: float
    grid: Nodes
    cell: np.ndarray

    @property
    def rate(self) -> float:
        """Rate per year; 0 or inf where a limiting curve is the best."""
        return float(np.exp(self.node[0])) / self.problem.span_years

    @property
    def first(self) -> float:
        """Fitted value at the first visit."""
        return float(self.at(np.zeros(1))[0])

    @property
    def plateau(self) -> float:
        """Value at infinite time."""
        return self.base + self.amount * float(self.shape.plateau(self.node[None])[0]) if self.amount else self.base

    @cached_property
    def allowance(self) -> _Allowance:
        """How far above ``misfit`` the curves of the limits may lie."""
        return _allowance(self)

    @cached_property
    def rate_limits(self) -> tuple[float, float]:
        """Limits of the rate per year."""
        return _rate_limits(self)

    def at(self, tau: np.ndarray) -> np.ndarray:
        """Return the fitted values at times in spans."""
        return self.base + self.amount * self.shape.column(self.node[None], tau)[0]


@dataclass(frozen=True)
class _Allowance:
    """How far above the least misfit a curve may lie (NaN: no interval), and what a reader must know of it."""

    misfit: float
    df: float
    kind: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Choice:
    """What a patient's visits can hold: the model, its fit, the exponential one, and why."""

    problem: _Problem
    model: str
    chosen: _Fit | None
    exponential: _Fit | None
    why: str
    refusal: str = ""


def half_life(data: pd.DataFrame) -> Trend:
    """Return the half-life of one patient's decline to a plateau, in years.

    The curve is ``C + A exp(-k t)`` with ``A, C >= 0``: the plateau ``C`` is always fitted, and what is halved is
    the amount above it. Limits are the profile's: with ``se`` by chi-square, without by F. Where the scatter
    exceeds the given errors (5 % level, 2 df or more), they count as relative ones and the limits are those of F.

    Parameters
    ----------
    data : DataFrame
        One patient; columns ``years``, ``value`` [, ``se``, ``unit``, ``patient_id``]. A negative value counts as
        noise about zero.

    Returns
    -------
    Trend
        ``unit`` is a. ``lo`` 0 and ``hi`` inf are open sides, said in the note: "at most", or bounded on neither side
        (a constant is a curve of every half-life: where it is allowed, all half-lives are). ``estimate`` is NaN
        where nothing declines, where fewer than three times are there, where the shape is another one, or where the
        whole fall lies before the second visit; the note says which. ``se`` and ``p_value`` are NaN: the profile is
        skew, and at ``k = 0``, where ``A`` and ``C`` are one, no law of a p value is known.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, or the data are of several patients.

    Examples
    --------
    >>> years = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    >>> trend = half_life(pd.DataFrame({"years": years, "value": 20 + 80 * 0.5 ** (years / 0.25), "se": 2.0}))
    >>> round(trend.estimate, 3), round(trend.lo, 3), round(trend.hi, 3), trend.unit
    (0.25, 0.204, 0.313, 'a')
    """
    choice = _choose(_problem(series.read(data, one_patient=True)))
    fit = choice.exponential
    if fit is None or choice.refusal:
        return _trend(choice, _refused_row(choice), nan)
    return _trend(choice, _half_life_row(choice, fit), fit.allowance.df)


def curves(data: pd.DataFrame) -> pd.DataFrame:
    """Return the terms of each patient's curve, with profile limits.

    Which curve is by the number of different times: below three, the change only; from three, the exponential to
    a plateau (a straight or log-linear line for a rise that does not bend); from six, a logistic or Gompertz
    curve where its inflection has two times on each side and AICc is lower by ``AICC_MARGIN``. Where the given errors
    reject all of these but not a monotone course, and the scatter is 15 % of the fall or rise or more, the
    monotone envelope (isotonic regression) and the log-linear doubling or halving time.

    Parameters
    ----------
    data : DataFrame
        Columns ``years``, ``value`` [, ``se``, ``unit``, ``patient_id``]; without ``patient_id``, one patient.

    Returns
    -------
    DataFrame
        A row a patient and term. Terms: half_life (of the exponential decline), time_to_90 (years from the first
        visit to 90 % of the way to the plateau), plateau, plateau_fraction (of the fitted first value), amplitude
        (between both), rate_constant (1/a), doubling_time and halving_time (log-linear), change. ``open_lo`` and
        ``open_hi`` tell limits that the data leave at the end of what is possible.

    Raises
    ------
    ValueError
        If columns are missing or no numbers.

    Examples
    --------
    >>> years = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    >>> table = curves(pd.DataFrame({"years": years, "value": 20 + 80 * 0.5 ** (years / 0.25), "se": 2.0}))
    >>> table.set_index("term")["estimate"].round(3).to_dict()
    {'half_life': 0.25, 'time_to_90': 0.83, 'plateau': 20.0, 'amplitude': 80.0, 'rate_constant': 2.773,
     'plateau_fraction': 0.2}
    """
    rows = series.read(data, one_patient="patient_id" not in data)
    found: list[dict[str, object]] = []
    for code, patient in enumerate(rows.ids):
        own = rows.keep(np.arange(len(rows.ids)) == code)
        found += [{"patient_id": patient, **row, "n_visits": len(own.years)} for row in _rows(_choose(_problem(own)))]
    return pd.DataFrame(found, columns=list(COLUMNS))


def fitted(data: pd.DataFrame, years: np.ndarray) -> np.ndarray:
    """Return the chosen curve of one patient, for drawing.

    Parameters
    ----------
    data : DataFrame
        One patient, as in ``half_life``.
    years : (M,) array
        Times on the scale of ``data``.

    Returns
    -------
    (M,) array
        In the unit of ``value``. NaN before the first visit, everywhere where no curve was fitted, and after the
        last visit where the curve is the monotone envelope.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, or the data are of several patients.

    Examples
    --------
    >>> visits = pd.DataFrame({"years": [0.0, 1.0, 2.0], "value": [100.0, 60.0, 40.0]})
    >>> fitted(visits, np.array([-1.0, 0.0, 3.0])).round(6).tolist()
    [nan, 100.0, 30.0]
    """
    choice = _choose(_problem(series.read(data, one_patient=True)))
    wanted = np.asarray(years, dtype=float)
    tau = (wanted - choice.problem.start_years) / choice.problem.span_years
    if choice.chosen is not None:
        values = choice.chosen.at(np.maximum(tau, 0.0))
    elif choice.model == "monotone_envelope" and choice.exponential is not None:
        levels = _envelope(choice.problem, rising=choice.exponential.shape.rising)
        values = np.interp(tau, choice.problem.times, levels, right=nan)
    else:
        values = np.full(wanted.shape, nan)
    return np.where(tau >= 0, values, nan)


def _problem(rows: Series) -> _Problem:
    start = float(rows.years.min()) if len(rows.years) else 0.0
    span = float(np.ptp(rows.years)) if len(rows.years) else 0.0
    span = span if span > 0 else 1.0
    weight = np.ones(len(rows.years)) if rows.se is None else 1 / rows.se
    negative = int((rows.value < 0).sum())
    rows = rows.noting(f"{negative} negative value(s) count as noise about zero") if negative else rows
    return _Problem(rows, start, span, (rows.years - start) / span, weight, rows.value * weight)


# Shapes


def _exponent(nodes: Nodes, tau: np.ndarray) -> np.ndarray:
    """Return rate times time, (K, n); 0 at time 0 even for an infinite rate."""
    with np.errstate(invalid="ignore"):
        product: np.ndarray = np.where(tau == 0, 0.0, np.exp(nodes[:, :1]) * tau)
    return product


def _falling(nodes: Nodes, tau: np.ndarray) -> np.ndarray:
    column: np.ndarray = np.exp(-_exponent(nodes, tau))
    return column


def _rising(nodes: Nodes, tau: np.ndarray) -> np.ndarray:
    """Return the rise relative to that at the last visit; a straight line for rate 0."""
    rate = np.exp(nodes[:, :1])
    with np.errstate(invalid="ignore"):
        column: np.ndarray = np.where(rate > 0, np.expm1(-_exponent(nodes, tau)) / np.expm1(-rate), tau)
    return column


def _rising_plateau(nodes: Nodes) -> np.ndarray:
    with np.errstate(divide="ignore"):
        plateau: np.ndarray = -1 / np.expm1(-np.exp(nodes[:, 0]))
    return plateau


def _exponential_90(nodes: Nodes) -> np.ndarray:
    with np.errstate(divide="ignore"):
        time: np.ndarray = -log(1 - WAY) / np.exp(nodes[:, 0])
    return time


def _growing(nodes: Nodes, tau: np.ndarray) -> np.ndarray:
    """Return exp(r t), relative to its largest; the node is asinh of the rate (see ``_LOG_LINEAR_RATE``)."""
    rate = _log_linear_rate(nodes[:, :1])
    column: np.ndarray = np.exp(rate * tau - np.maximum(rate, 0.0))
    return column


def _log_linear_rate(node: np.ndarray) -> np.ndarray:
    rate: np.ndarray = _LOG_LINEAR_RATE[0] * np.sinh(node)
    return rate


def _logistic(z: np.ndarray) -> np.ndarray:
    """Return the log of the logistic law at z."""
    share: np.ndarray = -np.logaddexp(0.0, -z)
    return share


def _gompertz(z: np.ndarray) -> np.ndarray:
    """Return the log of the Gompertz curve exp(-exp(-z))."""
    share: np.ndarray = -np.exp(-z)
    return share


def _gompertz_left(z: np.ndarray) -> np.ndarray:
    """Return the log of 1 - exp(-exp(-z)); for large z this is -z."""
    left: np.ndarray = np.where(z > -_GOMPERTZ_GONE, np.log(-np.expm1(-np.exp(-np.maximum(z, -_GOMPERTZ_GONE)))), 0.0)
    return left


_GOMPERTZ_GONE = 5.0
"""Below minus this z, exp(-exp(-z)) is below 1e-64 and 1 minus it is 1."""

_LAWS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "logistic": (_logistic, lambda z: _logistic(-z)),
    "gompertz": (_gompertz, _gompertz_left),
}
"""Log of the share of the way gone, and of the share left, at z = rate * (time - inflection)."""

_QUANTILES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "logistic": lambda log_left: np.log(-np.expm1(log_left)) - log_left,
    "gompertz": lambda log_left: -np.log(-np.log1p(-np.exp(log_left))),
}
"""z at which a share is left, from its log."""


def _sigmoid(law: str, *, rising: bool, base: bool) -> _Shape:
    """Return a logistic or Gompertz shape, relative to its first value where it falls, to its last where it rises."""
    gone, left = _LAWS[law]

    def z(nodes: Nodes, tau: np.ndarray) -> np.ndarray:
        product: np.ndarray = np.exp(nodes[:, :1]) * (tau - nodes[:, 1:])
        return product

    def column(nodes: Nodes, tau: np.ndarray) -> np.ndarray:
        share, origin = (gone, 1.0) if rising else (left, 0.0)
        relative: np.ndarray = np.exp(share(z(nodes, tau)) - share(z(nodes, np.array([origin]))))
        return relative

    def plateau(nodes: Nodes) -> np.ndarray:
        if not rising:
            return np.zeros(len(nodes))
        with np.errstate(over="ignore"):
            last = np.exp(-gone(z(nodes, np.ones(1)))[:, 0])
        return np.where(nodes[:, 1] >= _INFLECTION[1], inf, last)

    def time_to_90(nodes: Nodes) -> np.ndarray:
        log_left = left(z(nodes, np.zeros(1)))[:, 0] + log(1 - WAY)
        time: np.ndarray = nodes[:, 1] + _QUANTILES[law](log_left) / np.exp(nodes[:, 0])
        return np.where(nodes[:, 1] >= _INFLECTION[1], inf, time)

    name = f"{law}_{'rise' if rising else 'decline'}{'_from_base' if rising and base else ''}"
    return _Shape(name, rising, base, 3 + base, column, plateau, time_to_90, _sigmoid_axes)


def _rate_axis(problem: _Problem) -> tuple[np.ndarray, ...]:
    fastest = _FASTEST / float(np.diff(problem.times).min())
    steps = int(np.ceil(log(fastest / _SLOWEST) / _RATE_STEP))
    return (np.linspace(log(_SLOWEST), log(fastest), steps + 1),)


def _sigmoid_axes(problem: _Problem) -> tuple[np.ndarray, ...]:
    del problem
    rates = np.linspace(log(_SIGMOID_RATE[0]), log(_SIGMOID_RATE[1]), _SIGMOID_GRID)
    return rates, np.linspace(*_INFLECTION, _SIGMOID_GRID)


def _log_linear_axis(problem: _Problem) -> tuple[np.ndarray, ...]:
    del problem
    largest = asinh(_LOG_LINEAR_RATE[1] / _LOG_LINEAR_RATE[0])
    steps = int(np.ceil(largest / _RATE_STEP))
    return (np.linspace(-largest, largest, 2 * steps + 1),)


def _unbounded(nodes: Nodes) -> np.ndarray:
    return np.full(len(nodes), inf)


DECLINE = _Shape(
    "exponential_decline", False, True, 3, _falling, lambda nodes: np.zeros(len(nodes)), _exponential_90, _rate_axis
)
"""C + A exp(-k t)."""

RISE = _Shape("exponential_rise", True, True, 3, _rising, _rising_plateau, _exponential_90, _rate_axis)
"""C + A (1 - exp(-k t))."""

LOG_LINEAR = _Shape("log_linear", True, False, 2, _growing, _unbounded, _unbounded, _log_linear_axis)
"""A exp(r t), r of either sign; fitted on the scale of the values, so that zeros count."""

SIGMOIDS = {
    False: tuple(_sigmoid(law, rising=False, base=True) for law in _LAWS),
    True: tuple(_sigmoid(law, rising=True, base=base) for law in _LAWS for base in (False, True)),
}
"""Sigmoids that fall (to a plateau that is fitted) and that rise (from zero or from a base)."""


# Least squares


def _fit(problem: _Problem, shape: _Shape) -> _Fit:
    """Return the best curve of a shape: the grid, then a search from its lowest valleys."""
    axes = shape.axes(problem)
    cell = np.array([axis[1] - axis[0] for axis in axes])
    grid = np.stack([values.ravel() for values in np.meshgrid(*axes, indexing="ij")], axis=1)
    if shape.axes is _rate_axis:
        grid = np.concatenate([[[-inf]], grid, [[inf]]])

    def score(nodes: Nodes) -> np.ndarray:
        return -_least_squares(problem, shape, nodes)[2]

    misfits = -score(grid)
    found = [_climb(score, grid[i], cell, _inside(grid)) for i in _valleys(misfits, len(axes))]
    node, highest = max(found, key=lambda pair: pair[1])
    if shape.axes is _rate_axis:
        # A limiting curve is approached, never reached: within rounding of the best it is the best.
        slack = _EDGE * float(np.ptp(misfits)) + _ROUNDING**2 * problem.total
        node = next((grid[end] for end in (0, -1) if misfits[end] <= -highest + slack), node)
    base, amount, misfit = (float(part[0]) for part in _least_squares(problem, shape, node[None]))
    return _Fit(problem, shape, node, base, amount, misfit, grid, cell)


def _valleys(misfits: np.ndarray, dimensions: int) -> np.ndarray:
    """Return where to search: the lowest local minima of a line, the lowest node of a plane."""
    if dimensions > 1:
        return np.array([np.argmin(misfits)])
    walled = np.concatenate([[inf], misfits, [inf]])
    low = np.flatnonzero((misfits <= walled[:-2]) & (misfits <= walled[2:]))
    return low[np.argsort(misfits[low], kind="stable")][:_VALLEYS]


_VALLEYS = 3
"""Local minima on the grid of rates that are searched; the misfit has seldom more than one."""


def _inside(grid: Nodes) -> np.ndarray:
    """Return the least and largest finite coordinates of a grid, (2, d)."""
    finite = grid[np.isfinite(grid).all(axis=1)]
    return np.stack([finite.min(axis=0), finite.max(axis=0)])


def _climb(
    score: Callable[[Nodes], np.ndarray], start: np.ndarray, cell: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the node of the highest score near a node of the grid, and the score.

    A window of nodes is moved until its centre is the best, then made finer. The score may be -inf in places:
    the search then ends at the border of where it is finite.
    """
    best, highest = start, float(score(start[None])[0])
    half = cell.copy()
    offsets = np.linspace(-1, 1, _WINDOW[len(cell)])
    unit = np.stack([values.ravel() for values in np.meshgrid(*[offsets] * len(cell), indexing="ij")], axis=1)
    for _ in range(_ROUNDS if np.isfinite(start).all() else 0):
        nodes = np.clip(best + unit * half, *inside)
        values = score(nodes)
        winner = int(np.argmax(values))
        within = (np.abs(unit[winner]) < 1) | (nodes[winner] <= inside[0]) | (nodes[winner] >= inside[1])
        if values[winner] > highest:
            best, highest = nodes[winner], float(values[winner])
        else:
            within = np.full(len(cell), True)
        half = np.where(within, half * 2 * (offsets[1] - offsets[0]), half)
        if (half < _FINEST).all():
            break
    return best, highest


def _columns(problem: _Problem, shape: _Shape, nodes: Nodes) -> np.ndarray:
    """Return the weighted columns, (K, n); 0, which no curve profits from, where a column is no number."""
    return np.nan_to_num(shape.column(nodes, problem.tau), nan=0.0, posinf=0.0) * problem.weight


@dataclass(frozen=True)
class _Triangle:
    """The least squares of base and amount in triangular form, (K,) each, without the bounds.

    ``base * r11 + amount * r12 = b1`` and ``amount * r22 = b2``; ``misfit`` is that of their solution.
    """

    r11: float
    r12: np.ndarray
    r22: np.ndarray
    b1: float
    b2: np.ndarray
    misfit: np.ndarray

    @property
    def amount(self) -> np.ndarray:
        """Amount of the solution; NaN where the column is a constant."""
        solution: np.ndarray = self.b2 / self.r22
        return solution

    @property
    def base(self) -> np.ndarray:
        """Base of the solution."""
        solution: np.ndarray = (self.b1 - self.r12 * self.amount) / self.r11
        return solution


def _triangle(problem: _Problem, columns: np.ndarray) -> _Triangle:
    r11 = float(np.linalg.norm(problem.weight))
    first = problem.weight / r11
    r12 = columns @ first
    # Twice, since the first pass leaves rounding of a column that is nearly constant.
    second = columns - r12[:, None] * first
    second -= (second @ first)[:, None] * first
    r22 = np.linalg.norm(second, axis=1)
    r22 = np.where(r22 > _ROUNDING * np.linalg.norm(columns, axis=1), r22, nan)
    b1 = float(problem.value @ first)
    left = problem.value - b1 * first
    second /= r22[:, None]
    b2 = second @ left
    return _Triangle(r11, r12, r22, b1, b2, np.sum((left - b2[:, None] * second) ** 2, axis=1))


def _least_squares(problem: _Problem, shape: _Shape, nodes: Nodes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return base, amount and misfit of the best curve of each node, (K,) each; neither amount is negative.

    With two columns the least squares that are not negative are the best of four: both, either, none.
    """
    columns = _columns(problem, shape, nodes)
    zero = np.zeros(len(nodes))
    alone = np.maximum(_quotient(columns @ problem.value, np.sum(columns**2, axis=1)), 0.0)
    tried = [(zero, alone, np.sum((problem.value - alone[:, None] * columns) ** 2, axis=1))]
    if shape.base:
        level = max(float(problem.value @ problem.weight / (problem.weight @ problem.weight)), 0.0)
        tried.append((zero + level, zero, zero + np.sum((problem.value - level * problem.weight) ** 2)))
        both = _triangle(problem, columns)
        valid = (both.base >= 0) & (both.amount >= 0)
        tried.append((both.base, both.amount, np.where(valid, both.misfit, inf)))
    best = np.argmin([misfit for _, _, misfit in tried], axis=0)
    base, amount, misfit = (np.choose(best, parts) for parts in zip(*tried, strict=True))
    return base, amount, misfit


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


# Profile limits


def _allowance(fit: _Fit) -> _Allowance:
    """Return how far above the least misfit the curves of the 95 % limits may lie."""
    problem, dof = fit.problem, len(fit.problem.tau) - fit.shape.n_parameters
    if problem.rows.se is None:
        if dof < 1:
            why = f"no interval: {len(problem.tau)} visits for {fit.shape.n_parameters} terms and no se"
            return _Allowance(nan, nan, "none", (why,))
        if fit.misfit <= _ROUNDING**2 * problem.total:
            return _Allowance(nan, nan, "none", ("no interval: no scatter about the curve and no se",))
        return _by_scatter(fit, dof, "without se, all errors are taken as equal")
    notes = ["the interval holds the given errors only, not repositioning or biology"]
    if dof > 0 and stats.chi2.sf(fit.misfit, dof) < line.LACK_OF_FIT:
        exceeds = f"the scatter exceeds the given errors (chi2 {fit.misfit:.3g} at {dof} df)"
        if dof >= SCATTER_DF:
            return _by_scatter(fit, dof, f"{exceeds}: limits from the scatter, errors as relative weights")
        notes.append(f"{exceeds}: the interval is too short")
    return _Allowance(float(stats.chi2.ppf(limits.CONFIDENCE, 1)), inf, "profile_chi2", tuple(notes))


def _by_scatter(fit: _Fit, dof: int, *notes: str) -> _Allowance:
    allowed = float(stats.f.ppf(limits.CONFIDENCE, 1, dof)) * fit.misfit / dof
    return _Allowance(allowed, dof, "profile_f", notes)


Points = tuple[np.ndarray, np.ndarray]
"""Base and amount, (K, m) each, where a term can be extreme on each node; NaN where not allowed."""

Term = Callable[[Nodes, np.ndarray, np.ndarray], np.ndarray]
"""A term from nodes (K, d) and base and amount (K, m), to (K, m)."""


def _profile(fit: _Fit, term: Term, points: Callable[[_Fit, Nodes, float], Points]) -> list[float]:
    """Return the least and largest value of a term over all curves whose misfit is allowed."""
    if isnan(fit.allowance.misfit):
        return [nan, nan]
    most = fit.misfit + fit.allowance.misfit
    grid = np.concatenate([fit.grid, fit.node[None]])

    found = []
    for sign in (-1.0, 1.0):

        def score(nodes: Nodes, sign: float = sign) -> np.ndarray:
            values = sign * term(nodes, *points(fit, nodes, most))
            highest: np.ndarray = np.max(np.where(np.isnan(values), -inf, values), axis=1)
            return highest

        start = grid[np.argmax(score(grid))]
        found.append(sign * _climb(score, start, fit.cell, _inside(fit.grid))[1])
    return found


def _best_points(fit: _Fit, nodes: Nodes, most: float) -> Points:
    """Return the best base and amount of each node: enough for a term of the node alone."""
    base, amount, misfit = _least_squares(fit.problem, fit.shape, nodes)
    allowed = misfit <= most
    return np.where(allowed, base, nan)[:, None], np.where(allowed, amount, nan)[:, None]


def _extreme_points(fit: _Fit, nodes: Nodes, most: float, direction: np.ndarray | None) -> Points:
    """Return where a term can be extreme on each node's ellipse of allowed base and amount.

    The ellipse is cut by the two bounds. A term that is linear in both has its extremes where its ``direction``,
    (K, 2), is normal to the ellipse, a ratio of both (None) at the tangents from the origin, and either at the ends
    of the ellipse's chords along the bounds.
    """
    columns, value = _columns(fit.problem, fit.shape, nodes), fit.problem.value
    zero = np.zeros((len(nodes), 2))
    points = [(zero, _chord(columns, value, most))]
    if fit.shape.base:
        level = _chord(fit.problem.weight[None], value, most)
        points.append((np.repeat(level, len(nodes), axis=0), zero))
        points.append(_normal_points(_triangle(fit.problem, columns), most, direction))
    base, amount = (np.concatenate(parts, axis=1) for parts in zip(*points, strict=True))
    return base + 0 * amount, amount + 0 * base


def _chord(columns: np.ndarray, value: np.ndarray, most: float) -> np.ndarray:
    """Return between which amounts, (K, 2), of one column alone the misfit is allowed, cut at 0; NaN if none."""
    squares = np.sum(columns**2, axis=1)
    centre = _quotient(columns @ value, squares)
    room = most - np.sum((value - centre[:, None] * columns) ** 2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.sqrt(room / squares)
    ends = np.stack([centre - half, centre + half], axis=1)
    return np.where(ends[:, 1:] >= 0, np.maximum(ends, 0.0), nan)


def _normal_points(both: _Triangle, most: float, direction: np.ndarray | None) -> Points:
    room = most - both.misfit
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if direction is None:
            steps = _tangents(np.stack([np.full(len(room), both.b1), both.b2], axis=1), room)
        else:
            along = direction[:, 0] / both.r11
            normal = np.stack([along, (direction[:, 1] - both.r12 * along) / both.r22], axis=1)
            step = normal / np.linalg.norm(normal, axis=1, keepdims=True) * np.sqrt(room)[:, None]
            steps = np.stack([step, -step])
        amount = both.amount + steps[..., 1] / both.r22
        base = (both.b1 + steps[..., 0] - both.r12 * amount) / both.r11
        valid = (base >= 0) & (amount >= 0)
    return np.where(valid, base, nan).T, np.where(valid, amount, nan).T


def _tangents(centre: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Return the steps, (2, K, 2), from the centres of circles to the points where lines from the origin touch."""
    distance = np.sum(centre**2, axis=1)
    inward = -(room / distance)[:, None] * centre
    sideways = np.sqrt(room - room**2 / distance) / np.sqrt(distance)
    across = sideways[:, None] * np.stack([-centre[:, 1], centre[:, 0]], axis=1)
    return np.stack([inward + across, inward - across])


def _rate_limits(fit: _Fit) -> tuple[float, float]:
    """Return the limits of the rate per year; of the log-linear rate, which may be negative, for that shape."""
    lo, hi = _profile(fit, lambda nodes, base, _: nodes[:, :1] + 0 * base, _best_points)
    if fit.shape is LOG_LINEAR:
        edge = _inside(fit.grid)[:, 0]
        ends = np.array([-inf if lo <= edge[0] else lo, inf if hi >= edge[1] else hi])
        lo, hi = _log_linear_rate(ends) / fit.problem.span_years
    else:
        lo, hi = np.exp([lo, hi]) / fit.problem.span_years
    return float(lo), float(hi)


def _linear_limits(fit: _Fit, *, amplitude: bool) -> list[float]:
    """Return the limits of the plateau, or of the amplitude between the first visit and the plateau."""

    def per_amount(nodes: Nodes) -> np.ndarray:
        plateau = fit.shape.plateau(nodes)
        if not amplitude:
            return plateau
        away: np.ndarray = np.abs(plateau - fit.shape.column(nodes, np.zeros(1))[:, 0])
        return away

    def term(nodes: Nodes, base: np.ndarray, amount: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            part = np.where(amount > 0, per_amount(nodes)[:, None] * amount, 0 * amount)
        value: np.ndarray = part if amplitude else base + part
        return value

    def points(fit: _Fit, nodes: Nodes, most: float) -> Points:
        slope = per_amount(nodes)
        slope = np.where(np.isfinite(slope), slope, 1.0)
        return _extreme_points(fit, nodes, most, np.stack([np.full(len(nodes), float(not amplitude)), slope], axis=1))

    return _profile(fit, term, points)


def _fraction_limits(fit: _Fit) -> list[float]:
    """Return the limits of the plateau over the fitted first value, of a decline."""

    def term(nodes: Nodes, base: np.ndarray, amount: np.ndarray) -> np.ndarray:
        del nodes
        with np.errstate(invalid="ignore"):
            fraction: np.ndarray = base / (base + amount)
        return fraction

    return _profile(fit, term, lambda fit, nodes, most: _extreme_points(fit, nodes, most, None))


def _time_limits(fit: _Fit) -> list[float]:
    """Return the limits of the time to 90 %, years."""
    if fit.shape.axes is _rate_axis:
        slowest, fastest = fit.rate_limits
        return [_time_of(-log(1 - WAY), fastest), _time_of(-log(1 - WAY), slowest)]

    def term(nodes: Nodes, base: np.ndarray, amount: np.ndarray) -> np.ndarray:
        del amount
        times: np.ndarray = np.where(np.isnan(base), nan, fit.shape.time_to_90(nodes)[:, None])
        return times

    return [end * fit.problem.span_years for end in _profile(fit, term, _best_points)]


# Which curve


def _choose(problem: _Problem) -> _Choice:
    """Return what a patient's visits can hold."""
    m = len(problem.times)
    if m < TIMES_FOR_CURVE:
        why = f"{len(problem.tau)} visit(s) at {m} time(s) hold no curve" + (", a change only" if m == 2 else "")
        return _Choice(problem, "change" if m == 2 else "none", None, None, why, why)
    falling, rising = _fit(problem, DECLINE), _fit(problem, RISE)
    best = min(falling, rising, key=lambda fit: fit.misfit)
    level = max(float(problem.value @ problem.weight / (problem.weight @ problem.weight)), 0.0)
    constant = float(np.sum((problem.value - level * problem.weight) ** 2))
    if constant - best.misfit <= _ROUNDING * problem.total:
        why = "all values are 0 or below: nothing is there" if level == 0 else "neither declines nor rises"
        return _Choice(problem, "constant", None, None, why, why)
    return _rise(rising) if best is rising else _decline(falling)


def _decline(fit: _Fit) -> _Choice:
    chosen, why = _against_sigmoids(fit)
    if chosen is not fit:
        refusal = f"{chosen.shape.name} describes the fall better than an exponential: no one half-life"
        return _Choice(fit.problem, chosen.shape.name, chosen, fit, why, refusal)
    if _misshapen(fit):
        refusal = "the given errors reject an exponential decline, not a monotone one: no one half-life"
        return _Choice(fit.problem, "monotone_envelope", None, fit, why, refusal)
    return _Choice(fit.problem, fit.shape.name, fit, fit, why)


def _rise(fit: _Fit) -> _Choice:
    refusal = "the values rise: nothing is halved; see doubling_time in curves"
    name, why, candidate = fit.shape.name, "", fit
    if fit.node[0] == -inf:
        compound = _fit(fit.problem, LOG_LINEAR)
        name, candidate = ("log_linear", compound) if compound.misfit < fit.misfit else ("linear", fit)
        why = "the rise does not bend towards a plateau"
    chosen, against = _against_sigmoids(candidate, n_parameters=2 if why else fit.shape.n_parameters)
    why = against if chosen is not candidate or not why else f"{why}; {against}"
    if _misshapen(chosen):
        why = "the given errors reject every curve, not a monotone rise"
        return _Choice(fit.problem, "monotone_envelope", None, fit, why, refusal)
    return _Choice(fit.problem, name if chosen is candidate else chosen.shape.name, chosen, fit, why, refusal)


def _against_sigmoids(fit: _Fit, *, n_parameters: int | None = None) -> tuple[_Fit, str]:
    """Return the fit or a sigmoid that is clearly better, and why."""
    problem, m = fit.problem, len(fit.problem.times)
    if m < TIMES_FOR_SHAPE:
        unchecked = "; no visit is left to check the shape" if len(problem.tau) <= fit.shape.n_parameters else ""
        return fit, f"{m} times: no sigmoid is tried below {TIMES_FOR_SHAPE}{unchecked}"
    needed = _aicc(problem, fit.misfit, n_parameters or fit.shape.n_parameters) - AICC_MARGIN
    # Without misfit at all some shapes would still not be better: they need no fit.
    hopeful = [shape for shape in SIGMOIDS[fit.shape.rising] if _aicc(problem, 0.0, shape.n_parameters) <= needed]
    shown = [sigmoid for sigmoid in (_fit(problem, shape) for shape in hopeful) if _inflection_shown(sigmoid)]
    if not shown:
        return fit, "no sigmoid with its inflection between the visits is better"
    excess = _excess(shown)
    ranked = [_aicc(problem, one.misfit / excess, one.shape.n_parameters) for one in shown]
    gain = _aicc(problem, fit.misfit / excess, n_parameters or fit.shape.n_parameters) - min(ranked)
    if gain < AICC_MARGIN:
        return fit, f"no sigmoid is better by {AICC_MARGIN:g} of AICc"
    return shown[int(np.argmin(ranked))], f"AICc is {gain:.3g} lower than without an inflection"


def _excess(sigmoids: list[_Fit]) -> float:
    """Return the least scatter of the sigmoids relative to the given errors, at least 1.

    AICc divides misfits by it (QAICc: Burnham and Anderson 2002, section 2.5): errors given too small would make any
    richer curve the better one.
    """
    if sigmoids[0].problem.rows.se is None:
        return 1.0
    return max(1.0, min(one.misfit / (len(one.problem.tau) - one.shape.n_parameters) for one in sigmoids))


def _inflection_shown(sigmoid: _Fit) -> bool:
    before = int((sigmoid.problem.times < sigmoid.node[1]).sum())
    return min(before, len(sigmoid.problem.times) - before) >= TIMES_EACH_SIDE


def _aicc(problem: _Problem, misfit: float, terms: int) -> float:
    """Return AIC corrected for small samples (Hurvich and Tsai 1989); inf where n - p <= 1 leaves it no meaning."""
    n = len(problem.tau)
    if problem.rows.se is None:
        terms += 1
        misfit = n * log(max(misfit, _ROUNDING**2 * problem.total) / n)
    return misfit + 2 * terms + 2 * terms * (terms + 1) / (n - terms - 1) if n - terms > 1 else inf


def _misshapen(fit: _Fit) -> bool:
    """Tell whether the given errors reject the curve but not a monotone course in the same direction."""
    problem, n = fit.problem, len(fit.problem.tau)
    dof = n - fit.shape.n_parameters
    if problem.rows.se is None or dof < SCATTER_DF or stats.chi2.sf(fit.misfit, dof) >= MISSHAPEN:
        return False
    if len(problem.times) < TIMES_FOR_SHAPE:
        return False
    curve = fit.at(problem.tau)
    scatter = float(np.sqrt(np.sum((problem.value / problem.weight - curve) ** 2) / dof))
    if scatter < MISSHAPEN_SCATTER * float(np.ptp(curve)):
        return False
    levels = _envelope(problem, rising=fit.shape.rising)
    left = problem.value - np.interp(problem.tau, problem.times, levels) * problem.weight
    free = n - len(np.unique(levels))
    return free < 1 or bool(stats.chi2.sf(float(left @ left), free) >= MISSHAPEN)


def _envelope(problem: _Problem, *, rising: bool) -> np.ndarray:
    """Return the monotone course nearest to the values, at each time (isotonic regression)."""
    means, weights = _means(problem)
    levels: np.ndarray = optimize.isotonic_regression(means, weights=weights, increasing=rising).x
    return levels


def _means(problem: _Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean of the values at each time and its weight, 1/se^2."""
    _, at = np.unique(problem.tau, return_inverse=True)
    weights = np.bincount(at, problem.weight**2)
    return np.bincount(at, problem.value * problem.weight) / weights, weights


# Rows


def _rows(choice: _Choice) -> list[dict[str, object]]:
    fit = choice.exponential
    if fit is None:
        return [_refused_row(choice), *([_change_row(choice)] if choice.model == "change" else [])]
    if fit.shape.rising:
        return [_log_linear_row(choice, "doubling_time"), *_term_rows(choice)]
    if not choice.refusal:
        return [_half_life_row(choice, fit), *_term_rows(choice)]
    rest = _term_rows(choice) if choice.chosen else [_log_linear_row(choice, "halving_time")]
    return [_refused_row(choice), *rest]


def _refused_row(choice: _Choice) -> dict[str, object]:
    return _row(choice, "half_life", (nan, nan, nan), "a", kind="none", note=(choice.refusal, choice.why))


def _term_rows(choice: _Choice) -> list[dict[str, object]]:
    """Return the rows of the chosen curve beside half-life and doubling time."""
    fit = choice.chosen
    if fit is None or fit.shape is LOG_LINEAR:
        return []
    given = fit.allowance
    value_unit = choice.problem.rows.unit.removesuffix("/a")
    rate = fit.rate if 0 < fit.rate < inf else nan
    ninety = float(fit.shape.time_to_90(fit.node[None])[0]) * fit.problem.span_years
    plateau = fit.plateau if isfinite(fit.plateau) else nan
    terms: dict[str, tuple[float, list[float], str]] = {
        "time_to_90": (ninety if 0 < ninety < inf else nan, _time_limits(fit), "a"),
        "plateau": (plateau, _linear_limits(fit, amplitude=False), value_unit),
        "amplitude": (abs(plateau - fit.first), _linear_limits(fit, amplitude=True), value_unit),
        "rate_constant": (rate, list(fit.rate_limits), "1/a"),
    }
    if not fit.shape.rising:
        terms["plateau_fraction"] = (plateau / fit.first, _fraction_limits(fit), "1")
    notes = (choice.why, *given.notes)
    return [
        _row(choice, term, (estimate, *ends), unit, kind=given.kind, note=notes)
        for term, (estimate, ends, unit) in terms.items()
    ]


def _half_life_row(choice: _Choice, fit: _Fit) -> dict[str, object]:
    """Return the half-life of the exponential decline, with what its limits leave open."""
    slowest, fastest = fit.rate_limits
    numbers = log(2) / fit.rate if fit.rate < inf else nan, _time_of(log(2), fastest), _time_of(log(2), slowest)
    notes = [*fit.allowance.notes, choice.why]
    if fit.rate == inf:
        notes.insert(0, "the whole fall lies before the second visit: no best half-life")
    if fit.base == 0:
        notes.append("the best plateau is 0")
    kind, name = fit.allowance.kind, fit.shape.name
    return _row(choice, "half_life", numbers, "a", kind=kind, note=tuple(notes), model=name)


def _log_linear_row(choice: _Choice, term: str) -> dict[str, object]:
    """Return the doubling or halving time of the log-linear trend, which knows no plateau."""
    fit = choice.chosen
    if fit is None or fit.shape is not LOG_LINEAR:
        fit = _fit(choice.problem, LOG_LINEAR)
    sign = 1.0 if term == "doubling_time" else -1.0
    rate = sign * float(_log_linear_rate(fit.node)[0]) / choice.problem.span_years
    slowest, fastest = sorted(sign * end for end in fit.rate_limits)
    numbers = log(2) / rate if rate > 0 else nan, _time_of(log(2), fastest), _time_of(log(2), slowest)
    notes = ("one rate throughout, no plateau", *fit.allowance.notes, choice.why)
    return _row(choice, term, numbers, "a", kind=fit.allowance.kind, note=notes, model=fit.shape.name)


def _change_row(choice: _Choice) -> dict[str, object]:
    """Return the last minus the first value of two times, with normal limits where the errors are given."""
    problem = choice.problem
    means, weights = _means(problem)
    change = float(means[-1] - means[0])
    half = nan if problem.rows.se is None else limits.Z * float(np.sqrt((1 / weights).sum()))
    kind = "none" if isnan(half) else "measurement_error_only"
    ends = (change, change - half, change + half)
    return _row(choice, "change", ends, problem.rows.unit.removesuffix("/a"), kind=kind, note=(choice.why,))


def _row(
    choice: _Choice,
    term: str,
    numbers: tuple[float, ...],
    unit: str,
    *,
    kind: str,
    note: tuple[str, ...],
    model: str = "",
) -> dict[str, object]:
    estimate, lo, hi = numbers
    profile = kind in INTERVAL_KINDS
    open_lo, open_hi = profile and lo == 0, profile and (hi == inf or (term == "plateau_fraction" and hi >= 1))
    said = _open_sides(term, (lo, hi), (open_lo, open_hi), unit)
    return {
        "model": model or choice.model,
        "term": term,
        "estimate": estimate,
        "lo": lo,
        "hi": hi,
        "open_lo": open_lo,
        "open_hi": open_hi,
        "unit": unit,
        "interval_kind": kind,
        "note": "; ".join(dict.fromkeys(filter(None, (said, *choice.problem.rows.notes, *note)))),
    }


def _open_sides(term: str, ends: tuple[float, float], is_open: tuple[bool, bool], unit: str) -> str:
    """Return what the limits of a term say where the data leave a side open; nothing where they do not."""
    if not any(is_open):
        return ""
    what = "half-life" if term == "half_life" else term.replace("_", " ")
    if all(is_open):
        return f"{what} bounded on neither side"
    side, end = ("at most", ends[1]) if is_open[0] else ("at least", ends[0])
    return f"{what} {side} {end:.3g} {'' if unit == '1' else unit}".rstrip()


def _time_of(amount: float, rate: float) -> float:
    """Return the time in which a rate covers an amount of log; inf for a rate of 0 or of the other direction."""
    if isnan(rate):
        return nan
    return amount / rate if rate > 0 else inf


def _trend(choice: _Choice, row: dict[str, object], df: float) -> Trend:
    estimate, lo, hi = (float(str(row[name])) for name in ("estimate", "lo", "hi"))
    return Trend(
        estimate,
        nan,
        df,
        lo,
        hi,
        nan,
        "a",
        "exponential decline to a plateau, variable projection",
        str(row["interval_kind"]),
        n_patients=len(choice.problem.rows.ids),
        n_visits=len(choice.problem.rows.years),
        note=str(row["note"]),
    )
