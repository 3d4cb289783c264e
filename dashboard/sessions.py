"""Sessions in memory, one for each browser, and how often a token may be tried."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_S = 12 * 3600.0
"""A session ends this long after its last request, s: a working day, our choice."""

MOST_SESSIONS = 2000
"""Sessions kept at once; the one that was idle longest goes first, so that memory stays bounded."""

FREE_TRIES = 5
"""Wrong tokens before an address must wait: a person who mistypes is not held up; our choice."""

FIRST_WAIT_S = 2.0
"""The first wait, s; it doubles with each further wrong token."""

LONGEST_WAIT_S = 900.0
"""The wait grows to this, s: a quarter of an hour, 96 tries a day."""

MOST_ADDRESSES = 10_000
"""Addresses whose wrong tokens are counted; the oldest goes first, so that memory stays bounded."""


@dataclass(frozen=True)
class Session:
    """One browser that was let in.

    Attributes
    ----------
    csrf : str
        What a request that changes something must carry beside the cookie.
    used : float
        When it was used last, s on the clock of its ``Sessions``.
    """

    csrf: str
    used: float


class Sessions:
    """The browsers that were let in, by a hash of the secret in their cookie; gone when the server ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[bytes, Session] = {}

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def begin(self) -> tuple[str, Session]:
        """Let a browser in; return the secret for its cookie, and the session."""
        secret = secrets.token_urlsafe(32)
        session = Session(secrets.token_urlsafe(32), self._clock())
        with self._lock:
            self._drop_idle()
            while len(self._kept) >= MOST_SESSIONS:
                del self._kept[next(iter(self._kept))]
            self._kept[_key(secret)] = session
        return secret, session

    def find(self, secret: str) -> Session | None:
        """Return the session of a cookie, used just now, or None where there is none or it has expired."""
        with self._lock:
            session = self._kept.pop(_key(secret), None)
            if session is None or self._clock() - session.used > IDLE_S:
                return None
            # Put at the end: the first is the one that was idle longest.
            session = self._kept[_key(secret)] = replace(session, used=self._clock())
            return session

    def end(self, secret: str) -> None:
        """Forget a session, if there is one."""
        with self._lock:
            self._kept.pop(_key(secret), None)

    def _drop_idle(self) -> None:
        oldest = self._clock() - IDLE_S
        for key in [key for key, session in self._kept.items() if session.used < oldest]:
            del self._kept[key]


class Tries:
    """How many wrong tokens came from an address, and how long it must wait for the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: dict[str, tuple[int, float]] = {}

    def wait_s(self, address: str) -> float:
        """Return how long an address must wait before its next try, s; 0 where it need not."""
        with self._lock:
            count, last = self._wrong.get(_network(address), (0, 0.0))
        if count < FREE_TRIES:
            return 0.0
        # The exponent is bounded: a power of a large count overflows.
        wait = min(FIRST_WAIT_S * 2.0 ** min(count - FREE_TRIES, 20), LONGEST_WAIT_S)
        return max(0.0, last + wait - self._clock())

    def failed(self, address: str) -> int:
        """Count a wrong token; return how many that makes."""
        network = _network(address)
        with self._lock:
            count = self._wrong.pop(network, (0, 0.0))[0] + 1
            while len(self._wrong) >= MOST_ADDRESSES:
                del self._wrong[next(iter(self._wrong))]
            self._wrong[network] = (count, self._clock())
        return count

    def passed(self, address: str) -> None:
        """Forget the wrong tokens of an address that knew the right one."""
        with self._lock:
            self._wrong.pop(_network(address), None)


def _key(secret: str) -> bytes:
    """Return what a session is kept by: looking up a hash tells nothing by its time."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _network(address: str) -> str:
    """Return what one person commands: an IPv4 address, or the /64 of an IPv6 address.

    >>> _network("192.0.2.7"), _network("2001:db8::1:2")
    ('192.0.2.7', '2001:db8::/64')
    """
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if known.version == 4 else str(ipaddress.ip_network((known, 64), strict=False))
