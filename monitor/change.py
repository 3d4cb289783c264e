"""Whether two visits may be compared, and whether a change exceeds what measuring alone would show."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan, nan

import numpy as np
import pandas as pd

from monitor._change import voxels
from monitor._change.voxels import COLUMNS as EXCHANGED
from monitor._change.voxels import Side, exchange

__all__ = ["EXCHANGED", "Side", "comparable", "compare", "detectable", "exchange", "pairs", "presence_only"]

PARTS = (voxels,)
"""The modules of the package beside this one: their thresholds go into ``run.json``."""

Z95 = 1.959964
"""Normal quantile of two-sided 95 % limits."""

REPOSITION = 0.04
"""Relative SD between two scans of an unchanged lesion beside the error of each (pose, slices; phantom, 30 pairs)."""

SLICE_RATIO = 1.25
"""Slice thicknesses or increments apart by more than this factor are not compared (3 to 1 mm moved volumes by 47 %)."""

KVP_TOLERANCE = 1.0
"""Tube voltages further apart than this, kV, are not compared: the HU of calcium moves by 1 % a kV."""

PHASE_HU = 60.0
"""Blood of two enhanced scans further apart than this, HU, is of two phases: arterial is 100 HU and more above venous,
and what lies under the raised threshold differs."""

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
    found = [rule(one, two) for rule in (_kinds, _volts, _kernels, _slices, _steps, _makers, _agents)]
    against = [why for differs, why in found if differs]
    unknown = [why for differs, why in found if why and not differs]
    return not against, "; ".join(against or unknown)


_Found = tuple[bool, str]
"""Whether two scans differ so that amounts cannot be compared, and what differs or is unknown."""


def _kinds(one: Acquired, two: Acquired) -> _Found:
    a, b = (_text(each["modality"]) for each in (one, two))
    return a != b, f"modality {a} and {b}" if a != b else ""


def _volts(one: Acquired, two: Acquired) -> _Found:
    a, b = (_number(each["kvp"]) for each in (one, two))
    if isnan(a) or isnan(b):
        return False, "tube voltage unknown"
    apart = abs(a - b) > KVP_TOLERANCE
    return apart, f"tube voltage {a:g} and {b:g} kV" if apart else ""


def _kernels(one: Acquired, two: Acquired) -> _Found:
    a, b = (_text(each["kernel"]) for each in (one, two))
    if not (a and b):
        return False, "kernel unknown"
    return a != b, f"kernel {a} and {b}" if a != b else ""


def _slices(one: Acquired, two: Acquired) -> _Found:
    a, b = (_number(each["slice_thickness_mm"]) for each in (one, two))
    if isnan(a) or isnan(b):
        return False, "slice thickness unknown"
    apart = max(a, b) > SLICE_RATIO * min(a, b)
    return apart, f"slice thickness {a:g} and {b:g} mm" if apart else ""


def _steps(one: Acquired, two: Acquired) -> _Found:
    a, b = (_number(each.get("slice_increment_mm")) for each in (one, two))
    apart = max(a, b) > SLICE_RATIO * min(a, b)
    return apart, f"slice increment {a:g} and {b:g} mm" if apart else ""


def _makers(one: Acquired, two: Acquired) -> _Found:
    a, b = (_text(each.get("manufacturer")) for each in (one, two))
    apart = bool(a and b) and a.casefold() != b.casefold()
    return apart, f"manufacturer {a} and {b}" if apart else ""


def _agents(one: Acquired, two: Acquired) -> _Found:
    agents = {_agent(each) for each in (one, two)}
    if presence_only(one, two):
        seen = "" if "none" in agents else " seen"
        return True, f"contrast iv and none{seen}"
    a, b = (_number(each.get("blood_hu")) for each in (one, two))
    if agents == {"iv"} and not (isnan(a) or isnan(b)):
        apart = abs(a - b) > PHASE_HU
        return apart, f"contrast in {'other' if apart else 'both, same'} phase: blood {a:.0f} and {b:.0f} HU"
    if agents == {"iv"}:
        alone = isnan(a) != isnan(b)
        return alone, "contrast iv in both, seen in one" if alone else ""
    return False, "contrast unknown" if agents & {"unknown", "unseen"} else ""


def presence_only(one: Acquired, two: Acquired) -> bool:
    """Tell whether contrast medium is in one of two scans alone: a lesion is there or not, amounts say nothing.

    >>> plain = {"contrast": "unknown", "contrast_found": "none"}
    >>> presence_only(plain, {"contrast": "unknown", "contrast_found": "iv"}), presence_only(plain, plain)
    (True, False)
    """
    agents = {_agent(each) for each in (one, two)}
    return "iv" in agents and bool(agents & {"none", "unseen"})


def _agent(one: Acquired) -> str:
    """Return iv, none, unseen (the header is silent and the image shows none) or unknown; the image wins."""
    said, found = _text(one["contrast"]), _text(one.get("contrast_found"))
    if found == "iv" or said in ("iv", "none"):
        return "iv" if found == "iv" else said
    return "unseen" if found == "none" else "unknown"


def detectable(before_sd: float, after_sd: float, before: float, after: float) -> float:
    """Return the smallest change that counts: 1.96 SDs of both errors and of repositioning, in quadrature.

    >>> round(detectable(3.0, 4.0, 0.0, 0.0), 2)
    9.8
    """
    between = REPOSITION * float(np.hypot(before, after)) / np.sqrt(2)
    return float(Z95 * np.sqrt(before_sd**2 + after_sd**2 + between**2))


def compare(
    before: dict[str, float],
    after: dict[str, float],
    *,
    years: float,
    may: tuple[bool, str] = (True, ""),
    presence: bool = False,
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
    presence : bool
        Of ``presence_only``: then no change is given as a number.

    Returns
    -------
    dict
        The numeric columns of table ``changes``, ``verdict`` and ``why``.
    """
    change = nan if presence else after["value"] - before["value"]
    least = nan if presence else detectable(before["sd"], after["sd"], before["value"], after["value"])
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
    if presence:
        may = may[0], f"{may[1]}: presence or absence only"
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
