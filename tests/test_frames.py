"""Where lesions are looked at in the common frame: one place for all visits, in the lesion."""

import numpy as np
import pandas as pd
import pytest

from monitor._record import frames
from monitor.tracking import Occasion

MIDDLE = np.array([10.0, 20.0, 30.0])


def ball(radius_mm: float, middle: np.ndarray = MIDDLE) -> np.ndarray:
    """Return points 1 mm apart within a ball."""
    side = np.arange(-radius_mm, radius_mm + 1)
    points = np.stack(np.meshgrid(side, side, side), axis=-1).reshape(-1, 3)
    return middle + points[np.linalg.norm(points, axis=1) <= radius_mm]


def occasion(visit_id: str, **pieces: np.ndarray) -> Occasion:
    """Return a visit with pieces by label: p1, p2, ..."""
    points = {int(name[1:]): own for name, own in pieces.items()}
    volume = {label: float(len(own)) for label, own in points.items()}
    return Occasion(visit_id, False, points, volume, lambda points: np.ones(len(points), bool), 1.0, 0.5)


def track(*rows: tuple[str, int, int | None, str]) -> pd.DataFrame:
    """Return identities: visit_id, lesion_id, label, status."""
    return pd.DataFrame(rows, columns=["visit_id", "lesion_id", "label", "status"])


def test_all_visits_have_all_lesions_at_the_same_place():
    """Before it came, and after it was gone: each lesion stands at each visit, with a label where it has a piece."""
    seen = [occasion("V0", p1=ball(3)), occasion("V1", p1=ball(5), p2=ball(4, MIDDLE + 40))]
    rows = track(("V0", 1, 1, "baseline"), ("V1", 1, 1, "present"), ("V1", 2, 2, "new"))
    found = frames.framed(seen, rows, lambda points: points + 100)
    assert list(found) == ["V0", "V1"]
    assert found["V0"]["lesion_id"].tolist() == [1, 2]
    assert found["V0"]["label"].tolist() == [1, pd.NA]
    assert found["V1"]["label"].tolist() == [1, 2]
    places = ["x_mm", "y_mm", "z_mm", "half_width_mm"]
    pd.testing.assert_frame_equal(found["V0"][places], found["V1"][places])
    assert found["V0"].loc[0, places].tolist() == pytest.approx([110.0, 120.0, 130.0, 15.0], abs=1.5)


def test_the_place_lies_in_a_bent_lesion():
    """The middle of a ring is empty: the place is on the ring."""
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    ring = MIDDLE + 15 * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    found = frames.framed([occasion("V0", p1=ring)], track(("V0", 1, 1, "baseline")), lambda points: points)["V0"]
    place = found.loc[0, ["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    assert np.linalg.norm(ring - place, axis=1).min() < 0.1
    assert found.loc[0, "half_width_mm"] == 40.0  # the ring's far side is 30 mm away


def test_what_most_visits_hold_is_the_place():
    """A speck that grew to one side: the place is where it was at every visit, not the middle of the largest."""
    rows = track(("V0", 1, 1, "baseline"), ("V1", 1, 1, "present"))
    seen = [
        occasion("V0", p1=ball(2)),
        occasion("V1", p1=np.vstack([ball(2), ball(8, MIDDLE + np.array([10.0, 0, 0]))])),
    ]
    found = frames.framed(seen, rows, lambda points: points)["V0"]
    place = found.loc[0, ["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    assert np.linalg.norm(ball(2) - place, axis=1).min() < frames.REACH_MM


@pytest.mark.parametrize(("radius", "half"), [(1.0, 15.0), (12.0, 20.0), (70.0, 45.0)])
def test_the_width_follows_the_lesion_within_bounds(radius, half):
    """A speck has its surroundings, a large one is cut."""
    points = np.stack([np.linspace(-radius, radius, 41), np.zeros(41), np.zeros(41)], axis=1)
    found = frames.framed([occasion("V0", p1=points)], track(("V0", 1, 1, "new")), lambda points: points)["V0"]
    assert found.loc[0, "half_width_mm"] == half


def test_a_cut_piece_tells_no_place_where_a_whole_one_does():
    """What the field left of a lesion is drawn, and does not move its place."""
    rows = track(("V0", 1, 1, "baseline"), ("V1", 1, 3, "not_in_field"))
    seen = [occasion("V0", p1=ball(3)), occasion("V1", p3=ball(4, MIDDLE + 3))]
    found = frames.framed(seen, rows, lambda points: points)
    assert found["V1"].loc[0, ["x_mm", "y_mm", "z_mm"]].tolist() == pytest.approx(MIDDLE.tolist())
    assert found["V1"]["label"].tolist() == [3]


def test_without_lesions_there_is_nothing_to_draw():
    """A patient without any lesion has a table without rows for each visit."""
    found = frames.framed([occasion("V0")], track(), lambda points: points)
    assert found["V0"].empty
    assert list(found["V0"].columns) == list(frames.COLUMNS)
