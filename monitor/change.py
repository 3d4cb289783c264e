"""Whether two visits may be compared, and whether a change exceeds what measuring alone would show."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan, nan

import numpy as np
import pandas as pd
from scipy import stats

from monitor._change import voxels
from monitor._change.published import PRESETS, USUAL_MASS_INDEX
from monitor._change.voxels import COLUMNS as EXCHANGED
from monitor._change.voxels import Side, exchange

__all__ = [
    "EXCHANGED",
    "PUBLISHED",
    "Side",
    "alarms",
    "by_published",
    "carried",
    "coarser_would_do",
    "comparable",
    "compare",
    "exchange",
    "kernels_differ",
    "pairs",
    "presence_only",
    "spread",
]

PARTS = (voxels,)
"""The modules of the package beside this one: their thresholds go into ``run.json``."""

Z95 = 1.959964
"""Normal quantile of two-sided 95 % limits."""

FALSE_ALARMS = 0.05
"""Share of patients without any change in whom one is called, over all lesions and follow-ups."""

SUMS = 0.5
"""How much of that sums may take: one question is asked of the whole patient, many of the lesions."""

UNRESOLVED_SHARE = 0.1
"""Share of a sum's excess in lesions whose volume is not resolved, from which the excess carries its change."""

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
    found = [rule(one, two) for rule in _RULES]
    against = [why for differs, why in found if differs]
    unknown = [why for differs, why in found if why and not differs]
    return not against, "; ".join(against or unknown)


def coarser_would_do(one: Acquired, two: Acquired) -> bool:
    """Tell whether two scans that may not be compared differ in nothing but kernel and slices.

    >>> a = {"modality": "CT", "kvp": 120.0, "kernel": "B30", "slice_thickness_mm": 1.0, "contrast": "none"}
    >>> b = {**a, "slice_thickness_mm": 3.0}
    >>> coarser_would_do(a, b), coarser_would_do(a, a), coarser_would_do(a, {**b, "kvp": 80.0})
    (True, False, False)
    """
    against = [rule for rule in _RULES if rule(one, two)[0]]
    return bool(against) and set(against) <= {_kernels, _slices, _steps}


def kernels_differ(one: Acquired, two: Acquired) -> bool:
    """Tell whether two known kernels are not the same."""
    return _kernels(one, two)[0]


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


_RULES = (_kinds, _volts, _kernels, _slices, _steps, _makers, _agents)
"""What two scans must share."""


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


def alarms(rows: int, follow_up: int, starts: int = 1) -> float:
    """Return how often one of several comparisons at a follow-up may be wrong, so that all are as rarely as one.

    Follow-up k takes 6 / (pi k)² of all: a sum that is 1 over any number of them, and no verdict changes when another
    scan is made. Within it sums and lesions share evenly (Bonferroni).

    Parameters
    ----------
    rows : int
        How many lesions, or how many sums, are compared.
    follow_up : int
        From 1 on.
    starts : int
        With how many earlier visits each is compared.

    Examples
    --------
    >>> round(alarms(1, 1), 4), round(alarms(10, 1), 5), round(alarms(1, 2), 4)
    (0.0152, 0.00152, 0.0038)
    """
    return FALSE_ALARMS * SUMS * 6 / (np.pi * follow_up) ** 2 / max(rows, 1) / max(starts, 1)


def spread(before: Mapping[str, float], after: Mapping[str, float], *, alike: bool) -> float:
    """Return the SD of a difference between two scans in which nothing has changed.

    What errs alike in both cancels where both were made alike: then each has its ``repeat_sd``, else its whole ``sd``.

    >>> amount = {"value": 0.0, "sd": 30.0, "repeat_sd": 3.0}
    >>> round(spread(amount, amount | {"repeat_sd": 4.0}, alike=True), 2), round(spread(amount, amount, alike=False), 1)
    (5.0, 42.4)
    """
    errors = [one.get("repeat_sd", one["sd"]) if alike else one["sd"] for one in (before, after)]
    return float(np.hypot(errors[0], errors[1]))


def compare(
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    years: float,
    may: tuple[bool, str] = (True, ""),
    presence: bool = False,
    alarms: float = FALSE_ALARMS,
) -> dict[str, object]:
    """Compare one amount at two visits.

    Parameters
    ----------
    before, after : mapping
        Each ``value`` and ``sd``, and ``repeat_sd``: what differs from scan to scan; all in the same unit.
    years : float
        Time between.
    may : (bool, str)
        Of ``comparable``.
    presence : bool
        Of ``presence_only``: then no change is given as a number.
    alarms : float
        How often a verdict may be wrong where nothing has changed; see ``alarms``.

    Returns
    -------
    dict
        The numeric columns of table ``changes``, ``verdict`` and ``why``. ``lo`` and ``hi`` are the 95 % limits of this
        one change; ``detectable`` is larger where many comparisons are made.
    """
    change = nan if presence else after["value"] - before["value"]
    sd = nan if presence else spread(before, after, alike=may == (True, ""))
    least = float(stats.norm.isf(alarms / 2)) * sd
    limits = {"lo": change - Z95 * sd, "hi": change + Z95 * sd, "detectable": least}
    if presence:
        may = may[0], f"{may[1]}: presence or absence only"
    numbers = _numbers(before["value"], after["value"], change, years)
    return {**numbers, **limits, **_verdict(change, Z95 * sd, least, may)}


def _numbers(before: float, after: float, change: float, years: float) -> dict[str, object]:
    return {
        "before": before,
        "after": after,
        "change": change,
        "change_pct": 100 * change / before if before > 0 else nan,
        "change_per_year": change / years if years > 0 else nan,
    }


def _verdict(change: float, alone: float, least: float, may: tuple[bool, str]) -> dict[str, object]:
    allowed, why = may
    if not allowed:
        return {"verdict": "not_comparable", "why": why}
    if isnan(change) or isnan(least):
        return {"verdict": "not_comparable", "why": "; ".join(filter(None, ["an amount is missing", why]))}
    note = f"; {why}" if why else ""
    if abs(change) <= least:
        among = ": one of several comparisons may come so far by chance" if abs(change) > alone else ""
        return {"verdict": "no_detectable_change", "why": f"within the smallest detectable change{among}{note}"}
    word = "increased" if change > 0 else "decreased"
    return {"verdict": word, "why": f"beyond the smallest detectable change{note}"}


def carried(volume: dict[str, object], excess: dict[str, object]) -> dict[str, object]:
    """Return the comparison of volumes that are not resolved: its numbers, and the verdict of the excess.

    A lesion thinner than the blur could as well be thinner and denser; how much mineral it holds is known all the same.
    """
    judged = "" if excess["verdict"] == "not_comparable" else "volume not resolved, judged by the excess: "
    return {**volume, "verdict": excess["verdict"], "why": f"{judged}{excess['why']}"}


PUBLISHED = tuple(PRESETS)
"""Quantities that have published limits."""


def by_published(
    quantity: str,
    before: float,
    after: float,
    *,
    years: float,
    mass_index: float = nan,
    may: tuple[bool, str] = (True, ""),
    presence: bool = False,
) -> list[dict[str, object]]:
    """Compare a total with each published limit of its quantity; see ``monitor._change.published``.

    Returns
    -------
    list of dict
        As ``compare`` returns, and ``rule``: the limit's name. ``lo`` and ``hi`` are those of the limit.

    Examples
    --------
    >>> [(one["rule"][:8], one["verdict"]) for one in by_published("agatston", 100.0, 140.0, years=1.0)]
    [('sevrukov', 'no_detectable_change'), ('mesa-chu', 'no_detectable_change'), ('calliste', 'increased')]
    """
    known = not isnan(mass_index)
    found = []
    for preset in PRESETS[quantity].values():
        change = nan if presence else after - before
        least = nan if isnan(change) else preset.least(before, after, mass_index if known else USUAL_MASS_INDEX)
        assumed = "" if known or "BMI" not in preset.rule else f"body-mass index taken as {USUAL_MASS_INDEX:g}"
        allowed, why = may
        note = "; ".join(filter(None, [why, assumed])) if allowed else why
        found.append(
            {
                "rule": preset.rule,
                **_numbers(before, after, change, years),
                "lo": change - least,
                "hi": change + least,
                "detectable": least,
                **_verdict(change, least, least, (allowed, note)),
            }
        )
    return found


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
