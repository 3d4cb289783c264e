"""A lesion in the patient's common frame: three planes through one place, the same at every visit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from monitor import grid
from monitor._figures import ink, lettering, palette
from monitor._figures.lettering import Words

PLANES = (("axial", "RLAP", 0, 1, 1), ("coronal", "RLHF", 0, 2, -1), ("sagittal", "APHF", 1, 2, -1))
"""Name, letters at left, right, top and bottom, the LPS axes along columns and rows, and which way rows go."""

PIXELS, GAP, STRIP = 200, 4, 20
"""Side of a plane, pixels; what is between two; and the strip below that says what was done."""

SCALE_BAR_MM = 10.0
"""Length of the scale bar: it fits the narrowest picture three times."""

RADIUS_MM = 6.0
"""Radius of the dashed circle that marks the place of a lesion that has no piece at a visit."""

OWN_LINE, OTHER_LINE, HALO = 1.3, 1.1, 1.2
"""Width of the lesion's outline, of others', and of the dark border on both sides together, pixels."""

ROUND = 0.35
"""SD by which the steps of a carried mask are rounded, of its smallest voxel: one voxel by itself keeps its outline."""

LEAST_ROUND_PIXELS = 0.8
"""Least SD, pixels: below, an outline has no smooth edge."""

DASH_PIXELS = 4
"""Length of a dash of others' outlines, and of the gap after it."""

CIRCLE_DASHES = 12
"""Dashes around the circle."""

HATCH_PIXELS = 7
"""Distance of the lines over what a visit did not see."""

SHADE = 0.75
"""How much of the scan a dark border hides."""

NOT_SEEN = "not in the field"
"""Written where the visit saw nothing."""

MOST_LETTERS = (11, 6)
"""Largest and smallest letters of the strip, pixels: a long visit_id is written smaller."""


@dataclass(frozen=True)
class Visited:
    """A visit's scan, and the way to it.

    Attributes
    ----------
    image : sitk.Image
        The scan, HU, on its native grid.
    lesions : (z, y, x) int array
        Number of the lesion a voxel, 0 where none is.
    imaged : (z, y, x) bool array or None
        Where the scanner measured; None where it did everywhere.
    to_visit : callable
        Carries points of the frame, (N, 3) LPS mm, to the visit.
    """

    image: sitk.Image
    lesions: np.ndarray
    imaged: np.ndarray | None
    to_visit: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Plane:
    """What a visit shows at the points of one plane, each (rows, columns)."""

    hu: np.ndarray
    lesions: np.ndarray
    seen: np.ndarray


def picture(
    visited: Visited, lesion_id: int, *, centre_mm: np.ndarray, half_width_mm: float, reference_visit_id: str
) -> bytes:
    """Draw three planes through a place of the frame: ``figures.frame_picture``."""
    planes = _sampled(visited, np.asarray(centre_mm, float).reshape(3), half_width_mm)
    mm = 2 * half_width_mm / PIXELS
    sigma = max(ROUND * min(visited.image.GetSpacing()) / mm, LEAST_ROUND_PIXELS)
    # A lesion that no plane meets is there all the same: only one without a piece has the circle.
    gone = not np.any(visited.lesions == lesion_id)
    bar, gap = _bar(SCALE_BAR_MM / mm), np.zeros((PIXELS, GAP), np.uint8)
    parts: list[np.ndarray] = []
    for plane, (name, sides, *_) in zip(planes, PLANES, strict=True):
        words = _words(name, sides, ~plane.seen & (bar == 0))
        parts += [_panel(plane, lesion_id, words, gone=gone, mm=mm, sigma=sigma), gap]
    return palette.png(np.vstack([np.hstack(parts[:-1]), _strip(reference_visit_id)]))


def _points(centre_mm: np.ndarray, half_width_mm: float) -> np.ndarray:
    """Return the points of the planes, (3 * rows * columns, 3) LPS mm of the frame, rows from above."""
    offsets = (np.arange(PIXELS) + 0.5) / PIXELS * 2 * half_width_mm - half_width_mm
    points = np.tile(centre_mm, (len(PLANES), PIXELS, PIXELS, 1))
    for plane, (_, _, across, down, way) in zip(points, PLANES, strict=True):
        plane[..., across] += offsets[None, :]
        plane[..., down] += way * offsets[:, None]
    return points.reshape(-1, 3)


def _sampled(visited: Visited, centre_mm: np.ndarray, half_width_mm: float) -> list[_Plane]:
    """Sample the visit's own voxels at the points of the planes alone: HU linearly, lesions at the nearest voxel."""
    there = visited.to_visit(_points(centre_mm, half_width_mm))
    index = grid.to_index(visited.image, there).T
    size = np.array(visited.image.GetSize())[::-1, None]
    seen = np.all((index >= -0.5) & (index <= size - 0.5), axis=0)
    nearest = tuple(np.clip(np.rint(index), 0, size - 1).astype(np.intp))
    if visited.imaged is not None:
        seen &= visited.imaged[nearest]
    hu = ndimage.map_coordinates(grid.array(visited.image), index, order=1, mode="nearest", output=np.float32)
    lesions = np.where(seen, visited.lesions[nearest], 0)
    shape = (len(PLANES), PIXELS, PIXELS)
    planes = zip(hu.reshape(shape), lesions.reshape(shape), seen.reshape(shape), strict=True)
    return [_Plane(*parts) for parts in planes]


def _panel(
    plane: _Plane, lesion_id: int, words: tuple[Words, ...], *, gone: bool, mm: float, sigma: float
) -> np.ndarray:
    """Return one plane as numbers of the palette."""
    low, high = ink.WINDOW_HU
    level = np.clip((plane.hu - low) / (high - low), 0, 1)
    own = _outline(plane.lesions == lesion_id, OWN_LINE, sigma)
    other = _outline((plane.lesions > 0) & (plane.lesions != lesion_id), OTHER_LINE, sigma, dashed=True)
    if gone:
        own = tuple(np.maximum(*both) for both in zip(own, _circle(RADIUS_MM / mm), strict=True))
    bar = _bar(SCALE_BAR_MM / mm)
    text, edge = lettering.written(plane.hu.shape, words)
    shade = np.where(plane.seen, np.maximum(own[1], other[1]), 0) * SHADE
    level = level * (1 - np.maximum(shade, edge)) + text * 0.95
    found = np.where(plane.seen | (edge > 0), palette.grey(level), _hatch())
    for start, line in ((palette.OTHER, other[0]), (palette.LESION, own[0])):
        drawn = (line > 1 / palette.RAMP) & plane.seen & (text == 0)
        found = np.where(drawn, palette.ramp(start, np.maximum(line, level)), found)
    return np.where(bar > 0, np.where(bar > 1, palette.GREYS - 6, 0), found).astype(np.uint8)


def _outline(mask: np.ndarray, width: float, sigma: float, *, dashed: bool = False) -> tuple[np.ndarray, ...]:
    """Return how much of each pixel a mask's outline covers, and how much its dark border."""
    if not mask.any():
        return np.zeros(mask.shape), np.zeros(mask.shape)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    down, across = np.gradient(soft)
    slope = np.maximum(np.hypot(down, across), 1e-6)
    away = np.abs(soft - 0.5) / slope
    line, halo = _covered(away, width), _covered(away, width + HALO)
    if dashed:
        # Along the line, not across it: whichever axis it follows more.
        rows, columns = np.indices(mask.shape)
        along = np.where(np.abs(down) > np.abs(across), columns, rows)
        dash = along // DASH_PIXELS % 2 == 0
        line, halo = line * dash, halo * dash
    return line, halo


def _circle(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the same of a dashed circle in the middle, radius in pixels."""
    down, across = np.indices((PIXELS, PIXELS)) + 0.5 - PIXELS / 2
    away = np.abs(np.hypot(down, across) - radius)
    turn = np.arctan2(down, across) / (2 * np.pi) % 1
    dashed = (turn * 2 * CIRCLE_DASHES).astype(int) % 2 == 0
    return _covered(away, OWN_LINE) * dashed, _covered(away, OWN_LINE + HALO) * dashed


def _covered(away: np.ndarray, width: float) -> np.ndarray:
    return np.clip(0.5 * width + 0.5 - away, 0, 1)


def _bar(length: float) -> np.ndarray:
    """Return where the scale bar is: 2 its ink, 1 its dark border."""
    found = np.zeros((PIXELS, PIXELS), np.uint8)
    right = 7 + round(length)
    found[PIXELS - 10 : PIXELS - 5, 6 : right + 1] = 1
    found[PIXELS - 9 : PIXELS - 6, 7:right] = 2
    return found


def _hatch() -> np.ndarray:
    rows, columns = np.indices((PIXELS, PIXELS))
    return np.where((rows + columns) % HATCH_PIXELS == 0, palette.HATCH, palette.UNSEEN)


def _words(name: str, sides: str, free: np.ndarray) -> tuple[Words, ...]:
    """Return a plane's name, its letters, the length of its bar, and that nothing was seen where that is ``free``."""
    left, right, top, bottom = tuple(sides)
    middle, last = PIXELS / 2, PIXELS - 4
    found = (
        Words(4, 4, name, 10),
        Words(4, middle, left, 13, "lm", bold=True),
        Words(last, middle, right, 13, "rm", bold=True),
        Words(middle, 3, top, 13, "mt", bold=True),
        Words(middle, last, bottom, 13, "mb", bold=True),
        Words(7, PIXELS - 13, f"{SCALE_BAR_MM:.0f} mm", 10, "lb"),
    )
    place = _room(free & (lettering.written(free.shape, found)[1] == 0)) if free.any() else None
    return (*found, Words(*place, NOT_SEEN, 11, "mm")) if place else found


def _room(free: np.ndarray) -> tuple[float, float] | None:
    """Return the place nearest to the middle around which the words fit in what is free."""
    box = 18, 2 * (int(lettering.width(NOT_SEEN, 11)) // 2) + 8
    places = np.argwhere(ndimage.minimum_filter(free, size=box, mode="constant", cval=0))
    if not len(places):
        return None
    row, column = places[np.argmin(np.abs(places - PIXELS / 2).sum(axis=1))]
    return float(column), float(row)


def _strip(reference_visit_id: str) -> np.ndarray:
    """Return what stands below: the badge that this is resampled, and the window."""
    wide = len(PLANES) * (PIXELS + GAP) - GAP
    low, high = ink.WINDOW_HU
    window = f"HU {low:.0f} to {high:.0f}".replace("-", "−")
    badge = f"resampled to {reference_visit_id}"
    room = wide - lettering.width(window, MOST_LETTERS[0]) - 30
    sizes = range(*MOST_LETTERS, -1)
    size = next((size for size in sizes if lettering.width(badge, size) <= room), MOST_LETTERS[1])
    middle = STRIP / 2
    text, _ = lettering.written((STRIP, wide), (Words(8, middle, badge, size, "lm"),))
    said, _ = lettering.written((STRIP, wide), (Words(wide - 4, middle, window, MOST_LETTERS[0], "rm"),))
    found = palette.grey(said * 0.8)
    right = int(lettering.width(badge, size)) + 14
    found[2:-2, 2:right] = palette.ramp(palette.LESION, 1 - text)[2:-2, 2:right]
    return found
