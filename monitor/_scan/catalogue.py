"""What headers say beside the image: whose scan it is, and what an export holds. Only the keeper's children see it."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor._scan import header
from monitor._scan.rules import BROKEN

if TYPE_CHECKING:
    import pydicom

    from monitor._scan.series import Memory

TOLD = (
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved"),
    *("OtherPatientIDs", "AccessionNumber", "StudyID"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
    *("StudyDate", "SeriesDate", "AcquisitionDate"),
    *("ImageType", "BodyPartExamined", "SeriesNumber", "InstanceNumber", "NumberOfFrames"),
    *("ImageOrientationPatient", "LossyImageCompression"),
)
"""Header elements of which ``files`` tells; the caller keeps what identifies a patient out of all but the key."""


def files(request: dict[str, Any], _: Memory) -> dict[str, object]:
    """Tell of each file in ``paths`` what its header says: {name: [texts]}, None for no DICOM, a text for a broken one.

    ``TransferSyntaxUID`` stands among the names; an element that is absent or empty does not.
    """
    return {"files": [_told(Path(path)) for path in request["paths"]]}


def person(request: dict[str, Any], _: Memory) -> dict[str, object]:
    """Tell whose scan a folder or file holds, by its first DICOM header, and on which day it was made.

    Names and ids leave the child as keyed hashes, which can be compared within a run and mean nothing beyond it.
    Empty where the header says nothing; a scan that is no DICOM says nothing at all.
    """
    key = bytes.fromhex(request["key"])
    for path in _candidates(Path(request["path"])):
        said = _told(path)
        if isinstance(said, dict):
            return _person(said, key)
    return {}


def _candidates(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else []


def _person(said: dict[str, list[str]], key: bytes) -> dict[str, object]:
    def token(*names: str) -> str:
        text = "|".join("\\".join(said.get(name, [])).strip().upper() for name in names)
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest() if text.strip("|") else ""

    return {
        "id": token("PatientID"),
        "name": token("PatientName"),
        "birth": token("PatientBirthDate"),
        "sex": "".join(said.get("PatientSex", [])).strip().upper()[:1],
        "removed": "".join(said.get("PatientIdentityRemoved", [])).strip().upper() == "YES",
        "day": next((said[name][0] for name in ("AcquisitionDate", "SeriesDate", "StudyDate") if name in said), ""),
    }


def _told(path: Path) -> dict[str, list[str]] | str | None:
    """Return what one header says, None if it is no DICOM file, or the kind of error if it is broken."""
    try:
        found = header.opened(path)
        return None if found is None else _texts(found)
    except (*BROKEN, MemoryError) as error:
        return type(error).__name__


def _texts(found: pydicom.Dataset) -> dict[str, list[str]]:
    said = {name: list(header.many(found.get(name))) for name in TOLD}
    said["TransferSyntaxUID"] = list(header.many(found.file_meta.get("TransferSyntaxUID")))
    return {name: texts for name, texts in said.items() if texts}
