"""Tables with one row a patient: who is kept, which arms there are, and what the rows say."""

from __future__ import annotations

from math import nan

import pandas as pd
import pytest

from monitor._stats import one_each
from monitor._stats.one_each import Row

PATIENTS = pd.DataFrame(
    {"patient_id": ["a", "b", "c", "d"], "count": [1.0, None, 3.0, 4.0], "arm": ["x", "x", "y", None]}
)


def test_who_is_left_out_is_counted() -> None:
    """A patient without the number, and one without an arm, are left out with a note; the others keep their arms."""
    found, arms = one_each.read(PATIENTS, ("count",), reference=None)
    assert arms == ("x", "y")
    assert found.number["count"].tolist() == [1.0, 3.0]
    assert found.of("y").number["count"].tolist() == [3.0]
    assert found.notes == ("1 patient(s) without count left out", "1 patient(s) without arm left out")


def test_the_reference_comes_first() -> None:
    """Arms are in order but for the reference; without a column there is one, called all."""
    assert one_each.read(PATIENTS, ("count",), reference="y")[1] == ("y", "x")
    assert one_each.read(PATIENTS.drop(columns="arm"), ("count",), reference=None)[1] == (one_each.ALL,)


@pytest.mark.parametrize(
    ("change", "reference", "rule"),
    [
        ({"patient_id": ["a", "a", "c", "d"]}, None, "every patient must have one row; a have several"),
        ({"patient_id": ["a", None, "c", "d"]}, None, "every row must name its patient; 1 have no patient_id"),
        ({"count": None}, None, "data must hold one patient or more"),
        ({}, "z", "reference must be one of x, y; got 'z'"),
    ],
)
def test_what_cannot_be_read_is_refused(change: dict[str, object], reference: str | None, rule: str) -> None:
    """Doubled and unnamed patients, nobody, and an unknown reference: the rule, and what came."""
    with pytest.raises(ValueError, match=rule):
        one_each.read(PATIENTS.assign(**change), ("count",), reference=reference)


def test_a_missing_p_value_is_explained() -> None:
    """Notes are said once each, and no NaN is without one."""
    row = Row("all", "rate", 1.0, 0.5, 2.0, nan, "1/a", "Poisson", "garwood", 3, "first")
    found = one_each.table([row.noting("second", "first")], ("read",))
    assert tuple(found.columns) == one_each.COLUMNS
    assert found["note"].tolist() == ["first; second; read; no hypothesis is tested: no p value"]
