"""How a child has grown, from measurements and from a registration's map."""

from __future__ import annotations

from math import isnan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from monitor import growth, phantom


def measured(*rows: tuple[str, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["date", "height_cm", "weight_kg"])
    return table.assign(date=pd.to_datetime(table["date"]))


def test_size_is_straight_between_measurements():
    """Closed form: half way between two measurements is their mean; on the day it is what was measured."""
    rows = measured(("2020-01-01", 100.0, 16.0), ("2020-03-01", 104.0, 18.0))
    assert growth.size_on(rows, pd.Timestamp("2020-01-31")) == growth.Size(102.0, 17.0)
    assert growth.size_on(rows, pd.Timestamp("2020-03-01")) == growth.Size(104.0, 18.0)


def test_size_is_unknown_too_far_from_a_measurement():
    """A measurement holds for some weeks, two bridge a year; beyond that nothing is made up."""
    rows = measured(("2020-01-01", 100.0, 16.0), ("2022-01-01", 114.0, 20.0))
    assert isnan(growth.size_on(rows, pd.Timestamp("2021-01-01")).height_cm)
    assert growth.size_on(rows, pd.Timestamp("2019-12-20")).height_cm == 100.0
    assert isnan(growth.size_on(rows, pd.Timestamp("2019-10-20")).height_cm)
    assert isnan(growth.size_on(measured(), pd.Timestamp("2020-01-01")).surface_m2)


def test_two_measurements_of_a_day_are_averaged():
    """Whoever was measured twice on a day has the mean, in whatever order the rows come."""
    rows = measured(("2020-01-01", 101.0, 16.0), ("2020-01-01", 99.0, 16.0))
    assert growth.size_on(rows, pd.Timestamp("2020-01-01")).height_cm == 100.0


def test_surface_and_mass_index_are_those_of_their_formulas():
    """Published value: Mosteller's own example, 180 cm and 81 kg have 2.01 m²; 81 / 1.8² is 25."""
    size = growth.Size(180.0, 81.0)
    assert size.surface_m2 == pytest.approx(2.01, abs=0.005)
    assert size.mass_index == pytest.approx(25.0)


@given(st.floats(0.8, 1.3), st.floats(-3, 3))
def test_growth_is_told_from_the_map_and_not_from_pose(factor, turn):
    """Property: a turn, a shift and growth by a factor in length give its cube."""
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    points = np.random.default_rng(1).uniform(-80, 80, (50, 3))
    ratio = growth.volume_ratio(lambda at: factor * at @ rotation.T + [5.0, -9.0, 30.0], points)
    assert ratio == pytest.approx(factor**3, rel=1e-6)


def test_growth_of_the_phantom_is_told_through_bend_and_warp():
    """Phantom: 3 % in length at a visit with a bent knee and a warp of 2 mm are 9.3 % in volume, within the error."""
    visit = phantom.series("limb", seed=3, visits=2, growth_per_visit=1.03, spacing_mm=(3.0, 3.0, 4.0), lesions=())[1]
    body = np.argwhere(visit.body)
    step = max(1, len(body) // 2000)
    there = visit.to_baseline(
        np.array([visit.scan.image.TransformIndexToPhysicalPoint(i[::-1].tolist()) for i in body[::step]])
    )
    assert growth.volume_ratio(visit.from_baseline, there) == pytest.approx(1.03**3, rel=2 * growth.GROWTH_ERROR)


def test_nothing_seen_is_no_growth_known():
    """Without a place that the visit sees the ratio is missing, not 1."""
    assert isnan(growth.volume_ratio(lambda at: at, np.empty((0, 3))))


def test_the_divisor_s_own_error_is_in_the_amount():
    """Closed form: 3 % of 100 and 4 beside it are 5; a divisor that is not known gives nothing."""
    norm = growth.Norm("_per_m2", "/m2", "", 0.5, 0.03)
    assert norm.of({"value": 100.0, "sd": 4.0, "repeat_sd": 0.0}) == {"value": 200.0, "sd": 10.0, "repeat_sd": 6.0}
    assert isnan(growth.Norm("_per_m2", "/m2", "", np.nan, 0.03).of({"value": 100.0})["value"])


def tube(points_mm: np.ndarray, radius_mm: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """Return the voxels within a radius of a line through points, (N, 3) zyx mm; the ends are flat as a field cuts."""
    low, high = points_mm.min(axis=0) - radius_mm - 2, points_mm.max(axis=0) + radius_mm + 2
    axes = [np.arange(a, b, step) for a, b, step in zip(low, high, spacing, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    away, nearest = cKDTree(points_mm).query(grid)
    inner = (nearest > 0) & (nearest < len(points_mm) - 1)
    return (away <= radius_mm) & inner


@pytest.mark.parametrize(
    ("radius", "spacing"),
    [
        (1.5, (1.0, 1.0, 1.0)),
        (4.0, (1.0, 1.0, 1.0)),
        (9.0, (1.0, 1.0, 1.0)),
        (4.0, (3.0, 0.7, 0.7)),
        (9.0, (3.0, 0.7, 0.7)),
        (4.0, (0.6, 0.6, 0.6)),
    ],
)
def test_a_vessel_is_as_long_as_its_axis(radius: float, spacing: tuple[float, float, float]) -> None:
    """Truth: an oblique straight tube and half a ring, eleven times as long as wide or more, within 5 %."""
    t = np.linspace(0, 1, 400)[:, None]
    straight = t * np.array([[70.0, 50.0, 26.0]])
    angle = np.pi * t
    arc = np.hstack([40 * np.sin(angle), 40 * np.cos(angle), 10 * t])
    for line in (straight * max(1, radius / 4), arc * max(1, radius / 4)):
        true = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
        assert growth.length_mm(tube(line, radius, spacing), np.array(spacing)) == pytest.approx(true, rel=0.05)


def test_no_vessel_has_no_length() -> None:
    """Nothing is 0 long; of two pieces the larger counts; one voxel is a point."""
    empty = np.zeros((6, 6, 6), bool)
    assert growth.length_mm(empty, np.ones(3)) == 0.0
    one = empty.copy()
    one[2, 2, 2] = True
    assert growth.length_mm(one, np.ones(3)) == 0.0
    two = np.zeros((40, 9, 9), bool)
    two[:30, 1:3, 1:3] = True
    two[35:, 7, 7] = True
    assert growth.length_mm(two, np.ones(3)) == pytest.approx(30.0, abs=2.0)


def test_a_vessel_divides_its_own_compartment() -> None:
    """Per cm stands beside body surface and growth, and names the compartment that it belongs to."""
    found = growth.norms(growth.Size(120.0, 22.0), 1.2, {"aorta": 150.0})
    assert [(one.suffix, one.compartment, one.divisor) for one in found[1:]] == [
        ("_per_growth", "", 1.2),
        ("_per_cm", "aorta", 15.0),
    ]
    # A single voxel has no length, and nothing is divided by 0.
    assert isnan(growth.norms(growth.Size(), 1.0, {"aorta": 0.0})[-1].divisor)
