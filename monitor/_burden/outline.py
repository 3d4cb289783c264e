"""The outline of a piece whose blurred picture explains the scan best, with the mineral in it and the tissue around.

A scan is taken as HU = g * m + (1 - g) * b and noise: g is the outline blurred as the scanner blurs, m the HU of pure
mineral, which changes slowly within a piece, and b the tissue, which goes on into the piece as smoothly, edges apart,
as the HU around it allow. Outlines are the level sets between b and m; the level whose picture is nearest to the scan
is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import nan

import numpy as np
from scipy import ndimage, sparse
from scipy.interpolate import CubicSpline
from scipy.sparse.linalg import cg

from monitor import grid

LEVELS = (0.30, 0.38, 0.46, 0.54)
"""Levels between tissue and mineral that are tried first; a wide outline's edge lies near the half."""

STEP, STEPS = 0.08, 3
"""What is tried beyond the first or last of them while the picture becomes better, and how often."""

ROUNDS = 2
"""How often mineral, tissue and outline are told in turn at a level, each from the level before: a third round made
small nodules too large."""

FINE_MM = 0.45
"""Largest side of the voxels on which outlines lie, mm."""

MOST_FINE = 4_000_000
"""Most of these voxels: of what is larger the outline's voxels are the scan's own, whose error is small there."""

MINERAL_MM = 2.5
"""SD of the weights, mm, with which the mineral's HU are told from place to place."""

MINERAL_RANGE = (0.4, 2.5)
"""How far mineral may differ from place to place, over the mean of the piece."""

PULL = 1e-3
"""Weight of the piece's mean among those: where no voxel is full, mineral is as elsewhere."""

MUSCLE_HU = 50.0
"""HU of tissue where none is seen."""

TISSUE_HU = (4.0, 25.0)
"""Least and greatest SD by which tissue differs over 1 mm, HU: within a muscle, and between bundles of muscle and septa
of fat. With half of the greatest, sheets in fat beside muscle hold a sixth too little (phantom)."""

TISSUE_PER_SD = 0.4
"""That SD over the SD of the tissue around the piece, smoothed by ``TISSUE_MM``: 25 over that of muscle beside fat."""

TISSUE_STEEP = 0.7
"""That many times that SD per mm, from which differences count by their amount and no longer by their square: an edge
between muscle and fat stays one. Squares spread the fat into the muscle: balls beside it came out 4 % too large, at
half of this sheets 5 % too small (phantom, seeds below 16)."""

TISSUE_MM = 1.5
"""SD of that smoothing, mm: little noise is left."""

HELD = 1e-9
"""Weight of the usual tissue where none is told, 1/HU²."""

SOLVED, MOST_STEPS = 1e-3, 200
"""Relative residual at which that tissue is known, and most steps of conjugate gradients."""

OUTLINE_ERROR = 0.3
"""Relative error of the share of mineral in a voxel of its border: tissue is told less where mineral blurs into it.
At 0.2 a smooth kernel loses 2 % of a ball's excess (even muscle)."""

CORE_MM = 1.5
"""Depth in a piece as it was found from which all is mineral, mm: two SDs of the blur."""

CORE_VOXELS = 1.5
"""The same in voxels of a slice: the outermost is half tissue, however large."""

BLUR_REACH_MM = 3.0
"""How far beyond where an outline may lie its blur is drawn, mm."""

BARE = 0.3
"""Share of mineral from which a voxel tells nothing of the tissue."""

DOUBT_MM, DOUBTED = 0.9, 0.05
"""Where the blur of a scan is not known: SD of a further blur, mm, and the share after it from which tissue is not
told. A blur taken for a third too narrow would pass for tissue, and a tenth of the excess with it."""

SEEN = 0.02
"""Share of mineral from which a voxel judges an outline."""

BLURS_MM = (0.5, 0.7, 0.9)
"""SDs of the blur in the plane that are tried, mm: from bone kernels to smooth soft ones."""

BLUR_LEVELS = (0.40, 0.46)
"""Levels at which blurs are compared."""

ACROSS_MM = (0.0, 0.5, 1.0)
"""SDs of a blur across slices that are tried, mm, beside the width of the slice itself: profiles are no boxes."""

ACROSS_SLICES_MM = 2.0
"""Largest distance of slices, mm, at which that is told: across thicker ones an edge is seen once."""

BLUR_RANGE_MM = (0.35, 1.2)
"""Blurs in the plane outside are not believed, mm."""

BLUR_MM = 0.7
"""SD of the blur in the plane where no piece of a scan tells it, mm: a soft kernel."""

TELLING = 3
"""How many pieces of a scan are asked for its blur: the ones whose outlines are sharpest known."""


@dataclass(frozen=True)
class Blur:
    """How a scanner blurs: SD in the plane, width of a slice, SD across slices beside that width, all mm.

    ``measured`` tells whether the scan itself has told so.
    """

    sigma_mm: float = BLUR_MM
    slice_mm: float = 0.0
    across_mm: float = 0.0
    measured: bool = False


@dataclass(frozen=True)
class Place:
    """A piece in its box, arrays (z, y, x).

    Attributes
    ----------
    hu : array
        HU as measured.
    mineral : bool array
        The piece as it was found.
    room : bool array
        Where its outline may lie.
    tissue : bool array
        Where HU are those of tissue and of this piece: no bone, air or other piece, nor their blur.
    noise_hu : float
        SD of the noise.
    spacing_zyx_mm : (3,) array
    """

    hu: np.ndarray
    mineral: np.ndarray
    room: np.ndarray
    tissue: np.ndarray
    noise_hu: float
    spacing_zyx_mm: np.ndarray

    @cached_property
    def inner(self) -> tuple[slice, ...]:
        """The box around the room and the blur of what lies in it."""
        reach = np.ceil(BLUR_REACH_MM / self.spacing_zyx_mm).astype(int)
        return grid.grown(grid.box_of(self.room), reach, self.room.shape)

    @cached_property
    def core(self) -> np.ndarray:
        """What lies so deep in the piece that it is mineral, however much less dense than what is around."""
        return grid.within_mm(self.mineral, self.spacing_zyx_mm) > max(
            CORE_MM, CORE_VOXELS * float(self.spacing_zyx_mm[1:].max())
        )

    @cached_property
    def fold(self) -> np.ndarray:
        """How many fine voxels make one of the scan, (3,)."""
        fold = np.maximum(1, np.ceil(self.spacing_zyx_mm / FINE_MM)).astype(int)
        return fold if self.hu[self.inner].size * fold.prod() <= MOST_FINE else np.ones(3, int)

    @cached_property
    def fine(self) -> np.ndarray:
        """HU of the inner box on the fine voxels: along each axis the spline whose means are what voxels average."""
        out = self.hu[self.inner].astype(np.float32)
        for axis, count in enumerate(self.fold.tolist()):
            size = out.shape[axis]
            if count > 1 and size > 1:
                # The spline of sums from the first voxel on; its differences are means (a histospline).
                sums = np.insert(np.cumsum(out, axis=axis, dtype=float), 0, 0.0, axis=axis)
                edges = np.arange(size * count + 1) / count
                out = np.diff(CubicSpline(np.arange(size + 1), sums, axis=axis)(edges), axis=axis) * count
            else:
                out = out.repeat(count, axis)
        return np.asarray(out, np.float32)

    @cached_property
    def tissue_per_mm(self) -> float:
        """SD by which tissue differs over 1 mm, HU, as the tissue around the piece shows it."""
        around = self.tissue & ~self.room
        if not around.any():
            return TISSUE_HU[1]
        sigma = TISSUE_MM / self.spacing_zyx_mm
        weight = np.maximum(ndimage.gaussian_filter(around.astype(np.float32), sigma), 1e-3)
        smooth = ndimage.gaussian_filter(np.where(around, self.hu, 0).astype(np.float32), sigma) / weight
        return float(np.clip(TISSUE_PER_SD * np.std(smooth[around]), *TISSUE_HU))

    @cached_property
    def neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of neighbouring voxels (flat), weight of the square of their difference (1/HU²) and distance (mm)."""
        index = np.arange(self.hu.size).reshape(self.hu.shape)
        parts: list[tuple[np.ndarray, ...]] = []
        for axis, size in enumerate(self.spacing_zyx_mm):
            count = int(index.shape[axis])
            one, two = (index.take(range(*part), axis=axis).ravel() for part in ((0, count - 1), (1, count)))
            weight = float(np.prod(self.spacing_zyx_mm)) / (self.tissue_per_mm * size) ** 2
            parts.append((one, two, np.full(len(one), weight), np.full(len(one), size)))
        one, two, weights, sizes = (np.concatenate(part) for part in zip(*parts, strict=True))
        return one, two, weights, sizes

    def roughness(self, tissue_hu: np.ndarray) -> sparse.csr_array:
        """Return what neighbours differ by as a quadratic form, in units of ``tissue_per_mm``.

        Differences beyond ``TISSUE_STEEP`` count by their amount, no longer by its square (Charbonnier, by the weights
        of one reweighting): how steep it is between two voxels is told by ``tissue_hu``, the tissue as known so far.
        """
        one, two, weight, size = self.neighbours
        flat = tissue_hu.ravel()
        steep = (flat[one] - flat[two]) / (size * TISSUE_STEEP * self.tissue_per_mm)
        links = sparse.coo_array((weight / np.sqrt(1 + steep**2), (one, two)), shape=(flat.size, flat.size)).tocsr()
        links = links + links.T
        return sparse.csr_array(sparse.diags_array(links.sum(axis=1)) - links)

    def wide(self, values: np.ndarray) -> np.ndarray:
        """Repeat the inner box's voxels on the fine ones."""
        values = values[self.inner]
        for axis, count in enumerate(self.fold.tolist()):
            values = values.repeat(count, axis)
        return values


@dataclass
class Outline:
    """What explains a piece: arrays (z, y, x) on the scan's voxels.

    Attributes
    ----------
    inside : bool array
        What the outline encloses, on fine voxels of sides ``fine_mm``.
    share : array
        g: how much of each voxel is mineral, after the blur.
    mineral_hu, tissue_hu : arrays
        m and b.
    volume_mm3 : float
        Volume inside.
    excess_hu_mm3 : float
        Sum of what mineral exceeds the tissue in its place by.
    misfit : float
        Mean square of what is not explained, over the variance of the noise.
    voxels : int
        How many judged.
    curvature : float
        Second derivative of the misfit by the relative volume; NaN where the best level is not between others.
    """

    inside: np.ndarray
    fine_mm: np.ndarray
    share: np.ndarray
    mineral_hu: np.ndarray
    tissue_hu: np.ndarray
    volume_mm3: float
    excess_hu_mm3: float
    misfit: float
    voxels: int
    curvature: float = nan

    @property
    def contrast_hu(self) -> float:
        """Mean HU of the mineral above the tissue in its place; 0 where there is none."""
        return float(np.average(self.mineral_hu - self.tissue_hu, weights=self.share)) if self.share.any() else 0.0

    @cached_property
    def radius_mm(self) -> float:
        """Greatest inscribed radius."""
        return float(grid.within_mm(self.inside, self.fine_mm).max())


def fit(place: Place, blur: Blur) -> Outline:
    """Return the outline whose blurred picture is nearest to the scan.

    Parameters
    ----------
    place : Place
        The piece in its box, with some millimetres around.
    blur : Blur
        Of the scan.

    Returns
    -------
    Outline
        Of a piece thinner than the blur it is one of many that explain the scan: see its radius.
    """
    tried: dict[float, Outline] = {}
    before: Outline | None = None
    for level in LEVELS:
        tried[level] = before = _at(place, blur, level, before)
    for _ in range(STEPS):
        level = min(tried, key=lambda one: tried[one].misfit)
        if min(tried) < level < max(tried):
            break
        beyond = level - STEP if level == min(tried) else level + STEP
        tried[beyond] = _at(place, blur, beyond, tried[level])
    level = min(tried, key=lambda one: tried[one].misfit)
    order = sorted(tried)
    number = order.index(level)
    if not 0 < number < len(order) - 1:
        return tried[level]
    three = [tried[one] for one in order[number - 1 : number + 2]]
    misfits = [one.misfit for one in three]
    if not np.isfinite(misfits).all():
        return tried[level]
    found = _at(place, blur, float(_vertex(order[number - 1 : number + 2], misfits)), tried[level])
    found = min((found, tried[level]), key=lambda one: one.misfit)
    volumes = [one.volume_mm3 / found.volume_mm3 for one in three]
    if len(set(volumes)) == len(three):
        found.curvature = 2 * float(np.polyfit(volumes, misfits, 2)[0])
    return found


def measured_blur(places: list[Place], slice_mm: float) -> Blur:
    """Return the blur under which the pictures of some pieces are nearest to the scan; the usual one without any."""
    blur = Blur(slice_mm=slice_mm, measured=True)
    plane = _misfits(places, [replace(blur, sigma_mm=sigma) for sigma in BLURS_MM])
    if not plane.any():
        return Blur(slice_mm=slice_mm)
    blur = replace(blur, sigma_mm=float(np.clip(_vertex(BLURS_MM, plane), *BLUR_RANGE_MM)))
    if max(float(place.spacing_zyx_mm[0]) for place in places) > ACROSS_SLICES_MM:
        return blur
    across = _misfits(places, [replace(blur, across_mm=sigma) for sigma in ACROSS_MM])
    # The square of a blur is what adds up: a little of it changes next to nothing.
    variance = _vertex(tuple(sigma**2 for sigma in ACROSS_MM), across)
    return replace(blur, across_mm=float(np.sqrt(max(variance, 0.0))))


def _misfits(places: list[Place], blurs: list[Blur]) -> np.ndarray:
    """Return the misfit of all pieces under each blur, (N,); 0 where no piece can be told under all."""
    total = np.zeros(len(blurs))
    for place in places:
        own = np.array([_least(place, blur) for blur in blurs])
        if np.isfinite(own).all():
            total += own * place.room.sum()
    return total


def _least(place: Place, blur: Blur) -> float:
    """Return the misfit of the better of two outlines near the half: enough to tell one blur from another."""
    first = _at(place, blur, BLUR_LEVELS[0], None)
    return min(first.misfit, _at(place, blur, BLUR_LEVELS[1], first).misfit)


def _vertex(places: list[float] | tuple[float, ...], values: list[float] | np.ndarray) -> float:
    """Return where the parabola through three points is least, within them and half a step."""
    square, slope, _ = np.polyfit(places, values, 2)
    step = (places[2] - places[0]) / 4
    if square <= 0:
        return places[int(np.argmin(values))]
    return float(np.clip(-slope / (2 * square), places[0] - step, places[2] + step))


def _at(place: Place, blur: Blur, level: float, before: Outline | None) -> Outline:
    """Tell outline, mineral and tissue in turn, the outline at one level between the two."""
    hu = place.hu.astype(np.float32)
    if before is None:
        mineral = np.full(hu.shape, np.percentile(hu[place.mineral], 90), np.float32)
        tissue = np.full(hu.shape, _usual(place), np.float32)
        tissue = _tissue(place, blur, place.mineral.astype(np.float32), mineral, tissue)
    else:
        mineral, tissue = before.mineral_hu, before.tissue_hu
    room, core = place.wide(place.room), place.wide(place.core)
    near = place.room.astype(np.float32)
    sigma = MINERAL_MM / place.spacing_zyx_mm
    inside, share = room, np.zeros_like(near)
    for _ in range(ROUNDS):
        inside = ((place.fine > place.wide(tissue + level * (mineral - tissue))) & room) | core
        share[place.inner] = blurred(inside, place.fold, place.spacing_zyx_mm, blur)
        if not inside.any():
            break
        # Full voxels tell it: in those of the border an error of the outline would pass for less mineral.
        own = (hu - (1 - share) * tissue) * share**3 * near
        square = share**4 * near
        mean = own.sum() / square.sum()
        weights = ndimage.gaussian_filter(square, sigma) + PULL
        mineral = (ndimage.gaussian_filter(own, sigma) + PULL * mean) / weights
        mineral = np.clip(mineral, MINERAL_RANGE[0] * mean, MINERAL_RANGE[1] * mean).astype(np.float32)
        tissue = _tissue(place, blur, share, mineral, tissue)
    off = hu - share * mineral - (1 - share) * tissue
    judged = place.room & (share > SEEN) & (place.tissue | place.mineral)
    voxel = float(np.prod(place.spacing_zyx_mm))
    return Outline(
        inside=inside,
        fine_mm=place.spacing_zyx_mm / place.fold,
        share=share,
        mineral_hu=mineral,
        tissue_hu=tissue,
        volume_mm3=float(inside.sum() * voxel / place.fold.prod()),
        excess_hu_mm3=float((share * (mineral - tissue)).sum() * voxel),
        misfit=float(np.square(off[judged]).mean() / place.noise_hu**2) if inside.any() and judged.any() else np.inf,
        voxels=int(judged.sum()),
    )


def blurred(inside: np.ndarray, fold: np.ndarray, spacing_zyx_mm: np.ndarray, blur: Blur) -> np.ndarray:
    """Return how much of each voxel a scanner sees of an outline on fine voxels, float32."""
    out = inside.astype(np.float32)
    for axis in (1, 2):
        sigma = blur.sigma_mm * fold[axis] / spacing_zyx_mm[axis]
        out = ndimage.gaussian_filter1d(out, sigma, axis=axis, mode="constant", truncate=3.5)
    if blur.across_mm > 0:
        sigma = blur.across_mm * fold[0] / spacing_zyx_mm[0]
        out = ndimage.gaussian_filter1d(out, sigma, axis=0, mode="constant", truncate=3.5)
    # Slices wider than their distance see their neighbours'; each averages over its distance anyway.
    beyond = blur.slice_mm / spacing_zyx_mm[0]
    if beyond > 1:
        out = ndimage.uniform_filter1d(out, max(1, round((beyond - 1) * int(fold[0])) + 1), axis=0, mode="constant")
    (z, y, x), (depth, height, width) = fold.tolist(), (np.array(out.shape) // fold).tolist()
    return np.asarray(out.reshape(depth, z, height, y, width, x).mean(axis=(1, 3, 5)))


def _tissue(place: Place, blur: Blur, share: np.ndarray, mineral: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the HU of tissue everywhere: the smoothest, edges apart, that what is seen of it allows.

    ``start`` is the tissue as told before: the solver begins there, and what is steep in it may stay steep.
    """
    clear = np.maximum(1 - share, 1e-3)
    seen = (place.hu - share * mineral) / clear
    doubt = place.noise_hu**2 + (OUTLINE_ERROR * mineral * share) ** 2
    told = place.tissue & (share < BARE)
    if not blur.measured:
        told &= ndimage.gaussian_filter(share, DOUBT_MM / place.spacing_zyx_mm) < DOUBTED
    # Where nothing is told far and wide, the least of weights holds the usual tissue: the problem stays solvable.
    weight = np.where(told, clear**2 / doubt, HELD).ravel()
    form = sparse.csr_array(place.roughness(start) + sparse.diags_array(weight))
    first = start.ravel().astype(float)
    target = weight * np.where(told, seen, _usual(place)).ravel()
    scale = sparse.diags_array(1 / form.diagonal())
    found, _ = cg(form, target, x0=first, rtol=SOLVED, maxiter=MOST_STEPS, M=scale)
    return np.asarray(found.reshape(place.hu.shape), np.float32)


def _usual(place: Place) -> float:
    """Return the median HU of the tissue in the box; muscle's where there is none."""
    around = place.hu[place.tissue & ~place.room]
    return float(np.median(around)) if around.size else MUSCLE_HU
