"""Who is who, from DICOM to tables: ``python -m benchmarks.identity [--seeds N] [--first SEED] [--scene NAME]``.

The phantom's scenes, 3 to 6 visits of drawn noise, kernel and kVp, run through the whole pipeline. Half of the series
have a visit whose field is cut by a third; half of the limbs come in reverse order, so that what merges splits.

A link is a true lesion at two of its visits in a row, cut ones left out, at both of which something of it was found:
right where an identity is found on it at both. An identity that lies on two true lesions which never merge is a wrong
join. Families are what merges; their totals are compared with those of single lesions of like size.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from rich.console import Console
from rich.progress import Progress

from benchmarks.series import scanner
from monitor import phantom, pipeline, store
from monitor.phantom import PhantomVisit

FIRST_SEED = 5000
"""Seeds from here on were never looked at in development."""

LEAST_OVERLAP = 0.2
"""Least share of the smaller one's voxels in which a found lesion and a true one meet, to be one and the same."""

FAMILY_MM3 = (300.0, 6000.0)
"""Volumes of the single lesions that families are compared with, mm³."""


def drawn(seed: int, scene: str) -> list[PhantomVisit]:
    """Draw the visits of one child: scanner, number of visits, a cut field, the order."""
    rng = np.random.default_rng([seed, 79])
    count = int(rng.integers(3, 7))
    cut = {int(rng.integers(1, count)): float(rng.choice([-1, 1])) / 3} if rng.random() < 0.5 else {}
    visits = phantom.series(scene, seed=seed, visits=count, cut=cut, **scanner(rng))
    if scene == "limb" and rng.random() < 0.5:
        ends = zip(visits, reversed(visits), strict=True)
        visits = [replace(last, visit_id=one.visit_id, date=one.date) for one, last in ends]
    return [replace(visit, patient_id=f"{scene}-{seed}") for visit in visits]


def rows_of(visits: list[PhantomVisit], found: store.Results) -> Iterator[dict[str, object]]:
    """Yield a row for each link, wrong join, event and family of one child."""
    patient = visits[0].patient_id
    measured = set(found.tables["visits"]["visit_id"])
    about = {"patient": patient}
    if refused := [visit.visit_id for visit in visits if visit.visit_id not in measured]:
        yield {**about, "kind": "refused", "what": " ".join(refused), "right": False}
    visits = [visit for visit in visits if visit.visit_id in measured]
    met = [_met(found.folder, visit) for visit in visits]
    yield from ({**about, **row} for row in _links(visits, met))
    yield from ({**about, **row} for row in _joins(visits, met))
    yield from ({**about, **row} for row in _events(visits, met, found.tables["lineage"]))
    yield from ({**about, **row} for row in _totals(visits, met, found.tables["lesions"]))


def _met(folder: Path, visit: PhantomVisit) -> dict[int, set[int]]:
    """Return which identities lie on each true lesion of a visit."""
    image = sitk.ReadImage(str(folder / "images" / visit.patient_id / visit.visit_id / "lesions.nii.gz"))
    labels = sitk.GetArrayFromImage(image)
    both = np.stack([visit.labels[labels > 0], labels[labels > 0]])
    sizes, true_sizes = np.bincount(labels.ravel()), np.bincount(visit.labels.ravel())
    found: dict[int, set[int]] = {}
    pairs, counts = np.unique(both[:, both[0] > 0], axis=1, return_counts=True)
    for (true, lesion), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        if count >= LEAST_OVERLAP * min(sizes[lesion], true_sizes[true]):
            found.setdefault(true, set()).add(lesion)
    return found


def _seen(visit: PhantomVisit) -> dict[int, str]:
    """Return the names of the true lesions that are there and at least nine tenths imaged, by number."""
    rows = visit.lesions[visit.lesions["present"] & (visit.lesions["in_field"] >= 0.9)]
    return dict(zip(rows["lesion_number"].astype(int), rows["lesion"], strict=True))


def _links(visits: list[PhantomVisit], met: list[dict[int, set[int]]]) -> Iterator[dict[str, object]]:
    for number in visits[0].lesions["lesion_number"].astype(int):
        there = [place for place, visit in enumerate(visits) if number in _seen(visit) and number in met[place]]
        for one, two in pairwise(there):
            name = f"{_seen(visits[one])[number]} {visits[one].visit_id} {visits[two].visit_id}"
            right = bool(met[one][number] & met[two][number])
            yield {"kind": "link", "what": name, "right": right}


def _family(visits: list[PhantomVisit]) -> dict[int, int]:
    """Return for each true lesion the one that it becomes part of at some visit, or itself."""
    into = {}
    for visit in visits:
        numbers = dict(zip(visit.lesions["lesion"], visit.lesions["lesion_number"].astype(int), strict=True))
        for row in visit.lesions.to_dict("records"):
            if row["merged_into"]:
                into[int(row["lesion_number"])] = numbers[row["merged_into"]]
    return {int(n): into.get(int(n), int(n)) for n in visits[0].lesions["lesion_number"]}


def _joins(visits: list[PhantomVisit], met: list[dict[int, set[int]]]) -> Iterator[dict[str, object]]:
    family = _family(visits)
    on: dict[int, set[int]] = {}
    for found in met:
        for true, lesions in found.items():
            for lesion in lesions:
                on.setdefault(lesion, set()).add(family[true])
    for lesion, trues in sorted(on.items()):
        if len(trues) > 1:
            yield {"kind": "wrong join", "what": f"lesion {lesion} on {sorted(trues)}", "right": False}


def _events(
    visits: list[PhantomVisit], met: list[dict[int, set[int]]], lineage: pd.DataFrame
) -> Iterator[dict[str, object]]:
    """Judge merges and splits of the truth, and what lineage calls new and resolved."""
    true_of = {lesion: true for found in reversed(met) for true, lesions in found.items() for lesion in lesions}
    for kind, one, other in (("merged", 0, 1), ("split", 1, 0)):
        for both in pairwise(range(len(visits))):
            yield from _told(
                kind, visits[both[1]].visit_id, _parts(visits, met, both[one], both[other]), lineage, true_of
            )
    place = {visit.visit_id: number for number, visit in enumerate(visits)}
    for row in lineage[lineage["kind"].isin(["new", "resolved"])].to_dict("records"):
        true = true_of.get(int(row["lesion_id"]))
        if true is None:
            yield {
                "kind": row["kind"],
                "what": f"{row['visit_id']}: lesion {row['lesion_id']}, no true one",
                "right": False,
            }
        else:
            yield {"kind": row["kind"], **_judged(visits, place[row["visit_id"]], true, row["kind"])}


def _parts(visits: list[PhantomVisit], met: list[dict[int, set[int]]], apart: int, whole: int) -> list[set[int]]:
    """Return what is apart at one visit and one thing at another, each as its true lesions, where all were found."""
    family, there, then = _family(visits), _seen(visits[apart]), _seen(visits[whole])
    pairs = [{part, into} for part, into in family.items() if part != into]
    return [
        both for both in pairs if both <= set(there) & set(met[apart]) and len(both & set(then) & set(met[whole])) == 1
    ]


def _told(
    kind: str, visit_id: str, parts: list[set[int]], lineage: pd.DataFrame, true_of: dict[int, int]
) -> Iterator[dict[str, object]]:
    """Say of each merge or split whether lineage has it; whichever part is larger goes on."""
    said = lineage[(lineage["kind"] == kind) & (lineage["visit_id"] == visit_id)]
    for both in parts:
        yield {"kind": kind, "what": visit_id, "right": any(true_of.get(int(n)) in both for n in said["lesion_id"])}


def _judged(visits: list[PhantomVisit], here: int, true: int, kind: str) -> dict[str, object]:
    """Judge that a true lesion is called new or resolved at a visit."""
    rows = [visit.lesions.set_index("lesion_number").loc[true] for visit in visits]
    asked = rows[:here] if kind == "new" else [rows[here]]
    there = any(row["present"] for row in asked)
    cut = " cut" if any(row["present"] and row["in_field"] < 0.9 for row in asked) else ""
    return {"what": f"{visits[here].visit_id}: {rows[here]['lesion']}{cut}", "right": not there}


def _totals(
    visits: list[PhantomVisit], met: list[dict[int, set[int]]], lesions: pd.DataFrame
) -> Iterator[dict[str, object]]:
    """Compare the excess of what lies on single lesions and on families with the true one."""
    family = _family(visits)
    groups: dict[int, set[int]] = {}
    for true, whole in family.items():
        groups.setdefault(whole, set()).add(true)
    for visit, found in zip(visits, met, strict=True):
        there, names = visit.lesions.set_index("lesion_number"), _seen(visit)
        amounts = lesions[lesions["visit_id"] == visit.visit_id].set_index("lesion_id")[["excess_hu_mm3", "volume_mm3"]]
        for whole, trues in groups.items():
            here = trues & set(names)
            on = set().union(*(found.get(true, set()) for true in here))
            row = there.loc[sorted(here)]
            single = len(trues) == 1
            volume = row["volume_mm3"].sum()
            if not here or not here <= set(found) or (single and not FAMILY_MM3[0] <= volume <= FAMILY_MM3[1]):
                continue
            said = amounts.loc[sorted(on)].sum()
            yield {
                "kind": "single" if single else "family",
                "what": f"{names.get(whole, '')} {visit.visit_id}",
                "excess_error": said["excess_hu_mm3"] / row["excess_hu_mm3"].sum() - 1,
                "volume_error": said["volume_mm3"] / volume - 1,
            }


def main() -> None:
    """Print what is right of each kind, and what is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24, help="children; the four scenes take turns")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="the first seed")
    parser.add_argument("--scene", choices=phantom.SCENES, help="this scene alone")
    parser.add_argument("--workers", type=int, default=2)
    said = parser.parse_args()
    rows: list[dict[str, object]] = []
    with Progress(console=Console(stderr=True)) as bar:
        for seed in bar.track(range(said.first, said.first + said.seeds)):
            visits = drawn(seed, said.scene or phantom.SCENES[seed % len(phantom.SCENES)])
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "study"
                lines = [_written(visit, folder) for visit in visits]
                pd.DataFrame(lines).to_csv(folder / "visits.csv", index=False)
                rows += rows_of(visits, pipeline.follow(folder, Path(scratch) / "results", workers=said.workers))
    _report(pd.DataFrame(rows))


def _written(visit: PhantomVisit, folder: Path) -> dict[str, object]:
    path = phantom.write_dicom(visit, folder / "dicom" / visit.visit_id)
    place = {"date": visit.date, "path": str(path.relative_to(folder))}
    return {"patient_id": visit.patient_id, "visit_id": visit.visit_id, **place}


def _report(table: pd.DataFrame) -> None:
    judged = table[table["right"].notna()]
    print(judged.groupby("kind")["right"].agg(["count", "sum"]).to_string())
    print(judged.loc[~judged["right"].astype(bool), ["patient", "kind", "what"]].to_string(index=False))
    totals = table[table["kind"].isin(["single", "family"])]
    totals = totals.assign(lesion=totals["what"].str.split().str[0])
    for name in ("excess_error", "volume_error"):
        for by in ("kind", ["kind", "lesion"]):
            shown = totals.groupby(by)[name].agg(["count", "median", lambda one: one.abs().quantile(0.9)])
            shown.columns = ["count", "median", "90 % of |error|"]
            print(name, shown.to_string(float_format=lambda value: f"{value:.3f}"), sep="\n")


if __name__ == "__main__":
    main()
