"""Plain tables of a patient's page: scans, trends, published limits, selftest, events, what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import html

from dashboard import words as shared
from dashboard.parts import aria, table
from dashboard.patient import pictures, rows, words
from dashboard.patient.own import plain_rows
from monitor import graded

if TYPE_CHECKING:
    from dash.development.base_component import Component

    from dashboard.patient.own import Own, Row

SCAN_NUMBERS = (
    "Years", "kV", "Slice / step, mm", "Noise, HU", "Threshold, HU", "Detected from, mm³", "Residual, mm",
    "In the field", "Lesions", "DLP, mGy·cm",
)  # fmt: skip
"""Columns of the table of scans that are set flush right."""

AGREED = {"iv": "iv, seen", "none": "none seen", "unknown": "iv by the header, not seen"}
"""What the image shows of contrast medium."""


def scans(own: Own, patient: str) -> Component:
    """Return the scans: acquisition, quality, whether they compare, and the picture of what was taken for what."""
    titles = (
        "Visit", "Date", "Years", "Comparable with baseline", "kV", "Kernel", "Slice / step, mm", "Contrast",
        "Changed since the visit before", "Noise, HU", "Threshold, HU", "Detected from, mm³", "Residual, mm",
        "In the field", "Lesions", "DLP, mGy·cm", "Picture",
    )  # fmt: skip
    changed = rows.protocol_changes(own.scans)
    cells = [_scan(row, own, patient, changed.get(str(row["visit_id"]), [])) for row in own.scans]
    return table(titles, cells, caption="Scans, oldest first", numbers=SCAN_NUMBERS)


def _scan(row: Row, own: Own, patient: str, changed: list[str]) -> list[Any]:
    """Return the cells of one scan."""
    compares = {True: "✓ yes", False: "× no"}.get(row["comparable"], shared.MISSING)
    why, visit = shared.plain(row["comparable_why"]), str(row["visit_id"])
    check = pictures.of_visit(own.folder, patient, visit).address("qc.png", shared.plain(row["scan_id"]))
    about = f"Picture of what was taken for what at {visit}"
    link = html.A("what was taken", href=check, target="_blank", rel="noopener", **aria(label=about))
    most = f" (to {shared.number(row['residual_hi_mm'])})" if shared.plain(row["residual_hi_mm"]) else ""
    return [
        html.Strong(visit),
        shared.day(row["date"]),
        shared.years(row["years"]),
        f"{compares}: {why}" if why else compares,
        shared.number(row["kvp"]),
        shared.plain(row["kernel"]) or shared.MISSING,
        f"{shared.number(row['slice_thickness_mm'])} / {shared.number(row['slice_increment_mm'])}",
        _contrast(row),
        "; ".join(changed) or shared.MISSING,
        shared.number(row["noise_hu"]),
        shared.number(row["threshold_hu"]),
        shared.number(row["lod_mm3"]),
        f"{shared.number(row['residual_mm'])}{most}",
        shared.share(row["in_field"]),
        shared.plain(row["n_lesions"]),
        shared.number(row["dlp_mgy_cm"]),
        link if check else shared.MISSING,
    ]


def _contrast(row: Row) -> str:
    """Return contrast medium by the header, what the image shows where that is another, and the level of blood."""
    said, seen = shared.plain(row["contrast"]), shared.plain(row["contrast_found"])
    found = f" ({AGREED.get(seen, seen)})" if seen and seen != said else ""
    blood = "" if not shared.plain(row["blood_hu"]) else f", blood {shared.number(row['blood_hu'])} HU"
    return f"{said or shared.MISSING}{found}{blood}"


def trends(own: Own) -> Component | None:
    """Return every trend of the patient; nothing where none was fitted."""
    if not own.trends:
        return None
    order = {name: place for place, name in enumerate(shared.QUANTITIES)}
    ranked = sorted(own.trends, key=lambda row: order.get(str(row["quantity"]), len(order)))
    cells = []
    for row in ranked:
        unsigned = row["term"] in words.UNSIGNED
        where = f"lesion {row['lesion_id']}" if shared.plain(row["lesion_id"]) else shared.plain(row["compartment"])
        cells.append([
            shared.quantity_name(shared.plain(row["quantity"])),
            shared.compartment_name(where),
            words.TERMS.get(str(row["term"]), shared.plain(row["term"]).replace("_", " ")),
            words.estimate(row["estimate"], row["unit"], sign=not unsigned),
            shared.limits(row["lo"], row["hi"]) or shared.MISSING,
            shared.plain(row["n_visits"]),
            "; ".join(filter(None, (shared.plain(row["model"]), shared.plain(row["note"])))),
        ])  # fmt: skip
    titles = ("Quantity", "Where", "What", "Estimate", "95 % limits", "Visits", "Model, and what to know of it")
    return table(titles, cells, caption="Fitted to this patient's visits", numbers=("Estimate", "Visits"))


def published(own: Own) -> Component | None:
    """Return what published limits say of the latest visit; nothing where there is none."""
    found = own.published
    if not found:
        return None
    cells = []
    for row in found:
        mark = shared.mark(shared.VERDICTS, row["verdict"])
        cells.append([
            shared.quantity_name(shared.plain(row["quantity"])),
            rows.limit_name(row["rule_id"]),
            shared.amount(row["change"], row["unit"], sign=True),
            shared.amount(row["detectable"], row["unit"]),
            html.Span(shared.marked(shared.VERDICTS, row["verdict"]), className=f"tone-{mark.tone}"),
            shared.plain(row["why"]),
        ])  # fmt: skip
    latest = shared.plain(found[0]["to_visit"])
    titles = ("Quantity", "Limit", "Change", "Smallest that counts", "Verdict", "Why")
    caption = (
        f"Total at {latest} against the baseline by limits of adult coronary scans; they know nothing of these scans"
    )
    return table(titles, cells, caption=caption, numbers=("Change", "Smallest that counts"))


def selftest(own: Own) -> list[Component]:
    """Return how well a patient's scan can be measured; nothing where no selftest was made."""
    found = own.table("selftest")
    told = graded.sentences(found)
    if not told:
        return []
    cells = [graded.cells(one) for one in graded.grades(found)]
    shown = [html.Div(table(graded.HEADS, cells, caption=graded.TITLE), className="scroll")] if cells else []
    return [html.P(" ".join(told)), html.P(graded.EXPLAINED, className="small"), *shown]


def events(own: Own) -> Component | None:
    """Return treatments and events; nothing where there are none."""
    if not own.happened:
        return None
    cells = []
    for row in own.happened:
        place = " ".join(
            filter(None, (shared.plain(row["side"]), shared.compartment_name(shared.plain(row["compartment"]))))
        )
        lesion = f"lesion {row['lesion_id']}" if shared.plain(row["lesion_id"]) else ""
        until = shared.years(row["end_years"]) if shared.plain(row["end_years"]) else shared.MISSING
        cells.append([
            shared.plain(row["kind"]), shared.plain(row["name"]), shared.day(row["date"]), shared.years(row["years"]),
            until, ", ".join(filter(None, (place, lesion))) or shared.MISSING,
        ])  # fmt: skip
    titles = ("Kind", "What", "Date", "Years since baseline", "Until, years", "Where")
    return table(titles, cells, caption="In order of time", numbers=("Years since baseline", "Until, years"))


def refused(own: Own) -> Component | None:
    """Return what was not measured and why; nothing where all was. Paths are left out: folders may name a person."""
    found = plain_rows(own.table("refused"))
    if not found:
        return None
    titles = ("Visit", "Scan", "Rule", "Why it was not measured")
    cells = [
        [shared.plain(row[name]) or shared.MISSING for name in ("visit_id", "scan_id", "code", "message")]
        for row in found
    ]
    return table(titles, cells, caption="Not measured")
