"""A folder of tables: CSV for every program, parquet for those that keep dtypes, units and meanings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from monitor import store
from monitor.export.dictionary import Sheet, data_dictionary, unit
from monitor.export.redcap import RECORD, VISIT, redcap

if TYPE_CHECKING:
    from pathlib import Path

README = """calcitrack {version}: exported results of {ended}.
Research use only, not for diagnosis.

One file a table, one row as the data dictionary says (data_dictionary.{kind}: every column, its unit and
meaning). visits_wide.{kind} has one row a patient and visit, with what a statistical program mostly needs; a visit
whose scan was refused has a row there too, with refused_code. Unknown is empty. lo and hi are 95 % limits.
about.json holds the parameters, the versions and the hashes of the inputs.
"""
"""What stands beside the tables."""

README_CSV = f"""
A text that a spreadsheet would run as a formula begins with an apostrophe here; numbers never do.

REDCap: make a project, upload redcap_dictionary.csv as its data dictionary, make the instrument "{VISIT}"
repeatable, then import redcap_data.csv; {RECORD} is the patient's pseudonym. The field note of each field names its
column in visits_wide.csv.
"""
"""What is added where the files for REDCap stand beside them."""


def write_csv(aside: Path, sheets: list[Sheet], run: dict[str, object]) -> None:
    """Write every table as CSV, with a data dictionary and the files that REDCap imports."""
    by_name = {one.name: one for one in sheets}
    made = {one.name: one.table for one in [*sheets, data_dictionary(sheets)]}
    made |= redcap(by_name["visits_wide"], by_name["patients"])
    for name, table in made.items():
        # As the results folder does it, so that there is one rule for cells that look like formulas.
        store.write_csv(table, aside / f"{name}.csv")
    _write_about(aside, run, kind="csv", more=README_CSV)


def write_parquet(aside: Path, sheets: list[Sheet], run: dict[str, object]) -> None:
    """Write every table as parquet; ``unit`` and ``meaning`` stand in the metadata of each field."""
    for one in [*sheets, data_dictionary(sheets)]:
        plain = pa.Table.from_pandas(one.table, preserve_index=False).replace_schema_metadata(None)
        told = [{"unit": unit(column, one.columns), "meaning": column.meaning} for column in one.columns]
        fields = [field.with_metadata(said) for field, said in zip(plain.schema, told, strict=True)]
        pq.write_table(plain.cast(pa.schema(fields)), aside / f"{one.name}.parquet")
    _write_about(aside, run, kind="parquet")


def _write_about(aside: Path, run: dict[str, object], *, kind: str, more: str = "") -> None:
    software = run.get("software")
    version = software.get("version", "") if isinstance(software, dict) else ""
    text = README.format(version=version, ended=str(run.get("ended", "an unknown day"))[:10], kind=kind)
    (aside / "README.txt").write_text(text + more, encoding="utf-8")
    (aside / "about.json").write_text(json.dumps(run, indent=1, sort_keys=True) + "\n", encoding="utf-8")
