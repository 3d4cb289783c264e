"""Which scans may be measured together: whose they are, and that each is listed once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from monitor import admit, scan
from monitor.admit import Entry
from monitor.scan import Person
from monitor.study import Visit
from monitor.types import ScanError


def entry(patient: str, visit: int, person: str = "", slices: str = "", **more: object) -> Entry:
    """Make a readable scan; ``slices`` are the hashes of its slices, a letter each."""
    row = Visit(patient, f"V{visit}", date(2020 + visit, 1, 1), Path("scan"), "scan")
    return Entry(row, Person(id=person, **more), frozenset(slices or {f"{patient}{visit}"}))


def refused(*entries: Entry, **sexes: str) -> dict[str, str]:
    """Return code by patient and visit, in any order of the entries the same."""
    found = admit.refusals(entries, sexes)
    assert found == admit.refusals(entries[::-1], sexes)
    return {" ".join(key).strip(): code for key, (code, _) in found.items()}


def test_scans_of_one_person_pass():
    """Equal headers, absent headers and de-identified ones with a name for each scan are no contradiction."""
    assert refused(entry("A", 0, "a"), entry("A", 1, "a"), entry("B", 0), entry("B", 1)) == {}
    assert refused(*(entry("A", n, f"made-up-{n}", removed=True) for n in range(4))) == {}
    assert refused(entry("A", 0, "a"), entry("A", 1)) == {}


def test_a_stranger_among_a_patients_scans_is_refused():
    """The one of three that is not of the others' person goes, whichever visit it is."""
    for odd in range(3):
        scans = [entry("A", n, "b" if n == odd else "a") for n in range(3)]
        assert refused(*scans, entry("B", 0, "b"), entry("B", 1, "b")) == {f"A V{odd}": "other-patient"}


def test_two_swapped_scans_are_both_refused():
    """With three visits each, both strangers go, de-identified headers or not."""
    for removed in (False, True):
        scans = [entry("A", n, "b" if n == 1 else "a", removed=removed) for n in range(3)]
        scans += [entry("B", n, "a" if n == 1 else "b", removed=removed) for n in range(3)]
        assert refused(*scans) == {"A V1": "other-patient", "B V1": "other-patient"}


def test_of_two_scans_the_later_goes():
    """Without a majority the earliest stands; ids made up for each scan say nothing unless another patient has them."""
    assert refused(entry("A", 0, "a"), entry("A", 1, "b")) == {"A V1": "other-patient"}
    swapped = [entry("A", 0, "a"), entry("A", 1, "b"), entry("B", 0, "b"), entry("B", 1, "a")]
    assert set(refused(*swapped)) == {"A V1", "B V1"}
    marked = [entry(one.visit.patient_id, n % 2, one.person.id, removed=True) for n, one in enumerate(swapped)]
    assert set(refused(*marked)) == {"A V1", "B V1"}


def test_a_new_number_of_the_same_person_passes():
    """A hospital may number a person anew: name and birth date tell."""
    same = {"name": "n", "birth": "b"}
    assert refused(entry("A", 0, "a", **same), entry("A", 1, "a2", **same), entry("A", 2, "a", **same)) == {}
    assert refused(entry("A", 0, "a", **same), entry("A", 1, "a2", **same)) == {}


def test_sex_must_be_that_of_the_study():
    """A header of another sex is another patient's; unknown and other sexes contradict nothing."""
    scans = [entry("A", 0, sex="F"), entry("A", 1, sex="M"), entry("A", 2, sex="O"), entry("A", 3)]
    assert refused(*scans, A="female") == {"A V1": "other-patient"}
    assert refused(*scans, A="") == {}


def test_the_same_scan_twice_counts_once():
    """Of one patient's two equal scans the earlier stays, or the one whose header has its date."""
    assert refused(entry("A", 0, slices="pqrs"), entry("A", 1, slices="pqrs")) == {"A V1": "same-scan"}
    dated = {"day": "20210101"}
    assert refused(entry("A", 0, slices="pqrs", **dated), entry("A", 1, slices="pqrs", **dated)) == {
        "A V0": "same-scan"
    }


def test_a_part_of_a_scan_is_that_scan():
    """All slices of the shorter one make two scans one; some do not."""
    assert refused(entry("A", 0, slices="pqrstu"), entry("A", 1, slices="pqr")) == {"A V1": "same-scan"}
    assert refused(entry("A", 0, slices="pqrstu"), entry("A", 1, slices="pqvw")) == {}


def test_one_scan_of_two_patients():
    """It stays where other scans are of the same person; where nothing tells, neither is believed."""
    twins = [entry("A", 0, "a", slices="pqrs"), entry("B", 0, "a", slices="pqrs")]
    assert refused(*twins) == {"A V0": "same-scan", "B V0": "same-scan"}
    assert refused(*twins, entry("A", 1, "a")) == {"B V0": "same-scan"}


def test_three_times_the_same():
    """Each further copy goes."""
    found = refused(*(entry("A", n, slices="pqrs") for n in range(3)))
    assert found == {"A V1": "same-scan", "A V2": "same-scan"}


def test_dates_that_run_backwards_are_told():
    """Headers that date two visits in the other order are worth a look; equal shifts are not."""
    good = [entry("A", 0, day="20110101"), entry("A", 1, day="20120101")]
    assert admit.order_of_dates(good) == ""
    bad = [entry("A", 0, day="20120101"), entry("A", 1, day="20110101"), entry("A", 2, day="nonsense")]
    assert admit.order_of_dates(bad) == "the headers date V0 and V1 in the other order"


def test_slices_of_one_value_say_nothing():
    """Empty slices are alike in all scans; others have a hash that follows every voxel."""
    values = np.zeros((3, 4, 4), np.int16)
    values[1, 2, 2] = 5
    before = admit.slice_hashes(values)
    assert len(before) == 1
    values[1, 2, 2] = 6
    assert admit.slice_hashes(values) != before


def test_a_header_that_ends_its_reader_names_nobody(monkeypatch):
    """The voxels were read, so the scan stands: as one without a header, which contradicts nobody."""

    def ends(*_):
        raise ScanError("reader-ended", "the system ended it")

    monkeypatch.setattr(scan, "person", ends)
    found = admit.entry(entry("A", 0).visit, ["p", "q", "p"], b"key")
    assert found == entry("A", 0, slices="pq")
    assert refused(found, entry("A", 1, "a")) == {}


def test_messages_name_rule_and_partner():
    """A message says the rule and which other scan, and nothing of the header."""
    found = admit.refusals([entry("A", 0, slices="pqrs"), entry("A", 1, slices="pqrs")], {})
    assert found["A", "V1", ""] == ("same-scan", "a scan must be listed once; 4 of its slices are those of A V0")
    found = admit.refusals([entry("A", 0, "x"), entry("A", 1, "x"), entry("A", 2, "secret")], {})
    assert found["A", "V2", ""][1].endswith("; 2 other scans of this patient are of one person, this one is of another")
    found = admit.refusals([entry("A", 0, "secret"), entry("A", 1, "other")], {})
    code, message = found["A", "V1", ""]
    assert code == "other-patient"
    assert (
        message
        == "all scans of a patient must be of one person by their headers; this one and A V0 are not of the same"
    )


@pytest.mark.parametrize("text", ["", "19701399", "2020-13-01", "x"])
def test_what_is_no_day_is_passed_over(text):
    """A date that is none has no say in which of two scans stays."""
    assert refused(entry("A", 0, slices="pq", day=text), entry("A", 1, slices="pq")) == {"A V1": "same-scan"}
