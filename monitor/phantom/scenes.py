"""The made-up children: who they are, when they are scanned, how they grow.

Everything is in LPS mm at the baseline, the origin near the middle of the field: +x is the child's left, +y the
back, +z the head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from monitor.phantom.body import Body
from monitor.phantom.legs import jdm_plans, legs, limb_plans, maturing_plans, myositis_plans, thigh
from monitor.phantom.lesions import Plan
from monitor.phantom.trunk import gaci_plans, trunk


@dataclass(frozen=True)
class Scene:
    """A child, the lesions, and how the visits go.

    Attributes
    ----------
    patient_id, condition, region, sex, birth_date, first_date : str
        Who it is, and when the first scan was made.
    days : tuple of int
        Days from the first scan to each visit.
    growth_per_visit : float
        Length at a visit over length at the visit before.
    bend_deg : float
        How far the joint bends at the visit that bends most; 0 where there is no joint.
    field_mm, spacing_mm : (x, y, z)
        The imaged field and its usual voxel.
    field_shift_mm : (x, y, z)
        Middle of the field; the table needs room below.
    height_cm : float
        Height at the first visit.
    body, plans : callables
        What they are made of: from a random generator, and nothing.
    """

    patient_id: str
    condition: str
    region: str
    sex: str
    birth_date: str
    first_date: str
    days: tuple[int, ...]
    growth_per_visit: float
    bend_deg: float
    field_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    field_shift_mm: tuple[float, float, float]
    height_cm: float
    body: Callable[[np.random.Generator], Body]
    plans: Callable[[], tuple[Plan, ...]]


SCENES_BY_NAME: dict[str, Scene] = {
    "gaci": Scene(
        "P001",
        "GACI",
        "abdomen-pelvis",
        "F",
        "2019-09-14",
        "2020-09-21",
        (0, 63, 224, 420),
        1.03,
        0.0,
        (190.0, 150.0, 144.0),
        (1.1, 1.1, 1.6),
        (0.0, 8.0, 0.0),
        74.0,
        trunk,
        gaci_plans,
    ),
    "myositis": Scene(
        "P002",
        "myositis ossificans",
        "thigh",
        "M",
        "2010-05-30",
        "2021-06-28",
        (0, 28, 77, 168),
        1.002,
        0.0,
        (136.0, 150.0, 135.0),
        (1.0, 1.0, 1.5),
        (0.0, 8.0, 0.0),
        143.0,
        thigh,
        myositis_plans,
    ),
    "jdm": Scene(
        "P003",
        "juvenile dermatomyositis",
        "legs",
        "F",
        "2014-11-08",
        "2020-11-17",
        (0, 182, 399, 735),
        1.015,
        8.0,
        (194.0, 124.0, 144.0),
        (1.1, 1.1, 1.6),
        (0.0, 6.0, 0.0),
        115.0,
        legs,
        jdm_plans,
    ),
    "limb": Scene(
        "P004",
        "test",
        "legs",
        "M",
        "2013-03-03",
        "2019-04-09",
        (0, 120, 300, 520),
        1.02,
        10.0,
        (194.0, 124.0, 144.0),
        (1.1, 1.1, 1.6),
        (0.0, 6.0, 0.0),
        118.0,
        legs,
        limb_plans,
    ),
    "maturing": Scene(
        "P005",
        "myositis ossificans",
        "thigh",
        "F",
        "2011-02-17",
        "2021-03-01",
        (0, 60, 150),
        1.004,
        0.0,
        (136.0, 150.0, 96.0),
        (1.0, 1.0, 1.5),
        (0.0, 8.0, 0.0),
        141.0,
        thigh,
        maturing_plans,
    ),
}
"""The children, by the name that ``series`` takes."""
