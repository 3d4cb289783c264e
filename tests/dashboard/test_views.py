"""Rows of the page: that they are the tables' own, filtered."""

from dataclasses import replace

import pandas as pd
import pytest

from dashboard import views


def row(rows: list[dict], **which: object) -> dict:
    (name, value), *_ = which.items()
    return next(one for one in rows if one[name] == value)


def test_everybody_is_listed(results):
    """Patients whose every scan was refused are in the list too."""
    assert views.patient_ids(results)[:4] == ["P001", "P002", "P003", "P004"]
    assert "P900" in views.patient_ids(results)


@pytest.mark.parametrize(
    "path", [None, "", "/", "/patient/", "/patient/NOBODY", "/patient/P001/more", "/patient/../P001", "/patient/P001?x"]
)
def test_only_known_patients_are_found(results, path):
    """A path names a patient of these results or nobody."""
    assert views.patient_of(path, results) is None


def test_a_patient_is_found_by_path(results):
    """The address holds the pseudonym."""
    assert views.patient_of("/patient/P001", results) == "P001"


def test_what_is_not_offered_becomes_the_first(results, nothing):
    """What a browser sends is held against what the results offer."""
    assert views.offered(results, "mass_mg", "calf") == ("mass_mg", "calf")
    assert views.offered(results, "nonsense", None) == ("volume_mm3", "total")
    assert views.offered(nothing, None, None) == ("volume_mm3", "total")


def test_scores_to_match_other_programs_are_left_to_the_tables(results):
    """The choice does not grow by variants; regions involved, and a quantity without a name, are offered."""
    burden = results.tables["burden"]
    names = ["n_regions", "agatston_4px", "mass_tissue_mg", "own_mm"]
    more = [burden[burden["quantity"] == "agatston"].assign(quantity=name) for name in names]
    wider = replace(results, tables={**results.tables, "burden": pd.concat([burden, *more], ignore_index=True)})
    assert views.quantities(wider) == [*views.quantities(results), "n_regions", "own_mm"]
    assert views.offered(wider, "agatston_4px", None)[0] == "volume_mm3"


def test_rows_of_the_figure_are_rows_of_the_table(results):
    """Nothing is added to burden, and conditions filter."""
    burden = results.tables["burden"]
    lines = views.courses(results, "mass_mg", "calf")
    assert len(lines) == ((burden["quantity"] == "mass_mg") & (burden["compartment"] == "calf")).sum()
    assert set(views.courses(results, "mass_mg", "calf", "GACI")["patient_id"]) == {"P003", "P006"}


def test_patients_have_their_last_verdict(results):
    """The verdict is that of the latest visit against the baseline."""
    rows = views.patient_rows(results, "volume_mm3", "total")
    assert row(rows, patient_id="P001")["verdict"] == "▲ increased"
    assert row(rows, patient_id="P002")["verdict"] == "▼ decreased"
    assert row(rows, patient_id="P003")["verdict"] == "–"
    assert row(rows, patient_id="P900") | {"visits": 0, "shown": "not measured"} == row(rows, patient_id="P900")


def test_a_quantity_without_comparisons_has_no_verdict(results):
    """No verdict is borrowed from another quantity."""
    rows = views.patient_rows(results, "agatston", "total")
    assert {one["verdict"] for one in rows} == {"–"}


def test_lesions_stand_as_last_recorded(results):
    """Status, volumes and verdicts of each lesion, the gone ones last."""
    rows = views.lesion_rows(results, "P001")
    assert [one["lesion_id"] for one in rows] == [1, 4, 3, 7, 6, 2, 5, 12]
    assert row(rows, lesion_id=5)["status"].endswith("merged at V3")
    assert row(rows, lesion_id=2) | {"current": 0.0, "current_shown": "0 (0 to 4.2)"} == row(rows, lesion_id=2)
    assert row(rows, lesion_id=12)["current"] is None
    assert row(rows, lesion_id=4)["baseline"] is None
    assert "smallest change that counts" in row(rows, lesion_id=1)["since_baseline_why"]


def test_pictures_stand_at_baseline_and_latest(results):
    """A lesion from the baseline shows that; a later one its first visit; one row, one picture."""
    assert views.pair_to_show(results, "P001", 1) == ("V2", "V5")
    assert views.pair_to_show(results, "P001", 4) == ("V3", "V5")
    assert views.pair_to_show(results, "P003", 1) == ("V1", None)
    assert views.pair_to_show(results, "P001", 99) == (None, None)


def test_a_patient_without_lesions_has_no_rows(results):
    """Nothing found is an empty table."""
    assert views.lesion_rows(results, "P004") == []


def test_trends_are_the_patients_own(results):
    """Rate and level of the chosen quantity and compartment."""
    assert set(views.trend(results, "P001", "volume_mm3", "total")) == {"rate", "level"}
    assert views.trend(results, "P002", "volume_mm3", "total") == {}


def test_the_course_knows_what_compares(results):
    """Comparable and field of the visit stand beside its burden."""
    course = views.course(results, "P001", "volume_mm3", "total")
    assert course["comparable"].tolist() == [True, True, False, True, True]
    assert course["value"].isna().tolist() == [False, False, False, True, False]


def test_an_event_without_a_name_is_named_by_its_kind(results):
    """A treatment of no name is shown as treatment."""
    unnamed = results.tables["events"].assign(name=pd.NA)
    found = views.events(replace(results, tables={**results.tables, "events": unnamed}), "P001")
    assert found["name"].tolist() == ["treatment", "flare", "treatment", "surgery"]
