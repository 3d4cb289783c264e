"""Registration against known maps, and what it must refuse."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

import monitor
from monitor import grid, phantom
from monitor.phantom import PhantomVisit
from monitor.registration import for_looking
from monitor.types import Registration, RegistrationError, Scan


@pytest.fixture(scope="module")
def pair() -> list[PhantomVisit]:
    """Return two coarse visits of a thigh with pose and growth."""
    return phantom.series("myositis", seed=5, visits=2, spacing_mm=(1.8, 1.8, 3.0), warp_mm=1.0, lesions=["fleck"])


@pytest.fixture(scope="module")
def found(pair: list[PhantomVisit]) -> Registration:
    """Return the registration of the pair."""
    return monitor.register(pair[0].scan, pair[1].scan)


def test_landmarks_are_carried_to_the_baseline(pair: list[PhantomVisit], found: Registration) -> None:
    """Truth: bone, skin and muscle land on their partners within two millimetres in the mean."""
    error = np.linalg.norm(found.to_baseline(pair[1].landmarks_mm) - pair[0].landmarks_mm, axis=1)
    assert error.mean() < 2.0


def test_both_ways_agree(pair: list[PhantomVisit], found: Registration) -> None:
    """Invariance: there and back ends where it began."""
    points = pair[1].landmarks_mm
    assert np.abs(found.from_baseline(found.to_baseline(points)) - points).max() < 0.1


@pytest.mark.slow
def test_the_same_bits_twice(pair: list[PhantomVisit], found: Registration) -> None:
    """Repeatable: a second run gives the same matrix and field to the last bit."""
    again = monitor.register(pair[0].scan, pair[1].scan)
    assert np.array_equal(again.matrix, found.matrix)
    assert np.array_equal(grid.array(again.field_mm), grid.array(found.field_mm))


def test_a_residual_is_given(found: Registration) -> None:
    """The disagreement of the two directions is a small positive length."""
    assert 0 < found.residual_mm < 3


@pytest.mark.slow
def test_another_body_part_is_refused(pair: list[PhantomVisit]) -> None:
    """A follow-up of uniform noise in a box is no thigh."""
    rng = np.random.default_rng(0)
    other = sitk.GetImageFromArray(rng.integers(-300, 300, (40, 40, 40)).astype(np.int16))
    other.SetSpacing((3.0, 3.0, 3.0))
    with pytest.raises(RegistrationError, match="must"):
        monitor.register(pair[0].scan, Scan(other))


def test_pictures_show_what_was_not_seen_as_missing(pair: list[PhantomVisit], found: Registration) -> None:
    """Resampled for looking: the lattice covers the baseline, and outside the follow-up is NaN."""
    image, before, after = for_looking(pair[0].scan, pair[1].scan, found)
    assert grid.array(image).shape == before.shape == after.shape
    assert np.isnan(after).any()
