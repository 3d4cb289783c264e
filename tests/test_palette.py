"""The palette of small pictures: its numbers mean what they say."""

from io import BytesIO

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from monitor._figures import ink, palette


def shown(*numbers: np.ndarray) -> np.ndarray:
    """Return RGB, 0 to 255, of numbers of the palette."""
    row = np.concatenate([np.atleast_1d(one) for one in numbers]).astype(np.uint8)
    return np.asarray(Image.open(BytesIO(palette.png(row[None]))).convert("RGB"))[0].astype(int)


def test_greys_rise_from_black_to_white():
    """More is brighter, and what is out of range is the nearest end."""
    rgb = shown(palette.grey(np.array([-1.0, 0.0, 0.3, 0.6, 1.0, 2.0])))
    assert rgb[:, 0].tolist() == rgb[:, 2].tolist()
    assert rgb[[0, 1], 0].tolist() == [0, 0]
    assert rgb[[4, 5], 0].tolist() == [255, 255]
    assert (np.diff(rgb[1:5, 0]) > 0).all()


def test_ramps_end_in_their_colour():
    """The whole share is the colour itself, none of it is black."""
    for start, colour in ((palette.LESION, ink.LESION_COLOUR), (palette.OTHER, ink.OTHER_COLOUR)):
        rgb = shown(palette.ramp(start, np.array([0.0, 1.0])))
        assert rgb[0].tolist() == [0, 0, 0]
        assert np.abs(rgb[1] / 255 - to_rgb(colour)).max() < 0.01


def test_what_was_not_seen_is_no_grey():
    """Both of its shades are told from every grey, and fit the palette."""
    for number in (palette.UNSEEN, palette.HATCH):
        assert number < 256
        assert np.ptp(shown(np.array([number]))[0]) > 10
