"""Identity over visits on hand-made clouds of points: every event by its name, and nothing that depends on order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import tracking
from monitor.tracking import Occasion

Place = tuple[float, float, float]


def ball(centre: Place, radius_mm: float = 3.0) -> np.ndarray:
    """Return the points of a 1 mm lattice within a ball; their number is its volume in mm³."""
    axis = np.arange(-np.ceil(radius_mm), np.ceil(radius_mm) + 1)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    offsets = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    return offsets[np.linalg.norm(offsets, axis=1) <= radius_mm] + np.array(centre)


def everywhere(points: np.ndarray) -> np.ndarray:
    return np.ones(len(points), bool)


def above(z_mm: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: points[:, 2] >= z_mm


def visit(number: int, *pieces: np.ndarray, **other: object) -> Occasion:
    """Make a visit with pieces labelled 1, 2, … in the order given; a visit 0 is the baseline."""
    points = dict(enumerate(pieces, start=1))
    said = {"is_baseline": number == 0, "sees": everywhere, "lod_mm3": 10.0, **other}
    return Occasion(f"V{number}", points_mm=points, volume_mm3={k: float(len(p)) for k, p in points.items()}, **said)


def story(*occasions: Occasion) -> dict[int, list[str]]:
    """Return the statuses of each lesion in order of visits."""
    found = tracking.follow(occasions)
    return {int(n): own["status"].tolist() for n, own in found.groupby("lesion_id")}


A, B, FAR = (0.0, 0.0, 0.0), (20.0, 0.0, 0.0), (0.0, 60.0, 40.0)


def test_nothing_gives_an_empty_table():
    """No visit, or visits without a piece, have no rows but all columns."""
    for occasions in ([], [visit(0), visit(1)]):
        found = tracking.follow(occasions)
        assert found.columns.tolist() == tracking.COLUMNS
        assert len(found) == 0
        assert str(found["lesion_id"].dtype) == "Int64"


def test_steady_lesions_keep_their_identity():
    """Each lesion goes on where it was, with its own label, at overlap 1."""
    found = tracking.follow([visit(0, ball(A), ball(B)), visit(1, ball(B), ball(A)), visit(2, ball(A), ball(B))])
    assert story(visit(0, ball(A)), visit(1, ball(A))) == {1: ["baseline", "present"]}
    assert found.groupby("lesion_id")["label"].apply(list).tolist() == [[1, 2, 1], [2, 1, 2]]
    assert (found.loc[found["status"] == "present", "score"] == 1).all()


@pytest.mark.parametrize("step_mm", [0.0, 1.0, 3.0])
def test_a_shift_within_the_residual_keeps_identity(step_mm):
    """Small errors of registration do not make new lesions."""
    moved = (step_mm, 0.0, 0.0)
    told = story(visit(0, ball(A)), visit(1, ball(moved), residual_mm=1.0))
    assert told == {1: ["baseline", "present"]}


def test_a_new_lesion_needs_a_scan_that_would_have_shown_it():
    """New where the place was seen and the scan fine enough; else first seen."""
    before = [visit(0, ball(A)), visit(0, ball(A), lod_mm3=1000.0), visit(0, ball(A), sees=above(10.0))]
    new = visit(1, ball(A), ball((0, 60, 0)))
    assert [story(one, new)[2] for one in before] == [["new"], ["first_seen"], ["first_seen"]]


def test_any_earlier_scan_may_have_looked():
    """A place seen at the first visit and not at the second was looked at."""
    out = visit(1, ball(A), sees=above(10.0))
    assert story(visit(0, ball(A)), out, visit(2, ball(A), ball((0, 60, 0))))[2] == ["new"]


def test_what_comes_before_the_baseline_is_baseline_there():
    """At the analysis baseline all that is present is called so, whatever its past; the first scan only sees."""
    told = story(
        visit(1, ball(A), is_baseline=False),
        visit(2, ball(A), ball(B), is_baseline=True),
        visit(3, ball(A), ball(B)),
    )
    assert told == {1: ["first_seen", "baseline", "present"], 2: ["baseline", "present"]}


def test_a_lesion_that_comes_back_is_the_same():
    """Resolved lesions are remembered where they were."""
    told = story(visit(0, ball(A), ball(B)), visit(1, ball(B)), visit(2, ball(A, 2.0), ball(B)))
    assert told == {1: ["baseline", "resolved", "present"], 2: ["baseline", "present", "present"]}


def test_out_of_the_field_is_not_resolved():
    """A place that the scan did not see is told so, and the lesion is the same when it is seen again."""
    told = story(visit(0, ball(A), ball(FAR)), visit(1, ball(FAR), sees=above(20.0)), visit(2, ball(A), ball(FAR)))
    assert told == {1: ["baseline", "not_in_field", "present"], 2: ["baseline", "present", "present"]}


def test_a_place_half_seen_is_not_seen():
    """A scan that ends within a lesion's place cannot say that the lesion is gone."""
    assert story(visit(0, ball(A)), visit(1, sees=above(0.0)))[1] == ["baseline", "not_in_field"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_merge_keeps_the_larger(order):
    """The larger lesion goes on, the other gets one row that names it, and no further rows."""
    small, large = ball(A, 2.5), ball((8, 0, 0), 4.0)
    bridge = np.array([[x, 0, 0] for x in (3.0, 3.5)])
    whole = np.concatenate([small, bridge, large])
    occasions = [visit(0, *[small, large][::order]), visit(1, whole), visit(2, whole), visit(3)]
    found = tracking.follow(occasions)
    merged = found[found["status"] == "merged"].iloc[0]
    survivor = found[(found["visit_id"] == "V1") & (found["status"] == "present")].iloc[0]
    assert merged["visit_id"] == "V1"
    assert merged["into_lesion_id"] == survivor["lesion_id"] != merged["lesion_id"]
    assert pd.isna(merged["label"])
    first = found[found["visit_id"] == "V0"].set_index("lesion_id")["label"]
    assert first[survivor["lesion_id"]] == (2 if order == 1 else 1)
    assert story(*occasions)[int(survivor["lesion_id"])] == ["baseline", "present", "present", "resolved"]
    assert story(*occasions)[int(merged["lesion_id"])] == ["baseline", "merged"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_split_keeps_the_largest(order):
    """The largest piece keeps the identity; the others say where they came from."""
    pieces = [ball(A, 2.0), ball((7, 0, 0), 3.5)]
    whole = np.concatenate([*pieces, np.array([[3.0, 0, 0]])])
    found = tracking.follow([visit(0, whole), visit(1, *pieces[::order])])
    after = found[found["visit_id"] == "V1"].set_index("status")
    assert after.loc["present", "lesion_id"] == 1
    assert after.loc["present", "label"] == (2 if order == 1 else 1)
    assert after.loc["split", ["lesion_id", "from_lesion_id"]].tolist() == [2, 1]


def test_split_and_join_again():
    """A piece that came off may go back: it ends as merged, and its number is not given out again."""
    pieces = [ball(A, 2.0), ball((7, 0, 0), 3.5)]
    whole = np.concatenate([*pieces, np.array([[3.0, 0, 0]])])
    told = story(visit(0, whole), visit(1, *pieces), visit(2, whole), visit(3, *pieces))
    assert told == {1: ["baseline", "present", "present", "present"], 2: ["split", "merged"], 3: ["split"]}


@pytest.mark.parametrize("residual_mm", [0.0, 1.0, 2.0, 3.0])
def test_neighbours_that_trade_sizes_do_not_trade_names(residual_mm):
    """Two lesions within each other's reach, one growing while the other shrinks, stay what they are."""
    left, right = (-4.5, 0.0, 0.0), (4.5, 0.0, 0.0)
    found = tracking.follow(
        [
            visit(0, ball(left, 4.0), ball(right, 2.5)),
            visit(1, ball(left, 2.5), ball(right, 4.0), residual_mm=residual_mm),
        ]
    )
    assert found.groupby("lesion_id")["label"].apply(list).tolist() == [[1, 1], [2, 2]]


def test_left_is_never_right():
    """A lesion that goes on one side while another comes on the other is not one that moved."""
    left, right = (-30.0, 0.0, 0.0), (30.0, 0.0, 0.0)
    assert story(visit(0, ball(left)), visit(1, ball(right))) == {1: ["baseline", "resolved"], 2: ["new"]}


def test_what_is_gone_takes_nothing_from_what_stayed():
    """A small lesion that grows to where a large one has been keeps its own name; the large one stays resolved."""
    large, small = ball(A, 5.0), ball((9, 0, 0), 2.0)
    grown = np.concatenate([small, ball((4, 0, 0), 4.0)])
    told = story(visit(0, large, small), visit(1, small), visit(2, grown))
    assert told == {1: ["baseline", "resolved", "resolved"], 2: ["baseline", "present", "present"]}


def test_a_lesion_of_very_many_points_is_followed():
    """A sheet of a hundred thousand points, sampled in another order at each visit, is one lesion."""
    y, x = np.mgrid[0:400.0, 0:300.0]
    sheet = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    shuffled = np.random.default_rng(1).permutation(sheet + 0.5)
    found = tracking.follow([visit(0, sheet), visit(1, shuffled)])
    assert found["status"].tolist() == ["baseline", "present"]
    assert found["score"].iloc[1] == 1


def test_a_crumb_of_a_very_large_lesion_came_off_it():
    """A small piece beside the rest is seen to come from the whole, however many points the whole has."""
    axis = np.arange(0.0, 60.0)
    block = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    rest, crumb = block[block[:, 0] < 54], block[(block[:, 0] > 57) & (block[:, 1] < 4) & (block[:, 2] < 4)]
    found = tracking.follow([visit(0, block), visit(1, rest, crumb)])
    assert story(visit(0, block), visit(1, rest, crumb)) == {1: ["baseline", "present"], 2: ["split"]}
    assert found["score"].iloc[1] == 1


def test_an_unknown_residual_counts_as_none():
    """A visit whose registration has no residual is tracked with the plain reach."""
    assert story(visit(0, ball(A)), visit(1, ball(A), residual_mm=float("nan")))[1] == ["baseline", "present"]


PLACES = [(x, y, 0.0) for x in (0.0, 12.0, 24.0) for y in (0.0, 12.0, 24.0)]


@st.composite
def histories(draw: st.DrawFn) -> list[dict[int, float]]:
    """Draw for each of some visits which places hold a ball and of which radius."""
    balls = st.dictionaries(st.integers(0, len(PLACES) - 1), st.sampled_from([2.0, 3.0, 4.0]), max_size=5)
    return draw(st.lists(balls, min_size=1, max_size=4))


def occasions_of(history: list[dict[int, float]], orders: list[list[int]]) -> list[Occasion]:
    made = []
    for number, (balls, order) in enumerate(zip(history, orders, strict=True)):
        made.append(visit(number, *[ball(PLACES[place], balls[place]) for place in order]))
    return made


@settings(deadline=None, max_examples=40)
@given(histories(), st.randoms())
def test_the_order_of_pieces_is_irrelevant(history, random):
    """Property: relabelled pieces give the same lesions with the same numbers; only the labels differ."""
    plain = [sorted(balls) for balls in history]
    mixed = [random.sample(one, len(one)) for one in plain]
    one, two = (tracking.follow(occasions_of(history, orders)) for orders in (plain, mixed))
    for table, orders in ((one, plain), (two, mixed)):
        where = {f"V{n}": dict(enumerate(order, start=1)) for n, order in enumerate(orders)}
        table["place"] = [
            where[v].get(None if pd.isna(label) else label)
            for v, label in zip(table["visit_id"], table["label"], strict=True)
        ]
    keys = ["visit_id", "lesion_id"]
    sort = [table.drop(columns="label").sort_values(keys, ignore_index=True) for table in (one, two)]
    pd.testing.assert_frame_equal(*sort)


@settings(deadline=None, max_examples=40)
@given(histories())
def test_books_balance(history):
    """Property: every piece has one lesion, every lesion one row a visit from its first, and numbers run from 1."""
    occasions = occasions_of(history, [sorted(balls) for balls in history])
    found = tracking.follow(occasions)
    assert not found.duplicated(["visit_id", "lesion_id"]).any()
    for one in occasions:
        labels = found.loc[found["visit_id"] == one.visit_id, "label"].dropna()
        assert sorted(labels) == sorted(one.points_mm)
    assert sorted(found["lesion_id"].unique()) == list(range(1, found["lesion_id"].nunique() + 1))
    for _, own in found.groupby("lesion_id"):
        first = int(own["visit_id"].iloc[0][1:])
        assert own["visit_id"].tolist() == [f"V{n}" for n in range(first, first + len(own))]
        assert own["visit_id"].iloc[-1] == occasions[-1].visit_id or own["status"].iloc[-1] == "merged"


@settings(deadline=None, max_examples=15)
@given(histories(), st.tuples(*[st.integers(-400, 400)] * 3))
def test_where_the_patient_lies_is_irrelevant(history, step):
    """Invariance: a shift of the baseline's space changes nothing."""
    plain = occasions_of(history, [sorted(balls) for balls in history])
    moved = [
        Occasion(**{**vars(one), "points_mm": {k: points + np.array(step) / 7 for k, points in one.points_mm.items()}})
        for one in plain
    ]
    one, two = tracking.follow(plain), tracking.follow(moved)
    names = ["visit_id", "lesion_id", "status"]
    pd.testing.assert_frame_equal(one[names], two[names])
