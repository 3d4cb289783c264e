"""Words in a small picture: where their ink is, and the dark edge that keeps them readable on any ground."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

EDGE_PIXELS = 3
"""Side of the square by which ink is widened to its dark edge."""

KEPT = 256
"""So many sets of words are kept: all pictures of a visit share theirs, but for the width."""


class Words(NamedTuple):
    """A text at a place, pixels; ``anchor`` as Pillow names it: l, m, r, then t, m, b."""

    x: float
    y: float
    text: str
    size: int
    anchor: str = "lt"
    bold: bool = False


@lru_cache(maxsize=KEPT)
def written(shape: tuple[int, int], words: tuple[Words, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ink of words and of their dark edge, each (rows, columns) in 0 to 1."""
    sheet = Image.new("L", shape[::-1])
    draw = ImageDraw.Draw(sheet)
    for one in words:
        draw.text((one.x, one.y), one.text, fill=255, font=font(one.size, bold=one.bold), anchor=one.anchor)
    ink = np.asarray(sheet, np.float32) / 255
    edge = ndimage.maximum_filter(ink, size=EDGE_PIXELS)
    for part in (ink, edge):
        part.flags.writeable = False
    return ink, edge


def width(text: str, size: int) -> float:
    """Return how wide a text is, pixels."""
    return float(font(size, bold=False).getlength(text))


@cache
def font(size: int, *, bold: bool) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own font: it comes with the package, so that every machine draws the same letters."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
