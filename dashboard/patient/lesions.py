"""Rows of the table of lesions, and one lesion's course over all visits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboard import words
from dashboard.patient.own import missing

if TYPE_CHECKING:
    from collections.abc import Collection

    from dashboard.patient.own import Own, Row

ENDED = ("merged", "resolved", "not_in_field")
"""Statuses of what is not there to be measured; such lesions stand last."""

EPISODES = ("merged", "split")
"""Events by which lesions are kin."""


def lesion_rows(own: Own) -> list[dict]:
    """Return the rows of the table of lesions: each lesion as it was last recorded, the largest first.

    Each has ``lesion_id``, ``key``, ``status`` (symbol and word), ``tone``, ``where``; ``baseline``, ``lowest``,
    ``previous`` and ``current`` with ``_shown`` (limits in it); ``since_baseline`` and ``since_previous`` with
    ``_shown``, ``_tone`` and ``_why``; and ``gone``.
    """
    found = [lesion_row(own, lesion) for lesion in own.lesions]
    return sorted(found, key=lambda row: (row["gone"], -(row["current"] or 0), row["lesion_id"]))


def events(own: Own, kinds: Collection[str] = EPISODES) -> list[Row]:
    """Return the events of lesions of some kinds in order of time."""
    return [row for row in own.lineage if row["kind"] in kinds]


def lesion_row(own: Own, lesion: int) -> dict:
    """Return one row of the table of lesions."""
    course = own.lesions[lesion]
    now = course[-1]
    found = words.mark(words.STATUSES, now["status"])
    measured = [row for row in course if not missing(row["volume_mm3"])]
    since = own.years(own.baseline)
    counted = [row for row in measured if not row["years"] < since]
    before = [row for row in measured if row is not now]
    ended = now["visit_id"] != next(reversed(own.visits), None)
    patterns = [row["pattern"] for row in course if row["pattern"]]
    return {
        "lesion_id": lesion,
        "key": str(lesion),
        "status": words.marked(words.STATUSES, now["status"]) + (f" at {now['visit_id']}" if ended else ""),
        "tone": found.tone,
        "where": words.where(now["side"], now["compartment"], patterns[-1] if patterns else ""),
        **_volume("baseline", next((row for row in measured if row["visit_id"] == own.baseline), None)),
        **_volume("lowest", min(counted, key=lambda row: row["volume_mm3"]) if counted else None),
        **_volume("previous", before[-1] if before else None),
        **_volume("current", now),
        "gone": now["status"] in ENDED,
        **_change(own, (lesion, "baseline"), "since_baseline"),
        **_change(own, (lesion, "previous"), "since_previous"),
    }


def _volume(name: str, row: Row | None) -> dict[str, object]:
    """Return a volume: its number for sorting, and its text with limits."""
    if row is None or missing(row["volume_mm3"]):
        return {name: None, f"{name}_shown": words.MISSING}
    volume = float(row["volume_mm3"])
    return {name: volume, f"{name}_shown": words.with_limits(volume, row["volume_lo_mm3"], row["volume_hi_mm3"])}


def _change(own: Own, what: tuple[int, str], name: str) -> dict[str, object]:
    """Return the change of a lesion: its number for sorting, its text, its colour and why."""
    row = own.lesion_changes.get((*what, "volume_mm3"))
    if row is None:
        return {name: None, f"{name}_shown": words.MISSING, f"{name}_tone": "unknown", f"{name}_why": ""}
    found = words.mark(words.VERDICTS, row["verdict"])
    by_excess = words.judged_by_excess(row)
    told = own.lesion_changes.get((*what, "excess_hu_mm3"), row) if by_excess else row
    size = words.number(row["change"], sign=True)
    if by_excess and not missing(told["change_pct"]):
        size = f"{words.number(told['change_pct'], sign=True)}{words.THIN}% excess"
    least = f"smallest change that counts: {words.amount(told['detectable'], told['unit'])}"
    return {
        name: None if missing(row["change"]) else float(row["change"]),
        f"{name}_shown": found.symbol + " " + (found.word if size == words.MISSING else f"{size} {found.word}"),
        f"{name}_tone": found.tone,
        f"{name}_why": "; ".join(filter(None, (words.plain(row["why"]), least, _exchanged(row)))),
    }


def _exchanged(row: Row) -> str:
    """Return what a lesion gained and lost, in words; nothing where it is not known."""
    if missing(row["gained_mm3"]) or missing(row["lost_mm3"]):
        return ""
    gained, lost = (words.amount(row[name], "mm3") for name in ("gained_mm3", "lost_mm3"))
    return f"gained {gained}, lost {lost}"
