"""The same question by every declared analysis: scale, visits and weights, all of them shown.

Which scale was taken, which visits were counted and how they were weighted has decided trials of these diseases
(Pignolo 2022: the square root of new bone failed where signed amounts did not). The grid is fixed here, before any
data are seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from math import nan

import numpy as np
import pandas as pd

from monitor.types import Trend

SCALES = ("absolute", "log", "sqrt", "cbrt")
"""Scales of the declared grid, in order; signed amounts stay signed on the first and the last."""

WEIGHTS = ("given se", "equal")
"""With the errors that are known, and as if all values were known alike."""

Rows = Callable[[pd.DataFrame], pd.Series]
"""From one patient's rows, in order of time, to which of them count."""


def _all(rows: pd.DataFrame) -> pd.Series:
    return pd.Series(True, index=rows.index)


def _ends(rows: pd.DataFrame) -> pd.Series:
    return rows["years"].isin([rows["years"].min(), rows["years"].max()])


def _yearly(rows: pd.DataFrame) -> pd.Series:
    """Keep the visit nearest to each whole year from the first visit on, within half a year of it."""
    since = rows["years"] - rows["years"].min()
    whole = since.round()
    off = (since - whole).abs()
    return off == off.groupby(whole).transform("min")


VISITS: dict[str, Rows] = {"all": _all, "first and last": _ends, "yearly": _yearly}
"""Visits of the declared grid."""


def table(data: pd.DataFrame, estimate: Callable[[pd.DataFrame, str], Trend]) -> pd.DataFrame:
    """Return one row for each scale, choice of visits and weights; an analysis that is refused says why.

    Parameters
    ----------
    data : DataFrame
        patient_id, years, value [, se] and what ``estimate`` needs.
    estimate : callable
        From data and scale to a ``Trend``.
    """
    weights = WEIGHTS if "se" in data and pd.to_numeric(data["se"], errors="coerce").notna().any() else WEIGHTS[1:]
    found = []
    for scale in SCALES:
        for visits, keep in VISITS.items():
            rows = _kept(data, keep)
            for weighted in weights:
                own = rows if weighted == "given se" else rows.drop(columns="se", errors="ignore")
                about = {"scale": scale, "visits": visits, "weights": weighted}
                found.append({**about, **_estimated(own, scale, estimate)})
    return pd.DataFrame(found)


def _kept(data: pd.DataFrame, keep: Rows) -> pd.DataFrame:
    ordered = data.sort_values(["patient_id", "years"], kind="stable")
    ordered = ordered[np.isfinite(pd.to_numeric(ordered["years"], errors="coerce").to_numpy(float))]
    parts = [own[keep(own).to_numpy(bool)] for _, own in ordered.groupby("patient_id", sort=False)]
    return pd.concat(parts, ignore_index=True) if parts else ordered


def _estimated(data: pd.DataFrame, scale: str, estimate: Callable[[pd.DataFrame, str], Trend]) -> dict[str, object]:
    try:
        return asdict(estimate(data, scale))
    except ValueError as error:
        numbers = dict.fromkeys(("estimate", "se", "df", "lo", "hi", "p_value"), nan)
        none = {"unit": "", "method": "", "interval_kind": "none", "n_patients": 0, "n_visits": 0}
        return {**numbers, **none, "note": f"refused: {error}"}
