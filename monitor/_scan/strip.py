"""Copies of slices that hold the image and nothing of the patient: what is not on the list does not come along."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from monitor._scan import header

if TYPE_CHECKING:
    from monitor._scan.series import Memory

KEPT = frozenset(
    [
        *("SOPClassUID", "ImageType", "LossyImageCompression", "LossyImageCompressionMethod", "Modality"),
        *("AcquisitionNumber", "InstanceNumber", "NumberOfFrames", "ImageOrientationPatient", "ImagePositionPatient"),
        *("PixelSpacing", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
        *("PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "RescaleType", "PatientSex"),
        *("KVP", "ConvolutionKernel", "SliceThickness", "Manufacturer", "CTDIvol", "PixelData"),
        *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
        # The functional groups of an enhanced CT, and what stands in them.
        *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "CTImageFrameTypeSequence"),
        *("PlaneOrientationSequence", "PlanePositionSequence", "PixelMeasuresSequence", "CTExposureSequence"),
        *("PixelValueTransformationSequence", "CTReconstructionSequence", "CTXRayDetailsSequence"),
        *("FrameContentSequence", "FrameAcquisitionNumber", "FrameType"),
    ]
)
"""Elements that place, scale and describe an image; all others are left behind, private ones too."""

RENAMED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""UIDs that are replaced by others, equal ones by equal ones."""


def task(request: dict[str, Any], _: Memory) -> dict[str, object]:
    """Write stripped copies of ``paths`` into the folder ``to``, named by number, as pseudonym ``patient_id``."""
    folder = Path(request["to"])
    for number, path in enumerate(request["paths"], start=1):
        whole = pydicom.dcmread(path)
        stripped(whole, request["patient_id"]).save_as(folder / f"{number:05}.dcm", enforce_file_format=True)
    return {"written": len(request["paths"])}


def stripped(whole: pydicom.Dataset, patient_id: str) -> pydicom.Dataset:
    """Return a data set with the listed elements alone."""
    made = _listed(whole)
    for name in RENAMED:
        if name in whole:
            setattr(made, name, _other_uid(str(whole[name].value)))
    made.PatientID = made.PatientName = patient_id
    made.PatientIdentityRemoved, made.DeidentificationMethod = "YES", "calcitrack: elements by white list"
    agents = "ContrastBolusAgentSequence" in whole or whole.get("ContrastBolusAgent")
    if agents:
        way = header.contrast(whole.get("ContrastBolusAgent") or "agent", whole.get("ContrastBolusRoute"))
        made.ContrastBolusAgent = {"iv": "agent", "none": "NONE"}.get(way, "agent")
        if way == "unknown":
            made.ContrastBolusRoute = "ORAL"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = whole.file_meta.TransferSyntaxUID
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def _listed(whole: pydicom.Dataset) -> pydicom.Dataset:
    made = pydicom.Dataset()
    for element in whole:
        if element.keyword not in KEPT:
            continue
        if element.VR == "SQ":
            setattr(made, element.keyword, [_listed(item) for item in element.value])
        else:
            made[element.tag] = element
    return made


def _other_uid(text: str) -> UID:
    """Return a UID in the branch of UUIDs, made of another one (DICOM PS3.5 B.2)."""
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], 'big')}")
