"""Following lesions against the truth: ``python -m benchmarks.following [--python PATH] [--seeds N] [--scenes N]``.

Dense fields of nodules and the phantom's scenes, 3 to 6 visits each, in one space up to a smooth error of the map of
SD 0, 0.5, 1 and 2 mm along an axis. All get the same label maps; ours is told in addition, as in use, what each scan
sees and the registration's residual to within a third. Beside it: LapTrack by overlap and by centres (gaps, splits,
merges), and lesiontrack's matcher for two visits on all pairs of visits. PATH is the Python that has ``laptrack`` and
``lesiontrack``.

A link is a pair of consecutive appearances of one true lesion. Wrong joins are links of a program that are neither a
link, a merge nor a split of the truth; for lesiontrack, which knows nothing of what comes between, those of
neighbouring visits. Where parts are of one size nobody is asked which goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import series
from benchmarks.series import Edge, Series
from monitor import tracking

SDS_MM = (0.0, 0.5, 1.0, 2.0)
"""SDs of the error of the maps along an axis, mm."""

FIRST_SEED = 5000
"""Seeds below 1000 are for development."""

PEERS = {"overlap": "laptrack", "centres": "laptrack", "pairs": "lesiontrack"}
"""The methods of ``following_peers.py`` and the module that each needs."""

Story = dict[str, set[Edge]]


def ours(one: Series) -> Story:
    """Return links, merges and splits as ``tracking.follow`` tells them."""
    found = tracking.follow(one.occasions())
    found["visit"] = found["visit_id"].str[1:].astype(int)
    story: Story = {"links": set(), "merges": set(), "splits": set()}
    there = found[found["label"].notna()]
    pieces = {
        int(n): [(int(v), int(k)) for v, k in zip(own["visit"], own["label"], strict=True)]
        for n, own in there.groupby("lesion_id")
    }
    for own in pieces.values():
        story["links"] |= {(*a, *b) for a, b in pairwise(own)}
    for row in found[found["status"].isin(["merged", "split"])].to_dict("records"):
        visit, lesion = int(row["visit"]), int(row["lesion_id"])
        if row["status"] == "merged":
            whole = next(piece for piece in pieces[int(row["into_lesion_id"])] if piece[0] == visit)
            story["merges"].add((*pieces[lesion][-1], *whole))
        else:
            before = [piece for piece in pieces[int(row["from_lesion_id"])] if piece[0] < visit]
            story["splits"].add((*before[-1], visit, int(row["label"])))
    return story


def scored(one: Series, story: Story, *, neighbours: bool) -> dict[str, int]:
    """Return how much of the truth was told, and what was told that is not so."""
    truth = one.truth
    right = truth.links | truth.merges | truth.splits | truth.either
    said = story["links"] | story["merges"] | story["splits"]
    said = {edge for edge in said if not neighbours or edge[2] == edge[0] + 1}
    counts = {"links": len(truth.links), "linked": len(truth.links & story["links"]), "wrong": len(said - right)}
    for name in ("merges", "splits"):
        counts |= {name: len(getattr(truth, name)), f"{name}_found": len(getattr(truth, name) & story[name])}
    return counts


def rows(made: dict[tuple[str, float, int], Series], python: str) -> Iterator[dict[str, object]]:
    """Yield a row a method and series."""
    started = time.process_time()
    told = {"ours": {key: ours(one) for key, one in made.items()}}
    print(f"ours: {(time.process_time() - started) / max(len(made), 1):.2f} CPU s a series", flush=True)
    for peer, module in PEERS.items():
        answer = _peer(peer, module, made, python)
        if answer is None:
            print(f"not installed: {module}", flush=True)
        else:
            told[peer] = answer
    for method, stories in told.items():
        for key, story in stories.items():
            counts = scored(made[key], story, neighbours=method == "pairs")
            yield {"kind": key[0], "sd_mm": key[1], "seed": key[2], "method": method, **counts}


def summary(table: pd.DataFrame) -> str:
    """Return shares of links right, wrong joins per hundred links, and events found, by kind, SD and method."""
    parts = []
    for keys in (["kind", "sd_mm", "method"], ["method"]):
        sums = table.groupby(keys, sort=False).sum(numeric_only=True).drop(columns=["seed"])
        sums = sums.drop(columns="sd_mm") if "sd_mm" in sums else sums
        sums["links_right_%"] = 100 * sums["linked"] / sums["links"]
        sums["wrong_per_100"] = 100 * sums["wrong"] / sums["links"]
        for name in ("merges", "splits"):
            sums[f"{name}_%"] = 100 * sums[f"{name}_found"] / sums[name]
        parts.append(sums.round(2).to_string())
    return "\n\n".join(parts)


def _peer(
    peer: str, module: str, made: dict[tuple[str, float, int], Series], python: str
) -> dict[tuple[str, float, int], Story] | None:
    """Return what a peer says of all series; None where it is not there."""
    if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode:
        return None
    found = {}
    script = str(Path(__file__).with_name("following_peers.py"))
    with tempfile.TemporaryDirectory() as scratch:
        for spacing in sorted({one.spacing_mm for one in made.values()}):
            keys = [key for key, one in made.items() if one.spacing_mm == spacing]
            maps = {str(n): np.stack(made[key].labels).astype(np.int32) for n, key in enumerate(keys)}
            given, out = str(Path(scratch) / "labels.npz"), Path(scratch) / "story.json"
            np.savez_compressed(given, spacing_mm=spacing, **maps)
            subprocess.run([python, script, peer, given, str(out)], check=True)
            told = json.loads(out.read_text())
            found |= {
                key: {name: {tuple(edge) for edge in edges} for name, edges in told[str(n)].items()}
                for n, key in enumerate(keys)
            }
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--seeds", type=int, default=24, help="dense series of each SD")
    parser.add_argument("--scenes", type=int, default=8, help="series of the phantom of each SD, scenes in turn")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="first seed")
    parser.add_argument("--out", type=Path, help="file for the rows as CSV")
    said = parser.parse_args()
    made: dict[tuple[str, float, int], Series] = {}
    for seed in range(said.first, said.first + said.seeds):
        made |= {("dense", sd, seed): series.dense(seed, sd) for sd in SDS_MM}
    for seed in range(said.first, said.first + said.scenes):
        made |= {("scene", sd, seed): one for sd, one in zip(SDS_MM, series.scenes(seed, SDS_MM), strict=True)}
    table = pd.DataFrame(rows(made, said.python))
    if said.out:
        table.to_csv(said.out, index=False)
    print(summary(table))


if __name__ == "__main__":
    main()
