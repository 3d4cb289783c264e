"""What is body and what is skeleton, and how noisy the scan is: everything that a lesion is not."""

from __future__ import annotations

from math import nan

import numpy as np
import SimpleITK as sitk

from monitor import grid, noise
from monitor._anatomy import body as bodies
from monitor._anatomy import bone, earlier, shape, standing
from monitor._anatomy.body import BODY_PART_MM3, find_body
from monitor._anatomy.bone import BONE_HU, find_skeleton
from monitor._anatomy.earlier import Distance, with_known, without_new
from monitor.noise import measure_noise
from monitor.types import Anatomy, Scan

__all__ = [
    "BONE_HU",
    "PARTS",
    "Distance",
    "find",
    "find_body",
    "find_skeleton",
    "foreground",
    "measure_noise",
    "with_known",
    "without_new",
]

PARTS = (bodies, bone, standing, earlier, noise)
"""The modules whose thresholds a run records."""


def find(scan: Scan, *, skeleton: np.ndarray | None = None, exclude: np.ndarray | None = None) -> Anatomy:
    """Tell body, skeleton and the rest apart in a CT.

    Parameters
    ----------
    scan : Scan
        CT in HU.
    skeleton, exclude : (z, y, x) bool array, optional
        A reader's masks; each wins over ours.

    Returns
    -------
    Anatomy
        Masks on the scan's own grid, noise in HU.
    """
    hu = scan.array
    body = find_body(scan)
    bones = find_skeleton(hu, body, scan.spacing_zyx_mm) if skeleton is None else np.asarray(skeleton, bool)
    left_out = np.zeros(hu.shape, bool) if exclude is None else np.asarray(exclude, bool)
    noise_hu, tissue_hu, blocks = measure_noise(hu, body & ~bones, scan.spacing_zyx_mm)
    edge = bodies.find_field_edge(scan, body)
    return Anatomy(body, bones, left_out, noise_hu, tissue_hu, blocks, edge)


def foreground(scan: Scan) -> Anatomy:
    """Tell only the patient from the background, in an image whose values are no HU.

    Between background and tissue lies Otsu's threshold (1979); enclosed dark tissue belongs to the body. No
    skeleton is told, and no noise.
    """
    bright = grid.array(sitk.OtsuThreshold(scan.image, 0, 1)) > 0
    body = shape.fill_slices(shape.large_pieces(bright, scan.voxel_volume_mm3, BODY_PART_MM3 / 4))
    nothing = np.zeros(body.shape, bool)
    return Anatomy(body, nothing, nothing, noise_hu=nan, tissue_hu=nan, noise_blocks_hu=np.full((1, 1, 1), nan))
