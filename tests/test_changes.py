"""How a patient's amounts compare: rows of table changes, and the statuses that rest on them."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pandas as pd
import pytest

from monitor import growth
from monitor._record import changes
from monitor._record.changes import Visited
from monitor.growth import Size

CT = {"modality": "CT", "kvp": 120.0, "kernel": "B30f", "slice_thickness_mm": 1.0, "contrast": "none"}
CT |= {"contrast_found": "none"}


def visited(count: int, *, surface_m2: float = nan, grown: float = 1.0) -> list[Visited]:
    """Return visits a year apart, alike in all but growth: the surface known or not, each so much larger."""
    size = Size(3600 * surface_m2**2, 1.0)
    norms = [growth.norms(size, grown**number, {}) for number in range(count)]
    return [Visited(f"V{number}", float(number), CT, size, tuple(own)) for number, own in enumerate(norms)]


def lesion(visit: int, number: int, volume: float, excess: float, **other: object) -> dict[str, object]:
    """Return a row of a lesion with errors of 2 % of the volume and the excess."""
    amounts = {"volume_mm3": volume, "excess_hu_mm3": excess, "mass_mg": excess / 1000}
    sds = {column: 0.02 * amounts[name] for name, columns in changes.ERRORS.items() for column in columns}
    about = {"visit_id": f"V{visit}", "lesion_id": number, "status": "present", "compartment": "skin"}
    beside = {"volume_rule": "outline", "agatston": volume, "threshold_volume_mm3": volume}
    return {**about, **amounts, **sds, **beside, **other}


def verdicts(rows: pd.DataFrame, quantity: str, **where: object) -> list[str]:
    """Return the verdicts of a quantity against the baseline, in order."""
    own = rows[(rows["comparison"] == "baseline") & (rows["quantity"] == quantity)]
    own = own[~own["rule_id"].str.contains(";limit=")]
    for name, value in where.items():
        own = own[own[name] == value]
    return own["verdict"].tolist()


def test_sums_and_lesions_are_compared_beside_each_other():
    """Closed form: one lesion grew by half, one stayed; the compartment and the total grew."""
    table = pd.DataFrame(
        [lesion(0, 1, 100, 5e4), lesion(0, 2, 300, 9e4), lesion(1, 1, 150, 75e3), lesion(1, 2, 301, 9e4)]
    )
    rows = changes.rows("P001", visited(2), table)
    assert verdicts(rows, "volume_mm3", lesion_id=1) == ["increased"]
    assert verdicts(rows, "volume_mm3", lesion_id=2) == ["no_detectable_change"]
    total = rows[(rows["compartment"] == "total") & (rows["quantity"] == "volume_mm3")].iloc[0]
    assert (total["before"], total["after"], total["verdict"]) == (400.0, 451.0, "increased")
    assert verdicts(rows, "excess_hu_mm3", compartment="skin") == ["increased"]


def test_what_one_visit_did_not_see_is_in_no_sum():
    """A lesion that is not in the field at one visit is left out of both sums, and has no row."""
    unseen = dict.fromkeys(("volume_mm3", "excess_hu_mm3", "mass_mg"), nan)
    table = [lesion(0, 1, 100, 5e4), lesion(0, 2, 300, 9e4), lesion(1, 1, 100, 5e4)]
    table.append({**lesion(1, 2, 300, 9e4), **unseen, "status": "not_in_field"})
    rows = changes.rows("P001", visited(2), pd.DataFrame(table))
    total = rows[(rows["compartment"] == "total") & (rows["quantity"] == "volume_mm3")].iloc[0]
    assert (total["before"], total["after"]) == (100.0, 100.0)
    assert rows["lesion_id"].dropna().unique().tolist() == [1]


@pytest.mark.parametrize(("share", "carrier"), [(0.05, "volume_mm3"), (0.5, "excess_hu_mm3")])
def test_a_sum_is_judged_by_the_excess_where_much_of_it_is_thin(share, carrier):
    """The excess carries a sum from a tenth of it on that is not resolved, and always a lesion that is not."""
    thin = {"volume_rule": "not_resolved", "volume_sd_mm3": 500.0, "volume_repeat_sd_mm3": 500.0}
    table = []
    for visit, factor in enumerate((1.0, 0.7)):
        table += [
            lesion(visit, 1, 100, (1 - share) * 1e5 * factor),
            lesion(visit, 2, 100, share * 1e5 * factor, **thin),
        ]
    rows = changes.rows("P001", visited(2), pd.DataFrame(table))
    total = rows[(rows["compartment"] == "total") & (rows["quantity"] == "volume_mm3")].iloc[0]
    assert total["carried_by"] == carrier
    assert total["verdict"] == ("decreased" if carrier == "excess_hu_mm3" else "no_detectable_change")
    assert verdicts(rows, "volume_mm3", lesion_id=2) == verdicts(rows, "excess_hu_mm3", lesion_id=2) == ["decreased"]


def test_growth_may_point_the_other_way():
    """Closed form: a burden that grew by a fifth in a body that grew by half fell, and both are said."""
    table = pd.DataFrame([lesion(0, 1, 100, 5e4), lesion(1, 1, 120, 6e4)])
    rows = changes.rows("P001", visited(2, surface_m2=0.5, grown=1.5), table)
    assert verdicts(rows, "volume_mm3", compartment="total") == ["increased"]
    assert verdicts(rows, "volume_mm3_per_growth", compartment="total") == ["decreased"]
    assert verdicts(rows, "volume_mm3_per_m2", compartment="total") == ["increased"]


def test_another_scan_changes_no_verdict():
    """Invariance: what was said of the first visits stays when a third is made."""
    table = pd.DataFrame([lesion(visit, number, 100 + 4 * visit, 5e4) for visit in range(3) for number in (1, 2, 3)])
    two = changes.rows("P001", visited(2), table[table["visit_id"] != "V2"])
    three = changes.rows("P001", visited(3), table)
    same = three[three["to_visit"] == "V1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(two, same[two.columns], check_dtype=False)


def test_a_status_is_the_verdict_over_a_gap_too():
    """Across a visit that did not see it a lesion is compared with the one before; never across other kernels."""
    table = [lesion(0, 1, 100, 5e4), {**lesion(1, 1, 100, 5e4), "status": "not_in_field"}, lesion(2, 1, 150, 75e3)]
    table[1] |= {"volume_mm3": nan, "excess_hu_mm3": nan, "mass_mg": nan}
    frame, seen = pd.DataFrame(table), visited(3)
    rows = changes.rows("P001", seen, frame)
    assert changes.statuses(seen, frame, rows[rows["from_visit"] != "V0"]).tolist() == [
        "stable",
        "not_in_field",
        "grown",
    ]
    other = [*seen[:2], replace(seen[2], acquired={**CT, "kernel": "B80f"})]
    apart = changes.rows("P001", other, frame)
    assert changes.statuses(other, frame, apart).tolist()[-1] == "stable"
