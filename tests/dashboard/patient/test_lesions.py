"""Rows of the table of lesions, against rows made by hand."""

from dashboard.patient import lesions


def lesion(number, visit, volume, status, **more):
    return {"patient_id": "P1", "visit_id": f"V{visit}", "years": visit - 1.0, "lesion_id": number, "status": status,
            "volume_mm3": volume, "volume_lo_mm3": None if volume is None else 0.9 * volume,
            "volume_hi_mm3": None if volume is None else 1.1 * volume, "compartment": "subcutis", "side": "left",
            **more}  # fmt: skip


def test_baseline_lowest_previous_and_current_have_their_limits(hand_made, visit, change):
    """Each is the amount of its visit; a visit before the baseline is never the lowest."""
    own = hand_made(
        visits=[visit(0, -1.0), *(visit(n, n - 1.0) for n in (1, 2, 3))],
        lesions=[
            lesion(1, 0, 5.0, "baseline"),
            lesion(1, 1, 100.0, "baseline"),
            lesion(1, 2, 40.0, "shrunk", pattern="lacy"),
            lesion(1, 3, 80.0, "grown"),
        ],
        changes=[change(3, 100, 80, lesion_id=1, compartment=None, why="within", gained_mm3=1.0, lost_mm3=21.0)],
    )
    row = lesions.lesion_rows(own)[0]
    assert [row[name] for name in ("baseline", "lowest", "previous", "current")] == [100.0, 40.0, 40.0, 80.0]
    assert row["current_shown"] == "80 (72 to 88)"
    assert row["status"] == "▲ grown"
    assert row["where"] == "left subcutaneous fat; lace"
    assert row["since_baseline_shown"] == "= −20 no detectable change"
    assert row["since_baseline_tone"] == "same"
    assert "smallest change that counts: 15" in row["since_baseline_why"]
    assert "gained 1" in row["since_baseline_why"]
    assert row["since_previous_shown"] == "–"


def test_what_ended_stands_last_and_says_where(hand_made, visit):
    """A lesion that merged before the latest visit says at which; the largest comes first."""
    own = hand_made(
        visits=[visit(1, 0.0), visit(2, 1.0), visit(3, 2.0)],
        lesions=[
            lesion(1, 1, 10.0, "baseline"), lesion(1, 2, None, "merged"),
            lesion(2, 1, 20.0, "baseline"), lesion(2, 3, 25.0, "stable"),
            lesion(3, 1, 90.0, "baseline"), lesion(3, 3, 95.0, "stable"),
        ],
    )  # fmt: skip
    found = lesions.lesion_rows(own)
    assert [row["lesion_id"] for row in found] == [3, 2, 1]
    assert found[2]["status"] == "⤙ merged at V2"
    assert found[2]["gone"]


def test_a_volume_that_is_not_resolved_is_told_by_its_excess(hand_made, visit, change):
    """The verdict rests on the excess, and its change is what is shown."""
    of_lesion = {"lesion_id": 1, "compartment": None, "carried_by": "excess_hu_mm3"}
    own = hand_made(
        visits=[visit(1, 0.0), visit(2, 1.0)],
        lesions=[lesion(1, 1, 10.0, "baseline"), lesion(1, 2, 30.0, "grown")],
        changes=[
            change(2, 10, 30, **of_lesion),
            change(2, 4000, 6000, **of_lesion, quantity="excess_hu_mm3", unit="HU mm3"),
        ],
    )
    assert "% excess increased" in lesions.lesion_rows(own)[0]["since_baseline_shown"]


def test_without_lesions_there_are_no_rows(hand_made, visit):
    """A patient without a lesion is not an error."""
    assert lesions.lesion_rows(hand_made(visits=[visit(1, 0.0)])) == []
