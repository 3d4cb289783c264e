"""How a patient's amounts compare: table ``changes``, and the statuses that rest on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from types import MappingProxyType

import numpy as np
import pandas as pd

from monitor import burden, change, contrast, tables
from monitor.growth import Norm, Size

COMPARED = ("volume_mm3", "excess_hu_mm3", "mass_mg")
"""Quantities with an error of their own, so that a change can be judged."""

NORMALISED = ("volume_mm3", "excess_hu_mm3")
"""Quantities of sums that are also given per body surface and per growth, beside the absolute ones."""

ERRORS = {
    "volume_mm3": ("volume_sd_mm3", "volume_repeat_sd_mm3"),
    "excess_hu_mm3": ("excess_sd_hu_mm3", "excess_repeat_sd_hu_mm3"),
    "mass_mg": ("mass_sd_mg", "mass_repeat_sd_mg"),
}
"""SDs of an amount: all that errs, and what differs from scan to scan."""


@dataclass(frozen=True)
class Visited:
    """What a comparison must know of a visit, beside its lesions.

    Attributes
    ----------
    visit_id : str
    years : float
        Since the baseline.
    acquired : mapping
        How it was scanned, as ``change.comparable`` asks.
    size : Size
        Of the child on that day.
    norms : tuple of Norm
        What sums are divided by, the same kinds at each visit.
    """

    visit_id: str
    years: float
    acquired: change.Acquired
    size: Size
    norms: tuple[Norm, ...]


Shown = Mapping[tuple[str, str], tuple[str, pd.DataFrame, pd.DataFrame]]
"""By an earlier and a later visit: by which protocol both are shown alike, and their lesions as it shows them."""

AS_THEY_ARE: Shown = MappingProxyType({})
"""Every visit is compared as it was measured."""

Amount = dict[str, dict[str, float]]
"""Value and SDs by quantity, and which share of the excess is not resolved."""


@dataclass(frozen=True)
class How:
    """What two visits say of any comparison between them; ``starts`` earlier visits are compared with the later."""

    years: float
    may: tuple[bool, str]
    presence: bool
    follow_up: int
    starts: int = 1
    rule: str = ""
    mass_index: float = nan
    norms: tuple[tuple[Norm, ...], tuple[Norm, ...]] = ((), ())


def _how(known: dict[str, Visited], start: str, end: str, shown: Shown, *, starts: int = 1) -> How:
    one, two = known[start], known[end]
    may = change.comparable(one.acquired, two.acquired)
    rule = rule_beside(one.acquired, two.acquired)
    if (start, end) in shown:
        protocol = shown[start, end][0]
        may = True, f"{may[1]}: both measured as {protocol} would show them"
        rule += f";both-shown-by={protocol.replace(', ', ',').replace(' ', '-')}"
    return How(
        years=two.years - one.years,
        may=may,
        presence=change.presence_only(one.acquired, two.acquired),
        follow_up=list(known).index(end),
        starts=starts,
        rule=rule,
        mass_index=two.size.mass_index,
        norms=(one.norms, two.norms),
    )


def rows(patient_id: str, visited: list[Visited], lesions: pd.DataFrame, shown: Shown = AS_THEY_ARE) -> pd.DataFrame:
    """Compare lesions, compartments and the total at each visit with baseline, previous and nadir.

    Parameters
    ----------
    patient_id : str
    visited : list of Visited
        The visits in order of date.
    lesions : DataFrame
        A row a lesion and visit, with amounts and their SDs.
    shown : Shown
        Visits that are compared as a coarser protocol shows both.

    Returns
    -------
    DataFrame
        Rows of table ``changes``.
    """
    known = {one.visit_id: one for one in visited}
    at = {visit: lesions[lesions["visit_id"] == visit] for visit in known}
    sums = {v: part.loc[part["status"] != "merged", "volume_mm3"].sum(skipna=False) for v, part in at.items()}
    order = pd.DataFrame({"visit_id": [*known], "years": [one.years for one in visited]})
    pairs = change.pairs(order, sums)
    found = []
    for start, end, comparison in pairs:
        how = _how(known, start, end, shown, starts=len({one for one, other, _ in pairs if other == end}))
        about = {"patient_id": patient_id, "from_visit": start, "to_visit": end, "comparison": comparison}
        _, before_all, after_all = shown.get((start, end), ("", at[start], at[end]))
        subjects = _subjects(before_all, after_all)
        for subject, before, after in subjects:
            among = sum(("lesion_id" in other) == ("lesion_id" in subject) for other, _, _ in subjects)
            told = _of_lesion(before, after, how, among)
            if "compartment" in subject:
                told += _of_norms(before, after, how, among, str(subject["compartment"]))
            if subject.get("compartment") == "total":
                told += _by_published(before, after, how)
            found += [{**about, **subject, **row} for row in told]
    return pd.DataFrame(found) if found else tables.empty("changes")


def _of_lesion(before: Amount, after: Amount, how: How, among: int) -> list[dict[str, object]]:
    verdicts = compared(before, after, how, among)
    return [
        {"quantity": name, "rule_id": burden.RULES[name] + how.rule, "unit": burden.UNITS[name], **verdicts[name]}
        for name in COMPARED
    ]


def _of_norms(before: Amount, after: Amount, how: How, among: int, compartment: str) -> list[dict[str, object]]:
    """Return the verdicts on a sum per body surface, per growth, and of a vessel per cm."""
    found = []
    for one, two in zip(how.norms[0], how.norms[1], strict=True):
        if one.compartment not in ("", compartment):
            continue
        verdicts = compared(_per(before, one), _per(after, two), how, among)
        for name in NORMALISED:
            identity = {"quantity": name + one.suffix, "unit": burden.UNITS[name] + one.unit}
            found.append({**identity, "rule_id": burden.RULES[name] + one.rule + how.rule, **verdicts[name]})
    return found


def _by_published(before: Amount, after: Amount, how: How) -> list[dict[str, object]]:
    """Return the verdicts of published limits on a total."""
    rows = []
    for quantity in change.PUBLISHED:
        for row in change.by_published(
            quantity,
            before[quantity]["value"],
            after[quantity]["value"],
            years=how.years,
            mass_index=how.mass_index,
            may=how.may,
            presence=how.presence,
        ):
            limit = row.pop("rule")
            identity = {"quantity": quantity, "unit": burden.UNITS[quantity]}
            rule = f"{burden.RULES[quantity]}{tables.PUBLISHED_LIMIT}{limit}{how.rule}"
            rows.append({**identity, "rule_id": rule, **row})
    return rows


def _per(amount: Amount, norm: Norm) -> Amount:
    """Return the amounts per body surface or growth; how much is not resolved stays."""
    return {name: one if name == "unresolved" else norm.of(one) for name, one in amount.items()}


def compared(before: Amount, after: Amount, how: How, among: int) -> dict[str, dict[str, object]]:
    """Compare each quantity of a lesion or sum, one ``among`` so many; the excess judges what is not resolved."""
    alarms = change.alarms(among, how.follow_up, how.starts)
    verdicts = {
        name: change.compare(
            before[name], after[name], years=how.years, may=how.may, presence=how.presence, alarms=alarms
        )
        for name in COMPARED
    }
    unresolved = any(one["unresolved"]["value"] > change.UNRESOLVED_SHARE for one in (before, after))
    carrier = "excess_hu_mm3" if unresolved else "volume_mm3"
    if unresolved:
        verdicts["volume_mm3"] = change.carried(verdicts["volume_mm3"], verdicts["excess_hu_mm3"])
    return {name: {**verdict, "carried_by": carrier} for name, verdict in verdicts.items()}


def rule_beside(*scans: change.Acquired) -> str:
    """Return what to add to a quantity's rule where scans hold contrast medium."""
    enhanced = all(one["contrast_found"] == "iv" for one in scans)
    return f";{contrast.RULE}" if enhanced else ""


def _subjects(start: pd.DataFrame, end: pd.DataFrame) -> list[tuple[dict[str, object], Amount, Amount]]:
    """Return what can be compared: each lesion seen at both, and the sums over the field common to both."""
    one, two = (part[part["lesion_id"].notna()].set_index("lesion_id") for part in (start, end))
    seen_one, seen_two = (part[part["volume_mm3"].notna()] for part in (one, two))
    unseen = set(one.index[one["status"] == "not_in_field"]) | set(two.index[two["status"] == "not_in_field"])
    subjects: list[tuple[dict[str, object], Amount, Amount]] = []
    both = sorted(set(seen_one.index) & set(seen_two.index))
    subjects += [({"lesion_id": n}, amount(seen_one.loc[[n]]), amount(seen_two.loc[[n]])) for n in both]
    if len(one) < len(start) or len(two) < len(end):
        # A visit without identities: all that was found there stands for the total.
        common = [(start, end)]
    else:
        common = [(seen_one[~seen_one.index.isin(unseen)], seen_two[~seen_two.index.isin(unseen)])]
    before, after = common[0]
    subjects.append(({"compartment": "total"}, amount(before), amount(after)))
    for name in sorted({*before["compartment"], *after["compartment"]} - {""}):
        own = [amount(part[part["compartment"] == name]) for part in (before, after)]
        subjects.append(({"compartment": name}, own[0], own[1]))
    return subjects


def amount(rows: pd.DataFrame) -> Amount:
    """Return value and errors of each quantity, summed over lesions, and how much of the excess is not resolved."""
    found = {}
    for name in COMPARED:
        sds = [rows[column].to_numpy(float) for column in ERRORS[name]]
        both = [float(np.sqrt(np.square(one).sum())) for one in sds]
        found[name] = {"value": float(rows[name].sum(skipna=False)), "sd": both[0], "repeat_sd": both[1]}
    found |= {name: {"value": float(rows[name].sum(skipna=False))} for name in change.PUBLISHED}
    excess = rows["excess_hu_mm3"].clip(lower=0)
    thin = float(excess[rows["volume_rule"] == "not_resolved"].sum())
    return {**found, "unresolved": {"value": thin / float(excess.sum()) if thin > 0 else 0.0}}


def statuses(
    visited: list[Visited], lesions: pd.DataFrame, changes: pd.DataFrame, shown: Shown = AS_THEY_ARE
) -> pd.Series:
    """Turn ``present`` into grown, stable or shrunk: the verdict on volume against the previous evaluable visit."""
    word = {"increased": "grown", "decreased": "shrunk"}
    known = {one.visit_id: one for one in visited}
    status = lesions["status"].copy()
    for _, own in lesions[lesions["lesion_id"].notna()].groupby("lesion_id"):
        evaluable = own[own["volume_mm3"].notna()]
        for earlier, later in zip(evaluable.index[:-1], evaluable.index[1:], strict=True):
            if status[later] == "present":
                status[later] = word.get(
                    _verdict(known, own.loc[[earlier]], own.loc[[later]], changes, shown), "stable"
                )
    return status.replace("present", "stable")


def _verdict(
    known: dict[str, Visited], before: pd.DataFrame, after: pd.DataFrame, changes: pd.DataFrame, shown: Shown
) -> str:
    """Return the verdict that table ``changes`` holds, or, over a gap in the field, the same comparison made here."""
    start, end = before["visit_id"].iloc[0], after["visit_id"].iloc[0]
    pair = (changes["from_visit"] == start) & (changes["to_visit"] == end) & changes["lesion_id"].notna()
    held = changes[pair & (changes["quantity"] == "volume_mm3")]
    own = held[held["lesion_id"] == after["lesion_id"].iloc[0]]
    if len(own):
        return str(own["verdict"].iloc[0])
    how = _how(known, start, end, shown)
    if (start, end) in shown:
        lesion = after["lesion_id"].iloc[0]
        before, after = (part[part["lesion_id"] == lesion] for part in shown[start, end][1:])
    return str(compared(amount(before), amount(after), how, max(1, len(held)))["volume_mm3"]["verdict"])
