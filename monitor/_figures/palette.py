"""The colours of a small picture as a palette: greys, two ramps from black to a colour, and what was not seen."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from monitor._figures import ink

GREYS = 128
"""Steps from black to white: 6 HU of the window, below the noise of any scan."""

RAMP = 16
"""Steps from black to a colour, so that a line has smooth edges on its dark border."""

LESION, OTHER, UNSEEN, HATCH = GREYS, GREYS + RAMP, GREYS + 2 * RAMP, GREYS + 2 * RAMP + 1
"""Where the ramps of a lesion's and of others' colour begin, and the two shades of what was not seen."""

HATCH_COLOUR = "#3B4A5C"
"""Lines over what was not seen: lighter than ``ink.NOTHING``, and no grey of a scan."""


def grey(level: np.ndarray) -> np.ndarray:
    """Return the palette's numbers, uint8, of levels from 0 to 1."""
    return np.round(np.clip(level, 0, 1) * (GREYS - 1)).astype(np.uint8)


def ramp(start: int, share: np.ndarray) -> np.ndarray:
    """Return the palette's numbers, uint8, of shares of a colour over black, 0 to 1."""
    return (start + np.round(np.clip(share, 0, 1) * (RAMP - 1))).astype(np.uint8)


def png(numbers: np.ndarray) -> bytes:
    """Return a picture, (rows, columns) uint8 numbers of the palette, as a PNG: equal numbers give equal bytes."""
    picture = Image.fromarray(numbers)
    picture.putpalette(_colours())
    out = BytesIO()
    picture.save(out, format="PNG", optimize=False, compress_level=6)
    return out.getvalue()


def _colours() -> list[int]:
    """Return the palette, three bytes a colour."""
    greys = np.linspace(0, 1, GREYS)[:, None].repeat(3, axis=1)
    ramps = [np.linspace(0, 1, RAMP)[:, None] * to_rgb(colour) for colour in (ink.LESION_COLOUR, ink.OTHER_COLOUR)]
    every = np.vstack([greys, *ramps, [to_rgb(ink.NOTHING)], [to_rgb(HATCH_COLOUR)]])
    return [int(v) for v in np.round(every * 255).astype(int).ravel()]
