"""Published limits of change, by name: what adult coronary scans scatter, as their papers give it.

They know nothing of a scan's noise, slices or kernel, and none was made for children or for burdens beyond those of
coronaries; they stand beside our own limits so that a reader can compare with other work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan, sqrt

USUAL_MASS_INDEX = 16.0
"""Body-mass index, kg/m², where it is not known: a child of 6 to 10 years (WHO growth reference, median)."""


@dataclass(frozen=True)
class Preset:
    """A published limit.

    Attributes
    ----------
    rule : str
        What a row's rule_id gets: name, year, what it is.
    least : callable
        From before, after and body-mass index to the smallest change, in that direction, that counts.
    """

    rule: str
    least: Callable[[float, float, float], float]


def _sevrukov(slope: float, from_zero: float) -> Callable[[float, float, float], float]:
    def least(before: float, _after: float, _mass_index: float) -> float:
        return slope * sqrt(before) if before > 0 else from_zero

    return least


def _mesa(share: float, root: float, mass: float, less: float) -> Callable[[float, float, float], float]:
    def least(before: float, after: float, mass_index: float) -> float:
        mean = (before + after) / 2
        return max(0.0, share * mean + root * sqrt(mean) + mass * mass_index - less)

    return least


def _hokanson(before: float, after: float, _mass_index: float) -> float:
    """Return the change that moves the square root by 2.5; a fall below 0 cannot be."""
    if after >= before:
        return (sqrt(before) + 2.5) ** 2 - before
    return before - (sqrt(before) - 2.5) ** 2 if sqrt(before) >= 2.5 else inf


def _share(part: float) -> Callable[[float, float, float], float]:
    def least(before: float, _after: float, _mass_index: float) -> float:
        return part * before if before > 0 else nan

    return least


PRESETS: dict[str, dict[str, Preset]] = {
    "agatston": {
        "sevrukov": Preset("sevrukov-2005:4.930*sqrt(before),from-zero:11.6", _sevrukov(4.930, 11.6)),
        "mesa": Preset("mesa-chung-2008:0.17*mean+4.89*sqrt(mean)+0.44*BMI-10.84", _mesa(0.17, 4.89, 0.44, 10.84)),
        "callister": Preset("callister-1998:15%,median-between-scans,not-a-95%-limit", _share(0.15)),
    },
    "threshold_volume_mm3": {
        "sevrukov": Preset("sevrukov-2005:3.445*sqrt(before),from-zero:9.5", _sevrukov(3.445, 9.5)),
        "mesa": Preset("mesa-chung-2008:0.16*mean+4.30*sqrt(mean)+0.23*BMI-5.00", _mesa(0.16, 4.30, 0.23, 5.0)),
        "hokanson": Preset("hokanson-2004:sqrt(after)-sqrt(before)>2.5", _hokanson),
        "callister": Preset("callister-1998:9%,median-between-scans,not-a-95%-limit", _share(0.09)),
    },
}
"""Limits by quantity and name. Sevrukov 2005: 2217 pairs of scans. MESA, Chung 2008: 3380 people. Hokanson 2004: of the
root of the volume. Callister 1998: what totals differed by in the median, so half of unchanged pairs exceed it."""
