"""Which series of a visit to measure: the ones most alike over a patient's visits, and why the others are left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from monitor import change
from monitor._index.series import Series
from monitor._scan.rules import LEAST_SLICES

SHARP = re.compile(r"^(BONE|EDGE|LUNG|ULTRA|YA|YB|YC|YD|D$|E$|L$|FC[3589]\d|[BHIJU][RFVELP]?[5-9]\d)", re.IGNORECASE)
"""Kernels for bone and lung, by vendors' names: GE, Philips, Canon, Siemens (from 50 up)."""

THIN_MM, THICK_MM = 0.5, 3.0
"""Slices from the first to the second resolve small lesions without drowning them in noise, mm."""


def choose(series: Sequence[Series]) -> list[Series]:
    """Choose one series for each visit: of the recipe that most visits of the patient have, or the nearest to it."""
    picked: list[Series] = []
    for patient_id in sorted({one.patient_id for one in series}):
        own = [one for one in series if one.patient_id == patient_id]
        able = [one for one in own if one.kind == "axial_ct" and one.visit_id]
        visits = sorted({one.visit_id for one in able})
        at = {
            recipe: len({one.visit_id for one in able if one.recipe == recipe}) for recipe in {o.recipe for o in able}
        }
        best = max(able, key=lambda one: (at[one.recipe], *_merits(one)), default=None)
        for one in own:
            if best is None or one not in able:
                picked.append(replace(one, why=one.why or _LEFT[one.kind]))
                continue
            rivals = [other for other in able if other.visit_id == one.visit_id]
            first = max(rivals, key=lambda other: (_likeness(other, best), *_merits(other)))
            seen = f"this recipe is at {at[one.recipe]} of {len(visits)} visits"
            why = f"chosen: {seen}" if one is first else f"left: {_worse(one, first, best)}; {seen}"
            picked.append(replace(one, chosen=one is first, why=why))
    return sorted(
        picked, key=lambda one: (one.patient_id, one.day or date.max, one.number, one.kind, one.paths[0].name)
    )


_LEFT = {
    "axial_ct": "left: its day is not known",
    "localizer": "left: a localizer is no scan",
    "reformat": "left: reformatted from other slices",
    "dose_report": "left: a dose report",
    "secondary_capture": "left: a picture of a screen holds no HU",
    "no_ct": "left: not CT",
    "lossy": "left: stored with loss",
    "too_few_slices": f"left: fewer than {LEAST_SLICES} slices",
    "not_readable": "left: its headers break a rule",
}


def _merits(one: Series) -> tuple[object, ...]:
    """Return what makes a series good by itself, best first; numbers and place last, so that the choice is stable."""
    thickness = one.made.get("slice_thickness_mm")
    thin = isinstance(thickness, float) and THIN_MM <= thickness <= THICK_MM
    increment = one.made.get("slice_increment_mm")
    length = one.images * increment if isinstance(increment, float) else 0.0
    fine = -thickness if isinstance(thickness, float) else -THICK_MM
    return (
        one.made.get("contrast") != "iv",
        not _is_sharp(one),
        thin,
        round(length),
        fine,
        -one.number,
        one.paths[0].name,
    )


def _likeness(one: Series, best: Series) -> tuple[bool, ...]:
    """Return in what a series is as the best one, what weighs most first."""
    a, b = one.made.get("slice_thickness_mm"), best.made.get("slice_thickness_mm")
    alike = isinstance(a, float) and isinstance(b, float) and max(a, b) <= change.SLICE_RATIO * min(a, b)
    same = [x == y for x, y in zip(one.recipe, best.recipe, strict=True)]
    return same[0], same[1], same[2], same[3], alike, same[5]


def _worse(one: Series, first: Series, best: Series) -> str:
    """Return in words why another series of the visit was chosen."""
    words = ("body part", "contrast", "kernel", "tube voltage", "slice thickness", "manufacturer")
    for word, own, other in zip(words, _likeness(one, best), _likeness(first, best), strict=True):
        if own != other:
            return f"its {word} is less like that of the patient's other visits"
    merits = ("contrast in it", "a sharp kernel", "slices too thick or too thin", "a shorter field", "thicker slices")
    for word, value, better in zip(merits, _merits(one), _merits(first), strict=False):
        if value != better:
            return word
    return "another series of the same kind comes first"


def _is_sharp(one: Series) -> bool:
    return bool(SHARP.match(str(one.made.get("kernel", "")).strip()))
