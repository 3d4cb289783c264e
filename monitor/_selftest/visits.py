"""The visits of a selftest: a patient's baseline with lesions put in, then moved, and scanned again in four ways."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from scipy import ndimage

from monitor import burden, grid
from monitor import noise as noises
from monitor._burden.outline import Blur
from monitor._selftest import inserted
from monitor._selftest.inserted import NOTHING, Inserted, Painted
from monitor.phantom.motion import Motion, Warp, Xyz, ramp, rotation_matrix
from monitor.phantom.optics import HU_RANGE, gaussian_kernel, slice_kernel
from monitor.types import Acquisition, Anatomy, Scan

BEFORE = "before"
"""Visit of a selftest from which its changes count."""

SITUATIONS = ("rescan", "noise", "kernel", "slices")
"""How the follow-up is scanned: as the baseline; with more noise, a softer kernel, slices twice as far apart."""

TURN_DEG, SHIFT_MM, BEND_MM = 2.0, 3.0, 2.0
"""How far the patient has turned and moved, at most, and how far soft tissue has given way."""

NOISIER = 1.5
"""SD of the noise over that of the baseline where there is more."""

SOFTER_MM = 0.6
"""SD of the further blur of a softer kernel, mm."""

THICKEST_MM = 5.0
"""Slices are not made thicker than this, mm: nobody would measure calcification on them."""

LEAST_SLICES = 12
"""Fewer thick slices show no lesion with tissue above and below."""

WINDOW_MM = (5.0, 7.0, 7.0)
"""Box in which noise is told from tissue, mm (z, y, x)."""

EVEN = 1.5
"""A box whose variance is below this many times that of the noise is even: its variance scatters by so much."""

ANEW_MM = (5.0, 8.0)
"""Noise is made anew up to the first from a lesion, mm, which is all that measures it, and not beyond the second."""

ENOUGH = (0.25, 4.0)
"""A variance of noise that must be corrected by more was not measured."""

GRAINS = (0.0, 0.3, 0.45, 0.6, 0.75, 0.9, 1.1, 1.4, 1.8)
"""SDs of the grain that a scan's noise is compared with, voxels: from none to that of smooth kernels on fine pixels."""

GRAIN_SHAPE, GRAIN_HU = (12, 96, 96), 20.0
"""Voxels and SD of the noise with which it is compared."""

UNMEASURED_HU = -2000
"""Written where the scanner measured nothing: far below what counts as padding."""

AIR_HU = -1000
"""HU of air, in place of padding."""

FREE_MM = 100.0
"""Distance to bone where there is none, mm: tissue moves freely."""

FIRST_DAY, APART = date(2000, 1, 1), timedelta(days=365)
"""Dates of the visits, which mean nothing."""


@dataclass(frozen=True)
class Made:
    """A study that was made: its lesions, what is true of each before and after, and the situations that exist."""

    lesions: list[Inserted]
    before: list[Painted]
    after: list[Painted]
    situations: list[str]


@dataclass(frozen=True)
class Later:
    """The follow-up before it is scanned, arrays (z, y, x): HU, where its noise is made anew (1), and soft tissue."""

    hu: np.ndarray
    anew: np.ndarray
    tissue: np.ndarray

    def with_noise(self, noise: np.ndarray, wanted_hu: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
        """Return the HU with so much of a noise of SD 1 that theirs is measured as wanted."""

        def measured(values: np.ndarray) -> float:
            return noises.measure_noise(values, self.tissue, spacing_zyx_mm)[0]

        left = measured(self.hu)
        added = np.sqrt(np.maximum(wanted_hu**2 - np.square((1 - self.anew) * np.float32(left)), 0)) * noise
        first = measured(self.hu + added)
        lacking = max(wanted_hu**2 - left**2, 0.0) / max(first**2 - left**2, 1e-9)
        scale = np.sqrt(lacking) if ENOUGH[0] < lacking < ENOUGH[1] else 1.0
        return np.asarray(self.hu + np.float32(scale) * added)


@dataclass(frozen=True)
class Baseline:
    """A patient's baseline scan, what was told in it, its mineral, and how its scanner blurs."""

    patient_id: str
    scan: Scan
    found: Anatomy
    mineral: np.ndarray
    blur: Blur
    lod_mm3: float


def make(folder: Path, base: Baseline, taken: np.ndarray, rng: np.random.Generator) -> Made:
    """Write a study folder whose baseline is the patient's with lesions put in.

    Its noise is the baseline's own. In the follow-ups noise around what was put in is taken off and made anew with
    the measured SD and grain, so that there two visits err independently, as two scans do. Elsewhere the baseline's
    noise stays, for the texture of tissue that it cannot be told from is what registration goes by; it is topped up to
    the measured SD. The patient's own lesions therefore share a part of their noise with the baseline.

    Parameters
    ----------
    folder : Path
        Where it goes; empty.
    taken : (z, y, x) bool
        Where nothing is put.
    """
    scan, found = base.scan, base.found
    values = scan.array.astype(np.float32)
    if scan.imaged is not None:
        values[~scan.imaged] = AIR_HU
    tissue = without_noise(values, found.noise_hu, scan.spacing_zyx_mm)
    volumes, bright_hu = inserted.own_lesions(scan, base.mineral)
    wanted = inserted.planned(volumes, bright_hu, tissue_hu=found.tissue_hu, lod_mm3=base.lod_mm3)
    lesions = inserted.placed(scan, wanted, inserted.clearance_mm(scan, found, tissue, taken), rng)
    motion = moved(scan, found.skeleton | base.mineral, rng)
    anew = near(scan, lesions)
    later = Later(*pulled(scan, motion, anew * tissue + (1 - anew) * values, anew, found.body & ~found.skeleton))
    after = [painted(later.hu, scan, one, motion, base.blur) for one in lesions]
    before = [painted(values, scan, one, None, base.blur, tissue) for one in lesions]
    rows = [_written(folder, BEFORE, Scan(_image(values, scan), acquisition=scan.acquisition), scan.imaged)]
    for name, made, seen in scanned(later, base, rng):
        rows.append(_written(folder, name, made, seen))
    table = pd.DataFrame(rows).assign(patient_id=base.patient_id, modality="CT")
    table["baseline"] = (table["visit_id"] == BEFORE).astype(int)
    table["date"] = [(FIRST_DAY + number * APART).isoformat() for number in range(len(table))]
    table.to_csv(folder / "visits.csv", index=False)
    return Made(lesions, before, after, [str(row["visit_id"]) for row in rows[1:]])


def without_noise(values: np.ndarray, noise_hu: float, spacing_zyx_mm: np.ndarray) -> np.ndarray:
    """Return a scan without its noise where tissue is even, and as it is at edges, (z, y, x) float32.

    Each voxel is drawn towards the mean of the box around it by the share of noise in the variance there (Lee 1980).
    """
    if not noise_hu > 0:
        return values.copy()
    size = [int(2 * (step_mm // (2 * step)) + 1) for step_mm, step in zip(WINDOW_MM, spacing_zyx_mm, strict=True)]
    mean = ndimage.uniform_filter(values, size, mode="nearest")
    spread = ndimage.uniform_filter(np.square(values - mean), size, mode="nearest")
    kept = np.clip(1 - EVEN * np.float32(noise_hu) ** 2 / np.maximum(spread, 1e-3), 0, 1)
    return np.asarray(mean + kept * (values - mean), np.float32)


def moved(scan: Scan, stiff: np.ndarray, rng: np.random.Generator) -> Motion:
    """Draw how the patient lies at the follow-up: turned, shifted, and soft tissue bent, but not what is ``stiff``."""
    middle = grid.to_mm(scan.image, (np.array(scan.array.shape)[None] - 1) / 2)[0]
    turn = rotation_matrix(rng.uniform(-TURN_DEG, TURN_DEG, 3))
    shift = rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
    away = np.minimum(grid.distance_mm(stiff, scan.spacing_zyx_mm), np.float32(FREE_MM))
    away -= grid.within_mm(stiff, scan.spacing_zyx_mm)

    def distance(points: Xyz) -> np.ndarray:
        flat = np.stack(points, axis=-1).reshape(-1, 3)
        return grid.sample(scan.image, away, flat, outside=FREE_MM).reshape(points[0].shape)

    return Motion(turn, middle + shift - turn @ middle, 1.0, None, Warp.random(rng, BEND_MM), distance)


def near(scan: Scan, lesions: list[Inserted]) -> np.ndarray:
    """Return where noise is made anew, (z, y, x) float32: 1 around what is put in, 0 from ``ANEW_MM`` on."""
    far = np.full(scan.array.shape, ANEW_MM[1], np.float32)
    for one in lesions:
        reach = np.abs(np.linalg.inv(grid.affine(scan.image))[:3, :3]) @ np.full(3, one.radius_mm + ANEW_MM[1])
        middle = grid.to_index(scan.image, one.centre_mm)[0]
        low = np.maximum(0, np.floor(middle - reach)).astype(int)
        high = np.minimum(far.shape, np.ceil(middle + reach).astype(int) + 1)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        index = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
        away = np.linalg.norm(grid.to_mm(scan.image, index.reshape(-1, 3)) - one.centre_mm, axis=1)
        np.minimum(far[box], away.reshape(index.shape[:3]) - one.radius_mm, out=far[box])
    return np.asarray(1 - ramp((far - ANEW_MM[0]) / (ANEW_MM[1] - ANEW_MM[0])), np.float32)


def pulled(scan: Scan, motion: Motion, *parts: np.ndarray) -> list[np.ndarray]:
    """Return images as they lie at the follow-up, on the scan's own grid; beyond the field they go on.

    The first, HU, by cubic splines within the range of the voxels around (slices are too far apart for splines not to
    swing beside gas); other numbers linearly, masks by the nearest voxel.
    """
    low, high = ndimage.minimum_filter(parts[0], 3), ndimage.maximum_filter(parts[0], 3)
    orders = [3, *(0 if part.dtype == bool else 1 for part in parts[1:])]
    given = [ndimage.spline_filter(parts[0], order=3, output=np.float32), *parts[1:]]
    out = [np.empty(part.shape, part.dtype) for part in parts]
    rows = np.indices(parts[0].shape[1:]).reshape(2, -1).T
    last = np.array(parts[0].shape)[:, None] - 1
    for number in range(len(parts[0])):
        points = grid.to_mm(scan.image, np.column_stack([np.full(len(rows), number), rows]))
        there = np.clip(grid.to_index(scan.image, motion.to_baseline(points)).T, 0, last)
        for own, part, order in zip(out, given, orders, strict=True):
            found = ndimage.map_coordinates(part, there, order=order, prefilter=False, mode="mirror")
            own[number] = found.reshape(own.shape[1:])
        nearest = np.rint(there).astype(int)
        np.clip(out[0][number].ravel(), low[tuple(nearest)], high[tuple(nearest)], out=out[0][number].reshape(-1))
    return out


def painted(
    values: np.ndarray,
    scan: Scan,
    one: Inserted,
    motion: Motion | None,
    blur: Blur,
    tissue: np.ndarray | None = None,
) -> Painted:
    """Paint a lesion into ``values`` as it is before, or after where there is a motion; say what is true of it."""
    state = one.before if motion is None else one.after
    if state is None:
        return NOTHING
    centre, axes = one.centre_mm, one.axes
    if motion is not None:
        centre, axes = motion.from_baseline(centre)[0], motion.local_rotation(centre) @ axes
    return inserted.paint(values, values if tissue is None else tissue, scan.image, (state, centre, axes), blur)


def scanned(later: Later, base: Baseline, rng: np.random.Generator) -> Iterator[tuple[str, Scan, np.ndarray | None]]:
    """Give the follow-up as it is scanned in each situation, with where the scanner measured."""
    scan, seen = base.scan, base.scan.imaged
    grain = Grain.of(scan, base.found)
    for name in SITUATIONS:
        wanted = base.found.noise_hu * (NOISIER if name == "noise" else 1.0)
        values = later.with_noise(grain.draw(later.hu.shape, rng), wanted, scan.spacing_zyx_mm)
        if name == "slices":
            thick = _thicker(values, scan)
            if thick is not None:
                yield name, thick, None if seen is None else seen[:-1:2] & seen[1::2]
            continue
        how = scan.acquisition
        if name == "kernel":
            values = ndimage.gaussian_filter(values, (0.0, *(SOFTER_MM / scan.spacing_zyx_mm[1:])), mode="nearest")
            how = replace(how, kernel=f"{how.kernel} softer".strip())
        yield name, Scan(_image(values, scan), acquisition=how), seen


@dataclass(frozen=True)
class Grain:
    """How noise is alike in neighbours: SD of its grain in the plane, voxels; width of a slice over its distance."""

    plane: float
    slices: float

    @classmethod
    def of(cls, scan: Scan, found: Anatomy) -> Grain:
        """Return the grain whose noise shows as much correlation as the scan's, by the same measure."""
        plane = np.interp(burden.noise_correlation(scan, found), [_correlation(one) for one in GRAINS], GRAINS)
        width = scan.acquisition.slice_thickness_mm / scan.spacing_zyx_mm[0]
        return cls(float(plane), float(width) if np.isfinite(width) else 1.0)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return noise of this grain and SD 1, (z, y, x) float32."""
        out = rng.standard_normal(shape, dtype=np.float32)
        for axis, kernel in enumerate((slice_kernel(self.slices), *[gaussian_kernel(self.plane)] * 2)):
            if kernel.size > 1:
                out = ndimage.correlate1d(out, kernel / np.sqrt(np.sum(kernel**2)), axis=axis, mode="wrap")
        return out


@functools.cache
def _correlation(plane: float) -> float:
    """Return what ``burden.noise_correlation`` says of noise of this grain alone."""
    drawn = GRAIN_HU * Grain(plane, 1.0).draw(GRAIN_SHAPE, np.random.default_rng(0))
    body = np.ones(GRAIN_SHAPE, bool)
    found = Anatomy(body, ~body, ~body, GRAIN_HU, 0.0, np.full((1, 1, 1), GRAIN_HU))
    return burden.noise_correlation(Scan(sitk.GetImageFromArray(drawn)), found)


def _thicker(values: np.ndarray, scan: Scan) -> Scan | None:
    """Return slices averaged by twos; None where they would be too thick or too few."""
    count, step = len(values) // 2, float(scan.spacing_zyx_mm[0])
    own = scan.acquisition.slice_thickness_mm
    thickness = (own if np.isfinite(own) else step) + step
    if count < LEAST_SLICES or thickness > THICKEST_MM:
        return None
    thick = values[: 2 * count].reshape(count, 2, *values.shape[1:]).mean(axis=1)
    image = sitk.GetImageFromArray(_whole(thick))
    x, y, z = scan.image.GetSpacing()
    image.SetSpacing((x, y, 2 * z))
    image.SetDirection(scan.image.GetDirection())
    image.SetOrigin(scan.image.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, 0.5)))
    how = replace(scan.acquisition, slice_thickness_mm=thickness, slice_increment_mm=2 * step)
    return Scan(image, acquisition=how)


def _image(values: np.ndarray, like: Scan) -> sitk.Image:
    return grid.image_like(_whole(values), like.image)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(np.clip(values, *HU_RANGE)).astype(np.int16))


def _written(folder: Path, name: str, made: Scan, seen: np.ndarray | None) -> dict[str, object]:
    """Write a visit's image; return its row of ``visits.csv``."""
    image = made.image
    if seen is not None:
        image = grid.image_like(np.where(seen, made.array, np.int16(UNMEASURED_HU)), image)
    sitk.WriteImage(image, str(folder / f"{name}.nrrd"))
    return {"visit_id": name, "path": f"{name}.nrrd", **_stated(made.acquisition)}


def _stated(how: Acquisition) -> dict[str, object]:
    names = ("kvp", "kernel", "slice_thickness_mm", "contrast", "manufacturer")
    return {name: getattr(how, name) for name in names}
