"""Lesions of known size put into a patient's own scan: which, where, and how a scanner would show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monitor import grid
from monitor._burden import outline
from monitor._burden.outline import Blur
from monitor.phantom.lesions import Shares
from monitor.phantom.shapes import Cluster
from monitor.types import Anatomy, Scan

USUAL_MM3 = (60.0, 150.0, 400.0)
"""Volumes of the quarter, half and three quarters of a patient's lesions where there are none, mm³."""

NEAR_LIMIT = 2.0
"""The small lesions are this many times the scan's limit of detection: sought with 90 % power at one time."""

LEAST_OF_LIMIT, MOST_MM3 = 5.0, 1500.0
"""Between so many limits of detection and so many mm³ lie the sizes that follow the patient's own: smaller ones are the
small lesions, larger ones leave no room for several."""

LARGE_OVER_MIDDLE = 2.0
"""The large lesions have at least this many times the volume of the middle ones."""

DENSE_HU = 450.0
"""Contrast of mineral where a patient has none, HU: that of the limit of detection."""

CONTRAST_HU = (300.0, 1000.0)
"""Least and greatest contrast that is put in, HU."""

GROWN, DENSER = 0.2, 1.3
"""Slight growth and shrinking, as a share of the volume; and contrast after over before of what becomes denser."""

PLAN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unchanged", ("small", "middle", "large")),
    ("grown_50", ("middle", "large")),
    ("dissolved", ("small", "middle")),
    ("new", ("small", "middle")),
    ("grown_20", ("middle", "large")),
    ("shrunk_20", ("middle", "large")),
    ("densified", ("middle", "large")),
)
"""Kinds of change, and sizes of the lesions that undergo each; the first of each kind go before the rest."""

RATIOS = {"unchanged": 1.0, "grown_50": 1.5, "grown_20": 1 + GROWN, "shrunk_20": 1 - GROWN, "densified": 1.0}
"""Volume after over before, by kind."""

SKIN_MM, BONE_MM, OTHER_MM, AIR_MM, END_MM = 4.0, 5.0, 6.0, 4.0, 10.0
"""Least gap of an inserted lesion to skin, bone, the patient's own mineral, gas and the end of the field, mm: beyond
the blur, and at the end beyond the patient's move."""

APART_MM = 9.0
"""Least gap between two inserted lesions, mm: neither is in the tissue from which the other's background is told."""

GAS_HU = -300.0
"""Below this there is gas or lung, HU."""

DENSEST_TISSUE_HU = 130.0
"""Nothing is put where denoised HU exceed this: tendon and cartilage reach it."""

FINE_MM = 0.3
"""Largest side of the voxels on which a lesion is drawn, mm."""

REACH_SDS = 3.5
"""How far the blur of a lesion is drawn, in its SDs."""

SEEN = 0.3
"""Share of mineral from which a voxel belongs to the place of a lesion."""


@dataclass(frozen=True)
class State:
    """What a lesion is at a visit: shape, and the HU of its mineral, whatever tissue it takes the place of."""

    shape: Cluster
    hu: float


@dataclass(frozen=True)
class Inserted:
    """A lesion that is put in: its kind of change, where, and what it is before and after; None where it is not.

    ``centre_mm`` is (3,) LPS, ``axes`` (3, 3) its frame as columns, both at the baseline.
    """

    kind: str
    before: State | None
    after: State | None
    centre_mm: np.ndarray
    axes: np.ndarray

    @property
    def radius_mm(self) -> float:
        """Of the ball around it at its largest."""
        return max(_reach_mm(state.shape) for state in (self.before, self.after) if state is not None)


@dataclass(frozen=True)
class Painted:
    """A lesion as it was painted: true volume and excess, and the points that it covers, (N, 3) LPS mm."""

    volume_mm3: float
    excess_hu_mm3: float
    points_mm: np.ndarray


NOTHING = Painted(0.0, 0.0, np.empty((0, 3)))
"""What a lesion is where it is not."""


def planned(
    own_mm3: Sequence[float] | np.ndarray, own_hu: float, *, tissue_hu: float, lod_mm3: float
) -> list[Inserted]:
    """Return the lesions to put into a scan, without their places: first those that tell most.

    Parameters
    ----------
    own_mm3 : (N,) array
        Volumes of the patient's own lesions, mm³.
    own_hu : float
        Their usual HU; NaN where there are none.
    tissue_hu : float
        Level of soft tissue.
    lod_mm3 : float
        The scan's limit of detection, mm³.
    """
    sizes = _sizes(own_mm3, lod_mm3)
    contrast = float(np.clip(own_hu - tissue_hu, *CONTRAST_HU)) if np.isfinite(own_hu) else DENSE_HU
    # The limit of detection is stated for balls of its own contrast.
    contrasts = {"small": DENSE_HU, "middle": contrast, "large": contrast}
    turns = max(len(names) for _, names in PLAN)
    order = [(kind, names[turn]) for turn in range(turns) for kind, names in PLAN if turn < len(names)]
    found = []
    for number, (kind, name) in enumerate(order):
        form = BALL if name == "small" else FORMS[number % len(FORMS)]
        found.append(_made(kind, form, sizes[name], (tissue_hu, contrasts[name])))
    return found


def _sizes(own_mm3: Sequence[float] | np.ndarray, lod_mm3: float) -> dict[str, float]:
    _, middle, large = np.percentile(own_mm3, (25, 50, 75)) if len(own_mm3) else USUAL_MM3
    least = min(LEAST_OF_LIMIT * lod_mm3, MOST_MM3 / LARGE_OVER_MIDDLE)
    middle = float(np.clip(middle, least, MOST_MM3 / LARGE_OVER_MIDDLE))
    large = float(np.clip(large, LARGE_OVER_MIDDLE * middle, MOST_MM3))
    return {"small": NEAR_LIMIT * lod_mm3, "middle": middle, "large": large}


def _made(kind: str, form: Cluster, volume_mm3: float, levels_hu: tuple[float, float]) -> Inserted:
    """Return a lesion of a form and volume; ``levels_hu`` are soft tissue and the contrast above it."""
    tissue, contrast = levels_hu
    first = State(_scaled(form, volume_mm3), tissue + contrast)
    nowhere, frame = np.zeros(3), np.eye(3)
    if kind == "dissolved":
        return Inserted(kind, first, None, nowhere, frame)
    if kind == "new":
        return Inserted(kind, None, first, nowhere, frame)
    hu = tissue + contrast * (DENSER if kind == "densified" else 1.0)
    return Inserted(kind, first, State(_scaled(form, volume_mm3 * RATIOS[kind]), hu), nowhere, frame)


BALL = Cluster(((0.0, 0.0, 0.0),), (1.0,))
"""One ball."""

FORMS = (
    BALL,
    Cluster(((-0.45, 0.0, 0.0), (0.65, 0.0, 0.0)), (1.0, 0.8), ((0, 1),)),
    Cluster(((0.0, 0.0, 0.0), (1.15, 0.3, 0.0), (-1.15, 0.3, 0.3)), (1.0, 0.75, 0.7), ((0, 1), (0, 2))),
)
"""Forms of what is put in, of any size: one, two and three lobes."""


def _scaled(form: Cluster, volume_mm3: float) -> Cluster:
    by = (volume_mm3 / form.volume_mm3) ** (1 / 3)
    centres = tuple((x * by, y * by, z * by) for x, y, z in form.centres_mm)
    return Cluster(centres, tuple(radius * by for radius in form.radii_mm), form.edges)


def _reach_mm(shape: Cluster) -> float:
    ends = np.linalg.norm(np.array(shape.centres_mm), axis=1) + np.array(shape.radii_mm)
    return float(ends.max())


def clearance_mm(scan: Scan, found: Anatomy, tissue_hu: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return the radius of the ball that may be put at each voxel, (z, y, x) float32 mm; below 0 none may.

    Parameters
    ----------
    scan, found : Scan, Anatomy
        The baseline, and what was told in it.
    tissue_hu : (z, y, x) array
        The scan without its noise.
    taken : (z, y, x) bool
        The patient's own mineral, vessels with contrast medium and what a reader excluded.
    """
    spacing = scan.spacing_zyx_mm
    measured = np.ones(taken.shape, bool) if scan.imaged is None else scan.imaged
    edge = np.zeros(taken.shape, bool) if found.field_edge is None else found.field_edge
    outside = ~found.body | ~measured | edge
    clear = np.full(taken.shape, np.inf, np.float32)
    for mask, gap in (
        (outside, SKIN_MM),
        (found.skeleton, BONE_MM),
        (taken, OTHER_MM),
        (found.body & (tissue_hu < GAS_HU), AIR_MM),
    ):
        np.minimum(clear, grid.distance_mm(mask, spacing) - gap, out=clear)
    for axis, (size, step) in enumerate(zip(taken.shape, spacing, strict=True)):
        place = np.arange(size)
        to_end = (np.minimum(place, size - 1 - place) + 0.5) * step - END_MM
        np.minimum(clear, to_end.reshape([-1 if axis == own else 1 for own in range(3)]), out=clear)
    clear[tissue_hu > DENSEST_TISSUE_HU] = -1
    return clear


def placed(scan: Scan, wanted: Iterable[Inserted], clear_mm: np.ndarray, rng: np.random.Generator) -> list[Inserted]:
    """Give lesions their places, the first ones first, each apart from the others; those without room are left out."""
    clear = clear_mm.copy()
    found = []
    for one in wanted:
        index = np.argwhere(clear >= one.radius_mm)
        if not len(index):
            continue
        middle = index[rng.integers(len(index))] + rng.uniform(-0.5, 0.5, 3)
        axes = Rotation.random(rng=rng).as_matrix()
        found.append(replace(one, centre_mm=grid.to_mm(scan.image, middle)[0], axes=axes))
        sizes = zip(clear.shape, middle, scan.spacing_zyx_mm, strict=True)
        z, y, x = ((np.arange(size) - at) * step for size, at, step in sizes)
        square = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
        np.minimum(clear, np.sqrt(square) - one.radius_mm - APART_MM, out=clear)
    return found


def paint(
    values: np.ndarray, tissue_hu: np.ndarray, image: sitk.Image, one: tuple[State, np.ndarray, np.ndarray], blur: Blur
) -> Painted:
    """Put a lesion into ``values``, (z, y, x) float, as the scanner shows it: mineral takes the place of tissue.

    Each voxel becomes g m + (1 - g) b and its noise; g is the lesion drawn on fine voxels, blurred, and averaged over
    the voxel and the width of the slice; b is ``tissue_hu``. Shares are scaled so that their sum is the volume of the
    shape, which corrects the drawing by less than 1 %.

    Parameters
    ----------
    one : (State, (3,) array, (3, 3) array)
        What it is, the middle of its frame (LPS mm), and the frame's axes as columns.
    """
    state, centre_mm, axes = one
    shares = _shares(state.shape, centre_mm, axes, image, blur)
    voxel = grid.voxel_volume_mm3(image)
    there, (share,) = shares.clip(values.shape)
    added = share * (state.hu - tissue_hu[there])
    values[there] += added
    index = np.argwhere(share >= min(SEEN, float(share.max()))) + [part.start for part in there]
    return Painted(state.shape.volume_mm3, float(added.sum(dtype=float) * voxel), grid.to_mm(image, index))


def _shares(shape: Cluster, centre_mm: np.ndarray, axes: np.ndarray, image: sitk.Image, blur: Blur) -> Shares:
    """Return how much of each voxel of a box a lesion fills, blurred."""
    matrix = grid.affine(image)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    spacing[0] = grid.voxel_volume_mm3(image) / (spacing[1] * spacing[2])
    wide = np.array([REACH_SDS * blur.across_mm + blur.slice_mm, *[REACH_SDS * blur.sigma_mm] * 2])
    half = np.abs(np.linalg.inv(matrix)[:3, :3]) @ np.full(3, _reach_mm(shape)) + wide / spacing + 1
    middle = grid.to_index(image, centre_mm)[0]
    start, stop = np.floor(middle - half).astype(int), np.ceil(middle + half).astype(int) + 1
    fold = np.maximum(1, np.ceil(spacing / FINE_MM)).astype(int)
    places = [
        low - 0.5 + (np.arange((high - low) * count) + 0.5) / count
        for low, high, count in zip(start, stop, fold, strict=True)
    ]
    index = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
    points = (grid.to_mm(image, index.reshape(-1, 3)) - centre_mm) @ axes
    x, y, z = points.T.reshape(3, *index.shape[:3])
    inside = shape.zones((x, y, z))[0]
    share = outline.blurred(inside, fold, spacing, blur)
    volume = float(share.sum(dtype=float) * np.prod(spacing))
    return Shares(start, [np.minimum(share * np.float32(shape.volume_mm3 / volume), 1.0)])


def own_lesions(scan: Scan, mineral: np.ndarray) -> tuple[np.ndarray, float]:
    """Return volumes (mm³) of the pieces of a patient's own mineral, and the usual HU of their brighter voxels."""
    labels, count = ndimage.label(mineral, np.ones((3, 3, 3)))
    if not count:
        return np.empty(0), float("nan")
    volumes = np.bincount(labels.ravel())[1:] * scan.voxel_volume_mm3
    bright = [float(np.percentile(scan.array[box][labels[box] == label], 90))
              for label, box in enumerate(ndimage.find_objects(labels), start=1)]  # fmt: skip
    return volumes, float(np.median(bright))
