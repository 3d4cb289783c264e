"""Pictures of scans: files of the results folder, served by an allow-list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import flask

if TYPE_CHECKING:
    from pathlib import Path

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids of patients and visits, as the study folder allows them."""

PICTURE = re.compile(r"lesion_[0-9]{4,6}\.png|qc\.png")
"""Pictures that may be served."""


def lesion_file(lesion: int) -> str:
    """Return the name of a lesion's picture.

    >>> lesion_file(7)
    'lesion_0007.png'
    """
    return f"lesion_{lesion:04d}.png"


def url(patient: str, visit: str, name: str) -> str:
    """Return the address of a picture on this server."""
    return f"/images/{patient}/{visit}/{name}"


def picture(folder: Path, patient: str, visit: str, name: str) -> Path | None:
    """Return the file of a picture, or None where there is none that may be served.

    Names must match the allow-list, and the file must lie within ``images`` once links are followed.
    """
    if not (ID.fullmatch(patient) and ID.fullmatch(visit) and PICTURE.fullmatch(name)):
        return None
    root = (folder / "images").resolve()
    path = (root / patient / visit / name).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def serve_pictures(server: flask.Flask, folder: Path) -> None:
    """Add the route of the pictures; what is not there is 404, never the page."""

    @server.route("/images/<path:wanted>")
    def _picture(wanted: str) -> flask.Response:
        parts = wanted.split("/")
        path = picture(folder, *parts) if len(parts) == 3 else None
        if path is None:
            flask.abort(404)
        return flask.send_file(path, mimetype="image/png", conditional=True)
