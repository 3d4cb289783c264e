"""Where a patient's pictures are: one look into a visit's folder tells all of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboard import slices

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Pictures:
    """Names of a visit's pictures, by the folder of the scan; those of the visit itself by an empty name."""

    folder: Path
    way: tuple[str, str]
    names: dict[str, frozenset[str]]

    def address(self, name: str, scan: str = "") -> str | None:
        """Return the address of a picture, that of ``scan`` first, if there is one and it may be served."""
        for place in dict.fromkeys((scan, "", *sorted(self.names))):
            if name in self.names.get(place, ()):
                way = tuple(filter(None, (*self.way, place, name)))
                return f"/images/{'/'.join(way)}" if slices.picture(self.folder, *way) else None
        return None


def of_visit(folder: Path, patient: str, visit: str) -> Pictures:
    """Return the pictures of a visit; none where there is no folder, or an id is not one."""
    root = folder / "images" / patient / visit
    if not (slices.ID.fullmatch(patient) and slices.ID.fullmatch(visit)):
        return Pictures(folder, (patient, visit), {})
    names: dict[str, frozenset[str]] = {}
    own, scans = _listed(root)
    names[""] = own
    names.update({scan: _listed(root / scan)[0] for scan in scans})
    return Pictures(folder, (patient, visit), names)


def _listed(folder: Path) -> tuple[frozenset[str], list[str]]:
    """Return names of files and of folders; nothing of what is not there."""
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, entry.is_dir()) for entry in found]
    except OSError:
        return frozenset(), []
    return frozenset(name for name, is_dir in entries if not is_dir), [name for name, is_dir in entries if is_dir]
