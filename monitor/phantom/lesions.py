"""Lesions in a body: what becomes of each over the visits, how it is drawn on a grid, and the truth about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from monitor.phantom.body import at_voltage
from monitor.phantom.bones import Vector
from monitor.phantom.motion import Motion, Xyz
from monitor.phantom.shapes import Shape

MINERAL_HU = 130.0
"""A core at or above this (at 120 kVp) counts as mineral in ``volume_mm3``; below, it is soft (Agatston 1990)."""

TRUTH_COLUMNS = (
    "lesion",
    "lesion_number",
    "kind",
    "present",
    "volume_mm3",
    "envelope_mm3",
    "mean_hu",
    "excess_hu_mm3",
    "x_mm",
    "y_mm",
    "z_mm",
    "merged_into",
    "in_field",
    "rim_hu",
    "core_hu",
)

_SAMPLES = 1_500_000
"""Upper limit of samples for one lesion: 0.1 s."""

_SAMPLES_ACROSS = 11.0
"""Samples over the smallest thickness of a lesion, or over a voxel if that is finer."""

Knots = tuple[tuple[float, float], ...]
"""(fraction of the course, value) pairs, between which a value runs straight."""


@dataclass(frozen=True)
class Plan:
    """One lesion and its course; the course runs from 0 at the first visit to 1 at the last.

    Attributes
    ----------
    anchor_mm : Vector
        The baseline point that carries it.
    shape : callable
        Its shape at a fraction of the course; None where there is none.
    hu, core_hu : Knots
        Density of mineral, and of the core of a shell, HU at 120 kVp.
    out, along : Vector
        First and third axis of its frame at the baseline.
    merges : (str, float) or None
        The lesion that takes it in, and from which fraction on.
    """

    name: str
    kind: str
    anchor_mm: Vector
    shape: Callable[[float], Shape | None]
    hu: Knots = ((0.0, 500.0),)
    core_hu: Knots = ((0.0, 60.0),)
    out: Vector = (1.0, 0.0, 0.0)
    along: Vector = (0.0, 0.0, 1.0)
    merges: tuple[str, float] | None = None

    def frame(self) -> np.ndarray:
        """Return its axes at the baseline as the columns of a (3, 3) rotation."""
        along = np.array(self.along) / np.linalg.norm(self.along)
        out = np.array(self.out) - along * (np.array(self.out) @ along)
        out /= np.linalg.norm(out)
        return np.stack([out, np.cross(along, out), along], axis=1)

    def present(self, fraction: float) -> Shape | None:
        """Return its shape at a fraction of the course; None before it comes, once it is gone or taken in."""
        return None if self.merged_into(fraction) else self.shape(fraction)

    def merged_into(self, fraction: float) -> str:
        """Return the lesion that has taken it in, or nothing."""
        return self.merges[0] if self.merges is not None and fraction >= self.merges[1] else ""


@dataclass(frozen=True)
class Placed:
    """A shape at a visit: the middle of its frame, and its axes as columns."""

    shape: Shape
    centre_mm: np.ndarray
    axes: np.ndarray

    def corners_mm(self) -> np.ndarray:
        """Return the eight corners of its box, (8, 3) LPS mm."""
        low, high = self.shape.box_mm
        choice = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
        return np.asarray(np.where(choice == 0, low, high) @ self.axes.T + self.centre_mm)


@dataclass(frozen=True)
class Shares:
    """How much of each voxel of a box a lesion's zones fill; ``start_zyx`` may lie outside the image."""

    start_zyx: np.ndarray
    zones: list[np.ndarray]

    def clip(self, shape_zyx: tuple[int, ...]) -> tuple[tuple[slice, ...], list[np.ndarray]]:
        """Return the part within an image: where it lies there, and the shares."""
        size = np.array(self.zones[0].shape)
        low = np.clip(self.start_zyx, 0, shape_zyx)
        high = np.clip(self.start_zyx + size, 0, shape_zyx)
        there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        here = tuple(slice(a, b) for a, b in zip(low - self.start_zyx, high - self.start_zyx, strict=True))
        return there, [zone[here] for zone in self.zones]


@dataclass(frozen=True)
class Drawing:
    """Lesions put into an image: the image, the label and mineral masks, one row of truth for each plan."""

    hu: np.ndarray
    labels: np.ndarray
    mineral: np.ndarray
    truth: pd.DataFrame


def draw(
    plans: Mapping[int, Plan],
    fraction: float,
    motion: Motion,
    tissue_hu: np.ndarray,
    axes_mm: Xyz,
    mineral_scale: float,
) -> Drawing:
    """Put lesions into the image of a visit before blur and noise.

    Each voxel takes the share that a lesion fills of it; shares are scaled so that their sum is the volume of the
    shape, which corrects the sampling by less than 0.5 %.
    """
    hu = tissue_hu.copy()
    labels, most = np.zeros(hu.shape, np.uint16), np.full(hu.shape, 0.5, np.float32)
    mineral = np.zeros(hu.shape, bool)
    rows = []
    for number, plan in plans.items():
        shape = plan.present(fraction)
        if shape is None:
            rows.append(_absent(plan, number, fraction, motion))
            continue
        placed = Placed(
            shape,
            motion.from_baseline(np.array(plan.anchor_mm))[0],
            motion.local_rotation(np.array(plan.anchor_mm)) @ plan.frame(),
        )
        shares = fill(placed, axes_mm)
        zone_hu = [
            float(at_voltage(np.array(_at(knots, fraction)), mineral_scale)) for knots in (plan.hu, plan.core_hu)
        ]
        there, zones = shares.clip(hu.shape)
        background = tissue_hu[there]
        added = sum(zone * (level - background) for zone, level in zip(zones, zone_hu, strict=False))
        hu[there] += added
        whole = np.sum(zones, axis=0)
        mine = whole >= most[there]
        labels[there][mine], most[there][mine] = number, whole[mine]
        mineral[there] |= zones[0] >= 0.5 if _soft_core(plan, fraction) else whole >= 0.5
        rows.append(_present(plan, number, fraction, placed, shares, axes_mm, (zone_hu, whole, float(np.sum(added)))))
    return Drawing(hu, labels, mineral, pd.DataFrame(rows, columns=list(TRUTH_COLUMNS)))


def fill(placed: Placed, axes_mm: Xyz) -> Shares:
    """Sample a placed shape finely and return how much of each voxel it fills."""
    origin = np.array([axis[0] for axis in axes_mm])
    spacing = np.array([axis[1] - axis[0] for axis in axes_mm])
    corners = (placed.corners_mm() - origin) / spacing
    start = np.floor(corners.min(axis=0) + 0.5).astype(int)
    size = np.ceil(corners.max(axis=0) + 0.5).astype(int) - start + 1
    fold = _fold(placed.shape, size, spacing)
    steps = [
        origin[k] + spacing[k] * (start[k] + (np.arange(size[k] * fold[k]) + 0.5) / fold[k] - 0.5) - placed.centre_mm[k]
        for k in range(3)
    ]
    zones = [_share(zone, size[::-1], fold[::-1]) for zone in placed.shape.zones(_local(placed.axes, steps))]
    volumes = _zone_volumes(placed.shape)
    voxel_mm3 = float(np.prod(spacing))
    scaled = [
        zone * np.float32(volume / (zone.sum(dtype=float) * voxel_mm3))
        for zone, volume in zip(zones, volumes, strict=True)
    ]
    return Shares(start[::-1], scaled)


def _fold(shape: Shape, size: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    step_mm = min(shape.finest_mm, float(spacing.max())) / _SAMPLES_ACROSS
    coarsest_mm = (np.prod(size * spacing) / _SAMPLES) ** (1 / 3)
    return np.asarray(np.maximum(np.ceil(spacing / max(step_mm, coarsest_mm)), 2).astype(int))


def _local(axes: np.ndarray, steps: list[np.ndarray]) -> Xyz:
    x, y, z = (step.astype(np.float32) for step in steps)
    a, b, c = (
        (x * axis[0])[None, None, :] + (y * axis[1])[None, :, None] + (z * axis[2])[:, None, None]
        for axis in axes.T.astype(np.float32)
    )
    return a, b, c


def _share(zone: np.ndarray, size_zyx: np.ndarray, fold_zyx: np.ndarray) -> np.ndarray:
    (z, y, x), (c, b, a) = size_zyx, fold_zyx
    # One axis after the other: summing bool over the last axis first is several times faster.
    part = zone.reshape(z * c, y * b, x, a).sum(axis=3, dtype=np.int16)
    part = part.reshape(z * c, y, b, x).sum(axis=2, dtype=np.int16)
    return np.asarray(part.reshape(z, c, y, x).sum(axis=1, dtype=np.float32) / np.float32(a * b * c))


def _zone_volumes(shape: Shape) -> list[float]:
    core = shape.envelope_mm3 - shape.volume_mm3
    return [shape.volume_mm3] if core <= 0 else [shape.volume_mm3, core]


def _at(knots: Knots, fraction: float) -> float:
    return float(np.interp(fraction, [knot[0] for knot in knots], [knot[1] for knot in knots]))


def _soft_core(plan: Plan, fraction: float) -> bool:
    return _at(plan.core_hu, fraction) < MINERAL_HU


def _absent(plan: Plan, number: int, fraction: float, motion: Motion) -> dict[str, object]:
    x, y, z = motion.from_baseline(np.array(plan.anchor_mm))[0]
    return {
        "lesion": plan.name,
        "lesion_number": number,
        "kind": plan.kind,
        "present": False,
        "volume_mm3": 0.0,
        "envelope_mm3": 0.0,
        "mean_hu": nan,
        "excess_hu_mm3": 0.0,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "merged_into": plan.merged_into(fraction),
        "in_field": nan,
        "rim_hu": nan,
        "core_hu": nan,
    }


def _present(
    plan: Plan,
    number: int,
    fraction: float,
    placed: Placed,
    shares: Shares,
    axes_mm: Xyz,
    measured: tuple[list[float], np.ndarray, float],
) -> dict[str, object]:
    zone_hu, whole, added = measured
    volumes = _zone_volumes(placed.shape)
    counted = volumes[:1] if _soft_core(plan, fraction) else volumes
    spacing = np.array([axis[1] - axis[0] for axis in axes_mm])
    everything = np.sum(shares.zones, axis=0)
    index = [np.average(grid, weights=everything) for grid in np.indices(everything.shape)]
    x, y, z = ((np.array(index) + shares.start_zyx)[::-1]) * spacing + [axis[0] for axis in axes_mm]
    return {
        "lesion": plan.name,
        "lesion_number": number,
        "kind": plan.kind,
        "present": True,
        "volume_mm3": float(sum(counted)),
        "envelope_mm3": placed.shape.envelope_mm3,
        "mean_hu": float(np.average(zone_hu[: len(counted)], weights=counted)),
        "excess_hu_mm3": added * float(np.prod(spacing)),
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "merged_into": "",
        "in_field": float(whole.sum(dtype=float) / everything.sum(dtype=float)),
        "rim_hu": zone_hu[0],
        "core_hu": zone_hu[1] if len(volumes) > 1 else nan,
    }
