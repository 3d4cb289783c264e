"""Reports over the wire."""

import pytest

from dashboard import printing
from monitor.types import StudyError


@pytest.mark.parametrize("form", ["page", "long"])
def test_a_report_is_made_when_it_is_asked_for(client, form):
    """The page's links lead to a report on just that patient, shown in the browser and kept nowhere."""
    answer = client.get(f"/report/P001/{form}.html")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Disposition"] == 'inline; filename="calcitrack-report.html"'
    text = answer.get_data(as_text=True)
    assert "P001" in text
    assert "P002" not in text


@pytest.mark.parametrize(
    "path", ["/report/P999/page.html", "/report/P001/short.html", "/report/P001/page.exe", "/report/P001", "/report/"]
)
def test_what_there_is_no_report_of_is_not_there(client, path):
    """Neither an unknown patient nor an unknown form is an error of the server."""
    assert client.get(path).status_code == 404


def test_a_report_needs_a_session(stranger):
    """A report is data: who did not open the page gets none."""
    assert stranger.get("/report/P001/page.html").status_code == 403


@pytest.mark.usefixtures("weasyprint")
def test_a_pdf_is_one(client):
    """The same report as PDF."""
    answer = client.get("/report/P001/page.pdf")
    assert answer.mimetype == "application/pdf"
    assert answer.data.startswith(b"%PDF-")


def test_without_weasyprint_no_pdf_is_offered(monkeypatch, client):
    """The page says what to install, and an address typed by hand is answered in words."""
    monkeypatch.setattr(printing.report_pdf, "available", lambda: False)
    offered = str(printing.links("P001"))
    assert "page.html" in offered
    assert "page.pdf" not in offered
    assert "calcitrack[pdf]" in offered


def test_reports_are_made_one_at_a_time(client, monkeypatch):
    """Who comes while another is being made is asked to come again; nothing is said of where results lie."""
    monkeypatch.setattr(printing, "WAIT_S", 0.01)
    inner = []

    def slow(*_):
        if not inner:
            inner.append(client.application.test_client())
            inner[0].get("/")
            inner.append(inner[0].get("/report/P001/page.html").status_code)
        return b"made"

    monkeypatch.setattr(printing, "_made", slow)
    assert client.get("/report/P001/page.html").data == b"made"
    assert inner[1] == 503


def test_what_cannot_be_made_is_told_without_places(client, monkeypatch, caplog):
    """The log says why, the answer does not name folders."""

    def fails(*_):
        raise StudyError("no table in /somewhere")

    monkeypatch.setattr(printing, "_made", fails)
    answer = client.get("/report/P001/page.html")
    assert answer.status_code == 503
    assert "/somewhere" not in answer.get_data(as_text=True)
    assert "/somewhere" in caplog.text
