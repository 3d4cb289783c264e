"""Made-up results with all that a patient's page can show, and a patient with many lesions; no measurement behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from monitor import store, tables
from tests.dashboard import made

if TYPE_CHECKING:
    from pathlib import Path

NORMS = {"_per_m2": (1.9, "/m2"), "_per_growth": (0.93, "")}
"""What amounts of P001 are divided by, as a factor, and what the unit gets."""


def rich_tables() -> dict[str, pd.DataFrame]:
    """Return the tables of ``made``, with more of P001: norms, nadirs, scores, dose, age, a published limit."""
    found = made.made_tables(more_patients=1)
    own = {name: table[table["patient_id"] == "P001"] for name, table in found.items() if "patient_id" in table}
    burden, changes = own["burden"], own["changes"]
    more = {
        "burden": _normed(burden, "volume_mm3"),
        "changes": pd.concat([_normed(changes, "volume_mm3"), *_since(changes), _published(changes)]),
        "scores": _scores(),
    }
    joined = {
        name: pd.concat([table, more[name].astype(table.dtypes)], ignore_index=True) if name in more else table
        for name, table in found.items()
    }
    visits = joined["visits"]
    p001 = visits["patient_id"] == "P001"
    dose = np.array([180.0, 172.0, np.nan, 150.0, 141.0])
    visits.loc[p001, "dlp_mgy_cm"], visits.loc[p001, "ctdi_vol_mgy"] = dose, dose / 40
    visits.loc[p001, "manufacturer"] = ["Maker A", "Maker A", "Maker A", "Maker B", "Maker B"]
    visits.loc[p001, "contrast_found"], visits.loc[p001, "residual_hi_mm"] = "none", 0.9
    patients = joined["patients"]
    patients.loc[patients["patient_id"] == "P001", "age_years"] = 7.5
    trends = joined["trends"]
    trends.loc[trends["patient_id"] == "P001", "interval_kind"] = "measurement_error_only"
    return {name: tables.check(table, name) for name, table in joined.items()}


def _normed(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return rows of a quantity once more, divided by each norm."""
    sums = table[(table["quantity"] == quantity) & (table["lesion_id"].isna() if "lesion_id" in table else True)]
    numbers = ("value", "lo", "hi", "value_observed", "before", "after", "change", "detectable")
    amounts = [name for name in numbers if name in sums]
    parts = []
    for suffix, (factor, unit) in NORMS.items():
        scaled = {name: sums[name] * factor for name in amounts}
        parts.append(sums.assign(**scaled, quantity=quantity + suffix, unit=sums["unit"] + unit))
    return pd.concat(parts)


def _since(changes: pd.DataFrame) -> list[pd.DataFrame]:
    """Return comparisons of the total with the previous visit and with the lowest amount."""
    last = changes[changes["lesion_id"].isna() & (changes["to_visit"] == "V5")]
    numbers = {"before": 864.0, "change": 199.0, "lo": 90.0, "hi": 308.0, "detectable": 109.0, "change_pct": 23.0}
    nadir = {"before": 788.0, "change": 275.0, "lo": 167.0, "hi": 383.0, "detectable": 108.0, "change_pct": 34.9}
    return [
        last.assign(comparison="previous", from_visit="V4", **numbers),
        last.assign(comparison="nadir", from_visit="V3", **nadir),
    ]


def _published(changes: pd.DataFrame) -> pd.DataFrame:
    last = changes[changes["lesion_id"].isna() & (changes["to_visit"] == "V5")]
    rule = "agatston:v1;limit=sevrukov-2005:4.930*sqrt(before),from-zero:11.6"
    return last.assign(quantity="agatston", rule_id=rule, unit="1", detectable=150.0)


def _scores() -> pd.DataFrame:
    """Return a score of two readers, and another of one."""
    rows = [
        {"patient_id": "P001", "years": years, "date": pd.Timestamp(made.FIRST_DAY) + pd.Timedelta(days=365.25 * years),
         "quantity": quantity, "value": value, "unit": "1", "reader": reader, "compartment": "total"}
        for quantity, reader, course in (
            ("CDASI damage", "reader A", [(0.0, 6.0), (0.7, 7.0), (2.2, 9.0)]),
            ("CDASI damage", "reader B", [(0.0, 5.0), (2.2, 8.0)]),
            ("CHAQ", "reader A", [(0.0, 1.25), (2.2, 0.5)]),
        )
        for years, value in course
    ]  # fmt: skip
    return tables.check(pd.DataFrame(rows), "scores")


def large_tables(lesions: int = 50, visits: int = 8) -> dict[str, pd.DataFrame]:
    """Return a study of one patient, P001, with many lesions, and all comparisons of each."""
    rng = np.random.default_rng(8)
    found: dict[str, list[dict]] = {name: [] for name in tables.SCHEMAS}
    scans = [made._visit("P001", number, 0.5 * number, n_lesions=lesions) for number in range(visits)]
    volumes = rng.lognormal(4, 1, lesions)[:, None] * np.exp(rng.normal(0.02, 0.05, (lesions, visits)).cumsum(axis=1))
    for number, scan in enumerate(scans):
        found["lesions"] += [
            made._lesion(scan, one + 1, "stable" if number else "baseline", float(volumes[one, number]))
            for one in range(lesions)
        ]
        found["burden"] += made._burden("P001", scan, *[float(volumes[:, number].sum())] * 2)
        for kind, start in (("baseline", 0), ("previous", number - 1), ("nadir", 0)):
            if number == 0:
                continue
            pair = (scans[start], scan, kind)
            for quantity in ("volume_mm3", "excess_hu_mm3", "mass_mg"):
                found["changes"].append(
                    made._change("P001", pair, tuple(volumes[:, [start, number]].sum(axis=0)), compartment="total")
                    | {"quantity": quantity}
                )
                found["changes"] += [
                    made._change("P001", pair, tuple(volumes[one, [start, number]]), lesion_id=one + 1)
                    | {"quantity": quantity}
                    for one in range(lesions)
                ]
    found["visits"] = scans
    found["patients"] = [{"patient_id": "P001", "condition": "JDM", "baseline_visit_id": "V1"}]
    found["lineage"] = [
        {"patient_id": "P001", "visit_id": "V3", "lesion_id": 5, "kind": "merged", "into_lesion_id": 1},
        {"patient_id": "P001", "visit_id": "V4", "lesion_id": 7, "kind": "split", "from_lesion_id": 2},
    ]
    return {name: tables.check(pd.DataFrame(rows), name) for name, rows in found.items()}


def write(folder: Path, found: dict[str, pd.DataFrame], pictures: dict[str, bytes] | None = None) -> Path:
    """Publish tables, with pictures by their path below ``images``."""
    aside = folder.parent / f"{folder.name}-pictures"
    images = {}
    for number, (name, content) in enumerate((pictures or {}).items()):
        images[name] = aside / f"{number}.png"
        images[name].parent.mkdir(parents=True, exist_ok=True)
        images[name].write_bytes(content)
    with store.locked(folder):
        store.publish(folder, found, images, {"software": {"name": "calcitrack", "version": "0.1.0"}})
    return folder
