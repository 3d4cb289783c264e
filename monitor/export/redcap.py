"""What REDCap imports: a project of two forms, the visit one repeating, and its data dictionary.

A repeating form needs no events to be set up; field names follow REDCap's own rules, so that none is renamed.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from monitor import tables
from monitor.export.dictionary import Sheet
from monitor.export.wide import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADERS = (
    "Variable / Field Name",
    "Form Name",
    "Section Header",
    "Field Type",
    "Field Label",
    "Choices, Calculations, OR Slider Labels",
    "Field Note",
    "Text Validation Type OR Show Slider Number",
    "Text Validation Min",
    "Text Validation Max",
    "Identifier?",
    "Branching Logic (Show field only if...)",
    "Required Field?",
    "Custom Alignment",
    "Question Number (surveys only)",
    "Matrix Group Name",
    "Matrix Ranking?",
    "Field Annotation",
)
"""The 18 columns of REDCap's data dictionary, in its order."""

NAME_LENGTH = 26
"""Longest field name that REDCap takes without a warning."""

HASH_LENGTH = 5
"""Hex digits that end a shortened name: it then hangs on the whole name alone, not on its neighbours."""

VERDICTS = ("increased", "decreased", "no_detectable_change", "not_comparable")
"""Choices of a verdict: the code is the word of the table."""

FIELD_TYPES = {
    tables.TEXT: ("text", ""),
    tables.NUMBER: ("text", "number"),
    tables.WHOLE: ("text", "integer"),
    tables.FLAG: ("yesno", ""),
    tables.DATE: ("text", "date_ymd"),
}
"""REDCap's field type and validation for each dtype."""

TEXT, WHOLE, NUMBER = pd.StringDtype(), pd.Int64Dtype(), np.dtype("float64")
"""Dtypes that are written."""

DTYPES: dict[str, Any] = {
    **dict.fromkeys(FIELD_TYPES, TEXT),
    tables.NUMBER: NUMBER,
    tables.WHOLE: WHOLE,
    tables.FLAG: WHOLE,
}
"""How each dtype is written: dates as text, yes and no as 1 and 0."""

PATIENT, VISIT = "patient", "visit"
"""The forms."""

RECORD = "record_id"
"""REDCap's first field, the pseudonym."""

REPEAT = ("redcap_repeat_instrument", "redcap_repeat_instance")
"""REDCap's columns that say which form repeats, and how often so far."""


def redcap(wide: Sheet, patients: Sheet) -> dict[str, pd.DataFrame]:
    """Return ``redcap_data`` and ``redcap_dictionary`` of a wide table and the table of patients."""
    own = {column.name for column in patients.columns}
    forms = {
        PATIENT: [column for column in patients.columns if column.name != "patient_id"],
        VISIT: [column for column in wide.columns if column.name not in own],
    }
    names = iter(field_names(column.name for columns in forms.values() for column in columns))
    named = {form: [(next(names), column) for column in columns] for form, columns in forms.items()}
    fields = [_field(name, form, column) for form, columns in named.items() for name, column in columns]
    return {
        "redcap_data": _data(wide, patients, named),
        "redcap_dictionary": pd.DataFrame([_record_field(), *fields], columns=list(HEADERS), dtype="string"),
    }


def field_names(names: Iterable[str]) -> list[str]:
    """Return REDCap field names: unique, small letters, digits and single underscores, a letter first.

    >>> field_names(["volume_mm3", "2nd", "excess_hu_mm3__left_lower_leg", "redcap_x"])
    ['volume_mm3', 'x_2nd', 'excess_hu_mm3_left_l_72a40', 'x_redcap_x']
    """
    taken = {RECORD, *REPEAT}
    fresh = []
    for name in names:
        one, number = _field_name(name), 1
        while one in taken:
            number += 1
            one = _shortened(f"{_field_name(name)}_{number}", f"{name}\n{number}")
        taken.add(one)
        fresh.append(one)
    return fresh


def _field_name(name: str) -> str:
    safe = safe_name(name)
    # REDCap keeps names that begin with its own for itself.
    return _shortened(safe if re.match("(?!redcap)[a-z]", safe) else f"x_{safe}", name)


def _shortened(safe: str, name: str) -> str:
    if len(safe) <= NAME_LENGTH:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_LENGTH]
    return f"{safe[: NAME_LENGTH - HASH_LENGTH - 1].rstrip('_')}_{digest}"


def _record_field() -> dict[str, str]:
    return {HEADERS[0]: RECORD, HEADERS[1]: PATIENT, HEADERS[3]: "text", HEADERS[4]: "Pseudonym of the patient"}


def _field(name: str, form: str, column: tables.Column) -> dict[str, str]:
    kind, validation = FIELD_TYPES[column.dtype]
    verdict = column.name.endswith("_verdict")
    choices = " | ".join(f"{word}, {word.replace('_', ' ')}" for word in VERDICTS)
    return {
        HEADERS[0]: name,
        HEADERS[1]: form,
        HEADERS[3]: "radio" if verdict else kind,
        HEADERS[4]: f"{column.meaning[:1].upper()}{column.meaning[1:]}",
        HEADERS[5]: choices if verdict else "",
        HEADERS[6]: f"{column.name}, {column.unit}" if column.unit else column.name,
        HEADERS[7]: validation,
        HEADERS[10]: "y" if column.dtype == tables.DATE else "",
    }


def _data(wide: Sheet, patients: Sheet, named: dict[str, list[tuple[str, tables.Column]]]) -> pd.DataFrame:
    """Return a row for each patient and then one for each visit, in order."""
    known = patients.table.drop_duplicates("patient_id")
    every = pd.concat([known["patient_id"], wide.table["patient_id"]]).drop_duplicates()
    about = known.set_index("patient_id").reindex(every).rename_axis("patient_id").reset_index()
    visits = wide.table.assign(instance=wide.table.groupby("patient_id").cumcount() + 1)
    rows = [_rows(about, named[PATIENT]), _rows(visits, named[VISIT])]
    rows[1].insert(1, REPEAT[0], VISIT)
    rows[1].insert(2, REPEAT[1], visits["instance"])
    data = pd.concat([one.astype(object) for one in rows], ignore_index=True)
    dtypes: dict[str, Any] = {RECORD: TEXT, REPEAT[0]: TEXT, REPEAT[1]: WHOLE}
    dtypes |= {name: DTYPES[column.dtype] for columns in named.values() for name, column in columns}
    data = pd.DataFrame({name: data[name].astype(dtype) for name, dtype in dtypes.items()})
    order = data[RECORD].map({patient: number for number, patient in enumerate(every)})
    return data.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def _rows(table: pd.DataFrame, columns: list[tuple[str, tables.Column]]) -> pd.DataFrame:
    made = {name: _plain(table[column.name], column.dtype) for name, column in columns}
    return pd.DataFrame({RECORD: table["patient_id"], **made})


def _plain(values: pd.Series, dtype: str) -> pd.Series:
    """Return values as REDCap takes them: yes is 1, and it knows no infinity."""
    if dtype == tables.FLAG:
        return values.astype(WHOLE)
    if dtype == tables.DATE:
        return values.dt.strftime("%Y-%m-%d").astype("string")
    return values.replace([np.inf, -np.inf], np.nan) if dtype == tables.NUMBER else values
