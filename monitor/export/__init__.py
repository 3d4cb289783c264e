"""What leaves the results folder: tables for other programs, and a report on one patient.

>>> from monitor.export import FORMATS
>>> sorted(FORMATS)
['csv', 'parquet', 'xlsx']
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from monitor import store, tables
from monitor.errors import StoreError
from monitor.export import folder, workbook
from monitor.export.dictionary import Sheet, sheet
from monitor.export.report import report, report_figures
from monitor.export.wide import visits_wide
from monitor.placing import placed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMATS", "export", "report", "report_figures"]

WORKBOOK = "calcitrack.xlsx"
"""Name of the workbook in a folder."""


def export(results: str | Path, dest: str | Path, *, fmt: str) -> list[Path]:
    """Write the tables of a results folder for other programs.

    Parameters
    ----------
    results : path
        A published results folder.
    dest : path
        A folder; with ``xlsx`` a name that ends in ``.xlsx`` is the file. Files of our names are replaced,
        others stay.
    fmt : str
        ``csv``: every table, the wide one, the data dictionary and two files for REDCap. ``parquet``: the same
        tables, with unit and meaning in the metadata of each field. ``xlsx``: one workbook.

    Returns
    -------
    list of Path
        What was written, by name. The same results give the same bytes.

    Raises
    ------
    ValueError
        If ``fmt`` is unknown.
    StoreError
        If there are no results, ``dest`` cannot be written, or a table is too long for Excel.
    """
    if fmt not in FORMATS:
        raise ValueError(f"the format of an export must be one of {', '.join(FORMATS)}; got {fmt!r}")
    found = store.read_results(results)
    target, name = _target(Path(dest), fmt)
    if target.resolve().is_relative_to(found.folder.resolve()):
        raise StoreError(f"an export must lie outside the results, which hold only what a run left; got {dest}")
    sheets = [sheet(table, found.tables[table], columns) for table, columns in tables.SCHEMAS.items()]
    with placed(target) as aside:
        FORMATS[fmt](aside / name, [*sheets, visits_wide(found.tables)], found.run)
        names = sorted(path.name for path in aside.iterdir())
    return [target / one for one in names]


def _target(dest: Path, fmt: str) -> tuple[Path, str]:
    """Return the folder to write to, and the name of the one file if there is only one."""
    if dest.suffix == ".xlsx" and fmt == "xlsx" and not dest.is_dir():
        return dest.parent, dest.name
    if dest.suffix.removeprefix(".") in FORMATS:
        raise StoreError(f"format {fmt} writes several files and must be given a folder; got the file name {dest.name}")
    return dest, WORKBOOK if fmt == "xlsx" else ""


def _xlsx(path: Path, sheets: list[Sheet], run: dict[str, object]) -> None:
    path.write_bytes(workbook.workbook(sheets, run))


FORMATS: dict[str, Callable[[Path, list[Sheet], dict[str, object]], None]] = {
    "csv": folder.write_csv,
    "parquet": folder.write_parquet,
    "xlsx": _xlsx,
}
"""What can be exported, and who writes it."""
