"""What stands round every page."""

import json

from plotly.utils import PlotlyJSONEncoder

from dashboard import shell


def text(component) -> str:
    """Return a component as it is sent."""
    return json.dumps(component, cls=PlotlyJSONEncoder, ensure_ascii=False)


def test_every_page_says_what_it_is_for():
    """Research use only, and which software made the results, stand on each page."""
    frame = text(shell.frame({"software": {"name": "calcitrack", "version": "1.2.3"}}))
    assert frame.count("Research use only") == 2
    assert "calcitrack 1.2.3" in frame


def test_who_came_in_with_a_token_may_leave():
    """On this machine alone there is nobody to sign out."""
    assert "Sign out" not in text(shell.frame({}))
    assert "Sign out" in text(shell.frame({}, signed_in=True))


def test_a_fault_is_told_on_the_page(monkeypatch):
    """A callback that fails says so where the reader looks, without the error's own words."""
    told = {}
    monkeypatch.setattr(shell, "set_props", lambda name, props: told.update({name: props}))
    shell.say_fault(ValueError("of P001"))
    assert told["trouble"]["hidden"] is False
    assert "P001" not in told["trouble"]["children"]
