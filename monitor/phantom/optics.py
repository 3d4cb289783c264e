"""The scanner: voltage, blur in the plane, slice profile, correlated noise, whole HU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_VOLTAGE_KVP = (70.0, 80.0, 100.0, 120.0, 135.0, 140.0)
_MINERAL_SCALE = (1 / 0.63, 1 / 0.735, 1 / 0.88, 1.0, 119 / 130, 0.895)
"""Contrast of calcium over soft tissue relative to 120 kVp: reference/clinical.md A2 [F14, F16]; 140 extrapolated."""

HU_RANGE = (-1024, 3071)
"""What a scanner's 12 bits hold."""

NOISE_TO_BLUR = 0.75
"""Width of the noise's grain over that of the blur: reconstructions sharpen noise less than they blur edges."""


@dataclass(frozen=True)
class Scanner:
    """How a scan is made.

    Attributes
    ----------
    spacing_mm : (x, y, z)
        Pixel size and distance of slices.
    slice_thickness_mm : float
        Width of the box over which a slice averages.
    noise_hu : float
        SD of the noise, correlated in the plane.
    blur_sigma_mm : float
        SD of the Gaussian point spread in the plane.
    kvp, kernel : float, str
        Tube voltage, which sets the contrast of mineral, and the kernel's name.
    """

    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.5)
    slice_thickness_mm: float = 1.5
    noise_hu: float = 18.0
    blur_sigma_mm: float = 0.7
    kvp: float = 120.0
    kernel: str = "Br40"

    @property
    def mineral_scale(self) -> float:
        """Contrast of mineral over soft tissue, 1 at 120 kVp."""
        if not _VOLTAGE_KVP[0] <= self.kvp <= _VOLTAGE_KVP[-1]:
            raise ValueError(f"kvp must lie in {_VOLTAGE_KVP[0]:g} to {_VOLTAGE_KVP[-1]:g} kV; got {self.kvp:g}")
        return float(np.interp(self.kvp, _VOLTAGE_KVP, _MINERAL_SCALE))

    def scan(self, hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return what this scanner makes of an image, zyx: int16 HU."""
        blurred = _filter(hu, self._blur_kernels(), mode="nearest")
        if self.noise_hu > 0:
            blurred += self._noise(hu.shape, rng)
        return np.asarray(np.clip(np.rint(blurred), *HU_RANGE).astype(np.int16))

    def _noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        x, y, _ = self.spacing_mm
        sigma_mm = NOISE_TO_BLUR * self.blur_sigma_mm
        kernels = (np.ones(1), gaussian_kernel(sigma_mm / y), gaussian_kernel(sigma_mm / x))
        # White noise through a linear filter has the SD of the filter's root sum of squares, here exactly.
        gain = np.prod([np.sqrt(np.sum(kernel**2)) for kernel in kernels])
        white = rng.standard_normal(shape, dtype=np.float32) * np.float32(self.noise_hu / gain)
        return _filter(white, kernels, mode="wrap")

    def _blur_kernels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y, z = self.spacing_mm
        return (
            slice_kernel(self.slice_thickness_mm / z),
            gaussian_kernel(self.blur_sigma_mm / y),
            gaussian_kernel(self.blur_sigma_mm / x),
        )


def gaussian_kernel(sigma_voxels: float) -> np.ndarray:
    """Return a Gaussian, sampled to four SD, that sums to 1.

    >>> gaussian_kernel(0.0).tolist()
    [1.0]
    """
    reach = int(np.ceil(4 * sigma_voxels))
    weights = np.ones(1) if reach == 0 else np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_voxels) ** 2)
    return np.asarray(weights / weights.sum())


def slice_kernel(thickness_slices: float) -> np.ndarray:
    """Return the slice profile in units of the slice distance: a box; slices already average over their distance.

    >>> slice_kernel(2.0).round(3).tolist()
    [0.25, 0.5, 0.25]
    """
    reach = int(np.ceil(max(thickness_slices - 1.0, 0.0) / 2))
    edges = np.clip(np.arange(-reach - 0.5, reach + 1.5), -thickness_slices / 2, thickness_slices / 2)
    weights = np.diff(edges)
    return np.asarray(weights / weights.sum())


def _filter(values: np.ndarray, kernels: tuple[np.ndarray, ...], *, mode: str) -> np.ndarray:
    out = np.asarray(values, np.float32)
    for axis, kernel in enumerate(kernels):
        if kernel.size > 1:
            out = ndimage.correlate1d(out, kernel, axis=axis, mode=mode)
    return out.copy() if out is values else out
