"""Pairs of scans whose true map is known: a real CT pulled through the phantom's maps, with noise of its own.

The moving scan at a point y is the fixed one at ``truth.to_baseline(y)``, on another lattice and with other noise,
so that voxels, noise and slices do not tell the two apart. Truth is exact at every point.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, special
from scipy.spatial.transform import Rotation

from monitor import anatomy, grid, scan
from monitor.phantom import PhantomVisit
from monitor.phantom.motion import Motion, Warp, Xyz, rotation_matrix
from monitor.types import Anatomy, Scan

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real images beside the checkout."""

LIMBS = ("001", "002", "005", "008", "024", "028", "043", "045")
"""The patients of ``limb-ct``: thighs, calves and shoulders."""

AIR_HU = -1000.0

PSF_MM = 0.7
"""SD of the blur of lesions that are put in, mm."""

POINTS = 4000
"""Points of body, and half as many of bone, at which a map is compared with truth."""


class Truth(Protocol):
    """A map that is known: points, (N, 3) LPS mm, both ways."""

    def from_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Carry points of the fixed scan to the moving one."""

    def to_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Carry points of the moving scan to the fixed one."""


@dataclass(frozen=True)
class Rigid:
    """A turn and a shift; ``matrix`` is (4, 4), fixed mm to moving mm."""

    matrix: np.ndarray

    def from_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Carry points, (N, 3) mm, to the moving scan."""
        return grid.apply_affine(self.matrix, points_mm)

    def to_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Carry points, (N, 3) mm, to the fixed scan."""
        return grid.apply_affine(np.linalg.inv(self.matrix), points_mm)


@dataclass(frozen=True)
class Pair:
    """Two scans and the map between them; points are the fixed scan's, (N, 3) LPS mm."""

    name: str
    fixed: Scan
    moving: Scan
    truth: Truth
    body_mm: np.ndarray
    bone_mm: np.ndarray


def truth_of_limbs() -> dict[str, list[dict[str, float]]]:
    """Return what is true of ``serial-limbs``: lesions and matching points."""
    return json.loads((DATA / "serial-limbs.truth.json").read_text())


def limb(number: str) -> Scan:
    """Return a real limb of ``limb-ct``."""
    folder = DATA / "limb-ct" / f"STS_{number}"
    image = folder / "CT_image.nii.gz"
    return scan.read(image if image.exists() else folder / "dicom")


def hip() -> Scan:
    """Return the real trunk, 3 mm."""
    return scan.read(DATA / "hip-ct" / "example_ct.nii.gz")


def chest() -> Scan:
    """Return the real half of a chest, plain, of ``lung-pair``."""
    return scan.read(DATA / "lung-pair" / "3DCT_lung.mha")


def real(name: str) -> Scan:
    """Return the trunk, by the name ``hip``, half a chest, by ``chest``, or a limb by its number."""
    return {"hip": hip, "chest": chest}.get(name, lambda: limb(name))()


def motion(
    still: Scan,
    seed: int,
    *,
    bones: np.ndarray | None = None,
    growth: float = 1.08,
    warp_mm: float = 4.0,
    turn_deg: float = 10.0,
    shift_mm: float = 15.0,
) -> Motion:
    """Draw one of the phantom's maps about the middle of a scan; ``bones`` stay rigid where they are given."""
    rng = np.random.default_rng(seed)
    middle = grid.to_mm(still.image, (np.array(still.array.shape)[None] - 1) / 2)[0]
    turn = rotation_matrix(rng.uniform(-turn_deg, turn_deg, 3))
    shift = rng.uniform(-shift_mm, shift_mm, 3)

    def far(points: Xyz) -> np.ndarray:
        return np.full_like(points[0], 100.0)

    distance = far
    if bones is not None:
        away = ndimage.distance_transform_edt(~bones, sampling=still.spacing_zyx_mm)
        away = (away - ndimage.distance_transform_edt(bones, sampling=still.spacing_zyx_mm)).astype(np.float32)

        def near(points: Xyz) -> np.ndarray:
            return grid.sample(still.image, away, np.stack(points, axis=-1).reshape(-1, 3), outside=100.0).reshape(
                points[0].shape
            )

        distance = near
    return Motion(
        rotation=turn,
        shift_mm=middle + shift - growth * turn @ middle,
        growth=growth,
        hinge=None,
        warp=Warp.random(rng, warp_mm) if warp_mm else None,
        bone_distance_mm=distance,
    )


def drawn(name: str, still: Scan, seed: int) -> Pair:
    """Pull a scan through a map of this seed: growth up to 15 %, a warp up to 6 mm, other slices and noise.

    Bones stay rigid in every other one; there the warp is at most 4 mm, or the phantom's map could fold.
    """
    rng = np.random.default_rng(seed)
    found = anatomy.find(still)
    rigid = seed % 2 == 0
    truth = motion(
        still,
        seed,
        bones=found.skeleton if rigid else None,
        growth=rng.uniform(1.0, 1.15),
        warp_mm=rng.uniform(2.0, 4.0 if rigid else 6.0),
    )
    return pair(name, still, truth, seed, found=found, slices=rng.uniform(0.8, 1.5))


def turned(name: str, still: Scan, seed: int, degrees: float) -> Pair:
    """Turn a scan about a random axis, on a lattice that holds all of it."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.deg2rad(degrees)).as_matrix()
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in still.array.shape])).reshape(3, -1).T
    places = grid.to_mm(still.image, corners)
    middle = places.mean(axis=0)
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = middle + rng.uniform(-30, 30, 3) - turn @ middle
    there = grid.apply_affine(matrix, places)
    spacing = np.array([1.0, 1.0, 2.0]) * max(1.5, min(still.image.GetSpacing()))
    empty = sitk.Image([int(n) for n in np.ceil(np.ptp(there, axis=0) / spacing) + 1], sitk.sitkInt16)
    empty.SetSpacing(spacing.tolist())
    empty.SetOrigin(there.min(axis=0).tolist())
    return _pulled(f"{name} {degrees:.0f} deg", still, empty, Rigid(matrix), rng, noise_hu=12.0)


def crop(scan_: Scan, low: tuple[float, float, float], high: tuple[float, float, float]) -> Scan:
    """Return a part of a scan, from and to these fractions of its x, y and z."""
    size = np.array(scan_.image.GetSize())
    start, stop = (np.rint(size * part).astype(int).tolist() for part in (low, high))
    x, y, z = (slice(a, b) for a, b in zip(start, stop, strict=True))
    return Scan(scan_.image[x, y, z])


def with_part(pair: Pair, *, fixed: Scan | None = None, moving: Scan | None = None, name: str) -> Pair:
    """Return a pair one of whose scans sees a part only; points are those that both see."""
    one, two = fixed or pair.fixed, moving or pair.moving

    def seen(points: np.ndarray) -> np.ndarray:
        both = grid.inside(one.image, points) & grid.inside(two.image, pair.truth.from_baseline(points))
        return points[both]

    return Pair(name, one, two, pair.truth, seen(pair.body_mm), seen(pair.bone_mm))


def mirrored(scan_: Scan) -> Scan:
    """Return the mirror image of a scan, on its own lattice."""
    return Scan(grid.image_like(np.ascontiguousarray(scan_.array[:, :, ::-1]), scan_.image))


def of_phantom(name: str, visits: list[PhantomVisit], first: int = 0, second: int = 1) -> Pair:
    """Return two visits of the phantom."""
    one, two = visits[first], visits[second]
    rng = np.random.default_rng(0)
    truth = _Between(one, two)
    points = [_points(one.scan, mask, rng, n) for mask, n in ((one.body, POINTS), (one.skeleton, POINTS // 2))]
    inside = [some[grid.inside(two.scan.image, truth.from_baseline(some))] for some in points]
    return Pair(name, one.scan, two.scan, truth, inside[0], inside[1])


@dataclass(frozen=True)
class _Between:
    """From one visit of the phantom to another."""

    one: PhantomVisit
    two: PhantomVisit

    def from_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        return self.two.from_baseline(self.one.to_baseline(points_mm))

    def to_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        return self.one.from_baseline(self.two.to_baseline(points_mm))


def with_balls(scan_: Scan, centres_mm: np.ndarray, radii_mm: np.ndarray, hu: np.ndarray) -> Scan:
    """Put balls of mineral into a scan: centres (N, 3) LPS mm, blurred by ``PSF_MM``."""
    values = scan_.array.astype(np.float32)
    inverse = np.linalg.inv(grid.affine(scan_.image))
    for centre, radius, value in zip(centres_mm, radii_mm, hu, strict=True):
        reach = radius + 4 * PSF_MM
        half = np.abs(inverse[:3, :3]) @ np.full(3, reach)
        middle = grid.apply_affine(inverse, centre[None])[0]
        low = np.maximum(0, np.floor(middle - half)).astype(int)
        high = np.minimum(np.array(values.shape), np.ceil(middle + half).astype(int) + 1)
        if (high <= low).any():
            continue
        index = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
        away = np.linalg.norm(grid.to_mm(scan_.image, index.reshape(-1, 3)) - centre, axis=1) - radius
        share = (0.5 * special.erfc(away / (np.sqrt(2) * PSF_MM))).reshape(index.shape[:3])
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        values[box] += share * (value - values[box])
    return Scan(grid.image_like(np.rint(values).astype(np.int16), scan_.image), acquisition=scan_.acquisition)


def pair(
    name: str,
    still: Scan,
    truth: Motion,
    seed: int,
    *,
    found: Anatomy | None = None,
    noise_hu: float = 12.0,
    slices: float = 1.2,
) -> Pair:
    """Pull a scan through a map: ``slices`` is the new slice spacing over the old one."""
    rng = np.random.default_rng(seed + 1000)
    size_mm = np.array(still.image.GetSize()) * np.array(still.image.GetSpacing())
    spacing = np.array(still.image.GetSpacing()) * [1.0, 1.0, slices]
    empty = sitk.Image([int(n) for n in np.round(size_mm / spacing)], sitk.sitkInt16)
    empty.SetSpacing([float(v) for v in spacing])
    empty.SetDirection(still.image.GetDirection())
    empty.SetOrigin([float(v) for v in still.image.GetOrigin() + (rng.uniform(-0.5, 0.5, 3) * spacing)])
    return _pulled(name, still, empty, truth, rng, noise_hu=noise_hu, found=found)


def _pulled(
    name: str,
    still: Scan,
    empty: sitk.Image,
    truth: Truth,
    rng: np.random.Generator,
    *,
    noise_hu: float,
    found: Anatomy | None = None,
) -> Pair:
    found = found or anatomy.find(still)
    clean = np.where(found.body, still.array, AIR_HU).astype(np.float32)
    soft = ndimage.spline_filter(clean, order=3)
    shape = empty.GetSize()[::-1]
    moved = np.empty(shape, np.float32)
    for number in range(shape[0]):
        index = np.indices(shape[1:]).reshape(2, -1).T
        points = grid.to_mm(empty, np.column_stack([np.full(len(index), number), index]))
        there = grid.to_index(still.image, truth.to_baseline(points))
        values = ndimage.map_coordinates(soft, there.T, order=3, prefilter=False, cval=AIR_HU)
        moved[number] = np.clip(values, AIR_HU, 3000).reshape(shape[1:])
    noisy = [part + rng.normal(0, noise_hu, part.shape) for part in (still.array, moved)]
    images = [
        grid.image_like(np.rint(part).astype(np.int16), like)
        for part, like in zip(noisy, (still.image, empty), strict=True)
    ]
    both = [Scan(image) for image in images]
    points = [_points(still, mask, rng, count) for mask, count in ((found.body, POINTS), (found.skeleton, POINTS // 2))]
    inside = [some[grid.inside(both[1].image, truth.from_baseline(some))] for some in points]
    return Pair(name, both[0], both[1], truth, inside[0], inside[1])


def _points(still: Scan, mask: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    index = np.argwhere(mask)
    some = index[rng.choice(len(index), min(count, len(index)), replace=False)]
    return grid.to_mm(still.image, some + rng.uniform(-0.5, 0.5, some.shape))
