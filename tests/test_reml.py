"""The restricted likelihood against published figures, other routes to the same number, and invariances."""

from __future__ import annotations

from itertools import pairwise
from math import log, pi, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import linalg, optimize
from scipy import stats as law

from monitor._stats import reml, series
from monitor._stats.mixed import NotFittedError
from monitor._stats.reml import Design
from tests.textbook import textbook

TO_SAS = 1.5e-4
"""Relative distance from SAS, which stops a little before the maximum where variances differ by visit."""


def codes(column: pd.Series) -> np.ndarray:
    return pd.factorize(column)[0]


def one(n: int) -> np.ndarray:
    return np.ones((n, 1))


def last(fitted: reml.Fit, **choices: object) -> reml.Contrast:
    return reml.contrast(fitted, np.eye(len(fitted.beta))[-1], **choices)


def sleepstudy() -> Design:
    data = textbook("sleepstudy")
    line = np.column_stack([np.ones(len(data)), data["Days"]])
    return Design(data["Reaction"].to_numpy(float), line, codes(data["Subject"]), line)


def bodyweight(*, random: bool = True) -> Design:
    data = textbook("bodyweight")
    time, diet = data["Time"].to_numpy(float), pd.get_dummies(data["Diet"]).to_numpy(float)
    line = np.column_stack([np.ones(len(time)), time])
    # Time:Diet2 is the last.
    fixed = np.hstack([line, diet[:, 1:], diet[:, 2:] * time[:, None], diet[:, 1:2] * time[:, None]])
    return Design(data["weight"].to_numpy(float), fixed, codes(data["Rat"]), line if random else None, years=time)


def fev(*columns: str) -> Design:
    """FEV1 of 197 patients at up to four visits; the last column is the arm."""
    data = textbook("fev_data").dropna(subset=["FEV1"])
    treated = (data["ARMCD"] == "TRT").to_numpy(float)
    fixed = [np.ones(len(data)), *(data[c.split("=")[0]] == c.split("=")[1] for c in columns), treated]
    visit = data["AVISIT"].str[-1].to_numpy(int) - 1
    return Design(data["FEV1"].to_numpy(float), np.column_stack(fixed), codes(data["USUBJID"]), visit=visit)


def orthodont() -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    """Distance, age from 11, whether male, and the table."""
    data = textbook("orthodont")
    male = (data["Sex"] == "Male").to_numpy(float)
    return data["distance"].to_numpy(float), data["age"].to_numpy(float) - 11, male, data


def made(seed: int, *, n: int = 8, arms: int = 2, noise: float = 0.1, complete: bool = False) -> Design:
    """Lines of patients with known errors; the last column is the difference of two arms' slopes."""
    rng = np.random.default_rng(seed)
    counts = np.full(n, 4) if complete else rng.integers(3, 7, n)
    patient = np.repeat(np.arange(n), counts)
    visit = np.concatenate([np.arange(count) for count in counts])
    years = 0.5 * visit if complete else np.concatenate([np.sort(rng.uniform(0, 2, count)) for count in counts])
    se = rng.uniform(0.02, 0.12, len(years))
    value = rng.normal(0, 0.8, n)[patient] + rng.normal(0.3, 0.15, n)[patient] * years
    value += rng.normal(0, noise, len(years)) + se * rng.normal(size=len(years))
    line = np.column_stack([np.ones(len(years)), years])
    fixed = np.hstack([line, line * (patient % 2)[:, None]]) if arms == 2 else line
    return Design(value, fixed, patient, line, se**2, visit, years)


def without(design: Design, **changed: object) -> Design:
    return Design(**{**design.__dict__, **changed})


# --- published figures -------------------------------------------------------------------------------------------


def test_sleepstudy_is_lme4():
    """O1, lme4: likelihood, variances, and the Kenward-Roger df of balanced data, which both informations give."""
    fitted = reml.fit(sleepstudy())
    assert fitted.likelihood == pytest.approx(-871.814135979976, abs=1e-8)
    assert_allclose(fitted.between, [[612.100158, 9.604409], [9.604409, 35.071714]], rtol=1e-4)
    assert_allclose(fitted.within, [654.940008], rtol=1e-4)
    for information in ("expected", "observed"):
        found = last(fitted, information=information)
        assert_allclose([found.estimate, found.se], [10.467285959596, 1.54578964], rtol=1e-6)
        assert found.df == pytest.approx(17, abs=1e-6)
    first = reml.contrast(fitted, np.array([1.0, 0.0]))
    assert_allclose([first.estimate, first.se, first.df], [251.405104848485, 6.82459670, 17], rtol=1e-5)


def test_independent_effects_part_the_two_informations():
    """O2: expected information is pbkrtest's Kenward-Roger df, observed lmerTest's Satterthwaite df."""
    fitted = reml.fit(sleepstudy(), random="diagonal")
    assert fitted.likelihood == pytest.approx(-871.834646790741, abs=1e-8)
    assert last(fitted).df == pytest.approx(18.187470, rel=1e-6)
    assert last(fitted, information="observed").df == pytest.approx(18.156091, rel=1e-5)
    assert last(fitted).se == pytest.approx(1.55956910, rel=1e-5)
    assert reml.contrast(fitted, np.array([1.0, 0.0])).se == pytest.approx(6.88538082, rel=1e-4)


@pytest.mark.parametrize(
    ("columns", "likelihood", "se", "df"),
    [(1, -216.878624600568, 0.12142090, 79), (2, -216.290830751359, 0.13473520, 25)],
    ids=["intercept", "slope"],
)
def test_orthodont_is_lmer_test(columns: int, likelihood: float, se: float, df: float):
    """O4, lmerTest: random intercept, and random slope."""
    value, age, male, data = orthodont()
    line = np.column_stack([np.ones(len(age)), age])
    fitted = reml.fit(Design(value, np.hstack([line, line * male[:, None]]), codes(data["Subject"]), line[:, :columns]))
    found = last(fitted)
    assert fitted.likelihood == pytest.approx(likelihood, abs=1e-8)
    assert_allclose([found.estimate, found.se, found.df], [0.304829545, se, df], rtol=5e-6)


def test_unstructured_over_visits_is_gls():
    """O5, nlme::gls with corSymm and varIdent."""
    value, age, male, data = orthodont()
    visit = codes(pd.Series(age))
    each = np.eye(4)[visit]
    each[:, 0] = 1
    fitted = reml.fit(
        Design(value, np.hstack([each, each * male[:, None]]), codes(data["Subject"]), visit=visit),
        residual="unstructured",
    )
    found = last(fitted, information="observed")
    assert fitted.likelihood == pytest.approx(-207.017400498455, abs=1e-8)
    assert_allclose([found.estimate, found.se], [1.68465909, 0.87412242], rtol=1e-6)
    assert_allclose(fitted.within[[0, 2, 5, 9]], [5.415457, 4.184776, 6.455733, 4.985739], rtol=1e-5)


def test_bodyweight_in_its_raw_units():
    """O6, nlme: the table whose raw days lead other optimisers to an se up to 52 times too large."""
    found = last(fitted := reml.fit(bodyweight()))
    assert fitted.likelihood == pytest.approx(-575.859874409993, abs=1e-8)
    assert_allclose([found.estimate, found.plain_se], [0.605839157, 0.157858662], rtol=1e-6)


def test_bodyweight_with_continuous_ar1():
    """O6, nlme: corCAR1 beside the random effects, and alone."""
    found = last(fitted := reml.fit(bodyweight(), residual="continuous_ar1"))
    assert fitted.likelihood == pytest.approx(-566.029590058, abs=1e-8)
    assert np.exp(-1 / fitted.within[1]) == pytest.approx(0.760381765, rel=1e-5)
    assert_allclose([found.estimate, found.plain_se], [0.62551771, 0.15669382], rtol=2e-6)
    alone = reml.fit(bodyweight(random=False), residual="continuous_ar1")
    assert alone.likelihood == pytest.approx(-576.044024177, abs=1e-8)
    assert np.exp(-1 / alone.within[1]) == pytest.approx(0.997943285, rel=1e-8)


def test_rail_and_machines():
    """O7, nlme: SDs of Rail; Machines by the means of its cells, whose df is 10, and with a variance per machine."""
    data = textbook("rail")
    rail = reml.fit(Design(data["travel"].to_numpy(float), one(len(data)), codes(data["Rail"]), one(len(data))))
    assert_allclose(np.sqrt([rail.between[0, 0], rail.within[0]]), [24.80547, 4.02078], rtol=1e-6)
    data = textbook("machines")
    means = data.groupby(["Worker", "Machine"], as_index=False)["score"].mean()
    machine = pd.get_dummies(means["Machine"]).to_numpy(float)
    nested = reml.fit(Design(means["score"].to_numpy(float), machine, codes(means["Worker"]), one(len(means))))
    assert_allclose([nested.between[0, 0], nested.within[0]], [22.858444, 13.909457 + 0.924630 / 3], rtol=1e-6)
    assert reml.contrast(nested, np.array([-1.0, 1, 0])).df == pytest.approx(10, abs=1e-8)
    machine = pd.get_dummies(data["Machine"]).to_numpy(float)
    free = reml.fit(Design(data["score"].to_numpy(float), machine, codes(data["Worker"]), machine))
    # Pinheiro and Bates 2000, section 1.3.
    assert_allclose([free.likelihood, sqrt(free.within[0])], [-104.1556, 0.9615766], rtol=1e-6)


@pytest.mark.parametrize(
    ("residual", "estimate", "se", "df"),
    [
        ("unstructured", 3.81972492174648, 0.66124382270307, 160.733266403768),
        ("compound_symmetry", 4.19663617897035, 0.7964696053595, 177.038485931223),
        ("ar1", 4.22574315817874, 0.95865439662225, 188.46934887972),
        ("heterogeneous_compound_symmetry", 3.77090812, 0.67414807, 190.737701),
        ("heterogeneous_ar1", 3.72674356, 0.75903161, 188.225339),
    ],
)
def test_fev_is_sas(residual: str, estimate: float, se: float, df: float):
    """O8, SAS PROC MIXED ddfm=kr, the listings that mmrm ships: Kenward-Roger with the observed information."""
    found = last(reml.fit(fev(), residual=residual), information="observed")
    assert_allclose([found.estimate, found.se], [estimate, se], rtol=TO_SAS)
    assert found.df == pytest.approx(df, rel=1e-3)


def test_without_second_derivatives_is_kr_linear():
    """O8, SAS ddfm=kr(linear): AR(1) without the second derivatives of V; and nlme's likelihood of unstructured."""
    found = last(reml.fit(fev(), residual="ar1"), information="observed", linear=True)
    assert found.se == pytest.approx(0.96058142, rel=1e-5)
    assert reml.fit(fev(), residual="unstructured").likelihood == pytest.approx(-1833.98137809, abs=1e-7)


def test_satterthwaite_of_mmrm():
    """The README of mmrm: FEV1 on race, sex and arm by visit, unstructured, Satterthwaite df."""
    design = fev("RACE=Black or African American", "RACE=White", "SEX=Female")
    each = np.eye(4)[design.visit][:, 1:]
    fixed = np.hstack([design.fixed, each, each * design.fixed[:, -1:]])
    fitted = reml.fit(without(design, fixed=fixed), residual="unstructured")
    rows = [reml.contrast(fitted, weights, information="observed") for weights in np.eye(11)]
    published = [
        *[(30.77748, 0.88656, 218.80), (1.53050, 0.62448, 168.67), (5.64357, 0.66561, 157.14)],
        *[(0.32606, 0.53195, 166.13), (3.77423, 1.07415, 145.55), (4.83959, 0.80172, 143.88)],
        *[(10.34211, 0.82269, 155.56), (15.05390, 1.31281, 138.47), (-0.04193, 1.12932, 138.56)],
        *[(-0.69369, 1.18765, 158.17), (0.62423, 1.85085, 129.72)],
    ]
    assert_allclose([row.estimate for row in rows], [row[0] for row in published], atol=4e-4)
    assert_allclose([row.plain_se for row in rows], [row[1] for row in published], rtol=TO_SAS)
    assert_allclose([row.df for row in rows], [row[2] for row in published], atol=0.02)


def test_singular_dyestuff():
    """O7, lme4: a variance of 0 (Box and Tiao 1973) is an answer, and the flag says so; df of balanced data is 5."""
    value = [
        *[7.298, 3.846, 2.434, 9.566, 7.990, 5.220, 6.556, 0.608, 11.788, -0.892],
        *[0.110, 10.386, 13.434, 5.510, 8.166, 2.212, 4.852, 7.092, 9.288, 4.980],
        *[0.282, 9.014, 4.458, 9.446, 7.198, 1.722, 4.782, 8.106, 0.758, 3.758],
    ]
    fitted = reml.fit(Design(np.array(value), one(30), np.repeat(np.arange(6), 5), one(30)))
    found = last(fitted, information="observed")
    assert fitted.singular
    assert fitted.between[0, 0] == pytest.approx(0, abs=1e-12)
    assert fitted.likelihood == pytest.approx(-80.9141389061442, abs=1e-8)
    assert_allclose([found.se, found.df], [0.678388031, 5], rtol=1e-8)
    assert found.information == "expected"


def test_known_errors_alone_are_metafor():
    """BCG vaccine, 13 trials (Colditz 1994): tau^2, mean and se by metafor's rma, REML."""
    trials = [
        *[(4, 123, 11, 139), (6, 306, 29, 303), (3, 231, 11, 220), (62, 13598, 248, 12867), (33, 5069, 47, 5808)],
        *[(180, 1541, 372, 1451), (8, 2545, 10, 629), (505, 88391, 499, 88391), (29, 7499, 45, 7277)],
        *[(17, 1716, 65, 1665), (186, 50634, 141, 27338), (5, 2498, 3, 2341), (27, 16913, 29, 17854)],
    ]
    a, n, c, m = np.array(trials, float).T
    known = 1 / a - 1 / n + 1 / c - 1 / m
    fitted = reml.fit(Design(np.log(a / n / (c / m)), one(13), np.arange(13), one(13), known), residual="none")
    assert_allclose([fitted.between[0, 0], last(fitted).estimate], [0.3132, -0.7145], atol=6e-5)
    assert last(fitted).plain_se == pytest.approx(0.1798, abs=6e-5)


# --- other routes to the same number -----------------------------------------------------------------------------


def test_balanced_random_intercept_is_anova():
    """Closed form: means of squares between and within, n - 1 df of the mean, with both informations."""
    value = np.array([[3.1, 4.0, 3.6], [5.2, 5.9, 6.3], [1.0, 2.1, 1.4], [4.4, 4.1, 5.2], [2.2, 3.9, 3.3]])
    n, m = value.shape
    between = m * value.mean(axis=1).var(ddof=1)
    within = value.var(axis=1, ddof=1).mean()
    fitted = reml.fit(Design(value.ravel(), one(n * m), np.repeat(np.arange(n), m), one(n * m)))
    assert_allclose([fitted.within[0], fitted.between[0, 0]], [within, (between - within) / m], rtol=1e-8)
    for information in ("expected", "observed"):
        found = last(fitted, information=information)
        assert_allclose([found.se, found.df], [sqrt(between / (n * m)), n - 1], rtol=1e-8)


def test_balanced_slopes_are_a_t_test():
    """Closed form: with complete visits the difference of slopes is the t test of the patients' own slopes."""
    design = made(3, complete=True)
    found = last(reml.fit(without(design, known=None)))
    own = np.array([np.polyfit(t, y, 1)[0] for t, y in zip(*split(design, "years", "value"), strict=True)])
    test = law.ttest_ind(own[1::2], own[::2])
    assert found.estimate == pytest.approx(own[1::2].mean() - own[::2].mean(), rel=1e-9)
    assert_allclose([found.estimate / found.se, found.df], [test.statistic, 6], rtol=1e-7)


def split(design: Design, *names: str) -> list[list[np.ndarray]]:
    cuts = np.flatnonzero(np.diff(design.patient)) + 1
    return [np.split(getattr(design, name), cuts) for name in names]


def correlation(residual: str, within: np.ndarray, design: Design) -> np.ndarray:
    """R of all rows, (N, N), before the patients are told apart, written out plainly."""
    levels = int(design.visit.max()) + 1
    apart = np.abs(design.visit[:, None] - design.visit[None, :])
    off = apart > 0
    if residual == "unstructured":
        matrix = np.zeros((levels, levels))
        matrix[np.tril_indices(levels)] = within
        return (matrix + np.tril(matrix, -1).T)[np.ix_(design.visit, design.visit)]
    if residual == "compound_symmetry":
        return np.where(off, within[1], within[0])
    if residual.startswith("heterogeneous"):
        sizes = np.sqrt(np.outer(within[design.visit], within[design.visit]))
        return sizes * (within[-1] ** apart if residual.endswith("ar1") else np.where(off, within[-1], 1.0))
    if residual == "continuous_ar1":
        return within[0] * np.exp(-np.abs(design.years[:, None] - design.years[None, :]) / within[1])
    return within[0] * (within[1] ** apart if residual == "ar1" else ~off)


def dense(residual: str, design: Design, natural: np.ndarray) -> np.ndarray:
    """V of all rows, (N, N), with the natural parameters in the order of G's lower triangle, then R's."""
    between = np.zeros_like(design.value)[:, None] * design.value
    if design.random is not None:
        q = design.random.shape[1]
        matrix = np.zeros((q, q))
        matrix[np.tril_indices(q)], natural = natural[: q * (q + 1) // 2], natural[q * (q + 1) // 2 :]
        between = design.random @ (matrix + np.tril(matrix, -1).T) @ design.random.T
    total = between + (0 if residual == "none" else correlation(residual, natural, design))
    same = design.patient[:, None] == design.patient[None, :]
    return np.where(same, total, 0) + (0 if design.known is None else np.diag(design.known))


class Contrasts:
    """The density of the error contrasts, which is the restricted likelihood (Patterson and Thompson 1971)."""

    def __init__(self, design: Design):
        self.free = linalg.null_space(design.fixed.T)
        self.value = self.free.T @ design.value
        self.constant = np.linalg.slogdet(design.fixed.T @ design.fixed)[1] / 2

    def __call__(self, v: np.ndarray) -> float:
        lower = np.linalg.cholesky(self.free.T @ v @ self.free)
        squares = float(np.sum(linalg.solve_triangular(lower, self.value, lower=True) ** 2))
        return -squares / 2 - float(np.log(np.diag(lower)).sum()) - len(lower) / 2 * log(2 * pi) - self.constant


def slopes_of(function, at: np.ndarray, step: float) -> list:
    """Central differences by each parameter."""
    moves = np.diag(step * np.maximum(np.abs(at), 0.01))
    return [(function(at + move) - function(at - move)) / (2 * move.sum()) for move in moves]


def natural_of(fitted: reml.Fit) -> np.ndarray:
    return np.concatenate([fitted.between[np.tril_indices(len(fitted.between))], fitted.within])


CASES = [
    ("identity", True),
    ("none", True),
    ("unstructured", False),
    ("compound_symmetry", False),
    ("ar1", False),
    ("heterogeneous_ar1", False),
    ("heterogeneous_compound_symmetry", False),
    ("continuous_ar1", False),
]


def case(residual: str, *, random: bool) -> Design:
    """Lines at times of their own; or up to four visits, of which a fifth is missing."""
    if random:
        return made(3, n=12, noise=0.3)
    design = made(12, n=16, noise=0.5, complete=True)
    seen = np.random.default_rng(1).uniform(size=len(design.value)) > 0.2
    jitter = np.random.default_rng(2).uniform(0, 0.2, len(design.value))
    parts = {name: part[seen] for name, part in without(design, years=design.years + jitter).__dict__.items()}
    return Design(**{**parts, "random": None})


@pytest.mark.parametrize(("residual", "random"), CASES)
def test_likelihood_is_that_of_error_contrasts(residual: str, random: bool):
    """The likelihood is the density of the error contrasts, and no step of a parameter raises it."""
    fitted = reml.fit(design := case(residual, random=random), residual=residual)
    natural, restricted = natural_of(fitted), Contrasts(design)

    def likelihood(at: np.ndarray) -> float:
        return restricted(dense(residual, design, at))

    assert fitted.likelihood == pytest.approx(likelihood(natural), abs=1e-7)
    assert not fitted.singular
    for move in np.diag(0.01 * np.abs(natural)):
        assert max(likelihood(natural + move), likelihood(natural - move)) < fitted.likelihood


@pytest.mark.parametrize(("residual", "random"), CASES)
def test_kenward_roger_is_what_its_paper_says(residual: str, random: bool):
    """Kenward and Roger (1997) with matrices of all rows and derivatives by differences."""
    fitted = reml.fit(design := case(residual, random=random), residual=residual)
    natural = natural_of(fitted)
    weights = np.eye(4)[-1]
    x, v = design.fixed, dense(residual, design, natural)
    inverse = np.linalg.inv(v)
    phi = np.linalg.inv(x.T @ inverse @ x)
    p = inverse - inverse @ x @ phi @ x.T @ inverse
    first = slopes_of(lambda at: dense(residual, design, at), natural, 1e-5)
    expected = np.array([[np.trace(p @ a @ p @ b) / 2 for a in first] for b in first])
    w = np.linalg.inv(expected)
    pulls = [x.T @ inverse @ a @ inverse @ x for a in first]
    lack = sum(
        w[j, k] * (x.T @ inverse @ a @ inverse @ b @ inverse @ x - pulls[j] @ phi @ pulls[k])
        for j, a in enumerate(first)
        for k, b in enumerate(first)
    )
    second = slopes_of(
        lambda at: np.array(slopes_of(lambda own: dense(residual, design, own), at, 1e-3)), natural, 1e-3
    )
    bend = sum(
        w[j, k] * x.T @ inverse @ second[j][k] @ inverse @ x / 4 for j in range(len(first)) for k in range(len(first))
    )
    slope = np.array([weights @ phi @ pull @ phi @ weights for pull in pulls])
    found = last(fitted)
    assert found.df == pytest.approx(2 * (weights @ phi @ weights) ** 2 / (slope @ w @ slope), rel=1e-4)
    assert last(fitted, linear=True).se ** 2 == pytest.approx((phi + 2 * phi @ lack @ phi)[-1, -1], rel=1e-5)
    assert found.se**2 == pytest.approx((phi + 2 * phi @ (lack - bend) @ phi)[-1, -1], rel=1e-4)


@pytest.mark.parametrize(("residual", "random"), CASES)
def test_observed_information_is_the_curvature(residual: str, random: bool):
    """Satterthwaite's df, with the curvature of the likelihood and the slope of the variance by differences."""
    fitted = reml.fit(design := case(residual, random=random), residual=residual)
    natural, restricted = natural_of(fitted), Contrasts(design)

    def variance(at: np.ndarray) -> float:
        return np.linalg.inv(design.fixed.T @ np.linalg.solve(dense(residual, design, at), design.fixed))[-1, -1]

    def slope(at: np.ndarray) -> np.ndarray:
        return np.array(slopes_of(lambda own: restricted(dense(residual, design, own)), at, 1e-3))

    information = -np.array(slopes_of(slope, natural, 1e-3))
    gradient = np.array(slopes_of(variance, natural, 1e-4))
    df = 2 * variance(natural) ** 2 / (gradient @ np.linalg.solve(information, gradient))
    found = last(fitted, information="observed")
    assert found.information == "observed"
    assert found.df == pytest.approx(df, rel=2e-3)


def test_known_errors_are_whitened_rows():
    """Rows divided by their se, with errors of 1, are the same model; the likelihood moves by the log of the se."""
    design = made(5)
    weight = 1 / np.sqrt(design.known)
    rows = weight[:, None]
    white = Design(
        design.value * weight, design.fixed * rows, design.patient, design.random * rows, np.ones(len(weight))
    )
    plain, whitened = reml.fit(design, residual="none"), reml.fit(white, residual="none")
    assert_allclose(plain.between, whitened.between, rtol=1e-6)
    assert plain.likelihood == pytest.approx(whitened.likelihood + np.log(weight).sum(), abs=1e-7)
    assert_allclose([last(plain).se, last(plain).df], [last(whitened).se, last(whitened).df], rtol=1e-6)


def test_no_optimiser_finds_more():
    """Nelder and Mead, from the answer and from elsewhere, on the likelihood written out plainly, finds no more."""
    design = made(2)
    fitted, restricted = reml.fit(design), Contrasts(design)

    def loss(free: np.ndarray) -> float:
        factor = np.array([[free[0], 0], [free[1], free[2]]])
        natural = np.append((factor @ factor.T)[np.tril_indices(2)], free[3] ** 2)
        return -restricted(dense("identity", design, natural))

    for start in ([0.8, 0.0, 0.1, 0.1], [0.3, 0.1, 0.5, 0.02]):
        found = optimize.minimize(loss, start, method="Nelder-Mead", options={"maxiter": 400, "fatol": 1e-6})
        assert -found.fun <= fitted.likelihood + 1e-6


def test_nothing_to_estimate_is_weighted_least_squares():
    """Known errors alone: normal limits, and the likelihood of the weighted mean in closed form."""
    value, known = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.5, 2.0])
    fitted = reml.fit(Design(value, one(3), np.arange(3), known=known), residual="none")
    weight = 1 / known
    mean = weight @ value / weight.sum()
    found = last(fitted)
    assert_allclose([found.estimate, found.se], [mean, 1 / sqrt(weight.sum())], rtol=1e-12)
    assert found.df == np.inf
    terms = 2 * log(2 * pi) + np.log(known).sum() + log(weight.sum()) + weight @ (value - mean) ** 2
    assert fitted.likelihood == pytest.approx(-terms / 2, rel=1e-12)


# --- invariances -------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 40),
    unit=st.floats(1e-6, 1e6),
    pace=st.floats(1e-3, 1e3),
    origin=st.floats(-50, 50),
    level=st.floats(-100, 100),
)
def test_units_do_not_matter(seed: int, unit: float, pace: float, origin: float, level: float):
    """Value and time in other units and from other origins: the slope follows its units, the df stay."""
    design = made(seed)
    years = design.years * pace + origin
    line = np.column_stack([np.ones(len(years)), years])
    fixed = np.hstack([line, line * design.fixed[:, 2:3]])
    moved = without(design, value=(design.value + level) * unit, fixed=fixed, random=line, known=design.known * unit**2)
    plain, other = last(reml.fit(design)), last(reml.fit(moved))
    assert_allclose(np.array([other.estimate, other.se]) * pace / unit, [plain.estimate, plain.se], rtol=1e-4)
    assert other.df == pytest.approx(plain.df, rel=1e-3)


@pytest.mark.parametrize("residual", ["identity", "continuous_ar1", "ar1", "compound_symmetry"])
def test_order_does_not_matter(residual: str):
    """Rows in any order, and patients by other codes, give the same answer."""
    design = case(residual, random=residual == "identity")
    rng = np.random.default_rng(0)
    order, names = rng.permutation(len(design.value)), rng.permutation(100)
    parts = {name: None if part is None else part[order] for name, part in design.__dict__.items()}
    shuffled = Design(**{**parts, "patient": names[parts["patient"]]})
    plain, other = last(reml.fit(design, residual=residual)), last(reml.fit(shuffled, residual=residual))
    assert_allclose([other.estimate, other.se, other.df], [plain.estimate, plain.se, plain.df], rtol=1e-6)


def test_continuous_ar1_in_days_is_that_in_years():
    """The range follows the unit of time, and the adjusted se does not: V bends with the range, not with a power."""
    design = case("continuous_ar1", random=False)
    plain = reml.fit(design, residual="continuous_ar1")
    days = reml.fit(without(design, years=design.years * 365.25), residual="continuous_ar1")
    assert days.within[1] == pytest.approx(365.25 * plain.within[1], rel=1e-6)
    assert last(days).se == pytest.approx(last(plain).se, rel=1e-7)


def test_parts_that_agree():
    """On complete visits at equal gaps AR(1) is the continuous one, and a random intercept is compound symmetry."""
    design = without(made(4, n=12, complete=True, noise=0.5), random=None, known=None)
    step, gap = (reml.fit(design, residual=name) for name in ("ar1", "continuous_ar1"))
    assert step.likelihood == pytest.approx(gap.likelihood, abs=1e-7)
    assert step.within[1] == pytest.approx(np.exp(-0.5 / gap.within[1]), rel=1e-6)
    same = reml.fit(design, residual="compound_symmetry")
    intercept = reml.fit(without(design, random=one(len(design.value))))
    assert same.within[1] == pytest.approx(intercept.between[0, 0], rel=1e-6)
    assert_allclose([last(same).se, last(same).df], [last(intercept).se, last(intercept).df], rtol=1e-6)


# --- few patients ------------------------------------------------------------------------------------------------


def test_limits_hold_the_truth_for_eight_patients():
    """Of 30 trials of 8 patients with known errors 90 % or more of the 95 % limits hold the truth, and all exist."""
    held = []
    for seed in range(30):
        found = last(reml.fit(made(seed, noise=0.05)))
        assert found.se >= found.plain_se
        held.append(abs(found.estimate) <= found.se * law.t.ppf(0.975, found.df))
    assert np.mean(held) >= 0.9


def test_a_saddle_is_no_maximum(monkeypatch: pytest.MonkeyPatch):
    """A start that ends where a variance is 0 and would grow is told by the slope there; the other starts agree."""
    design = without(made(20, n=6, noise=0.05), known=None)
    assert not reml.fit(design).singular
    monkeypatch.setattr(reml, "SHARES", reml.SHARES[:1])
    with pytest.raises(NotFittedError, match="no search ends"):
        reml.fit(design)


def test_the_higher_of_two_maxima(monkeypatch: pytest.MonkeyPatch):
    """Three starts agree on a maximum that two others leave behind: with few patients all of them are tried."""
    design = without(made(586, n=6, noise=0.05), known=None)
    best = reml.fit(design)
    monkeypatch.setattr(reml, "SHARES", reml.SHARES[:3])
    lower = reml.fit(design)
    assert max(best.gradient, lower.gradient) < 1e-7
    assert best.likelihood - lower.likelihood == pytest.approx(0.0039, abs=1e-4)


def test_patients_who_do_not_differ():
    """Values that scatter less than their errors: no variance between patients is an answer, and flagged."""
    rng = np.random.default_rng(0)
    line = np.column_stack([np.ones(12), np.tile([0.0, 1, 2], 4)])
    value = 3 + line[:, 1] + 1e-3 * rng.normal(size=12)
    fitted = reml.fit(Design(value, line, np.repeat(np.arange(4), 3), line, np.full(12, 0.25)))
    assert fitted.singular
    assert last(fitted).plain_se == pytest.approx(0.5 / sqrt(8), rel=1e-6)
    assert np.isfinite([last(fitted).se, last(fitted).df]).all()


def test_slopes_is_a_trend():
    """Series in, Trend out: the interval says what it is, and an n of 8 is counted."""
    design = made(1)
    table = pd.DataFrame({"patient_id": design.patient, "years": design.years, "value": design.value})
    rows = series.read(table.assign(se=np.sqrt(design.known), unit="ml"))
    groups = np.arange(8) % 2
    trend = reml.slopes(rows, rows.years[:, None], groups, np.array([-1.0, 1.0]))
    found = last(reml.fit(design))
    assert_allclose([trend.estimate, trend.se, trend.df], [found.estimate, found.se, found.df], rtol=1e-6)
    assert (trend.interval_kind, trend.unit, trend.n_patients) == ("kenward_roger_t", "ml/a", 8)
    assert trend.hi - trend.estimate == pytest.approx(trend.se * law.t.ppf(0.975, trend.df))
    bent = np.column_stack([rows.years, np.maximum(rows.years - 1, 0)])
    change = reml.slopes(rows, bent, np.zeros(8, int), np.ones(1), information="observed")
    assert np.isfinite(change.lo)
    assert "change of slope" in change.method


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: without(d, fixed=np.hstack([d.fixed, d.fixed[:, :1]])), "fixed effects is 0 or follows"),
        (lambda d: without(d, random=np.hstack([d.random, d.random[:, :1]])), "random effects is 0 or follows"),
        (lambda d: without(d, value=2 + d.fixed[:, 1], known=None), "nothing scatters"),
        (lambda d: without(d, value=0 * d.value, known=None), "nothing scatters"),
        (lambda d: Design(*(part[:3] for part in (d.value, d.fixed, d.patient))), "3 values are too few"),
    ],
    ids=["collinear", "random", "line", "zeros", "few"],
)
def test_what_cannot_be_fitted(change, words: str):
    """What the data do not hold is refused with the reason, as the caller's other refusals are."""
    with pytest.raises(NotFittedError, match=words):
        reml.fit(change(made(1)))


def test_a_likelihood_without_end_is_refused():
    """Patients exactly on lines of their own: the likelihood grows without end, and no number is given."""
    design = without(made(1, n=6), known=None)
    value = np.array([1.0, 3, 2, 5, 4, 7])[design.patient] + np.arange(6)[design.patient] ** 2 * design.years
    with pytest.raises(NotFittedError, match="gradient"):
        reml.fit(without(design, value=value))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"residual": "toeplitz"}, "residual must be one of none, identity"),
        ({"random": "banded"}, "random must be one of unstructured, diagonal"),
        ({"residual": "none"}, "residual none needs known"),
        ({"residual": "ar1"}, "residual ar1 needs visit"),
        ({"residual": "continuous_ar1"}, "residual continuous_ar1 needs years"),
    ],
)
def test_names_are_checked(choices: dict, words: str):
    """An unknown name lists the known ones; a covariance says what the design lacks."""
    with pytest.raises(ValueError, match=words):
        reml.fit(without(made(1), known=None, visit=None, years=None), **choices)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": np.nan}, "value of a design must be finite; 1 numbers are not"),
        ({"known": np.inf}, "known of a design must be finite"),
        ({"known": -1.0}, "known variances must not be negative; the smallest is -1"),
    ],
)
def test_numbers_are_checked(change: dict, words: str):
    """A number that is none, or a negative variance, is named."""
    design = made(1)
    for name, number in change.items():
        getattr(design, name)[0] = number
    with pytest.raises(ValueError, match=words):
        reml.fit(design)


def test_contrast_checks_what_it_is_given():
    """The information has two names, and a weight belongs to each fixed effect."""
    fitted = reml.fit(made(1))
    with pytest.raises(ValueError, match="information must be one of expected, observed; got 'none'"):
        last(fitted, information="none")
    with pytest.raises(ValueError, match=r"one per fixed effect, 4; got shape \(3,\)"):
        reml.contrast(fitted, np.ones(3))


def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch):
    """Blocks of one patient, as large cohorts are cut, give the same answer."""
    design = made(6)
    whole = last(reml.fit(design))
    monkeypatch.setattr(reml, "_CHUNK", 1)
    pieces = last(reml.fit(design))
    assert_allclose([pieces.estimate, pieces.se, pieces.df], [whole.estimate, whole.se, whole.df], rtol=1e-8)


def test_more_visits_tell_no_less():
    """The adjusted se falls as patients are added, and the df grow."""
    found = [last(reml.fit(made(9, n=n))) for n in (8, 32, 128)]
    assert all(after.se < before.se and after.df > before.df for before, after in pairwise(found))
