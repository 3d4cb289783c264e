"""One quantity in one compartment as it is drawn: points with their state, bands, and the fitted line."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from dashboard.patient import rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboard.patient.own import Own, Row

STATES = ("measured", "hollow", "part", "below", "absent")
"""What is drawn of a visit: a filled point; a hollow one, not comparable; part of the field; none found; no amount."""

FROM_BASELINE = ("change", "percent")
"""Scales that count from the baseline."""

LINE_POINTS = 41
"""Points of a fitted line and its band."""

LOG_ROOM, LEAST_ROOM = 0.07, 1.06
"""Room above and below on a logarithmic axis: as a share of what lies between, and as a factor at least."""

ABOUT_VISIT = ("visit_id", "date", "years", "comparable", "comparable_why", "lod_mm3")
"""What of a visit must be known to read an amount."""

UNKNOWN = {"value": nan, "lo": nan, "hi": nan, "value_observed": nan, "evaluable": nan}
"""An amount of a visit that has none."""


@dataclass(frozen=True)
class Band:
    """A band over time: years, low, high, and perhaps the line in its middle, each (n,)."""

    years: np.ndarray
    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray | None = None


@dataclass(frozen=True)
class Seen:
    """What is drawn of one quantity in one compartment.

    Attributes
    ----------
    compartment : str
    unit : str
        As the tables name it; ``%`` where the scale is in per cent.
    points : list of dict
        A visit each: visit_id, date, years, y, y_lo, y_hi, state, word, comparable_why, value, lo, hi, value_observed.
    around_baseline, around_nadir : Band or None
        Where a change is too small to count.
    fit : Band or None
        The fitted line and its limits.
    why_nothing : str
        Why there is nothing to draw; empty where there is.
    """

    compartment: str
    unit: str
    points: list[Row]
    around_baseline: Band | None = None
    around_nadir: Band | None = None
    fit: Band | None = None
    why_nothing: str = ""


def seen(own: Own, quantity: str, compartment: str, scale: str = "linear") -> Seen:
    """Return what is drawn of one quantity in one compartment, on one scale."""
    points = course(own, quantity, compartment)
    if not points:
        return Seen(compartment, "", points, why_nothing="Nothing was measured here.")
    unit = next((str(row["unit"]) for row in points if row["unit"]), "")
    changes = own.changes(quantity, compartment)
    from_baseline = rows.of_kind(changes, "baseline")
    terms = rows.trend(own, quantity, compartment)
    bands = (_around(from_baseline, 0.0), _around_nadir(changes), _fitted(terms, points, own.happened))
    if scale in FROM_BASELINE:
        base = _base(points, from_baseline, own.baseline)
        if isnan(base) or (scale == "percent" and base <= 0):
            why = "no amount" if isnan(base) else "nothing"
            return Seen(compartment, unit, points, why_nothing=f"There is {why} at the baseline to count from.")
        points = [_from_baseline(row, from_baseline, percent=scale == "percent") for row in points]
        factor = 100.0 / base if scale == "percent" else 1.0
        bands = (_moved(bands[0], base, factor), _moved(bands[1], base, factor), _moved(bands[2], base, factor))
        unit = "%" if scale == "percent" else unit
    nothing = "Nothing was compared with the baseline." if scale in FROM_BASELINE else "Nothing could be measured here."
    has = any(row["state"] != "absent" for row in points)
    return Seen(compartment, unit, points, *bands, "" if has else nothing)


def positive_range(parts: Sequence[Seen]) -> tuple[float, float] | None:
    """Return what a logarithmic axis must hold; None where nothing is above 0."""
    every = [row[name] for part in parts for row in part.points for name in ("y", "y_lo", "y_hi")]
    above = [value for value in every if isfinite(value) and value > 0]
    if not above:
        return None
    room = max((max(above) / min(above)) ** LOG_ROOM, LEAST_ROOM)
    return min(above) / room, max(above) * room


def course(own: Own, quantity: str, compartment: str) -> list[Row]:
    """Return every visit with its amount and what is drawn of it; nothing where it was never measured there."""
    amounts = own.amounts.get((quantity, compartment), {})
    if not amounts:
        return []
    unit = next((row["unit"] for row in amounts.values() if row["unit"]), None)
    return [
        _pointed(
            {**UNKNOWN, **amounts.get(visit, {}), **{name: row[name] for name in ABOUT_VISIT}, "unit": unit}, quantity
        )
        for visit, row in own.visits.items()
    ]


def _pointed(row: Row, quantity: str) -> Row:
    """Return a visit with what is drawn of it."""
    value, observed, limit = row["value"], row["value_observed"], row["lod_mm3"]
    if isfinite(value) and value == 0:
        known = quantity == "volume_mm3" and isfinite(limit)
        return {**row, "y": limit if known else 0.0, "y_lo": 0.0, "y_hi": nan, "state": "below", "word": ""}
    if isfinite(value):
        state = "hollow" if row["comparable"] is False else "measured"
        return {**row, "y": value, "y_lo": row["lo"], "y_hi": row["hi"], "state": state, "word": ""}
    if isfinite(observed):
        return {**row, "y": observed, "y_lo": nan, "y_hi": nan, "state": "part", "word": ""}
    word = "not in the field" if row["evaluable"] == 0 else "not measurable"
    return {**row, "y": nan, "y_lo": nan, "y_hi": nan, "state": "absent", "word": word}


def _base(points: list[Row], from_baseline: list[Row], baseline: str | None) -> float:
    """Return the amount at the baseline."""
    at_baseline = [row["value"] for row in points if row["visit_id"] == baseline and isfinite(row["value"])]
    before = [row["before"] for row in from_baseline if isfinite(row["before"])]
    return float((at_baseline + before[::-1] + [nan])[0])


def _from_baseline(row: Row, changes: list[Row], *, percent: bool) -> Row:
    """Return a point as a change, by its own comparison: in the field common to both, with its own limits."""
    own = next((one for one in reversed(changes) if one["to_visit"] == row["visit_id"]), None)
    if row["years"] == 0 and isfinite(row["value"]):
        return {**row, "y": 0.0, "y_lo": nan, "y_hi": nan, "state": "measured", "word": ""}
    if own is None or not isfinite(own["change"]):
        return {**row, "y": nan, "y_lo": nan, "y_hi": nan, "state": "absent", "word": row["word"] or "no comparison"}
    if percent and not own["before"] > 0:
        return {**row, "y": nan, "y_lo": nan, "y_hi": nan, "state": "absent", "word": "none before"}
    # In per cent of what was there in the field common to both.
    scale = 100.0 / own["before"] if percent else 1.0
    y, low, high = (own[name] * scale for name in ("change", "lo", "hi"))
    state = "part" if row["state"] == "part" else "hollow" if own["verdict"] == "not_comparable" else "measured"
    return {**row, "y": y, "y_lo": low, "y_hi": high, "state": state, "word": ""}


def _around(changes: list[Row], start: float) -> Band | None:
    """Return the band around what a change is counted from, from ``start`` to the last comparison."""
    own = [row for row in changes if all(isfinite(row[name]) for name in ("detectable", "before", "years"))]
    if not own:
        return None
    before, least = (np.array([row[name] for row in [own[0], *own]]) for name in ("before", "detectable"))
    years = np.array([start, *[row["years"] for row in own]])
    return Band(years, np.maximum(before - least, 0), before + least, before)


def _around_nadir(changes: list[Row]) -> Band | None:
    """Return the band around the lowest amount so far, as the latest visit has it."""
    own = rows.of_kind(changes, "nadir")
    same = [row for row in own if row["from_visit"] == own[-1]["from_visit"]]
    return _around(same, float(same[-1]["from_years"])) if same else None


def _moved(band: Band | None, base: float, factor: float) -> Band | None:
    """Return a band as changes from the baseline."""
    if band is None:
        return None
    low, high = ((each - base) * factor for each in (band.low, band.high))
    return Band(band.years, low, high, None if band.middle is None else (band.middle - base) * factor)


def _fitted(terms: Mapping[str, Row], points: list[Row], happened: list[Row]) -> Band | None:
    """Return the fitted line over the visits that it was fitted to, with its limits."""
    measured = [row for row in points if isfinite(row["value"]) and isfinite(row["years"])]
    end = _closed(happened, measured)
    used = [row for row in measured if row["years"] <= end]
    if len(used) < 2 or "rate" not in terms or isnan(terms["rate"]["estimate"]):
        return None
    return line(terms, used, np.linspace(used[0]["years"], used[-1]["years"], LINE_POINTS))


def _closed(happened: list[Row], measured: list[Row]) -> float:
    """Return when a line ends: at the first surgery after the first visit: what was taken out did not dissolve."""
    first = measured[0]["years"] if measured else inf
    return min((row["years"] for row in happened if row["kind"] == "surgery" and row["years"] >= first), default=inf)


def line(terms: Mapping[str, Row], used: list[Row], years: np.ndarray) -> Band:
    """Return a fitted line and its limits at some times.

    A line of weighted least squares turns about the weighted mean of its visits: there level and rate err apart from
    each other, so that half widths add as squares. Where only the rate is given, the band is that of the rate.

    Parameters
    ----------
    terms : mapping
        Rows of table ``trends`` by term: ``rate`` and perhaps ``level``, at the baseline.
    used : list of dict
        The amounts that the line was fitted to; the widths of their limits give the weights.
    years : ndarray
        (n,) years since the baseline.
    """
    width, times, values = (np.array([_of(row, name) for row in used]) for name in ("width", "years", "value"))
    weights = width**-2.0 if (width > 0).all() else np.ones(len(used))
    pivot = float(np.average(times, weights=weights))
    rate, level = terms["rate"], terms.get("level")
    slope = float(rate["estimate"])
    height = float(np.average(values, weights=weights)) - slope * pivot
    at_pivot = 0.0
    if level is not None and isfinite(level["estimate"]):
        height = float(level["estimate"])
        if isfinite(_half(level)):
            at_pivot = max(_half(level) ** 2 - (_half(rate) * pivot) ** 2, 0.0)
    middle = height + slope * years
    half = np.sqrt(at_pivot + (_half(rate) * (years - pivot)) ** 2)
    return Band(years, middle - half, middle + half, middle)


def _of(row: Row, name: str) -> Any:
    return row["hi"] - row["lo"] if name == "width" else row[name]


def _half(term: Row) -> float:
    return (float(term["hi"]) - float(term["lo"])) / 2
