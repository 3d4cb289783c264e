"""What the chains tell: who merged, split, resolved or was not seen, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from monitor._tracking.chains import LEAST_COVER, LEAST_IN_FIELD, closest
from monitor._tracking.pieces import Near, Occasion, Piece, Sight

COLUMNS = ["visit_id", "lesion_id", "label", "status", "from_lesion_id", "into_lesion_id", "score"]
"""Columns of a row; ``label`` is the piece in the visit's label image, missing where there is none."""

Chains = Mapping[int, Sequence[int]]
"""Pieces of each lesion in order of date, by lesion_id."""

Row = dict[str, object]


@dataclass(frozen=True)
class Known:
    """All that was seen: visits, pieces, how near they are, what each scan sees of their places."""

    occasions: Sequence[Occasion]
    pieces: Sequence[Piece]
    near: Near
    sight: Sight

    def cover(self, part: int, whole: int, rest: int | None) -> float:
        """Return by how much a part lies nearer to a whole than to the rest of it at the part's own visit."""
        beside = 0.0 if rest is None else self.near.get((part, rest), 0.0)
        return self.near.get((part, whole), 0.0) - beside


class Ordered:
    """Chains by lesion, with the ways in which they meet."""

    def __init__(self, known: Known, chains: Chains) -> None:
        self.known = known
        self.chains = {lesion: list(chain) for lesion, chain in chains.items()}
        self.owner = {n: lesion for lesion, chain in self.chains.items() for n in chain}
        self.at = {lesion: {known.pieces[n].visit: n for n in chain} for lesion, chain in self.chains.items()}
        self._by_visit: dict[tuple[int, int], list[int]] = {}
        for i, j in known.near:
            self._by_visit.setdefault((i, known.pieces[j].visit), []).append(j)

    def whole_of(self, part: int, visit: int) -> int | None:
        """Return the piece at another visit, of a lesion that was there beside, that a piece was or became part of."""
        own = self.known.pieces[part].visit
        found = []
        for whole in self._by_visit.get((part, visit), ()):
            mine = self.at[self.owner[whole]]
            beside = any(t < visit for t in mine) if visit > own else any(t > visit for t in mine)
            if self.owner[whole] != self.owner[part] and beside:
                found.append((self.known.cover(part, whole, mine.get(own)), -whole))
        cover, whole = max(found, default=(0.0, 0))
        return -whole if cover >= LEAST_COVER else None

    def place(self, lesion: int, visit: int) -> int:
        """Return the piece that tells a lesion's place at a visit: the nearest in time that no field cut."""
        chain = [n for n in self.chains[lesion] if self.known.pieces[n].visit != visit]
        whole = [n for n in chain if self.known.sight.rim[n] == 1] or chain
        return min(whole, key=lambda n: (abs(self.known.pieces[n].visit - visit), n))

    def cut(self, lesion: int, visit: int) -> bool:
        """Tell whether a piece that is there is only what the field left of its lesion."""
        chain, here = self.chains[lesion], self.at[lesion][visit]
        if self.known.sight.rim[here] == 1 or len(chain) == 1:
            return False
        return bool(self.known.sight.seen[visit, self.place(lesion, visit)] < LEAST_IN_FIELD)

    def sees(self, visit: int, lesion: int) -> bool:
        """Tell whether a scan sees the place of a lesion that has no piece there."""
        return bool(self.known.sight.seen[visit, self.place(lesion, visit)] >= LEAST_IN_FIELD)

    def merge(self, lesion: int) -> tuple[int, int] | None:
        """Return when a lesion went into another and the whole; None where it did not, or was gone before."""
        last = self.chains[lesion][-1]
        end = self.known.pieces[last].visit
        for visit in range(end + 1, len(self.known.occasions)):
            whole = self.whole_of(last, visit)
            if whole is not None:
                return visit, whole
            if self.sees(visit, lesion):
                return None
        return None

    def split(self, lesion: int) -> int | None:
        """Return the whole that a lesion came off; None where the scan that last saw its place did not hold it."""
        first = self.chains[lesion][0]
        start = self.known.pieces[first].visit
        for visit in range(start - 1, -1, -1):
            whole = self.whole_of(first, visit)
            if whole is not None:
                return whole
            if self.known.sight.seen[visit, first] >= LEAST_IN_FIELD:
                return None
        return None


def largest_first(known: Known, chains: Sequence[Sequence[int]]) -> list[list[int]]:
    """Let the largest go on where lesions merge, and the largest piece keep the identity where one splits."""
    found = [list(chain) for chain in chains]
    for _ in range(len(known.pieces)):
        told = Ordered(known, dict(enumerate(found)))
        swap = next((s for s in (_outgrown(told, n) for n in range(len(found))) if s), None)
        if swap is None:
            break
        one, two, visit = swap
        heads = [[n for n in found[k] if known.pieces[n].visit < visit] for k in (one, two)]
        tails = [[n for n in found[k] if known.pieces[n].visit >= visit] for k in (one, two)]
        found[one], found[two] = heads[0] + tails[1], heads[1] + tails[0]
        found = [chain for chain in found if chain]
    return sorted(found)


def _outgrown(told: Ordered, lesion: int) -> tuple[int, int, int] | None:
    """Return two chains and the visit from which they change places, so that the larger goes on; None if it does."""
    pieces = told.known.pieces
    merged = told.merge(lesion)
    if merged is not None:
        visit, whole = merged
        other = told.owner[whole]
        before = max(t for t in told.at[other] if t < visit)
        if pieces[told.chains[lesion][-1]].volume_mm3 > pieces[told.at[other][before]].volume_mm3:
            return lesion, other, visit
    parent = told.split(lesion)
    if parent is not None:
        other, visit = told.owner[parent], pieces[told.chains[lesion][0]].visit
        rest = told.at[other].get(visit)
        if rest is not None and pieces[told.chains[lesion][0]].volume_mm3 > pieces[rest].volume_mm3:
            return lesion, other, visit
    return None


def rows(known: Known, chains: Chains) -> list[Row]:
    """Return a row for each lesion at each visit from its first to its last, by visit and lesion."""
    told = Ordered(known, chains)
    found = [row for lesion in sorted(told.chains) for row in _lesion_rows(told, lesion)]
    order = {one.visit_id: t for t, one in enumerate(known.occasions)}
    return sorted(found, key=lambda row: order[str(row["visit_id"])])


def _lesion_rows(told: Ordered, lesion: int) -> list[Row]:
    known, mine, chain = told.known, told.at[lesion], told.chains[lesion]
    merged, found, begun = told.merge(lesion), [], False
    for visit in range(known.pieces[chain[0]].visit, len(known.occasions)):
        one, row = known.occasions[visit], dict.fromkeys(COLUMNS)
        row |= {"visit_id": one.visit_id, "lesion_id": lesion, "score": nan}
        found.append(row)
        if visit in mine:
            row |= _there(told, lesion, visit)
            if row["status"] != "not_in_field":
                row |= {} if begun else _begun(told, lesion, visit, cut_before=len(found) > 1)
                begun = True
                calm = row["status"] in ("present", "new", "first_seen")
                row |= {"status": "baseline"} if calm and one.is_baseline else {}
        elif merged is not None and visit == merged[0]:
            score = _score(known.near.get((chain[-1], merged[1]), 0.0))
            row |= {"status": "merged", "into_lesion_id": told.owner[merged[1]], "score": score}
            break
        else:
            row["status"] = "resolved" if told.sees(visit, lesion) else "not_in_field"
    return found


def _there(told: Ordered, lesion: int, visit: int) -> Row:
    """Return what a row says of a piece: which it is, and how well it agrees with the one before."""
    here, chain = told.at[lesion][visit], told.chains[lesion]
    before = chain[chain.index(here) - 1] if here != chain[0] else None
    score = nan if before is None else _score(closest(told.known.near, before, here))
    status = "not_in_field" if told.cut(lesion, visit) else "present"
    return {"label": told.known.pieces[here].label, "status": status, "score": score}


def _begun(told: Ordered, lesion: int, visit: int, *, cut_before: bool) -> Row:
    """Return how a lesion began: split off, new, or first seen."""
    known, here = told.known, told.at[lesion][visit]
    parent = told.split(lesion)
    if parent is not None:
        score = _score(known.near.get((told.chains[lesion][0], parent), 0.0))
        return {"status": "split", "from_lesion_id": told.owner[parent], "score": score}
    if cut_before:
        return {"status": "first_seen"}
    # New needs a scan that saw the place and would have shown as much.
    shown = any(
        known.pieces[here].volume_mm3 >= one.lod_mm3 and known.sight.seen[t, here] >= LEAST_IN_FIELD
        for t, one in enumerate(known.occasions[:visit])
    )
    return {"status": "new" if shown else "first_seen"}


def _score(value: float) -> float:
    # To what can be told; the last bits of a sum are no news.
    return float(np.round(value, 3))
