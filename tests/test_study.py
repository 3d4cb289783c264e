"""The study folder: what is good is read as it stands, a bad row is refused by its line, a bad file stops the run."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from math import isnan
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import study
from monitor.study import EVENT_KINDS, Patient, Study, Visit, baseline_visit, read_study
from monitor.types import Acquisition, StudyError
from tests.conftest import SHARED, needs_data

HEADER = "patient_id,visit_id,date,path"


def folder(path: Path, visits: str, **others: str) -> Path:
    """Write a study with three scans to point to."""
    path.mkdir(exist_ok=True)
    for name in ("a", "b", "c"):
        (path / name).mkdir(exist_ok=True)
    for name, text in {"visits": visits, **others}.items():
        (path / f"{name}.csv").write_text(text, encoding="utf-8")
    return path


def refusals(found: Study) -> list[tuple[str, str]]:
    return list(zip(found.refused["code"], found.refused["message"], strict=True))


def test_the_least_study_is_read(tmp_path):
    """One row with the four columns is a study; all else is empty or unknown, with its columns."""
    found = read_study(folder(tmp_path, f"{HEADER}\nP1,V0,2024-02-29,a\n"))
    assert found.patients == (Patient("P1", (Visit("P1", "V0", date(2024, 2, 29), tmp_path / "a", "a"),)),)
    assert isnan(found.patients[0].visits[0].acquisition.kvp)
    for name in study.READERS:
        table = getattr(found, name)
        assert list(table.columns) == [*study.REQUIRED[name], *study.OPTIONAL[name]]
        assert len(table) == 0
    assert str(found.events["date"].dtype) == "datetime64[s]"
    assert str(found.matches["lesion_id"].dtype) == "Int64"
    assert len(found.refused) == 0


def test_every_column_is_read(tmp_path):
    """All that the contract names arrives where it belongs; other columns are passed over."""
    (tmp_path / "m.nii").write_bytes(b"")
    extra = "scan_id,modality,region,side,view,baseline,skeleton_mask,"
    extra += "kvp,kernel,slice_thickness_mm,contrast,manufacturer,hue"
    row = f"007,V0,2024-02-29,{tmp_path / 'a'},2,CT,legs,left,ap,1,m.nii,100,B30f,1.5,IV,Maker,red"
    people = "patient_id,birth_date,sex,site,arm,condition\n007,2012-03-04,F,S1,active,FOP\n"
    found = read_study(folder(tmp_path, f"{HEADER},{extra}\n{row}\n", patients=people))
    acquisition = Acquisition(100.0, "B30f", 1.5, contrast="iv", manufacturer="Maker")
    (patient,) = found.patients
    (visit,) = patient.visits
    assert isnan(visit.acquisition.slice_increment_mm)
    assert repr(visit.acquisition) == repr(acquisition)
    assert (visit.patient_id, visit.scan_id, visit.modality, visit.region) == ("007", "2", "CT", "legs")
    assert (visit.side, visit.view, visit.baseline, visit.path) == ("left", "ap", True, tmp_path / "a")
    assert (visit.skeleton_mask, visit.lesion_mask) == (tmp_path / "m.nii", None)
    assert (patient.condition, patient.arm, patient.site, patient.sex) == ("FOP", "active", "S1", "F")
    assert patient.birth_date == date(2012, 3, 4)


def test_other_files_become_tables(tmp_path):
    """Events, growth, scores and matches come with numbers as numbers and days as days, whatever their order."""
    found = read_study(
        folder(
            tmp_path,
            f"{HEADER}\nP1,V0,2024-01-01,a\n",
            events="patient_id,date,kind,name,end_date,lesion_id\nP1,2024-03-01,flare,hip,,\n"
            "P1,2024-02-01,treatment,drug,2024-05-01,3\n",
            growth="patient_id,date,height_cm\nP1,2024-01-01,121.5\nP1,2025-01-01,\n",
            scores="patient_id,date,quantity,value,reader\nP1,2024-01-01,ALP,310,lab\nP1,2024-01-02,CAJIS,NA,R1\n",
            matches="patient_id,visit_id,lesion_id,is_lesion_id,reason\nP1,V0,4,2,same place\n",
        )
    )
    assert found.events["name"].tolist() == ["drug", "hip"]
    assert found.events["end_date"].tolist() == [pd.Timestamp("2024-05-01"), pd.NaT]
    assert found.events["lesion_id"].tolist() == [3, pd.NA]
    assert found.growth["height_cm"].tolist()[0] == 121.5
    assert found.growth["height_cm"].isna().tolist() == [False, True]
    assert found.scores["value"].isna().tolist() == [False, True]
    assert found.matches.loc[0, ["lesion_id", "is_lesion_id", "reason"]].tolist() == [4, 2, "same place"]
    assert len(found.refused) == 0


def test_order_of_rows_says_nothing(tmp_path):
    """Invariance: patients and visits come sorted, ties of one day by visit and scan."""
    rows = [
        "P2,V0,2024-01-01,a,",
        "P1,V9,2024-01-02,a,",
        "P1,V1,2024-01-02,b,2",
        "P1,V1,2024-01-02,b,1",
        "P1,V3,2023-01-02,c,",
    ]
    one = read_study(folder(tmp_path, "\n".join([f"{HEADER},scan_id", *rows])))
    two = read_study(folder(tmp_path, "\n".join([f"{HEADER},scan_id", *rows[::-1]])))
    assert one.patients == two.patients
    assert [(v.visit_id, v.scan_id) for v in one.patients[0].visits] == [
        ("V3", ""),
        ("V1", "1"),
        ("V1", "2"),
        ("V9", ""),
    ]


@pytest.mark.parametrize(
    ("row", "code", "match"),
    [
        ("Anna Miller,V0,2024-01-01,a", "bad-id", "patient_id must match"),
        ("../P1,V0,2024-01-01,a", "bad-id", "patient_id must match"),
        (".P1,V0,2024-01-01,a", "bad-id", "patient_id must match"),
        (f"{'P' * 65},V0,2024-01-01,a", "bad-id", "patient_id must match"),
        (",V0,2024-01-01,a", "bad-id", "patient_id must match"),
        ("P1,Anna Miller,2024-01-01,a", "bad-id", "visit_id must match"),
        ("P1,V0,2024-01-01,a,Anna Miller", "bad-id", "scan_id must match"),
        ("P1,V0,2023-02-29,a", "bad-date", "a day of the calendar"),
        ("P1,V0,01/02/2023,a", "bad-date", "a day of the calendar"),
        ("P1,V0,20230102,a", "bad-date", "a day of the calendar"),
        ("P1,V0,,a", "bad-date", "a day of the calendar"),
        ("P1,V0,0203-01-02,a", "bad-date", "from 1970-01-01 to today; got 0203-01-02"),
        (f"P1,V0,{datetime.now(UTC).date() + timedelta(days=9)},a", "bad-date", "to today; got"),
        ("P1,V0,2024-01-01,nowhere", "no-file", "path must be a folder or a file"),
        ("P1,V0,2024-01-01,", "no-file", "path must be a folder or a file"),
        (f"P1,V0,2024-01-01,{'x' * 5000}", "no-file", "path must be a folder or a file"),
        ("P1,V0,2024-01-01,a,,nowhere.nii", "no-mask", "lesion_mask must be a folder or a file"),
        ("P1,V0,2024-01-01,a,,,high", "bad-value", "kvp must be a number or empty"),
        ("P1,V0,2024-01-01,a,,,1200", "bad-value", "kvp must be a number from 40 to 200; got 1200"),
        ("P1,V0,2024-01-01,a,,,,Anna Miller", "bad-value", "contrast must be one of none, iv, unknown"),
        ("P1,V0,2024-01-01,a,,,,,PET", "bad-value", "modality must be one of CT, DX, MR"),
        ("P1,V0,2024-01-01,a,,,,,,maybe", "bad-value", "baseline must be one of 1, true, yes"),
        ("P1,V0,2024-01-01,a,,,,,,,Miller,", "bad-row", "no more cells than the header"),
    ],
)
def test_a_bad_row_is_refused_and_the_rest_goes_on(tmp_path, row, code, match):
    """The refusal names line, rule and what was expected, and repeats nothing that may be a name."""
    header = f"{HEADER},scan_id,lesion_mask,kvp,contrast,modality,baseline"
    found = read_study(folder(tmp_path, f"{header}\nP7,V0,2024-01-01,b\n\n{row}\nP8,V0,2024-01-01,c\n"))
    assert [one.patient_id for one in found.patients] == ["P7", "P8"]
    ((got, message),) = refusals(found)
    assert got == code
    assert message.startswith("line 4 of visits.csv: ")
    assert match in message
    assert "Miller" not in message
    assert "Miller" not in str(found.refused[["patient_id", "visit_id", "scan_id"]].to_dict())


def test_a_visit_before_birth_is_refused(tmp_path):
    """Two dates that contradict each other are not measured from."""
    people = "patient_id,birth_date\nP1,2020-06-01\nP2,2020-13-01\n"
    found = read_study(
        folder(tmp_path, f"{HEADER}\nP1,V0,2020-05-31,a\nP1,V1,2020-06-01,a\nP2,V0,2024-01-01,b\n", patients=people)
    )
    assert [visit.visit_id for visit in found.patients[0].visits] == ["V1"]
    assert found.patients[1].birth_date is None
    assert refusals(found) == [
        ("bad-date", "line 3 of patients.csv: birth_date must be a day, ISO 8601 (2014-03-31); it is left out"),
        ("bad-date", "line 2 of visits.csv: date must not lie before birth_date of patients.csv"),
    ]


@pytest.mark.parametrize(
    ("name", "row", "match"),
    [
        ("patients", "Anna Miller,active", "line 2 of patients.csv: patient_id must match"),
        ("events", "P1,2024-01-01,holiday,x,", f"kind must be one of {', '.join(EVENT_KINDS)}"),
        ("events", "P1,2024-01-01,surgery,,", "name must say what the event was"),
        ("events", "P1,2024-02-30,surgery,x,", "date must be a day"),
        ("events", "P1,2024-01-02,surgery,x,2024-01-01", "end_date must not lie before date"),
        ("events", "P1,2024-01-02,surgery,x,soon", "end_date must be a day of the calendar"),
        ("events", "Anna Miller,2024-01-02,surgery,x,", "patient_id must match"),
        ("growth", "P1,2024-01-01,1.21", "height_cm must be a number from 20 to 260; got 1.21"),
        ("scores", "P1,2024-01-01,ALP,inf", "value must be a number"),
        ("scores", "P1,2024-01-01,,3", "quantity must be named"),
        ("matches", "P1,V0,0,2", "lesion_id must be a whole number above 0"),
        ("matches", "P1,V0,1,2.5", "is_lesion_id must be a whole number above 0"),
    ],
)
def test_bad_rows_of_other_files_are_refused(tmp_path, name, row, match):
    """Each file is held to its own rules, row by row."""
    optional = {"patients": ("arm",), "events": ("end_date",), "growth": ("height_cm",)}.get(name, ())
    text = ",".join((*study.REQUIRED[name], *optional)) + f"\n{row}\n"
    found = read_study(folder(tmp_path, f"{HEADER}\nP1,V0,2024-01-01,a\n", **{name: text}))
    ((_, message),) = refusals(found)
    assert match in message
    assert found.refused.loc[0, "path"] == f"{name}.csv"
    assert "Miller" not in message
    assert name == "patients" or len(getattr(found, name)) == 0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "visits.csv must have the columns patient_id, visit_id, date, path, set apart by commas; it lacks"),
        ("patient_id,visit_id,path\n", "it lacks date"),
        ("patient_id;visit_id;date;path\nP1;V0;2024-01-01;a\n", "set apart by commas; it lacks patient_id"),
        (f"{HEADER},date\n", "must name each column once; twice: date"),
        (f'{HEADER}\nP1,"V0,2024-01-01,a\n', "visits.csv must be a comma-separated table in UTF-8; got Error"),
        (f"{HEADER}\nP1,V0,2024-01-01,a\nP1,V0,2024-02-01,b\n", r"more than once: P1 V0 \(lines 2, 3\)"),
        (f"{HEADER}\nP1,V0,2024-01-01,nowhere\nP1,V0,2024-13-01,b\n", r"more than once: P1 V0 \(lines 2, 3\)"),
    ],
)
def test_an_unreadable_study_is_an_error(tmp_path, text, match):
    """A table that is none, lacks a column or lists a scan twice stops the run before it begins."""
    with pytest.raises(StudyError, match=match):
        read_study(folder(tmp_path, text))


def test_an_absent_or_binary_table_is_an_error(tmp_path):
    """The message says which file of which folder."""
    with pytest.raises(StudyError, match=r"a study folder must hold visits\.csv; .*nowhere does not"):
        read_study(tmp_path / "nowhere")
    folder(tmp_path, f"{HEADER}\n")
    (tmp_path / "events.csv").write_bytes(b"patient_id,date,kind,name\nP1,2024-01-01,flare,\xff\xfe\n")
    with pytest.raises(
        StudyError, match=r"events\.csv must be a comma-separated table in UTF-8; got UnicodeDecodeError"
    ):
        read_study(tmp_path)
    (tmp_path / "events.csv").unlink()
    (tmp_path / "patients.csv").write_text("patient_id\nP1\nP1\n")
    with pytest.raises(StudyError, match=r"patients\.csv must list each patient_id once; more than once: P1"):
        read_study(tmp_path)


def test_habits_of_spreadsheets_do_no_harm(tmp_path):
    """A byte order mark, CRLF, quotes, spaces, blank lines and short rows are read as they are meant."""
    text = '\ufeffpatient_id , visit_id,date,path,region\r\n"001", V0 ,2024-01-01,a\r\n\r\n,,,,\r\n'
    text += '001,V1,2024-02-01,"b",legs\r\n'
    found = read_study(folder(tmp_path, text))
    assert [(v.patient_id, v.visit_id, v.region) for v in found.patients[0].visits] == [
        ("001", "V0", ""),
        ("001", "V1", "legs"),
    ]
    assert len(found.refused) == 0


def test_a_study_without_rows_is_a_study(tmp_path):
    """Nothing to do is no error."""
    assert read_study(folder(tmp_path, f"{HEADER}\n")).patients == ()


def test_one_visit_is_the_baseline(tmp_path):
    """Of two marked visits the earlier counts, and the other is told; two scans of one visit may both be marked."""
    rows = "P1,V1,2024-03-01,a,,1\nP1,V0,2024-01-01,b,1,1\nP1,V0,2024-01-01,c,2,1\n"
    found = read_study(folder(tmp_path, f"{HEADER},scan_id,baseline\n{rows}"))
    assert [(v.visit_id, v.baseline) for v in found.patients[0].visits] == [("V0", True), ("V0", True), ("V1", False)]
    assert refusals(found) == [
        ("second-baseline", "one visit of a patient may be marked as the baseline; this later mark is passed over")
    ]


def visit(name: str, day: date, *, baseline: bool = False, scan_id: str = "") -> Visit:
    return Visit("P1", name, day, Path("/a"), "a", scan_id=scan_id, baseline=baseline)


def test_the_baseline_follows_its_three_rules():
    """Marked, else the last on or before the first treatment, else the earliest."""
    days = [date(2024, month, 1) for month in (1, 4, 8)]
    visits = [visit(f"V{number}", day) for number, day in enumerate(days)]
    assert baseline_visit(visits, []).visit_id == "V0"
    assert baseline_visit(visits, [date(2024, 5, 1), date(2024, 9, 1)]).visit_id == "V1"
    assert baseline_visit(visits, [date(2024, 4, 1)]).visit_id == "V1"
    assert baseline_visit(visits, [date(2023, 4, 1)]).visit_id == "V0"
    assert baseline_visit([*visits, visit("V3", date(2025, 1, 1), baseline=True)], [days[1]]).visit_id == "V3"
    twice = [visit("V1", days[1], scan_id="2"), visit("V1", days[1], scan_id="1"), visits[0]]
    assert baseline_visit(twice, [days[2]]).scan_id == "1"
    with pytest.raises(ValueError, match="a baseline needs an accepted scan; there is none"):
        baseline_visit([], [])


@given(
    st.lists(st.dates(date(2000, 1, 1), date(2020, 1, 1)), min_size=1, max_size=6, unique=True),
    st.lists(st.dates(date(1999, 1, 1), date(2021, 1, 1)), max_size=3),
    st.randoms(),
)
def test_the_baseline_does_not_depend_on_order(days, treatments, random):
    """Property: shuffled visits have the same baseline, and none lies between it and the first treatment."""
    visits = [visit(f"V{number}", day) for number, day in enumerate(days)]
    chosen = baseline_visit(visits, treatments)
    random.shuffle(visits)
    random.shuffle(treatments)
    assert baseline_visit(visits, treatments) == chosen
    first = min(treatments, default=date.min)
    assert not [day for day in days if chosen.date < day <= first]
    assert chosen.date <= first or chosen.date == min(days)


@given(st.text(max_size=70))
def test_an_id_is_safe_as_the_name_of_a_folder(text):
    """Property: what passes as an id stays within its folder and is spelt in plain letters."""
    if study.ID.fullmatch(text):
        assert Path(text).name == text
        assert text.isascii()
        assert text not in (".", "..")
        assert len(text) <= 64


@needs_data
def test_the_real_study_is_read():
    """Two limbs with three visits each, and nothing to refuse."""
    found = read_study(SHARED / "serial-limbs")
    assert {one.patient_id: [v.visit_id for v in one.visits] for one in found.patients} == {
        "L024": ["V0", "V1", "V2"],
        "L043": ["V0", "V1", "V2"],
    }
    assert all(v.path.is_dir() for one in found.patients for v in one.visits)
    assert len(found.refused) == 0
