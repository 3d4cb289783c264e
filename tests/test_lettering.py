"""Words in small pictures: where they stand, and their edge."""

import numpy as np

from monitor._figures import lettering
from monitor._figures.lettering import Words


def test_words_stand_where_they_are_put():
    """Anchored left and right in the middle of the height, ink does not pass the place."""
    left, _ = lettering.written((40, 100), (Words(5, 20, "R", 13, "lm", bold=True),))
    right, _ = lettering.written((40, 100), (Words(95, 20, "R", 13, "rm", bold=True),))
    rows, columns = np.nonzero(left)
    assert columns.min() >= 5
    assert abs(rows.mean() - 20) < 2
    assert np.nonzero(right)[1].max() < 96


def test_the_edge_holds_the_ink():
    """Where ink is its dark edge is too, and a pixel farther."""
    ink, edge = lettering.written((40, 100), (Words(50, 20, "not in the field", 11, "mm"),))
    assert (edge >= ink).all()
    assert (edge > 0).sum() > 1.5 * (ink > 0).sum()


def test_longer_words_are_wider():
    """Width grows with text and size; the sign of minus has a letter of its own."""
    assert lettering.width("aa", 11) > lettering.width("a", 11)
    assert lettering.width("a", 13) > lettering.width("a", 11)
    minus, unknown = (lettering.written((20, 20), (Words(2, 10, sign, 11, "lm"),))[0] for sign in "\u2212\ufffe")
    assert not np.array_equal(minus, unknown)
