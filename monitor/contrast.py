"""Contrast medium: vessels brighter than blood can be, and what else is filled with it.

A tube that is long, slender, evenly bright along its way and no brighter at its rim than within is a vessel, or a
ureter or bowel filled with the medium. Mineral is short, a sheet, or uneven.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from scipy import ndimage

from monitor.types import Anatomy, Contrast, Scan

COARSE_MM = 2.0
"""Largest voxel, mm, to which blocks of voxels are averaged before tubes are looked for: the thinnest have 2 mm."""

SMOOTHING_MM = 0.8
"""SD of the smoothing before tubes are looked for, mm: about the blur of a soft kernel."""

BRIGHT_HU = {"iv": 100.0, "unknown": 130.0, "none": 130.0}
"""Least level of an enhanced vessel by what the header says, HU. Blood itself reaches 80 at a hematocrit of 0.6 and a
clot 90; tendons, which are as long and even as vessels, reach 130, where only a header's word speaks for contrast."""

LEVELS_HU = (100.0, 130.0, 180.0, 250.0, 350.0, 480.0)
"""Where the scan is cut to see tubes, HU, each about 1.4 of the one before: a vessel is apart from organs at one."""

TUBE_LENGTH_MM = 30.0
"""Shortest tube, mm: calcified arcs of arteries are shorter, or are sheets."""

LONGEST_MM = {"iv": 60.0, "unknown": 60.0, "none": 100.0}
"""Least length of the longest tube of an enhanced scan, mm, by what the header says, which is evidence and not the
truth: vessels run on, a myositis of the phantom is 50 mm long, and pieces of its thin ribs stay below 40."""

MOST_HU = 600.0
"""Brightest blood, HU: arteries at the height of a bolus at 80 kV. Fibulas and cut cortex are even tubes above that."""

TUBE_RADIUS_MM = 15.0
"""Largest inscribed radius of a tube, mm: an adult's aorta; thicker parts are organs and cut off."""

SLENDER = 4.0
"""Least length of a tube over its greatest inscribed diameter."""

FULL = 2.5
"""Most volume of a tube over that of a cylinder of its length and inscribed radius: branches double it, sheets of
1.6 mm over a thigh reach ten times that."""

AGREE, AGREE_SHARE = 0.15, 0.5
"""Which part of the length of all tubes must lie within which part of blood's height above soft tissue of its level:
what has mixed is as bright everywhere (all of it in the phantom), strips of bone differ (0.4 in a plain real chest)."""

UNEVEN = 0.1
"""Most SD along a tube's middle, over its height above soft tissue: contrast mixes within a few percent (0.02 to 0.06
in the phantom), ribs and other thin bones of real scans at 3 mm have 0.11 to 0.2."""

STEEP_PER_MM = 0.12
"""Steepest plateau, in parts of its height above soft tissue a mm: an edge has 0.3 and more."""

AROUND_MM, AROUND_DROP, AROUND_SHARE = 4.0, 0.3, 0.6
"""How far around a tube it must be darker, mm; by which part of its height above soft tissue; and over which share of
its surroundings: a vessel may lie against bone on one side, marrow has cortex all around."""

LIKE_BLOOD, BRANCH_MM = 0.25, 15.0
"""Where blood's level is known, a tube within this part of its height above soft tissue is a vessel from this length
on, mm: mineral as bright as blood could not be told from it anyway."""

LUMEN_MM = 3.0
"""Reach of a lumen around its plateau, mm: the blurred edge of a vessel."""

P20_TO_P80_SD = 1.683
"""SDs of a normal distribution between its 20th and 80th percentile."""

STEP_MM = 4.0
"""A tube is followed in steps of this, mm."""

MIDDLE = 0.6
"""The middle of a tube is what lies deeper than this share of the greatest depth of a step."""

POOL_MM3 = 20_000.0
"""Smallest even body that is taken for a pool of contrast (bladder, bowel) in an enhanced scan, mm³: more than a
ball of 3 cm across, larger than nodules are."""

MARGIN_HU = 60.0
"""Least rise of mineral above enhanced blood, HU: layering and mixing move blood by about half of that."""

MARGIN_SD = 5.0
"""The same in SDs of the noise: fewer than one in a million voxels of blood is as bright."""

RULE = "contrast:vessels-left-out,least=blood+max(60HU,5SD),v1"
"""What is needed to repeat a number that was measured beside contrast medium, after the quantity's own rule."""

TISSUE_HU_UNKNOWN, NOISE_HU_UNKNOWN = 50.0, 20.0
"""Level of muscle and SD of the noise where they could not be measured, HU."""

Box = tuple[slice, ...]


@dataclass(frozen=True)
class _Coarse:
    """The scan in blocks: smoothed HU, body, where tubes may lie, plateaus, size of a block in mm and in voxels."""

    hu: np.ndarray
    inside: np.ndarray
    free: np.ndarray
    flat: np.ndarray
    spacing_zyx_mm: np.ndarray
    steps: tuple[int, int, int]
    tissue_hu: float
    noise_hu: float
    in_bone: bool = False


@dataclass(frozen=True)
class _Tube:
    """A piece in its box of the coarse scan, its length, the level of its middle, and whether it may lie in bone."""

    box: Box
    mask: np.ndarray
    length_mm: float
    level_hu: float
    in_bone: bool = False


def find(scan: Scan, anatomy: Anatomy, *, said: str = "unknown") -> Contrast:
    """Find contrast medium in a scan.

    Parameters
    ----------
    scan : Scan
        CT in HU.
    anatomy : Anatomy
        Body and skeleton of the same scan.
    said : {"none", "iv", "unknown"}
        What the header or the study says. ``none`` is overruled by much evidence only, ``iv`` confirmed by little.

    Returns
    -------
    Contrast
        Masks on the scan's own grid.
    """
    nothing = np.zeros(scan.array.shape, bool)
    absent = Contrast(nothing, nan, enhanced=False, phase="unknown" if said == "iv" else "none", least_hu=nan)
    coarse = _coarse(scan, anatomy)
    # Vessels brighter than spongy bone may have been taken for bone.
    everywhere = replace(coarse, free=coarse.inside, in_bone=True)
    levels = [level for level in LEVELS_HU if level >= BRIGHT_HU[said]]
    outside = [tube for level in levels for tube in _tubes(coarse, coarse.hu >= level, TUBE_LENGTH_MM)]
    # Nothing but the image speaks for a vessel that looks like bone, whatever the header says.
    within = [tube for level in levels for tube in _tubes(everywhere, coarse.hu >= level, TUBE_LENGTH_MM)]
    tubes = _apart([*outside, *(tube for tube in within if tube.length_mm >= LONGEST_MM["unknown"])])
    if max((tube.length_mm for tube in tubes), default=0.0) < LONGEST_MM[said]:
        return absent
    blood = _level_of_blood(tubes)
    if _agreeing(_apart([*outside, *within]), blood, coarse.tissue_hu) < AGREE_SHARE:
        return absent
    least = blood + max(MARGIN_HU, MARGIN_SD * coarse.noise_hu)
    # A short even tube brighter than blood may be a calcified artery.
    sure = [tube for tube in tubes if tube.level_hu < least or tube.length_mm >= LONGEST_MM["unknown"]]
    like_blood = np.abs(coarse.hu - blood) <= LIKE_BLOOD * (blood - coarse.tissue_hu)
    short = [*_tubes(everywhere, like_blood, BRANCH_MM)]
    for part in [*sure, *short, *_pools(coarse, least)]:
        most = least if part.level_hu < least else part.level_hu + max(MARGIN_HU, MARGIN_SD * coarse.noise_hu)
        _fill(nothing, part, most, scan, anatomy, coarse)
    return Contrast(nothing, blood, enhanced=True, phase="iv", least_hu=least)


def _coarse(scan: Scan, anatomy: Anatomy) -> _Coarse:
    spacing = scan.spacing_zyx_mm
    z, y, x = (max(1, int(COARSE_MM / size + 1e-6)) for size in spacing)
    hu = _blocks(scan.array, (z, y, x))
    first = tuple(slice(0, count * step, step) for count, step in zip(hu.shape, (z, y, x), strict=True))
    inside = anatomy.body[first] & ~anatomy.left_out[first]
    # A voxel of bone in a block speaks for bone; its blur reaches a block further.
    free = inside & ~ndimage.binary_dilation(_blocks(anatomy.skeleton, (z, y, x)) > 0)
    size = spacing * (z, y, x)
    hu = ndimage.gaussian_filter(hu, SMOOTHING_MM / size)
    tissue = TISSUE_HU_UNKNOWN if np.isnan(anatomy.tissue_hu) else anatomy.tissue_hu
    noise = NOISE_HU_UNKNOWN if np.isnan(anatomy.noise_hu) else anatomy.noise_hu
    return _Coarse(hu, inside, free, _flat(hu, tissue, noise, size), size, (z, y, x), tissue, noise)


def _flat(hu: np.ndarray, tissue_hu: float, noise_hu: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the plateaus and ridges, bool: a vessel that touches bone is apart from it there."""
    square = np.zeros_like(hu)
    for axis, size in enumerate(spacing_zyx_mm):
        if hu.shape[axis] > 1:
            square += np.square(np.gradient(hu, size, axis=axis))
    most = STEEP_PER_MM * (hu - tissue_hu) + noise_hu / 2 / float(spacing_zyx_mm.min())
    return np.asarray((most > 0) & (square <= np.square(most)))


def _blocks(values: np.ndarray, steps: tuple[int, int, int]) -> np.ndarray:
    """Average blocks of voxels, slab by slab, float32; what fills no whole block at the far end goes into none."""
    z, y, x = steps
    depth, height, width = (size // step for size, step in zip(values.shape, steps, strict=True))
    means = np.empty((depth, height, width), np.float32)
    for number in range(depth):
        slab = values[number * z : (number + 1) * z, : height * y, : width * x].sum(axis=0, dtype=np.float32)
        means[number] = slab.reshape(height, y, width, x).sum(axis=(1, 3)) / (z * y * x)
    return means


def _tubes(coarse: _Coarse, bright: np.ndarray, least_mm: float) -> Iterator[_Tube]:
    """Yield the pieces of what is bright, and flat, that are tubes of some length."""
    for box, piece in _pieces(coarse.free & coarse.flat & bright, coarse.spacing_zyx_mm, least_mm):
        depth = _depth(piece, coarse.spacing_zyx_mm)
        for inner, thin, deep in _thin(piece, depth, coarse.spacing_zyx_mm, least_mm):
            own = tuple(slice(b.start + i.start, b.start + i.stop) for b, i in zip(box, inner, strict=True))
            tube = _as_tube(own, thin, deep, coarse)
            if tube is not None and tube.length_mm >= least_mm:
                yield tube


def _pieces(mask: np.ndarray, spacing_zyx_mm: np.ndarray, least_mm: float) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield the connected pieces whose box is long enough for a tube."""
    labels, _ = ndimage.label(mask)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        sides = [(b.stop - b.start) * size for b, size in zip(box, spacing_zyx_mm, strict=True)]
        if np.linalg.norm(sides) >= least_mm:
            yield box, labels[box] == number


def _thin(
    piece: np.ndarray, depth: np.ndarray, spacing_zyx_mm: np.ndarray, least_mm: float
) -> Iterator[tuple[Box, np.ndarray, np.ndarray]]:
    """Cut off what is thicker than a vessel; yield box, mask and depth of each remaining piece."""
    thick = depth > TUBE_RADIUS_MM
    if not thick.any():
        yield tuple(slice(0, size) for size in piece.shape), piece, depth
        return
    away = ndimage.distance_transform_edt(~thick, sampling=spacing_zyx_mm)
    for box, thin in _pieces(piece & (away > TUBE_RADIUS_MM + 2 * spacing_zyx_mm.max()), spacing_zyx_mm, least_mm):
        yield box, thin, depth[box]


def _depth(piece: np.ndarray, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return the depth below the surface, mm; at the edge of the box nothing goes on but where the piece does."""
    padded = np.pad(piece, 1)
    return np.asarray(ndimage.distance_transform_edt(padded, sampling=spacing_zyx_mm))[1:-1, 1:-1, 1:-1]


def _as_tube(box: Box, piece: np.ndarray, depth: np.ndarray, coarse: _Coarse) -> _Tube | None:
    """Return a piece as a tube, or None where it is short, thick, a sheet, uneven or brighter at its rim."""
    places = np.argwhere(piece) * coarse.spacing_zyx_mm
    length, radius = _length_mm(places), float(depth[piece].max())
    if radius > TUBE_RADIUS_MM or length < SLENDER * 2 * radius:
        return None
    volume = len(places) * float(np.prod(coarse.spacing_zyx_mm))
    if volume > FULL * np.pi * radius**2 * length:
        return None
    values = coarse.hu[box]
    levels = _along(places, depth[piece], values[piece])
    level = float(np.median(levels))
    low, high = np.percentile(levels, [20, 80])
    even = (high - low) / P20_TO_P80_SD <= UNEVEN * (level - coarse.tissue_hu)
    rim = values[piece & (depth < MIDDLE * radius)]
    full = rim.size == 0 or float(np.mean(rim)) <= level + UNEVEN * (level - coarse.tissue_hu)
    if not (even and full and level <= MOST_HU and _stands_out(box, piece, level, coarse)):
        return None
    return _Tube(box, piece, length, level, coarse.in_bone)


def _stands_out(box: Box, piece: np.ndarray, level_hu: float, coarse: _Coarse) -> bool:
    """Tell whether what surrounds a plateau is mostly darker: marrow, as even as blood, lies within cortex."""
    reach = np.ceil(AROUND_MM / coarse.spacing_zyx_mm).astype(int)
    wide = tuple(
        slice(max(0, b.start - r), min(size, b.stop + r))
        for b, r, size in zip(box, reach, coarse.hu.shape, strict=True)
    )
    own = np.pad(piece, [(b.start - w.start, w.stop - b.stop) for b, w in zip(box, wide, strict=True)])
    away = ndimage.distance_transform_edt(~own, sampling=coarse.spacing_zyx_mm)
    near = (away > AROUND_MM / 2) & (away <= AROUND_MM)
    dark = level_hu - AROUND_DROP * (level_hu - coarse.tissue_hu)
    return bool(near.any() and np.mean(coarse.hu[wide][near] < dark) >= AROUND_SHARE)


def _length_mm(places_mm: np.ndarray) -> float:
    """Return the extent of points, (N, 3) mm, along their longest direction."""
    return float(np.ptp(_way(places_mm)))


def _way(places_mm: np.ndarray) -> np.ndarray:
    """Return where points, (N, 3) mm, lie along their longest direction, (N,) mm."""
    centred = places_mm - places_mm.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ axes[:, -1])


def _along(places_mm: np.ndarray, depth_mm: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """Return the level of the middle, HU, step by step along a tube: a plaque counts in its own steps alone."""
    way = _way(places_mm)
    step = ((way - way.min()) / STEP_MM).astype(int)
    deepest = np.zeros(step.max() + 1)
    np.maximum.at(deepest, step, depth_mm)
    middle = depth_mm >= MIDDLE * deepest[step]
    count = np.bincount(step[middle])
    return np.asarray(np.bincount(step[middle], weights=hu[middle])[count > 0] / count[count > 0])


def _apart(tubes: list[_Tube]) -> list[_Tube]:
    """Keep of tubes that lie within each other the largest: the same vessel cut at several levels."""
    kept: list[_Tube] = []
    for tube in sorted(tubes, key=lambda tube: -int(tube.mask.sum())):
        if not any(_meet(tube, other) for other in kept):
            kept.append(tube)
    return kept


def _meet(one: _Tube, two: _Tube) -> bool:
    common = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one.box, two.box, strict=True))
    if any(part.start >= part.stop for part in common):
        return False
    return bool((_within(one, common) & _within(two, common)).any())


def _within(tube: _Tube, box: Box) -> np.ndarray:
    return tube.mask[tuple(slice(b.start - t.start, b.stop - t.start) for b, t in zip(box, tube.box, strict=True))]


def _level_of_blood(tubes: list[_Tube]) -> float:
    """Return the level of the vessels, HU: the median over length, so that a short bright ureter does not count."""
    levels = np.array([tube.level_hu for tube in tubes])
    order = np.argsort(levels)
    gone = np.cumsum(np.array([tube.length_mm for tube in tubes])[order])
    return float(levels[order][np.searchsorted(gone, gone[-1] / 2)])


def _agreeing(tubes: list[_Tube], blood_hu: float, tissue_hu: float) -> float:
    """Return the share of the length of tubes that is as bright as blood."""
    lengths = np.array([tube.length_mm for tube in tubes])
    off = np.abs(np.array([tube.level_hu for tube in tubes]) - blood_hu)
    return float(lengths[off <= AGREE * (blood_hu - tissue_hu)].sum() / lengths.sum())


def _pools(coarse: _Coarse, least_hu: float) -> Iterator[_Tube]:
    """Yield large even bodies as bright as mineral: contrast medium in a bladder or bowel."""
    dense = coarse.free & (coarse.hu >= least_hu)
    for box, piece in _pieces(dense, coarse.spacing_zyx_mm, TUBE_LENGTH_MM):
        if piece.sum() * float(np.prod(coarse.spacing_zyx_mm)) < POOL_MM3:
            continue
        depth = _depth(piece, coarse.spacing_zyx_mm)
        values = coarse.hu[box][piece & (depth >= MIDDLE * depth.max())]
        level = float(np.median(values))
        if 1.4826 * float(np.median(np.abs(values - level))) <= UNEVEN * (level - coarse.tissue_hu):
            yield _Tube(box, piece, 0.0, level)


def _fill(vessels: np.ndarray, tube: _Tube, most_hu: float, scan: Scan, anatomy: Anatomy, coarse: _Coarse) -> None:
    """Mark the lumen in ``vessels``, in place: what is near the tube, and between half its level and ``most_hu``."""
    steps = coarse.steps
    reach = np.ceil(LUMEN_MM / coarse.spacing_zyx_mm).astype(int)
    wide = tuple(
        slice(max(0, b.start - r), min(size, b.stop + r))
        for b, r, size in zip(tube.box, reach, coarse.hu.shape, strict=True)
    )
    near = np.pad(tube.mask, [(b.start - w.start, w.stop - b.stop) for b, w in zip(tube.box, wide, strict=True)])
    near = ndimage.distance_transform_edt(~near, sampling=coarse.spacing_zyx_mm) <= max(
        LUMEN_MM, float(coarse.spacing_zyx_mm.max())
    )
    fine = tuple(slice(w.start * step, w.stop * step) for w, step in zip(wide, steps, strict=True))
    for axis, step in enumerate(steps):
        near = near.repeat(step, axis)
    hu = scan.array[fine]
    least = (coarse.tissue_hu + tube.level_hu) / 2
    allowed = anatomy.body[fine] if tube.in_bone else anatomy.body[fine] & ~anatomy.skeleton[fine]
    vessels[fine] |= near & (hu >= least) & (hu < most_hu) & allowed
