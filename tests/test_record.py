"""A patient's rows: sums, statuses and the events of lesions."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from monitor import burden, record, store, tables


def test_years_are_of_365_and_a_quarter_days() -> None:
    """Closed form: four years with one leap day are four."""
    assert record.years_between(date(2020, 1, 1), date(2024, 1, 1)) == pytest.approx(4.0)
    assert record.years_between(date(2021, 1, 1), date(2020, 1, 1)) < 0


def test_lineage_names_each_event_once(limb_results: store.Results) -> None:
    """One lesion came and one went: two events in all."""
    assert sorted(limb_results.tables["lineage"]["kind"]) == ["new", "resolved"]


def test_changes_are_differences_of_the_lesion_table(limb_results: store.Results) -> None:
    """Invariance: before, after and change of a lesion are those of table lesions."""
    lesions = limb_results.tables["lesions"].set_index(["visit_id", "lesion_id"])["volume_mm3"]
    changes = (
        limb_results.tables["changes"]
        .query("quantity == 'volume_mm3' and lesion_id == lesion_id")
        .dropna(subset=["lesion_id"])
    )
    assert len(changes)
    for row in changes.to_dict("records"):
        before, after = (lesions[(row[end], row["lesion_id"])] for end in ("from_visit", "to_visit"))
        assert row["change"] == pytest.approx(after - before)
        if row["carried_by"] == "volume_mm3":
            assert (row["verdict"] == "no_detectable_change") == (abs(row["change"]) <= row["detectable"])


def test_each_verdict_names_what_it_rests_on(limb_results: store.Results) -> None:
    """Volume and excess of a comparison name the same carrier, and a volume that is not resolved has its verdict."""
    changes = limb_results.tables["changes"]
    keys = ["from_visit", "to_visit", "comparison", "lesion_id", "compartment"]
    own = changes[changes["quantity"].isin(["volume_mm3", "excess_hu_mm3"])]
    volume, excess = (own[own["quantity"] == name].set_index(keys) for name in ("volume_mm3", "excess_hu_mm3"))
    assert volume["carried_by"].isin(["volume_mm3", "excess_hu_mm3"]).all()
    pd.testing.assert_series_equal(volume["carried_by"], excess["carried_by"])
    by_excess = volume["carried_by"] == "excess_hu_mm3"
    assert (volume["verdict"] == excess["verdict"])[by_excess].all()


def test_growth_has_rows_and_verdicts_beside_the_absolute_ones(limb_results: store.Results) -> None:
    """Phantom and closed form: sums per body surface and per growth are the absolute ones divided by what was given."""
    burden, changes = limb_results.tables["burden"], limb_results.tables["changes"]
    total = burden[burden["compartment"] == "total"].pivot_table("value", "visit_id", "quantity")
    surface = [np.sqrt((118 + 4 * n) * (22 + n) / 3600) for n in range(3)]
    np.testing.assert_allclose(total["volume_mm3"] / total["volume_mm3_per_m2"], surface, rtol=1e-9)
    growth = total["excess_hu_mm3"] / total["excess_hu_mm3_per_growth"]
    # The phantom grows by 2 % in length from visit to visit.
    np.testing.assert_allclose(growth, [1.0, 1.02**3, 1.02**6], rtol=0.02)
    own = burden[burden["quantity"].str.startswith("volume_mm3") & (burden["compartment"] == "total")]
    assert ((own["lo"] <= own["value"]) & (own["value"] <= own["hi"])).all()
    verdicts = changes[changes["compartment"] == "total"].groupby("quantity")["verdict"].count()
    assert verdicts["volume_mm3"] == verdicts["volume_mm3_per_m2"] == verdicts["excess_hu_mm3_per_growth"] > 0


def test_published_limits_stand_in_rows_of_their_own(limb_results: store.Results) -> None:
    """Every comparison of a total has one row a published limit, named in its rule; no two rows say the same."""
    changes = limb_results.tables["changes"]
    named = changes[changes["rule_id"].str.contains(";limit=")]
    pairs = changes[changes["compartment"] == "total"][["from_visit", "to_visit", "comparison"]].drop_duplicates()
    assert len(named) == 7 * len(pairs)
    keys = ["from_visit", "to_visit", "comparison", "lesion_id", "compartment", "quantity", "rule_id"]
    assert not changes.duplicated(keys).any()


def test_renumbering_shifts_every_identity(limb_results: store.Results) -> None:
    """Identities of a second region go on where the first ended."""
    names = ("visits", "lesions", "lineage", "burden", "changes")
    one = record.Record({name: limb_results.tables[name] for name in names}, {})
    moved = record.renumbered(one, 10)
    assert record.last_lesion(moved) == record.last_lesion(one) + 10
    assert moved.tables["lesions"]["lesion_id"].min() == one.tables["lesions"]["lesion_id"].min() + 10


def test_corrections_go_to_the_record_of_their_lesion() -> None:
    """Each region has its own numbers; what speaks of no lesion, or of lesions of two regions, is refused."""
    rows = [("A", "V1", 2, 1), ("A", "V1", 4, 9), ("A", "V1", 4, 1), ("A", "V1", 6, 1), ("B", "V0", 1, 2)]
    matches = pd.DataFrame(rows, columns=["patient_id", "visit_id", "lesion_id", "is_lesion_id"])
    parts, refused = record.shared_out(matches, [("A", range(1, 4)), ("A", range(4, 6))])
    assert [part["is_lesion_id"].tolist() for part in parts] == [[1], [9]]
    assert [(row["patient_id"], row["code"]) for row in refused] == [("A", "bad-match")] * 2 + [("B", "bad-match")]
    assert "lie in two" in refused[0]["message"]
    assert len(tables.check(pd.DataFrame(refused), "refused")) == 3


def test_regions_are_summed_and_a_missing_one_is_not_evaluable() -> None:
    """Two regions at one visit add up; where one was not scanned the value is missing and what was seen is kept."""
    row = {"patient_id": "A", "compartment": "total", "quantity": "volume_mm3", "evaluable": 1.0, "unit": "mm3"}
    rows = [
        {**row, "visit_id": "V0", "value": 10.0, "lo": 7.0, "hi": 13.0, "value_observed": 10.0},
        {**row, "visit_id": "V0", "value": 20.0, "lo": 16.0, "hi": 24.0, "value_observed": 20.0},
        {**row, "visit_id": "V1", "value": 11.0, "lo": 8.0, "hi": 14.0, "value_observed": 11.0},
    ]
    summed = record.over_regions(tables.check(pd.DataFrame(rows), "burden")).set_index("visit_id")
    assert summed.loc["V0", ["value", "lo", "hi"]].tolist() == [30.0, 25.0, 35.0]
    assert np.isnan(summed.loc["V1", "value"])
    assert summed.loc["V1", "value_observed"] == 11.0
    assert summed.loc["V1", "evaluable"] == 0.5


def test_a_results_folder_holds_pictures_of_each_lesion(limb_results: store.Results) -> None:
    """Every lesion that is there or resolved at a visit has its picture, each visit its QC picture and label map."""
    lesions = limb_results.tables["lesions"].dropna(subset=["volume_mm3"])
    for row in lesions.to_dict("records"):
        folder = Path(limb_results.folder) / "images" / row["patient_id"] / row["visit_id"]
        assert (folder / f"lesion_{row['lesion_id']:04d}.png").stat().st_size > 1000
        assert (folder / "qc.png").exists()
        assert (folder / "lesions.nii.gz").exists()


def test_every_visit_shows_every_lesion_in_one_frame(limb_results: store.Results) -> None:
    """Before it was there and after it was gone: a picture for each lesion of the patient at each placed visit."""
    lesions, visits = limb_results.tables["lesions"], limb_results.tables["visits"]
    assert visits["residual_mm"].notna().all()
    known = {f"frame_{lesion:04d}.png" for lesion in lesions["lesion_id"].dropna()}
    assert len(known) == 3
    for row in visits.to_dict("records"):
        folder = Path(limb_results.folder) / "images" / row["patient_id"] / row["visit_id"]
        assert {path.name for path in folder.glob("frame_*.png")} == known
        assert json.loads((folder / "qc.json").read_text())["reference_visit_id"] == row["reference_visit_id"]


def words(*rows: tuple[int | None, float, str | None]) -> list[str]:
    """Return the settled words of rows lesion_id, volume_mm3, word."""
    table = pd.DataFrame(rows, columns=["lesion_id", "volume_mm3", "compartment"])
    table["lesion_id"] = table["lesion_id"].astype("Int64")
    return record.settled(table, "compartment").tolist()


def test_a_lesion_has_one_compartment() -> None:
    """The word that holds for most of its volume over all visits, where it is gone too; others keep their own."""
    rows = [
        (1, 10.0, "organ"),
        (1, 30.0, "subcutis"),
        (1, 15.0, "organ"),
        (1, 0.0, None),
        (2, 5.0, "skin"),
        (2, 1.0, ""),
    ]
    assert words(*rows) == ["subcutis"] * 4 + ["skin"] * 2


def test_a_readers_compartment_wins_over_visits() -> None:
    """A number from a mask, however small the lesion was then; without any word there is none."""
    assert words((1, 90.0, "organ"), (1, 1.0, "7"), (3, 4.0, ""), (3, 4.0, None)) == ["7", "7", "", ""]


def test_pieces_without_identity_are_not_one_lesion() -> None:
    """At a visit that could not be placed each piece keeps its own word."""
    assert words((None, 9.0, "skin"), (None, 1.0, "organ"), (1, 2.0, "subcutis")) == ["skin", "organ", "subcutis"]


def test_described_lesions_stand_in_the_table(limb_results: store.Results) -> None:
    """Compartment and side are one word a lesion, and the shape is known wherever it is there."""
    lesions = limb_results.tables["lesions"]
    said = lesions[["lesion_id", "compartment", "side"]].drop_duplicates()
    assert len(said) == lesions["lesion_id"].nunique()
    there = lesions[lesions["volume_mm3"] > 0]
    assert set(there["side"]) <= {"left", "right"}
    assert set(there["compartment"]) <= {"muscle_or_fascia", "periarticular"}
    assert set(there["pattern"]) <= {"nodular", "indeterminate"}
    assert set(there["kind"]) == {"indeterminate"}


class _Through:
    """A registration that changes nothing."""

    def to_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        return points_mm

    from_baseline = to_baseline


def scan_at(visit_id: str, years: float, to_mm: float) -> SimpleNamespace:
    """Return what the record knows of a scan that sees all below ``to_mm`` along z."""
    visit = SimpleNamespace(visit_id=visit_id, scan_id="")
    return SimpleNamespace(visit=visit, key=(visit_id, ""), years=years, sees=lambda points: points[:, 2] < to_mm)


def lesion_rows(*rows: tuple[str, float, int | None, str, float, float, str]) -> pd.DataFrame:
    """Return rows visit_id, years, lesion_id, status, volume_mm3, z_mm, side."""
    names = ["visit_id", "years", "lesion_id", "status", "volume_mm3", "z_mm", "side"]
    table = pd.DataFrame(rows, columns=names).assign(scan_id="", compartment="skin", x_mm=0.0, y_mm=0.0)
    table["x_mm"] = table["x_mm"].where(table["z_mm"].notna())
    return table.astype({"lesion_id": "Int64"})


def elsewhen(scan: SimpleNamespace, rows: pd.DataFrame, placed: bool = True) -> list[tuple[str, str]]:
    """Return side and status of the lesions that have no row at a visit."""
    keys = {("V0", ""), ("V1", ""), *([scan.key] if placed else [])} - (set() if placed else {scan.key})
    found = record._elsewhen([scan], dict.fromkeys(keys, _Through()), rows)
    return list(zip(found["side"], found["status"], strict=True))


@pytest.mark.parametrize(
    ("status", "to_mm", "told"),
    [("new", 9.0, "resolved"), ("new", 2.0, "not_in_field"), ("first_seen", 9.0, "not_in_field")],
)
def test_before_a_lesion_its_region_is_empty_or_unknown(status: str, to_mm: float, told: str) -> None:
    """A scan that saw the place of what came later held nothing there; one that did not, or could not tell, is mute."""
    rows = lesion_rows(("V1", 1.0, 1, status, 9.0, 5.0, "left"))
    assert elsewhen(scan_at("V0", 0.0, to_mm), rows) == [("left", told)]
    assert elsewhen(scan_at("V1", 1.0, to_mm), rows) == []


def test_a_merged_lesion_leaves_its_region() -> None:
    """What went into another counts with that one: its own region is empty where its place is seen, from then on."""
    rows = lesion_rows(
        ("V0", 0.0, 1, "baseline", 9.0, 5.0, "left"),
        ("V0", 0.0, 2, "baseline", 99.0, 6.0, "midline"),
        ("V1", 1.0, 1, "merged", np.nan, np.nan, "left"),
        ("V1", 1.0, 2, "present", 108.0, 6.0, "midline"),
        ("V2", 2.0, 2, "present", 108.0, 6.0, "midline"),
    )
    for visit_id, years in (("V1", 1.0), ("V2", 2.0)):
        assert elsewhen(scan_at(visit_id, years, 9.0), rows) == [("left", "resolved")]
        assert elsewhen(scan_at(visit_id, years, 2.0), rows) == [("left", "not_in_field")]


def test_a_visit_without_a_place_tells_no_region_empty() -> None:
    """Its pieces have no identity: of the known lesions nothing is said; one that was never located stays unknown."""
    rows = lesion_rows(("V0", 0.0, 1, "baseline", 9.0, 5.0, "left"), ("V1", 1.0, None, "first_seen", 9.0, 5.0, "right"))
    assert elsewhen(scan_at("V1", 1.0, 9.0), rows, placed=False) == [("left", "not_in_field")]
    nowhere = lesion_rows(("V0", 0.0, 1, "not_in_field", np.nan, np.nan, "left"))
    assert elsewhen(scan_at("V1", 1.0, 9.0), nowhere) == [("left", "not_in_field")]


def test_visits_without_any_lesion_have_all_sums() -> None:
    """Nothing is known: 0 of everything. A lesion that came later: 0 too, and its region was seen."""
    scan = scan_at("V0", 0.0, 9.0)
    place = dict.fromkeys([("V0", ""), ("V1", "")], _Through())
    nothing = record._lesion_rows([], place, pd.DataFrame(columns=["visit_id", "lesion_id"]))
    later = lesion_rows(("V1", 1.0, 1, "new", 9.0, 5.0, "left"))
    for rows, regions in ((nothing, 0), (later, 1)):
        here = nothing[nothing["visit_id"] == "V0"]
        known = burden.regions_of(pd.concat([here, record._elsewhen([scan], place, rows)]))
        sums = burden.totals(here, known)
        assert len(known) == regions
        assert sums["quantity"].tolist() == list(burden.RULES)
        assert (sums[["value", "evaluable"]] == [0.0, 1.0]).all(axis=None)
