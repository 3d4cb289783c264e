"""One Excel workbook: a sheet for each table, cells that no program runs, the same bytes for the same results."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xlsxwriter

from monitor import tables
from monitor.errors import StoreError
from monitor.export.dictionary import IN_ROW, Sheet, data_dictionary, unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

MAX_ROWS, MAX_COLUMNS, MAX_TEXT = 1_048_576, 16_384, 32_767
"""Excel's limits: rows and columns of a sheet, header included, and characters of a cell (Microsoft's
"Excel specifications and limits")."""

FIRST_YEAR = 1900
"""Excel knows no date before it; an earlier one is written as text."""

WIDTH = (8, 48)
"""Narrowest and widest column, characters."""

DAY_WIDTH = 10
"""Characters of a date, and of most numbers."""

MEASURED_ROWS = 200
"""So many rows decide how wide a column is."""

OPTIONS = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
    "nan_inf_to_errors": False,
}
"""A cell holds what the table holds and nothing is made of it."""

ILLEGAL = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")
"""Characters that XML 1.0 cannot hold (section 2.2), and CR, which it turns into a line feed."""


def workbook(sheets: Sequence[Sheet], about: dict[str, object]) -> bytes:
    """Return the workbook of tables, their dictionary and what made them.

    Parameters
    ----------
    sheets : sequence of Sheet
        One becomes a sheet each; numbers that are missing are empty cells, infinite ones are text.
    about : dict
        What is told of the software and its parameters; nested names are joined by a point.

    Raises
    ------
    StoreError
        If a table or a text is too long for Excel.
    """
    every = [*sheets, data_dictionary(sheets)]
    for sheet in every:
        _check(sheet)
    out = BytesIO()
    book = xlsxwriter.Workbook(out, OPTIONS)
    # The only thing in a workbook that hangs on when it is written.
    book.set_properties({"title": "calcitrack", "created": datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None)})
    head = book.add_format({"bold": True, "bottom": 1, "bg_color": "#E8EEF2", "valign": "top"})
    day = book.add_format({"num_format": "yyyy-mm-dd", "align": "left"})
    _about(book.add_worksheet("about"), about, head, book.add_format({"text_wrap": True, "valign": "top"}))
    for sheet in every:
        _fill(book.add_worksheet(SHORT.get(sheet.name, sheet.name)), sheet, head, day)
    book.close()
    return out.getvalue()


SHORT = {"data_dictionary": "dictionary"}
"""Names of sheets that differ from those of files."""


def _check(sheet: Sheet) -> None:
    rows, columns = len(sheet.table) + 1, len(sheet.columns)
    instead = "use --format csv or parquet"
    if rows > MAX_ROWS:
        raise StoreError(f"a sheet of Excel holds {MAX_ROWS} rows; table {sheet.name} has {rows}: {instead}")
    if columns > MAX_COLUMNS:
        raise StoreError(f"a sheet of Excel holds {MAX_COLUMNS} columns; table {sheet.name} has {columns}: {instead}")
    for column in sheet.columns:
        if column.dtype == tables.TEXT and (longest := _longest(sheet.table[column.name])) > MAX_TEXT:
            raise StoreError(
                f"a cell of Excel holds {MAX_TEXT} characters; {column.name} of table {sheet.name} has one of "
                f"{longest}: {instead}"
            )


def _fill(page: Worksheet, sheet: Sheet, head: Format, day: Format) -> None:
    for number, column in enumerate(sheet.columns):
        page.write_string(0, number, legal(column.name), head)
        page.write_comment(0, number, legal(_comment(column, sheet.columns)), {"x_scale": 2, "author": "calcitrack"})
        values = sheet.table[column.name]
        _write(page, number, values, column.dtype, day)
        page.set_column(number, number, _width(column, values))
    page.freeze_panes(1, 2 if [column.name for column in sheet.columns[:2]] == ["patient_id", "visit_id"] else 0)
    page.autofilter(0, 0, len(sheet.table), len(sheet.columns) - 1)


def _write(page: Worksheet, number: int, values: pd.Series, dtype: str, day: Format) -> None:
    for row, value in enumerate(values.astype(object).tolist(), start=1):
        if pd.isna(value) or value == "":
            continue
        if dtype == tables.TEXT:
            page.write_string(row, number, legal(value))
        elif dtype == tables.FLAG:
            page.write_boolean(row, number, bool(value))
        elif dtype == tables.DATE:
            _write_day(page, (row, number), value, day)
        elif np.isinf(value):
            page.write_string(row, number, "inf" if value > 0 else "-inf")
        else:
            page.write_number(row, number, value)


def _write_day(page: Worksheet, cell: tuple[int, int], value: pd.Timestamp, day: Format) -> None:
    if value.year < FIRST_YEAR:
        page.write_string(*cell, f"{value:%Y-%m-%d}")
    else:
        page.write_datetime(*cell, value.to_pydatetime(), day)


def legal(text: str) -> str:
    r"""Return a text that XML can hold: other characters become a replacement sign, line ends line feeds.

    >>> legal("a\x07b\r\nc")
    'a�b\nc'
    """
    return ILLEGAL.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _comment(column: tables.Column, columns: tables.Schema) -> str:
    named = unit(column, columns)
    told = f" [{named}]" if named not in ("", IN_ROW) else ""
    return f"{column.meaning}{told}"


def _width(column: tables.Column, values: pd.Series) -> int:
    longest = _longest(values.head(MEASURED_ROWS)) if column.dtype == tables.TEXT else DAY_WIDTH
    return min(max(longest, len(column.name) + 3, WIDTH[0]), WIDTH[1])


def _longest(texts: pd.Series) -> int:
    return max(map(len, texts.dropna()), default=0)


def _about(page: Worksheet, about: dict[str, object], head: Format, wrapped: Format) -> None:
    page.set_column(0, 0, 44)
    page.set_column(1, 1, 90)
    page.write_string(0, 0, "Research use only, not for diagnosis.", head)
    page.write_string(0, 1, "", head)
    for row, (name, value) in enumerate(flat(about), start=1):
        page.write_string(row, 0, legal(name))
        page.write_string(row, 1, legal(value)[:MAX_TEXT], wrapped)
    page.freeze_panes(1, 0)


def flat(about: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return nested names joined by a point, with their values as text.

    >>> flat({"software": {"name": "calcitrack"}, "shape": [1, 2]})
    [('software.name', 'calcitrack'), ('shape', '[1, 2]')]
    """
    lines: list[tuple[str, str]] = []
    for name, value in about.items():
        if isinstance(value, dict):
            lines += flat(value, f"{above}{name}.")
        else:
            lines.append((f"{above}{name}", value if isinstance(value, str) else json.dumps(value, sort_keys=True)))
    return lines
