"""What is dense and was not taken for a lesion: how much for each reason, and the strip that shows the doubtful."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from scipy import ndimage

from monitor._figures import ink
from monitor._figures.ink import Sheet, Taken
from monitor.types import Reason
from monitor.words import REASONS, number

COLOURS = {
    Reason.BONE: ink.SKELETON_COLOUR,
    Reason.BONE_EDGE: "#0072B2",
    Reason.NOISE: "#CC79A7",
    Reason.TOO_SMALL: "#009E73",
    Reason.METAL: "#FFFFFF",
    Reason.OUTSIDE_BODY: "#5F6A75",
    Reason.CONTRAST: "#8CE0C5",
    Reason.EXCLUDED: "#999999",
    Reason.FIELD_EDGE: "#E9C6DA",
}
"""The cold ones and grey of Okabe and Ito's, two of them once more in a lighter tone: no lesion has any of these."""

DOUBTFUL = (
    Reason.TOO_SMALL,
    Reason.NOISE,
    Reason.BONE_EDGE,
    Reason.BONE,
    Reason.CONTRAST,
    Reason.METAL,
    Reason.FIELD_EDGE,
)
"""Reasons of which single pieces are shown, in this order: those that a reader may see otherwise."""

APART_MM3 = 4_000.0
"""Bone in a piece of its own smaller than this is shown as doubtful, mm³: a large one has the shape of a bone."""

TILE_HALF_MM, ROOM = 20.0, 1.6
"""Half the side of a tile, mm, and how much larger than its piece a tile is at least."""

STRIP = 4.25
"""Height of the strip, inches."""

_LEGEND, _TILE, _STEP = 2.92, 1.48, (1.55, 1.97)
"""Width of the legend, side of a tile, and the steps from tile to tile, across and down, inches."""

_TILE_PIXELS = 150

_FRONT = (
    Reason.OUTSIDE_BODY,
    Reason.EXCLUDED,
    Reason.BONE_EDGE,
    Reason.BONE,
    Reason.FIELD_EDGE,
    Reason.METAL,
    Reason.CONTRAST,
    Reason.NOISE,
    Reason.TOO_SMALL,
)
"""Where several lie behind each other in a projection the later one is seen: bone has an edge all around."""


@dataclass(frozen=True)
class Piece:
    """A connected piece of one reason: its box in arrays along LPS, and its mask there."""

    reason: Reason
    box: tuple[slice, ...]
    mask: np.ndarray
    mm3: float

    @property
    def fullest(self) -> int:
        """Slice that holds most of it."""
        return int(self.box[0].start + np.argmax(np.count_nonzero(self.mask, axis=(1, 2))))

    def middle(self) -> np.ndarray:
        """Return the middle of its box, voxels, (3,)."""
        return np.array([(part.start + part.stop - 1) / 2 for part in self.box])


def amounts(left_out: np.ndarray, voxel_mm3: float) -> dict[Reason, tuple[int, float]]:
    """Return pieces and volume, mm³, of each reason.

    Parameters
    ----------
    left_out : (z, y, x) uint8 array
        A ``Reason`` a voxel.
    voxel_mm3 : float
        Volume of a voxel.
    """
    found = dict.fromkeys(REASONS, (0, 0.0))
    for reason, _, labels in _labelled(left_out):
        found[reason] = (int(labels.max()), float(np.count_nonzero(labels) * voxel_mm3))
    return found


def doubtful(taken: Taken, count: int) -> list[Piece]:
    """Return the pieces to show, at most ``count``: of each reason the largest, then the next of each, in order."""
    by_reason = {
        reason: _largest(taken, reason, box, labels, count) for reason, box, labels in _labelled(taken.left_out)
    }
    turns = [
        by_reason[reason][turn] for turn in range(count) for reason in DOUBTFUL if turn < len(by_reason.get(reason, ()))
    ]
    return sorted(turns[:count], key=lambda piece: (DOUBTFUL.index(piece.reason), -piece.mm3))


def through(left_out: np.ndarray, axis: int) -> np.ndarray:
    """Return the reason that is seen along an axis."""
    rank = np.zeros(len(Reason), np.uint8)
    rank[list(_FRONT)] = np.arange(1, len(_FRONT) + 1)
    return np.array([Reason.NOT_DENSE, *_FRONT], np.uint8)[rank[left_out].max(axis=axis)]


def tinted(rgb: np.ndarray, reasons: np.ndarray, share: float = 0.7) -> np.ndarray:
    """Return RGB with reasons tinted; bone is left to the tint of the skeleton."""
    colours = np.zeros((len(Reason), 3))
    for reason, colour in COLOURS.items():
        colours[reason] = to_rgb(colour)
    return ink.blend(rgb, reasons > Reason.BONE, colours[reasons], share)


def letter(place: int) -> str:
    """Return the letter of a tile.

    >>> letter(0), letter(25), letter(26)
    ('A', 'Z', 'AA')
    """
    return ascii_uppercase[place % 26] * (1 + place // 26)


def room(wide: float) -> int:
    """Return how many tiles a sheet has room for."""
    return 2 * int((wide - _LEGEND) / _STEP[0])


def strip(sheet: Sheet, taken: Taken, shown: list[Piece]) -> None:
    """Draw legend and tiles below the panels of a sheet."""
    sheet.figure.add_artist(
        Rectangle((0, (STRIP - 0.06) / sheet.high), 1, 0.01 / sheet.high, color=ink.DIM_INK, linewidth=0)
    )
    _legend(sheet, taken)
    if not shown:
        sheet.write(_LEGEND, STRIP - 0.25 - sheet.floor, "no doubtful piece was left out", **_HEAD)
        return
    sheet.write(_LEGEND, STRIP - 0.25 - sheet.floor, "the largest doubtful pieces of each reason, axial", **_HEAD)
    for place, piece in enumerate(shown):
        down, across = divmod(place, room(sheet.wide) // 2)
        left, bottom = _LEGEND + _STEP[0] * across, STRIP - 2.22 - _STEP[1] * down
        _tile(sheet, taken, piece, letter(place), (left, bottom - sheet.floor, _TILE, _TILE))


_HEAD: dict[str, Any] = {"color": ink.INK, "fontsize": 8.5, "weight": "bold", "va": "center"}


def _labelled(left_out: np.ndarray) -> Iterator[tuple[Reason, tuple[slice, ...], np.ndarray]]:
    """Give for each reason that is there its box and the connected pieces in it, numbered."""
    for value, box in enumerate(ndimage.find_objects(left_out), start=1):
        if box is not None:
            labels, _ = ndimage.label(left_out[box] == value, structure=np.ones((3, 3, 3)), output=np.int32)
            yield Reason(value), box, labels


def _largest(taken: Taken, reason: Reason, box: tuple[slice, ...], labels: np.ndarray, count: int) -> list[Piece]:
    """Return the largest pieces of a reason, of bone those that are apart from any large one."""
    size = np.bincount(labels.ravel())
    size[0] = 0
    if reason == Reason.BONE:
        whole, _ = ndimage.label(taken.skeleton[box] | (labels > 0), structure=np.ones((3, 3, 3)), output=np.int32)
        large = np.bincount(whole.ravel()) * taken.voxel_mm3 >= APART_MM3
        size[np.unique(labels[large[whole]])] = 0
    order = np.argsort(-size, kind="stable")[:count]
    boxes = ndimage.find_objects(labels)
    found = []
    for label in order[size[order] > 0].tolist():
        inner = boxes[label - 1]
        place = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True))
        found.append(Piece(reason, place, labels[inner] == label, float(size[label] * taken.voxel_mm3)))
    return found


def _legend(sheet: Sheet, taken: Taken) -> None:
    """Write what the colours mean, with pieces and volume of each."""
    line, top = 0.265, STRIP - 0.25 - sheet.floor
    ids = np.unique(taken.lesions)
    lesions = (int((ids > 0).sum()), float(np.count_nonzero(taken.lesions) * taken.voxel_mm3))
    rows: list[tuple[str | None, str, tuple[int, float] | None]] = [
        (None, "taken", None),
        (ink.LESION_COLOUR, "lesions, numbered", lesions),
        (None, "dense and left out, because it is", None),
        *(
            (COLOURS[reason], REASONS[reason], many)
            for reason, many in amounts(taken.left_out, taken.voxel_mm3).items()
        ),
    ]
    sheet.write(2.05, top, "pieces", color=ink.DIM_INK, fontsize=7.5, ha="right", va="center")
    sheet.write(2.72, top, "mm³", color=ink.DIM_INK, fontsize=7.5, ha="right", va="center")
    for place, (colour, text, many) in enumerate(rows):
        y = top - line * place - (0.08 if place > 1 else 0)
        if colour is None or many is None:
            sheet.write(0.1, y, text, **_HEAD)
            continue
        some = ink.INK if many[0] else ink.DIM_INK
        _swatch(sheet, y, ink.LESION_COLOURS if place == 1 else (colour,))
        sheet.write(0.46, y, text, color=some, fontsize=8.5, va="center")
        for x, value in ((2.05, str(many[0])), (2.72, number(many[1]))):
            sheet.write(x, y, value if many[0] else "–", color=some, fontsize=8.5, ha="right", va="center")


def _swatch(sheet: Sheet, y: float, colours: tuple[str, ...]) -> None:
    wide = 0.26 / len(colours)
    for place, colour in enumerate(colours):
        corner = ((0.1 + wide * place) / sheet.wide, (y - 0.065 + sheet.floor) / sheet.high)
        sheet.figure.add_artist(Rectangle(corner, wide / sheet.wide, 0.13 / sheet.high, color=colour, linewidth=0))


def _tile(sheet: Sheet, taken: Taken, piece: Piece, name: str, box: ink.Box) -> None:
    """Draw the slice through a piece: outlined, lesions and skeleton tinted, and what it is above."""
    size = taken.spacing_zyx_mm
    largest = max((part.stop - part.start) * mm for part, mm in zip(piece.box[1:], size[1:], strict=True))
    half = max(TILE_HALF_MM, ROOM * largest / 2)
    offsets = ((np.arange(_TILE_PIXELS) + 0.5) / _TILE_PIXELS * 2 - 1) * half
    middle, shape, z = piece.middle(), taken.hu.shape, piece.fullest
    rows, columns = (np.rint(middle[axis] + offsets / size[axis]).astype(int) for axis in (1, 2))
    inside = ((rows >= 0) & (rows < shape[1]))[:, None] & ((columns >= 0) & (columns < shape[2]))[None]
    where = np.ix_(np.clip(rows, 0, shape[1] - 1), np.clip(columns, 0, shape[2] - 1))
    rgb = ink.grey(np.where(inside, taken.hu[z][where].astype(float), np.nan), ink.WINDOW_HU)
    rgb = ink.blend(rgb, taken.skeleton[z][where] & inside, to_rgb(ink.SKELETON_COLOUR), 0.25)
    rgb = ink.blend(rgb, (taken.lesions[z][where] > 0) & inside, to_rgb(ink.LESION_COLOUR), 0.75)
    own = np.zeros(shape[1:], bool)
    own[piece.box[1:]] = piece.mask[z - piece.box[0].start]
    ax = sheet.panel(box)
    extent = (-half, half, half, -half)
    ax.imshow(rgb, extent=extent, interpolation="nearest")
    ink.outline(ax, own[where] & inside, extent, COLOURS[piece.reason])
    ax.set(xlim=extent[:2], ylim=extent[2:])
    ink.say(ax, 0.04, 0.96, name, size=11, va="top", weight="bold")
    ink.say(ax, 0.97, 0.03, f"slice {z + 1}", size=7, ha="right")
    peak = float(taken.hu[piece.box][piece.mask].max())
    left, bottom, _, high = box
    how: dict[str, Any] = {"fontsize": 8, "va": "bottom"}
    sheet.write(left, bottom + high + 0.17, REASONS[piece.reason], color=COLOURS[piece.reason], weight="bold", **how)
    sheet.write(left, bottom + high + 0.03, f"{number(piece.mm3)} mm³, peak {peak:.0f} HU", color=ink.INK, **how)
