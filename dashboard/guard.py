"""Who is answered, and with which headers; what is not listed here does not exist."""

from __future__ import annotations

import hmac
import re
import time
from typing import TYPE_CHECKING

import flask

from dashboard.access import Access
from dashboard.entry import FORM_BYTES, IN, OUT, PAGE, Door, add_entry
from dashboard.packed import pack_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dashboard.sessions import Session

PART = r"[A-Za-z0-9_@][A-Za-z0-9_@.-]*"
"""One part of the address of a file of code."""

OPEN = re.compile(
    rf"/assets/(vendor/)?{PART}\.(js|css|ico|png|svg)|/_dash-component-suites(/{PART})+|/_favicon\.ico|/healthz"
)
"""Addresses without data: code, styles, and the sign of life."""

DATA = re.compile(
    r"/images(/[A-Za-z0-9][A-Za-z0-9._-]*){3,4}|/report/[A-Za-z0-9][A-Za-z0-9._-]{0,63}/(page|long)\.(html|pdf)"
    r"|/_dash-(layout|dependencies|update-component)|/_reload-hash"
)
"""Addresses with data, or that lead to them."""

DOOR = re.compile("|".join(re.escape(path) for path in (IN, OUT)))
"""Addresses of forms: to come in, and to leave."""

FINGERPRINT = re.compile(
    r"/_dash-component-suites/.+\.v[0-9_]+m[0-9]+\..+|/assets/vendor/.+-[0-9]+\.[0-9]+\.[0-9]+\..+"
)
"""Addresses of code whose name carries its version: another version has another address."""

PATH_CHARACTERS = 512
"""Longest address that is looked at; the longest of ours, a picture of a scan, has about 290."""

BODY_BYTES = 2 * 2**20
"""Largest request, bytes: a callback that sends back the table of 10,000 patients has about 0.8 MB."""

CSRF_HEADER = "X-CSRFToken"
"""The header in which Dash sends the value of its CSRF cookie."""

SITES = ("same-origin", "none")
"""Where a request for data may come from, as the browser says it: our own page, or a typed address."""

YEAR_S = 365 * 24 * 3600
"""How long browsers keep code whose address carries its version, s."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with that, browsers hide the origin of our own form too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex",
}
"""Headers of every answer, beside the content policy."""


def policy(script_hashes: Sequence[str]) -> str:
    """Return the content policy: everything from this server, and inline scripts only by their hash.

    Inline styles are allowed because the grid and the figures set them.
    """
    rules = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *script_hashes]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def protect(
    server: flask.Flask,
    content_policy: str,
    access: Access | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Door:
    """Put the checks before, and the headers after, every request.

    Parameters
    ----------
    server : flask.Flask
        With all its routes; these checks come before those that are added later.
    content_policy : str
        From ``policy``, once all scripts are known.
    access : Access, optional
        By default this machine only, without a token. Dash must be made with its ``csrf_cookie`` as
        ``csrf_token_name``.
    clock : callable
        Gives the time in s, by which sessions expire.

    Returns
    -------
    Door
        It holds the sessions.
    """
    access = access or Access()
    door = Door(access, clock)
    server.config["MAX_CONTENT_LENGTH"] = BODY_BYTES

    @server.before_request
    def _check() -> None:
        asked = flask.request
        if not access.answers_to(asked.host):
            flask.abort(403, "this server does not answer to that name")
        if not _own_origin(asked.headers.get("Origin"), asked.host, asked.scheme):
            flask.abort(403, "this server answers its own page only")
        if not _plain(asked.path, asked.environ.get("REQUEST_URI") or asked.environ["PATH_INFO"]):
            flask.abort(404)
        if DATA.fullmatch(asked.path):
            _check_session(door.session())
        elif not any(kind.fullmatch(asked.path) for kind in (PAGE, OPEN, *([DOOR] if asked.method == "POST" else []))):
            flask.abort(404)
        if (asked.content_length or 0) > (FORM_BYTES if DOOR.fullmatch(asked.path) else BODY_BYTES):
            flask.abort(413)

    # What is registered last changes an answer first.
    @server.after_request
    def _headers(response: flask.Response) -> flask.Response:
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers["Content-Security-Policy"] = content_policy
        response.headers["Cache-Control"] = _keeping(flask.request.path, response.status_code)
        return response

    add_entry(server, door)
    pack_answers(server, is_code)
    return door


def is_code(path: str) -> bool:
    """Tell whether an address holds code or styles, which stay the same while the server runs."""
    return path.startswith(("/_dash-component-suites/", "/assets/")) or path == "/_favicon.ico"


def _check_session(session: Session | None) -> None:
    """Refuse who has no session, and a change that does not come from our own page."""
    asked = flask.request
    if session is None:
        flask.abort(403, "open the page first")
    if asked.headers.get("Sec-Fetch-Site", "none") not in SITES:
        flask.abort(403, "this server answers its own page only")
    if asked.method not in {"GET", "HEAD"}:
        given = asked.headers.get(CSRF_HEADER, "").encode(errors="replace")
        if not hmac.compare_digest(given, session.csrf.encode()):
            flask.abort(403, "the request does not come from the page")


def _keeping(path: str, status: int) -> str:
    """Return how long a browser may keep an answer: code by its version, other code if it asks again, data never."""
    if status not in {200, 304} or not is_code(path):
        return "no-store"
    return f"public, max-age={YEAR_S}, immutable" if FINGERPRINT.fullmatch(path) else "no-cache"


def _plain(path: str, sent: str) -> bool:
    """Tell whether an address was sent as plainly as ours are: no escape, backslash, empty part or part of dots.

    >>> _plain("/patient/P001", "/patient/P001?x=%20"), _plain("/patient/P001", "//patient%2FP001")
    (True, False)
    """
    parts = path[1:].split("/")
    return (
        sent.partition("?")[0] == path
        and len(path) <= PATH_CHARACTERS
        and path.isprintable()
        and "\\" not in path
        and not {"..", "."} & set(parts)
        and "" not in parts[:-1]
    )


def _own_origin(origin: str | None, host: str, scheme: str) -> bool:
    """Tell whether a request comes from a page of this very server, port included; plain navigation has no origin."""
    return origin is None or origin == f"{scheme}://{host}"
