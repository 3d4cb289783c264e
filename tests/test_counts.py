"""Counts, responders and new volume against closed forms, published values, and the coverage of their intervals."""

from __future__ import annotations

from math import inf, log, sqrt

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats as law

from monitor._stats import counts, one_each

QUICK = settings(max_examples=20, deadline=None)


def patients(count: list[float], years: object = 1.0, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": range(len(count)), "count": count, "years": years, **columns})


def term(table: pd.DataFrame, name: str, arm: str | None = None) -> pd.Series:
    rows = table[(table["term"] == name) & ((table["arm"] == arm) if arm else True)]
    assert len(rows) == 1
    return rows.iloc[0]


def explained(table: pd.DataFrame) -> bool:
    """Tell whether each row that misses a number has a note, and each interval holds its estimate."""
    missing = table[["estimate", "lo", "hi", "p_value"]].isna().any(axis=1)
    slack = 1e-9 * (1 + table["estimate"].abs())
    outside = (table["lo"] > table["estimate"] + slack) | (table["hi"] < table["estimate"] - slack)
    return bool((table["note"][missing] != "").all()) and not outside.any()


@pytest.fixture
def lumina() -> pd.DataFrame:
    """Return counts like those of stats.md, O14: 2 in 18 against 22 in 22 patient-periods."""
    return patients([1, 1] + [0] * 16 + [1] * 22, arm=["late"] * 18 + ["early"] * 22)


@pytest.fixture
def scattered() -> pd.DataFrame:
    """Return two arms whose counts vary far more than Poisson."""
    count = [0, 0, 1, 9, 14, 2, 0, 3, 0, 0, 5, 1]
    return patients(count, years=[1, 2, 1.5, 1, 2, 1, 0.5, 1, 2, 1, 1, 1.5], arm=list("AAAAAABBBBBB"))


class TestNewLesions:
    def test_exact_conditional_ratio(self, lumina: pd.DataFrame) -> None:
        """Independent value: R's poisson.test(c(2, 22), c(18, 22)), stats.md O14."""
        row = term(counts.new_lesions(lumina), "ratio_poisson")
        assert row["arm"] == "late / early"
        assert_allclose([row["lo"], row["hi"]], [0.01266543, 0.45199242], rtol=1e-6)
        assert_allclose([row["estimate"], row["p_value"]], [1 / 9, 0.0001402603], rtol=1e-6)

    def test_counts_like_poisson_keep_exact_limits(self, lumina: pd.DataFrame) -> None:
        """Where counts vary no more than Poisson, the ratio is the exact one, and the note says so."""
        found = counts.new_lesions(lumina)
        row, exact = term(found, "ratio"), term(found, "ratio_poisson")
        assert_allclose([row["lo"], row["hi"]], [exact["lo"], exact["hi"]])
        assert row["interval_kind"] == "exact_conditional"
        assert "no more than Poisson" in row["note"]

    def test_garwood(self) -> None:
        """Closed form: Poisson limits are chi-square quantiles; without a count the upper one is -ln(.025) a year."""
        row = term(counts.new_lesions(patients([3, 2, 4], years=[1.0, 2.0, 1.5])), "rate_poisson")
        ends = law.chi2.ppf([0.025, 0.975], [18, 20]) / 2 / 4.5
        assert_allclose([row["estimate"], row["lo"], row["hi"]], [2.0, *ends])
        none = term(counts.new_lesions(patients([0, 0], years=2.0)), "rate")
        assert_allclose([none["estimate"], none["lo"], none["hi"]], [0.0, 0.0, -log(0.025) / 4])

    def test_dispersion_of_equal_years(self) -> None:
        """Closed form: with equal years the moment equation is (variance - mean) / mean squared."""
        count = np.array([0, 1, 9, 4, 0, 12.0])
        row = term(counts.new_lesions(patients(list(count))), "dispersion")
        assert_allclose(row["estimate"], (count.var(ddof=1) - count.mean()) / count.mean() ** 2)
        assert row["lo"] < row["estimate"] < row["hi"]
        assert_allclose(row["p_value"], law.chi2.sf(5 * count.var(ddof=1) / count.mean(), 5))

    def test_negative_binomial_is_that_of_statsmodels(self, scattered: pd.DataFrame) -> None:
        """Independent value: statsmodels' GLM at our dispersion has our ratio, and its deviance falls at our limit."""
        found = counts.new_lesions(scattered)
        row = term(found, "ratio")
        alpha = float(row["note"].rpartition("dispersion ")[2])
        design = np.column_stack([np.ones(12), scattered["arm"] == "B"]).astype(float)
        family = sm.families.NegativeBinomial(alpha=alpha)
        offset = np.log(scattered["years"].to_numpy())
        fit = sm.GLM(scattered["count"], design, family=family, offset=offset).fit()
        assert_allclose(row["estimate"], np.exp(fit.params.iloc[1]), rtol=2e-3)
        held = sm.GLM(scattered["count"], design[:, :1], family=family, offset=offset + design[:, 1] * log(row["hi"]))
        assert_allclose(held.fit().deviance - fit.deviance, law.t.ppf(0.975, 10) ** 2, rtol=0.02)
        assert (row["interval_kind"], row["n_patients"]) == ("profile_t", 12)

    def test_limits_are_no_shorter_than_exact_ones(self, scattered: pd.DataFrame) -> None:
        """Property: scatter between patients only widens."""
        found = counts.new_lesions(scattered)
        for wide, exact in (("rate", "rate_poisson"), ("ratio", "ratio_poisson")):
            for arm in found["arm"][found["term"] == wide]:
                assert term(found, wide, arm)["lo"] <= term(found, exact, arm)["lo"]
                assert term(found, wide, arm)["hi"] >= term(found, exact, arm)["hi"]

    def test_an_arm_without_any(self, scattered: pd.DataFrame) -> None:
        """One arm of zeros has a ratio of 0 with an upper limit, and its reverse none above."""
        data = scattered.assign(count=scattered["count"].where(scattered["arm"] == "A", 0))
        row, reverse = (term(counts.new_lesions(data, reference=arm), "ratio") for arm in "AB")
        assert (row["estimate"], row["lo"]) == (0.0, 0.0)
        assert 0 < row["hi"] < inf
        assert reverse["hi"] == inf
        assert_allclose(reverse["lo"], 1 / row["hi"], rtol=1e-6)

    def test_reversed_arms(self, scattered: pd.DataFrame) -> None:
        """Invariance: the other reference gives the inverse ratio and the same p value."""
        row, reverse = (term(counts.new_lesions(scattered, reference=arm), "ratio") for arm in "AB")
        assert_allclose([row["estimate"], row["lo"]], [1 / reverse["estimate"], 1 / reverse["hi"]], rtol=1e-6)
        assert_allclose(row["p_value"], reverse["p_value"], rtol=1e-6)

    def test_nothing_found_in_anybody(self) -> None:
        """All zero: rates of 0 with an upper limit, no ratio and no dispersion, each with its reason."""
        found = counts.new_lesions(patients([0] * 6, arm=list("AAABBB")))
        assert "no new lesion in either arm" in term(found, "ratio")["note"]
        assert np.isnan(term(found, "ratio")["estimate"])
        assert "no dispersion" in term(found, "dispersion", "A")["note"]
        assert explained(found)

    def test_one_patient(self) -> None:
        """One patient has exact limits and cannot tell scatter; an arm of one is compared all the same."""
        assert "too few patients" in term(counts.new_lesions(patients([3])), "rate")["note"]
        found = counts.new_lesions(patients([3, 1, 0, 5], arm=list("ABBB")))
        assert np.isfinite(term(found, "ratio")["hi"])
        assert explained(found)

    def test_what_is_left_out(self) -> None:
        """Patients without a count or an arm are left out, and every note says how many."""
        data = patients([1, np.nan, 2, 4], arm=["A", "A", None, "A"])
        found = counts.new_lesions(data)
        assert found["n_patients"].eq(2).all()
        assert found["note"].str.contains("1 patient\\(s\\) without count or years left out").all()
        assert found["note"].str.contains("1 patient\\(s\\) without arm left out").all()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"count": ["many", 1]}, "column count must hold numbers"),
            ({"count": [-1, 1]}, "column count must hold whole numbers, 0 or more; got -1"),
            ({"count": [0.5, 1]}, "whole numbers, 0 or more; got 0.5"),
            ({"years": [0.0, 1.0]}, "column years must be above 0 and finite.*got 0"),
            ({"years": [inf, 1.0]}, "column years must be above 0 and finite.*got inf"),
            ({"patient_id": ["a", "a"]}, "every patient must have one row; a have several"),
            ({"patient_id": ["a", None]}, "every row must name its patient; 1 have no patient_id"),
            ({"count": [np.nan, np.nan]}, "data must hold one patient or more with count, years and arm; got none"),
        ],
    )
    def test_bad_tables(self, change: dict[str, list[object]], message: str) -> None:
        """A table that breaks a rule is refused with the rule and what came."""
        with pytest.raises(ValueError, match=message):
            counts.new_lesions(patients([1, 2]).assign(**change))

    def test_bad_calls(self) -> None:
        """A missing column, an unknown reference and a reference without arms are named."""
        with pytest.raises(ValueError, match="must have the columns patient_id, count, years"):
            counts.new_lesions(pd.DataFrame({"patient_id": [1]}))
        with pytest.raises(ValueError, match="reference must be one of A, B; got 'C'"):
            counts.new_lesions(patients([1, 2], arm=["A", "B"]), reference="C")
        with pytest.raises(ValueError, match="reference needs the column arm"):
            counts.new_lesions(patients([1, 2]), reference="C")


@QUICK
@given(count=st.lists(st.integers(0, 40), min_size=1, max_size=9), seed=st.integers(0, 10**6))
def test_counts_never_fail(count: list[int], seed: int) -> None:
    """Property: any whole counts give a table whose intervals hold their estimates, in any order of the rows."""
    rng = np.random.default_rng(seed)
    data = patients(count, years=rng.uniform(0.1, 5, len(count)), arm=rng.integers(0, 3, len(count)))
    found = counts.new_lesions(data)
    assert tuple(found.columns) == one_each.COLUMNS
    assert set(found["interval_kind"]) <= set(counts.INTERVAL_KINDS)
    assert explained(found)
    again = counts.new_lesions(data.sample(frac=1, random_state=seed))
    assert_allclose(again[["lo", "hi"]].to_numpy(float), found[["lo", "hi"]].to_numpy(float), rtol=1e-6)


class TestResponders:
    def test_clopper_pearson(self) -> None:
        """Independent value: R's binom.test(7, 8), stats.md O14."""
        data = pd.DataFrame({"patient_id": range(8), "responder": [True] * 7 + [False]})
        row = term(counts.responders(data), "proportion_exact")
        assert_allclose([row["lo"], row["hi"]], [0.4734903, 0.9968403], rtol=1e-6)

    def test_wilson(self) -> None:
        """Closed form: at the limits the score statistic of 7 of 8 is the normal quantile."""
        data = pd.DataFrame({"patient_id": range(8), "responder": [1.0] * 7 + [0.0]})
        row = term(counts.responders(data), "proportion")
        for limit in (row["lo"], row["hi"]):
            assert_allclose(abs(7 / 8 - limit) / sqrt(limit * (1 - limit) / 8), law.norm.ppf(0.975))

    def test_newcombe(self) -> None:
        """Published value: 56 of 70 less 48 of 80 has limits .0524 and .3339 (Newcombe 1998, example a, method 10)."""
        data = pd.DataFrame({"patient_id": range(150), "arm": ["B"] * 70 + ["A"] * 80})
        data["responder"] = [True] * 56 + [False] * 14 + [True] * 48 + [False] * 32
        row = term(counts.responders(data), "difference")
        assert row["arm"] == "B - A"
        assert_allclose([row["estimate"], row["lo"], row["hi"]], [0.2, 0.0524, 0.3339], atol=5e-5)

    @pytest.mark.parametrize("responder", [[True], [False, False]])
    def test_none_and_all(self, responder: list[bool]) -> None:
        """Shares of 0 and 1, of one patient too, have limits within 0 and 1."""
        found = counts.responders(pd.DataFrame({"patient_id": range(len(responder)), "responder": responder}))
        assert explained(found)
        assert found["lo"].ge(0).all()
        assert found["hi"].le(1).all()

    @pytest.mark.parametrize(("entry", "message"), [("yes", "must hold numbers"), (2, "True or False.*got 2")])
    def test_what_is_neither(self, entry: object, message: str) -> None:
        """Only True and False, or 1 and 0, are taken."""
        with pytest.raises(ValueError, match=message):
            counts.responders(pd.DataFrame({"patient_id": [1], "responder": [entry]}))


class TestNewVolume:
    def test_two_parts(self) -> None:
        """Closed form: shares, t limits of the mean and of the mean log, a loss kept negative."""
        data = pd.DataFrame({"patient_id": range(5), "value": [0.0, -4.0, 2.0, 8.0, 4.0], "years": 2.0, "unit": "mm3"})
        found = counts.new_volume(data)
        assert term(found, "share_with_any")["estimate"] == pytest.approx(0.6)
        row, peer = term(found, "mean_change"), law.ttest_1samp([0.0, -2.0, 1.0, 4.0, 2.0], 0)
        assert_allclose([row["lo"], row["hi"], row["p_value"]], [*peer.confidence_interval(), peer.pvalue])
        assert row["unit"] == "mm3/a"
        assert "1 patient(s) with a loss" in row["note"]
        row, half = term(found, "geometric_mean_of_any"), law.t.ppf(0.975, 2) * log(2) / sqrt(3)
        assert_allclose([row["estimate"], row["lo"], row["hi"]], 2 * np.exp([0, -half, half]))

    def test_tweedie_ratio(self) -> None:
        """Closed form: with equal years the ratio is that of the means, its log limits t with n - 2 df."""
        value = [0.0, 3.0, 5.0, 0.0, 1.0, 1.0, 4.0, 0.0]
        data = pd.DataFrame({"patient_id": range(8), "value": value, "years": 2.0, "arm": list("AAAABBBB")})
        row, fitted = term(counts.new_volume(data), "mean_ratio"), np.repeat([2.0, 1.5], 4)
        scale = np.sum((np.array(value) - fitted) ** 2 / fitted**1.5) / 6
        se = sqrt(scale * (1 / (4 * 2.0**0.5) + 1 / (4 * 1.5**0.5)))
        assert_allclose(row["estimate"], 0.75)
        assert_allclose(log(row["hi"] / row["lo"]) / 2, law.t.ppf(0.975, 6) * se, rtol=1e-6)

    def test_losses_allow_a_difference_only(self) -> None:
        """With a negative value there is no ratio; the difference is Welch's."""
        data = pd.DataFrame({"patient_id": range(6), "value": [1.0, -2.0, 3.0, 5.0, 6.0, 9.0], "years": 1.0})
        found = counts.new_volume(data.assign(arm=list("AAABBB")))
        assert "values below 0" in term(found, "mean_ratio")["note"]
        row = term(found, "difference_of_mean_change")
        peer = law.ttest_ind([5.0, 6.0, 9.0], [1.0, -2.0, 3.0], equal_var=False)
        assert_allclose([row["lo"], row["p_value"]], [peer.confidence_interval().low, peer.pvalue])

    def test_bad_tables(self) -> None:
        """Zero years, text, and two units are refused."""
        data = pd.DataFrame({"patient_id": [1, 2], "value": [1.0, 2.0], "years": [1.0, 1.0]})
        with pytest.raises(ValueError, match="years must be above 0"):
            counts.new_volume(data.assign(years=[1, 0]))
        with pytest.raises(ValueError, match="column value must hold numbers"):
            counts.new_volume(data.assign(value=["much", 1]))
        with pytest.raises(ValueError, match="column value must hold finite numbers"):
            counts.new_volume(data.assign(value=[inf, 1]))
        with pytest.raises(ValueError, match="one unit; got mm3, ml"):
            counts.new_volume(data.assign(unit=["mm3", "ml"]))

    @QUICK
    @given(value=st.lists(st.floats(-1e5, 1e5).map(lambda x: round(x, 3)), min_size=1, max_size=9), sign=st.booleans())
    def test_volumes_never_fail(self, value: list[float], sign: bool) -> None:
        """Property: any volumes give a table that explains what it misses."""
        data = pd.DataFrame({"patient_id": range(len(value)), "value": np.abs(value) if sign else value, "years": 1.5})
        assert explained(counts.new_volume(data.assign(arm=np.arange(len(value)) % 2)))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "dispersion"), [(5, 0.0), (5, 0.5), (12, 0.0), (12, 1.0)])
def test_coverage(n: int, dispersion: float) -> None:
    """Simulation: limits of the rate and of the ratio hold the truth in 91 to 100 % of 200 trials."""
    rng = np.random.default_rng(100 * n + int(10 * dispersion))
    held = []
    for _ in range(200):
        years, arm = rng.uniform(0.5, 2, 2 * n), np.arange(2 * n) % 2
        frailty = rng.gamma(1 / dispersion, dispersion, 2 * n) if dispersion else np.ones(2 * n)
        found = counts.new_lesions(patients(list(rng.poisson(frailty * years * np.where(arm, 2, 4))), years, arm=arm))
        truth = {("rate", "0"): 4.0, ("ratio", "1 / 0"): 0.5}
        held.append([term(found, *key)["lo"] <= value <= term(found, *key)["hi"] for key, value in truth.items()])
    assert (np.mean(held, axis=0) >= 0.91).all(), np.mean(held, axis=0)


def test_equal_volumes_over_different_years() -> None:
    """Hand: the ratio of the mean yearly amounts is that of the years where all amounts are equal, weights aside."""
    data = patients([0] * 4, [1.6, 1.2, 1.0, 1.4], arm=list("ABAB"), value=0.5)
    found = term(counts.new_volume(data), "mean_ratio")
    assert found["lo"] < 1 < found["hi"]
    assert found["estimate"] == pytest.approx(2.6 / 2.6, rel=0.05)


def test_amounts_of_two_patients_far_apart_leave_the_ratio_open() -> None:
    data = patients([0] * 3, 1.0, arm=list("ABB"), value=[1.0, 1e-12, 1e15])
    found = term(counts.new_volume(data), "mean_ratio")
    assert found["hi"] == inf
    assert "no upper limit" in found["note"]


def test_a_count_beyond_whole_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="column count must hold 1e\\+12 at most; got 1e\\+20"):
        counts.new_lesions(patients([1, 1e20]))


def test_years_too_small_to_be_any_are_refused() -> None:
    with pytest.raises(ValueError, match="column years must be above 0"):
        counts.new_volume(patients([1, 2], 1e-300, value=1.0))


def test_arms_without_an_order_are_refused() -> None:
    with pytest.raises(ValueError, match="column arm must hold numbers or words, of one kind"):
        counts.new_lesions(patients([1, 2], arm=[pd.Timestamp("2020-01-01"), 3]))


def test_years_too_far_apart_have_no_ratio() -> None:
    rng = np.random.default_rng(1)
    data = patients([0] * 9, [1e20, *rng.uniform(1, 2, 8)], arm=list("ABABABABA"), value=rng.gamma(2, 10, 9))
    found = term(counts.new_volume(data), "mean_ratio")
    assert np.isfinite(found["estimate"]) or "no ratio" in found["note"]


def test_a_share_of_none_starts_at_zero() -> None:
    """Wilson's limits of none and of all are 0 and 1, without a rounding."""
    for n in range(1, 40):
        table = counts.responders(pd.DataFrame({"patient_id": range(n), "responder": False}))
        assert term(table, "proportion")["lo"] == 0
        table = counts.responders(pd.DataFrame({"patient_id": range(n), "responder": True}))
        assert term(table, "proportion")["hi"] == 1
