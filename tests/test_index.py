"""An export becomes a study: persons, days, what each series is, the choice, and that no name gets out."""

from __future__ import annotations

import csv
import errno
import os
import random
import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset

from monitor import cli, grid, index, scan, store
from monitor.errors import StudyError
from monitor.study import read_study
from tests.test_scan import CAPTURE, ENHANCED_CT, enhanced, lasting, limb, series

DOSE_SR = "1.2.840.10008.5.1.4.1.1.88.67"


def of(person: str, day: str, number: int, *, seed: int = 0, **values: object) -> list[Dataset]:
    """Make a series of a person on a day."""
    slices = series(limb() + np.random.default_rng(seed).integers(0, 9, limb().shape).astype(np.int16))
    uid = f"1.2.{sum(map(ord, person))}.{day}.{number}"
    for k, one in enumerate(slices):
        one.SOPInstanceUID, one.InstanceNumber = f"{uid}.{k + 1}", k + 1
        del one.ContrastBolusAgent
    lasting(slices, PatientID=person, PatientName=f"Name{person}^Given", PatientBirthDate="20100203", PatientSex="F")
    lasting(slices, StudyDate=day, SeriesNumber=number, SeriesInstanceUID=uid, StudyInstanceUID=f"1.3.{day}")
    lasting(slices, FrameOfReferenceUID=f"{uid}.0", BodyPartExamined="LEG", **values)
    return slices


def one_image(person: str, day: str, number: int, **values: object) -> list[Dataset]:
    return of(person, day, number, **values)[:1]


def laid(folder: Path, slices: list[Dataset], *, names: list[str] | None = None, start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, one in enumerate(slices):
        name = names[k] if names else f"IM{start + k:05}"
        one.save_as(folder / name, implicit_vr=False, little_endian=True, enforce_file_format=True)


def flat(folder: Path, many: list[list[Dataset]], *, seed: int = 0) -> Path:
    """Write all series into one folder, the files in any order."""
    slices = [one for own in many for one in own]
    names = [f"F{number:05}" for number in range(len(slices))]
    random.Random(seed).shuffle(names)
    laid(folder, slices, names=names)
    return folder


def messy() -> list[list[Dataset]]:
    """Two persons: three and one days; soft and sharp kernels, thick and thin, contrast, and what is no scan."""
    made = []
    for n, day in enumerate(("20200105", "20200704", "20210301")):
        made.append(of("MRN-1", day, 2, seed=n))
        made.append(of("MRN-1", day, 3, seed=n + 10, ConvolutionKernel="B70s"))
        made.append(one_image("MRN-1", day, 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    made.append(of("MRN-1", "20200704", 4, seed=5, SliceThickness=5))
    made.append(of("MRN-1", "20200704", 5, seed=6, ContrastBolusAgent="Iodine"))
    made.append(of("MRN-1", "20200704", 6, seed=7, ImageType=["DERIVED", "SECONDARY", "MPR"]))
    made.append(one_image("MRN-1", "20200704", 99, SOPClassUID=CAPTURE))
    made.append(one_image("MRN-1", "20200704", 98, SOPClassUID=DOSE_SR, Modality="SR"))
    made.append(of("MRN-2", "20190101", 7, seed=8, ConvolutionKernel="B70s"))
    made.append(of("MRN-2", "20190101", 8, seed=9, LossyImageCompression="01"))
    made.append(of("MRN-2", "19690101", 9, seed=9))
    return made


def test_persons_days_and_choice(tmp_path):
    """Pseudonyms by first day, visits by day, the common recipe chosen, each other series named and left."""
    found = index.index(flat(tmp_path / "export", messy()), tmp_path / "study")
    chosen = found[found["chosen"] == 1]
    assert chosen[["patient_id", "visit_id", "date", "kernel"]].to_numpy().tolist() == [
        ["P001", "V1", "2019-01-01", "B70s"],
        ["P002", "V1", "2020-01-05", "B30f"],
        ["P002", "V2", "2020-07-04", "B30f"],
        ["P002", "V3", "2021-03-01", "B30f"],
    ]
    kinds = found["kind"].value_counts().to_dict()
    assert kinds == {
        "axial_ct": 10,
        "localizer": 3,
        "reformat": 1,
        "secondary_capture": 1,
        "dose_report": 1,
        "lossy": 1,
    }
    whys = dict(zip(found["kind"] + " " + found["kernel"].fillna("") + " " + found["date"], found["why"], strict=True))
    assert "kernel is less like" in whys["axial_ct B70s 2020-07-04"]
    assert "left: a localizer is no scan" in set(found["why"])
    assert found["why"].str.contains("must be a day between 1970").sum() == 1
    assert found["why"].str.len().min() > 10


def test_the_study_can_be_read(tmp_path):
    """Every chosen path holds one readable series: the same voxels on the same grid as in the export."""
    made = messy()
    index.index(flat(tmp_path / "export", made), tmp_path / "study")
    study = read_study(tmp_path / "study")
    visits = [visit for patient in study.patients for visit in patient.visits]
    assert len(visits) == 4
    laid(tmp_path / "alone", made[0])
    truth = scan.read(tmp_path / "alone")
    found = scan.read(visits[1].path, acquisition=visits[1].acquisition)
    assert np.array_equal(found.array, truth.array)
    assert np.array_equal(grid.affine(found.image), grid.affine(truth.image))
    assert (found.acquisition.kvp, found.acquisition.kernel) == (120.0, "B30f")


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_files_does_not_matter(tmp_path, seed):
    """Invariance: names and folders of the files move no choice."""
    first = index.index(flat(tmp_path / "one", messy(), seed=seed), tmp_path / "study1")
    second = index.index(flat(tmp_path / "two", messy()[::-1], seed=seed + 7), tmp_path / "study2")
    pd.testing.assert_frame_equal(first, second)
    for name in ("visits.csv", "patients.csv", "index.csv", "identities.csv"):
        assert (tmp_path / "study1" / name).read_bytes() == (tmp_path / "study2" / name).read_bytes()


def test_a_plain_folder_is_used_in_place(tmp_path):
    """A series alone in a folder that names no one is not copied; a name or other files beside it make a copy."""
    for n, day in enumerate(("20200105", "20200704", "20210301")):
        laid(tmp_path / "export" / "PA0001" / f"ST{n:05}" / "SE00001", of("MRN-1", day, 2, seed=n))
    (tmp_path / "export" / "PA0001" / "ST00001").rename(tmp_path / "export" / "PA0001" / "NameMRN-1 Given")
    laid(tmp_path / "export" / "PA0001" / "ST00002" / "SE00001", one_image("MRN-1", "20210301", 1), start=90)
    index.index(tmp_path / "export", tmp_path / "study")
    paths = pd.read_csv(tmp_path / "study" / "visits.csv")["path"].tolist()
    assert paths[0] == str(tmp_path / "export" / "PA0001" / "ST00000" / "SE00001")
    assert paths[1:] == ["scans/P001/V2", "scans/P001/V3"]


def test_an_enhanced_ct_is_copied_whole(tmp_path):
    """Independent value: the stripped copy of a multi-frame file reads as the file, and keeps no name."""
    made = enhanced(of("MRN-1", "20200105", 2))
    made.StudyDate, made.ConvolutionKernel, made.InstitutionName = "20200105", "B30f", "Saint Secret"
    made.PerFrameFunctionalGroupsSequence[0].FrameContentSequence = [Dataset()]
    made.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0].FrameComments = "Saint Secret"
    laid(tmp_path / "export" / "Anna", [made])
    index.index(tmp_path / "export", tmp_path / "study")
    (visit,) = read_study(tmp_path / "study").patients[0].visits
    before, after = scan.read(tmp_path / "export" / "Anna"), scan.read(visit.path)
    assert np.array_equal(before.array, after.array)
    assert before.acquisition == after.acquisition
    (copy,) = (tmp_path / "study" / "scans").rglob("*.dcm")
    assert pydicom.dcmread(copy).SOPClassUID == ENHANCED_CT
    assert b"Secret" not in copy.read_bytes()


def test_a_second_index_keeps_the_names(tmp_path):
    """A patient who comes later does not move the pseudonyms of those before."""
    index.index(flat(tmp_path / "export", messy()), tmp_path / "study")
    before = (tmp_path / "study" / "identities.csv").read_text()
    flat(tmp_path / "export2", [*messy(), of("MRN-0", "20150101", 1)])
    found = index.index(tmp_path / "export2", tmp_path / "study")
    assert set(found["patient_id"]) == {"P001", "P002", "P003"}
    assert (tmp_path / "study" / "identities.csv").read_text().startswith(before)


def test_kept_ids(tmp_path):
    """De-identified ids that can be ours are kept, and no key is written; others become pseudonyms."""
    many = [of("TRIAL-007", "20200105", 1), of("TRIAL-008", "20200105", 1, seed=1)]
    found = index.index(flat(tmp_path / "export", many), tmp_path / "study", keep_ids=True)
    assert set(found["patient_id"]) == {"TRIAL-007", "TRIAL-008"}
    assert not (tmp_path / "study" / "identities.csv").exists()
    found = index.index(flat(tmp_path / "e2", [of("no id/", "20200105", 1)]), tmp_path / "study2", keep_ids=True)
    assert set(found["patient_id"]) == {"P001"}


def test_what_cannot_be_indexed(tmp_path):
    """No DICOM file, or a study that somebody wrote, is wrong usage; a broken file is counted and passed over."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="must hold DICOM files"):
        index.index(tmp_path / "empty", tmp_path / "study")
    folder = flat(tmp_path / "export", [of("A", "20200105", 1)])
    (folder / "cut.dcm").write_bytes(b"cut")
    assert index.index(folder, tmp_path / "study")["kind"].tolist() == ["axial_ct", "broken"]
    (tmp_path / "study" / "index.csv").unlink()
    with pytest.raises(StudyError, match="must not overwrite"):
        index.index(folder, tmp_path / "study")


def test_a_series_that_reading_refuses_is_not_chosen(tmp_path):
    """A gap makes a series unreadable: the other one of that day is chosen, and the reason is told."""
    many = [of("A", "20200105", 1), of("A", "20200105", 2, seed=1, ConvolutionKernel="B70s")]
    del many[0][2]
    found = index.index(flat(tmp_path / "export", many), tmp_path / "study")
    assert found["chosen"].tolist() == [0, 1]
    assert found["why"][0].startswith("uneven-slices: slice gaps of a series must agree")


SECRET_TAGS = {
    **dict.fromkeys(("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName"), "PN"),
    **dict.fromkeys(("ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName"), "PN"),
    **dict.fromkeys(("NameOfPhysiciansReadingStudy", "PhysiciansOfRecord", "RequestingPhysician"), "PN"),
    **dict.fromkeys(("ResponsiblePerson",), "PN"),
    **dict.fromkeys(("PatientID", "OtherPatientIDs", "IssuerOfPatientID", "ResponsibleOrganization"), "LO"),
    **dict.fromkeys(("InstitutionName", "InstitutionalDepartmentName", "PatientAddress", "CountryOfResidence"), "LO"),
    **dict.fromkeys(("MilitaryRank", "BranchOfService", "RegionOfResidence", "PatientReligiousPreference"), "LO"),
    **dict.fromkeys(("MedicalRecordLocator", "AdmissionID", "ProtocolName", "SeriesDescription"), "LO"),
    **dict.fromkeys(("StudyDescription", "DeviceSerialNumber", "RequestedProcedureDescription"), "LO"),
    **dict.fromkeys(
        ("PerformedProcedureStepDescription", "ServiceEpisodeID", "PatientInsurancePlanCodeSequence"), "LO"
    ),
    **dict.fromkeys(("AccessionNumber", "StudyID", "StationName", "PatientTelephoneNumbers", "Occupation"), "SH"),
    **dict.fromkeys(("RequestedProcedureID", "ScheduledProcedureStepID", "PerformedProcedureStepID"), "SH"),
    **dict.fromkeys(("PatientComments", "AdditionalPatientHistory", "ImageComments", "InstitutionAddress"), "LT"),
    **dict.fromkeys(("VisitComments", "StudyComments", "RequestedProcedureComments"), "LT"),
}


def test_no_name_gets_out(tmp_path, caplog, capfd, monkeypatch):
    """A leak scan: 40 tags, private ones and file names carry secrets; what is written, printed or logged has none."""
    secrets: set[str] = {"19990817"}
    many = []
    for n, day in enumerate(("20200105", "20200704")):
        slices = of("x", day, 1, seed=n)
        for number, name in enumerate(name for name in SECRET_TAGS if not name.endswith("Sequence")):
            text = f"Zq{number:02}Xsecret"
            secrets.add(text)
            lasting(slices, **{name: text})
        for one in slices:
            one.PatientBirthDate = "19990817"
            block = one.private_block(0x0009, "Zq77Xsecret", create=True)
            block.add_new(1, "LO", "Zq78Xsecret")
        many.append(slices)
    secrets |= {"Zq77Xsecret", "Zq78Xsecret", "Zq79Xsecret"}
    assert len(secrets) >= 40
    for n, slices in enumerate(many):
        laid(
            tmp_path / "export" / "Zq00Xsecret" / f"S{n}", slices, names=[f"Zq79Xsecret{k}" for k in range(len(slices))]
        )
    monkeypatch.setattr("sys.argv", ["calcitrack", "index", str(tmp_path / "export"), str(tmp_path / "study")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    monkeypatch.setattr("sys.argv", ["calcitrack", "check", str(tmp_path / "study"), "--workers", "1"])
    with pytest.raises(SystemExit):
        cli.main()
    key = tmp_path / "study" / "identities.csv"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with key.open(newline="") as stream:
        assert next(csv.DictReader(stream))["birth_date"] == "19990817"
    told = [caplog.text, *capfd.readouterr()]
    written = [path for path in (tmp_path / "study").rglob("*") if path != key]
    assert len(written) > 10
    content = b"\n".join([path.read_bytes() for path in written if path.is_file()])
    content += "\n".join([*told, *(str(path.relative_to(tmp_path)) for path in written)]).encode()
    for secret in secrets:
        for code in ("utf-8", "utf-16-le", "utf-16-be"):
            assert secret.lower().encode(code) not in content.lower(), secret


def test_the_key_is_its_owners_before_a_name_is_in_it(tmp_path, monkeypatch):
    """Whatever new files are open to: identities.csv is made for its owner alone, and empty, before it is written."""
    plain, modes = store.write_csv, {}

    def watched(table, path):
        modes[path.name] = (stat.S_IMODE(path.stat().st_mode), path.stat().st_size) if path.exists() else None
        plain(table, path)

    monkeypatch.setattr(store, "write_csv", watched)
    before = os.umask(0)
    try:
        index.index(flat(tmp_path / "export", [of("A", "20200105", 1)]), tmp_path / "study")
    finally:
        os.umask(before)
    assert modes == {"identities.csv": (0o600, 0), "index.csv": None, "patients.csv": None, "visits.csv": None}
    assert stat.S_IMODE((tmp_path / "study" / "identities.csv").stat().st_mode) == 0o600


def test_a_disk_that_takes_no_study_is_told(tmp_path, monkeypatch):
    """Whole or not at all: where the disk is full the study before stays as it was, and the error is no fault."""
    export = flat(tmp_path / "export", [of("A", "20200105", 1)])
    index.index(export, tmp_path / "study")
    before = {path.name: path.read_bytes() for path in (tmp_path / "study").glob("*.csv")}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "write_csv", full)
    with pytest.raises(store.StoreError, match="study must be a folder that can be written to; the disk says: No sp"):
        index.index(export, tmp_path / "study")
    found = {path.name: path.read_bytes() for path in (tmp_path / "study").iterdir() if path.is_file()}
    assert found == before


def test_an_index_ends_with_1_where_a_visit_has_no_scan(tmp_path, monkeypatch, capsys):
    """A patient of whom nothing can be measured is named."""
    flat(tmp_path / "export", [of("A", "20200105", 1, LossyImageCompression="01"), of("B", "20200105", 1, seed=2)])
    monkeypatch.setattr("sys.argv", ["calcitrack", "index", str(tmp_path / "export"), str(tmp_path / "study")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "no scan of P00" in "".join(capsys.readouterr())


def test_results_of_an_indexed_study_hold_no_path_of_the_export(tmp_path):
    """What is copied is named relative to the study."""
    index.index(flat(tmp_path / "export", messy()), tmp_path / "study")
    text = (tmp_path / "study" / "visits.csv").read_text()
    assert str(tmp_path) not in text
    shutil.rmtree(tmp_path / "export")
    visits = read_study(tmp_path / "study").patients[0].visits
    assert scan.read(visits[0].path).array.shape == limb().shape
    assert store.content_hash(visits[0].path)
