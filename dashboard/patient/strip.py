"""One lesion's pictures at all visits, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dash import html

from dashboard import slices
from dashboard import words as shared
from dashboard.parts import aria
from dashboard.patient import pictures, words

if TYPE_CHECKING:
    from dash.development.base_component import Component

    from dashboard.patient.own import Own, Row

SOURCES = {
    "frame": "one frame for all visits (resampled)",
    "native": "native voxels (axial)",
}
"""Kinds of picture by name; the first is shown at first, and the other where a visit has it alone."""

FILES = {"frame": "frame_{:04d}.png", "native": "lesion_{:04d}.png"}
"""Names of their files."""

BADGES = {"frame": "resampled picture", "native": "native picture"}
"""What is said of a picture that is of the other kind than asked for."""

SIZE = (480, 480)
"""Width and height of a picture that does not tell its own, pixels."""


@dataclass(frozen=True)
class _Picture:
    """A visit's picture: its address, width and height in pixels, and which kind it is; no address: there is none."""

    kind: str
    address: str | None = None
    size: tuple[int, int] = SIZE


def strip(own: Own, patient: str, lesion: int, source: str = "frame") -> list[Component]:
    """Return a figure for every visit: the picture of a lesion, or in words why there is none.

    That of the baseline stands by itself, so that it stays in sight; the others follow, oldest first, to be moved.

    Parameters
    ----------
    own : Own
    patient : str
    lesion : int
        One of the patient's own.
    source : str
        A key of ``SOURCES``; where a visit has only the other picture, that is shown and named.
    """
    course = {str(row["visit_id"]): row for row in own.lesions[lesion]}
    first: list[Component] = []
    others: list[Component] = []
    for visit, scan in own.visits.items():
        given = _given(own, patient, scan, (lesion, source))
        row = course.get(visit)
        status, amount = words.picture(row, scan["lod_mm3"], _why(own, lesion, row, scan["years"]))
        marks = [html.Span("baseline", className="badge")] if visit == own.baseline else []
        other = [html.Div(f"{BADGES[given.kind]}: there is no other")] if given.address and given.kind != source else []
        head: list[Any] = [
            html.Strong(visit),
            f" {shared.day(scan['date'])}, {shared.years(scan['years'])} years",
            *marks,
        ]
        caption = [html.Div(head), html.Div([html.Span(status, className="status"), f" {amount}"]), *other]
        picture = _drawn(given, f"Lesion {lesion} at {visit}: {status}, {amount}")
        figure = html.Figure([html.Figcaption(caption), picture], className=f"visit {given.kind}")
        (first if visit == own.baseline else others).append(figure)
    return [*first, html.Div(others, className="others", tabIndex="0", role="region", **aria(label=OTHERS))]


OTHERS = "Other visits, oldest first"
"""What a screen reader is told of them."""


def _given(own: Own, patient: str, scan: Row, wanted: tuple[int, str]) -> _Picture:
    """Return a visit's picture of a lesion, of the kind asked for if there is one."""
    lesion, source = wanted
    there = pictures.of_visit(own.folder, patient, str(scan["visit_id"]))
    for kind in dict.fromkeys((source, *FILES)):
        address = there.address(FILES[kind].format(lesion), shared.plain(scan["scan_id"]))
        if address is not None:
            return _Picture(kind, address, slices.size_of(own.folder / address.lstrip("/")) or SIZE)
    return _Picture(source)


def _drawn(given: _Picture, about: str) -> Component:
    """Return the picture, which opens in its full size; the browser asks for it when it comes into sight."""
    if given.address is None:
        return html.Div(html.Span("No picture"), className="blank")
    width, height = given.size
    lazy: dict[str, Any] = {"data-src": given.address}
    image = html.Img(alt=about, width=str(width), height=str(height), **lazy)
    return html.A(image, href=given.address, target="_blank", rel="noopener", title="Full size")


def _why(own: Own, lesion: int, row: Row | None, years: float) -> str:
    """Return why a lesion has no row at a visit, or where it went."""
    merged = [one for one in own.lineage if one["lesion_id"] == lesion and one["kind"] == "merged"]
    into = f"into lesion {merged[-1]['into_lesion_id']}" if merged and merged[-1]["into_lesion_id"] is not None else ""
    if row is not None:
        return into if row["status"] == "merged" else ""
    if years < own.lesions[lesion][0]["years"]:
        return "before it was first seen"
    if merged and years >= merged[-1]["years"]:
        return f"merged {into or 'into another lesion'} before"
    return "not recorded at this visit"
