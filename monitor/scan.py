"""One scan on a checked grid with its acquisition; what cannot be trusted is refused, never guessed."""

from __future__ import annotations

import gzip
import warnings
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from monitor import grid
from monitor.types import Acquisition, Scan, ScanError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
"""SOP class of CT Image Storage (DICOM PS3.4 B.5)."""

LOSSY_8_BIT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
"""JPEG baseline and extended: decoded without error and wrong by thousands of HU on 16-bit CT."""

GAP_TOLERANCE = 0.01
"""Relative difference of slice gaps that is a rounding of the header and no missing slice."""

GAP_TOLERANCE_MM = 0.05
"""The same in mm, for thin slices."""

DRIFT_FRACTION = 0.1
"""Sideways drift of slice positions allowed over the series, in slice gaps."""

ORIENTATION_TOLERANCE = 1e-4
"""Largest difference of direction cosines within a series."""

TILT_DEGREES = 0.2
"""A slice stack sheared by more than this is a tilted gantry."""

LEAST_SLICES = 3
"""Fewer slices hold no volume."""

MOST_VOXELS = 1_500_000_000
"""A file that claims more voxels than this lies: 3000 slices of 700 x 700."""

AIR_HU = -1024
"""Value given to padding, HU."""

FORMATS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Image files other than DICOM."""

HU_RANGE = (-3100.0, 32767.0)
"""HU outside this come from no scanner; below are offsets gone wrong."""

_SAME = {
    "PatientID": "two-patients",
    "StudyInstanceUID": "mixed-series",
    "SeriesInstanceUID": "mixed-series",
    "FrameOfReferenceUID": "mixed-frames-of-reference",
    "Rows": "mixed-size",
    "Columns": "mixed-size",
}
"""What all slices must share, and the code where they do not."""


def read(path: str | Path, *, acquisition: Acquisition | None = None, modality: str | None = None) -> Scan:
    """Read one scan.

    Parameters
    ----------
    path : path
        A folder of DICOM files of one series, or one NIfTI, NRRD or MetaImage file.
    acquisition : Acquisition, optional
        What the study says; it fills what the file does not say.
    modality : str, optional
        For files that do not say; CT where neither does.

    Raises
    ------
    ScanError
        With a ``code``, where the scan cannot be trusted.
    """
    source = Path(path)
    stated = acquisition or Acquisition()
    if source.is_dir():
        return _read_series(source, stated)
    if not source.exists():
        raise ScanError("no-file", "a scan must be a folder of DICOM files or an image file; nothing is there")
    if not source.name.lower().endswith(FORMATS):
        raise ScanError("unknown-format", f"an image file must end in {', '.join(FORMATS)}; got {source.suffix!r}")
    image = _read_image(source)
    said = replace(stated, slice_increment_mm=float(image.GetSpacing()[2]))
    return _checked(Scan(image=image, modality=modality or "CT", acquisition=said))


def require_hu(scan: Scan) -> None:
    """Refuse a scan whose voxels cannot be HU.

    Raises
    ------
    ScanError
        If it is no CT, or no voxel lies where air, fat or soft tissue lie.
    """
    if scan.modality != "CT":
        raise ScanError("not-ct", f"HU are measured on CT; this scan is {scan.modality}")
    values = scan.array[::2, ::4, ::4]
    low, high = float(values.min()), float(values.max())
    if low < HU_RANGE[0] or high > HU_RANGE[1]:
        raise ScanError("not-hu", f"HU lie from {HU_RANGE[0]:g} to {HU_RANGE[1]:g}; got {low:g} to {high:g}")
    if low >= -150:
        raise ScanError("not-hu", f"a CT holds air or fat below -150 HU; the least here is {low:g}: is an offset missing?")
    if not np.any((values > -150) & (values < 150)):
        raise ScanError("not-hu", "a CT of a patient holds soft tissue from -150 to 150 HU; there is none here")


def read_mask(path: str | Path, like: sitk.Image, *, labels: bool = False) -> np.ndarray:
    """Read a mask, (z, y, x) bool, or a label map, int, that lies on the grid of a scan.

    Raises
    ------
    ScanError
        If the file cannot be read or its grid is not the scan's.
    """
    image = _read_image(Path(path))
    same = image.GetSize() == like.GetSize() and np.allclose(grid.affine(image), grid.affine(like), atol=1e-2)
    if not same:
        raise ScanError(
            "mask-grid",
            f"a mask must lie on its scan's grid, size {like.GetSize()}; got size {image.GetSize()} or another place",
        )
    values = np.array(grid.array(image))
    return values.astype(int) if labels else values != 0


def _read_series(folder: Path, stated: Acquisition) -> Scan:
    """Read a folder of DICOM files as one CT series."""
    headers = _headers(folder)
    _all_ct(headers)
    for name, code in _SAME.items():
        _same(headers, name, code)
    first = headers[0][1]
    normal = _normal(headers)
    headers = sorted(headers, key=lambda pair: float(np.dot(normal, _position(pair[1]))))
    increment = _increment(headers, normal)
    pixels, imaged = _pixels(headers)
    image = sitk.GetImageFromArray(pixels)
    rows_mm, columns_mm = _spacing(headers)
    image.SetSpacing((columns_mm, rows_mm, increment))
    image.SetOrigin([float(v) for v in _position(headers[0][1])])
    cosines = _cosines(first)
    image.SetDirection(np.stack([cosines[:3], cosines[3:], normal], axis=1).ravel().tolist())
    return _checked(
        Scan(
            image=image,
            acquisition=_acquired(first, increment, stated),
            uids=(str(first.SeriesInstanceUID), str(first.FrameOfReferenceUID)),
            imaged=None if imaged.all() else imaged,
        )
    )


def _headers(folder: Path) -> list[tuple[Path, pydicom.Dataset]]:
    """Return the DICOM files of a folder with their headers; other files are passed over."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom's warnings print values, and a value may be a birth date
                found.append((path, pydicom.dcmread(path, stop_before_pixels=True)))
        except (InvalidDicomError, OSError):
            continue
        except Exception as error:  # noqa: BLE001 - a broken header raises whatever its bytes provoke
            raise ScanError("broken-header", f"a DICOM header must be readable: {type(error).__name__}") from None
    if not found:
        raise ScanError("no-dicom", "a folder must hold DICOM files; it holds none")
    return found


def _all_ct(headers: list[tuple[Path, pydicom.Dataset]]) -> None:
    for _, header in headers:
        kind = str(header.get("SOPClassUID", ""))
        if kind != CT_IMAGE:
            name = pydicom.uid.UID(kind).name if kind else "none"
            raise ScanError("not-ct", f"files must be CT Image Storage; one is {name}")
        words = [str(word).upper() for word in header.get("ImageType", None) or []]
        if "LOCALIZER" in words:
            raise ScanError("localizer", "a series must hold slices only; one image is a localizer")
        if words[:1] == ["DERIVED"] and "SECONDARY" in words and "AXIAL" not in words:
            raise ScanError("secondary-capture", "a series must hold measured or reformatted slices, not captures")
        syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
        if syntax in LOSSY_8_BIT:
            raise ScanError("lossy", "pixels must be stored without loss; these are 8-bit JPEG")
    if len(headers) < LEAST_SLICES:
        raise ScanError("too-few-slices", f"a series must have at least {LEAST_SLICES} slices; got {len(headers)}")


def _same(headers: list[tuple[Path, pydicom.Dataset]], name: str, code: str) -> None:
    """Hold that all slices share a header value; the values stay out of the message."""
    values = {str(header.get(name, "")) for _, header in headers}
    if len(values) > 1:
        raise ScanError(code, f"all slices must share one {name}; they have {len(values)}")


def _number(header: pydicom.Dataset, name: str, code: str) -> np.ndarray:
    try:
        values = np.atleast_1d(np.asarray(header[name].value, float))
    except (KeyError, TypeError, ValueError):
        raise ScanError(code, f"every slice must state {name}; one does not") from None
    if not np.all(np.isfinite(values)):
        raise ScanError(code, f"{name} must be finite numbers")
    return values


def _position(header: pydicom.Dataset) -> np.ndarray:
    values = _number(header, "ImagePositionPatient", "no-position")
    if len(values) != 3:
        raise ScanError("no-position", f"ImagePositionPatient must be 3 numbers; got {len(values)}")
    return values


def _cosines(header: pydicom.Dataset) -> np.ndarray:
    values = _number(header, "ImageOrientationPatient", "no-orientation")
    if len(values) != 6:
        raise ScanError("no-orientation", f"ImageOrientationPatient must be 6 numbers; got {len(values)}")
    if abs(np.linalg.norm(values[:3]) - 1) > 1e-2 or abs(np.dot(values[:3], values[3:])) > 1e-2:
        raise ScanError("no-orientation", "ImageOrientationPatient must be two unit vectors at right angles")
    one = values[:3] / np.linalg.norm(values[:3])
    two = values[3:] - np.dot(values[3:], one) * one
    return np.concatenate([one, two / np.linalg.norm(two)])


def _normal(headers: list[tuple[Path, pydicom.Dataset]]) -> np.ndarray:
    """Return the unit normal of the slices, after checking that they are parallel."""
    cosines = np.array([_cosines(header) for _, header in headers])
    spread = float(np.abs(cosines - cosines[0]).max())
    if spread > ORIENTATION_TOLERANCE:
        raise ScanError("mixed-orientation", f"slices must be parallel within {ORIENTATION_TOLERANCE}; got {spread:.2g}")
    return np.cross(cosines[0, :3], cosines[0, 3:])


def _spacing(headers: list[tuple[Path, pydicom.Dataset]]) -> tuple[float, float]:
    spacings = np.array([_number(header, "PixelSpacing", "no-spacing")[:2] for _, header in headers])
    if spacings.shape[1] != 2 or not np.all((spacings > 0.01) & (spacings < 10)):
        raise ScanError("no-spacing", "PixelSpacing must be two numbers from 0.01 to 10 mm")
    if np.ptp(spacings, axis=0).max() > 1e-3 * spacings.min():
        raise ScanError("mixed-spacing", f"slices must share one PixelSpacing; got {spacings.min():g} to {spacings.max():g} mm")
    return float(spacings[0, 0]), float(spacings[0, 1])


def _increment(headers: list[tuple[Path, pydicom.Dataset]], normal: np.ndarray) -> float:
    """Return the slice gap, mm, after checking that slices are evenly spaced and stacked straight."""
    positions = np.array([_position(header) for _, header in headers])
    gaps = np.diff(positions @ normal)
    if gaps.min() < 1e-3:
        raise ScanError("doubled-slice", f"slice positions must differ; {int((gaps < 1e-3).sum())} are taken twice")
    gap = float(np.median(gaps))
    if np.abs(gaps - gap).max() > max(GAP_TOLERANCE * gap, GAP_TOLERANCE_MM):
        raise ScanError(
            "uneven-slices",
            f"slice gaps of a series must agree within {GAP_TOLERANCE:.0%}; got {gaps.min():g} mm to {gaps.max():g} mm",
        )
    gap = float(gaps.mean())
    ideal = positions[0] + np.arange(len(positions))[:, None] * gap * normal
    sideways = positions - ideal
    along = (positions[-1] - positions[0]) / np.linalg.norm(positions[-1] - positions[0])
    angle = float(np.degrees(np.arccos(np.clip(np.dot(along, normal), -1, 1))))
    if angle > TILT_DEGREES:
        raise ScanError("gantry-tilt", f"slices must be stacked along their normal; they lean by {angle:.1f} degrees")
    drift = float(np.linalg.norm(sideways, axis=1).max())
    if drift > max(DRIFT_FRACTION * gap, GAP_TOLERANCE_MM):
        raise ScanError("drifting-slices", f"slice positions must lie on a line within {DRIFT_FRACTION:g} slice; got {drift:.2f} mm")
    return gap


def _pixels(headers: list[tuple[Path, pydicom.Dataset]]) -> tuple[np.ndarray, np.ndarray]:
    """Return HU, (z, y, x) int16 or float32, and where the scanner measured, (z, y, x) bool."""
    first = headers[0][1]
    shape = (len(headers), int(first.Rows), int(first.Columns))
    rescales = [_rescale(header) for _, header in headers]
    whole = all(float(slope).is_integer() and float(offset).is_integer() for slope, offset in rescales)
    volume = np.empty(shape, np.int16 if whole else np.float32)
    imaged = np.ones(shape, bool)
    for number, ((path, header), (slope, offset)) in enumerate(zip(headers, rescales, strict=True)):
        raw = _decoded(path, shape[1:])
        if whole:
            values = raw.astype(np.int32) * int(slope) + int(offset)
            if values.min() < -32768 or values.max() > 32767:
                raise ScanError("not-hu", f"HU must fit 16 bits; got {values.min()} to {values.max()}")
        else:
            values = raw.astype(np.float32) * slope + offset
        imaged[number] = ~_padding(header, raw)
        volume[number] = np.where(imaged[number], values, AIR_HU)
    return volume, imaged


def _decoded(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = pydicom.dcmread(path).pixel_array
    except Exception as error:  # noqa: BLE001 - decoders raise whatever the bytes provoke
        raise ScanError("bad-pixels", f"pixel data must be complete and decodable: {type(error).__name__}") from None
    if raw.shape != shape:
        raise ScanError("bad-pixels", f"pixel data must be {shape[0]} x {shape[1]}; got {raw.shape}")
    return np.asarray(raw)


def _rescale(header: pydicom.Dataset) -> tuple[float, float]:
    slope = float(_number(header, "RescaleSlope", "no-rescale")[0])
    offset = float(_number(header, "RescaleIntercept", "no-rescale")[0])
    kind = str(header.get("RescaleType", "HU") or "HU")
    if kind not in ("HU", "US"):
        raise ScanError("not-hu", f"RescaleType must be HU; got {kind!r}")
    if slope <= 0:
        raise ScanError("no-rescale", f"RescaleSlope must be above 0; got {slope:g}")
    return slope, offset


def _padding(header: pydicom.Dataset, raw: np.ndarray) -> np.ndarray:
    """Return where the scanner filled with padding instead of measuring."""
    if "PixelPaddingValue" not in header or not isinstance(header.PixelPaddingValue, int):
        return np.zeros(raw.shape, bool)
    ends = sorted((header.PixelPaddingValue, int(header.get("PixelPaddingRangeLimit", header.PixelPaddingValue))))
    return (raw >= ends[0]) & (raw <= ends[1])


def _acquired(header: pydicom.Dataset, increment_mm: float, stated: Acquisition) -> Acquisition:
    """Return the file's acquisition, with what the study says where the file says nothing."""
    kernel = header.get("ConvolutionKernel", "")
    kernel = str(kernel) if isinstance(kernel, str) or not kernel else "\\".join(str(part) for part in kernel)
    agent = str(header.get("ContrastBolusAgent", "") or "")
    kvp, thickness = _or_nan(header.get("KVP")), _or_nan(header.get("SliceThickness"))
    return Acquisition(
        kvp=stated.kvp if isnan(kvp) else kvp,
        kernel=kernel or stated.kernel,
        slice_thickness_mm=stated.slice_thickness_mm if isnan(thickness) else thickness,
        slice_increment_mm=increment_mm,
        contrast="iv" if agent else stated.contrast,
        manufacturer=str(header.get("Manufacturer", "") or "") or stated.manufacturer,
    )


def _or_nan(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        return nan
    return number if number > 0 else nan


def _read_image(path: Path) -> sitk.Image:
    """Read an image file after checking that it holds as many voxels as its header promises."""
    try:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = reader.GetSize()
        depth = np.dtype(_NUMPY.get(reader.GetPixelID(), "u1")).itemsize
        _complete(path, int(np.prod([int(n) for n in size])), depth)
        image = reader.Execute()
    except RuntimeError:
        raise ScanError("broken-file", "an image file must be readable as NIfTI, NRRD or MetaImage") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ScanError("not-3d", f"an image must have 3 dimensions and one value a voxel; got size {size}")
    if not all(0.01 < s < 50 for s in image.GetSpacing()):
        raise ScanError("no-spacing", f"voxel sizes must lie from 0.01 to 50 mm; got {image.GetSpacing()}")
    return image


_NUMPY = {sitk.sitkInt16: "i2", sitk.sitkUInt16: "u2", sitk.sitkInt32: "i4", sitk.sitkFloat32: "f4", sitk.sitkFloat64: "f8"}


def _complete(path: Path, voxels: int, depth: int) -> None:
    """Refuse a file that is shorter than its header says: readers fill the rest with zeros in silence."""
    if voxels > MOST_VOXELS:
        raise ScanError("broken-file", f"an image may have {MOST_VOXELS} voxels; this one claims {voxels}")
    if path.suffix.lower() == ".nii":
        length = path.stat().st_size
    elif path.name.lower().endswith(".nii.gz"):
        length = 0
        try:
            with gzip.open(path) as stream:
                while length < voxels * depth and (part := stream.read(1 << 22)):
                    length += len(part)
        except (OSError, EOFError):
            raise ScanError("cut-file", "a compressed image must be whole; this one ends early") from None
    else:
        return  # SimpleITK itself refuses cut NRRD and MetaImage files
    if length < voxels * depth:
        raise ScanError("cut-file", f"an image of {voxels} voxels needs {voxels * depth} bytes; the file holds {length}")


def _checked(scan: Scan) -> Scan:
    """Hold what every scan must be: finite, of some size, whole numbers kept whole."""
    values = scan.array
    if min(values.shape) < LEAST_SLICES:
        raise ScanError("too-few-slices", f"an image must have at least {LEAST_SLICES} voxels a side; got {values.shape}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ScanError("not-finite", f"voxels must be finite; {int((~np.isfinite(values)).sum())} are not")
    if values.dtype not in (np.dtype("int16"), np.dtype("float32")):
        return replace(scan, image=sitk.Cast(scan.image, sitk.sitkFloat32))
    return scan
