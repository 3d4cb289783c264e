"""Who is answered: this machine only, by its own name, and only once the page itself was asked for."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import flask

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN_NAMES = ("localhost", "127.0.0.1", "::1")
"""Host names that a request may use: another one is a foreign page that points its name here (DNS rebinding)."""

COOKIE = "calcitrack_session"
"""How the cookie's name begins; host and port follow, since cookies do not tell ports apart."""

PAGE = re.compile(r"/|/patient/[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Addresses of the page; asking for one gives the cookie that all data need."""

OPEN = re.compile(r"/assets/[^/]+|/_dash-component-suites/.+|/_favicon\.ico|/healthz")
"""Addresses without data: code, styles, and the sign of life."""

DATA = re.compile(r"/images(/[^/]+){3,4}|/_dash-(layout|dependencies|update-component)|/_reload-hash")
"""Addresses with data, or that lead to them."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every answer, beside the content policy."""


def checked_host(host: str) -> str:
    """Return a host to listen on if only this machine reaches it.

    Raises
    ------
    ValueError
        If other machines could reach it: there is no sign-in.
    """
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own:
        raise ValueError(
            "the dashboard has no sign-in and answers this machine only: the host must be a loopback address "
            f"(127.0.0.1, ::1 or localhost); got {host!r}"
        )
    return host


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


def protect(server: flask.Flask, content_policy: str) -> None:
    """Put the checks before, and the headers after, every request; what is not listed here does not exist."""
    token = secrets.token_urlsafe(32)

    @server.before_request
    def _check() -> None:
        path, host = flask.request.path, flask.request.host
        if not _own_name(host) or not _own_origin(flask.request.headers.get("Origin"), host):
            flask.abort(403, "this server answers to localhost and 127.0.0.1 only")
        if DATA.fullmatch(path):
            given = flask.request.cookies.get(_cookie(host), "")
            if not hmac.compare_digest(given.encode(), token.encode()):
                flask.abort(403, "open the page first")
        elif not (PAGE.fullmatch(path) or OPEN.fullmatch(path)):
            flask.abort(404)

    @server.after_request
    def _headers(response: flask.Response) -> flask.Response:
        path = flask.request.path
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers["Content-Security-Policy"] = content_policy
        response.headers["Cache-Control"] = "private, max-age=3600" if _is_code(path) else "no-store"
        if PAGE.fullmatch(path) and response.status_code == 200:
            response.set_cookie(_cookie(flask.request.host), token, httponly=True, samesite="Strict", path="/")
        return response


def _is_code(path: str) -> bool:
    """Tell whether an address holds a library, whose name carries its version."""
    return path.startswith("/_dash-component-suites/")


def _cookie(host: str) -> str:
    """Return the name of the cookie of this server: two servers on one machine do not overwrite each other's.

    >>> _cookie("127.0.0.1:8050")
    'calcitrack_session_127_0_0_1_8050'
    """
    return f"{COOKIE}_{re.sub(r'[^A-Za-z0-9]+', '_', host)}"


def _own_name(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in OWN_NAMES
    except ValueError:  # as in an unclosed bracket
        return False


def _own_origin(origin: str | None, host: str) -> bool:
    """Tell whether a request comes from a page of this very server, port included; plain navigation has no origin."""
    return origin is None or origin == f"http://{host}"
