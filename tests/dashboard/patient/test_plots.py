"""The trajectory as plotly gets it."""

import plotly.graph_objects as go
import pytest

from dashboard.patient import choice, clock, lanes, plots
from dashboard.patient.seen import seen
from dashboard.patient.shown import show


def drawn(own, **given):
    offered = choice.offer(own)
    return show(own, offered, choice.choose(offered, given))


def texts(figure):
    return [note.text for note in figure.layout.annotations]


@pytest.mark.parametrize("scale", choice.SCALES)
@pytest.mark.parametrize("time", clock.TIMES)
@pytest.mark.parametrize("place", ["total", choice.EVERY])
def test_every_choice_is_a_figure_that_plotly_takes(p001, scale, time, place):
    """Figures are made unchecked, for speed: here plotly checks each of them."""
    extras = list(choice.EXTRAS)
    found = drawn(p001, scale=scale, time=time, compartment=place, extras=extras, score="CDASI damage")
    go.Figure(found.figure.to_plotly_json())
    assert found.said


def test_states_have_their_symbols(p001):
    """Filled, hollow and triangle: one trace each."""
    figure = drawn(p001).figure
    symbols = {trace.name: trace.marker.symbol for trace in figure.data if trace.name in plots.SYMBOLS}
    assert symbols == {"measured": "circle", "hollow": "diamond-open", "part": "triangle-up-open"}


def test_what_was_not_measured_is_said_at_the_foot(hand_made, visit, amount):
    """A visit without an amount leaves a mark and its word, and no point."""
    own = hand_made(
        visits=[visit(1, 0.0), visit(2, 1.0)],
        burden=[amount(1, 10.0), amount(2, None, value_observed=None, evaluable=0.0)],
    )
    figure = drawn(own).figure
    assert "∅ not in the field" in texts(figure)
    assert [list(trace.x) for trace in figure.data if trace.name == "measured"] == [[0.0]]


def test_nothing_found_says_below_which_size(hand_made, visit, amount):
    """A burden of 0 is drawn at the limit of detection, pointing down."""
    own = hand_made(visits=[visit(1, 0.0)], burden=[amount(1, 0.0)])
    trace = next(trace for trace in drawn(own).figure.data if trace.name == "below")
    assert trace.text[0].startswith("below 3")
    assert list(trace.y) == [3.0]


def test_a_logarithmic_axis_says_none_found(hand_made, visit, amount):
    """A 0 has no place on it: the visit is named at the foot."""
    mass = {"quantity": "mass_mg", "unit": "mg"}
    own = hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], burden=[amount(1, 0.0, **mass), amount(2, 5.0, **mass)])
    assert "∅ none found" in texts(drawn(own, scale="log").figure)
    assert "∅ none found" not in texts(drawn(own).figure)


def test_limits_are_drawn_as_distances(hand_made, visit, amount):
    """Plotly wants how far the limits lie from the point."""
    own = hand_made(visits=[visit(1, 0.0)], burden=[amount(1, 100.0, lo=80.0, hi=130.0)])
    error = next(trace for trace in drawn(own).figure.data if trace.name == "measured").error_y
    assert (list(error.array), list(error.arrayminus)) == ([30.0], [20.0])


def test_lanes_and_changes_of_protocol(p001):
    """Treatments have lanes, moments share one, and a changed protocol says what on pointing."""
    figure = drawn(p001).figure
    assert list(figure.layout.yaxis2.ticktext) == ["scans", "treatment", "", "events"]
    scans = next(trace for trace in figure.data if trace.yaxis == "y2" and "V3" in (trace.text or ()))
    assert list(scans.marker.symbol) == ["line-ns-open", "line-ns-open", "diamond", "diamond", "line-ns-open"]
    assert "kernel Br40, then Br64" in scans.hovertext[2]
    assert {"thiosulfate", "pamidronate →"} <= set(texts(figure))


def test_scores_and_dose_have_axes_of_their_own(p001):
    """A score is never on the axis of the amounts; without a choice neither is there."""
    with_both = drawn(p001, score="CDASI damage", extras=["dose"]).figure
    assert with_both.layout.yaxis3.title.text == "CDASI damage"
    assert sum(trace.yaxis == "y3" for trace in with_both.data) == 2
    steps = next(trace for trace in with_both.data if trace.yaxis == "y4")
    assert list(steps.y) == [180.0, 352.0, 502.0, 643.0]
    assert ["at least" in told for told in steps.hovertext] == [False, False, True, True]
    assert with_both.layout.yaxis4.title.text == "Dose so far,<br>at least (mGy·cm)"
    assert with_both.layout.xaxis.anchor == "y4"
    without = drawn(p001, score="", extras=[]).figure
    assert "yaxis3" not in without.layout
    assert without.layout.xaxis.anchor == "y2"
    assert without.layout.height < with_both.layout.height


def test_every_compartment_has_a_panel(p001):
    """Each compartment is named above a panel of its own, all on one range of time."""
    figure = drawn(p001, compartment=choice.EVERY).figure
    assert {"<b>all compartments</b>", "<b>calf</b>", "<b>thigh</b>"} <= set(texts(figure))
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range == figure.layout.xaxis3.range


def test_the_band_round_the_lowest_is_a_choice(p001):
    """It is drawn, and in the key, only when asked for."""
    assert "nadir" not in drawn(p001).marks
    assert "nadir" in drawn(p001, extras=["nadir"]).marks
    assert "fit" not in drawn(p001, extras=["nadir"]).marks


def test_names_of_visits_do_not_cover_each_other(hand_made, visit, amount):
    """A visit a week after another is named by the pointer alone."""
    own = hand_made(visits=[visit(1, 0.0), visit(2, 0.02), visit(3, 2.0)], burden=[amount(1, 1.0)])
    figure = plots.trajectory(
        seen(own, "volume_mm3", "total"),
        lanes.lanes(own, clock.clock(own, "years")),
        plots.Look("linear", "Volume"),
        plots.Beside(),
    )
    assert ("V1", "", "V3") in [trace.text for trace in figure.data]


LIVE = '<a href="https://x">5 & %{x}</a>'


def test_text_of_the_study_is_no_markup(hand_made, visit, amount):
    """Names of events, visits, readers and scores, and reasons, are shown letter by letter."""
    score = {"patient_id": "P1", "years": 0.0, "quantity": LIVE, "value": 1.0, "unit": LIVE, "reader": LIVE,
             "compartment": LIVE}  # fmt: skip
    event = {"patient_id": "P1", "years": 0.5, "name": LIVE}
    own = hand_made(
        visits=[visit(1, 0.0, comparable=False, comparable_why=LIVE, kernel=LIVE, dlp_mgy_cm=5.0),
                visit(2, 1.0, kernel="B") | {"visit_id": LIVE}],
        burden=[amount(1, 9.0), amount(1, 9.0, compartment=LIVE)],
        events=[{**event, "kind": "treatment"}, {**event, "kind": "flare"}, {**event, "kind": LIVE}],
        scores=[score],
    )  # fmt: skip
    for given in ({"extras": ["dose"], "score": LIVE}, {"compartment": choice.EVERY}):
        said = str(drawn(own, **given).figure.to_dict())
        assert "https://x" in said
        assert "<a" not in said
        assert "%{x}" not in said


def test_a_broken_band_is_two(hand_made, visit, amount, change):
    """Both runs stand in one trace with a gap between."""
    own = hand_made(
        visits=[visit(n, n - 1.0) for n in range(1, 6)],
        burden=[amount(1, 100.0), amount(2, 90.0), amount(3, None, value_observed=50.0), amount(4, 95.0),
                amount(5, 95.0)],
        changes=[change(2, 100.0, 90.0), change(3, 40.0, 50.0), change(4, 100.0, 95.0), change(5, 100.0, 95.0)],
    )  # fmt: skip
    shown = drawn(own)
    band = next(trace for trace in shown.figure.data if trace.fillcolor == plots.BASELINE_TINT)
    assert list(band.x) == [0.0, 1.0, 1.0, 0.0, None, 3.0, 4.0, 4.0, 3.0]
    assert list(band.y) == [115.0, 115.0, 85.0, 85.0, None, 115.0, 115.0, 85.0, 85.0]
    assert "No band of what is too small to count at V3" in shown.said


def test_none_found_on_another_scan_is_hollow_and_off_the_line(hand_made, visit, amount):
    """Its triangle is hollow, and the line goes by."""
    own = hand_made(
        visits=[visit(1, 0.0), visit(2, 1.0, comparable=False), visit(3, 2.0)],
        burden=[amount(1, 9.0), amount(2, 0.0), amount(3, 0.0)],
    )
    shown = drawn(own)
    symbols = {trace.name: trace.marker.symbol for trace in shown.figure.data if trace.name in plots.SYMBOLS}
    assert (symbols["below"], symbols["unlike"]) == ("triangle-down", "triangle-down-open")
    line = next(trace for trace in shown.figure.data if trace.mode == "lines" and trace.line.width == 1.7)
    assert list(line.x) == [0.0, 2.0]
    assert "unlike" in shown.marks
