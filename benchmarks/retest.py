"""Test and retest: what is called a change that is none, and which true changes are called.

``python -m benchmarks.retest SECTION [PAIRS [FIRST]]``

Sections:

unchanged   children scanned twice, other pose, warp and noise, every lesion as it was: how many have any change called
changed     the same with lesions of 500 mm³ and more that grew or shrank by 20 and by 10 %: how many are called
protocols   the same without a change, the second scan by another kernel and other slices: compared as they are, and as
            the coarser of the two shows both

All measure scans without registering them (identities are those of the truth): 600 pairs take hours. The verdicts
are those of table ``changes``; the published limits stand beside them. ``--keep FILE`` keeps the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import nan
from multiprocessing import get_context

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from monitor import anatomy, burden, coarser, lesions
from monitor._record import changes
from monitor._record.changes import Visited
from monitor.growth import Size
from monitor.phantom import SCENES, PhantomVisit, series
from monitor.phantom.lesions import Plan
from monitor.phantom.scenes import SCENES_BY_NAME, Scene
from monitor.phantom.shapes import Shape, ball
from monitor.types import Findings

FIRST_SEED = 7000
"""Seeds below 1000 are for development; from here on they were never looked at."""

NOISE_HU = 18.0

SIDES_MM = (0.6, 0.95)
"""Range of the pixel's side, mm; slices are 1.5 mm."""

COURSE = (0.0, 0.5)
"""From where in a lesion's course the state is taken that both scans show."""

DENSITIES_HU = (400.0, 900.0)
"""Of lesions whose change is asked for."""

VOLUMES_MM3 = (500.0, 3000.0)

SIZES_MM3 = (0.0, 150.0, 500.0, 1500.0, np.inf)
"""Size classes, mm³."""

SLICES_MM, SIGMAS_MM, NOISES_HU = (1.0, 1.5, 2.0, 3.0, 5.0), (0.5, 0.9), (8.0, 18.0, 30.0)
"""What protocols are drawn from."""

FACTORS = (1.2, 1 / 1.2, 1.1, 1 / 1.1)
"""Volume after over before."""


def unchanged(count: int, first: int) -> pd.DataFrame:
    """Return a row for each lesion of ``count`` children scanned twice without a change."""
    return _of_all(of_unchanged, range(first, first + count))


def changed(count: int, first: int) -> pd.DataFrame:
    """Return a row for each lesion of ``count`` children, of which every other lesion has changed."""
    return _of_all(of_changed, range(first, first + count))


def of_unchanged(seed: int) -> list[dict[str, object]]:
    """Scan one child twice."""
    rng = np.random.default_rng([seed, 17])
    scene = _scene(seed)
    fraction = float(rng.uniform(*COURSE))
    return _rows(seed, replace(scene, plans=lambda: tuple(_frozen(plan, fraction) for plan in scene.plans())), rng)


def of_changed(seed: int) -> list[dict[str, object]]:
    """Scan one child twice; lesions lie where the scene's nodules are, and every other one has changed."""
    rng = np.random.default_rng([seed, 18])
    scene = _scene(seed)
    plans = []
    for plan in scene.plans():
        if plan.kind in ("nodule", "shell") and plan.name not in ("merge_b", "near_bone", "on_bone"):
            volume, hu = float(np.exp(rng.uniform(*np.log(VOLUMES_MM3)))), float(rng.uniform(*DENSITIES_HU))
            factor = float(rng.choice(FACTORS)) if len(plans) % 2 == 0 else 1.0
            plans.append(replace(plan, shape=_grown(volume, factor), hu=((0.0, hu),), merges=None))
    return _rows(seed, replace(scene, plans=lambda: tuple(plans)), rng)


def protocols(count: int, first: int) -> pd.DataFrame:
    """Return rows as ``unchanged`` does, scans by two protocols; ``shown`` is True where both are shown alike."""
    return _of_all(of_protocols, range(first, first + count))


def of_protocols(seed: int) -> list[dict[str, object]]:
    """Scan one child twice, by two drawn kernels and slices."""
    rng = np.random.default_rng([seed, 19])
    scene = _scene(seed)
    fraction = float(rng.uniform(*COURSE))
    still = replace(scene, plans=lambda: tuple(_frozen(plan, fraction) for plan in scene.plans()))
    side = float(rng.uniform(*SIDES_MM))
    known, seen = [], []
    for number in range(2):
        slices, sigma, noise = (
            float(rng.choice(SLICES_MM)),
            float(rng.uniform(*SIGMAS_MM)),
            float(rng.choice(NOISES_HU)),
        )
        voxel, how = (side, side, slices), {"noise_hu": noise, "blur_sigma_mm": sigma}
        visit = series(still, seed=seed, visits=2, spacing_mm=voxel, growth_per_visit=1.0, bend_deg=None, **how)[number]
        found = anatomy.find(visit.scan)
        pieces = lesions.find(visit.scan, found)
        amounts, _, blur = burden.measure_voxels(visit.scan, found, pieces)
        told = blur.sigma_mm if blur.measured else nan
        known.append((visit, found, pieces, amounts))
        seen.append({"slice_thickness_mm": slices, "slice_increment_mm": slices, "sigma_mm": told})
    about = {"seed": seed, "scene": scene.patient_id, "slices_1": seen[0]["slice_thickness_mm"]}
    about["slices_2"] = seen[1]["slice_thickness_mm"]
    wanted = coarser.common(seen[0], seen[1], kernels=True)
    rows = _paired({**about, "shown": False}, *(_on_truth(visit, pieces, own) for visit, _, pieces, own in known))
    if wanted is None:
        return rows
    sides = []
    for (visit, found, pieces, own), each in zip(known, seen, strict=True):
        if not coarser.shown_by(each, wanted):
            own = burden.measure(*coarser.show(visit.scan, found, pieces, wanted, sigma_mm=each["sigma_mm"]))
        sides.append(_on_truth(visit, pieces, own))
    return rows + _paired({**about, "shown": True}, *sides)


def _scene(seed: int) -> Scene:
    return SCENES_BY_NAME[SCENES[seed % len(SCENES)]]


def _frozen(plan: Plan, fraction: float) -> Plan:
    """Return a lesion that stays as it is at one point of its course."""
    values = [
        float(np.interp(fraction, [knot[0] for knot in knots], [knot[1] for knot in knots]))
        for knots in (plan.hu, plan.core_hu)
    ]
    shape = plan.present(fraction)
    return replace(plan, shape=lambda _: shape, hu=((0.0, values[0]),), core_hu=((0.0, values[1]),), merges=None)


def _grown(volume_mm3: float, factor: float) -> Callable[[float], Shape]:
    """Return a ball that has ``factor`` times its volume at the second visit."""

    def shape(fraction: float) -> Shape:
        return ball(float(np.cbrt(3 / (4 * np.pi) * volume_mm3 * (factor if fraction > 0.5 else 1.0))))

    return shape


def _rows(seed: int, scene: Scene, rng: np.random.Generator) -> list[dict[str, object]]:
    side = float(rng.uniform(*SIDES_MM))
    made = series(
        scene, seed=seed, visits=2, noise_hu=NOISE_HU, spacing_mm=(side, side, 1.5), growth_per_visit=1.0, bend_deg=None
    )
    return _paired({"seed": seed, "scene": scene.patient_id}, *(_measured(visit) for visit in made))


def _paired(about: dict[str, object], first: _Sides, second: _Sides) -> list[dict[str, object]]:
    rows = []
    for lesion in sorted(first.keys() & second.keys()):
        before, after = first[lesion], second[lesion]
        rows.append(
            {
                **about,
                "lesion": lesion,
                **{f"{name}_1": value for name, value in before.items()},
                **{f"{name}_2": value for name, value in after.items()},
            }
        )
    return rows


_Sides = dict[str, dict[str, object]]
"""By lesion, what was measured of it in one scan, and the truth."""


def _measured(visit: PhantomVisit) -> _Sides:
    seen = anatomy.find(visit.scan)
    pieces = lesions.find(visit.scan, seen)
    return _on_truth(visit, pieces, burden.measure(visit.scan, seen, pieces))


def _on_truth(visit: PhantomVisit, pieces: Findings, amounts: pd.DataFrame) -> _Sides:
    """Return what was measured of each true lesion on which one piece was found that lies on no other."""
    table = amounts.set_index("label")
    found = {}
    for truth in visit.lesions[visit.lesions["present"]].to_dict("records"):
        own = np.unique(pieces.labels[visit.labels == truth["lesion_number"]])
        own = own[own > 0]
        if len(own) != 1 or truth["in_field"] < 1:
            continue
        on = np.unique(visit.labels[pieces.labels == own[0]])
        if len(on[on > 0]) == 1:
            kept = {f"true_{name}": truth[name] for name in ("volume_mm3", "excess_hu_mm3", "mean_hu", "kind")}
            found[str(truth["lesion"])] = {**table.loc[own[0]].to_dict(), **kept}
    return found


def _of_all(work: Callable[[int], list[dict[str, object]]], seeds: range) -> pd.DataFrame:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rows = [
            one for part in track(pool.map(work, seeds), total=len(seeds), console=Console(stderr=True)) for one in part
        ]
    return pd.DataFrame(rows)


def called(found: pd.DataFrame, *, shown: str = "") -> pd.DataFrame:
    """Return table ``changes`` of each child, with the true factor of its lesions.

    Parameters
    ----------
    found : DataFrame
        Of ``unchanged`` or ``changed``: a row a lesion, columns of the first scan ending in _1, of the second in _2.
    shown : str
        By which protocol both scans are shown; empty where they were made alike.
    """
    tables = []
    acquired = {"modality": "CT", "kvp": 120.0, "kernel": "Br40", "slice_thickness_mm": 1.5, "contrast": "none"}
    acquired["contrast_found"] = "none"
    for seed, own in found.groupby("seed"):
        sides = [_lesions(own, number) for number in (1, 2)]
        visits = [Visited(f"V{number}", float(number), acquired, Size(), ()) for number in (0, 1)]
        alike = {("V0", "V1"): (shown, *sides)} if shown else {}
        rows = changes.rows(str(seed), visits, pd.concat(sides, ignore_index=True), alike)
        numbers = dict(enumerate(own["true_volume_mm3_2"] / own["true_volume_mm3_1"], start=1))
        sizes = dict(enumerate(own["true_volume_mm3_1"], start=1))
        kept = rows[rows["comparison"] == "previous"]
        ids = kept["lesion_id"]
        tables.append(kept.assign(factor=ids.map(numbers), true_mm3=ids.map(sizes)))
    return pd.concat(tables, ignore_index=True)


def _lesions(own: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return the rows of one scan as ``monitor.record`` has them."""
    ending = f"_{number}"
    names = [name for name in own if name.endswith(ending)]
    side = own[names].rename(columns=lambda name: name.removesuffix(ending)).reset_index(drop=True)
    factor = side["mass_mg"] / side["excess_hu_mm3"]
    return side.assign(
        visit_id=f"V{number - 1}",
        status="present",
        compartment="",
        lesion_id=np.arange(1, len(side) + 1),
        mass_sd_mg=factor * side["excess_sd_hu_mm3"],
        mass_repeat_sd_mg=factor * side["excess_repeat_sd_hu_mm3"],
    )


def print_unchanged(found: pd.DataFrame) -> None:
    """Print how many children have a change called in whom there is none."""
    rows = called(found)
    changed_ = rows["verdict"].isin(["increased", "decreased"])
    by_ours = ~rows["rule_id"].str.contains(";limit=")
    patients = found["seed"].nunique()
    print(f"{len(found)} lesions of {patients} children, nothing changed")
    print(f"any change called, ours: {rows[changed_ & by_ours]['patient_id'].nunique()} children")
    print("by lesion size, share of lesions called:")
    lesion = rows[by_ours & rows["lesion_id"].notna() & rows["quantity"].isin(["volume_mm3", "excess_hu_mm3"])]
    size = pd.cut(lesion["true_mm3"], SIZES_MM3, right=False)
    wrong = lesion["verdict"].isin(["increased", "decreased"])
    print(wrong.groupby([lesion["quantity"], size], observed=True).agg(["count", "mean"]).round(4).to_string())
    limits = rows[~by_ours].assign(limit=lambda one: one["rule_id"].str.extract(";limit=([a-z]*)")[0])
    wrong = limits["verdict"].isin(["increased", "decreased"])
    print("published limits, children called:")
    print(wrong.groupby([limits["quantity"], limits["limit"]]).agg(["count", "sum"]).to_string())


def print_changed(found: pd.DataFrame) -> None:
    """Print how many true changes are called, and in the right direction."""
    rows = called(found)
    lesion = rows[rows["lesion_id"].notna() & rows["quantity"].isin(["volume_mm3", "excess_hu_mm3"])]
    lesion = lesion[~lesion["rule_id"].str.contains(";limit=")]
    wanted = np.where(lesion["factor"] > 1, "increased", "decreased")
    wanted = np.where(np.isclose(lesion["factor"], 1), "no_detectable_change", wanted)
    about = [lesion["quantity"], lesion["factor"].round(3), pd.cut(lesion["true_mm3"], SIZES_MM3, right=False)]
    right = (lesion["verdict"] == wanted).groupby(about, observed=True).agg(["count", "mean"])
    print(right.round(3).to_string())


def print_protocols(found: pd.DataFrame) -> None:
    """Print how often the difference lies inside its own interval, and how many children have a change called."""
    for shown, own in found.groupby("shown"):
        rows = called(own, shown="one protocol")
        rows = rows[~rows["rule_id"].str.contains(";limit=")]
        wrong = rows[rows["verdict"].isin(["increased", "decreased"])]
        how, children = "shown alike" if shown else "as they are", own["seed"].nunique()
        print(f"{how}: {wrong['patient_id'].nunique()} of {children} children called")
        lesion = rows[rows["lesion_id"].notna() & rows["quantity"].isin(["volume_mm3", "excess_hu_mm3"])]
        inside = (lesion["lo"] <= 0) & (lesion["hi"] >= 0)
        size = pd.cut(lesion["true_mm3"], SIZES_MM3, right=False)
        print(inside.groupby([lesion["quantity"], size], observed=True).agg(["count", "mean"]).round(3).to_string())
        apart = (lesion["change"] / lesion["before"]).abs().groupby([lesion["quantity"], size], observed=True)
        print(pd.DataFrame({"50 %": apart.quantile(0.5), "95 %": apart.quantile(0.95)}).round(3).to_string())


SECTIONS = {
    "unchanged": (unchanged, print_unchanged),
    "changed": (changed, print_changed),
    "protocols": (protocols, print_protocols),
}


def main() -> None:
    """Run a section and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("pairs", type=int, nargs="?", default=600)
    parser.add_argument("first", type=int, nargs="?", default=FIRST_SEED)
    parser.add_argument("--keep", help="file for the rows, parquet")
    given = parser.parse_args()
    make, show = SECTIONS[given.section]
    found = make(given.pairs, given.first)
    if given.keep:
        found.to_parquet(given.keep)
    show(found)


if __name__ == "__main__":
    main()
