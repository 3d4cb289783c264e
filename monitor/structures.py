"""Named structures from outside: a label map of another program, its names sorted into bone, vessel, organ, muscle."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from monitor import grid, scan
from monitor.types import ScanError

KNOWN = Path(__file__).parent / "data" / "structures.csv"
"""Names that are known, with the number that TotalSegmentator 2 (task ``total``) gives to each of its 117."""

KINDS = ("bone", "vessel", "organ", "muscle", "other")
"""What a structure may be; ``other`` only names a place."""

FILES = (".nii", ".nii.gz")
"""What a file of one structure ends in."""

AIR_HU, MOST_AIR = -300.0, 0.05
"""Share of the voxels of bones, and of muscles, that may be this empty, HU: a map of another scan, or one whose
header was not cut with it, has more (a fifth of the bones, where a real map of the abdomen lay 25 cm too low). Vessels
of the lung are this empty where the map is right."""

MOST_LABELS = 10_000
"""More numbers than this are no structures of a body, but an image that is no label map."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()-]{0,63}")
"""What a structure may be called: it becomes a compartment."""

TOTAL = "total"
"""Name that table ``burden`` keeps for the sum of all compartments."""

SIDE_OR_NUMBER = re.compile(r"left|right|l|r|[a-z]?[0-9]{1,2}")
"""Parts of a name, set apart by underscores, that say which of several alike: the kind is the same without."""


@dataclass(frozen=True)
class Structures:
    """Named structures of a scan.

    ``labels`` is (z, y, x) uint16, 0 where nothing is named; ``names`` and ``kinds`` hold a word of ``NAME``
    and of ``KINDS`` for each label that has voxels.
    """

    labels: np.ndarray
    names: dict[int, str]
    kinds: dict[int, str]

    def of_kind(self, kind: str) -> np.ndarray:
        """Return where structures of a kind are, (z, y, x) bool."""
        chosen = np.zeros(int(self.labels.max()) + 1, bool)
        chosen[[label for label, own in self.kinds.items() if own == kind]] = True
        return chosen[self.labels]


@dataclass(frozen=True)
class _Name:
    """A structure as a file of names has it; ``kind`` is empty where the name must tell."""

    name: str
    kind: str = ""


def read(path: Path, names: Path | None, like: sitk.Image) -> Structures:
    """Read a label map with many structures, or a folder with an image of each, on the grid of a scan.

    Parameters
    ----------
    path : path
        A NIfTI, NRRD or MetaImage file whose voxels are the scan's or those of a box of it; or a folder of NIfTI
        files, each named by its structure and other than 0 in it.
    names : path, optional
        A CSV with the columns label, name and perhaps kind, or a JSON object of names by label. Without it an image
        must hold the names itself. In a folder, where names are those of the files, it may tell their kinds.
    like : sitk.Image
        The scan's image, HU.

    Raises
    ------
    ScanError
        If an image cannot be read or lies elsewhere, two structures of a folder overlap, a structure has no
        name or one that is of no known kind, or bones or muscles lie in the air. No message repeats a name.
    """
    listed = {} if names is None else _listed(names)
    if path.is_dir():
        by_name = {one.name.lower(): one for one in listed.values()}
        labels, files = _folder(path, like)
        called = {label: by_name.get(name.lower(), _Name(name)) for label, name in files.items()}
    else:
        labels, held = scan.read_structures(path, like)
        called = listed or {label: _Name(name) for label, name in held.items()}
    if labels.max() > MOST_LABELS:
        raise ScanError("mask-values", f"structures must be numbered up to {MOST_LABELS}; got {labels.max()}")
    there = [label for label in np.flatnonzero(np.bincount(labels.ravel())).tolist() if label]
    _require_named(there, called)
    kinds = _kinds({label: called[label] for label in there})
    found = Structures(labels.astype(np.uint16), {label: called[label].name for label in there}, kinds)
    _require_in_body(found, like)
    return found


def _folder(folder: Path, like: sitk.Image) -> tuple[np.ndarray, dict[int, str]]:
    """Return labels and names of a folder with one image a structure, numbered in alphabetical order."""
    paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(FILES) and path.name[0] != ".")
    if not paths:
        raise ScanError("no-file", "a folder of structures must hold a NIfTI file of each; there is none")
    labels = np.zeros(grid.array(like).shape, np.uint16)
    for number, path in enumerate(paths, start=1):
        own = scan.read_structures(path, like)[0] > 0
        shared = np.unique(labels[own & (labels > 0)])
        if shared.size:
            raise ScanError(
                "structures-overlap",
                f"structures must not overlap; files {shared[0]} and {number} of the folder, by alphabet, do",
            )
        labels[own] = number
    return labels, {number: path.name[: path.name.lower().index(".nii")] for number, path in enumerate(paths, start=1)}


def _listed(path: Path) -> dict[int, _Name]:
    """Return the structures that a file names, by label; rows without one, the background among them, are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _from_json(text) if path.suffix.lower() == ".json" else _from_csv(text)
    except (OSError, ValueError, csv.Error) as error:
        raise ScanError(
            "structures-names",
            f"names of structures must be a CSV label,name or a JSON object of names by label; got {_what(error)}",
        ) from None
    found: dict[int, _Name] = {}
    for label, name in rows:
        if label in found and found[label] != name:
            raise ScanError("structures-names", f"each label must have one name; label {label} has two")
        found[label] = name
    found.pop(0, None)
    return found


def _what(error: Exception) -> str:
    return str(error) if isinstance(error, _NamesError) else type(error).__name__


class _NamesError(ValueError):
    """A file of names that is whole and yet none; its message repeats no cell."""


def _from_csv(text: str) -> Iterable[tuple[int, _Name]]:
    reader = csv.DictReader(text.splitlines(), strict=True, skipinitialspace=True)
    if not {"label", "name"} <= set(reader.fieldnames or ()):
        raise _NamesError("a table without these columns")
    rows = [{key: (value or "").strip() for key, value in row.items() if isinstance(key, str)} for row in reader]
    return [(_whole(row["label"]), _Name(row["name"], _kind(row.get("kind", "")))) for row in rows if row["label"]]


def _from_json(text: str) -> Iterable[tuple[int, _Name]]:
    held = json.loads(text)
    if not isinstance(held, dict) or not all(isinstance(name, str) for name in held.values()):
        raise _NamesError("other JSON")
    return [(_whole(label), _Name(name.strip())) for label, name in held.items()]


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _NamesError("a label that is no whole number from 0 up")
    return int(text)


def _kind(text: str) -> str:
    if text and text.lower() not in KINDS:
        raise _NamesError(f"a kind other than {', '.join(KINDS)}")
    return text.lower()


def _require_named(there: Iterable[int], called: Mapping[int, _Name]) -> None:
    missing = [label for label in there if label not in called]
    if missing:
        raise ScanError(
            "structures-names",
            f"each label of a structures_mask must have a name, in the image or in structures_names; {_some(missing)}"
            " have none",
        )
    odd = [n for n in there if not NAME.fullmatch(called[n].name) or called[n].name.lower() == TOTAL]
    if odd:
        raise ScanError(
            "structures-names", f"a structure's name must match {NAME.pattern} and not be {TOTAL}; see {_some(odd)}"
        )
    names = [called[label].name for label in there]
    if len(set(names)) < len(names):
        raise ScanError("structures-names", "each structure must have a name of its own; two labels share one")


def _require_in_body(found: Structures, like: sitk.Image) -> None:
    """Refuse a map that lies where the scan has no body, whatever its header says."""
    air = grid.array(like) < AIR_HU
    places = (found.of_kind(kind) for kind in ("bone", "muscle"))
    empty = max((float(np.mean(air[place])) for place in places if place.any()), default=0.0)
    if empty > MOST_AIR:
        raise ScanError(
            "structures-place",
            f"bones and muscles must lie in the body; {empty:.0%} of their voxels are air of this scan: is the map that"
            " of another scan, or of a part whose header was not cut with it?",
        )


def _kinds(called: Mapping[int, _Name]) -> dict[int, str]:
    """Return the kind of each structure: as the study says, else by its name."""
    with KNOWN.open(encoding="utf-8", newline="") as stream:
        known = {row["name"].lower(): row["kind"] for row in csv.DictReader(stream)}
    kinds = {label: one.kind or _by_name(one.name, known) for label, one in called.items()}
    unknown = [label for label, kind in kinds.items() if not kind]
    if unknown:
        raise ScanError(
            "structures-names",
            f"a structure must have a name that TotalSegmentator uses, or a kind ({', '.join(KINDS)}) beside it in"
            f" structures_names; {_some(unknown)} have neither",
        )
    return kinds


def _by_name(name: str, known: Mapping[str, str]) -> str:
    """Return the kind that a name is known for, also without the side or number at its end or start; empty if none.

    >>> _by_name("Rib_left_13", {"rib": "bone"}), _by_name("left kidney", {"kidney": "organ"}), _by_name("x", {})
    ('bone', 'organ', '')
    """
    parts = re.split(r"[ _-]+", name.lower())
    while parts:
        if kind := known.get("_".join(parts)):
            return kind
        if SIDE_OR_NUMBER.fullmatch(parts[-1]):
            parts = parts[:-1]
        elif SIDE_OR_NUMBER.fullmatch(parts[0]):
            parts = parts[1:]
        else:
            return ""
    return ""


def _some(labels: list[int]) -> str:
    return f"labels {', '.join(map(str, labels[:8]))}{' …' if len(labels) > 8 else ''}"
