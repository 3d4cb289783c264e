"""An export of an archive becomes a study: whose scans there are, what each series is, and which one to measure."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import pandas as pd

from monitor._scan import fence
from monitor._scan.header import CT_IMAGE, ENHANCED_CT
from monitor._scan.rules import LEAST_SLICES
from monitor._scan.series import LOSSY, SECONDARY_CAPTURE
from monitor.crew import Progress
from monitor.study import EARLIEST, ID
from monitor.types import ScanError, StudyError

BATCH = 400
"""Files whose headers are read by one child: one that dies costs these again, by halves."""

DOSE_REPORTS = ("1.2.840.10008.5.1.4.1.1.88.67", "1.2.840.10008.5.1.4.1.1.88.68")
"""SOP classes of radiation dose reports (DICOM PS3.4 B.5)."""

REFORMATTED = ("MPR", "REFORMATTED", "PROJECTION IMAGE", "MIP", "MINIP", "VRT", "3D", "CSA MPR", "CSA RESAMPLED")
"""Words of ImageType that name what was made of slices (Siemens, GE, Philips, DICOM PS3.3 C.8.16.1)."""

DOSE_WORDS = ("DOSE_INFO", "DOSE", "DOSE INFO", "SCREEN SAVE", "SCREENSAVE")
"""Words of ImageType that name a picture of the dose or of the screen."""

MOST_LEAN = 0.8
"""Least cosine between the normal of axial slices and the body's axis: a gantry leans by 30 degrees (0.87)."""

SHARP = re.compile(r"^(BONE|EDGE|LUNG|ULTRA|YA|YB|YC|YD|D$|E$|L$|FC[3589]\d|[BHIJU][RFVELP]?[5-9]\d)", re.IGNORECASE)
"""Kernels for bone and lung, by vendors' names: GE, Philips, Canon, Siemens (from 50 up)."""

THIN_MM, THICK_MM = 0.5, 3.0
"""Slices from the first to the second resolve small lesions without drowning them in noise, mm."""

SLICE_RATIO = 1.25
"""Slice thicknesses within this factor are alike (as in ``monitor.change``)."""

PLAIN_NAME = re.compile(
    r"(|ct|dicom|dcm|data|export|images?|img|im|pa|pat|patient|st|study|se|ser|series|scan|v|visit)[-_ ]?\d{0,6}"
)
"""Folders that name no one: words of DICOM media and a short number, in small letters (DICOM PS3.10 8.2)."""

LEAST_TOKEN = 3
"""Shorter parts of names and ids are in every path by chance."""

BODY_PARTS = (
    *("ABDOMEN", "ABDOMENPELVIS", "ANKLE", "ARM", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "ELBOW", "EXTREMITY"),
    *("FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "KNEE", "LEG", "NECK", "PELVIS", "SHOULDER", "SPINE"),
    *("THIGH", "TRUNK", "UPRLEG", "LOWEXTREMITY", "UPEXTREMITY", "WHOLEBODY", "WRIST", "FEMUR", "TIBIA", "LSPINE"),
)
"""Body Part Examined that is believed (DICOM PS3.16 annex L); other words may be anything."""

_ROW = [
    *("patient_id", "visit_id", "date", "series", "kind", "images", "kvp", "kernel", "slice_thickness_mm"),
    *("slice_increment_mm", "contrast", "manufacturer", "body_part", "chosen", "why"),
]
"""Columns of index.csv."""

_KEY = ("patient_id", "dicom_patient_id", "issuer", "name", "birth_date", "sex")
"""Columns of identities.csv."""

Texts = dict[str, list[str]]
"""What one header says."""


@dataclass(frozen=True)
class _Person:
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
class _Series:
    """One series of one patient; ``made`` is how it was made, where it keeps the rules of a scan."""

    person: _Person
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


def index(
    export: str | Path, study: str | Path, *, keep_ids: bool = False, progress: Progress | None = None
) -> pd.DataFrame:
    """Make a study of an export: find its series, choose one for each visit, and keep the names apart.

    Parameters
    ----------
    export : path
        A folder of DICOM files in any order.
    study : path
        Where ``visits.csv``, ``patients.csv`` and ``index.csv`` go, ``identities.csv`` (mode 0600) with the key of
        the pseudonyms, and copies of the chosen series without anything of the patient, where the export's own
        folder holds other files or bears a name.
    keep_ids : bool
        Keep the export's PatientID where it can be an id of ours: for exports that are de-identified already.
    progress : callable, optional
        Called with files read, files in all and a word.

    Returns
    -------
    DataFrame
        ``index.csv``: every series, what it is, whether it is chosen, and why.

    Raises
    ------
    StudyError
        If there is no DICOM file, or the study has a ``visits.csv`` that was not made here.
    """
    root, target = Path(export).absolute(), Path(study).absolute()
    if (target / "visits.csv").exists() and not (target / "index.csv").exists():
        raise StudyError("index must not overwrite a visits.csv that it did not make; there is no index.csv beside it")
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else []
    told = dict(zip(files, _headers(files, progress), strict=True))
    series = [_ruled(one) for one in _grouped(told)]
    if not series:
        raise StudyError("an export must hold DICOM files; there is none in the folder that was given")
    named, key = _named(series, target, keep_ids=keep_ids)
    picked = _picked(named)
    rows = _rows(picked, told)
    _write(root, target, picked, rows, key)
    return rows


def _headers(files: Sequence[Path], progress: Progress | None) -> list[Texts | str | None]:
    """Return what each header says; a text for a broken one, None for no DICOM file."""
    found: list[Texts | str | None] = []
    for start in range(0, len(files), BATCH):
        found += _told(files[start : start + BATCH])
        if progress is not None:
            progress(len(found), len(files), "headers read")
    return found


def _told(files: Sequence[Path]) -> list[Texts | str | None]:
    """Read some headers; where the reader dies, by halves, until the file that it dies of is alone."""
    try:
        size = sum(path.stat().st_size for path in files)
        said, _ = fence.ask("catalogue", size=size, paths=[str(path) for path in files])
    except ScanError as error:
        if len(files) == 1:
            return [error.code]
        middle = len(files) // 2
        return _told(files[:middle]) + _told(files[middle:])
    return list(said["files"])


def _grouped(told: dict[Path, Texts | str | None]) -> Iterator[_Series]:
    """Yield the series of an export, in an order that its file names have no say in."""
    groups: dict[tuple[object, ...], dict[Path, Texts]] = {}
    for path, said in told.items():
        if isinstance(said, dict):
            key: tuple[object, ...] = (_person(said).key, _one(said, "SeriesInstanceUID"), _sort(said))
            groups.setdefault(key, {})[path] = said
    for key in sorted(groups, key=repr):
        yield _series(groups[key])


def _series(files: dict[Path, Texts]) -> _Series:
    says = list(files.values())
    first = min(says, key=lambda said: (_number(said, "InstanceNumber"), _one(said, "SOPInstanceUID")))
    part = re.sub(r"[^A-Z]", "", _one(first, "BodyPartExamined").upper())
    images = sum(int(_number(said, "NumberOfFrames") or 1) for said in says)
    day, why = _day(first)
    return _Series(
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


def _ruled(one: _Series) -> _Series:
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


def _named(series: Sequence[_Series], target: Path, *, keep_ids: bool) -> tuple[list[_Series], list[dict[str, str]]]:
    """Give each person a pseudonym, those of an earlier index again, and each day a visit; return the key beside."""
    known = _known_key(target)
    names = {_Person(**{k: v for k, v in row.items() if k != "patient_id"}).key: row["patient_id"] for row in known}
    people: dict[tuple[str, ...], list[_Series]] = {}
    for one in series:
        people.setdefault(one.person.key, []).append(one)
    for key in sorted(people, key=lambda key: (_first_day(people[key]), sha256(repr(key).encode()).hexdigest())):
        if keep_ids and ID.fullmatch(key[0]) and key[0] not in names.values():
            names.setdefault(key, key[0])
        elif key not in names:
            names[key] = _next_name(set(names.values()))
            known.append({"patient_id": names[key], **vars(people[key][0].person)})
    found = []
    for key, own in people.items():
        days = sorted({one.day for one in own if one.day is not None and one.kind == "axial_ct"})
        visits = {day: f"V{number}" for number, day in enumerate(days, start=1)}
        found += [
            replace(one, patient_id=names[key], visit_id=visits.get(one.day, "") if one.day else "") for one in own
        ]
    return found, known


def _known_key(target: Path) -> list[dict[str, str]]:
    try:
        with (target / "identities.csv").open(encoding="utf-8", newline="") as stream:
            rows = [{name: row[name] for name in _KEY} for row in csv.DictReader(stream)]
            return [{name: value.removeprefix("'") for name, value in row.items()} for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, csv.Error):
        raise StudyError("identities.csv must be as index left it; it cannot be read") from None


def _next_name(taken: set[str]) -> str:
    return next(name for number in range(1, len(taken) + 2) if (name := f"P{number:03}") not in taken)


def _first_day(own: Iterable[_Series]) -> date:
    return min((one.day for one in own if one.day is not None), default=date.max)


def _picked(series: Sequence[_Series]) -> list[_Series]:
    """Choose one series for each visit: of the recipe that most visits of the patient have, or the nearest to it."""
    picked: list[_Series] = []
    for patient_id in sorted({one.patient_id for one in series}):
        own = [one for one in series if one.patient_id == patient_id]
        able = [one for one in own if one.kind == "axial_ct" and one.visit_id]
        visits = sorted({one.visit_id for one in able})
        at = {
            recipe: len({one.visit_id for one in able if one.recipe == recipe}) for recipe in {o.recipe for o in able}
        }
        best = max(able, key=lambda one: (at[one.recipe], *_merits(one)), default=None)
        for one in own:
            if best is None or one not in able:
                picked.append(replace(one, why=one.why or _LEFT[one.kind]))
                continue
            rivals = [other for other in able if other.visit_id == one.visit_id]
            first = max(rivals, key=lambda other: (_likeness(other, best), *_merits(other)))
            seen = f"this recipe is at {at[one.recipe]} of {len(visits)} visits"
            why = f"chosen: {seen}" if one is first else f"left: {_worse(one, first, best)}; {seen}"
            picked.append(replace(one, chosen=one is first, why=why))
    return sorted(
        picked, key=lambda one: (one.patient_id, one.day or date.max, one.number, one.kind, one.paths[0].name)
    )


_LEFT = {
    "axial_ct": "left: its day is not known",
    "localizer": "left: a localizer is no scan",
    "reformat": "left: reformatted from other slices",
    "dose_report": "left: a dose report",
    "secondary_capture": "left: a picture of a screen holds no HU",
    "no_ct": "left: not CT",
    "lossy": "left: stored with loss",
    "too_few_slices": f"left: fewer than {LEAST_SLICES} slices",
    "not_readable": "left: its headers break a rule",
}


def _merits(one: _Series) -> tuple[object, ...]:
    """Return what makes a series good by itself, best first; numbers and place last, so that the choice is stable."""
    thickness = one.made.get("slice_thickness_mm")
    thin = isinstance(thickness, float) and THIN_MM <= thickness <= THICK_MM
    increment = one.made.get("slice_increment_mm")
    length = one.images * increment if isinstance(increment, float) else 0.0
    fine = -thickness if isinstance(thickness, float) else -THICK_MM
    return (
        one.made.get("contrast") != "iv",
        not _is_sharp(one),
        thin,
        round(length),
        fine,
        -one.number,
        one.paths[0].name,
    )


def _likeness(one: _Series, best: _Series) -> tuple[bool, ...]:
    """Return in what a series is as the best one, what weighs most first."""
    a, b = one.made.get("slice_thickness_mm"), best.made.get("slice_thickness_mm")
    alike = isinstance(a, float) and isinstance(b, float) and max(a, b) <= SLICE_RATIO * min(a, b)
    same = [x == y for x, y in zip(one.recipe, best.recipe, strict=True)]
    return same[0], same[1], same[2], same[3], alike, same[5]


def _worse(one: _Series, first: _Series, best: _Series) -> str:
    """Return in words why another series of the visit was chosen."""
    words = ("body part", "contrast", "kernel", "tube voltage", "slice thickness", "manufacturer")
    for word, own, other in zip(words, _likeness(one, best), _likeness(first, best), strict=True):
        if own != other:
            return f"its {word} is less like that of the patient's other visits"
    merits = ("contrast in it", "a sharp kernel", "slices too thick or too thin", "a shorter field", "thicker slices")
    for word, value, better in zip(merits, _merits(one), _merits(first), strict=False):
        if value != better:
            return word
    return "another series of the same kind comes first"


def _is_sharp(one: _Series) -> bool:
    return bool(SHARP.match(str(one.made.get("kernel", "")).strip()))


def _rows(series: Sequence[_Series], told: dict[Path, Texts | str | None]) -> pd.DataFrame:
    """Return the rows of index.csv: every series, then the files that could not be read."""
    rows = []
    counted: Counter[str] = Counter()
    for one in series:
        counted[one.patient_id] += 1
        day = one.day.isoformat() if one.day else ""
        rows.append(
            {**vars(one), **one.made, "date": day, "series": counted[one.patient_id], "chosen": int(one.chosen)}
        )
    broken = sum(isinstance(said, str) for said in told.values())
    if broken:
        rows.append({"kind": "broken", "images": broken, "chosen": 0, "why": "left: headers that cannot be read"})
    return pd.DataFrame(rows).reindex(columns=_ROW)


def _write(root: Path, target: Path, series: Sequence[_Series], rows: pd.DataFrame, key: list[dict[str, str]]) -> None:
    """Write the study; each file whole or not at all, the key readable by its owner alone."""
    target.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in series if one.chosen]
    everyone = frozenset().union(*(one.secrets for one in series))
    parts = {patient: {one.body_part for one in chosen if one.patient_id == patient} for (patient,) in _ids(chosen)}
    visits = []
    for one in chosen:
        region = next(iter(parts[one.patient_id])) if len(parts[one.patient_id]) == 1 else ""
        said = {
            name: one.made.get(name, "") for name in ("kvp", "kernel", "slice_thickness_mm", "contrast", "manufacturer")
        }
        place = _place(one, root, target, everyone)
        day = one.day.isoformat() if one.day else ""
        visits.append(
            {
                "patient_id": one.patient_id,
                "visit_id": one.visit_id,
                "date": day,
                "path": place,
                "region": region,
                **said,
            }
        )
    people = [{"patient_id": patient, "sex": _sex(chosen, patient)} for (patient,) in _ids(chosen)]
    if key:
        _put(target / "identities.csv", _csv(pd.DataFrame(key).sort_values("patient_id"), _KEY), mode=0o600)
    _put(target / "index.csv", _csv(rows, _ROW))
    _put(target / "patients.csv", _csv(pd.DataFrame(people), ("patient_id", "sex")))
    columns = ("patient_id", "visit_id", "date", "path", "region", "kvp", "kernel", "slice_thickness_mm", "contrast")
    _put(target / "visits.csv", _csv(pd.DataFrame(visits), (*columns, "manufacturer")))


def _ids(series: Iterable[_Series]) -> list[tuple[str]]:
    return [(name,) for name in sorted({one.patient_id for one in series})]


def _sex(series: Iterable[_Series], patient: str) -> str:
    found = {one.person.sex for one in series if one.patient_id == patient}
    return next(iter(found)) if len(found) == 1 and found <= {"F", "M", "O"} else ""


def _place(one: _Series, root: Path, target: Path, secrets: frozenset[str]) -> str:
    """Return a folder that holds this series alone and names no one: the export's own, or a copy without names."""
    home = one.paths[0].parent
    inside = home.relative_to(root).parts
    alone = {path for path in home.rglob("*") if path.is_file()} == set(one.paths)
    named = _has_secret(str(home), secrets) or not all(PLAIN_NAME.fullmatch(part.lower()) for part in inside)
    if alone and not named:
        return str(home)
    copy = Path("scans") / one.patient_id / one.visit_id
    _copy(one, target / copy)
    return str(copy)


def _copy(one: _Series, folder: Path) -> None:
    """Write the stripped copy beside its place, then move it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        aside.chmod(0o755)
        size = sum(path.stat().st_size for path in one.paths)
        paths = [str(path) for path in one.paths]
        fence.ask("strip", size=2 * size, paths=paths, to=str(aside), patient_id=one.patient_id)
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
    except ScanError as error:
        raise StudyError(f"a copy of {one.patient_id} {one.visit_id} must be written; {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _csv(table: pd.DataFrame, columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    plain = table.reindex(columns=list(columns))
    plain = plain.map(_harmless)
    plain.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()


def _harmless(value: object) -> object:
    """Return a cell that no spreadsheet runs as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _put(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file aside with its mode from the first byte on, then give it its name."""
    aside = path.with_name(f".{path.name}.part")
    aside.unlink(missing_ok=True)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(path)


def _person(said: Texts) -> _Person:
    names = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
    return _Person(*(_one(said, name).strip() for name in names))


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
    parts = {_bare(part) for text in texts for part in (text, *re.split(r"[\^=,;\s._-]+", text) * ("." not in text))}
    birth = _bare(_one(said, "PatientBirthDate"))
    turned = {birth[6:] + birth[4:6] + birth[:4]} if len(birth) == len("20140331") else set()
    return frozenset(part for part in {*parts, birth, *turned} if len(part) >= LEAST_TOKEN)


def _bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def _has_secret(text: str, secrets: frozenset[str]) -> bool:
    return any(secret in _bare(text) for secret in secrets)


def _clean(text: str, secrets: frozenset[str]) -> str:
    """Return a word of the header, or nothing where it holds a part of a name or an id."""
    return "" if _has_secret(text, secrets) else text


def _known(value: object) -> object:
    return round(value, 1) if isinstance(value, float) else value or ""
