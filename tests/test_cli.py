"""The command: exit codes, what goes to standard output, and the words of errors."""

from __future__ import annotations

import importlib
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitor import cli, pipeline, store, tables
from monitor.phantom import PhantomVisit

ROOT = Path(__file__).parents[1]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command with words; return its exit status."""
    monkeypatch.setattr("sys.argv", ["calcitrack", *words])
    with pytest.raises(SystemExit, match=r"^\d$") as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_run_ends_with_0_and_shows_the_burden(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limb_study: Path,
    limb_results: store.Results,
    tmp_path: Path,
) -> None:
    """All measured: status 0, the table of burdens and the path of the results on standard output."""
    own = tmp_path / "results"
    shutil.copytree(limb_results.folder, own)
    assert run(monkeypatch, "run", str(limb_study), str(own), "--workers", "1") == 0
    shown = capsys.readouterr().out
    assert "Burden of mineral" in shown
    assert f"results: {own}" in shown
    assert "Research use only" in shown


def test_the_command_starts_without_its_steps() -> None:
    """Asking for help, or a slip, loads arguments and errors and no step: those take seconds."""
    code = "import sys, monitor.cli; print(*sorted(name for name in sys.modules if name.startswith('monitor.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["monitor.cli", "monitor.errors"]


@pytest.mark.parametrize(("fmt", "count"), [("xlsx", "1 file"), ("parquet", r"\d+ files")])
def test_an_export_says_how_many_files_lie_where(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limb_results: store.Results,
    tmp_path: Path,
    fmt: str,
    count: str,
) -> None:
    """One file is one file, several are several."""
    assert run(monkeypatch, "export", str(limb_results.folder), str(tmp_path / "out"), "--format", fmt) == 0
    assert re.fullmatch(rf"{count} in {tmp_path}/out\n", capsys.readouterr().err)


def test_a_missing_study_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An unreadable study: status 2 and the rule that it broke."""
    assert run(monkeypatch, "run", str(tmp_path), str(tmp_path / "out")) == 2
    assert "must hold visits.csv" in capsys.readouterr().err


def test_a_fault_of_ours_ends_with_3_and_publishes_nothing(
    monkeypatch: pytest.MonkeyPatch, limb_study: Path, tmp_path: Path
) -> None:
    """A defect: status 3, no results."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "_tables", broken)
    monkeypatch.setattr(pipeline, "_measure", lambda *_: [])
    monkeypatch.setattr(pipeline, "_records", lambda *_: [])
    monkeypatch.setattr(pipeline, "_images", lambda *_: ({}, set()))
    assert run(monkeypatch, "run", str(limb_study), str(tmp_path / "out"), "--workers", "1") == 3
    assert not (tmp_path / "out" / "run.json").exists()


def test_map_points_answers_row_for_row(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limb_results: store.Results,
    limb_visits: list[PhantomVisit],
    tmp_path: Path,
) -> None:
    """Points come back as a CSV in their order, far outside the field too, never NaN."""
    visit = limb_visits[1]
    points = np.vstack([visit.landmarks_mm[:5], [[900.0, -900.0, 900.0]]])
    pd.DataFrame(points, columns=["x_mm", "y_mm", "z_mm"]).to_csv(tmp_path / "points.csv", index=False)
    words = ("map-points", str(limb_results.folder), visit.patient_id, visit.visit_id, str(tmp_path / "points.csv"))
    assert run(monkeypatch, *words) == 0
    mapped = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(mapped.columns) == ["x_mm", "y_mm", "z_mm"]
    assert len(mapped) == 6
    assert np.isfinite(mapped.to_numpy()).all()
    assert np.linalg.norm(mapped.to_numpy()[:5] - limb_visits[0].landmarks_mm[:5], axis=1).mean() < 3


@pytest.mark.parametrize(("why", "status"), [("", 0), ("there is no room", 1)])
def test_a_selftest_is_shown_and_names_who_was_not_tested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, why: str, status: int
) -> None:
    """The grades stand on standard output; a patient who could not be tested is named with the reason, status 1."""
    row = {"situation": "rescan", "lesion": "new", "true_before_mm3": 0.0, "true_after_mm3": 80.0, "right": True}
    rows = [{"patient_id": "P1", **row}, *([{"patient_id": "P2", "why": why}] if why else [])]
    made = tables.check(pd.DataFrame(rows), "selftest")
    monkeypatch.setattr(importlib.import_module("monitor.selftest"), "selftest", lambda *_, **__: made)
    assert run(monkeypatch, "selftest", str(tmp_path), "--workers", "1") == status
    shown = capsys.readouterr()
    assert "scanned again as before" in shown.out
    assert "1 of 1" in shown.out
    assert ("not tested P2: there is no room" in shown.err) == bool(why)


def test_a_run_says_that_a_selftest_is_gone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limb_study: Path,
    limb_results: store.Results,
    tmp_path: Path,
) -> None:
    """What was tested with another program or another baseline no longer stands in the table, and is named."""
    own = tmp_path / "results"
    shutil.copytree(limb_results.folder, own)
    patient = str(limb_results.tables["visits"]["patient_id"].iloc[0])
    old = tables.check(pd.DataFrame([{"patient_id": patient, "situation": "rescan", "lesion": "new"}]), "selftest")
    with store.locked(own) as root:
        store.publish_table(root, old, "selftest")
    assert run(monkeypatch, "run", str(limb_study), str(own), "--workers", "1") == 0
    assert f"selftest gone of {patient}" in capsys.readouterr().err
    assert store.read_results(own).tables["selftest"].empty


def test_map_points_names_the_known_visits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limb_results: store.Results, tmp_path: Path
) -> None:
    """An unknown visit: status 2, and which there are."""
    (tmp_path / "points.csv").write_text("x_mm,y_mm,z_mm\n0,0,0\n")
    patient = str(limb_results.tables["visits"]["patient_id"].iloc[0])
    assert run(monkeypatch, "map-points", str(limb_results.folder), patient, "V9", str(tmp_path / "points.csv")) == 2
    assert "V0, V1, V2" in capsys.readouterr().err


def test_stats_fits_a_line_for_each_patient(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Closed form: values 1, 3, 5 at years 0, 1, 2 rise by 2 a year."""
    (tmp_path / "table.csv").write_text("patient_id,years,value\n007,0,1\n007,1,3\n007,2,5\n")
    assert run(monkeypatch, "stats", str(tmp_path / "table.csv"), "--model", "patient-trend") == 0
    row = pd.read_csv(io.StringIO(capsys.readouterr().out), dtype={"patient_id": str}).iloc[0]
    assert row["patient_id"] == "007"
    assert row["estimate"] == pytest.approx(2.0)


def test_an_unknown_model_lists_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Dispatch: a name that is not known shows those that are."""
    (tmp_path / "table.csv").write_text("patient_id,years,value\n")
    assert run(monkeypatch, "stats", str(tmp_path / "table.csv"), "--model", "magic") == 2
    assert "patient-trend, cohort-rate, treatment-slope" in capsys.readouterr().err


TRIAL = pd.DataFrame(
    [
        {"patient_id": f"P{n}", "arm": "ab"[n % 2], "years": t, "visit": t, "value": 90 * np.exp(-(1 + n % 2) * t) + n}
        for n in range(8)
        for t in (0.0, 0.5, 1.0, 1.5, 2.0)
    ]
).assign(value=lambda one: one["value"] + 0.5 * np.sin(7 * one.index), count=1, first=1.0, responder=True)
"""A trial of eight that every model can read; its numbers are of no interest."""


@pytest.mark.parametrize("model", cli.MODELS)
def test_every_model_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model: str
) -> None:
    """Standard output is a CSV with an estimate in each row, or a note that says why there is none."""
    one_each = TRIAL.drop_duplicates("patient_id").assign(years=2.0, lower_years=0.5, upper_years=[1.0, np.inf] * 4)
    one_each = one_each.assign(
        count=[0, 3, 1, 4, 0, 2, 1, 5], responder=[True, False] * 4, second=one_each["value"] + 1
    )
    pairs = one_each.assign(first=one_each["value"], second=one_each["value"] + np.sin(one_each.index))
    tables = {
        **dict.fromkeys(("new-lesions", "new-volume", "time-to-new-lesion", "responders"), one_each),
        "repeatability": pairs,
    }
    tables.get(model, TRIAL).to_csv(tmp_path / "table.csv", index=False)
    arm = ("--arm", "arm") if model in ("treatment-slope", "sensitivity", "mmrm") else ()
    assert run(monkeypatch, "stats", str(tmp_path / "table.csv"), "--model", model, *arm) == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert len(found)
    assert (found["estimate"].notna() | found["note"].notna()).all()


def test_a_table_without_rows_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Names alone are no data: status 2, and nothing on standard output."""
    (tmp_path / "table.csv").write_text("patient_id,years,value\n")
    assert run(monkeypatch, "stats", str(tmp_path / "table.csv"), "--model", "half-life") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "the table must hold a row" in err


def test_what_a_model_is_set_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A method and a covariance are set by name; an unknown name is wrong usage and lists the known ones."""
    table = str(tmp_path / "table.csv")
    TRIAL.to_csv(table, index=False)
    asked = ("stats", table, "--model", "treatment-slope", "--arm", "arm", "--set")
    assert run(monkeypatch, *asked, "method=kenward-roger") == 0
    assert "kenward" in pd.read_csv(io.StringIO(capsys.readouterr().out))["interval_kind"].iloc[0]
    assert run(monkeypatch, "stats", table, "--model", "mmrm", "--set", "covariance=ar1", "--set", "visit=years") == 0
    assert "AR(1)" in pd.read_csv(io.StringIO(capsys.readouterr().out))["method"].iloc[0]
    assert run(monkeypatch, *asked, "colour=red") == 2
    assert "method, covariance, visit, baseline" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "begins"), [("plot.svg", b"<?xml"), ("plot.PNG", b"\x89PNG")])
def test_a_table_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, begins: bytes
) -> None:
    """The suffix says what is written; the file is all that is left, and its name is told."""
    table = tmp_path / "table.csv"
    TRIAL.to_csv(table, index=False)
    out = tmp_path / "made" / name
    assert run(monkeypatch, "plot", "spaghetti", str(table), "-o", str(out)) == 0
    assert out.read_bytes().startswith(begins)
    assert [one.name for one in out.parent.iterdir()] == [name]
    assert str(out) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("pie", "plot.svg", "spaghetti, forest, waterfall, agreement, profile; got 'pie'"),
        ("spaghetti", "plot.pdf", "must end in .svg or .png; got 'plot.pdf'"),
        ("forest", "plot.svg", "forest must be given the columns patient_id, estimate, lo, hi; got patient_id, arm"),
    ],
)
def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    kind: str,
    name: str,
    told: str,
) -> None:
    """Wrong usage: status 2, what was expected, and the file that stood there."""
    TRIAL.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / name).write_text("old")
    assert run(monkeypatch, "plot", kind, str(tmp_path / "table.csv"), "-o", str(tmp_path / name)) == 2
    assert told in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(["table.csv", name])


def test_the_command_draws_all_that_can_be_drawn() -> None:
    """The kinds of the help, which loads no step, are those that there are."""
    statplots = importlib.import_module("monitor.export.statplots")
    assert tuple(statplots.KINDS) == cli.PLOTS
    assert tuple(f".{one}" for one in statplots.FORMATS) == cli.SUFFIXES
