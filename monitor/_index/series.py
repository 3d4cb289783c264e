"""What an export holds: whose headers they are, and what each series is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from monitor._scan import fence
from monitor._scan.header import CT_IMAGE, ENHANCED_CT
from monitor._scan.rules import LEAST_SLICES
from monitor._scan.series import LOSSY, SECONDARY_CAPTURE
from monitor.study import EARLIEST
from monitor.types import ScanError

DOSE_REPORTS = ("1.2.840.10008.5.1.4.1.1.88.67", "1.2.840.10008.5.1.4.1.1.88.68")
"""SOP classes of radiation dose reports (DICOM PS3.4 B.5)."""

REFORMATTED = ("MPR", "REFORMATTED", "PROJECTION IMAGE", "MIP", "MINIP", "VRT", "3D", "CSA MPR", "CSA RESAMPLED")
"""Words of ImageType that name what was made of slices (Siemens, GE, Philips, DICOM PS3.3 C.8.16.1)."""

DOSE_WORDS = ("DOSE_INFO", "DOSE", "DOSE INFO", "SCREEN SAVE", "SCREENSAVE")
"""Words of ImageType that name a picture of the dose or of the screen."""

MOST_LEAN = 0.8
"""Least cosine between the normal of axial slices and the body's axis: a gantry leans by 30 degrees (0.87)."""

BODY_PARTS = (
    *("ABDOMEN", "ABDOMENPELVIS", "ANKLE", "ARM", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "ELBOW", "EXTREMITY"),
    *("FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "KNEE", "LEG", "NECK", "PELVIS", "SHOULDER", "SPINE"),
    *("THIGH", "TRUNK", "UPRLEG", "LOWEXTREMITY", "UPEXTREMITY", "WHOLEBODY", "WRIST", "FEMUR", "TIBIA", "LSPINE"),
)
"""Body Part Examined that is believed (DICOM PS3.16 annex L); other words may be anything."""

LEAST_TOKEN = 3
"""Shorter parts of names and ids are in every path by chance."""

Texts = dict[str, list[str]]
"""What one header says."""


@dataclass(frozen=True)
class Person:
    """Whose header it is, as written there."""

    dicom_patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """Return what tells persons apart: the number, or without one name and birth date."""
        if self.dicom_patient_id:
            return self.dicom_patient_id, self.issuer
        return "", self.name.upper(), self.birth_date


@dataclass(frozen=True)
class Series:
    """One series of one patient; ``made`` is how it was made, where it keeps the rules of a scan."""

    person: Person
    day: date | None
    kind: str
    paths: tuple[Path, ...]
    number: int
    body_part: str
    secrets: frozenset[str]
    images: int
    made: dict[str, object] = field(default_factory=dict)
    why: str = ""
    patient_id: str = ""
    visit_id: str = ""
    chosen: bool = False

    @property
    def recipe(self) -> tuple[object, ...]:
        """Return what must be alike over the visits."""
        names = ("contrast", "kernel", "kvp", "slice_thickness_mm", "manufacturer")
        return self.body_part, *(_known(self.made.get(name)) for name in names)


def grouped(told: dict[Path, Texts | str | None]) -> Iterator[Series]:
    """Yield the series of an export, in an order that its file names have no say in."""
    groups: dict[tuple[object, ...], dict[Path, Texts]] = {}
    for path, said in told.items():
        if isinstance(said, dict):
            key: tuple[object, ...] = (_person(said).key, _one(said, "SeriesInstanceUID"), _sort(said))
            groups.setdefault(key, {})[path] = said
    for key in sorted(groups, key=repr):
        yield _series(groups[key])


def _series(files: dict[Path, Texts]) -> Series:
    says = list(files.values())
    first = min(says, key=lambda said: (_number(said, "InstanceNumber"), _one(said, "SOPInstanceUID")))
    part = re.sub(r"[^A-Z]", "", _one(first, "BodyPartExamined").upper())
    images = sum(int(_number(said, "NumberOfFrames") or 1) for said in says)
    day, why = _day(first)
    return Series(
        person=_person(first),
        day=day,
        kind=_kind(first, images),
        paths=tuple(sorted(files)),
        number=int(_number(first, "SeriesNumber")),
        body_part=part if part in BODY_PARTS else "",
        secrets=frozenset().union(*map(_secrets, says)),
        images=images,
        why=why,
    )


def _sort(said: Texts) -> str:
    """Return what separates images that one series number holds together: localizers, dose pages, slices."""
    words = [word.upper() for word in said.get("ImageType", [])]
    return "localizer" if "LOCALIZER" in words else _one(said, "SOPClassUID")


def _kind(said: Texts, images: int) -> str:
    """Return what a series is."""
    words = [word.strip().upper() for word in said.get("ImageType", [])]
    kind = _one(said, "SOPClassUID")
    if kind in DOSE_REPORTS or any(word in DOSE_WORDS for word in words):
        return "dose_report"
    if kind.startswith(SECONDARY_CAPTURE):
        return "secondary_capture"
    if kind not in (CT_IMAGE, *ENHANCED_CT):
        return "no_ct"
    if "LOCALIZER" in words:
        return "localizer"
    if any(word in REFORMATTED for word in words) or not _is_axial(said):
        return "reformat"
    if _one(said, "LossyImageCompression") == "01" or _one(said, "TransferSyntaxUID") in LOSSY:
        return "lossy"
    return "axial_ct" if images >= LEAST_SLICES else "too_few_slices"


def _is_axial(said: Texts) -> bool:
    """Tell whether slices lie across the body; an enhanced CT says it elsewhere, and is held to it as it is read."""
    try:
        a, b = (list(map(float, said["ImageOrientationPatient"][part])) for part in (slice(0, 3), slice(3, 6)))
        return abs(a[0] * b[1] - a[1] * b[0]) >= MOST_LEAN
    except (KeyError, ValueError, IndexError):
        return _one(said, "SOPClassUID") in ENHANCED_CT


def _day(said: Texts) -> tuple[date | None, str]:
    """Return the day of a scan, or why it has none."""
    birth = _date(_one(said, "PatientBirthDate"))
    for name in ("AcquisitionDate", "SeriesDate", "StudyDate"):
        if name in said:
            day = _date(_one(said, name))
            if day is None or not EARLIEST <= day <= datetime.now(UTC).date() or (birth is not None and day < birth):
                return None, f"{name} must be a day between 1970 (or the birth) and today; it is none"
            return day, ""
    return None, "the header must date the scan; it does not"


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text.strip().replace(".", ""), "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def ruled(one: Series) -> Series:
    """Hold an axial series to the rules that reading has, by its headers: what would be refused is not chosen."""
    if one.kind != "axial_ct" or one.day is None:
        return one
    size = sum(path.stat().st_size for path in one.paths)
    try:
        said, _ = fence.ask("rules", size=size, paths=[str(path) for path in one.paths])
    except ScanError as error:
        return replace(one, kind="not_readable", why=f"{error.code}: {error}")
    made = {name: value for name, value in said["acquired"].items() if value == value}
    words = ("kernel", "manufacturer")
    return replace(one, made={**made, **{name: _clean(str(made.get(name, "")), one.secrets) for name in words}})


def _person(said: Texts) -> Person:
    names = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
    return Person(*(_one(said, name).strip() for name in names))


def _one(said: Texts, name: str) -> str:
    return said.get(name, [""])[0]


def _number(said: Texts, name: str) -> float:
    try:
        return float(_one(said, name) or 0)
    except ValueError:
        return 0.0


def _secrets(said: Texts) -> frozenset[str]:
    """Return what must not be in a path or a word: parts of names and ids, dates of birth, UIDs; letters and digits."""
    names = ("PatientID", "OtherPatientIDs", "PatientName", "AccessionNumber", "StudyID", "StudyInstanceUID")
    texts = [text for name in (*names, "SeriesInstanceUID") for text in said.get(name, [])]
    parts = {bare(part) for text in texts for part in (text, *re.split(r"[\^=,;\s._-]+", text) * ("." not in text))}
    birth = bare(_one(said, "PatientBirthDate"))
    turned = {birth[6:] + birth[4:6] + birth[:4]} if len(birth) == len("20140331") else set()
    return frozenset(part for part in {*parts, birth, *turned} if len(part) >= LEAST_TOKEN)


def bare(text: str) -> str:
    """Return the letters and digits of a text, in small letters."""
    return re.sub(r"[\W_]", "", text).lower()


def has_secret(text: str, secrets: frozenset[str]) -> bool:
    """Tell whether a text holds one of the parts that identify, whatever stands between its letters."""
    return any(secret in bare(text) for secret in secrets)


def _clean(text: str, secrets: frozenset[str]) -> str:
    """Return a word of the header, or nothing where it holds a part of a name or an id."""
    return "" if has_secret(text, secrets) else text


def _known(value: object) -> object:
    return round(value, 1) if isinstance(value, float) else value or ""
