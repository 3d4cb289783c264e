"""Time to a new lesion against published values, closed forms, a plain self-consistency loop, and coverage."""

from __future__ import annotations

from itertools import combinations
from math import exp, inf, log

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats as law

from monitor._stats import times
from tests.textbook import textbook

CRITICAL = law.chi2.ppf(0.95, 1)
"""Fall of twice the log likelihood at 95 % limits."""


def scans(lower: list[float], upper: list[float], **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": range(len(lower)), "lower_years": lower, "upper_years": upper, **columns})


def term(table: pd.DataFrame, name: str, arm: str | None = None, years: float | None = None) -> pd.Series:
    rows = table[(table["term"] == name) & ((table["arm"] == arm) if arm else True)]
    rows = rows if years is None else rows[rows["years"] == years]
    assert len(rows) == 1
    return rows.iloc[0]


def visited(seed: int, n: int, *, ratio: float = 1.0) -> pd.DataFrame:
    """Draw exponential times, seen at four irregular visits, half of the patients in each of two arms."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(n):
        time = rng.exponential(1.2 / (ratio if patient % 2 else 1.0))
        visits = np.concatenate([[0.0], np.sort(rng.uniform(0.1, 3, 4)), [inf]])
        after = int(np.searchsorted(visits, time))
        row = {"lower_years": visits[after - 1], "upper_years": visits[after], "arm": "AB"[patient % 2]}
        rows.append({"patient_id": patient, **row})
    return pd.DataFrame(rows)


def self_consistent(lower: np.ndarray, upper: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return survival at times by the plain loop of Turnbull (1976) over all gaps between bounds."""
    edges = np.unique(np.concatenate([[0.0], lower, upper]))
    within = (lower[:, None] <= edges[:-1]) & (edges[1:] <= upper[:, None])
    mass = np.full(len(edges) - 1, 1 / (len(edges) - 1))
    for _ in range(20_000):
        mass = (within * mass / (within @ mass)[:, None]).mean(axis=0)
    return np.array([mass[edges[1:] > end].sum() for end in ends])


@pytest.fixture
def aml() -> pd.DataFrame:
    data = textbook("aml")
    time = data["time"].astype(float)
    return scans(list(time), list(time.where(data["status"] == 1, inf)), arm=data["x"])


class TestRightCensored:
    def test_kaplan_meier(self, aml: pd.DataFrame) -> None:
        """Independent value: R's survfit, log-log limits, and medians 31 and 23 (stats.md, O13)."""
        found = times.time_to_new_lesion(aml)
        row = term(found, "survival", "Maintained", 9.0)
        assert_allclose([row["estimate"], row["lo"], row["hi"]], [0.909090909, 0.508080206, 0.986673823], rtol=1e-8)
        assert term(found, "median", "Maintained")["estimate"] == 31
        assert term(found, "median", "Nonmaintained")["estimate"] == 23
        assert row["interval_kind"] == "greenwood_log_log"

    def test_cox_and_log_rank(self, aml: pd.DataFrame) -> None:
        """Independent value: R's coxph .915532575 (.511934275) and survdiff 3.3963886989776 (O13)."""
        found = times.time_to_new_lesion(aml)
        row = term(found, "hazard_ratio")
        assert_allclose(log(row["estimate"]), 0.915532575, rtol=1e-8)
        assert_allclose(log(row["hi"] / row["lo"]) / 2 / law.norm.ppf(0.975), 0.511934275, rtol=1e-8)
        assert_allclose(term(found, "log_rank")["estimate"], 3.3963886989776, rtol=1e-10)

    def test_exponential_ratio(self, aml: pd.DataFrame) -> None:
        """Closed form: the ratio of exponential hazards is that of events over time, at its limits as likely."""
        row = term(times.time_to_new_lesion(aml), "hazard_ratio_exponential")
        mine = aml["arm"] == "Nonmaintained"
        events, total = [11, 7], [aml["lower_years"][rows].sum() for rows in (mine, ~mine)]
        assert_allclose(row["estimate"], events[0] / total[0] / (events[1] / total[1]), rtol=1e-5)
        for ratio in (row["lo"], row["hi"]):
            rate = 18 / (ratio * total[0] + total[1])
            held = 11 * log(ratio * rate) + 7 * log(rate) - 18
            best = 11 * log(11 / total[0]) + 7 * log(7 / total[1]) - 18
            assert_allclose(2 * (best - held), CRITICAL, rtol=1e-4)

    def test_nobody_is_left(self) -> None:
        """At a survival of 0 there are no log-log limits, and the note says so; two patients bound no median below."""
        found = times.time_to_new_lesion(scans([1.0, 2.0], [1.0, 2.0]))
        assert "no patient is left" in term(found, "survival", years=2.0)["note"]
        row = term(found, "median")
        assert (row["estimate"], row["lo"], row["hi"]) == (1.5, 0.0, inf)

    def test_arms_that_do_not_overlap(self) -> None:
        """Where one arm's events all come first, the partial likelihood has no maximum, and no ratio is given."""
        data = scans([1.0, 1.5, 2.0, 5.0, 6.0, 7.0], [1.0, 1.5, 2.0, 5.0, 6.0, 7.0], arm=list("AAABBB"))
        row = term(times.time_to_new_lesion(data), "hazard_ratio")
        assert np.isnan(row["estimate"])
        assert "do not overlap" in row["note"]


class TestIntervalCensored:
    def test_by_hand(self) -> None:
        """Worked by hand: (0, 1], (1, 2], and beyond 1 and 2: masses 1/4, 3/8 and 3/8 maximise the likelihood."""
        found = times.time_to_new_lesion(scans([0.0, 1.0, 1.0, 2.0], [1.0, inf, 2.0, inf]))
        rows = found[found["term"] == "survival"]
        assert_allclose(rows["years"], [1.0, 2.0])
        assert_allclose(rows["estimate"], [0.75, 0.375], rtol=1e-6)
        assert rows["note"].str.contains("fell somewhere within").all()

    def test_one_common_visit(self) -> None:
        """Closed form: all seen once at the same time is a binomial, with its likelihood ratio limits."""
        row = term(times.time_to_new_lesion(scans([0.0] * 3 + [1.0] * 5, [1.0] * 3 + [inf] * 5)), "survival")
        assert_allclose(row["estimate"], 5 / 8)
        for share in (row["lo"], row["hi"]):
            fall = 5 * log(5 / 8 / share) + 3 * log(3 / 8 / (1 - share))
            assert_allclose(2 * fall, CRITICAL, rtol=1e-4)

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_self_consistency(self, seed: int) -> None:
        """Independent method: the plain loop of Turnbull over all gaps ends at the same survival."""
        data = visited(seed, 20)
        rows = times.time_to_new_lesion(data.drop(columns="arm")).query("term == 'survival'")
        plain = self_consistent(*data[["lower_years", "upper_years"]].to_numpy().T, rows["years"].to_numpy())
        assert_allclose(rows["estimate"], plain, atol=1e-4)
        assert not rows["note"].str.contains("not reached").any()

    def test_narrow_intervals_come_to_exact_times(self, aml: pd.DataFrame) -> None:
        """Limit: times known to a thousandth give the exact times' survival and ratios."""
        near = aml.assign(lower_years=np.where(aml["upper_years"] < inf, aml["lower_years"] - 1e-3, aml["lower_years"]))
        exact, found = times.time_to_new_lesion(aml), times.time_to_new_lesion(near)
        same = ["hazard_ratio_exponential", "hazard_ratio_weibull"]
        for name in same:
            wide, narrow = term(exact, name), term(found, name)
            assert_allclose([narrow["estimate"], narrow["hi"]], [wide["estimate"], wide["hi"]], rtol=1e-3)
        survival = [table[table["term"] == "survival"]["estimate"] for table in (exact, found)]
        assert_allclose(survival[1], survival[0], atol=1e-6)

    def test_permutation_by_hand(self) -> None:
        """Worked by hand: 3 of 3 early against 3 of 3 late events are one of 20 deals, and its mirror: p = .1."""
        found = times.time_to_new_lesion(scans([0.0] * 3 + [1.0] * 3, [1.0] * 3 + [2.0] * 3, arm=list("AAABBB")))
        row = term(found, "log_rank")
        assert_allclose(row["p_value"], 2 / len(list(combinations(range(6), 3))))
        assert "same visit schedule" in row["note"]

    def test_reversed_arms(self) -> None:
        """Invariance: the other reference gives inverse ratios and the same p values."""
        data = visited(5, 24, ratio=2.0)
        found, other = times.time_to_new_lesion(data), times.time_to_new_lesion(data, reference="B")
        for name in ("hazard_ratio_exponential", "hazard_ratio_weibull"):
            row, reverse = term(found, name), term(other, name)
            assert_allclose([row["estimate"], row["lo"]], [1 / reverse["estimate"], 1 / reverse["hi"]], rtol=1e-4)
        assert_allclose(term(found, "log_rank")["p_value"], term(other, "log_rank")["p_value"])

    def test_another_unit_of_time(self) -> None:
        """Invariance: months for years leave survival, ratios and p values as they are."""
        data = visited(6, 16)
        months = data.assign(lower_years=data["lower_years"] * 12, upper_years=data["upper_years"] * 12)
        columns = ["estimate", "lo", "hi", "p_value"]
        tables = [times.time_to_new_lesion(one).query("term != 'median'")[columns] for one in (data, months)]
        assert_allclose(tables[1].to_numpy(float), tables[0].to_numpy(float), rtol=1e-3, atol=1e-5)

    def test_an_arm_without_any(self) -> None:
        """An arm without a new lesion has a survival of 1 with a lower limit, and a ratio of 0 with an upper one."""
        data = scans([0.0, 1.0, 0.5, 2.0, 1.0, 1.0, 2.0], [1.0, 2.0, 2.0, *[inf] * 4], arm=list("AAAABBB"))
        found = times.time_to_new_lesion(data)
        row = term(found, "survival", "B")
        assert_allclose([row["estimate"], row["lo"], row["hi"]], [1.0, exp(-CRITICAL / 6), 1.0])
        assert "not reached" in term(found, "median", "B")["note"]
        row = term(found, "hazard_ratio_exponential")
        assert (row["estimate"], row["lo"]) == (0.0, 0.0)
        assert 0 < row["hi"] < inf

    def test_events_of_one_time(self) -> None:
        """Where all events lie in one gap, no Weibull shape is the steepest, and the note says so."""
        data = scans([1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], arm=list("AABB"))
        assert "events are at one time" in term(times.time_to_new_lesion(data), "hazard_ratio_weibull")["note"]

    def test_nothing_found_in_anybody(self) -> None:
        """Without any event there is no ratio, and the reason is given."""
        found = times.time_to_new_lesion(scans([1.0, 2.0], [inf, inf], arm=["A", "B"]))
        assert "no new lesion in either arm" in term(found, "hazard_ratio")["note"]

    def test_never_seen_again(self) -> None:
        """A patient without a scan after time 0 is left out with a note; an arm of such has no number."""
        found = times.time_to_new_lesion(scans([1.0, 0.0, 0.0], [2.0, inf, inf], arm=["A", "A", "B"]))
        assert found["note"].str.contains("2 patient\\(s\\) without a scan after time 0 left out").all()
        assert "no patient with a scan" in term(found, "survival", "B")["note"]
        assert term(found, "survival", "A")["n_patients"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lower_years": ["early", 1.0]}, "column lower_years must hold numbers"),
        ({"lower_years": [-1.0, 1.0]}, "lower_years must be finite, 0 or more; got -1 to 2"),
        ({"lower_years": [inf, 1.0], "upper_years": inf}, "lower_years must be finite"),
        ({"lower_years": [3.0, 1.0]}, "upper_years must not be before lower_years; got 3 to 2"),
        ({"lower_years": [0.0, 1.0], "upper_years": [0.0, 2.0]}, "a lesion there at time 0 is not new; got 0 to 0"),
        ({"lower_years": 0.0, "upper_years": inf}, "one patient with a scan after time 0; got none"),
        ({"patient_id": ["a", "a"]}, "every patient must have one row; a have several"),
        ({"patient_id": ["a", None]}, "every row must name its patient; 1 have no patient_id"),
    ],
)
def test_bad_tables(change: dict[str, object], message: str) -> None:
    """A table that breaks a rule is refused with the rule and what came."""
    with pytest.raises(ValueError, match=message):
        times.time_to_new_lesion(scans([1.0, 1.0], [2.0, 2.0]).assign(**change))


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 2, 5, inf]), st.integers(0, 1)), min_size=1, max_size=7
    )
)
def test_times_never_fail(rows: list[tuple[int, float, int]]) -> None:
    """Property: any bounds give a falling survival within its limits, and a table that explains what it misses."""
    lower, gap, arm = (np.array(column, float) for column in zip(*rows, strict=True))
    upper = np.where((lower == 0) & (gap == 0), 1.0, lower + gap)
    if not (np.isfinite(upper) | (lower > 0)).any():
        return
    found = times.time_to_new_lesion(scans(list(lower), list(upper), arm=arm))
    assert tuple(found.columns) == times.COLUMNS
    assert set(found["interval_kind"]) <= set(times.INTERVAL_KINDS)
    assert (found["note"][found[["estimate", "lo", "hi", "p_value"]].isna().any(axis=1)] != "").all()
    assert not found["note"].str.contains("maximum of the likelihood was not reached").any()
    slack = 1e-6 * (1 + found["estimate"].abs())
    assert not (found["lo"] > found["estimate"] + slack).any()
    assert not (found["hi"] < found["estimate"] - slack).any()
    for _, curve in found[found["term"] == "survival"].groupby("arm"):
        assert curve["estimate"].dropna().is_monotonic_decreasing


@pytest.mark.slow
def test_coverage() -> None:
    """Simulation: survival at one year, seen at four fixed visits, and the ratio are held in 91 to 99 % of 100."""
    rng = np.random.default_rng(77)
    grid = np.array([0.0, 0.5, 1.0, 1.5, 2.0, inf])
    held = []
    for _ in range(100):
        arm = np.arange(40) % 2
        after = np.searchsorted(grid, rng.exponential(1.2 / (1 + arm)))
        found = times.time_to_new_lesion(scans(list(grid[after - 1]), list(grid[after]), arm=arm))
        row, ratio = term(found, "survival", "0", 1.0), term(found, "hazard_ratio_weibull")
        held.append([row["lo"] <= exp(-1 / 1.2) <= row["hi"], ratio["lo"] <= 2 <= ratio["hi"]])
    assert (np.abs(np.mean(held, axis=0) - 0.95) <= 0.04).all(), np.mean(held, axis=0)
