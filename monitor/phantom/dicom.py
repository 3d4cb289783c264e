"""A visit as DICOM files: one CT image a slice, the same bytes each time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from monitor.phantom.visits import MANUFACTURER, PhantomVisit

RESCALE_INTERCEPT_HU = -1024
"""Stored value 0: the lowest HU of a 12-bit scanner."""

_WINDOW_HU = (60, 400)


def write_dicom(visit: PhantomVisit, folder: str | Path) -> Path:
    """Write a visit as one series of CT images, explicit VR little endian.

    Parameters
    ----------
    visit : PhantomVisit
        What ``series`` made.
    folder : path
        Made if absent. Files are named ``IM0001.dcm`` from the feet up.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    common = _patient_and_series(visit)
    for number, pixels in enumerate(visit.scan.array, start=1):
        image = _slice(visit, common, number, pixels)
        image.save_as(folder / f"IM{number:04d}.dcm", enforce_file_format=True)
    return folder


def uid(*names: object) -> UID:
    """Return a UID made of names, in the branch of UUIDs: the same names give the same UID.

    >>> uid("P001", "V0") == uid("P001", "V0")
    True
    """
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:15], 'big')}")


def _patient_and_series(visit: PhantomVisit) -> Dataset:
    """Return what all slices of a visit share."""
    day, acquisition = visit.date.strftime("%Y%m%d"), visit.scan.acquisition
    spacing = visit.scan.image.GetSpacing()
    identity = (visit.patient_id, visit.visit_id, hashlib.sha256(visit.scan.array.tobytes()).hexdigest())
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SOPClassUID = CTImageStorage
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = day
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "093000"
    data.AccessionNumber = ""
    data.Modality = "CT"
    data.Manufacturer, data.ManufacturerModelName = MANUFACTURER, "analytic child"
    data.ReferringPhysicianName = ""
    data.StudyDescription, data.SeriesDescription = f"CT {visit.region}", f"{visit.region} {acquisition.kernel}"
    data.PatientName = data.PatientID = visit.patient_id
    data.PatientBirthDate, data.PatientSex = visit.birth_date.replace("-", ""), visit.sex
    data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "made up: there is no such person"
    data.BodyPartExamined = _BODY_PARTS.get(visit.region, "")
    data.SliceThickness, data.SpacingBetweenSlices = _ds(acquisition.slice_thickness_mm), _ds(spacing[2])
    data.KVP, data.ConvolutionKernel = _ds(acquisition.kvp), acquisition.kernel
    if acquisition.contrast == "iv":
        data.ContrastBolusAgent = "Iodinated medium"
    data.PatientPosition = "HFS"
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(*identity, "study"), uid(*identity, "series")
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = uid(*identity, "frame"), ""
    data.StudyID, data.SeriesNumber, data.AcquisitionNumber = visit.visit_id, 2, 1
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
    return data


_BODY_PARTS = {"legs": "LEG", "thigh": "THIGH", "abdomen-pelvis": "ABDOMENPELVIS"}
"""Body Part Examined for the regions of the scenes: DICOM PS3.16 Annex L."""


def _slice(visit: PhantomVisit, common: Dataset, number: int, pixels: np.ndarray) -> Dataset:
    image = Dataset()
    image.update(common)
    x, y, z = visit.scan.image.TransformIndexToPhysicalPoint((0, 0, number - 1))
    image.SOPInstanceUID = uid(common.SeriesInstanceUID, number)
    image.InstanceNumber = number
    image.ImagePositionPatient = [_ds(x), _ds(y), _ds(z)]
    image.SliceLocation = _ds(z)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = RESCALE_INTERCEPT_HU, 1, "HU"
    image.WindowCenter, image.WindowWidth = _WINDOW_HU
    image.PixelData = (pixels.astype(np.int32) - RESCALE_INTERCEPT_HU).astype("<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = uid(MANUFACTURER)
    image.file_meta.ImplementationVersionName = "CALCITRACK"
    return image


def _ds(value: float) -> str:
    """Write a number as a decimal string of at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
