"""Two legs with their knees, one thigh, and the lesions in them."""

from __future__ import annotations

import numpy as np

from monitor.phantom.body import BLOOD_HU, FAT_HU, Blob, Body, Limbs, Texture
from monitor.phantom.bones import Bone, Capsule, Rod, Skeleton, Vector
from monitor.phantom.lesions import Plan
from monitor.phantom.motion import Hinge
from monitor.phantom.shapes import Arc, Shape, Shell, ball, cluster, lace, pair

LEG_X_MM, KNEE_Y_MM, KNEE_Z_MM, CONDYLE_MM = 43.0, -4.0, -4.0, 14.0
_ARTERY_X_MM, _ARTERY_Y_MM, _ARTERY_MM = LEG_X_MM - 7.0, 17.0, 2.4

_BELLIES = np.array(
    [
        (0.05, -0.62),
        (0.55, -0.42),
        (0.62, 0.12),
        (0.28, 0.58),
        (-0.22, 0.62),
        (-0.62, 0.30),
        (-0.62, -0.22),
        (-0.35, -0.60),
        (0.12, -0.22),
        (-0.15, 0.22),
    ]
)
"""Middles of the muscles of a limb, in parts of its radius."""


def legs(rng: np.random.Generator) -> Body:
    """Return two legs of a child of about six years, from mid-thigh to mid-calf, with both knees."""
    bones = tuple(bone for side in (-1.0, 1.0) for bone in _leg_bones(side))
    soft = Limbs(
        LEG_X_MM,
        along_mm=(-160.0, -90.0, -55.0, -25.0, -4.0, 20.0, 60.0, 150.0),
        radius_mm=(23.0, 28.0, 33.0, 32.5, 33.0, 34.5, 40.0, 41.5),
        bellies=_BELLIES + rng.normal(scale=0.03, size=_BELLIES.shape),
        blobs=tuple(blob for side in (-1.0, 1.0) for blob in _leg_blobs(side)),
    )
    places = {
        "vessel": np.array([(side * _ARTERY_X_MM, _ARTERY_Y_MM, z) for side in (-1, 1) for z in range(-60, 61, 15)]),
        "muscle": np.array(
            [
                (side * (LEG_X_MM + u), v, float(z))
                for side in (-1, 1)
                for z in (-50, -35, 30, 45, 60)
                for u, v in ((14, -8), (8, 18), (-12, -12), (16, 8))
            ]
        ),
    }
    hinge = Hinge(KNEE_Y_MM, KNEE_Z_MM, CONDYLE_MM)
    return Body(Skeleton(bones), soft, Texture.random(rng), hinge, places)


def _leg_bones(side: float) -> list[Bone]:
    x, y, z = side * LEG_X_MM, KNEE_Y_MM, KNEE_Z_MM
    plateau = z - CONDYLE_MM - 4.0
    return [
        Rod(
            (x, y, z + 4.0),
            (x, y, z + 170.0),
            (0.0, 9.0, 18.0, 34.0, 170.0),
            (14.0, 13.5, 11.5, 8.5, 8.8),
            gaps_mm=(10.5,),
            gap_width_mm=1.8,
        ),
        Rod(
            (x - 19.0, y, z),
            (x + 19.0, y, z),
            (0.0, 1.0, 4.0, 19.0, 34.0, 37.0, 38.0),
            (10.0, 12.0, 13.4, 12.2, 13.4, 12.0, 10.0),
            spongy_within_mm=60.0,
        ),
        Rod(
            (x, y, plateau),
            (x, y, plateau - 150.0),
            (0.0, 1.0, 3.0, 12.0, 34.0, 150.0),
            (15.5, 17.0, 17.8, 14.5, 8.8, 8.0),
            flat=0.82,
            gaps_mm=(9.5,),
            gap_width_mm=1.8,
        ),
        Rod(
            (x + side * 17.0, y + 13.0, plateau - 10.0),
            (x + side * 13.0, y + 12.0, plateau - 150.0),
            (0.0, 1.5, 8.0, 20.0, 150.0),
            (3.0, 5.0, 5.0, 3.6, 3.8),
            spongy_within_mm=10.0,
        ),
    ]


def _leg_blobs(side: float) -> list[Blob]:
    x = side * LEG_X_MM
    return [
        # Fat behind the knee and around the vessels, then the vessels; the joint's cartilage and capsule.
        Blob(Capsule((x, 19.0, 2.0), (x, 18.0, -18.0), 9.0, 7.0), FAT_HU + 15),
        *_vessel((side * _ARTERY_X_MM, _ARTERY_Y_MM, -170.0), (side * _ARTERY_X_MM, _ARTERY_Y_MM, 170.0), _ARTERY_MM),
        *_vessel((x - side * 2.0, 20.0, -170.0), (x - side * 2.0, 20.0, 170.0), 2.8),
        Blob(Capsule((x - 13.0, KNEE_Y_MM, KNEE_Z_MM), (x + 13.0, KNEE_Y_MM, KNEE_Z_MM), 18.5, 18.5), 72.0),
        Blob(Capsule((x, -25.0, 18.0), (x, -24.0, -30.0), 3.5, 3.0), 80.0),
    ]


def _vessel(start_mm: Vector, end_mm: Vector, radius_mm: float) -> list[Blob]:
    return [
        Blob(Capsule(start_mm, end_mm, radius_mm + 2.5, radius_mm + 2.5), FAT_HU + 25),
        Blob(Capsule(start_mm, end_mm, radius_mm, radius_mm), BLOOD_HU, uptake=1.0),
    ]


def limb_plans() -> tuple[Plan, ...]:
    """Return every kind of lesion, for tests."""
    left, right = LEG_X_MM, -LEG_X_MM
    femur, popliteal = 8.6, _ARTERY_MM
    return (
        Plan("nodule", "nodule", (left + 17, -10.0, 45.0), lambda _: ball(5.0), hu=((0, 520),)),
        Plan("grow", "nodule", (right - 16, -12.0, 50.0), lambda f: ball(4.0 + 2.6 * f), hu=((0, 480), (1, 620))),
        Plan("shrink", "nodule", (left + 9, 19.0, 52.0), lambda f: ball(6.0 - 2.4 * f), hu=((0, 560),)),
        Plan(
            "cluster",
            "cluster",
            (right - 5, 20.0, -48.0),
            lambda f: cluster(2.6 + 0.3 * f),
            hu=((0, 640),),
            out=(1, 0.2, 0),
        ),
        Plan(
            "sheet",
            "sheet",
            (left + 34.8, -3.0, 40.0),
            lambda f: _sheet(29.4, 30.0 + 6.0 * f),
            hu=((0, 420),),
            along=_THIGH_SLOPE,
        ),
        Plan(
            "shell",
            "shell",
            (right + 6, -20.5, 38.0),
            lambda f: Shell((6.5, 8.0, 12.0), 1.8 + 1.2 * f),
            hu=((0, 350), (1, 800)),
            core_hu=((0, 60), (0.6, 80), (1, 260)),
        ),
        Plan(
            "arc",
            "arc",
            (-_ARTERY_X_MM, _ARTERY_Y_MM, 30.0),
            lambda f: Arc(popliteal, 1.0, np.deg2rad(200 - 60 * f), 18.0),
            hu=((0, 700),),
        ),
        Plan(
            "near_bone",
            "nodule",
            (left, KNEE_Y_MM - femur, 44.0),
            lambda f: ball(3.5 + f, at_mm=(5.9 + f, 0, 0)),
            hu=((0, 600),),
            out=(0, -1, 0),
        ),
        Plan(
            "on_bone",
            "nodule",
            (right - femur, KNEE_Y_MM, 58.0),
            lambda _: ball(4.0, at_mm=(4.1, 0, 0)),
            hu=((0, 650),),
            out=(-1, 0, 0),
        ),
        Plan("merge_a", "nodule", (left + 6, 20.0, -58.0), _merging, hu=((0, 500),)),
        Plan(
            "merge_b",
            "nodule",
            (left + 6, 20.0, -42.0),
            lambda f: ball(3.6 + 1.5 * f),
            hu=((0, 500),),
            merges=("merge_a", _MERGE_FROM),
        ),
        Plan(
            "vanish",
            "nodule",
            (right - 8, -23.0, -44.0),
            lambda f: ball(3.4 - 1.5 * f) if f < 0.6 else None,
            hu=((0, 450),),
        ),
        Plan(
            "appear",
            "nodule",
            (left + 22, 8.0, 18.0),
            lambda f: ball(2.5 + 2.0 * f) if f > 0.3 else None,
            hu=((0, 450),),
        ),
    )


_MERGE_FROM = 0.6

_THIGH_SLOPE = (0.135, 0.0, 1.0)
"""The side of the left thigh: it widens towards the hip."""


def _merging(fraction: float) -> Shape:
    return ball(4.5 + fraction) if fraction < _MERGE_FROM else pair(6.6 + 1.6 * fraction, 6.2 + 1.2 * fraction, 14.0)


def _sheet(inner_mm: float, length_mm: float) -> Shape:
    return lace(inner_mm=inner_mm, thickness_mm=1.6, angle_rad=np.deg2rad(52), length_mm=length_mm)


def jdm_plans() -> tuple[Plan, ...]:
    """Return the calcinosis of a juvenile dermatomyositis that yields to treatment."""
    left, right = LEG_X_MM, -LEG_X_MM
    return (
        Plan(
            "thigh_sheet",
            "sheet",
            (left + 34.0, -2.0, 34.0),
            lambda f: _sheet(28.8, 44.0 - 10.0 * f),
            hu=((0, 420), (0.34, 520), (1, 400)),
            along=_THIGH_SLOPE,
        ),
        Plan(
            "calf_sheet",
            "sheet",
            (right - 30.0, 3.0, -46.0),
            lambda f: _sheet(25.4, 30.0 - 8.0 * f),
            hu=((0, 460), (1, 380)),
            out=(-1, 0, 0),
        ),
        Plan("knee_nodule", "nodule", (left + 27.3, -4.0, -8.0), lambda f: ball(3.8 - 1.2 * f), hu=((0, 520),)),
        Plan(
            "calf_cluster",
            "cluster",
            (left + 4, 22.0, -46.0),
            lambda f: cluster(2.8 - 0.7 * f),
            hu=((0, 640), (1, 520)),
        ),
        Plan(
            "thigh_nodule",
            "nodule",
            (right - 18, 12.0, 40.0),
            lambda f: ball(3.0 - 1.8 * f) if f < 0.9 else None,
            hu=((0, 430),),
        ),
        Plan(
            "fascia_nodule",
            "nodule",
            (right - 6, -27.0, 46.0),
            lambda f: ball(3.4 - 0.8 * f) if f > 0.2 else None,
            hu=((0, 450),),
        ),
    )


def thigh(rng: np.random.Generator) -> Body:
    """Return the right thigh of a child of about eleven years, mid-shaft."""
    femur = Rod(
        (-4.0, -3.0, -200.0), (3.0, 1.0, 200.0), (0.0, 160.0, 210.0, 240.0, 400.0), (14.5, 11.6, 11.2, 11.4, 14.0)
    )
    soft = Limbs(
        0.0,
        along_mm=(-160.0, -60.0, 0.0, 60.0, 160.0),
        radius_mm=(44.0, 50.0, 53.0, 56.0, 60.0),
        bellies=_BELLIES + rng.normal(scale=0.03, size=_BELLIES.shape),
        fat_mm=8.0,
        twist=0.005,
        blobs=(
            *_vessel((24.0, -4.0, 170.0), (18.0, 14.0, -170.0), 3.4),
            *_vessel((28.0, 2.0, 170.0), (22.0, 20.0, -170.0), 4.0),
            Blob(Capsule((-6.0, 26.0, 170.0), (-6.0, 24.0, -170.0), 5.0, 5.0), FAT_HU + 15),
            Blob(Capsule((-6.0, 26.0, 170.0), (-6.0, 24.0, -170.0), 3.0, 3.0), 40.0),
        ),
    )
    places = {
        "vessel": np.array([(21.0 + 3.0 * t, 5.0 - 9.0 * t, 170.0 * t) for t in np.linspace(-0.35, 0.35, 9)]),
        "muscle": np.array(
            [
                (25.0 * np.cos(a), 25.0 * np.sin(a) + 4.0, float(z))
                for z in (-45, -15, 15, 45)
                for a in np.deg2rad([30, 100, 170, 250, 320])
            ]
        ),
    }
    return Body(Skeleton((femur,), cortex_mm=3.4), soft, Texture.random(rng), None, places)


def myositis_plans() -> tuple[Plan, ...]:
    """Return a myositis ossificans that matures from its rim inwards, and a fleck beside it."""
    return (
        Plan(
            "shell",
            "shell",
            (-18.6, -17.0, 4.0),
            lambda f: Shell((9.5 - f, 12.5 - f, 25.0 - 3.0 * f), 1.6 + 2.2 * f),
            hu=((0, 240), (0.34, 480), (0.67, 760), (1, 900)),
            core_hu=((0, 48), (0.34, 70), (0.67, 180), (1, 320)),
            out=(-0.74, -0.67, 0),
            along=(0.05, 0.08, 1),
        ),
        Plan(
            "fleck",
            "nodule",
            (-20.0, -22.0, 40.0),
            lambda f: ball(2.6 - 0.8 * f) if f < 0.9 else None,
            hu=((0, 260), (0.6, 340)),
        ),
    )


def maturing_plans() -> tuple[Plan, ...]:
    """Return shells that fill inwards and become denser, one of them open at first, and a nodule that stays."""
    return (
        Plan(
            "closed",
            "shell",
            (-24.0, -20.0, -22.0),
            lambda f: Shell((8.0, 10.0, 14.0), 1.8 + 1.4 * f),
            hu=((0, 380), (1, 760)),
            core_hu=((0, 50), (1, 60)),
            out=(-0.77, -0.64, 0),
        ),
        Plan(
            "opened",
            "shell",
            (-24.0, -20.0, 20.0),
            lambda f: Shell((9.0, 10.0, 12.0), 2.0 + 1.6 * f, 0.25 - 0.25 * f),
            hu=((0, 420), (1, 700)),
            core_hu=((0, 50), (1, 60)),
            out=(-0.64, 0.77, 0),
        ),
        Plan(
            "small",
            "shell",
            (14.0, -26.0, 2.0),
            lambda f: Shell((6.5, 6.5, 9.0), 1.8 + 0.8 * f),
            hu=((0, 420), (1, 700)),
            core_hu=((0, 50), (1, 60)),
        ),
        Plan("stays", "nodule", (-30.0, 10.0, -4.0), lambda _: ball(4.5), hu=((0, 600),)),
    )
