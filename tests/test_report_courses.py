"""The figures of a report: what they draw and the bytes that they are."""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from PIL import Image

from monitor import stats, tables
from monitor.export import plots, report_courses, report_figures, report_page, story
from monitor.types import StudyError
from tests.dashboard.made import made_tables, write_results
from tests.made_report import rows as crowded_rows


@pytest.fixture(scope="module")
def found():
    return made_tables(0)


@pytest.fixture(scope="module")
def course(found):
    return story.course(story.patient(found, "P001"), "volume_mm3")


def _said(svg: bytes) -> list[str]:
    """Return what matplotlib notes of the texts that it draws as paths."""
    return re.findall(r"<!-- (.*?) -->", svg.decode())


def test_every_figure_is_written_as_svg_and_png(tmp_path):
    """Two quantities, two files each, by their names; a patient of whom nothing was measured has none."""
    results = write_results(tmp_path / "results", more_patients=0)
    written = report_figures(results, "P001", tmp_path / "figures")
    names = ["trajectory_excess_hu_mm3", "trajectory_volume_mm3"]
    assert [path.name for path in written] == [f"{name}.{kind}" for name in names for kind in ("png", "svg")]
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width == round(plots.SIZE_IN[0] * plots.DPI)
    assert report_figures(results, "P900", tmp_path / "none") == []
    with pytest.raises(StudyError, match="must be on a patient of the results"):
        report_figures(results, "P1", tmp_path / "none")


def test_the_same_values_give_the_same_bytes(course):
    """Invariance: nothing hangs on the moment, and no date or version stands in a picture."""
    for kind in report_courses.KINDS:
        assert plots.trajectory(course, kind=kind) == plots.trajectory(course, kind=kind)
    assert b"dc:date" not in plots.trajectory(course)
    with Image.open(BytesIO(plots.trajectory(course, kind="png"))) as image:
        assert "Software" not in image.info


def test_the_band_is_the_smallest_change_about_the_baseline(course, found):
    """Closed form: before less and plus the smallest change that counts, from the baseline on, never below 0."""
    band = plots.band(course)
    changes = found["changes"]
    own = changes[(changes["patient_id"] == "P001") & (changes["compartment"] == "total")]
    least, before = own["detectable"].to_numpy(float), own["before"].to_numpy(float)
    assert band["years"].tolist() == pytest.approx([0.0, 0.61, 1.36, 2.18])
    np.testing.assert_allclose(band["hi"].to_numpy()[1:], before + least)
    np.testing.assert_allclose(band["lo"].to_numpy()[1:], before - least)
    wide = replace(course, changes=course.changes.assign(detectable=1e6))
    assert (plots.band(wide)["lo"] == 0).all()


def test_published_limits_make_no_band(found):
    """The band is that of the measurement's own error, also where published limits stand in the table."""
    limited = found["changes"].assign(rule_id="volume:v1;limit=callister-1998:15%", detectable=1e6)
    both = {**found, "changes": pd.concat([found["changes"], limited], ignore_index=True)}
    course = story.course(story.patient(both, "P001"), "volume_mm3")
    assert plots.band(course)["hi"].max() < 2000


def test_the_interval_of_the_line_is_that_of_least_squares():
    """Independent value: weighted least squares of statsmodels predicts the same limits at every time."""
    rng = np.random.default_rng(4)
    years = np.array([-0.5, 0.0, 0.7, 1.9, 3.0])
    se = np.array([20.0, 10.0, 30.0, 15.0, 25.0])
    value = 500 + 60 * years + rng.normal(0, 0.1, 5) * se
    days = [f"202{n}-01-01" for n in range(5)]
    own = {"patient_id": "P1", "compartment": "total", "quantity": "volume_mm3", "unit": "mm3", "evaluable": 1.0}
    rows = [{**own, "visit_id": f"V{n}", "date": days[n], "years": years[n], "value": value[n],
             "lo": value[n] - 1.959964 * se[n], "hi": value[n] + 1.959964 * se[n]} for n in range(5)]  # fmt: skip
    made = {name: tables.empty(name) for name in tables.SCHEMAS}
    made["burden"] = tables.check(pd.DataFrame(rows), "burden")
    made["visits"] = tables.check(pd.DataFrame(rows)[["patient_id", "visit_id", "date", "years"]], "visits")
    made["patients"] = tables.check(pd.DataFrame([{"patient_id": "P1", "baseline_visit_id": "V1"}]), "patients")
    made["trends"] = stats.trends(made["burden"], made["patients"])
    fit = plots.fitted(story.course(story.patient(made, "P1"), "volume_mm3"))
    model = sm.WLS(value, sm.add_constant(years), 1 / se**2).fit(cov_type="fixed scale")
    design = sm.add_constant(fit.years)
    half = 1.959964 * np.sqrt(np.einsum("ij,jk,ik->i", design, np.asarray(model.cov_params()), design))
    np.testing.assert_allclose(fit.height, design @ model.params, rtol=1e-9)
    np.testing.assert_allclose(fit.hi - fit.height, half, rtol=1e-4)


def test_a_surgery_ends_the_line(course):
    """What was taken out did not dissolve: the line ends with the last visit before it; without a rate is none."""
    fit = plots.fitted(course)
    assert fit.years.max() == pytest.approx(0.61)
    kept = replace(course, events=course.events[course.events["kind"] != "surgery"])
    assert plots.fitted(kept).years.max() == pytest.approx(2.18)
    assert plots.fitted(replace(course, trends=course.trends[course.trends["term"] == "level"])) is None


def test_every_state_of_a_total_is_in_the_key(found, course):
    """Comparable or not, seen in part, and nothing found: each has its mark and its words."""
    said = _said(plots.trajectory(course))
    for told in (
        "total with 95 % limits",
        "not comparable",
        "seen in part",
        "no detectable change since the baseline",
        "Volume of mineral, mm³",
    ):
        assert told in said
    none = story.course(story.patient(found, "P004"), "volume_mm3")
    assert "none found, below detection" in _said(plots.trajectory(none))


def test_treatments_and_events_have_lanes(course):
    """Names, letters and visits are drawn; a figure without lanes is lower and names none."""
    said = _said(plots.trajectory(course))
    assert {"thiosulfate", "pamidronate", "flare", "surgery: excision", "a", "b", "V1", "V5"} <= set(said)
    bare = plots.trajectory(course, lanes=False)
    assert "thiosulfate" not in _said(bare)

    def height(svg):
        return float(re.search(rb'height="([0-9.]+)pt"', svg)[1])

    lanes = 4 * plots.LANE_IN * 72
    assert height(plots.trajectory(course)) - height(bare) == pytest.approx(lanes, abs=0.1)


def test_many_long_names_leave_room_for_the_picture():
    """Lanes are few and their names cut; what has no lane is counted."""
    course = story.course(story.patient(crowded_rows(), "P1"), "volume_mm3")
    said = _said(plots.trajectory(course))
    assert sum(text.startswith(tuple("012345678")) and text.endswith("…") for text in said) == plots.MOST_LANES
    assert max(map(len, said)) < 60
    assert plots.lanes_left(course.events) == 10 - plots.MOST_LANES


def _two_visits(evaluable: float, comparable: bool, **more: float) -> story.Patient:
    """Return a patient whose second visit has no total, or the values given."""
    own = {"patient_id": "P1", "compartment": "total", "quantity": "volume_mm3", "unit": "mm3"}
    whole = {"evaluable": 1.0, "value": 9.0, "lo": 8.0, "hi": 10.0, "value_observed": 9.0}
    later = {"evaluable": evaluable, "value": np.nan, "lo": np.nan, "hi": np.nan, "value_observed": 0.0, **more}
    visits = [{"patient_id": "P1", "visit_id": f"V{n}", "date": f"202{n}-01-01", "years": n - 1.0,
               "comparable": n == 1 or comparable} for n in (1, 2)]  # fmt: skip
    made = {name: tables.empty(name) for name in tables.SCHEMAS}
    rows = [{**own, **visit, **said} for visit, said in zip(visits, (whole, later), strict=True)]
    seen = pd.DataFrame(rows).drop(columns="comparable")
    made["burden"] = tables.check(seen, "burden")
    made["visits"] = tables.check(pd.DataFrame(visits), "visits")
    made["patients"] = tables.check(pd.DataFrame([{"patient_id": "P1", "baseline_visit_id": "V1"}]), "patients")
    return story.patient(made, "P1")


def test_out_of_the_field_is_not_seen_in_part():
    """The pipeline writes 0 seen where no known lesion was in the field: no point stands there, only words."""
    one = _two_visits(0.0, comparable=True)
    assert "seen in part" not in _said(plots.trajectory(story.course(one, "volume_mm3")))
    assert "seen in part" in _said(plots.trajectory(story.course(_two_visits(0.5, comparable=True), "volume_mm3")))
    assert story.findings(one)[0].said[0].startswith("Not in the field at V2")
    assert report_page.findings(one)[0].facts[0][1:] == ("not in the field", "")
    assert story.burden_grid(one).rows[1][2].more == "not in the field"
    alone = one.wide[one.wide["visit_id"] == "V2"]
    assert replace(story.course(one, "volume_mm3"), wide=alone).empty


def test_none_found_on_another_scan_has_its_own_mark():
    """Nothing was found, and the visit is not comparable: both are said."""
    none = {"value": 0.0, "lo": 0.0, "hi": 0.0}
    said = _said(plots.trajectory(story.course(_two_visits(1.0, comparable=False, **none), "volume_mm3")))
    assert "none found, not comparable" in said
    assert "none found, below detection" not in said


def test_the_band_leaves_out_what_starts_from_another_amount(course):
    """V4 is compared in the common field: the band breaks there, and the caption names the visit."""
    changes = course.changes.copy()
    changes.loc[changes["to_visit"] == "V4", "before"] = 400.0
    broken = replace(course, changes=changes)
    assert plots.no_band(broken) == ["V4"]
    assert np.isnan(plots.band(broken)["lo"].to_numpy()).tolist() == [False, False, True, False, False]
    assert plots.band(broken)["years"].to_numpy()[-2:] == pytest.approx([2.154, 2.206], abs=1e-3)
    assert "No band at V4" in report_courses._no_band(broken)
    assert report_courses._no_band(course) == ""
    assert plots.trajectory(broken)


def test_a_dollar_in_a_name_is_a_dollar(course):
    """No formula begins in what a study calls its treatments."""
    name = "MTX 5 $ then \\frac $"
    dear = replace(course, events=course.events.assign(name=name))
    for kind in report_courses.KINDS:
        assert plots.trajectory(dear, kind=kind)


def test_a_rate_counts_the_visits_that_are_not_comparable(course):
    """V3 is among those that the line was fitted to; where all are comparable nothing is said."""
    alike = replace(course, wide=course.wide.assign(comparable=True))
    assert "not comparable" not in story.rate(alike)
    kept = replace(course, events=course.events[course.events["kind"] != "surgery"])
    assert story.rate(kept).endswith("from 4 visits, of them 1 not comparable with the baseline")
