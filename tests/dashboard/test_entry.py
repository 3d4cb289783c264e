"""The page that asks for the token: who comes in, who does not, and how one leaves."""

import re

import pytest

from dashboard.access import Access
from dashboard.entry import FORM_BYTES
from dashboard.sessions import FIRST_WAIT_S, FREE_TRIES, IDLE_S
from tests.dashboard.guarded import TOKEN, guarded

WRONG = "correct-horse-batterx"


@pytest.fixture
def made(tmp_path):
    """Make the application on this machine with a token, which is asked for all the same."""
    return guarded(tmp_path, Access(token=TOKEN))


@pytest.mark.parametrize("path", ["/", "/patient/P001", "/patient/P777"])
def test_the_form_stands_where_the_page_was_asked_for(made, path):
    """It leads back there, is the same for known and unknown patients, and has no script."""
    answer = made.browser().get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert f'name="to" value="{path}"' in answer.text
    assert (
        answer.text.replace(path, "") == made.browser().get("/patient/P001").text.replace("/patient/P001", "")
        or path == "/"
    )
    assert "<script" not in answer.text
    assert "Set-Cookie" not in answer.headers


def test_the_token_opens_the_page(made):
    """A right token gives a session, and leads to what was asked for."""
    browser = made.browser()
    answer = browser.sign_in(to="/patient/P001")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/patient/P001")
    assert "HttpOnly" in answer.headers.getlist("Set-Cookie")[0]
    assert "react-entry-point" in browser.get("/patient/P001").text
    assert browser.ask().status_code == 200


@pytest.mark.parametrize(
    "to", ["http://evil.example/", "//evil.example", "/\\evil.example", "", "/x", "/patient/../x", "/\n"]
)
def test_it_leads_nowhere_else(made, to):
    """The form cannot be made to lead to another server."""
    assert made.browser().sign_in(to=to).headers["Location"] == "/"
    assert 'name="to" value="/"' in made.browser().sign_in(WRONG, to=to).text


@pytest.mark.parametrize("token", ["", WRONG, "<script>alert(1)</script>", "é" * 30, "\0"])
def test_a_wrong_token_is_told_and_not_shown(made, token, caplog):
    """The form comes again with a word; what was typed is neither on the page nor in the log."""
    browser = made.browser()
    answer = browser.sign_in(token)
    assert answer.status_code == 403
    assert "This is not the token." in answer.text
    assert "Set-Cookie" not in answer.headers
    assert not token or token not in answer.text
    assert "number 1 in a row" in caplog.text
    assert not token or token not in caplog.text
    assert browser.get("/_dash-layout").status_code == 403


@pytest.mark.parametrize("where", ["/?token={}", "/session?token={}", "/patient/P001?token={}"])
def test_a_token_in_the_address_opens_nothing(made, where):
    """Addresses are logged and kept by browsers: a token there is not looked at."""
    browser = made.browser()
    browser.get(where.format(TOKEN))
    browser.post(where.format(TOKEN))
    assert browser.get("/_dash-layout").status_code == 403


def test_trying_is_slowed_down(made):
    """After a few wrong tokens even the right one must wait; then it opens, and the count is cleared."""
    browser = made.browser()
    for _ in range(FREE_TRIES):
        assert browser.sign_in(WRONG).status_code == 403
    for token in (WRONG, TOKEN):
        answer = browser.sign_in(token)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, f"{FIRST_WAIT_S:.0f}")
        assert "Try again in 2 s." in answer.text
    assert browser.sign_in(environ_base={"REMOTE_ADDR": "192.0.2.9"}).status_code == 303
    made.now[0] += FIRST_WAIT_S
    assert browser.sign_in().status_code == 303
    assert browser.sign_in(WRONG).status_code == 403


def test_a_session_from_before_is_not_kept(made):
    """Coming in makes a new secret: one that was planted before opens nothing."""
    browser = made.browser()
    browser.sign_in()
    before = browser.cookie("calcitrack_session")
    browser.sign_in()
    assert browser.cookie("calcitrack_session") != before
    other = made.browser()
    other.set_cookie("calcitrack_session", before)
    assert other.get("/_dash-layout").status_code == 403


def test_leaving_ends_the_session(made):
    """Cookies go, and the secret opens nothing any more, even where it was copied."""
    browser, copy = made.browser(), made.browser()
    browser.sign_in()
    copy.set_cookie("calcitrack_session", browser.cookie("calcitrack_session"))
    answer = browser.post("/session/end")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert browser.cookie("calcitrack_session") is None
    assert browser.cookie("_csrf_token") is None
    assert copy.get("/_dash-layout").status_code == 403
    assert "Sign in" in browser.get("/").text


@pytest.mark.parametrize("path", ["/session", "/session/end"])
def test_foreign_pages_cannot_bring_in_or_throw_out(made, path):
    """Both forms are taken from our own page only, and a link does nothing."""
    browser = made.browser()
    browser.sign_in()
    for origin in ("http://evil.example", "null", "http://localhost:9000"):
        assert browser.post(path, data={"token": TOKEN}, headers={"Origin": origin}).status_code == 403
    assert browser.get(path).status_code == 404
    assert browser.get("/_dash-layout").status_code == 200


def test_an_expired_session_is_asked_again(made):
    """After twelve hours without use the form comes instead of the page."""
    browser = made.browser()
    browser.sign_in()
    made.now[0] += IDLE_S + 1
    assert "Sign in" in browser.get("/").text


def test_a_large_form_is_refused(made):
    """A token is short."""
    assert made.browser().sign_in("x" * FORM_BYTES).status_code == 413


def test_the_form_can_be_read_and_used_by_all(made):
    """Language, title, label, a way to say what is wrong; the token is not shown and can be filled in."""
    text = made.browser().sign_in(WRONG).text
    for part in (
        'lang="en"',
        "<title>calcitrack: sign in</title>",
        '<label for="token">',
        'role="alert"',
        "<main>",
        "<h1>",
    ):
        assert part in text
    assert re.search(r'<input id="token"[^>]+type="password"[^>]+autocomplete="current-password"', text)
    assert "Research use only" in text


@pytest.mark.parametrize(
    ("asks", "comes_in"), [("document", True), ("image", False), ("empty", False), ("iframe", False)]
)
def test_only_a_page_that_is_opened_gets_a_session(tmp_path, asks, comes_in):
    """What a foreign page embeds would push the sessions of people out."""
    answer = guarded(tmp_path, Access()).browser().get("/", headers={"Sec-Fetch-Dest": asks})
    assert ("Set-Cookie" in answer.headers) == (asks == "document")
