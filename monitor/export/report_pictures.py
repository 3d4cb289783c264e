"""The pictures of a report: which ones of the results folder it shows, read, made small and told in words."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from monitor.export import story, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LESION_PICTURES = 4
"""Pictures of lesions beside the two overviews, where there are no frames; the largest first."""

FRAMED_LESIONS, FRAMED_VISITS = 3, 4
"""So many lesions are shown in one frame, each at so many visits at most: the first, the last, and between them."""

PICTURE_BYTES = 600_000
"""A larger picture is made smaller: six of this size stay below 5 MB as text."""

FRAME_BYTES = 150_000
"""The same for frames, of which there are twelve."""

PICTURE_PIXELS = 1760
"""Longest side of a picture that was made smaller."""

FRAME_PIXELS = 1200
"""The same for a frame: 330 dots an inch over half the width of text on A4."""

QUALITY = 85
"""Quality of a JPEG: no block is seen at the size of print."""


@dataclass(frozen=True)
class Picture:
    """A picture in the page: its bytes as a data URI, what it shows, and its size in pixels."""

    src: str
    alt: str
    caption: str
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Row:
    """Pictures that belong beside each other: one lesion over the visits."""

    title: str
    pictures: list[Picture]


def uri(kind: str, content: bytes) -> str:
    """Return bytes as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def pictures(folder: Path, one: story.Patient) -> list[Picture]:
    """Return the overviews of the first and last visit; without frames also the largest lesions at both."""
    visits = one.measured["visit_id"].to_list()
    days = _days(one)
    found: list[Picture] = []
    for visit in dict.fromkeys([*visits[:1], *visits[-1:]]):
        for path in _files(folder, one.patient_id, visit, "qc.png")[:1]:
            alt = f"Overview of scan {visit} of {days[visit]}: skeleton and numbered lesions."
            found += _picture(path, alt, f"{visit}, {days[visit]}: overview")
    if not framed(folder, one):
        for lesion, visit, volume in _shown_lesions(folder, one):
            found += _slice(folder, one, lesion, visit, volume)
    return found


def framed(folder: Path, one: story.Patient) -> list[Row]:
    """Return the largest lesions over the visits, resampled into one frame; nothing where a run left no frames."""
    order = _order(one)
    rows: list[Row] = []
    for lesion in _by_size(one, order):
        own = [row for row in _rows(one, lesion, order) if _frame(folder, one, lesion, str(row["visit_id"]))]
        if own:
            shown = [own[place] for place in _spread(len(own), FRAMED_VISITS)]
            found = [picture for row in shown for picture in framed_at(folder, one, lesion, row)]
            where = story.where(one.tables["lesions"][one.tables["lesions"]["lesion_id"] == lesion])
            rows.append(Row(f"Lesion {lesion}{f', {where}' if where else ''}", found))
        if len(rows) == FRAMED_LESIONS:
            break
    return [row for row in rows if row.pictures]


def first_and_last(folder: Path, one: story.Patient, lesion: int, start: str) -> list[Picture]:
    """Return a lesion at the baseline, else where it is first pictured, and at the last visit that pictures it."""
    order = _order(one)
    rows = [row for row in _rows(one, lesion, order) if _any(folder, one, lesion, str(row["visit_id"]))]
    first = next((row for row in rows if row["visit_id"] == start), rows[0] if rows else None)
    shown = [first, *([rows[-1]] if rows[-1:] != [first] else [])] if first is not None else []
    found: list[Picture] = []
    for row in shown:
        framed_ones = framed_at(folder, one, lesion, row)
        found += framed_ones or _slice(folder, one, lesion, str(row["visit_id"]), float(row["volume_mm3"]))
    return found


def framed_at(folder: Path, one: story.Patient, lesion: int, row: dict[str, Any]) -> list[Picture]:
    """Return the frame of a lesion at a visit, or nothing."""
    visit, told = str(row["visit_id"]), _told(one, lesion, str(row["visit_id"]), float(row["volume_mm3"]))
    alt = f"Three planes through the place of the lesion, resampled into one frame. {told}."
    return [
        picture
        for path in _frame(folder, one, lesion, visit)[:1]
        for picture in _picture(path, alt, told, most=FRAME_BYTES, pixels=FRAME_PIXELS)
    ]


def _slice(folder: Path, one: story.Patient, lesion: int, visit: str, volume: float) -> list[Picture]:
    told = _told(one, lesion, visit, volume)
    alt = f"Axial slice through the place of the lesion. {told}."
    return [
        picture
        for path in _files(folder, one.patient_id, visit, f"lesion_{lesion:04d}.png")[:1]
        for picture in _picture(path, alt, told)
    ]


def _told(one: story.Patient, lesion: int, visit: str, volume: float) -> str:
    shown = words.amount(volume, "mm3") if volume > 0 else "resolved"
    return f"Lesion {lesion} at {visit}, {_days(one)[visit]}: {shown}"


def _days(one: story.Patient) -> dict[str, str]:
    return dict(zip(one.measured["visit_id"].astype(str), map(words.day, one.measured["date"]), strict=True))


def _order(one: story.Patient) -> dict[str, int]:
    return {str(visit): number for number, visit in enumerate(one.measured["visit_id"])}


def _seen(one: story.Patient, order: dict[str, int]) -> pd.DataFrame:
    lesions = one.tables["lesions"]
    return lesions[lesions["volume_mm3"].notna() & lesions["visit_id"].isin(order)]


def _by_size(one: story.Patient, order: dict[str, int]) -> list[int]:
    """Return the lesions, that with the largest volume at any visit first."""
    sizes = _seen(one, order).groupby("lesion_id")["volume_mm3"].max().sort_values(ascending=False, kind="stable")
    return [*map(int, sizes.index)]


def _rows(one: story.Patient, lesion: int, order: dict[str, int]) -> list[dict[str, Any]]:
    seen = _seen(one, order)
    own = seen[(seen["lesion_id"] == lesion).fillna(False)].drop_duplicates("visit_id")
    return story.records(own.sort_values("visit_id", key=lambda ids: ids.map(order), kind="stable"))


def _shown_lesions(folder: Path, one: story.Patient) -> list[tuple[int, str, float]]:
    """Return the largest lesions at the first and the last visit that pictures them."""
    order = _order(one)
    chosen: list[tuple[int, str, float]] = []
    for lesion in _by_size(one, order):
        rows = [
            (lesion, str(row["visit_id"]), float(row["volume_mm3"]))
            for row in _rows(one, lesion, order)
            if _files(folder, one.patient_id, str(row["visit_id"]), f"lesion_{lesion:04d}.png")
        ]
        room = LESION_PICTURES - len(chosen)
        chosen += [*rows[:1], *rows[1:][-1:]] if room > 1 else rows[-1:]
        if len(chosen) >= LESION_PICTURES:
            break
    return chosen[:LESION_PICTURES]


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many places of a list, the first and the last among them, evenly between.

    >>> _spread(3, 4), _spread(12, 4), _spread(1, 4)
    ([0, 1, 2], [0, 4, 7, 11], [0])
    """
    if count <= most:
        return [*range(count)]
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


def _frame(folder: Path, one: story.Patient, lesion: int, visit: str) -> list[Path]:
    return _files(folder, one.patient_id, visit, f"frame_{lesion:04d}.png")


def _any(folder: Path, one: story.Patient, lesion: int, visit: str) -> list[Path]:
    slices = _files(folder, one.patient_id, visit, f"lesion_{lesion:04d}.png")
    return [*_frame(folder, one, lesion, visit), *slices]


def _files(folder: Path, patient: str, visit: str, name: str) -> list[Path]:
    """Return the pictures of that name: of the visit, or of each of its scans."""
    own = folder / "images" / patient / visit
    return [path for path in [own / name, *sorted(own.glob(f"*/{name}"))] if path.is_file()]


def _picture(
    path: Path, alt: str, caption: str, *, most: int = PICTURE_BYTES, pixels: int = PICTURE_PIXELS
) -> Iterator[Picture]:
    """Give a picture as part of the page; one that cannot be read is left out."""
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            if len(content) <= most:
                yield Picture(uri("image/png", content), alt, caption, *image.size)
            else:
                small = image.convert("RGB")
                small.thumbnail((pixels, pixels))
                out = BytesIO()
                small.save(out, "JPEG", quality=QUALITY)
                yield Picture(uri("image/jpeg", out.getvalue()), alt, caption, *small.size)
    except OSError:
        return
