"""What the line says of lesions whose change is known: a row for each lesion and situation."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
import pandas as pd

from monitor import grid, store, tables
from monitor._selftest.inserted import Painted
from monitor._selftest.visits import BEFORE, Made
from monitor.store import Results

OWN, NOWHERE = "own", "nothing"
"""Kinds of rows beside those of inserted lesions: the patient's own, unchanged; what was called new where none is."""

SAME = 0.02
"""Amounts that truly differ by less than this share are the same: one lesion drawn on other voxels."""

QUANTITIES = {"volume_mm3": ("", "mm3"), "excess_hu_mm3": ("excess_", "hu_mm3")}
"""Quantities, and how their columns begin and end."""

NOT_COMPARABLE = "not_comparable"
"""Verdict on scans that are too unlike."""

CALLED_NEW = "new"
"""What a lesion is called that has come."""


def judged(made: Made, found: Results, patient_id: str) -> pd.DataFrame:
    """Return table ``selftest`` of a patient.

    Parameters
    ----------
    made : Made
        The study of the selftest, and its truth.
    found : Results
        What the line found in it; its folder holds the label images.
    patient_id : str
        As the study was given it.
    """
    before = [_lesion_at(found, patient_id, BEFORE, one) for one in made.before]
    rows: list[dict[str, object]] = []
    for situation in made.situations:
        after = [_lesion_at(found, patient_id, situation, one) for one in made.after]
        story = _Story(found.tables, situation)
        own = [
            {"lesion": one.kind, **story.row(first, then, (was, now))}
            for one, first, then, was, now in zip(made.lesions, before, after, made.before, made.after, strict=True)
        ]
        own += story.others({*before, *after})
        rows += [{"situation": situation, "lesion_number": number, **row} for number, row in enumerate(own, start=1)]
    return tables.check(pd.DataFrame(rows).assign(patient_id=patient_id), "selftest")


def _lesion_at(found: Results, patient_id: str, visit: str, one: Painted) -> int | None:
    """Return the identity of what was found in a lesion's place, the one with most of it; None where nothing was."""
    path = found.folder / "images" / patient_id / visit / "lesions.nii.gz"
    if not len(one.points_mm) or not path.exists():
        return None
    image = store.read_labels(path)
    there = grid.sample(image, grid.array(image), one.points_mm, order=0, outside=0.0).astype(int)
    counts = np.bincount(there[there > 0])
    return int(counts.argmax()) if counts.any() else None


class _Story:
    """What the tables say of a situation against the visit before."""

    def __init__(self, found: dict[str, pd.DataFrame], situation: str) -> None:
        lesions, changes = found["lesions"], found["changes"]
        self.first = lesions[lesions["visit_id"] == BEFORE].set_index("lesion_id")
        self.then = lesions[lesions["visit_id"] == situation].set_index("lesion_id")
        self.began = lesions.drop_duplicates("lesion_id").set_index("lesion_id")["status"]
        against = (changes["comparison"] == "baseline") & (changes["from_visit"] == BEFORE)
        self.changes = changes[against & (changes["to_visit"] == situation) & changes["lesion_id"].notna()]
        visit = found["visits"].query("visit_id == @situation")
        refused = found["refused"].query("visit_id == @situation")["message"]
        way = str(visit["registration"].iloc[0]) if len(visit) else "; ".join(refused.astype(str))
        self.why = way if not len(visit) or way.startswith("refused") else ""

    def row(self, first: int | None, then: int | None, truth: tuple[Painted, Painted]) -> dict[str, object]:
        """Return what is true and what was said of a lesion that was put in."""
        was, now = truth
        said = self._new(then) if was.volume_mm3 == 0 else self._said(first, then)
        true = {"volume_mm3": (was.volume_mm3, now.volume_mm3), "excess_hu_mm3": (was.excess_hu_mm3, now.excess_hu_mm3)}
        seen = then is not None if was.volume_mm3 == 0 else first is not None
        row: dict[str, object] = {"found": seen, "why": self._why(said)}
        for quantity, (start, end) in QUANTITIES.items():
            one, two = true[quantity]
            change = 0.0 if abs(two - one) <= SAME * one else two - one
            row |= {f"{start}true_before_{end}": one, f"{start}true_after_{end}": two}
            row |= self._columns(quantity, said.get(quantity, {}), change, came=one == 0)
        return row

    def others(self, known: set[int | None]) -> list[dict[str, object]]:
        """Return rows for the patient's own lesions, and for what was called new where nothing is."""
        there = set(self.first.index[self.first["volume_mm3"] > 0]) - known
        came = set(self.then.index[self.then["volume_mm3"] > 0]) - set(self.first.index) - known
        own = [self._other(OWN, self._said(lesion, None), found=True) for lesion in sorted(there)]
        false = [lesion for lesion in sorted(came) if self.began.get(lesion) == CALLED_NEW]
        return [*own, *(self._other(NOWHERE, self._new(lesion), found=False) for lesion in false)]

    def _other(self, kind: str, said: dict[str, dict[str, Any]], *, found: bool) -> dict[str, object]:
        row: dict[str, object] = {"lesion": kind, "found": found, "why": self._why(said)}
        for quantity in QUANTITIES:
            row |= self._columns(quantity, said.get(quantity, {}), 0.0)
        return row

    def _why(self, said: dict[str, dict[str, Any]]) -> str:
        """Return why a lesion could not be compared."""
        volume = said.get("volume_mm3", {})
        return self.why or (str(volume.get("why", "")) if volume.get("verdict") == NOT_COMPARABLE else "")

    def _columns(
        self, quantity: str, said: dict[str, Any], true_change: float, *, came: bool = False
    ) -> dict[str, object]:
        """Return what was said of one quantity, and whether it is right."""
        start, end = QUANTITIES[quantity]
        called = said.get("called")
        # Without a number a change was missed, but nothing false was said of what did not change.
        nothing_said = None if true_change == 0 else False
        names = ("before", "after", "change", "detectable")
        return {
            f"{start}true_change_{end}": true_change,
            **{f"{start}{name}_{end}": said.get(name, nan) for name in names},
            f"{start}verdict": said.get("verdict"),
            f"{start}called": called,
            f"{start}right": nothing_said if called is None else called == _expected(true_change, came=came),
        }

    def _said(self, first: int | None, then: int | None) -> dict[str, dict[str, Any]]:
        """Return what the line says of a lesion that was there before, by quantity."""
        if first is None:
            return self._new(then)
        own = self.changes[(self.changes["lesion_id"] == first) & self.changes["quantity"].isin(QUANTITIES)]
        rows = {
            str(one["quantity"]): {str(name): value for name, value in one.items()} for one in own.to_dict("records")
        }
        said = {}
        for quantity, row in rows.items():
            # A volume that is not resolved is judged by its excess: table changes.
            judge = rows[str(row["carried_by"])] if quantity == "volume_mm3" else row
            said[quantity] = {**row, "called": _called(float(judge["change"]), float(judge["detectable"]))}
        return said

    def _new(self, then: int | None) -> dict[str, dict[str, Any]]:
        """Return what the line says of a lesion that was not there before."""
        if then is None or then in self.first.index:
            return {}
        status = str(self.began[then])
        return {
            quantity: {
                "before": 0.0,
                "after": float(self.then[quantity].get(then, nan)),
                "change": float(self.then[quantity].get(then, nan)),
                "verdict": status,
                "called": status,
            }
            for quantity in QUANTITIES
        }


def _called(change: float, detectable: float) -> str | None:
    """Return what a change is by its size, whether or not the scans may be compared; None without a number."""
    if np.isnan(change) or np.isnan(detectable):
        return None
    if abs(change) <= detectable:
        return "no_detectable_change"
    return "increased" if change > 0 else "decreased"


def _expected(true_change: float, *, came: bool) -> str:
    if true_change == 0:
        return "no_detectable_change"
    return CALLED_NEW if came else "increased" if true_change > 0 else "decreased"
