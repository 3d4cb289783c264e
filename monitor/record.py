"""One patient's record: pieces and identities of all visits as rows of the result tables."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitor import burden, change, describe, grid, growth, store, tables, tracking
from monitor._record import changes, exchange, frames
from monitor._record.changes import Visited
from monitor._record.exchange import Pair, Subject
from monitor._record.order import in_order
from monitor.growth import Norm, Size
from monitor.study import Visit
from monitor.types import Registration

__all__ = [
    "Coarse",
    "Measured",
    "Pair",
    "Record",
    "Subject",
    "in_order",
    "last_lesion",
    "of_patient",
    "over_regions",
    "renumbered",
    "settled",
    "shared_out",
    "to_exchange",
    "unkept",
    "with_exchange",
    "years_between",
]

YEAR_DAYS = 365.25
"""Days of a year (Julian), as the contract counts them."""

BODY_POINTS = 4000
"""Points of the baseline's body that are looked for in each field: the fraction's error is below 1 %."""

PEAK_RISE_HU = 60.0
"""How far the highest voxel of the least lesion that is surely found lies above the threshold, HU (balls of 10 mm³)."""

PEAK_SD = 2.0
"""By how many SDs of the noise the highest of a lesion's voxels lies above its mineral: the largest of 20 to 50."""

_AMOUNTS = burden.SUMMED


@dataclass(frozen=True)
class Measured:
    """A visit with what was finished for it; ``placed`` is None for the reference and where it was refused.

    ``parts`` names the finished parts that led to ``placed``.
    """

    visit: Visit
    looked: Path
    measured: Path
    placed: Path | None
    is_reference: bool
    refused: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coarse:
    """What a scan amounts to where it is shown by a coarser protocol, and the name of the finished part."""

    pieces: pd.DataFrame
    part: str


Alike = Mapping[tuple[int, int], tuple[str, Coarse | None, Coarse | None]]
"""By two of a patient's scans, in order: how both are shown alike, and what either amounts to then; None: as it is."""


@dataclass(frozen=True)
class Record:
    """Rows of one patient by table, and for each visit the lesions to draw: lesion_id, label, x_mm, y_mm, z_mm.

    ``refused`` holds visit_id and reason of each correction of identity that could not be kept. ``framed`` holds for
    each visit every lesion of the patient, at its place in the reference's frame: ``frames.COLUMNS``; no rows where
    the visit has no believable registration.
    """

    tables: dict[str, pd.DataFrame]
    wanted: dict[tuple[str, str], pd.DataFrame]
    refused: tuple[tuple[str, str], ...] = ()
    framed: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where a visit's points lie in the baseline: through the reference, both ways."""

    own: Registration
    baseline: Registration

    def to_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        return self.baseline.from_baseline(self.own.to_baseline(points_mm))

    def from_baseline(self, points_mm: np.ndarray) -> np.ndarray:
        return self.own.from_baseline(self.baseline.to_baseline(points_mm))


def of_patient(
    visits: list[Measured],
    baseline: Visit,
    sizes: pd.DataFrame,
    alike: Alike,
    matches: pd.DataFrame | None = None,
    shift: int = 0,
) -> Record:
    """Make the record of a patient's scans of one region.

    Parameters
    ----------
    visits : list of Measured
        In order of date, of one modality and region; one of them is the reference.
    baseline : Visit
        The analysis baseline; years count from it.
    sizes : DataFrame
        The patient's rows of ``growth.csv``.
    alike : Alike
        Scans that are compared as a coarser protocol shows both.
    matches : DataFrame, optional
        A reviewer's corrections of these identities: visit_id, lesion_id, is_lesion_id.
    shift : int
        What ``renumbered`` will add to all identities; those of ``matches`` have it added.
    """
    known = [_Known(one, baseline) for one in visits]
    place = _places(known)
    occasions = [_occasion(one, place[one.key]) for one in known if one.key in place]
    track, refused = _followed(occasions, matches, shift)
    rows = _lesion_rows(known, place, track)
    visit_rows = _visit_rows(known, place, rows)
    size = {one.visit.visit_id: growth.size_on(sizes, pd.Timestamp(one.visit.date)) for one in known}
    norms = _norms(known, place, size)
    amounts = _burden_rows(known, place, rows, norms)
    visited = _visited(known, size, norms)
    shown = _shown_alike(known, rows, alike)
    compared = changes.rows(known[0].visit.patient_id, visited, rows, shown)
    rows["status"] = changes.statuses(visited, rows, compared, shown)
    wanted = {one.key: _wanted(rows, one.key) for one in known}
    kept = {
        "visits": visit_rows,
        "lesions": _only(rows[rows["lesion_id"].notna()], "lesions"),
        "lineage": _lineage(rows),
        "burden": _only(amounts, "burden"),
        "changes": _only(compared, "changes"),
    }
    framed = _framed(known, place, occasions, track)
    return Record({name: tables.check(table, name) for name, table in kept.items()}, wanted, refused, framed)


def _framed(
    known: list[_Known], place: dict[tuple[str, str], _Place], occasions: list[tracking.Occasion], track: pd.DataFrame
) -> dict[tuple[str, str], pd.DataFrame]:
    """Return for each visit every lesion at its place in the reference's frame."""
    # From the reference to the baseline all visits have the same way.
    to_frame = next(iter(place.values())).baseline.to_baseline
    found = frames.framed(occasions, track, to_frame)
    nothing = pd.DataFrame(columns=list(frames.COLUMNS))
    return {one.key: found.get("\t".join(one.key), nothing) for one in known}


def _shown_alike(known: list[_Known], rows: pd.DataFrame, alike: Alike) -> changes.Shown:
    """Return by two visits how both are shown alike, and their lesions with what they amount to then.

    Not where a visit has several scans of the region: they are measured as they are.
    """
    names = [one.visit.visit_id for one in known]
    found = {}
    for (one, two), (how, before, after) in alike.items():
        if names.count(names[one]) == names.count(names[two]) == 1:
            tables_then = []
            for at, coarse in ((one, before), (two, after)):
                own = rows[rows["visit_id"] == names[at]]
                tables_then.append(own if coarse is None else _with_amounts(own, coarse.pieces))
            found[names[one], names[two]] = (how, tables_then[0], tables_then[1])
    return found


def _with_amounts(rows: pd.DataFrame, pieces: pd.DataFrame) -> pd.DataFrame:
    """Return a visit's lesions with other amounts of their pieces; a lesion without a piece stays as it is."""
    known = pieces.set_index("label")
    out = rows.copy()
    there = out["label"].notna() & out["volume_mm3"].notna()
    for name in (*burden.SUMMED, *_ERRORS, "volume_rule"):
        out.loc[there, name] = known[name].reindex(out.loc[there, "label"].astype(int)).to_numpy()
    return _with_mass_errors(out)


_ERRORS = (*changes.ERRORS["volume_mm3"], *changes.ERRORS["excess_hu_mm3"])
"""Errors that a measurement gives; those of the mass follow."""


def _with_mass_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return lesions with the SDs of their masses: those of the excess, in mg."""
    factor = (rows["mass_mg"] / rows["excess_hu_mm3"]).where(rows["mass_mg"] != 0, 0.0)
    return rows.assign(**{f"mass_{kind}_mg": rows[f"excess_{kind}_hu_mm3"] * factor for kind in ("sd", "repeat_sd")})


def _followed(
    occasions: list[tracking.Occasion], matches: pd.DataFrame | None, shift: int
) -> tuple[pd.DataFrame, tuple[tuple[str, str], ...]]:
    """Return the identities as corrected, and visit_id and reason of each correction that could not be kept."""
    track = tracking.follow(occasions)
    if matches is None:
        return track, ()
    known = track.assign(lesion_id=track["lesion_id"] + shift)
    wanted = [one for row in matches.to_dict("records") for one in _corrections(row, known)]
    refused = tracking.contradictions(known, wanted)
    kept = [
        replace(one, lesion_id=one.lesion_id - shift, is_lesion_id=one.is_lesion_id - shift)
        for one in dict.fromkeys(wanted)
        if one not in refused
    ]
    return tracking.follow(occasions, kept), tuple((one.visit_id.split("\t")[0], why) for one, why in refused.items())


def _corrections(match: dict[Hashable, Any], track: pd.DataFrame) -> list[tracking.Correction]:
    """Return what a row of ``matches.csv`` says of each scan of its visit that holds the lesion."""
    visit = track["visit_id"].str.split("\t").str[0] == match["visit_id"]
    there = track[visit & (track["lesion_id"] == match["lesion_id"]) & track["label"].notna()]
    ids = int(match["lesion_id"]), int(match["is_lesion_id"])
    return [tracking.Correction(str(name), *ids) for name in [*there["visit_id"]] or [match["visit_id"]]]


def renumbered(one: Record, shift: int) -> Record:
    """Return the record with ``shift`` added to all identities: they are unique per patient over all regions."""
    if shift == 0:
        return one
    moved = {}
    for name, table in one.tables.items():
        columns = [c for c in ("lesion_id", "from_lesion_id", "into_lesion_id") if c in table]
        moved[name] = table.assign(**{column: table[column] + shift for column in columns})
    drawn = [
        {key: part.assign(lesion_id=part["lesion_id"] + shift) for key, part in each.items()}
        for each in (one.wanted, one.framed)
    ]
    return replace(one, tables=moved, wanted=drawn[0], framed=drawn[1])


def to_exchange(one: Record) -> dict[Pair, tuple[Subject, ...]]:
    """Return which pieces of which pairs of scans must be compared voxel by voxel: ``stages.exchange``."""
    return exchange.asked(one.tables, one.wanted)


def with_exchange(one: Record, answers: dict[Pair, dict[Subject, dict[str, float]]]) -> Record:
    """Return the record, table ``changes`` with what came, went and stayed; ``answers`` are to ``to_exchange``."""
    return replace(one, tables=dict(exchange.filled(one.tables, one.wanted, answers)))


def last_lesion(one: Record) -> int:
    """Return the highest identity of a record, 0 where there is none."""
    ids = one.tables["lesions"]["lesion_id"].dropna()
    return int(ids.max()) if len(ids) else 0


def shared_out(
    matches: pd.DataFrame, numbers: list[tuple[str, range]]
) -> tuple[list[pd.DataFrame], list[dict[str, str]]]:
    """Give each record its corrections of identity.

    Parameters
    ----------
    matches : DataFrame
        Table ``matches`` of the study.
    numbers : list of (str, range)
        For each record its patient and identities, as published.

    Returns
    -------
    list of DataFrame
        Rows of ``matches`` for each record.
    list of dict
        Rows of ``refused`` for corrections that no record can take: of no lesion of the patient, or that would make
        it one of another region, which is another lesion.
    """
    used = {name: max(own.stop for other, own in numbers if other == name) for name, _ in numbers}
    rows: list[list[dict[Hashable, Any]]] = [[] for _ in numbers]
    refused = []
    for row in matches.to_dict("records"):
        name, lesion, is_lesion = row["patient_id"], int(row["lesion_id"]), int(row["is_lesion_id"])
        at = next((n for n, (other, own) in enumerate(numbers) if other == name and lesion in own), None)
        if at is None:
            why = f"a correction must name a lesion of the patient; there is no lesion {lesion}"
            refused.append(unkept(name, row["visit_id"], why))
        elif is_lesion < used[name] and is_lesion not in numbers[at][1]:
            why = f"a lesion lies in one region; lesion {lesion} and lesion {is_lesion} lie in two"
            refused.append(unkept(name, row["visit_id"], why))
        else:
            rows[at].append(row)
    return [pd.DataFrame(part, columns=matches.columns) for part in rows], refused


def unkept(patient_id: str, visit_id: str, why: str) -> dict[str, str]:
    """Return the row of ``refused`` of a correction of identity."""
    ids = {"patient_id": patient_id, "visit_id": visit_id}
    return {**ids, "path": "matches.csv", "code": "bad-match", "message": f"matches.csv: {why}"}


def over_regions(amounts: pd.DataFrame) -> pd.DataFrame:
    """Sum table ``burden`` over a visit's regions; a visit without a scan of one of them is not evaluable."""
    keys = ["patient_id", "visit_id", "compartment", "quantity"]
    if not amounts.duplicated(keys).any():
        return amounts
    rows = []
    most = amounts.groupby(keys).size().groupby(level=["patient_id", "compartment", "quantity"]).max()
    for _, part in amounts.groupby(keys, sort=False):
        first = part.iloc[0].to_dict()
        expected = int(most[first["patient_id"], first["compartment"], first["quantity"]])
        value = part["value"].sum(skipna=False) if len(part) == expected else nan
        rows.append(
            {
                **first,
                "value": value,
                "lo": value - np.sqrt(((part["value"] - part["lo"]) ** 2).sum(skipna=False)),
                "hi": value + np.sqrt(((part["hi"] - part["value"]) ** 2).sum(skipna=False)),
                "evaluable": part["evaluable"].mean() * len(part) / expected,
                "value_observed": part["value_observed"].sum(skipna=False),
            }
        )
    return pd.DataFrame(rows)


class _Known:
    """A measured visit with its small files read."""

    def __init__(self, one: Measured, baseline: Visit) -> None:
        self.one = one
        self.visit = one.visit
        self.key = (one.visit.visit_id, one.visit.scan_id)
        self.is_baseline = self.key == (baseline.visit_id, baseline.scan_id)
        self.years = years_between(baseline.date, one.visit.date)
        self.look = json.loads((one.looked / "look.json").read_text())
        self.pieces = pd.read_parquet(one.measured / "pieces.parquet")
        self.labels = store.read_labels(one.measured / "pieces.nii.gz")
        self.imaged = _imaged(one.looked, grid.array(self.labels).shape)
        self.registration = _registration(one)

    def sees(self, points_mm: np.ndarray) -> np.ndarray:
        """Tell which points, (N, 3) LPS mm of this visit, the scanner measured."""
        if self.imaged is None:
            return grid.inside(self.labels, points_mm)
        return grid.sample(self.labels, self.imaged, points_mm, order=0, outside=0.0) > 0

    def common(self) -> dict[str, object]:
        """Return the columns that every row of this visit begins with."""
        when = pd.Timestamp(self.visit.date)
        return {
            "patient_id": self.visit.patient_id,
            "visit_id": self.visit.visit_id,
            "date": when,
            "years": self.years,
        }


def _imaged(looked: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return where the scanner measured, (z, y, x) uint8; None where it did everywhere."""
    with np.load(looked / "masks.npz") as kept:
        return np.unpackbits(kept["imaged"], count=int(np.prod(shape))).reshape(shape) if "imaged" in kept else None


def years_between(start: date, end: date) -> float:
    """Return years of 365.25 days.

    >>> years_between(date(2020, 1, 1), date(2021, 1, 1)) > 1
    True
    """
    return (end - start).days / YEAR_DAYS


def _registration(one: Measured) -> Registration | None:
    if one.is_reference:
        return Registration.identity()
    return None if one.placed is None else store.read_transform(one.placed)


def _places(known: list[_Known]) -> dict[tuple[str, str], _Place]:
    """Return the map of each visit that has one; the baseline's own leads from the reference to the baseline."""
    baseline = next((one.registration for one in known if one.is_baseline), None)
    if baseline is None:
        # No baseline in this region, or it could not be placed: the reference stands for it.
        baseline = Registration.identity()
    return {one.key: _Place(one.registration, baseline) for one in known if one.registration is not None}


def _occasion(one: _Known, place: _Place) -> tracking.Occasion:
    labels = grid.array(one.labels)
    index = np.argwhere(labels > 0)
    there = place.to_baseline(grid.to_mm(one.labels, index))
    owner = labels[tuple(index.T)]
    return tracking.Occasion(
        visit_id="\t".join(one.key),
        is_baseline=one.is_baseline,
        points_mm={int(label): there[owner == label] for label in one.pieces["label"]},
        volume_mm3=dict(zip(one.pieces["label"].astype(int), one.pieces["volume_mm3"], strict=True)),
        sees=lambda points: one.sees(place.from_baseline(points)),
        lod_mm3=one.look["lod_mm3"],
        residual_mm=one.registration.residual_mm if one.registration else nan,
    )


def _lesion_rows(known: list[_Known], place: dict[tuple[str, str], _Place], track: pd.DataFrame) -> pd.DataFrame:
    """Return a row a lesion and visit with all amounts; untracked pieces of an unplaced visit have no lesion_id."""
    rows: list[dict[str, object]] = []
    last: dict[int, np.ndarray] = {}
    peak_hu: dict[int, float] = {}
    for number, one in enumerate(known):
        pieces = one.pieces.set_index("label")
        tracked = track[track["visit_id"] == "\t".join(one.key)]
        if one.key not in place:
            tracked = pd.DataFrame({"label": pieces.index, "status": "first_seen"}).reindex(columns=tracking.COLUMNS)
        for link in tracked.sort_values("lesion_id").to_dict("records"):
            row = {**one.common(), "scan_id": one.visit.scan_id, **{str(k): v for k, v in link.items()}}
            row["visit_id"] = one.visit.visit_id
            if pd.notna(link["label"]):
                piece = {str(name): value for name, value in pieces.loc[int(link["label"])].items()}
                cut = link["status"] == "not_in_field"
                row |= {"compartment": piece["compartment"]} if cut else piece
                if row["status"] == "new" and all(
                    _hides(each, float(str(piece["peak_hu"]))) for each in known[:number]
                ):
                    row["status"] = "first_seen"
                if one.key in place and not (cut and int(link["lesion_id"]) in last):
                    last[int(link["lesion_id"])] = place[one.key].to_baseline(_point(piece))
                    peak_hu[int(link["lesion_id"])] = float(str(piece["peak_hu"]))
            else:
                if row["status"] == "resolved" and _hides(one, peak_hu[int(link["lesion_id"])]):
                    row["status"] = "not_in_field"
                where = place[one.key].from_baseline(last[int(link["lesion_id"])])[0]
                row |= _absent(str(row["status"]), where, one.look["lod_mm3"])
            rows.append(row)
    empty = [
        "patient_id",
        "visit_id",
        "scan_id",
        "date",
        "years",
        *tracking.COLUMNS[1:],
        *burden.COLUMNS,
        "compartment",
        "side",
    ]
    table = pd.DataFrame(rows, columns=None if rows else list(dict.fromkeys(empty)))
    table["lesion_id"] = table["lesion_id"].astype("Int64")
    table["compartment"] = settled(table, "compartment")
    table["side"] = settled(table, "side")
    table = _with_mass_errors(table)
    for low, high, value, sd in (("excess_lo_hu_mm3", "excess_hi_hu_mm3", "excess_hu_mm3", "excess_sd_hu_mm3"),):
        table[low] = table[value] - burden.Z95 * table[sd]
        table[high] = table[value] + burden.Z95 * table[sd]
    table["mineral_fraction"] = (table["volume_mm3"] / table["envelope_mm3"]).where(table["envelope_mm3"] > 0)
    return table.rename(columns={"score": "link_score"})


def settled(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return one word a lesion for all its visits: the one that holds for most of its volume, summed over visits.

    What a reader's mask or a given structure says wins over words that were told from voxels; of equals the earliest
    wins. A lesion does not move: what differs from visit to visit is how well it could be told.

    Parameters
    ----------
    rows : DataFrame
        lesion_id, volume_mm3 and the column, in order of visits. A row without lesion_id keeps its own word.
    """
    own = rows[column].fillna("").astype(str)
    found = own.copy()
    for _, part in rows[rows["lesion_id"].notna() & (own != "")].groupby("lesion_id"):
        words = own[part.index]
        given = ~words.isin([*describe.COMPARTMENTS, *describe.SIDES])
        words = words[given] if given.any() else words
        volumes = part.loc[words.index, "volume_mm3"].fillna(0.0)
        most = volumes.groupby(words, sort=False).sum().idxmax()
        found[(rows["lesion_id"] == part["lesion_id"].iloc[0]).fillna(False)] = most
    return found


def _hides(one: _Known, peak_hu: float) -> bool:
    """Tell whether mineral of this peak would stay unseen beside the contrast medium of a scan."""
    enhanced = one.look["contrast_found"] == "iv"
    needed = one.look["threshold_hu"] + PEAK_RISE_HU + PEAK_SD * one.look["noise_hu"]
    return bool(enhanced and peak_hu < needed)


def _absent(status: str, where_mm: np.ndarray, lod_mm3: float) -> dict[str, object]:
    """Return the amounts of a lesion without a piece: 0 where it is resolved, missing otherwise."""
    if status != "resolved":
        return {}
    x, y, z = (float(v) for v in where_mm)
    amounts: dict[str, object] = dict.fromkeys(_AMOUNTS, 0.0)
    return {
        **amounts,
        "volume_lo_mm3": 0.0,
        "volume_hi_mm3": lod_mm3,
        "volume_sd_mm3": lod_mm3 / burden.Z95,
        "volume_repeat_sd_mm3": lod_mm3 / burden.Z95,
        "excess_sd_hu_mm3": 0.0,
        "excess_repeat_sd_hu_mm3": 0.0,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
    }


def _point(row: dict[str, object]) -> np.ndarray:
    return np.array([[row["x_mm"], row["y_mm"], row["z_mm"]]], float)


def _visit_rows(known: list[_Known], place: dict[tuple[str, str], _Place], rows: pd.DataFrame) -> pd.DataFrame:
    body = _baseline_body(known)
    reference = next(one for one in known if one.one.is_reference)
    baseline = next((one for one in known if one.is_baseline), reference)
    table = []
    for one in known:
        may, why = change.comparable(_acquired(baseline), _acquired(one))
        mine = rows[(rows["visit_id"] == one.key[0]) & (rows["scan_id"] == one.key[1])]
        method = one.registration.method if one.registration else f"refused: {one.one.refused}"
        sees = np.mean(one.sees(place[one.key].from_baseline(body))) if one.key in place else nan
        table.append(
            {
                **one.common(),
                **{name: one.look[name] for name in _LOOKED},
                "scan_id": one.visit.scan_id,
                "region": one.visit.region,
                "residual_mm": one.registration.residual_mm if one.registration else nan,
                "residual_hi_mm": one.registration.residual_hi_mm if one.registration else nan,
                "in_field": float(sees),
                "comparable": may,
                "comparable_why": why,
                "n_lesions": int((mine["volume_mm3"] > 0).sum()),
                "reference_visit_id": reference.visit.visit_id,
                "registration": method,
            }
        )
    return tables.check(pd.DataFrame(table), "visits")


_LOOKED = (
    "modality",
    "kvp",
    "kernel",
    "slice_thickness_mm",
    "slice_increment_mm",
    "contrast",
    "contrast_found",
    "blood_hu",
    "manufacturer",
    "ctdi_vol_mgy",
    "dlp_mgy_cm",
    "noise_hu",
    "threshold_hu",
    "lod_mm3",
)


def _acquired(one: _Known) -> change.Acquired:
    return {name: one.look[name] for name in _LOOKED}


def _baseline_body(known: list[_Known]) -> np.ndarray:
    """Return points spread over the baseline's body, LPS mm."""
    reference = next(one for one in known if one.one.is_reference)
    one = next((one for one in known if one.is_baseline), reference)
    shape = grid.array(one.labels).shape
    with np.load(one.one.looked / "masks.npz") as kept:
        body = np.unpackbits(kept["body"], count=int(np.prod(shape))).reshape(shape)
    index = np.argwhere(body)
    step = max(1, len(index) // BODY_POINTS)
    return grid.to_mm(one.labels, index[::step])


_Norms = dict[str, list[Norm]]
"""What each visit's amounts are divided by, by visit_id."""


def _visited(known: list[_Known], sizes: dict[str, Size], norms: _Norms) -> list[Visited]:
    """Return what comparisons must know of each visit; of several scans of one the last tells how it was made."""
    at = {one.visit.visit_id: one for one in known}
    return [Visited(visit, one.years, _acquired(one), sizes[visit], tuple(norms[visit])) for visit, one in at.items()]


def _norms(known: list[_Known], place: dict[tuple[str, str], _Place], sizes: dict[str, Size]) -> _Norms:
    """Return the divisors of each visit; only those that are known at one visit or more."""
    body = _baseline_body(known)
    vessels = sorted({name for one in known for name in one.look["vessels_mm"]})
    found: _Norms = {}
    for one in known:
        ratio = nan
        if one.key in place:
            seen = body[one.sees(place[one.key].from_baseline(body))]
            ratio = growth.volume_ratio(place[one.key].from_baseline, seen)
        own = {name: one.look["vessels_mm"].get(name, nan) for name in vessels}
        found.setdefault(one.visit.visit_id, growth.norms(sizes[one.visit.visit_id], ratio, own))
    every = [norm for norms in found.values() for norm in norms]
    told = {(norm.suffix, norm.compartment) for norm in every if np.isfinite(norm.divisor)}
    return {
        visit: [norm for norm in norms if (norm.suffix, norm.compartment) in told] for visit, norms in found.items()
    }


def _burden_rows(
    known: list[_Known], place: dict[tuple[str, str], _Place], rows: pd.DataFrame, norms: _Norms
) -> pd.DataFrame:
    parts = []
    for visit_id in dict.fromkeys(one.visit.visit_id for one in known):
        scans = [one for one in known if one.visit.visit_id == visit_id]
        one = scans[0]
        here = rows[rows["visit_id"] == visit_id]
        sums = burden.totals(here, burden.regions_of(pd.concat([here, _elsewhen(scans, place, rows)])))
        own = sums[sums["quantity"].isin(changes.NORMALISED)]
        sums = pd.concat([sums, *(_divided(own, norm) for norm in norms[visit_id])], ignore_index=True)
        rule = changes.rule_beside(_acquired(one))
        rows_here = [{**one.common(), **row, "rule_id": row["rule_id"] + rule} for row in sums.to_dict("records")]
        parts.append(pd.DataFrame(rows_here))
    return pd.concat(parts, ignore_index=True)


def _elsewhen(scans: list[_Known], place: dict[tuple[str, str], _Place], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the lesions that have no row at a visit, as this visit shows their places.

    One that came later, or merged before, is gone here where a scan of the visit saw its place; where it could not
    have been told, or the visit has no place, it is not in the field.
    """
    visit_id = scans[0].visit.visit_id
    here = set(rows.loc[(rows["visit_id"] == visit_id) & (rows["status"] != "merged"), "lesion_id"].dropna())
    found: list[dict[str, object]] = []
    for lesion_id, own in rows[rows["lesion_id"].notna()].groupby("lesion_id"):
        if lesion_id in here:
            continue
        seen = _told(scans, own) and _shows(scans, place, own)
        status, volume = ("resolved", 0.0) if seen else ("not_in_field", nan)
        where = {name: own[name].iloc[0] for name in ("compartment", "side")}
        found.append({**where, "status": status, "volume_mm3": volume})
    return pd.DataFrame(found, columns=["compartment", "side", "status", "volume_mm3"])


def _told(scans: list[_Known], own: pd.DataFrame) -> bool:
    """Tell whether a visit without a lesion says so: not before one that no earlier scan could have told."""
    return scans[0].years >= own["years"].min() or own["status"].iloc[0] != "first_seen"


def _shows(scans: list[_Known], place: dict[tuple[str, str], _Place], own: pd.DataFrame) -> bool:
    """Tell whether a scan of a visit sees the place of a lesion, as it was first seen."""
    there = own[own["x_mm"].notna()]
    if there.empty:
        return False
    first = there.iloc[0]
    own_place = place[str(first["visit_id"]), str(first["scan_id"])]
    point = own_place.to_baseline(_point({name: first[name] for name in ("x_mm", "y_mm", "z_mm")}))
    return any(bool(one.sees(place[one.key].from_baseline(point))[0]) for one in scans if one.key in place)


def _divided(sums: pd.DataFrame, norm: Norm) -> pd.DataFrame:
    """Return sums of a visit per body surface or growth, limits widened by what is not known of that."""
    sums = sums[sums["compartment"] == norm.compartment] if norm.compartment else sums
    value, own = sums["value"], burden.Z95 * norm.error * sums["value"].abs()
    return sums.assign(
        quantity=sums["quantity"] + norm.suffix,
        unit=sums["unit"] + norm.unit,
        rule_id=sums["rule_id"] + norm.rule,
        value=value / norm.divisor,
        lo=(value - np.hypot(value - sums["lo"], own)).clip(lower=0) / norm.divisor,
        hi=(value + np.hypot(sums["hi"] - value, own)) / norm.divisor,
        value_observed=sums["value_observed"] / norm.divisor,
        sd=np.hypot(sums["sd"], norm.error * value) / norm.divisor,
    )


def _lineage(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the events: what began, merged or split, and each time a lesion resolved or left the field."""
    events = rows[rows["lesion_id"].notna()].copy()
    before = events.groupby("lesion_id")["status"].shift()
    lasting = events["status"].isin(["resolved", "not_in_field"])
    once = events["status"].isin(["new", "first_seen", "merged", "split"])
    kept = events[once | (lasting & (events["status"] != before))]
    # A lesion's own ``kind`` is another thing: calcification or ossification.
    return _only(kept.assign(kind=kept["status"]), "lineage")


def _wanted(rows: pd.DataFrame, key: tuple[str, str]) -> pd.DataFrame:
    """Return the lesions to draw at a visit: those there, and those resolved."""
    mine = rows[(rows["visit_id"] == key[0]) & (rows["scan_id"] == key[1]) & rows["lesion_id"].notna()]
    mine = mine[mine["volume_mm3"].notna()]
    return mine[["lesion_id", "label", "x_mm", "y_mm", "z_mm"]].reset_index(drop=True)


def _only(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Keep the columns of a schema; the others served the sums."""
    return table[[column.name for column in tables.SCHEMAS[name] if column.name in table]]
