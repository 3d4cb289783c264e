"""The few types that cross the steps: a scan, a registration, a trend."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from monitor import grid
from monitor.errors import RegistrationError, ScanError, StudyError

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = [
    "Acquisition",
    "Anatomy",
    "Contrast",
    "Crop",
    "Findings",
    "Reason",
    "Registration",
    "RegistrationError",
    "Scan",
    "ScanError",
    "StudyError",
    "Trend",
]


@dataclass(frozen=True)
class Acquisition:
    """How a scan was made; unknown numbers are NaN, unknown words are empty."""

    kvp: float = nan
    kernel: str = ""
    slice_thickness_mm: float = nan
    slice_increment_mm: float = nan
    contrast: str = "unknown"
    manufacturer: str = ""
    ctdi_vol_mgy: float = nan
    dlp_mgy_cm: float = nan


@dataclass(frozen=True)
class Scan:
    """One image on a checked grid.

    ``image`` is a 3D SimpleITK image in LPS mm; for CT its voxels are HU (int16 or float32).
    ``imaged`` is False where the scanner gave padding instead of a measurement (None: nowhere).
    """

    image: sitk.Image
    modality: str = "CT"
    unit: str = "HU"
    acquisition: Acquisition = field(default_factory=Acquisition)
    uids: tuple[str, ...] = ()
    imaged: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """Voxels, shape (z, y, x), as the image stores them; a view that must not be written."""
        return grid.array(self.image)

    @property
    def spacing_zyx_mm(self) -> np.ndarray:
        """Voxel size, shape (3,), mm, in the order of the array's axes; slices by their distance along the normal.

        On a grid that leans (a tilted gantry) the step from slice to slice is longer than that distance, which
        is what a volume or a slice increment is made of: the product of the three is the voxel's volume.
        """
        size = np.array(self.image.GetSpacing())[::-1]
        size[0] = self.voxel_volume_mm3 / (size[1] * size[2]) if grid.is_sheared(self.image) else size[0]
        return size

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of a voxel in mm³, shear included (the determinant, not the product of spacings)."""
        return grid.voxel_volume_mm3(self.image)


@dataclass(frozen=True)
class Anatomy:
    """What of a scan is patient, and what of the patient is normal bone; masks are (z, y, x) bool.

    ``left_out`` is what a reader excluded; ``noise_hu`` is the SD of the noise and ``tissue_hu`` the level
    of soft tissue, both HU and NaN where there was too little soft tissue to tell. ``noise_blocks_hu`` is
    the noise block by block, (bz, by, bx) for blocks of equal size that tile the scan from its first voxel.
    ``field_edge`` is where the scanner's round field cuts the body and HU rise towards its edge; None: nowhere.
    """

    body: np.ndarray
    skeleton: np.ndarray
    left_out: np.ndarray
    noise_hu: float
    tissue_hu: float
    noise_blocks_hu: np.ndarray
    field_edge: np.ndarray | None = None


@dataclass(frozen=True)
class Contrast:
    """Contrast medium found in one scan.

    ``vessels`` is (z, y, x) bool: lumen of vessels, and whatever else is filled with the medium. ``blood_hu`` is
    the level of the vessels' blood, HU, NaN where no enhanced vessel was seen. ``phase`` is iv where vessels are
    ``enhanced``, unknown where only the header says so, else none. ``least_hu`` is the lowest HU that may be called
    mineral beside the medium, NaN where there is none.
    """

    vessels: np.ndarray
    blood_hu: float
    enhanced: bool
    phase: str
    least_hu: float


class Reason(IntEnum):
    """Why something dense is no lesion; 0 is what was never in question."""

    NOT_DENSE = 0
    BONE = 1
    BONE_EDGE = 2
    NOISE = 3
    TOO_SMALL = 4
    METAL = 5
    OUTSIDE_BODY = 6
    CONTRAST = 7
    EXCLUDED = 8
    FIELD_EDGE = 9


@dataclass(frozen=True)
class Findings:
    """Mineral found in one scan.

    ``labels`` is (z, y, x) uint16, one number per connected piece and 0 elsewhere; numbers mean nothing
    beyond this scan. ``threshold_hu`` is the lowest HU of a piece and ``lod_mm3`` the volume of dense
    mineral that is found with 90 % power. ``left_out`` is (z, y, x) uint8, for what is dense and not a lesion the
    ``Reason``; None where nothing was asked (a reader's mask).
    """

    labels: np.ndarray
    threshold_hu: float
    lod_mm3: float
    left_out: np.ndarray | None = None


@dataclass(frozen=True)
class Crop:
    """A piece of mineral in its box of the scan, with some millimetres around; arrays (z, y, x).

    ``matrix`` leads from an index zyx of the box to LPS mm. ``share`` is how much of each voxel lies within the piece's
    outline: where its volume lies; how much that is, table ``lesions`` says. ``seen`` is the same after the scanner's
    blur, and ``tissue_hu`` what the rest of the voxel is: HU = seen * mineral + (1 - seen) * tissue_hu.
    """

    matrix: np.ndarray
    hu: np.ndarray
    share: np.ndarray
    seen: np.ndarray
    tissue_hu: np.ndarray


@dataclass(frozen=True)
class Registration:
    """Where a point of one visit lies in another.

    ``from_baseline(x) = matrix · (x + u(x))`` with the displacement ``u`` sampled on a grid of the
    baseline. ``to_baseline`` is its inverse. The fixed image of the optimisation is the baseline, so
    ``to_baseline`` is the inverse of what ITK hands to a resampler; it is settled here and nowhere else.

    Attributes
    ----------
    matrix : (4, 4) array
        Affine part, baseline mm to visit mm, homogeneous, LPS.
    field_mm : sitk.Image or None
        Displacement ``u`` in mm on a baseline grid, vector float32 or float64; None for an affine map.
    residual_mm : float
        Disagreement of two independently optimised maps, mm; NaN where it was not measured.
    residual_hi_mm : float
        Upper 95 % limit of the mean error, mm; NaN where it was not measured.
    method : str
        The stages that made it, for the record.
    """

    matrix: np.ndarray
    field_mm: sitk.Image | None = None
    residual_mm: float = nan
    residual_hi_mm: float = nan
    method: str = "identity"

    @classmethod
    def identity(cls) -> Registration:
        """Return the map of a scan onto itself."""
        return cls(matrix=np.eye(4), residual_mm=0.0, residual_hi_mm=0.0)

    def from_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Map baseline points, (N, 3) LPS mm, to the visit; extrapolated outside the field."""
        points = np.asarray(points_mm, float).reshape(-1, 3)
        return grid.apply_affine(self.matrix, points + self._displacement(points))

    def to_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        """Map visit points, (N, 3) LPS mm, to the baseline; extrapolated outside the field."""
        goal = grid.apply_affine(np.linalg.inv(self.matrix), np.asarray(points_mm, float).reshape(-1, 3))
        points = goal.copy()
        if self.field_mm is None:
            return points
        for _ in range(_INVERSION_STEPS):
            # Fixed point of x = y - u(x): converges where the field does not fold (Chen 2008, eq. 5).
            step = goal - self._displacement(points) - points
            points += step
            if np.abs(step).max(initial=0.0) < _INVERSION_TOLERANCE_MM:
                break
        return points

    def _displacement(self, points_mm: np.ndarray) -> np.ndarray:
        if self.field_mm is None:
            return np.zeros_like(points_mm)
        return grid.sample_vectors(self.field_mm, points_mm)


_INVERSION_STEPS = 60
"""Upper limit of fixed-point steps; a contraction of 0.8 needs 50 to gain five digits."""

_INVERSION_TOLERANCE_MM = 1e-4
"""A thousandth of the finest voxel in use."""


@dataclass(frozen=True)
class Trend:
    """An estimate with its honest interval.

    ``lo`` and ``hi`` are 95 % limits, NaN where no interval exists; ``interval_kind`` says which they are.
    """

    estimate: float
    se: float
    df: float
    lo: float
    hi: float
    p_value: float
    unit: str
    method: str
    interval_kind: str
    n_patients: int
    n_visits: int
    note: str = ""
