"""Who is answered, and with which headers; held on a small application, and on the whole one where it must hold too."""

import re
import socket
import string
import threading

import pytest
import waitress
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dashboard import guard
from dashboard.access import Access
from dashboard.sessions import IDLE_S
from tests.dashboard.guarded import ASKED, CALLBACK, TOKEN, code_addresses, guarded

DATA = ["/_dash-layout", "/_dash-dependencies", "/_reload-hash", "/images/P001/V1/qc.png"]
CODE = ["/healthz", "/assets/page.css", "/assets/vendor/plotly-cartesian-4.1.1.min.js", "/_favicon.ico"]
PAGES = ["/", "/patient/P001"]
NOT_THERE = ["/nothing", "/patient/", "/patient/P001/x", "/_mcp", "/_dash-config", "/tables/x.csv", "/static/x.js"]
FOREIGN = ["evil.example", "evil.example:8050", "127.0.0.1.evil.example", "10.0.0.1", "[::1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return guarded(tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """Make the application for other machines, with a token."""
    access = Access(host="0.0.0.0", names=("ct.example",), token=TOKEN)
    return guarded(tmp_path_factory.mktemp("locked"), access)


# Sessions


@pytest.mark.parametrize("path", DATA)
def test_data_need_a_session(made, path):
    """Data are given only to who opened the page."""
    assert made.browser().get(path).status_code == 403
    assert made.visitor().get(path).status_code == 200


def test_callbacks_need_a_session(made):
    """A callback without the cookie is refused before it runs; with cookie and header it runs."""
    made.ran.clear()
    assert made.browser().post(CALLBACK, json=ASKED, headers={"X-CSRFToken": "x"}).status_code == 403
    assert made.ran == []
    answer = made.visitor().ask()
    assert (answer.status_code, answer.json["response"]["out"]["children"], made.ran) == (200, "x", ["x"])


@pytest.mark.parametrize("path", [*DATA, CALLBACK])
@pytest.mark.parametrize("secret", ["é" * 20, "A" * 43, "", "null"])
def test_a_wrong_cookie_is_none(made, path, secret):
    """The cookie cannot be guessed, whatever its letters."""
    browser = made.browser()
    browser.set_cookie("calcitrack_session", secret)
    assert (browser.post if path == CALLBACK else browser.get)(path).status_code == 403


@pytest.mark.parametrize("path", [*DATA, CALLBACK])
def test_an_expired_session_is_none(made, path):
    """After twelve hours without use nothing is answered until the page is opened again."""
    browser = made.visitor()
    made.now[0] += IDLE_S + 1
    assert (browser.ask() if path == CALLBACK else browser.get(path)).status_code == 403
    assert browser.get("/").status_code == 200
    assert (browser.ask() if path == CALLBACK else browser.get(path)).status_code == 200


def test_every_browser_has_its_own_session(made):
    """Two browsers share no secret, and one that stays keeps its own."""
    one, two = made.visitor(), made.visitor()
    names = ("calcitrack_session", "_csrf_token")
    assert all(one.cookie(name) != two.cookie(name) for name in names)
    before = [one.cookie(name) for name in names]
    assert "Set-Cookie" not in one.get("/patient/P001").headers
    assert [one.cookie(name) for name in names] == before


@pytest.mark.parametrize("path", PAGES)
def test_the_page_gives_the_cookies(made, path):
    """Other sites cannot send them, and scripts read only that of CSRF; neither outlasts the browser."""
    session, csrf = made.browser().get(path).headers.getlist("Set-Cookie")
    assert session.startswith("calcitrack_session=")
    assert csrf.startswith("_csrf_token=")
    assert "HttpOnly" in session
    assert "HttpOnly" not in csrf
    for cookie in (session, csrf):
        assert "SameSite=Strict" in cookie
        assert "Secure" not in cookie
        assert "Expires" not in cookie
        assert "Max-Age" not in cookie


def test_behind_https_cookies_are_secure(locked):
    """Where a proxy speaks https, cookies are never sent without."""
    there = {"base_url": "https://ct.example"}
    answer = locked.browser().sign_in(**there, headers={"Origin": "https://ct.example"})
    assert all("Secure" in cookie for cookie in answer.headers.getlist("Set-Cookie"))
    assert locked.browser().sign_in(**there, headers={"Origin": "http://ct.example"}).status_code == 403


@pytest.mark.parametrize("path", [*DATA, CALLBACK])
def test_with_a_token_the_page_alone_gives_nothing(locked, path):
    """Who opens the page but does not know the token has no data; who knows it has."""
    browser = locked.browser()
    assert "Set-Cookie" not in browser.get("/").headers
    assert (browser.post if path == CALLBACK else browser.get)(path).status_code == 403
    assert browser.sign_in().status_code == 303
    assert (browser.ask() if path == CALLBACK else browser.get(path)).status_code == 200


# Requests of foreign pages


@pytest.mark.parametrize("given_value", [None, "", "x", "é", "A" * 43])
def test_callbacks_need_the_csrf_header(made, given_value):
    """The cookie alone is not enough: a foreign page can send it along, but cannot read it."""
    browser = made.visitor()
    made.ran.clear()
    headers = {} if given_value is None else {"X-CSRFToken": given_value}
    assert browser.post(CALLBACK, json=ASKED, headers=headers).status_code == 403
    assert made.ran == []


def test_the_csrf_value_of_another_session_is_wrong(made):
    """It belongs to the session: neither another's value nor a cookie that a neighbour planted is taken."""
    one, two = made.visitor(), made.visitor()
    assert one.ask(X_CSRFToken=two.cookie("_csrf_token")).status_code == 403
    one.set_cookie("_csrf_token", "planted")
    assert one.ask().status_code == 403
    one.get("/")
    assert one.ask().status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/assets/page.css", "/healthz", *DATA])
def test_a_foreign_name_is_refused(made, path, host):
    """A page that points its own name at this machine gets nothing (DNS rebinding), and no cookie."""
    answer = made.visitor().get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert host not in answer.text


@pytest.mark.parametrize("host", ["localhost:8050", "127.0.0.1:8050", "[::1]:8050", "localhost"])
def test_own_names_are_answered(made, host):
    """The names by which a browser here reaches the server."""
    assert made.browser().get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(("host", "status"), [("ct.example", 200), ("192.168.7.7:8050", 200), ("evil.example", 403)])
def test_a_server_for_others_answers_to_its_names(locked, host, status):
    """The allow-list holds there too, before any token is asked for."""
    assert locked.browser().get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        *[
            (origin, 403)
            for origin in ("http://evil.example", "null", "http://localhost:9000", "https://localhost", "")
        ],
        ("http://localhost", 200),
    ],
)
def test_a_foreign_page_may_not_ask(made, origin, status):
    """A request from another site's page, or from another port here, is refused even with cookie and header."""
    browser = made.visitor()
    assert browser.get("/_dash-layout", headers={"Origin": origin}).status_code == status
    assert browser.ask(Origin=origin).status_code == status


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_a_foreign_page_may_not_embed(made, site, status):
    """An image tag of another page, even of another port of this machine, shows no scan."""
    answer = made.visitor().get("/images/P001/V1/qc.png", headers={"Sec-Fetch-Site": site})
    assert answer.status_code == status


# What does not exist


@pytest.mark.parametrize("path", NOT_THERE)
def test_what_is_not_listed_does_not_exist(made, path):
    """Dash answers every address with its page; here only those of the page do."""
    assert made.visitor().get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *(
            "http://localhost/",
            "http://evil.example/patient/P001",
            "*",
            "/../run.json",
            "/%2e%2e/run.json",
            "//",
            "//patient/P001",
            "/patient//P001",
            "/patient%2fP001",
            "/%2f",
        ),
        *("/patient/P001%00", "/patient/P001%0a", "/patient\\P001", "/patient/..%5crun.json", "/patient/" + "a" * 9000),
        *(
            "/assets/../guard.py",
            "/assets/%2e%2e/guard.py",
            "/assets/vendor/../../guard.py",
            "/assets/vendor/README.md",
        ),
        *("/assets/", "/assets/vendor", "/assets/.hidden.js", "/assets/vendor//x.js", "/assets/x.py", "/assets/a/b.js"),
        *("/_dash-component-suites/../run.json", "/_dash-component-suites/dash/..%2f..%2fpasswd", "/%5f%64ash-layout"),
        *("/images/P001/V1/%71c.png", "/images/P001%2fV1/qc.png", "/images/P001/V1/../V1/qc.png", "/images//V1/qc.png"),
        *(
            "/images/P001/V1/qc.png/",
            "/images/./P001/V1/qc.png",
            "/images/..;/P001/V1/qc.png",
            "/images/P001/V1/qc.png%00",
        ),
    ],
)
def test_path_tricks_lead_nowhere(made, path):
    """Dots, doubled and encoded slashes, backslashes, NUL, length: not there, whoever asks, without a redirect."""
    assert made.browser().send(path).status_code == 404
    assert made.visitor().send(path).status_code == 404


@pytest.mark.parametrize("path", [*PAGES, *CODE, *DATA, "/patient/P001?x=%2f..%2f"])
def test_plain_addresses_are_found(made, path):
    """What the tricks above are compared with: the same way of asking finds what is there."""
    assert made.visitor().send(path).status_code == 200


PIECES = st.sampled_from([
    *("..", ".", "", "%2e%2e", "%2f", "\\", "%5c", "%00", ";", "@", "~", "%c0%ae", "\u2024\u2024", "run.json"),
    *("images", "P001", "P003", "V1", "qc.png", "assets", "vendor", "page.css", "_dash-layout", "patient", "session"),
])  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(parts=st.lists(st.one_of(PIECES, st.text(string.printable, max_size=6)), max_size=7))
def test_no_made_up_address_gives_data_to_a_stranger(made, parts):
    """Whatever the address, a stranger gets the page, code, or a refusal; and it always has the headers."""
    answer = made.browser().send("/" + "/".join(parts))
    assert answer.status_code in {200, 403, 404}
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    if answer.status_code == 200:
        assert answer.mimetype in {"text/html", "text/css", "text/plain"}
        assert "a patient's data" not in answer.text


@settings(deadline=None, max_examples=150)
@given(parts=st.lists(PIECES, min_size=1, max_size=6))
@example(parts=["P001", "V1", "qc.png"])
@example(parts=["P003", "V1", "qc.png"])
def test_no_made_up_address_gives_more_than_known_pictures(made, parts):
    """Below the pictures, a visitor gets those of known patients by their plain address, and nothing else."""
    path = "/images/" + "/".join(parts)
    answer = made.visitor().send(path)
    assert answer.status_code in {200, 404}
    assert (answer.status_code == 200) is (path == "/images/P001/V1/qc.png")


@pytest.mark.parametrize("path", ["/images/P003/V1/qc.png", "/images/P009/V1/qc.png", "/images/P003/V1/frame_0001.png"])
def test_pictures_of_others_are_not_there(made, path):
    """A patient whom the results do not know has no pictures, even where files are left over."""
    assert made.visitor().get(path).status_code == 404
    assert made.visitor().get(path.replace("P003", "P002")).status_code == (404 if "P009" in path else 200)


def test_large_requests_are_refused_unread(made):
    """More than the page ever sends is refused, said or unsaid, and no callback runs."""
    browser = made.visitor()
    made.ran.clear()
    large = {**ASKED, "inputs": [{**ASKED["inputs"][0], "value": "x" * guard.BODY_BYTES}]}
    assert browser.ask(large).status_code == 413
    assert made.ran == []
    most = {**ASKED, "inputs": [{**ASKED["inputs"][0], "value": "x" * (guard.BODY_BYTES // 2)}]}
    assert browser.ask(most).status_code == 200


@pytest.mark.parametrize(
    "body", [[], {}, None, "x", 3, {"output": "out.children"}, {**ASKED, "output": "other.children"}]
)
def test_malformed_callbacks_run_nothing(made, body):
    """What Dash would not send is not run."""
    made.ran.clear()
    made.app.server.config["PROPAGATE_EXCEPTIONS"] = False
    assert made.visitor().ask(body).status_code >= 400
    assert made.ran == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", *DATA, CALLBACK])
def test_other_methods_change_nothing(made, method, path):
    """Only reading, and callbacks by POST."""
    made.ran.clear()
    assert made.visitor().open(path, method=method).status_code in {200, 403, 405}
    assert made.ran == []


@pytest.fixture(scope="module")
def port(made):
    """Serve the application by the server that is used, on a free port."""
    server = waitress.create_server(made.app.server, host="127.0.0.1", port=0, max_request_body_size=guard.BODY_BYTES)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server.effective_port
    server.close()
    thread.join(timeout=5)


def over_the_wire(port: int, request: str) -> str:
    """Send a request byte by byte as written; return the line that says how it ended."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(request.encode())
        return line.makefile("rb").readline().decode().strip().split(" ", 1)[1]


@pytest.mark.parametrize(
    ("request_line", "ending"),
    [
        ("GET /patient/P001 HTTP/1.1", "200 OK"),
        *[
            (f"GET {path} HTTP/1.1", "404 NOT FOUND")
            for path in ("//patient/P001", "/%2e%2e/run.json", "/patient%2fP001", "/./patient/P001", "/patient/P001%00")
        ],
        ("GET http://evil.example/patient/P001 HTTP/1.1", "404 NOT FOUND"),
        ("GET /images/P001/V1/qc.png HTTP/1.1", "403 FORBIDDEN"),
        ("POST /_dash-update-component HTTP/1.1", "403 FORBIDDEN"),
    ],
)
def test_the_server_hands_addresses_on_as_they_are(port, request_line, ending):
    """What the checks see is what was sent: the server tidies nothing before."""
    assert over_the_wire(port, f"{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n") == ending


@pytest.mark.parametrize("length", ["Content-Length: 99999999", "Transfer-Encoding: chunked"])
def test_the_server_takes_no_more_than_a_callback_needs(port, length):
    """A body that is too large is refused before it fills memory or disk."""
    head = f"POST /_dash-update-component HTTP/1.1\r\nHost: localhost\r\n{length}\r\nConnection: close\r\n\r\n"
    chunk = f"{guard.BODY_BYTES:x}\r\n" + "x" * guard.BODY_BYTES + "\r\n1\r\nx\r\n0\r\n\r\n"
    assert over_the_wire(port, head + (chunk if "chunked" in length else "")).startswith("413 ")


# Headers


ANSWERS = [*PAGES, *CODE, *DATA, "/nothing", "/patient/%2e%2e", "/session", "/session/end", "/images/P009/V1/qc.png"]


@pytest.mark.parametrize("path", ANSWERS)
@pytest.mark.parametrize("who", ["stranger", "visitor", "foreigner", "poster", "asked for the token"])
def test_every_answer_has_the_headers(made, locked, path, who):
    """No framing, no guessing of types, no referrer elsewhere, a content policy without foreign hosts; always."""
    browser = made.visitor() if who == "visitor" else (locked if "token" in who else made).browser()
    headers = {"Host": "evil.example"} if who == "foreigner" else {}
    answer = (browser.post if who == "poster" else browser.get)(path, headers=headers).headers
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = answer["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    scripts = next(rule for rule in policy.split("; ") if rule.startswith("script-src"))
    assert "unsafe-inline" not in scripts
    assert re.search(r"'sha256-[^']+'", scripts)
    assert "Access-Control-Allow-Origin" not in answer


@pytest.mark.parametrize("path", [*PAGES, *DATA, "/healthz", "/nothing", "/session", "/assets/none.js"])
def test_nothing_with_data_is_stored(made, locked, path):
    """Browsers keep no copy of page, data, form and refusal."""
    for browser in (made.visitor(), made.browser(), locked.browser()):
        assert browser.get(path).headers["Cache-Control"] == "no-store"
    assert made.visitor().ask().headers["Cache-Control"] == "no-store"


def test_code_is_kept_by_its_version(made):
    """Code whose address carries its version is kept for a year; other code is asked for anew, and confirmed."""
    browser = made.visitor()
    addresses = code_addresses(browser.get("/").text)
    kept = {path: browser.get(path).headers["Cache-Control"] for path in addresses if "favicon" not in path}
    ours = {path: how for path, how in kept.items() if path.startswith("/assets/") and "/vendor/" not in path}
    assert ours
    assert set(ours.values()) == {"no-cache"}
    assert {how for path, how in kept.items() if path not in ours} == {f"public, max-age={guard.YEAR_S}, immutable"}
    again = browser.get("/assets/page.css", headers={"If-None-Match": browser.get("/assets/page.css").headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


# The whole application


def test_the_page_itself_holds_no_patient(stranger):
    """What answers without a session is code: not one id of the results is in it."""
    assert re.findall(r"P\d{3}", stranger.get("/").text) == []


def test_defaults_of_dash_are_off(app):
    """No tools of developers, no debugger, no protocol for models, no foreign compression."""
    assert app.server.debug is False
    assert not app._dev_tools.get("ui")
    assert not app._dev_tools.get("hot_reload")
    assert app.config.compress is False
    assert app.config.serve_locally is not False
    assert [rule.rule for rule in app.server.url_map.iter_rules() if "mcp" in rule.rule] == []
