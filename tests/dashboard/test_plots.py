"""Figures of the page: how many traces, what is hollow, and where the lanes are."""

import numpy as np
import pandas as pd

from dashboard import plots, views


def cohort(results, chosen=None, **more):
    lines = views.courses(results, "volume_mm3", "total")
    return plots.cohort_figure(lines, chosen=chosen, title="Volume (mm³)", unit="mm³", **more)


def patient(results, name, quantity="volume_mm3"):
    return plots.patient_figure(
        views.course(results, name, quantity, "total"),
        events=views.events(results, name),
        changes=views.against_baseline(results, name, quantity, "total"),
        trend=views.trend(results, name, quantity, "total"),
        title="Volume (mm³)",
    )


def named(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def test_everybody_is_one_trace(results):
    """However many patients, there are two traces, in SVG, with a gap after each patient."""
    figure = cohort(results, "P002")
    assert [trace.type for trace in figure.data] == ["scatter", "scatter"]
    lines = views.courses(results, "volume_mm3", "total")
    gaps = np.isnan(figure.data[0].y).sum()
    assert gaps == lines["patient_id"].nunique() + lines["value"].isna().sum()


def test_the_chosen_patient_lies_on_top(results):
    """The second trace holds the chosen patient alone, and every point carries its pseudonym."""
    figure = cohort(results, "P002")
    assert set(figure.data[1].customdata[:, 0]) == {"P002"}
    assert len(figure.data[0].customdata) == len(figure.data[0].x)


def test_a_log_axis_is_asked_for(results):
    """The scale is the reader's choice."""
    assert cohort(results, log=True).layout.yaxis.type == "log"
    assert cohort(results).layout.yaxis.type == "linear"


def test_no_webgl_anywhere(results):
    """Traces that need WebGL fail silently under our content policy."""
    drawn = [*cohort(results, "P001").data, *patient(results, "P001").data]
    assert not [trace.type for trace in drawn if trace.type.endswith("gl")]


def test_what_does_not_compare_is_hollow(results):
    """The visit with another kernel and the one partly out of the field have marks of their own."""
    figure = patient(results, "P001")
    assert list(named(figure, "not comparable").x) == [0.61]
    assert named(figure, "not comparable").marker.symbol == "diamond-open"
    assert list(named(figure, "seen in part only").x) == [1.36]
    assert list(named(figure, "measured (95 % limits)").x) == [-0.42, 0.0, 2.18]


def test_limits_are_drawn_from_the_table(results):
    """Error bars reach from lo to hi."""
    trace = named(patient(results, "P002"), "measured (95 % limits)")
    course = views.course(results, "P002", "volume_mm3", "total")
    np.testing.assert_allclose(trace.y + trace.error_y.array, course["hi"])
    np.testing.assert_allclose(trace.y - trace.error_y.arrayminus, course["lo"])


def test_the_fitted_line_is_level_and_rate(results):
    """The line is that of the table; without a rate there is none."""
    line = named(patient(results, "P001"), "fitted line")
    np.testing.assert_allclose(line.y, 815.0 + 92.0 * np.array([-0.42, 2.18]))
    assert "fitted line" not in {trace.name for trace in patient(results, "P002").data}


def test_a_rate_alone_is_drawn_through_the_weighted_mean():
    """Closed form: points on a line with unequal limits give back that line, and no rate gives none."""
    years = np.array([0.0, 1.0, 3.0])
    value = 100.0 + 20.0 * years
    half = np.array([1.0, 2.0, 9.0])
    course = pd.DataFrame({"years": years, "value": value, "lo": value - half, "hi": value + half})
    line = plots._fitted({"rate": pd.Series({"estimate": 20.0})}, course)
    np.testing.assert_allclose(line.y, [100.0, 160.0])
    assert plots._fitted({"rate": pd.Series({"estimate": np.nan})}, course) is None
    assert plots._level({}, course.assign(lo=np.nan), 20.0) == 100.0


def test_treatments_have_lanes(results):
    """Two treatments have a lane each, with their names in words; one that goes on reaches the end."""
    figure = patient(results, "P001")
    bars = [shape for shape in figure.layout.shapes if shape.yref == "y2"]
    assert [shape.x0 for shape in bars] == [0.08, 0.9]
    assert bars[1].x1 == figure.layout.xaxis.range[1]
    assert [note.text for note in figure.layout.annotations] == ["thiosulfate", "pamidronate →"]
    assert figure.layout.yaxis2.ticktext == ("treatment", "", "events")


def test_a_flare_that_lasts_has_a_lane_of_its_own(results):
    """What has an end is a bar, and its lane is named by its kind."""
    events = views.events(results, "P001")
    lasting = events.assign(end_years=events["end_years"].where(events["kind"] != "flare", 0.5))
    course = views.course(results, "P001", "volume_mm3", "total")
    changes = views.against_baseline(results, "P001", "volume_mm3", "total")
    figure = plots.patient_figure(course, events=lasting, changes=changes, trend={}, title="")
    assert figure.layout.yaxis2.ticktext == ("treatment", "flare", "treatment", "events")


def test_moments_are_marks_with_words(results):
    """Surgery and flare are told apart by symbol and text."""
    trace = next(trace for trace in patient(results, "P001").data if trace.yaxis == "y2")
    assert set(zip(trace.marker.symbol, trace.text, strict=True)) == {
        ("triangle-up", "flare"),
        ("star", "surgery: excision"),
    }


def test_changes_too_small_to_count_are_a_band(results):
    """The band lies around the baseline's amount."""
    changes = views.against_baseline(results, "P002", "volume_mm3", "total")
    band = named(patient(results, "P002"), "change too small to count")
    half = len(band.y) // 2
    np.testing.assert_allclose(band.y[1:half], changes["before"] + changes["detectable"])


def test_an_empty_figure_says_so(results):
    """Nobody's course is words, not a blank."""
    for figure in (patient(results, "P900"), cohort_of_none(results)):
        assert [note.text for note in figure.layout.annotations] == ["Nothing was measured here."]


def cohort_of_none(results):
    none = views.courses(results, "volume_mm3", "total").head(0)
    return plots.cohort_figure(none, chosen=None, title="", unit="")


def test_one_visit_has_room_on_both_sides(results):
    """A time axis of no length is widened."""
    low, high = patient(results, "P003").layout.xaxis.range
    assert low < 0 < high
