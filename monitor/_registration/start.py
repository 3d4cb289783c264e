"""Where to begin: the pose as the scanner says, and where that does not match, any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.spatial.transform import Rotation

from monitor import grid
from monitor._registration import bend, linear, match
from monitor._registration.match import Points
from monitor._registration.scales import WINDOW_HU, Scale

SEARCH_VOXELS, SEARCH_MM = 16, (8.0, 25.0)
"""Voxels along the longer scan in the search, and limits of their side, mm: thick bones are still seen."""

SEARCH_OVERLAP = 0.3
"""Least fraction of the greatest possible overlap that a shift in the search must have."""

TURNS = 240
"""Turns that are tried where the scanner's pose does not match: neighbours are 30 degrees apart."""

TURNED, REFINED, COMPARED = 32, 8, 3
"""How many turns are improved at the coarse scale, how many of them may then grow, and how many see the next scale."""

SURE = (0.95, 0.65)
"""Correlation and share from which a pose is not doubted."""

BETTER = 0.15
"""Information, nats, that another pose must have more than the scanner's: symmetry deceives more than headers."""

SAME = 0.01
"""Starts ended at one pose where no number of their matrices differs by more: shifts, mm, and directions of axes."""

LEAST_TOLD = 0.1
"""Information, nats, from which a pose is followed to a finer scale, and bent.

Knees bent by 30 degrees have 0.3, wrong trunks 0.01 to 0.07.
"""

POINTS = (2_000, 6_000)
"""Points that are compared in the search for a start, at the coarse scale and at the next, where both see as much."""

MOST_OF_A_WHOLE = 4.0
"""At most so many times the points where the moving scan is a part of the fixed one, which then sees few of them."""

LOOKED_AT = 20_000
"""About how many voxels tell how alike two scans are."""


@dataclass(frozen=True)
class Likeness:
    """How alike two scans are under a map: correlation of HU, and the share of the smaller body that both see."""

    correlation: float
    share: float

    @property
    def information(self) -> float:
        """Information of one scan about the other, nats a voxel of the smaller body, as if they were Gaussian.

        Correlation alone is as great where one leg lies on the other leg and the rest on nothing.
        """
        return float(_information(np.array(self.correlation), np.array(self.share)))

    @property
    def sure(self) -> bool:
        """Whether the map is not doubted."""
        return self.correlation >= SURE[0] and self.share >= SURE[1]


def _information(correlation: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.asarray(-0.5 * share * np.log1p(-(np.clip(correlation, 0.0, 0.999) ** 2)))


def likeness(fixed: Scale, moving: Scale, matrix: np.ndarray) -> Likeness:
    """Compare two scans under a linear map."""
    return likeness_under(fixed, moving, lambda points_mm: grid.apply_affine(matrix, points_mm))


def likeness_under(fixed: Scale, moving: Scale, carry: Callable[[np.ndarray], np.ndarray]) -> Likeness:
    """Compare two scans where both look and either has a body; ``carry`` takes fixed points to the moving scan."""
    index = np.argwhere(np.isfinite(fixed.hu))
    index = index[:: 1 + len(index) // LOOKED_AT]
    there = carry(grid.apply_affine(fixed.matrix, index))
    hu = moving.at(there, moving.hu)
    body = fixed.body[tuple(index.T)]
    other = np.nan_to_num(moving.at(there, moving.body.view(np.uint8))) > 0.5
    seen = np.isfinite(hu)
    either = (body | other) & seen
    fixed_mm3 = _body_mm3(fixed)
    smaller = min(fixed_mm3, _body_mm3(moving))
    share = float((body & other & seen).sum() / max(body.sum(), 1)) * fixed_mm3 / max(smaller, 1.0)
    if either.sum() < linear.FEWEST:
        return Likeness(0.0, share)
    one, two = fixed.hu[tuple(index[either].T)], hu[either]
    return Likeness(match.correlation(one, two), min(share, 1.0))


def find(scales: list[tuple[Scale, Scale]]) -> np.ndarray:
    """Return pose and growth to start from, (4, 4), fixed mm to moving mm.

    Parameters
    ----------
    scales : list of (fixed, moving)
        The coarse scale and the next.
    """
    (fixed, moving), (fixed_next, moving_next) = scales
    whole = float(np.clip(_body_mm3(fixed) / max(_body_mm3(moving), 1.0), 1.0, MOST_OF_A_WHOLE))
    points = match.choose(fixed, int(whole * POINTS[0])), match.choose(fixed_next, int(whole * POINTS[1]))
    coarse = _Coarse(fixed, moving)
    still = [np.eye(4), _shifted(_middle(moving) - _middle(fixed)), coarse.placed(np.eye(3))[1]]
    best, said = _likest(scales, _refined(still, scales, points, compared=len(still)))
    if likeness(fixed_next, moving_next, best).sure:
        return best
    found = sorted((coarse.placed(turn) for turn in _turns()), key=lambda one: -one[0])
    turned = [linear.rigid(points[0], moving, matrix, linear.ROUGHLY) for _, matrix in found[:TURNED]]
    likest = [matrix for matrix, _ in _ranked(scales[0], turned)[:REFINED]]
    other, says = _likest(scales, _refined(likest, scales, points, compared=COMPARED))
    return other if says > said + BETTER else best


def _refined(
    starts: list[np.ndarray], scales: list[tuple[Scale, Scale]], points: tuple[Points, Points], *, compared: int
) -> list[np.ndarray]:
    """Optimise starts at the coarse scale, and the best of them, at most so many, at the next."""
    better = [improved(scales[0], points[0], start, linear.ROUGHLY) for start in starts]
    ranked = _ranked(scales[0], better)[:compared]
    # What tells next to nothing there takes as many steps as a right pose, and no finer scale mends it.
    kept = [matrix for matrix, alike in ranked if alike.information > LEAST_TOLD] or [ranked[0][0]]
    return [improved(scales[1], points[1], matrix, linear.ROUGHLY) for matrix in kept]


def _ranked(pair: tuple[Scale, Scale], matrices: list[np.ndarray]) -> list[tuple[np.ndarray, Likeness]]:
    """Return each pose once, with how alike two scans are under it, those that tell most first."""
    kept: list[tuple[np.ndarray, Likeness]] = []
    for matrix, alike in sorted(
        ((matrix, likeness(*pair, matrix)) for matrix in matrices), key=lambda one: -one[1].information
    ):
        if all(np.abs(before - matrix).max() >= SAME for before, _ in kept):
            kept.append((matrix, alike))
    return kept


def _likest(scales: list[tuple[Scale, Scale]], matrices: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the matrix under which two scans are most alike, and how much they tell of each other, nats.

    Where the likest is not sure, that is the mean of what they tell as they are, and when they may bend. As they are, a
    straight leg lies better on its neighbour than on itself with its knee bent; free to bend, a thigh lies as well on
    itself turned round.
    """
    ranked = _ranked(scales[-1], matrices)
    if ranked[0][1].sure:
        return ranked[0][0], ranked[0][1].information
    said = []
    for matrix, alike in ranked:
        # What tells next to nothing as it is would take many steps to bend, and is no pose that bending mends.
        bends = alike.information > LEAST_TOLD
        bent = likeness_under(*scales[-1], bend.bend(scales, matrix).carry).information if bends else 0.0
        said.append((alike.information + bent) / 2)
    place = int(np.argmax(said))
    return ranked[place][0], said[place]


def improved(
    pair: tuple[Scale, Scale], points: Points, start: np.ndarray, until: tuple[int, float] = linear.FINELY
) -> np.ndarray:
    """Optimise pose and growth; what has become less alike, as a limb that slid along itself, is not taken."""
    ways = [start]
    for optimise in (linear.rigid, linear.similar):
        ways.append(optimise(points, pair[1], ways[-1], until))
    return max(ways, key=lambda matrix: likeness(*pair, matrix).information)


class _Coarse:
    """Both scans on equal isotropic voxels, for the search over all shifts at once."""

    def __init__(self, fixed: Scale, moving: Scale) -> None:
        self.moving = moving
        longest = max(float((np.array(one.hu.shape) * one.sides_mm).max()) for one in (fixed, moving))
        self.side_mm = float(np.clip(longest / SEARCH_VOXELS, *SEARCH_MM))
        self.hu, self.corner = _cubes(fixed, np.eye(3), self.side_mm)
        self.seen = np.isfinite(self.hu).sum()
        lengths = np.array(moving.hu.shape) * moving.sides_mm / self.side_mm
        self.least = int(SEARCH_OVERLAP * min(lengths.min(), *self.hu.shape))
        self.of_fixed: dict[tuple[int, ...], list[np.ndarray]] = {}

    def placed(self, turn: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the most information over all shifts of a turned scan, and its matrix (correlations: Padfield 2012).

        Ranked by correlation alone, dozens of turns that lay one leg on another come before the right one.
        """
        hu, corner = _cubes(self.moving, turn, self.side_mm)
        # Only shifts that overlap too little may wrap around.
        lengths = [n + m - self.least for n, m in zip(self.hu.shape, hu.shape, strict=True)]
        size = tuple(fft.next_fast_len(length, real=True) for length in lengths)
        if size not in self.of_fixed:
            self.of_fixed[size] = _transformed(self.hu, size)
        ones, sums, squares = self.of_fixed[size]
        seen, values, squared = (np.conj(part) for part in _transformed(hu, size))
        products = (ones * seen, sums * seen, ones * values, sums * values, squares * seen, ones * squared)
        count, one, two, both, one_squared, two_squared = (fft.irfftn(part, size) for part in products)
        shifts = np.flatnonzero(count > SEARCH_OVERLAP * count.max())
        shape = count.shape
        count, one, two, both, one_squared, two_squared = (
            part.ravel()[shifts] for part in (count, one, two, both, one_squared, two_squared)
        )
        share = np.minimum(count / min(self.seen, np.isfinite(hu).sum()), 1.0)
        spread = (one_squared - one * one / count) * (two_squared - two * two / count)
        alike = (both - one * two / count) / np.sqrt(np.maximum(spread, 1e-6 * count**2))
        scores = _information(alike, share)
        best = int(np.argmax(scores))
        place = np.unravel_index(shifts[best], shape)
        # Correlations at negative shifts, down to the turned scan's length, wrap around to the end.
        lag = np.array([p if p < n - m else p - n for p, n, m in zip(place, size, hu.shape, strict=True)])
        matrix = np.eye(4)
        matrix[:3, :3] = turn
        matrix[:3, 3] = turn @ (corner - self.corner - lag[::-1] * self.side_mm)
        return float(scores[best]), matrix


def _cubes(scale: Scale, turn: np.ndarray, side_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return HU on cubes along axes turned into the scan, (z, y, x), NaN where unseen, and the first cube's place."""
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in scale.hu.shape])).reshape(3, -1).T
    along = grid.apply_affine(scale.matrix, corners) @ turn
    low, high = along.min(axis=0), along.max(axis=0)
    size = (np.ceil((high - low) / side_mm).astype(int) + 1)[::-1]
    index = np.indices(size).reshape(3, -1).T[:, ::-1]
    return scale.at((low + index * side_mm) @ turn.T, scale.hu).reshape(size), low


def _transformed(hu: np.ndarray, size: tuple[int, ...]) -> list[np.ndarray]:
    """Transform ones, values and squares where a scan is seen; values are counted from air, so that most are small."""
    values = np.nan_to_num((hu - np.float32(WINDOW_HU[0])) / np.float32(WINDOW_HU[1]))
    moments = np.isfinite(hu).astype(np.float32), values, values * values
    return [fft.rfftn(part, size) for part in moments]


def _turns() -> np.ndarray:
    """Return turns spread evenly over all, (N, 3, 3): super-Fibonacci spirals (Alexa 2022)."""
    step = np.arange(TURNS) + 0.5
    share = step / TURNS
    first, second = 2 * np.pi * step / np.sqrt(2.0), 2 * np.pi * step / 1.533751168755204288118041
    inner, outer = np.sqrt(share), np.sqrt(1 - share)
    spiral = [inner * np.sin(first), inner * np.cos(first), outer * np.sin(second), outer * np.cos(second)]
    return np.asarray(Rotation.from_quat(np.stack(spiral, axis=1)).as_matrix())


def _body_mm3(scale: Scale) -> float:
    return float(scale.body.sum()) * scale.voxel_mm3


def _middle(scale: Scale) -> np.ndarray:
    return np.asarray(grid.apply_affine(scale.matrix, np.argwhere(scale.body).mean(axis=0)[None])[0])


def _shifted(shift_mm: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = shift_mm
    return matrix
