"""A patient whom a page has hardly room for: fifty lesions, twelve visits, long words everywhere."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from monitor import store, tables
from tests.dashboard import made

VISITS, LESIONS = 12, 50
LONG = "a condition whose name goes on and on, of the kind that a registry gives when nobody stops it, " * 3


def png(width: int, height: int) -> bytes:
    """Return a grey picture of this size."""
    out = BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(out, "PNG")
    return out.getvalue()


def crowded(folder: Path, *, frame: bool = True) -> Path:
    """Publish results of the patient ``P1``, with pictures of every lesion."""
    size, name = ((608, 220), "frame") if frame else ((500, 530), "lesion")
    content = png(*size)
    images = {f"P1/V{visit}/{name}_{lesion:04d}.png": content for visit in (2, 12) for lesion in range(1, LESIONS + 1)}
    aside = folder.parent / f"{folder.name}-aside"
    aside.mkdir(parents=True, exist_ok=True)
    (aside / "one.png").write_bytes(content)
    run = {
        "software": {"name": "calcitrack", "version": "0.1.0", "source": "c0ffee" * 10},
        "ended": "2026-11-23T08:12:00+00:00",
        "parameters": {"lesions": {"LEAST": "2.0", "PARTS": "<module 'x' from '/home/someone'>"}},
    }
    with store.locked(folder):
        store.publish(folder, rows(), dict.fromkeys(images, aside / "one.png"), run)
    return folder


def rows() -> dict[str, pd.DataFrame]:
    """Return its tables."""
    rng = np.random.default_rng(8)
    start = made.made_tables(0)
    days = [{"visit_id": f"V{n + 1}", "date": f"20{10 + n}-0{1 + n % 9}-01", "years": n - 1.0} for n in range(VISITS)]
    found: dict[str, list[dict]] = {name: [] for name in tables.SCHEMAS}
    about = {"patient_id": "P1"}
    sizes = rng.lognormal(4, 1, LESIONS)
    for n, day in enumerate(days):
        total = float(sizes.sum() * (1 + 0.05 * n))
        found["visits"].append({**about, **day, "scan_id": "S1", "modality": "CT", "kvp": 120.0 - 20 * (n % 2),
                                "kernel": LONG[:40] + str(n), "slice_thickness_mm": 1.0 + n, "contrast": "none",
                                "slice_increment_mm": 1.0, "noise_hu": 10.0 + n, "lod_mm3": 3.0, "dlp_mgy_cm": 100.0,
                                "residual_mm": 0.4, "comparable": n % 3 != 2, "n_lesions": LESIONS,
                                "comparable_why": LONG if n % 3 == 2 else ""})  # fmt: skip
        for name, factor, unit in (("volume_mm3", 1.0, "mm3"), ("excess_hu_mm3", 400.0, "HU mm3")):
            value = total * factor
            found["burden"].append({**about, **day, "compartment": "total", "quantity": name, "value": value,
                                    "lo": 0.9 * value, "hi": 1.1 * value, "unit": unit, "evaluable": 1.0,
                                    "value_observed": value, "rule_id": f"{name}:v1"})  # fmt: skip
            change = {**about, "from_visit": "V2", "to_visit": day["visit_id"], "comparison": "baseline",
                      "quantity": name, "unit": unit, "before": value, "after": value, "change": 0.1 * value,
                      "lo": 0.0, "hi": 0.2 * value, "detectable": 0.05 * value, "change_pct": 10.0,
                      "verdict": "increased", "why": LONG}  # fmt: skip
            if n > 1:
                found["changes"].append({**change, "compartment": "total"})
                limited = {"rule_id": f"{name}:v1;limit=callister-1998:15%", "verdict": "no_detectable_change"}
                found["changes"].append({**change, "compartment": "total", "comparison": "baseline", **limited})
                if name == "volume_mm3":
                    found["changes"] += [{**change, "lesion_id": i + 1, "change": float(i)} for i in range(LESIONS)]
        for i, size in enumerate(sizes):
            volume = float(size * (1 + 0.05 * n))
            found["lesions"].append({**about, **day, "lesion_id": i + 1, "status": "stable", "volume_mm3": volume,
                                     "volume_lo_mm3": volume * 0.9, "volume_hi_mm3": volume * 1.1, "side": "left",
                                     "compartment": "muscle_or_fascia", "link_score": 0.9})  # fmt: skip
    for n in range(9):
        found["events"].append({**about, "date": f"201{n}-02-03", "years": float(n), "kind": "treatment",
                                "name": f"{n} {LONG}"})  # fmt: skip
    found["events"].append({**about, "date": "2015-02-03", "years": 4.0, "kind": "flare", "name": LONG})
    found["patients"].append({**about, "condition": LONG, "arm": LONG, "site": LONG, "sex": "F",
                              "baseline_visit_id": "V2", "age_years": 7.25})  # fmt: skip
    found["refused"].append({**about, "visit_id": "V13", "code": "gap", "message": LONG})
    found["selftest"].append({**about, "why": LONG})
    found["scores"].append({**about, "date": "2014-01-01", "years": 3.0, "quantity": "cdasi_damage", "value": 7.0,
                            "unit": "1", "compartment": "total", "reader": "R2", "source": "clinic"})  # fmt: skip
    assert set(found) == set(start)
    return {name: tables.check(pd.DataFrame(own), name) for name, own in found.items()}
