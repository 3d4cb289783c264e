"""Pictures of scans: files of the results folder, served by an allow-list."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import flask

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids of patients, visits and scans, as the study folder allows them."""

PICTURE = re.compile(r"(lesion|frame)_[0-9]{4,6}\.png|qc\.png")
"""Pictures that may be served."""


HEAD = struct.Struct(">8x4x4sII")
"""Start of a PNG: signature, length, the word IHDR, width and height."""


def picture(folder: Path, *way: str) -> Path | None:
    """Return the file of a picture, or None where there is none that may be served.

    Parameters
    ----------
    folder : Path
        The results folder.
    *way : str
        Patient, visit, perhaps scan, and name of the file. Each must match the allow-list, and the file must
        lie within ``images`` once links are followed.
    """
    *ids, name = way
    if len(ids) not in (2, 3) or not all(ID.fullmatch(one) for one in ids) or not PICTURE.fullmatch(name):
        return None
    root = (folder / "images").resolve()
    path = root.joinpath(*way).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def size_of(path: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG, pixels, so that a page keeps its room before it is there; None where untold."""
    try:
        with path.open("rb") as file:
            kind, width, height = HEAD.unpack(file.read(HEAD.size))
    except (OSError, struct.error):
        return None
    return (width, height) if kind == b"IHDR" and width and height else None


def serve_pictures(server: flask.Flask, folder: Path, known: Callable[[], Container[str]]) -> None:
    """Add the route of the pictures; what is not there is 404, never the page.

    ``known`` returns the patients of the results that are shown now: pictures of others are not there either.
    """

    @server.route("/images/<path:wanted>")
    def _picture(wanted: str) -> flask.Response:
        way = wanted.split("/")
        path = picture(folder, *way)
        if path is None or way[0] not in known():
            flask.abort(404)
        return flask.send_file(path, mimetype="image/png", conditional=True)
