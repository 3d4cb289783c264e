"""What a choice shows: figure, words, marks and verdicts."""

import json

from dashboard.patient import choice
from dashboard.patient.shown import show, verdicts


def plain(shown):
    return json.dumps(shown, default=lambda one: one.to_plotly_json(), ensure_ascii=False)


def of(own, **given):
    return choice.choose(choice.offer(own), given)


def test_verdicts_since_baseline_previous_and_lowest(p001):
    """The large verdict first, then the others, each by symbol and colour."""
    found = verdicts(p001, of(p001))
    assert [one.className for one in found] == ["verdict large tone-more", *["verdict second tone-more"] * 2]
    assert "V5 lies after start of thiosulfate and of pamidronate" in plain(found[0])
    assert "Since the lowest amount (V3 to V5)" in plain(found[2])


def test_no_verdict_is_told_twice(hand_made, visit, amount, change):
    """Of two visits all comparisons are of the same pair: one sentence."""
    pair = [change(2, 100.0, 140.0, comparison=kind) for kind in ("baseline", "previous", "nadir")]
    two = hand_made(visits=[visit(1, 0.0), visit(2, 1.0)], burden=[amount(1, 100.0), amount(2, 140.0)], changes=pair)
    assert len(verdicts(two, of(two))) == 1
    later = [
        change(3, 100.0, 140.0),
        *(change(3, 60.0, 140.0, from_visit="V2", comparison=kind) for kind in ("previous", "nadir")),
    ]
    visits = [visit(number, number - 1.0) for number in (1, 2, 3)]
    three = hand_made(visits=visits, burden=[amount(1, 100.0)], changes=later)
    assert "Since the previous visit, the lowest amount so far (V2 to V3)" in plain(verdicts(three, of(three)))


def test_every_compartment_has_the_verdict_of_the_whole(p001):
    """Small multiples stand below the verdict on the total."""
    assert "all compartments" in plain(verdicts(p001, of(p001, compartment=choice.EVERY)))


def test_the_key_has_what_is_drawn(p001, hand_made):
    """Marks that are not in a figure are not explained; nothing measured needs none."""
    found = show(p001, choice.offer(p001), of(p001))
    assert found.marks == {"measured", "hollow", "part", "baseline", "fit", "treatment", "protocol"}
    nothing = hand_made()
    assert show(nothing, choice.offer(nothing), of(nothing)).marks == frozenset()


def test_the_words_hold_what_the_figure_holds(p001):
    """Course, rate, score, events and protocol: the text alternative."""
    told = show(p001, choice.offer(p001), of(p001)).said
    for part in (
        "Volume of mineral",
        "Rate: ",
        "CDASI damage (reader A)",
        "treatment thiosulfate",
        "Changes of protocol",
    ):
        assert part in told
