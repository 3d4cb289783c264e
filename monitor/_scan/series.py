"""One CT series: every rule first, then the grid, then the pixels in HU."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pydicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array

from monitor._scan import header
from monitor._scan.header import SAME, Alike, Slice
from monitor._scan.rules import AIR_HU, DIGITS, LEAST_SLICES, MOST_VOXELS, SPACING_MM, UNMEASURED_HU, attempt
from monitor.errors import ScanError

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP class of screenshots, and the root of its multi-frame kin (DICOM PS3.4 B.5)."""

LOSSY = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55))
"""JPEG with loss: 8-bit decoders read it without error and wrong by thousands of HU on 16-bit CT."""

JPEG_LOSSLESS = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (57, 70))
"""Lossless JPEG: the one free decoder with a Python face is under the GPL, so it comes with an extra of its own."""

COMPRESSED = "1.2.840.10008.1.2.4."
"""Root of the transfer syntaxes of the JPEG family."""

END_OF_PICTURE, TAIL_BYTES = rb"\xff\xd9", 64
"""Mark that ends a picture of the JPEG family (EOI, EOC), and how near to the end of the element it stands, bytes."""

JPEG_EXTRA = "calcitrack[jpeg]"
"""What to install for lossless JPEG."""

GAP_TOLERANCE, GAP_TOLERANCE_MM = 0.01, 0.05
"""Difference of slice gaps that is a rounding of the header and no missing slice: relative, and in mm for thin ones."""

SAME_PLACE_MM = 1e-3
"""Slices closer than this are one place."""

DRIFT_FRACTION = 0.1
"""Distance of a slice from the line of all, in slice gaps, that is rounding; a stack that drifts by more leans."""

MOST_TILT_DEGREES = 45.0
"""No gantry leans by more (they reach 30); beyond, the positions of the slices lie."""

ORIENTATION_TOLERANCE = 1e-4
"""Largest difference of direction cosines within a series (that of dicom-numpy, seen in good series)."""

SQUARE_TOLERANCE = 1e-3
"""How far axes may be from unit length and right angles: headers give four digits or more."""

SPACING_TOLERANCE = 1e-3
"""Largest relative difference of PixelSpacing within a series."""

LEAST_PACKED = 1 / 500
"""Bytes of file that a byte of voxels needs at least: no scan packs better, a file that claims more lies."""


class Memory(Protocol):
    """Where voxels go: memory that the asking process sees, or its own."""

    def array(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Return room for an array."""
        ...


@dataclass(frozen=True)
class Grid:
    """Where the voxels lie: sizes and origin in mm, x y z, and the axes as columns of a (3, 3) matrix."""

    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    axes: np.ndarray
    increment_mm: float


@dataclass(frozen=True)
class Series:
    """A series that keeps every rule: sorted slices and their grid."""

    slices: list[Slice]
    grid: Grid


def checked(paths: Iterable[Path]) -> Series:
    """Read the headers of some files and hold them to every rule of a CT series.

    Raises
    ------
    ScanError
        With the code of the first rule that is broken.
    """
    slices = header.slices(paths)
    kinds = list({id(one.alike): one.alike for one in slices}.values())
    _require_ct(kinds)
    if len(slices) < LEAST_SLICES:
        raise ScanError("too-few-slices", f"a series must have at least {LEAST_SLICES} slices; got {len(slices)}")
    _require_numbers(slices)
    _require_one_series(kinds)
    _require_size(slices)
    _require_pixels(slices)
    axes = _axes(kinds)
    slices = sorted(slices, key=lambda one: float(one.position_mm @ axes[:, 2]))
    return Series(slices, _grid(slices, axes, _pixel_spacing_mm(kinds)))


def acquired(series: Series) -> dict[str, str | float]:
    """Return how the series was made, as the fields of an ``Acquisition``."""
    doses = [one.ctdi_vol_mgy for one in series.slices if np.isfinite(one.ctdi_vol_mgy)]
    dose = round(float(np.mean(doses)), DIGITS) if len(doses) == len(series.slices) else np.nan
    return {
        **series.slices[0].alike.acquired,
        "slice_increment_mm": series.grid.increment_mm,
        "ctdi_vol_mgy": dose,
        "dlp_mgy_cm": round(dose * series.grid.increment_mm * len(series.slices) / 10, DIGITS),
    }


def _require_ct(kinds: Sequence[Alike]) -> None:
    """Refuse all but measured CT slices, stored without loss."""
    for one in kinds:
        if one.kind.startswith(SECONDARY_CAPTURE):
            raise ScanError("secondary-capture", "a series must hold CT slices; one file is a secondary capture")
        if one.kind not in (header.CT_IMAGE, *header.ENHANCED_CT):
            raise ScanError("not-ct", f"every file must be CT Image Storage; one is {_kind_name(one.kind)}")
        if "LOCALIZER" in one.words:
            raise ScanError("localizer", "a series must hold slices only; one image is a localizer")
        if one.syntax in LOSSY or one.lossy:
            rule = "pixels must be stored without loss; these went through a lossy compression"
            raise ScanError("lossy", f"{rule}: ask the archive for the lossless original")
        if one.frames != 1 or one.colours != 1:
            raise ScanError("not-slices", "every file must be one slice in grey; one holds frames or colours")


def _kind_name(kind: str) -> str:
    """Return the name of an SOP class; one that DICOM does not know may hold anything, and is not repeated."""
    name = pydicom.uid.UID(kind).name
    return "of another kind" if name == kind else name


def _require_one_series(kinds: Sequence[Alike]) -> None:
    """Refuse slices that differ where a series has one value; the values stay out of the message."""
    for number, (name, code) in enumerate(SAME.items()):
        values = {one.shared[number] for one in kinds}
        if len(values) > 1:
            raise ScanError(code, f"all slices must share one {name}; they have {len(values)}")
    if len({one.syntax for one in kinds}) > 1:
        raise ScanError("mixed-pixels", "all slices must be stored in one transfer syntax; they have several")


def _require_size(slices: Sequence[Slice]) -> None:
    """Refuse a size that no series has, or that the bytes of its files cannot hold."""
    rows, columns = slices[0].alike.shape
    voxels = rows * columns * len(slices)
    if min(rows, columns) < LEAST_SLICES or voxels > MOST_VOXELS:
        raise ScanError("bad-size", f"a series may have {MOST_VOXELS} voxels; got {len(slices)} x {rows} x {columns}")
    held = sum(path.stat().st_size for path in {one.path for one in slices})
    if held < voxels * LEAST_PACKED:
        raise ScanError("bad-pixels", f"{voxels} voxels must fill their files; all files together have {held} bytes")


def _require_numbers(slices: Sequence[Slice]) -> None:
    """Refuse slices that lack a number which places or scales them."""
    wanted: tuple[tuple[str, str, int, Callable[[Slice], np.ndarray]], ...] = (
        ("ImageOrientationPatient", "no-orientation", 6, lambda one: one.alike.orientation),
        ("ImagePositionPatient", "no-position", 3, lambda one: one.position_mm),
        ("PixelSpacing", "no-spacing", 2, lambda one: one.alike.spacing_mm),
        ("RescaleSlope and RescaleIntercept", "no-rescale", 2, lambda one: one.alike.rescale),
    )
    for name, code, count, values in wanted:
        bad = sum(len(values(one)) != count or not np.isfinite(values(one)).all() for one in slices)
        if bad:
            raise ScanError(code, f"every slice must state {name}, {count} finite numbers; {bad} do not")
    if any(one.alike.rescale[0] <= 0 for one in slices):
        raise ScanError("no-rescale", "RescaleSlope must be above 0; one slice has another")
    if any(one.alike.rescale_type not in ("HU", "US") for one in slices):
        raise ScanError("not-hu", "RescaleType must be HU or absent; the slices state another")


def _require_pixels(slices: Sequence[Slice]) -> None:
    """Refuse slices whose pixels do not fill them, whose bits cannot be, or that nothing here decodes."""
    bad = [one.surplus_bytes for one in slices if one.surplus_bytes]
    if bad:
        word = "too short" if bad[0] < 0 else f"{bad[0]} bytes too long"
        raise ScanError("bad-pixels", f"pixels must fill the slice exactly; in {len(bad)} files they are {word}")
    allocated, stored, high = slices[0].alike.bits
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1:
        got = f"{stored} of {allocated}, the highest is number {high}"
        raise ScanError("bad-pixels", f"pixels must use the lowest bits of 8, 16 or 32; the header says {got}")
    syntax = slices[0].alike.syntax
    if not _decodable(syntax):
        needed = f"install {JPEG_EXTRA}" if syntax in JPEG_LOSSLESS else "no decoder for it is offered"
        raise ScanError("no-decoder", f"pixels must be in a form that can be decoded; {_kind_name(syntax)}: {needed}")


def _decodable(syntax: str) -> bool:
    """Tell whether a decoder of this transfer syntax is installed."""
    try:
        return bool(get_decoder(pydicom.uid.UID(syntax)).is_available)
    except NotImplementedError:  # pydicom's way to say that it knows no decoder of this syntax
        return False


def _axes(kinds: Sequence[Alike]) -> np.ndarray:
    """Return the unit vectors along columns, rows and slices as columns of a (3, 3) matrix: right-handed."""
    cosines = np.array([one.orientation for one in kinds])
    spread = float(np.abs(cosines - cosines[0]).max())
    if spread > ORIENTATION_TOLERANCE:
        raise ScanError("mixed-orientation", f"slices must be parallel to {ORIENTATION_TOLERANCE}; got {spread:.2g}")
    middle = np.median(cosines, axis=0)
    across, down = middle[:3], middle[3:]
    square = np.array([across @ across - 1, down @ down - 1, across @ down])
    if np.abs(square).max() > SQUARE_TOLERANCE:
        raise ScanError("no-orientation", "ImageOrientationPatient must be two unit vectors at right angles")
    across = across / np.linalg.norm(across)
    down = down - (down @ across) * across
    down /= np.linalg.norm(down)
    return np.stack([across, down, np.cross(across, down)], axis=1)


def _pixel_spacing_mm(kinds: Sequence[Alike]) -> tuple[float, float]:
    """Return the distance of rows and that of columns, mm."""
    spacings = np.array([one.spacing_mm for one in kinds])
    low, high = float(spacings.min()), float(spacings.max())
    if low < SPACING_MM[0] or high > SPACING_MM[1]:
        raise ScanError("no-spacing", f"PixelSpacing must lie from {SPACING_MM[0]} to {SPACING_MM[1]} mm; got {low:g}")
    if np.ptp(spacings, axis=0).max() > SPACING_TOLERANCE * low:
        raise ScanError("mixed-spacing", f"slices must share one PixelSpacing; got {low:g} mm to {high:g} mm")
    rows, columns = np.median(spacings, axis=0)
    return float(rows), float(columns)


def _grid(slices: Sequence[Slice], axes: np.ndarray, pixel_mm: tuple[float, float]) -> Grid:
    """Return the grid of the sorted slices, after checking that they are even and on one line.

    A line that leans is a tilted gantry, and the grid is the shear that it is. Medians carry it, so that one
    slice whose header was rounded otherwise moves nothing.
    """
    positions = np.array([one.position_mm for one in slices])
    normal = axes[:, 2]
    gap = _gap_mm(slices, positions @ normal)
    number = np.arange(len(slices))[:, None]
    steps = np.diff(positions, axis=0)
    sideways = _mean_step(steps - np.outer(steps @ normal, normal))
    straight = positions - number * gap * normal
    if _off_mm(straight) <= _drift_mm(gap):
        step, origin = gap * normal, np.median(straight, axis=0)
    else:
        step = gap * normal + sideways
        origin = np.median(positions - number * step, axis=0)
        _require_line(positions - number * step, gap, sideways)
    length = float(np.linalg.norm(step))
    columns_mm, rows_mm = pixel_mm[1], pixel_mm[0]
    x, y, z = (round(float(one), DIGITS) for one in origin)
    leaning = np.stack([axes[:, 0], axes[:, 1], step / length], axis=1)
    return Grid((columns_mm, rows_mm, round(length, DIGITS)), (x, y, z), leaning, gap)


def _mean_step(steps_mm: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half: rounded positions average out, and one that lies has no say."""
    ordered = np.sort(steps_mm, axis=0)
    cut = len(ordered) // 4
    return np.asarray(ordered[cut : len(ordered) - cut].mean(axis=0))


def _gap_mm(slices: Sequence[Slice], places_mm: np.ndarray) -> float:
    """Return the distance of slices along their normal, mm."""
    gaps = np.diff(places_mm)
    twice = int((gaps < SAME_PLACE_MM).sum())
    if twice:
        raise ScanError("doubled-slice", f"every slice must have a place of its own; {twice} places are taken twice")
    numbers = [one.alike.acquisition_number for one in slices]
    if sum(one != two for one, two in pairwise(numbers)) >= len(set(numbers)):
        raise ScanError("two-acquisitions", "a series must hold one acquisition; slices of several are interleaved")
    uneven = np.abs(gaps - np.median(gaps)).max()
    if uneven > max(GAP_TOLERANCE * np.median(gaps), GAP_TOLERANCE_MM):
        got = f"{gaps.min():.4g} mm to {gaps.max():.4g} mm"
        raise ScanError("uneven-slices", f"slice gaps of a series must agree within {GAP_TOLERANCE:.0%}: got {got}")
    gap = round(float(gaps.mean()), DIGITS)
    if not SPACING_MM[0] <= gap <= SPACING_MM[1]:
        raise ScanError("no-spacing", f"slices must lie {SPACING_MM[0]} to {SPACING_MM[1]} mm apart; got {gap:.4g} mm")
    return gap


def _drift_mm(gap_mm: float) -> float:
    return max(DRIFT_FRACTION * gap_mm, GAP_TOLERANCE_MM)


def _off_mm(origins_mm: np.ndarray) -> float:
    """Return the largest distance of where each slice puts the first one, mm."""
    return float(np.linalg.norm(origins_mm - np.median(origins_mm, axis=0), axis=1).max())


def _require_line(origins_mm: np.ndarray, gap_mm: float, sideways_mm: np.ndarray) -> None:
    """Refuse slices that lie on no line, or on one that leans as no gantry does."""
    off = _off_mm(origins_mm)
    if off > _drift_mm(gap_mm):
        allowed = f"{DRIFT_FRACTION:g} of the slice gap"
        raise ScanError("drifting-slices", f"slices must lie on a line within {allowed}; got {off:.2f} mm")
    angle = float(np.degrees(np.arctan2(np.linalg.norm(sideways_mm), gap_mm)))
    if angle > MOST_TILT_DEGREES:
        most = f"{MOST_TILT_DEGREES:g} degrees"
        raise ScanError("gantry-tilt", f"slices may lean by {most} against their normal; they lean by {angle:.1f}")


@dataclass(frozen=True)
class Pixels:
    """Where the pixels of a slice are, and what their bits mean; ``offset`` is None where they must be decoded."""

    path: Path
    syntax: str
    shape: tuple[int, int]
    stored_bits: int
    signed: bool
    rescale: tuple[float, float]
    padding: tuple[int, int] | None
    offset: int | None = None
    frame: int = 0

    @classmethod
    def of(cls, one: Slice) -> Pixels:
        """Return the pixels of a slice that keeps the rules."""
        slope, offset = one.alike.rescale.tolist()
        return cls(
            path=one.path,
            syntax=one.alike.syntax,
            shape=one.alike.shape,
            stored_bits=one.alike.bits[1],
            signed=one.alike.signed,
            rescale=(slope, offset),
            padding=one.alike.padding,
            offset=one.offset,
            frame=one.frame,
        )

    @property
    def ends(self) -> tuple[int, int]:
        """Return the least and the highest value that the stored bits can say."""
        half = 1 << (self.stored_bits - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


def voxels(slices: Sequence[Pixels], memory: Memory) -> tuple[np.ndarray, np.ndarray | None]:
    """Return HU, (z, y, x) int16 or float32 in ``memory``, and where the scanner measured; None where everywhere.

    Raises
    ------
    ScanError
        If a slice cannot be decoded, or holds values that its header excludes.
    """
    slope, offset = slices[0].rescale
    shape = (len(slices), *slices[0].shape)
    frames = Counter(one.path for one in slices)
    volume = memory.array(shape, np.int16 if slope.is_integer() and offset.is_integer() else np.float32)
    imaged = None
    for number, one in enumerate(slices):
        stored = _decoded(one, many=frames[one.path] > 1)
        if volume.dtype == np.int16 and not _fits_int16(stored, slope, offset):
            before, volume = volume, memory.array(shape, np.float32)
            volume[:number] = before[:number]
        if volume.dtype == np.int16 and slope == 1 and stored.dtype.itemsize == 2:
            # The result fits, so the carry beyond 16 bits that is dropped here was none.
            np.add(stored.view(np.int16), np.array(int(offset) & 0xFFFF, np.uint16).view(np.int16), out=volume[number])
        else:
            volume[number] = stored.astype(np.float64) * slope + offset
        filling = _filling(stored, one)
        if filling is not None:
            imaged = memory.array(shape, np.bool_) if imaged is None else imaged
            volume[number][filling] = AIR_HU
            imaged[number] = filling
    return volume, None if imaged is None else np.logical_not(imaged, out=imaged)


def _fits_int16(stored: np.ndarray, slope: float, offset: float) -> bool:
    limits = np.iinfo(np.int16)
    return bool(stored.min() * slope + offset >= limits.min and stored.max() * slope + offset <= limits.max)


def _decoded(one: Pixels, *, many: bool) -> np.ndarray:
    """Return the pixels of a slice as they are stored, (y, x) whole numbers."""
    source = _native if one.offset is not None else partial(_packed, many=many)
    stored = attempt("bad-pixels", "every slice must be decodable", lambda: source(one))
    if stored.shape != one.shape or stored.dtype.kind not in "iu":
        got = f"{stored.shape} {stored.dtype}"
        raise ScanError("bad-pixels", f"a slice must be {one.shape} whole numbers; got {got}")
    low, high = one.ends
    if stored.min() < low or stored.max() > high:
        outside = (stored < low) | (stored > high)
        if one.padding is None or not _declared(stored, one.padding)[outside].all():
            bits = one.stored_bits
            raise ScanError("bad-pixels", f"pixels must lie within their {bits} stored bits; some lie beyond")
    return stored


def _native(one: Pixels) -> np.ndarray:
    """Read pixels that lie in the file as they are."""
    kind = f"{header.NATIVE[one.syntax]}{'i' if one.signed else 'u'}2"
    found = np.fromfile(one.path, kind, count=one.shape[0] * one.shape[1], offset=one.offset or 0)
    return found.astype(found.dtype.newbyteorder("="), copy=False).reshape(one.shape)


def _packed(one: Pixels, *, many: bool) -> np.ndarray:
    """Decode pixels by pydicom's plug-ins."""
    data = _dataset(one.path)
    if one.syntax.startswith(COMPRESSED) and not re.search(END_OF_PICTURE, data.PixelData[-TAIL_BYTES:]):
        raise ScanError("bad-pixels", "a compressed slice must end with its end mark; one does not")
    return np.asarray(pixel_array(data, index=one.frame if many else None))


@functools.lru_cache(maxsize=1)
def _dataset(path: Path) -> pydicom.Dataset:
    """Return a whole file; the frames of an enhanced CT come one after another from the same."""
    return pydicom.dcmread(path)


def _declared(stored: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """Return where a slice holds the declared filling, (y, x) bool; written as US or SS at will: the same bits."""
    bits = stored.dtype.itemsize * 8
    low, high = sorted(int(np.array(end % (1 << bits), f"u{bits // 8}").astype(stored.dtype)) for end in padding)
    return (stored >= low) & (stored <= high)


def _filling(stored: np.ndarray, one: Pixels) -> np.ndarray | None:
    """Return where a slice holds filling instead of a measurement, (y, x) bool; None for nowhere.

    Declared padding that is also a value of air or tissue counts only where it reaches the slice's edge: inside
    the body it is a measurement.
    """
    slope, offset = one.rescale
    least = (UNMEASURED_HU - offset) / slope
    filling = stored < least if stored.min() < least else None
    if one.padding is None:
        return filling
    declared = _declared(stored, one.padding)
    if not declared.any():
        return filling
    if stored[declared].max() * slope + offset >= AIR_HU:
        # Few scans declare a value of air as padding: loaded with this module it would double the keeper's start.
        from scipy import ndimage  # noqa: PLC0415

        pieces, _ = ndimage.label(declared)
        edges: Iterable[np.ndarray] = (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1])
        at_edge = np.unique(np.concatenate(list(edges)))
        declared = np.isin(pieces, at_edge[at_edge > 0])
    return declared if filling is None else filling | declared


def task(request: dict[str, Any], memory: Memory) -> dict[str, object]:
    """Read a folder of DICOM files as the keeper does it.

    Packed pixels are decoded into shared memory. Pixels that lie in the files as they are need no decoder: the answer
    says where they lie (``plan``), and ``planned`` reads them, which spares a copy of the volume.
    """
    found = checked(Path(request["path"]).rglob("*"))
    one = found.slices[0].alike
    said: dict[str, object] = {
        "spacing_mm": found.grid.spacing_mm,
        "origin_mm": found.grid.origin_mm,
        "axes": found.grid.axes.tolist(),
        "acquired": acquired(found),
        "uids": [one.value("SeriesInstanceUID"), one.value("FrameOfReferenceUID")],
    }
    if all(each.offset is not None for each in found.slices):
        alike = {**asdict(Pixels.of(found.slices[0])), "path": ""}
        return {**said, "plan": {"alike": alike, "places": [(str(each.path), each.offset) for each in found.slices]}}
    values, imaged = voxels([Pixels.of(each) for each in found.slices], memory)
    return {**said, "arrays": [values] if imaged is None else [values, imaged]}


def planned(plan: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the pixels of a plan: HU and where the scanner measured, as ``voxels`` returns them.

    Raises
    ------
    ScanError
        If a file has changed since, or holds values that its header excludes.
    """
    # JSON knows no tuples.
    alike = {name: tuple(value) if isinstance(value, list) else value for name, value in plan["alike"].items()}
    slices = [Pixels(**{**alike, "path": Path(path), "offset": offset}) for path, offset in plan["places"]]
    return voxels(slices, _Own())


class _Own:
    """Memory of this process."""

    def array(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.zeros(shape, dtype)


def rules(request: dict[str, Any], _: Memory) -> dict[str, object]:
    """Hold the headers of ``paths`` to the rules of a series, and tell how it was made; no pixel is read."""
    return {"acquired": acquired(checked(map(Path, request["paths"])))}
