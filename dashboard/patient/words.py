"""Sentences of a patient's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboard.patient.own import missing
from dashboard.patient.seen import NONE_FOUND
from dashboard.words import (
    MISSING,
    STATUSES,
    THIN,
    VERDICTS,
    amount,
    axis_title,
    compartment_name,
    day,
    judged_by_excess,
    limits,
    mark,
    marked,
    number,
    plain,
    quantity_name,
    unit_name,
    with_limits,
    years,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboard.patient.own import Row
    from dashboard.patient.seen import Seen

SINCE = {
    "previous": "Since the previous visit",
    "nadir": "Since the lowest amount",
    "both": "Since the previous visit, the lowest amount so far",
}
"""Comparisons beside that with the baseline, as they are told."""

STATES = {
    "hollow": ("not comparable with the baseline", "hollow"),
    "part": ("seen in part of the field", "triangle"),
    "below": ("nothing found", "triangle pointing down"),
    "unlike": ("nothing found and not comparable with the baseline", "hollow triangle pointing down"),
    "absent": ("no amount", "word at the foot of the axis"),
}
"""What is special of a visit, and how it is drawn."""

INTERVALS = {
    "residual_t": "from the scatter of the visits about the line",
    "measurement_error_only": "from the error of the scans alone",
}
"""Intervals of a fitted line, as they are told (``monitor._stats.limits``)."""

TERMS = {
    "rate": "rate",
    "level": "level at the baseline",
    "half_life": "half-life",
    "change_of_rate": "change of rate at the start of treatment",
}
"""What an estimate is."""

UNSIGNED = ("level", "half_life")
"""Terms that are amounts, no changes: told without a plus."""


def who(about: Mapping[str, Any], visits: Sequence[Row]) -> str:
    """Say who a patient is and over what time there are visits.

    >>> import pandas as pd
    >>> visits = [{"years": 0.0, "date": pd.Timestamp("2024-01-01")},
    ...           {"years": 1.5, "date": pd.Timestamp("2025-07-01")}]
    >>> who({"condition": "JDM", "arm": "A", "age_years": 7.25}, visits)
    'JDM, arm A, 7.2 years old at baseline. 2 visits over 1.5 years, 2024-01-01 to 2025-07-01.'
    """
    age, sex = about.get("age_years"), plain(about.get("sex"))
    parts = [
        plain(about.get("condition")),
        f"arm {about['arm']}" if plain(about.get("arm")) else "",
        f"site {about['site']}" if plain(about.get("site")) else "",
        SEXES.get(sex.upper(), sex),
        "" if age is None or missing(age) else f"{float(age):.1f} years old at baseline",
    ]
    told = ", ".join(filter(None, parts))
    head = [f"{told}."] if told else []
    if not visits:
        return " ".join([*head, "No visit was measured."])
    dates = [row["date"] for row in visits if row["date"] is not None]
    times = [row["years"] for row in visits if not missing(row["years"])]
    many = len(visits) > 1
    over = f" over {_years(max(times) - min(times))}" if many and times else ""
    span = f", {day(min(dates))}{f' to {day(max(dates))}' if many else ''}" if dates else ""
    return " ".join([*head, f"{len(visits)} visit{'s' if many else ''}{over}{span}."])


def _years(span: float) -> str:
    """Return a span of time.

    >>> _years(1.04), _years(2.61)
    ('1 year', '2.6 years')
    """
    told = number(round(span, 1))
    return f"{told} year{'' if told == '1' else 's'}"


SEXES = {"F": "female", "M": "male"}
"""Sexes as they are told; anything else is told as it is given."""


def since(change: Row | None, kind: str, excess: str = "") -> tuple[str, str, str] | None:
    """Return symbol, tone and sentence of the change since the previous visit or the lowest amount.

    None where there is no such comparison. ``excess`` is what ``by_excess`` says of it.
    """
    if change is None:
        return None
    found = mark(VERDICTS, change["verdict"])
    head = f"{SINCE[kind]} ({change['from_visit']} to {change['to_visit']})"
    if change["verdict"] == "not_comparable":
        return found.symbol, found.tone, f"{head}: not comparable: {plain(change['why'])}."
    if judged_by_excess(change):
        return found.symbol, found.tone, f"{head}: {found.word}, judged by the excess.{excess}"
    size = amount(change["change"], change["unit"], sign=True)
    between = limits(change["lo"], change["hi"])
    share: str = "" if missing(change["change_pct"]) else f", {number(change['change_pct'], sign=True)}{THIN}%"
    shown = f" (95{THIN}% limits {between}{share})" if between else ""
    return found.symbol, found.tone, f"{head}: {found.word}, {size}{shown}."


def by_excess(change: Row | None, excess: Sequence[Row]) -> str:
    """Say the change of the excess, where it is what a verdict on volume rests on; nothing elsewhere.

    Parameters
    ----------
    change : dict or None
        The comparison of volume.
    excess : sequence of dict
        Comparisons of the excess, among them that of the same visits.
    """
    if change is None or not judged_by_excess(change):
        return ""
    same = ("comparison", "from_visit", "to_visit")
    found = next((row for row in excess if all(row[name] == change[name] for name in same)), None)
    if found is None or missing(found["change"]):
        return ""
    share: str = "" if missing(found["change_pct"]) else f", {number(found['change_pct'], sign=True)}{THIN}%"
    between = limits(found["lo"], found["hi"])
    shown = f" (95{THIN}% limits {between}{share})" if between else ""
    return f" Excess {amount(found['change'], found['unit'], sign=True)}{shown}."


def title(quantity: str, unit: str, scale: str) -> str:
    """Return the title of the axis of amounts.

    >>> title("mass_mg", "mg", "change"), title("mass_mg", "mg", "percent")
    ('Change of mass from baseline (mg)', 'Change of mass from baseline (%)')
    """
    if scale not in ("change", "percent"):
        return axis_title(quantity, unit)
    name, printed = quantity_name(quantity), "%" if scale == "percent" else unit_name(unit)
    told = f"Change of {name[0].lower()}{name[1:]} from baseline"
    return f"{told} ({printed})" if printed else told


def course(seen: Seen, quantity: str, clock_title: str) -> str:
    """Say in words what a trajectory shows: the text alternative of the figure."""
    name = f"{quantity_name(quantity)}, {compartment_name(seen.compartment)}"
    if seen.why_nothing:
        return f"{name}: {seen.why_nothing}"
    shown = [row for row in seen.points if row["state"] != "absent"]
    told = f"{name}, by {clock_title[0].lower()}{clock_title[1:]}: {_at(shown[0], seen.unit)}"
    told += f"; {_at(shown[-1], seen.unit)}" if len(shown) > 1 else ""
    states = [row["state"] for row in seen.points]
    special = [
        f"{states.count(state)} of {len(states)} {what} ({how})"
        for state, (what, how) in STATES.items()
        if state in states
    ]
    said = f"{told}. {'; '.join(special)}." if special else f"{told}."
    return f"{said}{no_band(seen.no_band)}"


def no_band(visits: Sequence[str]) -> str:
    """Say where there is no band round the baseline, and why; nothing where it is everywhere.

    >>> no_band(["V4"])
    ' No band of what is too small to count at V4: compared in the field common to both, see the scale of change.'
    """
    why = "compared in the field common to both, see the scale of change"
    return f" No band of what is too small to count at {' and '.join(visits)}: {why}." if visits else ""


def _at(row: Row, unit: str) -> str:
    if row["state"] in NONE_FOUND:
        size = f"below {amount(row['y'], unit)}" if row["y"] > 0 else "none found"
    else:
        size = f"{with_limits(row['y'], row['y_lo'], row['y_hi'])} {'%' if unit == '%' else unit_name(unit)}".rstrip()
    return f"{row['visit_id']} {size}"


def trend(terms: Mapping[str, Row], unlike: int = 0) -> str:
    """Say rate, half-life and which interval the band is, or why there is none.

    Parameters
    ----------
    terms : mapping
        Rows of table ``trends`` by term.
    unlike : int
        How many of the visits of the rate are not comparable with the baseline.
    """
    rate = terms.get("rate")
    if rate is None:
        return ""
    note = plain(rate["note"])
    remark = f" {note[0].upper()}{note[1:]}." if note else ""
    if missing(rate["estimate"]):
        return f"No rate was estimated.{remark}"
    between = limits(rate["lo"], rate["hi"])
    shown = f" (95{THIN}% limits {between}{_kind(rate)})" if between else " (no limits: too few visits)"
    among = f", of them {unlike} not comparable with the baseline" if unlike else ""
    many = f"from {plain(rate['n_visits'])} visits{among}"
    told = f"Rate: {amount(rate['estimate'], rate['unit'], sign=True)}{shown}, {many}."
    half = terms.get("half_life")
    if half is not None and not missing(half["estimate"]):
        told += f" Half-life {with_limits(half['estimate'], half['lo'], half['hi'])} years."
    band = "the line" if "level" in terms and not missing(terms["level"]["lo"]) else "the rate"
    drawn = f" Band round the fitted line: 95{THIN}% limits of {band}." if between else ""
    return f"{told}{drawn}{remark}"


def _kind(term: Row) -> str:
    kind = plain(term["interval_kind"])
    return f", {INTERVALS.get(kind, kind.replace('_', ' '))}" if kind and kind != "none" else ""


def estimate(value: float, unit: object, *, sign: bool) -> str:
    """Return an estimate with its unit; of a half-life that is years.

    >>> estimate(0.81, "a", sign=False).replace(THIN, " ")
    '0.81 years'
    """
    return f"{number(value, sign=sign)}{THIN}years" if unit == "a" else amount(value, unit, sign=sign)


def new_lesions(lineage: Sequence[Row], visits: Sequence[Row]) -> str:
    """Say how many lesions came and went after the baseline; nothing where there is no follow-up."""
    last = max((row["years"] for row in visits if not missing(row["years"])), default=0.0)
    if last <= 0:
        return ""
    kinds = [row["kind"] for row in lineage if row["years"] > 0]
    came, went = kinds.count("new"), kinds.count("resolved")
    many = f"{came} new lesion{'' if came == 1 else 's'}"
    return f"{many} and {went} resolved in {_years(last)} after the baseline."


def dose(scans: Sequence[Row]) -> str:
    """Say the dose so far; nothing where no scan tells any."""
    product = [row["dlp_mgy_cm"] for row in scans if not missing(row["dlp_mgy_cm"])]
    index = [row["ctdi_vol_mgy"] for row in scans if not missing(row["ctdi_vol_mgy"])]
    parts = []
    if product:
        unknown = len(scans) - len(product)
        more = f"; {unknown} more tell{'s' if unknown == 1 else ''} none" if unknown else ""
        count = f"{len(product)} scan{'' if len(product) == 1 else 's'}{more}"
        least = "at least " if unknown else ""
        parts.append(f"dose-length product {least}{number(sum(product))}{THIN}mGy·cm ({count})")
    if index:
        low, high = number(min(index)), number(max(index))
        parts.append(f"CTDIvol {low if low == high else f'{low} to {high}'}{THIN}mGy a scan")
    return f"Dose so far: {'; '.join(parts)}." if parts else ""


def protocol(changed: Mapping[str, Sequence[str]]) -> str:
    """Say where the protocol changed."""
    told = [f"at {visit}: {', '.join(what)}" for visit, what in changed.items() if what]
    return f"Changes of protocol {'; '.join(told)}." if told else ""


def scores(by_reader: Mapping[str, Sequence[Row]]) -> str:
    """Say first and last of a score, reader by reader."""
    told = []
    for name, rows in by_reader.items():
        known = [row for row in rows if not missing(row["value"])]
        if known:
            first, last = known[0], known[-1]
            who_says = f"{quantity_name(str(first['quantity']))}{f' ({name})' if name else ''}"
            then = f", {number(last['value'])} on {day(last['date'])}" if len(known) > 1 else ""
            told.append(f"{who_says}: {number(first['value'])} on {day(first['date'])}{then}.")
    return " ".join(told)


def picture(row: Mapping[str, Any] | None, lod_mm3: float, why: str) -> tuple[str, str]:
    """Return status and size of a lesion at a visit, in words.

    Parameters
    ----------
    row : mapping or None
        A row of table ``lesions``; None where the lesion has none at the visit.
    lod_mm3 : float
        What the visit's scan would show.
    why : str
        What to say then, or beside.
    """
    if row is None:
        return MISSING, why
    status = marked(STATUSES, row["status"])
    if row["status"] == "not_in_field":
        return status, "this scan did not cover its place"
    if row["status"] == "merged":
        return status, why or "went into another lesion"
    if row["status"] == "resolved":
        return status, f"nothing found; {amount(lod_mm3, 'mm3')} or more would show"
    if missing(row["volume_mm3"]):
        return status, "not measurable"
    return status, f"{with_limits(row['volume_mm3'], row['volume_lo_mm3'], row['volume_hi_mm3'])}{THIN}mm³"


def lesion(row: Mapping[str, Any]) -> str:
    """Say where a lesion is and what became of it; ``row`` of the table of lesions."""
    place = f"{row['where'][0].upper()}{row['where'][1:]}. " if row["where"] else ""
    told = [f"{place}Now: {row['status']}."]
    for name, words in (("since_baseline", "Since baseline"), ("since_previous", "Since the previous visit")):
        if row[f"{name}_shown"] != MISSING:
            why = f" ({row[f'{name}_why']})" if row[f"{name}_why"] else ""
            told.append(f"{words}, mm³: {row[f'{name}_shown']}{why}.")
    return " ".join(told)


def kin(lineage: Sequence[Row]) -> str:
    """Say which lesions merged and split, and when."""
    told = []
    for row in lineage:
        when = f"at {row['visit_id']}" + ("" if missing(row["years"]) else f" ({years(row['years'])} years)")
        if row["kind"] == "merged":
            other = f"into lesion {row['into_lesion_id']}" if row["into_lesion_id"] is not None else "into another"
            told.append(f"lesion {row['lesion_id']} merged {other} {when}")
        elif row["kind"] == "split":
            other = f"from lesion {row['from_lesion_id']}" if row["from_lesion_id"] is not None else "from another"
            told.append(f"lesion {row['lesion_id']} split {other} {when}")
        else:
            told.append(f"lesion {row['lesion_id']} {mark(STATUSES, row['kind']).word} {when}")
    said = "; ".join(told)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def no_lesion(lesions: Sequence[object]) -> str:
    """Say why no lesion's pictures are shown."""
    return "Pick a lesion in the table." if lesions else "No lesion is recorded."
