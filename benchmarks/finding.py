"""Is every lesion found, and nothing else: the phantom with its truth, lesions put into real limbs, real limbs alone.

``python -m benchmarks.finding SECTION [SEEDS]`` prints a table; sections are ``phantom``, ``specks``, ``inserted``,
``real`` and ``size``. A lesion's strength is its true excess over the SD that noise gives to a sum over its blurred
place.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from scipy import ndimage

from benchmarks import pairs
from benchmarks.series import scanner
from monitor import anatomy, burden, contrast, grid, lesions, stages
from monitor.phantom import SCENES, PhantomVisit, series
from monitor.types import Anatomy, Findings, Scan

FIRST_SEED = 5000
"""Seeds from here on were never looked at in development."""

BONE_MM = {"on bone": 1.0, "beside bone": 4.0}
"""Gaps to true bone, mm: up to the first a lesion touches it, up to the second it is close."""

BORDER_MM = 2.5
"""Blurred border over which a lesion's contrast is summed for its strength, mm."""

BONE_FREE_MM = 8.0
"""Specks lie farther than this from bone, mm."""

FAINTEST_HU, FAINT_HU, DENSEST_HU = 110.0, 250.0, 1200.0
"""Contrasts of specks, HU: above muscle by what mineral is at least; up to the second they are counted apart."""

STRONG, WEAK = 8.0, 5.0
"""Strengths from which 99 % and 90 % must be found."""


def main() -> None:
    """Run a section and print its table."""
    section = sys.argv[1] if len(sys.argv) > 1 else "phantom"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    SECTIONS[section](count)


def phantom(count: int) -> None:
    """Print what is found in the phantom of ``count`` seeds (100), with its true maps."""
    seeds = range(FIRST_SEED, FIRST_SEED + (count or 100))
    _report(_of_all(of_phantom, seeds))


def specks(count: int) -> None:
    """Print what is found of faint balls put into ``count`` phantoms without lesions (60)."""
    seeds = range(FIRST_SEED, FIRST_SEED + (count or 60))
    _report(_of_all(of_speck, seeds))


def inserted(count: int) -> None:
    """Print what is found of balls put into ``count`` copies of real limbs (64)."""
    seeds = range(FIRST_SEED, FIRST_SEED + (count or 64))
    _report(_of_all(of_limb, seeds))


def _of_all(work: Callable[[int], list[dict[str, object]]], seeds: range) -> pd.DataFrame:
    with ProcessPoolExecutor(2) as pool:
        return pd.DataFrame([row for rows in pool.map(work, seeds) for row in rows])


def of_phantom(seed: int) -> list[dict[str, object]]:
    """Return rows of lesions and of visits for one seed: scene, visits and scanner are drawn."""
    rng = np.random.default_rng(seed)
    scene = SCENES[seed % len(SCENES)]
    count = int(rng.integers(3, 7))
    visits = series(scene, seed=seed, visits=count, **scanner(rng))
    first = anatomy.find(visits[0].scan)
    rows = []
    for number, visit in enumerate(visits):
        found = first if number == 0 else anatomy.find(visit.scan)
        if number:
            found = second_pass(visits[0], first, visit, found)
        started = time.process_time()
        pieces = lesions.find(visit.scan, found)
        about = {"seed": seed, "scene": scene, "visit": number, "seconds": time.process_time() - started}
        rows += rows_of(visit, found, pieces, about)
    return rows


def second_pass(one: PhantomVisit, first: Anatomy, visit: PhantomVisit, found: Anatomy) -> Anatomy:
    """Return the anatomy of a later visit as the first corrects it, over the true map."""

    def to_first(points_mm: np.ndarray) -> np.ndarray:
        return one.from_baseline(visit.to_baseline(points_mm))

    return stages.corrected(visit.scan, found, one.scan, first.skeleton, to_first, error_mm=0.3)


def rows_of(visit: PhantomVisit, found: Anatomy, pieces: Findings, about: dict[str, object]) -> list[dict[str, object]]:
    """Return a row for each true lesion, and one for the visit with what is false in it."""
    spacing, voxel = visit.scan.spacing_zyx_mm, visit.scan.voxel_volume_mm3
    gap = ndimage.distance_transform_edt(~visit.skeleton, sampling=spacing)
    factor = burden.noise_correlation(visit.scan, found)
    rows = []
    for truth in visit.lesions[visit.lesions["present"]].itertuples():
        own = visit.labels == truth.lesion_number
        if not own.any() or truth.in_field < 0.9:
            continue
        place = ndimage.distance_transform_edt(~own, sampling=spacing) <= BORDER_MM
        sd = found.noise_hu * np.sqrt(place.sum() * factor) * voxel
        gap_mm = float(gap[own].min())
        where = next((name for name, limit in BONE_MM.items() if gap_mm <= limit), "free")
        got = np.unique(pieces.labels[own])
        rows.append(
            {
                **about,
                "lesion": truth.lesion,
                "where": where,
                "strength": truth.excess_hu_mm3 / sd,
                "volume_mm3": truth.volume_mm3,
                "found": bool((got > 0).any()),
                "lod_mm3": pieces.lod_mm3,
            }
        )
    near = ndimage.distance_transform_edt(visit.labels == 0, sampling=spacing) <= 2.0
    rows.append({**about, "false": _false(pieces.labels, near), "noise_hu": found.noise_hu})
    return rows


def _false(labels: np.ndarray, near: np.ndarray) -> int:
    count = int(labels.max())
    touched = np.unique(labels[near])
    return count - int((touched > 0).sum())


def of_speck(seed: int) -> list[dict[str, object]]:
    """Return rows of up to ten balls near the limit of what can be seen, away from bone; what else comes is false."""
    rng = np.random.default_rng([seed, 80])
    scene = SCENES[seed % len(SCENES)]
    still = series(scene, seed=seed, visits=1, lesions=(), **scanner(rng))[0].scan
    bare = anatomy.find(still)
    spacing, voxel = still.spacing_zyx_mm, still.voxel_volume_mm3
    depth = ndimage.distance_transform_edt(bare.body, sampling=spacing)
    depth[[0, 1, -2, -1]] = 0
    free = np.argwhere((ndimage.distance_transform_edt(~bare.skeleton, sampling=spacing) > BONE_FREE_MM) & (depth > 4))
    factor = burden.noise_correlation(still, bare)
    centres: list[np.ndarray] = []
    radii, hu, strengths = [], [], []
    for _ in range(200):
        centre = grid.to_mm(still.image, free[rng.integers(len(free))][None])[0]
        strength, radius = float(rng.uniform(WEAK, 1.5 * STRONG)), float(rng.uniform(0.9, 3.0))
        volume, place = (4 / 3 * np.pi * r**3 for r in (radius, radius + BORDER_MM))
        contrast = strength * bare.noise_hu * np.sqrt(place / voxel * factor) * voxel / volume
        apart = all(np.linalg.norm(centre - other) > 16 for other in centres)
        if apart and FAINTEST_HU < contrast < DENSEST_HU and len(centres) < 10:
            centres.append(centre)
            radii.append(radius)
            hu.append(contrast + bare.tissue_hu)
            strengths.append(strength)
    drawn = pairs.with_balls(still, np.array(centres).reshape(-1, 3), np.array(radii), np.array(hu))
    started = time.process_time()
    pieces = lesions.find(drawn, bare)
    about = {"seed": seed, "scene": scene, "visit": 0, "seconds": time.process_time() - started}
    index = grid.to_mm(still.image, np.argwhere(np.ones(depth.shape, bool))).reshape(*depth.shape, 3)
    rows, taken = [], np.zeros(depth.shape, bool)
    for centre, radius, level, strength in zip(centres, radii, hu, strengths, strict=True):
        away = np.linalg.norm(index - centre, axis=-1)
        taken |= away <= radius + 4
        own = away <= max(radius, spacing.max() / 2)
        where = f"{'faint' if level - bare.tissue_hu < FAINT_HU else 'dense'} speck"
        rows.append({**about, "where": where, "strength": strength, **_ball_row(radius, level, own, pieces)})
    return [*rows, {**about, "false": _false(pieces.labels, taken), "noise_hu": bare.noise_hu}]


def _ball_row(radius_mm: float, hu: float, own: np.ndarray, pieces: Findings) -> dict[str, object]:
    """Return what is said of a ball: its name, its volume, whether it was found."""
    return {
        "lesion": f"{radius_mm:.1f} mm, {hu:.0f} HU",
        "volume_mm3": 4 / 3 * np.pi * radius_mm**3,
        "found": bool((pieces.labels[own] > 0).any()),
        "lod_mm3": pieces.lod_mm3,
    }


def of_limb(seed: int) -> list[dict[str, object]]:
    """Return rows of balls put into a real limb: free, beside bone and on it; what else comes is false."""
    rng = np.random.default_rng(seed)
    name = pairs.LIMBS[seed % len(pairs.LIMBS)]
    still = pairs.limb(name)
    bare = anatomy.find(still)
    known = lesions.find(still, bare).labels > 0
    centres, radii, hu, where = balls(still, bare, known, rng)
    drawn = pairs.with_balls(still, centres, radii, hu)
    started = time.process_time()
    found = anatomy.find(drawn)
    pieces = lesions.find(drawn, found)
    seconds = time.process_time() - started
    about = {"seed": seed, "scene": name, "visit": 0, "seconds": seconds}
    factor = burden.noise_correlation(drawn, found)
    rows = []
    taken = np.zeros(known.shape, bool)
    index = grid.to_mm(still.image, np.argwhere(np.ones(known.shape, bool))).reshape(*known.shape, 3)
    for centre, radius, level, place in zip(centres, radii, hu, where, strict=True):
        away = np.linalg.norm(index - centre, axis=-1)
        near = away <= radius + BORDER_MM
        taken |= away <= radius + 4
        own = away <= max(radius, still.spacing_zyx_mm.max() / 2)
        excess = (level - still.array[own].mean()) * 4 / 3 * np.pi * radius**3
        sd = found.noise_hu * np.sqrt(near.sum() * factor) * still.voxel_volume_mm3
        rows.append({**about, "where": place, "strength": excess / sd, **_ball_row(radius, level, own, pieces)})
    old = ndimage.binary_dilation(known, iterations=2)
    rows.append({**about, "false": _false(pieces.labels, taken | old), "noise_hu": found.noise_hu})
    return rows


def balls(
    still: Scan, bare: Anatomy, known: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Draw balls in soft tissue: centres (N, 3) mm, radii mm, HU, and where each lies."""
    spacing = still.spacing_zyx_mm
    gap = ndimage.distance_transform_edt(~bare.skeleton, sampling=spacing)
    depth = ndimage.distance_transform_edt(bare.body, sampling=spacing)
    depth[[0, -1]] = 0
    centres: list[np.ndarray] = []
    radii, hu, where = [], [], []
    for place in ("free", "beside bone", "on bone") * 4:
        radius = float(rng.uniform(1.6, 5.0)) if place == "free" else float(rng.uniform(2.5, 5.0))
        low = {"free": radius + 6, "beside bone": radius + 2.0, "on bone": radius - 0.2}[place]
        high = {"free": 60.0, "beside bone": radius + 3.0, "on bone": radius + 0.6}[place]
        fits = (gap >= low) & (gap <= high) & (depth >= radius + 3) & bare.body & ~known
        index = np.argwhere(fits)
        if not len(index):
            continue
        for _ in range(30):
            centre = grid.to_mm(still.image, index[rng.integers(len(index))][None])[0]
            if all(np.linalg.norm(centre - other) > 22 for other in centres):
                centres.append(centre)
                radii.append(radius)
                hu.append(float(rng.uniform(350, 750)))
                where.append(place)
                break
    return np.array(centres), np.array(radii), np.array(hu), where


def _report(table: pd.DataFrame) -> None:
    lesion = table[table["strength"].notna()].copy()
    lesion["class"] = pd.cut(lesion["strength"], [-np.inf, WEAK, STRONG, np.inf], labels=["< 5", "5 to 8", ">= 8"])
    shown = lesion.groupby(["where", "class"], observed=True)["found"].agg(["count", "sum", "mean"])
    print(shown.to_string(float_format=lambda value: f"{value:.4f}"))
    if lesion["lesion"].nunique() < 100:
        print(lesion.groupby(["scene", "lesion"])["found"].agg(["count", "mean"]).query("mean < 1").to_string())
    else:
        print(lesion.groupby(["scene", "where"])["found"].agg(["count", "mean"]).to_string())
    visits = table[table["false"].notna()]
    print(f"false lesions a visit: {visits['false'].mean():.3f} over {len(visits)} visits")
    print(visits.groupby(["scene"])["false"].mean().to_string())
    print(visits.groupby([visits["noise_hu"].round(-1)])["false"].mean().to_string())
    print(f"CPU of finding: median {table['seconds'].median():.2f} s")


def real(count: int) -> None:
    """Print what is called a lesion in the real limbs and in the hip, or in the first ``count`` of them."""
    for name in (*pairs.LIMBS, "hip")[: count or None]:
        still = pairs.real(name)
        found = anatomy.find(still)
        labels = lesions.find(still, found).labels
        sizes = np.sort(np.bincount(labels.ravel())[1:] * still.voxel_volume_mm3)[::-1]
        print(name, "pieces:", len(sizes), "of 20 mm3 and more:", int((sizes >= 20).sum()), sizes.round().tolist()[:12])
        tumour = pairs.DATA / "limb-ct" / f"STS_{name}" / "CT_mask.nii.gz"
        if tumour.exists():
            inside = sitk.GetArrayFromImage(sitk.ReadImage(str(tumour))) > 0
            bright = inside & (still.array > 200) & ~ndimage.binary_dilation(found.skeleton, iterations=2)
            print(f"   above 200 HU in the tumour: {bright.sum() * still.voxel_volume_mm3:.0f} mm3,", end=" ")
            print(f"labelled {(bright & (labels > 0)).sum() * still.voxel_volume_mm3:.0f} mm3;", end=" ")
            print(f"labelled outside {((labels > 0) & ~inside).sum() * still.voxel_volume_mm3:.0f} mm3")


def size(count: int) -> None:
    """Print CPU time and peak memory of finding in 512 x 512 x 400 voxels, or in ``count`` slices."""
    large = _large(count or 400)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    started = time.process_time()
    found = anatomy.find(large)
    medium = contrast.find(large, found)
    pieces = lesions.find(large, found, contrast=medium.vessels, least_hu=medium.least_hu)
    seconds = time.process_time() - started
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
    print(f"{large.array.shape}: {seconds:.1f} s of CPU, {peak:.2f} GiB at most, {pieces.labels.max()} pieces")


def _large(slices: int) -> Scan:
    """Return the phantom's trunk on a fine grid, voxels repeated, with noise of its own."""
    small = series("gaci", seed=FIRST_SEED, visits=1)[0].scan
    shape = (slices, 512, 512)
    z, y, x = (np.arange(size) * own // size for size, own in zip(shape, small.array.shape, strict=True))
    rng = np.random.default_rng(0)
    values = np.empty(shape, np.int16)
    for number in range(slices):
        values[number] = small.array[z[number]][y][:, x] + rng.normal(0, 10, shape[1:])
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.68, 0.68, 0.75))
    return Scan(image, acquisition=small.acquisition)


SECTIONS: dict[str, Callable[[int], None]] = {
    "phantom": phantom,
    "specks": specks,
    "inserted": inserted,
    "real": real,
    "size": size,
}
"""What can be asked for."""

if __name__ == "__main__":
    main()
