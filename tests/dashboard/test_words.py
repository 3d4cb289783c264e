"""Sentences: what they say, and that they never say more."""

import numpy as np
import pandas as pd
import pytest

from dashboard import words
from monitor import tables


def change(**values: object) -> pd.Series:
    """Return a comparison of V1 with V4 in which a volume grew."""
    row = {
        "from_visit": "V1", "to_visit": "V4", "quantity": "volume_mm3", "unit": "mm3", "before": 800.0,
        "after": 1120.0, "change": 320.0, "lo": 250.0, "hi": 390.0, "detectable": 70.0, "change_pct": 40.0,
        "verdict": "increased", "why": "beyond the smallest detectable change", "years": 1.5,
    }  # fmt: skip
    return pd.Series({**row, **values})


def treatments(*pairs: tuple[str, float]) -> pd.DataFrame:
    rows = [{"patient_id": "P1", "kind": "treatment", "name": name, "years": years} for name, years in pairs]
    return tables.check(pd.DataFrame(rows), "events")


def told(
    row: pd.Series | None, events: pd.DataFrame | None = None, *, seen: tuple[float, ...] = (800, 850, 900, 1120)
) -> str:
    """Return the sentence for a patient whose visits V1, V2, … showed these amounts; NaN: not wholly in the field."""
    events = treatments() if events is None else events
    names = [f"V{number}" for number in range(1, len(seen) + 1)]
    course = pd.DataFrame({"visit_id": names, "value": list(seen), "value_observed": [1.0] * len(seen)})
    return words.change_sentence(row, events, course=course, where="total").replace(words.THIN, " ")


def test_an_increase_is_told_with_limits_and_what_counts():
    """Amount, per cent, visits, limits and the smallest change that counts stand in one sentence."""
    assert told(change()) == (
        "Volume of mineral (all compartments) increased by 320 mm³ (+40 %) from V1 (baseline) to V4 "
        "(95 % limits of the change 250 to 390). Smallest change that counts here: 70 mm³."
    )


def test_a_decrease_is_told_without_a_sign():
    """Decreased by a positive amount."""
    sentence = told(change(change=-320.0, lo=-390.0, hi=-250.0, change_pct=-40.0, verdict="decreased"))
    assert "decreased by 320 mm³ (−40 %)" in sentence
    assert "−390 to −250" in sentence


def test_no_detectable_change_is_not_no_change():
    """The words do not claim that nothing happened."""
    sentence = told(change(change=12.0, lo=-58.0, hi=82.0, verdict="no_detectable_change"))
    assert "no detectable change from V1 (baseline) to V4: +12 mm³" in sentence


def test_not_comparable_gives_the_reason_and_no_number():
    """Where the protocols differ there is no amount to quote."""
    sentence = told(change(verdict="not_comparable", why="kernel B30 and B70"))
    assert sentence.endswith("is not comparable: kernel B30 and B70.")
    assert "320" not in sentence


@pytest.mark.parametrize(("seen", "said"), [((), "No visit"), ((1.0,), "One visit"), ((1.0, 2.0), "No comparison")])
def test_without_a_comparison_it_says_so(seen, said):
    """One visit, none, or none that follows the baseline."""
    assert told(None, seen=seen).startswith(said)


def test_a_common_field_is_said():
    """Where a visit did not show all that is known, the reader learns that only part was compared."""
    assert told(change(), seen=(800.0, 850.0, 900.0, np.nan)).endswith("Compared in the field common to both.")
    assert "common" not in told(change(), seen=(800.0, np.nan, 900.0, 1120.0))


def test_treatment_is_told_in_time_never_as_a_cause():
    """Only starts before the later visit are named, and only as after."""
    sentence = told(change(), treatments(("early", 0.2), ("late", 3.0)))
    assert sentence.endswith("V4 lies after start of early.")
    for word in ("due", "because", "effect", "response", "respon", "caus"):
        assert word not in sentence


def test_missing_numbers_are_a_dash():
    """Neither NaN nor None nor NA is printed."""
    assert {words.number(value) for value in (np.nan, None, pd.NA)} == {words.MISSING}
    assert words.amount(np.nan, "mm3") == words.MISSING
    assert words.with_limits(np.nan, np.nan, np.nan) == words.MISSING


def test_infinite_limits_are_printed_as_such():
    """One side of a limit may be open."""
    assert words.limits(1.0, np.inf) == "1 to ∞"


def test_every_status_and_verdict_has_a_symbol_of_its_own():
    """Colour is never all that tells two apart."""
    for marks in (words.STATUSES, words.VERDICTS):
        assert len({mark.symbol for mark in marks.values()}) == len(marks)


def test_statuses_are_those_of_the_schema():
    """The table's own list of statuses is covered."""
    meaning = next(column.meaning for column in tables.LESIONS if column.name == "status")
    assert set(words.STATUSES) == set(meaning.replace(" or ", ", ").split(", "))
