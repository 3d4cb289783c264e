"""Who may reach the page: addresses, names, tokens."""

import pytest

from dashboard.access import Access

TOKEN = "correct-horse-battery"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_needs_no_token(host):
    """Addresses that only this machine reaches are open by default."""
    assert Access(host=host).token == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "localhost.example.org"])
def test_other_addresses_need_one(host):
    """Whoever listens for others has a token, and the message names the rule, the host and both ways to give one."""
    with pytest.raises(ValueError, match=r"needs a token, by --token-file FILE .* CALCITRACK_TOKEN; got host '"):
        Access(host=host)
    assert Access(host=host, token=TOKEN).host == host


def test_a_name_needs_one_too():
    """A name on a loopback address means a proxy that others reach."""
    with pytest.raises(ValueError, match=r"needs a token.* got --name ct\.example"):
        Access(names=("ct.example",))
    assert Access(names=("ct.example",), token=TOKEN).answers_to("ct.example:8443")


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "with space and length", "tab\tand-more-letters", "ärger-mit-umlauten"]
)
def test_weak_and_odd_tokens_are_refused_unseen(token):
    """A token is long and typed alike everywhere; the message says only how long it was."""
    with pytest.raises(ValueError, match=rf"at least 16 .* got {len(token)} characters") as caught:
        Access(token=token)
    assert token not in str(caught.value)


@pytest.mark.parametrize("name", ["https://ct.example", "ct.example:8050", "ct example", "", "-x", "*", "a/b"])
def test_names_are_bare(name):
    """A name has no scheme, port or wildcard."""
    with pytest.raises(ValueError, match="--name must be a host name without scheme and port; got '"):
        Access(names=(name,), token=TOKEN)


def test_the_token_is_not_shown():
    """What prints or logs the settings does not print the token."""
    assert TOKEN not in repr(Access(token=TOKEN))


@pytest.mark.parametrize("given", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 20, "\ud800", "\0"])
def test_only_the_token_opens(given):
    """Near ones, empty ones and odd letters do not."""
    access = Access(token=TOKEN)
    assert access.opens_with(TOKEN)
    assert not access.opens_with(given)
    assert not Access().opens_with("")


@pytest.mark.parametrize("host", ["localhost:8050", "127.0.0.1:8050", "[::1]:8050", "localhost", "LOCALHOST:1"])
def test_own_names(host):
    """The names by which a browser here reaches the server."""
    assert Access().answers_to(host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::1", "", "localhost@evil.example", "localhost/x"),
        *("evil.example#localhost", "localhost:port", "localhost:99999", "evil.example?localhost", "[::ffff:10.0.0.1]"),
    ],
)
def test_foreign_names(host):
    """Anything else is a foreign page that points its name here."""
    assert not Access().answers_to(host)


@pytest.mark.parametrize(
    ("host", "asked", "answered"),
    [
        ("192.168.1.5", "192.168.1.5:8050", True),
        ("192.168.1.5", "CT.Example", True),
        ("192.168.1.5", "localhost", False),
        ("192.168.1.5", "192.168.1.6", False),
        ("0.0.0.0", "192.168.1.5:8050", True),
        ("0.0.0.0", "localhost:8050", True),
        ("0.0.0.0", "evil.example", False),
        ("::", "[2001:db8::1]:8050", True),
        ("127.0.0.1", "ct.example", True),
    ],
)
def test_names_of_a_server_for_others(host, asked, answered):
    """The bound address and the given names; everywhere means every plain address, never every name."""
    assert Access(host=host, names=("ct.example",), token=TOKEN).answers_to(asked) is answered


def test_marks_tell_two_servers_apart():
    """Cookies do not tell ports apart, so that their names must."""
    one, two = Access(mark="_1"), Access(mark="_2")
    assert len({one.session_cookie, two.session_cookie, one.csrf_cookie, two.csrf_cookie}) == 4
