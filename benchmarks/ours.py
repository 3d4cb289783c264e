"""Carry points by our registration: ``ours.py FIXED MOVING POINTS.npy OUT.npy``, as ``peers.py`` does.

A process of its own that loads no more than registration needs. CPU seconds, of the registration alone, without the
finding of anatomy, go to standard output.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import SimpleITK as sitk

from benchmarks.peers import write_peak
from monitor import anatomy, lesions, registration
from monitor.types import Scan


def main(fixed: str, moving: str, points: str, out: str) -> float:
    """Register and carry; return CPU seconds."""
    scans = [Scan(sitk.ReadImage(path)) for path in (fixed, moving)]
    looked = [anatomy.find(one) for one in scans]
    mineral = [lesions.find(one, found).labels > 0 for one, found in zip(scans, looked, strict=True)]
    started = time.process_time()
    found = registration.register(
        scans[0],
        scans[1],
        fixed_anatomy=looked[0],
        moving_anatomy=looked[1],
        fixed_mineral=mineral[0],
        moving_mineral=mineral[1],
    )
    np.save(out, found.from_baseline(np.load(points)))
    seconds = time.process_time() - started
    write_peak(out)
    return seconds


if __name__ == "__main__" and len(sys.argv) == 5:
    print(main(*sys.argv[1:]))
