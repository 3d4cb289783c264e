"""A belly and pelvis, and calcium in its arteries and at its hips."""

from __future__ import annotations

import numpy as np

from monitor.phantom.body import AIR_HU, BLOOD_HU, FAT_HU, Blob, Body, Texture, Trunk
from monitor.phantom.bones import Bone, Capsule, Plate, Rod, Skeleton, Socket, Vector
from monitor.phantom.lesions import Plan
from monitor.phantom.shapes import Arc, Shape, ball, cluster

_AORTA: tuple[Vector, Vector] = ((2.0, 4.0, 90.0), (1.0, 1.0, 2.0))
_AORTA_MM, _ILIAC_MM = 4.6, 3.0
_HIP: Vector = (40.0, 4.0, -52.0)


def _iliac(side: float) -> tuple[Vector, Vector]:
    return (1.0 + side * 2.0, 1.0, 0.0), (side * 30.0, -12.0, -62.0)


def trunk(rng: np.random.Generator) -> Body:
    """Return belly and pelvis of a child of about one year."""
    bones = (*_spine(), *(bone for side in (-1.0, 1.0) for bone in _hip_bones(side)))
    soft = Trunk(72.0, 52.0, _trunk_bellies(rng), blobs=(*_organs(rng), *_retroperitoneum()))
    t = np.linspace(0.05, 0.95, 9)[:, None]
    lines = [(_AORTA[0], _AORTA[1]), _iliac(-1.0), _iliac(1.0)]
    places = {
        "vessel": np.vstack([np.array(a) + t * np.subtract(b, a) for a, b in lines]),
        "muscle": np.array(
            [
                (side * x, y, float(z))
                for side in (-1, 1)
                for z in (-50, -20, 10, 40)
                for x, y in ((18, 38), (52, 36), (30, 40))
            ]
        ),
    }
    return Body(Skeleton(bones, cortex_mm=1.6, cortex_hu=900.0), soft, Texture.random(rng), None, places)


def _spine() -> list[Bone]:
    pitch, top = 19.0, 106.0
    levels = [top - pitch * i for i in range(7)]
    discs = tuple(top - level for level in levels[1:])
    waist = [(pitch * i + d, r) for i in range(7) for d, r in ((0.0, 11.2), (6.0, 9.8), (13.0, 9.8))]
    canal = Rod(
        (0.0, 33.0, top),
        (0.0, 33.0, top - 7 * pitch),
        (0.0, 133.0),
        (7.5, 7.5),
        gaps_mm=tuple(d + 3.0 for d in discs),
        gap_width_mm=6.0,
        wall_mm=3.0,
    )
    bodies = Rod(
        (0.0, 19.0, top),
        (0.0, 19.0, top - 7 * pitch),
        tuple(a for a, _ in waist),
        tuple(r for _, r in waist),
        flat=0.82,
        gaps_mm=discs,
        gap_width_mm=4.6,
    )
    processes: list[Bone] = []
    for level in levels:
        middle = level - pitch / 2
        processes.append(Capsule((0.0, 41.0, middle), (0.0, 49.0, middle - 4.0), 2.0, 2.4))
        processes += [Capsule((s * 9.0, 29.0, middle), (s * 21.0, 31.0, middle + 1.0), 2.2, 1.8) for s in (-1.0, 1.0)]
    sacrum = [
        Rod(
            (0.0, 22.0, -31.0),
            (0.0, 40.0, -72.0),
            (0.0, 2.0, 45.0),
            (15.0, 15.0, 5.0),
            flat=0.55,
            gaps_mm=(13.0, 25.0, 36.0),
            gap_width_mm=2.6,
        )
    ]
    return [bodies, canal, *processes, *sacrum]


def _hip_bones(side: float) -> list[Bone]:
    x, y, z = side * _HIP[0], _HIP[1], _HIP[2]
    return [
        Plate((side * 41.0, 17.0, -14.0), (side * 0.93, -0.30, 0.35), (22.0, 27.0), 6.0, bow_per_mm=side * 0.007),
        Socket((x, y, z), 12.2, 4.4, (side * 0.80, 0.05, -0.60)),
        Capsule((x - side * 14.0, y - 8.0, z - 8.0), (side * 6.0, -22.0, -66.0), 4.2, 4.6),
        Capsule((x - side * 10.0, y + 8.0, z - 12.0), (side * 26.0, 22.0, -80.0), 4.6, 5.6),
        Capsule((x, y, z), (x, y, z), 7.8, 7.8),
        Rod(
            (x + side * 9.0, y + 1.0, z - 10.0),
            (x + side * 20.0, y + 2.0, z - 110.0),
            (0.0, 3.0, 10.0, 30.0, 110.0),
            (6.5, 8.2, 8.6, 6.6, 6.4),
        ),
        Rod((x + side * 2.0, y, z - 4.0), (x + side * 12.0, y + 1.0, z - 15.0), (0.0, 15.0), (5.4, 6.0)),
        Capsule((side * 62.0, 10.0, 78.0), (side * 48.0, -34.0, 62.0), 2.4, 2.0),
        Capsule((side * 46.0, 38.0, 86.0), (side * 62.0, 10.0, 78.0), 2.6, 2.4),
    ]


def _trunk_bellies(rng: np.random.Generator) -> np.ndarray:
    half = np.array([(0.16, 0.72), (0.42, 0.70), (0.68, 0.52), (0.86, 0.12), (0.80, -0.35), (0.30, -0.85), (0.5, 0.25)])
    half = half + rng.normal(scale=0.02, size=half.shape)
    return np.vstack([half, half * (-1.0, 1.0)])


def _retroperitoneum() -> list[Blob]:
    psoas = [Blob(Capsule((s * 17.0, 20.0, 70.0), (s * 30.0, -6.0, -44.0), 6.0, 9.0), 58.0) for s in (-1.0, 1.0)]
    sheaths = [Blob(Capsule((2.0, 3.0, 110.0), (1.0, 1.0, 2.0), 9.5, 8.0), FAT_HU + 20)]
    sheaths += [Blob(Capsule(*_iliac(s), 6.0, 6.0), FAT_HU + 20) for s in (-1.0, 1.0)]
    vessels = [
        Blob(Capsule((2.0, 4.0, 110.0), _AORTA[1], _AORTA_MM, _AORTA_MM), BLOOD_HU, uptake=1.0),
        Blob(Capsule((-11.0, 6.0, 110.0), (-8.0, 5.0, -4.0), 5.2, 5.0), BLOOD_HU, uptake=1.0),
    ]
    vessels += [Blob(Capsule(*_iliac(s), _ILIAC_MM, _ILIAC_MM), BLOOD_HU, uptake=1.0) for s in (-1.0, 1.0)]
    canal = [Blob(Capsule((0.0, 33.0, 120.0), (0.0, 33.0, -30.0), 5.6, 5.2), 35.0)]
    return [*psoas, *sheaths, *vessels, *canal]


def _organs(rng: np.random.Generator) -> list[Blob]:
    organs = [
        Blob(Capsule((-36.0, -8.0, 95.0), (-30.0, -14.0, 70.0), 30.0, 22.0), 62.0, uptake=0.2),
        Blob(Capsule((-36.0, 22.0, 66.0), (-38.0, 20.0, 38.0), 12.0, 11.0), 36.0, uptake=0.4),
        Blob(Capsule((36.0, 22.0, 72.0), (39.0, 20.0, 44.0), 12.0, 11.0), 36.0, uptake=0.4),
        Blob(Capsule((0.0, -20.0, -44.0), (0.0, -16.0, -50.0), 15.0, 16.0), 8.0),
        Blob(Capsule((0.0, 18.0, -48.0), (0.0, 24.0, -80.0), 8.0, 7.0), 40.0),
    ]
    for _ in range(40):
        x, y, z = rng.uniform((-44, -34, -24), (44, -10, 52))
        turn = rng.normal(size=3) * (10, 4, 8)
        radius = rng.uniform(6.0, 9.5)
        loop = (float(x), float(y), float(z)), (float(x + turn[0]), float(y + turn[1]), float(z + turn[2]))
        organs.append(Blob(Capsule(*loop, radius, radius), float(rng.uniform(25, 50))))
        if rng.random() < 0.3:
            gas = (loop[0][0], loop[0][1] - 2.0, loop[0][2])
            organs.append(Blob(Capsule(gas, gas, 0.55 * radius, 0.55 * radius), AIR_HU + 30))
    return organs


def gaci_plans() -> tuple[Plan, ...]:
    """Return arterial calcium that fades and calcium at the hips that grows (clinical.md 0.4: Otero 2013)."""
    down = tuple(np.subtract(_AORTA[0], _AORTA[1]))
    fading = ((0.0, 620.0), (0.34, 640.0), (1.0, 420.0))
    return (
        Plan(
            "aorta_upper",
            "arc",
            _between(*_AORTA, 0.45),
            lambda f: _wall(_AORTA_MM, 230 - 110 * f, 26.0 - 8.0 * f),
            hu=fading,
            out=(0.6, -0.8, 0.0),
            along=down,
        ),
        Plan(
            "aorta_lower",
            "arc",
            _between(*_AORTA, 0.86),
            lambda f: _wall(_AORTA_MM, 180 - 90 * f, 16.0 - 5.0 * f),
            hu=fading,
            out=(-0.7, -0.6, 0.0),
            along=down,
        ),
        Plan(
            "iliac_right",
            "arc",
            _between(*_iliac(-1.0), 0.5),
            lambda f: _wall(_ILIAC_MM, 240 - 140 * f, 22.0 - 10.0 * f) if f < 0.9 else None,
            hu=fading,
            out=(-0.5, -0.8, 0.0),
            along=tuple(np.subtract(*_iliac(-1.0))),
        ),
        Plan(
            "iliac_left",
            "arc",
            _between(*_iliac(1.0), 0.38),
            lambda f: _wall(_ILIAC_MM, 210 - 100 * f, 18.0 - 6.0 * f),
            hu=fading,
            out=(0.5, -0.8, 0.0),
            along=tuple(np.subtract(*_iliac(1.0))),
        ),
        Plan(
            "hip_left",
            "cluster",
            (62.0, -14.0, -50.0),
            lambda f: cluster(1.9 + 0.7 * f),
            hu=((0, 480), (1, 620)),
            out=(0.3, -0.3, 1.0),
            along=(1.0, 0.3, 0.0),
        ),
        Plan(
            "hip_right",
            "nodule",
            (-58.0, -12.0, -46.0),
            lambda f: ball(2.0 + 1.2 * f) if f > 0.2 else None,
            hu=((0, 450),),
        ),
    )


def _between(start: Vector, end: Vector, t: float) -> Vector:
    x, y, z = np.array(start) + t * np.subtract(end, start)
    return float(x), float(y), float(z)


def _wall(inner_mm: float, angle_deg: float, length_mm: float) -> Shape:
    return Arc(inner_mm, 0.9, np.deg2rad(angle_deg), length_mm)
