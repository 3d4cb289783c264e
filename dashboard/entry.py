"""How a person comes in: at once on this machine, or with the token; and how they leave.

Whoever is let in gets a session by ``Door.admit``, and nothing but a session opens data. A clinic's own sign-in (OpenID
Connect, or a header of a proxy that is trusted) would be another module like this one, that ends there too.
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING

import flask

from dashboard.sessions import IDLE_S, Sessions, Tries

if TYPE_CHECKING:
    from collections.abc import Callable

    from dashboard.access import Access
    from dashboard.sessions import Session

LOG = logging.getLogger(__name__)

PAGE = re.compile(r"/|/patient/[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Addresses of the page: whoever asks for one is let in, or asked for the token."""

IN = "/session"
"""Where the token is sent to."""

OUT = "/session/end"
"""Where a session is ended: by POST from a form."""

FORM_BYTES = 4096
"""What a form of this module may hold: a token and an address."""

STYLE, ICON = "/assets/page.css", "/_favicon.ico"
"""Style sheet and icon of the page."""

FORM = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>calcitrack: sign in</title>
<link rel="icon" href="{{ icon }}">
<link rel="stylesheet" href="{{ style }}">
<style>
main { max-width: 30rem; margin: 12vh auto 0; }
form { margin: 18px 0; }
label { display: block; font-weight: 600; margin-bottom: 4px; }
.field { display: flex; gap: 10px; }
input { flex: 1; min-width: 0; font: inherit; padding: 8px 10px; color: var(--ink); background: var(--panel);
  border: 1px solid var(--dim); border-radius: 4px; }
button { font: inherit; font-weight: 600; padding: 8px 16px; color: var(--panel); background: var(--link);
  border: 1px solid var(--link); border-radius: 4px; cursor: pointer; }
.said { color: var(--more); font-weight: 600; margin-bottom: 12px; }
</style>
</head>
<body>
<main>
<h1>calcitrack</h1>
<form method="post" action="{{ action }}">
{% if said %}<p class="said" id="said" role="alert">{{ said }}</p>{% endif %}
<label for="token">Token</label>
<div class="field">
<input id="token" name="token" type="password" required autofocus autocomplete="current-password" spellcheck="false"
  autocapitalize="none"{% if said %} aria-invalid="true" aria-describedby="said"{% endif %}>
<input type="hidden" name="to" value="{{ to }}">
<button>Sign in</button>
</div>
</form>
<p class="small">Ask the person who runs this server for the token. A session ends when the browser is closed, or after
{{ hours }} hours without use.</p>
<p class="small">Research use only, not for diagnosis.</p>
</main>
</body>
</html>"""
"""The page that asks for the token: no script, the colours of the page, light and dark."""


class Door:
    """Lets browsers in and out; holds the sessions of one server."""

    def __init__(self, access: Access, clock: Callable[[], float]) -> None:
        self.access = access
        self.sessions = Sessions(clock)
        self.tries = Tries(clock)

    def session(self) -> Session | None:
        """Return the session of the request that is answered now, or None."""
        return self.sessions.find(self._secret())

    def admit(self, answer: flask.Response) -> flask.Response:
        """Begin a session, in place of an earlier one of this browser; put its cookies on the answer."""
        self.sessions.end(self._secret())
        secret, session = self.sessions.begin()
        secure = flask.request.is_secure
        answer.set_cookie(self.access.session_cookie, secret, httponly=True, samesite="Strict", secure=secure)
        return self.renew(answer, session)

    def renew(self, answer: flask.Response, session: Session) -> flask.Response:
        """Put the CSRF cookie of a session on the answer, unless the browser has it: Dash sends it back as a header."""
        name = self.access.csrf_cookie
        if flask.request.cookies.get(name) != session.csrf:
            answer.set_cookie(name, session.csrf, samesite="Strict", secure=flask.request.is_secure)
        return answer

    def dismiss(self, answer: flask.Response) -> flask.Response:
        """End the session of this browser, and take its cookies away."""
        self.sessions.end(self._secret())
        for name in (self.access.session_cookie, self.access.csrf_cookie):
            answer.delete_cookie(name, samesite="Strict", secure=flask.request.is_secure)
        return answer

    def _secret(self) -> str:
        return flask.request.cookies.get(self.access.session_cookie, "")


def add_entry(server: flask.Flask, door: Door) -> None:
    """Add the routes that let in and out."""

    @server.before_request
    def _ask() -> flask.Response | None:
        # With a token, the page itself is for those who are in; the form stands at its address meanwhile.
        asked = flask.request
        outside = bool(door.access.token) and PAGE.fullmatch(asked.path) is not None and door.session() is None
        return form(asked.path) if outside and asked.method in {"GET", "HEAD"} else None

    @server.after_request
    def _let_in(answer: flask.Response) -> flask.Response:
        if PAGE.fullmatch(flask.request.path) is None or answer.status_code != 200:
            return answer
        # A picture or a script of a foreign page may ask for the page too, thousands of times: it gets no session.
        if flask.request.headers.get("Sec-Fetch-Dest", "document") != "document":
            return answer
        session = door.session()
        if session is None:
            return answer if door.access.token else door.admit(answer)
        return door.renew(answer, session)

    @server.post(IN)
    def _in() -> flask.Response:
        return _tried(door, flask.request.form.get("token", ""), flask.request.form.get("to", "/"))

    @server.post(OUT)
    def _out() -> flask.Response:
        return door.dismiss(_sent_to("/"))


def form(to: str, said: str = "", status: int = 200) -> flask.Response:
    """Return the page that asks for the token, and leads on to ``to``; anywhere else than the page is its start."""
    to = to if PAGE.fullmatch(to) else "/"
    hours = round(IDLE_S / 3600)
    text = flask.render_template_string(FORM, style=STYLE, icon=ICON, action=IN, said=said, to=to, hours=hours)
    return flask.Response(text, status=status, mimetype="text/html")


def _tried(door: Door, token: str, to: str) -> flask.Response:
    """Answer to a token: a session and the page, or the form once more."""
    address = flask.request.remote_addr or ""
    wait = math.ceil(door.tries.wait_s(address))
    if wait:
        answer = form(to, f"Too many wrong tokens. Try again in {wait} s.", 429)
        answer.headers["Retry-After"] = str(wait)
        return answer
    if not door.access.opens_with(token):
        LOG.warning("a wrong token came from %s, number %d in a row", address, door.tries.failed(address))
        return form(to, "This is not the token.", 403)
    door.tries.passed(address)
    return door.admit(_sent_to(to))


def _sent_to(place: str) -> flask.Response:
    """Return a redirect within this server."""
    return flask.Response(status=303, headers={"Location": place if PAGE.fullmatch(place) else "/"})
