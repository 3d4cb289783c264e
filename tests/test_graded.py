"""What is told of a selftest: counts, sentences, and nothing where nothing was tested."""

from __future__ import annotations

import pandas as pd

from monitor import graded, tables


def row(lesion: str, *, right: bool | None, before: float = 100.0, after: float = 100.0, **more: object) -> dict:
    said = {"situation": "rescan", "true_before_mm3": before, "true_after_mm3": after}
    change = {"true_change_mm3": (after or 0.0) - (before or 0.0), "right": right}
    return {"patient_id": "P001", "lesion": lesion, **said, **change, "change_mm3": change["true_change_mm3"], **more}


ROWS = [
    row("unchanged", right=True, change_mm3=10.0),
    row("unchanged", right=False, change_mm3=40.0),
    row("unchanged", right=None, change_mm3=None),
    row("grown_50", right=True, after=150.0, change_mm3=65.0),
    row("grown_20", right=False, after=120.0, change_mm3=20.0),
    row("densified", right=True, excess_right=False, change_mm3=0.0),
    row("own", right=True, before=None, after=None, true_change_mm3=0.0, change_mm3=7.0),
    row("nothing", right=False, before=None, after=None, change_mm3=99.0),
]


def made(rows: list[dict]) -> pd.DataFrame:
    return tables.check(pd.DataFrame(rows), "selftest")


def test_changes_and_false_changes_are_counted_apart():
    """Closed form: one of three true changes called, one of three unchanged ones called changed, one false new."""
    (found,) = graded.grades(made(ROWS))
    assert (found.recovered, found.false, found.false_new) == (graded.Share(1, 3), graded.Share(1, 3), 1)
    assert found.error == 0.1
    assert found.comparable


def test_what_is_denser_is_judged_by_its_excess():
    """A volume that stays is right of what became denser, and no recovery."""
    found = dict(graded.kinds(made(ROWS), "rescan"))
    assert found["denser by 30 %"] == graded.Share(0, 1)
    assert found["unchanged"] == graded.Share(1, 2)


def test_the_sentence_names_what_was_missed():
    """The counts, and the kinds of change that were not all called, stand in words."""
    (told,) = graded.sentences(made(ROWS))
    assert "1 of 3 true changes were called, and 1 of 3 unchanged lesions were called changed" in told
    assert "grown by 20 %, denser by 30 %" in told
    assert "1 called new where nothing is" in told


def test_who_was_not_tested_is_told_why():
    """A row without a situation is a reason; no row is silence."""
    untested = made([{"patient_id": "P001", "why": "there is room for 2"}])
    assert graded.sentences(untested) == ["The scan could not be tested: there is room for 2."]
    assert graded.grades(untested) == []
    assert graded.sentences(tables.empty("selftest")) == []


def test_scans_that_a_run_would_not_compare_are_marked():
    """The note says that the verdict is by size alone."""
    (found,) = graded.grades(made([row("unchanged", right=True, verdict="not_comparable")]))
    assert "not comparable" in graded.cells(found)[-1]
    assert len(graded.cells(found)) == len(graded.HEADS)
