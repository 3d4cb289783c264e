"""A made-up cohort of any size as result tables: no measurement behind it, but every state that the tables know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import special

from monitor import burden, growth, tables

BATCH = 200
"""Patients that are made at a time: what is worked with stays below 1 GB."""

CONDITIONS = ("JDM", "GACI", "FOP", "PXE", "pseudohypoparathyroidism 1A", "familial tumoral calcinosis")
TREATMENTS = ("infliximab", "etidronate", "palovarotene", "vitamin K", "thiosulfate", "acetazolamide")
"""Conditions, and what each one's patients are given; names that a page must show, and no advice."""

ARMS, SITES, SEXES = ("A", "B", "C"), ("01", "02", "03", "04"), ("F", "M")
COMPARTMENTS = ("muscle_or_fascia", "organ", "periarticular", "skin", "subcutis", "vessel_wall")
SIDES = ("left", "right", "midline")
PATTERNS = ("nodular", "sheet", "amorphous_cloud", "lacy", "lobulated", "shell", "linear", "indeterminate")
STATUSES = ("baseline", "new", "first_seen", "grown", "stable", "shrunk", "resolved", "merged", "split", "not_in_field")
VERDICTS = ("increased", "decreased", "no_detectable_change", "not_comparable")
COMPARISONS = ("previous", "baseline", "nadir")
WHY = (
    "beyond the smallest detectable change",
    "within the smallest detectable change",
    "kernel Br40 and Br64",
    "an amount is missing",
    "volume not resolved, judged by the excess: beyond the smallest detectable change",
    "volume not resolved, judged by the excess: within the smallest detectable change",
)
REFUSALS = {
    "slice-gap": "slice spacing of this scan is not uniform: 2.5 mm to 5.0 mm; every gap must agree within 1 %",
    "no-pixels": "a scan must hold images; this folder holds a structured report alone",
    "not-ct": "a scan must be a CT in HU; this one is a dose report",
}

COMPARED = ("volume_mm3", "excess_hu_mm3", "mass_mg")
"""Quantities that are compared; of sums the first two are also divided by body surface and growth."""

LIMITS = {"agatston": ("sevrukov-2005:4.930*sqrt(before),from-zero:11.6", 4.930, 11.6),
          "threshold_volume_mm3": ("sevrukov-2005:3.445*sqrt(before),from-zero:9.5", 3.445, 9.5)}  # fmt: skip
"""One published limit of each quantity that has some: its name, and what it allows, times the root of what was before,
and where there was none."""

PER_MM3 = {"threshold_volume_mm3": 1.3, "envelope_mm3": 1.6, "agatston": 1.25, "mass_tissue_mg": 0.34,
           "threshold_volume_iso_mm3": 1.28, "threshold_mass_mg": 0.5, "spatially_weighted_mm3": 0.9}  # fmt: skip
"""What a mm³ of mineral comes to in each quantity; of other scores by Agatston's 1.25."""

NOBODY = 97
"""Of so many patients the scans of one are all refused."""

OUT_OF_FIELD = 61
"""Of so many patients the latest visit of one shows none of the lesions that are known."""

LEAST_FIELD = 0.1
"""Share of the reference that such a visit shows."""

MG_PER_EXCESS = 0.00077
"""Hydroxyapatite, mg, per HU mm³ at 120 kV: as the pipeline's nominal calibration."""

DENSITY_HU = 430.0
"""Mean contrast of mineral, HU."""

RELATIVE_SD, LEAST_SD_MM3 = 0.05, 1.5
"""SD of a lesion's volume: relative, and mm³ of the smallest."""

SURE = 2.8
"""SDs that a change must exceed, one of several comparisons."""

Z95 = 1.959964
"""Normal quantile of two-sided 95 % limits."""

YEAR_DAYS = 365.25
FIRST_DAY = np.datetime64("2015-01-05")


class Text(NamedTuple):
    """A column of text as numbers of its words; -1 is missing."""

    codes: np.ndarray
    words: tuple[str, ...]


Columns = dict[str, object]
"""Columns of one table by name: arrays, ``Text``, or one value for all rows."""


@dataclass(frozen=True)
class Plan:
    """How large a cohort is; ``places`` is how many compartments of a patient hold lesions."""

    patients: int
    visits: int
    lesions: int
    seed: int
    places: int = 3

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the patients, sorted."""
        return tuple(f"P{number + 1:05d}" for number in range(self.patients))

    @property
    def visit_ids(self) -> tuple[str, ...]:
        """Ids of the visits, sorted by date."""
        return tuple(f"V{number:02d}" for number in range(self.visits))


@dataclass(frozen=True)
class Batch:
    """Some patients (P) with visits (V) and lesions (L); what each array holds, its name and shape say.

    ``volume`` is NaN where a lesion has no row or was not in the field, ``status`` -1 where it has no row; ``earlier``
    holds by visit and comparison the number of the visit that it is compared with, -1 for none.
    """

    plan: Plan
    who: dict[str, np.ndarray]  # P
    number: np.ndarray  # P
    base: np.ndarray  # P
    years: np.ndarray  # P V
    date: np.ndarray  # P V
    kept: np.ndarray  # P V
    comparable: np.ndarray  # P V
    in_field: np.ndarray  # P V
    norms: dict[str, np.ndarray]  # P V
    place: np.ndarray  # P L
    side: np.ndarray  # P L
    thin: np.ndarray  # P L
    volume: np.ndarray  # P V L
    density: np.ndarray  # P V L
    status: np.ndarray  # P V L
    kin: np.ndarray  # P L: the lesion that it merged into or came from
    earlier: np.ndarray  # P V 3
    surgery: np.ndarray  # P: years, inf for none


def made(plan: Plan, tell: Callable[[int], None] | None = None) -> dict[str, pd.DataFrame]:
    """Return every table of a made-up cohort.

    Parameters
    ----------
    plan : Plan
    tell : callable, optional
        Called with the number of patients that are made.
    """
    parts: dict[str, list[pa.Table]] = {name: [] for name in tables.SCHEMAS}
    for start in range(0, plan.patients, BATCH):
        rng = np.random.default_rng([plan.seed, start])
        one = _batch(plan, np.arange(start, min(start + BATCH, plan.patients)), rng)
        for name, columns in _tables(one, rng):
            parts[name].append(_arrow(name, columns))
        if tell is not None:
            tell(int(one.number[-1]) + 1)
    found = {name: _joined(name, parts.pop(name)) for name in tables.SCHEMAS}
    found["trends"] = _with_cohort(found["trends"], found["patients"])
    return found


def _batch(plan: Plan, number: np.ndarray, rng: np.random.Generator) -> Batch:
    """Draw some patients."""
    P, V = len(number), plan.visits
    who = {
        "condition": rng.choice(len(CONDITIONS), P, p=[0.4, 0.15, 0.15, 0.15, 0.1, 0.05]),
        "arm": rng.integers(0, len(ARMS), P),
        "site": rng.integers(0, len(SITES), P),
        "sex": rng.integers(0, len(SEXES), P),
        "age_years": np.round(rng.uniform(1.0, 17.0, P), 1),
    }
    base = (rng.random(P) < 0.1).astype(int) if V > 2 else np.zeros(P, int)
    gaps = np.round(rng.uniform(0.3, 0.8, (P, V)) * YEAR_DAYS)
    days = np.cumsum(gaps, axis=1) - gaps[:, :1]
    years = (days - np.take_along_axis(days, base[:, None], 1)) / YEAR_DAYS
    # A trial goes on: some have few visits so far. The baseline is always there.
    reached = np.arange(V) < np.maximum(rng.integers(V // 2 + 1, V + 3, P), base + 1)[:, None]
    after = np.arange(V) > base[:, None]
    kept = reached & ~((rng.random((P, V)) < 0.015) & after) & (number % NOBODY != NOBODY - 1)[:, None]
    cut = (rng.random((P, V)) < 0.04) & after
    in_field = np.where(cut, rng.uniform(0.6, 0.95, (P, V)), 1.0)
    latest = kept & after & (np.cumsum(kept[:, ::-1], axis=1)[:, ::-1] == 1)
    blind = latest & (number % OUT_OF_FIELD == OUT_OF_FIELD - 1)[:, None]
    in_field = np.where(blind, LEAST_FIELD, in_field)
    surface = (0.45 + 0.075 * np.clip(who["age_years"][:, None] + years, 0.5, 18)) * rng.normal(1, 0.05, (P, 1))
    known = rng.random((P, 1)) < 0.85
    one = _lesions(plan, rng, who, (years, kept, cut, blind, base))
    return Batch(
        plan=plan,
        who=who,
        number=number,
        base=base,
        years=years,
        date=FIRST_DAY + (days + rng.integers(0, 900, (P, 1))).astype("timedelta64[D]"),
        kept=kept,
        comparable=~((rng.random((P, V)) < 0.05) & after),
        in_field=in_field,
        norms={"_per_m2": np.where(known, surface, np.nan), "_per_growth": np.maximum(1 + 0.05 * years, 0.8)},
        earlier=_earlier(kept, base, np.nansum(one["volume"], axis=2)),
        surgery=np.where(rng.random(P) < 0.06, rng.uniform(0.3, 3.0, P), np.inf),
        **one,
    )


def _lesions(
    plan: Plan, rng: np.random.Generator, who: dict[str, np.ndarray], when: tuple[np.ndarray, ...]
) -> dict[str, np.ndarray]:
    """Draw the lesions of some patients: where they are, when they come and go, and what is measured of them."""
    years, kept, cut, blind, base = when
    (P, V), L = years.shape, plan.lesions
    at = np.arange(V)[None, :, None]
    effect = np.array([0.14, -0.02, -0.12])[who["arm"]]
    rate = rng.normal(effect, 0.18)[:, None] + rng.normal(0, 0.12, (P, L))
    size = -np.sort(-np.exp(rng.normal(4.6, 1.1, (P, L)) + rng.normal(0, 0.7, (P, 1))), axis=1)
    late = rng.random((P, L)) < 0.22
    birth = np.where(late, rng.integers(1, max(V, 2), (P, L)), 0)
    birth[:, 0] = 0
    fate = rng.random((P, L))
    end = np.where(fate < 0.13, birth + 1 + rng.integers(0, V, (P, L)), V)
    resolved, merged = fate < 0.09, (fate >= 0.09) & (fate < 0.13)
    split = late & (rng.random((P, L)) < 0.12)
    merged[:, 0] = False
    end[:, 0] = V
    kin = np.zeros((P, L), int)
    here = _here((at >= birth[:, None]) & kept[:, :, None], blind)
    over = here & (at >= end[:, None])
    truth = size[:, None] * np.exp(rate[:, None] * years[:, :, None]) * np.where(late, 0.35, 1.0)[:, None]
    truth = np.where(here & ~over, truth, 0.0)
    gone = over & merged[:, None]
    joined = np.where(gone, size[:, None] * np.exp(rate[:, None] * years[:, :, None]), 0.0).sum(axis=2)
    truth[:, :, 0] += np.where(kept, joined, 0.0)
    volume = truth * rng.normal(1, RELATIVE_SD, (P, V, L)) + np.where(truth > 0, rng.normal(0, 1.0, (P, V, L)), 0)
    volume = np.where(truth > 0, np.maximum(volume, 0.5), 0.0)
    first = here & (np.cumsum(here, axis=1) == 1)
    before_base = (at < base[:, None, None]) & here
    status = np.where(here, STATUSES.index("stable"), -1)
    status = np.where(first, np.where(at == 0, STATUSES.index("baseline"), STATUSES.index("new")), status)
    status = np.where(first & before_base, STATUSES.index("first_seen"), status)
    status = np.where((at == base[:, None, None]) & here, STATUSES.index("baseline"), status)
    status = np.where(first & split[:, None] & (at > base[:, None, None]), STATUSES.index("split"), status)
    unseen = here & cut[:, :, None] & (rng.random((P, 1, L)) < 0.25) & ~first | here & blind[:, :, None]
    ending = gone & (np.cumsum(gone, axis=1) == 1)
    status = np.where(over & resolved[:, None], STATUSES.index("resolved"), status)
    status = np.where(unseen, STATUSES.index("not_in_field"), status)
    status = np.where(gone, np.where(ending, STATUSES.index("merged"), -1), status)
    without = (status < 0) | (status == STATUSES.index("not_in_field")) | (status == STATUSES.index("merged"))
    places = np.argsort(rng.random((P, len(COMPARTMENTS))), axis=1)[:, : plan.places]
    return {
        "place": np.take_along_axis(places, rng.integers(0, places.shape[1], (P, L)), 1),
        "side": rng.choice(len(SIDES), (P, L), p=[0.45, 0.45, 0.1]),
        "thin": rng.random((P, L)) < 0.25,
        "volume": np.where(without, np.nan, volume),
        "density": DENSITY_HU * (1 + 0.03 * years)[:, :, None] * rng.normal(1, 0.2, (P, 1, L)).clip(0.4),
        "status": status,
        "kin": kin,
    }


def _here(born: np.ndarray, blind: np.ndarray) -> np.ndarray:
    """Return which lesions have a row, (P, V, L): none comes first at a visit at which nothing is seen."""
    return born & ~(blind[:, :, None] & (np.cumsum(born, axis=1) == 1))


def _earlier(kept: np.ndarray, base: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the number of the visit that each is compared with: (P, V, 3), -1 for none."""
    P, V = kept.shape
    found = np.full((P, V, len(COMPARISONS)), -1)
    last = np.full(P, -1)
    least, where = np.full(P, np.inf), np.full(P, -1)
    for visit in range(V):
        here = kept[:, visit]
        found[here, visit, 0] = last[here]
        later = here & (visit > base)
        found[later, visit, 1] = base[later]
        found[later, visit, 2] = where[later]
        last[here] = visit
        lower = here & (visit >= base) & (total[:, visit] < least)
        least[lower], where[lower] = total[lower, visit], visit
    return found


def _amounts(one: Batch) -> dict[str, np.ndarray]:
    """Return every summed quantity of every lesion, (P, V, L)."""
    excess = one.volume * one.density
    own = {"volume_mm3": one.volume, "excess_hu_mm3": excess, "mass_mg": excess * MG_PER_EXCESS}
    return {name: own.get(name, one.volume * PER_MM3.get(name, PER_MM3["agatston"])) for name in burden.SUMMED}


def _sd(name: str, amounts: dict[str, np.ndarray]) -> np.ndarray:
    """Return the SD of a quantity of each lesion."""
    volume = amounts["volume_mm3"]
    relative = np.hypot(RELATIVE_SD, LEAST_SD_MM3 / np.maximum(volume, LEAST_SD_MM3))
    return np.where(volume > 0, relative * amounts[name], 0.0)


def _tables(one: Batch, rng: np.random.Generator) -> Iterator[tuple[str, Columns]]:
    """Yield the rows of each table."""
    amounts = _amounts(one)
    lesion_pairs = _lesion_pairs(one, amounts)
    status = _followed(one, lesion_pairs["volume_mm3"]["verdict"][:, :, 0])
    yield "patients", _patients(one)
    yield "visits", _visits(one, status, rng)
    yield "lesions", _lesion_rows(one, amounts, status, rng)
    yield "lineage", _lineage(one, status)
    sums = _sums(one, amounts)
    for columns in _burden(one, sums):
        yield "burden", columns
    yield "changes", _changes(one, lesion_pairs, _sum_pairs(one, amounts))
    yield "trends", _rates(one, sums)
    yield "events", _events(one, rng)
    yield "refused", _refused(one, rng)
    yield "scores", _scores(one, rng)
    if one.number[0] == 0:
        yield "selftest", _selftest(rng)


def _occasion(one: Batch) -> Columns:
    """Return what the rows of a visit share, (P, V)."""
    P, V = one.kept.shape
    return {
        "patient_id": Text(np.broadcast_to(one.number[:, None], (P, V)), one.plan.ids),
        "visit_id": Text(np.broadcast_to(np.arange(V), (P, V)), one.plan.visit_ids),
        "date": one.date,
        "years": one.years,
    }


def _patients(one: Batch) -> Columns:
    measured = one.kept.any(axis=1)
    return {
        "patient_id": Text(one.number, one.plan.ids),
        "condition": Text(one.who["condition"], CONDITIONS),
        "arm": Text(one.who["arm"], ARMS),
        "site": Text(one.who["site"], SITES),
        "sex": Text(one.who["sex"], SEXES),
        "age_years": one.who["age_years"],
        "baseline_visit_id": Text(np.where(measured, one.base, -1), one.plan.visit_ids),
        "treated_from_years": np.where(measured, _treated_from(one), np.nan),
    }


def _treated_from(one: Batch) -> np.ndarray:
    """Return when treatment began, years; arm A had none at first."""
    days = 3 + one.number * 7919 % 40
    return np.where((one.who["arm"] == 0) & (one.number % 3 > 0), np.nan, days / YEAR_DAYS)


def _visits(one: Batch, status: np.ndarray, rng: np.random.Generator) -> Columns:
    P, V = one.kept.shape
    is_base = np.arange(V) == one.base[:, None]
    present = (one.volume > 0) & (status >= 0)
    why = np.where(one.comparable, 0, 1)
    columns: Columns = {
        **_occasion(one),
        "scan_id": "",
        "modality": "CT",
        "region": "lower limbs",
        "kvp": np.where(one.who["age_years"][:, None] + one.years < 8, 100.0, 120.0),
        "kernel": Text(why, ("Br40", "Br64")),
        "slice_thickness_mm": 1.5,
        "slice_increment_mm": 1.0,
        "contrast": "none",
        "contrast_found": "none",
        "manufacturer": "made up",
        "ctdi_vol_mgy": np.round(rng.lognormal(0.9, 0.3, (P, V)), 2),
        "noise_hu": rng.normal(17, 2, (P, V)),
        "threshold_hu": 130.0,
        "lod_mm3": rng.normal(4.0, 0.5, (P, V)).clip(2),
        "residual_mm": np.where(is_base, 0.0, rng.gamma(6, 0.08, (P, V))),
        "residual_hi_mm": np.where(is_base, 0.0, rng.gamma(6, 0.16, (P, V))),
        "in_field": one.in_field,
        "comparable": one.comparable,
        "comparable_why": Text(why, ("", WHY[2])),
        "n_lesions": present.sum(axis=2).astype(float),
        "reference_visit_id": Text(np.broadcast_to(one.base[:, None], (P, V)), one.plan.visit_ids),
        "registration": "rigid+growth+affine, bending with rigid bone",
    }
    columns["dlp_mgy_cm"] = np.asarray(columns["ctdi_vol_mgy"]) * 48.0
    return _picked(one.kept, columns)


def _lesion_rows(one: Batch, amounts: dict[str, np.ndarray], status: np.ndarray, rng: np.random.Generator) -> Columns:
    P, V, L = status.shape
    volume, excess = one.volume, amounts["excess_hu_mm3"]
    seen = volume > 0
    sd, excess_sd = (Z95 * _sd(name, amounts) for name in ("volume_mm3", "excess_hu_mm3"))
    wide = np.where(one.thin[:, None], 5.0, 1.0)
    at = {axis: rng.normal(0, spread, (P, 1, L)) for axis, spread in (("x_mm", 60), ("y_mm", 40), ("z_mm", 200))}
    pattern = rng.integers(0, len(PATTERNS), (P, 1, L))
    gone = status == STATUSES.index("resolved")
    columns: Columns = {
        **{name: _wide(column) for name, column in _occasion(one).items()},
        "lesion_id": np.arange(1.0, L + 1),
        "status": Text(status, STATUSES),
        "volume_mm3": volume,
        "volume_lo_mm3": np.maximum(volume - sd * wide, 0.1 * volume),
        "volume_hi_mm3": np.where(gone, 4.0, volume + sd * wide),
        "volume_rule": Text(np.where(seen, one.thin[:, None] * 1, -1), ("outline", "not_resolved")),
        "excess_lo_hu_mm3": excess - excess_sd,
        "excess_hi_hu_mm3": excess + excess_sd,
        "calibration": Text(np.where(seen, 0, -1), ("nominal",)),
        "mean_hu": np.where(seen, one.density + 50, np.nan),
        "peak_hu": np.where(seen, 1.6 * one.density + 80, np.nan),
        **at,
        "compartment": Text(one.place[:, None], COMPARTMENTS),
        "side": Text(one.side[:, None], SIDES),
        "depth_mm": rng.gamma(3, 6, (P, 1, L)),
        "bone_contact": rng.random((P, 1, L)) < 0.1,
        "rim_core_hu": np.where(seen, rng.normal(40, 60, (P, 1, L)), np.nan),
        "zonal_index": np.where(seen, rng.normal(0.1, 0.3, (P, 1, L)), np.nan),
        "pattern": Text(np.where(seen, pattern, -1), PATTERNS),
        "rim_completeness_pct": np.where(seen, rng.uniform(10, 95, (P, 1, L)), np.nan),
        "kind": Text(np.where(seen, pattern % 3, -1), ("calcification", "indeterminate", "ossification")),
        "mineral_fraction": np.where(seen, 1 / PER_MM3["envelope_mm3"], np.nan),
        "link_score": np.where(np.isin(status, (0, 1, 2)), np.nan, np.round(rng.uniform(0.8, 1.0, (P, V, L)), 3)),
    }
    shared = ("envelope_mm3", "threshold_volume_mm3", "excess_hu_mm3", "mass_mg", "agatston")
    return _picked(status >= 0, columns | {name: amounts[name] for name in shared})


def _lineage(one: Batch, status: np.ndarray) -> Columns:
    P, _, L = status.shape
    kinds = ("new", "first_seen", "resolved", "merged", "split", "not_in_field")
    code = np.array([kinds.index(name) if name in kinds else -1 for name in STATUSES])[status]
    code = np.where(status < 0, -1, code)
    before = np.concatenate([np.full((P, 1, L), -1), code[:, :-1]], axis=1)
    told = (code >= 0) & ~((code == kinds.index("resolved")) & (before == code))
    names = _occasion(one)
    columns: Columns = {
        "patient_id": _wide(names["patient_id"]),
        "visit_id": _wide(names["visit_id"]),
        "lesion_id": np.arange(1.0, L + 1),
        "kind": Text(code, kinds),
        "from_lesion_id": np.where(code == kinds.index("split"), one.kin[:, None] + 1.0, np.nan),
        "into_lesion_id": np.where(code == kinds.index("merged"), one.kin[:, None] + 1.0, np.nan),
    }
    return _picked(told, columns)


def _compared(
    pair: tuple[np.ndarray, np.ndarray], sds: tuple[np.ndarray, np.ndarray], fine: np.ndarray
) -> dict[str, np.ndarray]:
    """Return change, its limits and verdict of amounts at two visits."""
    change = pair[1] - pair[0]
    sd = np.hypot(*sds)
    unknown = np.isnan(change)
    verdict = np.where(np.abs(change) <= SURE * sd, 2, np.where(change > 0, 0, 1))
    verdict = np.where(fine & ~unknown, verdict, 3)
    why = np.where(verdict == 3, np.where(unknown, 3, 2), np.where(verdict == 2, 1, 0))
    return {
        "before": pair[0],
        "after": pair[1],
        "change": change,
        "lo": change - Z95 * sd,
        "hi": change + Z95 * sd,
        "detectable": SURE * sd,
        "verdict": verdict,
        "why": why,
    }


def _at(one: Batch, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return amounts by visit at the earlier visit of each comparison and at the later one, (P, V, 3, ...)."""
    rows = np.arange(len(values))[:, None, None]
    return values[rows, np.maximum(one.earlier, 0)], np.broadcast_to(
        values[:, :, None], (*one.earlier.shape, *values.shape[2:])
    )


def _fine(one: Batch) -> np.ndarray:
    """Tell which comparisons are of two comparable visits, (P, V, 3)."""
    before, after = _at(one, one.comparable)
    return before & after


def _lesion_pairs(one: Batch, amounts: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Compare each lesion, (P, V, 3, L), by quantity; the excess judges what is not resolved."""
    fine = _fine(one)[..., None]
    found = {name: _compared(_at(one, amounts[name]), _at(one, _sd(name, amounts)), fine) for name in COMPARED}
    thin = np.broadcast_to(one.thin[:, None, None], found["volume_mm3"]["verdict"].shape)
    volume, excess = found["volume_mm3"], found["excess_hu_mm3"]
    volume["verdict"] = np.where(thin, excess["verdict"], volume["verdict"])
    carried = np.array([4, 5, 2, 3])[np.minimum(excess["why"], 3)]
    volume["why"] = np.where(thin, carried, volume["why"])
    return found


def _followed(one: Batch, verdict: np.ndarray) -> np.ndarray:
    """Return statuses, (P, V, L), in which what stayed says whether it grew since the visit before."""
    stayed = (one.status == STATUSES.index("stable")) & (one.earlier[:, :, 0] >= 0)[..., None]
    word = np.array([STATUSES.index(name) for name in ("grown", "shrunk", "stable", "stable")])[verdict]
    return np.where(stayed, word, one.status)


def _members(one: Batch) -> np.ndarray:
    """Return which lesion counts in the total (0) and in each compartment (1 ...), (P, L, K)."""
    own = one.place[:, :, None] == np.arange(len(COMPARTMENTS))
    return np.concatenate([np.ones((*one.place.shape, 1), bool), own], axis=2)


def _added(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Add up over the lesions, the last axis, into total and compartments; NaN counts as nothing."""
    return np.einsum("p...l,plk->p...k", np.nan_to_num(values), members.astype(float))


class _Sums(NamedTuple):
    """Sums of a batch: by quantity (P, V, K) of value and SD; which lesions are known, seen, and the places used."""

    value: dict[str, np.ndarray]
    sd: dict[str, np.ndarray]
    evaluable: np.ndarray
    used: np.ndarray


def _sums(one: Batch, amounts: dict[str, np.ndarray]) -> _Sums:
    members = _members(one)
    known = (one.status >= 0) & (one.status != STATUSES.index("merged"))
    counted, seen = (_added(part.astype(float), members) for part in (known, known & ~np.isnan(one.volume)))
    value = {name: _added(part, members) for name, part in amounts.items()}
    value["n_lesions"] = _added((one.volume > 0).astype(float), members)
    sides = [_added(((one.volume > 0) & (one.side == side)[:, None]).astype(float), members) for side in range(3)]
    regions = np.sum([part > 0 for part in sides], axis=0, dtype=float)
    value["n_regions"] = np.concatenate([regions[..., 1:].sum(axis=-1, keepdims=True), regions[..., 1:]], axis=-1)
    sd = {name: np.sqrt(_added(_sd(name, amounts) ** 2, members)) for name in COMPARED}
    used = _added((one.status >= 0).any(axis=1).astype(float), members) > 0
    return _Sums(value, sd, np.where(counted > 0, seen / np.maximum(counted, 1), 1.0), used)


def _norms() -> dict[str, growth.Norm]:
    return {norm.suffix: norm for norm in growth.norms(growth.Size(), np.nan, {})}


_PLACES = ("total", *COMPARTMENTS)


def _burden(one: Batch, sums: _Sums) -> Iterator[Columns]:
    """Yield the rows of some patients: every quantity of total and compartments, as measured and normalised."""
    names = [(name, name, "") for name in burden.RULES]
    names += [(f"{name}{suffix}", name, suffix) for suffix in one.norms for name in COMPARED[:2]]
    norm = _norms()
    value, sd = [], []
    for _, name, suffix in names:
        divisor = one.norms[suffix][..., None] if suffix else 1.0
        value.append(sums.value[name] / divisor)
        error = sums.sd[name] / divisor if name in sums.sd else np.nan * sums.value[name]
        sd.append(np.hypot(error, norm[suffix].error * value[-1]) if suffix else error)
    # P V K Q: of a visit the total comes first, and then each compartment's quantities.
    amount, error = (np.stack(part, axis=-1) for part in (value, sd))
    whole = np.where(sums.evaluable[..., None] >= 1, amount, np.nan)
    rules = tuple(burden.RULES[name] + (norm[suffix].rule if suffix else "") for _, name, suffix in names)
    units = tuple(burden.UNITS[name] + (norm[suffix].unit if suffix else "") for _, name, suffix in names)
    number = np.arange(len(names))
    columns: Columns = {
        **{name: _wide(_wide(column)) for name, column in _occasion(one).items()},
        "compartment": Text(np.arange(len(_PLACES))[:, None], _PLACES),
        "quantity": Text(number, tuple(name for name, _, _ in names)),
        "value": whole,
        "lo": whole - Z95 * error,
        "hi": whole + Z95 * error,
        "unit": Text(number, units),
        "rule_id": Text(number, rules),
        "evaluable": sums.evaluable[..., None],
        "value_observed": amount,
    }
    there = one.kept[..., None, None] & sums.used[:, None, :, None]
    yield _picked(np.broadcast_to(there, amount.shape), columns)


def _sum_pairs(one: Batch, amounts: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Compare total and compartments, (P, V, 3, K), by quantity, over the field common to both visits."""
    members, fine = _members(one), _fine(one)[..., None]
    hidden = one.status == STATUSES.index("not_in_field")
    common = ~np.logical_or(*_at(one, hidden))
    found = {}
    for name in (*COMPARED, *LIMITS):
        pair = [_added(np.where(common, part, 0.0), members) for part in _at(one, amounts[name])]
        squares = [np.where(common, part, 0.0) ** 2 for part in _at(one, _sd(name, amounts))]
        sds = [np.sqrt(_added(part, members)) for part in squares]
        if name in LIMITS:
            _, factor, none = LIMITS[name]
            least = np.where(pair[0] > 0, factor * np.sqrt(pair[0]), none) / SURE
            found[f"{name};limit"] = _compared((pair[0], pair[1]), (least, 0 * least), fine)
            continue
        found[name] = _compared((pair[0], pair[1]), (sds[0], sds[1]), fine)
        for suffix, divisor in one.norms.items() if name in COMPARED[:2] else ():
            over = [part[..., None] for part in _at(one, divisor)]
            error = _norms()[suffix].error
            per = [part / by for part, by in zip(pair, over, strict=True)]
            wide = [np.hypot(sd / by, error * part) for sd, by, part in zip(sds, over, per, strict=True)]
            found[name + suffix] = _compared((per[0], per[1]), (wide[0], wide[1]), fine)
    return found


def _changes(one: Batch, lesions: dict[str, dict[str, np.ndarray]], sums: dict[str, dict[str, np.ndarray]]) -> Columns:
    """Return the rows of lesions and of sums, sorted as the pipeline sorts them: patient, visit, comparison."""
    P, V, C = one.earlier.shape
    there = (one.earlier >= 0) & one.kept[..., None]
    key = np.arange(P * V * C).reshape(P, V, C)
    norm = _norms()
    names, rules, units = [], [], []
    for full in sums:
        name, suffix = next(((full.removesuffix(s), s) for s in norm if full.endswith(s)), (full, ""))
        name, _, limit = name.partition(";")
        names.append(name + suffix)
        beside = norm[suffix].rule if suffix else f";limit={LIMITS[name][0]}" if limit else ""
        rules.append(burden.RULES[name] + beside)
        units.append(burden.UNITS[name] + (norm[suffix].unit if suffix else ""))
    known = {"quantity": tuple(names), "rule_id": tuple(rules), "unit": tuple(units)}
    blocks = []
    for found, rows in ((lesions, _of_lesions(one)), (sums, _of_sums(one, [";limit" in name for name in sums]))):
        told = {name: np.stack([part[name] for part in found.values()], axis=-1) for name in _NUMBERS}
        number = np.arange(len(found))
        kind = {name: Text(number, words) for name, words in known.items()}
        exchanged = _exchanged(told) if found is lesions else {}
        mask = np.broadcast_to(there[..., None, None] & rows.pop("there"), told["before"].shape)
        block = _pair_names(one) | rows | kind | _told(one, told) | exchanged | {"key": key[..., None, None]}
        blocks.append(_picked(mask, block))
    return _merged(blocks)


_NUMBERS = ("before", "after", "change", "lo", "hi", "detectable", "verdict", "why")


def _pair_names(one: Batch) -> Columns:
    """Return patient, visits and comparison, (P, V, 3, 1, 1)."""
    P, V, C = one.earlier.shape
    shape = (P, V, C, 1, 1)
    return {
        "patient_id": Text(np.broadcast_to(one.number[:, None, None, None, None], shape), one.plan.ids),
        "from_visit": Text(one.earlier[..., None, None], one.plan.visit_ids),
        "to_visit": Text(np.broadcast_to(np.arange(V)[:, None, None, None], shape), one.plan.visit_ids),
        "comparison": Text(np.broadcast_to(np.arange(C)[:, None, None], shape), COMPARISONS),
    }


def _of_lesions(one: Batch) -> Columns:
    """Return which lesions are compared, and what their rows say, (P, V, 3, L, 1)."""
    before, after = _at(one, ~np.isnan(one.volume))
    thin = one.thin[:, None, None, :, None]
    return {
        "there": (before & after)[..., None],
        "lesion_id": np.arange(1.0, one.plan.lesions + 1)[:, None],
        "compartment": None,
        "carried_by": Text(thin * 1, COMPARED),
    }


def _of_sums(one: Batch, by_limit: list[bool]) -> Columns:
    """Return which sums are compared, and what their rows say, (P, V, 3, K, Q); by a published limit totals alone."""
    used = (_added((one.status >= 0).any(axis=1).astype(float), _members(one)) > 0)[:, None, None, :, None]
    only_total = np.array(by_limit) & (np.arange(len(_PLACES)) > 0)[:, None]
    return {
        "there": used & ~only_total,
        "lesion_id": np.nan,
        "compartment": Text(np.arange(len(_PLACES))[:, None], _PLACES),
        "carried_by": Text(np.where(by_limit, -1, 0), COMPARED),
    }


def _told(one: Batch, told: dict[str, np.ndarray]) -> Columns:
    """Return the numbers and words of comparisons."""
    before, after = _at(one, one.years)
    span = (after - before)[..., None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        per_cent = np.where(told["before"] > 0, 100 * told["change"] / told["before"], np.nan)
        a_year = np.where(span > 0, told["change"] / span, np.nan)
    words: Columns = {"verdict": Text(told["verdict"], VERDICTS), "why": Text(told["why"], WHY)}
    numbers = {name: told[name] for name in _NUMBERS if name not in words}
    return {**numbers, **words, "change_pct": per_cent, "change_per_year": a_year}


def _exchanged(told: dict[str, np.ndarray]) -> Columns:
    """Return what lesions gained and lost; of their volumes alone."""
    fine = (told["verdict"] != 3) & (np.arange(len(COMPARED)) == 0)
    turned = 0.04 * told["before"]
    gained = np.where(fine, np.maximum(told["change"], 0) + turned, np.nan)
    lost = gained - told["change"]
    stayed = np.maximum(told["before"] - lost, 0)
    return {
        "gained_mm3": gained,
        "lost_mm3": lost,
        "formation_mm3": 0.5 * gained,
        "resorption_mm3": 0.5 * lost,
        "mineralised_mm3": 0.1 * stayed,
        "demineralised_mm3": 0.05 * stayed,
        "unchanged_mm3": 0.85 * stayed,
    }


def _rates(one: Batch, sums: _Sums) -> Columns:
    """Return each patient's rate by quantity and compartment, and the level of the total."""
    blocks = []
    for quantity in (*COMPARED, "agatston"):
        exact = quantity not in sums.sd
        value = np.where(sums.evaluable >= 1, sums.value[quantity], np.nan)
        counts = one.kept[..., None] & ~np.isnan(value) & (one.years <= one.surgery[:, None])[..., None]
        sd = np.ones_like(value) if exact else np.maximum(sums.sd[quantity], 1e-6)
        line = _lines(one.years[..., None], np.nan_to_num(value), np.where(counts, sd**-2.0, 0.0))
        n = counts.sum(axis=1)
        for term in ("rate", "level"):
            scatter = np.sqrt(line["misfit"] / np.maximum(n - 2, 1)) if exact else 1.0
            se = line[f"{term}_se"] * scatter
            there = (n >= (3 if exact else 2)) & sums.used & (np.arange(len(_PLACES)) == 0 if term == "level" else True)
            blocks.append(_picked(there, {
                "level": "patient",
                "patient_id": Text(np.broadcast_to(one.number[:, None], n.shape), one.plan.ids),
                "compartment": Text(np.arange(len(_PLACES)), _PLACES),
                "lesion_id": np.nan,
                "quantity": quantity,
                "scale": "absolute",
                "model": "OLS" if exact else "WLS, known errors",
                "term": term,
                "estimate": line[term],
                "se": se,
                "df": n - 2.0 if exact else np.inf,
                "lo": line[term] - (2.5 if exact else Z95) * se,
                "hi": line[term] + (2.5 if exact else Z95) * se,
                "interval_kind": "residual_t" if exact else "measurement_error_only",
                "p_value": 2 * special.ndtr(-np.abs(line[term]) / np.maximum(se, 1e-12)),
                "unit": burden.UNITS[quantity] + ("/a" if term == "rate" else ""),
                "time_origin": "baseline",
                "n_patients": 1.0,
                "n_visits": n.astype(float),
                "note": Text(np.where(np.isfinite(one.surgery), 1, 0)[:, None], ("", "closed by surgery")),
            }))  # fmt: skip
    return _merged(blocks)


def _lines(years: np.ndarray, value: np.ndarray, weight: np.ndarray) -> dict[str, np.ndarray]:
    """Return the weighted line through each course, over axis 1: slope, level at 0, their errors, and the misfit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weight.sum(axis=1)
        middle = (weight * years).sum(axis=1) / total
        mean = (weight * value).sum(axis=1) / total
        off = years - middle[:, None]
        spread = (weight * off**2).sum(axis=1)
        rate = (weight * off * value).sum(axis=1) / spread
        misfit = (weight * (value - mean[:, None] - rate[:, None] * off) ** 2).sum(axis=1)
        return {
            "rate": rate,
            "level": mean - rate * middle,
            "rate_se": spread**-0.5,
            "level_se": np.sqrt(1 / total + middle**2 / spread),
            "misfit": misfit,
        }


def _with_cohort(rates: pd.DataFrame, patients: pd.DataFrame) -> pd.DataFrame:
    """Return table ``trends`` in the order of the pipeline, with the cohort's and the arms' mean rates."""
    arm = dict(zip(patients["patient_id"], patients["arm"], strict=True))
    found = []
    for (quantity, compartment), own in rates.groupby(["quantity", "compartment"], sort=True):
        own = own.sort_values("patient_id", kind="stable")
        found.append(own)
        slopes = own[own["term"] == "rate"]
        arms = slopes["patient_id"].map(arm)
        for name, part in [(None, slopes), *slopes.groupby(arms)]:
            if len(part) < 2:
                continue
            mean, se = part["estimate"].mean(), part["estimate"].sem()
            row = {
                "level": "cohort", "arm": name, "quantity": quantity, "compartment": compartment, "scale": "absolute",
                "model": "two-stage, REML between patients", "term": "rate", "estimate": mean, "se": se,
                "df": len(part) - 1.0, "lo": mean - Z95 * se, "hi": mean + Z95 * se, "p_value": np.nan,
                "interval_kind": "knapp_hartung_t", "unit": part["unit"].iloc[0], "time_origin": "baseline",
                "n_patients": len(part), "n_visits": int(part["n_visits"].sum()),
            }  # fmt: skip
            found.append(tables.check(pd.DataFrame([row]), "trends"))
    return tables.check(pd.concat(found, ignore_index=True), "trends") if found else rates


def _events(one: Batch, rng: np.random.Generator) -> Columns:
    """Return treatments, surgeries, flares and injuries."""
    P = len(one.number)
    zero = one.date[np.arange(P), one.base]
    drug = one.who["condition"]
    switched = np.where(rng.random(P) < 0.3, rng.uniform(0.8, 2.5, P), np.nan)
    surgery = np.where(np.isfinite(one.surgery), one.surgery, np.nan)
    flare = np.where(rng.random(P) < 0.35, rng.uniform(-0.5, 3.5, P), np.nan)
    injury = np.where(rng.random(P) < 0.05, rng.uniform(0, 3, P), np.nan)
    parts = (
        (_treated_from(one), np.where(np.isnan(switched), np.nan, switched), "treatment", Text(drug, TREATMENTS)),
        (switched, np.full(P, np.nan), "treatment", Text((drug + 1) % len(TREATMENTS), TREATMENTS)),
        (surgery, np.full(P, np.nan), "surgery", "excision"),
        (flare, flare + 0.15, "flare", "flare"),
        (injury, np.full(P, np.nan), "injury", "fall"),
    )
    blocks = []
    for years, end, kind, name in parts:
        days = np.round(np.nan_to_num(years) * YEAR_DAYS).astype("timedelta64[D]")
        columns: Columns = {
            "patient_id": Text(one.number, one.plan.ids),
            "date": zero + days,
            "years": years,
            "end_years": end,
            "kind": kind,
            "name": name,
            "lesion_id": np.nan,
            "compartment": "",
            "side": "",
            "key": one.number,
        }
        blocks.append(_picked(~np.isnan(years) & one.kept.any(axis=1), columns))
    return _merged(blocks)


def _refused(one: Batch, rng: np.random.Generator) -> Columns:
    """Return what was not measured: gaps between kept visits, and the first visit of who has none."""
    P, V = one.kept.shape
    later = np.cumsum(one.kept[:, ::-1], axis=1)[:, ::-1] > 0
    nothing = ~one.kept.any(axis=1, keepdims=True)
    missing = ~one.kept & (later | (nothing & (np.arange(V) == 0)))
    code = rng.integers(0, len(REFUSALS), (P, V))
    names = _occasion(one)
    path = tuple(f"dicom/{name}" for name in one.plan.ids)
    who = names["patient_id"]
    columns: Columns = {
        "patient_id": who,
        "visit_id": names["visit_id"],
        "scan_id": "",
        "path": Text(who.codes, path) if isinstance(who, Text) else "",
        "code": Text(code, tuple(REFUSALS)),
        "message": Text(code, tuple(REFUSALS.values())),
    }
    return _picked(missing, columns)


def _scores(one: Batch, rng: np.random.Generator) -> Columns:
    """Return clinical scores of those with JDM: one of muscle strength, and one of the skin."""
    P, V = one.kept.shape
    there = one.kept & (one.who["condition"] == 0)[:, None]
    names = _occasion(one)
    key = np.arange(P * V).reshape(P, V)
    level = np.clip(44 + 2 * one.years + rng.normal(0, 3, (P, V)), 0, 52).round()
    skin = np.clip(8 - one.years + rng.normal(0, 2, (P, V)), 0, 100).round()
    blocks = []
    for quantity, value in (("CMAS", level), ("CDASI", skin)):
        columns = names | {
            "quantity": quantity,
            "value": value,
            "unit": "1",
            "compartment": "",
            "reader": "clinic",
            "source": "chart",
            "key": key,
        }
        columns.pop("visit_id")
        blocks.append(_picked(there, columns))
    return _merged(blocks)


def _selftest(rng: np.random.Generator) -> Columns:
    """Return a selftest of the first patient."""
    situations = ("rescan", "noise", "kernel", "slices")
    kinds = {"unchanged": 1.0, "grown_20": 1.2, "grown_50": 1.5, "shrunk_20": 0.8, "dissolved": 0.0}
    S, K = len(situations), len(kinds)
    before = rng.uniform(80, 400, (S, K))
    after = before * np.array([*kinds.values()])
    found = [part * rng.normal(1, 0.03, (S, K)) for part in (before, after)]
    least = 0.1 * before
    change = found[1] - found[0]
    verdict = np.where(np.abs(change) <= least, 2, np.where(change > 0, 0, 1))
    true = np.where(after == before, 2, np.where(after > before, 0, 1))
    numbers = {
        "true_before_mm3": before, "true_after_mm3": after, "true_change_mm3": after - before,
        "before_mm3": found[0], "after_mm3": found[1], "change_mm3": change, "detectable_mm3": least,
    }  # fmt: skip
    dense = {f"excess_{name.replace('_mm3', '_hu_mm3')}": DENSITY_HU * value for name, value in numbers.items()}
    columns: Columns = {
        "patient_id": "P00001",
        "situation": Text(np.arange(S)[:, None], situations),
        "lesion_number": np.arange(1.0, K + 1),
        "lesion": Text(np.arange(K), tuple(kinds)),
        "found": True,
        **numbers,
        "verdict": Text(verdict, VERDICTS),
        "called": Text(verdict, VERDICTS),
        "right": verdict == true,
        **dense,
        "excess_verdict": Text(verdict, VERDICTS),
        "excess_called": Text(verdict, VERDICTS),
        "excess_right": verdict == true,
    }
    return _picked(np.ones((S, K), bool), columns)


def _wide(column: object) -> object:
    """Return a column with an axis more at its end."""
    return Text(column.codes[..., None], column.words) if isinstance(column, Text) else np.asarray(column)[..., None]


def _picked(there: np.ndarray, columns: Columns) -> Columns:
    """Return the columns flat, each spread over the shape of ``there``, where it is true."""

    def flat(values: object) -> np.ndarray:
        return np.broadcast_to(np.asarray(values), there.shape)[there]

    found: Columns = {}
    for name, column in columns.items():
        if isinstance(column, Text):
            found[name] = Text(flat(column.codes).astype(np.int32), column.words)
        elif column is None or isinstance(column, str):
            words = () if column is None else (column,)
            found[name] = Text(np.full(int(there.sum()), len(words) - 1, np.int32), words)
        else:
            found[name] = flat(column)
    return found


def _merged(blocks: list[Columns]) -> Columns:
    """Return blocks of rows as one, sorted by ``key`` where they have one."""
    names = list(dict.fromkeys(name for block in blocks for name in block))
    rows = [len(_plain(next(iter(block.values())))) for block in blocks]
    keyed = all("key" in block for block in blocks)
    order = (
        np.argsort(np.concatenate([_plain(block["key"]) for block in blocks]), kind="stable") if keyed else slice(None)
    )
    found: Columns = {}
    for name in names:
        parts = [block.get(name) for block in blocks]
        texts = [part for part in parts if isinstance(part, Text)]
        if texts:
            words = tuple(dict.fromkeys(word for part in texts for word in part.words))
            codes = [_recoded(part, words, n) for part, n in zip(parts, rows, strict=True)]
            found[name] = Text(np.concatenate(codes)[order], words)
        else:
            full = [np.full(n, np.nan) if part is None else _plain(part) for part, n in zip(parts, rows, strict=True)]
            found[name] = np.concatenate(full)[order]
    found.pop("key", None)
    return found


def _plain(column: object) -> np.ndarray:
    return column.codes if isinstance(column, Text) else np.asarray(column)


def _recoded(part: object, words: tuple[str, ...], rows: int) -> np.ndarray:
    """Return a text column's numbers among other words; all missing where there is no such column."""
    if not isinstance(part, Text):
        return np.full(rows, -1, np.int32)
    if part.words == words:
        return part.codes
    place = {word: number for number, word in enumerate(words)}
    return np.array([*(place[word] for word in part.words), -1], np.int32)[part.codes]


def _arrow(name: str, columns: Columns) -> pa.Table:
    """Return columns as a table of the schema; absent ones are missing."""
    rows = len(_plain(next(iter(columns.values()))))
    found = {}
    for column in tables.SCHEMAS[name]:
        given = columns.get(column.name)
        kind = _KINDS[column.dtype]
        if given is None:
            found[column.name] = pa.nulls(rows, kind)
        elif isinstance(given, Text):
            codes = pa.array(given.codes, mask=given.codes < 0)
            words = pa.array(given.words, pa.large_string())
            found[column.name] = pa.DictionaryArray.from_arrays(codes, words).cast(kind)
        elif column.dtype == tables.WHOLE:
            number = np.asarray(given, float)
            none = np.isnan(number)
            found[column.name] = pa.array(np.where(none, 0, number).astype(np.int64), kind, mask=none)
        elif column.dtype == tables.DATE:
            found[column.name] = pa.array(np.asarray(given).astype("datetime64[s]"), kind)
        else:
            found[column.name] = pa.array(np.asarray(given), kind)
    return pa.table(found)


_KINDS = {
    tables.TEXT: pa.large_string(),
    tables.NUMBER: pa.float64(),
    tables.WHOLE: pa.int64(),
    tables.FLAG: pa.bool_(),
    tables.DATE: pa.timestamp("s"),
}


def _joined(name: str, parts: list[pa.Table]) -> pd.DataFrame:
    """Return the parts of a table as one, in the dtypes of its schema."""
    if not parts:
        return tables.empty(name)
    dtypes = {pa.large_string(): pd.StringDtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    whole = pa.concat_tables(parts)
    parts.clear()
    return whole.to_pandas(types_mapper=dtypes.get, split_blocks=True, self_destruct=True)
