"""Sessions: random, apart, expiring, bounded; and tries that get slower."""

from itertools import pairwise

import pytest

from dashboard import sessions
from dashboard.sessions import FIRST_WAIT_S, FREE_TRIES, IDLE_S, LONGEST_WAIT_S, Sessions, Tries


class Clock:
    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_every_browser_has_its_own(clock):
    """Secrets and CSRF values are long and never alike."""
    kept = Sessions(clock)
    begun = [kept.begin() for _ in range(50)]
    assert len({text for secret, session in begun for text in (secret, session.csrf)}) == 100
    assert min(len(text) for secret, session in begun for text in (secret, session.csrf)) >= 43
    assert all(kept.find(secret).csrf == session.csrf for secret, session in begun)


@pytest.mark.parametrize("secret", ["", "x", "é" * 43, "\ud800", "A" * 43])
def test_what_was_not_given_opens_nothing(clock, secret):
    """Guesses and odd letters are no session."""
    kept = Sessions(clock)
    kept.begin()
    assert kept.find(secret) is None


def test_the_secret_itself_is_not_kept(clock):
    """Who reads the memory's table finds hashes."""
    kept = Sessions(clock)
    secret, _ = kept.begin()
    assert secret not in repr(kept._kept)


def test_an_idle_session_expires(clock):
    """Use puts the end off; twelve hours without use end it for good."""
    kept = Sessions(clock)
    secret, _ = kept.begin()
    for _ in range(3):
        clock.now += IDLE_S - 1
        assert kept.find(secret)
    clock.now += IDLE_S + 1
    assert kept.find(secret) is None
    clock.now -= IDLE_S
    assert kept.find(secret) is None


def test_an_ended_session_is_gone_and_others_stay(clock):
    """To leave ends one's own session only, and twice does no harm."""
    kept = Sessions(clock)
    (one, _), (two, _) = kept.begin(), kept.begin()
    kept.end(one)
    kept.end(one)
    assert kept.find(one) is None
    assert kept.find(two)


def test_memory_is_bounded(clock, monkeypatch):
    """Past the most, the one that was idle longest goes; expired ones go by themselves."""
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    kept = Sessions(clock)
    first, second, third = (kept.begin()[0] for _ in range(3))
    kept.find(first)
    kept.begin()
    assert (kept.find(second), len(kept)) == (None, 3)
    assert kept.find(first)
    assert kept.find(third)
    clock.now += IDLE_S + 1
    kept.begin()
    assert len(kept) == 1


def test_tries_get_slower(clock):
    """A few are free; then the wait doubles up to its longest, and passes."""
    tries, waits = Tries(clock), []
    for count in range(1, 40):
        assert tries.failed("192.0.2.7") == count
        waits.append(tries.wait_s("192.0.2.7"))
    assert waits[: FREE_TRIES - 1] == [0.0] * (FREE_TRIES - 1)
    assert waits[FREE_TRIES - 1] == FIRST_WAIT_S
    assert all(later in {2 * earlier, LONGEST_WAIT_S} for earlier, later in pairwise(waits[FREE_TRIES - 1 :]))
    assert waits[-1] == LONGEST_WAIT_S
    clock.now += LONGEST_WAIT_S
    assert tries.wait_s("192.0.2.7") == 0.0


def test_tries_of_one_do_not_lock_out_another(clock):
    """Addresses are counted apart; those that one person commands together; the right token clears the count."""
    tries = Tries(clock)
    for last in range(FREE_TRIES):
        tries.failed(f"2001:db8::{last}")
    assert tries.wait_s("2001:db8::ffff") > 0
    assert tries.wait_s("2001:db8:0:1::1") == tries.wait_s("192.0.2.7") == 0
    tries.passed("2001:db8::1")
    assert tries.wait_s("2001:db8::ffff") == 0


def test_counted_addresses_are_bounded(clock, monkeypatch):
    """A flood of addresses does not fill the memory."""
    monkeypatch.setattr(sessions, "MOST_ADDRESSES", 4)
    tries = Tries(clock)
    for last in range(20):
        tries.failed(f"192.0.2.{last}")
    assert len(tries._wrong) == 4
