"""The data dictionary: what each column of each exported table is, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from monitor import tables

if TYPE_CHECKING:
    from collections.abc import Iterable

DTYPES = {
    tables.TEXT: "text",
    tables.NUMBER: "number",
    tables.WHOLE: "whole number",
    tables.FLAG: "true or false",
    tables.DATE: "date (ISO 8601)",
}
"""The dtypes of the tables in words."""

IN_ROW = "as in column unit"
"""Unit of a number whose unit stands in its row."""


@dataclass(frozen=True)
class Sheet:
    """A table that goes out, with what its columns mean; both in the same order."""

    name: str
    table: pd.DataFrame
    columns: tables.Schema


COLUMNS: tables.Schema = (
    tables.Column("table", tables.TEXT, "", "the table that the column is in"),
    tables.Column("column", tables.TEXT, "", "name of the column"),
    tables.Column("dtype", tables.TEXT, "", "text, number, whole number, true or false, or date"),
    tables.Column("unit", tables.TEXT, "", "unit of the numbers; 1 is a plain number, empty is none"),
    tables.Column("meaning", tables.TEXT, "", "what the column holds"),
)
"""Columns of the data dictionary, which describes itself too."""


def sheet(name: str, table: pd.DataFrame, columns: tables.Schema) -> Sheet:
    """Return a table with exactly these columns, in order and dtype; absent ones are missing."""
    own = table.reset_index(drop=True)
    return Sheet(name, pd.DataFrame({column.name: _typed(own, column) for column in columns}, index=own.index), columns)


def data_dictionary(sheets: Iterable[Sheet]) -> Sheet:
    """Return the data dictionary of tables, one row a column.

    >>> made = data_dictionary([sheet("refused", tables.empty("refused"), tables.REFUSED)])
    >>> made.table.iloc[0].to_list()
    ['refused', 'patient_id', 'text', '', 'pseudonym of the patient in the study folder']
    """
    own = [("data_dictionary", COLUMNS)]
    rows = [
        {
            "table": name,
            "column": column.name,
            "dtype": DTYPES[column.dtype],
            "unit": unit(column, columns),
            "meaning": column.meaning,
        }
        for name, columns in [*((one.name, one.columns) for one in sheets), *own]
        for column in columns
    ]
    return sheet("data_dictionary", pd.DataFrame(rows), COLUMNS)


def unit(column: tables.Column, columns: tables.Schema) -> str:
    """Return the unit of a column; a number without one has it in the column ``unit`` beside it."""
    beside = any(other.name == "unit" for other in columns)
    return IN_ROW if beside and column.dtype == tables.NUMBER and not column.unit else column.unit


def _typed(table: pd.DataFrame, column: tables.Column) -> pd.Series:
    if column.name not in table:
        return pd.Series([None] * len(table), dtype=column.dtype)
    return table[column.name].astype(pd.api.types.pandas_dtype(column.dtype))
