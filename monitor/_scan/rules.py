"""Limits that a readable scan keeps, and how a broken file becomes a refusal."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import TypeVar

from pydicom.errors import BytesLengthException, InvalidDicomError

from monitor.errors import ScanError

T = TypeVar("T")

LEAST_SLICES = 3
"""Fewer slices hold no volume."""

MOST_VOXELS = 1_000_000_000
"""A file that claims more voxels than this lies: 2000 slices of 700 x 700."""

SPACING_MM = (0.01, 50.0)
"""Voxel sizes outside these are another unit than mm."""

DIGITS = 6
"""Digits after the point that a distance in mm or a voltage in kV keeps: the rest is rounding of the header."""

AIR_HU = -1024
"""Value given to voxels that were not measured, HU."""

UNMEASURED_HU = -1500
"""Below this no scanner measures: filling outside the field (-2000, -3024), declared or not, HU."""

BROKEN = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError),
    *(TypeError, ValueError, BytesLengthException, InvalidDicomError, struct.error, zlib.error),
)
"""What readers raise on bytes that are not what they claim."""


def attempt(code: str, rule: str, work: Callable[[], T]) -> T:
    """Do what a broken file may bring down; its error becomes a refusal that repeats nothing of it.

    Raises
    ------
    ScanError
        With ``code`` and the rule; a refusal from within stays itself.
    """
    try:
        return work()
    except ScanError:
        raise
    except MemoryError:
        raise ScanError("too-large", f"{rule}, within the memory that decoding may use; more is asked for") from None
    except BROKEN as error:
        raise ScanError(code, f"{rule}; got {type(error).__name__}") from None
