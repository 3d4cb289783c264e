"""The printed report, made when it is asked for."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import flask
from dash import html

from monitor.errors import StoreError
from monitor.export import report
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


def has_pdf() -> bool:
    """Tell whether what makes a PDF is installed."""
    return importlib.util.find_spec("weasyprint") is not None


def links(patient: str) -> Component:
    """Return where a patient's report is; PDF where it can be made."""
    kinds = [kind for kind in KINDS if kind != "pdf" or has_pdf()]
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

    @server.route("/report/<patient>/<form>.<kind>")
    def _report(patient: str, form: str, kind: str) -> flask.Response:
        study = read()
        if patient not in study.ids or form not in FORMS or kind not in KINDS:
            flask.abort(404)
        with tempfile.TemporaryDirectory(prefix="calcitrack-") as aside:
            path = Path(aside) / f"report.{kind}"
            try:
                report(study.folder, patient, path, form=form)
            except (StudyError, StoreError) as error:
                LOG.warning("a report could not be made: %s", error)
                return flask.Response(f"The report could not be made: {error}", status=503, mimetype="text/plain")
            content = path.read_bytes()
        answer = flask.Response(content, mimetype=KINDS[kind])
        answer.headers["Content-Disposition"] = f'inline; filename="calcitrack-report.{kind}"'
        return answer
