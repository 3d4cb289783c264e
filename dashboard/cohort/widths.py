"""Widths of the table's columns, by the longest text of these rows: a number that is cut off is another number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

LETTER_PX, PADDING_PX = 7.6, 30
"""Width of a digit in the table and of what is round a cell, pixels."""

MOST_PX = 340
"""Widest column, pixels: of what is longer the rest comes on pointing."""

BETWEEN = len(" to ")
"""Letters between two limits."""

DIGITS = (0, 1, 2, 3)
"""Digits behind the point from 100, from 10, from 1 and below, as ``words.number`` writes them."""


def text_letters(texts: Iterable[str]) -> int:
    """Return the letters of the longest text.

    >>> text_letters(["seen in part", ""]), text_letters([])
    (12, 0)
    """
    return max((len(one) for one in texts), default=0)


def number_letters(values: np.ndarray, *, signed: bool = False) -> np.ndarray:
    """Return how many letters each number has at most, as ``words.number`` writes it; many at once.

    >>> number_letters(np.array([99896.4, -0.25, 999.7, np.nan]), signed=True).tolist()
    [7, 6, 6, 1]
    """
    size = np.abs(values)
    known = np.isfinite(size)
    size = np.where(known, size, 0.0)
    digits = np.select([size >= 100, size >= 10, size >= 1], DIGITS[:3], DIGITS[3])
    # Rounding up may take one digit more: 999.7 is written 1 000.
    shown = np.round(np.where(digits == 0, size, 0.0))
    before = np.floor(np.log10(np.maximum(np.maximum(shown, size), 1.0))).astype(int) + 1
    letters = before + (before - 1) // 3 + np.where(digits > 0, digits + 1, 0)
    return np.where(known, letters, 1) + (~np.isnan(values) & (signed | (values < 0)))


def limits_letters(low: np.ndarray, high: np.ndarray) -> int:
    """Return the letters of the longest pair of limits; one without both is not written.

    >>> limits_letters(np.array([1.5, np.nan]), np.array([99896.0, 1e9]))
    14
    """
    both = ~(np.isnan(low) | np.isnan(high))
    letters = number_letters(low[both]) + BETWEEN + number_letters(high[both])
    return int(letters.max(initial=0))


def width(letters: int, least: int) -> int:
    """Return the width of a column, pixels, never less than its title takes.

    >>> width(3, 108), width(16, 108)
    (108, 152)
    """
    return min(MOST_PX, max(least, round(LETTER_PX * letters) + PADDING_PX))
