"""Reading one scan: good series come out exactly, each fault is refused by its code, and no message tells a name."""

from __future__ import annotations

import contextlib
import gzip
import logging
import shutil
import struct
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from scipy.spatial.transform import Rotation

from monitor import grid, scan
from monitor._scan import header
from monitor.types import Acquisition, ScanError
from tests.conftest import SHARED, needs_data

EXPLICIT_LITTLE, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
MR_IMAGE, CAPTURE, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.2.1"
NAME, PATIENT, BIRTH, SERIES = "Miller^Anna", "MRN-4711", "19701399", "1.2.826.0.1.99"
SECRETS = (NAME, "Miller", PATIENT, BIRTH, SERIES)
HAS_JPEG = find_spec("libjpeg") is not None
"""The extra for lossless JPEG is installed."""
SIZE = (10, 12)
GAP_MM = 2.5


def limb(count: int = 6, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Make a limb in HU, (z, y, x) int16: air, a ring of fat, muscle, one dense bone; no two slices alike."""
    y, x = np.indices(size) - np.array(size).reshape(2, 1, 1) / 2 + 0.5
    radius = np.hypot(x, y)
    flat = np.select([radius < 1, radius < 3, radius < 4.5], [900, 55, -95], -1000)
    return (flat + np.arange(count)[:, None, None]).astype(np.int16)


def series(hu: np.ndarray | None = None, axes: np.ndarray | None = None) -> list[Dataset]:
    """Make the headers and pixels of a good CT series: the least that a scanner writes."""
    hu = limb() if hu is None else hu
    axes = np.eye(3) if axes is None else axes
    made = []
    for number, pixels in enumerate(hu):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
        one.SOPClassUID, one.SOPInstanceUID = header.CT_IMAGE, f"{SERIES}.{number + 1}"
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.PatientName, one.PatientID = NAME, PATIENT
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = (
            f"{SERIES}.7",
            f"{SERIES}.8",
            f"{SERIES}.9",
        )
        one.KVP, one.ConvolutionKernel, one.SliceThickness, one.Manufacturer = 120, "B30f", 3, "Maker"
        one.ContrastBolusAgent = "Omnipaque"
        one.ImageOrientationPatient = [float(v) for v in axes[:, :2].T.ravel()]
        one.ImagePositionPatient = [float(v) for v in np.array([-7, 4, 100]) + GAP_MM * number * axes[:, 2]]
        one.PixelSpacing = [0.7, 0.8]
        one.Rows, one.Columns = pixels.shape
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 1, -1024, "HU"
        one.PixelData = (pixels + 1024).astype("<i2").tobytes()
        made.append(one)
    return made


def write(folder: Path, slices: list[Dataset]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, one in enumerate(slices):
        one.save_as(folder / f"{number:03}.dcm", implicit_vr=False, little_endian=True, enforce_file_format=True)
    return folder


def lasting(slices: list[Dataset], **values: object) -> None:
    """Give every slice the same header values."""
    for one in slices:
        change(0, **values)([one])


def test_a_good_series_comes_out_exactly(tmp_path):
    """Closed form: HU, grid and acquisition of a series are those it was written with."""
    found = scan.read(write(tmp_path / "ct", series()))
    assert found.array.dtype == np.int16
    assert np.array_equal(found.array, limb())
    assert found.image.GetSpacing() == (0.8, 0.7, GAP_MM)
    assert found.image.GetOrigin() == (-7, 4, 100)
    assert found.image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert found.acquisition == Acquisition(120.0, "B30f", 3.0, GAP_MM, "iv", "Maker")
    assert (found.modality, found.unit, found.imaged) == ("CT", "HU", None)
    assert found.uids == (f"{SERIES}.8", f"{SERIES}.9")


@settings(deadline=None, max_examples=25)
@given(angles=st.tuples(*[st.floats(-180, 180)] * 3), order=st.permutations(range(6)))
def test_every_voxel_lies_where_its_slice_says(tmp_path_factory, angles, order):
    """Property: whatever the orientation and the names of the files, place and value of a slice stay together."""
    axes = np.round(Rotation.from_euler("xyz", angles, degrees=True).as_matrix(), 6)
    slices = series(axes=axes)
    found = scan.read(write(tmp_path_factory.mktemp("ct"), [slices[k] for k in order]))
    assert np.array_equal(found.array, limb())
    assert np.linalg.det(grid.affine(found.image)[:3, 2::-1][:, :3]) > 0
    for number, one in enumerate(slices):
        corner = grid.to_mm(found.image, np.array([number, 0, 0]))[0]
        assert corner == pytest.approx([float(v) for v in one.ImagePositionPatient], abs=1e-3)
        across = np.array(one.ImagePositionPatient, float) + 5 * 0.8 * axes[:, 0] + 4 * 0.7 * axes[:, 1]
        assert grid.to_mm(found.image, np.array([number, 4, 5]))[0] == pytest.approx(across, abs=1e-3)


def test_slices_from_head_to_foot_give_a_right_handed_grid(tmp_path):
    """Invariance: counting slices downwards changes nothing."""
    found = scan.read(write(tmp_path / "ct", series()[::-1]))
    assert np.array_equal(found.array, limb())
    assert np.linalg.det(np.array(found.image.GetDirection()).reshape(3, 3)) == pytest.approx(1)


def change(number: int, **values: object) -> Callable[[list[Dataset]], None]:
    """Return an edit that gives one slice other header values; None takes a value away."""

    def edit(slices: list[Dataset]) -> None:
        for name, value in values.items():
            if value is None:
                delattr(slices[number], name)
            else:
                setattr(slices[number], name, value)

    return edit


def move(*steps_mm: tuple[float, float, float]) -> Callable[[list[Dataset]], None]:
    """Return an edit that moves slices, each by its own step or all by multiples of one."""

    def edit(slices: list[Dataset]) -> None:
        for number, one in enumerate(slices):
            step = np.array(steps_mm[number]) if len(steps_mm) > 1 else np.array(steps_mm[0]) * number
            one.ImagePositionPatient = [float(v) for v in np.array(one.ImagePositionPatient, float) + step]

    return edit


def every(**values: object) -> Callable[[list[Dataset]], None]:
    return lambda slices: lasting(slices, **values)


def interleave(slices: list[Dataset]) -> None:
    for number, one in enumerate(slices):
        one.AcquisitionNumber = 1 + number % 2


def larger(slices: list[Dataset]) -> None:
    slices[2].Rows, slices[2].PixelData = 20, slices[2].PixelData * 2


def grey_bytes(slices: list[Dataset]) -> None:
    for one in slices:
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 8, 8, 7, 0
        one.RescaleIntercept, one.PixelData = 0, np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).tobytes()


def pretend(syntax: str) -> Callable[[list[Dataset]], None]:
    """Return an edit that writes the pixels as one fragment of another transfer syntax."""

    def edit(slices: list[Dataset]) -> None:
        for one in slices:
            one.file_meta.TransferSyntaxUID = syntax
            one.PixelData = encapsulate([one.PixelData])
            one["PixelData"].is_undefined_length = True

    return edit


FAULTS = {
    "one slice missing": (lambda s: s.pop(2), "uneven-slices", r"must agree within 1%: got 2\.5 mm to 5 mm"),
    "one slice twice": (
        lambda s: change(3, ImagePositionPatient=s[2].ImagePositionPatient)(s),
        "doubled-slice",
        "place of its own; 1 places are taken twice",
    ),
    "1 mm then 2 mm": (move(*[(0, 0, -k * 1.5 if k < 3 else -4.5) for k in range(6)]), "uneven-slices", "within 1%"),
    "a gap of another 3 %": (move(*[(0, 0, 0.075 * (k > 2)) for k in range(6)]), "uneven-slices", r"2\.5 mm to 2\.575"),
    "a tilt of no gantry": (move((0, GAP_MM * np.tan(np.radians(60)), 0)), "gantry-tilt", r"they lean by 60\.0"),
    "one slice aside": (move(*[(1.0 * (k == 2), 0, 0) for k in range(6)]), "drifting-slices", r"got 1\.00 mm"),
    "interleaved acquisitions": (interleave, "two-acquisitions", "one acquisition"),
    "a localizer": (change(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer", "slices only"),
    "a screenshot": (change(1, SOPClassUID=CAPTURE), "secondary-capture", "one file is a secondary capture"),
    "an MR": (change(1, SOPClassUID=MR_IMAGE), "not-ct", "one is MR Image Storage"),
    "an enhanced CT without frames": (change(1, SOPClassUID=ENHANCED_CT), "bad-frames", "1 frames, 0 groups"),
    "no SOP class": (change(1, SOPClassUID="1.2.3"), "not-ct", "one is of another kind"),
    "two patients": (change(2, PatientID="MRN-4712"), "two-patients", "share one PatientID; they have 2"),
    "two studies": (change(2, StudyInstanceUID="1.9"), "two-series", "StudyInstanceUID"),
    "two series": (change(2, SeriesInstanceUID="1.9"), "two-series", "SeriesInstanceUID; they have 2"),
    "two frames of reference": (change(2, FrameOfReferenceUID="1.9"), "two-frames", "FrameOfReferenceUID"),
    "two kernels": (change(2, ConvolutionKernel="B80f"), "mixed-acquisition", "ConvolutionKernel"),
    "two manufacturers": (change(2, Manufacturer="Other"), "mixed-acquisition", "share one Manufacturer"),
    "two thicknesses": (change(2, SliceThickness=1), "mixed-acquisition", "share one SliceThickness"),
    "contrast in one slice": (change(2, ContrastBolusAgent=None), "mixed-acquisition", "ContrastBolusAgent"),
    "two offsets": (change(2, RescaleIntercept=-1000), "mixed-rescale", "share one RescaleIntercept; they have 2"),
    "two slopes": (change(2, RescaleSlope=2), "mixed-rescale", "share one RescaleSlope; they have 2"),
    "two paddings": (change(2, PixelPaddingValue=0), "mixed-pixels", "share one PixelPaddingValue"),
    "two depths": (change(2, BitsStored=12, HighBit=11), "mixed-pixels", "share one BitsStored; they have 2"),
    "bits beyond those stored": (every(BitsStored=8, HighBit=7), "bad-pixels", "within their 8 stored bits"),
    "bits that cannot be": (every(HighBit=14), "bad-pixels", "16 of 16, the highest is number 14"),
    "two names": (change(2, PatientName="Mueller^Eva"), "two-patients", "share one PatientName; they have 2"),
    "two birth dates": (change(2, PatientBirthDate="20140101"), "two-patients", "share one PatientBirthDate"),
    "overlapping acquisitions": (
        move(*[(0, 0, 0 if k < 3 else -2 * GAP_MM + 1) for k in range(6)]),
        "uneven-slices",
        r"got 1 mm to 2\.5 mm",
    ),
    "spacing not finite": (every(PixelSpacing=["1e999", "0.7"]), "no-spacing", "2 finite numbers; 6 do not"),
    "spacing below 0": (every(PixelSpacing=[-0.7, 0.7]), "no-spacing", r"got -0\.7"),
    "lossy by its own word": (every(LossyImageCompression="01"), "lossy", "ask the archive"),
    "no decoder": (pretend("1.2.840.10008.1.2.4.70"), "no-decoder", r"install calcitrack\[jpeg\]"),
    "no decoder anywhere": (pretend("1.2.840.10008.1.2.4.102"), "no-decoder", "no decoder for it is offered"),
    "two sizes": (larger, "mixed-size", "Rows; they have 2"),
    "two pixel spacings": (change(2, PixelSpacing=[0.9, 0.9]), "mixed-spacing", r"got 0\.7 mm to 0\.9 mm"),
    "turned slice": (change(2, ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), "mixed-orientation", "parallel"),
    "crooked axes": (every(ImageOrientationPatient=[1, 0, 0, 0.1, 1, 0]), "no-orientation", "at right angles"),
    "no orientation": (change(2, ImageOrientationPatient=None), "no-orientation", "6 finite numbers; 1 do not"),
    "no position": (change(2, ImagePositionPatient=None), "no-position", "3 finite numbers; 1 do not"),
    "position of two numbers": (change(2, ImagePositionPatient=[1, 2]), "no-position", "3 finite numbers"),
    "no pixel spacing": (every(PixelSpacing=None), "no-spacing", "6 do not"),
    "pixel spacing 0": (every(PixelSpacing=[0, 0]), "no-spacing", r"from 0\.01 to 50\.0 mm; got 0"),
    "spacing in metres": (every(PixelSpacing=[7e-4, 8e-4]), "no-spacing", "got 0.0007"),
    "no rescale": (change(2, RescaleIntercept=None), "no-rescale", "RescaleSlope and RescaleIntercept"),
    "slope 0": (change(2, RescaleSlope=0), "no-rescale", "above 0"),
    "other rescale type": (every(RescaleType="Z_EFF"), "not-hu", "RescaleType must be HU"),
    "no pixels": (change(2, PixelData=None), "bad-pixels", "in 1 files they are too short"),
    "cut pixels": (change(2, PixelData=bytes(100)), "bad-pixels", "too short"),
    "too many pixels": (change(2, PixelData=bytes(1000)), "bad-pixels", "760 bytes too long"),
    "rows that lie": (every(Rows=512), "bad-pixels", "in 6 files they are too short"),
    "a size beyond reason": (every(Rows=65535, Columns=65535), "bad-size", "may have 1000000000 voxels"),
    "frames": (change(2, NumberOfFrames=2), "not-slices", "one slice in grey"),
    "colours": (every(SamplesPerPixel=3), "not-slices", "one slice in grey"),
    "inverted grey": (every(PhotometricInterpretation="MONOCHROME1"), "not-slices", "one slice in grey"),
    "unpacked JPEG": (every(LossyImageCompressionMethod="ISO_10918_1"), "lossy", "stored without loss"),
    "two slices": (lambda s: s.__delitem__(slice(2, None)), "too-few-slices", "at least 3 slices; got 2"),
    "offset forgotten": (every(RescaleIntercept=0), "not-hu", r"below -150 HU; the least here is 24"),
    "offset taken twice": (every(RescaleIntercept=-2048), "not-hu", "nothing is emptier than air|above -300"),
    "8-bit picture": (grey_bytes, "not-hu", "below -150 HU; the least here is 0"),
    "slope 10": (every(RescaleSlope=10, RescaleIntercept=-1224), "not-hu", "the median of tissue"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_refused_by_its_code(tmp_path, fault, caplog, capfd):
    """A series with one fault is refused: with the rule and what came, and never with a name or an id."""
    edit, code, match = FAULTS[fault]
    slices = series()
    edit(slices)
    with pytest.raises(ScanError, match=match) as caught:
        scan.read(write(tmp_path / "ct", slices))
    assert caught.value.code == code
    told = str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert [secret for secret in SECRETS if secret in told] == []


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("positions off by 10 µm", move(*[(0, 0, 0.01 * (-1) ** k) for k in range(6)])),
        ("cosines off by 5e-5", change(2, ImageOrientationPatient=[1, 5e-5, 0, 0, 1, 0])),
        (
            "acquisitions one after the other",
            lambda s: [setattr(o, "AcquisitionNumber", k // 3) for k, o in enumerate(s)],
        ),
        ("derived by reformatting", every(ImageType=["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"])),
        ("a rescale type that is not said", every(RescaleType="US")),
    ],
)
def test_what_good_series_have_is_let_pass(tmp_path, name, edit):
    """Rounding of the header and other harmless habits of scanners do not refuse a scan."""
    slices = series()
    edit(slices)
    found = scan.read(write(tmp_path / "ct", slices))
    assert np.array_equal(found.array, limb())
    assert found.image.GetSpacing() == pytest.approx((0.8, 0.7, GAP_MM), rel=0.01)


@pytest.mark.parametrize("half", [False, True])
def test_the_rescale_is_that_of_the_header(tmp_path, half):
    """Closed form: another offset gives the same HU; half a unit needs float32."""
    slices = series()
    for one, hu in zip(slices, limb(), strict=True):
        one.RescaleIntercept, one.RescaleSlope = -8192, 0.5 if half else 1
        one.PixelData = ((hu + 8192) * 2 + 1 if half else hu + 8192).astype("<i2").tobytes()
    found = scan.read(write(tmp_path / "ct", slices))
    assert found.array.dtype == (np.float32 if half else np.int16)
    assert np.array_equal(found.array, limb() + (0.5 if half else 0))


@settings(deadline=None, max_examples=20)
@given(angle=st.floats(7, 30) | st.floats(-30, -7), turn=st.floats(-180, 180), order=st.permutations(range(6)))
def test_a_tilted_gantry_is_the_shear_that_it_is(tmp_path_factory, angle, turn, order):
    """Closed form: every voxel lies where its slice says, and a voxel's volume is area times distance of slices."""
    axes = np.round(Rotation.from_euler("z", turn, degrees=True).as_matrix(), 6)
    slices = series(axes=axes)
    move(tuple(GAP_MM * np.tan(np.radians(angle)) * axes[:, 1]))(slices)
    found = scan.read(write(tmp_path_factory.mktemp("ct"), [slices[k] for k in order]))
    assert np.array_equal(found.array, limb())
    assert found.voxel_volume_mm3 == pytest.approx(0.7 * 0.8 * GAP_MM, rel=1e-5)
    assert np.prod(found.spacing_zyx_mm) == pytest.approx(found.voxel_volume_mm3)
    assert found.acquisition.slice_increment_mm == pytest.approx(GAP_MM, abs=1e-5)
    for number, one in enumerate(slices):
        across = np.array(one.ImagePositionPatient, float) + 5 * 0.8 * axes[:, 0] + 4 * 0.7 * axes[:, 1]
        assert grid.to_mm(found.image, np.array([number, 4, 5]))[0] == pytest.approx(across, abs=1e-3)


def enhanced(slices: list[Dataset], *, shared: bool = True) -> Dataset:
    """Put the slices of a series into one multi-frame file, what they share in the shared groups or in each frame."""
    first, made = slices[0], Dataset()
    for name in (
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "Manufacturer",
    ):
        setattr(made, name, getattr(first, name))
    for name in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"):
        setattr(made, name, getattr(first, name))
    made.HighBit, made.PixelRepresentation, made.NumberOfFrames = first.HighBit, first.PixelRepresentation, len(slices)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    made.SOPClassUID, made.SOPInstanceUID = ENHANCED_CT, f"{SERIES}.99"
    common = Dataset()
    common.CTImageFrameTypeSequence = [of(first, FrameType="ImageType")]
    common.PlaneOrientationSequence = [of(first, ImageOrientationPatient="ImageOrientationPatient")]
    common.PixelMeasuresSequence = [of(first, PixelSpacing="PixelSpacing", SliceThickness="SliceThickness")]
    common.PixelValueTransformationSequence = [
        of(first, RescaleSlope="RescaleSlope", RescaleIntercept="RescaleIntercept", RescaleType="RescaleType")
    ]
    common.CTReconstructionSequence = [of(first, ConvolutionKernel="ConvolutionKernel")]
    common.CTXRayDetailsSequence = [of(first, KVP="KVP")]
    made.PerFrameFunctionalGroupsSequence = []
    for one in slices:
        frame = Dataset()
        frame.PlanePositionSequence = [of(one, ImagePositionPatient="ImagePositionPatient")]
        if not shared:
            frame.update(common)
        made.PerFrameFunctionalGroupsSequence.append(frame)
    if shared:
        made.SharedFunctionalGroupsSequence = [common]
    agent = Dataset()
    agent.CodeMeaning = "Iohexol"
    made.ContrastBolusAgentSequence = [agent]
    made.PixelData = b"".join(one.PixelData for one in slices)
    return made


def of(source: Dataset, **names: str) -> Dataset:
    """Take values of a header into a sequence item, under other names."""
    item = Dataset()
    for name, there in names.items():
        setattr(item, name, getattr(source, there))
    return item


@pytest.mark.parametrize("shared", [True, False])
def test_an_enhanced_ct_is_its_slices(tmp_path, shared):
    """Independent value: one multi-frame file, frames in any order, reads as the same slices in single files."""
    slices = series(limb(9))
    single = scan.read(write(tmp_path / "single", slices))
    order = [3, 0, 8, 1, 2, 7, 4, 6, 5]
    made = enhanced([slices[k] for k in order], shared=shared)
    found = scan.read(write(tmp_path / "enhanced", [made]))
    assert np.array_equal(found.array, single.array)
    assert grid.affine(found.image) == pytest.approx(grid.affine(single.image))
    assert found.acquisition == single.acquisition


def test_an_enhanced_ct_keeps_the_rules_of_a_series(tmp_path):
    """A frame missing, or its place, is refused as a missing slice is."""
    slices = series(limb(9))
    with pytest.raises(ScanError, match="must agree within 1%"):
        scan.read(write(tmp_path / "gap", [enhanced(slices[:4] + slices[5:])]))
    made = enhanced(slices)
    del made.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence
    with pytest.raises(ScanError, match="must state ImagePositionPatient, 3 finite numbers; 1 do not"):
        scan.read(write(tmp_path / "place", [made]))
    made = enhanced(slices)
    made.PixelData = made.PixelData[:-200]
    with pytest.raises(ScanError, match="pixels must fill the slice exactly"):
        scan.read(write(tmp_path / "cut", [made]))


def test_values_beyond_int16_are_kept_in_float(tmp_path):
    """Metal on an extended scale is neither wrapped nor cut."""
    slices = series()
    lasting(slices, PixelRepresentation=0)
    pixels = (limb()[3] + 1024).astype("<u2")
    pixels[5, 6] = 65000
    slices[3].PixelData = pixels.tobytes()
    found = scan.read(write(tmp_path / "ct", slices))
    assert found.array.dtype == np.float32
    assert found.array[3, 5, 6] == 65000 - 1024
    assert (found.array[2] == limb()[2]).all()


@pytest.mark.parametrize(
    ("stored", "declared"),
    [(-2000, -2000), (-2000, 63536), (-2000, None), (-32768, -32768), (-2000, -32768)],
)
def test_padding_is_no_measurement(tmp_path, stored, declared):
    """Filling outside the field becomes -1024 HU and is not imaged, whether declared rightly, wrongly or not at all."""
    slices = series()
    for one in slices:
        pixels = np.frombuffer(one.PixelData, "<i2").reshape(SIZE).copy()
        pixels[:, 0] = stored
        one.PixelData = pixels.tobytes()
        if declared is not None:
            one.add_new("PixelPaddingValue", "US" if declared > 0 else "SS", declared)
    found = scan.read(write(tmp_path / "ct", slices))
    assert (found.array[:, :, 0] == -1024).all()
    assert np.array_equal(found.array[:, :, 1:], limb()[:, :, 1:])
    assert not found.imaged[:, :, 0].any()
    assert found.imaged[:, :, 1:].all()


def test_padding_that_is_also_a_tissue_value_counts_at_the_edge_only(tmp_path):
    """A voxel of muscle that happens to have the padding value stays a measurement."""
    slices = series(np.repeat(limb(1), 4, axis=0))
    for one in slices:
        pixels = np.frombuffer(one.PixelData, "<i2").reshape(SIZE).copy()
        pixels[0] = 55 + 1024
        one.PixelData = pixels.tobytes()
        one.add_new("PixelPaddingValue", "SS", 55 + 1024)
    found = scan.read(write(tmp_path / "ct", slices))
    assert not found.imaged[:, 0].any()
    assert found.imaged[:, 1:].all()
    assert (found.array[found.imaged & (limb(1)[0] == 55)] == 55).all()


def test_a_padding_range_is_a_range(tmp_path):
    """All values from the padding value to its limit are filling."""
    slices = series()
    for one in slices:
        pixels = np.frombuffer(one.PixelData, "<i2").reshape(SIZE).copy()
        pixels[0, :3] = [-300, -250, -200]
        one.PixelData = pixels.tobytes()
        one.add_new("PixelPaddingValue", "SS", -300)
        one.add_new("PixelPaddingRangeLimit", "SS", -200)
    found = scan.read(write(tmp_path / "ct", slices))
    assert (~found.imaged).sum(axis=(1, 2)).tolist() == [3] * 6


def test_other_files_in_the_folder_are_passed_over(tmp_path):
    """Notes, hidden files and a DICOMDIR do no harm, and slices may lie in folders of their own."""
    folder = write(tmp_path / "ct", series())
    (folder / "notes.txt").write_text("no scan")
    (folder / ".DS_Store").write_bytes(bytes(700))
    (folder / "deeper").mkdir()
    (folder / "000.dcm").rename(folder / "deeper" / "slice without suffix")
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = header.DIRECTORY
    directory.file_meta.MediaStorageSOPInstanceUID = directory.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    pydicom.dcmwrite(folder / "DICOMDIR", directory, implicit_vr=False, little_endian=True)
    assert np.array_equal(scan.read(folder).array, limb())


@pytest.mark.parametrize("content", [b"", b"hello", bytes(132) + b"DICM\x02\x00"])
def test_a_slice_cut_to_nothing_is_refused(tmp_path, content):
    """A file that is named a slice and is none is not passed over in silence."""
    folder = write(tmp_path / "ct", series())
    (folder / "005.dcm").write_bytes(content)
    with pytest.raises(ScanError, match="every DICOM header must be readable"):
        scan.read(folder)


def test_a_folder_without_slices_is_refused(tmp_path):
    """An empty folder, no folder and a text file each say what was expected."""
    (tmp_path / "notes.txt").write_text("no scan")
    with pytest.raises(ScanError, match="must hold DICOM files; there is none"):
        scan.read(tmp_path)
    with pytest.raises(ScanError, match="nothing is there"):
        scan.read(tmp_path / "absent")
    with pytest.raises(ScanError, match=r"must end in \.nii, .*; got '\.txt'"):
        scan.read(tmp_path / "notes.txt")


def test_a_stated_modality_must_be_that_of_the_files(tmp_path):
    """A study that calls a CT an MR is wrong about one of the two."""
    folder = write(tmp_path / "ct", series())
    assert scan.read(folder, modality="CT").modality == "CT"
    with pytest.raises(ScanError, match="the study says MR; the files are CT"):
        scan.read(folder, modality="MR")


def test_a_wrong_date_in_the_header_is_not_told(tmp_path, caplog, capfd):
    """What pydicom would warn of, a birth date for one, reaches neither the log nor the screen."""
    folder = write(tmp_path / "ct", series())
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.add_new("PatientBirthDate", "LO", BIRTH)
        one.save_as(path)
        path.write_bytes(path.read_bytes().replace(b"\x10\x00\x30\x00LO", b"\x10\x00\x30\x00DA"))
    caplog.set_level(logging.DEBUG)
    assert np.array_equal(scan.read(folder).array, limb())
    assert BIRTH not in caplog.text + "".join(capfd.readouterr())
    assert not logging.getLogger("pydicom").disabled


def test_the_study_fills_what_the_file_does_not_say(tmp_path):
    """Header first, then visits.csv, then unknown; the increment is measured."""
    slices = series()
    for one in slices:
        del one.KVP, one.ConvolutionKernel, one.ContrastBolusAgent
        one.SliceThickness = 0
    folder = write(tmp_path / "ct", slices)
    unknown = scan.read(folder).acquisition
    assert np.isnan([unknown.kvp, unknown.slice_thickness_mm]).all()
    assert (unknown.kernel, unknown.contrast, unknown.slice_increment_mm) == ("", "unknown", GAP_MM)
    stated = Acquisition(100.0, "SOFT", 5.0, 99.0, "none", "Other")
    assert scan.read(folder, acquisition=stated).acquisition == Acquisition(100.0, "SOFT", 5.0, GAP_MM, "none", "Maker")


@pytest.mark.parametrize(
    ("agent", "route", "contrast"),
    [("Omnipaque", "IV", "iv"), ("Omnipaque", "", "iv"), ("NONE", "", "none"), ("Gastrografin", "ORAL", "unknown")],
)
def test_contrast_is_what_ran_through_the_veins(tmp_path, agent, route, contrast):
    """An agent that was drunk says nothing of the vessels."""
    slices = series()
    lasting(slices, ContrastBolusAgent=agent, ContrastBolusRoute=route)
    assert scan.read(write(tmp_path / "ct", slices)).acquisition.contrast == contrast


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1199), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 1200))
def test_broken_bytes_are_refused_or_harmless(tmp_path, edits, cut):
    """Property: whatever stands in a file, reading ends with a scan or a refusal."""
    folder = tmp_path / "ct"
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, series(limb(4)))
    content = bytearray((folder / "001.dcm").read_bytes())
    for place, value in edits:
        content[min(place, len(content) - 1)] = value
    (folder / "001.dcm").write_bytes(content[: len(content) - cut if cut % 3 == 0 else None])
    with contextlib.suppress(ScanError):
        assert np.isfinite(scan.read(folder).array).all()


def own_files() -> list[Path]:
    """Return the odd files that pydicom brings in its wheel: nothing is fetched."""
    return sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))


def test_the_odd_files_of_pydicom_are_refused(tmp_path):
    """None of pydicom's single files is a series; each gets a code and no file brings the reader down."""
    files = own_files()
    assert len(files) > 50
    codes = set()
    for path in files:
        folder = tmp_path / path.stem
        folder.mkdir()
        (folder / path.name).symlink_to(path)
        with pytest.raises(ScanError, match=r"\w") as caught:
            scan.read(folder)
        codes.add(caught.value.code)
    assert {"not-ct", "too-few-slices", "broken-header"} <= codes


# --- image files -----------------------------------------------------------------------------------------------------


def image(values: np.ndarray | None = None) -> sitk.Image:
    """Make an oblique image of the limb."""
    made = sitk.GetImageFromArray(limb() if values is None else values)
    made.SetSpacing((0.8, 0.7, 2.5))
    made.SetOrigin((-7.25, 4.5, 100.125))
    made.SetDirection(Rotation.from_euler("z", 20, degrees=True).as_matrix().ravel().tolist())
    return made


def written(path: Path, made: sitk.Image, *, compressed: bool = False) -> Path:
    sitk.WriteImage(made, str(path), compressed)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_image_files_keep_values_and_places(tmp_path, name, dtype):
    """Whole values come as int16 from every format and type, on the grid that they were written with."""
    made = image(limb().astype(dtype))
    found = scan.read(written(tmp_path / name, made), acquisition=Acquisition(kvp=100.0, kernel="B30f"))
    assert found.array.dtype == np.int16
    assert np.array_equal(found.array, limb())
    assert grid.affine(found.image) == pytest.approx(grid.affine(made), abs=1e-4)
    assert found.acquisition == Acquisition(kvp=100.0, kernel="B30f", slice_increment_mm=2.5)
    assert (found.modality, found.unit, found.uids) == ("CT", "HU", ())


def test_fractions_stay_and_filling_goes(tmp_path):
    """Fractions need float32; undeclared filling is taken for what it is."""
    values = limb().astype(np.float32) + 0.25
    values[:, 0] = -3024
    found = scan.read(written(tmp_path / "a.nii.gz", image(values)))
    assert found.array.dtype == np.float32
    assert (found.array[:, 0] == -1024).all()
    assert not found.imaged[:, 0].any()
    assert (found.array[:, 1:] == limb()[:, 1:] + 0.25).all()


def test_mr_has_no_hu(tmp_path):
    """An MR is read in arbitrary units and refused where HU are needed."""
    found = scan.read(written(tmp_path / "a.nii.gz", image(np.abs(limb()))), modality="MR")
    assert (found.modality, found.unit) == ("MR", "a.u.")
    with pytest.raises(ScanError, match=r"HU are measured on CT; this scan is MR in a\.u\."):
        scan.require_hu(found)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_cut_files_are_refused(tmp_path, name, compressed):
    """A file that ends early is never filled up with zeros."""
    path = written(tmp_path / name, image(limb(20)), compressed=compressed)
    content = path.read_bytes()
    for keep in (len(content) - 40, len(content) // 2, 100, 0):
        path.write_bytes(content[:keep])
        with pytest.raises(ScanError, match=r"must be whole and readable") as caught:
            scan.read(path)
        assert caught.value.code in ("cut-file", "broken-file")


def test_a_file_that_was_packed_after_it_was_cut_is_refused(tmp_path):
    """A whole gzip around half an image is half an image."""
    path = written(tmp_path / "a.nii", image())
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()[:-2]))
    with pytest.raises(ScanError, match=r"promises 720 voxels of int16, and the file ends before"):
        scan.read(packed)


def test_a_scaled_nifti_is_read_in_its_scale(tmp_path):
    """Independent value: stored 16-bit numbers are HU after the slope in the header, and the file is not short."""
    path = written(tmp_path / "a.nii", image(((limb() + 1000) // 2).astype(np.int16)))
    content = bytearray(path.read_bytes())
    struct.pack_into("<2f", content, 112, 2.0, -1000.0)
    path.write_bytes(content)
    assert np.array_equal(scan.read(path).array, (limb() + 1000) // 2 * 2 - 1000)


def test_a_header_that_claims_too_much_is_refused(tmp_path):
    """A small file that claims a huge image is refused before anything is made for it."""
    path = written(tmp_path / "a.nii", image())
    content = bytearray(path.read_bytes())
    struct.pack_into("<8h", content, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    path.write_bytes(content)
    with pytest.raises(ScanError, match="may have 1000000000 voxels; this one claims 27000000000000"):
        scan.read(path)


def test_headers_that_point_elsewhere_are_refused(tmp_path):
    """Voxels in another file are outside what the path and its hash say."""
    sitk.WriteImage(image(), str(tmp_path / "a.mhd"))
    sitk.WriteImage(image(), str(tmp_path / "b.nhdr"))
    for name in ("a.mhd", "b.nhdr"):
        with pytest.raises(ScanError, match="an image file must end in"):
            scan.read(tmp_path / name)
    (tmp_path / "a.mhd").rename(tmp_path / "a.mha")
    (tmp_path / "b.nhdr").rename(tmp_path / "b.nrrd")
    for name in ("a.mha", "b.nrrd"):
        with pytest.raises(ScanError, match="must hold its own voxels"):
            scan.read(tmp_path / name)


@pytest.mark.parametrize(
    ("code", "match", "values"),
    [
        (
            "not-finite",
            "voxels must be finite",
            np.where(np.arange(720).reshape(6, 10, 12) == 5, np.nan, limb()),
        ),
        ("not-hu", "below -150 HU", limb() + 1024),
        ("not-hu", "there is none here", np.full((6, 10, 12), -1000, np.int16)),
        ("too-few-slices", "3 voxels a side", limb(2)),
    ],
)
def test_values_that_cannot_be_hu_are_refused(tmp_path, code, match, values):
    """An image file is held to the same rules as a series."""
    with pytest.raises(ScanError, match=match) as caught:
        scan.read(written(tmp_path / "a.nii.gz", image(values.astype(np.float32))))
    assert caught.value.code == code


def test_images_of_other_dimensions_are_refused(tmp_path):
    """Time series and vectors are no scan, and no gantry leans by 60 degrees."""
    sitk.WriteImage(sitk.JoinSeries([image(), image()]), str(tmp_path / "four.nii"))
    sitk.WriteImage(sitk.Compose([image(), image()]), str(tmp_path / "two.nrrd"))
    sitk.WriteImage(image()[:, :, 2], str(tmp_path / "flat.nrrd"))
    sheared = image()
    sheared.SetDirection((1, 0, 0, 0, 1, 0.87, 0, 0, 0.5))
    sitk.WriteImage(sheared, str(tmp_path / "sheared.nrrd"))
    for name, match in (
        ("four.nii", "3 dimensions"),
        ("flat.nrrd", "3 dimensions"),
        ("two.nrrd", "one value a voxel"),
        ("sheared.nrrd", "must not lean"),
    ):
        with pytest.raises(ScanError, match=match):
            scan.read(tmp_path / name)


# --- masks -----------------------------------------------------------------------------------------------------------


def labels() -> np.ndarray:
    """Make a label map without any symmetry."""
    return np.arange(6 * 10 * 12).reshape(6, 10, 12) % 7


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAS", "SPL", "AIR", "PIR"])
def test_a_mask_may_be_stored_in_any_order_of_axes(tmp_path, orientation):
    """Invariance: programs turn and flip axes; voxels that lie on the same places are the same mask."""
    like = image()
    turned = sitk.DICOMOrient(grid.image_like(labels().astype(np.uint8), like), orientation)
    path = written(tmp_path / "m.nii.gz", turned)
    assert np.array_equal(scan.read_mask(path, like, labels=True), labels())
    found = scan.read_mask(path, like)
    assert found.dtype == bool
    assert np.array_equal(found, labels() > 0)


def test_a_mask_on_another_grid_is_refused(tmp_path):
    """Half a voxel aside, cropped or of other spacing: none of these lies on the scan's voxels."""
    like, mask = image(), grid.image_like(labels().astype(np.uint8), image())
    aside, coarse = sitk.Image(mask), sitk.Image(mask)
    aside.SetOrigin(tuple(np.array(mask.GetOrigin()) + 0.4))
    coarse.SetSpacing((0.8, 0.72, 2.5))
    for wrong in (aside, coarse, mask[1:]):
        with pytest.raises(ScanError, match=r"a mask must lie on its scan's grid \(size \(12, 10, 6\)") as caught:
            scan.read_mask(written(tmp_path / "m.nrrd", wrong), like)
        assert caught.value.code == "mask-grid"


def test_labels_are_whole_numbers(tmp_path):
    """A float mask of whole numbers is a label map, a probability is none, and absence is said."""
    like = image()
    whole = scan.read_mask(written(tmp_path / "a.nrrd", grid.image_like(labels() * 1.0, like)), like, labels=True)
    assert whole.dtype == np.uint16
    large = scan.read_mask(written(tmp_path / "b.nrrd", grid.image_like(labels() * 70000.0, like)), like, labels=True)
    assert large.max() == 6 * 70000
    with pytest.raises(ScanError, match="labels must be whole numbers from 0 up"):
        scan.read_mask(written(tmp_path / "c.nrrd", grid.image_like(labels() / 10, like)), like, labels=True)
    with pytest.raises(ScanError, match="a mask must be an image file; nothing is there"):
        scan.read_mask(tmp_path / "d.nrrd", like)


# --- real data -------------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("visit", ["L024/V0", "L024/V2", "L043/V1"])
def test_serial_limbs_are_read(visit):
    """Real limbs: every slice is there, on the grid that the headers of first and last slice say."""
    folder = SHARED / "serial-limbs" / "dicom" / visit
    found = scan.read(folder)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    ends = sorted(float(one.ImagePositionPatient[2]) for one in headers)
    assert found.array.shape[0] == len(headers)
    assert found.array.dtype == np.int16
    assert grid.to_mm(found.image, np.array([len(headers) - 1, 0, 0]))[0, 2] == pytest.approx(ends[-1], abs=1e-6)
    assert found.acquisition.kvp == 140


@needs_data
@pytest.mark.parametrize("limb_id", ["STS_001", "STS_028"])
def test_a_limb_is_the_same_from_dicom_and_nifti(limb_id):
    """Independent value: NIfTI written by another program holds the same HU in the same places, and a mask too."""
    folder = SHARED / "limb-ct" / limb_id
    one, two = scan.read(folder / "dicom"), scan.read(folder / "CT_image.nii.gz")
    assert np.array_equal(one.array, two.array)
    assert grid.affine(one.image) == pytest.approx(grid.affine(two.image), abs=1e-4)
    mask = scan.read_mask(folder / "CT_mask.nii.gz", one.image)
    assert mask.sum() == scan.read_mask(folder / "CT_mask.nii.gz", two.image).sum() > 1000


@needs_data
@pytest.mark.parametrize(
    "name", ["hip-ct/example_ct.nii.gz", "lung-pair/3DCT_lung.mha", "limb-ct/STS_005/CT_image.nii.gz"]
)
def test_real_ct_passes_for_hu(name):
    """Pelvis, chest and leg of three scanners hold air, fat and muscle where HU say."""
    found = scan.read(SHARED / name)
    assert found.array.dtype == np.int16


@needs_data
def test_real_mr_does_not_pass_for_hu():
    """Two MR of other scanners are no CT, whatever the study calls them."""
    for name in ("limb-ct/STS_001/MR_T1_image.nii.gz", "brain-mr-two-visits/patient01/study1_FLAIR.nii.gz"):
        with pytest.raises(ScanError, match="below -150 HU; the least here is 0"):
            scan.read(SHARED / name)


LOSSLESS = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", DEFLATED, "1.2.840.10008.1.2.2"),
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"),
)
SYNTAXES = {
    **dict.fromkeys(LOSSLESS, ""),
    **dict.fromkeys([f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 81, 91)], "lossy"),
    **dict.fromkeys(["1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"], "no-decoder"),
}
"""Transfer syntax: the code, or none where every voxel must be right, as lossless JPEG is with its extra."""


@needs_data
def test_one_slice_in_16_transfer_syntaxes(tmp_path):
    """Lossless syntaxes agree to the last bit, the others are refused; lossless JPEG says which extra reads it."""
    files = sorted((SHARED / "odd-dicom" / "transfer-syntaxes").glob("CTImage.dcm_*.dcm"))
    stored = pydicom.dcmread(files[0].parent / "CTImage.dcm").pixel_array
    truth = np.where(stored < -1000, -1024, stored.astype(int) - 1024)
    seen = set()
    for path in files:
        syntax = path.name.rsplit("_", 1)[1].removesuffix(".dcm")
        folder = threefold(path, tmp_path / syntax)
        expected = SYNTAXES[syntax]
        seen.add(syntax)
        if expected and not (expected == "no-decoder" and HAS_JPEG):
            with pytest.raises(ScanError, match=r"stored without loss|calcitrack\[jpeg\]") as caught:
                scan.read(folder)
            assert caught.value.code == expected, syntax
        else:
            assert np.abs(scan.read(folder).array - truth)[:, stored >= -1000].max() == 0, syntax
    assert seen == set(SYNTAXES)


def threefold(path: Path, folder: Path) -> Path:
    """Write one slice three times, a millimetre apart, its pixels as they are."""
    folder.mkdir()
    one = pydicom.dcmread(path)
    for number in range(3):
        one.ImagePositionPatient = [0, 0, number]
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        one.save_as(folder / f"{number}.dcm")
    return folder


@needs_data
def test_the_other_odd_files_are_refused(tmp_path):
    """Ultrasound, palettes, colours, missing pixels and doubled positions of real files each get a code."""
    folder = SHARED / "odd-dicom" / "transfer-syntaxes"
    expected = {"US-YBR": "not-ct", "TestPattern_Palette.dcm": "secondary-capture", "CT0012": "lossy"}
    expected |= {"TestPattern_RGB": "secondary-capture", "no-pixel-data": "not-ct", "no-pixel-spacing": "not-ct"}
    for start, code in expected.items():
        (path,) = folder.glob(f"{start}*")
        alone = tmp_path / path.stem
        alone.mkdir()
        shutil.copy(path, alone)
        with pytest.raises(ScanError, match=r"\w") as caught:
            scan.read(alone)
        assert caught.value.code == code, start
    with zipfile.ZipFile(SHARED / "odd-dicom" / "dupe-positions.zip") as packed:
        packed.extractall(tmp_path / "dupes")
    with pytest.raises(ScanError, match="place of its own"):
        scan.read(tmp_path / "dupes")


@needs_data
def test_a_series_of_three_slices_with_padding_is_read():
    """The CT beside the segmentations is the least series there can be; its round field is known."""
    found = scan.read(SHARED / "seg-sr" / "segmentations" / "ct-3slice")
    assert found.array.shape == (3, 512, 512)
    assert found.imaged.mean() == pytest.approx(np.pi / 4, abs=0.01)
