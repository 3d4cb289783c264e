"""Files of others: unmodified, licensed, and of the version that the Python package draws for."""

import hashlib
import re
from pathlib import Path

import plotly
import pytest

from dashboard import guard

VENDOR = Path(guard.__file__).parent / "assets" / "vendor"
ROW = re.compile(
    r"\| `(?P<file>[^`]+)` \|.*\| (?P<version>[0-9.]+) \| \w+, `(?P<licence>[^`]+)` \|.*\| `(?P<sha>[0-9a-f]{64})` \|"
)
ROWS = [found.groupdict() for found in ROW.finditer((VENDOR / "README.md").read_text(encoding="utf-8"))]

SHA256 = {"plotly-cartesian-4.1.1.min.js": "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a"}
"""The file of the npm package plotly.js-cartesian-dist-min 4.1.1, as its registry serves it."""


def bundle_version(text: str) -> str:
    """Return the version that a bundle of plotly.js says at its start."""
    return re.search(r"plotly\.js(?: \([^)]*\))? v(\d+\.\d+\.\d+)", text[:300]).group(1)


def test_every_file_is_told_of():
    """The table in the README lists all files but itself, with their licences."""
    told = {row["file"] for row in ROWS} | {row["licence"] for row in ROWS} | {"README.md"}
    assert {path.name for path in VENDOR.iterdir()} == told
    assert {row["file"] for row in ROWS} == set(SHA256)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_files_are_unmodified(row):
    """Each has the hash of its release, in the table and here."""
    content = (VENDOR / row["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == row["sha"] == SHA256[row["file"]]
    assert row["version"] in row["file"]
    assert bundle_version(content[:300].decode()) == row["version"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_licences_lie_beside(row):
    """The licence is in the folder, and so in the wheel."""
    assert "Permission is hereby granted, free of charge" in (VENDOR / row["licence"]).read_text(encoding="utf-8")


def test_the_bundle_is_that_of_the_python_package():
    """Figures are made for one plotly.js: when plotly is renewed, the bundle is too."""
    with (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").open(encoding="utf-8") as file:
        theirs = bundle_version(file.read(300))
    ours = bundle_version((VENDOR / "plotly-cartesian-4.1.1.min.js").read_text(encoding="utf-8"))
    assert ours.split(".")[:2] == theirs.split(".")[:2]
