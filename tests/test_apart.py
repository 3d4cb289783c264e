"""Pieces that only blur joins are parted, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monitor import anatomy, lesions
from monitor._lesions.apart import parted
from monitor.types import Findings, Scan
from tests.made import Ball, limb, within


def looked(one: Scan) -> Findings:
    return lesions.find(one, anatomy.find(one))


def at(found: Findings, one: Scan, ball: Ball) -> set[int]:
    """Return the labels within a ball's place, 0 left out."""
    return {int(n) for n in np.unique(found.labels[within(one, ball.centre_mm, ball.radius_mm)])} - {0}


@pytest.mark.parametrize("noise_hu", [5.0, 22.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_balls_that_blur_joins_are_two(axis, noise_hu):
    """A gap of 1.8 mm is seen between dense balls, whichever way they lie."""
    away = np.eye(3)[axis] * (5.9 if axis < 2 else 6.5)
    pair = [Ball((12.0, 0.0, 0.0), 4.0, 900), Ball(tuple(np.array([12.0, 0.0, 0.0]) + away * 1.6), 4.0, 700)]
    one = limb(pair, noise_hu=noise_hu, bone=False, spacing_mm=(1.0, 1.0, 1.0), slices=48)
    found = looked(one)
    labels = [at(found, one, ball) for ball in pair]
    assert all(len(own) == 1 for own in labels)
    assert labels[0] != labels[1]


def test_specks_in_a_cloud_are_one_lesion():
    """What lies between specks is mineral itself, not their blur: they stay one."""
    cloud = [Ball((10.0, 0.0, 0.0), 9.0, 230)]
    specks = [Ball((10.0 + 5 * x, 5 * y, 4 * z), 1.7, 800) for x, y, z in [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 0, 1)]]
    found = looked(limb(cloud + specks, noise_hu=10.0, bone=False, spacing_mm=(1.0, 1.0, 1.0), slices=48))
    assert found.labels.max() == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_does_not_part_a_faint_lesion(seed):
    """The bumps of noise on a faint ball are no peaks of their own."""
    found = looked(limb([Ball((10.0, 0.0, 0.0), 8.0, 240)], noise_hu=28.0, bone=False, seed=seed))
    assert found.labels.max() == 1


def heights(*peaks: tuple[float, float]) -> np.ndarray:
    """Return a row of Gaussian peaks, SD 3 voxels, each at a place with a height."""
    x = np.arange(60.0)
    row = sum(height * np.exp(-(((x - place) / 3) ** 2) / 2) for place, height in peaks)
    shape = np.exp(-(np.arange(-4, 5) ** 2) / 18)
    return np.asarray(row * shape[:, None, None] * shape[None, :, None])


def parts_of(height: np.ndarray, sd: float) -> int:
    """Part what is above 40 as one piece; return how many it is."""
    labels, count = ndimage.label(height > 40, structure=np.ones((3, 3, 3)))
    assert count == 1
    index = np.argwhere(labels)
    contrast = height[tuple(index.T)]
    found = parted(labels.copy(), index, contrast, contrast > 100, np.full(len(index), sd), np.full(3, 3.0))
    assert np.array_equal(found > 0, labels > 0)
    return len(np.unique(found)) - 1


def test_a_deep_saddle_parts_and_a_shallow_one_does_not():
    """Rayleigh: a saddle at half of the lower peak is one between two, one at nine tenths is none."""
    assert parts_of(heights((18.0, 500.0), (28.0, 400.0)), sd=5.0) == 2
    assert parts_of(heights((18.0, 500.0), (24.5, 500.0)), sd=5.0) == 1


def test_a_saddle_within_the_noise_parts_nothing():
    """The same saddle is not believed where the noise makes as deep ones."""
    assert parts_of(heights((18.0, 500.0), (28.0, 400.0)), sd=70.0) == 1


def test_a_peak_that_is_no_lesions_parts_nothing():
    """What does not rise as a lesion must is part of its neighbour."""
    assert parts_of(heights((18.0, 500.0), (29.0, 95.0)), sd=1.0) == 1


def test_other_pieces_keep_their_numbers():
    """Parts get new numbers; a piece that is one keeps its own."""
    both = np.concatenate([heights((18.0, 500.0), (28.0, 400.0)), np.zeros((2, 9, 60)), heights((30.0, 300.0))])
    labels, count = ndimage.label(both > 40, structure=np.ones((3, 3, 3)))
    assert count == 2
    index = np.argwhere(labels)
    contrast = both[tuple(index.T)]
    found = parted(labels.copy(), index, contrast, contrast > 100, np.full(len(index), 5.0), np.full(3, 3.0))
    assert set(np.unique(found[labels == 1])) == {1, 3}
    assert set(np.unique(found[labels == 2])) == {2}
