"""Carry points by our registration: ``ours.py FIXED MOVING POINTS.npy OUT.npy``, as ``peers.py`` does.

A process of its own that loads no more than registration needs. Beside each image lies what the first pass found in it.
CPU seconds of the registration go to standard output.
"""

from __future__ import annotations

import sys
import time
from math import nan

import numpy as np
import SimpleITK as sitk

from benchmarks.peers import write_peak
from monitor import registration
from monitor.types import Anatomy, Scan

MASKS = ("body", "skeleton", "mineral")
"""What is kept beside an image, packed: see ``write_masks``."""


def write_masks(image: str, *masks: np.ndarray) -> None:
    """Keep ``MASKS`` of an image beside it, (z, y, x) bool each."""
    np.savez(f"{image}.npz", **{name: np.packbits(mask) for name, mask in zip(MASKS, masks, strict=True)})


def main(fixed: str, moving: str, points: str, out: str) -> float:
    """Register and carry; return CPU seconds."""
    scans = [Scan(sitk.ReadImage(path)) for path in (fixed, moving)]
    one, two = (_looked(path, scan) for path, scan in zip((fixed, moving), scans, strict=True))
    started = time.process_time()
    found = registration.register(
        scans[0],
        scans[1],
        fixed_anatomy=one[0],
        moving_anatomy=two[0],
        fixed_mineral=one[1],
        moving_mineral=two[1],
    )
    np.save(out, found.from_baseline(np.load(points)))
    seconds = time.process_time() - started
    write_peak(out)
    return seconds


def _looked(path: str, scan: Scan) -> tuple[Anatomy, np.ndarray]:
    shape = scan.array.shape
    with np.load(f"{path}.npz") as kept:
        body, skeleton, mineral = (
            np.unpackbits(kept[name], count=int(np.prod(shape))).reshape(shape).view(bool) for name in MASKS
        )
    nothing = np.zeros((1, 1, 1), bool)
    return Anatomy(body, skeleton, nothing, noise_hu=nan, tissue_hu=nan, noise_blocks_hu=nothing), mineral


if __name__ == "__main__" and len(sys.argv) == 5:
    print(main(*sys.argv[1:]))
