"""A series of visits: one child, scanned again and again, with the truth beside every scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from monitor.phantom.body import AIR_HU, Body, enhanced, paint
from monitor.phantom.lesions import Plan, draw
from monitor.phantom.motion import BEND_RANGE_DEG, MAX_WARP_MM, Hinge, Motion, Warp, Xyz, rotation_matrix
from monitor.phantom.optics import Scanner
from monitor.phantom.scenes import SCENES_BY_NAME, Scene
from monitor.types import Acquisition, Scan

SCENES = ("gaci", "myositis", "jdm", "limb")
"""Three children of the demo, and a limb with every kind of lesion for tests. ``series`` makes maturing shells too."""

DAYS_PER_YEAR = 365.25

PAD_HU, SHELL_HU, FOAM_HU = -860.0, 250.0, -930.0
"""The table: pad, carbon shell, foam between the shells; scout measurements of such tables, rounded."""

PAD_MM, SHELL_MM, FOAM_MM, TABLE_HALF_MM = 6.0, 1.4, 16.0, 110.0

_BEND_COURSE = (0.0, 1.0, -0.3, 0.6)
"""How much of ``bend_deg`` each visit takes, in turn."""

_LEFT_SHARE = 0.4
"""The left joint bends by this much of the right one's angle."""

TABLE_GAP_MM = 0.3
"""Air between the lowest skin and the pad."""

MAX_LANDMARKS = 120
"""About how many landmarks lie on bone, and as many on skin."""

MANUFACTURER = "calcitrack phantom"

_MAX_TURN_DEG, _MAX_SHIFT_MM = np.array([5.0, 4.0, 9.0]), np.array([15.0, 6.0, 6.0])
"""Limits of the pose: turns about x, y, z and shifts along them."""

_FIELD_FOLLOWS = 0.8
"""How much of the shift the field follows: a radiographer centres the child, not quite."""


@dataclass(frozen=True, eq=False)
class PhantomVisit:
    """One scan of the made-up child, and all that is true about it.

    Attributes
    ----------
    scan : Scan
        HU, int16, LPS.
    labels : array, zyx uint16
        ``lesion_number`` of the lesion that fills most of a voxel, at least half; core included.
    mineral, skeleton, body, table : array, zyx bool
        Voxels at least half mineral; voxel centres in bone, under the skin, in the table (pad included).
    lesions : DataFrame
        One row a lesion: the volume of its shape, whatever the field; excess and in_field of what is imaged.
        A soft core (below 130 HU) counts in envelope_mm3 and excess_hu_mm3, not in volume_mm3.
    landmarks_mm : (N, 3) array
        The same places at every visit, row by row; ``landmark_tissue`` says where each lies.
    motion : Motion
        The map to the baseline.
    region, sex, birth_date : str
        What the DICOM headers say beside.
    """

    patient_id: str
    visit_id: str
    date: date
    years: float
    scan: Scan
    labels: np.ndarray
    mineral: np.ndarray
    skeleton: np.ndarray
    body: np.ndarray
    table: np.ndarray
    lesions: pd.DataFrame
    landmarks_mm: np.ndarray
    landmark_tissue: np.ndarray
    motion: Motion
    region: str = ""
    sex: str = ""
    birth_date: str = ""

    def to_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Map points of this visit, (N, 3) LPS mm, to the baseline."""
        return self.motion.to_baseline(points_mm)

    def from_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Map baseline points, (N, 3) LPS mm, to this visit."""
        return self.motion.from_baseline(points_mm)


@dataclass(frozen=True, eq=False)
class Setting:
    """All that one visit needs to be rendered.

    Attributes
    ----------
    scene, body : Scene, Body
        The child.
    plans : mapping of int to Plan
        Its lesions by their numbers.
    visit : (int, int)
        Which visit, from 0, of how many.
    motion, axes_mm, scanner, seed
        How the child lies, which coordinates are imaged, with what, and the seed of the noise.
    landmarks : (N, 3) array, (N,) array
        Baseline points and the tissue each lies in.
    contrast : str
        What the header says of contrast medium.
    """

    scene: Scene
    body: Body
    plans: Mapping[int, Plan]
    visit: tuple[int, int]
    motion: Motion
    axes_mm: Xyz
    scanner: Scanner
    seed: int
    landmarks: tuple[np.ndarray, np.ndarray]
    contrast: str = "none"

    @property
    def fraction(self) -> float:
        """How far the course has run: 0 at the first visit, 1 at the last."""
        number, count = self.visit
        return number / (count - 1) if count > 1 else 0.0

    @property
    def number(self) -> int:
        """Which visit, from 0."""
        return self.visit[0]

    @property
    def date(self) -> date:
        """Date of the visit; visits after the last planned one go on at the last distance."""
        days, extra = self.scene.days, max(0, self.number - len(self.scene.days) + 1)
        since = days[min(self.number, len(days) - 1)] + extra * (days[-1] - days[-2])
        return date.fromisoformat(self.scene.first_date) + timedelta(days=since)


def series(  # noqa: PLR0913  a phantom is asked for by many named options
    scene: str | Scene,
    *,
    seed: int = 0,
    visits: int | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    slice_thickness_mm: float | Sequence[float] | None = None,
    noise_hu: float | Sequence[float] = 18.0,
    blur_sigma_mm: float | Sequence[float] = 0.7,
    kvp: float | Sequence[float] = 120.0,
    kernel: str | Sequence[str] = "Br40",
    growth_per_visit: float | None = None,
    warp_mm: float = 2.0,
    bend_deg: float | Sequence[float] | None = None,
    pose: bool = True,
    cut: Mapping[int, float] | None = None,
    lesions: Sequence[str] | None = None,
    contrast_hu: float | Sequence[float] | None = None,
) -> list[PhantomVisit]:
    """Make the visits of one child; the same call gives the same bytes.

    Parameters
    ----------
    scene : str or Scene
        One of ``SCENES``, or maturing, or a child of one's own.
    seed : int
        Of the body's texture, the pose, the warp and the noise.
    visits : int, optional
        How many; the course of the lesions is spread over them. None: as many as the scene plans.
    spacing_mm : (x, y, z), optional
        Pixel size and distance of slices; None: the scene's.
    slice_thickness_mm, noise_hu, blur_sigma_mm, kvp, kernel
        One value, or one for each visit. A thickness of None is the distance of slices.
    growth_per_visit : float, optional
        Length over length at the visit before; None: the scene's. Lesions do not grow with it.
    warp_mm : float
        Greatest displacement of soft tissue after pose, growth and bend; bones stay rigid.
    bend_deg : float or sequence, optional
        Bend of the joint: the greatest of the course, or one for each visit. None: the scene's.
    pose : bool
        Whether the child lies differently at each visit.
    cut : mapping of int to float, optional
        For a visit (from 0), which fraction of the field is not imaged: off the head end, or off the foot end
        where negative.
    lesions : sequence of str, optional
        Names of the lesions to draw; None: all of the scene, () for none. Their numbers stay.
    contrast_hu : float or sequence, optional
        HU of blood with contrast medium in it, or one for each visit, NaN where none was given. None: no visit.

    Returns
    -------
    list of PhantomVisit
        The first is the baseline, whose map is the identity.

    Raises
    ------
    ValueError
        If the scene is unknown or an option is out of its range.
    """
    if isinstance(scene, str) and scene not in SCENES_BY_NAME:
        raise ValueError(f"scene must be one of {', '.join(SCENES_BY_NAME)}; got {scene!r}")
    plan = SCENES_BY_NAME[scene] if isinstance(scene, str) else scene
    name = scene if isinstance(scene, str) else plan.patient_id
    count = len(plan.days) if visits is None else visits
    if count < 1:
        raise ValueError(f"visits must be 1 or more; got {count}")
    body = plan.body(_generator(seed, name, "body"))
    spacing = plan.spacing_mm if spacing_mm is None else spacing_mm
    options = {
        "slice_thickness_mm": spacing[2] if slice_thickness_mm is None else slice_thickness_mm,
        "noise_hu": noise_hu,
        "blur_sigma_mm": blur_sigma_mm,
        "kvp": kvp,
        "kernel": kernel,
    }
    scanners = [
        Scanner(spacing, **{name: _of_visit(value, i, count, name) for name, value in options.items()})
        for i in range(count)
    ]
    growth = plan.growth_per_visit if growth_per_visit is None else growth_per_visit
    course = _Course(growth, _checked_warp(warp_mm), _bends(plan, body, bend_deg, count), pose)
    motions = [course.motion(body, i, _generator(seed, name, f"motion {i}")) for i in range(count)]
    plans = _chosen(plan.plans(), lesions)
    cuts = [(cut or {}).get(i, 0.0) for i in range(count)]
    marks = _landmarks(body)
    agents = [
        float(_of_visit(nan if contrast_hu is None else contrast_hu, i, count, "contrast_hu")) for i in range(count)
    ]
    settings = [
        Setting(
            plan,
            body if isnan(agents[i]) else enhanced(body, agents[i]),
            plans,
            (i, count),
            motions[i],
            _axes(plan, spacing, motions[i], cuts[i]),
            scanners[i],
            seed,
            marks,
            contrast="none" if isnan(agents[i]) else "iv",
        )
        for i in range(count)
    ]
    return [render(setting) for setting in settings]


def render(setting: Setting) -> PhantomVisit:
    """Make one visit: paint the body, put the table and the lesions in, scan it."""
    scene, motion, scanner = setting.scene, setting.motion, setting.scanner
    painted = paint(setting.body, motion, setting.axes_mm, mineral_scale=scanner.mineral_scale)
    inside = painted.covered >= 0.5
    table, around = _table(inside, setting.axes_mm)
    tissue = around[None] + painted.covered * (painted.hu - around[None])
    drawing = draw(setting.plans, setting.fraction, motion, tissue, setting.axes_mm, scanner.mineral_scale)
    hu = scanner.scan(drawing.hu, _generator(setting.seed, scene.patient_id, f"noise {setting.number}"))
    places, names = setting.landmarks
    first = date.fromisoformat(scene.first_date)
    return PhantomVisit(
        patient_id=scene.patient_id,
        visit_id=f"V{setting.number}",
        date=setting.date,
        years=(setting.date - first).days / DAYS_PER_YEAR,
        scan=_as_scan(hu, setting),
        labels=drawing.labels,
        mineral=drawing.mineral,
        skeleton=painted.bone & inside,
        body=inside,
        table=np.broadcast_to(table, inside.shape) & ~inside,
        lesions=drawing.truth,
        landmarks_mm=motion.from_baseline(places),
        landmark_tissue=names,
        motion=motion,
        region=scene.region,
        sex=scene.sex,
        birth_date=scene.birth_date,
    )


def truth(visits: Sequence[PhantomVisit]) -> pd.DataFrame:
    """Return the rows of all lesions at all visits, with patient_id, visit_id, date and years in front."""
    tables = []
    for visit in visits:
        about = {"patient_id": visit.patient_id, "visit_id": visit.visit_id, "date": pd.Timestamp(visit.date)}
        who = pd.DataFrame({**about, "years": visit.years}, index=visit.lesions.index)
        tables.append(pd.concat([who, visit.lesions], axis=1))
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class _Course:
    """How the child moves over the visits."""

    growth_per_visit: float
    warp_mm: float
    bends_deg: Sequence[float]
    pose: bool

    def motion(self, body: Body, number: int, rng: np.random.Generator) -> Motion:
        """Return the map of a visit; the first is the identity."""
        turn, shift = rng.uniform(-1, 1, size=3) * _MAX_TURN_DEG, rng.uniform(-1, 1, size=3) * _MAX_SHIFT_MM
        warp = Warp.random(rng, self.warp_mm) if number and self.warp_mm > 0 else None
        posed = float(bool(number) and self.pose)
        return Motion(
            rotation_matrix(turn * posed),
            shift * posed,
            self.growth_per_visit**number,
            _bent(body.hinge, float(self.bends_deg[number])),
            warp,
            body.skeleton.distance_mm,
        )


def _bent(hinge: Hinge | None, angle_deg: float) -> Hinge | None:
    """Bend the right knee by the angle and the left by less; no hinge where nothing bends."""
    if hinge is None or angle_deg == 0:
        return None
    return replace(hinge, right_rad=np.deg2rad(angle_deg), left_rad=np.deg2rad(_LEFT_SHARE * angle_deg))


def _bends(scene: Scene, body: Body, bend_deg: float | Sequence[float] | None, count: int) -> list[float]:
    asked = scene.bend_deg if bend_deg is None else bend_deg
    if isinstance(asked, (int, float)):
        bends = [asked * _BEND_COURSE[i % len(_BEND_COURSE)] for i in range(count)]
    else:
        bends = [float(_of_visit(asked, i, count, "bend_deg")) for i in range(count)]
    low, high = BEND_RANGE_DEG
    if body.hinge is None and any(bends):
        raise ValueError(f"bend_deg must be 0 in a scene without a joint ({scene.region}); got {bend_deg}")
    if bends[0] or min(bends) < low or max(bends) > high:
        raise ValueError(f"bend_deg must lie in {low:g} to {high:g} and be 0 at the first visit; got {bends}")
    return bends


def _chosen(plans: Sequence[Plan], names: Sequence[str] | None) -> dict[int, Plan]:
    """Return the named plans by their numbers in the scene, from 1."""
    known = [plan.name for plan in plans]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"lesions must be of {', '.join(known)}; got {', '.join(unknown)}")
    return {number: plan for number, plan in enumerate(plans, start=1) if names is None or plan.name in names}


def _checked_warp(warp_mm: float) -> float:
    if not 0 <= warp_mm <= MAX_WARP_MM:
        raise ValueError(f"warp_mm must lie in 0 to {MAX_WARP_MM:g}, or the map could fold; got {warp_mm:g}")
    return warp_mm


def _of_visit(value: Any, number: int, count: int, name: str) -> Any:
    """Return the value of one visit, where one was given for all or one for each."""
    if isinstance(value, (int, float, str)):
        return value
    if len(value) != count:
        raise ValueError(f"{name} must be one value or one for each of {count} visits; got {len(value)}")
    return value[number]


def _axes(scene: Scene, spacing: tuple[float, float, float], motion: Motion, cut: float) -> Xyz:
    """Return the coordinates of columns, rows and slices; the field follows the child."""
    if not -1 < cut < 1:
        raise ValueError(f"cut must lie between -1 and 1; got {cut:g}")
    counts = [max(4, round(size / step)) for size, step in zip(scene.field_mm, spacing, strict=True)]
    starts = [-(n - 1) / 2 * step for n, step in zip(counts, spacing, strict=True)]
    lost = min(round(abs(cut) * counts[2]), counts[2] - 4)
    counts[2] -= lost
    starts[2] += lost * spacing[2] if cut < 0 else 0.0
    follow = np.round(motion.shift_mm * _FIELD_FOLLOWS + np.array(scene.field_shift_mm), 1)
    x, y, z = (
        start + move + step * np.arange(n) for start, move, step, n in zip(starts, follow, spacing, counts, strict=True)
    )
    return x, y, z


def _table(inside: np.ndarray, axes_mm: Xyz) -> tuple[np.ndarray, np.ndarray]:
    """Return where the table is, and what surrounds the body, both (y, x): it lies just under the lowest skin."""
    x, y, _ = axes_mm
    rows = np.flatnonzero(inside.any(axis=(0, 2)))
    top = y[rows[-1]] + TABLE_GAP_MM if rows.size else y[-1] + PAD_MM
    depth = (y - top)[:, None] + 0.0 * x
    around = np.full(depth.shape, AIR_HU, np.float32)
    bounds = np.cumsum([0.0, PAD_MM, SHELL_MM, FOAM_MM, SHELL_MM])
    wide = np.abs(x - x.mean())[None, :] <= TABLE_HALF_MM
    pixel = y[1] - y[0]
    for start, end, hu in zip(bounds[:-1], bounds[1:], (PAD_HU, SHELL_HU, FOAM_HU, SHELL_HU), strict=True):
        overlap = np.minimum(depth + pixel / 2, end) - np.maximum(depth - pixel / 2, start)
        around += np.clip(overlap / pixel, 0.0, 1.0) * wide * (hu - AIR_HU)
    return (depth >= 0) & (depth <= bounds[-1]) & wide, around


def _landmarks(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Return baseline points and the tissue each lies in."""
    surface = _surface_points(body)
    groups = {**surface, **body.places}
    names = np.repeat(list(groups), [len(points) for points in groups.values()])
    return np.vstack(list(groups.values())).astype(float), names


def _surface_points(body: Body) -> dict[str, np.ndarray]:
    """Find points on bone and skin: the zeros of their distances along a coarse lattice, by one Newton step."""
    lattice = np.stack(np.meshgrid(*(np.arange(-60.0, 61.0, 7.0),) * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    found = {}
    for name, distance in (("bone", body.skeleton.distance_mm), ("skin", body.soft.skin_mm)):
        points = lattice
        for _ in range(4):
            value, slope = _gradient(distance, points)
            points = points - (value / np.maximum((slope**2).sum(axis=1), 0.25))[:, None] * slope
        moved = np.linalg.norm(points - lattice, axis=1)
        good = (np.abs(_gradient(distance, points)[0]) < 1e-3) & (moved < 3.0)
        found[name] = points[good][:: max(1, int(good.sum()) // MAX_LANDMARKS)]
    return found


def _gradient(distance: Callable[[Xyz], np.ndarray], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    step = 0.05
    x, y, z = points.T.copy()
    value = distance((x, y, z))
    slope = [
        (distance((x + a, y + b, z + c)) - distance((x - a, y - b, z - c))) / (2 * step) for a, b, c in np.eye(3) * step
    ]
    return value, np.stack(slope, axis=1)


def _as_scan(hu: np.ndarray, setting: Setting) -> Scan:
    image = sitk.GetImageFromArray(hu)
    x, y, z = setting.axes_mm
    image.SetOrigin([float(axis[0]) for axis in (x, y, z)])
    image.SetSpacing([float(step) for step in setting.scanner.spacing_mm])
    scanner = setting.scanner
    acquisition = Acquisition(
        kvp=scanner.kvp,
        kernel=scanner.kernel,
        slice_thickness_mm=scanner.slice_thickness_mm,
        slice_increment_mm=scanner.spacing_mm[2],
        contrast=setting.contrast,
        manufacturer=MANUFACTURER,
    )
    return Scan(image, acquisition=acquisition)


def _generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator of its own for each purpose, so that one option does not shift another's draws."""
    return np.random.default_rng([seed, *"/".join(names).encode()])
