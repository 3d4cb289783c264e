"""The report as PDF: tagged, with a language, one sheet where one is asked for, the same bytes every time."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from monitor.export import report, report_page, report_pdf, words
from monitor.types import StudyError
from tests.dashboard.made import write_results
from tests.made_report import crowded, png

PICTURES = {f"P001/V{visit}/lesion_{lesion:04d}.png": png(500, 530) for visit in (2, 5) for lesion in (1, 2)}


def _reader(path):
    pypdf = pytest.importorskip("pypdf", reason="pypdf reads what was written; it is not installed")
    return pypdf.PdfReader(path)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("made") / "results", PICTURES, more_patients=0)


@pytest.fixture(scope="module")
def pdf(weasyprint, results, tmp_path_factory):
    return report(results, "P001", tmp_path_factory.mktemp("out") / "P001.pdf", form="page")


def _tags(node, found):
    """Collect the kind and the alternative text of every element of the structure."""
    node = node.get_object() if hasattr(node, "get_object") else node
    if isinstance(node, list):
        for child in node:
            _tags(child, found)
    elif isinstance(node, dict):
        if "/S" in node:
            found.append((str(node["/S"]), str(node.get("/Alt", ""))))
        if "/K" in node:
            _tags(node["/K"], found)
    return found


def _text(reader):
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split()).replace(words.THIN, " ")


def test_it_is_tagged_and_has_a_language_and_a_title(pdf):
    """Invariance of the format: PDF/UA-1 asks for marks, a tree of them, a language and a title that is shown."""
    reader = _reader(pdf)
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in root
    assert str(root["/Lang"]).startswith("en")
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert reader.metadata.title == "Calcification over serial scans"


def test_every_picture_of_it_has_a_text(pdf):
    """The course and the two pictures of a lesion are figures with an alternative text; tables have headers."""
    tags = _tags(_reader(pdf).trailer["/Root"]["/StructTreeRoot"], [])
    figures = [alt for kind, alt in tags if kind == "/Figure" and alt]
    assert len(figures) == 3
    assert figures[0].startswith("Volume of mineral over the years since the baseline, 5 visits. increased")
    assert {"/Table", "/TH", "/H1", "/H2"} <= {kind for kind, _ in tags}


def test_it_holds_nothing_of_where_it_was_made(pdf):
    """Neither a path nor a user stands in what describes the file; the pseudonym is all that names anybody."""
    about = _reader(pdf).metadata
    assert set(about) <= {"/Title", "/Producer", "/CreationDate"}
    assert b"/home/" not in pdf.read_bytes()
    assert str(about["/CreationDate"]).startswith("D:20261123")


@pytest.mark.slow
def test_one_page_is_one_sheet_whatever_there_is_to_say(weasyprint, tmp_path):
    """Fifty lesions, twelve visits, ten treatments and long words everywhere fit; what is left out is counted."""
    reader = _reader(report(crowded(tmp_path / "r"), "P1", tmp_path / "p.pdf", form="page"))
    assert len(reader.pages) == 1
    text = _text(reader)
    assert "more, see the long form" in text
    assert "increased since the baseline" in text
    assert text.endswith("Research use only, not for diagnosis.")
    width, height = (float(side) for side in reader.pages[0].mediabox[2:])
    assert (round(width), round(height)) == (595, 842)


@pytest.mark.slow
def test_the_last_room_fits_a_page_of_any_font(weasyprint, monkeypatch, tmp_path):
    """Property of the smallest room: also where every letter is a fifth wider and higher."""
    monkeypatch.setattr(report_page, "ROOMS", report_page.ROOMS[-1:])
    found = []
    kept = report_pdf.pdf

    def wider(pages, **more):
        found.append([text.replace("8pt/1.32", "9.6pt/1.32").replace("7.6pt", "9.1pt") for text in pages])
        return kept(found[0], **more)

    monkeypatch.setattr(report_pdf, "pdf", wider)
    assert len(_reader(report(crowded(tmp_path / "r", frame=False), "P1", tmp_path / "p.pdf", form="page")).pages) == 1
    assert "9.6pt" in found[0][0]


@pytest.mark.parametrize("patient", ["P002", "P003", "P004", "P900"])
def test_a_patient_of_whom_little_is_known_has_a_page(weasyprint, results, tmp_path, patient):
    """One visit, no lesions, a refusal, nothing measured: one sheet each, which says so."""
    reader = _reader(report(results, patient, tmp_path / "p.pdf", form="page"))
    assert len(reader.pages) == 1
    said = {
        "P002": "refused: V5",
        "P003": "nothing to compare yet",
        "P004": "No lesion was found",
        "P900": "No visit of this patient could be measured. the folder holds no image",
    }
    assert said[patient] in _text(reader)


@pytest.mark.slow
def test_the_long_form_is_the_same_report_on_numbered_sheets(weasyprint, results, tmp_path):
    """Several sheets, each with its number and the use that is not meant."""
    reader = _reader(report(results, "P001", tmp_path / "p.pdf"))
    assert len(reader.pages) > 2
    for number, page in enumerate(reader.pages, start=1):
        text = " ".join(page.extract_text().split())
        assert f"{number} of {len(reader.pages)}" in text
        assert "Research use only, not for diagnosis." in text
    assert "merged into 1" in _text(reader)


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(pdf, results, tmp_path):
    """Invariance: another process at another time writes the same file."""
    code = "import sys; from monitor.export import report; report(*sys.argv[1:4], form='page')"
    again = tmp_path / "again.pdf"
    subprocess.run([sys.executable, "-c", code, str(results), "P001", str(again)], check=True, timeout=120)
    assert again.read_bytes() == pdf.read_bytes()


def test_nothing_is_fetched_from_elsewhere(weasyprint):
    """A picture that lies outside of the page is not loaded, from a disk as little as from a network."""
    fetch = report_pdf._within(weasyprint)
    for place in ("file:///etc/hostname", "http://127.0.0.1:1/x.png"):
        with pytest.raises(ValueError, match=r"protocol|not allowed|Forbidden"):
            fetch.fetch(place)
    assert fetch.fetch("data:text/plain,x").read() == b"x"


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'weasyprint'"), OSError("cannot load pango")])
def test_what_is_missing_is_told(results, tmp_path, monkeypatch, error):
    """The error says the rule, what came, what to install, and what needs nothing; no file is left."""
    kept = importlib.import_module

    def missing(name, *more):
        if name == "weasyprint":
            raise error
        return kept(name, *more)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(StudyError, match=r'got .*(weasyprint|pango).*calcitrack\[pdf\]".*\.html needs nothing'):
        report(results, "P001", tmp_path / "p.pdf")
    assert list(tmp_path.iterdir()) == []
    assert report(results, "P001", tmp_path / "p.html").exists()
