"""One image file: NIfTI by nibabel, NRRD and MetaImage by ITK; whole, finite and on a grid that is what it says."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monitor._scan.rules import DIGITS, LEAST_SLICES, MOST_VOXELS, SPACING_MM, attempt
from monitor.errors import ScanError

if TYPE_CHECKING:
    import nibabel
    import SimpleITK as sitk

    from monitor._scan.series import Memory

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha")
"""Image files other than DICOM: those that hold header and voxels in one file."""

ZOOM_TOLERANCE = 0.01
"""Relative difference between voxel sizes and axes of a NIfTI that is rounding: beyond, its affine was stretched."""

MOST_LEAN = 0.75
"""Largest cosine between two axes: a tilted gantry leans by 30 degrees (0.5); beyond, the axes are broken."""

HEAD_BYTES = 1 << 16
"""How much of a file is searched for its header."""

READABLE = "an image file must be whole and readable as what its name says"

LABEL_NAME = re.compile(
    rb"<Label [^>]*?Key=\"([0-9]{1,9})\"[^>]*>\s*(?:<!\[CDATA\[)?\s*([^<>\]]{1,200}?)\s*(?:\]\]>)?\s*</Label>"
)
"""A label's number and name in the extension that Caret, and TotalSegmentator with ``--ml``, write into a NIfTI."""

_MM_CODES = (0, 2)
"""Spatial units of a NIfTI that are mm: unknown and mm."""

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Picture:
    """Voxels (z, y, x) and their grid: sizes and origin in mm, x y z LPS; axes as columns of a (3, 3) matrix.

    ``names`` are those of labels, where the header holds a table of them.
    """

    values: np.ndarray
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    axes: np.ndarray
    names: dict[int, str] = field(default_factory=dict)


def task(request: dict[str, Any], memory: Memory) -> dict[str, object]:
    """Read an image file into shared memory, as the keeper does it."""
    found = read(Path(request["path"]))
    whole = found.values.dtype.kind in "iu" or _all_whole(found.values)
    fits = whole and _fits(found.values, np.int16)
    kept = memory.array(found.values.shape, np.int16 if fits else np.float32)
    kept[...] = found.values
    grid = {"spacing_mm": found.spacing_mm, "origin_mm": found.origin_mm, "axes": found.axes.tolist()}
    return {"arrays": [kept], "names": found.names, **grid}


def read(path: Path) -> Picture:
    """Read an image file of 3 dimensions.

    Raises
    ------
    ScanError
        If it is cut, not finite, not 3D, or lies about its size or its grid.
    """
    if not path.name.lower().endswith(FORMATS):
        raise ScanError("unknown-format", f"an image file must end in {', '.join(FORMATS)}; got {path.suffix!r}")
    by_name = _nifti if path.name.lower().endswith((".nii", ".nii.gz")) else _by_itk
    found = attempt("broken-file", READABLE, lambda: by_name(path))
    if min(found.values.shape) < LEAST_SLICES:
        got = found.values.shape[::-1]
        raise ScanError("too-few-slices", f"an image must have {LEAST_SLICES} voxels a side; got {got}")
    if not all(isfinite(one) and SPACING_MM[0] <= one <= SPACING_MM[1] for one in found.spacing_mm):
        got = tuple(round(one, 4) for one in found.spacing_mm)
        raise ScanError("no-spacing", f"voxels must be {SPACING_MM[0]} to {SPACING_MM[1]} mm; got {got}")
    if not np.isfinite(found.axes).all() or np.abs(np.triu(found.axes.T @ found.axes, 1)).max() > MOST_LEAN:
        raise ScanError("sheared-grid", "the axes of an image must not lean against each other by more than a gantry")
    if found.values.dtype.kind == "f" and not all(np.isfinite(one).all() for one in found.values):
        raise ScanError("not-finite", "voxels must be finite numbers; some are not")
    return found


def _nifti(path: Path) -> Picture:
    """Read a NIfTI file; nibabel raises where it is cut."""
    # Most studies are DICOM: loaded with this module it would add 0.1 s to the start of every keeper.
    import nibabel  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they repeat the header
        try:
            held = nibabel.load(path)
        except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
            raise ScanError("broken-file", f"{READABLE}; got {type(error).__name__}") from None
    if not isinstance(held, nibabel.Nifti1Image):
        raise ScanError("broken-file", f"{READABLE}; this one is no NIfTI")
    shape = held.shape[:3] + tuple(size for size in held.shape[3:] if size != 1)
    voxels = prod(shape)
    if voxels > MOST_VOXELS:
        raise ScanError("bad-size", f"an image may have {MOST_VOXELS} voxels; this one claims {voxels}")
    if len(shape) != 3 or held.get_data_dtype().kind not in "iuf":
        raise ScanError("not-3d", f"an image must have 3 dimensions and one value a voxel; got {shape}")
    return Picture(_scaled(held, voxels).reshape(shape).T, *_affine(held), names=_label_names(held))


def _scaled(held: nibabel.Nifti1Image, voxels: int) -> np.ndarray:
    """Return the voxels after the slope and the offset of the header; a file that ends before its voxels is cut."""
    proxy: Any = held.dataobj
    try:
        stored = np.asanyarray(proxy.get_unscaled())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        promised = f"the header promises {voxels} voxels of {held.get_data_dtype()}"
        raise ScanError(
            "cut-file", f"{READABLE}: {promised}, and the file ends before; got {type(error).__name__}"
        ) from None
    slope, offset = proxy.slope, proxy.inter
    return stored if (slope, offset) == (1, 0) else stored * np.float64(slope) + offset


def _label_names(held: nibabel.Nifti1Image) -> dict[int, str]:
    """Return the names of labels that the extensions of a NIfTI hold; no parser of XML is let loose on them."""
    found: dict[int, str] = {}
    for one in held.header.extensions:
        content = one.get_content()
        text = content if isinstance(content, bytes) else str(content).encode()
        found |= {int(key): name.decode("utf-8", "replace") for key, name in LABEL_NAME.findall(text)}
    return found


def _affine(held: nibabel.Nifti1Image) -> tuple[tuple[float, ...], tuple[float, ...], np.ndarray]:
    """Return spacing, origin and axes of a NIfTI in LPS.

    Raises
    ------
    ScanError
        If its unit is not mm, or its affine stretches the voxels: a map to a template is in it.
    """
    head = held.header
    if int(head["xyzt_units"]) & 7 not in _MM_CODES:
        raise ScanError("no-spacing", "the unit of a NIfTI must be mm; this one states another")
    matrix = _RAS_TO_LPS @ np.asarray(held.affine, float)[:3]
    sizes = np.linalg.norm(matrix[:, :3], axis=0)
    zooms = np.abs(np.array(head.get_zooms()[:3], float))
    if not np.allclose(sizes, zooms, rtol=ZOOM_TOLERANCE, atol=0):
        got = f"{_listed(zooms)} mm and {_listed(sizes)} mm"
        raise ScanError("lying-spacing", f"voxel sizes and axes of a NIfTI must agree within 1%; got {got}")
    return _rounded(sizes), _rounded(matrix[:, 3]), matrix[:, :3] / sizes


def _by_itk(path: Path) -> Picture:
    """Read a NRRD or MetaImage file."""
    # As with nibabel: 0.15 s and 90 MB of every keeper, for NRRD and MetaImage alone.
    import SimpleITK as sitk  # noqa: PLC0415

    with path.open("rb") as stream:
        if re.search(rb"^(data ?file *:|ElementDataFile *=(?! *LOCAL\s))", stream.read(HEAD_BYTES), re.MULTILINE):
            raise ScanError("unknown-format", "an image must hold its own voxels; this one points to another file")
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = _held(path, sitk.ImageFileReader())
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    values = sitk.GetArrayFromImage(image)
    axes = np.array(image.GetDirection()).reshape(3, 3)
    return Picture(values, _rounded(image.GetSpacing()), _rounded(image.GetOrigin()), axes)


def _held(path: Path, reader: sitk.ImageFileReader) -> sitk.Image:
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        raise ScanError("not-3d", f"an image must have 3 dimensions and one value a voxel; got {reader.GetSize()}")
    if prod(reader.GetSize()) > MOST_VOXELS:
        raise ScanError("bad-size", f"an image may have {MOST_VOXELS} voxels; this one claims {reader.GetSize()}")
    return reader.Execute()


def _all_whole(values: np.ndarray) -> bool:
    return all(np.array_equal(one, np.rint(one)) for one in values)


def _fits(values: np.ndarray, dtype: type) -> bool:
    limits = np.iinfo(dtype)
    return bool(values.min() >= limits.min and values.max() <= limits.max)


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(one), DIGITS) for one in values)


def _listed(values: Iterable[float]) -> str:
    return " x ".join(f"{one:.4g}" for one in values)
