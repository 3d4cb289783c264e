"""How often compartment, side and pattern are as the phantom drew them: a confusion table over seeds.

``python -m benchmarks.describing`` describes the true lesions of every scene with the true body and skeleton;
``--found`` describes what the pipeline's own steps find instead, lesions that cover most of a true one.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np
import pandas as pd

from monitor import anatomy, lesions, phantom
from monitor.describe import describe
from monitor.phantom import PhantomVisit
from monitor.types import Anatomy, Findings

FIRST_SEED = 5000
"""Seeds below 1000 were for development."""

THRESHOLD_HU = 130.0
"""Threshold of the true labels, HU at 120 kV."""

DEEP, UNDER_SKIN, JOINT, WALL = "muscle_or_fascia", "subcutis", "periarticular", "vessel_wall"

PLACES = {
    "gaci": {
        **dict.fromkeys(("aorta_upper", "aorta_lower", "iliac_right", "iliac_left"), WALL),
        **dict.fromkeys(("hip_left", "hip_right"), DEEP),
    },
    "myositis": {"shell": DEEP, "fleck": DEEP},
    "jdm": {
        **dict.fromkeys(("thigh_sheet", "calf_sheet"), UNDER_SKIN),
        "knee_nodule": JOINT,
        **dict.fromkeys(("calf_cluster", "thigh_nodule", "fascia_nodule"), DEEP),
    },
    "limb": {
        "sheet": UNDER_SKIN,
        "arc": WALL,
        **dict.fromkeys(
            (
                "nodule",
                "grow",
                "shrink",
                "cluster",
                "shell",
                "near_bone",
                "on_bone",
                "merge_a",
                "merge_b",
                "vanish",
                "appear",
            ),
            DEEP,
        ),
    },
}
"""Where each lesion of a scene was drawn."""

BESIDE_A_JOINT = {"cluster", "merge_a", "merge_b", "vanish", "calf_cluster", "hip_left", "hip_right"}
"""Lesions in muscle, a few mm from a bone near its end: periarticular is no mistake there."""

PATTERNS = {"nodule": "nodular", "cluster": "lobulated", "sheet": "lacy", "shell": "shell", "arc": "sheet"}
"""What each kind of the phantom looks like: its sheets have holes, its arcs are bent sheets."""


def rows(scene: str, seed: int, *, found: bool) -> list[dict[str, object]]:
    """Return a row a lesion and visit: what was drawn and what was said."""
    made = []
    for visit in phantom.series(scene, seed=seed):
        given, said = (_found if found else _true)(visit)
        for truth in visit.lesions[visit.lesions["present"]].to_dict("records"):
            owner = given[visit.labels == truth["lesion_number"]]
            numbers = np.bincount(owner[owner > 0], minlength=1)
            if not numbers[1:].any():
                continue
            line = said[said["label"] == int(numbers[1:].argmax()) + 1].iloc[0]
            name = str(truth["lesion"])
            place = PLACES[scene][name]
            if name in BESIDE_A_JOINT and line["compartment"] == JOINT:
                place = JOINT
            merged = name == "merge_a" and truth["volume_mm3"] > 1000
            made.append(
                {
                    "scene": scene,
                    "lesion": name,
                    "visit": visit.visit_id,
                    "side_true": _side(scene, visit, truth),
                    "compartment_true": place,
                    "pattern_true": "lobulated" if merged else PATTERNS[str(truth["kind"])],
                    **{f"{what}_said": line[what] for what in ("side", "compartment", "pattern")},
                    "kind_said": line["kind"],
                }
            )
    return made


def _true(visit: PhantomVisit) -> tuple[np.ndarray, pd.DataFrame]:
    none = np.zeros(visit.body.shape, bool)
    known = Anatomy(visit.body, visit.skeleton, none, 18.0, 55.0, np.ones((1, 1, 1)))
    labels = visit.labels.astype(np.int32)
    return labels, describe(visit.scan, known, Findings(labels, THRESHOLD_HU, 8.0))


def _found(visit: PhantomVisit) -> tuple[np.ndarray, pd.DataFrame]:
    known = anatomy.find(visit.scan)
    pieces = lesions.find(visit.scan, known)
    return pieces.labels, describe(visit.scan, known, pieces)


def _side(scene: str, visit: PhantomVisit, truth: dict) -> str:
    """Return the side at the baseline, where the mirror plane is x = 0; a single thigh has none."""
    if scene == "myositis":
        return ""
    x = float(visit.to_baseline(np.array([[truth["x_mm"], truth["y_mm"], truth["z_mm"]]]))[0, 0])
    return "midline" if scene == "gaci" and str(truth["lesion"]).startswith("aorta") else "left" if x > 0 else "right"


def main() -> None:
    """Print the confusion tables."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--seeds", type=int, default=5, help="how many")
    asked.add_argument("--first", type=int, default=FIRST_SEED, help="the first seed")
    asked.add_argument("--found", action="store_true", help="describe what the steps find, not the true lesions")
    asked.add_argument("--misses", action="store_true", help="list what was said wrongly, by lesion")
    args = asked.parse_args()
    started = time.perf_counter()
    seeds = range(args.first, args.first + args.seeds)
    table = pd.DataFrame([row for s in phantom.SCENES for seed in seeds for row in rows(s, seed, found=args.found)])
    for what in ("compartment", "side", "pattern"):
        true, said = table[f"{what}_true"], table[f"{what}_said"].replace("", "(empty)")
        right = (true.replace("", "(empty)") == said).mean()
        print(f"\n{what}: {right:.1%} of {len(table)} as drawn, seeds {seeds.start} to {seeds.stop - 1}")
        print(pd.crosstab(true.replace("", "(empty)"), said).to_string())
        if args.misses:
            wrong = table[true.replace("", "(empty)") != said]
            counted = Counter(zip(wrong["scene"], wrong["lesion"], wrong[f"{what}_said"], strict=True))
            for (scene, lesion, word), count in counted.most_common():
                print(f"  {scene} {lesion}: said {word or '(empty)'} {count} times")
    print("\nkind, by scene")
    print(pd.crosstab([table["scene"], table["pattern_true"]], table["kind_said"]).to_string())
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
