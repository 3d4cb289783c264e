"""What the one page for the clinic says: the long report cut to what is read in a minute, values in, values out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from monitor import graded
from monitor.export import story, words
from monitor.export.story import Cell, Grid
from monitor.export.wide import COMPARED

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.export.report_pictures import Picture

VALUE_CHARS = 48
"""A longer word of the study (condition, arm, ...) is cut."""

LINE_CHARS = 230
"""Two lines of 7.5 point text over the width of A4: a longer statement is cut, and the long form has it whole."""

REASON_CHARS = 60
"""A longer reason why a visit is not comparable is cut."""

CAME_OR_WENT = ("new", "first_seen", "split", "merged")
"""Statuses of a lesion that has no change since the baseline, at its first or last visit."""

NAMED_VISITS = 14
"""So many visits are listed with their dates; of more, the first and the last ones."""

MORE = "see the long form"
"""Where the rest stands."""


@dataclass(frozen=True)
class Room:
    """How much goes onto the page: rows of the table of lesions, height of figure and pictures, visits, characters."""

    lesions: int
    figure_in: float
    picture_mm: float
    visits: int
    line: int


ROOMS = (
    Room(lesions=10, figure_in=3.1, picture_mm=58, visits=NAMED_VISITS, line=LINE_CHARS),
    Room(lesions=7, figure_in=2.2, picture_mm=50, visits=NAMED_VISITS, line=LINE_CHARS),
    Room(lesions=5, figure_in=1.8, picture_mm=38, visits=NAMED_VISITS, line=LINE_CHARS),
    Room(lesions=3, figure_in=1.5, picture_mm=30, visits=8, line=160),
    Room(lesions=1, figure_in=1.2, picture_mm=22, visits=4, line=90),
)
"""Tried one after the other until all stands on one page; the last one fits whatever the study says."""


PAGE_MM, GAP_MM, NARROWEST_MM = 186.0, 3.0, 48.0
"""Width of the text on A4, what lies between two pictures, and the narrowest column of text, mm."""


def width_mm(picture: Picture, room: Room) -> float:
    """Return the width of a picture, mm: as high as there is room, and two stand beside each other."""
    return min(room.picture_mm * picture.width / picture.height, (PAGE_MM - GAP_MM) / 2)


def beside_mm(pictures: list[Picture], room: Room) -> float:
    """Return the width that the pictures leave beside them for text, mm; 0 where it is too narrow to read."""
    left = PAGE_MM - sum(width_mm(one, room) + GAP_MM for one in pictures)
    return left if pictures and left >= NARROWEST_MM else 0.0


@dataclass(frozen=True)
class Finding:
    """The verdict on one quantity: its name, the mark, and facts: label, number, limits and words."""

    name: str
    mark: words.Mark
    facts: list[tuple[str, str, str]]


def about(one: story.Patient) -> list[tuple[str, str]]:
    """Say who the patient is: condition, arm, site, sex and age, as far as the study tells."""
    who = one.about
    named = [("Condition", "condition"), ("Arm", "arm"), ("Site", "site"), ("Sex", "sex")]
    told = [(label, words.text(who.get(key, pd.NA))) for label, key in named]
    found = [(label, words.short(value, VALUE_CHARS)) for label, value in told if value != words.MISSING]
    age, years = who.get("age_years", pd.NA), one.measured["years"].dropna()
    if pd.notna(age) and len(years):
        ages = dict.fromkeys(f"{float(age) + at:.1f}" for at in (years.min(), years.max()))
        found.append(("Age at the scans", f"{' to '.join(ages)} years"))
    return found


def visits(one: story.Patient, room: Room) -> str:
    """List the visits with their dates, the baseline named."""
    start = one.about.get("baseline_visit_id", pd.NA)
    told = [
        f"{words.short(str(row['visit_id']), REASON_CHARS // 4)}\u00a0{words.day(row['date'])}"
        f"{' (baseline)' if story.same(row['visit_id'], start) else ''}"
        for row in story.records(one.measured)
    ]
    if len(told) > room.visits:
        half = room.visits // 2
        left = len(told) - 2 * half
        told = [*told[:half], f"{left} more", *told[-half:]]
    return ", ".join(told) or "none was measured"


def findings(one: story.Patient) -> list[Finding]:
    """Return the verdict on the total of each quantity at the last measured visit, with its error."""
    if one.measured.empty:
        return []
    last = one.measured.iloc[-1]
    return [_finding(one, last, name, found) for name, found in zip(COMPARED, story.findings(one), strict=True)]


def _finding(one: story.Patient, last: pd.Series, name: str, found: story.Finding) -> Finding:
    unit = story.unit_of(name)
    visit, start = last["visit_id"], one.about.get("baseline_visit_id", pd.NA)
    since = story.change_at(one, name, "baseline", visit)
    before = story.change_at(one, name, "previous", visit)
    facts = [(f"At {visit}, {words.day(last['date'])}", *_level(last, name, unit))]
    if since is not None:
        facts.append((f"Change since {since['from_visit']}", *_change(since)))
        if since["verdict"] != "not_comparable" and not words.judged_by_excess(since):
            facts.append(("Smallest change that counts", words.amount(since["detectable"], since["unit"]), ""))
    elif len(one.measured) > 1 and not story.same(visit, start):
        facts.append(("Change", "", "no comparison with the baseline"))
    if before is not None and (since is None or before["from_visit"] != since["from_visit"]):
        facts.append((f"Change since {before['from_visit']}", "", _change_before(before)))
    rate = story.rate(story.course(one, name), called="")
    if rate:
        facts.append(("Rate", "", rate))
    return Finding(found.name, found.mark, facts)


def _change_before(row: pd.Series) -> str:
    """Say a change since the visit before with its verdict, which has no headline."""
    if words.judged_by_excess(row) and row["verdict"] != "not_comparable":
        return f"{_word(row)}, judged by the excess"
    if row["verdict"] == "not_comparable":
        return f"{_word(row)} ({words.short(words.text(row['why']), REASON_CHARS)})"
    return f"{words.amount(row['change'], row['unit'], sign=True)}: {_word(row)}"


def _word(row: pd.Series) -> str:
    return words.mark(words.VERDICTS, row["verdict"]).word


def _level(last: pd.Series, name: str, unit: str) -> tuple[str, str]:
    if pd.notna(last[name]):
        between = words.limits(last[f"{name}_lo"], last[f"{name}_hi"], unit)
        return words.amount(last[name], unit), _bracket(between)
    if story.out_of_field(last["evaluable"]):
        return story.OUT_OF_FIELD, ""
    if pd.isna(last[f"{name}_observed"]):
        return "not measurable", ""
    seen = words.amount(last[f"{name}_observed"], unit)
    return "no total", f"({seen} in the {words.share(last['evaluable'])} of lesions in the field)"


def _change(row: pd.Series) -> tuple[str, str]:
    if row["verdict"] == "not_comparable":
        return "", words.short(words.text(row["why"]), REASON_CHARS)
    if words.judged_by_excess(row):
        return "", "not resolved, judged by the excess"
    per_cent = "" if pd.isna(row["change_pct"]) else f"{words.number(row['change_pct'], sign=True)}{words.THIN}%"
    between = words.limits(row["lo"], row["hi"], row["unit"], sign=True)
    return words.amount(row["change"], row["unit"], sign=True), ", ".join(filter(None, [_bracket(between), per_cent]))


def _bracket(between: str) -> str:
    return f"({between})" if between else ""


def ranked(one: story.Patient) -> list[int]:
    """Return the lesions, those with the largest change of volume since the baseline first.

    One that came after the baseline changed by all its volume; one that cannot be compared stands after the others,
    the larger first.
    """
    lesions = one.tables["lesions"]
    start = one.about.get("baseline_visit_id", pd.NA)
    last = one.measured["visit_id"].to_list()[-1:]
    at = {(row["lesion_id"], row["visit_id"]): row for row in story.records(lesions)}
    keys = []
    for lesion in map(int, lesions["lesion_id"].dropna().drop_duplicates()):
        row = story.latest_change(one, lesion)
        size = lesions.loc[(lesions["lesion_id"] == lesion).fillna(False), "volume_mm3"].max()
        there = at.get((lesion, last[0])) if last else None
        if row is not None and row["verdict"] != "not_comparable" and pd.notna(row["change"]):
            change = abs(float(row["change"]))
        elif (lesion, start) not in at and there is not None and pd.notna(there["volume_mm3"]):
            change = float(there["volume_mm3"])
        else:
            change = -1.0
        keys.append((-change, -(0.0 if pd.isna(size) else float(size)), lesion))
    return [lesion for *_, lesion in sorted(keys)]


def lesion_grid(one: story.Patient, room: Room) -> Grid:
    """Return the lesions that changed most, at the baseline and the last visit."""
    order = ranked(one)
    left = len(order) - room.lesions
    told = f"; {left} more, {MORE}" if left > 0 else ""
    caption = f"Lesions with the largest change since the baseline, volume of mineral in mm³{told}"
    by = {(row["lesion_id"], row["visit_id"]): row for row in story.records(one.tables["lesions"])}
    lod = {row["visit_id"]: row["lod_mm3"] for row in story.records(one.measured)}
    kin = {(row["lesion_id"], row["visit_id"], row["kind"]): row for row in story.records(one.tables["lineage"])}
    start, last = _ends(one)
    rows = []
    for lesion in order[: room.lesions]:
        own = one.tables["lesions"][(one.tables["lesions"]["lesion_id"] == lesion).fillna(False)]
        where = words.short(story.where(own) or words.MISSING, VALUE_CHARS // 2)
        cells = [story.lesion_cell(by.get((lesion, visit)), lod, kin) for visit in (start, last) if visit]
        shown = [Cell(cell.text or words.MISSING, cell.more, _now(cell, visit, start), right=True)
                 for cell, visit in zip(cells, filter(None, (start, last)), strict=True)]  # fmt: skip
        change = [_since(one, lesion)] if start and last else []
        change = [Cell(cell.text, _brief(cell.more), cell.mark, right=True) for cell in change]
        rows.append([Cell(str(lesion)), Cell(where), *shown, *change])
    days = dict(zip(one.measured["visit_id"].astype(str), map(words.day, one.measured["date"]), strict=True))
    ends = [
        Cell(f"{word} {visit}", days.get(visit, "")) for word, visit in (("Baseline", start), ("Latest", last)) if visit
    ]
    changed = story.heads("Since the baseline") if start and last else []
    return Grid(caption, [*story.heads("Lesion", "Where"), *ends, *changed], rows)


def _since(one: story.Patient, lesion: int) -> Cell:
    """Return the change of a lesion since the baseline; of one that cannot be compared, where it came or went."""
    found = story.since_baseline(one, lesion)
    if found.text != words.MISSING:
        return found
    own = {row["visit_id"]: row for row in story.records(one.tables["lesions"]) if row["lesion_id"] == lesion}
    rows = [own[visit] for visit in one.measured["visit_id"] if visit in own]
    row = next((row for row in (*rows[:1], *rows[-1:]) if row["status"] in CAME_OR_WENT), None)
    if row is None:
        return found
    symbol, word, tone = words.mark(words.STATUSES, row["status"])
    return Cell("", mark=words.Mark(symbol, f"{word} at {row['visit_id']}", tone), right=True)


def _brief(told: str) -> str:
    """Return what stands beside a change, short enough for one line."""
    return "of the excess" if told == story.BY_EXCESS else words.short(told, REASON_CHARS // 2)


def _now(cell: Cell, visit: str, start: str) -> words.Mark:
    """Return the status of a lesion at its last visit; at the baseline its number is all that is asked."""
    return story.NO_MARK if visit == start else cell.mark


def _ends(one: story.Patient) -> tuple[str, str]:
    """Return the baseline and the last visit that were measured, each empty where there is none or it is the other."""
    measured = one.measured["visit_id"].astype(str).to_list()
    start = str(one.about.get("baseline_visit_id", ""))
    start = start if start in measured else ""
    last = measured[-1] if measured and measured[-1] != start else ""
    return start, last


def baseline(one: story.Patient) -> str:
    """Return the baseline visit, empty where it was not measured."""
    return _ends(one)[0]


def refusals(one: story.Patient, room: Room) -> str:
    """Say why scans were refused."""
    told = one.tables["refused"]["message"].dropna().drop_duplicates().astype(str).to_list()
    return words.short("; ".join(told), room.line)


def statements(one: story.Patient, room: Room) -> list[tuple[str, str]]:
    """Return protocol, comparability and selftest, each in a line or two."""
    if one.measured.empty:
        return []
    told = [("Protocol", _protocol(one)), ("Comparability", _comparable(one)), ("Selftest", _selftest(one))]
    return [(label, words.short(text, room.line)) for label, text in told]


def _protocol(one: story.Patient) -> str:
    scans = story.scans_in_order(one)
    parts: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("", lambda scan: words.text(scan["modality"])),
        ("", lambda scan: words.amount(scan["kvp"], "kV")),
        ("kernel ", lambda scan: words.text(scan["kernel"])),
        ("slices ", _slices),
        ("contrast ", lambda scan: words.text(scan["contrast"])),
    ]
    told = [f"{head}{said}" for head, of in parts if (said := _alike(scans, of))]
    found = [f"{word} {_range(scans, name)}{words.THIN}{unit}" for word, name, unit in
             (("noise", "noise_hu", "HU"), ("detection limit", "lod_mm3", "mm³")) if _range(scans, name)]  # fmt: skip
    total, silent = story.dose_so_far(scans)[-1] if scans else (0.0, 0)
    dose = story.dose(total, silent, len(scans))
    dosed = [] if dose == words.MISSING else [f"dose so far {dose}{words.THIN}mGy·cm over {len(scans)} scans"]
    return f"{', '.join(told)}; {'; '.join([*found, *dosed])}." if told or found or dosed else "not told."


def _alike(scans: list[dict[str, Any]], of: Callable[[dict[str, Any]], str]) -> str:
    """Return what most scans have, then the others with their visits; nothing where no scan tells it."""
    said = [(str(scan["visit_id"]), of(scan)) for scan in scans]
    common = Counter(value for _, value in said if value != words.MISSING).most_common(1)
    if not common:
        return ""
    usual = common[0][0]
    others: dict[str, list[str]] = {}
    for visit, value in said:
        if value != usual:
            others.setdefault("unknown" if value == words.MISSING else value, []).append(visit)
    apart = "; ".join(f"{value} at {words.listed(names)}" for value, names in others.items())
    return f"{usual} ({apart})" if apart else usual


def _slices(scan: dict[str, Any]) -> str:
    thick, every = scan["slice_thickness_mm"], scan["slice_increment_mm"]
    if pd.isna(thick) and pd.isna(every):
        return words.MISSING
    return f"{words.amount(thick, 'mm')} every {words.amount(every, 'mm')}"


def _range(scans: list[dict[str, Any]], name: str) -> str:
    """Return the least and the largest of a number over the scans; nothing where none has it."""
    values = [float(scan[name]) for scan in scans if pd.notna(scan[name])]
    ends = dict.fromkeys(words.number(value) for value in ((min(values), max(values)) if values else ()))
    return " to ".join(ends)


def _comparable(one: story.Patient) -> str:
    seen = one.measured
    start = one.about.get("baseline_visit_id", pd.NA)
    later = [row for row in story.records(seen) if not story.same(row["visit_id"], start)]
    unlike = [row for row in later if pd.notna(row["comparable"]) and not row["comparable"]]
    told = []
    if unlike:
        each = [f"{row['visit_id']} ({words.short(words.text(row['comparable_why']), REASON_CHARS)})" for row in unlike]
        told.append(f"Not comparable with the baseline: {words.listed(each)}")
    elif later:
        told.append("Every other visit may be compared with the baseline")
    else:
        told.append("One visit: nothing to compare yet")
    part = [
        f"{row['visit_id']} ({words.share(row['evaluable'])})" for row in story.records(seen) if row["evaluable"] < 1
    ]
    if part:
        told.append(f"known lesions in the field only in part at {words.listed(part)}")
    off = [float(value) for value in seen["residual_mm"].dropna()]
    if off:
        told.append(f"registrations agree within {words.amount(max(off), 'mm')}")
    refused = one.tables["refused"]["visit_id"].dropna().drop_duplicates().to_list()
    if refused:
        told.append(f"refused: {words.listed(refused)}")
    return f"{'; '.join(told)}."


def _selftest(one: story.Patient) -> str:
    said = story.selftest(one)
    if not said:
        return "None was made: how well this patient's own scan can be measured is not known."
    found = graded.grades(one.tables["selftest"])
    error = f" Median error of a change of volume: {graded.percent(found[0].error)}." if found else ""
    return f"{said[0]}{error}"


def methods(run: dict[str, object]) -> list[str]:
    """Return software, version, hash and end of the run, as ``run.json`` tells them."""
    software = run.get("software")
    about = software if isinstance(software, dict) else {}
    told = [f"{about.get('name', 'calcitrack')} {about.get('version', 'of unknown version')}"]
    if about.get("source"):
        told.append(f"source {str(about['source'])[:16]}")
    if run.get("ended"):
        told.append(f"run of {str(run['ended'])[:10]}")
    return told
