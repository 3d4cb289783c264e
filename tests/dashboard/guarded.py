"""A small Dash application behind the guard, with a callback, a picture and a clock that the test sets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes

from dash import Dash, Input, Output, dcc, html
from flask.testing import FlaskClient

from dashboard import guard, slices
from dashboard.access import Access
from dashboard.entry import Door
from tests.dashboard.made import PNG

ASSETS = Path(guard.__file__).parent / "assets"

TOKEN = "correct-horse-battery"

PATIENTS = ("P001", "P002")
"""Whom the results know; P003 has pictures left over."""

CALLBACK = "/_dash-update-component"

ASKED = {
    "output": "out.children",
    "outputs": {"id": "out", "property": "children"},
    "inputs": [{"id": "in", "property": "value", "value": "x"}],
    "changedPropIds": ["in.value"],
}
"""What a browser sends to run the callback."""


class Browser(FlaskClient):
    """Reads every answer to its end, as a browser does, so that files are closed."""

    def open(self, *args, **options):
        return super().open(*args, **{"buffered": True, **options})

    def cookie(self, name: str, domain: str = "localhost") -> str | None:
        """Return the value of a cookie, or None where there is none."""
        found = self.get_cookie(name, domain)
        return found and found.value

    def ask(self, body: object = ASKED, **headers: str):
        """Run the callback as Dash does: with the CSRF cookie as a header, unless another is given."""
        sent = {"X-CSRFToken": self.cookie("_csrf_token") or "", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.post(CALLBACK, json=body, headers=sent)

    def send(self, address: str):
        """Ask for an address exactly as written, as a server hands it on; no client of ours tidies it before."""
        path = unquote_to_bytes(address.partition("?")[0].encode()).decode("latin-1")
        return self.get("/", environ_overrides={"PATH_INFO": path, "REQUEST_URI": address, "RAW_URI": address})

    def sign_in(self, token: str = TOKEN, to: str = "/", **options):
        """Send the form of the page that asks for the token."""
        return self.post("/session", data={"token": token, "to": to}, **options)


@dataclass
class Guarded:
    """The application, its door, and the time."""

    app: Dash
    ran: list[str]
    now: list[float] = field(default_factory=lambda: [1000.0])
    door: Door | None = None

    def browser(self) -> Browser:
        """Return a browser that has asked for nothing yet."""
        return self.app.server.test_client()

    def visitor(self) -> Browser:
        """Return a browser that opened the page."""
        browser = self.browser()
        assert browser.get("/").status_code == 200
        return browser


def guarded(folder: Path, access: Access | None = None) -> Guarded:
    """Make the application; its pictures are written to ``folder``."""
    access = access or Access()
    for patient in (*PATIENTS, "P003"):
        visit = folder / "images" / patient / "V1"
        visit.mkdir(parents=True, exist_ok=True)
        for name in ("qc.png", "lesion_0001.png", "frame_0001.png"):
            (visit / name).write_bytes(PNG)
    app = Dash(
        "guarded",
        assets_folder=str(ASSETS),
        compress=False,
        csrf_token_name=access.csrf_cookie,
        enable_mcp=False,
        health_endpoint="healthz",
        suppress_callback_exceptions=True,
    )
    app.layout = html.Div([dcc.Input(id="in"), html.P("a patient's data " * 200, id="out")])
    made = Guarded(app, [])

    @app.callback(Output("out", "children"), Input("in", "value"), prevent_initial_call=True)
    def _run(value: str) -> str:
        made.ran.append(value)
        return value

    slices.serve_pictures(app.server, folder, lambda: PATIENTS)
    app.server.test_client_class = Browser
    made.door = guard.protect(app.server, guard.policy(app.csp_hashes()), access, clock=lambda: made.now[0])
    return made


def code_addresses(page: str) -> list[str]:
    """Return the addresses of all scripts and styles that a page loads."""
    return re.findall(r'(?:src|href)="(/[^"]+)"', page)
