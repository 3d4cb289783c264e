"""One row for each patient: against the tables that it is made of."""

import dataclasses
import weakref

import numpy as np
import pandas as pd
import pytest

from benchmarks import made_cohort
from dashboard.cohort import rows
from dashboard.study import open_study
from monitor import store
from monitor.errors import StoreError
from tests.dashboard.made import made_tables, write_results


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


@pytest.mark.parametrize(
    ("observed", "evaluable", "said"),
    [(0.0, 0.0, "not in the field"), (np.nan, 0.0, "not in the field"), (0.0, 0.5, "seen in part"),
     (12.0, 0.5, "seen in part"), (np.nan, 1.0, "not measurable")],
)  # fmt: skip
def test_nothing_in_the_field_is_not_an_amount_of_0(study, observed, evaluable, said):
    """The pipeline writes 0 as seen where every known lesion is out of the field: nothing was seen, not 0 in part."""
    made = dataclasses.replace(study)
    burden = study.burden("volume_mm3", "total")
    burden = burden.assign(value=np.nan, value_observed=observed, evaluable=evaluable)
    object.__setattr__(made, "burden", lambda *_: burden)
    assert set(rows.cohort(made, "volume_mm3", "total").people["state"]) == {said, "not measured"}


def test_a_made_up_visit_with_nothing_in_the_field(tmp_path):
    """The made-up cohort has the state, as the pipeline writes it, and the table names it."""
    found = made_cohort.made(made_cohort.Plan(patients=made_cohort.OUT_OF_FIELD, visits=4, lesions=5, seed=3))
    with store.locked(tmp_path / "results") as root:
        store.publish(root, found, {}, {})
    known = rows.cohort(open_study(tmp_path / "results"), "volume_mm3", "total")
    blind = known.people["state"] == "not in the field"
    assert known.people.loc[blind, "patient_id"].tolist() == [f"P{made_cohort.OUT_OF_FIELD:05d}"]
    last = known.left_out[known.left_out["row"].isin(np.flatnonzero(blind))].iloc[-1]
    assert (last["evaluable"], last["value_observed"]) == (0.0, 0.0)
    assert np.isnan(last["value"])


@pytest.mark.parametrize(
    ("quantity", "carrier", "by"),
    [("volume_mm3", "excess_hu_mm3", rows.BY_EXCESS), ("volume_mm3", "volume_mm3", ""), ("volume_mm3", None, ""),
     ("mass_mg", "excess_hu_mm3", ""), ("mass_mg", "volume_mm3", ""), ("excess_hu_mm3", "volume_mm3", "")],
)  # fmt: skip
def test_a_volume_judged_by_the_excess_has_no_number(study, quantity, carrier, by):
    """The verdict says by what, and change and per cent of volume are blank; other quantities judge themselves."""
    made = dataclasses.replace(study)
    changes = study.changes("volume_mm3", "total").assign(
        carried_by=pd.array([carrier] * len(study.changes("volume_mm3", "total")), dtype="string")
    )
    object.__setattr__(made, "changes", lambda *_: changes)
    found = rows.cohort(made, quantity, "total").people
    told = found[found["verdict"].isin(["increased", "decreased", "no_detectable_change"])]
    assert len(told)
    assert set(told["by"]) == {by}
    assert told[["change", "change_pct", "detectable"]].isna().to_numpy().all() == bool(by)
    assert set(found.drop(told.index)["by"]) <= {""}


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


def beside(made):
    """Return what is read beside the study."""
    return rows.people(made), rows.cohort_rates(made, "volume_mm3", "total")


def test_a_table_that_cannot_be_read_is_an_error_once(tmp_path, monkeypatch):
    """A disk that fails for a moment is said, and is not kept as an empty answer."""
    made = open_study(write_results(tmp_path / "results"))

    def gone(*_, **__):
        raise FileNotFoundError

    with monkeypatch.context() as failing:
        failing.setattr(rows, "read_table", gone)
        for read in (rows.people, lambda one: rows.cohort_rates(one, "volume_mm3", "total")):
            with pytest.raises(StoreError, match="damaged"):
                read(made)
    about, _ = beside(made)
    assert about["new"].notna().any()


def test_tables_of_another_run_are_not_mixed_in(tmp_path):
    """What a later run published is not read into a study of the run before."""
    made = open_study(write_results(tmp_path / "results"))
    with store.locked(tmp_path / "results") as root:
        store.publish(root, made_tables(), {}, {"ended": "2027-01-01T00:00:00+00:00"})
    with pytest.raises(StoreError, match="published anew"):
        rows.people(made)
    assert len(beside(open_study(tmp_path / "results"))[0])


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


def test_a_study_read_anew_forgets_the_last(study):
    """What was made of the last study takes no room once the next is asked about."""
    keep = rows.Keep(lambda *_: np.empty(3), 2)
    last = weakref.ref(keep(study, "a"))
    assert last() is not None
    keep(dataclasses.replace(study), "a")
    assert last() is None


def test_a_failure_is_not_kept(study):
    """What could not be made is made the next time."""
    answers = iter([None, "made"])

    def make(_):
        if (answer := next(answers)) is None:
            raise StoreError("gone")
        return answer

    keep = rows.Keep(make, 2)
    with pytest.raises(StoreError):
        keep(study)
    assert keep(study) == "made"


def test_nobody_has_no_rows(nobody):
    """An empty study has an empty table with all its columns."""
    found = rows.cohort(nobody, "volume_mm3", "total")
    assert found.people.empty
    assert rows.columns(found)["patient_id"] == []
    assert rows.groups(rows.people(nobody), "arm") == []
