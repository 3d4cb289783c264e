"""One identity per lesion over all visits: who goes on, appears, ends, merges, splits or was not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

REACH_MM = 2.0
"""Two pieces touch where their points come this near in baseline space, mm, beside the registration's residual."""

RESIDUAL_FACTOR = 2.0
"""Residuals that are added to the reach: 95 % of points lie within about twice the mean residual."""

LEAST_OVERLAP = 0.2
"""Least share of the smaller of two pieces that must touch the other for the two to be one lesion."""

LEAST_IN_FIELD = 0.9
"""Least share of a lesion's place that a scan must see for it to be judged there."""

MOST_POINTS = 1500
"""Points of a piece that are asked for their neighbours: overlap is a share, and its error is below 2 % from here."""

ABSENT_WEIGHT = 1e-6
"""What the claim of a resolved lesion to a piece counts beside that of one that was there: only what is left over."""


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
class _Cloud:
    """The points of a piece, mm: all of them in a tree, and some that stand for it."""

    some_mm: np.ndarray
    tree: cKDTree

    @classmethod
    def of(cls, points_mm: np.ndarray) -> _Cloud:
        return cls(_thinned(points_mm), cKDTree(points_mm))

    def closeness(self, other: _Cloud, reach_mm: float) -> tuple[float, float]:
        """Return the share of points that touch the other piece, and the mean of 1 at no gap, 0 at ``reach_mm``."""
        gap = other.tree.query(self.some_mm, distance_upper_bound=reach_mm)[0]
        return float(np.mean(np.isfinite(gap))), float(np.mean(np.clip(1 - gap / reach_mm, 0, 1)))


@dataclass
class _Lesion:
    """A lesion as it was last seen; ``resolved`` tells whether the last scan showed that it is gone."""

    lesion_id: int
    cloud: _Cloud
    volume_mm3: float
    merged: bool = False
    resolved: bool = False

    def seen(self, cloud: _Cloud, volume_mm3: float) -> None:
        self.cloud, self.volume_mm3, self.resolved = cloud, volume_mm3, False


@dataclass(frozen=True)
class _Links:
    """Overlap of each lesion (row) with each piece (column): both 0 where they are not linked.

    ``share`` is that of the smaller that touches the other; ``near`` falls with the gap, so that of two
    neighbours within reach the one in the same place is preferred.
    """

    share: np.ndarray
    near: np.ndarray


COLUMNS = ["visit_id", "lesion_id", "label", "status", "from_lesion_id", "into_lesion_id", "score"]
"""Columns of ``follow``'s answer; ``label`` is the piece in the visit's label image, missing where there is none."""


def follow(occasions: Sequence[Occasion]) -> pd.DataFrame:
    """Give every piece of every visit an identity.

    Parameters
    ----------
    occasions : sequence of Occasion
        In order of date.

    Returns
    -------
    DataFrame
        A row for each lesion at each visit from its first. ``status`` is baseline, new, first_seen,
        present, resolved, merged, split or not_in_field; ``score`` is the overlap, 0 to 1, behind a link.

    Notes
    -----
    At each visit pieces and known lesions form a graph of overlaps; within it the assignment of greatest
    overlapping volume keeps identities (Jaqaman 2008 for the idea of one cost over all links), a piece
    left over came off the lesion that it overlaps most, a lesion left over went into the piece that it
    overlaps most. Lesions that faded are remembered where they were last seen and come back there, but never
    take a piece from one that was there all the time. Neither order nor numbers of the pieces matter.
    """
    lesions: list[_Lesion] = []
    rows: list[dict[str, object]] = []
    for number, occasion in enumerate(occasions):
        rows += _at(occasion, lesions, occasions[:number])
    table = pd.DataFrame(rows, columns=COLUMNS)
    whole = ["lesion_id", "label", "from_lesion_id", "into_lesion_id"]
    return table.astype(dict.fromkeys(whole, "Int64"))


def _at(occasion: Occasion, lesions: list[_Lesion], earlier: Sequence[Occasion]) -> list[dict[str, object]]:
    """Return the rows of one visit, and bring the lesions up to date."""
    # By place, to the µm, so that the numbers of a label image decide nothing, not even who is lesion 1.
    labels = sorted(occasion.points_mm, key=lambda n: tuple(occasion.points_mm[n].mean(axis=0)[::-1].round(3)))
    clouds = [_Cloud.of(occasion.points_mm[label]) for label in labels]
    volumes = [occasion.volume_mm3[label] for label in labels]
    alive = [lesion for lesion in lesions if not lesion.merged]
    links = _overlaps(alive, clouds, occasion)
    kept = _assigned(links, alive, volumes)
    owner = {column: alive[row] for row, column in kept.items()}
    rows = [
        _row(occasion, alive[row].lesion_id, "present", labels[column], score=links.share[row, column])
        for row, column in kept.items()
    ]
    rows += [_ended(occasion, alive[row], links, row, owner) for row in range(len(alive)) if row not in kept]
    for column, label in enumerate(labels):
        if column not in owner:
            began = _Lesion(len(lesions) + 1, clouds[column], volumes[column])
            parent = alive[int(np.argmax(links.near[:, column]))] if alive and links.near[:, column].any() else None
            rows.append(_begun(occasion, label, began, parent, earlier))
            lesions.append(began)
    for row, column in kept.items():
        alive[row].seen(clouds[column], volumes[column])
    return [_as_baseline(row) for row in rows] if occasion.is_baseline else rows


def _overlaps(alive: list[_Lesion], pieces: list[_Cloud], occasion: Occasion) -> _Links:
    """Return the links between lesions and pieces."""
    links = _Links(*np.zeros((2, len(alive), len(pieces))))
    residual = 0.0 if np.isnan(occasion.residual_mm) else occasion.residual_mm
    reach = REACH_MM + RESIDUAL_FACTOR * residual
    for row, lesion in enumerate(alive):
        old = lesion.cloud
        for column, new in enumerate(pieces):
            if np.any((old.tree.mins - new.tree.maxes > reach) | (new.tree.mins - old.tree.maxes > reach)):
                continue  # their boxes lie apart
            share, near = np.maximum(old.closeness(new, reach), new.closeness(old, reach))
            if share >= LEAST_OVERLAP:
                links.share[row, column], links.near[row, column] = share, near
    return links


def _assigned(links: _Links, alive: list[_Lesion], volumes: list[float]) -> dict[int, int]:
    """Return the piece of each lesion that has one, by the assignment with the greatest overlapping volume."""
    if not links.near.size:
        return {}
    smaller = np.minimum.outer([max(lesion.volume_mm3, 1e-6) for lesion in alive], np.maximum(volumes, 1e-6))
    there = np.array([ABSENT_WEIGHT if lesion.resolved else 1.0 for lesion in alive])[:, None]
    rows, columns = linear_sum_assignment(links.near * smaller * there, maximize=True)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if links.near[r, c] > 0}


def _ended(
    occasion: Occasion, lesion: _Lesion, links: _Links, row: int, owner: dict[int, _Lesion]
) -> dict[str, object]:
    """Return the row of a lesion without a piece: merged, out of the field, or resolved."""
    # What was gone before cannot have grown into another: its place is now the other's.
    if links.near[row].any() and not lesion.resolved:
        lesion.merged = True
        best = int(np.argmax(links.near[row]))
        score = links.share[row, best]
        return _row(occasion, lesion.lesion_id, "merged", None, into=owner[best].lesion_id, score=score)
    seen = float(np.mean(occasion.sees(lesion.cloud.some_mm)))
    if seen < LEAST_IN_FIELD:
        return _row(occasion, lesion.lesion_id, "not_in_field", None)
    lesion.resolved = True
    return _row(occasion, lesion.lesion_id, "resolved", None)


def _begun(
    occasion: Occasion, label: int, began: _Lesion, parent: _Lesion | None, earlier: Sequence[Occasion]
) -> dict[str, object]:
    """Return the row of a piece that gets an identity of its own: split off, new, or first seen."""
    if parent is not None:
        return _row(occasion, began.lesion_id, "split", label, origin=parent.lesion_id)
    # New needs a scan that saw the place and would have shown as much.
    shown = [
        one
        for one in earlier
        if began.volume_mm3 >= one.lod_mm3 and np.mean(one.sees(began.cloud.some_mm)) >= LEAST_IN_FIELD
    ]
    return _row(occasion, began.lesion_id, "new" if shown else "first_seen", label)


def _as_baseline(row: dict[str, object]) -> dict[str, object]:
    """At the analysis baseline what is there is called baseline, whatever came before."""
    return {**row, "status": "baseline"} if row["status"] in ("present", "new", "first_seen") else row


def _row(
    occasion: Occasion,
    lesion_id: int,
    status: str,
    label: int | None,
    *,
    origin: int | None = None,
    into: int | None = None,
    score: float = float("nan"),
) -> dict[str, object]:
    return dict(zip(COLUMNS, (occasion.visit_id, lesion_id, label, status, origin, into, score), strict=True))


def _thinned(points_mm: np.ndarray) -> np.ndarray:
    """Keep at most ``MOST_POINTS`` points, evenly in their order."""
    if len(points_mm) <= MOST_POINTS:
        return points_mm
    return points_mm[np.linspace(0, len(points_mm) - 1, MOST_POINTS).astype(int)]
