"""One quantity in one compartment as it is drawn: points with their state, bands, and the fitted line."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isclose, isfinite, isnan, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from dashboard.patient import rows
from monitor.fitted import half_width, weighted_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboard.patient.own import Own, Row

STATES = ("measured", "hollow", "part", "below", "unlike", "absent")
"""What is drawn of a visit: a filled point; a hollow one, not comparable; part of the field; none found; none found and
not comparable; no amount."""

NONE_FOUND = ("below", "unlike")
"""States of a visit at which nothing was found."""

OUT_OF_FIELD = "not in the field"
"""Said of a visit that did not cover any lesion known by then."""

ALONE = 0.012
"""Half the width of the band of a visit beside which there is none, as a share of the time of the comparisons."""

SAME = 1e-6
"""Relative difference up to which two amounts are the same one: the tables sum in another order."""

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
    no_band : tuple of str
        Visits without a band round the baseline: they were compared with it in the field common to both, where it holds
        another amount than the one that is drawn.
    unlike : int
        Visits that the line is fitted to and that are not comparable with the baseline.
    """

    compartment: str
    unit: str
    points: list[Row]
    around_baseline: Band | None = None
    around_nadir: Band | None = None
    fit: Band | None = None
    why_nothing: str = ""
    no_band: tuple[str, ...] = ()
    unlike: int = 0


def seen(own: Own, quantity: str, compartment: str, scale: str = "linear") -> Seen:
    """Return what is drawn of one quantity in one compartment, on one scale."""
    points = course(own, quantity, compartment)
    if not points:
        return Seen(compartment, "", points, why_nothing="Nothing was measured here.")
    unit = next((str(row["unit"]) for row in points if row["unit"]), "")
    changes = own.changes(quantity, compartment)
    from_baseline = rows.of_kind(changes, "baseline")
    terms = rows.trend(own, quantity, compartment)
    used = fitted_to(points, own.happened)
    fit, unlike = _fitted(terms, used), sum(row["comparable"] is False for row in used)
    whole = {str(row["visit_id"]): float(row["value"]) for row in points}
    at_baseline = whole.get(str(own.baseline), nan)
    nadir = _since_nadir(changes, whole)
    left_out: tuple[str, ...] = ()
    if scale in FROM_BASELINE:
        base = _base(at_baseline, from_baseline)
        if isnan(base) or (scale == "percent" and base <= 0):
            why = f"There is {'no amount' if isnan(base) else 'nothing'} at the baseline to count from."
            return Seen(compartment, unit, points, why_nothing=why, unlike=unlike)
        percent = scale == "percent"
        points = [_from_baseline(row, from_baseline, percent=percent) for row in points]
        # The amounts of line and nadir are whole ones: they move by a whole one, or there is nothing to move them by.
        factor = 100.0 / at_baseline if percent and at_baseline > 0 else nan if percent else 1.0
        bands = (
            _around_nothing(from_baseline, percent=percent),
            _moved(_around(nadir), at_baseline, factor),
            _moved(fit, at_baseline, factor),
        )
        unit = "%" if percent else unit
    else:
        same, left_out = _of_amount(from_baseline, at_baseline)
        bands = (_around(_started(same, 0.0)), _around(nadir), fit)
    nothing = "Nothing was compared with the baseline." if scale in FROM_BASELINE else "Nothing could be measured here."
    has = any(row["state"] != "absent" for row in points)
    return Seen(compartment, unit, points, *bands, "" if has else nothing, left_out, unlike)


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
    apart = row["comparable"] is False
    if isfinite(value) and value == 0:
        known = quantity == "volume_mm3" and isfinite(limit)
        state = "unlike" if apart else "below"
        return {**row, "y": limit if known else 0.0, "y_lo": 0.0, "y_hi": nan, "state": state, "word": ""}
    if isfinite(value):
        state = "hollow" if apart else "measured"
        return {**row, "y": value, "y_lo": row["lo"], "y_hi": row["hi"], "state": state, "word": ""}
    # Where no known lesion was in the field, the sum of what was seen is a 0 that says nothing.
    if row["evaluable"] == 0:
        return {**row, "y": nan, "y_lo": nan, "y_hi": nan, "state": "absent", "word": OUT_OF_FIELD}
    if isfinite(observed):
        return {**row, "y": observed, "y_lo": nan, "y_hi": nan, "state": "part", "word": ""}
    return {**row, "y": nan, "y_lo": nan, "y_hi": nan, "state": "absent", "word": "not measurable"}


def _base(at_baseline: float, from_baseline: list[Row]) -> float:
    """Return the amount at the baseline, or what of it was compared last."""
    before = [row["before"] for row in from_baseline if isfinite(row["before"])]
    return at_baseline if isfinite(at_baseline) else float([nan, *before][-1])


def _from_baseline(row: Row, changes: list[Row], *, percent: bool) -> Row:
    """Return a point as a change, by its own comparison: in the field common to both, with its own limits."""
    own = next((one for one in reversed(changes) if one["to_visit"] == row["visit_id"]), None)
    if row["years"] == 0 and isfinite(row["value"]):
        return {**row, "y": 0.0, "y_lo": nan, "y_hi": nan, "state": "measured", "word": ""}
    if own is None or not isfinite(own["change"]) or row["word"] == OUT_OF_FIELD:
        return {**row, "y": nan, "y_lo": nan, "y_hi": nan, "state": "absent", "word": row["word"] or "no comparison"}
    if percent and not own["before"] > 0:
        return {**row, "y": nan, "y_lo": nan, "y_hi": nan, "state": "absent", "word": "none before"}
    # In per cent of what was there in the field common to both.
    scale = 100.0 / own["before"] if percent else 1.0
    y, low, high = (own[name] * scale for name in ("change", "lo", "hi"))
    state = "part" if row["state"] == "part" else "hollow" if own["verdict"] == "not_comparable" else "measured"
    return {**row, "y": y, "y_lo": low, "y_hi": high, "state": state, "word": ""}


def _judged(changes: list[Row]) -> list[Row]:
    """Return the comparisons that tell when they are of, from what, and the smallest change that counts."""
    return [row for row in changes if all(isfinite(row[name]) for name in ("detectable", "before", "years"))]


def _of_amount(changes: list[Row], amount: float) -> tuple[list[Row], tuple[str, ...]]:
    """Return the comparisons from an amount as it is drawn, those from another one without a width; and their visits.

    One made in the field common to two visits starts from what the earlier holds there: a band round the earlier's
    whole amount would not be that of the change, nor one round another amount that of the amount.
    """
    own = _judged(changes)
    same = [isclose(row["before"], amount, rel_tol=SAME) for row in own]
    if not any(same):
        return [], tuple(str(row["to_visit"]) for row in own)
    kept = [row if is_it else {**row, "detectable": nan} for row, is_it in zip(own, same, strict=True)]
    return kept, tuple(str(row["to_visit"]) for row, is_it in zip(own, same, strict=True) if not is_it)


def _started(own: list[Row], start: float) -> list[Row]:
    """Return comparisons in order of time from ``start`` on, there with the first width that there is."""
    first = [{**row, "years": start} for row in own if isfinite(row["detectable"])][:1]
    return sorted([*first, *own], key=lambda row: float(row["years"]))


def _widened(own: list[Row]) -> list[Row]:
    """Return comparisons with one that has no neighbour twice, a little before and after: else it had no band."""
    known = [False, *(isfinite(row["detectable"]) for row in own), False]
    room = ALONE * (own[-1]["years"] - own[0]["years"]) if own else 0.0
    found: list[Row] = []
    for place, row in enumerate(own, start=1):
        alone = known[place] and not known[place - 1] and not known[place + 1]
        found += [{**row, "years": row["years"] + side * room} for side in (-1, 1)] if alone else [row]
    return found


def _around(comparisons: list[Row]) -> Band | None:
    """Return the band around what a change is counted from; None where there is none."""
    own = _widened(comparisons)
    before, least, years = (np.array([row[name] for row in own], float) for name in ("before", "detectable", "years"))
    known = np.isfinite(least)
    if not known.any():
        return None
    return Band(years, np.maximum(before - least, 0), before + least, np.where(known, before, nan))


def _around_nothing(changes: list[Row], *, percent: bool) -> Band | None:
    """Return the band around no change, as wide at each visit as its own comparison has it."""
    own = [row for row in _judged(changes) if row["before"] > 0 or not percent]
    if not own:
        return None
    own = _started(own, 0.0)
    least = np.array([row["detectable"] * (100.0 / row["before"] if percent else 1.0) for row in own], float)
    return Band(np.array([row["years"] for row in own], float), -least, least, np.zeros(len(own)))


def _since_nadir(changes: list[Row], whole: Mapping[str, float]) -> list[Row]:
    """Return the comparisons with the lowest amount so far, as the latest visit has it."""
    own = rows.of_kind(changes, "nadir")
    latest = [row for row in own if row["from_visit"] == own[-1]["from_visit"]]
    same, _ = _of_amount(latest, whole.get(str(latest[-1]["from_visit"]), nan)) if latest else ([], ())
    return _started(same, float(latest[-1]["from_years"])) if same else []


def _moved(band: Band | None, base: float, factor: float) -> Band | None:
    """Return a band as changes from the baseline; None where that is not known."""
    if band is None or not isfinite(base * factor):
        return None
    low, high = ((each - base) * factor for each in (band.low, band.high))
    return Band(band.years, low, high, None if band.middle is None else (band.middle - base) * factor)


def fitted_to(points: list[Row], happened: list[Row]) -> list[Row]:
    """Return the visits that a line was fitted to: those with a total, up to a surgery."""
    measured = [row for row in points if isfinite(row["value"]) and isfinite(row["years"])]
    end = _closed(happened, measured)
    return [row for row in measured if row["years"] <= end]


def _fitted(terms: Mapping[str, Row], used: list[Row]) -> Band | None:
    """Return the fitted line over the visits that it was fitted to, with its limits."""
    if len(used) < 2 or "rate" not in terms or isnan(terms["rate"]["estimate"]):
        return None
    return line(terms, used, np.linspace(used[0]["years"], used[-1]["years"], LINE_POINTS))


def _closed(happened: list[Row], measured: list[Row]) -> float:
    """Return when a line ends: at the first surgery after the first visit: what was taken out did not dissolve."""
    first = measured[0]["years"] if measured else inf
    return min((row["years"] for row in happened if row["kind"] == "surgery" and row["years"] >= first), default=inf)


def line(terms: Mapping[str, Row], used: list[Row], years: np.ndarray) -> Band:
    """Return a fitted line and its limits at some times.

    Where only the rate is given, the band is that of the rate.

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
    about = weighted_mean(times, width)
    rate, level = terms["rate"], terms.get("level")
    slope = float(rate["estimate"])
    known = level is not None and isfinite(level["estimate"])
    # The line goes through the weighted mean of its visits, in height too.
    height = float(level["estimate"]) if level is not None and known else weighted_mean(values, width) - slope * about
    middle = height + slope * years
    half = half_width(years, about=about, level=_half(level) if level is not None and known else nan, rate=_half(rate))
    return Band(years, middle - half, middle + half, middle)


def _of(row: Row, name: str) -> Any:
    return row["hi"] - row["lo"] if name == "width" else row[name]


def _half(term: Row) -> float:
    return (float(term["hi"]) - float(term["lo"])) / 2
