"""What is told of one patient's rows: no new number comes from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboard import words
from monitor.tables import PUBLISHED_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dashboard.patient.own import Own, Row

PROTOCOL = {
    "kvp": ("tube voltage", " kV"),
    "kernel": ("kernel", ""),
    "slice_thickness_mm": ("slice thickness", " mm"),
    "slice_increment_mm": ("slice increment", " mm"),
    "contrast": ("contrast", ""),
    "manufacturer": ("scanner", ""),
}
"""What of a scan's protocol is told when it changes: words and unit."""


def latest(changes: list[Row], kind: str) -> Row | None:
    """Return the comparison of the latest visit that has one with the baseline, the previous visit or the nadir."""
    found = of_kind(changes, kind)
    return found[-1] if found else None


def of_kind(changes: list[Row], kind: str) -> list[Row]:
    """Return the comparisons of one kind."""
    return [row for row in changes if row["comparison"] == kind]


def trend(own: Own, quantity: str, compartment: str) -> dict[str, Row]:
    """Return the terms of the line fitted to a burden: ``rate`` and, where they are given, ``level``, ``half_life``."""
    found: dict[str, Row] = {}
    for row in own.trends:
        is_it = row["quantity"] == quantity and row["compartment"] == compartment and row["scale"] == "absolute"
        if is_it and row["lesion_id"] is None:
            found.setdefault(str(row["term"]), row)
    return found


NAMES = {"mesa": "MESA"}
"""Names of studies that are not written as others."""


def limit_name(rule: Any) -> str:
    """Return the name of a published limit from a rule.

    >>> limit_name("agatston:v1;limit=sevrukov-2005:4.930*sqrt(before),from-zero:11.6")
    'Sevrukov 2005: 4.930*sqrt(before), from zero: 11.6'
    >>> limit_name("agatston:v1;limit=callister-1998:15%,median-between-scans,not-a-95%-limit")
    'Callister 1998: 15%, median between scans, not a 95% limit'
    """
    told = words.plain(rule).partition(PUBLISHED_LIMIT)[2].partition(";")[0]
    name, _, formula = told.partition(":")
    spaced = ", ".join(formula.split(","))
    # A dash stands for a space between words, and for minus in a formula.
    is_formula = "sqrt" in spaced
    readable = spaced.replace("from-zero:", "from zero: ") if is_formula else spaced.replace("-", " ")
    said = " ".join(NAMES.get(part, part.capitalize()) for part in name.split("-"))
    return ": ".join(filter(None, (said, readable)))


def protocol_changes(scans: Iterable[Row]) -> dict[str, list[str]]:
    """Return by visit what of its protocol differs from the visit before, in words; what is unknown is no change.

    A visit of several scans has all that they have: it differs where not the same values stand in it.

    >>> nothing = {**dict.fromkeys(PROTOCOL), "visit_id": "V2"}
    >>> protocol_changes([{**nothing, "visit_id": "V1", "kvp": 120.0},
    ...                   {**nothing, "kvp": 120.0}, {**nothing, "kvp": 100.0, "kernel": "Br40"}])
    {'V1': [], 'V2': ['tube voltage 120 kV, then 100 and 120 kV']}
    """
    visits: dict[str, list[Row]] = {}
    for row in scans:
        visits.setdefault(str(row["visit_id"]), []).append(row)
    found: dict[str, list[str]] = {}
    known: dict[str, set[Any]] = {}
    for visit, own in visits.items():
        told = []
        for name, (said, unit) in PROTOCOL.items():
            now, before = {row[name] for row in own if words.plain(row[name])}, known.get(name)
            if not now:
                continue
            if before is not None and now != before:
                told.append(f"{said} {_cells(before)}{unit}, then {_cells(now)}{unit}")
            known[name] = now
        found[visit] = told
    return found


def _cells(values: set[Any]) -> str:
    return " and ".join(value if isinstance(value, str) else words.number(value) for value in sorted(values))


def dose(own: Own) -> list[Row]:
    """Return of each scan that tells its dose: visit, years, dose-length product and its sum so far, mGy·cm.

    ``least`` tells that a scan before told none, so that the sum is a lower bound.
    """
    found: list[Row] = []
    so_far, least = 0.0, False
    for row in own.scans:
        if tells_dose(row):
            so_far += row["dlp_mgy_cm"]
            shown = {name: row[name] for name in ("visit_id", "years", "dlp_mgy_cm")}
            found.append({**shown, "so_far": so_far, "least": least})
        else:
            least = True
    return found


def tells_dose(scan: Row) -> bool:
    """Tell whether a scan has a dose-length product and a time to draw it at."""
    return bool(words.plain(scan["dlp_mgy_cm"]) and words.plain(scan["years"]))


def neighbours(ids: Iterable[str], patient: str) -> tuple[str | None, str | None]:
    """Return the patients before and after one, in the order of ids.

    >>> neighbours(["P1", "P2"], "P1"), neighbours(["P1", "P2"], "P2"), neighbours(["P2"], "P9")
    ((None, 'P2'), ('P1', None), (None, None))
    """
    order = list(ids)
    if patient not in order:
        return None, None
    place = order.index(patient)
    return order[place - 1] if place else None, order[place + 1] if place + 1 < len(order) else None
