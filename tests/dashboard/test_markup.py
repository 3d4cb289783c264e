"""Study text in figures is shown as it is written."""

import html

import pytest

from dashboard.markup import plain_text


@pytest.mark.parametrize("name", ['<a href="https://x">MTX</a>', "a & b &lt; c", "%{customdata[0]}", "5 $ \\frac $"])
def test_text_comes_out_as_it_was_written(name):
    """What a browser makes of the entities is the text of the study again."""
    assert html.unescape(plain_text(name)) == name


@pytest.mark.parametrize("live", ["<", ">", "%{"])
def test_nothing_live_is_left(live):
    """No tag and no place to fill in is left."""
    assert live not in plain_text(f"x{live}y}}")


def test_what_is_no_text_is_told_as_text():
    """A number or nothing does not fail."""
    assert (plain_text(5), plain_text(None)) == ("5", "None")
