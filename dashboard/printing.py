"""The printed report, made when it is asked for."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import flask
from dash import html

from monitor.errors import StoreError
from monitor.export import report, report_pdf
from monitor.types import StudyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dash.development.base_component import Component

    from dashboard.study import Study

LOG = logging.getLogger(__name__)

FORMS = {"page": "One page", "long": "Long form"}
"""Forms of the report and their names on the page."""

KINDS = {"html": "text/html", "pdf": "application/pdf"}
"""Kinds of file; PDF needs the extra of that name."""


WAIT_S = 20.0
"""How long a report waits for the one before, s. They are made one at a time: each takes a core for seconds, which the
page needs too, and matplotlib draws for one at a time."""

BUSY = "Other reports are being made. Ask again in a moment."
GONE = "The report could not be made: the results are being published anew, or something is missing; the log says what."


def links(patient: str) -> Component:
    """Return where a patient's report is; as PDF where that can be made."""
    kinds = [kind for kind in KINDS if kind != "pdf" or report_pdf.available()]
    items = [
        html.Li(
            html.A(f"{name} ({kind.upper()})", href=f"/report/{patient}/{form}.{kind}", target="_blank", rel="noopener")
        )
        for form, name in FORMS.items()
        for kind in kinds
    ]
    how = [] if "pdf" in kinds else [html.Li('(PDF needs pip install "calcitrack[pdf]")', className="small")]
    return html.Div(
        [html.Span("Report", className="label"), html.Ul([*items, *how], className="links")], id="report-links"
    )


def serve_reports(server: flask.Flask, read: Callable[[], Study]) -> None:
    """Add the route of the reports; who is not in the results is 404."""
    one_at_a_time = threading.Lock()

    @server.route("/report/<patient>/<form>.<kind>")
    def _report(patient: str, form: str, kind: str) -> flask.Response:
        study = read()
        if patient not in study.ids or form not in FORMS or kind not in KINDS:
            flask.abort(404)
        if not one_at_a_time.acquire(timeout=WAIT_S):
            return flask.Response(BUSY, status=503, mimetype="text/plain", headers={"Retry-After": "10"})
        try:
            content = _made(study.folder, patient, form, kind)
        except (StudyError, StoreError) as error:
            LOG.warning("a report could not be made: %s", error)
            return flask.Response(GONE, status=503, mimetype="text/plain")
        finally:
            one_at_a_time.release()
        answer = flask.Response(content, mimetype=KINDS[kind])
        answer.headers["Content-Disposition"] = f'inline; filename="calcitrack-report.{kind}"'
        return answer


def _made(folder: Path, patient: str, form: str, kind: str) -> bytes:
    """Make a report aside, and return what is in it."""
    with tempfile.TemporaryDirectory(prefix="calcitrack-") as aside:
        path = Path(aside) / f"report.{kind}"
        report(folder, patient, path, form=form)
        return path.read_bytes()
