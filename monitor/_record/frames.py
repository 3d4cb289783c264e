"""Where each lesion is looked at in the common frame: one place and one width for all visits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from monitor.tracking import Occasion

COLUMNS = ("lesion_id", "label", "x_mm", "y_mm", "z_mm", "half_width_mm")
"""What is known of a lesion to draw it at a visit; ``label`` is missing where it has no piece there."""

LEAST_MM, MOST_MM, STEP_MM = 15.0, 45.0, 5.0
"""Half width of a picture, mm: what is around a speck still tells where it is; above, a pixel is half a millimetre."""

AROUND_MM = 7.0
"""What is shown around the lesion, mm: muscle, fascia and skin beside it can be told."""

REACH_MM = 2.0
"""A visit holds a point of the lesion where its own piece comes as near, mm: what registration is allowed to err."""

CANDIDATES, POINTS = 400, 20_000
"""So many points are tried as the centre, and so many of a piece are asked; a larger piece is thinned evenly."""


def framed(
    occasions: Sequence[Occasion], track: pd.DataFrame, to_frame: Callable[[np.ndarray], np.ndarray]
) -> dict[str, pd.DataFrame]:
    """Return, for each placed scan, every lesion of the patient with its place in the common frame.

    Parameters
    ----------
    occasions : sequence of Occasion
        The placed scans, with the points of their pieces in the baseline, LPS mm.
    track : DataFrame
        Identities as ``tracking.follow`` gives them.
    to_frame : callable
        Carries points of the baseline, (N, 3) LPS mm, to the frame.

    Returns
    -------
    dict of str to DataFrame
        ``COLUMNS`` by ``Occasion.visit_id``, in order of lesion_id. The place is the same at all scans.
    """
    found = {one.visit_id: one for one in occasions}
    there = track[track["label"].notna()]
    places = [
        {"lesion_id": int(str(lesion_id)), **_place(found, own, to_frame)}
        for lesion_id, own in there.groupby("lesion_id", sort=True)
    ]
    every = pd.DataFrame(places, columns=[name for name in COLUMNS if name != "label"])
    labels = {visit: own.set_index("lesion_id")["label"] for visit, own in there.groupby("visit_id")}
    return {
        visit: every.assign(label=every["lesion_id"].map(labels.get(visit, pd.Series(dtype=object))).astype("Int64"))[
            list(COLUMNS)
        ]
        for visit in found
    }


def _place(
    found: Mapping[str, Occasion], own: pd.DataFrame, to_frame: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """Return centre and half width of a lesion; a piece that the field cut tells them only where none is whole."""
    whole = own[own["status"] != "not_in_field"]
    pieces = [
        (found[visit].volume_mm3[label], found[visit].points_mm[label])
        for visit, label in (
            (str(row["visit_id"]), int(row["label"])) for row in (whole if len(whole) else own).to_dict("records")
        )
    ]
    largest = max(pieces, key=lambda piece: piece[0])[1]
    centre = _centre(largest, [points for _, points in pieces])
    reach = max(float(np.linalg.norm(points - centre, axis=1).max()) for _, points in pieces)
    half = min(max(STEP_MM * ceil((reach + AROUND_MM) / STEP_MM), LEAST_MM), MOST_MM)
    x, y, z = np.round(to_frame(centre[None])[0], 2).tolist()
    return {"x_mm": x, "y_mm": y, "z_mm": z, "half_width_mm": half}


def _centre(largest: np.ndarray, pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Return the point of the largest piece that most visits hold, of several the one nearest to its middle.

    The middle itself may lie beside a bent sheet, and what was there first may be a corner of what came later.
    """
    tried = _thinned(largest, CANDIDATES)
    held = np.zeros(len(tried), int)
    for points in pieces:
        away, _ = cKDTree(_thinned(points, POINTS)).query(tried, distance_upper_bound=REACH_MM)
        held += np.isfinite(away)
    off = np.round(np.linalg.norm(tried - largest.mean(axis=0), axis=1), 3)
    return np.asarray(tried[np.lexsort((off, -held))[0]])


def _thinned(points: np.ndarray, most: int) -> np.ndarray:
    return points[:: max(1, ceil(len(points) / most))]
