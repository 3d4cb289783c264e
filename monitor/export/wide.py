"""One row a patient and visit, as a statistician wants it: nothing is measured anew, nothing is lost."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from monitor import tables
from monitor.export.dictionary import Sheet, sheet
from monitor.tables import NUMBER, TEXT, WHOLE, Column

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = ["patient_id", "visit_id"]
"""What a row is one of."""

Part = tuple[pd.DataFrame, list[Column]]
"""Some columns of the wide table: rows by ``KEY``, and what the columns mean."""

ROWS = ("visits", "lesions", "burden", "refused")
"""Tables whose patients and visits are rows of the wide table."""

COMPARED = ("volume_mm3", "excess_hu_mm3")
"""Quantities whose change from the baseline has columns."""

COUNTED = {
    "new": "appeared where they would have been detected before",
    "first_seen": "seen where no earlier scan could have told",
    "grown": "grown since the previous evaluable visit",
    "stable": "stable since the previous evaluable visit",
    "shrunk": "shrunk since the previous evaluable visit",
    "resolved": "gone at this visit and present at the one before",
    "merged": "went into a larger one",
    "split": "pieces that came off a larger one",
    "not_in_field": "not in the field of this scan",
}
"""Statuses of lesions that are counted at each visit."""

CHANGE = {
    "change": ("change", NUMBER, "change of {} from the baseline, in the field common to both"),
    "lo": ("change_lo", NUMBER, "lower 95 % limit of the change of {}"),
    "hi": ("change_hi", NUMBER, "upper 95 % limit of the change of {}"),
    "change_pct": ("change_pct", NUMBER, "change of {} from the baseline in per cent of the baseline"),
    "detectable": ("detectable", NUMBER, "the smallest change of {} that counts"),
    "verdict": ("verdict", TEXT, "{} since baseline: increased, decreased, no_detectable_change or not_comparable"),
    "why": ("verdict_why", TEXT, "the reason of the verdict on {}"),
    "carried_by": ("carried_by", TEXT, "the quantity whose numbers a verdict on volume rests on, beside {}"),
}
"""Columns of table ``changes``: what each is called here, its dtype and meaning."""

AMOUNT = {
    "value": ("", "total {}; empty where part of what is known was not in the field"),
    "lo": ("_lo", "lower 95 % limit of the total {}"),
    "hi": ("_hi", "upper 95 % limit of the total {}"),
    "value_observed": ("_observed", "total {} of what was in the field"),
}
"""Columns of table ``burden``: what is added to the name of the quantity, and the meaning."""


def visits_wide(found: dict[str, pd.DataFrame]) -> Sheet:
    """Return the wide table: a row for every visit that was measured, and for every one that was refused.

    Parameters
    ----------
    found : dict of str to DataFrame
        The tables of a results folder.

    Notes
    -----
    Scans of one visit share a row: their words are joined, a flag holds where it holds for all, and a number
    stands where all scans agree on it. Compartments become columns ``QUANTITY__COMPARTMENT``.
    """
    own = {name: found[name].assign(visit_id=found[name]["visit_id"].fillna("")) for name in ROWS}
    keys = pd.concat([own[name][KEY] for name in ROWS], ignore_index=True).drop_duplicates(ignore_index=True)
    burden = _named(own["burden"])
    parts = [
        _of_patients(found["patients"], keys),
        _of_scans(own["visits"], burden),
        _of_refusals(own["refused"]),
        _of_totals(burden),
        *(_of_changes(found["changes"], found["patients"], quantity) for quantity in COMPARED),
        _of_lesions(own["lesions"], own["visits"]),
        _of_compartments(burden),
    ]
    return _joined(keys, parts)


def safe_name(text: str) -> str:
    """Return a text as a name that every program takes: small letters, digits and single underscores.

    >>> safe_name("Left thigh (A-2)"), safe_name("=cmd|' /C'!A0"), safe_name("Hüfte"), safe_name("骨")
    ('left_thigh_a_2', 'cmd_c_a0', 'hufte', 'x')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "x"


def numbered(names: Iterable[str]) -> list[str]:
    """Return names without repetition: the second of its kind gets ``_2``, and so on.

    >>> numbered(["a", "b", "a", "a", "a_2"])
    ['a', 'b', 'a_2', 'a_3', 'a_2_2']
    """
    fresh: dict[str, None] = {}
    for name in names:
        one, number = name, 1
        while one in fresh:
            number += 1
            one = f"{name}_{number}"
        fresh[one] = None
    return list(fresh)


def _joined(keys: pd.DataFrame, parts: list[Part]) -> Sheet:
    """Bring the parts beside each other, in order of patient and date."""
    columns = [*tables.VISITS[:2]]
    beside = [pd.MultiIndex.from_frame(keys).to_frame(index=True)]
    for table, meant in parts:
        columns += meant
        beside.append(table[[column.name for column in meant]].reindex(beside[0].index))
    wide = pd.concat(beside, axis=1)
    names = numbered(column.name for column in columns)
    wide.columns = pd.Index(names)
    wide = wide.reset_index(drop=True)
    wide = wide.sort_values(["patient_id", "date", "visit_id"], kind="stable", na_position="last", ignore_index=True)
    wide["visit_id"] = wide["visit_id"].replace("", pd.NA)
    return sheet(
        "visits_wide", wide, tuple(replace(column, name=name) for column, name in zip(columns, names, strict=True))
    )


def _of_patients(patients: pd.DataFrame, keys: pd.DataFrame) -> Part:
    own = patients.drop_duplicates("patient_id")
    return keys.merge(own, on="patient_id", how="left").set_index(KEY), list(tables.PATIENTS[1:])


def _of_scans(visits: pd.DataFrame, burden: pd.DataFrame) -> Part:
    """Return one row a visit; ``n_lesions`` gives its name to the quantity of table ``burden``."""
    columns = [column for column in tables.VISITS if column.name not in KEY]
    several = visits.duplicated(KEY, keep=False)
    rules: Any = {column.name: _rule(column) for column in columns}
    joined = visits[several].groupby(KEY, sort=False).agg(rules) if several.any() else pd.DataFrame()
    own = pd.concat([visits[~several].set_index(KEY), joined])
    at = burden.drop_duplicates(KEY).set_index(KEY)[["date", "years"]]
    own = own.reindex(own.index.union(at.index, sort=False))
    own = own.assign(**{name: own[name].fillna(at[name].reindex(own.index)) for name in ("date", "years")})
    named = own.rename(columns={"n_lesions": "n_lesions_scans"})
    count = Column("n_lesions_scans", WHOLE, "", "lesions present, summed over the scans of the visit")
    return named, [count if column.name == "n_lesions" else column for column in columns]


def _rule(column: Column) -> object:
    """Return how the scans of one visit share a column."""
    if column.name in ("date", "years"):
        return "min"
    if column.name == "n_lesions":
        return lambda own: own.sum(min_count=1)
    return {tables.TEXT: _words, tables.FLAG: _all}.get(column.dtype, _agreed)


def _words(own: pd.Series) -> object:
    return "; ".join(dict.fromkeys(own[own.fillna("") != ""])) if own.notna().any() else pd.NA


def _all(own: pd.Series) -> object:
    return own.dropna().all() if own.notna().any() else pd.NA


def _agreed(own: pd.Series) -> object:
    return own.iloc[0] if (own == own.iloc[0]).all() else float("nan")


def _of_refusals(refused: pd.DataFrame) -> Part:
    columns = [
        Column("refused_code", TEXT, "", "which rule a scan of the visit broke; empty where none was refused"),
        Column("refused_message", TEXT, "", "the rule, what came, what was expected"),
    ]
    told = refused.groupby(KEY, sort=False)[["code", "message"]].agg(_words)
    return told.add_prefix("refused_"), columns


def _named(burden: pd.DataFrame) -> pd.DataFrame:
    """Name the quantities for columns; one that was measured by two rules at a visit gets two names."""
    rules = burden.groupby([*KEY, "compartment", "quantity"], sort=False).cumcount()
    known = burden["quantity"].dropna().unique()
    names = burden["quantity"].map(dict(zip(known, numbered(map(safe_name, known)), strict=True)))
    return burden.assign(name=names.where(rules == 0, names + "_rule" + (rules + 1).astype(str)))


def _of_totals(burden: pd.DataFrame) -> Part:
    total = burden[burden["compartment"] == "total"]
    evaluable = Column("evaluable", NUMBER, "1", "fraction of known lesions that lie in the field")
    of_lesions = total[(total["quantity"] != "n_regions").fillna(True)]
    made: dict[str, pd.Series] = {"evaluable": of_lesions.groupby(KEY, sort=False)["evaluable"].min()}
    columns = [evaluable]
    for name, own in total.groupby("name", sort=False):
        rows = own.drop_duplicates(KEY).set_index(KEY)
        for source, (more, meaning) in AMOUNT.items():
            columns.append(Column(f"{name}{more}", NUMBER, _unit(own), meaning.format(name)))
            made[f"{name}{more}"] = rows[source]
    return _beside(made), columns


def _of_compartments(burden: pd.DataFrame) -> Part:
    own = burden[burden["compartment"].notna() & (burden["compartment"] != "total")]
    places = sorted(own["compartment"].unique())
    safe = dict(zip(places, numbered(map(safe_name, places)), strict=True))
    made: dict[str, pd.Series] = {}
    columns = []
    for (name, place), rows in own.groupby(["name", "compartment"], sort=False):
        column = f"{name}__{safe[place]}"
        made[column] = rows.drop_duplicates(KEY).set_index(KEY)["value"]
        columns.append(Column(column, NUMBER, _unit(rows), f"{name} of compartment {place}"))
    return _beside(made), columns


def _of_changes(changes: pd.DataFrame, patients: pd.DataFrame, quantity: str) -> Part:
    """Return the change of a total since the analysis baseline, by the later visit."""
    chosen = (changes["comparison"] == "baseline") & (changes["compartment"] == "total")
    own = changes[(chosen & (changes["quantity"] == quantity)).fillna(False)]
    start = own["patient_id"].map(patients.drop_duplicates("patient_id").set_index("patient_id")["baseline_visit_id"])
    own = own[(own["from_visit"] == start).fillna(False)].drop_duplicates(["patient_id", "to_visit"])
    rows = own.rename(columns={"to_visit": "visit_id"}).set_index(KEY)
    columns = [
        Column(f"{quantity}_{name}", dtype, _change_unit(name, quantity) if dtype == NUMBER else "", told)
        for name, dtype, told in ((name, dtype, meaning.format(quantity)) for name, dtype, meaning in CHANGE.values())
    ]
    return rows.rename(columns={old: f"{quantity}_{new[0]}" for old, new in CHANGE.items()}), columns


def _change_unit(name: str, quantity: str) -> str:
    unit = next(column.unit for column in tables.LESIONS if column.name == quantity)
    return "%" if name == "change_pct" else unit


def _of_lesions(lesions: pd.DataFrame, visits: pd.DataFrame) -> Part:
    """Count the lesions of each status; a resolution counts at the first visit that shows it."""
    ordered = lesions.sort_values(["patient_id", "lesion_id", "date"], kind="stable")
    once = ordered.drop_duplicates([*KEY, "lesion_id", "status"])
    seen = once[once["status"] != "not_in_field"]
    before = seen.groupby(["patient_id", "lesion_id"], sort=False)["status"].shift().reindex(once.index)
    known = once[~((once["status"] == "resolved") & (before == "resolved")).fillna(False)]
    measured = pd.MultiIndex.from_frame(visits[KEY].drop_duplicates())
    each = known[KEY].assign(**{f"n_{status}": known["status"].eq(status) for status in COUNTED})
    made = each.groupby(KEY, sort=False).sum().reindex(measured, fill_value=0)
    columns = [Column(f"n_{status}", WHOLE, "", f"lesions {meaning}") for status, meaning in COUNTED.items()]
    return made, columns


def _unit(rows: pd.DataFrame) -> str:
    """Return the unit of a quantity; of several, all."""
    return " or ".join(sorted(rows["unit"].dropna().unique()))


def _beside(made: dict[str, pd.Series]) -> pd.DataFrame:
    """Bring columns beside each other by patient and visit; no column makes an empty table."""
    if not made:
        return pd.DataFrame(index=pd.MultiIndex.from_arrays([[], []], names=KEY))
    return pd.concat(made, axis=1)
