"""Whatever happens to the bytes of a good series, reading it gives the same numbers or a refusal."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monitor import grid, scan
from monitor.types import Scan, ScanError
from tests.test_scan import limb, series, write

SLICES = 6


def bytes_of(slices: list[pydicom.Dataset]) -> list[bytes]:
    """Return the files of a series."""
    files = []
    for one in slices:
        buffer = io.BytesIO()
        one.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=True)
        files.append(buffer.getvalue())
    return files


GOOD = bytes_of(series())
PIXELS = limb()[0].size * 2
"""Bytes of pixels at the end of each file."""


def other_patient() -> list[bytes]:
    """Return the files of another patient's series with the same geometry."""
    slices = series(limb() + np.int16(3))
    for one in slices:
        one.PatientName, one.PatientID, one.StudyInstanceUID = "Other^Eva", "MRN-9", "1.2.3"
        one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.4", "1.2.5"
    return bytes_of(slices)


OTHER = other_patient()


def laid(folder: Path, files: list[bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(files):
        (folder / f"{number:03}.dcm").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return scan.read(laid(tmp_path_factory.mktemp("good"), GOOD))


def require_same(found: Scan, good: Scan, *, but: set[tuple[int, int, int]] = frozenset()) -> None:
    """Hold a scan to the numbers of the good one, some voxels aside."""
    assert found.image.GetSize() == good.image.GetSize()
    assert np.array_equal(grid.affine(found.image), grid.affine(good.image))
    assert found.acquisition == good.acquisition
    assert found.imaged is None or found.imaged.all() or but
    differs = {tuple(int(i) for i in index) for index in np.argwhere(found.array != good.array)}
    assert differs <= but


def read_or_refused(folder: Path) -> Scan | None:
    code, message = "", ""
    try:
        return scan.read(folder)
    except ScanError as error:
        code, message = error.code, str(error)
    assert code
    assert len(message) > 20
    assert [secret for secret in ("Miller", "MRN", "Other^", "19701399") if secret in message] == []
    return None


EASY = settings(
    deadline=None,
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EASY
@given(
    flips=st.lists(st.tuples(st.integers(0, SLICES - 1), st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=3)
)
def test_flipped_bits(tmp_path_factory, good, flips):
    """Property: a flipped bit of a header changes no number; one of a pixel changes that voxel at most.

    DICOM carries no sum over its pixels, so that a flip within the range of its bits cannot be known.
    """
    files = [bytearray(content) for content in GOOD]
    hit: set[tuple[int, int, int]] = set()
    for number, place, bit in flips:
        at = int(place * (len(files[number]) - 1))
        files[number][at] ^= 1 << bit
        pixel = (at - (len(files[number]) - PIXELS)) // 2
        if pixel >= 0:
            hit.add((number, *divmod(pixel, limb().shape[2])))
    found = read_or_refused(laid(tmp_path_factory.mktemp("flips"), [bytes(one) for one in files]))
    if found is not None:
        require_same(found, good, but=hit)


@EASY
@given(number=st.integers(0, SLICES - 1), keep=st.floats(0, 1))
@example(number=0, keep=0.0)
def test_cut_files(tmp_path_factory, good, number, keep):
    """Property: a file that ends early is refused, or passed over with all that it held."""
    files = list(GOOD)
    files[number] = files[number][: int(keep * (len(files[number]) - 1))]
    found = read_or_refused(laid(tmp_path_factory.mktemp("cut"), files))
    assert found is None


TAGS = sorted({element.keyword for one in series() for element in one})


def without(content: bytes, name: str) -> bytes:
    """Take an element out of a file, byte by byte: pydicom would not write what is left."""
    element = pydicom.dcmread(io.BytesIO(content)).get_item(name)
    header = 12 if element.VR in ("OB", "OW", "UN", "SQ", "UT") else 8
    return content[: element.value_tell - header] + content[element.value_tell + element.length :]


@EASY
@given(number=st.integers(0, SLICES - 1), name=st.sampled_from(TAGS), everywhere=st.booleans())
def test_dropped_tags(tmp_path_factory, good, number, name, everywhere):
    """Property: without a tag the numbers are the same, or the scan is refused; what is unknown is said to be."""
    files = [without(one, name) if everywhere or k == number else one for k, one in enumerate(GOOD)]
    found = read_or_refused(laid(tmp_path_factory.mktemp("drop"), files))
    if found is not None:
        assert np.array_equal(found.array, good.array)
        assert np.array_equal(grid.affine(found.image), grid.affine(good.image))
        before, after = (vars(one.acquisition) for one in (good, found))
        changed = {field for field in before if str(before[field]) != str(after[field])}
        gone = {"KVP": "kvp", "ConvolutionKernel": "kernel", "SliceThickness": "slice_thickness_mm"}
        gone |= {"Manufacturer": "manufacturer", "ContrastBolusAgent": "contrast"}
        assert changed <= ({gone[name]} if everywhere and name in gone else set())


@EASY
@given(number=st.integers(0, SLICES - 1), name=st.sampled_from(TAGS), other=st.integers(0, SLICES - 1))
def test_doubled_tags(tmp_path_factory, good, number, name, other):
    """Property: an element that stands twice, with the value of another slice of another patient, moves nothing."""
    slices = series()
    stranger = pydicom.dcmread(io.BytesIO(OTHER[other]))
    if name not in stranger:
        return
    twice = pydicom.Dataset()
    twice[name] = stranger[name]
    buffer = io.BytesIO()
    twice.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=False)
    files = bytes_of(slices)
    files[number] += buffer.getvalue()
    found = read_or_refused(laid(tmp_path_factory.mktemp("twice"), files))
    if found is not None:
        require_same(found, good)


@EASY
@given(swaps=st.sets(st.integers(0, SLICES - 1), min_size=1, max_size=SLICES - 1))
def test_slices_of_another_patient(tmp_path_factory, swaps):
    """Property: no mixture of two patients is a scan."""
    files = [OTHER[k] if k in swaps else GOOD[k] for k in range(SLICES)]
    assert read_or_refused(laid(tmp_path_factory.mktemp("swap"), files)) is None


@EASY
@given(extra=st.lists(st.integers(0, SLICES - 1), min_size=1, max_size=3))
def test_doubled_files(tmp_path_factory, good, extra):
    """Property: a file that is there twice is refused, or counts once."""
    found = read_or_refused(laid(tmp_path_factory.mktemp("more"), [*GOOD, *(GOOD[k] for k in extra)]))
    if found is not None:
        require_same(found, good)


def test_the_makers_write_what_they_say(tmp_path):
    """The files of these tests are those of a good series."""
    assert np.array_equal(scan.read(write(tmp_path / "ct", series())).array, limb())
