"""How noisy a scan is, in all and block by block."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SOFT_TISSUE_HU = (-30.0, 110.0)
"""Muscle, skin and vessel without contrast, HU: where the noise is measured."""

NOISE_BLOCK_MM = 24.0
"""Side of the blocks in which the noise is measured apart, mm: streaks between bones are as wide."""

BLOCK_SHARE = 0.2
"""Least share of a block that is quiet soft tissue for its noise to be its own: at the skin gradients are in it."""

QUIET = 0.1
"""A square whose SD is within this share of the scan's noise holds no edge and no texture."""

WINDOW_LOSS = 1.15
"""What the mean of a small square takes off the SD of noise that smoothing has correlated (simulated, 1 mm voxels)."""

LOWEST_PERCENT, LOWEST = 10, 1.25
"""True SD over this percentile of SDs of squares of 25 voxels of correlated noise (simulated): texture is not in it."""

NOISE_STEP_MM, LEFT_STEP_MM = 3.0, 6.0
"""Of slices nearer than this one is measured, mm: for blocks, and for what a smoothing leaves of the whole."""

LEAST_SLICES = 64
"""Fewer slices than this are all measured."""

NOISE_WINDOW_VOXELS = 5
"""Side, voxels, of the square in which noise is measured: larger ones see anatomy."""


def measure_noise(hu: np.ndarray, tissue: np.ndarray, spacing_zyx_mm: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return the SD of the noise, the level of soft tissue, and the noise block by block, all HU.

    The SD in small squares of a slice: texture and edges widen some of them, so that in all of soft tissue
    their mode is that of the noise (Christianson 2015, global noise level), and within a block, where a
    streak widens all, their lowest tenth. Blocks are cubes of ``NOISE_BLOCK_MM``; one with too little
    soft tissue has the SD of the whole. Of fine slices one every ``NOISE_STEP_MM`` is measured.
    """
    sides = np.maximum(1, np.round(NOISE_BLOCK_MM / spacing_zyx_mm)).astype(int)
    step = _step(hu, NOISE_STEP_MM, spacing_zyx_mm)
    sides[0] = max(1, sides[0] // step) * step
    blocks = np.full(tuple(-(-np.array(hu.shape) // sides)), np.nan)
    mean, spread, inner = _squares(hu[::step], tissue[::step])
    if inner.sum() < NOISE_WINDOW_VOXELS**3:
        return float("nan"), float("nan"), blocks
    whole = _mode(spread[inner])
    sides //= [step, 1, 1]
    enough = max(NOISE_WINDOW_VOXELS**2 * 8, BLOCK_SHARE * float(np.prod(sides)))
    for place in np.ndindex(*blocks.shape):
        part = tuple(slice(n * side, (n + 1) * side) for n, side in zip(place, sides, strict=True))
        own = spread[part][inner[part]]
        blocks[place] = max(whole, LOWEST * np.percentile(own, LOWEST_PERCENT)) if len(own) >= enough else whole
    return whole, float(np.median(mean[inner])), blocks


def left_by(
    smooth: np.ndarray, hu: np.ndarray, tissue: np.ndarray, spacing_zyx_mm: np.ndarray, noise_hu: float
) -> float:
    """Return the SD that a smoothing has left of the noise, HU; NaN where too little soft tissue is quiet.

    It is asked where the scan itself shows nothing but its noise: of a smoothed scan texture is the greater part.
    """
    step = _step(hu, LEFT_STEP_MM, spacing_zyx_mm)
    _, spread, inner = _squares(hu[::step], tissue[::step])
    quiet = inner & (np.abs(spread - noise_hu) <= QUIET * noise_hu)
    if quiet.sum() < NOISE_WINDOW_VOXELS**3:
        return float("nan")
    _, left, _ = _squares(smooth[::step], tissue[::step])
    return WINDOW_LOSS * float(np.median(left[quiet]))


def _step(hu: np.ndarray, step_mm: float, spacing_zyx_mm: np.ndarray) -> int:
    return max(1, int(step_mm / spacing_zyx_mm[0])) if hu.shape[0] >= LEAST_SLICES else 1


def _squares(hu: np.ndarray, tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and SD of the square around each voxel of a slice, and whether all of it is soft tissue."""
    low, high = SOFT_TISSUE_HU
    window = (1, NOISE_WINDOW_VOXELS, NOISE_WINDOW_VOXELS)
    values = hu.astype(np.float32)
    mean = ndimage.uniform_filter(values, window)
    square = ndimage.uniform_filter(values * values, window)
    count = NOISE_WINDOW_VOXELS**2
    spread = np.sqrt(np.maximum(square - mean * mean, 0) * (count / (count - 1)))
    inner = ndimage.binary_erosion(tissue, np.ones(window), border_value=1) & (mean > low) & (mean < high)
    return mean, spread, inner


def _mode(values: np.ndarray) -> float:
    """Return the most frequent value: the mean of the shortest interval that holds a quarter (half-sample mode)."""
    ordered = np.sort(values)
    held = max(2, len(ordered) // 4)
    widths = ordered[held - 1 :] - ordered[: len(ordered) - held + 1]
    start = int(np.argmin(widths))
    return float(ordered[start : start + held].mean())
