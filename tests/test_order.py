"""The order of rows in published tables."""

import pandas as pd

from monitor import tables
from monitor._record.order import in_order


def made(name: str, **columns: list) -> pd.DataFrame:
    """Return a table of a few columns."""
    return tables.check(pd.DataFrame(columns), name)


VISITS = made(
    "visits",
    patient_id=["B", "A", "A", "A"],
    visit_id=["V0", "V1", "V0", "V1"],
    scan_id=["", "legs", "", "arms"],
    years=[0.0, 1.0, 0.0, 1.0],
)


def test_patients_come_first_then_time():
    """Two regions of a patient stand together by visit; rows of one visit keep their order."""
    found = in_order({"visits": VISITS})["visits"]
    assert found["patient_id"].tolist() == ["A", "A", "A", "B"]
    assert found["scan_id"].tolist() == ["", "legs", "arms", ""]
    assert found.index.tolist() == [0, 1, 2, 3]


def test_what_names_a_visit_alone_takes_its_time():
    """Lineage and changes have no years: they stand by those of the visit, of the later one of two."""
    lineage = made("lineage", patient_id=["A", "A", "A"], visit_id=["V1", "V0", "V1"], lesion_id=[5, 9, 2])
    changes = made("changes", patient_id=["B", "A", "A"], from_visit=["V0"] * 3, to_visit=["V0", "V1", "V0"])
    found = in_order({"visits": VISITS, "lineage": lineage, "changes": changes})
    assert found["lineage"]["lesion_id"].tolist() == [9, 5, 2]
    assert list(zip(found["changes"]["patient_id"], found["changes"]["to_visit"], strict=True)) == [
        ("A", "V0"),
        ("A", "V1"),
        ("B", "V0"),
    ]


def test_rows_of_no_patient_come_last():
    """A cohort's trends, and refusals without an id, in the order they had."""
    trends = made("trends", patient_id=[None, "B", None, "A"], term=["first", "b", "second", "a"])
    assert in_order({"visits": VISITS, "trends": trends})["trends"]["term"].tolist() == ["a", "b", "first", "second"]


def test_dtypes_stay_and_empty_tables_too():
    """The schema holds after sorting, whatever there is."""
    found = in_order({name: tables.empty(name) for name in tables.SCHEMAS} | {"visits": VISITS})
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, tables.check(table, name))
