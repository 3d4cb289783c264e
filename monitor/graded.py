"""What a selftest says of a patient's scan: counts and sentences, the same in report, page and screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from monitor.words import MISSING, THIN, number

SITUATIONS = {
    "rescan": "scanned again as before",
    "noise": "with half as much noise again",
    "kernel": "with a softer kernel",
    "slices": "with slices of twice the distance",
}
"""Situations of a selftest, as they are told."""

KINDS = {
    "grown_50": "grown by 50 %",
    "grown_20": "grown by 20 %",
    "shrunk_20": "shrunk by 20 %",
    "densified": "denser by 30 %",
    "dissolved": "gone",
    "new": "new",
    "unchanged": "unchanged",
    "own": "the patient's own, unchanged",
}
"""What became of the lesions of a selftest, as it is told."""

EXCESS_TELLS = ("densified",)
"""Of these it is the excess that changes; of all others volume too."""

TITLE = "Known change put into the baseline and measured back"
"""Heads the table of a selftest."""

EXPLAINED = (
    "Lesions of known size were drawn into the patient's own baseline scan. The same patient, moved and bent by 2 mm, "
    "was scanned again by computation, with known changes. The numbers are what this program then found."
)
"""What a selftest is."""


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    def __str__(self) -> str:
        """Return it in words; of nothing is a dash."""
        return f"{self.count} of {self.of}" if self.of else MISSING


@dataclass(frozen=True)
class Grade:
    """One situation: true changes that were called, unchanged lesions that were called changed, and the error.

    ``error`` is the median error of a change of volume over the lesion's true volume (the larger of before and after),
    NaN where none was measured; ``false_new`` counts what was called new where nothing is.
    """

    situation: str
    recovered: Share
    false: Share
    false_new: int
    error: float
    comparable: bool
    why: str


def grades(table: pd.DataFrame) -> list[Grade]:
    """Return the grade of each situation of one patient's rows of table ``selftest``."""
    tested = table[table["situation"].notna()]
    return [_grade(str(name), own) for name, own in tested.groupby("situation", sort=False)]


def kinds(table: pd.DataFrame, situation: str) -> list[tuple[str, Share]]:
    """Return for each kind of change how many lesions were called what they are, in one situation."""
    own = table[(table["situation"] == situation).fillna(False)]
    found = [(words, own[(own["lesion"] == kind).fillna(False)], kind) for kind, words in KINDS.items()]
    return [(words, _right(part, kind)) for words, part, kind in found if len(part)]


def sentences(table: pd.DataFrame) -> list[str]:
    """Say how well one patient's scan can be measured; nothing without a selftest.

    Parameters
    ----------
    table : DataFrame
        The patient's rows of table ``selftest``.
    """
    if table.empty:
        return []
    found = grades(table)
    if not found:
        return [f"The scan could not be tested: {'; '.join(table['why'].dropna().astype(str))}."]
    first = found[0]
    told = f"Scanned again as before, {first.recovered} true changes were called, and {first.false} unchanged lesions"
    told += " were called changed."
    missed = [words for words, share in kinds(table, first.situation) if share.count < share.of]
    more = f" Not all were called right of those: {', '.join(missed)}." if missed else ""
    new = f" {first.false_new} called new where nothing is." if first.false_new else ""
    return [told + more + new]


def _grade(name: str, own: pd.DataFrame) -> Grade:
    put_in = own[own["true_before_mm3"].notna()]
    changed = [_right(part, str(kind)) for kind, part in put_in.groupby("lesion") if kind != "unchanged"]
    still = own[own["lesion"].isin(["unchanged", "own"])]
    judged = still["right"].dropna()
    size = put_in[["true_before_mm3", "true_after_mm3"]].max(axis=1)
    error = ((put_in["change_mm3"] - put_in["true_change_mm3"]).abs() / size).median()
    apart = own["verdict"].eq("not_comparable").fillna(False)
    return Grade(
        situation=name,
        recovered=Share(sum(one.count for one in changed), sum(one.of for one in changed)),
        false=Share(int((~judged.astype(bool)).sum()), len(judged)),
        false_new=int(own["lesion"].eq("nothing").sum()),
        error=float(error) if pd.notna(error) else float("nan"),
        comparable=not bool(apart.any()),
        why="; ".join(own["why"].dropna().astype(str).drop_duplicates()[lambda text: text != ""]),
    )


def _right(part: pd.DataFrame, kind: str) -> Share:
    right = part["excess_right" if kind in EXCESS_TELLS else "right"].dropna()
    return Share(int(right.astype(bool).sum()), len(right))


def cells(one: Grade) -> list[str]:
    """Return a grade as the cells of a table: situation, recovered, false change, false new, error, and what of it."""
    note = one.why if one.comparable else f"{SIZES_ALONE}{one.why}"
    return [
        SITUATIONS.get(one.situation, one.situation),
        str(one.recovered),
        str(one.false),
        str(one.false_new),
        percent(one.error),
        note,
    ]


SIZES_ALONE = "a run calls these scans not comparable, here sizes alone are judged: "
"""Begins the note on scans that are too unlike."""

HEADS = ("Situation", "True changes called", "Unchanged called changed", "False new", "Error of a change", "Note")
"""Heads of the cells of a grade."""


def percent(value: Any) -> str:
    """Return a share in per cent.

    >>> percent(0.034).replace(THIN, " "), percent(float("nan"))
    ('3.4 %', '–')
    """
    return MISSING if pd.isna(value) else f"{number(100 * float(value))}{THIN}%"
