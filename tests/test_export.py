"""What leaves the results folder as tables: complete, harmless, whole or not at all, the same bytes every time."""

from __future__ import annotations

import csv
import json
import re
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor import burden, store, tables
from monitor import export as package
from monitor.export import export, workbook
from monitor.export.dictionary import data_dictionary, sheet
from monitor.export.redcap import HEADERS, NAME_LENGTH, field_names
from monitor.export.wide import numbered, safe_name, visits_wide
from monitor.store import StoreError
from tests.dashboard.made import made_tables, write_empty, write_results

FORMULA = "=cmd|' /C calc'!A0"
"""What a spreadsheet would run."""

NAMES = sorted([*tables.SCHEMAS, "visits_wide", "data_dictionary"])

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("made") / "results", more_patients=0)


@pytest.fixture(scope="module")
def exported(results, tmp_path_factory):
    """Export once in every format: what was written, by format."""
    return {fmt: export(results, tmp_path_factory.mktemp("out") / fmt, fmt=fmt) for fmt in package.FORMATS}


@pytest.fixture(scope="module")
def as_csv(exported):
    return exported["csv"][0].parent


@pytest.fixture(scope="module")
def as_book(exported):
    return book_of(*exported["xlsx"])


@pytest.fixture(scope="module")
def wide():
    return visits_wide(made_tables()).table


def published(folder: Path, **changed: list[dict]) -> Path:
    """Publish empty tables but for these rows."""
    found = {name: tables.check(pd.DataFrame(changed.get(name, [])), name) for name in tables.SCHEMAS}
    with store.locked(folder):
        store.publish(folder, found, {}, {"software": {"name": "calcitrack", "version": "9.9"}})
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def book_of(path: Path) -> openpyxl.Workbook:
    return openpyxl.load_workbook(BytesIO(path.read_bytes()))


def cells_of(page) -> list[list[object]]:
    return [[cell.value for cell in row] for row in page.iter_rows()]


# What is written.


@pytest.mark.parametrize(
    ("fmt", "more"), [("csv", {"redcap_data.csv", "redcap_dictionary.csv"}), ("parquet", set()), ("xlsx", None)]
)
def test_every_table_goes_out(exported, fmt, more):
    """All tables of the results are there, with the wide one, the dictionary and what made them."""
    written = exported[fmt]
    assert sorted(written[0].parent.iterdir()) == sorted(written)
    if more is None:
        assert written[0].name == "calcitrack.xlsx"
        names = book_of(written[0]).sheetnames
        assert sorted([*names, "data_dictionary"]) == sorted([*NAMES, "about", "dictionary"])
    else:
        assert {path.name for path in written} == {f"{name}.{fmt}" for name in NAMES} | more | {
            "README.txt",
            "about.json",
        }


@pytest.mark.parametrize("fmt", ["csv", "parquet", "xlsx"])
def test_the_same_results_give_the_same_bytes(results, exported, tmp_path, fmt):
    """Invariance: nothing hangs on when or where an export is made."""
    again = export(results, tmp_path / "again", fmt=fmt)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in exported[fmt]]


@pytest.mark.parametrize("fmt", ["csv", "parquet", "xlsx"])
def test_results_of_nobody_go_out_too(tmp_path, fmt):
    """Empty tables have their header; nothing fails on the way."""
    write_empty(tmp_path / "results")
    written = export(tmp_path / "results", tmp_path / "out", fmt=fmt)
    if fmt == "csv":
        assert (tmp_path / "out" / "lesions.csv").read_text().startswith("patient_id,visit_id,date")
    elif fmt == "parquet":
        assert pq.read_table(tmp_path / "out" / "lesions.parquet").num_rows == 0
    else:
        assert len(cells_of(book_of(written[0])["lesions"])) == 1


def test_csv_is_the_results_own_csv(results, as_csv):
    """The tidy tables are what the run published, byte for byte: one rule for both."""
    for name in tables.SCHEMAS:
        assert (as_csv / f"{name}.csv").read_bytes() == (results / "tables" / f"{name}.csv").read_bytes()


def test_parquet_keeps_values_units_and_meanings(results, exported):
    """Every value and dtype comes back, and each field says its unit and what it holds."""
    folder = exported["parquet"][0].parent
    for name, expected in store.read_results(results).tables.items():
        found = pq.read_table(folder / f"{name}.parquet")
        pd.testing.assert_frame_equal(tables.check(found.to_pandas(), name), expected)
    field = pq.read_schema(folder / "lesions.parquet").field("excess_hu_mm3")
    assert field.metadata[b"unit"] == b"HU mm3"
    assert field.metadata[b"meaning"].startswith(b"integral of HU")


def test_what_made_the_numbers_goes_with_them(results, as_csv):
    """Software, version and the use that is not meant stand beside the tables."""
    readme = (as_csv / "README.txt").read_text(encoding="utf-8")
    assert readme.startswith("calcitrack 0.1.0: exported results of 2026-11-23")
    assert "Research use only, not for diagnosis." in readme
    assert json.loads((as_csv / "about.json").read_text())["software"]["version"] == "0.1.0"


def test_the_dictionary_names_every_column_once(as_csv):
    """Each column of each CSV has one line in the dictionary, with a meaning; numbers say where their unit stands."""
    told = rows_of(as_csv / "data_dictionary.csv")
    for name in NAMES:
        header = (as_csv / f"{name}.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
        assert [row["column"] for row in told if row["table"] == name] == header
    assert all(row["meaning"] and row["dtype"] for row in told)
    by = {(row["table"], row["column"]): row["unit"] for row in told}
    assert by["burden", "value"] == "as in column unit"
    assert by["visits_wide", "excess_hu_mm3"] == "HU mm3"
    assert by["visits_wide", "volume_mm3_change_pct"] == "%"


def test_an_unknown_format_lists_the_known_ones(results, tmp_path):
    """A wrong word is told what would be right."""
    with pytest.raises(ValueError, match="must be one of csv, parquet, xlsx; got 'ods'"):
        export(results, tmp_path, fmt="ods")


# Whole or not at all.


def test_other_files_stay_and_ours_are_replaced(results, tmp_path):
    """Only our names are written; nothing is left of the folder aside."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "visits.parquet").write_text("old")
    written = export(results, tmp_path, fmt="parquet")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "visits.parquet").read_bytes() != b"old"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written} | {"notes.txt"}


def test_a_failure_on_the_way_changes_nothing(results, tmp_path, monkeypatch):
    """An export that cannot be finished leaves the files of the one before, and no folder that was not there."""
    export(results, tmp_path / "out", fmt="parquet")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package.folder, "_write_about", full)
    for name in ("out", "fresh/deep"):
        with pytest.raises(StoreError, match="can be written to; the disk says: No space left on device"):
            export(results, tmp_path / name, fmt="parquet")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert not (tmp_path / "fresh").exists()


def test_a_place_that_takes_no_files_is_named(results, tmp_path):
    """A file where the folder should be, and a folder where a file should be, are told and kept."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="file must be a folder that can be written to"):
        export(results, tmp_path / "file", fmt="parquet")
    (tmp_path / "out" / "visits.parquet").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"visits\.parquet must be a file to be replaced; it is a folder"):
        export(results, tmp_path / "out", fmt="parquet")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["visits.parquet"]


def test_results_are_not_written_into(results, tmp_path):
    """An export into the results folder would replace what the run left."""
    for dest in (results, results / "tables", results / "new"):
        with pytest.raises(StoreError, match="an export must lie outside the results"):
            export(results, dest, fmt="csv")
    with pytest.raises(StoreError, match=r"must hold run\.json"):
        export(tmp_path, tmp_path / "out", fmt="csv")


def test_a_file_name_is_a_workbook(results, tmp_path):
    """DEST.xlsx is the file itself; the other formats write many files and say so."""
    assert export(results, tmp_path / "my.xlsx", fmt="xlsx") == [tmp_path / "my.xlsx"]
    assert [path.name for path in tmp_path.iterdir()] == ["my.xlsx"]
    with pytest.raises(StoreError, match=r"format csv writes several files and must be given a folder; got .*my\.csv"):
        export(results, tmp_path / "my.csv", fmt="csv")


# The wide table.


def test_every_visit_has_one_row(wide):
    """Measured and refused visits alike: the keys of all tables, each once."""
    found = made_tables()
    keys = pd.concat([found[name][["patient_id", "visit_id"]] for name in ("visits", "burden", "lesions", "refused")])
    assert set(map(tuple, wide[["patient_id", "visit_id"]].to_numpy())) == set(map(tuple, keys.to_numpy()))
    assert not wide.duplicated(["patient_id", "visit_id"]).any()
    refused = wide[wide["patient_id"] == "P900"].iloc[0]
    assert refused["refused_code"] == "no-pixels"
    assert pd.isna(refused["date"])
    assert refused["condition"] == "AHO"


def test_wide_values_are_those_of_the_tidy_tables(wide):
    """Invariance: summed over all visits, amounts and changes are what the long tables hold."""
    found = made_tables()
    total = found["burden"].query("compartment == 'total' and quantity == 'mass_mg'")
    assert wide["mass_mg"].sum() == pytest.approx(total["value"].sum(), rel=1e-12)
    assert wide["mass_mg_observed"].sum() == pytest.approx(total["value_observed"].sum(), rel=1e-12)
    calf = found["burden"].query("compartment == 'calf' and quantity == 'volume_mm3'")
    assert wide["volume_mm3__calf"].sum() == pytest.approx(calf["value"].sum(), rel=1e-12)
    changes = found["changes"].query("compartment == 'total' and comparison == 'baseline'")
    assert wide["volume_mm3_change"].sum() == pytest.approx(changes["change"].sum(), rel=1e-12)
    assert wide["volume_mm3_verdict"].value_counts().to_dict() == changes["verdict"].value_counts().to_dict()


def test_lesions_are_counted_when_it_happens(wide):
    """Closed form: what P001 was made of; a refused visit counts nothing, which is not 0."""
    own = wide[wide["patient_id"] == "P001"].set_index("visit_id")
    assert own["n_new"].tolist() == [0, 0, 1, 0, 0]
    assert own["n_grown"].tolist() == [0, 0, 1, 2, 3]
    assert own["n_resolved"].tolist() == [0, 0, 0, 0, 1]
    assert wide[wide["patient_id"] == "P900"]["n_new"].isna().all()


def test_a_resolution_counts_once():
    """Later visits keep the status; out of the field in between, nothing has come back."""
    visits = [{"patient_id": "P1", "visit_id": f"V{n}", "date": f"2024-0{n}-01"} for n in range(1, 6)]
    statuses = ["baseline", "resolved", "not_in_field", "resolved", "resolved"]
    lesions = [{**visit, "lesion_id": 1, "status": status} for visit, status in zip(visits, statuses, strict=True)]
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    found |= {"visits": tables.check(pd.DataFrame(visits), "visits")}
    found |= {"lesions": tables.check(pd.DataFrame(lesions), "lesions")}
    assert visits_wide(found).table["n_resolved"].tolist() == [0, 1, 0, 0, 0]


def test_scans_of_a_visit_share_a_row():
    """Words are joined, a number stands where the scans agree, and comparable needs both."""
    shared = {"patient_id": "P1", "visit_id": "V1", "date": "2024-01-01", "kernel": "Br40"}
    scans = [
        {**shared, "scan_id": "a", "region": "thorax", "kvp": 120.0, "comparable": True, "n_lesions": 2},
        {**shared, "scan_id": "b", "region": "legs", "kvp": 100.0, "comparable": False, "n_lesions": 3},
    ]
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    row = visits_wide(found | {"visits": tables.check(pd.DataFrame(scans), "visits")}).table.iloc[0]
    assert (row["scan_id"], row["region"], row["kernel"]) == ("a; b", "thorax; legs", "Br40")
    assert np.isnan(row["kvp"])
    assert not row["comparable"]
    assert row["n_lesions_scans"] == 5


def test_a_change_that_does_not_start_at_the_baseline_is_not_taken():
    """The row of the baseline itself holds no change."""
    wide = visits_wide(made_tables()).table
    own = wide[wide["visit_id"] == wide["baseline_visit_id"]]
    assert len(own) > 3
    assert own["volume_mm3_verdict"].isna().all()


def test_two_rules_for_one_quantity_keep_both_numbers():
    """Nothing is lost: the second rule has a column of its own."""
    row = {"patient_id": "P1", "visit_id": "V1", "compartment": "total", "quantity": "agatston", "unit": "1"}
    rows = [{**row, "rule_id": rule, "value": value} for rule, value in (("a", 1.0), ("b", 2.0))]
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    wide = visits_wide(found | {"burden": tables.check(pd.DataFrame(rows), "burden")}).table
    assert wide[["agatston", "agatston_rule2"]].iloc[0].tolist() == [1.0, 2.0]


def test_what_stands_beside_the_score_is_exported():
    """Every quantity that is measured has its columns, under names that REDCap takes and no two share."""
    row = {"patient_id": "P1", "visit_id": "V1", "compartment": "total", "evaluable": 1.0}
    rows = [{**row, "quantity": name, "unit": burden.UNITS[name], "value": 1.0} for name in burden.RULES]
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    wide = visits_wide(found | {"burden": tables.check(pd.DataFrame(rows), "burden")})
    assert (wide.table[list(burden.RULES)] == 1.0).all(axis=None)
    names = field_names(column.name for column in wide.columns)
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= NAME_LENGTH


def test_regions_that_are_unknown_do_not_hide_lesions():
    """``evaluable`` of the wide table is that of lesions: a region of which nothing is known does not lower it."""
    row = {"patient_id": "P1", "visit_id": "V1", "compartment": "total", "unit": "1"}
    rows = [{**row, "quantity": "n_lesions", "evaluable": 1.0}, {**row, "quantity": "n_regions", "evaluable": 0.5}]
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    wide = visits_wide(found | {"burden": tables.check(pd.DataFrame(rows), "burden")}).table
    assert wide["evaluable"].tolist() == [1.0]


@settings(QUICK, max_examples=8)
@given(places=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6, unique=True))
def test_compartments_become_safe_columns(places):
    """Property: whatever a compartment is called, its column is safe, its own, and holds its number."""
    row = {"patient_id": "P1", "visit_id": "V1", "quantity": "volume_mm3", "unit": "mm3"}
    burden = pd.DataFrame([{**row, "compartment": place, "value": float(n)} for n, place in enumerate(places)])
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    made = visits_wide(found | {"burden": tables.check(burden, "burden")})
    own = [column.name for column in made.columns if "__" in column.name]
    assert all(re.fullmatch(r"volume_mm3__[a-z0-9_]+", name) for name in own)
    numbers = [n for n, place in enumerate(places) if place != "total"]
    assert sorted(made.table[own].iloc[0].tolist()) == numbers


@given(st.lists(st.text(max_size=20)))
def test_numbered_names_do_not_repeat(names):
    """Property: as many names come out as went in, each once, safe ones as they were."""
    made = numbered(map(safe_name, names))
    assert len(set(made)) == len(made) == len(names)
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in made)


# Cells that look like formulas.


STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet run a text (OWASP, CSV injection)."""


@QUICK
@given(text=st.sampled_from(STARTS).flatmap(lambda start: st.text(max_size=20).map(start.__add__)))
def test_no_text_runs_in_a_spreadsheet(tmp_path, text):
    """Property: in CSV a leading apostrophe, in a workbook a cell of type string; numbers keep their minus."""
    columns = (tables.Column("t", tables.TEXT, "", text), tables.Column("n", tables.NUMBER, text, "a number"))
    made = sheet("t", pd.DataFrame({"t": [text], "n": [-0.5]}), columns)
    store.write_csv(made.table, tmp_path / "t.csv")
    [row] = rows_of(tmp_path / "t.csv")
    assert row["t"].startswith("'" + text[0].replace("\r", "\n"))
    assert row["n"] == "-0.5"
    book = openpyxl.load_workbook(BytesIO(workbook.workbook([made], {text: text})))
    assert [cell.data_type for cell in book["t"][2]] == ["s", "n"]
    assert {cell.data_type for page in book for row in page.iter_rows() for cell in row} <= {"s", "n"}


def test_no_cell_of_an_export_runs(tmp_path):
    """All files of an export, headers made of a compartment's name included."""
    own = [{"patient_id": "P1", "visit_id": f"V{n}", "kernel": f"{start}1+1"} for n, start in enumerate(STARTS)]
    amount = {"quantity": "volume_mm3", "value": -1.0, "unit": "mm3", "rule_id": FORMULA}
    burden = [{"patient_id": "P1", "visit_id": "V0", "compartment": place, **amount} for place in (FORMULA, "+1", "@a")]
    published(tmp_path / "r", visits=own, burden=burden, patients=[{"patient_id": "P1", "arm": FORMULA}])
    for path in export(tmp_path / "r", tmp_path / "csv", fmt="csv"):
        if path.suffix == ".csv":
            rows = rows_of(path)
            assert not {cell[:1] for row in rows for cell in [*row, *row.values()]} & {"=", "+", "@", "\t", "\r"}
    [path] = export(tmp_path / "r", tmp_path / "xlsx", fmt="xlsx")
    for page in book_of(path):
        assert {cell.data_type for row in page.iter_rows() for cell in row} <= {"s", "n", "b", "d"}
    assert book_of(path)["patients"]["C2"].value == FORMULA


# The workbook.


def test_a_workbook_holds_what_the_tables_hold(results, as_book):
    """Round trip by another program's reader: every cell of every table, by value and by type."""
    for name, table in store.read_results(results).tables.items():
        found = cells_of(as_book[name])
        assert found[0] == list(table.columns)
        for number, column in enumerate(table.columns):
            expected = [None if pd.isna(value) or value == "" else value for value in table[column].astype(object)]
            got = [row[number] for row in found[1:]]
            if str(table[column].dtype) == "float64":
                np.testing.assert_allclose(np.array(got, float), table[column], rtol=1e-15)
            else:
                assert got == expected, (name, column)


def test_a_workbook_is_made_for_reading(as_book):
    """A bold frozen header with filters, units in its comments, real dates, and what it is for."""
    page = as_book["lesions"]
    assert page.freeze_panes == "C2"
    assert page.auto_filter.ref.startswith("A1:")
    volume = next(cell for cell in page[1] if cell.value == "volume_mm3")
    assert volume.font.bold
    assert volume.comment.text == "partial-volume-aware volume of mineral [mm3]"
    day = next(cell for cell in page[1] if cell.value == "date")
    assert isinstance(page.cell(2, day.column).value, datetime)
    assert 8 <= page.column_dimensions["A"].width <= 60
    assert as_book["about"]["A1"].value == "Research use only, not for diagnosis."
    assert ["software.version", "0.1.0"] in cells_of(as_book["about"])
    assert as_book.properties.created == pd.Timestamp("2000-01-01")


def test_missing_infinite_and_old_values_have_a_cell_each():
    """NaN is an empty cell, infinity a word, and a date that Excel does not know is text."""
    columns = (
        tables.Column("number", tables.NUMBER, "", "a number"),
        tables.Column("day", tables.DATE, "", "a day"),
        tables.Column("flag", tables.FLAG, "", "a flag"),
    )
    given_ = {
        "number": [np.nan, np.inf, -np.inf],
        "day": ["1871-01-18", None, "2024-02-29"],
        "flag": [True, None, False],
    }
    made = sheet("t", pd.DataFrame(given_), columns)
    found = cells_of(openpyxl.load_workbook(BytesIO(workbook.workbook([made], {})))["t"])
    assert found[1] == [None, "1871-01-18", True]
    assert found[2] == ["inf", None, None]
    assert found[3] == ["-inf", pd.Timestamp("2024-02-29"), False]


@QUICK
@given(text=st.text(max_size=30))
def test_any_text_makes_a_workbook_that_opens(text):
    """Property: text comes back as it was, but for characters that XML cannot hold."""
    columns = (tables.Column("t", tables.TEXT, "", "a text"),)
    made = sheet("t", pd.DataFrame({"t": [text]}), columns)
    found = openpyxl.load_workbook(BytesIO(workbook.workbook([made], {"note": text})))
    expected = workbook.legal(text)
    assert (found["t"]["A2"].value or "") == expected
    assert not workbook.ILLEGAL.search(expected)
    assert text.isprintable() <= (expected == text)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_ROWS", 3, "holds 3 rows; table changes has [0-9]+: use --format csv or parquet"),
        ("MAX_COLUMNS", 20, "holds 20 columns; table visits has [0-9]+: use --format csv or parquet"),
        ("MAX_TEXT", 5, "holds 5 characters; .* of table visits has one of [0-9]+: use --format csv or parquet"),
    ],
)
def test_what_excel_cannot_hold_is_refused(results, tmp_path, monkeypatch, limit, value, message):
    """A table is never cut without a word; the message says what to do, and nothing is written."""
    monkeypatch.setattr(workbook, limit, value)
    if limit == "MAX_ROWS":
        monkeypatch.setattr(package, "tables", type("T", (), {"SCHEMAS": {"changes": tables.CHANGES}}))
    with pytest.raises(StoreError, match=message):
        export(results, tmp_path / "out", fmt="xlsx")
    assert not (tmp_path / "out").exists()


# REDCap.


@given(st.lists(st.text(max_size=60), max_size=30))
def test_field_names_are_redcaps(names):
    """Property: unique, small letters, digits and single underscores, a letter first, none of REDCap's own."""
    made = field_names(names)
    assert len(set(made)) == len(made) == len(names)
    for name in made:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
        assert len(name) <= NAME_LENGTH
        assert not name.startswith("redcap")
        assert name != "record_id"


@given(st.lists(st.text(alphabet="abc_", min_size=1, max_size=60), min_size=1, unique_by=safe_name))
def test_a_field_keeps_its_name_when_others_come(names):
    """Invariance: a second import maps onto the same fields, whatever columns have come before."""
    assert field_names(names[::-1]) == field_names(names)[::-1]


def test_redcap_gets_its_eighteen_columns(as_csv):
    """The headers are REDCap's; each field of the data is described once, its form in one piece."""
    described = rows_of(as_csv / "redcap_dictionary.csv")
    assert tuple(described[0]) == HEADERS
    assert len(HEADERS) == 18
    fields = [row["Variable / Field Name"] for row in described]
    data = rows_of(as_csv / "redcap_data.csv")
    assert [name for name in data[0] if name not in ("redcap_repeat_instrument", "redcap_repeat_instance")] == fields
    forms = [row["Form Name"] for row in described]
    assert forms == sorted(forms)
    assert fields[0] == "record_id"


def test_redcap_takes_every_value(as_csv):
    """Each cell fits the type that the dictionary gives its field, and every visit is an instance of its own."""
    fits = {
        "number": r"-?[0-9]*\.?[0-9]+(e-?[0-9]+)?", "integer": "-?[0-9]+", "date_ymd": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        "yesno": "[01]", "radio": "increased|decreased|no_detectable_change|not_comparable",
    }  # fmt: skip
    kinds = {
        row["Variable / Field Name"]: row["Text Validation Type OR Show Slider Number"] or row["Field Type"]
        for row in rows_of(as_csv / "redcap_dictionary.csv")
    }
    data = rows_of(as_csv / "redcap_data.csv")
    for row in data:
        wrong = {
            name: value
            for name, value in row.items()
            if value and (pattern := fits.get(kinds.get(name, ""))) and not re.fullmatch(pattern, value)
        }
        assert wrong == {}
    own = [row["redcap_repeat_instance"] for row in data if row["record_id"] == "P001"]
    assert own == ["", "1", "2", "3", "4", "5"]
    assert {row["redcap_repeat_instrument"] for row in data} == {"", "visit"}


def test_the_dictionary_describes_itself():
    """Its own five columns are in it."""
    told = data_dictionary([]).table
    assert told["column"].tolist() == ["table", "column", "dtype", "unit", "meaning"]
