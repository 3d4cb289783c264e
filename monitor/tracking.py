"""One identity per lesion over all visits: who goes on, appears, ends, merges, splits or was not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
"""Points that stand for a piece: overlap is a share, and its error is below 2 % from here."""


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


@dataclass
class _Lesion:
    """A lesion as it was last seen; ``last`` counts occasions."""

    lesion_id: int
    points_mm: np.ndarray
    volume_mm3: float
    merged: bool = False
    tree: cKDTree = field(init=False)

    def __post_init__(self) -> None:
        self.tree = cKDTree(self.points_mm)

    def seen(self, points_mm: np.ndarray, volume_mm3: float) -> None:
        self.points_mm, self.volume_mm3, self.tree = points_mm, volume_mm3, cKDTree(points_mm)


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
    overlaps most. Lesions that faded are remembered where they were last seen.
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
    labels = list(occasion.points_mm)
    points = {label: _thinned(occasion.points_mm[label]) for label in labels}
    alive = [lesion for lesion in lesions if not lesion.merged]
    score = _overlaps(alive, [points[label] for label in labels], occasion)
    kept = _assigned(score, alive, [occasion.volume_mm3[label] for label in labels])
    rows, continued = [], dict(kept)
    for row, column in kept:
        rows.append(_row(occasion, alive[row].lesion_id, "present", labels[column], score=score[row, column]))
    owner = {column: alive[row] for row, column in kept}
    for row, lesion in enumerate(alive):
        if row not in continued:
            rows.append(_ended(occasion, lesion, score[row], owner))
    taken = {column for _, column in kept}
    fresh: list[_Lesion] = []
    for column, label in enumerate(labels):
        if column not in taken:
            began = _Lesion(len(lesions) + len(fresh) + 1, points[label], occasion.volume_mm3[label])
            parent = alive[int(np.argmax(score[:, column]))] if alive and score[:, column].max() > 0 else None
            rows.append(_begun(occasion, label, began, parent, earlier))
            fresh.append(began)
    for row, column in kept:
        alive[row].seen(points[labels[column]], occasion.volume_mm3[labels[column]])
    lesions.extend(fresh)
    if occasion.is_baseline:
        rows = [_as_baseline(row) for row in rows]
    return rows


def _overlaps(alive: list[_Lesion], pieces: list[np.ndarray], occasion: Occasion) -> np.ndarray:
    """Return for each lesion and piece the share of the smaller that touches the other, 0 below the least."""
    score = np.zeros((len(alive), len(pieces)))
    residual = 0.0 if np.isnan(occasion.residual_mm) else occasion.residual_mm
    reach = REACH_MM + RESIDUAL_FACTOR * residual
    for column, piece in enumerate(pieces):
        tree = cKDTree(piece)
        for row, lesion in enumerate(alive):
            one = np.mean(np.isfinite(lesion.tree.query(piece, distance_upper_bound=reach)[0]))
            two = np.mean(np.isfinite(tree.query(lesion.points_mm, distance_upper_bound=reach)[0]))
            score[row, column] = max(one, two)
    score[score < LEAST_OVERLAP] = 0
    return score


def _assigned(score: np.ndarray, alive: list[_Lesion], volumes: list[float]) -> list[tuple[int, int]]:
    """Return pairs (lesion, piece) of the assignment with the greatest overlapping volume."""
    if not score.size:
        return []
    smaller = np.minimum.outer([max(lesion.volume_mm3, 1e-6) for lesion in alive], np.maximum(volumes, 1e-6))
    rows, columns = linear_sum_assignment(score * smaller, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if score[r, c] > 0]


def _ended(occasion: Occasion, lesion: _Lesion, score: np.ndarray, owner: dict[int, _Lesion]) -> dict[str, object]:
    """Return the row of a lesion without a piece: merged, out of the field, or resolved."""
    seen = float(np.mean(occasion.sees(lesion.points_mm)))
    best = int(np.argmax(score)) if score.size else -1
    if best >= 0 and score[best] > 0 and best in owner:
        lesion.merged = True
        into = owner[best].lesion_id
        return _row(occasion, lesion.lesion_id, "merged", None, into=into, score=score[best])
    status = "resolved" if seen >= LEAST_IN_FIELD else "not_in_field"
    return _row(occasion, lesion.lesion_id, status, None)


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
        if began.volume_mm3 >= one.lod_mm3 and np.mean(one.sees(began.points_mm)) >= LEAST_IN_FIELD
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
