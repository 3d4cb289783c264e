"""Whether two visits may be compared, and whether a change exceeds what measuring alone would show."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan, nan

import numpy as np
import pandas as pd

Z95 = 1.959964
"""Normal quantile of two-sided 95 % limits."""

REPOSITION = 0.04
"""Relative SD between two scans of an unchanged lesion beside the error of each (pose, slices; phantom, 30 pairs)."""

SLICE_RATIO = 1.25
"""Slice thicknesses, or slice increments, that differ by more than this factor are not compared (3 to 1 mm moved volumes by 47 %)."""

KVP_TOLERANCE = 1.0
"""Tube voltages further apart than this, kV, are not compared: the HU of calcium moves by 1 % a kV."""

Acquired = Mapping[str, str | float | None]
"""A row of table ``visits`` as a dict."""


def comparable(one: Acquired, two: Acquired) -> tuple[bool, str]:
    """Tell whether amounts of two scans may be compared, from how they were acquired alone.

    Returns
    -------
    (bool, str)
        The answer, and why not or what is unknown; unknown is never a reason to refuse.

    Examples
    --------
    >>> a = {"modality": "CT", "kvp": 120.0, "kernel": "B30", "slice_thickness_mm": 1.0, "contrast": "none"}
    >>> comparable(a, {**a, "kvp": 80.0})
    (False, 'tube voltage 120 and 80 kV')
    >>> comparable(a, {**a, "kernel": ""})
    (True, 'kernel unknown')
    """
    against, unknown = [], []
    kinds = (_text(one["modality"]), _text(two["modality"]))
    if kinds[0] != kinds[1]:
        against.append(f"modality {kinds[0]} and {kinds[1]}")
    volts = (_number(one["kvp"]), _number(two["kvp"]))
    if any(isnan(v) for v in volts):
        unknown.append("tube voltage unknown")
    elif abs(volts[0] - volts[1]) > KVP_TOLERANCE:
        against.append(f"tube voltage {volts[0]:g} and {volts[1]:g} kV")
    kernels = (_text(one["kernel"]), _text(two["kernel"]))
    if not all(kernels):
        unknown.append("kernel unknown")
    elif kernels[0] != kernels[1]:
        against.append(f"kernel {kernels[0]} and {kernels[1]}")
    slices = (_number(one["slice_thickness_mm"]), _number(two["slice_thickness_mm"]))
    if any(isnan(s) for s in slices):
        unknown.append("slice thickness unknown")
    elif max(slices) > SLICE_RATIO * min(slices):
        against.append(f"slice thickness {slices[0]:g} and {slices[1]:g} mm")
    steps = [_number(each.get("slice_increment_mm")) for each in (one, two)]
    if max(steps) > SLICE_RATIO * min(steps):
        against.append(f"slice increment {steps[0]:g} and {steps[1]:g} mm")
    makers = [_text(each.get("manufacturer")) for each in (one, two)]
    if all(makers) and makers[0].casefold() != makers[1].casefold():
        against.append(f"manufacturer {makers[0]} and {makers[1]}")
    agents = {_text(one["contrast"]) or "unknown", _text(two["contrast"]) or "unknown"}
    if agents == {"iv", "none"}:
        against.append("contrast iv and none")
    elif "unknown" in agents:
        unknown.append("contrast unknown")
    return not against, "; ".join(against or unknown)


def detectable(before_sd: float, after_sd: float, before: float, after: float) -> float:
    """Return the smallest change that counts: 1.96 SDs of both errors and of repositioning, in quadrature.

    >>> round(detectable(3.0, 4.0, 0.0, 0.0), 2)
    9.8
    """
    between = REPOSITION * float(np.hypot(before, after)) / np.sqrt(2)
    return float(Z95 * np.sqrt(before_sd**2 + after_sd**2 + between**2))


def compare(
    before: dict[str, float], after: dict[str, float], *, years: float, may: tuple[bool, str] = (True, "")
) -> dict[str, object]:
    """Compare one amount at two visits.

    Parameters
    ----------
    before, after : dict
        Each ``value`` and ``sd``, in the same unit.
    years : float
        Time between.
    may : (bool, str)
        Of ``comparable``.

    Returns
    -------
    dict
        The numeric columns of table ``changes``, ``verdict`` and ``why``.
    """
    change = after["value"] - before["value"]
    least = detectable(before["sd"], after["sd"], before["value"], after["value"])
    amounts: dict[str, object] = {
        "before": before["value"],
        "after": after["value"],
        "change": change,
        "lo": change - least,
        "hi": change + least,
        "change_pct": 100 * change / before["value"] if before["value"] > 0 else nan,
        "change_per_year": change / years if years > 0 else nan,
        "detectable": least,
    }
    return {**amounts, **_verdict(change, least, may)}


def _verdict(change: float, least: float, may: tuple[bool, str]) -> dict[str, object]:
    allowed, why = may
    if not allowed:
        return {"verdict": "not_comparable", "why": why}
    if isnan(change) or isnan(least):
        return {"verdict": "not_comparable", "why": "; ".join(filter(None, ["an amount is missing", why]))}
    note = f"; {why}" if why else ""
    if abs(change) <= least:
        return {"verdict": "no_detectable_change", "why": f"within the smallest detectable change{note}"}
    word = "increased" if change > 0 else "decreased"
    return {"verdict": word, "why": f"beyond the smallest detectable change{note}"}


def pairs(visits: pd.DataFrame, totals: dict[str, float]) -> list[tuple[str, str, str]]:
    """Return (from, to, comparison) for baseline, previous and nadir.

    Parameters
    ----------
    visits : DataFrame
        Rows of one patient in order of date: visit_id, years.
    totals : dict
        Total volume by visit_id, NaN where it was not evaluable; the nadir is the least at or after the baseline.
    """
    found: list[tuple[str, str, str]] = []
    ids, years = visits["visit_id"].tolist(), visits["years"].tolist()
    baseline = ids[int(np.argmin(np.abs(years)))] if ids else ""
    for number, visit in enumerate(ids[1:], start=1):
        found.append((ids[number - 1], visit, "previous"))
        if years[number] <= 0:
            continue
        found.append((baseline, visit, "baseline"))
        earlier = [v for v, t in zip(ids[:number], years, strict=False) if t >= 0 and not isnan(totals.get(v, nan))]
        if earlier:
            found.append((min(earlier, key=lambda v: totals[v]), visit, "nadir"))
    return found


def _number(value: str | float | None) -> float:
    return nan if value is None or pd.isna(value) else float(value)


def _text(value: str | float | None) -> str:
    return "" if value is None or pd.isna(value) else str(value)
