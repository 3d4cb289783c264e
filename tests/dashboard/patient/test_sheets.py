"""Plain tables of a patient's page."""

import json

from dashboard.patient import sheets


def plain(one):
    return json.dumps(one, default=lambda each: each.to_plotly_json(), ensure_ascii=False)


def test_a_scan_says_why_it_does_not_compare(p001):
    """Protocol, what changed, and the picture of what was taken for what."""
    told = plain(sheets.scans(p001, "P001"))
    assert "× no: kernel Br40 and Br64" in told
    assert "kernel Br64, then Br40; scanner Maker A, then Maker B" in told
    assert told.count("/images/P001/V5/qc.png") == 1
    assert "0.8 (to 0.9)" in told


def test_contrast_that_the_image_denies_is_told(hand_made, visit):
    """The header says iv, no vessel is bright: both are in the table."""
    own = hand_made(visits=[visit(1, 0.0, contrast="iv", contrast_found="unknown", blood_hu=150.0)])
    assert "iv (iv by the header, not seen), blood 150 HU" in plain(sheets.scans(own, "P1"))


def test_a_path_is_not_told(hand_made):
    """Folders may name a person: of what was refused the rule and the reason are shown."""
    refused = {"patient_id": "P1", "visit_id": "V1", "path": "dicom/Smith", "code": "slice-gap", "message": "a gap"}
    told = plain(sheets.refused(hand_made(refused=[refused])))
    assert "a gap" in told
    assert "Smith" not in told


def test_empty_tables_are_not_there(hand_made):
    """What is empty takes no room."""
    own = hand_made()
    assert sheets.trends(own) is sheets.published(own) is sheets.events(own) is sheets.refused(own) is None
    assert sheets.selftest(own) == []


def test_trends_and_limits(p001):
    """Levels have no sign, and a published limit its verdict by symbol and word."""
    assert "+92" in plain(sheets.trends(p001))
    assert '"815' in plain(sheets.trends(p001))
    assert "▲ increased" in plain(sheets.published(p001))
