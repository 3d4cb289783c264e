"""One scan on a checked grid with its acquisition; what cannot be trusted is refused, never guessed."""

from __future__ import annotations

import contextlib
import gzip
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import isfinite, isnan, nan, prod
from pathlib import Path
from typing import TypeVar

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import BytesLengthException, InvalidDicomError
from scipy import ndimage

from monitor import grid
from monitor.types import Acquisition, Scan, ScanError

T = TypeVar("T")

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
"""SOP class of CT Image Storage (DICOM PS3.4 B.5): the only one whose pixels are read."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP class of screenshots, and the root of its multi-frame kin (DICOM PS3.4 B.5)."""

DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR: a table of contents, passed over; what it points to is never followed."""

LOSSY_8_BIT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
"""JPEG baseline and extended: decoded without error and wrong by thousands of HU on 16-bit CT."""

LOSSY_METHOD = "ISO_10918_1"
"""LossyImageCompressionMethod of a JPEG that was unpacked again: the loss stays (DICOM PS3.3 C.7.6.1.1.5)."""

DEFERRED_BYTES = 4096
"""Longer elements stay on the disk until asked for: headers are read once and pixels slice by slice."""

ENDLESS = 0xFFFFFFFF
"""Length of an element that ends by a delimiter: compressed pixels (DICOM PS3.5 A.4)."""

GAP_TOLERANCE, GAP_TOLERANCE_MM = 0.01, 0.05
"""Difference of slice gaps that is a rounding of the header and no missing slice: relative, and in mm for thin ones."""

SAME_PLACE_MM = 1e-3
"""Slices closer than this are one place."""

DRIFT_FRACTION = 0.1
"""Sideways drift of slice positions allowed over the series, in slice gaps."""

TILT_DEGREES = 0.2
"""A stack that leans by more is named a tilted gantry; scanners tilt by degrees."""

ORIENTATION_TOLERANCE = 1e-4
"""Largest difference of direction cosines within a series (that of dicom-numpy, seen in good series)."""

SQUARE_TOLERANCE = 1e-3
"""How far axes may be from unit length and right angles: headers give four digits or more."""

SPACING_TOLERANCE = 1e-3
"""Largest relative difference of PixelSpacing within a series."""

SPACING_MM = (0.01, 50.0)
"""Voxel sizes outside these are another unit than mm."""

DIGITS = 6
"""Digits after the point that a distance in mm or a voltage in kV keeps: the rest is rounding of the header."""

READABLE = "every DICOM header must be readable"
"""The rule that a broken header breaks."""

LEAST_SLICES = 3
"""Fewer slices hold no volume."""

MOST_VOXELS = 1_000_000_000
"""A file that claims more voxels than this lies: 2000 slices of 700 x 700."""

AIR_HU = -1024
"""Value given to voxels that were not measured, HU."""

UNMEASURED_HU = -1500
"""Below this no scanner measures: filling outside the field (-2000, -3024), declared or not, HU."""

EMPTIER_THAN_AIR_HU, EMPTIER_SHARE = -1100, 0.05
"""Share of voxels that noise may put below this; more is an offset taken off twice (fat would lie here)."""

LIGHT_HU, LIGHT_SHARE = -150, 1e-4
"""A CT of a patient holds some air or fat below this; values that never go there lack their offset."""

BODY_HU, BODY_MEDIAN_HU = -300, (-150, 400)
"""The median of all that is denser than the first lies within the second, from fat to spongy bone."""

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha")
"""Image files other than DICOM: those that hold header and voxels in one file."""

SHARED_CORNER = 0.1
"""Mask and scan share a grid where their corners agree within this many voxels."""

_BROKEN = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError, BytesLengthException, InvalidDicomError, struct.error, zlib.error),
)
"""What readers raise on bytes that are not what they claim."""

_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "libjpeg")
"""Loggers that may print values of a header."""

_SAME = {
    "PatientID": "two-patients",
    "StudyInstanceUID": "two-series",
    "SeriesInstanceUID": "two-series",
    "FrameOfReferenceUID": "two-frames",
    "Rows": "mixed-size",
    "Columns": "mixed-size",
    "KVP": "mixed-acquisition",
    "ConvolutionKernel": "mixed-acquisition",
}
"""What all slices must share, and the code where they do not."""


_READ = [
    *_SAME,
    *("SOPClassUID", "ImageType", "LossyImageCompressionMethod", "AcquisitionNumber"),
    *("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"),
    *("RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PlanarConfiguration", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("SliceThickness", "ContrastBolusAgent", "ContrastBolusRoute", "Manufacturer"),
]
"""All that is read of a header; nothing else, above all no name, comes into memory."""


@dataclass(frozen=True, eq=False)
class _Slice:
    """One DICOM file in plain values; ``header`` fetches its pixels when asked.

    ``shared`` are the values named in ``_SAME``; absent numbers are empty arrays.
    """

    header: pydicom.Dataset
    kind: str
    words: tuple[str, ...]
    syntax: str
    lossy: bool
    frames: int
    colours: int
    shared: tuple[str, ...]
    acquisition_number: str
    shape: tuple[int, int]
    pixel_bytes: int
    orientation: np.ndarray
    position_mm: np.ndarray
    spacing_mm: np.ndarray
    rescale: np.ndarray
    rescale_type: str
    padding: tuple[int, int] | None


def read(path: str | Path, *, acquisition: Acquisition | None = None, modality: str | None = None) -> Scan:
    """Read one scan.

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
        scanner measured is -1024 HU and False in ``imaged``.

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
    source = Path(path)
    if not source.is_file():
        raise ScanError("no-file", "a mask must be an image file; nothing is there")
    image = _read_image(source)
    values = _onto(image, like)
    if values is None:
        got = f"size {image.GetSize()}, spacing {_rounded(image)} mm"
        want = f"size {like.GetSize()}, spacing {_rounded(like)} mm"
        raise ScanError("mask-grid", f"a mask must lie on its scan's grid ({want}); got {got} or another place")
    if not labels:
        return np.ascontiguousarray(values != 0)
    if not np.array_equal(values, np.rint(values)) or values.min() < 0:
        raise ScanError("mask-values", "labels must be whole numbers from 0 up; others are in the mask")
    return np.ascontiguousarray(values, np.uint16 if values.max() <= np.iinfo(np.uint16).max else np.int32)


def _read_series(folder: Path, stated: Acquisition, modality: str | None) -> Scan:
    """Read a folder of DICOM files as one CT series: every check first, then the pixels."""
    slices = _slices(folder)
    _require_ct(slices, modality)
    _require_one_series(slices)
    _require_numbers(slices)
    axes = _axes(slices)
    slices = sorted(slices, key=lambda one: float(one.position_mm @ axes[:, 2]))
    increment = _increment_mm(slices, axes[:, 2])
    rows_mm, columns_mm = _pixel_spacing_mm(slices)
    with _silent():
        known = _try("broken-header", READABLE, lambda: _acquisition(slices[0].header))
    values, imaged = _hu(slices)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((columns_mm, rows_mm, increment))
    image.SetOrigin(slices[0].position_mm.tolist())
    image.SetDirection(axes.ravel().tolist())
    first = dict(zip(_SAME, slices[0].shared, strict=True))
    uids = (first["SeriesInstanceUID"], first["FrameOfReferenceUID"])
    said = _filled(known, stated, increment)
    return Scan(image=image, acquisition=said, uids=uids, imaged=imaged)


def _slices(folder: Path) -> list[_Slice]:
    """Return what the DICOM files of a folder say; other files are passed over."""
    found = []
    with _silent():
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            one = _try("broken-header", READABLE, partial(_slice, path))
            if one is not None:
                found.append(one)
    if not found:
        raise ScanError("no-dicom", "a folder must hold DICOM files; there is none in it")
    return found


def _slice(path: Path) -> _Slice | None:
    """Return one file in plain values, or None if it is no DICOM file or a DICOMDIR."""
    try:
        header = pydicom.dcmread(path, defer_size=DEFERRED_BYTES, specific_tags=_READ)
    except InvalidDicomError:
        if path.suffix.lower() in (".dcm", ".ima"):
            raise  # named a slice and none: cut short
        return None
    kind = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
    if kind == DIRECTORY:
        return None
    numbers = {name: _numbers(header, name) for name in ("ImageOrientationPatient", "ImagePositionPatient")}
    return _Slice(
        header=header,
        kind=kind,
        words=tuple(str(word).strip().upper() for word in _many(header.get("ImageType"))),
        syntax=str(header.file_meta.get("TransferSyntaxUID", "")),
        lossy=LOSSY_METHOD in _many(header.get("LossyImageCompressionMethod")),
        frames=int(header.get("NumberOfFrames") or 1),
        colours=int(header.get("SamplesPerPixel") or 1) + (header.get("PhotometricInterpretation") != "MONOCHROME2"),
        shared=tuple(str(header.get(name) or "") for name in _SAME),
        acquisition_number=str(header.get("AcquisitionNumber") or ""),
        shape=(int(header.get("Rows") or 0), int(header.get("Columns") or 0)),
        pixel_bytes=_pixel_bytes(header),
        orientation=numbers["ImageOrientationPatient"],
        position_mm=numbers["ImagePositionPatient"],
        spacing_mm=_numbers(header, "PixelSpacing"),
        rescale=np.concatenate([_numbers(header, "RescaleSlope"), _numbers(header, "RescaleIntercept")]),
        rescale_type=str(header.get("RescaleType") or "HU").strip(),
        padding=_padding(header),
    )


def _pixel_bytes(header: pydicom.Dataset) -> int:
    """Return how many bytes of pixels too few (below 0) or too many a file holds, the filling to even length aside."""
    if "PixelData" not in header:
        return -1
    length = int(getattr(header.get_item("PixelData"), "length", ENDLESS) or 0)
    if length == ENDLESS:
        return 0
    needed = prod(int(header.get(name) or 0) for name in ("Rows", "Columns", "BitsAllocated")) // 8
    return length - needed if length != needed + needed % 2 else 0


def _padding(header: pydicom.Dataset) -> tuple[int, int] | None:
    """Return the range of stored values that are filling, as the header gives it."""
    value = header.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = header.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return low, high


def _require_ct(slices: Sequence[_Slice], modality: str | None) -> None:
    """Refuse all but measured CT slices, stored without 8-bit loss."""
    for one in slices:
        if one.kind.startswith(SECONDARY_CAPTURE):
            raise ScanError("secondary-capture", "a series must hold CT slices; one file is a secondary capture")
        if one.kind != CT_IMAGE:
            raise ScanError("not-ct", f"every file must be CT Image Storage; one is {_kind_name(one.kind)}")
        if "LOCALIZER" in one.words:
            raise ScanError("localizer", "a series must hold slices only; one image is a localizer")
        if one.syntax in LOSSY_8_BIT or one.lossy:
            raise ScanError("lossy", "pixels must be stored without loss; these went through 8-bit JPEG")
        if one.frames != 1 or one.colours != 1:
            raise ScanError("not-slices", "every file must be one slice in grey; one holds frames or colours")
    if modality not in (None, "", "CT"):
        raise ScanError("wrong-modality", f"the study says {modality}; the files are CT")
    if len(slices) < LEAST_SLICES:
        raise ScanError("too-few-slices", f"a series must have at least {LEAST_SLICES} slices; got {len(slices)}")


def _kind_name(kind: str) -> str:
    """Return the name of an SOP class; one that DICOM does not know may hold anything, and is not repeated."""
    with _silent():
        name = pydicom.uid.UID(kind).name
    return "of another kind" if name == kind else name


def _require_one_series(slices: Sequence[_Slice]) -> None:
    """Refuse slices that differ where a series has one value; the values stay out of the message."""
    for number, (name, code) in enumerate(_SAME.items()):
        values = {one.shared[number] for one in slices}
        if len(values) > 1:
            raise ScanError(code, f"all slices must share one {name}; they have {len(values)}")
    rows, columns = slices[0].shape
    if rows < LEAST_SLICES or columns < LEAST_SLICES or rows * columns * len(slices) > MOST_VOXELS:
        raise ScanError("bad-size", f"a series may have {MOST_VOXELS} voxels; got {len(slices)} x {rows} x {columns}")


def _require_numbers(slices: Sequence[_Slice]) -> None:
    """Refuse slices that lack a number which places or scales them, or pixels."""
    wanted: tuple[tuple[str, str, int, Callable[[_Slice], np.ndarray]], ...] = (
        ("ImageOrientationPatient", "no-orientation", 6, lambda one: one.orientation),
        ("ImagePositionPatient", "no-position", 3, lambda one: one.position_mm),
        ("PixelSpacing", "no-spacing", 2, lambda one: one.spacing_mm),
        ("RescaleSlope and RescaleIntercept", "no-rescale", 2, lambda one: one.rescale),
    )
    for name, code, count, values in wanted:
        bad = sum(len(values(one)) != count or not np.isfinite(values(one)).all() for one in slices)
        if bad:
            raise ScanError(code, f"every slice must state {name}, {count} finite numbers; {bad} do not")
    if any(one.rescale[0] <= 0 for one in slices):
        raise ScanError("no-rescale", "RescaleSlope must be above 0; one slice has another")
    if any(one.rescale_type not in ("HU", "US") for one in slices):
        raise ScanError("not-hu", "RescaleType must be HU or absent; the slices state another")
    short = [one.pixel_bytes for one in slices if one.pixel_bytes]
    if short:
        word = "too short" if short[0] < 0 else f"{short[0]} bytes too long"
        raise ScanError("bad-pixels", f"pixels must fill the slice exactly; in {len(short)} files they are {word}")


def _axes(slices: Sequence[_Slice]) -> np.ndarray:
    """Return the unit vectors along columns, rows and slices as columns of a (3, 3) matrix: right-handed."""
    cosines = np.array([one.orientation for one in slices])
    spread = float(np.abs(cosines - cosines[0]).max())
    if spread > ORIENTATION_TOLERANCE:
        raise ScanError("mixed-orientation", f"slices must be parallel to {ORIENTATION_TOLERANCE}; got {spread:.2g}")
    across, down = cosines[0, :3], cosines[0, 3:]
    square = np.array([across @ across - 1, down @ down - 1, across @ down])
    if np.abs(square).max() > SQUARE_TOLERANCE:
        raise ScanError("no-orientation", "ImageOrientationPatient must be two unit vectors at right angles")
    across = across / np.linalg.norm(across)
    down = down - (down @ across) * across
    down /= np.linalg.norm(down)
    return np.stack([across, down, np.cross(across, down)], axis=1)


def _pixel_spacing_mm(slices: Sequence[_Slice]) -> tuple[float, float]:
    """Return the distance of rows and that of columns, mm."""
    spacings = np.array([one.spacing_mm for one in slices])
    low, high = float(spacings.min()), float(spacings.max())
    if low < SPACING_MM[0] or high > SPACING_MM[1]:
        raise ScanError("no-spacing", f"PixelSpacing must lie from {SPACING_MM[0]} to {SPACING_MM[1]} mm; got {low:g}")
    if np.ptp(spacings, axis=0).max() > SPACING_TOLERANCE * low:
        raise ScanError("mixed-spacing", f"slices must share one PixelSpacing; got {low:g} mm to {high:g} mm")
    return float(spacings[0, 0]), float(spacings[0, 1])


def _increment_mm(slices: Sequence[_Slice], normal: np.ndarray) -> float:
    """Return the distance of the sorted slices, mm, after checking that they are even and stacked straight."""
    positions = np.array([one.position_mm for one in slices])
    gaps = np.diff(positions @ normal)
    twice = int((gaps < SAME_PLACE_MM).sum())
    if twice:
        raise ScanError("doubled-slice", f"every slice must have a place of its own; {twice} places are taken twice")
    numbers = [one.acquisition_number for one in slices]
    if sum(one != two for one, two in pairwise(numbers)) >= len(set(numbers)):
        raise ScanError("two-acquisitions", "a series must hold one acquisition; slices of several are interleaved")
    uneven = np.abs(gaps - np.median(gaps)).max()
    if uneven > max(GAP_TOLERANCE * np.median(gaps), GAP_TOLERANCE_MM):
        got = f"{gaps.min():.4g} mm to {gaps.max():.4g} mm"
        raise ScanError("uneven-slices", f"slice gaps of a series must agree within {GAP_TOLERANCE:.0%}: got {got}")
    gap = round(float(gaps.mean()), DIGITS)
    if not SPACING_MM[0] <= gap <= SPACING_MM[1]:
        raise ScanError("no-spacing", f"slices must lie {SPACING_MM[0]} to {SPACING_MM[1]} mm apart; got {gap:.4g} mm")
    _require_straight(positions, gap, normal)
    return gap


def _require_straight(positions_mm: np.ndarray, gap_mm: float, normal: np.ndarray) -> None:
    """Refuse slices that are not stacked along their normal: a sheared grid would be measured as a straight one."""
    sideways = positions_mm - positions_mm[0] - np.outer((positions_mm - positions_mm[0]) @ normal, normal)
    drift = np.linalg.norm(sideways, axis=1)
    angle = float(np.degrees(np.arctan2(drift[-1], gap_mm * (len(positions_mm) - 1))))
    if angle > TILT_DEGREES:
        raise ScanError("gantry-tilt", f"slices must be stacked along their normal; they lean by {angle:.1f} degrees")
    if drift.max() > max(DRIFT_FRACTION * gap_mm, GAP_TOLERANCE_MM):
        allowed = f"{DRIFT_FRACTION:g} of the slice gap"
        raise ScanError("drifting-slices", f"slices must lie on a line within {allowed}; got {drift.max():.2f} mm")


def _hu(slices: Sequence[_Slice]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return HU, (z, y, x) int16 or float32, and where the scanner measured; None where it did everywhere."""
    shape = (len(slices), *slices[0].shape)
    whole = all(float(number).is_integer() for one in slices for number in one.rescale)
    volume = np.empty(shape, np.int16 if whole else np.float32)
    imaged = None
    with _silent():
        for number, one in enumerate(slices):
            stored = _stored(one)
            slope, offset = one.rescale
            ends = np.array([stored.min(), stored.max()]) * slope + offset
            if volume.dtype == np.int16 and not _fits_int16(ends):
                volume = volume.astype(np.float32)
            exact = np.multiply(stored, slope, dtype=np.float32) if slope != 1 else stored
            np.add(exact, offset, out=volume[number], dtype=np.float32, casting="unsafe")
            filling = _filling(stored, one)
            if filling is not None:
                imaged = np.ones(shape, bool) if imaged is None else imaged
                imaged[number] = ~filling
                volume[number][filling] = AIR_HU
    return volume, imaged


def _stored(one: _Slice) -> np.ndarray:
    """Return the pixels of one slice as they are stored, (y, x) whole numbers."""
    stored = _try("bad-pixels", "every slice must be decodable", lambda: np.asarray(one.header.pixel_array))
    one.header.clear()  # or all slices would be in memory twice
    if stored.shape != one.shape or stored.dtype.kind not in "iu":
        raise ScanError("bad-pixels", f"a slice must be {one.shape} whole numbers; got {stored.shape} {stored.dtype}")
    return stored


def _filling(stored: np.ndarray, one: _Slice) -> np.ndarray | None:
    """Return where a slice holds filling instead of a measurement, (y, x) bool; None for nowhere.

    Declared padding that is also a value of air or tissue counts only where it reaches the slice's edge: inside
    the body it is a measurement.
    """
    slope, offset = one.rescale
    least = (UNMEASURED_HU - offset) / slope
    filling = stored < least if stored.min() < least else None
    if one.padding is None:
        return filling
    # Written as US or SS at will: both are the same bits.
    bits = stored.dtype.itemsize * 8
    low, high = sorted(int(np.array(end % (1 << bits), f"u{bits // 8}").astype(stored.dtype)) for end in one.padding)
    declared = (stored >= low) & (stored <= high)
    if not declared.any():
        return filling
    if high * slope + offset >= AIR_HU:
        pieces, _ = ndimage.label(declared)
        at_edge = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
        declared = np.isin(pieces, at_edge[at_edge > 0])
    return declared if filling is None else filling | declared


def _acquisition(header: pydicom.Dataset) -> Acquisition:
    """Return how a slice was made, as its header says; the increment comes from the positions."""
    return Acquisition(
        kvp=_above_zero(header, "KVP"),
        kernel="\\".join(_many(header.get("ConvolutionKernel"))),
        slice_thickness_mm=_above_zero(header, "SliceThickness"),
        contrast=_contrast(header),
        manufacturer=str(header.get("Manufacturer") or "").strip(),
    )


def _contrast(header: pydicom.Dataset) -> str:
    """Return iv, none or unknown; what was drunk says nothing of the vessels."""
    agent = str(header.get("ContrastBolusAgent") or "").strip().upper()
    if agent in ("NONE", "NO", "WITHOUT"):
        return "none"
    route = str(header.get("ContrastBolusRoute") or "").upper()
    return "iv" if agent and not any(word in route for word in ("ORAL", "RECTAL")) else "unknown"


def _filled(known: Acquisition, stated: Acquisition, increment_mm: float) -> Acquisition:
    """Return the file's acquisition, with what the study says where the file says nothing."""
    return Acquisition(
        kvp=stated.kvp if isnan(known.kvp) else known.kvp,
        kernel=known.kernel or stated.kernel,
        slice_thickness_mm=stated.slice_thickness_mm if isnan(known.slice_thickness_mm) else known.slice_thickness_mm,
        slice_increment_mm=increment_mm,
        contrast=stated.contrast if known.contrast == "unknown" else known.contrast,
        manufacturer=known.manufacturer or stated.manufacturer,
    )


def _above_zero(header: pydicom.Dataset, name: str) -> float:
    """Return a number of the header; 0 and absent are unknown."""
    values = _numbers(header, name)
    return round(float(values[0]), DIGITS) if values.size and values[0] > 0 else nan


def _numbers(header: pydicom.Dataset, name: str) -> np.ndarray:
    """Return the numbers of a header element, as many as there are; none where it is absent or no number."""
    try:
        return np.array([float(one) for one in _many(header.get(name))])
    except ValueError:
        return np.empty(0)


def _many(value: object) -> tuple[str, ...]:
    """Return the parts of a header value as text; none where it is absent or empty."""
    if value is None or value == "":
        return ()
    return tuple(str(one) for one in (value if isinstance(value, Sequence) and not isinstance(value, str) else [value]))


def _read_file(path: Path, stated: Acquisition, modality: str) -> Scan:
    """Read one NIfTI, NRRD or MetaImage file."""
    if not path.is_file():
        raise ScanError("no-file", "a scan must be a folder of DICOM files or an image file; nothing is there")
    image = _read_image(path)
    values = grid.array(image)
    if min(values.shape) < LEAST_SLICES:
        raise ScanError("too-few-slices", f"an image must have {LEAST_SLICES} voxels a side; got {image.GetSize()}")
    if not np.isfinite(values).all():
        raise ScanError("not-finite", "voxels must be finite numbers; some are not")
    whole = values.dtype.kind in "iu" or np.array_equal(values, np.rint(values))
    image = sitk.Cast(image, sitk.sitkInt16 if whole and _fits_int16(values) else sitk.sitkFloat32)
    said = replace(stated, slice_increment_mm=round(float(image.GetSpacing()[2]), DIGITS))
    if modality != "CT":
        return Scan(image=image, modality=modality, unit="a.u.", acquisition=said)
    filling = grid.array(image) < UNMEASURED_HU
    if filling.any():
        image = grid.image_like(np.where(filling, np.array(AIR_HU, grid.array(image).dtype), grid.array(image)), image)
    return Scan(image=image, acquisition=said, imaged=~filling if filling.any() else None)


def _read_image(path: Path) -> sitk.Image:
    """Read an image file after checking that it holds as many voxels as its header promises."""
    if not path.name.lower().endswith(FORMATS):
        raise ScanError("unknown-format", f"an image file must end in {', '.join(FORMATS)}; got {path.suffix!r}")
    rule = "an image file must be whole and readable as what its name says"
    with _silent():
        _try("broken-file", rule, lambda: _require_whole(path))
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        _try("broken-file", rule, reader.ReadImageInformation)
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            raise ScanError("not-3d", f"an image must have 3 dimensions and one value a voxel; got {reader.GetSize()}")
        if prod(reader.GetSize()) > MOST_VOXELS:
            raise ScanError("bad-size", f"an image may have {MOST_VOXELS} voxels; this one claims {reader.GetSize()}")
        image = _try("broken-file", rule, reader.Execute)
    if not all(isfinite(one) and SPACING_MM[0] <= one <= SPACING_MM[1] for one in image.GetSpacing()):
        raise ScanError("no-spacing", f"voxels must be {SPACING_MM[0]} to {SPACING_MM[1]} mm; got {_rounded(image)}")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.allclose(direction.T @ direction, np.eye(3), atol=SQUARE_TOLERANCE):
        raise ScanError("sheared-grid", "the axes of an image must be at right angles; these are not")
    return image


def _require_whole(path: Path) -> None:
    """Refuse a file that is shorter than its header says, or that points to another file.

    Readers fill what is missing with zeros in silence, and what another file holds is not in the hash of this one.
    """
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as stream:
        head = stream.read(1 << 16)
        if not path.name.lower().endswith((".nii", ".nii.gz")):
            if re.search(rb"^(data ?file *:|ElementDataFile *=(?! *LOCAL\s))", head, re.MULTILINE):
                raise ScanError("unknown-format", "an image must hold its own voxels; this one points to another file")
            return
        layout = _nifti_layout(head)
        length = stream.seek(layout.offset)
        while length < layout.end and (part := stream.read(1 << 22)):
            length += len(part)
            _require_finite(part, layout.kind)
    if length < layout.end:
        raise ScanError("cut-file", f"the header promises {layout.end} bytes; the file holds {length}")


def _require_finite(part: bytes, kind: str) -> None:
    """Refuse NaN and infinity here: ITK's NIfTI reader turns them into 0 in silence."""
    if kind:
        values = np.frombuffer(part[: len(part) // 8 * 8], kind)
        if not np.isfinite(values).all():
            raise ScanError("not-finite", "voxels must be finite numbers; some are not")


@dataclass(frozen=True)
class _NiftiLayout:
    """Where the voxels of a NIfTI file begin and end, bytes; ``kind`` is their dtype if they are floats."""

    offset: int
    end: int
    kind: str


def _nifti_layout(head: bytes) -> _NiftiLayout:
    """Return what a NIfTI header says of its file (NIfTI-1 and -2)."""
    order = next((one for one in "<>" if struct.unpack_from(f"{one}i", head)[0] in (348, 540)), "")
    if not order:
        raise ScanError("broken-file", "a NIfTI file must begin with a NIfTI header; this one does not")
    if struct.unpack_from(f"{order}i", head)[0] == 348:
        dims, (kind, bits) = struct.unpack_from(f"{order}8h", head, 40), struct.unpack_from(f"{order}2h", head, 70)
        offset = int(struct.unpack_from(f"{order}f", head, 108)[0])
    else:
        (kind, bits), dims = struct.unpack_from(f"{order}2h", head, 12), struct.unpack_from(f"{order}8q", head, 16)
        (offset,) = struct.unpack_from(f"{order}q", head, 168)
    voxels = prod(max(1, size) for size in dims[1 : dims[0] + 1])
    if voxels > MOST_VOXELS:
        raise ScanError("bad-size", f"an image may have {MOST_VOXELS} voxels; this one claims {voxels}")
    return _NiftiLayout(offset, offset + voxels * bits // 8, {16: f"{order}f4", 64: f"{order}f8"}.get(kind, ""))


def _onto(image: sitk.Image, like: sitk.Image) -> np.ndarray | None:
    """Return the voxels of an image in the order of another's axes, or None where the two share no grid."""
    between = np.linalg.inv(grid.affine(like)) @ grid.affine(image)
    turn = np.rint(between[:3, :3])
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        return None
    order = np.abs(turn).argmax(axis=1)
    backward = turn[np.arange(3), order] < 0
    values = np.transpose(grid.array(image), order)
    if values.shape != grid.array(like).shape:
        return None
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(grid.array(image).shape) - 1)
    exact = corners @ turn.T + np.where(backward, np.array(values.shape) - 1, 0)
    if np.abs(grid.apply_affine(between, corners) - exact).max() > SHARED_CORNER:
        return None
    return np.flip(values, tuple(np.flatnonzero(backward).tolist()))


def _rounded(image: sitk.Image) -> tuple[float, ...]:
    return tuple(round(one, 4) for one in image.GetSpacing())


def _fits_int16(values: np.ndarray) -> bool:
    limits = np.iinfo(np.int16)
    return bool(values.min() >= limits.min and values.max() <= limits.max)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silence the readers: their warnings print values of headers, and a value may be a birth date."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.disabled for logger in loggers]
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    for logger in loggers:
        logger.disabled = True
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        for logger, off in zip(loggers, before, strict=True):
            logger.disabled = off


def _try(code: str, rule: str, work: Callable[[], T]) -> T:
    """Do what a broken file may bring down; its error becomes a refusal that repeats nothing of it."""
    try:
        return work()
    except ScanError:
        raise
    except _BROKEN as error:
        raise ScanError(code, f"{rule}; got {type(error).__name__}") from None
