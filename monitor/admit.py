"""Which readable scans of a study may be measured together: one patient's own, each once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np

from monitor import scan
from monitor.scan import Person
from monitor.study import Visit
from monitor.types import ScanError

SAME_SLICES = 0.9
"""Two scans that share this much of the shorter one's slices, voxel for voxel, are one scan: noise never repeats.
Not all, for a copy may have been cut or mended; not fewer, for pictures without noise may share empty ends."""

DIGEST_BYTES = 8
"""Length of the hash that stands for a slice's voxels, bytes: in a study of a million slices the chance that any two
that differ have the same one is 3e-8 (1e12 / 2 pairs over 2^64)."""

Refusal = tuple[str, str]
"""Code and message."""


@dataclass(frozen=True)
class Entry:
    """A scan that could be read: its row of the study, whose it is by its header, and the hashes of its slices."""

    visit: Visit
    person: Person
    slices: frozenset[str]

    @property
    def key(self) -> tuple[str, str, str]:
        """Return patient, visit and scan: what names a row of the study."""
        return self.visit.patient_id, self.visit.visit_id, self.visit.scan_id

    @property
    def name(self) -> str:
        """Return how a message calls it."""
        return " ".join(filter(None, self.key))


def entry(visit: Visit, slices: Iterable[str], key: bytes) -> Entry:
    """Return the entry of a scan that could be read, with whose it is by its header.

    Parameters
    ----------
    slices : iterable of str
        ``slice_hashes`` of its voxels.
    key : bytes
        The run's own: whose scan it is is compared within the run and never kept.
    """
    try:
        person = scan.person(visit.path, key)
    except ScanError:
        # Its voxels were read: a header that tells no person contradicts nobody, as that of an image file does not.
        person = Person()
    return Entry(visit, person, frozenset(slices))


def slice_hashes(values_zyx: np.ndarray) -> list[str]:
    """Return a hash of each slice of a scan; slices of one value say nothing and are left out.

    >>> len(slice_hashes(np.arange(12).reshape(3, 2, 2)))
    3
    """
    told = (one for one in values_zyx if one.min() != one.max())
    return [hashlib.blake2b(np.ascontiguousarray(one).tobytes(), digest_size=DIGEST_BYTES).hexdigest() for one in told]


def refused(visit: Visit, why: Refusal) -> dict[str, str]:
    """Return the row of table ``refused`` of a scan."""
    ids = {"patient_id": visit.patient_id, "visit_id": visit.visit_id, "scan_id": visit.scan_id}
    return {**ids, "path": visit.given_path, "code": why[0], "message": why[1]}


def refusals(entries: Sequence[Entry], sexes: dict[str, str]) -> dict[tuple[str, str, str], Refusal]:
    """Return code and message of each scan that is not its patient's, or is listed before.

    Parameters
    ----------
    entries : sequence of Entry
        The readable scans of a study.
    sexes : dict
        What the study says of each patient's sex, by patient_id; may be empty.
    """
    ordered = sorted(entries, key=lambda one: (one.visit.patient_id, one.visit.date, one.key))
    strange = {one.key: why for one in ordered if (why := _stranger(one, ordered, sexes))}
    return strange | _twins([one for one in ordered if one.key not in strange])


def order_of_dates(entries: Iterable[Entry]) -> str:
    """Return what is odd about a patient's dates: the headers tell another order than the study; empty if nothing."""
    told = [(one.visit.date, one.person.day, one.visit.visit_id) for one in entries if _day(one.person.day)]
    told.sort()
    swapped = [f"{one[2]} and {two[2]}" for one, two in pairwise(told) if one[0] < two[0] and one[1] > two[1]]
    return f"the headers date {', '.join(swapped)} in the other order" if swapped else ""


def _stranger(one: Entry, entries: Sequence[Entry], sexes: dict[str, str]) -> Refusal | None:
    """Tell why a scan is another patient's, by its header against those of the patient's other scans."""
    rule = "all scans of a patient must be of one person by their headers"
    mine = [other for other in entries if other.visit.patient_id == one.visit.patient_id]
    stated = sexes.get(one.visit.patient_id, "").strip().upper()[:1]
    if {stated, one.person.sex} == {"F", "M"}:
        return "other-patient", f"{rule}; this header has another sex than patients.csv"
    token = _token(one)
    counted = Counter(filter(None, map(_token, mine)))
    if not token or len(counted) < 2:
        return None
    most, times = counted.most_common(1)[0]
    if times > 1 and list(counted.values()).count(times) == 1:
        same = _same_person(one, [other for other in mine if _token(other) == most])
        why = f"{rule}; {times} other scans of this patient are of one person, this one is of another"
        return None if token == most or same else ("other-patient", why)
    # No majority: the earliest stands, and whoever made the ids up may have made up one a scan.
    first = next(other for other in mine if _token(other))
    elsewhere = any(_token(other) == token for other in entries if other.visit.patient_id != one.visit.patient_id)
    if token == _token(first) or _same_person(one, [first]) or (one.person.removed and not elsewhere):
        return None
    return "other-patient", f"{rule}; this one and {first.name} are not of the same"


def _token(one: Entry) -> str:
    return one.person.id or one.person.name


def _same_person(one: Entry, others: Iterable[Entry]) -> bool:
    """Tell whether name and birth date agree with one of the others: a hospital may give a person a new number."""
    mine = (one.person.name, one.person.birth)
    return all(mine) and any((other.person.name, other.person.birth) == mine for other in others)


def _twins(entries: Sequence[Entry]) -> dict[tuple[str, str, str], Refusal]:
    """Return the scans that are another one again."""
    owners: dict[str, list[Entry]] = {}
    for one in entries:
        for digest in one.slices:
            owners.setdefault(digest, []).append(one)
    pairs = Counter((a.key, b.key) for shared in owners.values() for a, b in _pairs(shared))
    by_key = {one.key: one for one in entries}
    refused: dict[tuple[str, str, str], Refusal] = {}
    for (a, b), shared in sorted(pairs.items()):
        one, two = by_key[a], by_key[b]
        if shared >= SAME_SLICES * min(len(one.slices), len(two.slices)) and not {a, b} & set(refused):
            for lost, other in _lost(one, two, entries):
                rule = "a scan must be listed once"
                refused[lost.key] = ("same-scan", f"{rule}; {shared} of its slices are those of {other.name}")
    return refused


def _pairs(shared: Sequence[Entry]) -> Iterable[tuple[Entry, Entry]]:
    return ((a, b) for k, a in enumerate(shared) for b in shared[k + 1 :])


def _lost(one: Entry, two: Entry, entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Return which of two equal scans goes, and for which.

    Of one patient's the one stays whose row has the date of the header, else the earlier. Of two patients' the one
    stays whose patient has other scans of the same person; where that does not tell, neither can be believed.
    """
    if one.visit.patient_id == two.visit.patient_id:
        fits = [entry.visit.date == _day(entry.person.day) for entry in (one, two)]
        first, last = sorted((one, two), key=lambda entry: (entry.visit.date, entry.key))
        if fits[0] != fits[1]:
            first, last = (one, two) if fits[0] else (two, one)
        return [(last, first)]
    at_home = [_has_kin(entry, entries) for entry in (one, two)]
    if at_home[0] != at_home[1]:
        return [(two, one)] if at_home[0] else [(one, two)]
    return [(one, two), (two, one)]


def _has_kin(one: Entry, entries: Sequence[Entry]) -> bool:
    """Tell whether its patient has another scan of the same person."""
    own = (other for other in entries if other.visit.patient_id == one.visit.patient_id and other.key != one.key)
    return bool(_token(one)) and any(_token(other) == _token(one) for other in own)


def _day(text: str) -> date | None:
    """Return the day of a DICOM date, None where it is none."""
    try:
        return date.fromisoformat(text.strip().replace(".", ""))
    except ValueError:
        return None
