"""Published limits beside our own verdicts, and what readers scored."""

import pandas as pd
import pytest

from monitor import tables
from monitor.export import report_tables, story
from tests.dashboard.made import made_tables


@pytest.fixture
def told():
    """Return a function that makes the story of P001 with further rows of some tables."""

    def make(**more: list[dict]) -> story.Patient:
        found = made_tables(0)
        for name, rows in more.items():
            added = tables.check(pd.DataFrame([{"patient_id": "P001", **row} for row in rows]), name)
            found[name] = pd.concat([found[name], added], ignore_index=True)
        return story.patient(found, "P001")

    return make


def limit(visit: str, name: str, **more: object) -> dict:
    """Return a comparison of the total with the baseline by a published limit."""
    rule = f"agatston:v1{tables.PUBLISHED_LIMIT}{name}"
    about = {"from_visit": "V2", "to_visit": visit, "comparison": "baseline", "compartment": "total"}
    numbers = {"change": 40.0, "detectable": 25.0, "verdict": "increased"}
    return {**about, "quantity": "agatston", "rule_id": rule, **numbers, **more}


def test_each_published_limit_has_a_row_and_each_visit_a_column(told):
    """Its name, its formula, the change, the limit and the verdict by it."""
    one = told(changes=[limit("V4", "callister-1998:15%"), limit("V5", "callister-1998:15%", verdict="decreased")])
    (grid,) = report_tables.published_grids(one)
    ((quantity, name, before, after),) = grid.rows
    assert quantity.text == "Agatston score"
    assert (name.text, name.more) == ("Callister 1998", "15%")
    assert (before.text, before.more, before.mark[1]) == ("+40", "limit 25", "increased")
    assert after.mark[1] == "decreased"


def test_what_is_not_comparable_has_no_number(told):
    """A change by another protocol is no change, whoever published the limit."""
    (grid,) = report_tables.published_grids(told(changes=[limit("V5", "mesa:x", verdict="not_comparable")]))
    assert grid.rows[0][-1].text == ""
    assert grid.rows[0][-1].mark[1] == "not comparable"


def test_without_published_limits_there_is_no_table(told):
    """Our own comparisons are none."""
    assert report_tables.published_grids(told()) == []


def test_scores_stand_by_name_and_day(told):
    """With their unit, who gave them and where they came from; an absent reader is said to be."""
    scores = [
        {"date": "2024-05-01", "years": 1.0, "quantity": "CMAS", "value": 41.0, "unit": "1", "source": "clinic"},
        {"date": "2023-05-01", "years": 0.0, "quantity": "CMAS", "value": 38.0, "unit": "1", "reader": "R1"},
    ]
    rows = report_tables.score_grid(told(scores=scores)).rows
    assert [row[3].text for row in rows] == ["38", "41"]
    assert [row[5].text for row in rows] == ["R1", "–"]
    assert rows[1][6].text == "clinic"
