"""Whether registration knows when it failed: good pairs, and pairs that are broken on purpose.

Phantoms of two seeds have the same bones, skin and fat to a tenth of a millimetre, and differ in the texture of their
flesh, which is below the noise. They are reported as twins, and not asked to be told apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from benchmarks import pairs
from benchmarks.accuracy import solved
from benchmarks.pairs import Pair
from monitor import phantom
from monitor.types import Scan

Call = tuple[Callable[..., dict[str, object]], tuple[object, ...]]

SCENES = ("gaci", "myositis", "jdm", "limb")

OF_PHANTOM = (
    {},
    {"spacing_mm": (0.9, 0.9, 2.5), "noise_hu": (12.0, 28.0), "warp_mm": 4.0},
    {"blur_sigma_mm": (0.5, 0.9), "growth_per_visit": 1.12, "warp_mm": 3.0},
    {"noise_hu": 30.0, "slice_thickness_mm": (1.6, 5.0), "cut": {1: 0.3}},
    {"spacing_mm": (1.6, 1.6, 3.0), "cut": {0: -0.4}, "warp_mm": 4.0},
)
"""How the visits of the phantom differ: as they are, slices and noise, kernel and growth, thick and cut, coarse."""


def trust_calls() -> Iterator[Call]:
    """Yield 100 good pairs, then 60 of each way to break one."""
    yield from _good_calls()
    yield from _other_calls()
    yield from _part_calls()
    for seed in range(840, 880):
        yield mirrored_limb, (pairs.LIMBS[seed % 8], seed)
    for seed in range(880, 890):
        yield mirrored_limb, ("hip", seed)
    for seed in range(890, 900):
        yield mirrored_phantom, (seed,)


def _good_calls() -> Iterator[Call]:
    for seed in range(600, 640):
        yield good_limb, (pairs.LIMBS[seed % 8], seed)
    for seed in range(640, 650):
        yield good_limb, ("hip", seed)
    for seed in range(650, 660):
        yield good_part, (("hip", *pairs.LIMBS)[seed % 9], seed)
    for number, scene in itertools.product(range(5), SCENES):
        for second in (1, 2):
            yield good_phantom, (scene, 660 + number, number, second)


def _other_calls() -> Iterator[Call]:
    for number, (one, two) in enumerate(itertools.permutations(pairs.LIMBS, 2)):
        yield other_limb, (one, two, 700 + number)
    for number, (one, two) in enumerate(itertools.pairwise(pairs.LIMBS[:5])):
        yield other_limb, (one, two, 1700 + number)
    for number in range(8):
        yield twin, (SCENES[number % 4], 720 + number)


def _part_calls() -> Iterator[Call]:
    for number in range(8):
        yield other_limb, ("hip", pairs.LIMBS[number], 740 + number)
        yield other_limb, (pairs.LIMBS[number], "hip", 750 + number)
    for number, (one, two) in enumerate(itertools.permutations(SCENES, 2)):
        if {one, two} != {"jdm", "limb"}:
            yield other_scene, (one, two, 760 + number)
            yield other_scene, (one, two, 780 + number)
    for number in range(24):
        yield apart, (("hip", *pairs.LIMBS)[number % 9], 800 + number)


def _row(kind: str, made: Pair) -> dict[str, object]:
    return {"kind": kind, **solved(made)}


def good_limb(name: str, seed: int) -> dict[str, object]:
    """Pull a real scan through a map."""
    return _row("good", pairs.drawn(f"{name} {seed}", pairs.real(name), seed))


def good_part(name: str, seed: int) -> dict[str, object]:
    """See a part only at the second visit."""
    made = pairs.drawn(f"{name} {seed} part", pairs.real(name), seed)
    low = float(np.random.default_rng(seed).uniform(0.0, 0.5))
    part = pairs.crop(made.moving, (0.0, 0.0, low), (1.0, 1.0, low + 0.5))
    return _row("good", pairs.with_part(made, moving=part, name=made.name))


def good_phantom(scene: str, seed: int, how: int, second: int) -> dict[str, object]:
    """Two visits of the phantom, with its lesions, joints and other protocols."""
    said = {
        key: (value[0], *[value[1]] * second) if isinstance(value, tuple) and len(value) == 2 else value
        for key, value in OF_PHANTOM[how].items()
    }
    visits = phantom.series(scene, seed=seed, visits=second + 1, **said)
    return _row("good", pairs.of_phantom(f"{scene} {seed} how {how} V{second}", visits, 0, second))


def _broken(kind: str, name: str, one: Scan, two: Scan) -> dict[str, object]:
    nothing = pairs.Rigid(np.eye(4))
    points = np.asarray(one.image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in one.image.GetSize()]))[None]
    return _row(kind, Pair(name, one, two, nothing, points, points))


def other_limb(one: str, two: str, seed: int) -> dict[str, object]:
    """Register one patient's scan to another patient's."""
    kind = "wrong part" if "hip" in (one, two) else "other patient"
    moving = pairs.drawn("", pairs.real(two), seed).moving
    return _broken(kind, f"{one} to {two}", pairs.real(one), moving)


def twin(scene: str, seed: int) -> dict[str, object]:
    """Register a phantom to one of another seed: the same bones, skin and fat, other flesh."""
    one, two = (phantom.series(scene, seed=s, visits=2)[k].scan for k, s in enumerate((seed, seed + 5000)))
    return _broken("twin", f"{scene} {seed}", one, two)


def other_scene(one: str, two: str, seed: int) -> dict[str, object]:
    """Register a phantom to another child's other part."""
    scans = (phantom.series(scene, seed=seed, visits=2)[k].scan for k, scene in enumerate((one, two)))
    return _broken("wrong part", f"{one} to {two} {seed}", *scans)


def apart(name: str, seed: int) -> dict[str, object]:
    """Register the upper part of a scan to the lower one."""
    made = pairs.drawn("", pairs.real(name), seed)
    upper, lower = ((0.0, 0.0, 0.55), (1.0, 1.0, 1.0)), ((0.0, 0.0, 0.0), (1.0, 1.0, 0.45))
    one, two = (upper, lower) if seed % 2 else (lower, upper)
    return _broken("wrong part", f"{name} {seed} apart", pairs.crop(made.fixed, *one), pairs.crop(made.moving, *two))


def mirrored_limb(name: str, seed: int) -> dict[str, object]:
    """Register the mirror image of a real scan."""
    made = pairs.drawn("", pairs.real(name), seed)
    return _broken("mirrored", f"{name} {seed} mirrored", made.fixed, pairs.mirrored(made.moving))


def mirrored_phantom(seed: int) -> dict[str, object]:
    """Register the mirror image of a trunk, whose organs have a side."""
    visits = phantom.series("gaci", seed=seed, visits=2)
    return _broken("mirrored", f"gaci {seed} mirrored", visits[0].scan, pairs.mirrored(visits[1].scan))


def trust_summary(rows: pd.DataFrame) -> str:
    """Say what of each kind was refused, and what the residual tells of the true error."""
    lines = [
        f"{kind:14} {len(part):4} pairs, refused {(part['refused'] != '').sum():4}"
        for kind, part in rows.groupby("kind", sort=False)
    ]
    good = rows[(rows["kind"] == "good") & (rows["refused"] == "")]
    order = good["residual"].corr(good["mean"], method="spearman")
    held = float((good["mean"] <= good["upper"]).mean())
    lines.append(
        f"accepted good pairs: Spearman of residual and true error {order:.2f}; error below its limit {held:.1%}"
    )
    return "\n".join(lines)
