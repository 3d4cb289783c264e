"""Whether what tells of maturation moves as the truth does: ``python -m benchmarks.maturation [SEEDS [FIRST]]``.

Shells that fill inwards and become denser, noise 18 HU, three visits, run from DICOM to tables. The truth is what the
same definitions say of the drawn shells on fine voxels without blur and noise; formation is the part of the new rim
that lies farther from the old one than the band, in closed form (of the open shell without what closes it). An index
moves rightly where its sign is the truth's or, where the truth moves less than ``LEAST``, where it moves less than
``STILL`` times that. A seed is right where all shells are, over the whole course; steps are single visits and shells.
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.identity import _written
from monitor import phantom, pipeline
from monitor._describe import shape, zones
from monitor._describe.cut import Cut
from monitor.phantom.lesions import MINERAL_HU, Plan
from monitor.phantom.scenes import SCENES_BY_NAME
from monitor.phantom.shapes import Shell

FIRST_SEED = 5000
"""Seeds below 1000 are for development; from here on they were never looked at."""

SCENE = "maturing"

FINE_MM = 0.4
"""Voxel of the drawn shells, mm."""

TISSUE_HU = 55.0
"""Muscle around them, HU."""

LEAST = {
    "mineral_fraction": 0.02,
    "zonal_index": 0.02,
    "rim_core_hu": 20.0,
    "rim_completeness_pct": 2.0,
    "rim_thickness_mm": 0.2,
    "gained_mm3": 20.0,
    "lost_mm3": 20.0,
    "formation_mm3": 20.0,
    "resorption_mm3": 20.0,
}
"""Below this the truth does not move."""

STILL = 2.5
"""And what is measured may move by this many times as much."""

INDICES = ("mineral_fraction", "zonal_index", "rim_core_hu", "rim_completeness_pct", "rim_thickness_mm")
"""Of one visit; the others of ``LEAST`` are of two."""

AMOUNTS = ("gained_mm3", "lost_mm3", "formation_mm3", "resorption_mm3")


def truth(plan: Plan, fraction: float) -> dict[str, float]:
    """Return the indices of a drawn shell, by the definitions that measure them."""
    drawn = plan.present(fraction)
    if not isinstance(drawn, Shell):
        raise TypeError(f"{plan.name} must be a shell")
    half = np.array(drawn.half_mm) + 2 * FINE_MM
    x, y, z = np.meshgrid(*(np.arange(-side, side + FINE_MM / 2, FINE_MM) for side in half), indexing="ij")
    rim, core = drawn.zones((x, y, z))
    level = [float(np.interp(fraction, *np.transpose(knots))) for knots in (plan.hu, plan.core_hu)]
    hu = np.where(rim, level[0], np.where(core, level[1], TISSUE_HU)).astype(np.float32)
    solid = rim | (core & (level[1] >= MINERAL_HU))
    matrix = np.eye(4)
    matrix[:3, :3] *= FINE_MM
    none = np.zeros(hu.shape, bool)
    cut = Cut(hu, solid, solid, none, ~none, none, np.full(3, FINE_MM), matrix)
    found = zones.find(cut)
    return {
        "mineral_fraction": drawn.volume_mm3 / drawn.envelope_mm3,
        "zonal_index": found.zonal_index,
        "rim_core_hu": found.rim_core_hu,
        "rim_completeness_pct": found.rim_completeness_pct,
        "rim_thickness_mm": shape.rim_thickness_mm(cut, found),
        "volume_mm3": drawn.volume_mm3,
    }


def of_seed(seed: int) -> pd.DataFrame:
    """Return a row a shell, index and pair of visits: what moved, in truth and as measured."""
    visits = phantom.series(SCENE, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "study"
        lines = [_written(visit, folder) for visit in visits]
        pd.DataFrame(lines).to_csv(folder / "visits.csv", index=False)
        found = pipeline.follow(folder).tables
    names = [visit.visit_id for visit in visits]
    rows = []
    for plan in SCENES_BY_NAME[SCENE].plans():
        if plan.kind != "shell":
            continue
        true = {name: truth(plan, n / (len(names) - 1)) for n, name in enumerate(names)}
        own = [_nearest(found["lesions"], visit, plan.name) for visit in visits]
        for one, two in [*pairwise(range(len(names))), (0, len(names) - 1)]:
            about = {"seed": seed, "shell": plan.name, "step": f"{names[one]} {names[two]}", "whole": two - one > 1}
            for index in INDICES:
                ends = [(true[names[n]][index], float(own[n][index])) for n in (one, two)]
                moves = {"true": ends[1][0] - ends[0][0], "measured": ends[1][1] - ends[0][1]}
                rows.append({**about, "index": index, **moves})
            row = _change(found["changes"], own[two]["lesion_id"], names[one], names[two])
            residuals = found["visits"].set_index("visit_id").loc[[names[one], names[two]], "residual_mm"]
            came = {
                "gained_mm3": true[names[two]]["volume_mm3"] - true[names[one]]["volume_mm3"],
                "formation_mm3": beyond_mm3(plan, true, (names[one], names[two]), float(np.hypot(*residuals))),
            }
            rows += [{**about, "index": n, "true": came.get(n, 0.0), "measured": float(row[n])} for n in AMOUNTS]
    return pd.DataFrame(rows)


def beyond_mm3(plan: Plan, true: dict[str, dict[str, float]], ends: tuple[str, str], band_mm: float) -> float:
    """Return the volume between the later core and the earlier one less the band, mm³."""
    fractions = [list(true).index(end) / (len(true) - 1) for end in ends]
    one, two = (plan.present(fraction) for fraction in fractions)
    if not (isinstance(one, Shell) and isinstance(two, Shell)):
        raise TypeError(f"{plan.name} must be a shell")
    inner, later = np.array(one.half_mm) - one.rim_mm - band_mm, np.array(two.half_mm) - two.rim_mm
    return float(max(4 / 3 * np.pi * (np.prod(inner) - np.prod(later)), 0.0))


def _nearest(lesions: pd.DataFrame, visit: phantom.PhantomVisit, name: str) -> pd.Series:
    """Return the row of the lesion that lies nearest to a drawn one."""
    drawn = visit.lesions.set_index("lesion").loc[name]
    here = lesions[(lesions["visit_id"] == visit.visit_id) & (lesions["volume_mm3"] > 0)]
    away = np.square(here[["x_mm", "y_mm", "z_mm"]] - drawn[["x_mm", "y_mm", "z_mm"]].astype(float)).sum(axis=1)
    return here.loc[away.idxmin()]


def _change(changes: pd.DataFrame, lesion: int, one: str, two: str) -> pd.Series:
    rows = changes[(changes["quantity"] == "volume_mm3") & (changes["lesion_id"] == lesion)]
    rows = rows[(rows["from_visit"] == one) & (rows["to_visit"] == two)]
    return rows.iloc[0] if len(rows) else pd.Series(dict.fromkeys(AMOUNTS, np.nan))


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """Add whether each moved as the truth did; where the truth has no value nothing is judged."""
    least = table["index"].map(LEAST)
    moved = np.sign(table["true"]) == np.sign(table["measured"])
    right = moved.where(table["true"].abs() >= least, table["measured"].abs() <= STILL * least)
    return table.assign(right=right)[table["true"].notna()]


def main() -> None:
    """Print in how many seeds each index moves as the truth does."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    first = int(sys.argv[2]) if len(sys.argv) > 2 else FIRST_SEED
    started = time.perf_counter()
    parts = []
    for seed in range(first, first + count):
        parts.append(of_seed(seed))
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    table = judged(pd.concat(parts, ignore_index=True))
    whole = table[table["whole"]]
    by_seed = whole.groupby(["index", "seed"])["right"].all().groupby("index").agg(["sum", "count"])
    steps = table[~table["whole"]].groupby("index")["right"].agg(["sum", "count"])
    shown = pd.concat([by_seed, steps], axis=1).reindex(list(LEAST))
    print(shown.set_axis(["right seeds", "seeds", "right steps", "steps"], axis=1).to_string())
    print("\nmedian and spread of what moved, by shell and pair of visits")
    by = whole.groupby(["index", "shell"], sort=False)
    print(by[["true", "measured"]].agg(["median", "min", "max"]).round(2).to_string())
    wrong = table[~table["right"]]
    print("\nwhat moved wrongly")
    print(wrong[["seed", "shell", "step", "index", "true", "measured"]].round(2).to_string(index=False))


if __name__ == "__main__":
    main()
