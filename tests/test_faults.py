"""A study with every fault at once: each is refused by its code, and the good visits' tables keep their bytes."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk

from monitor import check, pipeline, store, tables
from tests.conftest import write_visits
from tests.test_scan import FAULTS, image, limb, series, write

HEAD = ["patient_id", "visit_id", "date", "path", "scan_id"]


def made(folder: Path, limb_study: Path) -> dict[str, tuple[str, str, str, str]]:
    """Make a scan for every fault; return path, date, code and a part of the message by the name of the fault."""
    faults: dict[str, tuple[str, str, str, str]] = {}
    for name, (edit, code, match) in FAULTS.items():
        slices = series()
        edit(slices)
        write(folder / name.replace(" ", "-"), slices)
        faults[name] = (name.replace(" ", "-"), "2030", code, match)
    whole = np.array(limb(), np.float32)
    for name, value in (("NaN", np.nan), ("infinity", np.inf)):
        broken = whole.copy()
        broken[2, 3, 4] = value
        sitk.WriteImage(image(broken), str(folder / f"{name}.nii.gz"))
        faults[name] = (f"{name}.nii.gz", "2030", "not-finite", "voxels must be finite numbers")
    sitk.WriteImage(image(), str(folder / "whole.nii"))
    (folder / "cut.nii").write_bytes((folder / "whole.nii").read_bytes()[:-40])
    faults["cut NIfTI"] = ("cut.nii", "2030", "cut-file", "the file ends before")
    faults["nothing there"] = ("nowhere", "2030", "no-file", "must exist|nothing is there|path")
    (folder / "empty").mkdir()
    faults["empty folder"] = ("empty", "2030", "no-dicom", "there is none in it")
    first = next((limb_study / "dicom").glob("*/*"))
    shutil.copytree(first, folder / "again")
    faults["same scan twice"] = ("again", "2029-12-31", "same-scan", "a scan must be listed once")
    faults["impossible date"] = ("whole.nii", "2021-02-30", "bad-date", "date")
    faults["future date"] = ("whole.nii", "2999-01-01", "bad-date", "date")
    return faults


def date_of(text: str, number: int) -> str:
    """Return a day of its own for each fault that has none, in the past."""
    return f"{1980 + number // 12}-{1 + number % 12:02}-01" if text in ("2030", "2029-12-31") else text


@pytest.fixture(scope="module")
def faulty(limb_study: Path, limb_results: store.Results, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Run the small study with a further scan for every fault."""
    folder = tmp_path_factory.mktemp("faulty")
    study = folder / "study"
    shutil.copytree(limb_study, study)
    shutil.copytree(limb_results.folder, folder / "results")
    faults = made(study, limb_study)
    with (study / "visits.csv").open() as stream:
        rows = [{**row, "scan_id": ""} for row in csv.DictReader(stream)]
    patient = rows[0]["patient_id"]
    visits = {}
    for number, (name, (path, day, _, _)) in enumerate(faults.items()):
        visits[name] = f"F{number:03}"
        rows.append(
            {
                "patient_id": patient,
                "visit_id": visits[name],
                "date": date_of(day, number) if name != "same scan twice" else "2025-06-01",
                "path": path,
                "scan_id": "",
            }
        )
    pd.DataFrame(rows).to_csv(study / "visits.csv", index=False)
    found = pipeline.follow(study, folder / "results", workers=2)
    return {"faults": faults, "visits": visits, "results": found, "study": study}


SPECIAL = [
    *("NaN", "infinity", "cut NIfTI", "nothing there", "empty folder"),
    *("same scan twice", "impossible date", "future date"),
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*FAULTS, *SPECIAL])
def test_each_fault_is_refused_by_code_and_message(faulty, fault):
    """Code and message of every fault, in table ``refused``, once."""
    refused = faulty["results"].tables["refused"]
    row = refused[refused["visit_id"] == faulty["visits"][fault]]
    _, _, code, match = faulty["faults"][fault]
    assert row["code"].tolist() == [code]
    assert row["message"].str.contains(match, regex=True).all(), row["message"].tolist()


@pytest.mark.slow
def test_the_other_visits_keep_their_bytes(faulty, limb_results):
    """All tables but ``refused`` are those of the study without the faults, byte for byte."""
    for name in set(tables.SCHEMAS) - {"refused"}:
        for ending in ("csv", "parquet"):
            before = (limb_results.folder / "tables" / f"{name}.{ending}").read_bytes()
            assert (faulty["results"].folder / "tables" / f"{name}.{ending}").read_bytes() == before, name


@pytest.mark.slow
def test_check_says_the_same_before_the_run(faulty):
    """``check`` refuses what the run refused, with the same words, and lists the others."""
    found = check.check(faulty["study"], workers=2)
    columns = ["patient_id", "visit_id", "code", "message"]
    ran = faulty["results"].tables
    assert found.refused[columns].to_numpy().tolist() == ran["refused"][columns].to_numpy().tolist()
    known = ["visit_id", "kvp", "kernel", "slice_thickness_mm", "slice_increment_mm", "contrast", "manufacturer"]
    known += ["comparable", "comparable_why", "years", "ctdi_vol_mgy", "dlp_mgy_cm"]
    pd.testing.assert_frame_equal(found.visits[known], ran["visits"][known])


@pytest.mark.slow
def test_two_patients_scans_swapped(limb_visits, tmp_path):
    """A scan under the wrong patient is refused in both; the others of each are measured."""
    study = write_visits(tmp_path / "study", limb_visits)
    shutil.copytree(study / "dicom", study / "other")
    for path in (study / "other").rglob("*.dcm"):
        one = pydicom.dcmread(path)
        one.PatientID = one.PatientName = "ANOTHER"
        one.PixelData = (one.pixel_array + np.uint16(1)).tobytes()
        one.save_as(path)
    rows = pd.read_csv(study / "visits.csv", dtype=str)
    others = rows.assign(patient_id="Z9", path=rows["path"].str.replace("dicom", "other", n=1))
    rows.loc[1, "path"], others.loc[1, "path"] = others.loc[1, "path"], rows.loc[1, "path"]
    pd.concat([rows, others]).to_csv(study / "visits.csv", index=False)
    found = check.check(study, workers=2)
    second = rows.loc[1, "visit_id"]
    assert found.refused[["visit_id", "code"]].to_numpy().tolist() == [[second, "other-patient"]] * 2
    assert set(found.refused["patient_id"]) == {rows.loc[0, "patient_id"], "Z9"}
