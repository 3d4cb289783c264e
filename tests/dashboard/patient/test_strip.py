"""A lesion's pictures at all visits."""

import json

from dashboard.patient import strip


def figures(found):
    """Return the figures: the baseline, then the others."""
    *first, others = found
    return [*first, *others.children]


def plain(found):
    return json.dumps([one.to_plotly_json() for one in found], default=lambda one: one.to_plotly_json())


def test_every_visit_has_its_place(p001):
    """A picture or words at every visit, the baseline named."""
    found = strip.strip(p001, "P001", 1)
    assert len(figures(found)) == 5
    assert "V2" in plain(found[:1])
    assert "baseline" in plain(found[:1])
    told = plain(found)
    assert all(f"/images/P001/V{visit}/frame_0001.png" in told for visit in range(1, 6))
    assert "▲ grown" in figures(found)[4].children[0].children[1].children[0].children


def test_pictures_say_their_size_and_wait(p001):
    """Width and height keep the place; the address waits for the browser to want it."""
    image = figures(strip.strip(p001, "P001", 1))[1].children[1].children
    assert (image.width, image.height) == ("1", "1")
    assert getattr(image, "data-src") == "/images/P001/V1/frame_0001.png"
    assert getattr(image, "src", None) is None
    assert "Lesion 1 at V1" in image.alt


def test_the_other_kind_is_shown_and_named(p001):
    """Where a visit has but the native picture, that is what it says."""
    told = plain(strip.strip(p001, "P001", 2))
    assert "/images/P001/V5/lesion_0002.png" in told
    assert "native picture: there is no other" in told
    native = plain(strip.strip(p001, "P001", 1, "native"))
    assert "/images/P001/V2/lesion_0001.png" in native
    assert "resampled picture: there is no other" in native


def test_words_where_there_is_no_row(p001):
    """Before it was there and after it merged are told apart; neither is a broken picture."""
    new = plain(strip.strip(p001, "P001", 4))
    assert "before it was first seen" in new
    merged = plain(strip.strip(p001, "P001", 5))
    assert "into lesion 1" in merged
    assert "merged into lesion 1 before" in merged
    assert "No picture" in merged
