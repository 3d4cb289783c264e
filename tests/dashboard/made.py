"""A small made-up results folder: every state that the page must show, and no measurement behind it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from monitor import store, tables

FIRST_DAY = date(2023, 3, 6)

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
"""A picture of one pixel."""

P001_VOLUMES = {
    1: [410.0, 455.0, 520.0, 640.0, 742.0],
    2: [210.0, 150.0, 84.0, 22.0, 0.0],
    3: [96.0, 99.0, 94.0, 97.0, 101.0],
    4: [None, None, 38.0, 71.0, 122.0],
    5: [55.0, 60.0, None, None, None],
    6: [31.0, 30.0, 33.0, np.nan, 34.0],
    7: [None, None, None, 48.0, 64.0],
    12: [18.0, 17.0, 19.0, 18.0, np.nan],
}
"""Volumes of the lesions of P001, mm³: None where it has no row, NaN where it was not in the field."""

P001_STATUS = {
    1: ["baseline", "stable", "grown", "grown", "grown"],
    2: ["baseline", "shrunk", "shrunk", "shrunk", "resolved"],
    3: ["baseline", "stable", "stable", "stable", "stable"],
    4: [None, None, "new", "grown", "grown"],
    5: ["baseline", "stable", "merged", None, None],
    6: ["baseline", "stable", "stable", "not_in_field", "stable"],
    7: [None, None, None, "split", "grown"],
    12: ["baseline", "stable", "stable", "stable", "not_in_field"],
}

P001_YEARS = [-0.42, 0.0, 0.61, 1.36, 2.18]

PLACES = {1: "thigh", 2: "thigh", 3: "knee", 4: "calf", 5: "thigh", 6: "calf", 7: "thigh", 12: "foot"}


def write_results(folder: Path, pictures: dict[str, bytes] | None = None, *, more_patients: int = 3) -> Path:
    """Publish a made-up results folder, with pictures by their path below ``images``."""
    aside = folder.parent / f"{folder.name}-pictures"
    images = {}
    for number, (name, content) in enumerate((pictures or {}).items()):
        images[name] = aside / f"{number}.png"
        images[name].parent.mkdir(parents=True, exist_ok=True)
        images[name].write_bytes(content)
    run = {"software": {"name": "calcitrack", "version": "0.1.0"}, "ended": "2026-11-23T08:12:00+00:00"}
    with store.locked(folder):
        store.publish(folder, made_tables(more_patients), images, run)
    return folder


def write_empty(folder: Path) -> Path:
    """Publish results in which nobody was measured."""
    with store.locked(folder):
        store.publish(folder, {name: tables.empty(name) for name in tables.SCHEMAS}, {}, {})
    return folder


def made_tables(more_patients: int = 3) -> dict[str, pd.DataFrame]:
    """Return every table, checked."""
    courses = [_p001(), *_simple(more_patients)]
    rows: dict[str, list[dict]] = {name: [] for name in tables.SCHEMAS}
    for course in courses:
        for name, found in course.items():
            rows[name] += found
    rows["refused"] += [
        _refusal("P002", "V5", "slice-gap", "slice spacing is not uniform: 2.5 mm to 5.0 mm"),
        _refusal("P900", "V1", "no-pixels", "the folder holds no image: only a structured report"),
    ]
    rows["patients"].append({"patient_id": "P900", "condition": "AHO"})
    return {name: tables.check(pd.DataFrame(found), name) for name, found in rows.items()}


def _refusal(patient: str, visit: str, code: str, message: str) -> dict:
    return {
        "patient_id": patient, "visit_id": visit, "scan_id": "S1", "path": f"dicom/{patient}/{visit}",
        "code": code, "message": message,
    }  # fmt: skip


def _visit(patient: str, number: int, years: float, **more: object) -> dict:
    return {
        "patient_id": patient, "visit_id": f"V{number + 1}", "scan_id": "S1", "date": _day(years), "years": years,
        "modality": "CT", "region": "lower limbs", "kvp": 120.0, "kernel": "Br40", "slice_thickness_mm": 1.5,
        "slice_increment_mm": 1.0, "contrast": "none", "noise_hu": 16.0 + number, "threshold_hu": 132.0,
        "lod_mm3": 3.4 + 0.2 * number, "residual_mm": np.nan if number == 0 else 0.4 + 0.1 * number, "in_field": 1.0,
        "comparable": True, "comparable_why": "", "reference_visit_id": "V2", "registration": "rigid, spline",
        **more,
    }  # fmt: skip


def _day(years: float) -> str:
    return (FIRST_DAY + timedelta(days=round(365.25 * years))).isoformat()


def _burden(patient: str, visit: dict, volume: float, observed: float, *, sd: float = 0.03) -> list[dict]:
    rows = []
    per_mm3 = {"volume_mm3": (1.0, "mm3"), "excess_hu_mm3": (430.0, "HU mm3"), "mass_mg": (0.33, "mg"),
               "agatston": (1.25, "1")}  # fmt: skip
    for quantity, (factor, unit) in per_mm3.items():
        value = factor * volume
        limits = {"lo": value * (1 - 2 * sd), "hi": value * (1 + 2 * sd)} if quantity != "agatston" else {}
        for compartment, share in (("total", 1.0), ("thigh", 0.7), ("calf", 0.3)):
            rows.append({
                "patient_id": patient, "visit_id": visit["visit_id"], "date": visit["date"], "years": visit["years"],
                "compartment": compartment, "quantity": quantity, "value": share * value,
                **{name: share * limit for name, limit in limits.items()}, "unit": unit, "rule_id": f"{quantity}:v1",
                "evaluable": 1.0 if np.isfinite(volume) else 0.83, "value_observed": share * factor * observed,
            })  # fmt: skip
    return rows


def _change(patient: str, pair: tuple[dict, dict, str], amounts: tuple[float, float], **about: object) -> dict:
    one, two, comparison = pair
    before, after = amounts
    change, least = after - before, 1.96 * 0.05 * max(before, after) + 4.0
    if not two["comparable"] or np.isnan(change):
        verdict, why = "not_comparable", two["comparable_why"] or "an amount is missing"
    elif abs(change) <= least:
        verdict, why = "no_detectable_change", "within the smallest detectable change"
    else:
        verdict, why = "increased" if change > 0 else "decreased", "beyond the smallest detectable change"
    years = two["years"] - one["years"]
    return {
        "patient_id": patient, "from_visit": one["visit_id"], "to_visit": two["visit_id"], "comparison": comparison,
        "quantity": "volume_mm3", "rule_id": "volume:v1", "unit": "mm3", "before": before, "after": after,
        "change": change, "lo": change - least, "hi": change + least, "detectable": least, "verdict": verdict,
        "change_pct": 100 * change / before if before > 0 else np.nan, "change_per_year": change / years, "why": why,
        **about,
    }  # fmt: skip


def _p001() -> dict[str, list[dict]]:
    patient = "P001"
    unlike = {"comparable": False, "comparable_why": "kernel Br40 and Br64", "kernel": "Br64"}
    visits = [_visit(patient, n, y, **(unlike if n == 2 else {})) for n, y in enumerate(P001_YEARS)]
    visits[3]["in_field"] = 0.91
    lesions = [
        _lesion(visits[n], lesion, status, P001_VOLUMES[lesion][n])
        for lesion, course in P001_STATUS.items()
        for n, status in enumerate(course)
        if status is not None
    ]
    found = pd.DataFrame(lesions)
    burden, changes = [], []
    totals = {}
    for number, visit in enumerate(visits):
        own = found[found["visit_id"] == visit["visit_id"]]
        visit["n_lesions"] = int((own["volume_mm3"] > 0).sum())
        observed = float(own["volume_mm3"].sum())
        totals[number] = observed
        burden += _burden(patient, visit, np.nan if number == 3 else observed, observed)
    for number in (2, 3, 4):
        pair = (visits[1], visits[number], "baseline")
        changes.append(_change(patient, pair, (totals[1], totals[number]), compartment="total"))
    for lesion, volumes in P001_VOLUMES.items():
        changes += _lesion_changes(patient, visits, lesion, volumes)
    return {
        "visits": visits, "lesions": lesions, "burden": burden, "changes": changes,
        "patients": [{"patient_id": patient, "condition": "JDM", "arm": "A", "site": "01", "sex": "F",
                      "baseline_visit_id": "V2", "treated_from_years": 0.08}],
        "events": [
            {"patient_id": patient, "date": _day(0.08), "years": 0.08, "kind": "treatment", "name": "thiosulfate",
             "end_years": 1.1},
            {"patient_id": patient, "date": _day(0.9), "years": 0.9, "kind": "treatment", "name": "pamidronate"},
            {"patient_id": patient, "date": _day(1.6), "years": 1.6, "kind": "surgery", "name": "excision"},
            {"patient_id": patient, "date": _day(0.3), "years": 0.3, "kind": "flare", "name": "flare"},
        ],
        "lineage": [
            {"patient_id": patient, "visit_id": "V3", "lesion_id": 5, "kind": "merged", "into_lesion_id": 1},
            {"patient_id": patient, "visit_id": "V4", "lesion_id": 7, "kind": "split", "from_lesion_id": 1},
        ],
        "trends": [
            {"level": "patient", "patient_id": patient, "compartment": "total", "quantity": "volume_mm3",
             "scale": "absolute", "model": "line", "term": term, "estimate": value, "lo": value - 40,
             "hi": value + 40, "unit": unit, "n_visits": 4, "n_patients": 1, "time_origin": "baseline"}
            for term, value, unit in (("rate", 92.0, "mm3/a"), ("level", 815.0, "mm3"))
        ],
    }  # fmt: skip


def _lesion(visit: dict, lesion: int, status: str, volume: float | None) -> dict:
    volume = np.nan if volume is None or status in {"merged", "not_in_field"} else volume
    high = visit["lod_mm3"] if status == "resolved" else volume * 1.07
    return {
        "patient_id": visit["patient_id"], "visit_id": visit["visit_id"], "date": visit["date"],
        "years": visit["years"], "lesion_id": lesion, "status": status, "volume_mm3": volume,
        "volume_lo_mm3": volume * 0.93, "volume_hi_mm3": high, "compartment": PLACES.get(lesion, "thigh"),
        "side": "left", "mean_hu": np.nan if status == "resolved" else 410.0, "calibration": "nominal",
        "x_mm": 60.0, "y_mm": 4.0, "z_mm": 20.0 + lesion,
    }  # fmt: skip


def _lesion_changes(patient: str, visits: list[dict], lesion: int, volumes: list) -> list[dict]:
    seen = [n for n, volume in enumerate(volumes) if volume is not None]
    rows = [(n - 1, n, "previous") for n in seen if n - 1 in seen]
    rows += [(1, n, "baseline") for n in seen if n > 1 and 1 in seen]
    return [
        _change(patient, (visits[a], visits[b], kind), (volumes[a], volumes[b]), lesion_id=lesion)
        for a, b, kind in rows
    ]


def _simple(count: int) -> list[dict[str, list[dict]]]:
    """Return a falling course, a patient with one visit, one without lesions, then as many as wanted."""
    rng = np.random.default_rng(3)
    courses = [
        _course("P002", [0.0, 0.5, 1.1, 1.9], [1460.0, 1220.0, 880.0, 610.0], "JDM", "B"),
        _course("P003", [0.0], [230.0], "GACI", ""),
        _course("P004", [0.0, 1.0], [0.0, 0.0], "JDM", "A"),
    ]
    for number in range(count):
        visits = int(rng.integers(2, 7))
        years = np.cumsum(rng.uniform(0.3, 1.1, visits)) - 0.3
        size = float(rng.lognormal(6.6, 0.8)) * np.exp(rng.normal(0.12, 0.25) * years)
        volumes = size * rng.normal(1, 0.04, visits)
        condition = ("JDM", "GACI", "FOP")[number % 3]
        courses.append(
            _course(f"P{number + 5:03d}", list(years - years[0]), list(volumes), condition, "AB"[number % 2])
        )
    return courses


def _course(patient: str, years: list[float], volumes: list[float], condition: str, arm: str) -> dict[str, list[dict]]:
    visits = [_visit(patient, n, y, n_lesions=int(v > 0), reference_visit_id="V1")
              for n, (y, v) in enumerate(zip(years, volumes, strict=True))]  # fmt: skip
    lesions = [
        _lesion(visit, 1, "baseline" if number == 0 else "stable", volume)
        for number, (visit, volume) in enumerate(zip(visits, volumes, strict=True))
        if volume > 0
    ]
    burden = [row for visit, volume in zip(visits, volumes, strict=True)
              for row in _burden(patient, visit, volume, volume)]  # fmt: skip
    changes = [
        _change(patient, (visits[0], visit, "baseline"), (volumes[0], volume), compartment="total")
        for visit, volume in zip(visits[1:], volumes[1:], strict=True)
    ]
    about = {"patient_id": patient, "condition": condition, "arm": arm, "site": "01", "baseline_visit_id": "V1"}
    return {"visits": visits, "lesions": lesions, "burden": burden, "changes": changes, "patients": [about]}
