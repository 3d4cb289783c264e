"""Find mineral outside the skeleton on a scan's own voxels, and revise it with what registration brings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from monitor.types import Anatomy, Findings, Scan

THRESHOLD_HU_AT_KVP = ((70.0, 207.0), (80.0, 177.0), (100.0, 145.0), (120.0, 130.0), (135.0, 119.0), (140.0, 115.0))
"""kV and HU of the value that is 130 HU at 120 kV (Graeni 2018); the row of 140 kV goes on with the last slope."""

NOISE_FACTOR = 4.3
"""SDs above soft tissue at which 100 cm³ hold at most 1 mm³ of noise voxels (white noise, simulated)."""

NOISE_HU_UNKNOWN = 20.0
"""SD assumed where a scan has too little soft tissue to measure it, HU: an ordinary child protocol."""

TISSUE_HU_UNKNOWN = 50.0
"""Level of muscle where it could not be measured, HU."""

EVIDENCE_SD = 5.0
"""Contrast of a piece after smoothing, in SDs of the smoothed noise around it: one false in 10^6."""

PEAK_RISE_HU = 60.0
"""How far above the threshold a piece must somewhere reach, HU: streaks beside bone stayed below 56 on real thighs."""

FRINGE_MM = 2.0
"""A piece that lies all within this of bone is the bone's own fringe, mm."""

LEAST_VOXELS = 2
"""Fewer voxels above the threshold are not called a lesion: a single voxel may be a defect of the detector."""

LEAST_MM3 = 5.0
"""Smallest volume above the threshold, mm³: half of the smallest speck that readers outline."""

SMOOTHING_MM = 1.0
"""SD of the smoothing before the evidence is judged, mm: about the blur of a soft kernel, the matched filter."""

PATCH_MM3 = 60.0
"""Volume, mm³, of one independent look: four times as much counts double, more does not (streaks)."""

NOISE_REACH_MM = 12.0
"""Reach, mm, of the neighbourhood in which the noise around a piece is measured: streaks are local."""

QUIET_HU = 100.0
"""Soft tissue without fat and mineral lies within this of muscle once smoothed, HU."""

LEAST_QUIET_VOXELS = 100
"""Fewer voxels of quiet tissue give no SD worth having (its own error is 7 % at 100)."""

HALO_MM = 6.0
"""Reach, mm, of the blur, beam hardening and motion of cortex into the soft tissue beside it."""

HALO_HU = 130.0
"""How much the threshold rises towards the bone, HU: measured on real femora at 3.3 mm slices, where the halo
reached 185 HU one voxel outside the cortex and fell to nothing within ``HALO_MM``."""

DENSE_HU = 450.0
"""Contrast, HU at 120 kV, of the dense mineral for which the limit of detection is stated."""

POWER_SD = 1.2816
"""Normal quantile of 90 % power."""


def threshold_hu(kvp: float, *, noise_hu: float, tissue_hu: float) -> float:
    """Return the lowest HU that is called mineral in a scan.

    The 130 HU of 120 kV carried to the tube voltage, and never less than ``NOISE_FACTOR`` SDs above soft
    tissue. An unknown (NaN) voltage is taken as 120 kV; the caller says so.

    >>> threshold_hu(120.0, noise_hu=10.0, tissue_hu=50.0)
    130.0
    >>> threshold_hu(120.0, noise_hu=30.0, tissue_hu=50.0)
    179.0
    """
    volts, values = zip(*THRESHOLD_HU_AT_KVP, strict=True)
    by_voltage = 130.0 if np.isnan(kvp) else float(np.interp(kvp, volts, values))
    return max(by_voltage, tissue_hu + NOISE_FACTOR * noise_hu)


def find(scan: Scan, anatomy: Anatomy, *, mask: np.ndarray | None = None, bone: np.ndarray | None = None) -> Findings:
    """Find every piece of mineral in a scan.

    Parameters
    ----------
    scan : Scan
        CT in HU.
    anatomy : Anatomy
        Body and skeleton of the same scan.
    mask : (z, y, x) bool array, optional
        A reader's outline of all lesions; it wins, whatever the HU.
    bone : (z, y, x) bool array, optional
        Bone that the reference visit knows of, brought over by registration: what lies on it is not new.

    Returns
    -------
    Findings
        Pieces joined over faces, edges and corners.
    """
    noise, tissue = _known(anatomy.noise_hu, NOISE_HU_UNKNOWN), _known(anatomy.tissue_hu, TISSUE_HU_UNKNOWN)
    lowest = threshold_hu(scan.acquisition.kvp, noise_hu=noise, tissue_hu=tissue)
    limit = limit_of_detection_mm3(scan, lowest, noise_hu=noise, tissue_hu=tissue)
    if mask is not None:
        return Findings(labels=_label(np.asarray(mask, bool)), threshold_hu=lowest, lod_mm3=limit)
    skeleton = anatomy.skeleton if bone is None else anatomy.skeleton | bone
    away = _away(skeleton, scan.spacing_zyx_mm)
    least = np.maximum(lowest, tissue + NOISE_FACTOR * _everywhere(anatomy.noise_blocks_hu, noise, scan))
    halo = HALO_HU * np.clip(1 - away / HALO_MM, 0, 1)
    dense = (scan.array >= least + halo) & anatomy.body & ~anatomy.left_out & ~skeleton
    labels = _label(dense)
    fringe = np.asarray(ndimage.maximum(away, labels, np.arange(labels.max() + 1))) <= FRINGE_MM
    labels = _believable(_label((labels > 0) & ~fringe[labels]), scan, anatomy, _Levels(least, noise, tissue))
    return Findings(labels=labels, threshold_hu=lowest, lod_mm3=limit)


def limit_of_detection_mm3(scan: Scan, lowest_hu: float, *, noise_hu: float, tissue_hu: float) -> float:
    """Return the volume of dense mineral, mm³, that this scan shows with 90 % power.

    A ball of ``DENSE_HU`` contrast must lift ``LEAST_VOXELS`` voxels, or ``LEAST_MM3``, above the threshold
    by 1.28 SD of the noise although the blur spreads it over its own volume and that of the point spread.
    """
    rise = (lowest_hu + PEAK_RISE_HU - tissue_hu + POWER_SD * noise_hu) / DENSE_HU
    blur_mm = np.maximum(scan.spacing_zyx_mm, SMOOTHING_MM)
    spread = float(np.prod(np.sqrt(2 * np.pi * (SMOOTHING_MM**2 + blur_mm**2 / 12))))
    return float(rise * (spread + max(LEAST_MM3, LEAST_VOXELS * scan.voxel_volume_mm3)))


def _everywhere(blocks_hu: np.ndarray, noise_hu: float, scan: Scan) -> np.ndarray:
    """Spread the noise of blocks over the voxels, (z, y, x) float32."""
    shape = scan.array.shape
    blocks = np.where(np.isnan(blocks_hu), noise_hu, blocks_hu).astype(np.float32)
    for axis, (size, count) in enumerate(zip(shape, blocks.shape, strict=True)):
        blocks = np.take(blocks, np.minimum(np.arange(size) * count // size, count - 1), axis)
    return blocks


def _away(skeleton: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the distance to bone, mm, (z, y, x) float32; infinite where there is no bone."""
    if not skeleton.any():
        return np.full(skeleton.shape, np.inf, np.float32)
    return ndimage.distance_transform_edt(~skeleton, sampling=spacing_zyx_mm).astype(np.float32)


@dataclass(frozen=True)
class _Levels:
    """Threshold by voxel, noise and level of soft tissue of a scan, HU."""

    least: np.ndarray
    noise: float
    tissue: float


def _believable(labels: np.ndarray, scan: Scan, anatomy: Anatomy, levels: _Levels) -> np.ndarray:
    """Drop the pieces that noise explains, and number the others anew."""
    count = int(labels.max())
    if count == 0:
        return labels
    index = np.arange(1, count + 1)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    rise = np.asarray(ndimage.maximum(scan.array - levels.least, labels, index))
    enough = (rise >= PEAK_RISE_HU) & (voxels >= LEAST_VOXELS) & (voxels * scan.voxel_volume_mm3 >= LEAST_MM3)
    # The rest is judged where the pieces are, not all over the field: each in its own box.
    evidence = np.zeros(count)
    reach = np.ceil((NOISE_REACH_MM + 3 * SMOOTHING_MM) / scan.spacing_zyx_mm).astype(int)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if enough[number - 1]:
            near = _grow(box, reach, labels.shape)
            evidence[number - 1] = _evidence(labels[near], number, near, scan, anatomy, levels)
    keep = np.zeros(count + 1, labels.dtype)
    good = index[enough & (evidence >= EVIDENCE_SD)]
    keep[good] = np.arange(1, len(good) + 1)
    return keep[labels]


def _evidence(
    labels: np.ndarray, number: int, box: tuple[slice, ...], scan: Scan, anatomy: Anatomy, levels: _Levels
) -> float:
    """Return the smoothed contrast of a piece in SDs of the smoothed noise of quiet tissue around it."""
    spacing = scan.spacing_zyx_mm
    piece = labels == number
    sigma = SMOOTHING_MM / spacing
    smooth = ndimage.gaussian_filter(scan.array[box].astype(np.float32), sigma)
    busy = _dilate(anatomy.skeleton[box] | (labels > 0), 2 * SMOOTHING_MM, spacing)
    quiet = anatomy.body[box] & ~busy & (np.abs(smooth - levels.tissue) < QUIET_HU)
    # What smoothing over three times the width leaves: noise and streaks, not anatomy.
    rough = smooth - ndimage.gaussian_filter(smooth, 3 * sigma * [0, 1, 1])
    near = quiet & (ndimage.distance_transform_edt(~piece, sampling=spacing) <= NOISE_REACH_MM)
    spread = 1.4826 * float(np.median(np.abs(rough[near]))) if near.sum() >= LEAST_QUIET_VOXELS else levels.noise
    peak = float(smooth[piece].max())
    size = float(np.clip(np.sqrt(piece.sum() * scan.voxel_volume_mm3 / PATCH_MM3), 1, 2))
    evidence = size * (peak - levels.tissue) / max(spread, levels.noise / 4)
    # A piece that smoothing takes below the threshold was lifted over it by noise, unless the scan is quiet.
    return evidence if peak >= float(levels.least.min()) or evidence >= 2 * EVIDENCE_SD else 0.0


def _known(value: float, otherwise: float) -> float:
    return otherwise if np.isnan(value) else value


def _label(mask: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)), output=np.int32)
    return labels


def _grow(box: tuple[slice, ...], reach: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, margin, size in zip(box, reach, shape, strict=True)
    )


def _dilate(mask: np.ndarray, radius_mm: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Dilate a mask by a ball; a radius below a voxel still takes the neighbours in the slice."""
    reach = np.maximum(np.floor(radius_mm / spacing_zyx_mm), [0, 1, 1]).astype(int)
    axes = [np.arange(-r, r + 1) * size for r, size in zip(reach, spacing_zyx_mm, strict=True)]
    distance = sum(np.square(part) for part in np.meshgrid(*axes, indexing="ij"))
    least = max(radius_mm, float(spacing_zyx_mm[1:].max()))
    return ndimage.binary_dilation(mask, np.asarray(distance <= least**2 + 1e-9))
