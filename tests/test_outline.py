"""The outline whose blurred picture explains a scan: drawn with the model itself, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monitor._burden import outline
from monitor._burden.outline import Blur, Place

SPACING = np.array([1.5, 0.8, 0.8])
SHAPE = (18, 34, 34)
FOLD = np.array([5, 4, 4])
MINERAL_HU, MUSCLE_HU, FAT_HU, NOISE_HU = 520.0, 55.0, -90.0, 10.0


def places(*, fine: bool = False) -> np.ndarray:
    """Return where voxels, or the fine ones that make them, lie about the middle, (3, z, y, x) mm."""
    fold = FOLD if fine else np.ones(3, int)
    shape, size = np.array(SHAPE) * fold, SPACING / fold
    middle = (shape - 1) / 2
    return (np.indices(shape) - middle[:, None, None, None]) * size[:, None, None, None]


def ball(radius_mm: float) -> np.ndarray:
    """Return a ball on fine voxels, a little off the middle."""
    off = places(fine=True) - np.array([0.3, 0.2, -0.3])[:, None, None, None]
    return (off**2).sum(axis=0) <= radius_mm**2


def drawn(inside: np.ndarray, blur: Blur, *, fat: bool = False, noise_hu: float = NOISE_HU, seed: int = 0) -> Place:
    """Return what a scanner sees of an outline in muscle, or in muscle above fat."""
    share = outline.blurred(inside, FOLD, SPACING, blur)
    tissue = np.where(fat & (places()[1] > 8), FAT_HU, MUSCLE_HU)
    tissue = ndimage.gaussian_filter(tissue, [0, *(blur.sigma_mm / SPACING[1:])])
    hu = share * MINERAL_HU + (1 - share) * tissue + np.random.default_rng(seed).normal(0, noise_hu, SHAPE)
    mineral = (hu > 180) & (share > 0.05)
    room = ndimage.distance_transform_edt(~mineral, sampling=SPACING) <= 2.0
    return Place(hu.astype(np.float32), mineral, room, np.ones(SHAPE, bool), noise_hu, SPACING)


def volume_of(inside: np.ndarray) -> float:
    return float(inside.sum() * np.prod(SPACING / FOLD))


KNOWN = Blur(0.7, 1.5, measured=True)


@pytest.mark.parametrize("radius_mm", [3.0, 4.5, 6.0])
def test_a_ball_is_found_again(radius_mm):
    """Volume within 2 %, excess within 4 %, mineral within 2 %, and nothing but the noise is left."""
    inside = ball(radius_mm)
    found = outline.fit(drawn(inside, KNOWN), KNOWN)
    contrast = MINERAL_HU - MUSCLE_HU
    assert found.volume_mm3 == pytest.approx(volume_of(inside), rel=0.02)
    assert found.excess_hu_mm3 == pytest.approx(volume_of(inside) * contrast, rel=0.04)
    assert np.average(found.mineral_hu, weights=found.share) == pytest.approx(MINERAL_HU, rel=0.02)
    assert found.misfit == pytest.approx(1.0, abs=0.35)
    assert found.radius_mm == pytest.approx(radius_mm, abs=0.45)
    assert found.curvature > 0


def test_the_border_of_fat_goes_on_below_mineral():
    """Tissue a little beside the ball is what was drawn: muscle on one side, fat on the other."""
    place = drawn(ball(4.5), KNOWN, fat=True)
    found = outline.fit(place, KNOWN)
    across, beside = places()[1], (found.share < 0.05) & place.room
    assert found.tissue_hu[beside & (across < 4)].mean() == pytest.approx(MUSCLE_HU, abs=10)
    assert found.tissue_hu[~place.room & (across > 10)].mean() == pytest.approx(FAT_HU, abs=10)


@pytest.mark.parametrize("sigma_mm", [0.5, 0.7, 0.9])
def test_the_blur_is_told_by_the_scan(sigma_mm):
    """The blur of two balls is found to 0.08 mm in the plane, and none is invented across slices."""
    true = Blur(sigma_mm, 1.5)
    found = outline.measured_blur([drawn(ball(radius), true, seed=1) for radius in (4.0, 5.0)], 1.5)
    assert found.measured
    assert found.sigma_mm == pytest.approx(sigma_mm, abs=0.08)
    assert found.across_mm <= 0.5


def test_without_a_piece_the_blur_is_the_usual_one():
    """Nothing tells it, and it says so."""
    assert outline.measured_blur([], 3.0) == Blur(outline.BLUR_MM, 3.0, measured=False)


def test_blur_moves_mineral_and_loses_none():
    """The shares of a picture sum to the volume of its outline, under every blur."""
    inside = ball(4.0)
    for blur in (Blur(0.5, 1.5), Blur(0.9, 3.0), Blur(0.7, 1.5, 0.6)):
        seen = outline.blurred(inside, FOLD, SPACING, blur)
        assert seen.sum() * np.prod(SPACING) == pytest.approx(volume_of(inside), rel=0.005)
        assert 0 <= seen.min() <= seen.max() <= 1 + 1e-6


def test_fine_voxels_have_the_means_of_the_scan():
    """What fine voxels of a voxel average to is the voxel."""
    place = drawn(ball(4.0), KNOWN)
    fine, (z, y, x) = place.fine, place.fold.tolist()
    depth, height, width = (np.array(fine.shape) // place.fold).tolist()
    means = fine.reshape(depth, z, height, y, width, x).mean(axis=(1, 3, 5))
    assert means == pytest.approx(place.hu[place.inner], abs=0.05)


def test_a_core_that_is_less_dense_than_its_rim_is_mineral():
    """A maturing shell is mineral throughout: its core of 300 HU is not taken for tissue."""
    inside = ball(7.0)
    core = outline.blurred(ball(4.0), FOLD, SPACING, KNOWN)
    place = drawn(inside, KNOWN)
    hu = (place.hu - core * (MINERAL_HU - 300)).astype(np.float32)
    found = outline.fit(Place(hu, place.mineral, place.room, place.tissue, NOISE_HU, SPACING), KNOWN)
    assert found.volume_mm3 == pytest.approx(volume_of(inside), rel=0.05)


def test_the_same_piece_gives_the_same_bits():
    """Nothing is drawn at random."""
    one, two = (outline.fit(drawn(ball(3.0), KNOWN), KNOWN) for _ in range(2))
    assert (one.volume_mm3, one.excess_hu_mm3) == (two.volume_mm3, two.excess_hu_mm3)
    assert np.array_equal(one.tissue_hu, two.tissue_hu)
