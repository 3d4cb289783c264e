"""What a selftest says is right of what the line called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitor._selftest import judged
from monitor._selftest.inserted import NOTHING, Inserted, Painted
from monitor._selftest.visits import Made
from monitor.store import Results


def story(changes: list[dict], lesions: list[dict], folder: Path) -> Results:
    """Return results of a selftest as far as they are judged, without label images."""
    empty = {"visits": pd.DataFrame({"visit_id": ["rescan"], "registration": ["rigid"]})}
    columns = ["visit_id", "lesion_id", "status", "volume_mm3", "excess_hu_mm3"]
    return Results(
        folder,
        {
            **empty,
            "refused": pd.DataFrame(columns=["visit_id", "message"]),
            "lesions": pd.DataFrame(lesions, columns=columns),
            "changes": pd.DataFrame(changes),
        },
        {},
    )


def compared(lesion: int, change: float, detectable: float, verdict: str = "no_detectable_change") -> list[dict]:
    about = {"comparison": "baseline", "from_visit": "before", "to_visit": "rescan", "lesion_id": lesion}
    amounts = {"before": 100.0, "after": 100.0 + change, "change": change, "detectable": detectable}
    said = {**about, **amounts, "verdict": verdict, "carried_by": "volume_mm3"}
    return [{**said, "quantity": name} for name in judged.QUANTITIES]


def truth(volume: float) -> Painted:
    return Painted(volume, 400.0 * volume, np.zeros((1, 3))) if volume else NOTHING


@pytest.mark.parametrize(
    "case",
    [
        (100.0, 100.0, 1, 1, "no_detectable_change", True),
        (100.0, 150.0, 2, 2, "increased", True),
        (100.0, 120.0, 1, 1, "no_detectable_change", False),
        (100.0, 100.0, 2, 2, "increased", False),
        (100.0, 0.0, 3, None, "decreased", True),
        (0.0, 100.0, None, 4, "new", True),
        (0.0, 100.0, None, None, None, False),
        (100.0, 100.0, None, None, None, None),
        (100.0, 100.0, None, 4, "new", False),
        (100.0, 150.0, None, 4, "new", False),
    ],
)
def test_what_is_right(case, tmp_path, monkeypatch):
    """Every case of truth against what was said: called, missed, false, and nothing said of nothing.

    True volume before and after, identity found at both, what is called, and whether that is right.
    """
    before, after, first, then, called, right = case
    changes = [*compared(1, 5.0, 20.0), *compared(2, 50.0, 20.0, "not_comparable"), *compared(3, -100.0, 20.0)]
    lesions = [("before", number, "baseline", 100.0, 4e4) for number in (1, 2, 3)]
    lesions += [("rescan", number, "stable", 105.0, 4e4) for number in (1, 2)] + [("rescan", 4, "new", 90.0, 4e4)]
    found = story(changes, lesions, tmp_path)
    monkeypatch.setattr(judged, "_lesion_at", lambda _, __, visit, one: first if visit == "before" else then)
    one = Inserted("any", None, None, np.zeros(3), np.eye(3))
    table = judged.judged(Made([one], [truth(before)], [truth(after)], ["rescan"]), found, "P001")
    row = table.iloc[0]
    assert (None if pd.isna(row["called"]) else row["called"]) == called
    assert (None if pd.isna(row["right"]) else bool(row["right"])) is right
    own = table[table["lesion"] == judged.OWN]
    assert len(own) == 3 - (first is not None)
    assert (table["lesion"] == judged.NOWHERE).sum() == (then != 4)


def test_an_unchanged_lesion_drawn_on_other_voxels_has_not_changed(tmp_path, monkeypatch):
    """Invariance: what differs by 1 % because it lies on other voxels counts as unchanged."""
    monkeypatch.setattr(judged, "_lesion_at", lambda *_: 1)
    found = story(compared(1, 5.0, 20.0), [("before", 1, "baseline", 100.0, 4e4)], tmp_path)
    two = Painted(100.0, 40400.0, np.zeros((1, 3)))
    one = Inserted("unchanged", None, None, np.zeros(3), np.eye(3))
    row = judged.judged(Made([one], [truth(100.0)], [two], ["rescan"]), found, "P001").iloc[0]
    assert row["excess_true_change_hu_mm3"] == 0
    assert row["excess_right"]


def test_a_volume_that_is_not_resolved_is_judged_by_its_excess(tmp_path, monkeypatch):
    """A fall of the volume within its own wide limits counts where the excess fell beyond its own, as in the line."""
    monkeypatch.setattr(judged, "_lesion_at", lambda *_: 1)
    volume, excess = compared(1, -50.0, 200.0)[0], compared(1, -50.0, 10.0)[1]
    changes = [{**row, "carried_by": "excess_hu_mm3", "verdict": "decreased"} for row in (volume, excess)]
    found = story(changes, [("before", 1, "baseline", 100.0, 4e4)], tmp_path)
    one = Inserted("shrunk_50", None, None, np.zeros(3), np.eye(3))
    row = judged.judged(Made([one], [truth(100.0)], [truth(50.0)], ["rescan"]), found, "P001").iloc[0]
    assert (row["called"], row["detectable_mm3"]) == ("decreased", 200.0)
    assert row["right"]
