"""A reviewer's corrections of identity: which can be kept, and the chains that come of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, order=True)
class Correction:
    """What was followed as ``lesion_id`` at a visit is really ``is_lesion_id``, and so is what was linked to it later.

    ``lesion_id`` is a number of the run without corrections; ``is_lesion_id`` too, or a number that is not in use.
    """

    visit_id: str
    lesion_id: int
    is_lesion_id: int


def contradictions(track: pd.DataFrame, corrections: Iterable[Correction]) -> dict[Correction, str]:
    """Return the corrections that cannot be kept, and why.

    Parameters
    ----------
    track : DataFrame
        What ``follow`` answers without corrections.
    corrections : iterable of Correction

    Notes
    -----
    All are taken at once, so two lesions may change places; what is left of two pieces for one lesion at one visit
    is refused with every correction that led to it.
    """
    visits = {name: n for n, name in enumerate(dict.fromkeys(track["visit_id"]))}
    there = track[track["label"].notna()]
    pieces: dict[int, list[int]] = {}
    for lesion, name in zip(there["lesion_id"], there["visit_id"], strict=True):
        pieces.setdefault(int(lesion), []).append(visits[name])
    wanted = sorted(set(corrections))
    refused = {one: why for one in wanted if (why := _unknown(one, visits, pieces, wanted))}
    while True:
        kept = [one for one in wanted if one not in refused]
        held: dict[tuple[int, int], list[Correction | None]] = {}
        for lesion, own in pieces.items():
            for visit in own:
                cause = _cause(lesion, visit, kept, visits)
                held.setdefault((cause.is_lesion_id if cause else lesion, visit), []).append(cause)
        clashes = {(n, t): causes for (n, t), causes in held.items() if len(causes) > 1}
        if not clashes:
            return refused
        names = list(visits)
        for (lesion, visit), causes in sorted(clashes.items(), key=lambda clash: clash[0]):
            rule = f"a lesion has one piece a visit; lesion {lesion} would have {len(causes)} at {_named(names[visit])}"
            refused = {cause: rule for cause in causes if cause is not None} | refused


def applied(
    chains: Mapping[int, Sequence[int]], visits: Mapping[int, str], corrections: Sequence[Correction]
) -> dict[int, list[int]]:
    """Return the corrected chains; ``visits`` names the visit of each piece, in order of date."""
    order = {name: n for n, name in enumerate(dict.fromkeys(visits.values()))}
    found: dict[int, list[int]] = {}
    for lesion, chain in chains.items():
        for piece in chain:
            cause = _cause(lesion, order[visits[piece]], corrections, order)
            found.setdefault(cause.is_lesion_id if cause else lesion, []).append(piece)
    return {lesion: sorted(chain) for lesion, chain in found.items()}


def _cause(lesion: int, visit: int, corrections: Iterable[Correction], order: Mapping[str, int]) -> Correction | None:
    """Return the last correction of a lesion up to a visit."""
    own = [one for one in corrections if one.lesion_id == lesion and order[one.visit_id] <= visit]
    return max(own, key=lambda one: order[one.visit_id], default=None)


def _unknown(
    one: Correction, visits: Mapping[str, int], pieces: Mapping[int, Sequence[int]], wanted: Sequence[Correction]
) -> str:
    """Return why a correction says nothing that could be kept by itself; empty if it does."""
    if one.visit_id not in visits or visits[one.visit_id] not in pieces.get(one.lesion_id, ()):
        return f"a correction must name a lesion that is there; lesion {one.lesion_id} is not at {_named(one.visit_id)}"
    twins = Counter((other.visit_id, other.lesion_id) for other in wanted)
    if twins[one.visit_id, one.lesion_id] > 1:
        return (
            f"a lesion of a visit must have one correction; lesion {one.lesion_id} at {_named(one.visit_id)} has more"
        )
    return ""


def _named(visit_id: str) -> str:
    return visit_id.replace("\t", " ").strip()
