"""What happens on a choice on a patient's page; what the browser sends is not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ClientsideFunction, Dash, Input, Output, State, no_update

from dashboard import parts
from dashboard.patient import choice, clock, layout, lesions, strip, tree, words
from dashboard.patient.own import own
from dashboard.patient.shown import show, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from dashboard.patient.own import Own
    from dashboard.study import Study

FIELDS = ("quantity", "norm", "compartment", "time", "scale", "extras", "score")
"""Choices in the order in which they come."""


OWN = (("patient-answer", "patient-key"), ("strip-lesion", "strip-words"), ("tree-answer", "tree-words"))
"""What tells whose an answer is, and a part of the page that the check may claim as its output."""


def register(app: Dash, read: Callable[[], Study]) -> None:
    """Connect the parts of the page; the patient is the one whose page was made, never one that a row names."""
    _register_trajectory(app, read)
    _register_lesions(app, read)
    _register_tree(app, read)


def _register_trajectory(app: Dash, read: Callable[[], Study]) -> None:
    @app.callback(
        Output("patient-figure", "figure"),
        Output("patient-place", "style"),
        Output("patient-words", "children"),
        Output("patient-key", "children"),
        Output("patient-verdict", "children"),
        Output("patient-norm", "options"),
        Output("patient-answer", "data"),
        *[Input(f"patient-{name}", "value") for name in FIELDS],
        Input("patient-again", "data"),
        State("patient-id", "data"),
        prevent_initial_call=True,
    )
    def _trajectory(*given: object) -> tuple:
        return show_trajectory(read(), given[-1], dict(zip(FIELDS, given, strict=False)))

    # An answer that was still on its way when the page changed would be another patient's: it is asked for again.
    for answer, place in OWN:
        app.clientside_callback(
            ClientsideFunction("calcitrack_patient", "own"),
            Output(place, "title"),
            Input(answer, "data"),
            State("patient-id", "data"),
            prevent_initial_call=True,
        )


def _register_lesions(app: Dash, read: Callable[[], Study]) -> None:
    @app.callback(
        Output("strip", "children"),
        Output("strip-title", "children"),
        Output("strip-words", "children"),
        Output("strip-lesion", "data"),
        Input("lesions", "selectedRows"),
        Input("strip-source", "value"),
        Input("patient-again", "data"),
        State("strip-lesion", "data"),
        State("patient-id", "data"),
        prevent_initial_call=True,
    )
    def _strip(selected: object, source: object, _: object, held: object, patient: object) -> tuple:
        return show_strip(read(), patient, (selected, source), held)

    app.clientside_callback(
        ClientsideFunction("calcitrack_patient", "latest"),
        Output("strip", "title"),
        Input("strip", "children"),
    )
    app.clientside_callback(
        ClientsideFunction("calcitrack_patient", "search"),
        Output("lesions-found", "children"),
        Input("lesions-search", "value"),
        prevent_initial_call=True,
    )


def _register_tree(app: Dash, read: Callable[[], Study]) -> None:
    app.clientside_callback(
        ClientsideFunction("calcitrack_patient", "pick"),
        Output("tree-place", "title"),
        Input("tree-figure", "clickData"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("tree-figure", "figure"),
        Output("tree-place", "style"),
        Output("tree-words", "children"),
        Output("tree-answer", "data"),
        Input("tree-more", "value"),
        Input("patient-time", "value"),
        Input("patient-again", "data"),
        State("patient-id", "data"),
        prevent_initial_call=True,
    )
    def _tree(more: object, time: object, _: object, patient: object) -> tuple:
        return show_tree(read(), patient, more, time)


def of_patient(study: Study, patient: object) -> Own | None:
    """Return the rows of a patient whom the results know."""
    return own(study, patient) if isinstance(patient, str) and patient in study.ids else None


def show_trajectory(study: Study, patient: object, given: dict[str, object]) -> tuple:
    """Return figure, its style, words and key, the verdicts, what the quantity can be divided by, and whose it is."""
    mine = of_patient(study, patient)
    if mine is None:
        return (no_update,) * 7
    offered = choice.offer(mine)
    chosen = choice.choose(offered, given)
    drawn = show(mine, offered, chosen)
    norms = layout.norm_options(offered, chosen.quantity)
    return (
        drawn.figure,
        parts.figure_style(drawn.figure),
        drawn.said,
        layout.key(drawn),
        verdicts(mine, chosen),
        norms,
        patient,
    )


def show_strip(study: Study, patient: object, given: tuple[object, object], held: object) -> tuple:
    """Return a lesion's pictures, their title and words, and what is shown now; nothing new where that is held.

    Parameters
    ----------
    given : (object, object)
        Selected rows, as the table sends them, and the kind of picture.
    held : object
        Patient, lesion and kind of picture that the page holds.
    """
    mine = of_patient(study, patient)
    selected, source = given
    lesion = lesion_of(selected)
    kind = source if isinstance(source, str) and source in strip.SOURCES else next(iter(strip.SOURCES))
    if mine is None or lesion not in mine.lesions or [patient, lesion, kind] == held:
        return (no_update,) * 4
    pictures = strip.strip(mine, str(patient), lesion, kind)
    return pictures, layout.strip_title(lesion), words.lesion(lesions.lesion_row(mine, lesion)), [patient, lesion, kind]


def lesion_of(selected: object) -> int | None:
    """Return the selected lesion; a table sends rows, a page sends ids.

    >>> lesion_of([{"lesion_id": 3}]), lesion_of({"ids": ["4"]}), lesion_of([["x"]]), lesion_of("5")
    (3, 4, None, None)
    """
    if isinstance(selected, dict):
        ids = selected.get("ids")
        named: Any = ids[0] if isinstance(ids, list) and ids else None
    else:
        first = selected[0] if isinstance(selected, list) and selected else None
        named = first.get("lesion_id") if isinstance(first, dict) else None
    text = str(named)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else None


MOST_DIGITS = 6
"""Digits of a lesion's number at most, as in the names of pictures."""


def show_tree(study: Study, patient: object, more: object, time: object) -> tuple:
    """Return the family tree, its style and its words, and whose it is."""
    mine = of_patient(study, patient)
    if mine is None or not tree.has_events(mine):
        return (no_update,) * 4
    alone = isinstance(more, list) and "alone" in more
    kind = choice.choose(choice.offer(mine), {"time": time}).time
    drawn = tree.figure(mine, clock.clock(mine, kind), came_or_went=alone)
    kinds = (*lesions.EPISODES, *tree.CAME_OR_WENT) if alone else lesions.EPISODES
    return drawn, parts.figure_style(drawn), words.kin(lesions.events(mine, kinds)) or NO_KIN, patient


NO_KIN = "No lesion merged or split."
"""Said where there is no family to draw."""
