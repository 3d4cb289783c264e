"""Identity over visits on hand-made clouds of points: every event by its name, and nothing that depends on order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import tracking
from monitor.tracking import Correction, Occasion

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
    assert found["score"].iloc[1] > 0.9


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


def labels_of(*occasions: Occasion) -> dict[int, list[int | None]]:
    """Return the labels of each lesion in order of visits."""
    found = tracking.follow(occasions)
    return {int(n): [None if pd.isna(k) else int(k) for k in own["label"]] for n, own in found.groupby("lesion_id")}


TWINS = [(0.0, 0.0, 0.0), (5.0, 0.0, 0.0)]
AROUND = [(15.0, 12.0, 0.0), (-14.0, 5.0, 4.0), (4.0, -15.0, 8.0), (2.0, 13.0, -10.0)]


def moved(places: list[Place], step_mm: float) -> list[np.ndarray]:
    return [ball((x + step_mm, y, z), 2.0) for x, y, z in places]


@pytest.mark.parametrize("step_mm", [-4.0, -2.5, 2.5, 4.0])
def test_neighbours_do_not_swap_under_an_error_of_the_map(step_mm):
    """Two like nodules 5 mm apart, both displaced along their line, are told by going together."""
    occasions = [visit(0, *moved(TWINS, 0.0)), visit(1, *moved(TWINS, step_mm)[::-1], residual_mm=2.5)]
    assert labels_of(*occasions) == {1: [1, 2], 2: [2, 1]}


@pytest.mark.parametrize(("gone", "step_mm"), [(0, -3.0), (0, 3.0), (1, -3.0), (1, 3.0)])
def test_neighbours_tell_which_of_two_is_gone(gone, step_mm):
    """Where one of two like nodules is gone and the map is off by more than half of their distance, others tell."""
    kept = [one for n, one in enumerate(TWINS) if n != gone]
    occasions = [
        visit(0, *moved(TWINS + AROUND, 0.0)),
        visit(1, *moved(kept + AROUND, step_mm), residual_mm=2.5),
        visit(2, *moved(TWINS + AROUND, -step_mm / 2), residual_mm=2.5),
    ]
    found = tracking.follow(occasions)
    by_visit = found.pivot_table(index="lesion_id", columns="visit_id", values="label", aggfunc="first")
    by_place = by_visit.set_index("V0")
    assert pd.isna(by_place.loc[gone + 1, "V1"])
    assert by_place.loc[2 - gone, "V1"] == 1
    assert by_place["V2"].tolist() == by_place.index.tolist()


def test_what_fades_beside_another_is_resolved():
    """A nodule that goes while its near neighbour stays as it was did not go into it."""
    one, two = moved(TWINS, 0.0)
    assert story(visit(0, one, two), visit(1, two), visit(2, one, two)) == {
        1: ["baseline", "resolved", "present"],
        2: ["baseline", "present", "present"],
    }


def bar(length_mm: float, *pieces: np.ndarray) -> np.ndarray:
    """Return pieces on the x axis as one."""
    return np.concatenate([*pieces, np.array([[x, 0.0, 0.0] for x in np.arange(0.0, length_mm)])])


def test_three_merge_into_the_largest():
    """The largest of three goes on, and both others say into which."""
    parts = [ball(A, 2.0), ball((9, 0, 0), 3.5), ball((18, 0, 0), 3.0)]
    found = tracking.follow([visit(0, *parts), visit(1, bar(19, *parts)), visit(2, bar(19, *parts))])
    merged = found[found["status"] == "merged"]
    assert merged["lesion_id"].tolist() == [1, 3]
    assert merged["into_lesion_id"].tolist() == [2, 2]
    assert found[found["lesion_id"] == 2]["status"].tolist() == ["baseline", "present", "present"]


def test_merged_and_split_again():
    """What comes off a merged lesion is a new identity, and says from which; the one that merged stays ended."""
    parts = [ball(A, 2.0), ball((9, 0, 0), 3.5)]
    occasions = [visit(0, *parts), visit(1, bar(10, *parts)), visit(2, *parts)]
    assert story(*occasions) == {1: ["baseline", "merged"], 2: ["baseline", "present", "present"], 3: ["split"]}
    assert tracking.follow(occasions)["from_lesion_id"].dropna().tolist() == [2]


@pytest.mark.parametrize("seed", range(3))
def test_a_third_out_of_the_field_ends_and_begins_nothing(seed):
    """Lesions in the lost third are not in the field, and are the same when they come back."""
    rng = np.random.default_rng(seed)
    places = [(x, y, z) for x in (0.0, 20.0) for y in (0.0, 20.0) for z in (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)]
    whole = [ball(place, float(rng.choice([2.0, 3.0]))) for place in places]
    seen = [one for one in whole if one[:, 2].min() >= 33.0]
    found = tracking.follow([visit(0, *whole), visit(1, *seen, sees=above(33.0)), visit(2, *whole)])
    assert found.groupby("visit_id")["status"].value_counts().to_dict() == {
        ("V0", "baseline"): 24,
        ("V1", "present"): 16,
        ("V1", "not_in_field"): 8,
        ("V2", "present"): 24,
    }


def test_what_the_field_left_of_a_lesion_is_no_measure_of_it():
    """A lesion that the field cuts is not in the field, keeps its identity and its label, and has not shrunk."""
    whole = ball(A, 4.0)
    occasions = [visit(0, whole), visit(1, whole[whole[:, 2] >= 0], sees=above(-0.5)), visit(2, whole)]
    assert story(*occasions) == {1: ["baseline", "not_in_field", "present"]}
    assert labels_of(*occasions) == {1: [1, 1, 1]}
    assert story(*occasions[1:]) == {1: ["not_in_field", "first_seen"]}


def test_a_lesion_at_the_edge_that_is_seen_whole_counts():
    """A piece that ends at the edge of the field where the lesion ends too is there."""
    whole = ball(A, 4.0)
    assert story(visit(0, whole), visit(1, whole, sees=above(-4.5))) == {1: ["baseline", "present"]}


THREE = [
    visit(0, ball(A), ball(B)),
    visit(1, ball(A), ball((0, 30, 0))),
    visit(2, ball(A), ball((0, 30, 0))),
]


def followed_with(*corrections: Correction) -> dict[int, list[str]]:
    """Return the statuses of three lesions over three visits, as corrected."""
    found = tracking.follow(THREE, corrections)
    return {int(n): own["status"].tolist() for n, own in found.groupby("lesion_id")}


def pieces_with(*corrections: Correction) -> dict[int, list[int]]:
    """Return the labels of the pieces of three lesions over three visits, as corrected."""
    found = tracking.follow(THREE, corrections).dropna(subset=["label"])
    return {int(n): own["label"].tolist() for n, own in found.groupby("lesion_id")}


def test_a_correction_joins_a_lesion_to_another():
    """Closed form: what was new is a lesion that moved; later links follow, the number is not used, the score is 1."""
    first, moved_away = ["baseline", "present", "present"], ["baseline", "resolved", "resolved"]
    assert followed_with() == {1: first, 2: moved_away, 3: ["new", "present"]}
    one = Correction("V1", 3, 2)
    assert followed_with(one) == {1: first, 2: first}
    found = tracking.follow(THREE, [one]).set_index(["visit_id", "lesion_id"])
    assert found.loc[("V1", 2), ["label", "score"]].tolist() == [2, 1.0]
    assert found["from_lesion_id"].isna().all()


def test_two_lesions_may_change_places():
    """Corrections are taken at once: each of two takes the other's pieces from that visit on."""
    assert pieces_with(Correction("V1", 1, 3), Correction("V1", 3, 1)) == {1: [1, 2, 2], 2: [2], 3: [1, 1]}


def test_a_number_not_in_use_begins_there():
    """The piece and what was linked to it later is a lesion of its own; what was before ends."""
    told = followed_with(Correction("V1", 1, 9))
    assert told[9] == ["new", "present"]
    assert told[1] == ["baseline", "resolved", "resolved"]


def test_corrections_of_one_lesion_at_two_visits_follow_each_other():
    """Both speak of the number of the run without corrections; each holds until the next."""
    assert pieces_with(Correction("V1", 1, 9), Correction("V2", 1, 1)) == {1: [1, 1], 2: [2], 3: [2, 2], 9: [1]}


@pytest.mark.parametrize(
    ("corrections", "refused", "why"),
    [
        ([Correction("V1", 8, 2)], 1, "must name a lesion that is there; lesion 8 is not at V1"),
        ([Correction("V7", 1, 2)], 1, "must name a lesion that is there; lesion 1 is not at V7"),
        ([Correction("V1", 2, 3)], 1, "must name a lesion that is there; lesion 2 is not at V1"),
        ([Correction("V1", 3, 2), Correction("V1", 3, 9)], 2, "must have one correction; lesion 3 at V1 has more"),
        ([Correction("V1", 3, 1)], 1, "one piece a visit; lesion 1 would have 2 at V1"),
        ([Correction("V1", 3, 7), Correction("V1", 1, 7)], 2, "one piece a visit; lesion 7 would have 2 at V1"),
    ],
)
def test_contradictions_are_told(corrections, refused, why):
    """Each correction that cannot be kept is named with its reason; one beside it is kept."""
    good = Correction("V0", 2, 6)
    told = tracking.contradictions(tracking.follow(THREE), [*corrections, good])
    assert len(told) == refused
    assert good not in told
    assert all(why in text for text in told.values())
    with pytest.raises(ValueError, match=why):
        tracking.follow(THREE, corrections)


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


@settings(deadline=None, max_examples=15)
@given(histories(), st.integers(0, 359), st.integers(0, 359))
def test_how_the_patient_lies_is_irrelevant(history, about_z, about_x):
    """Invariance: a turn of the baseline's space changes in nothing who goes on as whom; numbers go by place."""
    z, x = np.deg2rad([about_z, about_x])
    turn = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    plain = occasions_of(history, [sorted(balls) for balls in history])
    turned = [
        Occasion(**{**vars(one), "points_mm": {k: points @ turn.T for k, points in one.points_mm.items()}})
        for one in plain
    ]
    assert sorted(map(str, labels_of(*plain).values())) == sorted(map(str, labels_of(*turned).values()))


@settings(deadline=None, max_examples=25)
@given(histories(), st.data())
def test_corrections_keep_the_books(history, data):
    """Property: with whatever corrections are kept every piece has one lesion, and no lesion two pieces a visit."""
    occasions = occasions_of(history, [sorted(balls) for balls in history])
    plain = tracking.follow(occasions)
    there = plain[plain["label"].notna()]
    drawn = [
        Correction(row["visit_id"], int(row["lesion_id"]), data.draw(st.integers(1, 9)))
        for row in there.to_dict("records")
        if data.draw(st.booleans())
    ]
    refused = tracking.contradictions(plain, drawn)
    kept = [one for one in drawn if one not in refused]
    found = tracking.follow(occasions, kept)
    assert not found.duplicated(["visit_id", "lesion_id"]).any()
    now = found[found["label"].notna()]
    pieces = [set(zip(own["visit_id"], own["label"], strict=True)) for own in (now, there)]
    assert pieces[0] == pieces[1]
    assert len(now) == len(there)
    said = now.set_index(["visit_id", "label"])["lesion_id"]
    was = there.set_index(["visit_id", "lesion_id"])["label"]
    assert all(said[one.visit_id, was[one.visit_id, one.lesion_id]] == one.is_lesion_id for one in kept)
    assert found["score"].dropna().between(0, 1).all()
