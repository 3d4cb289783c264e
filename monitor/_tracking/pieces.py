"""Pieces of mineral at their places in the baseline, and how near any two of them are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from scipy.spatial import cKDTree

MOST_POINTS = 400
"""Points of a piece that are asked for their neighbours: nearness is a share, and its error is below 3 % from here."""

FIELD_POINTS = 100
"""Points of a piece that are looked for in each field: the share's error is below 5 % from here."""

EDGE_MM = 3.0
"""A piece reaches the edge of a field where points this far beside it are not seen, mm: half of a thick slice."""


Near = Mapping[tuple[int, int], float]
"""Nearness of one piece to another, by their numbers; absent where it is 0."""


@dataclass(frozen=True)
class Occasion:
    """What tracking needs to know of one visit.

    Attributes
    ----------
    visit_id : str
    is_baseline : bool
    points_mm : dict of int to (N, 3) array
        For each piece, by its label, its voxel centres in baseline space, LPS mm.
    volume_mm3 : dict of int to float
        For each piece.
    sees : callable
        Tells which baseline points, (N, 3) mm, lie in this scan's field.
    lod_mm3 : float
        Volume that this scan would have shown.
    residual_mm : float
        Of this visit's registration; NaN counts as none.
    """

    visit_id: str
    is_baseline: bool
    points_mm: dict[int, np.ndarray]
    volume_mm3: dict[int, float]
    sees: Callable[[np.ndarray], np.ndarray]
    lod_mm3: float
    residual_mm: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A piece of one visit: its number in order of date, all points in a tree, and some that stand for it."""

    visit: int
    label: int
    volume_mm3: float
    centre_mm: np.ndarray
    some_mm: np.ndarray
    tree: cKDTree

    @property
    def extent_mm(self) -> float:
        """Return half of the longest side of its box."""
        return float(np.max(self.tree.maxes - self.tree.mins)) / 2


@dataclass(frozen=True)
class Sight:
    """Shares, 0 to 1: ``seen[t, n]`` of the place of piece n at visit t, ``rim[n]`` of what is around it at its own."""

    seen: np.ndarray
    rim: np.ndarray


def of(occasions: Sequence[Occasion]) -> list[Piece]:
    """Return all pieces by date and place: to the µm, so that the numbers of a label image decide nothing."""
    found = []
    for visit, one in enumerate(occasions):
        for label, points in one.points_mm.items():
            volume, centre = max(float(one.volume_mm3[label]), 1e-6), points.mean(axis=0)
            found.append(Piece(visit, label, volume, centre, thinned(points, MOST_POINTS), cKDTree(points)))
    return sorted(found, key=lambda piece: (piece.visit, *piece.centre_mm[::-1].round(3)))


def sight(occasions: Sequence[Occasion], pieces: Sequence[Piece]) -> Sight:
    """Return what each scan sees of each piece's place: one question a scan."""
    seen, rim = np.ones((len(occasions), len(pieces))), np.ones(len(pieces))
    if not pieces:
        return Sight(seen, rim)
    places = [thinned(piece.some_mm, FIELD_POINTS) for piece in pieces]
    around = [_around(place) for place in places]
    for visit, one in enumerate(occasions):
        seen[visit] = _shares(one.sees, places)
        own = [n for n, piece in enumerate(pieces) if piece.visit == visit]
        if own:
            rim[own] = _shares(one.sees, [around[n] for n in own])
    return Sight(seen, rim)


def near(pieces: Sequence[Piece], shift_mm: np.ndarray, reach: Callable[..., np.ndarray]) -> Near:
    """Return how near piece i is to piece j by (i, j): the mean over its points of 1 at no gap, 0 at the reach.

    Parameters
    ----------
    shift_mm : (N, 3) array
        How far each piece lies from its place, taken away before comparing.
    reach : callable
        Gives the reach, mm, of pieces, (A,), to pieces, (B,), as an (A, B) array.
    """
    visits = sorted({piece.visit for piece in pieces})
    members = {t: np.array([n for n, piece in enumerate(pieces) if piece.visit == t]) for t in visits}
    sides = ("mins", "maxes")
    boxes = [np.reshape([getattr(piece.tree, side) for piece in pieces], (-1, 3)) - shift_mm for side in sides]
    found = {}
    for s, t in combinations_with_replacement(visits, 2):
        rows, columns = members[s], members[t]
        reaches = reach(rows, columns)
        gaps = [boxes[0][a][:, None] - boxes[1][b][None] for a, b in ((rows, columns), (columns, rows))]
        gap = np.maximum(gaps[0], gaps[1].swapaxes(0, 1)).max(axis=2)
        for a, b in np.argwhere(gap <= reaches):
            i, j = int(rows[a]), int(columns[b])
            if s < t or i < j:
                step = shift_mm[j] - shift_mm[i]
                found[i, j] = _nearness(pieces[i].some_mm + step, pieces[j].tree, reaches[a, b])
                found[j, i] = _nearness(pieces[j].some_mm - step, pieces[i].tree, reaches[a, b])
    return {pair: value for pair, value in found.items() if value > 0}


def thinned(points_mm: np.ndarray, most: int) -> np.ndarray:
    """Keep at most so many points, evenly in their order."""
    if len(points_mm) <= most:
        return points_mm
    return points_mm[np.linspace(0, len(points_mm) - 1, most).astype(int)]


def _nearness(points_mm: np.ndarray, tree: cKDTree, reach_mm: float) -> float:
    gap = tree.query(points_mm, distance_upper_bound=reach_mm)[0]
    # By squares: of two ways to pair neighbours that all moved alike, the sum of squares prefers none but the true.
    return float(np.mean(np.clip(1 - np.minimum(gap / reach_mm, 1) ** 2, 0, 1)))


def _around(points_mm: np.ndarray) -> np.ndarray:
    steps = EDGE_MM * np.concatenate([np.eye(3), -np.eye(3)])
    return (points_mm[:, None] + steps[None]).reshape(-1, 3)


def _shares(sees: Callable[[np.ndarray], np.ndarray], places: Sequence[np.ndarray]) -> np.ndarray:
    starts = np.cumsum([0, *[len(place) for place in places[:-1]]])
    told = np.asarray(sees(np.concatenate(places)), float)
    return np.asarray(np.add.reduceat(told, starts) / [len(place) for place in places])
