"""Repeatability against published values, closed forms and invariances."""

from __future__ import annotations

from itertools import combinations
from math import exp, expm1, inf, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats as law

from monitor._stats import agreement
from tests.textbook import textbook

SHROUT = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Six targets, four judges: table 2 of Shrout and Fleiss 1979."""


def pairs(first: list[float], second: list[float], **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"first": first, "second": second, **columns})


def term(table: pd.DataFrame, name: str, scale: str = "absolute") -> pd.Series:
    rows = table[(table["term"] == name) & (table["scale"] == scale)]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture
def ten() -> pd.DataFrame:
    first = [12.0, 33.5, 50.1, 8.2, 71.0, 20.4, 90.3, 44.0, 61.7, 27.9]
    change = [0.6, -1.1, 1.9, -0.2, 2.4, 0.1, -2.0, 0.7, -0.5, 1.3]
    return pairs(first, list(np.add(first, change)), unit="mm3")


def test_rail() -> None:
    """Independent value: all pairs of three repeats have the pooled SD 4.02078 of lme4, coefficient 11.145 (O7)."""
    repeats = textbook("rail").groupby("Rail")["travel"]
    rows = [(rail, *pair) for rail, travel in repeats for pair in combinations(travel, 2)]
    found = agreement.repeatability(pd.DataFrame(rows, columns=["patient_id", "first", "second"]))
    assert_allclose(term(found, "within_subject_sd")["estimate"], 4.02078, atol=1e-5)
    assert_allclose(term(found, "repeatability_coefficient")["estimate"], 11.145, atol=1e-3)
    assert (found["n_pairs"].unique().item(), found["n_patients"].unique().item()) == (18, 6)
    assert found["note"].str.contains("18 pairs of 6 patient").all()


def test_within_subject_sd(ten: pd.DataFrame) -> None:
    """Closed form: root of half the mean square, chi-square limits with as many df as pairs, and its multiples."""
    found = agreement.repeatability(ten)
    d = (ten["second"] - ten["first"]).to_numpy()
    sd = sqrt(float(np.mean(d**2)) / 2)
    row = term(found, "within_subject_sd")
    ends = sd * np.sqrt(10 / law.chi2.ppf([0.975, 0.025], 10))
    assert_allclose([row["estimate"], row["lo"], row["hi"]], [sd, *ends])
    assert (row["unit"], row["interval_kind"]) == ("mm3", "chi2")
    row = term(found, "repeatability_coefficient")
    assert_allclose([row["estimate"], row["hi"]], 1.959964 * sqrt(2) * np.array([sd, ends[1]]), rtol=1e-6)
    row = term(found, "repeatability_coefficient_t")
    assert_allclose(row["estimate"], law.t.ppf(0.975, 10) * sqrt(2) * sd)
    assert "no interval" in row["note"]


def test_limits_of_agreement(ten: pd.DataFrame) -> None:
    """Closed form: at Carkeet's limits the noncentral t probability of the limit of agreement is 2.5 and 97.5 %."""
    found = agreement.repeatability(ten)
    d = (ten["second"] - ten["first"]).to_numpy()
    bias, upper = term(found, "bias"), term(found, "upper_limit_of_agreement")
    peer = law.ttest_1samp(d, 0).confidence_interval()
    assert_allclose([bias["estimate"], bias["lo"], bias["hi"]], [d.mean(), peer.low, peer.high])
    assert_allclose(upper["estimate"], d.mean() + 1.959964 * d.std(ddof=1), rtol=1e-6)
    factors = (np.array([upper["lo"], upper["hi"]]) - d.mean()) / d.std(ddof=1) * sqrt(10)
    assert_allclose(law.nct.cdf(factors, 9, 1.959964 * sqrt(10)), [0.025, 0.975], rtol=1e-4)
    lower = term(found, "lower_limit_of_agreement")
    assert_allclose(upper["hi"] + lower["lo"], 2 * d.mean())


def test_icc_of_shrout_and_fleiss() -> None:
    """Published value: .17 and .29, limits -.13 to .72 and .02 to .76 (Shrout and Fleiss 1979; psych in R)."""
    found = agreement.icc(SHROUT)
    assert_allclose(found["icc_1_1"], [0.17, -0.13, 0.72], atol=0.005)
    assert_allclose(found["icc_2_1"], [0.29, 0.02, 0.76], atol=0.005)


def test_correlations_by_hand() -> None:
    """Worked by hand: pairs (1, 2), (3, 3), (5, 4) have mean squares 4.5 of rows, 1/3 within, 0 of columns, 1/2."""
    found = agreement.repeatability(pairs([1.0, 3.0, 5.0], [2.0, 3.0, 4.0]))
    assert_allclose(term(found, "icc_1_1")["estimate"], (4.5 - 1 / 3) / (4.5 + 1 / 3))
    assert_allclose(term(found, "icc_2_1")["estimate"], (4.5 - 1 / 2) / (4.5 + 1 / 2 - 1 / 3))
    assert_allclose(term(found, "ccc")["estimate"], 2 * (4 / 3) / (8 / 3 + 2 / 3))


def test_ccc_limits(ten: pd.DataFrame) -> None:
    """Closed form: without a shift Lin's variance of z is that of the correlation, over the square of their ratio."""
    first = ten["first"].to_numpy()
    second = ten["second"].to_numpy() - (ten["second"] - ten["first"]).mean()
    estimate, lo, hi = agreement.ccc(first, second)
    r = np.corrcoef(first, second)[0, 1]
    se = sqrt((1 - r**2) * estimate**2 / ((1 - estimate**2) * r**2) / 8)
    assert_allclose([lo, hi], np.tanh(np.arctanh(estimate) + np.array([-1, 1]) * 1.959964 * se), rtol=1e-6)


def test_log_scale(ten: pd.DataFrame) -> None:
    """Closed form: differences of logs in per cent; the coefficient of an increase, the decrease in the note."""
    found = agreement.repeatability(ten)
    d = np.log(ten["second"] / ten["first"]).to_numpy()
    sd = sqrt(float(np.mean(d**2)) / 2)
    assert_allclose(term(found, "within_subject_sd", "log")["estimate"], 100 * sqrt(expm1(sd**2)))
    row = term(found, "repeatability_coefficient", "log")
    assert_allclose(row["estimate"], 100 * expm1(1.959964 * sqrt(2) * sd), rtol=1e-6)
    assert f"a decrease of {100 * (1 - exp(-1.959964 * sqrt(2) * sd)):.4g} %" in row["note"]
    assert_allclose(term(found, "bias", "log")["estimate"], 100 * expm1(d.mean()))
    assert row["unit"] == "%"


def test_units_do_not_matter(ten: pd.DataFrame) -> None:
    """Invariance: a thousand times the unit changes neither per cent nor correlations."""
    found = agreement.repeatability(ten)
    scaled = agreement.repeatability(ten.assign(first=ten["first"] * 1000, second=ten["second"] * 1000))
    free = (found["scale"] == "log") | found["term"].isin(["icc_1_1", "icc_2_1", "ccc"])
    columns = ["estimate", "lo", "hi"]
    assert_allclose(scaled.loc[free, columns].to_numpy(float), found.loc[free, columns].to_numpy(float), rtol=1e-8)


def test_clustered_pairs_widen(ten: pd.DataFrame) -> None:
    """The same pairs named as of five patients keep the SD and have wider limits, with 5 df."""
    alone, found = agreement.repeatability(ten), agreement.repeatability(ten.assign(patient_id=np.arange(10) // 2))
    row, before = term(found, "within_subject_sd"), term(alone, "within_subject_sd")
    assert row["estimate"] == pytest.approx(before["estimate"])
    assert_allclose(row["hi"] / row["estimate"], sqrt(5 / law.chi2.ppf(0.025, 5)))
    d = (ten["second"] - ten["first"]).to_numpy().reshape(5, 2)
    assert_allclose(term(found, "bias")["lo"], law.ttest_1samp(d.mean(axis=1), 0).confidence_interval().low)
    within, between = d.var(axis=1, ddof=1).mean(), 2 * d.mean(axis=1).var(ddof=1)
    sd = sqrt(within + max(between - within, 0) / 2)
    assert_allclose(term(found, "upper_limit_of_agreement")["estimate"], d.mean() + 1.959964 * sd, rtol=1e-6)


def test_growing_differences_are_said() -> None:
    """Differences in proportion to the size are noted on the absolute scale, not on the log scale."""
    first = np.array([1.0, 2, 4, 8, 16, 32, 64, 128])
    found = agreement.repeatability(pairs(list(first), list(first * [1.1, 0.9, 1.12, 0.88, 1.11, 0.91, 1.1, 0.9])))
    assert "grow with the size" in term(found, "within_subject_sd")["note"]
    assert "grow with the size" not in term(found, "within_subject_sd", "log")["note"]


@pytest.mark.parametrize(
    ("first", "second"),
    [([1.0], [2.0]), ([1.0, 1.0], [1.0, 1.0]), ([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0], [2.0, 3.0]), ([0.0], [0.0])],
)
def test_what_has_no_interval(first: list[float], second: list[float]) -> None:
    """One pair, pairs alike, and a difference without scatter give notes where they give no number."""
    found = agreement.repeatability(pairs(first, second))
    missing = found[["estimate", "lo", "hi"]].isna().any(axis=1)
    assert missing.any()
    assert found["note"][missing].str.contains("no ").all()
    assert found["interval_kind"][missing].eq("none").all()


def test_what_is_left_out() -> None:
    """Half a pair is left out, and a zero closes the log scale; both are noted."""
    found = agreement.repeatability(pairs([1.0, np.nan, 0.0], [2.0, 1.0, 0.5]))
    assert set(found["scale"]) == {"absolute"}
    assert found["note"].str.contains("1 pair\\(s\\) without first or second left out").all()
    assert found["note"].str.contains("no log scale: 1 pair").all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pairs(["big"], [1.0]), "column first must hold numbers"),
        (pairs([1.0], [inf]), "one pair or more with first and second; got none of 1 rows"),
        (pairs([], []), "got none of 0 rows"),
        (pairs([1.0, 2.0], [1.0, 2.0], patient_id=["a", None]), "every pair must name its patient; 1 have no"),
        (pairs([1.0, 2.0], [1.0, 2.0], unit=["mg", "mm3"]), "one unit; got mg, mm3"),
        (pd.DataFrame({"first": [1.0]}), "must have the columns first, second; got first"),
    ],
)
def test_bad_tables(data: pd.DataFrame, message: str) -> None:
    """A table that breaks a rule is refused with the rule and what came."""
    with pytest.raises(ValueError, match=message):
        agreement.repeatability(data)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.floats(-1e6, 1e6).map(lambda x: round(x, 2))] * 2, st.integers(0, 3)), min_size=1, max_size=9
    )
)
def test_pairs_never_fail(rows: list[tuple[float, float, int]]) -> None:
    """Property: any pairs give a table whose intervals hold their estimates and which explains what it misses."""
    found = agreement.repeatability(pd.DataFrame(rows, columns=["first", "second", "patient_id"]))
    assert tuple(found.columns) == agreement.COLUMNS
    assert set(found["interval_kind"]) <= set(agreement.INTERVAL_KINDS)
    assert (found["note"][found[["estimate", "lo", "hi"]].isna().any(axis=1)] != "").all()
    sd = found[found["term"].isin(["within_subject_sd", "bias"])].dropna(subset=["lo"])
    assert (sd["lo"] <= sd["estimate"]).all()
    assert (sd["estimate"] <= sd["hi"]).all()


@pytest.mark.slow
def test_coverage() -> None:
    """Simulation: SD and upper limit of agreement of 8 pairs are held in 93 to 97 %, and t changes exceed in 5 %."""
    rng = np.random.default_rng(41)
    held = []
    for _ in range(600):
        first = rng.normal(100, 20, 8)
        table = agreement.repeatability(pairs(list(first + rng.normal(0, 3, 8)), list(first + rng.normal(0, 3, 8))))
        sd, upper = term(table, "within_subject_sd"), term(table, "upper_limit_of_agreement")
        false_alarm = abs(rng.normal(0, 3 * sqrt(2))) > term(table, "repeatability_coefficient_t")["estimate"]
        truth = 1.959964 * 3 * sqrt(2)
        held.append([sd["lo"] <= 3 <= sd["hi"], upper["lo"] <= truth <= upper["hi"], not false_alarm])
    assert (np.abs(np.mean(held, axis=0) - 0.95) < 0.02).all(), np.mean(held, axis=0)


def test_numbers_nearer_to_zero_than_any_unit_are_zero_with_a_note() -> None:
    table = agreement.repeatability(pairs([1e-300, 2.0], [1.0, 3.0]))
    assert table["note"].str.contains("1 first nearer to 0 than 1e-50 count as 0").all()
