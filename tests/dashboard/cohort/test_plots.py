"""The first figure: one trace for many patients, bands with gaps, and the chosen one on top."""

import numpy as np
import pandas as pd
import pytest

from dashboard.cohort import plots, views, wanted
from dashboard.cohort.bands import Bands


def drawn(study, chosen=None, **sent):
    figure, said = views.main(study, wanted.checked(study, sent), chosen)
    return figure, said


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one, two):
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


COLOURS = sorted({plots.CHOSEN, plots.REST, plots.PLAIN, *plots.GROUPS, *plots.TONES.values()})


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_seen_on_light_and_dark(colour):
    """3 to 1 for graphics (WCAG 1.4.11), on the panel of either page."""
    assert contrast(colour, "#ffffff") >= 3
    assert contrast(colour, "#1b2025") >= 3


def test_everybody_is_one_trace_with_gaps(study):
    """However many patients, one trace in SVG; a gap between two patients."""
    figure, _ = drawn(study, show="lines")
    assert [trace.type for trace in figure.data] == ["scatter", "scatter"]
    patients = len(set(figure.data[1].customdata))
    assert np.isnan(figure.data[1].y).sum() == patients - 1
    assert figure.data[1].y.dtype == np.float32


def test_points_belong_to_their_patient(study):
    """What is pointed at is the patient's own amount."""
    figure, _ = drawn(study, show="lines")
    trace = figure.data[1]
    burden = study.burden("volume_mm3", "total").set_index("patient_id")
    for patient in ("P002", "P010"):
        own = trace.customdata == patient
        value = trace.y[own][np.isfinite(trace.y[own])]
        np.testing.assert_allclose(value, burden.loc[patient, "value"].to_numpy(float), rtol=1e-6)


def test_what_does_not_compare_is_hollow_and_off_the_line(study):
    """The chosen patient's visit with another kernel is a hollow mark that no line reaches."""
    figure, _ = drawn(study, study.ids.index("P001"), show="lines")
    own = figure.data[0]
    assert own.name == "P001"
    hollow = [place for place, symbol in enumerate(own.marker.symbol) if symbol == "diamond-open"]
    assert [own.x[place] for place in hollow] == [0.61]
    assert all(np.isnan(own.y[place - 1]) for place in hollow)
    assert own.zorder > 0


def test_without_a_chosen_patient_the_first_trace_is_empty(study):
    """The place of the chosen patient is always there, so that it can be filled alone."""
    figure, _ = drawn(study)
    assert len(figure.data[0].x) == 0


def test_bands_are_pieces_where_too_few_are():
    """Where quantiles end and begin again, the area has a gap."""
    quantiles = np.tile([1.0, np.nan, 1.0, 2.0], (5, 1))
    one = Bands(np.array([0.0, 1.0, 2.0, 3.0]), np.array([9, 2, 9, 9]), quantiles)
    band = plots._band(one, 0, 4, "#000000", 0.5)
    np.testing.assert_array_equal(band.x, np.array([0, 0, np.nan, 2, 3, 3, 2, np.nan], np.float32))


def test_bands_say_how_many_patients_there_are(study):
    """The strip below and what is pointed at give the number of patients at each time."""
    figure, _ = drawn(study, show="bands")
    median = next(trace for trace in figure.data if trace.name == "median")
    strip = next(trace for trace in figure.data if trace.yaxis == "y2")
    np.testing.assert_array_equal(strip.y, median.customdata[:, 0])
    compares = study.visits[study.visits["comparable"].fillna(True)]
    assert strip.y.max() == (compares["years"] == 0).sum()


def test_groups_have_a_colour_and_a_line_of_their_own(study):
    """By arm there are three names in the key, each with another line."""
    figure, _ = drawn(study, show="bands", colour="arm")
    named = [trace for trace in figure.data if trace.name and trace.line.dash and trace.yaxis != "y2"]
    medians = [trace for trace in named if trace.customdata is not None and trace.customdata.ndim == 2]
    assert {trace.name for trace in medians} >= {"arm A", "arm B"}
    assert len({(trace.line.color, trace.line.dash) for trace in medians}) == len(medians)
    assert figure.layout.showlegend


def test_a_log_axis_is_asked_for_and_zeros_are_said(study):
    """P004 has amounts of 0: not on a log axis, so it is said."""
    figure, said = drawn(study, show="lines", scale="log")
    assert figure.layout.yaxis.type == "log"
    assert "2 of 0 cannot be drawn on a log scale." in said
    assert "log scale" not in drawn(study, show="lines")[1]


def test_changes_have_no_log_axis(study):
    """A change may be negative: the scale stays linear, and that is said."""
    figure, said = drawn(study, show="change", scale="log")
    assert figure.layout.yaxis.type == "linear"
    assert "linear scale" in said


def test_changes_start_at_0(study):
    """Each line of changes begins at the baseline with 0."""
    figure, _ = drawn(study, show="change", unit="amount")
    trace = figure.data[1]
    starts = np.flatnonzero(np.r_[True, np.isnan(trace.y[:-1])])
    assert set(trace.y[starts]) == {0.0}


def test_zoom_stays_while_filtering(study):
    """Only another quantity, place, scale or kind of figure resets the zoom."""
    one, two = drawn(study)[0], drawn(study, arm="=A")[0]
    assert one.layout.uirevision == two.layout.uirevision
    assert one.layout.uirevision != drawn(study, quantity="mass_mg")[0].layout.uirevision


def test_no_webgl_anywhere(study):
    """Traces that need WebGL fail silently under our content policy."""
    shows = [drawn(study, show=show)[0] for show in wanted.SHOWS]
    assert not [trace.type for figure in shows for trace in figure.data if trace.type.endswith("gl")]


def test_figures_keep_the_style_of_all():
    """What one figure changes does not reach the next."""
    before = repr(plots.STYLE)
    plots.drawn([], {"xaxis": {"title": {"text": "x"}}})
    plots.say_nothing("Nothing.")
    assert repr(plots.STYLE) == before


def test_an_own_course_of_hollow_marks_alone_has_no_line():
    """Nothing compares: marks, and no line."""
    course = pd.DataFrame({"years": [0.5, 1.0], "value": [3.0, 4.0], "comparable": [False, False]})
    own = plots.own_course(course, "P1", "mm³")
    assert np.isnan(own.y[[0, 2]]).all()


def test_many_lines_have_marks_for_single_visits_alone():
    """A patient with one visit is a dot among many lines; nobody is drawn twice."""
    rows = np.append(np.repeat(np.arange(150), 2), [150])
    courses = pd.DataFrame({"row": rows, "years": np.arange(len(rows)), "value": 1.0})
    line, dots = plots._lines(courses, np.arange(151).astype(str).astype(object), "", "#000000", "")
    assert line.mode == "lines"
    assert (dots.mode, dots.customdata.tolist()) == ("markers", ["150"])
    (few,) = plots._lines(courses[courses["row"] > 140], np.arange(151).astype(str).astype(object), "", "#000000", "")
    assert few.mode == "lines+markers"
