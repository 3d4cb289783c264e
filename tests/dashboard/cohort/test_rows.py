"""One row for each patient: against the tables that it is made of."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from dashboard.cohort import rows
from dashboard.study import open_study
from tests.dashboard.made import write_results


@pytest.fixture(scope="module")
def known(study):
    return rows.cohort(study, "volume_mm3", "total")


def row(known, patient):
    return known.people.set_index("patient_id").loc[patient]


def test_everybody_has_one_row(study, known):
    """Who was only refused is there too, in the order of the ids."""
    assert tuple(known.people["patient_id"]) == study.ids
    assert row(known, "P900")["condition"] == "AHO"
    assert row(known, "P900")["state"] == "not measured"
    assert row(known, "P900")["refused"] == 1


def test_amounts_are_those_of_the_latest_visit(study, known):
    """Independent way: patient by patient from the burden."""
    for patient, own in study.burden("volume_mm3", "total").groupby("patient_id"):
        latest = own.sort_values("years").iloc[-1]
        np.testing.assert_equal(row(known, patient)[["value", "lo", "hi"]].to_numpy(float),
                                latest[["value", "lo", "hi"]].to_numpy(float))  # fmt: skip


def test_verdicts_are_those_of_the_latest_comparison(study, known):
    """Independent way: patient by patient from the comparisons with the baseline."""
    for patient, own in study.changes("volume_mm3", "total").groupby("patient_id"):
        latest = own.sort_values("years").iloc[-1]
        assert row(known, patient)["verdict"] == latest["verdict"]
        assert row(known, patient)["change"] == latest["change"]
    assert row(known, "P003")["verdict"] == rows.NO_COMPARISON


def test_what_is_not_comparable_has_no_change(study):
    """A verdict of not comparable leaves change and per cent empty, never 0."""
    made = dataclasses.replace(study)
    changes = study.changes("volume_mm3", "total").assign(verdict="not_comparable")
    object.__setattr__(made, "changes", lambda *_: changes)
    found = rows.cohort(made, "volume_mm3", "total").people
    assert found["change"].isna().all()
    assert found["change_pct"].isna().all()
    assert found["not_comparable"].sum() == len(changes)


def test_what_is_not_measurable_is_never_0(study):
    """An amount that could not be had is empty with a word, and is drawn nowhere."""
    made = dataclasses.replace(study)
    burden = study.burden("volume_mm3", "total").assign(value=np.nan, value_observed=np.nan)
    object.__setattr__(made, "burden", lambda *_: burden)
    found = rows.cohort(made, "volume_mm3", "total")
    assert found.people["value"].isna().all()
    assert set(found.people["state"]) == {"not measurable", "not measured"}
    assert found.courses.empty


def test_courses_hold_what_compares_alone(study, known):
    """The visit with another kernel and the one seen in part are left out, with their numbers kept apart."""
    own = known.people.index[known.people["patient_id"] == "P001"][0]
    assert known.courses.loc[known.courses["row"] == own, "visit_id"].tolist() == ["V1", "V2", "V5"]
    apart = known.left_out[known.left_out["row"] == own].set_index("visit_id")["value"]
    assert apart.index.tolist() == ["V3", "V4"]
    assert apart.notna().tolist() == [True, False]


def test_lesions_are_counted_at_the_last_visit_and_new_ones_after_the_baseline(study, known):
    """New at or before the baseline is not new since."""
    visits = study.visits[study.visits["patient_id"] == "P001"].sort_values("years")
    assert row(known, "P001")["lesions"] == visits["n_lesions"].iloc[-1]
    assert row(known, "P001")["new"] == 0
    assert np.isnan(row(known, "P003")["new"])


def test_new_lesions_come_from_the_lineage(tmp_path, monkeypatch):
    """Two new ones after the baseline, one before it."""
    found = pd.DataFrame({"patient_id": ["P001"] * 3, "visit_id": ["V1", "V3", "V4"]}).astype("string")
    monkeypatch.setattr(rows, "read_table", lambda *_, **__: found)
    made = open_study(write_results(tmp_path / "results"))
    assert rows.people(made).set_index("patient_id").loc["P001", "new"] == 2


def test_tables_that_are_being_published_leave_a_gap(tmp_path, monkeypatch):
    """While a run swaps tables, what is read beside the study is unknown, not an error."""

    def gone(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(rows, "read_table", gone)
    made = open_study(write_results(tmp_path / "results"))
    assert rows.people(made)["new"].isna().all()
    assert rows.cohort_rates(made, "volume_mm3", "total").empty


def test_rates_are_those_of_the_table(known):
    """The rate and its limits stand as they were fitted."""
    assert row(known, "P001")[["rate", "rate_lo", "rate_hi"]].tolist() == [92.0, 52.0, 132.0]
    assert known.people["rate"].notna().sum() == 1


def test_columns_give_back_the_rows(known):
    """Texts by code are the texts; the searched text stays here."""
    told = rows.columns(known)
    assert "find" not in told
    assert told["patient_id"] == known.people["patient_id"].tolist()
    verdicts = [told["verdict"]["texts"][code] for code in told["verdict"]["codes"]]
    assert verdicts == known.people["verdict"].tolist()
    assert [one["verdict"] for one in rows.table_rows(known)] == verdicts


def test_numbers_are_short_and_missing_is_none():
    """Four significant digits, all before the point, and nothing for what is missing."""
    sent = np.array([1.23456, 123456.7, 0.0, np.nan, -0.00012345, 99.999])
    assert rows._numbers(sent) == [1.235, 123457.0, 0.0, None, -0.0001234, 100.0]


def test_a_study_read_anew_is_made_anew(study):
    """What was made of one study is not shown of another."""
    calls = []
    keep = rows.Keep(lambda one, name: calls.append(name) or (one, name), 2)
    other = dataclasses.replace(study)
    assert keep(study, "a") == keep(study, "a") == (study, "a")
    assert keep(other, "a")[0] is other
    assert calls == ["a", "a"]
    keep(study, "b")
    keep(study, "a")
    assert calls == ["a", "a", "b", "a"]


def test_nobody_has_no_rows(nobody):
    """An empty study has an empty table with all its columns."""
    found = rows.cohort(nobody, "volume_mm3", "total")
    assert found.people.empty
    assert rows.columns(found)["patient_id"] == []
    assert rows.groups(rows.people(nobody), "arm") == []
