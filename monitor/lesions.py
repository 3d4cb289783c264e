"""Find mineral outside the skeleton on a scan's own voxels, and revise it with what registration brings."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, exp, nan, pi, sqrt

import numpy as np
from scipy import ndimage

from monitor import grid, noise
from monitor._lesions import apart
from monitor.types import Anatomy, Findings, Reason, Scan

PARTS = (apart,)
"""The modules of the package beside this one: their thresholds go into ``run.json``."""

THRESHOLD_HU_AT_KVP = ((70.0, 207.0), (80.0, 177.0), (100.0, 145.0), (120.0, 130.0), (135.0, 119.0), (140.0, 115.0))
"""kV and HU of the value that is 130 HU at 120 kV (Graeni 2018); the row of 140 kV goes on with the last slope."""

NOISE_FACTOR = 4.3
"""SDs above soft tissue at which 100 cm³ hold at most 1 mm³ of noise voxels (white noise, simulated)."""

NOISE_HU_UNKNOWN = 20.0
"""SD assumed where a scan has too little soft tissue to measure it, HU: an ordinary child protocol."""

TISSUE_HU_UNKNOWN = 50.0
"""Level of muscle where it could not be measured, HU."""

SMOOTHING_MM = 0.7
"""SD of the smoothing in which mineral is looked for, mm: about the blur of a soft kernel, the matched filter."""

SMOOTHING_REACH = 3.0
"""Reach of that smoothing, in its SDs."""

FAINT_HU = 15.0
"""How far below the threshold smoothed HU may lie in the outskirts of a piece, HU: immature mineral, partial volume."""

SMOOTH_FACTOR = 4.0
"""SDs of the smoothed noise above soft tissue that these outskirts must reach."""

RISE_HU = 10.0
"""How far above tendon and cartilage, or the raised threshold of an enhanced scan, a piece must somewhere reach, HU."""

SOFT_HU = 130.0
"""Tendon and cartilage reach this at any voltage, HU; mineral is brighter at a lower one, and its threshold with it."""

CONTRAST_HU = 65.0
"""Least contrast of a smoothed piece over the median around it, HU: muscle beside bone is hardened as a whole."""

PEAK_SD = 5.0
"""How far above soft tissue it must reach, in SDs of the smoothed noise: of the 5000 independent places of 100 cm³
10^-3 reach it."""

STREAKS_OVER, STREAKS_HU = 1.3, 30.0
"""A block has streaks where its noise is this many times that of the whole scan, and above this many HU."""

STREAKS_SURE = 1.1
"""From this many times that noise on streaks are what a block is judged by: texture of the aorta's wall stays below."""

STREAKS_ALL_HU = 35.0
"""A whole scan has streaks from this noise on, HU: so few photons leave more than quantum noise (limb-ct 002)."""

STREAKS_LEFT = 0.6
"""Share of the SD of streaks that the smoothing leaves: they are 2 to 4 mm wide (limb-ct)."""

STREAK_SD = 8.0
"""What takes the place of ``PEAK_SD`` there: streaks of an adult's shoulders reach 7 (limb-ct 002, 005)."""

STREAK_REACH_MM, STREAK_SIGMA_MM = 15.0, 3.0
"""How far around a piece streaks are looked for, and SD of the smoothing that takes anatomy off, mm."""

STREAKY_SHARE = 0.5
"""Least share of a piece that must lie in blocks with streaks for it to be judged by them."""

QUIET_HU = 70.0
"""Smoothed soft tissue without fat lies within this of its level, HU: its border with fat is no streak."""

ROUGH_SD = 6.0
"""SDs of what is rough around, in flesh, that a piece among streaks must rise above."""

SUM_SD = 8.0
"""Contrast summed over a piece and ``BORDER_MM`` around, in SDs of that sum."""

BORDER_MM = 1.5
"""Blurred border that is summed with a piece, mm: two SDs of the blur."""

SPARED = 4.0
"""So many times what a piece sums to without its brightest voxel counts at most: blur leaves a quarter around it."""

GRAIN_MM3 = 28.0
"""Volume, mm³, over which smoothed noise is one sample: (4 pi)^1.5 times the cube of its grain's SD, 0.85 mm."""

BRIGHT_SHARE = 0.3
"""Share of a piece above the threshold itself from which those voxels are its outline: blur is not mineral."""

SEED_SHARE = 0.05
"""Least share of a piece that must rise so far: of wide faint bands of hardened muscle 0.4 % do, of faint arcs 11 %."""

FRINGE_MM = 2.0
"""A piece that lies all within this of bone is the bone's own fringe, mm."""

FRINGE_VOXELS = 1.5
"""The same in voxels of a slice: bone's border errs by one."""

LEAST_VOXELS = 2
"""Fewer voxels are not called a lesion: a single voxel may be a defect of the detector."""

HALO_MM = 6.0
"""Reach, mm, of the blur, beam hardening and motion of cortex into the soft tissue beside it."""

HALO_HU = 130.0
"""How much the threshold rises towards the bone, HU: measured on real femora at 3.3 mm slices, where the halo
reached 185 HU one voxel outside the cortex and fell to nothing within ``HALO_MM``."""

END_MM = 4.0
"""A piece of which no more than this lies in the field, mm, at its first or last slice, cannot be told from bone."""

METAL_HU = 2500.0
"""Denser than any mineral of the body, HU (enamel 2000 to 2400): metal."""

RING_MM = (2.5, 7.0)
"""Reach, mm, of the tissue around a piece whose median is its background."""

RING_VOXELS = 20
"""Fewer voxels of it give way to the level of soft tissue."""

AWAY_MM = 1.2
"""Step, mm, of the grid on which distances to bone are told."""

DENSE_HU = 450.0
"""Contrast, HU at 120 kV, of the dense mineral for which the limit of detection is stated."""

SPECK_MM3 = 65.0
"""Volume, mm³, over which the sum of the least lesion runs: a ball of 1 mm with its border."""

PLACING = 1.5
"""By how much placing between voxels and slices makes the limit larger (balls in noise of 8 to 30 HU)."""

BLUR_MM = 0.7
"""SD in the plane of the blur that is assumed for that limit, mm: a soft kernel."""

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
    return max(_by_voltage(kvp), tissue_hu + NOISE_FACTOR * noise_hu)


def _by_voltage(kvp: float) -> float:
    volts, values = zip(*THRESHOLD_HU_AT_KVP, strict=True)
    return 130.0 if np.isnan(kvp) else float(np.interp(kvp, volts, values))


def find(
    scan: Scan,
    anatomy: Anatomy,
    *,
    mask: np.ndarray | None = None,
    bone: np.ndarray | None = None,
    contrast: np.ndarray | None = None,
    least_hu: float = nan,
) -> Findings:
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
    contrast : (z, y, x) bool array, optional
        What contrast medium fills.
    least_hu : float, optional
        A raised threshold, where contrast medium asks for one.

    Returns
    -------
    Findings
        Pieces joined over faces, edges and corners of what is dense, and why what else is dense is none.

    Notes
    -----
    Mineral is looked for in the scan and in the scan smoothed by about its own blur (a matched filter). A piece must
    rise above what soft tissue is, above the smoothed noise around it, and its summed contrast above that of noise;
    near bone the thresholds rise by its halo.
    """
    tissue = _known(anatomy.tissue_hu, TISSUE_HU_UNKNOWN)
    physical = max(_by_voltage(scan.acquisition.kvp), _known(least_hu, 0.0))
    lowest = max(physical, tissue + NOISE_FACTOR * _known(anatomy.noise_hu, NOISE_HU_UNKNOWN))
    skeleton = anatomy.skeleton if bone is None else anatomy.skeleton | bone
    sight = _Sight.of(scan, anatomy, skeleton, physical, max(SOFT_HU, _known(least_hu, 0.0)) + RISE_HU)
    limit = limit_of_detection_mm3(scan, sight.least_hu, smooth_noise_hu=sight.smooth_noise, tissue_hu=tissue)
    if mask is not None:
        return Findings(labels=_label(np.asarray(mask, bool)), threshold_hu=lowest, lod_mm3=limit)
    labels, left_out = _pieces(sight, contrast)
    return Findings(labels=labels, threshold_hu=lowest, lod_mm3=limit, left_out=left_out)


def limit_of_detection_mm3(scan: Scan, least_hu: float, *, smooth_noise_hu: float, tissue_hu: float) -> float:
    """Return the volume of dense mineral, mm³, that this scan shows with 90 % power.

    ``least_hu`` is what smoothed mineral must somewhere reach. The ball is that of ``DENSE_HU`` contrast whose peak,
    after the scan's blur and the matched filter, and whose sum exceed what they must by 1.28 SD of the noise.
    """
    contrast = max(least_hu - tissue_hu, PEAK_SD * smooth_noise_hu)
    needed = (contrast + POWER_SD * smooth_noise_hu) / DENSE_HU
    sigma = float(np.prod(_blur_mm(scan)) ** (1 / 3))
    radii = np.linspace(0.05, 6.0, 600) * sigma
    # The share of a Gaussian point spread within a ball is the peak of the blurred ball (Maxwell's distribution).
    ratio = radii / (sigma * sqrt(2))
    peaks = np.array([erf(r) - 2 * r * exp(-r * r) / sqrt(pi) for r in ratio])
    radius = float(np.interp(min(needed, peaks[-1]), peaks, radii))
    by_sum = (SUM_SD + POWER_SD) * smooth_noise_hu * sqrt(SPECK_MM3 * GRAIN_MM3) / DENSE_HU
    return PLACING * max(4 / 3 * pi * radius**3, by_sum)


def _blur_mm(scan: Scan) -> np.ndarray:
    """Return the SD, (3,) mm along z, y and x, of a point after the scan's usual blur and the matched filter."""
    spacing = scan.spacing_zyx_mm
    thick = _known(scan.acquisition.slice_thickness_mm, spacing[0])
    variances = np.array([max(thick, spacing[0]) ** 2 / 12, *(BLUR_MM**2 + spacing[1:] ** 2 / 12)]) + SMOOTHING_MM**2
    return np.asarray(np.sqrt(variances))


@dataclass(frozen=True)
class _Sight:
    """A scan as mineral is looked for in it: ``smooth`` is the scan after the matched filter, levels are HU.

    ``physical`` is the threshold before noise, ``risen`` what a smoothed piece must somewhere reach; ``raw_blocks``
    and ``smooth_blocks`` are the noise block by block, ``streaky`` tells where it is one of streaks, ``away_mm`` the
    distance to bone on a grid of every ``fold`` voxels.
    """

    scan: Scan
    anatomy: Anatomy
    skeleton: np.ndarray
    physical: float
    risen: float
    tissue: float
    smooth: np.ndarray
    smooth_noise: float
    raw_blocks: np.ndarray
    smooth_blocks: np.ndarray
    streaky: np.ndarray
    away_mm: np.ndarray
    fold: np.ndarray

    @property
    def least_hu(self) -> float:
        """Least smoothed HU of a piece's peak, far from bone and before noise."""
        return max(self.risen, self.physical - FAINT_HU)

    @classmethod
    def of(cls, scan: Scan, anatomy: Anatomy, skeleton: np.ndarray, physical: float, risen: float) -> _Sight:
        """Smooth a scan and measure what the smoothing leaves of the noise."""
        spacing = scan.spacing_zyx_mm
        noise_hu = _known(anatomy.noise_hu, NOISE_HU_UNKNOWN)
        smooth = _smoothed(scan.array, anatomy.body, SMOOTHING_MM / spacing)
        left = noise.left_by(smooth, scan.array, anatomy.body & ~skeleton, spacing, noise_hu)
        smooth_noise = _known(left, noise_hu / 2)
        raw = np.where(np.isnan(anatomy.noise_blocks_hu), noise_hu, anatomy.noise_blocks_hu)
        # In a smoothed block texture outweighs noise: streaks are told by the raw noise of a block.
        usual = max(STREAKS_OVER * noise_hu, STREAKS_HU)
        streaks = STREAKS_LEFT * np.sqrt(np.maximum(raw**2 - usual**2, 0))
        fold = np.maximum(1, np.round(AWAY_MM / spacing)).astype(int)
        return cls(
            scan=scan,
            anatomy=anatomy,
            skeleton=skeleton,
            physical=physical,
            risen=risen,
            tissue=_known(anatomy.tissue_hu, TISSUE_HU_UNKNOWN),
            smooth=smooth,
            smooth_noise=smooth_noise,
            raw_blocks=raw,
            smooth_blocks=np.hypot(smooth_noise, streaks),
            streaky=(raw > STREAKS_SURE * usual) | (noise_hu >= STREAKS_ALL_HU),
            away_mm=_away(skeleton, fold, spacing),
            fold=fold,
        )

    def at(self, blocks: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Return the value of its block for each voxel of an index, (N, 3)."""
        return np.asarray(blocks[tuple((index * blocks.shape // self.scan.array.shape).T)])

    def away(self, index: np.ndarray) -> np.ndarray:
        """Return the distance to bone, mm, for each voxel of an index, (N, 3)."""
        return np.asarray(self.away_mm[tuple((index // self.fold).T)])


def _smoothed(hu: np.ndarray, body: np.ndarray, sigma_voxels: np.ndarray) -> np.ndarray:
    """Smooth a scan, float32; the air around the box of the body stays as it is."""
    smooth = hu.astype(np.float32)
    reach = np.ceil(2 * SMOOTHING_REACH * sigma_voxels).astype(int)
    near = grid.grown(grid.box_of(body), reach, hu.shape)
    ndimage.gaussian_filter(hu[near], sigma_voxels, output=smooth[near], truncate=SMOOTHING_REACH)
    return smooth


def _away(skeleton: np.ndarray, fold: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the distance to bone, mm, float32, on every ``fold`` voxels; infinite where there is no bone."""
    some = skeleton[tuple(slice(None, None, int(step)) for step in fold)]
    return grid.distance_mm(some, spacing_zyx_mm * fold)


def _pieces(sight: _Sight, contrast: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the label image of mineral, and for all else that is dense why it is none."""
    scan, anatomy = sight.scan, sight.anatomy
    left_out = np.zeros(scan.array.shape, np.uint8)
    left_out[(scan.array >= sight.physical) & ~anatomy.body] = Reason.OUTSIDE_BODY
    inside = anatomy.body & ~sight.skeleton
    faint = sight.physical - FAINT_HU
    index = np.argwhere(((sight.smooth >= faint) | (scan.array >= sight.physical)) & inside)
    at = tuple(index.T)
    smooth, hu = sight.smooth[at], scan.array[at]
    raw_sd, smooth_sd = sight.at(sight.raw_blocks, index), sight.at(sight.smooth_blocks, index)
    away = sight.away(index)
    halo = HALO_HU * np.clip(1 - away / HALO_MM, 0, 1)
    outskirts = smooth >= np.maximum(faint, sight.tissue + SMOOTH_FACTOR * smooth_sd) + halo
    bright = hu >= np.maximum(sight.physical, sight.tissue + NOISE_FACTOR * raw_sd) + halo
    dense = outskirts | bright
    # What hugs the bone was never in question: the blur of its border.
    edge = ~dense & (hu >= sight.physical) & (halo > 0) & (away > FRINGE_MM)
    left_out[tuple(index[edge].T)] = Reason.BONE_EDGE
    told = ((Reason.EXCLUDED, anatomy.left_out), (Reason.CONTRAST, contrast), (Reason.FIELD_EDGE, anatomy.field_edge))
    for name, where in told:
        if where is not None:
            out = dense & where[at]
            left_out[tuple(index[out].T)] = name
            dense &= ~out
    index, bright = index[dense], bright[dense]
    smooth, smooth_sd, away, halo = smooth[dense], smooth_sd[dense], away[dense], halo[dense]
    peak_sd = np.where(sight.at(sight.streaky, index), STREAK_SD, PEAK_SD)
    needed = np.maximum(sight.risen + halo, sight.tissue + peak_sd * smooth_sd)
    values = _Values(smooth, smooth_sd, away, halo, smooth >= needed)
    mask = np.zeros(scan.array.shape, bool)
    mask[tuple(index.T)] = True
    labels = _label(mask)
    kept = _judged(sight, labels, index, values, left_out)
    number = np.zeros(int(labels.max()) + 1, labels.dtype)
    number[kept] = np.arange(1, len(kept) + 1)
    labels = number[labels]
    above = values.smooth - sight.tissue - values.halo
    blur_voxels = _blur_mm(scan) / scan.spacing_zyx_mm
    labels = apart.parted(labels, index, above, values.risen, values.smooth_sd, blur_voxels)
    own = labels[tuple(index.T)]
    # What is clearly mineral outlines a piece by itself; a faint one is outlined by all of it.
    share = np.bincount(own, bright) / np.maximum(np.bincount(own), 1)
    labels[tuple(index[~bright & (share[own] >= BRIGHT_SHARE)].T)] = 0
    return labels, left_out


@dataclass(frozen=True)
class _Values:
    """Of each voxel in question: smoothed HU, SD of the smoothed noise, distance to bone, rise of the threshold.

    ``risen`` tells which reach what the peak of a lesion must.
    """

    smooth: np.ndarray
    smooth_sd: np.ndarray
    away: np.ndarray
    halo: np.ndarray
    risen: np.ndarray


def _judged(sight: _Sight, labels: np.ndarray, index: np.ndarray, values: _Values, left_out: np.ndarray) -> list[int]:
    """Return the labels that are mineral, and write down why the others are none."""
    own = labels[tuple(index.T)]
    count = int(labels.max())
    if count == 0:
        return []
    names = np.arange(1, count + 1)
    voxels = np.bincount(own, minlength=count + 1)[1:]
    seeds = np.bincount(own, values.risen, minlength=count + 1)[1:]
    far = ndimage.maximum(values.away, own, names)
    reasons = np.zeros(count + 1, np.uint8)
    reasons[1:][seeds < np.maximum(SEED_SHARE * voxels, 1)] = Reason.NOISE
    fringe = max(FRINGE_MM, FRINGE_VOXELS * float(sight.scan.spacing_zyx_mm[1:].max()))
    reasons[1:][np.asarray(far) <= fringe] = Reason.BONE_EDGE
    reasons[1:][voxels < LEAST_VOXELS] = Reason.TOO_SMALL
    ends = END_MM / sight.scan.spacing_zyx_mm[0]
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if reasons[number]:
            continue
        size = labels.shape[0]
        piece = labels[box] == number
        if sight.scan.array[box][piece].max() >= METAL_HU:
            reasons[number] = Reason.METAL
        elif (box[0].start == 0 and box[0].stop <= ends) or (box[0].stop == size and size - box[0].start <= ends):
            reasons[number] = Reason.FIELD_EDGE
        elif _summed(sight, labels, number, box) < SUM_SD or _is_streak(sight, labels, number, box):
            reasons[number] = Reason.NOISE
    why = reasons[own]
    left_out[tuple(index[why > 0].T)] = why[why > 0]
    return [int(name) for name in names if not reasons[name]]


def _summed(sight: _Sight, labels: np.ndarray, number: int, box: tuple[slice, ...]) -> float:
    """Return the contrast summed over a piece and its border, in SDs of such a sum of noise; 0 where it is faint."""
    spacing = sight.scan.spacing_zyx_mm
    near = grid.grown(box, np.ceil(RING_MM[1] / spacing).astype(int), labels.shape)
    piece = labels[near] == number
    gap = grid.distance_mm(piece, spacing)
    soft = sight.anatomy.body[near] & ~sight.skeleton[near]
    ring = soft & (gap > RING_MM[0]) & (gap <= RING_MM[1]) & (labels[near] == 0)
    hu = sight.scan.array[near]
    level = float(np.median(hu[ring])) if ring.sum() > RING_VOXELS else sight.tissue
    if sight.smooth[near][piece].max() - level < CONTRAST_HU:
        return 0.0
    summed = soft & (gap <= BORDER_MM)
    count = int(summed.sum())
    index = np.argwhere(piece) + [part.start for part in near]
    sd = float(sight.at(sight.smooth_blocks, index).mean())
    grains = max(count * sight.scan.voxel_volume_mm3 / GRAIN_MM3, 1.0)
    contrast = hu[summed].astype(float) - level
    # A defect of the detector is one voxel: a part of the sum must lie in others.
    spared = min(contrast.sum(), SPARED * (contrast.sum() - contrast.max(initial=0)))
    return float(spared / (sd * count / sqrt(grains)))


def _is_streak(sight: _Sight, labels: np.ndarray, number: int, box: tuple[slice, ...]) -> bool:
    """Tell whether a piece is one of many: in a scan with streaks, soft tissue around rises and falls as much."""
    spacing = sight.scan.spacing_zyx_mm
    near = grid.grown(box, np.ceil(STREAK_REACH_MM / spacing).astype(int), labels.shape)
    piece = labels[near] == number
    index = np.argwhere(piece) + [part.start for part in near]
    # A block that a lesion or a border fills shows no noise of its own: its neighbours' pieces are not judged by it.
    if sight.at(sight.streaky, index).mean() < STREAKY_SHARE:
        return False
    smooth = sight.smooth[near]
    dense = sight.skeleton[near] | (labels[near] > 0)
    flesh = np.abs(smooth - sight.tissue) < QUIET_HU
    soft = sight.anatomy.body[near] & flesh & (grid.distance_mm(dense, spacing) > STREAK_SIGMA_MM)
    # What smoothing over more leaves out: noise and streaks, not anatomy.
    rough = smooth - ndimage.gaussian_filter(smooth, [0, *(STREAK_SIGMA_MM / spacing[1:])])
    spread = 1.4826 * float(np.median(np.abs(rough[soft]))) if soft.sum() > RING_VOXELS else sight.smooth_noise
    return bool(smooth[piece].max() - sight.tissue < ROUGH_SD * spread)


def _known(value: float, otherwise: float) -> float:
    return otherwise if np.isnan(value) else float(value)


def _label(mask: np.ndarray) -> np.ndarray:
    labels = np.zeros(mask.shape, np.int32)
    box = grid.box_of(mask)
    ndimage.label(mask[box], structure=np.ones((3, 3, 3)), output=labels[box])
    return labels
