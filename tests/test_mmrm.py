"""Means of arms at visits against SAS, t tests and plain statements, and what a bad table brings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats as law

from monitor._stats import reml
from monitor._stats.mmrm import COLUMNS, mmrm
from tests.textbook import textbook

NUMBERS = ["estimate", "se", "df", "lo", "hi", "p_value"]


@pytest.fixture
def fev() -> pd.DataFrame:
    return textbook("fev_data", USUBJID="patient_id", AVISIT="visit", ARMCD="arm", FEV1="value", FEV1_BL="base")


def made(seed: int = 1, *, n: int = 8, visits: int = 3, **columns: object) -> pd.DataFrame:
    """Patients in two arms, at visits half a year apart, with a level of their own."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 3, n)
    base = level + rng.normal(0, 1, n)
    rows = [
        {
            "patient_id": f"p{i}",
            "visit": f"V{visit}",
            "value": 10 + level[i] + visit + rng.normal(),
            "arm": "AB"[i % 2],
            "years": visit / 2,
            "base": base[i],
        }
        for i in range(n)
        for visit in range(1, visits + 1)
    ]
    return pd.DataFrame(rows).assign(**columns)


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["term"] == "contrast"].reset_index(drop=True)


def means(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["term"] == "ls_mean"].reset_index(drop=True)


# --- other routes to the same number -----------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["unstructured", "compound_symmetry", "ar1"])
def test_means_are_the_engines_on_fev(fev: pd.DataFrame, covariance: str):
    """The engine that SAS's figures hold (O8, tests/test_reml.py), with arm by visit written out as SAS codes it."""
    table = mmrm(fev, covariance=covariance)
    rows = fev.dropna(subset=["value"])
    visit = rows["visit"].str[-1].to_numpy(int) - 1
    each = np.eye(4)[visit]
    each[:, 0] = 1
    fixed = np.hstack([each, each * (rows["arm"] == "TRT").to_numpy(float)[:, None]])
    design = reml.Design(rows["value"].to_numpy(), fixed, pd.factorize(rows["patient_id"])[0], visit=visit)
    fitted = reml.fit(design, residual=covariance)
    own = [reml.contrast(fitted, np.array(w, float), information="observed") for w in (FIRST, FOURTH)]
    found = contrasts(table).iloc[[0, 3]]
    assert_allclose(found[["estimate", "se", "df"]], [[one.estimate, one.se, one.df] for one in own], rtol=1e-7)
    assert set(table["interval_kind"]) == {"kenward_roger_observed_t"}
    assert list(table.columns) == list(COLUMNS)


FIRST = [0, 0, 0, 0, 1, 0, 0, 0]
"""Difference of the arms at the first of four visits, treatment coding."""

FOURTH = [0, 0, 0, 0, 1, 0, 0, 1]
"""Difference of the arms at the last of four visits."""


def test_arms_at_a_visit_are_orthodont():
    """O5, nlme::gls: difference of boys and girls in its growth from 8 to 14 years, and Gauss's mean at 8."""
    data = textbook("orthodont", distance="value", age="visit", Subject="patient_id", Sex="arm")
    table = mmrm(data, reference="Female")
    found = contrasts(table).set_index("visit")["estimate"]
    assert found[14] - found[8] == pytest.approx(1.68465909, rel=1e-8)
    plain = data.groupby(["arm", "visit"])["value"].mean()
    assert_allclose(means(table)["estimate"], plain.to_numpy(), rtol=1e-10)


def test_complete_data_are_a_t_test_at_each_visit():
    """Closed form: with complete visits and unstructured covariance each contrast is Student's t test."""
    data = made()
    found = contrasts(mmrm(data))
    for _, row in found.iterrows():
        at = data[data["visit"] == row["visit"]]
        test = law.ttest_ind(at.loc[at["arm"] == "B", "value"], at.loc[at["arm"] == "A", "value"])
        assert_allclose([row["estimate"] / row["se"], row["df"]], [test.statistic, test.df], rtol=1e-6)
        assert row["p_value"] == pytest.approx(test.pvalue, rel=1e-6)
        assert_allclose([row["lo"], row["hi"]], test.confidence_interval(), rtol=1e-6)


def test_one_visit_with_a_baseline_is_ancova():
    """Closed form: at one visit the contrast is that of least squares on arm and baseline, n - 3 df."""
    data = made(visits=1)
    row = contrasts(mmrm(data, baseline="base")).iloc[0]
    x = np.column_stack([np.ones(8), data["arm"] == "B", data["base"]])
    y = data["value"].to_numpy()
    beta, rest = np.linalg.lstsq(x, y, rcond=None)[:2]
    se = np.sqrt(rest[0] / 5 * np.linalg.inv(x.T @ x)[1, 1])
    assert_allclose([row["estimate"], row["se"], row["df"]], [beta[1], se, 5], rtol=1e-7)


def test_ls_means_are_at_the_mean_baseline():
    """The means of two arms differ by the contrast, and a shift of the baseline moves neither."""
    data = made()
    table = mmrm(data, baseline="base")
    moved = mmrm(data.assign(base=100 + 2 * data["base"]), baseline="base")
    assert_allclose(moved[NUMBERS], table[NUMBERS], rtol=1e-6)
    of_arm = means(table).pivot_table(index="visit", columns="arm", values="estimate")
    assert_allclose(contrasts(table)["estimate"], of_arm["B"] - of_arm["A"], rtol=1e-8)
    assert table["note"].str.contains("LS means at base").all()


def test_a_lost_visit_borrows_from_the_others():
    """A high patient who misses the last visit does not pull its mean down: the other visits stand for the lost one."""
    data = made(2, n=16)
    high = data.groupby("patient_id")["value"].mean().idxmax()
    lost = data[~((data["patient_id"] == high) & (data["visit"] == "V3"))]
    arm = data.loc[data["patient_id"] == high, "arm"].iloc[0]
    at = (means(table := mmrm(lost))["arm"] == arm) & (means(table)["visit"] == "V3")
    raw = lost[(lost["arm"] == arm) & (lost["visit"] == "V3")]["value"].mean()
    full = data[(data["arm"] == arm) & (data["visit"] == "V3")]["value"].mean()
    borrowed = means(table).loc[at, "estimate"].item()
    assert abs(borrowed - full) < abs(raw - full) / 2


@pytest.mark.parametrize("covariance", ["compound_symmetry", "ar1", "continuous_ar1"])
def test_fewer_parameters_on_equal_gaps(covariance: str):
    """With complete data every covariance gives the cells' means; equal gaps make both AR(1) the same model."""
    data = made(4, n=12)
    table = mmrm(data, covariance=covariance)
    assert_allclose(means(table)["estimate"], data.groupby(["arm", "visit"])["value"].mean(), rtol=1e-9)
    if covariance == "continuous_ar1":
        same = mmrm(data, covariance="ar1")
        assert_allclose(table["df"], same["df"], rtol=1e-5)


def test_known_errors_are_part_of_the_variance():
    """One known se for all is told apart from the scatter, and the limits of an unstructured fit stay the same."""
    plain, known = mmrm(made(n=12)), mmrm(made(n=12, se=0.3))
    assert_allclose(known[NUMBERS], plain[NUMBERS], rtol=1e-5)


# --- invariances -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["unstructured", "compound_symmetry", "ar1", "continuous_ar1"])
def test_units_and_order_do_not_matter(covariance: str):
    """Values in other units scale estimates and limits; rows in any order and patients by numbers change nothing."""
    data = made(3, n=10).drop(index=[4, 11])
    table = mmrm(data, covariance=covariance)
    other = data.sample(frac=1, random_state=0).assign(value=lambda rows: 1000 * rows["value"])
    moved = mmrm(other.assign(patient_id=other["patient_id"].str[1:].astype(int)), covariance=covariance)
    assert_allclose(moved[["estimate", "se", "lo", "hi"]] / 1000, table[["estimate", "se", "lo", "hi"]], rtol=1e-5)
    assert_allclose(moved[["df", "p_value"]], table[["df", "p_value"]], rtol=1e-4)


@pytest.mark.parametrize(
    ("visit", "expected"),
    [
        ({"V1": 10, "V2": 2, "V3": 30}, [2, 10, 30]),
        ({"V1": "week 4", "V2": "week 12", "V3": "week 8"}, ["week 4", "week 8", "week 12"]),
    ],
    ids=["numbers", "text"],
)
def test_visits_are_in_order(visit: dict, expected: list):
    """Numbers by size, and text by the numbers in it, not by its letters."""
    data = made().drop(columns="years")
    table = mmrm(data.assign(visit=data["visit"].map(visit)), covariance="ar1")
    assert list(dict.fromkeys(table["visit"])) == expected


def test_visits_follow_years_or_their_categories():
    """Text visits go by the years of their rows, and categories by their own order."""
    data = made()
    named = data.assign(visit=data["visit"].map({"V1": "start", "V2": "middle", "V3": "end"}))
    assert list(dict.fromkeys(mmrm(named)["visit"])) == ["start", "middle", "end"]
    kinds = named.assign(visit=pd.Categorical(named["visit"], ["end", "start", "middle"]))
    assert list(dict.fromkeys(mmrm(kinds)["visit"])) == ["end", "start", "middle"]


def test_the_reference_turns_the_contrast():
    """With the other arm as reference each contrast changes its sign, and the note names both."""
    first, second = contrasts(mmrm(made())), contrasts(mmrm(made(), reference="B"))
    assert_allclose(first["estimate"], -second["estimate"], rtol=1e-9)
    assert first["note"].str.contains("B minus A").all()
    assert second["note"].str.contains("A minus B").all()


def test_no_arm_is_one_arm():
    """Without a column of arms there are means only, with limits of n - 1 df."""
    table = mmrm(made().drop(columns="arm"))
    assert list(table["term"]) == ["ls_mean"] * 3
    assert_allclose(table["df"], 7, rtol=1e-6)
    assert (table["n_patients"] == 8).all()
    assert (table["n_visits"] == 24).all()


# --- little data -------------------------------------------------------------------------------------------------


def test_too_many_visits_for_unstructured():
    """Six patients at six visits do not tell 21 parameters: the next covariance is fitted, and the note says why."""
    table = mmrm(made(n=6, visits=6))
    assert table["method"].str.contains("heterogeneous compound symmetry").all()
    assert table["note"].str.contains("unstructured covariance not fitted").all()
    assert np.isfinite(table[NUMBERS]).all(axis=None)


def test_compound_symmetry_where_little_is_left():
    """Three patients in all: one variance and one correlation are the most that can be told."""
    table = mmrm(made(n=3).drop(columns="arm"))
    assert table["method"].str.contains("REML, compound symmetry|heterogeneous").all()
    few = mmrm(made(n=2, visits=2).drop(columns="arm"))
    assert few["method"].str.contains("REML, compound symmetry").all()
    assert few["note"].str.contains("heterogeneous compound symmetry covariance not fitted").all()


def test_a_cell_without_values_is_empty():
    """No value of an arm at a visit: its mean and its contrast are empty with a note, the others are not."""
    data = made(n=10)
    table = mmrm(data[~((data["arm"] == "B") & (data["visit"] == "V2"))])
    empty = (table["visit"] == "V2") & ((table["arm"] == "B") | (table["term"] == "contrast"))
    assert table.loc[empty, "estimate"].isna().all()
    assert table.loc[empty, "note"].str.contains("B has no value at this visit").all()
    assert (table.loc[empty, "interval_kind"] == "none").all()
    assert np.isfinite(table.loc[~empty, NUMBERS]).all(axis=None)


def test_an_arm_of_one_patient_is_left_out():
    """One patient tells nothing of how an arm varies: its rows are empty, and say so."""
    data = made()
    table = mmrm(data[(data["arm"] == "A") | (data["patient_id"] == "p1")])
    own = table["arm"] == "B"
    assert table.loc[own, "estimate"].isna().all()
    assert table["note"].str.contains("an arm needs 2 patients; left out, with fewer: B").all()
    assert np.isfinite(table.loc[~own, NUMBERS]).all(axis=None)


def test_a_baseline_that_tells_nothing():
    """A constant baseline is left out; a visit that does not tell its slope shares one."""
    data = made()
    constant = mmrm(data.assign(base=1.0), baseline="base")
    assert_allclose(constant["estimate"], mmrm(data)["estimate"], rtol=1e-8)
    assert constant["note"].str.contains("does not vary within arms: left out").all()
    thin = data[(data["visit"] != "V3") | data["patient_id"].isin(["p0", "p1"])]
    assert mmrm(thin, baseline="base")["note"].str.contains("one slope for all").all()


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "nothing scatters"), (np.nan, "24 row\\(s\\) without a value")],
    ids=["zeros", "missing"],
)
def test_values_that_tell_nothing(value: float, words: str):
    """All zeros and no values at all are rows without numbers, each with its reason."""
    table = mmrm(made(value=value))
    assert len(table) == 9
    assert table[NUMBERS].isna().all(axis=None)
    assert table["note"].str.contains(words).all()


def test_what_is_left_out_is_said():
    """Missing values, arms, baselines and errors are counted in the note."""
    data = made(n=12, se=0.5).astype({"arm": object})
    data.loc[0, "value"] = np.nan
    data.loc[1, "se"] = np.nan
    data.loc[data["patient_id"] == "p2", "arm"] = None
    data.loc[data["patient_id"] == "p3", "base"] = np.nan
    note = mmrm(data, baseline="base")["note"].iloc[0]
    for words in ("1 row(s) without a value", "1 missing se set to", "1 patient(s) without arm", "without base left"):
        assert words in note


@pytest.mark.parametrize("seed", range(6))
def test_no_number_is_missing_without_a_note(seed: int):
    """Random holes in small trials: a row without a number always says why."""
    data = made(seed, n=6, visits=4)
    holes = data[np.random.default_rng(seed).uniform(size=len(data)) > 0.4]
    for covariance in ("unstructured", "ar1"):
        table = mmrm(holes, covariance=covariance)
        assert (np.isfinite(table["lo"]) | (table["note"] != "")).all()


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "choices", "words"),
    [
        (lambda d: d.assign(value="much"), {}, "column value must hold numbers.*much"),
        (lambda d: d.drop(columns="visit"), {}, "data must have the columns patient_id, visit, value"),
        (lambda d: d.iloc[:0], {}, "a row for each visit; got none"),
        (lambda d: d.assign(patient_id=d["patient_id"].where(d.index > 1)), {}, "2 have no patient_id"),
        (lambda d: d.assign(visit=d["visit"].where(d.index > 0)), {}, "1 have no visit"),
        (lambda d: pd.concat([d, d.head(1)]), {}, "one value at a visit; several came for p0 at V1"),
        (lambda d: d.assign(arm=list("AB") * 12), {}, "column arm must be one entry per patient"),
        (lambda d: d.assign(arm=None), {}, "column arm must name the arm of each patient"),
        (lambda d: d.assign(base=d.index), {"baseline": "base"}, "column base must be one entry per patient"),
        (lambda d: d.assign(se=0.0), {}, "se must be positive and finite; 24 are not, the first 0"),
        (lambda d: d.assign(se=-0.1), {}, "se must be positive and finite; 24 are not, the first -0.1"),
        (lambda d: d.assign(se=np.inf), {}, "se must be positive and finite; 24 are not, the first inf"),
        (lambda d: d.assign(unit=["ml", "mm3"] * 12), {}, "all values must have one unit; got ml, mm3"),
        (lambda d: d, {"covariance": "toeplitz"}, "covariance must be one of unstructured"),
        (lambda d: d, {"reference": "C"}, "reference must be one of A, B; got 'C'"),
        (lambda d: d, {"arm": "group"}, "data must have the columns patient_id, visit, value, group"),
        (lambda d: d.drop(columns="years"), {"covariance": "continuous_ar1"}, "must have the columns years"),
        (lambda d: d.assign(years=1.0), {"covariance": "continuous_ar1"}, "p0 has two at one time"),
        (lambda d: d.assign(years=np.nan), {"covariance": "continuous_ar1"}, "24 have none"),
    ],
)
def test_bad_tables(change, choices: dict, words: str):
    """Each rule that a table breaks is named, with what came."""
    with pytest.raises(ValueError, match=words):
        mmrm(change(made()), **choices)


def test_a_baseline_that_nobody_has() -> None:
    """No mean is printed where there is none, and the note counts the patients."""
    found = mmrm(made().assign(base=np.nan), baseline="base")
    assert found["note"].str.contains("8 patient\\(s\\) without base left out").all()
    assert not found["note"].str.contains("nan").any()


def test_arms_without_an_order_are_refused() -> None:
    data = made()
    first = data["patient_id"] == data["patient_id"].iloc[0]
    mixed = data.assign(arm=[pd.Timestamp("2020-01-01") if one else 3 for one in first])
    with pytest.raises(ValueError, match="column arm must hold numbers or words, of one kind"):
        mmrm(mixed)


def test_patients_who_never_change() -> None:
    """Values that are the same at every visit leave no scatter within patients: refused or fitted, never a fault."""
    for n in (3, 7, 12):
        data = made(n=n, visits=4)
        found = mmrm(data.assign(value=3.3 * data["patient_id"].str[1:].astype(float)))
        assert (found["estimate"].notna() | (found["note"] != "")).all()
