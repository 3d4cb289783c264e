"""Who is compared with whom voxel by voxel, and where the answers stand in table ``changes``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from math import isnan
from typing import Any

import pandas as pd

from monitor.change import EXCHANGED

Key = tuple[str, str]
"""visit_id and scan_id."""

Pair = tuple[Key, Key]
"""An earlier and a later scan."""

Subject = tuple[tuple[int, ...], tuple[int, ...]]
"""Labels of the pieces at an earlier and at a later scan that are compared as one."""

Tables = Mapping[str, pd.DataFrame]
"""One patient's tables by name."""

Wanted = Mapping[Key, pd.DataFrame]
"""By scan, the lesions there: lesion_id and label, missing where there is no piece."""


def asked(tables: Tables, wanted: Wanted) -> dict[Pair, tuple[Subject, ...]]:
    """Return what must be compared voxel by voxel for table ``changes``.

    A lesion is compared by itself. For a compartment and the total what merged or split meanwhile is compared as one,
    so that a merge is neither loss nor gain, and the others by themselves. Nothing is asked where a visit has several
    scans of a region, or no believable registration.
    """
    about = _Patient(tables, wanted)
    found: dict[Pair, set[Subject]] = {}
    for row in _rows(tables["changes"]):
        pair = about.pair(row)
        if pair is not None:
            found.setdefault(pair, set()).update(about.subjects(row, pair))
    return {pair: tuple(sorted(subjects)) for pair, subjects in found.items() if subjects}


def filled(tables: Tables, wanted: Wanted, answers: Mapping[Pair, Mapping[Subject, Mapping[str, float]]]) -> Tables:
    """Return the tables, ``changes`` with the answers to ``asked``: of a sum the sums."""
    about = _Patient(tables, wanted)
    changes = tables["changes"].copy()
    for place, row in zip(changes.index[_of_volume(changes)], _rows(changes), strict=True):
        pair = about.pair(row)
        if pair is not None:
            known = [answers[pair][subject] for subject in about.subjects(row, pair)]
            for name in EXCHANGED:
                changes.loc[place, name] = float(sum(one[name] for one in known))
    return {**tables, "changes": changes}


class _Patient:
    """A patient's lesions as the tables tell of them."""

    def __init__(self, tables: Tables, wanted: Wanted) -> None:
        visits, lesions = tables["visits"], tables["lesions"]
        self.years = dict(zip(visits["visit_id"], visits["years"], strict=True))
        self.placed = {str(v) for v, r in zip(visits["visit_id"], visits["residual_mm"], strict=True) if not isnan(r)}
        self.scans: dict[str, list[Key]] = {}
        for key in wanted:
            self.scans.setdefault(key[0], []).append(key)
        self.labels = {
            key: dict(zip(part["lesion_id"].astype(int), part["label"].astype(int), strict=True))
            for key, part in ((key, part.dropna(subset=["label"])) for key, part in wanted.items())
        }
        self.at = {visit: lesions[lesions["visit_id"] == visit].set_index("lesion_id") for visit in self.scans}
        self.links = tables["lineage"][tables["lineage"]["kind"].isin(["merged", "split"])].to_dict("records")

    def pair(self, row: Mapping[Hashable, Any]) -> Pair | None:
        """Return the scans that a row of ``changes`` compares; None where they cannot be compared by place."""
        ends = str(row["from_visit"]), str(row["to_visit"])
        if not all(visit in self.placed and len(self.scans[visit]) == 1 for visit in ends):
            return None
        return self.scans[ends[0]][0], self.scans[ends[1]][0]

    def subjects(self, row: Mapping[Hashable, Any], pair: Pair) -> list[Subject]:
        """Return what is compared as one for a row of ``changes``."""
        if pd.notna(row["lesion_id"]):
            return [self._subject({int(row["lesion_id"])}, pair)]
        ends = [self.at[key[0]] for key in pair]
        unseen = {int(n) for one in ends for n in one.index[one["status"] == "not_in_field"]}
        seen = [one[one["volume_mm3"].notna()] for one in ends]
        if row["compartment"] != "total":
            seen = [one[(one["compartment"] == row["compartment"]).fillna(False)] for one in seen]
        lesions = {int(n) for one in seen for n in one.index} - unseen
        return [self._subject(family, pair) for family in self._families(lesions, pair)]

    def _subject(self, lesions: set[int], pair: Pair) -> Subject:
        one, two = (tuple(sorted(own[n] for n in lesions if n in own)) for own in (self.labels[key] for key in pair))
        return one, two

    def _families(self, lesions: set[int], pair: Pair) -> list[set[int]]:
        """Return these lesions, those together that merged or split after the earlier scan, up to the later one."""
        start, end = (self.years[key[0]] for key in pair)
        family = {lesion: {lesion} for lesion in sorted(lesions)}
        for row in self.links:
            other = row["into_lesion_id"] if row["kind"] == "merged" else row["from_lesion_id"]
            both = int(row["lesion_id"]), int(other)
            if start < self.years[row["visit_id"]] <= end and lesions.issuperset(both):
                joined = family[both[0]] | family[both[1]]
                family.update(dict.fromkeys(joined, joined))
        return sorted({min(own): own for own in family.values()}.values(), key=min)


def _of_volume(changes: pd.DataFrame) -> pd.Series:
    return (changes["quantity"] == "volume_mm3").fillna(False).astype(bool)


def _rows(changes: pd.DataFrame) -> Iterable[dict[Hashable, Any]]:
    return changes[_of_volume(changes)].to_dict("records")
