"""The schemas of the result tables, and the check that holds them."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import tables
from monitor.tables import SCHEMAS, check, empty

CONTRACT = {
    "visits": "patient_id visit_id scan_id date years modality region kvp kernel slice_thickness_mm slice_increment_mm "
    "contrast noise_hu threshold_hu lod_mm3 residual_mm in_field comparable comparable_why n_lesions",
    "lesions": "patient_id visit_id date years lesion_id status volume_mm3 volume_lo_mm3 volume_hi_mm3 envelope_mm3 "
    "threshold_volume_mm3 excess_hu_mm3 excess_lo_hu_mm3 excess_hi_hu_mm3 mass_mg calibration agatston mean_hu peak_hu "
    "x_mm y_mm z_mm compartment side depth_mm bone_contact rim_core_hu zonal_index mineral_fraction",
    "lineage": "patient_id visit_id lesion_id kind from_lesion_id into_lesion_id",
    "burden": "patient_id visit_id date years compartment quantity value lo hi unit rule_id evaluable value_observed",
    "changes": "patient_id from_visit to_visit comparison lesion_id compartment quantity rule_id before after change "
    "lo hi change_pct change_per_year unit detectable verdict gained_mm3 lost_mm3 why",
    "trends": "level patient_id compartment lesion_id arm quantity scale model term estimate se df lo hi interval_kind "
    "p_value unit time_origin n_patients n_visits note",
    "refused": "patient_id visit_id scan_id path code message",
}
"""The columns of the contract, written out a second time: they may be added to, never renamed or dropped."""

names = pytest.mark.parametrize("name", SCHEMAS)


def dtypes(name: str) -> dict[str, str]:
    return {column.name: column.dtype for column in SCHEMAS[name]}


@pytest.mark.parametrize("name", CONTRACT)
def test_the_columns_of_the_contract_are_there(name):
    """No column of the contract was renamed or dropped, and they keep their order."""
    columns = [column.name for column in SCHEMAS[name]]
    assert [column for column in columns if column in CONTRACT[name].split()] == CONTRACT[name].split()


@names
def test_a_schema_says_everything_once(name):
    """No column stands twice, each has a meaning, and the unit in a name is the unit of the column."""
    schema = SCHEMAS[name]
    assert len({column.name for column in schema}) == len(schema)
    assert all(column.meaning and column.dtype in tables_dtypes() for column in schema)
    suffixes = {"_hu_mm3": "HU mm3", "_mm3": "mm3", "_mm": "mm", "_mg": "mg", "_hu": "HU", "_pct": "%"}
    for column in schema:
        suffix = next((suffix for suffix in suffixes if column.name.endswith(suffix)), None)
        assert suffix is None or column.unit == suffixes[suffix], column.name


def tables_dtypes() -> set[str]:
    return {tables.TEXT, tables.NUMBER, tables.WHOLE, tables.FLAG, tables.DATE}


def test_a_column_means_the_same_in_every_table():
    """One name has one dtype wherever it stands."""
    found: dict[str, set[str]] = {}
    for name in SCHEMAS:
        for column, dtype in dtypes(name).items():
            found.setdefault(column, set()).add(dtype)
    assert {column: kinds for column, kinds in found.items() if len(kinds) > 1} == {}


@names
def test_an_empty_table_keeps_its_columns_and_dtypes(name):
    """A table without rows still has its header and its types."""
    table = empty(name)
    assert len(table) == 0
    assert {column: str(dtype) for column, dtype in table.dtypes.items()} == dtypes(name)


@names
def test_a_row_of_nothing_is_missing_throughout(name):
    """Absent columns come as missing values, never as a sentinel."""
    table = check(pd.DataFrame(index=[7, 9]), name)
    assert len(table) == 2
    assert table.isna().to_numpy().all()
    assert {column: str(dtype) for column, dtype in table.dtypes.items()} == dtypes(name)


@names
def test_checking_twice_changes_nothing(name):
    """Invariance: what was checked passes unchanged, in any order of its columns."""
    table = check(pd.DataFrame(index=range(3)), name)
    pd.testing.assert_frame_equal(check(table[list(table.columns)[::-1]], name), table)


def test_values_are_cast_and_the_index_is_new():
    """Whole numbers stay whole beside a missing one, and dates become dates."""
    rows = pd.DataFrame(
        {"lesion_id": [1.0, np.nan], "patient_id": ["P1", "P2"], "date": [date(2024, 2, 29), None]},
        index=[5, 5],
    )
    table = check(rows, "lesions")
    assert table.index.tolist() == [0, 1]
    assert table["lesion_id"].tolist() == [1, pd.NA]
    assert table["date"].tolist() == [pd.Timestamp("2024-02-29"), pd.NaT]


def test_check_leaves_its_argument_alone():
    """The caller's rows keep their columns and dtypes."""
    rows = pd.DataFrame({"lesion_id": [1.0]})
    check(rows, "lineage")
    assert rows.dtypes.astype(str).to_dict() == {"lesion_id": "float64"}


def test_an_unknown_column_is_refused():
    """A column has to be in the schema before it is in a table."""
    with pytest.raises(ValueError, match=r"table refused has no column colour, size; add it to monitor\.tables first"):
        check(pd.DataFrame({"size": [1], "colour": ["red"], "code": ["x"]}), "refused")


def test_an_unknown_table_lists_the_known_ones():
    """A misspelt name is answered with the names that there are."""
    with pytest.raises(ValueError, match=r"a table must be one of visits, lesions, .*; got 'lesion'"):
        empty("lesion")


@pytest.mark.parametrize(
    ("name", "column", "value", "dtype"),
    [
        ("visits", "kvp", "high", "float64"),
        ("lesions", "lesion_id", 1.5, "Int64"),
        ("visits", "date", "yesterday", r"datetime64\[s\]"),
        ("visits", "comparable", "maybe", "boolean"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name, column, value, dtype):
    """The message names the column, the table and what it must be."""
    with pytest.raises(ValueError, match=rf"column {column} of table {name} must be {dtype}: "):
        check(pd.DataFrame({column: [value]}), name)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), st.none() | st.integers(1, 2**62)),
        max_size=6,
    )
)
def test_ids_survive_the_check(rows):
    """Text and whole numbers of any size come out as they went in."""
    patients, lesions = [row[0] for row in rows], [row[1] for row in rows]
    given_rows = pd.DataFrame({"patient_id": patients, "lesion_id": pd.array(lesions, dtype="Int64")})
    table = check(given_rows, "lineage")
    assert table["patient_id"].tolist() == patients
    assert [None if pd.isna(value) else value for value in table["lesion_id"]] == lesions
