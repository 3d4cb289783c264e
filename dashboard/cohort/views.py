"""What each part of the page shows for a choice: figures with their words, and the card of the chosen patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dashboard import words
from dashboard.cohort import rows, shown
from dashboard.cohort import words as told
from dashboard.cohort.forest import forest_figure, forest_rows
from dashboard.cohort.lanes import lanes_figure
from dashboard.cohort.plots import Axis, bands_figure, lines_figure, own_course, say_nothing
from dashboard.cohort.wanted import kept
from dashboard.cohort.waterfall import waterfall_figure
from dashboard.markup import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from dashboard.cohort.rows import Cohort
    from dashboard.cohort.wanted import Wanted
    from dashboard.study import Study

Shown = tuple["go.Figure", str]
"""A figure and its words."""


def main(study: Study, wanted: Wanted, chosen: int | None) -> Shown:
    """Return the first figure, as bands, lines or changes."""
    known, left = _left(study, wanted)
    if not left.any():
        return _nothing(told.NOBODY if not len(left) else told.NOBODY_LEFT)
    chosen = _among(left, chosen)
    figure, said = (
        _changes(known, left, wanted, chosen)
        if wanted.show == "change"
        else _amounts(study, known, left, wanted, chosen)
    )
    figure.layout.uirevision = f"{wanted.quantity}|{wanted.compartment}|{wanted.scale}|{wanted.show}|{wanted.unit}"
    return figure, said


def waterfall(study: Study, wanted: Wanted, chosen: int | None) -> Shown:
    """Return the waterfall of changes."""
    known, left = _left(study, wanted)
    found = shown.bars(known, left, wanted)
    if found.table.empty:
        return _nothing(told.NO_CHANGE, told.no_bar_sentence(found))
    unit = told.UNIT_PERCENT if wanted.percent else known.unit
    figure = waterfall_figure(
        found, _ids(known), chosen=chosen, title=change_title(known, wanted), percent=wanted.percent
    )
    return figure, told.bars_sentence(found, unit, best=wanted.best == "best")


def lanes(study: Study, wanted: Wanted, chosen: int | None, first: Sequence[int]) -> Shown:
    """Return the lanes of treatments and events of the patients that stand first in the table."""
    known, left = _left(study, wanted)
    order = shown.at_most(first, left, chosen)
    if not len(order):
        return _nothing(told.NOBODY_LEFT)
    events, visits = rows.events(study), rows.visits(study)
    figure = lanes_figure(order, _ids(known), events=events, visits=visits, chosen=chosen)
    said = told.order_sentence(len(order), int(left.sum())) + told.lanes_sentence(order, events, visits)
    return figure, said


def forest(study: Study, wanted: Wanted, chosen: int | None, first: Sequence[int]) -> Shown:
    """Return the rates of the patients that stand first in the table, and those of the cohort and its arms."""
    known, left = _left(study, wanted)
    order = shown.at_most(first, left, chosen)
    found = forest_rows(known.people, order)
    cohort = rows.cohort_rates(study, wanted.quantity, wanted.compartment)
    said = told.order_sentence(len(order), int(left.sum()))
    if found.empty and cohort.empty:
        return _nothing(told.NO_RATES, said)
    per_year = rate_unit(known)
    title = f"Rate ({plain_text(words.unit_name(per_year))})"
    figure = forest_figure(found, _ids(known), cohort=cohort, chosen=chosen, title=title)
    said += told.forest_sentence(found, len(order), per_year) if len(found) else told.NO_RATES
    return figure, said + told.cohort_sentence(cohort, narrowed=wanted.narrowed)


def own_trace(study: Study, wanted: Wanted, chosen: int | None) -> Any:
    """Return the chosen patient's course as the first figure draws it; empty for who is not among those left."""
    known, left = _left(study, wanted)
    chosen = _among(left, chosen)
    return _own_change(known, wanted, chosen) if wanted.show == "change" else _own(known, chosen)


def counted(study: Study, wanted: Wanted) -> tuple[int, int]:
    """Return how many patients a choice leaves, and how many there are."""
    _, left = _left(study, wanted)
    return int(left.sum()), len(left)


def card(study: Study, wanted: Wanted, chosen: int) -> dict[str, str]:
    """Return what is said of the chosen patient: id, who, symbol, tone and the sentence of the verdict."""
    known, left = _left(study, wanted)
    quantity, compartment = wanted.quantity, wanted.compartment
    who = known.people.iloc[chosen]
    changes = known.changes[known.changes["row"] == chosen].assign(quantity=quantity)
    course = pd.concat([part[part["row"] == chosen] for part in (known.courses, known.left_out)])
    latest = None if changes.empty else changes.iloc[-1]
    events = rows.events(study)
    sentence = words.change_sentence(latest, events[events["row"] == chosen], course=course, where=compartment)
    found = words.mark(words.VERDICTS, None if latest is None else latest["verdict"])
    apart = "" if left[chosen] else told.NOT_AMONG
    return {"patient": str(who["patient_id"]), "who": told.who_sentence(who) + apart, "symbol": found.symbol,
            "tone": found.tone, "sentence": sentence}  # fmt: skip


def change_title(known: Cohort, wanted: Wanted) -> str:
    """Return the title of an axis of changes, unit included, as plotly takes it."""
    unit = told.UNIT_PERCENT if wanted.percent else plain_text(words.unit_name(known.unit))
    return f"Change from baseline ({unit})" if unit else "Change from baseline"


def rate_unit(known: Cohort) -> str:
    """Return the unit of rates: that of the amount, per year."""
    return f"{known.unit}/a"


def _left(study: Study, wanted: Wanted) -> tuple[Cohort, np.ndarray]:
    known = rows.cohort(study, wanted.quantity, wanted.compartment)
    return known, kept(known.people, wanted)


def _among(left: np.ndarray, chosen: int | None) -> int | None:
    """Return the chosen patient where a choice leaves it, else nobody."""
    return chosen if chosen is not None and left[chosen] else None


def _amounts(study: Study, known: Cohort, left: np.ndarray, wanted: Wanted, chosen: int | None) -> Shown:
    """Return bands or lines of amounts; lines where too few are left for bands."""
    drawn = shown.lines(known.courses, left)
    if drawn.courses.empty:
        return _nothing(told.NOTHING, told.left_out_sentence(known, left))
    parts = shown.groups(known.people, left, wanted.colour)
    title = plain_text(words.axis_title(known.quantity, known.unit))
    axis = Axis(title, plain_text(words.unit_name(known.unit)), log=wanted.log)
    own = _own(known, chosen)
    few = ""
    if wanted.show == "bands":
        found = shown.bands(rows.gridded(study, known.quantity, known.compartment), parts)
        if found:
            zero = told.zero_quantiles_sentence(found) if wanted.log else ""
            said = told.bands_sentence(found, known.unit) + zero
            return bands_figure(found, own=own, axis=axis), said + told.left_out_sentence(known, left)
        few = told.too_few_sentence()
    zeros = int((drawn.courses["value"] <= 0).sum()) if wanted.log else 0
    said = few + told.lines_sentence(drawn, known.unit) + told.zeros_sentence(zeros)
    return lines_figure(drawn, parts, _ids(known), own=own, axis=axis), said + told.left_out_sentence(known, left)


def _changes(known: Cohort, left: np.ndarray, wanted: Wanted, chosen: int | None) -> Shown:
    """Return changes from the baseline over time."""
    drawn = shown.lines(shown.change_courses(known, percent=wanted.percent), left)
    if drawn.courses.empty:
        return _nothing(told.NO_CHANGE, told.verdicts_sentence(known.people, left))
    unit = told.UNIT_PERCENT if wanted.percent else known.unit
    axis = Axis(change_title(known, wanted), plain_text(words.unit_name(unit)), signed=True)
    parts = shown.groups(known.people, left, wanted.colour)
    figure = lines_figure(drawn, parts, _ids(known), own=_own_change(known, wanted, chosen), axis=axis)
    return figure, told.changes_sentence(known, left, drawn, unit) + told.log_sentence(log=wanted.scale == "log")


def _own(known: Cohort, chosen: int | None) -> go.Scatter:
    at = -1 if chosen is None else chosen
    parts = [part.loc[part["row"] == at, ["years", "value", "comparable"]] for part in (known.courses, known.left_out)]
    course = pd.concat(parts)
    return own_course(course[course["value"].notna()], _name(known, chosen), plain_text(words.unit_name(known.unit)))


def _own_change(known: Cohort, wanted: Wanted, chosen: int | None) -> go.Scatter:
    every = shown.change_courses(known, percent=wanted.percent)
    course = every[every["row"] == (-1 if chosen is None else chosen)].assign(comparable=True)
    unit = told.UNIT_PERCENT if wanted.percent else plain_text(words.unit_name(known.unit))
    return own_course(course, _name(known, chosen), unit)


def _name(known: Cohort, chosen: int | None) -> str:
    return "" if chosen is None else str(known.people["patient_id"].iloc[chosen])


def _ids(known: Cohort) -> np.ndarray:
    return known.people["patient_id"].to_numpy(object)


def _nothing(*said: str) -> Shown:
    return say_nothing(said[0]), "".join(said)
