"""Trends against closed forms, published values, invariances, and the coverage of their intervals."""

from __future__ import annotations

from math import inf, isnan, log, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats as law

from monitor import stats, tables
from monitor._stats import mixed
from monitor.types import Trend
from tests.textbook import textbook


@pytest.fixture
def sleepstudy() -> pd.DataFrame:
    return textbook("sleepstudy", Reaction="value", Days="years", Subject="patient_id")


@pytest.fixture
def orthodont() -> pd.DataFrame:
    return textbook("orthodont", distance="value", age="years", Subject="patient_id")


@pytest.fixture
def bodyweight() -> pd.DataFrame:
    return textbook("bodyweight", weight="value", Time="years", Rat="patient_id")


def visits(value: list[float], years: list[float] | None = None, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"years": years or np.arange(len(value), dtype=float), "value": value, **columns})


def drawn(seed: int, *, n: int = 8, visits_each: int = 5, noise: float = 2.0) -> pd.DataFrame:
    """Lines with scatter; half of the patients in each of two arms, starts between the visits."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(n):
        level, rate, start = rng.normal(100, 20), rng.normal(10, 3), rng.uniform(0.6, 1.4)
        change = rng.normal(-5, 5)
        for years in np.sort(rng.uniform(0, 2, visits_each)):
            value = level + rate * years + change * max(years - start, 0) + rng.normal(0, noise)
            row = {"patient_id": patient, "years": years, "value": value, "se": rng.uniform(1, 3)}
            rows.append({**row, "arm": "AB"[patient % 2], "start": start})
    return pd.DataFrame(rows)


DESIGNS = {
    "rate": stats.cohort_rate,
    "arms": lambda data: stats.treatment_slope(data, arm="arm"),
    "start": lambda data: stats.treatment_slope(data, treated_from="start"),
}
"""The three questions put to a cohort."""


def numbers(trend: Trend) -> list[float]:
    return [trend.estimate, trend.se, trend.df, trend.lo, trend.hi, trend.p_value]


class TestPatientTrend:
    def test_known_errors_are_taken_as_they_are(self) -> None:
        """Closed form: the variance of a weighted slope is the inverse weighted spread of time."""
        data = visits([100.0, 140.0, 145.0, 170.0], se=[5.0, 10.0, 5.0, 8.0])
        weight = 1 / data["se"] ** 2
        centred = data["years"] - np.average(data["years"], weights=weight)
        spread = float((weight * centred**2).sum())
        trend = stats.patient_trend(data)
        assert_allclose(trend.estimate, float((weight * centred * data["value"]).sum()) / spread)
        assert_allclose(trend.se, 1 / sqrt(spread))
        assert_allclose(trend.hi - trend.estimate, law.norm.ppf(0.975) / sqrt(spread))
        assert (trend.interval_kind, trend.df) == ("measurement_error_only", inf)

    def test_without_errors_student_t(self) -> None:
        """Independent value: scipy's regression line has the same slope, se and p value."""
        data = visits([3.0, 5.5, 6.0, 9.0], years=[0.0, 0.5, 1.5, 2.0])
        peer = law.linregress(data["years"], data["value"])
        trend = stats.patient_trend(data)
        assert_allclose([trend.estimate, trend.se, trend.p_value], [peer.slope, peer.stderr, peer.pvalue])
        assert (trend.interval_kind, trend.df) == ("residual_t", 2.0)

    def test_two_visits_with_errors(self) -> None:
        """Closed form: the difference per year, its error the root of the sum of squares per year."""
        trend = stats.patient_trend(visits([10.0, 16.0], years=[0.0, 0.5], se=[3.0, 4.0]))
        assert_allclose([trend.estimate, trend.se], [12.0, 10.0])
        assert trend.interval_kind == "measurement_error_only"

    @pytest.mark.parametrize("columns", [{}, {"se": [0.0, 0.0]}, {"se": [np.nan, np.nan]}])
    def test_two_visits_without_errors(self, columns: dict[str, list[float]]) -> None:
        """A difference without a known error has no interval, and says why."""
        trend = stats.patient_trend(visits([10.0, 16.0], **columns))
        assert trend.estimate == pytest.approx(6.0)
        assert np.isnan([trend.se, trend.lo, trend.hi, trend.p_value]).all()
        assert trend.interval_kind == "none"
        assert "no interval" in trend.note

    @pytest.mark.parametrize(
        "data",
        [
            visits([1.0]),
            visits([1.0], se=[0.5]),
            visits([1.0, 2.0, 4.0], years=[1.0, 1.0, 1.0]),
            visits([np.nan, 2.0, np.inf]),
            visits([]),
        ],
    )
    def test_one_time_holds_no_rate(self, data: pd.DataFrame) -> None:
        """One visit, one time, no value or no row: NaN with a note, never an exception."""
        trend = stats.patient_trend(data)
        assert isnan(trend.estimate)
        assert trend.interval_kind == "none"
        assert "hold no rate" in trend.note

    def test_rows_left_out_are_counted(self) -> None:
        """A visit without a value is named in the note and not in the count."""
        trend = stats.patient_trend(visits([1.0, np.nan, 3.0, 4.5], se=1.0))
        assert trend.n_visits == 3
        assert "1 row(s) without years or value left out" in trend.note

    def test_zero_error_is_floored(self) -> None:
        """A resolved lesion with se 0 weighs as much as the best of the others, and the note says so."""
        floored = stats.patient_trend(visits([9.0, 4.0, 0.0], se=[2.0, 1.0, 0.0]))
        plain = stats.patient_trend(visits([9.0, 4.0, 0.0], se=[2.0, 1.0, 1.0]))
        assert numbers(floored) == numbers(plain)
        assert "1 se of 0 set to the smallest positive one, 1" in floored.note

    def test_missing_error_counts_least(self) -> None:
        """A value of unknown error weighs as the worst of the others."""
        filled = stats.patient_trend(visits([9.0, 4.0, 2.0], se=[2.0, 1.0, np.nan]))
        assert numbers(filled) == numbers(stats.patient_trend(visits([9.0, 4.0, 2.0], se=[2.0, 1.0, 2.0])))
        assert "1 missing se" in filled.note

    def test_scatter_beyond_the_errors_is_told(self) -> None:
        """Errors that the scatter contradicts make the interval too short: the note says it."""
        assert "too short" in stats.patient_trend(visits([0.0, 5.0, 0.0, 5.0], se=0.1)).note
        assert "too short" not in stats.patient_trend(visits([0.0, 1.0, 2.0, 3.1], se=0.1)).note

    def test_a_line_without_scatter_has_no_interval(self) -> None:
        """Nothing but zeros, and no se, hold no information on the error."""
        trend = stats.patient_trend(visits([0.0, 0.0, 0.0, 0.0]))
        assert trend.estimate == 0
        assert trend.interval_kind == "none"
        assert "no scatter" in trend.note

    def test_change_of_rate(self) -> None:
        """Closed form: a line with a bend at 1 year, exactly."""
        data = visits([0.0, 2.0, 4.0, 5.0, 6.0], years=[0.0, 0.5, 1.0, 2.0, 3.0], se=0.1, start=1.0)
        trend = stats.patient_trend(data, treated_from="start")
        assert_allclose([trend.estimate], [-3.0])

    def test_unit(self) -> None:
        """The unit of a rate is the value's per year, where one is given."""
        assert stats.patient_trend(visits([1.0, 2.0], unit="mm3")).unit == "mm3/a"
        assert stats.patient_trend(visits([1.0, 2.0])).unit == "1/a"
        assert stats.patient_trend(visits([1.0, 2.0], unit="mm3"), scale="log").unit == "1/a"
        assert stats.patient_trend(visits([1.0, 2.0], unit="mm3"), scale="cbrt").unit == "(mm3)^(1/3)/a"


class TestScales:
    def test_log_rate(self) -> None:
        """Closed form: a doubling per year is log 2 and +100 %/a, its error that of the ratio."""
        trend = stats.patient_trend(visits([10.0, 20.0], se=[1.0, 2.0]), scale="log")
        assert_allclose([trend.estimate, trend.se], [log(2), sqrt(0.02)])
        assert trend.note.startswith("+100 %/a (95 % +51.58 to +163.9)")

    def test_log_of_zero_is_left_out_with_a_note(self) -> None:
        """A resolved visit has no logarithm, and is counted."""
        trend = stats.patient_trend(visits([10.0, 20.0, 0.0], se=1.0), scale="log")
        assert trend.n_visits == 2
        assert "1 value(s) of 0 have no logarithm" in trend.note

    @pytest.mark.parametrize("scale", ["log", "sqrt"])
    def test_negative_values_are_refused(self, scale: str) -> None:
        """A signed change has neither logarithm nor square root."""
        with pytest.raises(ValueError, match=f"negative on the {scale} scale; 1 are, the smallest -2"):
            stats.patient_trend(visits([1.0, -2.0, 3.0]), scale=scale)

    def test_cube_root_keeps_the_sign(self) -> None:
        """Closed form: from -8 to 27 is 5 on the cube root scale."""
        trend = stats.patient_trend(visits([-8.0, 27.0], se=[1.2, 2.7]), scale="cbrt")
        assert_allclose([trend.estimate, trend.se], [5.0, sqrt(0.1**2 + 0.1**2)])

    @pytest.mark.parametrize("scale", ["sqrt", "cbrt"])
    def test_zero_has_a_finite_error(self, scale: str) -> None:
        """At 0, where the delta method has no limit, the error is the root of the se."""
        trend = stats.patient_trend(visits([0.0, 0.0], se=[4.0, 4.0]), scale=scale)
        assert_allclose(trend.se, sqrt(2) * 4.0 ** (1 / {"sqrt": 2, "cbrt": 3}[scale]))

    def test_unknown_scale_names_the_known(self) -> None:
        """The message lists the scales."""
        with pytest.raises(ValueError, match="scale must be one of absolute, log, sqrt, cbrt; got 'cubic'"):
            stats.patient_trend(visits([1.0, 2.0]), scale="cubic")


class TestPublished:
    """Values of R (lme4 with Kenward-Roger, nlme), in stats.md, section 8."""

    @pytest.mark.parametrize("method", ["auto", "mixed", "two-stage"])
    def test_sleepstudy(self, sleepstudy: pd.DataFrame, method: str) -> None:
        """O1: the mean slope of 18 complete series."""
        trend = stats.cohort_rate(sleepstudy, method=method)
        assert_allclose([trend.estimate, trend.se, trend.df], [10.467285959596, 1.54578964, 17], rtol=1e-4)
        assert (trend.n_patients, trend.n_visits) == (18, 180)

    @pytest.mark.parametrize("method", ["auto", "mixed", "two-stage"])
    def test_orthodont(self, orthodont: pd.DataFrame, method: str) -> None:
        """O4: the difference of growth, boys minus girls."""
        trend = stats.treatment_slope(orthodont, arm="Sex", method=method)
        assert_allclose([trend.estimate, trend.se, trend.df], [0.304829545, 0.13473520, 25], rtol=1e-4)

    @pytest.mark.parametrize("method", ["auto", "mixed", "two-stage"])
    def test_bodyweight(self, bodyweight: pd.DataFrame, method: str) -> None:
        """O6: diet 2 less diet 1 with diet 3 in the model (named so that 2 comes last)."""
        data = bodyweight.assign(diet=bodyweight["Diet"].map({1: "a", 3: "b", 2: "c"}))
        trend = stats.treatment_slope(data, arm="diet", method=method)
        assert_allclose([trend.estimate, trend.se], [0.605839157, 0.157858662], rtol=1e-4)
        assert trend.n_patients == 16

    def test_bodyweight_of_two_diets_has_a_scatter_of_its_own(self, bodyweight: pd.DataFrame) -> None:
        """Without diet 3 the estimate stays (balanced), the se is that of 12 rats; both methods agree."""
        two = bodyweight[bodyweight["Diet"] < 3]
        fits = [stats.treatment_slope(two, arm="Diet", method=method) for method in ("mixed", "two-stage")]
        assert_allclose([trend.estimate for trend in fits], 0.605839157, rtol=1e-6)
        assert_allclose(fits[0].se, fits[1].se, rtol=1e-3)

    def test_bodyweight_optimisers(self, bodyweight: pd.DataFrame) -> None:
        """Standardised, every optimiser finds the maximum that statsmodels alone misses by a factor of 9 to 52."""
        data = bodyweight.assign(diet=bodyweight["Diet"].map({1: "a", 3: "b", 2: "c"}))
        for pair in (("bfgs", "cg"), ("lbfgs", "powell")):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(mixed, "_OPTIMISERS", pair)
                trend = stats.treatment_slope(data, arm="diet", method="mixed")
            assert f"optimisers agree: {pair[0]} and {pair[1]}" in trend.note
            assert_allclose(trend.se, 0.157858662, rtol=1e-4)

    def test_random_effects_mean_of_known_errors(self) -> None:
        """BCG vaccine trials (Colditz 1994) as rates of two visits: metafor's REML mean, tau2 .3132, se .1798."""
        first = [-0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209]
        effect = [*first, 0.0120, -0.4694, -1.3713, -0.3394, 0.4459, -0.0173]
        first = [0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230]
        variance = [*first, 0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714]
        data = pd.DataFrame(
            {
                "patient_id": np.repeat(np.arange(13), 2),
                "years": np.tile([0.0, 1.0], 13),
                "value": np.column_stack([np.zeros(13), effect]).ravel(),
                "se": np.repeat(np.sqrt(np.array(variance) / 2), 2),
            }
        )
        trend = stats.cohort_rate(data)
        assert_allclose([trend.estimate, trend.df], [-0.7145, 12], atol=2e-4)
        assert_allclose(trend.se, 0.1808, atol=2e-4)
        assert "SD of the rates between patients 0.5597" in trend.note  # the root of 0.3132


class TestCohort:
    def test_complete_series_without_errors(self) -> None:
        """Closed form: on one schedule the change of rate is the mean of the patients' own, t with n - 1."""
        rng = np.random.default_rng(3)
        years = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
        design = np.column_stack([np.ones(5), years, np.maximum(years, 0)])
        value = design @ rng.normal([[100], [10], [-5]], [[20], [3], [4]], (3, 6)) + rng.normal(0, 1, (5, 6))
        changes = np.linalg.lstsq(design, value, rcond=None)[0][2]
        data = pd.DataFrame(
            {"patient_id": np.repeat(np.arange(6), 5), "years": np.tile(years, 6), "value": value.T.ravel()}
        )
        trend = stats.treatment_slope(data.assign(start=0.0), treated_from="start")
        expected = [changes.mean(), changes.std(ddof=1) / sqrt(6), 5]
        assert_allclose([trend.estimate, trend.se, trend.df], expected, rtol=1e-6)
        assert trend.interval_kind == "cr2_t"

    def test_one_sided_patients_contribute(self) -> None:
        """Closed form: seen on one side only, the change is a difference of group means with Welch's se and df."""
        rng = np.random.default_rng(4)
        years, rates = np.array([0.0, 0.5, 1.0, 1.5]), rng.normal(10, 3, 9)
        data = pd.DataFrame(
            {
                "patient_id": np.repeat(np.arange(9), 4),
                "years": np.tile(years, 9),
                "value": (rates[:, None] * years + rng.normal(0, 0.5, (9, 4))).ravel(),
                "start": np.repeat(np.where(np.arange(9) < 4, -1.0, np.nan), 4),
            }
        )
        slopes = [np.polyfit(years, rows["value"], 1)[0] for _, rows in data.groupby("patient_id")]
        peer = law.ttest_ind(slopes[:4], slopes[4:], equal_var=False)
        trend = stats.treatment_slope(data, treated_from="start")
        assert_allclose(trend.estimate, np.mean(slopes[:4]) - np.mean(slopes[4:]), rtol=1e-6)
        assert_allclose(trend.estimate / trend.se, peer.statistic, rtol=1e-5)
        assert "0 of 9 patients seen on both sides" in trend.note

    def test_never_treated_and_late_patients_are_taken(self) -> None:
        """Patients without visits on both sides change the estimate, count, and break nothing."""
        data = drawn(1)
        data.loc[data["patient_id"] == 0, "start"] = np.nan
        data.loc[data["patient_id"] == 1, "start"] = -1.0
        trend = stats.treatment_slope(data, treated_from="start")
        assert trend.n_patients == 8
        assert trend.lo < trend.estimate < trend.hi
        assert trend.estimate != stats.treatment_slope(data[data["patient_id"] > 1], treated_from="start").estimate

    def test_nobody_treated(self) -> None:
        """Without a start there is no change of rate to tell."""
        trend = stats.treatment_slope(drawn(1).assign(start=np.nan), treated_from="start")
        assert isnan(trend.estimate)
        assert "no patient was seen on both sides" in trend.note

    def test_reference(self) -> None:
        """The reference turns the sign."""
        last, first = (stats.treatment_slope(drawn(2), arm="arm", reference=name) for name in "AB")
        assert_allclose([last.estimate, last.lo, last.hi], [-first.estimate, -first.hi, -first.lo])
        assert "arm B minus A" in last.note

    @pytest.mark.parametrize("question", DESIGNS)
    def test_known_errors_are_used(self, question: str) -> None:
        """A patient whose errors are huge does not move the estimate beyond its se; unweighted it would, tenfold."""
        data = drawn(5)
        spoiled = data["patient_id"] == 3
        jumps = np.where(spoiled, 300.0 * data["years"], 0)
        wild = data.assign(se=np.where(spoiled, 1e4, data["se"]), value=data["value"] + jumps)
        without = DESIGNS[question](data[~spoiled])
        assert DESIGNS[question](wild).estimate == pytest.approx(without.estimate, abs=without.se)

    @pytest.mark.parametrize("question", DESIGNS)
    def test_methods_are_recorded(self, question: str) -> None:
        """Auto takes errors into two stages; the mixed model says that it does not use them."""
        arguments = {"rate": {}, "arms": {"arm": "arm"}, "start": {"treated_from": "start"}}[question]
        call = stats.treatment_slope if arguments else stats.cohort_rate
        assert call(drawn(6), **arguments).method.startswith("two-stage")
        large = call(drawn(6, n=14), **arguments, method="mixed")
        assert "does not use the given se" in large.note
        assert np.isfinite([large.lo, large.hi]).all()

    def test_auto_fits_many_patients_by_a_mixed_model(self) -> None:
        """Without errors and from 12 patients on."""
        data = drawn(7, n=12).drop(columns="se")
        assert stats.cohort_rate(data).method.startswith("mixed model")
        assert stats.cohort_rate(data[data["patient_id"] < 11]).method.startswith("two-stage")

    def test_a_mixed_model_that_fails_is_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One optimiser alone is not believed: two stages follow, and the note says why."""
        monkeypatch.setattr(mixed, "_OPTIMISERS", ("bfgs",))
        trend = stats.cohort_rate(drawn(8), method="mixed")
        assert trend.method.startswith("two-stage")
        assert "mixed model refused (no two of bfgs agree" in trend.note
        assert np.isfinite(trend.lo)

    @pytest.mark.parametrize("method", ["two-stage", "mixed"])
    @pytest.mark.parametrize("question", ["arms", "start", "rate"])
    @pytest.mark.parametrize("value", [0.0, 7.0])
    def test_equal_values(self, question: str, method: str, value: float) -> None:
        """Values that never change have rate 0 and, without errors, no interval; no exception."""
        data = drawn(9).drop(columns="se").assign(value=value)
        arguments = {"rate": {}, "arms": {"arm": "arm"}, "start": {"treated_from": "start"}}[question]
        trend = (stats.treatment_slope if arguments else stats.cohort_rate)(data, method=method, **arguments)
        assert trend.estimate == pytest.approx(0, abs=1e-12)
        assert trend.interval_kind == "none"
        assert "no scatter" in trend.note

    @pytest.mark.parametrize("question", DESIGNS)
    @pytest.mark.parametrize("n", [1, 2])
    @pytest.mark.parametrize("with_se", [True, False])
    def test_very_few_patients(self, question: str, n: int, with_se: bool) -> None:
        """One or two patients give an estimate where there is one, and a note where there is no interval."""
        data = drawn(10, n=2)
        if n == 1:
            data = data.assign(patient_id=lambda rows: rows["patient_id"].where(rows["patient_id"] == 0, 1))
            data.loc[data["patient_id"] == 1, "value"] = np.nan
        trend = DESIGNS[question](data if with_se else data.drop(columns="se"))
        assert trend.interval_kind != "none" or trend.note
        assert trend.interval_kind == "none" or trend.lo < trend.estimate < trend.hi

    def test_patients_who_agree_by_chance(self) -> None:
        """The interval of patients of equal slopes is the t interval of their errors: the factor is no less than 1."""
        years = [0.0, 1.0, 2.0]
        rows = [
            visits([0.0, 1.0 + slip, 2.0], years, se=1.0, patient_id=name) for name, slip in (("a", 0.2), ("b", 0.3))
        ]
        trend = stats.cohort_rate(pd.concat(rows))
        assert trend.hi - trend.estimate == pytest.approx(law.t.ppf(0.975, 1) / sqrt(2 * 2))

    def test_single_visits_are_counted_out(self) -> None:
        """A patient seen once holds no rate and is not counted."""
        data = pd.concat([drawn(11), visits([5.0], se=1.0, patient_id=99)])
        trend = stats.cohort_rate(data)
        assert trend.n_patients == 8
        assert "1 patient(s) seen at one time only" in trend.note

    def test_no_patient_at_all(self) -> None:
        """An empty table has no rate and raises nothing."""
        trend = stats.cohort_rate(drawn(1).iloc[:0])
        assert isnan(trend.estimate)
        assert "no patient holds a rate" in trend.note


class TestRefusals:
    @pytest.mark.parametrize("column", ["patient_id", "years", "value"])
    def test_missing_columns(self, column: str) -> None:
        """The message says what must be there and what came."""
        with pytest.raises(ValueError, match="data must have the columns patient_id, years, value; got"):
            stats.cohort_rate(drawn(1).drop(columns=column))

    def test_text_in_a_number(self) -> None:
        """A word among the values is an error, not a gap."""
        with pytest.raises(ValueError, match="column value must hold numbers"):
            stats.patient_trend(visits(["1", "two"]))  # type: ignore[list-item]

    def test_several_patients(self) -> None:
        """One patient's line is not drawn through two."""
        with pytest.raises(ValueError, match="data must be of one patient; got 8: 0, 1, 2, 3, 4"):
            stats.patient_trend(drawn(1))

    def test_unnamed_patient(self) -> None:
        """A row of nobody is an error."""
        with pytest.raises(ValueError, match="1 have no patient_id"):
            stats.cohort_rate(visits([1.0, 2.0], patient_id=["a", None]))

    def test_negative_error(self) -> None:
        """A standard error below 0 is an error."""
        with pytest.raises(ValueError, match="se must not be negative; the smallest is -1"):
            stats.patient_trend(visits([1.0, 2.0], se=[1.0, -1.0]))

    def test_mixed_units(self) -> None:
        """Two units do not make one rate."""
        with pytest.raises(ValueError, match="all values must have one unit; got mm3, mg"):
            stats.patient_trend(visits([1.0, 2.0], unit=["mm3", "mg"]))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "give arm .* or treated_from, one of them"),
            ({"arm": "arm", "treated_from": "start"}, "give arm .* or treated_from, one of them"),
            ({"treated_from": "start", "reference": "A"}, "give arm .* or treated_from, one of them"),
            ({"arm": "sex"}, "data must have the columns patient_id, sex; got"),
            ({"arm": "se"}, "column se must be one entry per patient; 0, 1, 2, 3, 4 have several"),
            ({"treated_from": "se"}, "column se must be one entry per patient"),
            ({"arm": "arm", "reference": "C"}, "reference must be one of A, B; got 'C'"),
            (
                {"arm": "arm", "method": "bayes"},
                "method must be one of auto, two-stage, mixed, .*gee; got 'bayes'",
            ),
        ],
    )
    def test_treatment_slope(self, arguments: dict[str, str], message: str) -> None:
        """What cannot be asked is refused by rule, what came and what was expected."""
        with pytest.raises(ValueError, match=message):
            stats.treatment_slope(drawn(1), **arguments)

    def test_one_arm(self) -> None:
        """One arm has no difference."""
        with pytest.raises(ValueError, match="column arm must name two arms or more; got A"):
            stats.treatment_slope(drawn(1).assign(arm="A"), arm="arm")

    def test_two_starts_of_one_patient(self) -> None:
        """One line has one bend."""
        with pytest.raises(ValueError, match="column start must hold one start for the patient; got 2"):
            stats.patient_trend(visits([1.0, 2.0], start=[0.5, 0.7]), treated_from="start")


QUICK = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Each example fits three models."""

SEEDS = st.integers(0, 10_000)


@pytest.mark.parametrize("question", DESIGNS)
class TestInvariance:
    """Properties of every question, for drawn data."""

    @QUICK
    @given(seed=SEEDS, shift=st.floats(-1e4, 1e4))
    def test_a_shift_leaves_the_rate(self, question: str, seed: int, shift: float) -> None:
        """The zero of the amount is of no account."""
        data = drawn(seed)
        shifted = DESIGNS[question](data.assign(value=data["value"] + shift))
        assert_allclose(numbers(shifted), numbers(DESIGNS[question](data)), rtol=1e-4, atol=1e-4)

    @QUICK
    @given(seed=SEEDS, factor=st.floats(1e-6, 1e6))
    def test_scaling_scales_the_rate(self, question: str, seed: int, factor: float) -> None:
        """The unit of the amount is of no account."""
        data = drawn(seed)
        scaled = DESIGNS[question](data.assign(value=data["value"] * factor, se=data["se"] * factor))
        plain = DESIGNS[question](data)
        assert_allclose(np.array(numbers(scaled)[:2]) / factor, numbers(plain)[:2], rtol=1e-4, atol=1e-4)
        assert scaled.p_value == pytest.approx(plain.p_value, rel=1e-3)

    @QUICK
    @given(seed=SEEDS, factor=st.sampled_from([365.25, 12.0, 0.01]), shift=st.floats(-50, 50))
    def test_unit_and_origin_of_time(self, question: str, seed: int, factor: float, shift: float) -> None:
        """Days instead of years divide the rate by 365.25; the origin is of no account."""
        data = drawn(seed)
        moved = data.assign(years=(data["years"] + shift) * factor, start=(data["start"] + shift) * factor)
        rescaled, plain = DESIGNS[question](moved), DESIGNS[question](data)
        assert_allclose(np.array(numbers(rescaled)[:2]) * factor, numbers(plain)[:2], rtol=1e-4, atol=1e-4)

    @QUICK
    @given(seed=SEEDS)
    def test_order_of_rows(self, question: str, seed: int) -> None:
        """Shuffled rows give the same bits."""
        data = drawn(seed)
        assert DESIGNS[question](data.sample(frac=1, random_state=seed)) == DESIGNS[question](data)

    @QUICK
    @given(seed=SEEDS)
    def test_names_of_patients(self, question: str, seed: int) -> None:
        """Ids may be numbers or words, in any order."""
        data = drawn(seed)
        named = data.assign(patient_id=data["patient_id"].map(lambda name: f"P{(name * 5) % 8}"))
        assert_allclose(numbers(DESIGNS[question](named)), numbers(DESIGNS[question](data)), rtol=1e-4, atol=1e-4)


@QUICK
@given(
    value=st.lists(st.floats(-1e6, 1e6, allow_subnormal=False) | st.just(np.nan), max_size=6),
    with_se=st.booleans(),
    seed=SEEDS,
)
def test_a_patient_never_fails(value: list[float], with_se: bool, seed: int) -> None:
    """Whatever came, one patient has a number with limits about it, or a note."""
    rng = np.random.default_rng(seed)
    columns = {"se": rng.choice([0.0, 1.0, 5.0, np.nan], len(value))} if with_se else {}
    trend = stats.patient_trend(visits(value, list(rng.choice([0.0, 0.5, 1.0, 2.0], len(value))), **columns))
    assert trend.note if trend.interval_kind == "none" else trend.lo <= trend.estimate <= trend.hi


def burden_table(data: pd.DataFrame, **columns: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "patient_id": data["patient_id"].map(str),
            "visit_id": [f"V{k}" for k in range(len(data))],
            "years": data["years"],
            "compartment": "total",
            "quantity": "volume_mm3",
            "value": data["value"],
            "lo": data["value"] - 1.959964 * data["se"],
            "hi": data["value"] + 1.959964 * data["se"],
            "unit": "mm3",
            "rule_id": "r1",
        }
    ).assign(**columns)
    return tables.check(table, "burden")


def patients_table(data: pd.DataFrame, **columns: object) -> pd.DataFrame:
    one = data.drop_duplicates("patient_id")
    table = pd.DataFrame(
        {"patient_id": one["patient_id"].map(str), "arm": one["arm"], "treated_from_years": one["start"]}
    )
    return tables.check(table.assign(**columns), "patients")


class TestTable:
    def test_rows(self) -> None:
        """A study of two arms with starts has every row of the patient and of the cohort."""
        data = drawn(20, n=6, visits_each=6)
        found = stats.trends(burden_table(data), patients_table(data))
        cohort = found[found["level"] == "cohort"]
        assert sorted(cohort["term"]) == ["change_of_rate", "difference_of_rate", "rate", "rate", "rate"]
        assert set(cohort["arm"].dropna()) == {"A", "B", "B - A"}
        assert (found[found["level"] == "patient"]["term"] == "rate").sum() == 6
        assert (found["term"] == "change_of_rate").sum() > 1
        assert set(found[found["term"] == "level"]["unit"]) == {"mm3"}
        assert set(found[~found["term"].isin(["level", "half_life"])]["unit"]) == {"mm3/a"}
        assert set(found["time_origin"]) == {"baseline"}

    def test_numbers_are_those_of_the_functions(self) -> None:
        """The table says what the functions say."""
        data = drawn(21)
        found = stats.trends(burden_table(data), patients_table(data)).set_index("term")
        difference = stats.treatment_slope(data, arm="arm")
        row = found.loc["difference_of_rate"]
        assert row["arm"] == "B - A"
        assert_allclose(
            [row["estimate"], row["lo"], row["hi"]], [difference.estimate, difference.lo, difference.hi], rtol=1e-5
        )

    def test_other_quantities_are_left(self) -> None:
        """Only amounts have a rate; compartments have rows of their own."""
        data = drawn(22, n=2)
        parts = [burden_table(data), burden_table(data, compartment="arm"), burden_table(data, quantity="n_lesions")]
        found = stats.trends(pd.concat(parts), patients_table(data))
        assert set(found["quantity"]) == {"volume_mm3"}
        assert set(found["compartment"]) == {"total", "arm"}

    def test_surgery_closes_a_series(self) -> None:
        """What was taken out did not dissolve: all rates, the cohort's too, are of the visits up to the surgery."""
        data = drawn(23, n=4)
        surgery = tables.check(pd.DataFrame({"patient_id": ["0"], "years": [1.0], "kind": ["surgery"]}), "events")
        found = stats.trends(burden_table(data), patients_table(data), events=surgery)
        before = data[(data["patient_id"] != 0) | (data["years"] <= 1.0)]
        kept = stats.trends(burden_table(before), patients_table(before))
        numbers = ["estimate", "lo", "hi", "n_visits"]
        pd.testing.assert_frame_equal(found[numbers], kept[numbers])
        earlier = surgery.assign(years=-1.0)
        whole = stats.trends(burden_table(data), patients_table(data), events=earlier)
        assert whole["n_visits"].sum() > found["n_visits"].sum()

    def test_what_is_first_seen_after_a_surgery_has_no_rate(self) -> None:
        """A compartment seen after the surgery alone has a row without a number, and a note that says so."""
        data = drawn(26, n=2)
        late = data[data["years"] > 1.0]
        both = pd.concat([burden_table(data), burden_table(late, compartment="skin")])
        surgery = tables.check(pd.DataFrame({"patient_id": ["0"], "years": [1.0], "kind": ["surgery"]}), "events")
        found = stats.trends(both, patients_table(data), events=surgery)
        own = found[(found["patient_id"] == "0") & (found["compartment"] == "skin") & (found["term"] == "rate")]
        assert own["estimate"].isna().tolist() == [True]
        assert "closed by surgery at 1.00 a" in own["note"].iloc[0]

    def test_new_lesions_are_counted_per_year(self) -> None:
        """Closed form: three new lesions in 4 patients followed for 2 years each; what a baseline shows is not new."""
        data = pd.concat(
            [visits([1.0, 2.0, 3.0], [0.0, 1.0, 2.0], patient_id=n, arm="AB"[n % 2], se=1.0) for n in range(4)]
        )
        data = data.assign(start=np.nan, visit_id=[f"V{n}" for n in (0, 1, 2)] * 4)
        burden = burden_table(data).assign(visit_id=data["visit_id"].to_numpy())
        rows = [("1", "V1", 7, "new"), ("1", "V2", 8, "new"), ("3", "V2", 4, "new"), ("0", "V0", 1, "new")]
        rows += [("0", "V1", 2, "first_seen"), ("0", "V2", 2, "resolved")]
        lineage = pd.DataFrame(rows, columns=["patient_id", "visit_id", "lesion_id", "kind"])
        found = stats.trends(burden, patients_table(data), lineage=tables.check(lineage, "lineage"))
        own = found[found["quantity"] == "n_new_lesions"]
        assert own["term"].tolist() == ["rate", "rate", "rate", "ratio_of_rates"]
        assert own["arm"].fillna("").tolist()[:3] == ["", "A", "B"]
        assert own["estimate"].tolist()[:3] == pytest.approx([3 / 8, 0.0, 3 / 4])
        assert own["unit"].tolist() == ["1/a", "1/a", "1/a", "1"]
        assert (own["lo"].iloc[:3] <= own["estimate"].iloc[:3]).all()
        assert stats.trends(burden, patients_table(data))["quantity"].ne("n_new_lesions").all()

    def test_surgery_and_rules_are_noted(self) -> None:
        """A surgery between the visits, and a second rule, are told."""
        data = drawn(23, n=2)
        surgery = tables.check(pd.DataFrame({"patient_id": ["0"], "years": [1.0], "kind": ["surgery"]}), "events")
        burden = burden_table(data).assign(rule_id=["r1", "r2"] * 5)
        found = stats.trends(burden, patients_table(data), events=surgery)
        note = found[(found["patient_id"] == "0") & (found["term"] == "rate")]["note"].iloc[0]
        assert "closed by surgery at 1.00 a: " in note
        assert "measured by 2 rules: r1, r2" in note

    @pytest.mark.parametrize(
        "change",
        [
            {"value": 0.0, "lo": 0.0, "hi": 0.0},
            {"value": 0.0, "lo": 0.0, "hi": 3.0},
            {"value": np.nan},
            {"lo": np.nan},
            {"years": 0.0},
            {"years": np.nan},
            {"unit": None, "rule_id": None},
            {"compartment": None},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("rows", [0, 1, 2, 7, 40])
    def test_poor_data_raise_nothing(self, change: dict[str, object], rows: int) -> None:
        """Short, empty, one-visit, all-zero and NaN data give a checked table."""
        data = drawn(24)
        found = stats.trends(burden_table(data, **change).head(rows), patients_table(data))
        pd.testing.assert_frame_equal(found, tables.check(found, "trends"))
        assert (found["note"].ne("") | found["interval_kind"].ne("none")).all()

    def test_nothing_at_all(self) -> None:
        """Empty tables give the empty table."""
        found = stats.trends(tables.empty("burden"), tables.empty("patients"), events=tables.empty("events"))
        pd.testing.assert_frame_equal(found, tables.empty("trends"))

    def test_patients_without_arm_or_start(self) -> None:
        """A study without arms has the cohort's rate alone."""
        data = drawn(25, n=3)
        found = stats.trends(burden_table(data), patients_table(data, arm=None, treated_from_years=np.nan))
        assert list(found[found["level"] == "cohort"]["term"]) == ["rate"]
        assert "effect" not in " ".join([*found["note"], *found["term"], *found["model"]])


def simulated(rng: np.random.Generator, n: int, design: str) -> pd.DataFrame:
    """Draw log volumes as stats.md, section 4: 3 to 6 irregular visits in 2 years, biology not in the se."""
    rows = []
    for patient in range(n):
        m = int(rng.integers(3, 7))
        years, se = np.sort(np.r_[0, rng.uniform(0.1, 2, m - 1)]), rng.uniform(0.02, 0.12, m)
        arm, start, rate = int(patient >= n // 2), rng.uniform(0.5, 1.5), rng.normal(0.3, 0.15)
        late = np.maximum(years - start, 0) * rng.normal(-0.25, 0.15)
        line = (rate - 0.25 * arm) * years if design == "arms" else rate * years + late
        value = rng.normal(3, 0.8) + line + rng.normal(0, 0.05, m) + rng.normal(0, se)
        rows.append(
            pd.DataFrame({"patient_id": patient, "years": years, "value": value, "se": se, "arm": arm, "start": start})
        )
    return pd.concat(rows)


@pytest.mark.slow
@pytest.mark.parametrize("design", ["arms", "start"])
@pytest.mark.parametrize("n", [6, 8])
def test_coverage(design: str, n: int) -> None:
    """Simulation: the default's 95 % limits hold the truth in 92 to 98 % of 600 trials, and are always there."""
    rng = np.random.default_rng(20_000 + n)
    fits = [DESIGNS[design](simulated(rng, n, design)) for _ in range(600)]
    assert all(np.isfinite(fit.lo) for fit in fits)
    assert 0.92 <= np.mean([fit.lo <= -0.25 <= fit.hi for fit in fits]) <= 0.98


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"value": pd.Timestamp("2020-01-01")}, "column value must hold numbers; got datetime64"),
        ({"years": pd.Timedelta("1D")}, "column years must hold numbers; got timedelta64"),
        ({"value": 1 + 1j}, "column value must hold numbers; got complex"),
        ({"value": [[1.0]] * 40}, "column value must hold numbers"),
        ({"value": 1e300}, "column value must hold numbers between -1e\\+50 and 1e\\+50; got 1e\\+300"),
        ({"se": 1e300}, "column se must hold numbers between"),
        ({"arm": [["A"]] * 40}, "column arm must hold numbers or words"),
        ({"arm": [pd.Timestamp("2020-01-01")] * 20 + [3] * 20}, "column arm must hold numbers or words, of one kind"),
        ({"patient_id": [f"p{k // 5}\0" for k in range(40)]}, "patient_id must not end with a null character"),
    ],
)
def test_what_is_no_number_is_refused_by_name(columns: dict[str, object], rule: str) -> None:
    """Dates do not become nanoseconds, complex numbers lose nothing, and entries without an order are named."""
    data = drawn(3).assign(**columns)
    if "arm" in columns and isinstance(columns["arm"][0], pd.Timestamp):
        data = data.assign(arm=data["patient_id"].map(lambda name: columns["arm"][0] if name % 2 else 3))
    with pytest.raises(ValueError, match=rule):
        stats.treatment_slope(data, arm="arm")


@pytest.mark.parametrize("name", ["patient_id", "years", "value", "se", "arm"])
def test_a_column_that_comes_twice_is_refused(name: str) -> None:
    data = drawn(3)
    with pytest.raises(ValueError, match=f"several came for {name}"):
        stats.treatment_slope(pd.concat([data, data[[name]]], axis=1), arm="arm")


def test_numbers_nearer_to_zero_than_any_unit_are_zero_with_a_note() -> None:
    trend = stats.cohort_rate(drawn(3).assign(value=1e-300))
    assert trend.estimate == 0
    assert "40 value nearer to 0 than 1e-50 count as 0" in trend.note


@pytest.mark.parametrize("method", ["auto", "two-stage", "mixed", "kenward-roger", "satterthwaite", "gee"])
def test_no_patient_with_a_rate_has_a_note_by_every_method(method: str) -> None:
    for columns in ({"years": np.nan}, {"years": 1.0}, {"value": np.nan}):
        assert "no patient holds a rate" in stats.cohort_rate(drawn(3).assign(**columns), method=method).note
        change = stats.treatment_slope(drawn(3).assign(**columns), treated_from="start", method=method)
        assert "no patient holds a rate" in change.note


def test_exact_lines_have_no_mixed_model() -> None:
    """Without any scatter about parallel lines the variances are singular: two-stage, and the note says so."""
    data = drawn(3, n=12).drop(columns="se")
    trend = stats.cohort_rate(data.assign(value=3 * data["years"] + data["patient_id"]), method="mixed")
    assert trend.estimate == pytest.approx(3, rel=1e-9)
    assert "mixed model refused" in trend.note


def test_errors_too_unequal_leave_too_few_visits() -> None:
    data = visits([1.0, 2.0, 4.0, 9.0], se=[1e-8, 1e8, 1e-8, 1e8], start=1.0)
    assert "too unequal" in stats.patient_trend(data, treated_from="start").note
    assert stats.patient_trend(data).estimate == pytest.approx(1.5)


def test_a_start_before_all_time_is_refused() -> None:
    with pytest.raises(ValueError, match="a start must be a number of years"):
        stats.patient_trend(visits([1.0, 2.0, 4.0], start=-inf), treated_from="start")
