"""The header of one DICOM file in plain values: a slice, or the frames of an enhanced CT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import nan, prod
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag

from monitor._scan.rules import DIGITS, attempt
from monitor.errors import ScanError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
"""SOP class of CT Image Storage, one slice a file (DICOM PS3.4 B.5)."""

ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""SOP classes of Enhanced CT and of Legacy Converted Enhanced CT: many frames a file (DICOM PS3.3 A.38, A.70)."""

DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR: a table of contents, passed over; what it points to is never followed."""

DEFERRED_BYTES = 4096
"""Longer elements stay on the disk until asked for: headers are read once and pixels slice by slice."""

ENDLESS = 0xFFFFFFFF
"""Length of an element that ends by a delimiter: compressed pixels (DICOM PS3.5 A.4)."""

TAG_BYTES = (8, 12)
"""Bytes that tag, type and length of an element take (DICOM PS3.5 7.1)."""

NATIVE = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}
"""Transfer syntaxes whose pixels lie in the file as they are, and their order of bytes."""

READABLE = "every DICOM header must be readable"
"""The rule that a broken header breaks."""

SAME = {
    **dict.fromkeys(("PatientID", "PatientName", "PatientBirthDate", "PatientSex"), "two-patients"),
    **dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID"), "two-series"),
    "FrameOfReferenceUID": "two-frames",
    **dict.fromkeys(("Rows", "Columns"), "mixed-size"),
    **dict.fromkeys(("RescaleSlope", "RescaleIntercept", "RescaleType"), "mixed-rescale"),
    **dict.fromkeys(("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"), "mixed-pixels"),
    **dict.fromkeys(("PixelPaddingValue", "PixelPaddingRangeLimit"), "mixed-pixels"),
    **dict.fromkeys(("KVP", "ConvolutionKernel", "SliceThickness", "Manufacturer"), "mixed-acquisition"),
    **dict.fromkeys(("ContrastBolusAgent", "ContrastBolusRoute"), "mixed-acquisition"),
}
"""What all slices must share, and the code where they do not; of the values, none comes into a message."""

_AMOUNTS = ("RescaleSlope", "RescaleIntercept", "KVP", "SliceThickness")
"""Numbers that are written in digits, and may be written in several ways."""

_ALIKE = [
    *SAME,
    *("SOPClassUID", "ImageType", "LossyImageCompression", "LossyImageCompressionMethod", "AcquisitionNumber"),
    *("ImageOrientationPatient", "PixelSpacing", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration"),
]
_ALIKE_TAGS = [Tag(name) for name in _ALIKE]
_PIXELS = Tag("PixelData")


@dataclass(frozen=True, eq=False)
class Alike:
    """What a header says that is the same in all slices of a good series; absent numbers are empty arrays.

    ``shared`` are the values named in ``SAME``, numbers as numbers.
    """

    kind: str
    words: tuple[str, ...]
    syntax: str
    lossy: bool
    frames: int
    colours: int
    shared: tuple[str | float, ...]
    acquisition_number: str
    shape: tuple[int, int]
    bits: tuple[int, int, int]
    signed: bool
    orientation: np.ndarray
    spacing_mm: np.ndarray
    rescale: np.ndarray
    rescale_type: str
    padding: tuple[int, int] | None
    acquired: dict[str, str | float] = field(default_factory=dict)

    def value(self, name: str) -> str | float:
        """Return one of the values named in ``SAME``."""
        return self.shared[list(SAME).index(name)]


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice: what it shares with the others, where it lies, and where its pixels are.

    ``offset`` is the place of native pixels in the file, bytes; None where they must be decoded.
    ``surplus_bytes`` are the bytes of pixels too many (below 0: too few) in the file.
    """

    path: Path
    alike: Alike
    position_mm: np.ndarray
    ctdi_vol_mgy: float
    surplus_bytes: int
    offset: int | None
    frame: int = 0


def slices(paths: Iterable[Path]) -> list[Slice]:
    """Return what the DICOM files among some files say; others are passed over.

    Raises
    ------
    ScanError
        If a header is broken, or there is no DICOM file.
    """
    reader = _Reader()
    found: list[Slice] = []
    for path in sorted(path for path in paths if path.is_file()):
        found += attempt("broken-header", READABLE, _of(reader, path))
    if not found:
        raise ScanError("no-dicom", "a folder must hold DICOM files; there is none in it")
    return found


def opened(path: Path) -> pydicom.Dataset | None:
    """Return a header, long elements left on the disk; None if the file is no DICOM file or a DICOMDIR."""
    try:
        header = pydicom.dcmread(path, defer_size=DEFERRED_BYTES)
    except InvalidDicomError:
        if path.suffix.lower() in (".dcm", ".ima"):
            raise  # named a slice and none: cut short
        return None
    if kind_of(header) == DIRECTORY:
        return None
    _require_once(header)
    return header


def _require_once(header: pydicom.Dataset) -> None:
    """Refuse a header that names an element twice: readers take the last, and which is right nobody knows.

    The second one takes the first one's place in the list of elements, but not in the file, where one element
    begins behind the end of the one before, tag and length between (DICOM PS3.5 7.1).
    """
    for part in (header.file_meta, header):
        for one, two in pairwise(part.values()):
            if not (isinstance(one, RawDataElement) and isinstance(two, RawDataElement)) or one.length == ENDLESS:
                continue
            if two.value_tell - one.value_tell - one.length not in TAG_BYTES:
                raise ScanError("doubled-tag", "a header must name each element once; one stands twice")


def kind_of(header: pydicom.Dataset) -> str:
    """Return the SOP class of a header."""
    return str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")


def many(value: object) -> tuple[str, ...]:
    """Return the parts of a header value as text; none where it is absent or empty."""
    if value is None or value == "":
        return ()
    return tuple(str(one) for one in (value if isinstance(value, Sequence) and not isinstance(value, str) else [value]))


def numbers(value: object) -> np.ndarray:
    """Return the numbers of a header value, as many as there are; none where it is absent or no number."""
    try:
        return np.array([float(one) for one in many(value)])
    except ValueError:
        return np.empty(0)


def above_zero(value: object) -> float:
    """Return a number of the header; 0 and absent are unknown."""
    values = numbers(value)
    return round(float(values[0]), DIGITS) if values.size and values[0] > 0 else nan


def contrast(agent: object, route: object) -> str:
    """Return iv, none or unknown; what was drunk says nothing of the vessels.

    >>> contrast("Omnipaque", ""), contrast("NONE", ""), contrast("Gastrografin", "ORAL"), contrast(None, None)
    ('iv', 'none', 'unknown', 'unknown')
    """
    named = str(agent or "").strip().upper()
    if named in ("NONE", "NO", "WITHOUT"):
        return "none"
    way = str(route or "").upper()
    return "iv" if named and not any(word in way for word in ("ORAL", "RECTAL")) else "unknown"


def _of(reader: _Reader, path: Path) -> Callable[[], list[Slice]]:
    return lambda: reader.read(path)


class _Reader:
    """Reads headers one after another; what is written alike is understood once."""

    def __init__(self) -> None:
        self.known: dict[tuple[object, ...], Alike] = {}

    def read(self, path: Path) -> list[Slice]:
        """Return the slices of a file: one, or those of an enhanced CT; none if it is no DICOM file."""
        header = opened(path)
        if header is None:
            return []
        if kind_of(header) in ENHANCED_CT:
            return list(_frames(path, header))
        alike = self._alike(header)
        return [
            Slice(
                path=path,
                alike=alike,
                position_mm=numbers(header.get("ImagePositionPatient")),
                ctdi_vol_mgy=above_zero(header.get("CTDIvol")),
                **_pixels(header, alike, 1),
            )
        ]

    def _alike(self, header: pydicom.Dataset) -> Alike:
        written = (header.file_meta.get("TransferSyntaxUID"), *(_raw(header, tag) for tag in _ALIKE_TAGS))
        if written not in self.known:
            self.known[written] = _understood(header, header.get)
        return self.known[written]


def _raw(header: pydicom.Dataset, tag: BaseTag) -> object:
    """Return an element as it is written, so that equal ones are known without being understood."""
    if tag not in header:
        return None
    element = header.get_item(tag, keep_deferred=True)
    return (element.VR, element.value) if isinstance(element, RawDataElement) else str(element)


def _understood(header: pydicom.Dataset, say: Callable[[str], Any], frames: int = 0) -> Alike:
    """Return what a header says, taking each value from ``say``; ``frames`` is given where frames are no fault."""
    return Alike(
        kind=kind_of(header),
        words=tuple(str(word).strip().upper() for word in many(say("ImageType"))),
        syntax=str(header.file_meta.get("TransferSyntaxUID", "")),
        lossy=str(say("LossyImageCompression") or "") == "01" or bool(many(say("LossyImageCompressionMethod"))),
        frames=frames or int(say("NumberOfFrames") or 1),
        colours=int(say("SamplesPerPixel") or 1) + (say("PhotometricInterpretation") != "MONOCHROME2"),
        shared=tuple(_plain(name, say(name)) for name in SAME),
        acquisition_number=str(say("AcquisitionNumber") or ""),
        shape=(int(say("Rows") or 0), int(say("Columns") or 0)),
        bits=(int(say("BitsAllocated") or 0), int(say("BitsStored") or 0), int(say("HighBit") or 0)),
        signed=bool(say("PixelRepresentation")),
        orientation=numbers(say("ImageOrientationPatient")),
        spacing_mm=numbers(say("PixelSpacing")),
        rescale=np.concatenate([numbers(say("RescaleSlope")), numbers(say("RescaleIntercept"))]),
        rescale_type=str(say("RescaleType") or "HU").strip(),
        padding=_padding(say),
        acquired={
            "kvp": above_zero(say("KVP")),
            "kernel": "\\".join(many(say("ConvolutionKernel"))),
            "slice_thickness_mm": above_zero(say("SliceThickness")),
            "contrast": contrast(say("ContrastBolusAgent"), say("ContrastBolusRoute")),
            "manufacturer": str(say("Manufacturer") or "").strip(),
        },
    )


def _plain(name: str, value: object) -> str | float:
    """Return a value so that 1 and 1.0 are the same number, and 007 and 7 are two names."""
    found = numbers(value) if name in _AMOUNTS else np.empty(0)
    return float(found[0]) if found.size == 1 else "\\".join(many(value)).strip()


def _padding(say: Callable[[str], Any]) -> tuple[int, int] | None:
    """Return the range of stored values that are filling, as the header gives it."""
    value, limit = say("PixelPaddingValue"), say("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return None
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return low, high


def _pixels(header: pydicom.Dataset, alike: Alike, frames: int) -> dict[str, Any]:
    """Return how many bytes of pixels are too many in a file, and where native ones begin."""
    if _PIXELS not in header:
        return {"surplus_bytes": -1, "offset": None}
    element: Any = header.get_item(_PIXELS, keep_deferred=True)
    length = getattr(element, "length", None)
    if length is None:
        length = len(element.value or b"") if alike.syntax in NATIVE else ENDLESS
    if length == ENDLESS:
        return {"surplus_bytes": 0, "offset": None}
    needed = prod(alike.shape) * alike.bits[0] // 8 * frames
    surplus = length - needed if length != needed + needed % 2 else 0
    native = alike.syntax in NATIVE and isinstance(element, RawDataElement) and alike.bits[0] == 16
    return {"surplus_bytes": surplus, "offset": element.value_tell if native and not surplus else None}


_WITHIN = {
    "ImageType": ("CTImageFrameTypeSequence", "FrameType"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "RescaleType": ("PixelValueTransformationSequence", "RescaleType"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
    "CTDIvol": ("CTExposureSequence", "CTDIvol"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
}
"""Where an enhanced CT keeps what a slice has at the top: functional group and name in it (DICOM PS3.3 C.7.6.16)."""


def _frames(path: Path, header: pydicom.Dataset) -> Iterator[Slice]:
    """Yield the frames of an enhanced CT as slices.

    Raises
    ------
    ScanError
        If there are not as many descriptions as frames.
    """
    count = int(header.get("NumberOfFrames") or 1)
    each = header.get("PerFrameFunctionalGroupsSequence") or []
    common = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    if len(each) != count:
        raise ScanError(
            "bad-frames", f"every frame must have its functional groups: {count} frames, {len(each)} groups"
        )
    for number, own in enumerate(each):
        say = _sayer(header, own, common)
        alike = _understood(header, say, frames=1)
        place = _pixels(header, alike, count)
        if place["offset"] is not None:
            place["offset"] += number * prod(alike.shape) * 2
        dose, position = above_zero(say("CTDIvol")), numbers(say("ImagePositionPatient"))
        yield Slice(path=path, alike=alike, position_mm=position, ctdi_vol_mgy=dose, frame=number, **place)


def _sayer(header: pydicom.Dataset, own: Any, common: Any) -> Callable[[str], Any]:
    """Return what a frame says: in its own group, else in the shared one, else in the header itself."""

    def say(name: str) -> Any:
        group, inner = _WITHIN.get(name, ("", ""))
        for place in filter(None, (own, common) if group else ()):
            for item in place.get(group) or []:
                if item.get(inner) not in (None, ""):
                    return item.get(inner)
        if name == "ContrastBolusAgent":
            return _agent(header)
        return header.get(name)

    return say


def _agent(header: pydicom.Dataset) -> str:
    """Return the contrast agents of an enhanced CT, which names them in codes."""
    items: Iterable[pydicom.Dataset] = header.get("ContrastBolusAgentSequence") or []
    return " ".join(str(item.get("CodeMeaning") or "agent") for item in items) or str(
        header.get("ContrastBolusAgent") or ""
    )
