"""What came, went, densified and stayed: closed forms, invariances, and a child's shells from DICOM to tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import nan, pi
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monitor import grid, phantom, pipeline, store
from monitor._change import voxels
from monitor.change import EXCHANGED, Side, exchange
from monitor.types import Crop
from tests.conftest import write_visits

Inside = Callable[[np.ndarray], np.ndarray]
"""Tells which points, (..., 3) mm, lie in mineral."""

TISSUE_HU, BLUR_MM, FOLD, SIZE = 55.0, 0.7, 3, 25
SPACING_ZYX = np.array([1.25, 1.0, 1.0])
RESIDUAL_MM = 0.3


def ball(radius_mm: float, at_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Inside:
    return lambda points: np.square(points - np.array(at_mm)).sum(axis=-1) <= radius_mm**2


def shell(inner_mm: float, outer_mm: float) -> Inside:
    return lambda points: ball(outer_mm)(points) & ~ball(inner_mm)(points)


def ball_mm3(radius_mm: float) -> float:
    return 4 / 3 * pi * radius_mm**3


def stay(points_mm: np.ndarray) -> np.ndarray:
    return points_mm


def drawn(
    inside: Inside,
    *,
    hu: float = 500.0,
    off_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    to_other: Callable[[np.ndarray], np.ndarray] = stay,
    noise_hu: float = 0.0,
) -> Side:
    """Return a piece as a scanner with this blur sees it, on a grid that lies ``off_mm`` beside the middle."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(SPACING_ZYX)[:, ::-1].T
    matrix[:3, 3] = -SPACING_ZYX[::-1] * (SIZE - 1) / 2 + off_mm
    fine = (np.indices((SIZE * FOLD,) * 3).reshape(3, -1).T + 0.5) / FOLD - 0.5
    there = inside(grid.apply_affine(matrix, fine)).reshape((SIZE, FOLD) * 3)
    share = there.mean(axis=(1, 3, 5))
    seen = ndimage.gaussian_filter(share, BLUR_MM / SPACING_ZYX)
    noise = np.random.default_rng(int(np.abs(np.array(off_mm)).sum() * 100)).normal(0, noise_hu, seen.shape)
    tissue = np.full(seen.shape, TISSUE_HU)
    crop = Crop(matrix, TISSUE_HU + seen * (hu - TISSUE_HU) + noise, share, seen, tissue)
    return Side((crop,), (float(share.sum() * np.prod(SPACING_ZYX)),), (True,), to_other, noise_hu)


NOTHING = Side((), (), (), stay)


def test_the_same_scan_twice_is_unchanged() -> None:
    """Closed form: nothing came, nothing went, all is unchanged."""
    one = drawn(ball(6.0), noise_hu=18.0)
    found = exchange(one, one, residual_mm=0.0)
    assert found == {**dict.fromkeys(EXCHANGED, 0.0), "unchanged_mm3": one.volume_mm3}


def test_another_grid_and_a_shift_within_the_residual_change_nothing() -> None:
    """Invariance: where voxels lie, and what registration may err, are no change of a ball or of a thin rim."""
    shift_mm = np.array([0.4, -0.3, 0.3])
    for inside, beyond in ((ball(6.0), 0.0), (shell(7.2, 8.0), 0.01)):
        one, two = drawn(inside, noise_hu=18.0), drawn(inside, off_mm=(0.3, 0.45, 0.5), noise_hu=18.0)
        moved = replace(one, to_other=lambda points: points + shift_mm)
        back = replace(two, to_other=lambda points: points - shift_mm)
        found = exchange(moved, back, residual_mm=0.75)
        assert max(found["formation_mm3"], found["resorption_mm3"]) <= beyond * one.volume_mm3
        assert found["gained_mm3"] + found["lost_mm3"] <= abs(one.volume_mm3 - two.volume_mm3) + beyond * 1000
        assert found["unchanged_mm3"] >= 0.98 * min(one.volume_mm3, two.volume_mm3)


def test_a_ball_grows_by_a_shell() -> None:
    """Closed form: gained is the shell, formation the shell beyond the band, and no edge passes for denser mineral."""
    found = exchange(drawn(ball(6.0)), drawn(ball(8.5)), residual_mm=1.0)
    assert found["gained_mm3"] == pytest.approx(ball_mm3(8.5) - ball_mm3(6.0), rel=0.01)
    assert found["formation_mm3"] == pytest.approx(ball_mm3(8.5) - ball_mm3(7.0), rel=0.08)
    assert found["unchanged_mm3"] == pytest.approx(ball_mm3(6.0), rel=0.01)
    assert found["lost_mm3"] == found["resorption_mm3"] == found["mineralised_mm3"] == 0.0


def test_a_shell_that_fills_in_forms_inside() -> None:
    """Closed form: gained is the new inner part; formation what lies farther in than the band."""
    found = exchange(drawn(shell(6.5, 9.0)), drawn(shell(4.0, 9.0)), residual_mm=1.0)
    assert found["gained_mm3"] == pytest.approx(ball_mm3(6.5) - ball_mm3(4.0), rel=0.01)
    assert found["formation_mm3"] == pytest.approx(ball_mm3(5.5) - ball_mm3(4.0), rel=0.1)
    assert found["lost_mm3"] == 0.0


def test_what_moved_beyond_the_band_came_and_went() -> None:
    """Closed form: a ball gone from one place and come at another is gained and lost as a whole."""
    one, two = drawn(ball(4.0, (-6.0, 0.0, 0.0))), drawn(ball(4.0, (6.0, 0.0, 0.0)))
    found = exchange(one, two, residual_mm=RESIDUAL_MM)
    assert found["lost_mm3"] == found["resorption_mm3"] == one.volume_mm3
    assert found["gained_mm3"] == found["formation_mm3"] == two.volume_mm3
    assert found["unchanged_mm3"] == 0.0


def test_a_ball_denser_by_300_hu_is_mineralised() -> None:
    """Closed form: nothing comes or goes; what is denser is told but for the border, and backwards the reverse."""
    one, two = drawn(ball(6.0), noise_hu=10.0), drawn(ball(6.0), hu=800.0, noise_hu=10.0)
    found, back = exchange(one, two, residual_mm=RESIDUAL_MM), exchange(two, one, residual_mm=RESIDUAL_MM)
    assert found["mineralised_mm3"] > 0.8 * one.volume_mm3
    assert back["demineralised_mm3"] == pytest.approx(found["mineralised_mm3"])
    assert found["demineralised_mm3"] == back["mineralised_mm3"] == found["gained_mm3"] == found["lost_mm3"] == 0.0
    assert found["mineralised_mm3"] + found["unchanged_mm3"] == pytest.approx(one.volume_mm3)


def test_density_that_cannot_be_compared_is_not_told() -> None:
    """What stayed is not told apart where HU of two scans differ; of a piece that is not resolved only much is told."""
    one, two = drawn(ball(6.0)), drawn(ball(6.0), hu=700.0)
    found = exchange(one, two, residual_mm=RESIDUAL_MM, densities=False)
    assert [name for name in EXCHANGED if np.isnan(found[name])] == [*EXCHANGED[-3:]]
    thin = exchange(replace(one, resolved=(False,)), two, residual_mm=RESIDUAL_MM)
    assert thin["mineralised_mm3"] == 0.0
    assert exchange(one, two, residual_mm=RESIDUAL_MM)["mineralised_mm3"] > 0.5 * one.volume_mm3


@pytest.mark.parametrize("noise_hu", [18.0, nan])
def test_what_came_or_went_as_a_whole(noise_hu: float) -> None:
    """Closed form: a new lesion is gained, a resolved one lost; without either nothing is there."""
    one = replace(drawn(ball(5.0)), noise_hu=noise_hu)
    new, gone = exchange(NOTHING, one, residual_mm=1.0), exchange(one, NOTHING, residual_mm=1.0)
    assert (new["gained_mm3"], new["formation_mm3"], new["lost_mm3"]) == (one.volume_mm3, one.volume_mm3, 0.0)
    assert (gone["lost_mm3"], gone["resorption_mm3"], gone["gained_mm3"]) == (one.volume_mm3, one.volume_mm3, 0.0)
    assert set(exchange(NOTHING, NOTHING, residual_mm=1.0).values()) == {0.0}
    assert exchange(one, one, residual_mm=0.0)["unchanged_mm3"] == one.volume_mm3


def test_a_child_that_grows_takes_nothing_from_a_lesion_that_does_not() -> None:
    """Invariance: what the map stretches is no change; what grows with the child gains its native difference."""
    bigger, smaller = (lambda points: points * 1.12), (lambda points: points / 1.12)
    one = drawn(ball(10.0), to_other=bigger)
    same = exchange(one, drawn(ball(10.0), to_other=smaller), residual_mm=RESIDUAL_MM)
    assert same["unchanged_mm3"] == one.volume_mm3
    grown = exchange(one, drawn(ball(11.2), to_other=smaller), residual_mm=RESIDUAL_MM)
    assert grown["gained_mm3"] == pytest.approx(ball_mm3(11.2) - ball_mm3(10.0), rel=0.01)
    assert grown["lost_mm3"] == 0.0


def test_two_that_merged_are_neither_lost_nor_gained() -> None:
    """Closed form: a family compared as one gains the bridge alone."""
    apart = [drawn(ball(4.0, (x, 0.0, 0.0))) for x in (-5.0, 5.0)]
    family = Side(
        *(tuple(part for one in apart for part in getattr(one, n)) for n in ("crops", "volumes_mm3", "resolved")),
        stay,
        0.0,
    )
    whole = drawn(lambda p: ball(4.0, (-5, 0, 0))(p) | ball(4.0, (5, 0, 0))(p) | ball(2.5)(p))
    found = exchange(family, whole, residual_mm=RESIDUAL_MM)
    assert found["lost_mm3"] == 0.0
    assert found["gained_mm3"] == pytest.approx(whole.volume_mm3 - family.volume_mm3)
    assert exchange(apart[0], whole, residual_mm=RESIDUAL_MM)["gained_mm3"] > 200.0


def test_a_piece_without_volume_weighs_nothing() -> None:
    """Closed form: what a reader outlined and holds no mineral neither stays nor lends its place to others."""
    empty = replace(drawn(ball(3.0, (6.0, 0.0, 0.0))), volumes_mm3=(0.0,))
    far = drawn(ball(3.0, (-6.0, 0.0, 0.0)))
    both = replace(far, crops=empty.crops + far.crops, volumes_mm3=(0.0, far.volume_mm3), resolved=(True, True))
    found = exchange(both, replace(empty, volumes_mm3=(50.0,)), residual_mm=RESIDUAL_MM)
    assert (found["lost_mm3"], found["gained_mm3"], found["unchanged_mm3"]) == (far.volume_mm3, 50.0, 0.0)


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    fill=st.floats(0.02, 0.9),
    volumes=st.tuples(st.floats(1.0, 1e5), st.floats(1.0, 1e5)),
    residual_mm=st.floats(0.0, 2.5),
    shift_mm=st.floats(-3.0, 3.0),
)
def test_the_net_is_the_native_difference(
    seeds: tuple[int, int], fill: float, volumes: tuple[float, float], residual_mm: float, shift_mm: float
) -> None:
    """Property: for any shares and maps gained less lost is after less before, parts add up, and time reverses all."""
    sides = []
    for seed, volume, sign in zip(seeds, volumes, (1, -1), strict=True):
        rng = np.random.default_rng(seed)
        share = rng.random((6, 7, 8)) * (rng.random((6, 7, 8)) < fill)
        share[3, 3, 3] = 0.5
        crop = Crop(np.eye(4), rng.normal(300, 200, share.shape), share, share, np.full(share.shape, 50.0))
        sides.append(Side((crop,), (volume,), (True,), lambda p, s=sign * shift_mm: p + s, 20.0))
    found, back = (exchange(*pair, residual_mm=residual_mm) for pair in (sides, sides[::-1]))
    assert found["gained_mm3"] - found["lost_mm3"] == pytest.approx(volumes[1] - volumes[0], abs=1e-9)
    assert min(found.values()) >= -1e-9
    stayed = found["mineralised_mm3"] + found["demineralised_mm3"] + found["unchanged_mm3"]
    assert stayed == pytest.approx(volumes[0] - found["lost_mm3"])
    assert found["formation_mm3"] <= found["gained_mm3"] + 1e-9
    assert found["resorption_mm3"] <= found["lost_mm3"] + 1e-9
    opposite = {"gained_mm3": "lost_mm3", "formation_mm3": "resorption_mm3", "mineralised_mm3": "demineralised_mm3"}
    for one, other in opposite.items():
        assert (found[one], found[other]) == pytest.approx((back[other], back[one]))


def test_steps_reach_over_the_band_evenly() -> None:
    """Closed form: wide bands are asked in rings no farther apart than a voxel."""
    steps = voxels._steps(np.array([2.5, 1.0, 1.0]))
    assert len(steps) == 1 + 3 * 26
    assert np.abs(steps).max(axis=0) == pytest.approx([2.5, 1.0, 1.0])


def test_lesions_that_came_and_went_from_dicom_to_tables(limb_results: store.Results) -> None:
    """Truth of the phantom: rows of volume, and these alone, have gains and losses whose net is the change."""
    changes = limb_results.tables["changes"]
    own = changes["quantity"] == "volume_mm3"
    assert changes.loc[~own, list(EXCHANGED)].isna().all(axis=None)
    rows = changes[own]
    assert ((rows["gained_mm3"] - rows["lost_mm3"]) - rows["change"]).abs().max() < 1e-9
    stayed = rows[["mineralised_mm3", "demineralised_mm3", "unchanged_mm3"]].sum(axis=1)
    assert (rows["after"] - rows["gained_mm3"] - stayed).abs().max() < 1e-6
    total = rows[(rows["compartment"] == "total") & (rows["comparison"] == "baseline")]
    lesions = limb_results.tables["lesions"].set_index(["visit_id", "status"])["volume_mm3"]
    last = total.iloc[-1]
    assert last["gained_mm3"] >= lesions[last["to_visit"]].filter(like="new").sum()
    gone = limb_results.tables["lesions"].query("status == 'resolved'")["lesion_id"].iloc[0]
    lost = rows[(rows["lesion_id"] == gone) & (rows["after"] == 0)]
    assert (lost["lost_mm3"] == lost["before"]).all()
    assert len(lost)


@pytest.mark.slow
def test_a_shell_that_matures_from_dicom_to_tables(tmp_path: Path) -> None:
    """Truth of the phantom: a rim that fills in is gained and denser, and not lost; a nodule beside it stays."""
    visits = phantom.series("maturing", seed=4, visits=2, spacing_mm=(1.2, 1.2, 1.6), lesions=["closed", "stays"])
    found = pipeline.follow(write_visits(tmp_path / "study", visits)).tables
    rows = found["changes"].query("quantity == 'volume_mm3' and comparison == 'baseline'").dropna(subset=["lesion_id"])
    grown, still = (rows.loc[rows["before"] == pick(rows["before"])].iloc[0] for pick in (max, min))
    true = [visit.lesions.set_index("lesion").loc["closed", "volume_mm3"] for visit in visits]
    assert grown["gained_mm3"] == pytest.approx(true[1] - true[0], rel=0.25)
    assert grown["lost_mm3"] < 0.02 * true[0]
    assert 0 < grown["formation_mm3"] < grown["gained_mm3"]
    assert grown["mineralised_mm3"] > 0.5 * true[0]
    assert still["unchanged_mm3"] > 0.93 * still["before"]
