"""What stands round every page."""

import json

import pytest
from plotly.utils import PlotlyJSONEncoder

from dashboard import shell
from dashboard.study import open_study
from monitor.errors import StoreError


@pytest.fixture(scope="module")
def study(folder):
    return open_study(folder)


def text(component) -> str:
    """Return a component as it is sent."""
    return json.dumps(component, cls=PlotlyJSONEncoder, ensure_ascii=False)


def test_every_page_says_what_it_is_for(study):
    """Research use only, and which software made the results, stand on each page."""
    frame = text(shell.frame(study))
    assert frame.count("Research use only") == 2
    assert "calcitrack 0.1.0" in frame
    assert "P001" not in frame


def test_where_the_address_is_known_the_page_comes_at_once(study):
    """One answer holds frame and page."""
    assert "patient-figure" in text(shell.frame(study, "/patient/P001"))
    assert "No such page" in text(shell.frame(study, "/patient/P999"))


def test_who_came_in_with_a_token_may_leave(study):
    """On this machine alone there is nobody to sign out."""
    assert "Sign out" not in text(shell.frame(study))
    assert "Sign out" in text(shell.frame(study, signed_in=True))


def test_a_fault_is_told_on_the_page(monkeypatch, caplog):
    """A callback that fails says so where the reader looks, and why in the log; what is being published is no fault."""
    told = {}
    monkeypatch.setattr(shell, "set_props", lambda name, props: told.update({name: props}))
    shell.say_fault(ValueError("of P001"))
    assert told["trouble"]["hidden"] is False
    assert "P001" not in told["trouble"]["children"]
    assert "ValueError: of P001" in caplog.text
    shell.say_fault(StoreError("nothing there"))
    assert told["trouble"]["children"] == shell.PUBLISHING


def test_a_page_that_cannot_be_read_now_says_so(study, monkeypatch):
    """While a run publishes there is nothing to show, which is no fault."""

    def gone(*_):
        raise StoreError("published anew")

    monkeypatch.setattr(shell.patient, "layout", gone)
    assert shell.PUBLISHING in text(shell.page(study, "/patient/P001"))
