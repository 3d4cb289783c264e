"""The application: made from a results folder, shown to this machine only unless a token is set."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import flask
import waitress
from dash import Dash

from dashboard import guard, printing, shell, slices
from dashboard.access import Access
from dashboard.study import Study, open_study
from monitor.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)

THREADS = 6
"""Requests answered side by side; a page asks for about ten things at once."""

INDEX = """<!DOCTYPE html>
<html lang="en">
    <head>
        {%metas%}
        <title>{%title%}</title>
        {%favicon%}
        {%css%}
    </head>
    <body>
        <noscript>This page needs JavaScript. The tables are in the results folder.</noscript>
        {%app_entry%}
        <div>{%config%}{%scripts%}{%renderer%}</div>
    </body>
</html>"""
"""Dash's page with its language said; its scripts stand in no footer, since the page has one of its own."""


def create_app(results_folder: str | Path, access: Access | None = None) -> Dash:
    """Make the application for one results folder.

    Parameters
    ----------
    results_folder : path
        Where ``calcitrack run`` published.
    access : Access, optional
        Who may reach it; this machine alone by default.

    Returns
    -------
    Dash
        Its ``server`` is a Flask application for any WSGI server.

    Raises
    ------
    monitor.errors.StoreError
        If nothing was published there.
    """
    folder = Path(results_folder).resolve()
    access = access or Access()
    read = _reader(folder)
    app = Dash(
        "dashboard",
        title="calcitrack",
        update_title="",
        index_string=INDEX,
        serve_locally=True,
        compress=False,
        health_endpoint="healthz",
        enable_mcp=False,
        csrf_token_name=access.csrf_cookie,
        csrf_header_name=guard.CSRF_HEADER,
        # Each page puts its own parts in when it is asked for.
        suppress_callback_exceptions=True,
        on_error=shell.say_fault,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.server.after_request(lambda answer: _marked(answer, read()))
    app.layout = lambda: shell.frame(read(), _asked_from(), signed_in=bool(access.token))
    shell.register(app, read)
    slices.serve_pictures(app.server, folder, lambda: read().ids)
    printing.serve_reports(app.server, read)
    guard.protect(app.server, guard.policy(app.csp_hashes()), access)
    return app


def serve(results_folder: str | Path, access: Access | None = None, port: int = 8050) -> None:
    """Show a results folder until interrupted.

    Raises
    ------
    monitor.errors.StoreError
        If nothing was published there.
    """
    access = access or Access()
    app = create_app(results_folder, access)
    server = waitress.create_server(
        app.server,
        host=access.host,
        port=port,
        threads=THREADS,
        ident=None,
        max_request_body_size=guard.BODY_BYTES,
        # Cookies are marked for https, and origins compared, by what the browser sees.
        url_scheme="https" if access.https else "http",
    )
    LOG.info("the dashboard is at http://%s:%s/ ; end it with Ctrl+C", access.host, server.effective_port)
    server.run()


def _marked(answer: flask.Response, study: Study) -> flask.Response:
    """Say with each answer of a callback of which run it is: a page that is of another one tells its reader."""
    if flask.request.path == "/_dash-update-component":
        answer.headers[shell.RUN_HEADER] = shell.key(study)
    return answer


def _asked_from() -> str | None:
    """Return the address of the page that asks, as its browser says; None where it does not, or nobody asks."""
    if not flask.has_request_context() or not flask.request.referrer:
        return None
    return urlsplit(flask.request.referrer).path


def _reader(folder: Path) -> Callable[[], Study]:
    """Return a function that reads the results, anew only after a new run."""
    reading = threading.Lock()
    kept: list[tuple[int, Study]] = [(_stamp(folder), open_study(folder))]
    # What was read stays: looking through it again for garbage would hold an answer up for 20 ms and more.
    gc.freeze()

    def read() -> Study:
        stamp = _stamp(folder)
        # One reads anew; the others have the old results meanwhile, and so has everybody while a run publishes.
        if stamp not in {0, kept[0][0]} and reading.acquire(blocking=False):
            try:
                with contextlib.suppress(StoreError, FileNotFoundError):
                    kept[0] = (stamp, open_study(folder))
            finally:
                reading.release()
        return kept[0][1]

    return read


def _stamp(folder: Path) -> int:
    """Return when the results were published; 0 while a new run swaps them in."""
    try:
        return (folder / "run.json").stat().st_mtime_ns
    except FileNotFoundError:
        return 0
