"""How far registration is off where truth is known: real texture, bent joints, any start, lesions that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

import monitor
from benchmarks import pairs
from benchmarks.pairs import Pair
from monitor import anatomy, grid, lesions, phantom, registration, scan
from monitor._registration import scales, start
from monitor.types import Anatomy, Registration, RegistrationError, Scan

IN_PLANE, ACROSS = 0.7, 0.1
"""Allowed mean error: this much of the in-plane voxel, and of the slice spacing."""

NEAR_MM = 12.0
"""What lies this near to a lesion, mm, is near it."""

LESIONS = 15
"""Lesions that are put into one pair: a third appears, a third vanishes, a third doubles."""


@dataclass(frozen=True)
class Looked:
    """What registration is given of two scans."""

    anatomies: tuple[Anatomy, Anatomy]
    mineral: tuple[np.ndarray, np.ndarray]

    @classmethod
    def at(cls, one: Scan, two: Scan) -> Looked:
        """Find body, bone and mineral of both, as the pipeline's first pass does."""
        found = anatomy.find(one), anatomy.find(two)
        first, second = (lesions.find(image, body).labels > 0 for image, body in zip((one, two), found, strict=True))
        return cls(found, (first, second))


def registered(one: Scan, two: Scan, looked: Looked) -> Registration:
    """Register two scans whose anatomy is known, as the pipeline does."""
    return registration.register(
        one,
        two,
        fixed_anatomy=looked.anatomies[0],
        moving_anatomy=looked.anatomies[1],
        fixed_mineral=looked.mineral[0],
        moving_mineral=looked.mineral[1],
    )


def errors(found: Registration, truth: pairs.Truth, points_mm: np.ndarray) -> np.ndarray:
    """Return how far points of the fixed scan land from where they belong, mm."""
    return np.linalg.norm(found.from_baseline(points_mm) - truth.from_baseline(points_mm), axis=1)


def solved(one: Pair, more: Callable[[Registration], dict[str, object]] = lambda _: {}) -> dict[str, object]:
    """Return a row of a pair: errors, what registration says of them, ``more``, or why it refused."""
    looked = Looked.at(one.fixed, one.moving)
    started = time.process_time()
    try:
        found = registered(one.fixed, one.moving, looked)
    except RegistrationError as error:
        return {"pair": one.name, "cpu_s": time.process_time() - started, "refused": str(error)}
    body, bone = errors(found, one.truth, one.body_mm), errors(found, one.truth, one.bone_mm)
    return {
        "pair": one.name,
        "mean": body.mean(),
        "p95": np.percentile(body, 95),
        "bone": bone.mean() if len(bone) else np.nan,
        "bone95": np.percentile(bone, 95) if len(bone) else np.nan,
        "residual": found.residual_mm,
        "upper": found.residual_hi_mm,
        "folds": folds(found, one.body_mm),
        "there_and_back": there_and_back(found, one.body_mm),
        "cpu_s": time.process_time() - started,
        "refused": "",
        **more(found),
    }


def there_and_back(found: Registration, points_mm: np.ndarray) -> float:
    """Return how far points come back from where they began, mm, at most."""
    return float(np.abs(found.to_baseline(found.from_baseline(points_mm)) - points_mm).max())


def folds(found: Registration, points_mm: np.ndarray) -> float:
    """Return the share of points around which the map folds."""
    steps = [found.from_baseline(points_mm + step) - found.from_baseline(points_mm - step) for step in 0.5 * np.eye(3)]
    return float(np.mean(np.linalg.det(np.stack(steps, axis=2)) <= 0))


# Real texture, known map.


def texture_calls() -> Iterator[tuple[Callable[..., dict[str, object]], tuple[object, ...]]]:
    """Yield the 20 seeds over all limbs, and the visits of ``serial-limbs``."""
    for seed in range(200, 220):
        yield texture_row, (pairs.LIMBS[seed % len(pairs.LIMBS)], seed)
    for patient in ("L043", "L024"):
        for visit in ("V1", "V2"):
            yield serial_row, (patient, visit)


def texture_row(name: str, seed: int) -> dict[str, object]:
    """Pull a real limb through a map."""
    still = pairs.limb(name)
    made = pairs.drawn(f"{name} seed {seed}", still, seed)
    return {**solved(made), "allowed": _allowed(still)}


def serial_row(patient: str, visit: str) -> dict[str, object]:
    """Register a visit of ``serial-limbs`` to the first."""
    table = pd.read_csv(pairs.DATA / "serial-limbs" / "visits.csv")
    here = table[table["patient_id"] == patient].set_index("visit_id")["path"]
    one, two = (scan.read(pairs.DATA / "serial-limbs" / here[name]) for name in ("V0", visit))
    marks = pd.DataFrame(pairs.truth_of_limbs()["points"]).query("patient_id == @patient")
    base, there = (marks[marks["visit_id"] == name][["x", "y", "z"]].to_numpy() for name in ("V0", visit))
    found = monitor.register(one, two)
    gap = np.linalg.norm(found.to_baseline(there) - base, axis=1)
    return {
        "pair": f"serial {patient} {visit}",
        "mean": gap.mean(),
        "p95": np.percentile(gap, 95),
        "residual": found.residual_mm,
        "upper": found.residual_hi_mm,
        "folds": folds(found, base),
        "refused": "",
        "allowed": _allowed(one),
    }


def _allowed(still: Scan) -> float:
    return float(IN_PLANE * still.spacing_zyx_mm[2] + ACROSS * still.spacing_zyx_mm[0])


def texture_summary(rows: pd.DataFrame) -> str:
    """Say how near the errors come to what is allowed."""
    mean, high = rows["mean"] / rows["allowed"], rows["p95"] / (3 * rows["allowed"])
    return (
        f"{len(rows)} pairs, {(rows['refused'] != '').sum()} refused; mean error {mean.max():.2f} of the allowed one at"
        f" most ({rows['mean'].max():.2f} mm), 95th percentile {high.max():.2f}; folds {rows['folds'].max():.4f};"
        f" there and back {rows['there_and_back'].max():.4f} mm (0.1 asked)"
    )


# Joints that bend.


def bend_calls() -> Iterator[tuple[Callable[..., dict[str, object]], tuple[object, ...]]]:
    """Yield bent knees of two scenes."""
    for seed in range(300, 303):
        for scene in ("limb", "jdm"):
            for degrees in (-10.0, 8.0, 15.0, 22.0, 30.0):
                yield bend_row, (scene, seed, degrees)


def bend_row(scene: str, seed: int, degrees: float) -> dict[str, object]:
    """Bend the knees between two visits; errors are those of landmarks, in voxels."""
    visits = phantom.series(scene, seed=seed, visits=2, bend_deg=(0.0, degrees))
    voxel = visits[0].scan.image.GetSpacing()[0]

    def landmarks(found: Registration) -> dict[str, object]:
        gap = np.linalg.norm(found.to_baseline(visits[1].landmarks_mm) - visits[0].landmarks_mm, axis=1) / voxel
        tissue = visits[0].landmark_tissue
        return {f"{name}_vox": gap[tissue == name].mean() for name in ("bone", "skin", "vessel")} | {"vox": gap.mean()}

    made = pairs.of_phantom(f"{scene} {seed} {degrees:.0f} deg", visits)
    return {**solved(made, landmarks), "degrees": degrees}


def bend_summary(rows: pd.DataFrame) -> str:
    """Say how far landmarks of the worst tissue are off, in voxels, up to 15 degrees and beyond."""
    worst = rows[["bone_vox", "skin_vox", "vessel_vox"]].max(axis=1)
    mild = rows["degrees"].abs() <= 15
    return (
        f"{(rows['refused'] != '').sum()} refused; mean error of bone, skin or vessel at most {worst[mild].max():.2f}"
        f" voxel to 15 degrees (1.5 asked), {worst[~mild].max():.2f} to 30 (2.5 asked); folds {rows['folds'].max():.4f}"
    )


# Any start.


def start_calls() -> Iterator[tuple[Callable[..., dict[str, object]], tuple[object, ...]]]:
    """Yield 24 random axes from 10 to 180 degrees, and parts of wholes, both ways."""
    for number, degrees in enumerate(np.linspace(10.0, 180.0, 24)):
        yield turn_row, (("043", "hip", "legs")[number % 3], 400 + number, float(degrees))
    for name in ("hip", "legs", "043"):
        for part in ("octant", "box", "slab"):
            for way in ("part in whole", "whole on part"):
                yield crop_row, (name, part, way)


CROPS = {
    "octant": ((0.5, 0.0, 0.5), (1.0, 0.5, 1.0)),
    "box": ((0.1, 0.15, 0.3), (0.6, 0.85, 0.75)),
    "slab": ((0.0, 0.0, 0.6), (1.0, 1.0, 0.9)),
}
"""Parts of a field: an eighth, what a knee is of two legs, a third of the slices; x, y, z from and to."""


def _still(name: str) -> Scan:
    if name == "legs":
        return phantom.series("limb", seed=77, visits=1, lesions=())[0].scan
    return pairs.real(name)


def turn_row(name: str, seed: int, degrees: float) -> dict[str, object]:
    """Turn a body about a random axis."""
    made = pairs.turned(name, _still(name), seed, degrees)
    return {**solved(made), "start_cpu_s": _start_seconds(made)}


def crop_row(name: str, part: str, way: str) -> dict[str, object]:
    """Cut a part out of one scan, turned by 15 degrees."""
    made = pairs.turned(name, _still(name), 450, 15.0)
    cut = pairs.crop(made.fixed, *CROPS[part])
    made = pairs.with_part(made, fixed=cut, name=f"{name} {part} {way}")
    if way == "part in whole":
        back = pairs.Rigid(np.linalg.inv(made.truth.matrix))
        body, bone = made.truth.from_baseline(made.body_mm), made.truth.from_baseline(made.bone_mm)
        made = Pair(made.name, made.moving, made.fixed, back, body, bone)
    return {**solved(made), "start_cpu_s": _start_seconds(made)}


def _start_seconds(made: Pair) -> float:
    """Return the CPU seconds of finding the start alone."""
    looked = Looked.at(made.fixed, made.moving)
    both = zip((made.fixed, made.moving), looked.anatomies, looked.mineral, strict=True)
    levels = scales.pyramid(*[scales.prepare(*one) for one in both])
    started = time.process_time()
    start.find(levels[:2])
    return time.process_time() - started


def start_summary(rows: pd.DataFrame) -> str:
    """Say how many poses and parts are found."""
    found = (rows["refused"] == "") & (rows["mean"] < 1.0)
    return (
        f"{found.sum()} of {len(rows)} within 1 mm (worst {rows['mean'].max():.2f}); start at most"
        f" {rows['start_cpu_s'].max():.1f} CPU s (10 asked)"
    )


# Lesions that come and go.


def lesion_calls() -> Iterator[tuple[Callable[..., dict[str, object]], tuple[object, ...]]]:
    """Yield pairs of real limbs and a trunk with and without lesions."""
    for number, name in enumerate((*pairs.LIMBS, "hip", "hip")):
        yield lesion_row, (name, 500 + number)


def lesion_row(name: str, seed: int) -> dict[str, object]:
    """Put lesions that appear, vanish or double into a pair; compare near with far, and with the pair without them."""
    made = pairs.drawn(f"{name} seed {seed}", _still(name), seed)
    rng = np.random.default_rng(seed + 2000)
    looked = Looked.at(made.fixed, made.moving)
    deep = made.body_mm[rng.permutation(len(made.body_mm))]
    centres = _apart(deep[_inner(made, deep)], LESIONS, 2 * NEAR_MM)
    radii, hu = rng.uniform(3.0, 7.0, len(centres)), rng.uniform(250.0, 900.0, len(centres))
    kind = np.arange(len(centres)) % 3
    there = made.truth.from_baseline(centres)
    growth = np.cbrt(2.0)
    fixed = pairs.with_balls(made.fixed, centres[kind != 0], radii[kind != 0], hu[kind != 0])
    later = np.where(kind == 2, radii * growth, radii)[kind != 1]
    moving = pairs.with_balls(made.moving, there[kind != 1], later, hu[kind != 1])
    plain, found = registered(made.fixed, made.moving, looked), monitor.register(fixed, moving)
    near = np.linalg.norm(made.body_mm[:, None] - centres[None], axis=2).min(axis=1) < NEAR_MM
    row: dict[str, object] = {"pair": made.name, "lesions": len(centres)}
    for label, one in (("with", found), ("without", plain)):
        error = errors(one, made.truth, made.body_mm)
        row |= {f"near_{label}": error[near].mean(), f"far_{label}": error[~near].mean()}
    row["ratio"] = row["near_with"] / row["far_with"]
    row["refused"] = ""
    row["to_without"] = row["near_with"] / row["near_without"]
    row["volume"] = float(np.median(_change(found, centres) / _change(made.truth, centres)))
    return row


def _inner(made: Pair, points: np.ndarray) -> np.ndarray:
    """Tell which points lie well within both fields and the body, out of bone."""
    found = anatomy.find(made.fixed)
    depth = grid.sample(made.fixed.image, grid.depth_mm(found.body, made.fixed.image), points, outside=0.0)
    bone = grid.sample(made.fixed.image, found.skeleton.astype(np.float32), points, outside=0.0)
    there = made.truth.from_baseline(points)
    room = [grid.inside(one.image, some, margin_voxels=4) for one, some in ((made.fixed, points), (made.moving, there))]
    return (depth > 6.0) & (bone < 0.01) & room[0] & room[1]


def _apart(points: np.ndarray, most: int, least_mm: float) -> np.ndarray:
    taken: list[np.ndarray] = []
    for point in points:
        if len(taken) < most and all(np.linalg.norm(point - other) > least_mm for other in taken):
            taken.append(point)
    return np.array(taken)


def _change(found: Registration | pairs.Truth, points_mm: np.ndarray) -> np.ndarray:
    """Return the local change of volume over 6 mm at points."""
    columns = [
        (found.from_baseline(points_mm + step) - found.from_baseline(points_mm - step)) / 6.0 for step in 3 * np.eye(3)
    ]
    return np.abs(np.linalg.det(np.stack(columns, axis=2)))


def lesion_summary(rows: pd.DataFrame) -> str:
    """Say how near compares with far, and with the same places without lesions."""
    return (
        f"near over far: {rows['near_with'].sum() / rows['far_with'].sum():.2f} (1.1 asked; without lesions"
        f" {rows['near_without'].sum() / rows['far_without'].sum():.2f}); near over the same places without lesions"
        f" {rows['near_with'].sum() / rows['near_without'].sum():.2f}; volume change over the true one"
        f" {rows['volume'].min():.2f} to {rows['volume'].max():.2f} (0.9 to 1.1 asked)"
    )
