"""Where blur joins what lies apart: a piece is parted at its saddles."""

from __future__ import annotations

from itertools import pairwise, product
from math import log

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, sparse

from monitor import grid

SADDLE = 0.7
"""Two peaks may be two lesions where the contrast between them falls below this share of the lower one: about
Rayleigh's criterion, with the usual blur a gap of 1.3 mm."""

SADDLE_SD = 4.0
"""The fall from the lower peak to the saddle is at least this many SDs of the smoothed noise."""

FAR_BLURS = 3.0
"""Blur reaches this far from what is at ``SADDLE`` of its peak or more, in its SDs, a voxel's side included."""

FAINT_SHARE = 0.1
"""Share of a peak's voxels farther than that from which they are faint mineral of their own, not blur."""

LEAST_VOXELS = 8
"""Smaller pieces are not looked at: two peaks do not fit in."""

_NEIGHBOURS = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
"""Half of the steps over faces, edges and corners."""


def parted(
    labels: np.ndarray,
    index: np.ndarray,
    contrast: np.ndarray,
    risen: np.ndarray,
    sd: np.ndarray,
    blur_voxels: np.ndarray,
) -> np.ndarray:
    """Part every piece that is two, in place; return the labels.

    Parameters
    ----------
    labels : (z, y, x) int array
        Pieces, from 1.
    index : (N, 3) int array
        Voxels in question; those of label 0 are passed over.
    contrast, risen, sd : (N,) arrays
        Of each: smoothed HU above soft tissue, whether it is high enough to be a lesion's peak, SD of the noise.
    blur_voxels : (3,) array
        SD of the blur of smoothed HU along z, y and x, in voxels.

    Notes
    -----
    Peaks are the h-maxima of the logarithm of contrast (a saddle at a share of the peak is one at a distance on
    that scale), after domes below the noise were levelled; each voxel goes to the peak that the watershed leads to
    (Soille, Morphological Image Analysis, 2003, chapters 6 and 9). Neighbours stay one where either has faint mineral
    of its own around: specks in a cloud are one lesion.
    """
    own = labels[tuple(index.T)]
    order = np.argsort(own, kind="stable")
    ends = np.searchsorted(own[order], np.arange(1, int(labels.max()) + 2))
    count = int(labels.max())
    for first, last in pairwise(ends):
        voxels = order[first:last]
        if len(voxels) < LEAST_VOXELS or int(risen[voxels].sum()) < 2:
            continue
        places = index[voxels]
        low = places.min(axis=0) - 1
        local = tuple((places - low).T)
        height = np.ones(places.max(axis=0) - low + 2, np.float32)
        height[local] = np.maximum(contrast[voxels], 1.0)
        tops = np.zeros(height.shape, bool)
        tops[local] = risen[voxels]
        piece = np.zeros(height.shape, bool)
        piece[local] = True
        basins = _basins(height, tops, SADDLE_SD * float(np.median(sd[voxels])))
        part = _joined(basins, height, piece, blur_voxels)[local]
        if part.max() > 1:
            labels[tuple(places.T)] = np.append(own[voxels[0]], count + np.arange(1, part.max()))[part - 1]
            count += int(part.max()) - 1
    return labels


def _basins(height: np.ndarray, tops: np.ndarray, dome: float) -> np.ndarray:
    """Return to which peak each voxel belongs, from 1."""
    level = _levelled(sitk.GetImageFromArray(height), dome)
    level = _levelled(sitk.Log(sitk.Maximum(level, 1.0)), -log(SADDLE))
    peaks = sitk.GetArrayFromImage(sitk.RegionalMaxima(level, 0, 1, True)) > 0
    marked, count = ndimage.label(peaks, structure=np.ones((3, 3, 3)))
    high = np.unique(marked[tops & peaks])
    if len(high) < 2:
        return np.ones(height.shape, np.uint16)
    number = np.zeros(count + 1, np.uint16)
    number[high] = np.arange(1, len(high) + 1)
    relief, marks = (sitk.GetImageFromArray(one) for one in (-height, number[marked]))
    return np.asarray(sitk.GetArrayFromImage(sitk.MorphologicalWatershedFromMarkers(relief, marks, False, True)))


def _levelled(relief: sitk.Image, depth: float) -> sitk.Image:
    """Take off all domes down to this depth (h-maxima, over faces, edges and corners)."""
    return sitk.ReconstructionByDilation(relief - depth, relief, True)


def _joined(basins: np.ndarray, height: np.ndarray, piece: np.ndarray, blur_voxels: np.ndarray) -> np.ndarray:
    """Return the basins, from 1, those as one that touch where either is more than a blurred peak."""
    count = int(basins.max())
    if count == 1:
        return basins
    peak = np.asarray(ndimage.maximum(height, basins, np.arange(count + 1)), np.float32)
    solid = piece & (height >= SADDLE * peak[basins])
    far = piece & (grid.distance_mm(solid, 1 / blur_voxels) > FAR_BLURS)
    shares = np.bincount(basins[far], minlength=count + 1) / np.maximum(
        np.bincount(basins[piece], minlength=count + 1), 1
    )
    touching: set[tuple[int, int]] = set()
    for step in _NEIGHBOURS:
        here = tuple(slice(max(0, -n), -n if n > 0 else None) for n in step)
        there = tuple(slice(max(0, n), n if n < 0 else None) for n in step)
        border = (basins[here] != basins[there]) & piece[here] & piece[there]
        touching |= set(zip(basins[here][border].tolist(), basins[there][border].tolist(), strict=True))
    links = [pair for pair in touching if max(shares[list(pair)]) > FAINT_SHARE]
    rows, columns = np.array(links, int).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(links)), (rows, columns)), shape=(count + 1, count + 1))
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    _, number = np.unique(group[1:], return_inverse=True)
    return np.asarray((number + 1)[basins - 1])
