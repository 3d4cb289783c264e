"""One patient's rows: in order of time, plain, and kept."""

import math

import pytest

from dashboard.patient.own import Own, own, plain_rows


def test_rows_are_plain_and_in_order_of_time(hand_made, visit):
    """A missing number is NaN, all else missing is None, and the oldest visit comes first."""
    made = hand_made(visits=[visit(2, 1.0, kernel="B"), visit(1, 0.0)])
    assert list(made.visits) == ["V1", "V2"]
    assert made.visits["V1"]["kernel"] is None
    assert math.isnan(made.visits["V1"]["kvp"])
    assert made.years("V2") == 1.0
    assert math.isnan(made.years("V9"))


def test_the_baseline_is_the_one_named_else_that_at_0(hand_made, visit):
    """Table patients names the baseline; where it does not, years are counted from it."""
    visits = [visit(1, -0.5), visit(2, 0.0)]
    assert hand_made(visits=visits).baseline == "V2"
    assert hand_made(visits=visits, patients=[{"patient_id": "P1", "baseline_visit_id": "V1"}]).baseline == "V1"
    assert hand_made().baseline is None


def test_published_limits_are_apart_from_our_own(hand_made, visit, change):
    """A comparison by a published limit is no comparison by the error of the scans."""
    rows = [change(2, 100, 140), change(2, 100, 140, rule_id="volume:v1;limit=some-2001:15%")]
    made = hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], changes=rows)
    assert [row["rule_id"] for row in made.changes("volume_mm3", "total")] == ["volume:v1"]
    assert [row["rule_id"] for row in made.published] == ["volume:v1;limit=some-2001:15%"]


def test_a_patient_is_read_once(study):
    """The rows of a patient are kept, those of one are never those of another, and the unknown are refused."""
    assert own(study, "P001") is own(study, "P001")
    assert {row["visit_id"] for row in own(study, "P003").scans} == {"V1"}
    with pytest.raises(KeyError, match="P777"):
        own(study, "P777")


def test_results_without_scores_hold_none(p001):
    """Results of an older version lack table scores."""
    found = {name: table for name, table in p001.results.tables.items() if name != "scores"}
    assert Own(type(p001.results)(p001.folder, found, {})).scores == []


def test_a_mask_picks_rows(p001):
    """Only the rows of the mask come, and only the columns asked for."""
    table = p001.table("visits")
    assert plain_rows(table, ["visit_id"], (table["visit_id"] == "V3").to_numpy(bool)) == [{"visit_id": "V3"}]


def test_a_visit_is_all_its_scans(hand_made, visit):
    """One scan that may not be compared, or is not told, decides; the reasons and the worst limit are of all."""
    made = hand_made(
        visits=[
            visit(1, 0.0), visit(1, 0.0, comparable=False, comparable_why="kernel A and B", lod_mm3=9.0),
            visit(1, 0.0, comparable=None, comparable_why="tube voltage unknown", lod_mm3=None),
            visit(2, 1.0), visit(2, 1.0, comparable=None), visit(3, 2.0), visit(3, 2.0),
        ]
    )  # fmt: skip
    assert [row["comparable"] for row in made.visits.values()] == [False, None, True]
    first = made.visits["V1"]
    assert (first["comparable_why"], first["lod_mm3"]) == ("kernel A and B; tube voltage unknown", 9.0)
