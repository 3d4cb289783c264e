"""The waterfall: bars by verdict, the cap that says so, marks of what counts."""

import numpy as np

from dashboard.cohort import shown
from dashboard.cohort.wanted import Wanted
from dashboard.cohort.waterfall import CAP_PCT, mark, waterfall_figure

WANTED = Wanted("volume_mm3", "total", "linear", "bands", "none", "percent", "best", "waterfall")


def found(by_hand, patients=4):
    known = by_hand(
        patients,
        (0, 1.0, 10.0, 90.0, "increased", False),
        (1, 1.0, 100.0, 3.0, "no_detectable_change", False),
        (2, 1.0, 100.0, -60.0, "decreased", False),
        (3, 1.0, 100.0, -60.0, "not_comparable", False),
    )
    return shown.bars(known, np.ones(patients, bool), WANTED), known.people["patient_id"].to_numpy(object)


def figure(by_hand, chosen=None):
    bars, ids = found(by_hand)
    return waterfall_figure(bars, ids, chosen=chosen, title="Change (%)", percent=True)


def bars_of(drawn):
    return {trace.name: trace for trace in drawn.data if trace.type == "bar"}


def test_one_trace_for_each_verdict_with_symbol_word_and_hatching(by_hand):
    """Colour is never all there is."""
    bars = bars_of(figure(by_hand))
    assert list(bars) == ["▲ increased", "▼ decreased", "= no detectable change"]
    assert len({trace.marker.color for trace in bars.values()}) == 3
    assert len({trace.marker.pattern.shape for trace in bars.values()}) == 3


def test_a_bar_beyond_the_cap_ends_there_with_a_mark(by_hand):
    """900 % is drawn to the cap, and the mark says 900."""
    drawn = figure(by_hand)
    assert bars_of(drawn)["▲ increased"].y.tolist() == [CAP_PCT]
    marker = next(trace for trace in drawn.data if trace.name == "beyond the axis")
    assert (marker.marker.symbol, marker.x.tolist()) == ("triangle-up", [0])
    assert bars_of(drawn)["▲ increased"].hovertext == ("P0 at V0: +900<br>▲ increased<br>counts from ±100",)


def test_what_does_not_compare_has_no_bar(by_hand):
    """Patient 3 is nowhere in the figure."""
    drawn = figure(by_hand)
    ids = [one for trace in bars_of(drawn).values() for one in trace.customdata]
    assert sorted(ids) == ["P0", "P1", "P2"]
    assert "P3" not in drawn.layout.xaxis.ticktext


def test_the_smallest_change_that_counts_is_marked_for_each_patient(by_hand):
    """Closed form: 10 of 100 are marks at +10 and -10 %, as wide as the bar."""
    drawn = figure(by_hand)
    line = next(trace for trace in drawn.data if trace.name == "smallest change that counts")
    own = [tuple(line.y[place : place + 2]) for place in range(0, len(line.y), 3) if line.x[place] == 0.5]
    assert own == [(10.0, 10.0), (-10.0, -10.0)]


def test_the_chosen_patients_mark_is_the_first_trace(by_hand):
    """It lies on the bar, whose name stands below; nobody's has no point."""
    drawn = figure(by_hand, chosen=2)
    assert (drawn.data[0].x.tolist(), drawn.data[0].y.tolist(), list(drawn.data[0].text)) == ([2], [-30.0], [""])
    bars, ids = found(by_hand)
    assert len(mark(bars, ids, None, percent=True).x) == 0
    assert len(mark(bars, ids, 3, percent=True).x) == 0


def test_amounts_have_no_cap(by_hand):
    """Only per cent of nearly nothing runs away."""
    known = by_hand(1, (0, 1.0, 10.0, 900.0, "increased", False))
    wanted = Wanted(**{**WANTED.__dict__, "unit": "amount"})
    bars = shown.bars(known, np.ones(1, bool), wanted)
    drawn = waterfall_figure(bars, np.array(["P0"], dtype=object), chosen=None, title="", percent=False)
    assert bars_of(drawn)["▲ increased"].y.tolist() == [900.0]


def test_many_bars_are_few_traces(by_hand):
    """Of thousands at most a thousand are drawn, without hatching or names."""
    known = by_hand(3000, *[(row, 1.0, 100.0, float(row % 90), "increased", False) for row in range(3000)])
    bars = shown.bars(known, np.ones(3000, bool), WANTED)
    drawn = waterfall_figure(bars, known.people["patient_id"].to_numpy(object), chosen=2999, title="", percent=True)
    assert len(drawn.data) <= 5
    area = next(trace for trace in drawn.data if trace.name == "▲ increased")
    pointed = next(trace for trace in drawn.data if trace.mode == "none")
    assert len(set(pointed.customdata)) == 1000
    # One outline: from 0 along the ends of all bars, each as wide as its patients, back to 0.
    assert np.isnan(area.x).sum() == 1
    assert (area.y[0], area.y[-2]) == (0.0, 0.0)
    np.testing.assert_allclose(area.y[1:-2].reshape(-1, 2), np.column_stack([pointed.y, pointed.y]))
    np.testing.assert_allclose(area.x[1:-2].reshape(-1, 2).mean(axis=1), pointed.x)
    assert not drawn.layout.xaxis.showticklabels
    assert list(drawn.data[0].text) == ["P2999"]


def test_areas_of_verdicts_do_not_cover_each_other(by_hand):
    """Where verdicts take turns, each has its own outlines, and together they cover every patient once."""
    verdicts = ["increased", "no_detectable_change"]
    known = by_hand(300, *[(row, 1.0, 100.0, float(row), verdicts[row % 2], False) for row in range(300)])
    bars = shown.bars(known, np.ones(300, bool), WANTED)
    drawn = waterfall_figure(bars, known.people["patient_id"].to_numpy(object), chosen=None, title="", percent=False)
    areas = [trace for trace in drawn.data if trace.fill == "toself"]
    assert [int(np.isnan(trace.x).sum()) for trace in areas] == [150, 150]
    middles = np.concatenate([trace.x.reshape(-1, 5)[:, :4].mean(axis=1) for trace in areas])
    assert sorted(middles) == list(range(300))
