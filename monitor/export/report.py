"""A report on one patient: one HTML file that needs nothing else, neither a script nor a network."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd
from PIL import Image

from monitor import store
from monitor.export import plots, story, words
from monitor.export.workbook import flat
from monitor.placing import placed
from monitor.types import StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED_PATIENTS = 10
"""So many known patients are told where one is not known."""

LESION_PICTURES = 4
"""Pictures of lesions beside the two overviews; the largest first."""

PICTURE_BYTES = 600_000
"""A larger picture is made smaller: six of this size stay below 5 MB as text."""

PICTURE_PIXELS = 1760
"""Longest side of a picture that was made smaller."""

PARAMETER_LENGTH = 60
"""A longer list of parameters is cut; ``run.json`` has it whole."""


@dataclass(frozen=True)
class Picture:
    """A picture in the page: its bytes as a data URI, what it shows, and its size in pixels."""

    src: str
    alt: str
    caption: str
    width: int = 0
    height: int = 0


def report(results: str | Path, patient: str, path: str | Path) -> Path:
    """Write a report on one patient as a single HTML file.

    Parameters
    ----------
    results : path
        A published results folder.
    patient : str
        A ``patient_id`` of any of its tables.
    path : path
        Where the report goes; the name ends in ``.html``. A file there is replaced.

    Returns
    -------
    Path
        The file. The same results give the same bytes.

    Raises
    ------
    StudyError
        If the results have no such patient, or the name does not end in ``.html``.
    StoreError
        If there are no results, or the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".html":
        raise StudyError(f"the name of a report must end in .html; got {target.name!r}")
    found = store.read_results(results)
    known = sorted({str(one) for table in found.tables.values() for one in table["patient_id"].dropna()})
    if patient not in known:
        more = f" and {len(known) - NAMED_PATIENTS} more" if len(known) > NAMED_PATIENTS else ""
        told = ", ".join(known[:NAMED_PATIENTS]) or "nobody"
        raise StudyError(f"a report must be on a patient of the results, {told}{more}; got {patient!r}")
    page = _page(found, story.patient(found.tables, patient))
    with placed(target.parent) as aside:
        (aside / target.name).write_text(page, encoding="utf-8")
    return target


def _page(found: store.Results, one: story.Patient) -> str:
    source = resources.files("monitor.export").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    events = plots.lettered(one.tables["events"])
    return environment.from_string(source).render(
        one=one,
        story=story,
        words=words,
        events=events,
        figure=_figure(one, events),
        pictures=list(_pictures(found.folder, one)),
        run=_told(found.run),
        parameters=_parameters(found.run),
    )


def _figure(one: story.Patient, events: pd.DataFrame) -> Picture | None:
    drawn = plots.course(one.measured, events)
    if not drawn:
        return None
    findings = " ".join(f"{finding.name}: {finding.said[0]}" for finding in story.findings(one))
    alt = f"Total burden over the years since the baseline, {len(one.measured)} visits. {findings}"
    key = [
        f"{row['letter']} {words.text(row['name'])} ({words.text(row['kind'])})"
        for row in events.to_dict("records")
        if row["letter"]
    ]
    return Picture(_uri("image/svg+xml", drawn), alt, "; ".join(key))


def _pictures(folder: Path, one: story.Patient) -> Iterator[Picture]:
    """Give the overviews of the first and last visit, then the largest lesions at both."""
    visits = one.measured["visit_id"].to_list()
    days = dict(zip(visits, map(words.day, one.measured["date"]), strict=True))
    for visit in dict.fromkeys([*visits[:1], *visits[-1:]]):
        for path in _files(folder, one.patient_id, visit, "qc.png")[:1]:
            alt = f"Overview of scan {visit} of {days[visit]}: skeleton and numbered lesions."
            yield from _picture(path, alt, f"{visit}, {days[visit]}: overview")
    for lesion, visit, volume in _shown_lesions(folder, one):
        shown = words.amount(volume, "mm3") if volume > 0 else "resolved"
        told = f"Lesion {lesion} at {visit}, {days[visit]}: {shown}"
        for path in _files(folder, one.patient_id, visit, f"lesion_{lesion:04d}.png")[:1]:
            yield from _picture(path, f"Axial slice through the place of the lesion. {told}.", told)


def _shown_lesions(folder: Path, one: story.Patient) -> list[tuple[int, str, float]]:
    """Return the largest lesions at the first and the last visit that pictures them."""
    order = {visit: number for number, visit in enumerate(one.measured["visit_id"])}
    lesions = one.tables["lesions"]
    seen = lesions[lesions["volume_mm3"].notna() & lesions["visit_id"].isin(order)]
    sizes = seen.groupby("lesion_id")["volume_mm3"].max().sort_values(ascending=False, kind="stable")
    chosen: list[tuple[int, str, float]] = []
    for lesion in map(int, sizes.index):
        own = seen[seen["lesion_id"] == lesion].sort_values("visit_id", key=lambda ids: ids.map(order), kind="stable")
        rows = [
            (lesion, str(row["visit_id"]), float(row["volume_mm3"]))
            for row in own.to_dict("records")
            if _files(folder, one.patient_id, str(row["visit_id"]), f"lesion_{lesion:04d}.png")
        ]
        room = LESION_PICTURES - len(chosen)
        chosen += [*rows[:1], *rows[1:][-1:]] if room > 1 else rows[-1:]
        if len(chosen) >= LESION_PICTURES:
            break
    return chosen[:LESION_PICTURES]


def _files(folder: Path, patient: str, visit: str, name: str) -> list[Path]:
    """Return the pictures of that name: of the visit, or of each of its scans."""
    own = folder / "images" / patient / visit
    return [path for path in [own / name, *sorted(own.glob(f"*/{name}"))] if path.is_file()]


def _picture(path: Path, alt: str, caption: str) -> Iterator[Picture]:
    """Give a picture as part of the page; one that cannot be read is left out."""
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            if len(content) <= PICTURE_BYTES:
                yield Picture(_uri("image/png", content), alt, caption, *image.size)
            else:
                small = image.convert("RGB")
                small.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
                out = BytesIO()
                small.save(out, "JPEG", quality=85)
                yield Picture(_uri("image/jpeg", out.getvalue()), alt, caption, *small.size)
    except OSError:
        return


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _told(run: dict[str, object]) -> list[tuple[str, str]]:
    """Return what ``run.json`` says of software and run, as label and value."""
    known = dict(flat(run))
    named = {
        "Software": f"{known.get('software.name', 'calcitrack')} {known.get('software.version', 'of unknown version')}",
        "Hash of the source": known.get("software.source", "")[:16],
        "Run": " to ".join(known[name] for name in ("started", "ended") if name in known),
        "Made with": ", ".join(
            f"{name.removeprefix('environment.')} {value}"
            for name, value in known.items()
            if name.startswith("environment.")
        ),
        "Inputs (SHA-256)": ", ".join(
            f"{name.removeprefix('inputs.')} {value[:12]}"
            for name, value in known.items()
            if name.startswith("inputs.")
        ),
    }
    return [(name, value) for name, value in named.items() if value]


def _parameters(run: dict[str, object]) -> list[tuple[str, str]]:
    given = run.get("parameters")
    found = flat(given) if isinstance(given, dict) else []
    return [
        (name, value if len(value) <= PARAMETER_LENGTH else f"{value[:PARAMETER_LENGTH]}…") for name, value in found
    ]
