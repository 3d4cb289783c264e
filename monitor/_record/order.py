"""In which order the rows of a published table stand: patient by patient, within one in order of time."""

from __future__ import annotations

import pandas as pd

WHEN = ("visit_id", "to_visit")
"""Columns that name the visit a row is about: of a comparison the later one."""


def in_order(found: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return tables sorted by patient_id, then by the years of the visit or event that a row is about.

    Rows of one visit keep their order, and so do those of tables that know no time. Rows of no patient (a cohort's
    trends, a refusal without an id) come last.

    Parameters
    ----------
    found : dict of str to DataFrame
        Result tables by name; ``visits`` among them tells when each visit was.
    """
    visits = found["visits"].drop_duplicates(["patient_id", "visit_id"])
    when = visits.set_index(["patient_id", "visit_id"])["years"]
    return {name: _sorted(table, when) for name, table in found.items()}


def _sorted(table: pd.DataFrame, when: pd.Series) -> pd.DataFrame:
    visit = next((name for name in WHEN if name in table), None)
    keys = pd.DataFrame({"patient": table["patient_id"]})
    if "years" in table:
        keys["years"] = table["years"]
    elif visit is not None:
        keys["years"] = when.reindex(pd.MultiIndex.from_frame(table[["patient_id", visit]])).to_numpy()
    if visit is not None:
        keys["visit"] = table[visit]
    order = keys.sort_values(list(keys.columns), kind="stable", na_position="last").index
    return table.loc[order].reset_index(drop=True)
