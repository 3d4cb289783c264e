"""A report on one patient: one file that needs nothing else, HTML or PDF, for the clinic or in full."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from monitor import store
from monitor.export import plots, report_courses, report_page, report_pdf, report_pictures, report_tables, story, words
from monitor.export.workbook import flat
from monitor.placing import placed
from monitor.types import StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED_PATIENTS = 10
"""So many known patients are told where one is not known."""

PARAMETER_LENGTH = 60
"""A longer list of parameters is cut; ``run.json`` has it whole."""

SUFFIXES = (".html", ".pdf")
"""How the name of a report ends."""

FORMS = ("long", "page")
"""What a report is: all there is to say, or one page for the clinic."""


def report(results: str | Path, patient: str, path: str | Path, *, form: str = "long") -> Path:
    """Write a report on one patient as a single file, HTML or tagged PDF, from the same template.

    Parameters
    ----------
    results : path
        A published results folder.
    patient : str
        A ``patient_id`` of any of its tables.
    path : path
        Where the report goes; the name ends in ``.html`` or ``.pdf``. A file there is replaced.
    form : str
        ``long``, or ``page`` for one page; as PDF that is one sheet of A4 whatever there is to say.

    Returns
    -------
    Path
        The file. The same results give the same bytes.

    Raises
    ------
    ValueError
        If ``form`` is unknown.
    StudyError
        If the results have no such patient, the name ends in something else, or what makes a PDF is missing.
    StoreError
        If there are no results, or the file cannot be written.
    """
    if form not in FORMS:
        raise ValueError(f"the form of a report must be one of {', '.join(FORMS)}; got {form!r}")
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise StudyError(f"the name of a report must end in {' or '.join(SUFFIXES)}; got {target.name!r}")
    found, one = _opened(results, patient)
    pages = _short(found, one) if form == "page" else _long(found, one)
    if target.suffix.lower() == ".pdf":
        content = report_pdf.pdf(pages, most=1 if form == "page" else None)
    else:
        content = next(pages).encode()
    with placed(target.parent) as aside:
        (aside / target.name).write_bytes(content)
    return target


def report_figures(results: str | Path, patient: str, folder: str | Path) -> list[Path]:
    """Write every figure of a patient's report as SVG and as PNG.

    Parameters
    ----------
    results : path
        A published results folder.
    patient : str
        A ``patient_id`` of any of its tables.
    folder : path
        Where they go, as ``trajectory_volume_mm3.svg`` and so on. Files of these names are replaced, others stay.

    Returns
    -------
    list of Path
        What was written, by name; nothing where nothing was measured. The same results give the same bytes.

    Raises
    ------
    StudyError
        If the results have no such patient.
    StoreError
        If there are no results, or the folder cannot be written.
    """
    _, one = _opened(results, patient)
    drawn = report_courses.files(one)
    with placed(Path(folder)) as aside:
        for name, content in drawn.items():
            (aside / name).write_bytes(content)
    return [Path(folder) / name for name in sorted(drawn)]


def _opened(results: str | Path, patient: str) -> tuple[store.Results, story.Patient]:
    """Read what there is of one patient."""
    found = store.read_results(results, patient=patient)
    if all(table.empty for table in found.tables.values()):
        short = [store.read_table(results, name, columns=["patient_id"]) for name in ("patients", "visits", "refused")]
        known = sorted({str(one) for table in short for one in table["patient_id"].dropna()})
        more = f" and {len(known) - NAMED_PATIENTS} more" if len(known) > NAMED_PATIENTS else ""
        told = ", ".join(known[:NAMED_PATIENTS]) or "nobody"
        raise StudyError(f"a report must be on a patient of the results, {told}{more}; got {patient!r}")
    return found, story.patient(found.tables, patient)


def _template(name: str) -> jinja2.Template:
    texts = resources.files("monitor.export")
    loader = jinja2.FunctionLoader(lambda asked: texts.joinpath(asked).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader
    )
    return environment.get_template(name)


def _long(found: store.Results, one: story.Patient) -> Iterator[str]:
    drawn = report_courses.figures(one)
    yield _template("report.html.j2").render(
        one=one,
        story=story,
        words=words,
        tables=report_tables,
        created=_created(found.run),
        events=plots.lettered(one.tables["events"]),
        figures=[each.picture(lanes=not number) for number, each in enumerate(drawn)],
        letters=report_courses.letters(one),
        pictures=report_pictures.pictures(found.folder, one),
        framed=report_pictures.framed(found.folder, one),
        run=_told(found.run),
        parameters=_parameters(found.run),
    )


def _short(found: store.Results, one: story.Patient) -> Iterator[str]:
    """Give the one page, each time with less on it."""
    template = _template("report_page.html.j2")
    drawn = report_courses.lead(one)
    top = report_page.ranked(one)[:1]
    pictures = [
        picture
        for lesion in top
        for picture in report_pictures.first_and_last(found.folder, one, lesion, report_page.baseline(one))
    ]
    for room in report_page.ROOMS:
        size = (report_courses.PAGE_WIDTH_IN, room.figure_in)
        yield template.render(
            one=one,
            page=report_page,
            room=room,
            words=words,
            created=_created(found.run),
            figure=drawn.picture(size) if drawn else None,
            lanes_left=plots.lanes_left(drawn.course.events) if drawn else 0,
            pictures=pictures,
            methods=report_page.methods(found.run),
        )


def _created(run: dict[str, object]) -> str:
    """Return when the run ended: a report is as old as what it tells."""
    return str(run.get("ended") or run.get("started") or "")


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
    """Return the parameters by the module that they belong to, each with its value.

    What is no number or word but an object of the program is left out: its text names a folder or a place in memory.
    """
    given = run.get("parameters")
    found: dict[str, list[str]] = {}
    for name, value in flat(given) if isinstance(given, dict) else []:
        module, _, constant = name.rpartition(".")
        if not any(sign in value for sign in ("<module", "<function")):
            found.setdefault(module or "all", []).append(f"{constant} {words.short(value, PARAMETER_LENGTH)}")
    return [(module, "; ".join(told)) for module, told in found.items()]
