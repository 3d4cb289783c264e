"""How a child has grown: body size on the day of a scan, and how much larger the imaged part has become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from monitor import grid

BRIDGED_DAYS = 400
"""Longest time between two measurements over which size is interpolated: a year's check and a month's delay."""

CARRIED_DAYS = 45
"""Longest time from a single measurement to a scan at which it still holds: an infant of six months grows by 3 % in
length and 6 % in weight meanwhile (WHO growth standards)."""

SIZE_ERROR = 0.015
"""Relative SD of a body surface: height within 1 %, weight within 2 % as clinics measure them."""

STEP_MM = 6.0
"""Distance of the points between which growth is told, mm: farther than neighbouring errors of a registration reach."""

GROWTH_ERROR = 0.01
"""Relative SD of the volume growth of an imaged part, from registration (phantom, one visit to the next)."""


VESSEL_STEP_MM = 5.0
"""Way along a vessel over which its voxels make one point of the centreline, mm; no less than its radius, so that the
front of the way lies across it."""

LEAST_STEPS = 5
"""Steps from which a centreline is told; of a shorter stump the way itself is taken."""

VESSEL_MOST = 60_000
"""Voxels of a vessel beyond which it is told on coarser ones."""

VESSEL_ERROR = 0.03
"""Relative SD of a vessel's length: its ends, and how another program outlined it (tubes of the tests: within 5 %)."""


@dataclass(frozen=True)
class Size:
    """A child on the day of a scan; NaN is unknown."""

    height_cm: float = nan
    weight_kg: float = nan

    @property
    def surface_m2(self) -> float:
        """Body surface, m²: Mosteller 1987.

        >>> round(Size(height_cm=120.0, weight_kg=22.0).surface_m2, 3)
        0.856
        """
        return float(np.sqrt(self.height_cm * self.weight_kg / 3600))

    @property
    def mass_index(self) -> float:
        """Body-mass index, kg/m².

        >>> round(Size(height_cm=120.0, weight_kg=22.0).mass_index, 1)
        15.3
        """
        return float(self.weight_kg / (self.height_cm / 100) ** 2)


def size_on(measured: pd.DataFrame, when: pd.Timestamp) -> Size:
    """Return height and weight on a day, straight between measurements; NaN too far from any.

    Parameters
    ----------
    measured : DataFrame
        Rows of one patient of table ``growth`` of the study: date, height_cm, weight_kg.
    when : Timestamp

    Examples
    --------
    >>> rows = pd.DataFrame({"date": pd.to_datetime(["2020-01-01", "2020-12-31"]), "height_cm": [100.0, 110.0],
    ...                      "weight_kg": [16.0, None]})
    >>> size_on(rows, pd.Timestamp("2020-07-01")).height_cm
    104.98...
    >>> size_on(rows, pd.Timestamp("2020-01-11")).weight_kg, size_on(rows, pd.Timestamp("2021-12-31")).height_cm
    (16.0, nan)
    """
    return Size(**{name: _on(measured, name, when) for name in ("height_cm", "weight_kg")})


def _on(measured: pd.DataFrame, name: str, when: pd.Timestamp) -> float:
    own = measured.dropna(subset=[name]).groupby("date")[name].mean()
    days = (pd.DatetimeIndex(own.index) - when).days.to_numpy(dtype=float)
    if not days.size:
        return nan
    values = own.to_numpy(float)
    before, after = days[days <= 0], days[days >= 0]
    if before.size and after.size and after.min() - before.max() <= BRIDGED_DAYS:
        return float(np.interp(0.0, days, values))
    nearest = int(np.argmin(np.abs(days)))
    return float(values[nearest]) if abs(days[nearest]) <= CARRIED_DAYS else nan


def volume_ratio(from_baseline: Callable[[np.ndarray], np.ndarray], points_mm: np.ndarray) -> float:
    """Return how much larger an imaged part is at a visit than at the baseline: the ratio of volumes.

    The median, over places, of the determinant of the map's derivative: a bent joint or muscle pressed aside changes
    few of them, growth changes all.

    Parameters
    ----------
    from_baseline : callable
        Carries points of the baseline, (N, 3) LPS mm, to the visit.
    points_mm : (N, 3) array
        Places of the baseline's body that the visit sees; without any the ratio is NaN.
    """
    if not len(points_mm):
        return nan
    steps = np.eye(3) * STEP_MM / 2
    derivative = np.stack(
        [(from_baseline(points_mm + step) - from_baseline(points_mm - step)) / STEP_MM for step in steps], axis=-1
    )
    return float(np.median(np.linalg.det(derivative)))


def length_mm(vessel: np.ndarray, spacing_zyx_mm: np.ndarray) -> float:
    """Return the length of an unbranched vessel along its centreline, mm.

    The way through it from one end to the other is cut into steps; the centroids of what lies at one step make the
    centreline. Of a vessel in pieces the largest counts.

    Parameters
    ----------
    vessel : (z, y, x) bool array
    spacing_zyx_mm : (3,) array
    """
    labels, count = ndimage.label(vessel, np.ones((3, 3, 3)))
    if not count:
        return 0.0
    own = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    own = own[grid.box_of(own)]
    spacing = np.array(spacing_zyx_mm, float)
    while own.sum() > VESSEL_MOST:
        axis = int(np.argmin(spacing))
        own = np.maximum.reduceat(own, np.arange(0, own.shape[axis], 2), axis=axis)
        spacing[axis] *= 2
    links = _neighbours(own, spacing)
    start = int(np.argmax(csgraph.dijkstra(links, indices=0)))
    way = csgraph.dijkstra(links, indices=start)
    wide = float(grid.within_mm(np.pad(own, 1), spacing).max())
    steps = int(way.max() / max(VESSEL_STEP_MM, wide))
    if steps < LEAST_STEPS:
        return float(way.max())
    at = np.minimum((way / way.max() * steps).astype(int), steps - 1)
    points = np.argwhere(own) * spacing
    line = np.stack([np.bincount(at, points[:, axis]) / np.bincount(at) for axis in range(3)], axis=1)
    # At the ends the front of the way still leans from where it began: what lies between tells how long a step is.
    inner = np.linalg.norm(np.diff(line[1:-1], axis=0), axis=1)
    return float(inner.mean() * steps)


def _neighbours(mask: np.ndarray, spacing: np.ndarray) -> sparse.csr_array:
    """Return the distances of neighbouring voxels of a mask, mm, as a symmetric matrix in the order of ``argwhere``."""
    index = np.full(mask.shape, -1)
    index[mask] = np.arange(mask.sum())
    steps = [step for step in np.ndindex(3, 3, 3) if step > (1, 1, 1)]
    rows, columns, lengths = [], [], []
    for step in np.array(steps) - 1:
        here = tuple(slice(max(0, -d), size - max(0, d)) for d, size in zip(step, mask.shape, strict=True))
        there = tuple(slice(max(0, d), size - max(0, -d)) for d, size in zip(step, mask.shape, strict=True))
        one, two = index[here], index[there]
        both = (one >= 0) & (two >= 0)
        rows.append(one[both])
        columns.append(two[both])
        lengths.append(np.full(int(both.sum()), float(np.linalg.norm(step * spacing))))
    row, column, length = (np.concatenate(part) for part in (rows, columns, lengths))
    half = sparse.coo_array((length, (row, column)), shape=(int(mask.sum()),) * 2).tocsr()
    return sparse.csr_array(half + half.T)


@dataclass(frozen=True)
class Norm:
    """What an amount is divided by at one visit, so that a child who only grows has the same.

    Attributes
    ----------
    suffix : str
        What the quantity's name gets.
    unit : str
        What its unit gets; empty for a ratio.
    rule : str
        What its rule gets.
    divisor, error : float
        The number, NaN where unknown, and its relative SD.
    compartment : str
        The compartment whose amounts it divides; empty for all.
    """

    suffix: str
    unit: str
    rule: str
    divisor: float
    error: float
    compartment: str = ""

    def of(self, amount: dict[str, float]) -> dict[str, float]:
        """Return an amount's value and SDs divided, the divisor's own error in them.

        >>> norm = Norm("_per_m2", "/m2", "", 0.5, 0.03)
        >>> norm.of({"value": 100.0, "sd": 4.0})
        {'value': 200.0, 'sd': 10.0}
        """
        own = self.error * abs(amount["value"])
        return {
            name: (value if name == "value" else float(np.hypot(value, own))) / self.divisor
            for name, value in amount.items()
        }


def norms(size: Size, ratio: float, vessels_mm: Mapping[str, float]) -> list[Norm]:
    """Return what amounts of a visit are divided by: body surface, growth of the imaged part, a vessel's length."""
    return [
        Norm("_per_m2", "/m2", ";per=body-surface,Mosteller,growth.csv", size.surface_m2, SIZE_ERROR),
        Norm("_per_growth", "", ";per=volume-growth-since-baseline,registration,median", ratio, GROWTH_ERROR),
        *(
            Norm(
                "_per_cm",
                "/cm",
                ";per=cm-of-vessel-imaged,centreline,structures_mask",
                length / 10 if length > 0 else nan,
                VESSEL_ERROR,
                name,
            )
            for name, length in vessels_mm.items()
        ),
    ]
