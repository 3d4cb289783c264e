"""Curves of one patient: published values, closed forms, brute force, invariances, and the coverage of their limits."""

from __future__ import annotations

from math import inf, isnan, log, nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import optimize
from scipy import stats as law

from monitor._stats import curves, limits, series
from monitor.types import Trend

LOBLOLLY_301 = pd.DataFrame(
    {"years": [3.0, 5.0, 10.0, 15.0, 20.0, 25.0], "value": [4.51, 10.89, 28.72, 41.74, 52.70, 60.92]}
)
"""Height of a pine, feet, over age; Kung (1986), in R's datasets."""

ORANGE_3 = pd.DataFrame(
    {
        "years": [118.0, 484.0, 664.0, 1004.0, 1231.0, 1372.0, 1582.0],
        "value": [30.0, 51.0, 75.0, 108.0, 115.0, 139.0, 140.0],
    }
)
"""Circumference of an orange tree, mm, over age in days; Draper and Smith (1998), in R's datasets."""

HALF_LIFE = 0.25
"""Three months, in years: the truth of what is drawn here."""

TERMS = ["half_life", "time_to_90", "plateau", "amplitude", "rate_constant", "plateau_fraction"]
"""What a decline has."""


def falling(years: np.ndarray, *, plateau: float = 20.0, half_life: float = HALF_LIFE) -> np.ndarray:
    return plateau + (100 - plateau) * 0.5 ** (years / half_life)


def decline(n: int = 8, last: float = 1.0, *, seed: int | None = 1, plateau: float = 20.0) -> pd.DataFrame:
    """Visits of a decline from 100 with errors of 5 % and 1; without a seed, without scatter."""
    years = np.linspace(0.0, last, n)
    truth = falling(years, plateau=plateau)
    se = 0.05 * truth + 1
    scatter = 0.0 if seed is None else np.random.default_rng(seed).normal(0, se)
    return pd.DataFrame({"years": years, "value": truth + scatter, "se": se})


def terms(data: pd.DataFrame) -> pd.DataFrame:
    return curves.curves(data).set_index("term")


def ends(trend: Trend) -> list[float]:
    return [trend.estimate, trend.lo, trend.hi]


def fit(data: pd.DataFrame, name: str) -> curves._Fit:
    shapes = {shape.name: shape for shape in (curves.DECLINE, curves.RISE, *curves.SIGMOIDS[True])}
    return curves._fit(curves._problem(series.read(data, one_patient=True)), shapes[name])


class TestPublished:
    def test_loblolly(self) -> None:
        """Published value: R's nls with SSasymp, and confint of its profile, which is interpolated (3 digits)."""
        table = terms(LOBLOLLY_301)
        assert set(table["model"]) == {"exponential_rise", "log_linear"}
        assert_allclose(table.loc["plateau", "estimate"], 95.6668788, rtol=1e-5)
        assert_allclose(table.loc["rate_constant", "estimate"], np.exp(-3.1163810), rtol=1e-5)
        at_zero = fit(LOBLOLLY_301, "exponential_rise").at(np.array([-3.0 / 22.0]))
        assert_allclose(at_zero, -9.0782408, rtol=1e-4)
        assert_allclose(table.loc["plateau", ["lo", "hi"]].astype(float), [81.5225, 121.7067], rtol=1e-3)
        assert table.loc["plateau", "interval_kind"] == "profile_f"

    def test_loblolly_limits_by_root_finding(self) -> None:
        """Independent value: with the plateau held, the misfit by scipy's minimiser meets the F bound at the limits."""
        years, value = (LOBLOLLY_301[name].to_numpy() for name in ("years", "value"))

        def misfit(plateau: float) -> float:
            def at(log_rate: float) -> float:
                gone = np.exp(-np.exp(log_rate) * years)
                return float(np.sum((value - plateau - ((value - plateau) @ gone) / (gone @ gone) * gone) ** 2))

            return float(optimize.minimize_scalar(at, bounds=(-5, -1), method="bounded", options={"xatol": 1e-10}).fun)

        least = fit(LOBLOLLY_301, "exponential_rise").misfit
        bound = least * (1 + law.f.ppf(0.95, 1, 3) / 3)
        expected = [optimize.brentq(lambda x: misfit(x) - bound, *pair) for pair in ((70, 95), (96, 200))]
        assert_allclose(terms(LOBLOLLY_301).loc["plateau", ["lo", "hi"]].astype(float), expected, rtol=1e-5)

    def test_orange_tree(self) -> None:
        """Published value: R's nls with SSlogis; its profile fails here ("singular gradient"), ours does not."""
        logistic = fit(ORANGE_3, "logistic_rise")
        inflection = logistic.node[1] * logistic.problem.span_years + logistic.problem.start_years
        assert_allclose(
            [logistic.plateau, inflection, 1 / logistic.rate], [158.829437, 734.842097, 400.954811], rtol=1e-5
        )
        lo, hi = curves._linear_limits(logistic, amplitude=False)
        assert lo < logistic.plateau < hi < inf

    def test_orange_tree_is_not_called_sigmoid(self) -> None:
        """By AICc seven visits do not show the bend: the plateau is bounded below, and open above."""
        plateau = terms(ORANGE_3).loc["plateau"]
        assert plateau["model"] == "exponential_rise"
        assert bool(plateau["open_hi"])
        assert plateau["hi"] == inf
        assert "plateau at least" in plateau["note"]


class TestHalfLife:
    def test_exact(self) -> None:
        """Closed form: without scatter all terms are those put in."""
        table = terms(decline(seed=None))
        assert list(table.index) == TERMS
        rate = log(2) / HALF_LIFE
        assert_allclose(table["estimate"], [HALF_LIFE, log(10) / rate, 20, 80, rate, 0.2], rtol=1e-5)
        trend = curves.half_life(decline(seed=None))
        assert (trend.unit, trend.interval_kind, trend.df, trend.n_visits) == ("a", "profile_chi2", inf, 8)
        assert isnan(trend.se)
        assert isnan(trend.p_value)

    @pytest.mark.parametrize("seed", range(4))
    def test_limits_by_root_finding(self, seed: int) -> None:
        """Independent value: scipy's nnls at a held half-life meets the bound, chi-square or F, at both limits."""
        data = decline(5, 0.5, seed=seed)
        years, se = data["years"].to_numpy(), data["se"].to_numpy()

        def misfit(half: float) -> float:
            design = np.column_stack([np.ones(5), 0.5 ** (years / half)]) / se[:, None]
            return float(optimize.nnls(design, data["value"] / se)[1] ** 2)

        trend = curves.half_life(data)
        least = misfit(trend.estimate)
        room = law.chi2.ppf(0.95, 1) if trend.df == inf else law.f.ppf(0.95, 1, 2) * least / 2
        grid = np.geomspace(0.01, 10, 4001)
        allowed = grid[np.array([misfit(half) for half in grid]) <= least + room]
        assert_allclose([trend.lo, trend.hi], [allowed.min() if trend.lo > 0 else 0, allowed.max()], rtol=2e-3)

    @pytest.mark.parametrize("seed", range(3))
    def test_plateau_limits_by_root_finding(self, seed: int) -> None:
        """Independent value: scipy's nnls with the plateau held, over many rates, bounds the plateau the same way."""
        data = decline(6, 0.8, seed=seed)
        years, se, value = (data[name].to_numpy() for name in ("years", "se", "value"))
        gone = np.exp(-np.geomspace(0.05, 200, 4000)[:, None] * years) / se
        plateaus = np.linspace(0, 50, 2001)
        left = (value - plateaus[:, None]) / se
        amount = np.maximum(left @ gone.T / np.sum(gone**2, axis=1), 0)
        misfit = np.sum(left**2, axis=1)[:, None] - amount * (2 * left @ gone.T - amount * np.sum(gone**2, axis=1))
        least = misfit.min(axis=1)
        allowed = plateaus[least <= least.min() + law.chi2.ppf(0.95, 1)]
        row = terms(data).loc["plateau"]
        assert_allclose([row["lo"], row["hi"]], [allowed.min(), allowed.max()], atol=0.05)

    def test_the_plateau_is_never_dropped(self) -> None:
        """With a plateau of 20 %, the half-life is not that of a decline to nothing, which is half as long again."""
        data = decline(5, 0.5, seed=None)
        slope = np.polyfit(data["years"], np.log(data["value"]), 1)[0]
        assert -log(2) / slope > 1.25 * HALF_LIFE
        assert_allclose(curves.half_life(data).estimate, HALF_LIFE, rtol=1e-5)

    def test_a_fall_between_two_visits_is_bounded_above_only(self) -> None:
        """Nothing is seen of a fall that is over at the second visit: at most, no estimate, lower side open."""
        trend = curves.half_life(pd.DataFrame({"years": [0.0, 1.0, 2.0, 3.0], "value": [100.0, 20, 21, 20], "se": 2.0}))
        assert isnan(trend.estimate)
        assert trend.lo == 0
        assert 0.1 < trend.hi < 1
        assert "half-life at most" in trend.note

    def test_a_fall_that_hardly_shows_is_bounded_on_neither_side(self) -> None:
        """Closed form: a constant is a curve of every half-life, so where it is allowed all half-lives are."""
        value = np.array([100.0, 99.2, 98.5, 97.5, 97.0])
        data = pd.DataFrame({"years": np.arange(5.0), "value": value, "se": 2.0})
        assert np.sum((value - value.mean()) ** 2) / 4 < law.chi2.ppf(0.95, 1)
        trend, row = curves.half_life(data), terms(data).loc["half_life"]
        assert (trend.lo, trend.hi, bool(row["open_lo"]), bool(row["open_hi"])) == (0, inf, True, True)
        assert "half-life bounded on neither side" in trend.note

    def test_a_slow_fall_is_long_but_bounded(self) -> None:
        """A fall by a tenth, measured well, does not tell its plateau: half-lives to many years, none of a month."""
        trend = curves.half_life(
            pd.DataFrame({"years": np.arange(5.0), "value": 100 - 2.5 * np.arange(5.0), "se": 1.0})
        )
        assert trend.lo > 0.5
        assert 20 < trend.hi < inf

    def test_three_visits(self) -> None:
        """Three visits with known errors have an estimate and limits; without errors, no limits and why."""
        data = decline(3, 0.5, seed=None)
        known, unknown = curves.half_life(data), curves.half_life(data.drop(columns="se"))
        assert_allclose([known.estimate, unknown.estimate], HALF_LIFE, rtol=1e-5)
        assert known.lo < HALF_LIFE < known.hi
        assert isnan(unknown.lo)
        assert unknown.interval_kind == "none"
        assert "3 visits for 3 terms and no se" in unknown.note

    def test_without_errors_limits_of_f(self) -> None:
        """Without se, the scatter of four visits or more gives the limits, by F with n - 3 df."""
        trend = curves.half_life(decline(6, 1.0).drop(columns="se"))
        assert (trend.interval_kind, trend.df) == ("profile_f", 3)
        assert trend.lo < trend.estimate < trend.hi

    def test_scatter_beyond_the_errors_widens_the_limits(self) -> None:
        """Errors that are given ten times too small do not make the limits ten times too short."""
        data = decline(8)
        small, right = curves.half_life(data.assign(se=data["se"] / 10)), curves.half_life(data)
        assert small.interval_kind == "profile_f"
        assert "exceeds the given errors" in small.note
        assert small.hi / small.lo > right.hi / right.lo / 2

    def test_scatter_of_one_degree_of_freedom_does_not_set_limits(self) -> None:
        """Four visits cannot tell a scatter: the given errors stand, and the note says that they are too small."""
        data = pd.DataFrame({"years": [0.0, 1, 2, 3], "value": [100.0, 40, 45, 20], "se": 3.0})
        trend = curves.half_life(data)
        assert trend.interval_kind == "profile_chi2"
        assert "the interval is too short" in trend.note

    def test_growth_has_no_half_life(self) -> None:
        """What rises is refused with the reason."""
        trend = curves.half_life(LOBLOLLY_301)
        assert isnan(trend.estimate)
        assert trend.interval_kind == "none"
        assert "the values rise" in trend.note

    def test_another_shape_has_no_half_life(self) -> None:
        """A fall in two steps, measured well, is monotone but not exponential: refused, envelope and halving time."""
        value = [100.0, 99.5, 99, 60, 59.8, 59.5, 20, 19.8]
        data = pd.DataFrame({"years": np.arange(8.0), "value": value, "se": 0.5})
        table = terms(data)
        assert list(table.index) == ["half_life", "halving_time"]
        assert isnan(table.loc["half_life", "estimate"])
        assert table.loc["half_life", "model"] == "monotone_envelope"
        assert "reject an exponential decline, not a monotone one" in curves.half_life(data).note
        assert_allclose(curves.fitted(data, data["years"].to_numpy()), value)


class TestGrowth:
    def test_doubling_time(self) -> None:
        """Closed form: compound growth without scatter doubles in the time put in, and shows no plateau."""
        years = np.arange(6.0)
        table = terms(pd.DataFrame({"years": years, "value": 10 * 2 ** (years / 1.5), "se": 1.0}))
        row = table.loc["doubling_time"]
        assert_allclose(row["estimate"], 1.5, rtol=1e-5)
        assert row["lo"] < 1.5 < row["hi"]
        assert row["model"] == "log_linear"
        assert "does not bend" in row["note"]
        assert "plateau" not in table.index

    def test_doubling_time_of_what_may_stand_still(self) -> None:
        """A rise within the errors has a shortest doubling time and no longest."""
        row = terms(pd.DataFrame({"years": np.arange(4.0), "value": [100.0, 101, 100, 102], "se": 3.0})).loc[
            "doubling_time"
        ]
        assert row["hi"] == inf
        assert bool(row["open_hi"])
        assert 0 < row["lo"] < row["estimate"]

    def test_straight_rise(self) -> None:
        """A straight rise has a plateau that is bounded below only: nothing tells where it ends."""
        row = terms(pd.DataFrame({"years": np.arange(5.0), "value": 10 + 20 * np.arange(5.0), "se": 2.0})).loc[
            "plateau"
        ]
        assert isnan(row["estimate"])
        assert row["lo"] > 90
        assert row["hi"] == inf

    @pytest.mark.parametrize(("name", "base"), [("logistic", 0.0), ("logistic", 40.0), ("gompertz", 0.0)])
    def test_sigmoid(self, name: str, base: float) -> None:
        """Closed form: a sigmoid measured well on both sides of its inflection is recognised and its terms found."""
        years = np.linspace(0, 10, 11)
        z = 1.2 * (years - 5)
        share = 1 / (1 + np.exp(-z)) if name == "logistic" else np.exp(-np.exp(-z))
        table = terms(pd.DataFrame({"years": years, "value": base + 80 * share, "se": 1.0}))
        assert table.loc["plateau", "model"] == f"{name}_rise" + ("_from_base" if base else "")
        assert_allclose(table.loc["plateau", "estimate"], base + 80, rtol=1e-4)
        assert_allclose(table.loc["rate_constant", "estimate"], 1.2, rtol=1e-3)
        assert table.loc["plateau", "lo"] < base + 80 < table.loc["plateau", "hi"] < inf

    def test_falling_sigmoid(self) -> None:
        """A fall that begins late is no exponential: no half-life, but plateau and time to 90 % of the sigmoid."""
        years = np.linspace(0, 10, 11)
        data = pd.DataFrame({"years": years, "value": 20 + 80 / (1 + np.exp(1.5 * (years - 5))), "se": 1.0})
        table = terms(data)
        assert isnan(table.loc["half_life", "estimate"])
        assert table.loc["plateau", "model"] == "logistic_decline"
        assert_allclose(table.loc["plateau", "estimate"], 20, rtol=1e-3)
        assert_allclose(table.loc["time_to_90", "estimate"], 5 + log(9) / 1.5, rtol=1e-3)
        assert_allclose(curves.fitted(data, years), data["value"], rtol=1e-4)

    def test_no_sigmoid_below_six_times(self) -> None:
        """Five times never choose a sigmoid, whatever its fit."""
        value = 80 / (1 + np.exp(-3 * (np.arange(5.0) - 2)))
        assert "logistic" not in " ".join(terms(pd.DataFrame({"years": np.arange(5.0), "value": value}))["model"])


class TestInvariance:
    @pytest.mark.parametrize("data", [decline(8), decline(5, 0.5, seed=2).drop(columns="se")])
    @pytest.mark.parametrize(("value", "time", "shift"), [(1000.0, 1.0, 0.0), (1.0, 365.25, 0.0), (0.01, 12.0, 3.0)])
    def test_units(self, data: pd.DataFrame, value: float, time: float, shift: float) -> None:
        """Invariance: the units of value and of time carry through, and the origin of time does not matter."""
        factor = np.array([time, time, value, value, 1 / time, 1.0])
        scaled = data.assign(years=data["years"] * time + shift, value=data["value"] * value)
        scaled = scaled.assign(se=data["se"] * value) if "se" in data else scaled
        before, after = terms(data), terms(scaled)
        assert list(after.index) == TERMS
        for column in ("estimate", "lo", "hi"):
            assert_allclose(after[column], before[column] * factor, rtol=2e-4)

    @settings(max_examples=15, deadline=None)
    @given(st.permutations(range(6)))
    def test_order_of_visits(self, order: list[int]) -> None:
        """Property: the order of the rows does not matter."""
        data = decline(6)
        assert ends(curves.half_life(data.iloc[list(order)])) == ends(curves.half_life(data))

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.floats(0, 1000), min_size=3, max_size=8), st.booleans())
    def test_limits_hold_the_estimate(self, value: list[float], known: bool) -> None:
        """Property: whatever the values, limits that exist are in order and hold the estimate that exists."""
        data = pd.DataFrame({"years": np.arange(len(value), dtype=float), "value": value})
        table = curves.curves(data.assign(se=5.0) if known else data)
        for row in table.itertuples():
            if not isnan(row.lo):
                assert row.lo <= row.hi
            if not isnan(row.lo) and not isnan(row.estimate):
                assert row.lo <= row.estimate * (1 + 1e-6) + 1e-9
                assert row.hi >= row.estimate * (1 - 1e-6) - 1e-9

    def test_several_patients(self) -> None:
        """Each patient's rows are those of the patient alone; ids may be numbers."""
        both = pd.concat([decline(8).assign(patient_id=1), decline(5, 0.5, seed=3).assign(patient_id=2)])
        table = curves.curves(both)
        assert list(table.columns) == list(curves.COLUMNS)
        alone = curves.curves(decline(5, 0.5, seed=3))
        assert_allclose(table[table["patient_id"] == "2"]["estimate"], alone["estimate"])
        assert set(table["n_visits"]) == {8, 5}

    def test_unit_of_the_value(self) -> None:
        """A unit is carried to the terms that are amounts."""
        table = terms(decline(8).assign(unit="mm3"))
        assert dict(zip(table.index, table["unit"], strict=True)) == dict(
            zip(TERMS, ["a", "a", "mm3", "mm3", "1/a", "1"], strict=True)
        )

    def test_kinds_of_interval_are_new(self) -> None:
        """The kinds are explained, and none has the name of another."""
        assert not set(curves.INTERVAL_KINDS) & set(limits.INTERVAL_KINDS)
        assert curves.half_life(decline(8)).interval_kind in curves.INTERVAL_KINDS


class TestPoorData:
    def test_nothing_there(self) -> None:
        """All zeros hold no half-life; so do values that stay the same."""
        for value in (0.0, 7.0):
            trend = curves.half_life(pd.DataFrame({"years": np.arange(5.0), "value": value, "se": 1.0}))
            assert isnan(trend.estimate)
            assert trend.interval_kind == "none"
            assert trend.note

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_fewer_than_three_visits(self, n: int) -> None:
        """Below three visits there is no curve, and the note says so; two hold a change."""
        data = decline(3).head(n)
        trend = curves.half_life(data)
        assert isnan(trend.estimate)
        assert "hold no curve" in trend.note
        table = curves.curves(data)
        assert ("change" in list(table["term"])) == (n == 2)
        assert np.isnan(curves.fitted(data, np.array([0.0, 1.0]))).all()

    def test_change_of_two_visits(self) -> None:
        """Closed form: the change of two visits and its normal limits."""
        row = terms(pd.DataFrame({"years": [0.0, 1.0], "value": [100.0, 70.0], "se": [3.0, 4.0]})).loc["change"]
        assert_allclose([row["estimate"], row["lo"], row["hi"]], [-30, -30 - 5 * limits.Z, -30 + 5 * limits.Z])

    def test_repeats_count_as_one_time(self) -> None:
        """Three scans at two times hold no curve, and six visits twice weigh as errors smaller by the root of two."""
        assert "at 2 time(s)" in curves.half_life(pd.DataFrame({"years": [0.0, 0, 1], "value": [9.0, 10, 5]})).note
        data = decline(5, 0.5)
        twice = pd.concat([data, data]).assign(se=lambda rows: rows["se"] * np.sqrt(2))
        assert_allclose(ends(curves.half_life(twice)), ends(curves.half_life(data)), rtol=1e-5)

    def test_negative_values_are_noise_about_zero(self) -> None:
        """A resolved lesion measured a little below nothing is fitted, with a note; the plateau is not negative."""
        data = decline(8, 3.0, plateau=0.0).assign(value=lambda rows: rows["value"].mask(rows["value"] < 2, -1.0))
        trend = curves.half_life(data)
        assert "negative value(s) count as noise" in trend.note
        assert trend.lo < HALF_LIFE < trend.hi
        assert terms(data).loc["plateau", "lo"] == 0

    def test_an_error_of_zero(self) -> None:
        """An se of 0 becomes the smallest positive one, and the note says so; all 0 count as none."""
        data = decline(6)
        assert "se of 0 set to" in curves.half_life(data.assign(se=data["se"].where(data.index > 0, 0.0))).note
        assert curves.half_life(data.assign(se=0.0)).interval_kind == "profile_f"

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (pd.DataFrame({"years": [0, 1, 2], "value": ["much", "less", "none"]}), "column value must hold numbers"),
            (pd.DataFrame({"years": [0, 1, 2]}), "data must have the columns"),
            (decline(4).assign(se=-1.0), "se must not be negative"),
        ],
    )
    def test_refused(self, data: pd.DataFrame, message: str) -> None:
        """What is no table of numbers raises an error that says the rule."""
        for function in (curves.half_life, curves.curves):
            with pytest.raises(ValueError, match=message):
                function(data)

    def test_several_patients_have_no_one_half_life(self) -> None:
        """The half-life is of one patient."""
        with pytest.raises(ValueError, match="data must be of one patient"):
            curves.half_life(pd.concat([decline(4).assign(patient_id=1), decline(4).assign(patient_id=2)]))

    def test_no_curve_before_the_first_visit(self) -> None:
        """The curve is not drawn backwards, and goes on towards the plateau."""
        drawn = curves.fitted(decline(8, seed=None), np.array([-0.1, 0.0, 50.0, nan]))
        assert_allclose(drawn, [nan, 100, 20, nan], rtol=1e-4)


@pytest.mark.slow
class TestCoverage:
    REPLICATES = 200
    """Enough to tell 93 % from 88 %: three standard errors."""

    @pytest.mark.parametrize(("n", "last"), [(3, 0.5), (5, 0.5), (8, 1.0)])
    def test_half_life(self, n: int, last: float) -> None:
        """Property: 95 % limits hold the truth in 93 % or more; eight visits over a year close 90 % of them."""
        found = [curves.half_life(decline(n, last, seed=seed)) for seed in range(1000, 1000 + self.REPLICATES)]
        covered = np.mean([trend.lo <= HALF_LIFE <= trend.hi for trend in found])
        assert covered >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / self.REPLICATES)
        if n == 8:
            assert np.mean([trend.lo > 0 and trend.hi < inf for trend in found]) >= 0.9
