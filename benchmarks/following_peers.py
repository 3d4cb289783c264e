"""Follow label maps by another program: ``following_peers.py METHOD LABELS.npz OUT.json``.

Runs by itself and imports nothing of ours: the peers may live elsewhere. What is written are links, merges and splits,
each as ``[visit, label, later visit, label]``.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

Edge = list[int]
Story = dict[str, list[Edge]]

CUTOFF_MM = 10.0
"""Largest step of a centre for LapTrack, mm: of 5, 7, 10 and 15 the one with most links right on other seeds."""


def overlap(labels: np.ndarray, _: float) -> Story:
    """LapTrack's OverLapTrack: costs as in its manual, gaps of any length, splits and merges."""
    from laptrack import OverLapTrack

    said = {
        "cutoff": 0.9,
        "gap_closing_cutoff": 0.9,
        "gap_closing_max_frame_count": len(labels),
        "splitting_cutoff": 0.9,
        "merging_cutoff": 0.9,
        "merging_metric_coefs": (1.0, 0.0, 0.0, -1.0, 0.0),
    }
    tracks, splits, merges = OverLapTrack(**said).predict_overlap_dataframe(list(labels))
    return _story(tracks.reset_index(), splits, merges)


def centres(labels: np.ndarray, spacing_mm: float) -> Story:
    """LapTrack on centres: squared distances, gaps of any length, splits and merges."""
    import pandas as pd
    from laptrack import LapTrack
    from scipy import ndimage

    rows = []
    for frame, one in enumerate(labels):
        names = np.unique(one[one > 0])
        places = np.reshape(ndimage.center_of_mass(one > 0, one, names), (-1, 3)) * spacing_mm
        rows += [(frame, int(name), *place) for name, place in zip(names, places, strict=True)]
    table = pd.DataFrame(rows, columns=["frame", "label", "z", "y", "x"])
    said = dict.fromkeys(("cutoff", "gap_closing_cutoff", "splitting_cutoff", "merging_cutoff"), CUTOFF_MM**2)
    made = LapTrack(**said, gap_closing_max_frame_count=len(labels))
    found = made.predict_dataframe(table, ["z", "y", "x"], only_coordinate_cols=False)
    return _story(found[0].reset_index(), *found[1:])


def pairs(labels: np.ndarray, spacing_mm: float) -> Story:
    """lesiontrack, made for two visits: any two of the series, so that a gap costs it nothing."""
    from lesiontrack.tracking import track_pair

    story: Story = {"links": [], "merges": [], "splits": []}
    for s, t in combinations(range(len(labels)), 2):
        if not labels[s].any() or not labels[t].any():
            continue
        table, maps = track_pair(labels[s] > 0, labels[t] > 0, 1.0, spacing_mm**3)
        names = [_names(maps[side], labels[u]) for side, u in (("baseline", s), ("followup", t))]
        for row in table.to_dict("records"):
            before, after = (
                {own[int(n)] for n in row[column].split(",") if n}
                for own, column in zip(names, ("baseline_ids", "followup_ids"), strict=True)
            )
            edges = [[s, a, t, b] for a in before for b in after]
            story["links"] += edges
            story["merges"] += edges if row["merged"] else []
            story["splits"] += edges if row["split"] else []
    return story


def _names(components: np.ndarray, labels: np.ndarray) -> dict[int, int]:
    """Return the label that most of a component has."""
    found = {}
    for n in range(1, components.max() + 1):
        inside = labels[(components == n) & (labels > 0)]
        found[n] = int(np.bincount(inside).argmax())
    return found


def _story(tracks: object, splits: object, merges: object) -> Story:
    """Return LapTrack's answer: steps within a track, and from the end of one to the beginning of another."""
    ordered = tracks.sort_values(["track_id", "frame"])
    nodes = {n: list(zip(own["frame"], own["label"], strict=True)) for n, own in ordered.groupby("track_id")}
    story: Story = {"links": [_edge(a, b) for own in nodes.values() for a, b in pairwise(own)]}
    for name, table in (("merges", merges), ("splits", splits)):
        story[name] = [_edge(nodes[a][-1], nodes[b][0]) for a, b in _between(table)]
        story["links"] += story[name]
    return story


def _between(table: object) -> Iterator[tuple[int, int]]:
    if len(table):
        yield from zip(table["parent_track_id"], table["child_track_id"], strict=True)


def _edge(one: tuple[int, int], two: tuple[int, int]) -> Edge:
    return [int(value) for value in (*one, *two)]


METHODS: dict[str, Callable[[np.ndarray, float], Story]] = {"overlap": overlap, "centres": centres, "pairs": pairs}

if __name__ == "__main__" and len(sys.argv) == 4:
    warnings.simplefilter("ignore")
    with np.load(sys.argv[2]) as kept:
        many = {name: kept[name] for name in kept.files if name != "spacing_mm"}
        spacing = float(kept["spacing_mm"])
    told = {name: METHODS[sys.argv[1]](labels, spacing) for name, labels in many.items()}
    Path(sys.argv[3]).write_text(json.dumps(told))
