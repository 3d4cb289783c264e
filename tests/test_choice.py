"""Which series of a visit is chosen: the patient's commonest recipe, then the better series, each with its reason."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from monitor._index.choice import choose
from monitor._index.series import Person, Series

MADE = {
    "contrast": "none",
    "kernel": "B30f",
    "kvp": 120.0,
    "slice_thickness_mm": 1.0,
    "slice_increment_mm": 1.0,
    "manufacturer": "Maker",
}
UNLIKE = "is less like that of the patient's other visits"


def of(visit: int, number: int, *, patient: str = "P1", **values: object) -> Series:
    """Make a readable series of 100 slices; ``values`` are fields of its own, or of how it was made."""
    made = MADE | {name: value for name, value in values.items() if name in MADE}
    own = {name: value for name, value in values.items() if name not in MADE}
    fields = {
        "person": Person(patient),
        "day": date(2020, 1, visit),
        "kind": "axial_ct",
        "paths": (Path(f"{visit}-{number}"),),
        "number": number,
        "body_part": "LEG",
        "secrets": frozenset(),
        "images": 100,
        "made": made,
        "patient_id": patient,
        "visit_id": f"V{visit}",
    }
    return Series(**{**fields, **own})


def chosen(*series: Series) -> list[tuple[str, int]]:
    """Return visit and number of what is chosen, in any order of the series the same."""
    found = [(one.visit_id, one.number) for one in choose(series) if one.chosen]
    assert found == [(one.visit_id, one.number) for one in choose(series[::-1]) if one.chosen]
    return found


def whys(*series: Series) -> dict[tuple[str, int], str]:
    return {(one.visit_id, one.number): one.why for one in choose(series)}


def test_the_commonest_recipe_is_chosen():
    """A sharp kernel at both visits beats a soft one at one: what is measured must be alike over the visits."""
    series = (of(1, 1), of(1, 2, kernel="B70s"), of(2, 3, kernel="B70s"))
    assert chosen(*series) == [("V1", 2), ("V2", 3)]
    assert whys(*series) == {
        ("V1", 1): f"left: its kernel {UNLIKE}; this recipe is at 1 of 2 visits",
        ("V1", 2): "chosen: this recipe is at 2 of 2 visits",
        ("V2", 3): "chosen: this recipe is at 2 of 2 visits",
    }


@pytest.mark.parametrize(
    ("more", "less", "word"),
    [
        ({"body_part": "LEG"}, {"body_part": "CHEST"}, "body part"),
        ({"contrast": "none"}, {"contrast": "iv"}, "contrast"),
        ({"kernel": "B30f"}, {"kernel": "B35f"}, "kernel"),
        ({"kvp": 120.0}, {"kvp": 80.0}, "tube voltage"),
        ({"slice_thickness_mm": 1.25}, {"slice_thickness_mm": 1.26}, "slice thickness"),
        ({"manufacturer": "Maker"}, {"manufacturer": "Other"}, "manufacturer"),
    ],
)
def test_what_is_alike_comes_before_what_is_better(more, less, word):
    """Two visits are of one recipe; at the third the like series wins over one of a field that is twice as long."""
    series = (of(1, 1), of(2, 2), of(3, 4, **more), of(3, 3, **less, images=200))
    assert chosen(*series) == [("V1", 1), ("V2", 2), ("V3", 4)]
    assert whys(*series)["V3", 3] == f"left: its {word} {UNLIKE}; this recipe is at 1 of 3 visits"


@pytest.mark.parametrize(
    ("better", "worse", "word"),
    [
        ({"contrast": "unknown"}, {"contrast": "iv"}, "contrast in it"),
        ({"kernel": "B45f"}, {"kernel": "B50f"}, "a sharp kernel"),
        ({"slice_thickness_mm": 3.0}, {"slice_thickness_mm": 3.1}, "slices too thick or too thin"),
        ({"images": 101}, {"images": 100}, "a shorter field"),
        ({"slice_increment_mm": 1.0}, {"slice_increment_mm": 0.9}, "a shorter field"),
        ({"slice_thickness_mm": 1.1}, {"slice_thickness_mm": 1.2}, "thicker slices"),
        ({}, {}, "another series of the same kind comes first"),
    ],
)
def test_among_equally_like_series_the_better_is_chosen(better, worse, word):
    """Both are as far from the recipe of the other visits, or as near: then each is judged by itself."""
    series = (of(1, 1), of(2, 2), of(3, 3, **better), of(3, 4, **worse))
    assert chosen(*series) == [("V1", 1), ("V2", 2), ("V3", 3)]
    assert whys(*series)["V3", 4].startswith(f"left: {word}; this recipe is at ")


@pytest.mark.parametrize(
    "kernel",
    ["BONE", "BONEPLUS", "EDGE", "LUNG", "D", "YB", "FC51", "FC86", "B50f", "B70s", "Br64d", "I70f\\3", "Hr60"],
)
def test_kernels_for_bone_and_lung_are_sharp(kernel):
    """Names of GE, Philips, Canon and Siemens: at a single visit the soft series is chosen, whatever its number."""
    assert chosen(of(1, 1, kernel=kernel), of(1, 2, kernel="B30f")) == [("V1", 2)]


@pytest.mark.parametrize(
    "kernel", ["STANDARD", "SOFT", "DETAIL", "B", "C", "FC08", "FC13", "B30f", "Br40d", "I41s\\2", ""]
)
def test_kernels_for_soft_tissue_are_not(kernel):
    """A soft kernel stands against another one: the first series of the two is chosen."""
    assert chosen(of(1, 1, kernel=kernel), of(1, 2, kernel="B31f")) == [("V1", 1)]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("localizer", "left: a localizer is no scan"),
        ("secondary_capture", "left: a picture of a screen holds no HU"),
        ("lossy", "left: stored with loss"),
        ("too_few_slices", "left: fewer than 3 slices"),
    ],
)
def test_what_is_no_scan_is_left_for_what_it_is(kind, why):
    """Beside a scan and without one: it is never chosen, and says why."""
    assert whys(of(1, 1, kind=kind)) == {("V1", 1): why}
    assert chosen(of(1, 1, kind=kind), of(1, 2)) == [("V1", 2)]


def test_a_reason_from_before_is_kept():
    """A series without a day, or that reading refuses, keeps the reason that it came with."""
    undated = of(1, 1, day=None, visit_id="", why="the header must date the scan; it does not")
    refused = of(1, 2, kind="not_readable", why="uneven-slices: gaps")
    assert whys(undated, refused) == {("", 1): undated.why, ("V1", 2): refused.why}
    assert whys(of(1, 1, visit_id="")) == {("", 1): "left: its day is not known"}


def test_patients_have_no_say_in_each_others_choice():
    """Three visits of one patient in another recipe change nothing for a second; rows come by patient and day."""
    others = [of(n, n, patient="P1", kernel="B70s") for n in (3, 1, 2)]
    found = choose([of(1, 5, patient="P2", kernel="B70s"), of(1, 6, patient="P2"), *others])
    assert [(one.patient_id, one.visit_id, one.number) for one in found if one.chosen] == [
        ("P1", "V1", 1),
        ("P1", "V2", 2),
        ("P1", "V3", 3),
        ("P2", "V1", 6),
    ]
