"""Which pieces are compared voxel by voxel, and where the answers stand."""

from __future__ import annotations

import pandas as pd
import pytest

from monitor import tables
from monitor._record import exchange
from monitor.change import EXCHANGED

KEYS = [("V0", ""), ("V1", ""), ("V2", "")]


def lesions(*rows: tuple[str, int, str, float | None, str]) -> pd.DataFrame:
    """Return rows visit_id, lesion_id, status, volume_mm3, compartment as table lesions."""
    names = ["visit_id", "lesion_id", "status", "volume_mm3", "compartment"]
    return tables.check(pd.DataFrame(rows, columns=names), "lesions")


def known(own: pd.DataFrame, *lineage: tuple[str, int, str, int | None, int | None]) -> tuple[dict, dict]:
    """Return a patient's tables, with a row of changes for each lesion and sum over V0 to V2, and labels 10 more."""
    events = pd.DataFrame(lineage, columns=["visit_id", "lesion_id", "kind", "from_lesion_id", "into_lesion_id"])
    subjects = [{"lesion_id": n} for n in sorted(set(own["lesion_id"]))]
    subjects += [{"compartment": name} for name in ("total", "muscle_or_fascia")]
    rows = [
        {"from_visit": "V0", "to_visit": "V2", "comparison": "baseline", "quantity": quantity, **subject}
        for subject in subjects
        for quantity in ("volume_mm3", "mass_mg")
    ]
    visits = pd.DataFrame({"visit_id": [k[0] for k in KEYS], "years": [0.0, 1.0, 2.0], "residual_mm": [0.0, 0.5, 0.6]})
    made = {"visits": visits, "lesions": own, "lineage": events, "changes": pd.DataFrame(rows)}
    named = {name: tables.check(table, name) for name, table in made.items()}
    there = own[own["volume_mm3"].notna()]
    wanted = {
        key: pd.DataFrame(
            {"lesion_id": part["lesion_id"], "label": (part["lesion_id"] + 10).mask(part["volume_mm3"] == 0)}
        )
        for key in KEYS
        for part in [there[there["visit_id"] == key[0]]]
    }
    return named, wanted


MUSCLE, SKIN = "muscle_or_fascia", "skin"


def test_what_merged_meanwhile_is_compared_as_one() -> None:
    """A family is one subject of the total, and what stands alone another; each lesion has its own beside."""
    own = lesions(
        ("V0", 1, "baseline", 90.0, MUSCLE),
        ("V0", 2, "baseline", 40.0, MUSCLE),
        ("V0", 3, "baseline", 20.0, SKIN),
        ("V1", 1, "grown", 140.0, MUSCLE),
        ("V1", 2, "merged", None, MUSCLE),
        ("V1", 3, "stable", 21.0, SKIN),
        ("V2", 1, "stable", 150.0, MUSCLE),
        ("V2", 3, "resolved", 0.0, SKIN),
    )
    found, wanted = known(own, ("V1", 2, "merged", None, 1))
    asked = exchange.asked(found, wanted)
    assert asked == {(KEYS[0], KEYS[2]): (((11,), (11,)), ((11, 12), (11,)), ((12,), ()), ((13,), ()))}
    later = found | {"lineage": found["lineage"].assign(visit_id="V0")}
    assert ((11, 12), (11,)) not in exchange.asked(later, wanted)[(KEYS[0], KEYS[2])]


def test_answers_stand_in_rows_of_volume_and_sums_are_sums() -> None:
    """Closed form: lesions have their own answer, total and compartment the sum over families in the common field."""
    own = lesions(
        ("V0", 1, "baseline", 90.0, MUSCLE),
        ("V0", 2, "not_in_field", None, MUSCLE),
        ("V0", 3, "baseline", 20.0, SKIN),
        ("V2", 1, "stable", 91.0, MUSCLE),
        ("V2", 2, "first_seen", 70.0, MUSCLE),
        ("V2", 3, "stable", 20.0, SKIN),
        ("V2", 4, "new", 8.0, MUSCLE),
    )
    found, wanted = known(own)
    answers = {
        subject: dict.fromkeys(EXCHANGED, float(10 ** max(*subject[0], *subject[1], 0) // 10**10))
        for subject in exchange.asked(found, wanted)[(KEYS[0], KEYS[2])]
    }
    changes = exchange.filled(found, wanted, {(KEYS[0], KEYS[2]): answers})["changes"]
    filled = changes[changes["quantity"] == "volume_mm3"].fillna({"compartment": "one"})
    assert filled["gained_mm3"].tolist() == [10.0, 100.0, 1000.0, 10000.0, 11010.0, 10010.0]
    assert changes.loc[changes["quantity"] == "mass_mg", list(EXCHANGED)].isna().all(axis=None)
    assert tables.check(changes, "changes").equals(changes)


@pytest.mark.parametrize("why", ["refused", "two scans"])
def test_without_a_map_nothing_is_asked_and_columns_stay_empty(why: str) -> None:
    """A visit whose registration was refused, or with two scans of a region, has no gain or loss: empty, not 0."""
    own = lesions(("V0", 1, "baseline", 90.0, MUSCLE), ("V2", 1, "stable", 91.0, MUSCLE))
    found, wanted = known(own)
    if why == "refused":
        found["visits"].loc[2, "residual_mm"] = float("nan")
    else:
        wanted["V2", "second"] = wanted[KEYS[2]]
    assert exchange.asked(found, wanted) == {}
    assert exchange.filled(found, wanted, {})["changes"][list(EXCHANGED)].isna().all(axis=None)
