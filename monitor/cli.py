"""The command ``calcitrack``: arguments, progress and exit codes; no science.

Each command imports its step when it is called: importing all of them takes seconds, and ``--help`` needs none.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich import progress as bars
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.errors import StoreError, StudyError

if TYPE_CHECKING:
    from monitor.check import Checked
    from monitor.crew import Progress
    from monitor.store import Results
    from monitor.types import Trend

MEASURED, REFUSED, USAGE, FAULT = 0, 1, 2, 3
"""Exit status: all measured; something was refused; wrong usage or unreadable study; a fault of ours."""

app = typer.Typer(
    help="Follow calcifications over serial CT. Research use only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(stderr=True)

MODELS = (
    *("patient-trend", "cohort-rate", "treatment-slope", "sensitivity", "mmrm", "half-life", "curves"),
    *("new-lesions", "new-volume", "time-to-new-lesion", "responders", "repeatability"),
)
"""What ``calcitrack stats --model`` knows: the functions of ``monitor.stats``."""

PLOTS = ("spaghetti", "forest", "waterfall", "agreement", "profile")
"""What ``calcitrack plot`` draws: the functions of ``monitor.export.statplots``."""

SUFFIXES = (".svg", ".png")
"""How the name of a picture ends."""

MORE = {"method": "auto", "covariance": "unstructured", "visit": "visit", "baseline": None}
"""What ``calcitrack stats --set`` takes: the method of a rate, and what ``mmrm`` asks; with what it is unless set."""

Workers = Annotated[int, typer.Option(min=1, help="Processes side by side; results do not depend on it.")]


def main() -> None:
    """Run the command; a fault of ours ends with status 3."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its warnings print values of headers
    try:
        app()
    except (StudyError, StoreError) as error:
        console.print(f"[bold red]error[/]: {error}", highlight=False, soft_wrap=True)
        sys.exit(USAGE)
    except Exception:  # whatever it is, it is ours: status 3, and the traceback is what a defect report needs
        console.print(traceback.format_exc(), markup=False, highlight=False)
        console.print("[bold red]fault[/]: this is a defect of calcitrack; nothing was published")
        sys.exit(FAULT)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="Study folder with visits.csv.")],
    results: Annotated[Path, typer.Argument(help="Where the results are published.")],
    patient: Annotated[str | None, typer.Option(help="Measure this patient alone.")] = None,
    workers: Workers = min(2, os.cpu_count() or 1),
) -> None:
    """Measure a study: the main job. What is finished and unchanged is not measured again."""
    from monitor import pipeline

    before = _self_tested(results)
    with _progress() as tell:
        found = pipeline.follow(study, results, workers=workers, patient=patient, progress=tell)
    _summary(found)
    gone = sorted((before - set(found.tables["selftest"]["patient_id"])) & set(found.tables["patients"]["patient_id"]))
    if gone:
        told = "the baseline or the program is another now: run calcitrack selftest again"
        console.print(f"[yellow]selftest gone[/] of {', '.join(gone)}: {told}", highlight=False, soft_wrap=True)
    raise typer.Exit(REFUSED if len(found.tables["refused"]) else MEASURED)


@app.command("check")
def check_command(
    study: Annotated[Path, typer.Argument(help="Study folder with visits.csv.")],
    workers: Workers = min(2, os.cpu_count() or 1),
) -> None:
    """Tell what would be refused and why, and which visits are not comparable; nothing is measured or written."""
    from monitor.check import check

    with _progress() as tell:
        found = check(study, workers=workers, progress=tell)
    _show_check(found)
    raise typer.Exit(REFUSED if len(found.refused) else MEASURED)


@app.command("index")
def index_command(
    export: Annotated[Path, typer.Argument(metavar="DICOM_DIR", help="An export of DICOM files, in any order.")],
    study: Annotated[Path, typer.Argument(help="Study folder to make.")],
    keep_ids: Annotated[bool, typer.Option("--keep-ids", help="Keep the PatientID of de-identified exports.")] = False,
) -> None:
    """Make a study of an export: find the series, choose one a visit and say why; names stay apart."""
    from monitor.index import index

    with _progress() as tell:
        found = index(export, study, keep_ids=keep_ids, progress=tell)
    raise typer.Exit(REFUSED if _show_index(found, study) else MEASURED)


@app.command("selftest")
def selftest_command(
    results: Annotated[Path, typer.Argument(help="Results folder.")],
    study: Annotated[Path | None, typer.Option(help="Study folder, where it was moved since the run.")] = None,
    patient: Annotated[str | None, typer.Option(help="Test this patient alone.")] = None,
    workers: Workers = min(2, os.cpu_count() or 1),
) -> None:
    """Put known change into each patient's baseline, measure it back, and keep what came out beside the results."""
    from monitor.selftest import selftest

    with _progress() as tell:
        found = selftest(results, study=study, patient=patient, workers=workers, progress=tell)
    asked = found if patient is None else found[found["patient_id"] == patient]
    raise typer.Exit(REFUSED if _show_selftest(asked) else MEASURED)


@app.command("map-points")
def map_points(
    results: Path,
    patient: str,
    visit: str,
    points_csv: Annotated[Path, typer.Argument(metavar="POINTS.csv", help="x_mm,y_mm,z_mm, LPS.")],
    inverse: Annotated[bool, typer.Option("--inverse", help="From the baseline to the visit.")] = False,
) -> None:
    """Carry points of a visit to the baseline; standard output is a CSV, row for row."""
    from monitor import points

    try:
        given = pd.read_csv(points_csv)
    except (OSError, ValueError) as error:
        raise StudyError(f"{points_csv.name} must be a readable CSV: {type(error).__name__}") from None
    columns = ["x_mm", "y_mm", "z_mm"]
    if not set(columns) <= set(given.columns):
        raise StudyError(
            f"{points_csv.name} must have the columns {', '.join(columns)}; got {', '.join(given.columns)}"
        )
    mapped = points.carry(results, patient, visit, given[columns].to_numpy(float), inverse=inverse)
    pd.DataFrame(mapped, columns=columns).to_csv(sys.stdout, index=False)


@app.command("export")
def export_command(
    results: Annotated[Path, typer.Argument(help="Results folder.")],
    dest: Annotated[Path, typer.Argument(help="Folder to write to; with xlsx also FILE.xlsx.")],
    fmt: Annotated[str, typer.Option("--format", help="csv, parquet or xlsx.")] = "csv",
) -> None:
    """Write the tables for other programs: tidy, one row a visit, and a dictionary of every column."""
    from monitor import export

    if fmt not in export.FORMATS:
        raise StudyError(f"--format must be one of {', '.join(export.FORMATS)}; got {fmt!r}")
    written = export.export(results, dest, fmt=fmt)
    files = "1 file" if len(written) == 1 else f"{len(written)} files"
    console.print(f"{files} in {written[0].parent}", highlight=False, soft_wrap=True)


@app.command("report")
def report_command(
    results: Annotated[Path, typer.Argument(help="Results folder.")],
    patient: Annotated[str, typer.Argument(help="A patient_id.")],
    out: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE.html|FILE.pdf")] = None,
    page: Annotated[bool, typer.Option("--page", help="One page for the clinic; without it all there is.")] = False,
    figures: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write its figures, SVG and PNG.")] = None,
) -> None:
    """Write a report on one patient: one HTML or PDF file that needs nothing else, and its figures for papers."""
    from monitor import export

    if out is None and figures is None:
        raise StudyError("a report must be written somewhere: give -o FILE.html, -o FILE.pdf or --figures FOLDER")
    written = [] if out is None else [export.report(results, patient, out, form="page" if page else "long")]
    written += [] if figures is None else export.report_figures(results, patient, figures)
    for path in written:
        console.print(str(path), highlight=False, soft_wrap=True)


@app.command("stats")
def stats_command(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="patient_id, years, value [, se, ...].")],
    model: Annotated[str, typer.Option(help=f"One of {', '.join(MODELS)}.")],
    arm: Annotated[str | None, typer.Option(help="Column of the arm; models without rates call it arm.")] = None,
    treated_from: Annotated[str | None, typer.Option(help="Column of each patient's start, years.")] = None,
    reference: Annotated[str | None, typer.Option(help="The arm to compare with; the first in order.")] = None,
    scale: Annotated[str, typer.Option(help="absolute, log, sqrt or cbrt.")] = "absolute",
    more: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=f"Of some models: {', '.join(MORE)}.")
    ] = None,
) -> None:
    """Fit a model to a table; standard output is a CSV of one row an estimate.

    The columns that a model needs are those of the function of its name in ``monitor.stats``.
    """
    if model not in MODELS:
        raise StudyError(f"--model must be one of {', '.join(MODELS)}; got {model!r}")
    try:
        data = pd.read_csv(table, dtype={"patient_id": str})
        asked = {"arm": arm, "treated_from": treated_from, "reference": reference, "scale": scale}
        rows = _fitted(data, model, {**asked, **_set(more or [])})
    except (OSError, ValueError) as error:
        raise StudyError(str(error)) from None
    rows.to_csv(sys.stdout, index=False)


@app.command("plot")
def plot_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(PLOTS)}.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="The columns that the picture needs.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.svg|FILE.png")],
) -> None:
    """Draw a table as a picture for a paper, SVG or PNG.

    Columns: spaghetti and profile patient_id, years, value [, se, arm, unit]; forest patient_id, estimate, lo, hi
    [, unit]; waterfall patient_id, change_pct [, detectable_pct, verdict, arm]; agreement first, second
    [, patient_id, unit].
    """
    from monitor.export import statplots
    from monitor.placing import placed

    if kind not in PLOTS:
        raise StudyError(f"KIND must be one of {', '.join(PLOTS)}; got {kind!r}")
    if out.suffix.lower() not in SUFFIXES:
        raise StudyError(f"the name of a picture must end in {' or '.join(SUFFIXES)}; got {out.name!r}")
    try:
        data = pd.read_csv(table, dtype={"patient_id": str, "arm": str})
        drawn = statplots.KINDS[kind](data, kind=out.suffix.lower().removeprefix("."))
    except (OSError, ValueError) as error:
        raise StudyError(str(error)) from None
    with placed(out.parent) as aside:
        (aside / out.name).write_bytes(drawn)
    console.print(str(out), highlight=False, soft_wrap=True)


@app.command()
def dashboard(
    results: Path,
    host: Annotated[str, typer.Option(help="What others can reach needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8050,
    name: Annotated[list[str] | None, typer.Option(metavar="HOST", help="A host name that browsers use.")] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Or set CALCITRACK_TOKEN.")] = None,
    https: Annotated[bool, typer.Option("--https", help="A proxy before this server speaks https.")] = False,
) -> None:
    """Show results in a browser: on this machine only, or to others who know the token."""
    # The analysis knows nothing of the web: the page is a program of its own.
    command = [sys.executable, "-m", "dashboard", str(results), "--host", host, "--port", str(port)]
    # With "=", a value that begins with a dash is a value all the same.
    command += [f"--name={one}" for one in name or []]
    command += [] if token_file is None else [f"--token-file={token_file}"]
    command += ["--https"] if https else []
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - our own program, no shell


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where study and results go.")] = Path("demo"),
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Show the page afterwards.")] = True,
    workers: Workers = min(2, os.cpu_count() or 1),
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8050,
) -> None:
    """Make a serial study of three children on the spot and run it through all that exists."""
    from monitor import phantom, pipeline

    study, results = folder / "study", folder / "results"
    if not (study / "visits.csv").exists():
        with console.status("making three children, scanned four times each"):
            phantom.write_study(study)
    with _progress() as tell:
        found = pipeline.follow(study, results, workers=workers, progress=tell)
    _summary(found)
    export_command(results, folder / "tables", "xlsx")
    report_command(results, str(found.tables["patients"]["patient_id"].iloc[0]), folder / "report.html")
    if serve:
        dashboard(results, port=port)


def _fitted(data: pd.DataFrame, model: str, asked: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of a model; ``asked`` are the options by name, and each model takes its own."""
    from monitor import stats

    if data.empty:
        raise ValueError("the table must hold a row or more below its names; it has none")

    def given(*names: str) -> dict[str, Any]:
        return {name: asked[name] for name in names}

    if model == "patient-trend":
        if "patient_id" not in data:
            return pd.DataFrame([_row(stats.patient_trend(data, **given("scale", "treated_from")))])
        parts = data.groupby("patient_id", sort=True)
        found = ((key, stats.patient_trend(own, **given("scale", "treated_from"))) for key, own in parts)
        return pd.DataFrame([{"patient_id": key, **_row(one)} for key, one in found])
    if model == "half-life":
        own = data if "patient_id" in data else data.assign(patient_id="")
        found = ((key, stats.half_life(part)) for key, part in own.groupby("patient_id", sort=True))
        return pd.DataFrame([{"patient_id": key, **_row(one)} for key, one in found])
    trends = {
        "cohort-rate": lambda: stats.cohort_rate(data, **given("scale", "method")),
        "treatment-slope": lambda: stats.treatment_slope(
            data, **given("arm", "treated_from", "reference", "scale", "method")
        ),
    }
    tables = {
        "sensitivity": lambda: stats.sensitivity(data, **given("arm", "treated_from")),
        "mmrm": lambda: stats.mmrm(
            data, arm=asked["arm"] or "arm", **given("covariance", "visit", "baseline", "reference")
        ),
        "curves": lambda: stats.curves(data),
        "new-lesions": lambda: stats.new_lesions(data, **given("reference")),
        "new-volume": lambda: stats.new_volume(data, **given("reference")),
        "time-to-new-lesion": lambda: stats.time_to_new_lesion(data, **given("reference")),
        "responders": lambda: stats.responders(data, **given("reference")),
        "repeatability": lambda: stats.repeatability(data),
    }
    return pd.DataFrame([_row(trends[model]())]) if model in trends else tables[model]()


def _set(more: list[str]) -> dict[str, str | None]:
    """Return what was set, by name, and the rest of ``MORE`` as it is."""
    said = dict(one.partition("=")[::2] for one in more)
    if not all(said.values()) or not set(said) <= set(MORE):
        raise ValueError(f"--set must be NAME=VALUE with a name of {', '.join(MORE)}; got {' '.join(more)}")
    return {**MORE, **said}


def _row(trend: Trend) -> dict[str, object]:
    return {one.name: getattr(trend, one.name) for one in fields(trend)}


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (
        bars.TextColumn("{task.description:<32}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console) as bar:
        task = bar.add_task("reading the study", total=None)

        def tell(done: int, total: int, word: str) -> None:
            bar.update(task, completed=done, total=total, description=word)

        yield tell


def _summary(found: Results) -> None:
    """Show the burden of every visit, what was refused, and where the results lie."""
    out = Console()
    table = Table(title="Burden of mineral (95 % limits)", title_justify="left")
    for name in ("patient", "visit", "date"):
        table.add_column(name, no_wrap=True)
    for name in ("years", "lesions", "mm³", "limits", "excess", "mg HA"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("from baseline")
    for row in _burden_lines(found):
        table.add_row(*row)
    # A pipe has no width of its own: the table is then as wide as it needs to be.
    out.width = out.width if out.is_terminal else 120
    out.print(table)
    _show_refused(found.tables["refused"])
    out.print("mm³: mineral; excess: HU·cm³ above the background; mg HA: nominal mass; -: not evaluable")
    out.print(f"results: {found.folder}", soft_wrap=True, highlight=False)
    out.print("Research use only, not for diagnosis.")


def _self_tested(results: Path) -> set[str]:
    """Return the patients of whom results hold a selftest; nobody where there are none."""
    from monitor import store

    try:
        table = store.read_results(results).tables["selftest"]
    except StoreError:
        return set()
    return set(table.loc[table["situation"].notna(), "patient_id"])


def _show_selftest(found: pd.DataFrame) -> list[str]:
    """Show how each patient's scan was measured; return the patients who could not be tested."""
    from monitor import graded

    out = Console()
    out.width = out.width if out.is_terminal else 160
    table = Table(title="Known change put into each baseline and measured back", title_justify="left")
    for name in ("patient", *(head.lower() for head in graded.HEADS)):
        table.add_column(name)
    untested = []
    for patient, own in found.groupby("patient_id"):
        grades = graded.grades(own)
        for one in grades:
            table.add_row(str(patient), *(escape(cell) for cell in graded.cells(one)))
        if not grades:
            untested.append(str(patient))
            why = escape("; ".join(own["why"].astype(str)))
            console.print(f"[yellow]not tested[/] {patient}: {why}", highlight=False, soft_wrap=True)
    out.print(table)
    out.print("Error of a change: median over lesions, of volume. Research use only, not for diagnosis.")
    return untested


def _show_index(found: pd.DataFrame, study: Path) -> list[str]:
    """Show the chosen series and what was left; return the patients of whom nothing can be measured."""
    out = Console()
    out.width = out.width if out.is_terminal else 160
    table = Table(title="Chosen series", title_justify="left")
    for name in ("patient", "visit", "date", "images", "kV", "kernel", "slices", "every", "contrast", "maker"):
        table.add_column(name, no_wrap=True)
    table.add_column("why")
    names = ("patient_id", "visit_id", "date", "images", "kvp", "kernel", "slice_thickness_mm", "slice_increment_mm")
    shown = [*names, "contrast", "manufacturer", "why"]
    for row in found.loc[found["chosen"] == 1, shown].to_numpy().tolist():
        table.add_row(*("-" if pd.isna(cell) else escape(str(cell)) for cell in row))
    out.print(table)
    left = found.loc[found["chosen"] != 1, "kind"].value_counts().sort_index()
    out.print("left: " + (", ".join(f"{count} {kind}" for kind, count in left.items()) or "nothing"), highlight=False)
    chosen = set(found.loc[found["chosen"] == 1, "patient_id"])
    without = sorted(set(found["patient_id"].dropna()) - chosen)
    if without:
        console.print(f"[yellow]no scan of[/] {', '.join(without)} can be measured: see index.csv", highlight=False)
    out.print(f"study: {study}; every series and why: index.csv", soft_wrap=True, highlight=False)
    return without


def _show_check(found: Checked) -> None:
    """Show every readable scan with how it was made, what is not comparable, and what would be refused."""
    out = Console()
    out.width = out.width if out.is_terminal else 160
    table = Table(title="Scans that would be measured", title_justify="left")
    for name in ("patient", "visit", "date"):
        table.add_column(name, no_wrap=True)
    for name in ("kV", "kernel", "slices", "every", "contrast", "maker", "CTDIvol"):
        table.add_column(name, justify="right")
    table.add_column("against the baseline")
    for row in found.visits.to_dict("records"):
        table.add_row(*_check_cells(row))
    out.print(table)
    for patient, remark in found.remarks.items():
        console.print(f"[yellow]look at[/] {patient}: {remark}", highlight=False, soft_wrap=True)
    _show_refused(found.refused)
    apart = int((~found.visits["comparable"].astype(bool)).sum())
    out.print(f"{len(found.visits)} scans readable, {apart} of them not comparable with the baseline, ", end="")
    out.print(f"{len(found.refused)} refused. slices, every: thickness and distance, mm; CTDIvol: mGy")
    out.print("Research use only, not for diagnosis.")


def _check_cells(row: dict[Hashable, Any]) -> list[str]:
    """Return the cells of a readable scan."""
    amounts = ("kvp", "slice_thickness_mm", "slice_increment_mm", "ctdi_vol_mgy")
    kvp, thickness, increment, dose = ("-" if pd.isna(row[name]) else f"{row[name]:g}" for name in amounts)
    verdict = "comparable" if row["comparable"] else "[yellow]not comparable[/]"
    why = f": {escape(row['comparable_why'])}" if row["comparable_why"] else ""
    words = (str(row[name]) or "-" for name in ("kernel", "contrast", "manufacturer"))
    kernel, contrast, maker = (escape(word) for word in words)
    visit = " ".join(filter(None, (row["visit_id"], row["scan_id"])))
    day = f"{row['date']:%Y-%m-%d}"
    return [row["patient_id"], visit, day, kvp, kernel, thickness, increment, contrast, maker, dose, verdict + why]


def _show_refused(table: pd.DataFrame) -> None:
    for row in table[["patient_id", "visit_id", "code", "message"]].fillna("").to_numpy().tolist():
        text = escape(f"{row[0]} {row[1]} {row[2]}: {row[3]}")
        console.print(f"[yellow]refused[/] {text}", highlight=False, soft_wrap=True)


def _burden_lines(found: Results) -> list[list[str]]:
    total = found.tables["burden"].query("compartment == 'total'").astype({"patient_id": str, "visit_id": str})
    verdicts = found.tables["changes"].query(
        "compartment == 'total' and comparison == 'baseline' and quantity == 'volume_mm3'"
    )
    words = {(row[0], row[1]): row[2] for row in verdicts[["patient_id", "to_visit", "verdict"]].to_numpy().tolist()}
    lines = []
    for (patient, visit), own in total.groupby(["patient_id", "visit_id"], sort=False):
        value = own.set_index("quantity")["value"]
        volume = own[own["quantity"] == "volume_mm3"].iloc[0]
        lines.append(
            [
                str(patient),
                str(visit),
                f"{volume['date']:%Y-%m-%d}",
                f"{volume['years']:.2f}",
                _number(value["n_lesions"]),
                _number(volume["value"]),
                "-" if np.isnan(volume["lo"]) else f"{_number(volume['lo'])} to {_number(volume['hi'])}",
                _number(value["excess_hu_mm3"] / 1000),
                _number(value["mass_mg"]),
                str(words.get((patient, visit), "")).replace("_", " "),
            ]
        )
    return lines


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:,.0f}"
