"""One scan on a checked grid with its acquisition; what cannot be trusted is refused, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from monitor import grid
from monitor._scan import fence, series
from monitor._scan.rules import AIR_HU, DIGITS, UNMEASURED_HU
from monitor.types import Acquisition, Scan, ScanError

EMPTIER_THAN_AIR_HU, EMPTIER_SHARE = -1100, 0.05
"""Share of voxels that noise may put below this; more is an offset taken off twice (fat would lie here)."""

LIGHT_HU, LIGHT_SHARE = -150, 1e-4
"""A CT of a patient holds some air or fat below this; values that never go there lack their offset."""

BODY_HU, BODY_MEDIAN_HU = -300, (-150, 400)
"""The median of all that is denser than the first lies within the second, from fat to spongy bone."""

SHARED_CORNER = 0.1
"""Mask and scan share a grid where their corners agree within this many voxels."""


@dataclass(frozen=True)
class Person:
    """Whose scan it is by its header: keyed hashes that are equal for equal entries, and empty for absent ones.

    ``sex`` is M, F or another letter as the header has it; ``day`` is the date of the scan as the header writes it;
    ``removed`` says that the header calls itself de-identified.
    """

    id: str = ""
    name: str = ""
    birth: str = ""
    sex: str = ""
    day: str = ""
    removed: bool = False


def read(path: str | Path, *, acquisition: Acquisition | None = None, modality: str | None = None) -> Scan:
    """Read one scan, in a process of its own that a broken file cannot take us down with.

    Parameters
    ----------
    path : path
        A folder of DICOM files of one CT series, or one NIfTI, NRRD or MetaImage file.
    acquisition : Acquisition, optional
        What the study says; it fills what the file does not say.
    modality : str, optional
        What the study says: CT, DX or MR. For a file that does not say; CT where neither does.

    Returns
    -------
    Scan
        int16 where all values are whole and fit, else float32; LPS mm. What lies outside the field that the
        scanner measured is -1024 HU and False in ``imaged``. The slices of a tilted gantry lie on the sheared
        grid that they were taken on.

    Raises
    ------
    ScanError
        With a ``code``, where the scan cannot be trusted. No message repeats a name or an id of a header.
    """
    source = Path(path)
    stated = acquisition or Acquisition()
    scan = _read_series(source, stated, modality) if source.is_dir() else _read_file(source, stated, modality or "CT")
    if scan.modality == "CT":
        require_hu(scan)
    return scan


def person(path: str | Path, key: bytes) -> Person:
    """Tell whose scan it is, hashed with a key: for comparing the scans of a run, and nothing else.

    Raises
    ------
    ScanError
        If reading the first header ends the reader.
    """
    said, _ = fence.ask("person", path=str(Path(path).absolute()), key=key.hex())
    return Person(**{name.name: said[name.name] for name in fields(Person) if name.name in said})


def require_hu(scan: Scan) -> None:
    """Refuse a scan whose voxels cannot be HU of a patient: an offset or a scale is missing, or doubled.

    Raises
    ------
    ScanError
        If it is no CT, or air, fat and soft tissue do not lie where they do in HU.
    """
    if scan.modality != "CT" or scan.unit != "HU":
        raise ScanError("not-ct", f"HU are measured on CT; this scan is {scan.modality} in {scan.unit}")
    step = (slice(None, None, 2), slice(None, None, 4), slice(None, None, 4))
    values = scan.array[step] if scan.imaged is None else scan.array[step][scan.imaged[step]]
    body = values[values > BODY_HU]
    if body.size == 0:
        raise ScanError("not-hu", f"a CT of a patient holds tissue above {BODY_HU} HU; there is none here")
    if np.mean(values < LIGHT_HU) < LIGHT_SHARE:
        raise ScanError("not-hu", f"a CT holds air or fat below {LIGHT_HU} HU; the least here is {values.min():g}")
    if np.mean(values < EMPTIER_THAN_AIR_HU) > EMPTIER_SHARE:
        raise ScanError("not-hu", f"nothing is emptier than air; voxels here lie below {EMPTIER_THAN_AIR_HU} HU")
    middle = float(np.median(body))
    if not BODY_MEDIAN_HU[0] <= middle <= BODY_MEDIAN_HU[1]:
        low, high = BODY_MEDIAN_HU
        raise ScanError("not-hu", f"the median of tissue must lie from {low} to {high} HU; got {middle:g}")


def read_mask(path: str | Path, like: sitk.Image, *, labels: bool = False) -> np.ndarray:
    """Read a mask that lies on the grid of a scan; its axes may run in another order or sense.

    Parameters
    ----------
    path : path
        A NIfTI, NRRD or MetaImage file.
    like : sitk.Image
        The scan's image.
    labels : bool
        Return whole numbers instead of "is not 0".

    Returns
    -------
    array
        Shape (z, y, x) of the scan: bool, or with ``labels`` uint16 or int32.

    Raises
    ------
    ScanError
        If the file cannot be read or its voxels are not those of the scan.
    """
    values, start, _ = _placed(path, like)
    if values.shape != grid.array(like).shape or start.any():
        got = f"size {values.shape[::-1]}"
        raise ScanError("mask-grid", f"a mask must lie on its scan's grid ({_grid(like)}); got a part of it, {got}")
    return np.ascontiguousarray(_labels(values) if labels else values != 0)


def read_structures(path: str | Path, like: sitk.Image) -> tuple[np.ndarray, dict[int, str]]:
    """Read a label map whose voxels are those of a scan, or of a box of it: what lies beyond the box is 0.

    Parameters
    ----------
    path : path
        A NIfTI, NRRD or MetaImage file.
    like : sitk.Image
        The scan's image.

    Returns
    -------
    array
        Labels, shape (z, y, x) of the scan: uint16 or int32.
    dict
        Names by label, where the file holds them: the extension of a NIfTI that TotalSegmentator writes.

    Raises
    ------
    ScanError
        If the file cannot be read or its voxels are not some of the scan's.
    """
    values, start, names = _placed(path, like)
    part = _labels(values)
    whole = np.zeros(grid.array(like).shape, part.dtype)
    whole[tuple(slice(low, low + size) for low, size in zip(start.tolist(), part.shape, strict=True))] = part
    return whole, names


def _placed(path: str | Path, like: sitk.Image) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Return the voxels of an image file in the order of a scan's axes, where they begin in it, and names of labels."""
    source = Path(path)
    if not source.is_file():
        raise ScanError("no-file", "a mask must be an image file; nothing is there")
    said, arrays = _asked("image", source)
    image = _image(said, arrays)
    found = _onto(image, like)
    if found is None:
        raise ScanError(
            "mask-grid", f"a mask must lie on its scan's grid ({_grid(like)}); got {_grid(image)} or another place"
        )
    return *found, {int(label): name for label, name in said["names"].items()}


def _grid(image: sitk.Image) -> str:
    return f"size {image.GetSize()}, spacing {_rounded(image)} mm"


def _labels(values: np.ndarray) -> np.ndarray:
    """Return whole numbers from 0 up as such, uint16 where they fit."""
    if not np.array_equal(values, np.rint(values)) or values.min() < 0:
        raise ScanError("mask-values", "labels must be whole numbers from 0 up; others are in the mask")
    return np.ascontiguousarray(values, np.uint16 if values.max() <= np.iinfo(np.uint16).max else np.int32)


def _read_series(folder: Path, stated: Acquisition, modality: str | None) -> Scan:
    """Read a folder of DICOM files as one CT series."""
    said, arrays = _asked("series", folder)
    if modality not in (None, "", "CT"):
        raise ScanError("wrong-modality", f"the study says {modality}; the files are CT")
    # One NaN stands for all, so that equal acquisitions are equal.
    made: dict[str, Any] = {name: nan if one != one else one for name, one in said["acquired"].items()}
    known = Acquisition(**made)
    if "plan" in said:
        values, imaged = series.planned(said["plan"])
    else:  # a view of the shared memory would hold all of it, voxels too, as long as the scan lives
        values, imaged = arrays[0], arrays[1].copy() if arrays[1:] else None
    uids = tuple(said["uids"])
    return Scan(image=_image(said, [values]), acquisition=_filled(known, stated), uids=uids, imaged=imaged)


def _read_file(path: Path, stated: Acquisition, modality: str) -> Scan:
    """Read one NIfTI, NRRD or MetaImage file."""
    if not path.is_file():
        raise ScanError("no-file", "a scan must be a folder of DICOM files or an image file; nothing is there")
    said, arrays = _asked("image", path)
    image = _image(said, arrays)
    values = grid.array(image)
    increment = grid.voxel_volume_mm3(image) / (image.GetSpacing()[0] * image.GetSpacing()[1])
    made = replace(stated, slice_increment_mm=round(increment, DIGITS))
    if modality != "CT":
        return Scan(image=image, modality=modality, unit="a.u.", acquisition=made)
    filling = values < UNMEASURED_HU
    if filling.any():
        image = grid.image_like(np.where(filling, np.array(AIR_HU, values.dtype), values), image)
    return Scan(image=image, acquisition=made, imaged=~filling if filling.any() else None)


def _asked(task: str, source: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Have the keeper read a folder or a file."""
    held = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    return fence.ask(task, size=sum(path.stat().st_size for path in held), path=str(source.absolute()))


def _image(said: Mapping[str, Any], arrays: list[np.ndarray]) -> sitk.Image:
    """Put voxels on the grid that was read with them."""
    image = sitk.GetImageFromArray(arrays[0])
    image.SetSpacing(said["spacing_mm"])
    image.SetOrigin(said["origin_mm"])
    image.SetDirection(np.ravel(said["axes"]).tolist())
    return image


def _filled(known: Acquisition, stated: Acquisition) -> Acquisition:
    """Return what the file says, and where it says nothing what the study says."""
    filled = {}
    for one in fields(Acquisition):
        own, other = getattr(known, one.name), getattr(stated, one.name)
        unknown = own in ("", "unknown") or (isinstance(own, float) and isnan(own))
        filled[one.name] = other if unknown else own
    # The study's is that of the dose report, which knows the scan's whole length; the header's is made of slices.
    dlp = stated.dlp_mgy_cm
    return replace(Acquisition(**filled), dlp_mgy_cm=known.dlp_mgy_cm if isnan(dlp) else dlp)


def _onto(image: sitk.Image, like: sitk.Image) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the voxels of an image in the order of another's axes, and the other's index (zyx) of the first.

    None where they are not voxels of the other: another spacing or direction, between its voxels, or beyond it.
    """
    between = np.linalg.inv(grid.affine(like)) @ grid.affine(image)
    turn = np.rint(between[:3, :3])
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        return None
    order = np.abs(turn).argmax(axis=1)
    backward = turn[np.arange(3), order] < 0
    values = np.transpose(grid.array(image), order)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(grid.array(image).shape) - 1)
    placed = grid.apply_affine(between, corners)
    start = np.rint(placed.min(axis=0)).astype(int)
    exact = corners @ turn.T + np.where(backward, np.array(values.shape) - 1, 0) + start
    if np.abs(placed - exact).max() > SHARED_CORNER:
        return None
    if start.min() < 0 or np.any(start + values.shape > grid.array(like).shape):
        return None
    return np.flip(values, tuple(np.flatnonzero(backward).tolist())), start


def _rounded(image: sitk.Image) -> tuple[float, ...]:
    return tuple(round(one, 4) for one in image.GetSpacing())
