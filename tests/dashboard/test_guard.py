"""Who is answered, and with which headers."""

import pytest

from dashboard import guard

DATA = ["/_dash-layout", "/_dash-dependencies", "/images/P001/V5/qc.png"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_may_be_listened_on(host):
    """Addresses that only this machine reaches are allowed."""
    assert guard.checked_host(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "localhost.example.org"])
def test_other_hosts_are_refused(host):
    """Without a sign-in nobody else may reach the data."""
    with pytest.raises(ValueError, match=r"no sign-in .* got '"):
        guard.checked_host(host)


@pytest.mark.parametrize("path", DATA)
def test_data_need_the_cookie(stranger, client, path):
    """Data are given only to who opened the page."""
    assert stranger.get(path).status_code == 403
    assert client.get(path).status_code == 200


def test_callbacks_need_the_cookie(stranger):
    """A callback without the cookie is refused before it runs."""
    assert stranger.post("/_dash-update-component", json={}).status_code == 403


def test_a_wrong_cookie_is_none(stranger):
    """The cookie cannot be guessed, whatever its letters."""
    name = stranger.get("/").headers["Set-Cookie"].partition("=")[0]
    stranger.set_cookie(name, "é" * 20)
    assert stranger.get("/_dash-layout").status_code == 403


def test_servers_on_two_ports_keep_their_own_cookies(stranger):
    """Cookies do not tell ports apart, so that their names must."""
    names = [stranger.get("/", headers={"Host": f"localhost:{port}"}).headers["Set-Cookie"][:40] for port in (1, 2)]
    assert names[0] != names[1]
    assert stranger.get("/_dash-layout", headers={"Host": "localhost:1"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/patient/P001"])
def test_the_page_gives_the_cookie(stranger, path):
    """Every address of the page sets a cookie that scripts cannot read and other sites cannot send."""
    cookie = stranger.get(path).headers["Set-Cookie"]
    assert cookie.startswith(guard.COOKIE)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8050", "127.0.0.1.evil.example", "10.0.0.1", "[::1"])
def test_a_foreign_name_is_refused(client, host):
    """A page that points its own name at this machine gets nothing (DNS rebinding)."""
    assert client.get("/", headers={"Host": host}).status_code == 403
    assert client.get("/assets/page.css", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8050", "127.0.0.1:8050", "[::1]:8050", "localhost"])
def test_own_names_are_answered(client, host):
    """The names by which a browser here reaches the server."""
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://localhost:9000", 403),
        ("https://localhost", 403),
        ("http://localhost", 200),
    ],
)
def test_a_foreign_page_may_not_ask(client, origin, status):
    """A request from another site's page, or from another port here, is refused even with the cookie."""
    assert client.get("/_dash-layout", headers={"Origin": origin}).status_code == status


@pytest.mark.parametrize(
    "path", ["/nothing", "/patient/", "/patient/P001/x", "/_mcp", "/_dash-config", "/tables/x.csv"]
)
def test_what_is_not_listed_does_not_exist(client, path):
    """Dash answers every address with its page; here only those of the page do."""
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/nothing", "/healthz", "/assets/page.css", *DATA])
def test_every_answer_has_the_headers(client, path):
    """No framing, no guessing of types, no referrer, and a content policy without foreign hosts."""
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    scripts = next(rule for rule in policy.split("; ") if rule.startswith("script-src"))
    assert "unsafe-inline" not in scripts
    assert "sha256-" in scripts


@pytest.mark.parametrize("path", ["/", "/healthz", "/assets/page.css", *DATA])
def test_nothing_with_data_is_stored(client, path):
    """Browsers keep no copy."""
    assert client.get(path).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "open_to_ask"),
    [
        ("/images/P1/V1/qc.png", True),
        ("/images/P1/V1/S1/qc.png", True),
        ("/images/P1", False),
        ("/images//V1/S1/qc.png", False),
    ],
)
def test_pictures_of_visits_and_of_scans_may_be_asked_for(path, open_to_ask):
    """A picture lies below a visit, or below a scan of it, and nowhere else."""
    assert bool(guard.DATA.fullmatch(path)) is open_to_ask
