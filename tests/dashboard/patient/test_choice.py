"""What can be chosen, and that nothing else is."""

import pytest

from dashboard.patient import choice

HOSTILE = [None, 5, "", "volume_mm3; drop", ["volume_mm3"], {"a": 1}, "../x", "mass_mg_per_m2", True, float("nan")]


def test_quantities_stand_once_with_what_they_can_be_divided_by(p001):
    """Volume per body surface is volume, as a choice."""
    offered = choice.offer(p001)
    assert offered.quantities == ("volume_mm3", "excess_hu_mm3", "mass_mg", "agatston")
    assert offered.norms["volume_mm3"] == ("", "_per_m2", "_per_growth")
    assert offered.norms["mass_mg"] == ("",)
    assert offered.compartments[0] == "total"
    assert offered.scores == ("CDASI damage", "CHAQ")
    assert offered.times == ("years", "days", "date", "age")


@pytest.mark.parametrize("given", HOSTILE)
@pytest.mark.parametrize("name", ["quantity", "norm", "compartment", "time", "scale", "score", "extras"])
def test_what_is_not_offered_is_the_first_that_is(p001, name, given):
    """A browser can send anything; what is shown is always offered."""
    offered = choice.offer(p001)
    chosen = choice.choose(offered, {name: given})
    assert chosen.quantity == "volume_mm3"
    assert chosen.norm == ""
    assert chosen.compartment == "total"
    assert (chosen.time, chosen.scale) == ("years", "linear")
    assert chosen.score in ("", *offered.scores)
    assert set(chosen.extras) <= set(choice.EXTRAS)


def test_a_norm_falls_back_where_the_quantity_has_none(p001):
    """Mass per body surface was not measured: mass is shown."""
    chosen = choice.choose(choice.offer(p001), {"quantity": "mass_mg", "norm": "_per_m2"})
    assert chosen.measured == "mass_mg"
    per = choice.choose(choice.offer(p001), {"quantity": "volume_mm3", "norm": "_per_m2"})
    assert per.measured == "volume_mm3_per_m2"


def test_nothing_measured_offers_volume(hand_made):
    """A patient of whom all was refused has a page all the same."""
    chosen = choice.choose(choice.offer(hand_made()), {})
    assert (chosen.measured, chosen.compartment) == ("volume_mm3", "total")


def test_where_the_excess_judges_the_excess_is_shown_first(hand_made, visit, change):
    """A volume that is not resolved lies within what is too small to count, whatever the verdict says."""
    amounts = [
        {"patient_id": "P1", "visit_id": f"V{number}", "compartment": "total", "quantity": quantity, "value": 10.0}
        for number in (1, 2)
        for quantity in ("volume_mm3", "excess_hu_mm3")
    ]
    visits = [visit(1, 0.0), visit(2, 1.0)]
    for carrier, first in (("excess_hu_mm3", "excess_hu_mm3"), ("volume_mm3", "volume_mm3")):
        own = hand_made(visits=visits, burden=amounts, changes=[change(2, 10, 30, carried_by=carrier)])
        assert choice.offer(own).quantities[0] == first
