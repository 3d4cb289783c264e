"""What a report says of one patient: sentences and tables made of the result tables, values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from monitor import graded, tables
from monitor.export import plots, words
from monitor.export.dictionary import sheet
from monitor.export.wide import COMPARED, COUNTED, visits_wide

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VISITS_ABREAST = 5
"""So many visits stand beside each other in a table on A4."""

NAME_CHARS = 60
"""A longer name of a treatment is cut in a sentence; the table of events has it whole."""

BY_EXCESS = "of the excess; the volume is not resolved"
"""Stands beside a change of what is too thin for its volume to be told."""

BURDEN = ("volume_mm3", "excess_hu_mm3", "mass_mg", "agatston")
"""Quantities of the table of visits, with their limits."""

SCAN_ROWS = (
    ("Modality", "modality", ""),
    ("Region", "region", ""),
    ("Tube voltage", "kvp", "kV"),
    ("Kernel", "kernel", ""),
    ("Slice thickness", "slice_thickness_mm", "mm"),
    ("Slice increment", "slice_increment_mm", "mm"),
    ("Contrast medium", "contrast", ""),
    ("Contrast seen", "contrast_found", ""),
    ("Blood of the vessels", "blood_hu", "HU"),
    ("Manufacturer", "manufacturer", ""),
    ("CTDIvol", "ctdi_vol_mgy", "mGy"),
    ("Dose-length product", "dlp_mgy_cm", "mGy·cm"),
    ("Noise (SD)", "noise_hu", "HU"),
    ("Threshold", "threshold_hu", "HU"),
    ("Detection limit", "lod_mm3", "mm³"),
    ("Registration residual", "residual_mm", "mm"),
)
"""Acquisition and quality of a scan: label, column of table ``visits``, unit as it is printed."""

OUT_OF_FIELD = "not in the field"
"""Said where no lesion known by then was in the field: the sum of what was seen is then a 0 that says nothing."""

SEEN_AS = {
    "new": "new", "resolved": "resolved", "grown": "grown", "shrunk": "shrunk", "merged": "merged into another",
    "split": "split off another", "first_seen": "first seen (may be old)", "not_in_field": "not in the field",
}  # fmt: skip
"""How counts of statuses are told."""


DEFINITIONS = (
    ("–", "unknown or not measurable; never a zero"),
    ("95 % limits", "the range in brackets or on the smaller line: of the measurement, at this visit"),
    (
        "volume of mineral",
        "mm³ of tissue above the local background beyond what noise explains, partial volume included",
    ),
    (
        "excess HU",
        (
            "HU above the local background, integrated over the lesion and its blurred border, bone excluded; "
            "1 HU·cm³ is 1000 HU·mm³, the unit of the tables"
        ),
    ),
    (
        "mass",
        "mg of hydroxyapatite equivalent; nominal without a phantom, and then never compared across tube voltages",
    ),
    ("smallest change that counts", "a smaller one could come from the measurement alone"),
    ("no detectable change", "smaller than that: not the same as no change"),
    ("not comparable", "the scans differ in a way that would move the number, so that no verdict is given"),
    (
        "evaluable",
        "fraction of the known lesions that lie in the field; below 100 % there is no total, only what was seen",
    ),
    ("baseline", "the visit that changes and years count from; a year has 365.25 days"),
    ("new, first seen", "new: an earlier scan saw the place and would have detected it; first seen: none could tell"),
    ("grown, stable, shrunk", "against the previous evaluable visit"),
    ("resolved", "the scan saw the place and nothing is there: 0, and at most the scan's detection limit"),
    ("not in field", "the scan did not cover the place: nothing is known, and it is not a 0"),
    (
        "merged, split",
        "merged: went on in a larger lesion, which has the whole volume; split: a piece came off a larger one",
    ),
    ("least sure link", "0 to 1: how well the lesion's place agrees with the one before, where that is least"),
    ("detection limit", "volume of dense mineral that this scan shows with 90 % power"),
    ("registration residual", "mm by which two independently optimised registrations disagree"),
)
"""What the words of a report mean."""


NO_MARK = words.Mark("", "", "")
"""A cell without a verdict."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a smaller line below it, and a mark (symbol, words, tone)."""

    text: str
    more: str = ""
    mark: words.Mark = NO_MARK
    right: bool = False


@dataclass(frozen=True)
class Grid:
    """A table as it is printed; the first cell of each row heads the row; notes stand below it."""

    caption: str
    heads: list[Cell]
    rows: list[list[Cell]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Patient:
    """The rows of one patient in every table, and the wide table of them in order of date."""

    patient_id: str
    tables: dict[str, pd.DataFrame]
    wide: pd.DataFrame

    @property
    def measured(self) -> pd.DataFrame:
        """Rows of the wide table that were measured."""
        return self.wide[self.wide["visit_id"].isin(self.tables["visits"]["visit_id"])]

    @property
    def about(self) -> dict[str, Any]:
        """The row of table ``patients``; empty where there is none."""
        return next(iter(records(self.tables["patients"])), {})


@dataclass(frozen=True)
class Finding:
    """The verdict on one quantity: its name, mark, and what is said of it, sentence by sentence."""

    name: str
    mark: words.Mark
    said: list[str]


def patient(found: dict[str, pd.DataFrame], patient_id: str) -> Patient:
    """Take one patient's rows out of every table."""
    own = {
        name: table[(table["patient_id"] == patient_id).fillna(False)].reset_index(drop=True)
        for name, table in found.items()
    }
    made = visits_wide(own).table
    named = {f"{name}{more}" for name in BURDEN for more in ("", "_lo", "_hi", "_observed")} - set(made)
    absent = tuple(tables.Column(name, tables.NUMBER, "", "") for name in sorted(named))
    return Patient(patient_id, own, pd.concat([made, sheet("", made[[]], absent).table], axis=1))


def about(one: Patient) -> list[tuple[str, str]]:
    """Say who the patient is and what there is."""
    who, seen = one.about, one.measured
    dates = seen["date"].dropna()
    over = f", {words.day(dates.min())} to {words.day(dates.max())}" if len(dates) > 1 else ""
    visits = f"{len(seen)} measured{over}"
    named = [("Condition", "condition"), ("Arm", "arm"), ("Site", "site"), ("Sex", "sex")]
    told = [(label, words.text(who[key])) for label, key in named if key in who and words.text(who[key]) != "–"]
    start = who.get("baseline_visit_id")
    first = [("Baseline", dated(one, str(start)))] if not pd.isna(start) else []
    return [*told, ("Visits", visits), *first]


def findings(one: Patient) -> list[Finding]:
    """Return the verdict on the total of each quantity at the last visit that was measured."""
    if one.measured.empty:
        return []
    last = one.measured.iloc[-1]
    return [_finding(one, last, name) for name in COMPARED]


def unit_of(name: str) -> str:
    """Return the unit that a quantity has in the tables."""
    return next(column.unit for column in tables.LESIONS if column.name == name)


def _finding(one: Patient, last: pd.Series, name: str) -> Finding:
    unit = unit_of(name)
    said = [_level(last, name, unit)]
    since = change_at(one, name, "baseline", last["visit_id"])
    before = change_at(one, name, "previous", last["visit_id"])
    if since is not None:
        said.append(_changed(one, since, "the baseline"))
    elif len(one.measured) == 1:
        said.append("There is one visit: nothing to compare yet.")
    elif same(last["visit_id"], one.about.get("baseline_visit_id")):
        said.append("This visit is the baseline: no visit follows it yet.")
    else:
        said.append("There is no comparison with the baseline.")
    if before is not None and (since is None or before["from_visit"] != since["from_visit"]):
        said.append(_changed(one, before, "the visit before"))
    return Finding(words.quantity_name(name), headline(one, since), said)


def headline(one: Patient, since: pd.Series | None) -> words.Mark:
    """Return the verdict since the baseline as it heads a finding."""
    if since is None:
        return words.Mark("", "one visit" if len(one.measured) == 1 else "not compared", "unknown")
    symbol, word, tone = words.mark(words.VERDICTS, since["verdict"])
    joint = "with" if since["verdict"] == "not_comparable" else "since"
    return words.Mark(symbol, f"{word} {joint} the baseline", tone)


def _level(last: pd.Series, name: str, unit: str) -> str:
    when = f"at {last['visit_id']} on {words.day(last['date'])} ({words.span(last['years'])})"
    between = words.limits(last[f"{name}_lo"], last[f"{name}_hi"], unit)
    if pd.notna(last[name]):
        shown = f" (95{words.THIN}% limits {between})" if between else ""
        return f"{words.amount(last[name], unit)}{shown} {when}."
    if out_of_field(last["evaluable"]):
        return f"{OUT_OF_FIELD.capitalize()} {when}: no lesion known by then was seen."
    if pd.isna(last[f"{name}_observed"]):
        return f"Not measurable {when}."
    seen = words.amount(last[f"{name}_observed"], unit)
    part = words.share(last["evaluable"])
    return f"No total {when}: {part} of the known lesions were in the field, and those held {seen}."


def out_of_field(evaluable: Any) -> bool:
    """Tell whether none of the known lesions was in the field.

    >>> out_of_field(0.0), out_of_field(0.4), out_of_field(None)
    (True, False, False)
    """
    return bool(pd.notna(evaluable) and float(evaluable) == 0)


def _changed(one: Patient, row: pd.Series, since: str) -> str:
    """Say what a comparison found: the change, its limits, and the smallest one that counts."""
    start = f"{since} ({dated(one, row['from_visit'])})"
    _, word, _ = words.mark(words.VERDICTS, row["verdict"])
    if row["verdict"] == "not_comparable":
        return f"Change from {start}: not comparable ({words.text(row['why'])})."
    if words.judged_by_excess(row):
        return f"Change from {start}, judged by the excess since much is too thin for its volume to be told: {word}."
    between = words.limits(row["lo"], row["hi"], row["unit"], sign=True)
    shown = f" (95{words.THIN}% limits {between})" if between else ""
    per_cent = "" if pd.isna(row["change_pct"]) else f", {words.number(row['change_pct'], sign=True)}{words.THIN}%"
    least = words.amount(row["detectable"], row["unit"])
    pair = one.wide[one.wide["visit_id"].isin([row["from_visit"], row["to_visit"]])]
    if pd.notna(row["gained_mm3"]) and pd.notna(row["lost_mm3"]):
        gained, lost = (words.amount(row[name], "mm3") for name in ("gained_mm3", "lost_mm3"))
        per_cent += f", gained {gained} and lost {lost}"
    common = " in the field common to both visits" if (pair["evaluable"] < 1).fillna(False).any() else ""
    return (
        f"Change from {start}{common}: {words.amount(row['change'], row['unit'], sign=True)}{shown}{per_cent}; "
        f"smallest change that counts {least}: {word}."
    )


def change_at(one: Patient, name: str, comparison: str, visit: str, lesion: Any = None) -> pd.Series | None:
    """Return the comparison that ends at a visit, of the total or of one lesion."""
    rows = one.tables["changes"]
    about_it = (rows["compartment"] == "total") if lesion is None else (rows["lesion_id"] == lesion)
    chosen = about_it & (rows["comparison"] == comparison) & (rows["quantity"] == name) & (rows["to_visit"] == visit)
    if comparison == "baseline" and pd.notna(start := one.about.get("baseline_visit_id", pd.NA)):
        chosen &= rows["from_visit"] == start
    own = rows[chosen.fillna(False) & ~by_published(rows)]
    return None if own.empty else own.iloc[0]


def by_published(changes: pd.DataFrame) -> pd.Series:
    """Tell which comparisons are judged by a published limit, and not by the measurement's own error."""
    found: pd.Series = changes["rule_id"].fillna("").str.contains(tables.PUBLISHED_LIMIT, regex=False).astype(bool)
    return found


def course(one: Patient, name: str) -> plots.Course:
    """Return what is drawn of a quantity's total: the measured visits, and what judges them."""
    changes, trends = one.tables["changes"], one.tables["trends"]
    judged = (changes["compartment"] == "total") & (changes["comparison"] == "baseline") & (changes["quantity"] == name)
    judged &= (changes["from_visit"] == one.about.get("baseline_visit_id", "")).fillna(False)
    own = (trends["level"] == "patient") & (trends["compartment"] == "total") & (trends["quantity"] == name)
    return plots.Course(
        wide=one.measured,
        quantity=name,
        events=plots.lettered(one.tables["events"]),
        changes=changes[judged.fillna(False) & ~by_published(changes)],
        trends=trends[(own & trends["lesion_id"].isna()).fillna(False)],
    )


def rate(course: plots.Course, called: str = f"95{words.THIN}% limits ") -> str:
    """Say the rate of the line that is drawn, its limits in brackets, called so; nothing where none is.

    Visits among its own that are not comparable with the baseline are counted.
    """
    if plots.fitted(course) is None:
        return ""
    row = course.trends[(course.trends["term"] == "rate").fillna(False)].iloc[0]
    between = words.limits(row["lo"], row["hi"], row["unit"], sign=True)
    shown = f" ({called}{between})" if between else ""
    used = plots.fitted_to(course)
    unlike = int((~used["comparable"].fillna(True).astype(bool)).sum())
    among = f", from {len(used)} visits, of them {unlike} not comparable with the baseline" if unlike else ""
    return f"{words.amount(row['estimate'], row['unit'], sign=True)}{shown}{among}"


def remarks(one: Patient) -> list[str]:
    """Say what a reader must know beside the verdicts: lesions, treatment in time, and what is missing."""
    told = []
    seen = one.measured
    if not seen.empty:
        told.append(_lesions_now(seen))
        told += _treated(one, seen)
        unlike = [str(visit) for visit in seen.loc[~seen["comparable"].fillna(True), "visit_id"]]
        if unlike:
            told.append(f"Not comparable with the baseline: {words.listed(unlike)} (see Scans).")
        part = [str(visit) for visit in seen.loc[(seen["evaluable"] < 1).fillna(False), "visit_id"]]
        if part:
            told.append(f"Not all that is known was in the field at {words.listed(part)}.")
    refused = one.tables["refused"]["visit_id"].fillna("a visit without name").drop_duplicates().to_list()
    if refused:
        told.append(f"Refused, not measured: {words.listed(refused)} (see What was refused).")
    return told


def _lesions_now(seen: pd.DataFrame) -> str:
    last = seen.iloc[-1]
    present: Any = last["n_lesions_scans"]
    count = "An unknown number of" if pd.isna(present) else "No" if present == 0 else str(present)
    told = f"{count} {'lesion' if count == '1' else 'lesions'} at {last['visit_id']}"
    kinds = [
        f"{last[f'n_{kind}']} {word}" for kind, word in SEEN_AS.items() if kind in COUNTED and last[f"n_{kind}"] > 0
    ]
    return f"{told}; against the visit before: {', '.join(kinds)}." if kinds and len(seen) > 1 else f"{told}."


def _treated(one: Patient, seen: pd.DataFrame) -> list[str]:
    events = one.tables["events"]
    treatments = events[(events["kind"] == "treatment").fillna(False)].sort_values("years", kind="stable")
    told = []
    for event in records(treatments.drop_duplicates("name")):
        later = seen.loc[(seen["years"] > event["years"]).fillna(False), "visit_id"].astype(str).to_list()
        if later:
            verb = "lies" if len(later) == 1 else "lie"
            name = words.short(words.text(event["name"]), NAME_CHARS)
            told.append(f"{words.listed(later)} {verb} after the start of {name} ({words.day(event['date'])}).")
    return [f"{' '.join(told)} This is order in time; it does not show a cause."] if told else []


def burden_grid(one: Patient) -> Grid:
    """Return the totals of every visit, with the change of volume since the baseline."""
    titles = heads("Visit", "Years", *map(_head, BURDEN), "Lesions", "Evaluable", "Change of volume")
    rows = [_burden_row(row) for row in records(one.wide)]
    return Grid("Total burden at each visit, with 95 % limits; change from the baseline", titles, rows)


def _head(name: str) -> str:
    unit = unit_of(name)
    printed = words.unit(unit)
    short = {"mass_mg": "Mass", "volume_mm3": "Volume of mineral"}.get(name, words.quantity_name(name))
    return f"{short}, {printed}" if printed else short


def _burden_row(row: dict[str, Any]) -> list[Cell]:
    refused = pd.notna(row["refused_code"])
    if pd.isna(row["n_lesions_scans"]) and refused:
        blanks = [Cell(words.MISSING, right=True)] * (len(BURDEN) + 3)
        return [Cell(words.text(row["visit_id"])), *blanks, Cell("", mark=words.Mark("×", "refused", "unknown"))]
    return [
        Cell(
            words.text(row["visit_id"]),
            words.day(row["date"]),
            words.Mark("×", "a scan refused", "unknown") if refused else NO_MARK,
        ),
        Cell(words.years(row["years"]), right=True),
        *(_amount_cell(row, name) for name in BURDEN),
        Cell(words.text(row["n_lesions_scans"]), right=True),
        Cell(words.share(row["evaluable"]), right=True),
        _change_cell(row),
    ]


def _amount_cell(row: dict[str, Any], name: str) -> Cell:
    unit = unit_of(name)
    if pd.isna(row[name]) and out_of_field(row["evaluable"]):
        return Cell(words.MISSING, OUT_OF_FIELD, right=True)
    if pd.isna(row[name]) and pd.notna(row[f"{name}_observed"]):
        return Cell(words.MISSING, f"{words.number(row[f'{name}_observed'], unit)} seen", right=True)
    between = words.limits(row[f"{name}_lo"], row[f"{name}_hi"], unit)
    return Cell(words.number(row[name], unit), between, right=True)


def _change_cell(row: dict[str, Any]) -> Cell:
    if same(row["visit_id"], row["baseline_visit_id"]):
        return Cell("", mark=words.STATUSES["baseline"])
    if pd.isna(row["volume_mm3_verdict"]):
        return Cell(words.MISSING)
    mark = words.mark(words.VERDICTS, row["volume_mm3_verdict"])
    if row["volume_mm3_verdict"] == "not_comparable":
        return Cell("", words.text(row["volume_mm3_verdict_why"]), mark)
    if same(row["volume_mm3_carried_by"], "excess_hu_mm3"):
        return Cell(_per_cent(row["excess_hu_mm3_change_pct"]), BY_EXCESS, mark)
    between = words.limits(row["volume_mm3_change_lo"], row["volume_mm3_change_hi"], sign=True)
    return Cell(words.number(row["volume_mm3_change"], sign=True), between, mark)


def _per_cent(value: Any) -> str:
    return words.MISSING if pd.isna(value) else f"{words.number(value, sign=True)}{words.THIN}%"


def compartment_grids(one: Patient) -> list[Grid]:
    """Return the volume of mineral in each compartment at each visit; none where there is only the total."""
    rows = one.tables["burden"]
    own = rows[((rows["quantity"] == "volume_mm3") & (rows["compartment"] != "total")).fillna(False)]
    places = own["compartment"].drop_duplicates().to_list()
    grids = []
    for visits in abreast(records(one.measured)):
        table = []
        for place in places:
            at = {row["visit_id"]: row for row in records(own[own["compartment"] == place])}
            table.append([Cell(words.place(place)), *(_place_cell(at.get(row["visit_id"])) for row in visits)])
        grids.append(Grid("Volume of mineral by compartment, mm³", [Cell("Compartment"), *map(heading, visits)], table))
    return grids if places else []


def _place_cell(row: dict[str, Any] | None) -> Cell:
    if row is None:
        return Cell(words.MISSING, right=True)
    if pd.isna(row["value"]) and out_of_field(row["evaluable"]):
        return Cell(words.MISSING, OUT_OF_FIELD, right=True)
    if pd.isna(row["value"]) and pd.notna(row["value_observed"]):
        return Cell(words.MISSING, f"{words.number(row['value_observed'])} seen", right=True)
    return Cell(words.number(row["value"]), words.limits(row["lo"], row["hi"]), right=True)


def lesion_grids(one: Patient) -> list[Grid]:
    """Return volume and status of each lesion at each visit, so many visits abreast as the paper holds."""
    lesions = one.tables["lesions"]
    numbers = sorted(lesions["lesion_id"].dropna().unique())
    if not numbers:
        return []
    by = {(row["lesion_id"], row["visit_id"]): row for row in records(lesions)}
    lod = {row["visit_id"]: row["lod_mm3"] for row in records(one.measured)}
    kin = {(row["lesion_id"], row["visit_id"], row["kind"]): row for row in records(one.tables["lineage"])}
    caption = "Lesions: volume of mineral in mm³ with 95 % limits, and status. Empty: not known yet, or merged before"
    places = {lesion: where(lesions[lesions["lesion_id"] == lesion]) for lesion in numbers}
    placed = any(places.values())
    linked = lesions["link_score"].notna().any()
    grids = []
    parts = abreast(records(one.measured))
    for number, visits in enumerate(parts):
        final = number == len(parts) - 1 and len(one.measured) > 1
        table = []
        for lesion in numbers:
            cells = [lesion_cell(by.get((lesion, row["visit_id"])), lod, kin) for row in visits]
            at = [Cell(places[lesion] or words.MISSING)] if placed else []
            there = Cell(_present(lesions[lesions["lesion_id"] == lesion], one))
            table.append([Cell(str(lesion)), *at, there, *cells, *([since_baseline(one, lesion)] if final else []),
                          *([_weakest_link(one, lesion)] if final and linked else [])])  # fmt: skip
        titles = heads("Lesion", *(["Where"] if placed else []), "Present")
        last = heads("Since the baseline", *(["Least sure link"] if linked else [])) if final else []
        grids.append(Grid(caption, [*titles, *map(heading, visits), *last], table))
    return grids


def where(own: pd.DataFrame) -> str:
    """Say on which side and in which compartment a lesion lies; rows of table ``lesions`` of one lesion."""
    places = [words.place(value) for value in own["compartment"].dropna().drop_duplicates() if value]
    sides = [value for value in own["side"].dropna().drop_duplicates() if value]
    return ", ".join([*sides, *places])


def _present(own: pd.DataFrame, one: Patient) -> str:
    """Say at which visits a lesion was first and last there."""
    there = set(own.loc[(own["volume_mm3"] > 0).fillna(False), "visit_id"])
    visits = [visit for visit in one.measured["visit_id"] if visit in there]
    return words.MISSING if not visits else visits[0] if len(visits) == 1 else f"{visits[0]} to {visits[-1]}"


def lesion_cell(row: dict[str, Any] | None, lod: dict[str, Any], kin: dict[tuple[Any, ...], dict[str, Any]]) -> Cell:
    """Return a lesion at a visit: volume, limits and status; ``lod`` by visit, ``kin`` by lesion, visit and kind."""
    if row is None:
        return Cell("", right=True)
    status = row["status"]
    symbol, word, tone = words.mark(words.STATUSES, status)
    line = kin.get((row["lesion_id"], row["visit_id"], status), {})
    if status == "merged" and pd.notna(line.get("into_lesion_id")):
        word = f"merged into {line['into_lesion_id']}"
    if status == "split" and pd.notna(line.get("from_lesion_id")):
        word = f"split from {line['from_lesion_id']}"
    if status == "resolved":
        least = words.number(lod.get(row["visit_id"]))
        return Cell("0", f"limit {least}", words.Mark(symbol, word, tone), right=True)
    between = words.limits(row["volume_lo_mm3"], row["volume_hi_mm3"])
    return Cell(words.number(row["volume_mm3"]), between, words.Mark(symbol, word, tone), right=True)


def _weakest_link(one: Patient, lesion: Any) -> Cell:
    """Return the lowest agreement of a lesion's place with the one before, and the visit of it."""
    lesions = one.tables["lesions"]
    own = lesions[(lesions["lesion_id"] == lesion).fillna(False) & lesions["link_score"].notna()]
    if own.empty:
        return Cell(words.MISSING, right=True)
    least = own.loc[own["link_score"].astype(float).idxmin()]
    return Cell(words.number(least["link_score"]), f"at {least['visit_id']}", right=True)


def since_baseline(one: Patient, lesion: Any) -> Cell:
    """Return the change of a lesion from the baseline to the last visit that was compared."""
    row = latest_change(one, lesion)
    if row is None:
        return Cell(words.MISSING, right=True)
    mark = words.mark(words.VERDICTS, row["verdict"])
    if words.judged_by_excess(row) and row["verdict"] != "not_comparable":
        excess = change_at(one, "excess_hu_mm3", "baseline", row["to_visit"], lesion)
        per_cent = _per_cent(pd.NA if excess is None else excess["change_pct"])
        return Cell(per_cent, BY_EXCESS, mark, right=True)
    between = words.limits(row["lo"], row["hi"], sign=True)
    unlike = row["verdict"] == "not_comparable"
    why = f"{row['to_visit']}: {words.text(row['why'])}" if unlike else between
    return Cell("" if unlike else words.number(row["change"], sign=True), why, mark, right=True)


def latest_change(one: Patient, lesion: Any) -> pd.Series | None:
    """Return the last comparison of a lesion's volume with the baseline."""
    for visit in reversed(one.measured["visit_id"].to_list()):
        row = change_at(one, "volume_mm3", "baseline", visit, lesion)
        if row is not None:
            return row
    return None


def scan_grids(one: Patient) -> list[Grid]:
    """Return how each scan was made, and whether it may be compared."""
    scans = scans_in_order(one)
    known = [*_so_far(scans), *_ages(one, scans)]
    grids = []
    for beside in abreast(scans):
        # What no scan of the patient tells needs no line.
        shown = [row for row in SCAN_ROWS if any(words.text(scan[row[1]]) != words.MISSING for scan in scans)]
        rows = [[Cell(f"{label}, {unit}" if unit else label), *(_scan_cell(scan[key], unit) for scan in beside)]
                for label, key, unit in shown]  # fmt: skip
        rows += [[Cell(label), *(at[scan["visit_id"], scan["scan_id"]] for scan in beside)] for label, at in known]
        rows.append([Cell("In field"), *(Cell(words.share(scan["in_field"])) for scan in beside)])
        rows.append([Cell("Comparable with the baseline"), *(_comparable(scan) for scan in beside)])
        grids.append(
            Grid("How each scan was made, and whether it may be compared", [Cell("Scan"), *map(heading, beside)], rows)
        )
    return grids


def scans_in_order(one: Patient) -> list[dict[str, Any]]:
    """Return the patient's rows of table ``visits`` in order of date."""
    return records(one.tables["visits"].sort_values(["date", "visit_id", "scan_id"], kind="stable"))


def dose_so_far(scans: Sequence[dict[str, Any]]) -> list[tuple[float, int]]:
    """Return for each scan in order the dose-length product up to it, mGy cm, and how many scans told none."""
    total, silent, found = 0.0, 0, []
    for scan in scans:
        dose = scan["dlp_mgy_cm"]
        total, silent = (total, silent + 1) if pd.isna(dose) else (total + float(dose), silent)
        found.append((total, silent))
    return found


def dose(total: float, silent: int, scans: int) -> str:
    """Say a dose-length product over scans; a dash where no scan told one.

    >>> dose(0.0, 2, 2), dose(120.0, 1, 2), dose(240.0, 0, 2)
    ('–', 'at least 120', '240')
    """
    return words.MISSING if silent == scans else f"{'at least ' if silent else ''}{words.number(total)}"


def _so_far(scans: list[dict[str, Any]]) -> list[tuple[str, dict[tuple[Any, Any], Cell]]]:
    """Return the dose up to each scan; nothing where no scan tells one."""
    cells = [Cell(dose(*told, n)) for n, told in enumerate(dose_so_far(scans), start=1)]
    if all(cell.text == words.MISSING for cell in cells):
        return []
    keys = [(scan["visit_id"], scan["scan_id"]) for scan in scans]
    return [("Dose-length product so far, mGy·cm", dict(zip(keys, cells, strict=True)))]


def _ages(one: Patient, scans: list[dict[str, Any]]) -> list[tuple[str, dict[tuple[Any, Any], Cell]]]:
    """Return the age at each scan; nothing where the study does not tell the age at the baseline."""
    age = one.about.get("age_years", pd.NA)
    if pd.isna(age):
        return []
    at = [words.MISSING if pd.isna(scan["years"]) else f"{float(age) + scan['years']:.1f}" for scan in scans]
    keys = [(scan["visit_id"], scan["scan_id"]) for scan in scans]
    return [("Age at the scan, years", dict(zip(keys, map(Cell, at), strict=True)))]


def _scan_cell(value: Any, unit: str) -> Cell:
    return Cell(words.number(value) if unit else words.text(value))


def _comparable(scan: dict[str, Any]) -> Cell:
    why = scan["comparable_why"]
    more = "" if pd.isna(why) else str(why)
    if pd.isna(scan["comparable"]):
        return Cell(words.MISSING, more)
    return Cell("", more, words.Mark("✓", "yes", "same") if scan["comparable"] else words.Mark("×", "no", "unknown"))


def trend_grid(one: Patient) -> Grid:
    """Return the patient's fitted trends."""
    titles = heads("Quantity", "Where", "Estimate", "Value", "p", "Visits", "Model", "Notes")
    order = {name: place for place, name in enumerate(words.QUANTITIES)}
    trends = one.tables["trends"]
    ordered = records(
        trends.sort_values("quantity", key=lambda names: names.map(order).fillna(len(order)), kind="stable")
    )
    # Many rows share their notes: each is told once, below the table.
    notes = list(dict.fromkeys(note for row in ordered for note in _notes(row)))
    rows = [_trend_row(row, [str(notes.index(note) + 1) for note in _notes(row)]) for row in ordered]
    return Grid("Trends of this patient, with 95 % limits", titles, rows, tuple(notes))


def _notes(row: dict[str, Any]) -> list[str]:
    """Return what a reader must know of an estimate: the kind of its limits, then its note clause by clause."""
    kind = [] if pd.isna(row["interval_kind"]) else [f"limits: {str(row['interval_kind']).replace('_', ' ')}"]
    return [*kind, *([] if pd.isna(row["note"]) else filter(None, str(row["note"]).split("; ")))]


def _trend_row(row: dict[str, Any], notes: list[str]) -> list[Cell]:
    where = words.place(row["compartment"]) if pd.isna(row["lesion_id"]) else f"lesion {row['lesion_id']}"
    term = words.TERMS.get(str(row["term"]), words.text(row["term"]).replace("_", " "))
    scale = "" if pd.isna(row["scale"]) or row["scale"] == "absolute" else f"{row['scale']} scale"
    sign = row["term"] not in words.UNSIGNED
    value = words.amount(row["estimate"], row["unit"], sign=sign)
    return [
        Cell(words.quantity_name(words.text(row["quantity"])), scale),
        Cell(where),
        Cell(term),
        Cell(value, words.limits(row["lo"], row["hi"], row["unit"], sign=sign)),
        Cell(words.probability(row["p_value"])),
        Cell(words.text(row["n_visits"])),
        Cell(words.text(row["model"])),
        Cell(", ".join(notes) or words.MISSING),
    ]


def selftest(one: Patient) -> list[str]:
    """Say how well this patient's scan can be measured; nothing where no selftest was made."""
    return graded.sentences(one.tables["selftest"])


def selftest_grids(one: Patient) -> list[Grid]:
    """Return what a selftest found by situation, and by kind of change when the scan is made again as before."""
    found = graded.grades(one.tables["selftest"])
    if not found:
        return []
    rows = [[Cell(text) for text in graded.cells(grade)] for grade in found]
    first = found[0].situation
    called = [[Cell(name), Cell(str(share))] for name, share in graded.kinds(one.tables["selftest"], first)]
    return [
        Grid(graded.TITLE, heads(*graded.HEADS), rows),
        Grid("Lesions called what they are, scanned again as before", heads("Lesions", "Called right"), called),
    ]


def event_grid(one: Patient, events: pd.DataFrame) -> Grid:
    """Return what happened, with the letters of the picture."""
    titles = heads("Mark", "Kind", "What", "Date", "Years since the baseline", "Until")
    dated = one.tables["events"]
    letters = records(events)
    undated = [{**row, "letter": ""} for row in records(dated[dated["years"].isna()])]
    rows = [
        [
            Cell(row["letter"] or words.MISSING),
            Cell(words.text(row["kind"])),
            Cell(words.text(row["name"])),
            Cell(words.day(row["date"])),
            Cell(words.years(row["years"])),
            Cell(words.years(row["end_years"])),
        ]
        for row in [*letters, *undated]
    ]
    return Grid("What the study folder tells of treatment and other events", titles, rows)


def refused_grid(one: Patient) -> Grid:
    """Return what was not measured, and why; the path is left out, since its folders may name a person."""
    rows = [
        [Cell(words.text(row["visit_id"])), Cell(words.text(row["scan_id"])), Cell(words.text(row["code"])),
         Cell(words.text(row["message"]))]
        for row in records(one.tables["refused"])
    ]  # fmt: skip
    titles = heads("Visit", "Scan", "Rule", "What came, what was expected")
    return Grid("Scans that were not measured, and why", titles, rows)


def rules(one: Patient) -> list[tuple[str, str]]:
    """Return the rule by which each quantity was measured; those that stand beside them are left to the tables."""
    own = one.tables["burden"][["quantity", "rule_id"]].dropna().drop_duplicates()
    shown = own[~own["quantity"].isin(list(words.BESIDE))]
    return [(words.quantity_name(name), rule) for name, rule in shown.to_numpy().tolist()]


def abreast(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cut visits into groups of equal size that the paper is wide enough for."""
    parts = -(-len(rows) // VISITS_ABREAST)
    size = -(-len(rows) // parts) if parts else 0
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)] if parts else []


def heading(row: dict[str, Any]) -> Cell:
    """Return a visit as it heads a column."""
    return Cell(str(row["visit_id"]), words.day(row["date"]))


def same(visit: Any, other: Any) -> bool:
    """Tell whether two visits are the same; an unknown one is none."""
    return pd.notna(visit) and pd.notna(other) and bool(visit == other)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table by the names of its columns."""
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*(table[name] for name in table), strict=True)]


def heads(*names: str) -> list[Cell]:
    """Return names as they head columns."""
    return [Cell(name) for name in names]


def dated(one: Patient, visit: str) -> str:
    """Return a visit with its date."""
    dates: Iterable[Any] = one.wide.loc[one.wide["visit_id"] == visit, "date"].dropna()
    return ", ".join([visit, *map(words.day, dates)])
