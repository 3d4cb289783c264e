"""Pictures without a browser: values in, bytes of a PNG out, the same bytes for the same values.

Patient's left is on the right of the screen, anterior is up in axial planes and the head is up in the others.
Voxels are shown as they are (nearest neighbour) and in mm, so that anisotropic ones keep their shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath
from scipy import ndimage

from monitor import grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW_HU = (-160.0, 640.0)
"""Black and white of a slice, HU: fat to dense mineral, so that a rim and its core still differ."""

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

SCALE_BAR_MM = 20.0
"""Length of the scale bar."""

RESOLVED_RADIUS_MM = 6.0
"""Radius of the dashed circle that marks where a resolved lesion would be."""

TILE_MM = 16.0
"""Side of a square of the checkerboard."""

NAMED_LESIONS = 24
"""So many lesions, the largest first, get their number into the projections; more would hide them."""

LESION_COLOUR, OTHER_COLOUR, SKELETON_COLOUR = "#E69F00", "#56B4E9", "#56B4E9"
"""Okabe and Ito's orange and sky blue: told apart with every kind of colour vision, and bright on black."""

LESION_COLOURS = ("#E69F00", "#D55E00", "#F0E442", "#CC79A7", "#009E73")
"""Lesions by turns; blue is left to the skeleton, and a number beside each says which it is."""

LEFT_OUT_COLOUR = "#CC79A7"
"""What a reader left out."""

INK, DIM_INK, PAPER, NOTHING = "#F2F2F2", "#B8BEC4", "#000000", "#1B2430"
"""Text, lesser text, ground, and where the scan has no voxels."""

_PIXELS = 480
"""Side of the raster of a slice."""

_TITLE_PT, _TITLE_WIDTH_PT = 12.0, 320.0
"""Size of a slice's title, and the room for it: 5 inches less margins and what hinting may add to its width."""

_DPI = 100

_QC_HEIGHT = 5.2
"""Height of a QC picture, inches."""

_TITLE_Y = 0.967
"""Where a QC picture's title stands, as a fraction of its height."""


@dataclass(frozen=True)
class Overlay:
    """The baseline and a follow-up resampled onto its grid, before and after registration: to look at only.

    ``moved_before`` and ``moved_after`` are HU, (z, y, x) of ``fixed``, NaN where the follow-up saw nothing.
    """

    fixed: sitk.Image
    moved_before: np.ndarray
    moved_after: np.ndarray


@dataclass(frozen=True)
class _Taken:
    """Arrays of one scan with axes along LPS: head last, back last, left last; spacing in the same order."""

    hu: np.ndarray
    body: np.ndarray
    skeleton: np.ndarray
    lesions: np.ndarray
    left_out: np.ndarray
    spacing_zyx_mm: np.ndarray


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
    figure = Figure(figsize=(5.0, 5.3), dpi=_DPI, facecolor=PAPER)
    ax = figure.add_axes((0.0, 0.0, 1.0, 5.0 / 5.3))
    hu = _picked(grid.array(image), index).astype(float)
    ax.imshow(_grey(np.where(inside, hu, np.nan), WINDOW_HU), extent=extent, interpolation="nearest")
    if others is not None:
        _outline(ax, _picked(others, index) & inside, extent, OTHER_COLOUR, style="dashed")
    if lesion is None:
        _resolved(ax)
    else:
        _outline(ax, _picked(lesion, index) & inside, extent, LESION_COLOUR)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    _letters(ax, "RLAP", size=14)
    _scale_bar(ax, size=10)
    low, high = WINDOW_HU
    place = f"z {centre[2]:.1f} mm\nHU {low:.0f} to {high:.0f}".replace("-", "−")
    _say(ax, 0.985, 0.018, place, ha="right", linespacing=1.35, size=10)
    figure.text(0.015, 0.5 * (1 + 5.0 / 5.3), title, color=INK, fontsize=_title_size(title), va="center")
    return _png(figure, ax)


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
    body, skeleton, left_out : (z, y, x) bool arrays
        The patient without the table, the normal bone, and what a reader left out.
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
    figure = Figure(figsize=(width, _QC_HEIGHT), dpi=_DPI, facecolor=PAPER)
    figure.text(0.08 / width, _TITLE_Y, title, color=INK, fontsize=9.5, va="center")
    _taken_panels(figure, taken, width)
    if registration is not None:
        _overlay_panels(figure, registration, width)
    return _png(figure, *figure.axes)


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


def _grey(hu: np.ndarray, window_hu: tuple[float, float]) -> np.ndarray:
    """Return RGB, (rows, columns, 3) in 0 to 1; NaN becomes the colour of nothing."""
    low, high = window_hu
    level = np.clip((hu - low) / (high - low), 0, 1)[..., None]
    return np.where(np.isnan(level), np.array(to_rgb(NOTHING)), np.repeat(level, 3, axis=-1))


def _outline(
    ax: Axes, mask: np.ndarray, extent: tuple[float, float, float, float], colour: str, *, style: str = "solid"
) -> None:
    """Draw the border of a mask along the edges of its voxels, with a dark line beneath."""
    if not mask.any():
        return
    step = (extent[1] - extent[0]) / mask.shape[1]
    along = extent[0] + (np.arange(mask.shape[1]) + 0.5) * step
    width = 1.6 if style == "solid" else 1.1
    line = ax.contour(along, along, mask, levels=[0.5], colors=colour, linewidths=width, linestyles=style)
    line.set_path_effects([withStroke(linewidth=width + 1.4, foreground="black", alpha=0.55)])


def _resolved(ax: Axes) -> None:
    for colour, width in (("black", 3.0), (LESION_COLOUR, 1.6)):
        style = "solid" if colour == "black" else (0, (4, 3))
        ax.add_patch(Circle((0, 0), RESOLVED_RADIUS_MM, fill=False, edgecolor=colour, linewidth=width, linestyle=style))
        ax.plot(0, 0, "+", color=colour, markersize=9, markeredgewidth=width * 0.8)


def _letters(ax: Axes, sides: str, *, size: float = 10) -> None:
    """Write the side letters: left, right, top and bottom of the panel."""
    left, right, top, bottom = tuple(sides)
    _say(ax, 0.015, 0.5, left, va="center", weight="bold", size=size)
    _say(ax, 0.985, 0.5, right, ha="right", va="center", weight="bold", size=size)
    _say(ax, 0.5, 0.985, top, ha="center", va="top", weight="bold", size=size)
    _say(ax, 0.5, 0.015, bottom, ha="center", weight="bold", size=size)


def _say(ax: Axes, x: float, y: float, text: str, *, size: float, **how: Any) -> None:
    """Write light text with a dark edge at a place given in fractions of the panel."""
    edge = [withStroke(linewidth=2.2, foreground="black")]
    ax.text(x, y, text, color=INK, fontsize=size, transform=ax.transAxes, path_effects=edge, **how)


def _scale_bar(ax: Axes, *, size: float = 8) -> None:
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x = left + 0.03 * (right - left)
    y = bottom + 0.035 * (top - bottom)
    for colour, width in (("black", 5.0), (INK, 2.6)):
        ax.plot([x, x + SCALE_BAR_MM], [y, y], color=colour, linewidth=width, solid_capstyle="butt")
    edge = [withStroke(linewidth=2.2, foreground="black")]
    label_y = y + 0.018 * (top - bottom)
    ax.text(x, label_y, f"{SCALE_BAR_MM:.0f} mm", color=INK, fontsize=size, va="bottom", path_effects=edge)


def _png(figure: Figure, *axes: Axes) -> bytes:
    for ax in axes:
        ax.set_axis_off()
    out = BytesIO()
    # Without the name of the software, which matplotlib adds, the bytes hang on the values alone.
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None}, pil_kwargs={"compress_level": 4})
    return out.getvalue()


def _taken(
    image: sitk.Image, body: np.ndarray, skeleton: np.ndarray, lesions: np.ndarray, left_out: np.ndarray | None
) -> _Taken:
    nothing = np.broadcast_to(np.False_, body.shape)
    return _Taken(
        hu=_along_lps(image, grid.array(image)),
        body=_along_lps(image, body),
        skeleton=_along_lps(image, skeleton),
        lesions=_along_lps(image, lesions),
        left_out=_along_lps(image, nothing if left_out is None else left_out),
        spacing_zyx_mm=_lps_spacing(image),
    )


def _axes_to_lps(image: sitk.Image) -> tuple[list[int], list[int]]:
    """Return the order of array axes that gives (S, P, L), and which of the reordered axes to flip."""
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())[::-1]
    order = [next(k for k, letter in enumerate(code) if letter in pair) for pair in ("SI", "PA", "LR")]
    return order, [axis for axis, k in enumerate(order) if code[k] in "IAR"]


def _along_lps(image: sitk.Image, values_zyx: np.ndarray) -> np.ndarray:
    """Return a view of an array whose axes grow towards head, back and left."""
    order, flips = _axes_to_lps(image)
    return np.flip(values_zyx.transpose(order), tuple(flips))


def _lps_spacing(image: sitk.Image) -> np.ndarray:
    return np.array(image.GetSpacing())[::-1][_axes_to_lps(image)[0]]


def _taken_panels(figure: Figure, taken: _Taken, width: float) -> None:
    """Draw coronal and sagittal projection above the axial slice through the largest lesion."""
    names = _largest_labels(taken.lesions)
    z = _slice_of(taken, names)
    panels = (
        ("coronal, maximum of HU", _project(taken, 1), "RLHF", (0.05, 0.1, 3.7, 4.6)),
        ("sagittal, maximum of HU", _project(taken, 2), "APHF", (3.8, 2.5, 3.75, 2.2)),
        (f"axial, slice {z + 1} from the feet", _axial(taken, z), "RLAP", (3.8, 0.1, 3.75, 2.15)),
    )
    for name, rgb, letters, box in panels:
        mm = _pixel_mm(taken.spacing_zyx_mm, letters)
        ax = _panel(figure, box, width)
        _show(ax, rgb, mm, letters)
        _name_lesions(ax, taken, names, letters, z)
        _caption(figure, box, width, name)


def _panel(figure: Figure, box: tuple[float, float, float, float], width: float) -> Axes:
    """Add a panel; its box is left, bottom, width and height in inches."""
    left, bottom, wide, high = box
    return figure.add_axes((left / width, bottom / _QC_HEIGHT, wide / width, high / _QC_HEIGHT))


def _caption(figure: Figure, box: tuple[float, float, float, float], width: float, text: str) -> None:
    """Write a panel's name above its box."""
    left, bottom, _, high = box
    x, y = (left + 0.03) / width, (bottom + high + 0.04) / _QC_HEIGHT
    figure.text(x, y, text, color=DIM_INK, fontsize=8)


def _show(ax: Axes, rgb: np.ndarray, mm: tuple[float, float], letters: str) -> None:
    """Show a panel in mm, rows downward, with side letters and a scale bar."""
    rows, columns = rgb.shape[:2]
    ax.imshow(rgb, extent=(0, columns * mm[1], rows * mm[0], 0), interpolation="nearest")
    _letters(ax, letters)
    _scale_bar(ax)


def _pixel_mm(spacing_zyx_mm: np.ndarray, letters: str) -> tuple[float, float]:
    """Return the height and width of a pixel, mm, of the plane that the side letters name."""
    z, y, x = spacing_zyx_mm
    return {"RLHF": (z, x), "APHF": (z, y), "RLAP": (y, x)}[letters]


def _largest_labels(lesions: np.ndarray) -> list[int]:
    """Return the numbers of the lesions, largest first."""
    counts = np.bincount(lesions[lesions > 0].astype(np.int64).ravel())
    order = np.argsort(counts, kind="stable")[::-1]
    return [int(label) for label in order if counts[label] > 0]


def _slice_of(taken: _Taken, names: list[int]) -> int:
    """Return the slice that holds most of the largest lesion; without lesions, most of the skeleton."""
    wanted = taken.lesions == names[0] if names else taken.skeleton
    return int(np.argmax(np.count_nonzero(wanted, axis=(1, 2))))


def _project(taken: _Taken, axis: int) -> np.ndarray:
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
        left_out=np.any(taken.left_out, axis=axis),
        body=body,
    )
    return rgb[::-1]


def _axial(taken: _Taken, z: int) -> np.ndarray:
    return _tinted(
        taken.hu[z].astype(float),
        WINDOW_HU,
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
    """Return RGB with bone tinted, lesions coloured by number, left-out places coloured and the body outlined."""
    rgb = _grey(hu.astype(float), window_hu)
    rgb = _blend(rgb, skeleton, to_rgb(SKELETON_COLOUR), 0.42)
    rgb = _blend(rgb, left_out, to_rgb(LEFT_OUT_COLOUR), 0.45)
    rgb = _blend(rgb, body & ~ndimage.binary_erosion(body, border_value=1), to_rgb(INK), 0.55)
    colours = np.array([to_rgb(colour) for colour in LESION_COLOURS])
    return _blend(rgb, lesions > 0, colours[(lesions.astype(np.int64) - 1) % len(colours)], 0.88)


def _blend(rgb: np.ndarray, where: np.ndarray, colour: np.ndarray | tuple[float, ...], share: float) -> np.ndarray:
    return np.where(where[..., None], (1 - share) * rgb + share * np.asarray(colour), rgb)


def _name_lesions(ax: Axes, taken: _Taken, names: list[int], letters: str, z: int) -> None:
    """Write the numbers of the largest lesions beside them; in the axial slice, of those it cuts."""
    edge = [withStroke(linewidth=1.8, foreground="black")]
    axial = letters == "RLAP"
    labels = taken.lesions[z : z + 1] if axial else taken.lesions
    boxes = ndimage.find_objects(labels.astype(np.int32, copy=False))
    height, width = _pixel_mm(taken.spacing_zyx_mm, letters)
    for label in names[:NAMED_LESIONS]:
        box = boxes[label - 1] if label <= len(boxes) else None
        if box is None:
            continue
        row, column = (box[1], box[2]) if axial else (box[0], box[2 if letters == "RLHF" else 1])
        middle = (row.start + row.stop) / 2
        y = height * (middle if axial else labels.shape[0] - middle)
        ax.text(width * column.stop + 1.5, y, str(label), color=INK, fontsize=7.5, va="center", path_effects=edge)


def _overlay_panels(figure: Figure, registration: Overlay, width: float) -> None:
    """Draw checkerboards and edges of baseline and follow-up in three planes, before and after registration."""
    fixed = _along_lps(registration.fixed, grid.array(registration.fixed))
    moved = {"before": registration.moved_before, "after": registration.moved_after}
    spacing = _lps_spacing(registration.fixed)
    cut = [int(np.argmax(np.count_nonzero(fixed > BONE_HU, axis=rest))) for rest in ((1, 2), (0, 2), (0, 1))]
    how: dict[str, Any] = {"color": PAPER, "fontsize": 8.5, "va": "center", "weight": "bold"}
    badge = {"boxstyle": "round,pad=0.35", "facecolor": LESION_COLOUR, "edgecolor": "none"}
    figure.text(7.85 / width, _TITLE_Y, "resampled for viewing, never measured", bbox=badge, **how)
    for (when, values), bottom in zip(moved.items(), (2.5, 0.1), strict=True):
        other = _along_lps(registration.fixed, values)
        _caption(figure, (7.75, bottom, 0, 2.2), width, f"baseline and this scan by turns, {when} registration")
        _caption(figure, (13.35, bottom, 0, 2.2), width, f"edges of the baseline on this scan, {when} registration")
        for column, letters in enumerate(("RLHF", "APHF", "RLAP")):
            mm = _pixel_mm(spacing, letters)
            still, here = _plane(fixed, cut, letters), _plane(other, cut, letters)
            left = 7.75 + 1.82 * column
            _show(_panel(figure, (left, bottom, 1.78, 2.15), width), _board(still, here, mm), mm, letters)
            ax = _panel(figure, (left + 5.6, bottom, 1.78, 2.15), width)
            _show(ax, _grey(here.astype(float), BOARD_WINDOW_HU), mm, letters)
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
    cold = _grey(fixed.astype(float), BOARD_WINDOW_HU) * np.array([0.88, 0.96, 1.0])
    warm = _grey(moved.astype(float), BOARD_WINDOW_HU) * np.array([1.0, 0.93, 0.8])
    return np.where(turn[..., None], cold, warm)
