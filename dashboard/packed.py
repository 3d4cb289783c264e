"""Answers made small by gzip, where the browser takes it.

Packing tells a listener the length of what is packed. That gives a secret away only where one body holds the secret
and text that an attacker picks, over and over (BREACH). Here the session and the CSRF value are in headers, never in a
body, and a foreign page cannot make a browser ask with its session at all.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from typing import TYPE_CHECKING

import flask

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = frozenset({
    *("application/json", "application/javascript", "image/svg+xml"),
    *("text/css", "text/html", "text/javascript", "text/plain"),
})  # fmt: skip
"""What is packed: text. Pictures are packed already."""

LEAST_BYTES = 1024
"""Shorter answers fit in one packet as they are."""

CODE_LEVEL = 9
"""Level of gzip for code, which is packed once and kept."""

DATA_LEVEL = 4
"""Level of gzip for data, packed anew each time: a megabyte of a cohort's JSON takes about 15 ms here."""

KEPT = 64
"""Files of code that are kept packed; the page has about twenty."""


def pack_answers(server: flask.Flask, is_code: Callable[[str], bool]) -> None:
    """Pack the answers of a server; ``is_code`` tells the paths of files that stay the same while it runs."""

    @server.after_request
    def _pack(response: flask.Response) -> flask.Response:
        if response.mimetype not in KINDS:
            return response
        response.vary.add("Accept-Encoding")
        if _may_pack(response):
            response.direct_passthrough = False
            content = response.get_data()
            if len(content) >= LEAST_BYTES:
                response.set_data(_packed_code(content) if is_code(flask.request.path) else _packed_data(content))
                response.headers["Content-Encoding"] = "gzip"
                del response.headers["Accept-Ranges"]
                tag, _ = response.get_etag()
                if tag:
                    # Packed, a file is not byte by byte what it was; and Dash compares tags as if it were.
                    response.set_etag(tag, weak=True)
                    response.make_conditional(flask.request)
        return response


def _may_pack(response: flask.Response) -> bool:
    """Tell whether an answer is whole, has a body, and goes to a browser that unpacks."""
    asked = flask.request
    whole = response.status_code == 200 and asked.method != "HEAD" and "Content-Encoding" not in response.headers
    return whole and asked.accept_encodings["gzip"] > 0


def _packed_data(content: bytes) -> bytes:
    return gzip.compress(content, DATA_LEVEL, mtime=0)


@lru_cache(maxsize=KEPT)
def _packed_code(content: bytes) -> bytes:
    return gzip.compress(content, CODE_LEVEL, mtime=0)
