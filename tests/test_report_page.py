"""The one page: what it says of a patient, and what it leaves to the long form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monitor import tables
from monitor.export import report, report_page, story, words
from tests.dashboard.made import made_tables, write_results
from tests.made_report import LESIONS, LONG, crowded, rows
from tests.test_report import Page

ROOM = report_page.ROOMS[0]


@pytest.fixture(scope="module")
def one():
    return story.patient(made_tables(0), "P001")


@pytest.fixture(scope="module")
def full():
    return story.patient(rows(), "P1")


def _plain(text: str) -> str:
    return text.replace(words.THIN, " ").replace("\u00a0", " ")


def test_the_page_has_the_verdict_with_its_error(tmp_path):
    """Closed form: the numbers that P001 was made of, their limits, the smallest change that counts, the rate."""
    results = write_results(tmp_path / "results", more_patients=0)
    html = report(results, "P001", tmp_path / "p.html", form="page").read_text(encoding="utf-8")
    page = Page(html)
    for said in (
        "▲ increased since the baseline",
        "At V5, 2025-05-10 1 063 mm³ (999 to 1 127)",
        "Change since V2 +252 mm³ (+144 to +360), +31.1 %",
        "Smallest change that counts 108 mm³",
        "Rate +92 mm³ per year (+52 to +132)",
        "Not comparable with the baseline: V3 (kernel Br40 and Br64); known lesions in the field only in part at V4",
        "CT, 120 kV, kernel Br40 (Br64 at V3), slices 1.5 mm every 1 mm, contrast none",
        "calcitrack 0.1.0",
    ):
        assert said in page.text
    assert not page.all("script")
    assert "http" not in html.replace("http-equiv", "").split("<body>")[0]
    assert [tag for tag, _ in page.found].count("h1") == 1
    assert all(image["alt"] for image in page.all("img"))
    assert page.text.endswith("Research use only, not for diagnosis.")


def test_the_lesion_that_changed_most_stands_first(one):
    """What grew by 287 mm³ stands before what lost 150, then what came later, then what cannot be compared."""
    assert report_page.ranked(one) == [1, 2, 4, 7, 6, 3, 5, 12]


def test_a_lesion_without_a_change_says_where_it_came_or_went(one):
    """New, split and merged lesions have no change since the baseline, and a word instead of a dash."""
    grid = report_page.lesion_grid(one, ROOM)
    last = {row[0].text: row[-1] for row in grid.rows}
    assert (last["4"].mark.word, last["7"].mark.word, last["5"].mark.word) == (
        "new at V3",
        "split at V4",
        "merged at V3",
    )
    assert _plain(last["1"].text) == "+287"
    assert last["12"].mark.word == "not comparable"


def test_what_has_no_room_is_counted(full):
    """Of fifty lesions some are shown, the largest change first, and the rest is a number."""
    grid = report_page.lesion_grid(full, ROOM)
    assert [row[0].text for row in grid.rows] == [str(n) for n in range(LESIONS, LESIONS - ROOM.lesions, -1)]
    assert grid.caption.endswith(f"{LESIONS - ROOM.lesions} more, see the long form")
    listed = report_page.visits(full, report_page.ROOMS[-1])
    assert _plain(listed) == "V1 2010-01-01, V2 2011-02-01 (baseline), 8 more, V11 2020-02-01, V12 2021-03-01"


def test_long_words_are_cut(full):
    """A condition, a reason or a kernel without end takes a line or two, and ends in dots."""
    about = dict(report_page.about(full))
    assert len(about["Condition"]) <= report_page.VALUE_CHARS
    assert about["Condition"].endswith("…")
    assert about["Age at the scans"] == "6.2 to 17.2 years"
    for _, text in report_page.statements(full, ROOM):
        assert len(text) <= ROOM.line
    assert LONG not in str(report_page.lesion_grid(full, ROOM))


def test_rooms_become_smaller():
    """Property: each has less of everything than the one before, so that the last one is tried last for a reason."""
    for one, two in zip(report_page.ROOMS, report_page.ROOMS[1:], strict=False):
        assert two.lesions < one.lesions
        assert two.figure_in < one.figure_in
        assert two.picture_mm < one.picture_mm
        assert two.line <= one.line


def test_what_is_judged_by_the_excess_shows_no_change_of_volume(one):
    """The volume is not resolved: its change is not told as a number, and the figure is that of the excess."""
    changes = one.tables["changes"].assign(carried_by="excess_hu_mm3")
    found = story.patient({**one.tables, "changes": changes}, "P001")
    volume = report_page.findings(found)[0]
    assert ("Change since V2", "", "not resolved, judged by the excess") in volume.facts
    assert not any("Smallest" in label for label, *_ in volume.facts)


def test_a_last_visit_seen_in_part_has_no_total():
    """What was seen is told with the share of lesions that were in the field."""
    burden = made_tables(0)["burden"]
    partial = burden["visit_id"].eq("V5") & burden["patient_id"].eq("P001")
    burden.loc[partial, ["value", "lo", "hi"]] = np.nan
    burden.loc[partial, "evaluable"] = 0.5
    volume = report_page.findings(story.patient({**made_tables(0), "burden": burden}, "P001"))[0]
    assert _plain(" ".join(volume.facts[0])) == (
        "At V5, 2025-05-10 no total (1 063 mm³ in the 50 % of lesions in the field)"
    )


def test_the_dose_is_at_least_what_is_known():
    """Closed form: scans that tell no dose make the sum a lower bound; where none tells one there is no sum."""
    scans = [{"dlp_mgy_cm": value} for value in (100.0, np.nan, 50.0)]
    assert story.dose_so_far(scans) == [(100.0, 0), (100.0, 1), (150.0, 1)]
    found = made_tables(0)
    assert "dose" not in dict(report_page.statements(story.patient(found, "P001"), ROOM))["Protocol"]
    found["visits"] = tables.check(found["visits"].assign(dlp_mgy_cm=20.0), "visits")
    told = dict(report_page.statements(story.patient(found, "P001"), ROOM))["Protocol"]
    assert "dose so far 100 mGy·cm over 5 scans" in _plain(told)


def test_frames_are_taken_where_a_run_left_them(tmp_path):
    """The lesion with the largest change at the baseline and the last visit; frames say what they are."""
    results = crowded(tmp_path / "r")
    page = Page(report(results, "P1", tmp_path / "p.html", form="page").read_text(encoding="utf-8"))
    alts = [_plain(image["alt"]) for image in page.all("img")][1:]
    assert len(alts) == 2
    assert alts[0].startswith("Three planes through the place of the lesion, resampled into one frame. Lesion 50 at V2")
    assert "at V12" in alts[1]


def test_the_run_is_named(tmp_path):
    """Version, hash and day; nothing is said of what is not known."""
    run = {"software": {"name": "calcitrack", "version": "0.1.0", "source": "c0ffee" * 10}, "ended": "2026-11-23T08:12"}
    assert report_page.methods(run) == ["calcitrack 0.1.0", "source c0ffeec0ffeec0ff", "run of 2026-11-23"]
    assert report_page.methods({}) == ["calcitrack of unknown version"]


def test_nothing_is_ranked_where_there_is_nothing():
    """A patient without lesions has an empty table."""
    empty = story.patient({name: tables.empty(name) for name in tables.SCHEMAS}, "P1")
    assert report_page.ranked(empty) == []
    assert report_page.lesion_grid(empty, ROOM).rows == []
    assert isinstance(empty.wide, pd.DataFrame)
