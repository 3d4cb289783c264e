"""Before measuring: what would be refused, what is not comparable, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitor import check, cli
from tests.test_scan import lasting, limb, series, write


def study_of(folder: Path, **changes: dict[str, object]) -> Path:
    """Write a study of one patient with a visit for each keyword, its headers changed."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number, (visit, values) in enumerate(changes.items()):
        slices = series(limb() + np.int16(10 * number))
        lasting(slices, **values)
        write(folder / visit, slices)
        rows.append({"patient_id": "P1", "visit_id": visit, "date": f"20{10 + number}-01-01", "path": visit})
    pd.DataFrame(rows).to_csv(folder / "visits.csv", index=False)
    return folder


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_what_is_not_comparable_is_told(tmp_path):
    """Tube, kernel, slices, maker and dose of each scan, against the baseline, and nothing is written."""
    study = study_of(
        tmp_path,
        a={},
        b={"KVP": 80, "CTDIvol": 4.5},
        c={"ConvolutionKernel": "B70s"},
        d={"Manufacturer": "Other"},
        e={"SliceThickness": 5},
        f={"ContrastBolusAgent": "NONE"},
    )
    before = files(tmp_path)
    found = check.check(study)
    assert files(tmp_path) == before
    assert len(found.refused) == 0
    why = dict(zip(found.visits["visit_id"], found.visits["comparable_why"], strict=True))
    assert found.visits["comparable"].tolist() == [True, False, False, False, False, False]
    assert why == {
        "a": "",
        "b": "tube voltage 120 and 80 kV",
        "c": "kernel B30f and B70s",
        "d": "manufacturer Maker and Other",
        "e": "slice thickness 3 and 5 mm",
        "f": "contrast iv and none",
    }
    assert found.visits["ctdi_vol_mgy"].tolist()[1] == 4.5
    assert found.visits["dlp_mgy_cm"].tolist()[1] == pytest.approx(4.5 * 6 * 2.5 / 10)
    assert found.visits["years"].tolist()[1] == pytest.approx(365 / 365.25)


def test_the_study_knows_a_better_dose(tmp_path):
    """The dose-length product of visits.csv, from the dose report, wins over the slices' own."""
    study = study_of(tmp_path, a={"CTDIvol": 4.5})
    rows = pd.read_csv(study / "visits.csv").assign(dlp_mgy_cm=88.5, ctdi_vol_mgy=9.0)
    rows.to_csv(study / "visits.csv", index=False)
    found = check.check(study).visits
    assert (found["ctdi_vol_mgy"][0], found["dlp_mgy_cm"][0]) == (4.5, 88.5)


def test_the_command_ends_with_1_where_something_is_refused(tmp_path, monkeypatch, capsys):
    """Each refused scan is named with code and message; the remark on swapped dates refuses nothing."""
    study = study_of(
        tmp_path, a={"AcquisitionDate": "20110101"}, b={"AcquisitionDate": "20100101"}, c={"RescaleSlope": 0}
    )
    monkeypatch.setattr("sys.argv", ["calcitrack", "check", str(study), "--workers", "1"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "P1 c no-rescale: RescaleSlope must be above 0" in told.err.replace("\n", " ")
    assert "the headers date a and b in the other order" in told.err.replace("\n", " ")
    assert "2 scans readable, 0 of them not comparable with the baseline, 1 refused" in told.out
