"""The linear part of a map: rigid, then one growth for all directions, then affine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from monitor import grid
from monitor._registration import match
from monitor._registration.match import Points
from monitor._registration.scales import Scale

FINELY, ROUGHLY = (25, 0.004), (15, 0.05)
"""Most steps of an optimisation, and its end, when the points move by less, in voxels of the scale.

Roughly is for the search for a start: most poses there are wrong ones, which never come to rest.
"""

FEWEST = 200
"""Fewest points that must be seen by both scans."""

RIDGE = 1e-2
"""Share of the mean diagonal element that is added to each: along itself a limb without features does not slide."""

Columns = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From gradients, (N, 3), and centred points, (N, 3), to what each parameter changes, (N, P)."""


def rigid(points: Points, moving: Scale, start: np.ndarray, until: tuple[int, float] = FINELY) -> np.ndarray:
    """Improve turn and shift; matrices are (4, 4), fixed mm to moving mm."""
    return _optimised(points, moving, start, _turning, lambda step: _similar(np.append(step[:3], 0.0)), until)


def similar(points: Points, moving: Scale, start: np.ndarray, until: tuple[int, float] = FINELY) -> np.ndarray:
    """Improve turn, shift and one growth."""
    return _optimised(
        points,
        moving,
        start,
        lambda g, x: np.column_stack([_turning(g, x)[:, :3], np.einsum("nk,nk->n", g, x), g]),
        lambda step: _similar(step[:4]),
        until,
    )


def affine(points: Points, moving: Scale, start: np.ndarray) -> np.ndarray:
    """Improve all twelve numbers of an affine map."""
    return _optimised(
        points,
        moving,
        start,
        lambda g, x: np.column_stack([(g[:, :, None] * x[:, None, :]).reshape(-1, 9), g]),
        lambda step: np.eye(3) + step[:9].reshape(3, 3),
        FINELY,
    )


def _turning(gradient: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.column_stack([np.cross(places, gradient), gradient])


def _similar(step: np.ndarray) -> np.ndarray:
    return np.asarray(Rotation.from_rotvec(step[:3]).as_matrix() * np.exp(step[3]))


def _optimised(
    points: Points,
    moving: Scale,
    start: np.ndarray,
    columns: Columns,
    turn_of: Callable[[np.ndarray], np.ndarray],
    until: tuple[int, float],
) -> np.ndarray:
    """Return the matrix after Gauss-Newton steps on weighted squares; ``start`` where the scans do not meet."""
    middle = points.mm.mean(axis=0)
    size_mm = float(np.sqrt(((points.mm - middle) ** 2).sum(axis=1).mean()))
    places = ((points.mm - middle) / size_mm).astype(np.float32)
    matrix = start
    for _ in range(until[0]):
        there = grid.apply_affine(matrix, points.mm)
        gap = match.difference(points, moving, there)
        if np.isfinite(gap).sum() < FEWEST:
            return start
        gradient = match.slope(points, moving, there, matrix[:3, :3])
        weight = match.weights(gap, gradient, moving.voxel_mm)
        parts = columns(gradient, places).astype(float)
        # Sums by einsum, not by BLAS: their bits do not depend on the number of threads.
        normal = np.einsum("ni,nj->ij", parts * weight[:, None], parts)
        normal[np.diag_indices_from(normal)] += RIDGE * np.trace(normal) / len(normal) + 1e-12
        step = np.linalg.solve(normal, -np.einsum("ni,n->i", parts, weight * np.nan_to_num(gap)))
        turn = turn_of(step[:-3] / size_mm)
        move = np.eye(4)
        move[:3, :3] = turn
        move[:3, 3] = middle + step[-3:] - turn @ middle
        matrix = matrix @ move
        if np.linalg.norm(step[-3:]) + np.linalg.norm(turn - np.eye(3)) * size_mm < until[1] * moving.voxel_mm:
            break
    return matrix
