"""Who may reach the page: where it listens, by which names it is asked for, and whether a token is."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

OWN_NAMES = ("localhost", "127.0.0.1", "::1")
"""Host names of this machine for itself."""

TOKEN_CHARACTERS = 16
"""A token is at least this long: 16 random letters are 75 bits, and OWASP asks 64 of the id of a session."""

TOKEN = re.compile(r"[!-~]+")
"""Letters of a token: those that every keyboard and every form sends alike, without spaces."""

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""A host name as browsers send it, without a port."""


@dataclass(frozen=True)
class Access:
    """How the page may be reached; by default from this machine only, without a token.

    Attributes
    ----------
    host : str
        The address to listen on.
    names : tuple of str
        Host names that a browser may use beside that address, as behind a proxy.
    token : str
        What a person must know to come in; empty on this machine alone.
    https : bool
        Whether a proxy before this server speaks https: then cookies are sent over https only.
    mark : str
        Ends the names of the cookies, since cookies do not tell ports apart: two servers with marks of their
        own do not overwrite each other's.

    Raises
    ------
    ValueError
        If others could reach the page without a token, or a name or the token is malformed. It never holds
        the token.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    https: bool = False
    mark: str = ""

    def __post_init__(self) -> None:
        wrong = [name for name in self.names if not NAME.fullmatch(name.lower())]
        if wrong:
            raise ValueError(f"--name must be a host name without scheme and port; got {wrong[0]!r}")
        if self.token and not (len(self.token) >= TOKEN_CHARACTERS and TOKEN.fullmatch(self.token)):
            raise ValueError(
                f"a token must be at least {TOKEN_CHARACTERS} letters, digits or signs without spaces; "
                f"got {len(self.token)} characters"
            )
        if not self.token and not (is_loopback(self.host) and not self.names):
            asked = f"--name {self.names[0]}" if is_loopback(self.host) else f"host {self.host!r}"
            raise ValueError(
                "whatever other machines can reach needs a token, by --token-file FILE or the environment variable "
                f"CALCITRACK_TOKEN; got {asked} without one"
            )

    @property
    def session_cookie(self) -> str:
        """Name of the cookie that holds the session."""
        return f"calcitrack_session{self.mark}"

    @property
    def csrf_cookie(self) -> str:
        """Name of the cookie whose value Dash sends back as a header: its ``csrf_token_name``."""
        return f"_csrf_token{self.mark}"

    def answers_to(self, host: str) -> bool:
        """Tell whether a ``Host`` header is one of ours; a foreign one is a page that points its name here.

        A server that listens everywhere answers to any plain address: pointing a name here (DNS rebinding)
        takes a name.

        >>> Access().answers_to("localhost:8050"), Access().answers_to("evil.example:8050")
        (True, False)
        """
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:  # as in an unclosed bracket
            return False
        if parts.netloc != host or "@" in host:
            return False
        named = {one.lower() for one in self.names} | {self.host.lower()}
        if is_loopback(self.host):
            named |= set(OWN_NAMES)
        elif _is_everywhere(self.host):
            return name in named or name == "localhost" or _is_address(name)
        return name in named

    def opens_with(self, given: str) -> bool:
        """Tell, in a time that says nothing, whether this is the token."""
        one, other = (hashlib.sha256(text.encode(errors="replace")).digest() for text in (given, self.token))
        return bool(self.token) and hmac.compare_digest(one, other)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_everywhere(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
