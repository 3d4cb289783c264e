"""How noisy a scan is, in all and block by block."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SOFT_TISSUE_HU = (-30.0, 110.0)
"""Muscle, skin and vessel without contrast, HU: where the noise is measured."""

NOISE_BLOCK_MM = 24.0
"""Side of the blocks in which the noise is measured apart, mm: streaks between bones are as wide."""

LOWER_QUARTILE = 1.12
"""True SD over the lower quartile of SDs of squares of 25 voxels of correlated noise (simulated)."""

NOISE_STEP_MM = 2.0
"""Slices nearer than this show the same noise blocks: one of them is measured, mm."""

NOISE_WINDOW_VOXELS = 5
"""Side, voxels, of the square in which noise is measured: larger ones see anatomy."""


def measure_noise(hu: np.ndarray, tissue: np.ndarray, spacing_zyx_mm: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return the SD of the noise, the level of soft tissue, and the noise block by block, all HU.

    The SD in small squares of a slice: texture and edges widen some of them, so that in all of soft tissue
    their mode is that of the noise (Christianson 2015, global noise level), and within a block, where a
    streak widens all, their lower quartile. Blocks are cubes of ``NOISE_BLOCK_MM``; one with too little
    soft tissue has the SD of the whole. Of fine slices one every ``NOISE_STEP_MM`` is measured.
    """
    low, high = SOFT_TISSUE_HU
    sides = np.maximum(1, np.round(NOISE_BLOCK_MM / spacing_zyx_mm)).astype(int)
    blocks = np.full(tuple(-(-np.array(hu.shape) // sides)), np.nan)
    step = max(1, int(NOISE_STEP_MM / spacing_zyx_mm[0]))
    values, tissue = hu[::step].astype(np.float32), tissue[::step]
    sides = np.maximum(1, sides // [step, 1, 1])
    window = (1, NOISE_WINDOW_VOXELS, NOISE_WINDOW_VOXELS)
    mean = ndimage.uniform_filter(values, window)
    square = ndimage.uniform_filter(values * values, window)
    inner = ndimage.binary_erosion(tissue, np.ones(window), border_value=1)
    inner &= (mean > low) & (mean < high)
    if inner.sum() < NOISE_WINDOW_VOXELS**3:
        return float("nan"), float("nan"), blocks
    count = NOISE_WINDOW_VOXELS**2
    spread = np.sqrt(np.maximum(square - mean * mean, 0) * (count / (count - 1)))
    whole = _mode(spread[inner])
    for place in np.ndindex(*blocks.shape):
        part = tuple(slice(n * side, (n + 1) * side) for n, side in zip(place, sides, strict=True))
        own = spread[part][inner[part]]
        blocks[place] = max(whole, LOWER_QUARTILE * np.percentile(own, 25)) if len(own) >= count * 8 else whole
    return whole, float(np.median(mean[inner])), blocks


def _mode(values: np.ndarray) -> float:
    """Return the most frequent value: the mean of the shortest interval that holds a quarter (half-sample mode)."""
    ordered = np.sort(values)
    held = max(2, len(ordered) // 4)
    widths = ordered[held - 1 :] - ordered[: len(ordered) - held + 1]
    start = int(np.argmin(widths))
    return float(ordered[start : start + held].mean())
