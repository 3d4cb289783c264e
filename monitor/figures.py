"""Pictures without a browser: values in, bytes of a PNG out, the same bytes for the same values.

Patient's left is on the right of the screen, anterior is up in axial planes and the head is up in the others.
Voxels are shown as they are (nearest neighbour) and in mm, so that anisotropic ones keep their shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath
from scipy import ndimage

from monitor import grid
from monitor._figures import doubts, frame, ink
from monitor._figures.doubts import Piece
from monitor._figures.frame import Visited
from monitor._figures.ink import LESION_COLOUR, LESION_COLOURS, OTHER_COLOUR, SKELETON_COLOUR, Sheet, Taken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Overlay", "Visited", "frame_picture", "left_out_amounts", "lesion_picture", "qc_picture"]

MIP_WINDOW_HU = (-100.0, 900.0)
"""Black and white of a projection, HU."""

BOARD_WINDOW_HU = (-160.0, 360.0)
"""Black and white of a checkerboard, HU: borders of fat, muscle and bone tell a misfit."""

BONE_HU = 150.0
"""Where the edge of bone is drawn, HU, and what counts as bone where a plane through much of it is looked for."""

SKIN_HU = -300.0
"""Between air and skin, HU: where the edge of the body is drawn."""

EDGE_SIGMA_PIXELS = 0.8
"""SD of the blur before edges are drawn, pixels: noise draws islands."""

RESOLVED_RADIUS_MM = 6.0
"""Radius of the dashed circle that marks where a resolved lesion would be."""

TILE_MM = 16.0
"""Side of a square of the checkerboard."""

NAMED_LESIONS = 24
"""So many lesions, the largest first, get their number into the projections; more would hide them."""

_PIXELS = 480
"""Side of the raster of a slice."""

_TITLE_PT, _TITLE_WIDTH_PT = 12.0, 320.0
"""Size of a slice's title, and the room for it: 5 inches less margins and what hinting may add to its width."""

_QC_HEIGHT = 5.2
"""Height of a QC picture, inches."""

_TITLE_Y = 5.03
"""Where a QC picture's title stands, inches above the panels' lower edge."""


@dataclass(frozen=True)
class Overlay:
    """The baseline and a follow-up resampled onto its grid, before and after registration: to look at only.

    ``moved_before`` and ``moved_after`` are HU, (z, y, x) of ``fixed``, NaN where the follow-up saw nothing.
    """

    fixed: sitk.Image
    moved_before: np.ndarray
    moved_after: np.ndarray


def lesion_picture(
    image: sitk.Image,
    lesion: np.ndarray | None,
    *,
    centre_mm: np.ndarray,
    others: np.ndarray | None = None,
    half_width_mm: float = 40.0,
    title: str = "",
) -> bytes:
    """Draw the axial slice through a lesion.

    Parameters
    ----------
    image : sitk.Image
        The scan, HU, on its native grid.
    lesion : (z, y, x) bool array or None
        The lesion; None where it is resolved, and then a dashed circle shows where it would be.
    centre_mm : (3,) array
        LPS point in the middle of the picture. The slice is the one with most of the lesion, else this point's.
    others : (z, y, x) bool array, optional
        Other lesions, outlined thin and dashed.
    half_width_mm : float
        Half the width and height of the picture.
    title : str
        One line above: pseudonym, visit, date, lesion.

    Returns
    -------
    bytes
        A PNG.
    """
    centre = np.asarray(centre_mm, float).reshape(3).copy()
    if lesion is not None and lesion.any():
        centre[2] = _fullest_z_mm(image, lesion)
    index, inside = _axial_raster(image, centre, half_width_mm)
    extent = (-half_width_mm, half_width_mm, half_width_mm, -half_width_mm)
    figure = Figure(figsize=(5.0, 5.3), dpi=ink.DPI, facecolor=ink.PAPER)
    ax = figure.add_axes((0.0, 0.0, 1.0, 5.0 / 5.3))
    hu = _picked(grid.array(image), index).astype(float)
    ax.imshow(ink.grey(np.where(inside, hu, np.nan), ink.WINDOW_HU), extent=extent, interpolation="nearest")
    if others is not None:
        ink.outline(ax, _picked(others, index) & inside, extent, OTHER_COLOUR, style="dashed")
    if lesion is None:
        _resolved(ax)
    else:
        ink.outline(ax, _picked(lesion, index) & inside, extent, LESION_COLOUR)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    ink.letters(ax, "RLAP", size=14)
    ink.scale_bar(ax, size=10)
    low, high = ink.WINDOW_HU
    place = f"z {centre[2]:.1f} mm\nHU {low:.0f} to {high:.0f}".replace("-", "−")
    ink.say(ax, 0.985, 0.018, place, ha="right", linespacing=1.35, size=10)
    figure.text(0.015, 0.5 * (1 + 5.0 / 5.3), title, color=ink.INK, fontsize=_title_size(title), va="center")
    return ink.png(figure, ax)


def frame_picture(
    visited: Visited, lesion_id: int, *, centre_mm: np.ndarray, half_width_mm: float, reference_visit_id: str
) -> bytes:
    """Draw axial, coronal and sagittal planes through a place of the patient's common frame, as one visit shows it.

    All visits of a lesion that are drawn with the same centre and width show the same points of the patient, by the
    registration, in the same window. The picture is resampled, and says so.

    Parameters
    ----------
    visited : Visited
        The scan, its lesions, and the way from the frame to it.
    lesion_id : int
        Outlined solid, others dashed. Where the scan has none of it, a dashed circle marks its place.
    centre_mm : (3,) array
        LPS point of the frame in the middle of all planes.
    half_width_mm : float
        Half the width and height of each plane.
    reference_visit_id : str
        The visit whose frame it is, for the badge.

    Returns
    -------
    bytes
        A PNG of three planes side by side; what the visit did not see is hatched.
    """
    return frame.picture(
        visited, lesion_id, centre_mm=centre_mm, half_width_mm=half_width_mm, reference_visit_id=reference_visit_id
    )


def qc_picture(
    image: sitk.Image,
    *,
    body: np.ndarray,
    skeleton: np.ndarray,
    lesions: np.ndarray,
    left_out: np.ndarray | None = None,
    registration: Overlay | None = None,
    title: str = "",
) -> bytes:
    """Draw what of a scan was taken for what, and how well it lies on the baseline.

    Parameters
    ----------
    image : sitk.Image
        The scan, HU.
    body, skeleton : (z, y, x) bool arrays
        The patient without the table, and the normal bone.
    left_out : (z, y, x) uint8 array, optional
        The ``Reason`` why something dense is no lesion. A strip below shows how much each reason took, and the
        largest pieces that a reader may see otherwise; they are lettered in the panels.
    lesions : (z, y, x) int array
        Label is the lesion's number.
    registration : Overlay, optional
        The images to show beside, on a checkerboard and under the baseline's edges; resampled, and the picture says so.
    title : str
        One line above.

    Returns
    -------
    bytes
        A PNG.
    """
    taken = _taken(image, body, skeleton, lesions, left_out)
    width = 7.6 if registration is None else 18.8
    floor = 0.0 if left_out is None else doubts.STRIP
    figure = Figure(figsize=(width, _QC_HEIGHT + floor), dpi=ink.DPI, facecolor=ink.PAPER)
    sheet = Sheet(figure, width, _QC_HEIGHT + floor, floor)
    sheet.write(0.08, _TITLE_Y, title, color=ink.INK, fontsize=9.5, va="center")
    shown = [] if left_out is None else doubts.doubtful(taken, doubts.room(width))
    _taken_panels(sheet, taken, shown)
    if registration is not None:
        _overlay_panels(sheet, registration)
    if left_out is not None:
        doubts.strip(sheet, taken, shown)
    return ink.png(figure, *figure.axes)


def left_out_amounts(left_out: np.ndarray, voxel_mm3: float) -> dict[str, dict[str, float]]:
    """Return what the legend of the QC picture says of each reason, by its name in small letters: pieces and mm3.

    Parameters
    ----------
    left_out : (z, y, x) uint8 array
        A ``Reason`` a voxel.
    voxel_mm3 : float
        Volume of a voxel.
    """
    found = doubts.amounts(left_out, voxel_mm3)
    return {reason.name.lower(): {"pieces": pieces, "mm3": mm3} for reason, (pieces, mm3) in found.items()}


def _title_size(title: str) -> float:
    """Return the size, points, at which a slice's title fits: a long one is set smaller, never cut."""
    if not title.strip():
        return _TITLE_PT
    width = TextPath((0, 0), title, size=_TITLE_PT).get_extents().width
    return _TITLE_PT * min(1.0, _TITLE_WIDTH_PT / width)


def _fullest_z_mm(image: sitk.Image, lesion: np.ndarray) -> float:
    """Return the height, LPS z, of the slice that holds most of the lesion."""
    z = grid.to_mm(image, np.argwhere(lesion))[:, 2]
    step = min(image.GetSpacing())
    levels, counts = np.unique(np.round(z / step), return_counts=True)
    return float(np.median(z[np.round(z / step) == levels[np.argmax(counts)]]))


def _axial_raster(image: sitk.Image, centre_mm: np.ndarray, half_width_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest voxels, (3, rows, columns) zyx, of a square axial raster, and which lie in the image."""
    offsets = (np.arange(_PIXELS) + 0.5) / _PIXELS * 2 * half_width_mm - half_width_mm
    points = np.empty((_PIXELS, _PIXELS, 3))
    points[..., 0] = centre_mm[0] + offsets[None, :]
    points[..., 1] = centre_mm[1] + offsets[:, None]
    points[..., 2] = centre_mm[2]
    index = np.round(grid.to_index(image, points.reshape(-1, 3))).astype(int).T.reshape(3, _PIXELS, _PIXELS)
    size = np.array(image.GetSize())[::-1].reshape(3, 1, 1)
    return np.clip(index, 0, size - 1), np.all((index >= 0) & (index < size), axis=0)


def _picked(values_zyx: np.ndarray, index: np.ndarray) -> np.ndarray:
    return values_zyx[tuple(index)]


def _resolved(ax: Axes) -> None:
    for colour, width in (("black", 3.0), (LESION_COLOUR, 1.6)):
        style = "solid" if colour == "black" else (0, (4, 3))
        ax.add_patch(Circle((0, 0), RESOLVED_RADIUS_MM, fill=False, edgecolor=colour, linewidth=width, linestyle=style))
        ax.plot(0, 0, "+", color=colour, markersize=9, markeredgewidth=width * 0.8)


def _taken(
    image: sitk.Image, body: np.ndarray, skeleton: np.ndarray, lesions: np.ndarray, left_out: np.ndarray | None
) -> Taken:
    nothing = np.broadcast_to(np.uint8(0), body.shape)
    return Taken(
        hu=ink.along_lps(image, grid.array(image)),
        body=ink.along_lps(image, body),
        skeleton=ink.along_lps(image, skeleton),
        lesions=ink.along_lps(image, lesions),
        left_out=ink.along_lps(image, nothing if left_out is None else left_out),
        spacing_zyx_mm=ink.lps_spacing(image),
        voxel_mm3=grid.voxel_volume_mm3(image),
    )


def _taken_panels(sheet: Sheet, taken: Taken, shown: list[Piece]) -> None:
    """Draw coronal and sagittal projection above the axial slice through the largest lesion."""
    names = _largest_labels(taken.lesions)
    z = _slice_of(taken, names)
    panels = (
        ("coronal, maximum of HU", _project(taken, 1), "RLHF", (0.05, 0.1, 3.7, 4.6)),
        ("sagittal, maximum of HU", _project(taken, 2), "APHF", (3.8, 2.5, 3.75, 2.2)),
        (f"axial, slice {z + 1} from the feet", _axial(taken, z), "RLAP", (3.8, 0.1, 3.75, 2.15)),
    )
    for name, rgb, letters, box in panels:
        mm = ink.pixel_mm(taken.spacing_zyx_mm, letters)
        ax = sheet.panel(box)
        ink.show(ax, rgb, mm, letters)
        _name_lesions(ax, taken, names, letters, z)
        _letter_pieces(ax, taken, shown, letters, z)
        sheet.caption(box, name)


def _largest_labels(lesions: np.ndarray) -> list[int]:
    """Return the numbers of the lesions, largest first."""
    counts = np.bincount(lesions[lesions > 0].astype(np.int64).ravel())
    order = np.argsort(counts, kind="stable")[::-1]
    return [int(label) for label in order if counts[label] > 0]


def _slice_of(taken: Taken, names: list[int]) -> int:
    """Return the slice that holds most of the largest lesion; without lesions, most of the skeleton."""
    wanted = taken.lesions == names[0] if names else taken.skeleton
    return int(np.argmax(np.count_nonzero(wanted, axis=(1, 2))))


def _project(taken: Taken, axis: int) -> np.ndarray:
    """Return RGB of a projection along an axis, head up: HU of the body, what lies outside it dimmed, and tints."""
    low = np.int16(MIP_WINDOW_HU[0]) if taken.hu.dtype.kind == "i" else taken.hu.dtype.type(MIP_WINDOW_HU[0])
    body = np.any(taken.body, axis=axis)
    within = np.where(taken.body, taken.hu, low).max(axis=axis)
    grey = np.where(body, within, low + 0.3 * (np.maximum(taken.hu.max(axis=axis), low) - low))
    rgb = _tinted(
        grey,
        MIP_WINDOW_HU,
        skeleton=np.any(taken.skeleton, axis=axis),
        lesions=taken.lesions.max(axis=axis),
        left_out=doubts.through(taken.left_out, axis),
        body=body,
    )
    return rgb[::-1]


def _axial(taken: Taken, z: int) -> np.ndarray:
    return _tinted(
        taken.hu[z].astype(float),
        ink.WINDOW_HU,
        skeleton=taken.skeleton[z],
        lesions=taken.lesions[z],
        left_out=taken.left_out[z],
        body=taken.body[z],
    )


def _tinted(
    hu: np.ndarray,
    window_hu: tuple[float, float],
    *,
    skeleton: np.ndarray,
    lesions: np.ndarray,
    left_out: np.ndarray,
    body: np.ndarray,
) -> np.ndarray:
    """Return RGB with bone tinted, lesions coloured by number, what was left out by reason, and the body outlined."""
    rgb = ink.grey(hu.astype(float), window_hu)
    rgb = ink.blend(rgb, skeleton, to_rgb(SKELETON_COLOUR), 0.42)
    rgb = doubts.tinted(rgb, left_out)
    rgb = ink.blend(rgb, body & ~ndimage.binary_erosion(body, border_value=1), to_rgb(ink.INK), 0.55)
    colours = np.array([to_rgb(colour) for colour in LESION_COLOURS])
    return ink.blend(rgb, lesions > 0, colours[(lesions.astype(np.int64) - 1) % len(colours)], 0.88)


def _name_lesions(ax: Axes, taken: Taken, names: list[int], letters: str, z: int) -> None:
    """Write the numbers of the largest lesions beside them; in the axial slice, of those it cuts."""
    edge = [withStroke(linewidth=1.8, foreground="black")]
    axial = letters == "RLAP"
    labels = taken.lesions[z : z + 1] if axial else taken.lesions
    boxes = ndimage.find_objects(labels.astype(np.int32, copy=False))
    height, width = ink.pixel_mm(taken.spacing_zyx_mm, letters)
    for label in names[:NAMED_LESIONS]:
        box = boxes[label - 1] if label <= len(boxes) else None
        if box is None:
            continue
        row, column = (box[1], box[2]) if axial else (box[0], box[2 if letters == "RLHF" else 1])
        middle = (row.start + row.stop) / 2
        y = height * (middle if axial else labels.shape[0] - middle)
        ax.text(width * column.stop + 1.5, y, str(label), color=ink.INK, fontsize=7.5, va="center", path_effects=edge)


def _letter_pieces(ax: Axes, taken: Taken, shown: list[Piece], letters: str, z: int) -> None:
    """Write the letters of the tiles beside their pieces; in the axial slice, of those it cuts."""
    edge = [withStroke(linewidth=1.8, foreground="black")]
    height, width = ink.pixel_mm(taken.spacing_zyx_mm, letters)
    axial, across = letters == "RLAP", 1 if letters == "APHF" else 2
    for place, piece in enumerate(shown):
        if axial and not piece.box[0].start <= z < piece.box[0].stop:
            continue
        middle = piece.middle() + 0.5
        x, y = width * piece.box[across].stop + 1.0, height * (middle[1] if axial else taken.hu.shape[0] - middle[0])
        how: dict[str, Any] = {"fontsize": 7, "weight": "bold", "va": "center", "path_effects": edge}
        ax.text(x, y, doubts.letter(place), color=doubts.COLOURS[piece.reason], **how)


def _overlay_panels(sheet: Sheet, registration: Overlay) -> None:
    """Draw checkerboards and edges of baseline and follow-up in three planes, before and after registration."""
    fixed = ink.along_lps(registration.fixed, grid.array(registration.fixed))
    moved = {"before": registration.moved_before, "after": registration.moved_after}
    spacing = ink.lps_spacing(registration.fixed)
    cut = [int(np.argmax(np.count_nonzero(fixed > BONE_HU, axis=rest))) for rest in ((1, 2), (0, 2), (0, 1))]
    how: dict[str, Any] = {"color": ink.PAPER, "fontsize": 8.5, "va": "center", "weight": "bold"}
    badge = {"boxstyle": "round,pad=0.35", "facecolor": LESION_COLOUR, "edgecolor": "none"}
    sheet.write(7.85, _TITLE_Y, "resampled for viewing, never measured", bbox=badge, **how)
    for (when, values), bottom in zip(moved.items(), (2.5, 0.1), strict=True):
        other = ink.along_lps(registration.fixed, values)
        sheet.caption((7.75, bottom, 0, 2.2), f"baseline and this scan by turns, {when} registration")
        sheet.caption((13.35, bottom, 0, 2.2), f"edges of the baseline on this scan, {when} registration")
        for column, letters in enumerate(("RLHF", "APHF", "RLAP")):
            mm = ink.pixel_mm(spacing, letters)
            still, here = _plane(fixed, cut, letters), _plane(other, cut, letters)
            left = 7.75 + 1.82 * column
            ink.show(sheet.panel((left, bottom, 1.78, 2.15)), _board(still, here, mm), mm, letters)
            ax = sheet.panel((left + 5.6, bottom, 1.78, 2.15))
            ink.show(ax, ink.grey(here.astype(float), BOARD_WINDOW_HU), mm, letters)
            _edges(ax, still, mm)


def _edges(ax: Axes, plane: np.ndarray, mm: tuple[float, float]) -> None:
    """Draw where the skin and the bones of a plane lie, rows as they are shown."""
    soft = ndimage.gaussian_filter(plane.astype(float), EDGE_SIGMA_PIXELS)
    rows, columns = ((np.arange(n) + 0.5) * step for n, step in zip(plane.shape, mm, strict=True))
    for level, colour in ((SKIN_HU, SKELETON_COLOUR), (BONE_HU, LESION_COLOUR)):
        if soft.min() < level < soft.max():
            ax.contour(columns, rows, soft, levels=[level], colors=colour, linewidths=0.8, linestyles="solid")


def _plane(values: np.ndarray, cut: list[int], letters: str) -> np.ndarray:
    """Return one plane, rows as they are shown."""
    z, y, x = cut
    return {"RLHF": values[::-1, y, :], "APHF": values[::-1, :, x], "RLAP": values[z]}[letters]


def _board(fixed: np.ndarray, moved: np.ndarray, mm: tuple[float, float]) -> np.ndarray:
    """Return RGB of squares by turns from two planes; the moved one is slightly warm, so that they can be told."""
    rows, columns = (np.arange(n) * step // TILE_MM for n, step in zip(fixed.shape, mm, strict=True))
    turn = (rows[:, None] + columns[None, :]) % 2 == 0
    cold = ink.grey(fixed.astype(float), BOARD_WINDOW_HU) * np.array([0.88, 0.96, 1.0])
    warm = ink.grey(moved.astype(float), BOARD_WINDOW_HU) * np.array([1.0, 0.93, 0.8])
    return np.where(turn[..., None], cold, warm)
