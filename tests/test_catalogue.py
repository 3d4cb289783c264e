"""What headers say beside the image: all that is asked of them, and of whose they are nothing but keyed hashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor._scan import catalogue, header
from tests.test_scan import EXPLICIT_LITTLE, SERIES, series

KEY = "00ff"
HASHES = {
    "MRN-1": "6e65d8ab41e285468be794cf00072cbb6d2b0d73fe4815f07e77096bf98302de",
    "MILLER^ANNA": "f9aa6c0d97ac350ca3e10ec8265e92651f0adad0d98becee41b4ab198c4a63ff",
}
"""Of ``printf TEXT | openssl dgst -sha256 -mac HMAC -macopt hexkey:00ff``."""


def laid(path: Path, **values: object) -> Path:
    """Write one slice with further header values."""
    made = series()[0]
    for name, value in values.items():
        setattr(made, name, value)
    path.parent.mkdir(exist_ok=True)
    made.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return path


def told(*paths: Path) -> list:
    return catalogue.files({"paths": [str(path) for path in paths]}, None)["files"]


def person(path: Path) -> dict[str, object]:
    return catalogue.person({"path": str(path), "key": KEY}, None)


def test_a_header_says_what_stands_in_it(tmp_path):
    """Closed form: each element as its texts, several or one; what is absent, empty or not asked for is not there."""
    path = laid(tmp_path / "a", AccessionNumber="", StudyDate="20200105", InstanceNumber=7, InstitutionName="Saint")
    assert told(path) == [
        {
            "PatientID": ["MRN-4711"],
            "PatientName": ["Miller^Anna"],
            "StudyInstanceUID": [f"{SERIES}.7"],
            "SeriesInstanceUID": [f"{SERIES}.8"],
            "SOPInstanceUID": [f"{SERIES}.1"],
            "SOPClassUID": [header.CT_IMAGE],
            "StudyDate": ["20200105"],
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "InstanceNumber": ["7"],
            "ImageOrientationPatient": ["1.0", "0.0", "0.0", "0.0", "1.0", "0.0"],
            "TransferSyntaxUID": [EXPLICIT_LITTLE],
        }
    ]


def test_files_are_told_apart(tmp_path):
    """In the order that was asked for: no DICOM file is None, a broken one is its error's name and nothing of it."""
    (tmp_path / "note.txt").write_text("Miller^Anna")
    (tmp_path / "cut.dcm").write_bytes(b"Miller^Anna")
    good = laid(tmp_path / "good")
    answers = told(tmp_path / "note.txt", good, tmp_path / "cut.dcm", tmp_path / "nowhere")
    assert answers[0] is None
    assert answers[1]["PatientID"] == ["MRN-4711"]
    assert answers[2:] == ["InvalidDicomError", "FileNotFoundError"]


def test_a_person_is_hashes_of_what_the_header_says(tmp_path):
    """Independent value: names and ids are OpenSSL's HMAC-SHA256 of their capitals; absent ones are empty."""
    laid(tmp_path / "ct" / "a", PatientID="mrn-1 ", PatientName="Miller^Anna", PatientSex="F", StudyDate="20200105")
    assert person(tmp_path / "ct") == {
        "id": HASHES["MRN-1"],
        "name": HASHES["MILLER^ANNA"],
        "birth": "",
        "sex": "F",
        "removed": False,
        "day": "20200105",
    }


@pytest.mark.parametrize(
    ("dates", "day"),
    [
        ({"StudyDate": "20200105"}, "20200105"),
        ({"StudyDate": "20200105", "SeriesDate": "20200106"}, "20200106"),
        ({"StudyDate": "20200105", "SeriesDate": "20200106", "AcquisitionDate": "20200107"}, "20200107"),
        ({}, ""),
    ],
)
def test_the_day_is_that_of_the_acquisition(tmp_path, dates, day):
    """The date nearest to the scan itself counts, where there are several."""
    laid(tmp_path / "ct" / "a", **dates)
    assert person(tmp_path / "ct")["day"] == day


def test_the_first_header_speaks_for_all(tmp_path):
    """What is no DICOM file is passed over, and of the others the first by name is asked."""
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "0").write_text("a note")
    laid(tmp_path / "ct" / "2", PatientSex="M")
    laid(tmp_path / "ct" / "1", PatientSex="F", PatientIdentityRemoved="YES")
    said = person(tmp_path / "ct")
    assert (said["sex"], said["removed"]) == ("F", True)


def test_what_is_no_dicom_folder_is_nobodys(tmp_path):
    """An image file and a folder without headers say nothing, and that is no error."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.nii").write_bytes(b"x")
    assert person(tmp_path / "empty") == person(tmp_path / "a.nii") == person(tmp_path / "nowhere") == {}
