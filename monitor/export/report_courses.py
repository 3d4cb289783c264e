"""The figures of a report: one course a quantity, for the page as SVG, for papers as SVG and PNG."""

from __future__ import annotations

from dataclasses import dataclass, replace

from monitor.export import plots, story, words
from monitor.export.report_pictures import Picture, uri

PAGE_WIDTH_IN = 7.3
"""Width of the figure on the one page, inches."""

LONG_IN = (7.4, 2.2)
"""Width and height of a figure in the long form: two of them stand on the first page, inches."""

NAME_CHARS = 60
"""A longer name of an event is cut; the table of events has it whole."""

KINDS = ("svg", "png")
"""What each figure is written as."""


@dataclass(frozen=True)
class Drawn:
    """A figure: the name of its file without ending, its course, what a reader must know, and a text instead of it."""

    name: str
    course: plots.Course
    caption: str
    alt: str

    def picture(self, size_in: tuple[float, float] = LONG_IN, *, lanes: bool = True) -> Picture:
        """Return it as part of a page, with or without lanes of events."""
        drawn = plots.trajectory(self.course, size_in=size_in, lanes=lanes)
        return Picture(uri("image/svg+xml", drawn), self.alt, self.caption)


def figures(one: story.Patient) -> list[Drawn]:
    """Return the figures of a patient; none where nothing was measured."""
    courses = [story.course(one, name) for name in plots.DRAWN]
    return [_drawn(one, course) for course in courses if not course.empty]


def lead(one: story.Patient) -> Drawn | None:
    """Return the figure of the one page: of the volume, or of the excess where that judges the change."""
    found = figures(one)
    if one.measured.empty:
        return None
    since = story.change_at(one, "volume_mm3", "baseline", one.measured.iloc[-1]["visit_id"])
    by_excess = since is not None and words.judged_by_excess(since)
    first = "excess_hu_mm3" if by_excess else "volume_mm3"
    chosen = next((each for each in found if each.course.quantity == first), found[0] if found else None)
    return unlettered(chosen) if chosen else None


def unlettered(drawn: Drawn) -> Drawn:
    """Return a figure without the letters of its events, where no table beside it explains them."""
    return replace(drawn, course=replace(drawn.course, events=drawn.course.events.assign(letter="")))


def files(one: story.Patient) -> dict[str, bytes]:
    """Return every figure by the name of its file."""
    return {f"{each.name}.{kind}": plots.trajectory(each.course, kind=kind) for each in figures(one) for kind in KINDS}


def _drawn(one: story.Patient, course: plots.Course) -> Drawn:
    name = course.quantity
    said = next((finding for finding in story.findings(one) if finding.name == words.quantity_name(name)), None)
    alt = f"{words.quantity_name(name)} over the years since the baseline, {len(one.measured)} visits."
    if said is not None:
        alt = f"{alt} {said.mark[1]}. {' '.join(said.said)}"
    return Drawn(f"trajectory_{name}", course, " ".join(filter(None, [_rate(course), _no_band(course)])), alt)


def _rate(course: plots.Course) -> str:
    rate = story.rate(course)
    return f"Fitted line: {rate}." if rate else ""


def _no_band(course: plots.Course) -> str:
    """Say which visits the band leaves out, and why."""
    left = words.listed(plots.no_band(course))
    return f"No band at {left}: compared in the field common to both visits." if left else ""


def letters(one: story.Patient) -> str:
    """Say what the letters of the lanes stand for."""
    return "; ".join(
        f"{row['letter']} {words.short(words.text(row['name']), NAME_CHARS)} ({words.text(row['kind'])})"
        for row in plots.lettered(one.tables["events"]).to_dict("records")
        if row["letter"]
    )
