"""The application: made from a results folder, shown to this machine only."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import waitress
from dash import Dash

from dashboard import callbacks, guard, layout, slices
from monitor.errors import StoreError
from monitor.store import Results, read_results

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


def create_app(results_folder: str | Path) -> Dash:
    """Make the application for one results folder.

    Parameters
    ----------
    results_folder : path
        Where ``calcitrack run`` published.

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
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.layout = lambda: layout.page(read())
    callbacks.register(app, read)
    slices.serve_pictures(app.server, folder)
    guard.protect(app.server, guard.policy(app.csp_hashes()))
    return app


def serve(results_folder: str | Path, host: str = "127.0.0.1", port: int = 8050) -> None:
    """Show a results folder until interrupted.

    Raises
    ------
    ValueError
        If the host can be reached from other machines: there is no sign-in.
    monitor.errors.StoreError
        If nothing was published there.
    """
    app = create_app(results_folder)
    server = waitress.create_server(app.server, host=guard.checked_host(host), port=port, threads=THREADS, ident=None)
    LOG.info("the dashboard is at http://%s:%s/ ; end it with Ctrl+C", host, server.effective_port)
    server.run()


def _reader(folder: Path) -> Callable[[], Results]:
    """Return a function that reads the results, anew only after a new run."""
    lock = threading.Lock()
    kept: list[tuple[int, Results]] = [(_stamp(folder), read_results(folder))]

    def read() -> Results:
        with lock:
            stamp = _stamp(folder)
            if stamp not in {0, kept[0][0]}:
                # A run that publishes right now takes run.json away: then the old results stay for a moment.
                with contextlib.suppress(StoreError, FileNotFoundError):
                    kept[0] = (stamp, read_results(folder))
            return kept[0][1]

    return read


def _stamp(folder: Path) -> int:
    """Return when the results were published; 0 while a new run swaps them in."""
    try:
        return (folder / "run.json").stat().st_mtime_ns
    except FileNotFoundError:
        return 0
