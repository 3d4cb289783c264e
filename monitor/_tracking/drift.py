"""What registration left at each visit: a smooth displacement, told by neighbours that all moved alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor._tracking import chains
from monitor._tracking.pieces import Occasion, Piece

SPREAD = 1.6
"""Mean distance of a normal displacement in space over its SD along one axis: 2 (2 / pi)^0.5."""

LEAST_SD_MM = 0.2
"""SD along an axis of the error of the best map, mm: a fifth of a voxel."""

LENGTH_MM = 25.0
"""Distance over which the error of a map is alike, mm: a few of the nodes at which it bends."""

PLACE_SD_MM = 0.5
"""SD along an axis of a lesion's centre that did not change, mm: half a voxel; and ``SHAPE_SHARE`` of its extent."""

SHAPE_SHARE = 0.1
"""SD of the centre of a lesion that changed its shape, as a share of its extent."""

LIKE_VOLUMES = 3.0
"""Pieces tell of the map only where their volumes differ by less than this factor: others merged, split or fade."""

REACH_MM = 2.0
"""How far a place may lie from itself, mm, beside what registration leaves: a voxel or two."""

REACH_SDS = 2.0
"""SDs of the error of a map that are added to the reach: 95 % lie within."""

ROUNDS = 3
"""Pairs and displacements are found in turn, so many times."""


@dataclass(frozen=True)
class Drift:
    """How far each piece lies from its place, (N, 3) mm, and the SD along an axis of what remains, (N,) mm."""

    shift_mm: np.ndarray
    spread_mm: np.ndarray

    def reach(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """Return how far pieces, (A,), may lie from their places at others, (B,): an (A, B) array, mm."""
        return np.asarray(REACH_MM + REACH_SDS * SPREAD * np.hypot.outer(self.spread_mm[one], self.spread_mm[two]))


def of(occasions: Sequence[Occasion], pieces: Sequence[Piece]) -> Drift:
    """Estimate how far each visit's map is off, from pieces whose neighbours tell the same.

    Notes
    -----
    A Gaussian process for each visit and axis, its SD the residual of the registration, observed at the centres of
    those pieces that have a partner elsewhere. What it says of a piece leaves out what the piece itself says.
    """
    sd = np.array([max(LEAST_SD_MM, (one.residual_mm if one.residual_mm > 0 else 0.0) / SPREAD) for one in occasions])
    centres = np.array([piece.centre_mm for piece in pieces]).reshape(-1, 3)
    visit = np.array([piece.visit for piece in pieces], int)
    found = Drift(np.zeros((len(pieces), 3)), sd[visit])
    for _ in range(ROUNDS):
        tracks = chains.solved(_gains(pieces, centres - found.shift_mm, found), len(pieces))
        found = _estimated(pieces, centres, sd, tracks)
    # One shift stands for a whole piece: across a large one it is as uncertain as before.
    alike = np.exp(-((np.array([piece.extent_mm for piece in pieces]) / LENGTH_MM) ** 2))
    return Drift(found.shift_mm, np.sqrt(alike * found.spread_mm**2 + (1 - alike) * sd[visit] ** 2))


def _gains(pieces: Sequence[Piece], centres: np.ndarray, drift: Drift) -> dict[tuple[int, int], float]:
    """Return the gain of each link by centres alone: falls with the square of the distance, and with time."""
    visit = np.array([piece.visit for piece in pieces], int)
    size = np.log([piece.volume_mm3 for piece in pieces])
    found: dict[tuple[int, int], float] = {}
    for i, piece in enumerate(pieces):
        later = np.flatnonzero((visit > piece.visit) & (np.abs(size - size[i]) < np.log(LIKE_VOLUMES)))
        reach = drift.reach(np.array([i]), later)[0]
        gain = 1 - (np.linalg.norm(centres[later] - centres[i], axis=1) / reach) ** 2
        gain *= 0.5 ** (visit[later] - piece.visit - 1.0)
        found |= {(i, int(later[k])): float(gain[k]) for k in np.flatnonzero(gain > 0)}
    return found


def _estimated(pieces: Sequence[Piece], centres: np.ndarray, sd: np.ndarray, tracks: Sequence[Sequence[int]]) -> Drift:
    """Return what the pieces of each visit that have a partner say of the others."""
    visit = np.array([piece.visit for piece in pieces], int)
    shift, spread = np.zeros((len(pieces), 3)), sd[visit]
    told = [list(track) for track in tracks if len(track) > 1]
    if not told:
        return Drift(shift, spread)
    weight = sd[visit] ** -2.0
    mean = [np.average(centres[track], axis=0, weights=weight[track]) for track in told]
    place = centres.copy()
    for track, middle in zip(told, mean, strict=True):
        place[track] = middle
    noise = np.array([PLACE_SD_MM + SHAPE_SHARE * piece.extent_mm for piece in pieces]) ** 2
    paired = np.isin(np.arange(len(pieces)), np.concatenate(told))
    for t in range(len(sd)):
        here, rest = np.flatnonzero(paired & (visit == t)), np.flatnonzero(~paired & (visit == t))
        inverse = np.linalg.inv(_alike(place[here], place[here], sd[t]) + np.diag(noise[here]))
        off = inverse @ (centres[here] - place[here])
        across = _alike(centres[rest], place[here], sd[t])
        shift[rest] = across @ off
        remains = sd[t] ** 2 - np.einsum("ij,jk,ik->i", across, inverse, across)
        # Without what each says of itself: leaving one out in closed form (Rasmussen 2006, equation 5.12).
        alone = np.diag(inverse)
        shift[here] = centres[here] - place[here] - off / alone[:, None]
        spread[rest] = np.sqrt(np.maximum(remains, 0))
        spread[here] = np.sqrt(np.maximum(1 / alone - noise[here], 0))
    return Drift(shift, np.maximum(spread, LEAST_SD_MM))


def _alike(one_mm: np.ndarray, two_mm: np.ndarray, sd_mm: float) -> np.ndarray:
    """Return the covariance of the displacement at two sets of places, mm²."""
    squares = ((one_mm[:, None] - two_mm[None]) ** 2).sum(axis=2)
    return np.asarray(sd_mm**2 * np.exp(-squares / (2 * LENGTH_MM**2)))
