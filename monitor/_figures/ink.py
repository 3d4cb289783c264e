"""What pictures are drawn with: colours, windows, panels in inches, outlines, letters, and arrays turned to the eye."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW_HU = (-160.0, 640.0)
"""Black and white of a slice, HU: fat to dense mineral, so that a rim and its core still differ."""

SCALE_BAR_MM = 20.0
"""Length of the scale bar."""

LESION_COLOUR, OTHER_COLOUR, SKELETON_COLOUR = "#E69F00", "#56B4E9", "#56B4E9"
"""Okabe and Ito's orange and sky blue: told apart with every kind of colour vision, and bright on black."""

LESION_COLOURS = ("#E69F00", "#D55E00", "#F0E442")
"""Lesions by turns: the warm ones of Okabe and Ito's; the cold ones are left to what is no lesion."""

INK, DIM_INK, PAPER, NOTHING = "#F2F2F2", "#B8BEC4", "#000000", "#1B2430"
"""Text, lesser text, ground, and where the scan has no voxels."""

DPI = 100

Box = tuple[float, float, float, float]
"""Left, bottom, width and height, inches."""


@dataclass(frozen=True)
class Sheet:
    """A picture's figure and its size, inches; boxes and places count from ``floor`` above its lower edge."""

    figure: Figure
    wide: float
    high: float
    floor: float = 0.0

    def panel(self, box: Box) -> Axes:
        """Add a panel."""
        left, bottom, wide, high = box
        place = (left / self.wide, (bottom + self.floor) / self.high, wide / self.wide, high / self.high)
        return self.figure.add_axes(place)

    def write(self, x: float, y: float, text: str, **how: Any) -> None:
        """Write a text, its middle or lower edge at ``y``."""
        self.figure.text(x / self.wide, (y + self.floor) / self.high, text, **how)

    def caption(self, box: Box, text: str) -> None:
        """Write a panel's name above its box."""
        left, bottom, _, high = box
        self.write(left + 0.03, bottom + high + 0.04, text, color=DIM_INK, fontsize=8)


@dataclass(frozen=True)
class Taken:
    """Arrays of one scan with axes along LPS: head last, back last, left last; spacing in the same order.

    ``lesions`` are numbers of lesions, ``left_out`` a ``Reason`` a voxel.
    """

    hu: np.ndarray
    body: np.ndarray
    skeleton: np.ndarray
    lesions: np.ndarray
    left_out: np.ndarray
    spacing_zyx_mm: np.ndarray
    voxel_mm3: float


def grey(hu: np.ndarray, window_hu: tuple[float, float]) -> np.ndarray:
    """Return RGB, (rows, columns, 3) in 0 to 1; NaN becomes the colour of nothing."""
    low, high = window_hu
    level = np.clip((hu - low) / (high - low), 0, 1)[..., None]
    return np.where(np.isnan(level), np.array(to_rgb(NOTHING)), np.repeat(level, 3, axis=-1))


def outline(
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


def letters(ax: Axes, sides: str, *, size: float = 10) -> None:
    """Write the side letters: left, right, top and bottom of the panel."""
    left, right, top, bottom = tuple(sides)
    say(ax, 0.015, 0.5, left, va="center", weight="bold", size=size)
    say(ax, 0.985, 0.5, right, ha="right", va="center", weight="bold", size=size)
    say(ax, 0.5, 0.985, top, ha="center", va="top", weight="bold", size=size)
    say(ax, 0.5, 0.015, bottom, ha="center", weight="bold", size=size)


def say(ax: Axes, x: float, y: float, text: str, *, size: float, **how: Any) -> None:
    """Write light text with a dark edge at a place given in fractions of the panel."""
    edge = [withStroke(linewidth=2.2, foreground="black")]
    ax.text(x, y, text, color=INK, fontsize=size, transform=ax.transAxes, path_effects=edge, **how)


def scale_bar(ax: Axes, *, size: float = 8) -> None:
    """Draw a bar of ``SCALE_BAR_MM`` into the lower left corner of a panel in mm."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x = left + 0.03 * (right - left)
    y = bottom + 0.035 * (top - bottom)
    for colour, width in (("black", 5.0), (INK, 2.6)):
        ax.plot([x, x + SCALE_BAR_MM], [y, y], color=colour, linewidth=width, solid_capstyle="butt")
    edge = [withStroke(linewidth=2.2, foreground="black")]
    label_y = y + 0.018 * (top - bottom)
    ax.text(x, label_y, f"{SCALE_BAR_MM:.0f} mm", color=INK, fontsize=size, va="bottom", path_effects=edge)


def png(figure: Figure, *axes: Axes) -> bytes:
    """Return a figure as a PNG, its panels without axes."""
    for ax in axes:
        ax.set_axis_off()
    out = BytesIO()
    # Without the name of the software, which matplotlib adds, the bytes hang on the values alone.
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None}, pil_kwargs={"compress_level": 4})
    return out.getvalue()


def _axes_to_lps(image: sitk.Image) -> tuple[list[int], list[int]]:
    """Return the order of array axes that gives (S, P, L), and which of the reordered axes to flip."""
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())[::-1]
    order = [next(k for k, letter in enumerate(code) if letter in pair) for pair in ("SI", "PA", "LR")]
    return order, [axis for axis, k in enumerate(order) if code[k] in "IAR"]


def along_lps(image: sitk.Image, values_zyx: np.ndarray) -> np.ndarray:
    """Return a view of an array whose axes grow towards head, back and left."""
    order, flips = _axes_to_lps(image)
    return np.flip(values_zyx.transpose(order), tuple(flips))


def lps_spacing(image: sitk.Image) -> np.ndarray:
    """Return the voxel size, mm, in the order of ``along_lps``."""
    return np.array(image.GetSpacing())[::-1][_axes_to_lps(image)[0]]


def show(ax: Axes, rgb: np.ndarray, mm: tuple[float, float], sides: str) -> None:
    """Show a panel in mm, rows downward, with side letters and a scale bar."""
    rows, columns = rgb.shape[:2]
    ax.imshow(rgb, extent=(0, columns * mm[1], rows * mm[0], 0), interpolation="nearest")
    letters(ax, sides)
    scale_bar(ax)


def pixel_mm(spacing_zyx_mm: np.ndarray, letters: str) -> tuple[float, float]:
    """Return the height and width of a pixel, mm, of the plane that the side letters name."""
    z, y, x = spacing_zyx_mm
    return {"RLHF": (z, x), "APHF": (z, y), "RLAP": (y, x)}[letters]


def blend(rgb: np.ndarray, where: np.ndarray, colour: np.ndarray | tuple[float, ...], share: float) -> np.ndarray:
    """Return RGB with a share of a colour, or of a colour a pixel, laid over where a mask is."""
    return np.where(where[..., None], (1 - share) * rgb + share * np.asarray(colour), rgb)
