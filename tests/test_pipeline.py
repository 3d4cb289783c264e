"""The whole line: against the phantom's truth, and the same bytes whatever happens on the way."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from monitor import grid, pipeline, points, store, tables
from monitor.phantom import PhantomVisit
from monitor.study import read_study
from monitor.types import StudyError
from tests.conftest import SHARED, needs_data, write_visits
from tests.test_check import study_of


def bytes_of(results: Path) -> dict[str, bytes]:
    """Return the published tables by file name."""
    return {path.name: path.read_bytes() for path in sorted((results / "tables").iterdir())}


def matched(results: store.Results, visits: list[PhantomVisit]) -> pd.DataFrame:
    """Return truth beside what was measured, a row a present true lesion."""
    rows = []
    for visit in visits:
        found = results.tables["lesions"].query("visit_id == @visit.visit_id and volume_mm3 > 0")
        for true in visit.lesions.query("present").to_dict("records"):
            gap = np.linalg.norm(
                found[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - [true["x_mm"], true["y_mm"], true["z_mm"]], axis=1
            )
            near = found.iloc[int(gap.argmin())] if len(gap) and gap.min() < 4 else None
            rows.append(
                {
                    "visit_id": visit.visit_id,
                    "lesion": true["lesion"],
                    "truth": true["volume_mm3"],
                    "volume": np.nan if near is None else near["volume_mm3"],
                    "lesion_id": None if near is None else near["lesion_id"],
                    "status": None if near is None else near["status"],
                }
            )
    return pd.DataFrame(rows)


def test_every_true_lesion_is_found_and_followed(limb_results: store.Results, limb_visits: list[PhantomVisit]) -> None:
    """Against the phantom's truth: all found, one identity each, what comes is new, what goes is resolved."""
    found = matched(limb_results, limb_visits)
    assert found["volume"].notna().all()
    assert found.groupby("lesion")["lesion_id"].nunique().eq(1).all()
    assert (found["volume"] / found["truth"] - 1).abs().median() < 0.15
    assert found.query("lesion == 'appear'").iloc[0]["status"] == "new"
    gone = int(found.query("lesion == 'vanish'")["lesion_id"].iloc[0])
    lesions = limb_results.tables["lesions"]
    last = lesions[lesions["lesion_id"] == gone].iloc[-1]
    assert last["status"] == "resolved"
    assert (last["volume_mm3"], last["volume_lo_mm3"]) == (0.0, 0.0)
    assert last["volume_hi_mm3"] > 0


def test_no_normal_bone_or_table_is_called_a_lesion(
    limb_results: store.Results, limb_visits: list[PhantomVisit]
) -> None:
    """Against the phantom's truth: nothing is found but the lesions that were put in."""
    present = limb_results.tables["lesions"].query("volume_mm3 > 0")
    assert len(present) == sum(int(visit.lesions["present"].sum()) for visit in limb_visits)


def test_landmarks_land_on_their_partners(limb_results: store.Results, limb_visits: list[PhantomVisit]) -> None:
    """Against the phantom's truth: points of a follow-up reach the baseline within two millimetres in the mean."""
    base = limb_visits[0]
    for visit in limb_visits[1:]:
        there = points.carry(limb_results.folder, visit.patient_id, visit.visit_id, visit.landmarks_mm)
        assert np.linalg.norm(there - base.landmarks_mm, axis=1).mean() < 2.0
        back = points.carry(limb_results.folder, visit.patient_id, visit.visit_id, there, inverse=True)
        assert np.abs(back - visit.landmarks_mm).max() < 0.1


def test_total_burden_is_the_sum_of_its_lesions(limb_results: store.Results) -> None:
    """Invariance: table burden agrees with table lesions."""
    volumes = limb_results.tables["lesions"].groupby("visit_id")["volume_mm3"].sum()
    total = limb_results.tables["burden"].query("compartment == 'total' and quantity == 'volume_mm3'")
    assert np.allclose(total.set_index("visit_id")["value"], volumes[total["visit_id"].tolist()])


def test_all_tables_have_all_columns(limb_results: store.Results) -> None:
    """The contract: every table is written, as parquet and as CSV, with the columns of its schema."""
    for name, schema in tables.SCHEMAS.items():
        written = pd.read_csv(limb_results.folder / "tables" / f"{name}.csv")
        assert list(written.columns) == [column.name for column in schema]
        assert list(limb_results.tables[name].columns) == list(written.columns)


@pytest.mark.slow
def test_two_workers_give_the_same_bytes(limb_study: Path, limb_results: store.Results, tmp_path: Path) -> None:
    """Invariance: the number of workers changes nothing."""
    pipeline.follow(limb_study, tmp_path / "two", workers=2)
    assert bytes_of(tmp_path / "two") == bytes_of(limb_results.folder)


def test_a_second_run_measures_nothing_again(
    limb_study: Path, limb_results: store.Results, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Finished parts are taken from the store, and the tables stay the same to the byte."""
    own = tmp_path / "results"
    shutil.copytree(limb_results.folder, own)
    before = bytes_of(own)
    monkeypatch.setattr("monitor.stages.look", lambda unit: pytest.fail("looked at again"))
    monkeypatch.setattr("monitor.stages._place", lambda *parts: pytest.fail("registered again"))
    monkeypatch.setattr("monitor.stages._measure", lambda *parts: pytest.fail("measured again"))
    monkeypatch.setattr("monitor.stages._exchange", lambda *parts: pytest.fail("compared again"))
    pipeline.follow(limb_study, own)
    assert bytes_of(own) == before


def test_a_correction_of_identity_survives_a_new_run(
    limb_study: Path, limb_results: store.Results, tmp_path: Path
) -> None:
    """Numbers stay, the corrected piece has its new one in every table and picture, bad rows are named."""
    study, results = tmp_path / "study", tmp_path / "results"
    shutil.copytree(limb_study, study)
    shutil.copytree(limb_results.folder, results)
    before = limb_results.tables["lesions"]
    patient, last = before["patient_id"].iloc[0], before["visit_id"].iloc[-1]
    came, gone = (int(before.loc[before["status"] == status, "lesion_id"].iloc[0]) for status in ("new", "resolved"))
    rows = [(patient, last, came, gone), (patient, last, 99, 1), ("nobody", "V0", 1, 2)]
    names = ["patient_id", "visit_id", "lesion_id", "is_lesion_id"]
    pd.DataFrame(rows, columns=names).to_csv(study / "matches.csv", index=False)
    found = pipeline.follow(study, results).tables
    again = bytes_of(results)
    pipeline.follow(study, results)
    assert bytes_of(results) == again
    key = ["visit_id", "lesion_id"]
    old, new = before.set_index(key), found["lesions"].set_index(key)
    assert new.loc[(last, gone), "volume_mm3"] == old.loc[(last, came), "volume_mm3"]
    assert new.loc[(last, gone), "link_score"] == 1
    assert new.loc[(last, came), "status"] == "merged"
    others = [lesion for lesion in before["lesion_id"].unique() if lesion not in (came, gone)]
    for lesion in others:
        pd.testing.assert_frame_equal(old.xs(lesion, level=1), new.xs(lesion, level=1))
    assert gone not in found["lineage"].query("kind == 'resolved'")["lesion_id"].tolist()
    assert found["refused"]["code"].tolist() == ["bad-match", "bad-match"]
    assert found["refused"]["message"].str.contains("must name a lesion of the patient").all()


@pytest.mark.slow
def test_a_killed_run_is_completed_with_the_same_bytes(
    limb_study: Path, limb_results: store.Results, tmp_path: Path
) -> None:
    """Kill -9 in the middle: the next run goes on from what was finished and ends with the same tables."""
    target = tmp_path / "killed"
    program = "from monitor.cli import main; main()"
    command = [sys.executable, "-c", program, "run", str(limb_study), str(target), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and len([p for p in target.glob(".work/*") if len(p.name) == 64]) < 4:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in target.glob(".work/*") if len(path.name) == 64}
    assert not (target / "run.json").exists()
    assert finished
    pipeline.follow(limb_study, target)
    assert bytes_of(target) == bytes_of(limb_results.folder)
    assert all((target / ".work" / name).stat().st_mtime_ns == stamp for name, stamp in finished.items())


@pytest.mark.slow
def test_a_bad_scan_is_refused_and_the_rest_goes_on(
    limb_study: Path, limb_results: store.Results, tmp_path: Path
) -> None:
    """One broken visit is named in refused; the others are measured as without it."""
    study = tmp_path / "study"
    shutil.copytree(limb_study, study)
    broken = max((study / "dicom").glob("*/*"))
    for path in sorted(broken.iterdir())[5:7]:
        path.unlink()
    found = pipeline.follow(study, tmp_path / "results")
    assert found.tables["refused"]["code"].tolist() == ["uneven-slices"]
    kept = found.tables["visits"]["visit_id"].tolist()
    assert kept == limb_results.tables["visits"]["visit_id"].tolist()[:-1]


def test_a_patient_of_one_visit_is_ordinary(limb_visits: list[PhantomVisit], tmp_path: Path) -> None:
    """One visit alone gives lesions and a burden, no change and no interval of a trend."""
    study = write_visits(tmp_path / "study", limb_visits[:1])
    found = pipeline.follow(study)
    assert set(found.tables["lesions"]["status"]) == {"baseline"}
    assert found.tables["changes"].empty
    assert found.tables["trends"]["lo"].isna().all()


def test_scores_and_age_come_from_the_study(tmp_path: Path) -> None:
    """Scores of patients with a baseline have years; the age is a tenth of a year, and no birth date leaves."""
    folder = study_of(tmp_path, a={})
    (folder / "patients.csv").write_text("patient_id,birth_date,sex\nP1,2004-03-31,F\n")
    (folder / "scores.csv").write_text(
        "patient_id,date,quantity,value,unit,reader\nP1,2012-01-02,CMAS,41,points,r1\n"
        "P1,2010-01-01,CMAS,,points,r1\nP999,2010-01-01,CMAS,52,points,r1\n"
    )
    opened = read_study(folder)
    baselines = {"P1": opened.patients[0].visits[0]}
    scores = pipeline._scores(opened, baselines)
    assert scores["patient_id"].tolist() == ["P1", "P1"]
    assert scores["years"].tolist() == pytest.approx([0.0, 731 / 365.25])
    assert scores["value"].fillna(-1.0).tolist() == [-1.0, 41.0]
    assert scores.loc[1, ["quantity", "unit", "reader"]].tolist() == ["CMAS", "points", "r1"]
    people = pipeline._patients(opened, baselines)
    assert people["age_years"].tolist() == [5.8]
    assert "2004" not in people.to_csv()
    assert pipeline._patients(opened, {})["age_years"].isna().all()


@pytest.mark.parametrize("name", tables.SCHEMAS)
def test_published_tables_stand_patient_by_patient(limb_results: store.Results, name: str) -> None:
    """Rows of one patient stand together, in order of patient_id and then of time."""
    table = limb_results.tables[name]
    known = table["patient_id"].dropna()
    assert known.tolist() == sorted(known)
    assert table["patient_id"].isna().tolist() == sorted(table["patient_id"].isna())
    if "years" in table:
        assert all(own["years"].is_monotonic_increasing for _, own in table.groupby("patient_id"))


def test_an_unknown_patient_is_wrong_usage(limb_study: Path) -> None:
    """--patient must name one of the study."""
    with pytest.raises(StudyError, match="must be a patient_id of visits"):
        pipeline.follow(limb_study, patient="nobody")


@pytest.mark.slow
@needs_data
def test_real_limbs(tmp_path: Path) -> None:
    """Real texture, known lesions: one of the two limbs, all of them found, none false, volumes near the truth."""
    truth = pd.DataFrame(pd.read_json(SHARED / "serial-limbs.truth.json", typ="series")["lesions"])
    found = pipeline.follow(SHARED / "serial-limbs", tmp_path / "results", patient="L024", workers=2)
    own = truth.query("patient_id == 'L024' and volume_mm3 >= 75")
    present = found.tables["lesions"].query("volume_mm3 > 0")
    assert len(present) == len(own)
    errors = []
    for true in own.to_dict("records"):
        here = present.query("visit_id == @true['visit_id']")
        gap = np.linalg.norm(here[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - [true["x"], true["y"], true["z"]], axis=1)
        assert gap.min() < 3
        errors.append(abs(here.iloc[int(gap.argmin())]["volume_mm3"] / true["volume_mm3"] - 1))
    assert np.median(errors) < 0.15
    kinds = found.tables["lineage"]["kind"].tolist()
    assert sorted(kinds) == ["new", "resolved"]


@pytest.mark.slow
def test_what_the_scanner_did_not_measure_is_not_in_the_field(
    limb_visits: list[PhantomVisit], limb_results: store.Results, tmp_path: Path
) -> None:
    """A lesion that lies in the padding of a later scan is neither there nor resolved: it was not seen."""
    table = limb_results.tables["lesions"]
    first = table[table["status"] == "baseline"]
    later = table[(table["visit_id"] == limb_visits[1].visit_id) & table["lesion_id"].isin(first["lesion_id"])]
    lost = later.sort_values("volume_mm3").iloc[-1]
    image = limb_visits[1].scan.image
    values = grid.array(image).copy()
    where = grid.to_mm(image, np.argwhere(np.ones(values.shape, bool)))[:, :2]
    away = np.linalg.norm(where - lost[["x_mm", "y_mm"]].to_numpy(float), axis=1).reshape(values.shape)
    values[away < 15] = -2000
    sitk.WriteImage(limb_visits[0].scan.image, str(tmp_path / "V0.nrrd"))
    sitk.WriteImage(grid.image_like(values, image), str(tmp_path / "V1.nrrd"))
    rows = [{"patient_id": "P", "visit_id": f"V{k}", "date": f"202{k}-01-01", "path": f"V{k}.nrrd"} for k in range(2)]
    pd.DataFrame(rows).to_csv(tmp_path / "visits.csv", index=False)
    found = pipeline.follow(tmp_path).tables
    assert len(found["refused"]) == 0
    before = found["lesions"].query("visit_id == 'V0'")
    place = first.set_index("lesion_id").loc[lost["lesion_id"], ["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    near = np.linalg.norm(before[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - place, axis=1).argmin()
    own = found["lesions"][found["lesions"]["lesion_id"] == before["lesion_id"].iloc[near]]
    assert own["status"].tolist() == ["baseline", "not_in_field"]
    assert found["visits"]["in_field"].iloc[1] < found["visits"]["in_field"].iloc[0]
