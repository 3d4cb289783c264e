"""Rates of a cohort by a mixed model: statsmodels fits, and is not believed before two optimisers agree."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm

from monitor._stats import limits
from monitor._stats.series import Series
from monitor.types import Trend

METHOD = "mixed model, REML, random intercept and slope"
"""What ``Trend.method`` says of this file."""

_OPTIMISERS = ("bfgs", "lbfgs", "cg", "powell")
"""Tried in turn until two agree. On BodyWeight unscaled, lbfgs says converged with an se 52 times too large."""

_AGREE_SE = 1e-3
"""Relative difference of two optimisers' se that is the same answer."""

_AGREE_LIKELIHOOD = 1e-3
"""Difference of the restricted log likelihood that is the same maximum."""

_GRADIENT = 1e-2
"""Largest gradient of the restricted log likelihood, standardised data, at an accepted maximum."""

_SINGULAR = 1e-5
"""Smallest over largest eigenvalue of the random effects' covariance below which it is singular."""


class NotFittedError(ValueError):
    """The mixed model has no answer that can be trusted; the caller takes another method."""


@dataclass(frozen=True)
class _Problem:
    """Standardised data: value (N,), fixed (N, p), random (N, k) and the patient of each row.

    The columns of ``random`` are mixed so that unit variances, where the optimisers start, are a good guess.
    """

    value: np.ndarray
    fixed: np.ndarray
    random: np.ndarray
    patient: np.ndarray


@dataclass(frozen=True)
class _Answer:
    """One optimiser's answer, standardised."""

    optimiser: str
    estimate: float
    se: float
    likelihood: float
    singular: bool


def fit(series: Series, terms: np.ndarray, groups: np.ndarray, contrast: np.ndarray) -> Trend:
    """Return a contrast of mean slopes with its interval.

    Parameters are those of ``two_stage.fit``. Degrees of freedom are between patients: patients that hold
    the slope, less the slopes estimated (Schluchter and Elashoff 1990); in complete balanced data that is exact.

    Raises
    ------
    NotFittedError
        If no two optimisers agree on a maximum, or the data are too few for the model.
    """
    if series.se is not None:
        series = series.noting("the mixed model estimates the error and does not use the given se")
    problem, weights, unit = _standardised(series, terms, groups, contrast)
    df = _between_df(series, terms, groups)
    if df < 1 or len(problem.value) <= problem.fixed.shape[1] + problem.random.shape[1]:
        raise NotFittedError(f"{len(series.ids)} patients and {len(series.years)} visits are too few for a mixed model")
    answer, notes = _agreed(problem, weights)
    note = [f"optimisers agree: {answer.optimiser}", *notes]
    if answer.singular:
        note.append("the random effects are at the edge of what is possible (singular)")
    return limits.trend(
        series,
        answer.estimate * unit,
        answer.se * unit,
        df,
        kind="between_within_t",
        method=_name(terms),
        note=tuple(note),
    )


def _name(terms: np.ndarray) -> str:
    return METHOD if terms.shape[1] == 1 else f"{METHOD} and change of slope"


def _between_df(series: Series, terms: np.ndarray, groups: np.ndarray) -> float:
    if terms.shape[1] == 1:
        return float(len(series.ids) - len(np.unique(groups)))
    held = [np.linalg.matrix_rank(rows - rows.mean(axis=0)) for rows in _by_patient(terms, series.patient)]
    return float(sum(rank == terms.shape[1] for rank in held) - 1)


def _by_patient(rows: np.ndarray, patient: np.ndarray) -> list[np.ndarray]:
    return np.split(rows, np.flatnonzero(np.diff(patient)) + 1)


def _standardised(
    series: Series, terms: np.ndarray, groups: np.ndarray, contrast: np.ndarray
) -> tuple[_Problem, np.ndarray, float]:
    """Return the problem in SDs of time and value, the contrast of its fixed effects, and a slope's unit."""
    spread_t, spread_y = float(np.std(terms[:, 0])), float(np.std(series.value))
    if not (spread_t > 0 and spread_y > 0):
        raise NotFittedError("all values are equal")
    time = (terms - [[terms[:, 0].mean(), *([0.0] * (terms.shape[1] - 1))]]) / spread_t
    member = np.eye(int(groups.max()) + 1)[groups[series.patient]]
    slopes = member * time if time.shape[1] == 1 else time
    last = contrast if time.shape[1] == 1 else np.eye(time.shape[1])[-1]
    random = np.column_stack([np.ones(len(time)), time])
    value = (series.value - series.value.mean()) / spread_y
    random = random @ _guess(value, random, series.patient, groups)
    problem = _Problem(value, np.hstack([member, slopes]), random, series.patient)
    return problem, np.concatenate([np.zeros(member.shape[1]), last]), spread_y / spread_t


def _guess(value: np.ndarray, random: np.ndarray, patient: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return a root, (k, k), of the covariance of the random effects over the residual variance.

    From the patients' own least squares: without it, small trials whose patients differ far more than their
    visits scatter do not converge from statsmodels' start of 1 (37 % of 6-patient trials in simulation).
    """
    k = random.shape[1]
    parts = list(zip(_by_patient(random, patient), _by_patient(value, patient), groups, strict=True))
    full = [part for part in parts if np.linalg.matrix_rank(part[0]) == k]
    df = sum(len(rows) - k for rows, _, _ in full)
    if len(full) < k + 2 or df < 1:
        return np.eye(k)
    own = np.array([np.linalg.lstsq(rows, y, rcond=None)[0] for rows, y, _ in full])
    scatter = sum(float(np.sum((y - rows @ b) ** 2)) for (rows, y, _), b in zip(full, own, strict=True)) / df
    of_group = np.array([group for _, _, group in full])
    own -= np.array([own[of_group == group].mean(axis=0) for group in of_group])
    noise = scatter * np.mean([np.linalg.inv(rows.T @ rows) for rows, _, _ in full], axis=0)
    total = own.T @ own / max(len(full) - len(np.unique(of_group)), 1)
    values, vectors = np.linalg.eigh(total - noise)
    floor = _GUESS_FLOOR * max(float(values[-1]), float(np.trace(total)))
    if not (scatter > 0 and floor > 0):
        return np.eye(k)
    return np.linalg.cholesky((vectors * np.maximum(values, floor)) @ vectors.T / scatter)


_GUESS_FLOOR = 1e-3
"""Smallest over largest eigenvalue of the guess, so that the start is not on the edge."""


def _agreed(problem: _Problem, contrast: np.ndarray) -> tuple[_Answer, list[str]]:
    """Return the best answer that two optimisers share, and what went wrong on the way."""
    if np.linalg.matrix_rank(problem.fixed) < problem.fixed.shape[1]:
        raise NotFittedError("the visits do not separate the slopes that the model asks for")
    answers: list[_Answer] = []
    troubles: list[str] = []
    for optimiser in _OPTIMISERS:
        answer, trouble = _one(problem, contrast, optimiser)
        troubles += trouble
        if answer is None:
            continue
        answers.append(answer)
        best = max(answers, key=lambda one: one.likelihood)
        same = [one.optimiser for one in answers if _same(one, best)]
        if len(same) > 1:
            agreed = _Answer(" and ".join(same), best.estimate, best.se, best.likelihood, best.singular)
            return agreed, list(dict.fromkeys(troubles))
    raise NotFittedError(
        f"no two of {', '.join(_OPTIMISERS)} agree ({'; '.join(dict.fromkeys(troubles)) or 'no warning'})"
    )


def _same(one: _Answer, other: _Answer) -> bool:
    close = abs(one.likelihood - other.likelihood) < _AGREE_LIKELIHOOD
    return (
        close
        and abs(one.se - other.se) <= _AGREE_SE * other.se
        and (abs(one.estimate - other.estimate) <= _AGREE_SE * other.se)
    )


def _one(problem: _Problem, contrast: np.ndarray, optimiser: str) -> tuple[_Answer | None, list[str]]:
    """Fit by one optimiser; None where it fails or its gradient is not zero."""
    model = sm.MixedLM(problem.value, problem.fixed, groups=problem.patient, exog_re=problem.random)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = model.fit(reml=True, method=[optimiser])
            gradient = _gradient(model, result)
        except (np.linalg.LinAlgError, FloatingPointError, ZeroDivisionError, ValueError) as error:
            return None, [f"{optimiser}: {error}"]
    troubles = [
        f"{optimiser}: {_first_words(str(one.message))}" for one in caught if "boundary" not in str(one.message)
    ]
    eigen = np.linalg.eigvalsh(np.asarray(result.cov_re))
    singular = bool(eigen[0] <= _SINGULAR * max(eigen[-1], float(result.scale)))
    # At the edge the gradient is that of a nearly singular inverse: two optimisers must agree, that is all.
    if not singular and not gradient <= _GRADIENT:
        return None, [*troubles, f"{optimiser}: gradient {gradient:.2g}"]
    try:
        se = _contrast_se(problem, np.asarray(result.cov_re), float(result.scale), contrast)
    except np.linalg.LinAlgError:
        return None, [*troubles, f"{optimiser}: the variances are singular"]
    estimate = float(contrast @ np.asarray(result.fe_params))
    if not np.all(np.isfinite([estimate, se, result.llf])) or se <= 0:
        return None, [*troubles, f"{optimiser}: no finite answer"]
    return _Answer(optimiser, estimate, se, float(result.llf), singular), troubles


def _first_words(message: str) -> str:
    return " ".join(message.split()[:8])


def _gradient(model: sm.MixedLM, result: object) -> float:
    """Return the largest element of the gradient at the answer, whatever the optimiser says of itself.

    It is NaN where the covariance is singular, and has no Cholesky factor.
    """
    try:
        packed = result.params_object.get_packed(use_sqrt=True, has_fe=False)  # type: ignore[attr-defined]  # statsmodels ships no types
    except np.linalg.LinAlgError:
        return float("nan")
    return float(np.abs(model.score(packed)).max())


def _contrast_se(problem: _Problem, cov_re: np.ndarray, scale: float, contrast: np.ndarray) -> float:
    """Return the se from the fitted variances: statsmodels takes it from a Hessian that fails at the edge."""
    information = np.zeros((len(contrast), len(contrast)))
    random = _by_patient(problem.random, problem.patient)
    for fixed, z in zip(_by_patient(problem.fixed, problem.patient), random, strict=True):
        information += fixed.T @ np.linalg.solve(z @ cov_re @ z.T + scale * np.eye(len(z)), fixed)
    return float(np.sqrt(contrast @ np.linalg.solve(information, contrast)))
