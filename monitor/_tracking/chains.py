"""Who goes on as whom, over all visits at once: the set of chains of greatest gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from monitor._tracking.pieces import Near, Piece, Sight

LEAST_IN_FIELD = 0.9
"""Least share of a lesion's place that a scan must see for it to be judged there."""

LEAST_NEAR = 0.2
"""Least nearness of the nearer of two pieces to the other for the two to be one lesion."""

LEAST_COVER = 0.4
"""Least by which a piece must lie nearer to a whole than to the rest of it, to be a part: half way between 0, a
neighbour, and what 1 falls to where the map is off by the reach."""

PLACE_POWER = 4
"""Power of nearness in the gain of a link: the same place counts before the same size."""

FADED_WEIGHT = 0.1
"""Weight of a link for each scan between that saw the place empty: few lesions fade and come back."""

UNSEEN_WEIGHT = 0.5
"""Weight of a link for each scan between that did not see the place: what a field left of a lesion goes before."""


def closest(near: Near, one: int, two: int) -> float:
    """Return how near the nearer of two pieces is to the other, 0 to 1: that of a part in its whole is 1."""
    return max(near.get((one, two), 0.0), near.get((two, one), 0.0))


def gains(pieces: Sequence[Piece], near: Near, sight: Sight) -> dict[tuple[int, int], float]:
    """Return the gain of each link, 0 to 1, by (earlier, later) piece.

    The gain rises with how well the places agree and, among equals, with how much of both is common: of the parts
    of a whole the largest gains most. A scan between that saw the place must have found it empty.
    """
    covered = _covered(pieces, near)
    found = {}
    for i, j in near:
        if pieces[i].visit >= pieces[j].visit or closest(near, i, j) < LEAST_NEAR:
            continue
        weight = 1.0
        for u in range(pieces[i].visit + 1, pieces[j].visit):
            if (i, u) in covered or (j, u) in covered:
                weight = 0.0
            seen = min(sight.seen[u, i], sight.seen[u, j]) >= LEAST_IN_FIELD
            weight *= FADED_WEIGHT if seen else UNSEEN_WEIGHT
        if weight > 0:
            one, two = pieces[i].volume_mm3, pieces[j].volume_mm3
            common = (one * near[i, j] + two * near.get((j, i), 0.0)) / (one + two)
            found[i, j] = weight * closest(near, i, j) ** PLACE_POWER * (1 + common) / 2
    return found


def solved(gain: Mapping[tuple[int, int], float], count: int) -> list[list[int]]:
    """Return the chains of pieces, each in order of date and all by their first, that have the greatest sum of gains.

    Each piece has at most one before and one after it. As links lead forward in time only, the best set of chains is
    an assignment of pieces to their successors (Dilworth's path cover; Jaqaman 2008 for one cost over all links),
    solved exactly in each family of linked pieces.
    """
    links = list(gain)
    after: dict[int, int] = {}
    if links:
        rows, columns = np.array(links).T
        family = connected_components(coo_array((np.ones(len(links)), (rows, columns)), (count, count)), False)[1]
        order = np.argsort(family[rows], kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(family[rows][order])) + 1):
            after |= _assigned([links[k] for k in part], gain)
    first = sorted(set(range(count)) - set(after.values()))
    found = []
    for start in first:
        chain = [start]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        found.append(chain)
    return found


def _assigned(links: Sequence[tuple[int, int]], gain: Mapping[tuple[int, int], float]) -> dict[int, int]:
    """Return the successors of greatest gain within one family."""
    rows, columns = (sorted({link[side] for link in links}) for side in (0, 1))
    at = [{n: k for k, n in enumerate(numbers)} for numbers in (rows, columns)]
    matrix = np.zeros((len(rows), len(columns)))
    for i, j in links:
        # Rounded, so that the last bits of a sum decide no tie.
        matrix[at[0][i], at[1][j]] = round(gain[i, j], 6)
    chosen = zip(*linear_sum_assignment(matrix, maximize=True), strict=True)
    return {rows[a]: columns[b] for a, b in chosen if matrix[a, b] > 0}


def _covered(pieces: Sequence[Piece], near: Near) -> set[tuple[int, int]]:
    """Return the pieces and visits where another visit's piece takes the place: there it has not faded."""
    beside = np.zeros(len(pieces))
    for (i, j), value in near.items():
        if pieces[i].visit == pieces[j].visit:
            beside[i] = max(beside[i], value)
    return {
        (i, pieces[j].visit)
        for (i, j), value in near.items()
        if pieces[i].visit != pieces[j].visit and value - beside[i] >= LEAST_COVER
    }
