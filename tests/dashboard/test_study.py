"""What the pages read of a results folder: the right rows, of one run, and nobody else's."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

from benchmarks.cohort import make_folder, planned
from dashboard import study as data
from dashboard.study import open_study
from monitor import change, store, tables
from monitor.errors import StoreError
from tests.dashboard import made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made.write_results(tmp_path_factory.mktemp("study") / "results")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Make a small cohort as the benchmark makes a large one."""
    return make_folder(tmp_path_factory.mktemp("cohort") / "results", planned(12, visits=6, lesions=20))


@pytest.fixture
def opened(folder):
    return open_study(folder)


def test_everybody_is_in_order(opened):
    """Closed form: ids of all tables, sorted, a row of ``patients`` for each, and what is offered in its order."""
    assert opened.ids == ("P001", "P002", "P003", "P004", "P005", "P006", "P007", "P900")
    assert tuple(opened.patients["patient_id"]) == opened.ids
    assert opened.quantities == ("volume_mm3", "excess_hu_mm3", "mass_mg", "agatston")
    assert opened.compartments == ("total", "calf", "thigh")
    assert opened.run["software"]["name"] == "calcitrack"


def test_who_only_other_tables_know_has_a_row(tmp_path):
    """A patient whose scans were all refused and who is in no other table is somebody too."""
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    found["refused"] = tables.check(pd.DataFrame({"patient_id": ["P9", None], "visit_id": ["V1", "V1"]}), "refused")
    with store.locked(tmp_path / "r") as root:
        store.publish(root, found, {}, {})
    opened = open_study(root)
    assert opened.ids == ("P9",)
    assert opened.patients["condition"].isna().tolist() == [True]
    assert len(opened.patient("P9").tables["refused"]) == 1


@pytest.mark.parametrize(("quantity", "compartment"), [("volume_mm3", "total"), ("mass_mg", "calf")])
def test_burden_is_that_of_the_table(opened, folder, quantity, compartment):
    """Independent value: the same rows as a filter of the whole table in pandas."""
    whole = store.read_results(folder).tables["burden"]
    rows = whole[(whole["quantity"] == quantity) & (whole["compartment"] == compartment)]
    expected = rows.sort_values(["patient_id", "years"], kind="stable", ignore_index=True)
    found = opened.burden(quantity, compartment)
    assert list(found.columns) == [*data.OCCASION, *data.BURDEN]
    pd.testing.assert_frame_equal(found, expected[list(found.columns)])


def test_changes_are_those_of_sums_with_the_baseline_by_their_own_error(tmp_path):
    """No lesion, no other comparison and no published limit; each with the years of its later visit."""
    found = made.made_tables(0)
    own = found["changes"].query("lesion_id.isna()").iloc[:1]
    others = [
        own.assign(rule_id="agatston;limit=mesa", verdict="increased"),
        own.assign(comparison="nadir"),
        own.assign(lesion_id=3),
    ]
    found["changes"] = tables.check(pd.concat([*others, own.assign(rule_id=None)]), "changes")
    with store.locked(tmp_path / "r") as root:
        store.publish(root, found, {}, {})
    rows = open_study(root).changes("volume_mm3", "total")
    assert len(rows) == 1
    assert rows["rule_id"].isna().all()
    assert rows["years"].tolist() == [made.P001_YEARS[2]]


def test_later_comparisons_stand_last(opened):
    """Invariance: sorted by patient and years, so that the last row of a patient is the latest verdict."""
    rows = opened.changes("volume_mm3", "total")
    assert rows["years"].notna().all()
    assert rows[["patient_id", "years"]].apply(tuple, axis=1).is_monotonic_increasing
    assert rows.groupby("patient_id").tail(1).set_index("patient_id").loc["P001", "to_visit"] == "V5"


def test_rates_are_of_patients(opened):
    """One row a patient: no level, no cohort."""
    rows = opened.rates("volume_mm3", "total")
    assert rows["patient_id"].tolist() == ["P001"]
    assert rows["estimate"].tolist() == [92.0]


@pytest.mark.parametrize("read", ["burden", "changes", "rates"])
def test_what_is_not_there_has_no_rows(opened, read):
    """An unknown quantity or compartment is empty, with the columns of what is there."""
    there = getattr(opened, read)("volume_mm3", "total")
    for name in ("no such", "'", "", None):
        found = getattr(opened, read)("volume_mm3", name)
        assert found.empty
        assert list(found.columns) == list(there.columns)


def test_a_patient_is_read_alone(opened, folder):
    """Every table holds the rows that it has of the patient, and none of another."""
    whole = store.read_results(folder).tables
    found = opened.patient("P001").tables
    assert set(found) == set(tables.SCHEMAS)
    for name, table in found.items():
        expected = whole[name][(whole[name]["patient_id"] == "P001").fillna(False)].reset_index(drop=True)
        pd.testing.assert_frame_equal(table, expected)
    assert len(found["lesions"]) > 30


@pytest.mark.parametrize("name", ["P999", "", "P001' or '1", "../P001", None, ["P001"]])
def test_an_unknown_patient_is_refused(opened, name):
    """Whatever comes for a patient who is not there is a KeyError."""
    with pytest.raises(KeyError):
        opened.patient(name)


def test_answers_are_the_callers_own(opened):
    """A page that changes what it was given changes it for no other."""
    rows = opened.burden("volume_mm3", "total")
    rows.loc[0, "value"] = -1.0
    rows["new"] = 1
    assert opened.burden("volume_mm3", "total").loc[0, "value"] != -1.0
    table = opened.patient("P001").tables["lesions"]
    table.loc[0, "volume_mm3"] = -1.0
    assert opened.patient("P001").tables["lesions"].loc[0, "volume_mm3"] != -1.0


def test_what_came_is_offered_or_the_first(opened):
    """What a browser sends may be anything."""
    assert opened.offered("mass_mg", "thigh") == ("mass_mg", "thigh")
    for wrong in (None, "x", 3, ["mass_mg"], {"a": 1}):
        assert opened.offered(wrong, wrong) == ("volume_mm3", "total")


def test_nobody_measured(tmp_path):
    """Empty results can be opened and asked."""
    opened = open_study(made.write_empty(tmp_path / "r"))
    assert opened.ids == ()
    assert (opened.quantities, opened.compartments) == (("volume_mm3",), ("total",))
    assert opened.burden("volume_mm3", "total").empty
    assert opened.changes("volume_mm3", "total").empty


def test_results_of_an_older_version(tmp_path):
    """Tables that came later are empty, with their columns."""
    folder = made.write_results(tmp_path / "r", more_patients=0)
    for name in ("scores", "events", "selftest"):
        (folder / "tables" / f"{name}.parquet").unlink(missing_ok=True)
    opened = open_study(folder)
    assert list(opened.scores.columns) == list(data.SCORES)
    assert opened.events.empty
    assert opened.patient("P001").tables["events"].empty


def test_a_study_is_of_one_run(tmp_path):
    """After another run has published, what was read stands, and nothing of the new run is mixed in."""
    folder = made.write_results(tmp_path / "r", more_patients=0)
    opened = open_study(folder)
    before = opened.patient("P001")
    with store.locked(folder) as root:
        store.publish(root, made.made_tables(0), {}, {"another": 1})
    with pytest.raises(StoreError, match="published anew"):
        opened.patient("P002")
    pd.testing.assert_frame_equal(opened.patient("P001").tables["burden"], before.tables["burden"])
    assert open_study(folder).patient("P002").run == {"another": 1}


def test_nothing_published_is_an_error(tmp_path):
    """A folder without results says so."""
    with pytest.raises(StoreError, match=r"must hold run\.json"):
        open_study(tmp_path)


def test_many_may_ask_at_once(folder):
    """Invariance: threads get what one alone gets."""
    opened = open_study(folder)
    found: list[tuple[int, int, int]] = []

    def ask() -> None:
        for name in opened.ids:
            rows = opened.burden("volume_mm3", "total"), opened.changes("volume_mm3", "total")
            found.append((*(len(part) for part in rows), len(opened.patient(name).tables["visits"])))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 * len(opened.ids)
    assert {part[:2] for part in found} == {found[0][:2]}


def test_a_made_up_cohort_is_like_results(cohort):
    """The benchmark's folder is read as results are: its tables are sorted by patient, and no column is unknown."""
    found = store.read_results(cohort)
    opened = open_study(cohort)
    assert len(opened.ids) == 12
    assert {"volume_mm3", "volume_mm3_per_m2", "excess_hu_mm3_per_growth", "n_regions"} <= set(opened.quantities)
    for name in ("visits", "lesions", "lineage", "burden", "changes", "events"):
        assert found.tables[name]["patient_id"].is_monotonic_increasing, name
    assert not found.tables["burden"].duplicated(["patient_id", "visit_id", "compartment", "quantity"]).any()
    one = opened.patient("P00003").tables
    assert set(one["lesions"]["patient_id"]) == {"P00003"}
    assert opened.rates("volume_mm3", "total")["patient_id"].is_unique
    assert (cohort / "images" / "P00001" / "V00" / "frame_0001.png").exists()


def test_a_made_up_cohort_agrees_with_itself(cohort):
    """Sums of lesions are the burden, verdicts follow their numbers, and statuses their lineage."""
    found = store.read_results(cohort).tables
    total = found["burden"].query("quantity == 'volume_mm3' and compartment == 'total'")
    sums = found["lesions"].groupby(["patient_id", "visit_id"])["volume_mm3"].sum()
    seen = total.set_index(["patient_id", "visit_id"])["value_observed"]
    pd.testing.assert_series_equal(seen.sort_index(), sums.reindex(seen.index).sort_index(), check_names=False)
    changes = found["changes"]
    own = changes[~changes["rule_id"].str.contains(";limit=") & changes["carried_by"].eq("volume_mm3").fillna(False)]
    told = own[own["verdict"] != "not_comparable"]
    assert ((told["change"].abs() > told["detectable"]) == told["verdict"].isin(["increased", "decreased"])).all()
    assert set(changes["comparison"]) == {"baseline", "previous", "nadir"}
    assert set(changes["verdict"]) <= {"increased", "decreased", "no_detectable_change", "not_comparable"}
    where = ["patient_id", "visit_id", "lesion_id"]
    for kind in ("new", "merged", "split"):
        rows = found["lesions"].loc[found["lesions"]["status"].eq(kind), where]
        lines = found["lineage"].loc[found["lineage"]["kind"].eq(kind), where]
        assert len(rows)
        pd.testing.assert_frame_equal(rows.reset_index(drop=True), lines.reset_index(drop=True))
    assert change.PUBLISHED == ("agatston", "threshold_volume_mm3")


def test_a_made_up_cohort_is_the_same_again(tmp_path):
    """Invariance: the same numbers give the same bytes."""
    one, two = (make_folder(tmp_path / name, planned(3, visits=3, lesions=2)) for name in "ab")
    for path in sorted((one / "tables").iterdir()):
        assert path.read_bytes() == (two / "tables" / path.name).read_bytes(), path.name
