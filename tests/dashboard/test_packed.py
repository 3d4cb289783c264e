"""Answers are packed where the browser takes it, and are the same when unpacked."""

import gzip

import flask
import pytest

from dashboard import packed
from tests.dashboard.guarded import code_addresses, guarded

TAKES = {"Accept-Encoding": "gzip, deflate, br"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return guarded(tmp_path_factory.mktemp("packed"))


@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/assets/page.css"])
def test_text_is_packed(made, path):
    """Page, data and styles are smaller on the way, and the same at the end; the page ends in an id of its own."""
    browser = made.visitor()
    answer = browser.get(path, headers=TAKES)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    plain = browser.get(path)
    assert "Content-Encoding" not in plain.headers
    ends = [content.split(b'"end_id":"')[0] for content in (gzip.decompress(answer.data), plain.data)]
    assert ends[0] == ends[1]


def test_all_code_of_the_page_fits_the_budget(made):
    """Scripts and styles of the page are at most 1.8 MB on the way, without the parts that come later."""
    browser = made.visitor()
    sizes = {path: len(browser.get(path, headers=TAKES).data) for path in code_addresses(browser.get("/").text)}
    assert "/assets/vendor/plotly-cartesian-4.1.1.min.js" in {path.partition("?")[0] for path in sizes}
    assert sum(sizes.values()) < 1.8e6


def test_pictures_short_and_partial_answers_stay_as_they_are(made):
    """PNG is packed already; a part of a file cannot be packed alone."""
    browser = made.visitor()
    assert "Content-Encoding" not in browser.get("/images/P001/V1/qc.png", headers=TAKES).headers
    assert "Content-Encoding" not in browser.get("/healthz", headers=TAKES).headers
    part = browser.get("/assets/page.css", headers={**TAKES, "Range": "bytes=0-2000"})
    assert (part.status_code, len(part.data)) == (206, 2001)
    assert "Content-Encoding" not in part.headers


@pytest.mark.parametrize("taken", ["identity", "gzip;q=0", "br"])
def test_who_does_not_take_gzip_gets_none(made, taken):
    """The browser decides."""
    answer = made.visitor().get("/assets/page.css", headers={"Accept-Encoding": taken})
    assert "Content-Encoding" not in answer.headers
    assert "Accept-Encoding" in answer.headers["Vary"]


@pytest.mark.parametrize("path", ["/assets/page.css", "/_dash-component-suites/dash/dcc/async-graph.js"])
def test_a_kept_copy_is_confirmed(made, path):
    """The tag of a packed answer leads to 304 without a body."""
    browser = made.visitor()
    tag = browser.get(path, headers=TAKES).headers["ETag"]
    assert tag.startswith("W/")
    again = browser.get(path, headers={**TAKES, "If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")


def test_code_is_packed_once():
    """The same file is packed at its best level one time, and data anew each time."""
    server = flask.Flask("small")
    server.add_url_rule("/code", "code", lambda: flask.Response("x=1;" * 999, mimetype="text/javascript"))
    packed.pack_answers(server, lambda path: path == "/code")
    packed._packed_code.cache_clear()
    for _ in range(3):
        server.test_client().get("/code", headers=TAKES)
    assert packed._packed_code.cache_info()[:2] == (2, 1)
