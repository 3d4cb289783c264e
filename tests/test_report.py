"""A report on one patient: one file, every state in words, nothing from elsewhere, the same bytes every time."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from monitor import cli, store, tables
from monitor.export import plots, report, report_tables, story, words
from monitor.export.report_pictures import FRAMED_LESIONS, PICTURE_BYTES, PICTURE_PIXELS
from monitor.store import StoreError
from monitor.types import StudyError
from tests.dashboard.made import made_tables, write_empty, write_results
from tests.made_report import crowded
from tests.made_report import rows as crowded_rows

VOID = {"meta", "link", "img", "br", "hr", "input"}
"""Elements that have no end tag."""


class Page(HTMLParser):
    """Text, elements and attributes of a page; fails where elements are not nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split()).replace(words.THIN, " ")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def png(width: int, height: int, *, noise: bool = False) -> bytes:
    size = (height, width, 3)
    pixels = np.random.default_rng(1).integers(0, 256, size) if noise else np.full(size, 90)
    out = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


PICTURES = {
    "P001/V1/qc.png": png(600, 300),
    "P001/V5/qc.png": png(1800, 900, noise=True),
    **{f"P001/V{visit}/lesion_{lesion:04d}.png": png(60, 64) for visit in (1, 2, 5) for lesion in (1, 2, 3)},
    "P002/V1/lesion_0001.png": b"not a picture",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("made") / "results", PICTURES, more_patients=0)


@pytest.fixture(scope="module")
def html(results, tmp_path_factory):
    return report(results, "P001", tmp_path_factory.mktemp("out") / "P001.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def page_of(results: Path, patient: str, folder: Path) -> Page:
    return Page(report(results, patient, folder / "report.html").read_text(encoding="utf-8"))


def published(folder: Path, **rows: list[dict]) -> Path:
    found = {name: tables.check(pd.DataFrame(rows.get(name, [])), name) for name in tables.SCHEMAS}
    with store.locked(folder):
        store.publish(folder, found, {}, {})
    return folder


def test_the_page_needs_nothing_else(html, page):
    """No script, no style sheet, no address: all that is loaded is in the file."""
    assert not page.all("script")
    assert not page.all("link")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert "http" not in re.sub(r"data:[^\"]+|http-equiv", "", html)
    assert "url(" not in html
    assert len(html) < 5_000_000


def test_the_use_that_is_not_meant_stands_first_and_last(page):
    """At the top and at the end."""
    body = page.text.split("Calcification over serial scans", 1)[1]
    assert body.startswith(" Research use only, not for diagnosis.")
    assert body.endswith("Research use only, not for diagnosis.")


def test_the_verdict_has_its_error_and_the_smallest_change_that_counts(page):
    """Closed form: the numbers that P001 was made of, in one sentence with their limits."""
    assert "▲ increased since the baseline" in page.text
    assert "1 063 mm³ (95 % limits 999 to 1 127) at V5 on 2025-05-10 (2.18 years after the baseline)." in page.text
    assert (
        "Change from the baseline (V2, 2023-03-06): +252 mm³ (95 % limits +144 to +360), +31.1 %; "
        "smallest change that counts 108 mm³: increased."
    ) in page.text


def test_treatment_is_told_in_time_only(page):
    """What lies after a start is said, with the day; a cause is denied and no effect is named."""
    assert "V3, V4 and V5 lie after the start of thiosulfate (2023-04-04)." in page.text
    assert "This is order in time; it does not show a cause." in page.text
    assert not re.search("respon[ds]|effect|due to|because of|thanks to|caused", page.text)


def test_every_state_of_a_lesion_has_words(page):
    """Absent, not in the field, not measurable, merged and split are told apart."""
    for said in (
        "resolved",
        "not in field",
        "merged into 1",
        "split from 1",
        "✚ new",
        "▲ grown",
        "▼ shrunk",
        "= stable",
    ):
        assert said in page.text
    assert "limit 4.2" in page.text
    assert "896 seen" in page.text
    assert "× not comparable kernel Br40 and Br64" in page.text
    assert "unknown or not measurable; never a zero" in page.text


def test_the_page_can_be_heard(page):
    """Language, a title, alternative text for each picture, a caption for each table, a scope for each header."""
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert {header["scope"] for header in page.all("th")} == {"col", "row"}
    assert [tag for tag, _ in page.found].count("h1") == 1
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {section["aria-labelledby"] for section in page.all("section")} == set(ids)


def test_key_images_are_few_and_small(page):
    """Overviews of the first and last visit, the largest lesions at both; a large picture is made smaller."""
    images = page.all("img")[2:]
    assert [image["alt"].replace(words.THIN, " ") for image in images] == [
        "Overview of scan V1 of 2022-10-04: skeleton and numbered lesions.",
        "Overview of scan V5 of 2025-05-10: skeleton and numbered lesions.",
        "Axial slice through the place of the lesion. Lesion 1 at V1, 2022-10-04: 410 mm³.",
        "Axial slice through the place of the lesion. Lesion 1 at V5, 2025-05-10: 742 mm³.",
        "Axial slice through the place of the lesion. Lesion 2 at V1, 2022-10-04: 210 mm³.",
        "Axial slice through the place of the lesion. Lesion 2 at V5, 2025-05-10: resolved.",
    ]
    large = base64.b64decode(images[1]["src"].split(",")[1])
    with Image.open(BytesIO(large)) as shown:
        assert max(shown.size) == PICTURE_PIXELS
        assert shown.size == (int(images[1]["width"]), int(images[1]["height"]))
    assert len(PICTURES["P001/V5/qc.png"]) > PICTURE_BYTES


def test_the_same_results_give_the_same_bytes(results, html, tmp_path):
    """Invariance: nothing hangs on when or where a report is made, the picture of lines included."""
    again = report(results, "P001", tmp_path / "deep" / "again.HTML")
    assert again.read_text(encoding="utf-8") == html
    assert [path.name for path in again.parent.iterdir()] == ["again.HTML"]


def test_a_patient_of_one_visit(results, tmp_path):
    """There is nothing to compare, and that is said."""
    page = page_of(results, "P003", tmp_path)
    assert "one visit" in page.text
    assert "There is one visit: nothing to compare yet." in page.text
    assert "230 mm³ (95 % limits 216 to 244) at V1" in page.text
    assert "No trend was fitted" in page.text


def test_a_patient_without_lesions(results, tmp_path):
    """Nothing found is a 0 with a detection limit, not a missing number."""
    page = page_of(results, "P004", tmp_path)
    assert "No lesions at V2." in page.text
    assert "No lesion was found at any measured visit." in page.text
    assert "0 mm³ (95 % limits 0 to 0) at V2" in page.text


def test_a_patient_of_whom_all_was_refused(results, tmp_path):
    """The report says so and why; there is no empty table and no figure."""
    page = page_of(results, "P900", tmp_path)
    assert "No visit of this patient could be measured." in page.text
    assert "no-pixels the folder holds no image: only a structured report" in page.text
    assert "Condition AHO" in page.text
    assert not page.all("img")
    assert len(page.all("table")) == 1


def test_a_refused_visit_beside_measured_ones(results, tmp_path):
    """It has a line among the visits, and its reason; a picture that cannot be read is left out."""
    page = page_of(results, "P002", tmp_path)
    assert "Refused, not measured: V5 (see What was refused)." in page.text
    assert "× refused" in page.text
    assert "slice spacing is not uniform: 2.5 mm to 5.0 mm" in page.text
    assert len(page.all("img")) == 2
    assert "dicom/" not in page.text


def test_only_part_was_in_the_field(tmp_path):
    """A last visit without a total says what was seen, and a comparison that it is of the common field."""
    own = {"patient_id": "P1", "compartment": "total", "quantity": "volume_mm3", "unit": "mm3"}
    days = {"V1": {"date": "2024-01-01", "years": 0.0}, "V2": {"date": "2025-01-01", "years": 1.0}}
    burden = [
        {**own, **days["V1"], "visit_id": "V1", "value": 100.0, "evaluable": 1.0, "value_observed": 100.0},
        {**own, **days["V2"], "visit_id": "V2", "evaluable": 0.5, "value_observed": 70.0},
    ]
    change = {"comparison": "baseline", "from_visit": "V1", "to_visit": "V2", "verdict": "increased", "change": 20.0}
    folder = published(
        tmp_path / "r",
        visits=[{"patient_id": "P1", "visit_id": visit, **day} for visit, day in days.items()],
        burden=burden,
        changes=[{**own, **change, "lo": 5.0, "hi": 35.0, "detectable": 15.0}],
        patients=[{"patient_id": "P1", "baseline_visit_id": "V1"}],
    )
    page = page_of(folder, "P1", tmp_path)
    assert "No total at V2 on 2025-01-01 (1.00 years after the baseline): 50 % of the known lesions" in page.text
    assert "and those held 70 mm³." in page.text
    assert "Change from the baseline (V1, 2024-01-01) in the field common to both visits: +20 mm³" in page.text


def test_the_report_names_the_rules_of_what_it_shows(tmp_path):
    """The score's rule stands in the report, those of its variants in the tables."""
    own = {"patient_id": "P1", "visit_id": "V1", "compartment": "total", "date": "2024-01-01", "years": 0.0}
    both = [{**own, "quantity": name, "rule_id": f"by-{name}", "value": 1.0} for name in ("agatston", "agatston_2d4")]
    visits = [{"patient_id": "P1", "visit_id": "V1", "date": "2024-01-01", "years": 0.0}]
    folder = published(tmp_path / "r", visits=visits, burden=both, patients=[{"patient_id": "P1"}])
    page = page_of(folder, "P1", tmp_path)
    assert "by-agatston" in page.text
    assert "by-agatston_2d4" not in page.text


def test_a_selftest_is_told_beside_the_patient_s_numbers(tmp_path):
    """The section has its sentence, the situations and the kinds; a reason stands where nothing could be tested."""
    rows = [
        {"situation": "rescan", "lesion": "grown_50", "true_before_mm3": 100.0, "true_after_mm3": 150.0, "right": True},
        {
            "situation": "slices",
            "lesion": "grown_50",
            "true_before_mm3": 100.0,
            "right": False,
            "verdict": "not_comparable",
        },
    ]
    visit = {"patient_id": "P1", "visit_id": "V0", "date": "2024-01-01", "years": 0.0, "region": "thigh"}
    tested = [{"patient_id": "P1", **row} for row in rows]
    page = page_of(published(tmp_path / "results", visits=[visit], selftest=tested), "P1", tmp_path)
    assert "How well this patient's scan can be measured" in page.text
    assert "1 of 1 true changes were called" in page.text
    assert "with slices of twice the distance" in page.text
    assert "grown by 50 %" in page.text
    untested = published(tmp_path / "none", visits=[visit], selftest=[{"patient_id": "P1", "why": "no room"}])
    assert "The scan could not be tested: no room." in page_of(untested, "P1", tmp_path).text
    without = published(tmp_path / "without", visits=[visit])
    assert "can be measured" not in page_of(without, "P1", tmp_path).text


def test_what_the_study_says_cannot_become_markup(tmp_path):
    """Names, reasons and compartments are text, whatever stands in them."""
    bad = "<script>alert(1)</script><img src=x onerror=y>\"'"
    folder = published(
        tmp_path / "r",
        visits=[{"patient_id": "P1", "visit_id": "V1", "date": "2024-01-01", "years": 0.0, "kernel": bad,
                 "comparable": True, "comparable_why": bad}],
        burden=[{"patient_id": "P1", "visit_id": "V1", "compartment": place, "quantity": "volume_mm3", "value": 1.0,
                 "unit": bad, "rule_id": bad} for place in ("total", bad)],
        events=[{"patient_id": "P1", "date": "2024-01-01", "years": 0.0, "kind": "treatment", "name": bad}],
        patients=[{"patient_id": "P1", "condition": bad}],
    )  # fmt: skip
    page = page_of(folder, "P1", tmp_path)
    assert not page.all("script")
    assert {image["src"][:11] for image in page.all("img")} == {"data:image/"}
    assert bad in page.text


def test_many_visits_stand_in_tables_that_fit_the_paper(tmp_path):
    """Twelve visits make tables of at most as many columns as A4 is wide; each visit stands in one of them."""
    days = [{"visit_id": f"V{n}", "date": f"20{10 + n}-01-01", "years": float(n)} for n in range(12)]
    lesions = [
        {"patient_id": "P1", "lesion_id": 1, "status": "stable", "volume_mm3": 10.0 + n, **day}
        for n, day in enumerate(days)
    ]
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    found["visits"] = tables.check(pd.DataFrame([{"patient_id": "P1", **day} for day in days]), "visits")
    found["lesions"] = tables.check(pd.DataFrame(lesions), "lesions")
    grids = story.lesion_grids(story.patient(found, "P1"))
    heads = [[head.text for head in grid.heads if head.text.startswith("V")] for grid in grids]
    assert [name for names in heads for name in names] == [day["visit_id"] for day in days]
    assert max(map(len, heads)) <= story.VISITS_ABREAST
    assert [row.text for row in grids[0].rows[0]][-4:] == ["10", "11", "12", "13"]


def test_an_unknown_patient_lists_known_ones(results, tmp_path):
    """At most ten are named; nothing is written."""
    with pytest.raises(StudyError, match="of the results, P001, P002, P003, P004, P900; got 'P1'"):
        report(results, "P1", tmp_path / "r.html")
    many = write_results(tmp_path / "many", more_patients=9)
    with pytest.raises(StudyError, match=r"P010 and 4 more; got '\.\./x'"):
        report(many, "../x", tmp_path / "r.html")
    with pytest.raises(StudyError, match="of the results, nobody; got 'P1'"):
        report(write_empty(tmp_path / "empty"), "P1", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_only_html_and_pdf_are_offered(results, tmp_path):
    """Another ending is told which ones are right, another form too."""
    with pytest.raises(StudyError, match=r"must end in \.html or \.pdf; got 'r\.doc'"):
        report(results, "P001", tmp_path / "r.doc")
    with pytest.raises(ValueError, match="must be one of long, page; got 'short'"):
        report(results, "P001", tmp_path / "r.html", form="short")
    with pytest.raises(StoreError, match=r"must hold run\.json"):
        report(tmp_path, "P001", tmp_path / "r.html")


def test_a_report_that_cannot_be_placed_leaves_the_one_before(results, tmp_path, monkeypatch):
    """Whole or not at all: the old file stays, and nothing else is there."""
    target = report(results, "P900", tmp_path / "r.html")
    before = target.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="the disk says: No space left on device"):
        report(results, "P001", target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_the_picture_of_lines_is_empty_where_nothing_was_measured():
    """A patient without numbers has no figure; one with a single visit has."""
    found = made_tables(0)
    events = found["events"].head(0)
    for patient, start in (("P900", b""), ("P003", b"<?xml")):
        course = replace(story.course(story.patient(found, patient), "volume_mm3"), events=events)
        assert plots.trajectory(course)[:5] == start


def test_events_are_lettered_in_order_of_time():
    """The letter of the picture is that of the table; the 27th has none and nothing fails."""
    rows = [{"patient_id": "P1", "years": float(30 - n), "kind": "flare", "name": str(n)} for n in range(30)]
    made = plots.lettered(tables.check(pd.DataFrame(rows), "events"))
    assert made["years"].is_monotonic_increasing
    assert "".join(made["letter"]) == "abcdefghijklmnopqrstuvwxyz"


def test_the_long_form_has_what_the_clinic_s_page_leaves_out(tmp_path):
    """Frames over the visits, published limits, scores, dose so far, age at the scan, and how sure a link is."""
    page = page_of(crowded(tmp_path / "r"), "P1", tmp_path)
    frames = [image for image in page.all("img") if (image["alt"] or "").startswith("Three planes")]
    assert len(frames) == FRAMED_LESIONS * 2
    for said in (
        "What published limits say",
        "Callister 1998",
        "Scores of readers",
        "cdasi damage",
        "Dose-length product so far, mGy·cm",
        "1 200",
        "Age at the scan, years",
        "17.2",
        "Least sure link",
        "no number was measured on them",
    ):
        assert said in page.text


def test_published_limits_stand_beside_our_own(tmp_path):
    """A comparison by a published limit is in its own table, and never the verdict of a lesion or a total."""
    found = crowded_rows()
    one = story.patient(found, "P1")
    (first, *_) = report_tables.published_grids(one)
    assert [head.text for head in first.heads[:2]] == ["Quantity", "Limit"]
    assert first.rows[0][1].text == "Callister 1998"
    assert {cell.mark.word for cell in first.rows[0][2:]} == {"no detectable change"}
    assert story.change_at(one, "volume_mm3", "baseline", "V12")["verdict"] == "increased"


def test_objects_of_the_program_are_no_parameters(tmp_path):
    """Their text names a folder of the machine; numbers and words stay, by module."""
    page = page_of(crowded(tmp_path / "r"), "P1", tmp_path)
    assert "lesions LEAST 2.0" in page.text
    assert "someone" not in page.text


def test_the_notes_of_trends_are_told_once():
    """Rows that share a note point to one line below the table."""
    found = made_tables(0)
    found["trends"] = found["trends"].assign(note="a; b", interval_kind="residual_t")
    grid = story.trend_grid(story.patient(found, "P001"))
    assert grid.notes == ("limits: residual t", "a", "b")
    assert {row[-1].text for row in grid.rows} == {"1, 2, 3"}


def test_the_command_writes_what_it_is_asked_for(results, tmp_path):
    """A page, and figures; asked for nothing, it says what to ask for."""
    run = CliRunner().invoke
    out, folder = tmp_path / "p.html", tmp_path / "figures"
    asked = ["report", str(results), "P001"]
    assert run(cli.app, [*asked, "-o", str(out), "--page", "--figures", str(folder)]).exit_code == 0
    assert "Smallest change that counts" in out.read_text(encoding="utf-8")
    assert len(list(folder.iterdir())) == 4
    assert "give -o FILE.html" in str(run(cli.app, asked).exception)
