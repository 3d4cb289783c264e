"""Tables of the long report that stand beside our own verdicts: published limits, and what a reader scored."""

from __future__ import annotations

from typing import Any

import pandas as pd

from monitor.export import story, words
from monitor.export.story import Cell, Grid
from monitor.tables import PUBLISHED_LIMIT

LIMIT_CHARS = 60
"""A longer name of a published limit is cut; the table has it whole."""


def published_grids(one: story.Patient) -> list[Grid]:
    """Return what published limits of change say of each visit since the baseline; nothing where none is there."""
    changes = one.tables["changes"]
    chosen = story.by_published(changes) & (changes["comparison"] == "baseline") & (changes["compartment"] == "total")
    own = changes[chosen.fillna(False)]
    rows = {(row["quantity"], _limit(row["rule_id"]), row["to_visit"]): row for row in story.records(own)}
    limits = list(dict.fromkeys(key[:2] for key in rows))
    later = [visit for visit in story.records(one.measured) if any(key[2] == visit["visit_id"] for key in rows)]
    grids = []
    for visits in story.abreast(later):
        table = []
        for quantity, limit in limits:
            name, _, formula = limit.partition(":")
            head = Cell(words.quantity_name(quantity))
            told = Cell(name.replace("-", " ").capitalize(), words.short(formula.replace(",", ", "), LIMIT_CHARS))
            table.append([head, told, *(_judged(rows.get((quantity, limit, visit["visit_id"]))) for visit in visits)])
        caption = "Change from the baseline by published limits, which were made of adults' coronary scans"
        grids.append(Grid(caption, [*story.heads("Quantity", "Limit"), *map(story.heading, visits)], table))
    return grids


def score_grid(one: story.Patient) -> Grid:
    """Return what readers scored, in order of date; without rows where nothing was."""
    scores = one.tables.get("scores", pd.DataFrame())
    heads = story.heads("Score", "Date", "Years", "Value", "Where", "Reader", "Source")
    rows = []
    if not scores.empty:
        ordered = scores.sort_values(["quantity", "date", "compartment", "reader"], kind="stable")
        rows = [_score(row) for row in story.records(ordered)]
    return Grid("Scores that readers gave; nothing here was measured by this program", heads, rows)


def _limit(rule: Any) -> str:
    """Return the name of the published limit in a rule.

    >>> _limit("agatston:v1;limit=callister-1998:15%;contrast=outline")
    'callister-1998:15%'
    """
    return str(rule).partition(PUBLISHED_LIMIT)[2].partition(";")[0]


def _judged(row: dict[str, Any] | None) -> Cell:
    if row is None:
        return Cell(words.MISSING)
    mark = words.mark(words.VERDICTS, row["verdict"])
    if row["verdict"] == "not_comparable":
        return Cell("", mark=mark)
    return Cell(words.number(row["change"], sign=True), f"limit {words.number(row['detectable'])}", mark)


def _score(row: dict[str, Any]) -> list[Cell]:
    return [
        Cell(words.quantity_name(words.text(row["quantity"]))),
        Cell(words.day(row["date"])),
        Cell(words.years(row["years"]), right=True),
        Cell(words.amount(row["value"], row["unit"]), right=True),
        Cell(words.place(row["compartment"]) if words.text(row["compartment"]) != words.MISSING else words.MISSING),
        Cell(words.text(row["reader"])),
        Cell(words.text(row["source"])),
    ]
