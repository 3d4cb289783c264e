"""Pairs that were really made twice: a brain whose transforms are given, and lungs with landmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import SimpleITK as sitk

import monitor
from benchmarks import pairs
from monitor import grid, scan
from monitor.types import RegistrationError, Scan

BRAIN_ABOVE = 100.0
"""Values of the FLAIR above this are brain: the background is 0."""


def real_calls() -> Iterator[tuple[Callable[..., dict[str, object]], tuple[object, ...]]]:
    """Yield both pairs, each way round."""
    for first, second in ((1, 2), (2, 1)):
        yield brain_row, (first, second)
    for way in ("baseline first", "follow-up first"):
        yield lung_row, (way,)


def brain_row(first: int, second: int) -> dict[str, object]:
    """Register two visits of a brain; truth: through the common space by the transforms that are given."""
    folder = pairs.DATA / "brain-mr-two-visits" / "patient01"
    scans = {n: scan.read(folder / f"study{n}_FLAIR.nii.gz", modality="MR") for n in (first, second)}
    maps = {n: sitk.ReadTransform(str(folder / f"study{n}_FLAIR_to_common_space.txt")) for n in (first, second)}
    points = grid.to_mm(scans[first].image, np.argwhere(scans[first].array > BRAIN_ABOVE)[::500])
    common = [maps[first].GetInverse().TransformPoint(point.tolist()) for point in points]
    there = np.array([maps[second].TransformPoint(point) for point in common])
    found = monitor.register(scans[first], scans[second])
    return _row(f"brain {first} to {second}", found.from_baseline(points), there, found.residual_mm)


def lung_row(way: str) -> dict[str, object]:
    """Register the lungs of two breaths; landmarks are given. A derived pair, so no target."""
    folder = pairs.DATA / "lung-pair"
    scans = [
        _as_ct(sitk.ReadImage(str(folder / name)))
        for name in ("3DCT_lung_baseline_small.mha", "followup_reconstructed.nii.gz")
    ]
    marks = [np.loadtxt(folder / f"CT_3D_lung_{name}_point_set.txt", skiprows=2) for name in ("fixed", "moving")]
    order = (0, 1) if way == "baseline first" else (1, 0)
    try:
        found = monitor.register(*(scans[n] for n in order))
    except RegistrationError as error:
        return {"pair": f"lung {way}", "refused": str(error)}
    one, two = (marks[n] for n in order)
    return _row(f"lung {way}", found.from_baseline(one), two, found.residual_mm)


def _as_ct(image: sitk.Image) -> Scan:
    return Scan(sitk.Cast(image, sitk.sitkFloat32))


def _row(name: str, carried: np.ndarray, there: np.ndarray, residual: float) -> dict[str, object]:
    gap = np.linalg.norm(carried - there, axis=1)
    return {"pair": name, "mean": gap.mean(), "p95": np.percentile(gap, 95), "residual": residual, "refused": ""}


def real_summary(rows: pd.DataFrame) -> str:
    """Say how near the brain is to the transforms that are given."""
    brain = rows[rows["pair"].str.startswith("brain")]
    return f"brain: {brain['mean'].max():.2f} mm at most in the mean (1 asked)"
